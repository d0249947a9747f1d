/* sft_check.c - carat data sft-check: what of a file of dialogues would be learnt, in numbers and by one
 * sample. */
#include "cli/sft_check.h"
#include "cli/report.h"
#include <string.h>

typedef struct check_flags {
    ct_sft_options sft;
    int64_t sample;
} check_flags;

const ct_option ct_cli_sft_table[] = {CT_SFT_OPTIONS(check_flags, sft),
                                      CT_OPTION_INT("sample", check_flags, sample, 0, 0, 1e12,
                                                    "sft-check: which of the samples kept is shown, from 0"),
                                      CT_OPTION_END};

/* Learnt tokens stand between these. */
static const char open_mark[] = "\xe2\x9f\xa6", close_mark[] = "\xe2\x9f\xa7";

static ct_status decode_sample(ct_context *context, const ct_tokenizer *tokenizer, const ct_sample_list *list,
                               int64_t sample, ct_bytes *text) {
    int64_t first = 0;
    for (int64_t i = 0; i < sample; i++)
        first += list->lengths.ids[i];
    int64_t end = first + list->lengths.ids[sample];
    for (int64_t at = first; at < end && !ct_failed(context);) {
        bool learnt = list->labels.ids[at] != CT_LABEL_NONE;
        int64_t stop = at;
        while (stop < end && (list->labels.ids[stop] != CT_LABEL_NONE) == learnt)
            stop++;
        if (learnt) ct_bytes_append(context, text, open_mark, strlen(open_mark));
        ct_tokenizer_decode(tokenizer, list->ids.ids + at, (size_t)(stop - at), CT_DECODE_PLAIN, text);
        if (learnt) ct_bytes_append(context, text, close_mark, strlen(close_mark));
        at = stop;
    }
    return ct_context_status(context);
}

static void print_counts(const ct_sft_counts *c, int64_t shown, const ct_bytes *text) {
    printf("%lld records, %lld samples kept\n", (long long)c->records, (long long)c->samples);
    printf("left out: %lld without an answer, %lld whose answer is beyond max_length; cut off: %lld\n",
           (long long)c->without_answer, (long long)c->answer_cut, (long long)c->truncated);
    if (c->samples == 0) return;
    printf("%lld tokens, %lld to %lld a sample, %.1f on average\n", (long long)c->tokens,
           (long long)c->shortest, (long long)c->longest, (double)c->tokens / (double)c->samples);
    printf("%lld tokens are learnt, %.1f %% are masked\n", (long long)c->targets,
           100 * (1 - (double)c->targets / (double)c->tokens));
    printf("\nSample %lld, what is learnt in %s %s:\n", (long long)shown, open_mark, close_mark);
    fwrite(text->data, 1, text->length, stdout);
    printf("\n");
}

static void print_json(ct_cli *cli, const ct_sft_counts *c, int64_t shown, const ct_bytes *text) {
    ct_context *context = cli->context;
    ct_value *map = ct_value_map(context);
    if (!map) return;
    ct_cli_put_int(map, "records", c->records, context);
    ct_cli_put_int(map, "samples", c->samples, context);
    ct_cli_put_int(map, "without_answer", c->without_answer, context);
    ct_cli_put_int(map, "answer_cut", c->answer_cut, context);
    ct_cli_put_int(map, "truncated", c->truncated, context);
    ct_cli_put_int(map, "tokens", c->tokens, context);
    ct_cli_put_int(map, "shortest", c->shortest, context);
    ct_cli_put_int(map, "longest", c->longest, context);
    ct_cli_put_int(map, "targets", c->targets, context);
    if (c->tokens > 0)
        ct_cli_put_real(map, "masked_share", 1 - (double)c->targets / (double)c->tokens, context);
    ct_cli_put_int(map, "sample", shown, context);
    ct_cli_put_bytes(map, "text", text->data ? text->data : "", text->length, context);
    ct_cli_print_json(cli, map);
}

int ct_cli_sft_check(ct_cli *cli, const char *tokenizer_path) {
    ct_context *context = cli->context;
    check_flags flags;
    if (ct_cli_options(cli, ct_cli_sft_table, &flags) != CT_OK) return ct_cli_finish(cli);
    if (!tokenizer_path) return ct_cli_usage(cli, "--tokenizer FOLDER is needed");
    if (cli->positional_count != 2) return ct_cli_usage(cli, "sft-check: expected one .jsonl file");
    ct_tokenizer *tokenizer = strcmp(tokenizer_path, "bytes") == 0
                                  ? ct_tokenizer_from_kind(context, "bytes")
                                  : ct_tokenizer_load(context, tokenizer_path);
    ct_sample_list list = {0};
    ct_sft_counts counts = {0};
    ct_bytes text = {0};
    flags.sft.folder = strcmp(tokenizer_path, "bytes") == 0 ? NULL : tokenizer_path;
    if (tokenizer) ct_sft_read(context, cli->positional[1], tokenizer, &flags.sft, &list, &counts);
    if (!ct_failed(context) && counts.samples > 0 && flags.sample >= counts.samples)
        ct_fail(context, CT_ERROR_ARGUMENT, "sample: there is no %lld, the samples kept are 0 to %lld",
                (long long)flags.sample, (long long)counts.samples - 1);
    if (!ct_failed(context) && counts.samples > 0)
        decode_sample(context, tokenizer, &list, flags.sample, &text);
    if (!ct_failed(context)) {
        if (cli->json)
            print_json(cli, &counts, flags.sample, &text);
        else
            print_counts(&counts, flags.sample, &text);
    }
    ct_bytes_free(context, &text);
    ct_sample_list_free(context, &list);
    ct_tokenizer_destroy(tokenizer);
    return ct_cli_finish(cli);
}
