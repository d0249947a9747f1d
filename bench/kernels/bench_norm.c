/* bench_norm.c - forward and backward of layer norm or root-mean-square norm on [8192, 1024] f32 with gain
 * (and bias), elements a second: `bench_norm layernorm|rmsnorm THREADS`; bench/run.py asks for one
 * measurement with each line on standard input (see bench/peers/serve.py). */
#include <carat/autograd.h>
#include <carat/ops.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS ((int64_t)8192)
#define COLUMNS ((int64_t)1024)
#define SECONDS 0.5

typedef struct work {
    ct_context *context;
    bool centred;
    ct_tensor *x, *gain, *bias, *gradient; /* held by the whole run's scope */
} work;

static ct_tensor *once(const work *w) {
    ct_tensor *y =
        w->centred ? ct_layer_norm(w->x, w->gain, w->bias, 1e-5) : ct_rms_norm(w->x, w->gain, 1e-5);
    ct_tensor *inputs[3] = {w->x, w->gain, w->bias}, *gradients[3], *dy = w->gradient;
    ct_grad(&y, 1, &dy, inputs, w->centred ? 3 : 2, gradients, CT_GRAD_DEFAULT);
    return gradients[0];
}

/* Elements a second, over at least SECONDS and two calls; each result is dropped before the next is made. */
static double measure(const work *w) {
    int calls = 0;
    double start = ct_seconds(), seconds = 0;
    for (; calls < 2 || seconds < SECONDS; calls++) {
        ct_scope scope = ct_scope_open(w->context);
        once(w);
        ct_scope_close(w->context, scope);
        seconds = ct_seconds() - start;
    }
    return (double)(ROWS * COLUMNS) * calls / seconds;
}

/* With gain 1 the gradient of x is orthogonal to x (rmsnorm), and sums to 0 (layernorm). */
static bool correct(const work *w) {
    ct_scope scope = ct_scope_open(w->context);
    ct_tensor *dx = once(w);
    double sum = NAN, size = NAN;
    ct_item(ct_sum_all(w->centred ? dx : ct_mul(dx, ct_detach(w->x))), &sum);
    ct_item(ct_sum_all(ct_abs(dx)), &size);
    ct_scope_close(w->context, scope);
    return fabs(sum) < 1e-4 * size;
}

int main(int argc, char **argv) {
    work w = {.context = argc == 3 ? ct_context_create(atoi(argv[2])) : NULL};
    if (!w.context) {
        fprintf(stderr, "usage: bench_norm layernorm|rmsnorm THREADS\n");
        return 1;
    }
    w.centred = strcmp(argv[1], "layernorm") == 0;
    ct_random random = ct_random_make(1, ct_random_stream("norm"));
    w.x = ct_random_normal_tensor(w.context, CT_F32, CT_DIMS(ROWS, COLUMNS), 0, 1, &random);
    w.gradient = ct_random_normal_tensor(w.context, CT_F32, CT_DIMS(ROWS, COLUMNS), 0, 1, &random);
    w.gain = ct_full(w.context, CT_F32, CT_DIMS(COLUMNS), 1);
    w.bias = ct_zeros(w.context, CT_F32, CT_DIMS(COLUMNS));
    ct_tensor *leaves[] = {w.x, w.gain, w.bias};
    for (int i = 0; i < 3; i++)
        ct_require_grad(leaves[i], true);
    if (!correct(&w) || ct_failed(w.context)) {
        fprintf(stderr, "bench_norm: %s\n",
                ct_failed(w.context) ? ct_context_message(w.context) : "wrong result");
        return 1;
    }
    printf("{\"ready\": true}\n");
    fflush(stdout);
    char line[64];
    while (fgets(line, sizeof line, stdin) && strcmp(line, "quit\n") != 0) {
        printf("{\"value\": %.6e}\n", measure(&w));
        fflush(stdout);
    }
    ct_context_destroy(w.context);
    return 0;
}
