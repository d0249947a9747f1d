/* data.c - carat data: train a tokenizer, encode and decode; sft_check.c and pause.c have the rest. */
#include "base/ending.h"
#include "cli/pause.h"
#include "cli/report.h"
#include "cli/sft_check.h"
#include <stdlib.h>
#include <string.h>

typedef struct data_flags {
    const char *tokenizer, *field, *kind, *out;
    int64_t vocab_size, min_frequency;
    const ct_value *special_tokens;
} data_flags;

static const ct_option flags_table[] = {
    CT_OPTION_STRING("tokenizer", data_flags, tokenizer, NULL, "folder, tokenizer.json, or bytes (encode, decode)"),
    CT_OPTION_STRING("field", data_flags, field, "text", "of JSONL records that holds the text"),
    CT_OPTION_STRING("kind", data_flags, kind, "bpe", "tokenizer: bpe or characters"),
    CT_OPTION_STRING("out", data_flags, out, NULL, "folder (tokenizer) or file (encode, decode) to write"),
    CT_OPTION_INT("vocab_size", data_flags, vocab_size, 4096, 256, 16777216, "tokenizer: ids of a BPE"),
    CT_OPTION_INT("min_frequency", data_flags, min_frequency, 2, 1, 1e12, "tokenizer: rarer pairs are not merged"),
    CT_OPTION_VALUE("special_tokens", data_flags, special_tokens, "tokenizer: list of tokens, the first ids"),
    CT_OPTION_END};

/* ---------------------------------------------------------------------------------------- tokenizer */

static ct_tokenizer *train_bpe(ct_cli *cli, const data_flags *flags, const ct_bytes *text) {
    const char *special[256] = {NULL};
    size_t count = ct_value_count(flags->special_tokens);
    if (count > 255) {
        ct_fail(cli->context, CT_ERROR_ARGUMENT, "special_tokens: %zu are too many, expected at most 255", count);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        special[i] = ct_value_as_string(ct_value_at(flags->special_tokens, i), "");
    ct_bpe_options options = {flags->vocab_size, flags->min_frequency, special};
    ct_text whole = {text->data, text->length};
    return ct_bpe_train(cli->context, &whole, 1, &options);
}

static int run_tokenizer(ct_cli *cli, const data_flags *flags) {
    ct_context *context = cli->context;
    if (!flags->out) return ct_cli_usage(cli, "tokenizer: --out FOLDER is needed");
    bool characters = strcmp(flags->kind, "characters") == 0;
    if (!characters && strcmp(flags->kind, "bpe") != 0)
        return ct_cli_usage(cli, "tokenizer: kind \"%s\", expected bpe or characters", flags->kind);
    ct_bytes text = {0};
    ct_tokenizer *tokenizer = NULL;
    for (int i = 1; i < cli->positional_count; i++) ct_text_read(context, cli->positional[i], flags->field, &text);
    if (!ct_failed(context))
        tokenizer = characters ? ct_tokenizer_train_characters(context, text.data ? text.data : "", text.length)
                               : train_bpe(cli, flags, &text);
    if (tokenizer && ct_folder_make(context, flags->out) == CT_OK &&
        ct_tokenizer_save(tokenizer, flags->out) == CT_OK) {
        ct_cli_say(cli, "%d tokens from %zu bytes, written to %s", (int)ct_tokenizer_size(tokenizer), text.length,
                   flags->out);
        if (cli->json) {
            ct_value *map = ct_value_map(context);
            ct_cli_put_int(map, "tokens", ct_tokenizer_size(tokenizer), context);
            ct_cli_put_text(map, "out", flags->out, context);
            ct_cli_print_json(cli, map);
        }
    }
    ct_tokenizer_destroy(tokenizer);
    ct_bytes_free(context, &text);
    return ct_cli_finish(cli);
}

/* -------------------------------------------------------------------------------------------- encode */

static void put_bytes(FILE *stdout_or_null, ct_writer *writer, const char *data, size_t length) {
    if (writer) ct_writer_write(writer, data, length);
    else fwrite(data, 1, length, stdout_or_null);
}

static ct_status write_ids(ct_cli *cli, ct_writer *writer, const ct_ids *ids) {
    ct_context *context = cli->context;
    char text[32];
    put_bytes(stdout, writer, cli->json ? "{\"ids\":[" : "", cli->json ? 8 : 0);
    for (size_t i = 0; i < ids->count; i++) {
        int n = snprintf(text, sizeof(text), "%s%d", i ? (cli->json ? "," : " ") : "", (int)ids->ids[i]);
        put_bytes(stdout, writer, text, (size_t)n);
    }
    put_bytes(stdout, writer, cli->json ? "]}\n" : "\n", cli->json ? 3 : 1);
    return ct_context_status(context);
}

/* Puts the file and the line (0: none) before the message of an error that does not know them. */
static void name_line(ct_context *context, const char *path, int64_t number) {
    ct_status status = ct_context_status(context);
    if (status == CT_ERROR_MEMORY || status == CT_OK) return;
    char message[400];
    snprintf(message, sizeof(message), "%s", ct_context_message(context));
    ct_context_clear(context);
    if (status == CT_ERROR_ARGUMENT) status = CT_ERROR_FORMAT; /* it is the file that is wrong, not the usage */
    if (number) ct_fail(context, status, "%s:%lld: %s", path, (long long)number, message);
    else ct_fail(context, status, "%s: %s", path, message);
}

static ct_status encode_text(ct_cli *cli, ct_tokenizer *tokenizer, ct_writer *writer, const char *text,
                             size_t length, const char *path, int64_t number) {
    ct_ids ids = {0};
    if (ct_tokenizer_encode(tokenizer, text, length, CT_ENCODE_PLAIN, &ids) == CT_OK) write_ids(cli, writer, &ids);
    else name_line(cli->context, path, number);
    ct_ids_free(cli->context, &ids);
    return ct_context_status(cli->context);
}

static ct_status encode_file(ct_cli *cli, ct_tokenizer *tokenizer, ct_writer *writer, const char *path,
                             const char *field) {
    ct_context *context = cli->context;
    if (!ct_ends_with(path, ".jsonl")) {
        ct_bytes text = {0};
        if (ct_text_read(context, path, field, &text) == CT_OK)
            encode_text(cli, tokenizer, writer, text.data ? text.data : "", text.length, path, 0);
        ct_bytes_free(context, &text);
        return ct_context_status(context);
    }
    ct_jsonl *reader = ct_jsonl_open(context, path, 64 << 20);
    for (ct_value *record; reader && !ct_failed(context) && (record = ct_jsonl_next(reader));) {
        const ct_value *text = ct_value_get(record, field);
        if (ct_value_kind_of(text) != CT_VALUE_STRING)
            ct_fail(context, CT_ERROR_FORMAT, "%s:%lld: the record has no text in field \"%s\"", path,
                    (long long)ct_jsonl_number(reader), field);
        else
            encode_text(cli, tokenizer, writer, ct_value_as_string(text, ""), ct_value_string_length(text), path,
                        ct_jsonl_number(reader));
        ct_value_free(record);
    }
    ct_jsonl_close(reader);
    return ct_context_status(context);
}

/* -------------------------------------------------------------------------------------------- decode */

/* A line of ids, or a JSON record with "ids". */
static ct_status read_ids(ct_context *context, const char *path, int64_t number, char *line, size_t length,
                          ct_ids *ids) {
    if (*line == '{') {
        ct_value *record = ct_json_parse(context, line, length, NULL);
        if (!record) name_line(context, path, number);
        const ct_value *list = ct_value_get(record, "ids");
        if (record && ct_value_kind_of(list) != CT_VALUE_LIST)
            ct_fail(context, CT_ERROR_FORMAT, "%s:%lld: the record has no list \"ids\"", path, (long long)number);
        for (size_t i = 0; i < ct_value_count(list); i++) {
            int64_t id = ct_value_as_int(ct_value_at(list, i), -1);
            if (id < 0 || id > INT32_MAX)
                ct_fail(context, CT_ERROR_FORMAT, "%s:%lld: item %zu of \"ids\" is not a token id", path,
                        (long long)number, i);
            else ct_ids_push(context, ids, (int32_t)id);
        }
        ct_value_free(record);
        return ct_context_status(context);
    }
    for (char *at = line; *(at += strspn(at, " ,\t\r"));) {
        char *end = at;
        long id = strtol(at, &end, 10);
        if (end == at || id < 0 || id > INT32_MAX)
            return ct_fail(context, CT_ERROR_FORMAT, "%s:%lld: \"%.20s\" is not a token id", path, (long long)number,
                           at);
        ct_ids_push(context, ids, (int32_t)id);
        at = end;
    }
    return ct_context_status(context);
}

/* Texts come back as they were: a newline only separates one record from the next. */
static ct_status write_text(ct_cli *cli, ct_writer *writer, const ct_bytes *text, bool first) {
    ct_context *context = cli->context;
    const char *data = text->data ? text->data : "";
    if (!cli->json) {
        if (!first) put_bytes(stdout, writer, "\n", 1);
        put_bytes(stdout, writer, data, text->length);
        return ct_context_status(context);
    }
    ct_value *map = ct_value_map(context);
    ct_value_set(map, "text", ct_value_string_n(context, data, text->length));
    size_t length = 0;
    char *line = map ? ct_json_text(context, map, CT_JSON_COMPACT, &length) : NULL;
    if (line) {
        put_bytes(stdout, writer, line, length);
        put_bytes(stdout, writer, "\n", 1);
    }
    ct_free(context, line);
    ct_value_free(map);
    return ct_context_status(context);
}

static ct_status decode_file(ct_cli *cli, ct_tokenizer *tokenizer, ct_writer *writer, const char *path, bool first) {
    ct_context *context = cli->context;
    ct_lines *lines = ct_lines_open(context, path, 256 << 20);
    size_t length = 0;
    for (char *line; lines && !ct_failed(context) && (line = ct_lines_next(lines, &length));) {
        ct_ids ids = {0};
        ct_bytes text = {0};
        if (read_ids(context, path, ct_lines_number(lines), line, length, &ids) == CT_OK &&
            (ct_tokenizer_decode(tokenizer, ids.ids, ids.count, CT_DECODE_PLAIN, &text) != CT_OK ||
             write_text(cli, writer, &text, first) != CT_OK))
            name_line(context, path, ct_lines_number(lines));
        first = false;
        ct_ids_free(context, &ids);
        ct_bytes_free(context, &text);
    }
    ct_lines_close(lines);
    return ct_context_status(context);
}

static int run_coding(ct_cli *cli, const data_flags *flags, bool encode) {
    ct_context *context = cli->context;
    if (!flags->tokenizer) return ct_cli_usage(cli, "--tokenizer FOLDER is needed");
    ct_tokenizer *tokenizer = strcmp(flags->tokenizer, "bytes") == 0
                                  ? ct_tokenizer_from_kind(context, "bytes")
                                  : ct_tokenizer_load(context, flags->tokenizer);
    ct_writer *writer = tokenizer && flags->out ? ct_writer_open(context, flags->out) : NULL;
    for (int i = 1; tokenizer && i < cli->positional_count && !ct_failed(context); i++) {
        if (encode) encode_file(cli, tokenizer, writer, cli->positional[i], flags->field);
        else decode_file(cli, tokenizer, writer, cli->positional[i], i == 1);
    }
    if (writer && ct_failed(context)) ct_writer_abandon(writer);
    else if (writer) ct_writer_commit(writer);
    ct_tokenizer_destroy(tokenizer);
    return ct_cli_finish(cli);
}

static int run(ct_cli *cli) {
    data_flags flags;
    if (ct_cli_options(cli, flags_table, &flags) != CT_OK) return ct_cli_finish(cli);
    const char *what = cli->positional[0];
    if (strcmp(what, "tokenizer") == 0) return run_tokenizer(cli, &flags);
    if (strcmp(what, "encode") == 0) return run_coding(cli, &flags, true);
    if (strcmp(what, "decode") == 0) return run_coding(cli, &flags, false);
    if (strcmp(what, "sft-check") == 0) return ct_cli_sft_check(cli, flags.tokenizer);
    if (strcmp(what, "pause") == 0) return ct_cli_pause(cli, flags.tokenizer, flags.out);
    return ct_cli_usage(cli, "there is no \"data %s\", expected tokenizer, encode, decode, sft-check or pause", what);
}

static const char *const examples[] = {
    "carat data tokenizer README.md --vocab_size 400 --out out/tokenizer",
    "carat data encode --tokenizer out/tokenizer README.md --out out/ids.txt",
    "carat data encode --tokenizer out/tokenizer README.md --json --out out/ids.jsonl",
    "carat data decode --tokenizer out/tokenizer out/ids.txt --out out/text.txt",
    "carat data sft-check recipes/dialogues.jsonl --tokenizer bytes --chat_template plain", NULL};

const ct_verb ct_verb_data = {
    .name = "data",
    .arguments = "tokenizer|encode|decode|sft-check|pause FILE ...",
    .summary = "Train a tokenizer; turn text into ids and back; look at dialogues; put pause tokens into questions",
    .details = "encode writes one line of ids per file or JSONL record (--json: {\"ids\":[...]}); decode reads such lines.\n"
               "sft-check says what of a file of dialogues would be learnt, and shows one sample.\n"
               "pause puts pause tokens between the questions and answers of JSONL records; with --tokenizer it adds ids and "
               "a loss mask.",
    .tables = {flags_table, ct_cli_sft_table, ct_pause_table},
    .least = 2,
    .most = -1,
    .examples = examples,
    .run = run};
