/* chat.c - a conversation through a chat template; docs/templates.md quotes it. */
#include <carat.h>
#include <string.h>

/* The text that the model goes on with. */
ct_status write_question(ct_context *context, const char *question, ct_template_output *output) {
    ct_value *messages = ct_value_list(context), *message = ct_value_map(context);
    ct_value_set(message, "role", ct_value_string(context, "user"));
    ct_value_set(message, "content", ct_value_string(context, question));
    ct_value_append(messages, message);
    ct_chat *chat = ct_chat_open(context, "chatml", NULL); /* or NULL and a model's folder */
    const ct_chat_request request = {.messages = messages, .add_generation_prompt = true};
    if (chat) ct_chat_render(chat, &request, output);
    ct_chat_close(chat);
    ct_value_free(messages);
    return ct_context_status(context);
}
