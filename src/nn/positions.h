/* positions.h - inside nn and model: at which positions of their sequences the tokens of a batch stand. */
#ifndef CARAT_SRC_NN_POSITIONS_H
#define CARAT_SRC_NN_POSITIONS_H

#include "nn/module.h"

/* i32 [batch, time]: from 0, or from where each row's key-value cache ends; in rows of several samples anew
 * with each. `merge`: [1, time] where all rows have the same. Positions from `limit` on are refused. */
ct_tensor *ct_run_positions(ct_run *run, int64_t batch, int64_t time, int64_t limit, bool merge);

#endif
