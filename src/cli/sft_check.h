/* sft_check.h - inside cli: carat data sft-check. */
#ifndef CARAT_SRC_CLI_SFT_CHECK_H
#define CARAT_SRC_CLI_SFT_CHECK_H

#include "cli/cli.h"

extern const ct_option ct_cli_sft_table[];
/* The file is the second positional argument. */
int ct_cli_sft_check(ct_cli *cli, const char *tokenizer);

#endif
