/* test_gguf.c - GGUF: reading, every lie a header can tell, writing. */
#include "gguf_file.h"

#define WORLD_FILE "model.gguf"
#define WORLD_MORE gguf_bytes file;
#include "world.h"

static ct_archive *open_bytes(world *here) {
    assert_int_equal(ct_file_write(here->context, here->path, here->file.data, here->file.size), CT_OK);
    return ct_archive_open(here->context, here->path);
}
#define REFUSED(here, ...)                                                                                   \
    do {                                                                                                     \
        assert_null(open_bytes(here));                                                                       \
        ASSERT_ERROR((here)->context, CT_ERROR_FORMAT, "model.gguf", __VA_ARGS__);                           \
    } while (0)

static void reads_keys_and_tensors(void **state) {
    world *here = *state;
    for (uint32_t version = 2; version <= 3; version++) {
        gguf_bytes *file = &here->file;
        put_head(file, version, 2, 5);
        put_string(file, "general.alignment");
        put_int(file, CT_GGUF_U32, 4);
        put_int(file, 64, 4);
        put_string(file, "name");
        put_int(file, CT_GGUF_STRING, 4);
        put_string(file, "t\xffx"); /* no UTF-8 */
        put_string(file, "minus");
        put_int(file, CT_GGUF_I16, 4);
        put_int(file, 0xfffe, 2);
        put_string(file, "words");
        put_int(file, CT_GGUF_ARRAY, 4);
        put_int(file, CT_GGUF_STRING, 4);
        put_int(file, 3, 8);
        put_string(file, "a");
        put_string(file, "");
        put_string(file, "ccc");
        put_string(file, "nested"); /* [[1, 2], [true]] */
        put_int(file, CT_GGUF_ARRAY, 4);
        put_int(file, CT_GGUF_ARRAY, 4);
        put_int(file, 2, 8);
        put_int(file, CT_GGUF_U8, 4);
        put_int(file, 2, 8);
        put_int(file, 0x0201, 2);
        put_int(file, CT_GGUF_BOOL, 4);
        put_int(file, 1, 8);
        put_int(file, 1, 1);
        put_tensor(file, "second", 2, 3, 0, 64);
        put_tensor(file, "first", 32, 1, 8, 0);
        put_data(file, 64, 64 + 24);
        ct_archive *archive = open_bytes(here);
        if (!archive) fail_msg("%s", ct_context_message(here->context));
        assert_string_equal(ct_archive_format_name(archive), "gguf");
        const ct_archive_tensor *second = ct_archive_need(archive, "second");
        assert_true(second->rank == 2 && second->shape[0] == 3 && second->shape[1] == 2 &&
                    second->size == 24);
        unsigned char bytes[4];
        assert_int_equal(ct_archive_read(archive, second, bytes, 0, 4), CT_OK);
        assert_int_equal(bytes[1], 65);
        assert_int_equal(ct_archive_need(archive, "first")->type, CT_ELEMENT_Q8_0);
        const ct_gguf *gguf = ct_gguf_of(archive);
        assert_int_equal(ct_gguf_count(gguf), 5);
        assert_int_equal(ct_gguf_int(gguf, "minus", 0), -2);
        assert_int_equal(ct_gguf_int(gguf, "name", 7), 7);
        ct_gguf_cursor cursor = ct_gguf_items(ct_gguf_find(gguf, "words"));
        const char *text;
        size_t length;
        assert_true(ct_gguf_next_string(&cursor, &text, &length) && length == 1);
        assert_true(ct_gguf_next_string(&cursor, &text, &length) && length == 0);
        assert_true(ct_gguf_next_string(&cursor, &text, &length) && memcmp(text, "ccc", 3) == 0);
        assert_false(ct_gguf_next_string(&cursor, &text, &length));
        ct_value *metadata = ct_archive_metadata(archive, 2);
        char *json = ct_json_text(here->context, metadata, CT_JSON_COMPACT, NULL);
        assert_string_equal(json,
                            "{\"general.alignment\":64,\"name\":\"t\xef\xbf\xbdx\",\"minus\":-2,\"words\":{"
                            "\"count\":3,\"first\":[\"a\",\"\"]},\"nested\":[[1,2],[true]]}");
        ct_free(here->context, json);
        ct_value_free(metadata);
        ct_archive_close(archive);
    }
}

static void lies_of_the_head(void **state) {
    world *here = *state;
    gguf_bytes *file = &here->file;
    put_head(file, 1, 0, 0);
    REFUSED(here, "version 1", "2 or 3");
    put_head(file, 0x03000000, 0, 0);
    REFUSED(here, "big-endian");
    put_head(file, 4, 0, 0);
    REFUSED(here, "version 4");
    put_head(file, 3, (uint64_t)1 << 63, 0);
    REFUSED(here, "9223372036854775808 tensors");
    put_head(file, 3, 0, UINT64_MAX);
    REFUSED(here, "18446744073709551615 keys");
    put_head(file, 3, 0, 0);
    file->size = 20;
    REFUSED(here, "needs 24 bytes");
}

static void lies_of_keys(void **state) {
    world *here = *state;
    gguf_bytes *file = &here->file;
    put_head(file, 3, 0, 1);
    put_string(file, "key");
    put_int(file, 13, 4);
    REFUSED(here, "\"key\"", "unknown type 13");
    file->size -= 4;
    put_int(file, CT_GGUF_STRING, 4);
    put_int(file, (uint64_t)1 << 63, 8);
    REFUSED(here, "a string", "9223372036854775808 bytes");
    file->size -= 12;
    put_int(file, CT_GGUF_BOOL, 4);
    put_int(file, 2, 1);
    REFUSED(here, "truth value 2");
    file->size -= 5;
    put_int(file, CT_GGUF_ARRAY, 4);
    put_int(file, CT_GGUF_F64, 4);
    put_int(file, (uint64_t)1 << 61, 8);
    REFUSED(here, "\"key\"", "2305843009213693952 f64 items");
    file->size -= 12;
    for (int i = 0; i < 12; i++) { /* an array in an array in ... */
        put_int(file, CT_GGUF_ARRAY, 4);
        put_int(file, 1, 8);
    }
    put_data(file, 64, 64);
    REFUSED(here, "nests arrays deeper than 8");
    put_head(file, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_string(file, "twice");
        put_int(file, CT_GGUF_U8, 4);
        put_int(file, 1, 1);
    }
    REFUSED(here, "\"twice\"", "stands twice");
    put_head(file, 3, 0, 1);
    put_string(file, "");
    put_data(file, 64, 64);
    REFUSED(here, "0 bytes, expected 1 to 65535");
    put_head(file, 3, 0, 1);
    put_string(file, "general.alignment");
    put_int(file, CT_GGUF_U32, 4);
    put_int(file, 48, 4);
    REFUSED(here, "general.alignment is 48", "power of two");
}

static void lies_of_tensors(void **state) {
    world *here = *state;
    gguf_bytes *file = &here->file;
    const struct {
        uint64_t inner, outer;
        uint32_t type;
        uint64_t offset;
        const char *part;
    } lies[] = {
        {2, 2, 4, 0, "GGML type 4"},
        {2, 2, 4000000000u, 0, "GGML type 4000000000"},
        {2, 2, 0, 8, "no multiple of 32"},
        {2, 2, 0, 64, "needs 16 bytes"},
        {2, 2, 0, 1 << 20, "behind its end"},
        {2, 2, 0, UINT64_MAX - 31, "behind its end"},
        {1000, 2, 0, 0, "needs 8000 bytes"},
        {(uint64_t)1 << 63, 2, 0, 0, "less than 2^63"},
        {(uint64_t)1 << 40, (uint64_t)1 << 40, 0, 0, "no whole number of bytes below 2^63"},
        {33, 2, 8, 0, "rows of 33 elements"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        put_head(file, 3, 1, 0);
        put_tensor(file, "t", lies[i].inner, lies[i].outer, lies[i].type, lies[i].offset);
        put_data(file, 32, 64);
        REFUSED(here, "\"t\"", lies[i].part);
    }
    put_head(file, 3, 2, 0);
    put_tensor(file, "a", 16, 1, 0, 0);
    put_tensor(file, "b", 2, 1, 0, 32);
    put_data(file, 32, 64);
    REFUSED(here, "\"b\" overlaps tensor \"a\"");
    put_head(file, 3, 2, 0);
    put_tensor(file, "a", 2, 1, 0, 0);
    put_tensor(file, "a", 2, 1, 0, 32);
    put_data(file, 32, 64);
    REFUSED(here, "\"a\" stands twice");
    put_head(file, 3, 1, 0);
    put_string(file, "five");
    put_int(file, 5, 4);
    put_data(file, 32, 64);
    REFUSED(here, "5 dimensions");
}

/* Cut anywhere, a file is refused. */
static void every_truncation(void **state) {
    world *here = *state;
    gguf_bytes *file = &here->file;
    put_head(file, 3, 1, 1);
    put_string(file, "k");
    put_int(file, CT_GGUF_STRING, 4);
    put_string(file, "value");
    put_tensor(file, "t", 4, 2, 0, 0);
    put_data(file, 32, 32);
    size_t whole = file->size;
    ct_archive *archive = open_bytes(here);
    assert_non_null(archive);
    ct_archive_close(archive);
    for (file->size = 0; file->size < whole; file->size++) {
        assert_null(open_bytes(here));
        ASSERT_ERROR(here->context, CT_ERROR_FORMAT, "model.gguf");
    }
}

static void write_sample(ct_context *context, void *user) {
    const char *path = user;
    ct_gguf_writer *writer = ct_gguf_create(context, path);
    if (!writer) return;
    ct_gguf_set_string(writer, "general.architecture", "llama", 5);
    ct_gguf_set_u32(writer, "llama.block_count", 2);
    ct_gguf_set_f32(writer, "llama.eps", 1e-5f);
    ct_gguf_set_bool(writer, "flag", true);
    ct_gguf_set_i32(writer, "int", -5);
    ct_gguf_set_u64(writer, "long", (uint64_t)1 << 40);
    ct_gguf_array(writer, "tokens", CT_GGUF_STRING, 2);
    ct_gguf_add_string(writer, "a", 1);
    ct_gguf_add_string(writer, "bb", 2);
    ct_gguf_declare(writer, "q.weight", CT_ELEMENT_Q8_0, 2, (int64_t[]){2, 32});
    ct_gguf_declare(writer, "empty", (ct_element)CT_FILE_F32, 1, (int64_t[]){0});
    ct_gguf_declare(writer, "n.weight", (ct_element)CT_FILE_F32, 1, (int64_t[]){3});
    unsigned char q[68];
    for (int i = 0; i < 68; i++)
        q[i] = (unsigned char)i;
    ct_gguf_write(writer, q, 5);
    ct_gguf_write(writer, q + 5, 63);
    ct_gguf_write(writer, (float[]){1, 2, 3}, 12);
    ct_gguf_commit(writer);
}

static void writes_what_it_reads(void **state) {
    world *here = *state;
    write_sample(here->context, here->path);
    ct_archive *archive = ct_archive_open(here->context, here->folder);
    if (!archive) fail_msg("%s", ct_context_message(here->context));
    const ct_gguf *gguf = ct_gguf_of(archive);
    assert_int_equal(ct_gguf_int(gguf, "llama.block_count", 0), 2);
    assert_int_equal(ct_gguf_int(gguf, "int", 0), -5);
    assert_int_equal(ct_gguf_int(gguf, "long", 0), (int64_t)1 << 40);
    assert_true(ct_gguf_real(gguf, "llama.eps", 0) == (double)1e-5f);
    assert_true(ct_gguf_bool(gguf, "flag", false));
    size_t length;
    assert_memory_equal(ct_gguf_string(gguf, "general.architecture", &length), "llama", 5);
    const ct_archive_tensor *q = ct_archive_at(archive, 0), *n = ct_archive_need(archive, "n.weight");
    unsigned char bytes[68];
    float values[3];
    assert_int_equal(ct_archive_read(archive, q, bytes, 0, 68), CT_OK);
    assert_true(bytes[4] == 4 && bytes[67] == 67 && q->offset % 32 == 0 && n->offset % 32 == 0);
    assert_int_equal(ct_archive_read(archive, n, values, 0, 12), CT_OK);
    assert_true(values[2] == 3);
    ct_archive_close(archive);
}

static void refuses_to_write(void **state) {
    world *here = *state;
    ct_context *context = here->context;
    ct_gguf_writer *writer = ct_gguf_create(context, here->path);
    ct_gguf_set_u32(writer, "k", 1);
    assert_int_equal(ct_gguf_set_bool(writer, "k", true), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "\"k\"", "twice");
    char name[65];
    memset(name, 'n', 64);
    name[64] = 0;
    ct_gguf_declare(writer, name, (ct_element)CT_FILE_F32, 1, (int64_t[]){1});
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "64 bytes", "63");
    ct_gguf_declare(writer, "t", (ct_element)CT_FILE_U64, 1, (int64_t[]){1});
    ASSERT_ERROR(context, CT_ERROR_UNSUPPORTED, "U64");
    ct_gguf_declare(writer, "t", (ct_element)CT_FILE_F32, 5, (int64_t[]){1, 1, 1, 1, 1});
    ASSERT_ERROR(context, CT_ERROR_UNSUPPORTED, "5 dimensions");
    ct_gguf_declare(writer, "t", (ct_element)CT_FILE_F32, 1, (int64_t[]){2});
    ct_gguf_write(writer, "abcd", 4);
    ct_gguf_set_u32(writer, "late", 1);
    ASSERT_ERROR(context, CT_ERROR_STATE, "\"late\"");
    assert_int_equal(ct_gguf_commit(writer), CT_ERROR_STATE);
    ASSERT_ERROR(context, CT_ERROR_STATE, "only 4 of 8 bytes", "\"t\"");
    assert_false(ct_file_exists(here->path));
}

static void read_sample(ct_context *context, void *user) {
    ct_archive *archive = ct_archive_open(context, user);
    ct_value *metadata = archive ? ct_archive_metadata(archive, 1) : NULL;
    ct_value_free(metadata);
    ct_archive_close(archive);
}

static void failures_are_clean(void **state) {
    world *here = *state;
    write_sample(here->context, here->path);
    sweep_memory(read_sample, here->path, 200);
    sweep_files(read_sample, here->path, 'e', 50);
    sweep_files(read_sample, here->path, 's', 20);
    sweep_memory(write_sample, here->path, 200);
    sweep_files(write_sample, here->path, 'f', 50);
    sweep_files(write_sample, here->path, 's', 20);
}

/* What llama.cpp's own package wrote (tests/golden/make_gguf.py): the values it decodes, to the bit. */
static void golden_blocks(void **state) {
    world *here = *state;
    const char *source = getenv("CARAT_SOURCE");
    char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/gguf/blocks.gguf", source ? source : ".");
    ct_archive *archive = ct_archive_open(here->context, path);
    if (!archive) fail_msg("%s", ct_context_message(here->context));
    snprintf(path, sizeof path, "%s/tests/golden/gguf/blocks.safetensors", source ? source : ".");
    ct_archive *expected = ct_archive_open(here->context, path);
    assert_non_null(expected);
    assert_int_equal(ct_archive_count(archive), 7);
    for (size_t i = 0; i < 7; i++) {
        const ct_archive_tensor *tensor = ct_archive_at(archive, i);
        float values[1536], right[1536];
        assert_int_equal(tensor->count, 1536);
        assert_int_equal(ct_archive_read_f32(archive, tensor, values, 0, 1536), CT_OK);
        assert_int_equal(
            ct_archive_read(expected, ct_archive_need(expected, tensor->name), right, 0, sizeof right),
            CT_OK);
        for (int j = 0; j < 1536; j++)
            if (values[j] != right[j])
                fail_msg("%s[%d] is %.9g, expected %.9g", tensor->name, j, (double)values[j],
                         (double)right[j]);
    }
    const ct_gguf *gguf = ct_gguf_of(archive);
    assert_int_equal(ct_gguf_int(gguf, "test.u8", 0), 200);
    assert_int_equal(ct_gguf_int(gguf, "test.i16", 0), -30000);
    assert_int_equal(ct_gguf_int(gguf, "test.u32", 0), 4000000000);
    assert_int_equal(ct_gguf_int(gguf, "test.i64", 0), -((int64_t)1 << 62));
    assert_true(ct_gguf_real(gguf, "test.f64", 0) == 0.1 &&
                ct_gguf_real(gguf, "test.f32", 0) == (double)0.1f);
    ct_value *metadata = ct_archive_metadata(archive, 0);
    char *json = ct_json_text(here->context, ct_value_get(metadata, "test.nested"), CT_JSON_COMPACT, NULL);
    assert_string_equal(json, "[[1,2],[3]]");
    ct_free(here->context, json);
    ct_value_free(metadata);
    ct_archive_close(expected);
    ct_archive_close(archive);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_keys_and_tensors, enter, leave),
        cmocka_unit_test_setup_teardown(lies_of_the_head, enter, leave),
        cmocka_unit_test_setup_teardown(lies_of_keys, enter, leave),
        cmocka_unit_test_setup_teardown(lies_of_tensors, enter, leave),
        cmocka_unit_test_setup_teardown(every_truncation, enter, leave),
        cmocka_unit_test_setup_teardown(writes_what_it_reads, enter, leave),
        cmocka_unit_test_setup_teardown(refuses_to_write, enter, leave),
        cmocka_unit_test_setup_teardown(golden_blocks, enter, leave),
        cmocka_unit_test_setup_teardown(failures_are_clean, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
