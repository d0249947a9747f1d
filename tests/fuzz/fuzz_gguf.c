/* fuzz_gguf.c - any bytes as a GGUF file: what is accepted can be read to its end, decoded, and shown as
 * values. */
#include "fuzz_file.h"
#include "carat/gguf.h"
#include <string.h>

const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED(
        "GGUF\3\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"
        "\1\0\0\0\0\0\0\0k\10\0\0\0\3\0\0\0\0\0\0\0abc"
        "\1\0\0\0\0\0\0\0a\11\0\0\0\10\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0x\0\0\0\0\0\0\0\0"
        "\1\0\0\0\0\0\0\0n\11\0\0\0\11\0\0\0\1\0\0\0\0\0\0\0\4\0\0\0\1\0\0\0\0\0\0\0\5\0\0\0"
        "\1\0\0\0\0\0\0\0t\1\0\0\0\40\0\0\0\0\0\0\0\10\0\0\0\0\0\0\0\0\0\0\0"
        "\1\0\0\0\0\0\0\0u\2\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\100\0\0\0\0\0\0\0"
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
        "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678"
        "9"),
    FUZZ_SEED(
        "GGUF\2\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\21\0\0\0\0\0\0\0general.alignment\4\0\0\0\100\0\0\0"),
    FUZZ_SEED("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    {NULL, 0}};
const char *const fuzz_words[] = {"GGUF",
                                  "general.alignment",
                                  "general.architecture",
                                  "tokenizer.ggml.tokens",
                                  "\x7f\xff\xff\xff",
                                  "\x01\x01\x01\x01\x01\x01\x01\x80",
                                  "\xff\xff\xff\xff\xff\xff\xff\x7f",
                                  NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    if (!context) context = ct_context_create(1);
    ct_archive *archive = ct_archive_open(context, fuzz_file(data, size));
    FUZZ_CHECK(!archive == ct_failed(context));
    bool gguf = archive && ct_gguf_of(archive);
    uint64_t total = 0;
    for (size_t i = 0; gguf && i < ct_archive_count(archive); i++) {
        const ct_archive_tensor *tensor = ct_archive_at(archive, i);
        FUZZ_CHECK(ct_archive_find(archive, tensor->name) == tensor && tensor->size <= size);
        if (!ct_element_describe(tensor->type)->decodes) continue;
        float *values = ct_alloc(context, (size_t)tensor->count * sizeof *values, CT_MEMORY_OTHER);
        FUZZ_CHECK(values && ct_archive_read_f32(archive, tensor, values, 0, tensor->count) == CT_OK);
        ct_free(context, values);
        total += tensor->size;
    }
    FUZZ_CHECK(total <= size);
    if (gguf) {
        ct_value *all = ct_archive_metadata(archive, 0), *cut = ct_archive_metadata(archive, 1);
        FUZZ_CHECK(all && cut && ct_value_count(all) == ct_gguf_count(ct_gguf_of(archive)));
        FUZZ_CHECK(ct_value_count(cut) == ct_value_count(all));
        ct_value_free(all);
        ct_value_free(cut);
    }
    ct_archive_close(archive);
    ct_context_clear(context);
    return 0;
}
