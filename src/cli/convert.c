/* convert.c - carat convert: weights in another file format, or a model in another form that computes the
 * same. */
#include "cli/report.h"
#include <math.h>
#include <string.h>

typedef struct convert_flags {
    int to, dtype;
    int64_t max_shard_size, memory;
    bool fold, untie;
    const char *verify, *tokenizer, *field;
} convert_flags;

static const char *const targets[] = {"auto", "safetensors", "gguf", "npz", "rmsnorm", "crmsnorm", NULL};
enum { TO_AUTO, TO_SAFETENSORS, TO_GGUF, TO_NPZ, TO_RMSNORM, TO_CRMSNORM };
static const char *const dtypes[] = {"keep", "f32", "f16", "bf16", "f64", "q8_0", "q4_0", NULL};

static const ct_option flags_table[] = {
    CT_OPTION_CHOICE("to", convert_flags, to, "auto", targets,
                     "file format (auto: as OUT's name ends, else a safetensors folder); or the norm: "
                     "LayerNorm of a pre-norm model "
                     "becomes RMSNorm, or CRMSNorm on one channel less"),
    CT_OPTION_CHOICE("dtype", convert_flags, dtype, "keep", dtypes,
                     "type of the weights; q8_0 and q4_0 for GGUF, whose vectors stay f32"),
    CT_OPTION_BYTES("max_shard_size", convert_flags, max_shard_size, 5e9, 0, 9e15,
                    "of a file of a safetensors folder; 0: one file"),
    CT_OPTION_BYTES("memory", convert_flags, memory, 256 << 20, 0, 9e15,
                    "what the conversion of files may allocate; 0: no limit"),
    CT_OPTION_BOOL("fold", convert_flags, fold, false,
                   "fold gains and biases of norms into the layers behind them (crmsnorm: always)"),
    CT_OPTION_BOOL("untie", convert_flags, untie, false, "store a tied head as a matrix of its own"),
    CT_OPTION_STRING("verify", convert_flags, verify, NULL,
                     "text: print the largest difference of logits on it"),
    CT_OPTION_STRING("tokenizer", convert_flags, tokenizer, NULL,
                     "folder or tokenizer.json; the model's by default"),
    CT_OPTION_STRING("field", convert_flags, field, "text", "of JSONL records that holds the text"),
    CT_OPTION_END};

/* Families whose norms stand behind the residual sum, told from config.json alone. */
static bool is_post_norm(ct_context *context, const char *path) {
    static const char *const families[] = {"bert",    "roberta", "distilbert", "xlm-roberta", "albert",
                                           "electra", "mpnet",   "bart",       "camembert"};
    ct_model_folder *folder = ct_model_folder_open(context, path);
    const char *type = folder ? ct_value_as_string(ct_value_get(folder->config, "model_type"), "") : "";
    bool found = false;
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        found |= strcmp(type, families[i]) == 0;
    if (found)
        ct_fail(context, CT_ERROR_UNSUPPORTED,
                "%s (%s) normalises after the residual sum; the rewrite needs pre-norm", path, type);
    ct_model_folder_close(context, folder);
    return found;
}

/* Largest |a - b| over largest |a| of the logits on the first tokens. */
static ct_status compare(ct_context *context, ct_model *a, ct_model *b, const ct_ids *ids,
                         double *difference) {
    int64_t length = (int64_t)ids->count, most = ct_model_context_length(a);
    if (length < 1) return ct_fail(context, CT_ERROR_ARGUMENT, "--verify: the text is empty");
    if (most && length > most) length = most;
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, false);
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *input = ct_from_data(context, CT_I32, CT_DIMS(1, length), ids->ids);
    double apart = NAN, size = NAN;
    if (run && !ct_failed(context)) {
        ct_tensor *first = ct_cast(ct_model_forward(a, run, input), CT_F32);
        ct_tensor *second = ct_cast(ct_model_forward(b, run, input), CT_F32);
        ct_item(ct_max(ct_abs(ct_sub(first, second)), 0, NULL, false), &apart);
        ct_item(ct_max(ct_abs(first), 0, NULL, false), &size);
    }
    *difference = apart / size;
    ct_run_destroy(run);
    ct_grad_mode_set(context, before);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static ct_status verify(ct_cli *cli, const convert_flags *flags, ct_model *before, ct_model *after,
                        double *difference) {
    ct_context *context = cli->context;
    ct_bytes text = {0};
    ct_ids ids = {0};
    char *path = ct_model_resolve(context, flags->tokenizer ? flags->tokenizer : cli->positional[0]);
    ct_tokenizer *tokenizer = path ? ct_tokenizer_load(context, path) : NULL;
    if (tokenizer && ct_text_read(context, flags->verify, flags->field, &text) == CT_OK &&
        ct_tokenizer_encode(tokenizer, text.data ? text.data : "", text.length, CT_ENCODE_PLAIN, &ids) ==
            CT_OK)
        compare(context, before, after, &ids, difference);
    ct_bytes_free(context, &text);
    ct_ids_free(context, &ids);
    ct_tokenizer_destroy(tokenizer);
    ct_free(context, path);
    return ct_context_status(context);
}

static void report(ct_cli *cli, const convert_flags *flags, const ct_model *before, const ct_model *after,
                   double difference) {
    ct_context *context = cli->context;
    if (cli->json) {
        ct_value *map = ct_value_map(context);
        ct_cli_put_text(map, "to", targets[flags->to], context);
        ct_cli_put_int(map, "parameters_before", ct_model_elements(before, false), context);
        ct_cli_put_int(map, "parameters", ct_model_elements(after, false), context);
        ct_cli_put_real(map, "logit_difference", difference, context);
        ct_cli_print_json(cli, map);
        return;
    }
    ct_cli_say(cli, "%s: %s, %lld parameters (were %lld)", cli->positional[1], targets[flags->to],
               (long long)ct_model_elements(after, false), (long long)ct_model_elements(before, false));
    if (flags->verify) ct_cli_say(cli, "largest difference of logits: %.3g of the largest logit", difference);
}

static void convert_norms(ct_cli *cli, const convert_flags *flags) {
    ct_context *context = cli->context;
    const ct_rms_options options = {flags->to == TO_CRMSNORM, flags->fold, flags->untie};
    double difference = NAN;
    if (is_post_norm(context, cli->positional[0])) return;
    ct_model *before = ct_model_load(context, cli->positional[0], CT_DTYPES);
    ct_model *after = before ? ct_model_to_rms(before, &options) : NULL;
    if (after && (!flags->verify || verify(cli, flags, before, after, &difference) == CT_OK) &&
        ct_model_save(after, cli->positional[1], CT_DTYPES) == CT_OK)
        report(cli, flags, before, after, difference);
    ct_model_destroy(after);
    ct_model_destroy(before);
}

/* "12 F16, 3 F32" */
static void list_types(const ct_value *types, char *text, size_t size) {
    text[0] = '\0';
    for (size_t i = 0, used = 0; i < ct_value_count(types) && used < size; i++)
        used +=
            (size_t)snprintf(text + used, size - used, "%s%lld %s", i ? ", " : "",
                             (long long)ct_value_as_int(ct_value_at(types, i), 0), ct_value_key(types, i));
}

static void convert_file(ct_cli *cli, const convert_flags *flags) {
    const ct_convert_options options = {.to = flags->to == TO_AUTO ? NULL : targets[flags->to],
                                        .dtype = flags->dtype ? dtypes[flags->dtype] : NULL,
                                        .max_shard_size = (uint64_t)flags->max_shard_size,
                                        .memory = (uint64_t)flags->memory};
    ct_value *report = NULL;
    if (ct_convert(cli->context, cli->positional[0], cli->positional[1], &options, &report) != CT_OK) return;
    if (cli->json) {
        ct_cli_put_int(report, "peak_resident", (int64_t)ct_peak_resident(), cli->context);
        ct_cli_print_json(cli, report);
        return;
    }
    char types[256], size[32];
    list_types(ct_value_get(report, "types"), types, sizeof types);
    ct_cli_say(
        cli, "%s: %s, %lld tensors (%s), %s", cli->positional[1],
        ct_value_as_string(ct_value_get(report, "to"), ""),
        (long long)ct_value_as_int(ct_value_get(report, "tensors"), 0), types,
        ct_format_bytes((uint64_t)ct_value_as_int(ct_value_get(report, "bytes"), 0), size, sizeof size));
    const ct_value *dropped = ct_value_get(report, "dropped");
    for (size_t i = 0; i < ct_value_count(dropped); i++)
        ct_cli_say(cli, "left out: %s", ct_value_as_string(ct_value_at(dropped, i), ""));
    ct_value_free(report);
}

static int run(ct_cli *cli) {
    convert_flags flags;
    if (ct_cli_options(cli, flags_table, &flags) != CT_OK) return ct_cli_finish(cli);
    if (strcmp(cli->positional[0], cli->positional[1]) == 0)
        return ct_cli_usage(cli, "the result needs a place of its own, found \"%s\" twice",
                            cli->positional[0]);
    if (flags.to >= TO_RMSNORM)
        convert_norms(cli, &flags);
    else
        convert_file(cli, &flags);
    return ct_cli_finish(cli);
}

static const char *const examples[] = {
    "carat convert out/tiny out/tiny-shards --dtype bf16 --max_shard_size 100K",
    "carat convert out/tiny-shards out/tiny.npz --dtype f32",
    "carat convert out/tiny out/tiny-rms --to rmsnorm --untie --verify README.md",
    "carat convert out/tiny out/tiny-crms --to crmsnorm --untie",
    NULL};

const ct_verb ct_verb_convert = {
    .name = "convert",
    .arguments = "IN OUT",
    .summary = "Rewrite weights to another file format, or a model to another form that computes the same",
    .details =
        "Reads safetensors, GGUF, npz and PyTorch's zip files, writes safetensors, GGUF and npz, in bounded "
        "memory; between model folders and GGUF names, tokenizer and template are translated as llama.cpp "
        "has "
        "them. With --to rmsnorm or crmsnorm a pre-norm model with LayerNorm, such as GPT-2, becomes one "
        "with RMSNorm or CRMSNorm, "
        "without training: what "
        "writes to the residual stream is centred, and on a stream of mean 0 the norms agree.",
    .tables = {flags_table},
    .least = 2,
    .most = 2,
    .methods = true,
    .examples = examples,
    .run = run};
