/* test_idx.c - IDX files: worked bytes of every type, gzip, real MNIST, and what is refused. */
#include "base/check.h"
#include <carat/data.h>
#include <carat/tensor.h>
#include <zlib.h>

static char path[280];

static void write_file(ct_context *context, const void *data, size_t size) {
    assert_int_equal(ct_file_write(context, path, data, size), CT_OK);
}

static void write_gzip(const void *data, size_t size) {
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, data, (unsigned)size), (int)size);
    assert_int_equal(gzclose(file), Z_OK);
}

/* Reads and compares with doubles. */
static void expect(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape,
                   const double *values) {
    ct_scope scope = ct_scope_open(context);
    ct_tensor *tensor = ct_idx_read(context, path);
    if (!tensor) fail_msg("%s", ct_context_message(context));
    assert_int_equal(ct_dtype_of(tensor), dtype);
    assert_int_equal(ct_ndim(tensor), ndim);
    for (int i = 0; i < ndim; i++)
        assert_true(ct_dim(tensor, i) == shape[i]);
    double found[16];
    assert_int_equal(ct_read(tensor, CT_F64, found), CT_OK);
    for (int64_t i = 0; i < ct_count(tensor); i++)
        assert_true(found[i] == values[i]);
    ct_scope_close(context, scope);
}

#define BYTES(text) text, sizeof(text) - 1

static void test_types(void **state) {
    ct_context *context = *state;
    const int64_t two[] = {2}, matrix[] = {2, 3};
    write_file(context, BYTES("\0\0\x08\x02\0\0\0\x02\0\0\0\x03\x00\x01\x02\x80\xfe\xff"));
    expect(context, CT_U8, 2, matrix, (double[]){0, 1, 2, 128, 254, 255});
    write_file(context, BYTES("\0\0\x09\x01\0\0\0\x02\x7f\x80"));
    expect(context, CT_I8, 1, two, (double[]){127, -128});
    write_file(context, BYTES("\0\0\x0b\x01\0\0\0\x02\x01\x02\xff\xfe"));
    expect(context, CT_I32, 1, two, (double[]){258, -2});
    write_file(context, BYTES("\0\0\x0c\x01\0\0\0\x02\x00\x01\x00\x00\xff\xff\xff\xfd"));
    expect(context, CT_I32, 1, two, (double[]){65536, -3});
    write_file(context, BYTES("\0\0\x0d\x01\0\0\0\x02\x3f\xc0\x00\x00\xc0\x00\x00\x00"));
    expect(context, CT_F32, 1, two, (double[]){1.5, -2});
    write_file(context, BYTES("\0\0\x0e\x01\0\0\0\x02\x3f\xf8\0\0\0\0\0\0\xc0\x08\0\0\0\0\0\0"));
    expect(context, CT_F64, 1, two, (double[]){1.5, -3});
    write_file(context, BYTES("\0\0\x08\x02\0\0\0\x00\0\0\0\x03"));
    expect(context, CT_U8, 2, (int64_t[]){0, 3}, NULL);
}

static void test_gzip(void **state) {
    ct_context *context = *state;
    write_gzip(BYTES("\0\0\x0c\x01\0\0\0\x02\x00\x01\x00\x00\xff\xff\xff\xfd"));
    expect(context, CT_I32, 1, (int64_t[]){2}, (double[]){65536, -3});
    /* A large one crosses all buffers; its elements are a function of their position. */
    size_t count = 700001;
    unsigned char *file = calloc(8 + 4 * count, 1);
    memcpy(file, "\0\0\x0c\x01", 4);
    for (int i = 0; i < 4; i++)
        file[4 + i] = (unsigned char)(count >> (24 - 8 * i));
    for (size_t i = 0; i < count; i++)
        for (int b = 0; b < 4; b++)
            file[8 + 4 * i + b] = (unsigned char)((uint32_t)(i * 2654435761u) >> (24 - 8 * b));
    for (int compressed = 0; compressed < 2; compressed++) {
        if (compressed)
            write_gzip(file, 8 + 4 * count);
        else
            write_file(context, file, 8 + 4 * count);
        ct_scope scope = ct_scope_open(context);
        ct_tensor *tensor = ct_idx_read(context, path);
        assert_non_null(tensor);
        const int32_t *data = ct_data(tensor);
        for (size_t i = 0; i < count; i++)
            assert_true(data[i] == (int32_t)(uint32_t)(i * 2654435761u));
        ct_scope_close(context, scope);
    }
    free(file);
}

static void refuse(ct_context *context, ct_status status, const char *message) {
    assert_null(ct_idx_read(context, path));
    assert_fails_with(context, status, message);
}

static void test_refused(void **state) {
    ct_context *context = *state;
    write_file(context, "", 0);
    refuse(context, CT_ERROR_FORMAT, "ends within its header");
    write_file(context, BYTES("\0\0\x08"));
    refuse(context, CT_ERROR_FORMAT, "ends within its header");
    write_file(context, BYTES("\0\0\x08\x02\0\0\0\x02\0\0"));
    refuse(context, CT_ERROR_FORMAT, "ends within its header");
    write_file(context, BYTES("\x89PNG\r\n\x1a\n"));
    refuse(context, CT_ERROR_FORMAT, "not an IDX file: it begins with 89 50 4e 47");
    write_file(context, BYTES("\0\0\x0a\x01\0\0\0\x01\x01"));
    refuse(context, CT_ERROR_FORMAT, "not an IDX file");
    write_file(context, BYTES("\0\0\x08\x00"));
    refuse(context, CT_ERROR_FORMAT, "not an IDX file");
    write_file(context, BYTES("\0\0\x08\x09\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01"));
    refuse(context, CT_ERROR_FORMAT, "01 to 08 axes");
    write_file(context, BYTES("\0\0\x08\x01\0\0\0\x03\x01\x02\x03\x04"));
    refuse(context, CT_ERROR_FORMAT, "bytes after the last element");
    write_file(context, BYTES("\0\0\x08\x01\0\0\0\x07\x01\x02\x03"));
    refuse(context, CT_ERROR_FORMAT, "ends within its elements");
    write_file(context, BYTES("\0\0\x08\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    refuse(context, CT_ERROR_FORMAT,
           "[4294967295, 4294967295, 4294967295], which a file of 17 bytes cannot hold");
    write_file(context, BYTES("\0\0\x08\x03\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"));
    refuse(context, CT_ERROR_FORMAT, "cannot hold");
    write_file(context, BYTES("\0\0\x08\x03\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"));
    refuse(context, CT_ERROR_FORMAT, "cannot hold");
    snprintf(path, sizeof(path), "/nowhere/images");
    refuse(context, CT_ERROR_NOT_FOUND, "/nowhere/images");
}

/* Every beginning of a compressed file, and every byte of it changed, is refused or gives the same bytes (the
 * header of gzip has fields that do not matter). */
static void test_damaged_gzip(void **state) {
    ct_context *context = *state;
    static const char idx[] = "\0\0\x08\x01\0\0\0\x0a"
                              "0123456789";
    write_gzip(BYTES(idx));
    size_t size;
    char *good = ct_file_read(context, path, 1 << 16, &size);
    int refused = 0;
    for (size_t cut = 2; cut < size; cut++) {
        write_file(context, good, cut);
        assert_null(ct_idx_read(context, path));
        assert_int_equal(ct_context_status(context), CT_ERROR_FORMAT);
        ct_context_clear(context);
    }
    for (size_t i = 0; i < size; i++) {
        good[i] ^= 0x55;
        write_file(context, good, size);
        ct_scope scope = ct_scope_open(context);
        ct_tensor *tensor = ct_idx_read(context, path);
        if (tensor)
            assert_memory_equal(ct_data(tensor), "0123456789", 10);
        else
            refused++;
        ct_scope_close(context, scope);
        ct_context_clear(context);
        good[i] ^= 0x55;
    }
    assert_true(refused >= (int)size - 7);
    char *more = ct_alloc(context, size + 1, CT_MEMORY_OTHER);
    memcpy(more, good, size);
    more[size] = 'x';
    write_file(context, more, size + 1);
    refuse(context, CT_ERROR_FORMAT, "bytes after the last element");
    ct_free(context, more);
    ct_free(context, good);
}

static void test_failures(void **state) {
    ct_context *context = *state;
    write_gzip(BYTES("\0\0\x0c\x01\0\0\0\x02\x00\x01\x00\x00\xff\xff\xff\xfd"));
    for (int64_t n = 1; n < 20; n++) {
        ct_scope scope = ct_scope_open(context);
        ct_memory_fail_at(context, n);
        ct_tensor *tensor = ct_idx_read(context, path);
        ct_memory_fail_at(context, 0);
        assert_true((tensor == NULL) == ct_failed(context));
        ct_context_clear(context);
        ct_file_fail_at(context, n, 'e');
        tensor = ct_idx_read(context, path);
        ct_file_fail_at(context, 0, 'e');
        assert_true((tensor == NULL) == ct_failed(context));
        assert_true(n > 1 || ct_failed(context));
        ct_context_clear(context);
        ct_scope_close(context, scope);
    }
}

static void test_mnist(void **state) {
    ct_context *context = *state;
    const char *shared = getenv("CARAT_SHARED");
    snprintf(path, sizeof(path), "%s/data/mnist/t10k-labels-idx1-ubyte.gz", shared ? shared : "");
    if (!ct_file_exists(path)) {
        print_message("skipped: there is no %s\n", path);
        skip();
    }
    ct_scope scope = ct_scope_open(context);
    ct_tensor *labels = ct_idx_read(context, path);
    assert_true(labels && ct_ndim(labels) == 1 && ct_dim(labels, 0) == 10000);
    assert_memory_equal(ct_data(labels), "\7\2\1\0\4\1\4\11\5\11", 10);
    snprintf(path, sizeof(path), "%s/data/mnist/t10k-images-idx3-ubyte.gz", shared);
    ct_tensor *images = ct_idx_read(context, path);
    assert_true(images && ct_ndim(images) == 3 && ct_dim(images, 0) == 10000 && ct_dim(images, 2) == 28);
    ct_scope_close(context, scope);
}

static char folder[256];
static int begin(void **state) {
    ct_context *context = ct_context_create(1);
    make_folder(folder, sizeof(folder));
    snprintf(path, sizeof(path), "%s/file.idx", folder);
    *state = context;
    return 0;
}
static int finish(void **state) {
    ct_context *context = *state;
    ct_folder_remove(context, folder);
    ct_context_destroy(context);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)
int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_types),        TEST(test_gzip),     TEST(test_refused),
                                       TEST(test_damaged_gzip), TEST(test_failures), TEST(test_mnist)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
