/* names.c - plans between Hugging Face folders and GGUF: names, orders of rows, types. */
#include "base/ending.h"
#include "convert/family.h"
#include <string.h>

#define NAME_SIZE 256

/* Whether `name` is `pattern`, '#' standing for a number, followed by what *rest gets. */
static bool match(const char *pattern, const char *name, char number[16], const char **rest) {
    number[0] = '\0';
    for (; *pattern; pattern++) {
        if (*pattern != '#') {
            if (*name++ != *pattern) return false;
            continue;
        }
        size_t digits = strspn(name, "0123456789");
        if (digits == 0 || digits > 9) return false;
        memcpy(number, name, digits);
        number[digits] = '\0';
        name += digits;
    }
    *rest = name;
    return strcmp(name, ".weight") == 0 || strcmp(name, ".bias") == 0;
}

static void fill(const char *pattern, const char *number, const char *rest, char name[NAME_SIZE]) {
    size_t used = 0;
    for (; *pattern && used + 32 < NAME_SIZE; pattern++)
        used += (size_t)snprintf(name + used, NAME_SIZE - used, *pattern == '#' ? "%s" : "%.1s",
                                 *pattern == '#' ? number : pattern);
    snprintf(name + used, NAME_SIZE - used, "%s", rest);
}

static const ct_name_rule *translate(const ct_family *family, const char *name, bool to_gguf,
                                     char result[NAME_SIZE]) {
    char number[16];
    const char *rest;
    for (const ct_name_rule *rule = family->rules; rule->gguf; rule++) {
        if (!match(to_gguf ? rule->hf : rule->gguf, name, number, &rest)) continue;
        fill(to_gguf ? rule->gguf : rule->hf, number, rest, result);
        return rule;
    }
    return NULL;
}

static bool is_dropped(const ct_family *family, const char *name) {
    for (const char *const *rule = family->dropped; *rule; rule++)
        if (**rule == '*' ? ct_ends_with(name, *rule + 1) : strncmp(name, *rule, strlen(*rule)) == 0)
            return true;
    return false;
}

ct_element ct_gguf_tensor_type(const char *name, const ct_archive_tensor *source, const int64_t *shape,
                               ct_element wanted) {
    static const char *const exact[] = {"position_embd.weight", "token_types.weight", "rope_freqs.weight"};
    ct_element f32 = (ct_element)CT_FILE_F32;
    if (source->rank <= 1 || ct_ends_with(name, "_norm.weight") || !ct_ends_with(name, ".weight")) return f32;
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++)
        if (strcmp(name, exact[i]) == 0) return f32;
    ct_element type = ct_plan_type(source->type, wanted, true);
    if (ct_element_describe(type)->ggml < 0)
        return f32; /* F8 and F64 kept as they are have no type or no use there */
    if ((int)type == CT_FILE_F64) return f32;
    if (type == CT_ELEMENT_Q4_0 && wanted == type &&
        (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "output.weight") == 0))
        type = CT_ELEMENT_Q8_0;
    if (shape[source->rank - 1] % ct_element_describe(type)->block) return (ct_element)CT_FILE_F16;
    return type;
}

int64_t ct_config_heads(const ct_value *config, bool keys) {
    int64_t heads = ct_value_as_int(ct_value_get(config, "num_attention_heads"), 1);
    return keys ? ct_value_as_int(ct_value_get(config, "num_key_value_heads"), heads) : heads;
}

static ct_status order_rows(ct_plan *plan, ct_plan_tensor *tensor, int64_t heads, ct_order order) {
    if (heads < 1 || tensor->rank < 1 || tensor->shape[0] % (2 * heads))
        return ct_fail(plan->context, CT_ERROR_SHAPE,
                       "%s: tensor \"%s\" has %lld rows, which %lld heads cannot share",
                       ct_archive_path(plan->archive), tensor->source->name,
                       tensor->rank ? (long long)tensor->shape[0] : 1, (long long)heads);
    tensor->order = order;
    tensor->heads = heads;
    return CT_OK;
}

static ct_status apply_rule(ct_plan *plan, ct_plan_tensor *tensor, const ct_name_rule *rule, int64_t heads,
                            int64_t key_heads, bool to_gguf) {
    ct_order order = to_gguf ? CT_ORDER_TO_PAIRS : CT_ORDER_TO_HALVES;
    if ((rule->flags & CT_RULE_TRANSPOSED) && tensor->rank > 1) return ct_plan_transpose(plan, tensor);
    if (rule->flags & CT_RULE_QUERY) return order_rows(plan, tensor, heads, order);
    if (rule->flags & CT_RULE_KEY) return order_rows(plan, tensor, key_heads, order);
    if (rule->flags & CT_RULE_PLUS_ONE) tensor->add = to_gguf ? 1.0f : -1.0f;
    return CT_OK;
}

/* The name as the family's rules have it: with the prefix that files of the bare model lack, or without one
 * that they do not have. */
static void usual_name(const ct_family *family, const char *name, char usual[NAME_SIZE]) {
    size_t prefix = strlen(family->prefix);
    bool has = prefix && strncmp(name, family->prefix, prefix) == 0;
    bool wants = prefix && strncmp(family->rules[0].hf, family->prefix, prefix) == 0;
    if (has && !wants)
        snprintf(usual, NAME_SIZE, "%s", name + prefix);
    else if (!has && wants && strncmp(name, "lm_head", 7) != 0)
        snprintf(usual, NAME_SIZE, "%s%s", family->prefix, name);
    else
        snprintf(usual, NAME_SIZE, "%s", name);
    /* TensorFlow's names of LayerNorm, in old BERT files */
    size_t length = strlen(usual);
    if (ct_ends_with(usual, "LayerNorm.gamma"))
        snprintf(usual + length - 5, NAME_SIZE - length + 5, "weight");
    else if (ct_ends_with(usual, "LayerNorm.beta"))
        snprintf(usual + length - 4, NAME_SIZE - length + 4, "bias");
}

static ct_status no_place(ct_plan *plan, const ct_family *family, const char *name, const char *target) {
    return ct_fail(plan->context, CT_ERROR_UNSUPPORTED,
                   "%s: tensor \"%.120s\" of a %s model has no name in %s", ct_archive_path(plan->archive),
                   name, family->model_type, target);
}

ct_status ct_plan_to_gguf(ct_plan *plan, const ct_family *family, const ct_value *config, ct_element wanted) {
    bool tied = family->tied || ct_value_as_bool(ct_value_get(config, "tie_word_embeddings"), false);
    for (size_t i = 0; i < ct_archive_count(plan->archive); i++) {
        const ct_archive_tensor *source = ct_archive_at(plan->archive, i);
        char usual[NAME_SIZE], name[NAME_SIZE];
        usual_name(family, source->name, usual);
        bool same_head = tied && strcmp(usual, "lm_head.weight") == 0;
        if (same_head || is_dropped(family, usual)) {
            if (ct_plan_drop(plan, source->name)) return ct_context_status(plan->context);
            continue;
        }
        const ct_name_rule *rule = translate(family, usual, true, name);
        if (!rule) return no_place(plan, family, source->name, "GGUF");
        ct_plan_tensor *tensor = ct_plan_add(plan, name, source);
        if (!tensor || apply_rule(plan, tensor, rule, ct_config_heads(config, false),
                                  ct_config_heads(config, true), true))
            return ct_context_status(plan->context);
        tensor->type = ct_gguf_tensor_type(name, source, tensor->shape, wanted);
    }
    return ct_context_status(plan->context);
}

ct_status ct_plan_from_gguf(ct_plan *plan, const ct_family *family, const ct_gguf *gguf, ct_element wanted) {
    char key[96], key_kv[96], name[NAME_SIZE];
    snprintf(key, sizeof key, "%s.attention.head_count", family->architecture);
    snprintf(key_kv, sizeof key_kv, "%s.attention.head_count_kv", family->architecture);
    int64_t heads = ct_gguf_int(gguf, key, 1), key_heads = ct_gguf_int(gguf, key_kv, heads);
    for (size_t i = 0; i < ct_archive_count(plan->archive); i++) {
        const ct_archive_tensor *source = ct_archive_at(plan->archive, i);
        if (strcmp(source->name, "rope_freqs.weight") == 0) { /* becomes rope_scaling of config.json */
            if (ct_plan_drop(plan, source->name)) return ct_context_status(plan->context);
            continue;
        }
        const ct_name_rule *rule = translate(family, source->name, false, name);
        if (!rule) return no_place(plan, family, source->name, "Hugging Face's files");
        ct_plan_tensor *tensor = ct_plan_add(plan, name, source);
        if (!tensor || apply_rule(plan, tensor, rule, heads, key_heads, false))
            return ct_context_status(plan->context);
        tensor->type = ct_plan_type(source->type, wanted, false);
    }
    return ct_context_status(plan->context);
}
