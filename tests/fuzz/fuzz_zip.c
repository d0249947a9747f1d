/* fuzz_zip.c - any bytes as a zip archive; what is accepted has entries within the file, without overlap,
 * that can be read in order and anywhere, or are refused when they are. */
#include "fuzz_file.h"
#include "format/zip.h"
#include <string.h>

/* One stored entry "a" with "hello", one deflated "b" with 20 letters x. */
#define LOCAL_A "PK\3\4\24\0\0\0\0\0\0\0\0\0\x86\xa6\x10\x36\5\0\0\0\5\0\0\0\1\0\0\0ahello"
#define LOCAL_B "PK\3\4\24\0\0\0\10\0\0\0\0\0\x47\x42\xad\x27\5\0\0\0\24\0\0\0\1\0\0\0b\xab\xa8\xc0\x04\0"
#define CENTRAL(method, crc, packed, size, at, name)                                                         \
    "PK\1\2\24\0\24\0\0\0" method "\0\0\0\0\0" crc packed size "\1\0\0\0\0\0\0\0\0\0\0\0\0\0" at name
const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED(LOCAL_A CENTRAL("\0", "\x86\xa6\x10\x36", "\5\0\0\0", "\5\0\0\0", "\0\0\0\0",
                              "a") "PK\5\6\0\0\0\0\1\0\1\0\x2f\0\0\0\x24\0\0\0\0\0"),
    FUZZ_SEED(LOCAL_A LOCAL_B CENTRAL("\0", "\x86\xa6\x10\x36", "\5\0\0\0", "\5\0\0\0", "\0\0\0\0", "a")
                  CENTRAL("\10", "\x47\x42\xad\x27", "\5\0\0\0", "\24\0\0\0", "\x24\0\0\0",
                          "b") "PK\5\6\0\0\0\0\2\0\2\0\x5e\0\0\0\x48\0\0\0\0\0"),
    FUZZ_SEED("PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    {NULL, 0}};
const char *const fuzz_words[] = {"PK\1\2", "PK\3\4", "PK\5\6", "PK\6\6", "PK\6\7", "\xff\xff\xff\xff",
                                  "\1",     "a",      "b",      "\24",    NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    static char buffer[1 << 17], again[1 << 17];
    if (!context) context = ct_context_create(1);
    ct_zip *zip = ct_zip_open(context, fuzz_file(data, size));
    FUZZ_CHECK(!zip == ct_failed(context));
    uint64_t end = 0;
    for (size_t i = 0; zip && i < ct_zip_count(zip); i++) {
        const ct_zip_entry *entry = ct_zip_at(zip, i);
        FUZZ_CHECK(ct_zip_find(zip, entry->name) == entry);
        FUZZ_CHECK(entry->header >= end && entry->offset > entry->header);
        end = entry->offset + entry->packed;
        FUZZ_CHECK(end <= size && (entry->deflated || entry->size == entry->packed));
        size_t want = entry->size < sizeof buffer ? (size_t)entry->size : sizeof buffer;
        if (ct_zip_read(zip, entry, buffer, 0, want) == CT_OK &&
            want > 2) { /* the end again, from anywhere */
            FUZZ_CHECK(ct_zip_read(zip, entry, again, want / 2, want - want / 2) == CT_OK ||
                       ct_context_status(context) == CT_ERROR_FORMAT);
            FUZZ_CHECK(ct_failed(context) || memcmp(again, buffer + want / 2, want - want / 2) == 0);
        }
        ct_context_clear(context);
    }
    ct_zip_close(zip);
    ct_context_clear(context);
    return 0;
}
