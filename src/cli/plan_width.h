/* plan_width.h - inside cli: the plans that train a recipe at several widths. */
#ifndef CARAT_SRC_CLI_PLAN_WIDTH_H
#define CARAT_SRC_CLI_PLAN_WIDTH_H

#include "cli/cli.h"

extern const ct_option ct_cli_width_table[]; /* plot, csv */
int ct_cli_coordcheck(ct_cli *cli);
int ct_cli_transfer(ct_cli *cli);

#endif
