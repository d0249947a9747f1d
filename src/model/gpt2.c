/* gpt2.c - GPT-2 (Radford et al., "Language models are unsupervised multitask learners", 2019): learned
 * positions, layer norm before each sublayer (or another norm elsewhere: the key "norm"), tied head. Names
 * and options as Hugging Face's GPT2LMHeadModel has them.
 *
 * ids [batch, time] -> logits [batch, time, vocab_size]. */
#include "base/ending.h"
#include "model/parts.h"
#include "nn/layers.h"
#include "nn/positions.h"
#include "nn/run.h"
#include <math.h>
#include <string.h>

typedef struct gpt2_options {
    int64_t vocab_size, n_positions, n_embd, n_layer, n_head, head_dim, n_inner, bos_token_id, eos_token_id;
    int activation_function;
    double resid_pdrop, embd_pdrop, attn_pdrop, layer_norm_epsilon, initializer_range;
    bool tie_word_embeddings, scale_attn_weights, lm_head_bias;
    const ct_value *norm;
} gpt2_options;

static const ct_option gpt2_table[] = {
    CT_OPTION_INT("vocab_size", gpt2_options, vocab_size, 50257, 1, 1e8, "tokens"),
    CT_OPTION_INT("n_positions", gpt2_options, n_positions, 1024, 1, 1e8, "the longest sequence"),
    CT_OPTION_INT("n_embd", gpt2_options, n_embd, 768, 1, 1e6, "width"),
    CT_OPTION_INT("n_layer", gpt2_options, n_layer, 12, 1, 1e4, "blocks"),
    CT_OPTION_INT("n_head", gpt2_options, n_head, 12, 1, 1e4, "attention heads"),
    CT_OPTION_INT("head_dim", gpt2_options, head_dim, 0, 0, 1e6, "channels of a head; 0: n_embd / n_head"),
    CT_OPTION_INT("n_inner", gpt2_options, n_inner, 0, 0, 1e7, "width of the perceptron; 0: 4 n_embd"),
    CT_OPTION_CHOICE("activation_function", gpt2_options, activation_function, "gelu_new", ct_perceptron_names,
                     "of the perceptron"),
    CT_OPTION_REAL("resid_pdrop", gpt2_options, resid_pdrop, 0.1, 0, 0.999, "dropout on what blocks add"),
    CT_OPTION_REAL("embd_pdrop", gpt2_options, embd_pdrop, 0.1, 0, 0.999, "dropout on embeddings"),
    CT_OPTION_REAL("attn_pdrop", gpt2_options, attn_pdrop, 0.1, 0, 0.999,
                   "dropout on attention probabilities"),
    CT_OPTION_REAL("layer_norm_epsilon", gpt2_options, layer_norm_epsilon, 1e-5, 0, 1, "of the layer norms"),
    CT_OPTION_REAL("initializer_range", gpt2_options, initializer_range, 0.02, 1e-9, 10,
                   "deviation of initial weights"),
    CT_OPTION_BOOL("tie_word_embeddings", gpt2_options, tie_word_embeddings, true, "the head shares wte"),
    CT_OPTION_BOOL("scale_attn_weights", gpt2_options, scale_attn_weights, true,
                   "scores by 1/sqrt(channels)"),
    CT_OPTION_BOOL("lm_head_bias", gpt2_options, lm_head_bias, false,
                   "the head has a bias (a norm's, folded into it; no file of others has it)"),
    CT_OPTION_VALUE(
        "norm", gpt2_options, norm,
        "a norm's name, or {name, place: pre|post|mix|peri|deepnorm, alpha, peri, and its options}"),
    CT_OPTION_INT("bos_token_id", gpt2_options, bos_token_id, -1, -1, 1e8, "begins a text; -1: none"),
    CT_OPTION_INT("eos_token_id", gpt2_options, eos_token_id, -1, -1, 1e8, "ends a text; -1: none"),
    CT_OPTION_END};

/* ----------------------------------------------------------------------------------------- attention */

typedef struct attention_options {
    int64_t width, heads, head_dim, layer;
    double attn_pdrop, resid_pdrop, init_scale, value_scale, proj_scale;
    bool scaled;
} attention_options;

static const ct_option attention_table[] = {
    CT_OPTION_INT("width", attention_options, width, 768, 1, 1e6, "channels of the residual stream"),
    CT_OPTION_INT("heads", attention_options, heads, 12, 1, 1e4, "heads"),
    CT_OPTION_INT("head_dim", attention_options, head_dim, 0, 0, 1e6, "channels of a head; 0: width / heads"),
    CT_OPTION_INT("layer", attention_options, layer, 0, 0, 1e6, "which place in the key-value cache"),
    CT_OPTION_REAL("attn_pdrop", attention_options, attn_pdrop, 0, 0, 0.999, "dropout on probabilities"),
    CT_OPTION_REAL("resid_pdrop", attention_options, resid_pdrop, 0, 0, 0.999, "dropout on the result"),
    CT_OPTION_REAL("init_scale", attention_options, init_scale, 0.02, 0, 10, "deviation of initial weights"),
    CT_OPTION_REAL("value_scale", attention_options, value_scale, 0, 0, 10,
                   "deviation of the initial weights of values; 0: init_scale"),
    CT_OPTION_REAL("proj_scale", attention_options, proj_scale, 0.02, 0, 10,
                   "deviation of the initial c_proj"),
    CT_OPTION_BOOL("scaled", attention_options, scaled, true, "scores by 1/sqrt(channels)"),
    CT_OPTION_END};

/* Channels of all heads together: those of the stream, but for a stream that was made narrower. */
static int64_t inner_width(const attention_options *o) {
    return o->head_dim ? o->heads * o->head_dim : o->width;
}

static ct_status attention_build(ct_module *module) {
    const attention_options *o = ct_module_options(module);
    if (!o->head_dim && o->width % o->heads)
        return ct_fail(module->context, CT_ERROR_ARGUMENT,
                       "gpt2: n_embd %lld is not a multiple of n_head %lld", (long long)o->width,
                       (long long)o->heads);
    int64_t inner = inner_width(o);
    ct_value *qkv = ct_linear_options(module->context, o->width, 3 * inner, o->init_scale);
    if (qkv && o->value_scale > 0) {
        ct_value_set(qkv, "tail", ct_value_int(module->context, inner));
        ct_value_set(qkv, "tail_scale", ct_value_real(module->context, o->value_scale / o->init_scale));
    }
    ct_module_child_of_kind(module, "c_attn", "conv1d", qkv);
    ct_module_child_of_kind(module, "c_proj", "conv1d",
                            ct_linear_options(module->context, inner, o->width, o->proj_scale));
    return ct_context_status(module->context);
}

/* qkv [batch, time, 3 inner] as q, k, v [batch, heads, time, channels], views. */
static bool split_heads(ct_tensor *qkv, const attention_options *o, ct_tensor *parts[3]) {
    int64_t batch = ct_dim(qkv, 0), time = ct_dim(qkv, 1), inner = inner_width(o), channels = inner / o->heads;
    if (ct_split(qkv, 2, 3, (const int64_t[]){inner, inner, inner}, parts) != CT_OK) return false;
    for (int i = 0; i < 3; i++)
        parts[i] = ct_transpose(ct_reshape(parts[i], CT_DIMS(batch, time, o->heads, channels)), 1, 2);
    return true;
}

static ct_tensor *attend(ct_run *run, ct_module *module, ct_tensor *qkv) {
    const attention_options *o = ct_module_options(module);
    ct_kv_cache *cache = ct_run_cache(run);
    ct_attention_options options = {
        .causal = true, .scale = o->scaled ? 0 : 1, .mask = ct_run_segment_mask(run)};
    bool in_sight;
    if (!ct_attention_can_run(run, module, o->attn_pdrop, &in_sight)) return qkv;
    if (!cache && !in_sight) return ct_attention_packed(qkv, o->heads, o->heads, &options);
    ct_tensor *parts[3];
    if (!split_heads(qkv, o, parts)) return qkv;
    ct_tensor *mixed =
        cache ? ct_kv_cache_attend(cache, o->layer, parts[0], parts[1], parts[2], &options)
              : ct_attention_explicit(run, module, parts[0], parts[1], parts[2], &options, o->attn_pdrop);
    return ct_reshape(ct_transpose(mixed, 1, 2), CT_DIMS(ct_dim(qkv, 0), ct_dim(qkv, 1), inner_width(o)));
}

static ct_tensor *attention_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    if (!ct_module_expect_children(module, 2)) return inputs[0];
    const attention_options *o = ct_module_options(module);
    ct_tensor *qkv = ct_run_point(run, module, "qkv", ct_forward1(run, module->children[0], inputs[0]));
    ct_tensor *mixed = ct_run_point(run, module, "mixed", attend(run, module, qkv));
    return ct_run_dropout(run, ct_forward1(run, module->children[1], mixed), o->resid_pdrop);
}

static const ct_module_kind attention_kind = {.name = "gpt2.attention",
                                              .summary = "causal self-attention with a fused qkv projection",
                                              .options = attention_table,
                                              .options_size = sizeof(attention_options),
                                              .build = attention_build,
                                              .forward = attention_forward};

/* ------------------------------------------------------------------------------------------- blocks */

/* Norms and sublayers ln_1, attn, ln_2, mlp; any of them may have been replaced. */
static const ct_module_kind block_kind = {.name = "gpt2.block",
                                          .summary = "attention and a perceptron on a residual stream",
                                          .options = ct_block_table,
                                          .options_size = sizeof(ct_block_options),
                                          .forward = ct_block_forward};
static const ct_module_kind list_kind = {
    .name = "gpt2.blocks", .summary = "the blocks, one after the other", .forward = ct_block_list_forward};

/* --------------------------------------------------------------------------------------------- root */

static ct_tensor *embed(ct_run *run, ct_module *module, ct_tensor *ids) {
    const gpt2_options *o = ct_module_options(module);
    ct_scope scope = ct_scope_open(module->context);
    ct_tensor *positions = ct_run_positions(run, ct_dim(ids, 0), ct_dim(ids, 1), o->n_positions, false);
    ct_tensor *x = ct_add(ct_forward1(run, module->children[0], ids),
                          ct_forward1(run, module->children[1], positions));
    ct_module *norm = ct_module_find(module, "ln_emb");
    if (norm) x = ct_forward1(run, norm, x);
    x = ct_run_point(run, module, "embedded", ct_run_dropout(run, x, o->embd_pdrop));
    return ct_scope_return(module->context, scope, x);
}

/* Children: wte, wpe, h, ln_f, lm_head, and ln_emb where there is a norm on the embeddings. */
static ct_tensor *root_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    ct_tensor *ids = inputs[0];
    if (!ct_module_expect_children(module, 5)) return ids;
    if (ct_ndim(ids) != 2) {
        char text[160];
        ct_fail(module->context, CT_ERROR_SHAPE, "gpt2: input %s, expected ids [batch, time]",
                ct_describe(ids, text, sizeof(text)));
        return ids;
    }
    ct_tensor *x = ct_forward1(run, module->children[2], embed(run, module, ids));
    if (ct_run_position_of(run)->last_only) x = ct_slice(x, 1, ct_dim(x, 1) - 1, ct_dim(x, 1), 1);
    x = ct_run_point(run, module, "final", ct_forward1(run, module->children[3], x));
    return ct_run_point(run, module, "logits", ct_forward1(run, module->children[4], x));
}

static const ct_option root_table[] = {
    CT_OPTION_INT("n_positions", gpt2_options, n_positions, 1024, 1, 1e8, "the longest sequence"),
    CT_OPTION_REAL("embd_pdrop", gpt2_options, embd_pdrop, 0, 0, 0.999, "dropout on embeddings"),
    CT_OPTION_END};

static const ct_module_kind root_kind = {.name = "gpt2",
                                         .summary = "GPT-2 with its language-model head",
                                         .options = root_table,
                                         .options_size = sizeof(gpt2_options),
                                         .forward = root_forward};

/* What blocks are made with. Residual projections start smaller by sqrt(2 n_layer), as GPT-2 does; where
 * norms stand behind the sum, values, projections and perceptron by what the place asks. */
typedef struct block_plan {
    const gpt2_options *options;
    ct_norm_choice norm;
    double inner_scale, proj_scale;
} block_plan;

static void plan_scales(block_plan *plan) {
    const gpt2_options *o = plan->options;
    double shrink = ct_norm_choice_init(&plan->norm, o->n_layer);
    bool deep = plan->norm.place == CT_PLACE_DEEPNORM;
    plan->inner_scale = o->initializer_range * shrink;
    plan->proj_scale = deep ? plan->inner_scale : o->initializer_range / sqrt(2.0 * (double)o->n_layer);
}

static void add_block(ct_module *list, int64_t layer, const block_plan *plan) {
    ct_context *context = list->context;
    const gpt2_options *o = plan->options;
    ct_module *block = ct_block_add(list, "gpt2.block", layer, o->n_layer, &plan->norm);
    ct_value *attention =
        ct_option_ints(context, "width", o->n_embd, "heads", o->n_head, "layer", layer, NULL);
    ct_value *mlp =
        ct_option_ints(context, "width", o->n_embd, "inner", o->n_inner ? o->n_inner : 4 * o->n_embd, NULL);
    if (!block || !attention || !mlp) {
        ct_value_free(attention);
        ct_value_free(mlp);
        return;
    }
    if (o->head_dim) ct_value_set(attention, "head_dim", ct_value_int(context, o->head_dim));
    ct_value_set(attention, "attn_pdrop", ct_value_real(context, o->attn_pdrop));
    ct_value_set(attention, "resid_pdrop", ct_value_real(context, o->resid_pdrop));
    ct_value_set(attention, "init_scale", ct_value_real(context, o->initializer_range));
    if (plan->inner_scale != o->initializer_range)
        ct_value_set(attention, "value_scale", ct_value_real(context, plan->inner_scale));
    ct_value_set(attention, "proj_scale", ct_value_real(context, plan->proj_scale));
    ct_value_set(attention, "scaled", ct_value_bool(context, o->scale_attn_weights));
    ct_value_set(mlp, "activation", ct_value_string(context, ct_perceptron_names[o->activation_function]));
    ct_value_set(mlp, "resid_pdrop", ct_value_real(context, o->resid_pdrop));
    ct_value_set(mlp, "init_scale", ct_value_real(context, plan->inner_scale));
    ct_value_set(mlp, "proj_scale", ct_value_real(context, plan->proj_scale));
    ct_block_add_sublayer(block, &plan->norm, o->n_embd, "ln_1", "ln_1_out", "attn", "gpt2.attention",
                          attention);
    ct_block_add_sublayer(block, &plan->norm, o->n_embd, "ln_2", "ln_2_out", "mlp", "gpt2.mlp", mlp);
}

static void add_embedding(ct_module *root, const char *name, int64_t rows, const gpt2_options *o) {
    ct_value *map = ct_option_ints(root->context, "rows", rows, "width", o->n_embd, NULL);
    if (map) ct_value_set(map, "init_scale", ct_value_real(root->context, o->initializer_range));
    ct_module_child_of_kind(root, name, "embedding", map);
}

static void add_head(ct_module *root, const gpt2_options *o) {
    ct_context *context = root->context;
    ct_value *head = ct_linear_options(context, o->n_embd, o->vocab_size, o->initializer_range);
    if (head) ct_value_set(head, "bias", ct_value_bool(context, o->lm_head_bias));
    if (head && o->tie_word_embeddings) ct_value_set(head, "tied_to", ct_value_string(context, "wte.weight"));
    ct_module_child_of_kind(root, "lm_head", "linear", head);
}

static ct_module *gpt2_build(ct_context *context, const void *options, const ct_value *config) {
    (void)config;
    const gpt2_options *o = options;
    block_plan plan = {.options = o};
    if (ct_norm_choice_read(context, o->norm, o->layer_norm_epsilon, &plan.norm) == CT_OK) plan_scales(&plan);
    ct_value *map = ct_option_ints(context, "n_positions", o->n_positions, NULL);
    if (map) ct_value_set(map, "embd_pdrop", ct_value_real(context, o->embd_pdrop));
    ct_module *root = ct_module_create(context, &root_kind, "", map);
    ct_value_free(map);
    if (root) {
        add_embedding(root, "wte", o->vocab_size, o);
        add_embedding(root, "wpe", o->n_positions, o);
        ct_module *list = ct_module_child_of_kind(root, "h", "gpt2.blocks", NULL);
        for (int64_t i = 0; list && i < o->n_layer && !ct_failed(context); i++)
            add_block(list, i, &plan);
        ct_norm_choice_add(root, "ln_f", o->n_embd, &plan.norm);
        add_head(root, o);
        if (plan.norm.emb) ct_norm_choice_add(root, "ln_emb", o->n_embd, &plan.norm);
    }
    ct_norm_choice_free(&plan.norm);
    if (!ct_failed(context)) return root;
    ct_module_destroy(root);
    return NULL;
}

ct_status ct_gpt2_register(ct_context *context) {
    const ct_module_kind *const kinds[] = {&attention_kind, &block_kind, &list_kind, &root_kind, NULL};
    ct_status status = ct_module_kinds_register(context, kinds);
    return status == CT_OK ? ct_perceptron_register(context) : status;
}

/* ------------------------------------------------------------------------------------- architecture */

static char *file_name(ct_context *context, const char *path) {
    bool head = strncmp(path, "lm_head.", 8) == 0;
    return ct_format(context, "%s%s", head ? "" : "transformer.", path);
}

/* Causal masks that old files carry (h.0.attn.bias, h.0.attn.masked_bias), and a head that is tied anyway. */
static bool is_buffer(const char *name) {
    return ct_ends_with(name, ".attn.bias") || ct_ends_with(name, ".attn.masked_bias") ||
           strcmp(name, "lm_head.weight") == 0;
}

static int64_t context_length(const void *options) {
    return ((const gpt2_options *)options)->n_positions;
}
static int64_t vocabulary(const void *options) {
    return ((const gpt2_options *)options)->vocab_size;
}
static int64_t layers(const void *options) {
    return ((const gpt2_options *)options)->n_layer;
}

static ct_status narrow(ct_context *context, const void *options, ct_value *config) {
    const gpt2_options *o = options;
    ct_value_set(config, "n_embd", ct_value_int(context, o->n_embd - 1));
    ct_value_set(config, "head_dim", ct_value_int(context, o->head_dim ? o->head_dim : o->n_embd / o->n_head));
    return ct_value_set(config, "n_inner", ct_value_int(context, o->n_inner ? o->n_inner : 4 * o->n_embd));
}

static const ct_stream_part stream[] = {{.module = "wte", .role = CT_STREAM_TABLE},
                                        {.module = "wpe", .role = CT_STREAM_TABLE},
                                        {.module = "h.*.attn.c_attn", .role = CT_STREAM_READER, .norm = "h.*.ln_1"},
                                        {.module = "h.*.attn.c_proj", .role = CT_STREAM_WRITER},
                                        {.module = "h.*.mlp.c_fc", .role = CT_STREAM_READER, .norm = "h.*.ln_2"},
                                        {.module = "h.*.mlp.c_proj", .role = CT_STREAM_WRITER},
                                        {.module = "lm_head", .role = CT_STREAM_READER, .norm = "ln_f"},
                                        {.module = NULL}};

const ct_architecture ct_architecture_gpt2 = {.model_type = "gpt2",
                                              .class_name = "GPT2LMHeadModel",
                                              .summary = "GPT-2",
                                              .options = gpt2_table,
                                              .options_size = sizeof(gpt2_options),
                                              .build = gpt2_build,
                                              .prefix = "transformer.",
                                              .file_name = file_name,
                                              .is_buffer = is_buffer,
                                              .context_length = context_length,
                                              .vocabulary = vocabulary,
                                              .layers = layers,
                                              .narrow = narrow,
                                              .stream = stream};
