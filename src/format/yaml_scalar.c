/* yaml_scalar.c - what a plain scalar means in the core schema (YAML 1.2, section 10.3.2): 1e-3 is a real
 * there, and yes, no, on and off are strings. Decimal integers beyond 64 bits become reals, as in JSON. */
#include "format/yaml_scalar.h"
#include "format/number.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_one_of(const char *text, const char *const *words) {
    for (; *words; words++)
        if (strcmp(text, *words) == 0) return true;
    return false;
}

static bool is_word(const char *text, ct_yaml_scalar *scalar) {
    static const char *const null[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const yes[] = {"true", "True", "TRUE", NULL};
    static const char *const no[] = {"false", "False", "FALSE", NULL};
    static const char *const infinity[] = {".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", NULL};
    static const char *const minus_infinity[] = {"-.inf", "-.Inf", "-.INF", NULL};
    static const char *const nan[] = {".nan", ".NaN", ".NAN", NULL};
    if (is_one_of(text, null))
        scalar->kind = CT_VALUE_NULL;
    else if (is_one_of(text, yes) || is_one_of(text, no))
        scalar->kind = CT_VALUE_BOOL, scalar->boolean = text[0] == 't' || text[0] == 'T';
    else if (is_one_of(text, infinity))
        scalar->kind = CT_VALUE_REAL, scalar->real = INFINITY;
    else if (is_one_of(text, minus_infinity))
        scalar->kind = CT_VALUE_REAL, scalar->real = -INFINITY;
    else if (is_one_of(text, nan))
        scalar->kind = CT_VALUE_REAL, scalar->real = NAN;
    else
        return false;
    return true;
}

/* 0o17 and 0x1f. */
static bool is_based(const char *text, ct_yaml_scalar *scalar) {
    if (text[0] != '0' || (text[1] != 'o' && text[1] != 'x') || !text[2]) return false;
    int base = text[1] == 'o' ? 8 : 16;
    if (strspn(text + 2, base == 8 ? "01234567" : "0123456789abcdefABCDEF") != strlen(text + 2)) return false;
    errno = 0;
    scalar->integer = strtoll(text + 2, NULL, base);
    scalar->kind = CT_VALUE_INT;
    if (errno) { /* beyond 64 bits */
        scalar->kind = CT_VALUE_REAL;
        scalar->real = 0;
        for (const char *digit = text + 2; *digit; digit++) {
            int value = *digit <= '9' ? *digit - '0' : (*digit | 0x20) - 'a' + 10;
            scalar->real = scalar->real * base + value;
        }
    }
    return true;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? ; *whole if it is [-+]?[0-9]+ */
static bool is_number(const char *text, bool *whole) {
    static const char digits[] = "0123456789";
    if (*text == '-' || *text == '+') text++;
    size_t before = strspn(text, digits), after = 0;
    text += before;
    *whole = *text == '\0';
    if (*text == '.') {
        after = strspn(text + 1, digits);
        text += 1 + after;
    }
    if (before + after == 0) return false;
    if (*text == 'e' || *text == 'E') {
        text++;
        if (*text == '-' || *text == '+') text++;
        size_t exponent = strspn(text, digits);
        if (exponent == 0) return false;
        text += exponent;
    }
    return *text == '\0';
}

ct_yaml_scalar ct_yaml_resolve(const char *text, size_t length) {
    ct_yaml_scalar scalar = {.kind = CT_VALUE_STRING};
    bool whole;
    if (strlen(text) != length || is_word(text, &scalar) || is_based(text, &scalar)) return scalar;
    if (!is_number(text, &whole)) return scalar;
    if (whole) {
        errno = 0;
        scalar.integer = strtoll(text, NULL, 10);
        scalar.kind = CT_VALUE_INT;
        if (errno == 0) return scalar;
    }
    scalar.kind = CT_VALUE_REAL;
    scalar.real = ct_number_parse(text);
    return scalar;
}
