/* test_fold_norms.c - models whose norms have running statistics, and the same without norms: logits, saving,
 * refusals, allocation failure. */
#include "reach/reach.h"
#include <carat/norm.h>

#define GPT(rest)                                                                                            \
    "{\"model_type\":\"gpt2\",\"vocab_size\":23,\"n_positions\":12,\"n_layer\":2,\"n_embd\":16,\"n_head\":"  \
    "2" rest "}"
#define VIT(rest)                                                                                            \
    "{\"model_type\":\"vit\",\"image_size\":8,\"patch_size\":4,\"num_channels\":1,\"num_labels\":5,"         \
    "\"hidden_size\":16,"                                                                                    \
    "\"num_hidden_layers\":2,\"num_attention_heads\":2,\"intermediate_size\":24" rest "}"
#define LLAMA(rest)                                                                                          \
    "{\"model_type\":\"llama\",\"vocab_size\":23,\"hidden_size\":16,\"intermediate_size\":24,\"num_hidden_"  \
    "layers\":2,"                                                                                            \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"max_position_embeddings\":12,"                    \
    "\"tie_word_embeddings\":false" rest "}"
#define NORM(name, more) ",\"norm\":{\"name\":\"" name "\"" more "}"

/* Statistics, gains and biases as training leaves them. */
static void disturb(ct_model *model) {
    ct_random random = ct_random_make(6, 6);
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        const ct_parameter *p = ct_model_parameter(model, i);
        if (ct_ndim(p->tensor) != 1 || ct_dtype_of(p->tensor) != CT_F32) continue;
        bool square = strstr(p->name, "running_var") || strstr(p->name, "running_phi");
        ct_tensor *noise = ct_random_normal_tensor(context, CT_F32, 1, ct_shape(p->tensor), 0, 0.4, &random);
        if (square)
            ct_copy_into(p->tensor, ct_add_scalar(ct_square(noise), 0.3));
        else
            ct_add_into(p->tensor, noise, 1);
    }
}

static ct_tensor *input_of(ct_model *model) {
    ct_random random = ct_random_make(2, 2);
    int64_t shape[3];
    if (ct_model_image_shape(model, shape))
        return ct_random_normal_tensor(context, CT_F32, CT_DIMS(3, shape[0], shape[1], shape[2]), 0, 1,
                                       &random);
    if (ct_model_features(model) > 0)
        return ct_random_normal_tensor(context, CT_F32, CT_DIMS(9, ct_model_features(model)), 0, 1, &random);
    return ct_random_integer_tensor(context, CT_I32, CT_DIMS(2, 11), 0, 23, &random);
}

static ct_tensor *logits(ct_model *model) {
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *result = ct_model_forward(model, run, input_of(model));
    ct_run_destroy(run);
    assert_ok();
    return result;
}

static ct_status count_norm(void *user, ct_module *module) {
    const ct_norm_method *method = ct_norm_method_of(module);
    *(int *)user += method && strcmp(method->method.name, "none") != 0;
    return CT_OK;
}

static void same_logits(void **state) {
    (void)state;
    static const char *const models[] = {
        GPT(",\"tie_word_embeddings\":false" NORM("batchnorm", "")),
        GPT(",\"tie_word_embeddings\":false" NORM("powernorm", ",\"groups\":0")),
        GPT(NORM("powernorm", ",\"groups\":0,\"bias\":false")),
        GPT(",\"tie_word_embeddings\":false" NORM("ghostbn", "")),
        VIT(NORM("batchnorm", "")),
        VIT(",\"qkv_bias\":false" NORM("batchnorm", ",\"affine\":false")),
        LLAMA(NORM("powernorm", ",\"groups\":0,\"bias\":false")),
        "{\"model_type\":\"mlp\",\"sizes\":[6,16,12,3],\"norm\":{\"name\":\"batchnorm\"},\"dropout\":0.1}",
        "{\"model_type\":\"mlp\",\"sizes\":[6,16,3],\"bias\":false,\"activation\":\"maxout\",\"norm\":{"
        "\"name\":"
        "\"powernorm\",\"groups\":0}}"};
    char folder[] = "/tmp/carat-fold-XXXXXX";
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        ct_model *model = model_from(models[i], 1);
        disturb(model);
        ct_model *folded = ct_model_fold_norms(model, true);
        if (!folded) fail_msg("%s: %s", models[i], ct_context_message(context));
        int left = 0;
        ct_module_visit(ct_model_root(folded), count_norm, &left);
        assert_int_equal(left, 0);
        double *a = values(logits(model)), *b = values(logits(folded)), most = 0, off = 0;
        for (int64_t k = 0; k < ct_count(logits(model)); k++) {
            most = fmax(most, fabs(a[k]));
            off = fmax(off, fabs(a[k] - b[k]));
        }
        if (!(off <= 4e-6 * most && most > 1e-4)) fail_msg("%s: %g of %g", models[i], off, most);
        free(a);
        free(b);
        assert_int_equal(ct_model_save(folded, folder, CT_DTYPES), CT_OK);
        ct_model *loaded = ct_model_load(context, folder, CT_DTYPES);
        assert_ok();
        assert_same_bits(logits(loaded), logits(folded));
        ct_model_destroy(loaded);
        ct_model_destroy(folded);
        ct_model_destroy(model);
    }
    assert_int_equal(ct_folder_remove(context, folder), CT_OK);
}

/* Queries, keys and values of a vision transformer read one norm: each takes in the same scale and shift. */
static void shared_norm(void **state) {
    (void)state;
    ct_model *model = model_from(VIT(NORM("batchnorm", "")), 1);
    disturb(model);
    ct_model *folded = ct_model_fold_norms(model, false);
    assert_ok();
    ct_tensor *scale, *shift;
    ct_module *norm = ct_module_find(ct_model_root(model), "encoder.layer.1.layernorm_before");
    assert_int_equal(ct_norm_affine_of(norm, &scale, &shift), CT_OK);
    static const char *const readers[] = {"query", "key", "value"};
    for (int i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof(path), "encoder.layer.1.attention.%s", readers[i]);
        ct_module *from = ct_module_find(ct_model_root(model), path),
                  *to = ct_module_find(ct_model_root(folded), path);
        ct_tensor *w = ct_module_slot_named(from, "weight")->parameter->tensor,
                  *b = ct_module_slot_named(from, "bias")->parameter->tensor;
        ct_tensor *expected = ct_mul(w, scale), *bias = ct_add(b, ct_matmul(w, shift));
        ct_tensor *found = ct_module_slot_named(to, "weight")->parameter->tensor,
                  *found_bias = ct_module_slot_named(to, "bias")->parameter->tensor;
        assert_near(item(ct_sum_all(ct_abs(ct_sub(found, expected)))), 0, 1e-5);
        assert_near(item(ct_sum_all(ct_abs(ct_sub(found_bias, bias)))), 0, 1e-5);
    }
    ct_model_destroy(folded);
    ct_model_destroy(model);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *config, *words;
    } cases[] = {
        {GPT(NORM("batchnorm", "")), "the head is tied"},
        {GPT(""), "ln_1 (layernorm) cannot be folded"},
        {GPT(",\"tie_word_embeddings\":false" NORM("powernorm", "")), "train with groups 0"},
        {GPT(",\"tie_word_embeddings\":false,\"norm\":{\"name\":\"batchnorm\",\"place\":\"post\"}"),
         "after the residual sum"},
        {GPT(",\"tie_word_embeddings\":false" NORM("none", "")), "no norm that could be folded"},
        {LLAMA(NORM("batchnorm", "")), "has no bias that could take in what"},
        {VIT(",\"architectures\":[\"ViTModel\"]" NORM("batchnorm", "")), "there is no layer behind it"},
        {"{\"model_type\":\"mlp\",\"sizes\":[6,16,3]}", "no norm that could be folded"},
        {"{\"model_type\":\"mlp\",\"sizes\":[6,16,3],\"norm\":{\"name\":\"layernorm\"}}",
         "1 (layernorm) cannot be folded"},
        {"{\"model_type\":\"mlp\",\"sizes\":[1,1],\"carat\":{\"tree\":{\"kind\":\"sequential\",\"name\":\"\","
         "\"children\":["
         "{\"kind\":\"linear\",\"name\":\"0\",\"options\":{\"in\":3,\"out\":4}},{\"kind\":\"activation\","
         "\"name\":\"1\"},"
         "{\"kind\":\"norm\",\"name\":\"2\",\"options\":{\"norm\":\"batchnorm\",\"width\":4}}]}}}",
         "2 does not stand behind a linear layer"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ct_model *model = model_from(cases[i].config, 1);
        disturb(model);
        assert_null(ct_model_fold_norms(model, false));
        if (!strstr(ct_context_message(context), cases[i].words))
            fail_msg("\"%s\" is not in \"%s\"", cases[i].words, ct_context_message(context));
        ct_context_clear(context);
        ct_model_destroy(model);
    }
}

static void memory(void **state) {
    (void)state;
    static const char *const models[] = {
        VIT(NORM("batchnorm", "")),
        "{\"model_type\":\"mlp\",\"sizes\":[4,5,3],\"norm\":{\"name\":\"batchnorm\"}}"};
    for (int i = 0; i < 2; i++) {
        ct_model *model = model_from(models[i], 1), *folded = NULL;
        for (int64_t n = 1; !folded; n++) {
            ct_memory_fail_at(context, n);
            folded = ct_model_fold_norms(model, false);
            ct_memory_fail_at(context, 0);
            if (!folded) assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
            ct_context_clear(context);
            assert_true(n < 20000);
        }
        ct_model_destroy(folded);
        ct_model_destroy(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(same_logits), reach_test(shared_norm), reach_test(refused),
                                       reach_test(memory)};
    return cmocka_run_group_tests_name("fold_norms", tests, NULL, NULL);
}
