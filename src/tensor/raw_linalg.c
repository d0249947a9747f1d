/* raw_linalg.c - factorisations and linear systems through LAPACK, batched over leading axes, f32 and f64.
 *
 * LAPACK is column-major: a row-major matrix in memory is its transpose to LAPACK. Where the transposed
 * problem gives the answer (Cholesky, SVD, triangular systems, LU) nothing is moved; else matrices are
 * transposed on the way. The matrices of a batch are independent tasks; LAPACK itself runs on one thread. */
#include "tensor/raw.h"
#include "tensor/iterate.h"
#include "tensor/lapack.h"
#include <limits.h>
#include <math.h>

typedef struct linear_work linear_work;
struct linear_work {
    ct_context *context;
    const char *name;
    bool single;
    size_t size;        /* of an element */
    int m, n, k;        /* of a matrix; right-hand sides */
    const char *a;      /* [batch, m, n] */
    char *out[3];       /* results, [batch, ...] each */
    size_t work;        /* elements of LAPACK's workspace */
    size_t integers;    /* and of its integer workspace */
    ct_operand a_batch; /* systems: offsets of the operands of a batch */
    ct_operand b_batch;
    bool upper, transposed, unit;
};

/* ------------------------------------------------------------------------------------------ common to all */

/* Takes pieces, 64-byte aligned, from a worker's scratch; with base NULL it only counts. */
typedef struct carver {
    char *base;
    size_t used;
} carver;
static void *carve(carver *c, size_t bytes) {
    char *piece = c->base ? c->base + c->used : NULL;
    c->used += (bytes + 63) / 64 * 64;
    return piece;
}

static bool matrices_ready(const char *name, ct_tensor *x, bool square) {
    char text[160];
    if (x->dtype != CT_F32 && x->dtype != CT_F64) {
        ct_fail(x->context, CT_ERROR_TYPE, "%s: f32 or f64 is expected, found %s", name,
                ct_dtype_name((ct_dtype)x->dtype));
        return false;
    }
    int64_t rows = x->ndim < 2 ? -1 : x->shape[x->ndim - 2],
            columns = x->ndim < 2 ? -1 : x->shape[x->ndim - 1];
    if (rows < 0 || (square && rows != columns) || rows > INT_MAX / 8 || columns > INT_MAX / 8) {
        ct_fail(x->context, CT_ERROR_SHAPE, "%s: %s are expected, found %s", name,
                rows < 0                    ? "matrices"
                : square && rows != columns ? "square matrices"
                                            : "smaller matrices",
                ct_describe(x, text, sizeof text));
        return false;
    }
    return true;
}

/* False, with an error, if the matrix holds NaN or infinity. */
static bool finite_matrix(const linear_work *work, int64_t index, const char *what, const void *x, int rows,
                          int columns) {
    int64_t count = (int64_t)rows * columns;
    for (int64_t i = 0; i < count; i++) {
        if (work->single ? isfinite(((const float *)x)[i]) : isfinite(((const double *)x)[i])) continue;
        ct_parallel_error(work->context, index, CT_ERROR_NUMERIC,
                          "%s: %s %lld holds NaN or infinity at [%lld, %lld]", work->name, what,
                          (long long)index, (long long)(i / columns), (long long)(i % columns));
        return false;
    }
    return true;
}

static void transpose(const linear_work *work, int rows, int columns, const void *x, int64_t x_stride,
                      void *y, int64_t y_stride) {
    ct_cpu_kernels()->transpose((int)work->size, rows, columns, x, x_stride, y, y_stride);
}

static linear_work work_make(const char *name, ct_tensor *x) {
    linear_work work = {.context = x->context, .name = name, .single = x->dtype == CT_F32};
    work.size = ct_dtype_size((ct_dtype)x->dtype);
    work.m = (int)x->shape[x->ndim - 2];
    work.n = (int)x->shape[x->ndim - 1];
    work.k = work.m < work.n ? work.m : work.n;
    const char *problem = ct_lapack_prepare();
    if (problem)
        ct_fail(x->context, CT_ERROR_UNSUPPORTED, "%s: no LAPACK: %s (Debian has it in liblapacke)", name,
                problem);
    return work;
}

/* [leading axes of x..., rows, columns]; columns < 0: no such axis. */
static ct_tensor *result_like(ct_tensor *x, int64_t rows, int64_t columns) {
    int64_t shape[CT_MAX_DIMS];
    int ndim = x->ndim - 2;
    for (int i = 0; i < ndim; i++)
        shape[i] = x->shape[i];
    shape[ndim++] = rows;
    if (columns >= 0) shape[ndim++] = columns;
    return ct_empty_on(x->context, ct_is_meta(x) ? CT_META : CT_CPU, (ct_dtype)x->dtype, ndim, shape);
}

static int64_t batch_of(const ct_tensor *x) {
    return ct_shape_count(x->ndim - 2, x->shape);
}

static void count_flops(ct_tensor *x, double each) {
    ct_count_flops(x->context, (uint64_t)(each * (double)batch_of(x)));
}

static bool all_on_cpu(int count, ct_tensor *const *tensors) {
    for (int i = 0; i < count; i++)
        if (ct_is_meta(tensors[i])) return false;
    return true;
}

/* Runs a task for each matrix with `carved` bytes of scratch. */
static ct_status run_batch(linear_work *work, int64_t batch, size_t carved, ct_task task) {
    if (ct_scratch_reserve(work->context, carved) != CT_OK) return ct_context_status(work->context);
    ct_parallel_for(work->context, batch, task, work);
    return ct_context_status(work->context);
}

/* ----------------------------------------------------------------------------------------------- cholesky */

static void cholesky_task(void *user, int64_t index, int worker) {
    (void)worker;
    linear_work *work = user;
    int n = work->n;
    char *out = work->out[0] + (size_t)index * (size_t)n * (size_t)n * work->size;
    if (!finite_matrix(work, index, "matrix", out, n, n)) return;
    int info = ct_lapack_potrf(work->single, 'U', n, out); /* upper of the transpose: our lower half */
    if (info > 0)
        ct_parallel_error(work->context, index, CT_ERROR_NUMERIC,
                          "cholesky: matrix %lld is not positive definite (leading minor %d)",
                          (long long)index, info);
    for (int row = 0; row < n; row++)
        memset(out + ((size_t)row * (size_t)n + (size_t)row + 1) * work->size, 0,
               (size_t)(n - row - 1) * work->size);
}

ct_tensor *ct_raw_cholesky(ct_tensor *x) {
    if (!ct_operands_ready("cholesky", 1, (const ct_tensor *const[]){x}) ||
        !matrices_ready("cholesky", x, true))
        return ct_inert(x->context, (ct_dtype)x->dtype, x->ndim, x->shape);
    linear_work work = work_make("cholesky", x);
    count_flops(x, pow(work.n, 3) / 3);
    ct_tensor *y = ct_raw_cast(x, (ct_dtype)x->dtype);
    if (ct_is_meta(y) || y->count == 0) return y;
    work.out[0] = ct_pointer(y);
    run_batch(&work, batch_of(x), 0, cholesky_task);
    return y;
}

/* ----------------------------------------------------------------------------------------------------- QR */

typedef struct qr_scratch {
    void *a, *tau, *work;
    size_t bytes;
} qr_scratch;
static qr_scratch qr_carve(const linear_work *work, void *base) {
    carver c = {base, 0};
    qr_scratch s;
    s.a = carve(&c, (size_t)work->m * (size_t)work->n * work->size);
    s.tau = carve(&c, (size_t)work->k * work->size);
    s.work = carve(&c, work->work * work->size);
    s.bytes = c.used;
    return s;
}

static void qr_task(void *user, int64_t index, int worker) {
    linear_work *work = user;
    qr_scratch s = qr_carve(work, ct_scratch(work->context, worker));
    int m = work->m, n = work->n, k = work->k;
    const char *a = work->a + (size_t)index * (size_t)m * (size_t)n * work->size;
    char *q = work->out[0] + (size_t)index * (size_t)m * (size_t)k * work->size;
    char *r = work->out[1] + (size_t)index * (size_t)k * (size_t)n * work->size;
    if (!finite_matrix(work, index, "matrix", a, m, n)) return;
    transpose(work, m, n, a, n, s.a, m);
    ct_lapack_geqrf(work->single, m, n, s.a, s.tau, s.work, work->work);
    transpose(work, n, k, s.a, m, r, n); /* the upper k rows */
    for (int row = 1; row < k; row++)
        memset(r + (size_t)row * (size_t)n * work->size, 0, (size_t)row * work->size);
    ct_lapack_orgqr(work->single, m, k, k, s.a, s.tau, s.work, work->work);
    transpose(work, k, m, s.a, m, q, k);
}

ct_status ct_raw_qr(ct_tensor *x, ct_tensor **q, ct_tensor **r) {
    *q = *r = x;
    if (!ct_operands_ready("qr", 1, (const ct_tensor *const[]){x}) || !matrices_ready("qr", x, false)) {
        *q = ct_inert(x->context, (ct_dtype)x->dtype, x->ndim, x->shape);
        *r = ct_inert(x->context, (ct_dtype)x->dtype, x->ndim, x->shape);
        return ct_context_status(x->context);
    }
    linear_work work = work_make("qr", x);
    double m = work.m, n = work.n, k = work.k;
    count_flops(x, 4 * m * n * k - 4.0 / 3 * k * k * k);
    *q = result_like(x, work.m, work.k);
    *r = result_like(x, work.k, work.n);
    ct_scope scope = ct_scope_open(x->context);
    ct_tensor *plain = ct_raw_contiguous(x);
    if (all_on_cpu(3, (ct_tensor *const[]){*q, *r, plain}) && x->count > 0) {
        work.a = ct_pointer(plain);
        work.out[0] = ct_pointer(*q);
        work.out[1] = ct_pointer(*r);
        work.work = ct_lapack_qr_work(work.single, work.m, work.n);
        run_batch(&work, batch_of(x), qr_carve(&work, NULL).bytes, qr_task);
    }
    ct_scope_close(x->context, scope);
    return ct_context_status(x->context);
}

/* ---------------------------------------------------------------------------------------------------- SVD */

typedef struct svd_scratch {
    void *a, *work;
    int *integers;
    size_t bytes;
} svd_scratch;
static svd_scratch svd_carve(const linear_work *work, void *base) {
    carver c = {base, 0};
    svd_scratch s;
    s.a = carve(&c, (size_t)work->m * (size_t)work->n * work->size);
    s.work = carve(&c, work->work * work->size);
    s.integers = carve(&c, work->integers * sizeof(int));
    s.bytes = c.used;
    return s;
}

/* LAPACK sees X' = V S U': its U is our Vh and its V' our U, both in our order of memory. */
static void svd_task(void *user, int64_t index, int worker) {
    linear_work *work = user;
    svd_scratch s = svd_carve(work, ct_scratch(work->context, worker));
    size_t m = (size_t)work->m, n = (size_t)work->n, k = (size_t)work->k, at = (size_t)index * work->size;
    const char *a = work->a + at * m * n;
    if (!finite_matrix(work, index, "matrix", a, work->m, work->n)) return;
    memcpy(s.a, a, m * n * work->size);
    int info =
        ct_lapack_gesdd(work->single, work->n, work->m, s.a, work->out[1] + at * k, work->out[2] + at * k * n,
                        work->out[0] + at * m * k, s.work, work->work, s.integers);
    if (info > 0)
        ct_parallel_error(work->context, index, CT_ERROR_NUMERIC,
                          "svd: matrix %lld: no convergence (code %d)", (long long)index, info);
}

ct_status ct_raw_svd(ct_tensor *x, ct_tensor **u, ct_tensor **s, ct_tensor **vh) {
    if (!ct_operands_ready("svd", 1, (const ct_tensor *const[]){x}) || !matrices_ready("svd", x, false)) {
        *u = ct_inert(x->context, (ct_dtype)x->dtype, x->ndim, x->shape);
        *s = ct_inert(x->context, (ct_dtype)x->dtype, x->ndim, x->shape);
        *vh = ct_inert(x->context, (ct_dtype)x->dtype, x->ndim, x->shape);
        return ct_context_status(x->context);
    }
    linear_work work = work_make("svd", x);
    double large = fmax(work.m, work.n), small = work.k; /* Golub and Van Loan, Matrix Computations, 5.4.5 */
    count_flops(x, 14 * large * small * small + 8 * small * small * small);
    *u = result_like(x, work.m, work.k);
    *s = result_like(x, work.k, -1);
    *vh = result_like(x, work.k, work.n);
    ct_scope scope = ct_scope_open(x->context);
    ct_tensor *plain = ct_raw_contiguous(x);
    if (all_on_cpu(4, (ct_tensor *const[]){*u, *s, *vh, plain}) && x->count > 0) {
        work.a = ct_pointer(plain);
        work.out[0] = ct_pointer(*u);
        work.out[1] = ct_pointer(*s);
        work.out[2] = ct_pointer(*vh);
        work.work = ct_lapack_gesdd_work(work.single, work.n, work.m);
        work.integers = 8 * (size_t)work.k;
        run_batch(&work, batch_of(x), svd_carve(&work, NULL).bytes, svd_task);
    }
    ct_scope_close(x->context, scope);
    return ct_context_status(x->context);
}

/* ------------------------------------------------------------------------------------- eigenvalues ----- */

static void eigh_task(void *user, int64_t index, int worker) {
    linear_work *work = user;
    svd_scratch s = svd_carve(work, ct_scratch(work->context, worker));
    size_t n = (size_t)work->n, at = (size_t)index * work->size;
    const char *a = work->a + at * n * n;
    if (!finite_matrix(work, index, "matrix", a, work->n, work->n)) return;
    memcpy(s.a, a, n * n * work->size);
    int info = ct_lapack_syevd(work->single, 'U', work->n, s.a, work->out[0] + at * n, s.work, work->work,
                               s.integers, work->integers);
    if (info > 0)
        ct_parallel_error(work->context, index, CT_ERROR_NUMERIC,
                          "eigh: matrix %lld: no convergence (code %d)", (long long)index, info);
    transpose(work, work->n, work->n, s.a, work->n, work->out[1] + at * n * n, work->n);
}

ct_status ct_raw_eigh(ct_tensor *x, ct_tensor **values, ct_tensor **vectors) {
    if (!ct_operands_ready("eigh", 1, (const ct_tensor *const[]){x}) || !matrices_ready("eigh", x, true)) {
        *values = ct_inert(x->context, (ct_dtype)x->dtype, x->ndim, x->shape);
        *vectors = ct_inert(x->context, (ct_dtype)x->dtype, x->ndim, x->shape);
        return ct_context_status(x->context);
    }
    linear_work work = work_make("eigh", x);
    count_flops(x, 9 * pow(work.n, 3));
    *values = result_like(x, work.n, -1);
    *vectors = result_like(x, work.n, work.n);
    ct_scope scope = ct_scope_open(x->context);
    ct_tensor *plain = ct_raw_contiguous(x);
    if (all_on_cpu(3, (ct_tensor *const[]){*values, *vectors, plain}) && x->count > 0) {
        work.a = ct_pointer(plain);
        work.out[0] = ct_pointer(*values);
        work.out[1] = ct_pointer(*vectors);
        work.work = ct_lapack_syevd_work(work.single, work.n, &work.integers);
        run_batch(&work, batch_of(x), svd_carve(&work, NULL).bytes, eigh_task);
    }
    ct_scope_close(x->context, scope);
    return ct_context_status(x->context);
}

/* ------------------------------------------------------------------------------------------ systems ----- */

typedef struct solve_scratch {
    void *a, *b;
    int *pivots;
    size_t bytes;
} solve_scratch;
static solve_scratch solve_carve(const linear_work *work, void *base) {
    carver c = {base, 0};
    solve_scratch s;
    s.a = carve(&c, (size_t)work->n * (size_t)work->n * work->size);
    s.b = carve(&c, (size_t)work->n * (size_t)work->k * work->size);
    s.pivots = carve(&c, (size_t)work->n * sizeof(int));
    s.bytes = c.used;
    return s;
}

/* The operands of system `index`; the right-hand sides become columns in memory. False if they are not
 * finite. */
static const char *solve_load(const linear_work *work, int64_t index, const solve_scratch *s) {
    ct_cursor a_cursor, b_cursor;
    ct_cursor_seek(&a_cursor, &work->a_batch, index);
    ct_cursor_seek(&b_cursor, &work->b_batch, index);
    const char *a = ct_cursor_address(&a_cursor), *b = ct_cursor_address(&b_cursor);
    if (!finite_matrix(work, index, "matrix", a, work->n, work->n)) return NULL;
    if (!finite_matrix(work, index, "right-hand side", b, work->n, work->k)) return NULL;
    transpose(work, work->n, work->k, b, work->k, s->b, work->n);
    return a;
}
static void solve_store(const linear_work *work, int64_t index, const solve_scratch *s) {
    char *x = work->out[0] + (size_t)index * (size_t)work->n * (size_t)work->k * work->size;
    transpose(work, work->k, work->n, s->b, work->n, x, work->k);
}

static void singular(const linear_work *work, int64_t index, int pivot) {
    ct_parallel_error(work->context, index, CT_ERROR_NUMERIC,
                      "%s: matrix %lld is singular (pivot %d is zero)", work->name, (long long)index, pivot);
}

static void solve_task(void *user, int64_t index, int worker) {
    linear_work *work = user;
    solve_scratch s = solve_carve(work, ct_scratch(work->context, worker));
    const char *a = solve_load(work, index, &s);
    if (!a) return;
    memcpy(s.a, a, (size_t)work->n * (size_t)work->n * work->size);
    int info = ct_lapack_getrf(work->single, work->n, s.a, s.pivots);
    if (info > 0) {
        singular(work, index, info);
        return;
    }
    ct_lapack_getrs(work->single, 'T', work->n, work->k, s.a, s.pivots, s.b);
    solve_store(work, index, &s);
}

static void triangular_task(void *user, int64_t index, int worker) {
    linear_work *work = user;
    solve_scratch s = solve_carve(work, ct_scratch(work->context, worker));
    const char *a = solve_load(work, index, &s);
    if (!a) return;
    int info = ct_lapack_trtrs(work->single, work->upper ? 'L' : 'U', work->transposed ? 'N' : 'T',
                               work->unit ? 'U' : 'N', work->n, work->k, a, s.b);
    if (info > 0)
        singular(work, index, info);
    else
        solve_store(work, index, &s);
}

/* The leading axes of a matrix operand over those of the result, in elements. */
static void batch_operand(ct_operand *operand, const ct_tensor *t, int leading, const int64_t *shape) {
    int64_t stride[CT_MAX_DIMS];
    int missing = leading - (t->ndim - 2);
    for (int i = 0; i < leading; i++)
        stride[i] = i < missing || t->shape[i - missing] == 1 ? 0 : t->stride[i - missing];
    ct_operand_make(operand, ct_pointer(t), (ct_dtype)t->dtype, leading, shape, stride);
}

/* [leading axes of both, n, k]; false with an error. */
static bool system_shape(const char *name, ct_tensor *a, ct_tensor *b, int *ndim, int64_t *shape) {
    if (!matrices_ready(name, a, true) || !matrices_ready(name, b, false)) return false;
    int64_t n = a->shape[a->ndim - 1];
    char left[160], right[160];
    if (a->dtype != b->dtype || b->shape[b->ndim - 2] != n) {
        ct_fail(a->context, a->dtype != b->dtype ? CT_ERROR_TYPE : CT_ERROR_SHAPE, "%s: %s and %s do not fit",
                name, ct_describe(a, left, sizeof left), ct_describe(b, right, sizeof right));
        return false;
    }
    ct_tensor a_leading = *a, b_leading = *b;
    a_leading.ndim -= 2;
    b_leading.ndim -= 2;
    if (!ct_broadcast_shape(&a_leading, &b_leading, name, ndim, shape)) return false;
    shape[(*ndim)++] = n;
    shape[(*ndim)++] = b->shape[b->ndim - 1];
    return true;
}

static ct_tensor *solve_systems(linear_work work, ct_tensor *a, ct_tensor *b, ct_task task) {
    ct_context *context = a->context;
    ct_dtype dtype = (ct_dtype)a->dtype;
    int ndim;
    int64_t shape[CT_MAX_DIMS];
    if (!ct_operands_ready(work.name, 2, (const ct_tensor *const[]){a, b}) ||
        !system_shape(work.name, a, b, &ndim, shape))
        return ct_inert(context, dtype, b->ndim, b->shape);
    bool upper = work.upper, transposed = work.transposed, unit = work.unit;
    work = work_make(work.name, a);
    work.upper = upper;
    work.transposed = transposed;
    work.unit = unit;
    work.k = (int)shape[ndim - 1];
    ct_scope scope = ct_scope_open(context);
    ct_tensor *x = ct_empty_on(context, ct_is_meta(a) ? CT_META : CT_CPU, dtype, ndim, shape);
    double n = work.n, each = n * n * work.k;
    if (task == solve_task) each = 2 * each + 2.0 / 3 * n * n * n;
    count_flops(x, each);
    ct_tensor *plain_a = ct_raw_contiguous(a), *plain_b = ct_raw_contiguous(b);
    if (all_on_cpu(3, (ct_tensor *const[]){x, plain_a, plain_b}) && x->count > 0) {
        batch_operand(&work.a_batch, plain_a, ndim - 2, shape);
        batch_operand(&work.b_batch, plain_b, ndim - 2, shape);
        work.out[0] = ct_pointer(x);
        run_batch(&work, batch_of(x), solve_carve(&work, NULL).bytes, task);
    }
    return ct_scope_return(context, scope, x);
}

ct_tensor *ct_raw_solve(ct_tensor *a, ct_tensor *b) {
    return solve_systems((linear_work){.name = "solve"}, a, b, solve_task);
}

ct_tensor *ct_raw_solve_triangular(ct_tensor *a, ct_tensor *b, bool upper, bool transposed, bool unit) {
    linear_work work = {.name = "solve_triangular", .upper = upper, .transposed = transposed, .unit = unit};
    return solve_systems(work, a, b, triangular_task);
}
