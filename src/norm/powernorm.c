/* powernorm.c - power normalisation (Shen et al., algorithm 2): each channel is divided by the root of its
 * running mean square over the tokens, without a mean; the backward pass is an approximation with a running
 * term of its own. forward:   xhat = x / sqrt(psi2 + eps), y = g xhat + b; psi2 goes on towards the batch's
 * mean square backward:  h = g dy - nu xhat with nu = (1 - alpha_bwd) acc, acc += mean(h xhat), dx = h /
 * sqrt(psi2 + eps) For the first `warmup` passes the batch's own mean square takes the place of psi2. In the
 * mode `v` (the paper's PN-V) it always does, and the gradient is exact. */
#include "norm/batch.h"
#include <carat/autograd.h>
#include <math.h>

typedef struct powernorm_options {
    ct_norm_affine affine;
    double alpha_fwd, alpha_bwd;
    int64_t warmup, groups;
    int mode, backward;
    bool sync;
} powernorm_options;

static const char *const modes[] = {"pn", "v", NULL}, *const backwards[] = {"running", "batch", NULL};
enum { MODE_PN, MODE_V };
enum { BACKWARD_RUNNING, BACKWARD_BATCH };

static const ct_option options[] = {
    CT_NORM_EPS(1e-5),
    CT_NORM_AFFINE(true),
    CT_NORM_BIAS(true, "add a bias"),
    CT_OPTION_REAL("alpha_fwd", powernorm_options, alpha_fwd, 0.9, 0, 0.999999,
                   "decay of the running mean square"),
    CT_OPTION_REAL("alpha_bwd", powernorm_options, alpha_bwd, 0.9, 0, 1,
                   "decay of the running term of the gradient; 1: none"),
    CT_OPTION_INT("warmup", powernorm_options, warmup, 10000, 0, 1e15,
                  "forward passes that use the batch's own statistics"),
    CT_OPTION_INT("groups", powernorm_options, groups, 1, 0, 1e6,
                  "layer scale: every token is first divided by the root mean square of its channels in so "
                  "many groups; "
                  "0: it is not"),
    CT_OPTION_CHOICE("mode", powernorm_options, mode, "pn", modes,
                     "pn: running statistics; v: the batch's, with the exact gradient"),
    CT_OPTION_CHOICE(
        "bwd", powernorm_options, backward, "running", backwards,
        "what divides the gradient: what divided the input (the paper), or the batch's root mean square "
        "(the authors' code)"),
    CT_NORM_SYNC(powernorm_options),
    CT_OPTION_END};

enum { WEIGHT, BIAS, PSI, ACC, PASSES };

/* The buffers' names are those of the authors' code. */
static const ct_norm_tensor tensors[] = {{"weight", CT_NORM_PER_CHANNEL, CT_FILL_ONES, false, CT_F32},
                                         {"bias", CT_NORM_PER_CHANNEL, CT_FILL_ZEROS, false, CT_F32},
                                         {"running_phi", CT_NORM_PER_CHANNEL, CT_FILL_ONES, true, CT_F32},
                                         {"ema_gz", CT_NORM_PER_CHANNEL, CT_FILL_ZEROS, true, CT_F32},
                                         {"iters", CT_NORM_ONE, CT_FILL_ZEROS, true, CT_I64},
                                         {NULL, CT_NORM_ONE, CT_FILL_ZEROS, false, CT_F32}};

static ct_status check(ct_context *context, const void *given, int64_t width) {
    const powernorm_options *o = given;
    if (o->groups == 0 || width % o->groups == 0) return CT_OK;
    return ct_fail(context, CT_ERROR_ARGUMENT, "powernorm: %lld channels cannot be split in %lld groups",
                   (long long)width, (long long)o->groups);
}

static int64_t whole(const void *given) {
    return ((const powernorm_options *)given)->sync ? CT_ROWS_STEP : CT_ROWS_WHOLE;
}

/* ------------------------------------------------------------------------ the approximate backward pass */

/* Held by the node: the running term that a backward pass changes, and whether it does. */
typedef struct power_attributes {
    ct_tensor *acc;
    double alpha, share; /* share: 1 / tokens that count */
    bool padded;
} power_attributes;

static void power_release(void *given) {
    ct_drop(((power_attributes *)given)->acc);
}

/* Saved: x, 1/sqrt(forward statistic), 1/sqrt(backward statistic), the gain if there is one, counts if
 * padded. */
static void power_vjp(const ct_vjp *call, ct_tensor **gradients) {
    const power_attributes *a = call->attributes;
    if (call->recording) {
        ct_fail(call->context, CT_ERROR_UNSUPPORTED,
                "powernorm uses an approximate backward; second derivatives are undefined");
        return;
    }
    int axis = 0, at = 3;
    ct_tensor *dy = call->output_gradients[0], *x = ct_saved(call, 0);
    ct_tensor *xhat = ct_mul(x, ct_saved(call, 1));
    bool has_gain = ct_operand_ndim(call, 1) > 0;
    ct_tensor *gain = has_gain ? ct_saved(call, at++) : NULL, *counts = a->padded ? ct_saved(call, at) : NULL;
    if (has_gain && call->wanted[1])
        gradients[1] = ct_cast(ct_sum(ct_mul(dy, xhat), 1, &axis, false), ct_operand_dtype(call, 1));
    if (!call->wanted[0]) return;
    ct_tensor *h = gain ? ct_mul(dy, gain) : dy;
    h = ct_sub(h, ct_mul(xhat, ct_mul_scalar(a->acc, 1 - a->alpha)));
    if (counts) h = ct_mul(h, counts);
    gradients[0] = ct_mul(h, ct_saved(call, 2));
    ct_add_into(a->acc, ct_sum(ct_mul(h, xhat), 1, &axis, false), a->share);
}

static const ct_rule power_rule = {.name = "powernorm",
                                   .vjp = power_vjp,
                                   .attribute_size = sizeof(power_attributes),
                                   .release = power_release};

/* gain x scale, x [tokens, width], scale [width]; its gradient is the approximation above. */
static ct_tensor *power(const ct_norm_call *call, const ct_norm_tokens *tokens, ct_tensor *scale,
                        ct_tensor *backward_scale) {
    const powernorm_options *o = call->options;
    ct_context *context = call->context;
    ct_tensor *gain = call->tensors[WEIGHT], *x = tokens->x;
    bool before = ct_grad_mode_set(context, false);
    ct_tensor *y = ct_mul(x, scale);
    if (gain) y = ct_mul(y, gain);
    ct_grad_mode_set(context, before);
    ct_tensor *const operands[2] = {x, gain};
    power_attributes attributes = {call->tensors[ACC], o->alpha_bwd,
                                   tokens->count > 0 ? 1 / tokens->count : 0, tokens->counts != NULL};
    ct_node *node = ct_record(context, &power_rule, operands, 2, &y, 1, &attributes);
    if (!node) return y;
    ct_hold(attributes.acc);
    ct_save_operand(node, 0, x);
    ct_save_value(node, scale);
    ct_save_value(node, backward_scale);
    if (gain) ct_save_operand(node, 1, gain);
    if (tokens->counts) ct_save_value(node, tokens->counts);
    return y;
}

/* ------------------------------------------------------------------------------------------------ forward */

/* x / sqrt(mean over the channels of its group (x^2) + eps), token by token. */
static ct_tensor *layer_scale(const ct_norm_call *call, ct_tensor *x) {
    const powernorm_options *o = call->options;
    if (o->groups == 0) return x;
    int64_t group = call->width / o->groups;
    ct_tensor *rows = ct_reshape(x, CT_DIMS(ct_count(x) / group, group));
    return ct_reshape(ct_rms_norm(rows, NULL, o->affine.eps), ct_ndim(x), ct_shape(x));
}

static ct_tensor *root(ct_tensor *square, double eps) {
    return ct_rsqrt(ct_add_scalar(square, eps));
}

/* In the warm-up first the mean over all passes, then the moving average on top of it, as the reference has
 * it. */
static void update(const ct_norm_call *call, ct_tensor *square, int64_t pass) {
    const powernorm_options *o = call->options;
    if (pass > 0 && pass < o->warmup) ct_norm_run_towards(call->tensors[PSI], square, 1.0 / (double)pass);
    ct_norm_run_towards(call->tensors[PSI], square, 1 - o->alpha_fwd);
}

static ct_tensor *train(const ct_norm_call *call, ct_tensor *given) {
    const powernorm_options *o = call->options;
    ct_norm_tokens tokens = ct_norm_tokens_of(call, layer_scale(call, given));
    ct_tensor *square = ct_norm_token_mean(&tokens, ct_square(tokens.x)), *y;
    if (tokens.count < 1) {
        if (!*call->told)
            ct_log_message(call->context, CT_LOG_WARNING,
                           "%s: powernorm: a batch of padding alone; the statistics are left as they are",
                           call->where);
        *call->told = true;
    }
    bool counts = tokens.count >= 1;
    int64_t pass = call->update && counts ? ct_norm_advance(call->tensors[PASSES]) : 0;
    if (o->mode == MODE_V) {
        y = ct_mul(tokens.x, root(square, o->affine.eps));
        if (call->tensors[WEIGHT]) y = ct_mul(y, call->tensors[WEIGHT]);
    } else {
        bool warm = counts && pass > 0 && pass <= o->warmup;
        ct_tensor *batch = root(ct_detach(square), o->affine.eps);
        ct_tensor *scale = warm ? batch : root(call->tensors[PSI], o->affine.eps);
        y = power(call, &tokens, scale, o->backward == BACKWARD_BATCH && counts ? batch : scale);
    }
    if (call->update && counts) update(call, square, pass);
    y = ct_reshape(y, ct_ndim(given), ct_shape(given));
    return ct_norm_apply_affine(y, NULL, call->tensors[BIAS], ct_dtype_of(given));
}

static ct_tensor *forward(const ct_norm_call *call, ct_tensor *x) {
    const powernorm_options *o = call->options;
    if (call->training) return train(call, x);
    ct_tensor *scale = root(call->tensors[PSI], o->affine.eps);
    if (call->tensors[WEIGHT]) scale = ct_mul(scale, call->tensors[WEIGHT]);
    return ct_norm_apply_affine(layer_scale(call, x), scale, call->tensors[BIAS], ct_dtype_of(x));
}

static ct_status affine(const ct_norm_call *call, ct_tensor **scale, ct_tensor **shift) {
    const powernorm_options *o = call->options;
    if (o->groups > 0)
        return ct_fail(
            call->context, CT_ERROR_UNSUPPORTED,
            "%s: powernorm with layer scale divides every token by itself and cannot be folded; train with "
            "groups 0",
            call->where);
    return ct_norm_running_affine(call, NULL, call->tensors[PSI], o->affine.eps, call->tensors[WEIGHT],
                                  call->tensors[BIAS], scale, shift);
}

const ct_norm_method ct_norm_powernorm = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_norm_method),
         .name = "powernorm",
         .title = "PowerNorm",
         .paper = {"arXiv:2003.07845", "Shen, Yao, Gholami, Mahoney & Keutzer, ICML 2020"},
         .summary =
             "Batch statistics that train transformers: the running mean square of each channel, without a "
             "mean. After training it folds into the next linear layer.",
         .options = options,
         .options_size = sizeof(powernorm_options)},
    .tensors = tensors,
    .present = ct_norm_affine_present,
    .check = check,
    .rows_together = whole,
    .reads_what_it_changes = true,
    .forward = forward,
    .affine = affine};
