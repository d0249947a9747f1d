/* peer_softmax_xnnpack.c - the peer of bench_softmax: XNNPACK's softmax operator on the same row, one thread.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xnnpack.h>

#define COUNT ((size_t)64 * 1024 * 1024)
#define SECONDS 0.5

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void check(enum xnn_status status, const char *what) {
    if (status == xnn_status_success) return;
    fprintf(stderr, "peer_softmax_xnnpack: %s failed with status %d\n", what, (int)status);
    exit(1);
}

static double measure(xnn_operator_t softmax) {
    int calls = 0;
    double start = now(), seconds = 0;
    for (; calls < 2 || seconds < SECONDS; calls++) {
        check(xnn_run_operator(softmax, NULL), "xnn_run_operator");
        seconds = now() - start;
    }
    return (double)COUNT * calls / seconds;
}

int main(void) {
    float *x = aligned_alloc(64, COUNT * sizeof *x), *y = aligned_alloc(64, COUNT * sizeof *y);
    xnn_operator_t softmax = NULL;
    if (!x || !y) return 1;
    uint32_t state = 1;
    for (size_t i = 0; i < COUNT; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) * (6.0f / 16777216.0f) - 3.0f;
    }
    check(xnn_initialize(NULL), "xnn_initialize");
    check(xnn_create_softmax_nc_f32(COUNT, COUNT, COUNT, 0, &softmax), "xnn_create_softmax_nc_f32");
    check(xnn_setup_softmax_nc_f32(softmax, 1, x, y, NULL), "xnn_setup_softmax_nc_f32");
    measure(softmax);
    double sum = 0;
    for (size_t i = 0; i < COUNT; i++)
        sum += (double)y[i];
    if (fabs(sum - 1) > 0.1) { /* it adds 64 M numbers in f32: sums of 1.04 were seen */
        fprintf(stderr, "peer_softmax_xnnpack: wrong result, sum %g\n", sum);
        return 1;
    }
    printf("{\"ready\": true}\n");
    fflush(stdout);
    char line[64];
    while (fgets(line, sizeof line, stdin) && strcmp(line, "quit\n") != 0) {
        printf("{\"value\": %.6e}\n", measure(softmax));
        fflush(stdout);
    }
    return 0;
}
