/* teacher.c - a model or an ensemble that a student learns from: loaded beside the student, on either device,
 * and run without gradients on each batch of a step. */
#include "train/teacher.h"
#include "train/hash.h"

struct ct_teacher {
    ct_context *context;
    const char *path; /* borrowed */
    ct_ensemble ensemble;
    ct_run *runs[CT_ENSEMBLE_MOST];
    uint64_t hash; /* 0: not yet known */
};

static ct_status load(ct_teacher *teacher, const ct_teacher_options *options, bool bf16) {
    ct_context *context = teacher->context;
    const ct_run_options how = {.compute = bf16 ? CT_BF16 : CT_F32};
    if (ct_ensemble_load(context, options->path, CT_DTYPES, &teacher->ensemble) != CT_OK)
        return ct_context_status(context);
    if (options->average == CT_TEACHER_LOGITS) teacher->ensemble.average = CT_AVERAGE_LOGITS;
    if (options->average == CT_TEACHER_PROBABILITIES) teacher->ensemble.average = CT_AVERAGE_PROBABILITIES;
    for (int i = 0; i < teacher->ensemble.count && !ct_failed(context); i++)
        teacher->runs[i] = ct_run_create(context, &how);
    return ct_context_status(context);
}

ct_teacher *ct_teacher_create(ct_context *context, const ct_teacher_options *options, bool bf16) {
    ct_teacher *teacher =
        ct_failed(context) ? NULL : ct_alloc_zero(context, sizeof(*teacher), CT_MEMORY_OTHER);
    if (!teacher) return NULL;
    teacher->context = context;
    teacher->path = options->path;
    if (load(teacher, options, bf16) == CT_OK) return teacher;
    ct_teacher_destroy(teacher);
    return NULL;
}

void ct_teacher_destroy(ct_teacher *teacher) {
    if (!teacher) return;
    for (int i = 0; i < teacher->ensemble.count; i++)
        ct_run_destroy(teacher->runs[i]);
    ct_ensemble_free(&teacher->ensemble);
    ct_free(teacher->context, teacher);
}

ct_status ct_teacher_check(const ct_teacher *teacher, int64_t vocabulary, int64_t row_length) {
    for (int i = 0; i < teacher->ensemble.count; i++) {
        const ct_model *member = teacher->ensemble.members[i];
        int64_t classes = ct_model_vocabulary(member), positions = ct_model_context_length(member);
        if (classes != vocabulary)
            return ct_fail(teacher->context, CT_ERROR_ARGUMENT,
                           "teacher.path: %s has a vocabulary of %lld, the student of %lld", teacher->path,
                           (long long)classes, (long long)vocabulary);
        if (positions > 0 && positions < row_length)
            return ct_fail(teacher->context, CT_ERROR_ARGUMENT,
                           "teacher.path: %s has %lld positions, rows of %lld tokens (context) are longer",
                           teacher->path, (long long)positions, (long long)row_length);
    }
    return CT_OK;
}

static uint64_t hash_model(uint64_t hash, ct_model *model) {
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        const ct_tensor *tensor = ct_model_parameter(model, i)->tensor;
        hash = ct_hash_bytes(hash, ct_data(tensor),
                             (size_t)ct_count(tensor) * ct_dtype_size(ct_dtype_of(tensor)));
    }
    return hash;
}

uint64_t ct_teacher_hash(ct_teacher *teacher) {
    if (!teacher) return 0;
    if (teacher->hash) return teacher->hash;
    uint64_t hash = ct_hash_word(CT_HASH_START, (uint64_t)teacher->ensemble.average);
    for (int i = 0; i < teacher->ensemble.count; i++)
        hash = hash_model(hash, teacher->ensemble.members[i]);
    hash = ct_hash_finish(hash);
    return teacher->hash = hash ? hash : 1;
}

ct_tensor *ct_teacher_outputs(ct_teacher *teacher, ct_tensor *ids, ct_tensor *segments, ct_tensor *padding) {
    for (int i = 0; i < teacher->ensemble.count && !ct_failed(teacher->context); i++) {
        ct_run_set_segments(teacher->runs[i], segments);
        ct_run_set_padding(teacher->runs[i], padding);
    }
    ct_tensor *outputs = ct_ensemble_outputs(&teacher->ensemble, teacher->runs, ids);
    for (int i = 0; i < teacher->ensemble.count; i++) {
        ct_run_set_segments(teacher->runs[i], NULL);
        ct_run_set_padding(teacher->runs[i], NULL);
    }
    return outputs;
}

ct_tokenizer *ct_teacher_tokenizer(ct_context *context, const ct_teacher_options *options) {
    ct_value *folders = ct_ensemble_folders(context, options->path, NULL);
    char *folder =
        folders ? ct_model_resolve(context, ct_value_as_string(ct_value_at(folders, 0), "")) : NULL;
    ct_tokenizer *tokenizer = folder ? ct_tokenizer_load(context, folder) : NULL;
    ct_free(context, folder);
    ct_value_free(folders);
    return tokenizer;
}
