/* json_reader.c - the pull parser for JSON: RFC 8259 and Python's NaN, Infinity and -Infinity. Written by
 * hand and not with jansson because configuration files need what that lacks: a line for every value,
 * integers beyond 64 bits (read as reals), memory from the context, and no tree for vocabularies of a quarter
 * million entries. */
#include "format/json_reader.h"
#include "format/number.h"
#include "format/utf8.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void ct_json_begin(ct_json_reader *reader, ct_context *context, const char *text, size_t length,
                   const char *name) {
    memset(reader, 0, sizeof *reader);
    reader->context = context;
    reader->name = name ? name : "JSON text";
    reader->text = text;
    reader->length = length;
    reader->line = 1;
    reader->state = CT_JSON_WANT_VALUE;
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) reader->position = 3;
}

void ct_json_release(ct_json_reader *reader) {
    ct_free(reader->context, reader->buffer);
    reader->buffer = NULL;
    reader->capacity = 0;
}

ct_json_event ct_json_fail(ct_json_reader *reader, const char *format, ...) {
    char message[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    reader->failed = true;
    ct_fail(reader->context, CT_ERROR_FORMAT, "%s:%d: %s", reader->name, reader->line, message);
    return CT_JSON_ERROR;
}

bool ct_json_is(const ct_json_reader *reader, const char *text) {
    return strlen(text) == reader->string_length && memcmp(text, reader->string, reader->string_length) == 0;
}

static void skip_blanks(ct_json_reader *reader) {
    while (reader->position < reader->length) {
        char c = reader->text[reader->position];
        if (c == '\n') reader->line++;
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') break;
        reader->position++;
    }
}

/* What stands at the present place, for messages. */
static const char *found(const ct_json_reader *reader, char buffer[32]) {
    if (reader->position >= reader->length) return "the end of the text";
    unsigned char c = (unsigned char)reader->text[reader->position];
    if (c > 0x20 && c < 0x7f)
        snprintf(buffer, 32, "'%c'", c);
    else
        snprintf(buffer, 32, "byte 0x%02x", c);
    return buffer;
}

static bool put(ct_json_reader *reader, const char *data, size_t size) {
    if (size == 0) return true;
    if (reader->capacity - reader->string_length < size) {
        size_t capacity = reader->capacity ? reader->capacity : 64;
        while (capacity - reader->string_length < size)
            capacity *= 2;
        char *buffer = ct_realloc(reader->context, reader->buffer, capacity, CT_MEMORY_WORKSPACE);
        if (!buffer) {
            reader->failed = true;
            return false;
        }
        reader->buffer = buffer;
        reader->capacity = capacity;
    }
    memcpy(reader->buffer + reader->string_length, data, size);
    reader->string_length += size;
    return true;
}

static bool hex4(const ct_json_reader *reader, size_t position, uint32_t *value) {
    if (reader->length - position < 4) return false;
    *value = 0;
    for (size_t i = 0; i < 4; i++) {
        char c = reader->text[position + i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return false;
        *value = *value << 4 | (uint32_t)digit;
    }
    return true;
}

/* \uXXXX, of which the backslash and the u are read; a surrogate pair makes one character. */
static bool unicode_escape(ct_json_reader *reader) {
    uint32_t code, low;
    if (!hex4(reader, reader->position, &code)) {
        ct_json_fail(reader, "\\u wants four hexadecimal digits");
        return false;
    }
    reader->position += 4;
    if (code >= 0xdc00 && code <= 0xdfff) {
        ct_json_fail(reader, "\\u%04x is the second half of a surrogate pair without the first", code);
        return false;
    }
    if (code >= 0xd800 && code <= 0xdbff) {
        bool pair = reader->length - reader->position >= 6 && reader->text[reader->position] == '\\' &&
                    reader->text[reader->position + 1] == 'u' && hex4(reader, reader->position + 2, &low) &&
                    low >= 0xdc00 && low <= 0xdfff;
        if (!pair) {
            ct_json_fail(reader, "\\u%04x is the first half of a surrogate pair without the second", code);
            return false;
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        reader->position += 6;
    }
    char text[4];
    return put(reader, text, ct_utf8_encode(code, text));
}

static bool escape(ct_json_reader *reader) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = reader->position < reader->length ? reader->text[reader->position] : '\0';
    if (c == 'u') {
        reader->position++;
        return unicode_escape(reader);
    }
    const char *at = c ? strchr(from, c) : NULL;
    if (!at) {
        ct_json_fail(reader, "a string has a backslash before what needs none");
        return false;
    }
    reader->position++;
    return put(reader, &to[at - from], 1);
}

/* A string whose opening quote is at the present place. Without escapes it is not copied. */
static bool read_string(ct_json_reader *reader) {
    size_t start = ++reader->position, piece = start;
    bool copied = false;
    reader->string_length = 0;
    for (;;) {
        if (reader->position >= reader->length) {
            ct_json_fail(reader, "a string does not end");
            return false;
        }
        unsigned char c = (unsigned char)reader->text[reader->position];
        if (c == '"' || c == '\\') {
            if (c == '"' && !copied) break;
            if (!put(reader, reader->text + piece, reader->position - piece)) return false;
            if (c == '"') break;
            copied = true;
            reader->position++;
            if (!escape(reader)) return false;
            piece = reader->position;
        } else if (c < 0x20) {
            ct_json_fail(reader, "a string holds the control character 0x%02x, which must be escaped", c);
            return false;
        } else if (c < 0x80) {
            reader->position++;
        } else {
            uint32_t code;
            size_t size =
                ct_utf8_decode(reader->text + reader->position, reader->length - reader->position, &code);
            if (size == 0) {
                ct_json_fail(reader, "a string is not UTF-8 (byte 0x%02x)", c);
                return false;
            }
            reader->position += size;
        }
    }
    reader->string = copied ? reader->buffer : reader->text + start;
    if (!copied) reader->string_length = reader->position - start;
    reader->position++;
    return true;
}

static size_t count_digits(const ct_json_reader *reader, size_t position) {
    size_t n = 0;
    while (position + n < reader->length && reader->text[position + n] >= '0' &&
           reader->text[position + n] <= '9')
        n++;
    return n;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? into *end; false if that is not what stands here. */
static bool scan_number(const ct_json_reader *reader, size_t *end, bool *whole) {
    size_t at = reader->position, n;
    *whole = true;
    if (reader->text[at] == '-') at++;
    n = count_digits(reader, at);
    if (n == 0 || (n > 1 && reader->text[at] == '0')) return false;
    at += n;
    if (at < reader->length && reader->text[at] == '.') {
        *whole = false;
        n = count_digits(reader, at + 1);
        if (n == 0) return false;
        at += n + 1;
    }
    if (at < reader->length && (reader->text[at] == 'e' || reader->text[at] == 'E')) {
        *whole = false;
        at++;
        if (at < reader->length && (reader->text[at] == '+' || reader->text[at] == '-')) at++;
        n = count_digits(reader, at);
        if (n == 0) return false;
        at += n;
    }
    *end = at;
    return true;
}

static ct_json_event read_number(ct_json_reader *reader) {
    size_t end;
    bool whole;
    char digits[64];
    if (!scan_number(reader, &end, &whole)) return ct_json_fail(reader, "a number is malformed");
    size_t size = end - reader->position;
    reader->string_length = 0;
    if (size < sizeof digits) {
        memcpy(digits, reader->text + reader->position, size);
        digits[size] = '\0';
    } else if (!put(reader, reader->text + reader->position, size) || !put(reader, "", 1)) {
        return CT_JSON_ERROR;
    }
    const char *number = size < sizeof digits ? digits : reader->buffer;
    reader->position = end;
    if (whole) {
        errno = 0;
        long long value = strtoll(number, NULL, 10);
        /* "-0" stays a real: as an integer it would lose its sign */
        if (errno == 0 && !(value == 0 && number[0] == '-')) {
            reader->integer = value;
            return CT_JSON_INT;
        }
    }
    reader->real = ct_number_parse(number);
    if (reader->real - reader->real != 0)
        return ct_json_fail(reader, "the number %.40s is beyond what 64 bits hold", number);
    return CT_JSON_REAL;
}

static ct_json_event read_word(ct_json_reader *reader) {
    static const struct {
        const char *word;
        ct_json_event event;
        bool boolean;
        double real;
    } words[] = {{"null", CT_JSON_NULL, false, 0},
                 {"true", CT_JSON_BOOL, true, 0},
                 {"false", CT_JSON_BOOL, false, 0},
                 {"NaN", CT_JSON_REAL, false, __builtin_nan("")},
                 {"Infinity", CT_JSON_REAL, false, __builtin_inf()},
                 {"-Infinity", CT_JSON_REAL, false, -__builtin_inf()}};
    size_t left = reader->length - reader->position;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t size = strlen(words[i].word);
        if (size > left || memcmp(reader->text + reader->position, words[i].word, size) != 0) continue;
        reader->position += size;
        reader->boolean = words[i].boolean;
        reader->real = words[i].real;
        return words[i].event;
    }
    char buffer[32];
    if (left > 0 && (reader->text[reader->position] == '-' || count_digits(reader, reader->position)))
        return read_number(reader);
    return ct_json_fail(reader, "found %s, expected a value", found(reader, buffer));
}

static ct_json_event open_container(ct_json_reader *reader, bool map) {
    if (reader->depth >= CT_DEPTH_MAX)
        return ct_json_fail(reader, "nested deeper than %d levels", CT_DEPTH_MAX);
    reader->in_map[++reader->depth] = map;
    reader->position++;
    reader->state = CT_JSON_WANT_FIRST;
    return map ? CT_JSON_MAP_BEGIN : CT_JSON_LIST_BEGIN;
}

static ct_json_event read_value(ct_json_reader *reader) {
    char c = reader->position < reader->length ? reader->text[reader->position] : '\0';
    if (c == '{' || c == '[') return open_container(reader, c == '{');
    reader->state = reader->depth ? CT_JSON_WANT_NEXT : CT_JSON_DONE;
    if (c == '"') return read_string(reader) ? CT_JSON_STRING : CT_JSON_ERROR;
    return read_word(reader);
}

static ct_json_event read_key(ct_json_reader *reader) {
    char buffer[32];
    if (reader->position >= reader->length || reader->text[reader->position] != '"')
        return ct_json_fail(reader, "found %s, expected a key in double quotes", found(reader, buffer));
    if (!read_string(reader)) return CT_JSON_ERROR;
    skip_blanks(reader);
    if (reader->position >= reader->length || reader->text[reader->position] != ':')
        return ct_json_fail(reader, "found %s, expected ':' after the key \"%.*s\"", found(reader, buffer),
                            (int)(reader->string_length < 80 ? reader->string_length : 80), reader->string);
    reader->position++;
    reader->state = CT_JSON_WANT_MAP_VALUE;
    return CT_JSON_KEY;
}

static ct_json_event close_container(ct_json_reader *reader) {
    bool map = reader->in_map[reader->depth--];
    reader->position++;
    reader->state = reader->depth ? CT_JSON_WANT_NEXT : CT_JSON_DONE;
    return map ? CT_JSON_MAP_END : CT_JSON_LIST_END;
}

ct_json_event ct_json_next(ct_json_reader *reader) {
    char buffer[32];
    if (reader->failed) return CT_JSON_ERROR;
    skip_blanks(reader);
    bool ended = reader->position >= reader->length;
    if (reader->state == CT_JSON_DONE)
        return ended ? CT_JSON_END
                     : ct_json_fail(reader, "found %s after the end of the document", found(reader, buffer));
    if (reader->state == CT_JSON_WANT_VALUE || reader->state == CT_JSON_WANT_MAP_VALUE)
        return read_value(reader);
    bool map = reader->in_map[reader->depth];
    if (!ended && reader->text[reader->position] == (map ? '}' : ']')) return close_container(reader);
    if (reader->state == CT_JSON_WANT_NEXT) {
        if (ended || reader->text[reader->position] != ',')
            return ct_json_fail(reader, "found %s, expected ',' or '%c'", found(reader, buffer),
                                map ? '}' : ']');
        reader->position++;
        skip_blanks(reader);
    }
    return map ? read_key(reader) : read_value(reader);
}

ct_status ct_json_skip(ct_json_reader *reader, ct_json_event event) {
    int depth = 0;
    for (;;) {
        if (event == CT_JSON_ERROR) return ct_context_status(reader->context);
        if (event == CT_JSON_MAP_BEGIN || event == CT_JSON_LIST_BEGIN) depth++;
        if (event == CT_JSON_MAP_END || event == CT_JSON_LIST_END) depth--;
        if (depth == 0 && event != CT_JSON_KEY) return CT_OK;
        event = ct_json_next(reader);
    }
}
