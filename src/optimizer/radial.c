/* radial.c - a weight w that a normalisation follows has f(cw) = f(w), so its gradient is at right angles to
 * it. If the angle says so, row by row or for the whole tensor, the update loses its part along w: the norm
 * of w then grows no faster than under plain gradient descent. */
#include "optimizer/radial.h"
#include "tensor/cpu/kernels.h"
#include <math.h>
#include <string.h>

/* Sums of blocks of 256 elements in 16 lanes of f32, 16 additions each; the blocks in 8 lanes of f64, which
 * are joined as a tree: the same bits with any instruction set. */
enum { BLOCK = 256 };
typedef float lanes __attribute__((vector_size(32), aligned(4)));
typedef double wide __attribute__((vector_size(64)));
#define INLINE static inline __attribute__((always_inline))
#define LANES(at) (*(const lanes *)(const void *)(at))
#define WIDE(v) __builtin_convertvector(v, wide)
#define TREE(v) ((((v)[0] + (v)[4]) + ((v)[2] + (v)[6])) + (((v)[1] + (v)[5]) + ((v)[3] + (v)[7])))

/* |y|^2 only if `both`, a constant where this is inlined. */
INLINE ct_products products(int64_t count, const float *x, const float *y, const bool both) {
    wide product = {0}, xx = {0}, yy = {0};
    int64_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK) {
        lanes p = {0}, p2 = {0}, q = {0}, q2 = {0}, s = {0}, s2 = {0};
        for (int64_t at = i; at < i + BLOCK; at += 16) {
            lanes a = LANES(x + at), a2 = LANES(x + at + 8), b = LANES(y + at), b2 = LANES(y + at + 8);
            p += a * b;
            p2 += a2 * b2;
            q += a * a;
            q2 += a2 * a2;
            if (both) s += b * b, s2 += b2 * b2;
        }
        product += WIDE(p + p2);
        xx += WIDE(q + q2);
        if (both) yy += WIDE(s + s2);
    }
    ct_products sums = {TREE(product), TREE(xx), TREE(yy)};
    for (; i < count; i++) {
        double a = (double)x[i], b = (double)y[i];
        sums.product += a * b;
        sums.x += a * a;
        if (both) sums.y += b * b;
    }
    return sums;
}
CT_ELEMENT_LOOPS ct_products ct_radial_products(int64_t count, const float *x, const float *y) {
    return products(count, x, y, true);
}
/* Without |y|^2. */
CT_ELEMENT_LOOPS static ct_products product_and_length(int64_t count, const float *x, const float *y) {
    return products(count, x, y, false);
}

static void measure_angles(const ct_optimizer_range *r) {
    double epsilon = ((const ct_radial_options *)r->options)->epsilon;
    int64_t n = r->tensor->columns;
    ct_measures *to = r->measure;
    for (int64_t row = 0; row < r->rows; row++) {
        ct_products p = ct_radial_products(n, r->raw_gradient + row * n, r->weight + row * n);
        to->sum[0] += p.product;
        to->sum[1] += p.x;
        to->sum[2] += p.y;
        to->greatest[0] = fmax(to->greatest[0], fabs(p.product) / fmax(sqrt(p.x) * sqrt(p.y), epsilon));
    }
}

void ct_radial_measure(const ct_optimizer_range *r, void (*propose)(const ct_optimizer_range *range)) {
    if (r->pass == 0) {
        measure_angles(r);
        return;
    }
    propose(r);
    r->measure->sum[0] += ct_cpu_kernels()->f32.dot(r->count, r->weight, r->update);
}

static void set_mode(ct_measures *measured, ct_radial_mode mode, double cosine, double threshold) {
    measured->value[CT_RADIAL_MODE] = mode;
    measured->value[CT_RADIAL_COSINE] = cosine;
    measured->value[CT_RADIAL_THRESHOLD] = threshold;
}

/* Rows first, all of them below delta / sqrt(columns); then the whole, below delta / sqrt(elements). */
static ct_radial_mode choose(const ct_optimizer_tensor *t, const ct_radial_options *o,
                             ct_measures *measured) {
    double rows = o->delta / sqrt((double)t->columns), whole = o->delta / sqrt((double)t->count);
    double length = sqrt(measured->sum[1]) * sqrt(measured->sum[2]);
    double cosine = fabs(measured->sum[0]) / fmax(length, o->epsilon);
    ct_radial_mode mode = measured->greatest[0] < rows ? CT_RADIAL_ROWS
                          : cosine < whole             ? CT_RADIAL_WHOLE
                                                       : CT_RADIAL_NONE;
    set_mode(measured, mode, mode == CT_RADIAL_WHOLE ? cosine : measured->greatest[0],
             mode == CT_RADIAL_WHOLE ? whole : rows);
    measured->value[CT_RADIAL_LENGTH] = sqrt(measured->sum[2]);
    return mode;
}

bool ct_radial_decide(const ct_optimizer_range *whole, int pass, ct_measures *measured) {
    const ct_radial_options *o = whole->options;
    if (pass == 0) { /* vectors (biases, gains of norms) are never projected */
        set_mode(measured, CT_RADIAL_NONE, NAN, NAN);
        return whole->tensor->ndim > 1 && o->delta > 0;
    }
    if (pass == 1) {
        ct_radial_mode mode = choose(whole->tensor, o, measured);
        if (mode != CT_RADIAL_NONE) measured->decay_scale *= o->wd_ratio;
        return mode == CT_RADIAL_WHOLE;
    }
    /* Mode WHOLE: what of w is taken from the update, <w, q> / (|w| + epsilon)^2. */
    double length = measured->value[CT_RADIAL_LENGTH] + o->epsilon;
    measured->value[CT_RADIAL_LENGTH] = measured->sum[0] / (length * length);
    return false;
}

/* What of row w is to be taken from q: <w, q> / (|w| + epsilon)^2. */
static double share(int64_t n, const float *w, const float *q, double epsilon) {
    ct_products p = product_and_length(n, w, q);
    double length = sqrt(p.x) + epsilon;
    return p.product / (length * length);
}

void ct_radial_remove(const ct_optimizer_range *r) {
    double epsilon = ((const ct_radial_options *)r->options)->epsilon;
    const ct_kernels_f32 *k = &ct_cpu_kernels()->f32;
    ct_radial_mode mode = (ct_radial_mode)r->measured->value[CT_RADIAL_MODE];
    int64_t n = r->tensor->columns;
    if (mode == CT_RADIAL_WHOLE)
        k->axpy(r->count, (float)-r->measured->value[CT_RADIAL_LENGTH], r->weight, r->update);
    for (int64_t row = 0; mode == CT_RADIAL_ROWS && row < r->rows; row++) {
        const float *w = r->weight + row * n;
        float *q = r->update + row * n;
        k->axpy(n, (float)-share(n, w, q, epsilon), w, q);
    }
}

/* w (1 - decay) - rate (q - share w) in one pass. */
void ct_radial_apply(const ct_optimizer_range *r) {
    double epsilon = ((const ct_radial_options *)r->options)->epsilon;
    const ct_kernels_f32 *k = &ct_cpu_kernels()->f32;
    double keep = 1 - r->learning_rate * r->weight_decay * r->measured->decay_scale;
    bool rows = r->measured->value[CT_RADIAL_MODE] == CT_RADIAL_ROWS;
    int64_t n = r->tensor->columns;
    if (!rows) k->axpby(r->count, (float)-r->learning_rate, r->update, (float)keep, r->weight_out);
    for (int64_t row = 0; rows && row < r->rows; row++) {
        float *w = r->weight_out + row * n, *q = r->update + row * n;
        double radial = r->learning_rate * share(n, w, q, epsilon);
        k->axpby(n, (float)-r->learning_rate, q, (float)(keep + radial), w);
    }
}

const char *const ct_radial_statistics[] = {"mode", "max_cos", "threshold", NULL};
static const char *const mode_words[] = {"none", "rows", "whole", NULL};
const char *const *const ct_radial_words[] = {mode_words, NULL, NULL};

void ct_radial_report(const ct_optimizer_range *whole, double *values) {
    for (int i = 0; i < 3; i++)
        values[i] = whole->measured->value[i];
}
