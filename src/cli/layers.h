/* layers.h - inside cli: the reports on the blocks of a transformer. */
#ifndef CARAT_SRC_CLI_LAYERS_H
#define CARAT_SRC_CLI_LAYERS_H

#include "cli/cli.h"

/* Rows of a batch are taken one after the other from the beginning of the text. growth: sizes of the stream;
 * else what each layer does. */
void ct_cli_layers(ct_cli *cli, ct_model *model, ct_tokenizer *tokenizer, const char *path, const char *field,
                   const ct_perplexity_options *options, bool growth);
/* The matrix entropy of each layer, on the same rows. */
void ct_cli_entropy(ct_cli *cli, ct_model *model, ct_tokenizer *tokenizer, const char *path, const char *field,
                    const ct_perplexity_options *options, double alpha);

#endif
