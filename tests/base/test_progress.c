/* test_progress.c - the progress line as text, into a file and on a terminal. */
#define _GNU_SOURCE
#include "base/progress_internal.h"
#include "check.h"
#include <fcntl.h>
#include <sys/ioctl.h>

static const char *text(ct_progress_state state, int columns) {
    static char buffer[512];
    ct_progress_text(&state, columns, buffer, sizeof buffer);
    return buffer;
}

static void worked_lines(void **state) {
    (void)state;
    ct_progress_state train = {"train", "steps", "loss 2.31", 120,
                               320,     12.3,    9.8,         false}; /* 200 / 12.3 = 16.3 s */
    assert_string_equal(text(train, 100),
                        "train  37% [=====>      ] 120/320 steps  12.3 steps/s  ETA 0:16  loss 2.31");
    assert_string_equal(text(train, 0), "train: 120/320 steps, 12.3 steps/s, ETA 0:16, loss 2.31");
    train.rate = 0.05; /* 200 / 0.05 = 4000 s */
    assert_string_equal(text(train, 0), "train: 120/320 steps, 0.050 steps/s, ETA 1:06:40, loss 2.31");
    train.rate = 0; /* not known yet */
    assert_string_equal(text(train, 0), "train: 120/320 steps, loss 2.31");
    train.total = 0;
    train.rate = 1234.4;
    train.note = NULL;
    assert_string_equal(text(train, 0), "train: 120 steps, 1234 steps/s");
    assert_string_equal(text(train, 100), "train 120 steps  1234 steps/s");
    ct_progress_state done = {"train", "steps", "loss 1.98", 320, 320, 12.345, 26.1, true};
    assert_string_equal(text(done, 0), "train: 320 steps, 12.3 steps/s, in 0:26, loss 1.98");
    ct_progress_state bytes = {"read",  "bytes", "", 1536 << 10,
                               3 << 20, 1 << 20, 1,  false}; /* 1.5 MiB left */
    assert_string_equal(text(bytes, 0), "read: 1.50 MiB/3.00 MiB, 1.00 MiB/s, ETA 0:02");
    ct_progress_state over = {"x", NULL, NULL, 7, 5, 0, 0, false}; /* more than was announced */
    assert_string_equal(text(over, 80), "x 100% [============] 7/5");
}

static void every_width_fits(void **state) {
    (void)state;
    ct_progress_state train = {"a title of some length", "steps", "loss 2.31", 120, 320, 12.3, 9.8, false};
    size_t last = 0;
    for (int columns = 1; columns < 120; columns++) {
        size_t length = strlen(text(train, columns));
        assert_true(length > 0 && length <= (size_t)columns);
        last = length;
    }
    assert_true(last > 80);
    assert_string_equal(text(train, 60),
                        "a title of some length  37% 120/320 steps  12.3 steps/s"); /* no bar */
}

static void lines_into_a_file(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    FILE *stream = tmpfile();
    assert_non_null(stream);
    ct_progress(context, "nobody", 1, 2, "steps", NULL); /* without a sink */
    ct_progress_line *line = ct_progress_line_create(stream, 3600);
    ct_context_set_progress(context, ct_progress_line_sink, line);
    for (int i = 0; i <= 10; i++)
        ct_progress(context, "train", i, 10, "steps", "loss 1"); /* too soon to show */
    fflush(stream);
    assert_int_equal(ftell(stream), 0);
    ct_progress_finish(context, "train", 10, "steps", "loss 0.5");
    ct_progress_line_destroy(line);
    line = ct_progress_line_create(stream, 0); /* every call */
    ct_context_set_progress(context, ct_progress_line_sink, line);
    ct_progress(context, "merge", 1, 4, "tensors", NULL);
    ct_progress(context, "other", 3, 0, "files", NULL);
    ct_progress_line_destroy(line);
    ct_progress_line_destroy(NULL);
    char buffer[1000] = "", *rest = buffer;
    rewind(stream);
    assert_true(fread(buffer, 1, sizeof buffer - 1, stream) > 0);
    fclose(stream);
    char *first = strsep(&rest, "\n"), *second = strsep(&rest, "\n"), *third = strsep(&rest, "\n");
    assert_memory_equal(first, "train: 10 steps, ", 17);
    assert_non_null(strstr(first, " steps/s, in 0:00, loss 0.5"));
    assert_string_equal(second, "merge: 1/4 tensors");
    assert_string_equal(third, "other: 3 files");
    assert_string_equal(rest, "");
    end_context(context);
}

static void line_on_a_terminal(void **state) {
    (void)state;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (master < 0 || grantpt(master) || unlockpt(master)) skip();
    setenv("TERM", "xterm", 1);
    FILE *stream = fopen(ptsname(master), "w");
    assert_non_null(stream);
    struct winsize window = {.ws_col = 40, .ws_row = 24};
    ioctl(fileno(stream), TIOCSWINSZ, &window);
    ct_progress_line *line = ct_progress_line_create(stream, 3600);
    for (int i = 0; i < 100; i++)
        ct_progress_line_sink(line, "a long title", i, 100, "steps", "loss 2.5", false);
    assert_true(ct_progress_on_terminal());
    ct_progress_line_sink(line, "a long title", 100, 100, "steps", "loss 1.5", true);
    assert_false(ct_progress_on_terminal());
    char buffer[4000] = "";
    size_t got = 0;
    for (int wait = 0; wait < 2000 && (got < 2 || buffer[got - 1] != '\n');
         wait++) { /* it comes when it comes */
        ssize_t more = read(master, buffer + got, sizeof buffer - 1 - got);
        if (more > 0)
            got += (size_t)more;
        else
            usleep(1000);
    }
    assert_true(got > 2);
    assert_string_equal(buffer + got - 2, "\r\n"); /* the terminal makes CR LF of the newline */
    int drawn = 0;
    for (char *rest = buffer, *part; (part = strsep(&rest, "\r"));) {
        char *end = strstr(part, "\033[K");
        if (!end) continue;
        assert_true(end - part < 40);
        assert_memory_equal(part, "a long title", 12);
        drawn++;
    }
    assert_true(drawn >= 2 &&
                drawn <= 4); /* a hundred calls at once: at most ten redraws a second, and the end */
    ct_progress_line_destroy(line);
    fclose(stream);
    close(master);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_lines),
        cmocka_unit_test(every_width_fits),
        cmocka_unit_test(lines_into_a_file),
        cmocka_unit_test(line_on_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
