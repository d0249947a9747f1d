/* attention.c - the module kind "attention": causal self-attention with a projection each for queries, keys
 * and values and rotary positions, queries in groups that share a key head (Ainslie et al.,
 * arXiv:2305.13245). What families add is an option: norms of queries and keys, a sliding window, a soft cap
 * of the scores, biases.
 *
 * x [batch, time, width] -> [batch, time, width]. Points: q, k, v (after the rotation), probs, mixed. */
#include "nn/layers.h"
#include "nn/rotary.h"
#include <carat/norm.h>

typedef struct attention_options {
    int64_t width, heads, kv_heads, head_dim, layer, window;
    bool bias, out_bias, qk_norm;
    double dropout, softcap, scale, norm_eps, init_scale, value_scale, proj_scale;
    const ct_value *rope;
} attention_options;

static const ct_option attention_table[] = {
    CT_OPTION_INT("width", attention_options, width, 768, 1, 1e6, "channels of the residual stream"),
    CT_OPTION_INT("heads", attention_options, heads, 12, 1, 1e5, "query heads"),
    CT_OPTION_INT("kv_heads", attention_options, kv_heads, 12, 1, 1e5, "key and value heads"),
    CT_OPTION_INT("head_dim", attention_options, head_dim, 64, 1, 1e6, "channels of a head"),
    CT_OPTION_INT("layer", attention_options, layer, 0, 0, 1e6, "which place in the key-value cache"),
    CT_OPTION_INT("window", attention_options, window, 0, 0, 1e12,
                  "a token sees itself and so many less 1 before it; 0: all"),
    CT_OPTION_BOOL("bias", attention_options, bias, false, "of q_proj, k_proj and v_proj"),
    CT_OPTION_BOOL("out_bias", attention_options, out_bias, false, "of o_proj"),
    CT_OPTION_BOOL("qk_norm", attention_options, qk_norm, false, "rmsnorm of each head's queries and keys"),
    CT_OPTION_REAL("dropout", attention_options, dropout, 0, 0, 0.999, "on probabilities"),
    CT_OPTION_REAL("softcap", attention_options, softcap, 0, 0, 1e9,
                   "scores become c tanh(score / c); 0: off"),
    CT_OPTION_REAL("scale", attention_options, scale, 0, 0, 1e9, "of the scores; 0: 1/sqrt(head_dim)"),
    CT_OPTION_REAL("norm_eps", attention_options, norm_eps, 1e-6, 0, 1, "of qk_norm"),
    CT_OPTION_REAL("init_scale", attention_options, init_scale, 0.02, 0, 10, "deviation of initial weights"),
    CT_OPTION_REAL("value_scale", attention_options, value_scale, 0, 0, 10, "that of v_proj; 0: init_scale"),
    CT_OPTION_REAL("proj_scale", attention_options, proj_scale, 0, 0, 10, "that of o_proj; 0: init_scale"),
    CT_OPTION_VALUE("rope", attention_options, rope,
                    "rotary positions: {rope_type: default|linear|llama3|yarn, rope_theta, factor, ...}"),
    CT_OPTION_END};

enum { Q_PROJ, K_PROJ, V_PROJ, O_PROJ, Q_NORM, K_NORM };

/* --------------------------------------------------------------------------------------------- building */

static void rotary_release(ct_module *module) {
    ct_rotation_destroy(module->context, module->state);
    module->state = NULL;
}

static void add_head_norm(ct_module *module, const char *name) {
    const attention_options *o = ct_module_options(module);
    ct_value *map = ct_value_map(module->context);
    if (map) ct_value_set(map, "eps", ct_value_real(module->context, o->norm_eps));
    if (map) ct_norm_add(module, name, "rmsnorm", o->head_dim, map);
    ct_value_free(map);
}

static ct_status attention_build(ct_module *module) {
    const attention_options *o = ct_module_options(module);
    ct_context *context = module->context;
    int64_t inner = o->heads * o->head_dim, kv = o->kv_heads * o->head_dim;
    if (o->heads % o->kv_heads)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "attention: %lld heads are not a multiple of %lld key heads", (long long)o->heads,
                       (long long)o->kv_heads);
    module->state = ct_rotation_create(context, o->head_dim, o->rope, "attention.rope");
    module->state_release = rotary_release;
    ct_module_add_linear(module, "q_proj", o->width, inner, o->bias, o->init_scale);
    ct_module_add_linear(module, "k_proj", o->width, kv, o->bias, o->init_scale);
    ct_module_add_linear(module, "v_proj", o->width, kv, o->bias,
                         o->value_scale > 0 ? o->value_scale : o->init_scale);
    ct_module_add_linear(module, "o_proj", inner, o->width, o->out_bias,
                         o->proj_scale > 0 ? o->proj_scale : o->init_scale);
    if (o->qk_norm) add_head_norm(module, "q_norm");
    if (o->qk_norm) add_head_norm(module, "k_norm");
    return ct_context_status(context);
}

/* -------------------------------------------------------------------------------------------- computing */

/* A projection of x in heads: [batch, heads, time, channels], a view of the product. */
static ct_tensor *heads_of(ct_run *run, ct_module *module, int projection, int norm, ct_tensor *x,
                           int64_t heads) {
    const attention_options *o = ct_module_options(module);
    ct_tensor *y = ct_forward1(run, module->children[projection], x);
    y = ct_reshape(y, CT_DIMS(ct_dim(x, 0), ct_dim(x, 1), heads, o->head_dim));
    if (norm && o->qk_norm) y = ct_forward1(run, module->children[norm], y);
    return ct_transpose(y, 1, 2);
}

static ct_tensor *attend(ct_run *run, ct_module *module, ct_tensor *q, ct_tensor *k, ct_tensor *v) {
    const attention_options *o = ct_module_options(module);
    ct_kv_cache *cache = ct_run_cache(run);
    ct_attention_options options = {.causal = true,
                                    .window = o->window,
                                    .scale = o->scale,
                                    .softcap = o->softcap,
                                    .mask = ct_run_segment_mask(run)};
    bool in_sight;
    if (!ct_attention_can_run(run, module, o->dropout, &in_sight)) return q;
    if (cache) return ct_kv_cache_attend(cache, o->layer, q, k, v, &options);
    if (in_sight) return ct_attention_explicit(run, module, q, k, v, &options, o->dropout);
    return ct_attention(q, k, v, &options);
}

static ct_tensor *attention_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    const attention_options *o = ct_module_options(module);
    ct_context *context = module->context;
    ct_tensor *x = inputs[0], *cos = NULL, *sin = NULL;
    if (!ct_module_expect_children(module, o->qk_norm ? K_NORM + 1 : O_PROJ + 1)) return x;
    if (ct_ndim(x) != 3) {
        char text[160];
        ct_fail(context, CT_ERROR_SHAPE, "%s: input %s, expected [batch, time, width]",
                ct_module_path(module), ct_describe(x, text, sizeof(text)));
        return x;
    }
    if (ct_rotation_tables(run, module->state, ct_dim(x, 0), ct_dim(x, 1), &cos, &sin) != CT_OK) return x;
    ct_tensor *q = ct_rotary(heads_of(run, module, Q_PROJ, Q_NORM, x, o->heads), cos, sin, false);
    ct_tensor *k = ct_rotary(heads_of(run, module, K_PROJ, K_NORM, x, o->kv_heads), cos, sin, false);
    q = ct_run_point(run, module, "q", q);
    k = ct_run_point(run, module, "k", k);
    ct_tensor *v = ct_run_point(run, module, "v", heads_of(run, module, V_PROJ, 0, x, o->kv_heads));
    ct_tensor *mixed = ct_transpose(attend(run, module, q, k, v), 1, 2);
    mixed = ct_reshape(mixed, CT_DIMS(ct_dim(x, 0), ct_dim(x, 1), o->heads * o->head_dim));
    return ct_forward1(run, module->children[O_PROJ], ct_run_point(run, module, "mixed", mixed));
}

const ct_module_kind ct_attention_kind = {
    .name = "attention",
    .summary = "causal self-attention with rotary positions and grouped queries",
    .options = attention_table,
    .options_size = sizeof(attention_options),
    .build = attention_build,
    .forward = attention_forward};
