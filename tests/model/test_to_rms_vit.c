/* test_to_rms_vit.c - rewriting a vision transformer to RMSNorm and CRMSNorm: class token, positions and
 * patches write to the stream too; models that give the stream itself. */
#include "model/centred.h"
#include "model/golden.h"
#include <carat/norm.h>

static ct_tensor *output(ct_model *model, ct_tensor *pixels) {
    ct_run *run = ct_run_create(context, NULL);
    bool before = ct_grad_mode_set(context, false);
    ct_tensor *result = ct_model_forward(model, run, pixels);
    ct_grad_mode_set(context, before);
    ct_run_destroy(run);
    assert_ok();
    return result;
}

static double relative(ct_model *a, ct_model *b, ct_tensor *pixels) {
    ct_tensor *x = output(a, pixels);
    return worst_difference(x, output(b, pixels)) / item(ct_max(ct_abs(x), 0, NULL, false));
}

/* Every form, with and without biases of queries, keys and values (which folding needs and makes). */
static void test_equal(void **state) {
    (void)state;
    static const char *const names[] = {"classifier", "oblong"};
    const ct_rms_options forms[] = {{false, false, false, false},
                                    {false, true, false, false},
                                    {true, false, false, false},
                                    {true, false, false, true}};
    for (int n = 0; n < 2; n++)
        for (int wide = 0; wide < 2; wide++) {
            ct_model *model = golden_load("vit", names[n]);
            ct_tensor *pixels = golden_tensor("vit", names[n], "pixels");
            if (wide) ct_model_cast(model, CT_F64);
            for (int i = 0; i < 4; i++) {
                ct_model *rms = ct_model_to_rms(model, &forms[i]);
                assert_ok();
                assert_true(relative(model, rms, pixels) < (wide ? 1e-10 : 1e-4));
                ct_tensor *class = ct_model_find(rms, "vit.embeddings.cls_token")->tensor;
                assert_int_equal(ct_dim(class, 2), i == 3 ? 23 : 24);
                ct_model_destroy(rms);
            }
            ct_model_destroy(model);
        }
}

/* The family's epsilon counts where the configuration has none: on a small stream another one shows. */
static void test_epsilon(void **state) {
    (void)state;
    ct_random random = ct_random_make(4, 4);
    ct_model *model = model_from("{\"model_type\":\"vit\",\"hidden_size\":16,\"num_hidden_layers\":2,"
                                 "\"num_attention_heads\":2,\"intermediate_size\":32,\"image_size\":8,"
                                 "\"patch_size\":4,\"num_channels\":1,\"initializer_range\":0.01}",
                                 3);
    ct_model_cast(model, CT_F64);
    ct_tensor *pixels = ct_random_normal_tensor(context, CT_F64, CT_DIMS(2, 1, 8, 8), 0, 0.1, &random);
    ct_model *rms = ct_model_to_rms(model, &(ct_rms_options){false, false, false, false});
    assert_ok();
    assert_true(relative(model, rms, pixels) < 1e-10);
    ct_model_destroy(rms);
    ct_model_destroy(model);
}

/* All writers are centred, and so is the stream; twice is once; the file is written and read as it is. */
static void test_centred(void **state) {
    (void)state;
    ct_model *model = golden_load("vit", "classifier");
    const ct_rms_options plain = {false, false, false, false};
    ct_model *rms = ct_model_to_rms(model, &plain), *again = ct_model_to_rms(rms, &plain);
    assert_ok();
    static const struct {
        const char *name;
        int axis;
    } writers[] = {{"vit.embeddings.cls_token", 2},
                   {"vit.embeddings.position_embeddings", 2},
                   {"vit.embeddings.patch_embeddings.projection.weight", 0},
                   {"vit.embeddings.patch_embeddings.projection.bias", 0},
                   {"vit.encoder.layer.1.attention.output.dense.weight", 0},
                   {"vit.encoder.layer.0.output.dense.weight", 0},
                   {"vit.encoder.layer.0.output.dense.bias", 0}};
    for (size_t i = 0; i < sizeof(writers) / sizeof(writers[0]); i++) {
        assert_true(largest_mean(ct_model_find(model, writers[i].name)->tensor, writers[i].axis) > 1e-3);
        assert_true(largest_mean(ct_model_find(rms, writers[i].name)->tensor, writers[i].axis) < 1e-7);
    }
    for (int64_t i = 0; i < ct_model_parameter_count(rms); i++)
        assert_true(worst_difference(ct_model_parameter(rms, i)->tensor,
                                     ct_model_parameter(again, i)->tensor) < 1e-7);
    double worst = 0;
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *pixels = golden_tensor("vit", "classifier", "pixels");
    ct_run_add_tap(run, "encoder.layer.*.output", stream_mean, &worst);
    ct_run_add_tap(run, "embedded", stream_mean, &worst);
    ct_model_forward(rms, run, pixels);
    ct_run_destroy(run);
    assert_true(worst > 0 && worst < 1e-6);
    char *folder = temporary();
    for (int i = 0; i < 2; i++) {
        ct_model *form = ct_model_to_rms(model, &(ct_rms_options){i == 1, false, false, i == 1});
        assert_int_equal(ct_model_save(form, folder, CT_DTYPES), CT_OK);
        ct_model *loaded = ct_model_load(context, folder, CT_DTYPES);
        assert_ok();
        assert_same_bits(output(form, pixels), output(loaded, pixels));
        ct_model_destroy(loaded);
        ct_model_destroy(form);
    }
    forget(folder);
    ct_model *all[] = {model, rms, again};
    for (int i = 0; i < 3; i++)
        ct_model_destroy(all[i]);
}

/* ViTModel gives what its last norm makes of the stream: its gain and bias stay, also without a pooler. */
static void test_hidden(void **state) {
    (void)state;
    static const char *const names[] = {"model", "no-pooler"};
    for (int n = 0; n < 2; n++) {
        ct_model *model = golden_load("vit", names[n]);
        ct_tensor *pixels = golden_tensor("vit", names[n], "pixels");
        ct_model *rms = ct_model_to_rms(model, &(ct_rms_options){false, false, false, false});
        assert_ok();
        assert_true(relative(model, rms, pixels) < 1e-4);
        assert_non_null(ct_model_find(rms, "layernorm.bias"));
        ct_model_destroy(rms);
        for (int i = 0; i < 2; i++) {
            assert_null(ct_model_to_rms(model, &(ct_rms_options){i == 0, i == 1, false, false}));
            assert_failed_with(CT_ERROR_UNSUPPORTED, "the model gives what layernorm makes of the stream");
        }
        ct_model_destroy(model);
    }
}

static void steps(ct_model *model, ct_tensor *pixels, bool centre, double *losses) {
    ct_tensor *labels = ct_from_data(context, CT_I32, CT_DIMS(3), (const int32_t[]){3, 1, 0});
    ct_run *run = ct_run_create(context, NULL);
    make_leaves(model);
    if (centre) assert_int_equal(ct_stream_centre(model, run), CT_OK);
    for (int s = 0; s < 20; s++) {
        ct_scope scope = ct_scope_open(context);
        ct_run_reset(run);
        ct_tensor *loss = ct_cross_entropy(ct_model_forward(model, run, pixels), labels, NULL);
        losses[s] = item(loss);
        ct_backward(loss, NULL, CT_GRAD_DEFAULT);
        for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
            ct_tensor *weight = ct_model_parameter(model, i)->tensor;
            ct_add_into(weight, ct_gradient(weight), -0.02);
            ct_gradient_set(weight, NULL);
        }
        ct_scope_close(context, scope);
    }
    ct_run_reset(run);
    ct_run_destroy(run);
    assert_ok();
}

static void test_training(void **state) {
    (void)state;
    ct_model *model = golden_load("vit", "classifier");
    ct_tensor *pixels = golden_tensor("vit", "classifier", "pixels");
    ct_model_cast(model, CT_F64);
    ct_model *rms = ct_model_to_rms(model, &(ct_rms_options){false, false, false, false});
    double expected[20], found[20];
    steps(model, pixels, false, expected);
    steps(rms, pixels, true, found);
    assert_true(expected[19] < 0.9 * expected[0]);
    for (int s = 0; s < 20; s++)
        assert_near(found[s], expected[s], 1e-9);
    ct_model_destroy(rms);
    ct_model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_equal), reach_test(test_epsilon),
                                       reach_test(test_centred), reach_test(test_hidden),
                                       reach_test(test_training)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
