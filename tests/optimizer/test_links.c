/* test_links.c - links of the chain: where they stand, what they see, their states, composition, and what is
 * refused. The links here are a test's own, registered in the context, as a user's would be. */
#include "optimizer/parameters.h"
#include <carat/ops.h>

/* Gradient link: subtracts the mean of each row (gradient centralization, arXiv:2004.01461). */
static void centralize(const ct_optimizer_range *r) {
    int64_t n = r->tensor->columns;
    for (int64_t row = 0; row < r->rows; row++) {
        double mean = 0;
        for (int64_t i = 0; i < n; i++)
            mean += (double)r->update[row * n + i];
        for (int64_t i = 0; i < n; i++)
            r->update[row * n + i] -= (float)(mean / (double)n);
    }
}
static const ct_link_method centralize_link = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_link_method),
               .name = "centralize",
               .title = "Centralize",
               .paper = {"arXiv:2004.01461", "Yong et al., ECCV 2020"},
               .summary = "Rows of mean zero. A test.",
               .uses = CT_HOOK_GRADIENT},
    .scope = CT_ROW_RANGES,
    .gradient = centralize};

/* Update link with a state: the update is only taken every second time that a sign repeats. Here: adds up
 * updates. */
static void accumulate(const ct_optimizer_range *r) {
    for (int64_t i = 0; i < r->count; i++)
        r->update[i] = r->state[0][i] += r->update[i];
}
static const ct_state_decl sum_state[] = {{"sum", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                          {.name = NULL}};
static const ct_link_method accumulate_link = {.method = {.abi = CT_METHOD_ABI,
                                                          .size = sizeof(ct_link_method),
                                                          .name = "accumulate",
                                                          .title = "Accumulate",
                                                          .paper = {"none", "a test"},
                                                          .summary = "Sums of updates. A test.",
                                                          .uses = CT_HOOK_UPDATE},
                                               .state = sum_state,
                                               .update = accumulate};

/* Update link over the whole tensor: an update of norm one. */
static void normalize(const ct_optimizer_range *r) {
    double squares = 0;
    for (int64_t i = 0; i < r->count; i++)
        squares += (double)r->update[i] * (double)r->update[i];
    for (int64_t i = 0; i < r->count; i++)
        r->update[i] = (float)(r->update[i] / sqrt(squares));
}
static const ct_link_method normalize_link = {.method = {.abi = CT_METHOD_ABI,
                                                         .size = sizeof(ct_link_method),
                                                         .name = "normalize",
                                                         .title = "Normalize",
                                                         .paper = {"none", "a test"},
                                                         .summary = "Updates of norm one. A test.",
                                                         .uses = CT_HOOK_UPDATE | CT_HOOK_WHOLE_TENSOR},
                                              .scope = CT_WHOLE_TENSOR,
                                              .update = normalize};

typedef struct fixture {
    ct_context *context;
    ct_scope scope;
} fixture;

static fixture open_fixture(void) {
    fixture f = {.context = start_context(2)};
    f.scope = ct_scope_open(f.context);
    ct_method_register(f.context, "link", &centralize_link.method);
    ct_method_register(f.context, "link", &accumulate_link.method);
    ct_method_register(f.context, "link", &normalize_link.method);
    assert_false(ct_failed(f.context));
    return f;
}

static void close_fixture(fixture *f) {
    ct_scope_close(f->context, f->scope);
    end_tensors(f->context);
}

static void gradient_and_update(void **state) {
    (void)state;
    fixture f = open_fixture();
    ct_parameter p = make_shaped(f.context, "w", CT_DIMS(2, 2), (const float[]){1, 2, 3, 4});
    ct_optimizer *optimizer = make_optimizer(f.context, "sgd", "{\"momentum\": 0.5}");
    assert_int_equal(add_link(optimizer, f.context, "centralize", NULL), CT_OK);
    assert_int_equal(add_link(optimizer, f.context, "accumulate", NULL), CT_OK);
    ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1, 0});
    set_gradient(&p, (const float[]){2, 4, -6, 6});
    ct_optimizer_step(optimizer, 0.1, 0.5); /* centered: -.5 .5 -3 3 */
    assert_all_near(&p, (const double[]){1.05, 1.95, 3.3, 3.7}, 1e-6);
    set_gradient(&p, (const float[]){0, 0, 0, 0});
    ct_optimizer_step(optimizer, 0.1,
                      1); /* momentum halves it: -.25 .25 -1.5 1.5; added up: 1.5 times the first */
    assert_all_near(&p, (const double[]){1.05 + 0.075, 1.95 - 0.075, 3.3 + 0.45, 3.7 - 0.45}, 1e-6);
    assert_near(((const float *)ct_data(state_named(optimizer, "accumulate.sum.w")))[2], -4.5, 1e-6);
    ct_optimizer_destroy(optimizer);
    close_fixture(&f);
}

/* The widest scope is taken: rows and wholes with the same result for any number of threads, with 8-bit
 * states too. */
static void scopes(void **state) {
    (void)state;
    static const char *const methods[] = {"adamw8bit", "adamp", "lamb", "adafactor", "muon"};
    for (int m = 0; m < 5; m++) {
        static float first[130 * 600];
        for (int threads = 1; threads <= 3; threads++) {
            fixture f = open_fixture();
            ct_context_set_threads(f.context, threads);
            ct_tensor *w = ct_empty(f.context, CT_F32, CT_DIMS(130, 600));
            ct_random random = ct_random_make(1, 1);
            ct_fill_normal(w, 0, 1, &random);
            ct_require_grad(w, true);
            ct_parameter p = {.name = (char *)(uintptr_t) "w", .tensor = w, .trainable = true};
            ct_optimizer *optimizer = make_optimizer(f.context, methods[m], NULL);
            add_link(optimizer, f.context, "centralize", NULL);
            add_link(optimizer, f.context, "normalize", NULL);
            ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1, 0.1});
            ct_optimizer_record(optimizer, true);
            for (int s = 1; s <= 2; s++) {
                ct_tensor *g = ct_empty_like(w);
                ct_fill_normal(g, 3, 1, &random);
                ct_gradient_set(w, g);
                assert_int_equal(ct_optimizer_step(optimizer, 0.5, 1), CT_OK);
            }
            if (threads == 1)
                memcpy(first, ct_data(w), sizeof(first));
            else
                assert_memory_equal(first, ct_data(w), sizeof(first));
            ct_optimizer_destroy(optimizer);
            close_fixture(&f);
        }
    }
}

/* A list as a recipe has it. */
static void from_a_list(void **state) {
    (void)state;
    static const struct {
        const char *list, *message;
    } bad[] = {{"[\"nup\"]", "\"nap\""},
               {"[{\"name\": \"nap\", \"evry\": 2}]", "optimizer_links.0.evry"},
               {"[\"nap\", \"nap\"]", "twice"},
               {"[3]", "optimizer_links.0"},
               {"{\"nap\": 1}", "expected a list"},
               {"[{\"name\": \"nap\", \"every\": 0}]", "every"},
               {"[\"adamw\"]", "link"}};
    fixture f = open_fixture();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ct_value *list = ct_json_parse(f.context, bad[i].list, strlen(bad[i].list), "list");
        ct_optimizer *optimizer = make_optimizer(f.context, "sgd", NULL);
        assert_true(ct_optimizer_add_links(f.context, optimizer, list, "optimizer_links") != CT_OK);
        ASSERT_ERROR(f.context, CT_ERROR_ARGUMENT, bad[i].message);
        ct_optimizer_destroy(optimizer);
        ct_value_free(list);
    }
    const char *good = "[\"centralize\", {\"name\": \"nap\", \"every\": 2}]";
    ct_value *list = ct_json_parse(f.context, good, strlen(good), "list");
    ct_optimizer *optimizer = make_optimizer(f.context, "sgd", NULL);
    assert_int_equal(ct_optimizer_add_links(f.context, NULL, list, "optimizer_links"), CT_OK);
    assert_int_equal(ct_optimizer_add_links(f.context, optimizer, list, "optimizer_links"), CT_OK);
    ct_parameter p = make_parameter(f.context, "w", (const float[]){1}, 1);
    ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1, 0});
    assert_int_equal(add_link(optimizer, f.context, "accumulate", NULL), CT_ERROR_STATE);
    ASSERT_ERROR(f.context, CT_ERROR_STATE, "before the first parameter");
    ct_optimizer_destroy(optimizer);
    ct_value_free(list);
    close_fixture(&f);
}

/* Rows put together and the whole as it is stored exclude each other. */
static void impossible(void **state) {
    (void)state;
    fixture f = open_fixture();
    ct_module *module = ct_module_create(f.context, ct_module_kind_find(f.context, "conv1d"), "c_fc", NULL);
    ct_slot slot = {.name = "weight", .module = module, .ndim = 2, .shape = {2, 3}};
    ct_parameter p = make_shaped(f.context, "c_fc.weight", CT_DIMS(2, 3), (const float[]){1, 2, 3, 4, 5, 6});
    p.slot = &slot;
    ct_optimizer *optimizer = make_optimizer(f.context, "adamp", NULL);
    add_link(optimizer, f.context, "normalize", NULL);
    assert_int_equal(ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1, 0}), CT_ERROR_UNSUPPORTED);
    ASSERT_ERROR(f.context, CT_ERROR_UNSUPPORTED, "c_fc.weight", "adamp", "normalize");
    ct_optimizer_destroy(optimizer);
    ct_module_destroy(module);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradient_and_update), cmocka_unit_test(scopes),
                                       cmocka_unit_test(from_a_list), cmocka_unit_test(impossible)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
