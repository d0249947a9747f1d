/* gemm_matvec.c - products of few rows: B is read once, as it lies, in strips of columns shared out to the
 * workers. */
#include "tensor/cpu/gemm_kernels.h"

#include <string.h>

#define STRIP_BYTES 98304 /* of B that make a strip worth handing out */
#define STRIP_LEAST 64    /* columns */
#define STRIP_MOST 1024
#define ACROSS_LEAST 256    /* where B lies along its rows, of wide B: long runs of memory */
#define SERIAL_BYTES 131072 /* of B; below, the caller does it alone */

typedef struct matvec_run {
    const ct_gemm_problem *problem;
    ct_context *context;
    char *scratch; /* serial */
    const char *x;
    int64_t x_row, strip, size;
    bool across; /* B is contiguous along its rows */
} matvec_run;

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

bool ct_gemm_matvec_fits(const ct_gemm_problem *problem) {
    const ct_gemm_operand *b = &problem->b;
    if (b->packed) return problem->m <= CT_GEMM_MATVEC_ROWS && problem->k > 0;
    return problem->m <= CT_GEMM_MATVEC_ROWS && problem->k > 0 && b->data &&
           (b->dtype == problem->kernels->dtype ||
            (b->dtype == CT_BF16 && problem->kernels->dtype == CT_F32)) &&
           (b->row_stride == 1 || b->col_stride == 1);
}

/* Two strips of sums for a worker, and A where it has to be converted. */
static size_t strip_bytes(int64_t m, int64_t size) {
    return (size_t)(2 * smaller(m, CT_GEMM_MATVEC_ROWS) * STRIP_MOST * size);
}

static size_t x_bytes(int64_t m, int64_t k, int64_t size) {
    return (size_t)((m * k * size + 63) / 64 * 64);
}

size_t ct_gemm_matvec_bytes(const ct_gemm_kernels *kernels, int64_t m, int64_t n, int64_t k) {
    int64_t size = (int64_t)ct_dtype_size(kernels->dtype);
    (void)n;
    return m <= CT_GEMM_MATVEC_ROWS ? strip_bytes(m, size) + x_bytes(m, k, size) : 0;
}

/* Columns from `col` on of B, as it lies or packed. */
static void multiply(const matvec_run *run, ct_gemm_matvec *matvec, int64_t col) {
    const ct_gemm_operand *b = &run->problem->b;
    const ct_gemm_kernels *kernels = run->problem->kernels;
    if (b->packed) {
        matvec->b = b->packed->panels;
        matvec->form = b->packed->form;
        matvec->col = col;
        matvec->padded = (b->packed->n + kernels->nr - 1) / kernels->nr * kernels->nr;
        kernels->matvec_panels(matvec);
        return;
    }
    matvec->b = (const char *)b->data + col * b->col_stride * (int64_t)ct_dtype_size(b->dtype);
    matvec->b_dtype = b->dtype;
    matvec->b_stride = run->across ? b->row_stride : b->col_stride;
    (run->across ? kernels->matvec_columns : kernels->matvec_rows)(matvec);
}

static void strip_task(void *user, int64_t index, int worker) {
    const matvec_run *run = user;
    const ct_gemm_problem *problem = run->problem;
    const ct_gemm_kernels *kernels = problem->kernels;
    const ct_gemm_finish *finish = &problem->finish;
    const ct_gemm_output *c = &finish->c;
    int64_t col = index * run->strip, cols = smaller(run->strip, problem->n - col), rows = problem->m;
    int64_t c_size = (int64_t)ct_dtype_size(c->dtype);
    char *scratch = run->context ? ct_scratch(run->context, worker) : run->scratch;
    char *sums = scratch + rows * run->strip * run->size, *out = sums;
    int64_t out_row = run->strip;
    char *c_first = (char *)c->data + col * c->col_stride * c_size;
    if (finish->in_place) out = c_first, out_row = c->row_stride;
    if (!finish->in_place && finish->beta != 0)
        for (int64_t r = 0; r < rows; r++)
            kernels->read(c->dtype, c_first + r * c->row_stride * c_size, c->col_stride, cols,
                          out + r * out_row * run->size);
    ct_gemm_matvec matvec = {.rows = rows,
                             .cols = cols,
                             .steps = problem->k,
                             .x = run->x,
                             .x_row = run->x_row,
                             .c = out,
                             .c_row = out_row,
                             .sums = scratch,
                             .alpha = problem->alpha,
                             .beta = finish->beta};
    multiply(run, &matvec, col);
    if (finish->any) kernels->finish(finish, out, out_row, 0, col, rows, cols);
}

/* A as contiguous rows of the compute type: itself, or converted into `buffer`. */
static void prepare_x(matvec_run *run, void *buffer) {
    const ct_gemm_problem *problem = run->problem;
    const ct_gemm_operand *a = &problem->a;
    if (a->data && a->dtype == problem->kernels->dtype && a->col_stride == 1) {
        run->x = a->data;
        run->x_row = a->row_stride;
        return;
    }
    run->x = buffer;
    run->x_row = problem->k;
    for (int64_t r = 0; r < problem->m; r++) {
        char *to = (char *)buffer + r * problem->k * run->size;
        if (a->data) {
            int64_t offset = r * a->row_stride * (int64_t)ct_dtype_size(a->dtype);
            problem->kernels->read(a->dtype, (const char *)a->data + offset, a->col_stride, problem->k, to);
            continue;
        }
        int64_t depth = problem->kernels->depth;
        for (int64_t step = 0; step < problem->k; step += depth)
            ct_gemm_fetch(problem->kernels, a, problem->exchanged, r, step, 1,
                          smaller(depth, problem->k - step), to + step * run->size);
    }
}

static int64_t b_element_bytes(const ct_gemm_problem *problem) {
    const ct_gemm_packed *packed = problem->b.packed;
    if (packed && packed->form != CT_GEMM_WHOLE) return packed->form == CT_GEMM_PAIRS ? 2 : 1;
    if (packed) return (int64_t)ct_dtype_size(problem->kernels->dtype);
    return (int64_t)ct_dtype_size(problem->b.dtype);
}

static void plan_strips(matvec_run *run) {
    const ct_gemm_problem *problem = run->problem;
    run->size = (int64_t)ct_dtype_size(problem->kernels->dtype);
    run->across = !problem->b.packed && problem->b.col_stride == 1 && !(problem->b.row_stride == 1 && problem->n == 1);
    int64_t size = b_element_bytes(problem);
    int64_t strip = STRIP_BYTES / (problem->k * size) / 64 * 64;
    strip = smaller(larger(strip, STRIP_LEAST), STRIP_MOST);
    if (run->across)
        strip = larger(strip, smaller(STRIP_MOST, larger((problem->n / 2 + 63) / 64 * 64, STRIP_LEAST)));
    run->strip = strip;
}

void ct_gemm_matvec_serial(const ct_gemm_problem *problem, void *scratch) {
    matvec_run run = {.problem = problem, .scratch = scratch};
    plan_strips(&run);
    prepare_x(&run, run.scratch + strip_bytes(problem->m, run.size));
    for (int64_t index = 0; index * run.strip < problem->n; index++)
        strip_task(&run, index, 0);
}

ct_status ct_gemm_matvec_parallel(ct_context *context, const ct_gemm_problem *problem) {
    matvec_run run = {.problem = problem, .context = context};
    plan_strips(&run);
    size_t strips = strip_bytes(problem->m, run.size);
    ct_status status = ct_scratch_reserve(context, strips + x_bytes(problem->m, problem->k, run.size));
    if (status != CT_OK) return status;
    /* All workers read the converted A of the caller's scratch. */
    prepare_x(&run, (char *)ct_scratch(context, 0) + strips);
    int64_t count = (problem->n + run.strip - 1) / run.strip;
    double bytes = (double)problem->n * (double)problem->k * (double)b_element_bytes(problem);
    if (count > 1 && bytes > SERIAL_BYTES)
        ct_parallel_for(context, count, strip_task, &run);
    else
        for (int64_t index = 0; index < count; index++)
            strip_task(&run, index, 0);
    return CT_OK;
}
