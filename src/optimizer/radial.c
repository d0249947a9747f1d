/* radial.c - a weight w that a normalisation follows has f(cw) = f(w), so its gradient is at right angles to
 * it. If the angle says so, row by row or for the whole tensor, the update loses its part along w: the norm
 * of w then grows no faster than under plain gradient descent. */
#include "optimizer/radial.h"
#include "tensor/cpu/kernels.h"
#include <math.h>

void ct_radial_measure(const ct_optimizer_range *r, double epsilon) {
    const ct_kernels_f32 *k = &ct_cpu_kernels()->f32;
    int64_t n = r->tensor->columns;
    ct_measures *to = r->measure;
    for (int64_t row = 0; row < r->rows; row++) {
        const float *w = r->weight + row * n, *g = r->raw_gradient + row * n;
        double product = k->dot(n, g, w), gradient = k->reduce(CT_REDUCE_SUM_SQUARES, n, g, 0);
        double weight = k->reduce(CT_REDUCE_SUM_SQUARES, n, w, 0);
        to->sum[0] += product;
        to->sum[1] += gradient;
        to->sum[2] += weight;
        to->greatest[0] = fmax(to->greatest[0], fabs(product) / fmax(sqrt(gradient) * sqrt(weight), epsilon));
    }
}

static void set_mode(ct_measures *measured, ct_radial_mode mode, double cosine, double threshold) {
    measured->value[CT_RADIAL_MODE] = mode;
    measured->value[CT_RADIAL_COSINE] = cosine;
    measured->value[CT_RADIAL_THRESHOLD] = threshold;
}

/* Rows first, all of them below delta / sqrt(columns); then the whole, below delta / sqrt(elements). */
static ct_radial_mode choose(const ct_optimizer_tensor *t, double delta, double epsilon,
                             ct_measures *measured) {
    double rows = delta / sqrt((double)t->columns), whole = delta / sqrt((double)t->count);
    double length = sqrt(measured->sum[1]) * sqrt(measured->sum[2]);
    double cosine = fabs(measured->sum[0]) / fmax(length, epsilon);
    ct_radial_mode mode = measured->greatest[0] < rows ? CT_RADIAL_ROWS
                          : cosine < whole             ? CT_RADIAL_WHOLE
                                                       : CT_RADIAL_NONE;
    set_mode(measured, mode, mode == CT_RADIAL_WHOLE ? cosine : measured->greatest[0],
             mode == CT_RADIAL_WHOLE ? whole : rows);
    measured->value[CT_RADIAL_LENGTH] = sqrt(measured->sum[2]);
    return mode;
}

bool ct_radial_decide(const ct_optimizer_range *whole, int pass, double delta, double decay_scale,
                      double epsilon, ct_measures *measured) {
    if (pass == 0) { /* vectors (biases, gains of norms) are never projected */
        set_mode(measured, CT_RADIAL_NONE, NAN, NAN);
        return whole->tensor->ndim > 1 && delta > 0;
    }
    if (pass == 1) {
        ct_radial_mode mode = choose(whole->tensor, delta, epsilon, measured);
        if (mode != CT_RADIAL_NONE) measured->decay_scale *= decay_scale;
        return mode == CT_RADIAL_WHOLE;
    }
    /* Mode WHOLE: what of w is taken from the update, <w, q> / (|w| + epsilon)^2. */
    double length = measured->value[CT_RADIAL_LENGTH] + epsilon;
    measured->value[CT_RADIAL_LENGTH] = measured->sum[0] / (length * length);
    return false;
}

void ct_radial_remove(const ct_optimizer_range *r, double epsilon) {
    const ct_kernels_f32 *k = &ct_cpu_kernels()->f32;
    ct_radial_mode mode = (ct_radial_mode)r->measured->value[CT_RADIAL_MODE];
    int64_t n = r->tensor->columns;
    if (mode == CT_RADIAL_WHOLE)
        k->axpy(r->count, (float)-r->measured->value[CT_RADIAL_LENGTH], r->weight, r->update);
    for (int64_t row = 0; mode == CT_RADIAL_ROWS && row < r->rows; row++) {
        const float *w = r->weight + row * n;
        float *q = r->update + row * n;
        double length = sqrt(k->reduce(CT_REDUCE_SUM_SQUARES, n, w, 0)) + epsilon;
        k->axpy(n, (float)(-k->dot(n, w, q) / (length * length)), w, q);
    }
}

const char *const ct_radial_statistics[] = {"mode", "max_cos", "threshold", NULL};

void ct_radial_report(const ct_optimizer_range *whole, double *values) {
    for (int i = 0; i < 3; i++)
        values[i] = whole->measured->value[i];
}
