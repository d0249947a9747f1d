/* test_parity.c - decoders against transformers: tests/golden/models holds tiny random networks of every
 * family with the logits and greedy continuations that transformers computes (tests/golden/make_models.py).
 */
#include "reach/reach.h"
#include <carat/generate.h>
#include <stdio.h>

static const char *const names[] = {"gpt2",    "llama2", "llama3", "llama-yarn", "llama-linear",
                                    "mistral", "qwen2",  "qwen3",  "gemma2"};
enum { NAMES = sizeof(names) / sizeof(names[0]) };

static void require(bool right, const char *name, const char *what) {
    if (ct_failed(context)) fail_msg("%s: %s: %s", name, what, ct_context_message(context));
    if (!right) fail_msg("%s: %s", name, what);
}

static void path_of(const char *name, const char *file, char path[600]) {
    const char *source = getenv("CARAT_SOURCE");
    snprintf(path, 600, "%s/tests/golden/models/%s%s%s", source ? source : ".", name, *file ? "/" : "", file);
}

static ct_model *load(const char *name, ct_dtype dtype) {
    char path[600];
    path_of(name, "", path);
    ct_model *model = ct_model_load(context, path, dtype);
    require(model != NULL, name, "loading");
    return model;
}

static ct_tensor *golden(const char *name, const char *tensor, ct_dtype dtype) {
    char path[600];
    path_of(name, "golden.safetensors", path);
    ct_safetensors *file = ct_safetensors_open(context, path);
    const ct_safetensors_tensor *entry = file ? ct_safetensors_need(file, tensor) : NULL;
    require(entry != NULL, name, tensor);
    ct_tensor *result = ct_empty(context, dtype, entry->rank, entry->shape);
    ct_safetensors_read(file, entry, ct_data_mutable(result), 0, entry->size);
    ct_safetensors_close(file);
    require(true, name, tensor);
    return result;
}

static double *doubles(ct_tensor *t) {
    double *data = malloc((size_t)ct_count(t) * sizeof(double));
    assert_non_null(data);
    ct_read(t, CT_F64, data);
    return data;
}

/* Every logit within `relative` of its own size and that of the largest (where it is near 0). */
static void assert_close(const char *name, ct_tensor *found, ct_tensor *expected, double relative) {
    require(ct_same_shape(found, expected), name, "shape of the logits");
    double *a = doubles(found), *b = doubles(expected), most = 0, worst = 0;
    require(true, name, "logits");
    for (int64_t i = 0; i < ct_count(expected); i++)
        most = fmax(most, fabs(b[i]));
    for (int64_t i = 0; i < ct_count(expected); i++)
        worst = fmax(worst, fabs(a[i] - b[i]) / (fabs(b[i]) + 0.1 * most));
    free(a);
    free(b);
    if (!(worst < relative)) fail_msg("%s: relative difference %g, expected below %g", name, worst, relative);
}

static ct_tensor *forward(ct_model *model, ct_run *run, ct_tensor *ids) {
    bool before = ct_grad_mode_set(context, false);
    ct_tensor *logits = ct_model_forward(model, run, ids);
    ct_grad_mode_set(context, before);
    return logits;
}

static void test_logits(void **state) {
    (void)state;
    for (int i = 0; i < NAMES; i++) {
        ct_model *model = load(names[i], CT_F32);
        ct_run *run = ct_run_create(context, NULL);
        ct_tensor *expected = golden(names[i], "logits", CT_F32);
        ct_tensor *ids = golden(names[i], "input_ids", CT_I32);
        assert_close(names[i], forward(model, run, ids), expected, 3e-5);
        ct_model_cast(model, CT_F64);
        assert_close(names[i], forward(model, run, ids), expected, 3e-5);
        ct_run_destroy(run);
        ct_model_destroy(model);
    }
}

/* sqrt(mean (a - b)^2 / mean b^2) */
static double deviation(ct_tensor *found, ct_tensor *expected) {
    double of_difference = item(ct_mean_all(ct_square(ct_sub(ct_cast(found, CT_F32), expected))));
    return sqrt(of_difference / item(ct_mean_all(ct_square(expected))));
}

/* Weights and activations in bf16: each rounding is one of 2^-9, and there are dozens in a row. */
static void test_bf16(void **state) {
    (void)state;
    for (int i = 0; i < NAMES; i++) {
        ct_model *model = load(names[i], CT_BF16);
        ct_run *run = ct_run_create(context, &(ct_run_options){.compute = CT_BF16});
        ct_tensor *logits = forward(model, run, golden(names[i], "input_ids", CT_I32));
        assert_int_equal(ct_dtype_of(logits), CT_BF16);
        double worst = deviation(logits, golden(names[i], "logits", CT_F32));
        if (!(worst < 0.05 && worst > 1e-4)) fail_msg("%s: deviation %g in bf16", names[i], worst);
        ct_run_destroy(run);
        ct_model_destroy(model);
    }
}

/* A file's own type, and a run that asks for nothing else, as `carat generate` does it. */
static void test_stored_types(void **state) {
    (void)state;
    static const struct {
        const char *name;
        ct_dtype dtype;
    } stored[] = {{"mistral", CT_F16}, {"qwen3", CT_BF16}, {"llama-yarn", CT_BF16}, {"gemma2", CT_F32}};
    for (size_t i = 0; i < sizeof(stored) / sizeof(stored[0]); i++) {
        ct_model *model = load(stored[i].name, CT_DTYPES);
        ct_run *run = ct_run_create(context, NULL);
        for (int64_t p = 0; p < ct_model_parameter_count(model); p++)
            assert_int_equal(ct_dtype_of(ct_model_parameter(model, p)->tensor), stored[i].dtype);
        ct_tensor *logits = forward(model, run, golden(stored[i].name, "input_ids", CT_I32));
        double worst = deviation(logits, golden(stored[i].name, "logits", CT_F32));
        if (!(worst < 0.05)) fail_msg("%s: deviation %g", stored[i].name, worst);
        ct_run_destroy(run);
        ct_model_destroy(model);
    }
}

/* The probabilities in sight (as for taps and dropout) lead to the same logits as the fused kernel. */
static ct_tensor *look(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run, (void)point;
    ++*(int *)user;
    return value;
}

static void test_explicit_attention(void **state) {
    (void)state;
    for (int i = 0; i < NAMES; i++) {
        int seen = 0;
        ct_model *model = load(names[i], CT_F32);
        ct_run *run = ct_run_create(context, NULL);
        ct_run_add_tap(run, "*.probs", look, &seen);
        ct_tensor *logits = forward(model, run, golden(names[i], "input_ids", CT_I32));
        assert_close(names[i], logits, golden(names[i], "logits", CT_F32), 3e-5);
        assert_int_equal(seen, ct_model_layers(model));
        ct_run_destroy(run);
        ct_model_destroy(model);
    }
}

/* Two samples in one row see what each sees alone. */
static void test_packed_samples(void **state) {
    (void)state;
    enum { FIRST = 8 };
    for (int i = 0; i < NAMES; i++) {
        ct_model *model = load(names[i], CT_F32);
        ct_run *run = ct_run_create(context, NULL);
        ct_tensor *ids = golden(names[i], "input_ids", CT_I32),
                  *expected = golden(names[i], "logits", CT_F32);
        int64_t rows = ct_dim(ids, 0), time = ct_dim(ids, 1);
        assert_int_equal(rows, 2);
        ct_tensor *parts[2] = {ct_slice(ct_slice(ids, 0, 0, 1, 1), 1, 0, FIRST, 1),
                               ct_slice(ids, 0, 1, 2, 1)};
        ct_tensor *row = ct_concat(parts, 2, 1),
                  *segments = ct_zeros(context, CT_I32, CT_DIMS(1, FIRST + time));
        int32_t *number = ct_data_mutable(segments);
        for (int64_t t = FIRST; t < FIRST + time; t++)
            number[t] = 1;
        ct_run_set_segments(run, segments);
        ct_tensor *logits = forward(model, run, row);
        assert_close(names[i], ct_slice(logits, 1, 0, FIRST, 1),
                     ct_slice(ct_slice(expected, 0, 0, 1, 1), 1, 0, FIRST, 1), 3e-5);
        assert_close(names[i], ct_slice(logits, 1, FIRST, FIRST + time, 1), ct_slice(expected, 0, 1, 2, 1),
                     3e-5);
        ct_run_set_segments(run, NULL);
        ct_run_destroy(run);
        ct_model_destroy(model);
    }
}

/* ------------------------------------------------------------------------------------------ continuations */

typedef struct task {
    ct_value *file;
    ct_ids prompts[8];
    int64_t count, steps;
} task;

static void ids_from(const ct_value *list, ct_ids *ids) {
    for (size_t i = 0; i < ct_value_count(list); i++)
        ct_ids_push(context, ids, (int32_t)ct_value_as_int(ct_value_at(list, i), -1));
}

static task task_of(const char *name) {
    char path[600];
    path_of(name, "golden.json", path);
    task t = {.file = ct_json_read(context, path)};
    const ct_value *prompts = ct_value_get(t.file, "prompts");
    t.count = (int64_t)ct_value_count(prompts);
    require(t.count > 1 && t.count <= 8, name, "golden.json");
    for (int64_t i = 0; i < t.count; i++)
        ids_from(ct_value_at(prompts, (size_t)i), &t.prompts[i]);
    t.steps = (int64_t)ct_value_count(ct_value_at(ct_value_get(t.file, "continuations"), 0));
    require(t.steps > 8, name, "golden.json");
    return t;
}

static void task_free(task *t) {
    for (int64_t i = 0; i < t->count; i++)
        ct_ids_free(context, &t->prompts[i]);
    ct_value_free(t->file);
}

static void assert_continuation(const char *name, const task *t, int64_t prompt, const ct_ids *found) {
    const ct_value *expected = ct_value_at(ct_value_get(t->file, "continuations"), (size_t)prompt);
    require(found->count == ct_value_count(expected), name, "length of the continuation");
    for (size_t i = 0; i < found->count; i++)
        if (found->ids[i] != ct_value_as_int(ct_value_at(expected, i), -1))
            fail_msg("%s: prompt %d: token %d is %d, expected %d", name, (int)prompt, (int)i,
                     (int)found->ids[i], (int)ct_value_as_int(ct_value_at(expected, i), -1));
}

static int32_t likeliest(ct_tensor *logits) {
    const float *data = ct_data(ct_contiguous(logits));
    int32_t best = 0;
    for (int32_t i = 1; i < ct_dim(logits, -1); i++)
        if (data[i] > data[best]) best = i;
    return best;
}

/* The whole sequence again for every token. */
static void test_without_cache(void **state) {
    (void)state;
    for (int i = 0; i < NAMES; i++) {
        ct_model *model = load(names[i], CT_F32);
        ct_run *run = ct_run_create(context, NULL);
        task t = task_of(names[i]);
        for (int64_t p = 0; p < t.count; p++) {
            ct_ids history = {0}, added = {0};
            for (size_t j = 0; j < t.prompts[p].count; j++)
                ct_ids_push(context, &history, t.prompts[p].ids[j]);
            for (int64_t step = 0; step < t.steps; step++) {
                ct_scope scope = ct_scope_open(context);
                ct_tensor *ids =
                    ct_from_data(context, CT_I32, CT_DIMS(1, (int64_t)history.count), history.ids);
                bool before = ct_grad_mode_set(context, false);
                int32_t token = likeliest(ct_model_forward_last(model, run, ids));
                ct_grad_mode_set(context, before);
                ct_ids_push(context, &history, token);
                ct_ids_push(context, &added, token);
                ct_scope_close(context, scope);
            }
            assert_continuation(names[i], &t, p, &added);
            ct_ids_free(context, &history);
            ct_ids_free(context, &added);
        }
        task_free(&t);
        ct_run_destroy(run);
        ct_model_destroy(model);
    }
}

/* All prompts as one batch with a key-value cache; their lengths differ. */
static void test_generate(void **state) {
    (void)state;
    ct_tokenizer *tokenizer = ct_tokenizer_from_kind(context, "bytes");
    for (int i = 0; i < NAMES; i++) {
        ct_model *model = load(names[i], CT_F32);
        task t = task_of(names[i]);
        ct_generate_options o;
        ct_generation results[8] = {0};
        ct_options_default(ct_generate_table, &o);
        o.do_sample = false;
        o.ignore_eos = true;
        o.max_new_tokens = t.steps;
        ct_generate(model, tokenizer, t.prompts, t.count, &o, NULL, NULL, results, NULL);
        require(true, names[i], "generate");
        for (int64_t p = 0; p < t.count; p++) {
            assert_continuation(names[i], &t, p, &results[p].ids);
            ct_generation_free(context, &results[p]);
        }
        task_free(&t);
        ct_model_destroy(model);
    }
    ct_tokenizer_destroy(tokenizer);
}

/* A chunk at a time through the cache: a prompt in three pieces has the logits of the whole, to the bit. */
static void test_chunks(void **state) {
    (void)state;
    static const int64_t cuts[4] = {0, 3, 11, 20};
    for (int i = 0; i < NAMES; i++) {
        ct_model *model = load(names[i], CT_F32);
        ct_tensor *ids = golden(names[i], "input_ids", CT_I32), *pieces[3];
        ct_run *whole = ct_run_create(context, NULL), *run = ct_run_create(context, NULL);
        ct_kv_cache *cache = ct_kv_cache_create(context, ct_model_layers(model), 2, 20);
        ct_tensor *expected = forward(model, whole, ids);
        ct_run_set_cache(run, cache);
        for (int c = 0; c < 3; c++)
            pieces[c] = forward(model, run, ct_slice(ids, 1, cuts[c], cuts[c + 1], 1));
        ct_tensor *found = ct_contiguous(ct_concat(pieces, 3, 1));
        require(ct_same_shape(found, expected), names[i], "chunks");
        assert_memory_equal(ct_data(found), ct_data(ct_contiguous(expected)),
                            (size_t)ct_count(expected) * sizeof(float));
        ct_kv_cache_destroy(cache);
        ct_run_destroy(run);
        ct_run_destroy(whole);
        ct_model_destroy(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_logits, start, finish),
        cmocka_unit_test_setup_teardown(test_bf16, start, finish),
        cmocka_unit_test_setup_teardown(test_stored_types, start, finish),
        cmocka_unit_test_setup_teardown(test_explicit_attention, start, finish),
        cmocka_unit_test_setup_teardown(test_packed_samples, start, finish),
        cmocka_unit_test_setup_teardown(test_without_cache, start, finish),
        cmocka_unit_test_setup_teardown(test_generate, start, finish),
        cmocka_unit_test_setup_teardown(test_chunks, start, finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
