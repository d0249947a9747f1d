/* test_plot.c - plots: the SVG is well-formed and shows the values where they belong, ticks are round
 * numbers, PNG files are PNG files, bad input and failing files give errors. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <carat/plot.h>
#include "train/plot_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ct_context *context;
static char folder[] = "/tmp/carat-test-plot-XXXXXX";
static char path[256];

static const char *file_at(const char *name) {
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int set_up(void **state) {
    (void)state;
    context = ct_context_create(1);
    return context && mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    ct_folder_remove(context, folder);
    ct_context_destroy(context);
    return 0;
}

static int clear_errors(void **state) {
    (void)state;
    ct_context_clear(context);
    return 0;
}

static void assert_message(ct_status status, ct_status expected, const char *part) {
    assert_int_equal(status, expected);
    if (!strstr(ct_context_message(context), part)) fail_msg("message: %s", ct_context_message(context));
    ct_context_clear(context);
}

/* -------------------------------------------------------------------------------------------------- ticks */

static void assert_labels(double low, double high, bool logarithmic, int wanted, const char *expected) {
    ct_plot_scale scale = {low, high, logarithmic};
    ct_plot_tick ticks[CT_PLOT_TICKS];
    char all[1024] = "";
    int count = ct_plot_ticks(&scale, wanted, ticks);
    for (int i = 0; i < count; i++) {
        strcat(all, i > 0 ? " " : "");
        strcat(all, ticks[i].label);
        /* A label says the value: read back, it is the tick. */
        char *end;
        double value = strtod(ticks[i].label, &end);
        value *= *end == 'k' ? 1e3 : *end == 'M' ? 1e6 : *end == 'G' ? 1e9 : 1;
        assert_true(fabs(value - ticks[i].value) <= 1e-12 * fabs(value));
        assert_true(ticks[i].value >= low - 1e-9 * (high - low) &&
                    ticks[i].value <= high + 1e-9 * (high - low));
    }
    assert_string_equal(all, expected);
}

static void linear_ticks(void **state) {
    (void)state;
    assert_labels(0, 1, false, 5, "0 0.2 0.4 0.6 0.8 1.0");
    assert_labels(0, 3000, false, 6, "0 500 1000 1500 2000 2500 3000");
    assert_labels(1.37, 4.61, false, 6, "2 3 4");
    assert_labels(-0.5, 0.5, false, 5, "-0.4 -0.2 0 0.2 0.4");
    assert_labels(0, 60000, false, 6, "0 10k 20k 30k 40k 50k 60k");
    assert_labels(0, 2.5e6, false, 5, "0 0.5M 1.0M 1.5M 2.0M 2.5M");
    assert_labels(0, 4e-7, false, 4, "0 1e-7 2e-7 3e-7 4e-7");
    assert_labels(1e15, 3e15, false, 4, "1e15 1.5e15 2e15 2.5e15 3e15");
}

static void logarithmic_ticks(void **state) {
    (void)state;
    assert_labels(0.5, 60, true, 6, "0.5 1 2 5 10 20 50");
    assert_labels(1e-5, 1, true, 6, "1e-5 1e-4 0.001 0.01 0.1 1");
    assert_labels(1000, 2e7, true, 6, "1000 10k 100k 1M 10M");
    assert_labels(2, 4, true, 4, "2.0 2.5 3.0 3.5 4.0"); /* less than a decade: as on a linear axis */
}

static void extreme_ranges(void **state) {
    (void)state;
    const double ranges[][2] = {{-1e290, 1e290}, {1, 1 + 4e-16}, {1e-280, 2e-280}, {-1e-290, 1e-290}, {3, 3}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        ct_plot_scale scale = {ranges[i][0], ranges[i][1], false};
        ct_plot_tick ticks[CT_PLOT_TICKS];
        ct_plot_scale_widen(&scale, 0.05);
        assert_true(scale.low < scale.high && isfinite(scale.high - scale.low));
        int count = ct_plot_ticks(&scale, 6, ticks);
        assert_true(count >= 1 && count <= 14);
        for (int t = 0; t < count; t++)
            assert_true(strlen(ticks[t].label) < sizeof ticks[t].label - 1);
    }
}

static void positions(void **state) {
    (void)state;
    ct_plot_scale linear = {10, 30, false}, logarithmic = {0.01, 100, true};
    assert_true(ct_plot_scale_at(&linear, 15) == 0.25);
    assert_true(fabs(ct_plot_scale_at(&logarithmic, 1) - 0.5) < 1e-12);
    assert_true(fabs(ct_plot_scale_at(&logarithmic, 10) - 0.75) < 1e-12);
}

/* ---------------------------------------------------------------------------------------------------- SVG */

/* Enough of XML to see that every element closes in order, attributes are quoted and no bare & or < is in
 * text. */
static void assert_well_formed(const char *text) {
    char open[32][32];
    int depth = 0, elements = 0;
    const char *at = strstr(text, "?>");
    assert_non_null(at);
    for (at += 2; *at;) {
        if (*at == '&')
            assert_true(!strncmp(at, "&amp;", 5) || !strncmp(at, "&lt;", 4) || !strncmp(at, "&gt;", 4));
        if (*at++ != '<') continue;
        bool closing = *at == '/';
        at += closing;
        size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
        assert_true(length > 0 && length < 32);
        char name[32] = "";
        memcpy(name, at, length);
        for (at += length; *at == ' ';) {
            at += 1 + strcspn(at + 1, "=<> ");
            assert_true(at[0] == '=' && at[1] == '"');
            at += 2 + strcspn(at + 2, "\"<&");
            assert_true(*at++ == '"');
        }
        bool empty = *at == '/';
        at += empty;
        assert_true(*at++ == '>');
        if (closing)
            assert_string_equal(open[--depth], name);
        else if (!empty)
            strcpy(open[depth++], name);
        elements++;
        assert_true(depth >= 0 && depth < 32);
    }
    assert_int_equal(depth, 0);
    assert_true(elements > 10);
}

static int occurrences(const char *text, const char *part) {
    int count = 0;
    for (; (text = strstr(text, part)); text++)
        count++;
    return count;
}

static char *written(const ct_plot *plot) {
    assert_int_equal(ct_plot_write(plot, file_at("plot.svg")), CT_OK);
    char *text = ct_file_read(context, path, 1 << 24, NULL);
    assert_non_null(text);
    assert_well_formed(text);
    return text;
}

static void svg_has_everything(void **state) {
    (void)state;
    double x[] = {0, 1, 2, 3}, y[] = {1, 2, 4, 3};
    ct_plot *plot = ct_plot_create(context);
    ct_plot_title(plot, "loss of <gpt> & \"co\"\x01\xff");
    ct_plot_label(plot, CT_PLOT_X, "step", false);
    ct_plot_label(plot, CT_PLOT_Y, "loss", false);
    assert_int_equal(ct_plot_series(plot, "training", x, y, 4), CT_OK);
    assert_int_equal(ct_plot_series(plot, "held \xc3\xb6ut", x, y, 4), CT_OK);
    char *text = written(plot);
    assert_non_null(strstr(text, ">loss of &lt;gpt&gt; &amp; \"co\" \xef\xbf\xbd</text>"));
    assert_non_null(strstr(text, ">step</text>"));
    assert_non_null(strstr(text, ">loss</text>"));
    assert_non_null(strstr(text, ">held \xc3\xb6ut</text>"));
    assert_non_null(strstr(text, ">2.5</text>")); /* a tick of y */
    assert_int_equal(occurrences(text, "<circle"), 8);
    ct_free(context, text);
    ct_plot_destroy(plot);
}

/* The middle one of three points equally far apart is in the middle of the outer ones. */
static void points_are_in_place(void **state) {
    (void)state;
    double x[] = {10, 20, 30}, y[] = {5, 15, 25};
    ct_plot *plot = ct_plot_create(context);
    ct_plot_series(plot, NULL, x, y, 3);
    char *text = written(plot), *at = strstr(text, "<circle");
    double cx[3], cy[3];
    for (int i = 0; i < 3; i++, at = strstr(at + 1, "<circle"))
        assert_int_equal(sscanf(at, "<circle cx=\"%lf\" cy=\"%lf\"", &cx[i], &cy[i]), 2);
    assert_true(fabs(cx[0] + cx[2] - 2 * cx[1]) < 0.03 && fabs(cy[0] + cy[2] - 2 * cy[1]) < 0.03);
    assert_true(cx[2] - cx[0] > 600 && cy[0] - cy[2] > 300); /* larger y is higher up */
    ct_free(context, text);
    ct_plot_destroy(plot);
}

static void nan_breaks_lines(void **state) {
    (void)state;
    enum { COUNT = 100 };
    double x[COUNT], y[COUNT];
    for (int i = 0; i < COUNT; i++)
        x[i] = i, y[i] = i % 10;
    ct_plot *plot = ct_plot_create(context);
    ct_plot_series(plot, NULL, x, y, COUNT);
    char *whole = written(plot);
    ct_plot_destroy(plot);
    y[30] = NAN;
    y[60] = INFINITY;
    y[62] = -INFINITY; /* leaves 61 alone: a dot */
    plot = ct_plot_create(context);
    ct_plot_series(plot, NULL, x, y, COUNT);
    char *broken = written(plot);
    assert_int_equal(occurrences(broken, "<polyline"), occurrences(whole, "<polyline") + 2);
    assert_int_equal(occurrences(whole, "<circle"), 0);
    assert_int_equal(occurrences(broken, "<circle"), 1);
    assert_null(strstr(broken, "nan"));
    assert_null(strstr(broken, "inf"));
    ct_free(context, whole);
    ct_free(context, broken);
    ct_plot_destroy(plot);
}

/* A million points give a small file that still reaches the one extreme value. */
static void many_points_are_thinned(void **state) {
    (void)state;
    enum { COUNT = 1000000 };
    double *x = malloc(COUNT * sizeof *x), *y = malloc(COUNT * sizeof *y);
    assert_true(x && y);
    for (int i = 0; i < COUNT; i++)
        x[i] = i, y[i] = sin(i * 0.01);
    y[777777] = 9;
    ct_plot *plot = ct_plot_create(context);
    ct_plot_series(plot, NULL, x, y, COUNT);
    ct_plot_range(plot, CT_PLOT_Y, -1, 9);
    char *text = written(plot), *line = text, *longest = NULL;
    assert_true(strlen(text) < 120000);
    while ((line = strstr(line + 1, "points=\"")))
        if (!longest || strchr(line + 8, '"') - line > strchr(longest + 8, '"') - longest) longest = line;
    double top = INFINITY, px, py;
    int used;
    for (char *at = longest + 8; sscanf(at, "%lf,%lf%n", &px, &py, &used) == 2; at += used)
        top = fmin(top, py);
    assert_true(fabs(top - 16) < 0.01); /* the upper end of the axis without title and legend */
    ct_free(context, text);
    ct_plot_destroy(plot);
    free(x);
    free(y);
}

static void logarithmic_axes(void **state) {
    (void)state;
    double x[] = {0, 10, 100}, y[] = {1, 0, 2};
    ct_plot *plot = ct_plot_create(context);
    ct_plot_label(plot, CT_PLOT_Y, NULL, true);
    ct_plot_series(plot, NULL, x, y, 3);
    char *text = written(plot); /* y = 0 breaks the line */
    assert_int_equal(occurrences(text, "<circle"), 2);
    ct_free(context, text);
    ct_plot_label(plot, CT_PLOT_X, NULL, true);
    assert_message(ct_plot_write(plot, file_at("log.svg")), CT_ERROR_ARGUMENT, "logarithmic x axis");
    assert_false(ct_file_exists(path));
    ct_plot_destroy(plot);
}

/* ---------------------------------------------------------------------------------------------------- PNG */

static uint32_t big_endian(const unsigned char *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void png_is_png(void **state) {
    (void)state;
    double x[] = {0, 1}, y[] = {1, 2};
    ct_plot *plot = ct_plot_create(context);
    ct_plot_size(plot, 300, 200);
    ct_plot_title(plot, "\xff\xfe broken \xe2\x82 text");
    ct_plot_series(plot, "a", x, y, 2);
    if (!ct_plot_has_png()) {
        assert_message(ct_plot_write(plot, file_at("plot.png")), CT_ERROR_UNSUPPORTED, ".svg");
        ct_plot_destroy(plot);
        return;
    }
    assert_int_equal(ct_plot_write(plot, file_at("plot.png")), CT_OK);
    size_t length = 0;
    unsigned char *bytes = (unsigned char *)ct_file_read(context, path, 1 << 24, &length);
    assert_true(length > 1000);
    assert_memory_equal(bytes, "\x89PNG\r\n\x1a\n", 8);
    assert_memory_equal(bytes + 12, "IHDR", 4);
    assert_int_equal(big_endian(bytes + 16), 600);
    assert_int_equal(big_endian(bytes + 20), 400);
    assert_memory_equal(bytes + length - 8, "IEND", 4);
    ct_free(context, bytes);
    ct_plot_destroy(plot);
}

/* ------------------------------------------------------------------------------------------------- errors */

static void bad_input(void **state) {
    (void)state;
    double x[] = {0, NAN, 2}, falling[] = {0, 2, 1}, good[] = {0, 1, 2}, nothing[] = {NAN, NAN, NAN};
    ct_plot *plot = ct_plot_create(context);
    assert_message(ct_plot_write(plot, file_at("none.svg")), CT_ERROR_ARGUMENT, "no point to show");
    assert_message(ct_plot_series(plot, "a", x, good, 3), CT_ERROR_NUMERIC, "series \"a\": x[1] is nan");
    assert_message(ct_plot_series(plot, "b", falling, good, 3), CT_ERROR_ARGUMENT, "x[2] is 1, below the 2");
    assert_message(ct_plot_series(plot, "c", good, good, 0), CT_ERROR_ARGUMENT, "\"c\" is empty");
    assert_message(ct_plot_size(plot, 100, 480), CT_ERROR_ARGUMENT, "100 x 480");
    assert_message(ct_plot_range(plot, CT_PLOT_Y, 2, 2), CT_ERROR_ARGUMENT, "y axis from 2 to 2");
    assert_int_equal(ct_plot_series(plot, "d", good, nothing, 3), CT_OK);
    assert_message(ct_plot_write(plot, file_at("none.svg")), CT_ERROR_ARGUMENT, "every y is NaN");
    assert_int_equal(ct_plot_series(plot, "e", good, good, 3), CT_OK);
    assert_message(ct_plot_write(plot, file_at("plot.pdf")), CT_ERROR_ARGUMENT, "plot.pdf: expected a name");
    assert_message(ct_plot_write(plot, file_at("missing/plot.svg")), CT_ERROR_NOT_FOUND, "missing/plot.svg");
    for (int i = 2; i < CT_PLOT_SERIES; i++)
        assert_int_equal(ct_plot_series(plot, NULL, good, good, 3), CT_OK);
    assert_message(ct_plot_series(plot, "f", good, good, 3), CT_ERROR_ARGUMENT, "one too many");
    ct_plot_destroy(plot);
}

/* A disk that fills up leaves the file that was there. */
static void failing_writes(void **state) {
    (void)state;
    double x[] = {0, 1}, y[] = {1, 2};
    ct_plot *plot = ct_plot_create(context);
    ct_plot_series(plot, "a", x, y, 2);
    const char *names[] = {"kept.svg", "kept.png"};
    for (int i = 0; i < 1 + (int)ct_plot_has_png(); i++) {
        assert_int_equal(ct_file_write(context, file_at(names[i]), "before", 6), CT_OK);
        ct_file_fail_at(context, 1, 'f');
        assert_message(ct_plot_write(plot, path), CT_ERROR_IO, names[i]);
        ct_file_fail_at(context, 0, 'f');
        char *kept = ct_file_read(context, path, 100, NULL);
        assert_string_equal(kept, "before");
        ct_free(context, kept);
    }
    ct_plot_destroy(plot);
}

/* Whichever allocation fails, the error comes back and nothing is lost. */
static void failing_memory(void **state) {
    (void)state;
    double x[] = {0, 1}, y[] = {1, 2};
    int failures = 0;
    for (int64_t n = 1; n < 100; n++) {
        ct_memory_counts before, after;
        ct_memory_read(context, &before);
        ct_memory_fail_at(context, n);
        ct_plot *plot = ct_plot_create(context);
        if (plot) {
            ct_status status = ct_plot_title(plot, "title");
            if (!status) status = ct_plot_series(plot, "a", x, y, 2);
            if (!status) status = ct_plot_write(plot, file_at("memory.svg"));
            assert_int_equal(status, ct_context_status(context));
            ct_plot_destroy(plot);
        }
        ct_memory_fail_at(context, 0);
        ct_memory_read(context, &after);
        assert_int_equal(after.current_total, before.current_total);
        if (!ct_failed(context)) break;
        assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
        failures++;
    }
    assert_true(failures >= 5 && failures < 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(linear_ticks, clear_errors),
        cmocka_unit_test_teardown(logarithmic_ticks, clear_errors),
        cmocka_unit_test_teardown(extreme_ranges, clear_errors),
        cmocka_unit_test_teardown(positions, clear_errors),
        cmocka_unit_test_teardown(svg_has_everything, clear_errors),
        cmocka_unit_test_teardown(points_are_in_place, clear_errors),
        cmocka_unit_test_teardown(nan_breaks_lines, clear_errors),
        cmocka_unit_test_teardown(many_points_are_thinned, clear_errors),
        cmocka_unit_test_teardown(logarithmic_axes, clear_errors),
        cmocka_unit_test_teardown(png_is_png, clear_errors),
        cmocka_unit_test_teardown(bad_input, clear_errors),
        cmocka_unit_test_teardown(failing_writes, clear_errors),
        cmocka_unit_test_teardown(failing_memory, clear_errors),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
