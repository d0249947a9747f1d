/* test_inspect.c - statistics against sums over all values, for any memory and number of threads; reports of
 * folders, adapters, tokenizers and shards. */
#include "carat/inspect.h"
#include "carat/npz.h"
#include "check.h"
#include <math.h>

static const char *golden(const char *name, char path[512]) {
    const char *source = getenv("CARAT_SOURCE");
    snprintf(path, 512, "%s/tests/golden/archives/%s", source ? source : ".", name);
    return path;
}

/* Values with every oddity: 300001 of them, so that the last group is not full. */
enum { VALUES = 300001 };
static void fill(float *values) {
    for (int i = 0; i < VALUES; i++)
        values[i] = (float)(((int64_t)i * 7919 % 10007) - 5003) / 64.0f + 1000.0f;
    values[5] = NAN;
    values[4096] = INFINITY;
    values[200000] = -INFINITY;
    values[77] = 0;
    values[78] = -0.0f;
}

static void matches_plain_sums(void **state) {
    (void)state;
    ct_context *context = start_context(2);
    char folder[64], *path;
    make_folder(folder);
    path = ct_path_join(context, folder, "x.npz");
    float *values = malloc(VALUES * sizeof *values);
    fill(values);
    double *wide = malloc(VALUES * sizeof *wide);
    double sum = 0, squares = 0, norm = 0, least = 1e300, most = -1e300;
    int64_t finite = 0, n = VALUES;
    for (int i = 0; i < VALUES; i++) {
        wide[i] = values[i];
        if (!isfinite(values[i])) continue;
        finite++;
        sum += wide[i];
        norm += wide[i] * wide[i];
        least = wide[i] < least ? wide[i] : least;
        most = wide[i] > most ? wide[i] : most;
    }
    for (int i = 0; i < VALUES; i++)
        if (isfinite(wide[i])) squares += (wide[i] - sum / (double)finite) * (wide[i] - sum / (double)finite);
    ct_npz_writer *writer = ct_npz_create(context, path);
    ct_npz_begin(writer, "f4", CT_FILE_F32, 1, &n);
    ct_npz_write(writer, values, VALUES * sizeof *values);
    ct_npz_begin(writer, "f8", CT_FILE_F64, 1, &n);
    ct_npz_write(writer, wide, VALUES * sizeof *wide);
    assert_int_equal(ct_npz_commit(writer), CT_OK);
    ct_archive *archive = ct_archive_open(context, path);
    for (size_t which = 0; which < 2; which++) {
        ct_tensor_statistics first, again;
        const ct_archive_tensor *tensor = ct_archive_at(archive, which);
        assert_int_equal(ct_archive_statistics(archive, tensor, 1 << 20, &first), CT_OK);
        assert_int_equal(first.count, VALUES);
        assert_int_equal(first.nans, 1);
        assert_int_equal(first.infinities, 2);
        assert_int_equal(first.zeros, 2);
        assert_true(first.min == least && first.max == most);
        assert_true(fabs(first.mean - sum / (double)finite) < 1e-9);
        assert_true(fabs(first.deviation - sqrt(squares / (double)finite)) < 1e-9);
        assert_true(fabs(first.norm / sqrt(norm) - 1) < 1e-12);
        for (int threads = 1; threads < 4; threads++) {
            ct_context_set_threads(context, threads);
            assert_int_equal(ct_archive_statistics(archive, tensor, (size_t)threads << 22, &again), CT_OK);
            assert_memory_equal(&first, &again, sizeof first);
        }
    }
    ct_archive_close(archive);
    ct_folder_remove(context, folder);
    ct_free(context, path);
    free(values);
    free(wide);
    end_context(context);
}

/* Integers beyond what f32 holds, booleans, nothing at all, and a type that is not decoded. */
static void knows_other_types(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char path[512];
    ct_archive *archive = ct_archive_open(context, golden("types.pt", path));
    ct_tensor_statistics s;
    assert_int_equal(ct_archive_statistics(archive, ct_archive_need(archive, "i64"), 0, &s), CT_OK);
    assert_true(s.max == 4611686018427387904.0 && s.min == -1);
    assert_int_equal(ct_archive_statistics(archive, ct_archive_need(archive, "u64"), 0, &s), CT_OK);
    assert_true(s.max == 9223372036854775808.0 && s.deviation == 0);
    assert_int_equal(ct_archive_statistics(archive, ct_archive_need(archive, "bool"), 0, &s), CT_OK);
    assert_true(s.zeros == 1 && s.max == 1 && fabs(s.mean - 2.0 / 3) < 1e-15);
    assert_int_equal(ct_archive_statistics(archive, ct_archive_need(archive, "empty"), 0, &s), CT_OK);
    assert_true(s.count == 0 && isnan(s.min) && isnan(s.mean) && isnan(s.norm));
    assert_int_equal(ct_archive_statistics(archive, ct_archive_need(archive, "special"), 0, &s), CT_OK);
    assert_true(s.nans == 1 && s.infinities == 1 && s.zeros == 1 && s.min == 0 && s.max == 0);
    assert_int_equal(ct_archive_statistics(archive, ct_archive_need(archive, "e4m3"), 0, &s), CT_OK);
    assert_true(s.min == -2 && s.max == 1.5);
    assert_int_equal(ct_archive_statistics(archive, ct_archive_need(archive, "c64"), 0, &s),
                     CT_ERROR_UNSUPPORTED);
    ASSERT_ERROR(context, CT_ERROR_UNSUPPORTED, "\"c64\" is of type C64");
    ct_archive_close(archive);
    end_context(context);
}

static void copy_into(ct_context *context, const char *from, const char *folder, const char *name) {
    char source[512], *to = ct_path_join(context, folder, name);
    assert_int_equal(ct_file_copy(context, golden(from, source), to), CT_OK);
    ct_free(context, to);
}

static int64_t number(const ct_value *report, const char *path) {
    return ct_value_as_int(ct_value_get_path(report, path), -1);
}
static const char *text(const ct_value *report, const char *path) {
    return ct_value_as_string(ct_value_get_path(report, path), "");
}

static void reports_folders(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    copy_into(context, "gpt2/config.json", folder, "config.json");
    copy_into(context, "gpt2_bin/pytorch_model.bin", folder, "pytorch_model.bin");
    static const char tokenizer[] = "{\"added_tokens\": [{\"id\": 3, \"content\": \"<s>\"}, {\"id\": 1, "
                                    "\"content\": \"b\"}], \"normalizer\": null,"
                                    "\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": "
                                    "\"BPE\", \"vocab\": {\"a\": 0, \"b\": 1,"
                                    "\"ab\": 2}, \"merges\": [\"a b\"]}}";
    write_text(context, folder, "tokenizer.json", tokenizer, sizeof tokenizer - 1);
    static const char config[] =
        "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": \"</s>\", \"chat_template\": \"x\"}";
    write_text(context, folder, "tokenizer_config.json", config, sizeof config - 1);
    ct_value *report = ct_inspect(context, folder, &(ct_inspect_options){.filter = "h.1.*ln*"});
    assert_null(report); /* a pattern is of the whole name */
    ASSERT_ERROR(context, CT_ERROR_NOT_FOUND, "none of 31 tensors matches");
    report = ct_inspect(context, folder, &(ct_inspect_options){.filter = "*h.1.*ln*", .statistics = true});
    if (!report) fail_msg("%s", ct_context_message(context));
    assert_string_equal(text(report, "format"), "pytorch");
    assert_int_equal(number(report, "model.layers"), 2);
    assert_int_equal(number(report, "model.vocabulary"), 24);
    assert_int_equal(number(report, "model.parameters"), 2080); /* the tied head once, no masks */
    assert_int_equal(number(report, "model.embedding"), 24 * 8 + 16 * 8);
    assert_int_equal(number(report, "model.head"), 0);
    assert_int_equal(number(report, "tensors"), 31);
    assert_int_equal(number(report, "shown"), 4);
    assert_int_equal(ct_value_count(ct_value_get(report, "list")), 4);
    assert_int_equal(number(ct_value_at(ct_value_get(report, "list"), 0), "statistics.zeros"), 0);
    assert_string_equal(text(report, "tokenizer.model"), "BPE");
    assert_int_equal(number(report, "tokenizer.tokens"), 4);
    assert_int_equal(number(report, "tokenizer.merges"), 1);
    assert_string_equal(text(report, "tokenizer.special.bos_token"), "<s>");
    assert_true(ct_value_as_bool(ct_value_get_path(report, "tokenizer.chat_template"), false));
    ct_value_free(report);
    copy_into(context, "gpt2/model.safetensors", folder, "model.safetensors"); /* goes before the other */
    report = ct_inspect(context, folder, NULL);
    assert_string_equal(text(report, "format"), "safetensors");
    assert_int_equal(ct_value_count(ct_value_get(report, "weights")), 2);
    ct_value_free(report);
    ct_folder_remove(context, folder);
    end_context(context);
}

static void reports_adapters_and_several_files(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    static const char adapter[] =
        "{\"peft_type\": \"LORA\", \"r\": 8, \"lora_alpha\": 16, \"target_modules\": [\"q_proj\"],"
        "\"base_model_name_or_path\": \"org/base\"}";
    write_text(context, folder, "adapter_config.json", adapter, sizeof adapter - 1);
    copy_into(context, "state.bin", folder, "adapter_model.bin");
    ct_value *report = ct_inspect(context, folder, NULL);
    if (!report) fail_msg("%s", ct_context_message(context));
    assert_string_equal(text(report, "adapter.type"), "LORA");
    assert_int_equal(number(report, "adapter.rank"), 8);
    assert_int_equal(number(report, "adapter.alpha"), 16);
    assert_string_equal(text(report, "adapter.base_model"), "org/base");
    assert_int_equal(number(report, "tensors"), 2);
    ct_value_free(report);
    ct_folder_remove(context, folder);
    make_folder(folder);
    copy_into(context, "state.bin", folder, "a.pt");
    copy_into(context, "lone.pt", folder, "b.pt");
    report = ct_inspect(context, folder, NULL); /* which one is meant cannot be told */
    if (!report) fail_msg("%s", ct_context_message(context));
    assert_int_equal(ct_value_count(ct_value_get(report, "weights")), 2);
    assert_null(ct_value_get(report, "list"));
    ct_value_free(report);
    ct_folder_remove(context, folder);
    make_folder(folder);
    assert_null(ct_inspect(context, folder, NULL));
    ASSERT_ERROR(context, CT_ERROR_NOT_FOUND, folder);
    ct_folder_remove(context, folder);
    end_context(context);
}

/* All shards that are missing are named, not only the first. */
static void names_missing_shards(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    static const char index[] =
        "{\"weight_map\": {\"a\": \"one.safetensors\", \"b\": \"two.safetensors\", \"c\": "
        "\"one.safetensors\", \"d\": \"three.safetensors\"}}";
    write_text(context, folder, "model.safetensors.index.json", index, sizeof index - 1);
    copy_into(context, "gpt2/model.safetensors", folder, "two.safetensors");
    assert_null(ct_inspect(context, folder, NULL));
    ASSERT_ERROR(context, CT_ERROR_NOT_FOUND,
                 "2 of 3 shards are missing: one.safetensors, three.safetensors");
    ct_folder_remove(context, folder);
    end_context(context);
}

static void inspect(ct_context *context, void *user) {
    char path[512];
    ct_value_free(ct_inspect(context, golden(user, path), &(ct_inspect_options){.statistics = true}));
}

static void survives_failures(void **state) {
    (void)state;
    static const char *const names[] = {"gpt2", "checkpoint.pth", "arrays.npz"};
    for (int i = 0; i < 3; i++) {
        sweep_memory(inspect, (void *)(uintptr_t)names[i], 5000);
        sweep_files(inspect, (void *)(uintptr_t)names[i], 'e', 1000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_plain_sums),   cmocka_unit_test(knows_other_types),
        cmocka_unit_test(reports_folders),      cmocka_unit_test(reports_adapters_and_several_files),
        cmocka_unit_test(names_missing_shards), cmocka_unit_test(survives_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
