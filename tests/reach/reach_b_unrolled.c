/* reach_b_unrolled.c - gradients through three unrolled SGD steps, as trajectory matching needs them (card
 * data/080, arXiv:2310.10541). The student's parameters are differentiable tensors: each inner gradient is
 * recorded, so that the distance to an expert's parameters can be differentiated with respect to the training
 * data and the rate. */
#include "reach.h"

enum { SAMPLES = 4, IN = 3, HIDDEN = 5, CLASSES = 3, PARAMETERS = 4 };

typedef struct problem {
    ct_tensor *x, *targets, *log_rate; /* x and log_rate are leaves */
    ct_tensor *start[PARAMETERS], *expert[PARAMETERS];
} problem;

static problem problem_make(void) {
    ct_random random = ct_random_make(11, ct_random_stream("unrolled"));
    problem p;
    p.x = normal_leaf(CT_F64, CT_DIMS(SAMPLES, IN), 1, &random);
    p.targets =
        ct_softmax(ct_random_normal_tensor(context, CT_F64, CT_DIMS(SAMPLES, CLASSES), 0, 2, &random), 1);
    p.log_rate = ct_hold(ct_scalar(context, CT_F64, log(0.4)));
    ct_require_grad(p.log_rate, true);
    const int64_t shapes[PARAMETERS][2] = {{HIDDEN, IN}, {HIDDEN, 0}, {CLASSES, HIDDEN}, {CLASSES, 0}};
    for (int i = 0; i < PARAMETERS; i++) {
        int ndim = shapes[i][1] ? 2 : 1;
        p.start[i] = ct_random_normal_tensor(context, CT_F64, ndim, shapes[i], 0, 0.7, &random);
        ct_tensor *noise = ct_random_normal_tensor(context, CT_F64, ndim, shapes[i], 0, 0.2, &random);
        p.expert[i] = ct_add(p.start[i], noise);
    }
    assert_ok();
    return p;
}

static void problem_free(problem *p) {
    ct_drop(p->x);
    ct_drop(p->log_rate);
}

/* A network evaluated with parameters that are any tensors. */
static ct_tensor *student_loss(ct_tensor *const *w, ct_tensor *x, ct_tensor *targets) {
    ct_tensor *hidden = ct_tanh(ct_linear(x, w[0], w[1], false, CT_ACT_NONE));
    return ct_cross_entropy(ct_linear(hidden, w[2], w[3], false, CT_ACT_NONE), targets, NULL);
}

static ct_tensor *squared_distance(ct_tensor *const *a, ct_tensor *const *b, int count) {
    ct_tensor *sum = ct_scalar(context, CT_F64, 0);
    for (int i = 0; i < count; i++)
        sum = ct_add(sum, ct_sum_all(ct_square(ct_sub(a[i], b[i]))));
    return sum;
}

/* |theta_N - expert|^2 / |theta_0 - expert|^2 after `steps` steps theta <- theta - rate grad. */
static ct_tensor *matching_loss(const problem *p, int steps) {
    ct_tensor *w[PARAMETERS], *gradients[PARAMETERS], *rate = ct_exp(p->log_rate);
    for (int i = 0; i < PARAMETERS; i++) {
        w[i] = ct_alias(p->start[i]);
        ct_require_grad(w[i], true);
    }
    for (int step = 0; step < steps; step++) {
        ct_tensor *loss = student_loss(w, p->x, p->targets);
        ct_grad(&loss, 1, NULL, w, PARAMETERS, gradients, CT_GRAD_RECORD);
        for (int i = 0; i < PARAMETERS; i++)
            w[i] = ct_sub(w[i], ct_mul(rate, gradients[i]));
    }
    assert_ok();
    return ct_div(squared_distance(w, p->expert, PARAMETERS),
                  squared_distance(p->start, p->expert, PARAMETERS));
}

static double loss_at(const problem *p, int steps) {
    ct_scope scope = ct_scope_open(context);
    double loss = item(matching_loss(p, steps));
    ct_scope_close(context, scope);
    return loss;
}

/* Central differences for every pixel and for the rate. */
static void test_finite_differences(void **state) {
    (void)state;
    problem p = problem_make();
    ct_tensor *loss = matching_loss(&p, 3), *leaves[2] = {p.x, p.log_rate}, *gradients[2];
    ct_grad(&loss, 1, NULL, leaves, 2, gradients, CT_GRAD_DEFAULT);
    assert_ok();
    double largest = 0;
    for (int which = 0; which < 2; which++) {
        double *found = values(gradients[which]), *data = ct_data_mutable(leaves[which]);
        for (int64_t i = 0; i < ct_count(leaves[which]); i++) {
            double present = data[i], step = 1e-5;
            data[i] = present + step;
            double above = loss_at(&p, 3);
            data[i] = present - step;
            double below = loss_at(&p, 3);
            data[i] = present;
            assert_near(found[i], (above - below) / (2 * step), 1e-8);
            largest = fmax(largest, fabs(found[i]));
        }
        free(found);
    }
    assert_true(largest > 0.01); /* the check looks at something */
    problem_free(&p);
}

/* theta_1 = theta_0 - a X'(P - Y)/n with P = softmax(X theta_0), L = |theta_1 - T|^2 / D, r = 2 (theta_1 -
 * T)/D: dL/dX = -a/n [(P - Y) r' + S theta_0'], S_i = J(p_i)(X r)_i, J(p) v = p v - p (p.v). */
static void closed_form(const double *x, const double *y, const double *theta, const double *target, double a,
                        double *gradient) {
    double p[SAMPLES][CLASSES], r[IN][CLASSES], distance = 0;
    for (int i = 0; i < SAMPLES; i++) {
        double sum = 0;
        for (int c = 0; c < CLASSES; c++) {
            double z = 0;
            for (int k = 0; k < IN; k++)
                z += x[i * IN + k] * theta[k * CLASSES + c];
            sum += p[i][c] = exp(z);
        }
        for (int c = 0; c < CLASSES; c++)
            p[i][c] /= sum;
    }
    for (int k = 0; k < IN * CLASSES; k++)
        distance += (theta[k] - target[k]) * (theta[k] - target[k]);
    for (int k = 0; k < IN; k++)
        for (int c = 0; c < CLASSES; c++) {
            double g = 0;
            for (int i = 0; i < SAMPLES; i++)
                g += x[i * IN + k] * (p[i][c] - y[i * CLASSES + c]) / SAMPLES;
            r[k][c] = 2 * (theta[k * CLASSES + c] - a * g - target[k * CLASSES + c]) / distance;
        }
    for (int i = 0; i < SAMPLES; i++) {
        double v[CLASSES], dot = 0;
        for (int c = 0; c < CLASSES; c++) {
            v[c] = 0;
            for (int k = 0; k < IN; k++)
                v[c] += x[i * IN + k] * r[k][c];
            dot += p[i][c] * v[c];
        }
        for (int k = 0; k < IN; k++) {
            double sum = 0;
            for (int c = 0; c < CLASSES; c++)
                sum += (p[i][c] - y[i * CLASSES + c]) * r[k][c] +
                       p[i][c] * (v[c] - dot) * theta[k * CLASSES + c];
            gradient[i * IN + k] = -a / SAMPLES * sum;
        }
    }
}

static void test_linear_closed_form(void **state) {
    (void)state;
    ct_random random = ct_random_make(4, 4);
    const double a = 0.7;
    ct_tensor *x = normal_leaf(CT_F64, CT_DIMS(SAMPLES, IN), 1, &random);
    ct_tensor *theta = normal_leaf(CT_F64, CT_DIMS(IN, CLASSES), 1, &random);
    ct_tensor *target = ct_random_normal_tensor(context, CT_F64, CT_DIMS(IN, CLASSES), 0, 1, &random);
    ct_tensor *y =
        ct_softmax(ct_random_normal_tensor(context, CT_F64, CT_DIMS(SAMPLES, CLASSES), 0, 3, &random), 1);
    ct_tensor *inner = ct_cross_entropy(ct_matmul(x, theta), y, NULL), *step, *gradient;
    ct_grad(&inner, 1, NULL, &theta, 1, &step, CT_GRAD_RECORD);
    ct_tensor *moved = ct_sub(theta, ct_mul_scalar(step, a)), *frozen = ct_detach(theta);
    ct_tensor *loss = ct_div(squared_distance(&moved, &target, 1), squared_distance(&frozen, &target, 1));
    ct_grad(&loss, 1, NULL, &x, 1, &gradient, CT_GRAD_DEFAULT);
    assert_ok();
    double expected[SAMPLES * IN], *found = values(gradient);
    closed_form(ct_data(x), ct_data(y), ct_data(theta), ct_data(target), a, expected);
    for (int i = 0; i < SAMPLES * IN; i++)
        assert_near(found[i], expected[i], 1e-12);
    free(found);
    ct_drop(x);
    ct_drop(theta);
}

/* Inner loss theta^2/2: theta_N = (1 - a)^N theta_0, L = theta_N^2, dL/da = -2 N (1 - a)^(2N - 1) theta_0^2.
 * And the card's distances: theta_0 = (1, 2), expert (2, 4), theta_N = (1.5, 3.5) gives 0.1. */
static void test_worked_numbers(void **state) {
    (void)state;
    ct_tensor *rate = ct_hold(ct_scalar(context, CT_F64, 0.25)),
              *first = ct_hold(ct_scalar(context, CT_F64, 3));
    ct_require_grad(rate, true);
    ct_require_grad(first, true);
    ct_tensor *theta = first, *gradient;
    for (int step = 0; step < 3; step++) {
        ct_tensor *inner = ct_mul_scalar(ct_square(theta), 0.5);
        ct_grad(&inner, 1, NULL, &theta, 1, &gradient, CT_GRAD_RECORD);
        theta = ct_sub(theta, ct_mul(rate, gradient));
    }
    assert_near(item(theta), pow(0.75, 3) * 3, 1e-15);
    ct_tensor *loss = ct_square(theta);
    ct_grad(&loss, 1, NULL, &rate, 1, &gradient, CT_GRAD_DEFAULT);
    assert_near(item(gradient), -2 * 3 * pow(0.75, 5) * 9, 1e-14);
    ct_tensor *start_at = ct_from_data(context, CT_F64, CT_DIMS(2), (const double[]){1, 2});
    ct_tensor *expert = ct_from_data(context, CT_F64, CT_DIMS(2), (const double[]){2, 4});
    ct_tensor *end = ct_from_data(context, CT_F64, CT_DIMS(2), (const double[]){1.5, 3.5});
    assert_near(item(ct_div(squared_distance(&end, &expert, 1), squared_distance(&start_at, &expert, 1))),
                0.1, 1e-15);
    ct_drop(rate);
    ct_drop(first);
}

/* Outer descent on the images and the rate brings the student's end nearer to the expert. */
static void test_distillation_learns(void **state) {
    (void)state;
    problem p = problem_make();
    double before = loss_at(&p, 3);
    for (int iteration = 0; iteration < 800; iteration++) {
        ct_scope scope = ct_scope_open(context);
        ct_backward(matching_loss(&p, 3), NULL, CT_GRAD_DEFAULT);
        ct_add_into(p.x, ct_gradient(p.x), -3);
        ct_add_into(p.log_rate, ct_gradient(p.log_rate), -0.2);
        ct_gradient_set(p.x, NULL);
        ct_gradient_set(p.log_rate, NULL);
        ct_scope_close(context, scope);
    }
    double after = loss_at(&p, 3);
    print_message("distance to the expert: %.3f -> %.3f\n", before, after);
    assert_true(after < 0.5 * before);
    problem_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_finite_differences),
        reach_test(test_linear_closed_form),
        reach_test(test_worked_numbers),
        reach_test(test_distillation_learns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
