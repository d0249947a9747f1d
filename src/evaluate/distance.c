/* distance.c - how far a run's checkpoints are from its first weights, and the fit a + b log t (evaluate.h).
 */
#include "train/recipe.h"
#include "train/state.h"
#include <carat/evaluate.h>
#include <carat/plot.h>
#include <math.h>
#include <string.h>

enum { LINE_LIMIT = 1 << 20, LEAST = 3 };

typedef struct study {
    ct_context *context;
    const char *folder;
    ct_distance *result;
    ct_value *recipe, *config; /* options and learner borrow from them */
    ct_train_options options;
    ct_corpus corpus;
    ct_learner *learner;
    double *rates; /* [count] of the log at the checkpoints' steps; NAN where it has no line */
} study;

/* ------------------------------------------------------------------------------------ the first weights */

static ct_value *document_in(ct_context *context, const char *folder, const char *name) {
    char *path = ct_path_join(context, folder, name);
    ct_value *value = path ? ct_document_read(context, path) : NULL;
    ct_free(context, path);
    return value;
}

/* Model and weights as the run had them before its first step. */
static ct_status begin(study *s) {
    ct_context *context = s->context;
    char *first = ct_checkpoint_path(context, s->folder, s->result->steps[0]);
    s->recipe = first ? document_in(context, first, "recipe.yaml") : NULL;
    s->config = s->recipe ? document_in(context, first, "config.json") : NULL;
    if (s->config) ct_recipe_read(context, s->recipe, &s->options);
    s->options.teacher.path = NULL; /* nothing is learnt here */
    if (s->config && !ct_failed(context) && s->options.init) ct_corpus_read(context, &s->options, first, &s->corpus);
    ct_free(context, first);
    if (ct_failed(context)) return ct_context_status(context);
    s->learner = ct_learner_create(context, &s->options, s->config);
    return s->learner ? ct_learner_initialize(s->learner, s->corpus.train) : ct_context_status(context);
}

/* ------------------------------------------------------------------------------------------- distances */

static bool counts(const ct_parameter *parameter) {
    return parameter->trainable && !parameter->buffer;
}

static double distance_of(const float *a, const float *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

static ct_status compare(study *s, int64_t at, ct_safetensors *file) {
    ct_context *context = s->context;
    ct_distance *r = s->result;
    double all = 0;
    for (int64_t i = 0, n = 0; i < ct_model_parameter_count(s->learner->model); i++) {
        const ct_parameter *p = ct_model_parameter(s->learner->model, i);
        if (!counts(p)) continue;
        const ct_safetensors_tensor *entry = ct_safetensors_need(file, p->name);
        size_t size = (size_t)ct_count(p->tensor) * sizeof(float);
        if (!entry) return ct_context_status(context);
        if (entry->dtype != ct_file_dtype_of(CT_F32) || entry->size != size)
            return ct_fail(
                context, CT_ERROR_FORMAT, "%s: \"%s\" is %s of %lld elements, expected F32 of %lld",
                ct_safetensors_file_path(file, (size_t)entry->shard), p->name,
                ct_file_dtype_name(entry->dtype), (long long)entry->count, (long long)ct_count(p->tensor));
        float *now = ct_alloc(context, size, CT_MEMORY_WORKSPACE);
        if (!now) return CT_ERROR_MEMORY;
        ct_status status = ct_safetensors_read(file, entry, now, 0, size);
        double square = status == CT_OK ? distance_of(now, ct_data(p->tensor), ct_count(p->tensor)) : 0;
        ct_free(context, now);
        if (status != CT_OK) return status;
        r->of_tensor[n++ * r->count + at] = sqrt(square);
        all += square;
    }
    r->whole[at] = sqrt(all);
    return CT_OK;
}

static ct_status measure(study *s) {
    ct_context *context = s->context;
    for (int64_t i = 0; i < s->result->count && !ct_failed(context); i++) {
        char *folder = ct_checkpoint_path(context, s->folder, s->result->steps[i]);
        char *path = folder ? ct_path_join(context, folder, "model.safetensors") : NULL;
        ct_safetensors *file = path ? ct_safetensors_open(context, path) : NULL;
        if (file) compare(s, i, file);
        ct_safetensors_close(file);
        ct_free(context, path);
        ct_free(context, folder);
    }
    return ct_context_status(context);
}

/* ------------------------------------------------------------------------------------------- the rates */

typedef struct rates {
    double highest, before;
    int64_t high_first, high_last; /* steps of the first stretch at a high rate */
    bool over;
} rates;

/* One pass finds the highest rate, another what lies above half of it. */
static void take(study *s, rates *seen, bool second, int64_t step, double rate) {
    ct_distance *r = s->result;
    if (!second) {
        seen->highest = fmax(seen->highest, rate);
        return;
    }
    bool drops = seen->before > 0 && rate <= seen->before / 2;
    if (drops && r->drop_count < 16) r->drops[r->drop_count++] = step;
    bool high = rate >= seen->highest / 2 && rate > 0;
    seen->over |= seen->high_first && (drops || !high);
    if (high && !seen->over) {
        if (!seen->high_first) seen->high_first = step;
        seen->high_last = step;
    }
    seen->before = rate;
}

static ct_status read_log(study *s, rates *seen, bool second) {
    ct_context *context = s->context;
    char *path = ct_path_join(context, s->folder, "train.jsonl"), *line;
    ct_lines *lines = path ? ct_lines_open(context, path, LINE_LIMIT) : NULL;
    size_t length;
    while (lines && (line = ct_lines_next(lines, &length))) {
        ct_value *entry = length ? ct_json_parse(context, line, length, path) : NULL;
        double rate = ct_value_as_real(ct_value_get(entry, "learning_rate"), -1);
        int64_t step = ct_value_as_int(ct_value_get(entry, "step"), 0);
        if (rate >= 0 && step > 0) take(s, seen, second, step, rate);
        ct_value_free(entry);
        if (ct_failed(context)) break;
    }
    ct_lines_close(lines);
    ct_free(context, path);
    return ct_context_status(context);
}

/* ------------------------------------------------------------------------------------------------ fit */

static void fit(ct_distance *r, const rates *seen) {
    double n = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0;
    for (int64_t i = 0; i < r->count; i++) {
        if (r->steps[i] < seen->high_first || r->steps[i] > seen->high_last || r->steps[i] < 1) continue;
        double u = log((double)r->steps[i]), v = r->whole[i];
        if (n == 0) r->fit_first = r->steps[i];
        r->fit_last = r->steps[i];
        n++;
        x += u;
        y += v;
        xx += u * u;
        xy += u * v;
        yy += v * v;
    }
    r->fit_count = (int64_t)n;
    r->a = r->b = r->r2 = NAN;
    if (n < LEAST) return;
    double sxx = xx - x * x / n, sxy = xy - x * y / n, syy = yy - y * y / n;
    r->b = sxy / sxx;
    r->a = (y - r->b * x) / n;
    r->r2 = syy > 0 ? sxy * sxy / (sxx * syy) : NAN;
}

/* ----------------------------------------------------------------------------------------------- whole */

static ct_status find_checkpoints(study *s) {
    ct_context *context = s->context;
    ct_distance *r = s->result;
    ct_value *steps = ct_output_checkpoints(context, s->folder);
    int64_t count = (int64_t)ct_value_count(steps);
    if (!ct_failed(context) && count == 0)
        ct_fail(context, CT_ERROR_NOT_FOUND,
                "%s: there are no checkpoints (checkpoint-STEP); save_steps makes them", s->folder);
    r->steps = ct_alloc_zero(context, (size_t)count * sizeof(int64_t), CT_MEMORY_OTHER);
    r->whole = ct_alloc_zero(context, (size_t)count * sizeof(double), CT_MEMORY_OTHER);
    for (int64_t i = 0; r->whole && i < count; i++)
        r->steps[i] = ct_value_as_int(ct_value_at(steps, (size_t)i), 0);
    ct_value_free(steps);
    if (!ct_failed(context)) r->count = count;
    return ct_context_status(context);
}

static ct_status name_tensors(study *s) {
    ct_context *context = s->context;
    ct_distance *r = s->result;
    int64_t all = ct_model_parameter_count(s->learner->model), tensors = 0;
    for (int64_t i = 0; i < all; i++)
        tensors += counts(ct_model_parameter(s->learner->model, i));
    r->names = ct_alloc_zero(context, (size_t)(tensors + 1) * sizeof(char *), CT_MEMORY_OTHER);
    r->of_tensor = ct_alloc_zero(context, (size_t)(tensors * r->count + 1) * sizeof(double), CT_MEMORY_OTHER);
    if (!r->names || !r->of_tensor) return CT_ERROR_MEMORY;
    r->tensors = tensors;
    for (int64_t i = 0, n = 0; i < all && !ct_failed(context); i++)
        if (counts(ct_model_parameter(s->learner->model, i)))
            r->names[n++] = ct_strdup(context, ct_model_parameter(s->learner->model, i)->name);
    return ct_context_status(context);
}

ct_status ct_evaluate_distance(ct_context *context, const char *folder, ct_distance *result) {
    study s = {.context = context, .folder = folder, .result = result};
    rates seen = {0};
    *result = (ct_distance){0};
    if (ct_failed(context)) return ct_context_status(context);
    ct_status status = find_checkpoints(&s);
    if (status == CT_OK) status = begin(&s);
    if (status == CT_OK) status = name_tensors(&s);
    if (status == CT_OK) status = measure(&s);
    if (status == CT_OK) status = read_log(&s, &seen, false);
    if (status == CT_OK) status = read_log(&s, &seen, true);
    if (status == CT_OK) fit(result, &seen);
    ct_learner_destroy(s.learner);
    ct_corpus_free(&s.corpus);
    ct_value_free(s.config);
    ct_value_free(s.recipe);
    if (status != CT_OK) ct_distance_free(context, result);
    return status;
}

void ct_distance_free(ct_context *context, ct_distance *r) {
    for (int64_t i = 0; i < r->tensors; i++)
        ct_free(context, r->names[i]);
    ct_free(context, r->names);
    ct_free(context, r->of_tensor);
    ct_free(context, r->whole);
    ct_free(context, r->steps);
    *r = (ct_distance){0};
}

ct_status ct_distance_plot(ct_context *context, const ct_distance *r, const char *path) {
    ct_plot *plot = ct_plot_create(context);
    double *x = ct_alloc(context, (size_t)(2 * r->count + 1) * sizeof(double), CT_MEMORY_OTHER);
    int64_t count = 0, first = r->count && r->steps[0] == 0; /* before step 1 there is no logarithm */
    for (int64_t i = first; x && i < r->count; i++)
        x[i] = (double)r->steps[i];
    ct_plot_title(plot, "Distance from the first weights");
    ct_plot_label(plot, CT_PLOT_X, "step", true);
    ct_plot_label(plot, CT_PLOT_Y, "||w - w0||", false);
    if (x && r->count > first)
        ct_plot_series(plot, "distance", x + first, r->whole + first, (size_t)(r->count - first));
    for (int64_t i = first; x && isfinite(r->b) && i < r->count; i++) {
        if (r->steps[i] < r->fit_first || r->steps[i] > r->fit_last) continue;
        x[r->count + count] = r->a + r->b * log((double)r->steps[i]);
        if (count++ == 0) first = i;
    }
    if (count) ct_plot_series(plot, "a + b log step", x + first, x + r->count, (size_t)count);
    ct_status status = ct_failed(context) ? ct_context_status(context) : ct_plot_write(plot, path);
    ct_free(context, x);
    ct_plot_destroy(plot);
    return status;
}
