/* corpus_images.c - the images of a recipe with task: images, and what such a recipe may say. */
#include "train/corpus.h"
#include "train/hash.h"
#include "train/recipe.h"
#include <string.h>

static uint64_t hash_images(uint64_t hash, const ct_dataset *images, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        int64_t shape[3];
        int32_t class;
        const uint8_t *pixels = ct_dataset_image(images, i, shape, &class);
        hash = ct_hash_bytes(hash, pixels, (size_t)(shape[0] * shape[1] * shape[2]));
        hash = ct_hash_word(hash, (uint64_t) class);
    }
    return hash;
}

/* The end of the training images, or files of their own. */
static ct_status divide(ct_context *context, const ct_train_data_options *data, ct_corpus *corpus) {
    int64_t count = ct_dataset_tokens(corpus->images), kept = count;
    if (data->validation) {
        corpus->validation = ct_dataset_from_images(context, data->validation, data->validation_labels);
    } else {
        kept = (int64_t)((double)count * (1 - data->validation_fraction) + 0.5);
        if (kept < 1) kept = 1;
        if (kept < count) corpus->validation = ct_dataset_part(corpus->images, kept, count);
    }
    if (!ct_failed(context)) corpus->train = ct_dataset_part(corpus->images, 0, kept);
    return ct_context_status(context);
}

ct_status ct_corpus_read_images(ct_context *context, const ct_train_options *options, ct_corpus *corpus) {
    const ct_train_data_options *data = &options->data;
    corpus->images = ct_dataset_from_images(context, data->train, data->train_labels);
    if (!corpus->images || divide(context, data, corpus) != CT_OK) {
        ct_corpus_free(corpus);
        return ct_context_status(context);
    }
    int64_t kept = ct_dataset_tokens(corpus->train);
    uint64_t hash = ct_hash_word(hash_images(CT_HASH_START, corpus->train, kept), (uint64_t)kept);
    if (corpus->validation)
        hash = hash_images(hash, corpus->validation, ct_dataset_tokens(corpus->validation));
    corpus->text_hash = ct_hash_finish(hash);
    return CT_OK;
}

ct_status ct_corpus_check_images(ct_context *context, const ct_train_options *options,
                                 const ct_corpus *corpus, const ct_model *model) {
    char name[512];
    const ct_train_data_options *data = &options->data;
    snprintf(name, sizeof(name), "data.train: %s", data->train);
    if (ct_images_fit(model, corpus->train, name) != CT_OK || !corpus->validation)
        return ct_context_status(context);
    if (data->validation) snprintf(name, sizeof(name), "data.validation: %s", data->validation);
    return ct_images_fit(model, corpus->validation, name);
}

/* ------------------------------------------------------------------------------------------- the recipe */

static ct_status refuse(ct_context *context, const char *key, const char *why) {
    return ct_fail(context, CT_ERROR_ARGUMENT, "%s: %s", key, why);
}

static ct_status check_without_images(ct_context *context, const ct_train_data_options *data) {
    static const char why[] = "it names the classes of images, the task is not images";
    if (data->train_labels) return refuse(context, "data.train_labels", why);
    if (data->validation_labels) return refuse(context, "data.validation_labels", why);
    return CT_OK;
}

ct_status ct_recipe_check_images(ct_context *context, const ct_train_options *o) {
    static const char text[] = "it is about text, the task is images";
    const ct_train_data_options *data = &o->data;
    ct_train_options plain;
    if (o->task != CT_TASK_IMAGES) return check_without_images(context, data);
    ct_options_default(ct_train_table, &plain);
    if (!data->train || !data->train_labels)
        return refuse(
            context, data->train ? "data.train_labels" : "data.train",
            "expected an IDX file, of images in data.train and of their classes in data.train_labels");
    if (!data->validation != !data->validation_labels)
        return refuse(context, data->validation ? "data.validation_labels" : "data.validation",
                      "expected both data.validation and data.validation_labels, or none of them");
    const struct {
        const char *key;
        bool given;
    } keys[] = {{"tokenizer.kind", o->tokenizer.kind != NULL},
                {"tokenizer.vocab_size", o->tokenizer.vocab_size != plain.tokenizer.vocab_size},
                {"data.field", !data->field || strcmp(data->field, plain.data.field) != 0},
                {"context", o->context != 0},
                {"teacher.path", o->teacher.path != NULL},
                {"watch", o->watch != NULL}};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (keys[i].given) return refuse(context, keys[i].key, text);
    return CT_OK;
}
