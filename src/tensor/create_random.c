/* create_random.c - random tensors and random changes in place.
 *
 * Element i (row-major) of a fill is a function of (seed, stream, offset + i) only, so ranges are drawn on
 * any thread in any order. bf16 and f16 are conversions of the f32 draws; strided targets and these types
 * pass through a tile. */
#include "tensor/raw.h"
#include "tensor/iterate.h"
#include "tensor/raw_copy.h"
#include <math.h>

typedef enum draw_kind { DRAW_UNIFORM, DRAW_NORMAL, DRAW_PERTURB } draw_kind;
typedef struct draw_work {
    draw_kind kind;
    double a, b; /* low and high; mean and deviation; alpha */
    ct_random_range random;
    ct_operand target;
    bool dense;
} draw_work;

static void draw_f32(const draw_work *work, int64_t first, int64_t n, float *y) {
    const ct_kernels_f32 *kernels = &ct_cpu_kernels()->f32;
    ct_random_range range = work->random;
    range.offset += (uint64_t)first;
    if (work->kind == DRAW_UNIFORM)
        kernels->random_uniform(n, y, work->a, work->b, range);
    else if (work->kind == DRAW_NORMAL)
        kernels->random_normal(n, y, work->a, work->b, range);
    else
        kernels->random_perturb(n, y, work->a, range);
}
static void draw_f64(const draw_work *work, int64_t first, int64_t n, double *y) {
    const ct_kernels_f64 *kernels = &ct_cpu_kernels()->f64;
    ct_random_range range = work->random;
    range.offset += (uint64_t)first;
    if (work->kind == DRAW_UNIFORM)
        kernels->random_uniform(n, y, work->a, work->b, range);
    else if (work->kind == DRAW_NORMAL)
        kernels->random_normal(n, y, work->a, work->b, range);
    else
        kernels->random_perturb(n, y, work->a, range);
}

static void draw_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const draw_work *work = user;
    const ct_operand *target = &work->target;
    bool wide = target->dtype == CT_F64, direct = wide || target->dtype == CT_F32;
    if (work->dense && direct) {
        if (wide)
            draw_f64(work, first, last - first, (double *)target->data + first);
        else
            draw_f32(work, first, last - first, (float *)target->data + first);
        return;
    }
    double tile[CT_TILE], raw[CT_TILE]; /* f32 uses half of each */
    ct_cursor in, out;
    ct_cursor_seek(&out, target, first);
    in = out;
    for (; first < last; first += CT_TILE) {
        int64_t n = last - first < CT_TILE ? last - first : CT_TILE;
        if (work->kind == DRAW_PERTURB) {
            ct_cursor_read(&in, n, direct ? tile : raw);
            if (!direct) ct_cpu_kernels()->convert(n, target->dtype, raw, CT_F32, tile);
        }
        if (wide)
            draw_f64(work, first, n, tile);
        else
            draw_f32(work, first, n, (float *)tile);
        if (!direct) ct_cpu_kernels()->convert(n, CT_F32, tile, target->dtype, raw);
        ct_cursor_write(&out, n, direct ? tile : raw);
    }
}

/* Draws into a checked target. */
static ct_status draw(const char *operation, ct_tensor *target, draw_kind kind, double a, double b,
                      ct_random *random) {
    ct_context *context = target->context;
    if (!ct_operands_ready(operation, 1, (const ct_tensor *const[]){target}) ||
        !ct_target_ready(operation, target))
        return ct_context_status(context);
    if (!ct_dtype_is_float((ct_dtype)target->dtype))
        return ct_fail(context, CT_ERROR_TYPE, "%s: a floating-point type is expected, found %s", operation,
                       ct_dtype_name((ct_dtype)target->dtype));
    if (!random) return ct_fail(context, CT_ERROR_ARGUMENT, "%s: no random generator was given", operation);
    if (!isfinite(a) || !isfinite(b))
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s: parameters %g and %g have to be finite", operation, a,
                       b);
    if (!ct_is_meta(target)) {
        draw_work work = {
            .kind = kind, .a = a, .b = b, .random = {random->seed, random->stream, random->offset}};
        ct_operand_broadcast(&work.target, target, target->ndim, target->shape);
        work.dense = ct_dense(target);
        ct_parallel_ranges(context, target->count, CT_CHUNK / 2, draw_range, &work);
    }
    random->offset += (uint64_t)target->count;
    return ct_context_status(context);
}

ct_status ct_fill_uniform(ct_tensor *target, double low, double high, ct_random *random) {
    ct_touch(target);
    return draw("fill_uniform", target, DRAW_UNIFORM, low, high, random);
}
ct_status ct_fill_normal(ct_tensor *target, double mean, double deviation, ct_random *random) {
    ct_touch(target);
    return draw("fill_normal", target, DRAW_NORMAL, mean, deviation, random);
}
ct_status ct_perturb(ct_tensor *target, double alpha, ct_random *random) {
    ct_touch(target);
    return draw("perturb", target, DRAW_PERTURB, alpha, 0, random);
}

static ct_tensor *random_tensor(const char *operation, ct_context *context, ct_dtype dtype, int ndim,
                                const int64_t *shape, draw_kind kind, double a, double b, ct_random *random) {
    ct_tensor *t = ct_empty(context, dtype, ndim, shape);
    if (draw(operation, t, kind, a, b, random) == CT_OK) return t;
    return ct_inert(context, dtype, t->ndim, t->shape);
}

ct_tensor *ct_random_uniform_tensor(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape,
                                    double low, double high, ct_random *random) {
    return random_tensor("random_uniform", context, dtype, ndim, shape, DRAW_UNIFORM, low, high, random);
}
ct_tensor *ct_random_normal_tensor(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape,
                                   double mean, double deviation, ct_random *random) {
    return random_tensor("random_normal", context, dtype, ndim, shape, DRAW_NORMAL, mean, deviation, random);
}

/* -------------------------------------------------------------------------- integers, masks, permutations */

typedef struct integer_work {
    ct_random random;
    int64_t low, high; /* permutation: 0, count */
    char *data;
    ct_dtype dtype;
    double probability;
} integer_work;

static void integer_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const integer_work *work = user;
    int64_t tile[CT_TILE];
    for (; first < last; first += CT_TILE) {
        int64_t n = last - first < CT_TILE ? last - first : CT_TILE;
        ct_random random = work->random;
        random.offset += (uint64_t)first;
        for (int64_t i = 0; i < n; i++)
            tile[i] = ct_random_integer(&random, work->low, work->high);
        ct_cpu_kernels()->convert(n, CT_I64, tile, work->dtype,
                                  work->data + first * (int64_t)ct_dtype_size(work->dtype));
    }
}
static void permutation_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const integer_work *work = user;
    int64_t *out = (int64_t *)work->data;
    for (int64_t i = first; i < last; i++)
        out[i] = ct_random_permuted(work->random.seed, work->random.stream, work->high, i);
}
static void bernoulli_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const integer_work *work = user;
    ct_random_range range = {work->random.seed, work->random.stream, work->random.offset + (uint64_t)first};
    ct_cpu_kernels()->random_bernoulli(last - first, (uint8_t *)work->data + first, work->probability, range);
}

/* `t` is new; advances the generator also on meta. */
static ct_tensor *fill_integers(ct_tensor *t, integer_work *work, int64_t piece, ct_range_task task,
                                ct_random *random) {
    if (!t->storage) return t;
    work->random = *random;
    work->data = ct_pointer(t);
    work->dtype = (ct_dtype)t->dtype;
    if (!ct_is_meta(t)) ct_parallel_ranges(t->context, t->count, piece, task, work);
    random->offset += (uint64_t)t->count;
    return t;
}

static bool has_random(ct_context *context, const char *operation, const ct_random *random) {
    if (!random) ct_fail(context, CT_ERROR_ARGUMENT, "%s: no random generator was given", operation);
    return random != NULL;
}

ct_tensor *ct_random_integer_tensor(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape,
                                    int64_t low, int64_t high, ct_random *random) {
    if (has_random(context, "random_integer", random) && low >= high)
        ct_fail(context, CT_ERROR_ARGUMENT, "random_integer: low %lld is not below high %lld", (long long)low,
                (long long)high);
    integer_work work = {.low = low, .high = high};
    return fill_integers(ct_empty(context, dtype, ndim, shape), &work, 4 * CT_TILE, integer_range, random);
}

ct_tensor *ct_random_bernoulli_tensor(ct_context *context, int ndim, const int64_t *shape, double probability,
                                      ct_random *random) {
    if (has_random(context, "random_bernoulli", random) && !(probability >= 0 && probability <= 1))
        ct_fail(context, CT_ERROR_ARGUMENT, "random_bernoulli: probability %g is not in [0, 1]", probability);
    integer_work work = {.probability = probability};
    return fill_integers(ct_empty(context, CT_U8, ndim, shape), &work, CT_CHUNK, bernoulli_range, random);
}

ct_tensor *ct_random_permutation_tensor(ct_context *context, int64_t count, ct_random *random) {
    has_random(context, "random_permutation", random);
    ct_tensor *t = ct_empty(context, CT_I64, 1, &count);
    if (!t->storage) return t;
    integer_work work = {.high = count};
    /* A permutation has (seed, stream) only: each offset is given a stream of its own. Offset 0 keeps its
     * name. */
    ct_random named = {random->seed, random->stream + random->offset * 0x9e3779b97f4a7c15u, 0};
    fill_integers(t, &work, CT_TILE, permutation_range, &named);
    random->offset += (uint64_t)count;
    return t;
}
