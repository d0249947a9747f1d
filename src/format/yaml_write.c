/* yaml_write.c - trees of values into YAML: block style, one line for lists of scalars. What is written reads
 * back as the same tree here and in YAML 1.1 readers (words like yes, on and dates are quoted for them). */
#include "carat/format.h"
#include "carat/tokenizer.h"
#include "format/number.h"
#include "format/utf8.h"
#include "format/yaml_scalar.h"
#include <math.h>
#include <string.h>
#include <strings.h>

#define KEY_LIMIT 1000 /* readers look no further than 1024 characters for a key's colon */

typedef struct yaml_writer {
    ct_context *context;
    ct_bytes *out;
} yaml_writer;

static bool put(yaml_writer *writer, const char *text, size_t length) {
    return ct_bytes_append(writer->context, writer->out, text, length) == CT_OK;
}

static bool put_text(yaml_writer *writer, const char *text) {
    return put(writer, text, strlen(text));
}

static bool put_blanks(yaml_writer *writer, int count) {
    while (count-- > 0)
        if (!put(writer, " ", 1)) return false;
    return true;
}

/* Words, paths and numbers-with-letters that every reader takes for a string. */
static bool can_be_plain(const char *text, size_t length) {
    static const char *const words[] = {"yes", "no", "on", "off", "y", "n", NULL};
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/0123456789.+- ";
    if (length == 0 || strlen(text) != length || !strchr(first, text[0])) return false;
    if (strspn(text, rest) != length || text[length - 1] == ' ') return false;
    for (size_t i = 0; words[i]; i++)
        if (strcasecmp(text, words[i]) == 0) return false;
    return ct_yaml_resolve(text, length).kind == CT_VALUE_STRING;
}

/* Characters that readers refuse or take for line breaks. */
static bool must_escape(uint32_t code) {
    return code < 0x20 || code == '"' || code == '\\' || (code >= 0x7f && code < 0xa0) || code == 0x2028 ||
           code == 0x2029 || code == 0xfeff || code == 0xfffe || code == 0xffff;
}

static bool put_string(yaml_writer *writer, const char *text, size_t length) {
    uint32_t code = 0;
    if (can_be_plain(text, length)) return put(writer, text, length);
    if (!put(writer, "\"", 1)) return false;
    for (size_t i = 0; i < length;) {
        size_t size = ct_utf8_decode(text + i, length - i, &code);
        if (size == 0) {
            ct_fail(writer->context, CT_ERROR_FORMAT,
                    "a string to be written as YAML is not UTF-8 (byte 0x%02x at %zu)",
                    (unsigned char)text[i], i);
            return false;
        }
        char escaped[8] = {'\\', code == '\n' ? 'n' : code == '\t' ? 't' : (char)code, '\0'};
        bool named = code == '\n' || code == '\t' || code == '"' || code == '\\';
        if (must_escape(code) && !named) snprintf(escaped, sizeof escaped, "\\u%04x", code & 0xffffu);
        if (must_escape(code) ? !put_text(writer, escaped) : !put(writer, text + i, size)) return false;
        i += size;
    }
    return put(writer, "\"", 1);
}

static bool put_scalar(yaml_writer *writer, const ct_value *value) {
    char text[CT_NUMBER_TEXT];
    double real = ct_value_as_real(value, 0);
    switch (ct_value_kind_of(value)) {
    case CT_VALUE_NULL:
        return put_text(writer, "null");
    case CT_VALUE_BOOL:
        return put_text(writer, ct_value_as_bool(value, false) ? "true" : "false");
    case CT_VALUE_INT:
        snprintf(text, sizeof text, "%lld", (long long)ct_value_as_int(value, 0));
        return put_text(writer, text);
    case CT_VALUE_REAL:
        if (!isfinite(real)) return put_text(writer, isnan(real) ? ".nan" : real > 0 ? ".inf" : "-.inf");
        ct_number_text(real, text);
        return put_text(writer, text);
    default:
        return put_string(writer, ct_value_as_string(value, ""), ct_value_string_length(value));
    }
}

static bool is_container(const ct_value *value) {
    return ct_value_kind_of(value) == CT_VALUE_LIST || ct_value_kind_of(value) == CT_VALUE_MAP;
}

/* Whether the value goes on the line it begins on: scalars, empty containers, lists of scalars. */
static bool on_one_line(const ct_value *value) {
    if (!is_container(value) || ct_value_count(value) == 0) return true;
    if (ct_value_kind_of(value) == CT_VALUE_MAP) return false;
    for (size_t i = 0; i < ct_value_count(value); i++)
        if (is_container(ct_value_at(value, i))) return false;
    return true;
}

static bool put_line(yaml_writer *writer, const ct_value *value) {
    if (!is_container(value)) return put_scalar(writer, value);
    if (ct_value_kind_of(value) == CT_VALUE_MAP) return put_text(writer, "{}");
    if (!put_text(writer, "[")) return false;
    for (size_t i = 0; i < ct_value_count(value); i++)
        if ((i && !put_text(writer, ", ")) || !put_scalar(writer, ct_value_at(value, i))) return false;
    return put_text(writer, "]");
}

/* The entries of a list or map, each on lines of its own; the first line's blanks are already there. */
static bool put_block(yaml_writer *writer, const ct_value *value, int indent) {
    bool is_map = ct_value_kind_of(value) == CT_VALUE_MAP;
    if (indent >= 2 * CT_DEPTH_MAX) {
        ct_fail(writer->context, CT_ERROR_FORMAT, "values to be written are nested deeper than %d levels",
                CT_DEPTH_MAX);
        return false;
    }
    for (size_t i = 0; i < ct_value_count(value); i++) {
        const ct_value *item = ct_value_at(value, i);
        const char *key = is_map ? ct_value_key(value, i) : "-";
        size_t start = writer->out->length;
        if (i && !put_blanks(writer, indent)) return false;
        if (is_map ? !put_string(writer, key, strlen(key)) || !put_text(writer, ":") : !put_text(writer, "-"))
            return false;
        if (is_map && writer->out->length - start > KEY_LIMIT) {
            ct_fail(writer->context, CT_ERROR_UNSUPPORTED,
                    "the key \"%.60s...\" is too long for YAML (more than %d bytes)", key, KEY_LIMIT);
            return false;
        }
        bool good = on_one_line(item)
                        ? put_text(writer, " ") && put_line(writer, item) && put_text(writer, "\n")
                    : is_map ? put_text(writer, "\n") && put_blanks(writer, indent + 2) &&
                                   put_block(writer, item, indent + 2)
                             : put_text(writer, " ") && put_block(writer, item, indent + 2);
        if (!good) return false;
    }
    return true;
}

char *ct_yaml_text(ct_context *context, const ct_value *value, size_t *length) {
    ct_bytes out = {0};
    yaml_writer writer = {context, &out};
    if (ct_failed(context)) return NULL;
    bool good = on_one_line(value) ? put_line(&writer, value) && put_text(&writer, "\n")
                                   : put_block(&writer, value, 0);
    if (!good) {
        ct_bytes_free(context, &out);
        return NULL;
    }
    if (length) *length = out.length;
    return out.data;
}

ct_status ct_yaml_write(ct_context *context, const char *path, const ct_value *value) {
    size_t length;
    char *text = ct_yaml_text(context, value, &length);
    if (!text) return ct_context_status(context);
    ct_status status = ct_file_write(context, path, text, length);
    ct_free(context, text);
    return status;
}
