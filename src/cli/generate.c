/* generate.c - carat generate: text from a model folder. */
#include "cli/chat.h"
#include "cli/report.h"
#include <string.h>

typedef struct generate_flags {
    const char *prompt, *prompt_file, *tokenizer;
    bool bf16, q8_0;
    const char *stop;
} generate_flags;

static const ct_option flags_table[] = {
    CT_OPTION_STRING("prompt", generate_flags, prompt, NULL, "the text to go on from"),
    CT_OPTION_STRING("prompt_file", generate_flags, prompt_file, NULL,
                     "prompts in a file: one a line, or .jsonl records with a \"prompt\""),
    CT_OPTION_STRING("tokenizer", generate_flags, tokenizer, NULL, "folder or tokenizer.json; the model's by default"),
    CT_OPTION_BOOL("bf16", generate_flags, bf16, false, "weights in bf16: half the memory"),
    CT_OPTION_BOOL("q8_0", generate_flags, q8_0, false,
                   "weights of linear layers and embeddings in blocks of bytes with a scale: a quarter of the memory"),
    CT_OPTION_STRING("stop", generate_flags, stop, NULL, "one text that ends the generation"), CT_OPTION_END};

typedef struct prompt_list {
    ct_ids *ids;
    int64_t count, capacity;
} prompt_list;

static ct_status add_prompt(ct_cli *cli, ct_tokenizer *tokenizer, prompt_list *list, const char *text, size_t length) {
    ct_context *context = cli->context;
    if (list->count == list->capacity) {
        int64_t capacity = list->capacity ? 2 * list->capacity : 16;
        void *ids = ct_realloc(context, list->ids, (size_t)capacity * sizeof(ct_ids), CT_MEMORY_OTHER);
        if (!ids) return CT_ERROR_MEMORY;
        list->ids = ids;
        list->capacity = capacity;
    }
    ct_ids *ids = &list->ids[list->count++];
    *ids = (ct_ids){0};
    return ct_tokenizer_encode(tokenizer, text, length, CT_ENCODE_PLAIN, ids);
}

static ct_status add_records(ct_cli *cli, ct_tokenizer *tokenizer, prompt_list *list, const char *path) {
    ct_jsonl *reader = ct_jsonl_open(cli->context, path, 16 << 20);
    for (ct_value *record; reader && (record = ct_jsonl_next(reader));) {
        const ct_value *text = ct_value_get(record, "prompt");
        if (ct_value_kind_of(text) != CT_VALUE_STRING)
            ct_fail(cli->context, CT_ERROR_FORMAT, "%s:%lld: the record has no text in field \"prompt\"", path,
                    (long long)ct_jsonl_number(reader));
        else
            add_prompt(cli, tokenizer, list, ct_value_as_string(text, ""), ct_value_string_length(text));
        ct_value_free(record);
        if (ct_failed(cli->context)) break;
    }
    ct_jsonl_close(reader);
    return ct_context_status(cli->context);
}

static ct_status add_lines(ct_cli *cli, ct_tokenizer *tokenizer, prompt_list *list, const char *path) {
    ct_lines *lines = ct_lines_open(cli->context, path, 16 << 20);
    size_t length = 0;
    for (char *line; lines && (line = ct_lines_next(lines, &length));)
        if (add_prompt(cli, tokenizer, list, line, length) != CT_OK) break;
    ct_lines_close(lines);
    return ct_context_status(cli->context);
}

static ct_status gather_prompts(ct_cli *cli, ct_tokenizer *tokenizer, const generate_flags *flags, prompt_list *list) {
    if (!flags->prompt_file) {
        const char *text = flags->prompt ? flags->prompt : "\n";
        return add_prompt(cli, tokenizer, list, text, strlen(text));
    }
    size_t n = strlen(flags->prompt_file);
    bool records = n > 6 && strcmp(flags->prompt_file + n - 6, ".jsonl") == 0;
    ct_status status = records ? add_records(cli, tokenizer, list, flags->prompt_file)
                               : add_lines(cli, tokenizer, list, flags->prompt_file);
    if (status == CT_OK && !list->count)
        return ct_fail(cli->context, CT_ERROR_FORMAT, "%s: there is no prompt in it", flags->prompt_file);
    return status;
}

/* ------------------------------------------------------------------------------------------- output */

static bool show_text(void *user, int64_t index, const char *text, size_t length) {
    (void)user, (void)index;
    fwrite(text, 1, length, stdout);
    fflush(stdout);
    return !ferror(stdout);
}

static void put_logprobs(ct_context *context, ct_value *map, const ct_generation *g, const ct_generate_options *o) {
    ct_value *list = ct_value_list(context);
    for (size_t t = 0; list && t < g->ids.count; t++) {
        ct_value *entry = ct_value_map(context), *top = ct_value_list(context);
        for (int64_t k = 0; top && k < o->logprobs; k++) {
            if (g->top_ids[(int64_t)t * o->logprobs + k] < 0) break; /* more than there are tokens */
            ct_value *alternative = ct_value_map(context);
            ct_cli_put_int(alternative, "id", g->top_ids[(int64_t)t * o->logprobs + k], context);
            ct_cli_put_real(alternative, "logprob", g->top_logprobs[(int64_t)t * o->logprobs + k], context);
            ct_value_append(top, alternative);
        }
        ct_cli_put_real(entry, "logprob", g->logprobs[t], context);
        ct_value_set(entry, "top", top);
        ct_value_append(list, entry);
    }
    ct_value_set(map, "logprobs", list);
}

static ct_value *generation_value(ct_context *context, const ct_generation *g, const ct_generate_options *o) {
    ct_value *map = ct_value_map(context), *ids = ct_value_list(context);
    if (!map) return NULL;
    for (size_t i = 0; ids && i < g->ids.count; i++) ct_value_append(ids, ct_value_int(context, g->ids.ids[i]));
    ct_cli_put_bytes(map, "text", g->text.data ? g->text.data : "", g->text.length, context);
    ct_value_set(map, "ids", ids);
    ct_cli_put_text(map, "finish", ct_finish_name(g->finish), context);
    ct_cli_put_int(map, "prompt_tokens", g->prompt_tokens, context);
    if (g->logprobs) put_logprobs(context, map, g, o);
    return map;
}

static ct_value *report_value(ct_context *context, const ct_generate_report *r, const ct_generation *results,
                              int64_t count, const ct_generate_options *o) {
    ct_value *map = ct_value_map(context), *list = ct_value_list(context);
    if (!map) return NULL;
    for (int64_t i = 0; list && i < count; i++) ct_value_append(list, generation_value(context, &results[i], o));
    double decoded = (double)(r->new_tokens - count);
    ct_value_set(map, "results", list);
    ct_cli_put_int(map, "prompt_tokens", r->prompt_tokens, context);
    ct_cli_put_int(map, "new_tokens", r->new_tokens, context);
    ct_cli_put_real(map, "first_token_seconds", r->first_token_seconds, context);
    ct_cli_put_real(map, "tokens_per_second", decoded > 0 ? decoded / r->decode_seconds : 0, context);
    ct_cli_put_real(map, "prompt_tokens_per_second", (double)r->prompt_tokens / r->prompt_seconds, context);
    return map;
}

static void show_results(ct_cli *cli, const ct_generation *results, const prompt_list *prompts) {
    for (int64_t i = 0; i < prompts->count; i++) {
        if (prompts->count > 1) printf("--- %lld\n", (long long)i + 1);
        if (results[i].text.length) fwrite(results[i].text.data, 1, results[i].text.length, stdout);
        putchar('\n');
    }
    (void)cli;
}

static void work(ct_cli *cli, ct_model *model, ct_tokenizer *tokenizer, const generate_flags *flags,
                 ct_generate_options *options) {
    ct_context *context = cli->context;
    prompt_list prompts = {0};
    gather_prompts(cli, tokenizer, flags, &prompts);
    size_t bytes = (size_t)prompts.count * sizeof(ct_generation);
    ct_generation *results = ct_failed(context) ? NULL : ct_alloc_zero(context, bytes, CT_MEMORY_OTHER);
    ct_generate_report report;
    bool live = prompts.count == 1 && !cli->json;
    if (live && flags->prompt && !cli->quiet) printf("%s", flags->prompt);
    if (results && ct_generate(model, tokenizer, prompts.ids, prompts.count, options, live ? show_text : NULL, NULL,
                               results, &report) == CT_OK) {
        if (cli->json) ct_cli_print_json(cli, report_value(context, &report, results, prompts.count, options));
        else if (live) putchar('\n');
        else show_results(cli, results, &prompts);
        if (!cli->json && !cli->quiet)
            fprintf(stderr, "%lld tokens, %.1f tokens/s\n", (long long)report.new_tokens,
                    (double)report.new_tokens / (report.prompt_seconds + report.decode_seconds));
    }
    for (int64_t i = 0; i < prompts.count; i++) {
        if (results) ct_generation_free(context, &results[i]);
        ct_ids_free(context, &prompts.ids[i]);
    }
    ct_free(context, prompts.ids);
    ct_free(context, results);
}

static int run(ct_cli *cli) {
    generate_flags flags;
    ct_cli_chat_flags chat;
    ct_generate_options options;
    ct_model *model = NULL;
    ct_tokenizer *tokenizer = NULL;
    if (ct_cli_options(cli, flags_table, &flags) != CT_OK || ct_cli_options(cli, ct_cli_chat_table, &chat) != CT_OK ||
        ct_cli_options(cli, ct_generate_table, &options) != CT_OK)
        return ct_cli_finish(cli);
    bool given = cli->positional_count > 1;
    if (given + (flags.prompt != NULL) + (flags.prompt_file != NULL) > 1)
        return ct_cli_usage(cli, "more than one of PROMPT, --prompt and --prompt_file");
    if (chat.chat && (given || flags.prompt || flags.prompt_file))
        return ct_cli_usage(cli, "--chat reads standard input and takes no prompt");
    if (!chat.chat && (chat.chat_template || chat.system))
        return ct_cli_usage(cli, "--%s is an option of --chat", chat.system ? "system" : "chat-template");
    if (given) flags.prompt = cli->positional[1];
    ct_value *stops = NULL;
    if (flags.stop) {
        stops = options.stop_strings ? ct_value_copy(options.stop_strings) : ct_value_list(cli->context);
        ct_value_append(stops, ct_value_string(cli->context, flags.stop));
        options.stop_strings = stops;
    }
    if (ct_cli_load(cli, cli->positional[0], flags.tokenizer, flags.bf16, &model, &tokenizer)) {
        if (flags.q8_0) ct_model_to_q8_0(model);
        if (chat.chat)
            ct_cli_chat(cli, model, tokenizer, flags.tokenizer ? flags.tokenizer : cli->positional[0], &chat, &options);
        else work(cli, model, tokenizer, &flags, &options);
        ct_tokenizer_destroy(tokenizer);
        ct_model_destroy(model);
    }
    ct_value_free(stops);
    return ct_cli_finish(cli);
}

static const char *const examples[] = {
    "carat generate out/tiny --prompt \"The license\" max_new_tokens=40 temperature=0.8 top_k=50",
    "carat generate out/tiny \"The license\" --do_sample=false --max_new_tokens 20 --json",
    "carat generate out/tiny --chat --chat-template plain --system \"Be brief.\" max_new_tokens=20", NULL};

const ct_verb ct_verb_generate = {
    .name = "generate",
    .arguments = "MODEL [PROMPT]",
    .summary = "Let a language model go on from a prompt",
    .details = "MODEL is a Hugging Face folder or a name in the local Hub cache. Text is shown as it comes. With --chat each "
               "line of standard input is a message to the model, written with its chat template.",
    .tables = {flags_table, ct_cli_chat_table, ct_generate_table},
    .least = 1,
    .most = 2,
    .methods = true,
    .examples = examples,
    .run = run};
