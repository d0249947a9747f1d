/* convert.c - carat convert: weights in another file format, or a model in another form that computes the
 * same. */
#include "cli/convert_norms.h"
#include <string.h>

typedef struct convert_flags {
    int to, dtype;
    int64_t max_shard_size, memory;
} convert_flags;

static const char *const targets[] = {"auto", "safetensors", "gguf", "npz", "rmsnorm", "crmsnorm", "folded", NULL};
enum { TO_AUTO, TO_SAFETENSORS, TO_GGUF, TO_NPZ, TO_RMSNORM, TO_CRMSNORM, TO_FOLDED };
static const char *const dtypes[] = {"keep", "f32", "f16", "bf16", "f64", "q8_0", "q4_0", NULL};

static const ct_option flags_table[] = {
    CT_OPTION_CHOICE("to", convert_flags, to, "auto", targets,
                     "file format (auto: as OUT's name ends, else a safetensors folder); or the norm: "
                     "LayerNorm of a pre-norm model "
                     "becomes RMSNorm, or CRMSNorm on one channel less; folded: norms with running statistics become part "
                     "of the layers beside them"),
    CT_OPTION_CHOICE("dtype", convert_flags, dtype, "keep", dtypes,
                     "type of the weights; q8_0 and q4_0 for GGUF, whose vectors stay f32"),
    CT_OPTION_BYTES("max_shard_size", convert_flags, max_shard_size, 5e9, 0, 9e15,
                    "of a file of a safetensors folder; 0: one file"),
    CT_OPTION_BYTES("memory", convert_flags, memory, 256 << 20, 0, 9e15,
                    "what the conversion of files may allocate; 0: no limit"),
    CT_OPTION_END};

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
    ct_cli_norm_flags norms;
    if (ct_cli_options(cli, flags_table, &flags) != CT_OK ||
        ct_cli_options(cli, ct_cli_norm_table, &norms) != CT_OK)
        return ct_cli_finish(cli);
    if (strcmp(cli->positional[0], cli->positional[1]) == 0)
        return ct_cli_usage(cli, "the result needs a place of its own, found \"%s\" twice",
                            cli->positional[0]);
    bool to_norm = flags.to >= TO_RMSNORM;
    if (!to_norm && (norms.fold || norms.untie || norms.verify || !norms.pad))
        return ct_cli_usage(cli, "--fold, --pad, --untie and --verify are for --to rmsnorm and crmsnorm, "
                                 "--untie and --verify also for --to folded");
    if (flags.to == TO_FOLDED && (norms.fold || !norms.pad))
        return ct_cli_usage(cli, "--fold and --pad are for --to rmsnorm and crmsnorm");
    if (to_norm && flags.dtype)
        return ct_cli_usage(cli, "--dtype: with --to %s weights keep their types; convert the result again",
                            targets[flags.to]);
    if (to_norm)
        ct_cli_convert_norms(cli, targets[flags.to], &norms);
    else
        convert_file(cli, &flags);
    return ct_cli_finish(cli);
}

static const char *const examples[] = {
    "carat convert out/tiny out/tiny-shards --dtype bf16 --max_shard_size 100K",
    "carat convert out/tiny-shards out/tiny.npz --dtype f32",
    "carat convert out/tiny out/tiny-rms --to rmsnorm --untie --verify README.md",
    "carat convert out/tiny out/tiny-crms --to crmsnorm --untie --pad 0",
    "carat train recipes/gpt-tiny.yaml data.train=README.md model.norm.name=batchnorm max_steps=20 out=out/bn",
    "carat convert out/bn out/bn-folded --to folded", NULL};

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
        "writes to the residual stream is centred, and on a stream of mean 0 the norms agree. With --to folded batchnorm, "
        "ghostbn and powernorm, which in evaluation only scale and shift each channel, are taken into the linear layers "
        "that read them (of an mlp into those before them); the model then has no norms.",
    .tables = {flags_table, ct_cli_norm_table},
    .least = 2,
    .most = 2,
    .methods = true,
    .examples = examples,
    .run = run};
