/* runs.c - runs of a CSV file: some of its columns as numbers. */
#include "format/number.h"
#include <carat/fit.h>
#include <math.h>
#include <string.h>

enum { LINE_LIMIT = 1 << 16, MOST_RUNS = 1000000, MOST_COLUMNS = 1024 };

typedef struct reading {
    ct_context *context;
    ct_lines *lines;
    const char *path, *const *names; /* [wanted] */
    int wanted, columns[CT_FIT_COLUMNS], column_count;
    double *values[CT_FIT_COLUMNS];
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
    for (int k = 0; k < r->wanted; k++)
        r->columns[k] = -1;
    for (; (field = next_field(&rest)) && r->column_count < MOST_COLUMNS; r->column_count++) {
        for (int k = 0; k < r->wanted; k++)
            if (strcmp(field, r->names[k]) == 0) r->columns[k] = r->column_count;
        if (kept < 64) seen[kept++] = field;
    }
    for (int k = 0; k < r->wanted; k++)
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
    for (int k = 0; k < r->wanted; k++) {
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
        for (int k = 0; k < r->wanted; k++) {
            if (c != r->columns[k]) continue;
            if (!is_number(field))
                return ct_fail(r->context, CT_ERROR_FORMAT, "%s:%lld: %s is \"%.40s\", expected a number",
                               r->path, (long long)ct_lines_number(r->lines), r->names[k], field);
            r->values[k][r->count] = ct_number_parse(field);
            found++;
        }
    if (found < r->wanted)
        return ct_fail(r->context, CT_ERROR_FORMAT, "%s:%lld: fewer fields than the %d columns", r->path,
                       (long long)ct_lines_number(r->lines), r->column_count);
    r->count++;
    return CT_OK;
}

ct_status ct_fit_read_columns(ct_context *context, const char *path, const char *const *columns,
                              int column_count, double **values, int64_t *count) {
    reading r = {.context = context, .path = path, .names = columns, .wanted = column_count};
    *count = 0;
    for (int k = 0; k < column_count; k++)
        values[k] = NULL;
    if (ct_failed(context)) return ct_context_status(context);
    if (column_count < 1 || column_count > CT_FIT_COLUMNS)
        return ct_fail(context, CT_ERROR_ARGUMENT, "fit: %d columns, expected 1 to %d", column_count,
                       CT_FIT_COLUMNS);
    r.lines = ct_lines_open(context, path, LINE_LIMIT);
    if (r.lines && read_header(&r) == CT_OK)
        for (char *line; !ct_failed(context) && (line = ct_lines_next(r.lines, NULL));) {
            if (r.count == MOST_RUNS)
                ct_fail(context, CT_ERROR_FORMAT, "%s: more than %d runs", path, MOST_RUNS);
            else if (line[strspn(line, " \t\r")])
                read_line(&r, line);
        }
    ct_lines_close(r.lines);
    for (int k = 0; k < column_count; k++) {
        if (ct_failed(context))
            ct_free(context, r.values[k]);
        else
            values[k] = r.values[k];
    }
    if (!ct_failed(context)) *count = r.count;
    return ct_context_status(context);
}

ct_status ct_fit_read(ct_context *context, const char *path, const char *x_column, const char *loss_column,
                      double **x, double **loss, int64_t *count) {
    const char *const columns[] = {x_column, loss_column};
    double *values[2] = {NULL, NULL};
    ct_fit_read_columns(context, path, columns, 2, values, count);
    *x = values[0];
    *loss = values[1];
    return ct_context_status(context);
}
