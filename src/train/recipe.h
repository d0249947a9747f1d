/* recipe.h - inside train: a recipe read and checked, and compared with the one of a checkpoint. */
#ifndef CARAT_SRC_TRAIN_RECIPE_H
#define CARAT_SRC_TRAIN_RECIPE_H

#include <carat/train.h>

/* Reads and checks everything that can be checked without looking at files. `options` borrows from `recipe`.
 */
ct_status ct_recipe_read(ct_context *context, const ct_value *recipe, ct_train_options *options);
/* The steps of a run over a training text with that many rows in an epoch, and those of its warmup. */
int64_t ct_recipe_total_steps(const ct_train_options *options, int64_t rows_an_epoch);
int64_t ct_recipe_warmup_steps(const ct_train_options *options, int64_t total_steps);
enum { CT_PHASES_MOST = 64 };
/* Rows of one step. */
int64_t ct_recipe_rows(const ct_train_options *options);
/* "adamw" for Hugging Face's names of the same optimizer, and so on. */
const char *ct_recipe_optimizer(const ct_train_options *options);
const char *ct_recipe_schedule(const ct_train_options *options);

/* large_batch.c: carries options for small steps over to the large ones that large_batch asks for; then that key, lr_rule and
 * regime_adaptation are as if they had not been given. */
ct_status ct_recipe_large_batch(ct_context *context, const ct_value *recipe, ct_train_options *options);
extern const char *const ct_lr_rules[];
/* corpus_images.c: what a recipe of images must say and may not, and others of images. */
ct_status ct_recipe_check_images(ct_context *context, const ct_train_options *options);
/* What the loss of row number `row` of a run is multiplied by under gradient_noise. */
double ct_gradient_noise(const ct_train_options *options, int64_t row);

/* Every option with its present value: what reports echo and checkpoints keep. */
ct_value *ct_recipe_resolved(ct_context *context, const ct_train_options *options);
/* An error that names the key and both values if the resolved recipe `now` would not go on as `before` began.
 * What only says how long, how often or with what means (max_steps, save_steps, memory, threads, ...) may
 * differ. */
ct_status ct_recipe_compare(ct_context *context, const ct_value *before, const ct_value *now,
                            const char *where);
/* A value of one context as one of another. */
ct_value *ct_value_move_to(ct_context *context, const ct_value *value);

/* Entry `index` of parameter_groups. */
typedef struct ct_recipe_group {
    const char *pattern;
    double learning_rate_scale, weight_decay; /* weight_decay NAN: not given */
} ct_recipe_group;
ct_status ct_recipe_group_at(ct_context *context, const ct_train_options *options, size_t index,
                             ct_recipe_group *group);

#endif
