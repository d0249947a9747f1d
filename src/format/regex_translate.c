/* regex_translate.c - regular expressions of Oniguruma's Ruby syntax, which tokenizer files are written in,
 * in the syntax of PCRE2: what the two read differently is spelled out. \s is Unicode's White_Space, \w is
 * Unicode's word character (UTS #18) and Latin-1's superscript digits and fractions, ^ and $ are those of
 * lines, (?m) lets . match newlines. */
#include "carat/tokenizer.h"
#include "format/regex.h"
#include <string.h>

#define SPACE_ITEMS "\\x09-\\x0d\\x{85}\\p{Z}"
#define NOT_SPACE_ITEMS                                                                                      \
    "\\x{00}-\\x{08}\\x{0e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"       \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
#define WORD_ITEMS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define HEX_ITEMS "0-9A-Fa-f"
#define WORD "[" WORD_ITEMS "]"

typedef struct translator {
    ct_context *context;
    const char *pattern, *where;
    size_t length, at;
    ct_bytes out;
} translator;

static bool put(translator *state, const char *text) {
    return ct_bytes_append(state->context, &state->out, text, strlen(text)) == CT_OK;
}

static bool copy(translator *state, size_t count) {
    if (count > state->length - state->at) count = state->length - state->at;
    bool good = ct_bytes_append(state->context, &state->out, state->pattern + state->at, count) == CT_OK;
    state->at += count;
    return good;
}

static bool refuse(translator *state, const char *what) {
    ct_fail(state->context, CT_ERROR_UNSUPPORTED,
            "%s: the regular expression \"%.160s\" has %s at byte %zu, which is "
            "not supported",
            state->where, state->pattern, what, state->at);
    return false;
}

/* A backslash and a letter outside of brackets. */
static const char *escape_outside(char letter) {
    switch (letter) {
    case 's':
        return "[" SPACE_ITEMS "]";
    case 'S':
        return "[^" SPACE_ITEMS "]";
    case 'w':
        return WORD;
    case 'W':
        return "[^" WORD_ITEMS "]";
    case 'd':
        return "\\p{Nd}";
    case 'D':
        return "\\P{Nd}";
    case 'h':
        return "[" HEX_ITEMS "]";
    case 'H':
        return "[^" HEX_ITEMS "]";
    case 'b':
        return "(?:(?<=" WORD ")(?!" WORD ")|(?<!" WORD ")(?=" WORD "))";
    case 'B':
        return "(?:(?<=" WORD ")(?=" WORD ")|(?<!" WORD ")(?!" WORD "))";
    default:
        return NULL;
    }
}

static const char *escape_inside(char letter) {
    switch (letter) {
    case 's':
        return SPACE_ITEMS;
    case 'S':
        return NOT_SPACE_ITEMS;
    case 'w':
        return WORD_ITEMS;
    case 'd':
        return "\\p{Nd}";
    case 'D':
        return "\\P{Nd}";
    case 'h':
        return HEX_ITEMS;
    default:
        return NULL;
    }
}

/* Escapes that both read alike; letters beyond these are refused, so that none is read in two ways. */
static bool is_common_escape(char letter, bool inside) {
    if (strchr("trnfvaexpPu", letter)) return true;
    if (!((letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z'))) return true;
    return !inside && strchr("AzZGKRX", letter) != NULL;
}

/* \u0041 becomes \x{0041}. */
static bool code_escape(translator *state) {
    if (state->length - state->at < 6) return refuse(state, "a short \\u");
    bool good = put(state, "\\x{") &&
                ct_bytes_append(state->context, &state->out, state->pattern + state->at + 2, 4) == CT_OK &&
                put(state, "}");
    state->at += 6;
    return good;
}

static bool escape(translator *state, bool inside) {
    if (state->at + 1 >= state->length) return refuse(state, "a backslash at its end");
    char letter = state->pattern[state->at + 1];
    const char *spelled = inside ? escape_inside(letter) : escape_outside(letter);
    if (spelled) {
        state->at += 2;
        return put(state, spelled);
    }
    if (letter == 'v') { /* one character in Ruby, a class in PCRE2 */
        state->at += 2;
        return put(state, "\\x0b");
    }
    if (letter == 'u') return code_escape(state);
    char what[4] = {'\\', letter, 0};
    if (!is_common_escape(letter, inside)) return refuse(state, what);
    if (!copy(state, 2) || !strchr("pPx", letter) || state->at == state->length ||
        state->pattern[state->at] != '{')
        return !ct_failed(state->context);
    const char *end = memchr(state->pattern + state->at, '}', state->length - state->at);
    if (!end) return refuse(state, "a brace without an end");
    return copy(state, (size_t)(end - (state->pattern + state->at)) + 1);
}

/* [...] with [:names:]; sets within sets and && are refused. */
static bool bracket(translator *state) {
    if (!copy(state, 1)) return false;
    if (state->at < state->length && state->pattern[state->at] == '^' && !copy(state, 1)) return false;
    bool first = true;
    while (state->at < state->length) {
        char next = state->pattern[state->at],
             after = state->at + 1 < state->length ? state->pattern[state->at + 1] : 0;
        if (next == ']' && !first) return copy(state, 1);
        first = false;
        bool good;
        if (next == '\\') {
            good = escape(state, true);
        } else if (next == '[' && after == ':') {
            const char *end = memchr(state->pattern + state->at, ']', state->length - state->at);
            if (!end) return refuse(state, "[: without an end");
            good = copy(state, (size_t)(end - (state->pattern + state->at)) + 1);
        } else if (next == '[') {
            good = refuse(state, "a set within a set");
        } else if (next == '&' && after == '&') {
            good = refuse(state, "&& in a set");
        } else {
            good = copy(state, 1);
        }
        if (!good) return false;
    }
    return refuse(state, "a set without an end");
}

/* (?imx-imx) and (?imx-imx: with m for PCRE2's s; other groups are as they are, callouts and verbs are not.
 */
static bool group(translator *state) {
    size_t at = state->at;
    if (at + 1 < state->length && state->pattern[at + 1] == '*') return refuse(state, "a verb");
    if (at + 2 >= state->length || state->pattern[at + 1] != '?') return copy(state, 1);
    if (strchr("C&RP0123456789+(", state->pattern[at + 2])) return refuse(state, "a group of this kind");
    if (!strchr("imx-", state->pattern[at + 2])) return copy(state, 2);
    if (!copy(state, 2)) return false;
    while (state->at < state->length && strchr("imx-", state->pattern[state->at])) {
        bool dot = state->pattern[state->at] == 'm';
        if (dot ? !put(state, "s") : !copy(state, 1)) return false;
        state->at += dot;
    }
    if (state->at < state->length && (state->pattern[state->at] == ':' || state->pattern[state->at] == ')'))
        return true;
    return refuse(state, "an option that is not known");
}

/* {n,m}+ is possessive in PCRE2 and a repetition of the repetition in Ruby. */
static bool brace(translator *state) {
    if (!copy(state, 1)) return false;
    if (state->at < state->length && state->pattern[state->at] == '+') return refuse(state, "{}+");
    return true;
}

char *ct_regex_translate(ct_context *context, const char *pattern, size_t length, const char *where) {
    translator state = {.context = context, .pattern = pattern, .where = where, .length = length};
    bool good = put(&state, "");
    while (good && state.at < state.length) {
        switch (pattern[state.at]) {
        case '\\':
            good = escape(&state, false);
            break;
        case '[':
            good = bracket(&state);
            break;
        case '(':
            good = group(&state);
            break;
        case '}':
            good = brace(&state);
            break;
        case '\0':
            good = refuse(&state, "the character NUL");
            break;
        default:
            good = copy(&state, 1);
        }
    }
    if (good) return state.out.data;
    ct_bytes_free(context, &state.out);
    return NULL;
}
