/* sft.c - .jsonl files of dialogues into samples with labels, or into text. */
#include <carat/format.h>
#include <carat/sft.h>
#include <string.h>

enum { LINE_LIMIT = 64 << 20 };

void ct_sample_list_free(ct_context *context, ct_sample_list *list) {
    ct_ids_free(context, &list->ids);
    ct_ids_free(context, &list->labels);
    ct_ids_free(context, &list->lengths);
}

/* A dialogue: its messages, of which the answers from `answers` on are learnt. */
typedef struct dialogue {
    const ct_value *messages, *tools;
    ct_value *joined; /* prompt and completion in one list, if they were two */
    size_t answers;
    const ct_value *prompt, *completion; /* two texts instead */
} dialogue;

/* Where it goes: to `text` if that is not NULL, else through the tokenizer to ids and labels. */
typedef struct reading {
    ct_context *context;
    const ct_sft_options *options;
    ct_tokenizer *tokenizer;
    ct_chat *chat;
    bool built_in;              /* knows three roles and texts only */
    ct_template_output written; /* kept for the next record */
    ct_sample_list *list;
    ct_bytes *text;
    ct_sft_counts *counts;
} reading;

/* ---------------------------------------------------------------------------------------- dialogues */

static ct_status check_role(ct_context *context, const char *role, const char *where, size_t turn) {
    static const char *const roles[] = {"system", "user", "assistant"};
    for (int r = 0; r < 3; r++)
        if (strcmp(role, roles[r]) == 0) return CT_OK;
    const char *near = ct_nearest_name(role, roles, 3);
    return ct_fail(context, CT_ERROR_FORMAT,
                   "%s: turn %zu: unknown role \"%s\", expected system, user or assistant%s%s%s", where, turn,
                   role, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static ct_status check_turns(const reading *r, const ct_value *list, const char *where) {
    for (size_t i = 0; i < ct_value_count(list); i++) {
        const ct_value *turn = ct_value_at(list, i), *content = ct_value_get(turn, "content");
        const char *role = ct_value_as_string(ct_value_get(turn, "role"), NULL);
        if (!role)
            return ct_fail(r->context, CT_ERROR_FORMAT, "%s: turn %zu has no text in \"role\"", where, i + 1);
        if (!r->built_in) continue;
        if (ct_value_kind_of(content) != CT_VALUE_STRING)
            return ct_fail(r->context, CT_ERROR_FORMAT, "%s: turn %zu has %s in \"content\", expected text",
                           where, i + 1, content ? ct_value_kind_name(ct_value_kind_of(content)) : "nothing");
        if (check_role(r->context, role, where, i + 1) != CT_OK) return CT_ERROR_FORMAT;
    }
    return CT_OK;
}

static ct_value *join(ct_context *context, const ct_value *first, const ct_value *second) {
    ct_value *list = ct_value_copy(first);
    for (size_t i = 0; list && i < ct_value_count(second); i++)
        if (ct_value_append(list, ct_value_copy(ct_value_at(second, i))) != CT_OK) break;
    if (!ct_failed(context)) return list;
    ct_value_free(list);
    return NULL;
}

static ct_status read_dialogue(const reading *r, const ct_value *record, const char *where, dialogue *d) {
    const ct_value *messages = ct_value_get(record, "messages"), *prompt = ct_value_get(record, "prompt");
    const ct_value *completion = ct_value_get(record, "completion"), *tools = ct_value_get(record, "tools");
    *d = (dialogue){.tools = ct_value_kind_of(tools) == CT_VALUE_NULL ? NULL : tools};
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
            r->context, CT_ERROR_FORMAT,
            "%s: expected {\"messages\": [...]}, or \"prompt\" and \"completion\", both texts or both lists",
            where);
    if (check_turns(r, first, where) != CT_OK || check_turns(r, second, where) != CT_OK)
        return ct_context_status(r->context);
    if (ct_value_count(second)) {
        d->answers = ct_value_count(first);
        d->joined = join(r->context, first, second);
    }
    d->messages = d->joined ? d->joined : first;
    return ct_context_status(r->context);
}

static ct_status put_plain(reading *r, const ct_value *text, bool learnt) {
    ct_ids *ids = &r->list->ids, *labels = &r->list->labels;
    size_t first = ids->count;
    if (ct_value_string_length(text))
        ct_tokenizer_encode(r->tokenizer, ct_value_as_string(text, ""), ct_value_string_length(text),
                            CT_ENCODE_PLAIN, ids);
    for (size_t i = first; i < ids->count && !ct_failed(r->context); i++)
        ct_ids_push(r->context, labels, learnt ? ids->ids[i] : CT_LABEL_NONE);
    return ct_context_status(r->context);
}

static ct_status write_texts(reading *r, const dialogue *d) {
    bool all = !r->options->assistant_only_loss;
    if (r->text) {
        ct_bytes_append(r->context, r->text, ct_value_as_string(d->prompt, ""),
                        ct_value_string_length(d->prompt));
        return ct_bytes_append(r->context, r->text, ct_value_as_string(d->completion, ""),
                               ct_value_string_length(d->completion));
    }
    int32_t eos = ct_tokenizer_role(r->tokenizer, "eos");
    if (put_plain(r, d->prompt, all) != CT_OK || put_plain(r, d->completion, true) != CT_OK || eos < 0)
        return ct_context_status(r->context);
    ct_ids_push(r->context, &r->list->ids, eos);
    return ct_ids_push(r->context, &r->list->labels, eos);
}

static ct_status write_dialogue(reading *r, const dialogue *d) {
    bool all = !r->options->assistant_only_loss;
    const ct_chat_request request = {.messages = d->messages, .tools = d->tools};
    if (d->prompt) return write_texts(r, d);
    if (r->text || all)
        ct_chat_render(r->chat, &request, &r->written);
    else
        ct_chat_render_learnt(r->chat, &request, d->answers, &r->written);
    if (ct_failed(r->context)) return ct_context_status(r->context);
    if (r->text) return ct_bytes_append(r->context, r->text, r->written.text.data, r->written.text.length);
    size_t first = r->list->ids.count;
    ct_chat_encode(r->context, r->tokenizer, &r->written, &r->list->ids, &r->list->labels, CT_LABEL_NONE);
    for (size_t i = first; all && i < r->list->labels.count; i++)
        r->list->labels.ids[i] = r->list->ids.ids[i];
    return ct_context_status(r->context);
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
    if (read_dialogue(r, record, where, &d) == CT_OK && write_dialogue(r, &d) == CT_OK && r->list) {
        r->counts->records++;
        keep(r->context, r->options, first, r->list, r->counts);
    }
    ct_value_free(d.joined);
    return name_place(r->context, where);
}

/* Templates find the tokenizer's tokens, where no file names them. */
static ct_status set_tokens(reading *r) {
    static const char *const roles[][2] = {
        {"bos", "bos_token"}, {"eos", "eos_token"}, {"unk", "unk_token"}, {"pad", "pad_token"}};
    for (int i = 0; r->tokenizer && i < 4 && !ct_failed(r->context); i++) {
        int32_t id = ct_tokenizer_role(r->tokenizer, roles[i][0]);
        if (id >= 0) ct_chat_set_token(r->chat, roles[i][1], ct_tokenizer_symbol(r->tokenizer, id));
    }
    return ct_context_status(r->context);
}

static bool is_built_in(const char *name) {
    for (size_t i = 0; i < ct_chat_template_count(); i++)
        if (name && strcmp(ct_chat_template_name(i), name) == 0) return true;
    return false;
}

static ct_status read_file(reading *r, const char *path) {
    ct_context *context = r->context;
    r->chat =
        ct_chat_open(context, r->options->chat_template ? r->options->chat_template : "", r->options->folder);
    r->built_in = is_built_in(r->options->chat_template);
    ct_jsonl *reader = r->chat && set_tokens(r) == CT_OK ? ct_jsonl_open(context, path, LINE_LIMIT) : NULL;
    for (ct_value *record; reader && !ct_failed(context) && (record = ct_jsonl_next(reader));) {
        char where[320];
        snprintf(where, sizeof(where), "%.280s:%lld", path, (long long)ct_jsonl_number(reader));
        read_record(r, record, where);
        ct_value_free(record);
    }
    ct_jsonl_close(reader);
    ct_chat_close(r->chat);
    ct_template_output_free(context, &r->written);
    return ct_context_status(context);
}

ct_status ct_sft_read(ct_context *context, const char *path, ct_tokenizer *tokenizer,
                      const ct_sft_options *options, ct_sample_list *list, ct_sft_counts *counts) {
    if (ct_failed(context)) return ct_context_status(context);
    reading r = {
        .context = context, .options = options, .tokenizer = tokenizer, .list = list, .counts = counts};
    *counts = (ct_sft_counts){0};
    return read_file(&r, path);
}

ct_status ct_sft_text(ct_context *context, const char *path, const ct_sft_options *options, ct_bytes *text) {
    if (ct_failed(context)) return ct_context_status(context);
    reading r = {.context = context, .options = options, .text = text};
    return read_file(&r, path);
}
