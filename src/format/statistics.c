/* statistics.c - one pass over a tensor of a file: extremes, mean, deviation, norm, counts.
 *
 * Values are taken in groups of 4096 whatever the memory and the threads: a group's mean and sum of squared
 * differences are formed in two passes over it, and groups are put together in their order by the formula of
 * Chan, Golub and LeVeque (Updating formulae and a pairwise algorithm for computing sample variances, 1979).
 */
#include "carat/inspect.h"
#include <math.h>
#include <string.h>

enum { GROUP = 4096, LEAST = 1 << 20 };

typedef struct group {
    int64_t count, zeros, nans, infinities; /* count: of the finite ones */
    double min, max, mean, squares;         /* squares: of the differences from the mean */
    double norm2;
} group;

typedef struct work {
    ct_element type;
    int item; /* bytes of an element, of plain types */
    const unsigned char *bytes;
    int64_t count; /* elements in the buffer */
    uint64_t group_bytes;
    group *groups;
} work;

/* ------------------------------------------------------------------------------------------- one group */

#define WIDEN(type_)                                                                                         \
    for (int64_t i = 0; i < count; i++) {                                                                    \
        type_ value;                                                                                         \
        memcpy(&value, from + i * (int64_t)sizeof value, sizeof value);                                      \
        values[i] = (double)value;                                                                           \
    }                                                                                                        \
    return true

/* Elements as f64: types that f32 cannot hold go there directly. */
static bool widen(ct_element type, const unsigned char *from, double *values, int64_t count) {
    switch ((int)type) {
    case CT_FILE_F64:
        WIDEN(double);
    case CT_FILE_I64:
        WIDEN(int64_t);
    case CT_FILE_U64:
        WIDEN(uint64_t);
    case CT_FILE_I32:
        WIDEN(int32_t);
    case CT_FILE_U32:
        WIDEN(uint32_t);
    default:
        break;
    }
    float narrow[GROUP];
    if (!ct_element_decode(type, from, narrow, count)) return false;
    for (int64_t i = 0; i < count; i++)
        values[i] = (double)narrow[i];
    return true;
}

static group summarize(const double *values, int64_t count) {
    group g = {.min = INFINITY, .max = -INFINITY};
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        double x = values[i];
        if (!isfinite(x)) {
            if (isnan(x))
                g.nans++;
            else
                g.infinities++;
            continue;
        }
        g.count++;
        g.zeros += x == 0;
        g.min = x < g.min ? x : g.min;
        g.max = x > g.max ? x : g.max;
        sum += x;
        g.norm2 += x * x;
    }
    g.mean = g.count ? sum / (double)g.count : 0;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(values[i])) g.squares += (values[i] - g.mean) * (values[i] - g.mean);
    return g;
}

static void take_group(void *user, int64_t index, int worker) {
    (void)worker;
    work *w = user;
    double values[GROUP];
    int64_t left = w->count - index * GROUP, count = left < GROUP ? left : GROUP;
    if (widen(w->type, w->bytes + (uint64_t)index * w->group_bytes, values, count))
        w->groups[index] = summarize(values, count);
}

static void combine(group *total, const group *part) {
    total->zeros += part->zeros;
    total->nans += part->nans;
    total->infinities += part->infinities;
    if (!part->count) return;
    double count = (double)(total->count + part->count), apart = part->mean - total->mean;
    double share = (double)part->count / count;
    total->squares += part->squares + apart * apart * (double)total->count * share;
    total->mean += apart * share;
    total->count += part->count;
    total->norm2 += part->norm2;
    total->min = part->min < total->min ? part->min : total->min;
    total->max = part->max > total->max ? part->max : total->max;
}

/* ------------------------------------------------------------------------------------------ the tensor */

static ct_status stream(ct_archive *archive, const ct_archive_tensor *tensor, ct_context *context,
                        size_t memory, group *total) {
    const ct_element_info *info = ct_element_describe(tensor->type);
    uint64_t group_bytes = (uint64_t)GROUP / (uint64_t)info->block * (uint64_t)info->bytes;
    int64_t most = (int64_t)((memory < LEAST ? LEAST : memory) / (group_bytes + sizeof(group)));
    int64_t all = tensor->count / GROUP + (tensor->count % GROUP != 0);
    if (most > all) most = all;
    unsigned char *bytes = ct_alloc(context, (size_t)most * (size_t)group_bytes, CT_MEMORY_WORKSPACE);
    work w = {.type = tensor->type, .bytes = bytes, .group_bytes = group_bytes};
    w.groups = ct_alloc(context, (size_t)most * sizeof *w.groups, CT_MEMORY_WORKSPACE);
    for (int64_t at = 0; bytes && w.groups && at < all && !ct_failed(context); at += most) {
        int64_t groups = all - at < most ? all - at : most;
        uint64_t offset = (uint64_t)at * group_bytes, left = tensor->size - offset;
        size_t size =
            left < (uint64_t)groups * group_bytes ? (size_t)left : (size_t)((uint64_t)groups * group_bytes);
        w.count = tensor->count - at * GROUP;
        if (w.count > groups * GROUP) w.count = groups * GROUP;
        if (ct_stop_requested(context))
            ct_fail(context, CT_ERROR_INTERRUPTED, "interrupted");
        else if (ct_archive_read(archive, tensor, bytes, offset, size) == CT_OK)
            ct_parallel_for(context, groups, take_group, &w);
        for (int64_t i = 0; i < groups && !ct_failed(context); i++)
            combine(total, &w.groups[i]);
    }
    ct_free(context, w.groups);
    ct_free(context, bytes);
    return ct_context_status(context);
}

ct_status ct_archive_statistics(ct_archive *archive, const ct_archive_tensor *tensor, size_t memory,
                                ct_tensor_statistics *statistics) {
    ct_context *context = ct_archive_context(archive);
    const ct_element_info *info = ct_element_describe(tensor->type);
    group total = {.min = INFINITY, .max = -INFINITY};
    if (ct_failed(context)) return ct_context_status(context);
    bool plain = info->block == 1 || GROUP % info->block == 0;
    if (!info->decodes || !plain)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "%s: tensor \"%s\" is of type %s, which is not decoded",
                       ct_archive_path(archive), tensor->name, info->name);
    if (tensor->count && stream(archive, tensor, context, memory, &total) != CT_OK)
        return ct_context_status(context);
    double n = (double)total.count;
    *statistics = (ct_tensor_statistics){.count = tensor->count,
                                         .zeros = total.zeros,
                                         .nans = total.nans,
                                         .infinities = total.infinities,
                                         .min = n > 0 ? total.min : NAN,
                                         .max = n > 0 ? total.max : NAN,
                                         .mean = n > 0 ? total.mean : NAN,
                                         .deviation = n > 0 ? sqrt(total.squares / n) : NAN,
                                         .norm = n > 0 ? sqrt(total.norm2) : NAN};
    return CT_OK;
}
