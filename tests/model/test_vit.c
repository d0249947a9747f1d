/* test_vit.c - vision transformers against what transformers computed (tests/golden/make_vit.py), gradients,
 * training, naming in files, and what is refused. */
#include "model/golden.h"

static const char *const names[] = {"classifier", "model", "no-pooler", "oblong"};
enum { NAMES = sizeof(names) / sizeof(names[0]) };

static double apart(ct_tensor *found, ct_tensor *expected) {
    double size = item(ct_max(ct_abs(expected), 0, NULL, false));
    assert_true(ct_same_shape(found, expected));
    assert_true(size > 0.1);
    return worst_difference(found, expected) / size;
}

/* In f32, and in f64 closer to what f32 can say. */
static void test_golden(void **state) {
    (void)state;
    static const char *const points[] = {"hidden", "pooled", "logits"};
    for (int i = 0; i < NAMES; i++) {
        ct_model *model = golden_load("vit", names[i]);
        ct_tensor *pixels = golden_tensor("vit", names[i], "pixels");
        for (int wide = 0; wide < 2; wide++) {
            if (wide) ct_model_cast(model, CT_F64);
            ct_run *run = ct_run_create(context, NULL);
            for (int p = 0; p < 3; p++) {
                ct_tensor *expected = golden_tensor("vit", names[i], points[p]), *found = NULL;
                if (!expected) continue;
                assert_int_equal(ct_model_outputs(model, run, &pixels, 1, &points[p], 1, &found), CT_OK);
                if (!(apart(found, expected) < 2e-5)) fail_msg("%s %s", names[i], points[p]);
                assert_int_equal(ct_dtype_of(found), wide ? CT_F64 : CT_F32);
            }
            ct_run_destroy(run);
        }
        ct_model_destroy(model);
    }
}

/* A picture has the bits that it has among others; bf16 is near. */
static void test_batches(void **state) {
    (void)state;
    ct_model *model = golden_load("vit", "classifier");
    ct_tensor *pixels = golden_tensor("vit", "classifier", "pixels");
    ct_run *run = ct_run_create(context, NULL);
    ct_run *narrow = ct_run_create(context, &(ct_run_options){.compute = CT_BF16});
    ct_tensor *all = ct_model_forward(model, run, pixels);
    ct_tensor *one = ct_model_forward(model, run, ct_contiguous(ct_slice(pixels, 0, 1, 2, 1)));
    assert_same_bits(ct_slice(all, 0, 1, 2, 1), one);
    assert_true(apart(ct_cast(ct_model_forward(model, narrow, pixels), CT_F32), all) < 0.05);
    ct_run_destroy(run);
    ct_run_destroy(narrow);
    ct_model_destroy(model);
}

/* Patches are the convolution's: one patch, by hand. */
static void test_patch_order(void **state) {
    (void)state;
    ct_model *model = golden_load("vit", "oblong");
    ct_tensor *pixels = golden_tensor("vit", "oblong", "pixels"), *embedded = NULL;
    const char *point = "embedded";
    ct_run *run = ct_run_create(context, NULL);
    assert_int_equal(ct_model_outputs(model, run, &pixels, 1, &point, 1, &embedded), CT_OK);
    assert_true(ct_dim(embedded, 1) == 1 + 4 * 4); /* 13 x 22 pixels in patches of 3 x 5 */
    enum { IMAGE = 2, ROW = 2, COLUMN = 3, CHANNEL = 7 };
    double *x = values(pixels), *y = values(embedded);
    double *w = values(ct_model_find(model, "vit.embeddings.patch_embeddings.projection.weight")->tensor);
    double *b = values(ct_model_find(model, "vit.embeddings.patch_embeddings.projection.bias")->tensor);
    double *p = values(ct_model_find(model, "vit.embeddings.position_embeddings")->tensor);
    int64_t patch = 1 + ROW * 4 + COLUMN;
    double sum = b[CHANNEL] + p[patch * 24 + CHANNEL];
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 5; j++)
                sum += w[((CHANNEL * 3 + c) * 3 + i) * 5 + j] *
                       x[((IMAGE * 3 + c) * 13 + ROW * 3 + i) * 22 + COLUMN * 5 + j];
    assert_near(y[(IMAGE * 17 + patch) * 24 + CHANNEL], sum, 1e-5);
    double *all[] = {x, y, w, b, p};
    for (int i = 0; i < 5; i++)
        free(all[i]);
    ct_run_destroy(run);
    ct_model_destroy(model);
}

static double loss_of(ct_model *model, ct_tensor *pixels, ct_tensor *labels, bool backward) {
    ct_scope scope = ct_scope_open(context);
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *loss = ct_cross_entropy(ct_model_forward(model, run, pixels), labels, NULL);
    double value = item(loss);
    if (backward) assert_int_equal(ct_backward(loss, NULL, 0), CT_OK);
    ct_run_destroy(run);
    ct_scope_close(context, scope);
    return value;
}

/* The largest element of every parameter's gradient against central differences in f64. */
static void test_gradients(void **state) {
    (void)state;
    ct_model *model = golden_load("vit", "classifier");
    ct_model_cast(model, CT_F64);
    ct_tensor *pixels = golden_tensor("vit", "classifier", "pixels");
    ct_tensor *labels = ct_from_data(context, CT_I32, CT_DIMS(3), (const int32_t[]){3, 1, 0});
    make_leaves(model);
    loss_of(model, pixels, labels, true);
    const double step = 1e-5;
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_parameter *p = ct_model_parameter(model, i);
        assert_non_null(ct_gradient(p->tensor));
        double *g = values(ct_gradient(p->tensor)), side[2];
        int64_t at = 0;
        for (int64_t e = 0; e < ct_count(p->tensor); e++)
            if (fabs(g[e]) > fabs(g[at])) at = e;
        double before = ((const double *)ct_data(p->tensor))[at];
        for (int s = 0; s < 2; s++) {
            ((double *)ct_data_mutable(p->tensor))[at] = before + (s ? -step : step);
            side[s] = loss_of(model, pixels, labels, false);
        }
        ((double *)ct_data_mutable(p->tensor))[at] = before;
        assert_near(g[at], (side[0] - side[1]) / (2 * step), 1e-7);
        free(g);
    }
    ct_model_destroy(model);
}

/* Every place of norms; the loss of a few images falls. */
static void test_training(void **state) {
    (void)state;
    static const char *const norms[] = {"\"layernorm\"", "\"rmsnorm\"", "{\"place\":\"post\"}",
                                        "{\"place\":\"peri\"}", "{\"place\":\"deepnorm\"}"};
    ct_random random = ct_random_make(1, 2);
    ct_tensor *pixels = ct_random_normal_tensor(context, CT_F32, CT_DIMS(6, 1, 8, 8), 0, 1, &random);
    ct_tensor *labels = ct_from_data(context, CT_I32, CT_DIMS(6), (const int32_t[]){0, 1, 2, 0, 1, 2});
    for (size_t n = 0; n < sizeof(norms) / sizeof(norms[0]); n++) {
        char text[400];
        snprintf(
            text, sizeof(text),
            "{\"model_type\":\"vit\",\"hidden_size\":16,\"num_hidden_layers\":2,\"num_attention_heads\":2,"
            "\"intermediate_size\":32,\"image_size\":8,\"patch_size\":4,\"num_channels\":1,\"num_labels\":3,"
            "\"initializer_range\":0.2,\"norm\":%s}",
            norms[n]);
        ct_model *model = model_from(text, 3);
        make_leaves(model);
        double first = loss_of(model, pixels, labels, false), last = 0;
        for (int s = 0; s < 40; s++) {
            last = loss_of(model, pixels, labels, true);
            for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
                ct_tensor *weight = ct_model_parameter(model, i)->tensor;
                ct_add_into(weight, ct_gradient(weight), -0.2);
                ct_gradient_set(weight, NULL);
            }
        }
        if (!(last < 0.5 * first)) fail_msg("%s: loss from %g to %g", norms[n], first, last);
        ct_model_destroy(model);
    }
}

/* What was loaded is written with the same bytes; what training with masked patches left is kept. */
static void test_save(void **state) {
    (void)state;
    for (int i = 0; i < NAMES; i++) {
        char *folder = temporary(), *source = golden_file("vit", names[i]);
        ct_model *model = golden_load("vit", names[i]);
        assert_int_equal(ct_model_save(model, folder, CT_DTYPES), CT_OK);
        assert_same_file(folder, source, "model.safetensors");
        ct_model_destroy(model);
        model = ct_model_load(context, folder, CT_DTYPES);
        assert_ok();
        ct_model_destroy(model);
        ct_free(context, source);
        forget(folder);
    }
}

static void refuse(const char *more, ct_status status, const char *words) {
    char *json = ct_format(context, "{\"model_type\":\"vit\"%s}", more);
    ct_value *config = ct_json_parse(context, json, strlen(json), "config.json");
    assert_ok();
    assert_null(ct_model_create(context, config));
    ct_value_free(config);
    ct_free(context, json);
    assert_failed_with(status, words);
}

static void test_refused(void **state) {
    (void)state;
    refuse(",\"architectures\":[\"ViTForMaskedImageModeling\"]", CT_ERROR_UNSUPPORTED,
           "expected ViTForImageClassification or ViTModel");
    refuse(",\"patch_size\":0", CT_ERROR_ARGUMENT, "patch_size");
    refuse(",\"image_size\":[8,8,8]", CT_ERROR_ARGUMENT, "image_size: expected");
    refuse(",\"image_size\":12", CT_ERROR_ARGUMENT, "patch_size 16 is more than image_size 12");
    refuse(",\"hidden_size\":10,\"num_attention_heads\":3", CT_ERROR_ARGUMENT,
           "hidden_size 10 is not a multiple of num_attention_heads 3");
    refuse(",\"hidden_act\":\"gelu_10\"", CT_ERROR_ARGUMENT, "gelu_10");
    refuse(",\"pooler_act\":\"relu\"", CT_ERROR_ARGUMENT, "pooler_act");
    refuse(",\"num_labels\":3,\"id2label\":{\"0\":\"a\",\"1\":\"b\"}", CT_ERROR_ARGUMENT,
           "num_labels is 3, id2label names 2");
    ct_model *model = golden_load("vit", "classifier");
    ct_run *run = ct_run_create(context, NULL);
    ct_model_forward(model, run, ct_zeros(context, CT_F32, CT_DIMS(1, 3, 12, 11)));
    assert_failed_with(CT_ERROR_SHAPE, "expected floating-point images [batch, 3, 12, 12]");
    ct_model_forward(model, run, ct_zeros(context, CT_I32, CT_DIMS(1, 4)));
    assert_failed_with(CT_ERROR_SHAPE, "expected floating-point images");
    ct_model_need_causal(model, "generate");
    assert_failed_with(CT_ERROR_UNSUPPORTED, "generate: a vit is an encoder");
    ct_run_destroy(run);
    ct_model_destroy(model);
}

/* Making a model and a step of it: every allocation fails once. */
static void test_allocation_failure(void **state) {
    (void)state;
    static const char *const configs[] = {
        "{\"model_type\":\"vit\",\"hidden_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
        "\"intermediate_size\":8,\"image_size\":4,\"patch_size\":2,\"num_channels\":1,\"norm\":{\"place\":"
        "\"peri\"}}",
        "{\"model_type\":\"bert\",\"hidden_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
        "\"intermediate_size\":8,\"vocab_size\":9}"};
    for (int c = 0; c < 2; c++)
        survives_building(configs[c]);
    ct_model *model = model_from(configs[0], 1);
    ct_tensor *pixels = ct_full(context, CT_F32, CT_DIMS(2, 1, 4, 4), 1),
              *labels = ct_zeros(context, CT_I32, CT_DIMS(2));
    int64_t failed = 0;
    make_leaves(model);
    for (int64_t n = 1;; n++) {
        ct_scope scope = ct_scope_open(context);
        ct_memory_fail_at(context, n);
        ct_run *run = ct_run_create(context, NULL);
        if (run) ct_backward(ct_cross_entropy(ct_model_forward(model, run, pixels), labels, NULL), NULL, 0);
        ct_memory_fail_at(context, 0);
        bool was = ct_failed(context);
        if (was) assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
        ct_run_destroy(run);
        ct_scope_close(context, scope);
        for (int64_t i = 0; i < ct_model_parameter_count(model); i++)
            ct_gradient_set(ct_model_parameter(model, i)->tensor, NULL);
        failed += was;
        if (!was) break;
    }
    assert_true(failed > 100);
    ct_model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_golden),      reach_test(test_batches),
                                       reach_test(test_patch_order), reach_test(test_gradients),
                                       reach_test(test_training),    reach_test(test_save),
                                       reach_test(test_refused),     reach_test(test_allocation_failure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
