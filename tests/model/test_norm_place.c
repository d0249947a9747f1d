/* test_norm_place.c - where a transformer's norms stand: pre, post, mix, peri, deepnorm; what the placements
 * promise, saving and loading, refusals; batch norms inside recomputed segments. */
#include "nn/block.h"
#include "reach/reach.h"
#include <carat/norm.h>
#include <stdio.h>

enum { VOCABULARY = 17, WIDTH = 32, TIME = 12 };

static ct_model *gpt(int layers, const char *norm, uint64_t seed) {
    char text[500];
    snprintf(text, sizeof(text),
             "{\"model_type\":\"gpt2\",\"vocab_size\":17,\"n_positions\":12,\"n_embd\":32,\"n_layer\":%d,\"n_"
             "head\":4,"
             "\"resid_pdrop\":0,\"embd_pdrop\":0,\"attn_pdrop\":0,\"tie_word_embeddings\":false%s%s}",
             layers, norm ? ",\"norm\":" : "", norm ? norm : "");
    return model_from(text, seed);
}

static ct_tensor *ids(void) {
    ct_random random = ct_random_make(3, 2);
    return ct_random_integer_tensor(context, CT_I32, CT_DIMS(4, TIME), 0, VOCABULARY, &random);
}

static ct_tensor *logits(ct_model *model) {
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *result = ct_model_forward(model, run, ids());
    ct_run_destroy(run);
    assert_ok();
    return result;
}

static ct_tensor *watched[2];
static ct_tensor *watch(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run, (void)point;
    watched[*(int *)user] = ct_hold(value);
    return value;
}

/* The stream at two points. */
static void look(ct_model *model, const char *first, const char *second) {
    int zero = 0, one = 1;
    ct_run *run = ct_run_create(context, NULL);
    ct_run_add_tap(run, first, watch, &zero);
    ct_run_add_tap(run, second, watch, &one);
    ct_model_forward(model, run, ids());
    ct_run_destroy(run);
    assert_ok();
}

static void look_away(void) {
    for (int i = 0; i < 2; i++) {
        ct_drop(watched[i]);
        watched[i] = NULL;
    }
}

/* Multiplies every parameter whose name ends so. */
static void scale(ct_model *model, const char *ending, double factor) {
    int found = 0;
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_parameter *parameter = ct_model_parameter(model, i);
        size_t length = strlen(parameter->name), tail = strlen(ending);
        if (length < tail || strcmp(parameter->name + length - tail, ending) != 0) continue;
        ct_scale_into(parameter->tensor, factor);
        found++;
    }
    assert_true(found > 0);
}

static double variance(ct_tensor *x) {
    return item(ct_variance(x, 0, NULL, false, 0));
}

static void test_mix_rule(void **state) {
    (void)state;
    const int cases[][3] = {{12, 25, 3},   {8, 25, 2}, {10, 25, 2}, {3, 25, 0},
                            {100, 29, 29}, {6, 0, 0},  {6, 100, 6}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ct_norm_choice choice = {.place = CT_PLACE_MIX, .alpha = cases[i][1] / 100.0};
        int post = 0;
        for (int64_t l = 0; l < cases[i][0]; l++) {
            bool is = ct_norm_choice_place(&choice, l, cases[i][0]) == CT_PLACE_POST;
            assert_true(is == (l < cases[i][2]));
            post += is;
        }
        assert_int_equal(post, cases[i][2]);
    }
}

static void test_mix(void **state) {
    (void)state;
    ct_model *pre = gpt(4, NULL, 5), *none = gpt(4, "{\"place\":\"mix\",\"alpha\":0}", 5);
    ct_model *half = gpt(4, "{\"place\":\"mix\",\"alpha\":0.5}", 5),
             *post = gpt(4, "{\"place\":\"post\"}", 5);
    assert_same_bits(logits(pre), logits(none));
    assert_true(worst_difference(logits(pre), logits(half)) > 1e-4);
    assert_int_equal(ct_model_elements(pre, false), ct_model_elements(half, false));
    ct_model *all_post = gpt(4, "{\"place\":\"mix\",\"alpha\":1}", 5); /* with the final norm, which stays */
    assert_same_bits(logits(post), logits(all_post));
    ct_model_destroy(all_post);
    /* Behind a post layer every token has mean 0 and variance 1. */
    const int last = -1;
    for (int l = 0; l < 4; l++) {
        char point[32];
        snprintf(point, sizeof(point), "h.%d.output", l);
        look(post, point, "nowhere");
        ct_tensor *mean = ct_mean(watched[0], 1, &last, false),
                  *spread = ct_variance(watched[0], 1, &last, false, 0);
        assert_true(item(ct_max(ct_abs(mean), 0, NULL, false)) < 1e-5);
        assert_true(item(ct_max(ct_abs(ct_add_scalar(spread, -1)), 0, NULL, false)) <
                    2e-2); /* eps beside a small one */
        look_away();
    }
    /* Without what sublayers add, pre hands the stream on and mix gives N(x). */
    scale(pre, "c_proj.weight", 0);
    scale(half, "c_proj.weight", 0);
    look(pre, "embedded", "h.3.output");
    assert_same_bits(watched[0], watched[1]);
    look_away();
    scale(half, "wte.weight", 100); /* against eps */
    look(half, "embedded", "h.3.output");
    assert_true(worst_difference(ct_layer_norm(watched[0], NULL, NULL, 0), watched[1]) < 2e-4);
    look_away();
    ct_model *all[] = {pre, none, half, post};
    for (int i = 0; i < 4; i++)
        ct_model_destroy(all[i]);
}

static ct_tensor *gradient_of(ct_model *model, const char *name) {
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *out = ct_model_forward(model, run, ids());
    ct_tensor *flat = ct_reshape(out, CT_DIMS(4 * TIME, VOCABULARY)), *gradient = NULL;
    ct_tensor *loss = ct_cross_entropy(flat, ct_reshape(ids(), CT_DIMS(4 * TIME)), NULL);
    ct_tensor *weight = ct_model_find(model, name)->tensor;
    assert_int_equal(ct_grad(&loss, 1, NULL, &weight, 1, &gradient, CT_GRAD_DEFAULT), CT_OK);
    ct_run_destroy(run);
    return gradient;
}

/* Var(x_8) = Var(x_0) + 16: two sublayers a layer, each adding variance 1. Wide enough for their outputs to
 * be nearly independent. */
static void test_peri_growth(void **state) {
    (void)state;
    ct_model *peri =
        model_from("{\"model_type\":\"gpt2\",\"vocab_size\":17,\"n_positions\":12,\"n_embd\":256,"
                   "\"n_layer\":8,\"n_head\":4,\"norm\":{\"place\":\"peri\"}}",
                   5);
    look(peri, "embedded", "h.7.output");
    assert_near(variance(watched[0]), 1, 0.03);
    assert_true(fabs(variance(watched[1]) / 17 - 1) < 0.15);
    look_away();
    ct_model_destroy(peri);
}

static double size_of(ct_tensor *x) {
    return item(ct_norm(x, 2, 0, NULL, false));
}

static void test_peri(void **state) {
    (void)state;
    static const char peri_text[] = "{\"name\":\"rmsnorm\",\"place\":\"peri\",\"eps\":1e-12}";
    ct_model *peri = gpt(8, peri_text, 5), *pre = gpt(8, "{\"name\":\"rmsnorm\",\"eps\":1e-12}", 5);
    /* 4 norms a layer, one on the embeddings, one before the head. */
    int64_t gains = 0;
    for (int64_t i = 0; i < ct_model_parameter_count(peri); i++)
        if (strstr(ct_model_parameter(peri, i)->name, "ln_"))
            gains += ct_count(ct_model_parameter(peri, i)->tensor);
    assert_int_equal(gains, 4 * WIDTH * 8 + 2 * WIDTH);
    assert_non_null(ct_model_find(peri, "transformer.h.0.ln_1_out.weight"));
    assert_non_null(ct_model_find(peri, "transformer.ln_emb.weight"));
    /* A factor on what writes to the stream changes nothing, and its gradient goes with the inverse. */
    make_leaves(peri);
    ct_tensor *before = logits(peri), *pre_before = logits(pre);
    double attention = size_of(gradient_of(peri, "h.2.attn.c_proj.weight"));
    scale(peri, "c_proj.weight", 2);
    scale(pre, "c_proj.weight", 2);
    assert_true(worst_difference(logits(peri), before) < 1e-4);
    assert_true(worst_difference(logits(pre), pre_before) > 1e-3);
    assert_near(size_of(gradient_of(peri, "h.2.attn.c_proj.weight")) / attention, 0.5, 1e-3);
    /* Sublayers that give 0: N_out(0) = 0, the block is the identity, gradients are finite. */
    scale(peri, "c_proj.weight", 0);
    look(peri, "embedded", "h.7.output");
    assert_same_bits(watched[0], watched[1]);
    look_away();
    assert_true(isfinite(size_of(gradient_of(peri, "h.2.attn.c_attn.weight"))));
    ct_model_destroy(peri);
    ct_model_destroy(pre);
    /* OLMo-2 has only the outer norms, Gemma-2 none on the embeddings. */
    ct_model *olmo =
        gpt(2, "{\"name\":\"rmsnorm\",\"place\":\"peri\",\"peri\":{\"in\":false,\"emb\":false}}", 1);
    assert_null(ct_model_find(olmo, "h.0.ln_1.weight"));
    assert_non_null(ct_model_find(olmo, "h.0.ln_1_out.weight"));
    assert_null(ct_model_find(olmo, "ln_emb.weight"));
    logits(olmo);
    ct_model_destroy(olmo);
}

/* N(a x + F(x)) with a = (2 L)^(1/4); values, projections and perceptrons start smaller by (8 L)^(-1/4). */
static void test_deepnorm(void **state) {
    (void)state;
    ct_model *deep = gpt(2, "{\"place\":\"deepnorm\"}", 5), *post = gpt(2, "{\"place\":\"post\"}", 5);
    double beta = pow(16, -0.25);
    ct_tensor *a = ct_model_find(deep, "h.0.attn.c_attn.weight")->tensor;
    ct_tensor *b = ct_model_find(post, "h.0.attn.c_attn.weight")->tensor;
    assert_same_bits(ct_slice(a, 1, 0, 2 * WIDTH, 1), ct_slice(b, 1, 0, 2 * WIDTH, 1));
    a = ct_slice(a, 1, 2 * WIDTH, 3 * WIDTH, 1);
    b = ct_slice(b, 1, 2 * WIDTH, 3 * WIDTH, 1);
    assert_near(size_of(a) / size_of(b), beta, 1e-5);
    ct_tensor *c_fc = ct_model_find(deep, "h.1.mlp.c_fc.weight")->tensor;
    assert_near(size_of(c_fc) / size_of(ct_model_find(post, "h.1.mlp.c_fc.weight")->tensor), beta, 1e-5);
    ct_tensor *proj = ct_model_find(deep, "h.1.mlp.c_proj.weight")->tensor;
    assert_near(sqrt(variance(proj)) / (0.02 * beta), 1, 0.05);
    const ct_block_options *o = ct_module_options(ct_module_find(ct_model_root(deep), "h.1"));
    assert_near(o->residual_scale, sqrt(2), 1e-12);
    logits(deep);
    ct_model_destroy(deep);
    ct_model_destroy(post);
}

static void write_text(const char *folder, const char *name, const char *from, const char *to) {
    char *path = ct_path_join(context, folder, name);
    size_t length;
    char *text = ct_file_read(context, path, 1 << 20, &length), *at = strstr(text, from);
    assert_non_null(at);
    char *changed = malloc(length + strlen(to) + 1);
    sprintf(changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    ct_file_write(context, path, changed, strlen(changed));
    free(changed);
    ct_free(context, text);
    ct_free(context, path);
    assert_ok();
}

static void assert_failed_with(const char *words) {
    assert_true(ct_failed(context));
    if (!strstr(ct_context_message(context), words))
        fail_msg("\"%s\" not in \"%s\"", words, ct_context_message(context));
    ct_context_clear(context);
}

static void test_saved(void **state) {
    (void)state;
    char folder[] = "/tmp/carat-place-XXXXXX";
    assert_non_null(mkdtemp(folder));
    ct_model *mix = gpt(4, "{\"name\":\"rmsnorm\",\"place\":\"mix\",\"alpha\":0.5}", 5);
    scale(mix, "c_proj.weight", 30); /* sublayers that matter */
    assert_string_equal(ct_value_as_string(ct_value_get(ct_model_config(mix), "carat_norm_place"), ""),
                        "mix 0.5");
    assert_int_equal(ct_model_save(mix, folder, CT_DTYPES), CT_OK);
    ct_model *again = ct_model_load(context, folder, CT_F32);
    assert_ok();
    assert_same_bits(logits(mix), logits(again));
    assert_int_equal(ct_model_save(again, folder, CT_DTYPES), CT_OK);
    ct_model_destroy(again);
    /* The configuration alone is changed: what it and the weights record is another place. */
    write_text(folder, "config.json", "\"alpha\": 0.5", "\"alpha\": 0.25");
    assert_null(ct_model_load(context, folder, CT_F32));
    assert_failed_with("norms stand at \"mix 0.5\", the configuration asks for \"mix 0.25\"");
    write_text(folder, "config.json", "\"carat_norm_place\": \"mix 0.5\"",
               "\"carat_norm_place\": \"mix 0.25\"");
    assert_null(ct_model_load(context, folder, CT_F32));
    assert_failed_with("model.safetensors");
    write_text(folder, "config.json", "\"alpha\": 0.25", "\"alpha\": 0.25, \"force\": true");
    again = ct_model_load(context, folder, CT_F32);
    assert_ok();
    assert_true(worst_difference(logits(mix), logits(again)) > 1e-4);
    ct_model_destroy(again);
    ct_model_destroy(mix);
    /* Weights that lack what the place needs. */
    ct_model *plain = gpt(2, NULL, 1);
    assert_null(ct_value_get(ct_model_config(plain), "carat_norm_place"));
    assert_int_equal(ct_model_save(plain, folder, CT_DTYPES), CT_OK);
    write_text(folder, "config.json", "\"n_layer\": 2", "\"n_layer\": 2, \"norm\": {\"place\": \"peri\"}");
    assert_null(ct_model_load(context, folder, CT_F32));
    assert_failed_with("transformer.h.0.ln_1_out.weight");
    ct_model_destroy(plain);
    ct_folder_remove(context, folder);
}

static void assert_block(ct_model *model, const char *path, const char *place, bool in, bool out) {
    const ct_block_options *o = ct_module_options(ct_module_find(ct_model_root(model), path));
    assert_string_equal(ct_norm_place_names[o->place], place);
    if (o->place == CT_PLACE_PERI) assert_true(o->in == in && o->out == out);
}

#define DECODER(type, more)                                                                                  \
    "{\"model_type\":\"" type "\",\"vocab_size\":17,\"hidden_size\":16,\"intermediate_size\":24,"            \
    "\"num_hidden_layers\":2,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":8,"            \
    "\"max_position_embeddings\":32" more "}"

/* Files of others record no place; their norms stand where the family has them, and nowhere else may they be
 * put. */
static void test_not_recorded(void **state) {
    (void)state;
    char folder[] = "/tmp/carat-llama-XXXXXX";
    assert_non_null(mkdtemp(folder));
    ct_model *llama = model_from(DECODER("llama", ""), 3);
    assert_int_equal(ct_model_save(llama, folder, CT_DTYPES), CT_OK);
    static const char last[] = "\"max_position_embeddings\": 32";
    static const char *const asked[] = {"post", "mix", "deepnorm"};
    char before[200] = "", now[200];
    for (int i = 0; i < 3; i++) {
        snprintf(now, sizeof(now), "%s, \"norm\": {\"place\": \"%s\"}", last, asked[i]);
        write_text(folder, "config.json", i ? before : last, now);
        memcpy(before, now, sizeof(now));
        assert_null(ct_model_load(context, folder, CT_F32));
        assert_failed_with("model.safetensors: its norms stand at \"pre\", the configuration asks for");
    }
    write_text(folder, "config.json", "\"place\": \"deepnorm\"", "\"place\": \"deepnorm\", \"force\": true");
    ct_model *forced = ct_model_load(context, folder, CT_F32);
    assert_ok();
    ct_model_destroy(forced);
    write_text(folder, "config.json", "\"place\": \"deepnorm\", \"force\": true", "\"place\": \"pre\"");
    ct_model *again = ct_model_load(context, folder, CT_F32);
    assert_ok();
    assert_same_bits(logits(llama), logits(again));
    ct_model_destroy(again);
    ct_model_destroy(llama);
    ct_folder_remove(context, folder);
}

/* Gemma 2 is peri without a norm on the embeddings, gains stored less 1: the same model when it is spelled
 * out, the names of transformers' Gemma2ForCausalLM, saved and read again under both spellings. */
static void test_gemma(void **state) {
    (void)state;
    static const char *const names[] = {"input_layernorm", "post_attention_layernorm",
                                        "pre_feedforward_layernorm", "post_feedforward_layernorm"};
    char folder[] = "/tmp/carat-gemma-XXXXXX", name[100];
    assert_non_null(mkdtemp(folder));
    ct_model *own = model_from(DECODER("gemma2", ""), 3);
    ct_model *spelled = model_from(DECODER("gemma2", ",\"norm\":{\"place\":\"peri\"}"), 3);
    ct_model *with =
        model_from(DECODER("gemma2", ",\"norm\":{\"place\":\"peri\",\"peri\":{\"emb\":true}}"), 3);
    assert_block(own, "layers.1", "peri", true, true);
    assert_block(spelled, "layers.1", "peri", true, true);
    assert_int_equal(ct_model_parameter_count(own), 1 + 2 * (7 + 4) + 1);
    assert_null(ct_model_find(own, "embed_norm.weight"));
    assert_non_null(ct_model_find(with, "embed_norm.weight"));
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "model.layers.1.%s.weight", names[i]);
        ct_parameter *gain = ct_model_find(own, name);
        assert_non_null(gain);
        assert_near(item(ct_sum_all(ct_abs(gain->tensor))), 0, 0); /* a gain of 1 */
        ct_fill(gain->tensor, 0.25 * i);
        ct_fill(ct_model_find(spelled, name)->tensor, 0.25 * i);
    }
    assert_same_bits(logits(own), logits(spelled));
    assert_int_equal(ct_model_save(own, folder, CT_DTYPES), CT_OK);
    ct_safetensors *file = ct_safetensors_open(context, folder);
    assert_int_equal(ct_safetensors_count(file), ct_model_parameter_count(own));
    for (size_t i = 0; i < ct_safetensors_count(file); i++)
        assert_non_null(ct_model_find(own, ct_safetensors_at(file, i)->name));
    ct_safetensors_close(file);
    static const char last[] = "\"max_position_embeddings\": 32";
    static const char *const spellings[] = {"", ", \"norm\": {\"place\": \"peri\"}",
                                            ", \"carat_norm_place\": \"peri\""};
    char before[200], now[200];
    snprintf(before, sizeof(before), "%s", last);
    for (int i = 0; i < 3; i++) {
        snprintf(now, sizeof(now), "%s%s", last, spellings[i]);
        write_text(folder, "config.json", before, now);
        memcpy(before, now, sizeof(now));
        ct_model *again = ct_model_load(context, folder, CT_F32);
        assert_ok();
        assert_same_bits(logits(own), logits(again));
        ct_model_destroy(again);
    }
    write_text(folder, "config.json", before,
               "\"max_position_embeddings\": 32, \"carat_norm_place\": \"pre\"");
    assert_null(ct_model_load(context, folder, CT_F32));
    assert_failed_with("its norms stand at \"pre\", the configuration asks for \"peri\"");
    ct_model_destroy(own);
    ct_model_destroy(spelled);
    ct_model_destroy(with);
    ct_folder_remove(context, folder);
}

/* "gamma" and "beta" are what some files call a gain and a bias. */
static void test_other_names(void **state) {
    (void)state;
    char folder[] = "/tmp/carat-names-XXXXXX";
    assert_non_null(mkdtemp(folder));
    ct_model *model = gpt(1, NULL, 5);
    assert_int_equal(ct_model_save(model, folder, CT_DTYPES), CT_OK);
    ct_safetensors *file = ct_safetensors_open(context, folder);
    char *path = ct_path_join(context, folder, "renamed.safetensors"), name[128];
    ct_safetensors_writer *writer = ct_safetensors_create(context, path);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < ct_safetensors_count(file); i++) {
            const ct_safetensors_tensor *t = ct_safetensors_at(file, i);
            char *norm = strstr(t->name, "ln_"), *bytes = malloc(t->size);
            const char *dot = strrchr(t->name, '.');
            snprintf(name, sizeof(name), "%.*s%s", norm ? (int)(dot - t->name) : 120, t->name,
                     !norm                         ? ""
                     : strcmp(dot, ".weight") == 0 ? ".gamma"
                                                   : ".beta");
            ct_safetensors_read(file, t, bytes, 0, t->size);
            if (round == 0)
                ct_safetensors_declare(writer, name, t->dtype, t->rank, t->shape);
            else
                ct_safetensors_write(writer, bytes, t->size);
            free(bytes);
        }
    assert_int_equal(ct_safetensors_commit(writer), CT_OK);
    ct_safetensors_close(file);
    char *target = ct_path_join(context, folder, "model.safetensors");
    assert_int_equal(rename(path, target), 0);
    ct_model *again = ct_model_load(context, folder, CT_F32);
    assert_ok();
    assert_non_null(ct_model_find(again, "transformer.ln_f.gamma"));
    assert_same_bits(logits(model), logits(again));
    ct_free(context, path);
    ct_free(context, target);
    ct_model_destroy(model);
    ct_model_destroy(again);
    ct_folder_remove(context, folder);
}

/* Segments that are computed twice give batch norms the same statistics once. */
static void test_recomputed(void **state) {
    (void)state;
    ct_model *models[2];
    ct_tensor *gradients[2];
    for (int i = 0; i < 2; i++) {
        models[i] = gpt(3, "\"batchnorm\"", 5);
        for (int64_t p = 0; p < ct_model_parameter_count(models[i]); p++)
            if (ct_model_parameter(models[i], p)->trainable)
                ct_require_grad(ct_model_parameter(models[i], p)->tensor, true);
        ct_run *run =
            ct_run_create(context, &(ct_run_options){.training = true, .checkpoint_every = i ? 2 : 0});
        ct_tensor *out = ct_model_forward(models[i], run, ids());
        ct_backward(ct_mean_all(ct_square(out)), NULL, CT_GRAD_DEFAULT);
        assert_ok();
        gradients[i] = ct_gradient(ct_model_find(models[i], "h.0.attn.c_attn.weight")->tensor);
        ct_run_destroy(run);
    }
    assert_same_bits(gradients[0], gradients[1]);
    static const char *const names[] = {"h.0.ln_1.running_mean", "h.2.ln_2.running_var",
                                        "h.1.ln_1.num_batches_tracked"};
    for (int n = 0; n < 3; n++)
        assert_same_bits(ct_model_find(models[0], names[n])->tensor,
                         ct_model_find(models[1], names[n])->tensor);
    assert_near(item(ct_model_find(models[1], names[2])->tensor), 1, 0);
    for (int i = 0; i < 2; i++) {
        for (int64_t p = 0; p < ct_model_parameter_count(models[i]); p++)
            ct_require_grad(ct_model_parameter(models[i], p)->tensor, false);
        ct_model_destroy(models[i]);
    }
}

static void test_refusals(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"{\"place\":\"mix\",\"alpha\":1.5}", "norm.alpha: 1.5 is out of range"},
        {"{\"place\":\"sandwich\"}", "deepnorm"},
        {"{\"place\":\"pre\",\"alpha\":0.5}", "norm.alpha: it needs norm.place mix"},
        {"{\"place\":\"peri\",\"peri\":{\"in\":false,\"out\":false}}", "without any norm"},
        {"{\"peri\":{\"in\":false}}", "norm.peri: it needs norm.place peri"},
        {"\"rmsnrm\"", "did you mean \"rmsnorm\""},
        {"{\"name\":\"rmsnorm\",\"epsilom\":1}", "epsilom"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[300];
        snprintf(text, sizeof(text),
                 "{\"model_type\":\"gpt2\",\"vocab_size\":17,\"n_embd\":32,\"n_layer\":1,\"n_head\":4,"
                 "\"norm\":%s}",
                 bad[i][0]);
        ct_value *config = ct_json_parse(context, text, strlen(text), "config");
        assert_null(ct_model_create(context, config));
        assert_failed_with(bad[i][1]);
        ct_value_free(config);
    }
    static const char *const mlps[][2] = {
        {"\"insert_norm\":\"ln\",\"norm\":\"rmsnorm\"", "both insert_norm and norm"},
        {"\"insert_norm\":\"batch\"", "insert_norm"},
        {"\"norm\":{\"place\":\"post\"}", "no residual stream"}};
    for (size_t i = 0; i < sizeof(mlps) / sizeof(mlps[0]); i++) {
        char text[300];
        snprintf(text, sizeof(text), "{\"model_type\":\"mlp\",\"sizes\":[3,4,2],%s}", mlps[i][0]);
        ct_value *config = ct_json_parse(context, text, strlen(text), "config");
        assert_null(ct_model_create(context, config));
        assert_failed_with(mlps[i][1]);
        ct_value_free(config);
    }
}

/* Linear, norm, activation; the bias before a norm is gone; epsilon by any of its usual names. */
static void test_insert_norm(void **state) {
    (void)state;
    static const char *const methods[] = {"layernorm", "rmsnorm"}, *const words[] = {"ln", "rms"};
    for (int i = 0; i < 2; i++) {
        char text[300];
        snprintf(text, sizeof(text),
                 "{\"model_type\":\"mlp\",\"sizes\":[3,4,4,2],\"insert_norm\":\"%s\","
                 "\"layer_norm_eps\":0.25}",
                 words[i]);
        ct_model *model = model_from(text, 3);
        ct_module *root = ct_model_root(model);
        assert_int_equal(ct_module_child_count(root), 7);
        for (int n = 1; n < 7; n += 3)
            assert_string_equal(ct_norm_method_of(ct_module_child(root, n))->method.name, methods[i]);
        assert_null(ct_model_find(model, "0.bias"));
        assert_null(ct_model_find(model, "3.bias"));
        assert_non_null(ct_model_find(model, "6.bias"));
        ct_tensor *x = ct_ones_like(ct_empty(context, CT_F32, CT_DIMS(2, 3))), *h = x;
        for (int l = 0; l < 2; l++) {
            ct_tensor *w = ct_model_find(model, l ? "3.weight" : "0.weight")->tensor;
            h = ct_linear(h, w, NULL, false, CT_ACT_NONE);
            h = ct_relu(i ? ct_rms_norm(h, NULL, 0.25) : ct_layer_norm(h, NULL, NULL, 0.25));
        }
        h = ct_linear(h, ct_model_find(model, "6.weight")->tensor, ct_model_find(model, "6.bias")->tensor,
                      false, CT_ACT_NONE);
        ct_run *run = ct_run_create(context, NULL);
        assert_true(worst_difference(ct_model_forward(model, run, x), h) < 1e-6);
        ct_run_destroy(run);
        ct_model_destroy(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_mix_rule),     reach_test(test_mix),         reach_test(test_peri),
        reach_test(test_deepnorm),     reach_test(test_peri_growth), reach_test(test_saved),
        reach_test(test_not_recorded), reach_test(test_gemma),       reach_test(test_other_names),
        reach_test(test_recomputed),   reach_test(test_refusals),    reach_test(test_insert_norm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
