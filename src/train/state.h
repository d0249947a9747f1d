/* state.h - inside train: a run, what of it a checkpoint keeps, and its files. */
#ifndef CARAT_SRC_TRAIN_STATE_H
#define CARAT_SRC_TRAIN_STATE_H

#include "train/corpus.h"
#include "train/learner.h"

/* What trainer_state.json keeps. NAN: not known. */
typedef struct ct_train_state {
    int64_t step; /* steps done: the next one is step + 1 of the log */
    int64_t total_steps;
    int64_t tokens, samples; /* learnt from, padding aside; samples of text are rows */
    int64_t last_evaluation, last_save; /* the step at which; -1: never */
    int64_t evaluations_without_improvement, best_step;
    double best_loss;
    double first_loss, last_loss;
    double bits_before, perplexity_before, bits_after, perplexity_after;
    double accuracy_before, accuracy_after; /* images */
    double seconds; /* in training steps, of all sessions */
    uint64_t loss_hash;
    int64_t log_bytes; /* of train.jsonl when the checkpoint was made */
} ct_train_state;

typedef struct ct_curve_point {
    double step, loss;
} ct_curve_point;
typedef struct ct_curve {
    ct_curve_point *points;
    size_t count, capacity;
} ct_curve;

/* train.jsonl, open and locked as long as the run lasts. */
typedef struct ct_train_log {
    ct_context *context;
    char *path;
    int file;
    ct_curve training, evaluation; /* what it says, for the curve */
} ct_train_log;

typedef struct ct_trainer {
    ct_context *context;
    ct_value *recipe; /* as given, but for the rows of a step where max_batch_share limits them */
    ct_value *resolved;
    ct_train_options options;
    ct_corpus corpus;
    ct_value *config;
    ct_learner *learner;
    ct_schedule *schedule;
    ct_train_state state;
    ct_train_log log;
    ct_memory_plan plan;
    size_t outside;         /* bytes of the program that the engine does not count */
    size_t peak_anonymous;  /* highest sample */
    double sampled;         /* when, by ct_seconds */
    double session_seconds; /* in training steps, of this session */
    int64_t session_tokens;
    bool resumed, interrupted, stopped_early;
} ct_trainer;

/* log.c */
ct_status ct_log_open(ct_context *context, const char *folder, ct_train_log *log);
/* Cuts the file after its first `bytes` bytes and reads the curve from what stays. */
ct_status ct_log_go_on(ct_train_log *log, int64_t bytes);
/* Appends one line; takes the value over. */
ct_status ct_log_append(ct_train_log *log, ct_value *line);
ct_status ct_log_sync(ct_train_log *log, int64_t *bytes);
void ct_log_close(ct_train_log *log);
/* loss.svg and, if this build can, loss.png. Nothing if there is nothing to show yet. */
ct_status ct_log_draw(const ct_train_log *log, const char *folder);

/* optimizer_log.c: optimizer.csv, if the recipe asks for it */
ct_status ct_optimizer_log_open(ct_trainer *trainer);
ct_status ct_optimizer_log_step(ct_trainer *trainer);

/* watch.c: growth.csv, if the recipe asks for it */
/* The n of "growth:n", n > 0; 0: it is not that. */
int64_t ct_watch_every(const char *watch);
ct_status ct_watch_open(ct_trainer *trainer);
/* Before the first step and after each; may set trainer->stopped_early. */
ct_status ct_watch_step(ct_trainer *trainer);

/* output.c: what the run's folder holds */
/* Makes the folder and removes what killed runs left unfinished. */
ct_status ct_output_prepare(ct_context *context, const char *folder);
/* Whether another run's results are there: what_is_there names one of them. */
bool ct_output_occupied(ct_context *context, const char *folder, char *what_is_there, size_t size);
/* The steps of all complete checkpoints, ascending, as a list of integers. */
ct_value *ct_output_checkpoints(ct_context *context, const char *folder);
char *ct_checkpoint_path(ct_context *context, const char *folder, int64_t step);
ct_status ct_output_remove_checkpoints(ct_context *context, const char *folder, int64_t keep);

/* checkpoint.c */
/* Writes checkpoint-STEP whole or not at all, then removes those beyond save_total_limit. */
ct_status ct_checkpoint_save(ct_trainer *trainer);
/* The finished model: a Hugging Face folder. */
ct_status ct_model_folder_write(ct_trainer *trainer, const char *folder);

/* resume.c */
/* Reads trainer_state.json of a checkpoint and checks that the recipe and the text are the same. */
ct_status ct_checkpoint_open(ct_trainer *trainer, const char *path, ct_value **state);
/* Weights, optimizer, average and progress. */
ct_status ct_checkpoint_load(ct_trainer *trainer, const char *path, const ct_value *state);

/* report.c */
void ct_trainer_report(const ct_trainer *trainer, ct_train_report *report);
ct_status ct_trainer_write_report(const ct_trainer *trainer, const ct_train_report *report);
void ct_put_real(ct_context *context, ct_value *map, const char *key, double value);
void ct_put_int(ct_context *context, ct_value *map, const char *key, int64_t value);
void ct_put_text(ct_context *context, ct_value *map, const char *key, const char *text);
void ct_put_hash(ct_context *context, ct_value *map, const char *key, uint64_t hash);

#endif
