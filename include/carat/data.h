/* data.h - text as token ids, images with classes, and batches of them. */
#ifndef CARAT_DATA_H
#define CARAT_DATA_H

#include <carat/model.h>
#include <carat/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A stream of tokens, cut into rows of `context` + 1 (inputs and shifted targets). */
typedef struct ct_dataset ct_dataset;
/* Appends the bytes of text sources: a file, a .jsonl (its `field` (NULL: "text") of every record, each followed by a
 * newline), or a folder (its .txt, .md and .jsonl files in name order). */
ct_status ct_text_read(ct_context *context, const char *path, const char *field, ct_bytes *text);
/* Texts one by one: the lines of a file (without \r), the `field` (NULL: "text") of each record of a .jsonl, or of each line
 * of a .tsv the column `field`: a name that the first line has, or a number from 1 (NULL: 1) of a file without names. Start
 * with {0}. */
typedef struct ct_texts {
    ct_bytes bytes; /* of all, one behind the other */
    size_t *ends;   /* text i ends before bytes.data + ends[i] */
    int64_t count, capacity;
} ct_texts;
ct_status ct_texts_read(ct_context *context, const char *path, const char *field, ct_texts *texts);
ct_status ct_texts_append(ct_context *context, ct_texts *texts, const char *text, size_t length);
ct_text ct_texts_at(const ct_texts *texts, int64_t index); /* valid until the next text is appended */
void ct_texts_free(ct_context *context, ct_texts *texts);
/* Encodes a text, or copies ids (none below 0). They are kept as u16 where the largest allows, else i32. NULL on error. */
ct_dataset *ct_dataset_from_text(ct_context *context, ct_tokenizer *tokenizer, const char *text, size_t length);
ct_dataset *ct_dataset_from_ids(ct_context *context, const int32_t *ids, size_t count);
/* Tokens [from, to) of another, which must outlive it. */
ct_dataset *ct_dataset_part(ct_dataset *whole, int64_t from, int64_t to);
void ct_dataset_destroy(ct_dataset *dataset);
int64_t ct_dataset_tokens(const ct_dataset *dataset);
int32_t ct_dataset_token(const ct_dataset *dataset, int64_t index);
int64_t ct_dataset_bytes(const ct_dataset *dataset); /* of the text it came from; 0 if unknown */
int32_t ct_dataset_largest(const ct_dataset *dataset); /* id */
/* Training rows. An epoch visits every non-overlapping window of `context` tokens once, in an order that is a function
 * of (seed, epoch) alone, the windows' start shifted by a draw per epoch; row `index` counts over epochs. So any row of
 * any step can be made by itself, and resuming needs only the step. ids and targets: i32 [context]. */
int64_t ct_dataset_rows(const ct_dataset *dataset, int64_t context); /* in an epoch; 0 if the text is too short */
ct_status ct_dataset_row(ct_context *context, const ct_dataset *dataset, int64_t length, uint64_t seed, int64_t index,
                         int32_t *ids, int32_t *targets);

/* ------------------------------------------------------------------------------ rows of samples ----- */

/* Samples one after the other, as fine-tuning has them (sft.h). labels[i] is ids[i] where the token is to be learnt, else
 * CT_LABEL_NONE. Start with {0}; memory is from the context given when it grows. */
#define CT_LABEL_NONE (-100)
typedef struct ct_sample_list {
    ct_ids ids, labels;
    ct_ids lengths; /* of each sample, in tokens */
} ct_sample_list;
void ct_sample_list_free(ct_context *context, ct_sample_list *list);

typedef struct ct_row_options {
    int64_t row_length;   /* tokens a row holds at most */
    bool packing;         /* several samples in a row, best fit for the longest first; else one sample a row */
    bool group_by_length; /* without packing: rows that follow each other have samples of similar length */
} ct_row_options;
/* Samples [from, to) of a list, copied. A sample of n tokens takes n - 1 places of a row: its last token is only a
 * target. Each must have 2 tokens and a label behind its first at least, and fit into a row. ct_dataset_rows of it counts
 * rows, and ct_dataset_row pads with id 0 and target CT_LABEL_NONE to the length asked for. */
ct_dataset *ct_dataset_from_samples(ct_context *context, const ct_sample_list *list, int64_t from, int64_t to,
                                    const ct_row_options *options);
bool ct_dataset_has_samples(const ct_dataset *dataset);
/* The row that training takes as `index`, counted over epochs: every epoch takes each row once, in an order that is a
 * function of (seed, epoch). -1 on error. */
int64_t ct_dataset_drawn(ct_context *context, const ct_dataset *dataset, uint64_t seed, int64_t index);
typedef struct ct_row_counts {
    int64_t tokens, targets, samples;
} ct_row_counts;
ct_row_counts ct_dataset_row_counts(const ct_dataset *dataset, int64_t row);
/* Fills a row of `length` places, at least its tokens. segments[t] is the number of the sample that place t belongs to, from
 * 0, and -1 in padding; shares[t] is 1 / (targets of its sample) where there is a target, else 0. Both may be NULL. */
ct_status ct_dataset_fill_row(ct_context *context, const ct_dataset *dataset, int64_t row, int64_t length,
                              int32_t *ids, int32_t *targets, int32_t *segments, float *shares);

/* Phases: datasets of samples that a run learns one after the other. Takes the parts over, also on failure. Of the rows
 * that a later phase draws, a share of `replay` is from the phases before it. NULL on error. */
ct_dataset *ct_dataset_phased(ct_context *context, ct_dataset **parts, int count, double replay);
/* Before rows are drawn: a run of so many steps of `rows` rows. Each phase has a share of the steps as large as its share
 * of all rows; refused if there are fewer steps than phases. No effect on other datasets. */
ct_status ct_dataset_arrange(ct_context *context, ct_dataset *dataset, int64_t steps, int64_t rows);
int ct_dataset_phase(const ct_dataset *dataset, int64_t step); /* from 0; 0 of other datasets, and of NULL */

/* ------------------------------------------------------------------------------- pause tokens ----- */

/* Pause tokens: `begin`, `count` times `token`, `end` are put behind the question of a record {question, answer}, where
 * they are input and no target. With a tokenizer the record also gets "ids" (question, pause tokens, answer) and
 * "loss_mask" (1 for the answer's, 0 for all others); its vocabulary must have the three tokens. */
typedef struct ct_pause_options {
    int64_t count;
    const char *question, *answer, *token, *begin, *end;
} ct_pause_options;
extern const ct_option ct_pause_table[];
ct_status ct_data_pause(ct_context *context, ct_tokenizer *tokenizer, const ct_pause_options *options,
                        ct_value *record);

/* An IDX file (the format of MNIST: http://yann.lecun.com/exdb/mnist), plain or compressed by gzip, as a tensor of its
 * shape: u8, i8, i32 (also for 16-bit integers), f32 or f64. Every byte is accounted for: a file that is cut short, has
 * bytes after its end, or announces more elements than it can hold is an error. NULL on error. */
ct_tensor *ct_idx_read(ct_context *context, const char *path);
/* The first `most` images of an IDX file, u8 [n, height, width] or [n, channels, height, width], as f32 [n, channels,
 * height, width] in [0, 1]. Refused where they are not of `shape`: channels, height, width. NULL on error. */
ct_tensor *ct_images_read(ct_context *context, const char *path, const int64_t shape[3], int64_t most);

/* ------------------------------------------------------------------------------- images with classes ----- */

/* A dataset of two IDX files: images, u8 [n, height, width] or [n, channels, height, width], and their classes, u8, i8 or
 * i32 [n], from 0. Each image is a row; ct_dataset_drawn says which one training takes, ct_dataset_largest the largest
 * class, ct_dataset_tokens the number of images. ct_dataset_part gives images [from, to). NULL on error. */
ct_dataset *ct_dataset_from_images(ct_context *context, const char *images, const char *labels);
bool ct_dataset_has_images(const ct_dataset *dataset);
/* The pixels of one of them, its shape (channels, height, width) and its class. */
const uint8_t *ct_dataset_image(const ct_dataset *dataset, int64_t image, int64_t shape[3], int32_t *class_id);
/* Refuses models that classify no images: whose input is neither images nor rows of numbers, or without a head. */
ct_status ct_images_take(const ct_model *model, const char *name);
/* The same, and images of other sizes or of classes that the model does not have. `name` is what messages call the data
 * ("data.train: FILE"). */
ct_status ct_images_fit(const ct_model *model, const ct_dataset *images, const char *name);
/* The input of the model for some of the images, pixels in [0, 1], and their classes, i32 [count]: [count, channels,
 * height, width], or [count, channels x height x width] for a model of linear layers. In f32, or in bf16 for a run that
 * computes in it. With `images` NULL (on meta) there are shapes alone. NULL on error. */
ct_tensor *ct_images_batch(const ct_model *model, const ct_dataset *images, const int64_t *rows, int64_t count,
                           ct_dtype compute, ct_tensor **classes);
/* Adds the cross-entropies of logits [count, classes] in the order of the images, and how many of them have their largest
 * logit at their class. */
ct_status ct_images_score(ct_tensor *logits, ct_tensor *classes, double *loss, int64_t *right);

#ifdef __cplusplus
}
#endif
#endif
