/* chat.h - inside the command: a conversation in the terminal. */
#ifndef CARAT_SRC_CLI_CHAT_H
#define CARAT_SRC_CLI_CHAT_H

#include "cli/cli.h"

typedef struct ct_cli_chat_flags {
    bool chat;
    const char *chat_template, *system;
} ct_cli_chat_flags;
extern const ct_option ct_cli_chat_table[];

/* Answers the lines of standard input. `folder` is the model's or, where one was given, the tokenizer's. */
ct_status ct_cli_chat(ct_cli *cli, ct_model *model, ct_tokenizer *tokenizer, const char *folder,
                      const ct_cli_chat_flags *flags, const ct_generate_options *options);

#endif
