/* ops_index.c - joining, padding, turning, and picking or putting elements by index. */
#include "autograd/rules.h"

typedef struct along {
    int axis;
    int64_t shift;
} along;

/* ------------------------------------------------------------------------------------------ concat, stack */

static void concat_vjp(const ct_vjp *call, ct_tensor **dx) {
    const along *a = call->attributes;
    int64_t at = 0;
    for (int i = 0; i < (int)a->shift; i++) { /* shift: the number of parts */
        int64_t size = ct_operand_shape(call, i)[a->axis];
        if (call->wanted[i]) dx[i] = ct_slice(call->output_gradients[0], a->axis, at, at + size, 1);
        at += size;
    }
}
static const ct_rule concat_rule = {"concat", concat_vjp, sizeof(along), NULL};

static ct_tensor *concat_same(ct_tensor *const *parts, int count, int axis) {
    ct_tensor *y = ct_raw_concat(parts, count, axis);
    const along attributes = {axis, count};
    ct_record(parts[0]->context, &concat_rule, parts, count, &y, 1, &attributes);
    return y;
}

/* Shapes must agree except along the axis. */
static bool concat_fits(ct_tensor *const *parts, int count, int axis) {
    const ct_tensor *first = parts[0];
    for (int i = 1; i < count; i++) {
        bool fits = parts[i]->ndim == first->ndim;
        for (int j = 0; j < first->ndim && fits; j++)
            fits = j == axis || parts[i]->shape[j] == first->shape[j];
        if (fits) continue;
        char a[160], b[160];
        ct_fail(first->context, CT_ERROR_SHAPE, "concat: %s and %s (part %d) do not fit along axis %d",
                ct_describe(first, a, sizeof(a)), ct_describe(parts[i], b, sizeof(b)), i, axis);
        return false;
    }
    return true;
}

ct_tensor *ct_concat(ct_tensor *const *parts, int count, int axis) {
    if (count < 1) return NULL; /* there is no context to tell */
    ct_context *context = parts[0]->context;
    int at = ct_axis(parts[0], axis, "concat");
    ct_dtype dtype = ct_dtype_of(parts[0]);
    bool mixed = false;
    for (int i = 1; i < count; i++) {
        mixed |= ct_dtype_of(parts[i]) != dtype;
        dtype = ct_promote(dtype, ct_dtype_of(parts[i]));
    }
    if (at < 0 || !concat_fits(parts, count, at)) return ct_inert_like(parts[0]);
    if (ct_stop_op(context)) {
        int64_t shape[CT_MAX_DIMS];
        memcpy(shape, parts[0]->shape, sizeof(shape));
        for (int i = 1; i < count; i++)
            shape[at] += parts[i]->shape[at];
        return ct_inert(context, dtype, parts[0]->ndim, shape);
    }
    if (!mixed) return concat_same(parts, count, at);
    ct_tensor **same = ct_alloc(context, (size_t)count * sizeof(*same), CT_MEMORY_OTHER);
    if (!same) return ct_inert_like(parts[0]);
    for (int i = 0; i < count; i++)
        same[i] = ct_cast(parts[i], dtype);
    ct_tensor *y = concat_same(same, count, at);
    ct_free(context, same);
    return y;
}

ct_tensor *ct_stack(ct_tensor *const *parts, int count, int axis) {
    if (count < 1) return NULL;
    ct_context *context = parts[0]->context;
    ct_tensor **raised = ct_alloc(context, (size_t)count * sizeof(*raised), CT_MEMORY_OTHER);
    if (!raised) return ct_inert_like(parts[0]);
    for (int i = 0; i < count; i++)
        raised[i] = ct_unsqueeze(parts[i], axis);
    int at = axis < 0 ? axis + parts[0]->ndim + 1 : axis;
    ct_tensor *y = ct_concat(raised, count, ct_failed(context) ? 0 : at);
    ct_free(context, raised);
    return y;
}

/* -------------------------------------------------------------------------------------------------- pad */

typedef struct padding {
    int64_t before[CT_MAX_DIMS], after[CT_MAX_DIMS];
} padding;

static void pad_vjp(const ct_vjp *call, ct_tensor **dx) {
    const padding *p = call->attributes;
    padding inverse;
    for (int i = 0; i < ct_operand_ndim(call, 0); i++) {
        inverse.before[i] = -p->before[i];
        inverse.after[i] = -p->after[i];
    }
    dx[0] = ct_pad(call->output_gradients[0], inverse.before, inverse.after, 0.0);
}
static const ct_rule pad_rule = {"pad", pad_vjp, sizeof(padding), NULL};

ct_tensor *ct_pad(ct_tensor *x, const int64_t *before, const int64_t *after, double value) {
    ct_context *context = x->context;
    padding p = {{0}, {0}};
    int64_t shape[CT_MAX_DIMS], common[CT_MAX_DIMS], from = 0, to = 0;
    for (int i = 0; i < x->ndim; i++) {
        p.before[i] = before[i];
        p.after[i] = after[i];
        shape[i] = x->shape[i] + before[i] + after[i];
        int64_t cut_before = before[i] < 0 ? -before[i] : 0, cut_after = after[i] < 0 ? -after[i] : 0;
        common[i] = x->shape[i] - cut_before - cut_after;
        if (common[i] < 0) {
            char text[160];
            ct_fail(context, CT_ERROR_SHAPE,
                    "pad: %lld before and %lld after cut more than axis %d of %s has", (long long)before[i],
                    (long long)after[i], i, ct_describe(x, text, sizeof(text)));
            return ct_inert_like(x);
        }
    }
    if (ct_stop_op(context)) return ct_inert(context, ct_dtype_of(x), x->ndim, shape);
    ct_tensor *y = ct_full_on(context, ct_device_of(x), ct_dtype_of(x), x->ndim, shape, value);
    for (int i = 0; i < x->ndim; i++) {
        if (before[i] > 0)
            to += before[i] * y->stride[i];
        else
            from -= before[i] * x->stride[i];
    }
    if (ct_shape_count(x->ndim, common) > 0 && !ct_failed(context))
        ct_raw_copy(ct_view_strided(y, x->ndim, common, y->stride, to),
                    ct_view_strided(x, x->ndim, common, x->stride, from));
    ct_record(context, &pad_rule, &x, 1, &y, 1, &p);
    return y;
}

/* ------------------------------------------------------------------------------- flip, roll, triangles */

static ct_tensor *flipped(ct_tensor *x, unsigned axes);
static void flip_vjp(const ct_vjp *call, ct_tensor **dx) {
    dx[0] = flipped(call->output_gradients[0], *(const unsigned *)call->attributes);
}
static const ct_rule flip_rule = {"flip", flip_vjp, sizeof(unsigned), NULL};

static ct_tensor *flipped(ct_tensor *x, unsigned axes) {
    if (ct_stop_op(x->context)) return ct_inert_like(x);
    ct_tensor *y = ct_raw_flip(x, axes);
    ct_record(x->context, &flip_rule, &x, 1, &y, 1, &axes);
    return y;
}

ct_tensor *ct_flip(ct_tensor *x, int count, const int *axes) {
    unsigned mask;
    return ct_axes_mask(x, count, axes, "flip", &mask) ? flipped(x, mask) : ct_inert_like(x);
}

static void roll_vjp(const ct_vjp *call, ct_tensor **dx) {
    const along *a = call->attributes;
    dx[0] = ct_roll(call->output_gradients[0], -a->shift, a->axis);
}
static const ct_rule roll_rule = {"roll", roll_vjp, sizeof(along), NULL};

ct_tensor *ct_roll(ct_tensor *x, int64_t shift, int axis) {
    int at = ct_axis(x, axis, "roll");
    if (ct_stop_op(x->context)) return ct_inert_like(x);
    int64_t size = x->shape[at];
    int64_t first = size > 0 ? ((shift % size) + size) % size : 0; /* where element 0 goes */
    int64_t shape[CT_MAX_DIMS];
    memcpy(shape, x->shape, sizeof(shape));
    ct_tensor *parts[2];
    shape[at] = first;
    parts[0] = ct_view_strided(x, x->ndim, shape, x->stride, (size - first) * x->stride[at]);
    shape[at] = size - first;
    parts[1] = ct_view_strided(x, x->ndim, shape, x->stride, 0);
    ct_tensor *y = ct_raw_concat(parts, 2, at);
    const along attributes = {at, shift};
    ct_record(x->context, &roll_rule, &x, 1, &y, 1, &attributes);
    return y;
}

static void tril_vjp(const ct_vjp *call, ct_tensor **dx) {
    dx[0] = ct_tril(call->output_gradients[0], *(const int64_t *)call->attributes);
}
static void triu_vjp(const ct_vjp *call, ct_tensor **dx) {
    dx[0] = ct_triu(call->output_gradients[0], *(const int64_t *)call->attributes);
}
static const ct_rule tril_rule = {"tril", tril_vjp, sizeof(int64_t), NULL};
static const ct_rule triu_rule = {"triu", triu_vjp, sizeof(int64_t), NULL};

static ct_tensor *triangle(ct_tensor *x, int64_t diagonal, bool upper, const ct_rule *rule) {
    if (x->ndim < 2) {
        char text[160];
        ct_fail(x->context, CT_ERROR_SHAPE, "%s: %s has no last two axes", rule->name,
                ct_describe(x, text, sizeof(text)));
    }
    if (ct_stop_op(x->context)) return ct_inert_like(x);
    ct_tensor *y = ct_raw_triangle(x, diagonal, upper);
    ct_record(x->context, rule, &x, 1, &y, 1, &diagonal);
    return y;
}

ct_tensor *ct_tril(ct_tensor *x, int64_t diagonal) {
    return triangle(x, diagonal, false, &tril_rule);
}
ct_tensor *ct_triu(ct_tensor *x, int64_t diagonal) {
    return triangle(x, diagonal, true, &triu_rule);
}

/* ------------------------------------------------------------------------------------ gather, scatter */

static void gather_vjp(const ct_vjp *call, ct_tensor **dx) {
    const along *a = call->attributes;
    ct_tensor *g = call->output_gradients[0], *index = ct_saved(call, 0),
              *zeros = ct_zeros_of_operand(call, 0, g);
    if (call->recording) {
        dx[0] = ct_scatter_add(zeros, a->axis, index, g);
        return;
    }
    ct_raw_scatter(zeros, a->axis, index, g, true);
    dx[0] = zeros;
}
static const ct_rule gather_rule = {"gather", gather_vjp, sizeof(along), NULL};

/* An error unless the index is of integers, of x's rank, and (where given) of the values' shape. */
static bool index_fits(const ct_tensor *x, const ct_tensor *index, const ct_tensor *values,
                       const char *operation) {
    ct_dtype dtype = ct_dtype_of(index);
    char a[160], b[160];
    if (dtype != CT_I64 && dtype != CT_I32)
        ct_fail(x->context, CT_ERROR_TYPE, "%s: the index is %s, expected i64 or i32", operation,
                ct_describe(index, a, sizeof(a)));
    else if (index->ndim != x->ndim)
        ct_fail(x->context, CT_ERROR_SHAPE, "%s: the index %s has another rank than %s", operation,
                ct_describe(index, a, sizeof(a)), ct_describe(x, b, sizeof(b)));
    else if (values && !ct_same_shape(index, values))
        ct_fail(x->context, CT_ERROR_SHAPE, "%s: the index %s and the values %s have different shapes",
                operation, ct_describe(index, a, sizeof(a)), ct_describe(values, b, sizeof(b)));
    else
        return true;
    return false;
}

ct_tensor *ct_gather(ct_tensor *x, int axis, ct_tensor *index) {
    int at = ct_axis(x, axis, "gather");
    if (at < 0 || !index_fits(x, index, NULL, "gather") || ct_stop_op(x->context))
        return ct_inert(x->context, ct_dtype_of(x), index->ndim, index->shape);
    ct_tensor *y = ct_raw_gather(x, at, index);
    const along attributes = {at, 0};
    ct_node *node = ct_record(x->context, &gather_rule, &x, 1, &y, 1, &attributes);
    if (node) ct_save_value(node, index);
    return y;
}

static void scatter_add_vjp(const ct_vjp *call, ct_tensor **dx) {
    const along *a = call->attributes;
    ct_tensor *g = call->output_gradients[0];
    if (call->wanted[0]) dx[0] = g;
    if (call->wanted[1]) dx[1] = ct_gather(g, a->axis, ct_saved(call, 0));
}
static const ct_rule scatter_add_rule = {"scatter_add", scatter_add_vjp, sizeof(along), NULL};

/* u8, 1 where a value is the last one put at its place, so that it stayed. */
static ct_tensor *stayed(const ct_vjp *call, ct_tensor *index, int axis, ct_device device) {
    ct_context *context = call->context;
    const int64_t *shape = ct_operand_shape(call, 0), count = index->count;
    ct_tensor *number = ct_empty_on(context, device, CT_I64, 1, &count);
    int64_t *data = ct_pointer(number);
    for (int64_t i = 0; data && i < count; i++)
        data[i] = i;
    ct_fresh_shape(number, index->ndim, index->shape);
    ct_tensor *holder = ct_full_on(context, device, CT_I64, ct_operand_ndim(call, 0), shape, -1.0);
    ct_raw_scatter(holder, axis, index, number, false);
    return ct_raw_binary(CT_EQUAL, ct_raw_gather(holder, axis, index), number);
}

static void scatter_vjp(const ct_vjp *call, ct_tensor **dx) {
    const along *a = call->attributes;
    ct_tensor *g = call->output_gradients[0], *index = ct_saved(call, 0);
    if (call->wanted[0])
        dx[0] = ct_scatter(
            g, a->axis, index,
            ct_full_on(call->context, ct_device_of(g), ct_dtype_of(g), index->ndim, index->shape, 0.0));
    if (call->wanted[1])
        dx[1] = ct_keep_where(stayed(call, index, a->axis, ct_device_of(g)), ct_gather(g, a->axis, index));
}
static const ct_rule scatter_rule = {"scatter", scatter_vjp, sizeof(along), NULL};

static ct_tensor *put(ct_tensor *x, int axis, ct_tensor *index, ct_tensor *values, bool add,
                      const ct_rule *rule) {
    int at = ct_axis(x, axis, rule->name);
    if (at < 0 || !index_fits(x, index, values, rule->name) || ct_stop_op(x->context))
        return ct_inert_like(x);
    ct_dtype dtype = ct_dtype_of(x);
    ct_tensor *y = ct_raw_cast(x, dtype);
    ct_raw_scatter(y, at, index, ct_dtype_of(values) == dtype ? values : ct_raw_cast(values, dtype), add);
    const along attributes = {at, 0};
    ct_tensor *const operands[2] = {x, values};
    ct_node *node = ct_record(x->context, rule, operands, 2, &y, 1, &attributes);
    if (node) ct_save_value(node, index);
    return y;
}

ct_tensor *ct_scatter_add(ct_tensor *x, int axis, ct_tensor *index, ct_tensor *values) {
    return put(x, axis, index, values, true, &scatter_add_rule);
}

ct_tensor *ct_scatter(ct_tensor *x, int axis, ct_tensor *index, ct_tensor *values) {
    return put(x, axis, index, values, false, &scatter_rule);
}

/* ------------------------------------------------------------------------------------- whole slices */

static void index_select_vjp(const ct_vjp *call, ct_tensor **dx) {
    const along *a = call->attributes;
    ct_tensor *g = call->output_gradients[0], *index = ct_saved(call, 0),
              *zeros = ct_zeros_of_operand(call, 0, g);
    if (call->recording) {
        dx[0] = ct_index_add(zeros, a->axis, index, g);
        return;
    }
    ct_raw_index_add(zeros, a->axis, index, g);
    dx[0] = zeros;
}
static const ct_rule index_select_rule = {"index_select", index_select_vjp, sizeof(along), NULL};

static bool is_index_list(const ct_tensor *index, const char *operation) {
    ct_dtype dtype = ct_dtype_of(index);
    if ((dtype == CT_I64 || dtype == CT_I32) && index->ndim == 1) return true;
    char text[160];
    ct_fail(index->context, dtype == CT_I64 || dtype == CT_I32 ? CT_ERROR_SHAPE : CT_ERROR_TYPE,
            "%s: the index is %s, expected i64 or i32 of one axis", operation,
            ct_describe(index, text, sizeof(text)));
    return false;
}

ct_tensor *ct_index_select(ct_tensor *x, int axis, ct_tensor *index) {
    int at = ct_axis(x, axis, "index_select");
    if (at < 0 || !is_index_list(index, "index_select")) return ct_inert_like(x);
    int64_t shape[CT_MAX_DIMS];
    memcpy(shape, x->shape, sizeof(shape));
    shape[at] = index->shape[0];
    if (ct_stop_op(x->context)) return ct_inert(x->context, ct_dtype_of(x), x->ndim, shape);
    ct_tensor *y = ct_raw_index_select(x, at, index);
    const along attributes = {at, 0};
    ct_node *node = ct_record(x->context, &index_select_rule, &x, 1, &y, 1, &attributes);
    if (node) ct_save_value(node, index);
    return y;
}

static void index_add_vjp(const ct_vjp *call, ct_tensor **dx) {
    const along *a = call->attributes;
    ct_tensor *g = call->output_gradients[0];
    if (call->wanted[0]) dx[0] = g;
    if (call->wanted[1]) dx[1] = ct_index_select(g, a->axis, ct_saved(call, 0));
}
static const ct_rule index_add_rule = {"index_add", index_add_vjp, sizeof(along), NULL};

ct_tensor *ct_index_add(ct_tensor *x, int axis, ct_tensor *index, ct_tensor *values) {
    int at = ct_axis(x, axis, "index_add");
    if (at < 0 || !is_index_list(index, "index_add")) return ct_inert_like(x);
    bool fits = values->ndim == x->ndim;
    for (int i = 0; i < x->ndim && fits; i++)
        fits = values->shape[i] == (i == at ? index->shape[0] : x->shape[i]);
    if (!fits) {
        char a[160], b[160];
        ct_fail(x->context, CT_ERROR_SHAPE, "index_add: %lld slices of %s along axis %d cannot come from %s",
                (long long)index->shape[0], ct_describe(x, a, sizeof(a)), axis,
                ct_describe(values, b, sizeof(b)));
    }
    if (ct_stop_op(x->context)) return ct_inert_like(x);
    ct_dtype dtype = ct_dtype_of(x);
    ct_tensor *y = ct_raw_cast(x, dtype);
    ct_raw_index_add(y, at, index, ct_dtype_of(values) == dtype ? values : ct_raw_cast(values, dtype));
    const along attributes = {at, 0};
    ct_tensor *const operands[2] = {x, values};
    ct_node *node = ct_record(x->context, &index_add_rule, operands, 2, &y, 1, &attributes);
    if (node) ct_save_value(node, index);
    return y;
}
