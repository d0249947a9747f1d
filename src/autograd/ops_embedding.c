/* ops_embedding.c - embedding tables and dropout. */
#include "autograd/rules.h"

/* Rows of the weight; the gradient's rows are added in order of position. Saved: the ids. */
static void embedding_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *ids = ct_saved(call, 0), *g = ct_rows(call->output_gradients[0]);
    ct_tensor *zeros = call->accumulate[0] ? call->accumulate[0] : ct_zeros_of_operand(call, 0, g);
    ids = ct_reshape(ids, 1, &ids->count);
    if (call->recording) {
        dx[0] = ct_index_add(zeros, 0, ids, g);
        return;
    }
    ct_raw_index_add(zeros, 0, ids,
                     ct_dtype_of(g) == ct_dtype_of(zeros) ? g : ct_raw_cast(g, ct_dtype_of(zeros)));
    dx[0] = zeros;
}
static const ct_rule embedding_rule = {"embedding", embedding_vjp, 0, NULL};

/* An error that names the position, found before anything is read. */
static bool ids_good(const ct_tensor *weight, const ct_tensor *ids) {
    ct_context *context = weight->context;
    ct_dtype dtype = ct_dtype_of(ids);
    char text[160];
    if (weight->ndim != 2 || ids->ndim + 1 > CT_MAX_DIMS) {
        ct_fail(context, CT_ERROR_SHAPE, "embedding: the weight is %s, expected [rows, width]",
                ct_describe(weight, text, sizeof(text)));
        return false;
    }
    if (dtype != CT_I64 && dtype != CT_I32) {
        ct_fail(context, CT_ERROR_TYPE, "embedding: the ids are %s, expected i64 or i32",
                ct_dtype_name(dtype));
        return false;
    }
    const void *data = ct_pointer(ids);
    if (!data || !ct_is_contiguous(ids)) return true; /* the kernel checks too */
    for (int64_t i = 0; i < ids->count; i++) {
        int64_t id = dtype == CT_I64 ? ((const int64_t *)data)[i] : ((const int32_t *)data)[i];
        if (id >= 0 && id < weight->shape[0]) continue;
        ct_fail(context, CT_ERROR_ARGUMENT,
                "embedding: id %lld at position %lld, the weight %s has ids 0 to %lld", (long long)id,
                (long long)i, ct_describe(weight, text, sizeof(text)), (long long)weight->shape[0] - 1);
        return false;
    }
    return true;
}

/* Rows of a generated weight, one by one. */
static ct_tensor *generated_rows(ct_tensor *weight, ct_tensor *list) {
    const ct_storage *storage = weight->storage;
    int64_t width = weight->shape[1];
    ct_tensor *y = ct_empty(weight->context, CT_F32, CT_DIMS(list->count, width));
    int64_t *ids = ct_alloc(weight->context, (size_t)(list->count ? list->count : 1) * sizeof(*ids), CT_MEMORY_WORKSPACE);
    float *out = ct_data_mutable(y);
    if (ids && out && ct_read(list, CT_I64, ids) == CT_OK)
        for (int64_t i = 0; i < list->count; i++) {
            int64_t at = weight->offset + ids[i] * weight->stride[0];
            storage->tile(storage->user, at / storage->tile_columns, at % storage->tile_columns, 1, width, out + i * width,
                          width);
        }
    ct_free(weight->context, ids);
    return y;
}

ct_tensor *ct_embedding(ct_tensor *weight, ct_tensor *ids) {
    ct_context *context = weight->context;
    int ndim = ids->ndim + 1 > CT_MAX_DIMS ? ids->ndim : ids->ndim + 1;
    int64_t shape[CT_MAX_DIMS + 1];
    memcpy(shape, ids->shape, (size_t)ids->ndim * sizeof(*shape));
    shape[ids->ndim] = weight->ndim ? weight->shape[weight->ndim - 1] : 1;
    if (ct_stop_op(context) || !ids_good(weight, ids))
        return ct_inert(context, ct_dtype_of(weight), ndim, shape);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *list = ct_reshape(ids, 1, &ids->count);
    bool generated = weight->storage && weight->storage->tile && weight->stride[1] == 1 && ct_is_contiguous(ids);
    ct_tensor *y = generated ? generated_rows(weight, list) : ct_raw_index_select(weight, 0, list);
    if (!ct_failed(context)) ct_fresh_shape(y, ndim, shape);
    ct_node *node = ct_record(context, &embedding_rule, &weight, 1, &y, 1, NULL);
    if (node) ct_save_value(node, ids);
    return ct_scope_return(context, scope, y);
}

/* ---------------------------------------------------------------------------------------------- dropout */

typedef struct drop {
    double probability;
    uint64_t seed, stream, offset;
} drop;

static ct_tensor *dropout_at(ct_tensor *x, const drop *d);

/* The same elements of the gradient, by the same factor: the mask is drawn again from its counters. */
static void dropout_vjp(const ct_vjp *call, ct_tensor **dx) {
    dx[0] = dropout_at(call->output_gradients[0], call->attributes);
}
static const ct_rule dropout_rule = {"dropout", dropout_vjp, sizeof(drop), NULL};

static ct_tensor *dropout_at(ct_tensor *x, const drop *d) {
    ct_tensor *y = ct_raw_dropout(x, d->probability, d->seed, d->stream, d->offset);
    ct_record(x->context, &dropout_rule, &x, 1, &y, 1, d);
    return y;
}

ct_tensor *ct_dropout(ct_tensor *x, double probability, ct_random *random) {
    if (ct_stop_op(x->context)) return ct_inert_like(x);
    if (probability == 0) return x;
    const drop d = {probability, random->seed, random->stream, random->offset};
    random->offset += (uint64_t)x->count;
    return dropout_at(x, &d);
}
