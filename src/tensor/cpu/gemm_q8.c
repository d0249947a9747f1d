/* gemm_q8.c - B of blocks of 32 elements with one scale, as GGML's Q8_0 stores a weight [n, k] row by row, in
 * panels that the kernels read: a quarter of the memory of f32, the bits of the weight written out. */
#include "tensor/cpu/gemm_half.h"
#include "tensor/cpu/gemm_kernels.h"

#include <string.h>

typedef struct q8_packing {
    const ct_gemm_packed *packed;
    const char *blocks;
} q8_packing;

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Where step s of a column lies in a panel's 32 steps. */
static int64_t byte_place(int64_t nr, int64_t s, int64_t column) {
    return 2 * nr + s / 4 * 4 * nr + column * 4 + s % 4;
}

/* One panel's 32 steps from `step` on. */
static void pack_block(const q8_packing *work, int64_t step, int64_t col, char *to) {
    const ct_gemm_packed *packed = work->packed;
    int64_t nr = packed->kernels->nr, cols = smaller(nr, packed->n - col);
    int64_t row_bytes = packed->k / CT_GEMM_Q8_STEPS * CT_GEMM_Q8_BYTES;
    memset(to, 0, (size_t)(nr * CT_GEMM_Q8_BYTES));
    for (int64_t j = 0; j < cols; j++) {
        const char *block = work->blocks + (col + j) * row_bytes + step / CT_GEMM_Q8_STEPS * CT_GEMM_Q8_BYTES;
        memcpy(to + 2 * j, block, 2);
        for (int64_t s = 0; s < CT_GEMM_Q8_STEPS; s++)
            to[byte_place(nr, s, j)] = block[2 + s];
    }
}

static void pack_panel(void *user, int64_t index, int worker) {
    (void)worker;
    const q8_packing *work = user;
    const ct_gemm_packed *packed = work->packed;
    int64_t nr = packed->kernels->nr, col = index * nr, depth = packed->kernels->depth;
    for (int64_t step = 0; step < packed->k; step += depth) {
        char *to = (char *)(uintptr_t)ct_gemm_panels_at(packed, step, col);
        int64_t end = smaller(step + depth, packed->k);
        for (int64_t p = step; p < end; p += CT_GEMM_Q8_STEPS, to += nr * CT_GEMM_Q8_BYTES)
            pack_block(work, p, col, to);
    }
}

ct_gemm_packed *ct_gemm_pack_q8_0(ct_context *context, int64_t k, int64_t n, const void *blocks) {
    if (ct_failed(context)) return NULL;
    if (k < 0 || n < 0 || k % CT_GEMM_Q8_STEPS || (k && n > INT64_MAX / 64 / k)) {
        ct_fail(context, CT_ERROR_ARGUMENT,
                "Q8_0: a weight [%lld, %lld], expected rows of a multiple of %d elements", (long long)n,
                (long long)k, CT_GEMM_Q8_STEPS);
        return NULL;
    }
    const ct_gemm_kernels *kernels = ct_gemm_kernels_for(CT_F32, ct_cpu_isa());
    int64_t panels = (n + kernels->nr - 1) / kernels->nr;
    ct_gemm_packed *packed = ct_alloc(context, sizeof *packed, CT_MEMORY_OTHER);
    if (!packed) return NULL;
    *packed = (ct_gemm_packed){context, kernels, k, n, CT_GEMM_Q8_0, NULL};
    packed->panels = ct_alloc(context, (size_t)(panels * kernels->nr * ct_gemm_panel_bytes(packed, k)) + 64,
                              CT_MEMORY_WEIGHTS);
    if (!packed->panels) {
        ct_gemm_packed_free(packed);
        return NULL;
    }
    q8_packing work = {packed, blocks};
    ct_parallel_for(context, panels, pack_panel, &work);
    return packed;
}

void ct_gemm_q8_0_read(const ct_gemm_packed *packed, int64_t step, int64_t col, int64_t steps, int64_t cols,
                       float *out, int64_t step_stride, int64_t col_stride) {
    int64_t nr = packed->kernels->nr, depth = packed->kernels->depth;
    for (int64_t j = 0; j < cols; j++)
        for (int64_t p = step; p < step + steps;) {
            int64_t first = p / CT_GEMM_Q8_STEPS * CT_GEMM_Q8_STEPS, lane = (col + j) % nr;
            const char *block = ct_gemm_panels_at(packed, p / depth * depth, (col + j) / nr * nr) +
                                p % depth / CT_GEMM_Q8_STEPS * CT_GEMM_Q8_BYTES * nr;
            uint16_t half;
            memcpy(&half, block + 2 * lane, 2);
            float scale = ct_gemm_f16_to_f32(half);
            int64_t end = smaller(first + CT_GEMM_Q8_STEPS, step + steps);
            for (; p < end; p++)
                out[(p - step) * step_stride + j * col_stride] =
                    scale * (float)(signed char)block[byte_place(nr, p - first, lane)];
        }
}

void ct_gemm_q8_0_blocks(const ct_gemm_packed *packed, int64_t col, int64_t cols, void *blocks) {
    int64_t nr = packed->kernels->nr, depth = packed->kernels->depth;
    char *to = blocks;
    for (int64_t j = col; j < col + cols; j++)
        for (int64_t p = 0; p < packed->k; p += CT_GEMM_Q8_STEPS, to += CT_GEMM_Q8_BYTES) {
            const char *block = ct_gemm_panels_at(packed, p / depth * depth, j / nr * nr) +
                                p % depth / CT_GEMM_Q8_STEPS * CT_GEMM_Q8_BYTES * nr;
            memcpy(to, block + 2 * (j % nr), 2);
            for (int64_t s = 0; s < CT_GEMM_Q8_STEPS; s++)
                to[2 + s] = block[byte_place(nr, s, j % nr)];
        }
}
