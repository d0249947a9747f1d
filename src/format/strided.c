/* strided.c - gathering a range of a view's elements, in C order, from a source of bytes. */
#include "format/strided.h"
#include <string.h>

#define SCRATCH ((size_t)1 << 20)

void ct_strided_c_order(ct_strided *view) {
    int64_t step = 1;
    for (int d = view->rank - 1; d >= 0; d--) {
        view->stride[d] = step;
        step *= view->shape[d] ? view->shape[d] : 1;
    }
}

void ct_strided_fortran_order(ct_strided *view) {
    int64_t step = 1;
    for (int d = 0; d < view->rank; d++) {
        view->stride[d] = step;
        step *= view->shape[d] ? view->shape[d] : 1;
    }
}

bool ct_strided_is_plain(const ct_strided *view) {
    int64_t step = 1;
    for (int d = view->rank - 1; d >= 0; d--) {
        if (view->shape[d] == 0) return true;
        if (view->shape[d] > 1 && view->stride[d] != step) return false;
        step *= view->shape[d];
    }
    return true;
}

bool ct_strided_extent(const ct_strided *view, uint64_t *extent) {
    int64_t last = (int64_t)view->first, reach;
    if (view->first > INT64_MAX) return false;
    *extent = 0;
    for (int d = 0; d < view->rank; d++)
        if (view->shape[d] == 0) return true;
    for (int d = 0; d < view->rank; d++)
        if (__builtin_mul_overflow(view->shape[d] - 1, view->stride[d], &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return false;
    if (last == INT64_MAX) return false;
    *extent = (uint64_t)last + 1;
    return true;
}

/* ------------------------------------------------------------------------------------------------ boxes */

/* A box of indices: extents, and strides in the source and in the target, dimensions of extent 1 left out and
 * ordered by falling stride in the source, so that walking through it goes forward in the source. */
typedef struct box {
    const ct_strided *view;
    int rank;
    int64_t extent[CT_STRIDED_RANK], from[CT_STRIDED_RANK], to[CT_STRIDED_RANK];
    unsigned char *target;
    unsigned char *scratch; /* NULL until needed */
} box;

#define COPY_OF(size)                                                                                        \
    for (int64_t i = 0; i < count; i++)                                                                      \
    memcpy(to + i * to_step * (size), from + i * from_step * (size), size)

/* Of a size known to the compiler each copy is one instruction. */
static void copy_items(unsigned char *to, int64_t to_step, const unsigned char *from, int64_t from_step,
                       int64_t count, unsigned item) {
    switch (item) {
    case 1:
        COPY_OF(1);
        break;
    case 2:
        COPY_OF(2);
        break;
    case 4:
        COPY_OF(4);
        break;
    case 8:
        COPY_OF(8);
        break;
    default:
        COPY_OF(item);
    }
}

/* `count` elements from `from` on along one dimension. What lies dense enough is read in pieces through the
 * scratch. */
static ct_status read_run(box *b, uint64_t from, int64_t from_step, int64_t to, int64_t to_step,
                          int64_t count) {
    const ct_strided *v = b->view;
    unsigned item = v->item;
    unsigned char *target = b->target + (uint64_t)to * item;
    if (from_step == 1 && to_step == 1) return v->read(v->user, target, from * item, (size_t)count * item);
    if (from_step == 0) {
        ct_status status = v->read(v->user, target, from * item, item);
        if (status == CT_OK)
            copy_items(target + (uint64_t)to_step * item, to_step, target, 0, count - 1, item);
        return status;
    }
    ct_status status = CT_OK;
    if ((uint64_t)from_step * item > 4096) {
        for (int64_t i = 0; i < count && status == CT_OK; i++)
            status = v->read(v->user, target + i * to_step * item, (from + (uint64_t)(i * from_step)) * item,
                             item);
        return status;
    }
    if (!b->scratch && !(b->scratch = ct_alloc(v->context, SCRATCH, CT_MEMORY_WORKSPACE)))
        return ct_context_status(v->context);
    int64_t most = (int64_t)(SCRATCH / item - 1) / from_step + 1;
    for (int64_t at = 0; at < count && status == CT_OK; at += most) {
        int64_t n = count - at < most ? count - at : most;
        size_t bytes = ((size_t)(n - 1) * (size_t)from_step + 1) * item;
        status = v->read(v->user, b->scratch, (from + (uint64_t)(at * from_step)) * item, bytes);
        if (status == CT_OK)
            copy_items(target + at * to_step * item, to_step, b->scratch, from_step, n, item);
    }
    return status;
}

/* The whole box lies within one piece that fits into the scratch: one read, then copies in memory. */
static ct_status read_dense(box *b, uint64_t from, size_t span) {
    const ct_strided *v = b->view;
    int64_t index[CT_STRIDED_RANK] = {0};
    if (!b->scratch && !(b->scratch = ct_alloc(v->context, SCRATCH, CT_MEMORY_WORKSPACE)))
        return ct_context_status(v->context);
    ct_status status = v->read(v->user, b->scratch, from * v->item, span * v->item);
    if (status != CT_OK) return status;
    int inner = b->rank - 1;
    for (;;) {
        int64_t source = 0, target = 0;
        for (int d = 0; d < inner; d++) {
            source += index[d] * b->from[d];
            target += index[d] * b->to[d];
        }
        copy_items(b->target + target * v->item, b->to[inner], b->scratch + source * v->item, b->from[inner],
                   b->extent[inner], v->item);
        int d = inner - 1;
        while (d >= 0 && ++index[d] == b->extent[d])
            index[d--] = 0;
        if (d < 0) return CT_OK;
    }
}

/* The source's stride decides the order; what moves by 0 is read once and repeated, so it stands innermost
 * only when nothing else does. */
static void order_box(box *b) {
    for (int i = 1; i < b->rank; i++)
        for (int j = i; j > 0 && b->from[j] > b->from[j - 1]; j--) {
            int64_t e = b->extent[j], f = b->from[j], t = b->to[j];
            b->extent[j] = b->extent[j - 1], b->from[j] = b->from[j - 1], b->to[j] = b->to[j - 1];
            b->extent[j - 1] = e, b->from[j - 1] = f, b->to[j - 1] = t;
        }
}

static ct_status read_box(box *b, uint64_t from) {
    int64_t index[CT_STRIDED_RANK] = {0};
    uint64_t span = 1, elements = 1;
    order_box(b);
    for (int d = 0; d < b->rank; d++) {
        span += (uint64_t)(b->extent[d] - 1) * (uint64_t)b->from[d];
        elements *= (uint64_t)b->extent[d];
    }
    if (!b->rank) return b->view->read(b->view->user, b->target, from * b->view->item, b->view->item);
    int inner = b->rank - 1;
    bool plain = b->rank == 1 && b->from[0] == 1 && b->to[0] == 1;
    if (!plain && span * b->view->item <= SCRATCH && span / 16 <= elements)
        return read_dense(b, from, (size_t)span);
    for (;;) {
        uint64_t source = from;
        int64_t target = 0;
        for (int d = 0; d < inner; d++) {
            source += (uint64_t)(index[d] * b->from[d]);
            target += index[d] * b->to[d];
        }
        ct_status status = read_run(b, source, b->from[inner], target, b->to[inner], b->extent[inner]);
        if (status != CT_OK) return status;
        int d = inner - 1;
        while (d >= 0 && ++index[d] == b->extent[d])
            index[d--] = 0;
        if (d < 0) return CT_OK;
    }
}

/* ------------------------------------------------------------------------------------------- the ranges */

/* Indices that agree with `index` before dimension `d`, go from `low` to `high` along it, and over all of
 * those after it; their elements lie next to each other in the target. */
static ct_status read_slab(box *b, const int64_t *index, int d, int64_t low, int64_t high) {
    const ct_strided *v = b->view;
    uint64_t from = v->first;
    int64_t step = 1;
    for (int k = 0; k < d; k++)
        from += (uint64_t)(index[k] * v->stride[k]);
    if (d < v->rank) from += (uint64_t)(low * v->stride[d]);
    b->rank = 0;
    for (int k = v->rank - 1; k >= d; k--) {
        int64_t extent = k == d ? high - low : v->shape[k];
        int last = b->rank - 1;
        if (extent > 1) { /* joined with the one inside it where both lie alike */
            if (last >= 0 && b->from[last] * b->extent[last] == v->stride[k] &&
                b->to[last] * b->extent[last] == step) {
                b->extent[last] *= extent;
            } else {
                b->extent[b->rank] = extent, b->from[b->rank] = v->stride[k], b->to[b->rank++] = step;
            }
        }
        step *= extent;
    }
    ct_status status = read_box(b, from);
    b->target += (uint64_t)step * v->item;
    return status;
}

/* Elements [low, high) in C order, as at most two slabs for each dimension. */
static ct_status read_range(box *b, uint64_t low, uint64_t high) {
    const ct_strided *v = b->view;
    ct_status status = CT_OK;
    while (low < high && status == CT_OK) {
        int64_t index[CT_STRIDED_RANK];
        uint64_t inside = 1, rest = low;
        for (int d = v->rank - 1; d >= 0; d--) {
            index[d] = (int64_t)(rest % (uint64_t)v->shape[d]);
            rest /= (uint64_t)v->shape[d];
        }
        /* the outermost dimension along which whole steps begin here and end within the range */
        int d = v->rank;
        while (d > 0 && low % (inside * (uint64_t)v->shape[d - 1]) == 0 &&
               high - low >= inside * (uint64_t)v->shape[d - 1])
            inside *= (uint64_t)v->shape[--d];
        if (d == 0) return read_slab(b, index, 0, 0, v->rank ? v->shape[0] : 1);
        d--;
        uint64_t most = (uint64_t)(v->shape[d] - index[d]), wanted = (high - low) / inside;
        if (wanted > most) wanted = most;
        status = read_slab(b, index, d, index[d], index[d] + (int64_t)wanted);
        low += wanted * inside;
    }
    return status;
}

static void turn(unsigned char *bytes, size_t size, unsigned item) {
    for (size_t at = 0; at + item <= size; at += item)
        for (unsigned i = 0; i < item / 2; i++) {
            unsigned char low = bytes[at + i];
            bytes[at + i] = bytes[at + item - 1 - i];
            bytes[at + item - 1 - i] = low;
        }
}

/* Bytes that are turned together. */
static unsigned unit(const ct_strided *view) {
    return view->halves ? view->item / 2 : view->item;
}

/* One element of which bytes [begin, end) are wanted. */
static ct_status read_part(box *b, uint64_t element, unsigned begin, unsigned end, unsigned char *target) {
    unsigned char bytes[16];
    b->target = bytes;
    ct_status status = read_range(b, element, element + 1);
    if (status == CT_OK && b->view->swapped) turn(bytes, b->view->item, unit(b->view));
    if (status == CT_OK) memcpy(target, bytes + begin, end - begin);
    return status;
}

ct_status ct_strided_read(const ct_strided *view, void *buffer, uint64_t offset, size_t size) {
    box b = {.view = view};
    unsigned item = view->item, skip = (unsigned)(offset % item);
    unsigned char *target = buffer;
    uint64_t element = offset / item;
    ct_status status = CT_OK;
    if (skip && size) {
        unsigned end = size < item - skip ? skip + (unsigned)size : item;
        status = read_part(&b, element++, skip, end, target);
        target += end - skip, size -= end - skip;
    }
    size_t whole = size / item;
    if (whole && status == CT_OK) {
        b.target = target;
        status = read_range(&b, element, element + whole);
        if (status == CT_OK && view->swapped && item > 1) turn(target, whole * item, unit(view));
    }
    if (size % item && status == CT_OK)
        status = read_part(&b, element + whole, 0, (unsigned)(size % item), target + whole * item);
    ct_free(view->context, b.scratch);
    return status;
}
