/* bench_softmax.c - softmax over 64 M f32 in one row, one thread, elements a second; bench/run.py asks for
 * one measurement with each line on standard input (see bench/peers/serve.py). */
#include <carat/ops.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNT ((int64_t)64 * 1024 * 1024)
#define SECONDS 0.5

/* Elements a second, over at least SECONDS and two calls; each result is dropped before the next is made. */
static double measure(ct_context *context, ct_tensor *x) {
    int calls = 0;
    double start = ct_seconds(), seconds = 0;
    for (; calls < 2 || seconds < SECONDS; calls++) {
        ct_scope scope = ct_scope_open(context);
        ct_softmax(x, 0);
        ct_scope_close(context, scope);
        seconds = ct_seconds() - start;
    }
    return (double)COUNT * calls / seconds;
}

/* The elements of a softmax sum to 1. */
static bool correct(ct_context *context, ct_tensor *x) {
    ct_scope scope = ct_scope_open(context);
    double sum = 0;
    ct_item(ct_sum_all(ct_softmax(x, 0)), &sum);
    ct_scope_close(context, scope);
    return fabs(sum - 1) < 1e-4;
}

int main(void) {
    ct_context *context = ct_context_create(1);
    if (!context) return 1;
    ct_random random = ct_random_make(1, ct_random_stream("softmax"));
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(COUNT), 0, 1, &random);
    if (!correct(context, x) || ct_failed(context)) {
        fprintf(stderr, "bench_softmax: %s\n",
                ct_failed(context) ? ct_context_message(context) : "wrong result");
        return 1;
    }
    printf("{\"ready\": true}\n");
    fflush(stdout);
    char line[64];
    while (fgets(line, sizeof line, stdin) && strcmp(line, "quit\n") != 0) {
        printf("{\"value\": %.6e}\n", measure(context, x));
        fflush(stdout);
    }
    ct_context_destroy(context);
    return 0;
}
