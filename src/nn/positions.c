/* positions.c - at which positions of their sequences the tokens of a batch stand. */
#include "nn/positions.h"

/* Positions of rows that hold several samples: from 0 in each. */
static void restart(const ct_tensor *segments, int64_t batch, int64_t time, int32_t *data) {
    const int32_t *number = ct_data(segments);
    for (int64_t b = 0; number && data && b < batch; b++)
        for (int64_t t = 0; t < time; t++) {
            int64_t i = b * time + t;
            data[i] = t > 0 && number[i] == number[i - 1] ? data[i - 1] + 1 : 0;
        }
}

static int64_t first_of(const ct_kv_cache *cache, int64_t row) {
    return cache ? ct_kv_cache_length(cache, ct_kv_cache_row(cache, row)) : 0;
}

static bool all_alike(ct_run *run, int64_t batch) {
    const ct_kv_cache *cache = ct_run_cache(run);
    if (ct_run_segments(run)) return false;
    for (int64_t b = 1; cache && b < batch; b++)
        if (first_of(cache, b) != first_of(cache, 0)) return false;
    return true;
}

static bool segments_fit(ct_tensor *segments, int64_t batch, int64_t time) {
    if (!segments || (ct_dim(segments, 0) == batch && ct_dim(segments, 1) == time)) return true;
    char text[160];
    ct_fail(ct_context_of(segments), CT_ERROR_SHAPE, "segments: %s, the ids are [%lld, %lld]",
            ct_describe(segments, text, sizeof(text)), (long long)batch, (long long)time);
    return false;
}

ct_tensor *ct_run_positions(ct_run *run, int64_t batch, int64_t time, int64_t limit, bool merge) {
    ct_context *context = ct_run_context(run);
    const ct_kv_cache *cache = ct_run_cache(run);
    ct_tensor *segments = ct_run_segments(run);
    int64_t rows = merge && batch > 0 && all_alike(run, batch) ? 1 : batch;
    ct_tensor *result = ct_empty(context, CT_I32, CT_DIMS(rows, time));
    int32_t *data = ct_data_mutable(result);
    if (!segments_fit(segments, batch, time)) return result;
    for (int64_t b = 0; b < rows; b++) {
        int64_t first = first_of(cache, b);
        if (first + time > limit) {
            ct_fail(context, CT_ERROR_ARGUMENT, "the sequence would have %lld positions, the model has %lld",
                    (long long)(first + time), (long long)limit);
            return result;
        }
        for (int64_t t = 0; data && t < time; t++)
            data[b * time + t] = (int32_t)(first + t);
    }
    if (segments) restart(segments, batch, time, data);
    return result;
}
