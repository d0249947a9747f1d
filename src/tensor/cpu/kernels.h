/* kernels.h - the table of CPU kernels for everything that is not matrix multiplication.
 *
 * Every function is single-threaded and works on the range it is given; the tensor room cuts ranges by shape
 * and runs them with ct_parallel_for. All variants (plain C, AVX2, AVX-512) give the same bits: 16 lanes of
 * f32 or 8 of f64 are simulated by the narrower ones, sums have fixed partial sums and a fixed tree, every
 * fused multiply-add is explicit. An elementwise result never depends on where in a range the element stands,
 * so ranges may be cut anywhere, unless a comment here says where.
 *
 * Pointers need only the alignment of their element. Outputs may be the same array as an input of the same
 * type (exactly, not overlapping at an offset) where "in place" is said. Counts of 0 are allowed.
 *
 *     const ct_kernels *kernels = ct_cpu_kernels();
 *     kernels->f32.unary(CT_UNARY_EXP, n, x, y, 0, 0);
 *     kernels->f64.softmax(rows, columns, x, columns, y, columns); */
#ifndef CARAT_TENSOR_CPU_KERNELS_H
#define CARAT_TENSOR_CPU_KERNELS_H

#include <carat/dtype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* May be or-ed into the operation of `unary` and `binary`: write the result past the caches (non-temporal).
 * Pays when the whole tensor (not only this range) is much larger than the last cache, about 32 MiB or more.
 * Same bits. */
#define CT_KERNEL_STREAM 0x1000

/* The parameters of an operation are `p` and `q`; where none is named both are ignored. */
typedef enum ct_unary {
    CT_UNARY_COPY,
    CT_UNARY_NEG,
    CT_UNARY_ABS,
    CT_UNARY_EXP, /* results below the least normal number are 0 */
    CT_UNARY_EXP2,
    CT_UNARY_EXPM1,
    CT_UNARY_LOG,
    CT_UNARY_LOG2,
    CT_UNARY_LOG1P,
    CT_UNARY_TANH,
    CT_UNARY_SIGMOID,
    CT_UNARY_RELU,       /* NaN stays NaN */
    CT_UNARY_LEAKY_RELU, /* x > 0 ? x : p x */
    CT_UNARY_ELU,        /* x > 0 ? x : p (e^x - 1) */
    CT_UNARY_GELU_ERF,   /* x Phi(x), Phi the normal distribution function */
    CT_UNARY_GELU_TANH,  /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    CT_UNARY_SILU,       /* x sigmoid(x) */
    CT_UNARY_SOFTPLUS,   /* log(1 + e^x) */
    CT_UNARY_SIN,
    CT_UNARY_COS,
    CT_UNARY_ERF,
    CT_UNARY_SQRT,
    CT_UNARY_RSQRT,      /* 1 / sqrt(x), correctly rounded operations, no approximation */
    CT_UNARY_RECIPROCAL, /* 1 / x */
    CT_UNARY_SQUARE,
    CT_UNARY_SIGN, /* -1, 0, 1; NaN stays NaN */
    CT_UNARY_FLOOR,
    CT_UNARY_CEIL,
    CT_UNARY_ROUND, /* to nearest, ties to even */
    CT_UNARY_TRUNC,
    CT_UNARY_SCALE, /* p x + q, one fused multiply-add */
    CT_UNARY_POW,   /* x^p */
    CT_UNARY_CLAMP, /* min(max(x, p), q); NaN stays NaN */
    CT_UNARY_COUNT
} ct_unary;

/* dx = dy f'(.): what the array `s` (saved) holds is in the comment. */
typedef enum ct_unary_gradient {
    CT_GRADIENT_RELU,       /* s = x or y: dy where s > 0 */
    CT_GRADIENT_LEAKY_RELU, /* s = x; slope p */
    CT_GRADIENT_ELU,        /* s = x; p as forward */
    CT_GRADIENT_GELU_ERF,   /* s = x */
    CT_GRADIENT_GELU_TANH,  /* s = x */
    CT_GRADIENT_SILU,       /* s = x */
    CT_GRADIENT_SOFTPLUS,   /* s = x */
    CT_GRADIENT_TANH,       /* s = y: dy (1 - y^2) */
    CT_GRADIENT_SIGMOID,    /* s = y: dy y (1 - y) */
    CT_GRADIENT_CLAMP,      /* s = x: dy where p <= x <= q */
    CT_GRADIENT_COUNT
} ct_unary_gradient;

typedef enum ct_binary {
    CT_BINARY_ADD,
    CT_BINARY_SUB,
    CT_BINARY_MUL,
    CT_BINARY_DIV,
    CT_BINARY_POW, /* C99 pow, also its special cases */
    CT_BINARY_MIN, /* NaN if either is NaN */
    CT_BINARY_MAX, /* NaN if either is NaN */
    CT_BINARY_COUNT
} ct_binary;

typedef enum ct_compare {
    CT_COMPARE_EQ,
    CT_COMPARE_NE,
    CT_COMPARE_LT,
    CT_COMPARE_LE,
    CT_COMPARE_GT,
    CT_COMPARE_GE,
    CT_COMPARE_COUNT
} ct_compare;

/* y = f(gate) * up, the gated units (SwiGLU and kin: Shazeer 2020, arXiv:2002.05202). */
typedef enum ct_gate {
    CT_GATE_SILU,
    CT_GATE_GELU_ERF,
    CT_GATE_GELU_TANH,
    CT_GATE_SIGMOID,
    CT_GATE_RELU,
    CT_GATE_COUNT
} ct_gate;

/* A long row is reduced as blocks of this many elements (the last may be shorter), each by `reduce_block`;
 * the block results are combined by ct_reduce_combine in a fixed tree. `reduce` does both for a whole row on
 * one thread and gives the same bits. */
#define CT_REDUCE_BLOCK 4096
typedef enum ct_reduce {
    CT_REDUCE_SUM,         /* sum of (x - shift) */
    CT_REDUCE_SUM_ABS,     /* sum of |x - shift| */
    CT_REDUCE_SUM_SQUARES, /* sum of (x - shift)^2, inside in f64: gradient norms, variances */
    CT_REDUCE_MAX,         /* NaN if any is NaN; -inf of none. shift ignored */
    CT_REDUCE_MIN,         /* NaN if any is NaN; +inf of none. shift ignored */
    CT_REDUCE_COUNT
} ct_reduce;
/* Combines block results in their order: equal-sized neighbours pairwise, as a binary counter does. */
double ct_reduce_combine(ct_reduce op, int64_t count, const double *partials);

/* The running state of a soft maximum over part of a row: `sum` is the sum of exp(x - max). None: {-inf, 0}.
 */
#define CT_SOFTMAX_LONG 65536 /* rows longer than this are reduced block by block */
typedef struct ct_softmax_part {
    double max, sum;
} ct_softmax_part;

/* Row chunk over which the tensor room cuts column reductions and the gradients of gains and biases of norms:
 * one call per chunk of so many rows, each to its own partial row; then column_reduce over the partial rows.
 */
#define CT_COLUMN_ROWS 128

/* One step of AdamW, as torch.optim.AdamW computes it (amsgrad off), with an optional factor on the gradient:
 *   g = gradient_scale * g;  w = w (1 - learning_rate weight_decay);  m = m + (1 - beta1)(g - m);
 *   v = beta2 v + (1 - beta2) g^2;
 *   w = w - (learning_rate / bias_correction1) m / (sqrt(v) / sqrt(bias_correction2) + epsilon)
 * bias_correction_i = 1 - beta_i^step. `coupled` adds weight_decay * w to g instead (torch.optim.Adam). */
typedef struct ct_adamw {
    double learning_rate, beta1, beta2, epsilon, weight_decay, bias_correction1, bias_correction2,
        gradient_scale;
    bool coupled;
    bool maximize;
} ct_adamw;

/* torch.optim.SGD: g = gradient_scale g + weight_decay w; m = momentum m + (1 - dampening) g (first step: m =
 * g); g = nesterov ? g + momentum m : m; w = w - learning_rate g. Without momentum `m` is not touched, may be
 * NULL. */
typedef struct ct_sgd {
    double learning_rate, momentum, dampening, weight_decay, gradient_scale;
    bool nesterov;
    bool first; /* the first step: m = g */
    bool maximize;
} ct_sgd;

/* Philox 4x32-10 as in carat/base.h: key = seed, counter = (block low, high, stream low, high). The upper two
 * bits of the block number say what is drawn (base/random_internal.h); with k = offset + i for element i of a
 * fill: words, f32 uniforms, masks: word k % 4 of block CT_RANDOM_WORDS + k / 4; u = (word >> 8) 2^-24 in [0,
 * 1). f32 normals: block CT_RANDOM_NORMAL + k / 4, whose words (0, 1) and (2, 3) each give a pair by
 * Box-Muller: with u1 = (first + 1) 2^-32 in (0, 1], u2 = second 2^-32: sqrt(-2 log u1) times cos(2 pi u2),
 * sin(2 pi u2). f64 uniforms: 64-bit word k % 2 (low word first) of block CT_RANDOM_UNIFORM + k / 2; u =
 * (word >> 11) 2^-53. f64 normals: block CT_RANDOM_NORMAL + k / 2, its two u as a pair: u1 = 1 - u, u2 = u.
 * Hence a fill can be cut at any element. */
typedef struct ct_random_range {
    uint64_t seed, stream, offset;
} ct_random_range;

/* Attention of one head of one sequence: out = softmax(scale q k' + alibi + bias) v over the visible keys.
 * Strides are in elements from one token to the next, so that q, k, v may be slices of [tokens, 3 * width].
 * Query i stands at position query_offset + i among the keys (keys are at 0, 1, ...). Key j is visible if
 *   (!causal || j <= position) && (window == 0 || (position - j < window && j - position < window)).
 * A query without visible keys gives zeros and lse = -inf.
 * The keys are always cut at multiples of CT_ATTENTION_KEYS from key 0 and taken in order, so that the bits
 * of a query's row depend neither on the other queries of the call nor on masked keys: a decoding step over a
 * cache equals the row of a full forward pass. `scratch`: at least ct_attention_scratch(...) bytes, any
 * content, 64-byte aligned. */
#define CT_ATTENTION_KEYS 64
#define CT_ATTENTION_QUERIES                                                                                 \
    144 /* queries of one call in a forward pass that are best for speed; any number works */
typedef struct ct_attention_head {
    int64_t queries, keys, head_dim, value_dim; /* head_dim of q and k, value_dim of v and out */
    const float *q, *k, *v;
    int64_t q_stride, k_stride, v_stride;
    float *out;
    int64_t out_stride;
    float *lse; /* [queries] logarithm of the sum of exponentials; may be NULL; backward needs it */
    float scale;
    bool causal;
    int64_t query_offset;
    int64_t window;    /* 0: none */
    float alibi_slope; /* adds -slope |position - j|; 0: none (Press et al. 2022, arXiv:2108.12409) */
    float softcap;     /* s = softcap tanh(s / softcap) before alibi and bias; 0: none (Gemma 2) */
    const float *bias; /* added to the scores, -inf masks; NULL: none. bias[i * row + j * column] */
    int64_t bias_row, bias_column; /* strides in elements; 0 allowed (one row for all queries) */
    void *scratch;
} ct_attention_head;
size_t ct_attention_scratch(int64_t head_dim, int64_t value_dim);

/* Gradients of the above for ALL queries and keys of one head in one call (a->out and a->lse as the forward
 * pass left them). Order is fixed: key blocks outside, query blocks inside. */
typedef struct ct_attention_gradient {
    const float *dout;
    int64_t dout_stride;
    float *dq, *dk, *dv;
    int64_t dq_stride, dk_stride, dv_stride;
    bool accumulate_kv; /* add to dk and dv: the 2nd, 3rd ... query head that shares a key head; dq is
                           overwritten */
    void *scratch;      /* ct_attention_backward_scratch bytes, 64-byte aligned */
} ct_attention_gradient;
size_t ct_attention_backward_scratch(int64_t queries, int64_t head_dim, int64_t value_dim);

#define CT_KERNEL_REAL float
#define CT_KERNEL_TABLE ct_kernels_f32
#include "tensor/cpu/kernels_real.inc.h"
#undef CT_KERNEL_REAL
#undef CT_KERNEL_TABLE
#define CT_KERNEL_REAL double
#define CT_KERNEL_TABLE ct_kernels_f64
#include "tensor/cpu/kernels_real.inc.h"
#undef CT_KERNEL_REAL
#undef CT_KERNEL_TABLE

typedef struct ct_kernels {
    const char *name; /* "plain", "avx2", "avx512" */
    ct_kernels_f32 f32;
    ct_kernels_f64 f64;

    /* y[i] = x[i] converted. To bf16 and f16: nearest even, overflow to infinity, NaN stays NaN. Real to
     * integer: truncated, out of range clamped, NaN 0. Integer to narrower integer: the low bits (as C). `to`
     * == `from` copies. In place only where both types have the same size. */
    void (*convert)(int64_t n, ct_dtype from, const void *x, ct_dtype to, void *y);

    /* Attention, f32. See ct_attention_head. `attention` is also the decoding step (queries == 1, memory
     * bound).
     */
    void (*attention)(const ct_attention_head *attention);
    void (*attention_backward)(const ct_attention_head *attention, const ct_attention_gradient *gradient);

    /* Raw words. */
    void (*random_words)(int64_t n, uint32_t *y, ct_random_range random);
    /* y[i] = 1 with `probability`: uniform u < probability, u as f32 fills draw it. */
    void (*random_bernoulli)(int64_t n, uint8_t *y, double probability, ct_random_range random);

    /* Bytes, not values: any element type. */
    /* y row i = table row indices[i], rows of `row_bytes` bytes, `table_rows` rows. An index out of range
     * stops the work: returns its position i, otherwise -1. */
    int64_t (*gather_rows)(int64_t n, int64_t row_bytes, const void *table, int64_t table_rows,
                           const int64_t *indices, void *y);
    /* y[c * y_stride + r] = x[r * x_stride + c] for r < rows, c < columns; element_size 1, 2, 4 or 8 bytes,
     * strides in elements. Not in place. */
    void (*transpose)(int element_size, int64_t rows, int64_t columns, const void *x, int64_t x_stride,
                      void *y, int64_t y_stride);
    /* y[i * y_step] = x[i * x_step]; element_size 1, 2, 4 or 8; steps in elements, any sign, 0 for x
     * broadcasts. */
    void (*copy_strided)(int element_size, int64_t n, const void *x, int64_t x_step, void *y, int64_t y_step);
} ct_kernels;

/* The table for ct_cpu_isa(). */
const ct_kernels *ct_cpu_kernels(void);

/* The variants by themselves, for the checking program; NULL where this build or CPU lacks one. */
const ct_kernels *ct_cpu_kernels_plain(void);
const ct_kernels *ct_cpu_kernels_avx2(void);
const ct_kernels *ct_cpu_kernels_avx512(void);

#endif
