/* test_npz.c - numpy's files: headers of every version, every type, both orders, what is refused, and
 * archives written and read again. */
#define _GNU_SOURCE
#include "carat/npz.h"
#include "zip_bytes.h"
#include <sys/stat.h>

#define WORLD_FILE "a.npz"
#include "world.h"

/* A .npy file of this version with this dictionary and data 0, 1, 2, ... */
static size_t make_npy(unsigned char *out, int version, const char *dictionary, size_t size) {
    size_t at = 8, length = strlen(dictionary);
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (unsigned char)version;
    out[7] = 0;
    at += zip_number(out + at, length, version == 1 ? 2 : 4);
    memcpy(out + at, dictionary, length);
    at += length;
    for (size_t i = 0; i < size; i++)
        out[at++] = (unsigned char)i;
    return at;
}

static ct_npz *open_npy(world *here, int version, const char *dictionary, size_t size) {
    static unsigned char bytes[1 << 16];
    ct_free(here->context, here->path);
    here->path = ct_path_join(here->context, here->folder, "x.npy");
    write_text(here->context, here->folder, "x.npy", (char *)bytes,
               make_npy(bytes, version, dictionary, size));
    return ct_npz_open(here->context, here->path);
}

static void reads_every_version(void **state) {
    world *here = *state;
    for (int version = 1; version <= 3; version++) {
        ct_npz *file =
            open_npy(here, version, "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }   \n", 12);
        if (!file) fail_msg("%s", ct_context_message(here->context));
        assert_int_equal(ct_npz_count(file), 1);
        const ct_npz_array *array = ct_npz_need(file, "x");
        assert_int_equal(array->rank, 2);
        assert_int_equal(array->shape[0], 2);
        assert_int_equal(array->shape[1], 3);
        assert_int_equal(array->dtype, CT_FILE_I16);
        assert_int_equal(array->count, 6);
        assert_int_equal(array->size, 12);
        assert_true(array->readable && !array->fortran && !array->swapped && !array->compressed);
        unsigned char bytes[12];
        assert_int_equal(ct_npz_read(file, array, bytes, 3, 5), CT_OK);
        for (int i = 0; i < 5; i++)
            assert_int_equal(bytes[i], 3 + i);
        assert_int_equal(ct_npz_read(file, array, bytes, 8, 5), CT_ERROR_ARGUMENT);
        ct_context_clear(here->context);
        assert_null(ct_npz_need(file, "y"));
        ASSERT_ERROR(here->context, CT_ERROR_NOT_FOUND, "has no array \"y\"");
        ct_npz_close(file);
    }
}

/* Element [i, j, k] of a Fortran array of shape (2, 3, 4) lies at i + 2 j + 6 k; big-endian ones are turned.
 * Every range of bytes is asked for. */
static void reads_fortran_order_and_big_endian(void **state) {
    world *here = *state;
    ct_npz *file = open_npy(here, 1, "{'shape': (2L,3L,4L), 'fortran_order': True, 'descr': \">u2\"}", 48);
    if (!file) fail_msg("%s", ct_context_message(here->context));
    const ct_npz_array *array = ct_npz_at(file, 0);
    assert_true(array->fortran && array->swapped);
    unsigned char expected[48], bytes[48];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 4; k++) {
                int to = 2 * ((i * 3 + j) * 4 + k), from = 2 * (i + 2 * j + 6 * k);
                expected[to] = (unsigned char)(from + 1);
                expected[to + 1] = (unsigned char)from;
            }
    for (size_t at = 0; at < 48; at++)
        for (size_t size = 0; at + size <= 48; size++) {
            memset(bytes, 0xee, sizeof bytes);
            assert_int_equal(ct_npz_read(file, array, bytes, at, size), CT_OK);
            assert_memory_equal(bytes, expected + at, size);
            if (size < 48) assert_int_equal(bytes[size], 0xee);
        }
    ct_npz_close(file);
}

static void knows_every_type(void **state) {
    world *here = *state;
    static const struct {
        const char *descr;
        ct_file_dtype dtype;
        size_t size;
    } types[] = {
        {"|b1", CT_FILE_BOOL, 1}, {"|i1", CT_FILE_I8, 1},  {"|u1", CT_FILE_U8, 1},  {"<i2", CT_FILE_I16, 2},
        {"<u2", CT_FILE_U16, 2},  {"<f2", CT_FILE_F16, 2}, {"<i4", CT_FILE_I32, 4}, {"<u4", CT_FILE_U32, 4},
        {"<f4", CT_FILE_F32, 4},  {"=f4", CT_FILE_F32, 4}, {"f4", CT_FILE_F32, 4},  {"<i8", CT_FILE_I64, 8},
        {"<u8", CT_FILE_U64, 8},  {"<f8", CT_FILE_F64, 8}, {"<c8", CT_FILE_C64, 8}, {"<u1", CT_FILE_U8, 1}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char text[100];
        snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (3,)}", types[i].descr);
        if (strcmp(types[i].descr, "f4") == 0) { /* without a byte order the header promises none */
            ct_npz *file = open_npy(here, 1, text, 12);
            assert_false(ct_npz_at(file, 0)->readable);
            ct_npz_close(file);
            continue;
        }
        ct_npz *file = open_npy(here, 1, text, 3 * types[i].size);
        if (!file) fail_msg("%s: %s", types[i].descr, ct_context_message(here->context));
        assert_int_equal(ct_npz_at(file, 0)->dtype, types[i].dtype);
        assert_int_equal(ct_npz_at(file, 0)->size, 3 * types[i].size);
        assert_true(ct_npz_at(file, 0)->readable);
        ct_npz_close(file);
    }
}

/* Listed, but not read; the reason names what they are. */
static void refuses_objects_by_name(void **state) {
    world *here = *state;
    static const char *const cases[][2] = {{"'|O'", "Python objects, which are pickles"},
                                           {"'<U7'", "texts"},
                                           {"'|S3'", "texts"},
                                           {"[('a', '<f4'), ('b', '<i4')]", "records"},
                                           {"'|V2'", "bfloat16"},
                                           {"'<c16'", "a type that is not known"},
                                           {"'<M8[ns]'", "a type that is not known"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[100], byte;
        snprintf(text, sizeof text, "{'descr': %s, 'fortran_order': False, 'shape': (3,)}", cases[i][0]);
        ct_npz *file = open_npy(here, 1, text, 40);
        if (!file) fail_msg("%s: %s", cases[i][0], ct_context_message(here->context));
        assert_false(ct_npz_at(file, 0)->readable);
        assert_int_equal(ct_npz_at(file, 0)->count, 3);
        ct_npz_read(file, ct_npz_at(file, 0), &byte, 0, 1);
        ASSERT_ERROR(here->context, CT_ERROR_UNSUPPORTED, "x.npy: array \"x\" is of type", cases[i][1]);
        ct_npz_close(file);
    }
}

static void refuses_bad_headers(void **state) {
    world *here = *state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "a dictionary"},
        {"[]", "a dictionary"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", "a comma"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", "blanks after"},
        {"{'descr': '<f4', 'fortran_order': False}", "lacks shape"},
        {"{'fortran_order': False, 'shape': (2,)}", "lacks descr"},
        {"{'descr': '<f4', 'shape': (2,)}", "lacks fortran_order"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "each of the keys"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", "each of the keys"},
        {"{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}", "a comma"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}", "True or False"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 2}", "a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", "a dimension"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}", "a comma"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1+1,)}", "a comma"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,)}", "below 2^63"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807,)}", "more than 2^63"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", "need 12 bytes, found 8"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "need 4 bytes, found 8"},
        {"{'descr': __import__('os'), 'fortran_order': False, 'shape': (2,)}", "a string"},
        {"{'descr': '<\\x664', 'fortran_order': False, 'shape': (2,)}", "a plain string"},
        {"{'descr': [('a', 'f4', 'fortran_order': False, 'shape': (2,)", "a list that ends"},
        {"{'descr': '<f4", "the end of a string"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_null(open_npy(here, 1, cases[i].text, 8));
        if (!ct_failed(here->context)) fail_msg("accepted: %s", cases[i].text);
        ASSERT_ERROR(here->context, CT_ERROR_FORMAT, "x.npy", cases[i].message);
    }
    unsigned char bytes[200];
    size_t size = make_npy(bytes, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8);
    for (size_t cut = 0; cut < size; cut++) { /* every truncation */
        write_text(here->context, here->folder, "x.npy", (char *)bytes, cut);
        assert_null(ct_npz_open(here->context, here->path));
        ASSERT_ERROR(here->context, CT_ERROR_FORMAT, "x.npy");
    }
    assert_null(open_npy(here, 4, "{}", 0));
    ASSERT_ERROR(here->context, CT_ERROR_FORMAT, "version 4.0");
}

static void writes_and_reads(void **state) {
    world *here = *state;
    float f[6] = {1, -2, 3.5f, 0, 1e30f, -0.0f};
    int64_t big = 1 << 16, *many = calloc((size_t)big, sizeof *many);
    for (int64_t i = 0; i < big; i++)
        many[i] = i * i;
    ct_npz_writer *writer = ct_npz_create(here->context, here->path);
    assert_int_equal(ct_npz_begin(writer, "embeddings", CT_FILE_F32, 2, (const int64_t[]){2, 3}), CT_OK);
    assert_int_equal(ct_npz_write(writer, f, 10), CT_OK); /* in any pieces */
    assert_int_equal(ct_npz_write(writer, (char *)f + 10, 14), CT_OK);
    assert_int_equal(ct_npz_begin(writer, "caf\xc3\xa9/n", CT_FILE_I64, 1, &big), CT_OK);
    assert_int_equal(ct_npz_write(writer, many, (size_t)big * 8), CT_OK);
    assert_int_equal(ct_npz_begin(writer, "scalar", CT_FILE_BOOL, 0, NULL), CT_OK);
    assert_int_equal(ct_npz_write(writer, "\1", 1), CT_OK);
    assert_int_equal(ct_npz_begin(writer, "empty", CT_FILE_F16, 2, (const int64_t[]){0, 7}), CT_OK);
    assert_int_equal(ct_npz_commit(writer), CT_OK);
    ct_npz *file = ct_npz_open(here->context, here->path);
    if (!file) fail_msg("%s", ct_context_message(here->context));
    assert_int_equal(ct_npz_count(file), 4);
    assert_string_equal(ct_npz_at(file, 0)->name, "embeddings");
    float back[6];
    assert_int_equal(ct_npz_read(file, ct_npz_at(file, 0), back, 0, sizeof back), CT_OK);
    assert_memory_equal(back, f, sizeof f);
    int64_t *again = calloc((size_t)big, sizeof *again);
    assert_int_equal(ct_npz_read(file, ct_npz_need(file, "caf\xc3\xa9/n"), again, 0, (size_t)big * 8), CT_OK);
    assert_memory_equal(again, many, (size_t)big * 8);
    assert_int_equal(ct_npz_need(file, "scalar")->rank, 0);
    assert_int_equal(ct_npz_need(file, "empty")->count, 0);
    ct_npz_close(file);
    size_t length = 0; /* every array's elements begin at a multiple of 64 */
    char *bytes = ct_file_read(here->context, here->path, 1 << 24, &length);
    assert_true(memcmp(memmem(bytes, length, f, sizeof f), f, sizeof f) == 0);
    assert_int_equal(((char *)memmem(bytes, length, f, sizeof f) - bytes) % 64, 0);
    assert_int_equal(((char *)memmem(bytes, length, many, 4096) - bytes) % 64, 0);
    ct_free(here->context, bytes);
    free(many);
    free(again);
}

static void writer_refuses(void **state) {
    world *here = *state;
    const int64_t two = 2;
    ct_npz_writer *writer = ct_npz_create(here->context, here->path);
    assert_int_equal(ct_npz_begin(writer, "b", CT_FILE_BF16, 1, &two), CT_ERROR_UNSUPPORTED);
    ASSERT_ERROR(here->context, CT_ERROR_UNSUPPORTED, "a.npz", "\"b\" is of type BF16, which numpy lacks");
    assert_int_equal(ct_npz_begin(writer, "b", CT_FILE_F32, 1, &two), CT_OK);
    assert_int_equal(ct_npz_write(writer, "12345678901", 9), CT_ERROR_STATE);
    ASSERT_ERROR(here->context, CT_ERROR_STATE, "9 bytes are written to array \"b\", 8 were left");
    assert_int_equal(ct_npz_write(writer, "1234", 4), CT_OK);
    assert_int_equal(ct_npz_begin(writer, "c", CT_FILE_F32, 1, &two), CT_ERROR_STATE);
    ASSERT_ERROR(here->context, CT_ERROR_STATE, "array \"b\" lacks 4 bytes");
    assert_int_equal(ct_npz_write(writer, "1234", 4), CT_OK);
    assert_int_equal(ct_npz_begin(writer, "b", CT_FILE_F32, 1, &two), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(here->context, CT_ERROR_ARGUMENT, "\"b.npy\" is written twice");
    assert_int_equal(ct_npz_begin(writer, "c", CT_FILE_F32, 1, &two), CT_OK);
    assert_int_equal(ct_npz_commit(writer), CT_ERROR_STATE);
    ASSERT_ERROR(here->context, CT_ERROR_STATE, "array \"c\" lacks 8 bytes");
    assert_false(ct_file_exists(here->path)); /* nothing half done */
    ct_npz_abandon(ct_npz_create(here->context, here->path));
    assert_false(ct_file_exists(here->path));
    assert_int_equal(ct_npy_write(here->context, here->path, CT_FILE_F32, 1, &two, "12345678"), CT_OK);
    ct_npz *file = ct_npz_open(here->context, here->path); /* a .npy in spite of its name */
    assert_string_equal(ct_npz_at(file, 0)->name, "a.npz");
    ct_npz_close(file);
}

/* An archive with deflated arrays, one in Fortran order. */
static void reads_compressed(void **state) {
    world *here = *state;
    unsigned char bytes[1 << 14];
    zip_bytes zip = {0};
    size_t size = make_npy(bytes, 1, "{'descr': '|u1', 'fortran_order': True, 'shape': (100, 100)}", 10000);
    zip_add(&zip, "f.npy", bytes, size, true, NULL);
    size = make_npy(bytes, 1, "{'descr': '<u4', 'fortran_order': False, 'shape': (64, 2)}", 512);
    zip_add(&zip, "c.npy", bytes, size, true, NULL);
    zip_finish(&zip);
    write_text(here->context, here->folder, "a.npz", (char *)zip.data, zip.size);
    free(zip.data);
    ct_npz *file = ct_npz_open(here->context, here->path);
    if (!file) fail_msg("%s", ct_context_message(here->context));
    const ct_npz_array *f = ct_npz_need(file, "f"), *c = ct_npz_need(file, "c");
    assert_true(f->compressed && f->fortran && c->compressed);
    unsigned char row[100];
    for (int i = 99; i >= 0; i -= 9) { /* backwards too */
        assert_int_equal(ct_npz_read(file, f, row, (uint64_t)i * 100, 100), CT_OK);
        for (int j = 0; j < 100; j++)
            assert_int_equal(row[j], (unsigned char)(i + 100 * j));
    }
    unsigned char all[512];
    assert_int_equal(ct_npz_read(file, c, all, 0, 512), CT_OK);
    for (int i = 0; i < 512; i++)
        assert_int_equal(all[i], (unsigned char)i);
    ct_npz_close(file);
}

/* A flipped bit is noticed by the checksum. */
static void notices_damage(void **state) {
    world *here = *state;
    float f[64] = {1, 2, 3}, back[64];
    const int64_t n = 64;
    ct_npz_writer *writer = ct_npz_create(here->context, here->path);
    ct_npz_begin(writer, "x", CT_FILE_F32, 1, &n);
    ct_npz_write(writer, f, sizeof f);
    assert_int_equal(ct_npz_commit(writer), CT_OK);
    size_t length = 0;
    char *bytes = ct_file_read(here->context, here->path, 1 << 20, &length);
    *(char *)memmem(bytes, length, f, sizeof f) ^= 1;
    write_text(here->context, here->folder, "a.npz", bytes, length);
    ct_free(here->context, bytes);
    ct_npz *file = ct_npz_open(here->context, here->path);
    assert_non_null(file);
    assert_int_equal(ct_npz_read(file, ct_npz_at(file, 0), back, 0, 128), CT_OK);
    assert_int_equal(ct_npz_read(file, ct_npz_at(file, 0), back, 128, 128), CT_ERROR_FORMAT);
    ASSERT_ERROR(here->context, CT_ERROR_FORMAT, "\"x.npy\" has the checksum", "damaged");
    ct_npz_close(file);
}

static void round_trip(ct_context *context, void *user) {
    const char *path = user;
    const int64_t shape[2] = {3, 5};
    float data[15] = {1, 2, 3}, back[15];
    ct_npz_writer *writer = ct_npz_create(context, path);
    if (writer && ct_npz_begin(writer, "a", CT_FILE_F32, 2, shape) == CT_OK &&
        ct_npz_write(writer, data, sizeof data) == CT_OK &&
        ct_npz_begin(writer, "b", CT_FILE_U8, 1, shape) == CT_OK)
        ct_npz_write(writer, "abc", 3);
    if (writer) ct_npz_commit(writer);
    ct_npz *file = ct_npz_open(context, path);
    if (!file) return;
    const ct_npz_array *a = ct_npz_need(file, "a");
    if (a && ct_npz_read(file, a, back, 0, sizeof back) == CT_OK)
        assert_memory_equal(back, data, sizeof data);
    ct_npz_close(file);
}

static void survives_failures(void **state) {
    world *here = *state;
    sweep_memory(round_trip, here->path, 500);
    sweep_files(round_trip, here->path, 'e', 200);
    sweep_files(round_trip, here->path, 's', 100);
    sweep_files(round_trip, here->path, 'f', 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_every_version, enter, leave),
        cmocka_unit_test_setup_teardown(reads_fortran_order_and_big_endian, enter, leave),
        cmocka_unit_test_setup_teardown(knows_every_type, enter, leave),
        cmocka_unit_test_setup_teardown(refuses_objects_by_name, enter, leave),
        cmocka_unit_test_setup_teardown(refuses_bad_headers, enter, leave),
        cmocka_unit_test_setup_teardown(writes_and_reads, enter, leave),
        cmocka_unit_test_setup_teardown(writer_refuses, enter, leave),
        cmocka_unit_test_setup_teardown(reads_compressed, enter, leave),
        cmocka_unit_test_setup_teardown(notices_damage, enter, leave),
        cmocka_unit_test_setup_teardown(survives_failures, enter, leave)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
