/* chat.c - a conversation through its template: what transformers' apply_chat_template gives. */
#define _GNU_SOURCE /* memmem */
#include "template/chat.h"
#include <string.h>

/* Behind the text that the model goes on with; transformers uses the same words, which nobody says. */
static const char tag[] = "CONTINUE_FINAL_MESSAGE_TAG ";
enum { TAG_LENGTH = sizeof(tag) - 2 }; /* without its blank */

const ct_template *ct_chat_pick(const ct_chat *chat, const ct_chat_request *request) {
    const char *wanted = request->template_name, *names[16];
    size_t count = 0;
    if (!wanted && request->tools)
        for (size_t i = 0; i < chat->count; i++)
            if (strcmp(chat->names[i], "tool_use") == 0) return chat->templates[i];
    for (size_t i = 0; i < chat->count; i++) {
        if (strcmp(chat->names[i], wanted ? wanted : "default") == 0) return chat->templates[i];
        if (count < 16) names[count++] = chat->names[i];
    }
    const char *near = wanted ? ct_nearest_name(wanted, names, count) : names[0];
    ct_fail(chat->context, CT_ERROR_NOT_FOUND,
            "the model has %zu chat templates and none is named \"%s\"; there is \"%s\"", chat->count,
            wanted ? wanted : "default", near ? near : names[0]);
    return NULL;
}

/* ------------------------------------------------------------------------------------------- messages */

static ct_status check_messages(const ct_chat *chat, const ct_chat_request *request) {
    const ct_value *messages = request->messages;
    if (ct_value_kind_of(messages) != CT_VALUE_LIST)
        return ct_fail(chat->context, CT_ERROR_FORMAT, "messages are %s, expected a list",
                       ct_value_kind_name(ct_value_kind_of(messages)));
    for (size_t i = 0; i < ct_value_count(messages); i++)
        if (ct_value_kind_of(ct_value_at(messages, i)) != CT_VALUE_MAP)
            return ct_fail(chat->context, CT_ERROR_FORMAT,
                           "message %zu is %s, expected a map with \"role\" and \"content\"", i + 1,
                           ct_value_kind_name(ct_value_kind_of(ct_value_at(messages, i))));
    return CT_OK;
}

static const char *const reasoning[] = {"reasoning_content", "thinking", "reasoning"};

/* What an answer was thought over has had several names; templates find it under two of them. */
static const ct_value *reasoning_of(const ct_value *message) {
    for (int k = 0; k < 3; k++) {
        const ct_value *found = ct_value_get(message, reasoning[k]);
        if (ct_value_kind_of(found) != CT_VALUE_NULL) return found;
    }
    return NULL;
}

static bool needs_copy(const ct_chat_request *request) {
    if (request->continue_final_message) return true;
    for (size_t i = 0; i < ct_value_count(request->messages); i++)
        if (reasoning_of(ct_value_at(request->messages, i))) return true;
    return false;
}

/* Puts the tag behind the last text of the last message; *said is a copy of that text. */
static ct_status put_tag(const ct_chat *chat, ct_value *messages, ct_value **said) {
    ct_context *context = chat->context;
    ct_value *last = ct_value_at(messages, ct_value_count(messages) - 1), *holder = last;
    ct_value *content = ct_value_get(last, "content");
    const char *key = "content";
    if (ct_value_kind_of(content) == CT_VALUE_LIST)
        for (size_t i = ct_value_count(content); i-- > 0;) {
            ct_value *part = ct_value_at(content, i), *text = ct_value_get(part, "text");
            if (!text) continue;
            holder = part;
            content = text;
            key = "text";
            break;
        }
    if (ct_value_kind_of(content) != CT_VALUE_STRING)
        return ct_fail(context, CT_ERROR_FORMAT,
                       "continue_final_message is set but the final message has no text to continue");
    ct_bytes text = {0};
    ct_bytes_append(context, &text, ct_value_as_string(content, ""), ct_value_string_length(content));
    ct_bytes_append(context, &text, tag, sizeof(tag) - 1);
    *said = ct_failed(context) ? NULL : ct_value_copy(content);
    if (*said) ct_value_set(holder, key, ct_value_string_n(context, text.data, text.length));
    ct_bytes_free(context, &text);
    return ct_context_status(context);
}

static ct_value *copy_messages(const ct_chat *chat, const ct_chat_request *request, ct_value **said) {
    ct_value *copy = ct_value_list(chat->context);
    size_t count = ct_value_count(request->messages);
    if (request->limit && request->limit < count) count = request->limit;
    for (size_t i = 0; copy && i < count; i++) {
        ct_value *message = ct_value_copy(ct_value_at(request->messages, i));
        const ct_value *thought = message ? reasoning_of(message) : NULL;
        if (thought && !ct_value_get(message, "thinking"))
            ct_value_set(message, "thinking", ct_value_copy(thought));
        if (thought && thought != ct_value_get(message, "reasoning_content"))
            ct_value_set(message, "reasoning_content", ct_value_copy(thought));
        ct_value_append(copy, message);
    }
    if (copy && !ct_failed(chat->context) && request->continue_final_message) {
        if (count)
            put_tag(chat, copy, said);
        else
            ct_fail(chat->context, CT_ERROR_ARGUMENT,
                    "continue_final_message is set but the conversation is empty");
    }
    if (!ct_failed(chat->context)) return copy;
    ct_value_free(copy);
    return NULL;
}

/* ------------------------------------------------------------------------------------------- rendering */

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void cut(ct_template_output *output, size_t length) {
    output->text.length = length;
    output->text.data[length] = '\0';
    while (output->span_count && output->spans[output->span_count - 1].start >= length)
        output->span_count--;
    if (output->span_count && output->spans[output->span_count - 1].end > length)
        output->spans[output->span_count - 1].end = length;
}

/* The text ends where the tag is. A template that cut off white space has cut the tag's blank too; then what
 * is before loses its own. */
static ct_status cut_at_tag(const ct_chat *chat, const ct_value *said, ct_template_output *output) {
    const char *text = output->text.data, *end = said ? ct_value_as_string(said, "") : "";
    size_t length = output->text.length, at = SIZE_MAX, first = 0,
           last = said ? ct_value_string_length(said) : 0;
    for (size_t i = length; i-- > 0 && at == SIZE_MAX;)
        if (length - i >= TAG_LENGTH && memcmp(text + i, tag, TAG_LENGTH) == 0) at = i;
    while (first < last && is_blank(end[first]))
        first++;
    while (last > first && is_blank(end[last - 1]))
        last--;
    bool there = at != SIZE_MAX && (last == first || memmem(text, length, end + first, last - first));
    if (!there)
        return ct_fail(
            chat->context, CT_ERROR_FORMAT,
            "continue_final_message is set but the final message does not appear in the chat: the template "
            "leaves out parts of it");
    bool kept = length - at > TAG_LENGTH && text[at + TAG_LENGTH] == ' ';
    while (!kept && at > 0 && is_blank(text[at - 1]))
        at--;
    cut(output, at);
    return CT_OK;
}

ct_status ct_chat_render(const ct_chat *chat, const ct_chat_request *request, ct_template_output *output) {
    ct_context *context = chat->context;
    if (ct_failed(context)) return ct_context_status(context);
    const ct_template *parsed = ct_chat_pick(chat, request);
    if (!parsed || check_messages(chat, request) != CT_OK) return ct_context_status(context);
    ct_value *said = NULL, *copy = needs_copy(request) ? copy_messages(chat, request, &said) : NULL;
    const ct_template_variable more[] = {
        {"messages", copy ? copy : request->messages, copy ? 0 : request->limit},
        {"tools", request->tools, 0},
        {"documents", request->documents, 0},
        {"add_generation_prompt", chat->truth[request->add_generation_prompt], 0}};
    const ct_template_options options = {.trusted = chat->tokens,
                                         .variables = request->variables,
                                         .more = more,
                                         .more_count = 4,
                                         .now = request->now};
    if (!ct_failed(context)) ct_template_render(parsed, &options, output);
    if (!ct_failed(context) && request->continue_final_message) cut_at_tag(chat, said, output);
    ct_value_free(copy);
    ct_value_free(said);
    return ct_context_status(context);
}
