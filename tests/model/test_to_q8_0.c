/* test_to_q8_0.c - models whose large weights are Q8_0 blocks: the logits of the same values written out, bit by bit, in
 * less memory, and saved as these values. */
#include <carat/archive.h>
#include <carat/model.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static ct_context *context;

static char *golden(const char *name) {
    const char *source = getenv("CARAT_SOURCE");
    return ct_format(context, "%s/tests/golden/models/%s", source ? source : ".", name);
}

static ct_tensor *logits(ct_model *model) {
    static const int32_t ids[10] = {1, 5, 9, 2, 30, 7, 64, 3, 3, 11};
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *y = ct_model_forward(model, run, ct_from_data(context, CT_I32, CT_DIMS(2, 5), ids));
    ct_run_destroy(run);
    return y;
}

/* Rounds the weights that become blocks, with the codec of files, and leaves them whole. */
static void round_weights(ct_model *model, ct_model *narrow) {
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_tensor *t = ct_model_parameter(model, i)->tensor;
        if (ct_data(ct_model_parameter(narrow, i)->tensor)) continue;
        size_t count = (size_t)ct_count(t);
        float *values = malloc(count * sizeof *values);
        unsigned char *blocks = malloc(count / 32 * 34);
        assert_int_equal(ct_read(t, CT_F32, values), CT_OK);
        assert_true(ct_element_encode(CT_ELEMENT_Q8_0, values, blocks, (int64_t)count));
        assert_true(ct_element_decode(CT_ELEMENT_Q8_0, blocks, values, (int64_t)count));
        assert_int_equal(ct_write(t, CT_F32, values), CT_OK);
        free(values);
        free(blocks);
    }
}

static void check(const char *name, int64_t least) {
    char *path = golden(name), folder[] = "/tmp/carat-q8-XXXXXX", command[80];
    ct_model *model = ct_model_load(context, path, CT_F32), *narrow = ct_model_load(context, path, CT_F32);
    assert_string_equal(ct_context_message(context), "");
    assert_int_equal(ct_model_to_q8_0(narrow), CT_OK);
    int64_t changed = 0;
    for (int64_t i = 0; i < ct_model_parameter_count(narrow); i++) changed += !ct_model_parameter(narrow, i)->trainable;
    assert_true(changed >= least);
    round_weights(model, narrow);
    ct_tensor *a = logits(model), *b = logits(narrow);
    assert_string_equal(ct_context_message(context), "");
    assert_memory_equal(ct_data(a), ct_data(b), (size_t)ct_count(a) * sizeof(float));
    assert_non_null(mkdtemp(folder));
    assert_int_equal(ct_model_save(narrow, folder, CT_DTYPES), CT_OK);
    ct_model *again = ct_model_load(context, folder, CT_DTYPES);
    ct_tensor *c = logits(again);
    assert_string_equal(ct_context_message(context), "");
    assert_memory_equal(ct_data(a), ct_data(c), (size_t)ct_count(a) * sizeof(float));
    ct_model_destroy(model);
    ct_model_destroy(narrow);
    ct_model_destroy(again);
    ct_free(context, path);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void test_families(void **state) {
    (void)state;
    context = ct_context_create(2);
    check("llama2", 8);
    check("qwen3", 8);
    check("gemma2", 8);
    ct_context_destroy(context);
}

/* On meta as many bytes are counted as are used. */
static void test_meta(void **state) {
    (void)state;
    size_t bytes[2];
    for (int device = 0; device < 2; device++) {
        context = ct_context_create(1);
        if (device) ct_context_set_device(context, CT_META);
        char *path = golden("llama2");
        ct_model *model = ct_model_load(context, path, CT_F32);
        ct_memory_counts before, after;
        ct_memory_read(context, &before);
        assert_int_equal(ct_model_to_q8_0(model), CT_OK);
        ct_memory_read(context, &after);
        assert_true(after.current_total < before.current_total);
        bytes[device] = after.current_total;
        ct_model_destroy(model);
        ct_free(context, path);
        ct_context_destroy(context);
    }
    assert_true((double)bytes[1] > 0.7 * (double)bytes[0]);
}

static void test_not_finite(void **state) {
    (void)state;
    context = ct_context_create(1);
    char *path = golden("llama2");
    ct_model *model = ct_model_load(context, path, CT_F32);
    ct_tensor *weight = ct_model_find(model, "model.embed_tokens.weight")->tensor;
    assert_int_equal(ct_fill(weight, 1e38 * 10), CT_OK);
    assert_int_equal(ct_model_to_q8_0(model), CT_ERROR_NUMERIC);
    assert_non_null(strstr(ct_context_message(context), "model.embed_tokens.weight"));
    ct_model_destroy(model);
    ct_free(context, path);
    ct_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_meta),
        cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
