/* report.c - what a run has to say at its end: ct_train_report, and report.json. */
#include "tensor/cpu/isa.h"
#include "train/state.h"
#include <math.h>

/* Failures stay in the context; a map that could not be made is NULL and nothing is put. */
static void put(ct_value *map, const char *key, ct_value *value) {
    if (map)
        ct_value_set(map, key, value);
    else
        ct_value_free(value);
}

void ct_put_real(ct_context *context, ct_value *map, const char *key, double value) {
    put(map, key, isfinite(value) ? ct_value_real(context, value) : ct_value_null(context));
}

void ct_put_int(ct_context *context, ct_value *map, const char *key, int64_t value) {
    put(map, key, ct_value_int(context, value));
}

void ct_put_text(ct_context *context, ct_value *map, const char *key, const char *text) {
    put(map, key, ct_value_string(context, text));
}

void ct_put_hash(ct_context *context, ct_value *map, const char *key, uint64_t hash) {
    char text[24];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)hash);
    ct_put_text(context, map, key, text);
}

ct_value *ct_memory_plan_to_value(ct_context *context, const ct_memory_plan *plan) {
    ct_value *map = ct_value_map(context), *classes = ct_value_map(context);
    for (int c = 0; c < CT_MEMORY_CLASSES; c++)
        ct_put_int(context, classes, ct_memory_class_name((ct_memory_class)c), (int64_t)plan->at_peak[c]);
    ct_put_int(context, map, "peak", (int64_t)plan->peak);
    ct_put_int(context, map, "base", (int64_t)plan->base);
    put(map, "at_peak", classes);
    ct_put_int(context, map, "micro_batch", plan->micro_batch);
    ct_put_int(context, map, "checkpoint_every", plan->checkpoint_every);
    ct_put_int(context, map, "flops_per_step", (int64_t)plan->flops_per_step);
    ct_put_int(context, map, "parameters", plan->parameters);
    return map;
}

ct_value *ct_train_report_to_value(ct_context *context, const ct_train_report *report) {
    ct_value *map = ct_value_map(context);
    ct_put_int(context, map, "steps", report->steps);
    ct_put_int(context, map, "tokens", report->tokens);
    ct_put_real(context, map, "seconds", report->seconds);
    ct_put_real(context, map, "tokens_per_second", report->tokens_per_second);
    ct_put_real(context, map, "first_loss", report->first_loss);
    ct_put_real(context, map, "last_loss", report->last_loss);
    ct_put_real(context, map, "bits_per_byte_before", report->bits_per_byte_before);
    ct_put_real(context, map, "bits_per_byte_after", report->bits_per_byte_after);
    ct_put_real(context, map, "perplexity_before", report->perplexity_before);
    ct_put_real(context, map, "perplexity_after", report->perplexity_after);
    if (isfinite(report->accuracy_after)) {
        ct_put_real(context, map, "accuracy_before", report->accuracy_before);
        ct_put_real(context, map, "accuracy_after", report->accuracy_after);
    }
    ct_put_real(context, map, "best_loss", report->best_loss);
    ct_put_int(context, map, "best_step", report->best_step);
    put(map, "stopped_early", ct_value_bool(context, report->stopped_early));
    put(map, "interrupted", ct_value_bool(context, report->interrupted));
    put(map, "resumed", ct_value_bool(context, report->resumed));
    put(map, "plan", ct_memory_plan_to_value(context, &report->plan));
    ct_put_int(context, map, "measured_peak", (int64_t)report->measured_peak);
    ct_put_int(context, map, "peak_anonymous", (int64_t)report->peak_anonymous);
    ct_put_hash(context, map, "weights_hash", report->weights_hash);
    ct_put_hash(context, map, "loss_hash", report->loss_hash);
    return map;
}

void ct_trainer_report(const ct_trainer *trainer, ct_train_report *report) {
    const ct_train_state *s = &trainer->state;
    const ct_learner *learner = trainer->learner;
    ct_memory_counts counts;
    ct_memory_read(trainer->context, &counts);
    double seconds = trainer->session_seconds;
    *report = (ct_train_report){
        .steps = s->step,
        .tokens = s->tokens,
        .seconds = s->seconds,
        .tokens_per_second = seconds > 0 ? (double)trainer->session_tokens / seconds : 0,
        .first_loss = s->first_loss,
        .last_loss = s->last_loss,
        .bits_per_byte_before = s->bits_before,
        .bits_per_byte_after = s->bits_after,
        .perplexity_before = s->perplexity_before,
        .perplexity_after = s->perplexity_after,
        .accuracy_before = s->accuracy_before,
        .accuracy_after = s->accuracy_after,
        .best_loss = s->best_loss,
        .best_step = s->best_step,
        .stopped_early = trainer->stopped_early,
        .interrupted = trainer->interrupted,
        .resumed = trainer->resumed,
        .plan = trainer->plan,
        .measured_peak = trainer->outside + counts.peak_total,
        .peak_anonymous = trainer->peak_anonymous,
        .weights_hash = ct_learner_weights_hash(learner),
        .loss_hash = s->loss_hash};
}

/* What was read for fine-tuning, training and validation together. */
static ct_value *counts_value(const ct_trainer *trainer) {
    ct_context *context = trainer->context;
    const ct_sft_counts *c = &trainer->corpus.counts;
    ct_value *map = ct_value_map(context);
    ct_put_int(context, map, "records", c->records);
    ct_put_int(context, map, "kept", c->samples);
    ct_put_int(context, map, "without_answer", c->without_answer);
    ct_put_int(context, map, "answer_cut", c->answer_cut);
    ct_put_int(context, map, "truncated", c->truncated);
    ct_put_int(context, map, "tokens", c->tokens);
    ct_put_int(context, map, "targets", c->targets);
    ct_put_int(context, map, "learnt_from", trainer->state.samples);
    return map;
}

ct_status ct_trainer_write_report(const ct_trainer *trainer, const ct_train_report *report) {
    ct_context *context = trainer->context;
    ct_value *map = ct_train_report_to_value(context, report);
    ct_put_text(context, map, "carat_version", CT_VERSION);
    ct_put_text(context, map, "isa", ct_isa_name(ct_cpu_isa()));
    ct_put_int(context, map, "threads", ct_context_threads(context));
    const ct_tokenizer *tokenizer = trainer->corpus.tokenizer;
    if (tokenizer) ct_put_text(context, map, "tokenizer", ct_tokenizer_kind(tokenizer));
    if (tokenizer) ct_put_int(context, map, "vocabulary", ct_model_vocabulary(trainer->learner->model));
    ct_put_int(context, map, tokenizer ? "training_tokens" : "training_images",
               ct_dataset_tokens(trainer->corpus.train));
    ct_put_int(context, map, tokenizer ? "validation_tokens" : "validation_images",
               trainer->corpus.validation ? ct_dataset_tokens(trainer->corpus.validation) : 0);
    if (trainer->options.task == CT_TASK_SFT) put(map, "samples", counts_value(trainer));
    if (trainer->learner->teacher)
        ct_put_hash(context, map, "teacher_hash", ct_teacher_hash(trainer->learner->teacher));
    ct_put_text(context, map, "saved_weights", trainer->learner->average ? "moving average" : "last");
    put(map, "recipe", ct_value_copy(trainer->resolved));
    char *path = ct_path_join(context, trainer->options.output_dir, "report.json");
    if (path && map && !ct_failed(context))
        ct_json_write(context, path, map, CT_JSON_PRETTY | CT_JSON_STRICT);
    ct_free(context, path);
    ct_value_free(map);
    return ct_context_status(context);
}
