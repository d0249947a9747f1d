/* sft.c - .jsonl files of dialogues into samples with labels, or into text. */
#include "data/chat_template.h"
#include <carat/format.h>
#include <string.h>

enum { LINE_LIMIT = 64 << 20 };

void ct_sample_list_free(ct_context *context, ct_sample_list *list) {
    ct_ids_free(context, &list->ids);
    ct_ids_free(context, &list->labels);
    ct_ids_free(context, &list->lengths);
}

/* A dialogue: its turns, of which those from `answers` on are learnt. Borrows from the record. */
typedef struct dialogue {
    ct_chat_message *turns;
    size_t count, answers;
    const ct_value *prompt, *completion; /* two texts instead */
} dialogue;

static ct_status read_turns(ct_context *context, const ct_value *list, const char *where,
                            ct_chat_message *turns) {
    for (size_t i = 0; i < ct_value_count(list); i++) {
        const ct_value *turn = ct_value_at(list, i), *content = ct_value_get(turn, "content");
        const char *role = ct_value_as_string(ct_value_get(turn, "role"), NULL);
        if (!role)
            return ct_fail(context, CT_ERROR_FORMAT, "%s: turn %zu has no text in \"role\"", where, i + 1);
        if (ct_value_kind_of(content) != CT_VALUE_STRING)
            return ct_fail(context, CT_ERROR_FORMAT, "%s: turn %zu has %s in \"content\", expected text",
                           where, i + 1, content ? ct_value_kind_name(ct_value_kind_of(content)) : "nothing");
        turns[i] = (ct_chat_message){role, ct_value_as_string(content, ""), ct_value_string_length(content)};
    }
    return CT_OK;
}

static ct_status read_dialogue(ct_context *context, const ct_value *record, const char *where, dialogue *d) {
    const ct_value *messages = ct_value_get(record, "messages"), *prompt = ct_value_get(record, "prompt");
    const ct_value *completion = ct_value_get(record, "completion");
    *d = (dialogue){0};
    if (!messages && prompt && completion && ct_value_kind_of(prompt) == CT_VALUE_STRING &&
        ct_value_kind_of(completion) == CT_VALUE_STRING) {
        d->prompt = prompt;
        d->completion = completion;
        return CT_OK;
    }
    const ct_value *first = messages ? messages : prompt, *second = messages ? NULL : completion;
    bool lists =
        ct_value_kind_of(first) == CT_VALUE_LIST && (messages || ct_value_kind_of(second) == CT_VALUE_LIST);
    if (!lists)
        return ct_fail(
            context, CT_ERROR_FORMAT,
            "%s: expected {\"messages\": [...]}, or \"prompt\" and \"completion\", both texts or both lists",
            where);
    d->answers = ct_value_count(second) ? ct_value_count(first) : 0;
    d->count = ct_value_count(first) + ct_value_count(second);
    d->turns = ct_alloc_zero(context, (d->count + 1) * sizeof(*d->turns), CT_MEMORY_WORKSPACE);
    if (!d->turns) return CT_ERROR_MEMORY;
    if (read_turns(context, first, where, d->turns) == CT_OK)
        read_turns(context, second, where, d->turns + ct_value_count(first));
    return ct_context_status(context);
}

static ct_status write_dialogue(ct_chat_writer *w, const ct_chat_template *chat, const dialogue *d) {
    if (!d->prompt) return ct_chat_render(w, chat, d->turns, d->count);
    ct_chat_put(w, CT_CHAT_CONTENT, false, ct_value_as_string(d->prompt, ""),
                ct_value_string_length(d->prompt));
    ct_chat_put(w, CT_CHAT_CONTENT, true, ct_value_as_string(d->completion, ""),
                ct_value_string_length(d->completion));
    return w->text ? CT_OK : ct_chat_put_role(w, "eos", NULL, true);
}

/* In a record of prompt and completion, answers within the prompt are not learnt: they are rendered a second
 * time to see where the completion begins. */
static ct_status forget_prompt(ct_chat_writer *w, const ct_chat_template *chat, const dialogue *d,
                               size_t first) {
    ct_ids ids = {0}, labels = {0};
    ct_chat_writer prompt = *w;
    prompt.ids = &ids;
    prompt.labels = &labels;
    if (ct_chat_render(&prompt, chat, d->turns, d->answers) == CT_OK)
        for (size_t i = 0; i < ids.count && first + i < w->labels->count; i++)
            w->labels->ids[first + i] = CT_LABEL_NONE;
    ct_ids_free(w->context, &ids);
    ct_ids_free(w->context, &labels);
    return ct_context_status(w->context);
}

/* -------------------------------------------------------------------------------------------- samples */

static int64_t learnt_in(const ct_ids *labels, size_t from, size_t to) {
    int64_t count = 0;
    for (size_t i = from + 1; i < to; i++) /* nothing predicts the first token */
        count += labels->ids[i] != CT_LABEL_NONE;
    return count;
}

/* What was appended from `first` on becomes a sample, or is taken back. */
static ct_status keep(ct_context *context, const ct_sft_options *options, size_t first, ct_sample_list *list,
                      ct_sft_counts *counts) {
    size_t length = list->ids.count - first, most = (size_t)options->max_length;
    bool cut = most > 0 && length > most, any = learnt_in(&list->labels, first, first + length) > 0;
    if (cut) length = most;
    int64_t targets = learnt_in(&list->labels, first, first + length);
    bool kept = targets > 0;
    list->ids.count = list->labels.count = first + (kept ? length : 0);
    counts->without_answer += !any;
    counts->answer_cut += any && !kept;
    if (!kept) return CT_OK;
    if (length > INT32_MAX)
        return ct_fail(context, CT_ERROR_FORMAT, "a sample of %zu tokens is too long", length);
    counts->truncated += cut;
    counts->samples++;
    counts->tokens += (int64_t)length;
    counts->targets += targets;
    if (counts->shortest == 0 || (int64_t)length < counts->shortest) counts->shortest = (int64_t)length;
    if ((int64_t)length > counts->longest) counts->longest = (int64_t)length;
    return ct_ids_push(context, &list->lengths, (int32_t)length);
}

/* ---------------------------------------------------------------------------------------------- files */

typedef struct reading {
    ct_context *context;
    const ct_sft_options *options;
    const ct_chat_template *chat;
    ct_chat_writer writer;
    ct_sample_list *list; /* NULL: text */
    ct_sft_counts *counts;
} reading;

/* The tokenizer's errors do not know the file. */
static ct_status name_place(ct_context *context, const char *where) {
    ct_status status = ct_context_status(context);
    const char *message = ct_context_message(context);
    if (status == CT_OK || status == CT_ERROR_MEMORY || strncmp(message, where, strlen(where)) == 0)
        return status;
    char text[400];
    snprintf(text, sizeof(text), "%s", message);
    ct_context_clear(context);
    return ct_fail(context, CT_ERROR_FORMAT, "%s: %s", where, text);
}

static ct_status read_record(reading *r, const ct_value *record, const char *where) {
    dialogue d;
    size_t first = r->list ? r->list->ids.count : 0;
    r->writer.where = where;
    if (read_dialogue(r->context, record, where, &d) == CT_OK &&
        write_dialogue(&r->writer, r->chat, &d) == CT_OK) {
        if (r->list && d.answers && r->options->assistant_only_loss)
            forget_prompt(&r->writer, r->chat, &d, first);
        if (r->list && !ct_failed(r->context)) {
            r->counts->records++;
            keep(r->context, r->options, first, r->list, r->counts);
        }
    }
    ct_free(r->context, d.turns);
    return name_place(r->context, where);
}

static ct_status read_file(reading *r, const char *path) {
    ct_context *context = r->context;
    r->chat = ct_chat_template_find(context, r->options->chat_template);
    ct_jsonl *reader = r->chat ? ct_jsonl_open(context, path, LINE_LIMIT) : NULL;
    for (ct_value *record; reader && !ct_failed(context) && (record = ct_jsonl_next(reader));) {
        char where[320];
        snprintf(where, sizeof(where), "%.280s:%lld", path, (long long)ct_jsonl_number(reader));
        read_record(r, record, where);
        ct_value_free(record);
    }
    ct_jsonl_close(reader);
    return ct_context_status(context);
}

ct_status ct_sft_read(ct_context *context, const char *path, ct_tokenizer *tokenizer,
                      const ct_sft_options *options, ct_sample_list *list, ct_sft_counts *counts) {
    if (ct_failed(context)) return ct_context_status(context);
    reading r = {.context = context, .options = options, .list = list, .counts = counts};
    r.writer = (ct_chat_writer){.context = context,
                                .tokenizer = tokenizer,
                                .answers_only = options->assistant_only_loss,
                                .ids = &list->ids,
                                .labels = &list->labels};
    *counts = (ct_sft_counts){0};
    return read_file(&r, path);
}

ct_status ct_sft_text(ct_context *context, const char *path, const ct_sft_options *options, ct_bytes *text) {
    if (ct_failed(context)) return ct_context_status(context);
    reading r = {.context = context, .options = options};
    r.writer = (ct_chat_writer){.context = context, .text = text};
    return read_file(&r, path);
}
