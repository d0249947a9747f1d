/* plugin_norm.c - a norm of one's own, outside Carat: each token is divided by the mean absolute value of its channels,
 * y = g x / (mean |x| + eps), RMSNorm with another mean.
 *
 *     cc -O2 -shared -fPIC $(pkg-config --cflags carat) plugin_norm.c -o l1norm.so $(pkg-config --libs carat)
 *     carat train recipe.yaml --plugin l1norm.so model.norm.name=l1norm */
#include <carat.h>

typedef struct l1norm_options {
    double eps;
} l1norm_options;

static const ct_option options[] = {
    CT_OPTION_REAL("eps", l1norm_options, eps, 1e-6, 0, 1, "added to the mean"), CT_OPTION_END};

/* Declared, not allocated: it becomes a slot of the module, is trained, saved and counted from here. */
static const ct_norm_tensor tensors[] = {
    {.name = "weight", .shape = CT_NORM_PER_CHANNEL, .fill = CT_FILL_ONES, .dtype = CT_F32}, {.name = NULL}};

/* x [..., width] -> the same. Differentiable operations: there is no backward pass to write. */
static ct_tensor *l1norm_forward(const ct_norm_call *call, ct_tensor *x) {
    const l1norm_options *o = call->options;
    ct_tensor *mean = ct_mean(ct_abs(x), 1, (const int[]){-1}, true);
    return ct_mul(ct_div(x, ct_add_scalar(mean, o->eps)), call->tensors[0]);
}

static const ct_norm_method l1norm = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_norm_method),
               .name = "l1norm",
               .title = "L1 norm",
               .summary = "Divides every token by the mean absolute value of its channels. An example of a norm in a "
                          "plug-in.",
               .options = options,
               .options_size = sizeof(l1norm_options)},
    .tensors = tensors,
    .forward = l1norm_forward};

ct_status carat_plugin(ct_context *context) { return ct_method_register(context, "norm", &l1norm.method); }
