/* tokenizer_template.c - post-processors: the tokens that they put before and behind a text (bos, eos,
 * [CLS]). What they do to offsets and pairs of texts has no part here. */
#include "format/tokenizer_file.h"
#include <string.h>

typedef struct template {
    ct_ids before, after;
}
template;

static const char *type_of(const ct_value *part) {
    return ct_value_as_string(ct_value_get(part, "type"), "");
}

static ct_status refuse(const ct_tokenizer *tokenizer, const char *path, const char *name) {
    return ct_fail(tokenizer->context, CT_ERROR_UNSUPPORTED,
                   "%s: the post-processor \"%.160s\" is not supported", path, name);
}

static ct_status add_id(const ct_tokenizer *tokenizer, const char *path, ct_ids *ids, int64_t id) {
    if (id < 0 || id >= tokenizer->size || !tokenizer->tokens[id].symbol)
        return ct_fail(tokenizer->context, CT_ERROR_FORMAT,
                       "%s: the post-processor has the id %lld, which is no token", path, (long long)id);
    return ct_ids_push(tokenizer->context, ids, (int32_t)id);
}

/* The ids of {"SpecialToken": {"id": "<s>"}}, from the table "special_tokens". */
static ct_status add_special(const ct_tokenizer *tokenizer, const char *path, const ct_value *piece,
                             const ct_value *table, ct_ids *side) {
    const char *name = ct_value_as_string(ct_value_get_path(piece, "SpecialToken.id"), "");
    const ct_value *ids = ct_value_get(ct_value_get(table, name), "ids");
    if (ct_value_kind_of(ids) != CT_VALUE_LIST)
        return ct_fail(tokenizer->context, CT_ERROR_FORMAT,
                       "%s: the post-processor's template names a token without ids", path);
    ct_status status = CT_OK;
    for (size_t j = 0; j < ct_value_count(ids) && status == CT_OK; j++)
        status = add_id(tokenizer, path, side, ct_value_as_int(ct_value_at(ids, j), -1));
    return status;
}

/* "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]. */
static ct_status read_single(const ct_tokenizer *tokenizer, const char *path, const ct_value *part,
                             template *made) {
    const ct_value *single = ct_value_get(part, "single"), *table = ct_value_get(part, "special_tokens");
    ct_ids *side = &made->before;
    for (size_t i = 0; i < ct_value_count(single); i++) {
        const ct_value *piece = ct_value_at(single, i);
        if (ct_value_get(piece, "Sequence")) {
            if (side == &made->after)
                return refuse(tokenizer, path, "TemplateProcessing with the text twice");
            side = &made->after;
            continue;
        }
        ct_status status = add_special(tokenizer, path, piece, table, side);
        if (status != CT_OK) return status;
    }
    return side == &made->after ? CT_OK : refuse(tokenizer, path, "TemplateProcessing without the text");
}

/* "cls": ["[CLS]", 101], "sep": ["[SEP]", 102]. */
static ct_status read_pair(const ct_tokenizer *tokenizer, const char *path, const ct_value *part,
                           template *made) {
    ct_status status = add_id(tokenizer, path, &made->before,
                              ct_value_as_int(ct_value_at(ct_value_get(part, "cls"), 1), -1));
    return status == CT_OK ? add_id(tokenizer, path, &made->after,
                                    ct_value_as_int(ct_value_at(ct_value_get(part, "sep"), 1), -1))
                           : status;
}

static ct_status append(ct_context *context, ct_ids *ids, const ct_ids *more) {
    ct_status status = CT_OK;
    for (size_t i = 0; i < more->count && status == CT_OK; i++)
        status = ct_ids_push(context, ids, more->ids[i]);
    return status;
}

/* A later one of a sequence stands around what the earlier ones made. */
static ct_status surround(ct_tokenizer *tokenizer, template *made) {
    ct_context *context = tokenizer->context;
    ct_status status = append(context, &made->before, &tokenizer->prefix);
    if (status == CT_OK) status = append(context, &tokenizer->suffix, &made->after);
    ct_ids earlier = tokenizer->prefix;
    tokenizer->prefix = made->before;
    made->before = earlier;
    return status;
}

static ct_status read_processor(ct_tokenizer *tokenizer, const char *path, const ct_value *part) {
    const char *type = type_of(part);
    template made = {{0}, {0}};
    ct_status status;
    if (strcmp(type, "ByteLevel") == 0) return CT_OK; /* it trims offsets, and nothing else */
    if (strcmp(type, "TemplateProcessing") == 0)
        status = read_single(tokenizer, path, part, &made);
    else if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        status = read_pair(tokenizer, path, part, &made);
    else
        return refuse(tokenizer, path, type);
    if (status == CT_OK) status = surround(tokenizer, &made);
    ct_ids_free(tokenizer->context, &made.before);
    ct_ids_free(tokenizer->context, &made.after);
    return status;
}

/* Sequences may stand within each other as deep as JSON may be nested. */
static ct_status read_processors(ct_tokenizer *tokenizer, const char *path, const ct_value *part) {
    if (strcmp(type_of(part), "Sequence") != 0) return read_processor(tokenizer, path, part);
    const ct_value *list = ct_value_get(part, "processors");
    ct_status status = CT_OK;
    for (size_t i = 0; i < ct_value_count(list) && status == CT_OK; i++)
        status = read_processors(tokenizer, path, ct_value_at(list, i));
    return status;
}

ct_status ct_tokenizer_read_template(ct_tokenizer *tokenizer, const char *path) {
    const ct_value *part = ct_value_get(tokenizer->parts, "post_processor");
    return ct_value_kind_of(part) == CT_VALUE_NULL ? CT_OK : read_processors(tokenizer, path, part);
}
