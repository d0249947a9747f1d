/* runs.c - see runs.h. */
#include "runs.h"
#include <stdio.h>
#include <unistd.h>

const char *at(const place *p, const char *name) {
    static char buffers[16][512];
    static int next;
    char *buffer = buffers[next++ % 16];
    snprintf(buffer, 512, "%s/%s", p->folder, name);
    return buffer;
}

/* The repository's licence: eleven kilobytes of English. */
static void write_text(const place *p) {
    char path[512];
    const char *source = getenv("CARAT_SOURCE");
    snprintf(path, sizeof(path), "%s/LICENSE", source ? source : ".");
    ct_context *context = ct_context_create(1);
    assert_non_null(context);
    assert_int_equal(ct_file_copy(context, path, at(p, "text.txt")), CT_OK);
    ct_context_destroy(context);
}

int start_runs(void **state) {
    place *p = calloc(1, sizeof(*p));
    const char *base = getenv("TMPDIR");
    if (!p) return -1;
    snprintf(p->folder, sizeof(p->folder), "%s/carat-train-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(p->folder)) return -1;
    write_text(p);
    *state = p;
    return 0;
}

int end_runs(void **state) {
    place *p = *state;
    ct_context *context = ct_context_create(1);
    int result = context && ct_folder_remove(context, p->folder) == CT_OK ? 0 : -1;
    ct_context_destroy(context);
    free(p);
    return result;
}

ct_value *read_document(ct_context *context, const char *path) {
    ct_value *value = ct_document_read(context, path);
    if (!value) fail_msg("%s", ct_context_message(context));
    return value;
}

void append_text(const char *path, const char *text) {
    FILE *file = fopen(path, "ab");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static const char base_recipe[] = "model: {model_type: gpt2, n_embd: 32, n_layer: 2, n_head: 2, resid_pdrop: "
                                  "0, embd_pdrop: 0, attn_pdrop: 0}\n"
                                  "tokenizer: {kind: bytes}\n"
                                  "context: 32\n"
                                  "per_device_train_batch_size: 4\n"
                                  "learning_rate: 3e-3\n"
                                  "max_steps: 12\n"
                                  "logging_steps: 1\n"
                                  "eval_batches: 2\n"
                                  "save_steps: 0\n"
                                  "seed: 7\n";

ct_value *recipe_of(ct_context *context, const place *p, const char *output, const char *more) {
    ct_value *recipe = ct_yaml_parse(context, base_recipe, sizeof(base_recipe) - 1, "base");
    assert_non_null(recipe);
    ct_value_set_path(recipe, "data.train", ct_value_string(context, at(p, "text.txt")));
    if (output) ct_value_set(recipe, "output_dir", ct_value_string(context, at(p, output)));
    ct_value *over = more ? ct_yaml_parse(context, more, strlen(more), "more") : NULL;
    if (more && *more && !over) fail_msg("%s", ct_context_message(context));
    for (size_t i = 0; i < ct_value_count(over); i++)
        ct_value_set_path(recipe, ct_value_key(over, i), ct_value_copy(ct_value_at(over, i)));
    ct_value_free(over);
    return recipe;
}

typedef struct stopper {
    ct_context *context;
    int64_t at;
} stopper;

static void stop_when(void *user, const char *title, double done, double total, const char *unit,
                      const char *note, bool finished) {
    (void)total, (void)unit, (void)note;
    stopper *s = user;
    if (!finished && strcmp(title, "train") == 0 && (int64_t)done == s->at) ct_request_stop(s->context);
}

static outcome run_with(const place *p, const char *output, const char *more, bool resume, int threads,
                        int64_t stop) {
    outcome o = {0};
    ct_context *context = ct_context_create(threads);
    assert_non_null(context);
    stopper s = {context, stop};
    if (stop > 0) ct_context_set_progress(context, stop_when, &s);
    if (stop == 0) ct_request_stop(context);
    ct_value *recipe = recipe_of(context, p, output, more);
    o.status = ct_train(context, recipe, resume, &o.report);
    snprintf(o.message, sizeof(o.message), "%s", ct_context_message(context));
    ct_value_free(recipe);
    ct_context_destroy(context);
    return o;
}

outcome run_recipe(const place *p, const char *output, const char *more, bool resume, int threads) {
    return run_with(p, output, more, resume, threads, -1);
}

outcome run_until(const place *p, const char *output, const char *more, bool resume, int64_t stop_at) {
    return run_with(p, output, more, resume, 2, stop_at);
}

void assert_done(const outcome *o) {
    if (o->status != CT_OK) fail_msg("%s: %s", ct_status_name(o->status), o->message);
}

void assert_refused(const outcome *o, ct_status status, const char *part) {
    if (o->status != status || !strstr(o->message, part))
        fail_msg("expected %s with \"%s\", found %s: \"%s\"", ct_status_name(status), part,
                 ct_status_name(o->status), o->message);
}

void assert_same_run(const outcome *a, const outcome *b) {
    assert_done(a);
    assert_done(b);
    assert_true(a->report.weights_hash == b->report.weights_hash);
    assert_true(a->report.loss_hash == b->report.loss_hash);
    assert_true(a->report.last_loss == b->report.last_loss);
}
