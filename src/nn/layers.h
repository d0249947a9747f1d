/* layers.h - inside nn and model: what composite modules use of the basic ones. */
#ifndef CARAT_SRC_NN_LAYERS_H
#define CARAT_SRC_NN_LAYERS_H

#include "nn/module.h"

extern const char *const ct_activation_names[]; /* in the order of ct_activation, NULL-terminated */
extern const char *const ct_function_names[];   /* of the module kind activation: those, tanh and maxout */

/* activation(child(x)), in one kernel where the child is a linear or conv1d module. */
ct_tensor *ct_forward_activated(ct_run *run, ct_module *child, ct_tensor *x, ct_activation activation);
ct_tensor *ct_activate(ct_tensor *x, ct_activation activation);
/* For modules that run their children one after the other: *x, held by the caller, becomes child(*x), held.
 * Without a graph what it was before is gone, so that a forward pass needs the same memory for any number of
 * children. */
void ct_forward_into(ct_run *run, ct_module *child, ct_tensor **x);
/* A held tensor becomes the innermost scope's; returns it. */
ct_tensor *ct_give_to_scope(ct_context *context, ct_tensor *held);
/* softmax(scale q k' + causal mask) v with the probabilities in sight: for taps on "probs" and attention
 * dropout. q [batch, heads, queries, channels], k and v [batch, kv_heads, keys, channels]. */
ct_tensor *ct_attention_explicit(ct_run *run, ct_module *module, ct_tensor *q, ct_tensor *k, ct_tensor *v,
                                 const ct_attention_options *options, double dropout);
/* The kinds of attention.c and gated.c. */
extern const ct_module_kind ct_attention_kind, ct_gated_kind;
/* The kinds of norm.c. */
extern const ct_module_kind ct_norm_kind, ct_layer_norm_kind, ct_rms_norm_kind;
/* recurrent.c */
extern const ct_module_kind ct_recurrent_kind;
extern const char *const ct_cell_names[]; /* NULL-terminated */
/* Whether attention can run as it is asked to; else the error says why not. `in_sight`: probabilities are
 * dropped or tapped and have to be made (ct_attention_explicit), which the attention of a key-value cache
 * does not. */
bool ct_attention_can_run(ct_run *run, ct_module *module, double dropout, bool *in_sight);
/* Options of children as values: {"in": 4, "out": 8} from ct_option_ints(context, "in", in, "out", out, NULL)
 * with numbers of type int64_t. */
ct_value *ct_option_ints(ct_context *context, ...) __attribute__((sentinel));

/* A child of the kind "linear". */
void ct_module_add_linear(ct_module *module, const char *name, int64_t in, int64_t out, bool bias,
                          double init_scale);

#endif
