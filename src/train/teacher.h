/* teacher.h - inside train: the models that a recipe's teacher names, and what they say of a batch. */
#ifndef CARAT_SRC_TRAIN_TEACHER_H
#define CARAT_SRC_TRAIN_TEACHER_H

#include <carat/ensemble.h>
#include <carat/train.h>

typedef struct ct_teacher ct_teacher;
/* Loads the teacher on the context's device; NULL on error. */
ct_teacher *ct_teacher_create(ct_context *context, const ct_teacher_options *options, bool bf16);
void ct_teacher_destroy(ct_teacher *teacher);
/* Errors unless it knows the student's classes and rows of that length. */
ct_status ct_teacher_check(const ct_teacher *teacher, int64_t vocabulary, int64_t row_length);
/* Of all members' weights and what of them is averaged; 0: there is no teacher. */
uint64_t ct_teacher_hash(ct_teacher *teacher);
/* For ids [rows, length]: f32 [rows, length, classes] without a gradient. `segments` and `padding` as a run
 * is told them, or NULL. */
ct_tensor *ct_teacher_outputs(ct_teacher *teacher, ct_tensor *ids, ct_tensor *segments, ct_tensor *padding);

/* The tokenizer of a teacher without its weights: that of its first member. */
ct_tokenizer *ct_teacher_tokenizer(ct_context *context, const ct_teacher_options *options);

#endif
