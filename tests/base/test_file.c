/* test_file.c - reading, lines, atomic writing, folders; short reads, full disks, read-only folders,
 * allocations that fail. */
#define _GNU_SOURCE
#include "base/file_internal.h"
#include "check.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[256];

static int set_up(void **state) {
    (void)state;
    make_folder(folder, sizeof folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    int result = ct_folder_remove(context, folder) || ct_folder_exists(folder);
    ct_context_destroy(context);
    return result;
}

/* The path of `name` in the test's folder; four may be in use at once. */
static const char *at(const char *name) {
    static char paths[4][400];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const void *data, size_t size) {
    FILE *file = fopen(at(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}

static void assert_holds(const char *name, const void *data, size_t size) {
    char *found = malloc(size + 1);
    FILE *file = fopen(at(name), "rb");
    assert_non_null(file);
    assert_int_equal(fread(found, 1, size + 1, file), size);
    assert_memory_equal(found, data, size);
    fclose(file);
    free(found);
}

static size_t entries(void) {
    ct_context *context = start_context(1);
    ct_value *list = ct_folder_list(context, folder);
    size_t count = ct_value_count(list);
    ct_value_free(list);
    end_context(context);
    return count;
}

static void whole_files(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char message[600];
    size_t length = 99;
    put("config", "a\0bc", 4);
    char *text = ct_file_read(context, at("config"), 100, &length);
    assert_int_equal(length, 4);
    assert_memory_equal(text, "a\0bc", 5);
    ct_free(context, text);
    text = ct_file_read(context, at("config"), 4, NULL); /* exactly the limit */
    assert_non_null(text);
    ct_free(context, text);
    assert_null(ct_file_read(context, at("config"), 3, &length));
    snprintf(message, sizeof message, "%s: is larger than 3 B (3 bytes), the most expected here",
             at("config"));
    assert_fails(context, CT_ERROR_FORMAT, message);
    assert_null(ct_file_read(context, at("absent"), 3, &length));
    snprintf(message, sizeof message, "%s: cannot open: No such file or directory", at("absent"));
    assert_fails(context, CT_ERROR_NOT_FOUND, message);
    assert_null(ct_file_read(context, folder, 3, &length));
    assert_fails_with(context, CT_ERROR_ARGUMENT, "is a folder, expected a file");
    put("empty", "", 0);
    text = ct_file_read(context, at("empty"), 0, &length);
    assert_int_equal(length, 0);
    assert_string_equal(text, "");
    ct_free(context, text);
    text =
        ct_file_read(context, "/proc/self/status", 1 << 20, &length); /* whose size the system gives as 0 */
    assert_true(length > 100 && strlen(text) == length);
    ct_free(context, text);
    assert_null(ct_file_read(context, "/dev/zero", 100000, &length)); /* never ends: the limit does */
    assert_fails_with(context, CT_ERROR_FORMAT, "is larger than");
    end_context(context);
}

static void random_access(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char bytes[1000], found[1000];
    for (int i = 0; i < 1000; i++)
        bytes[i] = (char)(i * 7);
    put("weights", bytes, 1000);
    ct_file *file = ct_file_open(context, at("weights"));
    assert_int_equal(ct_file_size(file), 1000);
    assert_string_equal(ct_file_path(file), at("weights"));
    assert_int_equal(ct_file_pread(file, found, 200, 300), CT_OK);
    assert_memory_equal(found, bytes + 300, 200);
    assert_int_equal(ct_file_pread(file, found, 0, 1000), CT_OK);
    const char *map = ct_file_map(file);
    assert_memory_equal(map, bytes, 1000);
    assert_ptr_equal(ct_file_map(file), map);
    char message[600];
    assert_int_equal(ct_file_pread(file, found, 100, 950), CT_ERROR_IO);
    snprintf(message, sizeof message,
             "%s: expected 100 bytes at offset 950, found 50 (the file had 1000 bytes when opened)",
             at("weights"));
    assert_fails(context, CT_ERROR_IO, message);
    assert_int_equal(ct_file_pread(file, found, 1, UINT64_MAX), CT_ERROR_IO); /* no overflow */
    ct_context_clear(context);
    assert_int_equal(ct_file_pread(file, found, SIZE_MAX, 1), CT_ERROR_IO);
    ct_context_clear(context);
    assert_int_equal(truncate(at("weights"), 400), 0); /* shrinks while open */
    assert_int_equal(ct_file_pread(file, found, 200, 300), CT_ERROR_IO);
    assert_fails_with(context, CT_ERROR_IO, "expected 200 bytes at offset 300, found 100");
    ct_file_close(file);
    ct_file_close(NULL);
    put("empty", "", 0);
    file = ct_file_open(context, at("empty"));
    assert_non_null(ct_file_map(file));
    ct_file_close(file);
    assert_null(ct_file_open(context, "/dev/null"));
    assert_fails_with(context, CT_ERROR_ARGUMENT, "is not a regular file");
    end_context(context);
}

static void injected_read_faults(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char bytes[5000], found[5000];
    for (int i = 0; i < 5000; i++)
        bytes[i] = (char)(i * 3);
    put("data", bytes, 5000);
    ct_file *file = ct_file_open(context, at("data"));
    ct_file_fail_at(context, 1, 's'); /* a short read is gone on with */
    assert_int_equal(ct_file_pread(file, found, 5000, 0), CT_OK);
    assert_memory_equal(found, bytes, 5000);
    ct_file_fail_at(context, 1, 'e');
    assert_int_equal(ct_file_pread(file, found, 10, 7), CT_ERROR_IO);
    assert_fails_with(context, CT_ERROR_IO, "data: cannot read at offset 7: Input/output error");
    assert_int_equal(ct_file_pread(file, found, 10, 7), CT_OK); /* only the one */
    for (int n = 1; n <= 2; n++) {
        size_t length;
        ct_file_fail_at(context, n, 's');
        char *text = ct_file_read(context, at("data"), 5000, &length);
        assert_int_equal(length, 5000);
        assert_memory_equal(text, bytes, 5000);
        ct_free(context, text);
        ct_file_fail_at(context, n, 'e');
        assert_null(ct_file_read(context, at("data"), 5000, &length));
        assert_fails_with(context, CT_ERROR_IO, "data: cannot read: Input/output error");
    }
    ct_file_fail_at(context, 1, 'e');
    ct_file_fail_at(context, 0, 'e');
    assert_int_equal(ct_file_pread(file, found, 10, 7), CT_OK);
    ct_file_close(file);
    end_context(context);
}

static void lines(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    put("text", "first\r\n\nth\0rd\nlast", 18);
    const char *const expected[] = {"first", "", "th\0rd", "last"};
    const size_t lengths[] = {5, 0, 5, 4};
    for (size_t limit = 5; limit < 200; limit += 97) {
        ct_lines *reader = ct_lines_open(context, at("text"), limit);
        for (int i = 0; i < 4; i++) {
            size_t length;
            char *line = ct_lines_next(reader, &length);
            assert_int_equal(length, lengths[i]);
            assert_memory_equal(line, expected[i], length + 1);
            assert_int_equal(ct_lines_number(reader), i + 1);
        }
        assert_null(ct_lines_next(reader, NULL));
        assert_null(ct_lines_next(reader, NULL));
        assert_false(ct_failed(context));
        ct_lines_close(reader);
    }
    ct_lines *reader = ct_lines_open(context, at("text"), 4);
    assert_null(ct_lines_next(reader, NULL));
    assert_fails_with(context, CT_ERROR_FORMAT, "text:1: a line of more than 4 bytes");
    ct_lines_close(reader);
    ct_lines_close(NULL);
    assert_null(ct_lines_open(context, at("absent"), 4));
    assert_fails_with(context, CT_ERROR_NOT_FOUND, "cannot open");
    end_context(context);
}

/* Lines of all lengths around the buffer's size and the limit, read with short reads on the way. */
static void long_lines(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    FILE *file = fopen(at("long"), "wb");
    for (int i = 0; i < 300; i++) {
        for (int k = 0; k < i * 700; k++)
            fputc('a' + (i + k) % 26, file);
        fputs(i % 2 ? "\n" : "\r\n", file);
    }
    fclose(file);
    for (int fault = 0; fault < 12; fault++) {
        ct_lines *reader = ct_lines_open(context, at("long"), 299 * 700);
        ct_file_fail_at(context, fault * 7, 's');
        size_t length;
        for (int i = 0; i < 300; i++) {
            char *line = ct_lines_next(reader, &length);
            assert_non_null(line);
            assert_int_equal(length, i * 700);
            for (int k = 0; k < i * 700; k += 699)
                assert_int_equal(line[k], 'a' + (i + k) % 26);
        }
        assert_null(ct_lines_next(reader, &length));
        assert_false(ct_failed(context));
        ct_lines_close(reader);
    }
    ct_lines *reader = ct_lines_open(context, at("long"), 299 * 700 - 1);
    while (ct_lines_next(reader, NULL))
        continue;
    assert_int_equal(ct_lines_number(reader), 299);
    assert_fails_with(context, CT_ERROR_FORMAT, ":300: a line of more than");
    ct_lines_close(reader);
    reader = ct_lines_open(context, at("long"), 1 << 20);
    ct_file_fail_at(context, 3, 'e');
    while (ct_lines_next(reader, NULL))
        continue;
    assert_fails_with(context, CT_ERROR_IO, "long: cannot read: Input/output error");
    ct_lines_close(reader);
    end_context(context);
}

static ct_status write_sample(ct_context *context, const char *path, const char *big, size_t size) {
    ct_writer *writer = ct_writer_open(context, path);
    if (!writer) return ct_context_status(context);
    ct_writer_write(writer, "head", 4);
    ct_writer_printf(writer, " %d %700s", 42, "end");
    ct_writer_write(writer, big, size);
    ct_writer_write(writer, "tail", 4);
    ct_writer_pwrite(writer, "HEAD", 4, 0);
    return ct_writer_commit(writer);
}

static void writing(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    size_t size = 3 << 20, total = 4 + 704 + size + 4; /* " 42 " and 700 columns */
    char *big = malloc(size), *expected = malloc(total);
    memset(big, 'x', size);
    memset(expected, ' ', total);
    memcpy(expected, "HEAD 42", 7);
    memcpy(expected + 705, "end", 3);
    memcpy(expected + 708, big, size);
    memcpy(expected + 708 + size, "tail", 4);
    put("out", "old", 3);
    mode_t mask = umask(027);
    assert_int_equal(write_sample(context, at("out"), big, size), CT_OK);
    umask(mask);
    assert_holds("out", expected, total);
    struct stat info;
    stat(at("out"), &info);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(entries(), 1); /* no temporary file stays */
    put("out", "old", 3);
    int short_writes = 0;
    for (int n = 1; n <= 8; n++) { /* every write and the fsync: full disk, error, short */
        for (const char *kind = "fes"; *kind; kind++) {
            ct_file_fail_at(context, n, *kind);
            ct_status status = write_sample(context, at("out"), big, size);
            if (status) {
                assert_true(*kind != 's');
                assert_fails_with(context, CT_ERROR_IO,
                                  *kind == 'f' ? "out: cannot write: No space left on device"
                                               : "out: cannot write: Input/output error");
                assert_holds("out", "old", 3);
            } else {
                assert_holds("out", expected, total);
                put("out", "old", 3);
                short_writes++;
            }
            assert_int_equal(entries(), 1);
        }
    }
    assert_true(short_writes >= 8 && short_writes <= 8 + 2 * 4); /* at least four calls did fail */
    ct_file_fail_at(context, 0, 0);
    free(big);
    free(expected);
    end_context(context);
}

/* The next writer removes what a killed one of the same file left; nothing of the living, of other files,
 * nothing that somebody holds a lock on. */
static void left_over(void **state) {
    (void)state;
    char dead[64], locked[64], other[64], mine[64], living[64], odd[64];
    pid_t child = fork();
    if (child == 0) _exit(0);
    assert_true(child > 0 && waitpid(child, NULL, 0) == child);
    snprintf(dead, sizeof(dead), ".out.tmp-%ld-0", (long)child);
    snprintf(locked, sizeof(locked), ".out.tmp-%ld-1", (long)child);
    snprintf(other, sizeof(other), ".other.tmp-%ld-0", (long)child);
    snprintf(mine, sizeof(mine), ".out.tmp-%ld-99", (long)getpid());
    snprintf(living, sizeof(living), ".out.tmp-%ld-0", (long)getppid());
    snprintf(odd, sizeof(odd), ".out.tmp-%ld-0x", (long)child);
    const char *const all[] = {dead, locked, other, mine, living, odd};
    for (int i = 0; i < 6; i++)
        put(all[i], "part", 4);
    int file = open(at(locked), O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(file, LOCK_EX | LOCK_NB), 0);
    ct_context *context = start_context(1);
    assert_int_equal(ct_file_write(context, at("out"), "new", 3), CT_OK);
    assert_holds("out", "new", 3);
    assert_int_equal(access(at(dead), F_OK), -1);
    for (int i = 1; i < 6; i++)
        assert_holds(all[i], "part", 4);
    close(file); /* the next writer, the child, takes that one away */
    /* A writer that is killed: its file is there while it lives, and gone when the next one has begun. */
    int line[2];
    assert_int_equal(pipe(line), 0);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* should this test fail meanwhile */
        ct_context *own = ct_context_create(1);
        ct_writer *writer = ct_writer_open(own, at("out"));
        ct_writer_write(writer, "half", 4);
        ct_writer_flush(writer);
        if (write(line[1], "x", 1) == 1) pause();
        _exit(1);
    }
    char byte;
    close(line[1]);
    assert_int_equal(read(line[0], &byte, 1), 1);
    size_t with = entries();
    ct_writer *writer = ct_writer_open(context, at("out"));
    assert_int_equal(entries(), with + 1); /* its own; that of the child, which lives, is still there */
    ct_writer_abandon(writer);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(ct_file_write(context, at("out"), "last", 4), CT_OK);
    assert_int_equal(entries(), with - 1);
    assert_holds("out", "last", 4);
    close(line[0]);
    end_context(context);
}

static void abandoned_and_refused(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    put("out", "old", 3);
    ct_writer *writer = ct_writer_open(context, at("out"));
    ct_writer_write(writer, "new", 3);
    ct_writer_abandon(writer);
    ct_writer_abandon(NULL);
    assert_holds("out", "old", 3);
    writer = ct_writer_open(context, at("out"));
    ct_writer_write(writer, "new", 3);
    ct_fail(context, CT_ERROR_NUMERIC, "NaN"); /* what fed the file failed: it must not replace the old one */
    assert_int_equal(ct_writer_commit(writer), CT_ERROR_NUMERIC);
    assert_holds("out", "old", 3);
    assert_int_equal(entries(), 1);
    assert_null(ct_writer_open(context, at("out"))); /* a failed context does nothing */
    assert_fails(context, CT_ERROR_NUMERIC, "NaN");
    assert_int_equal(ct_writer_commit(NULL), CT_ERROR_MEMORY);
    assert_int_equal(ct_file_write(context, folder, "x", 1), CT_ERROR_ARGUMENT);
    assert_fails_with(context, CT_ERROR_ARGUMENT, "is a folder, expected a file");
    assert_int_equal(ct_file_write(context, at("none/out"), "x", 1), CT_ERROR_NOT_FOUND);
    assert_fails_with(context, CT_ERROR_NOT_FOUND, "none/out: cannot create: No such file or directory");
    assert_int_equal(ct_file_write(context, at("x/"), "x", 1), CT_ERROR_ARGUMENT);
    ct_context_clear(context);
    writer = ct_writer_open(context, at("out"));
    assert_int_equal(ct_writer_pwrite(writer, "x", 1, UINT64_MAX), CT_ERROR_IO);
    assert_int_equal(ct_writer_write(writer, "new", 3), CT_ERROR_IO); /* sticky in the writer */
    ct_context_clear(context);
    assert_int_equal(ct_writer_commit(writer), CT_ERROR_IO); /* and told again */
    assert_fails_with(context, CT_ERROR_IO, "out: cannot write: File too large");
    assert_holds("out", "old", 3);
    end_context(context);
}

static void devices(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    struct stat before, after;
    assert_int_equal(ct_file_write(context, "/dev/full", "x", 1), CT_ERROR_IO);
    assert_fails(context, CT_ERROR_IO, "/dev/full: cannot write: No space left on device");
    stat("/dev/null", &before);
    assert_int_equal(ct_file_write(context, "/dev/null", "x", 1), CT_OK);
    stat("/dev/null", &after);
    assert_true(S_ISCHR(after.st_mode) && before.st_ino == after.st_ino); /* written to, not replaced */
    ct_writer *writer = ct_writer_open(context, "/dev/null");
    assert_int_equal(ct_writer_pwrite(writer, "x", 1, 5), CT_ERROR_IO);
    assert_int_equal(ct_writer_commit(writer), CT_ERROR_IO);
    assert_fails_with(context, CT_ERROR_IO, "cannot write at an offset");
    end_context(context);
}

static void read_only_folder(void **state) {
    (void)state;
    if (geteuid() == 0) skip(); /* root may write anywhere */
    ct_context *context = start_context(1);
    put("out", "old", 3);
    chmod(folder, 0500);
    assert_int_equal(ct_file_write(context, at("out"), "new", 3), CT_ERROR_IO);
    assert_fails_with(context, CT_ERROR_IO, "out: cannot create: Permission denied");
    assert_int_equal(ct_folder_make(context, at("sub")), CT_ERROR_IO);
    assert_fails_with(context, CT_ERROR_IO, "Permission denied");
    chmod(folder, 0700);
    assert_holds("out", "old", 3);
    end_context(context);
}

static void folders(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    assert_int_equal(ct_folder_make(context, at("a/b//c/")), CT_OK);
    assert_int_equal(ct_folder_make(context, at("a/b/c")), CT_OK); /* again */
    assert_true(ct_folder_exists(at("a/b/c")) && !ct_file_exists(at("a/b/c")));
    put("a/b/file", "x", 1);
    put("a/b/Z", "x", 1);
    put("a/b/.hidden", "x", 1);
    assert_true(ct_file_exists(at("a/b/file")) && !ct_folder_exists(at("a/b/file")));
    ct_value *list = ct_folder_list(context, at("a/b"));
    const char *const names[] = {".hidden", "Z", "c", "file"};
    assert_int_equal(ct_value_count(list), 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(ct_value_as_string(ct_value_at(list, i), ""), names[i]);
    ct_value_free(list);
    assert_int_equal(ct_folder_make(context, at("a/b/file/d")), CT_ERROR_NOT_FOUND);
    assert_fails_with(context, CT_ERROR_NOT_FOUND, "file: cannot make the folder: Not a directory");
    assert_int_equal(ct_folder_make(context, ""), CT_ERROR_ARGUMENT);
    ct_context_clear(context);
    assert_null(ct_folder_list(context, at("none")));
    assert_fails_with(context, CT_ERROR_NOT_FOUND, "none: cannot open the folder");
    put("keep", "x", 1);
    assert_int_equal(symlink(at("keep"), at("a/b/link")), 0); /* removed, not followed */
    assert_int_equal(symlink(folder, at("a/loop")), 0);
    assert_int_equal(ct_folder_remove(context, at("a")), CT_OK);
    assert_false(ct_folder_exists(at("a")));
    assert_holds("keep", "x", 1);
    assert_int_equal(ct_folder_remove(context, at("a")), CT_OK); /* absent */
    assert_int_equal(ct_file_remove(context, at("keep")), CT_OK);
    assert_int_equal(ct_file_remove(context, at("keep")), CT_OK);
    assert_int_equal(ct_file_remove(context, folder), CT_ERROR_IO);
    assert_fails_with(context, CT_ERROR_IO, "cannot remove: Is a directory");
    end_context(context);
}

static void replacing(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_folder_make(context, at("new"));
    ct_folder_make(context, at("old/sub"));
    put("new/file", "new", 3);
    put("old/other", "old", 3);
    assert_int_equal(ct_path_replace(context, at("new"), at("old")), CT_OK);
    assert_holds("old/file", "new", 3);
    assert_false(ct_file_exists(at("old/other")) || ct_folder_exists(at("new")) ||
                 ct_folder_exists(at("old/sub")));
    assert_int_equal(ct_path_replace(context, at("old"), at("fresh")), CT_OK); /* nothing there before */
    assert_holds("fresh/file", "new", 3);
    put("a", "1", 1);
    put("b", "2", 1);
    assert_int_equal(ct_path_replace(context, at("a"), at("b")), CT_OK);
    assert_holds("b", "1", 1);
    assert_int_equal(ct_path_replace(context, at("b"), at("b")), CT_OK);
    assert_holds("b", "1", 1);
    assert_int_equal(ct_path_replace(context, at("b"), at("fresh")), CT_ERROR_ARGUMENT);
    assert_fails_with(context, CT_ERROR_ARGUMENT, "fresh: is a folder, cannot be replaced by the file");
    assert_int_equal(ct_path_replace(context, at("fresh"), at("b")), CT_ERROR_ARGUMENT);
    ct_context_clear(context);
    assert_int_equal(ct_path_replace(context, at("none"), at("b")), CT_ERROR_NOT_FOUND);
    ct_context_clear(context);
    assert_int_equal(entries(), 2);
    end_context(context);
}

static void replacing_without_exchange(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_folder_make(context, at("new"));
    ct_folder_make(context, at("old/sub"));
    put("new/file", "new", 3);
    put("old/sub/other", "old", 3);
    assert_int_equal(ct_replace_aside(context, at("none"), at("old")), ENOENT);
    assert_holds("old/sub/other", "old", 3); /* back in its place */
    assert_int_equal(ct_replace_aside(context, at("new"), at("old/")), 0);
    assert_holds("old/file", "new", 3);
    assert_false(ct_file_exists(at("old/sub/other")));
    assert_int_equal(entries(), 1);
    end_context(context);
}

/* As `carat ... --output /dev/stdout > file` would: the link in /dev must stay what it is. */
static void standard_output(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    int kept = dup(STDOUT_FILENO), file = open(at("redirected"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    fflush(stdout);
    dup2(file, STDOUT_FILENO);
    ct_status status = ct_file_write(context, "/dev/stdout", "printed", 7);
    dup2(kept, STDOUT_FILENO);
    close(file);
    close(kept);
    struct stat info;
    lstat("/dev/stdout", &info);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(status, CT_OK);
    assert_holds("redirected", "printed", 7);
    end_context(context);
}

static void joining(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"a", "/b", "/b"}, {"/", "b", "/b"}};
    for (int i = 0; i < 5; i++) {
        char *path = ct_path_join(context, cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        ct_free(context, path);
    }
    end_context(context);
}

static bool all_file_calls(ct_context *context) {
    ct_status status = ct_file_write(context, at("file"), "one\ntwo\n", 8);
    char *text = ct_file_read(context, at("file"), 100, NULL);
    ct_free(context, text);
    ct_file *file = ct_file_open(context, at("file"));
    ct_file_close(file);
    ct_lines *reader = ct_lines_open(context, at("file"), 100);
    if (reader) ct_lines_next(reader, NULL);
    ct_lines_close(reader);
    ct_folder_make(context, at("x/y"));
    ct_value *list = ct_folder_list(context, folder);
    ct_value_free(list);
    ct_path_replace(context, at("x"), at("z"));
    return !status && !ct_failed(context);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    every_allocation_fails_once(all_file_calls, 10);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(whole_files),
        WITH_FOLDER(random_access),
        WITH_FOLDER(injected_read_faults),
        WITH_FOLDER(lines),
        WITH_FOLDER(long_lines),
        WITH_FOLDER(writing),
        WITH_FOLDER(left_over),
        WITH_FOLDER(abandoned_and_refused),
        WITH_FOLDER(devices),
        WITH_FOLDER(read_only_folder),
        WITH_FOLDER(folders),
        WITH_FOLDER(replacing),
        WITH_FOLDER(replacing_without_exchange),
        WITH_FOLDER(standard_output),
        WITH_FOLDER(joining),
        WITH_FOLDER(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
