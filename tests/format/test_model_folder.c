/* test_model_folder.c - model folders: names in the Hugging Face cache, what lies in a folder, copies. */
#include "check.h"

static void put(ct_context *context, const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    *strrchr(path, '/') = '\0';
    ct_folder_make(context, path);
    write_text(context, folder, name, text, strlen(text));
}

static void resolves_names(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char cache[64], expected[256];
    make_folder(cache);
    put(context, cache, "models--org--tiny/refs/main", "abc123\n");
    put(context, cache, "models--org--tiny/snapshots/abc123/config.json", "{}");
    put(context, cache, "models--org--tiny/snapshots/def456/config.json", "{}");
    put(context, cache, "models--gpt2/snapshots/only/config.json", "{}");
    put(context, cache, "models--org--evil/refs/main", "../../../etc");
    setenv("HF_HUB_CACHE", cache, 1);
    char *path = ct_model_resolve(context, "org/tiny");
    snprintf(expected, sizeof expected, "%s/models--org--tiny/snapshots/abc123", cache);
    assert_string_equal(path, expected);
    ct_free(context, path);
    path = ct_model_resolve(context, "gpt2");
    snprintf(expected, sizeof expected, "%s/models--gpt2/snapshots/only", cache);
    assert_string_equal(path, expected);
    ct_free(context, path);
    path = ct_model_resolve(context, cache); /* what exists is itself */
    assert_string_equal(path, cache);
    ct_free(context, path);
    assert_null(ct_model_resolve(context, "org/other"));
    ASSERT_ERROR(context, CT_ERROR_NOT_FOUND, "org/other: no such file or folder", cache,
                 "hf download org/other");
    assert_null(ct_model_resolve(context, "org/evil"));
    ASSERT_ERROR(context, CT_ERROR_NOT_FOUND, "hf download org/evil");
    assert_null(ct_model_resolve(context, "../org/x"));
    ASSERT_ERROR(context, CT_ERROR_NOT_FOUND, "../org/x: no such file or folder");
    unsetenv("HF_HUB_CACHE");
    char hub[80];
    snprintf(hub, sizeof hub, "%s/hub", cache);
    put(context, hub, "models--a--b/snapshots/s/config.json", "{}");
    setenv("HF_HOME", cache, 1);
    path = ct_model_resolve(context, "a/b");
    assert_non_null(path);
    ct_free(context, path);
    unsetenv("HF_HOME");
    ct_folder_remove(context, cache);
    end_context(context);
}

static void assert_names(const ct_value *list, const char *const *names) {
    size_t count = 0;
    for (; names[count]; count++)
        assert_string_equal(ct_value_as_string(ct_value_at(list, count), ""), names[count]);
    assert_int_equal(ct_value_count(list), count);
}
#define ASSERT_NAMES(list, ...) assert_names(list, (const char *const[]){__VA_ARGS__, NULL})

static void make_model(ct_context *context, const char *folder) {
    put(context, folder, "config.json", "{\"model_type\": \"gpt2\", \"n_layer\": 2}");
    put(context, folder, "generation_config.json", "{\"eos_token_id\": 5}");
    put(context, folder, "model.safetensors", "weights");
    put(context, folder, "pytorch_model.bin", "old weights");
    put(context, folder, "README.md", "# card");
    put(context, folder, "tokenizer.json", "{}");
    put(context, folder, "onnx/config.json", "{\"deep\": 1}");
    put(context, folder, "onnx/model.onnx", "other weights");
}

static void lists_and_copies(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64], other[64];
    make_folder(folder);
    make_folder(other);
    make_model(context, folder);
    ct_model_folder *model = ct_model_folder_open(context, folder);
    assert_non_null(model);
    assert_int_equal(ct_value_as_int(ct_value_get(model->config, "n_layer"), 0), 2);
    assert_int_equal(ct_value_as_int(ct_value_get(model->generation_config, "eos_token_id"), 0), 5);
    ASSERT_NAMES(model->weight_files, "model.safetensors");
    ASSERT_NAMES(model->other_weights, "onnx/model.onnx", "pytorch_model.bin");
    ASSERT_NAMES(model->side_files, "README.md", "onnx/config.json", "tokenizer.json");
    put(context, other, "README.md", "mine");
    const char *skip[] = {"tokenizer.json", NULL};
    ct_value *copied = ct_value_list(context);
    assert_int_equal(ct_model_folder_copy(context, model, other, skip, copied), CT_OK);
    ASSERT_NAMES(copied, "onnx/config.json");
    char path[128];
    size_t length;
    snprintf(path, sizeof path, "%s/onnx/config.json", other);
    char *text = ct_file_read(context, path, 100, &length);
    assert_string_equal(text, "{\"deep\": 1}");
    ct_free(context, text);
    snprintf(path, sizeof path, "%s/README.md", other);
    text = ct_file_read(context, path, 100, &length);
    assert_string_equal(text, "mine");
    ct_free(context, text);
    ct_value_free(copied);
    ct_model_folder_close(context, model);
    put(context, folder, "config.json", "[1]");
    assert_null(ct_model_folder_open(context, folder));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, folder, "config.json: expected a map");
    put(context, folder, "config.json", "{\"a\": }");
    assert_null(ct_model_folder_open(context, folder));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, folder, "config.json:1: found '}', expected a value");
    ct_folder_remove(context, folder);
    ct_folder_remove(context, other);
    end_context(context);
}

typedef struct folders {
    char from[64], to[64];
} folders;

static void open_and_copy(ct_context *context, void *user) {
    const folders *both = user;
    ct_model_folder *model = ct_model_folder_open(context, both->from);
    if (!model) return;
    ct_folder_remove(context, both->to);
    ct_model_folder_copy(context, model, both->to, NULL, NULL);
    ct_model_folder_close(context, model);
}

static void survives_failures(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    folders both;
    make_folder(both.from);
    make_folder(both.to);
    make_model(context, both.from);
    sweep_memory(open_and_copy, &both, 3000);
    sweep_files(open_and_copy, &both, 'e', 300);
    sweep_files(open_and_copy, &both, 's', 20);
    ct_folder_remove(context, both.from);
    ct_folder_remove(context, both.to);
    end_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(resolves_names), cmocka_unit_test(lists_and_copies),
                                       cmocka_unit_test(survives_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
