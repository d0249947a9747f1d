/* choices.c - multiple choice by likelihood: the choice that the model finds likeliest after the prompt. */
#include <carat/evaluate.h>
#include <carat/format.h>

typedef struct question {
    const char *prompt;
    size_t prompt_length;
    const ct_value *choices;
    int64_t answer;
} question;

static ct_status read_question(ct_context *context, const ct_value *record, const char *path, int64_t line,
                               question *q) {
    const ct_value *prompt = ct_value_get(record, "prompt");
    q->prompt = ct_value_as_string(prompt, NULL);
    q->prompt_length = ct_value_string_length(prompt);
    q->choices = ct_value_get(record, "choices");
    q->answer = ct_value_as_int(ct_value_get(record, "answer"), -1);
    size_t count = ct_value_count(q->choices);
    bool texts = q->prompt && q->prompt_length && count >= 2;
    for (size_t i = 0; texts && i < count; i++) texts = ct_value_string_length(ct_value_at(q->choices, i)) > 0;
    if (!texts || q->answer < 0 || q->answer >= (int64_t)count)
        return ct_fail(context, CT_ERROR_FORMAT,
                       "%s:%lld: expected {\"prompt\": text, \"choices\": [2 or more texts], \"answer\": index}", path,
                       (long long)line);
    return CT_OK;
}

/* The prompt and each choice are encoded apart, so that every choice follows the same tokens. */
static ct_status score_choice(ct_model *model, ct_tokenizer *tokenizer, const question *q, size_t index,
                              double *logprob) {
    ct_context *context = ct_model_context(model);
    const ct_value *choice = ct_value_at(q->choices, index);
    ct_ids prompt = {0}, continuation = {0};
    ct_tokenizer_encode(tokenizer, q->prompt, q->prompt_length, CT_ENCODE_PLAIN, &prompt);
    ct_tokenizer_encode(tokenizer, ct_value_as_string(choice, ""), ct_value_string_length(choice), CT_ENCODE_PLAIN,
                        &continuation);
    if (!ct_failed(context))
        ct_evaluate_likelihood(model, prompt.ids, (int64_t)prompt.count, continuation.ids,
                               (int64_t)continuation.count, logprob, NULL);
    ct_ids_free(context, &prompt);
    ct_ids_free(context, &continuation);
    return ct_context_status(context);
}

static ct_status answer(ct_model *model, ct_tokenizer *tokenizer, const question *q, int64_t *right,
                        int64_t *right_per_byte) {
    double best = 0, best_per_byte = 0;
    int64_t chosen = -1, chosen_per_byte = -1;
    for (size_t i = 0; i < ct_value_count(q->choices); i++) {
        double logprob = 0;
        if (score_choice(model, tokenizer, q, i, &logprob) != CT_OK) return ct_context_status(ct_model_context(model));
        double per_byte = logprob / (double)ct_value_string_length(ct_value_at(q->choices, i));
        if (chosen < 0 || logprob > best) {
            best = logprob;
            chosen = (int64_t)i;
        }
        if (chosen_per_byte < 0 || per_byte > best_per_byte) {
            best_per_byte = per_byte;
            chosen_per_byte = (int64_t)i;
        }
    }
    *right += chosen == q->answer;
    *right_per_byte += chosen_per_byte == q->answer;
    return CT_OK;
}

ct_status ct_evaluate_choices(ct_model *model, ct_tokenizer *tokenizer, const char *path, int64_t limit,
                              ct_choice_result *result) {
    ct_context *context = ct_model_context(model);
    *result = (ct_choice_result){0};
    if (ct_model_need_causal(model, "evaluate") != CT_OK) return ct_context_status(context);
    int64_t right = 0, right_per_byte = 0;
    ct_jsonl *reader = ct_jsonl_open(context, path, 16 << 20);
    for (ct_value *record; reader && !ct_failed(context) && (record = ct_jsonl_next(reader));) {
        question q;
        if (ct_stop_requested(context)) ct_fail(context, CT_ERROR_INTERRUPTED, "evaluate: interrupted");
        else if (read_question(context, record, path, ct_jsonl_number(reader), &q) == CT_OK &&
            answer(model, tokenizer, &q, &right, &right_per_byte) == CT_OK)
            result->questions++;
        ct_value_free(record);
        ct_progress(context, "evaluate", (double)result->questions, (double)limit, "questions", "");
        if (limit && result->questions >= limit) break;
    }
    ct_jsonl_close(reader);
    ct_progress_finish(context, "evaluate", (double)result->questions, "questions", "");
    if (!ct_failed(context) && !result->questions)
        return ct_fail(context, CT_ERROR_FORMAT, "%s: there is no question in it", path);
    result->accuracy = (double)right / (double)(result->questions ? result->questions : 1);
    result->accuracy_per_byte = (double)right_per_byte / (double)(result->questions ? result->questions : 1);
    return ct_context_status(context);
}
