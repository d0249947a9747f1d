/* samples.h - inside data: which samples share a row, and in what order an epoch takes the rows. */
#ifndef CARAT_SRC_DATA_SAMPLES_H
#define CARAT_SRC_DATA_SAMPLES_H

#include <carat/data.h>

typedef struct ct_samples ct_samples;

/* NULL on error. */
ct_samples *ct_samples_create(ct_context *context, const ct_sample_list *list, int64_t from, int64_t to,
                              const ct_row_options *options);
void ct_samples_destroy(ct_context *context, ct_samples *samples); /* NULL is allowed */
int64_t ct_samples_rows(const ct_samples *samples);
int64_t ct_samples_drawn(ct_context *context, ct_samples *samples, uint64_t seed, int64_t index);
ct_row_counts ct_samples_counts(const ct_samples *samples, int64_t row);
/* Whether token `index` is to be learnt. */
bool ct_samples_labelled(const ct_samples *samples, int64_t index);

typedef struct ct_sample_place {
    int64_t start, count, targets; /* tokens [start, start + count) */
} ct_sample_place;
/* Sample `index` of a row. */
ct_sample_place ct_samples_place(const ct_samples *samples, int64_t row, int64_t index);

#endif
