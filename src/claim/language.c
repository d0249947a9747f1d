/* language.c - the driver for language models: the trainer's own learner, text and steps, without its files.
 */
#include "claim/parts.h"
#include "train/corpus.h"
#include "train/learner.h"
#include "train/recipe.h"
#include <math.h>

struct ct_claim_language {
    ct_claim_run *claim_run;
    ct_context *context;
    ct_value *recipe; /* options borrow from it */
    ct_train_options options;
    ct_corpus corpus;
    ct_value *config;
    ct_learner *learner;
    ct_schedule *schedule;
    int64_t step, total_steps;
    bool diverged;
};

static void destroy(ct_context *context, void *object) {
    ct_claim_language *language = object;
    ct_schedule_destroy(language->schedule);
    ct_learner_destroy(language->learner);
    ct_corpus_free(&language->corpus);
    ct_value_free(language->config);
    ct_value_free(language->recipe);
    ct_free(context, language);
}

/* ------------------------------------------------------------------------------------------- the recipe */

/* `given` over `target`: maps key by key. */
static void overlay(ct_value *target, const ct_value *given) {
    for (size_t i = 0; i < ct_value_count(given); i++) {
        const char *key = ct_value_key(given, i);
        const ct_value *value = ct_value_at(given, i);
        ct_value *present = ct_value_get(target, key);
        if (ct_value_kind_of(value) == CT_VALUE_MAP && ct_value_kind_of(present) == CT_VALUE_MAP)
            overlay(present, value);
        else
            ct_value_set(target, key, ct_value_copy(value));
    }
}

static ct_value *whole_recipe(ct_claim_run *run, const ct_value *given, uint64_t seed) {
    static const char standard[] = "{model: {model_type: gpt2}, tokenizer: {kind: characters},"
                                   " data: {validation_fraction: 0.1}, lr_scheduler_type: constant}";
    ct_context *context = run->context;
    ct_value *recipe = ct_yaml_parse(context, standard, sizeof(standard) - 1, "claim");
    if (!recipe) return NULL;
    if (ct_value_get_path(given, "model.path") || ct_value_get_path(given, "model.model_type"))
        ct_value_set(recipe, "model", ct_value_map(context));
    overlay(recipe, given);
    if (!ct_value_get_path(recipe, "data.train")) {
        const char *path = ct_claim_data(run, CT_CLAIM_SHAKESPEARE);
        if (path) ct_value_set_path(recipe, "data.train", ct_value_string(context, path));
    }
    ct_value_set(recipe, "seed", ct_value_int(context, (int64_t)seed));
    return recipe;
}

/* ------------------------------------------------------------------------------------------------ life */

static ct_status build(ct_claim_language *language, const ct_value *given, uint64_t seed) {
    ct_context *context = language->context;
    ct_train_options *o = &language->options;
    language->recipe = whole_recipe(language->claim_run, given, seed);
    if (!language->recipe || ct_recipe_read(context, language->recipe, o) != CT_OK ||
        ct_corpus_read(context, o, NULL, &language->corpus) != CT_OK)
        return ct_context_status(context);
    language->config = ct_learner_config(context, o, language->corpus.tokenizer);
    if (language->config) language->learner = ct_learner_create(context, o, language->config);
    ct_learner *learner = language->learner;
    if (!learner || ct_corpus_check(context, o, &language->corpus, learner->model,
                                    learner->row_length) != CT_OK)
        return ct_context_status(context);
    language->total_steps =
        ct_recipe_total_steps(o, ct_dataset_rows(language->corpus.train, learner->row_length));
    language->schedule =
        ct_schedule_create(context, ct_recipe_schedule(o), o->lr_scheduler_kwargs,
                           ct_recipe_warmup_steps(o, language->total_steps), language->total_steps);
    if (ct_dataset_arrange(context, language->corpus.train, language->total_steps, learner->rows) != CT_OK)
        return ct_context_status(context);
    return ct_learner_initialize(learner, language->corpus.train);
}

ct_claim_language *ct_claim_language_create(ct_claim_run *run, const ct_value *recipe, uint64_t seed) {
    ct_context *context = run->context;
    ct_claim_language *language =
        ct_failed(context) ? NULL : ct_alloc_zero(context, sizeof(*language), CT_MEMORY_OTHER);
    if (!language) return NULL;
    language->claim_run = run;
    language->context = context;
    if (build(language, recipe, seed) == CT_OK && !ct_failed(context))
        return ct_claim_keep(run, language, destroy) == CT_OK ? language : NULL;
    destroy(context, language);
    return NULL;
}

void ct_claim_language_free(ct_claim_language *language) {
    if (language) ct_claim_let_go(language->claim_run, language);
}
ct_model *ct_claim_language_model(const ct_claim_language *language) {
    return language->learner->model;
}
ct_optimizer *ct_claim_language_optimizer(const ct_claim_language *language) {
    return language->learner->optimizer;
}
ct_status ct_claim_language_save(const ct_claim_language *language, const char *folder) {
    if (ct_model_save(language->learner->model, folder, CT_F32) != CT_OK)
        return ct_context_status(language->context);
    return ct_tokenizer_save(language->corpus.tokenizer, folder);
}
const ct_dataset *ct_claim_language_text(const ct_claim_language *language, bool held_out) {
    return held_out ? language->corpus.validation : language->corpus.train;
}

/* ------------------------------------------------------------------------------------------------ steps */

/* The trainer stops at a loss or gradient that is not finite; here that is a finding. */
static ct_status one_step(ct_claim_language *language, double learning_rate, ct_step_result *result) {
    ct_try trial;
    char message[512];
    ct_try_begin(language->context, &trial);
    ct_status returned =
        ct_learner_step(language->learner, language->corpus.train, language->step, learning_rate, result);
    ct_status status = ct_try_end(language->context, &trial, message, sizeof(message));
    language->diverged = status == CT_ERROR_NUMERIC;
    if (status == CT_OK || language->diverged) return status == CT_OK ? returned : CT_OK;
    return ct_fail(language->context, status, "%s", message);
}

static ct_status observe(ct_claim_language *language, const ct_step_result *result, double learning_rate,
                         ct_claim_observer after, void *user) {
    ct_claim_step step = {language->step,
                          result->loss,
                          learning_rate,
                          result->gradient_norm,
                          language->learner->model,
                          language->learner->optimizer};
    return after ? after(user, &step) : CT_OK;
}

ct_status ct_claim_language_learn(ct_claim_language *language, int64_t steps, ct_claim_observer after,
                                  void *user, ct_claim_progress *progress) {
    ct_claim_progress unused;
    if (!progress) progress = &unused;
    *progress = (ct_claim_progress){0, NAN, NAN, NAN, language->diverged};
    if (steps == 0) steps = language->total_steps - language->step;
    int64_t tail = steps - (steps + 9) / 10;
    double sum = 0;
    for (int64_t i = 0; i < steps && !language->diverged; i++) {
        ct_status status = ct_claim_continue(language->claim_run);
        if (status != CT_OK) return status;
        ct_step_result result = {NAN, NAN};
        double rate =
            language->options.learning_rate * ct_schedule_factor(language->schedule, language->step);
        status = one_step(language, rate, &result);
        if (status != CT_OK) return status;
        if (language->diverged) break;
        language->step++;
        if (i == 0) progress->first_loss = result.loss;
        progress->last_loss = result.loss;
        progress->steps = i + 1;
        if (i >= tail) progress->mean_loss = (sum += result.loss) / (double)(i + 1 - tail);
        status = observe(language, &result, rate, after, user);
        if (status == CT_ERROR_INTERRUPTED && !ct_failed(language->context))
            break; /* the observer has enough */
        if (status != CT_OK) return status;
    }
    progress->diverged = language->diverged;
    if (language->diverged) progress->last_loss = progress->mean_loss = NAN;
    return CT_OK;
}

ct_status ct_claim_language_validate(ct_claim_language *language, int64_t rows, double *loss) {
    ct_context *context = language->context;
    *loss = NAN;
    if (ct_failed(context) || language->diverged) return ct_context_status(context);
    if (!language->corpus.validation)
        return ct_fail(context, CT_ERROR_STATE,
                       "claim: the recipe holds no text out (data.validation_fraction)");
    return ct_learner_evaluate(language->learner, language->corpus.validation, rows, loss);
}
