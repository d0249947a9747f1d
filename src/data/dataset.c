/* dataset.c - a stream of tokens, and training rows that are functions of (seed, index). */
#include "data/image_set.h"
#include "data/phases.h"
#include "data/samples.h"

struct ct_dataset {
    ct_context *context;
    uint16_t *narrow; /* one of these two is owned, unless this is a part of another */
    int32_t *wide;
    bool owns;
    int64_t count, bytes;
    int32_t largest;
    ct_samples *samples; /* owned; NULL: one stream of text, or phases */
    ct_phases *phases;   /* owned; then the dataset holds nothing itself */
    ct_image_set *images; /* owned; the same */
};

static ct_dataset *dataset_new(ct_context *context) {
    ct_dataset *dataset = ct_alloc_zero(context, sizeof(*dataset), CT_MEMORY_OTHER);
    if (dataset) dataset->context = context;
    return dataset;
}

ct_dataset *ct_dataset_from_ids(ct_context *context, const int32_t *ids, size_t count) {
    if (ct_failed(context)) return NULL;
    ct_dataset *dataset = dataset_new(context);
    if (!dataset) return NULL;
    dataset->owns = true;
    dataset->count = (int64_t)count;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] > dataset->largest) dataset->largest = ids[i];
        if (ids[i] < 0) {
            ct_fail(context, CT_ERROR_ARGUMENT, "dataset: the id at position %zu is %d", i, (int)ids[i]);
            ct_dataset_destroy(dataset);
            return NULL;
        }
    }
    bool narrow = dataset->largest <= UINT16_MAX;
    void *memory = ct_alloc(context, count * (narrow ? 2 : 4), CT_MEMORY_OTHER);
    if (!memory) {
        ct_dataset_destroy(dataset);
        return NULL;
    }
    if (narrow) dataset->narrow = memory;
    else dataset->wide = memory;
    for (size_t i = 0; i < count; i++)
        if (narrow) dataset->narrow[i] = (uint16_t)ids[i];
        else dataset->wide[i] = ids[i];
    return dataset;
}

ct_dataset *ct_dataset_from_text(ct_context *context, ct_tokenizer *tokenizer, const char *text, size_t length) {
    ct_ids ids = {0};
    ct_dataset *dataset = NULL;
    if (ct_tokenizer_encode(tokenizer, text, length, CT_ENCODE_PLAIN, &ids) == CT_OK)
        dataset = ct_dataset_from_ids(context, ids.ids, ids.count);
    if (dataset) dataset->bytes = (int64_t)length;
    ct_ids_free(context, &ids);
    return dataset;
}

ct_dataset *ct_dataset_part(ct_dataset *whole, int64_t from, int64_t to) {
    ct_context *context = whole->context;
    if (from < 0 || to < from || to > whole->count) {
        ct_fail(context, CT_ERROR_ARGUMENT, "dataset: part [%lld, %lld) of %lld tokens", (long long)from,
                (long long)to, (long long)whole->count);
        return NULL;
    }
    if (ct_dataset_has_samples(whole)) {
        ct_fail(context, CT_ERROR_ARGUMENT, "dataset: samples have no part that is a stream of tokens");
        return NULL;
    }
    ct_dataset *part = dataset_new(context);
    if (!part) return NULL;
    part->count = to - from;
    if (whole->images) {
        part->images = ct_image_set_part(context, whole->images, from, to);
        part->largest = part->images ? ct_image_set_largest(part->images) : 0;
        if (part->images) return part;
        ct_dataset_destroy(part);
        return NULL;
    }
    part->largest = whole->largest;
    if (whole->narrow) part->narrow = whole->narrow + from;
    if (whole->wide) part->wide = whole->wide + from;
    return part;
}

ct_dataset *ct_dataset_from_samples(ct_context *context, const ct_sample_list *list, int64_t from, int64_t to,
                                    const ct_row_options *options) {
    ct_samples *samples = ct_failed(context) ? NULL : ct_samples_create(context, list, from, to, options);
    size_t first = 0, count = 0;
    for (int64_t i = 0; samples && i < to; i++)
        *(i < from ? &first : &count) += (size_t)list->lengths.ids[i];
    ct_dataset *dataset = samples ? ct_dataset_from_ids(context, list->ids.ids + first, count) : NULL;
    if (dataset)
        dataset->samples = samples;
    else
        ct_samples_destroy(context, samples);
    return dataset;
}

ct_dataset *ct_dataset_phased(ct_context *context, ct_dataset **parts, int count, double replay) {
    ct_phases *phases = ct_phases_create(context, parts, count, replay);
    ct_dataset *dataset = phases ? dataset_new(context) : NULL;
    if (dataset) {
        dataset->phases = phases;
        dataset->count = ct_phases_tokens(phases);
        dataset->largest = ct_phases_largest(phases);
    } else {
        ct_phases_destroy(context, phases);
    }
    return dataset;
}

ct_status ct_dataset_arrange(ct_context *context, ct_dataset *dataset, int64_t steps, int64_t rows) {
    return dataset->phases ? ct_phases_arrange(context, dataset->phases, steps, rows) : CT_OK;
}

int ct_dataset_phase(const ct_dataset *dataset, int64_t step) {
    return dataset && dataset->phases ? ct_phases_at(dataset->phases, step) : 0;
}

ct_dataset *ct_dataset_from_images(ct_context *context, const char *images, const char *labels) {
    ct_image_set *set = ct_failed(context) ? NULL : ct_image_set_read(context, images, labels);
    ct_dataset *dataset = set ? dataset_new(context) : NULL;
    if (!dataset) {
        ct_image_set_destroy(context, set);
        return NULL;
    }
    dataset->images = set;
    dataset->count = ct_image_set_count(set);
    dataset->largest = ct_image_set_largest(set);
    return dataset;
}

bool ct_dataset_has_images(const ct_dataset *dataset) {
    return dataset && dataset->images;
}

const uint8_t *ct_dataset_image(const ct_dataset *dataset, int64_t image, int64_t shape[3], int32_t *class_id) {
    for (int i = 0; i < 3; i++)
        shape[i] = ct_image_set_shape(dataset->images)[i];
    *class_id = ct_image_set_class(dataset->images, image);
    return ct_image_set_pixels(dataset->images, image);
}

const ct_image_set *ct_dataset_images(const ct_dataset *dataset) {
    return dataset->images;
}

bool ct_dataset_has_samples(const ct_dataset *dataset) { return dataset && (dataset->samples || dataset->phases); }

int64_t ct_dataset_drawn(ct_context *context, const ct_dataset *dataset, uint64_t seed, int64_t index) {
    if (dataset->images) return ct_image_set_drawn(dataset->images, seed, index);
    if (dataset->phases) return ct_phases_drawn(context, dataset->phases, seed, index);
    return ct_samples_drawn(context, dataset->samples, seed, index);
}

ct_row_counts ct_dataset_row_counts(const ct_dataset *dataset, int64_t row) {
    if (dataset->phases) dataset = ct_phases_part(dataset->phases, &row);
    return ct_samples_counts(dataset->samples, row);
}

/* Tokens at [start, start + count - 1) are inputs, those one further targets where they have labels. */
static void fill_sample(const ct_dataset *dataset, const ct_sample_place *place, int32_t number, int32_t *ids,
                        int32_t *targets, int32_t *segments, float *shares) {
    for (int64_t t = 0; t + 1 < place->count; t++) {
        bool learnt = ct_samples_labelled(dataset->samples, place->start + t + 1);
        ids[t] = ct_dataset_token(dataset, place->start + t);
        targets[t] = learnt ? ct_dataset_token(dataset, place->start + t + 1) : CT_LABEL_NONE;
        if (segments) segments[t] = number;
        if (shares) shares[t] = learnt ? 1 / (float)place->targets : 0;
    }
}

ct_status ct_dataset_fill_row(ct_context *context, const ct_dataset *dataset, int64_t row, int64_t length,
                              int32_t *ids, int32_t *targets, int32_t *segments, float *shares) {
    if (dataset->phases) dataset = ct_phases_part(dataset->phases, &row);
    ct_row_counts counts = ct_dataset_row_counts(dataset, row);
    if (counts.tokens > length)
        return ct_fail(context, CT_ERROR_ARGUMENT, "dataset: row %lld has %lld tokens, there is room for %lld",
                       (long long)row, (long long)counts.tokens, (long long)length);
    int64_t at = 0;
    for (int64_t i = 0; i < counts.samples; i++) {
        ct_sample_place place = ct_samples_place(dataset->samples, row, i);
        fill_sample(dataset, &place, (int32_t)i, ids + at, targets + at, segments ? segments + at : NULL,
                    shares ? shares + at : NULL);
        at += place.count - 1;
    }
    for (; at < length; at++) {
        ids[at] = 0;
        targets[at] = CT_LABEL_NONE;
        if (segments) segments[at] = -1;
        if (shares) shares[at] = 0;
    }
    return CT_OK;
}

void ct_dataset_destroy(ct_dataset *dataset) {
    if (!dataset) return;
    ct_samples_destroy(dataset->context, dataset->samples);
    ct_phases_destroy(dataset->context, dataset->phases);
    ct_image_set_destroy(dataset->context, dataset->images);
    if (dataset->owns) {
        ct_free(dataset->context, dataset->narrow);
        ct_free(dataset->context, dataset->wide);
    }
    ct_free(dataset->context, dataset);
}

int64_t ct_dataset_tokens(const ct_dataset *dataset) { return dataset->count; }
int64_t ct_dataset_bytes(const ct_dataset *dataset) { return dataset->bytes; }
int32_t ct_dataset_largest(const ct_dataset *dataset) { return dataset->largest; }

int32_t ct_dataset_token(const ct_dataset *dataset, int64_t index) {
    if (dataset->phases) dataset = ct_phases_part_of_token(dataset->phases, &index);
    return dataset->narrow ? dataset->narrow[index] : dataset->wide[index];
}

/* A row needs length + 1 tokens; shifting the windows by less than `length` must leave that many rows in every epoch. */
int64_t ct_dataset_rows(const ct_dataset *dataset, int64_t length) {
    if (dataset->images) return dataset->count;
    if (dataset->phases) return ct_phases_rows(dataset->phases);
    if (dataset->samples) return ct_samples_rows(dataset->samples);
    if (dataset->count < length + 1) return 0;
    int64_t rows = (dataset->count - 1) / length;
    return rows > 1 ? rows - 1 : 1;
}

ct_status ct_dataset_row(ct_context *context, const ct_dataset *dataset, int64_t length, uint64_t seed, int64_t index,
                         int32_t *ids, int32_t *targets) {
    if (ct_dataset_has_samples(dataset)) {
        int64_t row = ct_dataset_drawn(context, dataset, seed, index);
        if (row < 0) return ct_context_status(context);
        return ct_dataset_fill_row(context, dataset, row, length, ids, targets, NULL, NULL);
    }
    int64_t rows = ct_dataset_rows(dataset, length);
    if (rows == 0)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "the text has %lld tokens, a row of %lld tokens and its targets needs %lld",
                       (long long)dataset->count, (long long)length, (long long)(length + 1));
    int64_t epoch = index / rows, within = index % rows;
    uint64_t order = ct_random_stream("data order") + (uint64_t)epoch * 2;
    int64_t slack = dataset->count - 1 - rows * length; /* windows can start anywhere in [0, slack] */
    ct_random shift = ct_random_make(seed, order + 1);
    int64_t start = ct_random_integer(&shift, 0, slack + 1);
    start += ct_random_permuted(seed, order, rows, within) * length;
    for (int64_t t = 0; t < length; t++) {
        ids[t] = ct_dataset_token(dataset, start + t);
        targets[t] = ct_dataset_token(dataset, start + t + 1);
    }
    return CT_OK;
}
