/* plan.h - inside train: the memory plan of a learner. */
#ifndef CARAT_SRC_TRAIN_PLAN_H
#define CARAT_SRC_TRAIN_PLAN_H

#include <carat/train.h>

/* Fills *plan for a run of `recipe` in `context`, which holds what the program needs besides the learner
 * already. `config` is the model's. */
ct_status ct_plan_make(ct_context *context, const ct_value *recipe, const ct_value *config,
                       ct_memory_plan *plan);

#endif
