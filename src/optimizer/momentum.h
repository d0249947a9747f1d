/* momentum.h - inside optimizer: the momentum of SGD, which sgdp has as well. */
#ifndef CARAT_SRC_OPTIMIZER_MOMENTUM_H
#define CARAT_SRC_OPTIMIZER_MOMENTUM_H

#include <carat/optimizer.h>

/* State 0 is the buffer b: b = momentum b + share g (without `advance` it is left as it is);
 * update = b, or g + momentum b (Nesterov). */
void ct_momentum_direction(const ct_optimizer_range *range, double momentum, double share, bool nesterov,
                           bool advance);

#endif
