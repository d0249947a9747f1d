/* operation.c - an operation from outside the engine: the cube root, with gradients of any order. */
#include <carat.h>
#include <math.h>

/* dL/dx = dL/dy / (3 y^2). Written with differentiable operations and the saved result, so that it can itself
 * be differentiated. */
static void cube_root_vjp(const ct_vjp *call, ct_tensor **input_gradients) {
    ct_tensor *y = ct_saved(call, 0);
    input_gradients[0] = ct_div(call->output_gradients[0], ct_mul_scalar(ct_square(y), 3));
}

static const ct_rule cube_root_rule = {.name = "cube_root", .vjp = cube_root_vjp};

/* The forward pass writes a fresh tensor of x's shape. f32 and f64. */
static ct_tensor *cube_root(ct_tensor *x) {
    ct_context *context = ct_context_of(x);
    ct_dtype dtype = ct_dtype_of(x);
    char text[160];
    if (dtype != CT_F32 && dtype != CT_F64)
        ct_fail(context, CT_ERROR_TYPE, "cube_root: x is %s, expected f32 or f64",
                ct_describe(x, text, sizeof(text)));
    x = ct_contiguous(x);
    ct_tensor *y = ct_empty_like(x);
    const void *from = ct_data(x); /* NULL on the meta device and after an error */
    void *to = ct_data_mutable(y);
    for (int64_t i = 0; from && to && i < ct_count(x); i++) {
        if (dtype == CT_F64)
            ((double *)to)[i] = cbrt(((const double *)from)[i]);
        else
            ((float *)to)[i] = cbrtf(((const float *)from)[i]);
    }
    ct_node *node = ct_record(context, &cube_root_rule, &x, 1, &y, 1, NULL);
    if (node) ct_save_output(node, 0, y);
    return y;
}

static ct_tensor *checked(void *user, ct_tensor *const *inputs) {
    (void)user;
    return cube_root(inputs[0]);
}

/* Compares the rule with central differences: `order` 1 or 2. The worst relative difference, NAN after an
 * error. */
static double cube_root_check(ct_context *context, int order) {
    ct_scope scope = ct_scope_open(context);
    double worst = NAN;
    ct_tensor *x = ct_from_data(context, CT_F64, CT_DIMS(2, 3), (const double[]){-8, -1, -0.3, 0.5, 2, 27});
    ct_require_grad(x, true);
    if (ct_gradient_check(context, checked, NULL, &x, 1, 1e-5, order == 2, &worst) != CT_OK) worst = NAN;
    ct_scope_close(context, scope);
    return worst;
}
