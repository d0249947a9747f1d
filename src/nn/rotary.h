/* rotary.h - inside nn and model: rotary positions (Su et al., arXiv:2104.09864) as Hugging Face's files
 * describe them, and the tables of angles that the layers of a run share. */
#ifndef CARAT_SRC_NN_ROTARY_H
#define CARAT_SRC_NN_ROTARY_H

#include "nn/module.h"

typedef struct ct_rotation {
    int64_t half;     /* pairs of channels that are turned */
    float scale;      /* of all cosines and sines (YaRN's attention factor); else 1 */
    float *frequency; /* [half] radians a position */
} ct_rotation;

/* `settings` is a map with the keys of config.json's rope_parameters: rope_type (default, linear, llama3,
 * yarn), rope_theta, factor, ... (carat show attention). `where` is named in errors. NULL on failure. */
ct_rotation *ct_rotation_create(ct_context *context, int64_t channels, const ct_value *settings,
                                const char *where);
void ct_rotation_destroy(ct_context *context, ct_rotation *rotary);

/* cos and sin for the run's present positions of a batch: f32 [time, half] where all rows have the same, else
 * [batch, time, half]. They are the run's: kept, and given again, until the positions are others. */
ct_status ct_rotation_tables(ct_run *run, const ct_rotation *rotary, int64_t batch, int64_t time,
                             ct_tensor **cos, ct_tensor **sin);

/* What a run keeps. */
typedef struct ct_rotary_memo ct_rotary_memo;
void ct_rotary_memo_destroy(ct_context *context, ct_rotary_memo *memo);
/* Where a run keeps it (run.c). */
ct_rotary_memo **ct_run_rotary_memo(ct_run *run);

#endif
