/* phases.c - a run over several datasets of samples, one after the other, with some rows of earlier ones
 * among those of later ones (replay).
 *
 * A run of S steps of R rows gives phase i a share of the steps as large as its share of all rows. Of the j
 * rows that a later phase has drawn, floor(j replay) are from the phases before: these go through them in an
 * order of their own. So the row of any index is a function of the seed alone. */
#include "data/phases.h"

struct ct_phases {
    int count;
    ct_dataset **parts;
    int64_t *first_row, *first_token; /* [count + 1] */
    int64_t *first_step;              /* [count] */
    int64_t rows;                     /* of a step */
    double replay;
};

void ct_phases_destroy(ct_context *context, ct_phases *p) {
    if (!p) return;
    for (int i = 0; p->parts && i < p->count; i++)
        ct_dataset_destroy(p->parts[i]);
    ct_free(context, p->parts);
    ct_free(context, p->first_row);
    ct_free(context, p->first_token);
    ct_free(context, p->first_step);
    ct_free(context, p);
}

static ct_status fill(ct_context *context, ct_phases *p, ct_dataset **parts) {
    for (int i = 0; i < p->count; i++) {
        if (parts[i] && !ct_dataset_has_samples(parts[i]))
            return ct_fail(context, CT_ERROR_ARGUMENT, "dataset: phase %d is a stream of text, not samples",
                           i);
        p->parts[i] = parts[i];
        p->first_row[i + 1] = p->first_row[i] + (parts[i] ? ct_dataset_rows(parts[i], 0) : 0);
        p->first_token[i + 1] = p->first_token[i] + (parts[i] ? ct_dataset_tokens(parts[i]) : 0);
    }
    return ct_phases_arrange(context, p, p->first_row[p->count], 1);
}

ct_phases *ct_phases_create(ct_context *context, ct_dataset **parts, int count, double replay) {
    size_t places = (size_t)count + 1;
    ct_phases *p = ct_failed(context) ? NULL : ct_alloc_zero(context, sizeof(*p), CT_MEMORY_OTHER);
    if (p) {
        p->count = count;
        p->replay = replay;
        p->parts = ct_alloc_zero(context, places * sizeof(ct_dataset *), CT_MEMORY_OTHER);
        p->first_row = ct_alloc_zero(context, places * sizeof(int64_t), CT_MEMORY_OTHER);
        p->first_token = ct_alloc_zero(context, places * sizeof(int64_t), CT_MEMORY_OTHER);
        p->first_step = ct_alloc_zero(context, places * sizeof(int64_t), CT_MEMORY_OTHER);
        if (p->parts && p->first_row && p->first_token && p->first_step && fill(context, p, parts) == CT_OK)
            return p;
    }
    for (int i = 0; i < count; i++)
        if (!p || !p->parts || p->parts[i] != parts[i]) ct_dataset_destroy(parts[i]);
    ct_phases_destroy(context, p);
    return NULL;
}

ct_status ct_phases_arrange(ct_context *context, ct_phases *p, int64_t steps, int64_t rows) {
    double all = (double)p->first_row[p->count];
    if (steps < p->count)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "phases: %lld steps for %d phases, expected one each at least", (long long)steps,
                       p->count);
    p->rows = rows;
    for (int i = 1; i < p->count; i++) {
        int64_t first = (int64_t)((double)steps * ((double)p->first_row[i] / all) + 0.5);
        if (first <= p->first_step[i - 1]) first = p->first_step[i - 1] + 1;
        if (first > steps - (p->count - i)) first = steps - (p->count - i);
        p->first_step[i] = first;
    }
    return CT_OK;
}

int ct_phases_at(const ct_phases *p, int64_t step) {
    int phase = 0;
    while (phase + 1 < p->count && p->first_step[phase + 1] <= step)
        phase++;
    return phase;
}

int64_t ct_phases_rows(const ct_phases *p) {
    return p->first_row[p->count];
}
int64_t ct_phases_tokens(const ct_phases *p) {
    return p->first_token[p->count];
}
int32_t ct_phases_largest(const ct_phases *p) {
    int32_t largest = 0;
    for (int i = 0; i < p->count; i++)
        if (ct_dataset_largest(p->parts[i]) > largest) largest = ct_dataset_largest(p->parts[i]);
    return largest;
}

/* Row `slot` of what a phase repeats of the `earlier` rows before it: each once, then anew in another order.
 */
static int64_t replayed(uint64_t seed, int phase, int64_t slot, int64_t earlier) {
    uint64_t stream = ct_random_stream("replay") + ((uint64_t)phase << 40) + (uint64_t)(slot / earlier);
    return ct_random_permuted(seed, stream, earlier, slot % earlier);
}

int64_t ct_phases_drawn(ct_context *context, const ct_phases *p, uint64_t seed, int64_t index) {
    int phase = ct_phases_at(p, index / p->rows);
    int64_t within = index - p->first_step[phase] * p->rows;
    if (phase > 0) {
        int64_t before = (int64_t)((double)within * p->replay),
                with = (int64_t)((double)(within + 1) * p->replay);
        if (with > before) return replayed(seed, phase, before, p->first_row[phase]);
        within -= before;
    }
    int64_t row = ct_dataset_drawn(context, p->parts[phase], seed, within);
    return row < 0 ? row : p->first_row[phase] + row;
}

static int part_at(const ct_phases *p, const int64_t *first, int64_t *at) {
    int part = 0;
    while (part + 1 < p->count && first[part + 1] <= *at)
        part++;
    *at -= first[part];
    return part;
}

const ct_dataset *ct_phases_part(const ct_phases *p, int64_t *row) {
    return p->parts[part_at(p, p->first_row, row)];
}
const ct_dataset *ct_phases_part_of_token(const ct_phases *p, int64_t *index) {
    return p->parts[part_at(p, p->first_token, index)];
}
