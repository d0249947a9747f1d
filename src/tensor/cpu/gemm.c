/* gemm.c - the calls of gemm.h: checks, the choice of path, batches and prepacking. */
#include "tensor/cpu/gemm_kernels.h"

#include <string.h>

#define SERIAL_WORK 1e5 /* multiply-adds that the caller does alone */
#define BATCH_SERIAL_WORK                                                                                    \
    3.2e7 /* of one entry of a batch; above, entries run one after the other, each in parallel */
#define BATCH_TASKS 16

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

const ct_gemm_kernels *ct_gemm_kernels_for(ct_dtype compute, ct_isa isa) {
#if defined(__x86_64__)
    static const ct_gemm_kernels *const tables[CT_ISAS][2] = {{&ct_gemm_plain_f32, &ct_gemm_plain_f64},
                                                              {&ct_gemm_avx2_f32, &ct_gemm_avx2_f64},
                                                              {&ct_gemm_avx512_f32, &ct_gemm_avx512_f64}};
    return tables[isa][compute == CT_F64];
#else
    (void)isa;
    return compute == CT_F64 ? &ct_gemm_plain_f64 : &ct_gemm_plain_f32;
#endif
}

/* ------------------------------------------------------------------------------------------- checks ----- */

static bool readable(ct_dtype dtype) {
    return dtype != CT_I32 && dtype != CT_I64 && (unsigned)dtype < CT_DTYPES;
}

static bool writable(ct_dtype dtype) {
    return ct_dtype_is_float(dtype);
}

static const char *type_name(ct_dtype dtype) {
    static const char *const names[CT_DTYPES] = {"f32", "f64", "bf16", "f16", "i8", "i32", "i64", "u8"};
    return (unsigned)dtype < CT_DTYPES ? names[dtype] : "none";
}

static ct_status check_operand(ct_context *context, const char *name, const ct_gemm_operand *operand) {
    int sources = (operand->data != NULL) + (operand->tile != NULL) + (operand->packed != NULL);
    if (sources != 1)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "matrix multiply: %s has %d of data, tile and packed, expected one", name, sources);
    if (operand->data && !readable(operand->dtype))
        return ct_fail(context, CT_ERROR_TYPE,
                       "matrix multiply: %s is %s, expected f32, f64, bf16, f16, i8 or u8", name,
                       type_name(operand->dtype));
    return CT_OK;
}

static ct_status check_packed(ct_context *context, ct_dtype compute, int64_t n, int64_t k,
                              const ct_gemm_operand *a, const ct_gemm_operand *b) {
    if (a->packed) return ct_fail(context, CT_ERROR_ARGUMENT, "matrix multiply: A is packed, only B may be");
    if (!b->packed) return CT_OK;
    const ct_gemm_packed *packed = b->packed;
    if (packed->k != k || packed->n != n)
        return ct_fail(context, CT_ERROR_SHAPE,
                       "matrix multiply: B was packed as [%lld, %lld], expected [%lld, %lld]",
                       (long long)packed->k, (long long)packed->n, (long long)k, (long long)n);
    if (packed->kernels->dtype != compute)
        return ct_fail(context, CT_ERROR_TYPE, "matrix multiply: B was packed for %s, expected %s",
                       type_name(packed->kernels->dtype), type_name(compute));
    return CT_OK;
}

static ct_status check(ct_context *context, ct_dtype compute, int64_t m, int64_t n, int64_t k,
                       const ct_gemm_operand *a, const ct_gemm_operand *b, const ct_gemm_output *c,
                       const ct_gemm_epilogue *epilogue) {
    if (ct_failed(context)) return ct_context_status(context);
    if (compute != CT_F32 && compute != CT_F64)
        return ct_fail(context, CT_ERROR_TYPE, "matrix multiply: computes in %s, expected f32 or f64",
                       type_name(compute));
    if (m < 0 || n < 0 || k < 0)
        return ct_fail(context, CT_ERROR_SHAPE,
                       "matrix multiply: [%lld, %lld] by [%lld, %lld], expected no negative", (long long)m,
                       (long long)k, (long long)k, (long long)n);
    if (m == 0 || n == 0) return CT_OK;
    if (k > 0 && check_operand(context, "A", a) != CT_OK) return ct_context_status(context);
    if (k > 0 && check_operand(context, "B", b) != CT_OK) return ct_context_status(context);
    if (check_packed(context, compute, n, k, a, b) != CT_OK) return ct_context_status(context);
    if (!c->data || !writable(c->dtype))
        return ct_fail(context, CT_ERROR_TYPE, "matrix multiply: C is %s, expected f32, f64, bf16 or f16",
                       c->data ? type_name(c->dtype) : "absent");
    if (epilogue && epilogue->preactivation.data && !writable(epilogue->preactivation.dtype))
        return ct_fail(context, CT_ERROR_TYPE,
                       "matrix multiply: preactivation is %s, expected f32, f64, bf16 or f16",
                       type_name(epilogue->preactivation.dtype));
    if (epilogue && epilogue->residual.data && !readable(epilogue->residual.dtype))
        return ct_fail(context, CT_ERROR_TYPE,
                       "matrix multiply: residual is %s, expected f32, f64, bf16, f16, i8 or u8",
                       type_name(epilogue->residual.dtype));
    return CT_OK;
}

/* -------------------------------------------------------------------------------------- the problem ----- */

static void swap_strides(int64_t *row_stride, int64_t *col_stride) {
    int64_t row = *row_stride;
    *row_stride = *col_stride;
    *col_stride = row;
}

/* C^T = B^T A^T: multiplication commutes, so the bits are the same. */
static void exchange(ct_gemm_problem *problem) {
    ct_gemm_operand a = problem->a;
    int64_t m = problem->m;
    ct_gemm_epilogue *epilogue = &problem->finish.epilogue;
    const void *bias = epilogue->bias_n;
    problem->exchanged = problem->finish.exchanged = true;
    problem->m = problem->n, problem->n = m;
    problem->a = problem->b, problem->b = a;
    swap_strides(&problem->a.row_stride, &problem->a.col_stride);
    swap_strides(&problem->b.row_stride, &problem->b.col_stride);
    swap_strides(&problem->finish.c.row_stride, &problem->finish.c.col_stride);
    swap_strides(&epilogue->preactivation.row_stride, &epilogue->preactivation.col_stride);
    swap_strides(&epilogue->residual.row_stride, &epilogue->residual.col_stride);
    epilogue->bias_n = epilogue->bias_m, epilogue->bias_m = bias;
}

void ct_gemm_problem_make(ct_gemm_problem *problem, ct_dtype compute, int64_t m, int64_t n, int64_t k,
                          double alpha, const ct_gemm_operand *a, const ct_gemm_operand *b, double beta,
                          const ct_gemm_output *c, const ct_gemm_epilogue *epilogue) {
    memset(problem, 0, sizeof *problem);
    problem->kernels = b->packed ? b->packed->kernels : ct_gemm_kernels_for(compute, ct_cpu_isa());
    problem->m = m, problem->n = n, problem->k = k;
    problem->alpha = alpha;
    problem->a = *a, problem->b = *b;
    ct_gemm_finish *finish = &problem->finish;
    finish->c = *c;
    finish->beta = beta;
    if (epilogue) finish->epilogue = *epilogue;
    bool narrow = n <= CT_GEMM_MATVEC_ROWS && m > CT_GEMM_MATVEC_ROWS;
    bool by_columns = c->row_stride == 1 && c->col_stride != 1 && m > CT_GEMM_MATVEC_ROWS;
    /* A tall, thin C of a transposed A (a weight gradient with few outputs): the exchanged product need not pack A. */
    bool thin = n <= CT_GEMM_DIRECT_B_ROWS && m > 2 * n && a->row_stride == 1 && k > m && a->dtype == compute;
    if (!b->packed && (narrow || by_columns || thin)) exchange(problem);
    const ct_gemm_epilogue *rest = &finish->epilogue;
    finish->in_place = finish->c.dtype == compute && (finish->c.col_stride == 1 || problem->n == 1) &&
                       rest->residual.data != finish->c.data;
    finish->any = !finish->in_place || rest->bias_n || rest->bias_m || rest->preactivation.data ||
                  rest->activation || rest->residual.data;
}

static const void *advance(const void *data, ct_dtype dtype, int64_t elements) {
    return data ? (const char *)data + elements * (int64_t)ct_dtype_size(dtype) : NULL;
}

static void advance_output(ct_gemm_output *output, int64_t elements) {
    if (output->data) output->data = (char *)output->data + elements * (int64_t)ct_dtype_size(output->dtype);
}

static void run_serial(const ct_gemm_problem *problem, void *scratch) {
    if (ct_gemm_matvec_fits(problem))
        ct_gemm_matvec_serial(problem, scratch);
    else
        ct_gemm_run_serial(problem, scratch);
}

static size_t serial_bytes(const ct_gemm_kernels *kernels, int64_t m, int64_t n, int64_t k) {
    size_t most = 0;
    for (int exchanged = 0; exchanged < 2; exchanged++) {
        int64_t rows = exchanged ? n : m, cols = exchanged ? m : n;
        size_t matvec = ct_gemm_matvec_bytes(kernels, rows, cols, k);
        size_t blocks = ct_gemm_serial_bytes(kernels, rows, cols, k);
        if (matvec > most) most = matvec;
        if (blocks > most) most = blocks;
    }
    return most;
}

/* -------------------------------------------------------------------------------------------- calls ----- */

static ct_status run(ct_context *context, const ct_gemm_problem *problem) {
    if (ct_gemm_matvec_fits(problem)) return ct_gemm_matvec_parallel(context, problem);
    double work = (double)problem->m * (double)problem->n * (double)problem->k;
    if (work > SERIAL_WORK) return ct_gemm_run_parallel(context, problem);
    ct_status status = ct_scratch_reserve(
        context, ct_gemm_serial_bytes(problem->kernels, problem->m, problem->n, problem->k));
    if (status == CT_OK) ct_gemm_run_serial(problem, ct_scratch(context, 0));
    return status;
}

ct_status ct_gemm(ct_context *context, ct_dtype compute, int64_t m, int64_t n, int64_t k, double alpha,
                  const ct_gemm_operand *a, const ct_gemm_operand *b, double beta, const ct_gemm_output *c,
                  const ct_gemm_epilogue *epilogue) {
    ct_status status = check(context, compute, m, n, k, a, b, c, epilogue);
    if (status != CT_OK || m == 0 || n == 0) return status;
    ct_gemm_problem problem;
    ct_gemm_problem_make(&problem, compute, m, n, k, alpha, a, b, beta, c, epilogue);
    return run(context, &problem);
}

size_t ct_gemm_scratch_bytes(ct_dtype compute, int64_t m, int64_t n, int64_t k) {
    size_t most = 0;
    for (int isa = CT_ISA_PLAIN; isa <= (int)ct_cpu_isa(); isa++) { /* packed B may be of a lesser set */
        size_t bytes = serial_bytes(ct_gemm_kernels_for(compute, (ct_isa)isa), m, n, k);
        if (bytes > most) most = bytes;
    }
    return most;
}

void ct_gemm_serial(void *scratch, ct_dtype compute, int64_t m, int64_t n, int64_t k, double alpha,
                    const ct_gemm_operand *a, const ct_gemm_operand *b, double beta, const ct_gemm_output *c,
                    const ct_gemm_epilogue *epilogue) {
    if (m == 0 || n == 0) return;
    ct_gemm_problem problem;
    ct_gemm_problem_make(&problem, compute, m, n, k, alpha, a, b, beta, c, epilogue);
    run_serial(&problem, scratch);
}

/* ------------------------------------------------------------------------------------------ batches ----- */

typedef struct batch_run {
    ct_context *context;
    const ct_gemm_batch *batch;
    ct_dtype compute;
    int64_t m, n, k, pieces; /* each entry is cut into this many ranges of rows */
    double alpha, beta;
    const ct_gemm_operand *a, *b;
    const ct_gemm_output *c;
    const ct_gemm_epilogue *epilogue;
} batch_run;

/* The operands of entry `index`, rows from `row`. */
static void entry(const batch_run *run, int64_t index, int64_t row, int64_t rows, ct_gemm_problem *problem) {
    const ct_gemm_batch *batch = run->batch;
    ct_gemm_operand a = *run->a, b = *run->b;
    ct_gemm_output c = *run->c;
    ct_gemm_epilogue epilogue = {0};
    if (run->epilogue) epilogue = *run->epilogue;
    int64_t a_at = row * a.row_stride, b_at = 0, c_at = row * c.row_stride;
    int64_t preactivation_at = row * epilogue.preactivation.row_stride;
    int64_t residual_at = row * epilogue.residual.row_stride;
    for (int axis = batch->rank - 1; axis >= 0; axis--) {
        int64_t i = index % batch->shape[axis];
        index /= batch->shape[axis];
        a_at += i * batch->a_stride[axis], b_at += i * batch->b_stride[axis],
            c_at += i * batch->c_stride[axis];
        preactivation_at += i * batch->preactivation_stride[axis];
        residual_at += i * batch->residual_stride[axis];
    }
    a.data = advance(a.data, a.dtype, a_at);
    b.data = advance(b.data, b.dtype, b_at);
    advance_output(&c, c_at);
    advance_output(&epilogue.preactivation, preactivation_at);
    epilogue.residual.data = advance(epilogue.residual.data, epilogue.residual.dtype, residual_at);
    if (epilogue.bias_m) epilogue.bias_m = advance(epilogue.bias_m, run->compute, row);
    ct_gemm_problem_make(problem, run->compute, rows, run->n, run->k, run->alpha, &a, &b, run->beta, &c,
                         &epilogue);
}

static void batch_task(void *user, int64_t index, int worker) {
    const batch_run *run = user;
    int64_t piece = index % run->pieces, row = run->m * piece / run->pieces;
    ct_gemm_problem problem;
    entry(run, index / run->pieces, row, run->m * (piece + 1) / run->pieces - row, &problem);
    run_serial(&problem, ct_scratch(run->context, worker));
}

static ct_status check_batch(ct_context *context, const ct_gemm_batch *batch, int64_t *count) {
    if (batch->rank < 0 || batch->rank > CT_GEMM_BATCH_RANK)
        return ct_fail(context, CT_ERROR_SHAPE, "matrix multiply: batch of rank %d, expected 0 to %d",
                       batch->rank, CT_GEMM_BATCH_RANK);
    *count = 1;
    for (int axis = 0; axis < batch->rank; axis++) {
        if (batch->shape[axis] < 0)
            return ct_fail(context, CT_ERROR_SHAPE,
                           "matrix multiply: axis %d of the batch is %lld, expected 0 or more", axis,
                           (long long)batch->shape[axis]);
        *count *= batch->shape[axis];
    }
    return CT_OK;
}

ct_status ct_gemm_batched(ct_context *context, ct_dtype compute, const ct_gemm_batch *batch, int64_t m,
                          int64_t n, int64_t k, double alpha, const ct_gemm_operand *a,
                          const ct_gemm_operand *b, double beta, const ct_gemm_output *c,
                          const ct_gemm_epilogue *epilogue) {
    int64_t count = 0;
    ct_status status = check(context, compute, m, n, k, a, b, c, epilogue);
    if (status == CT_OK) status = check_batch(context, batch, &count);
    if (status != CT_OK || m == 0 || n == 0 || count == 0) return status;
    batch_run all = {context, batch, compute, m, n, k, 1, alpha, beta, a, b, c, epilogue};
    double work = (double)m * (double)n * (double)k;
    if (count == 1 || work > BATCH_SERIAL_WORK) {
        for (int64_t index = 0; index < count && status == CT_OK; index++) {
            ct_gemm_problem problem;
            entry(&all, index, 0, m, &problem);
            status = run(context, &problem);
        }
        return status;
    }
    if (count < BATCH_TASKS && !a->tile && work * (double)count > 8 * SERIAL_WORK && m >= 64)
        all.pieces = smaller((BATCH_TASKS + count - 1) / count, m / 32);
    int64_t rows = m / all.pieces + 1;
    const ct_gemm_kernels *kernels =
        b->packed ? b->packed->kernels : ct_gemm_kernels_for(compute, ct_cpu_isa());
    status = ct_scratch_reserve(context, serial_bytes(kernels, rows, n, k));
    if (status != CT_OK) return status;
    if (work * (double)count > SERIAL_WORK)
        ct_parallel_for(context, count * all.pieces, batch_task, &all);
    else
        for (int64_t index = 0; index < count * all.pieces; index++)
            batch_task(&all, index, 0);
    return CT_OK;
}

/* --------------------------------------------------------------------------------------- prepacking ----- */

/* Panel by panel through f32. */
static bool pack_pairs(ct_gemm_packed *packed, const ct_gemm_operand *b) {
    const ct_gemm_kernels *kernels = packed->kernels;
    ct_context *context = packed->context;
    float *panel = ct_alloc(context, (size_t)(kernels->nr * kernels->depth) * sizeof(float) + 64, CT_MEMORY_WORKSPACE);
    for (int64_t step = 0; panel && step < packed->k; step += kernels->depth) {
        int64_t steps = smaller(kernels->depth, packed->k - step);
        for (int64_t col = 0; col < packed->n; col += kernels->nr) {
            ct_gemm_pack_b(kernels, b, false, step, steps, col, smaller(kernels->nr, packed->n - col), panel,
                           ct_scratch(context, 0));
            kernels->pair(panel, steps, (char *)(uintptr_t)ct_gemm_panels_at(packed, step, col));
        }
    }
    ct_free(context, panel);
    return panel != NULL;
}

ct_gemm_packed *ct_gemm_prepack(ct_context *context, ct_dtype compute, int64_t k, int64_t n,
                                const ct_gemm_operand *b) {
    if (ct_failed(context)) return NULL;
    if ((compute != CT_F32 && compute != CT_F64) || k < 0 || n < 0 || b->packed) {
        ct_fail(context, CT_ERROR_ARGUMENT,
                "packing [%lld, %lld] for %s: expected f32 or f64, no negative, and a B not packed yet",
                (long long)k, (long long)n, type_name(compute));
        return NULL;
    }
    if (k > 0 && n > 0 && check_operand(context, "B", b) != CT_OK) return NULL;
    const ct_gemm_kernels *kernels = ct_gemm_kernels_for(compute, ct_cpu_isa());
    int64_t size = (int64_t)ct_dtype_size(compute),
            padded = (n + kernels->nr - 1) / kernels->nr * kernels->nr;
    if (ct_scratch_reserve(context, ct_gemm_fetch_bytes(kernels)) != CT_OK) return NULL;
    ct_gemm_packed *packed = ct_alloc(context, sizeof *packed, CT_MEMORY_OTHER);
    if (!packed) return NULL;
    ct_gemm_form form = compute == CT_F32 && b->dtype == CT_BF16 && b->data ? CT_GEMM_PAIRS : CT_GEMM_WHOLE;
    *packed = (ct_gemm_packed){context, kernels, k, n, form, NULL};
    packed->panels = ct_alloc(context, (size_t)(padded * ct_gemm_panel_bytes(packed, k)) + 64, CT_MEMORY_WEIGHTS);
    bool done = packed->panels && (form == CT_GEMM_PAIRS ? pack_pairs(packed, b) : true);
    for (int64_t step = 0; done && form == CT_GEMM_WHOLE && step < k; step += kernels->depth)
        ct_gemm_pack_b(kernels, b, false, step, smaller(kernels->depth, k - step), 0, n,
                       (char *)packed->panels + step * padded * size, ct_scratch(context, 0));
    if (done) return packed;
    ct_gemm_packed_free(packed);
    return NULL;
}

void ct_gemm_packed_free(ct_gemm_packed *packed) {
    if (!packed) return;
    ct_context *context = packed->context;
    ct_free(context, packed->panels);
    ct_free(context, packed);
}
