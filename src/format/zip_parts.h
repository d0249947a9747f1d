/* zip_parts.h - what the files of the zip reader and writer share: record layouts (APPNOTE 6.3, section 4.3),
 * numbers in little endian, the reader's state. */
#ifndef CARAT_FORMAT_ZIP_PARTS_H
#define CARAT_FORMAT_ZIP_PARTS_H

#include "format/arena.h"
#include "format/name_table.h"
#include "format/zip.h"
#include <zlib.h>

#define CT_ZIP_LOCAL 0x04034b50u
#define CT_ZIP_CENTRAL 0x02014b50u
#define CT_ZIP_END 0x06054b50u
#define CT_ZIP_END64 0x06064b50u
#define CT_ZIP_LOCATOR 0x07064b50u
enum {
    CT_ZIP_LOCAL_SIZE = 30,
    CT_ZIP_CENTRAL_SIZE = 46,
    CT_ZIP_END_SIZE = 22,
    CT_ZIP_END64_SIZE = 56,
    CT_ZIP_LOCATOR_SIZE = 20,
    CT_ZIP_EXTRA64 = 1,
    CT_ZIP_EXTRA_ALIGNMENT = 0xd935, /* padding, as Android's zipalign writes it: the alignment, then zeros */
    CT_ZIP_BUFFER = 1 << 16
};

static inline uint32_t ct_le16(const unsigned char *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8;
}
static inline uint32_t ct_le32(const unsigned char *bytes) {
    return ct_le16(bytes) | ct_le16(bytes + 2) << 16;
}
static inline uint64_t ct_le64(const unsigned char *bytes) {
    return ct_le32(bytes) | (uint64_t)ct_le32(bytes + 4) << 32;
}

/* The entry that is being read in order, and how far. */
typedef struct ct_zip_cursor {
    const ct_zip_entry *entry; /* NULL: none */
    uint64_t position;         /* bytes of the content that were passed */
    uint64_t packed;           /* bytes of the file that were taken in */
    uint32_t crc;              /* of the content so far */
    bool inflating;            /* `stream` is in use */
    z_stream stream;
    unsigned char *buffer;
} ct_zip_cursor;

struct ct_zip {
    ct_context *context;
    ct_file *file;
    bool check;
    ct_zip_entry *entries;
    size_t count;
    ct_name_table names;
    ct_arena texts;
    ct_zip_cursor cursor;
};

void ct_zip_cursor_end(ct_zip *zip);
#endif
