/* text.c - a result for a terminal. */
#include "claim/parts.h"
#include <math.h>
#include <string.h>

enum { LABEL = 40, CELL = 12 };

ct_status ct_claim_print(ct_context *context, ct_bytes *text, const char *format, ...) {
    char small[512];
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(small, sizeof(small), format, arguments);
    va_end(arguments);
    ct_status status = CT_ERROR_ARGUMENT;
    if (length >= 0 && (size_t)length < sizeof(small)) {
        status = ct_bytes_append(context, text, small, (size_t)length);
    } else if (length >= 0) {
        char *large = ct_alloc(context, (size_t)length + 1, CT_MEMORY_OTHER);
        if (large) vsnprintf(large, (size_t)length + 1, format, again);
        status = large ? ct_bytes_append(context, text, large, (size_t)length) : CT_ERROR_MEMORY;
        ct_free(context, large);
    }
    va_end(again);
    return status;
}

const char *ct_claim_number(double value, int digits, char buffer[40]) {
    if (!isfinite(value))
        snprintf(buffer, 40, "-");
    else if (digits < 0 || fabs(value) >= 1e9)
        snprintf(buffer, 40, "%.4g", value);
    else
        snprintf(buffer, 40, "%.*f", digits > 12 ? 12 : digits, value);
    return buffer;
}

static double real(const ct_value *map, const char *key) {
    return ct_value_as_real(ct_value_get(map, key), NAN);
}
static const char *string(const ct_value *map, const char *key) {
    return ct_value_as_string(ct_value_get(map, key), "");
}

/* Columns a UTF-8 text takes: its characters. */
static int columns_of(const char *text) {
    int count = 0;
    for (; *text; text++)
        count += ((unsigned char)*text & 0xc0u) != 0x80u;
    return count;
}

static void pad(ct_context *context, ct_bytes *out, int count) {
    while (count-- > 0)
        ct_bytes_append(context, out, " ", 1);
}

/* "0.951 (0.944)": ours, and the paper's where there is one. */
static void cell_text(const ct_value *row, const ct_value *column, size_t index, char *buffer, size_t size) {
    char ours[40], paper[40];
    int digits = (int)ct_value_as_int(ct_value_get(column, "digits"), -1);
    double reported = ct_value_as_real(ct_value_at(ct_value_get(row, "paper"), index), NAN);
    ct_claim_number(ct_value_as_real(ct_value_at(ct_value_get(row, "values"), index), NAN), digits, ours);
    if (isfinite(reported))
        snprintf(buffer, size, "%s (%s)", ours, ct_claim_number(reported, digits, paper));
    else
        snprintf(buffer, size, "%s", ours);
}

static void heading(const ct_value *column, char *buffer, size_t size) {
    const char *unit = string(column, "unit");
    snprintf(buffer, size, "%s%s%s", string(column, "name"), *unit ? ", " : "", unit);
}

static int column_width(const ct_value *table, size_t index) {
    const ct_value *column = ct_value_at(ct_value_get(table, "columns"), index),
                   *rows = ct_value_get(table, "rows");
    char text[128];
    heading(column, text, sizeof(text));
    int width = columns_of(text);
    for (size_t r = 0; r < ct_value_count(rows); r++) {
        cell_text(ct_value_at(rows, r), column, index, text, sizeof(text));
        if (columns_of(text) > width) width = columns_of(text);
    }
    return width;
}

static void right_aligned(ct_context *context, ct_bytes *out, const char *text, int width) {
    pad(context, out, width - columns_of(text));
    ct_claim_print(context, out, "%s", text);
}

static void table_text(ct_context *context, ct_bytes *out, const ct_value *table) {
    const ct_value *columns = ct_value_get(table, "columns"), *rows = ct_value_get(table, "rows");
    char text[128];
    int label = columns_of(string(table, "title"));
    for (size_t r = 0; r < ct_value_count(rows); r++)
        if (columns_of(string(ct_value_at(rows, r), "label")) > label)
            label = columns_of(string(ct_value_at(rows, r), "label"));
    ct_claim_print(context, out, "\n  %s", string(table, "title"));
    pad(context, out, label - columns_of(string(table, "title")));
    for (size_t c = 0; c < ct_value_count(columns); c++) {
        heading(ct_value_at(columns, c), text, sizeof(text));
        right_aligned(context, out, text, column_width(table, c) + 2);
    }
    for (size_t r = 0; r < ct_value_count(rows); r++) {
        const ct_value *row = ct_value_at(rows, r);
        ct_claim_print(context, out, "\n  %s", string(row, "label"));
        pad(context, out, label - columns_of(string(row, "label")));
        for (size_t c = 0; c < ct_value_count(columns); c++) {
            cell_text(row, ct_value_at(columns, c), c, text, sizeof(text));
            right_aligned(context, out, text, column_width(table, c) + 2);
        }
    }
    ct_claim_print(context, out, "\n");
}

static void check_text(ct_context *context, ct_bytes *out, const ct_value *check) {
    char measured[40], bound[40], margin[40], low[40], high[40];
    bool holds = ct_value_as_bool(ct_value_get(check, "holds"), false);
    const ct_value *interval = ct_value_get(check, "interval");
    ct_claim_print(context, out, "  [%s] %s: %s, expected %s %s (margin %s", holds ? "ok" : "NO",
                   string(check, "what"), ct_claim_number(real(check, "measured"), -1, measured),
                   string(check, "relation"), ct_claim_number(real(check, "bound"), -1, bound),
                   ct_claim_number(real(check, "margin"), -1, margin));
    if (interval && isfinite(real(interval, "low")))
        ct_claim_print(context, out, ", 95 %% interval %s to %s over %lld seeds%s",
                       ct_claim_number(real(interval, "low"), -1, low),
                       ct_claim_number(real(interval, "high"), -1, high),
                       (long long)ct_value_as_int(ct_value_get(interval, "count"), 0),
                       ct_value_as_bool(ct_value_get(check, "settled"), false) ? ""
                                                                               : ", which do not settle it");
    ct_claim_print(context, out, ")\n");
}

char *ct_claim_result_text(ct_context *context, const ct_value *result) {
    if (ct_failed(context)) return NULL;
    ct_bytes out = {0};
    const ct_value *tables = ct_value_get(result, "tables"), *checks = ct_value_get(result, "checks"),
                   *notes = ct_value_get(result, "notes"), *run = ct_value_get(result, "run");
    ct_claim_print(context, &out, "%s\n  %s\n", string(result, "name"), string(result, "claim"));
    if (*string(result, "paper")) ct_claim_print(context, &out, "  %s", string(result, "paper"));
    if (*string(result, "reported"))
        ct_claim_print(context, &out, "%s%s", *string(result, "paper") ? ": " : "  ",
                       string(result, "reported"));
    if (*string(result, "paper") || *string(result, "reported")) ct_claim_print(context, &out, "\n");
    for (size_t i = 0; i < ct_value_count(tables); i++)
        table_text(context, &out, ct_value_at(tables, i));
    if (ct_value_count(checks)) ct_claim_print(context, &out, "\n");
    for (size_t i = 0; i < ct_value_count(checks); i++)
        check_text(context, &out, ct_value_at(checks, i));
    for (size_t i = 0; i < ct_value_count(notes); i++)
        ct_claim_print(context, &out, "  Note: %s\n", ct_value_as_string(ct_value_at(notes, i), ""));
    ct_claim_print(context, &out, "\n  %s %s", string(result, "name"), string(result, "verdict"));
    if (*string(result, "reason")) ct_claim_print(context, &out, ": %s", string(result, "reason"));
    if (real(run, "seconds") > 0) ct_claim_print(context, &out, " (%.1f s)", real(run, "seconds"));
    ct_claim_print(context, &out, "\n");
    if (!ct_failed(context)) return out.data;
    ct_bytes_free(context, &out);
    return NULL;
}
