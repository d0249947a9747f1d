/* fit.h - inside cli: what carat fit and carat plan share. */
#ifndef CARAT_SRC_CLI_FIT_H
#define CARAT_SRC_CLI_FIT_H

#include "cli/cli.h"

/* carat plan data-efficiency RUNS.csv --tokens D --reached L */
int ct_cli_data_efficiency(ct_cli *cli);
extern const ct_option ct_cli_efficiency_table[];
/* carat plan ensemble RUNS.csv --budget P */
int ct_cli_plan_ensemble(ct_cli *cli);
extern const ct_option ct_cli_ensemble_table[];
/* The column of losses, for both. */
typedef struct ct_cli_column {
    const char *loss;
} ct_cli_column;
extern const ct_option ct_cli_loss_table[];

#endif
