/* radial.h - inside optimizer: finding weights whose scale does not matter, and taking the radial part out of
 * an update (Heo et al., arXiv:2006.08217, section 3.2). */
#ifndef CARAT_SRC_OPTIMIZER_RADIAL_H
#define CARAT_SRC_OPTIMIZER_RADIAL_H

#include <carat/optimizer.h>

/* What of a weight is projected. It stands in measures.value[CT_RADIAL_MODE]. */
typedef enum ct_radial_mode { CT_RADIAL_NONE, CT_RADIAL_ROWS, CT_RADIAL_WHOLE } ct_radial_mode;
enum { CT_RADIAL_MODE, CT_RADIAL_COSINE, CT_RADIAL_THRESHOLD, CT_RADIAL_LENGTH };

/* For `measure`, pass 0: <g, w>, |g|^2, |w|^2 and the greatest |cos| of a row. */
void ct_radial_measure(const ct_optimizer_range *range, double epsilon);
/* For `decide`: whether a further pass is needed. Sets mode and decay_scale (`decay_scale` where it
 * projects). In mode WHOLE pass 1 is to give <w, q> of the proposed update q in sum[0]. */
bool ct_radial_decide(const ct_optimizer_range *whole, int pass, double delta, double decay_scale,
                      double epsilon, ct_measures *measured);
/* <x, y>, |x|^2, |y|^2 in one pass, to about 1e-7 of |x| |y|. */
typedef struct ct_products {
    double product, x, y;
} ct_products;
ct_products ct_radial_products(int64_t count, const float *x, const float *y);
/* For `fused` in mode ROWS: range->update holds the direction of each row; removes its radial part, decays
 * and applies. */
void ct_radial_apply(const ct_optimizer_range *range, double epsilon);
/* Takes the radial part out of range->update, as the mode says. */
void ct_radial_remove(const ct_optimizer_range *range, double epsilon);

/* "mode" (0 none, 1 rows, 2 whole), "max_cos", "threshold". */
extern const char *const ct_radial_statistics[];
void ct_radial_report(const ct_optimizer_range *whole, double *values);

/* Rows of an option table for a struct with the reals delta and wd_ratio. */
#define CT_RADIAL_OPTIONS(struct_)                                                                           \
    CT_OPTION_REAL(                                                                                          \
        "delta", struct_, delta, 0.1, 0, 1e6,                                                                \
        "a weight is projected if the cosine to its gradient is below delta / sqrt(columns); 0: never"),     \
        CT_OPTION_REAL("wd_ratio", struct_, wd_ratio, 0.1, 0, 1, "times the weight decay of projected weights")

#endif
