/* ops_view.c - views: other shapes and parts of the same storage. What a part's gradient is zero for is
 * written as zeros; the parts of a split are joined in one pass. */
#include "autograd/rules.h"

/* ------------------------------------------------------------------------------------ reshape, permute */

static void reshape_vjp(const ct_vjp *call, ct_tensor **dx) {
    dx[0] = ct_reshape_to_operand(call, 0, call->output_gradients[0]);
}
static const ct_rule reshape_rule = {"reshape", reshape_vjp, 0, NULL};

static ct_tensor *view(ct_tensor *x, int ndim, const int64_t *shape, const int64_t *stride, int64_t offset,
                       const ct_rule *rule, const void *attributes) {
    x->storage->references++;
    ct_tensor *y =
        ct_tensor_wrap(x->context, x->storage, ct_dtype_of(x), ndim, shape, stride, x->offset + offset);
    ct_record(x->context, rule, &x, 1, &y, 1, attributes);
    return y;
}

/* Nothing can be viewed: the context has failed, or x never had data. */
static bool stopped(const ct_tensor *x) {
    return ct_stop_op(x->context) || !x->storage;
}

/* Fills in the one -1; false with an error if the counts differ. */
static bool complete_shape(const ct_tensor *x, int ndim, const int64_t *shape, int64_t *complete) {
    int64_t known = 1;
    int open = -1;
    bool good = ndim >= 0 && ndim <= CT_MAX_DIMS;
    for (int i = 0; i < ndim && good; i++) {
        complete[i] = shape[i];
        if (shape[i] == -1 && open < 0)
            open = i;
        else if (shape[i] < 0 || __builtin_mul_overflow(known, shape[i], &known))
            good = false;
    }
    if (good && open >= 0) {
        good = known > 0 && x->count % known == 0;
        if (good) complete[open] = x->count / known;
    } else if (good) {
        good = known == x->count;
    }
    if (good) return true;
    char from[160], to[160] = "";
    int used = 0;
    for (int i = 0; i < ndim && i < CT_MAX_DIMS; i++)
        used += snprintf(to + used, sizeof(to) - (size_t)used, "%s%lld", i ? ", " : "", (long long)shape[i]);
    ct_fail(x->context, CT_ERROR_SHAPE, "reshape: %s (%lld elements) does not fit [%s]",
            ct_describe(x, from, sizeof(from)), (long long)x->count, to);
    return false;
}

ct_tensor *ct_reshape(ct_tensor *x, int ndim, const int64_t *shape) {
    int64_t complete[CT_MAX_DIMS], stride[CT_MAX_DIMS];
    if (!complete_shape(x, ndim, shape, complete)) return ct_inert(x->context, ct_dtype_of(x), 0, NULL);
    if (stopped(x)) return ct_inert(x->context, ct_dtype_of(x), ndim, complete);
    if (x->count == 0) return view(x, ndim, complete, NULL, 0, &reshape_rule, NULL);
    if (ct_view_strides(x->ndim, x->shape, x->stride, ndim, complete, stride))
        return view(x, ndim, complete, stride, 0, &reshape_rule, NULL);
    ct_tensor *y = ct_fresh_shape(ct_raw_contiguous(x), ndim, complete);
    ct_record(x->context, &reshape_rule, &x, 1, &y, 1, NULL);
    return y;
}

ct_tensor *ct_squeeze(ct_tensor *x, int axis) {
    int at = ct_axis(x, axis, "squeeze");
    if (at >= 0 && x->shape[at] != 1) {
        char text[160];
        ct_fail(x->context, CT_ERROR_SHAPE, "squeeze: axis %d of %s is not of size 1", axis,
                ct_describe(x, text, sizeof(text)));
        at = -1;
    }
    if (at < 0) return ct_inert_like(x);
    int64_t shape[CT_MAX_DIMS], stride[CT_MAX_DIMS];
    int n = 0;
    for (int i = 0; i < x->ndim; i++) {
        if (i == at) continue;
        shape[n] = x->shape[i];
        stride[n++] = x->stride[i];
    }
    if (stopped(x)) return ct_inert(x->context, ct_dtype_of(x), n, shape);
    return view(x, n, shape, stride, 0, &reshape_rule, NULL);
}

ct_tensor *ct_unsqueeze(ct_tensor *x, int axis) {
    int n = x->ndim + 1, at = axis < 0 ? axis + n : axis;
    if (at < 0 || at >= n || n > CT_MAX_DIMS) {
        char text[160];
        ct_fail(x->context, CT_ERROR_SHAPE, "unsqueeze: %s can have no new axis %d",
                ct_describe(x, text, sizeof(text)), axis);
        return ct_inert_like(x);
    }
    int64_t shape[CT_MAX_DIMS], stride[CT_MAX_DIMS];
    for (int i = 0, from = 0; i < n; i++) {
        shape[i] = i == at ? 1 : x->shape[from];
        stride[i] = i == at ? 1 : x->stride[from];
        if (i != at) from++;
    }
    if (stopped(x)) return ct_inert(x->context, ct_dtype_of(x), n, shape);
    return view(x, n, shape, stride, 0, &reshape_rule, NULL);
}

typedef struct order {
    uint8_t axis[CT_MAX_DIMS];
} order;

static ct_tensor *permuted(ct_tensor *x, const order *o);
static void permute_vjp(const ct_vjp *call, ct_tensor **dx) {
    const order *o = call->attributes;
    ct_tensor *g = call->output_gradients[0];
    order inverse = {{0}};
    for (int i = 0; i < g->ndim; i++)
        inverse.axis[o->axis[i]] = (uint8_t)i;
    dx[0] = permuted(g, &inverse);
}
static const ct_rule permute_rule = {"permute", permute_vjp, sizeof(order), NULL};

static ct_tensor *permuted(ct_tensor *x, const order *o) {
    int64_t shape[CT_MAX_DIMS], stride[CT_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++) {
        shape[i] = x->shape[o->axis[i]];
        stride[i] = x->stride[o->axis[i]];
    }
    if (stopped(x)) return ct_inert(x->context, ct_dtype_of(x), x->ndim, shape);
    return view(x, x->ndim, shape, stride, 0, &permute_rule, o);
}

ct_tensor *ct_permute(ct_tensor *x, int count, const int *axes) {
    order o = {{0}};
    unsigned seen = 0;
    bool good = count == x->ndim;
    for (int i = 0; i < count && good; i++) {
        int axis = axes[i] < 0 ? axes[i] + x->ndim : axes[i];
        good = axis >= 0 && axis < x->ndim && !(seen & 1u << axis);
        if (!good) break;
        seen |= 1u << axis;
        o.axis[i] = (uint8_t)axis;
    }
    if (good) return permuted(x, &o);
    char text[160];
    ct_fail(x->context, CT_ERROR_SHAPE, "permute: an order of %d axes that is not one of the %d axes of %s",
            count, x->ndim, ct_describe(x, text, sizeof(text)));
    return ct_inert_like(x);
}

ct_tensor *ct_transpose(ct_tensor *x, int axis_a, int axis_b) {
    int a = ct_axis(x, axis_a, "transpose"), b = ct_axis(x, axis_b, "transpose");
    if (a < 0 || b < 0) return ct_inert_like(x);
    order o = {{0, 1, 2, 3, 4, 5, 6, 7}};
    o.axis[a] = (uint8_t)b;
    o.axis[b] = (uint8_t)a;
    return permuted(x, &o);
}

/* ---------------------------------------------------------------------------------------------- expand */

static void expand_vjp(const ct_vjp *call, ct_tensor **dx) {
    dx[0] = ct_sum_to_operand(call, 0, call->output_gradients[0]);
}
static const ct_rule expand_rule = {"expand", expand_vjp, 0, NULL};

ct_tensor *ct_expand(ct_tensor *x, int ndim, const int64_t *shape) {
    int64_t stride[CT_MAX_DIMS];
    int lead = ndim - x->ndim;
    bool good = lead >= 0 && ndim <= CT_MAX_DIMS && ct_shape_count(ndim, shape) >= 0;
    for (int i = 0; i < ndim && good; i++) {
        int64_t size = i < lead ? 1 : x->shape[i - lead];
        good = size == shape[i] || size == 1;
        stride[i] = i < lead || (size == 1 && shape[i] != 1) ? 0 : x->stride[i - lead];
    }
    if (!good) {
        char text[160], target[160];
        ct_tensor *wanted = ct_inert(x->context, ct_dtype_of(x), ndim <= CT_MAX_DIMS ? ndim : 0, shape);
        ct_fail(x->context, CT_ERROR_SHAPE, "expand: %s cannot be expanded to %s",
                ct_describe(x, text, sizeof(text)), ct_describe(wanted, target, sizeof(target)));
        return ct_inert_like(x);
    }
    if (stopped(x)) return ct_inert(x->context, ct_dtype_of(x), ndim, shape);
    return view(x, ndim, shape, stride, 0, &expand_rule, NULL);
}

/* ------------------------------------------------------------------- parts: slice, select, diagonal */

/* A part of a tensor, told so that it can be found again in another one of the same shape. */
typedef struct part {
    enum { SLICE, SELECT, DIAGONAL } kind;
    int axis, other;
    int64_t start, count, step; /* DIAGONAL: start is the offset along both axes' strides */
} part;

typedef struct layout {
    int ndim;
    int64_t shape[CT_MAX_DIMS], stride[CT_MAX_DIMS], offset;
} layout;

static void part_layout(const part *p, int ndim, const int64_t *shape, const int64_t *stride, layout *l) {
    l->ndim = 0;
    l->offset = 0;
    for (int i = 0; i < ndim; i++) {
        bool away = (p->kind != SLICE && i == p->axis) || (p->kind == DIAGONAL && i == p->other);
        if (away) continue;
        bool cut = p->kind == SLICE && i == p->axis;
        l->shape[l->ndim] = cut ? p->count : shape[i];
        l->stride[l->ndim++] = cut ? stride[i] * p->step : stride[i];
    }
    if (p->kind != DIAGONAL) {
        l->offset = p->start * stride[p->axis];
        return;
    }
    l->offset = p->start >= 0 ? p->start * stride[p->other] : -p->start * stride[p->axis];
    l->shape[l->ndim] = p->count;
    l->stride[l->ndim++] = stride[p->axis] + stride[p->other];
}

static ct_tensor *part_of(ct_tensor *x, const part *p);

/* Zeros of the shape of the whole, with g in the place of the part; its gradient is that part of the
 * gradient. */
static void embed_vjp(const ct_vjp *call, ct_tensor **dg) {
    dg[0] = part_of(call->output_gradients[0], call->attributes);
}
static const ct_rule embed_rule = {"embed", embed_vjp, sizeof(part), NULL};

static ct_tensor *embed(ct_tensor *g, const part *p, int ndim, const int64_t *shape) {
    ct_context *context = g->context;
    ct_tensor *whole = ct_full_on(context, ct_device_of(g), ct_dtype_of(g), ndim, shape, 0.0);
    if (ct_failed(context)) return whole;
    layout l;
    part_layout(p, ndim, shape, whole->stride, &l);
    ct_raw_copy(ct_view_strided(whole, l.ndim, l.shape, l.stride, l.offset), g);
    ct_record(context, &embed_rule, &g, 1, &whole, 1, p);
    return whole;
}

static void part_vjp(const ct_vjp *call, ct_tensor **dx) {
    dx[0] = embed(call->output_gradients[0], call->attributes, ct_operand_ndim(call, 0),
                  ct_operand_shape(call, 0));
}
static const ct_rule part_rule[] = {[SLICE] = {"slice", part_vjp, sizeof(part), NULL},
                                    [SELECT] = {"select", part_vjp, sizeof(part), NULL},
                                    [DIAGONAL] = {"diagonal", part_vjp, sizeof(part), NULL}};

static ct_tensor *part_of(ct_tensor *x, const part *p) {
    layout l;
    part_layout(p, x->ndim, x->shape, x->stride, &l);
    if (stopped(x)) return ct_inert(x->context, ct_dtype_of(x), l.ndim, l.shape);
    if (ct_shape_count(l.ndim, l.shape) == 0) l.offset = 0;
    return view(x, l.ndim, l.shape, l.stride, l.offset, &part_rule[p->kind], p);
}

ct_tensor *ct_slice(ct_tensor *x, int axis, int64_t start, int64_t stop, int64_t step) {
    int at = ct_axis(x, axis, "slice");
    if (at < 0) return ct_inert_like(x);
    int64_t size = x->shape[at], from = start < 0 ? start + size : start, to = stop < 0 ? stop + size : stop;
    if (stop == INT64_MAX) to = size;
    if (from < 0 || to > size || from > to || step < 1) {
        char text[160];
        ct_fail(x->context, CT_ERROR_SHAPE, "slice: %lld to %lld by %lld does not lie in axis %d of %s",
                (long long)start, (long long)stop, (long long)step, axis, ct_describe(x, text, sizeof(text)));
        return ct_inert_like(x);
    }
    const part p = {SLICE, at, 0, from, (to - from + step - 1) / step, step};
    return part_of(x, &p);
}

ct_tensor *ct_select(ct_tensor *x, int axis, int64_t index) {
    int at = ct_axis(x, axis, "select");
    if (at < 0) return ct_inert_like(x);
    int64_t from = index < 0 ? index + x->shape[at] : index;
    if (from < 0 || from >= x->shape[at]) {
        char text[160];
        ct_fail(x->context, CT_ERROR_SHAPE, "select: index %lld does not exist in axis %d of %s",
                (long long)index, axis, ct_describe(x, text, sizeof(text)));
        return ct_inert_like(x);
    }
    const part p = {SELECT, at, 0, from, 1, 1};
    return part_of(x, &p);
}

ct_tensor *ct_diagonal(ct_tensor *x, int64_t offset, int axis_a, int axis_b) {
    int a = ct_axis(x, axis_a, "diagonal"), b = ct_axis(x, axis_b, "diagonal");
    if (a < 0 || b < 0) return ct_inert_like(x);
    if (a == b) {
        ct_fail(x->context, CT_ERROR_SHAPE, "diagonal: axis %d is given twice", axis_a);
        return ct_inert_like(x);
    }
    int64_t rows = x->shape[a] + (offset < 0 ? offset : 0), columns = x->shape[b] - (offset > 0 ? offset : 0);
    int64_t count = rows < columns ? rows : columns;
    const part p = {DIAGONAL, a, b, offset, count < 0 ? 0 : count, 1};
    return part_of(x, &p);
}

/* ----------------------------------------------------------------------------------------------- split */

typedef struct split_attributes {
    int axis, count;
    int64_t *sizes;
} split_attributes;

static void split_release(void *attributes) {
    split_attributes *a = attributes;
    /* The block begins with the context that it came from. */
    int64_t *block = a->sizes - 1;
    ct_free(*(ct_context **)block, block);
}

static int64_t *split_sizes(ct_context *context, int count, const int64_t *sizes) {
    int64_t *block = ct_alloc(context, (size_t)(count + 1) * sizeof(int64_t), CT_MEMORY_OTHER);
    if (!block) return NULL;
    _Static_assert(sizeof(ct_context *) <= sizeof(int64_t), "a pointer fits in the block's first place");
    memcpy(block, &context, sizeof(context));
    memcpy(block + 1, sizes, (size_t)count * sizeof(int64_t));
    return block + 1;
}

/* Recording: the parts, with zeros for those that nothing depends on, joined by the differentiable concat. */
static ct_tensor *joined(const ct_vjp *call, const split_attributes *a, const ct_tensor *like) {
    int64_t shape[CT_MAX_DIMS];
    memcpy(shape, ct_operand_shape(call, 0), sizeof(shape));
    ct_tensor **parts = ct_alloc(call->context, (size_t)a->count * sizeof(*parts), CT_MEMORY_OTHER);
    if (!parts) return NULL;
    for (int i = 0; i < a->count; i++) {
        shape[a->axis] = a->sizes[i];
        parts[i] = call->output_gradients[i];
        if (!parts[i])
            parts[i] = ct_full_on(call->context, ct_device_of(like), ct_operand_dtype(call, 0),
                                  ct_operand_ndim(call, 0), shape, 0.0);
    }
    ct_tensor *whole = ct_concat(parts, a->count, a->axis);
    ct_free(call->context, parts);
    return whole;
}

static void split_vjp(const ct_vjp *call, ct_tensor **dx) {
    const split_attributes *a = call->attributes;
    const ct_tensor *like = NULL;
    for (int i = 0; i < a->count && !like; i++)
        like = call->output_gradients[i];
    if (!like) return;
    if (call->recording) {
        dx[0] = joined(call, a, like);
        return;
    }
    int ndim = ct_operand_ndim(call, 0);
    ct_tensor *whole = ct_empty_on(call->context, ct_device_of(like), ct_operand_dtype(call, 0), ndim,
                                   ct_operand_shape(call, 0));
    int64_t shape[CT_MAX_DIMS], at = 0;
    memcpy(shape, whole->shape, sizeof(shape));
    for (int i = 0; i < a->count && !ct_failed(call->context); i++) {
        shape[a->axis] = a->sizes[i];
        ct_tensor *place = ct_view_strided(whole, ndim, shape, whole->stride, at * whole->stride[a->axis]);
        if (call->output_gradients[i])
            ct_raw_copy(place, call->output_gradients[i]);
        else
            ct_fill(place, 0.0);
        at += a->sizes[i];
    }
    dx[0] = whole;
}
static const ct_rule split_rule = {"split", split_vjp, sizeof(split_attributes), split_release};

static ct_status split_check(const ct_tensor *x, int at, int count, const int64_t *sizes) {
    int64_t total = 0;
    bool good = count > 0;
    for (int i = 0; i < count && good; i++)
        good = sizes[i] >= 0 && !__builtin_add_overflow(total, sizes[i], &total);
    if (good && total == x->shape[at]) return CT_OK;
    char text[160];
    return ct_fail(x->context, CT_ERROR_SHAPE, "split: %d parts of %lld in all do not make axis %d of %s",
                   count, (long long)total, at, ct_describe(x, text, sizeof(text)));
}

ct_status ct_split(ct_tensor *x, int axis, int count, const int64_t *sizes, ct_tensor **parts) {
    ct_context *context = x->context;
    int at = ct_axis(x, axis, "split");
    if (at >= 0) split_check(x, at, count, sizes);
    bool good = !stopped(x) && at >= 0;
    int64_t start = 0, shape[CT_MAX_DIMS];
    memcpy(shape, x->shape, sizeof(shape));
    for (int i = 0; i < count; i++) {
        if (at >= 0) shape[at] = sizes[i];
        parts[i] = good ? ct_view_strided(x, x->ndim, shape, x->stride, start * x->stride[at])
                        : ct_inert(context, ct_dtype_of(x), x->ndim, shape);
        start += sizes[i];
    }
    if (!good || !ct_differentiates(x)) return ct_context_status(context);
    split_attributes attributes = {at, count, split_sizes(context, count, sizes)};
    if (attributes.sizes && !ct_record(context, &split_rule, &x, 1, parts, count, &attributes))
        split_release(&attributes);
    return ct_context_status(context);
}
