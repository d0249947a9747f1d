/* centred.h - how far a stream, or what writes to it, is from having mean 0: for rewritings to RMSNorm. */
#ifndef CARAT_TESTS_MODEL_CENTRED_H
#define CARAT_TESTS_MODEL_CENTRED_H

#include "reach/reach.h"

static inline double largest_mean(ct_tensor *weight, int axis) {
    return item(ct_max(ct_abs(ct_mean(weight, 1, &axis, true)), 0, NULL, false));
}

/* A tap: *user, a double, becomes the largest mean of a position relative to the stream's size. */
static inline ct_tensor *stream_mean(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run, (void)point;
    int last = -1;
    ct_tensor *x = ct_cast(value, CT_F64);
    double size = sqrt(item(ct_mean_all(ct_square(x)))),
           mean = item(ct_max(ct_abs(ct_mean(x, 1, &last, false)), 0, NULL, false));
    *(double *)user = fmax(*(double *)user, mean / size);
    return value;
}

#endif
