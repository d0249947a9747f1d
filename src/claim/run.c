/* run.c - what a run gives a claim and takes from it: seeds, data, values, memory; notes, tables, plots. */
#include "claim/parts.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SERIES_POINTS = 200 };

ct_context *ct_claim_context(const ct_claim_run *run) {
    return run->context;
}
const ct_claim *ct_claim_of(const ct_claim_run *run) {
    return run->claim;
}
int ct_claim_seeds(const ct_claim_run *run) {
    return run->seeds;
}
uint64_t ct_claim_seed(const ct_claim_run *run, int index) {
    return (uint64_t)run->settings.first_seed + (uint64_t)index;
}

/* ----------------------------------------------------------------------------------------- resources */

ct_status ct_claim_keep(ct_claim_run *run, void *object, void (*release)(ct_context *context, void *object)) {
    if (!object) return ct_failed(run->context) ? ct_context_status(run->context) : CT_ERROR_MEMORY;
    if (run->resource_count == run->resource_capacity) {
        size_t capacity = run->resource_capacity ? 2 * run->resource_capacity : 32;
        void *larger =
            ct_realloc(run->context, run->resources, capacity * sizeof(ct_claim_resource), CT_MEMORY_OTHER);
        if (!larger) {
            release(run->context, object);
            return CT_ERROR_MEMORY;
        }
        run->resources = larger;
        run->resource_capacity = capacity;
    }
    run->resources[run->resource_count++] = (ct_claim_resource){object, release};
    return CT_OK;
}

void ct_claim_let_go(ct_claim_run *run, void *object) {
    for (size_t i = run->resource_count; object && i-- > 0;) {
        if (run->resources[i].object != object) continue;
        ct_claim_resource found = run->resources[i];
        run->resource_count--;
        memmove(run->resources + i, run->resources + i + 1, (run->resource_count - i) * sizeof(found));
        found.release(run->context, object);
        return;
    }
}

static void release_memory(ct_context *context, void *object) {
    ct_free(context, object);
}
static void release_value(ct_context *context, void *object) {
    (void)context;
    ct_value_free(object);
}

void *ct_claim_memory(ct_claim_run *run, size_t size) {
    if (ct_failed(run->context)) return NULL;
    void *memory = ct_alloc_zero(run->context, size, CT_MEMORY_OTHER);
    return ct_claim_keep(run, memory, release_memory) == CT_OK ? memory : NULL;
}

/* Whatever happened, the folder goes. */
static void release_folder(ct_context *context, void *object) {
    ct_try trial;
    ct_try_begin(context, &trial);
    ct_folder_remove(context, object);
    ct_try_end(context, &trial, NULL, 0);
    ct_free(context, object);
}

const char *ct_claim_folder(ct_claim_run *run) {
    ct_context *context = run->context;
    const char *base = getenv("TMPDIR");
    if (ct_failed(context) || run->folder) return ct_failed(context) ? NULL : run->folder;
    char *folder = ct_path_join(context, base && *base ? base : "/tmp", "carat-claim-XXXXXX");
    if (folder && !mkdtemp(folder)) {
        ct_fail(context, CT_ERROR_IO, "%s: cannot be made", folder);
        ct_free(context, folder);
        return NULL;
    }
    if (ct_claim_keep(run, folder, release_folder) == CT_OK) run->folder = folder;
    return run->folder;
}

const char *ct_claim_data(ct_claim_run *run, const char *name) {
    if (ct_failed(run->context)) return NULL;
    char *folder = ct_claim_data_folder(run->context, &run->settings);
    char *path = folder ? ct_path_join(run->context, folder, name) : NULL;
    ct_free(run->context, folder);
    return ct_claim_keep(run, path, release_memory) == CT_OK ? path : NULL;
}

const ct_value *ct_claim_yaml(ct_claim_run *run, const char *format, ...) {
    ct_context *context = run->context;
    if (ct_failed(context)) return NULL;
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ct_value *value = NULL;
    if (length < 0 || (size_t)length >= sizeof(text))
        ct_fail(context, CT_ERROR_ARGUMENT, "claim %s: YAML text beyond %zu bytes", run->claim->name,
                sizeof(text) - 1);
    else
        value = ct_yaml_parse(context, text, (size_t)length, run->claim->name);
    return ct_claim_keep(run, value, release_value) == CT_OK ? value : NULL;
}

ct_status ct_claim_continue(ct_claim_run *run) {
    if (ct_failed(run->context)) return ct_context_status(run->context);
    if (ct_stop_requested(run->context)) return CT_ERROR_INTERRUPTED;
    if (ct_seconds() < run->deadline) return CT_OK;
    return ct_fail(run->context, CT_ERROR_STATE, "it was stopped after %g minutes (limit)",
                   run->settings.limit);
}

void ct_claim_say(ct_claim_run *run, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(run->saying, sizeof(run->saying), format, arguments);
    va_end(arguments);
    ct_progress(run->context, run->claim->name, run->trials_done, run->trials_total, "runs", run->saying);
}

/* -------------------------------------------------------------------------------------------- values */

void ct_claim_put_text(ct_value *map, const char *key, const char *text, ct_context *context) {
    ct_value_set(map, key, text ? ct_value_string(context, text) : ct_value_null(context));
}
ct_value *ct_claim_real(ct_context *context, double value) {
    return isfinite(value) ? ct_value_real(context, value) : ct_value_null(context);
}
void ct_claim_put_real(ct_value *map, const char *key, double value, ct_context *context) {
    ct_value_set(map, key, ct_claim_real(context, value));
}
void ct_claim_put_int(ct_value *map, const char *key, int64_t value, ct_context *context) {
    ct_value_set(map, key, ct_value_int(context, value));
}

void ct_claim_note(ct_claim_run *run, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (!ct_failed(run->context)) ct_value_append(run->notes, ct_value_string(run->context, text));
}

/* -------------------------------------------------------------------------------------------- tables */

int ct_claim_table(ct_claim_run *run, const char *title, const ct_claim_column *columns, int count) {
    ct_context *context = run->context;
    ct_value *table = ct_failed(context) ? NULL : ct_value_map(context);
    ct_value *list = table ? ct_value_list(context) : NULL;
    for (int i = 0; list && i < count; i++) {
        ct_value *column = ct_value_map(context);
        if (column) {
            ct_claim_put_text(column, "name", columns[i].name, context);
            ct_claim_put_text(column, "unit", columns[i].unit, context);
            ct_claim_put_int(column, "digits", columns[i].digits, context);
        }
        ct_value_append(list, column);
    }
    if (table) {
        ct_claim_put_text(table, "title", title, context);
        ct_value_set(table, "columns", list);
        ct_value_set(table, "rows", ct_value_list(context));
    }
    if (!table || ct_value_append(run->tables, table) != CT_OK || ct_failed(context)) return -1;
    return (int)ct_value_count(run->tables) - 1;
}

static ct_value *cells(ct_context *context, const double *values, size_t count) {
    ct_value *list = ct_value_list(context);
    for (size_t i = 0; list && i < count; i++)
        ct_value_append(list, ct_claim_real(context, values[i]));
    return list;
}

ct_status ct_claim_row(ct_claim_run *run, int table, const char *label, const double *values,
                       const double *paper) {
    ct_context *context = run->context;
    if (ct_failed(context)) return ct_context_status(context);
    const ct_value *target = table < 0 ? NULL : ct_value_at(run->tables, (size_t)table);
    if (!target) return ct_fail(context, CT_ERROR_ARGUMENT, "claim: there is no table %d", table);
    size_t count = ct_value_count(ct_value_get(target, "columns"));
    ct_value *row = ct_value_map(context);
    if (!row) return ct_context_status(context);
    ct_claim_put_text(row, "label", label, context);
    ct_value_set(row, "values", cells(context, values, count));
    if (paper) ct_value_set(row, "paper", cells(context, paper, count));
    return ct_value_append(ct_value_get(target, "rows"), row);
}

/* --------------------------------------------------------------------------------------------- plots */

int ct_claim_plot(ct_claim_run *run, const char *title, const char *x_label, bool x_logarithmic,
                  const char *y_label, bool y_logarithmic) {
    ct_context *context = run->context;
    ct_value *plot = ct_failed(context) ? NULL : ct_value_map(context);
    if (!plot) return -1;
    ct_claim_put_text(plot, "title", title, context);
    ct_claim_put_text(plot, "x", x_label, context);
    ct_claim_put_text(plot, "y", y_label, context);
    ct_value_set(plot, "x_logarithmic", ct_value_bool(context, x_logarithmic));
    ct_value_set(plot, "y_logarithmic", ct_value_bool(context, y_logarithmic));
    ct_value_set(plot, "series", ct_value_list(context));
    if (ct_value_append(run->plots, plot) != CT_OK) return -1;
    return (int)ct_value_count(run->plots) - 1;
}

/* Position of the shown point `i` among `count`: the first and the last are always shown. */
static int64_t thinned(int64_t i, int64_t shown, int64_t count) {
    return shown == count ? i : (int64_t)llround((double)i * (double)(count - 1) / (double)(shown - 1));
}

ct_status ct_claim_series(ct_claim_run *run, int plot, const char *name, const double *x, const double *y,
                          int64_t count) {
    ct_context *context = run->context;
    if (ct_failed(context)) return ct_context_status(context);
    const ct_value *target = plot < 0 ? NULL : ct_value_at(run->plots, (size_t)plot);
    if (!target) return ct_fail(context, CT_ERROR_ARGUMENT, "claim: there is no plot %d", plot);
    if (count < 1) return ct_fail(context, CT_ERROR_ARGUMENT, "claim: series \"%s\" has no points", name);
    ct_value *map = ct_value_map(context), *xs = ct_value_list(context), *ys = ct_value_list(context);
    int64_t shown = count < SERIES_POINTS ? count : SERIES_POINTS;
    for (int64_t i = 0; xs && ys && i < shown; i++) {
        int64_t at = thinned(i, shown, count);
        ct_value_append(xs, ct_claim_real(context, x[at]));
        ct_value_append(ys, ct_claim_real(context, y[at]));
    }
    if (map) ct_claim_put_text(map, "name", name, context);
    if (map && xs) ct_value_set(map, "x", xs);
    if (map && ys) ct_value_set(map, "y", ys);
    return ct_value_append(ct_value_get(target, "series"), map);
}
