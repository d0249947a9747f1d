/* radial.h - inside optimizer: finding weights whose scale does not matter, and taking the radial part out of
 * an update (Heo et al., arXiv:2006.08217, section 3.2). */
#ifndef CARAT_SRC_OPTIMIZER_RADIAL_H
#define CARAT_SRC_OPTIMIZER_RADIAL_H

#include <carat/optimizer.h>

/* What of a weight is projected. It stands in measures.value[CT_RADIAL_MODE]. */
typedef enum ct_radial_mode { CT_RADIAL_NONE, CT_RADIAL_ROWS, CT_RADIAL_WHOLE } ct_radial_mode;
enum { CT_RADIAL_MODE, CT_RADIAL_COSINE, CT_RADIAL_THRESHOLD, CT_RADIAL_LENGTH };

/* The first member of the options of a method that projects, so that the entries below fit every method. */
typedef struct ct_radial_options {
    double epsilon, delta, wd_ratio;
    bool nesterov;
} ct_radial_options;

#define CT_RADIAL_OPTIONS(epsilon_help, nesterov_help)                                                       \
    CT_OPTION_REAL("epsilon", ct_radial_options, epsilon, 1e-8, 1e-30, 1, epsilon_help),                     \
        CT_OPTION_REAL(                                                                                      \
            "delta", ct_radial_options, delta, 0.1, 0, 1e6,                                                  \
            "a weight is projected if the cosine to its gradient is below delta / sqrt(columns); 0: never"), \
        CT_OPTION_REAL("wd_ratio", ct_radial_options, wd_ratio, 0.1, 0, 1,                                   \
                       "times the weight decay of projected weights"),                                       \
        CT_OPTION_BOOL("nesterov", ct_radial_options, nesterov, false, nesterov_help)

/* For `decide`: whether a further pass is needed. Sets mode and decay_scale (times wd_ratio where it projects). */
bool ct_radial_decide(const ct_optimizer_range *whole, int pass, ct_measures *measured);
/* For `measure`. Pass 0: <g, w>, |g|^2, |w|^2 and the greatest |cos| of a row. Pass 1, only in mode WHOLE: `propose`
 * advances the states and writes the update q; <w, q>. */
void ct_radial_measure(const ct_optimizer_range *range, void (*propose)(const ct_optimizer_range *range));
/* <x, y>, |x|^2, |y|^2 in one pass, to about 1e-7 of |x| |y|. */
typedef struct ct_products {
    double product, x, y;
} ct_products;
ct_products ct_radial_products(int64_t count, const float *x, const float *y);
/* For `fused` in mode ROWS: range->update holds the direction of each row; removes its radial part, decays
 * and applies. */
void ct_radial_apply(const ct_optimizer_range *range);
/* Takes the radial part out of range->update, as the mode says. */
void ct_radial_remove(const ct_optimizer_range *range);

/* "mode" (none, rows, whole), "max_cos", "threshold". */
extern const char *const ct_radial_statistics[];
extern const char *const *const ct_radial_words[];
void ct_radial_report(const ct_optimizer_range *whole, double *values);

#endif
