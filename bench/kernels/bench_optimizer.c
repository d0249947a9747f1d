/* bench_optimizer.c - optimizer steps, parameters a second; bench/run.py asks for one measurement with each
 * line on standard input (see bench/peers/serve.py).
 *
 *     bench_optimizer METHOD [THREADS] [gpt]
 *
 * 99 M parameters: the matrices of 14 blocks of GPT-2 (width 768); with `gpt` those of the GPT of the
 * training figures (6 layers of width 384). METHOD may carry options: adamp:{"delta":1e6} projects always.
 * `stream` in place of a method reads four arrays and writes three, as AdamW does: what the memory allows.
 * The gradients are fixed.
 */
#include <carat/optimizer.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <carat/format.h>
#include "tensor/cpu/kernels.h"

#define SECONDS 0.5
enum { MOST = 64 };

typedef struct bench {
    ct_context *context;
    ct_parameter parameters[MOST];
    ct_optimizer *optimizer;
    int count;
    double elements;
} bench;

static void add(bench *b, int64_t rows, int64_t columns, ct_role role) {
    ct_random random = ct_random_make(1, (uint64_t)b->count);
    ct_parameter *p = &b->parameters[b->count++];
    ct_tensor *weight = ct_random_normal_tensor(b->context, CT_F32, CT_DIMS(rows, columns), 0, 0.02, &random);
    ct_require_grad(weight, true);
    *p = (ct_parameter){.name = (char *)(uintptr_t) "weight", .tensor = weight, .trainable = true};
    ct_gradient_set(weight,
                    ct_random_normal_tensor(b->context, CT_F32, CT_DIMS(rows, columns), 0, 1e-3, &random));
    ct_optimizer_add_as(b->optimizer, p, &(ct_parameter_group){1, 0.1}, role);
    b->elements += (double)(rows * columns);
}

/* The matrices of a block of a transformer of that width. */
static void add_blocks(bench *b, int blocks, int64_t width) {
    for (int i = 0; i < blocks; i++) {
        add(b, 3 * width, width, CT_ROLE_MATRIX);
        add(b, width, width, CT_ROLE_MATRIX);
        add(b, 4 * width, width, CT_ROLE_MATRIX);
        add(b, width, 4 * width, CT_ROLE_MATRIX);
    }
}

/* ------------------------------------------------------------------------------------------- bandwidth */

/* As much memory traffic as a step of AdamW, and hardly any arithmetic: w += g, m += g, v += g. */
static void stream_task(void *user, int64_t index, int worker) {
    (void)worker;
    float **array = user;
    int64_t at = index << 16;
    for (int64_t tile = at; tile < at + (1 << 16); tile += 2048)
        for (int i = 1; i < 4; i++)
            ct_cpu_kernels()->f32.axpy(2048, 1e-9f, array[0] + tile, array[i] + tile);
}

static double stream(ct_context *context, float **array, int64_t count) {
    int calls = 0;
    double begin = ct_seconds(), seconds = 0;
    for (; calls < 2 || seconds < SECONDS; calls++, seconds = ct_seconds() - begin)
        ct_parallel_for(context, count >> 16, stream_task, array);
    return (double)count * calls / seconds;
}

static double measure(bench *b) {
    int calls = 0;
    double begin = ct_seconds(), seconds = 0;
    for (; calls < 2 || seconds < SECONDS; calls++, seconds = ct_seconds() - begin)
        if (ct_optimizer_step(b->optimizer, 1e-4, 1) != CT_OK) exit(1);
    return b->elements * calls / seconds;
}

static int serve(bench *b, float **array, int64_t count) {
    char line[64];
    printf("{\"ready\": true}\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) && strcmp(line, "quit\n") != 0) {
        printf("{\"value\": %.6e}\n", array ? stream(b->context, array, count) : measure(b));
        fflush(stdout);
    }
    return 0;
}

static int serve_stream(bench *b) {
    enum { COUNT = 100 << 20 };
    float *array[4];
    for (int i = 0; i < 4; i++) {
        array[i] = ct_alloc(b->context, COUNT * sizeof(float), CT_MEMORY_OTHER);
        if (!array[i]) return 1;
        memset(array[i], 0, COUNT * sizeof(float));
    }
    return serve(b, array, COUNT);
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    bench b = {.context = ct_context_create(argc > 2 ? atoi(argv[2]) : 1)};
    if (!b.context) return 1;
    if (strcmp(argv[1], "stream") == 0) return serve_stream(&b);
    char *options = strchr(argv[1], ':');
    ct_value *map = options ? ct_json_parse(b.context, options + 1, strlen(options + 1), "options") : NULL;
    if (options) *options = 0;
    b.optimizer = ct_failed(b.context) ? NULL : ct_optimizer_create(b.context, argv[1], map);
    if (b.optimizer) {
        bool gpt = argc > 3 && strcmp(argv[3], "gpt") == 0;
        add_blocks(&b, gpt ? 6 : 14, gpt ? 384 : 768);
    }
    if (!ct_failed(b.context)) ct_optimizer_step(b.optimizer, 1e-4, 1);
    if (ct_failed(b.context)) {
        fprintf(stderr, "bench_optimizer: %s\n", ct_context_message(b.context));
        return 1;
    }
    return serve(&b, NULL, 0);
}
