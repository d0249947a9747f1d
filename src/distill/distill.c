/* distill.c - training a student and comparing it with its teacher on the text that was held out. */
#include "train/corpus.h"
#include "train/recipe.h"
#include <carat/distill.h>
#include <carat/evaluate.h>
#include <math.h>

/* Losses of an ensemble, or of the one model in a folder, on a text. */
static ct_status losses_of(ct_context *context, const char *path, const ct_teacher_options *how,
                           const ct_ids *ids, const ct_perplexity_options *options,
                           ct_ensemble_losses *losses, double *loss, int *count) {
    ct_ensemble ensemble;
    if (ct_ensemble_load(context, path, CT_DTYPES, &ensemble) == CT_OK &&
        ct_evaluate_ensemble(ensemble.members, ensemble.count, ids->ids, (int64_t)ids->count, options,
                             losses) == CT_OK) {
        ct_ensemble_average average = ensemble.average;
        if (how && how->average == CT_TEACHER_LOGITS) average = CT_AVERAGE_LOGITS;
        if (how && how->average == CT_TEACHER_PROBABILITIES) average = CT_AVERAGE_PROBABILITIES;
        *loss = average == CT_AVERAGE_LOGITS ? losses->logits : losses->probabilities;
        *count = ensemble.count;
    }
    ct_ensemble_free(&ensemble);
    return ct_context_status(context);
}

static ct_status compare(ct_context *context, const ct_train_options *o, const ct_ids *ids, int64_t length,
                         ct_distill_result *result) {
    ct_perplexity_options options;
    ct_ensemble_losses losses;
    int one;
    ct_options_default(ct_perplexity_table, &options);
    options.context = length;
    options.batch = result->training.plan.micro_batch; /* what a budget allowed */
    options.bf16 = o->bf16;
    if (o->eval_batches > 0)
        options.max_tokens = o->eval_batches * o->per_device_train_batch_size * length + 1;
    if (losses_of(context, o->teacher.path, &o->teacher, ids, &options, &losses, &result->teacher,
                  &result->members) != CT_OK)
        return ct_context_status(context);
    result->member = losses.mean;
    if (losses_of(context, o->output_dir, NULL, ids, &options, &losses, &result->student, &one) != CT_OK)
        return ct_context_status(context);
    if (result->teacher < result->member)
        result->kept = (result->member - result->student) / (result->member - result->teacher);
    return CT_OK;
}

/* The held-out text as the run saw it, with the tokenizer that it saved. */
static ct_status judge(ct_context *context, const ct_value *recipe, ct_distill_result *result) {
    ct_train_options o;
    ct_corpus corpus = {0};
    ct_ids ids = {0};
    if (ct_recipe_read(context, recipe, &o) != CT_OK || o.task == CT_TASK_SFT)
        return ct_context_status(context);
    if (ct_corpus_read(context, &o, o.output_dir, &corpus) != CT_OK) return ct_context_status(context);
    ct_model *student = corpus.validation ? ct_model_load(context, o.output_dir, CT_F32) : NULL;
    int64_t length = student ? o.context > 0 ? o.context : ct_model_context_length(student) : 0;
    ct_model_destroy(student);
    int64_t tokens = length > 0 ? ct_dataset_tokens(corpus.validation) : 0;
    for (int64_t i = 0; i < tokens && !ct_failed(context); i++)
        ct_ids_push(context, &ids, ct_dataset_token(corpus.validation, i));
    if (tokens > 1 && !ct_failed(context)) compare(context, &o, &ids, length, result);
    ct_ids_free(context, &ids);
    ct_corpus_free(&corpus);
    return ct_context_status(context);
}

ct_status ct_distill(ct_context *context, const ct_value *recipe, bool resume, ct_distill_result *result) {
    *result = (ct_distill_result){.student = NAN, .teacher = NAN, .member = NAN, .kept = NAN};
    if (ct_train(context, recipe, resume, &result->training) != CT_OK || result->training.interrupted)
        return ct_context_status(context);
    return judge(context, recipe, result);
}
