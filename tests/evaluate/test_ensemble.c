/* test_ensemble.c - two averages by hand, identical members, order, convexity, manifests, refusals,
 * allocations. */
#include "generate/tiny.h"
#include <carat/evaluate.h>
#include <carat/ops.h>
#include <unistd.h>

/* Nothing that holds numbers is left (what the engine keeps for the next run belongs to no class of tensors).
 */
static void close_context(ct_context *context, ct_scope scope) {
    ct_memory_counts counts;
    ct_scope_close(context, scope);
    assert_false(ct_failed(context));
    ct_memory_read(context, &counts);
    for (int i = CT_MEMORY_WEIGHTS; i <= CT_MEMORY_ACTIVATIONS; i++)
        assert_int_equal(counts.current[i], 0);
    ct_context_destroy(context);
}

static ct_perplexity_options standard(void) {
    ct_perplexity_options o;
    ct_options_default(ct_perplexity_table, &o);
    return o;
}

/* Whatever the text: logits (first, 0) for its two tokens. */
static ct_model *constant_model(ct_context *context, float first) {
    ct_model *model = model_from(
        context, "{\"model_type\": \"gpt2\", \"vocab_size\": 2, \"n_positions\": 8, \"n_embd\": 2, "
                 "\"n_layer\": 1, \"n_head\": 1, \"tie_word_embeddings\": false}");
    assert_non_null(model);
    ct_fill(ct_model_find(model, "ln_f.weight")->tensor, 0);
    memcpy(ct_data_mutable(ct_model_find(model, "ln_f.bias")->tensor), (const float[]){1, 0}, 8);
    memcpy(ct_data_mutable(ct_model_find(model, "lm_head.weight")->tensor), (const float[]){first, 0, 0, 0},
           16);
    return model;
}

static void assert_close(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance)) fail_msg("%.9g, expected %.9g", value, expected);
}

static void two_averages(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    ct_model *members[] = {constant_model(context, 2), constant_model(context, 0)};
    const int32_t zeros[] = {1, 0, 0, 0};
    ct_perplexity_options o = standard();
    ct_ensemble_losses found;
    assert_int_equal(ct_evaluate_ensemble(members, 2, zeros, 4, &o, &found), CT_OK);
    assert_int_equal(found.tokens, 3);
    assert_close(found.logits, -log(0.731059), 1e-6);
    assert_close(found.probabilities, -log(0.690398), 1e-6);
    assert_close(found.members[0], -log(0.880797), 1e-6);
    assert_close(found.members[1], log(2), 1e-6);
    assert_close(found.mean, (found.members[0] + found.members[1]) / 2, 1e-12);
    for (int i = 0; i < 2; i++)
        ct_model_destroy(members[i]);
    close_context(context, scope);
}

/* What the average predicts for one token: the card's numbers, and a probability that f32 does not hold. */
static void outputs(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    ct_ensemble e = {{constant_model(context, 2), constant_model(context, 0)}, 2, CT_AVERAGE_LOGITS, NULL};
    ct_run *runs[] = {ct_run_create(context, NULL), ct_run_create(context, NULL)};
    const int32_t one[] = {1, 0};
    ct_tensor *ids = ct_from_data(context, CT_I32, CT_DIMS(1, 2), one);
    for (int k = 0; k < 2; k++) {
        float p[4], logits[4];
        e.average = (ct_ensemble_average)k;
        ct_tensor *found = ct_ensemble_outputs(&e, runs, ids);
        assert_int_equal(ct_ndim(found), 3);
        assert_int_equal(ct_read(found, CT_F32, logits), CT_OK);
        assert_int_equal(ct_read(ct_softmax(found, -1), CT_F32, p), CT_OK);
        for (int i = 0; i < 4; i += 2)
            assert_close((double)p[i], k ? 0.690398 : 0.731059, 1e-6);
        if (k == 0) assert_true(logits[0] == 1 && logits[1] == 0);
    }
    memcpy(ct_data_mutable(ct_model_find(e.members[0], "lm_head.weight")->tensor), (const float[]){900, 0, 0, 0}, 16);
    e.count = 1;
    float p[4];
    assert_int_equal(ct_read(ct_ensemble_outputs(&e, runs, ids), CT_F32, p), CT_OK);
    assert_true(p[0] == 0 && isfinite(p[1]) && p[1] < -80);
    for (int i = 0; i < 2; i++) {
        ct_run_destroy(runs[i]);
        ct_model_destroy(e.members[i]);
    }
    close_context(context, scope);
}

static void properties(void **state) {
    (void)state;
    ct_context *context = start_context(2);
    ct_scope scope = ct_scope_open(context);
    enum { K = 4, LENGTH = 90 };
    ct_model *members[K], *same[3];
    int32_t text[LENGTH];
    ct_perplexity_options o = standard();
    ct_ensemble_losses found, turned, alone, batched;
    ct_perplexity one;
    ct_tokenizer *bytes = ct_tokenizer_from_kind(context, "bytes");
    for (int i = 0; i < LENGTH; i++)
        text[i] = (i * i * 7 + 3 * i) % 256;
    for (int k = 0; k < K; k++) {
        members[k] = random_model(context);
        ct_model_initialize(members[k], 100 + (uint64_t)k);
    }
    assert_int_equal(ct_evaluate_ensemble(members, K, text, LENGTH, &o, &found), CT_OK);
    for (int k = 0; k < K; k++) { /* each member's loss is that of the model alone, to the bit */
        assert_int_equal(ct_evaluate_perplexity(members[k], bytes, text, LENGTH, &o, &one), CT_OK);
        assert_true(one.loss == found.members[k]);
    }
    assert_true(found.probabilities < found.mean && found.logits < found.mean);
    assert_true(fabs(found.probabilities - found.logits) > 1e-4);
    ct_model *reversed[] = {members[3], members[1], members[0], members[2]};
    assert_int_equal(ct_evaluate_ensemble(reversed, K, text, LENGTH, &o, &turned), CT_OK);
    assert_close(turned.logits, found.logits, 1e-6);
    assert_close(turned.probabilities, found.probabilities, 1e-6);
    o.batch = 1;
    assert_int_equal(ct_evaluate_ensemble(members, K, text, LENGTH, &o, &batched), CT_OK);
    assert_true(batched.logits == found.logits && batched.probabilities == found.probabilities);
    for (int k = 0; k < 3; k++)
        same[k] = members[0];
    assert_int_equal(ct_evaluate_ensemble(same, 3, text, LENGTH, &o, &alone), CT_OK);
    assert_close(alone.logits, found.members[0], 1e-6);
    assert_close(alone.probabilities, found.members[0], 1e-6);
    assert_close(alone.mean, found.members[0], 1e-12);
    for (int k = 0; k < K; k++)
        ct_model_destroy(members[k]);
    ct_tokenizer_destroy(bytes);
    close_context(context, scope);
}

/* ------------------------------------------------------------------------------------------- manifests */

static const char *at(const char *folder, const char *name) {
    static char buffers[8][256];
    static int next;
    char *buffer = buffers[next++ % 8];
    snprintf(buffer, 256, "%s/%s", folder, name);
    return buffer;
}

static void save(ct_context *context, const char *folder, ct_model *model, ct_tokenizer *tokenizer) {
    assert_int_equal(ct_model_save(model, folder, CT_F32), CT_OK);
    assert_int_equal(ct_tokenizer_save(tokenizer, folder), CT_OK);
    assert_false(ct_failed(context));
}

static void put_text(const char *path, const char *text) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void refused(ct_context *context, const char *path, const char *text, ct_status status,
                    const char *words) {
    ct_ensemble e;
    put_text(path, text);
    assert_int_equal(ct_ensemble_load(context, path, CT_F32, &e), status);
    ASSERT_ERROR(context, status, words, "");
    ct_ensemble_free(&e);
}

static void manifests(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    char folder[] = "/tmp/carat-ensemble-XXXXXX";
    assert_non_null(mkdtemp(folder));
    ct_tokenizer *bytes = ct_tokenizer_from_kind(context, "bytes");
    ct_tokenizer *letters = ct_tokenizer_train_characters(context, "abcdefgh", 8);
    ct_model *model = random_model(context), *small = constant_model(context, 1);
    save(context, at(folder, "a"), model, bytes);
    ct_model_initialize(model, 9);
    save(context, at(folder, "b"), model, bytes);
    save(context, at(folder, "letters"), model, letters);
    const char *manifest = at(folder, "ensemble.json");
    const char *const two[] = {"a", "b"}, *const mixed[] = {"a", "letters"}, *const gone[] = {"a", "c"};
    ct_ensemble e;
    for (int k = 0; k < 2; k++) {
        assert_int_equal(ct_ensemble_write(context, manifest, two, 2, (ct_ensemble_average)k), CT_OK);
        assert_int_equal(ct_ensemble_load(context, manifest, CT_F32, &e), CT_OK);
        assert_int_equal(e.count, 2);
        assert_int_equal(e.average, k);
        assert_int_equal(ct_tokenizer_size(e.tokenizer), 256);
        ct_ensemble_free(&e);
        ct_ensemble_average average;
        ct_value *found = ct_ensemble_folders(context, manifest, &average);
        assert_int_equal(ct_value_count(found), 2);
        assert_string_equal(ct_value_as_string(ct_value_at(found, 1), ""), at(folder, "b"));
        assert_int_equal(average, k);
        ct_value_free(found);
    }
    assert_int_equal(ct_ensemble_write(context, manifest, mixed, 2, CT_AVERAGE_LOGITS), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "tokenizers of", "differ");
    assert_int_not_equal(ct_ensemble_write(context, manifest, gone, 2, CT_AVERAGE_LOGITS), CT_OK);
    ct_context_clear(context);
    assert_int_equal(ct_ensemble_write(context, manifest, two, 0, CT_AVERAGE_LOGITS), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "0 members", "1 to 64");
    assert_int_equal(ct_ensemble_load(context, manifest, CT_F32, &e), CT_OK); /* what was there is whole */
    ct_ensemble_free(&e);
    assert_int_equal(ct_ensemble_load(context, at(folder, "a"), CT_F32, &e), CT_OK); /* a model is an ensemble of one */
    assert_int_equal(e.count, 1);
    ct_ensemble_free(&e);
    assert_int_not_equal(ct_ensemble_load(context, at(folder, "none.json"), CT_F32, &e), CT_OK);
    ASSERT_ERROR(context, CT_ERROR_NOT_FOUND, "none.json", "");
    const char *bad = at(folder, "bad.json");
    refused(context, bad, "{\"members\": [\"a\"]}", CT_ERROR_FORMAT, "the manifest of an ensemble");
    refused(context, bad, "{\"carat_ensemble\": 1}", CT_ERROR_FORMAT, "a list of folders");
    refused(context, bad, "{\"carat_ensemble\": 1, \"members\": []}", CT_ERROR_ARGUMENT, "0 members");
    refused(context, bad, "{\"carat_ensemble\": 1, \"members\": [\"a\", 3]}", CT_ERROR_FORMAT, "members.1");
    refused(context, bad, "{\"carat_ensemble\": 1, \"average\": \"mean\", \"members\": [\"a\"]}",
            CT_ERROR_FORMAT, "average \"mean\"");
    refused(context, bad, "{\"carat_ensemble\": 1, \"members\": [\"b\", \"letters\"]}", CT_ERROR_ARGUMENT,
            "differ");
    ct_model *apart[] = {model, small};
    const int32_t text[] = {0, 1, 1, 0};
    ct_perplexity_options o = standard();
    ct_ensemble_losses losses;
    assert_int_equal(ct_evaluate_ensemble(apart, 2, text, 4, &o, &losses), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "member 1 has a vocabulary of 2", "256");
    bool failed = true;
    for (int n = 1; failed && n < 4000; n += n < 40 ? 1 : 17) {
        ct_memory_fail_at(context, n);
        ct_ensemble_load(context, manifest, CT_F32, &e);
        ct_memory_fail_at(context, 0);
        failed = ct_failed(context);
        if (failed) assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
        ct_ensemble_free(&e);
    }
    assert_false(failed);
    ct_model_destroy(model);
    ct_model_destroy(small);
    ct_tokenizer_destroy(bytes);
    ct_tokenizer_destroy(letters);
    assert_int_equal(ct_folder_remove(context, folder), CT_OK);
    close_context(context, scope);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_averages), cmocka_unit_test(outputs), cmocka_unit_test(properties),
                                       cmocka_unit_test(manifests)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
