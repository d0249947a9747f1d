/* test_parametrization.c - the exact checks of muP's card: r, the symmetry, the base width, shapes that do
 * not change, Adam's table, GPT-2's attention, bad input, allocation failure. */
#include "reach/reach.h"
#include <carat/ops.h>
#include <carat/parametrization.h>

static ct_value *yaml(const char *text) {
    ct_value *value = ct_yaml_parse(context, text, strlen(text), "choice");
    assert_non_null(value);
    return value;
}

static ct_parametrization *parametrize(ct_model *model, const char *choice, const char *optimizer) {
    ct_value *value = yaml(choice);
    ct_parametrization *p = ct_parametrization_create(model, value, optimizer);
    ct_value_free(value);
    return p;
}

/* ------------------------------------------------------------------------------------- calculator */

static void calculator(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double r;
        bool features, hidden;
    } cases[] = {{"standard", 0.5, false, true},
                 {"ntk", 0.5, false, true},
                 {"mup", 0, true, true},
                 {"mean_field", 0, true, false}};
    for (int i = 0; i < 4; i++) {
        const ct_parametrization_method *m = (const ct_parametrization_method *)(const void *)ct_method_find(
            context, "parametrization", cases[i].name);
        ct_abc_verdict v = ct_abc_judge(&m->exponents, cases[i].hidden);
        assert_true(v.r == cases[i].r && v.stable && v.nontrivial && !*v.violated);
        assert_true(v.feature_learning == cases[i].features && v.kernel_regime != cases[i].features);
        for (double t = -1; t <= 1; t += 0.25) { /* a + t, b - t, c - 2t is the same training */
            ct_abc e = m->exponents;
            for (int l = 0; l < 3; l++) {
                e.a[l] += t;
                e.b[l] -= t;
            }
            e.c -= 2 * t;
            ct_abc_verdict w = ct_abc_judge(&e, cases[i].hidden);
            assert_near(w.r, v.r, 1e-12);
            assert_true(w.stable && w.feature_learning == v.feature_learning);
        }
    }
    ct_abc_verdict v = ct_abc_judge(&(ct_abc){{0, 0, 0}, {0, 0.5, 0.5}, 0}, true); /* SP with c = 0 */
    assert_true(v.r == -1 && !v.stable && !v.nontrivial &&
                strstr(v.violated, "r must be at least 0, but it is -1"));
    v = ct_abc_judge(&(ct_abc){{0, 0.5, 0.5}, {0.5, 0, 0}, 0}, true);
    assert_true(!v.stable && strstr(v.violated, "a_1 + b_1 must be 0, but it is 0.5"));
    v = ct_abc_judge(&(ct_abc){{0, 0, 1}, {0, 0.5, 1}, 0.5}, true);
    assert_true(v.stable && !v.nontrivial && !v.feature_learning && !v.kernel_regime);
}

/* -------------------------------------------------------------------------------------- training */

/* Steps of mean squared error on fixed points, and their losses. `rates` are factors by hand. */
static void train(ct_model *model, ct_parametrization *p, const double *rates, const char *method,
                  double rate, int steps, double *losses) {
    make_leaves(model);
    ct_optimizer *optimizer = ct_optimizer_create(context, method, NULL);
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++)
        ct_optimizer_add(optimizer, ct_model_parameter(model, i),
                         &(ct_parameter_group){rates ? rates[i] : 1, 0});
    ct_run *run = ct_run_create(context, NULL);
    if (p) assert_int_equal(ct_parametrization_rates(p, optimizer), CT_OK);
    if (p) assert_int_equal(ct_parametrization_attach(p, run), CT_OK);
    ct_random random = ct_random_make(4, 4);
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(8, 6), 0, 1, &random);
    ct_tensor *y = ct_random_normal_tensor(context, CT_F32, CT_DIMS(8, 2), 0, 1, &random);
    for (int s = 0; s < steps; s++) {
        ct_run_reset(run);
        ct_tensor *loss = ct_mean_all(ct_square(ct_sub(ct_model_forward(model, run, x), y)));
        losses[s] = item(loss);
        ct_backward(loss, NULL, CT_GRAD_DEFAULT);
        assert_int_equal(ct_optimizer_step(optimizer, rate, 1), CT_OK);
        ct_optimizer_clear_gradients(optimizer);
    }
    ct_run_destroy(run);
    ct_optimizer_destroy(optimizer);
    assert_ok();
}

#define NET "{\"model_type\":\"mlp\",\"sizes\":[6,32,32,2],\"activation\":\"tanh\"}"

/* At the base width every method trains as the model by itself, to the bit. */
static void base_width(void **state) {
    (void)state;
    static const char *const choices[] = {"{name: mup, base_width: 32}", "{name: ntk, base_width: 32}",
                                          "{name: standard, base_width: 32, rate_exponent: 1}"};
    double plain[4], losses[4];
    for (int i = 0; i < 4; i++) {
        const char *method = i == 3 ? "adamw" : "sgd";
        ct_model *a = model_from(NET, 3), *b = model_from(NET, 3);
        ct_parametrization *p = parametrize(b, choices[i % 3], method);
        assert_non_null(p);
        assert_false(ct_parametrization_multiplies(p));
        assert_int_equal(ct_parametrization_fill(p), CT_OK);
        train(a, NULL, NULL, method, 0.05, 4, plain);
        train(b, p, NULL, method, 0.05, 4, losses);
        assert_memory_equal(plain, losses, sizeof(plain));
        for (int64_t k = 0; k < 6; k++)
            assert_same_bits(ct_model_parameter(a, k)->tensor, ct_model_parameter(b, k)->tensor);
        ct_parametrization_destroy(p);
        ct_model_destroy(a);
        ct_model_destroy(b);
    }
}

/* The symmetry in training: output weights w / m at rate 4 are weights W = w / m at rate 4 / m^2. Decay is
 * off (coupled decay would see w and not W). */
static void symmetry(void **state) {
    (void)state;
    static const double rates[6] = {4, 4, 1, 4, 0.25, 1};
    double with[20], by_hand[20];
    ct_model *a = model_from(NET, 3), *b = model_from(NET, 3);
    ct_parametrization *p = parametrize(a, "{name: mup, base_width: 8}", "sgd");
    assert_int_equal(ct_parametrization_fill(p), CT_OK);
    const ct_parametrization_scale *s = ct_parametrization_scale_of(p, 4);
    assert_true(s->class == CT_WIDTH_OUTPUT && s->m == 4 && s->multiplier == 0.25 && s->learning_rate == 4);
    assert_near(s->initial, 2, 1e-12); /* the model's own falls with sqrt(width), this one does not */
    for (int64_t i = 0; i < 6; i++)
        ct_copy_into(ct_model_parameter(b, i)->tensor, ct_model_parameter(a, i)->tensor);
    ct_scale_into(ct_model_parameter(b, 4)->tensor, 0.25);
    train(a, p, NULL, "sgd", 0.02, 20, with);
    train(b, NULL, rates, "sgd", 0.02, 20, by_hand);
    for (int k = 0; k < 20; k++)
        assert_near(with[k], by_hand[k], 1e-5);
    assert_true(by_hand[19] < 0.9 * by_hand[0]);
    ct_parametrization_destroy(p);
    ct_model_destroy(a);
    ct_model_destroy(b);
}

static void collect(void *user, ct_log_level level, const char *message) {
    if (level == CT_LOG_WARNING) snprintf(user, 300, "%s", message);
}

/* Exponents by hand are the method that has them, to the bit; shifted by t = 1/2 as the symmetry says they
 * give the same losses, and what is unstable is said to be so. */
static void custom(void **state) {
    (void)state;
    static const char *const choices[] = {
        "{name: ntk, base_width: 8}", "{name: custom, base_width: 8, a: [0, 0.5, 0.5], b: [0, 0, 0], c: 0}",
        "{name: custom, base_width: 8, a: [0.5, 1, 1], b: [-0.5, -0.5, -0.5], c: -1}",
        "{name: custom, base_width: 8, a: [0, 0.5, 0.5], b: [0, 0, 0], c: 0.5}"};
    double losses[4][20];
    for (int i = 0; i < 4; i++) {
        ct_model *model = model_from(NET, 3);
        ct_parametrization *p = parametrize(model, choices[i], "sgd");
        assert_non_null(p);
        assert_int_equal(ct_parametrization_fill(p), CT_OK);
        train(model, p, NULL, "sgd", 0.1, 20, losses[i]);
        ct_parametrization_destroy(p);
        ct_model_destroy(model);
    }
    assert_memory_equal(losses[0], losses[1], sizeof(losses[0]));
    for (int s = 0; s < 20; s++)
        assert_near(losses[2][s], losses[0][s], 1e-5);
    assert_true(losses[0][19] < 0.9 * losses[0][0] && fabs(losses[3][19] - losses[0][19]) > 1e-3);
    char warning[300] = "";
    ct_context_set_log(context, collect, warning, CT_LOG_WARNING);
    ct_model *model = model_from(NET, 3);
    ct_parametrization *p =
        parametrize(model, "{name: custom, base_width: 8, a: [0, 0, 0], b: [0, 0.5, 0.5], c: 0}", "sgd");
    ct_context_set_log(context, NULL, NULL, CT_LOG_WARNING);
    assert_non_null(p);
    assert_non_null(
        strstr(warning, "custom: unstable as models become wider: r must be at least 0, but it is -1"));
    ct_parametrization_destroy(p);
    ct_model_destroy(model);
}

/* Queries of 0: attention is the mean of the values it sees; keys and values stay. */
static void zero_queries(void **state) {
    (void)state;
    static const char *const models[] = {
        "{\"model_type\":\"gpt2\",\"vocab_size\":31,\"n_positions\":16,\"n_layer\":1,\"n_embd\":64,\"n_"
        "head\":2}",
        "{\"model_type\":\"llama\",\"vocab_size\":9,\"hidden_size\":64,\"intermediate_size\":32,"
        "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"max_position_embeddings\":8}"};
    for (int i = 0; i < 2; i++) {
        ct_model *model = model_from(models[i], 1), *plain = model_from(models[i], 1);
        ct_parametrization *p = parametrize(model, "{name: mup, base_width: 64, zero_query: true}", "adamw");
        assert_int_equal(ct_parametrization_fill(p), CT_OK);
        for (int64_t k = 0; k < ct_model_parameter_count(model); k++) {
            const ct_parameter *own = ct_model_parameter(model, k), *other = ct_model_parameter(plain, k);
            bool fused = strstr(own->name, "c_attn.weight") != NULL;
            ct_tensor *queries = fused ? ct_slice(own->tensor, 1, 0, 64, 1) : own->tensor;
            if (fused || strstr(own->name, "q_proj")) assert_near(item(ct_sum_all(ct_abs(queries))), 0, 0);
            if (fused)
                assert_same_bits(ct_slice(own->tensor, 1, 64, 192, 1),
                                 ct_slice(other->tensor, 1, 64, 192, 1));
            else if (!strstr(own->name, "q_proj"))
                assert_same_bits(own->tensor, other->tensor);
        }
        ct_parametrization_destroy(p);
        ct_model_destroy(model);
        ct_model_destroy(plain);
    }
}

/* --------------------------------------------------------------------------------------- tables */

static const ct_parametrization_scale *scale_of(const ct_parametrization *p, ct_model *model,
                                                const char *name) {
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++)
        if (strstr(ct_model_parameter(model, i)->name, name)) return ct_parametrization_scale_of(p, i);
    fail_msg("there is no %s", name);
    return NULL;
}

#define GPT(width, heads, rest)                                                                              \
    "{\"model_type\":\"gpt2\",\"vocab_size\":31,\"n_positions\":16,\"n_layer\":1,\"n_embd\":" #width         \
    ",\"n_head\":" #heads rest "}"

/* Adam at four times the base width: hidden rates / 4, output multiplier 1/4, all else as it was; decay
 * times 4. */
static void adam_table(void **state) {
    (void)state;
    static const struct {
        const char *name;
        ct_width_class class;
        double initial, rate, multiplier;
    } rows[] = {{"wte.weight", CT_WIDTH_INPUT, 1, 1, 1},
                {"wpe.weight", CT_WIDTH_INPUT, 1, 1, 1},
                {"ln_1.weight", CT_WIDTH_INPUT, 1, 1, 1},
                {"c_attn.weight", CT_WIDTH_HIDDEN, 0.5, 0.25, 1},
                {"c_attn.bias", CT_WIDTH_INPUT, 1, 1, 1},
                {"attn.c_proj.weight", CT_WIDTH_HIDDEN, 0.5, 0.25, 1},
                {"mlp.c_fc.weight", CT_WIDTH_HIDDEN, 0.5, 0.25, 1},
                {"lm_head.weight", CT_WIDTH_OUTPUT, 1, 1, 0.25}};
    ct_model *model = model_from(GPT(64, 2, ",\"tie_word_embeddings\":false"), 1);
    ct_parametrization *p = parametrize(model, "{name: mup, base_width: 16}", "adamw");
    assert_ok();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const ct_parametrization_scale *s = scale_of(p, model, rows[i].name);
        if (s->class != rows[i].class || s->m != 4 || s->initial != rows[i].initial ||
            s->learning_rate != rows[i].rate || s->multiplier != rows[i].multiplier ||
            s->weight_decay != 1 / rows[i].rate)
            fail_msg("%s: %s, m %g, initial %g, rate %g, multiplier %g", rows[i].name,
                     ct_width_class_name(s->class), s->m, s->initial, s->learning_rate, s->multiplier);
    }
    assert_true(ct_parametrization_multiplies(p) && !ct_parametrization_unties(p));
    char *text = ct_parametrization_text(p);
    assert_true(strstr(text, "lm_head.weight") && strstr(text, "hidden"));
    ct_free(context, text);
    ct_parametrization_destroy(p);
    p = parametrize(model, "{name: mup, base_width: 16, zero_out: true, decay: scaled}", "adamw");
    assert_true(scale_of(p, model, "lm_head")->initial == 0 &&
                scale_of(p, model, "c_fc.weight")->weight_decay == 1);
    ct_parametrization_destroy(p);
    ct_model_destroy(model);
    model = model_from(GPT(64, 2, ""), 1); /* tied: the embedding stays an input tensor */
    p = parametrize(model, "{name: mup, base_width: 16}", "adamw");
    assert_true(scale_of(p, model, "wte")->multiplier == 1 && !ct_parametrization_unties(p));
    assert_true(scale_of(p, model, "ln_f.weight")->multiplier == 0.25 &&
                scale_of(p, model, "ln_f.bias")->multiplier == 0.25 &&
                scale_of(p, model, "ln_1.weight")->multiplier == 1);
    ct_parametrization_destroy(p);
    ct_model_destroy(model);
}

/* ------------------------------------------------------------------------------------- tied heads */

#define DECODER(type, rest)                                                                                  \
    "{\"model_type\":\"" type "\",\"vocab_size\":19,\"hidden_size\":64,\"intermediate_size\":32,"            \
    "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":2,\"head_dim\":32,"           \
    "\"max_position_embeddings\":8,\"tie_word_embeddings\":true" rest "}"

static double largest(ct_tensor *tensor) {
    double most = 0, *x = values(tensor);
    for (int64_t i = 0; i < ct_count(tensor); i++)
        most = fmax(most, fabs(x[i]));
    free(x);
    return most;
}

static ct_tensor *logits_of(ct_model *model, ct_parametrization *p, ct_tensor *ids) {
    ct_run *run = ct_run_create(context, NULL);
    if (p) ct_parametrization_attach(p, run);
    ct_tensor *logits = ct_model_forward(model, run, ids);
    ct_run_destroy(run);
    assert_ok();
    return logits;
}

/* The logits are those of the model times 1/m, and those of what is saved, whose tensors are as many as
 * before. */
static void tied_head(void **state) {
    (void)state;
    static const char *const models[] = {
        GPT(64, 2, ""), GPT(64, 2, ",\"norm\":{\"name\":\"rmsnorm\",\"place\":\"post\"}"),
        DECODER("llama", ""), DECODER("gemma2", ",\"final_logit_softcapping\":null")};
    char folder[] = "/tmp/carat-tied-XXXXXX";
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        ct_model *model = model_from(models[i], 1);
        ct_random random = ct_random_make(9, 1);
        for (int64_t k = 0; k < ct_model_parameter_count(model);
             k++) { /* gains and biases of a trained model */
            ct_tensor *tensor = ct_model_parameter(model, k)->tensor;
            if (ct_ndim(tensor) == 1)
                ct_add_into(tensor,
                            ct_random_normal_tensor(context, CT_F32, 1, ct_shape(tensor), 0, 0.3, &random),
                            1);
        }
        ct_tensor *ids = ct_random_integer_tensor(context, CT_I32, CT_DIMS(2, 7), 0, 19, &random);
        ct_parametrization *p =
            parametrize(model, "{name: mup, base_width: 24, attention: 1/sqrt(d)}", "adamw");
        assert_ok();
        assert_true(!ct_parametrization_unties(p) && ct_parametrization_multiplies(p));
        ct_tensor *plain = logits_of(model, NULL, ids), *scaled = logits_of(model, p, ids);
        double most = largest(plain);
        double off = largest(ct_sub(scaled, ct_mul_scalar(plain, 24.0 / 64)));
        if (!(off <= 2e-6 * most && most > 0.01)) fail_msg("%s: %g of %g", models[i], off, most);
        ct_run *run = ct_run_create(context, NULL);
        ct_parametrization_attach(p, run);
        assert_int_equal(ct_model_save_resolved(model, run, folder), CT_OK);
        ct_run_destroy(run);
        ct_model *loaded = ct_model_load(context, folder, CT_DTYPES);
        assert_ok();
        assert_int_equal(ct_model_parameter_count(loaded), ct_model_parameter_count(model));
        assert_same_bits(logits_of(loaded, NULL, ids), scaled);
        ct_model_destroy(loaded);
        ct_parametrization_destroy(p);
        ct_model_destroy(model);
    }
    assert_int_equal(ct_folder_remove(context, folder), CT_OK);
}

/* Without a gain before the head nothing else can be multiplied: the head is, and the model cannot be saved
 * for others. */
static void tied_head_without_gain(void **state) {
    (void)state;
    ct_model *model = model_from(GPT(64, 2, ",\"norm\":{\"name\":\"layernorm\",\"affine\":false}"), 1);
    ct_parametrization *p = parametrize(model, "{name: mup, base_width: 24, attention: 1/sqrt(d)}", "adamw");
    assert_ok();
    assert_true(ct_parametrization_unties(p) && ct_parametrization_multiplies(p));
    ct_random random = ct_random_make(9, 1);
    ct_tensor *ids = ct_random_integer_tensor(context, CT_I32, CT_DIMS(2, 7), 0, 31, &random);
    ct_tensor *plain = logits_of(model, NULL, ids), *scaled = logits_of(model, p, ids);
    double off = largest(ct_sub(scaled, ct_mul_scalar(plain, 24.0 / 64)));
    assert_true(off <= 2e-6 * largest(plain));
    ct_parametrization_destroy(p);
    p = parametrize(model, "{name: standard, base_width: 16}", "adamw");
    assert_true(!ct_parametrization_unties(p));
    ct_parametrization_destroy(p);
    ct_model_destroy(model);
}

/* An mlp whose inputs and outputs are large: they do not change with the width, so they give no factor. */
static void fixed_shapes(void **state) {
    (void)state;
    ct_model *model = model_from("{\"model_type\":\"mlp\",\"sizes\":[500,32,64,300]}", 1);
    ct_parametrization *p = parametrize(model, "{name: mup, base_width: 16}", "sgd");
    static const ct_width_class classes[6] = {CT_WIDTH_INPUT, CT_WIDTH_INPUT,  CT_WIDTH_HIDDEN,
                                              CT_WIDTH_INPUT, CT_WIDTH_OUTPUT, CT_WIDTH_FIXED};
    static const double rates[6] = {2, 2, 1, 2, 2, 1};
    for (int i = 0; i < 6; i++) {
        const ct_parametrization_scale *s = ct_parametrization_scale_of(p, i);
        assert_true(s->class == classes[i] && s->m == (i == 5 ? 1 : 2) && s->learning_rate == rates[i]);
    }
    ct_parametrization_destroy(p);
    ct_model_destroy(model);
}

/* Heads of 4 times the channels: logits q k / sqrt(d) times sqrt(d_base / d) = 1/2. */
static void attention(void **state) {
    (void)state;
    ct_model *model = model_from(GPT(64, 2, ",\"tie_word_embeddings\":false"), 1);
    ct_parametrization *p = parametrize(model, "{name: mup, base_width: 16}", "adamw");
    ct_run *run = ct_run_create(context, NULL);
    ct_parametrization_attach(p, run);
    ct_module *layer = ct_module_find(ct_model_root(model), "h.0.attn.c_attn");
    const ct_slot *slot = ct_module_slot_named(layer, "weight");
    ct_tensor *w = ct_run_weight(run, slot), *own = slot->parameter->tensor;
    ct_tensor *q = ct_slice(w, 1, 0, 64, 1), *kv = ct_slice(w, 1, 64, 192, 1);
    assert_same_bits(q, ct_mul_scalar(ct_slice(own, 1, 0, 64, 1), 0.5));
    assert_same_bits(kv, ct_slice(own, 1, 64, 192, 1));
    ct_run_destroy(run);
    ct_parametrization_destroy(p);
    p = parametrize(model, "{name: mup, base: {n_embd: 16, n_head: 1}, attention: 1/sqrt(d)}", "adamw");
    assert_non_null(p);
    ct_parametrization_destroy(p);
    ct_model_destroy(model);
}

/* What a slot resolves to is what it holds times this. */
static void assert_factor(ct_run *run, ct_model *model, const char *module, double factor) {
    const ct_slot *slot = ct_module_slot_named(ct_module_find(ct_model_root(model), module), "weight");
    assert_non_null(slot);
    assert_same_bits(ct_run_weight(run, slot), ct_mul_scalar(slot->parameter->tensor, factor));
}

/* Heads of 4 times the channels in the Llama family: of the queries' projection, of their norm where they
 * have one, and by the ratio itself where scores are divided by a number that does not grow. */
static void attention_of_decoders(void **state) {
    (void)state;
    static const struct {
        const char *config;
        double projection, norm;
    } cases[] = {{"{\"model_type\":\"llama\",", 0.5, 0},
                 {"{\"model_type\":\"qwen3\",\"head_dim\":32,", 1, 0.5},
                 {"{\"model_type\":\"gemma2\",\"head_dim\":32,\"tie_word_embeddings\":false,", 0.25, 0}};
    for (int i = 0; i < 3; i++) {
        char json[300];
        snprintf(json, sizeof(json),
                 "%s\"vocab_size\":9,\"hidden_size\":64,\"intermediate_size\":32,\"num_hidden_layers\":1,"
                 "\"num_attention_heads\":2,\"num_key_value_heads\":2,\"max_position_embeddings\":8}",
                 cases[i].config);
        ct_model *model = model_from(json, 1);
        ct_parametrization *p = parametrize(model, "{name: mup, base_width: 16}", "adamw");
        assert_ok();
        ct_run *run = ct_run_create(context, NULL);
        ct_parametrization_attach(p, run);
        assert_factor(run, model, "layers.0.self_attn.q_proj", cases[i].projection);
        assert_factor(run, model, "layers.0.self_attn.k_proj", 1);
        if (cases[i].norm > 0) assert_factor(run, model, "layers.0.self_attn.q_norm", cases[i].norm);
        ct_run_destroy(run);
        ct_parametrization_destroy(p);
        ct_model_destroy(model);
    }
}

/* ------------------------------------------------------------------------------------- bad input */

static void refused(ct_model *model, const char *choice, const char *optimizer, const char *words) {
    assert_null(parametrize(model, choice, optimizer));
    if (!strstr(ct_context_message(context), words))
        fail_msg("\"%s\" not in \"%s\"", words, ct_context_message(context));
    ct_context_clear(context);
}

static void bad_input(void **state) {
    (void)state;
    ct_model *model = model_from(GPT(64, 2, ""), 1), *mlp = model_from(NET, 1);
    refused(model, "{name: mupp, base_width: 16}", "adamw", "mup");
    refused(model, "{name: mup}", "adamw", "expected base_width");
    refused(model, "mup", "adamw", "expected {name: mup, base_width: 64}");
    refused(model, "{name: mup, base_width: 16, with: 2}", "adamw", "with");
    refused(model, "{name: mup, base: {n_layer: 2, n_embd: 16}}", "adamw", "not in depth");
    refused(model, "{name: mup, base_width: 15}", "adamw", "n_head");
    refused(model, "{name: mup, base_width: 16}", "muon", "is not known");
    refused(model, "{name: ntk, base_width: 16}", "adamw", "defined for SGD");
    refused(mlp, "{name: custom, base_width: 16}", "sgd", "param.a: expected three exponents");
    refused(mlp, "{name: custom, base_width: 16, a: [0, 0, 0], b: [0, x, 0]}", "sgd",
            "param.b: expected three");
    refused(mlp, "{name: custom, base_width: 16, a: [0, 0, 0], b: [0, 0, 0]}", "adamw", "defined for SGD");
    refused(mlp, "{name: ntk, base_width: 16, c: 1}", "sgd", "param.c: ntk has exponents of its own");
    refused(mlp, "{name: mean_field, base_width: 16}", "sgd", "\"2.weight\" stands between two");
    ct_model_destroy(model);
    ct_model_destroy(mlp);
}

static void memory_runs_out(void **state) {
    (void)state;
    ct_model *model = model_from(NET, 1);
    ct_value *choice = yaml("{name: mup, base_width: 16}");
    bool done = false;
    for (int64_t n = 1; n < 3000 && !done; n++) {
        ct_memory_fail_at(context, n);
        ct_parametrization *p = ct_parametrization_create(model, choice, "sgd");
        ct_memory_fail_at(context, 0);
        done = p != NULL;
        if (!done) assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
        ct_parametrization_destroy(p);
    }
    assert_true(done);
    ct_value_free(choice);
    ct_model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(calculator),
                                       reach_test(base_width),
                                       reach_test(symmetry),
                                       reach_test(custom),
                                       reach_test(zero_queries),
                                       reach_test(adam_table),
                                       reach_test(fixed_shapes),
                                       reach_test(tied_head),
                                       reach_test(tied_head_without_gain),
                                       reach_test(attention),
                                       reach_test(attention_of_decoders),
                                       reach_test(bad_input),
                                       reach_test(memory_runs_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
