/* test_gemm.c - the matrix multiply: a worked example, the error bound of summation, and bits that are those
 * of the order written in gemm.h whatever the storage, the number of threads, the instruction set and the
 * company a row is in; element types; batches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tensor/cpu/gemm.h"
#include "tensor/cpu/isa.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 1;

static uint32_t draw(uint32_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % below);
}

static double uniform(void) {
    return (double)draw(1 << 24) / (1 << 23) - 1;
}

/* ---------------------------------------------------------------------------------- numbers of every type */

/* The value of a 16-bit float with `fraction` bits of fraction. */
static double decode(uint16_t bits, int fraction) {
    int width = 15 - fraction, bias = (1 << (width - 1)) - 1;
    int exponent = bits >> fraction & ((1 << width) - 1), part = bits & ((1 << fraction) - 1);
    double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == (1 << width) - 1) return part ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexp(part, 1 - bias - fraction);
    return sign * ldexp(part + (1 << fraction), exponent - bias - fraction);
}

/* The same from a table. */
static double narrow_value(uint16_t bits, int fraction) {
    static double tables[2][65536];
    static bool made;
    if (!made)
        for (int i = 0; i < 65536; i++) {
            tables[0][i] = decode((uint16_t)i, 7);
            tables[1][i] = decode((uint16_t)i, 10);
        }
    made = true;
    return tables[fraction == 10][bits];
}

/* The nearest such number, ties to even. */
static double narrow_round(double x, int fraction) {
    int width = 15 - fraction, bias = (1 << (width - 1)) - 1;
    if (x == 0 || !isfinite(x)) return x;
    int exponent = ilogb(x) < 1 - bias ? 1 - bias : ilogb(x);
    double rounded = ldexp(rint(ldexp(x, fraction - exponent)), exponent - fraction);
    return fabs(rounded) >= ldexp(1, bias + 1) ? copysign(INFINITY, x) : rounded;
}

static double get(const void *data, ct_dtype dtype, int64_t i) {
    switch (dtype) {
    case CT_F32:
        return ((const float *)data)[i];
    case CT_F64:
        return ((const double *)data)[i];
    case CT_BF16:
        return narrow_value(((const uint16_t *)data)[i], 7);
    case CT_F16:
        return narrow_value(((const uint16_t *)data)[i], 10);
    case CT_I8:
        return ((const int8_t *)data)[i];
    default:
        return ((const uint8_t *)data)[i];
    }
}

static double rounded_to(ct_dtype dtype, double x) {
    return dtype == CT_F32   ? (double)(float)x
           : dtype == CT_F64 ? x
                             : narrow_round(x, dtype == CT_BF16 ? 7 : 10);
}

static void fill(void *data, ct_dtype dtype, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        double x = uniform();
        if (dtype == CT_F32) ((float *)data)[i] = (float)x;
        if (dtype == CT_F64) ((double *)data)[i] = x;
        if (dtype == CT_BF16) ((uint16_t *)data)[i] = ct_f32_to_bf16((float)x);
        if (dtype == CT_F16) ((uint16_t *)data)[i] = (uint16_t)(draw(0x3c00) | draw(2) << 15);
        if (dtype == CT_I8 || dtype == CT_U8) ((uint8_t *)data)[i] = (uint8_t)draw(256);
    }
}

/* A matrix somewhere in a block of memory, with any strides. */
typedef struct matrix {
    char *memory;
    void *first;
    ct_dtype dtype;
    int64_t rows, cols, row_stride, col_stride, count;
} matrix;

enum { BY_ROWS, BY_COLUMNS, SPREAD, BACKWARDS, PADDED, LAYOUTS };

static matrix make(ct_dtype dtype, int64_t rows, int64_t cols, int layout) {
    matrix x = {.dtype = dtype, .rows = rows, .cols = cols, .row_stride = cols, .col_stride = 1};
    int64_t shift = 0;
    if (layout == BY_COLUMNS) x.row_stride = 1, x.col_stride = rows;
    if (layout == SPREAD) x.row_stride = 3 * cols + 1, x.col_stride = 3;
    if (layout == BACKWARDS) x.row_stride = -cols, x.col_stride = 1, shift = (rows - 1) * cols;
    if (layout == PADDED) x.row_stride = cols + 5;
    x.count = (rows + 1) * (3 * cols + 5);
    x.memory = malloc((size_t)x.count * ct_dtype_size(dtype) + 1);
    assert_non_null(x.memory);
    fill(x.memory, dtype, x.count);
    x.first = x.memory + shift * (int64_t)ct_dtype_size(dtype);
    return x;
}

static double at(const matrix *x, int64_t i, int64_t j) {
    return get(x->first, x->dtype, i * x->row_stride + j * x->col_stride);
}

static ct_gemm_operand operand(const matrix *x) {
    return (ct_gemm_operand){
        .data = x->first, .dtype = x->dtype, .row_stride = x->row_stride, .col_stride = x->col_stride};
}

static ct_gemm_output output(const matrix *x) {
    return (ct_gemm_output){x->first, x->dtype, x->row_stride, x->col_stride};
}

/* A generated factor: tiles of a matrix, converted to the compute type. */
static void tile_f32(const void *user, int64_t row, int64_t col, int64_t rows, int64_t cols, void *out,
                     int64_t ld) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            ((float *)out)[i * ld + j] = (float)at(user, row + i, col + j);
}

static void tile_f64(const void *user, int64_t row, int64_t col, int64_t rows, int64_t cols, void *out,
                     int64_t ld) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            ((double *)out)[i * ld + j] = at(user, row + i, col + j);
}

static void square_f32(const void *user, void *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        ((float *)values)[i] *= ((float *)values)[i] + *(const float *)user;
}

static void square_f64(const void *user, void *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        ((double *)values)[i] *= ((double *)values)[i] + *(const float *)user;
}

/* ------------------------------------------------------------------------------------ the order of gemm.h */

typedef struct product {
    ct_dtype compute;
    int64_t m, n, k;
    double alpha, beta;
    matrix a, b, c, before, preactivation, residual, bias_n, bias_m;
    bool with_bias_n, with_bias_m, with_activation, with_preactivation, with_residual;
} product;

static const float activation_shift = 0.75f;

static double fused(ct_dtype compute, double a, double b, double c) {
    return compute == CT_F32 ? (double)fmaf((float)a, (float)b, (float)c) : fma(a, b, c);
}

static double times(ct_dtype compute, double a, double b) {
    return compute == CT_F32 ? (double)((float)a * (float)b) : a * b;
}

static double plus(ct_dtype compute, double a, double b) {
    return compute == CT_F32 ? (double)((float)a + (float)b) : a + b;
}

/* Element (i, j) as gemm.h writes it; the value before the activation goes to `pre`. */
static double expected(const product *p, int64_t i, int64_t j, double *pre) {
    ct_dtype t = p->compute;
    int64_t depth = t == CT_F32 ? CT_GEMM_BLOCK_F32 : CT_GEMM_BLOCK_F64;
    double alpha = rounded_to(t, p->alpha), beta = rounded_to(t, p->beta), c = 0;
    bool set = p->beta != 0;
    if (set) c = times(t, beta, rounded_to(t, at(&p->before, i, j)));
    for (int64_t first = 0; first < p->k; first += depth) {
        double s = 0;
        for (int64_t l = first; l < p->k && l < first + depth; l++)
            s = fused(t, rounded_to(t, at(&p->a, i, l)), rounded_to(t, at(&p->b, l, j)), s);
        c = set ? fused(t, alpha, s, c) : times(t, alpha, s);
        set = true;
    }
    if (p->with_bias_n) c = plus(t, c, at(&p->bias_n, 0, j));
    if (p->with_bias_m) c = plus(t, c, at(&p->bias_m, 0, i));
    *pre = c;
    if (p->with_activation) c = times(t, c, plus(t, c, (double)activation_shift));
    if (p->with_residual) c = plus(t, c, rounded_to(t, at(&p->residual, i, j)));
    return c;
}

static bool same(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

static void check_product(const product *p, const char *how) {
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            double pre, c = expected(p, i, j, &pre);
            if (!same(at(&p->c, i, j), rounded_to(p->c.dtype, c)))
                fail_msg("%s: [%d, %d] k %d, element (%d, %d) is %.17g, expected %.17g", how, (int)p->m,
                         (int)p->n, (int)p->k, (int)i, (int)j, at(&p->c, i, j), rounded_to(p->c.dtype, c));
            if (p->with_preactivation &&
                !same(at(&p->preactivation, i, j), rounded_to(p->preactivation.dtype, pre)))
                fail_msg("%s: preactivation (%d, %d) is wrong", how, (int)i, (int)j);
        }
}

static ct_dtype random_input(ct_dtype compute) {
    static const ct_dtype types[] = {CT_F32, CT_F64, CT_BF16, CT_F16, CT_I8, CT_U8};
    return draw(2) ? compute : types[draw(6)];
}

static ct_dtype random_output(ct_dtype compute) {
    return draw(2) ? compute : (ct_dtype)draw(4);
}

static product random_product(int64_t m, int64_t n, int64_t k) {
    product p = {.compute = draw(3) ? CT_F32 : CT_F64, .m = m, .n = n, .k = k, .alpha = 1};
    if (draw(3) == 0) p.alpha = uniform();
    if (draw(2) == 0) p.beta = draw(2) ? 1 : uniform();
    p.a = make(random_input(p.compute), m, k, (int)draw(LAYOUTS));
    p.b = make(random_input(p.compute), k, n, (int)draw(LAYOUTS));
    p.c = make(random_output(p.compute), m, n, (int)draw(LAYOUTS));
    p.before = p.c;
    size_t bytes = (size_t)p.c.count * ct_dtype_size(p.c.dtype);
    p.before.memory = malloc(bytes + 1);
    assert_non_null(p.before.memory);
    memcpy(p.before.memory, p.c.memory, bytes);
    p.before.first = p.before.memory + ((char *)p.c.first - p.c.memory);
    p.preactivation = make(random_output(p.compute), m, n, (int)draw(LAYOUTS));
    p.residual = make(random_input(p.compute), m, n, (int)draw(LAYOUTS));
    p.bias_n = make(p.compute, 1, n, BY_ROWS);
    p.bias_m = make(p.compute, 1, m, BY_ROWS);
    if (draw(2)) {
        p.with_bias_n = draw(2), p.with_bias_m = draw(3) == 0, p.with_activation = draw(2);
        p.with_preactivation = draw(2), p.with_residual = draw(3) == 0;
    }
    return p;
}

static void free_product(product *p) {
    matrix *all[] = {&p->a,        &p->b,      &p->c,     &p->before, &p->preactivation,
                     &p->residual, &p->bias_n, &p->bias_m};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]->memory);
}

static ct_gemm_epilogue epilogue_of(const product *p) {
    ct_gemm_epilogue e = {0};
    if (p->with_bias_n) e.bias_n = p->bias_n.first;
    if (p->with_bias_m) e.bias_m = p->bias_m.first;
    if (p->with_activation) {
        e.activation = p->compute == CT_F32 ? square_f32 : square_f64;
        e.activation_user = &activation_shift;
    }
    if (p->with_preactivation) e.preactivation = output(&p->preactivation);
    if (p->with_residual) e.residual = operand(&p->residual);
    return e;
}

enum { STORED, TILE_A, TILE_B, PACKED_B, SERIAL, WAYS };

/* The rows [row, row + rows) of the product, made one way. */
static void run_rows(ct_context *context, const product *p, int way, int64_t row, int64_t rows) {
    ct_gemm_operand a = operand(&p->a), b = operand(&p->b);
    ct_gemm_output c = output(&p->c);
    ct_gemm_epilogue e = epilogue_of(p);
    void (*tile)(const void *, int64_t, int64_t, int64_t, int64_t, void *, int64_t) =
        p->compute == CT_F32 ? tile_f32 : tile_f64;
    ct_gemm_packed *packed = NULL;
    if (way == PACKED_B) {
        packed = ct_gemm_prepack(context, p->compute, p->k, p->n, &b);
        assert_non_null(packed);
        b = (ct_gemm_operand){.packed = packed};
    }
    a.data = (const char *)a.data + row * a.row_stride * (int64_t)ct_dtype_size(a.dtype);
    c.data = (char *)c.data + row * c.row_stride * (int64_t)ct_dtype_size(c.dtype);
    if (e.bias_m) e.bias_m = (const char *)e.bias_m + row * (int64_t)ct_dtype_size(p->compute);
    if (e.preactivation.data)
        e.preactivation.data =
            (char *)e.preactivation.data +
            row * e.preactivation.row_stride * (int64_t)ct_dtype_size(e.preactivation.dtype);
    if (e.residual.data)
        e.residual.data = (const char *)e.residual.data +
                          row * e.residual.row_stride * (int64_t)ct_dtype_size(e.residual.dtype);
    if (way == TILE_A) a = (ct_gemm_operand){.tile = tile, .user = &p->a}; /* whole products only */
    if (way == TILE_B) b = (ct_gemm_operand){.tile = tile, .user = &p->b};
    if (way == SERIAL) {
        size_t bytes = ct_gemm_scratch_bytes(p->compute, rows, p->n, p->k), room = (bytes + 128) / 64 * 64;
        unsigned char *scratch = aligned_alloc(64, room);
        assert_non_null(scratch);
        memset(scratch, 0xa5, room);
        ct_gemm_serial(scratch, p->compute, rows, p->n, p->k, p->alpha, &a, &b, p->beta, &c, &e);
        for (size_t i = bytes; i < room; i++)
            assert_int_equal(scratch[i], 0xa5);
        free(scratch);
    } else {
        assert_int_equal(ct_gemm(context, p->compute, rows, p->n, p->k, p->alpha, &a, &b, p->beta, &c, &e),
                         CT_OK);
    }
    ct_gemm_packed_free(packed);
}

static void restore(product *p) {
    memcpy(p->c.memory, p->before.memory, (size_t)p->c.count * ct_dtype_size(p->c.dtype));
}

/* Elements of C's memory that are not of C stay as they were. */
static void check_outside(const product *p) {
    size_t size = ct_dtype_size(p->c.dtype);
    bool *inside = calloc((size_t)p->c.count, 1);
    assert_non_null(inside);
    int64_t first = ((char *)p->c.first - p->c.memory) / (int64_t)size;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++)
            inside[first + i * p->c.row_stride + j * p->c.col_stride] = true;
    for (int64_t i = 0; i < p->c.count; i++)
        if (!inside[i])
            assert_memory_equal(p->c.memory + (size_t)i * size, p->before.memory + (size_t)i * size, size);
    free(inside);
}

static void each_isa(void (*test)(ct_context *, const char *)) {
    ct_cpu_set_isa_cap(CT_ISA_AVX512);
    ct_isa best = ct_cpu_isa();
    static const int threads[] = {1, 2, 4};
    for (int isa = 0; isa <= (int)best; isa++)
        for (int t = 0; t < 3; t++) {
            ct_cpu_set_isa_cap((ct_isa)isa);
            ct_context *context = ct_context_create(threads[t]);
            assert_non_null(context);
            seed = 20;
            test(context, ct_isa_name((ct_isa)isa));
            assert_string_equal(ct_context_message(context), "");
            ct_context_destroy(context);
        }
    ct_cpu_set_isa_cap(best);
}

static void random_products(ct_context *context, const char *isa) {
    for (int round = 0; round < 30; round++) {
        static const int64_t most[][3] = {
            {40, 70, 500}, {4, 200, 900}, {200, 4, 900}, {1, 70, 70}, {20, 20, 5}};
        const int64_t *limit = most[round % 5];
        product p = random_product(1 + draw((uint32_t)limit[0]), 1 + draw((uint32_t)limit[1]),
                                   draw((uint32_t)limit[2]));
        int way = (int)draw(WAYS);
        run_rows(context, &p, way, 0, p.m);
        check_product(&p, isa);
        check_outside(&p);
        restore(&p);
        for (int64_t i = 0; i < p.m; i++)
            run_rows(context, &p, way == TILE_A ? STORED : way, i, 1);
        check_product(&p, "rows alone");
        free_product(&p);
    }
}

static void test_order(void **state) {
    (void)state;
    each_isa(random_products);
}

/* Large enough for several tasks, column blocks, and sums kept outside C between blocks of k. */
static void large_products(ct_context *context, const char *isa) {
    static const int64_t shapes[][3] = {{301, 65, 400}, {65, 530, 800}, {150, 3100, 30}};
    if (ct_context_threads(context) == 2 || (strcmp(isa, "plain") == 0 && ct_context_threads(context) > 1))
        return; /* slow, and nothing new */
    for (int i = 0; i < 6; i++) {
        const int64_t *s = shapes[i % 3];
        product p = random_product(s[0], s[1], s[2]);
        for (int way = 0; way < WAYS; way++) {
            restore(&p);
            run_rows(context, &p, way, 0, p.m);
            if (way == 0) check_product(&p, isa);
        }
        check_product(&p, isa);
        check_outside(&p);
        free_product(&p);
    }
}

static void test_large(void **state) {
    (void)state;
    each_isa(large_products);
}

/* ----------------------------------------------------------------------------------------- worked by hand */

static void test_worked(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    float a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, -1, 2, 0, 0.5f, 3}, c[] = {10, 20, 30, 40}, pre[4];
    float bias_n[] = {100, 200}, bias_m[] = {0, 1000}, residual[] = {1, 2, 3, 4}, zero = 0;
    /* A B = {6.5, 8; 17, 14} */
    ct_gemm_operand x = {.data = a, .dtype = CT_F32, .row_stride = 3, .col_stride = 1};
    ct_gemm_operand y = {.data = b, .dtype = CT_F32, .row_stride = 2, .col_stride = 1};
    ct_gemm_output out = {c, CT_F32, 2, 1};
    assert_int_equal(ct_gemm(context, CT_F32, 2, 2, 3, 2, &x, &y, 0.5, &out, NULL), CT_OK);
    assert_true(c[0] == 18 && c[1] == 26 && c[2] == 49 && c[3] == 48);
    ct_gemm_epilogue e = {.bias_n = bias_n,
                          .bias_m = bias_m,
                          .activation = square_f32,
                          .activation_user = &zero,
                          .preactivation = {pre, CT_F32, 2, 1},
                          .residual = {.data = residual, .dtype = CT_F32, .row_stride = 2, .col_stride = 1}};
    assert_int_equal(ct_gemm(context, CT_F32, 2, 2, 3, 1, &x, &y, 0, &out, &e), CT_OK);
    assert_true(pre[0] == 106.5f && pre[1] == 208 && pre[2] == 1117 && pre[3] == 1214);
    assert_true(c[0] == 106.5f * 106.5f + 1 && c[1] == 208 * 208 + 2 && c[2] == 1117 * 1117 + 3);
    assert_true(c[3] == 1214 * 1214 + 4);
    /* The residual may be C itself: c = c + A B. */
    for (int i = 0; i < 4; i++)
        c[i] = (float)i;
    ct_gemm_epilogue in_c = {.residual = {.data = c, .dtype = CT_F32, .row_stride = 2, .col_stride = 1}};
    assert_int_equal(ct_gemm(context, CT_F32, 2, 2, 3, 1, &x, &y, 0, &out, &in_c), CT_OK);
    assert_true(c[0] == 6.5f && c[1] == 9 && c[2] == 19 && c[3] == 17);
    ct_context_destroy(context);
}

/* |error| <= (terms in a chain) * u * sum |a b|: Higham, Accuracy and Stability of Numerical Algorithms,
 * ch. 3. */
static void test_error_bound(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    static const int64_t shapes[][3] = {{130, 200, 1000}, {1, 300, 4096}, {300, 65, 384}, {97, 3, 2000}};
    for (int i = 0; i < 4; i++) {
        int64_t m = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
        matrix a = make(CT_F32, m, k, BY_ROWS), b = make(CT_F32, k, n, i % 2),
               c = make(CT_F32, m, n, BY_ROWS);
        ct_gemm_operand x = operand(&a), y = operand(&b);
        ct_gemm_output out = output(&c);
        assert_int_equal(ct_gemm(context, CT_F32, m, n, k, 1, &x, &y, 0, &out, NULL), CT_OK);
        double chain =
            (double)(k < CT_GEMM_BLOCK_F32 ? k : CT_GEMM_BLOCK_F32) + ceil((double)k / CT_GEMM_BLOCK_F32);
        for (int64_t row = 0; row < m; row++)
            for (int64_t col = 0; col < n; col++) {
                double sum = 0, size = 0;
                for (int64_t l = 0; l < k; l++) {
                    sum += at(&a, row, l) * at(&b, l, col);
                    size += fabs(at(&a, row, l) * at(&b, l, col));
                }
                assert_true(fabs(at(&c, row, col) - sum) <= 1.01 * chain * FLT_EPSILON / 2 * size);
            }
        free(a.memory), free(b.memory), free(c.memory);
    }
    ct_context_destroy(context);
}

/* A zero stride repeats: each row of A is the same, so are those of C, each the sum of B's columns times it.
 */
static void test_zero_stride(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    float two = 2, b[12], c[15];
    for (int i = 0; i < 12; i++)
        b[i] = (float)i;
    ct_gemm_operand x = {.data = &two, .dtype = CT_F32}, y = {.data = b, .dtype = CT_F32, .row_stride = 3};
    y.col_stride = 1;
    ct_gemm_output out = {c, CT_F32, 3, 1};
    assert_int_equal(ct_gemm(context, CT_F32, 5, 3, 4, 1, &x, &y, 0, &out, NULL), CT_OK);
    for (int i = 0; i < 15; i++)
        assert_true(c[i] == (float)(2 * (18 + 4 * (i % 3))));
    ct_context_destroy(context);
}

static void test_empty(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    float c[] = {1, 2, 3, 4, 5, 6}, bias[] = {10, 20, 30};
    ct_gemm_operand none = {.data = c, .dtype = CT_F32, .row_stride = 1, .col_stride = 1};
    ct_gemm_output out = {c, CT_F32, 3, 1};
    ct_gemm_epilogue e = {.bias_n = bias};
    assert_int_equal(ct_gemm(context, CT_F32, 0, 3, 4, 1, &none, &none, 0, &out, NULL), CT_OK);
    assert_int_equal(ct_gemm(context, CT_F32, 2, 0, 4, 1, &none, &none, 0, &out, NULL), CT_OK);
    assert_true(c[0] == 1 && c[5] == 6);
    assert_int_equal(ct_gemm(context, CT_F32, 2, 3, 0, 1, &none, &none, 2, &out, &e), CT_OK);
    assert_true(c[0] == 12 && c[1] == 24 && c[2] == 36 && c[3] == 18 && c[5] == 42);
    assert_int_equal(ct_gemm(context, CT_F32, 2, 3, 0, 1, &none, &none, 0, &out, NULL), CT_OK);
    for (int i = 0; i < 6; i++)
        assert_true(c[i] == 0);
    ct_context_destroy(context);
}

/* Every f16 and bf16, read (times one) and written. */
static void sixteen_bits(ct_context *context, const char *isa) {
    (void)isa;
    enum { COUNT = 65536, WIDE = 9 };
    if (ct_context_threads(context) > 1) return; /* one row, nothing to share out */
    uint16_t *from = malloc(COUNT * sizeof *from), *to = malloc(COUNT * WIDE * sizeof *to);
    float *values = malloc(COUNT * sizeof *values), *shifted = malloc(COUNT * WIDE * sizeof *shifted),
          one = 1;
    assert_true(from && to && values && shifted);
    ct_gemm_operand x = {.data = &one, .dtype = CT_F32, .row_stride = 1, .col_stride = 1};
    for (int type = 0; type < 2; type++) {
        ct_dtype dtype = type ? CT_BF16 : CT_F16;
        int fraction = type ? 7 : 10;
        for (int i = 0; i < COUNT; i++)
            from[i] = (uint16_t)i;
        ct_gemm_operand y = {.data = from, .dtype = dtype, .row_stride = COUNT, .col_stride = 1};
        ct_gemm_output out = {values, CT_F32, COUNT, 1};
        assert_int_equal(ct_gemm(context, CT_F32, 1, COUNT, 1, 1, &x, &y, 0, &out, NULL), CT_OK);
        for (int i = 0; i < COUNT; i++)
            assert_true(same(values[i], narrow_value((uint16_t)i, fraction)));
        /* Numbers in and half-way between; beta * C keeps them, with no k at all. */
        for (int i = 0; i < COUNT * WIDE; i++) {
            uint32_t bits;
            memcpy(&bits, &values[i / WIDE], 4);
            bits += (uint32_t)(i % WIDE - WIDE / 2) << (22 - fraction) >> (i % 2);
            memcpy(&shifted[i], &bits, 4);
        }
        ct_gemm_epilogue add = {
            .residual = {.data = shifted, .dtype = CT_F32, .row_stride = 1, .col_stride = 1}};
        ct_gemm_output narrow = {to, dtype, COUNT * WIDE, 1};
        assert_int_equal(ct_gemm(context, CT_F32, 1, COUNT * WIDE, 0, 1, &x, &y, 0, &narrow, &add), CT_OK);
        for (int i = 0; i < COUNT * WIDE; i++)
            assert_true(same(narrow_value(to[i], fraction), narrow_round((double)shifted[i], fraction)));
    }
    free(from), free(to), free(values), free(shifted);
}

static void test_sixteen_bits(void **state) {
    (void)state;
    each_isa(sixteen_bits);
}

/* From f64, one rounding, not two: 1 + 2^-8 + 2^-40 is above the middle between 1 and 1 + 2^-7. */
static void test_one_rounding(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    double a[] = {1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-8 - 0x1p-40, 1 + 0x1p-11 + 0x1p-40, 65520 - 0x1p-30},
           one = 1;
    uint16_t bf16[4], f16[4];
    ct_gemm_operand x = {.data = a, .dtype = CT_F64, .row_stride = 1, .col_stride = 1};
    ct_gemm_operand y = {.data = &one, .dtype = CT_F64, .row_stride = 1, .col_stride = 1};
    ct_gemm_output out = {bf16, CT_BF16, 1, 1}, half = {f16, CT_F16, 1, 1};
    assert_int_equal(ct_gemm(context, CT_F64, 4, 1, 1, 1, &x, &y, 0, &out, NULL), CT_OK);
    assert_int_equal(ct_gemm(context, CT_F64, 4, 1, 1, 1, &x, &y, 0, &half, NULL), CT_OK);
    assert_int_equal(bf16[0], 0x3f81);
    assert_int_equal(bf16[1], 0x3f80);
    assert_int_equal(f16[2], 0x3c01);
    assert_int_equal(f16[3], 0x7bff); /* 65504 */
    ct_context_destroy(context);
}

/* ------------------------------------------------------------------------------------------------ batches */

/* [outer, inner] products; B is shared along the inner axis. Against the products one by one. */
static void batches(ct_context *context, const char *isa) {
    (void)isa;
    static const int64_t shapes[][3] = {{5, 7, 9}, {70, 40, 64}, {1, 33, 50}, {130, 60, 500}};
    enum { OUTER = 2, INNER = 3 };
    for (int s = 0; s < 4; s++) {
        int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
        matrix a = make(CT_F32, OUTER * INNER * m, k, BY_ROWS), b = make(CT_F32, OUTER * n, k, BY_ROWS);
        matrix c = make(CT_F32, OUTER * INNER * m, n, BY_ROWS),
               alone = make(CT_F32, OUTER * INNER * m, n, BY_ROWS);
        matrix bias = make(CT_F32, 1, m, BY_ROWS);
        ct_gemm_operand x = operand(&a), y = operand(&b);
        y.row_stride = 1, y.col_stride = k;
        ct_gemm_output out = output(&c);
        ct_gemm_epilogue e = {.bias_m = bias.first};
        ct_gemm_batch batch = {.rank = 2,
                               .shape = {OUTER, INNER},
                               .a_stride = {INNER * m * k, m * k},
                               .b_stride = {n * k, 0},
                               .c_stride = {INNER * m * n, m * n}};
        assert_int_equal(ct_gemm_batched(context, CT_F32, &batch, m, n, k, 0.5, &x, &y, 0, &out, &e), CT_OK);
        for (int i = 0; i < OUTER * INNER; i++) {
            x.data = (float *)a.first + i * m * k;
            y.data = (float *)b.first + i / INNER * n * k;
            out.data = (float *)alone.first + i * m * n;
            assert_int_equal(ct_gemm(context, CT_F32, m, n, k, 0.5, &x, &y, 0, &out, &e), CT_OK);
        }
        assert_memory_equal(c.first, alone.first, (size_t)(OUTER * INNER * m * n) * 4);
        free(a.memory), free(b.memory), free(c.memory), free(alone.memory), free(bias.memory);
    }
}

static void test_batches(void **state) {
    (void)state;
    each_isa(batches);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worked),       cmocka_unit_test(test_order),
        cmocka_unit_test(test_large),        cmocka_unit_test(test_error_bound),
        cmocka_unit_test(test_zero_stride),  cmocka_unit_test(test_empty),
        cmocka_unit_test(test_sixteen_bits), cmocka_unit_test(test_one_rounding),
        cmocka_unit_test(test_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
