/* learner.h - inside train: what a training step works on. The same code stands on the cpu device, where it
 * trains, and on the meta device, where it counts the bytes that training will take. */
#ifndef CARAT_SRC_TRAIN_LEARNER_H
#define CARAT_SRC_TRAIN_LEARNER_H

#include "train/teacher.h"
#include <carat/parametrization.h>

typedef struct ct_learner {
    ct_context *context;
    const ct_train_options *options; /* borrowed */
    ct_model *model;
    ct_optimizer *optimizer;
    ct_objective *objective;
    ct_regularizers *regularizers;
    ct_parametrization *parametrization; /* NULL: none */
    ct_teacher *teacher;                 /* NULL: none */
    ct_value *initialized; /* what the recipe's initializer reported; NULL: nothing */
    ct_run *run;         /* of training, for the present arrangement */
    ct_run *evaluation;  /* sees the averaged weights if there are any */
    ct_tensor **average; /* one a parameter, held; NULL: no moving average */
    double *row_losses;  /* [rows] */
    int64_t rows;        /* of a step */
    int64_t row_length;  /* tokens a row */
    int64_t micro_batch, checkpoint_every;
    double accuracy; /* of the last evaluation of images; NAN: there was none */
} ct_learner;

/* The configuration of the recipe's model with what text and tokenizer decide filled in; a new map, or NULL.
 * For model.path the folder's own config.json. */
ct_value *ct_learner_config(ct_context *context, const ct_train_options *options,
                            const ct_tokenizer *tokenizer);
/* Model (not filled, unless it comes from a folder), optimizer, average, on the context's device. */
ct_learner *ct_learner_create(ct_context *context, const ct_train_options *options, const ct_value *config);
void ct_learner_destroy(ct_learner *learner);
/* Initial weights from the seed (unless they came from a folder), the recipe's initializer on rows of `data` (NULL: left
 * out, as weights of a checkpoint will follow), and the average set to them. */
ct_status ct_learner_initialize(ct_learner *learner, const ct_dataset *data);
/* How a step is cut from now on. */
ct_status ct_learner_arrange(ct_learner *learner, int64_t micro_batch, int64_t checkpoint_every);
/* What the key `center` asks of a new run, and of the weights at the start and after a step. */
ct_status ct_learner_centre_run(ct_learner *learner, ct_run *run);
ct_status ct_learner_centre_weights(ct_learner *learner);
uint64_t ct_learner_weights_hash(const ct_learner *learner);

typedef struct ct_step_result {
    double loss; /* of the objective, mean over all targets of the step, or its samples: loss_normalization */
    double gradient_norm;
    int64_t tokens, targets, samples; /* of the step; padding does not count. Samples of text are rows */
    double regularization; /* what regularizers added to the loss */
} ct_step_result;

/* Step number `step` (from 0): rows step * rows ... of the data, gradients, clipping, update, average. On
 * meta `data` is NULL. CT_ERROR_INTERRUPTED (not recorded in the context) if a stop was requested before the
 * update: then nothing has changed. A loss or gradient that is not finite is CT_ERROR_NUMERIC, also before
 * the update. */
ct_status ct_learner_step(ct_learner *learner, const ct_dataset *data, int64_t step, double learning_rate,
                          ct_step_result *result);

/* Mean loss over the text in rows one after the other, each predicting from itself alone; at most `most_rows`
 * rows (0: all), spread evenly. CT_ERROR_INTERRUPTED as above. On meta `data` is NULL. */
ct_status ct_learner_evaluate(ct_learner *learner, const ct_dataset *data, int64_t most_rows, double *loss);

/* The input for the first `rows` rows of training: ids [rows, row_length], or images. NULL on error. */
ct_tensor *ct_learner_first_rows(ct_learner *learner, const ct_dataset *data, int64_t rows);
/* images.c: the images that training takes as index ... index + count - 1, and their classes, i32 [count]. */
ct_tensor *ct_learner_draw_images(ct_learner *learner, const ct_dataset *data, int64_t index, int64_t count,
                                  ct_tensor **classes);
/* ct_learner_evaluate for images; `rows` has room for a micro-batch. */
ct_status ct_learner_evaluate_images(ct_learner *learner, const ct_dataset *data, int64_t most, int64_t *rows,
                                     double *loss);

#endif
