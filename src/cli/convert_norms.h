/* convert_norms.h - inside cli: carat convert --to rmsnorm|crmsnorm|folded. */
#ifndef CARAT_SRC_CLI_CONVERT_NORMS_H
#define CARAT_SRC_CLI_CONVERT_NORMS_H

#include "cli/report.h"

typedef struct ct_cli_norm_flags {
    bool fold, pad, untie;
    const char *verify, *tokenizer, *field;
} ct_cli_norm_flags;

extern const ct_option ct_cli_norm_table[];
/* `to` is the norm's name, "rmsnorm" or "crmsnorm", or "folded". Errors are in the context. */
void ct_cli_convert_norms(ct_cli *cli, const char *to, const ct_cli_norm_flags *flags);

#endif
