/* archive_npz.c - numpy's .npz and .npy files as archives. */
#include "carat/npz.h"
#include "format/archive_format.h"
#include "format/npz_parts.h"
#include "format/zip_parts.h"
#include <string.h>

/* A .npy file, or a zip archive that is empty or begins with one. */
static bool recognise(ct_file *file, const unsigned char *head, size_t size) {
    (void)file;
    if (size >= 6 && memcmp(head, "\x93NUMPY", 6) == 0) return true;
    if (!ct_zip_is(head, size)) return false;
    if (ct_le32(head) == CT_ZIP_END) return true;
    size_t length = size >= CT_ZIP_LOCAL_SIZE ? ct_le16(head + 26) : 0;
    return length >= 4 && CT_ZIP_LOCAL_SIZE + length <= size &&
           memcmp(head + CT_ZIP_LOCAL_SIZE + length - 4, ".npy", 4) == 0;
}

static char *locate(ct_context *context, const char *folder) {
    return ct_archive_only_file(context, folder, ".npz");
}

static ct_status open_archive(ct_archive *archive, const char *path) {
    ct_context *context = archive->context;
    ct_npz *file = ct_npz_open(context, path);
    archive->state = file;
    int number = file ? ct_archive_add_file(archive, ct_npz_file(file), false) : -1;
    for (size_t i = 0; file && i < ct_npz_count(file) && !ct_failed(context); i++) {
        const ct_npz_array *array = ct_npz_at(file, i);
        uint64_t offset = 0;
        if (!array->readable) {
            ct_npz_read(file, array, NULL, 0, 1); /* says why */
            break;
        }
        bool lies_so = ct_npz_place(file, array, &offset);
        ct_archive_add(archive, array->name, strlen(array->name), (ct_element)array->dtype, array->rank,
                       array->shape, lies_so ? number : -1, lies_so ? offset : 0, -1);
    }
    return ct_context_status(context);
}

static ct_status read_tensor(ct_archive *archive, const ct_archive_tensor *tensor, void *buffer, uint64_t offset,
                      size_t size) {
    return ct_npz_read(archive->state, ct_npz_at(archive->state, tensor->index), buffer, offset, size);
}

static void release(ct_archive *archive) {
    ct_npz_close(archive->state);
}

const ct_archive_format ct_archive_npz = {.name = "npz",
                                          .summary =
                                              "numpy: .npz archives, compressed or not, and .npy files",
                                          .recognise = recognise,
                                          .locate = locate,
                                          .open = open_archive,
                                          .read = read_tensor,
                                          .close = release};
