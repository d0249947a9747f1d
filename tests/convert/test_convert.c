/* test_convert.c - conversions between files: plain ones, to GGUF and back, worked numbers, what is refused,
 * what stays when something fails. */
#include "../format/check.h"
#include "carat/convert.h"
#include "carat/gguf.h"
#include <math.h>

typedef struct world {
    ct_context *context;
    char folder[64], *model, *gguf, *back;
} world;

static int enter(void **state) {
    world *here = calloc(1, sizeof *here);
    here->context = start_context(2);
    make_folder(here->folder);
    here->model = ct_path_join(here->context, here->folder, "model");
    here->gguf = ct_path_join(here->context, here->folder, "model.gguf");
    here->back = ct_path_join(here->context, here->folder, "back");
    *state = here;
    return 0;
}
static int leave(void **state) {
    world *here = *state;
    ct_free(here->context, here->model);
    ct_free(here->context, here->gguf);
    ct_free(here->context, here->back);
    ct_folder_remove(here->context, here->folder);
    end_context(here->context);
    free(here);
    return 0;
}

typedef struct shape {
    const char *name;
    int64_t rows, columns; /* columns 0: a vector */
} shape;

/* Element i of tensor t is t + i / 64, which f16 and bf16 hold for the small ones. */
static float value_of(size_t tensor, int64_t i) {
    return (float)tensor + (float)(i % 128) / 64.0f;
}

static void write_model(world *here, const char *config, const shape *shapes, ct_file_dtype dtype) {
    ct_context *context = here->context;
    assert_int_equal(ct_folder_make(context, here->model), CT_OK);
    write_text(context, here->model, "config.json", config, strlen(config));
    ct_safetensors_writer *writer = ct_safetensors_create_folder(context, here->model, 0);
    for (const shape *s = shapes; s->name; s++)
        ct_safetensors_declare(writer, s->name, dtype, s->columns ? 2 : 1, (int64_t[]){s->rows, s->columns});
    for (size_t t = 0; shapes[t].name; t++) {
        int64_t count = shapes[t].rows * (shapes[t].columns ? shapes[t].columns : 1);
        for (int64_t i = 0; i < count; i++) {
            float value = value_of(t, i);
            unsigned char bytes[4];
            ct_element_encode((ct_element)dtype, &value, bytes, 1);
            ct_safetensors_write(writer, bytes, ct_file_dtype_bits(dtype) / 8);
        }
    }
    if (ct_safetensors_commit(writer)) fail_msg("%s", ct_context_message(context));
}

static const shape llama_shapes[] = {{"model.embed_tokens.weight", 6, 32},
                                     {"model.norm.weight", 32, 0},
                                     {"model.layers.0.input_layernorm.weight", 32, 0},
                                     {"model.layers.0.self_attn.q_proj.weight", 32, 32},
                                     {"model.layers.0.self_attn.k_proj.weight", 16, 32},
                                     {"model.layers.0.self_attn.v_proj.weight", 16, 32},
                                     {"model.layers.0.self_attn.o_proj.weight", 32, 32},
                                     {"model.layers.0.post_attention_layernorm.weight", 32, 0},
                                     {"model.layers.0.mlp.gate_proj.weight", 48, 32},
                                     {"model.layers.0.mlp.up_proj.weight", 48, 32},
                                     {"model.layers.0.mlp.down_proj.weight", 32, 48},
                                     {NULL, 0, 0}};
static const char llama_config[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_"
    "size\":48,"
    "\"num_hidden_layers\":1,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"max_position_embeddings\":"
    "64,"
    "\"rms_norm_eps\":1e-05,\"vocab_size\":6,\"rope_theta\":10000.0,\"hidden_act\":\"silu\","
    "\"tie_word_embeddings\":true}";

static ct_value *convert(world *here, const char *from, const char *to, ct_convert_options options) {
    ct_value *report = NULL;
    ct_convert(here->context, from, to, &options, &report);
    return report;
}
static void must_convert(world *here, const char *from, const char *to, ct_convert_options options) {
    ct_value *report = convert(here, from, to, options);
    if (!report) fail_msg("%s", ct_context_message(here->context));
    ct_value_free(report);
}

static void read_f32(ct_archive *archive, const char *name, float *values, int64_t first, int64_t count) {
    const ct_archive_tensor *tensor = ct_archive_need(archive, name);
    assert_non_null(tensor);
    assert_int_equal(ct_archive_read_f32(archive, tensor, values, first, count), CT_OK);
}

/* Row 2 i + j of a head is row j d/2 + i of Hugging Face's: with d = 8, row 1 is row 4, row 2 is row 1. */
static void llama_to_gguf(void **state) {
    world *here = *state;
    write_model(here, llama_config, llama_shapes, CT_FILE_F32);
    must_convert(here, here->model, here->gguf, (ct_convert_options){.dtype = "f16"});
    ct_archive *archive = ct_archive_open(here->context, here->gguf);
    assert_non_null(archive);
    const ct_gguf *gguf = ct_gguf_of(archive);
    assert_int_equal(ct_gguf_int(gguf, "llama.block_count", 0), 1);
    assert_int_equal(ct_gguf_int(gguf, "llama.attention.head_count_kv", 0), 2);
    assert_int_equal(ct_gguf_int(gguf, "llama.rope.dimension_count", 0), 8);
    assert_int_equal(ct_gguf_int(gguf, "general.file_type", -1), 1);
    assert_int_equal(ct_archive_need(archive, "blk.0.attn_norm.weight")->type, CT_FILE_F32);
    assert_int_equal(ct_archive_need(archive, "blk.0.attn_q.weight")->type, CT_FILE_F16);
    float row[32];
    static const int sources[] = {0, 4, 1, 5, 2, 6, 3, 7};
    for (int i = 0; i < 32; i++) {
        read_f32(archive, "blk.0.attn_q.weight", row, i * 32, 32);
        assert_true(row[3] == value_of(3, (i / 8 * 8 + sources[i % 8]) * 32 + 3));
    }
    read_f32(archive, "blk.0.attn_k.weight", row, (8 + 1) * 32, 32); /* of the second of two heads */
    assert_true(row[0] == value_of(4, (8 + 4) * 32));
    read_f32(archive, "blk.0.ffn_down.weight", row, 48, 32);
    assert_true(row[5] == value_of(10, 53));
    ct_archive_close(archive);
}

static void same_bytes(world *here, const char *name, const char *one, const char *other) {
    char *a = ct_path_join(here->context, one, name), *b = ct_path_join(here->context, other, name);
    size_t length, other_length;
    char *first = ct_file_read(here->context, a, 1 << 20, &length);
    char *second = ct_file_read(here->context, b, 1 << 20, &other_length);
    assert_true(first && second && length == other_length && memcmp(first, second, length) == 0);
    ct_free(here->context, first);
    ct_free(here->context, second);
    ct_free(here->context, a);
    ct_free(here->context, b);
}

static void there_and_back(void **state) {
    world *here = *state;
    for (int threads = 1; threads <= 2; threads++) {
        ct_context_set_threads(here->context, threads);
        write_model(here, llama_config, llama_shapes, CT_FILE_F32);
        must_convert(here, here->model, here->gguf, (ct_convert_options){.memory = 64 << 20});
        must_convert(here, here->gguf, here->back, (ct_convert_options){.dtype = "f32"});
        same_bytes(here, "model.safetensors", here->model, here->back);
    }
}

/* GPT-2's matrices are [in, out] in one and [out, in] in the other; the names have a prefix or not. */
static void gpt2_is_transposed(void **state) {
    world *here = *state;
    static const shape shapes[] = {{"wte.weight", 5, 8},
                                   {"wpe.weight", 4, 8},
                                   {"ln_f.weight", 8, 0},
                                   {"ln_f.bias", 8, 0},
                                   {"h.0.attn.c_attn.weight", 8, 24},
                                   {"h.0.attn.c_attn.bias", 24, 0},
                                   {"h.0.attn.bias", 4, 4},
                                   {NULL, 0, 0}};
    static const char config[] =
        "{\"model_type\":\"gpt2\",\"n_embd\":8,\"n_layer\":1,\"n_head\":2,\"n_positions\":4,"
        "\"layer_norm_epsilon\":1e-05,\"vocab_size\":5}";
    write_model(here, config, shapes, CT_FILE_F32);
    ct_value *report = convert(here, here->model, here->gguf, (ct_convert_options){.dtype = "f32"});
    assert_non_null(report);
    assert_string_equal(ct_value_as_string(ct_value_at(ct_value_get(report, "dropped"), 0), ""),
                        "h.0.attn.bias");
    ct_value_free(report);
    ct_archive *archive = ct_archive_open(here->context, here->gguf);
    float row[8];
    assert_int_equal(ct_archive_need(archive, "blk.0.attn_qkv.weight")->shape[0], 24);
    for (int out = 0; out < 24; out++) {
        read_f32(archive, "blk.0.attn_qkv.weight", row, out * 8, 8);
        for (int in = 0; in < 8; in++)
            assert_true(row[in] == value_of(4, in * 24 + out));
    }
    assert_int_equal(ct_gguf_int(ct_gguf_of(archive), "gpt2.feed_forward_length", 0), 32);
    ct_archive_close(archive);
}

/* A matrix of more than one tile, with quantized rows that do not divide the tiles. */
static void large_transposition(void **state) {
    world *here = *state;
    static const shape shapes[] = {{"wte.weight", 2, 8}, {"h.0.attn.c_attn.weight", 1088, 700}, {NULL, 0, 0}};
    static const char config[] =
        "{\"model_type\":\"gpt2\",\"n_embd\":8,\"n_layer\":1,\"n_head\":2,\"n_positions\":4,"
        "\"layer_norm_epsilon\":1e-05,\"vocab_size\":2}";
    write_model(here, config, shapes, CT_FILE_BF16);
    must_convert(here, here->model, here->gguf, (ct_convert_options){.dtype = "q8_0", .memory = 8 << 20});
    ct_archive *archive = ct_archive_open(here->context, here->gguf);
    float row[1088];
    assert_int_equal(ct_archive_need(archive, "blk.0.attn_qkv.weight")->type, CT_ELEMENT_Q8_0);
    for (int out = 0; out < 700; out += 33) {
        read_f32(archive, "blk.0.attn_qkv.weight", row, out * 1088, 1088);
        for (int in = 0; in < 1088; in++)
            assert_true(fabsf(row[in] - value_of(1, in * 700 + out)) <= 3.0f / 254 + 0.01f);
    }
    ct_archive_close(archive);
    must_convert(here, here->gguf, here->back, (ct_convert_options){0});
    archive = ct_archive_open(here->context, here->back);
    read_f32(archive, "transformer.h.0.attn.c_attn.weight", row, 699, 1);
    assert_true(fabsf(row[0] - value_of(1, 699)) < 0.02f);
    ct_archive_close(archive);
}

static void plain_conversions(void **state) {
    world *here = *state;
    static const shape shapes[] = {{"a", 40, 30}, {"b", 7, 0}, {"c", 64, 64}, {NULL, 0, 0}};
    write_model(here, "{\"model_type\":\"none\"}", shapes, CT_FILE_F32);
    write_text(here->context, here->model, "side.txt", "side", 4);
    must_convert(here, here->model, here->back, (ct_convert_options){.max_shard_size = 10000});
    char *index = ct_path_join(here->context, here->back, "model.safetensors.index.json");
    assert_true(ct_file_exists(index));
    ct_free(here->context, index);
    same_bytes(here, "side.txt", here->model, here->back);
    /* shards to one file again, replacing what stands there */
    char *npz = ct_path_join(here->context, here->folder, "x.npz");
    must_convert(here, here->back, npz, (ct_convert_options){.dtype = "f16"});
    must_convert(here, npz, here->back, (ct_convert_options){.dtype = "f32"});
    ct_free(here->context, npz);
    ct_archive *archive = ct_archive_open(here->context, here->back);
    assert_int_equal(ct_archive_files(archive), 1);
    float values[7];
    read_f32(archive, "b", values, 0, 7);
    assert_true(values[6] == value_of(1, 6));
    ct_archive_close(archive);
}

static void rope_factors(void **state) {
    world *here = *state;
    static const char config[] =
        "{\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":1,"
        "\"num_attention_heads\":2,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-05,\"vocab_size\":6,"
        "\"rope_parameters\":{\"rope_theta\":100.0,\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_"
        "factor\":1.0,"
        "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":64}}";
    write_model(here, config, (shape[]){{"model.embed_tokens.weight", 6, 32}, {NULL, 0, 0}}, CT_FILE_F32);
    must_convert(here, here->model, here->gguf, (ct_convert_options){0});
    ct_archive *archive = ct_archive_open(here->context, here->gguf);
    float factors[8];
    /* wavelengths 2 pi 100^(i/8): 6.28, 11.2, 19.9, 35.3, 62.8, 112, ...; limits 16 and 64 */
    read_f32(archive, "rope_freqs.weight", factors, 0, 8);
    assert_true(factors[0] == 1 && factors[1] == 1 && factors[5] == 8 && factors[7] == 8);
    double wavelength = 2 * 3.14159265358979 * pow(100, 3.0 / 8), smooth = (64 / wavelength - 1) / 3;
    assert_true(fabs((double)factors[3] - 1 / ((1 - smooth) / 8 + smooth)) < 1e-4);
    ct_archive_close(archive);
    must_convert(here, here->gguf, here->back, (ct_convert_options){0});
    char *path = ct_path_join(here->context, here->back, "config.json");
    ct_value *made = ct_json_read(here->context, path);
    assert_int_equal(
        ct_value_as_int(ct_value_get_path(made, "rope_scaling.original_max_position_embeddings"), 0), 64);
    ct_value_free(made);
    ct_free(here->context, path);
}

static void refused(void **state) {
    world *here = *state;
    ct_context *context = here->context;
    static const shape odd[] = {
        {"model.embed_tokens.weight", 6, 32}, {"model.layers.0.odd.weight", 2, 2}, {NULL, 0, 0}};
    write_model(here, llama_config, odd, CT_FILE_F32);
    assert_null(convert(here, here->model, here->gguf, (ct_convert_options){0}));
    ASSERT_ERROR(context, CT_ERROR_UNSUPPORTED, "model.layers.0.odd.weight", "no name in GGUF");
    assert_null(convert(here, here->model, here->gguf, (ct_convert_options){.dtype = "q5_k"}));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "q5_k", "q8_0");
    assert_null(convert(here, here->model, here->back, (ct_convert_options){.dtype = "q8_0"}));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "safetensors");
    assert_null(convert(here, here->model, here->model, (ct_convert_options){0}));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "twice");
    write_text(context, here->model, "config.json", "{\"model_type\":\"mamba\"}", 22);
    assert_null(convert(here, here->model, here->gguf, (ct_convert_options){0}));
    ASSERT_ERROR(context, CT_ERROR_UNSUPPORTED, "mamba", "gemma2");
    assert_false(ct_file_exists(here->gguf) || ct_folder_exists(here->back));
}

/* What cuts words must have a name in llama.cpp, also where nothing cuts them. */
static void unnamed_pretokenizers(void **state) {
    world *here = *state;
    static const char *const cutters[] = {"{\"type\":\"Sequence\",\"pretokenizers\":[]}",
                                          "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Sequence\","
                                          "\"pretokenizers\":[]}]}",
                                          "{\"type\":\"Whitespace\"}"};
    write_model(here, llama_config, llama_shapes, CT_FILE_F32);
    for (int i = 0; i < 3; i++) {
        char *text =
            ct_format(here->context,
                      "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":%s,"
                      "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,"
                      "\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"ab\":5},\"merges\":[\"a b\"]}}",
                      cutters[i]);
        write_text(here->context, here->model, "tokenizer.json", text, strlen(text));
        ct_free(here->context, text);
        assert_null(convert(here, here->model, here->gguf, (ct_convert_options){0}));
        ASSERT_ERROR(here->context, CT_ERROR_UNSUPPORTED, "no name that Carat knows for the pre-tokenizer",
                     i == 2 ? "Whitespace" : "nothing");
    }
}

/* NaN has no place in a block; the output does not appear, what was there stays. */
static void nan_is_no_block(void **state) {
    world *here = *state;
    write_model(here, llama_config, (shape[]){{"model.embed_tokens.weight", 6, 32}, {NULL, 0, 0}},
                CT_FILE_F32);
    char *path = ct_path_join(here->context, here->model, "model.safetensors");
    ct_safetensors_writer *writer = ct_safetensors_create(here->context, path);
    ct_safetensors_declare(writer, "model.embed_tokens.weight", CT_FILE_F32, 2, (int64_t[]){1, 32});
    float values[32] = {1, 2, NAN};
    ct_safetensors_write(writer, values, sizeof values);
    assert_int_equal(ct_safetensors_commit(writer), CT_OK);
    ct_free(here->context, path);
    write_text(here->context, here->folder, "model.gguf", "old", 3);
    assert_null(convert(here, here->model, here->gguf, (ct_convert_options){.dtype = "q8_0"}));
    ASSERT_ERROR(here->context, CT_ERROR_NUMERIC, "embed_tokens", "NaN");
    size_t length;
    char *old = ct_file_read(here->context, here->gguf, 10, &length);
    assert_string_equal(old, "old");
    ct_free(here->context, old);
}

static void stop_is_clean(void **state) {
    world *here = *state;
    write_model(here, llama_config, llama_shapes, CT_FILE_F32);
    ct_request_stop(here->context);
    assert_null(convert(here, here->model, here->back, (ct_convert_options){0}));
    ct_clear_stop(here->context);
    ASSERT_ERROR(here->context, CT_ERROR_INTERRUPTED, "not written");
    ct_value *names = ct_folder_list(here->context, here->folder);
    assert_int_equal(ct_value_count(names), 1); /* the input */
    ct_value_free(names);
}

static void convert_sample(ct_context *context, void *user) {
    world *here = user;
    ct_value *report = NULL;
    ct_convert(context, here->model, here->gguf, &(ct_convert_options){.dtype = "q8_0"}, &report);
    ct_value_free(report);
    report = NULL;
    ct_convert(context, here->gguf, here->back, &(ct_convert_options){0}, &report);
    ct_value_free(report);
}

/* Whatever fails, the error is that one, nothing leaks and no half file stays under the output's name. */
static void failures_are_clean(void **state) {
    world *here = *state;
    write_model(here, llama_config, llama_shapes, CT_FILE_F32);
    sweep_memory(convert_sample, here, 2000);
    sweep_files(convert_sample, here, 'e', 400);
    sweep_files(convert_sample, here, 'f', 400);
    sweep_files(convert_sample, here, 's', 60);
    ct_value *names = ct_folder_list(here->context, here->folder);
    assert_int_equal(ct_value_count(names), 3); /* back, model, model.gguf */
    ct_value_free(names);
}

/* Hugging Face numbers the added tokens that the vocabulary lacks from its size on, whatever id they claim.
 */
static void added_tokens_keep_their_ids(ct_context *context, const char *folder) {
    char *path = ct_path_join(context, folder, "tokenizer.json");
    ct_value *file = ct_json_read(context, path);
    const ct_value *vocabulary = ct_value_get(ct_value_get(file, "model"), "vocab"),
                   *added = ct_value_get(file, "added_tokens");
    assert_true(ct_value_count(vocabulary) > 100);
    int64_t next = (int64_t)ct_value_count(vocabulary);
    for (size_t i = 0; i < ct_value_count(added); i++) {
        int64_t id = ct_value_as_int(ct_value_get(ct_value_at(added, i), "id"), -1);
        const char *content = ct_value_as_string(ct_value_get(ct_value_at(added, i), "content"), "");
        const ct_value *known = ct_value_get(vocabulary, content);
        assert_int_equal(id, known ? ct_value_as_int(known, -2) : next++);
    }
    ct_value_free(file);
    ct_free(context, path);
}

/* Golden tokenizers to GGUF's keys and back give the same ids. */
static void tokenizers_there_and_back(void **state) {
    world *here = *state;
    ct_context *context = here->context;
    static const char *const names[] = {"gpt2", "llama2", "llama3", "qwen2", "gemma2"};
    static const char text[] = "Hello, world! don't I'LL 1234567 \xc3\xa9t\xc3\xa9 \xe6\x97\xa5\n\n  x";
    const char *source = getenv("CARAT_SOURCE");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/tests/golden/tokenizers/%s/tokenizer.json", source ? source : ".",
                 names[i]);
        ct_folder_remove(context, here->model);
        write_model(here, llama_config, (shape[]){{"model.embed_tokens.weight", 2000, 32}, {NULL, 0, 0}},
                    CT_FILE_BF16);
        char *copy = ct_path_join(context, here->model, "tokenizer.json");
        assert_int_equal(ct_file_copy(context, path, copy), CT_OK);
        ct_free(context, copy);
        must_convert(here, here->model, here->gguf, (ct_convert_options){0});
        must_convert(here, here->gguf, here->back, (ct_convert_options){0});
        added_tokens_keep_their_ids(context, here->back);
        ct_tokenizer *before = ct_tokenizer_load(context, here->model),
                     *after = ct_tokenizer_load(context, here->back);
        if (!before || !after) fail_msg("%s: %s", names[i], ct_context_message(context));
        ct_ids one = {0}, other = {0};
        ct_tokenizer_encode(before, text, strlen(text), CT_ENCODE_PLAIN, &one);
        ct_tokenizer_encode(after, text, strlen(text), CT_ENCODE_PLAIN, &other);
        assert_true(one.count > 5 && one.count == other.count);
        assert_memory_equal(one.ids, other.ids, one.count * sizeof *one.ids);
        ct_ids_free(context, &one);
        ct_ids_free(context, &other);
        ct_tokenizer_destroy(before);
        ct_tokenizer_destroy(after);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(llama_to_gguf, enter, leave),
        cmocka_unit_test_setup_teardown(there_and_back, enter, leave),
        cmocka_unit_test_setup_teardown(gpt2_is_transposed, enter, leave),
        cmocka_unit_test_setup_teardown(large_transposition, enter, leave),
        cmocka_unit_test_setup_teardown(plain_conversions, enter, leave),
        cmocka_unit_test_setup_teardown(rope_factors, enter, leave),
        cmocka_unit_test_setup_teardown(refused, enter, leave),
        cmocka_unit_test_setup_teardown(unnamed_pretokenizers, enter, leave),
        cmocka_unit_test_setup_teardown(nan_is_no_block, enter, leave),
        cmocka_unit_test_setup_teardown(stop_is_clean, enter, leave),
        cmocka_unit_test_setup_teardown(tokenizers_there_and_back, enter, leave),
        cmocka_unit_test_setup_teardown(failures_are_clean, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
