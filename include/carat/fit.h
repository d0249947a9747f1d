/* fit.h - curves through measured losses: what is left when data, parameters or members grow without bound.
 */
#ifndef CARAT_FIT_H
#define CARAT_FIT_H

#include <carat/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* loss(x) = A / x^alpha + E, all three positive. Least Huber loss of the logarithm of the loss (Hoffmann et
 * al., arXiv:2203.15556, section 3.3), from many starts. */
typedef struct ct_asymptote {
    double a, alpha, e;
    double residual; /* root mean square of log(fitted) - log(measured) */
    double low,
        high; /* of e: percentiles 2.5 and 97.5 of fits to resampled runs; NAN without repeated runs */
    double alpha_low, alpha_high;
    int sizes, runs; /* different x, and all of them */
    double gain;     /* lowest mean loss of an x, less e */
    bool uncertain;  /* e is not settled: high - low is more than the gain, or e is below a hundredth of the
                        lowest mean loss, so that the losses have not begun to level off */
} ct_asymptote;

typedef struct ct_fit_options {
    double delta;      /* where the Huber loss becomes linear, in log(loss) */
    int64_t resamples; /* of the runs at each x; 0: no interval */
    int64_t seed;
} ct_fit_options;
extern const ct_option ct_fit_table[];

enum { CT_FIT_SIZES = 4 }; /* different x that a fit needs */

/* `count` runs (x[i], loss[i]); several with the same x are of different seeds. Refused: fewer than
 * CT_FIT_SIZES different x, numbers that are not positive and finite, a loss that does not fall from the
 * lowest x to the highest. */
ct_status ct_fit_asymptote(ct_context *context, const double *x, const double *loss, int64_t count,
                           const ct_fit_options *options, ct_asymptote *result);
double ct_asymptote_at(const ct_asymptote *fit, double x);
/* The x at which the fit has that loss: INFINITY at or below the asymptote. */
double ct_asymptote_inverse(const ct_asymptote *fit, double loss);

/* Runs from a CSV file with a line of column names: values[i] of *count lines for each column that is named, at
 * most CT_FIT_COLUMNS. Numbers only; free each with ct_free. */
enum { CT_FIT_COLUMNS = 8 };
ct_status ct_fit_read_columns(ct_context *context, const char *path, const char *const *columns, int column_count,
                              double **values, int64_t *count);
/* Two of them. */
ct_status ct_fit_read(ct_context *context, const char *path, const char *x_column, const char *loss_column,
                      double **x, double **loss, int64_t *count);

#ifdef __cplusplus
}
#endif
#endif
