/* naive_gpt2.h - GPT-2 written down a second time, in f64 loops without the engine's operations, as the
 * paper's formulas say: what the engine's forward pass is compared with. Public headers only. */
#ifndef CARAT_TESTS_NAIVE_GPT2_H
#define CARAT_TESTS_NAIVE_GPT2_H

#include <carat/model.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum naive_activation { NAIVE_GELU_NEW, NAIVE_GELU, NAIVE_RELU, NAIVE_SILU } naive_activation;
typedef struct naive_gpt2 {
    int64_t vocabulary, width, layers, heads, inner;
    naive_activation activation;
    double epsilon;
    bool unscaled;           /* scores without 1/sqrt(channels) */
    bool identity_attention; /* every position attends to itself alone */
} naive_gpt2;

/* The parameter of a slot as doubles; free() it. Aborts the process of a test that asks for what is not
 * there. */
static double *naive_weight(ct_model *model, const char *path) {
    ct_parameter *parameter = ct_model_find(model, path);
    if (!parameter) {
        fprintf(stderr, "naive_gpt2: no parameter %s\n", path);
        abort();
    }
    double *data = malloc((size_t)ct_count(parameter->tensor) * sizeof(double));
    if (!data || ct_read(parameter->tensor, CT_F64, data) != CT_OK) abort();
    return data;
}

static double *naive_layer_weight(ct_model *model, int64_t layer, const char *name) {
    char path[64];
    snprintf(path, sizeof(path), "h.%lld.%s", (long long)layer, name);
    return naive_weight(model, path);
}

static double *naive_room(int64_t count) {
    double *room = calloc((size_t)count, sizeof(double));
    if (!room) abort();
    return room;
}

static void naive_norm(const double *x, int64_t rows, int64_t width, const double *gain, const double *bias,
                       double epsilon, double *y) {
    for (int64_t r = 0; r < rows; r++) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < width; i++)
            mean += x[r * width + i] / (double)width;
        for (int64_t i = 0; i < width; i++)
            variance += (x[r * width + i] - mean) * (x[r * width + i] - mean) / (double)width;
        for (int64_t i = 0; i < width; i++)
            y[r * width + i] = (x[r * width + i] - mean) / sqrt(variance + epsilon) * gain[i] + bias[i];
    }
}

/* y = x W + b, W [in, out] */
static void naive_conv1d(const double *x, int64_t rows, int64_t in, int64_t out, const double *weight,
                         const double *bias, double *y) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < out; o++) {
            double sum = bias[o];
            for (int64_t i = 0; i < in; i++)
                sum += x[r * in + i] * weight[i * out + o];
            y[r * out + o] = sum;
        }
}

static double naive_activate(naive_activation which, double x) {
    switch (which) {
    case NAIVE_GELU_NEW:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case NAIVE_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case NAIVE_RELU:
        return x > 0 ? x : 0;
    case NAIVE_SILU:
        return x / (1 + exp(-x));
    }
    return 0;
}

/* One sequence: mixed[i] = sum over j <= i of softmax_j(q_i . k_j * scale) v_j, head by head. */
static void naive_attention(const naive_gpt2 *g, const double *qkv, int64_t time, double *mixed) {
    int64_t channels = g->width / g->heads, pitch = 3 * g->width;
    double scale = g->unscaled ? 1 : 1 / sqrt((double)channels), *p = naive_room(time);
    for (int64_t head = 0; head < g->heads; head++)
        for (int64_t i = 0; i < time; i++) {
            double most = -INFINITY, sum = 0;
            for (int64_t j = 0; j <= i; j++) {
                p[j] = 0;
                for (int64_t c = 0; c < channels; c++)
                    p[j] += qkv[i * pitch + head * channels + c] *
                            qkv[j * pitch + g->width + head * channels + c];
                p[j] *= scale;
                if (p[j] > most) most = p[j];
            }
            for (int64_t j = 0; j <= i; j++)
                sum += p[j] = exp(p[j] - most);
            for (int64_t c = 0; c < channels; c++) {
                double value = 0;
                for (int64_t j = 0; j <= i; j++) {
                    double share = g->identity_attention ? i == j : p[j] / sum;
                    value += share * qkv[j * pitch + 2 * g->width + head * channels + c];
                }
                mixed[i * g->width + head * channels + c] = value;
            }
        }
    free(p);
}

static void naive_block(const naive_gpt2 *g, ct_model *model, int64_t layer, int64_t time, double *x) {
    int64_t n = g->width;
    static const char *const names[12] = {"ln_1.weight",      "ln_1.bias",          "attn.c_attn.weight",
                                          "attn.c_attn.bias", "attn.c_proj.weight", "attn.c_proj.bias",
                                          "ln_2.weight",      "ln_2.bias",          "mlp.c_fc.weight",
                                          "mlp.c_fc.bias",    "mlp.c_proj.weight",  "mlp.c_proj.bias"};
    double *w[12];
    for (int i = 0; i < 12; i++)
        w[i] = naive_layer_weight(model, layer, names[i]);
    double *normed = naive_room(time * n), *wide = naive_room(time * (3 * n + g->inner)),
           *out = naive_room(time * n);
    naive_norm(x, time, n, w[0], w[1], g->epsilon, normed);
    naive_conv1d(normed, time, n, 3 * n, w[2], w[3], wide);
    naive_attention(g, wide, time, normed);
    naive_conv1d(normed, time, n, n, w[4], w[5], out);
    for (int64_t i = 0; i < time * n; i++)
        x[i] += out[i];
    naive_norm(x, time, n, w[6], w[7], g->epsilon, normed);
    naive_conv1d(normed, time, n, g->inner, w[8], w[9], wide);
    for (int64_t i = 0; i < time * g->inner; i++)
        wide[i] = naive_activate(g->activation, wide[i]);
    naive_conv1d(wide, time, g->inner, n, w[10], w[11], out);
    for (int64_t i = 0; i < time * n; i++)
        x[i] += out[i];
    for (int i = 0; i < 12; i++)
        free(w[i]);
    free(normed);
    free(wide);
    free(out);
}

/* Logits [time, vocabulary] of one sequence; free() them. */
static double *naive_gpt2_forward(const naive_gpt2 *g, ct_model *model, const int32_t *ids, int64_t time) {
    int64_t n = g->width;
    double *wte = naive_weight(model, "wte.weight"), *wpe = naive_weight(model, "wpe.weight");
    double *gain = naive_weight(model, "ln_f.weight"), *bias = naive_weight(model, "ln_f.bias");
    double *head = naive_weight(model, "lm_head.weight");
    double *x = naive_room(time * n), *logits = naive_room(time * g->vocabulary);
    for (int64_t t = 0; t < time; t++)
        for (int64_t i = 0; i < n; i++)
            x[t * n + i] = wte[ids[t] * n + i] + wpe[t * n + i];
    for (int64_t layer = 0; layer < g->layers; layer++)
        naive_block(g, model, layer, time, x);
    naive_norm(x, time, n, gain, bias, g->epsilon, x);
    for (int64_t t = 0; t < time; t++)
        for (int64_t v = 0; v < g->vocabulary; v++)
            for (int64_t i = 0; i < n; i++)
                logits[t * g->vocabulary + v] += x[t * n + i] * head[v * n + i];
    free(wte);
    free(wpe);
    free(gain);
    free(bias);
    free(head);
    free(x);
    return logits;
}

#endif
