/* recurrent.c - a recurrent layer over a sequence: LSTM, GRU or a plain one as torch has them, or with layer
 * normalisation inside (Ba, Kiros & Hinton, arXiv:1607.06450, section 3 and supplement), whose statistics are
 * over the hidden units of each step, so that any length can be run. s is the logistic function.
 *
 *   lstm     (i, f, g, o) = W_x x + b_x + W_h h + b_h        c' = s(f) c + s(i) tanh(g)
 *            h' = s(o) tanh(c')
 *   lstm-ln  (i, f, g, o) = LN(W_x x) + LN(W_h h) + b, each norm over all four parts
 *            h' = s(o) tanh(LN(c'))
 *   gru      (r, z) = W_x x + b_x + W_h h + b_h              n = tanh(W_x x + b_x + s(r) (W_h h + b_h))
 *            h' = (1 - s(z)) n + s(z) h
 *   gru-ln   (r, z) = LN(W_x x) + LN(W_h h)                  n = tanh(LN(W_x x) + s(r) LN(W_h h))
 *            h' = (1 - s(z)) h + s(z) n, as the paper writes it
 *   rnn      h' = tanh(W_x x + b_x + W_h h + b_h)
 *   rnn-ln   h' = tanh(LN(W_x x + W_h h)), equation 4 */
#include "nn/layers.h"
#include "nn/run.h"
#include <carat/norm.h>
#include <math.h>

typedef struct recurrent_options {
    int64_t in, hidden;
    int cell;
    double eps;
} recurrent_options;

enum { LSTM, LSTM_LN, GRU, GRU_LN, RNN, RNN_LN };
const char *const ct_cell_names[] = {"lstm", "lstm-ln", "gru", "gru-ln", "rnn", "rnn-ln", NULL};

static const ct_option recurrent_table[] = {
    CT_OPTION_INT("in", recurrent_options, in, 1, 1, 1e9, "channels of the input"),
    CT_OPTION_INT("hidden", recurrent_options, hidden, 1, 1, 1e8, "channels of the state and the output"),
    CT_OPTION_CHOICE("cell", recurrent_options, cell, "lstm", ct_cell_names,
                     "which; -ln: with layer normalisation"),
    CT_OPTION_REAL("eps", recurrent_options, eps, 1e-5, 0, 1, "-ln: added to the variance"), CT_OPTION_END};

static bool is_lstm(const recurrent_options *o) {
    return o->cell == LSTM || o->cell == LSTM_LN;
}
static bool is_normed(const recurrent_options *o) {
    return o->cell == LSTM_LN || o->cell == GRU_LN || o->cell == RNN_LN;
}
static bool is_plain(const recurrent_options *o) {
    return o->cell == RNN || o->cell == RNN_LN;
}
/* How many times `hidden` numbers a step has before its nonlinearities. */
static int64_t parts_of(const recurrent_options *o) {
    return is_lstm(o) ? 4 : is_plain(o) ? 1 : 3;
}

/* ---------------------------------------------------------------------------------------------- building */

static void add_norm(ct_module *module, const char *name, int64_t width, double eps) {
    ct_value *options = ct_value_map(module->context);
    if (options) ct_value_set(options, "eps", ct_value_real(module->context, eps));
    ct_norm_add(module, name, "layernorm", width, options);
    ct_value_free(options);
}

static void add_vector(ct_module *module, const char *name, int64_t size, double scale) {
    ct_module_slot(module, name, 1, &size,
                   (ct_slot_options){.fill = scale > 0 ? CT_FILL_UNIFORM : CT_FILL_ZEROS,
                                     .scale = scale,
                                     .no_decay = true});
}

/* weight_ih [parts * hidden, in], weight_hh [parts * hidden, hidden]: parts i f g o, or r z n, or one. */
static ct_status recurrent_build(ct_module *module) {
    const recurrent_options *o = ct_module_options(module);
    int64_t h = o->hidden, all = parts_of(o) * h, gates = is_lstm(o) ? all : 2 * h;
    double bound = 1 / sqrt((double)h);
    ct_slot_options weight = {.fill = CT_FILL_UNIFORM, .scale = bound};
    ct_module_slot(module, "weight_ih", 2, (const int64_t[]){all, o->in}, weight);
    ct_module_slot(module, "weight_hh", 2, (const int64_t[]){all, h}, weight);
    if (!is_normed(o)) {
        add_vector(module, "bias_ih", all, bound);
        add_vector(module, "bias_hh", all, bound);
        return ct_context_status(module->context);
    }
    if (is_plain(o)) {
        add_norm(module, "ln", h, o->eps);
        return ct_context_status(module->context);
    }
    if (is_lstm(o)) add_vector(module, "bias", all, 0);
    add_norm(module, "ln_ih", gates, o->eps);
    add_norm(module, "ln_hh", gates, o->eps);
    add_norm(module, is_lstm(o) ? "ln_c" : "ln_in", h, o->eps);
    if (!is_lstm(o)) add_norm(module, "ln_hn", h, o->eps);
    return ct_context_status(module->context);
}

/* ----------------------------------------------------------------------------------------------- running */

typedef struct cell {
    ct_run *run;
    ct_module *module;
    const recurrent_options *options;
    ct_tensor *weight_hh, *bias_hh, *bias; /* NULL where they do not exist */
    ct_tensor *inputs;                     /* [batch, time, parts * hidden]: what x gives to every step */
} cell;

static ct_tensor *part(ct_tensor *x, int64_t index, int64_t count, int64_t hidden) {
    return ct_slice(x, -1, index * hidden, (index + count) * hidden, 1);
}

static ct_tensor *one_less(ct_tensor *x) {
    return ct_add_scalar(ct_neg(x), 1);
}

static ct_tensor *norm(const cell *k, int child, ct_tensor *x) {
    return ct_forward1(k->run, k->module->children[child], x);
}

static ct_tensor *lstm_step(const cell *k, ct_tensor *a, ct_tensor *h, ct_tensor **c) {
    int64_t n = k->options->hidden;
    ct_tensor *b = ct_linear(h, k->weight_hh, k->bias_hh, false, CT_ACT_NONE);
    a = is_normed(k->options) ? ct_add(ct_add(a, norm(k, 1, b)), k->bias) : ct_add(a, b);
    *c = ct_add(ct_mul(ct_sigmoid(part(a, 1, 1, n)), *c),
                ct_mul(ct_sigmoid(part(a, 0, 1, n)), ct_tanh(part(a, 2, 1, n))));
    ct_tensor *seen = is_normed(k->options) ? norm(k, 2, *c) : *c;
    return ct_mul(ct_sigmoid(part(a, 3, 1, n)), ct_tanh(seen));
}

static ct_tensor *gru_step(const cell *k, ct_tensor *a, ct_tensor *h) {
    int64_t n = k->options->hidden;
    bool normed = is_normed(k->options);
    ct_tensor *b = ct_linear(h, k->weight_hh, k->bias_hh, false, CT_ACT_NONE);
    ct_tensor *gates = part(b, 0, 2, n), *candidate = part(b, 2, 1, n);
    if (normed) {
        gates = norm(k, 1, gates);
        candidate = norm(k, 3, candidate);
    }
    gates = ct_sigmoid(ct_add(part(a, 0, 2, n), gates));
    ct_tensor *r = part(gates, 0, 1, n), *z = part(gates, 1, 1, n);
    candidate = ct_tanh(ct_add(part(a, 2, 1, n), ct_mul(r, candidate)));
    return normed ? ct_add(ct_mul(one_less(z), h), ct_mul(z, candidate))
                  : ct_add(ct_mul(one_less(z), candidate), ct_mul(z, h));
}

static ct_tensor *plain_step(const cell *k, ct_tensor *a, ct_tensor *h) {
    a = ct_add(a, ct_linear(h, k->weight_hh, k->bias_hh, false, CT_ACT_NONE));
    return ct_tanh(is_normed(k->options) ? norm(k, 0, a) : a);
}

static ct_tensor *step(const cell *k, ct_tensor *a, ct_tensor *h, ct_tensor **c) {
    if (is_lstm(k->options)) return lstm_step(k, a, h, c);
    return is_plain(k->options) ? plain_step(k, a, h) : gru_step(k, a, h);
}

/* The part that x has in every step, with its norms: they see each step by itself, so all steps at once. */
static ct_tensor *inputs_of(const cell *k, ct_tensor *x, ct_tensor *weight, ct_tensor *bias) {
    int64_t n = k->options->hidden;
    ct_tensor *a = ct_linear(x, weight, bias, false, CT_ACT_NONE);
    if (!is_normed(k->options) || is_plain(k->options)) return a;
    if (is_lstm(k->options)) return norm(k, 0, a);
    ct_tensor *both[] = {norm(k, 0, part(a, 0, 2, n)), norm(k, 2, part(a, 2, 1, n))};
    return ct_concat(both, 2, -1);
}

static ct_tensor *recurrent_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    ct_context *context = module->context;
    const recurrent_options *o = ct_module_options(module);
    ct_tensor *x = inputs[0];
    if (ct_ndim(x) != 3 || ct_dim(x, 2) != o->in || ct_dim(x, 1) < 1) {
        char text[96];
        ct_fail(context, CT_ERROR_SHAPE, "%s: expected [batch, time, %lld], found %s", ct_module_path(module),
                (long long)o->in, ct_describe(x, text, sizeof(text)));
        return x;
    }
    if (ct_run_cache(run) || ct_run_segments(run)) {
        ct_fail(context, CT_ERROR_UNSUPPORTED,
                "%s: a recurrent layer begins with a state of zeros in every pass: it neither goes on from a "
                "cache "
                "(generation token by token) nor begins anew within a row (packing)",
                ct_module_path(module));
        return x;
    }
    int64_t batch = ct_dim(x, 0), time = ct_dim(x, 1);
    cell k = {run, module, o, ct_run_weight(run, &module->slots[1]), NULL, NULL, NULL};
    ct_tensor *bias_ih = NULL;
    if (!is_normed(o)) {
        bias_ih = ct_run_weight(run, &module->slots[2]);
        k.bias_hh = ct_run_weight(run, &module->slots[3]);
    } else if (is_lstm(o)) {
        k.bias = ct_run_weight(run, &module->slots[2]);
    }
    k.inputs = inputs_of(&k, x, ct_run_weight(run, &module->slots[0]), bias_ih);
    ct_tensor **states = ct_alloc(context, (size_t)time * sizeof(ct_tensor *), CT_MEMORY_OTHER);
    ct_tensor *h = ct_zeros(context, ct_dtype_of(x), CT_DIMS(batch, o->hidden)), *c = h;
    for (int64_t t = 0; states && t < time && !ct_failed(context); t++) {
        ct_tensor *a = ct_select(k.inputs, 1, t);
        states[t] = h = step(&k, a, h, &c);
    }
    ct_tensor *y = states && !ct_failed(context) ? ct_stack(states, (int)time, 1) : x;
    ct_free(context, states);
    return y;
}

const ct_module_kind ct_recurrent_kind = {
    .name = "recurrent",
    .summary = "x [batch, time, in] -> the states [batch, time, hidden], from zeros",
    .options = recurrent_table,
    .options_size = sizeof(recurrent_options),
    .build = recurrent_build,
    .forward = recurrent_forward};
