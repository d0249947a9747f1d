/* reach_c_two_phase.c - backward in two phases, as zero-bubble pipelines run it (card systems/222,
 * arXiv:2401.10241): phase B gives the gradient of a stage's input at once and leaves all parameter gradients
 * alone; phase W computes those later, in any order, with the same bits as a plain backward pass. */
#include "reach.h"

enum { WIDTH = 24, ROWS = 8, STAGES = 2, MICRO = 3, STAGE_WEIGHTS = 6 };

/* --------------------------------------------------------- an operation from outside: what a stage receives */

static void receive_vjp(const ct_vjp *call, ct_tensor **input_gradients) {
    ct_tensor **place = *(ct_tensor * *const *)call->attributes;
    if (place) *place = ct_hold(call->output_gradients[0]);
    input_gradients[0] = call->output_gradients[0];
}
static const ct_rule receive_rule = {
    .name = "receive", .vjp = receive_vjp, .attribute_size = sizeof(ct_tensor **)};

static ct_tensor *identity(ct_tensor *x, ct_tensor **place) {
    ct_tensor *y = ct_alias(x);
    ct_record(context, &receive_rule, &x, 1, &y, 1, &place);
    return y;
}

/* The stage's input as a value in the middle of a graph: its gradient goes to *place in phase B. (Work on
 * edges to leaves waits for phase W; the outer node's edge leads to the inner node.) */
static ct_tensor *receive(ct_tensor *x, ct_tensor **place) {
    ct_tensor *leaf = ct_alias(x);
    ct_require_grad(leaf, true);
    return identity(identity(leaf, NULL), place);
}

/* --------------------------------------------------------------------------------------------- stages */

typedef struct stage {
    ct_tensor *w[STAGE_WEIGHTS]; /* gain, bias, w1, b1, w2, b2 */
} stage;

static void stages_make(stage *stages) {
    ct_random random = ct_random_make(21, ct_random_stream("pipeline"));
    for (int s = 0; s < STAGES; s++) {
        stages[s].w[0] = normal_leaf(CT_F32, CT_DIMS(WIDTH), 1, &random);
        stages[s].w[1] = normal_leaf(CT_F32, CT_DIMS(WIDTH), 0.1, &random);
        stages[s].w[2] = normal_leaf(CT_F32, CT_DIMS(4 * WIDTH, WIDTH), 0.2, &random);
        stages[s].w[3] = normal_leaf(CT_F32, CT_DIMS(4 * WIDTH), 0.1, &random);
        stages[s].w[4] = normal_leaf(CT_F32, CT_DIMS(WIDTH, 4 * WIDTH), 0.1, &random);
        stages[s].w[5] = normal_leaf(CT_F32, CT_DIMS(WIDTH), 0.1, &random);
    }
}

static void stages_free(stage *stages) {
    for (int s = 0; s < STAGES; s++)
        for (int i = 0; i < STAGE_WEIGHTS; i++)
            ct_drop(stages[s].w[i]);
}

static ct_tensor *stage_forward(const stage *s, ct_tensor *x) {
    ct_tensor *y = ct_layer_norm(x, s->w[0], s->w[1], 1e-5);
    y = ct_linear(y, s->w[2], s->w[3], false, CT_ACT_GELU_TANH);
    return ct_add(x, ct_linear(y, s->w[4], s->w[5], false, CT_ACT_NONE));
}

static ct_tensor *micro_batch(int index, ct_tensor **target) {
    ct_random random = ct_random_make(100 + (uint64_t)index, 1);
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(ROWS, WIDTH), 0, 1, &random);
    *target = ct_sin(ct_mul_scalar(ct_flip(x, 1, (const int[]){1}), 2));
    return x;
}

static ct_tensor *loss_of(ct_tensor *y, ct_tensor *target) {
    return ct_mul_scalar(ct_mean_all(ct_square(ct_sub(y, target))), 1.0 / MICRO);
}

/* One graph over both stages, micro-batch after micro-batch. */
static double plain_step(const stage *stages) {
    double loss = 0;
    for (int m = 0; m < MICRO; m++) {
        ct_scope scope = ct_scope_open(context);
        ct_tensor *target, *x = micro_batch(m, &target);
        ct_tensor *value = loss_of(stage_forward(&stages[1], stage_forward(&stages[0], x)), target);
        loss += item(value);
        ct_backward(value, NULL, CT_GRAD_DEFAULT);
        ct_scope_close(context, scope);
    }
    assert_ok();
    return loss;
}

/* All micro-batches forward, then phase B of all, then phase W: the items of each queue from the last to the
 * first. */
static void two_phase_step(const stage *stages) {
    ct_scope scope = ct_scope_open(context);
    ct_deferred *queues[STAGES][MICRO];
    for (int m = 0; m < MICRO; m++) {
        ct_tensor *target, *x = micro_batch(m, &target), *received = NULL;
        ct_tensor *sent = stage_forward(&stages[0], x);
        ct_tensor *loss = loss_of(stage_forward(&stages[1], receive(ct_detach(sent), &received)), target);
        for (int s = 0; s < STAGES; s++)
            queues[s][m] = ct_deferred_create(context);
        ct_backward_deferred(loss, NULL, queues[1][m], CT_GRAD_DEFAULT);
        assert_non_null(received);
        ct_backward_deferred(sent, received, queues[0][m], CT_GRAD_DEFAULT);
        ct_drop(received);
        assert_ok();
    }
    for (int s = 0; s < STAGES; s++)
        for (int i = 0; i < STAGE_WEIGHTS; i++)
            assert_null(ct_gradient(stages[s].w[i])); /* B left them alone */
    for (int s = 0; s < STAGES; s++)
        for (int m = 0; m < MICRO; m++) {
            assert_true(ct_deferred_count(queues[s][m]) >= 3);
            for (int64_t i = ct_deferred_count(queues[s][m]) - 1; i >= 0; i--)
                ct_deferred_run(queues[s][m], i);
            ct_deferred_destroy(queues[s][m]);
        }
    ct_scope_close(context, scope);
    assert_ok();
}

static void sgd(const stage *stages) {
    for (int s = 0; s < STAGES; s++)
        for (int i = 0; i < STAGE_WEIGHTS; i++) {
            ct_add_into(stages[s].w[i], ct_gradient(stages[s].w[i]), -0.1);
            ct_gradient_set(stages[s].w[i], NULL);
        }
    assert_ok();
}

/* Two equal pipelines are trained, one in two phases: every gradient and every weight keeps the same bits. */
static void test_pipeline(void **state) {
    (void)state;
    stage plain[STAGES], split[STAGES];
    stages_make(plain);
    stages_make(split);
    double first = 0, last = 0;
    for (int step = 0; step < 30; step++) {
        last = plain_step(plain);
        if (step == 0) first = last;
        two_phase_step(split);
        for (int s = 0; s < STAGES; s++)
            for (int i = 0; i < STAGE_WEIGHTS; i++)
                assert_same_bits(ct_gradient(plain[s].w[i]), ct_gradient(split[s].w[i]));
        sgd(plain);
        sgd(split);
    }
    print_message("loss %.4f -> %.4f\n", first, last);
    assert_true(last < 0.6 * first);
    for (int s = 0; s < STAGES; s++)
        for (int i = 0; i < STAGE_WEIGHTS; i++)
            assert_same_bits(plain[s].w[i], split[s].w[i]);
    stages_free(plain);
    stages_free(split);
}

static ct_tensor *gpt2_loss(ct_model *model, ct_run *run) {
    ct_random random = ct_random_make(9, 9);
    ct_tensor *ids = ct_random_integer_tensor(context, CT_I32, CT_DIMS(2, 12), 0, 20, &random);
    ct_tensor *targets = ct_random_integer_tensor(context, CT_I32, CT_DIMS(2, 12), 0, 20, &random);
    return ct_cross_entropy(ct_model_forward(model, run, ids), targets, NULL);
}

/* A whole GPT-2 with a tied head: queues run in a shuffled order. */
static void test_gpt2(void **state) {
    (void)state;
    ct_model *model =
        model_from("{\"model_type\":\"gpt2\",\"vocab_size\":20,\"n_positions\":16,\"n_embd\":16,"
                   "\"n_layer\":2,\"n_head\":4}",
                   5);
    make_leaves(model);
    ct_run *run = ct_run_create(context, NULL);
    ct_backward(gpt2_loss(model, run), NULL, CT_GRAD_DEFAULT);
    assert_ok();
    int64_t count = ct_model_parameter_count(model);
    ct_tensor *expected[64];
    assert_true(count <= 64);
    for (int64_t i = 0; i < count; i++) {
        ct_tensor *leaf = ct_model_parameter(model, i)->tensor;
        expected[i] = ct_hold(ct_gradient(leaf));
        ct_gradient_set(leaf, NULL);
    }
    ct_deferred *queue = ct_deferred_create(context);
    ct_backward_deferred(gpt2_loss(model, run), NULL, queue, CT_GRAD_DEFAULT);
    int64_t items = ct_deferred_count(queue);
    for (int64_t i = 0; i < count; i++)
        assert_null(ct_gradient(ct_model_parameter(model, i)->tensor));
    for (int64_t i = 0; i < items; i++)
        ct_deferred_run(queue, ct_random_permuted(1, 2, items, i));
    assert_ok();
    for (int64_t i = 0; i < count; i++) {
        assert_same_bits(expected[i], ct_gradient(ct_model_parameter(model, i)->tensor));
        ct_drop(expected[i]);
    }
    assert_int_equal(ct_deferred_run(queue, 0), CT_ERROR_ARGUMENT); /* twice is an error */
    ct_context_clear(context);
    ct_deferred_destroy(queue);
    ct_run_destroy(run);
    ct_model_destroy(model);
}

/* A weight used twice, and a first layer whose rule goes on from earlier sums: three micro-batches, each
 * queue run backwards, have the bits of three plain passes. Also beside a sink, which gets each contribution
 * by itself. */
static ct_tensor *tied_loss(ct_tensor *const *w, int m) {
    ct_tensor *target, *x = micro_batch(m, &target);
    ct_tensor *h = ct_linear(x, w[0], w[1], false, CT_ACT_RELU);
    h = ct_linear(h, w[0], w[1], false, CT_ACT_NONE); /* tied */
    return loss_of(ct_linear(ct_mul(h, w[2]), w[0], NULL, true, CT_ACT_NONE), target);
}

static ct_status count_sink(void *user, ct_tensor *leaf, ct_tensor *gradient) {
    (void)leaf, (void)gradient;
    ++*(int *)user;
    return CT_OK;
}

static void test_tied(void **state) {
    (void)state;
    ct_random random = ct_random_make(3, 3);
    ct_tensor *w[3] = {normal_leaf(CT_F32, CT_DIMS(WIDTH, WIDTH), 0.3, &random),
                       normal_leaf(CT_F32, CT_DIMS(WIDTH), 0.1, &random),
                       normal_leaf(CT_F32, CT_DIMS(WIDTH), 1, &random)};
    ct_tensor *expected[3];
    for (int m = 0; m < MICRO; m++)
        ct_backward(tied_loss(w, m), NULL, CT_GRAD_DEFAULT);
    for (int i = 0; i < 3; i++) {
        expected[i] = ct_hold(ct_gradient(w[i]));
        ct_gradient_set(w[i], NULL);
    }
    for (int m = 0; m < MICRO; m++) {
        ct_deferred *queue = ct_deferred_create(context);
        ct_backward_deferred(tied_loss(w, m), NULL, queue, CT_GRAD_DEFAULT);
        assert_true(ct_deferred_count(queue) == 4);
        for (int64_t i = ct_deferred_count(queue) - 1; i >= 0; i--)
            ct_deferred_run(queue, i);
        ct_deferred_destroy(queue);
    }
    assert_ok();
    for (int i = 0; i < 3; i++)
        assert_same_bits(expected[i], ct_gradient(w[i]));
    int calls = 0;
    ct_set_gradient_sink(w[0], count_sink, &calls);
    ct_deferred *queue = ct_deferred_create(context);
    ct_backward_deferred(tied_loss(w, 0), NULL, queue, CT_GRAD_DEFAULT);
    for (int64_t i = 0; i < ct_deferred_count(queue); i++)
        ct_deferred_run(queue, i);
    assert_ok();
    assert_int_equal(calls, 3);
    ct_deferred_destroy(queue);
    for (int i = 0; i < 3; i++) {
        ct_drop(expected[i]);
        ct_drop(w[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_pipeline), reach_test(test_gpt2),
                                       reach_test(test_tied)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
