/* test_to_rms.c - rewriting a trained GPT-2 from LayerNorm to RMSNorm and CRMSNorm: equal logits in f32 and
 * f64, what the rewritten weights look like, equal training, saving, refusals. */
#include "model/centred.h"
#include <carat/norm.h>

enum { VOCABULARY = 17, WIDTH = 32, TIME = 12, ROWS = 4 };

static ct_model *gpt(const char *more, uint64_t seed) {
    char text[500];
    snprintf(text, sizeof(text),
             "{\"model_type\":\"gpt2\",\"vocab_size\":17,\"n_positions\":24,\"n_embd\":32,\"n_layer\":3,\"n_"
             "head\":4,"
             "\"resid_pdrop\":0,\"embd_pdrop\":0,\"attn_pdrop\":0,\"initializer_range\":0.1%s}",
             more);
    return model_from(text, seed);
}

static ct_tensor *ids(int step) {
    ct_random random = ct_random_make(3, (uint64_t)step);
    return ct_random_integer_tensor(context, CT_I32, CT_DIMS(ROWS, TIME), 0, VOCABULARY, &random);
}

static ct_tensor *logits(ct_model *model) {
    ct_run *run = ct_run_create(context, NULL);
    bool before = ct_grad_mode_set(context, false);
    ct_tensor *result = ct_model_forward(model, run, ids(99));
    ct_grad_mode_set(context, before);
    ct_run_destroy(run);
    assert_ok();
    return result;
}

/* How the stream is kept centred. */
enum { NOT, ACTIVATIONS, WEIGHTS };

/* Steps of SGD on next-token loss; the losses. */
static void sgd(ct_model *model, int steps, double rate, int centre, double *losses) {
    ct_run *run = ct_run_create(context, NULL);
    make_leaves(model);
    if (centre == ACTIVATIONS) assert_int_equal(ct_stream_centre(model, run), CT_OK);
    for (int s = 0; s < steps; s++) {
        ct_scope scope = ct_scope_open(context);
        ct_run_reset(run);
        ct_tensor *text = ids(s), *out = ct_model_forward(model, run, text);
        ct_tensor *from =
            ct_reshape(ct_slice(out, 1, 0, TIME - 1, 1), CT_DIMS(ROWS * (TIME - 1), VOCABULARY));
        ct_tensor *to = ct_reshape(ct_contiguous(ct_slice(text, 1, 1, TIME, 1)), CT_DIMS(ROWS * (TIME - 1)));
        ct_tensor *loss = ct_cross_entropy(from, to, NULL);
        ct_backward(loss, NULL, CT_GRAD_DEFAULT);
        if (losses) losses[s] = item(loss);
        for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
            ct_tensor *weight = ct_model_parameter(model, i)->tensor;
            if (!ct_gradient(weight)) continue;
            ct_add_into(weight, ct_gradient(weight), -rate);
            ct_gradient_set(weight, NULL);
        }
        if (centre == WEIGHTS) assert_int_equal(ct_stream_centre_weights(model), CT_OK);
        ct_scope_close(context, scope);
    }
    ct_run_reset(run);
    ct_run_destroy(run);
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++)
        ct_require_grad(ct_model_parameter(model, i)->tensor, false);
    assert_ok();
}

/* Trained, with gains and biases that are not what they started as. */
static ct_model *trained(const char *more) {
    ct_model *model = gpt(more, 5);
    ct_random random = ct_random_make(8, 8);
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_parameter *p = ct_model_parameter(model, i);
        if (p->no_decay) ct_perturb(p->tensor, 0.3, &random);
    }
    sgd(model, 10, 0.1, NOT, NULL);
    return model;
}

static double relative(ct_model *a, ct_model *b) {
    ct_tensor *x = logits(a);
    return worst_difference(x, logits(b)) / item(ct_max(ct_abs(x), 0, NULL, false));
}

static void test_equal(void **state) {
    (void)state;
    ct_model *model = trained("");
    const ct_rms_options cases[] = {{false, false, true, false},
                                    {false, true, true, false},
                                    {true, false, true, false},
                                    {true, false, true, true}};
    static const char *const names[] = {"rmsnorm", "rmsnorm", "crmsnorm", "crmsnorm"};
    for (int wide = 0; wide < 2; wide++) {
        if (wide) ct_model_cast(model, CT_F64);
        for (int i = 0; i < 4; i++) {
            ct_model *rms = ct_model_to_rms(model, &cases[i]);
            assert_ok();
            assert_int_equal(ct_dim(ct_model_find(rms, "wte.weight")->tensor, 1), i == 3 ? WIDTH - 1 : WIDTH);
            assert_int_equal(ct_dim(ct_model_find(rms, "h.0.mlp.c_proj.weight")->tensor, 0), 4 * WIDTH);
            ct_module *norm = ct_module_find(ct_model_root(rms), "h.1.ln_2");
            assert_string_equal(ct_norm_method_of(norm)->method.name, names[i]);
            assert_int_equal(ct_module_slot_count(norm), i == 0 ? 2 : 0);
            assert_true(relative(model, rms) < (wide ? 1e-10 : 1e-4));
            ct_model_destroy(rms);
        }
    }
    ct_model_destroy(model);
}

/* Columns of writers and rows of tables sum to 0; so does the stream. Twice is once. */
static void test_centred(void **state) {
    (void)state;
    ct_model *model = trained("");
    const ct_rms_options plain = {false, false, true};
    ct_model *rms = ct_model_to_rms(model, &plain), *again = ct_model_to_rms(rms, &plain);
    assert_ok();
    assert_true(largest_mean(ct_model_find(model, "wte.weight")->tensor, 1) > 1e-3);
    assert_true(largest_mean(ct_model_find(rms, "wte.weight")->tensor, 1) < 1e-8);
    assert_true(largest_mean(ct_model_find(rms, "h.1.mlp.c_proj.weight")->tensor, 1) < 1e-8);
    assert_true(largest_mean(ct_model_find(rms, "h.1.attn.c_proj.bias")->tensor, 0) < 1e-8);
    for (int64_t i = 0; i < ct_model_parameter_count(rms); i++)
        assert_true(worst_difference(ct_model_parameter(rms, i)->tensor,
                                     ct_model_parameter(again, i)->tensor) < 1e-7);
    double worst = 0;
    ct_run *run = ct_run_create(context, NULL);
    ct_run_add_tap(run, "h.*.output", stream_mean, &worst);
    ct_model_forward(rms, run, ids(99));
    ct_run_destroy(run);
    assert_true(worst < 1e-6);
    /* One number added to a whole row of an embedding, or to a bias of a writer, is gone. */
    ct_tensor *row = ct_slice(ct_model_find(model, "wpe.weight")->tensor, 0, 3, 4, 1);
    ct_tensor *bias = ct_model_find(model, "h.0.mlp.c_proj.bias")->tensor;
    ct_tensor *ones = ct_ones_like(bias);
    ct_add_into(ct_view_strided(row, 1, ct_shape(bias), (const int64_t[]){1}, 0), ones, 0.5);
    ct_add_into(bias, ones, 1);
    ct_model *shifted = ct_model_to_rms(model, &plain);
    for (int64_t i = 0; i < ct_model_parameter_count(rms); i++)
        assert_true(worst_difference(ct_model_parameter(rms, i)->tensor,
                                     ct_model_parameter(shifted, i)->tensor) < 1e-6);
    ct_model *all[] = {model, rms, again, shifted};
    for (int i = 0; i < 4; i++)
        ct_model_destroy(all[i]);
}

/* 20 steps of SGD from rewritten weights with a centred stream, either way, have the losses of the model with
 * LayerNorm. With centred weights these are then those of that model, projected. */
static void test_training(void **state) {
    (void)state;
    const double tolerance[] = {1e-4, 1e-9};
    for (int wide = 0; wide < 2; wide++) {
        ct_model *model = trained(",\"tie_word_embeddings\":false");
        if (wide) ct_model_cast(model, CT_F64);
        ct_model *rms = ct_model_to_rms(model, &(ct_rms_options){false, false, false});
        ct_model *loose = ct_model_to_rms(model, &(ct_rms_options){false, false, false});
        ct_model *held = ct_model_to_rms(model, &(ct_rms_options){false, false, false, false});
        double expected[20], found[20], weights[20], other[20], drift = 0;
        sgd(model, 20, 0.1, NOT, expected);
        sgd(rms, 20, 0.1, ACTIVATIONS, found);
        sgd(held, 20, 0.1, WEIGHTS, weights);
        sgd(loose, 20, 0.1, NOT, other);
        ct_model *after = ct_model_to_rms(model, &(ct_rms_options){false, false, false, false});
        for (int64_t i = 0; i < ct_model_parameter_count(held); i++)
            assert_true(worst_difference(ct_model_parameter(held, i)->tensor,
                                         ct_model_parameter(after, i)->tensor) < tolerance[wide]);
        for (int s = 0; s < 20; s++) {
            assert_near(found[s], expected[s], tolerance[wide]);
            assert_near(weights[s], expected[s], tolerance[wide]);
            drift = fmax(drift, fabs(other[s] - expected[s]));
        }
        assert_true(drift > 10 * tolerance[wide]); /* without centring it is another training */
        ct_model *all[] = {model, rms, loose, held, after};
        for (int i = 0; i < 5; i++)
            ct_model_destroy(all[i]);
    }
    ct_model *plain = gpt("", 1);
    ct_run *run = ct_run_create(context, NULL);
    ct_stream_centre(plain, run);
    assert_true(ct_failed(context) &&
                strstr(ct_context_message(context), "\"layernorm\": a stream is kept centred"));
    ct_context_clear(context);
    ct_run_destroy(run);
    ct_model_destroy(plain);
}

static void test_saved(void **state) {
    (void)state;
    char folder[] = "/tmp/carat-rms-XXXXXX";
    assert_non_null(mkdtemp(folder));
    ct_model *model = trained("");
    for (int i = 0; i < 3; i++) {
        ct_model *rms = ct_model_to_rms(model, &(ct_rms_options){i > 0, true, true, i > 1});
        assert_int_equal(ct_model_save(rms, folder, CT_DTYPES), CT_OK);
        ct_model *again = ct_model_load(context, folder, CT_F32);
        assert_ok();
        assert_same_bits(logits(rms), logits(again));
        ct_model_destroy(rms);
        ct_model_destroy(again);
    }
    ct_model_destroy(model);
    ct_folder_remove(context, folder);
}

static void refused(ct_model *model, bool untie, const char *words) {
    assert_null(ct_model_to_rms(model, &(ct_rms_options){false, false, untie}));
    assert_true(ct_failed(context));
    if (!strstr(ct_context_message(context), words))
        fail_msg("\"%s\" not in \"%s\"", words, ct_context_message(context));
    ct_context_clear(context);
    ct_model_destroy(model);
}

static void test_refusals(void **state) {
    (void)state;
    refused(gpt(",\"norm\":{\"place\":\"post\"}", 1), true, "normalises after the residual sum");
    refused(gpt(",\"norm\":{\"place\":\"mix\",\"alpha\":0.4}", 1), true, "block \"h.0\"");
    refused(
        model_from(
            "{\"model_type\":\"bert\",\"hidden_size\":8,\"num_attention_heads\":2,\"num_hidden_layers\":1}",
            1),
        true, "normalises after the residual sum (block \"encoder.layer.0\"); the rewrite needs pre-norm");
    refused(gpt("", 1), false, "the head is tied");
    refused(gpt(",\"norm\":\"powernorm\"", 1), true,
            "h.0.ln_1 is \"powernorm\"; the rewrite needs layernorm");
    refused(gpt(",\"norm\":\"rmsnorm\"", 1), true, "its stream is not centred");
    refused(model_from("{\"model_type\":\"mlp\",\"sizes\":[3,2]}", 1), true, "no residual stream");
    ct_model *changed = gpt("", 1);
    ct_module *mlp = ct_module_find(ct_model_root(changed), "h.1.mlp");
    const char options[] = "{\"in\":32,\"out\":32}";
    ct_value *map = ct_json_parse(context, options, strlen(options), "options");
    ct_module_replace(mlp, ct_module_create(context, ct_module_kind_find(context, "linear"), "", map));
    ct_value_free(map);
    ct_model_sync(changed, 1);
    assert_ok();
    refused(changed, true, "the raw stream may be read by \"h.1.mlp\" (linear)");
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_equal), reach_test(test_centred),
                                       reach_test(test_training), reach_test(test_saved),
                                       reach_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
