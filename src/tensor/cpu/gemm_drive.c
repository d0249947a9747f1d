/* gemm_drive.c - cuts a product into blocks that fit the caches and gives them to the kernels, on one thread
 * or on the context's workers.
 *
 * For each range of columns, each range of rows and each block of k: B is packed (shared by all), then tasks,
 * each a rectangle of C, pack their rows of A and run the kernels; with the last block of k they apply the
 * epilogue. */
#include "tensor/cpu/gemm_kernels.h"

#include <stdatomic.h>
#include <string.h>

#define PADDING 64            /* bytes the packing kernels may write past the end */
#define COLUMNS_PARALLEL 3072 /* of B packed at once; a block of 384 steps of f32 is 4.5 MiB */
#define COLUMNS_SERIAL 512
#define TASK_ROWS 144                 /* a packed block of A stays in the second-level cache */
#define TASK_COLUMNS_COPIED 512       /* of a task whose sums do not lie in C */
#define SUMS_BYTES ((int64_t)8 << 20) /* of sums kept from one block of k to the next */
#define SUMS_BYTES_SERIAL ((int64_t)1 << 19)
#define TASK_WORK 2.5e5 /* multiply-adds that make a task worth handing out */
#define TASKS_WANTED 32
#define DIRECT_B_BYTES 20480        /* B is not packed where all of it stays in the first-level cache, */
#define DIRECT_B_BYTES_SHARED 66000 /* or the second, if packing would be a loop of its own; */
#define DIRECT_A_COLUMNS 64         /* likewise A, with few columns */

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static int64_t quotient_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}
static int64_t round_up(int64_t a, int64_t b) {
    return quotient_up(a, b) * b;
}

/* What does not change during a run. */
typedef struct gemm_plan {
    const ct_gemm_problem *problem;
    int64_t size; /* bytes of an element */
    int64_t depth, columns,
        height; /* blocks: steps of k, columns of B, rows of C between two passes over k */
    bool b_direct, a_direct;
    bool kept;               /* sums live in `sums` between blocks of k, not in C or in a task's scratch */
    int64_t task_columns;    /* most columns a task may have */
    int64_t scratch_a_bytes; /* parts of a worker's scratch: packed A, a converted piece, sums */
    int64_t scratch_fetch_bytes, scratch_sums_bytes;
} gemm_plan;

/* A pass: one block of columns, rows and k. */
typedef struct gemm_pass {
    const gemm_plan *plan;
    uint64_t id;         /* of no other pass */
    ct_context *context; /* NULL: serial */
    char *scratch;       /* serial: the worker's */
    int64_t col, cols, row, rows, step, steps;
    int64_t row_tasks, col_tasks;
    bool first, last;
    char *b; /* packed panels; with direct B the last, narrow panel */
    char *sums;
} gemm_pass;

static bool is_plain(const ct_gemm_kernels *kernels, const ct_gemm_operand *operand) {
    return operand->data && operand->dtype == kernels->dtype;
}

/* `threads`: 0 on one thread without a context. */
static void plan_make(gemm_plan *plan, const ct_gemm_problem *problem, int threads) {
    bool serial = threads == 0;
    int64_t direct_b = threads > 1 ? DIRECT_B_BYTES_SHARED : DIRECT_B_BYTES;
    const ct_gemm_kernels *kernels = problem->kernels;
    int64_t most_columns = serial ? COLUMNS_SERIAL : COLUMNS_PARALLEL;
    int64_t most_sums = serial ? SUMS_BYTES_SERIAL : SUMS_BYTES;
    memset(plan, 0, sizeof *plan);
    plan->problem = problem;
    plan->size = (int64_t)ct_dtype_size(kernels->dtype);
    plan->depth = smaller(kernels->depth, larger(problem->k, 1));
    plan->columns = smaller(most_columns, round_up(problem->n, kernels->nr));
    plan->b_direct =
        is_plain(kernels, &problem->b) && problem->b.col_stride == 1 &&
        (problem->m <= CT_GEMM_DIRECT_B_ROWS || problem->n * problem->k * plan->size <= direct_b);
    plan->a_direct =
        is_plain(kernels, &problem->a) && (problem->n <= 2 * kernels->nr || problem->m <= kernels->mr ||
                                           (problem->n <= DIRECT_A_COLUMNS && problem->a.col_stride == 1));
    plan->kept = !problem->finish.in_place && problem->k > plan->depth;
    plan->height = problem->m;
    plan->task_columns = plan->columns;
    if (plan->kept) plan->height = larger(most_sums / (plan->columns * plan->size), 64);
    if (!problem->finish.in_place && !plan->kept) {
        plan->task_columns = smaller(plan->columns, TASK_COLUMNS_COPIED);
        plan->scratch_sums_bytes =
            smaller(problem->m, TASK_ROWS + kernels->mr) * plan->task_columns * plan->size;
    }
    plan->height = smaller(plan->height, problem->m);
    if (!plan->a_direct)
        plan->scratch_a_bytes =
            round_up(smaller(problem->m, TASK_ROWS) + kernels->mr, kernels->mr) * plan->depth * plan->size;
    plan->scratch_a_bytes = round_up(plan->scratch_a_bytes + PADDING, 64);
    plan->scratch_fetch_bytes = round_up((int64_t)ct_gemm_fetch_bytes(kernels), 64);
    plan->scratch_sums_bytes = round_up(plan->scratch_sums_bytes, 64);
}

/* At the start of a worker's scratch: whose A lies packed behind it. It names the pass, so that nobody has to
 * erase it: between two tasks of a pass the worker may run others. */
typedef struct packed_rows {
    _Alignas(64) uint64_t pass;
    int64_t row_task;
} packed_rows;

static uint64_t new_id(void) {
    static _Atomic uint64_t last =
        UINT64_C(0x9e3779b97f4a7c15); /* what never was written does not look like one */
    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

static size_t worker_bytes(const gemm_plan *plan) {
    return (size_t)((int64_t)sizeof(packed_rows) + plan->scratch_a_bytes + plan->scratch_fetch_bytes +
                    plan->scratch_sums_bytes);
}

static size_t packed_b_bytes(const gemm_plan *plan) {
    const ct_gemm_problem *problem = plan->problem;
    int64_t columns = plan->columns;
    if (problem->b.packed && problem->b.packed->form == CT_GEMM_WHOLE) return 0;
    if (plan->b_direct) columns = problem->n % problem->kernels->nr ? problem->kernels->nr : 0;
    return (size_t)round_up(columns * plan->depth * plan->size + PADDING, 64);
}

static size_t kept_bytes(const gemm_plan *plan) {
    return plan->kept ? (size_t)round_up(plan->height * plan->columns * plan->size, 64) : 0;
}

static char *scratch_of(const gemm_pass *pass, int worker) {
    return pass->context ? ct_scratch(pass->context, worker) : pass->scratch;
}

/* ---------------------------------------------------------------------------------------- packing B ----- */

#define PACK_PANELS 4 /* panels of B that a packing task makes */

static void unpack_panels(const gemm_pass *pass, int64_t col, int64_t cols) {
    const ct_gemm_packed *packed = pass->plan->problem->b.packed;
    int64_t nr = packed->kernels->nr;
    for (int64_t j = col; j < col + cols; j += nr)
        packed->kernels->unpack(packed->form, ct_gemm_panels_at(packed, pass->step, pass->col + j),
                                pass->steps, pass->b + j * pass->steps * pass->plan->size);
}

static void pack_b_task(void *user, int64_t index, int worker) {
    const gemm_pass *pass = user;
    const gemm_plan *plan = pass->plan;
    const ct_gemm_problem *problem = plan->problem;
    int64_t width = PACK_PANELS * problem->kernels->nr, col = index * width;
    char *buffer = scratch_of(pass, worker) + sizeof(packed_rows) + plan->scratch_a_bytes;
    int64_t cols = smaller(width, pass->cols - col);
    if (problem->b.packed) {
        unpack_panels(pass, col, cols);
        return;
    }
    ct_gemm_pack_b(problem->kernels, &problem->b, problem->exchanged, pass->step, pass->steps,
                   pass->col + col, cols, pass->b + col * pass->steps * plan->size, buffer);
}

/* Makes pass->b ready. */
static void pack_b(gemm_pass *pass) {
    const gemm_plan *plan = pass->plan;
    const ct_gemm_problem *problem = plan->problem;
    const ct_gemm_kernels *kernels = problem->kernels;
    if (problem->b.packed && problem->b.packed->form == CT_GEMM_WHOLE) {
        pass->b = (char *)(uintptr_t)ct_gemm_panels_at(problem->b.packed, pass->step, pass->col);
        return;
    }
    if (plan->b_direct) {
        int64_t narrow = pass->cols % kernels->nr;
        if (narrow)
            ct_gemm_pack_b(kernels, &problem->b, problem->exchanged, pass->step, pass->steps,
                           pass->col + pass->cols - narrow, narrow, pass->b, NULL);
        return;
    }
    int64_t count = quotient_up(pass->cols, PACK_PANELS * kernels->nr);
    if (pass->context && (double)pass->cols * (double)pass->steps > 8192)
        ct_parallel_for(pass->context, count, pack_b_task, pass);
    else
        for (int64_t i = 0; i < count; i++)
            pack_b_task(pass, i, 0);
}

/* -------------------------------------------------------------------------------------------- tasks ----- */

/* Cuts the pass into about TASKS_WANTED rectangles, of enough work each: by rows, then by columns. */
static void cut(gemm_pass *pass) {
    const gemm_plan *plan = pass->plan;
    const ct_gemm_kernels *kernels = plan->problem->kernels;
    int64_t row_panels = quotient_up(pass->rows, kernels->mr),
            col_panels = quotient_up(pass->cols, kernels->nr);
    int64_t row_least = quotient_up(row_panels, TASK_ROWS / kernels->mr);
    int64_t col_least = quotient_up(col_panels, plan->task_columns / kernels->nr);
    double work = (double)pass->rows * (double)pass->cols * (double)larger(pass->steps, 16);
    int64_t wanted = work / TASK_WORK < TASKS_WANTED ? (int64_t)(work / TASK_WORK) : TASKS_WANTED;
    if (!pass->context) wanted = 1;
    /* Row tasks of at least 48 rows, then column tasks of at least 64 columns, then what is left. */
    pass->row_tasks = larger(row_least, smaller(wanted, row_panels / larger(30 / kernels->mr, 1)));
    pass->row_tasks = larger(pass->row_tasks, 1);
    if (pass->row_tasks > 2 && pass->context)
        pass->row_tasks = smaller(round_up(pass->row_tasks, 4), row_panels);
    pass->col_tasks = larger(quotient_up(wanted, pass->row_tasks), 1);
    pass->col_tasks = larger(col_least, smaller(pass->col_tasks, larger(col_panels * kernels->nr / 64, 1)));
}

/* The `index`-th of `parts` near-equal ranges of whole panels. */
static void part(int64_t length, int64_t panel, int64_t parts, int64_t index, int64_t *start,
                 int64_t *count) {
    int64_t panels = quotient_up(length, panel);
    *start = panels * index / parts * panel;
    *count = smaller(panels * (index + 1) / parts * panel, length) - *start;
}

/* The sums begin as C where beta takes part and the kernels cannot read C themselves. */
static void read_c(const gemm_pass *pass, int64_t row, int64_t col, int64_t rows, int64_t cols, char *sums,
                   int64_t sums_row) {
    const gemm_plan *plan = pass->plan;
    const ct_gemm_output *c = &plan->problem->finish.c;
    int64_t size = (int64_t)ct_dtype_size(c->dtype);
    for (int64_t i = 0; i < rows; i++)
        plan->problem->kernels->read(
            c->dtype, (const char *)c->data + ((row + i) * c->row_stride + col * c->col_stride) * size,
            c->col_stride, cols, sums + i * sums_row * plan->size);
}

/* Where the sums of a task lie: in C, among the kept sums, or in scratch. */
static char *task_sums(const gemm_pass *pass, int64_t row, int64_t col, char *scratch, int64_t *sums_row) {
    const gemm_plan *plan = pass->plan;
    const ct_gemm_finish *finish = &plan->problem->finish;
    if (finish->in_place) {
        *sums_row = finish->c.row_stride;
        return (char *)finish->c.data + ((pass->row + row) * *sums_row + pass->col + col) * plan->size;
    }
    *sums_row = plan->kept ? plan->columns : plan->task_columns;
    return plan->kept ? pass->sums + (row * plan->columns + col) * plan->size : scratch;
}

/* A and B of a task's block; packs A unless the worker's last task had the same rows. */
static void task_operands(const gemm_pass *pass, int64_t row_task, int64_t row, int64_t col, char *scratch,
                          ct_gemm_block *block) {
    const gemm_plan *plan = pass->plan;
    const ct_gemm_problem *problem = plan->problem;
    const ct_gemm_kernels *kernels = problem->kernels;
    block->a_packed = !plan->a_direct;
    if (plan->a_direct) {
        block->a_row = problem->a.row_stride, block->a_step = problem->a.col_stride;
        block->a = (const char *)problem->a.data +
                   ((pass->row + row) * block->a_row + pass->step * block->a_step) * plan->size;
    } else {
        packed_rows *packed = (packed_rows *)(void *)scratch;
        if (packed->pass != pass->id || packed->row_task != row_task)
            ct_gemm_pack_a(problem, pass->row + row, block->rows, pass->step, pass->steps,
                           scratch + sizeof(packed_rows),
                           scratch + sizeof(packed_rows) + plan->scratch_a_bytes);
        packed->pass = pass->id, packed->row_task = row_task;
        block->a = scratch + sizeof(packed_rows);
    }
    if (plan->b_direct) {
        block->b_step = problem->b.row_stride, block->b_panel = kernels->nr, block->b_last = pass->b;
        block->b =
            (const char *)problem->b.data + (pass->step * block->b_step + pass->col + col) * plan->size;
    } else {
        block->b_step = kernels->nr, block->b_panel = kernels->nr * pass->steps;
        block->b = pass->b + col * pass->steps * plan->size;
        block->b_last = (const char *)block->b + block->cols / kernels->nr * block->b_panel * plan->size;
    }
}

static void block_task(void *user, int64_t index, int worker) {
    const gemm_pass *pass = user;
    const gemm_plan *plan = pass->plan;
    const ct_gemm_problem *problem = plan->problem;
    const ct_gemm_kernels *kernels = problem->kernels;
    char *scratch = scratch_of(pass, worker);
    int64_t row_task = index / pass->col_tasks, row, col, sums_row;
    ct_gemm_block block = {.steps = pass->steps, .alpha = problem->alpha};
    part(pass->rows, kernels->mr, pass->row_tasks, row_task, &row, &block.rows);
    part(pass->cols, kernels->nr, pass->col_tasks, index % pass->col_tasks, &col, &block.cols);
    char *sums = task_sums(pass, row, col,
                           scratch + sizeof(packed_rows) + plan->scratch_a_bytes + plan->scratch_fetch_bytes,
                           &sums_row);
    block.beta = pass->first ? problem->finish.beta : 1;
    if (pass->first && block.beta != 0 && !problem->finish.in_place)
        read_c(pass, pass->row + row, pass->col + col, block.rows, block.cols, sums, sums_row);
    task_operands(pass, row_task, row, col, scratch, &block);
    block.c = sums, block.c_row = sums_row;
    kernels->block(&block);
    if (pass->last && problem->finish.any)
        kernels->finish(&problem->finish, sums, sums_row, pass->row + row, pass->col + col, block.rows,
                        block.cols);
}

static void run_pass(gemm_pass *pass) {
    pack_b(pass);
    cut(pass);
    pass->id = new_id();
    int64_t count = pass->row_tasks * pass->col_tasks;
    if (pass->context && count > 1)
        ct_parallel_for(pass->context, count, block_task, pass);
    else
        for (int64_t i = 0; i < count; i++)
            block_task(pass, i, 0);
}

static void run_all(gemm_pass *pass) {
    const gemm_plan *plan = pass->plan;
    const ct_gemm_problem *problem = plan->problem;
    char *b = pass->b;
    for (pass->col = 0; pass->col < problem->n; pass->col += plan->columns) {
        pass->cols = smaller(plan->columns, problem->n - pass->col);
        for (pass->row = 0; pass->row < problem->m; pass->row += plan->height) {
            pass->rows = smaller(plan->height, problem->m - pass->row);
            for (pass->step = 0; pass->step == 0 || pass->step < problem->k; pass->step += plan->depth) {
                pass->steps = smaller(plan->depth, problem->k - pass->step);
                pass->first = pass->step == 0;
                pass->last = pass->step + plan->depth >= problem->k;
                pass->b = b;
                run_pass(pass);
            }
        }
    }
}

/* ------------------------------------------------------------------------------------------ k is 0 ------ */

/* beta * C, then the epilogue, in pieces of a row. */
static void run_empty(const ct_gemm_problem *problem) {
    enum { PIECE = 128 };
    const ct_gemm_finish *finish = &problem->finish;
    const ct_gemm_output *c = &finish->c;
    double values[PIECE];
    ct_gemm_finish copy = *finish;
    copy.in_place = false;
    int64_t size = (int64_t)ct_dtype_size(c->dtype);
    for (int64_t i = 0; i < problem->m; i++)
        for (int64_t j = 0; j < problem->n; j += PIECE) {
            int64_t count = smaller(PIECE, problem->n - j);
            memset(values, 0, sizeof values);
            if (finish->beta != 0) {
                problem->kernels->read(c->dtype,
                                       (char *)c->data + (i * c->row_stride + j * c->col_stride) * size,
                                       c->col_stride, count, values);
                for (int64_t l = 0; l < count; l++)
                    if (problem->kernels->dtype == CT_F64)
                        values[l] *= finish->beta;
                    else
                        ((float *)values)[l] *= (float)finish->beta;
            }
            problem->kernels->finish(&copy, values, PIECE, i, j, 1, count);
        }
}

/* --------------------------------------------------------------------------------------- whole runs ----- */

size_t ct_gemm_serial_bytes(const ct_gemm_kernels *kernels, int64_t m, int64_t n, int64_t k) {
    /* The most that any kind of operand and result needs. */
    ct_gemm_problem problem = {.kernels = kernels, .m = m, .n = n, .k = k};
    gemm_plan plan;
    plan_make(&plan, &problem, 0);
    return worker_bytes(&plan) + packed_b_bytes(&plan) + kept_bytes(&plan);
}

void ct_gemm_run_serial(const ct_gemm_problem *problem, void *scratch) {
    if (problem->k == 0) {
        run_empty(problem);
        return;
    }
    gemm_plan plan;
    plan_make(&plan, problem, 0);
    gemm_pass pass = {.plan = &plan, .scratch = scratch};
    pass.b = pass.scratch + worker_bytes(&plan);
    pass.sums = pass.b + packed_b_bytes(&plan);
    run_all(&pass);
}

ct_status ct_gemm_run_parallel(ct_context *context, const ct_gemm_problem *problem) {
    if (problem->k == 0) {
        run_empty(problem);
        return CT_OK;
    }
    gemm_plan plan;
    plan_make(&plan, problem, ct_context_threads(context));
    size_t b_bytes = packed_b_bytes(&plan), sums_bytes = kept_bytes(&plan);
    gemm_pass pass = {.plan = &plan, .context = context};
    ct_status status = ct_scratch_reserve(context, worker_bytes(&plan));
    if (status != CT_OK) return status;
    char *workspace = NULL;
    if (b_bytes + sums_bytes) {
        workspace = ct_alloc(context, b_bytes + sums_bytes, CT_MEMORY_WORKSPACE);
        if (!workspace) return ct_context_status(context);
    }
    pass.b = workspace;
    pass.sums = workspace ? workspace + b_bytes : NULL;
    run_all(&pass);
    ct_free(context, workspace);
    return CT_OK;
}
