/* test_run.c - runs: overlays and their cache, taps and their patterns, dropout that does not depend on how a
 * batch is cut, the memory of a chain of modules. */
#include "nn/run.h"
#include "reach/reach.h"

/* ------------------------------------------------------------------------------------------- patterns */

static void test_patterns(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        {"h.*.attn.probs", "h.0.attn.probs", true},
        {"h.*.attn.probs", "h.11.attn.probs", true},
        {"h.*.attn.probs", "h.0.mlp.act", false},
        {"h.*.attn.probs", "h.0.attn.probs.x", false},
        {"h.1.attn.probs", "h.11.attn.probs", false},
        {"*", "", true},
        {"*", "anything.at.all", true},
        {"", "", true},
        {"", "x", false},
        {"a*b*c", "aXbXbc", true},
        {"a*b*c", "acb", false},
        {"*ab", "aab", true},
        {"*ab", "aba", false},
        {"**", "x", true},
        {"a*", "a", true},
        {"a*a", "a", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (ct_pattern_matches(cases[i].pattern, cases[i].text) != cases[i].matches)
            fail_msg("\"%s\" and \"%s\"", cases[i].pattern, cases[i].text);
    char text[4001]; /* many stars take linear time, not exponential */
    memset(text, 'a', 4000);
    text[4000] = 0;
    double begin = ct_seconds();
    assert_false(ct_pattern_matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", text));
    assert_true(ct_seconds() - begin < 1);
}

/* ------------------------------------------------------------------------------------------- overlays */

typedef struct scaled {
    double factor, offset;
    int calls;
    ct_slot *also; /* resolved from inside */
} scaled;

static ct_tensor *scale(void *user, ct_run *run, const ct_slot *slot, ct_tensor *present) {
    scaled *s = user;
    s->calls++;
    if (s->also && slot != s->also) ct_run_weight(run, s->also);
    return ct_add_scalar(ct_mul_scalar(present, s->factor), s->offset);
}

static ct_model *tiny_mlp(void) {
    ct_model *model = model_from("{\"model_type\":\"mlp\",\"sizes\":[1,1,1],\"activation\":\"none\"}", 1);
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++)
        ct_fill(ct_model_parameter(model, i)->tensor, (double)(i + 1)); /* w 1, b 2, w 3, b 4 */
    return model;
}

static double answer(ct_model *model, ct_run *run) {
    return item(ct_model_forward(model, run, ct_full(context, CT_F32, CT_DIMS(1, 1), 10)));
}

/* (10 w1 + b1) w2 + b2 with overlays in the order of pushing; resolved once until a reset. */
static void test_overlays(void **state) {
    (void)state;
    ct_model *model = tiny_mlp();
    ct_run *run = ct_run_create(context, NULL);
    assert_near(answer(model, run), (10 * 1 + 2) * 3 + 4, 0);
    scaled doubled = {.factor = 2}, plus = {.factor = 1, .offset = 1};
    ct_run_push_overlay(run, &(ct_overlay){scale, &doubled});
    assert_near(answer(model, run), (10 * 2 + 4) * 6 + 8, 0);
    assert_near(answer(model, run), (10 * 2 + 4) * 6 + 8, 0);
    assert_int_equal(doubled.calls, 4); /* once a slot */
    ct_run_push_overlay(run, &(ct_overlay){scale, &plus});
    assert_near(answer(model, run), (10 * 3 + 5) * 7 + 9, 0); /* 2 w + 1, not 2 (w + 1) */
    assert_int_equal(doubled.calls, 8);
    ct_fill(ct_model_parameter(model, 0)->tensor, 5);
    assert_near(answer(model, run), (10 * 3 + 5) * 7 + 9, 0); /* still what was resolved */
    ct_run_reset(run);
    assert_near(answer(model, run), (10 * 11 + 5) * 7 + 9, 0);
    ct_run_pop_overlay(run);
    assert_near(answer(model, run), (10 * 10 + 4) * 6 + 8, 0);
    ct_run_pop_overlay(run);
    ct_run_pop_overlay(run); /* of none: nothing happens */
    assert_near(answer(model, run), (10 * 5 + 2) * 3 + 4, 0);
    ct_run_destroy(run);
    ct_model_destroy(model);
}

static void test_overlay_resolves_another_slot(void **state) {
    (void)state;
    ct_model *model = tiny_mlp();
    ct_run *run = ct_run_create(context, NULL);
    scaled doubled = {.factor = 2,
                      .also = ct_module_slot_named(ct_module_find(ct_model_root(model), "2"), "bias")};
    ct_run_push_overlay(run, &(ct_overlay){scale, &doubled});
    assert_near(answer(model, run), (10 * 2 + 4) * 6 + 8, 0);
    assert_int_equal(doubled.calls, 4);
    for (int i = 0; i < 15; i++)
        assert_int_equal(ct_run_push_overlay(run, &(ct_overlay){scale, &doubled}), CT_OK);
    assert_int_equal(ct_run_push_overlay(run, &(ct_overlay){scale, &doubled}), CT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(ct_context_message(context), "at most 16"));
    ct_context_clear(context);
    ct_run_destroy(run);
    ct_model_destroy(model);
}

/* More slots than the table of resolved weights begins with. */
static void test_many_slots(void **state) {
    (void)state;
    enum { LAYERS = 60 };
    char text[1024] = "{\"model_type\":\"mlp\",\"activation\":\"none\",\"sizes\":[1";
    for (int i = 0; i < LAYERS; i++)
        strcat(text, ",1");
    ct_model *model = model_from(strcat(text, "]}"), 1);
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++)
        ct_fill(ct_model_parameter(model, i)->tensor, i % 2 ? 1 : 0.5); /* weights 0.5, biases 1 */
    ct_run *run = ct_run_create(context, NULL);
    scaled doubled = {.factor = 2};
    ct_run_push_overlay(run, &(ct_overlay){scale, &doubled});
    for (int pass = 0; pass < 2; pass++)
        assert_near(answer(model, run), 10 + 2 * LAYERS, 0);
    assert_int_equal(doubled.calls, 2 * LAYERS);
    ct_run_destroy(run);
    ct_model_destroy(model);
}

/* ----------------------------------------------------------------------------------------------- taps */

static ct_tensor *note_and_add(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run;
    char *seen = user;
    strcat(strcat(seen, point), ";");
    return ct_add_scalar(value, 100);
}

static ct_tensor *nothing(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)user, (void)run, (void)point, (void)value;
    return NULL;
}

static void test_taps(void **state) {
    (void)state;
    ct_model *model = tiny_mlp(); /* 0 linear, 1 activation none, 2 linear */
    ct_run *run = ct_run_create(context, NULL);
    char first[64] = "", second[64] = "";
    ct_module *layer = ct_module_find(ct_model_root(model), "0");
    assert_false(ct_run_tapped(run, layer, "output"));
    assert_int_equal(ct_run_add_tap(run, "0.output", note_and_add, first), CT_OK);
    assert_true(ct_run_tapped(run, layer, "output"));
    assert_false(ct_run_tapped(run, layer, "probs"));
    assert_near(answer(model, run), (12 + 100) * 3 + 4, 0);
    ct_run_add_tap(run, "*.output", note_and_add, second);
    assert_near(answer(model, run), (12 + 300) * 3 + 4 + 100, 0);
    assert_string_equal(first, "0.output;0.output;");
    assert_string_equal(second, "0.output;1.output;2.output;");
    ct_run_clear_taps(run);
    assert_near(answer(model, run), 12 * 3 + 4, 0);
    ct_run_add_tap(run, "1.output", nothing, NULL);
    ct_model_forward(model, run, ct_full(context, CT_F32, CT_DIMS(1, 1), 10));
    assert_int_equal(ct_context_status(context), CT_ERROR_SHAPE);
    assert_non_null(strstr(ct_context_message(context), "1.output"));
    ct_context_clear(context);
    ct_run_destroy(run);
    ct_model_destroy(model);
}

/* -------------------------------------------------------------------------------------------- dropout */

enum { ROWS = 12, COLUMNS = 500 };

/* Two dropouts one after the other, on rows [first, last) of a batch of ones. */
static ct_tensor *dropped(uint64_t step, int64_t first, int64_t last, uint64_t seed) {
    ct_random random = ct_random_make(seed, 0);
    ct_run *run = ct_run_create(context, &(ct_run_options){.training = true, .random = &random});
    ct_run_set_rows(run, step, first);
    ct_tensor *x = ct_full(context, CT_F32, CT_DIMS(last - first, COLUMNS), 1);
    ct_tensor *once = ct_run_dropout(run, x, 0.25);
    ct_tensor *twice = ct_run_dropout(run, x, 0.25);
    ct_run_destroy(run);
    assert_true(worst_difference(once, twice) > 0); /* each place has its own mask */
    return ct_add(once, ct_mul_scalar(twice, 10));
}

static void test_dropout_does_not_see_micro_batches(void **state) {
    (void)state;
    ct_tensor *whole = dropped(7, 0, ROWS, 1);
    const int64_t cuts[][4] = {{0, 6, 12, 12}, {0, 1, 5, 12}, {0, 4, 8, 12}};
    for (int c = 0; c < 3; c++)
        for (int part = 0; part < 3; part++) {
            int64_t first = cuts[c][part], last = cuts[c][part + 1];
            if (first < last)
                assert_same_bits(dropped(7, first, last, 1), ct_slice(whole, 0, first, last, 1));
        }
    assert_true(worst_difference(whole, dropped(8, 0, ROWS, 1)) >
                0); /* another step, another seed: other masks */
    assert_true(worst_difference(whole, dropped(7, 0, ROWS, 2)) > 0);
}

static void test_dropout_values(void **state) {
    (void)state;
    ct_run *run = ct_run_create(context, &(ct_run_options){.training = true});
    ct_tensor *x = ct_full(context, CT_F32, CT_DIMS(ROWS, COLUMNS), 3);
    double *y = values(ct_run_dropout(run, x, 0.25)), zeros = 0;
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        assert_true(y[i] == 0 || y[i] == 4); /* 3 / (1 - 0.25) */
        zeros += y[i] == 0;
    }
    /* 6000 draws: 1500 expected, deviation sqrt(6000 * 0.25 * 0.75) = 33.5 */
    assert_true(fabs(zeros - 1500) < 5 * 33.5);
    assert_ptr_equal(ct_run_dropout(run, x, 0), x);
    ct_run_destroy(run);
    run = ct_run_create(context, NULL); /* not training */
    assert_ptr_equal(ct_run_dropout(run, x, 0.25), x);
    ct_run_destroy(run);
    free(y);
}

/* --------------------------------------------------------------------------------------------- memory */

static size_t chain_peak(int layers) {
    char text[2048] = "{\"model_type\":\"mlp\",\"sizes\":[64";
    for (int i = 0; i < layers; i++)
        strcat(text, ",64");
    ct_model *model = model_from(strcat(text, "]}"), 1);
    ct_run *run = ct_run_create(context, NULL);
    ct_memory_counts counts;
    ct_scope scope = ct_scope_open(context);
    ct_tensor *x = ct_zeros(context, CT_F32, CT_DIMS(128, 64));
    ct_memory_reset_peak(context);
    ct_model_forward(model, run, x);
    ct_memory_read(context, &counts);
    ct_scope_close(context, scope);
    ct_run_destroy(run);
    ct_model_destroy(model);
    assert_ok();
    return counts.peak[CT_MEMORY_ACTIVATIONS];
}

/* Without a graph: the chain's input, a module's input and its result, for any number of modules. */
static void test_chain_memory(void **state) {
    (void)state;
    assert_true(chain_peak(3) == 3 * ct_memory_rounded(128 * 64 * sizeof(float)));
    assert_true(chain_peak(20) == chain_peak(3));
}

static void test_allocation_failure(void **state) {
    (void)state;
    ct_model *model = tiny_mlp();
    scaled doubled = {.factor = 2};
    char seen[4096] = "";
    ct_memory_counts before, after;
    ct_run *warm = ct_run_create(context, NULL);
    answer(model, warm);
    ct_run_destroy(warm);
    ct_memory_read(context, &before);
    int64_t failed = 0;
    for (int64_t n = 1;; n++) {
        ct_scope scope = ct_scope_open(context);
        seen[0] = 0;
        ct_memory_fail_at(context, n);
        ct_run *run = ct_run_create(context, NULL);
        if (run) {
            ct_run_push_overlay(run, &(ct_overlay){scale, &doubled});
            ct_run_add_tap(run, "*", note_and_add, seen);
            ct_model_forward(model, run, ct_full(context, CT_F32, CT_DIMS(1, 1), 10));
        }
        ct_memory_fail_at(context, 0);
        ct_run_destroy(run);
        ct_scope_close(context, scope);
        ct_memory_read(context, &after);
        assert_true(after.current[CT_MEMORY_ACTIVATIONS] == before.current[CT_MEMORY_ACTIVATIONS]);
        if (!ct_failed(context)) break;
        failed++;
        assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
    }
    assert_true(failed > 20);
    ct_model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_patterns),
        reach_test(test_overlays),
        reach_test(test_overlay_resolves_another_slot),
        reach_test(test_many_slots),
        reach_test(test_taps),
        reach_test(test_dropout_does_not_see_micro_batches),
        reach_test(test_dropout_values),
        reach_test(test_chain_memory),
        reach_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
