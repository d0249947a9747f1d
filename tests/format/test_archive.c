/* test_archive.c - the element types of files, their encoding and decoding by worked numbers; archives. */
#include "check.h"
#include "carat/archive.h"
#include <math.h>

static void element_types(void **state) {
    (void)state;
    ct_element type;
    uint64_t size;
    assert_true(ct_element_parse("q4_k", &type) && type == CT_ELEMENT_Q4_K);
    assert_true(ct_element_parse("BF16", &type) && (int)type == CT_FILE_BF16);
    assert_false(ct_element_parse("Q9_9", &type));
    assert_true(ct_element_of_ggml(14, &type) && type == CT_ELEMENT_Q6_K);
    assert_false(ct_element_of_ggml(4, &type)); /* removed from GGML */
    assert_false(ct_element_of_ggml(-1, &type));
    for (int i = 0; i < CT_ELEMENTS; i++) {
        const ct_element_info *info = ct_element_describe((ct_element)i);
        assert_non_null(info->name);
        if (i < CT_FILE_DTYPES) assert_string_equal(info->name, ct_file_dtype_name((ct_file_dtype)i));
        if (i < CT_FILE_DTYPES)
            assert_int_equal(info->bytes * 8, info->block * (int)ct_file_dtype_bits((ct_file_dtype)i));
    }
    assert_true(ct_element_tensor_size(CT_ELEMENT_Q8_0, 2, (int64_t[]){3, 64}, &size) && size == 3 * 68);
    assert_true(ct_element_tensor_size(CT_ELEMENT_Q6_K, 2, (int64_t[]){0, 256}, &size) && size == 0);
    assert_false(ct_element_tensor_size(CT_ELEMENT_Q8_0, 2, (int64_t[]){64, 3}, &size));
    assert_false(ct_element_tensor_size(CT_ELEMENT_Q4_0, 2, (int64_t[]){INT64_MAX, 64}, &size));
    assert_false(ct_element_tensor_size(CT_ELEMENT_Q4_0, 0, NULL, &size));
    ct_file_dtype plain; /* safetensors does not learn GGML's names */
    assert_false(ct_file_dtype_parse("Q8_0", &plain));
}

/* Q8_0: the largest is 2 = d 127; 1 is 63.5 steps: away from zero. */
static void q8_0_by_hand(void **state) {
    (void)state;
    float x[32] = {2.0f, 1.0f, -1.0f, -2.0f, 0.0f, 0.01f}, back[32];
    unsigned char block[34];
    assert_true(ct_element_encode(CT_ELEMENT_Q8_0, x, block, 32));
    uint16_t d;
    memcpy(&d, block, 2);
    assert_int_equal(d, 0x2408); /* f16 nearest to 2/127 = 0.015748: (1 + 8/1024) 2^-6 */
    const int8_t expected[6] = {127, 64, -64, -127, 0, 1};
    assert_memory_equal(block + 2, expected, 6);
    assert_true(ct_element_decode(CT_ELEMENT_Q8_0, block, back, 32));
    assert_true(back[0] == 127 * 0.0157470703125f && back[5] == 0.0157470703125f && back[6] == 0.0f);
    x[7] = NAN;
    assert_false(ct_element_encode(CT_ELEMENT_Q8_0, x, block, 32));
    x[7] = -INFINITY;
    assert_false(ct_element_encode(CT_ELEMENT_Q4_0, x, block, 32));
    assert_false(ct_element_encode(CT_ELEMENT_Q4_0, x, block, 31));
}

/* Q4_0: the farthest from zero, -4, becomes -8, so d = 0.5; element 16 shares byte 0 with element 0. */
static void q4_0_by_hand(void **state) {
    (void)state;
    float x[32] = {-4.0f, 3.5f, 0.25f, 0.2f}, back[32];
    unsigned char block[18];
    x[16] = 4.0f; /* as far, but later; clamped to 7 */
    x[17] = -0.25f;
    assert_true(ct_element_encode(CT_ELEMENT_Q4_0, x, block, 32));
    const unsigned char expected[6] = {0x00, 0x38, 0xf0, 0x8f, 0x89, 0x88};
    assert_memory_equal(block, expected, 6);
    assert_true(ct_element_decode(CT_ELEMENT_Q4_0, block, back, 32));
    assert_true(back[0] == -4.0f && back[16] == 3.5f && back[1] == 3.5f && back[2] == 0.5f &&
                back[3] == 0.0f);
    assert_true(back[17] == 0.0f);
    memset(x, 0, sizeof x);
    assert_true(ct_element_encode(CT_ELEMENT_Q4_0, x, block, 32));
    assert_true(ct_element_decode(CT_ELEMENT_Q4_0, block, back, 32) && back[0] == 0.0f);
}

/* Q4_K: d = 1, dmin = 0.5. Group 0: scale 3, minimum 2. Group 5: scale 0b10_0001 = 33 and minimum 0b01_0010 =
 * 18, low bits in byte 9, high bits on top of bytes 1 and 5. */
static void q4_k_by_hand(void **state) {
    (void)state;
    unsigned char block[144] = {0x00, 0x3c, 0x00, 0x38};
    float x[256];
    unsigned char *packed = block + 4, *q = block + 16;
    packed[0] = 3;
    packed[4] = 2;
    packed[9] = 0x21;
    packed[1] = 2 << 6;
    packed[5] = 1 << 6;
    q[0] = 0x0f;      /* element 0: 15 */
    q[64 + 7] = 0x50; /* group 5 is the high half of the third 32 bytes: element 167 is 5 */
    assert_true(ct_element_decode(CT_ELEMENT_Q4_K, block, x, 256));
    assert_true(x[0] == 3 * 15 - 0.5f * 2 && x[1] == -1.0f);
    assert_true(x[167] == 33 * 5 - 0.5f * 18 && x[168] == -9.0f && x[255] == 0.0f);
}

/* Q6_K: q = low | high << 4, minus 32; scale of element i is number i / 16. */
static void q6_k_by_hand(void **state) {
    (void)state;
    unsigned char block[210] = {0};
    float x[256];
    block[208] = 0x00; /* d = 2 */
    block[209] = 0x40;
    for (int i = 0; i < 16; i++)
        block[192 + i] = (unsigned char)(i % 2 ? -i : i);
    block[3] = 0x95;             /* elements 3 (low) and 67 (high) */
    block[128 + 3] = 0x21;       /* bits 0-1 of element 3: 1; bits 4-5 of element 67: 2 */
    block[64 + 32 + 31] = 0x0c;  /* second half: element 128 + 32 + 31 */
    block[128 + 32 + 31] = 0x0c; /* its high bits: 3 */
    assert_true(ct_element_decode(CT_ELEMENT_Q6_K, block, x, 256));
    assert_true(x[3] == 0.0f && x[16] == 2.0f * -1 * -32);
    assert_true(x[67] == 2.0f * 4 * ((9 | 2 << 4) - 32));
    assert_true(x[191] == 2.0f * -11 * ((12 | 3 << 4) - 32));
}

static void small_types(void **state) {
    (void)state;
    float x[4];
    const unsigned char e4m3[4] = {0x38, 0xfe, 0x01, 0x7f}; /* 1, -448, 2^-9, NaN */
    assert_true(ct_element_decode((ct_element)CT_FILE_F8_E4M3, e4m3, x, 4));
    assert_true(x[0] == 1.0f && x[1] == -448.0f && x[2] == 0x1p-9f && isnan(x[3]));
    const unsigned char e5m2[2] = {0x3c, 0xfb}; /* 1, -57344 */
    assert_true(ct_element_decode((ct_element)CT_FILE_F8_E5M2, e5m2, x, 2) && x[0] == 1.0f &&
                x[1] == -57344.0f);
    const unsigned char odd[9] = {0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}; /* f32 1, -2 at an odd address */
    assert_true(ct_element_decode((ct_element)CT_FILE_F32, odd + 1, x, 2) && x[0] == 1.0f && x[1] == -2.0f);
    unsigned char back[5];
    assert_true(ct_element_encode((ct_element)CT_FILE_BF16, x, back + 1, 2));
    assert_memory_equal(back + 1, ((unsigned char[]){0x80, 0x3f, 0x00, 0xc0}), 4);
    assert_false(ct_element_decode((ct_element)CT_FILE_C64, odd, x, 1));
    assert_false(ct_element_decode(CT_ELEMENT_Q5_K, odd, x, 256));
}

static void safetensors_as_archive(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    char *path = ct_path_join(context, folder, "model.safetensors");
    ct_safetensors_writer *writer = ct_safetensors_create(context, path);
    ct_safetensors_declare(writer, "a.weight", CT_FILE_F32, 2, (int64_t[]){2, 2});
    ct_safetensors_declare(writer, "b", CT_FILE_BF16, 1, (int64_t[]){1});
    ct_safetensors_write(writer, (float[]){1, 2, 3, 4}, 16);
    ct_safetensors_write(writer, "\x80\x3f", 2);
    assert_int_equal(ct_safetensors_commit(writer), CT_OK);
    const char *names[] = {folder, path};
    for (int i = 0; i < 2; i++) {
        ct_archive *archive = ct_archive_open(context, names[i]);
        assert_non_null(archive);
        assert_string_equal(ct_archive_format_name(archive), "safetensors");
        assert_int_equal(ct_archive_count(archive), 2);
        const ct_archive_tensor *a = ct_archive_need(archive, "a.weight");
        float values[2];
        assert_int_equal(ct_archive_read_f32(archive, a, values, 1, 2), CT_OK);
        assert_true(values[0] == 2 && values[1] == 3);
        assert_int_equal(ct_archive_read(archive, a, values, 12, 8), CT_ERROR_ARGUMENT);
        ct_context_clear(context);
        assert_null(ct_archive_need(archive, "a.weigth"));
        ASSERT_ERROR(context, CT_ERROR_NOT_FOUND, "a.weight");
        ct_value *metadata = ct_archive_metadata(archive, 0);
        assert_string_equal(ct_value_as_string(ct_value_get(metadata, "format"), ""), "pt");
        ct_value_free(metadata);
        ct_archive_close(archive);
    }
    write_text(context, folder, "text", "no tensors here", 15);
    char *text = ct_path_join(context, folder, "text");
    assert_null(ct_archive_open(context, text));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "text", "no known format", "safetensors");
    ct_free(context, text);
    ct_free(context, path);
    ct_folder_remove(context, folder);
    end_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(element_types),          cmocka_unit_test(q8_0_by_hand),
        cmocka_unit_test(q4_0_by_hand),           cmocka_unit_test(q4_k_by_hand),
        cmocka_unit_test(q6_k_by_hand),           cmocka_unit_test(small_types),
        cmocka_unit_test(safetensors_as_archive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
