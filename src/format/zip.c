/* zip.c - reading zip archives (PKWARE's APPNOTE 6.3): the directory at the end of the file and its entries.
 * Everything the directory claims is checked when the archive is opened, so that reading need not.
 *
 * libarchive would read forward only, and a checkpoint's tensors lie in as many entries that are wanted in
 * any order; what is stored is therefore read in place here, and zlib unpacks the rest. */
#include "format/zip.h"
#include "format/name_table.h"
#include "format/utf8.h"
#include "format/zip_parts.h"
#include <stdlib.h>
#include <string.h>

#define DIRECTORY_LIMIT ((uint64_t)256 << 20)
#define COMMENT_LIMIT 65535
#define DEFLATE_MOST 1032 /* bytes that deflate makes of one at most: 258 for every 2 bits */
#define SHOWN 120

static int shown(const char *name) {
    size_t length = strlen(name);
    return (int)(length < SHOWN ? length : SHOWN);
}

static bool refuse(ct_zip *zip, const char *format, ...) CT_PRINTF(2, 3);
static bool refuse(ct_zip *zip, const char *format, ...) {
    char message[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    ct_fail(zip->context, CT_ERROR_FORMAT, "%s: %s", ct_file_path(zip->file), message);
    return false;
}

static bool refuse_entry(ct_zip *zip, const char *name, const char *format, ...) CT_PRINTF(3, 4);
static bool refuse_entry(ct_zip *zip, const char *name, const char *format, ...) {
    char message[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    ct_fail(zip->context, CT_ERROR_FORMAT, "%s: entry \"%.*s\" %s", ct_file_path(zip->file), shown(name),
            name, message);
    return false;
}

bool ct_zip_is(const unsigned char *bytes, size_t size) {
    return size >= 4 && (ct_le32(bytes) == CT_ZIP_LOCAL || ct_le32(bytes) == CT_ZIP_END);
}

/* ------------------------------------------------------------------------------- the end of the file */

typedef struct directory {
    uint64_t offset, size, count;
} directory;

/* The record at the end of the file, behind which only its comment may stand. */
static bool find_end(ct_zip *zip, uint64_t *place, unsigned char record[CT_ZIP_END_SIZE]) {
    uint64_t size = ct_file_size(zip->file);
    size_t tail = size < CT_ZIP_END_SIZE + COMMENT_LIMIT ? (size_t)size : CT_ZIP_END_SIZE + COMMENT_LIMIT;
    if (tail < CT_ZIP_END_SIZE)
        return refuse(zip, "has %llu bytes, too few for a zip archive", (unsigned long long)size);
    unsigned char *bytes = ct_alloc(zip->context, tail, CT_MEMORY_WORKSPACE);
    if (!bytes) return false;
    bool found = false;
    if (ct_file_pread(zip->file, bytes, tail, size - tail) == CT_OK) {
        for (size_t at = tail - CT_ZIP_END_SIZE + 1; at-- > 0 && !found;) {
            found =
                ct_le32(bytes + at) == CT_ZIP_END && at + CT_ZIP_END_SIZE + ct_le16(bytes + at + 20) == tail;
            if (!found) continue;
            *place = size - tail + at;
            memcpy(record, bytes + at, CT_ZIP_END_SIZE);
        }
        if (!found)
            refuse(
                zip,
                "the zip archive's directory, which stands at the end, is not there: the file is cut short "
                "or no zip archive");
    }
    ct_free(zip->context, bytes);
    return found;
}

/* The larger record of zip64, found through its locator; *place becomes its own place. */
static bool read_end64(ct_zip *zip, uint64_t locator, uint64_t *place, directory *found) {
    unsigned char bytes[CT_ZIP_END64_SIZE];
    if (ct_file_pread(zip->file, bytes, CT_ZIP_LOCATOR_SIZE, locator) != CT_OK) return false;
    uint64_t at = ct_le64(bytes + 8);
    if (at > locator || locator - at < CT_ZIP_END64_SIZE)
        return refuse(zip, "the zip64 record is said to be at offset %llu, expected it before %llu",
                      (unsigned long long)at, (unsigned long long)locator);
    if (ct_file_pread(zip->file, bytes, CT_ZIP_END64_SIZE, at) != CT_OK) return false;
    if (ct_le32(bytes) != CT_ZIP_END64)
        return refuse(zip, "there is no zip64 record where one is said to be");
    if (ct_le32(bytes + 16) || ct_le32(bytes + 20) || ct_le64(bytes + 24) != ct_le64(bytes + 32))
        return refuse(zip, "the zip archive is spread over several files");
    *found = (directory){ct_le64(bytes + 48), ct_le64(bytes + 40), ct_le64(bytes + 32)};
    *place = at;
    return true;
}

static bool read_end(ct_zip *zip, directory *found) {
    unsigned char end[CT_ZIP_END_SIZE] = {0}, locator[4];
    uint64_t place = 0;
    if (!find_end(zip, &place, end)) return false;
    *found = (directory){ct_le32(end + 16), ct_le32(end + 12), ct_le16(end + 10)};
    bool large = false;
    if (place >= CT_ZIP_LOCATOR_SIZE) {
        if (ct_file_pread(zip->file, locator, 4, place - CT_ZIP_LOCATOR_SIZE) != CT_OK) return false;
        large = ct_le32(locator) == CT_ZIP_LOCATOR;
    }
    if (large) {
        if (!read_end64(zip, place - CT_ZIP_LOCATOR_SIZE, &place, found)) return false;
    } else if (ct_le16(end + 4) || ct_le16(end + 6) || ct_le16(end + 8) != ct_le16(end + 10)) {
        return refuse(zip, "the zip archive is spread over several files");
    }
    if (found->offset > place || found->size > place - found->offset)
        return refuse(
            zip, "the directory is said to be %llu bytes at offset %llu, expected it to end before %llu",
            (unsigned long long)found->size, (unsigned long long)found->offset, (unsigned long long)place);
    if (found->size > DIRECTORY_LIMIT)
        return refuse(zip, "the directory has %llu bytes, at most %llu are read",
                      (unsigned long long)found->size, (unsigned long long)DIRECTORY_LIMIT);
    if (found->count > found->size / CT_ZIP_CENTRAL_SIZE)
        return refuse(zip, "%llu entries do not fit into a directory of %llu bytes",
                      (unsigned long long)found->count, (unsigned long long)found->size);
    return true;
}

/* -------------------------------------------------------------------------------------- the directory */

/* Takes the next 8 bytes of a zip64 field for `value`, if its 4 bytes say that they stand there. */
static bool widen(uint64_t *value, const unsigned char **at, const unsigned char *end) {
    if (*value != 0xffffffffu) return true;
    if (end - *at < 8) return false;
    *value = ct_le64(*at);
    *at += 8;
    return true;
}

/* The extra fields of a header: only zip64's counts. */
static bool read_extra(ct_zip *zip, ct_zip_entry *entry, const unsigned char *extra, size_t size) {
    bool needed = entry->size == 0xffffffffu || entry->packed == 0xffffffffu || entry->header == 0xffffffffu;
    for (size_t at = 0; needed && size - at >= 4;) {
        size_t length = ct_le16(extra + at + 2);
        if (length > size - at - 4) break;
        const unsigned char *field = extra + at + 4, *end = field + length;
        if (ct_le16(extra + at) == CT_ZIP_EXTRA64) {
            if (widen(&entry->size, &field, end) && widen(&entry->packed, &field, end) &&
                widen(&entry->header, &field, end))
                return true;
            break;
        }
        at += 4 + length;
    }
    return !needed || refuse_entry(zip, entry->name, "lacks the zip64 field that its sizes announce");
}

static bool check_entry(ct_zip *zip, const ct_zip_entry *entry, unsigned flags, unsigned method) {
    if (flags & (1u | 1u << 6 | 1u << 13)) return refuse_entry(zip, entry->name, "is encrypted");
    if (method != 0 && method != 8)
        return refuse_entry(zip, entry->name, "is packed by method %u, expected 0 (stored) or 8 (deflated)",
                            method);
    if (!entry->deflated && entry->size != entry->packed)
        return refuse_entry(zip, entry->name, "is stored in %llu bytes, but has %llu",
                            (unsigned long long)entry->packed, (unsigned long long)entry->size);
    if (entry->deflated && entry->size / DEFLATE_MOST > entry->packed)
        return refuse_entry(zip, entry->name, "claims %llu bytes, more than deflate can make of %llu",
                            (unsigned long long)entry->size, (unsigned long long)entry->packed);
    return true;
}

/* One header of the directory at `at`, `left` bytes before its end. False on error; *used becomes its length.
 */
static bool read_central(ct_zip *zip, const unsigned char *at, size_t left, size_t *used) {
    if (left < CT_ZIP_CENTRAL_SIZE || ct_le32(at) != CT_ZIP_CENTRAL)
        return refuse(zip, "the directory has no header where entry %zu should be", zip->count);
    size_t name_size = ct_le16(at + 28), extra_size = ct_le16(at + 30), comment_size = ct_le16(at + 32);
    *used = CT_ZIP_CENTRAL_SIZE + name_size + extra_size + comment_size;
    if (left < *used) return refuse(zip, "the directory ends within entry %zu", zip->count);
    const char *name = (const char *)at + CT_ZIP_CENTRAL_SIZE;
    if (!name_size || memchr(name, 0, name_size) || ct_utf8_check(name, name_size) != name_size)
        return refuse(zip, "the name of entry %zu is empty or no UTF-8", zip->count);
    ct_zip_entry entry = {.name = ct_arena_copy(zip->context, &zip->texts, name, name_size),
                          .size = ct_le32(at + 24),
                          .packed = ct_le32(at + 20),
                          .header = ct_le32(at + 42),
                          .crc = ct_le32(at + 16),
                          .deflated = ct_le16(at + 10) == 8};
    if (!entry.name || !read_extra(zip, &entry, at + CT_ZIP_CENTRAL_SIZE + name_size, extra_size))
        return false;
    if (name[name_size - 1] == '/' && entry.size == 0) return true; /* a folder */
    if (!check_entry(zip, &entry, ct_le16(at + 8), ct_le16(at + 10))) return false;
    if (ct_names_get(&zip->names, entry.name, name_size) >= 0)
        return refuse_entry(zip, entry.name, "stands twice in the directory");
    zip->entries[zip->count] = entry;
    return ct_names_put(zip->context, &zip->names, entry.name, name_size, (int32_t)zip->count++) == CT_OK;
}

static bool read_directory(ct_zip *zip, const directory *found) {
    unsigned char *bytes = ct_alloc(zip->context, (size_t)found->size, CT_MEMORY_WORKSPACE);
    zip->entries = ct_alloc(zip->context, (size_t)found->count * sizeof *zip->entries, CT_MEMORY_OTHER);
    bool good =
        bytes && zip->entries && ct_file_pread(zip->file, bytes, (size_t)found->size, found->offset) == CT_OK;
    size_t at = 0;
    for (uint64_t i = 0; good && i < found->count; i++) {
        size_t used = 0;
        good = read_central(zip, bytes + at, (size_t)found->size - at, &used);
        at += used;
    }
    ct_free(zip->context, bytes);
    return good;
}

/* ---------------------------------------------------------------------------- the headers at the data */

/* The header before the bytes of an entry must say the same as the directory, but for sizes that it may leave
 * to a record behind the bytes. */
static bool read_local(ct_zip *zip, ct_zip_entry *entry, uint64_t end) {
    unsigned char bytes[CT_ZIP_LOCAL_SIZE];
    size_t length = strlen(entry->name);
    if (entry->header > end || end - entry->header < CT_ZIP_LOCAL_SIZE)
        return refuse_entry(zip, entry->name, "is said to begin at offset %llu, the directory begins at %llu",
                            (unsigned long long)entry->header, (unsigned long long)end);
    if (ct_file_pread(zip->file, bytes, sizeof bytes, entry->header) != CT_OK) return false;
    if (ct_le32(bytes) != CT_ZIP_LOCAL)
        return refuse_entry(zip, entry->name, "has no header at offset %llu",
                            (unsigned long long)entry->header);
    size_t name_size = ct_le16(bytes + 26), extra_size = ct_le16(bytes + 28);
    entry->offset = entry->header + CT_ZIP_LOCAL_SIZE + name_size + extra_size;
    if (entry->offset > end || entry->packed > end - entry->offset)
        return refuse_entry(
            zip, entry->name, "has %llu bytes at offset %llu, but the directory begins at %llu",
            (unsigned long long)entry->packed, (unsigned long long)entry->offset, (unsigned long long)end);
    bool alike = name_size == length && (ct_le16(bytes + 8) == 8) == entry->deflated &&
                 (ct_le16(bytes + 8) == 0) == !entry->deflated && !(ct_le16(bytes + 6) & 1u);
    char *name = alike ? ct_alloc(zip->context, length + 1, CT_MEMORY_WORKSPACE) : NULL;
    if (name) {
        if (ct_file_pread(zip->file, name, length, entry->header + CT_ZIP_LOCAL_SIZE) == CT_OK)
            alike = memcmp(name, entry->name, length) == 0;
        ct_free(zip->context, name);
    }
    if (ct_failed(zip->context)) return false;
    return alike ||
           refuse_entry(zip, entry->name, "has another name or method in its header than in the directory");
}

static int by_place(const void *left, const void *right) {
    const ct_zip_entry *a = left, *b = right;
    return a->header < b->header ? -1 : a->header > b->header;
}

/* Entries in order of their place; none may reach into the next. Files that unpack to petabytes are made by
 * entries that share their bytes (D. Fifield, "A better zip bomb", WOOT 2019). */
static bool place_entries(ct_zip *zip, uint64_t end) {
    if (zip->count) qsort(zip->entries, zip->count, sizeof *zip->entries, by_place);
    ct_names_free(zip->context, &zip->names);
    if (ct_names_reserve(zip->context, &zip->names, zip->count) != CT_OK) return false;
    for (size_t i = 0; i < zip->count; i++) {
        ct_zip_entry *entry = &zip->entries[i];
        const ct_zip_entry *before = i ? entry - 1 : NULL;
        if (!read_local(zip, entry, end)) return false;
        if (before && entry->header < before->offset + before->packed)
            return refuse_entry(zip, entry->name, "overlaps entry \"%.*s\"", shown(before->name),
                                before->name);
        if (ct_names_put(zip->context, &zip->names, entry->name, strlen(entry->name), (int32_t)i) != CT_OK)
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------- the rest */

ct_zip *ct_zip_open(ct_context *context, const char *path) {
    if (ct_failed(context)) return NULL;
    ct_zip *zip = ct_alloc_zero(context, sizeof *zip, CT_MEMORY_OTHER);
    if (!zip) return NULL;
    zip->context = context;
    zip->check = true;
    zip->file = ct_file_open(context, path);
    directory found;
    if (zip->file && read_end(zip, &found) && read_directory(zip, &found) && place_entries(zip, found.offset))
        return zip;
    ct_zip_close(zip);
    return NULL;
}

void ct_zip_close(ct_zip *zip) {
    if (!zip) return;
    ct_zip_cursor_end(zip);
    ct_file_close(zip->file);
    ct_free(zip->context, zip->entries);
    ct_names_free(zip->context, &zip->names);
    ct_arena_free(zip->context, &zip->texts);
    ct_free(zip->context, zip);
}

size_t ct_zip_count(const ct_zip *zip) {
    return zip->count;
}
const ct_zip_entry *ct_zip_at(const ct_zip *zip, size_t index) {
    return index < zip->count ? &zip->entries[index] : NULL;
}
const char *ct_zip_path(const ct_zip *zip) {
    return ct_file_path(zip->file);
}
ct_context *ct_zip_context(const ct_zip *zip) {
    return zip->context;
}
void ct_zip_set_check(ct_zip *zip, bool check) {
    zip->check = check;
}

const ct_zip_entry *ct_zip_find(const ct_zip *zip, const char *name) {
    int32_t index = ct_names_get(&zip->names, name, strlen(name));
    return index < 0 ? NULL : &zip->entries[index];
}
