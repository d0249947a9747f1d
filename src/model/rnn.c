/* rnn.c - a recurrent language model: embedding, layers of one kind of cell (src/nn/recurrent.c), a linear
 * head. Its gradients are sums over the steps of all rows, so training keeps the rows of a batch together.
 *
 * ids [batch, time] -> logits [batch, time, vocab_size]. */
#include "model/model.h"
#include "nn/layers.h"
#include "nn/run.h"

typedef struct rnn_options {
    int64_t vocab_size, n_embd, n_hidden, n_layer, bos_token_id, eos_token_id;
    int cell;
    double dropout, layer_norm_epsilon;
} rnn_options;

static const ct_option rnn_table[] = {
    CT_OPTION_INT("vocab_size", rnn_options, vocab_size, 256, 1, 1e8, "tokens"),
    CT_OPTION_INT("n_embd", rnn_options, n_embd, 128, 1, 1e6, "channels of the embedding"),
    CT_OPTION_INT("n_hidden", rnn_options, n_hidden, 0, 0, 1e6, "channels of the states; 0: n_embd"),
    CT_OPTION_INT("n_layer", rnn_options, n_layer, 1, 1, 1e3, "layers"),
    CT_OPTION_CHOICE("cell", rnn_options, cell, "lstm", ct_cell_names,
                     "lstm, gru or rnn (tanh); -ln: with layer normalisation inside (arXiv:1607.06450)"),
    CT_OPTION_REAL("dropout", rnn_options, dropout, 0, 0, 0.999, "on the outputs of layers"),
    CT_OPTION_REAL("layer_norm_epsilon", rnn_options, layer_norm_epsilon, 1e-5, 0, 1, "of the cells' norms"),
    CT_OPTION_INT("bos_token_id", rnn_options, bos_token_id, -1, -1, 1e8, "begins a text; -1: none"),
    CT_OPTION_INT("eos_token_id", rnn_options, eos_token_id, -1, -1, 1e8, "ends a text; -1: none"),
    CT_OPTION_END};

typedef struct root_options {
    double dropout;
} root_options;

static const ct_option root_table[] = {
    CT_OPTION_REAL("dropout", root_options, dropout, 0, 0, 0.999, "on the outputs of layers"), CT_OPTION_END};

/* Children: the embedding, the layers, the head. */
static ct_tensor *root_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    const root_options *o = ct_module_options(module);
    ct_tensor *x = inputs[0];
    if (module->child_count < 3 || ct_ndim(x) != 2) {
        char text[160];
        ct_fail(module->context, CT_ERROR_SHAPE, "rnn: input %s, expected ids [batch, time]",
                ct_describe(x, text, sizeof(text)));
        return x;
    }
    for (int i = 0; i + 1 < module->child_count; i++) {
        x = ct_forward1(run, module->children[i], x);
        if (i > 0) x = ct_run_dropout(run, x, o->dropout);
    }
    if (ct_run_position_of(run)->last_only) x = ct_slice(x, 1, ct_dim(x, 1) - 1, ct_dim(x, 1), 1);
    return ct_run_point(run, module, "logits",
                        ct_forward1(run, module->children[module->child_count - 1], x));
}

static const ct_module_kind root_kind = {.name = "rnn",
                                         .summary = "a recurrent language model",
                                         .options = root_table,
                                         .options_size = sizeof(root_options),
                                         .forward = root_forward};

static ct_value *cell_options(ct_context *context, const rnn_options *o, int64_t in, int64_t hidden) {
    ct_value *map = ct_option_ints(context, "in", in, "hidden", hidden, NULL);
    if (!map) return NULL;
    ct_value_set(map, "cell", ct_value_string(context, ct_cell_names[o->cell]));
    ct_value_set(map, "eps", ct_value_real(context, o->layer_norm_epsilon));
    return map;
}

static ct_module *rnn_build(ct_context *context, const void *options, const ct_value *config) {
    (void)config;
    const rnn_options *o = options;
    int64_t hidden = o->n_hidden ? o->n_hidden : o->n_embd;
    ct_value *map = ct_value_map(context);
    if (map) ct_value_set(map, "dropout", ct_value_real(context, o->dropout));
    ct_module *root = ct_module_create(context, &root_kind, "", map);
    ct_value_free(map);
    if (!root) return NULL;
    ct_module_child_of_kind(root, "wte", "embedding",
                            ct_option_ints(context, "rows", o->vocab_size, "width", o->n_embd, NULL));
    for (int64_t i = 0; i < o->n_layer && !ct_failed(context); i++) {
        char name[32];
        snprintf(name, sizeof(name), "layer_%lld", (long long)i);
        ct_module_child_of_kind(root, name, "recurrent",
                                cell_options(context, o, i ? hidden : o->n_embd, hidden));
    }
    ct_module_child_of_kind(root, "lm_head", "linear",
                            ct_option_ints(context, "in", hidden, "out", o->vocab_size, NULL));
    if (!ct_failed(context)) return root;
    ct_module_destroy(root);
    return NULL;
}

ct_status ct_rnn_register(ct_context *context) {
    return ct_module_kind_register(context, &root_kind);
}

static int64_t context_length(const void *options) {
    (void)options;
    return 0;
}
static int64_t vocabulary(const void *options) {
    return ((const rnn_options *)options)->vocab_size;
}
static int64_t layers(const void *options) {
    (void)options;
    return 0; /* of attention */
}

const ct_architecture ct_architecture_rnn = {
    .model_type = "rnn",
    .class_name = "CaratRNN",
    .summary = "LSTM or GRU language model, also with layer normalisation inside",
    .options = rnn_table,
    .options_size = sizeof(rnn_options),
    .build = rnn_build,
    .context_length = context_length,
    .vocabulary = vocabulary,
    .layers = layers};
