/* chat.h - conversations as the texts and tokens that a model was trained on, through its chat template.
 *
 * What somebody says never becomes a special token: the rendered text knows which of its bytes are content
 * (template.h), and special tokens are looked for in the others only. */
#ifndef CARAT_CHAT_H
#define CARAT_CHAT_H

#include "template.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The templates of a model and its special tokens. */
typedef struct ct_chat ct_chat;

/* Templates that are built in: chatml, gemma, llama2, llama3, plain, zephyr. */
size_t ct_chat_template_count(void);
const char *ct_chat_template_name(size_t index);

/* `name`: "model" or NULL for what `folder` carries (chat_template.jinja with
 * additional_chat_templates/NAME.jinja, or "chat_template" in tokenizer_config.json, one text or a list of
 * named ones), else the name of a built-in template, else a file: a template, or a .json with a
 * "chat_template". `folder` is that of a model or tokenizer, or a file in it; it names bos_token and the
 * other special tokens, and may be NULL. CT_ERROR_NOT_FOUND if there is no template. */
ct_chat *ct_chat_open(ct_context *context, const char *name, const char *folder);
void ct_chat_close(ct_chat *chat); /* NULL is allowed */
/* Whether the folder carries a template. */
bool ct_chat_exists(ct_context *context, const char *folder);
/* Names of the templates: one is "default". NULL beyond the last. */
const char *ct_chat_name(const ct_chat *chat, size_t index);
/* A special token for templates ("bos_token"); those of the folder are there already. */
ct_status ct_chat_set_token(ct_chat *chat, const char *name, const char *text);

typedef struct ct_chat_request {
    const ct_value *messages;    /* list of maps with "role" and "content" (a text or a list of parts),
                                    "tool_calls" and whatever else the template reads */
    const ct_value *tools;       /* list of JSON schemas; NULL: none */
    const ct_value *documents;   /* list of maps; NULL: none */
    const ct_value *variables;   /* map of further variables (enable_thinking); NULL: none */
    const char *template_name;   /* of several templates; NULL: "tool_use" with tools, else "default" */
    bool add_generation_prompt;  /* ends with what an answer begins with */
    bool continue_final_message; /* ends within the last message, which the model goes on with */
    size_t limit;                /* only the first messages; 0: all */
    int64_t now;                 /* as in ct_template_options */
} ct_chat_request;

/* The text that transformers' apply_chat_template gives, with the marks of its bytes. */
ct_status ct_chat_render(const ct_chat *chat, const ct_chat_request *request, ct_template_output *output);

/* The same, and CT_TEMPLATE_GENERATED stands on what is learnt: the answers from message `first` on.
 * Templates say with `generation` blocks what is an answer. Of others a conversation is rendered up to each
 * answer, with add_generation_prompt, and behind it: the difference is the answer, without white space at its
 * end. It is an error that names the message when later messages change the text of an answer. */
ct_status ct_chat_render_learnt(const ct_chat *chat, const ct_chat_request *request, size_t first,
                                ct_template_output *output);

/* Appends the ids of a rendered text. Special tokens are those that stand whole in bytes that are not
 * content; what is between them is encoded as plain text, cut where what is learnt begins and ends. `labels`
 * (may be NULL) gets the ids of learnt tokens and `ignored` for the others. */
ct_status ct_chat_encode(ct_context *context, ct_tokenizer *tokenizer, const ct_template_output *rendered,
                         ct_ids *ids, ct_ids *labels, int32_t ignored);

#ifdef __cplusplus
}
#endif
#endif
