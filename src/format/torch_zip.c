/* torch_zip.c - what torch.save writes: a zip archive with a pickle (data.pkl) that describes tensors, and
 * one stored entry for each storage (data/0, data/1, ...), of which tensors are views. Also folders of such
 * files with an index. Seen through archive.h. */
#include "base/ending.h"
#include "format/strided.h"
#include "format/torch_zip.h"
#include "format/zip_parts.h"
#include <string.h>

#define INDEX_ENDING ".bin.index.json"
#define INDEX_LIMIT ((size_t)256 << 20)

/* ------------------------------------------------------------------------------------------ recognising */

/* The first torch.save wrote a tar archive; up to version 1.5 a pickle of a magic number stood at the start.
 * Both are recognised so that the message can say what to do. */
static bool is_old(const unsigned char *head, size_t size) {
    bool pickle = size >= 2 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5;
    return pickle || (size >= 262 && memcmp(head + 257, "ustar", 5) == 0);
}

/* A zip archive whose first entry is no .npy file: npz.c takes those. */
static bool recognise(ct_file *file, const unsigned char *head, size_t size) {
    if (is_old(head, size)) return true;
    if (size && head[0] == '{') return ct_ends_with(ct_file_path(file), INDEX_ENDING);
    if (!ct_zip_is(head, size) || size < CT_ZIP_LOCAL_SIZE) return false;
    size_t length = ct_le16(head + 26);
    return !(length >= 4 && CT_ZIP_LOCAL_SIZE + length <= size &&
             memcmp(head + CT_ZIP_LOCAL_SIZE + length - 4, ".npy", 4) == 0);
}

static char *locate(ct_context *context, const char *folder) {
    static const char *const names[] = {"pytorch_model.bin", "pytorch_model" INDEX_ENDING,
                                        "adapter_model.bin"};
    static const char *const endings[] = {".bin", ".pth", ".pt"};
    char *path = NULL;
    for (size_t i = 0; i < 3 && !path && !ct_failed(context); i++)
        path = ct_archive_named_file(context, folder, names[i]);
    for (size_t i = 0; i < 3 && !path && !ct_failed(context); i++)
        path = ct_archive_only_file(context, folder, endings[i]);
    return path;
}

/* --------------------------------------------------------------------------------------------- tensors */

/* A text that two tensors share if and only if they are the same bytes seen alike. */
static char *describe(ct_context *context, const ct_torch_view *view, const ct_pickle_tensor *tensor) {
    ct_bytes text = {0};
    char piece[96];
    snprintf(piece, sizeof piece, "%d %llu %llu %d", view->shard, (unsigned long long)view->entry->header,
             (unsigned long long)view->first, (int)tensor->dtype);
    ct_bytes_append(context, &text, piece, strlen(piece));
    for (int i = 0; i < tensor->rank; i++) {
        snprintf(piece, sizeof piece, " %lld:%lld", (long long)tensor->shape[i],
                 (long long)tensor->stride[i]);
        ct_bytes_append(context, &text, piece, strlen(piece));
    }
    if (!ct_failed(context)) return text.data;
    ct_bytes_free(context, &text);
    return NULL;
}

static ct_status make_room(ct_archive *archive) {
    ct_torch *torch = archive->state;
    if (archive->count < torch->capacity) return CT_OK;
    size_t capacity = torch->capacity * 2 + 64;
    ct_torch_view *larger =
        ct_realloc(archive->context, torch->views, capacity * sizeof *larger, CT_MEMORY_OTHER);
    if (!larger) return ct_context_status(archive->context);
    torch->views = larger;
    torch->capacity = capacity;
    return CT_OK;
}

/* The entry of a storage, which must have all its bytes. */
static const ct_zip_entry *find_storage(ct_archive *archive, const ct_torch_shard *shard,
                                        const ct_pickle_node *storage, const char *name) {
    uint64_t unit = storage->as.storage.untyped ? 1 : ct_file_dtype_bits(storage->as.storage.dtype) / 8;
    char *path = ct_format(archive->context, "%sdata/%s", shard->prefix, storage->as.storage.key);
    const ct_zip_entry *entry = path ? ct_zip_find(shard->zip, path) : NULL;
    if (path && !entry)
        ct_fail(archive->context, CT_ERROR_FORMAT,
                "%s: tensor \"%.120s\" lies in the storage \"%.120s\", which is missing",
                ct_zip_path(shard->zip), name, path);
    if (entry && entry->size < (uint64_t)storage->as.storage.count * unit) {
        ct_fail(archive->context, CT_ERROR_FORMAT, "%s: the storage \"%.120s\" has %llu bytes, expected %llu",
                ct_zip_path(shard->zip), path, (unsigned long long)entry->size,
                (unsigned long long)((uint64_t)storage->as.storage.count * unit));
        entry = NULL;
    }
    ct_free(archive->context, path);
    return entry;
}

/* Strides that the view needs when it is read; none where elements follow each other. */
static ct_status keep_strides(ct_archive *archive, ct_torch_view *view, const ct_pickle_tensor *tensor) {
    size_t bytes = (size_t)tensor->rank * sizeof *tensor->stride;
    ct_strided probe = {.rank = tensor->rank, .shape = tensor->shape};
    if (bytes) memcpy(probe.stride, tensor->stride, bytes);
    if (ct_strided_is_plain(&probe)) return CT_OK;
    view->stride = ct_alloc(archive->context, bytes, CT_MEMORY_OTHER);
    if (view->stride) memcpy(view->stride, tensor->stride, bytes);
    return ct_context_status(archive->context);
}

ct_status ct_torch_add(ct_archive *archive, const char *name, size_t length, const ct_pickle_tensor *tensor) {
    ct_context *context = archive->context;
    ct_torch *torch = archive->state;
    const ct_torch_shard *shard = &torch->shards[torch->shard_count - 1];
    ct_torch_view view = {.shard = (int)torch->shard_count - 1, .first = tensor->first};
    view.entry = find_storage(archive, shard, tensor->storage, name);
    if (!view.entry || make_room(archive) != CT_OK) return ct_context_status(context);
    char *text = describe(context, &view, tensor);
    if (!text) return ct_context_status(context);
    int32_t alias = ct_names_get(&torch->known, text, strlen(text));
    const char *kept = alias < 0 ? ct_arena_copy(context, &torch->texts, text, strlen(text)) : "";
    if (kept && alias < 0) ct_names_put(context, &torch->known, kept, strlen(kept), (int32_t)archive->count);
    ct_free(context, text);
    if (ct_failed(context) || keep_strides(archive, &view, tensor) != CT_OK)
        return ct_context_status(context);
    uint64_t item = ct_file_dtype_bits(tensor->dtype) / 8, size = 0;
    ct_file_tensor_size(tensor->dtype, tensor->rank, tensor->shape, &size); /* checked with the view */
    bool lies_so = !view.stride && !view.entry->deflated && (!shard->swapped || item == 1);
    size_t index = archive->count;
    torch->views[index] = view;
    ct_status status = ct_archive_add(
        archive, name, length, (ct_element)tensor->dtype, tensor->rank, tensor->shape,
        lies_so ? shard->file : -1, lies_so ? view.entry->offset + (size ? view.first * item : 0) : 0, alias);
    if (archive->count == index) ct_free(context, view.stride); /* it was not taken in */
    return status;
}

typedef struct source {
    ct_zip *zip;
    const ct_zip_entry *entry;
} source;

static ct_status read_entry(void *user, void *buffer, uint64_t offset, size_t size) {
    const source *from = user;
    return ct_zip_read(from->zip, from->entry, buffer, offset, size);
}

static ct_status read_tensor(ct_archive *archive, const ct_archive_tensor *tensor, void *buffer, uint64_t offset,
                      size_t size) {
    ct_torch *torch = archive->state;
    const ct_torch_view *view = &torch->views[tensor->index];
    source from = {torch->shards[view->shard].zip, view->entry};
    ct_strided *strided = ct_alloc_zero(archive->context, sizeof *strided, CT_MEMORY_WORKSPACE);
    if (!strided) return ct_context_status(archive->context);
    strided->context = archive->context;
    strided->read = read_entry;
    strided->user = &from;
    strided->item = ct_file_dtype_bits((ct_file_dtype)tensor->type) / 8;
    /* of complex numbers each half is turned by itself: the machine's order of bytes, not of parts */
    strided->swapped = torch->shards[view->shard].swapped;
    strided->halves = tensor->type == (ct_element)CT_FILE_C64;
    strided->rank = tensor->rank;
    strided->shape = tensor->shape;
    strided->first = view->first;
    if (view->stride)
        memcpy(strided->stride, view->stride, (size_t)tensor->rank * sizeof *view->stride);
    else
        ct_strided_c_order(strided);
    ct_status status = ct_strided_read(strided, buffer, offset, size);
    ct_free(archive->context, strided);
    return status;
}

/* --------------------------------------------------------------------------------------------- opening */

/* "archive/" of the one entry archive/data.pkl. */
static ct_status find_prefix(ct_context *context, ct_torch_shard *shard) {
    const char *path = ct_zip_path(shard->zip), *found = NULL;
    bool script = false;
    for (size_t i = 0; i < ct_zip_count(shard->zip); i++) {
        const char *name = ct_zip_at(shard->zip, i)->name;
        size_t length = strlen(name);
        script |= ct_ends_with(name, "/constants.pkl");
        if (strcmp(name, "data.pkl") != 0 && !ct_ends_with(name, "/data.pkl")) continue;
        if (found)
            return ct_fail(context, CT_ERROR_FORMAT, "%s: has two pickles, \"%.100s\" and \"%.100s\"", path,
                           found, name);
        found = name;
        shard->prefix = ct_format(context, "%.*s", (int)(length - strlen("data.pkl")), name);
    }
    if (script)
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "%s: is a TorchScript program; save its state_dict() with "
                       "torch.save instead",
                       path);
    if (!found)
        return ct_fail(context, CT_ERROR_FORMAT,
                       "%s: is a zip archive, but neither PyTorch's (no data.pkl) nor numpy's", path);
    return ct_context_status(context);
}

static ct_status read_byte_order(ct_context *context, ct_torch_shard *shard) {
    char *name = ct_format(context, "%sbyteorder", shard->prefix);
    const ct_zip_entry *entry = name ? ct_zip_find(shard->zip, name) : NULL;
    char *order = entry ? ct_zip_read_all(shard->zip, entry, 64, NULL) : NULL;
    ct_free(context, name);
    if (order && strcmp(order, "big") == 0)
        shard->swapped = true;
    else if (order && strcmp(order, "little") != 0)
        ct_fail(context, CT_ERROR_FORMAT, "%s: the byte order is \"%.20s\", expected little or big",
                ct_zip_path(shard->zip), order);
    ct_free(context, order);
    return ct_context_status(context);
}

static ct_status read_pickle(ct_archive *archive, ct_torch_shard *shard) {
    ct_context *context = archive->context;
    char *name = ct_format(context, "%sdata.pkl", shard->prefix);
    char *where = name ? ct_format(context, "%s: %s", ct_zip_path(shard->zip), name) : NULL;
    size_t length = 0;
    char *bytes =
        where ? ct_zip_read_all(shard->zip, ct_zip_find(shard->zip, name), CT_PICKLE_LIMIT, &length) : NULL;
    if (bytes) {
        ct_pickle pickle;
        if (ct_pickle_parse(context, bytes, length, where, &pickle)) ct_torch_flatten(archive, &pickle);
        ct_pickle_free(&pickle);
    }
    ct_free(context, bytes);
    ct_free(context, where);
    ct_free(context, name);
    return ct_context_status(context);
}

static ct_status refuse_old(ct_context *context, const char *path) {
    return ct_fail(
        context, CT_ERROR_UNSUPPORTED,
        "%s: is a checkpoint in PyTorch's old format (before 1.6) or a bare pickle; to make it readable: "
        "python -c 'import torch; torch.save(torch.load(\"%s\", weights_only=True), \"new.pt\")'",
        path, path);
}

static bool looks_old(ct_context *context, const char *path) {
    unsigned char head[512];
    ct_file *file = ct_file_open(context, path);
    if (!file) return false;
    size_t size = ct_file_size(file) < sizeof head ? (size_t)ct_file_size(file) : sizeof head;
    bool old = ct_file_pread(file, head, size, 0) == CT_OK && is_old(head, size);
    ct_file_close(file);
    return old;
}

static ct_status add_shard(ct_archive *archive, const char *path) {
    ct_context *context = archive->context;
    ct_torch *torch = archive->state;
    if (looks_old(context, path)) return refuse_old(context, path);
    ct_torch_shard *larger =
        ct_realloc(context, torch->shards, (torch->shard_count + 1) * sizeof *larger, CT_MEMORY_OTHER);
    if (!larger) return ct_context_status(context);
    torch->shards = larger;
    ct_torch_shard *shard = &torch->shards[torch->shard_count++];
    *shard = (ct_torch_shard){.zip = ct_zip_open(context, path)};
    if (!shard->zip) return ct_context_status(context);
    ct_zip_set_check(shard->zip, false);
    shard->file = ct_archive_add_file(archive, shard->zip->file, false);
    if (shard->file >= 0 && find_prefix(context, shard) == CT_OK && read_byte_order(context, shard) == CT_OK)
        read_pickle(archive, shard);
    return ct_context_status(context);
}

/* ------------------------------------------------------------------------------------------- the index */

/* Tensors from `first` on came from `shard`: the index must say so. */
static ct_status check_shard(ct_archive *archive, const char *path, const ct_value *weight_map,
                             const char *shard, size_t first) {
    for (size_t i = first; i < archive->count; i++) {
        const char *said = ct_value_as_string(ct_value_get(weight_map, archive->tensors[i].name), NULL);
        if (said && strcmp(said, shard) == 0) continue;
        return ct_fail(archive->context, CT_ERROR_FORMAT,
                       "%s: tensor \"%.120s\" is in %s, but the index %s%s", path, archive->tensors[i].name,
                       shard, said ? "says " : "lacks it", said ? said : "");
    }
    return CT_OK;
}

static ct_status open_named_shard(ct_archive *archive, const char *path, const ct_value *weight_map,
                                  const char *shard) {
    ct_context *context = archive->context;
    if (!*shard || strchr(shard, '/') || strchr(shard, '\\') || strcmp(shard, ".") == 0 ||
        strcmp(shard, "..") == 0)
        return ct_fail(context, CT_ERROR_FORMAT,
                       "%s: names the shard \"%.120s\", expected the name of a file beside it", path, shard);
    const char *slash = strrchr(path, '/');
    char *place =
        slash ? ct_format(context, "%.*s/%s", (int)(slash - path), path, shard) : ct_strdup(context, shard);
    size_t first = archive->count;
    if (place && !ct_file_exists(place))
        ct_fail(context, CT_ERROR_NOT_FOUND, "%s: names the shard %s, which does not exist", path, place);
    else if (place && add_shard(archive, place) == CT_OK)
        check_shard(archive, path, weight_map, shard, first);
    ct_free(context, place);
    return ct_context_status(context);
}

/* Each shard once, in the order in which the index names them first. */
static ct_status open_shards(ct_archive *archive, const char *path, const ct_value *weight_map) {
    ct_context *context = archive->context;
    ct_value *seen = ct_value_map(context);
    for (size_t i = 0; seen && i < ct_value_count(weight_map) && !ct_failed(context); i++) {
        const char *shard = ct_value_as_string(ct_value_at(weight_map, i), "");
        if (strlen(shard) != ct_value_string_length(ct_value_at(weight_map, i)) || ct_value_get(seen, shard))
            continue;
        ct_value_set(seen, shard, ct_value_bool(context, true));
        if (!ct_failed(context)) open_named_shard(archive, path, weight_map, shard);
    }
    for (size_t i = 0; i < ct_value_count(weight_map) && !ct_failed(context); i++)
        if (!ct_archive_find(archive, ct_value_key(weight_map, i)))
            ct_fail(context, CT_ERROR_FORMAT, "%s: tensor \"%.120s\" is said to be in %.120s, which lacks it",
                    path, ct_value_key(weight_map, i),
                    ct_value_as_string(ct_value_at(weight_map, i), "no file"));
    ct_value_free(seen);
    return ct_context_status(context);
}

static ct_status open_index(ct_archive *archive, const char *path) {
    size_t length = 0;
    char *text = ct_file_read(archive->context, path, INDEX_LIMIT, &length);
    ct_value *index = text ? ct_json_parse(archive->context, text, length, path) : NULL;
    ct_free(archive->context, text);
    if (!index) return ct_context_status(archive->context);
    const ct_value *weight_map = ct_value_get(index, "weight_map");
    if (ct_value_kind_of(weight_map) != CT_VALUE_MAP || ct_value_count(weight_map) == 0)
        ct_fail(archive->context, CT_ERROR_FORMAT, "%s: has no \"weight_map\" with tensors", path);
    else
        open_shards(archive, path, weight_map);
    ct_value_free(index);
    return ct_context_status(archive->context);
}

static ct_status open_archive(ct_archive *archive, const char *path) {
    ct_torch *torch = ct_alloc_zero(archive->context, sizeof *torch, CT_MEMORY_OTHER);
    archive->state = torch;
    if (torch) torch->metadata = ct_value_map(archive->context);
    if (!torch || !torch->metadata) return ct_context_status(archive->context);
    return ct_ends_with(path, INDEX_ENDING) ? open_index(archive, path) : add_shard(archive, path);
}

static void release(ct_archive *archive) {
    ct_context *context = archive->context;
    ct_torch *torch = archive->state;
    if (!torch) return;
    for (size_t i = 0; i < archive->count && i < torch->capacity; i++)
        ct_free(context, torch->views[i].stride);
    for (size_t i = 0; i < torch->shard_count; i++) {
        ct_zip_close(torch->shards[i].zip);
        ct_free(context, torch->shards[i].prefix);
    }
    ct_free(context, torch->shards);
    ct_free(context, torch->views);
    ct_value_free(torch->metadata);
    ct_names_free(context, &torch->known);
    ct_arena_free(context, &torch->texts);
    ct_free(context, torch);
}

static ct_value *metadata(ct_archive *archive, size_t most) {
    const ct_torch *torch = archive->state;
    ct_value *copy = ct_value_copy(torch->metadata);
    if (copy) ct_archive_cut_lists(archive->context, copy, most);
    return copy;
}

const ct_archive_format ct_archive_torch = {
    .name = "pytorch",
    .summary = "PyTorch: the zip format of torch.save, or pytorch_model.bin.index.json with its shards",
    .recognise = recognise,
    .locate = locate,
    .open = open_archive,
    .read = read_tensor,
    .metadata = metadata,
    .close = release};
