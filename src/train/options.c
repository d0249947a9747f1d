/* options.c - the table of what a recipe may say. */
#include "train/recipe.h"

static const ct_option data_table[] = {
    CT_OPTION_STRING("train", ct_train_data_options, train, NULL,
                     "text to learn from: a file, a .jsonl file, or a folder of .txt, .md and .jsonl files"),
    CT_OPTION_STRING("validation", ct_train_data_options, validation, NULL,
                     "text to evaluate on; without it the end of the training text is held out"),
    CT_OPTION_REAL("validation_fraction", ct_train_data_options, validation_fraction, 0.1, 0, 0.9,
                   "how much of the training text is held out if data.validation is not given"),
    CT_OPTION_STRING("field", ct_train_data_options, field, "text", "which field of .jsonl records is text"),
    CT_OPTION_STRING("train_labels", ct_train_data_options, train_labels, NULL,
                     "images: IDX file of the classes of data.train, an IDX file of images"),
    CT_OPTION_STRING("validation_labels", ct_train_data_options, validation_labels, NULL,
                     "images: IDX file of the classes of data.validation"),
    CT_OPTION_END};

static const ct_option tokenizer_table[] = {
    CT_OPTION_STRING(
        "kind", ct_train_tokenizer_options, kind, NULL,
        "bytes, characters, bpe (trained on the text), or a folder or tokenizer.json; by default that "
        "of model.path, else bytes"),
    CT_OPTION_INT("vocab_size", ct_train_tokenizer_options, vocab_size, 4096, 257, 1e6,
                  "tokens of a bpe tokenizer that is trained"),
    CT_OPTION_END};

static const ct_option growth_table[] = {
    CT_OPTION_REAL("limit", ct_train_growth_options, limit, 0, 0, 1e30,
                   "watch: the run ends when the variance of the stream behind a block is above it; 0: never"),
    CT_OPTION_END};

static const char *const centers[] = {"none", "weights", "activations", NULL};
static const char *const averages[] = {"as_is", "logits", "probabilities", NULL};
static const ct_option teacher_table[] = {
    CT_OPTION_STRING("path", ct_teacher_options, path, NULL,
                     "model's folder or manifest of an ensemble, whose outputs the objective (distill_kl) learns from; "
                     "its tokenizer is taken unless tokenizer.kind or model.path gives one"),
    CT_OPTION_CHOICE("average", ct_teacher_options, average, "as_is", averages,
                     "what of an ensemble is averaged; as_is: what its manifest says"),
    CT_OPTION_END};

static const char *const tasks[] = {"text", "sft", "images", NULL};
static const char *const phase_optimizers[] = {"keep", "reset", NULL};
static const char *const normalizations[] = {"token", "sample", NULL};

#define TRAIN_INT(field, default_, min_, max_, help_)                                                        \
    CT_OPTION_INT(#field, ct_train_options, field, default_, min_, max_, help_)
#define TRAIN_REAL(field, default_, min_, max_, help_)                                                       \
    CT_OPTION_REAL(#field, ct_train_options, field, default_, min_, max_, help_)

const ct_option ct_train_table[] = {
    CT_OPTION_VALUE(
        "model", ct_train_options, model,
        "{path: FOLDER} to go on from a model, else the keys of its config.json (model_type, n_layer, ...)"),
    CT_OPTION_VALUE("init", ct_train_options, init,
                    "an initializer for the weights of linear layers: {name: lsuv, and its options}; also "
                    "of a model from a path (carat show initializer)"),
    CT_OPTION_VALUE("param", ct_train_options, param,
                    "how weights and rates depend on the width: {name: mup, base_width: 64} (carat show parametrization)"),
    CT_OPTION_CHOICE("center", ct_train_options, center, "none", centers,
                     "an rmsnorm model learns as with layernorm: the mean is taken from weights after each step, or from "
                     "what writes to the stream"),
    CT_OPTION_GROUP("tokenizer", ct_train_options, tokenizer, tokenizer_table, "how text becomes tokens"),
    CT_OPTION_GROUP("data", ct_train_options, data, data_table, "the text, or the images"),
    CT_OPTION_CHOICE("task", ct_train_options, task, "text", tasks,
                     "text: learn a stream of text; sft: learn the answers of dialogues in .jsonl files; images: learn "
                     "the classes of images in IDX files"),
    CT_SFT_OPTIONS(ct_train_options, sft),
    CT_OPTION_BOOL("packing", ct_train_options, packing, false,
                   "sft: several samples in a row, each attending to itself alone"),
    CT_OPTION_BOOL("group_by_length", ct_train_options, group_by_length, true,
                   "sft without packing: samples of similar length in a step, so that little is padded"),
    CT_OPTION_CHOICE("loss_normalization", ct_train_options, loss_normalization, "token", normalizations,
                     "sft: mean over all targets of a step, or over its samples"),
    CT_OPTION_VALUE("phases", ct_train_options, phases,
                    "sft: list of .jsonl files that are learnt one after the other, in place of data.train: [a.jsonl, "
                    "b.jsonl]"),
    TRAIN_REAL(phase_replay, 0, 0, 0.99, "share of the rows of a later phase that are drawn from earlier ones"),
    CT_OPTION_CHOICE("phase_optimizer", ct_train_options, phase_optimizer, "keep", phase_optimizers,
                     "where a phase begins: keep the optimizer's states or reset them"),
    TRAIN_REAL(max_batch_share, 0, 0, 1,
               "sft: a step has at most this share of the rows of an epoch; 0: as many as asked for"),
    {CT_TYPE_STRING, "output_dir", offsetof(ct_train_options, output_dir), 0, 0, 0, NULL, NULL, NULL,
     "folder for the model, checkpoints, log and curve", "out"},
    CT_OPTION_BOOL("overwrite_output_dir", ct_train_options, overwrite_output_dir, false,
                   "start anew in a folder that holds another run, whose checkpoints are removed"),
    TRAIN_INT(seed, 42, 0, 9e15, "of initial weights, data order and dropout"),
    TRAIN_INT(context, 0, 0, 1e8, "tokens a row; 0: as many as the model has positions"),
    TRAIN_INT(max_steps, 0, -1, 1e12, "optimizer steps; 0: as num_train_epochs says"),
    TRAIN_REAL(num_train_epochs, 3, 0, 1e9, "times through the training text, if max_steps is 0"),
    TRAIN_INT(per_device_train_batch_size, 8, 1, 1e6,
              "rows at a time; fewer if the memory budget asks for it"),
    TRAIN_INT(gradient_accumulation_steps, 1, 1, 1e6,
              "a step has this times per_device_train_batch_size rows"),
    CT_OPTION_STRING("large_batch", ct_train_options, large_batch, NULL,
                     "rows a step of this recipe and rows a step wanted, 64:1024: learning rate and length are carried "
                     "over by the next two"),
    CT_OPTION_CHOICE("lr_rule", ct_train_options, lr_rule, "sqrt", ct_lr_rules,
                     "large_batch: times the root of the rows' ratio, the ratio, or nothing"),
    CT_OPTION_BOOL("regime_adaptation", ct_train_options, regime_adaptation, false,
                   "large_batch: as many updates as with small steps, not as many samples"),
    TRAIN_REAL(gradient_noise, 0, 0, 100,
               "deviation of a random factor of mean 1 on the loss of each row: what larger rates do to large batches"),
    {CT_TYPE_REAL, "learning_rate", offsetof(ct_train_options, learning_rate), 5e-5, 0, 1e3, NULL, NULL, NULL,
     "the highest of the schedule", "lr"},
    CT_OPTION_STRING("lr_scheduler_type", ct_train_options, lr_scheduler_type, "linear",
                     "constant, linear, cosine, warmup_stable_decay (carat show schedule)"),
    CT_OPTION_VALUE("lr_scheduler_kwargs", ct_train_options, lr_scheduler_kwargs, "options of the schedule"),
    TRAIN_INT(warmup_steps, 0, 0, 1e12, "steps in which the rate rises to its highest"),
    TRAIN_REAL(warmup_ratio, 0, 0, 1, "the same as a share of all steps, if warmup_steps is 0"),
    CT_OPTION_STRING("optim", ct_train_options, optim, "adamw",
                     "adamw, muon, lion, adafactor, sgd, ... (carat show optimizer)"),
    CT_OPTION_VALUE("optimizer", ct_train_options, optimizer,
                    "options of the optimizer: {beta1: 0.9, beta2: 0.95}"),
    CT_OPTION_VALUE(
        "optimizer_links", ct_train_options, optimizer_links,
        "list of links around the optimizer: [nap], or [{name: nap, every: 2}] (carat show link)"),
    CT_OPTION_BOOL("log_optimizer", ct_train_options, log_optimizer, false,
                   "write what the optimizer tells of each tensor at logged steps to optimizer.csv"),
    TRAIN_REAL(weight_decay, 0, 0, 1e3, "of all weights but biases and norms"),
    CT_OPTION_VALUE(
        "parameter_groups", ct_train_options, parameter_groups,
        "list of {pattern: \"*.wte.*\", learning_rate_scale: 0.5, weight_decay: 0}; of the groups that "
        "match a name the first counts"),
    TRAIN_REAL(max_grad_norm, 1, 0, 1e9, "gradients are scaled down to this norm; 0: never"),
    TRAIN_REAL(label_smoothing_factor, 0, 0, 0.999, "share of each target that all tokens get"),
    CT_OPTION_VALUE(
        "objective", ct_train_options, objective,
        "the loss: a list [{name: focal, gamma: 2}, {name: z_loss, weight: 0.1}] (carat show "
        "objective); cross_entropy if absent. Evaluation is always by cross-entropy"),
    CT_OPTION_GROUP("teacher", ct_train_options, teacher, teacher_table, "what a student learns from"),
    CT_OPTION_VALUE(
        "regularizers", ct_train_options, regularizers,
        "list of terms added to the loss and of derived weights: [{name: l2, weight: 0.01}, weight_norm] "
        "(carat show regularizer)"),
    CT_OPTION_BOOL("bf16", ct_train_options, bf16, false, "activations and products in bf16, weights in f32"),
    TRAIN_INT(gradient_checkpointing, 0, 0, 1e4,
              "layers in a segment that the backward pass computes again; 0: as the memory budget asks"),
    TRAIN_REAL(ema_decay, 0, 0, 0.9999999, "of a moving average of the weights; 0: none"),
    TRAIN_INT(logging_steps, 500, 0, 1e12, "steps between lines in train.jsonl; 0: the last step only"),
    CT_OPTION_STRING("watch", ct_train_options, watch, NULL,
                     "growth:50 writes the size of the stream behind each block to growth.csv every 50 steps"),
    CT_OPTION_GROUP("growth", ct_train_options, growth, growth_table, "what watch does"),
    TRAIN_INT(eval_steps, 0, 0, 1e12,
              "steps between evaluations; 0: before the first and after the last only"),
    TRAIN_INT(save_steps, 500, -1, 1e12, "steps between checkpoints; 0: at the end only; -1: none"),
    TRAIN_INT(save_total_limit, 0, 0, 1e6, "checkpoints to keep; 0: all"),
    TRAIN_INT(eval_batches, 0, 0, 1e9, "batches of validation text in an evaluation, spread over it; 0: all"),
    TRAIN_INT(early_stopping_patience, 0, 0, 1e6,
              "evaluations without improvement before training stops; 0: never"),
    TRAIN_REAL(early_stopping_threshold, 0, 0, 1e9, "what counts as an improvement of the evaluation loss"),
    CT_OPTION_BYTES("memory", ct_train_options, memory, 0, 0, 9e15,
                    "budget of the whole program; 0: no limit"),
    TRAIN_INT(threads, 0, 0, 1024, "workers; 0: one a CPU. Results do not depend on it"),
    CT_OPTION_END};
