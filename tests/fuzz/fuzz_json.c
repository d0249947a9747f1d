/* fuzz_json.c - any bytes as JSON; what is accepted is written and reads back as the same tree. */
#include "fuzz_value.h"

const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("{\"a\": [1, -2.5e3, true, null], \"b\": {\"c\": \"x\\u00e9\\ud83d\\ude00\\n\"}}"),
    FUZZ_SEED("[[[[]]], {}, \"\", 0, NaN, -Infinity]"),
    FUZZ_SEED("123456789012345678901234567890"),
    {NULL, 0}};
const char *const fuzz_words[] = {
    "{",  "}",    "[",    "]",     "\"",  ":",         ",",     "\\u0000",      "\\ud83d\\ude00",
    "\\", "null", "true", "false", "NaN", "-Infinity", "1e308", "\xef\xbb\xbf", "\"a\":",
    NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    if (!context) context = ct_context_create(1);
    ct_value *value = ct_json_parse(context, (const char *)data, size, "fuzz");
    FUZZ_CHECK(!value == ct_failed(context));
    for (unsigned style = 0; value && style < 4; style++) {
        size_t length;
        char *text = ct_json_text(context, value, style, &length);
        FUZZ_CHECK(text);
        ct_value *again = ct_json_parse(context, text, length, "again");
        FUZZ_CHECK(again);
        FUZZ_CHECK(has_nan(value) || ct_value_equal(value, again));
        ct_value_free(again);
        ct_free(context, text);
    }
    ct_value_free(value);
    ct_context_clear(context);
    return 0;
}
