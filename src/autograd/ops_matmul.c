/* ops_matmul.c - products: matmul, the linear layer with its bias and activation, einsum of two operands. */
#include "autograd/rules.h"
#include "tensor/shadow.h"

/* ---------------------------------------------------------------------------------------------- matmul */

/* Which operands' values the rule was given, in this order. */
typedef struct kept {
    bool b, a;
} kept;

/* x y, of operand `operand`'s type. */
static ct_tensor *product(const ct_vjp *call, int operand, ct_tensor *x, ct_tensor *y) {
    return call->recording ? ct_matmul(x, y) : ct_raw_matmul(x, y, ct_operand_dtype(call, operand));
}

/* dA = G B^T, dB = A^T G. Where B is one matrix for a whole batch, the batch's rows are one long product. */
static void matmul_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *g = call->output_gradients[0];
    const kept *k = call->attributes;
    if (call->wanted[0])
        dx[0] = ct_sum_to_operand(call, 0, product(call, 0, g, ct_transposed(ct_saved(call, 0))));
    if (!call->wanted[1]) return;
    ct_tensor *a = ct_saved(call, k->b ? 1 : 0);
    bool one = ct_operand_ndim(call, 1) == 2 && a->ndim > 2;
    if (one)
        dx[1] = product(call, 1, ct_transposed(ct_rows(a)), ct_rows(g));
    else
        dx[1] = ct_sum_to_operand(call, 1, product(call, 1, ct_transposed(a), g));
}
static const ct_rule matmul_rule = {"matmul", matmul_vjp, sizeof(kept), NULL};

/* False with an error if the contracted axes, or the leading ones, do not fit; else the shape of the result.
 */
static bool matmul_shape(const ct_tensor *a, const ct_tensor *b, int *ndim, int64_t *shape) {
    char ta[160], tb[160];
    if (a->ndim < 1 || b->ndim < 1) {
        ct_fail(a->context, CT_ERROR_SHAPE, "matmul: %s and %s do not fit: a scalar is no matrix",
                ct_describe(a, ta, sizeof(ta)), ct_describe(b, tb, sizeof(tb)));
        return false;
    }
    int64_t k = a->shape[a->ndim - 1], other = b->shape[b->ndim > 1 ? b->ndim - 2 : 0];
    int na = a->ndim > 2 ? a->ndim - 2 : 0, nb = b->ndim > 2 ? b->ndim - 2 : 0, lead = na > nb ? na : nb;
    bool fits = k == other;
    for (int i = 0; i < lead && fits; i++) {
        int64_t da = i - (lead - na) >= 0 ? a->shape[i - (lead - na)] : 1;
        int64_t db = i - (lead - nb) >= 0 ? b->shape[i - (lead - nb)] : 1;
        fits = da == db || da == 1 || db == 1;
        if (!fits) k = da, other = db;
        shape[i] = da == 1 ? db : da;
    }
    if (!fits) {
        ct_fail(a->context, CT_ERROR_SHAPE, "matmul: %s and %s do not fit (%lld against %lld)",
                ct_describe(a, ta, sizeof(ta)), ct_describe(b, tb, sizeof(tb)), (long long)k,
                (long long)other);
        return false;
    }
    *ndim = lead;
    if (a->ndim > 1) shape[(*ndim)++] = a->shape[a->ndim - 2];
    if (b->ndim > 1) shape[(*ndim)++] = b->shape[b->ndim - 1];
    return true;
}

ct_tensor *ct_matmul(ct_tensor *a, ct_tensor *b) {
    ct_context *context = a->context;
    ct_dtype dtype = ct_promote(ct_dtype_of(a), ct_dtype_of(b));
    int ndim = 0;
    int64_t shape[CT_MAX_DIMS];
    if (!matmul_shape(a, b, &ndim, shape)) return ct_inert(context, dtype, 0, NULL);
    if (ct_stop_op(context)) return ct_inert(context, dtype, ndim, shape);
    if (a->ndim == 1 || b->ndim == 1)
        return ct_reshape(
            ct_matmul(a->ndim == 1 ? ct_unsqueeze(a, 0) : a, b->ndim == 1 ? ct_unsqueeze(b, 1) : b), ndim,
            shape);
    ct_tensor *y = ct_raw_matmul(a, b, dtype), *const operands[2] = {a, b};
    const kept keep = {ct_requires_grad(a), ct_requires_grad(b)};
    ct_node *node = ct_record(context, &matmul_rule, operands, 2, &y, 1, &keep);
    if (node && keep.b) ct_save_operand(node, 1, b);
    if (node && keep.a) ct_save_operand(node, 0, a);
    return y;
}

/* ---------------------------------------------------------------------------------------------- linear */

/* Operands: x, weight, bias. Outputs: y and, behind the scenes, the value before the activation, so that it
 * can be saved as a value of the graph and second derivatives need not compute it again (relu needs only y).
 */
typedef struct linear_attributes {
    bool transposed;
    ct_activation activation;
    int8_t x, weight, middle; /* where they were saved; -1: not */
    bool repeats; /* the result can be made again: not from a value that was rounded to fewer bits */
} linear_attributes;

static ct_tensor *fused_activation_backward(ct_activation activation, ct_tensor *g, ct_tensor *middle) {
    switch (activation) {
    case CT_ACT_RELU:
        return ct_raw_binary(CT_RELU_BACKWARD, g, middle);
    case CT_ACT_GELU:
        return ct_raw_binary(CT_GELU_ERF_BACKWARD, g, middle);
    case CT_ACT_GELU_TANH:
        return ct_raw_binary(CT_GELU_TANH_BACKWARD, g, middle);
    case CT_ACT_SILU:
        return ct_raw_binary(CT_SILU_BACKWARD, g, middle);
    case CT_ACT_NONE:
        break;
    }
    return g;
}

/* The gradient of what stands before the activation. */
static ct_tensor *middle_gradient(const ct_vjp *call, const linear_attributes *a) {
    ct_tensor *g = call->output_gradients[0];
    if (a->activation == CT_ACT_NONE) return g;
    ct_tensor *middle = ct_saved(call, a->middle);
    if (g && call->recording)
        g = ct_activation_backward(a->activation, g, middle);
    else if (g)
        g = fused_activation_backward(a->activation, g, middle);
    if (a->activation == CT_ACT_RELU) return g;
    ct_tensor *more = call->output_gradients[1];
    if (g && more) return ct_add(g, more);
    return g ? g : more;
}

/* A weight in f32 multiplies bf16 activations through its bf16 copy. */
static ct_tensor *weight_for(ct_tensor *weight, ct_dtype activations) {
    bool shadowed =
        activations == CT_BF16 && ct_dtype_of(weight) == CT_F32 && weight->storage && !weight->storage->tile;
    return shadowed ? ct_shadow_bf16(weight) : weight;
}

/* dx = g W, dW = g^T x, db = column sum of g, with g the gradient before the activation; W is [out, in]. */
static void linear_vjp(const ct_vjp *call, ct_tensor **dx) {
    const linear_attributes *a = call->attributes;
    ct_tensor *g = middle_gradient(call, a);
    if (!g || ct_failed(call->context)) return;
    if (call->wanted[0]) {
        ct_tensor *weight = ct_saved(call, a->weight);
        if (!call->recording) weight = weight_for(weight, ct_dtype_of(g));
        ct_tensor *rows = g->ndim > 1 ? g : ct_rows(g);
        dx[0] = product(call, 0, rows, a->transposed ? ct_transposed(weight) : weight);
        if (g->ndim < 2) dx[0] = ct_reshape_to_operand(call, 0, dx[0]);
    }
    if (call->wanted[1] && !call->recording) {
        dx[1] = ct_raw_weight_gradient(ct_saved(call, a->x), g, a->transposed, ct_operand_dtype(call, 1),
                                       call->accumulate[1], ct_may_wait(call, 1));
    } else if (call->wanted[1]) {
        ct_tensor *x = ct_rows(ct_saved(call, a->x)), *rows = ct_rows(g);
        dx[1] = a->transposed ? product(call, 1, ct_transposed(x), rows)
                              : product(call, 1, ct_transposed(rows), x);
    }
    if (call->wanted[2])
        dx[2] = call->recording ? ct_sum_to_operand(call, 2, g)
                                : ct_raw_bias_gradient(g, ct_operand_dtype(call, 2), call->accumulate[2],
                                                       ct_may_wait(call, 2));
}

/* The result behind an activation, from the value before it. */
static bool linear_can_repeat(const void *attributes) {
    const linear_attributes *a = attributes;
    return a->repeats;
}

static ct_tensor *linear_repeat(const ct_vjp *call) {
    const linear_attributes *a = call->attributes;
    ct_tensor *middle = ct_saved(call, a->middle);
    if (a->activation == CT_ACT_GELU) return ct_raw_unary(CT_GELU_ERF, middle, 0, 0);
    if (a->activation == CT_ACT_GELU_TANH) return ct_raw_unary(CT_GELU_TANH, middle, 0, 0);
    return ct_raw_unary(CT_SILU, middle, 0, 0);
}
static const ct_rule linear_rule = {"linear", linear_vjp,        sizeof(linear_attributes),
                                    NULL,     linear_can_repeat, linear_repeat};

static void linear_record(ct_tensor *const operands[3], ct_tensor *y, ct_tensor *middle,
                          linear_attributes *a) {
    ct_tensor *x = operands[0], *weight = operands[1], *const outputs[2] = {y, middle};
    int8_t at = 0;
    bool keep_weight = ct_requires_grad(x), keep_x = ct_requires_grad(weight);
    a->weight = keep_weight ? at++ : -1;
    a->x = keep_x ? at++ : -1;
    a->middle = a->activation != CT_ACT_NONE ? at : -1;
    a->repeats = middle && (middle->dtype == CT_F32 || middle->dtype == CT_F64);
    ct_node *node = ct_record(x->context, &linear_rule, operands, 3, outputs, middle ? 2 : 1, a);
    if (!node) return;
    if (keep_weight) ct_save_operand(node, 1, weight);
    if (keep_x) ct_save_operand(node, 0, x);
    if (a->activation == CT_ACT_RELU)
        ct_save_output(node, 0, y);
    else if (middle)
        ct_save_output(node, 1, middle);
}

static ct_tensor *linear_inert(const ct_tensor *x, const ct_tensor *weight, bool transposed) {
    int64_t shape[CT_MAX_DIMS];
    ct_dtype dtype = ct_promote(ct_dtype_of(x), ct_dtype_of(weight));
    if (x->ndim < 1 || weight->ndim != 2) return ct_inert(x->context, dtype, 0, NULL);
    memcpy(shape, x->shape, sizeof(shape));
    shape[x->ndim - 1] = weight->shape[transposed ? 1 : 0];
    return ct_inert(x->context, dtype, x->ndim, shape);
}

ct_tensor *ct_linear(ct_tensor *x, ct_tensor *weight, ct_tensor *bias, bool transposed,
                     ct_activation activation) {
    ct_context *context = x->context;
    if (ct_stop_op(context)) return linear_inert(x, weight, transposed);
    ct_scope scope = ct_scope_open(context);
    bool records = ct_differentiates(x) || ct_differentiates(weight) || ct_differentiates(bias);
    bool keeps_middle = records && activation != CT_ACT_NONE && activation != CT_ACT_RELU;
    ct_tensor *middle = NULL;
    ct_tensor *y = ct_raw_linear(x, weight_for(weight, ct_dtype_of(x)), bias, transposed, activation,
                                 keeps_middle ? &middle : NULL);
    linear_attributes attributes = {.transposed = transposed, .activation = activation};
    ct_tensor *const operands[3] = {x, weight, bias};
    if (records) linear_record(operands, y, middle, &attributes);
    return ct_scope_return(context, scope, y);
}

/* ---------------------------------------------------------------------------------------------- einsum */

/* Where each letter stands in the operands and the result; -1: nowhere. */
typedef struct einsum {
    int in[2][128], out[128];
    int count[3]; /* letters of a, b and the result */
    char letter[3][CT_MAX_DIMS];
    int64_t size[128]; /* of each letter's axis */
} einsum;

static bool einsum_fail(ct_context *context, const char *equation, const char *why) {
    ct_fail(context, CT_ERROR_ARGUMENT, "einsum: \"%s\": %s", equation, why);
    return false;
}

/* "ab,bc->ac" into the three lists of letters; spaces are passed over. */
static bool einsum_parse(ct_context *context, const char *equation, einsum *e) {
    memset(e, 0, sizeof(*e));
    memset(e->in, -1, sizeof(e->in));
    memset(e->out, -1, sizeof(e->out));
    int list = 0;
    for (const char *c = equation; *c; c++) {
        if (*c == ' ') continue;
        if (*c == ',' && list == 0) {
            list = 1;
        } else if (*c == '-' && c[1] == '>' && list == 1) {
            list = 2;
            c++;
        } else if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z')) {
            int *place = list == 2 ? &e->out[(int)*c] : &e->in[list][(int)*c];
            if (*place >= 0) return einsum_fail(context, equation, "a letter stands twice in one operand");
            if (e->count[list] == CT_MAX_DIMS)
                return einsum_fail(context, equation, "an operand has too many axes");
            *place = e->count[list];
            e->letter[list][e->count[list]++] = *c;
        } else {
            return einsum_fail(context, equation, "expected letters as in \"ij,jk->ik\"");
        }
    }
    return list == 2 ||
           einsum_fail(context, equation, "expected two operands and a result, as in \"ij,jk->ik\"");
}

static bool einsum_sizes(const char *equation, einsum *e, ct_tensor *const operands[2]) {
    ct_context *context = operands[0]->context;
    char text[160];
    for (int o = 0; o < 2; o++) {
        if (operands[o]->ndim != e->count[o]) {
            ct_fail(context, CT_ERROR_SHAPE,
                    "einsum: \"%s\": operand %d is %s, the equation gives it %d axes", equation, o,
                    ct_describe(operands[o], text, sizeof(text)), e->count[o]);
            return false;
        }
        for (int i = 0; i < e->count[o]; i++) {
            int c = e->letter[o][i];
            int64_t size = operands[o]->shape[i];
            if (o == 1 && e->in[0][c] >= 0 && e->size[c] != size) {
                ct_fail(context, CT_ERROR_SHAPE,
                        "einsum: \"%s\": '%c' is %lld in one operand and %lld in the other", equation, c,
                        (long long)e->size[c], (long long)size);
                return false;
            }
            e->size[c] = size;
        }
    }
    for (int i = 0; i < e->count[2]; i++) {
        int c = e->letter[2][i];
        if (e->in[0][c] < 0 && e->in[1][c] < 0)
            return einsum_fail(context, equation, "the result has a letter that no operand has");
    }
    return true;
}

/* Letters that only operand o has are summed away; its letters shrink accordingly. */
static ct_tensor *einsum_sum_alone(einsum *e, int o, ct_tensor *x) {
    int axes[CT_MAX_DIMS], n = 0, left = 0;
    for (int i = 0; i < e->count[o]; i++) {
        int c = e->letter[o][i];
        if (e->in[1 - o][c] < 0 && e->out[c] < 0) {
            axes[n++] = i;
            e->in[o][c] = -1;
            continue;
        }
        e->letter[o][left] = (char)c;
        e->in[o][c] = left++;
    }
    e->count[o] = left;
    return n ? ct_sum(x, n, axes, false) : x;
}

/* Operand o with the axes of the given letters in this order, as [batch, first, second]. */
static ct_tensor *einsum_arranged(const einsum *e, int o, ct_tensor *x, const char *const groups[3]) {
    int order[CT_MAX_DIMS], n = 0;
    int64_t shape[3] = {1, 1, 1};
    for (int group = 0; group < 3; group++)
        for (const char *c = groups[group]; *c; c++) {
            order[n++] = e->in[o][(int)*c];
            shape[group] *= e->size[(int)*c];
        }
    return ct_reshape(ct_permute(x, n, order), 3, shape);
}

/* Letters by what happens to them: in both and the result, in both only, in one and the result. */
static void einsum_groups(const einsum *e, char *batch, char *inner, char *rows, char *columns) {
    for (int i = 0; i < e->count[0]; i++) {
        char c = e->letter[0][i];
        bool shared = e->in[1][(int)c] >= 0, kept_letter = e->out[(int)c] >= 0;
        char **list = shared ? (kept_letter ? &batch : &inner) : &rows;
        *(*list)++ = c;
    }
    for (int i = 0; i < e->count[1]; i++)
        if (e->in[0][(int)e->letter[1][i]] < 0) *columns++ = e->letter[1][i];
    *batch = *inner = *rows = *columns = 0;
}

ct_tensor *ct_einsum(const char *equation, ct_tensor *a, ct_tensor *b) {
    ct_context *context = a->context;
    einsum e;
    ct_tensor *operands[2] = {a, b};
    ct_dtype dtype = ct_promote(ct_dtype_of(a), ct_dtype_of(b));
    if (!einsum_parse(context, equation, &e) || !einsum_sizes(equation, &e, operands))
        return ct_inert(context, dtype, 0, NULL);
    char batch[CT_MAX_DIMS + 1], inner[CT_MAX_DIMS + 1], rows[CT_MAX_DIMS + 1], columns[CT_MAX_DIMS + 1];
    for (int o = 0; o < 2; o++)
        operands[o] = einsum_sum_alone(&e, o, operands[o]);
    einsum_groups(&e, batch, inner, rows, columns);
    ct_tensor *left = einsum_arranged(&e, 0, operands[0], (const char *const[]){batch, rows, inner});
    ct_tensor *right = einsum_arranged(&e, 1, operands[1], (const char *const[]){batch, inner, columns});
    ct_tensor *y = ct_matmul(left, right); /* [batch, rows, columns], then as the result has them */
    int64_t shape[CT_MAX_DIMS];
    int n = 0, order[CT_MAX_DIMS];
    const char *const groups[3] = {batch, rows, columns};
    for (int group = 0; group < 3; group++)
        for (const char *c = groups[group]; *c; c++) {
            shape[n] = e.size[(int)*c];
            order[e.out[(int)*c]] = n++;
        }
    return ct_permute(ct_reshape(y, n, shape), n, order);
}
