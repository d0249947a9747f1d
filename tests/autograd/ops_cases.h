/* ops_cases.h - every differentiable operation of ops.h as a function of f64 (or f32) inputs, with ranges
 * that keep away from kinks: the gradient checks and the comparison of fused with composed gradients run over
 * this table. */
#ifndef CARAT_TESTS_AUTOGRAD_OPS_CASES_H
#define CARAT_TESTS_AUTOGRAD_OPS_CASES_H

#include <carat/autograd.h>
#include <carat/ops.h>

enum { OPS_CASE_INPUTS = 4 };

/* Uniform in [low, high); in halves of opposite sign if `both` (magnitudes in [low, high)). */
typedef struct ops_input {
    int ndim;
    int64_t shape[4];
    double low, high;
    bool both;
} ops_input;

typedef struct ops_case {
    const char *operation; /* its name in ops.h, without ct_ */
    const char *variant;
    ct_tensor *(*function)(void *user, ct_tensor *const *x);
    ops_input inputs[OPS_CASE_INPUTS]; /* those after the last have ndim -1 or shape 0 */
    int count;
    double tolerance; /* of the gradient checks; 0: 1e-6 */
} ops_case;

extern const ops_case ops_cases_elementwise[], ops_cases_shape[], ops_cases_network[];
extern const int ops_cases_elementwise_count, ops_cases_shape_count, ops_cases_network_count;

/* Case number i of the three tables, NULL after the last. */
const ops_case *ops_case_at(int i);

/* Leaves for a case, in the innermost scope: `dtype` f64 or f32, each with its axes reversed in memory order
 * if `reversed` (then ops_case_call turns them back, so that the function sees odd strides). */
void ops_case_inputs(ct_context *context, const ops_case *c, ct_dtype dtype, bool reversed,
                     ct_tensor **inputs);
typedef struct ops_call {
    const ops_case *c;
    bool reversed;
} ops_call;
/* A ct_check_function; user is an ops_call. */
ct_tensor *ops_case_call(void *user, ct_tensor *const *inputs);

#define OPS_FUNCTION(name, expression)                                                                       \
    static ct_tensor *name(void *user, ct_tensor *const *x) {                                                \
        (void)user;                                                                                          \
        return expression;                                                                                   \
    }
/* i64 constants for index operands. */
ct_tensor *ops_ids(ct_tensor *like, int ndim, const int64_t *shape, const int64_t *values);
/* A u8 mask. */
ct_tensor *ops_mask(ct_tensor *like, int ndim, const int64_t *shape, const uint8_t *values);

#endif
