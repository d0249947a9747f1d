/* reach_a_supernet.c - a supernet (BigNAS, arXiv:2003.11142): children of several widths are strided views of
 * one set of weights, trained in turn by the sandwich rule. Gradients land in the entries that a child uses
 * and are zero elsewhere; a finished child is cut out by a copy. */
#include "reach.h"

enum { IN = 12, HIDDEN = 64, CLASSES = 5, SAMPLES = 200 };
static const int64_t widths[] = {16, 32, 64};

typedef struct supernet {
    ct_tensor *w1, *b1, *w2, *b2; /* [HIDDEN, IN], [HIDDEN], [CLASSES, HIDDEN], [CLASSES] */
} supernet;

static supernet supernet_make(ct_dtype dtype) {
    ct_random random = ct_random_make(7, ct_random_stream("supernet"));
    supernet net;
    net.w1 = normal_leaf(dtype, CT_DIMS(HIDDEN, IN), sqrt(2.0 / IN), &random);
    net.b1 = normal_leaf(dtype, CT_DIMS(HIDDEN), 0.1, &random);
    net.w2 = normal_leaf(dtype, CT_DIMS(CLASSES, HIDDEN), sqrt(1.0 / HIDDEN), &random);
    net.b2 = normal_leaf(dtype, CT_DIMS(CLASSES), 0.1, &random);
    return net;
}

static void supernet_free(supernet *net) {
    ct_tensor *all[] = {net->w1, net->b1, net->w2, net->b2};
    for (int i = 0; i < 4; i++)
        ct_drop(all[i]);
}

/* The child's weights are views: a prefix of rows of w1, a strided prefix of columns of w2. */
static ct_tensor *child_forward(const supernet *net, int64_t width, ct_tensor *x) {
    ct_tensor *w1 = ct_slice(net->w1, 0, 0, width, 1), *b1 = ct_slice(net->b1, 0, 0, width, 1);
    ct_tensor *w2 = ct_slice(net->w2, 1, 0, width, 1);
    assert_true(ct_data(w1) == ct_data(net->w1) && ct_data(w2) == ct_data(net->w2)); /* no copies */
    return ct_linear(ct_linear(x, w1, b1, false, CT_ACT_RELU), w2, net->b2, false, CT_ACT_NONE);
}

/* Five clusters; labels i64. */
static void make_data(ct_dtype dtype, ct_tensor **x, ct_tensor **labels) {
    ct_random random = ct_random_make(3, ct_random_stream("clusters"));
    ct_tensor *centres = ct_random_normal_tensor(context, dtype, CT_DIMS(CLASSES, IN), 0, 1, &random);
    *labels = ct_random_integer_tensor(context, CT_I64, CT_DIMS(SAMPLES), 0, CLASSES, &random);
    ct_tensor *noise = ct_random_normal_tensor(context, dtype, CT_DIMS(SAMPLES, IN), 0, 0.6, &random);
    *x = ct_add(ct_index_select(centres, 0, *labels), noise);
    assert_ok();
}

static void test_gradients_land_in_the_prefix(void **state) {
    (void)state;
    supernet net = supernet_make(CT_F64);
    ct_tensor *x, *labels;
    make_data(CT_F64, &x, &labels);
    const int64_t width = 16;
    ct_tensor *loss = ct_cross_entropy(child_forward(&net, width, x), labels, NULL);
    ct_backward(loss, NULL, CT_GRAD_DEFAULT);
    assert_ok();
    double *g1 = values(ct_gradient(net.w1)), *g2 = values(ct_gradient(net.w2)), inside = 0;
    for (int64_t i = 0; i < HIDDEN; i++) {
        for (int64_t j = 0; j < IN; j++) {
            if (i >= width)
                assert_true(g1[i * IN + j] == 0);
            else
                inside += fabs(g1[i * IN + j]);
        }
        for (int64_t c = 0; c < CLASSES; c++) {
            if (i >= width)
                assert_true(g2[c * HIDDEN + i] == 0);
            else
                inside += fabs(g2[c * HIDDEN + i]);
        }
    }
    assert_true(inside > 0.1);
    free(g1);
    free(g2);
    supernet_free(&net);
}

/* Card 040: the prefix slice of W[64,32,5,5] for 48 x 24 channels and a centred 3 x 3 kernel is
 * W[:48, :24, 1:4, 1:4]; d/dW sum(slice^2)/2 is W there and zero elsewhere. */
static void test_kernel_slice(void **state) {
    (void)state;
    ct_random random = ct_random_make(1, 1);
    ct_tensor *w = normal_leaf(CT_F64, CT_DIMS(64, 32, 5, 5), 1, &random);
    ct_tensor *child = ct_slice(ct_slice(w, 0, 0, 48, 1), 1, 0, 24, 1);
    child = ct_slice(ct_slice(child, 2, 1, 4, 1), 3, 1, 4, 1);
    assert_int_equal(ct_count(child), 48 * 24 * 9);
    ct_backward(ct_mul_scalar(ct_sum_all(ct_square(child)), 0.5), NULL, CT_GRAD_DEFAULT);
    assert_ok();
    double *weight = values(w), *gradient = values(ct_gradient(w));
    for (int64_t i = 0; i < 64 * 32 * 25; i++) {
        int64_t column = i % 5, row = i / 5 % 5, in = i / 25 % 32, out = i / 800;
        bool used = out < 48 && in < 24 && row >= 1 && row < 4 && column >= 1 && column < 4;
        assert_true(used ? fabs(gradient[i] - weight[i]) < 1e-15 : gradient[i] == 0);
    }
    free(weight);
    free(gradient);
    ct_drop(w);
}

/* The children's losses on one batch: the biggest learns the labels, the others its soft labels (detached).
 */
static ct_tensor *sandwich_loss(const supernet *net, ct_tensor *x, ct_tensor *labels, const int64_t *children,
                                int count) {
    ct_tensor *biggest = child_forward(net, HIDDEN, x);
    ct_tensor *soft = ct_detach(ct_softmax(biggest, -1));
    ct_tensor *loss = ct_cross_entropy(biggest, labels, NULL);
    for (int i = 0; i < count; i++)
        loss = ct_add(loss, ct_cross_entropy(child_forward(net, children[i], x), soft, NULL));
    return loss;
}

/* Accumulating the gradients of the children one by one equals the gradient of the summed loss by central
 * differences, the soft labels held fixed. */
static void test_accumulated_gradient(void **state) {
    (void)state;
    supernet net = supernet_make(CT_F64);
    ct_tensor *x, *labels;
    make_data(CT_F64, &x, &labels);
    ct_tensor *soft = ct_detach(ct_softmax(child_forward(&net, HIDDEN, x), -1));
    for (int child = 0; child < 3; child++) {
        ct_tensor *targets = widths[child] == HIDDEN ? labels : soft;
        ct_backward(ct_cross_entropy(child_forward(&net, widths[child], x), targets, NULL), NULL,
                    CT_GRAD_DEFAULT);
    }
    assert_ok();
    double *gradient = values(ct_gradient(net.w1)), *data = ct_data_mutable(net.w1);
    const int64_t places[] = {3 * IN + 4, 20 * IN + 1, 60 * IN + 11}; /* in three, two, one of the children */
    for (int p = 0; p < 3; p++) {
        double sums[2], present = data[places[p]];
        for (int side = 0; side < 2; side++) {
            data[places[p]] = present + (side ? -1e-5 : 1e-5);
            sums[side] = 0;
            for (int child = 0; child < 3; child++)
                sums[side] += item(ct_cross_entropy(child_forward(&net, widths[child], x),
                                                    widths[child] == HIDDEN ? labels : soft, NULL));
        }
        data[places[p]] = present;
        assert_near(gradient[places[p]], (sums[0] - sums[1]) / 2e-5, 1e-8);
    }
    free(gradient);
    supernet_free(&net);
}

static double child_loss(const supernet *net, int64_t width, ct_tensor *x, ct_tensor *labels) {
    bool before = ct_grad_mode_set(context, false);
    double loss = item(ct_cross_entropy(child_forward(net, width, x), labels, NULL));
    ct_grad_mode_set(context, before);
    return loss;
}

static void sgd(const supernet *net, double rate) {
    ct_tensor *all[] = {net->w1, net->b1, net->w2, net->b2};
    for (int i = 0; i < 4; i++) {
        ct_add_into(all[i], ct_gradient(all[i]), -rate);
        ct_gradient_set(all[i], NULL);
    }
}

static void test_training(void **state) {
    (void)state;
    supernet net = supernet_make(CT_F32);
    ct_tensor *x, *labels;
    make_data(CT_F32, &x, &labels);
    double before[3], after[3];
    for (int child = 0; child < 3; child++)
        before[child] = child_loss(&net, widths[child], x, labels);
    ct_random random = ct_random_make(5, ct_random_stream("children"));
    for (int step = 0; step < 150; step++) {
        ct_scope scope = ct_scope_open(context);
        const int64_t children[2] = {widths[0], ct_random_integer(&random, widths[0], HIDDEN)};
        ct_backward(sandwich_loss(&net, x, labels, children, 2), NULL, CT_GRAD_DEFAULT);
        sgd(&net, 0.1);
        ct_scope_close(context, scope);
    }
    assert_ok();
    for (int child = 0; child < 3; child++) {
        after[child] = child_loss(&net, widths[child], x, labels);
        print_message("width %2d: loss %.3f -> %.3f\n", (int)widths[child], before[child], after[child]);
        assert_true(after[child] < 0.2 * before[child]);
    }
    /* A child that is cut out (copied) computes what it computed as views. */
    ct_tensor *w1 = ct_clone(ct_slice(net.w1, 0, 0, 32, 1)), *b1 = ct_clone(ct_slice(net.b1, 0, 0, 32, 1));
    ct_tensor *w2 = ct_clone(ct_slice(net.w2, 1, 0, 32, 1));
    ct_tensor *cut = ct_linear(ct_linear(x, w1, b1, false, CT_ACT_RELU), w2, net.b2, false, CT_ACT_NONE);
    assert_same_bits(cut, child_forward(&net, 32, x));
    supernet_free(&net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_gradients_land_in_the_prefix),
        reach_test(test_kernel_slice),
        reach_test(test_accumulated_gradient),
        reach_test(test_training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
