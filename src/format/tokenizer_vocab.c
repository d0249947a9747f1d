/* tokenizer_vocab.c - BERT's vocab.txt, a token a line, as transformers understands a folder that has no
 * tokenizer.json: what tokenizer_config.json says, or BERT's defaults. */
#include "carat/format.h"
#include "format/tokenizer_file.h"
#include "format/utf8.h"
#include <string.h>

enum { UNKNOWN, FIRST, LAST, PADDING, MASK, SPECIALS };

/* "unk_token": "[UNK]" or {"content": "[UNK]"}. */
static const char *special_name(const ct_value *config, int which) {
    static const char *const keys[] = {"unk_token", "cls_token", "sep_token", "pad_token", "mask_token"};
    static const char *const names[] = {"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"};
    const ct_value *value = ct_value_get(config, keys[which]);
    if (ct_value_kind_of(value) == CT_VALUE_MAP) value = ct_value_get(value, "content");
    return ct_value_as_string(value, names[which]);
}

static int64_t find(const ct_tokenizer_file *file, const char *symbol) {
    size_t length = strlen(symbol);
    for (size_t i = 0; i < file->vocabulary_count; i++)
        if (file->vocabulary[i].length == length && memcmp(file->vocabulary[i].symbol, symbol, length) == 0)
            return file->vocabulary[i].id;
    return -1;
}

/* {"type": type}, to be filled. */
static ct_value *typed(ct_context *context, const char *type) {
    ct_value *map = ct_value_map(context);
    ct_value_set(map, "type", ct_value_string(context, type));
    return map;
}

static ct_value *normalizer(ct_context *context, const ct_value *config) {
    const ct_value *accents = ct_value_get(config, "strip_accents");
    ct_value *part = typed(context, "BertNormalizer");
    ct_value_set(part, "clean_text", ct_value_bool(context, true));
    ct_value_set(
        part, "handle_chinese_chars",
        ct_value_bool(context, ct_value_as_bool(ct_value_get(config, "tokenize_chinese_chars"), true)));
    ct_value_set(part, "strip_accents",
                 ct_value_kind_of(accents) == CT_VALUE_BOOL ? ct_value_copy(accents)
                                                            : ct_value_null(context));
    ct_value_set(part, "lowercase",
                 ct_value_bool(context, ct_value_as_bool(ct_value_get(config, "do_lower_case"), true)));
    return part;
}

/* ["[SEP]", 102] */
static ct_value *named_id(const ct_tokenizer_file *file, const char *name) {
    ct_value *pair = ct_value_list(file->context);
    ct_value_append(pair, ct_value_string(file->context, name));
    ct_value_append(pair, ct_value_int(file->context, find(file, name)));
    return pair;
}

static ct_value *added_tokens(const ct_tokenizer_file *file, const ct_value *config) {
    ct_value *list = ct_value_list(file->context);
    for (int i = 0; i < SPECIALS; i++) {
        const char *name = special_name(config, i);
        int64_t id = find(file, name);
        bool before = false;
        for (int j = 0; j < i; j++)
            before |= strcmp(name, special_name(config, j)) == 0;
        if (id < 0 || before) continue;
        ct_value *item = ct_value_map(file->context);
        ct_value_set(item, "id", ct_value_int(file->context, id));
        ct_value_set(item, "content", ct_value_string(file->context, name));
        ct_value_set(item, "normalized", ct_value_bool(file->context, false));
        ct_value_set(item, "special", ct_value_bool(file->context, true));
        ct_value_append(list, item);
    }
    return list;
}

static ct_status set_parts(ct_tokenizer_file *file, const ct_value *config) {
    ct_context *context = file->context;
    ct_value *decoder = typed(context, "WordPiece");
    ct_value_set(decoder, "prefix", ct_value_string(context, "##"));
    ct_value_set(decoder, "cleanup", ct_value_bool(context, true));
    ct_value_set(file->parts, "normalizer", normalizer(context, config));
    ct_value_set(file->parts, "pre_tokenizer", typed(context, "BertPreTokenizer"));
    ct_value_set(file->parts, "decoder", decoder);
    ct_value_set(file->parts, "added_tokens", added_tokens(file, config));
    if (find(file, special_name(config, FIRST)) >= 0 && find(file, special_name(config, LAST)) >= 0) {
        ct_value *post = typed(context, "BertProcessing");
        ct_value_set(post, "sep", named_id(file, special_name(config, LAST)));
        ct_value_set(post, "cls", named_id(file, special_name(config, FIRST)));
        ct_value_set(file->parts, "post_processor", post);
    }
    ct_value_set(file->model, "type", ct_value_string(context, "WordPiece"));
    ct_value_set(file->model, "unk_token", ct_value_string(context, special_name(config, UNKNOWN)));
    ct_value_set(file->model, "continuing_subword_prefix", ct_value_string(context, "##"));
    ct_value_set(file->model, "max_input_chars_per_word", ct_value_int(context, 100));
    return ct_context_status(context);
}

/* White space at the end of a line is not part of its token. */
ct_status ct_tokenizer_file_parse_lines(ct_tokenizer_file *file, const char *text, size_t length) {
    int64_t line = 0;
    for (size_t start = 0, end; start < length; start = end + 1, line++) {
        const char *newline = memchr(text + start, '\n', length - start);
        end = newline ? (size_t)(newline - text) : length;
        size_t size = end - start;
        while (size && strchr(" \t\r\f\v", text[start + size - 1]) && text[start + size - 1])
            size--;
        if (ct_utf8_check(text + start, size) != size || memchr(text + start, 0, size))
            return ct_fail(file->context, CT_ERROR_FORMAT, "%s:%lld: the token is not UTF-8 or holds NUL",
                           file->path, (long long)line + 1);
        char *copy = ct_arena_copy(file->context, &file->arena, text + start, size);
        if (!copy || !ct_tokenizer_file_add(file, copy, size, line, 0))
            return ct_context_status(file->context);
    }
    return CT_OK;
}

ct_status ct_tokenizer_file_set_bert_parts(ct_tokenizer_file *file, const char *folder) {
    ct_value *config;
    ct_status status = ct_tokenizer_read_beside(file->context, folder, "tokenizer_config.json", &config);
    if (status == CT_OK) status = set_parts(file, config);
    ct_value_free(config);
    return status;
}
