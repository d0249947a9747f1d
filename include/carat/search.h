/* search.h - finding good settings by running them. */
#ifndef CARAT_SEARCH_H
#define CARAT_SEARCH_H

#include <carat/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Coordinate descent on powers of a factor, as the data-constrained recipe tunes rate, epochs and decay
 * together (Kim et al., arXiv:2509.14786): from a start, one coordinate at a time is multiplied or divided by
 * the factor as long as the loss falls, until no single change of a factor improves. No point is evaluated
 * twice. */
enum { CT_DESCENT_COORDINATES = 8 };
typedef struct ct_descent_options {
    double factor;       /* above 1 */
    int64_t evaluations; /* at most */
} ct_descent_options;
extern const ct_option ct_descent_table[];

/* The loss at a point. NAN counts as worst. Anything but CT_OK ends the search with that error. */
typedef ct_status (*ct_descent_loss)(void *user, const double *values, double *loss);

typedef struct ct_descent_result {
    double values[CT_DESCENT_COORDINATES], loss;
    int64_t evaluations;
    bool settled; /* no single change improves; false: the evaluations were used up */
} ct_descent_result;
/* `start` has `count` positive values. */
ct_status ct_descend(ct_context *context, const double *start, int count, const ct_descent_options *options,
                     ct_descent_loss loss, void *user, ct_descent_result *result);

/* Tunes numbers of a training recipe together by coordinate descent on the held-out loss at the end of a run:
 * from the recipe's own values, each run in a folder of its own below output_dir, named after its values. A
 * run that was finished or interrupted before is taken up with --resume's checks, so that the same call goes
 * on where it was stopped (CT_ERROR_INTERRUPTED without a recorded error). A run that diverges counts as
 * worst. tune.csv in output_dir has a line for each run. `keys` are dotted keys of numbers above 0; whole
 * numbers are rounded. `best` (may be NULL) becomes the best run's folder, a new string. */
ct_status ct_tune(ct_context *context, const ct_value *recipe, const char *const *keys, int count,
                  const ct_descent_options *options, ct_descent_result *result, char **best);

#ifdef __cplusplus
}
#endif
#endif
