/* reach_d_perturb.c - zeroth-order training (MeZO, arXiv:2305.17333): all weights of a GPT-2 are perturbed in
 * place from a seed and put back, the loss is a forward pass without a graph whose bytes are counted, and the
 * difference of two losses trains the model. */
#include "reach.h"
#include <float.h>

static const char config_format[] =
    "{\"model_type\":\"gpt2\",\"vocab_size\":%d,\"n_positions\":%d,\"n_embd\":%d,"
    "\"n_layer\":%d,\"n_head\":4}";

static ct_model *gpt2(int vocabulary, int positions, int width, int layers) {
    char text[256];
    snprintf(text, sizeof(text), config_format, vocabulary, positions, width, layers);
    return model_from(text, 17);
}

/* theta += alpha z(seed): one stream for each parameter, nothing is stored. */
static void perturb_all(ct_model *model, double alpha, uint64_t seed) {
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_random random = ct_random_make(seed, (uint64_t)i);
        ct_perturb(ct_model_parameter(model, i)->tensor, alpha, &random);
    }
}

/* theta + eps z, - 2 eps z, + eps z is theta again to 4 units in the last place of the largest value on the
 * way. */
static void test_undone_to_four_ulp(void **state) {
    (void)state;
    ct_model *model = gpt2(50, 32, 32, 3);
    const double eps = 1e-3;
    double *start_values[64], worst = 0, changed = 0;
    int64_t count = ct_model_parameter_count(model);
    assert_true(count <= 64);
    for (int64_t i = 0; i < count; i++)
        start_values[i] = values(ct_model_parameter(model, i)->tensor);
    perturb_all(model, eps, 99);
    for (int64_t i = 0; i < count; i++) {
        ct_tensor *tensor = ct_model_parameter(model, i)->tensor;
        ct_random random = ct_random_make(99, (uint64_t)i);
        ct_tensor *z = ct_empty_like(tensor);
        ct_fill_normal(z, 0, 1, &random); /* the same draws, by the other road */
        double *noise = values(z), *moved = values(tensor);
        for (int64_t j = 0; j < ct_count(tensor); j++) {
            double exact = start_values[i][j] + (double)(float)eps * noise[j];
            assert_true(fabs(moved[j] - exact) <= FLT_EPSILON * fabs(exact) + 1e-12);
            changed += moved[j] != start_values[i][j];
        }
        free(noise);
        free(moved);
    }
    assert_true(changed > 0.99 * (double)ct_model_elements(model, false));
    perturb_all(model, -2 * eps, 99);
    perturb_all(model, eps, 99);
    for (int64_t i = 0; i < count; i++) {
        ct_tensor *tensor = ct_model_parameter(model, i)->tensor;
        ct_random random = ct_random_make(99, (uint64_t)i);
        ct_tensor *z = ct_empty_like(tensor);
        ct_fill_normal(z, 0, 1, &random);
        double *noise = values(z), *back = values(tensor);
        for (int64_t j = 0; j < ct_count(tensor); j++) {
            double size = fabs(start_values[i][j]) + eps * fabs(noise[j]);
            double ulp = ldexp(1, ilogb(size) - 23);
            worst = fmax(worst, fabs(back[j] - start_values[i][j]) / ulp);
        }
        free(noise);
        free(back);
        free(start_values[i]);
    }
    print_message("worst restoration: %.2f ulp\n", worst);
    assert_true(worst <= 4);
    ct_model_destroy(model);
}

/* f(x) = x'Ax/2 - b'x: the central difference (f(x + eps z) - f(x - eps z))/(2 eps) is z'(Ax - b) for any
 * eps. */
static void test_projected_gradient(void **state) {
    (void)state;
    const double a[] = {2, 1, 0.5}, b[] = {1, -1, 0}, x[] = {1, 2, -1};
    ct_tensor *point = ct_from_data(context, CT_F64, CT_DIMS(3), x), *z = ct_zeros_like(point);
    ct_random random = ct_random_make(8, 0);
    ct_fill_normal(z, 0, 1, &random);
    double f[2], *noise = values(z), expected = 0;
    for (int side = 0; side < 2; side++) {
        random = ct_random_make(8, 0);
        ct_perturb(point, side ? -1.0 : 0.5, &random);
        double *v = values(point);
        f[side] = 0;
        for (int i = 0; i < 3; i++)
            f[side] += 0.5 * a[i] * v[i] * v[i] - b[i] * v[i];
        free(v);
    }
    for (int i = 0; i < 3; i++)
        expected += noise[i] * (a[i] * x[i] - b[i]);
    assert_near(f[0] - f[1], expected, 1e-12);
    free(noise);
}

/* Peak of the activations of one forward pass over ids [batch, time]. */
static size_t forward_peak(ct_model *model, int64_t batch, int64_t time, int64_t vocabulary, bool graph) {
    ct_random random = ct_random_make(2, 2);
    ct_tensor *ids = ct_random_integer_tensor(context, CT_I32, CT_DIMS(batch, time), 0, vocabulary, &random);
    if (graph) make_leaves(model);
    bool before = ct_grad_mode_set(context, graph);
    ct_run *run = ct_run_create(context, NULL);
    ct_memory_counts counts;
    ct_memory_read(context, &counts);
    size_t present = counts.current[CT_MEMORY_ACTIVATIONS];
    ct_memory_reset_peak(context);
    ct_scope scope = ct_scope_open(context);
    ct_model_forward(model, run, ids);
    ct_scope_close(context, scope);
    ct_memory_read(context, &counts);
    ct_run_destroy(run);
    ct_grad_mode_set(context, before);
    assert_ok();
    return counts.peak[CT_MEMORY_ACTIVATIONS] - present;
}

/* Without a graph nothing lives longer than it is needed: at most 9 tensors of [batch, time, width], whatever
 * the number of layers. Inside a perceptron these are the embedded input, the block's input, x after
 * attention, its norm, 4 inside and the result; at the end the embedded input, x, its norm, and the logits
 * are fewer. */
static void test_forward_bytes(void **state) {
    (void)state;
    enum { BATCH = 4, TIME = 32, WIDTH = 64, VOCABULARY = 128 };
    ct_model *shallow = gpt2(VOCABULARY, TIME, WIDTH, 2), *deep = gpt2(VOCABULARY, TIME, WIDTH, 8);
    size_t unit = ct_memory_rounded(BATCH * TIME * WIDTH * sizeof(float)), bound = 9 * unit;
    size_t few = forward_peak(shallow, BATCH, TIME, VOCABULARY, false);
    size_t many = forward_peak(deep, BATCH, TIME, VOCABULARY, false);
    size_t recorded = forward_peak(deep, BATCH, TIME, VOCABULARY, true);
    print_message("forward: %zu bytes for 2 layers, %zu for 8, bound %zu; with a graph %zu\n", few, many,
                  bound, recorded);
    assert_true(few == many);
    assert_true(many <= bound);
    assert_true(many >= 4 * unit); /* it did count */
    assert_true(recorded > 8 * unit * 8);
    ct_model_destroy(shallow);
    ct_model_destroy(deep);
}

static double text_loss(ct_model *model, ct_tensor *ids, ct_tensor *targets) {
    ct_scope scope = ct_scope_open(context);
    ct_run *run = ct_run_create(context, NULL);
    double loss = item(ct_cross_entropy(ct_model_forward(model, run, ids), targets, NULL));
    ct_run_destroy(run);
    ct_scope_close(context, scope);
    return loss;
}

/* A text that repeats 0 1 2 ... 7; no gradients, no second copy of any weight. */
static void test_training(void **state) {
    (void)state;
    enum { BATCH = 4, TIME = 16, VOCABULARY = 8 };
    ct_model *model = gpt2(VOCABULARY, TIME, 16, 1);
    ct_grad_mode_set(context, false);
    ct_tensor *ids = ct_empty(context, CT_I32, CT_DIMS(BATCH, TIME)), *targets = ct_empty_like(ids);
    int32_t *data = ct_data_mutable(ids), *next = ct_data_mutable(targets);
    for (int i = 0; i < BATCH * TIME; i++) {
        data[i] = (i % TIME + i / TIME) % VOCABULARY;
        next[i] = (data[i] + 1) % VOCABULARY;
    }
    const double eps = 1e-3, rate = 4e-3;
    double first = text_loss(model, ids, targets);
    ct_memory_counts counts;
    ct_memory_reset_peak(context);
    for (uint64_t seed = 0; seed < 600; seed++) {
        perturb_all(model, eps, seed);
        double above = text_loss(model, ids, targets);
        perturb_all(model, -2 * eps, seed);
        double below = text_loss(model, ids, targets);
        perturb_all(model, eps, seed);
        perturb_all(model, -rate * (above - below) / (2 * eps), seed);
    }
    double last = text_loss(model, ids, targets);
    ct_memory_read(context, &counts);
    print_message("zeroth-order training: loss %.3f -> %.3f\n", first, last);
    assert_true(last < first - 0.5);
    assert_true(counts.peak[CT_MEMORY_GRADIENTS] == 0 && counts.peak[CT_MEMORY_STATES] == 0);
    assert_true(counts.peak[CT_MEMORY_WEIGHTS] == counts.current[CT_MEMORY_WEIGHTS]);
    ct_model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_undone_to_four_ulp),
        reach_test(test_projected_gradient),
        reach_test(test_forward_bytes),
        reach_test(test_training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
