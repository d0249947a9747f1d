/* test_images.c - images with classes: rows, order, parts, what fits a model, scores, bad files, allocation
 * failure. */
#include "data/idx_files.h"
#include "method/check.h"

static char folder[64], images[96], labels[96];

static int start(void **state) {
    (void)state;
    make_folder(folder);
    snprintf(images, sizeof(images), "%s/images", folder);
    snprintf(labels, sizeof(labels), "%s/labels", folder);
    ct_context *context = start_context(1);
    write_images(context, images, labels, 11, 4, 3, 5);
    end_tensors(context);
    return 0;
}

static int end(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    assert_int_equal(ct_folder_remove(context, folder), CT_OK);
    end_tensors(context);
    return 0;
}

static ct_model *model_of(ct_context *context, const char *json) {
    ct_value *config = ct_json_parse(context, json, strlen(json), "config");
    ct_model *model = ct_model_create(context, config);
    ct_value_free(config);
    return model;
}

#define MLP "{\"model_type\":\"mlp\",\"sizes\":[16,3]}"
#define VIT(size, classes)                                                                                   \
    "{\"model_type\":\"vit\",\"image_size\":" #size                                                          \
    ",\"patch_size\":2,\"num_channels\":1,\"num_labels\":" #classes                                          \
    ",\"hidden_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":1,\"intermediate_size\":8}"

/* Every image once an epoch, in another order in each; parts are views; batches are the pixels by 255. */
static void rows(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_dataset *all = ct_dataset_from_images(context, images, labels), *part = ct_dataset_part(all, 8, 11);
    assert_true(ct_dataset_has_images(all) && ct_dataset_has_images(part) && !ct_dataset_has_samples(all));
    assert_int_equal(ct_dataset_rows(all, 1), 11);
    assert_int_equal(ct_dataset_tokens(part), 3);
    int differ = 0;
    for (int epoch = 0; epoch < 3; epoch++) {
        bool seen[11] = {false};
        for (int i = 0; i < 11; i++) {
            int64_t row = ct_dataset_drawn(context, all, 7, epoch * 11 + i);
            assert_true(row >= 0 && row < 11 && !seen[row]);
            seen[row] = true;
            differ += row != ct_dataset_drawn(context, all, 7, i);
        }
    }
    assert_true(differ > 5);
    int64_t shape[3], rows[2] = {9, 3};
    int32_t class, other;
    const uint8_t *pixels = ct_dataset_image(all, 9, shape, &class),
                  *same = ct_dataset_image(part, 1, shape, &other);
    assert_true(shape[0] == 1 && shape[1] == 4 && shape[2] == 4 && pixels == same && class == other);
    for (int vit = 0; vit < 2; vit++) {
        ct_model *model = model_of(context, vit ? VIT(4, 3) : MLP);
        ct_scope scope = ct_scope_open(context);
        ct_tensor *classes, *input = ct_images_batch(model, all, rows, 2, CT_F32, &classes);
        assert_int_equal(ct_ndim(input), vit ? 4 : 2);
        const float *x = ct_data(input);
        for (int p = 0; p < 16; p++)
            assert_true(x[p] == (float)pixels[p] / 255);
        assert_int_equal(((const int32_t *)ct_data(classes))[0], class);
        assert_int_equal(ct_images_fit(model, all, "all"), CT_OK);
        ct_scope_close(context, scope);
        ct_model_destroy(model);
    }
    ct_dataset_destroy(part);
    ct_dataset_destroy(all);
    end_tensors(context);
}

/* Logits [1, 3, 2] of class 1: loss log(e + e^3 + e^2) - 3. */
static void score(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *logits = ct_from_data(context, CT_F32, CT_DIMS(2, 3), (const float[]){1, 3, 2, 0, 0, 1});
    ct_tensor *classes = ct_from_data(context, CT_I32, CT_DIMS(2), (const int32_t[]){1, 0});
    double loss = 0;
    int64_t right = 0;
    assert_int_equal(ct_images_score(logits, classes, &loss, &right), CT_OK);
    assert_int_equal(right, 1);
    assert_true(loss > 0.4076059 + 1.5514446 - 1e-5 && loss < 0.4076059 + 1.5514446 + 1e-5);
    ct_scope_close(context, scope);
    end_tensors(context);
}

static void refused(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_dataset *all = ct_dataset_from_images(context, images, labels);
    static const struct {
        const char *config, *words;
        ct_status status;
    } cases[] = {
        {VIT(6, 3), "data: images of 4 x 4 pixels in 1 channels, the model takes 6 x 6 in 1", CT_ERROR_SHAPE},
        {VIT(4, 2), "data: there is an image of class 2, the model has 2 classes (num_labels)",
         CT_ERROR_ARGUMENT},
        {"{\"model_type\":\"mlp\",\"sizes\":[15,3]}", "data: images of 16 pixels, the model takes 15 numbers",
         CT_ERROR_SHAPE},
        {"{\"model_type\":\"mlp\",\"sizes\":[16,2]}", "class 2, the model has 2 classes (the last of sizes)",
         CT_ERROR_ARGUMENT},
        {"{\"model_type\":\"gpt2\",\"vocab_size\":9,\"n_embd\":8,\"n_head\":1,\"n_layer\":1}",
         "a gpt2 does not take images", CT_ERROR_UNSUPPORTED},
        {"{\"model_type\":\"vit\",\"architectures\":[\"ViTModel\"],\"image_size\":4,\"patch_size\":2,\"num_"
         "channels\":1,"
         "\"hidden_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":1,\"intermediate_size\":8}",
         "the model has no head of classes", CT_ERROR_UNSUPPORTED}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ct_model *model = model_of(context, cases[i].config);
        ct_images_fit(model, all, "data");
        ASSERT_ERROR(context, cases[i].status, cases[i].words);
        ct_model_destroy(model);
    }
    ct_dataset_destroy(all);
    char other[96];
    snprintf(other, sizeof(other), "%s/other", folder);
    static const uint8_t zeros[64];
    write_idx(context, other, 1, (const int64_t[]){10}, zeros);
    assert_null(ct_dataset_from_images(context, images, other));
    ASSERT_ERROR(context, CT_ERROR_SHAPE, other, "10 classes, there are 11 images");
    assert_null(ct_dataset_from_images(context, images, images));
    ASSERT_ERROR(context, CT_ERROR_SHAPE, "expected one class of each image");
    assert_null(ct_dataset_from_images(context, labels, labels));
    ASSERT_ERROR(context, CT_ERROR_SHAPE, "expected u8 images");
    write_idx(context, other, 3, (const int64_t[]){0, 4, 4}, zeros);
    assert_null(ct_dataset_from_images(context, other, labels));
    ASSERT_ERROR(context, CT_ERROR_SHAPE, "expected u8 images");
    const char negative[] = {0, 0, 9, 1, 0, 0, 0, 11, 0, 1, 2, 0, -1, 2, 0, 1, 2, 0, 1};
    assert_int_equal(ct_file_write(context, other, negative, sizeof(negative)), CT_OK);
    assert_null(ct_dataset_from_images(context, images, other));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "image 4 has class -1");
    assert_null(ct_dataset_from_images(context, "/absent/images", labels));
    ASSERT_ERROR(context, CT_ERROR_NOT_FOUND, "/absent/images");
    end_tensors(context);
}

static void read_part(ct_context *context, void *user) {
    (void)user;
    ct_dataset *all = ct_dataset_from_images(context, images, labels);
    ct_dataset *part = all ? ct_dataset_part(all, 2, 5) : NULL;
    ct_dataset_destroy(part);
    ct_dataset_destroy(all);
}

static void memory(void **state) {
    (void)state;
    sweep_tensors(read_part, NULL, 1, 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows), cmocka_unit_test(score),
                                       cmocka_unit_test(refused), cmocka_unit_test(memory)};
    return cmocka_run_group_tests_name("images", tests, start, end);
}
