/* corpus.c - text from files, divided into training and validation, tokenized. */
#include "train/corpus.h"
#include "train/hash.h"
#include "train/teacher.h"
#include <string.h>

enum { NEAR_NEWLINE = 4096 };

/* Where the held-out part begins: at a line's beginning if one is near, else at a character's. */
static size_t division(const ct_bytes *text, double fraction) {
    size_t at = (size_t)((double)text->length * (1 - fraction));
    if (at > text->length) at = text->length;
    for (size_t i = at; i < text->length && i < at + NEAR_NEWLINE; i++)
        if (text->data[i] == '\n') return i + 1;
    while (at < text->length && ((unsigned char)text->data[at] & 0xC0u) == 0x80u)
        at++;
    return at;
}

typedef struct texts {
    ct_bytes train, validation; /* validation: empty if it is a part of train */
    size_t train_length;        /* of train, before the held-out part */
    bool separate;
} texts;

static void texts_free(ct_context *context, texts *t) {
    ct_bytes_free(context, &t->train);
    ct_bytes_free(context, &t->validation);
}

size_t ct_corpus_source_count(const ct_train_options *options) {
    return options->phases ? ct_value_count(options->phases) : 1;
}
const char *ct_corpus_source(const ct_train_options *options, size_t index) {
    return options->phases ? ct_value_as_string(ct_value_at(options->phases, index), "") : options->data.train;
}
const char *ct_corpus_source_key(const ct_train_options *options) {
    return options->phases ? "phases" : "data.train";
}

char *ct_corpus_chat_folder(ct_context *context, const ct_train_options *options) {
    const char *kind = options->tokenizer.kind, *from = ct_value_as_string(ct_value_get(options->model, "path"), NULL);
    if (kind && (ct_file_exists(kind) || ct_folder_exists(kind) || strchr(kind, '/'))) from = kind;
    if (!options->sft.chat_template || strcmp(options->sft.chat_template, "model") != 0) return NULL;
    if (from) return ct_file_exists(from) ? ct_strdup(context, from) : ct_model_resolve(context, from);
    ct_fail(context, CT_ERROR_ARGUMENT,
            "chat_template: model is what a folder carries; expected one in model.path or tokenizer.kind");
    return NULL;
}

/* Dialogues are read as the text that their template makes of them. */
static ct_status read_text(ct_context *context, const ct_train_options *options, const char *path, ct_bytes *text) {
    if (options->task != CT_TASK_SFT) return ct_text_read(context, path, options->data.field, text);
    ct_sft_options sft = options->sft;
    char *folder = ct_corpus_chat_folder(context, options);
    sft.folder = folder;
    ct_sft_text(context, path, &sft, text);
    ct_free(context, folder);
    return ct_context_status(context);
}

static ct_status texts_read(ct_context *context, const ct_train_options *options, texts *t) {
    const ct_train_data_options *data = &options->data;
    for (size_t i = 0; i < ct_corpus_source_count(options); i++) {
        size_t before = t->train.length;
        const char *path = ct_corpus_source(options, i);
        if (read_text(context, options, path, &t->train) != CT_OK) return ct_context_status(context);
        if (t->train.length == before)
            return ct_fail(context, CT_ERROR_FORMAT, "%s: %s holds no text", ct_corpus_source_key(options), path);
    }
    t->train_length = t->train.length;
    t->separate = data->validation != NULL;
    if (!t->separate) {
        if (data->validation_fraction > 0 && options->task != CT_TASK_SFT)
            t->train_length = division(&t->train, data->validation_fraction);
        return CT_OK;
    }
    if (read_text(context, options, data->validation, &t->validation) == CT_OK &&
        t->validation.length == 0)
        ct_fail(context, CT_ERROR_FORMAT, "data.validation: %s holds no text", data->validation);
    return ct_context_status(context);
}

static ct_text validation_text(const texts *t) {
    if (t->separate) return (ct_text){t->validation.data, t->validation.length};
    return (ct_text){t->train.data + t->train_length, t->train.length - t->train_length};
}

/* ------------------------------------------------------------------------------------------- tokenizer */

/* A character that only the validation text has would be unknown, so both texts give the alphabet. */
static ct_tokenizer *train_characters(ct_context *context, const texts *t) {
    if (!t->separate) return ct_tokenizer_train_characters(context, t->train.data, t->train.length);
    ct_bytes both = {0};
    ct_tokenizer *tokenizer = NULL;
    if (ct_bytes_append(context, &both, t->train.data, t->train.length) == CT_OK &&
        ct_bytes_append(context, &both, t->validation.data, t->validation.length) == CT_OK)
        tokenizer = ct_tokenizer_train_characters(context, both.data, both.length);
    ct_bytes_free(context, &both);
    return tokenizer;
}

static ct_tokenizer *train_bpe(ct_context *context, const texts *t, int64_t vocab_size) {
    static const char *const special[] = {"<|endoftext|>", NULL};
    const ct_text text = {t->train.data, t->train_length};
    const ct_bpe_options how = {.vocab_size = vocab_size, .min_frequency = 2, .special_tokens = special};
    ct_log_message(context, CT_LOG_INFO, "Training a tokenizer of %lld tokens", (long long)vocab_size);
    ct_tokenizer *tokenizer = ct_bpe_train(context, &text, 1, &how);
    if (tokenizer) {
        ct_tokenizer_set_role(tokenizer, "bos", special[0]);
        ct_tokenizer_set_role(tokenizer, "eos", special[0]);
    }
    return tokenizer;
}

static ct_tokenizer *load_tokenizer(ct_context *context, const char *name) {
    char *path = ct_file_exists(name) ? ct_strdup(context, name) : ct_model_resolve(context, name);
    ct_tokenizer *tokenizer = path ? ct_tokenizer_load(context, path) : NULL;
    ct_free(context, path);
    return tokenizer;
}

/* The folder of a model has usually a tokenizer; another one must then have the same vocabulary. */
static void check_same_vocabulary(ct_context *context, const ct_train_options *options,
                                  ct_tokenizer *tokenizer) {
    const char *path = ct_value_as_string(ct_value_get(options->model, "path"), NULL);
    if (!path || !tokenizer) return;
    ct_try trial;
    ct_try_begin(context, &trial);
    ct_tokenizer *own = load_tokenizer(context, path);
    if (ct_try_end(context, &trial, NULL, 0) != CT_OK || !own) return; /* the model has none */
    if (ct_tokenizer_fingerprint(own) != ct_tokenizer_fingerprint(tokenizer))
        ct_fail(
            context, CT_ERROR_ARGUMENT,
            "vocabulary mismatch between model and tokenizer: the tokenizer of %s has other tokens (%d) than "
            "tokenizer.kind \"%s\" (%d)",
            path, (int)ct_tokenizer_size(own), options->tokenizer.kind, (int)ct_tokenizer_size(tokenizer));
    ct_tokenizer_destroy(own);
}

/* Class i must be the same token for both. */
static ct_status check_teacher(ct_context *context, const ct_train_options *options, const ct_tokenizer *tokenizer) {
    ct_tokenizer *own = options->teacher.path ? ct_teacher_tokenizer(context, &options->teacher) : NULL;
    if (own && ct_tokenizer_fingerprint(own) != ct_tokenizer_fingerprint(tokenizer))
        ct_fail(context, CT_ERROR_ARGUMENT,
                "teacher.path: the tokenizer of %s has other tokens (%d) than the student's (%d); without tokenizer.kind "
                "the student takes the teacher's",
                options->teacher.path, (int)ct_tokenizer_size(own), (int)ct_tokenizer_size(tokenizer));
    ct_tokenizer_destroy(own);
    return ct_context_status(context);
}

static ct_tokenizer *make_tokenizer(ct_context *context, const ct_train_options *options, const texts *t) {
    const char *kind = options->tokenizer.kind;
    const char *model = ct_value_as_string(ct_value_get(options->model, "path"), NULL);
    if (!kind && model) return load_tokenizer(context, model);
    if (!kind && options->teacher.path) return ct_teacher_tokenizer(context, &options->teacher);
    ct_tokenizer *tokenizer;
    if (!kind || strcmp(kind, "bytes") == 0)
        tokenizer = ct_tokenizer_from_kind(context, "bytes");
    else if (strcmp(kind, "characters") == 0)
        tokenizer = train_characters(context, t);
    else if (strcmp(kind, "bpe") == 0)
        tokenizer = train_bpe(context, t, options->tokenizer.vocab_size);
    else if (ct_file_exists(kind) || ct_folder_exists(kind) || strchr(kind, '/'))
        tokenizer = load_tokenizer(context, kind);
    else {
        static const char *const kinds[] = {"bytes", "characters", "bpe"};
        const char *near = ct_nearest_name(kind, kinds, 3);
        ct_fail(context, CT_ERROR_ARGUMENT,
                "tokenizer.kind: \"%s\" is not bytes, characters or bpe, and there is no such folder or "
                "file%s%s%s",
                kind, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
        return NULL;
    }
    check_same_vocabulary(context, options, tokenizer);
    return tokenizer;
}

/* --------------------------------------------------------------------------------------------- reading */

static uint64_t hash_texts(const texts *t) {
    ct_text held_out = validation_text(t);
    uint64_t hash = ct_hash_bytes(CT_HASH_START, t->train.data, t->train_length);
    hash = ct_hash_word(hash, t->train_length);
    return ct_hash_finish(ct_hash_bytes(hash, held_out.data, held_out.length));
}

ct_status ct_corpus_read(ct_context *context, const ct_train_options *options, const char *tokenizer_folder,
                         ct_corpus *corpus) {
    texts t = {0};
    *corpus = (ct_corpus){0};
    if (options->task == CT_TASK_IMAGES) return ct_corpus_read_images(context, options, corpus);
    if (texts_read(context, options, &t) == CT_OK) {
        corpus->text_hash = hash_texts(&t);
        corpus->tokenizer = tokenizer_folder ? ct_tokenizer_load(context, tokenizer_folder)
                                             : make_tokenizer(context, options, &t);
        if (corpus->tokenizer) check_teacher(context, options, corpus->tokenizer);
    }
    if (options->task == CT_TASK_SFT) {
        texts_free(context, &t);
        if (!ct_failed(context)) ct_corpus_read_samples(context, options, corpus);
        if (ct_failed(context)) ct_corpus_free(corpus);
        return ct_context_status(context);
    }
    if (!ct_failed(context))
        corpus->train = ct_dataset_from_text(context, corpus->tokenizer, t.train.data, t.train_length);
    ct_text held_out = validation_text(&t);
    if (!ct_failed(context) && held_out.length > 0) {
        corpus->validation = ct_dataset_from_text(context, corpus->tokenizer, held_out.data, held_out.length);
        if (corpus->validation && ct_dataset_tokens(corpus->validation) < 2)
            ct_fail(context, CT_ERROR_ARGUMENT, "%s: the validation text has fewer than 2 tokens",
                    t.separate ? "data.validation" : "data.validation_fraction");
    }
    texts_free(context, &t);
    if (ct_failed(context)) ct_corpus_free(corpus);
    return ct_context_status(context);
}

void ct_corpus_free(ct_corpus *corpus) {
    ct_dataset_destroy(corpus->train);
    ct_dataset_destroy(corpus->validation);
    ct_dataset_destroy(corpus->images);
    ct_tokenizer_destroy(corpus->tokenizer);
    *corpus = (ct_corpus){0};
}

ct_status ct_corpus_check(ct_context *context, const ct_train_options *options, const ct_corpus *corpus,
                          const ct_model *model, int64_t row_length) {
    if (options->task == CT_TASK_IMAGES) return ct_corpus_check_images(context, options, corpus, model);
    int64_t vocabulary = ct_model_vocabulary(model);
    int32_t size = ct_tokenizer_size(corpus->tokenizer);
    if (size > vocabulary)
        return ct_fail(
            context, CT_ERROR_ARGUMENT,
            "vocabulary mismatch between model and tokenizer: the tokenizer (%s) has %d tokens, the model's "
            "vocab_size is %lld",
            ct_tokenizer_kind(corpus->tokenizer), (int)size, (long long)vocabulary);
    int64_t tokens = ct_dataset_tokens(corpus->train);
    if (ct_dataset_rows(corpus->train, row_length) > 0) return CT_OK;
    return ct_fail(
        context, CT_ERROR_ARGUMENT,
        "%s: the text of %s is too short: %lld tokens to learn from, a row of context %lld and its "
        "targets needs %lld",
        ct_corpus_source_key(options), ct_corpus_source(options, 0), (long long)tokens, (long long)row_length, (long long)(row_length + 1));
}
