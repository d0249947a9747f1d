/* iterate.c - walking over tensors of any strides, element type and broadcast. See iterate.h. */
#include "tensor/iterate.h"

#define SHORT_ROW 64 /* rows shorter than this are gathered into tiles instead of a body call each */

bool ct_operands_ready(const char *operation, int count, const ct_tensor *const *operands) {
    ct_context *context = operands[0]->context;
    if (ct_stop_op(context)) return false;
    for (int i = 0; i < count; i++) {
        const ct_storage *storage = operands[i]->storage;
        if (!storage) {
            ct_fail(context, CT_ERROR_STATE,
                    "%s: operand %d holds no data: the operation that made it failed", operation, i);
            return false;
        }
        if (storage->tile) {
            ct_fail(context, CT_ERROR_UNSUPPORTED,
                    "%s: operand %d is a generated weight, which only matmul, linear and read accept",
                    operation, i);
            return false;
        }
        if (storage->device != operands[0]->storage->device) {
            ct_fail(context, CT_ERROR_ARGUMENT, "%s: operand %d is on another device than operand 0",
                    operation, i);
            return false;
        }
    }
    return true;
}

/* ----------------------------------------------------------------------------------------------- operands */

void ct_operand_make(ct_operand *operand, void *data, ct_dtype dtype, int ndim, const int64_t *shape,
                     const int64_t *stride) {
    operand->data = data;
    operand->dtype = dtype;
    operand->size = (int)ct_dtype_size(dtype);
    int used = 0;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] == 1) continue;
        if (used > 0 &&
            operand->stride[used - 1] == stride[i] * shape[i]) { /* one axis with the one before */
            operand->shape[used - 1] *= shape[i];
            operand->stride[used - 1] = stride[i];
            continue;
        }
        operand->shape[used] = shape[i];
        operand->stride[used++] = stride[i];
    }
    if (used == 0) {
        operand->shape[0] = 1;
        operand->stride[0] = 1;
        used = 1;
    }
    operand->ndim = used;
}

void ct_operand_broadcast(ct_operand *operand, const ct_tensor *t, int ndim, const int64_t *shape) {
    int64_t stride[CT_MAX_DIMS];
    int missing = ndim - t->ndim;
    for (int i = 0; i < ndim; i++)
        stride[i] = i < missing || t->shape[i - missing] == 1 ? 0 : t->stride[i - missing];
    ct_operand_make(operand, ct_pointer(t), (ct_dtype)t->dtype, ndim, shape, stride);
}

/* ------------------------------------------------------------------------------------------------ cursors */

void ct_cursor_seek(ct_cursor *cursor, const ct_operand *operand, int64_t position) {
    cursor->operand = operand;
    int last = operand->ndim - 1;
    int64_t offset = 0;
    for (int i = last; i > 0; i--) {
        int64_t size = operand->shape[i];
        cursor->at[i] = position % size;
        position /= size;
        offset += cursor->at[i] * operand->stride[i];
    }
    cursor->at[0] = position;
    cursor->offset = offset + position * operand->stride[0];
}

void ct_cursor_skip(ct_cursor *cursor, int64_t n) {
    const ct_operand *operand = cursor->operand;
    int axis = operand->ndim - 1;
    cursor->at[axis] += n;
    cursor->offset += n * operand->stride[axis];
    while (axis > 0 && cursor->at[axis] == operand->shape[axis]) {
        cursor->offset += operand->stride[axis - 1] - operand->shape[axis] * operand->stride[axis];
        cursor->at[axis] = 0;
        cursor->at[--axis]++;
    }
}

/* Short strided copies in place: the kernel's call would cost more than they do. */
#define COPY_SHORT(type)                                                                                     \
    do {                                                                                                     \
        const type *from = x;                                                                                \
        type *to = y;                                                                                        \
        for (int64_t i = 0; i < n; i++)                                                                      \
            to[i * y_step] = from[i * x_step];                                                               \
    } while (0)

static void copy_run(int size, int64_t n, const void *x, int64_t x_step, void *y, int64_t y_step) {
    if (x_step == 1 && y_step == 1) {
        memcpy(y, x, (size_t)n * (size_t)size);
    } else if (n > 64) {
        ct_cpu_kernels()->copy_strided(size, n, x, x_step, y, y_step);
    } else if (size == 4) {
        COPY_SHORT(uint32_t);
    } else if (size == 2) {
        COPY_SHORT(uint16_t);
    } else if (size == 8) {
        COPY_SHORT(uint64_t);
    } else {
        COPY_SHORT(uint8_t);
    }
}

void ct_cursor_read(ct_cursor *cursor, int64_t n, void *out) {
    char *to = out;
    int size = cursor->operand->size;
    while (n > 0) {
        int64_t run = ct_cursor_run(cursor);
        if (run > n) run = n;
        copy_run(size, run, ct_cursor_address(cursor), ct_cursor_step(cursor), to, 1);
        ct_cursor_skip(cursor, run);
        to += run * size;
        n -= run;
    }
}

void ct_cursor_write(ct_cursor *cursor, int64_t n, const void *in) {
    const char *from = in;
    int size = cursor->operand->size;
    while (n > 0) {
        int64_t run = ct_cursor_run(cursor);
        if (run > n) run = n;
        copy_run(size, run, from, 1, ct_cursor_address(cursor), ct_cursor_step(cursor));
        ct_cursor_skip(cursor, run);
        from += run * size;
        n -= run;
    }
}

/* -------------------------------------------------------------------------------------------------- loops */

/* How one operand meets the body. */
typedef struct loop_port {
    ct_cursor cursor;
    bool gather;  /* elements are brought together in a tile first */
    bool convert; /* the body uses another type */
} loop_port;

typedef union loop_tile {
    _Alignas(64) double real[CT_TILE];
    char bytes[CT_TILE * 8];
} loop_tile;

static bool needs_gather(const ct_operand *operand, bool unit_only) {
    int last = operand->ndim - 1;
    int64_t step = operand->stride[last];
    if (step != 1 && (step != 0 || unit_only)) return true;
    return last > 0 && operand->shape[last] < SHORT_ROW;
}

static void port_open(loop_port *port, const ct_operand *operand, int64_t first, ct_dtype body_type,
                      bool unit_only) {
    ct_cursor_seek(&port->cursor, operand, first);
    port->gather = needs_gather(operand, unit_only);
    port->convert = operand->dtype != body_type;
}

/* The next n elements of an input as an array of `type` with the step written to *step. */
static const void *port_load(loop_port *port, int64_t n, ct_dtype type, loop_tile *raw, loop_tile *tile,
                             int *step) {
    const ct_operand *operand = port->cursor.operand;
    const void *elements;
    int64_t present = n;
    if (port->gather) {
        void *out = port->convert ? raw->bytes : tile->bytes;
        ct_cursor_read(&port->cursor, n, out);
        elements = out;
        *step = 1;
    } else {
        elements = ct_cursor_address(&port->cursor);
        *step = (int)ct_cursor_step(&port->cursor);
        if (*step == 0) present = 1;
        ct_cursor_skip(&port->cursor, n);
    }
    if (!port->convert) return elements;
    ct_cpu_kernels()->convert(present, operand->dtype, elements, type, tile->bytes);
    return tile->bytes;
}

static void port_store(loop_port *port, int64_t n, ct_dtype type, const loop_tile *tile, loop_tile *raw) {
    const ct_operand *operand = port->cursor.operand;
    if (!port->gather) { /* conversion only */
        ct_cpu_kernels()->convert(n, type, tile->bytes, operand->dtype, ct_cursor_address(&port->cursor));
        ct_cursor_skip(&port->cursor, n);
        return;
    }
    const void *elements = tile->bytes;
    if (port->convert) {
        ct_cpu_kernels()->convert(n, type, tile->bytes, operand->dtype, raw->bytes);
        elements = raw->bytes;
    }
    ct_cursor_write(&port->cursor, n, elements);
}

static void loop_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const ct_loop *loop = user;
    loop_port in[CT_LOOP_INPUTS], out;
    loop_tile raw, tile[CT_LOOP_INPUTS + 1];
    const void *arrays[CT_LOOP_INPUTS];
    int steps[CT_LOOP_INPUTS];
    port_open(&out, &loop->output, first, loop->store, true);
    bool direct = !out.gather && !out.convert, tiled = !direct;
    for (int i = 0; i < loop->inputs; i++) {
        port_open(&in[i], &loop->input[i], first, loop->load[i], loop->expand[i]);
        tiled = tiled || in[i].gather || in[i].convert;
    }
    while (first < last) {
        int64_t n = last - first;
        if (tiled && n > CT_TILE) n = CT_TILE;
        if (!out.gather && n > ct_cursor_run(&out.cursor)) n = ct_cursor_run(&out.cursor);
        for (int i = 0; i < loop->inputs; i++)
            if (!in[i].gather && n > ct_cursor_run(&in[i].cursor)) n = ct_cursor_run(&in[i].cursor);
        for (int i = 0; i < loop->inputs; i++)
            arrays[i] = port_load(&in[i], n, loop->load[i], &raw, &tile[i], &steps[i]);
        loop_tile *result = &tile[CT_LOOP_INPUTS];
        void *target = direct ? ct_cursor_address(&out.cursor) : result->bytes;
        loop->body(loop->user, n, arrays, steps, target);
        if (direct)
            ct_cursor_skip(&out.cursor, n);
        else
            port_store(&out, n, loop->store, result, &raw);
        first += n;
    }
}

void ct_loop_run(ct_context *context, const ct_loop *loop) {
    ct_parallel_ranges(context, loop->count, CT_CHUNK, loop_range, (void *)loop);
}

typedef struct range_work {
    ct_range_task task;
    void *user;
    int64_t count, piece;
} range_work;

static void range_piece(void *user, int64_t index, int worker) {
    const range_work *work = user;
    int64_t first = index * work->piece, last = first + work->piece;
    work->task(work->user, first, last < work->count ? last : work->count, worker);
}

void ct_parallel_ranges(ct_context *context, int64_t count, int64_t piece, ct_range_task task, void *user) {
    if (count <= 0) return;
    if (count <= piece) {
        task(user, 0, count, 0);
        return;
    }
    range_work work = {task, user, count, piece};
    ct_parallel_for(context, (count + piece - 1) / piece, range_piece, &work);
}
