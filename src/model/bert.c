/* bert.c - BERT-style encoders (Devlin et al., arXiv:1810.04805) with the heads of Hugging Face's BertModel,
 * BertForMaskedLM, BertForSequenceClassification and BertForTokenClassification, as config.json's
 * architectures[0] says. Inputs: ids [batch, time] and, optionally, their types (sentence A: 0, B: 1; absent:
 * all 0). Padding is what ct_run_set_padding hides.
 *
 * BertModel gives its hidden states [batch, time, hidden_size], the others logits: [batch, time, vocab_size],
 * [batch, num_labels], [batch, time, num_labels]. Points: embedded, hidden, pooled [batch, hidden_size],
 * logits. */
#include "model/parts.h"
#include "nn/layers.h"
#include "nn/positions.h"
#include "nn/run.h"
#include <math.h>
#include <string.h>

typedef struct bert_options {
    int64_t vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size;
    int64_t max_position_embeddings, type_vocab_size, num_labels, pad_token_id;
    int hidden_act, position_embedding_type;
    double hidden_dropout_prob, attention_probs_dropout_prob, classifier_dropout, layer_norm_eps,
        initializer_range;
    bool add_pooling_layer, tie_word_embeddings, is_decoder, add_cross_attention;
    const ct_value *id2label;
} bert_options;

static const char *const position_names[] = {"absolute", NULL};

static const ct_option bert_table[] = {
    CT_OPTION_INT("vocab_size", bert_options, vocab_size, 30522, 1, 1e8, "tokens"),
    CT_OPTION_INT("hidden_size", bert_options, hidden_size, 768, 1, 1e6, "width"),
    CT_OPTION_INT("num_hidden_layers", bert_options, num_hidden_layers, 12, 1, 1e4, "blocks"),
    CT_OPTION_INT("num_attention_heads", bert_options, num_attention_heads, 12, 1, 1e4, "attention heads"),
    CT_OPTION_INT("intermediate_size", bert_options, intermediate_size, 3072, 1, 1e7,
                  "width of the perceptron"),
    CT_OPTION_CHOICE("hidden_act", bert_options, hidden_act, "gelu", ct_perceptron_names,
                     "of the perceptron"),
    CT_OPTION_REAL("hidden_dropout_prob", bert_options, hidden_dropout_prob, 0.1, 0, 0.999,
                   "dropout on embeddings and on what blocks add"),
    CT_OPTION_REAL("attention_probs_dropout_prob", bert_options, attention_probs_dropout_prob, 0.1, 0, 0.999,
                   "dropout on attention probabilities"),
    CT_OPTION_REAL("classifier_dropout", bert_options, classifier_dropout, -1, -1, 0.999,
                   "dropout before the classifier; -1: hidden_dropout_prob"),
    CT_OPTION_INT("max_position_embeddings", bert_options, max_position_embeddings, 512, 1, 1e8,
                  "the longest sequence"),
    CT_OPTION_CHOICE("position_embedding_type", bert_options, position_embedding_type, "absolute",
                     position_names, "how positions enter"),
    CT_OPTION_INT("type_vocab_size", bert_options, type_vocab_size, 2, 1, 1e6, "token types"),
    CT_OPTION_REAL("layer_norm_eps", bert_options, layer_norm_eps, 1e-12, 0, 1, "of the layer norms"),
    CT_OPTION_REAL("initializer_range", bert_options, initializer_range, 0.02, 1e-9, 10,
                   "deviation of initial weights"),
    CT_OPTION_INT("pad_token_id", bert_options, pad_token_id, 0, -1, 1e8, "fills short rows; -1: none"),
    CT_OPTION_INT("num_labels", bert_options, num_labels, 0, 0, 1e6,
                  "classes; 0: as many as id2label names, else 2"),
    CT_OPTION_VALUE("id2label", bert_options, id2label, "the names of the classes"),
    CT_OPTION_BOOL("tie_word_embeddings", bert_options, tie_word_embeddings, true,
                   "the masked-language head shares the word embeddings"),
    CT_OPTION_BOOL("add_pooling_layer", bert_options, add_pooling_layer, true,
                   "BertModel: there is a pooler; a file without one says no"),
    CT_OPTION_BOOL("is_decoder", bert_options, is_decoder, false, "causal attention: not supported"),
    CT_OPTION_BOOL("add_cross_attention", bert_options, add_cross_attention, false, "not supported"),
    CT_OPTION_END};

/* ---------------------------------------------------------------------------------------- embeddings */

/* Children: word_embeddings, position_embeddings, token_type_embeddings, LayerNorm. */
typedef struct embeddings_options {
    int64_t positions;
    double dropout;
} embeddings_options;

static const ct_option embeddings_table[] = {
    CT_OPTION_INT("positions", embeddings_options, positions, 512, 1, 1e8, "the longest sequence"),
    CT_OPTION_REAL("dropout", embeddings_options, dropout, 0, 0, 0.999, "dropout on the result"),
    CT_OPTION_END};

/* i32 [time], or [batch, time] where rows hold several samples, each from 0. */
static ct_tensor *positions(ct_run *run, ct_tensor *ids) {
    int64_t batch = ct_dim(ids, 0), time = ct_dim(ids, 1);
    if (!ct_run_segments(run)) return ct_arange(ct_context_of(ids), CT_I32, time, 0, 1);
    return ct_run_positions(run, batch, time, time, false);
}

static bool input_fits(const ct_module *module, ct_tensor *const *inputs, int count) {
    const embeddings_options *o = ct_module_options(module);
    char a[160], b[160];
    if (count > 2 || ct_ndim(inputs[0]) != 2)
        ct_fail(module->context, CT_ERROR_SHAPE,
                "bert: %d inputs, the first %s, expected ids [batch, time] and, if any, their types", count,
                ct_describe(inputs[0], a, sizeof(a)));
    else if (count == 2 && !ct_same_shape(inputs[0], inputs[1]))
        ct_fail(module->context, CT_ERROR_SHAPE, "bert: ids %s and token types %s differ in shape",
                ct_describe(inputs[0], a, sizeof(a)), ct_describe(inputs[1], b, sizeof(b)));
    else if (ct_dim(inputs[0], 1) < 1 || ct_dim(inputs[0], 1) > o->positions)
        ct_fail(module->context, CT_ERROR_ARGUMENT, "bert: rows of %lld tokens, the model has %lld positions",
                (long long)ct_dim(inputs[0], 1), (long long)o->positions);
    return !ct_failed(module->context);
}

static ct_tensor *embeddings_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    if (!ct_module_expect_children(module, 4) || !input_fits(module, inputs, count)) return inputs[0];
    ct_module *const *part = module->children;
    ct_tensor *types = count == 2 ? inputs[1] : ct_full(module->context, CT_I32, 1, (const int64_t[]){1}, 0);
    ct_tensor *x = ct_add(ct_forward1(run, part[0], inputs[0]), ct_forward1(run, part[2], types));
    x = ct_add(x, ct_forward1(run, part[1], positions(run, inputs[0])));
    const embeddings_options *o = ct_module_options(module);
    return ct_run_dropout(run, ct_forward1(run, part[3], x), o->dropout);
}

static const ct_module_kind embeddings_kind = {.name = "bert.embeddings",
                                               .summary = "words, types and positions, added and normalised",
                                               .options = embeddings_table,
                                               .options_size = sizeof(embeddings_options),
                                               .forward = embeddings_forward};

/* ------------------------------------------------------------------------------------------- heads */

/* Children: dense, LayerNorm, decoder; its first slot is the decoder's bias, which files name "bias",
 * "decoder.bias" or both. Where they are untied, the latter counts. */
typedef struct predictions_options {
    int64_t vocabulary;
    int activation;
    bool tied;
} predictions_options;
static const ct_option predictions_table[] = {
    CT_OPTION_INT("vocabulary", predictions_options, vocabulary, 30522, 1, 1e8, "tokens"),
    CT_OPTION_CHOICE("activation", predictions_options, activation, "gelu", ct_perceptron_names,
                     "behind dense"),
    CT_OPTION_BOOL("tied", predictions_options, tied, true, "decoder.bias is bias"), CT_OPTION_END};

static ct_status predictions_build(ct_module *module) {
    static const char *const inner[] = {"decoder.bias", NULL}, *const outer[] = {"bias", NULL};
    const predictions_options *o = ct_module_options(module);
    ct_slot_options slot = {.fill = CT_FILL_ZEROS, .no_decay = true, .aliases = o->tied ? inner : outer};
    ct_module_slot(module, o->tied ? outer[0] : inner[0], 1, &o->vocabulary, slot);
    slot = (ct_slot_options){.fill = CT_FILL_ZEROS, .no_decay = true, .tied_to = "predictions.bias"};
    if (o->tied) ct_module_slot(module, inner[0], 1, &o->vocabulary, slot);
    return ct_context_status(module->context);
}

static ct_tensor *predictions_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    if (module->child_count < 3 || module->slot_count < 1) return inputs[0];
    const predictions_options *o = ct_module_options(module);
    ct_tensor *x = ct_perceptron_activate(run, module->children[0], inputs[0], o->activation);
    x = ct_forward1(run, module->children[2], ct_forward1(run, module->children[1], x));
    return ct_add(x, ct_run_weight(run, &module->slots[0]));
}
static const ct_module_kind predictions_kind = {.name = "bert.predictions",
                                                .summary = "the masked-language head",
                                                .options = predictions_table,
                                                .options_size = sizeof(predictions_options),
                                                .build = predictions_build,
                                                .forward = predictions_forward};

/* -------------------------------------------------------------------------------------------- root */

typedef struct root_options {
    double classifier_dropout;
} root_options;
static const ct_option root_table[] = {CT_OPTION_REAL("classifier_dropout", root_options, classifier_dropout,
                                                      0, 0, 0.999, "dropout before the classifier"),
                                       CT_OPTION_END};

/* Children: embeddings, encoder, and of the heads pooler, predictions, classifier those that there are. The
 * classifier reads the pooled state if there is one, else each token's. A pooler that nothing reads is run
 * where "pooled" is tapped. */
static ct_tensor *root_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    ct_module *embeddings = ct_module_find(module, "embeddings"),
              *encoder = ct_module_find(module, "encoder");
    ct_module *pooler = ct_module_find(module, "pooler"), *classifier = ct_module_find(module, "classifier");
    ct_module *predictions = ct_module_find(module, "predictions");
    if (!embeddings || !encoder) {
        ct_fail(module->context, CT_ERROR_STATE, "bert: the module \"%s\" is not there",
                embeddings ? "encoder" : "embeddings");
        return inputs[0];
    }
    const root_options *o = ct_module_options(module);
    ct_tensor *x = ct_run_point(run, module, "embedded", ct_forward(run, embeddings, inputs, count));
    if (ct_failed(module->context)) return x;
    x = ct_run_point(run, module, "hidden", ct_forward1(run, encoder, x));
    ct_tensor *pooled = NULL;
    if (pooler && (classifier || ct_run_tapped(run, module, "pooled")))
        pooled = ct_run_point(run, module, "pooled", ct_forward1(run, pooler, x));
    if (ct_run_position_of(run)->points_only && !ct_run_tapped(run, module, "logits")) return x;
    if (predictions) return ct_run_point(run, module, "logits", ct_forward1(run, predictions, x));
    if (!classifier) return x;
    x = ct_run_dropout(run, pooled ? pooled : x, o->classifier_dropout);
    return ct_run_point(run, module, "logits", ct_forward1(run, classifier, x));
}

static const ct_module_kind root_kind = {.name = "bert",
                                         .summary = "a bidirectional encoder with its head",
                                         .options = root_table,
                                         .options_size = sizeof(root_options),
                                         .forward = root_forward};

/* ---------------------------------------------------------------------------------------- building */

enum { HEAD_NONE, HEAD_MASKED, HEAD_SEQUENCE, HEAD_TOKEN };

/* Which head the configuration names; BertForPreTraining's second head is kept but not run. */
static ct_status find_head(ct_context *context, const ct_value *config, int *head) {
    static const char *const names[] = {"BertModel",
                                        "BertForMaskedLM",
                                        "BertForPreTraining",
                                        "BertForSequenceClassification",
                                        "BertForTokenClassification",
                                        NULL};
    static const int heads[] = {HEAD_NONE, HEAD_MASKED, HEAD_MASKED, HEAD_SEQUENCE, HEAD_TOKEN};
    int index = 0;
    ct_status status = ct_encoder_class(context, config, names, &index);
    if (status == CT_OK) *head = heads[index];
    return status;
}

static void add_norm(ct_module *parent, const char *name, const bert_options *o) {
    ct_value *map = ct_option_ints(parent->context, "width", o->hidden_size, NULL);
    if (map) ct_value_set(map, "epsilon", ct_value_real(parent->context, o->layer_norm_eps));
    ct_module_child_of_kind(parent, name, "layer_norm", map);
}

static void add_embeddings(ct_module *root, const bert_options *o) {
    ct_context *context = root->context;
    ct_value *map = ct_option_ints(context, "positions", o->max_position_embeddings, NULL);
    if (map) ct_value_set(map, "dropout", ct_value_real(context, o->hidden_dropout_prob));
    ct_module *embeddings = ct_module_child_of_kind(root, "embeddings", "bert.embeddings", map);
    static const char *const names[] = {"word_embeddings", "position_embeddings", "token_type_embeddings"};
    const int64_t rows[] = {o->vocab_size, o->max_position_embeddings, o->type_vocab_size};
    for (int i = 0; embeddings && i < 3; i++) {
        ct_value *table = ct_option_ints(context, "rows", rows[i], "width", o->hidden_size, NULL);
        if (table) ct_value_set(table, "init_scale", ct_value_real(context, o->initializer_range));
        ct_module_child_of_kind(embeddings, names[i], "embedding", table);
    }
    if (embeddings) add_norm(embeddings, "LayerNorm", o);
}

/* A norm behind each residual sum. */
static void add_layers(ct_module *root, const bert_options *o) {
    ct_context *context = root->context;
    ct_value *asked = ct_value_map(context);
    ct_norm_choice norm;
    if (asked) {
        ct_value_set(asked, "name", ct_value_string(context, "layernorm"));
        ct_value_set(asked, "place", ct_value_string(context, "post"));
    }
    if (asked && !ct_failed(context)) {
        ct_norm_choice_read(context, asked, o->layer_norm_eps, &norm);
        ct_encoder_add_layers(root, &(ct_encoder_plan){.width = o->hidden_size,
                                                       .layers = o->num_hidden_layers,
                                                       .heads = o->num_attention_heads,
                                                       .inner = o->intermediate_size,
                                                       .activation = o->hidden_act,
                                                       .dropout = o->hidden_dropout_prob,
                                                       .attention_dropout = o->attention_probs_dropout_prob,
                                                       .init_scale = o->initializer_range,
                                                       .qkv_bias = true,
                                                       .norm = &norm,
                                                       .attention_norm = "attention_norm",
                                                       .mlp_norm = "mlp_norm"});
        ct_norm_choice_free(&norm);
    }
    ct_value_free(asked);
}

static void add_predictions(ct_module *root, const bert_options *o) {
    ct_context *context = root->context;
    ct_value *map = ct_option_ints(context, "vocabulary", o->vocab_size, NULL);
    if (map) ct_value_set(map, "activation", ct_value_string(context, ct_perceptron_names[o->hidden_act]));
    if (map) ct_value_set(map, "tied", ct_value_bool(context, o->tie_word_embeddings));
    ct_module *head = ct_module_child_of_kind(root, "predictions", "bert.predictions", map);
    if (!head) return;
    ct_module_child_of_kind(head, "dense", "linear",
                            ct_linear_options(context, o->hidden_size, o->hidden_size, o->initializer_range));
    add_norm(head, "LayerNorm", o);
    ct_value *decoder = ct_linear_options(context, o->hidden_size, o->vocab_size, o->initializer_range);
    if (decoder) ct_value_set(decoder, "bias", ct_value_bool(context, false));
    if (decoder && o->tie_word_embeddings)
        ct_value_set(decoder, "tied_to", ct_value_string(context, "embeddings.word_embeddings.weight"));
    ct_module_child_of_kind(head, "decoder", "linear", decoder);
}

static ct_status check(ct_context *context, const bert_options *o) {
    if (o->is_decoder || o->add_cross_attention)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "config: %s is true, expected an encoder by itself",
                       o->is_decoder ? "is_decoder" : "add_cross_attention");
    return CT_OK;
}

static ct_module *bert_build(ct_context *context, const void *options, const ct_value *config) {
    const bert_options *o = options;
    int head = HEAD_NONE;
    int64_t labels = 0;
    if (check(context, o) != CT_OK ||
        ct_encoder_labels(context, o->num_labels, o->id2label, &labels) != CT_OK ||
        find_head(context, config, &head) != CT_OK)
        return NULL;
    ct_value *map = ct_value_map(context);
    double dropout = o->classifier_dropout >= 0 ? o->classifier_dropout : o->hidden_dropout_prob;
    if (map) ct_value_set(map, "classifier_dropout", ct_value_real(context, dropout));
    ct_module *root = ct_module_create(context, &root_kind, "", map);
    ct_value_free(map);
    if (!root) return NULL;
    add_embeddings(root, o);
    add_layers(root, o);
    if (head == HEAD_SEQUENCE || (head == HEAD_NONE && o->add_pooling_layer))
        ct_encoder_add_pooler(root, o->hidden_size, o->hidden_size, o->initializer_range);
    if (head == HEAD_MASKED) add_predictions(root, o);
    if (head == HEAD_SEQUENCE || head == HEAD_TOKEN)
        ct_module_child_of_kind(root, "classifier", "linear",
                                ct_linear_options(context, o->hidden_size, labels, o->initializer_range));
    if (!ct_failed(context)) return root;
    ct_module_destroy(root);
    return NULL;
}

ct_status ct_bert_register(ct_context *context) {
    const ct_module_kind *const kinds[] = {&embeddings_kind, &predictions_kind, &root_kind, NULL};
    ct_status status = ct_encoder_register(context);
    return status == CT_OK ? ct_module_kinds_register(context, kinds) : status;
}

/* ------------------------------------------------------------------------------------- architecture */

/* The files nest what the shared block has side by side. */
static char *file_name(ct_context *context, const char *path) {
    static const char *const parts[][2] = {{".attention_norm.", ".attention.output.LayerNorm."},
                                           {".attention.query.", ".attention.self.query."},
                                           {".attention.key.", ".attention.self.key."},
                                           {".attention.value.", ".attention.self.value."},
                                           {".attention.dense.", ".attention.output.dense."},
                                           {".mlp.intermediate.", ".intermediate.dense."},
                                           {".mlp.output.", ".output.dense."},
                                           {".mlp_norm.", ".output.LayerNorm."}};
    static const char *const transform[] = {"predictions.dense.", "predictions.LayerNorm."};
    if (strncmp(path, "classifier.", 11) == 0) return ct_strdup(context, path);
    for (int i = 0; i < 2; i++)
        if (strncmp(path, transform[i], strlen(transform[i])) == 0)
            return ct_format(context, "cls.predictions.transform.%s", path + strlen("predictions."));
    if (strncmp(path, "predictions.", 12) == 0) return ct_format(context, "cls.%s", path);
    return ct_encoder_file_name(context, "bert.", path, parts, sizeof(parts) / sizeof(parts[0]));
}

/* Position numbers that some writers store, and heads of pre-training that the architecture asked for does
 * not run (or has tied): kept. */
static bool is_buffer(const char *name) {
    static const char *const beginnings[] = {"embeddings.position_ids", "embeddings.token_type_ids",
                                             "pooler.", "cls."};
    if (strncmp(name, "bert.", 5) == 0) name += 5;
    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
        if (strncmp(name, beginnings[i], strlen(beginnings[i])) == 0) return true;
    return false;
}

static ct_status adapt(ct_context *context, ct_value *config, const ct_archive *file) {
    return ct_encoder_adapt(context, config, file, "BertModel", "bert.");
}

static int64_t context_length(const void *options) {
    return ((const bert_options *)options)->max_position_embeddings;
}
static int64_t vocabulary(const void *options) {
    return ((const bert_options *)options)->vocab_size;
}
static int64_t layers(const void *options) {
    return ((const bert_options *)options)->num_hidden_layers;
}

const ct_architecture ct_architecture_bert = {.model_type = "bert",
                                              .class_name = "BertModel",
                                              .summary = "BERT-style encoder",
                                              .options = bert_table,
                                              .options_size = sizeof(bert_options),
                                              .build = bert_build,
                                              .prefix = "bert.",
                                              .file_name = file_name,
                                              .is_buffer = is_buffer,
                                              .adapt = adapt,
                                              .context_length = context_length,
                                              .vocabulary = vocabulary,
                                              .layers = layers,
                                              .bidirectional = true};
