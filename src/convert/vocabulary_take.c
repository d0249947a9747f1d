/* vocabulary_take.c - tokenizer.json and tokenizer_config.json from the keys of GGUF. Tokens and merges
 * stream into the file; only what is small is made as a tree. */
#include "convert/vocabulary.h"
#include "carat/tokenizer.h"
#include "format/json_write.h"
#include "format/utf8.h"
#include <stdlib.h>
#include <string.h>

#define PIECE_SPACE "\xe2\x96\x81"

typedef struct taken_vocabulary {
    ct_context *context;
    const ct_gguf *gguf;
    ct_vocabulary vocabulary; /* tokens with scores and types */
    ct_writer *file;
    ct_bytes text; /* of one piece of JSON */
    int64_t ids[CT_SPECIALS];
    bool add_bos, add_eos;
} taken_vocabulary;

/* ------------------------------------------------------------------------------------------------ reading */

static ct_status take_kind(taken_vocabulary *taken) {
    static const char *const models[] = {"gpt2", "llama", "bert"};
    size_t length = 0;
    const char *name = ct_gguf_string(taken->gguf, "tokenizer.ggml.model", &length);
    for (int i = 0; name && i < 3; i++) {
        if (strlen(models[i]) != length || memcmp(models[i], name, length) != 0) continue;
        taken->vocabulary.kind = (ct_vocabulary_kind)i;
        return CT_OK;
    }
    return ct_fail(
        taken->context, CT_ERROR_UNSUPPORTED,
        "tokenizer.ggml.model \"%.*s\" has no translation to tokenizer.json (gpt2, llama and bert have)",
        (int)(length < 40 ? length : 40), name ? name : "");
}

/* WordPiece's texts as tokenizer.json has them: see add_token in vocabulary_put.c. */
static ct_status set_token(taken_vocabulary *taken, const char *text, size_t length, int64_t number,
                           int type) {
    ct_vocabulary *vocabulary = &taken->vocabulary;
    if (vocabulary->kind != CT_VOCABULARY_WORDS || type == CT_TOKEN_CONTROL || type == CT_TOKEN_UNUSED)
        return ct_vocabulary_set(vocabulary, text, length, number, type);
    if (length >= 3 && memcmp(text, PIECE_SPACE, 3) == 0)
        return ct_vocabulary_set(vocabulary, text + 3, length - 3, number, type);
    taken->text.length = 0;
    ct_bytes_append(taken->context, &taken->text, "##", 2);
    ct_status status = ct_bytes_append(taken->context, &taken->text, text, length);
    return status ? status
                  : ct_vocabulary_set(vocabulary, taken->text.data, taken->text.length, number, type);
}

static ct_status take_tokens(taken_vocabulary *taken) {
    ct_gguf_cursor tokens = ct_gguf_items(ct_gguf_find(taken->gguf, "tokenizer.ggml.tokens"));
    ct_gguf_cursor types = ct_gguf_items(ct_gguf_find(taken->gguf, "tokenizer.ggml.token_type"));
    ct_gguf_cursor scores = ct_gguf_items(ct_gguf_find(taken->gguf, "tokenizer.ggml.scores"));
    const char *text;
    size_t length;
    ct_status status = CT_OK;
    for (int64_t i = 0; !status && ct_gguf_next_string(&tokens, &text, &length); i++) {
        int64_t type = CT_TOKEN_NORMAL;
        double score = 0;
        ct_gguf_next_int(&types, &type);
        ct_gguf_next_real(&scores, &score);
        if (memchr(text, 0, length))
            return ct_fail(taken->context, CT_ERROR_FORMAT,
                           "token %lld of the GGUF file holds the character NUL", (long long)i);
        if (type == CT_TOKEN_UNUSED && length > 4 && memcmp(text, "[PAD", 4) == 0) continue; /* filling */
        status = set_token(taken, text, length, i, (int)type);
        if (!status) taken->vocabulary.tokens[i].score = (float)score;
    }
    return status;
}

static void take_ids(taken_vocabulary *taken) {
    static const char *const keys[CT_SPECIALS] = {"bos",     "eos", "unknown", "seperator",
                                                  "padding", "cls", "mask"};
    /* what llama.cpp takes when the file says nothing */
    static const int64_t usual[3][CT_SPECIALS] = {
        {-1, -1, -1, -1, -1, -1, -1}, {1, 2, 0, -1, -1, -1, -1}, {101, -1, 100, 102, 0, 101, 103}};
    char key[64];
    for (int i = 0; i < CT_SPECIALS; i++) {
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", keys[i]);
        int64_t id = ct_gguf_int(taken->gguf, key, usual[taken->vocabulary.kind][i]);
        bool there = id >= 0 && (uint64_t)id < taken->vocabulary.count && taken->vocabulary.tokens[id].text;
        taken->ids[i] = there ? id : -1;
    }
    bool pieces = taken->vocabulary.kind == CT_VOCABULARY_PIECES;
    taken->add_bos =
        ct_gguf_bool(taken->gguf, "tokenizer.ggml.add_bos_token", pieces) && taken->ids[CT_BOS] >= 0;
    taken->add_eos =
        ct_gguf_bool(taken->gguf, "tokenizer.ggml.add_eos_token", false) && taken->ids[CT_EOS] >= 0;
    if (taken->vocabulary.kind == CT_VOCABULARY_WORDS) {
        if (taken->ids[CT_CLS] < 0) taken->ids[CT_CLS] = taken->ids[CT_BOS];
        taken->add_bos = taken->ids[CT_CLS] >= 0;
        taken->add_eos = taken->ids[CT_SEP] >= 0;
    }
}

/* ------------------------------------------------------------------------------------- writing JSON ----- */

static ct_status put(taken_vocabulary *taken, const char *text) {
    return ct_writer_write(taken->file, text, strlen(text));
}
static ct_status put_string(taken_vocabulary *taken, const char *text, size_t length) {
    taken->text.length = 0;
    ct_status status = ct_json_put_string(taken->context, &taken->text, text, length);
    return status ? status : ct_writer_write(taken->file, taken->text.data, taken->text.length);
}
/* `"key": value,`; takes the value over. */
static ct_status put_value(taken_vocabulary *taken, const char *key, ct_value *value) {
    size_t length;
    char *text = value ? ct_json_text(taken->context, value, CT_JSON_COMPACT, &length) : NULL;
    ct_value_free(value);
    if (!text) return ct_context_status(taken->context);
    ct_writer_printf(taken->file, "\"%s\":", key);
    ct_writer_write(taken->file, text, length);
    ct_free(taken->context, text);
    return put(taken, ",\n");
}
static ct_status put_text(taken_vocabulary *taken, const char *key, const char *json) {
    return ct_writer_printf(taken->file, "\"%s\":%s,\n", key, json);
}

static ct_status put_added(taken_vocabulary *taken) {
    ct_status status = put(taken, "\"added_tokens\":[");
    bool any = false;
    for (size_t i = 0; !status && i < taken->vocabulary.count; i++) {
        const ct_vocabulary_token *token = &taken->vocabulary.tokens[i];
        if (!token->text || (token->type != CT_TOKEN_CONTROL && token->type != CT_TOKEN_USER_DEFINED &&
                             token->type != CT_TOKEN_UNKNOWN))
            continue;
        ct_writer_printf(taken->file, "%s\n{\"id\":%zu,\"content\":", any ? "," : "", i);
        any = true;
        status = put_string(taken, token->text, token->length);
        ct_writer_printf(
            taken->file,
            ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":%s}",
            token->type == CT_TOKEN_USER_DEFINED ? "false" : "true");
    }
    return status ? status : put(taken, "],\n");
}

static bool is_added(const ct_vocabulary_token *token) {
    return token->type == CT_TOKEN_CONTROL || token->type == CT_TOKEN_USER_DEFINED;
}

/* Of byte-level vocabularies the added tokens behind all others stand only in their own list. Those before stand in
 * the vocabulary too: Hugging Face numbers added tokens that it lacks from its size on. */
static ct_status put_vocab(taken_vocabulary *taken) {
    ct_vocabulary *vocabulary = &taken->vocabulary;
    size_t tail = vocabulary->count;
    while (tail > 0 && (!vocabulary->tokens[tail - 1].text || is_added(&vocabulary->tokens[tail - 1])))
        tail--;
    ct_status status = put(taken, "\"vocab\":{");
    bool any = false;
    for (size_t i = 0; !status && i < vocabulary->count; i++) {
        const ct_vocabulary_token *token = &vocabulary->tokens[i];
        bool added_only = vocabulary->kind == CT_VOCABULARY_BYTES && i >= tail && is_added(token);
        if (!token->text || added_only ||
            ct_names_get(&vocabulary->names, token->text, token->length) != (int32_t)i)
            continue;
        put(taken, any ? ",\n" : "\n");
        any = true;
        status = put_string(taken, token->text, token->length);
        ct_writer_printf(taken->file, ":%zu", i);
    }
    return status ? status : put(taken, "}");
}

static ct_status put_pair(taken_vocabulary *taken, const char *left, size_t left_length, const char *right,
                          size_t right_length, bool first) {
    put(taken, first ? "\n[" : ",\n[");
    put_string(taken, left, left_length);
    put(taken, ",");
    put_string(taken, right, right_length);
    return put(taken, "]");
}

static ct_status put_given_merges(taken_vocabulary *taken) {
    ct_gguf_cursor merges = ct_gguf_items(ct_gguf_find(taken->gguf, "tokenizer.ggml.merges"));
    const char *text;
    size_t length;
    ct_status status = CT_OK;
    for (int64_t i = 0; !status && ct_gguf_next_string(&merges, &text, &length); i++) {
        const char *blank = length > 1 ? memchr(text + 1, ' ', length - 1) : NULL;
        if (!blank)
            return ct_fail(taken->context, CT_ERROR_FORMAT, "merge %lld of the GGUF file has no blank",
                           (long long)i);
        size_t left = (size_t)(blank - text);
        status = put_pair(taken, text, left, blank + 1, length - left - 1, i == 0);
    }
    return status;
}

/* ------------------------------------------------------------------------- merges out of the scores ----- */

typedef struct candidate {
    float score;
    int32_t whole, left, right;
} candidate;

static int by_score(const void *one, const void *other) {
    const candidate *a = one, *b = other;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->whole != b->whole) return a->whole < b->whole ? -1 : 1;
    return (a->left > b->left) - (a->left < b->left);
}

/* Every way to cut a token into two others, the best token's first: SentencePiece would merge any of them. */
static ct_status find_candidates(taken_vocabulary *taken, candidate **found, size_t *count) {
    size_t capacity = 0;
    const ct_vocabulary *vocabulary = &taken->vocabulary;
    for (size_t i = 0; i < vocabulary->count; i++) {
        const ct_vocabulary_token *token = &vocabulary->tokens[i];
        if (!token->text || token->type != CT_TOKEN_NORMAL) continue;
        for (uint32_t cut = 1; cut < token->length; cut++) {
            if (((unsigned char)token->text[cut] & 0xc0) == 0x80) continue; /* within a character */
            int32_t left = ct_names_get(&vocabulary->names, token->text, cut);
            int32_t right =
                left < 0 ? -1 : ct_names_get(&vocabulary->names, token->text + cut, token->length - cut);
            if (right < 0) continue;
            if (*count == capacity) {
                capacity = capacity * 2 + 4096;
                candidate *larger =
                    ct_realloc(taken->context, *found, capacity * sizeof *larger, CT_MEMORY_OTHER);
                if (!larger) return ct_context_status(taken->context);
                *found = larger;
            }
            (*found)[(*count)++] = (candidate){token->score, (int32_t)i, left, right};
        }
    }
    return CT_OK;
}

static ct_status put_found_merges(taken_vocabulary *taken) {
    candidate *found = NULL;
    size_t count = 0;
    ct_status status = find_candidates(taken, &found, &count);
    if (count) qsort(found, count, sizeof *found, by_score);
    for (size_t i = 0; !status && i < count; i++) {
        const ct_vocabulary_token *left = &taken->vocabulary.tokens[found[i].left];
        const ct_vocabulary_token *right = &taken->vocabulary.tokens[found[i].right];
        status = put_pair(taken, left->text, left->length, right->text, right->length, i == 0);
    }
    ct_free(taken->context, found);
    return status;
}

/* ---------------------------------------------------------------------------------------- the parts ----- */

/* {"type": "TemplateProcessing", ...}: first, the text, last. */
static ct_status put_frame(taken_vocabulary *taken) {
    ct_vocabulary_special first = taken->vocabulary.kind == CT_VOCABULARY_WORDS ? CT_CLS : CT_BOS;
    ct_vocabulary_special last = taken->vocabulary.kind == CT_VOCABULARY_WORDS ? CT_SEP : CT_EOS;
    int64_t ids[2] = {taken->add_bos ? taken->ids[first] : -1, taken->add_eos ? taken->ids[last] : -1};
    const ct_vocabulary_token *tokens = taken->vocabulary.tokens;
    if (ids[0] < 0 && ids[1] < 0)
        return put_text(taken, "post_processor",
                        taken->vocabulary.kind == CT_VOCABULARY_BYTES
                            ? "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":false,"
                              "\"use_regex\":true}"
                            : "null");
    put(taken, "\"post_processor\":{\"type\":\"TemplateProcessing\"");
    for (int pair = 0; pair < 2;
         pair++) { /* the second text ends, and but for WordPiece begins, like the first */
        put(taken, pair ? ",\"pair\":[" : ",\"single\":[");
        for (int text = 0; text <= pair; text++) {
            bool framed = ids[0] >= 0 && (text == 0 || taken->vocabulary.kind != CT_VOCABULARY_WORDS);
            if (text) put(taken, ",");
            for (int part = 0; part < 3; part++) {
                int64_t id = part == 1 ? -1 : part == 0 ? (framed ? ids[0] : -1) : ids[1];
                if (part != 1 && id < 0) continue;
                if (part == 2) put(taken, ",");
                if (part == 1) {
                    ct_writer_printf(taken->file, "{\"Sequence\":{\"id\":\"%c\",\"type_id\":%d}}", 'A' + text,
                                     text);
                    continue;
                }
                put(taken, "{\"SpecialToken\":{\"id\":");
                put_string(taken, tokens[id].text, tokens[id].length);
                ct_writer_printf(taken->file, ",\"type_id\":%d}}%s", text, part == 0 ? "," : "");
            }
        }
        put(taken, "]");
    }
    put(taken, ",\"special_tokens\":{");
    for (int i = 0; i < 2; i++) {
        if (ids[i] < 0 || (i && ids[1] == ids[0])) continue;
        if (i && ids[0] >= 0) put(taken, ",");
        put_string(taken, tokens[ids[i]].text, tokens[ids[i]].length);
        put(taken, ":{\"id\":");
        put_string(taken, tokens[ids[i]].text, tokens[ids[i]].length);
        ct_writer_printf(taken->file, ",\"ids\":[%lld],\"tokens\":[", (long long)ids[i]);
        put_string(taken, tokens[ids[i]].text, tokens[ids[i]].length);
        put(taken, "]}");
    }
    return put(taken, "}},\n");
}

static ct_status put_bytes_model(taken_vocabulary *taken) {
    size_t length = 0;
    bool ignore_merges = false;
    const char *name = ct_gguf_string(taken->gguf, "tokenizer.ggml.pre", &length);
    ct_value *pre =
        ct_pretokenizer_of(taken->context, name ? name : "none", name ? length : 4, &ignore_merges);
    if (!pre) return ct_context_status(taken->context);
    put_text(taken, "normalizer", "null");
    put_value(taken, "pre_tokenizer", pre);
    put_frame(taken);
    put_text(taken, "decoder",
             "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}");
    ct_writer_printf(
        taken->file,
        "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,"
        "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":%s,\n",
        ignore_merges ? "true" : "false");
    put_vocab(taken);
    put(taken, ",\n\"merges\":[");
    put_given_merges(taken);
    return put(taken, "]}}\n");
}

static ct_status put_pieces_model(taken_vocabulary *taken) {
    bool prefix = ct_gguf_bool(taken->gguf, "tokenizer.ggml.add_space_prefix", true);
    put_text(
        taken, "normalizer",
        prefix
            ? "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\xe2\x96\x81\"},"
              "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}]}"
            : "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}");
    put_text(taken, "pre_tokenizer", "null");
    put_frame(taken);
    ct_writer_printf(
        taken->file,
        "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"
        "\"\xe2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}%s]},\n",
        prefix ? ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}" : "");
    put(taken, "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":");
    const ct_vocabulary_token *unk =
        taken->ids[CT_UNK] < 0 ? NULL : &taken->vocabulary.tokens[taken->ids[CT_UNK]];
    if (unk)
        put_string(taken, unk->text, unk->length);
    else
        put(taken, "null");
    put(taken, ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":true,"
               "\"byte_fallback\":true,\"ignore_merges\":false,\n");
    put_vocab(taken);
    put(taken, ",\n\"merges\":[");
    put_found_merges(taken);
    return put(taken, "]}}\n");
}

static ct_status put_words_model(taken_vocabulary *taken) {
    const ct_gguf_entry *strip = ct_gguf_find(taken->gguf, "tokenizer.ggml.normalizer.strip_accents");
    ct_writer_printf(
        taken->file,
        "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
        "\"strip_accents\":%s,\"lowercase\":%s},\n",
        !strip          ? "null"
        : *strip->bytes ? "true"
                        : "false",
        ct_gguf_bool(taken->gguf, "tokenizer.ggml.normalizer.lowercase", true) ? "true" : "false");
    put_text(taken, "pre_tokenizer", "{\"type\":\"BertPreTokenizer\"}");
    put_frame(taken);
    put_text(taken, "decoder", "{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}");
    put(taken, "\"model\":{\"type\":\"WordPiece\",\"unk_token\":");
    const ct_vocabulary_token *unk =
        taken->ids[CT_UNK] < 0 ? NULL : &taken->vocabulary.tokens[taken->ids[CT_UNK]];
    put_string(taken, unk ? unk->text : "[UNK]", unk ? unk->length : 5);
    put(taken, ",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,\n");
    put_vocab(taken);
    return put(taken, "}}\n");
}

static ct_status write_tokenizer(taken_vocabulary *taken, const char *folder) {
    char *path = ct_path_join(taken->context, folder, "tokenizer.json");
    taken->file = path ? ct_writer_open(taken->context, path) : NULL;
    ct_free(taken->context, path);
    if (!taken->file) return ct_context_status(taken->context);
    put(taken, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n");
    put_added(taken);
    if (taken->vocabulary.kind == CT_VOCABULARY_BYTES)
        put_bytes_model(taken);
    else if (taken->vocabulary.kind == CT_VOCABULARY_PIECES)
        put_pieces_model(taken);
    else
        put_words_model(taken);
    return ct_writer_commit(taken->file);
}

static ct_status write_config(taken_vocabulary *taken, const char *folder) {
    ct_context *context = taken->context;
    ct_value *config = ct_value_map(context);
    char key[32];
    if (!config) return ct_context_status(context);
    ct_value_set(config, "tokenizer_class", ct_value_string(context, "PreTrainedTokenizerFast"));
    for (int i = 0; i < CT_SPECIALS; i++) {
        snprintf(key, sizeof key, "%s_token", ct_vocabulary_special_names[i]);
        if (taken->ids[i] >= 0 && !(taken->vocabulary.kind == CT_VOCABULARY_WORDS && i < CT_UNK))
            ct_value_set(config, key, ct_value_string(context, taken->vocabulary.tokens[taken->ids[i]].text));
    }
    if (taken->vocabulary.kind != CT_VOCABULARY_WORDS) {
        ct_value_set(config, "add_bos_token", ct_value_bool(context, taken->add_bos));
        ct_value_set(config, "add_eos_token", ct_value_bool(context, taken->add_eos));
    }
    ct_value_set(config, "clean_up_tokenization_spaces", ct_value_bool(context, false));
    size_t length;
    const char *template = ct_gguf_string(taken->gguf, "tokenizer.chat_template", &length);
    if (template && ct_utf8_check(template, length) == length)
        ct_value_set(config, "chat_template", ct_value_string_n(context, template, length));
    char *path = ct_path_join(context, folder, "tokenizer_config.json");
    if (path && !ct_failed(context)) ct_json_write(context, path, config, CT_JSON_PRETTY);
    ct_free(context, path);
    ct_value_free(config);
    return ct_context_status(context);
}

ct_status ct_vocabulary_from_gguf(ct_context *context, const ct_gguf *gguf, const char *folder) {
    size_t length = 0;
    const char *model = ct_gguf_string(gguf, "tokenizer.ggml.model", &length);
    bool none = !model || (length == 4 && memcmp(model, "none", 4) == 0) ||
                (length == 8 && memcmp(model, "no_vocab", 8) == 0);
    if (none) return CT_OK;
    taken_vocabulary taken = {.context = context, .gguf = gguf, .vocabulary = {.context = context}};
    taken.vocabulary.path = ct_strdup(context, "tokenizer.ggml.tokens");
    ct_status status = taken.vocabulary.path ? take_kind(&taken) : ct_context_status(context);
    if (!status) status = take_tokens(&taken);
    if (!status) {
        take_ids(&taken);
        status = write_tokenizer(&taken, folder);
    }
    if (!status) status = write_config(&taken, folder);
    ct_bytes_free(context, &taken.text);
    ct_vocabulary_free(&taken.vocabulary);
    return status;
}
