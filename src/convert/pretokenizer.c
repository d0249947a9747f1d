/* pretokenizer.c - the pre-tokenizers that llama.cpp knows by name, told from tokenizer.json by what they do:
 * the regular expressions by which text is split. */
#include "convert/vocabulary.h"
#include "carat/tokenizer.h"
#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3                                                                                               \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define QWEN2 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define TEKKEN                                                                                               \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER                      \
    "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define GPT4O                                                                                                \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" CONTRACTIONS "?|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER     \
    "*" CONTRACTIONS "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES

/* Steps, joined by '\n': "split EXPRESSION", "digits" (one by one), "bytes" and "bytes words" (with GPT-2's
 * expression). */
static const struct {
    const char *name, *steps;
    bool ignore_merges; /* llama.cpp ties it to the name */
} known[] = {
    {"gpt-2", "bytes words\n", false},
    {"llama-bpe", "split " LLAMA3 "\nbytes\n", true},
    {"smaug-bpe", "split " LLAMA3 "\nbytes\n", false},
    {"qwen2", "split " QWEN2 "\nbytes\n", false},
    {"tekken", "split " TEKKEN "\nbytes\n", true},
    {"gpt-4o", "split " GPT4O "\nbytes\n", false},
    {"smollm", "digits\nbytes words\n", false},
};
enum { KNOWN = sizeof known / sizeof *known };

static ct_status put(ct_context *context, ct_bytes *out, const char *text) {
    return ct_bytes_append(context, out, text, strlen(text));
}

/* A step in the words of the table; anything that has none is named with its type. */
static ct_status describe(ct_context *context, const ct_value *part, ct_bytes *out) {
    const char *type = ct_value_as_string(ct_value_get(part, "type"), "nothing");
    if (strcmp(type, "Sequence") == 0) {
        const ct_value *list = ct_value_get(part, "pretokenizers");
        for (size_t i = 0; i < ct_value_count(list); i++)
            describe(context, ct_value_at(list, i), out);
        return ct_context_status(context);
    }
    const ct_value *pattern = ct_value_get(part, "pattern");
    const char *regex = ct_value_as_string(ct_value_get(pattern, "Regex"), NULL);
    bool isolated = strcmp(ct_value_as_string(ct_value_get(part, "behavior"), ""), "Isolated") == 0;
    bool removed = strcmp(ct_value_as_string(ct_value_get(part, "behavior"), ""), "Removed") == 0;
    bool inverted = ct_value_as_bool(ct_value_get(part, "invert"), false);
    if (strcmp(type, "Split") == 0 && regex && ((isolated && !inverted) || (removed && inverted))) {
        put(context, out, "split ");
        put(context, out, regex);
    } else if (strcmp(type, "Digits") == 0 &&
               ct_value_as_bool(ct_value_get(part, "individual_digits"), false)) {
        put(context, out, "digits");
    } else if (strcmp(type, "ByteLevel") == 0 &&
               !ct_value_as_bool(ct_value_get(part, "add_prefix_space"), false)) {
        put(context, out, ct_value_as_bool(ct_value_get(part, "use_regex"), true) ? "bytes words" : "bytes");
    } else {
        char *text = ct_json_text(context, part, CT_JSON_COMPACT, NULL);
        if (text) put(context, out, text);
        ct_free(context, text);
    }
    return put(context, out, "\n");
}

const char *ct_pretokenizer_name(ct_vocabulary *vocabulary) {
    ct_bytes steps = {0};
    const char *name = NULL;
    ct_context *context = vocabulary->context;
    describe(context, ct_value_get(vocabulary->rest, "pre_tokenizer"), &steps);
    if (!steps.length) put(context, &steps, "nothing\n"); /* a sequence of no steps */
    if (!ct_failed(context)) {
        for (size_t i = 0; !name && i < KNOWN; i++)
            if (strcmp(steps.data, known[i].steps) == 0 &&
                known[i].ignore_merges == vocabulary->ignore_merges)
                name = known[i].name;
        for (char *c = steps.data; *c; c++)
            if (*c == '\n') *c = c[1] ? ';' : '\0';
        if (!name)
            ct_fail(context, CT_ERROR_UNSUPPORTED,
                    "%s: llama.cpp has no name that Carat knows for the pre-tokenizer \"%.300s\"%s",
                    vocabulary->path, steps.data, vocabulary->ignore_merges ? " with ignore_merges" : "");
    }
    ct_bytes_free(context, &steps);
    return name;
}

/* ---------------------------------------------------------------------------------------------- from GGUF */

static ct_value *typed(ct_context *context, const char *type) {
    ct_value *map = ct_value_map(context);
    if (map) ct_value_set(map, "type", ct_value_string(context, type));
    return map;
}

static ct_value *step_value(ct_context *context, const char *step, size_t length) {
    if (length > 6 && memcmp(step, "split ", 6) == 0) {
        ct_value *map = typed(context, "Split"), *pattern = ct_value_map(context);
        if (pattern) ct_value_set(pattern, "Regex", ct_value_string_n(context, step + 6, length - 6));
        if (!map) {
            ct_value_free(pattern);
            return NULL;
        }
        ct_value_set(map, "pattern", pattern);
        ct_value_set(map, "behavior", ct_value_string(context, "Isolated"));
        ct_value_set(map, "invert", ct_value_bool(context, false));
        return map;
    }
    bool digits = length == 6 && memcmp(step, "digits", 6) == 0;
    ct_value *map = typed(context, digits ? "Digits" : "ByteLevel");
    if (map && digits) ct_value_set(map, "individual_digits", ct_value_bool(context, true));
    if (map && !digits) {
        ct_value_set(map, "add_prefix_space", ct_value_bool(context, false));
        ct_value_set(map, "trim_offsets", ct_value_bool(context, true));
        ct_value_set(map, "use_regex", ct_value_bool(context, length > 5));
    }
    return map;
}

ct_value *ct_pretokenizer_of(ct_context *context, const char *name, size_t length, bool *ignore_merges) {
    for (size_t i = 0; i < KNOWN; i++) {
        if (strlen(known[i].name) != length || memcmp(known[i].name, name, length) != 0) continue;
        *ignore_merges = known[i].ignore_merges;
        ct_value *list = ct_value_list(context);
        for (const char *step = known[i].steps; list && *step;) {
            size_t size = strcspn(step, "\n");
            if (ct_value_append(list, step_value(context, step, size))) break;
            step += size + 1;
        }
        if (!list || ct_failed(context)) {
            ct_value_free(list);
            return NULL;
        }
        if (ct_value_count(list) == 1) {
            ct_value *only = ct_value_copy(ct_value_at(list, 0));
            ct_value_free(list);
            return only;
        }
        ct_value *sequence = typed(context, "Sequence");
        if (sequence)
            ct_value_set(sequence, "pretokenizers", list);
        else
            ct_value_free(list);
        return sequence;
    }
    ct_fail(context, CT_ERROR_UNSUPPORTED,
            "the pre-tokenizer \"%.*s\" of the GGUF file is not one that Carat knows",
            (int)(length < 60 ? length : 60), name);
    return NULL;
}
