/* fuzz_idx.c - any bytes as an IDX file, plain or gzip: refused with an error, or every element is there. */
#include "fuzz_file.h"
#include <carat/data.h>
#include <carat/tensor.h>

const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("\0\0\x08\x02\0\0\0\x02\0\0\0\x03\x00\x01\x02\x80\xfe\xff"),
    FUZZ_SEED("\0\0\x0b\x01\0\0\0\x02\x01\x02\xff\xfe"),
    FUZZ_SEED("\0\0\x0e\x03\0\0\0\x01\0\0\0\x01\0\0\0\x01\x3f\xf8\0\0\0\0\0\0"),
    FUZZ_SEED("\x1f\x8b\x08\0\0\0\0\0\0\x03\x63\x60\xe0\x60\x64\x60\x60\x60\xe2\x40\xa0\x8c\x01\0"),
    {NULL, 0}};
const char *const fuzz_words[] = {"\x08",         "\x0c",     "\x0d", "\x0e", "\xff\xff\xff\xff",
                                  "\x1f\x8b\x08", "\x7f\xff", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    if (!context) context = ct_context_create(1);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *tensor = ct_idx_read(context, fuzz_file(data, size));
    FUZZ_CHECK(!tensor == ct_failed(context));
    if (tensor) {
        const unsigned char *bytes = ct_data(tensor);
        size_t total = (size_t)ct_count(tensor) * ct_dtype_size(ct_dtype_of(tensor));
        volatile unsigned char sum = 0;
        for (size_t i = 0; i < total; i++)
            sum = (unsigned char)(sum + bytes[i]);
    }
    ct_scope_close(context, scope);
    ct_context_clear(context);
    return 0;
}
