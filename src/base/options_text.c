/* options_text.c - options in words: bounds and expectations for messages, values as found, help. */
#include "base/options_internal.h"
#include "base/text.h"
#include <math.h>
#include <string.h>

int64_t ct_real_to_int(double real) {
    if (real >= 0x1p63) return INT64_MAX;
    if (real <= -0x1p63) return INT64_MIN;
    return (int64_t)real;
}

/* A number as people write it: 1e6 rather than 1000000, but 0.001 and 2147483647. */
static void number_text(double value, char *buffer, size_t size) {
    char plain[CT_TEXT_REAL_SIZE], scaled[CT_TEXT_REAL_SIZE + 8];
    ct_text_from_real(value, plain);
    snprintf(buffer, size, "%s", plain);
    if (!isfinite(value) || value == 0) return;
    int exponent = (int)floor(log10(fabs(value)));
    double mantissa = value / pow(10, exponent);
    if (mantissa != floor(mantissa) || fabs(mantissa) > 9) return;
    snprintf(scaled, sizeof scaled, "%de%d", (int)mantissa, exponent);
    if (strlen(scaled) < strlen(plain)) snprintf(buffer, size, "%s", scaled);
}

static void bound_text(const ct_option *option, double bound, char *buffer, size_t size) {
    if (option->type == CT_TYPE_BYTES && bound >= 1024)
        ct_format_bytes((uint64_t)bound, buffer, size);
    else
        number_text(bound, buffer, size);
}

static bool has_bound(const ct_option *option, double bound) {
    return isfinite(bound) && (option->type == CT_TYPE_REAL || fabs(bound) < 0x1p63);
}

/* " from 1 to 8", or as for help "1..8". */
static const char *range_text(const ct_option *option, bool for_help, char *buffer, size_t size) {
    char low[48] = "", high[48] = "";
    bool has_low = has_bound(option, option->minimum), has_high = has_bound(option, option->maximum);
    if (has_low) bound_text(option, option->minimum, low, sizeof low);
    if (has_high) bound_text(option, option->maximum, high, sizeof high);
    buffer[0] = 0;
    if (!has_low && !has_high) return buffer;
    if (for_help)
        snprintf(buffer, size, "%s..%s", low, high);
    else if (has_low && has_high)
        snprintf(buffer, size, " from %s to %s", low, high);
    else
        snprintf(buffer, size, " of at %s %s", has_low ? "least" : "most", has_low ? low : high);
    return buffer;
}

static void choices_text(const ct_option *option, const char *between, char *buffer, size_t size) {
    size_t length = 0;
    buffer[0] = 0;
    for (int i = 0; option->choices[i] && length < size; i++)
        length +=
            (size_t)snprintf(buffer + length, size - length, "%s%s", i ? between : "", option->choices[i]);
}

const char *ct_option_expected(const ct_option *option, bool with_range, char *buffer, size_t size) {
    const char *what = "a value";
    char range[128] = "", choices[400];
    switch (option->type) {
    case CT_TYPE_BOOL:
        what = "true or false";
        break;
    case CT_TYPE_INT:
        what = "an integer";
        break;
    case CT_TYPE_REAL:
        what = "a number";
        break;
    case CT_TYPE_STRING:
        what = "a string";
        break;
    case CT_TYPE_BYTES:
        what = "a size such as 600M or 1.5GiB";
        break;
    case CT_TYPE_VALUE:
        what = "a list or a map";
        break;
    case CT_TYPE_GROUP:
        what = "a map of options";
        break;
    case CT_TYPE_CHOICE:
        choices_text(option, ", ", choices, sizeof choices);
        snprintf(buffer, size, "one of %s", choices);
        return buffer;
    case CT_TYPE_END:
        break;
    }
    bool ranged =
        option->type == CT_TYPE_INT || option->type == CT_TYPE_REAL || option->type == CT_TYPE_BYTES;
    if (with_range && ranged) {
        if (option->type == CT_TYPE_BYTES) what = "a size";
        range_text(option, false, range, sizeof range);
    }
    snprintf(buffer, size, "%s%s", what, range);
    return buffer;
}

const char *ct_value_describe(const ct_value *value, char *buffer, size_t size) {
    char number[CT_TEXT_REAL_SIZE];
    switch (ct_value_kind_of(value)) {
    case CT_VALUE_NULL:
        snprintf(buffer, size, "null");
        break;
    case CT_VALUE_BOOL:
        snprintf(buffer, size, "%s", ct_value_as_bool(value, false) ? "true" : "false");
        break;
    case CT_VALUE_INT:
        snprintf(buffer, size, "the integer %lld", (long long)ct_value_as_int(value, 0));
        break;
    case CT_VALUE_REAL:
        snprintf(buffer, size, "the number %s", ct_text_from_real(ct_value_as_real(value, 0), number));
        break;
    case CT_VALUE_STRING: {
        const char *text = ct_value_as_string(value, "");
        snprintf(buffer, size, "the string \"%.60s%s\"", text, strlen(text) > 60 ? "..." : "");
        break;
    }
    case CT_VALUE_LIST:
        snprintf(buffer, size, "a list");
        break;
    case CT_VALUE_MAP:
        snprintf(buffer, size, "a map");
        break;
    }
    return buffer;
}

/* --------------------------------------------------------------------------------------------- help ----- */

const char *ct_option_default_text(const ct_option *option, char *buffer, size_t size) {
    buffer[0] = 0;
    switch (option->type) {
    case CT_TYPE_BOOL:
        snprintf(buffer, size, "%s", option->real_default != 0 ? "true" : "false");
        break;
    case CT_TYPE_INT:
    case CT_TYPE_REAL:
        number_text(option->real_default, buffer, size);
        break;
    case CT_TYPE_BYTES:
        bound_text(option, option->real_default, buffer, size);
        break;
    case CT_TYPE_STRING:
        if (option->text_default) snprintf(buffer, size, "\"%s\"", option->text_default);
        break;
    case CT_TYPE_CHOICE: {
        int choice = ct_option_choice(option, option->text_default);
        snprintf(buffer, size, "%s", option->choices[choice < 0 ? 0 : choice]);
        break;
    }
    default:
        break;
    }
    return buffer;
}

const char *ct_option_type_text(const ct_option *option, char *buffer, size_t size) {
    switch (option->type) {
    case CT_TYPE_BOOL:
        snprintf(buffer, size, "true|false");
        break;
    case CT_TYPE_INT:
        snprintf(buffer, size, "INTEGER");
        break;
    case CT_TYPE_REAL:
        snprintf(buffer, size, "NUMBER");
        break;
    case CT_TYPE_STRING:
        snprintf(buffer, size, "TEXT");
        break;
    case CT_TYPE_CHOICE:
        choices_text(option, "|", buffer, size);
        break;
    case CT_TYPE_BYTES:
        snprintf(buffer, size, "SIZE");
        break;
    default:
        snprintf(buffer, size, "VALUE");
        break;
    }
    return buffer;
}

const char *ct_option_range_text(const ct_option *option, char *buffer, size_t size) {
    bool ranged =
        option->type == CT_TYPE_INT || option->type == CT_TYPE_REAL || option->type == CT_TYPE_BYTES;
    buffer[0] = 0;
    return ranged ? range_text(option, true, buffer, size) : buffer;
}

static void help_line(ct_text *text, const ct_option *option, const char *prefix) {
    char type[512], preset[128], range[128], flag[768];
    ct_option_type_text(option, type, sizeof type);
    ct_option_default_text(option, preset, sizeof preset);
    ct_option_range_text(option, range, sizeof range);
    int width = snprintf(flag, sizeof flag, "--%s%s %s", prefix, option->name, type);
    ct_text_printf(text, "  %s", flag);
    ct_text_printf(text, "%*s%s", width < 34 ? 36 - width : 2, "", option->help ? option->help : "");
    const char *between = " (";
    if (*preset) ct_text_printf(text, "%sdefault %s", between, preset), between = "; ";
    if (*range) ct_text_printf(text, "%srange %s", between, range), between = "; ";
    if (option->alias) ct_text_printf(text, "%salso --%s%s", between, prefix, option->alias), between = "; ";
    ct_text_printf(text, "%s\n", *between == ';' ? ")" : "");
}

static void help_lines(ct_text *text, const ct_option *table, const char *prefix) {
    for (const ct_option *option = table; option->type != CT_TYPE_END; option++) {
        if (option->type == CT_TYPE_GROUP) {
            char inner[256];
            snprintf(inner, sizeof inner, "%s%s.", prefix, option->name);
            help_lines(text, option->children, inner);
        } else {
            help_line(text, option, prefix);
        }
    }
}

char *ct_options_help(ct_context *context, const ct_option *table, const char *prefix) {
    ct_text text = ct_text_start(context);
    char start[256] = "";
    if (prefix && *prefix)
        snprintf(start, sizeof start, "%s%s", prefix, prefix[strlen(prefix) - 1] == '.' ? "" : ".");
    help_lines(&text, table, start);
    return ct_text_take(&text);
}
