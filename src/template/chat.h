/* chat.h - inside template: the templates of a model. */
#ifndef CARAT_TEMPLATE_CHAT_PARTS_H
#define CARAT_TEMPLATE_CHAT_PARTS_H

#include <carat/chat.h>

struct ct_chat {
    ct_context *context;
    ct_template **templates;
    char **names;
    size_t count, capacity;
    ct_value *tokens;   /* map: bos_token and the others */
    ct_value *truth[2]; /* false and true, for variables */
};

/* The template that a request means; NULL with an error. */
const ct_template *ct_chat_pick(const ct_chat *chat, const ct_chat_request *request);
/* Adds marks to bytes [start, end); with `remove` takes them away. */
ct_status ct_chat_change_marks(ct_context *context, ct_template_output *output, size_t start, size_t end,
                               unsigned marks, bool remove);

#endif
