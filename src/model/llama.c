/* llama.c - the decoders of the Llama family as modules: token embeddings, blocks of attention and a gated
 * perceptron, a norm, a head. How members differ is llama_config.c's table. Names as Hugging Face's
 * LlamaForCausalLM has them.
 *
 * ids [batch, time] -> logits [batch, time, vocab_size]. */
#include "model/llama.h"
#include "nn/layers.h"
#include "nn/run.h"
#include <math.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------- root */

typedef struct decoder_options {
    int64_t positions;
    bool scale_embedding;
    double logit_softcap;
} decoder_options;

static const ct_option decoder_table[] = {
    CT_OPTION_INT("positions", decoder_options, positions, 2048, 1, 1e9, "the longest sequence"),
    CT_OPTION_BOOL("scale_embedding", decoder_options, scale_embedding, false,
                   "embeddings times the square root of the width"),
    CT_OPTION_REAL("logit_softcap", decoder_options, logit_softcap, 0, 0, 1e9,
                   "logits become c tanh(logit / c); 0: off"),
    CT_OPTION_END};

enum { EMBED_TOKENS, LAYERS, NORM, LM_HEAD };

/* A cache or a long text must not lead beyond what the network was made for. */
static ct_status check_length(ct_run *run, const ct_module *module, ct_tensor *ids) {
    const decoder_options *o = ct_module_options(module);
    const ct_kv_cache *cache = ct_run_cache(run);
    for (int64_t b = 0; b < (cache ? ct_dim(ids, 0) : 1); b++) {
        int64_t first = cache ? ct_kv_cache_length(cache, ct_kv_cache_row(cache, b)) : 0;
        if (first + ct_dim(ids, 1) > o->positions)
            return ct_fail(module->context, CT_ERROR_ARGUMENT,
                           "the sequence would have %lld positions, the model has %lld",
                           (long long)(first + ct_dim(ids, 1)), (long long)o->positions);
    }
    return CT_OK;
}

/* The factor is rounded to the table's type, as transformers does. */
static double rounded(double value, ct_dtype dtype, ct_context *context) {
    double result = value;
    ct_item(ct_full(context, dtype, 0, NULL, value), &result);
    return result;
}

static ct_tensor *embed(ct_run *run, ct_module *module, ct_tensor *ids) {
    const decoder_options *o = ct_module_options(module);
    ct_context *context = module->context;
    ct_module *table = module->children[EMBED_TOKENS], *norm = ct_module_find(module, "embed_norm");
    ct_scope scope = ct_scope_open(context);
    ct_tensor *x = ct_forward1(run, table, ids);
    if (o->scale_embedding) {
        double width = sqrt((double)ct_dim(x, -1));
        ct_tensor *weight = table->slot_count ? ct_run_weight(run, &table->slots[0]) : NULL;
        bool known = weight && ct_device_of(weight) == CT_CPU;
        x = ct_mul_scalar(x, known ? rounded(width, ct_dtype_of(weight), context) : width);
    }
    if (norm) x = ct_forward1(run, norm, x);
    return ct_scope_return(context, scope, ct_run_point(run, module, "embedded", x));
}

/* Children: embed_tokens, layers, norm, lm_head, and embed_norm where there is a norm on the embeddings. */
static ct_tensor *decoder_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    const decoder_options *o = ct_module_options(module);
    ct_tensor *ids = inputs[0];
    if (!ct_module_expect_children(module, LM_HEAD + 1)) return ids;
    if (ct_ndim(ids) != 2) {
        char text[160];
        ct_fail(module->context, CT_ERROR_SHAPE, "decoder: input %s, expected ids [batch, time]",
                ct_describe(ids, text, sizeof(text)));
        return ids;
    }
    if (check_length(run, module, ids) != CT_OK) return ids;
    ct_tensor *x = ct_forward1(run, module->children[LAYERS], embed(run, module, ids));
    if (ct_run_position_of(run)->last_only) x = ct_slice(x, 1, ct_dim(x, 1) - 1, ct_dim(x, 1), 1);
    x = ct_run_point(run, module, "final", ct_forward1(run, module->children[NORM], x));
    x = ct_forward1(run, module->children[LM_HEAD], x);
    if (o->logit_softcap > 0)
        x = ct_mul_scalar(ct_tanh(ct_mul_scalar(x, 1 / o->logit_softcap)), o->logit_softcap);
    return ct_run_point(run, module, "logits", x);
}

static const ct_module_kind root_kind = {.name = "decoder",
                                         .summary = "a Llama-like network with its language-model head",
                                         .options = decoder_table,
                                         .options_size = sizeof(decoder_options),
                                         .forward = decoder_forward};
static const ct_module_kind block_kind = {.name = "decoder.block",
                                          .summary = "attention and a gated perceptron on a residual stream",
                                          .options = ct_block_table,
                                          .options_size = sizeof(ct_block_options),
                                          .forward = ct_block_forward};
static const ct_module_kind list_kind = {
    .name = "decoder.blocks", .summary = "the blocks, one after the other", .forward = ct_block_list_forward};

ct_status ct_decoder_register(ct_context *context) {
    const ct_module_kind *const kinds[] = {&root_kind, &block_kind, &list_kind, NULL};
    return ct_module_kinds_register(context, kinds);
}

/* ------------------------------------------------------------------------------------------- building */

static void set_real(ct_value *map, ct_context *context, const char *key, double value) {
    ct_value_set(map, key, ct_value_real(context, value));
}
static void set_bool(ct_value *map, ct_context *context, const char *key, bool value) {
    ct_value_set(map, key, ct_value_bool(context, value));
}

static ct_value *attention_options(ct_context *context, const ct_decoder_plan *plan, int64_t layer) {
    const ct_decoder_options *o = plan->options;
    bool bias = o->attention_bias;
    double shrink = ct_norm_choice_init(&plan->norm, o->num_hidden_layers);
    ct_value *map = ct_option_ints(context, "width", o->hidden_size, "heads", o->num_attention_heads,
                                   "kv_heads", plan->kv_heads, "head_dim", plan->head_dim, "layer", layer,
                                   "window", ct_decoder_window(plan, layer), NULL);
    if (!map) return NULL;
    set_bool(map, context, "bias", bias || plan->family->qkv_bias);
    set_bool(map, context, "out_bias", bias);
    set_bool(map, context, "qk_norm", plan->family->qk_norm);
    set_real(map, context, "norm_eps", o->rms_norm_eps);
    set_real(map, context, "dropout", o->attention_dropout);
    set_real(map, context, "softcap", plan->attention_cap);
    if (o->query_pre_attn_scalar > 0) set_real(map, context, "scale", 1 / sqrt(o->query_pre_attn_scalar));
    set_real(map, context, "init_scale", o->initializer_range);
    set_real(map, context, "value_scale", o->initializer_range * shrink);
    set_real(map, context, "proj_scale", o->initializer_range * shrink);
    ct_value_set(map, "rope", ct_value_copy(plan->rope));
    return map;
}

static ct_value *perceptron_options(ct_context *context, const ct_decoder_plan *plan) {
    const ct_decoder_options *o = plan->options;
    ct_value *map = ct_option_ints(context, "width", o->hidden_size, "inner", o->intermediate_size, NULL);
    if (!map) return NULL;
    ct_value_set(map, "activation", ct_value_string(context, plan->activation));
    set_bool(map, context, "bias", o->mlp_bias);
    set_real(map, context, "init_scale",
             o->initializer_range * ct_norm_choice_init(&plan->norm, o->num_hidden_layers));
    return map;
}

/* Norms are called as Llama calls them, and where each sublayer has two, as Gemma 2 does. */
static void add_block(ct_module *list, int64_t layer, const ct_decoder_plan *plan) {
    const ct_decoder_options *o = plan->options;
    ct_context *context = list->context;
    bool two = ct_norm_choice_place(&plan->norm, layer, o->num_hidden_layers) == CT_PLACE_PERI;
    ct_module *block = ct_block_add(list, "decoder.block", layer, o->num_hidden_layers, &plan->norm);
    if (!block) return;
    ct_block_add_sublayer(block, &plan->norm, o->hidden_size, "input_layernorm", "post_attention_layernorm",
                          "self_attn", "attention", attention_options(context, plan, layer));
    ct_block_add_sublayer(
        block, &plan->norm, o->hidden_size, two ? "pre_feedforward_layernorm" : "post_attention_layernorm",
        "post_feedforward_layernorm", "mlp", "gated_mlp", perceptron_options(context, plan));
}

static void add_embedding(ct_module *root, const ct_decoder_options *o) {
    ct_value *map = ct_option_ints(root->context, "rows", o->vocab_size, "width", o->hidden_size, NULL);
    if (map) set_real(map, root->context, "init_scale", o->initializer_range);
    ct_module_child_of_kind(root, "embed_tokens", "embedding", map);
}

static void add_head(ct_module *root, const ct_decoder_options *o) {
    ct_context *context = root->context;
    ct_value *map = ct_option_ints(context, "in", o->hidden_size, "out", o->vocab_size, NULL);
    if (map) set_bool(map, context, "bias", false);
    if (map) set_real(map, context, "init_scale", o->initializer_range);
    if (map && o->tie_word_embeddings)
        ct_value_set(map, "tied_to", ct_value_string(context, "embed_tokens.weight"));
    ct_module_child_of_kind(root, "lm_head", "linear", map);
}

static ct_module *build_root(ct_context *context, const ct_decoder_plan *plan) {
    const ct_architecture *architecture = plan->family->architecture;
    ct_value *map = ct_option_ints(context, "positions", architecture->context_length(plan->options), NULL);
    if (map) set_bool(map, context, "scale_embedding", plan->family->scale_embedding);
    if (map) set_real(map, context, "logit_softcap", plan->final_cap);
    ct_module *root = ct_module_create(context, &root_kind, "", map);
    ct_value_free(map);
    return root;
}

ct_module *ct_decoder_build(ct_context *context, const void *options, const ct_value *config) {
    const ct_decoder_options *o = options;
    ct_decoder_plan plan;
    bool planned = ct_decoder_plan_read(context, o, config, &plan) == CT_OK;
    ct_module *root = planned ? build_root(context, &plan) : NULL;
    if (root) {
        add_embedding(root, o);
        ct_module *list = ct_module_child_of_kind(root, "layers", "decoder.blocks", NULL);
        for (int64_t i = 0; list && i < o->num_hidden_layers && !ct_failed(context); i++)
            add_block(list, i, &plan);
        ct_norm_choice_add(root, "norm", o->hidden_size, &plan.norm);
        add_head(root, o);
        if (plan.norm.emb) ct_norm_choice_add(root, "embed_norm", o->hidden_size, &plan.norm);
    }
    ct_decoder_plan_free(&plan);
    if (!ct_failed(context)) return root;
    ct_module_destroy(root);
    return NULL;
}
