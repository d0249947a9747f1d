/* distance.h - inside cli: the report on how far a run's weights went. */
#ifndef CARAT_SRC_CLI_DISTANCE_H
#define CARAT_SRC_CLI_DISTANCE_H

#include "cli/cli.h"

/* `plot` may be NULL. */
void ct_cli_distance(ct_cli *cli, const char *folder, const char *plot);

#endif
