/* ops_cases_shape.c - cases: reductions, sorting, views, joining and indexing. Functions that are linear are
 * followed by a square, so that they have a second derivative. */
#include "ops_cases.h"
#include <math.h>

#define AXES(...)                                                                                            \
    (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), (const int[]) {                                       \
        __VA_ARGS__                                                                                          \
    }
#define IDS(like, dims, ...) ops_ids(like, dims, (const int64_t[]){__VA_ARGS__})
#define SQUARED(name, expression) OPS_FUNCTION(name, ct_square(expression))

SQUARED(f_sum_all, ct_sum_all(x[0]))
SQUARED(f_sum, ct_sum(x[0], AXES(-1, 0), false))
SQUARED(f_sum_keep, ct_sum(x[0], AXES(1), true))
SQUARED(f_mean, ct_mean(x[0], AXES(-2), false))
SQUARED(f_mean_all, ct_mean_all(x[0]))
OPS_FUNCTION(f_variance, ct_variance(x[0], AXES(-1), false, 1))
OPS_FUNCTION(f_variance_all, ct_variance(x[0], 0, NULL, true, 0))
OPS_FUNCTION(f_norm, ct_norm(x[0], 2, AXES(-1), false))
OPS_FUNCTION(f_norm_one, ct_square(ct_norm(x[0], 1, AXES(0), true)))
OPS_FUNCTION(f_norm_three, ct_norm(x[0], 3, 0, NULL, false))
OPS_FUNCTION(f_norm_half, ct_norm(x[0], 0.5, AXES(1), false))
OPS_FUNCTION(f_norm_largest, ct_square(ct_norm(x[0], INFINITY, AXES(-1), false)))
SQUARED(f_max, ct_max(x[0], AXES(-1), false))
SQUARED(f_max_all, ct_max(x[0], 0, NULL, false))
SQUARED(f_min, ct_min(x[0], AXES(0, 2), true))
OPS_FUNCTION(f_logsumexp, ct_logsumexp(x[0], AXES(-1), false))
OPS_FUNCTION(f_logsumexp_two, ct_logsumexp(x[0], AXES(0, 2), true))
SQUARED(f_cumsum, ct_cumsum(x[0], -2))
SQUARED(f_sort, ct_cumsum(ct_sort(x[0], 1, true, NULL), 1))
SQUARED(f_sort_last, ct_cumsum(ct_sort(x[0], -1, false, NULL), -1))
SQUARED(f_topk, ct_cumsum(ct_topk(x[0], 2, 1, true, NULL), 1))
SQUARED(f_topk_smallest, ct_cumsum(ct_topk(x[0], 2, -1, false, NULL), -1))

SQUARED(f_reshape, ct_cumsum(ct_reshape(x[0], CT_DIMS(4, -1)), 0))
SQUARED(f_permute, ct_cumsum(ct_permute(x[0], AXES(2, 0, -2)), 0))
SQUARED(f_transpose, ct_cumsum(ct_transpose(x[0], 0, -1), 0))
SQUARED(f_expand, ct_cumsum(ct_expand(x[0], CT_DIMS(2, 3, 4)), 1))
SQUARED(f_squeeze, ct_cumsum(ct_squeeze(x[0], -2), 0))
SQUARED(f_unsqueeze, ct_cumsum(ct_unsqueeze(x[0], -1), 1))
SQUARED(f_slice, ct_cumsum(ct_slice(x[0], -1, 1, 4, 2), -1))
SQUARED(f_slice_end, ct_cumsum(ct_slice(x[0], 1, -2, INT64_MAX, 1), 0))
SQUARED(f_select, ct_cumsum(ct_select(x[0], 1, -1), 0))
SQUARED(f_diagonal, ct_cumsum(ct_diagonal(x[0], 1, 1, -1), 0))
SQUARED(f_diagonal_below, ct_cumsum(ct_diagonal(x[0], -1, 2, 0), -1))
SQUARED(f_concat, ct_cumsum(ct_concat((ct_tensor *const[]){x[0], x[1], x[0]}, 3, -1), -1))
SQUARED(f_stack, ct_cumsum(ct_stack((ct_tensor *const[]){x[0], x[1]}, 2, -1), 0))
SQUARED(f_pad, ct_cumsum(ct_pad(x[0], (int64_t[]){1, -1, 0}, (int64_t[]){0, 2, -2}, 0.5), 1))
SQUARED(f_flip, ct_cumsum(ct_flip(x[0], AXES(0, -1)), -1))
SQUARED(f_roll, ct_cumsum(ct_roll(x[0], -5, -1), -1))
SQUARED(f_gather, ct_gather(x[0], 1, IDS(x[0], CT_DIMS(2, 2), 0, 2, 2, 2)))
SQUARED(f_scatter_add, ct_scatter_add(x[0], -1, IDS(x[0], CT_DIMS(2, 4), 0, 2, 2, 1, 1, 1, 0, 1), x[1]))
SQUARED(f_scatter, ct_scatter(x[0], -1, IDS(x[0], CT_DIMS(2, 4), 0, 2, 2, 1, 1, 1, 0, 1), x[1]))
SQUARED(f_index_select, ct_index_select(x[0], -1, IDS(x[0], CT_DIMS(4), 2, 0, 2, 1)))
SQUARED(f_index_add, ct_index_add(x[0], 0, IDS(x[0], CT_DIMS(3), 1, 1, 0), x[1]))
SQUARED(f_tril, ct_tril(x[0], 1))
SQUARED(f_triu, ct_triu(x[0], -1))

/* Parts of unequal size; of three only the outer two are used. */
static ct_tensor *f_split(void *user, ct_tensor *const *x) {
    (void)user;
    ct_tensor *parts[3];
    ct_split(x[0], -1, 3, (int64_t[]){1, 2, 1}, parts);
    return ct_mul(ct_square(parts[0]), ct_exp(parts[2]));
}

#define CUBE                                                                                                 \
    { 3, {2, 3, 4}, 0.2, 1.5, true }
#define MATRIX(rows, columns)                                                                                \
    { 2, {rows, columns}, 0.2, 1.5, true }
#define ONE(operation, variant, name)                                                                        \
    { #operation, variant, f_##name, {CUBE }, 1, 0 }

const ops_case ops_cases_shape[] = {
    ONE(sum_all, "", sum_all),
    ONE(sum, "two axes", sum),
    ONE(sum, "keep", sum_keep),
    ONE(mean, "", mean),
    ONE(mean_all, "", mean_all),
    ONE(variance, "", variance),
    ONE(variance, "all, keep", variance_all),
    ONE(norm, "2", norm),
    ONE(norm, "1", norm_one),
    ONE(norm, "3", norm_three),
    {"norm", "1/2", f_norm_half, {{2, {2, 3}, 0.5, 1.5, true}}, 1, 1e-5},
    ONE(norm, "infinity", norm_largest),
    ONE(max, "", max),
    ONE(max, "all", max_all),
    ONE(min, "keep", min),
    ONE(logsumexp, "", logsumexp),
    ONE(logsumexp, "two axes", logsumexp_two),
    ONE(cumsum, "", cumsum),
    ONE(sort, "", sort),
    ONE(sort, "last", sort_last),
    ONE(topk, "", topk),
    ONE(topk, "smallest", topk_smallest),
    ONE(reshape, "", reshape),
    ONE(permute, "", permute),
    ONE(transpose, "", transpose),
    {"expand", "", f_expand, {{2, {3, 1}, 0.2, 1.5, true}}, 1, 0},
    {"squeeze", "", f_squeeze, {{3, {2, 1, 3}, 0.2, 1.5, true}}, 1, 0},
    {"unsqueeze", "", f_unsqueeze, {MATRIX(2, 3)}, 1, 0},
    ONE(slice, "", slice),
    ONE(slice, "to the end", slice_end),
    ONE(select, "", select),
    ONE(diagonal, "", diagonal),
    ONE(diagonal, "below", diagonal_below),
    {"concat", "", f_concat, {MATRIX(2, 3), MATRIX(2, 2)}, 2, 0},
    {"stack", "", f_stack, {MATRIX(2, 3), MATRIX(2, 3)}, 2, 0},
    ONE(split, "", split),
    ONE(pad, "", pad),
    ONE(flip, "", flip),
    ONE(roll, "", roll),
    {"gather", "", f_gather, {MATRIX(2, 3)}, 1, 0},
    {"scatter_add", "", f_scatter_add, {MATRIX(2, 3), MATRIX(2, 4)}, 2, 0},
    {"scatter", "", f_scatter, {MATRIX(2, 3), MATRIX(2, 4)}, 2, 0},
    {"index_select", "", f_index_select, {MATRIX(2, 3)}, 1, 0},
    {"index_add", "", f_index_add, {MATRIX(2, 3), MATRIX(3, 3)}, 2, 0},
    ONE(tril, "", tril),
    ONE(triu, "", triu),
};
const int ops_cases_shape_count = (int)(sizeof(ops_cases_shape) / sizeof(*ops_cases_shape));
