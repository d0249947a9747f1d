/* llama_config.c - config.json of the Llama family: the keys of each member with its defaults (those of
 * transformers), their differences, and what a model is built from. */
#include "model/llama.h"
#include <math.h>
#include <string.h>

/* transformers' names, and what they are called here. */
static const char *const activations[] = {"silu", "swish", "gelu_pytorch_tanh", "gelu_new", "gelu",
                                          "relu", NULL};
static const char *const activation_kinds[] = {"silu", "silu", "gelu_tanh", "gelu_tanh", "gelu", "relu"};

/* ---------------------------------------------------------------------------------------------- tables */

#define INT(name, default_, min, max, help)                                                                  \
    CT_OPTION_INT(#name, ct_decoder_options, name, default_, min, max, help)
#define REAL(name, default_, min, max, help)                                                                 \
    CT_OPTION_REAL(#name, ct_decoder_options, name, default_, min, max, help)
#define BOOL(name, default_, help) CT_OPTION_BOOL(#name, ct_decoder_options, name, default_, help)
#define VALUE(name, help) CT_OPTION_VALUE(#name, ct_decoder_options, name, help)

/* What every member has. */
#define SIZES(vocabulary, width, inner, layers, heads, positions)                                            \
    INT(vocab_size, vocabulary, 1, 1e8, "tokens"), INT(hidden_size, width, 1, 1e6, "width"),                 \
        INT(intermediate_size, inner, 1, 1e7, "width of the perceptron"),                                    \
        INT(num_hidden_layers, layers, 1, 1e4, "blocks"),                                                    \
        INT(num_attention_heads, heads, 1, 1e5, "query heads"),                                              \
        INT(max_position_embeddings, positions, 1, 1e9, "the longest sequence")
#define HEADS(kv_heads, channels)                                                                            \
    INT(num_key_value_heads, kv_heads, 1, 1e5, "heads of keys and values; null (llama: if absent): all"),    \
        INT(head_dim, channels, 1, 1e6, "channels of a head; 0: hidden_size / num_attention_heads")
#define REST(tie)                                                                                            \
    REAL(rms_norm_eps, 1e-6, 0, 1, "of the norms"),                                                          \
        REAL(rope_theta, 10000, 1e-6, 1e15, "base of rotary positions"),                                     \
        VALUE(rope_scaling, "stretches rotary positions: {rope_type: linear|llama3|yarn, factor: ...}"),     \
        VALUE(rope_parameters, "rope_theta and rope_scaling in one map, as newer files have them"),          \
        REAL(attention_dropout, 0, 0, 0.999, "dropout on attention probabilities"),                          \
        REAL(initializer_range, 0.02, 1e-9, 10, "deviation of initial weights"),                             \
        BOOL(tie_word_embeddings, tie, "the head shares embed_tokens"),                                      \
        VALUE(norm,                                                                                          \
              "other norms than the family's: a method's name, or {name (rmsnorm), place: pre|post|mix|"     \
              "peri|deepnorm, ...}"),                                                                        \
        INT(bos_token_id, -1, -1, 1e8, "begins a text; -1: none"),                                           \
        INT(eos_token_id, -1, -1, 1e8, "ends a text (of a list the first); -1: none"), CT_OPTION_END
#define ACTIVATION(key)                                                                                      \
    CT_OPTION_CHOICE(key, ct_decoder_options, hidden_act, "silu", activations, "of the perceptron's gate")
#define WINDOW(help) INT(sliding_window, 4096, 1, 1e12, help)
#define QWEN_WINDOW                                                                                          \
    WINDOW("a token sees itself and so many less 1 before it, in layers with a window"),                     \
        BOOL(use_sliding_window, false, "whether any layer has a window"),                                   \
        INT(max_window_layers, 28, 0, 1e6, "layers from this number on have it"),                            \
        VALUE(layer_types, "list of full_attention and sliding_attention, in place of max_window_layers")

static const ct_option llama_table[] = {
    SIZES(32000, 4096, 11008, 32, 32, 2048),
    HEADS(0, 0),
    ACTIVATION("hidden_act"),
    BOOL(attention_bias, false, "q_proj, k_proj, v_proj and o_proj have biases"),
    BOOL(mlp_bias, false, "the perceptron's layers have biases"),
    REST(false)};

static const ct_option mistral_table[] = {
    SIZES(32000, 4096, 14336, 32, 32, 131072), HEADS(8, 0), ACTIVATION("hidden_act"),
    WINDOW("a token sees itself and so many less 1 before it; null: all"), REST(false)};

static const ct_option qwen2_table[] = {SIZES(151936, 4096, 22016, 32, 32, 32768), HEADS(32, 0),
                                        ACTIVATION("hidden_act"), QWEN_WINDOW, REST(false)};

static const ct_option qwen3_table[] = {
    SIZES(151936, 4096, 22016, 32, 32, 32768),
    HEADS(32, 128),
    ACTIVATION("hidden_act"),
    BOOL(attention_bias, false, "q_proj, k_proj, v_proj and o_proj have biases"),
    QWEN_WINDOW,
    REST(false)};

static const ct_option gemma2_table[] = {
    SIZES(256000, 2304, 9216, 26, 8, 8192),
    HEADS(4, 256),
    CT_OPTION_CHOICE("hidden_activation", ct_decoder_options, hidden_act, "gelu_pytorch_tanh", activations,
                     "of the perceptron's gate"),
    BOOL(attention_bias, false, "q_proj, k_proj, v_proj and o_proj have biases"),
    REAL(query_pre_attn_scalar, 256, 1e-6, 1e9, "scores are divided by its square root"),
    CT_OPTION_REAL("attn_logit_softcapping", ct_decoder_options, attn_soft_cap, 50, 1e-6, 1e9,
                   "scores become c tanh(score / c); null: off"),
    CT_OPTION_REAL("final_logit_softcapping", ct_decoder_options, final_soft_cap, 30, 1e-6, 1e9,
                   "logits become c tanh(logit / c); null: off"),
    WINDOW("a token sees itself and so many less 1 before it, in every second layer; null: all"),
    VALUE(layer_types, "list of full_attention and sliding_attention, one a layer"),
    REST(true)};

/* ----------------------------------------------------------------------------------------- architectures */

static char *file_name(ct_context *context, const char *path) {
    bool head = strncmp(path, "lm_head.", 8) == 0;
    return ct_format(context, "%s%s", head ? "" : "model.", path);
}

/* Frequencies that old files carry for each layer, and a head that is tied anyway. */
static bool is_buffer(const char *name) {
    static const char suffix[] = "rotary_emb.inv_freq";
    size_t length = strlen(name), tail = sizeof(suffix) - 1;
    bool frequencies = length > tail && strcmp(name + length - tail, suffix) == 0;
    return frequencies || strcmp(name, "lm_head.weight") == 0;
}

/* Of texts that rotary positions were stretched for, where the configuration still has the old length. */
static int64_t context_length(const void *options) {
    const ct_decoder_options *o = options;
    const ct_value *rope = o->rope_parameters ? o->rope_parameters : o->rope_scaling;
    const char *type = ct_value_as_string(ct_value_get(rope, "rope_type"), "");
    if (!*type) type = ct_value_as_string(ct_value_get(rope, "type"), "");
    double old = ct_value_as_real(ct_value_get(rope, "original_max_position_embeddings"), 0);
    double stretched =
        strcmp(type, "yarn") == 0 ? old * ct_value_as_real(ct_value_get(rope, "factor"), 1) : 0;
    bool longer = stretched > (double)o->max_position_embeddings && stretched < 1e9;
    return longer ? (int64_t)stretched : o->max_position_embeddings;
}
static int64_t vocabulary(const void *options) {
    return ((const ct_decoder_options *)options)->vocab_size;
}
static int64_t layers(const void *options) {
    return ((const ct_decoder_options *)options)->num_hidden_layers;
}

static ct_status narrow(ct_context *context, const void *options, ct_value *config) {
    const ct_decoder_options *o = options;
    int64_t head_dim = o->head_dim ? o->head_dim : o->hidden_size / o->num_attention_heads;
    ct_value_set(config, "head_dim", ct_value_int(context, head_dim));
    return ct_value_set(config, "hidden_size", ct_value_int(context, o->hidden_size - 1));
}

static const ct_stream_part stream[] = {
    {.module = "embed_tokens", .role = CT_STREAM_TABLE},
    {.module = "layers.*.self_attn.q_proj", .role = CT_STREAM_READER, .norm = "layers.*.input_layernorm"},
    {.module = "layers.*.self_attn.k_proj", .role = CT_STREAM_READER, .norm = "layers.*.input_layernorm"},
    {.module = "layers.*.self_attn.v_proj", .role = CT_STREAM_READER, .norm = "layers.*.input_layernorm"},
    {.module = "layers.*.self_attn.o_proj", .role = CT_STREAM_WRITER},
    {.module = "layers.*.mlp.gate_proj", .role = CT_STREAM_READER, .norm = "layers.*.post_attention_layernorm"},
    {.module = "layers.*.mlp.up_proj", .role = CT_STREAM_READER, .norm = "layers.*.post_attention_layernorm"},
    {.module = "layers.*.mlp.down_proj", .role = CT_STREAM_WRITER},
    {.module = "lm_head", .role = CT_STREAM_READER, .norm = "norm"},
    {.module = NULL}};

#define ARCHITECTURE(name, class_, title, stream_)                                                           \
    const ct_architecture ct_architecture_##name = {.model_type = #name,                                     \
                                                    .class_name = class_,                                    \
                                                    .summary = title,                                        \
                                                    .options = name##_table,                                 \
                                                    .options_size = sizeof(ct_decoder_options),              \
                                                    .build = ct_decoder_build,                               \
                                                    .prefix = "model.",                                      \
                                                    .file_name = file_name,                                  \
                                                    .is_buffer = is_buffer,                                  \
                                                    .context_length = context_length,                        \
                                                    .vocabulary = vocabulary,                                \
                                                    .layers = layers,                                        \
                                                    .narrow = narrow,                                        \
                                                    .stream = stream_}
ARCHITECTURE(llama, "LlamaForCausalLM", "Llama 2 and 3 (Touvron et al., arXiv:2307.09288; arXiv:2407.21783)",
             stream);
ARCHITECTURE(mistral, "MistralForCausalLM", "Mistral: a sliding window (Jiang et al., arXiv:2310.06825)",
             stream);
ARCHITECTURE(qwen2, "Qwen2ForCausalLM", "Qwen2: biases of q, k, v (Yang et al., arXiv:2407.10671)", stream);
ARCHITECTURE(qwen3, "Qwen3ForCausalLM", "Qwen3: norms of queries and keys (Yang et al., arXiv:2505.09388)",
             stream);
ARCHITECTURE(gemma2, "Gemma2ForCausalLM",
             "Gemma 2: soft caps, norms on both sides, windows in turn (arXiv:2408.00118)", NULL);

static const ct_decoder_family families[] = {
    {.architecture = &ct_architecture_llama, .window = CT_WINDOW_NEVER},
    {.architecture = &ct_architecture_mistral, .window = CT_WINDOW_ALL},
    {.architecture = &ct_architecture_qwen2,
     .window = CT_WINDOW_UPPER,
     .layer_types = true,
     .qkv_bias = true},
    {.architecture = &ct_architecture_qwen3, .window = CT_WINDOW_UPPER, .layer_types = true, .qk_norm = true},
    {.architecture = &ct_architecture_gemma2,
     .window = CT_WINDOW_ALTERNATE,
     .layer_types = true,
     .unit_offset = true,
     .peri = true,
     .scale_embedding = true}};

const ct_decoder_family *ct_decoder_family_of(const ct_value *config) {
    const char *type = ct_value_as_string(ct_value_get(config, "model_type"), "");
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        if (strcmp(families[i].architecture->model_type, type) == 0) return &families[i];
    return NULL;
}

/* ---------------------------------------------------------------------------------------------- refusals */

/* Keys that change what is computed and that nothing here does. */
static ct_status refuse_unknown(ct_context *context, const ct_value *config) {
    static const char *const experts[] = {"num_local_experts", "num_experts", "n_routed_experts"};
    const ct_value *quantized = ct_value_get(config, "quantization_config");
    if (ct_value_kind_of(quantized) != CT_VALUE_NULL)
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "config.quantization_config: quant_method \"%s\" is not built; convert the weights to "
                       "f32, bf16 or "
                       "f16 first",
                       ct_value_as_string(ct_value_get(quantized, "quant_method"), "?"));
    for (size_t i = 0; i < sizeof(experts) / sizeof(experts[0]); i++)
        if (ct_value_as_int(ct_value_get(config, experts[i]), 0) > 0)
            return ct_fail(context, CT_ERROR_UNSUPPORTED,
                           "config.%s: %lld experts; mixtures of experts are not built", experts[i],
                           (long long)ct_value_as_int(ct_value_get(config, experts[i]), 0));
    if (ct_value_as_bool(ct_value_get(config, "use_bidirectional_attention"), false))
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "config.use_bidirectional_attention: true is not built, attention is causal");
    if (ct_value_as_real(ct_value_get(config, "partial_rotary_factor"), 1) != 1)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "config.partial_rotary_factor: %g is not built, only 1",
                       ct_value_as_real(ct_value_get(config, "partial_rotary_factor"), 1));
    return CT_OK;
}

/* A key that is there without a value switches off what is on by default. */
static bool is_off(const ct_value *config, const char *key) {
    const ct_value *value = ct_value_get(config, key);
    return value && ct_value_kind_of(value) == CT_VALUE_NULL;
}

static ct_status read_sizes(ct_context *context, const ct_value *config, ct_decoder_plan *plan) {
    const ct_decoder_options *o = plan->options;
    int64_t heads = o->num_attention_heads;
    plan->kv_heads =
        is_off(config, "num_key_value_heads") || !o->num_key_value_heads ? heads : o->num_key_value_heads;
    if (heads % plan->kv_heads)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "config: num_attention_heads %lld is not a multiple of num_key_value_heads %lld",
                       (long long)heads, (long long)plan->kv_heads);
    plan->head_dim = o->head_dim;
    if (!plan->head_dim && o->hidden_size % heads)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "config: hidden_size %lld is not a multiple of num_attention_heads %lld (and there is "
                       "no head_dim)",
                       (long long)o->hidden_size, (long long)heads);
    if (!plan->head_dim) plan->head_dim = o->hidden_size / heads;
    if (plan->head_dim % 2)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "config: heads have %lld channels, rotary positions need an even number",
                       (long long)plan->head_dim);
    plan->attention_cap = is_off(config, "attn_logit_softcapping") ? 0 : o->attn_soft_cap;
    plan->final_cap = is_off(config, "final_logit_softcapping") ? 0 : o->final_soft_cap;
    plan->activation = activation_kinds[o->hidden_act];
    return CT_OK;
}

/* ---------------------------------------------------------------------------------------------- windows */

static ct_status check_layer_types(ct_context *context, const ct_decoder_plan *plan) {
    const ct_value *types = plan->options->layer_types;
    int64_t count = (int64_t)ct_value_count(types);
    if (ct_value_kind_of(types) != CT_VALUE_LIST || count != plan->options->num_hidden_layers)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "config.layer_types: expected a list of %lld, one for each layer, found %s of %lld",
                       (long long)plan->options->num_hidden_layers,
                       ct_value_kind_name(ct_value_kind_of(types)), (long long)count);
    for (int64_t i = 0; i < count; i++) {
        const char *type = ct_value_as_string(ct_value_at(types, (size_t)i), "?");
        bool slides = strcmp(type, "sliding_attention") == 0;
        if (!slides && strcmp(type, "full_attention") != 0)
            return ct_fail(context, CT_ERROR_UNSUPPORTED,
                           "config.layer_types.%lld: \"%s\" is not built; there are full_attention and "
                           "sliding_attention",
                           (long long)i, type);
        if (slides && !plan->window)
            return ct_fail(
                context, CT_ERROR_ARGUMENT,
                "config.layer_types.%lld: sliding_attention, but there is no sliding_window%s", (long long)i,
                plan->family->window == CT_WINDOW_UPPER ? " (use_sliding_window is not true)" : "");
    }
    return CT_OK;
}

static ct_status read_window(ct_context *context, const ct_value *config, ct_decoder_plan *plan) {
    const ct_decoder_options *o = plan->options;
    bool used = plan->family->window != CT_WINDOW_UPPER || o->use_sliding_window;
    plan->window = used && !is_off(config, "sliding_window") ? o->sliding_window : 0;
    bool given = plan->family->layer_types && o->layer_types;
    return given ? check_layer_types(context, plan) : CT_OK;
}

int64_t ct_decoder_window(const ct_decoder_plan *plan, int64_t layer) {
    const ct_decoder_options *o = plan->options;
    bool slides = plan->family->window == CT_WINDOW_ALL;
    if (plan->family->layer_types && o->layer_types)
        slides = strcmp(ct_value_as_string(ct_value_at(o->layer_types, (size_t)layer), ""),
                        "sliding_attention") == 0;
    else if (plan->family->window == CT_WINDOW_UPPER)
        slides = layer >= o->max_window_layers;
    else if (plan->family->window == CT_WINDOW_ALTERNATE)
        slides = layer % 2 == 0;
    return slides ? plan->window : 0;
}

/* ------------------------------------------------------------------------------------ rotary positions */

/* rope_theta and rope_scaling, or rope_parameters, as one map. Older files call rope_type "type". */
static ct_status read_rope(ct_context *context, const ct_value *config, ct_decoder_plan *plan) {
    const ct_decoder_options *o = plan->options;
    const ct_value *given = o->rope_scaling ? o->rope_scaling : o->rope_parameters;
    const char *key = o->rope_scaling ? "rope_scaling" : "rope_parameters";
    if (given && ct_value_kind_of(given) != CT_VALUE_MAP)
        return ct_fail(context, CT_ERROR_ARGUMENT, "config.%s: expected a map, found %s", key,
                       ct_value_kind_name(ct_value_kind_of(given)));
    ct_value *rope = plan->rope = given ? ct_value_copy(given) : ct_value_map(context);
    if (!rope) return ct_context_status(context);
    for (size_t i = 0; i < ct_value_count(rope); i++)
        if (ct_value_kind_of(ct_value_at(rope, i)) == CT_VALUE_MAP)
            return ct_fail(context, CT_ERROR_UNSUPPORTED,
                           "config.%s.%s: settings for each kind of layer are not built", key,
                           ct_value_key(rope, i));
    const ct_value *type = ct_value_get(rope, "type");
    if (type && !ct_value_get(rope, "rope_type")) ct_value_set(rope, "rope_type", ct_value_copy(type));
    ct_value_remove(rope, "type");
    const ct_value *outside = ct_value_get(config, "original_max_position_embeddings");
    if (!ct_value_get(rope, "rope_theta"))
        ct_value_set(rope, "rope_theta", ct_value_real(context, o->rope_theta));
    if (outside) ct_value_set(rope, "original_max_position_embeddings", ct_value_copy(outside));
    if (!ct_value_get(rope, "original_max_position_embeddings"))
        ct_value_set(rope, "original_max_position_embeddings",
                     ct_value_int(context, o->max_position_embeddings));
    return ct_context_status(context);
}

/* ------------------------------------------------------------------------------------------------ norms */

/* Gemma 2 is peri without a norm on the embeddings; its names of norms are those of every peri decoder here.
 */
static void place_as_gemma(ct_context *context, ct_value *norm) {
    const ct_value *asked = ct_value_get(norm, "peri");
    bool is_map = !asked || ct_value_kind_of(asked) == CT_VALUE_MAP;
    ct_value *peri = asked ? ct_value_copy(asked) : ct_value_map(context);
    if (!peri || !is_map) {
        ct_value_free(peri);
        return;
    }
    if (!ct_value_get(peri, "emb")) ct_value_set(peri, "emb", ct_value_bool(context, false));
    ct_value_set(norm, "place", ct_value_string(context, "peri"));
    ct_value_set(norm, "peri", peri);
}

/* The family's norms, or what the key "norm" asks for: then it stands where that says, before the sublayers
 * by default. */
static ct_status read_norm(ct_context *context, ct_decoder_plan *plan) {
    const ct_value *given = plan->options->norm;
    bool is_map = !given || ct_value_kind_of(given) == CT_VALUE_MAP;
    ct_value *norm = given ? ct_value_copy(given) : ct_value_map(context);
    if (!norm) return ct_context_status(context);
    if (is_map && !ct_value_get(norm, "name")) {
        ct_value_set(norm, "name", ct_value_string(context, "rmsnorm"));
        if (plan->family->unit_offset && !ct_value_get(norm, "unit_offset"))
            ct_value_set(norm, "unit_offset", ct_value_bool(context, true));
    }
    bool peri = is_map && strcmp(ct_value_as_string(ct_value_get(norm, "place"), ""), "peri") == 0;
    if (plan->family->peri && (!given || peri)) place_as_gemma(context, norm);
    ct_status status = ct_norm_choice_read(context, norm, plan->options->rms_norm_eps, &plan->norm);
    ct_value_free(norm);
    return status;
}

ct_status ct_decoder_plan_read(ct_context *context, const ct_decoder_options *options, const ct_value *config,
                               ct_decoder_plan *plan) {
    *plan = (ct_decoder_plan){.family = ct_decoder_family_of(config), .options = options};
    if (!plan->family)
        return ct_fail(context, CT_ERROR_ARGUMENT, "config.model_type: \"%s\" is not of the Llama family",
                       ct_value_as_string(ct_value_get(config, "model_type"), ""));
    if (refuse_unknown(context, config) == CT_OK && read_sizes(context, config, plan) == CT_OK &&
        read_window(context, config, plan) == CT_OK && read_rope(context, config, plan) == CT_OK)
        read_norm(context, plan);
    return ct_context_status(context);
}

void ct_decoder_plan_free(ct_decoder_plan *plan) {
    ct_value_free(plan->rope);
    ct_norm_choice_free(&plan->norm);
    plan->rope = NULL;
}
