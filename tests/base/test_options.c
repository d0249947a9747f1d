/* test_options.c - option tables: defaults, every check and its message, back to a map, help; sizes and
 * names. */
#include "check.h"
#include "base/text.h"
#include "carat/dtype.h"
#include <locale.h>
#include <math.h>

typedef struct inner_options {
    double beta1;
    int64_t steps;
} inner_options;
typedef struct options {
    bool packing;
    int64_t max_steps;
    double learning_rate, weight_decay;
    const char *output;
    int schedule;
    int64_t memory;
    const ct_value *datasets;
    inner_options optimizer;
} options;

static const char *const schedules[] = {"linear", "cosine", "constant", "4", "none", NULL};
static const ct_option inner_table[] = {
    CT_OPTION_REAL("beta1", inner_options, beta1, 0.9, 0, 1, "decay of the first moment"),
    CT_OPTION_INT("steps", inner_options, steps, 3, 1, INT64_MAX, "inner steps"), CT_OPTION_END};
static const ct_option table[] = {
    CT_OPTION_BOOL("packing", options, packing, true, "several texts in a row"),
    CT_OPTION_INT("max_steps", options, max_steps, -1, -1, 1e9, "steps to run"),
    {CT_TYPE_REAL, "learning_rate", offsetof(options, learning_rate), 5e-5, 0, 1e6, NULL, NULL, NULL,
     "step size", "lr"},
    CT_OPTION_REAL("weight_decay", options, weight_decay, 0, -INFINITY, INFINITY, "decoupled decay"),
    CT_OPTION_STRING("output", options, output, "out", "folder to write"),
    CT_OPTION_CHOICE("lr_scheduler_type", options, schedule, "cosine", schedules, "shape of the schedule"),
    CT_OPTION_BYTES("memory", options, memory, 2147483648, 0, 1e15, "budget"),
    CT_OPTION_VALUE("datasets", options, datasets, "what to read"),
    CT_OPTION_GROUP("optimizer", options, optimizer, inner_table, "the optimizer"),
    CT_OPTION_END};

static ct_status apply_one(ct_context *context, options *target, const char *path, ct_value *value) {
    ct_value *map = ct_value_map(context);
    ct_value_set_path(map, path, value);
    ct_options_default(table, target);
    ct_status status = ct_options_apply(context, table, target, map, "", NULL);
    ct_value_free(map);
    return status;
}

static void defaults(void **state) {
    (void)state;
    options target;
    memset(&target, 0xff, sizeof target);
    ct_options_default(table, &target);
    assert_true(target.packing);
    assert_int_equal(target.max_steps, -1);
    assert_true(target.learning_rate == 5e-5);
    assert_string_equal(target.output, "out");
    assert_int_equal(target.schedule, 1);
    assert_true(target.memory == 2147483648);
    assert_null(target.datasets);
    assert_true(target.optimizer.beta1 == 0.9);
    assert_int_equal(target.optimizer.steps, 3);
}

static void values_arrive(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    options target;
    assert_int_equal(apply_one(context, &target, "packing", ct_value_bool(context, false)), CT_OK);
    assert_false(target.packing);
    assert_int_equal(apply_one(context, &target, "max_steps", ct_value_real(context, 1e3)), CT_OK);
    assert_int_equal(target.max_steps, 1000);
    assert_int_equal(apply_one(context, &target, "learning_rate", ct_value_int(context, 2)), CT_OK);
    assert_true(target.learning_rate == 2);
    assert_int_equal(apply_one(context, &target, "lr", ct_value_real(context, 0.5)), CT_OK); /* the alias */
    assert_true(target.learning_rate == 0.5);
    assert_int_equal(apply_one(context, &target, "output", ct_value_null(context)), CT_OK);
    assert_string_equal(target.output, "out"); /* as if it were not given */
    assert_int_equal(apply_one(context, &target, "lr_scheduler_type", ct_value_string(context, "constant")),
                     CT_OK);
    assert_int_equal(target.schedule, 2);
    assert_int_equal(apply_one(context, &target, "lr_scheduler_type", ct_value_int(context, 4)), CT_OK);
    assert_int_equal(target.schedule, 3);
    assert_int_equal(apply_one(context, &target, "lr_scheduler_type", ct_value_null(context)), CT_OK);
    assert_int_equal(target.schedule, 4);
    assert_int_equal(apply_one(context, &target, "memory", ct_value_string(context, "1.5GiB")), CT_OK);
    assert_true(target.memory == 1610612736);
    assert_int_equal(apply_one(context, &target, "memory", ct_value_int(context, 5)), CT_OK);
    assert_true(target.memory == 5);
    assert_int_equal(apply_one(context, &target, "optimizer.beta1", ct_value_real(context, 0.5)), CT_OK);
    assert_true(target.optimizer.beta1 == 0.5);
    assert_int_equal(target.optimizer.steps, 3); /* its neighbour keeps the default */
    assert_int_equal(apply_one(context, &target, "optimizer", ct_value_null(context)), CT_OK);
    assert_int_equal(ct_options_apply(context, table, &target, NULL, "", NULL), CT_OK);
    end_context(context);
}

/* A text that is null counts as not given. */
static void null_texts(void **state) {
    (void)state;
    static const struct {
        const char *preset, *expected;
    } cases[] = {{"out", "out"}, {NULL, NULL}};
    ct_context *context = start_context(1);
    ct_value *map = ct_value_map(context);
    ct_value_set(map, "file", ct_value_null(context));
    for (int i = 0; i < 2; i++) {
        const char *file = "kept";
        const ct_option one[] = {{.type = CT_TYPE_STRING, .name = "file", .text_default = cases[i].preset},
                                 CT_OPTION_END};
        assert_int_equal(ct_options_apply(context, one, &file, map, "", NULL), CT_OK);
        assert_true(cases[i].expected ? file && strcmp(file, cases[i].expected) == 0 : !file);
    }
    ct_value_free(map);
    end_context(context);
}

static void wrong_values_are_refused(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    options target;
#define REFUSED(path, value, message)                                                                        \
    apply_one(context, &target, path, value);                                                                \
    assert_fails(context, CT_ERROR_ARGUMENT, message)
    REFUSED("max_steps", ct_value_string(context, "ten"),
            "max_steps: expected an integer, found the string \"ten\"");
    REFUSED("max_steps", ct_value_real(context, 1.5), "max_steps: expected an integer, found the number 1.5");
    REFUSED("max_steps", ct_value_real(context, 1e300),
            "max_steps: expected an integer, found the number 1e+300");
    REFUSED("max_steps", ct_value_real(context, NAN), "max_steps: expected an integer, found the number nan");
    REFUSED("max_steps", ct_value_int(context, -2),
            "max_steps: -2 is out of range, expected an integer from -1 to 1e9");
    REFUSED("learning_rate", ct_value_int(context, -1),
            "learning_rate: -1 is out of range, expected a number from 0 to 1e6");
    REFUSED("weight_decay", ct_value_real(context, NAN),
            "weight_decay: nan is out of range, expected a number");
    REFUSED("learning_rate", ct_value_null(context), "learning_rate: expected a number, found null");
    REFUSED("packing", ct_value_int(context, 1), "packing: expected true or false, found the integer 1");
    REFUSED("output", ct_value_int(context, 12), "output: expected a string, found the integer 12");
    REFUSED("output", ct_value_string_n(context, "a\0b", 3), "output: the string contains a NUL character");
    REFUSED("lr_scheduler_type", ct_value_string(context, "cosin"),
            "lr_scheduler_type: \"cosin\" is not a choice, expected one of linear, cosine, constant, 4, "
            "none; did "
            "you mean \"cosine\"?");
    REFUSED("lr_scheduler_type", ct_value_list(context),
            "lr_scheduler_type: expected one of linear, cosine, constant, 4, none, found a list");
    REFUSED("memory", ct_value_string(context, "much"),
            "memory: expected a size such as 600M or 1.5GiB, found the string \"much\"");
    REFUSED("memory", ct_value_int(context, -1),
            "memory: -1 is out of range, expected a size from 0 to 909.49 TiB");
    REFUSED("datasets", ct_value_int(context, 1), "datasets: expected a list or a map, found the integer 1");
    REFUSED("optimizer", ct_value_int(context, 1),
            "optimizer: expected a map of options, found the integer 1");
    REFUSED("optimizer.steps", ct_value_int(context, 0),
            "optimizer.steps: 0 is out of range, expected an integer of at least 1");
    REFUSED("learning_rat", ct_value_int(context, 0),
            "unknown option \"learning_rat\"; did you mean \"learning_rate\"?");
    REFUSED("optimizer.beta", ct_value_int(context, 0),
            "unknown option \"optimizer.beta\"; did you mean \"optimizer.beta1\"?");
    REFUSED("beta1", ct_value_int(context, 0), "unknown option \"beta1\"; did you mean \"optimizer.beta1\"?");
    REFUSED("something_else", ct_value_int(context, 0), "unknown option \"something_else\"");
    end_context(context);
}

static void messages_tell_the_origin(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    options target;
    ct_options_default(table, &target);
    ct_value *map = ct_value_map(context), *value = ct_value_int(context, 3);
    ct_value_set(map, "learning_rat", value);
    ct_value_set_origin(value, "recipe.yaml", 7);
    assert_int_equal(ct_options_apply(context, table, &target, map, "", NULL), CT_ERROR_ARGUMENT);
    assert_fails(context, CT_ERROR_ARGUMENT,
                 "recipe.yaml:7: unknown option \"learning_rat\"; did you mean \"learning_rate\"?");
    ct_options_apply(context, inner_table, &target.optimizer, map, "stages.2", NULL);
    assert_fails(context, CT_ERROR_ARGUMENT, "recipe.yaml:7: unknown option \"stages.2.learning_rat\"");
    const char *const skip[] = {"other", "learning_rat", NULL};
    assert_int_equal(ct_options_apply(context, table, &target, map, "", skip), CT_OK);
    ct_value_set(map, "learning_rate", ct_value_int(context, 1));
    ct_value *twice = ct_value_int(context, 2);
    ct_value_set(map, "lr", twice);
    ct_value_set_origin(twice, "recipe.yaml", 9);
    ct_options_apply(context, table, &target, map, "", skip);
    assert_fails(context, CT_ERROR_ARGUMENT, "recipe.yaml:9: lr: given twice, also as \"learning_rate\"");
    ct_value_free(map);
    end_context(context);
}

static void back_to_a_map(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    options target, again;
    ct_options_default(table, &target);
    ct_value *datasets = ct_value_parse_scalar(context, "[a,b]");
    target.datasets = datasets;
    target.learning_rate = 0.125;
    target.schedule = 0;
    target.optimizer.steps = 8;
    ct_value *map = ct_options_to_value(context, table, &target);
    assert_int_equal(ct_value_count(map), 9);
    assert_string_equal(ct_value_as_string(ct_value_get(map, "lr_scheduler_type"), ""), "linear");
    assert_int_equal(ct_value_as_int(ct_value_get_path(map, "optimizer.steps"), 0), 8);
    assert_true(ct_value_equal(ct_value_get(map, "datasets"), datasets));
    ct_options_default(table, &again);
    assert_int_equal(ct_options_apply(context, table, &again, map, "", NULL), CT_OK);
    assert_true(again.learning_rate == 0.125 && again.schedule == 0 && again.optimizer.steps == 8);
    assert_string_equal(again.output, "out");
    ct_value_free(map);
    for (int n = 1;; n++) {
        ct_memory_fail_at(context, n);
        map = ct_options_to_value(context, table, &target);
        if (map) break;
        assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
    }
    ct_memory_fail_at(context, 0);
    ct_value_free(map);
    ct_value_free(datasets);
    end_context(context);
}

static void finding(void **state) {
    (void)state;
    assert_ptr_equal(ct_options_find(table, "packing"), &table[0]);
    assert_ptr_equal(ct_options_find(table, "lr"), &table[2]);
    assert_ptr_equal(ct_options_find(table, "optimizer.steps"), &inner_table[1]);
    assert_ptr_equal(ct_options_find(table, "optimizer"), &table[8]);
    assert_null(ct_options_find(table, "packing.x"));
    assert_null(ct_options_find(table, "optimizer.lr"));
    assert_null(ct_options_find(table, "pack"));
}

static void help(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char *text = ct_options_help(context, table, "");
    assert_string_equal(
        text, "  --packing true|false                several texts in a row (default true)\n"
              "  --max_steps INTEGER                 steps to run (default -1; range -1..1e9)\n"
              "  --learning_rate NUMBER              step size (default 5e-5; range 0..1e6; also --lr)\n"
              "  --weight_decay NUMBER               decoupled decay (default 0)\n"
              "  --output TEXT                       folder to write (default \"out\")\n"
              "  --lr_scheduler_type linear|cosine|constant|4|none  shape of the schedule (default cosine)\n"
              "  --memory SIZE                       budget (default 2.00 GiB; range 0..909.49 TiB)\n"
              "  --datasets VALUE                    what to read\n"
              "  --optimizer.beta1 NUMBER            decay of the first moment (default 0.9; range 0..1)\n"
              "  --optimizer.steps INTEGER           inner steps (default 3; range 1..)\n");
    ct_free(context, text);
    text = ct_options_help(context, inner_table, "stage");
    assert_memory_equal(text, "  --stage.beta1 NUMBER ", 22);
    ct_free(context, text);
    ct_memory_fail_at(context, 1);
    assert_null(ct_options_help(context, table, ""));
    ct_context_clear(context);
    end_context(context);
}

static void nearest_names(void **state) {
    (void)state;
    const char *const names[] = {"learning_rate", "dropout", "adamw", "adam", "sgd", "lora_alpha"};
    assert_string_equal(ct_nearest_name("learning_rat", names, 6), "learning_rate");
    assert_string_equal(ct_nearest_name("Learning-Rate", names, 6), "learning_rate");
    assert_string_equal(ct_nearest_name("leanring_rate", names, 6), "learning_rate"); /* swapped letters */
    assert_string_equal(ct_nearest_name("adamW", names, 6), "adamw");
    assert_string_equal(ct_nearest_name("drpout", names, 6), "dropout");
    assert_string_equal(ct_nearest_name("sdg", names, 6), "sgd");
    assert_null(ct_nearest_name("momentum", names, 6));
    assert_null(ct_nearest_name("", names, 6));
    assert_null(ct_nearest_name("x", names, 0));
    char longer[200];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_null(ct_nearest_name(longer, names, 6));
}

static void sizes(void **state) {
    (void)state;
    const struct {
        const char *text;
        int64_t bytes;
    } good[] = {{"0", 0},
                {"600M", 629145600},
                {"2G", 2147483648},
                {"1.5GiB", 1610612736},
                {"1.5 GB", 1610612736},
                {"12", 12},
                {"12B", 12},
                {"3k", 3072},
                {"1T", 1099511627776},
                {"2Ki", 2048},
                {"9007199254740993", 9007199254740993},
                {"0.5K", 512}};
    int64_t bytes;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!ct_parse_bytes(good[i].text, &bytes)) fail_msg("%s", good[i].text);
        assert_true(bytes == good[i].bytes);
    }
    const char *const bad[] = {"",    "M",   "-1",       "1X", "1.2.3", "1 M B",
                               "1MM", "1iB", "9999999P", " 1", "1e3",   "."};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ct_parse_bytes(bad[i], &bytes)) fail_msg("%s", bad[i]);
    char buffer[32];
    assert_string_equal(ct_format_bytes(0, buffer, sizeof buffer), "0 B");
    assert_string_equal(ct_format_bytes(1023, buffer, sizeof buffer), "1023 B");
    assert_string_equal(ct_format_bytes(1024, buffer, sizeof buffer), "1.00 KiB");
    assert_string_equal(ct_format_bytes(1610612736, buffer, sizeof buffer), "1.50 GiB");
    assert_string_equal(ct_format_bytes(1048575, buffer, sizeof buffer), "1.00 MiB"); /* not 1024.00 KiB */
    assert_string_equal(ct_format_bytes(UINT64_MAX, buffer, sizeof buffer), "16.00 EiB");
}

static void reals_as_text(void **state) {
    (void)state;
    char buffer[CT_TEXT_REAL_SIZE];
    setlocale(LC_ALL, "de_DE.UTF-8"); /* where it is installed: a decimal comma must not matter */
    assert_string_equal(ct_text_from_real(0.1, buffer), "0.1");
    assert_string_equal(ct_text_from_real(1.0 / 3, buffer), "0.3333333333333333");
    assert_string_equal(ct_text_from_real(0.1 + 0.2, buffer), "0.30000000000000004");
    assert_string_equal(ct_text_from_real(-INFINITY, buffer), "-inf");
    double value;
    for (uint64_t i = 0; i < 10000; i++) {
        uint32_t words[4];
        ct_random_block(1, 1, i, words);
        double original;
        memcpy(&original, words, 8);
        if (!isfinite(original)) continue;
        assert_true(ct_text_to_real(ct_text_from_real(original, buffer), &value));
        assert_true(value == original);
    }
    assert_false(ct_text_to_real("1,5", &value));
    assert_false(ct_text_to_real("", &value));
    assert_false(ct_text_to_real("nan", &value));
    assert_false(ct_text_to_real("1.5x", &value));
    setlocale(LC_ALL, "C");
    assert_string_equal(ct_dtype_name(CT_BF16), "bf16");
    assert_string_equal(ct_dtype_name(CT_U8), "u8");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(values_arrive),
        cmocka_unit_test(null_texts),
        cmocka_unit_test(wrong_values_are_refused),
        cmocka_unit_test(messages_tell_the_origin),
        cmocka_unit_test(back_to_a_map),
        cmocka_unit_test(finding),
        cmocka_unit_test(help),
        cmocka_unit_test(nearest_names),
        cmocka_unit_test(sizes),
        cmocka_unit_test(reals_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
