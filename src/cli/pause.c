/* pause.c - carat data pause IN.jsonl --out OUT.jsonl: pause tokens between questions and answers. */
#include "cli/pause.h"
#include "cli/report.h"
#include <string.h>

static ct_status pause_record(ct_context *context, ct_tokenizer *tokenizer, const ct_pause_options *options,
                              ct_value *record, ct_writer *writer) {
    size_t length = 0;
    if (ct_data_pause(context, tokenizer, options, record) != CT_OK) return ct_context_status(context);
    char *line = ct_json_text(context, record, CT_JSON_COMPACT, &length);
    if (line && ct_writer_write(writer, line, length) == CT_OK) ct_writer_write(writer, "\n", 1);
    ct_free(context, line);
    return ct_context_status(context);
}

static int64_t pause_file(ct_context *context, ct_tokenizer *tokenizer, const ct_pause_options *options,
                          const char *path, ct_writer *writer) {
    int64_t records = 0;
    ct_jsonl *reader = ct_jsonl_open(context, path, 64 << 20);
    for (ct_value *record; reader && !ct_failed(context) && (record = ct_jsonl_next(reader)); records++) {
        ct_status status = pause_record(context, tokenizer, options, record, writer);
        if (status != CT_OK && status != CT_ERROR_MEMORY) {
            char message[400];
            snprintf(message, sizeof(message), "%s", ct_context_message(context));
            ct_context_clear(context);
            ct_fail(context, CT_ERROR_FORMAT, "%s:%lld: %s", path, (long long)ct_jsonl_number(reader),
                    message);
        }
        ct_value_free(record);
    }
    ct_jsonl_close(reader);
    return records;
}

int ct_cli_pause(ct_cli *cli, const char *tokenizer_path, const char *out) {
    ct_context *context = cli->context;
    ct_pause_options options;
    ct_tokenizer *tokenizer = NULL;
    int64_t records = 0;
    if (ct_cli_options(cli, ct_pause_table, &options) != CT_OK) return ct_cli_finish(cli);
    if (!out) return ct_cli_usage(cli, "pause: --out FILE is needed");
    if (tokenizer_path)
        tokenizer = strcmp(tokenizer_path, "bytes") == 0 ? ct_tokenizer_from_kind(context, "bytes")
                                                         : ct_tokenizer_load(context, tokenizer_path);
    ct_writer *writer = ct_failed(context) ? NULL : ct_writer_open(context, out);
    for (int i = 1; writer && i < cli->positional_count && !ct_failed(context); i++)
        records += pause_file(context, tokenizer, &options, cli->positional[i], writer);
    if (writer && ct_failed(context))
        ct_writer_abandon(writer);
    else if (writer && ct_writer_commit(writer) == CT_OK)
        ct_cli_say(cli, "%lld records, written to %s", (long long)records, out);
    ct_tokenizer_destroy(tokenizer);
    return ct_cli_finish(cli);
}
