/* fuzz_npy.c - any bytes as a .npy or .npz file; every array of what is accepted can be read to its end, and
 * pieces of it are the same as the whole. */
#include "fuzz_file.h"
#include "carat/npz.h"
#include <string.h>

const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("\x93NUMPY\1\0\x3f\0{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }   "
              "\n\0\0\200?\0\0\0@"),
    FUZZ_SEED("\x93NUMPY\1\0\x40\0{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3, 1), }  "
              "\n\0\1\0\2\0\3\0\4\0\5\0\6"),
    FUZZ_SEED("\x93NUMPY\2\0\x36\0\0\0{'descr': '|u1', 'fortran_order': False, 'shape': ()}\n\7"),
    FUZZ_SEED(
        "\x93NUMPY\3\0\x43\0\0\0{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}  \n1234"),
    {NULL, 0}};
const char *const fuzz_words[] = {
    "'descr'", "'fortran_order'",     "'shape'", "True", "False", "(", ")", ",", "}", "{", "'<f8'", "'|O'",
    "'>c8'",   "9223372036854775807", "0",       "L",    "[",     "]", NULL};

/* The header's length is made right for half of the inputs. */
static const uint8_t *mended(const uint8_t *data, size_t size, uint8_t *copy, size_t capacity) {
    if (size < 11 || size > capacity || size & 1) return data;
    memcpy(copy, data, size);
    const uint8_t *end = memchr(copy + 10, '\n', size - 10);
    if (!end) return copy;
    size_t length = (size_t)(end + 1 - copy) - (copy[6] == 1 ? 10 : 12);
    copy[8] = (uint8_t)length;
    copy[9] = (uint8_t)(length >> 8);
    return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    static uint8_t copy[1 << 17], piece[1 << 17], all[1 << 17];
    if (!context) context = ct_context_create(1);
    ct_npz *file = ct_npz_open(context, fuzz_file(mended(data, size, copy, sizeof copy), size));
    FUZZ_CHECK(!file == ct_failed(context));
    for (size_t i = 0; file && i < ct_npz_count(file); i++) {
        const ct_npz_array *array = ct_npz_at(file, i);
        FUZZ_CHECK(ct_npz_find(file, array->name) == array);
        FUZZ_CHECK(array->compressed || array->size <= size);
        size_t want = array->size < sizeof all ? (size_t)array->size : sizeof all;
        ct_status status = ct_npz_read(file, array, all, 0, want);
        FUZZ_CHECK(status == CT_OK || !array->readable || array->compressed ||
                   ct_context_status(context) == CT_ERROR_FORMAT);
        if (status == CT_OK && want > 3) {
            size_t at = want / 3, n = want / 2;
            FUZZ_CHECK(ct_npz_read(file, array, piece, at, n) == CT_OK && memcmp(piece, all + at, n) == 0);
        }
        ct_context_clear(context);
    }
    ct_npz_close(file);
    ct_context_clear(context);
    return 0;
}
