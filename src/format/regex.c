/* regex.c - patterns of tokenizer files: recognised ones run as scanners, texts by memmem, the rest through
 * PCRE2 with its just-in-time compiler. PCRE2 stops after MATCH_LIMIT backtracking points and HEAP_LIMIT KiB,
 * so that an expression that explodes is an error and not an endless wait. */
#define _GNU_SOURCE /* memmem */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "format/regex.h"
#include "format/utf8.h"
#include <pcre2.h>
#include <string.h>

enum {
    MATCH_LIMIT = 5000000,
    HEAP_LIMIT = 65536,
    STACK_START = 32768,
    STACK_MOST = 1 << 20,
    PATTERN_MOST = 65536
};

struct ct_regex {
    ct_context *context;
    const ct_scanner *scanner;
    char *literal; /* matched as it is; NULL: by PCRE2 or the scanner */
    size_t literal_length;
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack;
    pcre2_general_context *memory;
};

static void *take(size_t size, void *context) {
    return ct_alloc(context, size, CT_MEMORY_OTHER);
}

static void give_back(void *block, void *context) {
    ct_free(context, block);
}

void ct_regex_destroy(ct_regex *regex) {
    if (!regex) return;
    pcre2_match_data_free(regex->match);
    pcre2_code_free(regex->code);
    if (regex->stack) pcre2_jit_stack_free(regex->stack);
    pcre2_match_context_free(regex->limits);
    pcre2_general_context_free(regex->memory);
    ct_free(regex->context, regex->literal);
    ct_free(regex->context, regex);
}

const ct_scanner *ct_regex_scanner(const ct_regex *regex) {
    return regex->scanner;
}

static ct_status out_of_memory(ct_context *context) {
    return ct_fail(context, CT_ERROR_MEMORY, "no memory for a regular expression");
}

static ct_status compile(ct_regex *regex, const char *pattern, const char *where) {
    ct_context *context = regex->context;
    int error = 0;
    PCRE2_SIZE offset = 0;
    regex->memory = pcre2_general_context_create(take, give_back, context);
    if (!regex->memory) return out_of_memory(context);
    pcre2_compile_context *settings = pcre2_compile_context_create(regex->memory);
    if (!settings) return out_of_memory(context);
    pcre2_set_newline(settings, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(settings, 200);
    regex->code = pcre2_compile((PCRE2_SPTR)pattern, strlen(pattern),
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_MULTILINE |
                                    PCRE2_NEVER_BACKSLASH_C,
                                &error, &offset, settings);
    pcre2_compile_context_free(settings);
    if (!regex->code) {
        char message[160] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof message);
        if (error == PCRE2_ERROR_NOMEMORY || ct_failed(context)) return out_of_memory(context);
        return ct_fail(context, CT_ERROR_FORMAT, "%s: the regular expression \"%.160s\" is refused: %s",
                       where, pattern, message);
    }
    pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* without it matching is slower, and that is all */
    regex->match = pcre2_match_data_create(1, regex->memory);
    regex->limits = pcre2_match_context_create(regex->memory);
    regex->stack = pcre2_jit_stack_create(STACK_START, STACK_MOST, regex->memory);
    if (!regex->match || !regex->limits || ct_failed(context)) return out_of_memory(context);
    pcre2_set_match_limit(regex->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(regex->limits, HEAP_LIMIT);
    if (regex->stack) pcre2_jit_stack_assign(regex->limits, NULL, regex->stack);
    return CT_OK;
}

ct_regex *ct_regex_create(ct_context *context, const char *pattern, size_t length, const char *where,
                          bool scanners) {
    if (length > PATTERN_MOST) {
        ct_fail(context, CT_ERROR_UNSUPPORTED,
                "%s: a regular expression of %zu bytes is too long, at most %d are taken", where, length,
                PATTERN_MOST);
        return NULL;
    }
    ct_regex *regex = ct_alloc_zero(context, sizeof *regex, CT_MEMORY_OTHER);
    if (!regex) return NULL;
    regex->context = context;
    regex->scanner = scanners ? ct_scanner_of(pattern, length) : NULL;
    if (regex->scanner) return regex;
    char *translated = ct_regex_translate(context, pattern, length, where);
    ct_status status = translated ? compile(regex, translated, where) : ct_context_status(context);
    ct_free(context, translated);
    if (status == CT_OK) return regex;
    ct_regex_destroy(regex);
    return NULL;
}

ct_regex *ct_regex_literal(ct_context *context, const char *text, size_t length) {
    ct_regex *regex = ct_alloc_zero(context, sizeof *regex, CT_MEMORY_OTHER);
    if (!regex) return NULL;
    regex->context = context;
    regex->literal_length = length;
    regex->literal = ct_alloc(context, length, CT_MEMORY_OTHER);
    if (regex->literal) {
        memcpy(regex->literal, text, length);
        return regex;
    }
    ct_regex_destroy(regex);
    return NULL;
}

/* A match at or after `from`: 1, 0 for none, -1 for an error. */
static int search(const ct_regex *regex, const char *text, size_t length, size_t from, size_t *begin,
                  size_t *end) {
    if (regex->scanner) {
        if (from >= length) return 0;
        *begin = from;
        *end = regex->scanner->word(text, length, from);
        return 1;
    }
    if (regex->literal) {
        const char *found = regex->literal_length
                                ? memmem(text + from, length - from, regex->literal, regex->literal_length)
                                : NULL;
        if (!found) return 0;
        *begin = (size_t)(found - text);
        *end = *begin + regex->literal_length;
        return 1;
    }
    int found = pcre2_match(regex->code, (PCRE2_SPTR)text, length, from, 0, regex->match, regex->limits);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its stack on the heap */
        found = pcre2_match(regex->code, (PCRE2_SPTR)text, length, from, PCRE2_NO_JIT, regex->match,
                            regex->limits);
    if (found == PCRE2_ERROR_NOMATCH) return 0;
    if (found < 0) {
        char message[160] = "";
        pcre2_get_error_message(found, (PCRE2_UCHAR *)message, sizeof message);
        ct_fail(regex->context, found == PCRE2_ERROR_NOMEMORY ? CT_ERROR_MEMORY : CT_ERROR_UNSUPPORTED,
                "the tokenizer's regular expression gave up on this text at byte %zu: %s", from, message);
        return -1;
    }
    const PCRE2_SIZE *places = pcre2_get_ovector_pointer(regex->match);
    *begin = places[0] < from ? from : places[0];
    *end = places[1] < *begin ? *begin : places[1];
    return 1;
}

/* An empty match right after the match before it is passed over with one character, as Hugging Face's reader
 * of Oniguruma's matches does. */
bool ct_regex_next(const ct_regex *regex, const char *text, size_t length, ct_regex_scan *scan) {
    while (scan->at <= length) {
        size_t begin, end;
        if (search(regex, text, length, scan->at, &begin, &end) != 1) return false;
        if (begin < end || !scan->any || end != scan->last_end) {
            scan->begin = begin;
            scan->end = scan->at = scan->last_end = end;
            scan->any = true;
            return true;
        }
        uint32_t code;
        size_t size = scan->at < length ? ct_utf8_decode(text + scan->at, length - scan->at, &code) : 1;
        scan->at += size ? size : 1;
    }
    return false;
}
