/* test_gpt2.c - GPT-2 against a second implementation in f64 loops, its sizes, gradients, recomputation, tied
 * weights, bf16, batches, and input that does not fit. */
#include "model/check.h"
#include "model/naive_gpt2.h"

/* ------------------------------------------------------------------------------------------- numbers */

static void compare_with_naive(const char *json, const naive_gpt2 *g, int64_t time) {
    enum { BATCH = 3 };
    ct_model *model = stirred(json);
    ct_tensor *ids = random_ids(5, BATCH, time, g->vocabulary);
    double *in_f32 = values(forward(model, NULL, ids)), most = 0;
    ct_model_cast(model, CT_F64);
    double *in_f64 = values(forward(model, NULL, ids));
    for (int b = 0; b < BATCH; b++) {
        int64_t count = time * g->vocabulary;
        double *expected = naive_gpt2_forward(g, model, (const int32_t *)ct_data(ids) + b * time, time);
        for (int64_t i = 0; i < count; i++) {
            assert_near(in_f64[b * count + i], expected[i], 1e-11);
            assert_near(in_f32[b * count + i], expected[i], 1e-4);
            most = fmax(most, fabs(expected[i]));
        }
        free(expected);
    }
    assert_true(most > 0.3);
    free(in_f32);
    free(in_f64);
    ct_model_destroy(model);
}

static void test_against_naive(void **state) {
    (void)state;
    compare_with_naive(
        "{\"model_type\":\"gpt2\",\"vocab_size\":23,\"n_positions\":12,\"n_embd\":24,\"n_layer\":3,"
        "\"n_head\":4}",
        &(naive_gpt2){23, 24, 3, 4, 96, NAIVE_GELU_NEW, 1e-5, false, false}, 12);
    compare_with_naive(
        "{\"model_type\":\"gpt2\",\"vocab_size\":11,\"n_positions\":40,\"n_embd\":10,\"n_layer\":1,"
        "\"n_head\":1,\"n_inner\":7,\"activation_function\":\"gelu\",\"tie_word_embeddings\":false,"
        "\"layer_norm_epsilon\":0.1}",
        &(naive_gpt2){11, 10, 1, 1, 7, NAIVE_GELU, 0.1, false, false}, 33);
    compare_with_naive(
        "{\"model_type\":\"gpt2\",\"vocab_size\":5,\"n_positions\":3,\"n_embd\":6,\"n_layer\":2,"
        "\"n_head\":3,\"activation_function\":\"relu\",\"scale_attn_weights\":false}",
        &(naive_gpt2){5, 6, 2, 3, 24, NAIVE_RELU, 1e-5, true, false}, 3);
    compare_with_naive(
        "{\"model_type\":\"gpt2\",\"vocab_size\":9,\"n_positions\":8,\"n_embd\":8,\"n_layer\":2,"
        "\"n_head\":2,\"activation_function\":\"silu\"}",
        &(naive_gpt2){9, 8, 2, 2, 32, NAIVE_SILU, 1e-5, false, false}, 7);
}

/* bf16 has 8 bits of mantissa: the logits agree to a few percent of their size, and are bf16. */
static void test_bf16(void **state) {
    (void)state;
    ct_model *model =
        stirred("{\"model_type\":\"gpt2\",\"vocab_size\":23,\"n_positions\":12,\"n_embd\":32,\"n_layer\":2,"
                "\"n_head\":4}");
    ct_tensor *ids = random_ids(5, 2, 12, 23), *exact = forward(model, NULL, ids);
    ct_tensor *rounded = forward(model, &(ct_run_options){.compute = CT_BF16}, ids);
    assert_ok();
    assert_int_equal(ct_dtype_of(rounded), CT_BF16);
    double size = sqrt(item(ct_mean_all(ct_square(exact)))), difference = worst_difference(exact, rounded);
    assert_true(difference < 0.1 * size && difference > 1e-5 * size);
    ct_model_destroy(model);
}

static void test_sizes(void **state) {
    (void)state;
    /* (65 + 256) 384 + 6 (12 384^2 + 13 384) + 2 384, and 65 384 more for a head of its own */
    ct_model *bench =
        model_from("{\"model_type\":\"gpt2\",\"vocab_size\":65,\"n_positions\":256,\"n_embd\":384,"
                   "\"n_layer\":6,\"n_head\":6}",
                   1);
    assert_int_equal(ct_model_elements(bench, false), 10770816);
    ct_model_destroy(bench);
    bench = model_from("{\"model_type\":\"gpt2\",\"vocab_size\":65,\"n_positions\":256,\"n_embd\":384,"
                       "\"n_layer\":6,\"n_head\":6,\"tie_word_embeddings\":false}",
                       1);
    assert_int_equal(ct_model_elements(bench, false), 10795776);
    ct_model_destroy(bench);
    ct_context_set_device(context, CT_META); /* GPT-2 small, without its 498 MB */
    ct_value *config = ct_json_parse(context, "{\"model_type\":\"gpt2\"}", 21, NULL);
    ct_model *small = ct_model_create(context, config);
    assert_ok();
    assert_int_equal(ct_model_elements(small, false), 124439808);
    assert_int_equal(ct_model_elements(small, true), 124439808);
    assert_int_equal(ct_model_context_length(small), 1024);
    assert_int_equal(ct_model_vocabulary(small), 50257);
    assert_int_equal(ct_model_layers(small), 12);
    assert_int_equal(ct_model_parameter_count(small), 2 + 12 * 12 + 2);
    ct_value_free(config);
    ct_model_destroy(small);
    ct_context_set_device(context, CT_CPU);
}

static double loss_value(ct_model *model, ct_tensor *ids, ct_tensor *targets) {
    ct_scope scope = ct_scope_open(context);
    double loss = item(ct_cross_entropy(forward(model, NULL, ids), targets, NULL));
    ct_scope_close(context, scope);
    return loss;
}

/* Central differences of the loss in f64 on a few entries of every parameter, the tied one too. */
static void test_gradients(void **state) {
    (void)state;
    ct_model *model =
        stirred("{\"model_type\":\"gpt2\",\"vocab_size\":7,\"n_positions\":6,\"n_embd\":8,\"n_layer\":2,"
                "\"n_head\":2}");
    ct_model_cast(model, CT_F64);
    make_leaves(model);
    ct_tensor *ids = random_ids(1, 2, 5, 7), *targets = random_ids(2, 2, 5, 7);
    ct_backward(ct_cross_entropy(forward(model, NULL, ids), targets, NULL), NULL, CT_GRAD_DEFAULT);
    assert_ok();
    ct_grad_mode_set(context, false);
    for (int64_t p = 0; p < ct_model_parameter_count(model); p++) {
        ct_tensor *leaf = ct_model_parameter(model, p)->tensor;
        double *gradient = values(ct_gradient(leaf)), *data = ct_data_mutable(leaf), sum = 0;
        for (int64_t i = 0; i < ct_count(leaf); i++)
            sum += fabs(gradient[i]);
        assert_true(sum > 1e-4);
        for (int64_t i = p % 3; i < ct_count(leaf); i += 1 + ct_count(leaf) / 4) {
            double present = data[i];
            data[i] = present + 1e-5;
            double above = loss_value(model, ids, targets);
            data[i] = present - 1e-5;
            double below = loss_value(model, ids, targets);
            data[i] = present;
            assert_near(gradient[i], (above - below) / 2e-5, 1e-8);
        }
        free(gradient);
    }
    ct_model_destroy(model);
}

/* --------------------------------------------------------------------------------- recomputation, batches */

/* Gradients of all parameters as one list of held tensors. */
static void gradients_of(ct_model *model, int64_t every, ct_tensor **gradients) {
    ct_random random = ct_random_make(8, 8);
    ct_run *run = ct_run_create(
        context, &(ct_run_options){.training = true, .checkpoint_every = every, .random = &random});
    ct_scope scope = ct_scope_open(context);
    ct_run_set_rows(run, 3, 0);
    ct_tensor *logits = ct_model_forward(model, run, random_ids(1, 2, 8, 20));
    ct_backward(ct_cross_entropy(logits, random_ids(2, 2, 8, 20), NULL), NULL, CT_GRAD_DEFAULT);
    assert_ok();
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_tensor *leaf = ct_model_parameter(model, i)->tensor;
        gradients[i] = ct_hold(ct_gradient(leaf));
        ct_gradient_set(leaf, NULL);
    }
    ct_scope_close(context, scope);
    ct_run_destroy(run);
}

/* With dropout everywhere: blocks of 1, 2, 3 and more layers computed again give the same bits. */
static void test_checkpointed_backward(void **state) {
    (void)state;
    ct_model *model =
        stirred("{\"model_type\":\"gpt2\",\"vocab_size\":20,\"n_positions\":8,\"n_embd\":16,\"n_layer\":5,"
                "\"n_head\":2,\"resid_pdrop\":0.2,\"embd_pdrop\":0.2,\"attn_pdrop\":0.2}");
    make_leaves(model);
    ct_tensor *plain[80], *again[80];
    int64_t count = ct_model_parameter_count(model);
    assert_true(count <= 80);
    gradients_of(model, 0, plain);
    for (int64_t every = 1; every <= 9; every = every * 2 + (every == 1)) {
        gradients_of(model, every, again);
        for (int64_t i = 0; i < count; i++) {
            assert_same_bits(plain[i], again[i]);
            ct_drop(again[i]);
        }
    }
    for (int64_t i = 0; i < count; i++)
        ct_drop(plain[i]);
    ct_model_destroy(model);
}

static size_t recorded_bytes(ct_model *model, int64_t every) {
    ct_run *run = ct_run_create(context, &(ct_run_options){.checkpoint_every = every});
    ct_memory_counts before, after;
    ct_memory_read(context, &before);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *logits = ct_hold(ct_model_forward(model, run, random_ids(1, 4, 32, 20)));
    ct_scope_close(context, scope);
    ct_memory_read(context, &after);
    ct_drop(logits);
    ct_run_destroy(run);
    assert_ok();
    return after.current[CT_MEMORY_ACTIVATIONS] - before.current[CT_MEMORY_ACTIVATIONS];
}

static void test_checkpointing_saves_memory(void **state) {
    (void)state;
    ct_model *model =
        stirred("{\"model_type\":\"gpt2\",\"vocab_size\":20,\"n_positions\":32,\"n_embd\":64,\"n_layer\":8,"
                "\"n_head\":2}");
    make_leaves(model);
    assert_true(recorded_bytes(model, 1) < recorded_bytes(model, 0) / 4);
    assert_true(recorded_bytes(model, 4) < recorded_bytes(model, 1));
    ct_model_destroy(model);
}

/* A row has the same bits alone, in a batch, and as the beginning of a longer text; the last logits alone
 * too. */
static void test_rows_and_prefixes(void **state) {
    (void)state;
    ct_model *model =
        stirred("{\"model_type\":\"gpt2\",\"vocab_size\":20,\"n_positions\":70,\"n_embd\":48,\"n_layer\":2,"
                "\"n_head\":3}");
    ct_tensor *ids = random_ids(4, 9, 67, 20), *logits = forward(model, NULL, ids);
    for (int64_t row = 0; row < 9; row += 4) {
        ct_tensor *alone = ct_slice(ids, 0, row, row + 1, 1),
                  *expected = ct_slice(logits, 0, row, row + 1, 1);
        assert_same_bits(forward(model, NULL, alone), expected);
        for (int64_t time = 1; time < 67; time += 13)
            assert_same_bits(forward(model, NULL, ct_slice(alone, 1, 0, time, 1)),
                             ct_slice(expected, 1, 0, time, 1));
    }
    ct_run *run = ct_run_create(context, NULL);
    assert_same_bits(ct_model_forward_last(model, run, ids), ct_slice(logits, 1, 66, 67, 1));
    assert_same_bits(ct_model_forward(model, run, ids), logits); /* and the run is as before */
    ct_run_destroy(run);
    ct_model_destroy(model);
}

static void test_tied_head(void **state) {
    (void)state;
    const char tied[] =
        "{\"model_type\":\"gpt2\",\"vocab_size\":20,\"n_positions\":8,\"n_embd\":16,\"n_layer\":1,"
        "\"n_head\":2}";
    ct_model *model = model_from(tied, 1);
    assert_ptr_equal(ct_model_find(model, "lm_head.weight"), ct_model_find(model, "transformer.wte.weight"));
    assert_ptr_equal(ct_model_find(model, "wte.weight"), ct_model_parameter(model, 0));
    int64_t shared = ct_model_elements(model, false), count = ct_model_parameter_count(model);
    ct_model_destroy(model);
    model =
        model_from("{\"model_type\":\"gpt2\",\"vocab_size\":20,\"n_positions\":8,\"n_embd\":16,\"n_layer\":1,"
                   "\"n_head\":2,\"tie_word_embeddings\":false}",
                   1);
    assert_true(ct_model_find(model, "lm_head.weight") != ct_model_find(model, "wte.weight"));
    assert_int_equal(ct_model_elements(model, false), shared + 20 * 16);
    assert_int_equal(ct_model_parameter_count(model), count + 1);
    ct_model_destroy(model);
}

/* ------------------------------------------------------------------------------------------ bad input */

static void test_bad_configurations(void **state) {
    (void)state;
    config_refused("{\"model_type\":\"gpt2\",\"n_embd\":10,\"n_head\":4}", CT_ERROR_ARGUMENT,
                   "n_embd 10 is not a multiple of n_head 4");
    config_refused("{\"model_type\":\"gtp2\"}", CT_ERROR_UNSUPPORTED, "did you mean \"gpt2\"?");
    config_refused("{\"model_type\":\"\"}", CT_ERROR_UNSUPPORTED, "gpt2, mlp");
    config_refused("{\"n_embd\":10}", CT_ERROR_FORMAT, "model_type");
    config_refused("{\"model_type\":7}", CT_ERROR_FORMAT, "model_type");
    config_refused("[]", CT_ERROR_FORMAT, "model_type");
    config_refused("{\"model_type\":\"gpt2\",\"n_layer\":0}", CT_ERROR_ARGUMENT, "config.n_layer");
    config_refused("{\"model_type\":\"gpt2\",\"n_head\":\"many\"}", CT_ERROR_ARGUMENT, "config.n_head");
    config_refused("{\"model_type\":\"gpt2\",\"activation_function\":\"gelu_nwe\"}", CT_ERROR_ARGUMENT,
                   "gelu_new");
    config_refused("{\"model_type\":\"gpt2\",\"resid_pdrop\":1.5}", CT_ERROR_ARGUMENT, "config.resid_pdrop");
}

/* Trees that a hostile file may hold: a message, not a crash. */
static void hostile_tree(const char *tree, const char *words) {
    char json[1024];
    snprintf(json, sizeof(json),
             "{\"model_type\":\"gpt2\",\"vocab_size\":9,\"n_positions\":4,\"n_embd\":8,\"n_layer\":1,"
             "\"n_head\":2,\"carat\":{\"tree\":%s}}",
             tree);
    ct_value *config = ct_json_parse(context, json, strlen(json), "config.json");
    assert_ok();
    ct_model *model = ct_model_create(context, config);
    ct_value_free(config);
    if (model) {
        ct_model_initialize(model, 1);
        assert_ok();
        forward(model, NULL, random_ids(1, 1, 3, 9));
    }
    assert_true(ct_failed(context));
    if (!strstr(ct_context_message(context), words)) fail_msg("%s", ct_context_message(context));
    ct_context_clear(context);
    ct_model_destroy(model);
}

static void test_hostile_trees(void **state) {
    (void)state;
    hostile_tree("{\"kind\":\"gpt2\",\"name\":\"\"}", "0 children, expected 5");
    hostile_tree("{\"kind\":\"gpt2.attention\",\"name\":\"\",\"options\":{\"width\":8,\"heads\":3}}",
                 "not a multiple");
    hostile_tree("{\"kind\":\"linear\",\"name\":\"\",\"options\":{\"in\":8,\"out\":8}}", "linear");
    hostile_tree("{\"kind\":\"linear\",\"name\":\"\",\"options\":{\"tied_to\":\"nowhere.weight\"}}",
                 "nowhere.weight");
    hostile_tree("{\"kind\":\"linear\",\"name\":\"\",\"options\":{\"tied_to\":\"weight\"}}", "weight");
    hostile_tree("17", "kind");
}

static void test_bad_input(void **state) {
    (void)state;
    ct_model *model =
        model_from("{\"model_type\":\"gpt2\",\"vocab_size\":20,\"n_positions\":8,\"n_embd\":16,\"n_layer\":1,"
                   "\"n_head\":2}",
                   1);
    forward(model, NULL, random_ids(1, 1, 9, 20));
    assert_failed_with(CT_ERROR_ARGUMENT, "9 positions, the model has 8");
    forward(model, NULL, ct_zeros(context, CT_I32, CT_DIMS(4)));
    assert_failed_with(CT_ERROR_SHAPE, "i32[4], expected ids [batch, time]");
    forward(model, NULL, ct_full(context, CT_I32, CT_DIMS(1, 2), 20));
    assert_true(ct_failed(context) && strstr(ct_context_message(context), "20"));
    ct_context_clear(context);
    forward(model, NULL, ct_full(context, CT_I32, CT_DIMS(1, 2), -1));
    assert_true(ct_failed(context) && strstr(ct_context_message(context), "-1"));
    ct_context_clear(context);
    forward(model, NULL, ct_zeros(context, CT_F32, CT_DIMS(1, 2)));
    assert_true(ct_failed(context));
    ct_context_clear(context);
    ct_model_destroy(model);
}

/* Each allocation of one training step with recomputation fails once: an error each time, and nothing is
 * left. */
static void test_allocation_failure(void **state) {
    (void)state;
    ct_model *model =
        stirred("{\"model_type\":\"gpt2\",\"vocab_size\":9,\"n_positions\":4,\"n_embd\":8,\"n_layer\":2,"
                "\"n_head\":2,\"attn_pdrop\":0}");
    make_leaves(model);
    ct_tensor *ids = random_ids(1, 2, 4, 9);
    ct_memory_counts before, after;
    for (int every = 0; every < 2; every++) {
        int64_t failed = 0;
        for (int64_t n = 0;; n++) { /* the first round fails nothing: what is made once is made */
            ct_run *run =
                ct_run_create(context, &(ct_run_options){.training = true, .checkpoint_every = every});
            ct_scope scope = ct_scope_open(context);
            ct_memory_fail_at(context, n);
            ct_tensor *loss = ct_cross_entropy(ct_model_forward(model, run, ids), ids, NULL);
            ct_backward(loss, NULL, CT_GRAD_DEFAULT);
            ct_memory_fail_at(context, 0);
            ct_scope_close(context, scope);
            ct_run_destroy(run);
            bool was = ct_failed(context);
            if (was) assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
            ct_context_clear(context);
            for (int64_t i = 0; i < ct_model_parameter_count(model); i++)
                ct_gradient_set(ct_model_parameter(model, i)->tensor, NULL);
            ct_memory_read(context, &after);
            if (n == 0) before = after;
            for (int c = CT_MEMORY_WEIGHTS; c <= CT_MEMORY_ACTIVATIONS; c++)
                assert_true(after.current[c] == before.current[c]);
            if (n > 0 && !was) break;
            failed += was;
        }
        assert_true(failed > 100);
    }
    ct_model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_against_naive),
        reach_test(test_bf16),
        reach_test(test_sizes),
        reach_test(test_gradients),
        reach_test(test_checkpointed_backward),
        reach_test(test_checkpointing_saves_memory),
        reach_test(test_rows_and_prefixes),
        reach_test(test_tied_head),
        reach_test(test_bad_configurations),
        reach_test(test_hostile_trees),
        reach_test(test_bad_input),
        reach_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
