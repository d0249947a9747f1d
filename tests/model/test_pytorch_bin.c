/* test_pytorch_bin.c - model folders whose weights are PyTorch's: read, tied weights once, written as the
 * safetensors file that transformers wrote of the same model. */
#include "reach/reach.h"

static const char *golden(const char *name) {
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    const char *source = getenv("CARAT_SOURCE");
    snprintf(path, 512, "%s/tests/golden/archives/%s", source ? source : ".", name);
    return path;
}

static char *read_file(const char *folder, const char *name, size_t *length) {
    char *path = ct_path_join(context, folder, name), *text = ct_file_read(context, path, 1 << 24, length);
    if (!text) fail_msg("%s", ct_context_message(context));
    ct_free(context, path);
    return text;
}

/* The weights are those of transformers' own safetensors file; saving gives that file to the byte. */
static void loads_and_saves(void **state) {
    (void)state;
    static const char *const names[] = {"gpt2_bin", "gpt2_shards"};
    ct_model *expected = ct_model_load(context, golden("gpt2"), CT_DTYPES);
    assert_ok();
    for (int n = 0; n < 2; n++) {
        char folder[] = "/tmp/carat-test-bin-XXXXXX";
        assert_non_null(mkdtemp(folder));
        ct_model *model = ct_model_load(context, golden(names[n]), CT_DTYPES);
        if (!model) fail_msg("%s", ct_context_message(context));
        assert_int_equal(ct_model_parameter_count(model), ct_model_parameter_count(expected));
        for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
            assert_string_equal(ct_model_parameter(model, i)->name, ct_model_parameter(expected, i)->name);
            assert_same_bits(ct_model_parameter(model, i)->tensor, ct_model_parameter(expected, i)->tensor);
        }
        assert_int_equal(ct_model_save(model, folder, CT_DTYPES), CT_OK);
        ct_model *again = ct_model_load(context, folder, CT_DTYPES);
        assert_ok();
        ct_safetensors *file = ct_safetensors_open(context, folder);
        assert_ok();
        assert_null(ct_safetensors_find(file, "lm_head.weight")); /* tied: stored once */
        assert_int_equal(ct_safetensors_find(file, "transformer.h.0.attn.bias") != NULL,
                         n == 0); /* a mask: kept */
        ct_safetensors_close(file);
        if (n == 1) {
            size_t a_length, b_length;
            char *a = read_file(folder, "model.safetensors", &a_length),
                 *b = read_file(golden("gpt2"), "model.safetensors", &b_length);
            assert_int_equal(a_length, b_length);
            assert_memory_equal(a, b, a_length);
            ct_free(context, a);
            ct_free(context, b);
        }
        ct_model_destroy(again);
        ct_model_destroy(model);
        ct_folder_remove(context, folder);
    }
    ct_model_destroy(expected);
    assert_ok();
}

/* Formats that are not model folders' are refused with advice. */
static void refuses_other_weights(void **state) {
    (void)state;
    char folder[] = "/tmp/carat-test-bin-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(ct_file_copy(context, golden("gpt2/config.json"), path), CT_OK);
    snprintf(path, sizeof path, "%s/weights.npz", folder);
    assert_int_equal(ct_file_copy(context, golden("arrays.npz"), path), CT_OK);
    assert_null(ct_model_load(context, folder, CT_DTYPES));
    assert_int_equal(ct_context_status(context), CT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(ct_context_message(context), "format npz; `carat convert`"));
    ct_context_clear(context);
    snprintf(path, sizeof path, "%s/pytorch_model.bin", folder);
    assert_int_equal(ct_file_copy(context, golden("system.pt"), path), CT_OK);
    assert_null(ct_model_load(context, folder, CT_DTYPES));
    assert_non_null(strstr(ct_context_message(context), "posix.system"));
    ct_context_clear(context);
    assert_int_equal(ct_file_copy(context, golden("types.pt"), path), CT_OK);
    assert_null(ct_model_load(context, folder, CT_DTYPES));
    assert_non_null(strstr(ct_context_message(context), "are missing"));
    ct_context_clear(context);
    ct_folder_remove(context, folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(loads_and_saves, start, finish),
                                       cmocka_unit_test_setup_teardown(refuses_other_weights, start, finish)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
