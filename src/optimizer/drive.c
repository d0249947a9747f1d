/* drive.c - cuts a parameter into ranges by its shape and runs a function over them: tiles of elements, tiles
 * of whole rows, rows of transposed weights (put together in scratch and taken apart again), or the whole. */
#include "optimizer/drive.h"
#include "tensor/cpu/kernels.h"

enum {
    PACKED_ROWS = 32
}; /* of a transposed weight at once: two lines of the cache from each of its columns */

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

void ct_drive_plan(ct_drive *d) {
    const ct_optimizer_tensor *t = d->tensor;
    int64_t size = t->count, buffers = d->buffers ? 2 : 0;
    d->packed = d->scope == CT_ROW_RANGES && t->transposed;
    if (d->scope == CT_ELEMENTWISE) {
        d->tile = d->most;
        d->chunk = CT_OPTIMIZER_CHUNK;
        for (int p = 0; p < d->plane_count; p++)
            buffers += d->planes[p].narrow != NULL;
    } else if (d->scope == CT_ROW_RANGES) {
        int64_t columns = t->columns > 0 ? t->columns : 1, fit = CT_OPTIMIZER_TILE / columns;
        d->tile = d->packed ? PACKED_ROWS : fit > 1 ? fit : 1;
        d->chunk = CT_OPTIMIZER_CHUNK / columns / d->tile * d->tile;
        if (d->chunk < d->tile) d->chunk = d->tile;
        size = t->rows;
        if (d->packed) buffers += d->plane_count;
    } else {
        d->tile = d->chunk = t->count;
        buffers = 0;
    }
    d->tasks = size > 0 ? (size + d->chunk - 1) / d->chunk : 0;
    int64_t elements = smaller(d->tile, size) * (d->scope == CT_ROW_RANGES ? t->columns : 1);
    d->scratch = (size_t)(buffers * (elements + 16)) * sizeof(float);
}

/* Takes `elements` floats from the scratch. */
static float *take(float **scratch, int64_t elements) {
    float *here = *scratch;
    *scratch += (elements + 15) / 16 * 16;
    return here;
}

static void load(const ct_drive *d, ct_tile *tile, float **scratch) {
    const ct_optimizer_tensor *t = d->tensor;
    for (int p = 0; p < d->plane_count; p++) {
        const ct_plane *plane = &d->planes[p];
        tile->plane[p] = plane->values && !d->packed ? plane->values + tile->offset : NULL;
        if (plane->narrow) {
            tile->plane[p] = take(scratch, tile->count);
            ct_stored_read(plane->narrow, plane->decl, tile->offset, tile->count, tile->plane[p]);
        } else if (plane->values && d->packed) {
            tile->plane[p] = take(scratch, tile->count);
            ct_cpu_kernels()->transpose(sizeof(float), t->columns, tile->rows, plane->values + tile->row,
                                        t->rows, tile->plane[p], t->columns);
        }
    }
}

static void store(const ct_drive *d, const ct_tile *tile) {
    const ct_optimizer_tensor *t = d->tensor;
    for (int p = 0; p < d->plane_count; p++) {
        const ct_plane *plane = &d->planes[p];
        if (!plane->written || !tile->plane[p]) continue;
        if (plane->narrow)
            ct_stored_write(plane->narrow, plane->decl, tile->offset, tile->count, tile->plane[p]);
        else if (d->packed)
            ct_cpu_kernels()->transpose(sizeof(float), tile->rows, t->columns, tile->plane[p], t->columns,
                                        plane->values + tile->row, t->rows);
    }
}

void ct_drive_task(void *user, int64_t number, int worker) {
    ct_drive *d = user;
    int64_t index = d->backwards ? d->tasks - 1 - number : number;
    const ct_optimizer_tensor *t = d->tensor;
    bool by_rows = d->scope == CT_ROW_RANGES;
    int64_t size = by_rows ? t->rows : t->count, first = index * d->chunk,
            end = smaller(first + d->chunk, size);
    for (int64_t at = first; at < end; at += d->tile) {
        float *scratch = d->scratch ? ct_scratch(d->context, worker) : NULL;
        int64_t n = smaller(d->tile, end - at);
        ct_tile tile = {.offset = at, .count = n, .rows = t->rows, .task = index};
        if (by_rows)
            tile = (ct_tile){
                .offset = at * t->columns, .count = n * t->columns, .row = at, .rows = n, .task = index};
        tile.gradient = d->whole_gradient;
        tile.update = d->whole_update;
        if (d->buffers && d->scope != CT_WHOLE_TENSOR) {
            tile.gradient = take(&scratch, tile.count);
            tile.update = take(&scratch, tile.count);
        }
        load(d, &tile, &scratch);
        d->work(d, &tile);
        store(d, &tile);
    }
}

ct_status ct_drive_run(ct_drive *d, ct_tile_work work) {
    d->work = work;
    if (d->scratch && ct_scratch_reserve(d->context, d->scratch) != CT_OK)
        return ct_context_status(d->context);
    if (d->scope != CT_WHOLE_TENSOR)
        ct_parallel_for(d->context, d->tasks, ct_drive_task, d);
    else if (d->tasks) /* on this thread, so that the method can run loops of its own */
        ct_drive_task(d, 0, 0);
    return ct_context_status(d->context);
}
