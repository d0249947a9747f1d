/* runs.h - what the tests of training share: folders, real text, recipes written as YAML with overrides,
 * runs. */
#ifndef CARAT_TESTS_TRAIN_RUNS_H
#define CARAT_TESTS_TRAIN_RUNS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <carat/train.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A fresh folder with text.txt, a licence in English; removed by end_runs. */
typedef struct place {
    char folder[256];
} place;
int start_runs(void **state);
int end_runs(void **state);
/* "FOLDER/name" in one of a few rotating buffers. */
const char *at(const place *p, const char *name);

/* A gpt2 of 2 layers, width 32, 2 heads, context 32, tokens are bytes, batch 4, on text.txt, then the lines
 * of `more` over it: "key: value", keys with dots reach into maps. */
ct_value *recipe_of(ct_context *context, const place *p, const char *output, const char *more);

typedef struct outcome {
    ct_status status;
    char message[1024];
    ct_train_report report;
} outcome;
/* Runs in a context of its own; nothing may be left allocated. */
outcome run_recipe(const place *p, const char *output, const char *more, bool resume, int threads);
/* The same, and a stop is requested when `stop_at` steps are done (0: before the first). */
outcome run_until(const place *p, const char *output, const char *more, bool resume, int64_t stop_at);

void assert_done(const outcome *o);
void assert_refused(const outcome *o, ct_status status, const char *part);
void assert_same_run(const outcome *a, const outcome *b);
/* Reads a JSON or YAML file. */
ct_value *read_document(ct_context *context, const char *path);
void append_text(const char *path, const char *text);

#endif
