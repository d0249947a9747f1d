/* golden.h - what tests of encoders share: folders and tensors of tests/golden, and files compared. */
#ifndef CARAT_TESTS_MODEL_GOLDEN_H
#define CARAT_TESTS_MODEL_GOLDEN_H

#include "model/check.h"
#include <carat/format.h>

/* tests/golden/FOLDER/NAME */
static inline char *golden_file(const char *folder, const char *name) {
    const char *source = getenv("CARAT_SOURCE");
    assert_non_null(source);
    char *path = ct_format(context, "%s/tests/golden/%s/%s", source, folder, name);
    assert_non_null(path);
    return path;
}

static inline ct_model *golden_load(const char *folder, const char *name) {
    char *path = golden_file(folder, name);
    ct_model *model = ct_model_load(context, path, CT_DTYPES);
    ct_free(context, path);
    assert_ok();
    return model;
}

/* A tensor of NAME.safetensors; NULL if it has none of that name. */
static inline ct_tensor *golden_tensor(const char *folder, const char *name, const char *tensor) {
    char file_name[80];
    snprintf(file_name, sizeof(file_name), "%s.safetensors", name);
    char *path = golden_file(folder, file_name);
    ct_safetensors *file = ct_safetensors_open(context, path);
    assert_ok();
    const ct_safetensors_tensor *entry = ct_safetensors_find(file, tensor);
    ct_tensor *result = NULL;
    ct_dtype dtype;
    if (entry && ct_safetensors_loadable(file, entry, &dtype) == CT_OK) {
        result = ct_empty(context, dtype, entry->rank, entry->shape);
        ct_safetensors_read(file, entry, ct_data_mutable(result), 0, entry->size);
    }
    assert_ok();
    ct_safetensors_close(file);
    ct_free(context, path);
    return result;
}

static inline char *temporary(void) {
    char pattern[] = "/tmp/carat-test-model-XXXXXX";
    assert_non_null(mkdtemp(pattern));
    return ct_strdup(context, pattern);
}

static inline void forget(char *folder) {
    ct_folder_remove(context, folder);
    ct_free(context, folder);
    assert_ok();
}

static inline void assert_same_file(const char *a, const char *b, const char *name) {
    char *paths[2] = {ct_path_join(context, a, name), ct_path_join(context, b, name)};
    size_t length[2];
    char *data[2];
    for (int i = 0; i < 2; i++) {
        data[i] = ct_file_read(context, paths[i], 1 << 20, &length[i]);
        ct_free(context, paths[i]);
    }
    assert_ok();
    assert_int_equal(length[0], length[1]);
    assert_memory_equal(data[0], data[1], length[0]);
    ct_free(context, data[0]);
    ct_free(context, data[1]);
}

#endif
