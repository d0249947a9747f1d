/* abc.c - the classification of abc-parametrizations: Yang & Hu, arXiv:2011.14522, definition 3.1 and
 * theorems 3.2 to 3.4, for L hidden layers and SGD. */
#include <carat/parametrization.h>
#include <math.h>

static const double close_to = 1e-9;

static void violate(ct_abc_verdict *v, bool holds, const char *inequality, double found) {
    if (holds || *v->violated) return;
    snprintf(v->violated, sizeof(v->violated), "%s, but it is %g", inequality, found);
}

static bool is(double x, double y) {
    return fabs(x - y) < close_to;
}
static bool at_least(double x, double y) {
    return x > y - close_to;
}

ct_abc_verdict ct_abc_judge(const ct_abc *e, bool hidden) {
    ct_abc_verdict v = {0};
    const double *a = e->a, *b = e->b;
    double first = 2 * a[0] + 1, inner = hidden ? 2 * a[1] : INFINITY; /* 2 a_l + [l = 1] */
    double last = fmin(a[2] + b[2], 2 * a[2] + e->c);
    v.r = last + e->c - 1 + fmin(first, inner);
    violate(&v, is(a[0] + b[0], 0), "a_1 + b_1 must be 0", a[0] + b[0]);
    if (hidden) violate(&v, is(a[1] + b[1], 0.5), "a_l + b_l must be 1/2 in hidden layers", a[1] + b[1]);
    violate(&v, at_least(a[2] + b[2], 0.5), "a_{L+1} + b_{L+1} must be at least 1/2", a[2] + b[2]);
    violate(&v, at_least(v.r, 0), "r must be at least 0", v.r);
    violate(&v, at_least(2 * a[2] + e->c, 1), "2 a_{L+1} + c must be at least 1", 2 * a[2] + e->c);
    violate(&v, at_least(a[2] + b[2] + v.r, 1), "a_{L+1} + b_{L+1} + r must be at least 1",
            a[2] + b[2] + v.r);
    v.stable = !*v.violated;
    v.nontrivial = v.stable && (is(a[2] + b[2] + v.r, 1) || is(2 * a[2] + e->c, 1));
    v.feature_learning = v.nontrivial && is(v.r, 0);
    v.kernel_regime = v.nontrivial && v.r > close_to;
    return v;
}
