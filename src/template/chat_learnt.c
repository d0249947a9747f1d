/* chat_learnt.c - which bytes of a rendered conversation are answers. */
#include "template/chat.h"
#include <string.h>

static ct_status push(ct_context *context, ct_template_output *output, size_t start, size_t end,
                      unsigned marks) {
    if (start >= end || !marks) return CT_OK;
    ct_template_span *last = output->span_count ? &output->spans[output->span_count - 1] : NULL;
    if (last && last->end == start && last->marks == marks) {
        last->end = end;
        return CT_OK;
    }
    if (output->span_count == output->span_capacity) {
        size_t capacity = output->span_capacity * 2 + 16;
        void *grown = ct_realloc(context, output->spans, capacity * sizeof(*output->spans), CT_MEMORY_OTHER);
        if (!grown) return CT_ERROR_MEMORY;
        output->spans = grown;
        output->span_capacity = capacity;
    }
    output->spans[output->span_count++] = (ct_template_span){start, end, marks};
    return CT_OK;
}

ct_status ct_chat_change_marks(ct_context *context, ct_template_output *output, size_t start, size_t end,
                               unsigned marks, bool remove) {
    size_t count = output->span_count, at = 0;
    ct_template_span *old = ct_alloc(context, (count + 1) * sizeof(*old), CT_MEMORY_OTHER);
    if (!old) return CT_ERROR_MEMORY;
    if (count) memcpy(old, output->spans, count * sizeof(*old));
    old[count] = (ct_template_span){output->text.length, output->text.length, 0};
    output->span_count = 0;
    for (size_t i = 0; i <= count; i++) { /* the gap before each span, then the span, each in three parts */
        const ct_template_span parts[2] = {{at, old[i].start, 0}, old[i]};
        for (int k = 0; k < 2; k++) {
            const ct_template_span *p = &parts[k];
            size_t from = p->start > start ? p->start : start, to = p->end < end ? p->end : end;
            if (from > to || from >= p->end || to <= p->start) {
                push(context, output, p->start, p->end, p->marks);
                continue;
            }
            push(context, output, p->start, from, p->marks);
            push(context, output, from, to, remove ? p->marks & ~marks : p->marks | marks);
            push(context, output, to, p->end, p->marks);
        }
        at = old[i].end;
    }
    ct_free(context, old);
    return ct_context_status(context);
}

/* ----------------------------------------------------------------------------------- without blocks */

static bool begins_with(const ct_template_output *text, const ct_template_output *prefix) {
    return prefix->text.length <= text->text.length &&
           (!prefix->text.length || memcmp(text->text.data, prefix->text.data, prefix->text.length) == 0);
}

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The answer of message `index` lies between the texts up to it, with what an answer begins with, and behind
 * it. */
static ct_status mark_answer(const ct_chat *chat, const ct_chat_request *request, size_t index,
                             ct_template_output *whole) {
    ct_context *context = chat->context;
    ct_template_output before = {0}, behind = {0};
    ct_chat_request part = *request;
    part.add_generation_prompt = true;
    part.limit = index;
    if (index > 0) ct_chat_render(chat, &part, &before);
    part.add_generation_prompt = false;
    part.limit = index + 1;
    if (!ct_failed(context)) ct_chat_render(chat, &part, &behind);
    if (!ct_failed(context)) {
        size_t end = behind.text.length;
        while (end > before.text.length && is_blank(behind.text.data[end - 1]))
            end--;
        behind.text.length = end; /* white space at the end may be written otherwise when more follows */
        if (!begins_with(whole, &before) || !begins_with(whole, &behind) || end < before.text.length)
            ct_fail(context, CT_ERROR_UNSUPPORTED,
                    "the chat template has no {%% generation %%} blocks, and it writes message %zu otherwise "
                    "when it "
                    "is the last one: what of it is learnt cannot be seen. Put the blocks around answers",
                    index + 1);
        else
            ct_chat_change_marks(context, whole, before.text.length, end, CT_TEMPLATE_GENERATED, false);
    }
    ct_template_output_free(context, &before);
    ct_template_output_free(context, &behind);
    return ct_context_status(context);
}

static bool is_answer(const ct_value *message) {
    return strcmp(ct_value_as_string(ct_value_get(message, "role"), ""), "assistant") == 0;
}

/* What stands in the text up to message `first` is not learnt. */
static ct_status forget_prompt(const ct_chat *chat, const ct_chat_request *request, size_t first,
                               ct_template_output *whole) {
    ct_context *context = chat->context;
    ct_template_output prompt = {0};
    ct_chat_request part = *request;
    part.limit = first;
    part.add_generation_prompt = false;
    if (ct_chat_render(chat, &part, &prompt) == CT_OK) {
        if (!begins_with(whole, &prompt))
            ct_fail(
                context, CT_ERROR_UNSUPPORTED,
                "the chat template writes the prompt (%zu messages) otherwise when the completion follows",
                first);
        else
            ct_chat_change_marks(context, whole, 0, prompt.text.length, CT_TEMPLATE_GENERATED, true);
    }
    ct_template_output_free(context, &prompt);
    return ct_context_status(context);
}

ct_status ct_chat_render_learnt(const ct_chat *chat, const ct_chat_request *request, size_t first,
                                ct_template_output *output) {
    ct_context *context = chat->context;
    if (ct_chat_render(chat, request, output) != CT_OK) return ct_context_status(context);
    const ct_template *parsed = ct_chat_pick(chat, request);
    if (parsed && ct_template_has_generation(parsed))
        return first ? forget_prompt(chat, request, first, output) : CT_OK;
    size_t count = ct_value_count(request->messages);
    if (request->limit && request->limit < count) count = request->limit;
    for (size_t i = first; i < count && !ct_failed(context); i++)
        if (is_answer(ct_value_at(request->messages, i))) mark_answer(chat, request, i, output);
    return ct_context_status(context);
}
