/* test_embed.c - texts as vectors: against sentence-transformers (tests/golden/make_encoders.py), pooling
 * written down a second time, bits that do not depend on batches, memory or threads, folders that say what is
 * not known, and the search. */
#include "model/check.h"
#include <carat/data.h>
#include <carat/evaluate.h>
#include <carat/format.h>

static char *golden_path(const char *name) {
    const char *source = getenv("CARAT_SOURCE");
    assert_non_null(source);
    char *path = ct_format(context, "%s/tests/golden/encoders/%s", source, name);
    assert_non_null(path);
    return path;
}

static ct_embedder *open_golden(const char *name, const ct_embed_options *options) {
    char *path = golden_path(name);
    ct_embedder *embedder = ct_embedder_open(context, path, NULL, options, false);
    ct_free(context, path);
    assert_ok();
    return embedder;
}

/* ------------------------------------------------------------------------------------------- ids */

enum { TEXTS = 23, VOCABULARY = 61 };

/* Texts of 1 to 9 ids, many of equal length. */
static int64_t make_ids(int32_t *ids, int64_t *ends) {
    ct_random random = ct_random_make(3, 1);
    int64_t count = 0;
    for (int i = 0; i < TEXTS; i++) {
        int64_t length = 1 + (i * 7) % 9;
        for (int64_t t = 0; t < length; t++)
            ids[count++] = (int32_t)ct_random_integer(&random, 0, VOCABULARY);
        ends[i] = count;
    }
    return count;
}

/* Each text by itself through the model, pooled in plain loops. */
static void test_pooling(void **state) {
    (void)state;
    int32_t ids[TEXTS * 9];
    int64_t ends[TEXTS];
    make_ids(ids, ends);
    for (int pooling = CT_POOL_MEAN; pooling <= CT_POOL_MAX; pooling++)
        for (int normalize = 1; normalize <= 2; normalize++) {
            ct_embedder *e = open_golden(
                "bert", &(ct_embed_options){pooling, normalize, 0, pooling == CT_POOL_CLS ? 7 : 64});
            int64_t width = ct_embedder_width(e);
            assert_int_equal(width, 24);
            float found[TEXTS * 24];
            assert_int_equal(ct_embed_ids(e, ids, ends, TEXTS, found), CT_OK);
            assert_int_equal(ct_embedder_tokens(e), ends[TEXTS - 1]);
            ct_run *run = ct_run_create(context, NULL);
            for (int i = 0; i < TEXTS; i++) {
                int64_t begin = i ? ends[i - 1] : 0, time = ends[i] - begin;
                ct_tensor *input = ct_from_data(context, CT_I32, CT_DIMS(1, time), ids + begin);
                double *hidden = values(ct_model_forward(ct_embedder_model(e), run, input)), norm = 0;
                double expected[24];
                for (int64_t c = 0; c < width; c++) {
                    double sum = 0, most = -INFINITY;
                    for (int64_t t = 0; t < time; t++) {
                        sum += hidden[t * width + c];
                        most = fmax(most, hidden[t * width + c]);
                    }
                    expected[c] = pooling == CT_POOL_MEAN  ? sum / (double)time
                                  : pooling == CT_POOL_MAX ? most
                                                           : hidden[c];
                    norm += expected[c] * expected[c];
                }
                for (int64_t c = 0; c < width; c++)
                    assert_near(found[i * width + c], expected[c] / (normalize == 1 ? sqrt(norm) : 1), 1e-6);
                free(hidden);
            }
            ct_run_destroy(run);
            ct_embedder_close(e);
        }
}

/* The bits of each text's vector by itself. */
static void embed_alone(float *vectors) {
    int32_t ids[TEXTS * 9];
    int64_t ends[TEXTS];
    make_ids(ids, ends);
    ct_embedder *e = open_golden("bert", NULL);
    for (int i = 0; i < TEXTS; i++) {
        int64_t begin = i ? ends[i - 1] : 0, length = ends[i] - begin;
        assert_int_equal(ct_embed_ids(e, ids + begin, &length, 1, vectors + i * 24), CT_OK);
    }
    ct_embedder_close(e);
}

static void test_same_bits(void **state) {
    (void)state;
    static const int64_t batches[] = {1, 10, 64, 100000};
    int32_t ids[TEXTS * 9];
    int64_t ends[TEXTS];
    float alone[TEXTS * 24], together[TEXTS * 24];
    make_ids(ids, ends);
    embed_alone(alone);
    for (int threads = 1; threads <= 3; threads++)
        for (int i = 0; i < 4; i++) {
            ct_context_set_threads(context, threads);
            ct_embedder *e = open_golden("bert", &(ct_embed_options){.batch_tokens = batches[i]});
            memset(together, 0, sizeof(together));
            assert_int_equal(ct_embed_ids(e, ids, ends, TEXTS, together), CT_OK);
            assert_memory_equal(alone, together, sizeof(alone));
            ct_embedder_close(e);
        }
}

/* A budget that has no room for the batch asked for gives the same vectors from smaller ones. */
static void test_budget(void **state) {
    (void)state;
    enum { COUNT = 4096, TIME = 8 };
    int32_t *ids = malloc(COUNT * TIME * sizeof(*ids));
    int64_t *ends = malloc(COUNT * sizeof(*ends));
    float *free_vectors = malloc(COUNT * 24 * sizeof(float)), *tight = malloc(COUNT * 24 * sizeof(float));
    for (int i = 0; i < COUNT; i++) {
        ends[i] = (i + 1) * TIME;
        for (int t = 0; t < TIME; t++)
            ids[i * TIME + t] = (i * 13 + t * 5) % VOCABULARY;
    }
    ct_embedder *e = open_golden("bert", &(ct_embed_options){.batch_tokens = COUNT * TIME});
    ct_memory_counts counts;
    ct_memory_read(context, &counts);
    size_t before = counts.current_total;
    ct_memory_reset_peak(context);
    assert_int_equal(ct_embed_ids(e, ids, ends, COUNT, free_vectors), CT_OK);
    ct_memory_read(context, &counts);
    assert_true(counts.peak_total - before > (size_t)8 << 20);
    ct_memory_trim(context);
    ct_memory_read(context, &counts);
    ct_memory_set_budget(context, counts.current_total + counts.cached + ((size_t)2 << 20));
    assert_int_equal(ct_embed_ids(e, ids, ends, COUNT, tight), CT_OK);
    assert_memory_equal(free_vectors, tight, COUNT * 24 * sizeof(float));
    ct_memory_set_budget(context, 0);
    ct_embedder_close(e);
    free(ids);
    free(ends);
    free(free_vectors);
    free(tight);
}

static void test_bad_ids(void **state) {
    (void)state;
    float vectors[2 * 24];
    int32_t ids[40] = {1, 2, 3, 4, 61};
    int64_t ends[2] = {2, 5};
    ct_embedder *e = open_golden("bert", NULL);
    ct_embed_ids(e, ids, ends, 2, vectors);
    assert_failed_with(CT_ERROR_ARGUMENT, "text 1 has id 61, the model's vocabulary 61");
    ct_embed_ids(e, ids, (const int64_t[]){2, 2}, 2, vectors);
    assert_failed_with(CT_ERROR_ARGUMENT, "text 1 has 0 tokens, expected 1 to 20");
    ct_embed_ids(e, ids, (const int64_t[]){2, 30}, 2, vectors);
    assert_failed_with(CT_ERROR_ARGUMENT, "text 1 has 28 tokens");
    assert_int_equal(ct_embed_ids(e, ids, ends, 0, vectors), CT_OK);
    ct_embedder_close(e);
    char *path = golden_path("bert");
    assert_null(ct_embedder_open(context, path, NULL, &(ct_embed_options){.max_seq_length = 21}, false));
    assert_failed_with(CT_ERROR_ARGUMENT, "max_seq_length: 21 is more than the model's 20");
    ct_free(context, path);
}

/* ----------------------------------------------------------------------------------------- folders */

static char *temporary(void) {
    char pattern[] = "/tmp/carat-test-embed-XXXXXX";
    assert_non_null(mkdtemp(pattern));
    return ct_strdup(context, pattern);
}

static void put(const char *folder, const char *name, const char *text) {
    char *path = ct_path_join(context, folder, name);
    ct_file_write(context, path, text, strlen(text));
    ct_free(context, path);
    assert_ok();
}

#define MODULES(third)                                                                                       \
    "[{\"idx\":0,\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"},"                      \
    "{\"idx\":1,\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.models.Pooling\"}" third "]"

/* A folder of the golden model with a tokenizer of single characters. */
static char *sentence_folder(void) {
    char *folder = temporary(), *source = golden_path("bert"),
         *pooling = ct_path_join(context, folder, "1_Pooling");
    ct_model *model = ct_model_load(context, source, CT_DTYPES);
    assert_int_equal(ct_model_save(model, folder, CT_DTYPES), CT_OK);
    ct_model_destroy(model);
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz .";
    ct_tokenizer *tokenizer = ct_tokenizer_train_characters(context, letters, strlen(letters));
    assert_int_equal(ct_tokenizer_save(tokenizer, folder), CT_OK);
    ct_tokenizer_destroy(tokenizer);
    ct_folder_make(context, pooling);
    put(folder, "modules.json", MODULES(""));
    put(folder, "1_Pooling/config.json",
        "{\"pooling_mode_max_tokens\":true,\"pooling_mode_mean_tokens\":false}");
    put(folder, "sentence_bert_config.json", "{\"max_seq_length\":6,\"do_lower_case\":false}");
    ct_free(context, source);
    ct_free(context, pooling);
    assert_ok();
    return folder;
}

static void forget(char *folder) {
    ct_folder_remove(context, folder);
    ct_free(context, folder);
    assert_ok();
}

static void embed(const char *folder, const char *text, const ct_embed_options *options, float *vector) {
    ct_embedder *e = ct_embedder_open(context, folder, NULL, options, false);
    assert_ok();
    const ct_text one = {text, strlen(text)};
    assert_int_equal(ct_embed_texts(e, &one, 1, vector), CT_OK);
    ct_embedder_close(e);
}

/* What the files say is what is done: pooling, normalizing, the cut, the prompt. */
static void test_folder(void **state) {
    (void)state;
    char *folder = sentence_folder();
    float found[24], expected[24];
    embed(folder, "a text.", NULL, found); /* cut to 6 characters */
    embed(folder, "a text", &(ct_embed_options){CT_POOL_MAX, 2, 20, 64}, expected);
    assert_memory_equal(found, expected, sizeof(found));
    embed(folder, "a text.", &(ct_embed_options){CT_POOL_MAX, 2, 20, 64}, found);
    assert_memory_not_equal(found, expected, sizeof(found));
    put(folder, "modules.json", MODULES(",{\"idx\":2,\"path\":\"2_Normalize\",\"type\":\"x.Normalize\"}"));
    put(folder, "1_Pooling/config.json", "{\"pooling_mode\":\"cls\"}");
    put(folder, "config_sentence_transformers.json",
        "{\"prompts\":{\"query\":\"q.\",\"none\":\"\"},\"default_prompt_name\":\"query\"}");
    embed(folder, "text", NULL, found);
    embed(folder, "text", &(ct_embed_options){CT_POOL_CLS, 1, 6, 64}, expected);
    assert_memory_equal(found, expected, sizeof(found));
    put(folder, "config_sentence_transformers.json", "{\"default_prompt_name\":null}");
    embed(folder, "q.text", NULL, expected);
    assert_memory_equal(found, expected, sizeof(found));
    embed(folder, "text", NULL, expected);
    assert_memory_not_equal(found, expected, sizeof(found));
    put(folder, "sentence_bert_config.json", "{}"); /* then the tokenizer says */
    put(folder, "tokenizer_config.json", "{\"model_max_length\":6}");
    embed(folder, "a text.", NULL, found);
    embed(folder, "a text", NULL, expected);
    assert_memory_equal(found, expected, sizeof(found));
    forget(folder);
}

static void refuse(const char *folder, ct_status status, const char *words) {
    assert_null(ct_embedder_open(context, folder, NULL, NULL, false));
    assert_failed_with(status, words);
}

static void test_refused(void **state) {
    (void)state;
    char *folder = sentence_folder();
    put(folder, "modules.json",
        MODULES(",{\"path\":\"2_Dense\",\"type\":\"sentence_transformers.models.Dense\"}"));
    refuse(folder, CT_ERROR_UNSUPPORTED, "module 2 is \"sentence_transformers.models.Dense\"");
    put(folder, "modules.json", "{}");
    refuse(folder, CT_ERROR_FORMAT, "expected a list of a Transformer and a Pooling");
    put(folder, "modules.json", "[{\"type\":\"Transformer\",\"path\":\"../../etc\"},{\"type\":\"Pooling\"}]");
    refuse(folder, CT_ERROR_FORMAT, "leaves the folder");
    put(folder, "modules.json", "[1");
    refuse(folder, CT_ERROR_FORMAT, "modules.json");
    put(folder, "modules.json", MODULES(""));
    put(folder, "1_Pooling/config.json",
        "{\"pooling_mode_max_tokens\":true,\"pooling_mode_mean_tokens\":true}");
    refuse(folder, CT_ERROR_UNSUPPORTED, "2 known ways of pooling are switched on");
    put(folder, "1_Pooling/config.json", "{\"pooling_mode_lasttoken\":true}");
    refuse(folder, CT_ERROR_UNSUPPORTED, "pooling_mode_lasttoken is not known");
    put(folder, "1_Pooling/config.json", "{\"pooling_mode\":\"attention\"}");
    refuse(folder, CT_ERROR_UNSUPPORTED, "pooling_mode is attention");
    put(folder, "1_Pooling/config.json", "{\"pooling_mode\":\"mean\",\"include_prompt\":false}");
    put(folder, "config_sentence_transformers.json",
        "{\"prompts\":{\"query\":\"q.\"},\"default_prompt_name\":\"query\"}");
    refuse(folder, CT_ERROR_UNSUPPORTED, "include_prompt");
    put(folder, "config_sentence_transformers.json", "{\"prompts\":{},\"default_prompt_name\":\"query\"}");
    refuse(folder, CT_ERROR_FORMAT, "default_prompt_name is \"query\"");
    put(folder, "config_sentence_transformers.json", "{}");
    put(folder, "sentence_bert_config.json", "{\"do_lower_case\":true}");
    refuse(folder, CT_ERROR_UNSUPPORTED, "do_lower_case");
    put(folder, "sentence_bert_config.json", "{\"transformer_task\":\"fill-mask\"}");
    refuse(folder, CT_ERROR_UNSUPPORTED, "fill-mask");
    put(folder, "sentence_bert_config.json", "{}");
    put(folder, "config.json", "{\"model_type\":\"mlp\",\"sizes\":[1,2]}");
    assert_null(ct_embedder_open(context, folder, NULL, NULL, false));
    assert_true(ct_failed(context));
    ct_context_clear(context);
    forget(folder);
}

/* -------------------------------------------------------------------------------------------- texts */

static ct_tensor *golden(const char *tensor) {
    char *path = golden_path("sentence.safetensors");
    ct_safetensors *file = ct_safetensors_open(context, path);
    const ct_safetensors_tensor *entry = ct_safetensors_need(file, tensor);
    ct_dtype dtype = CT_F32;
    ct_safetensors_loadable(file, entry, &dtype);
    ct_tensor *result = ct_empty(context, dtype, entry->rank, entry->shape);
    ct_safetensors_read(file, entry, ct_data_mutable(result), 0, entry->size);
    ct_safetensors_close(file);
    ct_free(context, path);
    assert_ok();
    return result;
}

enum { GOLDEN = 8 };

static void assert_golden(const float *found) {
    ct_tensor *vectors = golden("vectors");
    assert_int_equal(ct_count(vectors), GOLDEN * 24);
    const float *expected = ct_data(vectors);
    for (int64_t i = 0; i < GOLDEN * 24; i++)
        assert_near(found[i], expected[i], 1e-5);
    assert_memory_equal(found, found + 6 * 24, 24 * sizeof(float)); /* "a small text" and "A SMALL TEXT" */
}

static void test_sentence_ids(void **state) {
    (void)state;
    float found[GOLDEN * 24];
    ct_embedder *e = open_golden("sentence", NULL);
    assert_int_equal(ct_embed_ids(e, ct_data(golden("ids")), ct_data(golden("ends")), GOLDEN, found), CT_OK);
    assert_golden(found);
    ct_embedder_close(e);
}

/* A WordPiece tokenizer with its template, accents, a text that is cut, an empty one. */
static void test_sentence_texts(void **state) {
    (void)state;
    char *path = golden_path("sentence.txt");
    ct_texts texts = {0};
    assert_int_equal(ct_texts_read(context, path, NULL, &texts), CT_OK);
    assert_int_equal(texts.count, GOLDEN);
    float found[GOLDEN * 24];
    ct_text list[GOLDEN];
    for (int64_t i = 0; i < GOLDEN; i++)
        list[i] = ct_texts_at(&texts, i);
    ct_embedder *e = open_golden("sentence", NULL);
    if (ct_embed_texts(e, list, GOLDEN, found) != CT_OK) fail_msg("%s", ct_context_message(context));
    assert_int_equal(ct_embedder_tokens(e), ct_count(golden("ids")));
    assert_golden(found);
    ct_embedder_close(e);
    ct_texts_free(context, &texts);
    ct_free(context, path);
}

/* ------------------------------------------------------------------------------------------- search */

static void test_nearest(void **state) {
    (void)state;
    enum { COUNT = 3000, WIDTH = 3 };
    float *vectors = malloc(COUNT * WIDTH * sizeof(float));
    ct_random random = ct_random_make(1, 1);
    for (int i = 0; i < COUNT * WIDTH; i++)
        vectors[i] = (float)ct_random_normal(&random);
    const float query[WIDTH] = {1, 2, -1};
    memset(vectors + WIDTH, 0, WIDTH * sizeof(float)); /* 1: cosine 0 */
    for (int c = 0; c < WIDTH; c++) {
        vectors[2500 * WIDTH + c] = 3 * query[c]; /* the same direction, twice */
        vectors[700 * WIDTH + c] = query[c] / 4;
        vectors[2 * WIDTH + c] = -query[c];
    }
    ct_neighbour found[COUNT];
    assert_int_equal(ct_nearest_vectors(context, vectors, COUNT, WIDTH, query, 4, found), 4);
    assert_int_equal(found[0].index, 700);
    assert_int_equal(found[1].index, 2500);
    assert_near(found[0].cosine, 1, 1e-12);
    assert_true(found[2].cosine < 1 && found[2].cosine >= found[3].cosine);
    assert_int_equal(ct_nearest_vectors(context, vectors, COUNT, WIDTH, query, 5000, found), COUNT);
    assert_int_equal(found[COUNT - 1].index, 2);
    for (int i = 1; i < COUNT; i++) {
        assert_true(found[i - 1].cosine >= found[i].cosine);
        if (found[i].index == 1) assert_true(found[i].cosine == 0);
    }
    assert_int_equal(ct_nearest_vectors(context, vectors, COUNT, WIDTH, query, 0, found), 0);
    const float bad[WIDTH] = {1, NAN, 0};
    assert_int_equal(ct_nearest_vectors(context, vectors, COUNT, WIDTH, bad, 3, found), -1);
    assert_failed_with(CT_ERROR_NUMERIC, "not finite");
    free(vectors);
}

/* Every allocation of an embedding fails once: an error, and nothing left behind (finish looks). */
static void test_memory(void **state) {
    (void)state;
    char *folder = sentence_folder();
    const ct_text texts[] = {{"one", 3}, {"two", 3}, {"three", 5}};
    float vectors[3 * 24], expected[3 * 24];
    int failed = 0;
    ct_embedder *e = ct_embedder_open(context, folder, NULL, NULL, false);
    assert_int_equal(ct_embed_texts(e, texts, 3, expected), CT_OK);
    ct_embedder_close(e);
    for (int64_t n = 1; n < 4000; n += 1 + n / 12) {
        ct_memory_fail_at(context, n);
        e = ct_embedder_open(context, folder, NULL, NULL, false);
        if (e) ct_embed_texts(e, texts, 3, vectors);
        ct_memory_fail_at(context, 0);
        failed += ct_failed(context);
        if (ct_failed(context))
            assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        else
            assert_memory_equal(vectors, expected, sizeof(vectors)); /* perhaps in smaller batches */
        ct_context_clear(context);
        ct_embedder_close(e);
    }
    assert_true(failed > 30);
    forget(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_pooling),      reach_test(test_same_bits),
                                       reach_test(test_budget),       reach_test(test_bad_ids),
                                       reach_test(test_folder),       reach_test(test_refused),
                                       reach_test(test_sentence_ids), reach_test(test_sentence_texts),
                                       reach_test(test_nearest),      reach_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
