/* train.h - training a language model, or one that classifies images, by a recipe: options, memory plan, steps, evaluation, checkpoints, resume.
 *
 * A recipe is a YAML map with the keys of ct_train_options; names are Hugging Face's where it has one. */
#ifndef CARAT_TRAIN_H
#define CARAT_TRAIN_H

#include <carat/data.h>
#include <carat/model.h>
#include <carat/objective.h>
#include <carat/optimizer.h>
#include <carat/regularizer.h>
#include <carat/schedule.h>
#include <carat/sft.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_train_data_options {
    const char *train;      /* text file, .jsonl, or folder */
    const char *validation; /* the same; NULL: a part of train */
    double validation_fraction;
    const char *field; /* of JSONL records */
    const char *train_labels, *validation_labels; /* images: their classes */
} ct_train_data_options;

typedef struct ct_train_tokenizer_options {
    const char *kind; /* bytes, characters, bpe (trained), or a folder/file to load; NULL: the model folder's, else bytes */
    int64_t vocab_size; /* of a BPE to be trained */
} ct_train_tokenizer_options;

/* A teacher: a model, or an ensemble (ensemble.h), whose outputs objectives such as distill_kl learn from. */
typedef enum ct_teacher_average { CT_TEACHER_AS_IS, CT_TEACHER_LOGITS, CT_TEACHER_PROBABILITIES } ct_teacher_average;
typedef struct ct_teacher_options {
    const char *path; /* a model's folder, or a manifest; NULL: none */
    int average;      /* ct_teacher_average: of an ensemble; as its manifest says, or */
} ct_teacher_options;

typedef struct ct_train_growth_options {
    double limit; /* of a variance; 0: none */
} ct_train_growth_options;

/* What is learnt: a stream of text, the answers of dialogues (sft.h), or the classes of images. */
typedef enum ct_train_task { CT_TASK_TEXT, CT_TASK_SFT, CT_TASK_IMAGES } ct_train_task;
/* The mean that the loss of a step is: over all its targets, or over its samples, each the mean of its targets. */
typedef enum ct_loss_normalization { CT_BY_TOKEN, CT_BY_SAMPLE } ct_loss_normalization;

/* What becomes of the optimizer's states where a phase begins. */
typedef enum ct_phase_optimizer { CT_PHASE_KEEP, CT_PHASE_RESET } ct_phase_optimizer;

/* How the stream of an RMSNorm model stays centred (ct_stream_centre and ct_stream_centre_weights, model.h). */
typedef enum ct_train_center { CT_CENTER_NONE, CT_CENTER_WEIGHTS, CT_CENTER_ACTIVATIONS } ct_train_center;

/* Names are Hugging Face's TrainingArguments' where it has one, and so are the defaults. */
typedef struct ct_train_options {
    const ct_value *model; /* a map: {path: DIR} to go on from a folder, else config.json's keys (model_type, ...);
                              vocab_size is filled in from the tokenizer if absent */
    const ct_value *init; /* an initializer (initializer.h): {name: lsuv, its options}; NULL: none */
    const ct_value *param; /* a parametrization (parametrization.h): {name: mup, base_width: 64}; NULL: none */
    int center; /* ct_train_center */
    ct_train_tokenizer_options tokenizer;
    ct_train_data_options data;
    int task; /* ct_train_task */
    ct_sft_options sft; /* flat in a recipe, with TRL's names; max_length also gives `context` where that is not given */
    bool packing, group_by_length;
    int loss_normalization;   /* ct_loss_normalization */
    const ct_value *phases;   /* sft: list of files that are learnt one after the other, in place of data.train */
    double phase_replay;      /* share of earlier phases' rows in a later one */
    int phase_optimizer;      /* ct_phase_optimizer */
    double max_batch_share;   /* sft: a step has at most this share of an epoch's rows; 0: no limit */
    const char *output_dir;
    bool overwrite_output_dir; /* else a folder that holds another run is refused */
    int64_t seed;
    int64_t context;             /* tokens a row; 0: the model's n_positions */
    int64_t max_steps;           /* 0 or -1: num_train_epochs counts */
    double num_train_epochs;
    int64_t per_device_train_batch_size, gradient_accumulation_steps;
    /* Hoffer et al., arXiv:1705.08741: "64:1024", the rows a step that the rest of the recipe is for, and those wanted;
     * read and carried out at once, then NULL in what a run resolves to. */
    const char *large_batch;
    int lr_rule; /* sqrt, linear, none */
    bool regime_adaptation;
    double gradient_noise;
    double learning_rate;
    const char *lr_scheduler_type;
    const ct_value *lr_scheduler_kwargs;
    int64_t warmup_steps;
    double warmup_ratio; /* used if warmup_steps is 0 */
    const char *optim;   /* method name */
    const ct_value *optimizer; /* its options */
    const ct_value *optimizer_links; /* list of links (link.h): names, or {name: nap, its options} */
    bool log_optimizer; /* what the optimizer tells of each tensor at logged steps, into optimizer.csv */
    double weight_decay;
    const ct_value *parameter_groups; /* list of {pattern, learning_rate_scale, weight_decay}; the first match counts;
                                         without weight_decay biases and norms have none */
    double max_grad_norm; /* 0: no clipping */
    double label_smoothing_factor;
    const ct_value *objective;    /* objective.h: a list or a map; NULL: cross_entropy. What is evaluated is always
                                     cross-entropy */
    const ct_value *regularizers; /* regularizer.h: the same; NULL: none */
    bool bf16;
    int64_t gradient_checkpointing; /* 0: as the memory budget asks; n: segments of n layers */
    double ema_decay; /* of a moving average of the weights, min(ema_decay, (1 + step) / (10 + step)) at each step;
                         what is evaluated and saved is then the average. 0: none */
    ct_teacher_options teacher;
    const char *watch;              /* "growth:N": every N steps; NULL: nothing */
    ct_train_growth_options growth; /* of watch */
    int64_t logging_steps, eval_steps, save_steps; /* 0: only at the end; save_steps -1: no checkpoints */
    int64_t save_total_limit;                      /* checkpoints kept; 0: all */
    int64_t eval_batches; /* of per_device_train_batch_size rows of validation text at most; 0: all of it */
    int64_t early_stopping_patience; /* evaluations without improvement; 0: never */
    double early_stopping_threshold; /* an improvement is a loss lower than the best by more than this */
    int64_t memory;  /* bytes; 0: no limit */
    int64_t threads; /* 0: all */
} ct_train_options;
extern const ct_option ct_train_table[];

/* What a plan or a run needs and says. */
typedef struct ct_memory_plan {
    int64_t micro_batch;      /* rows at a time */
    int64_t checkpoint_every; /* layers a recomputed segment; 0: none */
    size_t at_peak[CT_MEMORY_CLASSES];
    size_t peak; /* predicted bytes of the engine at its peak, plus what the program itself holds */
    size_t base; /* of that: the program itself (libraries, text, tokenizer) */
    uint64_t flops_per_step;
    int64_t parameters;
} ct_memory_plan;

typedef struct ct_train_report {
    int64_t steps, tokens;
    double seconds, tokens_per_second; /* of training steps alone */
    double first_loss, last_loss;
    double bits_per_byte_before, bits_per_byte_after, perplexity_before, perplexity_after; /* NAN if not evaluated */
    double accuracy_before, accuracy_after; /* of images; NAN: there are none, or not evaluated */
    double best_loss;
    int64_t best_step;
    bool stopped_early, interrupted, resumed;
    ct_memory_plan plan;
    size_t measured_peak;  /* engine bytes at peak, by ct_memory_read, plus base */
    size_t peak_anonymous; /* RssAnon at its highest sample */
    uint64_t weights_hash; /* of all parameters' bytes, in order: to compare runs */
    uint64_t loss_hash;    /* of the bits of every step's loss */
} ct_train_report;

/* The same as a map, with the names of the fields; hashes as 16 hexadecimal digits, NAN as null. */
ct_value *ct_memory_plan_to_value(ct_context *context, const ct_memory_plan *plan);
ct_value *ct_train_report_to_value(ct_context *context, const ct_train_report *report);

/* Predicts one step on the meta device for the recipe and picks micro-batch and checkpointing for options->memory;
 * CT_ERROR_MEMORY with the smallest workable budget if none fits. */
ct_status ct_train_plan(ct_context *context, const ct_value *recipe, ct_memory_plan *plan);
/* Runs a recipe. `resume` goes on from the newest checkpoint in output_dir (none there: starts), to the same bits that
 * an uninterrupted run reaches. On a stop request it writes a checkpoint and returns CT_OK with report->interrupted; a step
 * that has begun is given up between two micro-batches, or goes on to its end where norms keep running statistics. A loss or
 * gradient that is not finite is CT_ERROR_NUMERIC, with the weights as they were before that step.
 *
 * output_dir then holds the model as a Hugging Face folder (with ema_decay: the averaged weights), checkpoint-N/,
 * train.jsonl, loss.svg and loss.png, recipe.yaml and report.json. train.jsonl has a line for every logged step,
 * {"step", "loss", "learning_rate", "grad_norm", "tokens", "samples", "tokens_per_second", "seconds"}, and one for every
 * evaluation,
 * {"step", "eval_loss", "bits_per_byte", "perplexity"}, of images {"step", "eval_loss", "accuracy"}. */
ct_status ct_train(ct_context *context, const ct_value *recipe, bool resume, ct_train_report *report);
/* The model with which the recipe's run would begin, its initializer carried out on the first rows of the data, into
 * output_dir, with the tokenizer and recipe.yaml. `report`: {output_dir, layers: what the initializer did at each}, to be
 * freed; NULL on error. */
ct_status ct_train_init(ct_context *context, const ct_value *recipe, ct_value **report);

#ifdef __cplusplus
}
#endif
#endif
