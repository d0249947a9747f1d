/* tune.h - inside cli: carat train tune. */
#ifndef CARAT_SRC_CLI_TUNE_H
#define CARAT_SRC_CLI_TUNE_H

#include "cli/cli.h"

int ct_cli_tune(ct_cli *cli);
extern const ct_option ct_cli_tune_table[];

#endif
