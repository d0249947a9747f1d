/* bench_template.c - conversations through a chat template, conversations a second on one thread:
 * `bench_template TEMPLATE CONVERSATIONS.jsonl OUT`; the first round writes all of them to OUT, with a NUL
 * behind each. bench/run.py asks for one measurement with each line on standard input (see
 * bench/peers/serve.py). */
#include <carat/chat.h>
#include <carat/format.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS 0.5

typedef struct work {
    ct_context *context;
    ct_chat *chat;
    ct_value **records, *variables;
    size_t count;
    ct_template_output output;
} work;

static void once(work *w, FILE *out) {
    for (size_t i = 0; i < w->count; i++) {
        const ct_chat_request request = {.messages = ct_value_get(w->records[i], "messages"),
                                         .variables = w->variables};
        if (ct_chat_render(w->chat, &request, &w->output) != CT_OK) {
            fprintf(stderr, "%s\n", ct_context_message(w->context));
            exit(1);
        }
        if (out) fwrite(w->output.text.data, 1, w->output.text.length + 1, out);
    }
}

static double measure(work *w) {
    int rounds = 0;
    double start = ct_seconds(), seconds = 0;
    for (; rounds < 1 || seconds < SECONDS; rounds++) {
        once(w, NULL);
        seconds = ct_seconds() - start;
    }
    return (double)w->count * rounds / seconds;
}

static bool load(work *w, char **arguments) {
    size_t room = 0;
    w->chat = ct_chat_open(w->context, arguments[1], NULL);
    if (w->chat) ct_chat_set_token(w->chat, "bos_token", "<s>");
    if (w->chat) ct_chat_set_token(w->chat, "eos_token", "</s>");
    w->variables = ct_value_map(w->context);
    ct_value_set(w->variables, "date_string", ct_value_string(w->context, "26 Jul 2024"));
    ct_jsonl *reader = ct_jsonl_open(w->context, arguments[2], 1 << 20);
    for (ct_value *record; reader && (record = ct_jsonl_next(reader));) {
        if (w->count == room) w->records = realloc(w->records, (room = room * 2 + 64) * sizeof(*w->records));
        if (!w->records) return false;
        w->records[w->count++] = record;
    }
    ct_jsonl_close(reader);
    FILE *out = ct_failed(w->context) ? NULL : fopen(arguments[3], "wb");
    if (!out) return false;
    once(w, out);
    return fclose(out) == 0;
}

int main(int count, char **arguments) {
    char line[64];
    work w = {.context = ct_context_create(1)};
    if (count != 4 || !w.context || !load(&w, arguments)) {
        fprintf(stderr, "%s\nusage: bench_template TEMPLATE CONVERSATIONS.jsonl OUT\n",
                w.context ? ct_context_message(w.context) : "");
        return 2;
    }
    printf("{\"ready\": true}\n");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin) && strcmp(line, "quit\n") != 0) {
        printf("{\"value\": %.17g, \"peak_resident\": %zu}\n", measure(&w), ct_peak_resident());
        fflush(stdout);
    }
    for (size_t i = 0; i < w.count; i++)
        ct_value_free(w.records[i]);
    free(w.records);
    ct_value_free(w.variables);
    ct_template_output_free(w.context, &w.output);
    ct_chat_close(w.chat);
    ct_context_destroy(w.context);
    return 0;
}
