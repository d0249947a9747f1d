/* reach_f_consumed.c - weight gradients that a callback consumes the moment they are complete, and that are
 * freed at once: gradients are never all in memory. A fused update in the sink trains a GPT-2 to the same
 * bits as gradients that are accumulated first; and the start of LoRA-GA (card weights/111, arXiv:2407.05000)
 * keeps two singular vectors of a gradient instead of the gradient. */
#include "reach.h"

enum { BATCH = 1, TIME = 16, VOCABULARY = 32 };

/* The head is not tied: a tied weight's gradient is complete only when the embedding's part has been added.
 */
static ct_model *gpt2(void) {
    ct_model *model =
        model_from("{\"model_type\":\"gpt2\",\"vocab_size\":32,\"n_positions\":16,\"n_embd\":64,"
                   "\"n_layer\":4,\"n_head\":4,\"tie_word_embeddings\":false}",
                   23);
    make_leaves(model);
    return model;
}

static ct_tensor *text_loss(ct_model *model, ct_run *run) {
    ct_tensor *ids = ct_empty(context, CT_I32, CT_DIMS(BATCH, TIME)), *targets = ct_empty_like(ids);
    int32_t *data = ct_data_mutable(ids), *next = ct_data_mutable(targets);
    for (int i = 0; i < BATCH * TIME; i++) {
        data[i] = (5 * (i % TIME) + i / TIME) % VOCABULARY;
        next[i] = (data[i] + 5) % VOCABULARY;
    }
    return ct_cross_entropy(ct_model_forward(model, run, ids), targets, NULL);
}

typedef struct consumer {
    double rate;
    int delivered;
    size_t largest; /* bytes of the largest gradient seen */
} consumer;

/* The gradient is put on the account of gradients, used, and dies after the call. */
static ct_status update_now(void *user, ct_tensor *leaf, ct_tensor *gradient) {
    consumer *c = user;
    ct_tensor_reclass(gradient, CT_MEMORY_GRADIENTS);
    size_t bytes = ct_memory_rounded((size_t)ct_count(gradient) * ct_dtype_size(ct_dtype_of(gradient)));
    if (bytes > c->largest) c->largest = bytes;
    c->delivered++;
    return ct_add_into(leaf, gradient, -c->rate);
}

static void accumulate_and_update(ct_model *model, double rate) {
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_tensor *leaf = ct_model_parameter(model, i)->tensor;
        ct_add_into(leaf, ct_gradient(leaf), -rate);
        ct_gradient_set(leaf, NULL);
    }
}

static void test_fused_update(void **state) {
    (void)state;
    const double rate = 0.3;
    ct_model *fused = gpt2(), *plain = gpt2();
    ct_run *run = ct_run_create(context, NULL);
    consumer sink = {.rate = rate};
    int64_t count = ct_model_parameter_count(fused);
    size_t all = 0, largest = 0;
    for (int64_t i = 0; i < count; i++) {
        ct_tensor *leaf = ct_model_parameter(fused, i)->tensor;
        ct_set_gradient_sink(leaf, update_now, &sink);
        size_t bytes = ct_memory_rounded((size_t)ct_count(leaf) * sizeof(float));
        all += bytes;
        if (bytes > largest) largest = bytes;
    }
    ct_memory_counts of_fused = {0}, of_plain = {0};
    double first = 0, last = 0;
    for (int step = 0; step < 40; step++) {
        ct_memory_reset_peak(context);
        ct_scope scope = ct_scope_open(context);
        ct_tensor *loss = text_loss(fused, run);
        last = item(loss);
        if (step == 0) first = last;
        ct_backward(loss, NULL, CT_GRAD_DEFAULT);
        ct_scope_close(context, scope);
        ct_memory_read(context, &of_fused);
        assert_ok();
        for (int64_t i = 0; i < count; i++)
            assert_null(ct_gradient(ct_model_parameter(fused, i)->tensor));
        ct_memory_reset_peak(context);
        scope = ct_scope_open(context);
        ct_backward(text_loss(plain, run), NULL, CT_GRAD_DEFAULT);
        ct_scope_close(context, scope);
        ct_memory_read(context, &of_plain);
        accumulate_and_update(plain, rate);
    }
    for (int64_t i = 0; i < count; i++)
        assert_same_bits(ct_model_parameter(fused, i)->tensor, ct_model_parameter(plain, i)->tensor);
    print_message(
        "loss %.3f -> %.3f; gradients: %zu bytes at most of %zu; peak of everything %zu, accumulated %zu\n",
        first, last, of_fused.peak[CT_MEMORY_GRADIENTS], of_plain.peak[CT_MEMORY_GRADIENTS],
        of_fused.peak_total, of_plain.peak_total);
    assert_true(last < 0.2 * first);
    assert_int_equal(sink.delivered, 40 * count);
    assert_true(sink.largest == largest);
    assert_true(of_fused.peak[CT_MEMORY_GRADIENTS] == largest);
    assert_true(of_plain.peak[CT_MEMORY_GRADIENTS] == all);
    /* Not only in the accounts: the peak of the sum of all classes is lower too. */
    assert_true(of_fused.peak_total < of_plain.peak_total - all / 4);
    ct_run_destroy(run);
    ct_model_destroy(fused);
    ct_model_destroy(plain);
}

typedef struct adapter {
    ct_tensor *a, *b; /* [1, in], [out, 1], held */
    double captured;  /* share of the gradient's energy in its first 2r directions */
} adapter;

/* G = U S V': A = V[0], B = U[1], each scaled by out^(1/4)/sqrt(gamma), gamma 16. Then G goes. */
static ct_status keep_two_directions(void *user, ct_tensor *leaf, ct_tensor *gradient) {
    (void)leaf;
    adapter *kept = user;
    ct_tensor *u, *s, *vh;
    ct_status status = ct_svd(gradient, &u, &s, &vh);
    if (status != CT_OK) return status;
    double scale = pow((double)ct_dim(gradient, 0), 0.25) / sqrt(16), first = 0, all = 0;
    kept->a = ct_hold(ct_mul_scalar(ct_slice(vh, 0, 0, 1, 1), scale));
    kept->b = ct_hold(ct_mul_scalar(ct_slice(u, 1, 1, 2, 1), scale));
    ct_item(ct_sum_all(ct_square(ct_slice(s, 0, 0, 2, 1))), &first);
    ct_item(ct_sum_all(ct_square(s)), &all);
    kept->captured = first / all;
    return ct_context_status(context);
}

/* Card 111: G = diag(4, 3, 2, 1), r = 1, alpha 16: A = (0.353553, 0, 0, 0), B = (0, 0.353553, 0, 0)', eta B A
 * has the single entry 2 at (1, 0); captured energy (16 + 9)/30. */
static void test_lora_ga_start(void **state) {
    (void)state;
    ct_tensor *weight = ct_hold(ct_zeros(context, CT_F64, CT_DIMS(4, 4)));
    ct_require_grad(weight, true);
    adapter kept = {0};
    ct_set_gradient_sink(weight, keep_two_directions, &kept);
    ct_tensor *diagonal = ct_from_data(context, CT_F64, CT_DIMS(4), (const double[]){4, 3, 2, 1});
    ct_backward(ct_sum_all(ct_mul(ct_diagonal(weight, 0, 0, 1), diagonal)), NULL, CT_GRAD_DEFAULT);
    assert_ok();
    double *a = values(kept.a), *b = values(kept.b),
           *offset = values(ct_mul_scalar(ct_matmul(kept.b, kept.a), 16));
    for (int i = 0; i < 4; i++) {
        assert_near(fabs(a[i]), i == 0 ? 0.35355339059 : 0, 1e-9);
        assert_near(fabs(b[i]), i == 1 ? 0.35355339059 : 0, 1e-9);
        for (int j = 0; j < 4; j++)
            assert_near(fabs(offset[4 * i + j]), i == 1 && j == 0 ? 2 : 0, 1e-9);
    }
    assert_near(kept.captured, 25.0 / 30, 1e-12);
    free(a);
    free(b);
    free(offset);
    ct_drop(kept.a);
    ct_drop(kept.b);
    ct_drop(weight);
}

static ct_status refuse(void *user, ct_tensor *leaf, ct_tensor *gradient) {
    (void)user, (void)leaf;
    return ct_fail(ct_context_of(gradient), CT_ERROR_NUMERIC, "the gradient was refused");
}

/* An error of a sink stops the pass; a NULL sink brings accumulation back. */
static void test_errors_stop(void **state) {
    (void)state;
    ct_tensor *x = ct_hold(ct_ones_like(ct_scalar(context, CT_F32, 0)));
    ct_require_grad(x, true);
    ct_set_gradient_sink(x, refuse, NULL);
    assert_int_equal(ct_backward(ct_square(x), NULL, CT_GRAD_DEFAULT), CT_ERROR_NUMERIC);
    assert_string_equal(ct_context_message(context), "the gradient was refused");
    ct_context_clear(context);
    ct_set_gradient_sink(x, NULL, NULL);
    ct_backward(ct_square(x), NULL, CT_GRAD_DEFAULT);
    assert_near(item(ct_gradient(x)), 2, 0);
    ct_drop(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_fused_update),
        reach_test(test_lora_ga_start),
        reach_test(test_errors_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
