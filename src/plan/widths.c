/* widths.c - one recipe at several widths: its model, optimizer and text, and the steps. */
#include "plan/widths.h"
#include "train/recipe.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const ct_option ct_width_table[] = {
    CT_OPTION_STRING("widths", ct_width_options, widths, NULL,
                     "coordcheck, transfer: widths, ascending: 64,128,256"),
    CT_OPTION_STRING("rates", ct_width_options, rates, NULL,
                     "transfer: learning rates, ascending: 1e-3,2e-3,4e-3"),
    CT_OPTION_INT("seeds", ct_width_options, seeds, 1, 1, 1000,
                  "coordcheck, transfer: runs of each kind, averaged"),
    CT_OPTION_INT("steps", ct_width_options, steps, 5, 1, 10000,
                  "coordcheck: steps after which the change is judged"),
    CT_OPTION_INT("rows", ct_width_options, rows, 4, 1, 100000,
                  "coordcheck: rows of text whose activations are looked at"),
    CT_OPTION_REAL("tolerance", ct_width_options, tolerance, 0.2, 0.001, 10,
                   "coordcheck: slopes against the width of at most this size are level"),
    CT_OPTION_STRING("points", ct_width_options, points, "*.preactivation",
                     "coordcheck: pattern of the points that are looked at"),
    CT_OPTION_END};

/* --------------------------------------------------------------------------------------- lists of numbers */

/* The next number, NAN if there is none; *text is moved behind it and its comma. */
static double number_at(const char **text) {
    char *end;
    double value = strtod(*text, &end);
    if (end == *text) return NAN;
    end += strspn(end, " ]");
    if (*end && *end != ',') return NAN;
    *text = *end ? end + 1 : end;
    return value;
}

ct_status ct_plan_numbers(ct_context *context, const char *given, const char *name, bool whole, int most,
                          double *numbers, int *count) {
    const char *at = given ? given + strspn(given, " [") : "";
    *count = 0;
    while (*at) {
        double x = number_at(&at);
        if (!(x > 0) || isinf(x) || (whole && (x != floor(x) || x > 1e9)))
            return ct_fail(context, CT_ERROR_ARGUMENT, "%s: entry %d of \"%s\" is no positive %s", name,
                           *count + 1, given, whole ? "integer" : "number");
        if (*count && !(x > numbers[*count - 1]))
            return ct_fail(context, CT_ERROR_ARGUMENT, "%s: entry %d, %g, is not above the one before it",
                           name, *count + 1, x);
        if (*count == most) return ct_fail(context, CT_ERROR_ARGUMENT, "%s: expected at most %d", name, most);
        numbers[(*count)++] = x;
    }
    if (*count >= 2) return CT_OK;
    return ct_fail(context, CT_ERROR_ARGUMENT, "%s: expected at least two, as in %s=%s", name, name,
                   whole ? "64,128,256" : "1e-3,2e-3,4e-3");
}

double ct_plan_slope(const double *x, const double *y, int count) {
    double a = 0, b = 0, aa = 0, ab = 0;
    for (int i = 0; i < count; i++) {
        if (!(y[i] > 0) || isinf(y[i])) return NAN;
        double u = log(x[i]), v = log(y[i]);
        a += u;
        b += v;
        aa += u * u;
        ab += u * v;
    }
    return (count * ab - a * b) / (count * aa - a * a);
}

/* ------------------------------------------------------------------------------------------ at a width */

static void close_learner(ct_width_study *study) {
    ct_learner_destroy(study->learner);
    ct_value_free(study->config);
    ct_value_free(study->given);
    study->learner = NULL;
    study->config = study->given = NULL;
    study->diverged = false;
}

/* The recipe with another width and rate. */
static ct_status prepare(ct_width_study *study, int64_t width, double rate) {
    ct_context *context = study->context;
    study->given = ct_value_copy(study->recipe);
    ct_value *model = ct_value_get(study->given, "model");
    if (!study->given) return ct_context_status(context);
    if (ct_value_get(model, "path"))
        return ct_fail(
            context, CT_ERROR_UNSUPPORTED,
            "model.path: a model that was trained has one width; give the keys of its configuration instead "
            "(model.model_type, ...)");
    if (ct_value_kind_of(model) != CT_VALUE_MAP)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "model: expected keys of a configuration: {model_type: gpt2, ...}");
    if (!isnan(rate)) ct_value_set(study->given, "learning_rate", ct_value_real(context, rate));
    return ct_width_set(context, model, width);
}

ct_status ct_width_study_open(ct_width_study *study, int64_t width, int64_t seed, double rate) {
    ct_context *context = study->context;
    close_learner(study);
    if (prepare(study, width, rate) != CT_OK ||
        ct_recipe_read(context, study->given, &study->options) != CT_OK)
        return ct_context_status(context);
    study->options.seed += seed;
    if (!study->read && ct_corpus_read(context, &study->options, NULL, &study->corpus) != CT_OK)
        return ct_context_status(context);
    study->read = true;
    study->config = ct_learner_config(context, &study->options, study->corpus.tokenizer);
    if (study->config) study->learner = ct_learner_create(context, &study->options, study->config);
    if (!study->learner ||
        ct_corpus_check(context, &study->options, &study->corpus, study->learner->model,
                        study->learner->row_length) != CT_OK)
        return ct_context_status(context);
    return ct_learner_initialize(study->learner, study->corpus.train);
}

ct_status ct_width_study_step(ct_width_study *study, int64_t step, double rate, double *loss) {
    ct_try trial;
    char message[512];
    ct_step_result result = {.loss = NAN};
    *loss = NAN;
    if (study->diverged || ct_failed(study->context)) return ct_context_status(study->context);
    ct_try_begin(study->context, &trial);
    ct_status returned = ct_learner_step(study->learner, study->corpus.train, step, rate, &result);
    ct_status status = ct_try_end(study->context, &trial, message, sizeof(message));
    study->diverged = status == CT_ERROR_NUMERIC;
    if (status != CT_OK && !study->diverged) return ct_fail(study->context, status, "%s", message);
    if (!study->diverged) *loss = result.loss;
    return status == CT_OK ? returned : CT_OK;
}

void ct_width_study_free(ct_width_study *study) {
    close_learner(study);
    ct_corpus_free(&study->corpus);
}
