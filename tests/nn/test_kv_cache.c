/* test_kv_cache.c - decoding with keys and values of the past gives the bits of a full forward pass, for one
 * sequence and for rows of different lengths in one batch; selecting, exchanging and cutting rows; errors. */
#include "reach/reach.h"

enum { VOCABULARY = 30, CAPACITY = 24, LAYERS = 3 };

static const char config[] = "{\"model_type\":\"gpt2\",\"vocab_size\":30,\"n_positions\":24,\"n_embd\":32,"
                             "\"n_layer\":3,\"n_head\":4,\"initializer_range\":0.2}";
static ct_model *model;

static int start_model(void **state) {
    if (start(state) != 0) return -1;
    model = model_from(config, 13);
    ct_grad_mode_set(context, false);
    return 0;
}

static int finish_model(void **state) {
    ct_model_destroy(model);
    return finish(state);
}

#define cache_test(name) cmocka_unit_test_setup_teardown(name, start_model, finish_model)

static ct_tensor *text(uint64_t seed, int64_t length) {
    ct_random random = ct_random_make(seed, 2);
    return ct_random_integer_tensor(context, CT_I32, CT_DIMS(1, length), 0, VOCABULARY, &random);
}

static ct_tensor *full_logits(ct_tensor *ids) {
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *logits = ct_model_forward(model, run, ids);
    ct_run_destroy(run);
    assert_ok();
    return logits;
}

static ct_tensor *cached(ct_run *run, ct_kv_cache *cache, const int64_t *rows, int64_t count,
                         ct_tensor *ids) {
    ct_kv_cache_select(cache, rows, count);
    ct_tensor *logits = ct_model_forward(model, run, ids);
    ct_kv_cache_select(cache, NULL, 0);
    return logits;
}

static ct_run *cached_run(ct_kv_cache *cache) {
    ct_run *run = ct_run_create(context, NULL);
    ct_run_set_cache(run, cache);
    return run;
}

static ct_tensor *part(ct_tensor *x, int64_t first, int64_t last) {
    return ct_slice(x, 1, first, last, 1);
}

/* A prompt of 5 at once, then one position at a time, then 4 at once. */
static void test_one_row(void **state) {
    (void)state;
    ct_tensor *ids = text(1, 20), *expected = full_logits(ids);
    ct_kv_cache *cache = ct_kv_cache_create(context, LAYERS, 1, CAPACITY);
    ct_run *run = cached_run(cache);
    const int64_t ends[] = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20};
    int64_t at = 0;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        assert_int_equal(ct_kv_cache_length(cache, 0), at);
        ct_tensor *logits = ct_model_forward(model, run, part(ids, at, ends[i]));
        assert_same_bits(logits, part(expected, at, ends[i]));
        at = ends[i];
    }
    assert_int_equal(ct_kv_cache_length(cache, 0), 20);
    assert_int_equal(ct_kv_cache_capacity(cache), CAPACITY);
    /* Going back and on with another text is as if that had been there all along. */
    ct_tensor *other = text(2, 3);
    assert_int_equal(ct_kv_cache_truncate(cache, 0, 7), CT_OK);
    ct_tensor *joined = ct_concat((ct_tensor *[]){part(ids, 0, 7), other}, 2, 1);
    assert_same_bits(ct_model_forward(model, run, other), part(full_logits(joined), 7, 10));
    ct_run_destroy(run);
    ct_kv_cache_destroy(cache);
}

/* Three prompts of lengths 3, 9 and 6 fill their rows one by one; then all go on together, and each row has
 * the bits that it has alone. */
static void test_rows_of_different_lengths(void **state) {
    (void)state;
    const int64_t lengths[] = {3, 9, 6}, steps = 5;
    ct_tensor *ids[3], *expected[3];
    ct_kv_cache *cache = ct_kv_cache_create(context, LAYERS, 3, CAPACITY);
    ct_run *run = cached_run(cache);
    for (int64_t row = 0; row < 3; row++) {
        ids[row] = text(10 + (uint64_t)row, lengths[row] + steps);
        expected[row] = full_logits(ids[row]);
        ct_tensor *logits = cached(run, cache, &row, 1, part(ids[row], 0, lengths[row]));
        assert_same_bits(logits, part(expected[row], 0, lengths[row]));
    }
    for (int64_t s = 0; s < steps; s++) {
        ct_tensor *next[3];
        for (int row = 0; row < 3; row++) {
            assert_int_equal(ct_kv_cache_length(cache, row), lengths[row] + s);
            next[row] = part(ids[row], lengths[row] + s, lengths[row] + s + 1);
        }
        ct_tensor *logits = ct_model_forward(model, run, ct_concat(next, 3, 0));
        for (int row = 0; row < 3; row++)
            assert_same_bits(ct_slice(logits, 0, row, row + 1, 1),
                             part(expected[row], lengths[row] + s, lengths[row] + s + 1));
    }
    ct_run_destroy(run);
    ct_kv_cache_destroy(cache);
}

/* Row 1 ends: row 2 takes its place, and a batch of rows {2, 0} in that order goes on. */
static void test_swap_and_select(void **state) {
    (void)state;
    ct_tensor *ids[3], *expected[3];
    ct_kv_cache *cache = ct_kv_cache_create(context, LAYERS, 3, CAPACITY);
    ct_run *run = cached_run(cache);
    for (int64_t row = 0; row < 3; row++) {
        ids[row] = text(20 + (uint64_t)row, 8 + row);
        expected[row] = full_logits(ids[row]);
        cached(run, cache, &row, 1, part(ids[row], 0, 6 + row));
    }
    assert_int_equal(ct_kv_cache_swap_rows(cache, 1, 2), CT_OK);
    assert_int_equal(ct_kv_cache_length(cache, 1), 8);
    assert_int_equal(ct_kv_cache_length(cache, 2), 7);
    ct_tensor *next = ct_concat((ct_tensor *[]){part(ids[2], 8, 9), part(ids[0], 6, 7)}, 2, 0);
    ct_tensor *logits = cached(run, cache, (const int64_t[]){1, 0}, 2, next);
    assert_ok();
    assert_same_bits(ct_slice(logits, 0, 0, 1, 1), part(expected[2], 8, 9));
    assert_same_bits(ct_slice(logits, 0, 1, 2, 1), part(expected[0], 6, 7));
    assert_int_equal(ct_kv_cache_length(cache, 2), 7); /* was not selected */
    ct_run_destroy(run);
    ct_kv_cache_destroy(cache);
}

/* The cache works for a model that has lost a layer, the last one too. */
static void test_after_surgery(void **state) {
    (void)state;
    ct_module_remove(ct_module_find(ct_model_root(model), "h.2"));
    ct_module_remove(ct_module_find(ct_model_root(model), "h.0"));
    ct_model_sync(model, 1);
    assert_ok();
    assert_int_equal(ct_model_layers(model), 1);
    ct_tensor *ids = text(5, 6), *expected = full_logits(ids);
    ct_kv_cache *cache = ct_kv_cache_create(context, ct_model_layers(model), 1, CAPACITY);
    ct_run *run = cached_run(cache);
    ct_model_forward(model, run, part(ids, 0, 4));
    assert_int_equal(ct_kv_cache_length(cache, 0), 4);
    assert_same_bits(ct_model_forward(model, run, part(ids, 4, 6)), part(expected, 4, 6));
    ct_run_destroy(run);
    ct_kv_cache_destroy(cache);
}

static void assert_failed_with(const char *words) {
    assert_true(ct_failed(context));
    if (!strstr(ct_context_message(context), words))
        fail_msg("\"%s\" not in \"%s\"", words, ct_context_message(context));
    ct_context_clear(context);
}

static ct_tensor *same(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)user, (void)run, (void)point;
    return value;
}

static void test_errors(void **state) {
    (void)state;
    assert_null(ct_kv_cache_create(context, LAYERS, 0, CAPACITY));
    assert_failed_with("0 rows");
    ct_kv_cache *cache = ct_kv_cache_create(context, LAYERS, 2, 8);
    ct_run *run = cached_run(cache);
    ct_model_forward(model, run, ct_concat((ct_tensor *[]){text(1, 6), text(2, 6)}, 2, 0));
    assert_ok();
    ct_model_forward(model, run, ct_concat((ct_tensor *[]){text(1, 3), text(2, 3)}, 2, 0));
    assert_failed_with("the sequence would have 9 positions, the cache holds 8");
    assert_int_equal(ct_kv_cache_length(cache, 0), 6); /* as before */
    assert_int_equal(ct_kv_cache_length(cache, 1), 6);
    ct_model_forward(model, run, ct_zeros(context, CT_I32, CT_DIMS(3, 1)));
    assert_failed_with("a batch of 3 rows");
    ct_kv_cache_truncate(cache, 0, 7);
    assert_failed_with("cut to 7");
    ct_kv_cache_truncate(cache, 2, 0);
    assert_failed_with("row 2");
    ct_kv_cache_swap_rows(cache, 0, 2);
    assert_failed_with("0 and 2");
    ct_kv_cache_select(cache, (const int64_t[]){0, 2}, 2);
    assert_failed_with("selected");
    ct_kv_cache_select(cache, (const int64_t[]){0, 1, 1}, 3);
    assert_failed_with("selected");
    assert_int_equal(ct_kv_cache_row(cache, 2), -1);
    assert_int_equal(ct_kv_cache_length(cache, 5), 0);
    ct_run_add_tap(run, "h.*.attn.probs", same, NULL);
    ct_model_forward(model, run, text(3, 1));
    assert_failed_with("h.0.attn.probs");
    ct_run_destroy(run);
    ct_kv_cache_destroy(cache);
    cache = ct_kv_cache_create(context, LAYERS, 1, 100); /* longer than the model's positions */
    run = cached_run(cache);
    ct_model_forward(model, run, text(1, 24));
    assert_ok();
    ct_model_forward(model, run, text(1, 1));
    assert_failed_with("25 positions, the model has 24");
    ct_run_destroy(run);
    ct_kv_cache_destroy(cache);
}

static void test_allocation_failure(void **state) {
    (void)state;
    ct_tensor *ids = text(1, 4);
    full_logits(ids);
    ct_memory_counts before, after;
    ct_memory_read(context, &before);
    int64_t failed = 0;
    for (int64_t n = 1;; n++) {
        ct_scope scope = ct_scope_open(context);
        ct_memory_fail_at(context, n);
        ct_kv_cache *cache = ct_kv_cache_create(context, LAYERS, 1, CAPACITY);
        ct_run *run = cache ? ct_run_create(context, NULL) : NULL;
        if (run) ct_run_set_cache(run, cache);
        if (run) ct_model_forward(model, run, ids);
        ct_memory_fail_at(context, 0);
        ct_run_destroy(run);
        ct_kv_cache_destroy(cache);
        ct_scope_close(context, scope);
        ct_memory_read(context, &after);
        assert_true(after.current[CT_MEMORY_ACTIVATIONS] == before.current[CT_MEMORY_ACTIVATIONS]);
        if (!ct_failed(context)) break;
        failed++;
        assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
    }
    assert_true(failed > 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cache_test(test_one_row),         cache_test(test_rows_of_different_lengths),
        cache_test(test_swap_and_select), cache_test(test_after_surgery),
        cache_test(test_errors),          cache_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
