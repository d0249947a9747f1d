/* chat_template.h - inside data: rendering dialogues, to tokens with labels or to text. */
#ifndef CARAT_SRC_DATA_CHAT_TEMPLATE_H
#define CARAT_SRC_DATA_CHAT_TEMPLATE_H

#include <carat/sft.h>

/* Where a dialogue goes: to `text` if it is not NULL, else through the tokenizer to ids and labels. */
typedef struct ct_chat_writer {
    ct_context *context;
    ct_tokenizer *tokenizer;
    bool answers_only;
    ct_ids *ids, *labels;
    ct_bytes *text;
    const char *where;
} ct_chat_writer;

/* A mark of the template, or what somebody said. */
typedef enum ct_chat_piece { CT_CHAT_MARK, CT_CHAT_CONTENT } ct_chat_piece;
ct_status ct_chat_put(ct_chat_writer *writer, ct_chat_piece kind, bool learnt, const char *text,
                      size_t length);
/* The tokenizer's token of a role ("bos", "eos"); without one the text `otherwise` as a mark (NULL: nothing).
 */
ct_status ct_chat_put_role(ct_chat_writer *writer, const char *role, const char *otherwise, bool learnt);
ct_status ct_chat_render(ct_chat_writer *writer, const ct_chat_template *chat,
                         const ct_chat_message *messages, size_t count);

#endif
