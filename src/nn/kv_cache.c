/* kv_cache.c - keys and values of past positions. Every row of a batch is kept and attended by itself, so
 * that the bits of a generated sequence do not depend on what else is in the batch. */
#include "nn/module.h"

typedef struct layer_row {
    ct_tensor *k, *v; /* held; [kv_heads, capacity, channels] */
} layer_row;

struct ct_kv_cache {
    ct_context *context;
    int64_t layers, rows, capacity;
    int64_t *lengths;       /* [rows] */
    int64_t *selected;      /* [rows] the rows of the present batch */
    int64_t selected_count; /* 0: 0, 1, ... */
    layer_row *store;       /* [layers][rows], made at first use */
};

ct_kv_cache *ct_kv_cache_create(ct_context *context, int64_t layers, int64_t rows, int64_t capacity) {
    /* A model without attention has no layers to keep; its cache is empty. */
    if (layers < 0 || rows < 1 || capacity < 1 || layers > INT32_MAX || rows > INT32_MAX) {
        ct_fail(context, CT_ERROR_ARGUMENT,
                "kv_cache: it cannot have %lld layers, %lld rows and %lld positions", (long long)layers,
                (long long)rows, (long long)capacity);
        return NULL;
    }
    ct_kv_cache *cache = ct_alloc_zero(context, sizeof(*cache), CT_MEMORY_OTHER);
    if (!cache) return NULL;
    cache->context = context;
    cache->layers = layers;
    cache->rows = rows;
    cache->capacity = capacity;
    cache->lengths = ct_alloc_zero(context, (size_t)rows * sizeof(int64_t), CT_MEMORY_OTHER);
    cache->selected = ct_alloc_zero(context, (size_t)rows * sizeof(int64_t), CT_MEMORY_OTHER);
    cache->store = ct_alloc_zero(context, (size_t)(layers * rows) * sizeof(layer_row), CT_MEMORY_OTHER);
    if (cache->lengths && cache->selected && cache->store) return cache;
    ct_kv_cache_destroy(cache);
    return NULL;
}

void ct_kv_cache_destroy(ct_kv_cache *cache) {
    if (!cache) return;
    for (int64_t i = 0; cache->store && i < cache->layers * cache->rows; i++) {
        ct_drop(cache->store[i].k);
        ct_drop(cache->store[i].v);
    }
    ct_free(cache->context, cache->lengths);
    ct_free(cache->context, cache->selected);
    ct_free(cache->context, cache->store);
    ct_free(cache->context, cache);
}

int64_t ct_kv_cache_length(const ct_kv_cache *cache, int64_t row) {
    return row >= 0 && row < cache->rows ? cache->lengths[row] : 0;
}

int64_t ct_kv_cache_capacity(const ct_kv_cache *cache) {
    return cache->capacity;
}

ct_status ct_kv_cache_truncate(ct_kv_cache *cache, int64_t row, int64_t length) {
    if (row < 0 || row >= cache->rows || length < 0 || length > cache->lengths[row])
        return ct_fail(cache->context, CT_ERROR_ARGUMENT,
                       "kv_cache: row %lld cannot be cut to %lld positions", (long long)row,
                       (long long)length);
    cache->lengths[row] = length;
    return CT_OK;
}

ct_status ct_kv_cache_swap_rows(ct_kv_cache *cache, int64_t a, int64_t b) {
    if (a < 0 || a >= cache->rows || b < 0 || b >= cache->rows)
        return ct_fail(cache->context, CT_ERROR_ARGUMENT,
                       "kv_cache: rows %lld and %lld are not both below %lld", (long long)a, (long long)b,
                       (long long)cache->rows);
    for (int64_t layer = 0; layer < cache->layers; layer++) {
        layer_row *first = &cache->store[layer * cache->rows + a],
                  *second = &cache->store[layer * cache->rows + b];
        layer_row swapped = *second;
        *second = *first;
        *first = swapped;
    }
    int64_t length = cache->lengths[a];
    cache->lengths[a] = cache->lengths[b];
    cache->lengths[b] = length;
    return CT_OK;
}

void ct_kv_cache_select(ct_kv_cache *cache, const int64_t *rows, int64_t count) {
    cache->selected_count = 0;
    if (!rows) return;
    bool fits = count >= 1 && count <= cache->rows;
    for (int64_t i = 0; fits && i < count; i++)
        fits = rows[i] >= 0 && rows[i] < cache->rows;
    if (!fits) {
        ct_fail(cache->context, CT_ERROR_ARGUMENT,
                "kv_cache: %lld rows were selected that are not among its %lld", (long long)count,
                (long long)cache->rows);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        cache->selected[i] = rows[i];
    cache->selected_count = count;
}

/* -1 for an entry that has no row. */
int64_t ct_kv_cache_row(const ct_kv_cache *cache, int64_t entry) {
    int64_t limit = cache->selected_count ? cache->selected_count : cache->rows;
    if (entry < 0 || entry >= limit) return -1;
    return cache->selected_count ? cache->selected[entry] : entry;
}

/* One sequence: its new keys and values are stored, its queries see all of them. */
static ct_tensor *attend_row(ct_kv_cache *cache, int64_t layer, int64_t entry, ct_tensor *q, ct_tensor *k,
                             ct_tensor *v, const ct_attention_options *options) {
    ct_context *context = cache->context;
    int64_t row = ct_kv_cache_row(cache, entry), past = cache->lengths[row], time = ct_dim(k, 2);
    layer_row *store = &cache->store[layer * cache->rows + row];
    if (past + time > cache->capacity) {
        ct_fail(context, CT_ERROR_ARGUMENT, "the sequence would have %lld positions, the cache holds %lld",
                (long long)(past + time), (long long)cache->capacity);
        return q;
    }
    if (!store->k) {
        store->k =
            ct_hold(ct_empty(context, ct_dtype_of(k), CT_DIMS(ct_dim(k, 1), cache->capacity, ct_dim(k, 3))));
        store->v =
            ct_hold(ct_empty(context, ct_dtype_of(v), CT_DIMS(ct_dim(v, 1), cache->capacity, ct_dim(v, 3))));
    }
    ct_copy_into(ct_slice(store->k, 1, past, past + time, 1), ct_select(k, 0, entry));
    ct_copy_into(ct_slice(store->v, 1, past, past + time, 1), ct_select(v, 0, entry));
    ct_tensor *all_k = ct_unsqueeze(ct_slice(store->k, 1, 0, past + time, 1), 0);
    ct_tensor *all_v = ct_unsqueeze(ct_slice(store->v, 1, 0, past + time, 1), 0);
    return ct_attention(ct_slice(q, 0, entry, entry + 1, 1), all_k, all_v, options);
}

ct_tensor *ct_kv_cache_attend(ct_kv_cache *cache, int64_t layer, ct_tensor *q, ct_tensor *k, ct_tensor *v,
                              const ct_attention_options *options) {
    ct_context *context = cache->context;
    int64_t batch = ct_dim(q, 0), limit = cache->selected_count ? cache->selected_count : cache->rows;
    if (ct_failed(context)) return q;
    if (batch > limit || layer < 0 || layer >= cache->layers) {
        ct_fail(context, CT_ERROR_ARGUMENT,
                "kv_cache: a batch of %lld rows at layer %lld; it was made for %lld and %lld",
                (long long)batch, (long long)layer, (long long)limit, (long long)cache->layers);
        return q;
    }
    ct_attention_options causal = *options;
    causal.causal = true;
    ct_tensor **parts = ct_alloc(context, (size_t)batch * sizeof(*parts), CT_MEMORY_OTHER);
    if (!parts) return q;
    for (int64_t i = 0; i < batch; i++)
        parts[i] = attend_row(cache, layer, i, q, k, v, &causal);
    ct_tensor *result = batch == 1 ? parts[0] : ct_concat(parts, (int)batch, 0);
    ct_free(context, parts);
    if (layer == cache->layers - 1 && !ct_failed(context))
        for (int64_t i = 0; i < batch; i++)
            cache->lengths[ct_kv_cache_row(cache, i)] += ct_dim(k, 2);
    return result;
}
