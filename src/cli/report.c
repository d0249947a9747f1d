/* report.c - results as values for --json, and loading what most verbs need. */
#include "cli/report.h"
#include "format/utf8.h"
#include <math.h>

void ct_cli_put_real(ct_value *map, const char *key, double value, ct_context *context) {
    ct_value_set(map, key, isfinite(value) ? ct_value_real(context, value) : ct_value_null(context));
}

void ct_cli_put_int(ct_value *map, const char *key, int64_t value, ct_context *context) {
    ct_value_set(map, key, ct_value_int(context, value));
}

void ct_cli_put_text(ct_value *map, const char *key, const char *text, ct_context *context) {
    ct_value_set(map, key, ct_value_string(context, text));
}

/* One U+FFFD for what could have begun a character, or for a byte that cannot. */
void ct_cli_put_bytes(ct_value *map, const char *key, const char *data, size_t length, ct_context *context) {
    ct_bytes text = {0};
    for (size_t at = 0; at < length && !ct_failed(context);) {
        size_t good = ct_utf8_check(data + at, length - at), bad = 1;
        ct_bytes_append(context, &text, data + at, good);
        at += good;
        if (at == length) break;
        for (size_t size = 2; size <= 3 && at + size <= length; size++)
            if (ct_utf8_incomplete(data + at, size)) bad = size;
        ct_bytes_append(context, &text, "\xef\xbf\xbd", 3);
        at += bad;
    }
    ct_value_set(map, key, ct_value_string_n(context, text.data ? text.data : "", text.length));
    ct_bytes_free(context, &text);
}

void ct_cli_put_hash(ct_value *map, const char *key, uint64_t hash, ct_context *context) {
    char text[24];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)hash);
    ct_cli_put_text(map, key, text, context);
}

ct_value *ct_cli_memory_plan(ct_context *context, const ct_memory_plan *plan) {
    ct_value *map = ct_value_map(context), *classes = ct_value_map(context);
    for (int c = 0; classes && c < CT_MEMORY_CLASSES; c++)
        ct_cli_put_int(classes, ct_memory_class_name((ct_memory_class)c), (int64_t)plan->at_peak[c], context);
    if (!map || !classes) return map;
    ct_cli_put_int(map, "peak", (int64_t)plan->peak, context);
    ct_cli_put_int(map, "base", (int64_t)plan->base, context);
    ct_value_set(map, "at_peak", classes);
    ct_cli_put_int(map, "micro_batch", plan->micro_batch, context);
    ct_cli_put_int(map, "checkpoint_every", plan->checkpoint_every, context);
    ct_cli_put_int(map, "flops_per_step", (int64_t)plan->flops_per_step, context);
    ct_cli_put_int(map, "parameters", plan->parameters, context);
    return map;
}

ct_value *ct_cli_train_report(ct_context *context, const ct_train_report *r, const char *folder) {
    ct_value *map = ct_value_map(context);
    if (!map) return NULL;
    ct_cli_put_text(map, "output_dir", folder, context);
    ct_cli_put_int(map, "steps", r->steps, context);
    ct_cli_put_int(map, "tokens", r->tokens, context);
    ct_cli_put_real(map, "seconds", r->seconds, context);
    ct_cli_put_real(map, "tokens_per_second", r->tokens_per_second, context);
    ct_cli_put_real(map, "first_loss", r->first_loss, context);
    ct_cli_put_real(map, "last_loss", r->last_loss, context);
    ct_cli_put_real(map, "bits_per_byte_before", r->bits_per_byte_before, context);
    ct_cli_put_real(map, "bits_per_byte_after", r->bits_per_byte_after, context);
    ct_cli_put_real(map, "perplexity_before", r->perplexity_before, context);
    ct_cli_put_real(map, "perplexity_after", r->perplexity_after, context);
    if (isfinite(r->accuracy_after)) {
        ct_cli_put_real(map, "accuracy_before", r->accuracy_before, context);
        ct_cli_put_real(map, "accuracy_after", r->accuracy_after, context);
    }
    ct_cli_put_real(map, "best_loss", r->best_loss, context);
    ct_cli_put_int(map, "best_step", r->best_step, context);
    ct_value_set(map, "stopped_early", ct_value_bool(context, r->stopped_early));
    ct_value_set(map, "interrupted", ct_value_bool(context, r->interrupted));
    ct_value_set(map, "resumed", ct_value_bool(context, r->resumed));
    ct_value_set(map, "plan", ct_cli_memory_plan(context, &r->plan));
    ct_cli_put_int(map, "measured_peak", (int64_t)r->measured_peak, context);
    ct_cli_put_int(map, "peak_anonymous", (int64_t)r->peak_anonymous, context);
    ct_cli_put_int(map, "peak_resident", (int64_t)ct_peak_resident(), context);
    ct_cli_put_hash(map, "weights_hash", r->weights_hash, context);
    ct_cli_put_hash(map, "loss_hash", r->loss_hash, context);
    return map;
}

bool ct_cli_load(ct_cli *cli, const char *folder, const char *tokenizer_path, bool bf16, ct_model **model,
                 ct_tokenizer **tokenizer) {
    ct_context *context = cli->context;
    *tokenizer = NULL;
    *model = ct_model_load(context, folder, bf16 ? CT_BF16 : CT_DTYPES);
    char *path = *model ? ct_model_resolve(context, tokenizer_path ? tokenizer_path : folder) : NULL;
    if (path) *tokenizer = ct_tokenizer_load(context, path);
    ct_free(context, path);
    if (*tokenizer && ct_tokenizer_size(*tokenizer) > ct_model_vocabulary(*model))
        ct_fail(context, CT_ERROR_FORMAT, "%s: the tokenizer has %d tokens, the model's vocabulary %lld", folder,
                (int)ct_tokenizer_size(*tokenizer), (long long)ct_model_vocabulary(*model));
    if (!ct_failed(context)) return true;
    ct_tokenizer_destroy(*tokenizer);
    ct_model_destroy(*model);
    return false;
}
