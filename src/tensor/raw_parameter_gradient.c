/* raw_parameter_gradient.c - gradients of weights, biases and gains, formed sequence by sequence. */
#include "base/context.h"
#include "tensor/onednn.h"
#include "tensor/raw_rows.h"
#include <string.h>

/* A tensor [sequences, time, channels] of what has leading axes [sequences, ...]; fewer than three axes are
 * one sequence. Strides as they are where the axes allow it, else a copy. */
static ct_tensor *as_sequences(ct_tensor *t) {
    int64_t channels = ct_last(t), sequences = t->ndim > 2 ? t->shape[0] : 1;
    int64_t time = sequences > 0 && channels > 0 ? t->count / (sequences * channels) : 0;
    bool plain = t->ndim == 3 || (t->ndim == 2 && ct_is_contiguous(t));
    if (t->ndim == 3) return t;
    if (!plain) t = ct_raw_contiguous(t);
    const int64_t shape[3] = {sequences, time, channels}, stride[3] = {time * channels, channels, 1};
    return ct_view_strided(t, 3, shape, stride, 0);
}

/* The factors of a^T b for one sequence; a [sequences, time, rows], b [sequences, time, columns]. */
static void factors(const ct_tensor *a, const ct_tensor *b, int64_t sequence, ct_gemm_operand *left,
                    ct_gemm_operand *right) {
    *left = (ct_gemm_operand){
        .dtype = (ct_dtype)a->dtype, .row_stride = a->stride[2], .col_stride = a->stride[1]};
    *right = (ct_gemm_operand){
        .dtype = (ct_dtype)b->dtype, .row_stride = b->stride[1], .col_stride = b->stride[2]};
    left->data = ct_at(ct_pointer(a), left->dtype, sequence * a->stride[0]);
    right->data = ct_at(ct_pointer(b), right->dtype, sequence * b->stride[0]);
}

/* Types below f32 keep their products whole (their sums would be rounded once a sequence), and so does
 * oneDNN. */
static bool is_whole(const ct_tensor *a, const ct_tensor *b, ct_dtype out) {
    if (out != CT_F32 && out != CT_F64) return true;
    ct_gemm_operand left, right;
    if (ct_is_meta(a) || a->ndim < 2 || b->ndim < 2) return false;
    int64_t time = ct_row_count(a);
    left = (ct_gemm_operand){ct_pointer(a), (ct_dtype)a->dtype, 1, ct_last(a), NULL, NULL, NULL};
    right = (ct_gemm_operand){ct_pointer(b), (ct_dtype)b->dtype, ct_last(b), 1, NULL, NULL, NULL};
    return ct_onednn_takes(a->context, ct_last(a), ct_last(b), time, &left, &right, NULL);
}

static ct_tensor *target(ct_tensor *like, int64_t rows, int64_t columns, ct_dtype out, ct_tensor *into) {
    if (into) return into;
    return ct_empty_on(like->context, ct_device_of(like), out, 2, (const int64_t[]){rows, columns});
}

static ct_tensor *whole_gradient(ct_tensor *a, ct_tensor *b, ct_dtype out, ct_tensor *into) {
    const int64_t flat_a[2] = {ct_row_count(a), ct_last(a)}, flat_b[2] = {ct_row_count(b), ct_last(b)};
    const int64_t turned_shape[2] = {flat_a[1], flat_a[0]}, turned_stride[2] = {1, flat_a[1]};
    const int64_t stride_b[2] = {flat_b[1], 1};
    ct_tensor *left = ct_view_strided(ct_raw_contiguous(a), 2, turned_shape, turned_stride, 0);
    ct_tensor *right = ct_view_strided(ct_raw_contiguous(b), 2, flat_b, stride_b, 0);
    ct_tensor *whole = ct_raw_matmul(left, right, out);
    if (!into) return whole;
    ct_raw_axpy(into, whole, 1);
    return into;
}

/* The sum over the sequences of a^T b into `c`, on top of it if `add`. */
typedef struct weight_work {
    ct_context *context;
    ct_tensor *a, *b;
    ct_gemm_output c;
    ct_dtype compute;
    int64_t rows, columns;
    bool add;
    int64_t parts; /* tasks, each with all sequences for some rows, or columns */
    bool by_columns;
} weight_work;

/* Products too small to be cut one by one are cut together, along the longer side. */
#define SMALL_PRODUCT 2000000 /* multiply-adds of a sequence */
#define PART_WORK 250000
#define PART_LENGTH 32
#define WAITING_ELEMENTS (1 << 18) /* factors of products that may wait stay in memory meanwhile */

static void cut_parts(weight_work *w) {
    double one = (double)w->rows * (double)w->columns * (double)w->a->shape[1];
    w->by_columns = w->columns > w->rows;
    w->parts = 0;
    if (one > SMALL_PRODUCT || one == 0) return;
    int64_t most = (w->by_columns ? w->columns : w->rows) / PART_LENGTH;
    w->parts = ct_least((int64_t)(one * (double)w->a->shape[0] / PART_WORK), most);
    if (w->parts < 1 || ct_context_threads(w->context) == 1) w->parts = 1; /* the bits are the same */
}

static int64_t part_start(const weight_work *w, int64_t index) {
    int64_t length = w->by_columns ? w->columns : w->rows, unit = PART_LENGTH / 2;
    return ct_least(ct_ceil_div(length, unit) * index / w->parts * unit, length);
}

static void weight_part(void *user, int64_t index, int worker) {
    const weight_work *w = user;
    int64_t first = part_start(w, index), count = part_start(w, index + 1) - first;
    for (int64_t s = 0; s < w->a->shape[0]; s++) {
        ct_gemm_operand left, right;
        ct_gemm_output c = w->c;
        factors(w->a, w->b, s, &left, &right);
        if (w->by_columns) {
            right.data = ct_at(right.data, right.dtype, first * right.col_stride);
            c.data = ct_at(c.data, c.dtype, first);
        } else {
            left.data = ct_at(left.data, left.dtype, first * left.row_stride);
            c.data = ct_at(c.data, c.dtype, first * c.row_stride);
        }
        ct_gemm_serial(ct_scratch(w->context, worker), w->compute, w->by_columns ? w->rows : count,
                       w->by_columns ? count : w->columns, w->a->shape[1], 1, &left, &right,
                       s > 0 || w->add ? 1 : 0, &c, NULL);
    }
}

static void release_factors(void *user) {
    const weight_work *w = user;
    ct_drop(w->a);
    ct_drop(w->b);
}

/* All parts, now or between the next loops: only the sum itself is needed later. On meta the factors are kept
 * as long. */
static void weight_parts(weight_work *w, bool meta, bool may_wait) {
    int64_t tasks = meta ? 0 : w->parts;
    if (!may_wait || (w->a->count + w->b->count) > WAITING_ELEMENTS) {
        ct_parallel_for(w->context, tasks, weight_part, w);
        return;
    }
    ct_hold(w->a);
    ct_hold(w->b);
    size_t kept = (size_t)(w->a->count + w->b->count) * sizeof(float);
    ct_parallel_later(w->context, tasks, weight_part, w, sizeof *w, kept, release_factors);
}

static void weight_sum(weight_work *w, bool meta, bool may_wait) {
    cut_parts(w);
    if (w->parts) {
        size_t bytes = ct_gemm_scratch_bytes(w->compute, w->rows, w->columns, w->a->shape[1]);
        if (ct_scratch_reserve(w->context, bytes) == CT_OK) weight_parts(w, meta, may_wait);
        return;
    }
    for (int64_t s = 0; !meta && s < w->a->shape[0] && !ct_failed(w->context); s++) {
        ct_gemm_operand left, right;
        factors(w->a, w->b, s, &left, &right);
        ct_gemm(w->context, w->compute, w->rows, w->columns, w->a->shape[1], 1, &left, &right,
                s > 0 || w->add ? 1 : 0, &w->c, NULL);
    }
}

ct_tensor *ct_raw_weight_gradient(ct_tensor *x, ct_tensor *gradient, bool transposed, ct_dtype out,
                                  ct_tensor *into, bool may_wait) {
    ct_context *context = x->context;
    ct_tensor *a = transposed ? x : gradient, *b = transposed ? gradient : x;
    if (ct_stop_op(context)) return into ? into : ct_inert(context, out, 0, NULL); /* operands may be inert */
    const int64_t shape[2] = {ct_last(a), ct_last(b)};
    ct_scope scope = ct_scope_open(context);
    ct_tensor *c = NULL;
    if (is_whole(a, b, out)) {
        c = whole_gradient(a, b, out, into);
    } else {
        c = target(x, shape[0], shape[1], out, into);
        a = as_sequences(a);
        b = as_sequences(b);
        ct_count_flops(context, 2 * (uint64_t)x->count * (uint64_t)ct_last(gradient));
        ct_dtype compute = out == CT_F64 || a->dtype == CT_F64 || b->dtype == CT_F64 ? CT_F64 : CT_F32;
        weight_work work = {.context = context,
                            .a = a,
                            .b = b,
                            .compute = compute,
                            .rows = shape[0],
                            .columns = shape[1],
                            .add = into != NULL};
        work.c = (ct_gemm_output){ct_pointer(c), (ct_dtype)c->dtype, shape[1], 1};
        if (!ct_failed(context)) weight_sum(&work, ct_is_meta(c), may_wait);
        if (!a->shape[0] && !into) c = ct_raw_unary(CT_MUL_SCALAR, c, 0, 0);
    }
    return into ? (ct_scope_close(context, scope), into) : ct_scope_return(context, scope, c);
}

/* --------------------------------------------------------------------------------------- sums of columns */

#define FOLD_COLUMNS 512

static void fold_task(void *user, int64_t index, int worker) {
    (void)worker;
    const ct_column_folds *f = user;
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t blocks = ct_ceil_div(f->columns, FOLD_COLUMNS), which = index / blocks;
    int64_t first = index % blocks * FOLD_COLUMNS, columns = ct_least(FOLD_COLUMNS, f->columns - first);
    double space[FOLD_COLUMNS];
    void *sum = ct_at(f->sum[which], f->compute, first);
    if (!f->sequences && !f->onto[which]) memset(sum, 0, (size_t)columns * ct_dtype_size(f->compute));
    for (int64_t s = 0; s < f->sequences; s++) {
        const void *rows = ct_at(f->data[which], f->compute, s * f->rows * f->columns + first);
        bool begins = s == 0 && !f->onto[which];
        void *part = begins ? sum : space;
        if (f->compute == CT_F64) {
            kernels->f64.column_reduce(CT_REDUCE_SUM, f->rows, columns, rows, f->columns, part, false);
            if (!begins) kernels->f64.column_reduce(CT_REDUCE_SUM, 1, columns, part, columns, sum, true);
        } else {
            kernels->f32.column_reduce(CT_REDUCE_SUM, f->rows, columns, rows, f->columns, part, false);
            if (!begins) kernels->f32.column_reduce(CT_REDUCE_SUM, 1, columns, part, columns, sum, true);
        }
    }
}

static void release_folds(void *user) {
    const ct_column_folds *f = user;
    ct_free(f->context, f->owned);
    ct_drop(f->held);
}

void ct_column_folds_run(const ct_column_folds *folds, bool may_wait) {
    ct_column_folds f = *folds;
    int64_t tasks = f.data[0] ? f.count * ct_ceil_div(f.columns, FOLD_COLUMNS) : 0;
    if (may_wait && f.sequences * f.rows * f.columns <= WAITING_ELEMENTS) {
        size_t kept = f.held ? (size_t)f.held->count * sizeof(float) : 0;
        ct_parallel_later(f.context, tasks, fold_task, &f, sizeof f, kept, release_folds);
        return;
    }
    ct_parallel_for(f.context, tasks, fold_task, &f);
    release_folds(&f);
}

/* Where one chunk of rows is a sequence, its columns are added as ct_raw_reduce does. */
static bool folds_directly(const ct_tensor *gradient, ct_dtype out, const ct_tensor *into) {
    ct_dtype dtype = (ct_dtype)gradient->dtype;
    bool real =
        (dtype == CT_F32 || dtype == CT_F64) && out == dtype && (!into || (ct_dtype)into->dtype == dtype);
    return real && gradient->ndim == 3 && ct_is_contiguous(gradient) && (!into || ct_is_contiguous(into)) &&
           gradient->shape[0] > 0 && gradient->shape[1] > 1 && gradient->shape[1] <= CT_COLUMN_ROWS;
}

ct_tensor *ct_raw_bias_gradient(ct_tensor *gradient, ct_dtype out, ct_tensor *into, bool may_wait) {
    ct_context *context = gradient->context;
    if (ct_stop_op(context)) return into ? into : ct_inert(context, out, 0, NULL);
    int64_t channels = ct_last(gradient);
    if (folds_directly(gradient, out, into)) {
        ct_tensor *sum = into ? into : ct_empty_on(context, ct_device_of(gradient), out, 1, &channels);
        ct_column_folds folds = {context,        out,  gradient->shape[0],     gradient->shape[1],
                                 channels,       1,    {ct_pointer(gradient)}, {ct_pointer(sum)},
                                 {into != NULL}, NULL, ct_hold(gradient)};
        if (ct_failed(context))
            release_folds(&folds);
        else
            ct_column_folds_run(&folds, may_wait);
        return sum;
    }
    ct_scope scope = ct_scope_open(context);
    ct_tensor *parts = ct_raw_reduce(CT_REDUCE_SUM_OP, as_sequences(gradient), 1u << 1, false);
    ct_tensor *sum = into ? into : ct_empty_on(context, ct_device_of(gradient), out, 1, &channels);
    int64_t sequences = parts->ndim == 2 ? parts->shape[0] : 0, one = 1;
    for (int64_t s = 0; s < sequences && !ct_failed(context); s++) {
        ct_tensor *part = ct_view_strided(parts, 1, &channels, &one, s * channels);
        if (s == 0 && !into)
            ct_raw_copy(sum, part);
        else
            ct_raw_axpy(sum, part, 1);
    }
    return into ? (ct_scope_close(context, scope), into) : ct_scope_return(context, scope, sum);
}
