/* test_layers.c - the report on the blocks of a transformer against manual forward passes. */
#include "reach/reach.h"
#include <carat/evaluate.h>

enum { ROWS = 3, LENGTH = 10, LAYERS = 3 };

static ct_model *gpt(const char *norm) {
    char text[400];
    snprintf(text, sizeof(text),
             "{\"model_type\":\"gpt2\",\"vocab_size\":17,\"n_positions\":10,\"n_embd\":32,\"n_layer\":3,\"n_"
             "head\":4,"
             "\"initializer_range\":0.2,\"norm\":{\"place\":\"%s\"}}",
             norm);
    return model_from(text, 9);
}

static int32_t text[ROWS * (LENGTH + 1)];

static void make_text(void) {
    for (int i = 0; i < ROWS * (LENGTH + 1); i++)
        text[i] = i * i % 17;
}

/* Mean loss of a model as it is. */
static double loss_of(ct_model *model) {
    int32_t in[ROWS * LENGTH], out[ROWS * LENGTH];
    for (int r = 0; r < ROWS; r++)
        for (int t = 0; t < LENGTH; t++) {
            in[r * LENGTH + t] = text[r * (LENGTH + 1) + t];
            out[r * LENGTH + t] = text[r * (LENGTH + 1) + t + 1];
        }
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *logits =
        ct_model_forward(model, run, ct_from_data(context, CT_I32, CT_DIMS(ROWS, LENGTH), in));
    ct_run_destroy(run);
    return item(ct_cross_entropy(ct_reshape(logits, CT_DIMS(ROWS * LENGTH, 17)),
                                 ct_from_data(context, CT_I32, CT_DIMS(ROWS * LENGTH), out), NULL));
}

/* Skipping a block by the tool is a model without it. */
static void test_skips(void **state) {
    (void)state;
    static const char *const places[] = {"pre", "post", "mix", "peri"};
    make_text();
    for (int p = 0; p < 4; p++) {
        ct_model *model = gpt(places[p]);
        ct_layer_report reports[LAYERS + 1];
        double loss = NAN;
        assert_int_equal(ct_evaluate_blocks(model), LAYERS);
        assert_int_equal(ct_evaluate_layers(model, text, ROWS, LENGTH, true, reports, &loss), CT_OK);
        assert_near(loss, loss_of(model), 0);
        assert_false(ct_requires_grad(ct_model_parameter(model, 0)->tensor));
        assert_true(isnan(reports[0].gradient_norm) && isnan(reports[0].skipped_loss));
        for (int l = 0; l < LAYERS; l++) {
            ct_model *without = gpt(places[p]);
            char path[16];
            snprintf(path, sizeof(path), "h.%d", l);
            ct_module_remove(ct_module_find(ct_model_root(without), path));
            ct_model_sync(without, 1);
            assert_near(reports[l + 1].skipped_loss, loss_of(without), 0);
            assert_true(reports[l + 1].gradient_norm > 0 && reports[l + 1].distance > 0 &&
                        reports[l + 1].distance < 1);
            if (p == 1) assert_near(reports[l + 1].variance, 1, 1e-3);
            ct_model_destroy(without);
        }
        ct_model_destroy(model);
    }
}

static ct_tensor *streams[2];
static ct_tensor *keep(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run, (void)point;
    streams[*(int *)user] = ct_hold(value);
    return value;
}

/* Variance, distance and gradient norm of one block, by hand in f64. */
static void test_by_hand(void **state) {
    (void)state;
    make_text();
    ct_model *model = gpt("pre");
    ct_layer_report r[LAYERS + 1];
    double loss = NAN, squares = 0, angle = 0, variance = 0;
    assert_int_equal(ct_evaluate_layers(model, text, ROWS, LENGTH, false, r, &loss), CT_OK);
    int zero = 0, one = 1;
    int32_t in[ROWS * LENGTH], out[ROWS * LENGTH];
    for (int i = 0; i < ROWS * LENGTH; i++) {
        in[i] = text[i / LENGTH * (LENGTH + 1) + i % LENGTH];
        out[i] = text[i / LENGTH * (LENGTH + 1) + i % LENGTH + 1];
    }
    make_leaves(model);
    ct_run *run = ct_run_create(context, NULL);
    ct_run_add_tap(run, "h.0.output", keep, &zero);
    ct_run_add_tap(run, "h.1.output", keep, &one);
    ct_tensor *logits =
        ct_model_forward(model, run, ct_from_data(context, CT_I32, CT_DIMS(ROWS, LENGTH), in));
    ct_tensor *mean = ct_cross_entropy(ct_reshape(logits, CT_DIMS(ROWS * LENGTH, 17)),
                                       ct_from_data(context, CT_I32, CT_DIMS(ROWS * LENGTH), out), NULL);
    assert_int_equal(ct_backward(mean, NULL, CT_GRAD_DEFAULT), CT_OK);
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_parameter *p = ct_model_parameter(model, i);
        if (!strstr(p->name, ".h.1.")) continue;
        double norm = item(ct_norm(ct_gradient(p->tensor), 2, 0, NULL, false));
        squares += norm * norm;
    }
    double *a = values(streams[0]), *b = values(streams[1]);
    for (int t = 0; t < ROWS * LENGTH; t++) {
        double aa = 0, bb = 0, ab = 0, sum = 0;
        for (int c = 32 * t; c < 32 * (t + 1); c++) {
            aa += a[c] * a[c];
            bb += b[c] * b[c];
            ab += a[c] * b[c];
            sum += b[c];
        }
        angle += acos(ab / sqrt(aa * bb)) / acos(-1) / (ROWS * LENGTH);
        variance += (bb / 32 - sum / 32 * (sum / 32)) / (ROWS * LENGTH);
    }
    assert_near(r[2].distance, angle, 1e-9);
    assert_near(r[2].variance / variance, 1, 1e-9);
    assert_near(r[2].gradient_norm / sqrt(squares), 1, 1e-6);
    free(a);
    free(b);
    ct_run_destroy(run);
    for (int i = 0; i < 2; i++)
        ct_drop(streams[i]);
    ct_model_destroy(model);
}

static void test_growth(void **state) {
    (void)state;
    double slope, r2;
    ct_variance_growth((const double[]){3, 5, 7, 9}, 4, &slope, &r2);
    assert_near(slope, 2, 1e-12);
    assert_near(r2, 1, 1e-12);
    ct_variance_growth((const double[]){1, 0, 3}, 3, &slope,
                       &r2); /* deviations (-1, 0, 1) and (-1, -4, 5) / 3 */
    assert_near(slope, 1, 1e-12);
    assert_near(r2, 3.0 / 7, 1e-12);
    ct_variance_growth((const double[]){4, 4}, 2, &slope, &r2);
    assert_true(slope == 0 && isnan(r2));
    ct_variance_growth((const double[]){4}, 1, &slope, &r2);
    assert_true(isnan(slope) && isnan(r2));
}

/* Blocks that add nothing leave the stream as it is. A model without blocks is refused. */
static void test_numbers(void **state) {
    (void)state;
    make_text();
    ct_model *model = gpt("pre");
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) { /* blocks that add nothing */
        ct_parameter *p = ct_model_parameter(model, i);
        if (strstr(p->name, "c_proj")) ct_fill(p->tensor, 0);
    }
    ct_layer_report r[LAYERS + 1];
    double loss = NAN;
    assert_int_equal(ct_evaluate_layers(model, text, ROWS, LENGTH, false, r, &loss), CT_OK);
    for (int l = 1; l <= LAYERS; l++) {
        assert_near(r[l].variance, r[0].variance, 0);
        assert_near(r[l].largest, r[0].largest, 0);
        assert_near(r[l].distance, 0, 1e-6);
        assert_true(isnan(r[l].skipped_loss) && r[l].gradient_norm > 0);
    }
    assert_true(r[0].largest > r[0].median && r[0].median > 0);
    ct_model_destroy(model);
    ct_model *mlp = model_from("{\"model_type\":\"mlp\",\"sizes\":[3,2]}", 1);
    assert_int_equal(ct_evaluate_blocks(mlp), 0);
    assert_int_equal(ct_evaluate_layers(mlp, text, ROWS, LENGTH, false, r, &loss), CT_ERROR_UNSUPPORTED);
    ct_context_clear(context);
    ct_model_destroy(mlp);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_skips), reach_test(test_numbers),
                                       reach_test(test_by_hand), reach_test(test_growth)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
