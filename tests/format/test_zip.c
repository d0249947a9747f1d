/* test_zip.c - zip archives: every lie that directory and headers can tell, both methods, zip64, and the
 * writer. */
#define _GNU_SOURCE
#include "format/zip.h"
#include "zip_bytes.h"
#include <fcntl.h>
#include <sys/stat.h>

#define WORLD_FILE "a.zip"
#define WORLD_MORE zip_bytes zip;
#define WORLD_LEAVE free(here->zip.data);
#include "world.h"

/* Opens the archive made so far, and begins a new one. */
static ct_zip *open_made(world *here) {
    write_text(here->context, here->folder, "a.zip", (char *)here->zip.data, here->zip.size);
    free(here->zip.data);
    here->zip = (zip_bytes){0};
    return ct_zip_open(here->context, here->path);
}
#define REFUSES(here, ...)                                                                                   \
    do {                                                                                                     \
        assert_null(open_made(here));                                                                        \
        ASSERT_ERROR((here)->context, CT_ERROR_FORMAT, "a.zip", __VA_ARGS__);                                \
    } while (0)

static void reads_both_methods(void **state) {
    world *here = *state;
    unsigned char noise[5000], back[5001];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (unsigned char)(i * i >> 5);
    zip_add(&here->zip, "stored", noise, sizeof noise, false, NULL);
    zip_add(&here->zip, "folder/", NULL, 0, false, NULL);
    zip_add(&here->zip, "packed", noise, sizeof noise, true, NULL);
    zip_add(&here->zip, "nothing", NULL, 0, false, NULL);
    zip_add(&here->zip, "packed nothing", NULL, 0, true, NULL);
    zip_finish(&here->zip);
    ct_zip *zip = open_made(here);
    if (!zip) fail_msg("%s", ct_context_message(here->context));
    assert_int_equal(ct_zip_count(zip), 4);
    for (int which = 0; which < 2; which++) {
        const ct_zip_entry *entry = ct_zip_find(zip, which ? "packed" : "stored");
        assert_int_equal(entry->size, sizeof noise);
        assert_int_equal(entry->deflated, which);
        for (size_t piece = 1; piece < sizeof noise; piece = piece * 3 + 1) /* onwards, backwards, within */
            for (int way = 0; way < 2; way++)
                for (size_t n = 0; n < 6 && n * piece < sizeof noise; n++) {
                    size_t at = way ? sizeof noise - piece * (n + 1) : piece * n;
                    if (at > sizeof noise - piece) continue;
                    back[piece] = 0x5a;
                    assert_int_equal(ct_zip_read(zip, entry, back, at, piece), CT_OK);
                    assert_memory_equal(back, noise + at, piece);
                    assert_int_equal(back[piece], 0x5a);
                }
        assert_int_equal(ct_zip_read(zip, entry, back, 4999, 2), CT_ERROR_ARGUMENT);
        ASSERT_ERROR(here->context, CT_ERROR_ARGUMENT, "bytes 4999 to 5001", "which has 5000");
        assert_null(ct_zip_read_all(zip, entry, 4999, NULL));
        ASSERT_ERROR(here->context, CT_ERROR_FORMAT, "has 5000 bytes, at most 4999");
    }
    assert_int_equal(ct_zip_read(zip, ct_zip_find(zip, "nothing"), back, 0, 0), CT_OK);
    assert_int_equal(ct_zip_read(zip, ct_zip_find(zip, "packed nothing"), back, 0, 0), CT_OK);
    assert_null(ct_zip_find(zip, "folder/"));
    ct_zip_close(zip);
}

/* One good entry "x" with this said of it in the directory (also in its header if `both`). */
static void one_entry(world *here, const zip_entry *said, bool both) {
    zip_entry honest = {"x", 0, 0, (uint32_t)crc32(0, (const unsigned char *)"12345678", 8), 8, 8, 0, NULL};
    zip_local(&here->zip, both ? said : &honest);
    zip_put(&here->zip, "12345678", 8);
    zip_central(&here->zip, said);
    zip_finish(&here->zip);
}

static void refuses_lying_entries(void **state) {
    world *here = *state;
    uint32_t crc = (uint32_t)crc32(0, (const unsigned char *)"12345678", 8);
    one_entry(here, &(zip_entry){"x", 0, 1, crc, 8, 8, 0, NULL}, true);
    REFUSES(here, "is encrypted");
    one_entry(here, &(zip_entry){"x", 12, 0, crc, 8, 8, 0, NULL}, true);
    REFUSES(here, "method 12");
    one_entry(here, &(zip_entry){"x", 0, 0, crc, 8, 9, 0, NULL}, true);
    REFUSES(here, "stored in 8 bytes, but has 9");
    one_entry(here, &(zip_entry){"x", 8, 0, crc, 8, 0xfffffff0u, 0, NULL}, true);
    REFUSES(here, "more than deflate can make of 8");
    one_entry(here, &(zip_entry){"x", 0, 0, crc, 9999, 9999, 0, NULL}, true);
    REFUSES(here, "has 9999 bytes at offset", "but the directory begins");
    one_entry(here, &(zip_entry){"x", 0, 0, crc, 8, 8, 5, NULL}, false);
    REFUSES(here, "has no header at offset 5");
    one_entry(here, &(zip_entry){"x", 0, 0, crc, 8, 8, 100000, NULL}, false);
    REFUSES(here, "is said to begin at offset 100000");
    one_entry(here, &(zip_entry){"y", 0, 0, crc, 8, 8, 0, NULL}, false);
    REFUSES(here, "another name or method");
    one_entry(here, &(zip_entry){"x", 8, 0, crc, 8, 8, 0, NULL}, false);
    REFUSES(here, "another name or method");
    one_entry(here, &(zip_entry){"xx", 0, 0, crc, 8, 8, 0, NULL}, false);
    REFUSES(here, "another name or method");
    one_entry(here, &(zip_entry){"x", 0, 0, crc, 0xffffffffu, 0xffffffffu, 0, NULL}, true);
    REFUSES(here, "lacks the zip64 field");
    one_entry(here, &(zip_entry){"\xff", 0, 0, crc, 8, 8, 0, NULL}, true);
    REFUSES(here, "no UTF-8");
    one_entry(here, &(zip_entry){"x", 0, 0, crc ^ 1, 8, 8, 0, NULL}, true); /* noticed when it is read */
    ct_zip *zip = open_made(here);
    assert_non_null(zip);
    assert_null(ct_zip_read_all(zip, ct_zip_at(zip, 0), 100, NULL));
    ASSERT_ERROR(here->context, CT_ERROR_FORMAT, "\"x\" has the checksum");
    ct_zip_set_check(zip, false);
    char *bytes = ct_zip_read_all(zip, ct_zip_at(zip, 0), 100, NULL);
    assert_string_equal(bytes, "12345678");
    ct_free(here->context, bytes);
    ct_zip_close(zip);
}

static void refuses_overlaps_and_twins(void **state) {
    world *here = *state;
    zip_entry first, twin;
    zip_add(&here->zip, "a", "abcdefghij", 10, false, &first);
    twin = first;
    twin.name = "b"; /* the same bytes under a second name */
    zip_central(&here->zip, &twin);
    zip_finish(&here->zip);
    assert_null(open_made(here));
    ASSERT_ERROR(here->context, CT_ERROR_FORMAT, "another name"); /* its header says "a" */
    unsigned char inner[200]; /* an honest archive within the bytes of an entry: its header lies within */
    zip_bytes small = {0};
    zip_add(&small, "b", "xyz", 3, false, &twin);
    memcpy(inner, small.data, small.size);
    zip_add(&here->zip, "a", inner, small.size, false, NULL);
    twin.header = 31;
    zip_central(&here->zip, &twin);
    zip_finish(&here->zip);
    free(small.data);
    REFUSES(here, "entry \"b\" overlaps entry \"a\"");
    zip_add(&here->zip, "a", "1", 1, false, NULL);
    zip_add(&here->zip, "a", "2", 1, false, NULL);
    zip_finish(&here->zip);
    REFUSES(here, "\"a\" stands twice");
}

static void refuses_bad_directories(void **state) {
    world *here = *state;
    zip_put(&here->zip, "PK", 2);
    REFUSES(here, "too few");
    zip_put(&here->zip, "this is a text and no zip archive", 33);
    REFUSES(here, "no zip archive");
    zip_add(&here->zip, "a", "1", 1, false, NULL);
    zip_end(&here->zip, 2, here->zip.directory_size, here->zip.size, ""); /* more entries than bytes allow */
    REFUSES(here, "2 entries do not fit");
    zip_add(&here->zip, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "1", 1, false, NULL);
    zip_end(&here->zip, 2, here->zip.directory_size, here->zip.size, "");
    REFUSES(here, "no header where entry 1 should be");
    zip_add(&here->zip, "a", "1", 1, false, NULL);
    zip_end(&here->zip, 1, here->zip.directory_size, 0xfffffff0u, "");
    REFUSES(here, "at offset 4294967280");
    zip_add(&here->zip, "a", "1", 1, false, NULL);
    zip_end(&here->zip, 1, 60000, here->zip.size, "");
    REFUSES(here, "said to be 60000 bytes");
    zip_add(&here->zip, "a", "1", 1, false, NULL);
    zip_end(&here->zip, 1, here->zip.directory_size - 1, here->zip.size, "");
    REFUSES(here, "the directory ends within entry 0");
    zip_add(&here->zip, "a", "1", 1, false, NULL);
    size_t at = here->zip.size + here->zip.directory_size;
    zip_finish(&here->zip);
    here->zip.data[at + 4] = 1; /* the second of two volumes */
    REFUSES(here, "several files");
    zip_add(&here->zip, "a", "1", 1, false, NULL); /* a comment is no reason to refuse */
    zip_end(&here->zip, 1, here->zip.directory_size, here->zip.size, "a comment");
    ct_zip *zip = open_made(here);
    assert_non_null(zip);
    ct_zip_close(zip);
}

/* Deflated bytes that unpack to less, to more, end early or are none. */
static void refuses_bad_streams(void **state) {
    world *here = *state;
    char same[1000] = {0}, back[1001];
    static const char *const words[] = {"fewer bytes", "more bytes", "ends in the middle", "deflate cannot"};
    for (int lie = 0; lie < 4; lie++) {
        zip_bytes honest = {0};
        zip_entry e;
        zip_add(&honest, "x", same, sizeof same, true, &e);
        const unsigned char *packed = honest.data + 31;
        e.size = lie == 0 ? 1001 : lie == 1 ? 999 : 1000;
        uint64_t whole = e.packed;
        if (lie == 2) e.packed -= 2;
        zip_local(&here->zip, &e);
        zip_put(&here->zip, packed, (size_t)whole);
        if (lie == 3) here->zip.data[31] = 0x07; /* a block of the type that does not exist */
        zip_central(&here->zip, &e);
        zip_finish(&here->zip);
        free(honest.data);
        ct_zip *zip = open_made(here);
        if (!zip) fail_msg("%s", ct_context_message(here->context));
        const ct_zip_entry *entry = ct_zip_at(zip, 0);
        assert_int_equal(ct_zip_read(zip, entry, back, 0, (size_t)entry->size), CT_ERROR_FORMAT);
        ASSERT_ERROR(here->context, CT_ERROR_FORMAT, "a.zip", words[lie]);
        ct_zip_close(zip);
    }
}

/* A writer's entry beyond 4 GiB, most of it a hole: zip64 in both headers. The same for an offset beyond. */
static void writes_and_reads_zip64(void **state) {
    world *here = *state;
    uint64_t large = (5ull << 30) + 3;
    ct_zip_writer *writer = ct_zip_create(here->context, "/dev/null"); /* counts, but cannot go back */
    assert_int_equal(ct_zip_begin(writer, "x", 1, 64), CT_OK);
    assert_int_equal(ct_zip_write(writer, "1", 1), CT_OK);
    assert_int_equal(ct_zip_commit(writer), CT_ERROR_IO);
    ASSERT_ERROR(here->context, CT_ERROR_IO, "at an offset");
    /* by hand, so that 5 GiB need no disk: header, hole, directory with zip64 fields */
    unsigned char bytes[256];
    size_t at = zip_number(bytes, 0x04034b50, 4);
    memset(bytes + at, 0, 22);
    at = 26 + zip_number(bytes + 26, 1, 2);
    at += zip_number(bytes + at, 0, 2);
    bytes[at++] = 'x';
    int file = open(here->path, O_RDWR | O_CREAT, 0666);
    assert_int_equal(pwrite(file, bytes, at, 0), at);
    uint64_t second = at + large, start = second + 31 + 2;
    bytes[30] = 'y';
    assert_int_equal(pwrite(file, bytes, 31, (off_t)second), 31);
    assert_int_equal(pwrite(file, "ok", 2, (off_t)second + 31), 2);
    unsigned char directory[512] = {0}, *d = directory;
    for (int i = 0; i < 2; i++) { /* sizes of the first, the offset of the second, stand in the extra field */
        zip_number(d, 0x02014b50, 4);
        zip_number(d + 16, i ? crc32(0, (const unsigned char *)"ok", 2) : 0, 4);
        zip_number(d + 20, i ? 2 : 0xffffffffu, 4);
        zip_number(d + 24, i ? 2 : 0xffffffffu, 4);
        zip_number(d + 28, 1, 2);
        zip_number(d + 30, i ? 12 : 20, 2);
        zip_number(d + 42, i ? 0xffffffffu : 0, 4);
        d[46] = i ? 'y' : 'x';
        zip_number(d + 47, 1, 2);
        zip_number(d + 49, i ? 8 : 16, 2);
        zip_number(d + 51, i ? second : large, 8);
        if (!i) zip_number(d + 59, large, 8);
        d += 46 + 1 + (i ? 12 : 20);
    }
    size_t size = (size_t)(d - directory);
    zip_number(d, 0x06064b50, 4);
    zip_number(d + 4, 44, 8);
    zip_number(d + 24, 2, 8);
    zip_number(d + 32, 2, 8);
    zip_number(d + 40, size, 8);
    zip_number(d + 48, start, 8);
    zip_number(d + 56, 0x07064b50, 4);
    zip_number(d + 64, start + size, 8);
    zip_number(d + 72, 1, 4);
    zip_number(d + 76, 0x06054b50, 4);
    memset(d + 76 + 4, 0xff, 16);
    zip_number(d + 80, 0, 4);
    assert_int_equal(pwrite(file, directory, size + 98, (off_t)start), size + 98);
    close(file);
    ct_zip *zip = ct_zip_open(here->context, here->path);
    if (!zip) fail_msg("%s", ct_context_message(here->context));
    assert_int_equal(ct_zip_count(zip), 2);
    assert_true(ct_zip_at(zip, 0)->size == large);
    char two[3] = "";
    assert_int_equal(ct_zip_read(zip, ct_zip_find(zip, "x"), two, large - 2, 2), CT_OK);
    assert_int_equal(ct_zip_read(zip, ct_zip_find(zip, "y"), two, 0, 2), CT_OK);
    assert_string_equal(two, "ok");
    ct_zip_close(zip);
}

/* More entries than 16 bits count need zip64's record. */
static void writes_many_entries(void **state) {
    world *here = *state;
    char name[16];
    ct_zip_writer *writer = ct_zip_create(here->context, here->path);
    for (int i = 0; i < 70000; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(ct_zip_begin(writer, name, 0, 1), CT_OK);
    }
    assert_int_equal(ct_zip_commit(writer), CT_OK);
    ct_zip *zip = ct_zip_open(here->context, here->path);
    if (!zip) fail_msg("%s", ct_context_message(here->context));
    assert_int_equal(ct_zip_count(zip), 70000);
    assert_string_equal(ct_zip_at(zip, 69999)->name, "69999");
    ct_zip_close(zip);
}

static void writer_aligns_and_refuses(void **state) {
    world *here = *state;
    ct_zip_writer *writer = ct_zip_create(here->context, here->path);
    char name[40];
    for (unsigned i = 0; i < 30; i++) { /* names of every length, so that every padding occurs */
        memset(name, 'a', sizeof name);
        name[i + 1] = '\0';
        assert_int_equal(ct_zip_begin(writer, name, 3, i % 2 ? 64 : 4096), CT_OK);
        assert_int_equal(ct_zip_write(writer, "abc", 3), CT_OK);
    }
    assert_int_equal(ct_zip_begin(writer, "bad", 3, 3), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(here->context, CT_ERROR_ARGUMENT, "alignment 3");
    assert_int_equal(ct_zip_begin(writer, "", 3, 1), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(here->context, CT_ERROR_ARGUMENT, "name has 0 bytes");
    assert_int_equal(ct_zip_begin(writer, "a", 3, 1), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(here->context, CT_ERROR_ARGUMENT, "written twice");
    assert_int_equal(ct_zip_write(writer, "a", 1), CT_ERROR_STATE);
    ASSERT_ERROR(here->context, CT_ERROR_STATE, "0 were left");
    assert_int_equal(ct_zip_commit(writer), CT_OK);
    ct_zip *zip = ct_zip_open(here->context, here->path);
    if (!zip) fail_msg("%s", ct_context_message(here->context));
    for (size_t i = 0; i < 30; i++) {
        assert_int_equal(ct_zip_at(zip, i)->offset % (i % 2 ? 64 : 4096), 0);
        char *bytes = ct_zip_read_all(zip, ct_zip_at(zip, i), 3, NULL);
        assert_string_equal(bytes, "abc");
        ct_free(here->context, bytes);
    }
    ct_zip_close(zip);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_both_methods, enter, leave),
        cmocka_unit_test_setup_teardown(refuses_lying_entries, enter, leave),
        cmocka_unit_test_setup_teardown(refuses_overlaps_and_twins, enter, leave),
        cmocka_unit_test_setup_teardown(refuses_bad_directories, enter, leave),
        cmocka_unit_test_setup_teardown(refuses_bad_streams, enter, leave),
        cmocka_unit_test_setup_teardown(writes_and_reads_zip64, enter, leave),
        cmocka_unit_test_setup_teardown(writes_many_entries, enter, leave),
        cmocka_unit_test_setup_teardown(writer_aligns_and_refuses, enter, leave)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
