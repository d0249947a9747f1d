/* tune.c - coordinate descent on numbers of a training recipe (search.h). */
#include <carat/search.h>
#include <carat/train.h>
#include <math.h>
#include <string.h>

enum { NAME_SIZE = 512 };

typedef struct tuner {
    ct_context *context;
    const ct_value *recipe;
    const char *const *keys;
    bool whole[CT_DESCENT_COORDINATES]; /* the key is of a whole number */
    int count;
    const char *folder;
    ct_bytes table; /* tune.csv so far */
} tuner;

static double value_of(const tuner *t, int index, double value) {
    return t->whole[index] ? fmax(1, round(value)) : value;
}

/* "learning_rate=0.002,weight_decay=0.4" */
static void name_of(const tuner *t, const double *values, char name[NAME_SIZE]) {
    size_t length = 0;
    for (int i = 0; i < t->count && length < NAME_SIZE; i++)
        length += (size_t)snprintf(name + length, NAME_SIZE - length, "%s%s=%.9g", i ? "," : "", t->keys[i],
                                   value_of(t, i, values[i]));
}

static ct_value *recipe_at(const tuner *t, const double *values, const char *folder) {
    ct_context *context = t->context;
    ct_value *recipe = ct_value_copy(t->recipe);
    for (int i = 0; recipe && i < t->count; i++) {
        double value = value_of(t, i, values[i]);
        ct_value_set_path(recipe, t->keys[i],
                          t->whole[i] ? ct_value_int(context, (int64_t)value)
                                      : ct_value_real(context, value));
    }
    if (recipe) ct_value_set(recipe, "output_dir", ct_value_string(context, folder));
    return recipe;
}

static ct_status write_line(tuner *t, const double *values, double loss) {
    char line[NAME_SIZE], *path = ct_path_join(t->context, t->folder, "tune.csv");
    size_t length = 0;
    for (int i = 0; i < t->count; i++)
        length += (size_t)snprintf(line + length, sizeof(line) - length, "%.9g,", value_of(t, i, values[i]));
    length += (size_t)snprintf(line + length, sizeof(line) - length, "%.9g\n", loss);
    if (path && ct_bytes_append(t->context, &t->table, line, length) == CT_OK)
        ct_file_write(t->context, path, t->table.data, t->table.length);
    ct_free(t->context, path);
    return ct_context_status(t->context);
}

/* Runs the recipe in `folder`: CT_OK and NAN where it diverges. */
static ct_status train(tuner *t, const double *values, const char *folder, double *loss) {
    ct_context *context = t->context;
    ct_value *recipe = recipe_at(t, values, folder);
    ct_train_report report;
    ct_try trial;
    char message[512];
    if (!recipe) return ct_context_status(context);
    ct_try_begin(context, &trial);
    ct_train(context, recipe, true, &report);
    ct_status status = ct_try_end(context, &trial, message, sizeof(message));
    ct_value_free(recipe);
    *loss = NAN;
    if (status == CT_ERROR_NUMERIC) return CT_OK;
    if (status != CT_OK) return ct_fail(context, status, "%s", message);
    if (report.interrupted) return CT_ERROR_INTERRUPTED;
    *loss = log(report.perplexity_after);
    return CT_OK;
}

static ct_status loss_at(void *user, const double *values, double *loss) {
    tuner *t = user;
    char name[NAME_SIZE];
    name_of(t, values, name);
    char *folder = ct_path_join(t->context, t->folder, name);
    ct_status status = folder ? train(t, values, folder, loss) : ct_context_status(t->context);
    if (status == CT_OK) {
        ct_log_message(t->context, CT_LOG_INFO, "%s: loss %.5f", name, *loss);
        status = write_line(t, values, *loss);
    }
    ct_free(t->context, folder);
    return status;
}

/* ---------------------------------------------------------------------------------------------- start */

static ct_status read_start(tuner *t, double *start) {
    ct_context *context = t->context;
    ct_train_options plain;
    ct_options_default(ct_train_table, &plain);
    ct_value *standard = ct_options_to_value(context, ct_train_table, &plain);
    for (int i = 0; i < t->count && !ct_failed(context); i++) {
        const ct_option *option = ct_options_find(ct_train_table, t->keys[i]);
        const ct_value *given = ct_value_get_path(t->recipe, t->keys[i]);
        if (!given) given = ct_value_get_path(standard, t->keys[i]);
        t->whole[i] = option ? option->type == CT_TYPE_INT : ct_value_kind_of(given) == CT_VALUE_INT;
        start[i] = ct_value_as_real(given, NAN);
        if (!(start[i] > 0 && isfinite(start[i])))
            ct_fail(context, CT_ERROR_ARGUMENT,
                    "tune: %s: the recipe has no number above 0 there, from which the search could start",
                    t->keys[i]);
        for (int k = 0; k < i; k++)
            if (strcmp(t->keys[k], t->keys[i]) == 0)
                ct_fail(context, CT_ERROR_ARGUMENT, "tune: %s is named twice", t->keys[i]);
    }
    ct_value_free(standard);
    return ct_context_status(context);
}

static ct_status check_recipe(tuner *t) {
    ct_context *context = t->context;
    const ct_value *fraction = ct_value_get_path(t->recipe, "data.validation_fraction");
    if (!t->folder || !*t->folder)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "output_dir: expected the folder to write to (out=FOLDER)");
    if (ct_value_as_real(fraction, 1) == 0 &&
        !ct_value_as_string(ct_value_get_path(t->recipe, "data.validation"), NULL))
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "tune: the recipe holds no text out (data.validation_fraction is 0)");
    if (ct_value_as_int(ct_value_get(t->recipe, "save_steps"), 0) < 0)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "tune: save_steps is -1: without checkpoints no run could be taken up again");
    return CT_OK;
}

ct_status ct_tune(ct_context *context, const ct_value *recipe, const char *const *keys, int count,
                  const ct_descent_options *options, ct_descent_result *result, char **best) {
    tuner t = {.context = context, .recipe = recipe, .keys = keys, .count = count};
    double start[CT_DESCENT_COORDINATES];
    char name[NAME_SIZE];
    *result = (ct_descent_result){.loss = NAN};
    if (best) *best = NULL;
    if (ct_failed(context)) return ct_context_status(context);
    if (count < 1 || count > CT_DESCENT_COORDINATES)
        return ct_fail(context, CT_ERROR_ARGUMENT, "tune: %d keys, expected 1 to %d", count,
                       CT_DESCENT_COORDINATES);
    t.folder = ct_value_as_string(ct_value_get(recipe, "output_dir"), NULL);
    if (check_recipe(&t) != CT_OK || read_start(&t, start) != CT_OK ||
        ct_folder_make(context, t.folder) != CT_OK)
        return ct_context_status(context);
    for (int i = 0; i < count; i++) {
        ct_bytes_append(context, &t.table, keys[i], strlen(keys[i]));
        ct_bytes_append(context, &t.table, ",", 1);
    }
    ct_bytes_append(context, &t.table, "loss\n", 5);
    ct_status status = ct_descend(context, start, count, options, loss_at, &t, result);
    if (status == CT_OK) {
        name_of(&t, result->values, name);
        for (int i = 0; i < count; i++)
            result->values[i] = value_of(&t, i, result->values[i]);
        if (best) *best = ct_path_join(context, t.folder, name);
    }
    ct_bytes_free(context, &t.table);
    return status;
}
