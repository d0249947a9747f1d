/* runs.c - runs of a CSV file: two of its columns as numbers. */
#include "format/number.h"
#include <carat/fit.h>
#include <math.h>
#include <string.h>

enum { LINE_LIMIT = 1 << 16, MOST_RUNS = 1000000, MOST_COLUMNS = 1024 };

typedef struct reading {
    ct_context *context;
    ct_lines *lines;
    const char *path, *names[2];
    int columns[2], column_count;
    double *values[2];
    int64_t count, capacity;
} reading;

/* The next field of a line, without spaces around it; NULL behind the last. */
static char *next_field(char **rest) {
    char *field = *rest, *end;
    if (!field) return NULL;
    end = strchr(field, ',');
    *rest = end ? end + 1 : NULL;
    if (end) *end = 0;
    field += strspn(field, " \t");
    for (end = field + strlen(field); end > field && strchr(" \t\r", end[-1]);)
        *--end = 0;
    return field;
}

static ct_status read_header(reading *r) {
    char *line = ct_lines_next(r->lines, NULL), *rest = line, *field;
    const char *seen[64] = {NULL};
    size_t kept = 0;
    if (!line && !ct_failed(r->context))
        return ct_fail(r->context, CT_ERROR_FORMAT, "%s: empty, expected a line of column names", r->path);
    if (!line) return ct_context_status(r->context);
    r->columns[0] = r->columns[1] = -1;
    for (; (field = next_field(&rest)) && r->column_count < MOST_COLUMNS; r->column_count++) {
        for (int k = 0; k < 2; k++)
            if (strcmp(field, r->names[k]) == 0) r->columns[k] = r->column_count;
        if (kept < 64) seen[kept++] = field;
    }
    for (int k = 0; k < 2; k++)
        if (r->columns[k] < 0) {
            const char *near = ct_nearest_name(r->names[k], seen, kept);
            return ct_fail(r->context, CT_ERROR_FORMAT, "%s: there is no column \"%s\"%s%s%s", r->path,
                           r->names[k], near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
        }
    return CT_OK;
}

static bool is_number(const char *text) {
    return *text && strspn(text, "+-.0123456789eE") == strlen(text) && strpbrk(text, "0123456789");
}

static ct_status grow(reading *r) {
    if (r->count < r->capacity) return CT_OK;
    int64_t capacity = r->capacity ? 2 * r->capacity : 64;
    for (int k = 0; k < 2; k++) {
        void *more = ct_realloc(r->context, r->values[k], (size_t)capacity * sizeof(double), CT_MEMORY_OTHER);
        if (!more) return CT_ERROR_MEMORY;
        r->values[k] = more;
    }
    r->capacity = capacity;
    return CT_OK;
}

static ct_status read_line(reading *r, char *line) {
    char *rest = line, *field;
    int found = 0;
    if (grow(r) != CT_OK) return CT_ERROR_MEMORY;
    for (int c = 0; (field = next_field(&rest)); c++)
        for (int k = 0; k < 2; k++) {
            if (c != r->columns[k]) continue;
            if (!is_number(field))
                return ct_fail(r->context, CT_ERROR_FORMAT, "%s:%lld: %s is \"%.40s\", expected a number",
                               r->path, (long long)ct_lines_number(r->lines), r->names[k], field);
            r->values[k][r->count] = ct_number_parse(field);
            found++;
        }
    if (found < (r->columns[0] == r->columns[1] ? 1 : 2))
        return ct_fail(r->context, CT_ERROR_FORMAT, "%s:%lld: fewer fields than the %d columns", r->path,
                       (long long)ct_lines_number(r->lines), r->column_count);
    r->count++;
    return CT_OK;
}

ct_status ct_fit_read(ct_context *context, const char *path, const char *x_column, const char *loss_column,
                      double **x, double **loss, int64_t *count) {
    reading r = {.context = context, .path = path, .names = {x_column, loss_column}};
    *x = *loss = NULL;
    *count = 0;
    r.lines = ct_failed(context) ? NULL : ct_lines_open(context, path, LINE_LIMIT);
    if (r.lines && read_header(&r) == CT_OK)
        for (char *line; !ct_failed(context) && (line = ct_lines_next(r.lines, NULL));) {
            if (r.count == MOST_RUNS)
                ct_fail(context, CT_ERROR_FORMAT, "%s: more than %d runs", path, MOST_RUNS);
            else if (line[strspn(line, " \t\r")])
                read_line(&r, line);
        }
    ct_lines_close(r.lines);
    if (ct_failed(context)) {
        ct_free(context, r.values[0]);
        ct_free(context, r.values[1]);
        return ct_context_status(context);
    }
    *x = r.values[0];
    *loss = r.values[1];
    *count = r.count;
    return CT_OK;
}
