/* train.c - ct_train and ct_train_plan: a run from its recipe to its results.
 *
 * Between steps a run is in a state that trainer_state.json describes; whatever comes (evaluation,
 * checkpoint, a stop) happens there, in an order that depends on the step alone, so that a resumed run
 * repeats it. */
#include "train/hash.h"
#include "train/plan.h"
#include "train/recipe.h"
#include "train/state.h"
#include <math.h>
#include <string.h>

#define CACHE_SLACK ((size_t)8 << 20)

#define SAMPLE_SECONDS 0.05

/* --------------------------------------------------------------------------------------------- setting up */

static const ct_train_state fresh_state = {.last_evaluation = -1,
                                           .last_save = -1,
                                           .best_step = -1,
                                           .best_loss = NAN,
                                           .first_loss = NAN,
                                           .last_loss = NAN,
                                           .bits_before = NAN,
                                           .perplexity_before = NAN,
                                           .bits_after = NAN,
                                           .perplexity_after = NAN,
                                           .accuracy_before = NAN,
                                           .accuracy_after = NAN,
                                           .loss_hash = CT_HASH_START};

/* Text, tokenizer, the model's configuration. `checkpoint` is the folder that is resumed from, or NULL. */
static ct_status prepare_text(ct_trainer *trainer, const char *checkpoint) {
    ct_context *context = trainer->context;
    if (ct_corpus_read(context, &trainer->options, checkpoint, &trainer->corpus) != CT_OK)
        return ct_context_status(context);
    trainer->config = ct_learner_config(context, &trainer->options, trainer->corpus.tokenizer);
    return ct_context_status(context);
}

/* The recipe as it can be carried out with these samples. */
static ct_status settle_recipe(ct_trainer *trainer) {
    ct_context *context = trainer->context;
    if (ct_corpus_limit_batch(context, &trainer->corpus, &trainer->options, trainer->recipe) != CT_OK)
        return ct_context_status(context);
    trainer->resolved = ct_recipe_resolved(context, &trainer->options);
    return ct_context_status(context);
}

enum { FEW_UPDATES = 30 };

static void tell_updates(const ct_trainer *trainer, int64_t total) {
    const ct_dataset *data = trainer->corpus.train;
    if (!ct_dataset_has_samples(data)) return;
    ct_log_message(
        trainer->context, total < FEW_UPDATES ? CT_LOG_WARNING : CT_LOG_INFO,
        "%lld updates of %lld rows each, of %lld rows in an epoch%s", (long long)total,
        (long long)trainer->learner->rows, (long long)ct_dataset_rows(data, trainer->learner->row_length),
        total < FEW_UPDATES ? ": few; smaller steps (gradient_accumulation_steps) or more epochs give more"
                            : "");
}

static ct_status prepare_plan(ct_trainer *trainer) {
    ct_memory_counts counts;
    if (ct_plan_make(trainer->context, trainer->recipe, trainer->config, &trainer->plan) != CT_OK)
        return ct_context_status(trainer->context);
    ct_memory_read(trainer->context, &counts);
    size_t base = trainer->plan.base;
    trainer->outside = base > counts.current_total ? base - counts.current_total : 0;
    return CT_OK;
}

static ct_status prepare_learner(ct_trainer *trainer, bool resumes) {
    ct_context *context = trainer->context;
    const ct_train_options *o = &trainer->options;
    ct_memory_reset_peak(context);
    /* The cache of freed blocks stays within the user's budget too. */
    if (o->memory > 0) ct_memory_set_budget(context, (size_t)o->memory - trainer->outside);
    /* Freed blocks are kept only near the predicted peak, so that resident memory stays near it as well;
     * pieces between blocks need some room. */
    size_t inside = trainer->plan.peak - trainer->outside, slack = inside / 16;
    ct_memory_set_cache_limit(context, inside + (slack > CACHE_SLACK ? slack : CACHE_SLACK));
    trainer->learner = ct_learner_create(context, o, trainer->config);
    ct_learner *learner = trainer->learner;
    if (!learner || ct_corpus_check(context, o, &trainer->corpus, learner->model,
                                    learner->row_length) != CT_OK)
        return ct_context_status(context);
    int64_t total = ct_recipe_total_steps(o, ct_dataset_rows(trainer->corpus.train, learner->row_length));
    trainer->schedule = ct_schedule_create(context, ct_recipe_schedule(o), o->lr_scheduler_kwargs,
                                           ct_recipe_warmup_steps(o, total), total);
    if (!trainer->schedule ||
        ct_learner_initialize(learner, resumes ? NULL : trainer->corpus.train) != CT_OK ||
        ct_learner_arrange(learner, trainer->plan.micro_batch, trainer->plan.checkpoint_every) != CT_OK)
        return ct_context_status(context);
    trainer->state.total_steps = total;
    if (ct_dataset_arrange(context, trainer->corpus.train, total, learner->rows) != CT_OK)
        return ct_context_status(context);
    tell_updates(trainer, total);
    return CT_OK;
}

/* The newest checkpoint's folder; NULL if there is none. A new string. */
static char *newest_checkpoint(ct_context *context, const char *folder) {
    ct_value *steps = ct_folder_exists(folder) ? ct_output_checkpoints(context, folder) : NULL;
    size_t count = ct_value_count(steps);
    char *path =
        count ? ct_checkpoint_path(context, folder, ct_value_as_int(ct_value_at(steps, count - 1), 0)) : NULL;
    ct_value_free(steps);
    return path;
}

static ct_status prepare_output(ct_trainer *trainer, bool goes_on) {
    ct_context *context = trainer->context;
    const ct_train_options *o = &trainer->options;
    char present[96];
    if (!o->output_dir || !*o->output_dir)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "output_dir: expected the folder to write to (out=FOLDER)");
    bool exists = ct_folder_exists(o->output_dir);
    if (!goes_on && exists && !o->overwrite_output_dir &&
        ct_output_occupied(context, o->output_dir, present, sizeof(present)))
        return ct_fail(
            context, CT_ERROR_ARGUMENT,
            "output_dir: %s holds another run (%s); go on with it (--resume), choose another folder, or set "
            "overwrite_output_dir: true",
            o->output_dir, present);
    return ct_context_status(context);
}

/* The folder is touched only when everything that can be refused has been accepted. */
static ct_status begin_output(ct_trainer *trainer, const char *checkpoint, const ct_value *state) {
    ct_context *context = trainer->context;
    const char *folder = trainer->options.output_dir;
    if (ct_folder_make(context, folder) != CT_OK || ct_log_open(context, folder, &trainer->log) != CT_OK ||
        ct_output_prepare(context, folder) != CT_OK)
        return ct_context_status(context);
    if (checkpoint) {
        int64_t total = trainer->state.total_steps;
        if (ct_checkpoint_load(trainer, checkpoint, state) != CT_OK) return ct_context_status(context);
        trainer->state.total_steps = total;
        trainer->resumed = true;
        ct_log_message(context, CT_LOG_INFO, "Going on from %s", checkpoint);
    } else {
        ct_output_remove_checkpoints(context, folder, 0);
    }
    char *path = ct_path_join(context, folder, "recipe.yaml");
    if (path) ct_yaml_write(context, path, trainer->resolved);
    ct_free(context, path);
    if (ct_optimizer_log_open(trainer) != CT_OK || ct_watch_open(trainer) != CT_OK)
        return ct_context_status(context);
    return ct_log_go_on(&trainer->log, trainer->state.log_bytes);
}

static ct_status set_up(ct_trainer *trainer, const ct_value *recipe, bool resume) {
    ct_context *context = trainer->context;
    ct_value *state = NULL;
    trainer->state = fresh_state;
    trainer->recipe = ct_value_copy(recipe);
    if (!trainer->recipe || ct_recipe_read(context, trainer->recipe, &trainer->options) != CT_OK)
        return ct_context_status(context);
    if (trainer->options.threads > 0) ct_context_set_threads(context, (int)trainer->options.threads);
    const char *folder = trainer->options.output_dir;
    char *checkpoint = resume && folder ? newest_checkpoint(context, folder) : NULL;
    ct_status status = prepare_output(trainer, checkpoint != NULL);
    if (status == CT_OK) status = prepare_text(trainer, checkpoint);
    if (status == CT_OK) status = settle_recipe(trainer);
    if (status == CT_OK && checkpoint) status = ct_checkpoint_open(trainer, checkpoint, &state);
    if (status == CT_OK) status = prepare_plan(trainer);
    if (status == CT_OK) status = prepare_learner(trainer, checkpoint != NULL);
    if (status == CT_OK) status = begin_output(trainer, checkpoint, state);
    ct_value_free(state);
    ct_free(context, checkpoint);
    return status == CT_OK ? ct_context_status(context) : status;
}

static void tear_down(ct_trainer *trainer, size_t budget) {
    ct_log_close(&trainer->log);
    ct_schedule_destroy(trainer->schedule);
    ct_learner_destroy(trainer->learner);
    ct_corpus_free(&trainer->corpus);
    ct_value_free(trainer->config);
    ct_value_free(trainer->resolved);
    ct_value_free(trainer->recipe);
    ct_memory_set_budget(trainer->context, budget);
    ct_memory_set_cache_limit(trainer->context, 0);
}

/* ----------------------------------------------------------------------------------------------- running */

static void sample_memory(ct_trainer *trainer, bool now) {
    double time = ct_seconds();
    if (!now && time - trainer->sampled < SAMPLE_SECONDS) return;
    trainer->sampled = time;
    size_t bytes = ct_anonymous_resident();
    if (bytes > trainer->peak_anonymous) trainer->peak_anonymous = bytes;
}

static bool due(int64_t step, int64_t every, int64_t total) {
    return step == total || (every > 0 && step > 0 && step % every == 0);
}

static ct_status evaluate(ct_trainer *trainer) {
    ct_context *context = trainer->context;
    const ct_train_options *o = &trainer->options;
    ct_train_state *s = &trainer->state;
    const ct_dataset *text = trainer->corpus.validation;
    double loss = 0;
    ct_status status =
        ct_learner_evaluate(trainer->learner, text, o->eval_batches * o->per_device_train_batch_size, &loss);
    if (status != CT_OK) return status;
    sample_memory(trainer, true);
    /* Of answers the bytes are not known, and images have none. */
    bool images = ct_dataset_has_images(text);
    double tokens_a_byte =
        images || ct_dataset_has_samples(text) ? NAN : (double)ct_dataset_tokens(text) / (double)ct_dataset_bytes(text);
    s->bits_after = loss / log(2) * tokens_a_byte;
    s->perplexity_after = exp(loss);
    s->accuracy_after = trainer->learner->accuracy;
    s->last_evaluation = s->step;
    if (s->step == 0) {
        s->bits_before = s->bits_after;
        s->perplexity_before = s->perplexity_after;
        s->accuracy_before = s->accuracy_after;
    }
    if (isnan(s->best_loss) || loss < s->best_loss - o->early_stopping_threshold) {
        s->best_loss = loss;
        s->best_step = s->step;
        s->evaluations_without_improvement = 0;
    } else {
        s->evaluations_without_improvement++;
    }
    ct_log_message(context, CT_LOG_DEBUG, "step %lld: evaluation loss %.4f", (long long)s->step, loss);
    ct_value *line = ct_value_map(context);
    ct_put_int(context, line, "step", s->step);
    ct_put_real(context, line, "eval_loss", loss);
    if (images) {
        ct_put_real(context, line, "accuracy", s->accuracy_after);
    } else {
        ct_put_real(context, line, "bits_per_byte", s->bits_after);
        ct_put_real(context, line, "perplexity", s->perplexity_after);
    }
    return ct_log_append(&trainer->log, line);
}

static ct_status log_step(ct_trainer *trainer, const ct_step_result *result, double learning_rate,
                          double seconds) {
    ct_context *context = trainer->context;
    double tokens = (double)result->tokens;
    ct_value *line = ct_value_map(context);
    ct_put_int(context, line, "step", trainer->state.step);
    ct_put_real(context, line, "loss", result->loss);
    if (ct_regularizers_count(trainer->learner->regularizers))
        ct_put_real(context, line, "regularization", result->regularization);
    ct_put_real(context, line, "learning_rate", learning_rate);
    ct_put_real(context, line, "grad_norm", result->gradient_norm);
    ct_put_int(context, line, "tokens", trainer->state.tokens);
    ct_put_int(context, line, "samples", trainer->state.samples);
    ct_put_real(context, line, "tokens_per_second", seconds > 0 ? tokens / seconds : 0);
    ct_put_real(context, line, "seconds", trainer->state.seconds);
    return ct_log_append(&trainer->log, line);
}

static ct_status train_step(ct_trainer *trainer) {
    ct_context *context = trainer->context;
    const ct_train_options *o = &trainer->options;
    ct_train_state *s = &trainer->state;
    ct_step_result result;
    double learning_rate = o->learning_rate * ct_schedule_factor(trainer->schedule, s->step),
           start = ct_seconds();
    ct_status status =
        ct_learner_step(trainer->learner, trainer->corpus.train, s->step, learning_rate, &result);
    if (status != CT_OK) return status;
    double seconds = ct_seconds() - start;
    s->step++;
    s->tokens += result.tokens;
    s->samples += result.samples;
    trainer->session_tokens += result.tokens;
    s->seconds += seconds;
    trainer->session_seconds += seconds;
    s->last_loss = result.loss;
    if (s->step == 1) s->first_loss = result.loss;
    s->loss_hash = ct_hash_bytes(s->loss_hash, &result.loss, sizeof(result.loss));
    sample_memory(trainer, false);
    char note[64];
    snprintf(note, sizeof(note), "loss %.3f  lr %.2g", result.loss, learning_rate);
    ct_progress(context, "train", (double)s->step, (double)s->total_steps, "steps", note);
    if (ct_watch_step(trainer) != CT_OK) return ct_context_status(context);
    if (!due(s->step, o->logging_steps, s->total_steps) && s->step != 1) return CT_OK;
    if (ct_optimizer_log_step(trainer) != CT_OK) return ct_context_status(context);
    return log_step(trainer, &result, learning_rate, seconds);
}

/* A stop keeps what was done since the last checkpoint. */
static ct_status stop(ct_trainer *trainer) {
    trainer->interrupted = true;
    ct_clear_stop(trainer->context);
    return trainer->state.last_save == trainer->state.step ? CT_OK : ct_checkpoint_save(trainer);
}

static bool evaluation_due(const ct_trainer *trainer) {
    const ct_train_state *s = &trainer->state;
    if (!trainer->corpus.validation || s->last_evaluation == s->step) return false;
    return s->step == 0 || trainer->stopped_early ||
           due(s->step, trainer->options.eval_steps, s->total_steps);
}

static bool save_due(const ct_trainer *trainer) {
    const ct_train_state *s = &trainer->state;
    if (trainer->options.save_steps < 0 || s->last_save == s->step || s->step == 0) return false;
    return trainer->stopped_early || due(s->step, trainer->options.save_steps, s->total_steps);
}

/* What is due between two steps, then the next step, until the end or a stop. */
static ct_status run(ct_trainer *trainer) {
    ct_context *context = trainer->context;
    const ct_train_options *o = &trainer->options;
    ct_train_state *s = &trainer->state;
    if (s->step == 0 && ct_watch_step(trainer) != CT_OK) return ct_context_status(context);
    for (ct_status status = CT_OK;;) {
        if (status == CT_OK && evaluation_due(trainer)) status = evaluate(trainer);
        if (status == CT_ERROR_INTERRUPTED && !ct_failed(context)) return stop(trainer);
        if (status != CT_OK) return status;
        if (o->early_stopping_patience > 0 &&
            s->evaluations_without_improvement >= o->early_stopping_patience)
            trainer->stopped_early = true;
        if (save_due(trainer) && ct_checkpoint_save(trainer) != CT_OK) return ct_context_status(context);
        if (trainer->stopped_early || s->step >= s->total_steps) return CT_OK;
        if (ct_stop_requested(context)) return stop(trainer);
        status = train_step(trainer);
    }
}

static ct_status finish(ct_trainer *trainer, ct_train_report *report) {
    ct_context *context = trainer->context;
    const char *folder = trainer->options.output_dir;
    char note[64];
    sample_memory(trainer, true);
    snprintf(note, sizeof(note), "loss %.3f", trainer->state.last_loss);
    ct_progress_finish(context, "train", (double)trainer->state.step, "steps", note);
    if (!trainer->interrupted && ct_model_folder_write(trainer, folder) != CT_OK)
        return ct_context_status(context);
    ct_trainer_report(trainer, report);
    if (ct_log_draw(&trainer->log, folder) != CT_OK) return ct_context_status(context);
    return ct_trainer_write_report(trainer, report);
}

ct_status ct_train(ct_context *context, const ct_value *recipe, bool resume, ct_train_report *report) {
    *report = (ct_train_report){0};
    if (ct_failed(context)) return ct_context_status(context);
    size_t budget = ct_memory_budget(context);
    ct_trainer *trainer = ct_alloc_zero(context, sizeof(*trainer), CT_MEMORY_OTHER);
    if (!trainer) return CT_ERROR_MEMORY;
    trainer->context = context;
    trainer->log.file = -1;
    if (set_up(trainer, recipe, resume) == CT_OK && run(trainer) == CT_OK) finish(trainer, report);
    if (ct_failed(context) && trainer->state.last_save > 0)
        ct_log_message(context, CT_LOG_WARNING,
                       "The checkpoint of step %lld is whole; --resume goes on from it",
                       (long long)trainer->state.last_save);
    tear_down(trainer, budget);
    ct_free(context, trainer);
    return ct_context_status(context);
}

ct_status ct_train_plan(ct_context *context, const ct_value *recipe, ct_memory_plan *plan) {
    *plan = (ct_memory_plan){0};
    ct_trainer *trainer =
        ct_failed(context) ? NULL : ct_alloc_zero(context, sizeof(*trainer), CT_MEMORY_OTHER);
    if (!trainer) return ct_failed(context) ? ct_context_status(context) : CT_ERROR_MEMORY;
    trainer->context = context;
    trainer->log.file = -1;
    trainer->recipe = ct_value_copy(recipe);
    if (trainer->recipe && ct_recipe_read(context, trainer->recipe, &trainer->options) == CT_OK &&
        prepare_text(trainer, NULL) == CT_OK && settle_recipe(trainer) == CT_OK)
        ct_plan_make(context, trainer->recipe, trainer->config, plan);
    tear_down(trainer, ct_memory_budget(context));
    ct_free(context, trainer);
    return ct_context_status(context);
}

/* What every run begins with, up to the learner; without a plan, as nothing is kept for a backward pass. */
static ct_status set_up_init(ct_trainer *trainer, const ct_value *recipe) {
    ct_context *context = trainer->context;
    const ct_train_options *o = &trainer->options;
    trainer->recipe = ct_value_copy(recipe);
    if (!trainer->recipe || ct_recipe_read(context, trainer->recipe, &trainer->options) != CT_OK)
        return ct_context_status(context);
    if (o->threads > 0) ct_context_set_threads(context, (int)o->threads);
    if (prepare_output(trainer, false) != CT_OK || prepare_text(trainer, NULL) != CT_OK ||
        settle_recipe(trainer) != CT_OK)
        return ct_context_status(context);
    if (o->memory > 0) ct_memory_set_budget(context, (size_t)o->memory);
    ct_learner *learner = trainer->learner = ct_learner_create(context, o, trainer->config);
    if (!learner || ct_corpus_check(context, o, &trainer->corpus, learner->model,
                                    learner->row_length) != CT_OK)
        return ct_context_status(context);
    int64_t total = ct_recipe_total_steps(o, ct_dataset_rows(trainer->corpus.train, learner->row_length));
    if (ct_dataset_arrange(context, trainer->corpus.train, total, learner->rows) != CT_OK)
        return ct_context_status(context);
    return ct_learner_initialize(learner, trainer->corpus.train);
}

static ct_status write_init(ct_trainer *trainer, ct_value **report) {
    ct_context *context = trainer->context;
    const char *folder = trainer->options.output_dir;
    if (ct_folder_make(context, folder) != CT_OK || ct_model_folder_write(trainer, folder) != CT_OK)
        return ct_context_status(context);
    char *path = ct_path_join(context, folder, "recipe.yaml");
    if (path) ct_yaml_write(context, path, trainer->resolved);
    ct_free(context, path);
    *report = ct_value_map(context);
    if (!*report) return ct_context_status(context);
    ct_value *layers =
        trainer->learner->initialized ? ct_value_copy(trainer->learner->initialized) : ct_value_list(context);
    ct_value_set(*report, "output_dir", ct_value_string(context, folder));
    ct_value_set(*report, "layers", layers);
    return ct_context_status(context);
}

ct_status ct_train_init(ct_context *context, const ct_value *recipe, ct_value **report) {
    *report = NULL;
    if (ct_failed(context)) return ct_context_status(context);
    size_t budget = ct_memory_budget(context);
    ct_trainer *trainer = ct_alloc_zero(context, sizeof(*trainer), CT_MEMORY_OTHER);
    if (!trainer) return CT_ERROR_MEMORY;
    trainer->context = context;
    trainer->log.file = -1;
    if (set_up_init(trainer, recipe) == CT_OK) write_init(trainer, report);
    tear_down(trainer, budget);
    ct_free(context, trainer);
    if (!ct_failed(context)) return CT_OK;
    ct_value_free(*report);
    *report = NULL;
    return ct_context_status(context);
}
