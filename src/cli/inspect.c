/* inspect.c - carat inspect: what a file or folder of weights holds, as text or JSON. */
#include "cli/report.h"
#include <math.h>
#include <string.h>

typedef struct inspect_flags {
    bool stats;
    const char *filter;
    int64_t memory;
} inspect_flags;

static const ct_option flags_table[] = {
    CT_OPTION_BOOL("stats", inspect_flags, stats, false,
                   "read the values: least, greatest, mean, deviation, norm, zeros, NaN and infinite values "
                   "of each tensor"),
    CT_OPTION_STRING("filter", inspect_flags, filter, NULL,
                     "tensors to list: a part of the name, or a pattern with * and ?"),
    CT_OPTION_BYTES("memory", inspect_flags, memory, (int64_t)256 << 20, 16 << 20, 9e15,
                    "the most memory to use"),
    CT_OPTION_END};

enum { NAME_WIDTH = 48, VALUE_WIDTH = 100 };

static const char *text_of(const ct_value *map, const char *key) {
    return ct_value_as_string(ct_value_get(map, key), "");
}
static int64_t int_of(const ct_value *map, const char *key) {
    return ct_value_as_int(ct_value_get(map, key), 0);
}

/* All texts of the report, which is ours, become harmless to a terminal. */
static void make_plain(ct_value *value) {
    if (ct_value_kind_of(value) == CT_VALUE_STRING)
        ct_cli_plain((char *)(uintptr_t)ct_value_as_string(value, ""));
    for (size_t i = 0; i < ct_value_count(value); i++) {
        if (ct_value_kind_of(value) == CT_VALUE_MAP) ct_cli_plain((char *)(uintptr_t)ct_value_key(value, i));
        make_plain(ct_value_at(value, i));
    }
}

/* 124,439,808 */
static const char *grouped(int64_t value, char text[32]) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)value), used = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0 && digits[i - 1] != '-') text[used++] = ',';
        text[used++] = digits[i];
    }
    text[used] = '\0';
    return text;
}

/* A value on one line; long ones are cut, with the number of bytes that they have. */
static void print_value(ct_context *context, const ct_value *value) {
    size_t length = 0;
    char *text = NULL;
    const ct_value *count = ct_value_get(value, "count"), *first = ct_value_get(value, "first");
    if (count && first) { /* a list that was cut */
        text = ct_json_text(context, first, CT_JSON_COMPACT, &length);
        if (text && length) text[--length] = '\0';
    } else if (ct_value_kind_of(value) == CT_VALUE_STRING && ct_value_string_length(value) <= VALUE_WIDTH &&
               !strchr(ct_value_as_string(value, ""), '\n')) {
        printf("%s\n", ct_value_as_string(value, ""));
        return;
    } else {
        text = ct_json_text(context, value, CT_JSON_COMPACT, &length);
    }
    if (!text) return;
    size_t shown = length;
    if (shown > VALUE_WIDTH) {
        shown = VALUE_WIDTH;
        while (shown > 0 && ((unsigned char)text[shown] & 0xc0) == 0x80)
            shown--; /* between characters */
    }
    printf("%.*s", (int)shown, text);
    if (count && first)
        printf(", ... %lld in all]", (long long)ct_value_as_int(count, 0));
    else if (shown < length)
        printf("... (%zu bytes)", length);
    putchar('\n');
    ct_free(context, text);
}

static void print_facts(const ct_value *model) {
    static const char *const names[][2] = {{"layers", "layers"},
                                           {"heads", "heads"},
                                           {"key_value_heads", "key/value heads"},
                                           {"head_width", "head width"},
                                           {"width", "width"},
                                           {"intermediate_width", "intermediate width"},
                                           {"context", "context"},
                                           {"sliding_window", "sliding window"},
                                           {"vocabulary", "vocabulary"}};
    bool any = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!ct_value_get(model, names[i][0])) continue;
        printf("%s%s %lld", any ? ", " : "shape         ", names[i][1],
               (long long)int_of(model, names[i][0]));
        any = true;
    }
    if (any) putchar('\n');
}

static void print_model(const ct_value *model) {
    char a[32], b[32], c[32], d[32];
    printf("architecture  %s", *text_of(model, "architecture") ? text_of(model, "architecture") : "unknown");
    if (*text_of(model, "class")) printf(" (%s)", text_of(model, "class"));
    if (*text_of(model, "name")) printf(" (%s)", text_of(model, "name"));
    if (*text_of(model, "quantization")) printf(", quantized by %s", text_of(model, "quantization"));
    putchar('\n');
    print_facts(model);
    printf("parameters    %s: embedding %s, head %s, others %s\n", grouped(int_of(model, "parameters"), a),
           grouped(int_of(model, "embedding"), b), grouped(int_of(model, "head"), c),
           grouped(int_of(model, "non_embedding"), d));
}

static void print_adapter(ct_context *context, const ct_value *adapter) {
    printf("adapter       %s", *text_of(adapter, "type") ? text_of(adapter, "type") : "of unknown type");
    static const char *const numbers[] = {"rank", "alpha", "dropout"};
    for (int i = 0; i < 3; i++)
        if (ct_value_get(adapter, numbers[i]))
            printf(", %s %g", numbers[i], ct_value_as_real(ct_value_get(adapter, numbers[i]), NAN));
    if (*text_of(adapter, "base_model")) printf(", of %s", text_of(adapter, "base_model"));
    printf("\ntargets       ");
    print_value(context, ct_value_get(adapter, "target_modules"));
}

static void print_tokenizer(const ct_value *tokenizer) {
    char text[32];
    printf("tokenizer     %s",
           *text_of(tokenizer, "model") ? text_of(tokenizer, "model") : text_of(tokenizer, "class"));
    if (ct_value_get(tokenizer, "tokens")) printf(", %s tokens", grouped(int_of(tokenizer, "tokens"), text));
    if (ct_value_get(tokenizer, "merges")) printf(", %s merges", grouped(int_of(tokenizer, "merges"), text));
    if (int_of(tokenizer, "added")) printf(", %s added", grouped(int_of(tokenizer, "added"), text));
    if (ct_value_as_bool(ct_value_get(tokenizer, "chat_template"), false)) printf(", chat template");
    putchar('\n');
    const ct_value *special = ct_value_get(tokenizer, "special");
    for (size_t i = 0; i < ct_value_count(special); i++)
        printf("%s%s %s%s", i ? ", " : "special       ", ct_value_key(special, i),
               ct_value_as_string(ct_value_at(special, i), ""), i + 1 == ct_value_count(special) ? "\n" : "");
}

/* Files of weights; of several formats only one is read. */
static void print_files(const ct_value *report) {
    char text[32];
    const ct_value *files = ct_value_get(report, "files"), *weights = ct_value_get(report, "weights");
    for (size_t i = 0; i < ct_value_count(files); i++) {
        const ct_value *file = ct_value_at(files, i);
        printf("%-13s %s, %s\n", text_of(report, "format"), text_of(file, "path"),
               ct_format_bytes((uint64_t)int_of(file, "bytes"), text, sizeof text));
    }
    for (size_t i = 0; i < ct_value_count(weights); i++) {
        const ct_value *file = ct_value_at(weights, i);
        const char *name = text_of(file, "file"), *slash;
        bool read = strstr(name, ".index.json") != NULL;
        for (size_t k = 0; k < ct_value_count(files) && !read; k++) {
            slash = strrchr(text_of(ct_value_at(files, k), "path"), '/');
            read = strcmp(slash ? slash + 1 : text_of(ct_value_at(files, k), "path"), name) == 0;
        }
        if (!read)
            printf("also there    %s, %s\n", name,
                   ct_format_bytes((uint64_t)int_of(file, "bytes"), text, sizeof text));
    }
}

static void print_statistics(const ct_value *s) {
    char zeros[32];
    if (ct_value_kind_of(s) != CT_VALUE_MAP) {
        printf("  (this type is not decoded)");
        return;
    }
    if (!isfinite(ct_value_as_real(ct_value_get(s, "min"), NAN)) && !int_of(s, "nan") && !int_of(s, "inf")) {
        printf("  (no values)");
        return;
    }
    printf("  min %.5g  max %.5g  mean %.5g  std %.5g  norm %.6g  zeros %s",
           ct_value_as_real(ct_value_get(s, "min"), NAN), ct_value_as_real(ct_value_get(s, "max"), NAN),
           ct_value_as_real(ct_value_get(s, "mean"), NAN), ct_value_as_real(ct_value_get(s, "std"), NAN),
           ct_value_as_real(ct_value_get(s, "norm"), NAN), grouped(int_of(s, "zeros"), zeros));
    if (int_of(s, "nan")) printf("  NaN %lld", (long long)int_of(s, "nan"));
    if (int_of(s, "inf")) printf("  infinite %lld", (long long)int_of(s, "inf"));
}

static void print_tensors(const ct_value *list) {
    for (size_t i = 0; i < ct_value_count(list); i++) {
        const ct_value *tensor = ct_value_at(list, i), *shape = ct_value_get(tensor, "shape");
        printf("%-*s %-5s [", NAME_WIDTH, text_of(tensor, "name"), text_of(tensor, "dtype"));
        for (size_t k = 0; k < ct_value_count(shape); k++)
            printf("%s%lld", k ? ", " : "", (long long)ct_value_as_int(ct_value_at(shape, k), 0));
        putchar(']');
        if (ct_value_get(tensor, "alias")) printf("  is %s", text_of(tensor, "alias"));
        if (ct_value_get(tensor, "statistics")) print_statistics(ct_value_get(tensor, "statistics"));
        putchar('\n');
    }
}

static void print_text(ct_context *context, const ct_value *report) {
    char text[32], count[32];
    const ct_value *metadata = ct_value_get(report, "metadata"), *model = ct_value_get(report, "model");
    if (model) print_model(model);
    if (ct_value_get(report, "adapter")) print_adapter(context, ct_value_get(report, "adapter"));
    if (ct_value_get(report, "tokenizer")) print_tokenizer(ct_value_get(report, "tokenizer"));
    print_files(report);
    for (size_t i = 0; i < ct_value_count(metadata); i++) {
        printf("metadata      %s: ", ct_value_key(metadata, i));
        print_value(context, ct_value_at(metadata, i));
    }
    print_tensors(ct_value_get(report, "list"));
    if (!ct_value_get(report, "list")) {
        printf("several files of weights: name the one to inspect\n");
        return;
    }
    if (int_of(report, "shown") < int_of(report, "tensors"))
        printf("%lld of ", (long long)int_of(report, "shown"));
    printf("%lld tensors, %s elements, %s\n", (long long)int_of(report, "tensors"),
           grouped(int_of(report, "elements"), count),
           ct_format_bytes((uint64_t)int_of(report, "bytes"), text, sizeof text));
}

static int run(ct_cli *cli) {
    ct_context *context = cli->context;
    inspect_flags flags;
    if (ct_cli_options(cli, flags_table, &flags) != CT_OK) return ct_cli_finish(cli);
    ct_memory_set_budget(context, (size_t)flags.memory);
    const ct_inspect_options options = {flags.stats, flags.filter, flags.memory};
    ct_value *report = ct_inspect(context, cli->positional[0], &options);
    if (report && cli->json) {
        ct_cli_print_json(cli, report);
    } else if (report) {
        make_plain(report);
        print_text(context, report);
        ct_value_free(report);
    }
    return ct_cli_finish(cli);
}

static const char *const examples[] = {"carat inspect out/tiny",
                                       "carat inspect out/tiny/model.safetensors --json",
                                       "carat inspect out/tiny --stats --filter \"*.attn.*\"", NULL};

const ct_verb ct_verb_inspect = {
    .name = "inspect",
    .arguments = "FILE | FOLDER",
    .summary = "Show what a file or folder of weights holds: tensors, metadata, architecture, statistics",
    .details = "Reads safetensors, GGUF, PyTorch's zip files (.pt, .bin, .pth; without running their "
               "pickles), npz and "
               "npy, model folders with their shards, and PEFT adapters. Only headers are read, unless "
               "--stats asks for "
               "the values, which stream through --memory.",
    .tables = {flags_table},
    .least = 1,
    .most = 1,
    .examples = examples,
    .run = run};
