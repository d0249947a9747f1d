/* pickle_call.c - the functions and classes that a pickle of tensors names, and what calling them gives. What
 * is not in the table is refused: importing and calling by name is how a pickle would run code. */
#include "format/pickle.h"
#include "format/utf8.h"
#include <string.h>

static const struct {
    const char *module, *name;
    ct_pickle_function call;
} functions[] = {
    {"collections", "OrderedDict", CT_CALL_ORDERED_DICT},
    {"__builtin__", "set", CT_CALL_SET},
    {"builtins", "set", CT_CALL_SET},
    {"_codecs", "encode", CT_CALL_ENCODE},
    {"torch", "Size", CT_CALL_SIZE},
    {"torch", "device", CT_CALL_DEVICE},
    {"torch._utils", "_rebuild_tensor", CT_CALL_TENSOR},
    {"torch._utils", "_rebuild_tensor_v2", CT_CALL_TENSOR},
    {"torch._utils", "_rebuild_tensor_v3", CT_CALL_TENSOR_V3},
    {"torch._utils", "_rebuild_parameter", CT_CALL_PARAMETER},
    {"torch._utils", "_rebuild_parameter_with_state", CT_CALL_PARAMETER},
};

/* Storage classes and types; those that files of tensors cannot have are known so that the message can say
 * so. */
static const struct {
    const char *storage, *type;
    int dtype; /* -1: none */
} types[] = {
    {"FloatStorage", "float32", CT_FILE_F32},
    {"DoubleStorage", "float64", CT_FILE_F64},
    {"HalfStorage", "float16", CT_FILE_F16},
    {"BFloat16Storage", "bfloat16", CT_FILE_BF16},
    {"LongStorage", "int64", CT_FILE_I64},
    {"IntStorage", "int32", CT_FILE_I32},
    {"ShortStorage", "int16", CT_FILE_I16},
    {"CharStorage", "int8", CT_FILE_I8},
    {"ByteStorage", "uint8", CT_FILE_U8},
    {"BoolStorage", "bool", CT_FILE_BOOL},
    {"ComplexFloatStorage", "complex64", CT_FILE_C64},
    {"Float8_e4m3fnStorage", "float8_e4m3fn", CT_FILE_F8_E4M3},
    {"Float8_e5m2Storage", "float8_e5m2", CT_FILE_F8_E5M2},
    {NULL, "float8_e8m0fnu", CT_FILE_F8_E8M0},
    {NULL, "uint16", CT_FILE_U16},
    {NULL, "uint32", CT_FILE_U32},
    {NULL, "uint64", CT_FILE_U64},
    {"ComplexDoubleStorage", "complex128", -1},
    {"QInt8Storage", "qint8", -1},
    {"QUInt8Storage", "quint8", -1},
    {"QInt32Storage", "qint32", -1},
    {"QUInt4x2Storage", "quint4x2", -1},
    {"QUInt2x4Storage", "quint2x4", -1},
    {NULL, "complex32", -1},
    {NULL, "float8_e4m3fnuz", -1},
    {NULL, "float8_e5m2fnuz", -1},
    {NULL, "float4_e2m1fn_x2", -1},
};

/* -------------------------------------------------------------------------------------------- importing */

static ct_pickle_node *new_function(ct_pickle *pickle, ct_pickle_kind kind, ct_pickle_function call,
                                    const char *name, int dtype) {
    ct_pickle_node *node = ct_pickle_new(pickle, kind);
    if (!node) return NULL;
    node->as.function.call = call;
    node->as.function.name = name;
    node->as.function.known = dtype >= 0;
    node->as.function.dtype = dtype >= 0 ? (ct_file_dtype)dtype : CT_FILE_U8;
    return node;
}

ct_pickle_node *ct_pickle_import(ct_pickle *pickle, const char *module, const char *name) {
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (strcmp(functions[i].module, module) == 0 && strcmp(functions[i].name, name) == 0)
            return new_function(pickle, CT_PICKLE_FUNCTION, functions[i].call, functions[i].name, 0);
    bool torch = strcmp(module, "torch") == 0;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        bool storage = types[i].storage && strcmp(types[i].storage, name) == 0;
        if (storage && (torch || strcmp(module, "torch.cuda") == 0))
            return new_function(pickle, CT_PICKLE_FUNCTION, CT_CALL_STORAGE, types[i].storage,
                                types[i].dtype);
        if (torch && strcmp(types[i].type, name) == 0)
            return new_function(pickle, CT_PICKLE_DTYPE, CT_CALL_STORAGE, types[i].type, types[i].dtype);
    }
    if (strcmp(name, "UntypedStorage") == 0 && (torch || strcmp(module, "torch.storage") == 0)) {
        ct_pickle_node *node =
            new_function(pickle, CT_PICKLE_FUNCTION, CT_CALL_STORAGE, "UntypedStorage", CT_FILE_U8);
        if (node) node->as.function.untyped = true;
        return node;
    }
    ct_pickle_refuse(
        pickle,
        "wants to use \"%.100s.%.100s\": only what tensors, numbers, texts and their containers need is "
        "read, and no code is run",
        module, name);
    return NULL;
}

/* ---------------------------------------------------------------------------------------------- storages */

static bool is_text(const ct_pickle_node *node, const char *text) {
    return node->kind == CT_PICKLE_TEXT && strcmp(node->as.text.data, text) == 0;
}

ct_pickle_node *ct_pickle_storage(ct_pickle *pickle, const ct_pickle_node *id) {
    const ct_pickle_node *const *items = (const ct_pickle_node *const *)id->as.list.items;
    bool good = id->kind == CT_PICKLE_TUPLE && id->as.list.count == 5 && is_text(items[0], "storage") &&
                items[1]->kind == CT_PICKLE_FUNCTION && items[1]->as.function.call == CT_CALL_STORAGE &&
                items[2]->kind == CT_PICKLE_TEXT && items[4]->kind == CT_PICKLE_INT &&
                items[4]->as.integer >= 0;
    if (!good) {
        ct_pickle_refuse(pickle, "a persistent id is not (\"storage\", class, key, place, count)");
        return NULL;
    }
    if (!items[1]->as.function.known) {
        ct_fail(pickle->context, CT_ERROR_UNSUPPORTED, "%s: storage \"%.100s\" is a %s, which is not read",
                pickle->where, items[2]->as.text.data, items[1]->as.function.name);
        return NULL;
    }
    ct_pickle_node *node = ct_pickle_new(pickle, CT_PICKLE_STORAGE);
    if (!node) return NULL;
    node->as.storage.key = items[2]->as.text.data;
    node->as.storage.dtype = items[1]->as.function.dtype;
    node->as.storage.untyped = items[1]->as.function.untyped;
    node->as.storage.count = items[4]->as.integer;
    return node;
}

/* ----------------------------------------------------------------------------------------------- tensors */

/* A tuple of integers as an array; NULL on error. */
static int64_t *read_extents(ct_pickle *pickle, const ct_pickle_node *tuple, const char *what, int *rank) {
    if ((tuple->kind != CT_PICKLE_TUPLE && tuple->kind != CT_PICKLE_LIST) ||
        tuple->as.list.count > CT_PICKLE_RANK) {
        ct_pickle_refuse(pickle, "a tensor's %s is no tuple of at most %d integers", what, CT_PICKLE_RANK);
        return NULL;
    }
    *rank = (int)tuple->as.list.count;
    int64_t *extents = ct_pickle_bytes(pickle, (size_t)*rank * sizeof *extents + 1);
    for (int i = 0; extents && i < *rank; i++) {
        const ct_pickle_node *item = tuple->as.list.items[i];
        if (item->kind != CT_PICKLE_INT || item->as.integer < 0) {
            ct_pickle_refuse(pickle, "a tensor's %s holds something else than integers from 0 on", what);
            return NULL;
        }
        extents[i] = item->as.integer;
    }
    return extents;
}

/* The view must lie within its storage: the furthest element by the strides. */
static bool check_view(ct_pickle *pickle, const ct_pickle_tensor *tensor) {
    const ct_pickle_node *storage = tensor->storage;
    int64_t unit =
        storage->as.storage.untyped ? 1 : (int64_t)ct_file_dtype_bits(storage->as.storage.dtype) / 8;
    int64_t last = (int64_t)tensor->first, present, reach, needed;
    uint64_t size = 0;
    if (__builtin_mul_overflow(storage->as.storage.count, unit, &present))
        return ct_pickle_refuse(pickle, "a storage has more than 2^63 - 1 bytes");
    if (!ct_file_tensor_size(tensor->dtype, tensor->rank, tensor->shape, &size))
        return ct_pickle_refuse(pickle, "a tensor has more than 2^63 - 1 bytes");
    if (!size) return true;
    bool fits = true;
    for (int i = 0; i < tensor->rank && fits; i++)
        fits = !__builtin_mul_overflow(tensor->shape[i] - 1, tensor->stride[i], &reach) &&
               !__builtin_add_overflow(last, reach, &last);
    fits = fits && !__builtin_add_overflow(last, 1, &last) &&
           !__builtin_mul_overflow(last, (int64_t)ct_file_dtype_bits(tensor->dtype) / 8, &needed) &&
           needed <= present;
    return fits || ct_pickle_refuse(pickle, "a tensor reaches beyond its storage \"%.100s\" of %lld bytes",
                                    storage->as.storage.key, (long long)present);
}

/* (storage, offset, size, stride, requires_grad, hooks[, metadata]); the third version has a type before
 * metadata. */
static ct_pickle_node *rebuild_tensor(ct_pickle *pickle, const ct_pickle_node *function,
                                      const ct_pickle_node *arguments) {
    ct_pickle_node **items = arguments->as.list.items;
    size_t count = arguments->as.list.count;
    bool typed = function->as.function.call == CT_CALL_TENSOR_V3;
    int rank = 0, strides = 0;
    if (count < (typed ? 7u : 4u) || count > 8 || items[0]->kind != CT_PICKLE_STORAGE ||
        items[1]->kind != CT_PICKLE_INT || items[1]->as.integer < 0 ||
        (typed && items[6]->kind != CT_PICKLE_DTYPE)) {
        ct_pickle_refuse(pickle, "%s is called with other values than PyTorch gives it",
                         function->as.function.name);
        return NULL;
    }
    if (typed && !items[6]->as.function.known) {
        ct_fail(pickle->context, CT_ERROR_UNSUPPORTED, "%s: a tensor is of type %s, which is not read",
                pickle->where, items[6]->as.function.name);
        return NULL;
    }
    ct_pickle_node *node = ct_pickle_new(pickle, CT_PICKLE_TENSOR);
    ct_pickle_tensor *tensor = node ? ct_pickle_bytes(pickle, sizeof *tensor) : NULL;
    if (!tensor) return NULL;
    node->as.tensor = tensor;
    tensor->storage = items[0];
    tensor->first = (uint64_t)items[1]->as.integer;
    tensor->dtype = typed ? items[6]->as.function.dtype : items[0]->as.storage.dtype;
    tensor->shape = read_extents(pickle, items[2], "size", &rank);
    tensor->stride = tensor->shape ? read_extents(pickle, items[3], "stride", &strides) : NULL;
    if (!tensor->stride) return NULL;
    tensor->rank = rank;
    if (rank != strides) {
        ct_pickle_refuse(pickle, "a tensor has %d dimensions and %d strides", rank, strides);
        return NULL;
    }
    return check_view(pickle, tensor) ? node : NULL;
}

/* ------------------------------------------------------------------------------------------- other calls */

/* OrderedDict(), or OrderedDict([(key, value), ...]). */
static ct_pickle_node *ordered_dict(ct_pickle *pickle, const ct_pickle_node *arguments) {
    ct_pickle_node *dict = ct_pickle_new(pickle, CT_PICKLE_DICT);
    if (!dict || !arguments->as.list.count) return dict;
    const ct_pickle_node *pairs = arguments->as.list.items[0];
    bool good = arguments->as.list.count == 1 && pairs->kind == CT_PICKLE_LIST;
    for (size_t i = 0; good && i < pairs->as.list.count; i++) {
        const ct_pickle_node *pair = pairs->as.list.items[i];
        good = (pair->kind == CT_PICKLE_LIST || pair->kind == CT_PICKLE_TUPLE) && pair->as.list.count == 2;
        if (good && !(ct_pickle_push_item(pickle, dict, pair->as.list.items[0]) &&
                      ct_pickle_push_item(pickle, dict, pair->as.list.items[1])))
            return NULL;
    }
    if (good) return dict;
    ct_pickle_refuse(pickle, "OrderedDict is called with something else than a list of pairs");
    return NULL;
}

/* encode(text, "latin1"): each character is a byte. */
static ct_pickle_node *encode(ct_pickle *pickle, const ct_pickle_node *arguments) {
    ct_pickle_node **items = arguments->as.list.items;
    if (arguments->as.list.count != 2 || items[0]->kind != CT_PICKLE_TEXT || !is_text(items[1], "latin1")) {
        ct_pickle_refuse(pickle, "_codecs.encode is called with something else than a text and \"latin1\"");
        return NULL;
    }
    size_t length = items[0]->as.text.length, used = 0;
    char *bytes = ct_pickle_bytes(pickle, length + 1);
    ct_pickle_node *node = bytes ? ct_pickle_new(pickle, CT_PICKLE_BYTES) : NULL;
    for (size_t at = 0; node && at < length;) {
        uint32_t code = 0;
        at += ct_utf8_decode(items[0]->as.text.data + at, length - at, &code);
        if (code > 255) {
            ct_pickle_refuse(pickle, "_codecs.encode is called with a character beyond latin1");
            return NULL;
        }
        bytes[used++] = (char)code;
    }
    if (!node) return NULL;
    bytes[used] = '\0';
    node->as.text.data = bytes;
    node->as.text.length = used;
    return node;
}

ct_pickle_node *ct_pickle_call(ct_pickle *pickle, const ct_pickle_node *function,
                               const ct_pickle_node *arguments) {
    ct_pickle_node **items = arguments->as.list.items;
    size_t count = arguments->as.list.count;
    switch (function->as.function.call) {
    case CT_CALL_ORDERED_DICT:
        return ordered_dict(pickle, arguments);
    case CT_CALL_ENCODE:
        return encode(pickle, arguments);
    case CT_CALL_TENSOR:
    case CT_CALL_TENSOR_V3:
        return rebuild_tensor(pickle, function, arguments);
    case CT_CALL_SET:
    case CT_CALL_SIZE:
        if (count == 1 && (items[0]->kind == CT_PICKLE_LIST || items[0]->kind == CT_PICKLE_TUPLE))
            return items[0];
        break;
    case CT_CALL_DEVICE:
        if (count >= 1 && items[0]->kind == CT_PICKLE_TEXT) return items[0];
        break;
    case CT_CALL_PARAMETER:
        if (count >= 1 && items[0]->kind == CT_PICKLE_TENSOR) return items[0];
        break;
    case CT_CALL_STORAGE:
        break;
    }
    ct_pickle_refuse(pickle, "%s is called with other values than PyTorch gives it",
                     function->as.function.name);
    return NULL;
}
