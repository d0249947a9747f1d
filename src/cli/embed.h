/* embed.h - inside cli: carat evaluate embed. */
#ifndef CARAT_SRC_CLI_EMBED_H
#define CARAT_SRC_CLI_EMBED_H

#include "cli/cli.h"

extern const ct_option ct_cli_embed_table[]; /* what it has beside ct_embed_table */
/* `model` as on the command line; the options are in `cli`. */
void ct_cli_embed(ct_cli *cli, const char *model, const char *tokenizer, const char *field, bool bf16);

#endif
