/* reach_g_tap.c - attention probabilities of a GPT-2 read and replaced from outside while it runs, as
 * attention-based editing needs it (card generation/241, arXiv:2303.17599): read, put back, replaced by other
 * maps, scaled by gates that are trained. */
#include "reach.h"
#include "model/naive_gpt2.h"

enum { BATCH = 2, TIME = 10, VOCABULARY = 24, WIDTH = 32, LAYERS = 2, HEADS = 4 };

static ct_model *gpt2(void) {
    return model_from(
        "{\"model_type\":\"gpt2\",\"vocab_size\":24,\"n_positions\":16,\"n_embd\":32,\"n_layer\":2,"
        "\"n_head\":4,\"initializer_range\":0.3}",
        41);
}

static ct_tensor *random_ids(uint64_t seed) {
    ct_random random = ct_random_make(seed, 1);
    return ct_random_integer_tensor(context, CT_I32, CT_DIMS(BATCH, TIME), 0, VOCABULARY, &random);
}

typedef struct maps {
    ct_tensor *probs[LAYERS]; /* held */
    int seen;
    bool put;        /* replace by what is kept, else keep */
    ct_tensor *gate; /* multiplied on if there is one */
} maps;

static ct_tensor *keep_or_put(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run;
    maps *m = user;
    int layer = point[2] - '0';
    char expected[32];
    snprintf(expected, sizeof(expected), "h.%d.attn.probs", m->seen++ % LAYERS);
    assert_string_equal(point, expected);
    if (m->put) return m->probs[layer];
    m->probs[layer] = ct_hold(value);
    return value;
}

static ct_tensor *identity_map(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)user, (void)run, (void)point, (void)value;
    return ct_expand(ct_eye(context, CT_F32, TIME), CT_DIMS(BATCH, HEADS, TIME, TIME));
}

static ct_tensor *gated(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run, (void)point;
    return ct_mul(value, ((maps *)user)->gate);
}

static ct_tensor *wrong_shape(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)user, (void)run, (void)point;
    return ct_select(value, 0, 0);
}

static ct_tensor *tapped(ct_model *model, ct_tensor *ids, ct_tap tap, maps *m) {
    ct_run *run = ct_run_create(context, NULL);
    ct_run_add_tap(run, "h.*.attn.probs", tap, m);
    ct_tensor *logits = ct_model_forward(model, run, ids);
    ct_run_destroy(run);
    return logits;
}

static ct_tensor *untapped(ct_model *model, ct_tensor *ids) {
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *logits = ct_model_forward(model, run, ids);
    ct_run_destroy(run);
    assert_ok();
    return logits;
}

static void maps_free(maps *m) {
    for (int i = 0; i < LAYERS; i++)
        ct_drop(m->probs[i]);
}

/* Rows sum to 1, the future has no share, the fused kernel agrees. Kept maps put back give the same bits; the
 * maps of another text do not. */
static void test_read_and_inject(void **state) {
    (void)state;
    ct_model *model = gpt2();
    ct_tensor *source = random_ids(1), *target = random_ids(2);
    maps m = {0};
    ct_tensor *seen = tapped(model, source, keep_or_put, &m);
    assert_ok();
    assert_int_equal(m.seen, LAYERS);
    for (int layer = 0; layer < LAYERS; layer++) {
        double *p = values(m.probs[layer]), least = 1;
        assert_int_equal(ct_count(m.probs[layer]), BATCH * HEADS * TIME * TIME);
        for (int row = 0; row < BATCH * HEADS * TIME; row++) {
            double sum = 0;
            for (int j = 0; j < TIME; j++) {
                double share = p[row * TIME + j];
                if (j > row % TIME)
                    assert_true(share == 0);
                else
                    least = fmin(least, share);
                sum += share;
            }
            assert_near(sum, 1, 1e-6);
        }
        assert_true(least > 0 && least < 0.05); /* real maps, not uniform ones */
        free(p);
    }
    assert_true(worst_difference(seen, untapped(model, source)) < 1e-5);
    m.put = true;
    assert_same_bits(tapped(model, source, keep_or_put, &m), seen);
    ct_tensor *injected = tapped(model, target, keep_or_put, &m);
    assert_true(worst_difference(injected, untapped(model, target)) > 1e-3);
    maps_free(&m);
    ct_model_destroy(model);
}

/* The identity map: what attention adds is c_proj of the position's own value, as computed by hand. */
static void test_identity_map(void **state) {
    (void)state;
    ct_model *model = gpt2();
    ct_tensor *ids = random_ids(3);
    const naive_gpt2 by_hand = {VOCABULARY,     WIDTH, LAYERS, HEADS, 4 * WIDTH,
                                NAIVE_GELU_NEW, 1e-5,  false,  true};
    double *found = values(tapped(model, ids, identity_map, NULL)), most = 0;
    for (int b = 0; b < BATCH; b++) {
        double *logits = naive_gpt2_forward(&by_hand, model, (const int32_t *)ct_data(ids) + b * TIME, TIME);
        for (int i = 0; i < TIME * VOCABULARY; i++) {
            assert_near(found[b * TIME * VOCABULARY + i], logits[i], 2e-5);
            most = fmax(most, fabs(logits[i]));
        }
        free(logits);
    }
    assert_true(most > 0.5);
    assert_true(worst_difference(tapped(model, ids, identity_map, NULL), untapped(model, ids)) > 1e-2);
    free(found);
    ct_model_destroy(model);
}

static double gated_loss(ct_model *model, ct_tensor *ids, ct_tensor *targets, maps *m, ct_tensor **loss) {
    *loss = ct_cross_entropy(tapped(model, ids, gated, m), targets, NULL);
    return item(*loss);
}

/* One gate for each head, as head pruning learns them: gradients pass through the tap (finite differences),
 * and training the gates alone lowers the loss. */
static void test_gates_learn(void **state) {
    (void)state;
    ct_model *model = gpt2();
    ct_tensor *ids = random_ids(4), *targets = random_ids(5), *loss, *gradient;
    maps m = {.gate = ct_hold(ct_full(context, CT_F32, CT_DIMS(HEADS, 1, 1), 1))};
    ct_require_grad(m.gate, true);
    double first = gated_loss(model, ids, targets, &m, &loss), last = first;
    ct_grad(&loss, 1, NULL, &m.gate, 1, &gradient, CT_GRAD_DEFAULT);
    double *g = values(gradient), sum = 0;
    float *gate = ct_data_mutable(m.gate);
    for (int head = 0; head < HEADS; head++) {
        gate[head] = 1.01f;
        double above = gated_loss(model, ids, targets, &m, &loss);
        gate[head] = 0.99f;
        double below = gated_loss(model, ids, targets, &m, &loss);
        gate[head] = 1;
        assert_near(g[head], (above - below) / 0.02, 2e-3);
        sum += fabs(g[head]);
    }
    assert_true(sum > 0.02);
    for (int step = 0; step < 60; step++) {
        ct_scope scope = ct_scope_open(context);
        last = gated_loss(model, ids, targets, &m, &loss);
        ct_backward(loss, NULL, CT_GRAD_DEFAULT);
        ct_add_into(m.gate, ct_gradient(m.gate), -0.3);
        ct_gradient_set(m.gate, NULL);
        ct_scope_close(context, scope);
    }
    print_message("loss %.3f -> %.3f with four gates\n", first, last);
    assert_true(last < first - 0.1);
    free(g);
    ct_drop(m.gate);
    ct_model_destroy(model);
}

static void test_refusals(void **state) {
    (void)state;
    ct_model *model = gpt2();
    tapped(model, random_ids(6), wrong_shape, NULL);
    assert_int_equal(ct_context_status(context), CT_ERROR_SHAPE);
    assert_non_null(strstr(ct_context_message(context), "h.0.attn.probs"));
    ct_context_clear(context);
    ct_model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_read_and_inject),
        reach_test(test_identity_map),
        reach_test(test_gates_learn),
        reach_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
