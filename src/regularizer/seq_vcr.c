/* seq_vcr.c - Seq-VCR: variance and covariance of hidden states over the batch, at each position by itself
 * (Arefin et al., eq. 3 and 4), against representations that collapse.
 *
 * H [batch N, time T, width d] is the output of a block, projected if asked. With Z_i = H_i - its mean over
 * the batch and C_i = Z_i^T Z_i / (N - 1), the term is 1/(T d) sum over i, k of [ var max(0, 1 -
 * sqrt(C_i[k,k] + eta)) + cov sum over k' != k of C_i[k,k']^2 ] The sum off the diagonal is ||C||^2 - ||diag
 * C||^2, and ||C|| = ||Z Z^T|| / (N - 1), which is smaller when d > N. */
#include <carat/norm.h>
#include <carat/regularizer.h>
#include <math.h>

typedef struct seq_vcr_options {
    double var, cov, eta;
    const ct_value *layers;
    int64_t layer, proj, positions;
    int pool, form;
} seq_vcr_options;

enum { POOL_BATCH, POOL_BOTH };
enum { FORM_AUTO, FORM_DIRECT, FORM_GRAM };
static const char *const pools[] = {"batch", "batch+pos", NULL};
static const char *const forms[] = {"auto", "direct", "gram", NULL};
static const ct_option options[] = {
    CT_OPTION_REAL("var", seq_vcr_options, var, 1, 0, 1e9, "weight of the hinge on deviations below 1"),
    CT_OPTION_REAL("cov", seq_vcr_options, cov, 0.004, 0, 1e9, "weight of the squares of covariances"),
    CT_OPTION_REAL("eta", seq_vcr_options, eta, 0.001, 1e-12, 1, "added to variances before the root"),
    CT_OPTION_INT("layer", seq_vcr_options, layer, -1, -1e6, 1e6,
                  "block whose output is meant, from 0; from the end -1, -2, ..."),
    CT_OPTION_VALUE("layers", seq_vcr_options, layers,
                    "list of such blocks in place of layer; their terms are added"),
    CT_OPTION_INT("proj", seq_vcr_options, proj, 0, 0, 1e6,
                  "width of a trained linear projection before the statistics; 0: none"),
    CT_OPTION_CHOICE("pool", seq_vcr_options, pool, "batch", pools,
                     "over the batch at each position, or one covariance over batch and positions"),
    CT_OPTION_INT("positions", seq_vcr_options, positions, 0, 0, 1e9,
                  "how many positions, drawn anew each step, count; 0: all"),
    CT_OPTION_CHOICE(
        "form", seq_vcr_options, form, "auto", forms,
        "products of channels (direct) or of rows (gram); auto: the smaller. The same but for rounding"),
    CT_OPTION_END};

/* ---------------------------------------------------------------------------------------------- setup */

static ct_status seq_vcr_check(ct_context *context, const void *given) {
    const seq_vcr_options *o = given;
    bool good = ct_value_kind_of(o->layers) == CT_VALUE_NULL ||
                (ct_value_kind_of(o->layers) == CT_VALUE_LIST && ct_value_count(o->layers) > 0);
    for (size_t i = 0; i < ct_value_count(o->layers); i++)
        good = good && ct_value_kind_of(ct_value_at(o->layers, i)) == CT_VALUE_INT;
    if (!good)
        return ct_fail(context, CT_ERROR_ARGUMENT, "seq_vcr.layers: expected a list of numbers of blocks");
    if (o->layer != -1 && ct_value_count(o->layers))
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "seq_vcr: both layer and layers are given, expected one of them");
    if (o->pool == POOL_BOTH && o->positions > 0)
        return ct_fail(
            context, CT_ERROR_ARGUMENT,
            "seq_vcr: positions=%lld with pool=batch+pos: one covariance over all positions has none to draw",
            (long long)o->positions);
    return CT_OK;
}

static int64_t rows_together(const void *given) {
    const seq_vcr_options *o = given;
    return o->var > 0 || o->cov > 0 ? CT_ROWS_WHOLE : CT_ROWS_ANY;
}

static ct_status find_width(void *user, ct_module *module) {
    int64_t *width = user;
    if (*width == 0 && ct_is_norm(module)) *width = ct_norm_width(module);
    return CT_OK;
}

static ct_status seq_vcr_setup(ct_regularizer_setup *setup) {
    const seq_vcr_options *o = setup->options;
    bool list = ct_value_count(o->layers) > 0;
    size_t count = list ? ct_value_count(o->layers) : 1;
    int64_t width = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t layer = list ? ct_value_as_int(ct_value_at(o->layers, i), 0) : o->layer;
        if (ct_regularizer_watch_layer(setup, layer) != CT_OK) return ct_context_status(setup->context);
    }
    if (o->proj == 0) return CT_OK;
    ct_module_visit(ct_model_root(setup->model), find_width, &width);
    if (width == 0)
        return ct_fail(setup->context, CT_ERROR_UNSUPPORTED,
                       "%s.proj: the model has no norm that tells the width of its hidden states",
                       setup->where);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof(name), "proj.%zu", i);
        if (ct_regularizer_parameter(setup, name, CT_DIMS(o->proj, width), 1 / sqrt((double)width)) != CT_OK)
            break;
    }
    return ct_context_status(setup->context);
}

/* ------------------------------------------------------------------------------------------ populations */

/* What covariances are taken of: rows around their mean, for each position, and what sums are divided by. */
typedef struct population {
    ct_tensor *z;       /* [positions, rows, width]; padding is 0 */
    ct_tensor *inverse; /* 1 / (rows that count - 1): [positions, 1, 1] */
    int64_t positions, rows, width;
} population;

/* Rows that count at each position, from a mask [positions, rows] (NULL: all do). */
static void count_rows(const uint8_t *mask, int64_t positions, int64_t rows, int64_t *counts) {
    for (int64_t i = 0; i < positions; i++) {
        counts[i] = mask ? 0 : rows;
        for (int64_t r = 0; mask && r < rows; r++)
            counts[i] += mask[i * rows + r] != 0;
    }
}

/* Positions with at least 2 rows, of these as many as are asked for; their numbers to `chosen` and what sums
 * are divided by to `inverse`. */
static int64_t choose(const ct_regularizer_call *call, const int64_t *counts, int64_t positions,
                      int64_t *chosen, double *inverse) {
    const seq_vcr_options *o = call->options;
    int64_t usable = 0, taken = 0;
    for (int64_t i = 0; i < positions; i++)
        if (counts[i] >= 2) chosen[usable++] = i;
    int64_t wanted = o->positions > 0 && o->positions < usable ? o->positions : usable;
    if (wanted < usable) {
        uint64_t stream = ct_random_stream("seq_vcr.positions");
        ct_random random = ct_random_make(call->seed, stream);
        for (int64_t i = 0; i < usable && taken < wanted; i++) /* in order, each set alike probable */
            if (ct_random_integer(&random, 0, usable - i) < wanted - taken) chosen[taken++] = chosen[i];
    }
    for (int64_t i = 0; i < wanted; i++)
        inverse[i] = 1 / (double)(counts[chosen[i]] - 1);
    return wanted;
}

/* `x` and `mask` without the positions that do not count; *inverse. False: none counts. */
static bool select_positions(const ct_regularizer_call *call, population *p, ct_tensor **x,
                             ct_tensor **mask) {
    ct_context *context = call->context;
    size_t all = (size_t)p->positions;
    int64_t *counts = ct_alloc(context, 2 * all * sizeof(int64_t), CT_MEMORY_WORKSPACE);
    double *inverse = ct_alloc(context, all * sizeof(double), CT_MEMORY_WORKSPACE);
    int64_t taken = 0;
    if (counts && inverse) {
        int64_t *chosen = counts + all;
        count_rows(*mask ? ct_data(*mask) : NULL, p->positions, p->rows, counts);
        taken = choose(call, counts, p->positions, chosen, inverse);
        if (taken > 0 && taken < p->positions) {
            ct_tensor *index = ct_from_data(context, CT_I64, 1, &taken, chosen);
            *x = ct_index_select(*x, 0, index);
            if (*mask) *mask = ct_index_select(*mask, 0, index);
        }
        if (taken > 0)
            p->inverse =
                ct_cast(ct_from_data(context, CT_F64, CT_DIMS(taken, 1, 1), inverse), ct_dtype_of(*x));
    }
    p->positions = taken;
    ct_free(context, inverse);
    ct_free(context, counts);
    return taken > 0 && !ct_failed(context);
}

/* [N, T, ...] as [T, N, ...], or for one covariance over both as [1, N T, ...]. */
static ct_tensor *by_position(ct_tensor *x, bool both, int rest) {
    int64_t width = rest ? ct_dim(x, 2) : 1;
    if (both) return ct_reshape(x, CT_DIMS(1, ct_dim(x, 0) * ct_dim(x, 1), width));
    return rest ? ct_transpose(x, 0, 1) : ct_unsqueeze(ct_transpose(x, 0, 1), 2);
}

static bool populate(const ct_regularizer_call *call, ct_tensor *hidden, population *p) {
    const seq_vcr_options *o = call->options;
    static const int rows = 1;
    bool both = o->pool == POOL_BOTH;
    ct_tensor *mask = call->padding ? ct_contiguous(by_position(call->padding, both, 0)) : NULL;
    ct_tensor *x = by_position(hidden, both, 1);
    *p = (population){NULL, NULL, ct_dim(x, 0), ct_dim(x, 1), ct_dim(x, 2)};
    if (!select_positions(call, p, &x, &mask)) return false;
    if (!mask) {
        p->z = ct_sub(x, ct_mean(x, 1, &rows, true));
        return true;
    }
    ct_tensor *counted = ct_cast(mask, ct_dtype_of(x));
    ct_tensor *mean = ct_div(ct_sum(ct_mul(x, counted), 1, &rows, true), ct_sum(counted, 1, &rows, true));
    p->z = ct_mul(ct_sub(x, mean), counted);
    return true;
}

/* ------------------------------------------------------------------------------------------------ terms */

static ct_tensor *term_of(const seq_vcr_options *o, const population *p) {
    static const int rows = 1;
    ct_tensor *variance = ct_mul(ct_sum(ct_square(p->z), 1, &rows, true), p->inverse), *sum = NULL;
    if (o->var > 0) {
        ct_tensor *deviation = ct_sqrt(ct_add_scalar(variance, o->eta));
        ct_tensor *hinge = ct_relu(ct_add_scalar(ct_neg(deviation), 1));
        sum = ct_mul_scalar(ct_sum_all(hinge), o->var);
    }
    if (o->cov > 0) {
        bool gram = o->form == FORM_GRAM || (o->form == FORM_AUTO && p->width > p->rows);
        ct_tensor *turned = ct_transpose(p->z, 1, 2);
        ct_tensor *product = ct_mul(gram ? ct_matmul(p->z, turned) : ct_matmul(turned, p->z), p->inverse);
        ct_tensor *off = ct_sub(ct_sum_all(ct_square(product)), ct_sum_all(ct_square(variance)));
        off = ct_mul_scalar(off, o->cov);
        sum = sum ? ct_add(sum, off) : off;
    }
    return ct_mul_scalar(sum, 1 / ((double)p->positions * (double)p->width));
}

static bool check_hidden(const ct_regularizer_call *call, const ct_tensor *hidden) {
    char text[160];
    const ct_tensor *mask = call->padding;
    if (ct_ndim(hidden) != 3 || (mask && (ct_ndim(mask) != 2 || ct_dim(mask, 0) != ct_dim(hidden, 0) ||
                                          ct_dim(mask, 1) != ct_dim(hidden, 1))))
        ct_fail(call->context, CT_ERROR_SHAPE,
                "%s: hidden states %s, expected [batch, time, width] and a mask of them", call->where,
                ct_describe(hidden, text, sizeof(text)));
    else if (ct_dim(hidden, 0) < 2)
        ct_fail(call->context, CT_ERROR_ARGUMENT, "seq-vcr needs at least 2 sequences per batch");
    return !ct_failed(call->context);
}

static ct_tensor *seq_vcr_term(const ct_regularizer_call *call) {
    const seq_vcr_options *o = call->options;
    ct_tensor *sum = NULL;
    if (o->var == 0 && o->cov == 0) return NULL;
    for (int i = 0; i < call->activation_count; i++) {
        ct_tensor *hidden = call->activations[i];
        population p;
        if (!check_hidden(call, hidden)) return NULL;
        if (ct_dtype_of(hidden) != CT_F64) hidden = ct_cast(hidden, CT_F32);
        if (o->proj > 0) hidden = ct_linear(hidden, call->own[i], NULL, false, CT_ACT_NONE);
        if (!populate(call, hidden, &p)) continue;
        ct_tensor *term = term_of(o, &p);
        sum = sum ? ct_add(sum, term) : term;
    }
    return sum;
}

const ct_regularizer_method ct_regularizer_seq_vcr = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_regularizer_method),
         .name = "seq_vcr",
         .title = "Seq-VCR",
         .paper = {"arXiv:2411.02344", "Arefin et al., ICLR 2025"},
         .summary =
             "Keeps the hidden states of a transformer from collapsing: at each position they shall vary "
             "over the batch and their channels be uncorrelated. For multi-step problems without a chain "
             "of thought.",
         .options = options,
         .options_size = sizeof(seq_vcr_options),
         .task = "train, reason",
         .example =
             "carat train recipes/gpt-tiny.yaml data.train=README.md regularizers=[seq_vcr] max_steps=20 "
             "out=out/seq_vcr --overwrite_output_dir",
         .uses = CT_HOOK_ACTIVATIONS | CT_HOOK_LOSS_TERM},
    .check = seq_vcr_check,
    .rows_together = rows_together,
    .least_rows = 2,
    .setup = seq_vcr_setup,
    .term = seq_vcr_term};
