/* pause.h - inside cli: carat data pause. */
#ifndef CARAT_SRC_CLI_PAUSE_H
#define CARAT_SRC_CLI_PAUSE_H

#include "cli/cli.h"

int ct_cli_pause(ct_cli *cli, const char *tokenizer, const char *out);

#endif
