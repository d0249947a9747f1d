/* drive.h - inside optimizer: running a function over all ranges of a parameter. */
#ifndef CARAT_SRC_OPTIMIZER_DRIVE_H
#define CARAT_SRC_OPTIMIZER_DRIVE_H

#include "optimizer/internal.h"

enum { CT_MAX_PLANES = 3 + (1 + CT_MAX_LINKS) * CT_MAX_STATES };
enum { CT_PLANE_WEIGHT, CT_PLANE_RAW, CT_PLANE_GRADIENT, CT_PLANES_FIXED };

/* An array with an element for each of the parameter: f32 values, or a narrow state that is expanded tile by
 * tile. */
typedef struct ct_plane {
    float *values;
    const ct_stored *narrow;
    const ct_state_decl *decl;
    bool written;
} ct_plane;

/* One range, its part of every plane, and room for a scaled gradient and an update. */
typedef struct ct_tile {
    int64_t offset, count, row, rows, task;
    float *plane[CT_MAX_PLANES];
    float *gradient, *update;
} ct_tile;

typedef struct ct_drive ct_drive;
typedef void (*ct_tile_work)(ct_drive *drive, ct_tile *tile);
struct ct_drive {
    ct_context *context;
    const ct_optimizer_tensor *tensor;
    ct_optimizer_scope scope;
    ct_plane planes[CT_MAX_PLANES];
    int plane_count;
    int64_t most;                         /* elements a tile in scope CT_ELEMENTWISE */
    bool buffers;                         /* tiles need `gradient` and `update` */
    float *whole_gradient, *whole_update; /* those of CT_WHOLE_TENSOR */
    /* Set by ct_drive_plan: elements a tile and a task (rows for CT_ROW_RANGES), tasks. */
    int64_t tile, chunk, tasks;
    bool packed;
    bool backwards; /* tasks from the last on: what a pass before has left in the caches is met again */
    size_t scratch; /* bytes a worker */
    ct_tile_work work;
};

/* Cuts the parameter by its shape. */
void ct_drive_plan(ct_drive *drive);
/* Runs `work` over all tiles; within a task in their order. */
ct_status ct_drive_run(ct_drive *drive, ct_tile_work work);
/* One task of a ct_drive whose `work` is set. */
void ct_drive_task(void *drive, int64_t task, int worker);

#endif
