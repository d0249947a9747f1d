/* fit.h - inside cli: what carat fit and carat plan share. */
#ifndef CARAT_SRC_CLI_FIT_H
#define CARAT_SRC_CLI_FIT_H

#include "cli/cli.h"

/* carat plan data-efficiency RUNS.csv --tokens D --reached L */
int ct_cli_data_efficiency(ct_cli *cli);
extern const ct_option ct_cli_efficiency_table[];

#endif
