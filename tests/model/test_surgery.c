/* test_surgery.c - changing a model's tree: layers removed, modules replaced, parameters renamed, dropped and
 * made; the changed model is saved and loaded again, trained, and run with overlays on tied weights. */
#include "model/check.h"

static const char gpt2_text[] =
    "{\"model_type\":\"gpt2\",\"vocab_size\":13,\"n_positions\":8,\"n_embd\":16,\"n_layer\":4,"
    "\"n_head\":2,\"initializer_range\":0.2}";

static ct_tensor *sample_ids(void) {
    ct_random random = ct_random_make(5, 1);
    return ct_random_integer_tensor(context, CT_I32, CT_DIMS(2, 8), 0, 13, &random);
}

static ct_tensor *output_of(ct_model *model, ct_tensor *input) {
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *output = ct_model_forward(model, run, input);
    ct_run_destroy(run);
    assert_ok();
    return output;
}

/* What a model computes is the same after saving and loading. */
static void assert_survives_saving(ct_model *model, ct_tensor *input) {
    char folder[] = "/tmp/carat-test-surgery-XXXXXX";
    assert_non_null(mkdtemp(folder));
    ct_model_save(model, folder, CT_DTYPES);
    ct_model *again = ct_model_load(context, folder, CT_DTYPES);
    assert_ok();
    assert_int_equal(ct_model_parameter_count(again), ct_model_parameter_count(model));
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        assert_string_equal(ct_model_parameter(again, i)->name, ct_model_parameter(model, i)->name);
        assert_same_bits(ct_model_parameter(again, i)->tensor, ct_model_parameter(model, i)->tensor);
    }
    assert_int_equal(ct_model_layers(again), ct_model_layers(model));
    assert_same_bits(output_of(again, input), output_of(model, input));
    ct_value *tree = ct_module_to_value(ct_model_root(model)),
             *tree_again = ct_module_to_value(ct_model_root(again));
    assert_true(ct_value_equal(tree, tree_again));
    ct_value_free(tree);
    ct_value_free(tree_again);
    ct_model_destroy(again);
    ct_folder_remove(context, folder);
}

/* Layer 1 of four goes: 2 and 3 become 1 and 2 with their weights, everything else stays. */
static void test_remove_layer(void **state) {
    (void)state;
    ct_model *model = model_from(gpt2_text, 3);
    int64_t before = ct_model_elements(model, false);
    ct_tensor *second = ct_model_find(model, "h.2.mlp.c_fc.weight")->tensor;
    ct_tensor *third = ct_model_find(model, "h.3.mlp.c_fc.weight")->tensor;
    ct_tensor *copy = ct_clone(second);
    ct_parameter *embedding = ct_model_find(model, "wte.weight");
    ct_module_remove(ct_module_find(ct_model_root(model), "h.1"));
    assert_int_equal(ct_model_sync(model, 9), CT_OK);
    assert_int_equal(ct_model_elements(model, false), before - (12 * 16 * 16 + 13 * 16));
    assert_int_equal(ct_model_parameter_count(model), 2 + 3 * 12 + 2);
    assert_int_equal(ct_model_layers(model), 3);
    assert_ptr_equal(ct_model_find(model, "h.1.mlp.c_fc.weight")->tensor, second);
    assert_ptr_equal(ct_model_find(model, "transformer.h.2.mlp.c_fc.weight")->tensor, third);
    assert_same_bits(second, copy);
    assert_null(ct_model_find(model, "h.3.mlp.c_fc.weight"));
    assert_ptr_equal(ct_model_find(model, "lm_head.weight"), embedding); /* still tied */
    assert_survives_saving(model, sample_ids());
    ct_model_destroy(model);
}

/* One perceptron is replaced by a narrower one: new weights, in its place in the order of the tree. */
static void test_replace_perceptron(void **state) {
    (void)state;
    ct_model *model = model_from(gpt2_text, 3);
    ct_tensor *kept = ct_clone(ct_model_find(model, "h.2.attn.c_attn.weight")->tensor);
    const char text[] = "{\"width\":16,\"inner\":5,\"activation\":\"relu\"}";
    ct_value *options = ct_json_parse(context, text, strlen(text), NULL);
    ct_module *narrow = ct_module_create(context, ct_module_kind_find(context, "gpt2.mlp"), "", options);
    ct_module_replace(ct_module_find(ct_model_root(model), "h.2.mlp"), narrow);
    assert_int_equal(ct_model_sync(model, 9), CT_OK);
    ct_parameter *weight = ct_model_find(model, "h.2.mlp.c_fc.weight");
    assert_int_equal(ct_count(weight->tensor), 16 * 5);
    assert_string_equal(weight->name, "transformer.h.2.mlp.c_fc.weight");
    double *numbers = values(weight->tensor), most = 0;
    for (int i = 0; i < 80; i++)
        most = fmax(most, fabs(numbers[i]));
    assert_true(most > 0.01 && most < 0.1); /* filled: normal with deviation 0.02 */
    free(numbers);
    assert_same_bits(ct_model_find(model, "h.2.attn.c_attn.weight")->tensor, kept);
    int64_t at = 0;
    while (ct_model_parameter(model, at) != weight)
        at++;
    assert_string_equal(ct_model_parameter(model, at - 1)->name, "transformer.h.2.ln_2.bias");
    assert_string_equal(ct_model_parameter(model, at + 4)->name, "transformer.h.3.ln_1.weight");
    assert_survives_saving(model, sample_ids());
    ct_value_free(options);
    ct_model_destroy(model);
}

/* A linear layer becomes two of rank 2 (sequential), by their product the same function at first. */
static void test_factored_layer(void **state) {
    (void)state;
    ct_model *model = model_from("{\"model_type\":\"mlp\",\"sizes\":[4,6,3]}", 3);
    const char tree[] =
        "{\"kind\":\"sequential\",\"name\":\"\",\"children\":["
        "{\"kind\":\"linear\",\"name\":\"down\",\"options\":{\"in\":4,\"out\":2,\"bias\":false}},"
        "{\"kind\":\"linear\",\"name\":\"up\",\"options\":{\"in\":2,\"out\":6}}]}";
    ct_tensor *random = ct_model_find(model, "0.weight")->tensor, *u, *s, *vh;
    ct_tensor *bias = ct_clone(ct_model_find(model, "0.bias")->tensor);
    ct_svd(random, &u, &s, &vh);
    ct_tensor *down = ct_clone(ct_slice(vh, 0, 0, 2, 1));
    ct_tensor *up = ct_mul(ct_slice(u, 1, 0, 2, 1), ct_slice(s, 0, 0, 2, 1));
    ct_copy_into(random, ct_matmul(up, down)); /* now of rank 2 */
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(5, 4), 0, 1, &(ct_random){.seed = 1});
    ct_tensor *expected = output_of(model, x);
    ct_value *value = ct_json_parse(context, tree, strlen(tree), NULL);
    ct_module_replace(ct_module_find(ct_model_root(model), "0"), ct_module_from_value(context, value));
    assert_int_equal(ct_model_sync(model, 9), CT_OK);
    ct_copy_into(ct_model_find(model, "0.down.weight")->tensor, down);
    ct_copy_into(ct_model_find(model, "0.up.weight")->tensor, up);
    ct_copy_into(ct_model_find(model, "0.up.bias")->tensor, bias);
    assert_true(worst_difference(output_of(model, x), expected) < 1e-5);
    assert_int_equal(ct_model_parameter_count(model), 5);
    assert_survives_saving(model, x);
    ct_value_free(value);
    ct_model_destroy(model);
}

/* The head's source disappears: the message names both. */
static void test_lost_tie(void **state) {
    (void)state;
    ct_model *model = model_from(gpt2_text, 3);
    ct_module_replace(ct_module_find(ct_model_root(model), "wte"),
                      ct_module_create(context, ct_module_kind_find(context, "dropout"), "", NULL));
    assert_true(ct_model_sync(model, 9) != CT_OK);
    assert_failed_with(CT_ERROR_SHAPE, "lm_head.weight is tied to \"wte.weight\", which does not exist");
    ct_model_destroy(model);
    model = model_from(gpt2_text, 3);
    const char text[] = "{\"rows\":14,\"width\":16}";
    ct_value *options = ct_json_parse(context, text, strlen(text), NULL);
    ct_module_replace(ct_module_find(ct_model_root(model), "wte"),
                      ct_module_create(context, ct_module_kind_find(context, "embedding"), "", options));
    assert_true(ct_model_sync(model, 9) != CT_OK);
    assert_failed_with(CT_ERROR_SHAPE, "which has another shape");
    ct_value_free(options);
    ct_model_destroy(model);
}

/* ------------------------------------------------------------------- overlays on weights that are tied */

typedef struct shift {
    const char *path; /* only this module's weight; NULL: every tied one alike */
    double by;
} shift;

static ct_tensor *shifted(void *user, ct_run *run, const ct_slot *slot, ct_tensor *present) {
    (void)run;
    const shift *s = user;
    const char *path = ct_module_path(slot->module);
    bool mine =
        s->path ? strcmp(path, s->path) == 0 : strcmp(path, "wte") == 0 || strcmp(path, "lm_head") == 0;
    return mine ? ct_add_scalar(present, s->by) : present;
}

static void test_resolved_ties(void **state) {
    (void)state;
    ct_model *model = model_from(gpt2_text, 3);
    char folder[] = "/tmp/carat-test-surgery-XXXXXX";
    assert_non_null(mkdtemp(folder));
    ct_run *run = ct_run_create(context, NULL);
    shift both = {NULL, 0.5}, head = {"lm_head", 0.5};
    ct_run_push_overlay(run, &(ct_overlay){shifted, &both});
    assert_int_equal(ct_model_save_resolved(model, run, folder), CT_OK);
    ct_model *plain = ct_model_load(context, folder, CT_DTYPES);
    assert_ok();
    assert_same_bits(output_of(plain, sample_ids()), ct_model_forward(model, run, sample_ids()));
    ct_model_destroy(plain);
    ct_run_pop_overlay(run);
    /* The head alone: one stored weight cannot be both. */
    ct_run_push_overlay(run, &(ct_overlay){shifted, &head});
    assert_true(ct_model_save_resolved(model, run, folder) != CT_OK);
    assert_failed_with(CT_ERROR_UNSUPPORTED, "lm_head.weight is tied to \"transformer.wte.weight\"");
    ct_model_destroy(ct_model_load(context, folder, CT_DTYPES)); /* what was there is untouched */
    assert_ok();
    ct_run_destroy(run);
    ct_folder_remove(context, folder);
    ct_model_destroy(model);
}

/* Recomputed blocks read overlays too: the same bits of all gradients. */
static void test_overlay_with_checkpointing(void **state) {
    (void)state;
    ct_model *model = model_from(gpt2_text, 3);
    make_leaves(model);
    shift both = {"h.1.mlp.c_fc", 0.05};
    ct_tensor *plain[64];
    for (int64_t every = 0; every <= 2; every++) {
        ct_run *run = ct_run_create(context, &(ct_run_options){.checkpoint_every = every});
        ct_run_push_overlay(run, &(ct_overlay){shifted, &both});
        ct_backward(ct_cross_entropy(ct_model_forward(model, run, sample_ids()), sample_ids(), NULL), NULL,
                    0);
        assert_ok();
        for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
            ct_tensor *leaf = ct_model_parameter(model, i)->tensor;
            if (every == 0)
                plain[i] = ct_hold(ct_gradient(leaf));
            else
                assert_same_bits(plain[i], ct_gradient(leaf));
            ct_gradient_set(leaf, NULL);
        }
        ct_run_destroy(run);
    }
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++)
        ct_drop(plain[i]);
    ct_model_destroy(model);
}

/* Every allocation of surgery and sync fails once: an error, and the model can still be destroyed and asked.
 */
static void test_allocation_failure(void **state) {
    (void)state;
    int64_t failed = 0;
    for (int64_t n = 1;; n++) {
        ct_model *model = model_from(gpt2_text, 3);
        ct_memory_fail_at(context, n);
        ct_module_remove(ct_module_find(ct_model_root(model), "h.0"));
        ct_module_replace(ct_module_find(ct_model_root(model), "ln_f"),
                          ct_module_create(context, ct_module_kind_find(context, "rms_norm"), "", NULL));
        ct_model_sync(model, 1);
        ct_memory_fail_at(context, 0);
        bool was = ct_failed(context);
        if (was) assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
        ct_model_find(model, "nothing");
        ct_model_elements(model, false);
        ct_model_destroy(model);
        if (!was) break;
        failed++;
    }
    assert_true(failed > 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_remove_layer),       reach_test(test_replace_perceptron),
        reach_test(test_factored_layer),     reach_test(test_lost_tie),
        reach_test(test_resolved_ties),      reach_test(test_overlay_with_checkpointing),
        reach_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
