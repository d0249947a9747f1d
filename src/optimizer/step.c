/* step.c - one parameter's step: the chain from gradient to weight. */
#include "optimizer/drive.h"
#include "tensor/cpu/kernels.h"
#include <math.h>
#include <string.h>

/* ct_drive first: tile functions get it and find the step around it. */
typedef struct step {
    ct_drive drive;
    ct_optimizer *optimizer;
    ct_entry *e;
    const ct_optimizer_method *method;
    double rate, decay, scale;
    int plane[1 + CT_MAX_LINKS][CT_MAX_STATES]; /* of states like the parameter; -1: not */
    float *other[1 + CT_MAX_LINKS][CT_MAX_STATES];
    const uint8_t *mask;
    ct_measures measured, *partial; /* partial: one a task, NULL if nothing is measured */
    int pass;
    int member; /* the link at work in `gradient_tile` */
    bool fused, links_update, links_gradient;
    bool reports;              /* ranges tell in the direction what goes into statistics */
    ct_optimizer_scope widest; /* of all that stands in the chain */
    float *memory[2 + CT_PLANES_FIXED + CT_MAX_STATES * (1 + CT_MAX_LINKS)]; /* workspaces to free */
    size_t counted; /* bytes of workspace counted on meta */
    int memories;
} step;

/* ---------------------------------------------------------------------------------------- workspace */

/* `count` floats that are freed at the end of the step; on meta they are only counted. */
static float *workspace(step *s, int64_t count) {
    ct_context *context = s->optimizer->context;
    size_t size = (size_t)count * sizeof(float);
    if (s->e->tensor.meta) {
        ct_memory_count(context, ct_memory_rounded(size), CT_MEMORY_WORKSPACE);
        s->counted += ct_memory_rounded(size);
        return NULL;
    }
    float *made = ct_alloc(context, size, CT_MEMORY_WORKSPACE);
    if (made) s->memory[s->memories++] = made;
    return made;
}

static void release(step *s) {
    while (s->memories > 0)
        ct_free(s->optimizer->context, s->memory[--s->memories]);
    ct_free(s->optimizer->context, s->partial);
    if (s->counted) ct_memory_uncount(s->optimizer->context, s->counted, CT_MEMORY_WORKSPACE);
}

/* Elementwise work on a whole parameter, in parallel: fn(step, offset, count). */
typedef struct piecewise {
    step *s;
    const ct_tile *tile;
    void (*work)(const step *s, const ct_tile *tile, int64_t at, int64_t count);
} piecewise;

static void piece(void *user, int64_t index, int worker) {
    (void)worker;
    const piecewise *p = user;
    int64_t at = index * CT_OPTIMIZER_CHUNK, left = p->tile->count - at;
    p->work(p->s, p->tile, at, left < CT_OPTIMIZER_CHUNK ? left : CT_OPTIMIZER_CHUNK);
}

static void pieces(step *s, const ct_tile *tile,
                   void (*work)(const step *s, const ct_tile *tile, int64_t at, int64_t count)) {
    piecewise p = {s, tile, work};
    if (s->drive.scope == CT_WHOLE_TENSOR)
        ct_parallel_for(s->optimizer->context, (tile->count + CT_OPTIMIZER_CHUNK - 1) / CT_OPTIMIZER_CHUNK,
                        piece, &p);
    else
        work(s, tile, 0, tile->count);
}

/* ------------------------------------------------------------------------------------------- ranges */

static ct_optimizer_range range_of(const step *s, const ct_tile *tile, int m) {
    ct_optimizer_range range = {.options = s->optimizer->members[m].options,
                                .tensor = &s->e->tensor,
                                .step = ct_entry_steps(s->e),
                                .learning_rate = s->rate,
                                .weight_decay = s->decay,
                                .count = tile->count,
                                .offset = tile->offset,
                                .row = tile->row,
                                .rows = tile->rows,
                                .weight = tile->plane[CT_PLANE_WEIGHT],
                                .weight_out = tile->plane[CT_PLANE_WEIGHT],
                                .raw_gradient = tile->plane[CT_PLANE_RAW],
                                .gradient_scale = (float)s->scale,
                                .update = tile->update,
                                .pass = s->pass,
                                .measured = &s->measured,
                                .measure = s->partial && m == 0 ? &s->partial[tile->task] : NULL};
    if (s->drive.scope == CT_WHOLE_TENSOR) range.context = s->optimizer->context;
    for (int i = 0; i < CT_MAX_STATES; i++)
        range.state[i] = s->plane[m][i] >= 0 ? tile->plane[s->plane[m][i]] : s->other[m][i];
    return range;
}

/* Element i of a tile stands here in the parameter as it is stored. */
static int64_t stored_at(const step *s, const ct_tile *tile, int64_t i) {
    const ct_optimizer_tensor *t = &s->e->tensor;
    return s->drive.packed ? i % t->columns * t->rows + tile->row + i / t->columns : tile->offset + i;
}

/* --------------------------------------------------------------------------------- links of the chain */

static bool couples(const step *s) {
    return s->method->decay == CT_DECAY_COUPLED && s->decay != 0;
}

static void scale_piece(const step *s, const ct_tile *tile, int64_t at, int64_t count) {
    const ct_kernels_f32 *k = &ct_cpu_kernels()->f32;
    const float *from = tile->plane[CT_PLANE_GRADIENT];
    float *to = tile->gradient + at;
    if (from)
        memcpy(to, from + at, (size_t)count * sizeof(float));
    else
        k->unary(CT_UNARY_SCALE, count, tile->plane[CT_PLANE_RAW] + at, to, (float)s->scale, 0);
    if (couples(s)) k->axpy(count, (float)s->decay, tile->plane[CT_PLANE_WEIGHT] + at, to);
    for (int64_t i = 0; s->mask && couples(s) && i < count; i++)
        if (!s->mask[stored_at(s, tile, at + i)]) to[i] = 0;
}

/* The gradient as the method sees it: in place where nothing is to be done to it. */
static const float *gradient_of(step *s, const ct_tile *tile) {
    if (!couples(s) && tile->plane[CT_PLANE_GRADIENT]) return tile->plane[CT_PLANE_GRADIENT];
    if (!couples(s) && s->scale == 1) return tile->plane[CT_PLANE_RAW];
    pieces(s, tile, scale_piece);
    return tile->gradient;
}

/* weight = weight (1 - decay) - rate * update, but for frozen elements. */
static void apply_piece(const step *s, const ct_tile *tile, int64_t at, int64_t count) {
    double decay = s->method->decay == CT_DECAY_DECOUPLED ? s->rate * s->decay * s->measured.decay_scale : 0;
    float keep = (float)(1 - decay), rate = (float)s->rate;
    float *weight = tile->plane[CT_PLANE_WEIGHT] + at, *update = tile->update + at;
    if (!s->mask) {
        ct_cpu_kernels()->f32.axpby(count, -rate, update, keep, weight);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        if (s->mask[stored_at(s, tile, at + i)]) weight[i] = fmaf(-rate, update[i], keep * weight[i]);
}

static void chain_tile(ct_drive *drive, ct_tile *tile) {
    step *s = (step *)(void *)drive;
    ct_optimizer_range range = range_of(s, tile, 0);
    if (!s->reports) range.measure = NULL;
    if (s->fused) {
        range.gradient = range.raw_gradient;
        s->method->fused(&range);
        return;
    }
    range.gradient = s->e->tensor.meta ? NULL : gradient_of(s, tile);
    s->method->direction(&range);
    if (s->e->tensor.meta) return;
    for (int m = 1; m < s->optimizer->member_count; m++) {
        if (!s->optimizer->members[m].link->update) continue;
        ct_optimizer_range here = range_of(s, tile, m);
        here.gradient = range.gradient;
        s->optimizer->members[m].link->update(&here);
    }
    pieces(s, tile, apply_piece);
}

static void measure_tile(ct_drive *drive, ct_tile *tile) {
    step *s = (step *)(void *)drive;
    ct_optimizer_range range = range_of(s, tile, 0);
    range.gradient = gradient_of(s, tile);
    s->method->measure(&range);
}

static void gradient_tile(ct_drive *drive, ct_tile *tile) {
    step *s = (step *)(void *)drive;
    ct_optimizer_range range = range_of(s, tile, s->member);
    range.gradient = range.update = tile->plane[CT_PLANE_GRADIENT];
    s->optimizer->members[s->member].link->gradient(&range);
}

/* ------------------------------------------------------------------------------------------ setting up */

static ct_optimizer_scope wider(ct_optimizer_scope a, ct_optimizer_scope b) {
    return a > b ? a : b;
}

static void look_at_links(step *s) {
    s->drive.scope = s->method->scope;
    for (int m = 1; m < s->optimizer->member_count; m++) {
        const ct_link_method *link = s->optimizer->members[m].link;
        s->links_gradient |= link->gradient != NULL;
        s->links_update |= link->update != NULL;
        if (link->update) s->drive.scope = wider(s->drive.scope, link->scope);
        if (link->gradient || link->update) s->widest = wider(s->widest, link->scope);
    }
    s->widest = wider(s->widest, s->drive.scope);
}

/* Widened for the time of the step: narrow states of methods that do not take any range of elements. */
static ct_status add_state(step *s, int m, int i) {
    const ct_stored *stored = &s->e->state[m][i];
    const ct_state_decl *decl = &s->optimizer->members[m].state[i];
    ct_drive *d = &s->drive;
    s->plane[m][i] = -1;
    s->other[m][i] = NULL;
    if (!stored->values) return CT_OK;
    if (decl->shape != CT_LIKE_PARAMETER) {
        s->other[m][i] = ct_stored_values(stored);
        return CT_OK;
    }
    ct_plane *plane = &d->planes[d->plane_count];
    *plane = (ct_plane){.values = ct_stored_values(stored), .decl = decl, .written = true};
    s->plane[m][i] = d->plane_count++;
    if (!ct_stored_narrow(stored)) return CT_OK;
    if (s->widest == CT_ELEMENTWISE) {
        plane->narrow = stored;
        return CT_OK;
    }
    plane->values = workspace(s, s->e->tensor.count);
    if (!plane->values) return ct_context_status(s->optimizer->context);
    return CT_OK;
}

typedef struct widening {
    const ct_stored *stored;
    const ct_state_decl *decl;
    float *values;
    int64_t count;
    bool back;
} widening;

static void widen_piece(void *user, int64_t index, int worker) {
    (void)worker;
    const widening *w = user;
    int64_t at = index * CT_OPTIMIZER_CHUNK, left = w->count - at;
    int64_t n = left < CT_OPTIMIZER_CHUNK ? left : CT_OPTIMIZER_CHUNK;
    if (w->back)
        ct_stored_write(w->stored, w->decl, at, n, w->values + at);
    else
        ct_stored_read(w->stored, w->decl, at, n, w->values + at);
}

/* Between narrow states and their workspaces. */
static void widen(step *s, bool back) {
    for (int m = 0; m < s->optimizer->member_count; m++)
        for (int i = 0; i < s->optimizer->members[m].states; i++) {
            const ct_stored *stored = &s->e->state[m][i];
            if (s->plane[m][i] < 0 || !ct_stored_narrow(stored) || s->drive.planes[s->plane[m][i]].narrow)
                continue;
            widening w = {stored, &s->optimizer->members[m].state[i], s->drive.planes[s->plane[m][i]].values,
                          s->e->tensor.count, back};
            ct_parallel_for(s->optimizer->context, (w.count + CT_OPTIMIZER_CHUNK - 1) / CT_OPTIMIZER_CHUNK,
                            widen_piece, &w);
        }
}

/* With a mask the gradient of frozen elements is 0 everywhere. */
static ct_status mask_gradient(step *s, const float *raw) {
    int64_t count = s->e->tensor.count;
    float *masked = workspace(s, count);
    if (!masked) return ct_context_status(s->optimizer->context);
    for (int64_t i = 0; i < count; i++)
        masked[i] = s->mask[i] ? raw[i] : 0;
    s->drive.planes[CT_PLANE_RAW].values = masked;
    return CT_OK;
}

static ct_status set_up(step *s, ct_tensor *gradient) {
    ct_entry *e = s->e;
    ct_drive *d = &s->drive;
    ct_context *context = s->optimizer->context;
    d->context = context;
    d->tensor = &e->tensor;
    look_at_links(s);
    d->plane_count = CT_PLANES_FIXED;
    d->planes[CT_PLANE_WEIGHT] = (ct_plane){.values = ct_data_mutable(e->parameter->tensor), .written = true};
    d->planes[CT_PLANE_RAW] = (ct_plane){.values = (float *)(uintptr_t)ct_data(gradient)};
    d->planes[CT_PLANE_GRADIENT] = (ct_plane){.written = true};
    for (int m = 0; m < s->optimizer->member_count; m++)
        for (int i = 0; i < CT_MAX_STATES; i++) {
            s->plane[m][i] = -1;
            if (i < s->optimizer->members[m].states && add_state(s, m, i) != CT_OK)
                return ct_context_status(context);
        }
    if (s->mask && !e->tensor.meta && mask_gradient(s, ct_data(gradient)) != CT_OK) return CT_ERROR_MEMORY;
    if (s->links_gradient) d->planes[CT_PLANE_GRADIENT].values = workspace(s, e->tensor.count);
    d->buffers = true;
    if (d->scope == CT_WHOLE_TENSOR) {
        if (couples(s) || (s->scale != 1 && !s->links_gradient) || e->tensor.meta)
            d->whole_gradient = workspace(s, e->tensor.count);
        d->whole_update = workspace(s, e->tensor.count);
    }
    d->most = CT_OPTIMIZER_TILE;
    ct_drive_plan(d);
    s->reports = s->optimizer->record && s->method->report && !s->method->measure;
    if ((s->method->measure || s->reports) && d->tasks > 0)
        s->partial = ct_alloc(context, (size_t)d->tasks * sizeof(*s->partial), CT_MEMORY_WORKSPACE);
    return ct_context_status(context);
}

/* -------------------------------------------------------------------------------------------- running */

static const ct_measures nothing = {.greatest = {-INFINITY, -INFINITY}, .decay_scale = 1, .fused = true};

static void clear_partial(step *s) {
    for (int64_t t = 0; s->partial && t < s->drive.tasks; t++)
        s->partial[t] = nothing;
}

/* What the tasks measured, in their order. */
static void combine(step *s) {
    for (int i = 0; i < 4; i++)
        s->measured.sum[i] = 0;
    for (int i = 0; i < 2; i++)
        s->measured.greatest[i] = -INFINITY;
    for (int64_t t = 0; s->partial && t < s->drive.tasks; t++) {
        for (int i = 0; i < 4; i++)
            s->measured.sum[i] += s->partial[t].sum[i];
        for (int i = 0; i < 2; i++)
            s->measured.greatest[i] = fmax(s->measured.greatest[i], s->partial[t].greatest[i]);
    }
}

static ct_tile whole_tile(const step *s) {
    ct_tile tile = {.count = s->e->tensor.count, .rows = s->e->tensor.rows};
    for (int p = 0; p < s->drive.plane_count; p++)
        tile.plane[p] = s->drive.planes[p].values;
    return tile;
}

static ct_status measure(step *s) {
    ct_tile tile = whole_tile(s);
    ct_optimizer_range whole = range_of(s, &tile, 0);
    whole.measure = NULL;
    for (s->pass = 0; s->method->decide(&whole, s->pass, &s->measured); s->pass++) {
        clear_partial(s);
        s->drive.backwards = s->pass % 2 == 1;
        if (ct_drive_run(&s->drive, measure_tile) != CT_OK) break;
        combine(s);
        s->drive.backwards = !s->drive.backwards;
    }
    return ct_context_status(s->optimizer->context);
}

static void copy_scaled_piece(const step *s, const ct_tile *tile, int64_t at, int64_t count) {
    ct_cpu_kernels()->f32.unary(CT_UNARY_SCALE, count, tile->plane[CT_PLANE_RAW] + at,
                                tile->plane[CT_PLANE_GRADIENT] + at, (float)s->scale, 0);
}

/* Gradient links are run once, each in its own scope, over a copy of the gradient. */
static ct_status run_gradient_links(step *s) {
    ct_drive *d = &s->drive;
    ct_optimizer_scope scope = d->scope;
    ct_tile tile = whole_tile(s);
    d->scope = CT_WHOLE_TENSOR; /* `pieces` in parallel */
    pieces(s, &tile, copy_scaled_piece);
    d->buffers = false;
    for (s->member = 1; s->member < s->optimizer->member_count; s->member++) {
        const ct_link_method *link = s->optimizer->members[s->member].link;
        if (!link->gradient) continue;
        d->scope = link->scope;
        ct_drive_plan(d);
        if (ct_drive_run(d, gradient_tile) != CT_OK) break;
    }
    d->scope = scope;
    d->buffers = true;
    ct_drive_plan(d);
    return ct_context_status(s->optimizer->context);
}

static ct_status run_on_meta(step *s) {
    if (s->drive.scratch) ct_scratch_reserve(s->optimizer->context, s->drive.scratch);
    if (s->method->on_meta && s->drive.scope == CT_WHOLE_TENSOR) ct_drive_run(&s->drive, chain_tile);
    return ct_context_status(s->optimizer->context);
}

/* Steps of small parameters, one task each, that are run together: alone each would leave the other threads
 * idle. */
enum { WAITING = 24 };
struct ct_waiting_steps {
    int count;
    step steps[WAITING];
};

size_t ct_waiting_steps_bytes(void) {
    return sizeof(ct_waiting_steps);
}

static void waiting_task(void *user, int64_t index, int worker) {
    ct_drive_task(&((ct_waiting_steps *)user)->steps[index].drive, 0, worker);
}

ct_status ct_run_waiting_steps(ct_context *context, ct_waiting_steps *waiting) {
    ct_parallel_for(context, waiting->count, waiting_task, waiting);
    waiting->count = 0;
    return ct_context_status(context);
}

/* A step whose only task needs neither scratch nor anything afterwards. */
static bool can_wait(const step *s, const ct_waiting_steps *waiting) {
    return waiting && s->fused && s->drive.scope == CT_ELEMENTWISE && s->drive.tasks == 1 &&
           !s->drive.scratch && !s->memories && !s->partial && !s->optimizer->record;
}

static ct_status wait_or_run(step *s, ct_waiting_steps *waiting) {
    if (!can_wait(s, waiting)) return ct_drive_run(&s->drive, chain_tile);
    s->drive.work = chain_tile;
    waiting->steps[waiting->count++] = *s;
    return waiting->count < WAITING ? CT_OK : ct_run_waiting_steps(s->optimizer->context, waiting);
}

static ct_status run(step *s, ct_waiting_steps *waiting) {
    if (s->e->tensor.meta) return run_on_meta(s);
    widen(s, false);
    if (s->links_gradient && run_gradient_links(s) != CT_OK) return ct_context_status(s->optimizer->context);
    if (s->method->decide && measure(s) != CT_OK) return ct_context_status(s->optimizer->context);
    s->fused = s->method->fused && s->measured.fused && !s->links_gradient && !s->links_update && !s->mask;
    s->pass = -1;
    if (s->reports) clear_partial(s);
    if (s->fused &&
        s->drive.scope == CT_ELEMENTWISE) { /* no buffers needed: whole tasks, unless states are narrow */
        s->drive.buffers = false;
        bool narrow = false;
        for (int p = 0; p < s->drive.plane_count; p++)
            narrow |= s->drive.planes[p].narrow != NULL;
        if (!narrow) s->drive.most = CT_OPTIMIZER_CHUNK;
        ct_drive_plan(&s->drive);
    }
    wait_or_run(s, waiting);
    widen(s, true);
    if (s->reports) combine(s);
    return ct_context_status(s->optimizer->context);
}

/* ----------------------------------------------------------------------------------------- statistics */

static double norm(const float *values, int64_t count) {
    return sqrt(ct_cpu_kernels()->f32.reduce(CT_REDUCE_SUM_SQUARES, count, values, 0));
}

/* `before`: a copy of the weight, overwritten. */
static void report(step *s, float *before) {
    ct_tile tile = whole_tile(s);
    ct_optimizer_range whole = range_of(s, &tile, 0);
    double *values = s->e->statistics, length = norm(before, tile.count);
    whole.measure = NULL;
    values[0] = norm(whole.weight, tile.count);
    ct_cpu_kernels()->f32.binary(CT_BINARY_SUB, tile.count, whole.weight, 1, before, 1, before);
    values[1] = length > 0 ? norm(before, tile.count) / length : NAN;
    if (s->method->report) s->method->report(&whole, values + s->optimizer->members[0].first_statistic);
}

ct_status ct_entry_step(ct_optimizer *optimizer, ct_entry *e, double learning_rate, double gradient_scale,
                        ct_waiting_steps *waiting) {
    ct_context *context = optimizer->context;
    ct_tensor *gradient = ct_gradient(e->parameter->tensor);
    if (!e->tensor.meta && (ct_dtype_of(gradient) != CT_F32 || !ct_is_contiguous(gradient)))
        return ct_fail(context, CT_ERROR_TYPE, "optimizer: the gradient of \"%s\" is not contiguous f32",
                       e->parameter->name);
    step s = {
        .optimizer = optimizer, .e = e, .method = optimizer->members[0].optimizer, .scale = gradient_scale};
    s.rate = ct_entry_rate(e, learning_rate);
    s.decay = ct_entry_decay(e);
    s.mask = e->mask ? ct_data(e->mask) : NULL;
    s.measured = nothing;
    int64_t *steps = ct_data_mutable(e->steps);
    if (steps) ++*steps;
    float *before = NULL;
    if (optimizer->record && !e->tensor.meta && (before = workspace(&s, e->tensor.count)))
        memcpy(before, ct_data(e->parameter->tensor), (size_t)e->tensor.count * sizeof(float));
    if (!ct_failed(context) && set_up(&s, gradient) == CT_OK && run(&s, waiting) == CT_OK && before &&
        e->statistics)
        report(&s, before);
    release(&s);
    return ct_context_status(context);
}
