/* lexer.c - template text into tokens, with the control of white space that transformers sets: trim_blocks,
 * lstrip_blocks, and the signs - and + at the borders of tags. */
#include "template/node.h"
#include <stdlib.h>
#include <string.h>

typedef struct lexer {
    jinja_parser *p;
    const char *text;
    size_t length, at;
    uint32_t line;
    bool fresh; /* the last token ended with a line: what follows begins one */
} lexer;

static bool push(lexer *x, jinja_token token) {
    jinja_tokens *t = &x->p->tokens;
    if (t->count == t->capacity) {
        size_t capacity = t->capacity ? t->capacity * 2 : 256;
        void *items = ct_realloc(x->p->context, t->items, capacity * sizeof(*t->items), CT_MEMORY_OTHER);
        if (!items) return !(x->p->failed = true);
        t->items = items;
        t->capacity = capacity;
    }
    t->items[t->count++] = token;
    return true;
}

static bool push_plain(lexer *x, jinja_token_kind kind, const char *text, size_t length) {
    return push(
        x, (jinja_token){.kind = (uint8_t)kind, .line = x->line, .text = text, .length = (uint32_t)length});
}

static bool starts(const lexer *x, size_t at, const char *text) {
    size_t n = strlen(text);
    return n <= x->length - at && memcmp(x->text + at, text, n) == 0;
}

static void count_lines(lexer *x, size_t from, size_t to) {
    for (const char *s = x->text + from; (s = memchr(s, '\n', (size_t)(x->text + to - s)));) {
        x->line++;
        if (++s >= x->text + to) break;
    }
}

static size_t skip_space(const lexer *x, size_t at) {
    uint32_t code;
    while (at < x->length) {
        size_t n = jinja_decode(x->text + at, x->length - at, &code);
        if (!ct_jinja_space(code)) break;
        at += n;
    }
    return at;
}

/* The last place before `end`, not before `start`, behind which there is only white space. */
static size_t strip_end(const lexer *x, size_t start, size_t end) {
    while (end > start) {
        size_t at = end - 1;
        uint32_t code;
        while (at > start && ((unsigned char)x->text[at] & 0xc0) == 0x80)
            at--;
        jinja_decode(x->text + at, end - at, &code);
        if (!ct_jinja_space(code)) break;
        end = at;
    }
    return end;
}

/* ------------------------------------------------------------------------------------- text before tags */

static bool data(lexer *x, size_t start, size_t end, char sign, bool block) {
    size_t kept = end;
    if (sign == '-') {
        kept = strip_end(x, start, end);
    } else if (sign != '+' && block) {
        size_t line = end;
        while (line > start && x->text[line - 1] != '\n')
            line--;
        if ((line > start || x->fresh) && strip_end(x, line, end) == line) kept = line;
    }
    if (kept > start && !push_plain(x, TOKEN_DATA, x->text + start, kept - start)) return false;
    count_lines(x, start, end);
    return true;
}

/* Behind the end of a block or comment: `-` takes all white space, else one line end goes. */
static void after_tag(lexer *x, char sign, bool trims) {
    size_t begin = x->at;
    if (sign == '-')
        x->at = skip_space(x, x->at);
    else if (sign != '+' && trims && x->at < x->length && x->text[x->at] == '\n')
        x->at++;
    count_lines(x, begin, x->at);
    x->fresh = x->at > begin && x->text[x->at - 1] == '\n';
}

static bool comment(lexer *x, uint32_t line) {
    size_t begin = x->at;
    for (const char *s = x->text + x->at; (s = memchr(s, '#', (size_t)(x->text + x->length - s))); s++) {
        size_t at = (size_t)(s - x->text);
        if (at + 1 >= x->length) break;
        if (s[1] != '}') continue;
        char sign = at > begin && (s[-1] == '-' || s[-1] == '+') ? s[-1] : 0;
        count_lines(x, begin, at);
        x->at = at + 2;
        after_tag(x, sign, true);
        return true;
    }
    ct_jinja_refuse(x->p, line, "Missing end of comment tag");
    return false;
}

/* A tag that holds the one word `word` at x->at: its sign and end. */
static bool word_tag(const lexer *x, size_t at, const char *word, char *begin, char *end, size_t *behind) {
    if (!starts(x, at, "{%")) return false;
    at += 2;
    *begin = 0;
    if (at < x->length && (x->text[at] == '-' || x->text[at] == '+')) *begin = x->text[at++];
    at = skip_space(x, at);
    if (!starts(x, at, word)) return false;
    at = skip_space(x, at + strlen(word));
    *end = 0;
    if (at < x->length && (x->text[at] == '-' || x->text[at] == '+')) *end = x->text[at++];
    *behind = at + 2;
    return starts(x, at, "%}");
}

static bool raw(lexer *x, char end_sign) {
    uint32_t line = x->line;
    if (end_sign == '-')
        after_tag(x, '-', false);
    else
        x->fresh = false;
    size_t start = x->at;
    for (const char *s = x->text + x->at; (s = memchr(s, '{', (size_t)(x->text + x->length - s))); s++) {
        size_t at = (size_t)(s - x->text), behind;
        char begin, end;
        if (!word_tag(x, at, "endraw", &begin, &end, &behind)) continue;
        if (!data(x, start, at, begin, true)) return false;
        count_lines(x, at, behind);
        x->at = behind;
        after_tag(x, end, true);
        return true;
    }
    ct_jinja_refuse(x->p, line, "Missing end of raw directive");
    return false;
}

/* ------------------------------------------------------------------------------------------- literals */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool is_word(const lexer *x, size_t at) {
    unsigned char c = (unsigned char)x->text[at];
    return is_digit((char)c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static int hex(char c) {
    return is_digit(c)            ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static size_t digits(const lexer *x, size_t at) {
    while (at < x->length &&
           (is_digit(x->text[at]) || (x->text[at] == '_' && at + 1 < x->length && is_digit(x->text[at + 1]))))
        at++;
    return at;
}

/* Integers with a prefix, or of digits; those beyond 64 bits are refused. */
static bool integer(lexer *x, size_t end, int base, size_t skip) {
    uint64_t value = 0;
    for (size_t i = x->at + skip; i < end; i++) {
        if (x->text[i] == '_') continue;
        uint64_t digit = (uint64_t)hex(x->text[i]);
        if (value > (INT64_MAX - digit) / (uint64_t)base) {
            ct_jinja_refuse(x->p, x->line, "the integer %.*s is beyond 64 bits",
                            (int)(end - x->at < 60 ? end - x->at : 60), x->text + x->at);
            return false;
        }
        value = value * (uint64_t)base + digit;
    }
    jinja_token token = {.kind = TOKEN_INTEGER,
                         .line = x->line,
                         .integer = (int64_t)value,
                         .text = x->text + x->at,
                         .length = (uint32_t)(end - x->at)};
    x->at = end;
    return push(x, token);
}

static bool real(lexer *x, size_t end) {
    char buffer[80];
    size_t n = 0;
    for (size_t i = x->at; i < end; i++)
        if (x->text[i] != '_' && n < sizeof(buffer) - 1) buffer[n++] = x->text[i];
    buffer[n] = '\0';
    if (n == sizeof(buffer) - 1) {
        ct_jinja_refuse(x->p, x->line, "a number of more than %zu characters", n);
        return false;
    }
    jinja_token token = {.kind = TOKEN_REAL,
                         .line = x->line,
                         .real = strtod(buffer, NULL),
                         .text = x->text + x->at,
                         .length = (uint32_t)(end - x->at)};
    x->at = end;
    return push(x, token);
}

static bool number(lexer *x) {
    size_t at = x->at, end = digits(x, at), more = end;
    if (at > 0 && x->text[at - 1] == '.') return integer(x, end, 10, 0); /* a.0.1 */
    bool point = end + 1 < x->length && x->text[end] == '.' && is_digit(x->text[end + 1]);
    if (point) more = digits(x, end + 1);
    size_t e = more;
    if (e < x->length && (x->text[e] == 'e' || x->text[e] == 'E')) {
        e++;
        if (e < x->length && (x->text[e] == '+' || x->text[e] == '-')) e++;
        if (e < x->length && is_digit(x->text[e])) {
            more = digits(x, e);
            point = true;
        }
    }
    if (point) return real(x, more);
    char mark = at + 1 < x->length && x->text[at] == '0' ? (char)(x->text[at + 1] | 0x20) : 0;
    int base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
    if (base == 10) return integer(x, end, 10, 0);
    end = at + 2;
    while (end < x->length && (x->text[end] == '_' || (hex(x->text[end]) >= 0 && hex(x->text[end]) < base)))
        end++;
    return integer(x, end, base, 2);
}

/* One escape at `s` (behind the backslash); bytes read, 0 for one that is not well formed. */
static size_t escape(const char *s, size_t left, char *out, size_t *written) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *simple = *s ? strchr(from, *s) : NULL;
    uint32_t code = 0;
    size_t wide = *s == 'x' ? 2 : *s == 'u' ? 4 : *s == 'U' ? 8 : 0, used = 1;
    *written = 1;
    if (simple) {
        *out = to[simple - from];
        return 1;
    }
    if (*s == '\n') {
        *written = 0;
        return 1;
    }
    if (*s >= '0' && *s <= '7') {
        for (used = 0; used < 3 && used < left && s[used] >= '0' && s[used] <= '7'; used++)
            code = code * 8 + (uint32_t)(s[used] - '0');
    } else if (wide) {
        if (left <= wide) return 0;
        for (; used <= wide; used++) {
            if (hex(s[used]) < 0) return 0;
            code = code * 16 + (uint32_t)hex(s[used]);
        }
        if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return 0;
    } else if (*s == 'N') {
        return 0;
    } else {
        out[0] = '\\';
        out[1] = *s;
        *written = 2;
        return 1;
    }
    *written = ct_utf8_encode(code, out);
    return used;
}

static bool string(lexer *x) {
    char quote = x->text[x->at];
    size_t start = x->at + 1, end = start, n = 0;
    uint32_t line = x->line;
    while (end < x->length && x->text[end] != quote)
        end += x->text[end] == '\\' ? 2 : 1;
    if (end >= x->length) {
        ct_jinja_refuse(x->p, line, "a string without its end");
        return false;
    }
    char *copy = ct_jinja_take(&x->p->parsed->arena, end - start + 5);
    if (!copy) return !(x->p->failed = true);
    for (size_t i = start; i < end;) {
        size_t written;
        if (x->text[i] != '\\') {
            copy[n++] = x->text[i++];
            continue;
        }
        size_t used = escape(x->text + i + 1, end - i - 1, copy + n, &written);
        if (!used) {
            ct_jinja_refuse(x->p, line, "an escape in a string that is not understood: \\%.8s",
                            x->text + i + 1);
            return false;
        }
        n += written;
        i += 1 + used;
    }
    count_lines(x, start, end);
    x->at = end + 1;
    return push(x, (jinja_token){.kind = TOKEN_STRING, .line = line, .text = copy, .length = (uint32_t)n});
}

/* ------------------------------------------------------------------------------------------ inside tags */

static bool operator(lexer *x, char *brackets, int *open) {
    static const char *const known[] = {"**", "//", "==", "!=", "<=", ">=", "+", "-", "*",
                                        "/",  "%",  "~",  "=",  "<",  ">",  ".", ",", ":",
                                        "|",  "(",  ")",  "[",  "]",  "{",  "}", ";", NULL};
    for (int i = 0; known[i]; i++) {
        if (!starts(x, x->at, known[i])) continue;
        char c = *known[i];
        if (c == '(' || c == '[' || c == '{') {
            if (*open >= CT_TEMPLATE_BRACKETS) {
                ct_jinja_refuse(x->p, x->line, "brackets nested deeper than %d levels", CT_TEMPLATE_BRACKETS);
                return false;
            }
            brackets[(*open)++] = c == '(' ? ')' : c == '[' ? ']' : '}';
        } else if (c == ')' || c == ']' || c == '}') {
            if (!*open || brackets[*open - 1] != c) {
                ct_jinja_refuse(x->p, x->line, "unexpected '%c'%s%.*s%s", c, *open ? ", expected '" : "",
                                *open ? 1 : 0, *open ? &brackets[*open - 1] : "", *open ? "'" : "");
                return false;
            }
            (*open)--;
        }
        bool pushed = push_plain(x, TOKEN_OPERATOR, known[i], strlen(known[i]));
        x->at += strlen(known[i]);
        return pushed;
    }
    ct_jinja_refuse(x->p, x->line, "unexpected char '%.4s'", x->text + x->at);
    return false;
}

static bool tag(lexer *x, bool block, uint32_t line) {
    char brackets[CT_TEMPLATE_BRACKETS];
    int open = 0;
    if (!push_plain(x, block ? TOKEN_BLOCK_BEGIN : TOKEN_OUTPUT_BEGIN, "", 0)) return false;
    for (;;) {
        size_t at = skip_space(x, x->at);
        count_lines(x, x->at, at);
        x->at = at;
        if (at >= x->length) {
            ct_jinja_refuse(x->p, line, "a tag \"%s\" without its end", block ? "{%" : "{{");
            return false;
        }
        char sign = x->text[at] == '-' || (block && x->text[at] == '+') ? x->text[at] : 0;
        if (!open && starts(x, at + (sign != 0), block ? "%}" : "}}")) {
            if (!push_plain(x, block ? TOKEN_BLOCK_END : TOKEN_OUTPUT_END, "", 0)) return false;
            x->at = at + 2 + (sign != 0);
            after_tag(x, sign, block);
            return true;
        }
        bool fine;
        if (is_digit(x->text[at])) {
            fine = number(x);
        } else if (is_word(x, at)) {
            while (x->at < x->length && is_word(x, x->at))
                x->at++;
            fine = push_plain(x, TOKEN_NAME, x->text + at, x->at - at);
        } else if (x->text[at] == '\'' || x->text[at] == '"') {
            fine = string(x);
        } else {
            fine = operator(x, brackets, &open);
        }
        if (!fine) return false;
    }
}

/* The next place where a tag begins. */
static size_t next_tag(const lexer *x) {
    const char *s = x->text + x->at;
    while ((s = memchr(s, '{', (size_t)(x->text + x->length - s)))) {
        size_t at = (size_t)(s - x->text);
        if (at + 1 >= x->length) break;
        if (s[1] == '%' || s[1] == '{' || s[1] == '#') return at;
        s++;
    }
    return x->length;
}

static bool next(lexer *x) {
    size_t at = next_tag(x), behind;
    if (at >= x->length) {
        size_t start = x->at;
        x->at = x->length;
        return start == x->length || push_plain(x, TOKEN_DATA, x->text + start, x->length - start);
    }
    char kind = x->text[at + 1], begin, end;
    char sign =
        at + 2 < x->length && (x->text[at + 2] == '-' || x->text[at + 2] == '+') ? x->text[at + 2] : 0;
    if (!data(x, x->at, at, sign, kind != '{')) return false;
    if (kind == '%' && word_tag(x, at, "raw", &begin, &end, &behind) && end != '+') {
        count_lines(x, at, behind);
        x->at = behind;
        return raw(x, end);
    }
    x->at = at + 2 + (sign != 0);
    return kind == '#' ? comment(x, x->line) : tag(x, kind == '%', x->line);
}

bool ct_jinja_tokenize(jinja_parser *p, const char *text, size_t length) {
    char *source = ct_jinja_take(&p->parsed->arena, length + 1);
    size_t n = 0;
    if (!source) return !(p->failed = true);
    for (size_t i = 0; i < length; i++) { /* \r\n and \r are line ends like \n */
        if (text[i] == '\r')
            source[n++] = '\n';
        else if (text[i] != '\n' || i == 0 || text[i - 1] != '\r')
            source[n++] = text[i];
    }
    if (n && source[n - 1] == '\n') n--; /* keep_trailing_newline is off */
    source[n] = '\0';
    lexer x = {.p = p, .text = source, .length = n, .line = 1, .fresh = true};
    while (x.at < n)
        if (!next(&x)) return false;
    return push_plain(&x, TOKEN_END, "", 0);
}
