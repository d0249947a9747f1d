/* fuzz_yaml.c - any bytes as YAML; what is accepted is written and reads back as the same tree. */
#include "fuzz_value.h"

const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("model:\n  kind: gpt2\n  width: 384\nrate: 1e-3\nstages:\n  - {a: 1, b: 'x: y'}\n  - [1, 2]\n"),
    FUZZ_SEED("a: &x [1, &y {b: 2}]\nc: *x\nd: *y\n"),
    FUZZ_SEED("text: |\n  two\n  lines\nfolded: >-\n  a\n  b\n\"q\\u00e9\": \"\\x41\\n\"\n"),
    FUZZ_SEED("? k\n: !!str 12\n--- \n"),
    {NULL, 0}};
const char *const fuzz_words[] = {"&a ",  "*a",    "<<: ",        "- ",      ": ", "? ",     "\n",     "\n  ",
                                  "{",    "}",     "[",           "]",       ", ", "!!str ", "!!int ", "|\n",
                                  ">\n",  "---\n", "...\n",       "# ",      "'",  "\"",     "0x1F",   ".inf",
                                  ".nan", "~",     "%YAML 1.2\n", "\\u2028", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    if (!context) context = ct_context_create(1);
    ct_value *value = ct_yaml_parse(context, (const char *)data, size, "fuzz");
    FUZZ_CHECK(!value == ct_failed(context));
    size_t length;
    char *text = value ? ct_yaml_text(context, value, &length) : NULL;
    /* the only thing that cannot be written is a very long key */
    FUZZ_CHECK(!value || text || ct_context_status(context) == CT_ERROR_UNSUPPORTED);
    if (text) {
        ct_value *again = ct_yaml_parse(context, text, length, "again");
        if (!again) fprintf(stderr, "%s\n%s\n", ct_context_message(context), text);
        FUZZ_CHECK(again);
        FUZZ_CHECK(has_nan(value) || ct_value_equal(value, again));
        ct_value_free(again);
        ct_free(context, text);
    }
    ct_value_free(value);
    ct_context_clear(context);
    return 0;
}
