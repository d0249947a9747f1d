/* widths.h - inside plan: one recipe at several widths. */
#ifndef CARAT_SRC_PLAN_WIDTHS_H
#define CARAT_SRC_PLAN_WIDTHS_H

#include "train/corpus.h"
#include "train/learner.h"
#include <carat/plan.h>

/* The model of a recipe at one width, seed and rate, ready for its first step. */
typedef struct ct_width_study {
    ct_context *context;
    const ct_value *recipe; /* borrowed */
    ct_corpus corpus;
    bool read; /* the corpus: once, for all */
    ct_value *given, *config;
    ct_train_options options; /* borrows from `given` */
    ct_learner *learner;
    bool diverged;
} ct_width_study;

/* `seed` is added to the recipe's. `rate` NAN: the recipe's. What was open before is closed. */
ct_status ct_width_study_open(ct_width_study *study, int64_t width, int64_t seed, double rate);
/* A loss or gradient that is not finite sets `diverged`; later steps do nothing. */
ct_status ct_width_study_step(ct_width_study *study, int64_t step, double rate, double *loss);
void ct_width_study_free(ct_width_study *study);

/* Numbers with commas between, in brackets or not: ascending, positive, at least two, at most `most`. */
ct_status ct_plan_numbers(ct_context *context, const char *given, const char *name, bool whole, int most,
                          double *numbers, int *count);
/* Slope of least squares through (log x, log y); NAN unless all are positive and finite. */
double ct_plan_slope(const double *x, const double *y, int count);

#endif
