/* test_bert.c - BERT-style encoders against what transformers computed (tests/golden/make_encoders.py),
 * padding and batches, gradients, naming and tying in files, and what is refused. */
#include "model/golden.h"
#include <carat/generate.h>

static char *golden_path(const char *name) {
    return golden_file("encoders", name);
}
static ct_model *golden_model(const char *name) {
    return golden_load("encoders", name);
}
static ct_tensor *golden(const char *name, const char *tensor) {
    return golden_tensor("encoders", name, tensor);
}

/* |a - b| <= 1e-4 of the largest |b|, over the positions that are text. */
static void assert_agrees(const char *what, ct_tensor *found, ct_tensor *expected, ct_tensor *mask) {
    assert_true(ct_same_shape(found, expected));
    double *a = values(found), *b = values(expected), *seen = values(mask), worst = 0, size = 0;
    int64_t positions = ct_count(mask), rows = ct_dim(mask, 0);
    bool by_row = ct_ndim(expected) == 2;
    int64_t inner = ct_count(expected) / (by_row ? rows : positions);
    for (int64_t i = 0; i < ct_count(expected); i++) {
        if (!by_row && seen[i / inner] == 0) continue;
        worst = fmax(worst, fabs(a[i] - b[i]));
        size = fmax(size, fabs(b[i]));
    }
    if (!(worst <= 1e-4 * size) || size < 0.1) fail_msg("%s: apart by %g, size %g", what, worst, size);
    free(a);
    free(b);
    free(seen);
}

/* -------------------------------------------------------------------------------------------- numbers */

static void compare(const char *name) {
    ct_model *model = golden_model(name);
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *inputs[2] = {golden(name, "ids"), golden(name, "types")}, *mask = golden(name, "mask");
    static const char *const points[] = {"hidden", "pooled", "logits"};
    const char *wanted[3];
    ct_tensor *expected[3], *found[3];
    int count = 0;
    for (int i = 0; i < 3; i++) {
        expected[count] = golden(name, points[i]);
        wanted[count] = points[i];
        count += expected[count] != NULL;
    }
    assert_true(count > 0);
    ct_run_set_padding(run, mask);
    assert_int_equal(ct_model_outputs(model, run, inputs, 2, wanted, count, found), CT_OK);
    for (int i = 0; i < count; i++)
        assert_agrees(name, found[i], expected[i], mask);
    ct_tensor *first = ct_forward(run, ct_model_root(model), inputs, 2);
    assert_same_bits(first, found[strcmp(wanted[count - 1], "logits") == 0 ? count - 1 : 0]);
    ct_run_destroy(run);
    ct_model_destroy(model);
}

static void test_golden(void **state) {
    (void)state;
    static const char *const names[] = {"bert",        "bert-no-pooler",   "bert-old-names", "bert-masked",
                                        "bert-untied", "bert-pretraining", "bert-sequence",  "bert-token"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        compare(names[i]);
}

/* A padded row has the bits that it has alone, and that it has among others of its length. */
static void test_padding_bits(void **state) {
    (void)state;
    ct_model *model = golden_model("bert");
    ct_tensor *ids = golden("bert", "ids"), *mask = golden("bert", "mask");
    ct_run *run = ct_run_create(context, NULL);
    ct_run_set_padding(run, mask);
    ct_tensor *batch = ct_model_forward(model, run, ids);
    ct_run_set_padding(run, NULL);
    ct_tensor *first = ct_contiguous(ct_slice(ids, 0, 0, 1, 1));
    ct_tensor *second = ct_contiguous(ct_slice(ct_slice(ids, 0, 1, 2, 1), 1, 0, 7, 1));
    assert_same_bits(ct_slice(batch, 0, 0, 1, 1), ct_model_forward(model, run, first));
    assert_same_bits(ct_slice(ct_slice(batch, 0, 1, 2, 1), 1, 0, 7, 1), ct_model_forward(model, run, second));
    ct_tensor *parts[3] = {second, second, second};
    ct_tensor *three = ct_model_forward(model, run, ct_concat(parts, 3, 0));
    assert_same_bits(ct_slice(three, 0, 2, 3, 1), ct_model_forward(model, run, second));
    ct_run_destroy(run);
    ct_model_destroy(model);
}

/* Two samples in one row compute what they do alone. */
static void test_segments(void **state) {
    (void)state;
    ct_model *model = golden_model("bert");
    ct_tensor *ids = ct_contiguous(ct_slice(golden("bert", "ids"), 0, 0, 1, 1));
    static const int32_t numbers[11] = {0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1};
    ct_tensor *segments = ct_from_data(context, CT_I32, CT_DIMS(1, 11), numbers);
    ct_run *run = ct_run_create(context, NULL);
    assert_int_equal(ct_run_set_segments(run, segments), CT_OK);
    ct_tensor *both = ct_model_forward(model, run, ids);
    ct_run_set_segments(run, NULL);
    ct_tensor *tail = ct_model_forward(model, run, ct_contiguous(ct_slice(ids, 1, 4, 11, 1)));
    assert_true(worst_difference(ct_slice(both, 1, 4, 11, 1), tail) < 1e-5);
    ct_run_destroy(run);
    ct_model_destroy(model);
}

static ct_tensor *count_it(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run, (void)point;
    ++*(int *)user;
    return value;
}

/* Probabilities in sight: the same result by another road, with a row of padding. */
static void test_taps(void **state) {
    (void)state;
    ct_model *model = golden_model("bert");
    ct_tensor *ids = golden("bert", "ids"), *mask = golden("bert", "mask"), *values_[1];
    ct_run *run = ct_run_create(context, NULL);
    ct_run_set_padding(run, mask);
    ct_tensor *plain = ct_model_forward(model, run, ids);
    int calls = 0;
    ct_run_add_tap(run, "encoder.layer.*.attention.probs", count_it, &calls);
    assert_true(worst_difference(plain, ct_model_forward(model, run, ids)) < 1e-5);
    assert_int_equal(calls, 2);
    static const char *const nowhere[] = {"pool"};
    ct_model_outputs(model, run, &ids, 1, nowhere, 1, values_);
    assert_failed_with(CT_ERROR_NOT_FOUND, "no point \"pool\"");
    assert_null(values_[0]);
    assert_int_equal(calls, 4); /* its own tap is gone, the first is not */
    ct_model_forward(model, run, ids);
    assert_int_equal(calls, 6);
    ct_run_destroy(run);
    ct_model_destroy(model);
}

/* ------------------------------------------------------------------------------------------- gradients */

static double loss_of(ct_model *model, ct_tensor *const *inputs, ct_tensor *mask, ct_tensor *targets,
                      ct_tensor **kept) {
    ct_scope scope = ct_scope_open(context);
    ct_run *run = ct_run_create(context, NULL);
    ct_run_set_padding(run, mask);
    ct_tensor *loss = ct_cross_entropy(ct_forward(run, ct_model_root(model), inputs, 2), targets, NULL);
    ct_run_destroy(run);
    double value = item(loss);
    if (kept) *kept = ct_hold(loss);
    ct_scope_close(context, scope);
    return value;
}

/* Every parameter's gradient, one element each, against central differences in f64. */
static void test_gradients(void **state) {
    (void)state;
    ct_model *model = golden_model("bert-sequence");
    ct_model_cast(model, CT_F64);
    ct_tensor *inputs[2] = {golden("bert-sequence", "ids"), golden("bert-sequence", "types")};
    ct_tensor *mask = golden("bert-sequence", "mask"), *loss;
    ct_tensor *targets = ct_from_data(context, CT_I32, CT_DIMS(2), (const int32_t[]){3, 1});
    make_leaves(model);
    loss_of(model, inputs, mask, targets, &loss);
    assert_int_equal(ct_backward(loss, NULL, 0), CT_OK);
    ct_drop(loss);
    const double step = 1e-5;
    double largest = 0;
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_parameter *p = ct_model_parameter(model, i);
        ct_tensor *gradient = ct_gradient(p->tensor);
        assert_non_null(gradient);
        double *g = values(gradient);
        int64_t at = 0;
        for (int64_t e = 0; e < ct_count(gradient); e++)
            if (fabs(g[e]) > fabs(g[at])) at = e;
        double *data = ct_data_mutable(p->tensor), before = data[at];
        data = ct_data_mutable(p->tensor);
        data[at] = before + step;
        double above = loss_of(model, inputs, mask, targets, NULL);
        data = ct_data_mutable(p->tensor);
        data[at] = before - step;
        double below = loss_of(model, inputs, mask, targets, NULL);
        data = ct_data_mutable(p->tensor);
        data[at] = before;
        assert_near(g[at], (above - below) / (2 * step), 1e-7);
        largest = fmax(largest, fabs(g[at]));
        free(g);
    }
    assert_true(largest > 0.05);
    ct_model_destroy(model);
}

/* ------------------------------------------------------------------------------------------------ files */

/* What was loaded is written with the same bytes, under the file's own names. */
static void test_save(void **state) {
    (void)state;
    static const char *const names[] = {"bert",        "bert-no-pooler",   "bert-old-names", "bert-masked",
                                        "bert-untied", "bert-pretraining", "bert-sequence",  "bert-token"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *folder = temporary(), *source = golden_path(names[i]);
        ct_model *model = golden_model(names[i]);
        assert_int_equal(ct_model_save(model, folder, CT_DTYPES), CT_OK);
        assert_same_file(folder, source, "model.safetensors");
        ct_model_destroy(model);
        model = ct_model_load(context, folder, CT_DTYPES);
        assert_ok();
        ct_model_destroy(model);
        ct_free(context, source);
        forget(folder);
    }
}

/* A file's second copy of a tied weight is written as what the weight is now. */
static void test_tied_copies(void **state) {
    (void)state;
    char *folder = temporary(), *again = temporary(),
         *path = ct_path_join(context, folder, "model.safetensors");
    ct_model *model = golden_model("bert-masked");
    ct_model_save(model, folder, CT_DTYPES);
    static const char *const second[] = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"};
    ct_tensor *first[] = {ct_model_find(model, "bert.embeddings.word_embeddings.weight")->tensor,
                          ct_model_find(model, "cls.predictions.bias")->tensor};
    assert_ptr_equal(ct_model_find(model, second[0])->tensor, first[0]);
    assert_ptr_equal(ct_model_find(model, second[1])->tensor, first[1]);
    ct_safetensors_writer *writer = ct_safetensors_create(context, path);
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < ct_model_parameter_count(model) + 2; i++) {
            int64_t extra = i - ct_model_parameter_count(model);
            ct_parameter *p = ct_model_parameter(model, i);
            ct_tensor *t = extra < 0 ? p->tensor : first[extra];
            const char *name = extra < 0 ? p->name : second[extra];
            if (pass == 0)
                ct_safetensors_declare(writer, name, CT_FILE_F32, ct_ndim(t), ct_shape(t));
            else
                ct_safetensors_write(writer, ct_data(t), (size_t)ct_count(t) * 4);
        }
    }
    assert_int_equal(ct_safetensors_commit(writer), CT_OK);
    ct_model *loaded = ct_model_load(context, folder, CT_DTYPES);
    assert_ok();
    ct_scale_into(ct_model_find(loaded, "bert.embeddings.word_embeddings.weight")->tensor, 2);
    ct_scale_into(ct_model_find(loaded, "cls.predictions.bias")->tensor, 3);
    ct_model_save(loaded, again, CT_DTYPES);
    ct_safetensors *file = ct_safetensors_open(context, again);
    assert_ok();
    for (int i = 0; i < 2; i++) {
        const ct_safetensors_tensor *entry = ct_safetensors_need(file, second[i]);
        assert_ok();
        float value;
        ct_safetensors_read(file, entry, &value, 0, 4);
        assert_near(value, (i ? 3 : 2) * *(const float *)ct_data(first[i]), 1e-6);
    }
    ct_safetensors_close(file);
    ct_model_destroy(loaded);
    ct_model_destroy(model);
    ct_free(context, path);
    forget(folder);
    forget(again);
}

static void refuse(const char *json, ct_status status, const char *words) {
    ct_value *config = ct_json_parse(context, json, strlen(json), "config.json");
    assert_ok();
    assert_null(ct_model_create(context, config));
    ct_value_free(config);
    assert_failed_with(status, words);
}

static void test_refused(void **state) {
    (void)state;
    refuse("{\"model_type\":\"bert\",\"architectures\":[\"BertForQuestionAnswering\"]}", CT_ERROR_UNSUPPORTED,
           "architectures.0 is \"BertForQuestionAnswering\"");
    refuse("{\"model_type\":\"bert\",\"is_decoder\":true}", CT_ERROR_UNSUPPORTED, "is_decoder");
    refuse("{\"model_type\":\"bert\",\"position_embedding_type\":\"relative_key\"}", CT_ERROR_ARGUMENT,
           "relative_key");
    refuse("{\"model_type\":\"bert\",\"hidden_act\":\"gelu_10\"}", CT_ERROR_ARGUMENT, "gelu_10");
    refuse("{\"model_type\":\"bert\",\"hidden_size\":10,\"num_attention_heads\":3}", CT_ERROR_ARGUMENT,
           "hidden_size 10 is not a multiple of num_attention_heads 3");
    refuse("{\"model_type\":\"bert\",\"num_labels\":3,\"id2label\":{\"0\":\"a\",\"1\":\"b\"}}",
           CT_ERROR_ARGUMENT, "num_labels is 3, id2label names 2");
    ct_model *model = golden_model("bert");
    ct_run *run = ct_run_create(context, NULL);
    ct_model_forward(model, run, ct_zeros(context, CT_I32, CT_DIMS(1, 21)));
    assert_failed_with(CT_ERROR_ARGUMENT, "rows of 21 tokens, the model has 20 positions");
    ct_model_forward(model, run, ct_zeros(context, CT_I32, CT_DIMS(3)));
    assert_failed_with(CT_ERROR_SHAPE, "expected ids [batch, time]");
    ct_model_forward(model, run, ct_full(context, CT_I32, CT_DIMS(1, 3), 61));
    assert_true(ct_failed(context));
    ct_context_clear(context);
    ct_run_set_padding(run, ct_zeros(context, CT_U8, CT_DIMS(1, 4)));
    ct_model_forward(model, run, ct_zeros(context, CT_I32, CT_DIMS(1, 3)));
    assert_failed_with(CT_ERROR_SHAPE, "padding mask");
    ct_model_need_causal(model, "generate");
    assert_failed_with(CT_ERROR_UNSUPPORTED, "generate: a bert is an encoder");
    ct_run_destroy(run);
    ct_model_destroy(model);
}

/* A file whose tensors are not the configuration's: all of them are named. */
static void test_wrong_tensors(void **state) {
    (void)state;
    char *folder = temporary(), *path = ct_path_join(context, folder, "config.json");
    ct_model *model = golden_model("bert-sequence");
    ct_model_save(model, folder, CT_DTYPES);
    ct_model_destroy(model);
    static const char token[] =
        "{\"model_type\":\"bert\",\"architectures\":[\"BertForSequenceClassification\"],"
        "\"vocab_size\":61,\"hidden_size\":24,\"num_hidden_layers\":3,"
        "\"num_attention_heads\":3,\"intermediate_size\":40,\"num_labels\":5,"
        "\"max_position_embeddings\":20}";
    ct_file_write(context, path, token, strlen(token));
    assert_null(ct_model_load(context, folder, CT_DTYPES));
    assert_failed_with(CT_ERROR_FORMAT,
                       "16 tensors are missing: bert.encoder.layer.2.attention.output.LayerNorm.");
    ct_free(context, path);
    forget(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_golden),      reach_test(test_padding_bits), reach_test(test_segments),
        reach_test(test_taps),        reach_test(test_gradients),    reach_test(test_save),
        reach_test(test_tied_copies), reach_test(test_refused),      reach_test(test_wrong_tensors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
