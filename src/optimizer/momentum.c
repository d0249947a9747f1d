/* momentum.c - the heavy ball (Polyak, 1964) and Nesterov's variant of it (Sutskever et al., ICML 2013). */
#include "optimizer/momentum.h"

CT_ELEMENT_LOOPS static void advance_buffer(const ct_optimizer_range *r, float momentum, float share) {
    float *restrict b = r->state[0];
    const float *restrict g = r->gradient;
    for (int64_t i = 0; i < r->count; i++)
        b[i] = momentum * b[i] + share * g[i];
}

CT_ELEMENT_LOOPS void ct_momentum_direction(const ct_optimizer_range *r, double momentum, double share,
                                            bool nesterov, bool advance) {
    const float *restrict b = r->state[0], *restrict g = r->gradient;
    float *restrict update = r->update, factor = (float)momentum;
    if (advance) advance_buffer(r, (float)momentum, (float)share);
    if (nesterov)
        for (int64_t i = 0; i < r->count; i++)
            update[i] = g[i] + factor * b[i];
    else
        for (int64_t i = 0; i < r->count; i++)
            update[i] = b[i];
}
