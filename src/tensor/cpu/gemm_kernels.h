/* gemm_kernels.h - between the matrix multiply's driver (gemm_drive.c) and its kernels, of which there is one
 * table per compute type and instruction set. Pointers to void here point to elements of the compute type. */
#ifndef CARAT_TENSOR_CPU_GEMM_KERNELS_H
#define CARAT_TENSOR_CPU_GEMM_KERNELS_H

#include "tensor/cpu/gemm.h"
#include "tensor/cpu/isa.h"

/* The products with up to this many rows take the matrix-vector kernels. */
#define CT_GEMM_DIRECT_B_ROWS 96 /* with fewer rows, packing B costs more than it saves */
#define CT_GEMM_MATVEC_ROWS 4

/* A matrix of the compute type with any strides. */
typedef struct ct_gemm_view {
    const void *data;
    int64_t row_stride, col_stride;
} ct_gemm_view;

/* One step of blocks of k on a rectangle of C: c = alpha * (A B) + beta * c. */
typedef struct ct_gemm_block {
    int64_t rows, cols, steps;
    /* Packed A: panels of `mr` rows, element (i, p) of a panel at p * mr + i; else A as it lies. */
    const void *a;
    bool a_packed;
    int64_t a_row, a_step;
    /* Panel j of B begins at b + j * b_panel; its step p at + p * b_step. A last panel of fewer than nr
     * columns comes from b_last, padded to nr columns with step nr. */
    const void *b, *b_last;
    int64_t b_step, b_panel;
    void *c;
    int64_t c_row;
    double alpha, beta;
} ct_gemm_block;

/* What follows the sums: see the order in gemm.h. */
typedef struct ct_gemm_finish {
    ct_gemm_epilogue epilogue;
    ct_gemm_output c;
    double beta;
    bool in_place;  /* the sums are made in C itself */
    bool any;       /* something is left to do after the sums */
    bool exchanged; /* rows here are columns of the caller: bias_m is added first */
} ct_gemm_finish;

/* What the panels of a packed B hold. */
typedef enum ct_gemm_form {
    CT_GEMM_WHOLE, /* elements of the compute type */
    CT_GEMM_PAIRS, /* pairs of bf16, from a bf16 B: step 2u of a column in the low, step 2u + 1 in the high half
                    * of unit [u][column] */
    CT_GEMM_Q8_0   /* for each 32 steps: a scale (f16) a column, then 8 rows of units, four steps' signed bytes of
                    * a column */
} ct_gemm_form;
#define CT_GEMM_Q8_STEPS 32
#define CT_GEMM_Q8_BYTES 34 /* of a column's 32 steps */

/* Columns of B against up to CT_GEMM_MATVEC_ROWS rows of A: c[r][j] = alpha * sum_p x[r][p] b[p][j] + beta *
 * c. */
typedef struct ct_gemm_matvec {
    int64_t rows, cols, steps;
    const void *x; /* rows contiguous */
    int64_t x_row;
    const void *b; /* of b_dtype: the compute type, or bf16 in f32; panels: as `form` says */
    ct_dtype b_dtype;
    ct_gemm_form form;
    int64_t b_stride; /* between rows of B (columns kernel) or between columns (rows kernel) */
    void *c;
    int64_t c_row;
    void *sums; /* rows * cols elements of scratch */
    double alpha, beta;
    int64_t col, padded; /* panels kernel: the first column, a multiple of nr, and the width of all panels */
} ct_gemm_matvec;

typedef struct ct_gemm_kernels {
    ct_isa isa;
    ct_dtype dtype;
    int mr, nr;
    int64_t depth; /* steps of k in a block */
    /* Packs `width` rows of A (pack_a, panels of mr) or columns of B (pack_b, panels of nr), `steps` deep;
     * the last panel is padded with zeros. Panels are mr * steps (nr * steps) apart; up to 64 bytes after are
     * overwritten. */
    void (*pack_a)(const ct_gemm_view *a, int64_t width, int64_t steps, void *out);
    void (*pack_b)(const ct_gemm_view *b, int64_t width, int64_t steps, void *out);
    void (*block)(const ct_gemm_block *block);
    /* `count` elements of `dtype`, `stride` apart, to the compute type. */
    void (*read)(ct_dtype dtype, const void *from, int64_t stride, int64_t count, void *to);
    /* The epilogue of sums[rows][cols], which belong to element (row, col) of C onwards. */
    void (*finish)(const ct_gemm_finish *finish, void *sums, int64_t sums_row, int64_t row, int64_t col,
                   int64_t rows, int64_t cols);
    void (*matvec_columns)(const ct_gemm_matvec *matvec); /* B contiguous along its rows */
    void (*matvec_rows)(const ct_gemm_matvec *matvec);    /* B contiguous along its columns */
    void (*matvec_panels)(const ct_gemm_matvec *matvec);  /* b: packed panels */
    /* A panel of nr columns, `steps` deep, to pairs of bf16, exact where it came from bf16; and from another form to
     * whole elements. f32 only. */
    void (*pair)(const void *panel, int64_t steps, void *pairs);
    void (*unpack)(ct_gemm_form form, const void *from, int64_t steps, void *panel);
} ct_gemm_kernels;

extern const ct_gemm_kernels ct_gemm_plain_f32, ct_gemm_plain_f64;
extern const ct_gemm_kernels ct_gemm_avx2_f32, ct_gemm_avx2_f64;
extern const ct_gemm_kernels ct_gemm_avx512_f32, ct_gemm_avx512_f64;

struct ct_gemm_packed {
    ct_context *context;
    const ct_gemm_kernels *kernels;
    int64_t k, n;
    ct_gemm_form form;
    void *panels; /* block after block of k; in each, the panels of all columns */
};

/* Bytes of a packed panel's `steps` steps, by column. */
static inline int64_t ct_gemm_panel_bytes(const ct_gemm_packed *packed, int64_t steps) {
    if (packed->form == CT_GEMM_Q8_0) return steps / CT_GEMM_Q8_STEPS * CT_GEMM_Q8_BYTES;
    return packed->form == CT_GEMM_PAIRS ? (steps + 1) / 2 * 4 : steps * (int64_t)ct_dtype_size(packed->kernels->dtype);
}
/* The first panel of the block of k that begins at `step`, from column `col` on. */
static inline const char *ct_gemm_panels_at(const ct_gemm_packed *packed, int64_t step, int64_t col) {
    int64_t nr = packed->kernels->nr, padded = (packed->n + nr - 1) / nr * nr;
    int64_t steps = packed->k - step < packed->kernels->depth ? packed->k - step : packed->kernels->depth;
    return (const char *)packed->panels + padded * ct_gemm_panel_bytes(packed, step) +
           col * ct_gemm_panel_bytes(packed, steps);
}

/* A product, checked, with its rows and columns exchanged where that is better. */
typedef struct ct_gemm_problem {
    const ct_gemm_kernels *kernels;
    int64_t m, n, k;
    double alpha, beta;
    ct_gemm_operand a, b;
    bool exchanged; /* a.tile and b.tile are asked for transposed pieces */
    ct_gemm_finish finish;
} ct_gemm_problem;

const ct_gemm_kernels *ct_gemm_kernels_for(ct_dtype compute, ct_isa isa);
void ct_gemm_problem_make(ct_gemm_problem *problem, ct_dtype compute, int64_t m, int64_t n, int64_t k,
                          double alpha, const ct_gemm_operand *a, const ct_gemm_operand *b, double beta,
                          const ct_gemm_output *c, const ct_gemm_epilogue *epilogue);
size_t ct_gemm_serial_bytes(const ct_gemm_kernels *kernels, int64_t m, int64_t n, int64_t k);
void ct_gemm_run_serial(const ct_gemm_problem *problem, void *scratch);
ct_status ct_gemm_run_parallel(ct_context *context, const ct_gemm_problem *problem);

/* In gemm_matvec.c; `scratch` of ct_gemm_matvec_bytes. */
bool ct_gemm_matvec_fits(const ct_gemm_problem *problem);
size_t ct_gemm_matvec_bytes(const ct_gemm_kernels *kernels, int64_t m, int64_t n, int64_t k);
void ct_gemm_matvec_serial(const ct_gemm_problem *problem, void *scratch);
ct_status ct_gemm_matvec_parallel(ct_context *context, const ct_gemm_problem *problem);

/* In gemm_fetch.c. A view of rows x cols of an operand from (row, col): the operand itself if it is of the
 * compute type, else a converted copy in `buffer` (rows * cols elements). */
ct_gemm_view ct_gemm_fetch(const ct_gemm_kernels *kernels, const ct_gemm_operand *operand, bool exchanged,
                           int64_t row, int64_t col, int64_t rows, int64_t cols, void *buffer);
/* Packs all rows of A, or columns of B, in groups that fit `buffer` (ct_gemm_fetch_bytes). */
void ct_gemm_pack_a(const ct_gemm_problem *problem, int64_t row, int64_t rows, int64_t step, int64_t steps,
                    void *out, void *buffer);
void ct_gemm_pack_b(const ct_gemm_kernels *kernels, const ct_gemm_operand *b, bool exchanged, int64_t step,
                    int64_t steps, int64_t col, int64_t cols, void *out, void *buffer);
size_t ct_gemm_fetch_bytes(const ct_gemm_kernels *kernels);

#endif
