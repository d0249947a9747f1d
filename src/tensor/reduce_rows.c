/* reduce_rows.c - one number for each row of a tensor. See reduce_rows.h. */
#include "tensor/reduce_rows.h"
#include "tensor/iterate.h"
#include <math.h>

/* Rows of more blocks than this are worked on by block, in parallel, with the partial results in memory. */
#define SHORT_BLOCKS 16

typedef struct row_work {
    ct_reduce_op op;
    ct_reduce kernel;
    ct_dtype compute;
    ct_operand outer, inner;
    bool plain; /* a row is an array of the compute type */
    int64_t rows, length, blocks;
    void *out;
    void *partials; /* [rows, blocks] double, int64_t or ct_softmax_part; long rows only */
} row_work;

/* Elements [first, first + n) of the row at `address`, as an array of the compute type; n <= CT_REDUCE_BLOCK.
 */
typedef union block_tile {
    double real[CT_REDUCE_BLOCK];
    char bytes[CT_REDUCE_BLOCK * 8];
} block_tile;

static const void *load_block(const row_work *work, char *address, int64_t first, int64_t n,
                              block_tile *tile) {
    const ct_operand *inner = &work->inner;
    if (work->plain) return address + first * inner->size;
    if (inner->ndim == 1 && inner->stride[0] == 1) {
        ct_cpu_kernels()->convert(n, inner->dtype, address + first * inner->size, work->compute, tile->bytes);
        return tile->bytes;
    }
    ct_operand row = *inner;
    row.data = address;
    ct_cursor cursor;
    ct_cursor_seek(&cursor, &row, first);
    if (inner->dtype == work->compute) {
        ct_cursor_read(&cursor, n, tile->bytes);
        return tile->bytes;
    }
    double raw[CT_TILE];
    int64_t size = (int64_t)ct_dtype_size(work->compute);
    for (int64_t done = 0; done < n; done += CT_TILE) {
        int64_t part = n - done < CT_TILE ? n - done : CT_TILE;
        ct_cursor_read(&cursor, part, raw);
        ct_cpu_kernels()->convert(part, inner->dtype, raw, work->compute, tile->bytes + done * size);
    }
    return tile->bytes;
}

static int64_t reduce_integers(ct_reduce_op op, int64_t n, const int64_t *x) {
    if (op == CT_REDUCE_MAX_OP || op == CT_REDUCE_MIN_OP) {
        int64_t best = x[0];
        for (int64_t i = 1; i < n; i++)
            if (op == CT_REDUCE_MAX_OP ? x[i] > best : x[i] < best) best = x[i];
        return best;
    }
    uint64_t sum = 0;
    if (op == CT_REDUCE_SUM_OP)
        for (int64_t i = 0; i < n; i++)
            sum += (uint64_t)x[i];
    else
        for (int64_t i = 0; i < n; i++)
            sum += (uint64_t)x[i] * (uint64_t)x[i];
    return (int64_t)sum;
}

/* The part of a soft maximum; a block with both NaN and +inf has to stay NaN. */
static ct_softmax_part soft_block(ct_dtype compute, int64_t n, const void *x) {
    const ct_kernels *kernels = ct_cpu_kernels();
    ct_softmax_part part;
    if (compute == CT_F32)
        kernels->f32.softmax_part(n, x, &part);
    else
        kernels->f64.softmax_part(n, x, &part);
    if (part.max == INFINITY || isnan(part.sum))
        part.max = compute == CT_F32 ? kernels->f32.reduce_block(CT_REDUCE_MAX, n, x, 0)
                                     : kernels->f64.reduce_block(CT_REDUCE_MAX, n, x, 0);
    return part;
}

/* Writes the result of a block to its place among the partial results of the row or of all rows. */
static void reduce_block(const row_work *work, char *address, int64_t block, void *partials, int64_t place) {
    block_tile tile;
    int64_t first = block * CT_REDUCE_BLOCK, n = work->length - first;
    if (n > CT_REDUCE_BLOCK) n = CT_REDUCE_BLOCK;
    const void *x = load_block(work, address, first, n, &tile);
    if (work->compute == CT_I64)
        ((int64_t *)partials)[place] = reduce_integers(work->op, n, x);
    else if (work->op == CT_REDUCE_LOGSUMEXP_OP)
        ((ct_softmax_part *)partials)[place] = soft_block(work->compute, n, x);
    else if (work->compute == CT_F32)
        ((double *)partials)[place] = ct_cpu_kernels()->f32.reduce_block(work->kernel, n, x, 0);
    else
        ((double *)partials)[place] = ct_cpu_kernels()->f64.reduce_block(work->kernel, n, x, 0);
}

static double combine_soft(const row_work *work, const ct_softmax_part *parts) {
    double max = -INFINITY;
    for (int64_t i = 0; i < work->blocks; i++) {
        if (isnan(parts[i].max)) return NAN;
        if (parts[i].max > max) max = parts[i].max;
    }
    if (isinf(max)) return max;
    ct_softmax_part total;
    if (work->compute == CT_F32)
        ct_cpu_kernels()->f32.softmax_combine(work->blocks, parts, &total);
    else
        ct_cpu_kernels()->f64.softmax_combine(work->blocks, parts, &total);
    double logarithm;
    ct_cpu_kernels()->f64.unary(CT_UNARY_LOG, 1, &total.sum, &logarithm, 0, 0);
    return total.max + logarithm;
}

static int64_t combine_integers(const row_work *work, const int64_t *partials) {
    if (work->op == CT_REDUCE_MAX_OP || work->op == CT_REDUCE_MIN_OP)
        return reduce_integers(work->op, work->blocks, partials);
    return reduce_integers(CT_REDUCE_SUM_OP, work->blocks, partials); /* of squares too */
}

static void combine(const row_work *work, int64_t row, const void *partials) {
    double result;
    if (work->compute == CT_I64) {
        ((int64_t *)work->out)[row] = combine_integers(work, partials);
        return;
    }
    if (work->op == CT_REDUCE_LOGSUMEXP_OP)
        result = combine_soft(work, partials);
    else
        result = ct_reduce_combine(work->kernel, work->blocks, partials);
    if (work->compute == CT_F32)
        ((float *)work->out)[row] = (float)result;
    else
        ((double *)work->out)[row] = result;
}

static void short_rows(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const row_work *work = user;
    ct_cursor cursor;
    ct_cursor_seek(&cursor, &work->outer, first);
    for (int64_t row = first; row < last; row++) {
        ct_softmax_part partials[SHORT_BLOCKS]; /* the largest of the kinds */
        char *address = ct_cursor_address(&cursor);
        for (int64_t i = 0; i < work->blocks; i++)
            reduce_block(work, address, i, partials, i);
        combine(work, row, partials);
        ct_cursor_skip(&cursor, 1);
    }
}

/* Rows in memory as they are, the common case: the kernel does the blocks itself. */
static void plain_rows(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const row_work *work = user;
    const ct_kernels *kernels = ct_cpu_kernels();
    ct_cursor cursor;
    ct_cursor_seek(&cursor, &work->outer, first);
    for (int64_t row = first; row < last; row++) {
        const void *x = ct_cursor_address(&cursor);
        if (work->compute == CT_F32)
            ((float *)work->out)[row] = (float)kernels->f32.reduce(work->kernel, work->length, x, 0);
        else
            ((double *)work->out)[row] = kernels->f64.reduce(work->kernel, work->length, x, 0);
        ct_cursor_skip(&cursor, 1);
    }
}

static size_t partial_size(const row_work *work) {
    return work->op == CT_REDUCE_LOGSUMEXP_OP ? sizeof(ct_softmax_part) : sizeof(double);
}

static void long_block(void *user, int64_t index, int worker) {
    (void)worker;
    const row_work *work = user;
    ct_cursor cursor;
    ct_cursor_seek(&cursor, &work->outer, index / work->blocks);
    reduce_block(work, ct_cursor_address(&cursor), index % work->blocks, work->partials, index);
}

static void long_combine(void *user, int64_t row, int worker) {
    (void)worker;
    const row_work *work = user;
    combine(work, row, (const char *)work->partials + (size_t)(row * work->blocks) * partial_size(work));
}

static ct_reduce kernel_of(ct_reduce_op op) {
    switch (op) {
    case CT_REDUCE_MAX_OP:
        return CT_REDUCE_MAX;
    case CT_REDUCE_MIN_OP:
        return CT_REDUCE_MIN;
    case CT_REDUCE_SQUARES_OP:
        return CT_REDUCE_SUM_SQUARES;
    default:
        return CT_KERNEL_REDUCE_SUM;
    }
}

ct_status ct_reduce_rows(ct_context *context, ct_reduce_op op, const ct_reduction *x, int inner, void *out) {
    int outer = x->ndim - inner;
    row_work work = {.op = op, .kernel = kernel_of(op), .compute = ct_compute_type(x->dtype), .out = out};
    ct_operand_make(&work.outer, x->data, x->dtype, outer, x->shape, x->stride);
    ct_operand_make(&work.inner, x->data, x->dtype, inner, x->shape + outer, x->stride + outer);
    work.rows = ct_shape_count(outer, x->shape);
    work.length = ct_shape_count(inner, x->shape + outer);
    work.blocks = (work.length + CT_REDUCE_BLOCK - 1) / CT_REDUCE_BLOCK;
    work.plain =
        x->dtype == work.compute && work.inner.ndim == 1 && (work.inner.stride[0] == 1 || work.length == 1);
    if (work.blocks <= SHORT_BLOCKS) {
        int64_t piece = CT_CHUNK / work.length > 0 ? CT_CHUNK / work.length : 1;
        bool real = work.compute != CT_I64 && op != CT_REDUCE_LOGSUMEXP_OP;
        ct_parallel_ranges(context, work.rows, piece, work.plain && real ? plain_rows : short_rows, &work);
        return ct_context_status(context);
    }
    size_t bytes = (size_t)(work.rows * work.blocks) * partial_size(&work);
    work.partials = ct_alloc(context, bytes, CT_MEMORY_WORKSPACE);
    if (!work.partials) return CT_ERROR_MEMORY;
    ct_parallel_for(context, work.rows * work.blocks, long_block, &work);
    ct_parallel_for(context, work.rows, long_combine, &work);
    ct_free(context, work.partials);
    return ct_context_status(context);
}
