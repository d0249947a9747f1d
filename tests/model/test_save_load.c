/* test_save_load.c - model folders: lossless in both directions, names with and without the prefix, tied
 * weights, buffers, types, extra parameters, and files that do not fit the configuration. */
#include "model/check.h"

static char folder[] = "/tmp/carat-test-model-XXXXXX";
static const char config_text[] =
    "{\n  \"model_type\": \"gpt2\",\n  \"vocab_size\": 11,\n  \"n_positions\": 6,\n"
    "  \"n_embd\": 8,\n  \"n_layer\": 2,\n  \"n_head\": 2,\n"
    "  \"layer_norm_epsilon\": 1e-05,\n  \"task_specific_params\": {\"a\": [1, null]}\n}\n";

static int start_folder(void **state) {
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    return start(state) == 0 && mkdtemp(folder) ? 0 : -1;
}

static int finish_folder(void **state) {
    ct_folder_remove(context, folder);
    return finish(state);
}

#define folder_test(name) cmocka_unit_test_setup_teardown(name, start_folder, finish_folder)

/* A path below the folder; the last few stay valid. */
static const char *at(const char *name) {
    static char paths[6][256];
    static int next;
    char *path = paths[next++ % 6];
    snprintf(path, 256, "%s/%s", folder, name);
    return path;
}

static void assert_same_file(const char *a, const char *b) {
    size_t a_length, b_length;
    char *a_text = ct_file_read(context, a, 1 << 24, &a_length),
         *b_text = ct_file_read(context, b, 1 << 24, &b_length);
    assert_ok();
    assert_int_equal(a_length, b_length);
    assert_memory_equal(a_text, b_text, a_length);
    ct_free(context, a_text);
    ct_free(context, b_text);
}

static void assert_same_weights(ct_model *a, ct_model *b) {
    assert_int_equal(ct_model_parameter_count(a), ct_model_parameter_count(b));
    for (int64_t i = 0; i < ct_model_parameter_count(a); i++) {
        assert_string_equal(ct_model_parameter(a, i)->name, ct_model_parameter(b, i)->name);
        assert_same_bits(ct_model_parameter(a, i)->tensor, ct_model_parameter(b, i)->tensor);
    }
}

static ct_model *load(const char *name) {
    ct_model *model = ct_model_load(context, at(name), CT_DTYPES);
    if (ct_failed(context)) fail_msg("%s", ct_context_message(context));
    return model;
}

/* ------------------------------------------------------------------------------- files written by hand */

/* Changes to the weights file that write_folder makes. */
typedef struct fault {
    const char *left_out, *added, *misshapen, *retyped; /* names without the prefix */
    ct_file_dtype dtype;                                /* of all float tensors */
    bool bare, masks, head;
    double poison; /* written into the second element of h.1.ln_2.bias, if not 0 */
} fault;

typedef struct entry {
    char name[64];
    int rank;
    int64_t shape[4], count;
    ct_file_dtype dtype;
} entry;

static int list_entries(const fault *f, entry *list) {
    static const struct {
        const char *name;
        int64_t rows, columns;
    } block[] = {{"ln_1.weight", 8, 0},       {"ln_1.bias", 8, 0},          {"attn.c_attn.weight", 8, 24},
                 {"attn.c_attn.bias", 24, 0}, {"attn.c_proj.weight", 8, 8}, {"attn.c_proj.bias", 8, 0},
                 {"ln_2.weight", 8, 0},       {"ln_2.bias", 8, 0},          {"mlp.c_fc.weight", 8, 32},
                 {"mlp.c_fc.bias", 32, 0},    {"mlp.c_proj.weight", 32, 8}, {"mlp.c_proj.bias", 8, 0}};
    int n = 0;
    list[n++] = (entry){"wte.weight", 2, {11, 8}, 0, f->dtype};
    list[n++] = (entry){"wpe.weight", 2, {6, 8}, 0, f->dtype};
    for (int layer = 0; layer < 2; layer++) {
        for (int i = 0; i < 12; i++) {
            list[n] = (entry){"", block[i].columns ? 2 : 1, {block[i].rows, block[i].columns}, 0, f->dtype};
            snprintf(list[n++].name, 64, "h.%d.%s", layer, block[i].name);
        }
        if (!f->masks) continue;
        list[n] = (entry){"", 4, {1, 1, 6, 6}, 0, CT_FILE_BOOL};
        snprintf(list[n++].name, 64, "h.%d.attn.bias", layer);
        list[n] = (entry){"", 0, {0}, 0, CT_FILE_F32};
        snprintf(list[n++].name, 64, "h.%d.attn.masked_bias", layer);
    }
    list[n++] = (entry){"ln_f.weight", 1, {8}, 0, f->dtype};
    list[n++] = (entry){"ln_f.bias", 1, {8}, 0, f->dtype};
    if (f->head) list[n++] = (entry){"lm_head.weight", 2, {11, 8}, 0, f->dtype};
    if (f->added) {
        list[n] = (entry){"", 1, {3}, 0, CT_FILE_F32};
        snprintf(list[n++].name, 64, "%s", f->added);
    }
    return n;
}

/* Element i of a tensor: a small multiple of 1/64 (exact in every type), the head the same as wte. */
static double element(const fault *f, const char *name, int64_t i) {
    if (strcmp(name, "lm_head.weight") == 0) name = "wte.weight";
    if (f->poison != 0 && strcmp(name, "h.1.ln_2.bias") == 0 && i == 1) return f->poison;
    return (double)((ct_random_stream(name) + (uint64_t)i * 2654435761u) % 127) / 64 - 1;
}

static void write_elements(ct_safetensors_writer *writer, const fault *f, const entry *e) {
    for (int64_t i = 0; i < e->count; i++) {
        double value = element(f, e->name, i);
        ct_dtype dtype;
        uint8_t bytes[8] = {(uint8_t)(i % 2)};
        assert_true(ct_file_dtype_engine(e->dtype, &dtype));
        if (ct_dtype_is_float(dtype)) ct_read(ct_scalar(context, CT_F64, value), dtype, bytes);
        ct_safetensors_write(writer, bytes, ct_dtype_size(dtype));
    }
}

static void write_folder(const char *name, const fault *f) {
    ct_scope scope = ct_scope_open(context);
    ct_folder_make(context, at(name));
    char path[400];
    snprintf(path, sizeof(path), "%s/config.json", at(name));
    ct_file_write(context, path, config_text, strlen(config_text));
    snprintf(path, sizeof(path), "%s/model.safetensors", at(name));
    ct_safetensors_writer *writer = ct_safetensors_create(context, path);
    ct_safetensors_set_metadata(writer, "made_by", "test");
    entry list[64];
    int count = list_entries(f, list);
    for (int i = 0; i < count; i++) {
        entry *e = &list[i];
        bool whole =
            f->bare || strcmp(e->name, "lm_head.weight") == 0 || (f->added && strcmp(e->name, f->added) == 0);
        if (f->left_out && strcmp(e->name, f->left_out) == 0) continue;
        if (f->misshapen && strcmp(e->name, f->misshapen) == 0) e->shape[0]++;
        if (f->retyped && strcmp(e->name, f->retyped) == 0) e->dtype = CT_FILE_I32;
        e->count = 1;
        for (int k = 0; k < e->rank; k++)
            e->count *= e->shape[k];
        snprintf(path, sizeof(path), "%s%.64s", whole ? "" : "transformer.", e->name);
        ct_safetensors_declare(writer, path, e->dtype, e->rank, e->shape);
    }
    for (int i = 0; i < count; i++)
        if (!f->left_out || strcmp(list[i].name, f->left_out) != 0) write_elements(writer, f, &list[i]);
    ct_safetensors_commit(writer);
    ct_scope_close(context, scope);
    assert_ok();
}

/* --------------------------------------------------------------------------------------------- lossless */

static void round_trip(const fault *f) {
    write_folder("in", f);
    ct_file_write(context, at("in/tokenizer.json"), "{ }", 3);
    ct_model *model = load("in");
    double *wte = values(ct_model_find(model, "wte.weight")->tensor);
    for (int i = 0; i < 88; i++)
        assert_true(wte[i] == element(f, "wte.weight", i));
    free(wte);
    ct_dtype dtype;
    ct_file_dtype_engine(f->dtype, &dtype);
    assert_int_equal(ct_dtype_of(ct_model_parameter(model, 3)->tensor), dtype);
    assert_int_equal(ct_model_save(model, at("out"), CT_DTYPES), CT_OK);
    assert_same_file(at("in/model.safetensors"), at("out/model.safetensors"));
    assert_same_file(at("in/tokenizer.json"), at("out/tokenizer.json"));
    ct_model *again = load("out");
    assert_same_weights(model, again);
    assert_int_equal(ct_model_save(again, at("third"), CT_DTYPES), CT_OK);
    assert_same_file(at("in/model.safetensors"), at("third/model.safetensors"));
    assert_same_file(at("out/config.json"), at("third/config.json"));
    ct_model_destroy(model);
    ct_model_destroy(again);
    ct_folder_remove(context, at("in"));
    ct_folder_remove(context, at("out"));
    ct_folder_remove(context, at("third"));
}

static void test_lossless(void **state) {
    (void)state;
    round_trip(&(fault){.dtype = CT_FILE_F32});
    round_trip(&(fault){.dtype = CT_FILE_F32, .masks = true});
    round_trip(&(fault){.dtype = CT_FILE_F32, .bare = true, .masks = true});
    round_trip(&(fault){.dtype = CT_FILE_F32, .head = true});
    round_trip(&(fault){.dtype = CT_FILE_BF16, .bare = true});
    round_trip(&(fault){.dtype = CT_FILE_F16, .masks = true, .head = true});
    round_trip(&(fault){.dtype = CT_FILE_F64});
}

static void test_config_kept(void **state) {
    (void)state;
    write_folder("in", &(fault){.dtype = CT_FILE_F32});
    ct_model *model = load("in");
    ct_model_save(model, at("out"), CT_DTYPES);
    ct_value *before = ct_json_read(context, at("in/config.json")),
             *after = ct_json_read(context, at("out/config.json"));
    assert_ok();
    assert_true(ct_value_equal(before, after)); /* nothing added to what was loaded */
    ct_model_save(model, at("half"), CT_BF16);
    ct_value *half = ct_json_read(context, at("half/config.json"));
    assert_string_equal(ct_value_as_string(ct_value_get(half, "torch_dtype"), ""), "bfloat16");
    ct_value_free(before);
    ct_value_free(after);
    ct_value_free(half);
    ct_model_destroy(model);
}

/* A new model's folder says what it is. */
static void test_new_model(void **state) {
    (void)state;
    ct_model *model = model_from(config_text, 4);
    assert_int_equal(ct_model_save(model, at("new/deeper"), CT_DTYPES), CT_OK);
    ct_value *config = ct_json_read(context, at("new/deeper/config.json"));
    assert_string_equal(ct_value_as_string(ct_value_at(ct_value_get(config, "architectures"), 0), ""),
                        "GPT2LMHeadModel");
    assert_string_equal(ct_value_as_string(ct_value_get(config, "torch_dtype"), ""), "float32");
    ct_model *again = load("new/deeper");
    assert_same_weights(model, again);
    ct_safetensors *file = ct_safetensors_open(context, at("new/deeper"));
    assert_non_null(ct_safetensors_find(file, "transformer.h.1.mlp.c_fc.weight"));
    assert_null(ct_safetensors_find(file, "lm_head.weight")); /* tied: stored once */
    assert_int_equal(ct_safetensors_count(file), 28);
    ct_safetensors_close(file);
    ct_value_free(config);
    ct_model_destroy(model);
    ct_model_destroy(again);
}

/* After a change: the second copy of a tied weight follows it, masks stay byte for byte. */
static void test_changed_weights(void **state) {
    (void)state;
    write_folder("in", &(fault){.dtype = CT_FILE_F32, .masks = true, .head = true});
    ct_model *model = load("in");
    ct_fill(ct_model_find(model, "wte.weight")->tensor, 0.375);
    assert_int_equal(ct_model_save(model, at("in"), CT_DTYPES), CT_OK); /* over its own source */
    ct_safetensors *file = ct_safetensors_open(context, at("in"));
    const char *const names[] = {"transformer.wte.weight", "lm_head.weight"};
    for (int i = 0; i < 2; i++) {
        float numbers[88];
        ct_safetensors_read(file, ct_safetensors_need(file, names[i]), numbers, 0, sizeof(numbers));
        assert_ok();
        for (int j = 0; j < 88; j++)
            assert_true(numbers[j] == 0.375f);
    }
    uint8_t mask[36];
    ct_safetensors_read(file, ct_safetensors_need(file, "transformer.h.1.attn.bias"), mask, 0, 36);
    for (int i = 0; i < 36; i++)
        assert_int_equal(mask[i], i % 2);
    ct_safetensors_close(file);
    ct_model_destroy(model);
}

/* --------------------------------------------------------------------------------------------- types */

static void test_types(void **state) {
    (void)state;
    const ct_file_dtype types[] = {CT_FILE_BF16, CT_FILE_F16, CT_FILE_F64, CT_FILE_F32};
    write_folder("f32", &(fault){.dtype = CT_FILE_F32});
    ct_model *model = load("f32");
    for (int i = 0; i < 4; i++) {
        write_folder("other", &(fault){.dtype = types[i]});
        ct_model *converted =
            ct_model_load(context, at("other"), CT_F32); /* exact: small multiples of 1/64 */
        assert_ok();
        assert_same_weights(model, converted);
        ct_model_destroy(converted);
        converted = ct_model_load(context, at("f32"), CT_BF16);
        assert_int_equal(ct_dtype_of(ct_model_parameter(converted, 0)->tensor), CT_BF16);
        ct_model_save(converted, at("back"), CT_F32);
        assert_same_file(at("f32/model.safetensors"), at("back/model.safetensors"));
        ct_model_destroy(converted);
        ct_folder_remove(context, at("other"));
        ct_folder_remove(context, at("back"));
    }
    assert_ok();
    ct_model_destroy(model);
}

/* Extra parameters of any type and shape come back with their bytes; those that are no numbers are not
 * trained. */
static void test_extra_parameters(void **state) {
    (void)state;
    ct_model *model = model_from(config_text, 4);
    ct_tensor *mask = ct_from_data(context, CT_U8, CT_DIMS(2, 3), (const uint8_t[]){1, 0, 1, 1, 0, 0});
    ct_model_add_parameter(model, "carat.h.0.mask", mask);
    ct_model_add_parameter(model, "carat.scale", ct_scalar(context, CT_F32, 2.5));
    ct_model_save(model, at("out"), CT_DTYPES);
    ct_model *again = load("out");
    assert_int_equal(ct_model_parameter_count(again), 30);
    ct_parameter *loaded = ct_model_find(again, "carat.h.0.mask");
    assert_same_bits(loaded->tensor, mask);
    assert_false(loaded->trainable);
    assert_true(ct_model_find(again, "carat.scale")->trainable);
    assert_near(item(ct_model_find(again, "carat.scale")->tensor), 2.5, 0);
    ct_model_save(again, at("third"), CT_DTYPES);
    assert_same_file(at("out/model.safetensors"), at("third/model.safetensors"));
    ct_model *half = ct_model_load(context, at("out"), CT_BF16);
    assert_int_equal(ct_dtype_of(ct_model_find(half, "carat.scale")->tensor), CT_BF16);
    assert_int_equal(ct_dtype_of(ct_model_find(half, "carat.h.0.mask")->tensor), CT_U8);
    ct_model_destroy(half);
    ct_model_destroy(again);
    ct_model_destroy(model);
}

/* ----------------------------------------------------------------------------------------- bad folders */

static void refused(const fault *f, ct_status status, const char *words) {
    write_folder("bad", f);
    assert_null(ct_model_load(context, at("bad"), CT_DTYPES));
    assert_failed_with(status, words);
    ct_folder_remove(context, at("bad"));
}

static void test_bad_tensors(void **state) {
    (void)state;
    refused(&(fault){.dtype = CT_FILE_F32, .left_out = "h.1.mlp.c_fc.bias"}, CT_ERROR_FORMAT,
            "1 tensors are missing: transformer.h.1.mlp.c_fc.bias");
    refused(&(fault){.dtype = CT_FILE_F32, .left_out = "wte.weight", .bare = true}, CT_ERROR_FORMAT,
            "1 tensors are missing: wte.weight");
    refused(&(fault){.dtype = CT_FILE_F32, .added = "transformer.h.2.ln_1.weight"}, CT_ERROR_FORMAT,
            "1 tensors that this model does not have: transformer.h.2.ln_1.weight");
    refused(&(fault){.dtype = CT_FILE_F32, .left_out = "ln_f.bias", .added = "ln_f.biass"}, CT_ERROR_FORMAT,
            "1 tensors are missing (transformer.ln_f.bias) and 1 do not belong to this model (ln_f.biass)");
    refused(&(fault){.dtype = CT_FILE_F32, .misshapen = "h.0.attn.c_attn.weight"}, CT_ERROR_SHAPE,
            "1 tensors have another shape: transformer.h.0.attn.c_attn.weight [9,24], expected [8,24]");
    refused(&(fault){.dtype = CT_FILE_F32, .retyped = "wpe.weight"}, CT_ERROR_TYPE,
            "tensor \"transformer.wpe.weight\" is I32");
}

static void test_not_finite(void **state) {
    (void)state;
    const ct_file_dtype types[] = {CT_FILE_F32, CT_FILE_F64, CT_FILE_BF16, CT_FILE_F16};
    const double poisons[] = {NAN, INFINITY, -INFINITY};
    for (int t = 0; t < 4; t++)
        for (int p = 0; p < 3; p++)
            refused(&(fault){.dtype = types[t], .poison = poisons[p]}, CT_ERROR_NUMERIC,
                    "tensor \"transformer.h.1.ln_2.bias\" holds 1 values that are NaN or infinite");
    /* Large but finite numbers are weights. */
    write_folder("large", &(fault){.dtype = CT_FILE_F16, .poison = 65504});
    ct_model_destroy(load("large"));
    write_folder("larger", &(fault){.dtype = CT_FILE_F64, .poison = 1e300});
    ct_model_destroy(load("larger"));
}

static void test_bad_folders(void **state) {
    (void)state;
    assert_null(ct_model_load(context, at("nowhere"), CT_DTYPES));
    assert_failed_with(CT_ERROR_NOT_FOUND, "nowhere");
    write_folder("bad", &(fault){.dtype = CT_FILE_F32});
    ct_file_remove(context, at("bad/config.json"));
    assert_null(ct_model_load(context, at("bad"), CT_DTYPES));
    assert_failed_with(CT_ERROR_NOT_FOUND, "there is no config.json");
    ct_file_write(context, at("bad/config.json"), "{\"model_type\": \"gpt2\",", 22);
    assert_null(ct_model_load(context, at("bad"), CT_DTYPES));
    assert_failed_with(CT_ERROR_FORMAT, "config.json:1");
    ct_file_write(context, at("bad/config.json"), config_text, strlen(config_text));
    ct_file_remove(context, at("bad/model.safetensors"));
    assert_null(ct_model_load(context, at("bad"), CT_DTYPES));
    assert_failed_with(CT_ERROR_NOT_FOUND, "safetensors");
    ct_model *model = model_from(config_text, 1);
    ct_file_write(context, at("file"), "", 0);
    assert_true(ct_model_save(model, at("file/below"), CT_DTYPES) != CT_OK);
    assert_non_null(strstr(ct_context_message(context), at("file")));
    ct_context_clear(context);
    ct_model_destroy(model);
}

/* A disk that fills up, or fails, at any write: an error, and the folder that was there loads as before. */
static void test_failing_disk(void **state) {
    (void)state;
    write_folder("kept", &(fault){.dtype = CT_FILE_F32, .masks = true});
    ct_model *model = load("kept");
    int64_t failed = 0;
    for (int64_t n = 1;; n++) {
        ct_file_fail_at(context, n, n % 2 ? 'f' : 'e');
        ct_status status = ct_model_save(model, at("kept"), CT_DTYPES);
        ct_file_fail_at(context, 0, 0);
        ct_context_clear(context);
        ct_model *again = load("kept");
        assert_same_weights(model, again);
        ct_model_destroy(again);
        if (status == CT_OK) break;
        failed++;
    }
    assert_true(failed >= 3);
    ct_model_destroy(model);
}

static void test_allocation_failure(void **state) {
    (void)state;
    write_folder("in", &(fault){.dtype = CT_FILE_BF16, .masks = true});
    ct_memory_counts before, after;
    int64_t failed = 0;
    for (int64_t n = 0;; n++) { /* the first round fails nothing: what is made once is made */
        ct_scope scope = ct_scope_open(context);
        ct_memory_fail_at(context, n);
        ct_model *model = ct_model_load(context, at("in"), CT_F32);
        if (model) ct_model_save(model, at("out"), CT_DTYPES);
        ct_memory_fail_at(context, 0);
        ct_model_destroy(model);
        ct_scope_close(context, scope);
        bool was = ct_failed(context);
        if (was) assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
        ct_memory_read(context, &after);
        if (n == 0) before = after;
        assert_true(after.current_total == before.current_total);
        if (n > 0 && !was) break;
        failed += was;
    }
    assert_true(failed > 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        folder_test(test_lossless),
        folder_test(test_config_kept),
        folder_test(test_new_model),
        folder_test(test_changed_weights),
        folder_test(test_types),
        folder_test(test_extra_parameters),
        folder_test(test_bad_tensors),
        folder_test(test_not_finite),
        folder_test(test_bad_folders),
        folder_test(test_failing_disk),
        folder_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
