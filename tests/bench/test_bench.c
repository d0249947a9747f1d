/* test_bench.c - benchmarks: what is counted, medians, refusals, allocation failure. No test looks at how
 * long anything took. */
#include "method/check.h"
#include <carat/bench.h>
#include <math.h>

static const ct_bench_options quick = {5, 0, 1 << 16};

/* A setting of a benchmark from JSON; the caller frees it. */
static void *setting_of(ct_context *context, const ct_benchmark *benchmark, const char *text) {
    void *setting = calloc(1, benchmark->setting_size);
    ct_value *map = ct_json_parse(context, text, strlen(text), "setting");
    assert_non_null(setting);
    ct_options_default(benchmark->table, setting);
    assert_int_equal(ct_options_apply(context, benchmark->table, setting, map, "", NULL), CT_OK);
    ct_value_free(map);
    return setting;
}

static void find(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    for (int i = 0; ct_benchmarks[i]; i++) {
        const ct_benchmark *b = ct_benchmarks[i];
        assert_ptr_equal(ct_benchmark_find(context, b->name), b);
        assert_non_null(ct_kind_find(b->kind));
        assert_true(b->summary && b->element && b->table && b->measure);
    }
    assert_null(ct_benchmark_find(context, "nrm"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "did you mean \"norm\"?");
    end_tensors(context);
}

/* Forward moves two arrays, backward three; rates follow from medians between the least and the greatest. */
static void norms(void **state) {
    (void)state;
    ct_context *context = start_context(2);
    const ct_benchmark *norm = ct_benchmark_find(context, "norm");
    for (int narrow = 0; narrow < 2; narrow++) {
        void *setting = setting_of(context, norm,
                                   narrow ? "{\"rows\":6,\"columns\":40,\"dtype\":\"bf16\"}"
                                          : "{\"rows\":6,\"columns\":40}");
        ct_bench_report r;
        assert_int_equal(ct_bench_run(context, norm, &quick, setting, NULL, 0, &r), CT_OK);
        assert_int_equal(r.threads, 2);
        assert_true(strcmp(r.isa, "plain") == 0 || strcmp(r.isa, "avx2") == 0 ||
                    strcmp(r.isa, "avx512") == 0);
        assert_true(r.bandwidth > 0 && isfinite(r.bandwidth));
        assert_int_equal(r.count, ct_method_count(context, ct_kind_find("norm")));
        int measured = 0;
        for (int i = 0; i < r.count; i++) {
            const ct_bench_row *row = &r.rows[i];
            if (*row->refused) continue;
            measured++;
            assert_int_equal(row->count, 2);
            assert_string_equal(row->passes[0].pass, "forward");
            assert_string_equal(row->passes[1].pass, "backward");
            for (int p = 0; p < 2; p++) {
                const ct_bench_measure *m = &row->passes[p];
                assert_true(m->elements == 240);
                assert_true(m->bytes == (p + 2) * 240 * (narrow ? 2 : 4));
                assert_true(m->least > 0 && m->least <= m->median && m->median <= m->greatest);
            }
        }
        assert_true(measured >= 4);
        ct_bench_free(context, &r);
        free(setting);
    }
    end_tensors(context);
}

/* 12 width^2 parameters a block; AdamW keeps two states, SGD none. */
static void optimizers(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    const ct_benchmark *optimizer = ct_benchmark_find(context, "optimizer");
    void *setting = setting_of(context, optimizer, "{\"width\":8,\"blocks\":3}");
    const char *const names[] = {"adamw", "sgd"};
    ct_bench_report r;
    assert_int_equal(ct_bench_run(context, optimizer, &quick, setting, names, 2, &r), CT_OK);
    assert_int_equal(r.count, 2);
    const ct_bench_measure *adamw = &r.rows[0].passes[0], *sgd = &r.rows[1].passes[0];
    assert_string_equal(r.rows[1].method->name, "sgd");
    assert_true(adamw->elements == 2304 && sgd->elements == 2304);
    double steps = 12 * 2 * 8; /* each matrix counts its steps, an i64 that is read and written */
    assert_true(adamw->bytes == 2304 * 28 + steps && sgd->bytes == 2304 * 12 + steps);
    assert_true(adamw->median > 0);
    ct_bench_free(context, &r);
    free(setting);
    end_tensors(context);
}

/* Calls of which the k-th says that it took k seconds. */
static ct_status counted(void *user, double *seconds) {
    int *calls = user;
    seconds[0] += *calls;
    seconds[1] += 10 * *calls;
    ++*calls;
    return CT_OK;
}

static void medians(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_bench_options options = {6, 0, 1 << 16};
    ct_bench_call call = {context, &options, NULL};
    ct_bench_measure m[2];
    int calls = 0; /* the first, of 0 seconds, does not count: 1 to 6 are left */
    assert_int_equal(ct_bench_time(&call, counted, &calls, 2, m), CT_OK);
    assert_int_equal(calls, 7);
    assert_true(m[0].least == 1 && m[0].median == 3.5 && m[0].greatest == 6);
    assert_true(m[1].least == 10 && m[1].median == 35 && m[1].greatest == 60);
    options.timings = 5;
    calls = 0;
    assert_int_equal(ct_bench_time(&call, counted, &calls, 2, m), CT_OK);
    assert_true(m[0].median == 3);
    ct_request_stop(context);
    assert_int_equal(ct_bench_time(&call, counted, &calls, 2, m), CT_ERROR_INTERRUPTED);
    ct_clear_stop(context);
    ct_context_clear(context);
    end_tensors(context);
}

static void refused(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    const ct_benchmark *norm = ct_benchmark_find(context, "norm");
    void *setting = setting_of(context, norm, "{\"rows\":4,\"columns\":8}");
    const char *const none[] = {"none"}, *const unknown[] = {"layernrm"};
    ct_bench_report r;
    ct_bench_run(context, norm, &quick, setting, none, 1, &r);
    ASSERT_ERROR(context, CT_ERROR_UNSUPPORTED, "none computes nothing");
    ct_bench_run(context, norm, &quick, setting, unknown, 1, &r);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "layernorm");
    const ct_bench_options few = {4, 0, 1 << 16};
    ct_bench_run(context, norm, &few, setting, NULL, 0, &r);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "timings 4, expected at least 5");
    assert_null(r.rows);
    assert_int_equal(ct_bench_run(context, norm, &quick, setting, NULL, 0, &r), CT_OK);
    bool found = false;
    for (int i = 0; i < r.count; i++)
        if (strcmp(r.rows[i].method->name, "none") == 0)
            found = strstr(r.rows[i].refused, "computes nothing") != NULL;
    assert_true(found);
    ct_bench_free(context, &r);
    free(setting);
    end_tensors(context);
}

/* Every allocation may fail: the run then fails as a whole and leaves nothing. */
static void run_small(ct_context *context, void *user) {
    const char *name = user;
    bool norm = strcmp(name, "layernorm") == 0;
    const ct_benchmark *b = ct_benchmark_find(context, norm ? "norm" : "optimizer");
    static const struct {
        int64_t rows, columns;
        int dtype;
    } small_norm = {2, 4, 0};
    static const int64_t small_optimizer[2] = {4, 1};
    ct_bench_report r;
    if (ct_bench_run(context, b, &quick, norm ? (const void *)&small_norm : small_optimizer,
                     (const char *const *)&name, 1, &r) == CT_OK)
        ct_bench_free(context, &r);
}

static void memory(void **state) {
    (void)state;
    char layernorm[] = "layernorm", adamw[] = "adamw";
    sweep_tensors(run_small, layernorm, 1, 2000);
    sweep_tensors(run_small, adamw, 1, 2000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(find),       cmocka_unit_test(norms),
                                       cmocka_unit_test(optimizers), cmocka_unit_test(medians),
                                       cmocka_unit_test(refused),    cmocka_unit_test(memory)};
    return cmocka_run_group_tests_name("bench", tests, NULL, NULL);
}
