/* moments.h - inside optimizer: what Adam and those that are made from it have in common. */
#ifndef CARAT_SRC_OPTIMIZER_MOMENTS_H
#define CARAT_SRC_OPTIMIZER_MOMENTS_H

#include <carat/optimizer.h>

/* Coefficients of a step; betas, corrections and epsilon of Kingma & Ba, arXiv:1412.6980, algorithm 1. */
typedef struct ct_moments {
    double beta1, beta2, epsilon;
    bool nesterov;
    bool unscaled; /* the range's gradient is as it came: ct_moments_direction scales it */
} ct_moments;

/* State 0 is the first moment, state 1 the second:
 *   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2. */
void ct_moments_advance(const ct_optimizer_range *range, const ct_moments *with);
/* update = m^ / (sqrt(v^) + epsilon), with m^ = m / (1 - beta1^t), v^ = v / (1 - beta2^t); with nesterov m^
 * is (beta1 m + (1 - beta1) g) / (1 - beta1^t). */
void ct_moments_quotient(const ct_optimizer_range *range, const ct_moments *with);
/* Both in one pass. */
void ct_moments_direction(const ct_optimizer_range *range, const ct_moments *with);
/* Scaling, direction, decay and apply in one pass. */
void ct_moments_fused(const ct_optimizer_range *range, const ct_moments *with, bool coupled);

#endif
