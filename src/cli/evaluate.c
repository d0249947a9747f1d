/* evaluate.c - carat evaluate: perplexity and bits per byte of a text, multiple choice, what each block of a
 * transformer does, how far a run's weights went, or texts as vectors. */
#include "cli/distance.h"
#include "cli/embed.h"
#include "cli/layers.h"
#include "cli/report.h"
#include <math.h>
#include <string.h>

typedef struct evaluate_flags {
    const char *tokenizer, *field, *choices, *plot, *labels;
    bool bf16_weights;
    int64_t limit;
    double alpha;
} evaluate_flags;

static const ct_option flags_table[] = {
    CT_OPTION_STRING("tokenizer", evaluate_flags, tokenizer, NULL, "folder or tokenizer.json; the model's by default"),
    CT_OPTION_STRING("field", evaluate_flags, field, "text", "of JSONL records that holds the text"),
    CT_OPTION_STRING("choices", evaluate_flags, choices, NULL,
                     "JSONL of {\"prompt\", \"choices\", \"answer\"}: multiple choice by likelihood"),
    CT_OPTION_STRING("labels", evaluate_flags, labels, NULL,
                     "IDX file of the classes of images: loss and accuracy on an IDX file of images"),
    CT_OPTION_INT("limit", evaluate_flags, limit, 0, 0, 1e12, "questions or images at most; 0: all"),
    CT_OPTION_REAL("alpha", evaluate_flags, alpha, 1, 1e-6, 1e6, "entropy: its order"),
    CT_OPTION_STRING("plot", evaluate_flags, plot, NULL, "distance: file for a picture, .svg or .png"),
    CT_OPTION_BOOL("bf16_weights", evaluate_flags, bf16_weights, false, "weights in bf16"), CT_OPTION_END};

static void evaluate_text(ct_cli *cli, ct_model *model, ct_tokenizer *tokenizer, const char *path, const char *field,
                          const ct_perplexity_options *options) {
    ct_context *context = cli->context;
    ct_bytes text = {0};
    ct_ids ids = {0};
    ct_perplexity r;
    if (ct_text_read(context, path, field, &text) == CT_OK &&
        ct_tokenizer_encode(tokenizer, text.data ? text.data : "", text.length, CT_ENCODE_PLAIN, &ids) == CT_OK &&
        ct_evaluate_perplexity(model, tokenizer, ids.ids, (int64_t)ids.count, options, &r) == CT_OK) {
        if (cli->json) {
            ct_value *map = ct_value_map(context);
            ct_cli_put_real(map, "loss", r.loss, context);
            ct_cli_put_real(map, "perplexity", r.perplexity, context);
            ct_cli_put_real(map, "bits_per_byte", r.bits_per_byte, context);
            ct_cli_put_real(map, "bits_per_token", r.bits_per_token, context);
            ct_cli_put_int(map, "tokens", r.tokens, context);
            ct_cli_put_int(map, "bytes", r.bytes, context);
            ct_cli_put_real(map, "seconds", r.seconds, context);
            ct_cli_print_json(cli, map);
        } else {
            printf("perplexity %.4f, %.4f bits per byte (%lld tokens, %lld bytes, %.1f s)\n", r.perplexity,
                   r.bits_per_byte, (long long)r.tokens, (long long)r.bytes, r.seconds);
        }
    }
    ct_bytes_free(context, &text);
    ct_ids_free(context, &ids);
}

static void print_ensemble(ct_cli *cli, const ct_ensemble *e, const ct_ensemble_losses *r) {
    ct_context *context = cli->context;
    bool logits = e->average == CT_AVERAGE_LOGITS;
    double loss = logits ? r->logits : r->probabilities;
    if (!cli->json) {
        printf("perplexity %.4f, loss %.5f by the mean of %s, %.5f by that of %s, %.5f on average for each of %d members "
               "(%lld tokens)\n",
               exp(loss), loss, logits ? "logits" : "probabilities", logits ? r->probabilities : r->logits,
               logits ? "probabilities" : "logits", r->mean, e->count, (long long)r->tokens);
        return;
    }
    ct_value *map = ct_value_map(context), *list = ct_value_list(context);
    for (int i = 0; list && i < e->count; i++) ct_value_append(list, ct_value_real(context, r->members[i]));
    ct_cli_put_real(map, "loss", loss, context);
    ct_cli_put_real(map, "perplexity", exp(loss), context);
    ct_cli_put_real(map, "loss_logits", r->logits, context);
    ct_cli_put_real(map, "loss_probabilities", r->probabilities, context);
    ct_cli_put_real(map, "loss_mean", r->mean, context);
    ct_cli_put_int(map, "tokens", r->tokens, context);
    if (map && list) ct_value_set(map, "members", list);
    ct_cli_print_json(cli, map);
}

static void evaluate_ensemble(ct_cli *cli, const char *manifest, const evaluate_flags *flags, const char *path,
                              const ct_perplexity_options *options) {
    ct_context *context = cli->context;
    ct_ensemble e;
    ct_ensemble_losses r;
    ct_bytes text = {0};
    ct_ids ids = {0};
    if (ct_ensemble_load(context, manifest, flags->bf16_weights ? CT_BF16 : CT_DTYPES, &e) == CT_OK &&
        ct_text_read(context, path, flags->field, &text) == CT_OK &&
        ct_tokenizer_encode(e.tokenizer, text.data ? text.data : "", text.length, CT_ENCODE_PLAIN, &ids) == CT_OK &&
        ct_evaluate_ensemble(e.members, e.count, ids.ids, (int64_t)ids.count, options, &r) == CT_OK)
        print_ensemble(cli, &e, &r);
    ct_ensemble_free(&e);
    ct_bytes_free(context, &text);
    ct_ids_free(context, &ids);
}

static bool is_manifest(const char *path) {
    size_t length = strlen(path);
    return length > 5 && strcmp(path + length - 5, ".json") == 0 && ct_file_exists(path);
}

static void evaluate_choices(ct_cli *cli, ct_model *model, ct_tokenizer *tokenizer, const evaluate_flags *flags) {
    ct_context *context = cli->context;
    ct_choice_result r;
    if (ct_evaluate_choices(model, tokenizer, flags->choices, flags->limit, &r) != CT_OK) return;
    if (!cli->json) {
        printf("accuracy %.4f, per byte %.4f (%lld questions)\n", r.accuracy, r.accuracy_per_byte,
               (long long)r.questions);
        return;
    }
    ct_value *map = ct_value_map(context);
    ct_cli_put_int(map, "questions", r.questions, context);
    ct_cli_put_real(map, "accuracy", r.accuracy, context);
    ct_cli_put_real(map, "accuracy_per_byte", r.accuracy_per_byte, context);
    ct_cli_print_json(cli, map);
}

static int evaluate_images(ct_cli *cli, const evaluate_flags *flags, const ct_perplexity_options *options) {
    ct_context *context = cli->context;
    if (cli->positional_count != 2)
        return ct_cli_usage(cli, "--labels: expected a MODEL and an IDX file of images");
    if (flags->choices || flags->tokenizer) return ct_cli_usage(cli, "--labels is for images, which have no tokens");
    ct_model *model = ct_model_load(context, cli->positional[0], flags->bf16_weights ? CT_BF16 : CT_DTYPES);
    ct_dataset *images = model ? ct_dataset_from_images(context, cli->positional[1], flags->labels) : NULL;
    const ct_image_options how = {options->batch, flags->limit, options->bf16};
    ct_image_result r;
    if (images && ct_images_fit(model, images, cli->positional[1]) == CT_OK &&
        ct_evaluate_images(model, images, &how, &r) == CT_OK) {
        ct_value *map = cli->json ? ct_value_map(context) : NULL;
        if (map) {
            ct_cli_put_real(map, "loss", r.loss, context);
            ct_cli_put_real(map, "accuracy", r.accuracy, context);
            ct_cli_put_int(map, "images", r.images, context);
            ct_cli_put_real(map, "seconds", r.seconds, context);
            ct_cli_print_json(cli, map);
        } else if (!cli->json) {
            printf("accuracy %.4f, loss %.5f (%lld images, %.1f s)\n", r.accuracy, r.loss, (long long)r.images,
                   r.seconds);
        }
    }
    ct_dataset_destroy(images);
    ct_model_destroy(model);
    return ct_cli_finish(cli);
}

static int run(ct_cli *cli) {
    evaluate_flags flags;
    ct_perplexity_options options;
    ct_model *model = NULL;
    ct_tokenizer *tokenizer = NULL;
    if (ct_cli_options(cli, flags_table, &flags) != CT_OK ||
        ct_cli_options(cli, ct_perplexity_table, &options) != CT_OK)
        return ct_cli_finish(cli);
    if (cli->positional_count == 2 && strcmp(cli->positional[0], "distance") == 0) {
        ct_cli_distance(cli, cli->positional[1], flags.plot);
        return ct_cli_finish(cli);
    }
    if (flags.plot) return ct_cli_usage(cli, "--plot is for carat evaluate distance RUN");
    if (flags.labels) return evaluate_images(cli, &flags, &options);
    if (strcmp(cli->positional[0], "embed") == 0) {
        if (cli->positional_count != 2)
            return ct_cli_usage(cli, "embed: expected a MODEL and no other argument; --text names the texts");
        const char *field = ct_value_get(cli->options, "field") ? flags.field : NULL;
        ct_cli_embed(cli, cli->positional[1], flags.tokenizer, field, options.bf16 || flags.bf16_weights);
        return ct_cli_finish(cli);
    }
    enum { LAYERS, GROWTH, ENTROPY };
    static const char *const words[] = {"layers", "growth", "entropy"};
    int which = cli->positional_count == 3 ? ENTROPY : -1;
    while (which > 0 && strcmp(cli->positional[0], words[which]) != 0) which--;
    if (which >= 0 && strcmp(cli->positional[0], words[which]) != 0)
        return ct_cli_usage(
            cli, "three arguments: expected \"layers\", \"growth\" or \"entropy\" as the first, found \"%s\"",
            cli->positional[0]);
    const char *const *arguments = cli->positional + (which >= 0);
    if (!flags.choices && cli->positional_count < 2)
        return ct_cli_usage(cli, "expected a TEXT file after the model, or --choices FILE");
    if (flags.choices && cli->positional_count > 1)
        return ct_cli_usage(cli, "both a TEXT file and --choices FILE");
    if (is_manifest(arguments[0])) {
        if (which >= 0 || flags.choices || flags.tokenizer)
            return ct_cli_usage(cli, "an ensemble is evaluated on a TEXT, with the tokenizer of its members");
        evaluate_ensemble(cli, arguments[0], &flags, arguments[1], &options);
        return ct_cli_finish(cli);
    }
    if (ct_cli_load(cli, arguments[0], flags.tokenizer, flags.bf16_weights, &model, &tokenizer)) {
        if (flags.choices) evaluate_choices(cli, model, tokenizer, &flags);
        else if (which == ENTROPY)
            ct_cli_entropy(cli, model, tokenizer, arguments[1], flags.field, &options, flags.alpha);
        else if (which >= 0)
            ct_cli_layers(cli, model, tokenizer, arguments[1], flags.field, &options, which == GROWTH);
        else evaluate_text(cli, model, tokenizer, arguments[1], flags.field, &options);
        ct_tokenizer_destroy(tokenizer);
        ct_model_destroy(model);
    }
    return ct_cli_finish(cli);
}

static const char *const examples[] = {
    "carat evaluate out/tiny README.md --stride 32 --max_tokens 2000",
    "carat evaluate out/tiny README.md --max_tokens 2000 --json",
    "carat evaluate layers out/tiny README.md --batch 4",
    "carat evaluate growth out/tiny README.md --batch 4",
    "carat evaluate entropy out/tiny README.md --batch 4",
    "carat evaluate distance out/tiny --plot distance.svg",
    "carat evaluate embed tests/golden/encoders/sentence --text README.md --query 'the quick fox' --top 3", NULL};

const ct_verb ct_verb_evaluate = {
    .name = "evaluate",
    .arguments = "[layers | growth | entropy] MODEL TEXT | MODEL IMAGES --labels CLASSES | distance RUN | embed MODEL",
    .summary = "Measure perplexity and bits per byte, multiple choice, accuracy on images, what each layer does, how far "
               "training went; make vectors of texts",
    .details = "MODEL is a folder or, for a TEXT alone, the manifest of an ensemble (carat merge ensemble). TEXT is a file, a .jsonl file (--field), or a folder of texts. With --labels, IMAGES and CLASSES are IDX files, plain or gzip. With layers it prints CSV, a line for each "
               "block of a transformer: the stream's variance, how far the block turns it, the norm of the block's gradients, "
               "and the loss without the block. With growth: how large the stream is, from layer -1, the embeddings, on. "
               "With entropy: the matrix entropy (--alpha) of sequences, and of the batch at a position. distance: how far the "
               "weights of a run's checkpoints are from where they began, and the fit a + b log(step). embed: vectors of the "
               "texts of --text by an encoder, written to --out and searched for what is nearest to --query: cosine, index, "
               "text.",
    .tables = {flags_table, ct_perplexity_table, ct_cli_embed_table, ct_embed_table},
    .least = 1,
    .most = 3,
    .methods = true,
    .examples = examples,
    .run = run};
