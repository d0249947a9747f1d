/* samples.c - rows of samples: packed best fit, the longest first, or one sample a row; the order of an
 * epoch. */
#include "data/samples.h"
#include <stdlib.h>
#include <string.h>

/* Rows of similar length are found among so many that follow each other in an epoch's order. */
enum { LENGTH_GROUP = 512 };

struct ct_samples {
    int64_t count, rows, row_length;
    bool grouped;
    uint8_t *labelled;  /* [tokens] */
    int64_t *start;     /* [count + 1] first token of each */
    int64_t *targets;   /* [count] */
    int64_t *items;     /* [count] samples in the order of rows */
    int64_t *row_first; /* [rows + 1] into items */
    int64_t *order;     /* [rows] of the epoch below */
    bool ordered;
    uint64_t seed;
    int64_t epoch;
};

void ct_samples_destroy(ct_context *context, ct_samples *s) {
    if (!s) return;
    ct_free(context, s->labelled);
    ct_free(context, s->start);
    ct_free(context, s->targets);
    ct_free(context, s->items);
    ct_free(context, s->row_first);
    ct_free(context, s->order);
    ct_free(context, s);
}

static int64_t *numbers(ct_context *context, int64_t count) {
    return ct_alloc_zero(context, (size_t)count * sizeof(int64_t), CT_MEMORY_OTHER);
}

/* ------------------------------------------------------------------------------------------- packing */

typedef struct measured {
    int64_t length, index;
} measured;

static int by_length(const void *a, const void *b) {
    const measured *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Places that a sample takes: its last token is only a target. */
static int64_t places(const ct_samples *s, int64_t sample) {
    return s->start[sample + 1] - s->start[sample] - 1;
}

/* Lists of rows by what is left in them, and of the samples of a row, as linked arrays; -1 ends. */
typedef struct packer {
    measured *sorted;     /* [count] */
    int64_t *with_room;   /* [row_length + 1] first row with so much room */
    int64_t *next_row;    /* [count] of the same room */
    int64_t *first_item;  /* [count] of a row, the last placed */
    int64_t *next_item;   /* [count] */
    int64_t *row_samples; /* [count] */
} packer;

static bool packer_make(ct_context *context, const ct_samples *s, packer *p) {
    *p = (packer){ct_alloc_zero(context, (size_t)s->count * sizeof(measured), CT_MEMORY_OTHER),
                  numbers(context, s->row_length + 1),
                  numbers(context, s->count),
                  numbers(context, s->count),
                  numbers(context, s->count),
                  numbers(context, s->count)};
    if (!p->sorted || !p->with_room || !p->next_row || !p->first_item || !p->next_item || !p->row_samples)
        return false;
    for (int64_t i = 0; i <= s->row_length; i++)
        p->with_room[i] = -1;
    for (int64_t i = 0; i < s->count; i++)
        p->sorted[i] = (measured){places(s, i), i};
    qsort(p->sorted, (size_t)s->count, sizeof(measured), by_length);
    return true;
}

static void packer_free(ct_context *context, packer *p) {
    ct_free(context, p->sorted);
    ct_free(context, p->with_room);
    ct_free(context, p->next_row);
    ct_free(context, p->first_item);
    ct_free(context, p->next_item);
    ct_free(context, p->row_samples);
}

/* Best fit decreasing: each sample, from the longest on, goes into the row that it fills most (Johnson, 1974;
 * for training: Ding et al., arXiv:2404.10830). */
static int64_t place_all(const ct_samples *s, packer *p) {
    int64_t rows = 0;
    for (int64_t k = s->count - 1; k >= 0; k--) {
        int64_t need = p->sorted[k].length, room = need, sample = p->sorted[k].index, row;
        while (room <= s->row_length && p->with_room[room] < 0)
            room++;
        if (room > s->row_length) {
            row = rows++;
            room = s->row_length;
            p->first_item[row] = -1;
        } else {
            row = p->with_room[room];
            p->with_room[room] = p->next_row[row];
        }
        p->next_item[sample] = p->first_item[row];
        p->first_item[row] = sample;
        p->row_samples[row]++;
        p->next_row[row] = p->with_room[room - need];
        p->with_room[room - need] = row;
    }
    return rows;
}

static ct_status pack(ct_context *context, ct_samples *s) {
    packer p;
    if (packer_make(context, s, &p)) {
        s->rows = place_all(s, &p);
        for (int64_t row = 0; row < s->rows; row++) {
            int64_t at = s->row_first[row + 1] = s->row_first[row] + p.row_samples[row];
            for (int64_t item = p.first_item[row]; item >= 0; item = p.next_item[item])
                s->items[--at] = item;
        }
    }
    packer_free(context, &p);
    return ct_context_status(context);
}

/* ------------------------------------------------------------------------------------------- making */

static ct_status check(ct_context *context, const ct_sample_list *list, int64_t from, int64_t to,
                       const ct_row_options *options) {
    if (from < 0 || from >= to || to > (int64_t)list->lengths.count)
        return ct_fail(context, CT_ERROR_ARGUMENT, "dataset: samples [%lld, %lld) of %zu", (long long)from,
                       (long long)to, list->lengths.count);
    if (options->row_length < 1)
        return ct_fail(context, CT_ERROR_ARGUMENT, "dataset: rows of %lld tokens",
                       (long long)options->row_length);
    for (int64_t i = from; i < to; i++) {
        int64_t length = list->lengths.ids[i];
        if (length < 2 || length - 1 > options->row_length)
            return ct_fail(
                context, CT_ERROR_ARGUMENT,
                "dataset: sample %lld has %lld tokens, expected 2 to %lld: a row of %lld and a last target",
                (long long)i, (long long)length, (long long)options->row_length + 1,
                (long long)options->row_length);
    }
    return CT_OK;
}

static bool copy_labels(ct_samples *s, const ct_sample_list *list, int64_t from) {
    int64_t base = 0;
    for (int64_t i = 0; i < from; i++)
        base += list->lengths.ids[i];
    for (int64_t i = 0; i < s->count; i++) {
        s->start[i + 1] = s->start[i] + list->lengths.ids[from + i];
        for (int64_t t = s->start[i] + 1; t < s->start[i + 1]; t++) { /* nothing predicts the first token */
            s->labelled[t] = list->labels.ids[base + t] != CT_LABEL_NONE;
            s->targets[i] += s->labelled[t];
        }
        if (s->targets[i] == 0) return false;
    }
    return true;
}

ct_samples *ct_samples_create(ct_context *context, const ct_sample_list *list, int64_t from, int64_t to,
                              const ct_row_options *options) {
    if (check(context, list, from, to, options) != CT_OK) return NULL;
    ct_samples *s = ct_alloc_zero(context, sizeof(*s), CT_MEMORY_OTHER);
    if (!s) return NULL;
    int64_t tokens = 0;
    for (int64_t i = from; i < to; i++)
        tokens += list->lengths.ids[i];
    s->count = s->rows = to - from;
    s->row_length = options->row_length;
    s->grouped = options->group_by_length && !options->packing;
    s->labelled = ct_alloc_zero(context, (size_t)tokens, CT_MEMORY_OTHER);
    s->start = numbers(context, s->count + 1);
    s->targets = numbers(context, s->count);
    s->items = numbers(context, s->count);
    s->row_first = numbers(context, s->count + 1);
    if (s->labelled && s->start && s->targets && s->items && s->row_first) {
        if (!copy_labels(s, list, from))
            ct_fail(context, CT_ERROR_ARGUMENT, "dataset: a sample has no token that is to be learnt");
        for (int64_t i = 0; i < s->count; i++) {
            s->items[i] = i;
            s->row_first[i + 1] = i + 1;
        }
        if (options->packing && !ct_failed(context)) pack(context, s);
        s->order = numbers(context, s->rows);
    }
    if (!ct_failed(context)) return s;
    ct_samples_destroy(context, s);
    return NULL;
}

/* -------------------------------------------------------------------------------------------- rows */

int64_t ct_samples_rows(const ct_samples *s) {
    return s->rows;
}
bool ct_samples_labelled(const ct_samples *s, int64_t index) {
    return s->labelled[index];
}

ct_sample_place ct_samples_place(const ct_samples *s, int64_t row, int64_t index) {
    int64_t sample = s->items[s->row_first[row] + index];
    return (ct_sample_place){s->start[sample], s->start[sample + 1] - s->start[sample], s->targets[sample]};
}

ct_row_counts ct_samples_counts(const ct_samples *s, int64_t row) {
    ct_row_counts counts = {.samples = s->row_first[row + 1] - s->row_first[row]};
    for (int64_t i = 0; i < counts.samples; i++) {
        ct_sample_place place = ct_samples_place(s, row, i);
        counts.tokens += place.count - 1;
        counts.targets += place.targets;
    }
    return counts;
}

/* The order of one epoch is kept: the rows of a step are nearly always of the same. */
static ct_status make_order(ct_context *context, ct_samples *s, uint64_t seed, int64_t epoch) {
    uint64_t stream = ct_random_stream("order of samples") + (uint64_t)epoch;
    measured *group = ct_alloc(context, LENGTH_GROUP * sizeof(*group), CT_MEMORY_OTHER);
    if (!group) return CT_ERROR_MEMORY;
    for (int64_t i = 0; i < s->rows; i++)
        s->order[i] = ct_random_permuted(seed, stream, s->rows, i);
    for (int64_t first = 0; s->grouped && first < s->rows; first += LENGTH_GROUP) {
        int64_t count = s->rows - first < LENGTH_GROUP ? s->rows - first : LENGTH_GROUP;
        for (int64_t i = 0; i < count; i++)
            group[i] = (measured){places(s, s->order[first + i]), s->order[first + i]};
        qsort(group, (size_t)count, sizeof(*group), by_length);
        for (int64_t i = 0; i < count; i++)
            s->order[first + i] = group[i].index;
    }
    ct_free(context, group);
    s->seed = seed;
    s->epoch = epoch;
    s->ordered = true;
    return CT_OK;
}

int64_t ct_samples_drawn(ct_context *context, ct_samples *s, uint64_t seed, int64_t index) {
    int64_t epoch = index / s->rows;
    bool known = s->ordered && s->seed == seed && s->epoch == epoch;
    if (!known && make_order(context, s, seed, epoch) != CT_OK) return -1;
    return s->order[index % s->rows];
}
