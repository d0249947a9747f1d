/* chat.c - carat generate --chat: a line is a question, the answer comes as it is made, and both stay in the
 * conversation. */
#include "cli/chat.h"
#include "cli/report.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const ct_option ct_cli_chat_table[] = {
    CT_OPTION_BOOL("chat", ct_cli_chat_flags, chat, false,
                   "a conversation: each line of standard input is answered; /reset forgets it, /exit ends"),
    CT_OPTION_STRING("chat_template", ct_cli_chat_flags, chat_template, NULL,
                     "with --chat: chatml, gemma, llama2, llama3, plain, zephyr or a template's file; the model's by "
                     "default"),
    CT_OPTION_STRING("system", ct_cli_chat_flags, system, NULL, "with --chat: what the model is told at the beginning"),
    CT_OPTION_END};

typedef struct conversation {
    ct_cli *cli;
    ct_context *context;
    ct_model *model;
    ct_tokenizer *tokenizer;
    ct_chat *chat;
    const ct_cli_chat_flags *flags;
    ct_generate_options options;
    ct_value *messages;
    bool terminal;
    char last; /* of the answer */
} conversation;

static ct_status add(conversation *c, const char *role, const char *text, size_t length) {
    ct_value *message = ct_value_map(c->context);
    ct_cli_put_text(message, "role", role, c->context);
    if (message) ct_value_set(message, "content", ct_value_string_n(c->context, text, length));
    return ct_value_append(c->messages, message);
}

static ct_status begin(conversation *c) {
    ct_value_free(c->messages);
    c->messages = ct_value_list(c->context);
    if (c->flags->system) add(c, "system", c->flags->system, strlen(c->flags->system));
    return ct_context_status(c->context);
}

/* The messages but those at [at, at + count). */
static void drop(conversation *c, size_t at, size_t count) {
    ct_value *kept = ct_value_list(c->context);
    for (size_t i = 0; kept && i < ct_value_count(c->messages); i++)
        if (i < at || i >= at + count) ct_value_append(kept, ct_value_copy(ct_value_at(c->messages, i)));
    if (ct_failed(c->context)) {
        ct_value_free(kept);
        return;
    }
    ct_value_free(c->messages);
    c->messages = kept;
}

/* --------------------------------------------------------------------------------------------- template */

/* An answer ends with the template's own token, which need not be the tokenizer's eos. */
static void find_end(conversation *c) {
    static const char sample[] = "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]";
    ct_template_output text = {0};
    ct_ids ids = {0}, labels = {0};
    ct_try trial;
    ct_try_begin(c->context, &trial); /* templates that want other conversations keep the eos */
    ct_value *messages = ct_json_parse(c->context, sample, sizeof(sample) - 1, NULL);
    const ct_chat_request request = {.messages = messages};
    if (messages && ct_chat_render_learnt(c->chat, &request, 0, &text) == CT_OK)
        ct_chat_encode(c->context, c->tokenizer, &text, &ids, &labels, -1);
    int32_t end = -1;
    for (size_t i = 0; i < labels.count; i++)
        if (labels.ids[i] >= 0) end = labels.ids[i];
    if (end >= 0 && ct_tokenizer_is_special(c->tokenizer, end))
        ct_tokenizer_set_role(c->tokenizer, "eos", ct_tokenizer_symbol(c->tokenizer, end));
    ct_ids_free(c->context, &ids);
    ct_ids_free(c->context, &labels);
    ct_template_output_free(c->context, &text);
    ct_value_free(messages);
    ct_try_end(c->context, &trial, NULL, 0);
}

static ct_status open_chat(conversation *c, const char *folder) {
    static const char *const roles[][2] = {{"bos", "bos_token"}, {"eos", "eos_token"}, {"pad", "pad_token"}};
    ct_context *context = c->context;
    char *path = ct_file_exists(folder) ? ct_strdup(context, folder) : ct_model_resolve(context, folder);
    if (path && !c->flags->chat_template && !ct_chat_exists(context, path))
        ct_fail(context, CT_ERROR_NOT_FOUND,
                "%s: the model has no chat template; --chat-template NAME|FILE gives one: chatml, gemma, llama2, llama3, "
                "plain, zephyr, or a .jinja file", path);
    c->chat = path ? ct_chat_open(context, c->flags->chat_template, path) : NULL;
    ct_free(context, path);
    for (int i = 0; c->chat && i < 3; i++) {
        int32_t id = ct_tokenizer_role(c->tokenizer, roles[i][0]);
        if (id >= 0) ct_chat_set_token(c->chat, roles[i][1], ct_tokenizer_symbol(c->tokenizer, id));
    }
    if (c->chat && !ct_failed(context)) find_end(c);
    return ct_context_status(context);
}

/* --------------------------------------------------------------------------------------------- answers */

static bool show(void *user, int64_t index, const char *text, size_t length) {
    conversation *c = user;
    (void)index;
    if (length) c->last = text[length - 1];
    fwrite(text, 1, length, stdout);
    fflush(stdout);
    return !ferror(stdout);
}

static ct_status encode(conversation *c, ct_ids *ids) {
    ct_template_output text = {0};
    const ct_chat_request request = {.messages = c->messages, .add_generation_prompt = true};
    ids->count = 0;
    if (ct_chat_render(c->chat, &request, &text) == CT_OK) ct_chat_encode(c->context, c->tokenizer, &text, ids, NULL, -1);
    ct_template_output_free(c->context, &text);
    return ct_context_status(c->context);
}

/* Encodes the conversation. When the model's context is too short for it, the oldest question goes with its answer. */
static ct_status fit(conversation *c, ct_ids *ids) {
    int64_t most = ct_model_context_length(c->model);
    size_t first = c->flags->system != NULL;
    while (encode(c, ids) == CT_OK && most && (int64_t)ids->count >= most) {
        if (ct_value_count(c->messages) < first + 3)
            return ct_fail(c->context, CT_ERROR_ARGUMENT,
                           "the message has %zu tokens with its template, the model's context holds %lld", ids->count,
                           (long long)most);
        drop(c, first, 2);
        fprintf(stderr, "The conversation is longer than the model's context of %lld tokens: its oldest question and "
                        "answer are forgotten\n", (long long)most);
    }
    return ct_context_status(c->context);
}

static void print_answer(conversation *c, const ct_generation *g) {
    ct_value *map = ct_value_map(c->context);
    ct_cli_put_text(map, "role", "assistant", c->context);
    ct_cli_put_bytes(map, "content", g->text.data ? g->text.data : "", g->text.length, c->context);
    ct_cli_put_text(map, "finish", ct_finish_name(g->finish), c->context);
    ct_cli_put_int(map, "prompt_tokens", g->prompt_tokens, c->context);
    ct_cli_put_int(map, "new_tokens", (int64_t)g->ids.count, c->context);
    ct_cli_print_json(c->cli, map);
}

static ct_status answer(conversation *c) {
    ct_ids ids = {0};
    ct_generation result = {0};
    c->last = '\n';
    if (fit(c, &ids) == CT_OK &&
        ct_generate(c->model, c->tokenizer, &ids, 1, &c->options, c->cli->json ? NULL : show, c, &result, NULL) == CT_OK) {
        if (c->cli->json) print_answer(c, &result);
        else if (c->last != '\n' || !result.text.length) putchar('\n');
        fflush(stdout);
        add(c, "assistant", result.text.data ? result.text.data : "", result.text.length);
        c->options.seed++; /* another question, other draws */
    }
    ct_ids_free(c->context, &ids);
    ct_generation_free(c->context, &result);
    return ct_context_status(c->context);
}

/* A question that cannot be answered is forgotten, and the conversation goes on where somebody is there to see it. */
static bool ask(conversation *c, const char *text, size_t length) {
    ct_try trial;
    char message[512];
    if (!c->terminal) return add(c, "user", text, length) == CT_OK && answer(c) == CT_OK;
    ct_try_begin(c->context, &trial);
    size_t before = ct_value_count(c->messages);
    if (add(c, "user", text, length) == CT_OK) answer(c);
    bool failed = ct_failed(c->context);
    ct_try_end(c->context, &trial, message, sizeof(message));
    if (!failed) return true;
    fprintf(stderr, "%s\n", message);
    if (ct_value_count(c->messages) > before) drop(c, ct_value_count(c->messages) - 1, 1);
    return !ct_failed(c->context);
}

/* ------------------------------------------------------------------------------------------------ lines */

/* /reset, /exit; a slash before anything but a word is a question like another. Whether to go on. */
static bool command(conversation *c, const char *line, bool *is_command) {
    *is_command = line[0] == '/' && line[1] != '\0' && strspn(line + 1, "abcdefghijklmnopqrstuvwxyz") == strlen(line + 1);
    if (!*is_command) return true;
    if (strcmp(line, "/exit") == 0) return false;
    if (strcmp(line, "/reset") == 0) return begin(c) == CT_OK;
    fprintf(stderr, "%s is not a command, expected /reset or /exit\n", line);
    return true;
}

/* The next line without its end; NULL at the end of the input. Ctrl-C stops one answer; twice while one is made, or
 * while a line is awaited, it ends the program. */
static char *next_line(conversation *c, char **line, size_t *size, size_t *length) {
    for (int presses = 0; presses < 2; presses++) {
        errno = 0;
        if (c->terminal) fputs("> ", stderr);
        ssize_t read = getline(line, size, stdin);
        if (read >= 0) {
            *length = (size_t)read;
            while (*length > 0 && ((*line)[*length - 1] == '\n' || (*line)[*length - 1] == '\r')) (*line)[--*length] = '\0';
            return *line;
        }
        if (errno != EINTR || !ct_cli_interrupt_forget(c->context)) return NULL;
        clearerr(stdin);
        if (c->terminal && presses == 0) fputs("\nCtrl-C once more or /exit ends\n", stderr);
    }
    return NULL;
}

static void converse(conversation *c) {
    char *line = NULL, *text;
    size_t size = 0, length = 0;
    bool going = true, is_command;
    while (going && !ct_failed(c->context) && !ferror(stdout) && (text = next_line(c, &line, &size, &length))) {
        if (!ct_cli_interrupt_forget(c->context)) break;
        if (!length) continue;
        going = command(c, text, &is_command);
        if (going && !is_command) going = ask(c, text, length);
        if (!ct_cli_interrupt_forget(c->context)) break; /* the answer was stopped, not the conversation */
    }
    if (c->terminal) fputc('\n', stderr);
    free(line);
}

ct_status ct_cli_chat(ct_cli *cli, ct_model *model, ct_tokenizer *tokenizer, const char *folder,
                      const ct_cli_chat_flags *flags, const ct_generate_options *options) {
    conversation c = {.cli = cli, .context = cli->context, .model = model, .tokenizer = tokenizer, .flags = flags,
                      .options = *options, .terminal = isatty(STDIN_FILENO)};
    if (open_chat(&c, folder) == CT_OK && begin(&c) == CT_OK) converse(&c);
    ct_value_free(c.messages);
    ct_chat_close(c.chat);
    return ct_context_status(cli->context);
}
