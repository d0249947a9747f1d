/* test_recurrent.c - recurrent layers against the equations written as loops in f64, plain and with layer
 * normalisation; the invariance that normalisation gives, rows that do not depend on each other, gradients
 * against differences, the language model made of them, what is refused. */
#include "reach/reach.h"
#include <carat/norm.h>

enum { IN = 3, HIDDEN = 4, TIME = 5, ROWS = 2, MOST = 16 };

static ct_model *one(const char *cell) {
    char text[512];
    snprintf(text, sizeof(text),
             "{\"model_type\":\"mlp\",\"sizes\":[1,1],\"carat\":{\"tree\":{\"kind\":\"sequential\",\"name\":"
             "\"\",\"children\":"
             "[{\"kind\":\"recurrent\",\"name\":\"0\",\"options\":{\"in\":%d,\"hidden\":%d,\"cell\":\"%s\","
             "\"eps\":1e-6}}]}}}",
             IN, HIDDEN, cell);
    ct_model *model = model_from(text, 77);
    for (int64_t i = 0; i < ct_model_parameter_count(model);
         i++) { /* gains and biases that are not what they start as */
        ct_random random = ct_random_make(5, (uint64_t)i);
        ct_parameter *p = ct_model_parameter(model, i);
        if (ct_ndim(p->tensor) == 1)
            ct_fill_normal(p->tensor, strstr(p->name, "ln_") && strstr(p->name, "weight") ? 1 : 0, 0.3,
                           &random);
    }
    return model;
}

static ct_tensor *input(int64_t rows, uint64_t seed) {
    ct_random random = ct_random_make(seed, 1);
    return ct_random_normal_tensor(context, CT_F32, CT_DIMS(rows, TIME, IN), 0, 1, &random);
}

static ct_tensor *output(ct_model *model, ct_tensor *x) {
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *y = ct_model_forward(model, run, x);
    ct_run_destroy(run);
    return y;
}

/* ------------------------------------------------------------------------------------------- by hand */

static double *numbers(ct_model *model, const char *name) {
    ct_parameter *p = ct_model_find(model, name);
    return p ? values(p->tensor) : NULL;
}

static double logistic(double x) {
    return 1 / (1 + exp(-x));
}

/* x becomes LN(x) of the norm called `name`, if there is one. */
static void normalise(ct_model *model, const char *name, double *x, int count) {
    char path[64];
    snprintf(path, sizeof(path), "0.%s.weight", name);
    double *gain = numbers(model, path), mean = 0, variance = 0;
    snprintf(path, sizeof(path), "0.%s.bias", name);
    double *bias = numbers(model, path);
    for (int i = 0; gain && i < count; i++)
        mean += x[i] / count;
    for (int i = 0; gain && i < count; i++)
        variance += (x[i] - mean) * (x[i] - mean) / count;
    for (int i = 0; gain && i < count; i++)
        x[i] = gain[i] * (x[i] - mean) / sqrt(variance + 1e-6) + bias[i];
    free(gain);
    free(bias);
}

/* out = W in (+ bias); W [rows, columns]. */
static void product(ct_model *model, const char *weight, const char *bias, const double *in, int rows,
                    int columns, double *out) {
    double *w = numbers(model, weight), *b = numbers(model, bias);
    for (int r = 0; r < rows; r++) {
        out[r] = b ? b[r] : 0;
        for (int c = 0; c < columns; c++)
            out[r] += w[r * columns + c] * in[c];
    }
    free(w);
    free(b);
}

static void lstm_by_hand(ct_model *model, const double *x, double *h, double *c) {
    double a[MOST], b[MOST], seen[HIDDEN], *bias = numbers(model, "0.bias");
    product(model, "0.weight_ih", "0.bias_ih", x, 4 * HIDDEN, IN, a);
    product(model, "0.weight_hh", "0.bias_hh", h, 4 * HIDDEN, HIDDEN, b);
    normalise(model, "ln_ih", a, 4 * HIDDEN);
    normalise(model, "ln_hh", b, 4 * HIDDEN);
    for (int i = 0; i < 4 * HIDDEN; i++)
        a[i] += b[i] + (bias ? bias[i] : 0);
    for (int i = 0; i < HIDDEN; i++)
        seen[i] = c[i] = logistic(a[HIDDEN + i]) * c[i] + logistic(a[i]) * tanh(a[2 * HIDDEN + i]);
    normalise(model, "ln_c", seen, HIDDEN);
    for (int i = 0; i < HIDDEN; i++)
        h[i] = logistic(a[3 * HIDDEN + i]) * tanh(seen[i]);
    free(bias);
}

static void gru_by_hand(ct_model *model, const double *x, double *h, bool normed) {
    double a[MOST], b[MOST];
    product(model, "0.weight_ih", "0.bias_ih", x, 3 * HIDDEN, IN, a);
    product(model, "0.weight_hh", "0.bias_hh", h, 3 * HIDDEN, HIDDEN, b);
    normalise(model, "ln_ih", a, 2 * HIDDEN);
    normalise(model, "ln_hh", b, 2 * HIDDEN);
    normalise(model, "ln_in", a + 2 * HIDDEN, HIDDEN);
    normalise(model, "ln_hn", b + 2 * HIDDEN, HIDDEN);
    for (int i = 0; i < HIDDEN; i++) {
        double r = logistic(a[i] + b[i]), z = logistic(a[HIDDEN + i] + b[HIDDEN + i]);
        double n = tanh(a[2 * HIDDEN + i] + r * b[2 * HIDDEN + i]);
        h[i] = normed ? (1 - z) * h[i] + z * n : (1 - z) * n + z * h[i];
    }
}

/* Equation 4 of the paper: a = W_hh h + W_xh x, one norm over all units. */
static void plain_by_hand(ct_model *model, const double *x, double *h) {
    double a[MOST], b[MOST];
    product(model, "0.weight_ih", "0.bias_ih", x, HIDDEN, IN, a);
    product(model, "0.weight_hh", "0.bias_hh", h, HIDDEN, HIDDEN, b);
    for (int i = 0; i < HIDDEN; i++)
        a[i] += b[i];
    normalise(model, "ln", a, HIDDEN);
    for (int i = 0; i < HIDDEN; i++)
        h[i] = tanh(a[i]);
}

static void by_hand(void **state) {
    (void)state;
    static const char *const cells[] = {"lstm", "lstm-ln", "gru", "gru-ln", "rnn", "rnn-ln"};
    static const int64_t parameters[] = {4, 9, 4, 10, 4, 4};
    for (int k = 0; k < 6; k++) {
        ct_model *model = one(cells[k]);
        assert_int_equal(ct_model_parameter_count(model), parameters[k]);
        ct_tensor *x = input(ROWS, 3);
        double *in = values(x), *out = values(output(model, x));
        for (int row = 0; row < ROWS; row++) {
            double h[HIDDEN] = {0}, c[HIDDEN] = {0};
            for (int t = 0; t < TIME; t++) {
                const double *at = in + (row * TIME + t) * IN;
                if (k < 2)
                    lstm_by_hand(model, at, h, c);
                else if (k > 3)
                    plain_by_hand(model, at, h);
                else
                    gru_by_hand(model, at, h, k == 3);
                for (int i = 0; i < HIDDEN; i++)
                    assert_near(out[(row * TIME + t) * HIDDEN + i], h[i], 2e-5);
            }
        }
        free(in);
        free(out);
        ct_model_destroy(model);
    }
}

/* --------------------------------------------------------------------------------------- properties */

/* Weights times 3: normalised cells stay (but for eps), plain ones change. A row has the same bits alone. */
static void invariance(void **state) {
    (void)state;
    static const char *const cells[] = {"lstm", "lstm-ln", "gru", "gru-ln", "rnn", "rnn-ln"};
    for (int k = 0; k < 6; k++) {
        ct_model *model = one(cells[k]);
        ct_tensor *x = input(ROWS, 4), *y = output(model, x);
        assert_same_bits(ct_contiguous(ct_slice(y, 0, 1, 2, 1)),
                         output(model, ct_contiguous(ct_slice(x, 0, 1, 2, 1))));
        ct_scale_into(ct_model_find(model, "0.weight_hh")->tensor, 3);
        ct_scale_into(ct_model_find(model, "0.weight_ih")->tensor, 3);
        double apart = item(ct_max(ct_abs(ct_sub(y, output(model, x))), 0, NULL, false));
        if (k % 2)
            assert_true(apart < 2e-3); /* h is 0 in the first step and small in the next: eps is seen */
        else
            assert_true(apart > 0.02);
        ct_model_destroy(model);
    }
}

static double loss_of(ct_model *model, ct_tensor *x) {
    return item(ct_mean_all(ct_square(output(model, x))));
}

static void gradients(void **state) {
    (void)state;
    static const char *const cells[] = {"lstm", "lstm-ln", "gru", "gru-ln", "rnn", "rnn-ln"};
    for (int k = 0; k < 6; k++) {
        ct_model *model = one(cells[k]);
        make_leaves(model);
        ct_tensor *x = input(ROWS, 6);
        ct_backward(ct_mean_all(ct_square(output(model, x))), NULL, CT_GRAD_DEFAULT);
        assert_ok();
        bool mode = ct_grad_mode_set(context, false);
        for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
            ct_tensor *w = ct_model_parameter(model, i)->tensor;
            double *g = values(ct_gradient(w)), *old = values(w), h = 4e-3;
            int64_t at = ct_count(w) / 2;
            double saved = old[at];
            old[at] = saved + h;
            ct_write(w, CT_F64, old);
            double above = loss_of(model, x);
            old[at] = saved - h;
            ct_write(w, CT_F64, old);
            double below = loss_of(model, x);
            old[at] = saved;
            ct_write(w, CT_F64, old);
            if (fabs((above - below) / (2 * h) - g[at]) > 2e-3 * fmax(0.05, fabs(g[at])))
                fail_msg("%s, %s: %g, by differences %g", cells[k], ct_model_parameter(model, i)->name, g[at],
                         (above - below) / (2 * h));
            free(g);
            free(old);
        }
        ct_grad_mode_set(context, mode);
        ct_model_destroy(model);
    }
}

/* ------------------------------------------------------------------------------------ language model */

static void language_model(void **state) {
    (void)state;
    static const char *const cells[] = {"lstm", "gru-ln", "rnn-ln"};
    char folder[] = "/tmp/carat-rnn-XXXXXX";
    assert_non_null(mkdtemp(folder));
    for (int k = 0; k < 3; k++) {
        char text[256];
        snprintf(text, sizeof(text),
                 "{\"model_type\":\"rnn\",\"vocab_size\":7,\"n_embd\":8,\"n_hidden\":12,\"n_layer\":2,"
                 "\"cell\":\"%s\"}",
                 cells[k]);
        ct_model *model = model_from(text, 5);
        assert_true(ct_norm_needs_of(ct_model_root(model)).rows == CT_ROWS_WHOLE);
        assert_true(ct_model_vocabulary(model) == 7 && ct_model_context_length(model) == 0);
        ct_random random = ct_random_make(8, 8);
        ct_tensor *ids = ct_random_integer_tensor(context, CT_I32, CT_DIMS(2, 6), 0, 7, &random);
        ct_tensor *logits = output(model, ids);
        assert_true(ct_ndim(logits) == 3 && ct_dim(logits, 1) == 6 && ct_dim(logits, 2) == 7);
        assert_int_equal(ct_model_save(model, folder, CT_DTYPES), CT_OK);
        ct_model *loaded = ct_model_load(context, folder, CT_DTYPES);
        assert_ok();
        assert_same_bits(logits, output(loaded, ids));
        ct_run *run = ct_run_create(context, NULL);
        ct_tensor *last = ct_model_forward_last(model, run, ids);
        assert_same_bits(last, ct_contiguous(ct_slice(logits, 1, 5, 6, 1)));
        ct_kv_cache *cache = ct_kv_cache_create(context, 1, 2, 8);
        ct_run_set_cache(run, cache);
        ct_model_forward(model, run, ids);
        assert_true(ct_failed(context) &&
                    strstr(ct_context_message(context), "layer_0: a recurrent layer begins with"));
        ct_context_clear(context);
        ct_run_destroy(run);
        ct_kv_cache_destroy(cache);
        ct_model_destroy(loaded);
        ct_model_destroy(model);
    }
    assert_int_equal(ct_folder_remove(context, folder), CT_OK);
}

static void refused(void **state) {
    (void)state;
    ct_model *model = one("gru");
    output(model, ct_zeros(context, CT_F32, CT_DIMS(2, TIME, IN + 1)));
    assert_true(ct_failed(context) &&
                strstr(ct_context_message(context), "expected [batch, time, 3], found"));
    ct_context_clear(context);
    output(model, ct_zeros(context, CT_F32, CT_DIMS(2, IN)));
    assert_true(ct_failed(context) && strstr(ct_context_message(context), "expected [batch, time, 3]"));
    ct_context_clear(context);
    ct_model_destroy(model);
    ct_value *config = ct_json_parse(context, "{\"model_type\":\"rnn\",\"cell\":\"lstm_ln\"}", 37, "test");
    assert_null(ct_model_create(context, config));
    assert_true(strstr(ct_context_message(context), "lstm-ln") != NULL);
    ct_context_clear(context);
    ct_value_free(config);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(by_hand), reach_test(invariance), reach_test(gradients),
                                       reach_test(language_model), reach_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
