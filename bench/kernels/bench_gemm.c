/* bench_gemm.c - our f32 matrix multiply against oneDNN's sgemm, alternating, on the shapes of a GPT of width
 * 384, on squares and on small shapes; and products of one row against the rate at which memory delivers the
 * weights. Usage: bench_gemm [most threads, 2] [pairs, 5] [only shapes whose name contains this] */
#include "carat/base.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/isa.h"

#include <dnnl.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAIRS_MOST 101
#define SLICE 0.02 /* seconds of one measurement */

/* Letters of `form`: is A, is B stored transposed ("t") or not ("n"). */
typedef struct shape {
    const char *name, *form;
    int64_t m, n, k;
} shape;

static const shape shapes[] = {
    {"forward", "nt", 4096, 384, 384},      {"forward", "nt", 4096, 1152, 384},
    {"forward", "nt", 4096, 1536, 384},     {"forward", "nt", 4096, 384, 1536},
    {"forward", "nt", 4096, 65, 384},       {"forward", "nn", 4096, 384, 384},
    {"forward", "nn", 4096, 1152, 384},     {"forward", "nn", 4096, 1536, 384},
    {"forward", "nn", 4096, 384, 1536},     {"forward", "nn", 4096, 65, 384},
    {"grad_input", "nn", 4096, 384, 1152},  {"grad_input", "nn", 4096, 384, 65},
    {"grad_input", "nt", 4096, 384, 65},    {"grad_weight", "tn", 384, 384, 4096},
    {"grad_weight", "tn", 1152, 384, 4096}, {"grad_weight", "tn", 1536, 384, 4096},
    {"grad_weight", "tn", 384, 1536, 4096}, {"grad_weight", "tn", 65, 384, 4096},
    {"grad_weight", "tn", 384, 65, 4096},   {"square", "nn", 64, 64, 64},
    {"square", "nn", 128, 128, 128},        {"square", "nn", 256, 256, 256},
    {"square", "nn", 512, 512, 512},        {"square", "nn", 1024, 1024, 1024},
    {"square", "nn", 2048, 2048, 2048},     {"small", "nt", 256, 192, 64},
    {"small", "nt", 256, 64, 64},           {"small", "nt", 256, 256, 64},
    {"small", "nt", 256, 64, 256},          {"small", "nn", 256, 64, 192},
    {"small", "tn", 64, 192, 256},          {"small", "nt", 16, 192, 64},
    {"small", "nt", 8, 384, 384},           {"small", "nn", 32, 32, 32},
};

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, compare);
    return count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

static float *numbers(int64_t count) {
    float *values = aligned_alloc(64, (size_t)(count * 4 + 63) / 64 * 64);
    if (!values) exit(1);
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)((double)rand() / RAND_MAX - 0.5);
    return values;
}

typedef struct product {
    ct_context *context;
    const shape *shape;
    float *a, *b, *c;
} product;

static void ours(const product *p) {
    const shape *s = p->shape;
    ct_gemm_operand a = {.data = p->a, .dtype = CT_F32, .row_stride = s->k, .col_stride = 1};
    ct_gemm_operand b = {.data = p->b, .dtype = CT_F32, .row_stride = s->n, .col_stride = 1};
    if (s->form[0] == 't') a.row_stride = 1, a.col_stride = s->m;
    if (s->form[1] == 't') b.row_stride = 1, b.col_stride = s->k;
    ct_gemm_output c = {.data = p->c, .dtype = CT_F32, .row_stride = s->n, .col_stride = 1};
    ct_gemm(p->context, CT_F32, s->m, s->n, s->k, 1, &a, &b, 0, &c, NULL);
}

static void peer(const product *p) {
    const shape *s = p->shape;
    bool at = s->form[0] == 't', bt = s->form[1] == 't';
    dnnl_sgemm(at ? 'T' : 'N', bt ? 'T' : 'N', s->m, s->n, s->k, 1, p->a, at ? s->m : s->k, p->b,
               bt ? s->k : s->n, 0, p->c, s->n);
}

/* Threads of the other side still spin for a while after its last product, and would take a CPU from this one's. */
static void settle(void (*run)(const product *), const product *p) {
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    run(p);
}

static double time_of(void (*run)(const product *), const product *p, int64_t times) {
    double start = ct_seconds();
    for (int64_t i = 0; i < times; i++)
        run(p);
    return (ct_seconds() - start) / (double)times;
}

/* Medians over pairs; returns that of the ratio of speeds. `best` is the ratio of the shortest times, which
 * other work on the machine disturbs less. */
static double measure(ct_context *context, const shape *s, int pairs, double *best) {
    product p = {context, s, numbers(s->m * s->k), numbers(s->k * s->n), numbers(s->m * s->n)};
    double flops = 2.0 * (double)s->m * (double)s->n * (double)s->k;
    double our[PAIRS_MOST], their[PAIRS_MOST], ratio[PAIRS_MOST];
    time_of(ours, &p, 1), time_of(peer, &p, 1);
    int64_t times = 1 + (int64_t)(SLICE / time_of(peer, &p, 1 + (int64_t)(1e7 / flops)));
    for (int i = 0; i < pairs; i++) {
        settle(ours, &p);
        our[i] = time_of(ours, &p, times);
        settle(peer, &p);
        their[i] = time_of(peer, &p, times);
        ratio[i] = their[i] / our[i];
    }
    double result = median(ratio, pairs);
    double our_median = median(our, pairs), their_median = median(their, pairs); /* sorted: [0] is the best */
    *best = their[0] / our[0];
    printf("%-12s %s %5lld %5lld %5lld  %7.1f %7.1f  %5.2f  %5.2f\n", s->name, s->form, (long long)s->m,
           (long long)s->n, (long long)s->k, flops / our_median * 1e-9, flops / their_median * 1e-9, result,
           *best);
    free(p.a), free(p.b), free(p.c);
    return result;
}

/* One row against weights [n, k] stored by rows (t) or as [k, n] (n), in f32 or bf16. */
static void measure_row(ct_context *context, int64_t n, int64_t k, bool transposed, ct_dtype dtype,
                        int pairs) {
    float *x = numbers(k), *y = numbers(n), *w = numbers(n * k);
    uint16_t *narrow = (uint16_t *)w;
    if (dtype == CT_BF16)
        for (int64_t i = 0; i < n * k; i++)
            narrow[i] = ct_f32_to_bf16(w[i]);
    ct_gemm_operand a = {.data = x, .dtype = CT_F32, .row_stride = k, .col_stride = 1};
    ct_gemm_operand b = {.data = w, .dtype = dtype, .row_stride = n, .col_stride = 1};
    if (transposed) b.row_stride = 1, b.col_stride = k;
    ct_gemm_output c = {.data = y, .dtype = CT_F32, .row_stride = n, .col_stride = 1};
    double seconds[PAIRS_MOST], bytes = (double)(n * k) * (double)ct_dtype_size(dtype);
    int times = 1 + (int)(2e8 / bytes);
    for (int i = 0; i < pairs; i++) {
        double start = ct_seconds();
        for (int j = 0; j < times; j++)
            ct_gemm(context, CT_F32, 1, n, k, 1, &a, &b, 0, &c, NULL);
        seconds[i] = (ct_seconds() - start) / times;
    }
    double typical = median(seconds, pairs);
    printf("row %s %s %6lld %5lld  %8.1f us  %6.1f GB/s\n", transposed ? "[n,k]" : "[k,n]",
           dtype == CT_BF16 ? "bf16" : "f32 ", (long long)n, (long long)k, typical * 1e6,
           bytes / typical * 1e-9);
    free(x), free(y), free(w);
}

int main(int argc, char **argv) {
    int most = argc > 1 ? atoi(argv[1]) : 2, pairs = argc > 2 ? atoi(argv[2]) : 5;
    const char *only = argc > 3 ? argv[3] : "";
    if (pairs < 1 || pairs > PAIRS_MOST || most < 1) return 2;
    printf("kernels: %s; GFLOP/s, medians of %d pairs\n", ct_isa_name(ct_cpu_isa()), pairs);
    for (int threads = 1; threads <= most; threads *= 2) {
        ct_context *context = ct_context_create(threads);
        if (!context) return 1;
        omp_set_num_threads(threads);
        double logs = 0, best_logs = 0, least = INFINITY;
        int count = 0;
        printf("threads %d: name, stored A B, m, n, k, ours, peer, ratio, of best\n", threads);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            if (!strstr(shapes[i].name, only)) continue;
            double best, ratio = measure(context, &shapes[i], pairs, &best);
            logs += log(ratio), best_logs += log(best), count++;
            if (ratio < least) least = ratio;
        }
        if (count)
            printf("threads %d: geometric mean %.3f (of best times %.3f), least %.2f\n", threads,
                   exp(logs / count), exp(best_logs / count), least);
        static const int64_t rows[][2] = {{384, 384}, {1152, 384}, {384, 1536}, {4096, 4096}, {50257, 768}};
        for (size_t i = 0; strstr("row", only) && i < sizeof rows / sizeof *rows; i++)
            for (int kind = 0; kind < 4; kind++)
                measure_row(context, rows[i][0], rows[i][1], kind & 1, kind & 2 ? CT_BF16 : CT_F32, pairs);
        ct_context_destroy(context);
    }
    return 0;
}
