/* bench_tokenize.c - bytes of text a second through a tokenizer: bench_tokenize TOKENIZER TEXT THREADS.
 * bench/run.py asks for one measurement with each line on standard input (see bench/peers/serve.py); the
 * answer also tells how many ids the text has. */
#include <carat/tokenizer.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS 0.5

/* Bytes a second, over at least SECONDS and one call. */
static double measure(ct_tokenizer *tokenizer, const char *text, size_t length, ct_ids *ids) {
    int calls = 0;
    double start = ct_seconds(), seconds = 0;
    for (; calls < 1 || seconds < SECONDS; calls++) {
        ids->count = 0;
        if (ct_tokenizer_encode(tokenizer, text, length, CT_ENCODE_SPECIAL, ids) != CT_OK) return 0;
        seconds = ct_seconds() - start;
    }
    return (double)length * calls / seconds;
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "bench_tokenize TOKENIZER TEXT THREADS\n");
        return 2;
    }
    ct_context *context = ct_context_create(atoi(arguments[3]));
    if (!context) return 1;
    size_t length = 0;
    ct_ids ids = {0};
    ct_tokenizer *tokenizer = ct_tokenizer_load(context, arguments[1]);
    char *text = tokenizer ? ct_file_read(context, arguments[2], (size_t)1 << 31, &length) : NULL;
    if (text) measure(tokenizer, text, length, &ids);
    if (ct_failed(context)) {
        fprintf(stderr, "bench_tokenize: %s\n", ct_context_message(context));
        return 1;
    }
    printf("{\"ready\": true}\n");
    fflush(stdout);
    char line[64];
    while (fgets(line, sizeof line, stdin) && strcmp(line, "quit\n") != 0) {
        double value = measure(tokenizer, text, length, &ids);
        printf("{\"value\": %.6e, \"ids\": %zu}\n", value, ids.count);
        fflush(stdout);
    }
    ct_tokenizer_destroy(tokenizer);
    ct_ids_free(context, &ids);
    ct_free(context, text);
    ct_context_destroy(context);
    return 0;
}
