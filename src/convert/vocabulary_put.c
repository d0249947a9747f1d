/* vocabulary_put.c - a tokenizer as the keys of GGUF that llama.cpp reads. */
#include "convert/vocabulary.h"
#include "carat/tokenizer.h"
#include <string.h>

#define PIECE_SPACE "\xe2\x96\x81" /* U+2581, SentencePiece's blank */

static ct_status set_text(ct_gguf_writer *writer, const char *key, const char *text) {
    return ct_gguf_set_string(writer, key, text, strlen(text));
}

/* "<0x0A>" */
static bool is_byte(const ct_vocabulary_token *token) {
    static const char hex[] = "0123456789ABCDEFabcdef";
    return token->length == 6 && memcmp(token->text, "<0x", 3) == 0 && token->text[5] == '>' &&
           strchr(hex, token->text[3]) && strchr(hex, token->text[4]);
}

/* SentencePiece merges the pair whose token has the highest score, tokenizer.json the pair that stands first:
 * the score is minus the place of the first merge that gives the token. Tokens that no merge gives come last.
 */
static ct_status score_pieces(ct_vocabulary *vocabulary) {
    ct_context *context = vocabulary->context;
    for (size_t i = 0; i < vocabulary->count; i++)
        vocabulary->tokens[i].score = -(float)(vocabulary->merge_count + 1);
    for (size_t i = vocabulary->merge_count; i-- > 0;) {
        const ct_vocabulary_merge *merge = &vocabulary->merges[i];
        char *whole = ct_format(context, "%s%s", merge->left, merge->right);
        if (!whole) return ct_context_status(context);
        int32_t number = ct_names_get(&vocabulary->names, whole, strlen(whole));
        if (number >= 0) vocabulary->tokens[number].score = -(float)i;
        ct_free(context, whole);
    }
    const ct_value *unk = ct_value_get(vocabulary->config, "unk_token");
    const char *unknown = ct_value_as_string(ct_value_get(unk, "content"), ct_value_as_string(unk, "<unk>"));
    for (size_t i = 0; i < vocabulary->count; i++) {
        ct_vocabulary_token *token = &vocabulary->tokens[i];
        if (!token->text) continue;
        if (is_byte(token)) token->type = CT_TOKEN_BYTE;
        if (strcmp(token->text, unknown) == 0) token->type = CT_TOKEN_UNKNOWN;
        if (token->type != CT_TOKEN_NORMAL) token->score = token->type == CT_TOKEN_BYTE ? 0.0f : -1000.0f;
    }
    return CT_OK;
}

/* A token's text as llama.cpp has it: blanks for SentencePiece's in added tokens; WordPiece's "##x" is "x"
 * and "x" has U+2581 in front. */
static ct_status add_token(ct_vocabulary *vocabulary, ct_gguf_writer *writer, size_t number) {
    const ct_vocabulary_token *token = number < vocabulary->count ? &vocabulary->tokens[number] : NULL;
    ct_context *context = vocabulary->context;
    char text[64];
    if (!token || !token->text) {
        int length = snprintf(text, sizeof text, "[PAD%zu]", number);
        return ct_gguf_add_string(writer, text, (size_t)length);
    }
    bool words = vocabulary->kind == CT_VOCABULARY_WORDS && token->type != CT_TOKEN_CONTROL;
    if (words && token->length > 2 && memcmp(token->text, "##", 2) == 0)
        return ct_gguf_add_string(writer, token->text + 2, token->length - 2);
    if (!words && !(token->type == CT_TOKEN_USER_DEFINED && strstr(token->text, PIECE_SPACE)))
        return ct_gguf_add_string(writer, token->text, token->length);
    ct_bytes changed = {0};
    if (words) ct_bytes_append(context, &changed, PIECE_SPACE, 3);
    for (const char *c = token->text; *c;) {
        bool space = !words && strncmp(c, PIECE_SPACE, 3) == 0;
        ct_bytes_append(context, &changed, space ? " " : c, 1);
        c += space ? 3 : 1;
    }
    ct_status status = ct_gguf_add_string(writer, changed.data ? changed.data : "", changed.length);
    ct_bytes_free(context, &changed);
    return status;
}

static ct_status put_tokens(ct_vocabulary *vocabulary, ct_gguf_writer *writer, size_t size) {
    ct_status status = ct_gguf_array(writer, "tokenizer.ggml.tokens", CT_GGUF_STRING, size);
    for (size_t i = 0; !status && i < size; i++)
        status = add_token(vocabulary, writer, i);
    if (!status && vocabulary->kind == CT_VOCABULARY_PIECES) {
        status = ct_gguf_array(writer, "tokenizer.ggml.scores", CT_GGUF_F32, size);
        for (size_t i = 0; !status && i < size; i++)
            status = ct_gguf_add_f32(writer, i < vocabulary->count && vocabulary->tokens[i].text
                                                 ? vocabulary->tokens[i].score
                                                 : -10000.0f);
    }
    if (!status) status = ct_gguf_array(writer, "tokenizer.ggml.token_type", CT_GGUF_I32, size);
    for (size_t i = 0; !status && i < size; i++)
        status = ct_gguf_add_i32(writer, i < vocabulary->count && vocabulary->tokens[i].text
                                             ? vocabulary->tokens[i].type
                                             : CT_TOKEN_UNUSED);
    return status;
}

/* "left right"; a blank within a piece would be taken for the one between, so it is written as in byte-level
 * texts. */
static ct_status put_merges(ct_vocabulary *vocabulary, ct_gguf_writer *writer) {
    ct_status status =
        ct_gguf_array(writer, "tokenizer.ggml.merges", CT_GGUF_STRING, vocabulary->merge_count);
    ct_bytes text = {0};
    for (size_t i = 0; !status && i < vocabulary->merge_count; i++) {
        const char *parts[2] = {vocabulary->merges[i].left, vocabulary->merges[i].right};
        text.length = 0;
        for (int part = 0; part < 2; part++) {
            if (part) ct_bytes_append(vocabulary->context, &text, " ", 1);
            for (const char *c = parts[part]; *c; c++)
                ct_bytes_append(vocabulary->context, &text, *c == ' ' ? "\xc4\xa0" : c, *c == ' ' ? 2 : 1);
        }
        status = ct_gguf_add_string(writer, text.data, text.length);
    }
    ct_bytes_free(vocabulary->context, &text);
    return status;
}

/* ----------------------------------------------------------------------------------- special tokens ----- */

/* The text of "bos_token" and so on: a string, or a map with "content". */
static const char *special_text(const ct_vocabulary *vocabulary, ct_vocabulary_special which) {
    char key[24];
    snprintf(key, sizeof key, "%s_token", ct_vocabulary_special_names[which]);
    const ct_value *entry = ct_value_get(vocabulary->config, key);
    return ct_value_as_string(ct_value_get(entry, "content"), ct_value_as_string(entry, NULL));
}

static int64_t special_id(const ct_vocabulary *vocabulary, const ct_value *config,
                          ct_vocabulary_special which) {
    char key[24];
    const char *text = special_text(vocabulary, which);
    if (text) return ct_names_get(&vocabulary->names, text, strlen(text));
    snprintf(key, sizeof key, "%s_token_id", ct_vocabulary_special_names[which]);
    const ct_value *value = ct_value_get(config, key);
    if (ct_value_kind_of(value) == CT_VALUE_LIST) value = ct_value_at(value, 0);
    int64_t id = ct_value_as_int(value, -1);
    return id < (int64_t)vocabulary->count ? id : -1;
}

typedef struct token_frame { /* what the post-processor puts around a text: token numbers, -1: nothing, -2: it
                                does not say */
    int64_t first, last;
} token_frame;

static int64_t template_id(const ct_vocabulary *vocabulary, const ct_value *piece) {
    const char *text = ct_value_as_string(ct_value_get(ct_value_get(piece, "SpecialToken"), "id"), NULL);
    return text ? ct_names_get(&vocabulary->names, text, strlen(text)) : -1;
}

static void read_frame(const ct_vocabulary *vocabulary, const ct_value *processor, token_frame *around) {
    const char *type = ct_value_as_string(ct_value_get(processor, "type"), "");
    if (strcmp(type, "Sequence") == 0) {
        const ct_value *list = ct_value_get(processor, "processors");
        for (size_t i = 0; i < ct_value_count(list); i++)
            read_frame(vocabulary, ct_value_at(list, i), around);
    } else if (strcmp(type, "TemplateProcessing") == 0) {
        const ct_value *single = ct_value_get(processor, "single");
        size_t count = ct_value_count(single);
        around->first = count ? template_id(vocabulary, ct_value_at(single, 0)) : -1;
        around->last = count > 1 ? template_id(vocabulary, ct_value_at(single, count - 1)) : -1;
    } else if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        around->first = ct_value_as_int(ct_value_at(ct_value_get(processor, "cls"), 1), -1);
        around->last = ct_value_as_int(ct_value_at(ct_value_get(processor, "sep"), 1), -1);
    } else if (strcmp(type, "ByteLevel") == 0 && around->first == -2) {
        *around = (token_frame){-1, -1};
    }
}

static ct_status put_specials(ct_vocabulary *vocabulary, const ct_value *config, ct_gguf_writer *writer) {
    int64_t ids[CT_SPECIALS];
    token_frame around = {-2, -2};
    char key[64];
    for (int i = 0; i < CT_SPECIALS; i++)
        ids[i] = special_id(vocabulary, config, (ct_vocabulary_special)i);
    read_frame(vocabulary, ct_value_get(vocabulary->rest, "post_processor"), &around);
    bool bos = around.first >= 0, eos = around.last >= 0;
    if (around.first == -2) bos = ct_value_as_bool(ct_value_get(vocabulary->config, "add_bos_token"), false);
    if (around.last == -2) eos = ct_value_as_bool(ct_value_get(vocabulary->config, "add_eos_token"), false);
    if (vocabulary->kind == CT_VOCABULARY_WORDS) { /* [CLS] and [SEP] are what llama.cpp puts around a text */
        ids[CT_BOS] = around.first >= 0 ? around.first : ids[CT_CLS];
        ids[CT_EOS] = around.last >= 0 ? around.last : ids[CT_SEP];
    } else {
        if (around.first >= 0) ids[CT_BOS] = around.first;
        if (around.last >= 0) ids[CT_EOS] = around.last;
    }
    for (int i = 0; i < CT_SPECIALS; i++) {
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id",
                 i == CT_SEP   ? "seperator" /* spelt so in GGUF */
                 : i == CT_PAD ? "padding"
                 : i == CT_UNK ? "unknown"
                               : ct_vocabulary_special_names[i]);
        if (ids[i] >= 0) ct_gguf_set_u32(writer, key, (uint32_t)ids[i]);
    }
    ct_gguf_set_bool(writer, "tokenizer.ggml.add_bos_token", bos && ids[CT_BOS] >= 0);
    if (vocabulary->kind != CT_VOCABULARY_WORDS)
        return ct_gguf_set_bool(writer, "tokenizer.ggml.add_eos_token", eos && ids[CT_EOS] >= 0);
    return ct_gguf_set_bool(writer, "tokenizer.ggml.add_sep_token", true);
}

/* ---------------------------------------------------------------------------------------------- templates */

static ct_status put_templates(ct_vocabulary *vocabulary, const char *folder, ct_gguf_writer *writer) {
    ct_context *context = vocabulary->context;
    char *path = ct_path_join(context, folder, "chat_template.jinja");
    if (path && ct_file_exists(path)) {
        size_t length;
        char *text = ct_file_read(context, path, (size_t)1 << 24, &length);
        if (text) ct_gguf_set_string(writer, "tokenizer.chat_template", text, length);
        ct_free(context, text);
        ct_free(context, path);
        return ct_context_status(context);
    }
    ct_free(context, path);
    const ct_value *template = ct_value_get(vocabulary->config, "chat_template");
    if (ct_value_kind_of(template) == CT_VALUE_STRING)
        return ct_gguf_set_string(writer, "tokenizer.chat_template", ct_value_as_string(template, ""),
                                  ct_value_string_length(template));
    for (size_t i = 0; i < ct_value_count(template); i++) { /* [{"name": ..., "template": ...}] */
        const ct_value *entry = ct_value_at(template, i), *text = ct_value_get(entry, "template");
        const char *name = ct_value_as_string(ct_value_get(entry, "name"), "default");
        char key[128];
        snprintf(key, sizeof key, "tokenizer.chat_template%s%.64s", strcmp(name, "default") == 0 ? "" : ".",
                 strcmp(name, "default") == 0 ? "" : name);
        ct_gguf_set_string(writer, key, ct_value_as_string(text, ""), ct_value_string_length(text));
    }
    return ct_context_status(context);
}

/* ---------------------------------------------------------------------------------------- the whole of it */

/* Whether the pipeline puts a blank before a text: the normalizer Prepend or the pre-tokenizer Metaspace. */
static bool prepends(const ct_value *part) {
    const char *type = ct_value_as_string(ct_value_get(part, "type"), "");
    if (strcmp(type, "Prepend") == 0) return true;
    if (strcmp(type, "Metaspace") == 0)
        return strcmp(ct_value_as_string(ct_value_get(part, "prepend_scheme"), "always"), "never") != 0 &&
               ct_value_as_bool(ct_value_get(part, "add_prefix_space"), true);
    static const char *const lists[] = {"pretokenizers", "normalizers"};
    for (int i = 0; i < 2; i++) {
        const ct_value *list = ct_value_get(part, lists[i]);
        for (size_t j = 0; j < ct_value_count(list); j++)
            if (prepends(ct_value_at(list, j))) return true;
    }
    return false;
}

static ct_status put_normalizer(ct_vocabulary *vocabulary, ct_gguf_writer *writer) {
    const ct_value *normalizer = ct_value_get(vocabulary->rest, "normalizer");
    const ct_value *lower = ct_value_get(normalizer, "lowercase"),
                   *strip = ct_value_get(normalizer, "strip_accents");
    if (ct_value_kind_of(lower) == CT_VALUE_BOOL)
        ct_gguf_set_bool(writer, "tokenizer.ggml.normalizer.lowercase", ct_value_as_bool(lower, true));
    if (ct_value_kind_of(strip) == CT_VALUE_BOOL)
        ct_gguf_set_bool(writer, "tokenizer.ggml.normalizer.strip_accents", ct_value_as_bool(strip, true));
    return ct_context_status(vocabulary->context);
}

ct_status ct_vocabulary_to_gguf(ct_vocabulary *vocabulary, const char *folder, const ct_value *config,
                                size_t size, ct_gguf_writer *writer) {
    static const char *const models[] = {"gpt2", "llama", "bert"};
    const char *pre = "default";
    if (vocabulary->kind == CT_VOCABULARY_BYTES) pre = ct_pretokenizer_name(vocabulary);
    if (!pre) return ct_context_status(vocabulary->context);
    if (vocabulary->count > size)
        return ct_fail(vocabulary->context, CT_ERROR_FORMAT,
                       "%s: has %zu tokens, but the model only %zu embeddings", vocabulary->path,
                       vocabulary->count, size);
    set_text(writer, "tokenizer.ggml.model", models[vocabulary->kind]);
    set_text(writer, "tokenizer.ggml.pre", pre);
    if (vocabulary->kind == CT_VOCABULARY_PIECES && score_pieces(vocabulary))
        return ct_context_status(vocabulary->context);
    put_tokens(vocabulary, writer, size);
    if (vocabulary->kind == CT_VOCABULARY_BYTES) put_merges(vocabulary, writer);
    if (vocabulary->kind == CT_VOCABULARY_PIECES)
        ct_gguf_set_bool(writer, "tokenizer.ggml.add_space_prefix",
                         prepends(ct_value_get(vocabulary->rest, "normalizer")) ||
                             prepends(ct_value_get(vocabulary->rest, "pre_tokenizer")));
    if (vocabulary->kind == CT_VOCABULARY_PIECES && prepends(ct_value_get(vocabulary->rest, "pre_tokenizer")))
        ct_log_message(vocabulary->context, CT_LOG_INFO,
                       "%s puts no blank before a text that begins with one; llama.cpp always does",
                       vocabulary->path);
    put_normalizer(vocabulary, writer);
    put_specials(vocabulary, config, writer);
    return put_templates(vocabulary, folder, writer);
}
