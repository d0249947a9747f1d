/* settings.c - hyperparameters: config.json to the keys of GGUF and back. */
#include "convert/family.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KEY_SIZE 128

static const char *key_of(const ct_family *family, const char *name, char key[KEY_SIZE]) {
    snprintf(key, KEY_SIZE, "%s.%s", family->architecture, name);
    return key;
}

const ct_value *ct_rope_setting(const ct_value *config, const char *key) {
    static const char *const places[] = {"rope_parameters", "rope_scaling"};
    for (int i = 0; i < 2; i++) {
        const ct_value *value = ct_value_get(ct_value_get(config, places[i]), key);
        if (ct_value_kind_of(value) != CT_VALUE_NULL) return value;
    }
    return ct_value_get(config, key);
}

static const char *rope_type(const ct_value *config) {
    const ct_value *value = ct_rope_setting(config, "rope_type");
    if (ct_value_kind_of(value) != CT_VALUE_STRING)
        value = ct_value_get(ct_value_get(config, "rope_scaling"), "type");
    return ct_value_as_string(value, "default");
}

/* Meta's rule (transformers, modeling_rope_utils.py): wavelengths beyond original / low are stretched by
 * `factor`, those below original / high not at all, and between them smoothly. */
bool ct_llama3_factors(const ct_value *config, float *factors, int64_t count) {
    if (strcmp(rope_type(config), "llama3") != 0) return false;
    double base = ct_value_as_real(ct_rope_setting(config, "rope_theta"), 10000.0);
    double factor = ct_value_as_real(ct_rope_setting(config, "factor"), 8.0);
    double low = ct_value_as_real(ct_rope_setting(config, "low_freq_factor"), 1.0);
    double high = ct_value_as_real(ct_rope_setting(config, "high_freq_factor"), 4.0);
    double original = ct_value_as_real(ct_rope_setting(config, "original_max_position_embeddings"), 8192.0);
    for (int64_t i = 0; i < count; i++) {
        float frequency = 1.0f / (float)pow(base, (double)(2 * i) / (double)(2 * count));
        double wavelength = 2 * 3.14159265358979323846 / (double)frequency;
        double smooth = (original / wavelength - low) / (high - low);
        factors[i] = wavelength < original / high  ? 1.0f
                     : wavelength > original / low ? (float)factor
                                                   : (float)(1 / ((1 - smooth) / factor + smooth));
    }
    return true;
}

static int64_t head_size(const ct_value *config) {
    int64_t heads = ct_config_heads(config, false);
    int64_t size = heads > 0 ? ct_value_as_int(ct_value_get(config, "hidden_size"), 0) / heads : 0;
    return ct_value_as_int(ct_value_get(config, "head_dim"), size);
}

ct_status ct_rope_factors(ct_plan *plan, const ct_family *family, const ct_value *config) {
    int64_t count = head_size(config) / 2;
    if (!family->rope || strcmp(rope_type(config), "llama3") != 0 || count < 1 || count > 65536) return CT_OK;
    float *factors = ct_alloc(plan->context, (size_t)count * sizeof *factors, CT_MEMORY_OTHER);
    if (factors && ct_llama3_factors(config, factors, count))
        ct_plan_add_values(plan, "rope_freqs.weight", factors, count);
    ct_free(plan->context, factors);
    return ct_context_status(plan->context);
}

/* ------------------------------------------------------------------------------------------------ to GGUF */

static ct_status set_count(ct_plan *plan, ct_gguf_writer *writer, const char *key, int64_t value) {
    if (value < 0 || value > UINT32_MAX)
        return ct_fail(plan->context, CT_ERROR_FORMAT, "config.json: %lld does not fit %s", (long long)value,
                       key);
    return ct_gguf_set_u32(writer, key, (uint32_t)value);
}

static ct_status put_settings(ct_plan *plan, const ct_family *family, const ct_value *config,
                              ct_gguf_writer *writer) {
    char key[KEY_SIZE];
    for (const ct_setting *setting = family->settings; setting->gguf; setting++) {
        const ct_value *value = ct_value_get(config, setting->hf);
        ct_value_kind kind = ct_value_kind_of(value);
        key_of(family, setting->gguf, key);
        if (kind != CT_VALUE_INT && (kind != CT_VALUE_REAL || setting->kind == CT_SETTING_COUNT)) {
            if (kind == CT_VALUE_NULL && setting->otherwise > 0) {
                if (ct_gguf_set_f32(writer, key, (float)setting->otherwise)) break;
                continue;
            }
            if (setting->needed || kind != CT_VALUE_NULL)
                return ct_fail(plan->context, CT_ERROR_FORMAT, "config.json: %s is %s, expected a number",
                               setting->hf, value ? ct_value_kind_name(kind) : "absent");
            if (strcmp(setting->hf, "num_key_value_heads") == 0)
                set_count(plan, writer, key, ct_config_heads(config, true));
            if (strcmp(setting->hf, "n_inner") == 0)
                set_count(plan, writer, key, 4 * ct_value_as_int(ct_value_get(config, "n_embd"), 0));
            continue;
        }
        ct_status status = setting->kind == CT_SETTING_COUNT
                               ? set_count(plan, writer, key, ct_value_as_int(value, 0))
                               : ct_gguf_set_f32(writer, key, (float)ct_value_as_real(value, 0));
        if (status) return status;
    }
    return ct_context_status(plan->context);
}

/* The parameters of llama3 that rope_freqs does not show, so that the way back is exact; llama.cpp passes
 * over them. */
static void put_llama3(const ct_value *config, ct_gguf_writer *writer) {
    static const char *const names[] = {"factor", "low_freq_factor", "high_freq_factor",
                                        "original_max_position_embeddings"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char key[KEY_SIZE];
        snprintf(key, sizeof key, "carat.rope.%s", names[i]);
        const ct_value *value = ct_rope_setting(config, names[i]);
        if (value) ct_gguf_set_f32(writer, key, (float)ct_value_as_real(value, 0));
    }
}

static ct_status put_rope(ct_plan *plan, const ct_family *family, const ct_value *config,
                          ct_gguf_writer *writer) {
    char key[KEY_SIZE];
    const char *type = rope_type(config);
    const ct_value *theta = ct_rope_setting(config, "rope_theta");
    const ct_value *factor = ct_rope_setting(config, "factor");
    ct_gguf_set_u32(writer, key_of(family, "rope.dimension_count", key), (uint32_t)head_size(config));
    if (theta)
        ct_gguf_set_f32(writer, key_of(family, "rope.freq_base", key), (float)ct_value_as_real(theta, 10000));
    if (strcmp(type, "default") == 0) return ct_context_status(plan->context);
    if (strcmp(type, "llama3") == 0) {
        put_llama3(config, writer);
        return ct_context_status(plan->context);
    }
    bool yarn = strcmp(type, "yarn") == 0;
    if ((!yarn && strcmp(type, "linear") != 0) || !factor)
        return ct_fail(
            plan->context, CT_ERROR_UNSUPPORTED,
            "config.json: rope of type \"%s\"%s has no translation to GGUF (default, linear, yarn and llama3 "
            "have)",
            type, factor ? "" : " without a factor");
    ct_gguf_set_string(writer, key_of(family, "rope.scaling.type", key), type, strlen(type));
    ct_gguf_set_f32(writer, key_of(family, "rope.scaling.factor", key), (float)ct_value_as_real(factor, 1));
    if (!yarn) return ct_context_status(plan->context);
    const ct_value *original = ct_rope_setting(config, "original_max_position_embeddings");
    int64_t length =
        ct_value_as_int(original, ct_value_as_int(ct_value_get(config, "max_position_embeddings"), 0));
    set_count(plan, writer, key_of(family, "rope.scaling.original_context_length", key), length);
    static const char *const names[][2] = {{"attention_factor", "rope.scaling.yarn_attn_factor"},
                                           {"beta_fast", "rope.scaling.yarn_beta_fast"},
                                           {"beta_slow", "rope.scaling.yarn_beta_slow"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const ct_value *value = ct_rope_setting(config, names[i][0]);
        if (ct_value_kind_of(value) == CT_VALUE_REAL || ct_value_kind_of(value) == CT_VALUE_INT)
            ct_gguf_set_f32(writer, key_of(family, names[i][1], key), (float)ct_value_as_real(value, 1));
    }
    return ct_context_status(plan->context);
}

static ct_status check_activation(ct_plan *plan, const ct_family *family, const ct_value *config) {
    const char *key = ct_value_get(config, "hidden_activation") ? "hidden_activation"
                      : ct_value_get(config, "hidden_act")      ? "hidden_act"
                                                                : "activation_function";
    const char *found = ct_value_as_string(ct_value_get(config, key), family->activation);
    if (strcmp(found, family->activation) == 0) return CT_OK;
    return ct_fail(plan->context, CT_ERROR_UNSUPPORTED,
                   "config.json: %s is \"%.60s\"; llama.cpp computes %s models with \"%s\" only", key, found,
                   family->model_type, family->activation);
}

/* What llama.cpp divides Gemma 2's queries by, squared: the size of a head, but for the 27B model. */
static int64_t gemma2_scalar(int64_t layers, int64_t width, int64_t heads, int64_t head) {
    return layers == 46 && heads > 0 ? width / heads : head;
}

static ct_status check_gemma2(ct_plan *plan, const ct_value *config) {
    int64_t used = gemma2_scalar(ct_value_as_int(ct_value_get(config, "num_hidden_layers"), 0),
                                 ct_value_as_int(ct_value_get(config, "hidden_size"), 0),
                                 ct_config_heads(config, false), head_size(config));
    double found = ct_value_as_real(ct_value_get(config, "query_pre_attn_scalar"), 256);
    if (found == (double)used) return CT_OK;
    return ct_fail(
        plan->context, CT_ERROR_UNSUPPORTED,
        "config.json: query_pre_attn_scalar is %g; llama.cpp computes this gemma2 model with %lld only",
        found, (long long)used);
}

/* llama.cpp's numbers of file types (llama.h, llama_ftype): what most matrices are. */
static uint32_t file_type(ct_element type) {
    switch ((int)type) {
    case CT_FILE_F32:
        return 0;
    case CT_FILE_BF16:
        return 32;
    case CT_ELEMENT_Q4_0:
        return 2;
    case CT_ELEMENT_Q8_0:
        return 7;
    default:
        return 1;
    }
}

/* What llama.cpp leaves out, said aloud. */
static void warn(ct_plan *plan, const ct_family *family, const ct_value *config) {
    int64_t window = ct_value_as_int(ct_value_get(config, "sliding_window"), 0);
    bool used = strcmp(family->model_type, "mistral") == 0 ||
                ct_value_as_bool(ct_value_get(config, "use_sliding_window"), false);
    if (window > 0 && used && strcmp(family->model_type, "gemma2") != 0)
        ct_log_message(
            plan->context, CT_LOG_WARNING,
            "GGUF has no sliding window for %s: llama.cpp attends to all positions, not to the last %lld",
            family->architecture, (long long)window);
}

ct_status ct_settings_to_gguf(ct_plan *plan, const ct_family *family, const ct_value *config,
                              ct_gguf_writer *writer, const char *name, ct_element type) {
    char key[KEY_SIZE];
    if (check_activation(plan, family, config)) return ct_context_status(plan->context);
    if (strcmp(family->model_type, "gemma2") == 0 && check_gemma2(plan, config))
        return ct_context_status(plan->context);
    ct_gguf_set_string(writer, "general.architecture", family->architecture, strlen(family->architecture));
    ct_gguf_set_string(writer, "general.type", "model", 5);
    ct_gguf_set_string(writer, "general.name", name, strlen(name));
    ct_gguf_set_u32(writer, "general.file_type", file_type(type));
    ct_gguf_set_u32(writer, "general.quantization_version", 2);
    ct_gguf_set_string(writer, "carat.model_type", family->model_type, strlen(family->model_type));
    int64_t window = ct_value_as_int(ct_value_get(config, "sliding_window"), 0);
    if (window > 0 && strcmp(family->model_type, "mistral") == 0)
        set_count(plan, writer, "carat.sliding_window", window);
    if (put_settings(plan, family, config, writer)) return ct_context_status(plan->context);
    if (strcmp(family->model_type, "bert") == 0) {
        ct_gguf_set_bool(writer, key_of(family, "attention.causal", key), false);
        set_count(plan, writer, "tokenizer.ggml.token_type_count",
                  ct_value_as_int(ct_value_get(config, "type_vocab_size"), 1));
    }
    warn(plan, family, config);
    return family->rope ? put_rope(plan, family, config, writer) : ct_context_status(plan->context);
}

/* ---------------------------------------------------------------------------------------------- from GGUF */

/* The f32 as the shortest decimal that means it: 1e-05, not 9.99999974737875e-06. */
static ct_value *short_real(ct_context *context, double value) {
    char text[40];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtof(text, NULL) == (float)value) return ct_value_real(context, strtod(text, NULL));
    }
    return ct_value_real(context, value);
}

/* A config with the llama3 parameters whose factors are those of the file; the usual ones if it does not say.
 */
static ct_status take_llama3(ct_context *context, const ct_archive *archive, const ct_gguf *gguf,
                             ct_value *config) {
    const ct_archive_tensor *freqs = ct_archive_find(archive, "rope_freqs.weight");
    if (!freqs) return CT_OK;
    if (freqs->count < 1 || freqs->count > 65536)
        return ct_fail(context, CT_ERROR_FORMAT, "%s: rope_freqs.weight has %lld elements",
                       ct_archive_path(archive), (long long)freqs->count);
    size_t size = (size_t)freqs->count * sizeof(float);
    float *found = ct_alloc(context, 2 * size, CT_MEMORY_OTHER), *made = found ? found + freqs->count : NULL;
    if (!found || ct_archive_read_f32((ct_archive *)(uintptr_t)archive, freqs, found, 0, freqs->count)) {
        ct_free(context, found);
        return ct_context_status(context);
    }
    float most = 1;
    for (int64_t i = 0; i < freqs->count; i++)
        if (found[i] > most) most = found[i];
    ct_value *scaling = ct_value_map(context);
    if (scaling) {
        ct_value_set(scaling, "rope_type", ct_value_string(context, "llama3"));
        ct_value_set(scaling, "factor",
                     short_real(context, ct_gguf_real(gguf, "carat.rope.factor", (double)most)));
        ct_value_set(scaling, "low_freq_factor",
                     short_real(context, ct_gguf_real(gguf, "carat.rope.low_freq_factor", 1)));
        ct_value_set(scaling, "high_freq_factor",
                     short_real(context, ct_gguf_real(gguf, "carat.rope.high_freq_factor", 4)));
        ct_value_set(scaling, "original_max_position_embeddings",
                     ct_value_int(context, (int64_t)ct_gguf_real(
                                               gguf, "carat.rope.original_max_position_embeddings", 8192)));
        ct_value_set(config, "rope_scaling", scaling);
    }
    bool same = !ct_failed(context) && ct_llama3_factors(config, made, freqs->count);
    for (int64_t i = 0; same && i < freqs->count; i++)
        same = fabsf(found[i] - made[i]) <= 1e-5f * made[i];
    ct_free(context, found);
    if (same || ct_failed(context)) return ct_context_status(context);
    return ct_fail(
        context, CT_ERROR_UNSUPPORTED,
        "%s: rope_freqs.weight are not the factors of llama3 with 1, 4 and 8192 positions, so rope_scaling "
        "cannot be told from them",
        ct_archive_path(archive));
}

static ct_status take_scaling(ct_context *context, const ct_family *family, const ct_gguf *gguf,
                              ct_value *config) {
    static const char *const names[][2] = {{"factor", "rope.scaling.factor"},
                                           {"attention_factor", "rope.scaling.yarn_attn_factor"},
                                           {"beta_fast", "rope.scaling.yarn_beta_fast"},
                                           {"beta_slow", "rope.scaling.yarn_beta_slow"}};
    char key[KEY_SIZE];
    size_t length;
    const char *type = ct_gguf_string(gguf, key_of(family, "rope.scaling.type", key), &length);
    if (!type || (length == 4 && memcmp(type, "none", 4) == 0)) return CT_OK;
    ct_value *scaling = ct_value_map(context);
    if (!scaling) return ct_context_status(context);
    ct_value_set(scaling, "rope_type", ct_value_string_n(context, type, length));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (ct_gguf_find(gguf, key_of(family, names[i][1], key)))
            ct_value_set(scaling, names[i][0], short_real(context, ct_gguf_real(gguf, key, 1)));
    int64_t original = ct_gguf_int(gguf, key_of(family, "rope.scaling.original_context_length", key), 0);
    if (original) ct_value_set(scaling, "original_max_position_embeddings", ct_value_int(context, original));
    return ct_value_set(config, "rope_scaling", scaling);
}

static ct_status take_settings(ct_context *context, const ct_archive *archive, const ct_family *family,
                               ct_value *config) {
    char key[KEY_SIZE];
    const ct_gguf *gguf = ct_gguf_of(archive);
    for (const ct_setting *setting = family->settings; setting->gguf; setting++) {
        if (!ct_gguf_find(gguf, key_of(family, setting->gguf, key))) {
            if (setting->needed)
                return ct_fail(context, CT_ERROR_FORMAT, "%s: has no key %s", ct_archive_path(archive), key);
            continue;
        }
        ct_value_set(config, setting->hf,
                     setting->kind == CT_SETTING_COUNT ? ct_value_int(context, ct_gguf_int(gguf, key, 0))
                                                       : short_real(context, ct_gguf_real(gguf, key, 0)));
    }
    const ct_archive_tensor *embedding =
        ct_archive_need((ct_archive *)(uintptr_t)archive, "token_embd.weight");
    if (embedding && embedding->rank == 2)
        ct_value_set(config, "vocab_size", ct_value_int(context, embedding->shape[0]));
    return ct_context_status(context);
}

ct_value *ct_settings_from_gguf(ct_context *context, const ct_archive *archive, const ct_family *family,
                                ct_element type) {
    char key[KEY_SIZE];
    const ct_gguf *gguf = ct_gguf_of(archive);
    ct_value *config = ct_value_map(context), *classes = ct_value_list(context);
    if (!config || !classes) {
        ct_value_free(classes);
        ct_value_free(config);
        return NULL;
    }
    bool bert = strcmp(family->model_type, "bert") == 0;
    ct_value_append(classes, ct_value_string(context, family->class_name));
    ct_value_set(config, "architectures", classes);
    ct_value_set(config, "model_type", ct_value_string(context, family->model_type));
    take_settings(context, archive, family, config);
    ct_value_set(config,
                 strcmp(family->model_type, "gpt2") == 0     ? "activation_function"
                 : strcmp(family->model_type, "gemma2") == 0 ? "hidden_activation"
                                                             : "hidden_act",
                 ct_value_string(context, family->activation));
    if (family->rope && ct_gguf_find(gguf, key_of(family, "rope.freq_base", key)))
        ct_value_set(config, "rope_theta", short_real(context, ct_gguf_real(gguf, key, 10000)));
    if (family->rope && !take_scaling(context, family, gguf, config))
        take_llama3(context, archive, gguf, config);
    if (strcmp(family->model_type, "gemma2") == 0)
        ct_value_set(
            config, "query_pre_attn_scalar",
            ct_value_int(context, gemma2_scalar(ct_value_as_int(ct_value_get(config, "num_hidden_layers"), 0),
                                                ct_value_as_int(ct_value_get(config, "hidden_size"), 0),
                                                ct_config_heads(config, false), head_size(config))));
    if (ct_gguf_find(gguf, "carat.sliding_window") || strcmp(family->model_type, "mistral") == 0) {
        int64_t window = ct_gguf_int(gguf, "carat.sliding_window", 0);
        ct_value_set(config, "sliding_window",
                     window ? ct_value_int(context, window) : ct_value_null(context));
    }
    if (bert)
        ct_value_set(config, "type_vocab_size",
                     ct_value_int(context, ct_gguf_int(gguf, "tokenizer.ggml.token_type_count", 2)));
    else
        ct_value_set(config, "tie_word_embeddings",
                     ct_value_bool(context, !ct_archive_find(archive, "output.weight")));
    if (ct_archive_find(archive, "blk.0.attn_q.bias") && strcmp(family->architecture, "llama") == 0)
        ct_value_set(config, "attention_bias", ct_value_bool(context, true));
    if (ct_archive_find(archive, "blk.0.ffn_up.bias") && strcmp(family->architecture, "llama") == 0)
        ct_value_set(config, "mlp_bias", ct_value_bool(context, true));
    ct_value_set(config, "torch_dtype",
                 ct_value_string(context, (int)type == CT_FILE_F16    ? "float16"
                                          : (int)type == CT_FILE_BF16 ? "bfloat16"
                                                                      : "float32"));
    if (!ct_failed(context)) return config;
    ct_value_free(config);
    return NULL;
}
