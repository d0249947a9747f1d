/* report.h - inside cli: results as values, shared by verbs. */
#ifndef CARAT_SRC_CLI_REPORT_H
#define CARAT_SRC_CLI_REPORT_H

#include "cli/cli.h"

ct_value *ct_cli_recipe(ct_cli *cli);
void ct_cli_overlay(ct_value *target, const ct_value *over);
ct_value *ct_cli_train_report(ct_context *context, const ct_train_report *report, const char *folder);
ct_value *ct_cli_memory_plan(ct_context *context, const ct_memory_plan *plan);
/* Adds a number under a key; NaN becomes null. */
void ct_cli_put_real(ct_value *map, const char *key, double value, ct_context *context);
void ct_cli_put_int(ct_value *map, const char *key, int64_t value, ct_context *context);
void ct_cli_put_text(ct_value *map, const char *key, const char *text, ct_context *context);
/* Text that may hold bytes that are no UTF-8, which become U+FFFD. */
void ct_cli_put_bytes(ct_value *map, const char *key, const char *data, size_t length, ct_context *context);
void ct_cli_put_hash(ct_value *map, const char *key, uint64_t hash, ct_context *context);
/* A model and its tokenizer from a folder, or the tokenizer from elsewhere (NULL: the folder). */
bool ct_cli_load(ct_cli *cli, const char *folder, const char *tokenizer_path, bool bf16, ct_model **model,
                 ct_tokenizer **tokenizer);

#endif
