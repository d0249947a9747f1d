/* stream.c - moves the tensors of a plan from the archive to the sink in pieces that fit the processor's
 * cache. A task reads a piece, converts it and writes it to its place, so that with two threads reading,
 * converting and writing overlap. Pieces are cut by shape alone. */
#define _GNU_SOURCE
#include "convert/sink.h"
#include "format/archive_format.h"
#include <string.h>

enum {
    MOST_ELEMENTS = 131072, /* of a piece; multiples of 256, the largest block */
    LEAST_ELEMENTS = 8192,
    BYTES_AN_ELEMENT = 8 + 4 + 4 + 8, /* raw, as f32, reordered, encoded */
    TILE = 256,                       /* columns of the source in a piece of a transposed matrix */
    BATCH = 128                       /* pieces between looks at the stop request */
};

typedef struct stream_piece {
    const ct_plan_tensor *tensor;
    ct_writer *file;           /* NULL: in order, to the sink */
    uint64_t place;            /* of the tensor in the file */
    int64_t first, count;      /* elements of the output; for a transposed matrix: */
    int64_t row, rows, column; /* of the source; the columns are at most TILE */
} stream_piece;

typedef struct streaming {
    ct_context *context;
    ct_archive *archive;
    ct_sink *sink;
    int64_t elements; /* of a piece, at most */
    stream_piece pieces[BATCH];
    int count;
    bool serial; /* the archive or the sink can only be used by one thread */
    uint64_t done, total;
} streaming;

typedef struct worker_space {
    unsigned char *raw;
    float *values, *turned;
    unsigned char *encoded;
} worker_space;

static worker_space space_of(const streaming *stream, int worker) {
    unsigned char *scratch = ct_scratch(stream->context, worker);
    size_t n = (size_t)stream->elements;
    return (worker_space){scratch, (float *)(void *)(scratch + n * 8), (float *)(void *)(scratch + n * 12),
                          scratch + n * 16};
}

static uint64_t bytes_of(ct_element type, int64_t elements) {
    const ct_element_info *info = ct_element_describe(type);
    return (uint64_t)(elements / info->block) * (uint64_t)info->bytes;
}

/* ------------------------------------------------------------------------------------ reading and writing */

/* Tasks leave their error to the loop; alone, it goes to the context. */
static bool complain(streaming *stream, int64_t index, ct_status status, const char *format, ...)
    CT_PRINTF(4, 5);
static bool complain(streaming *stream, int64_t index, ct_status status, const char *format, ...) {
    char message[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (stream->serial)
        ct_fail(stream->context, status, "%s", message);
    else
        ct_parallel_error(stream->context, index, status, "%s", message);
    return false;
}

static bool report(streaming *stream, int64_t index, const char *path, const char *name, const char *what,
                   int number) {
    char text[128];
    if (number < 0)
        return complain(
            stream, index, CT_ERROR_IO,
            "%s: tensor \"%s\" ends before its last byte: the file became shorter while it was read", path,
            name);
    return complain(stream, index, CT_ERROR_IO, "%s: %s tensor \"%s\": %s", path, what, name,
                    strerror_r(number, text, sizeof text));
}

/* Elements [first, first + count) of the source, whole blocks. */
static bool fetch(streaming *stream, int64_t index, const ct_archive_tensor *source, int64_t first,
                  int64_t count, void *raw) {
    uint64_t offset = bytes_of(source->type, first);
    size_t size = (size_t)bytes_of(source->type, count);
    if (source->file < 0) /* serial: the context may be used */
        return ct_archive_read(stream->archive, source, raw, offset, size) == CT_OK;
    int number =
        ct_file_pread_task(stream->archive->files[source->file].file, raw, size, source->offset + offset);
    if (!number) return true;
    return report(stream, index, ct_archive_file_path(stream->archive, (size_t)source->file), source->name,
                  "cannot read", number);
}

static bool emit(streaming *stream, int64_t index, const stream_piece *piece, uint64_t offset,
                 const void *data, size_t size) {
    if (!piece->file) return ct_sink_write(stream->sink, data, size) == CT_OK;
    int number = ct_writer_pwrite_task(piece->file, data, size, piece->place + offset);
    if (!number) return true;
    return report(stream, index, ct_writer_path(piece->file), piece->tensor->name, "cannot write", number);
}

/* --------------------------------------------------------------------------------------------- converting */

/* The source's row that is row `row` of the output: within a head of d rows, halves (j, i) lie at j d/2 + i,
 * pairs at 2 i + j. */
static int64_t source_row(const ct_plan_tensor *tensor, int64_t row) {
    int64_t size = tensor->shape[0] / tensor->heads, head = row / size, within = row % size;
    if (tensor->order == CT_ORDER_TO_PAIRS) return head * size + within % 2 * (size / 2) + within / 2;
    return head * size + within % (size / 2) * 2 + within / (size / 2);
}

/* The piece's elements in the source's type, in the output's order. */
static bool gather(streaming *stream, int64_t index, const stream_piece *piece, unsigned char *raw) {
    const ct_plan_tensor *tensor = piece->tensor;
    const ct_archive_tensor *source = tensor->source;
    if (tensor->order == CT_ORDER_SAME) return fetch(stream, index, source, piece->first, piece->count, raw);
    int64_t length = tensor->count / tensor->shape[0], end = piece->first + piece->count;
    for (int64_t at = piece->first; at < end;) {
        int64_t row = at / length, column = at % length;
        int64_t count = length - column < end - at ? length - column : end - at;
        if (!fetch(stream, index, source, source_row(tensor, row) * length + column, count, raw))
            return false;
        raw += bytes_of(source->type, count);
        at += count;
    }
    return true;
}

static bool encode(streaming *stream, int64_t index, const ct_plan_tensor *tensor, const float *values,
                   int64_t count, unsigned char *encoded) {
    if (ct_element_encode(tensor->type, values, encoded, count)) return true;
    return complain(stream, index, CT_ERROR_NUMERIC,
                    "%s: tensor \"%s\" holds NaN or infinity, which %s cannot hold",
                    ct_archive_path(stream->archive), tensor->source->name, ct_element_name(tensor->type));
}

static void straight(streaming *stream, int64_t index, const stream_piece *piece, worker_space space) {
    const ct_plan_tensor *tensor = piece->tensor;
    ct_element from = tensor->source->type, to = tensor->type;
    if (!gather(stream, index, piece, space.raw)) return;
    const unsigned char *result = space.raw;
    if (from != to || tensor->add != 0) {
        const float *values = space.values;
        if ((int)from == CT_FILE_F32 && tensor->add == 0)
            values = (const float *)(const void *)space.raw;
        else
            ct_element_decode(from, space.raw, space.values, piece->count);
        for (int64_t i = 0; tensor->add != 0 && i < piece->count; i++)
            space.values[i] += tensor->add;
        if (!encode(stream, index, tensor, values, piece->count, space.encoded)) return;
        result = space.encoded;
    }
    emit(stream, index, piece, bytes_of(to, piece->first), result, (size_t)bytes_of(to, piece->count));
}

/* One column of a tile, whose rows are `columns` elements of `size` bytes. */
static void take_column(const unsigned char *tile, int64_t rows, int64_t columns, int64_t column, size_t size,
                        unsigned char *to) {
    const unsigned char *from = tile + (size_t)column * size;
    for (int64_t row = 0; row < rows; row++)
        memcpy(to + (size_t)row * size, from + (size_t)(row * columns) * size, size);
}

/* A tile of the source, [rows, columns], becomes a piece of `rows` elements in each of `columns` rows of the
 * output. */
static void turned(streaming *stream, int64_t index, const stream_piece *piece, worker_space space) {
    const ct_plan_tensor *tensor = piece->tensor;
    const ct_archive_tensor *source = tensor->source;
    int64_t width = source->shape[1], height = source->shape[0];
    int64_t columns = width - piece->column < TILE ? width - piece->column : TILE;
    bool same = source->type == tensor->type && ct_element_is_plain(source->type);
    size_t size = (size_t)ct_element_describe(source->type)->bytes;
    for (int64_t row = 0; row < piece->rows; row++) {
        unsigned char *raw = same ? space.raw + (size_t)(row * columns) * size : space.raw;
        if (!fetch(stream, index, source, (piece->row + row) * width + piece->column, columns, raw)) return;
        if (!same) ct_element_decode(source->type, raw, space.values + row * columns, columns);
    }
    for (int64_t column = 0; column < columns; column++) {
        int64_t first = (piece->column + column) * height + piece->row;
        if (same) {
            take_column(space.raw, piece->rows, columns, column, size, space.encoded);
        } else {
            take_column((const unsigned char *)space.values, piece->rows, columns, column, sizeof(float),
                        (unsigned char *)space.turned);
            if (!encode(stream, index, tensor, space.turned, piece->rows, space.encoded)) return;
        }
        if (!emit(stream, index, piece, bytes_of(tensor->type, first), space.encoded,
                  (size_t)bytes_of(tensor->type, piece->rows)))
            return;
    }
}

static void run_piece(void *user, int64_t index, int worker) {
    streaming *stream = user;
    const stream_piece *piece = &stream->pieces[index];
    if (piece->tensor->order == CT_ORDER_TRANSPOSED)
        turned(stream, index, piece, space_of(stream, worker));
    else
        straight(stream, index, piece, space_of(stream, worker));
}

/* ------------------------------------------------------------------------------------------------ cutting */

static ct_status run_batch(streaming *stream) {
    if (stream->serial)
        for (int i = 0; i < stream->count && !ct_failed(stream->context); i++)
            run_piece(stream, i, 0);
    else
        ct_parallel_for(stream->context, stream->count, run_piece, stream);
    for (int i = 0; i < stream->count; i++)
        stream->done += bytes_of(stream->pieces[i].tensor->type, stream->pieces[i].count);
    stream->count = 0;
    if (ct_failed(stream->context)) return ct_context_status(stream->context);
    ct_progress(stream->context, "converting", (double)stream->done, (double)stream->total, "B", NULL);
    return ct_stop_requested(stream->context)
               ? ct_fail(stream->context, CT_ERROR_INTERRUPTED, "stopped; the output was not written")
               : CT_OK;
}

static ct_status add_piece(streaming *stream, stream_piece piece) {
    stream->pieces[stream->count++] = piece;
    return stream->count == BATCH ? run_batch(stream) : CT_OK;
}

static ct_status cut_turned(streaming *stream, stream_piece piece) {
    const int64_t *shape = piece.tensor->source->shape;
    int64_t most = stream->elements / TILE / TILE * TILE; /* rows: whole blocks of the output */
    ct_status status = CT_OK;
    for (piece.row = 0; !status && piece.row < shape[0]; piece.row += most) {
        piece.rows = shape[0] - piece.row < most ? shape[0] - piece.row : most;
        for (piece.column = 0; !status && piece.column < shape[1]; piece.column += TILE) {
            piece.count = piece.rows * (shape[1] - piece.column < TILE ? shape[1] - piece.column : TILE);
            status = add_piece(stream, piece);
        }
    }
    return status;
}

static ct_status cut(streaming *stream, const ct_plan_tensor *tensor) {
    stream_piece piece = {.tensor = tensor};
    ct_status status =
        stream->count && stream->sink->npz ? run_batch(stream) : CT_OK; /* it takes one after the other */
    if (!status) status = ct_sink_begin(stream->sink, tensor, &piece.file, &piece.place);
    bool serial = !piece.file || !tensor->source || tensor->source->file < 0;
    if (!status && stream->count && serial != stream->serial) status = run_batch(stream);
    if (status || !tensor->count) return status;
    stream->serial = serial;
    if (!tensor->source)
        return emit(stream, 0, &piece, 0, tensor->values, (size_t)tensor->count * sizeof(float))
                   ? CT_OK
                   : ct_context_status(stream->context);
    if (tensor->order == CT_ORDER_TRANSPOSED) return cut_turned(stream, piece);
    for (; !status && piece.first < tensor->count; piece.first += stream->elements) {
        int64_t left = tensor->count - piece.first;
        piece.count = left < stream->elements ? left : stream->elements;
        status = add_piece(stream, piece);
    }
    return status;
}

/* Elements of a piece: what the budget allows the workers, a multiple of 65536 or of 256 below that. */
static int64_t piece_elements(const ct_plan *plan, uint64_t memory) {
    uint64_t fair =
        memory ? memory / 2 / BYTES_AN_ELEMENT / (uint64_t)ct_context_threads(plan->context) : MOST_ELEMENTS;
    if (fair >= MOST_ELEMENTS) return MOST_ELEMENTS;
    return fair < 65536 ? 65536 : (int64_t)(fair / 65536 * 65536);
}

ct_status ct_stream(const ct_plan *plan, ct_sink *sink, uint64_t memory) {
    streaming *stream = ct_alloc_zero(plan->context, sizeof *stream, CT_MEMORY_WORKSPACE);
    if (!stream) return ct_context_status(plan->context);
    stream->context = plan->context;
    stream->archive = plan->archive;
    stream->sink = sink;
    stream->elements = piece_elements(plan, memory);
    stream->total = ct_plan_bytes(plan);
    ct_status status = ct_scratch_reserve(plan->context, (size_t)stream->elements * BYTES_AN_ELEMENT);
    for (size_t i = 0; !status && i < plan->count; i++)
        status = cut(stream, &plan->tensors[i]);
    if (!status) status = run_batch(stream);
    if (!status) ct_progress_finish(plan->context, "converting", (double)stream->done, "B", NULL);
    ct_free(plan->context, stream);
    return status;
}
