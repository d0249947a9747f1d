/* test_torch_zip.c - files of PyTorch and numpy as archives: what tests/golden/make_archives.py wrote, to the
 * byte; hostile ones, each with words of its refusal; files cut short and files that shrink while they are
 * read. */
#include "carat/archive.h"
#include "check.h"
#include <stdio.h>
#include <sys/stat.h>

static const char *golden(const char *name, char path[512]) {
    const char *source = getenv("CARAT_SOURCE");
    snprintf(path, 512, "%s/tests/golden/archives/%s", source ? source : ".", name);
    return path;
}

static ct_value *expected(ct_context *context) {
    char path[512];
    ct_value *value = ct_json_read(context, golden("expected.json", path));
    if (!value) fail_msg("%s", ct_context_message(context));
    return value;
}

/* Bytes from hexadecimal text; the caller frees them. */
static unsigned char *unhex(const ct_value *text, size_t *size) {
    const char *digits = ct_value_as_string(text, "");
    *size = ct_value_string_length(text) / 2;
    unsigned char *bytes = malloc(*size + 1);
    for (size_t i = 0; i < *size; i++) {
        char pair[3] = {digits[2 * i], digits[2 * i + 1], 0};
        bytes[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
    return bytes;
}

/* The whole at once, every single byte, and pieces that begin and end within elements. */
static void check_bytes(ct_archive *archive, const ct_archive_tensor *tensor, const unsigned char *bytes,
                        size_t size, ct_context *context) {
    unsigned char *read = malloc(size + 1);
    assert_int_equal(tensor->size, size);
    read[size] = 0xa5;
    if (ct_archive_read(archive, tensor, read, 0, size) != CT_OK) fail_msg("%s", ct_context_message(context));
    if (memcmp(read, bytes, size) != 0) fail_msg("\"%s\": other bytes", tensor->name);
    assert_int_equal(read[size], 0xa5);
    for (size_t piece = 1; piece < size; piece = piece * 2 + 1)
        for (size_t at = 0; at < size; at += piece) {
            size_t n = size - at < piece ? size - at : piece;
            assert_int_equal(ct_archive_read(archive, tensor, read, at, n), CT_OK);
            if (memcmp(read, bytes + at, n) != 0) fail_msg("\"%s\": other bytes from %zu", tensor->name, at);
        }
    if (tensor->file >= 0 && size) { /* the same from the file itself */
        ct_file *file = ct_file_open(context, ct_archive_file_path(archive, (size_t)tensor->file));
        assert_int_equal(ct_file_pread(file, read, size, tensor->offset), CT_OK);
        assert_memory_equal(read, bytes, size);
        ct_file_close(file);
    }
    free(read);
}

static void check_tensor(ct_archive *archive, size_t index, const ct_value *said, ct_context *context) {
    const ct_archive_tensor *tensor = ct_archive_at(archive, index);
    const ct_value *shape = ct_value_get(said, "shape");
    assert_string_equal(tensor->name, ct_value_as_string(ct_value_get(said, "name"), ""));
    assert_string_equal(ct_element_name(tensor->type), ct_value_as_string(ct_value_get(said, "type"), ""));
    assert_int_equal(tensor->rank, ct_value_count(shape));
    for (int i = 0; i < tensor->rank; i++)
        assert_int_equal(tensor->shape[i], ct_value_as_int(ct_value_at(shape, (size_t)i), -1));
    const ct_archive_tensor *alias = ct_archive_alias(archive, tensor);
    const char *other = ct_value_as_string(ct_value_get(said, "alias"), NULL);
    if (other)
        assert_string_equal(alias ? alias->name : "none", other);
    else
        assert_null(alias);
    size_t size;
    unsigned char *bytes = unhex(ct_value_get(said, "hex"), &size);
    check_bytes(archive, tensor, bytes, size, context);
    free(bytes);
}

static void reads_good_files(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_value *all = expected(context);
    const ct_value *good = ct_value_get(all, "good");
    assert_true(ct_value_count(good) >= 13);
    for (size_t i = 0; i < ct_value_count(good); i++) {
        char path[512];
        const ct_value *said = ct_value_at(good, i), *tensors = ct_value_get(said, "tensors");
        ct_archive *archive = ct_archive_open(context, golden(ct_value_key(good, i), path));
        if (!archive) fail_msg("%s", ct_context_message(context));
        assert_string_equal(ct_archive_format_name(archive),
                            ct_value_as_string(ct_value_get(said, "format"), ""));
        assert_int_equal(ct_archive_count(archive), ct_value_count(tensors));
        for (size_t t = 0; t < ct_value_count(tensors); t++)
            check_tensor(archive, t, ct_value_at(tensors, t), context);
        ct_value *metadata = ct_archive_metadata(archive, 0);
        if (!ct_value_equal(metadata, ct_value_get(said, "metadata"))) {
            char *text = ct_json_text(context, metadata, CT_JSON_PRETTY, NULL);
            fail_msg("%s: other metadata: %s", path, text);
        }
        ct_value_free(metadata);
        ct_archive_close(archive);
    }
    ct_value_free(all);
    end_context(context);
}

/* Opening reads all pickles; npz arrays of odd types are refused at the same place. */
static void refuses_bad_files(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_value *all = expected(context);
    const ct_value *bad = ct_value_get(all, "bad");
    assert_true(ct_value_count(bad) >= 60);
    for (size_t i = 0; i < ct_value_count(bad); i++) {
        char path[512];
        const char *name = ct_value_key(bad, i);
        const ct_value *words = ct_value_at(bad, i);
        ct_archive *archive = ct_archive_open(context, golden(name, path));
        if (archive) fail_msg("%s was accepted", name);
        const char *message = ct_context_message(context);
        ct_status status = ct_context_status(context);
        if (status != CT_ERROR_FORMAT && status != CT_ERROR_UNSUPPORTED && status != CT_ERROR_NOT_FOUND)
            fail_msg("%s: status %s: %s", name, ct_status_name(status), message);
        if (!strstr(message, name)) fail_msg("%s is not named in \"%s\"", name, message);
        for (size_t w = 0; w < ct_value_count(words); w++)
            if (!strstr(message, ct_value_as_string(ct_value_at(words, w), "?")))
                fail_msg("%s: \"%s\" is not in \"%s\"", name, ct_value_as_string(ct_value_at(words, w), "?"),
                         message);
        ct_context_clear(context);
    }
    ct_value_free(all);
    assert_int_not_equal(access("/tmp/pwned", F_OK), 0);
    end_context(context);
}

/* Every truncation of a file is an error, and none leaves anything behind. */
static void refuses_every_truncation(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64], source[512];
    make_folder(folder);
    static const char *const names[] = {"state.bin", "protocol4.pt", "one.npy"};
    for (size_t n = 0; n < 3; n++) {
        char *path = ct_path_join(context, folder, names[n]);
        assert_int_equal(ct_file_copy(context, golden(names[n], source), path), CT_OK);
        struct stat status;
        assert_int_equal(stat(path, &status), 0);
        for (off_t cut = status.st_size - 1; cut >= 0; cut--) {
            assert_int_equal(truncate(path, cut), 0);
            ct_archive *archive = ct_archive_open(context, path);
            if (archive) fail_msg("%s, cut to %d bytes, was accepted", names[n], (int)cut);
            ASSERT_ERROR(context, CT_ERROR_FORMAT, names[n]);
        }
        ct_free(context, path);
    }
    ct_folder_remove(context, folder);
    end_context(context);
}

/* A file that shrinks after it was opened: reading says so, whatever way a tensor takes. */
static void notices_files_that_shrink(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64], source[512];
    make_folder(folder);
    static const char *const names[] = {"views.pt",   "deflated.pt",    "swapped.pt",
                                        "arrays.npz", "compressed.npz", "one.npy"};
    for (size_t n = 0; n < 6; n++) {
        char *path = ct_path_join(context, folder, names[n]);
        assert_int_equal(ct_file_copy(context, golden(names[n], source), path), CT_OK);
        ct_archive *archive = ct_archive_open(context, path);
        if (!archive) fail_msg("%s", ct_context_message(context));
        assert_int_equal(truncate(path, 40), 0);
        int refused = 0;
        for (size_t i = 0; i < ct_archive_count(archive); i++) {
            const ct_archive_tensor *tensor = ct_archive_at(archive, i);
            unsigned char bytes[4096];
            assert_true(tensor->size <= sizeof bytes);
            ct_status status = ct_archive_read(archive, tensor, bytes, 0, (size_t)tensor->size);
            assert_int_equal(status, tensor->size ? CT_ERROR_IO : status);
            refused += status != CT_OK;
            if (status != CT_OK) ASSERT_ERROR(context, status, names[n]);
        }
        assert_true(refused > 0);
        ct_archive_close(archive);
        ct_free(context, path);
    }
    ct_folder_remove(context, folder);
    end_context(context);
}

static void open_and_read(ct_context *context, void *user) {
    char path[512];
    ct_archive *archive = ct_archive_open(context, golden(user, path));
    if (!archive) return;
    for (size_t i = 0; i < ct_archive_count(archive) && !ct_failed(context); i++) {
        unsigned char bytes[4096];
        const ct_archive_tensor *tensor = ct_archive_at(archive, i);
        ct_archive_read(archive, tensor, bytes, 0, (size_t)tensor->size);
    }
    ct_value_free(ct_archive_metadata(archive, 2));
    ct_archive_close(archive);
}

static void survives_failures(void **state) {
    (void)state;
    static const char *const names[] = {"checkpoint.pth", "views.pt", "sharded", "compressed.npz",
                                        "swapped.pt"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        sweep_memory(open_and_read, (void *)(uintptr_t)names[i], 2000);
        sweep_files(open_and_read, (void *)(uintptr_t)names[i], 'e', 1000);
        sweep_files(open_and_read, (void *)(uintptr_t)names[i], 's', 60);
    }
}

static void cuts_long_lists(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char path[512];
    ct_archive *archive = ct_archive_open(context, golden("checkpoint.pth", path));
    ct_value *metadata = ct_archive_metadata(archive, 1);
    assert_int_equal(ct_value_as_int(ct_value_get_path(metadata, "size.count"), 0), 2);
    assert_int_equal(ct_value_count(ct_value_get_path(metadata, "size.first")), 1);
    ct_value_free(metadata);
    assert_null(ct_archive_need(archive, "model.wieght"));
    ASSERT_ERROR(context, CT_ERROR_NOT_FOUND, "the nearest is \"model.weight\"");
    ct_archive_close(archive);
    end_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_good_files),         cmocka_unit_test(refuses_bad_files),
        cmocka_unit_test(refuses_every_truncation), cmocka_unit_test(notices_files_that_shrink),
        cmocka_unit_test(survives_failures),        cmocka_unit_test(cuts_long_lists)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
