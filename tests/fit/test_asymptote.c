/* test_asymptote.c - the fit returns what made the data, intervals, data efficiency, CSV files, refusals. */
#include "method/check.h"
#include <carat/fit.h>
#include <math.h>
#include <unistd.h>

static ct_fit_options options(void) {
    ct_fit_options o;
    ct_options_default(ct_fit_table, &o);
    return o;
}

static void assert_fits(const ct_asymptote *fit, double a, double alpha, double e, double tolerance) {
    if (!(fabs(fit->a - a) <= tolerance * a && fabs(fit->alpha - alpha) <= tolerance * alpha &&
          fabs(fit->e - e) <= tolerance * e))
        fail_msg("found %.9g %.9g %.9g, expected %g %g %g", fit->a, fit->alpha, fit->e, a, alpha, e);
}

/* The card's numbers: 3 + 2 / N^0.7, rounded to six decimals. */
static void four_sizes(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    const double n[] = {1, 2, 4, 8}, loss[] = {5, 4.231144, 3.757858, 3.466516};
    ct_fit_options o = options();
    ct_asymptote fit;
    assert_int_equal(ct_fit_asymptote(context, n, loss, 4, &o, &fit), CT_OK);
    assert_fits(&fit, 2, 0.7, 3, 1e-4);
    assert_true(isnan(fit.low) && !fit.uncertain && fit.sizes == 4 && fit.runs == 4);
    assert_true(fabs(fit.gain - (3.466516 - fit.e)) < 1e-12);
    end_context(context);
}

static void many(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    static const double cases[][3] = {{406, 0.34, 1.69}, {10, 0.1, 0.5}, {0.3, 1.5, 2.5}, {5e3, 0.8, 3.4}};
    for (int k = 0; k < 4; k++) {
        double x[9], loss[9];
        for (int i = 0; i < 9; i++) {
            x[i] = (k == 2 ? 1 : 1e3) * pow(4, i);
            loss[i] = cases[k][0] * pow(x[i], -cases[k][1]) + cases[k][2];
        }
        ct_fit_options o = options();
        ct_asymptote fit;
        assert_int_equal(ct_fit_asymptote(context, x, loss, 9, &o, &fit), CT_OK);
        assert_fits(&fit, cases[k][0], cases[k][1], cases[k][2], 1e-4);
        for (int i = 0; i < 9; i++)
            assert_true(fabs(ct_asymptote_inverse(&fit, loss[i]) / x[i] - 1) < 1e-2);
        for (int i = 0; i < 9; i++) /* a baseline's data efficiency is 1 */
            assert_true(fabs(ct_asymptote_inverse(&fit, ct_asymptote_at(&fit, x[i])) / x[i] - 1) < 1e-6);
        assert_true(isinf(ct_asymptote_inverse(&fit, fit.e)));
    }
    end_context(context);
}

/* A pure power law: its asymptote is nearly 0, and not settled although nothing was drawn anew. */
static void no_floor(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    const double x[] = {1, 2, 4, 8, 16};
    double loss[5];
    ct_fit_options o = options();
    ct_asymptote fit;
    for (int i = 0; i < 5; i++)
        loss[i] = 3 * pow(x[i], -0.1);
    assert_int_equal(ct_fit_asymptote(context, x, loss, 5, &o, &fit), CT_OK);
    assert_true(fit.uncertain && isnan(fit.low) && fit.e < 0.03);
    end_context(context);
}

/* A tenth of the runs are wrong: least squares would be led astray, Huber's loss is not. And what an interval
 * says. */
static void noise(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    enum { SIZES = 6, EACH = 5, RUNS = SIZES * EACH };
    double x[RUNS], loss[RUNS];
    ct_random random = ct_random_make(5, 1);
    ct_fit_options o = options();
    ct_asymptote fit, again;
    for (int level = 0; level < 2; level++) {
        for (int i = 0; i < RUNS; i++) {
            x[i] = pow(3, i / EACH);
            loss[i] = (2 / pow(x[i], 0.5) + 3) * exp((level ? 0.03 : 0.001) * ct_random_normal(&random));
            if (!level && i % 10 == 3) loss[i] *= 1.2;
        }
        assert_int_equal(ct_fit_asymptote(context, x, loss, RUNS, &o, &fit), CT_OK);
        if (level == 0) assert_fits(&fit, 2, 0.5, 3, 0.03);
        assert_true(fit.low <= fit.high && fit.alpha_low <= fit.alpha_high && fit.runs == RUNS &&
                    fit.sizes == SIZES);
        assert_int_equal(fit.uncertain, fit.high - fit.low > fit.gain);
        assert_int_equal(fit.uncertain, level);
    }
    assert_int_equal(ct_fit_asymptote(context, x, loss, RUNS, &o, &again), CT_OK);
    assert_true(memcmp(&fit, &again, sizeof(fit)) == 0);
    for (int i = 0; i < RUNS / 2; i++) { /* in whatever order */
        double t = x[i];
        x[i] = x[RUNS - 1 - i];
        x[RUNS - 1 - i] = t;
        t = loss[i];
        loss[i] = loss[RUNS - 1 - i];
        loss[RUNS - 1 - i] = t;
    }
    assert_int_equal(ct_fit_asymptote(context, x, loss, RUNS, &o, &again), CT_OK);
    assert_true(fit.e == again.e && fit.low == again.low);
    end_context(context);
}

static void refused(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_fit_options o = options();
    ct_asymptote fit;
    const double x[] = {1, 2, 4, 4, 8}, loss[] = {5, 4, 3.5, 3.6, 3.4}, rising[] = {3, 3, 3.5, 3.6, 3.4};
    assert_int_equal(ct_fit_asymptote(context, x, loss, 3, &o, &fit), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "3 runs", "4 different x");
    assert_int_equal(ct_fit_asymptote(context, x, loss, 4, &o, &fit), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "3 different x", "4 at least");
    assert_int_equal(ct_fit_asymptote(context, x, rising, 5, &o, &fit), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "does not fall", "3.4");
    const double bad[] = {5, 4, NAN, 3.6, 3.4};
    assert_int_equal(ct_fit_asymptote(context, x, bad, 5, &o, &fit), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "run 2", "positive finite");
    for (int n = 1; n < 7; n++) {
        ct_memory_fail_at(context, n);
        ct_status status = ct_fit_asymptote(context, x, loss, 5, &o, &fit);
        ct_memory_fail_at(context, 0);
        assert_int_equal(status, n < 6 ? CT_ERROR_MEMORY : CT_OK);
        ct_context_clear(context);
    }
    end_context(context);
}

static void read_text(ct_context *context, const char *text, int64_t expected, const char *part) {
    char path[] = "/tmp/carat-fit-XXXXXX";
    double *x, *loss;
    int64_t count;
    int file = mkstemp(path);
    assert_true(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
    close(file);
    ct_status status = ct_fit_read(context, path, "tokens", "loss", &x, &loss, &count);
    assert_int_equal(unlink(path), 0);
    if (expected >= 0) {
        if (status != CT_OK) fail_msg("%s", ct_context_message(context));
        assert_int_equal(count, expected);
        if (count) assert_true(x[0] == 1e3 && loss[0] == 4.5);
        ct_free(context, x);
        ct_free(context, loss);
        return;
    }
    assert_true(status != CT_OK && x == NULL && loss == NULL);
    ASSERT_ERROR(context, CT_ERROR_FORMAT, part, "carat-fit-");
}

static void files(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    read_text(context, "seed,loss,tokens\n1,4.5,1000\n2, 4.4 ,2e3\r\n\n", 2, NULL);
    read_text(context, "tokens,loss\n", 0, NULL);
    read_text(context, "", -1, "expected a line of column names");
    read_text(context, "token,loss\n1,2\n", -1, "there is no column \"tokens\"; did you mean \"token\"?");
    read_text(context, "tokens,loss\n1,2\n3\n", -1, ":3: fewer fields than the 2 columns");
    read_text(context, "tokens,loss\n1,nan\n", -1, ":2: loss is \"nan\", expected a number");
    read_text(context, "tokens,loss\n1,\n", -1, "loss is \"\", expected a number");
    end_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(four_sizes), cmocka_unit_test(many),
                                       cmocka_unit_test(no_floor),   cmocka_unit_test(noise),
                                       cmocka_unit_test(refused),    cmocka_unit_test(files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
