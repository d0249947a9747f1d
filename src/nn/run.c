/* run.c - a run: how slots resolve to weights through overlays, and how taps see named points. */
#include "nn/run.h"
#include "base/context.h"
#include "nn/rotary.h"
#include <string.h>

struct resolved {
    const ct_slot *slot;
    ct_tensor *tensor; /* held */
};

typedef struct tap_entry {
    char *pattern;
    ct_tap tap;
    void *user;
} tap_entry;

struct ct_run {
    ct_context *context;
    ct_run_options options;
    ct_overlay overlays[16];
    int overlay_count;
    struct resolved *resolved; /* only when there are overlays; found by the slot's address */
    size_t resolved_count, resolved_capacity;
    tap_entry *taps;
    int tap_count;
    ct_kv_cache *cache;
    ct_run_position position;
    ct_tensor *padding; /* borrowed */
    ct_tensor *segments, *segment_mask; /* borrowed; held */
    ct_rotary_memo *rotary;
};

ct_run *ct_run_create(ct_context *context, const ct_run_options *options) {
    ct_run *run = ct_alloc_zero(context, sizeof(*run), CT_MEMORY_OTHER);
    if (!run) return NULL;
    run->context = context;
    if (options) run->options = *options;
    return run;
}

void ct_run_destroy(ct_run *run) {
    if (!run) return;
    ct_run_reset(run);
    ct_run_clear_taps(run);
    ct_drop(run->segment_mask);
    ct_rotary_memo_destroy(run->context, run->rotary);
    ct_free(run->context, run->resolved);
    ct_free(run->context, run);
}

ct_context *ct_run_context(const ct_run *run) {
    return run->context;
}
const ct_run_options *ct_run_options_of(const ct_run *run) {
    return &run->options;
}
void ct_run_set_cache(ct_run *run, ct_kv_cache *cache) {
    run->cache = cache;
}
ct_kv_cache *ct_run_cache(const ct_run *run) {
    return run->cache;
}
ct_run_position *ct_run_position_of(ct_run *run) {
    return &run->position;
}

ct_rotary_memo **ct_run_rotary_memo(ct_run *run) {
    return &run->rotary;
}

void ct_run_set_padding(ct_run *run, ct_tensor *mask) {
    run->padding = mask;
}
ct_tensor *ct_run_padding(const ct_run *run) {
    return run->padding;
}

/* mask[b][0][i][j]: whether i and j are of one sample. */
static ct_tensor *mask_of(ct_tensor *segments) {
    ct_context *context = ct_context_of(segments);
    int64_t batch = ct_dim(segments, 0), time = ct_dim(segments, 1);
    ct_tensor *mask = ct_empty(context, CT_U8, CT_DIMS(batch, 1, time, time));
    uint8_t *out = ct_data_mutable(mask);
    const int32_t *number = ct_data(segments);
    for (int64_t row = 0; out && number && row < batch; row++)
        for (int64_t i = 0; i < time; i++)
            for (int64_t j = 0; j < time; j++)
                out[(row * time + i) * time + j] = number[row * time + i] == number[row * time + j];
    return mask;
}

ct_status ct_run_set_segments(ct_run *run, ct_tensor *segments) {
    ct_drop(run->segment_mask);
    run->segments = run->segment_mask = NULL;
    if (!segments) return ct_context_status(run->context);
    if (ct_ndim(segments) != 2 || ct_dtype_of(segments) != CT_I32) {
        char text[160];
        return ct_fail(run->context, CT_ERROR_SHAPE, "segments: %s, expected i32 [batch, time]",
                       ct_describe(segments, text, sizeof(text)));
    }
    ct_scope scope = ct_scope_open(run->context);
    ct_tensor *mask = mask_of(segments);
    if (!ct_failed(run->context)) {
        run->segments = segments;
        run->segment_mask = mask;
        ct_hold(mask);
    }
    ct_scope_close(run->context, scope);
    return ct_context_status(run->context);
}
ct_tensor *ct_run_segments(const ct_run *run) {
    return run->segments;
}
ct_tensor *ct_run_segment_mask(const ct_run *run) {
    return run->segment_mask;
}

void ct_run_set_rows(ct_run *run, uint64_t step, int64_t first_row) {
    run->position = (ct_run_position){.step = step, .first_row = first_row};
}

/* ------------------------------------------------------------------------------------------ overlays */

void ct_run_reset(ct_run *run) {
    for (size_t i = 0; i < run->resolved_capacity; i++) {
        ct_drop(run->resolved[i].tensor);
        run->resolved[i] = (struct resolved){NULL, NULL};
    }
    run->resolved_count = 0;
}

ct_status ct_run_push_overlay(ct_run *run, const ct_overlay *overlay) {
    int most = (int)(sizeof(run->overlays) / sizeof(run->overlays[0]));
    if (run->overlay_count == most)
        return ct_fail(run->context, CT_ERROR_UNSUPPORTED, "a run has at most %d overlays", most);
    run->overlays[run->overlay_count++] = *overlay;
    ct_run_reset(run);
    return CT_OK;
}

void ct_run_pop_overlay(ct_run *run) {
    if (run->overlay_count) run->overlay_count--;
    ct_run_reset(run);
}

static struct resolved *resolved_place(ct_run *run, const ct_slot *slot) {
    size_t mask = run->resolved_capacity - 1, at = ((uintptr_t)slot >> 6) * 0x9E3779B97F4A7C15u >> 20 & mask;
    while (run->resolved[at].slot && run->resolved[at].slot != slot)
        at = (at + 1) & mask;
    return &run->resolved[at];
}

static bool resolved_grow(ct_run *run) {
    if (2 * (run->resolved_count + 1) <= run->resolved_capacity) return true;
    size_t capacity = run->resolved_capacity ? 2 * run->resolved_capacity : 64, old = run->resolved_capacity;
    struct resolved *before = run->resolved;
    struct resolved *table = ct_alloc_zero(run->context, capacity * sizeof(*table), CT_MEMORY_OTHER);
    if (!table) return false;
    run->resolved = table;
    run->resolved_capacity = capacity;
    for (size_t i = 0; i < old; i++)
        if (before[i].slot) *resolved_place(run, before[i].slot) = before[i];
    ct_free(run->context, before);
    return true;
}

static ct_tensor *resolve_overlays(ct_run *run, const ct_slot *slot) {
    ct_context *context = run->context;
    if (!resolved_grow(run)) return ct_empty(context, CT_F32, slot->ndim, slot->shape);
    struct resolved *place = resolved_place(run, slot);
    if (place->slot) return place->tensor;
    ct_scope scope = ct_scope_open(context);
    ct_tensor *present = slot->parameter ? slot->parameter->tensor : NULL;
    for (int i = 0; i < run->overlay_count; i++)
        present = run->overlays[i].resolve(run->overlays[i].user, run, slot, present);
    ct_hold(present);
    ct_scope_close(context, scope);
    place = resolved_place(run, slot); /* an overlay may have resolved other slots */
    place->slot = slot;
    place->tensor = present;
    run->resolved_count++;
    return present;
}

ct_tensor *ct_run_weight(ct_run *run, const ct_slot *slot) {
    if (!slot) return NULL;
    if (run->overlay_count) return resolve_overlays(run, slot);
    return slot->parameter ? slot->parameter->tensor : NULL;
}

/* ---------------------------------------------------------------------------------------------- taps */

ct_status ct_run_add_tap(ct_run *run, const char *pattern, ct_tap tap, void *user) {
    size_t size = (size_t)(run->tap_count + 1) * sizeof(tap_entry);
    tap_entry *taps = ct_realloc(run->context, run->taps, size, CT_MEMORY_OTHER);
    if (!taps) return CT_ERROR_MEMORY;
    run->taps = taps;
    char *copy = ct_strdup(run->context, pattern);
    if (!copy) return CT_ERROR_MEMORY;
    run->taps[run->tap_count++] = (tap_entry){copy, tap, user};
    return CT_OK;
}

void ct_run_drop_taps(ct_run *run, int count) {
    for (; count > 0 && run->tap_count > 0; count--)
        ct_free(run->context, run->taps[--run->tap_count].pattern);
}

void ct_run_clear_taps(ct_run *run) {
    ct_run_drop_taps(run, run->tap_count);
    ct_free(run->context, run->taps);
    run->taps = NULL;
    run->tap_count = 0;
}

/* `*` is any run of characters; linear time by going back only to the last star. */
bool ct_pattern_matches(const char *pattern, const char *text) {
    const char *star = NULL, *resume = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == 0;
}

static void point_name(const ct_module *module, const char *point, char *name, size_t size) {
    const char *path = ct_module_path(module);
    snprintf(name, size, "%s%s%s", path, *path ? "." : "", point);
}

bool ct_run_tapped(ct_run *run, ct_module *module, const char *point) {
    if (!run->tap_count) return false;
    char name[512];
    point_name(module, point, name, sizeof(name));
    for (int i = 0; i < run->tap_count; i++)
        if (ct_pattern_matches(run->taps[i].pattern, name)) return true;
    return false;
}

ct_tensor *ct_run_point(ct_run *run, ct_module *module, const char *point, ct_tensor *value) {
    if (!run->tap_count || ct_failed(run->context)) return value;
    char name[512];
    point_name(module, point, name, sizeof(name));
    for (int i = 0; i < run->tap_count; i++) {
        if (!ct_pattern_matches(run->taps[i].pattern, name)) continue;
        ct_tensor *replaced = run->taps[i].tap(run->taps[i].user, run, name, value);
        if (!replaced || !ct_same_shape(replaced, value)) {
            ct_fail(run->context, CT_ERROR_SHAPE, "tap on %s: it returned a tensor of another shape", name);
            return value;
        }
        value = replaced;
    }
    return value;
}

/* ------------------------------------------------------------------------------------------- forward */

ct_tensor *ct_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    ct_context *context = run->context;
    ct_scope scope = ct_scope_open(context);
    return ct_scope_return(context, scope, module->kind->forward(run, module, inputs, count));
}

ct_tensor *ct_forward1(ct_run *run, ct_module *module, ct_tensor *input) {
    return ct_forward(run, module, &input, 1);
}

/* The mask of a row is a function of the step, the place in the network and the row's number in the whole
 * batch, not of the micro-batch it travels in. */
ct_tensor *ct_run_dropout(ct_run *run, ct_tensor *x, double probability) {
    if (!run->options.training || probability <= 0) return x;
    ct_run_position *at = &run->position;
    ct_random *base = run->options.random ? run->options.random : ct_default_random(run->context);
    uint64_t place = (at->step << 16) + (uint64_t)at->dropouts++;
    ct_random random = ct_random_make(base->seed, base->stream ^ (place * 0x9E3779B97F4A7C15u));
    int64_t row = ct_ndim(x) ? ct_count(x) / ct_dim(x, 0) : 1;
    random.offset = (uint64_t)(at->first_row * row);
    return ct_dropout(x, probability, &random);
}
