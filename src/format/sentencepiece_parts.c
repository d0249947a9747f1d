/* sentencepiece_parts.c - a SentencePiece model as tokenizer.json says it: its normalization as normalizers,
 * spaces as U+2581, its BPE scores as merges (of all pairs of pieces that make a piece, the highest score
 * first). */
#include "carat/format.h"
#include "format/sentencepiece.h"
#include <stdlib.h>

/* ------------------------------------------------------------------------------------------- merges ----- */

typedef struct candidate {
    float score;
    int32_t left, right, result;
} candidate;

static int by_score(const void *left, const void *right) {
    const candidate *a = left, *b = right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->result != b->result) return a->result < b->result ? -1 : 1;
    if (a->left != b->left) return a->left < b->left ? -1 : 1;
    return a->right < b->right ? -1 : a->right > b->right;
}

static bool is_mergeable(const ct_sentencepiece *model, int32_t id) {
    return id >= 0 && (model->types[id] == CT_PIECE_NORMAL || model->types[id] == CT_PIECE_USER_DEFINED);
}

/* All ways to make piece `id` of two pieces. */
static size_t split_piece(const ct_tokenizer_file *file, const ct_sentencepiece *model,
                          const ct_name_table *names, int32_t id, candidate *out) {
    const ct_vocabulary_entry *piece = &file->vocabulary[id];
    size_t count = 0;
    for (size_t cut = 1; cut < piece->length; cut++) {
        if (((unsigned char)piece->symbol[cut] & 0xc0) == 0x80) continue;
        int32_t left = ct_names_get(names, piece->symbol, cut);
        if (!is_mergeable(model, left)) continue;
        int32_t right = ct_names_get(names, piece->symbol + cut, piece->length - cut);
        if (is_mergeable(model, right)) out[count++] = (candidate){(float)piece->score, left, right, id};
    }
    return count;
}

ct_status ct_sentencepiece_make_merges(ct_tokenizer_file *file, const ct_sentencepiece *model) {
    ct_context *context = file->context;
    ct_name_table names = {0};
    size_t room = 0, count = 0;
    ct_status status = ct_names_reserve(context, &names, file->vocabulary_count);
    for (size_t i = 0; i < file->vocabulary_count && status == CT_OK; i++) {
        const ct_vocabulary_entry *piece = &file->vocabulary[i];
        if (ct_names_get(&names, piece->symbol, piece->length) < 0) /* twice is refused later */
            status = ct_names_put(context, &names, piece->symbol, piece->length, (int32_t)i);
        room += piece->length;
    }
    candidate *found = status == CT_OK ? ct_alloc(context, room * sizeof *found, CT_MEMORY_WORKSPACE) : NULL;
    if (!found) status = ct_context_status(context);
    for (size_t i = 0; i < file->vocabulary_count && status == CT_OK; i++)
        if (is_mergeable(model, (int32_t)i))
            count += split_piece(file, model, &names, (int32_t)i, found + count);
    if (status == CT_OK) qsort(found, count, sizeof *found, by_score);
    for (size_t i = 0; i < count && status == CT_OK; i++) {
        const ct_vocabulary_entry *left = &file->vocabulary[found[i].left],
                                  *right = &file->vocabulary[found[i].right];
        if (!ct_tokenizer_file_add_merge(
                file, (ct_merge_entry){left->symbol, right->symbol, left->length, right->length}))
            status = ct_context_status(context);
    }
    ct_free(context, found);
    ct_names_free(context, &names);
    return status;
}

/* -------------------------------------------------------------------------------------------- parts ----- */

static const char mark[] = "\xe2\x96\x81";

static ct_value *typed(ct_context *context, const char *type) {
    ct_value *map = ct_value_map(context);
    ct_value_set(map, "type", ct_value_string(context, type));
    return map;
}

static ct_value *replace(ct_context *context, const char *kind, const char *pattern, const char *content) {
    ct_value *map = typed(context, "Replace"), *inner = ct_value_map(context);
    ct_value_set(inner, kind, ct_value_string(context, pattern));
    ct_value_set(map, "pattern", inner);
    ct_value_set(map, "content", ct_value_string(context, content));
    return map;
}

static ct_value *sequence(ct_context *context, const char *key, ct_value *list) {
    ct_value *map = typed(context, "Sequence");
    ct_value_set(map, key, list);
    return map;
}

/* RFC 4648 */
static ct_value *base64(ct_context *context, ct_text bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = ct_alloc(context, bytes.length / 3 * 4 + 8, CT_MEMORY_WORKSPACE);
    size_t made = 0;
    if (!text) return NULL;
    for (size_t i = 0; i < bytes.length; i += 3) {
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; j++)
            bits = bits << 8 | (i + j < bytes.length ? (unsigned char)bytes.data[i + j] : 0);
        for (size_t j = 0; j < 4; j++)
            text[made++] = i + j > bytes.length ? '=' : digits[bits >> (18 - 6 * j) & 63];
    }
    ct_value *value = ct_value_string_n(context, text, made);
    ct_free(context, text);
    return value;
}

/* With "legacy": false, transformers puts the first space before the text only, and not behind special
 * tokens. */
static ct_status set_spaces(ct_tokenizer_file *file, const ct_sentencepiece *model, const ct_value *config) {
    ct_context *context = file->context;
    bool prefix = model->dummy_prefix && ct_value_as_bool(ct_value_get(config, "add_prefix_space"), true);
    bool legacy = ct_value_as_bool(ct_value_get(config, "legacy"), true);
    ct_value *normalizers = ct_value_list(context), *decoders = ct_value_list(context);
    if (model->charsmap.length) {
        ct_value *map = typed(context, "Precompiled");
        ct_value_set(map, "precompiled_charsmap", base64(context, model->charsmap));
        ct_value_append(normalizers, map);
    }
    if (model->remove_spaces) {
        ct_value_append(normalizers, replace(context, "Regex", "\\A +|[ \xe2\x96\x81]+\\z", ""));
        ct_value_append(normalizers, replace(context, "Regex", " {2,}", " "));
    }
    if (prefix && legacy) {
        ct_value *step = typed(context, "Prepend");
        ct_value_set(step, "prepend", ct_value_string(context, mark));
        ct_value_append(normalizers, step);
    }
    if (legacy) {
        ct_value_append(normalizers, replace(context, "String", " ", mark));
    } else {
        ct_value *step = typed(context, "Metaspace");
        ct_value_set(step, "replacement", ct_value_string(context, mark));
        ct_value_set(step, "prepend_scheme", ct_value_string(context, prefix ? "first" : "never"));
        ct_value_set(step, "split", ct_value_bool(context, false));
        ct_value_set(file->parts, "pre_tokenizer", step);
    }
    bool any = ct_value_count(normalizers) > 0;
    if (any)
        ct_value_set(file->parts, "normalizer", sequence(context, "normalizers", normalizers));
    else
        ct_value_free(normalizers);
    ct_value_append(decoders, replace(context, "String", mark, " "));
    ct_value_append(decoders, typed(context, "ByteFallback"));
    ct_value_append(decoders, typed(context, "Fuse"));
    if (prefix || model->remove_spaces) { /* all spaces go where all but single ones went before */
        ct_value *strip = typed(context, "Strip");
        ct_value_set(strip, "content", ct_value_string(context, " "));
        ct_value_set(strip, "start", ct_value_int(context, model->remove_spaces ? INT32_MAX : 1));
        ct_value_set(strip, "stop", ct_value_int(context, 0));
        ct_value_append(decoders, strip);
    }
    return ct_value_set(file->parts, "decoder", sequence(context, "decoders", decoders));
}

/* Control pieces are special; user-defined ones are found in any text, after normalization unless that would
 * put a space before them. */
static ct_status set_added(ct_tokenizer_file *file, const ct_sentencepiece *model) {
    ct_context *context = file->context;
    ct_value *list = ct_value_list(context);
    for (size_t i = 0; list && i < file->vocabulary_count; i++) {
        int type = model->types[i];
        if (type != CT_PIECE_CONTROL && type != CT_PIECE_USER_DEFINED && type != CT_PIECE_UNKNOWN) continue;
        bool user = type == CT_PIECE_USER_DEFINED;
        ct_value *item = ct_value_map(context);
        ct_value_set(item, "id", ct_value_int(context, (int64_t)i));
        ct_value_set(item, "content",
                     ct_value_string_n(context, file->vocabulary[i].symbol, file->vocabulary[i].length));
        ct_value_set(item, "normalized", ct_value_bool(context, user && !model->dummy_prefix));
        ct_value_set(item, "special", ct_value_bool(context, !user));
        if (ct_value_append(list, item) != CT_OK) break;
    }
    return ct_value_set(file->parts, "added_tokens", list);
}

static void put_special(ct_context *context, ct_value *single, ct_value *table, const char *symbol,
                        int64_t id) {
    ct_value *piece = ct_value_map(context), *inner = ct_value_map(context), *entry = ct_value_map(context),
             *ids = ct_value_list(context), *tokens = ct_value_list(context);
    ct_value_set(inner, "id", ct_value_string(context, symbol));
    ct_value_set(inner, "type_id", ct_value_int(context, 0));
    ct_value_set(piece, "SpecialToken", inner);
    ct_value_append(single, piece);
    ct_value_append(ids, ct_value_int(context, id));
    ct_value_append(tokens, ct_value_string(context, symbol));
    ct_value_set(entry, "id", ct_value_string(context, symbol));
    ct_value_set(entry, "ids", ids);
    ct_value_set(entry, "tokens", tokens);
    ct_value_set(table, symbol, entry);
}

/* What transformers adds: Llama and Gemma begin texts with bos, T5 ends them with eos, unless the
 * configuration says otherwise; a BPE model without configuration is taken for one of Llama. */
static ct_status set_template(ct_tokenizer_file *file, const ct_sentencepiece *model,
                              const ct_value *config) {
    ct_context *context = file->context;
    const char *class =
        ct_value_as_string(ct_value_get(config, "tokenizer_class"), model->model_type == 2 ? "Llama" : "");
    bool llama = strstr(class, "Llama") || strstr(class, "Gemma"), t5 = strncmp(class, "T5", 2) == 0;
    bool bos = ct_value_as_bool(ct_value_get(config, "add_bos_token"), llama),
         eos = ct_value_as_bool(ct_value_get(config, "add_eos_token"), t5);
    int64_t count = (int64_t)file->vocabulary_count;
    bos = bos && model->bos >= 0 && model->bos < count;
    eos = eos && model->eos >= 0 && model->eos < count;
    if (!bos && !eos) return CT_OK;
    ct_value *post = typed(context, "TemplateProcessing"), *single = ct_value_list(context),
             *pair = ct_value_list(context), *table = ct_value_map(context);
    for (int which = 0; which < 2; which++) { /* A; A and B */
        ct_value *list = which ? pair : single;
        for (int part = 0; part <= which; part++) {
            ct_value *text = ct_value_map(context), *inner = ct_value_map(context);
            if (bos) put_special(context, list, table, file->vocabulary[model->bos].symbol, model->bos);
            ct_value_set(inner, "id", ct_value_string(context, part ? "B" : "A"));
            ct_value_set(inner, "type_id", ct_value_int(context, part));
            ct_value_set(text, "Sequence", inner);
            ct_value_append(list, text);
            if (eos) put_special(context, list, table, file->vocabulary[model->eos].symbol, model->eos);
        }
    }
    ct_value_set(post, "single", single);
    ct_value_set(post, "pair", pair);
    ct_value_set(post, "special_tokens", table);
    return ct_value_set(file->parts, "post_processor", post);
}

ct_status ct_sentencepiece_set_parts(ct_tokenizer_file *file, const ct_sentencepiece *model,
                                     const ct_value *config) {
    ct_context *context = file->context;
    bool bpe = model->model_type == 2;
    ct_status status = set_spaces(file, model, config);
    if (status == CT_OK) status = set_added(file, model);
    if (status == CT_OK) status = set_template(file, model, config);
    if (status != CT_OK) return status;
    ct_value_set(file->model, "type", ct_value_string(context, bpe ? "BPE" : "Unigram"));
    if (bpe) {
        ct_value_set(file->model, "dropout", ct_value_null(context));
        ct_value_set(file->model, "unk_token", ct_value_string(context, file->vocabulary[model->unk].symbol));
        ct_value_set(file->model, "fuse_unk", ct_value_bool(context, true));
    } else {
        ct_value_set(file->model, "unk_id", ct_value_int(context, model->unk));
    }
    ct_value_set(file->model, "byte_fallback", ct_value_bool(context, model->byte_fallback));
    file->scored = !bpe;
    file->hides_bytes = true;
    status = ct_context_status(context);
    return status == CT_OK && bpe ? ct_sentencepiece_make_merges(file, model) : status;
}
