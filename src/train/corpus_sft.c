/* corpus_sft.c - the samples of a fine-tuning recipe, and how large its steps may be. */
#include "train/corpus.h"
#include "train/recipe.h"

static ct_status read_file(ct_context *context, const ct_train_options *options, const char *path,
                           const char *key, ct_corpus *corpus, ct_sample_list *list) {
    ct_sft_counts counts, *sum = &corpus->counts;
    ct_sft_options sft = options->sft;
    char *folder = ct_corpus_chat_folder(context, options);
    sft.folder = folder;
    ct_sft_read(context, path, corpus->tokenizer, &sft, list, &counts);
    ct_free(context, folder);
    if (ct_failed(context)) return ct_context_status(context);
    if (counts.samples == 0)
        return ct_fail(context, CT_ERROR_FORMAT,
                       "%s: of the %lld records of %s none has an answer to learn within max_length %lld",
                       key, (long long)counts.records, path, (long long)options->sft.max_length);
    bool left_out = counts.without_answer + counts.answer_cut > 0;
    ct_log_message(context, left_out ? CT_LOG_WARNING : CT_LOG_INFO,
                   "%s: %lld samples, %lld tokens, of which %lld are learnt; left out: %lld without an "
                   "answer, %lld whose "
                   "answer is beyond max_length; cut off: %lld",
                   path, (long long)counts.samples, (long long)counts.tokens, (long long)counts.targets,
                   (long long)counts.without_answer, (long long)counts.answer_cut,
                   (long long)counts.truncated);
    sum->records += counts.records;
    sum->samples += counts.samples;
    sum->without_answer += counts.without_answer;
    sum->answer_cut += counts.answer_cut;
    sum->truncated += counts.truncated;
    sum->tokens += counts.tokens;
    sum->targets += counts.targets;
    if (sum->shortest == 0 || counts.shortest < sum->shortest) sum->shortest = counts.shortest;
    if (counts.longest > sum->longest) sum->longest = counts.longest;
    return CT_OK;
}

static ct_dataset *rows_of(ct_context *context, const ct_train_options *options, const ct_sample_list *list,
                           int64_t from, int64_t to) {
    const ct_row_options how = {options->context, options->packing, options->group_by_length};
    return from < to ? ct_dataset_from_samples(context, list, from, to, &how) : NULL;
}

/* One training file: *train, and what is held out of it (NULL: nothing). */
static ct_status read_source(ct_context *context, const ct_train_options *options, size_t index,
                             ct_corpus *corpus, ct_dataset **train, ct_dataset **held_out) {
    const ct_train_data_options *data = &options->data;
    ct_sample_list list = {0};
    if (read_file(context, options, ct_corpus_source(options, index), ct_corpus_source_key(options), corpus,
                  &list) == CT_OK) {
        int64_t count = (int64_t)list.lengths.count, kept = count;
        if (!data->validation) kept = (int64_t)((double)count * (1 - data->validation_fraction) + 0.5);
        if (kept < 1) kept = 1;
        *train = rows_of(context, options, &list, 0, kept);
        *held_out = rows_of(context, options, &list, kept, count);
    }
    ct_sample_list_free(context, &list);
    return ct_context_status(context);
}

static void drop(ct_dataset **parts, size_t count) {
    for (size_t i = 0; i < count; i++)
        ct_dataset_destroy(parts[i]);
}

static ct_status read_phases(ct_context *context, const ct_train_options *options, ct_corpus *corpus) {
    ct_dataset *train[CT_PHASES_MOST] = {NULL}, *held_out[CT_PHASES_MOST] = {NULL};
    size_t count = ct_corpus_source_count(options), held = 0;
    for (size_t i = 0; i < count && !ct_failed(context); i++)
        if (read_source(context, options, i, corpus, &train[i], &held_out[held]) == CT_OK && held_out[held])
            held++;
    if (ct_failed(context)) {
        drop(train, count);
        drop(held_out, CT_PHASES_MOST);
        return ct_context_status(context);
    }
    corpus->train = ct_dataset_phased(context, train, (int)count, options->phase_replay);
    if (held) corpus->validation = ct_dataset_phased(context, held_out, (int)held, 0);
    return ct_context_status(context);
}

ct_status ct_corpus_read_samples(ct_context *context, const ct_train_options *options, ct_corpus *corpus) {
    const ct_train_data_options *data = &options->data;
    ct_sample_list held_out = {0};
    if (options->phases)
        read_phases(context, options, corpus);
    else
        read_source(context, options, 0, corpus, &corpus->train, &corpus->validation);
    if (!ct_failed(context) && data->validation &&
        read_file(context, options, data->validation, "data.validation", corpus, &held_out) == CT_OK)
        corpus->validation = rows_of(context, options, &held_out, 0, (int64_t)held_out.lengths.count);
    ct_sample_list_free(context, &held_out);
    return ct_context_status(context);
}

ct_status ct_corpus_limit_batch(ct_context *context, const ct_corpus *corpus, ct_train_options *options,
                                ct_value *recipe) {
    if (options->task != CT_TASK_SFT || options->max_batch_share <= 0) return CT_OK;
    int64_t rows = ct_recipe_rows(options), device = options->per_device_train_batch_size;
    int64_t most =
        (int64_t)(options->max_batch_share * (double)ct_dataset_rows(corpus->train, options->context));
    if (most < 1) most = 1;
    if (rows <= most) return CT_OK;
    if (device > most) device = most;
    int64_t times = most / device;
    ct_log_message(context, CT_LOG_INFO, "A step has %lld rows, not %lld: max_batch_share %g of %lld",
                   (long long)(device * times), (long long)rows, options->max_batch_share,
                   (long long)ct_dataset_rows(corpus->train, options->context));
    options->per_device_train_batch_size = device;
    options->gradient_accumulation_steps = times;
    ct_value_set(recipe, "per_device_train_batch_size", ct_value_int(context, device));
    return ct_value_set(recipe, "gradient_accumulation_steps", ct_value_int(context, times));
}
