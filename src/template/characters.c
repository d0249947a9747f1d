/* characters.c - classes of characters and upper and lower case. Beyond ASCII the C library's tables for
 * C.UTF-8 are asked. */
#include "template/value.h"
#include <locale.h>
#include <pthread.h>
#include <string.h>
#include <wctype.h>

static locale_t unicode;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_locale(void) {
    unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

/* (locale_t)0 where the system has no such locale: then nothing beyond ASCII has a case. */
static locale_t tables(void) {
    pthread_once(&once, make_locale);
    return unicode;
}

bool ct_jinja_space(uint32_t c) {
    if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static uint32_t upper(uint32_t c) {
    if (c < 0x80) return c >= 'a' && c <= 'z' ? c - 32 : c;
    return tables() ? (uint32_t)towupper_l((wint_t)c, tables()) : c;
}

static uint32_t lower(uint32_t c) {
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    return tables() ? (uint32_t)towlower_l((wint_t)c, tables()) : c;
}

static bool is_upper(uint32_t c) {
    return lower(c) != c;
}
static bool is_lower(uint32_t c) {
    return upper(c) != c || c == 0xdf || c == 0xaa || c == 0xba;
}

/* The separators of Jinja's title filter. */
static bool ends_word(uint32_t c) {
    return ct_jinja_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c));
}

bool ct_jinja_case(jinja_render *r, const jinja_value *text, jinja_case how, jinja_value *out) {
    const jinja_value v = *text;
    const unsigned marks = ct_jinja_marks(&v);
    bool begin = true; /* of the text or of a word */
    char buffer[256];
    size_t n = 0;
    if (!jinja_work(r, v.length / 8)) return false;
    jinja_capture capture = ct_jinja_begin(r);
    for (size_t i = 0; i < v.length;) {
        uint32_t c;
        i += jinja_decode(v.text + i, v.length - i, &c);
        bool up = how == JINJA_UPPER || (how == JINJA_SWAP && is_lower(c)) ||
                  (begin && how > JINJA_LOWER && how != JINJA_SWAP);
        if (up && c == 0xdf) { /* the only common letter whose upper case is two */
            buffer[n++] = 'S';
            buffer[n++] = how == JINJA_UPPER || how == JINJA_SWAP || how == JINJA_WORDS ? 'S' : 's';
        } else {
            n += ct_utf8_encode(up ? upper(c) : lower(c), buffer + n);
        }
        begin = how == JINJA_TITLE ? !is_upper(c) && !is_lower(c) : how == JINJA_WORDS && ends_word(c);
        if (n + 8 < sizeof(buffer) && i < v.length) continue;
        if (!ct_jinja_put(r, buffer, n, marks)) return false;
        n = 0;
    }
    if (!ct_jinja_end(r, capture, out)) return false;
    out->safe = v.safe;
    return true;
}

static bool in_class(uint32_t c, jinja_class which) {
    if (which == JINJA_SPACES) return ct_jinja_space(c);
    if (c < 0x80) {
        bool digit = c >= '0' && c <= '9', alpha = upper(c) != lower(c);
        return which == JINJA_DIGIT ? digit : which == JINJA_ALPHA ? alpha : digit || alpha;
    }
    if (!tables()) return false;
    if (which == JINJA_DIGIT) return iswalnum_l((wint_t)c, tables()) && !iswalpha_l((wint_t)c, tables());
    return iswalnum_l((wint_t)c, tables()) != 0;
}

bool ct_jinja_class_of(const jinja_value *text, jinja_class which) {
    bool any = false;
    for (size_t i = 0; i < text->length;) {
        uint32_t c;
        i += jinja_decode(text->text + i, text->length - i, &c);
        if (which == JINJA_IS_UPPER || which == JINJA_IS_LOWER) {
            bool right = which == JINJA_IS_UPPER ? is_upper(c) : is_lower(c);
            if (!right && (is_upper(c) || is_lower(c))) return false;
            any = any || right;
        } else if (!in_class(c, which)) {
            return false;
        } else {
            any = true;
        }
    }
    return any;
}
