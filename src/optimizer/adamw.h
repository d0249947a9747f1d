/* adamw.h - inside optimizer: AdamW's parts, of which adamw8bit is made as well. */
#ifndef CARAT_SRC_OPTIMIZER_ADAMW_H
#define CARAT_SRC_OPTIMIZER_ADAMW_H

#include <carat/optimizer.h>

typedef struct ct_adamw_options {
    double beta1, beta2, epsilon;
} ct_adamw_options;

extern const ct_option ct_adamw_options_table[];
extern const ct_state_decl ct_adamw_state[];
void ct_adamw_direction(const ct_optimizer_range *range);
void ct_adamw_fused(const ct_optimizer_range *range);

#endif
