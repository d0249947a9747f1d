/* chat_template.c - the built-in chat templates, piece by piece: marks, contents, and which of them are
 * learnt. */
#include "data/chat_template.h"
#include <string.h>

struct ct_chat_template {
    const char *name;
    ct_status (*render)(ct_chat_writer *writer, const ct_chat_message *messages, size_t count);
};

/* -------------------------------------------------------------------------------------------- pieces */

static ct_status label_new(ct_chat_writer *w, bool learnt) {
    while (w->labels->count < w->ids->count && !ct_failed(w->context))
        ct_ids_push(w->context, w->labels,
                    learnt || !w->answers_only ? w->ids->ids[w->labels->count] : CT_LABEL_NONE);
    return ct_context_status(w->context);
}

ct_status ct_chat_put(ct_chat_writer *w, ct_chat_piece kind, bool learnt, const char *text, size_t length) {
    if (ct_failed(w->context)) return ct_context_status(w->context);
    if (w->text) return ct_bytes_append(w->context, w->text, text, length);
    unsigned flags = kind == CT_CHAT_MARK ? CT_ENCODE_SPECIAL : CT_ENCODE_PLAIN;
    if (length > 0) ct_tokenizer_encode(w->tokenizer, text, length, flags, w->ids);
    return ct_failed(w->context) ? ct_context_status(w->context) : label_new(w, learnt);
}

ct_status ct_chat_put_role(ct_chat_writer *w, const char *role, const char *otherwise, bool learnt) {
    int32_t id = w->tokenizer ? ct_tokenizer_role(w->tokenizer, role) : -1;
    if (w->text || id < 0)
        return otherwise ? ct_chat_put(w, CT_CHAT_MARK, learnt, otherwise, strlen(otherwise)) : CT_OK;
    if (ct_failed(w->context) || ct_ids_push(w->context, w->ids, id) != CT_OK)
        return ct_context_status(w->context);
    return label_new(w, learnt);
}

static void mark(ct_chat_writer *w, const char *text, bool learnt) {
    ct_chat_put(w, CT_CHAT_MARK, learnt, text, strlen(text));
}

static bool is(const ct_chat_message *m, const char *role) {
    return strcmp(m->role, role) == 0;
}

static void content(ct_chat_writer *w, const ct_chat_message *m, bool learnt) {
    ct_chat_put(w, CT_CHAT_CONTENT, learnt, m->content, m->length);
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Without the spaces at both ends, as the templates of Llama have it. */
static ct_chat_message trimmed(const ct_chat_message *m) {
    ct_chat_message t = *m;
    while (t.length > 0 && is_space(t.content[0])) {
        t.content++;
        t.length--;
    }
    while (t.length > 0 && is_space(t.content[t.length - 1]))
        t.length--;
    return t;
}

/* ------------------------------------------------------------------------------------------ templates */

static ct_status render_chatml(ct_chat_writer *w, const ct_chat_message *messages, size_t count) {
    for (size_t i = 0; i < count; i++) {
        bool answer = is(&messages[i], "assistant");
        mark(w, "<|im_start|>", false);
        mark(w, messages[i].role, false);
        mark(w, "\n", false);
        content(w, &messages[i], answer);
        mark(w, "<|im_end|>", answer);
        mark(w, "\n", false);
    }
    return ct_context_status(w->context);
}

static ct_status render_llama3(ct_chat_writer *w, const ct_chat_message *messages, size_t count) {
    ct_chat_put_role(w, "bos", "<|begin_of_text|>", false);
    for (size_t i = 0; i < count; i++) {
        bool answer = is(&messages[i], "assistant");
        ct_chat_message text = trimmed(&messages[i]);
        mark(w, "<|start_header_id|>", false);
        mark(w, messages[i].role, false);
        mark(w, "<|end_header_id|>", false);
        mark(w, "\n\n", false);
        content(w, &text, answer);
        mark(w, "<|eot_id|>", answer);
    }
    return ct_context_status(w->context);
}

static ct_status render_plain(ct_chat_writer *w, const ct_chat_message *messages, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char begin[32], end[32];
        bool answer = is(&messages[i], "assistant");
        snprintf(begin, sizeof(begin), "<%s>", messages[i].role);
        snprintf(end, sizeof(end), "</%s>", messages[i].role);
        mark(w, begin, false);
        content(w, &messages[i], answer);
        mark(w, end, answer);
    }
    return ct_context_status(w->context);
}

/* Turns alternate, the user's first; the system's words stand within the first turn (Touvron et al.,
 * arXiv:2307.09288). */
static ct_status render_llama2(ct_chat_writer *w, const ct_chat_message *messages, size_t count) {
    size_t first = count > 0 && is(&messages[0], "system");
    if (first && (count < 2 || !is(&messages[1], "user")))
        return ct_fail(w->context, CT_ERROR_FORMAT, "%s: llama2 has a system turn only before a user's",
                       w->where);
    for (size_t i = first; i < count; i++) {
        bool answer = is(&messages[i], "assistant");
        const char *expected = (i - first) % 2 ? "assistant" : "user";
        if (!is(&messages[i], expected))
            return ct_fail(
                w->context, CT_ERROR_FORMAT,
                "%s: turn %zu is of \"%s\", in llama2 turns of user and assistant alternate: expected \"%s\"",
                w->where, i + 1, messages[i].role, expected);
        ct_chat_message text = trimmed(&messages[i]);
        if (!answer) {
            ct_chat_put_role(w, "bos", "<s>", false);
            mark(w, "[INST] ", false);
            if (first && i == first) {
                mark(w, "<<SYS>>\n", false);
                content(w, &messages[0], false);
                mark(w, "\n<</SYS>>\n\n", false);
            }
            content(w, &text, false);
            mark(w, " [/INST]", false);
        } else {
            mark(w, " ", true);
            content(w, &text, true);
            mark(w, " ", true);
            ct_chat_put_role(w, "eos", "</s>", true);
        }
    }
    return ct_context_status(w->context);
}

static const ct_chat_template templates[] = {
    {"chatml", render_chatml}, {"llama2", render_llama2}, {"llama3", render_llama3}, {"plain", render_plain}};
enum { TEMPLATES = sizeof(templates) / sizeof(templates[0]) };

size_t ct_chat_template_count(void) {
    return TEMPLATES;
}
const char *ct_chat_template_name(size_t index) {
    return index < TEMPLATES ? templates[index].name : NULL;
}

const ct_chat_template *ct_chat_template_find(ct_context *context, const char *name) {
    const char *names[TEMPLATES];
    if (ct_failed(context)) return NULL;
    for (size_t i = 0; i < TEMPLATES; i++) {
        names[i] = templates[i].name;
        if (name && strcmp(names[i], name) == 0) return &templates[i];
    }
    const char *near = name ? ct_nearest_name(name, names, TEMPLATES) : NULL;
    ct_fail(context, CT_ERROR_NOT_FOUND,
            "chat_template: there is no \"%s\", expected chatml, llama2, llama3 or plain%s%s%s",
            name ? name : "", near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return NULL;
}

/* ------------------------------------------------------------------------------------------ rendering */

static ct_status check_roles(const ct_chat_writer *w, const ct_chat_message *messages, size_t count) {
    static const char *const roles[] = {"system", "user", "assistant"};
    for (size_t i = 0; i < count; i++) {
        bool known = false;
        for (int r = 0; r < 3; r++)
            known = known || is(&messages[i], roles[r]);
        if (known) continue;
        const char *near = ct_nearest_name(messages[i].role, roles, 3);
        return ct_fail(w->context, CT_ERROR_FORMAT,
                       "%s: turn %zu: unknown role \"%s\", expected system, user or assistant%s%s%s",
                       w->where, i + 1, messages[i].role, near ? "; did you mean \"" : "", near ? near : "",
                       near ? "\"?" : "");
    }
    return CT_OK;
}

ct_status ct_chat_render(ct_chat_writer *w, const ct_chat_template *chat, const ct_chat_message *messages,
                         size_t count) {
    if (ct_failed(w->context)) return ct_context_status(w->context);
    ct_status status = check_roles(w, messages, count);
    return status == CT_OK ? chat->render(w, messages, count) : status;
}

ct_status ct_chat_encode(ct_context *context, ct_tokenizer *tokenizer, const ct_chat_template *chat,
                         const ct_chat_message *messages, size_t count, bool answers_only, const char *where,
                         ct_ids *ids, ct_ids *labels) {
    ct_chat_writer writer = {.context = context,
                             .tokenizer = tokenizer,
                             .answers_only = answers_only,
                             .ids = ids,
                             .labels = labels,
                             .where = where};
    return ct_chat_render(&writer, chat, messages, count);
}
