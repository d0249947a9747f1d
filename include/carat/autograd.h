/* autograd.h - the graph, gradients of any order, sinks, deferred gradients, hooks on saved values, checkpointing,
 * and operations from outside the engine.
 *
 * Operations run at once. When gradients are on and an operand requires one, the result owns a node: a rule, edges
 * to the nodes of the operands, saved values, attributes. Nodes are reference counted and ordered by a sequence
 * number; the graph belongs to its values, not to a scope. */
#ifndef CARAT_AUTOGRAD_H
#define CARAT_AUTOGRAD_H

#include <carat/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Makes a leaf: gradients with respect to it can be asked for, and ct_backward delivers into it. */
ct_status ct_require_grad(ct_tensor *tensor, bool required);
bool ct_requires_grad(const ct_tensor *tensor); /* a leaf that requires it, or a result that depends on one */
bool ct_has_node(const ct_tensor *tensor);      /* a result with a graph behind it */

/* Gradient mode of the context: off inside, put back by ct_grad_mode_set(context, the returned value). */
bool ct_grad_mode_set(ct_context *context, bool on);
bool ct_grad_mode(const ct_context *context);

typedef enum ct_grad_flags {
    CT_GRAD_DEFAULT = 0,
    CT_GRAD_KEEP_GRAPH = 1,   /* saved values stay for another pass */
    CT_GRAD_RECORD = 2,       /* record the backward pass: its results can be differentiated (implies KEEP_GRAPH) */
    CT_GRAD_ALLOW_UNUSED = 4, /* an input the outputs do not depend on gets NULL instead of an error */
} ct_grad_flags;

/* gradients[i] = sum over j of output_gradients[j] . d outputs[j] / d inputs[i], each of the shape of inputs[i].
 * output_gradients may be NULL (all ones, for scalar outputs only) and so may its elements. Inputs may be leaves or
 * results in the middle of the graph. Nothing is accumulated into leaves. */
ct_status ct_grad(ct_tensor *const *outputs, int output_count, ct_tensor *const *output_gradients,
                  ct_tensor *const *inputs, int input_count, ct_tensor **gradients, int flags);

/* Delivers gradients of `output` to the sink of every leaf it depends on, the moment each is complete. The sink of a
 * leaf is, at first, accumulation into ct_gradient(leaf). */
ct_status ct_backward(ct_tensor *output, ct_tensor *output_gradient, int flags);
/* The accumulated gradient, NULL if none yet. Owned by the leaf: hold it to keep it. */
ct_tensor *ct_gradient(const ct_tensor *leaf);
ct_status ct_gradient_set(ct_tensor *leaf, ct_tensor *gradient); /* NULL clears */
/* Called with the complete gradient of one backward pass; the gradient dies after the call unless held. A NULL sink
 * brings accumulation back. Errors stop the pass. */
typedef ct_status (*ct_gradient_sink)(void *user, ct_tensor *leaf_alias, ct_tensor *gradient);
ct_status ct_set_gradient_sink(ct_tensor *leaf, ct_gradient_sink sink, void *user);

/* Two-phase backward. Input gradients flow now; for every edge from an operation to a leaf, the work is queued. Each
 * queued item is one operation's gradients with respect to its leaves, to be run in any order, later. Leaves then
 * receive their contributions item by item through their sinks. Gradients that accumulate have the bits that
 * ct_backward gives, in whatever order the items of a pass are run, as long as the passes follow each other (and no leaf
 * is used more than four times in one). */
typedef struct ct_deferred ct_deferred;
ct_deferred *ct_deferred_create(ct_context *context);
void ct_deferred_destroy(ct_deferred *deferred);
ct_status ct_backward_deferred(ct_tensor *output, ct_tensor *output_gradient, ct_deferred *deferred, int flags);
int64_t ct_deferred_count(const ct_deferred *deferred);
/* Runs item `index` (0 is the first queued) and frees what it saved; running it twice is an error. */
ct_status ct_deferred_run(ct_deferred *deferred, int64_t index);

/* ------------------------------------------------------------------------------------- saved values ----- */

/* Every value a node saves passes through the innermost hooks. `pack` returns a token and may let go of the tensor
 * (hold it to keep it); `unpack` gives back a tensor of the same shape and type; `release` frees the token. Hooks
 * are used for checkpointing, offloading and compression of activations. Leaves (weights) are passed with is_leaf. */
typedef struct ct_saved_hooks {
    void *(*pack)(void *user, ct_tensor *value, bool is_leaf);
    ct_tensor *(*unpack)(void *user, void *token);
    void (*release)(void *user, void *token);
    void *user;
} ct_saved_hooks;
void ct_saved_hooks_push(ct_context *context, const ct_saved_hooks *hooks);
void ct_saved_hooks_pop(ct_context *context);

/* Runs `function(user, inputs, input_count)` and keeps none of what it saves: the backward pass runs it again. The
 * function must be repeatable (it may draw from ct_default_random, which is wound back for the second run). `user`
 * must stay valid until the graph is gone; `release(user)` is called then (may be NULL). */
typedef ct_tensor *(*ct_segment)(void *user, ct_tensor *const *inputs, int input_count);
ct_tensor *ct_checkpoint(ct_context *context, ct_segment function, void *user, void (*release)(void *user),
                         ct_tensor *const *inputs, int input_count);
/* The generator that dropout and other random layers draw from. */
ct_random *ct_default_random(ct_context *context);
void ct_seed(ct_context *context, uint64_t seed);

/* ------------------------------------------------------------------------- operations from outside ----- */

typedef struct ct_node ct_node;

/* What a rule sees while it runs. output_gradients[j] is NULL when nothing depends on output j. */
typedef struct ct_vjp {
    ct_context *context;
    ct_node *node;
    const void *attributes;
    ct_tensor *const *output_gradients;
    const bool *wanted; /* per operand */
    bool recording;     /* write with differentiable operations; otherwise fused kernels may be used */
    /* accumulate[i], if not NULL, holds the gradient of leaf operand i from earlier passes. A rule may add to it in
     * place and give it back as input_gradients[i]; it must not if its own gradient would then be formed in another
     * order. Parameter gradients of the library's layers are left folds over the sequences of the batch, so that
     * they do not depend on how the batch was cut into passes. */
    ct_tensor *const *accumulate;
} ct_vjp;

typedef struct ct_rule {
    const char *name;
    /* Sets input_gradients[i], of the shape of operand i, where wanted[i]; NULL means zero. Written with the public
     * operations of ops.h it can itself be differentiated. */
    void (*vjp)(const ct_vjp *call, ct_tensor **input_gradients);
    size_t attribute_size;
    void (*release)(void *attributes); /* frees what attributes point to; may be NULL */
    /* Both or none: whether output 0 can be made again, to the same bits, from what this node saves, at the cost of
     * about one pass over it; and making it. Later operations then save nothing when they save a large output of
     * this one. */
    bool (*can_repeat)(const void *attributes);
    ct_tensor *(*repeat)(const ct_vjp *call);
} ct_rule;

/* Gives `outputs` (fresh tensors) a node if gradients are on and an operand requires one; returns it, or NULL when
 * none is needed (then nothing is to be saved). Attributes are copied. */
ct_node *ct_record(ct_context *context, const ct_rule *rule, ct_tensor *const *operands, int operand_count,
                   ct_tensor *const *outputs, int output_count, const void *attributes);
/* Saves an operand, an output, or any other value for the rule, which gets it back by its position: the order of the
 * calls (0, 1, ...). A saved operand or output is connected to the graph again when the backward pass is recorded. */
void ct_save_operand(ct_node *node, int operand, ct_tensor *value);
void ct_save_output(ct_node *node, int output, ct_tensor *value);
void ct_save_value(ct_node *node, ct_tensor *value);
/* From a rule: saved value number `position`. A value changed in place since is an error. */
ct_tensor *ct_saved(const ct_vjp *call, int position);
/* From a rule: shape and type of operand number `operand`, saved or not: a meta tensor. */
int ct_operand_ndim(const ct_vjp *call, int operand);
const int64_t *ct_operand_shape(const ct_vjp *call, int operand);
ct_dtype ct_operand_dtype(const ct_vjp *call, int operand);

/* Largest relative difference between the gradient of sum(function(inputs) * fixed random weights) and central
 * differences with step `epsilon`, over all elements of all f64 inputs; with `second_order`, of the gradient itself
 * (differentiating a random projection of it). For tests of rules. */
typedef ct_tensor *(*ct_check_function)(void *user, ct_tensor *const *inputs);
ct_status ct_gradient_check(ct_context *context, ct_check_function function, void *user, ct_tensor *const *inputs,
                            int input_count, double epsilon, bool second_order, double *worst);

#ifdef __cplusplus
}
#endif
#endif
