/* fuzz_safetensors.c - any bytes as a safetensors file; every tensor of what is accepted can be read to its
 * end. */
#include "fuzz_file.h"
#include "carat/format.h"
#include <string.h>

const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("\x90\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[1]"
              ",\"data_offsets\":[0,4]},"
              "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[4,7]}}       \0\0\300?\1\2\3"),
    FUZZ_SEED("\x40\0\0\0\0\0\0\0{\"e\":{\"dtype\":\"BF16\",\"shape\":[0,5],\"data_offsets\":[0,0]}}      "),
    FUZZ_SEED("\x02\0\0\0\0\0\0\0{}"),
    {NULL, 0}};
const char *const fuzz_words[] = {"\"dtype\":",
                                  "\"shape\":",
                                  "\"data_offsets\":",
                                  "\"F64\"",
                                  "\"I8\"",
                                  "\"F4\"",
                                  "\"BOOL\"",
                                  "[",
                                  "]",
                                  "{",
                                  "}",
                                  ",",
                                  "\"c\":",
                                  "[0,0]",
                                  "__metadata__",
                                  "9223372036854775807",
                                  "18446744073709551616",
                                  NULL};

/* The header's length is made right for half of the inputs: else hardly any gets past it. */
static const uint8_t *mended(const uint8_t *data, size_t size, uint8_t *copy, size_t capacity) {
    if (size < 8 || size > capacity || size & 1) return data;
    memcpy(copy, data, size);
    size_t end = size;
    while (end > 8 && copy[end - 1] != '}')
        end--;
    for (int i = 0; i < 8; i++)
        copy[i] = (uint8_t)((end - 8) >> (8 * i));
    return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    static uint8_t copy[1 << 17];
    if (!context) context = ct_context_create(1);
    const char *path = fuzz_file(mended(data, size, copy, sizeof copy), size);
    ct_safetensors *file = ct_safetensors_open(context, path);
    FUZZ_CHECK(!file == ct_failed(context));
    uint64_t total = 0;
    for (size_t i = 0; file && i < ct_safetensors_count(file); i++) {
        const ct_safetensors_tensor *tensor = ct_safetensors_at(file, i);
        FUZZ_CHECK(ct_safetensors_find(file, tensor->name) == tensor);
        FUZZ_CHECK(tensor->size <= size);
        char *bytes = ct_alloc(context, (size_t)tensor->size, CT_MEMORY_OTHER);
        FUZZ_CHECK(bytes && ct_safetensors_read(file, tensor, bytes, 0, (size_t)tensor->size) == CT_OK);
        const void *map = ct_safetensors_map(file, tensor);
        FUZZ_CHECK(map && memcmp(map, bytes, (size_t)tensor->size) == 0);
        ct_free(context, bytes);
        total += tensor->size;
    }
    FUZZ_CHECK(total <= size);
    ct_safetensors_close(file);
    ct_context_clear(context);
    return 0;
}
