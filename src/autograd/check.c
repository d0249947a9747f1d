/* check.c - comparing rules with central differences, first and second order. */
#include "autograd/graph.h"
#include <carat/ops.h>
#include <math.h>

typedef struct check {
    ct_context *context;
    ct_check_function function;
    void *user;
    ct_tensor *const *inputs;
    int count;
    bool second;
} check;

/* Fixed weights in [0.5, 1.5), so that no direction of the result is lost. */
static ct_tensor *projection(ct_context *context, ct_tensor *of, uint64_t stream) {
    ct_random random = ct_random_make(20201, stream);
    return ct_random_uniform_tensor(context, CT_F64, ct_ndim(of), ct_shape(of), 0.5, 1.5, &random);
}

static ct_tensor *projected(check *c, ct_tensor *value, uint64_t stream) {
    return ct_sum_all(ct_mul(value, projection(c->context, value, stream)));
}

/* The scalar that is differentiated: a projection of the result, or of its gradient. */
static ct_tensor *objective(check *c, bool record) {
    ct_tensor *value = projected(c, c->function(c->user, c->inputs), 1);
    if (!c->second) return value;
    ct_tensor *gradients[16], *sum = NULL;
    int flags = CT_GRAD_ALLOW_UNUSED | (record ? CT_GRAD_RECORD : 0);
    if (ct_grad(&value, 1, NULL, c->inputs, c->count, gradients, flags) != CT_OK) return value;
    for (int i = 0; i < c->count; i++) {
        if (!gradients[i]) continue;
        ct_tensor *term = projected(c, gradients[i], 2 + (uint64_t)i);
        sum = sum ? ct_add(sum, term) : term;
    }
    return sum ? sum : ct_scalar(c->context, CT_F64, 0.0);
}

static double objective_at(check *c) {
    double value = NAN;
    ct_scope scope = ct_scope_open(c->context);
    bool before = ct_grad_mode_set(c->context, c->second);
    ct_item(objective(c, false), &value);
    ct_grad_mode_set(c->context, before);
    ct_scope_close(c->context, scope);
    return value;
}

static void compare(double analytic, double numeric, double scale, double *worst) {
    double size = fmax(fmax(fabs(analytic), fabs(numeric)), fmax(1e-3 * scale, 1e-6));
    double error = fabs(analytic - numeric) / size;
    if (!(error <= *worst)) *worst = error; /* NaN counts as worst */
}

static ct_status check_input(check *c, ct_tensor *input, ct_tensor *gradient, double epsilon, double *worst) {
    int64_t count = ct_count(input);
    double *numeric = ct_alloc(c->context, 2 * (size_t)count * sizeof(double), CT_MEMORY_OTHER);
    if (!numeric) return CT_ERROR_MEMORY;
    double *analytic = numeric + count, scale = 0;
    for (int64_t i = 0; i < count; i++) analytic[i] = 0;
    if (gradient) ct_read(gradient, CT_F64, analytic);
    for (int64_t i = 0; i < count && !ct_failed(c->context); i++) {
        double *element = (double *)ct_data_mutable(input) + i, value = *element;
        *element = value + epsilon;
        double above = objective_at(c);
        *element = value - epsilon;
        double below = objective_at(c);
        *element = value;
        numeric[i] = (above - below) / (2 * epsilon);
        scale = fmax(scale, fabs(numeric[i]));
    }
    for (int64_t i = 0; i < count; i++) compare(analytic[i], numeric[i], scale, worst);
    ct_free(c->context, numeric);
    return ct_context_status(c->context);
}

ct_status ct_gradient_check(ct_context *context, ct_check_function function, void *user, ct_tensor *const *inputs,
                            int input_count, double epsilon, bool second_order, double *worst) {
    *worst = 0;
    if (ct_failed(context)) return ct_context_status(context);
    if (input_count < 1 || input_count > 16)
        return ct_fail(context, CT_ERROR_ARGUMENT, "gradient_check: %d inputs, expected 1 to 16", input_count);
    for (int i = 0; i < input_count; i++) {
        if (ct_dtype_of(inputs[i]) != CT_F64 || !ct_is_contiguous(inputs[i]))
            return ct_fail(context, CT_ERROR_TYPE, "gradient_check: input %d is not a contiguous f64 tensor", i);
        ct_require_grad(inputs[i], true);
    }
    check c = {context, function, user, inputs, input_count, second_order};
    ct_scope scope = ct_scope_open(context);
    ct_tensor *gradients[16] = {NULL}, *value = objective(&c, true);
    if (ct_requires_grad(value)) ct_grad(&value, 1, NULL, inputs, input_count, gradients, CT_GRAD_ALLOW_UNUSED);
    for (int i = 0; i < input_count && !ct_failed(context); i++)
        check_input(&c, inputs[i], gradients[i], epsilon, worst);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}
