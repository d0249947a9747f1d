/* test_safetensors.c - safetensors: reading, every lie a header can tell, writing, shards. */
#define WORLD_FILE "model.safetensors"
#include "world.h"

/* A file with this header and `size` bytes of data 0, 1, 2, ... */
static void write_file(world *here, const char *name, const char *header, size_t size) {
    ct_bytes bytes = {0};
    uint64_t length = strlen(header);
    for (int i = 0; i < 8; i++)
        ct_bytes_append(here->context, &bytes, &(char){(char)(length >> (8 * i))}, 1);
    ct_bytes_append(here->context, &bytes, header, length);
    for (size_t i = 0; i < size; i++)
        ct_bytes_append(here->context, &bytes, &(char){(char)i}, 1);
    write_text(here->context, here->folder, name, bytes.data, bytes.length);
    ct_bytes_free(here->context, &bytes);
}

static void reads_tensors(void **state) {
    world *here = *state;
    write_file(here, "model.safetensors",
               "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"\\u00e9\"},\"b\":{\"dtype\":\"F32\","
               "\"shape\":[2,3],\"data_offsets\":[4,28]},"
               "\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},\"s\":{\"dtype\":\"I64\","
               "\"shape\":[],\"data_offsets\":[28,36]},"
               "\"e\":{\"dtype\":\"F8_E4M3\",\"shape\":[3,0],\"data_offsets\":[36,36]}}   ",
               36);
    ct_safetensors *file = ct_safetensors_open(here->context, here->folder);
    assert_non_null(file);
    assert_int_equal(ct_safetensors_count(file), 4);
    assert_string_equal(ct_safetensors_at(file, 0)->name, "a"); /* by offset */
    assert_null(ct_safetensors_at(file, 4));
    const ct_safetensors_tensor *b = ct_safetensors_find(file, "b");
    assert_int_equal(b->rank, 2);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->dtype, CT_FILE_F32);
    assert_int_equal(b->count, 6);
    assert_int_equal(b->size, 24);
    unsigned char bytes[8];
    assert_int_equal(ct_safetensors_read(file, b, bytes, 5, 3), CT_OK);
    assert_int_equal(bytes[0], 9);
    assert_int_equal(bytes[2], 11);
    assert_int_equal(*(const unsigned char *)ct_safetensors_map(file, ct_safetensors_find(file, "s")), 28);
    assert_int_equal(ct_safetensors_find(file, "s")->count, 1);
    assert_int_equal(ct_safetensors_find(file, "e")->count, 0);
    assert_string_equal(ct_value_as_string(ct_value_get(ct_safetensors_metadata(file), "note"), ""),
                        "\xc3\xa9");
    ct_dtype dtype;
    assert_int_equal(ct_safetensors_loadable(file, b, &dtype), CT_OK);
    assert_int_equal(dtype, CT_F32);
    assert_int_equal(ct_safetensors_loadable(file, ct_safetensors_find(file, "e"), &dtype),
                     CT_ERROR_UNSUPPORTED);
    ASSERT_ERROR(here->context, CT_ERROR_UNSUPPORTED, here->path, "tensor \"e\" is of type F8_E4M3");
    assert_int_equal(ct_safetensors_read(file, b, bytes, 20, 5), CT_ERROR_ARGUMENT);
    ct_context_clear(here->context);
    assert_null(ct_safetensors_need(file, "bb"));
    ASSERT_ERROR(here->context, CT_ERROR_NOT_FOUND, here->path, "has no tensor \"bb\"");
    ct_safetensors_close(file);
}

#define T(name, dtype, shape, begin, end)                                                                    \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static void refuses_lies(void **state) {
    world *here = *state;
    static const struct {
        const char *header, *part;
    } cases[] = {
        {"{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[1]", "4", "8") "}",
         "tensor \"b\" overlaps tensor \"a\""},
        {"{" T("a", "F32", "[1]", "0", "4") "}", "4 bytes after the last tensor belong to none"},
        {"{" T("a", "F32", "[1]", "4", "8") "}",
         "tensor \"a\" is preceded by 4 bytes that belong to no tensor"},
        {"{" T("a", "F32", "[3]", "0", "12") "}",
         "tensor \"a\" ends at offset 12, but the file has only 8 bytes of data"},
        {"{" T("a", "F32", "[2]", "8", "0") "}", "tensor \"a\" ends at offset 0, before its begin at 8"},
        {"{" T("a", "F32", "[3]", "0", "8") "}",
         "tensor \"a\" needs 12 bytes by its shape and type F32, but its data_offsets span 8"},
        {"{" T("a", "F32", "[2]", "0", "8") "," T("a", "F32", "[0]", "8", "8") "}",
         "tensor \"a\" stands twice"},
        {"{" T("a", "F32", "[4611686018427387904,4]", "0", "8") "}",
         "tensor \"a\" has a shape whose size in F32 is no whole number of bytes below 2^63"},
        {"{" T("a", "F32", "[9223372036854775808]", "0", "8") "}",
         "tensor \"a\" has 9.2233720368547758e+18 in its shape"},
        {"{" T("a", "F32", "[0,4611686018427387904,4]", "0", "0") "}", "tensor \"a\" has a shape whose size"},
        {"{" T("a", "F32", "[2]", "0", "9223372036854775808") "}", "in its data_offsets"},
        {"{" T("a", "F32", "[-2]", "0", "8") "}", "tensor \"a\" has -2 in its shape"},
        {"{" T("a", "F32", "[2.0]", "0", "8") "}", "tensor \"a\" has 2 in its shape"},
        {"{" T("a", "F32", "\"2\"", "0", "8") "}", "tensor \"a\" has a shape that is no list"},
        {"{" T("a", "Q4", "[2]", "0", "8") "}", "tensor \"a\" is of the unknown type \"Q4\""},
        {"{" T("a", "F4", "[3]", "0", "1") "}", "no whole number of bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", "tensor \"a\" lacks data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,8]}}",
         "tensor \"a\" has a key twice (shape)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", "more than two data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}",
         "tensor \"a\" has something else than integers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}",
         "tensor \"a\" has the unknown key \"x\""},
        {"{\"a\":[1]}", "tensor \"a\" is not described by a map"},
        {"{\"__metadata__\":{\"n\":1}}", "__metadata__ key \"n\" is an integer, expected a string"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", "__metadata__ stands twice"},
        {"{\"\xff\":1}", "a string is not UTF-8"},
        {"{\"a\\u0000\":1}", "a tensor's name holds the character NUL"},
        {"{\"a\":", "expected a value"},
        {"[]", "the header does not begin with '{'"},
        {"{} x", "after the end of the document"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_file(here, "model.safetensors", cases[i].header, 8);
        assert_null(ct_safetensors_open(here->context, here->path));
        ASSERT_ERROR(here->context, CT_ERROR_FORMAT, here->path, cases[i].part);
    }
}

static void refuses_lengths(void **state) {
    world *here = *state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *part;
    } cases[] = {{"", 0, "0 bytes are too few"},
                 {"\x02\0\0\0\0\0\0", 7, "7 bytes are too few"},
                 {"\x03\0\0\0\0\0\0\0{}", 10, "the header claims 3 bytes, but the file has only 2"},
                 {"\xff\xff\xff\xff\xff\xff\xff\xff{}", 10,
                  "the header claims 18446744073709551615 bytes, expected at most 100000000"},
                 {"\0\0\0\0\0\0\0\x80{}", 10, "the header claims 9223372036854775808 bytes"},
                 {"\0\0\0\0\0\0\0\0", 8, "the header does not begin with '{'"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_text(here->context, here->folder, "model.safetensors", cases[i].bytes, cases[i].size);
        assert_null(ct_safetensors_open(here->context, here->path));
        ASSERT_ERROR(here->context, CT_ERROR_FORMAT, here->path, cases[i].part);
    }
    assert_null(ct_safetensors_open(here->context, "/nonexistent.safetensors"));
    ASSERT_ERROR(here->context, CT_ERROR_NOT_FOUND, "/nonexistent.safetensors");
    ct_file_remove(here->context, here->path);
    assert_null(ct_safetensors_open(here->context, here->folder));
    ASSERT_ERROR(here->context, CT_ERROR_NOT_FOUND, here->folder,
                 "has neither model.safetensors nor model.safetensors.index.json");
}

/* The bytes that Python's safetensors 0.8 writes for {"b": uint8 [1,2,3], "a": float32 [1.5]} with {"format":
 * "pt"}. */
static void writes_as_the_reference_does(void **state) {
    world *here = *state;
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":["
                                 "1],\"data_offsets\":[0,4]},"
                                 "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[4,7]}}";
    ct_safetensors_writer *writer = ct_safetensors_create(here->context, here->path);
    ct_safetensors_declare(writer, "b", CT_FILE_U8, 1, (const int64_t[]){3});
    ct_safetensors_declare(writer, "a", CT_FILE_F32, 1, (const int64_t[]){1});
    ct_safetensors_write(writer, "\x01\x02", 2); /* pieces need not end where tensors do */
    ct_safetensors_write(writer, "\x03\x00\x00\xc0\x3f", 5);
    assert_int_equal(ct_safetensors_commit(writer), CT_OK);
    size_t length;
    char *bytes = ct_file_read(here->context, here->path, 1000, &length);
    size_t padded = (sizeof header - 1 + 7) / 8 * 8;
    assert_int_equal(length, 8 + padded + 7);
    assert_int_equal((unsigned char)bytes[0], padded);
    assert_memory_equal(bytes + 8, header, sizeof header - 1);
    for (size_t i = sizeof header - 1; i < padded; i++)
        assert_int_equal(bytes[8 + i], ' ');
    assert_memory_equal(bytes + 8 + padded, "\x00\x00\xc0\x3f\x01\x02\x03", 7);
    ct_free(here->context, bytes);
}

static void writer_checks_its_caller(void **state) {
    world *here = *state;
    ct_context *context = here->context;
    write_text(context, here->folder, "model.safetensors", "before", 6);
    ct_safetensors_writer *writer = ct_safetensors_create(context, here->path);
    ct_safetensors_declare(writer, "a", CT_FILE_F32, 1, (const int64_t[]){2});
    assert_int_equal(ct_safetensors_declare(writer, "a", CT_FILE_F32, 0, NULL), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, here->path, "tensor \"a\" is declared twice");
    assert_int_equal(ct_safetensors_declare(writer, "\xff", CT_FILE_F32, 0, NULL), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "not UTF-8");
    assert_int_equal(ct_safetensors_declare(writer, "h", CT_FILE_F64, 2, (const int64_t[]){INT64_MAX, 2}),
                     CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "tensor \"h\" has a shape that no file can hold");
    assert_int_equal(ct_safetensors_write(writer, "12345", 5), CT_OK);
    assert_int_equal(ct_safetensors_declare(writer, "c", CT_FILE_F32, 0, NULL), CT_ERROR_STATE);
    ct_context_clear(context);
    assert_int_equal(ct_safetensors_commit(writer), CT_ERROR_STATE);
    ASSERT_ERROR(context, CT_ERROR_STATE, here->path, "only 5 of 8 bytes of tensor \"a\" were written");
    writer = ct_safetensors_create(context, here->path);
    assert_int_equal(ct_safetensors_write(writer, "x", 1), CT_ERROR_STATE);
    ASSERT_ERROR(context, CT_ERROR_STATE, "1 bytes are written beyond the last declared tensor");
    ct_safetensors_abandon(writer);
    size_t length;
    char *bytes = ct_file_read(context, here->path, 1000, &length);
    assert_string_equal(bytes, "before");
    ct_free(context, bytes);
    ct_value *names = ct_folder_list(context, here->folder); /* no temporary files are left */
    assert_int_equal(ct_value_count(names), 1);
    ct_value_free(names);
}

/* Three tensors of 8 bytes into shards of at most `limit`. */
static void write_model(ct_context *context, const char *folder, uint64_t limit) {
    ct_safetensors_writer *writer = ct_safetensors_create_folder(context, folder, limit);
    static const char *const names[] = {"x", "y", "w"};
    for (int i = 0; i < 3 && writer; i++)
        ct_safetensors_declare(writer, names[i], CT_FILE_I32, 1, (const int64_t[]){2});
    if (writer) ct_safetensors_write(writer, "aaaaaaaabbbbbbbbcccccccc", 24);
    if (writer) ct_safetensors_commit(writer);
}

static void check_model(ct_context *context, const char *folder, size_t files) {
    ct_safetensors *file = ct_safetensors_open(context, folder);
    assert_non_null(file);
    assert_int_equal(ct_safetensors_files(file), files);
    assert_int_equal(ct_safetensors_count(file), 3);
    static const char *const names[] = {"x", "y", "w"};
    for (int i = 0; i < 3; i++) {
        char bytes[8];
        assert_int_equal(ct_safetensors_read(file, ct_safetensors_find(file, names[i]), bytes, 0, 8), CT_OK);
        for (int j = 0; j < 8; j++)
            assert_int_equal(bytes[j], "abc"[i]);
    }
    ct_safetensors_close(file);
}

static void writes_shards(void **state) {
    world *here = *state;
    ct_context *context = here->context;
    write_model(context, here->folder, 0);
    check_model(context, here->folder, 1);
    write_model(context, here->folder,
                16); /* two shards; model.safetensors must go, it would be read first */
    check_model(context, here->folder, 2);
    char *path = ct_path_join(context, here->folder, "model.safetensors.index.json");
    size_t length;
    char *text = ct_file_read(context, path, 10000, &length);
    assert_string_equal(text, "{\n  \"metadata\": {\n    \"total_size\": 24\n  },\n  \"weight_map\": {\n    "
                              "\"w\": \"model-00002-of-00002.safetensors\",\n"
                              "    \"x\": \"model-00001-of-00002.safetensors\",\n    \"y\": "
                              "\"model-00001-of-00002.safetensors\"\n  }\n}\n");
    ct_free(context, text);
    ct_free(context, path);
    write_model(context, here->folder, 1); /* a tensor larger than the limit has its own shard */
    check_model(context, here->folder, 3);
    write_model(context, here->folder, 24);
    check_model(context, here->folder, 1);
    ct_value *names = ct_folder_list(context, here->folder);
    assert_int_equal(ct_value_count(names), 1);
    ct_value_free(names);
}

static void refuses_index(world *here, const char *index, ct_status status, const char *part) {
    write_text(here->context, here->folder, "model.safetensors.index.json", index, strlen(index));
    assert_null(ct_safetensors_open(here->context, here->folder));
    ASSERT_ERROR(here->context, status, here->folder, part);
}

static void refuses_bad_shards(void **state) {
    world *here = *state;
    write_file(here, "s1.safetensors", "{" T("a", "F32", "[2]", "0", "8") "}", 8);
    write_file(here, "s2.safetensors", "{" T("b", "F32", "[2]", "0", "8") "}", 8);
    write_file(here, "s3.safetensors",
               "{" T("a", "F32", "[1]", "0", "4") "," T("c", "F32", "[1]", "4", "8") "}", 8);
    refuses_index(here, "{\"weight_map\":{\"a\":\"s1.safetensors\",\"z\":\"s9.safetensors\"}}",
                  CT_ERROR_NOT_FOUND, "names the shard");
    refuses_index(here, "{\"weight_map\":{\"a\":\"s1.safetensors\",\"z\":\"s2.safetensors\"}}",
                  CT_ERROR_FORMAT, "tensor \"z\" is said to be in s2.safetensors, which lacks it");
    refuses_index(here, "{\"weight_map\":{\"a\":\"s1.safetensors\",\"c\":\"s3.safetensors\"}}",
                  CT_ERROR_FORMAT, "tensor \"a\" stands twice, also in");
    refuses_index(here, "{\"weight_map\":{\"c\":\"s3.safetensors\"}}", CT_ERROR_FORMAT, "tensor \"a\" of");
    refuses_index(here, "{\"weight_map\":{\"a\":\"../s1.safetensors\"}}", CT_ERROR_FORMAT,
                  "expected the name of a file beside the index");
    refuses_index(here, "{\"weight_map\":{\"a\":1}}", CT_ERROR_FORMAT,
                  "expected the name of a file beside the index");
    refuses_index(here, "{\"weight_map\":{}}", CT_ERROR_FORMAT, "has no \"weight_map\"");
    refuses_index(here, "{\"weight_map\":{\"a\":\"s1.safetensors\",\"a\":\"s2.safetensors\"}}",
                  CT_ERROR_FORMAT, "the key \"a\" stands twice");
}

static void write_work(ct_context *context, void *user) {
    write_model(context, user, 16);
}

static void read_work(ct_context *context, void *user) {
    ct_safetensors *file = ct_safetensors_open(context, user);
    char bytes[8];
    if (file) ct_safetensors_read(file, ct_safetensors_at(file, 2), bytes, 0, 8);
    ct_safetensors_close(file);
}

/* Each allocation and each file call fails once: nothing leaks, what was there stays readable. */
static void survives_failures(void **state) {
    world *here = *state;
    write_model(here->context, here->folder, 16);
    sweep_memory(read_work, here->folder, 2000);
    sweep_files(read_work, here->folder, 's', 20);
    sweep_files(read_work, here->folder, 'e', 200);
    sweep_memory(write_work, here->folder, 3000);
    static const char kinds[] = "sef";
    for (const char *kind = kinds; *kind; kind++) {
        sweep_files(write_work, here->folder, *kind, *kind == 's' ? 20 : 300);
        check_model(here->context, here->folder, 2);
    }
}

/* A real file is written back to the same bytes. */
static void is_lossless(void **state) {
    world *here = *state;
    ct_context *context = here->context;
    char buffer[512];
    const char *path = shared_path("data/models/cifar-resnet20.safetensors", buffer);
    if (!path) return;
    ct_safetensors *file = ct_safetensors_open(context, path);
    assert_non_null(file);
    ct_safetensors_writer *writer = ct_safetensors_create(context, here->path);
    ct_safetensors_set_metadata(writer, "format", NULL);
    const ct_value *metadata = ct_safetensors_metadata(file);
    for (size_t i = 0; i < ct_value_count(metadata); i++)
        ct_safetensors_set_metadata(writer, ct_value_key(metadata, i),
                                    ct_value_as_string(ct_value_at(metadata, i), ""));
    for (size_t i = 0; i < ct_safetensors_count(file); i++) {
        const ct_safetensors_tensor *tensor = ct_safetensors_at(file, i);
        ct_safetensors_declare(writer, tensor->name, tensor->dtype, tensor->rank, tensor->shape);
    }
    for (size_t i = 0; i < ct_safetensors_count(file); i++) {
        const ct_safetensors_tensor *tensor = ct_safetensors_at(file, i);
        ct_safetensors_write(writer, ct_safetensors_map(file, tensor), tensor->size);
    }
    assert_int_equal(ct_safetensors_commit(writer), CT_OK);
    ct_safetensors_close(file);
    size_t length, written_length;
    char *original = ct_file_read(context, path, 1 << 24, &length),
         *written = ct_file_read(context, here->path, 1 << 24, &written_length);
    assert_int_equal(length, written_length);
    assert_memory_equal(original, written, length);
    ct_free(context, original);
    ct_free(context, written);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)
int main(void) {
    const struct CMUnitTest tests[] = {TEST(reads_tensors),
                                       TEST(refuses_lies),
                                       TEST(refuses_lengths),
                                       TEST(writes_as_the_reference_does),
                                       TEST(writer_checks_its_caller),
                                       TEST(writes_shards),
                                       TEST(refuses_bad_shards),
                                       TEST(survives_failures),
                                       TEST(is_lossless)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
