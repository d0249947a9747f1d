/* test_all.c - what the shared part promises of every optimizer in the table, written once: a run that is
 * saved and restored goes on to the same bits, threads do not change bits, masks freeze, narrow states still
 * train, a gradient of zero is harmless, allocation failures are survived, options out of range are refused,
 * recording changes nothing. */
#include "optimizer/parameters.h"
#include <carat/ops.h>

/* A few parameters of different kinds: a matrix larger than a tile and a task, an embedding, a convolution, a
 * vector. */
enum { PARAMETERS = 4 };
static const struct {
    const char *name;
    int ndim;
    int64_t shape[4];
    ct_role role;
} shapes[PARAMETERS] = {{"h.weight", 2, {300, 257}, CT_ROLE_MATRIX},
                        {"wte.weight", 2, {50, 100}, CT_ROLE_EMBEDDING},
                        {"conv.weight", 4, {6, 5, 3, 3}, CT_ROLE_MATRIX},
                        {"h.bias", 1, {300}, CT_ROLE_BIAS}};

typedef struct fixture {
    ct_context *context;
    ct_scope scope;
    ct_parameter p[PARAMETERS];
    ct_optimizer *optimizer;
} fixture;

static void fill(ct_tensor *tensor, int64_t step) {
    ct_random random = ct_random_make(5, ct_random_stream("test_all") + (uint64_t)step);
    ct_fill_normal(tensor, 0, 1, &random);
}

static void make_parameters(fixture *f) {
    for (int i = 0; i < PARAMETERS; i++) {
        ct_tensor *tensor = ct_empty(f->context, CT_F32, shapes[i].ndim, shapes[i].shape);
        fill(tensor, i);
        ct_require_grad(tensor, true);
        f->p[i] =
            (ct_parameter){.name = (char *)(uintptr_t)shapes[i].name, .tensor = tensor, .trainable = true};
    }
}

static void open_fixture(fixture *f, const ct_method *method, const char *options, int threads) {
    f->context = start_context(threads);
    f->scope = ct_scope_open(f->context);
    make_parameters(f);
    f->optimizer = make_optimizer(f->context, method->name, options);
    for (int i = 0; i < PARAMETERS; i++)
        ct_optimizer_add_as(f->optimizer, &f->p[i], &(ct_parameter_group){1, 0.1}, shapes[i].role);
    if (ct_failed(f->context)) fail_msg("%s: %s", method->name, ct_context_message(f->context));
}

static void close_fixture(fixture *f) {
    ct_optimizer_destroy(f->optimizer);
    ct_scope_close(f->context, f->scope);
    end_tensors(f->context);
}

/* The bias has no gradient in step 2: counts of steps differ between parameters. */
static void step(fixture *f, int64_t number) {
    for (int i = 0; i < PARAMETERS; i++) {
        ct_tensor *g = NULL;
        if (i != 3 || number != 2) {
            g = ct_empty_like(f->p[i].tensor);
            fill(g, 100 * number + i);
        }
        if (g || ct_gradient(f->p[i].tensor)) ct_gradient_set(f->p[i].tensor, g);
    }
    ct_optimizer_step(f->optimizer, 0.01, 0.5);
}

static size_t bytes_of(const ct_tensor *tensor) {
    return (size_t)ct_count(tensor) * ct_dtype_size(ct_dtype_of(tensor));
}

static void assert_same_weights(const ct_method *method, const fixture *a, const fixture *b) {
    for (int i = 0; i < PARAMETERS; i++)
        if (memcmp(ct_data(a->p[i].tensor), ct_data(b->p[i].tensor), bytes_of(a->p[i].tensor)) != 0)
            fail_msg("%s: \"%s\" differs", method->name, shapes[i].name);
}

/* ------------------------------------------------------------------------------------------- the tests */

/* Options with which a method keeps all its states, stored in so many bits (0: as the method does). */
enum { WIDTHS = 3 };
static const int widths[WIDTHS] = {0, 8, 16};
static const char *options_of(const ct_method *method, int bits) {
    static char text[128];
    const char *more = ct_options_find(method->options, "amsgrad") ? "\"amsgrad\": true, "
                       : ct_options_find(method->options, "centered")
                           ? "\"centered\": true, \"momentum\": 0.5, "
                       : strncmp(method->name, "sgd", 3) == 0 ? "\"momentum\": 0.9, "
                                                              : "";
    snprintf(text, sizeof(text), "{%s\"state_bits\": %d}", more, bits);
    return text;
}

static void saved_and_restored(void **state) {
    const ct_method *method = *state;
    for (int w = 0; w < WIDTHS; w++) {
        fixture a, b;
        char name[256], other[256];
        open_fixture(&a, method, options_of(method, widths[w]), 2);
        open_fixture(&b, method, options_of(method, widths[w]), 1);
        for (int s = 1; s <= 3; s++)
            step(&a, s);
        int64_t count = ct_optimizer_state_count(a.optimizer);
        assert_int_equal(count, ct_optimizer_state_count(b.optimizer));
        for (int64_t i = 0; i < count; i++) {
            ct_tensor *from = ct_optimizer_state_at(a.optimizer, i, name, sizeof(name));
            ct_tensor *to = ct_optimizer_state_at(b.optimizer, i, other, sizeof(other));
            assert_string_equal(name, other);
            memcpy(ct_data_mutable(to), ct_data(from), bytes_of(from));
        }
        ct_optimizer_set_steps(b.optimizer, ct_optimizer_steps(a.optimizer));
        for (int i = 0; i < PARAMETERS; i++)
            memcpy(ct_data_mutable(b.p[i].tensor), ct_data(a.p[i].tensor), bytes_of(a.p[i].tensor));
        for (int s = 4; s <= 6; s++) {
            step(&a, s);
            step(&b, s);
        }
        assert_same_weights(method, &a, &b);
        close_fixture(&a);
        close_fixture(&b);
    }
}

/* After a reset the method goes on from its weights as a new one would. */
static void reset(void **state) {
    const ct_method *method = *state;
    for (int w = 0; w < WIDTHS; w++) {
        fixture a, b;
        open_fixture(&a, method, options_of(method, widths[w]), 2);
        open_fixture(&b, method, options_of(method, widths[w]), 2);
        for (int s = 1; s <= 3; s++)
            step(&a, s);
        assert_int_equal(ct_optimizer_reset(a.optimizer), CT_OK);
        assert_int_equal(ct_optimizer_steps(a.optimizer), 3);
        for (int i = 0; i < PARAMETERS; i++)
            memcpy(ct_data_mutable(b.p[i].tensor), ct_data(a.p[i].tensor), bytes_of(a.p[i].tensor));
        for (int s = 4; s <= 6; s++) {
            step(&a, s);
            step(&b, s);
        }
        assert_same_weights(method, &a, &b);
        close_fixture(&a);
        close_fixture(&b);
    }
}

static void threads(void **state) {
    const ct_method *method = *state;
    for (int w = 0; w < 2; w++) {
        fixture one, other;
        open_fixture(&one, method, options_of(method, widths[w]), 1);
        step(&one, 1);
        step(&one, 2);
        for (int n = 2; n <= 4; n += 2) {
            open_fixture(&other, method, options_of(method, widths[w]), n);
            step(&other, 1);
            step(&other, 2);
            assert_same_weights(method, &one, &other);
            close_fixture(&other);
        }
        close_fixture(&one);
    }
}

static void recording_changes_nothing(void **state) {
    const ct_method *method = *state;
    fixture a, b;
    open_fixture(&a, method, NULL, 2);
    open_fixture(&b, method, NULL, 2);
    assert_int_equal(ct_optimizer_record(b.optimizer, true), CT_OK);
    for (int s = 1; s <= 2; s++) {
        step(&a, s);
        step(&b, s);
    }
    assert_same_weights(method, &a, &b);
    for (int i = 0; i < PARAMETERS; i++) {
        double norm = 0, relative = statistic_named(b.optimizer, i, "relative_update");
        for (int64_t e = 0; e < ct_count(b.p[i].tensor); e++)
            norm += (double)values_of(&b.p[i])[e] * (double)values_of(&b.p[i])[e];
        assert_near(statistic_named(b.optimizer, i, "norm"), sqrt(norm), 1e-9);
        assert_true(relative > 0 && relative < 0.5);
        assert_true(isnan(statistic_named(a.optimizer, i, "norm")));
    }
    close_fixture(&a);
    close_fixture(&b);
}

/* Frozen elements keep their bits; the others move; of elementwise methods just as without a mask. */
static void masks(void **state) {
    const ct_method *method = *state;
    const ct_optimizer_method *whole = (const ct_optimizer_method *)(const void *)method;
    fixture a, b;
    open_fixture(&a, method, "{\"state_bits\": 32}", 2);
    open_fixture(&b, method, "{\"state_bits\": 32}", 2);
    for (int i = 0; i < PARAMETERS; i++) {
        ct_tensor *mask = ct_zeros(a.context, CT_U8, shapes[i].ndim, shapes[i].shape);
        uint8_t *bytes = ct_data_mutable(mask);
        for (int64_t e = 0; e < ct_count(mask); e++)
            bytes[e] = e % 3 != 0;
        assert_int_equal(ct_optimizer_set_mask(a.optimizer, &a.p[i], mask), CT_OK);
    }
    ct_tensor *before = ct_clone(a.p[0].tensor);
    for (int s = 1; s <= 2; s++) {
        step(&a, s);
        step(&b, s);
    }
    bool alone = whole->scope == CT_ELEMENTWISE && !whole->measure;
    for (int64_t e = 0, moved = 0; e < ct_count(before); e++) {
        float was = ((const float *)ct_data(before))[e], is = values_of(&a.p[0])[e];
        if (e % 3 == 0 && is != was) fail_msg("%s: frozen element %d moved", method->name, (int)e);
        moved += e % 3 != 0 && is != was;
        if (e % 3 && alone) assert_near(is, values_of(&b.p[0])[e], 1e-5);
        if (e + 1 == ct_count(before)) assert_true(moved > ct_count(before) / 2);
    }
    ct_tensor *wrong = ct_zeros(a.context, CT_U8, CT_DIMS(3));
    assert_int_equal(ct_optimizer_set_mask(a.optimizer, &a.p[0], wrong), CT_ERROR_SHAPE);
    ASSERT_ERROR(a.context, CT_ERROR_SHAPE, "h.weight", "u8[3]");
    close_fixture(&a);
    close_fixture(&b);
}

/* Least squares |W x - y|^2 over fixed data falls well below its start with every width of states. */
static double train(const ct_method *method, const char *options, double rate) {
    enum { OUT = 64, IN = 80, ROWS = 96, STEPS = 150 };
    ct_context *context = start_context(2);
    ct_scope scope = ct_scope_open(context);
    ct_random random = ct_random_make(3, 7);
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(ROWS, IN), 0, 1, &random);
    ct_tensor *truth = ct_random_normal_tensor(context, CT_F32, CT_DIMS(OUT, IN), 0, 0.2, &random);
    ct_tensor *y = ct_matmul(x, ct_transpose(truth, 0, 1));
    ct_tensor *w = ct_random_normal_tensor(context, CT_F32, CT_DIMS(OUT, IN), 0, 0.2, &random);
    ct_require_grad(w, true);
    ct_parameter p = {.name = (char *)(uintptr_t) "w", .tensor = w, .trainable = true};
    ct_optimizer *optimizer = make_optimizer(context, method->name, options);
    ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1, 0});
    double first = 0, loss = 0;
    for (int s = 0; s < STEPS && !ct_failed(context); s++) {
        ct_scope inner = ct_scope_open(context);
        ct_tensor *error = ct_mean_all(ct_square(ct_sub(ct_matmul(x, ct_transpose(w, 0, 1)), y)));
        ct_item(error, &loss);
        if (s == 0) first = loss;
        ct_backward(error, NULL, CT_GRAD_DEFAULT);
        ct_optimizer_step(optimizer, rate * (1 - (double)s / STEPS), 1);
        ct_optimizer_clear_gradients(optimizer);
        ct_scope_close(context, inner);
    }
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
    return loss / first;
}

/* Rates of one sort of step and another. */
static double rate_of(const char *name) {
    static const struct {
        const char *name;
        double rate;
    } rates[] = {{"sgd", 1}, {"sgdp", 1}, {"adagrad", 0.2}, {"muon", 0.2}, {"lamb", 0.2}, {"adafactor", 1}};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++)
        if (strcmp(rates[i].name, name) == 0) return rates[i].rate;
    return 0.02;
}

static void narrow_states_train(void **state) {
    const ct_method *method = *state;
    double rate = rate_of(method->name);
    double wide = train(method, options_of(method, 32), rate);
    if (!(wide < 0.1)) fail_msg("%s: with states of 32 bits %.3g of the loss is left", method->name, wide);
    for (int w = 1; w < WIDTHS; w++) {
        double narrow = train(method, options_of(method, widths[w]), rate);
        if (!(narrow < 0.1))
            fail_msg("%s in %d bits: %.3g of the loss is left", method->name, widths[w], narrow);
    }
}

/* Nothing becomes NaN, and without decay a weight that never had a gradient does not move. */
static void zero_gradient(void **state) {
    const ct_method *method = *state;
    for (int w = 0; w < 2; w++) {
        ct_context *context = start_context(1);
        ct_scope scope = ct_scope_open(context);
        ct_tensor *tensor = ct_empty(context, CT_F32, CT_DIMS(80, 64));
        fill(tensor, 1);
        ct_require_grad(tensor, true);
        ct_parameter p = {.name = (char *)(uintptr_t) "w", .tensor = tensor, .trainable = true};
        ct_tensor *before = ct_clone(tensor);
        ct_optimizer *optimizer = make_optimizer(context, method->name, options_of(method, widths[w]));
        ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1, 0});
        for (int s = 0; s < 3; s++) {
            ct_gradient_set(tensor, ct_zeros_like(tensor));
            assert_int_equal(ct_optimizer_step(optimizer, 0.1, 1), CT_OK);
        }
        if (memcmp(ct_data(before), ct_data(tensor), bytes_of(tensor)) != 0)
            fail_msg("%s: a gradient of zero moved the weight", method->name);
        ct_optimizer_destroy(optimizer);
        ct_scope_close(context, scope);
        end_tensors(context);
    }
}

static void work_of_steps(ct_context *context, void *user) {
    const ct_method *method = user;
    fixture f = {.context = context};
    f.scope = ct_scope_open(context);
    make_parameters(&f);
    f.optimizer = ct_failed(context) ? NULL : make_optimizer(context, method->name, "{\"state_bits\": 8}");
    if (f.optimizer) {
        ct_optimizer_record(f.optimizer, true);
        for (int i = 0; i < PARAMETERS; i++)
            ct_optimizer_add_as(f.optimizer, &f.p[i], &(ct_parameter_group){1, 0.1}, shapes[i].role);
        if (!ct_failed(context)) step(&f, 1);
    }
    ct_optimizer_destroy(f.optimizer);
    ct_scope_close(context, f.scope);
}

static void survives_failures(void **state) {
    sweep_tensors(work_of_steps, *state, 1, 1500);
}

/* Each option just outside its range, by the table that describes it. */
static void options_out_of_range(void **state) {
    const ct_method *method = *state;
    ct_context *context = start_context(1);
    for (const ct_option *o = method->options; o && o->type != CT_TYPE_END; o++) {
        if (o->type != CT_TYPE_REAL && o->type != CT_TYPE_INT) continue;
        for (int side = 0; side < 2; side++) {
            char text[128], path[128];
            double beyond = side ? o->maximum + fmax(1, fabs(o->maximum)) : o->minimum - 1;
            snprintf(text, sizeof(text), o->type == CT_TYPE_INT ? "{\"%s\": %.0f}" : "{\"%s\": %.17g}",
                     o->name, beyond);
            snprintf(path, sizeof(path), "optimizer.%s", o->name);
            if (make_optimizer(context, method->name, text)) fail_msg("%s takes %s", method->name, text);
            ASSERT_ERROR(context, CT_ERROR_ARGUMENT, path);
        }
    }
    assert_null(make_optimizer(context, method->name, "{\"no_such_option\": 1}"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "optimizer.no_such_option");
    assert_null(make_optimizer(context, method->name, "{\"state_bits\": 7}"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "state_bits", "32, 16 or 8");
    end_tensors(context);
}

/* The factors of a parameter multiply its group's. */
static void scales(void **state) {
    const ct_method *method = *state;
    fixture a, b;
    open_fixture(&a, method, NULL, 1);
    open_fixture(&b, method, NULL, 1);
    for (int i = 0; i < PARAMETERS; i++)
        assert_int_equal(ct_optimizer_scale(a.optimizer, &a.p[i], 0.5, 0), CT_OK);
    ct_optimizer *half = make_optimizer(b.context, method->name, NULL);
    for (int i = 0; i < PARAMETERS; i++)
        ct_optimizer_add_as(half, &b.p[i], &(ct_parameter_group){0.5, 0}, shapes[i].role);
    ct_optimizer_destroy(b.optimizer);
    b.optimizer = half;
    step(&a, 1);
    step(&b, 1);
    assert_same_weights(method, &a, &b);
    assert_int_equal(ct_optimizer_scale(a.optimizer, &a.p[0], NAN, 1), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(a.context, CT_ERROR_ARGUMENT, "h.weight");
    close_fixture(&a);
    close_fixture(&b);
}

/* -------------------------------------------------------------------------------------------- all */

static const struct {
    const char *name;
    CMUnitTestFunction test;
} tests_of_each[] = {{"saved_and_restored", saved_and_restored},
                     {"reset", reset},
                     {"threads", threads},
                     {"recording_changes_nothing", recording_changes_nothing},
                     {"masks", masks},
                     {"narrow_states_train", narrow_states_train},
                     {"zero_gradient", zero_gradient},
                     {"survives_failures", survives_failures},
                     {"options_out_of_range", options_out_of_range},
                     {"scales", scales}};

int main(void) {
    enum { MOST = 1024, EACH = sizeof(tests_of_each) / sizeof(tests_of_each[0]) };
    static struct CMUnitTest tests[MOST];
    static char names[MOST][64];
    size_t count = 0;
    for (size_t m = 0; ct_optimizer_methods[m]; m++)
        for (size_t t = 0; t < EACH && count < MOST; t++, count++) {
            const ct_method *method = &ct_optimizer_methods[m]->method;
            snprintf(names[count], sizeof(names[count]), "%s of %s", tests_of_each[t].name, method->name);
            tests[count] = (struct CMUnitTest){names[count], tests_of_each[t].test, NULL, NULL,
                                               (void *)(uintptr_t)method};
        }
    return _cmocka_run_group_tests("all optimizers", tests, count, NULL, NULL);
}
