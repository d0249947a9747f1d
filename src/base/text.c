/* text.c - strings, numbers as text, sizes in bytes, the nearest of several names. */
#define _GNU_SOURCE
#include "base/text.h"
#include "carat/dtype.h"
#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

const char *ct_dtype_name(ct_dtype dtype) {
    static const char *const names[CT_DTYPES] = {"f32", "f64", "bf16", "f16", "i8", "i32", "i64", "u8"};
    return (unsigned)dtype < CT_DTYPES ? names[dtype] : "unknown";
}

/* ------------------------------------------------------------------------------------------ strings ----- */

char *ct_strdup(ct_context *context, const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = ct_alloc(context, size, CT_MEMORY_OTHER);
    return copy ? memcpy(copy, text, size) : NULL;
}

char *ct_format(ct_context *context, const char *format, ...) {
    ct_text text = ct_text_start(context);
    va_list arguments;
    va_start(arguments, format);
    ct_text_printf_v(&text, format, arguments);
    va_end(arguments);
    return ct_text_take(&text);
}

/* Room for `more` bytes and a NUL. */
static bool reserve(ct_text *text, size_t more) {
    if (text->failed) return false;
    if (text->capacity - text->length > more) return true;
    size_t capacity = text->capacity + text->capacity / 2;
    if (capacity < text->length + more + 1) capacity = text->length + more + 1;
    capacity = ct_memory_rounded(capacity);
    char *data = ct_realloc(text->context, text->data, capacity, CT_MEMORY_OTHER);
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void ct_text_append(ct_text *text, const char *bytes, size_t length) {
    if (!reserve(text, length)) return;
    if (length) memcpy(text->data + text->length, bytes, length);
    text->length += length;
    text->data[text->length] = 0;
}

void ct_text_printf_v(ct_text *text, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length < 0) {
        ct_fail(text->context, CT_ERROR_ARGUMENT, "\"%s\" cannot be formatted", format);
        text->failed = true;
    } else if (reserve(text, (size_t)length)) {
        vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
}

void ct_text_printf(ct_text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    ct_text_printf_v(text, format, arguments);
    va_end(arguments);
}

void ct_text_drop(ct_text *text) {
    ct_free(text->context, text->data);
    *text = ct_text_start(text->context);
}

char *ct_text_take(ct_text *text) {
    if (!text->data) ct_text_append(text, "", 0);
    char *data = text->data;
    if (text->failed) {
        ct_free(text->context, data);
        data = NULL;
    }
    *text = ct_text_start(text->context);
    return data;
}

/* ------------------------------------------------------------------------------------------ numbers ----- */

static locale_t plain_locale;
static pthread_once_t plain_locale_once = PTHREAD_ONCE_INIT;
static void make_plain_locale(void) {
    plain_locale = newlocale(LC_ALL_MASK, "C", NULL);
}

bool ct_text_to_real(const char *text, double *value) {
    const char *digits = text + (*text == '-' || *text == '+');
    double sign = *text == '-' ? -1 : 1;
    if (strcasecmp(digits, ".inf") == 0) {
        *value = sign * INFINITY;
        return true;
    }
    if (strcasecmp(text, ".nan") == 0) {
        *value = NAN;
        return true;
    }
    /* strtod also reads words, hexadecimal and leading blanks. */
    if (strspn(digits, "0123456789.eE+-") != strlen(digits)) return false;
    if (!isdigit((unsigned char)*digits) && !(*digits == '.' && isdigit((unsigned char)digits[1])))
        return false;
    pthread_once(&plain_locale_once, make_plain_locale);
    char *end;
    *value = plain_locale ? strtod_l(text, &end, plain_locale) : strtod(text, &end);
    return !*end;
}

const char *ct_text_from_real(double value, char buffer[CT_TEXT_REAL_SIZE]) {
    if (isnan(value)) return strcpy(buffer, "nan");
    if (isinf(value)) return strcpy(buffer, value < 0 ? "-inf" : "inf");
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(buffer, CT_TEXT_REAL_SIZE, "%.*g", digits, value);
        if (strtod(buffer, NULL) == value) break; /* written and read in the same locale */
    }
    for (char *c = buffer; *c; c++)
        if (!strchr("0123456789+-e", *c)) *c = '.';
    return buffer;
}

/* -------------------------------------------------------------------------------------------- bytes ----- */

bool ct_parse_bytes(const char *text, int64_t *bytes) {
    char number[32];
    size_t length = strspn(text, "0123456789.");
    if (!length || length >= sizeof number) return false;
    memcpy(number, text, length);
    number[length] = 0;
    double value;
    if (!ct_text_to_real(number, &value)) return false;
    const char *unit = text + length + strspn(text + length, " ");
    static const char prefixes[] = "KMGTP";
    const char *prefix = *unit ? strchr(prefixes, toupper((unsigned char)*unit)) : NULL;
    if (prefix) {
        unit++;
        if (*unit == 'i') unit++;
        for (const char *p = prefixes; p <= prefix; p++)
            value *= 1024;
    }
    if (*unit == 'B' || *unit == 'b') unit++;
    if (*unit || value >= 0x1p63) return false;
    if (!prefix && !strchr(number, '.')) { /* exact beyond 2^53 */
        *bytes = strtoll(number, NULL, 10);
        return true;
    }
    *bytes = (int64_t)(value + 0.5);
    return true;
}

const char *ct_format_bytes(uint64_t bytes, char *buffer, size_t size) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1023.995 && unit < 6) { /* what would be printed as 1024.00 */
        value /= 1024;
        unit++;
    }
    snprintf(buffer, size, unit ? "%.2f %s" : "%.0f %s", value, units[unit]);
    return buffer;
}

/* ----------------------------------------------------------------------------------- nearest name ------- */

enum { LONGEST_NAME = 64 };

static char folded(char c) {
    return c == '-' ? '_' : (char)tolower((unsigned char)c);
}

/* Edits that turn `a` into `b`: insertions, deletions, substitutions, and swaps of neighbours. */
static int edit_distance(const char *a, int a_length, const char *b, int b_length) {
    int rows[3][LONGEST_NAME + 1], *before = rows[0], *last = rows[1], *row = rows[2];
    for (int j = 0; j <= b_length; j++)
        last[j] = j;
    for (int i = 1; i <= a_length; i++) {
        row[0] = i;
        for (int j = 1; j <= b_length; j++) {
            char x = folded(a[i - 1]), y = folded(b[j - 1]);
            int best = last[j - 1] + (x != y);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            if (i > 1 && j > 1 && x == folded(b[j - 2]) && y == folded(a[i - 2]) && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        int *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[b_length];
}

const char *ct_nearest_name(const char *name, const char *const *candidates, size_t count) {
    size_t length = strlen(name);
    if (!length || length > LONGEST_NAME) return NULL;
    const char *nearest = NULL;
    int least = 1 << 30;
    for (size_t i = 0; i < count; i++) {
        size_t other = candidates[i] ? strlen(candidates[i]) : 0;
        if (!other || other > LONGEST_NAME) continue;
        int distance = edit_distance(name, (int)length, candidates[i], (int)other);
        size_t shorter = length < other ? length : other;
        int allowed = shorter <= 2 ? 1 : shorter <= 5 ? 2 : (int)shorter / 3;
        if (distance > allowed || distance >= (int)shorter || distance >= least) continue;
        least = distance;
        nearest = candidates[i];
    }
    return nearest;
}
