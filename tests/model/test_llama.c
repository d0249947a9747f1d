/* test_llama.c - the Llama family: sizes of known networks, gradients, recomputation, what null keys mean,
 * norms in other places, what is refused, loading of files that do not fit. */
#include "model/check.h"
#include <stdio.h>

static ct_model *create(const char *json) {
    ct_value *config = ct_json_parse(context, json, strlen(json), "config.json");
    assert_ok();
    ct_model *model = ct_model_create(context, config);
    ct_value_free(config);
    return model;
}

#define SMALL                                                                                                \
    "\"vocab_size\":7,\"hidden_size\":8,\"intermediate_size\":6,\"num_hidden_layers\":2,\"num_attention_"    \
    "heads\":4,"                                                                                             \
    "\"num_key_value_heads\":2,\"max_position_embeddings\":32"
static const char *const small_models[] = {
    "{\"model_type\":\"llama\"," SMALL ",\"attention_bias\":true,\"mlp_bias\":true}",
    "{\"model_type\":\"mistral\"," SMALL ",\"sliding_window\":2,\"tie_word_embeddings\":true}",
    "{\"model_type\":\"qwen2\"," SMALL
    ",\"use_sliding_window\":true,\"sliding_window\":2,\"max_window_layers\":1}",
    "{\"model_type\":\"qwen3\"," SMALL ",\"head_dim\":4}",
    "{\"model_type\":\"gemma2\"," SMALL ",\"head_dim\":4,\"sliding_window\":2,\"attn_logit_softcapping\":0.7,"
    "\"final_logit_softcapping\":1.5,\"query_pre_attn_scalar\":2}"};
enum { MODELS = sizeof(small_models) / sizeof(small_models[0]) };

/* ---------------------------------------------------------------------------------------------- numbers */

/* The networks as published: parameters from their configurations, without their gigabytes. */
static void test_sizes(void **state) {
    (void)state;
    static const struct {
        const char *config;
        int64_t elements, context;
    } known[] = {
        {"{\"model_type\":\"llama\",\"max_position_embeddings\":4096}", 6738415616, 4096}, /* Llama 2 7B */
        {"{\"model_type\":\"llama\",\"vocab_size\":128256,\"hidden_size\":2048,\"intermediate_size\":8192,"
         "\"num_hidden_layers\":16,\"num_attention_heads\":32,\"num_key_value_heads\":8,\"head_dim\":64,"
         "\"max_position_embeddings\":131072,\"tie_word_embeddings\":true,\"eos_token_id\":[128001,128008,"
         "128009],"
         "\"rope_theta\":500000.0,\"rope_scaling\":{\"factor\":32.0,\"high_freq_factor\":4.0,\"low_freq_"
         "factor\":1.0,"
         "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"}}",
         1235814400, 131072}, /* Llama 3.2 1B */
        {"{\"model_type\":\"mistral\",\"max_position_embeddings\":32768}", 7241732096,
         32768}, /* Mistral 7B */
        {"{\"model_type\":\"qwen2\",\"hidden_size\":896,\"intermediate_size\":4864,\"num_hidden_layers\":24,"
         "\"num_attention_heads\":14,\"num_key_value_heads\":2,\"tie_word_embeddings\":true,\"rope_scaling\":"
         "{\"type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":32768}}",
         494032768, 131072}, /* Qwen2 0.5B, as its card asks to stretch it */
        {"{\"model_type\":\"qwen3\",\"hidden_size\":1024,\"intermediate_size\":3072,\"num_hidden_layers\":28,"
         "\"num_attention_heads\":16,\"num_key_value_heads\":8,\"tie_word_embeddings\":true,"
         "\"max_position_embeddings\":40960}",
         596049920, 40960},                                 /* Qwen3 0.6B */
        {"{\"model_type\":\"gemma2\"}", 2614341888, 8192}}; /* Gemma 2 2B */
    ct_context_set_device(context, CT_META);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        ct_model *model = create(known[i].config);
        assert_ok();
        assert_int_equal(ct_model_elements(model, false), known[i].elements);
        assert_int_equal(ct_model_context_length(model), known[i].context);
        ct_model_destroy(model);
    }
    ct_context_set_device(context, CT_CPU);
}

static double loss_value(ct_model *model, ct_tensor *ids, ct_tensor *targets) {
    ct_scope scope = ct_scope_open(context);
    double loss = item(ct_cross_entropy(forward(model, NULL, ids), targets, NULL));
    ct_scope_close(context, scope);
    return loss;
}

/* Central differences of the loss in f64 on entries of every parameter. */
static void check_gradients(ct_model *model) {
    ct_model_cast(model, CT_F64);
    make_leaves(model);
    ct_tensor *ids = random_ids(1, 2, 5, 7), *targets = random_ids(2, 2, 5, 7);
    ct_backward(ct_cross_entropy(forward(model, NULL, ids), targets, NULL), NULL, CT_GRAD_DEFAULT);
    assert_ok();
    ct_grad_mode_set(context, false);
    for (int64_t p = 0; p < ct_model_parameter_count(model); p++) {
        ct_tensor *leaf = ct_model_parameter(model, p)->tensor;
        double *gradient = values(ct_gradient(leaf)), *data = ct_data_mutable(leaf), sum = 0;
        int64_t count = ct_count(leaf), step = count > 5 ? count / 5 : 1;
        for (int64_t i = 0; i < count; i++)
            sum += fabs(gradient[i]);
        /* A bias of all keys alike moves a query's scores by one number: softmax does not see it, but rotary
         * positions turn it differently at each key. */
        if (!(sum > 1e-6)) fail_msg("%s has no gradient", ct_model_parameter(model, p)->name);
        for (int64_t i = 0; i < count; i += step) {
            double before = data[i], h = 1e-5;
            data[i] = before + h;
            double up = loss_value(model, ids, targets);
            data[i] = before - h;
            double down = loss_value(model, ids, targets);
            data[i] = before;
            if (fabs((up - down) / (2 * h) - gradient[i]) > 1e-8 + 1e-6 * fabs(gradient[i]))
                fail_msg("%s[%d]: gradient %.12g, differences %.12g", ct_model_parameter(model, p)->name,
                         (int)i, gradient[i], (up - down) / (2 * h));
        }
        free(gradient);
    }
    ct_grad_mode_set(context, true);
}

static void test_gradients(void **state) {
    (void)state;
    for (int m = 0; m < MODELS; m++) {
        ct_model *model = stirred(small_models[m]);
        check_gradients(model);
        ct_model_destroy(model);
    }
}

/* --------------------------------------------------------------------------------- recomputation, packing */

static void gradients_of(ct_model *model, int64_t every, ct_tensor *segments, ct_tensor **gradients) {
    ct_random random = ct_random_make(8, 8);
    ct_run *run = ct_run_create(
        context, &(ct_run_options){.training = true, .checkpoint_every = every, .random = &random});
    ct_scope scope = ct_scope_open(context);
    ct_run_set_rows(run, 3, 0);
    ct_run_set_segments(run, segments);
    ct_tensor *logits = ct_model_forward(model, run, random_ids(1, 2, 6, 7));
    ct_backward(ct_cross_entropy(logits, random_ids(2, 2, 6, 7), NULL), NULL, CT_GRAD_DEFAULT);
    assert_ok();
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_tensor *leaf = ct_model_parameter(model, i)->tensor;
        gradients[i] = ct_hold(ct_gradient(leaf));
        ct_gradient_set(leaf, NULL);
    }
    ct_scope_close(context, scope);
    ct_run_destroy(run);
}

static void drop_all(ct_tensor **list, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        ct_drop(list[i]);
}

/* The fused kernels of f32 (soft caps, windows, groups) against the plain loops of f64. */
static void test_f32_gradients(void **state) {
    (void)state;
    for (int m = 0; m < MODELS; m++) {
        ct_tensor *narrow[40], *wide[40];
        ct_model *model = stirred(small_models[m]);
        int64_t count = ct_model_parameter_count(model);
        make_leaves(model);
        gradients_of(model, 0, NULL, narrow);
        ct_model_destroy(model);
        model = stirred(small_models[m]);
        ct_model_cast(model, CT_F64);
        make_leaves(model);
        gradients_of(model, 0, NULL, wide);
        for (int64_t i = 0; i < count; i++) {
            double size = sqrt(item(ct_mean_all(ct_square(wide[i]))));
            assert_true(size > 1e-6);
            if (!(worst_difference(narrow[i], wide[i]) < 1e-4 * size + 1e-7))
                fail_msg("%s: gradients differ by %g, they are of size %g",
                         ct_model_parameter(model, i)->name, worst_difference(narrow[i], wide[i]), size);
        }
        drop_all(narrow, count);
        drop_all(wide, count);
        ct_model_destroy(model);
    }
}

/* Blocks computed again in the backward pass give the same bits: with rotary tables of each row, windows,
 * dropout. */
static void test_checkpointed_backward(void **state) {
    (void)state;
    ct_tensor *segments =
        ct_from_data(context, CT_I32, CT_DIMS(2, 6), (int32_t[]){0, 0, 1, 1, 1, 2, 0, 0, 0, 0, 1, 1});
    for (int m = 0; m < MODELS; m++)
        for (int packed = 0; packed < 2; packed++) {
            char json[700];
            snprintf(json, sizeof(json), "{\"attention_dropout\":0.2,%s", small_models[m] + 1);
            ct_model *model = stirred(json);
            make_leaves(model);
            ct_tensor *plain[40], *again[40];
            int64_t count = ct_model_parameter_count(model);
            assert_true(count <= 40);
            gradients_of(model, 0, packed ? segments : NULL, plain);
            gradients_of(model, 1, packed ? segments : NULL, again);
            for (int64_t i = 0; i < count; i++)
                assert_same_bits(plain[i], again[i]);
            drop_all(plain, count);
            drop_all(again, count);
            ct_model_destroy(model);
        }
}

/* ----------------------------------------------------------------------------------------------- keys */

static double difference(const char *a, const char *b) {
    ct_model *one = stirred(a), *other = stirred(b);
    ct_tensor *ids = random_ids(4, 2, 9, 7);
    double worst = worst_difference(forward(one, NULL, ids), forward(other, NULL, ids));
    assert_ok();
    ct_model_destroy(one);
    ct_model_destroy(other);
    return worst;
}

/* A key without a value switches off what is on by default; one that is absent does not. */
static void test_null_keys(void **state) {
    (void)state;
#define MISTRAL(more) "{\"model_type\":\"mistral\"," SMALL more "}"
#define GEMMA(more)                                                                                          \
    "{\"model_type\":\"gemma2\"," SMALL ",\"head_dim\":4,\"query_pre_attn_scalar\":0.01" more "}"
#define QWEN(more) "{\"model_type\":\"qwen2\"," SMALL ",\"sliding_window\":2,\"max_window_layers\":0" more "}"
    assert_true(difference(MISTRAL(",\"sliding_window\":null"), MISTRAL(",\"sliding_window\":9")) == 0);
    assert_true(difference(MISTRAL(",\"sliding_window\":null"), MISTRAL("")) == 0); /* 4096 is out of reach */
    assert_true(difference(MISTRAL(",\"sliding_window\":null"), MISTRAL(",\"sliding_window\":8")) > 0);
    assert_true(difference(GEMMA(",\"attn_logit_softcapping\":null"), GEMMA("")) > 1e-6);
    assert_true(difference(GEMMA(",\"attn_logit_softcapping\":null"),
                           GEMMA(",\"attn_logit_softcapping\":1e6")) < 1e-4);
    assert_true(difference(GEMMA(",\"final_logit_softcapping\":null"), GEMMA("")) > 1e-6);
    assert_true(
        difference(GEMMA(",\"layer_types\":[\"full_attention\",\"sliding_attention\"],\"sliding_window\":2"),
                   GEMMA(",\"sliding_window\":2")) > 1e-6);
    assert_true(difference(QWEN(""), QWEN(",\"use_sliding_window\":true")) > 1e-6);
    assert_true(difference(QWEN(""), QWEN(",\"use_sliding_window\":true,\"layer_types\":[\"full_attention\","
                                          "\"full_attention\"]")) == 0);
}

/* num_key_value_heads and head_dim that are null are derived; old and new keys of rotary positions say the
 * same. */
static void test_derived_keys(void **state) {
    (void)state;
#define LLAMA(more)                                                                                          \
    "{\"model_type\":\"llama\",\"vocab_size\":7,\"hidden_size\":8,\"intermediate_size\":6,\"num_hidden_"     \
    "layers\":1,"                                                                                            \
    "\"num_attention_heads\":2,\"max_position_embeddings\":32" more "}"
    assert_true(difference(LLAMA(""), LLAMA(",\"num_key_value_heads\":2,\"head_dim\":4")) == 0);
    assert_true(difference(LLAMA(",\"num_key_value_heads\":null,\"head_dim\":null,\"rope_scaling\":null"),
                           LLAMA("")) == 0);
    assert_true(
        difference(
            LLAMA(",\"rope_theta\":100,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}"),
            LLAMA(",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2,\"rope_theta\":100}")) == 0);
    assert_true(difference(LLAMA(",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}"), LLAMA("")) > 1e-6);
    assert_true(difference(LLAMA(",\"rope_scaling\":{\"type\":\"yarn\",\"rope_type\":\"yarn\",\"factor\":2}"),
                           LLAMA(",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"original_max_position_"
                                 "embeddings\":32}")) == 0);
}

/* Other norms than the family's, in other places: names of tensors, and a forward pass that they change. */
static void test_other_norms(void **state) {
    (void)state;
    static const struct {
        const char *json, *tensor;
    } cases[] = {{LLAMA(",\"norm\":\"layernorm\""), "layers.0.input_layernorm.bias"},
                 {LLAMA(",\"norm\":{\"place\":\"post\"}"), "layers.0.post_attention_layernorm.weight"},
                 {LLAMA(",\"norm\":{\"place\":\"deepnorm\"}"), "layers.0.input_layernorm.weight"},
                 {LLAMA(",\"norm\":{\"place\":\"peri\"}"), "layers.0.post_feedforward_layernorm.weight"},
                 {LLAMA(",\"norm\":{\"place\":\"peri\"}"), "embed_norm.weight"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ct_model *model = stirred(cases[i].json);
        if (!ct_model_find(model, cases[i].tensor)) fail_msg("no %s", cases[i].tensor);
        ct_model_destroy(model);
        assert_true(difference(cases[i].json, LLAMA("")) > 1e-6);
    }
}

static void test_refusals(void **state) {
    (void)state;
    config_refused(LLAMA(",\"hidden_act\":\"silly\""), CT_ERROR_ARGUMENT, "silu");
    config_refused(LLAMA(",\"num_key_value_heads\":3"), CT_ERROR_ARGUMENT,
                   "num_attention_heads 2 is not a multiple of num_key_value_heads 3");
    config_refused("{\"model_type\":\"llama\",\"hidden_size\":10,\"num_attention_heads\":4}",
                   CT_ERROR_ARGUMENT, "hidden_size 10 is not a multiple of num_attention_heads 4");
    config_refused(LLAMA(",\"head_dim\":3"), CT_ERROR_ARGUMENT, "heads have 3 channels");
    config_refused(LLAMA(",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4}"),
                   CT_ERROR_UNSUPPORTED, "config.quantization_config: quant_method \"gptq\"");
    config_refused(LLAMA(",\"num_local_experts\":8"), CT_ERROR_UNSUPPORTED,
                   "config.num_local_experts: 8 experts");
    config_refused(LLAMA(",\"partial_rotary_factor\":0.5"), CT_ERROR_UNSUPPORTED,
                   "config.partial_rotary_factor: 0.5");
    config_refused(LLAMA(",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}"), CT_ERROR_UNSUPPORTED,
                   "rope_type \"dynamic\" is not built");
    config_refused(LLAMA(",\"rope_scaling\":{\"rope_type\":\"longrope\"}"), CT_ERROR_UNSUPPORTED,
                   "\"longrope\" is not built");
    config_refused(LLAMA(",\"rope_scaling\":{\"rope_type\":\"linear\"}"), CT_ERROR_ARGUMENT,
                   "needs the key \"factor\"");
    config_refused(LLAMA(",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":2,\"low_freq_factor\":4,"
                         "\"high_freq_factor\":1}"),
                   CT_ERROR_ARGUMENT, "high_freq_factor 1 is not above low_freq_factor 4");
    config_refused(LLAMA(",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2,\"bata_fast\":3}"),
                   CT_ERROR_ARGUMENT, "beta_fast");
    config_refused(LLAMA(",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":3}}"),
                   CT_ERROR_UNSUPPORTED, "config.rope_parameters.full_attention");
    config_refused(LLAMA(",\"rope_scaling\":[1]"), CT_ERROR_ARGUMENT, "config.rope_scaling: expected a map");
    config_refused(
        QWEN(",\"layer_types\":[\"full_attention\",\"sliding_attention\"]"), CT_ERROR_ARGUMENT,
        "config.layer_types.1: sliding_attention, but there is no sliding_window (use_sliding_window is "
        "not true)");
    config_refused(QWEN(",\"layer_types\":[\"full_attention\"]"), CT_ERROR_ARGUMENT, "expected a list of 2");
    config_refused(QWEN(",\"layer_types\":[\"full_attention\",\"linear_attention\"]"), CT_ERROR_UNSUPPORTED,
                   "config.layer_types.1: \"linear_attention\" is not built");
    config_refused(GEMMA(",\"use_bidirectional_attention\":true"), CT_ERROR_UNSUPPORTED,
                   "config.use_bidirectional_attention");
    config_refused("{\"model_type\":\"mixtral\"}", CT_ERROR_UNSUPPORTED, "qwen3, gemma2");
    config_refused("{\"model_type\":\"lama\"}", CT_ERROR_UNSUPPORTED, "did you mean \"llama\"?");
}

static void test_bad_input(void **state) {
    (void)state;
    ct_model *model = stirred(LLAMA(""));
    forward(model, NULL, random_ids(1, 1, 33, 7));
    assert_failed_with(CT_ERROR_ARGUMENT, "33 positions, the model has 32");
    forward(model, NULL, ct_zeros(context, CT_I32, CT_DIMS(4)));
    assert_failed_with(CT_ERROR_SHAPE, "i32[4], expected ids [batch, time]");
    ct_run *run = ct_run_create(context, NULL);
    ct_kv_cache *cache = ct_kv_cache_create(context, 1, 1, 40);
    ct_run_set_cache(run, cache);
    ct_model_forward(model, run, random_ids(1, 1, 30, 7));
    assert_ok();
    ct_model_forward(model, run, random_ids(1, 1, 3, 7));
    assert_failed_with(CT_ERROR_ARGUMENT, "33 positions, the model has 32");
    ct_kv_cache_destroy(cache);
    ct_run_destroy(run);
    ct_model_destroy(model);
}

/* Trees that a hostile file may hold: a message, not a crash. */
static void test_hostile_trees(void **state) {
    (void)state;
    static const char *const trees[][2] = {
        {"{\"kind\":\"decoder\",\"name\":\"\"}", "0 children, expected 4"},
        {"{\"kind\":\"attention\",\"name\":\"\",\"options\":{\"heads\":3,\"kv_heads\":2}}", "not a multiple"},
        {"{\"kind\":\"attention\",\"name\":\"\",\"options\":{\"heads\":1,\"kv_heads\":1,\"head_dim\":3}}",
         "even number"},
        {"{\"kind\":\"attention\",\"name\":\"\",\"options\":{\"heads\":1,\"kv_heads\":1,\"rope\":{\"rope_"
         "type\":\"x\"}}}",
         "is not built"},
        {"{\"kind\":\"attention\",\"name\":\"\",\"options\":{\"width\":4,\"heads\":1,\"kv_heads\":1,\"head_"
         "dim\":4}}",
         "expected [batch, time, width]"},
        {"{\"kind\":\"gated_mlp\",\"name\":\"\",\"options\":{\"width\":4,\"inner\":4}}", "linear"}};
    for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
        char json[900];
        snprintf(json, sizeof(json), "{\"carat\":{\"tree\":%s},%s", trees[i][0], LLAMA("") + 1);
        ct_model *model = create(json);
        if (model) {
            ct_model_initialize(model, 1);
            forward(model, NULL, random_ids(1, 1, 3, 7));
        }
        assert_true(ct_failed(context));
        if (!strstr(ct_context_message(context), trees[i][1])) fail_msg("%s", ct_context_message(context));
        ct_context_clear(context);
        ct_model_destroy(model);
    }
}

/* ------------------------------------------------------------------------------------------------ files */

static char folder[64];
static char *at(const char *name) {
    static char path[200];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

typedef struct change {
    const char *left_out[3], *widened[3];
    const char *added[3];
} change;

static bool listed(const char *const *list, const char *name) {
    for (int i = 0; i < 3; i++)
        if (list[i] && strcmp(list[i], name) == 0) return true;
    return false;
}

/* Zeros for the weights of folder "good" with what `c` says; config.json as there. */
static void write_changed(const change *c) {
    ct_folder_make(context, at("bad"));
    ct_value *config = ct_json_read(context, at("good/config.json"));
    ct_json_write(context, at("bad/config.json"), config, 0);
    ct_value_free(config);
    ct_safetensors *source = ct_safetensors_open(context, at("good"));
    ct_safetensors_writer *writer = ct_safetensors_create(context, at("bad/model.safetensors"));
    assert_ok();
    static const float zeros[512];
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < ct_safetensors_count(source); i++) {
            const ct_safetensors_tensor *t = ct_safetensors_at(source, i);
            int64_t shape[2] = {t->shape[0], t->rank > 1 ? t->shape[1] : 1};
            if (listed(c->left_out, t->name)) continue;
            if (listed(c->widened, t->name)) shape[0]++;
            size_t bytes = (size_t)(shape[0] * shape[1]) * sizeof(float);
            assert_true(bytes <= sizeof(zeros));
            if (pass == 0)
                ct_safetensors_declare(writer, t->name, CT_FILE_F32, t->rank, shape);
            else
                ct_safetensors_write(writer, zeros, bytes);
        }
        for (int i = 0; i < 3 && c->added[i]; i++)
            if (pass == 0)
                ct_safetensors_declare(writer, c->added[i], CT_FILE_F32, 1, (int64_t[]){2});
            else
                ct_safetensors_write(writer, zeros, 2 * sizeof(float));
    }
    ct_safetensors_commit(writer);
    ct_safetensors_close(source);
    assert_ok();
}

static void test_files_that_do_not_fit(void **state) {
    (void)state;
    strcpy(folder, "/tmp/carat-llama-XXXXXX");
    assert_non_null(mkdtemp(folder));
    ct_model *model = stirred(LLAMA(",\"tie_word_embeddings\":true"));
    ct_model_save(model, at("good"), CT_DTYPES);
    assert_ok();
    ct_model_destroy(model);
    /* All that is wrong is named, each under what is wrong with it. */
    write_changed(
        &(change){.left_out = {"model.norm.weight", "model.layers.0.mlp.up_proj.weight"},
                  .widened = {"model.embed_tokens.weight", "model.layers.0.self_attn.k_proj.weight"},
                  .added = {"model.layers.1.mlp.up_proj.weight", "score.weight"}});
    assert_null(ct_model_load(context, at("bad"), CT_F32));
    static const char *const parts[] = {
        "2 tensors are missing",
        "model.layers.0.mlp.up_proj.weight, model.norm.weight",
        "2 do not belong to this model (model.layers.1.mlp.up_proj.weight, score.weight)",
        "2 have another shape",
        "model.embed_tokens.weight [8,8], expected [7,8]",
        "model.layers.0.self_attn.k_proj.weight [9,8], expected [8,8]"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (!strstr(ct_context_message(context), parts[i]))
            fail_msg("%s: %s", parts[i], ct_context_message(context));
    ct_context_clear(context);
    ct_folder_remove(context, at("bad"));
    /* What old files carry beside the weights is kept: frequencies, and a copy of the tied head. */
    write_changed(&(change){.added = {"model.layers.0.self_attn.rotary_emb.inv_freq"}});
    model = ct_model_load(context, at("bad"), CT_F32);
    assert_ok();
    ct_model_save(model, at("again"), CT_DTYPES);
    ct_model_destroy(model);
    ct_safetensors *again = ct_safetensors_open(context, at("again"));
    assert_non_null(ct_safetensors_find(again, "model.layers.0.self_attn.rotary_emb.inv_freq"));
    assert_null(ct_safetensors_find(again, "lm_head.weight"));
    ct_safetensors_close(again);
    ct_folder_remove(context, folder);
    assert_ok();
}

/* A block is taken out: what is left keeps its window, its rotary positions and its place in the cache, also
 * in a folder. */
static void test_surgery(void **state) {
    (void)state;
    strcpy(folder, "/tmp/carat-llama-XXXXXX");
    assert_non_null(mkdtemp(folder));
    for (int m = 0; m < MODELS; m++) {
        ct_model *model = stirred(small_models[m]);
        assert_int_equal(ct_model_layers(model), 2);
        ct_module_remove(ct_module_find(ct_model_root(model), "layers.0"));
        ct_model_sync(model, 1);
        assert_ok();
        assert_int_equal(ct_model_layers(model), 1);
        ct_tensor *ids = random_ids(4, 1, 9, 7), *whole = forward(model, NULL, ids), *pieces[2];
        ct_model_save(model, at("cut"), CT_DTYPES);
        ct_model *again = ct_model_load(context, at("cut"), CT_DTYPES);
        assert_ok();
        assert_same_bits(forward(again, NULL, ids), whole);
        ct_run *run = ct_run_create(context, NULL);
        ct_kv_cache *cache = ct_kv_cache_create(context, 1, 1, 9);
        ct_run_set_cache(run, cache);
        pieces[0] = ct_model_forward(again, run, ct_slice(ids, 1, 0, 5, 1));
        pieces[1] = ct_model_forward(again, run, ct_slice(ids, 1, 5, 9, 1));
        assert_same_bits(ct_concat(pieces, 2, 1), whole);
        ct_kv_cache_destroy(cache);
        ct_run_destroy(run);
        ct_model_destroy(again);
        ct_model_destroy(model);
        ct_folder_remove(context, at("cut"));
    }
    ct_folder_remove(context, folder);
    assert_ok();
}

/* Each allocation of one training step fails once: an error each time, and nothing is left. */
static void test_allocation_failure(void **state) {
    (void)state;
    ct_model *model = stirred(small_models[4]);
    make_leaves(model);
    ct_tensor *ids = random_ids(1, 2, 4, 7);
    ct_memory_counts before, after;
    int64_t failed = 0;
    for (int64_t n = 0;; n++) { /* the first round fails nothing: what is made once is made */
        ct_run *run = ct_run_create(context, &(ct_run_options){.training = true, .checkpoint_every = n % 2});
        ct_scope scope = ct_scope_open(context);
        ct_memory_fail_at(context, n);
        ct_backward(ct_cross_entropy(ct_model_forward(model, run, ids), ids, NULL), NULL, CT_GRAD_DEFAULT);
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
        if (n > 0 && !was && n % 2) break;
        failed += was;
    }
    assert_true(failed > 100);
    ct_model_destroy(model);
}

static void test_building_fails(void **state) {
    (void)state;
    for (int m = 0; m < MODELS; m++)
        survives_building(small_models[m]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_sizes),
        reach_test(test_gradients),
        reach_test(test_f32_gradients),
        reach_test(test_checkpointed_backward),
        reach_test(test_null_keys),
        reach_test(test_derived_keys),
        reach_test(test_other_norms),
        reach_test(test_refusals),
        reach_test(test_bad_input),
        reach_test(test_hostile_trees),
        reach_test(test_files_that_do_not_fit),
        reach_test(test_surgery),
        reach_test(test_allocation_failure),
        reach_test(test_building_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
