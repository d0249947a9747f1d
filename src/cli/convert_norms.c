/* convert_norms.c - carat convert --to rmsnorm|crmsnorm|folded: a pre-norm model with LayerNorm as one that computes the
 * same, one with running statistics without its norms, and how far apart the two are on sample inputs. */
#include "cli/convert_norms.h"
#include <math.h>
#include <string.h>

const ct_option ct_cli_norm_table[] = {
    CT_OPTION_BOOL("fold", ct_cli_norm_flags, fold, false,
                   "norms: gains and biases go into the layers behind them (crmsnorm: always)"),
    CT_OPTION_BOOL("pad", ct_cli_norm_flags, pad, true,
                   "crmsnorm: the width stays, the last channel is ignored; else one channel less is stored"),
    CT_OPTION_BOOL("untie", ct_cli_norm_flags, untie, false,
                   "norms: store a tied head as a matrix of its own"),
    CT_OPTION_STRING(
        "verify", ct_cli_norm_flags, verify, NULL,
        "norms: compare logits on this text (models of images: an IDX file); else on random input"),
    CT_OPTION_STRING("tokenizer", ct_cli_norm_flags, tokenizer, NULL,
                     "folder or tokenizer.json; the model's by default"),
    CT_OPTION_STRING("field", ct_cli_norm_flags, field, "text", "of JSONL records that holds the text"),
    CT_OPTION_END};

enum { RANDOM_TOKENS = 64, RANDOM_IMAGES = 2, RANDOM_ROWS = 16, IMAGES = 8 };

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

/* ------------------------------------------------------------------------------------------- samples */

static ct_tensor *random_input(ct_model *model) {
    ct_context *context = ct_model_context(model);
    ct_random random = ct_random_make(1, 0);
    int64_t shape[3], length = RANDOM_TOKENS, most = ct_model_context_length(model);
    if (ct_model_image_shape(model, shape))
        return ct_random_normal_tensor(context, CT_F32, CT_DIMS(RANDOM_IMAGES, shape[0], shape[1], shape[2]),
                                       0, 1, &random);
    if (ct_model_features(model) > 0)
        return ct_random_normal_tensor(context, CT_F32, CT_DIMS(RANDOM_ROWS, ct_model_features(model)), 0, 1, &random);
    if (most && length > most) length = most;
    return ct_random_integer_tensor(context, CT_I32, CT_DIMS(1, length), 0, ct_model_vocabulary(model),
                                    &random);
}

/* The first tokens of a text. */
static ct_tensor *text_input(ct_cli *cli, const ct_cli_norm_flags *flags, ct_model *model) {
    ct_context *context = cli->context;
    ct_bytes text = {0};
    ct_ids ids = {0};
    ct_tensor *input = NULL;
    char *path = ct_model_resolve(context, flags->tokenizer ? flags->tokenizer : cli->positional[0]);
    ct_tokenizer *tokenizer = path ? ct_tokenizer_load(context, path) : NULL;
    if (tokenizer && ct_text_read(context, flags->verify, flags->field, &text) == CT_OK &&
        ct_tokenizer_encode(tokenizer, text.data ? text.data : "", text.length, CT_ENCODE_PLAIN, &ids) ==
            CT_OK) {
        int64_t length = (int64_t)ids.count, most = ct_model_context_length(model);
        if (most && length > most) length = most;
        if (length < 1)
            ct_fail(context, CT_ERROR_ARGUMENT, "--verify: the text is empty");
        else
            input = ct_from_data(context, CT_I32, CT_DIMS(1, length), ids.ids);
    }
    ct_bytes_free(context, &text);
    ct_ids_free(context, &ids);
    ct_tokenizer_destroy(tokenizer);
    ct_free(context, path);
    return input;
}

static ct_tensor *sample(ct_cli *cli, const ct_cli_norm_flags *flags, ct_model *model) {
    int64_t shape[3];
    if (!flags->verify) return random_input(model);
    if (ct_model_image_shape(model, shape)) return ct_images_read(cli->context, flags->verify, shape, IMAGES);
    if (ct_model_features(model) > 0) {
        ct_fail(cli->context, CT_ERROR_ARGUMENT, "--verify: rows of numbers are compared on random input");
        return NULL;
    }
    return text_input(cli, flags, model);
}

/* Largest |a - b| over largest |a| of the logits. */
static ct_status compare(ct_cli *cli, const ct_cli_norm_flags *flags, ct_model *a, ct_model *b,
                         double *difference) {
    ct_context *context = cli->context;
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, false);
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *input = run ? sample(cli, flags, a) : NULL;
    double apart = NAN, size = NAN;
    if (input && !ct_failed(context)) {
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

/* ------------------------------------------------------------------------------------------ converting */

static void report(ct_cli *cli, const char *to, const ct_cli_norm_flags *flags, const ct_model *before,
                   const ct_model *after, double difference) {
    ct_context *context = cli->context;
    if (cli->json) {
        ct_value *map = ct_value_map(context);
        ct_cli_put_text(map, "to", to, context);
        ct_cli_put_int(map, "parameters_before", ct_model_elements(before, false), context);
        ct_cli_put_int(map, "parameters", ct_model_elements(after, false), context);
        ct_cli_put_text(map, "verified_on", flags->verify ? flags->verify : "random input", context);
        ct_cli_put_real(map, "logit_difference", difference, context);
        ct_cli_print_json(cli, map);
        return;
    }
    ct_cli_say(cli, "%s: %s, %lld parameters (were %lld)", cli->positional[1], to,
               (long long)ct_model_elements(after, false), (long long)ct_model_elements(before, false));
    ct_cli_say(cli, "largest difference of logits: %.3g of the largest logit (on %s)", difference,
               flags->verify ? flags->verify : "random input");
}

void ct_cli_convert_norms(ct_cli *cli, const char *to, const ct_cli_norm_flags *flags) {
    ct_context *context = cli->context;
    bool compress = strcmp(to, "crmsnorm") == 0, folds = strcmp(to, "folded") == 0;
    const ct_rms_options options = {compress, flags->fold, flags->untie, compress && !flags->pad};
    double difference = NAN;
    if (is_post_norm(context, cli->positional[0])) return;
    ct_model *before = ct_model_load(context, cli->positional[0], CT_DTYPES);
    ct_model *after = !before ? NULL
                      : folds ? ct_model_fold_norms(before, flags->untie)
                              : ct_model_to_rms(before, &options);
    if (after && compare(cli, flags, before, after, &difference) == CT_OK &&
        ct_model_save(after, cli->positional[1], CT_DTYPES) == CT_OK)
        report(cli, to, flags, before, after, difference);
    ct_model_destroy(after);
    ct_model_destroy(before);
}
