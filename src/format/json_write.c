/* json_write.c - trees of values into JSON text. */
#include "carat/format.h"
#include "carat/tokenizer.h"
#include "format/json_write.h"
#include "format/number.h"
#include "format/utf8.h"
#include <math.h>
#include <string.h>

typedef struct json_writer {
    ct_context *context;
    ct_bytes *out;
    unsigned style;
} json_writer;

static bool put(json_writer *writer, const char *text, size_t length) {
    return ct_bytes_append(writer->context, writer->out, text, length) == CT_OK;
}

static bool put_text(json_writer *writer, const char *text) {
    return put(writer, text, strlen(text));
}

static bool new_line(json_writer *writer, int depth) {
    static const char blanks[] = "\n                                                                ";
    if (!(writer->style & CT_JSON_PRETTY)) return true;
    size_t width = (size_t)depth * 2;
    if (!put(writer, blanks, 1)) return false;
    for (; width > sizeof blanks - 2; width -= sizeof blanks - 2)
        if (!put(writer, blanks + 1, sizeof blanks - 2)) return false;
    return put(writer, blanks + 1, width);
}

static bool put_unit(json_writer *writer, uint32_t unit) {
    char text[8];
    snprintf(text, sizeof text, "\\u%04x", unit & 0xffffu);
    return put_text(writer, text);
}

/* A character that cannot stand for itself. */
static bool put_escape(json_writer *writer, uint32_t code) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = code && code < 0x80 ? strchr(from, (int)code) : NULL;
    if (at) {
        char text[2] = {'\\', to[at - from]};
        return put(writer, text, 2);
    }
    if (code < 0x10000) return put_unit(writer, code);
    code -= 0x10000;
    return put_unit(writer, 0xd800 + (code >> 10)) && put_unit(writer, 0xdc00 + (code & 0x3ff));
}

static bool put_string(json_writer *writer, const char *text, size_t length) {
    size_t start = 0, i = 0;
    if (!put(writer, "\"", 1)) return false;
    while (i < length) {
        uint32_t code = 0;
        size_t size = ct_utf8_decode(text + i, length - i, &code);
        if (size == 0) {
            ct_fail(writer->context, CT_ERROR_FORMAT,
                    "a string to be written as JSON is not UTF-8 (byte 0x%02x at %zu)",
                    (unsigned char)text[i], i);
            return false;
        }
        if (code < 0x20 || code == '"' || code == '\\' || (code >= 0x80 && writer->style & CT_JSON_ASCII)) {
            if (!put(writer, text + start, i - start) || !put_escape(writer, code)) return false;
            start = i + size;
        }
        i += size;
    }
    return put(writer, text + start, length - start) && put(writer, "\"", 1);
}

ct_status ct_json_put_string(ct_context *context, ct_bytes *out, const char *text, size_t length) {
    json_writer writer = {context, out, CT_JSON_COMPACT};
    return put_string(&writer, text, length) ? CT_OK : ct_context_status(context);
}

static bool put_real(json_writer *writer, double value) {
    char text[CT_NUMBER_TEXT];
    if (isfinite(value))
        ct_number_text(value, text);
    else
        strcpy(text, writer->style & CT_JSON_STRICT ? "null"
                     : isnan(value)                 ? "NaN"
                     : value > 0                    ? "Infinity"
                                                    : "-Infinity");
    return put_text(writer, text);
}

static bool put_value(json_writer *writer, const ct_value *value, int depth);

static bool put_container(json_writer *writer, const ct_value *value, int depth) {
    bool map = ct_value_kind_of(value) == CT_VALUE_MAP;
    size_t count = ct_value_count(value);
    if (depth >= CT_DEPTH_MAX) {
        ct_fail(writer->context, CT_ERROR_FORMAT, "values to be written are nested deeper than %d levels",
                CT_DEPTH_MAX);
        return false;
    }
    if (!put_text(writer, map ? "{" : "[")) return false;
    for (size_t i = 0; i < count; i++) {
        if ((i && !put(writer, ",", 1)) || !new_line(writer, depth + 1)) return false;
        if (map) {
            const char *key = ct_value_key(value, i);
            if (!put_string(writer, key, strlen(key)) ||
                !put_text(writer, writer->style & CT_JSON_PRETTY ? ": " : ":"))
                return false;
        }
        if (!put_value(writer, ct_value_at(value, i), depth + 1)) return false;
    }
    return (count == 0 || new_line(writer, depth)) && put_text(writer, map ? "}" : "]");
}

static bool put_value(json_writer *writer, const ct_value *value, int depth) {
    char text[32];
    switch (ct_value_kind_of(value)) {
    case CT_VALUE_NULL:
        return put_text(writer, "null");
    case CT_VALUE_BOOL:
        return put_text(writer, ct_value_as_bool(value, false) ? "true" : "false");
    case CT_VALUE_INT:
        snprintf(text, sizeof text, "%lld", (long long)ct_value_as_int(value, 0));
        return put_text(writer, text);
    case CT_VALUE_REAL:
        return put_real(writer, ct_value_as_real(value, 0));
    case CT_VALUE_STRING:
        return put_string(writer, ct_value_as_string(value, ""), ct_value_string_length(value));
    default:
        return put_container(writer, value, depth);
    }
}

char *ct_json_text(ct_context *context, const ct_value *value, unsigned style, size_t *length) {
    ct_bytes out = {0};
    json_writer writer = {context, &out, style};
    if (ct_failed(context)) return NULL;
    if (!put_value(&writer, value, 0)) {
        ct_bytes_free(context, &out);
        return NULL;
    }
    if (length) *length = out.length;
    return out.data;
}

ct_status ct_json_write(ct_context *context, const char *path, const ct_value *value, unsigned style) {
    size_t length;
    char *text = ct_json_text(context, value, style, &length);
    if (!text) return ct_context_status(context);
    text[length] = '\n'; /* in the NUL's place */
    ct_status status = ct_file_write(context, path, text, length + 1);
    ct_free(context, text);
    return status;
}
