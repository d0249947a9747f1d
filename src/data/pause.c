/* pause.c - pause tokens: a few tokens without meaning between a question and its answer, so that a model has
 * more positions to compute in before it must answer (Goyal et al., arXiv:2310.02226; Arefin et al., section
 * 4). */
#include <carat/data.h>
#include <string.h>

const ct_option ct_pause_table[] = {
    CT_OPTION_INT("n", ct_pause_options, count, 2, 0, 10000, "pause: how many pause tokens"),
    CT_OPTION_STRING("question", ct_pause_options, question, "question",
                     "pause: field of records they stand behind"),
    CT_OPTION_STRING("answer", ct_pause_options, answer, "answer", "pause: field of records with the answer"),
    CT_OPTION_STRING("pause", ct_pause_options, token, "<pause>", "pause: the token"),
    CT_OPTION_STRING("pause_begin", ct_pause_options, begin, "<pause_begin>", "pause: the token before them"),
    CT_OPTION_STRING("pause_end", ct_pause_options, end, "<pause_end>", "pause: the token behind them"),
    CT_OPTION_END};

static ct_status append(ct_context *context, ct_bytes *text, const char *part) {
    return ct_bytes_append(context, text, part, strlen(part));
}

/* The question with the tokens behind it: all of it is input and no target. */
static ct_status put_text(ct_context *context, const ct_pause_options *o, const ct_value *question,
                          ct_value *record) {
    ct_bytes text = {0};
    ct_bytes_append(context, &text, ct_value_as_string(question, ""), ct_value_string_length(question));
    append(context, &text, o->begin);
    for (int64_t i = 0; i < o->count; i++)
        append(context, &text, o->token);
    append(context, &text, o->end);
    if (!ct_failed(context))
        ct_value_set(record, o->question,
                     ct_value_string_n(context, text.data ? text.data : "", text.length));
    ct_bytes_free(context, &text);
    return ct_context_status(context);
}

static ct_status find(ct_context *context, ct_tokenizer *tokenizer, const char *token, int32_t *id) {
    *id = ct_tokenizer_find(tokenizer, token);
    if (*id >= 0) return CT_OK;
    return ct_fail(
        context, CT_ERROR_ARGUMENT,
        "no free token for %s: it is not in the vocabulary of %d tokens (a BPE gets it by special_tokens)",
        token, (int)ct_tokenizer_size(tokenizer));
}

static ct_status collect_ids(ct_context *context, ct_tokenizer *tokenizer, const ct_pause_options *o,
                             const ct_value *question, const ct_value *answer, ct_ids *ids, size_t *inputs) {
    int32_t begin, token, end;
    if (find(context, tokenizer, o->token, &token) != CT_OK ||
        find(context, tokenizer, o->begin, &begin) != CT_OK ||
        find(context, tokenizer, o->end, &end) != CT_OK)
        return ct_context_status(context);
    ct_tokenizer_encode(tokenizer, ct_value_as_string(question, ""), ct_value_string_length(question),
                        CT_ENCODE_PLAIN, ids);
    ct_ids_push(context, ids, begin);
    for (int64_t i = 0; i < o->count; i++)
        ct_ids_push(context, ids, token);
    ct_ids_push(context, ids, end);
    *inputs = ids->count;
    return ct_tokenizer_encode(tokenizer, ct_value_as_string(answer, ""), ct_value_string_length(answer),
                               CT_ENCODE_PLAIN, ids);
}

static ct_status put_ids(ct_context *context, ct_tokenizer *tokenizer, const ct_pause_options *o,
                         const ct_value *question, const ct_value *answer, ct_value *record) {
    ct_ids ids = {0};
    size_t inputs = 0;
    ct_value *list = ct_value_list(context), *mask = ct_value_list(context);
    if (list && mask && collect_ids(context, tokenizer, o, question, answer, &ids, &inputs) == CT_OK)
        for (size_t i = 0; i < ids.count && !ct_failed(context); i++) {
            ct_value_append(list, ct_value_int(context, ids.ids[i]));
            ct_value_append(mask, ct_value_int(context, i >= inputs));
        }
    ct_ids_free(context, &ids);
    if (ct_failed(context) || !list || !mask) {
        ct_value_free(list);
        ct_value_free(mask);
        return ct_context_status(context);
    }
    ct_value_set(record, "ids", list);
    return ct_value_set(record, "loss_mask", mask);
}

ct_status ct_data_pause(ct_context *context, ct_tokenizer *tokenizer, const ct_pause_options *options,
                        ct_value *record) {
    const ct_value *question = ct_value_get(record, options->question),
                   *answer = ct_value_get(record, options->answer);
    if (ct_failed(context)) return ct_context_status(context);
    if (ct_value_kind_of(question) != CT_VALUE_STRING || ct_value_kind_of(answer) != CT_VALUE_STRING)
        return ct_fail(context, CT_ERROR_FORMAT, "the record has no text in field \"%s\"",
                       ct_value_kind_of(question) == CT_VALUE_STRING ? options->answer : options->question);
    if (tokenizer && put_ids(context, tokenizer, options, question, answer, record) != CT_OK)
        return ct_context_status(context);
    return put_text(context, options, question, record);
}
