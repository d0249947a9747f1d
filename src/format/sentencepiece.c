/* sentencepiece.c - reads SentencePiece's model files, messages of Protocol Buffers
 * (sentencepiece_model.proto): ModelProto     1 pieces (1 piece, 2 score, 3 type), 2 trainer_spec, 3
 * normalizer_spec TrainerSpec    3 model_type, 24 treat_whitespace_as_suffix, 35 byte_fallback, 40 unk_id, 41
 * bos_id, 42 eos_id NormalizerSpec 2 precompiled_charsmap, 3 add_dummy_prefix, 4 remove_extra_whitespaces, 5
 * escape_whitespaces */
#include "format/sentencepiece.h"
#include "format/protobuf.h"
#include "format/utf8.h"

static ct_status broken(const ct_tokenizer_file *file, const char *what) {
    return ct_fail(file->context, CT_ERROR_FORMAT, "%s: not a SentencePiece model: %s", file->path, what);
}

static ct_status add_piece(ct_tokenizer_file *file, ct_sentencepiece *model, const char *text, size_t length,
                           float score, uint64_t type) {
    size_t index = file->vocabulary_count;
    if (!length || ct_utf8_check(text, length) != length || memchr(text, 0, length))
        return ct_fail(file->context, CT_ERROR_FORMAT, "%s: piece %zu is empty, not UTF-8 or holds NUL",
                       file->path, index);
    if (!(score - score == 0))
        return ct_fail(file->context, CT_ERROR_FORMAT, "%s: the score of piece %zu is not finite", file->path,
                       index);
    if (type < CT_PIECE_NORMAL || type > CT_PIECE_BYTE || type == CT_PIECE_UNUSED)
        return ct_fail(file->context, CT_ERROR_UNSUPPORTED, "%s: pieces of type %llu (%zu) are not supported",
                       file->path, (unsigned long long)type, index);
    if (index >= model->type_capacity) {
        size_t capacity = model->type_capacity * 2 + 1024;
        uint8_t *larger = ct_realloc(file->context, model->types, capacity, CT_MEMORY_WORKSPACE);
        if (!larger) return ct_context_status(file->context);
        model->types = larger;
        model->type_capacity = capacity;
    }
    char *copy = ct_arena_copy(file->context, &file->arena, text, length);
    if (!copy || !ct_tokenizer_file_add(file, copy, length, (int64_t)index, score))
        return ct_context_status(file->context);
    model->types[index] = (uint8_t)type;
    return CT_OK;
}

static ct_status read_piece(ct_tokenizer_file *file, ct_sentencepiece *model, const ct_protobuf *whole) {
    ct_protobuf reader = ct_protobuf_begin(whole->bytes, whole->length);
    ct_text text = {"", 0};
    float score = 0;
    uint64_t type = CT_PIECE_NORMAL;
    while (ct_protobuf_next(&reader)) {
        if (reader.field == 1 && reader.wire == CT_WIRE_BYTES) text = (ct_text){reader.bytes, reader.length};
        if (reader.field == 2 && reader.wire == CT_WIRE_32) score = ct_protobuf_float(&reader);
        if (reader.field == 3 && reader.wire == CT_WIRE_NUMBER) type = reader.number;
    }
    return reader.broken ? broken(file, "a piece is cut short")
                         : add_piece(file, model, text.data, text.length, score, type);
}

static ct_status read_trainer(ct_tokenizer_file *file, ct_sentencepiece *model, const ct_protobuf *whole) {
    ct_protobuf reader = ct_protobuf_begin(whole->bytes, whole->length);
    while (ct_protobuf_next(&reader)) {
        if (reader.wire != CT_WIRE_NUMBER) continue;
        int64_t number = (int64_t)reader.number;
        switch (reader.field) {
        case 3:
            model->model_type = number;
            break;
        case 24:
            model->suffix_spaces = number != 0;
            break;
        case 35:
            model->byte_fallback = number != 0;
            break;
        case 40:
            model->unk = number;
            break;
        case 41:
            model->bos = number;
            break;
        case 42:
            model->eos = number;
            break;
        default:
            break;
        }
    }
    return reader.broken ? broken(file, "its trainer_spec is cut short") : CT_OK;
}

static ct_status read_normalizer(ct_tokenizer_file *file, ct_sentencepiece *model, const ct_protobuf *whole) {
    ct_protobuf reader = ct_protobuf_begin(whole->bytes, whole->length);
    while (ct_protobuf_next(&reader)) {
        bool flag = reader.wire == CT_WIRE_NUMBER && reader.number;
        if (reader.field == 2 && reader.wire == CT_WIRE_BYTES)
            model->charsmap = (ct_text){reader.bytes, reader.length};
        if (reader.wire != CT_WIRE_NUMBER) continue;
        if (reader.field == 3) model->dummy_prefix = flag;
        if (reader.field == 4) model->remove_spaces = flag;
        if (reader.field == 5) model->escape_spaces = flag;
    }
    return reader.broken ? broken(file, "its normalizer_spec is cut short") : CT_OK;
}

static ct_status check(const ct_tokenizer_file *file, const ct_sentencepiece *model) {
    int64_t count = (int64_t)file->vocabulary_count;
    if (count == 0) return broken(file, "it has no pieces");
    if (model->model_type != 1 && model->model_type != 2)
        return ct_fail(file->context, CT_ERROR_UNSUPPORTED,
                       "%s: SentencePiece models of type %lld are not supported, "
                       "only Unigram (1) and BPE (2)",
                       file->path, (long long)model->model_type);
    if (!model->escape_spaces || model->suffix_spaces)
        return ct_fail(file->context, CT_ERROR_UNSUPPORTED, "%s: %s is not supported", file->path,
                       model->suffix_spaces ? "treat_whitespace_as_suffix" : "escape_whitespaces = false");
    if (model->unk < 0 || model->unk >= count || model->types[model->unk] != CT_PIECE_UNKNOWN)
        return ct_fail(file->context, CT_ERROR_FORMAT, "%s: unk_id %lld is no piece of type UNKNOWN",
                       file->path, (long long)model->unk);
    return CT_OK;
}

ct_status ct_sentencepiece_read(ct_tokenizer_file *file, ct_sentencepiece *model, const char *data,
                                size_t size) {
    ct_protobuf reader = ct_protobuf_begin(data, size);
    ct_status status = CT_OK;
    *model = (ct_sentencepiece){.model_type = 1,
                                .bos = 1,
                                .eos = 2,
                                .dummy_prefix = true,
                                .remove_spaces = true,
                                .escape_spaces = true,
                                .charsmap = {"", 0}};
    while (status == CT_OK && ct_protobuf_next(&reader)) {
        if (reader.wire != CT_WIRE_BYTES) {
            if (reader.field <= 3) status = broken(file, "a message is a number");
        } else if (reader.field == 1) {
            status = read_piece(file, model, &reader);
        } else if (reader.field == 2) {
            status = read_trainer(file, model, &reader);
        } else if (reader.field == 3) {
            status = read_normalizer(file, model, &reader);
        }
    }
    if (status == CT_OK && reader.broken) status = broken(file, "it is cut short");
    return status == CT_OK ? check(file, model) : status;
}
