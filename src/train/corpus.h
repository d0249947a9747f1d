/* corpus.h - inside train: the text of a recipe as tokens, and the tokenizer; or its images. */
#ifndef CARAT_SRC_TRAIN_CORPUS_H
#define CARAT_SRC_TRAIN_CORPUS_H

#include <carat/train.h>

typedef struct ct_corpus {
    ct_tokenizer *tokenizer; /* NULL: images */
    ct_dataset *train, *validation; /* validation NULL: none */
    ct_dataset *images;             /* images: all of data.train, of which those are parts; else NULL */
    uint64_t text_hash;             /* of both texts */
    ct_sft_counts counts;           /* sft: what was read of data.train and data.validation together */
} ct_corpus;

/* Reads the texts and makes or loads the tokenizer. `tokenizer_folder`, if not NULL, is where the tokenizer
 * of the run that is resumed was saved: it is taken from there. */
ct_status ct_corpus_read(ct_context *context, const ct_train_options *options, const char *tokenizer_folder,
                         ct_corpus *corpus);
/* corpus_sft.c: samples of data.train and data.validation, or a part of data.train held out. */
ct_status ct_corpus_read_samples(ct_context *context, const ct_train_options *options, ct_corpus *corpus);
/* corpus_images.c: images and their classes; whether the model can take them. */
ct_status ct_corpus_read_images(ct_context *context, const ct_train_options *options, ct_corpus *corpus);
ct_status ct_corpus_check_images(ct_context *context, const ct_train_options *options, const ct_corpus *corpus,
                                 const ct_model *model);
/* Cuts the rows of a step to max_batch_share of an epoch, in the options and in the recipe. */
ct_status ct_corpus_limit_batch(ct_context *context, const ct_corpus *corpus, ct_train_options *options,
                                ct_value *recipe);
/* Where "chat_template: model" looks: a new string; NULL for other templates, and with an error. */
char *ct_corpus_chat_folder(ct_context *context, const ct_train_options *options);
/* The training files: data.train, or the phases in order; and the key that names them. */
size_t ct_corpus_source_count(const ct_train_options *options);
const char *ct_corpus_source(const ct_train_options *options, size_t index);
const char *ct_corpus_source_key(const ct_train_options *options);
void ct_corpus_free(ct_corpus *corpus);
/* Errors if the model does not know all the tokens, or the text is too short for a row; if images do not fit it. */
ct_status ct_corpus_check(ct_context *context, const ct_train_options *options, const ct_corpus *corpus,
                          const ct_model *model, int64_t row_length);

#endif
