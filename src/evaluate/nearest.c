/* nearest.c - the vectors nearest to a query by cosine: all of them are looked at. */
#include <carat/evaluate.h>
#include <math.h>
#include <string.h>

enum { BLOCK = 1024 }; /* vectors of one task */

typedef struct search {
    const float *vectors, *query;
    int64_t count, width, most;
    double query_norm;
    ct_neighbour *best; /* [blocks][most], greatest first */
    int64_t *kept;      /* [blocks] */
} search;

static double cosine(const search *s, const float *vector) {
    double dot = 0, square = 0;
    for (int64_t i = 0; i < s->width; i++) {
        dot += (double)vector[i] * s->query[i];
        square += (double)vector[i] * vector[i];
    }
    double norms = sqrt(square) * s->query_norm;
    return norms > 0 ? dot / norms : 0;
}

/* Into a sorted list of at most `most`: of equal cosines the one that came first stays first. */
static int64_t insert(ct_neighbour *list, int64_t count, int64_t most, ct_neighbour found) {
    if (count == most && !(found.cosine > list[count - 1].cosine)) return count;
    int64_t at = count < most ? count++ : count - 1;
    for (; at > 0 && found.cosine > list[at - 1].cosine; at--)
        list[at] = list[at - 1];
    list[at] = found;
    return count;
}

static void search_block(void *user, int64_t index, int worker) {
    (void)worker;
    search *s = user;
    int64_t end = (index + 1) * BLOCK < s->count ? (index + 1) * BLOCK : s->count;
    for (int64_t i = index * BLOCK; i < end; i++)
        s->kept[index] = insert(s->best + index * s->most, s->kept[index], s->most,
                                (ct_neighbour){i, cosine(s, s->vectors + i * s->width)});
}

int64_t ct_nearest_vectors(ct_context *context, const float *vectors, int64_t count, int64_t width,
                           const float *query, int64_t most, ct_neighbour *found) {
    if (ct_failed(context)) return -1;
    if (most > count) most = count;
    if (most < 1) return 0;
    int64_t blocks = (count + BLOCK - 1) / BLOCK, kept = 0;
    search s = {vectors, query, count, width, most, 0, NULL, NULL};
    for (int64_t i = 0; i < width; i++)
        s.query_norm += (double)query[i] * query[i];
    s.query_norm = sqrt(s.query_norm);
    if (!isfinite(s.query_norm)) {
        ct_fail(context, CT_ERROR_NUMERIC, "the query's vector is not finite");
        return -1;
    }
    if (most <= INT64_MAX / blocks / (int64_t)sizeof(ct_neighbour))
        s.best = ct_alloc(context, (size_t)(blocks * most) * sizeof(ct_neighbour), CT_MEMORY_WORKSPACE);
    s.kept = ct_alloc_zero(context, (size_t)blocks * sizeof(int64_t), CT_MEMORY_WORKSPACE);
    if (s.best && s.kept) {
        ct_parallel_for(context, blocks, search_block, &s);
        for (int64_t b = 0; b < blocks; b++)
            for (int64_t i = 0; i < s.kept[b]; i++)
                kept = insert(found, kept, most, s.best[b * most + i]);
    } else {
        ct_fail(context, CT_ERROR_MEMORY, "no memory for %lld neighbours", (long long)most);
    }
    ct_free(context, s.best);
    ct_free(context, s.kept);
    return ct_failed(context) ? -1 : kept;
}
