/* graph.h - inside autograd: nodes, edges, saved values, and the room's state in a context. */
#ifndef CARAT_SRC_AUTOGRAD_GRAPH_H
#define CARAT_SRC_AUTOGRAD_GRAPH_H

#include "base/context.h"
#include "tensor/tensor.h"
#include <carat/autograd.h>

enum { CT_MAX_SAVED = 8, CT_MAX_HOOKS = 16, CT_LEAF_USES = 4 };

/* An operand of a node: where its gradient goes (node may be NULL: nowhere) and what shape it has. */
typedef struct ct_operand {
    ct_node *node;
    int32_t output;
    uint8_t dtype, ndim;
    int64_t shape[CT_MAX_DIMS];
} ct_operand;

typedef enum ct_saved_kind { CT_SAVED_VALUE, CT_SAVED_OPERAND, CT_SAVED_OUTPUT } ct_saved_kind;

typedef struct ct_saved_slot {
    ct_tensor *alias; /* held, without a graph; NULL if hooks took the value */
    uint64_t version;
    void *token;
    ct_saved_hooks hooks; /* hooks.unpack NULL: none */
    uint8_t kind;
    bool repeated; /* an operand that its producer's rule makes again */
    int32_t index; /* which operand or output */
} ct_saved_slot;

/* What a leaf's node holds besides: where its gradient is delivered. */
typedef struct ct_leaf {
    ct_tensor *alias; /* the leaf's value, held */
    /* Accumulated gradients, held; NULL if none: one for each use of the leaf in a pass (tied weights have several),
     * so that each is a left fold over all passes. They are added when the gradient is asked for. */
    ct_tensor *gradient[CT_LEAF_USES];
    uint64_t pass; /* the pass that `uses` counts for */
    int uses;
    ct_gradient_sink sink;
    void *user;
} ct_leaf;

struct ct_node {
    int64_t references;
    uint64_t sequence;
    ct_context *context;
    const ct_rule *rule; /* &ct_leaf_rule for leaves */
    uint64_t mark;       /* the pass that saw it last, and its entry there */
    int64_t entry;
    ct_node *next; /* in the list of nodes to free */
    int32_t operand_count, output_count, saved_count;
    bool freed; /* saved values are gone */
    ct_leaf *leaf;
    void *attributes;
    ct_saved_slot saved[CT_MAX_SAVED];
    ct_operand operands[]; /* then the attributes */
};

/* What the rule that a pass runs may do besides (see rules.h). */
struct ct_running_rule {
    uint64_t may_wait;  /* operands whose gradients may still be unfinished when it returns */
    ct_tensor *pending; /* the sum for operand 0 so far */
    bool taken;         /* the rule's gradient contains it */
};

/* State of the room in a context. The gradient mode is bit 0 of context->flags (set: off), so trials restore it. */
typedef struct ct_autograd {
    uint64_t sequence, pass;
    ct_node *doomed; /* nodes whose count fell to zero, freed without recursion */
    bool freeing;
    ct_random random;
    ct_saved_hooks hooks[CT_MAX_HOOKS];
    int hook_count;
    struct ct_running_rule running;
} ct_autograd;

extern const ct_rule ct_leaf_rule;
ct_autograd *ct_autograd_of(ct_context *context);
void ct_node_release(ct_node *node);
/* Lets go of what the node saved; its rule cannot run again. */
void ct_node_free_saved(ct_node *node);
/* Gives a complete gradient to a leaf's sink. */
ct_status ct_leaf_deliver(ct_node *leaf, ct_tensor *gradient);
/* Adds a gradient to use number `use` of a leaf without a sink. */
ct_status ct_leaf_accumulate(ct_node *leaf, int use, ct_tensor *gradient);
/* Runs one rule in a scope of its own: gradients[i] (held by the caller afterwards, or NULL) for each wanted operand,
 * checked for shape and converted to the operand's type. `accumulate` as in ct_vjp. */
ct_status ct_node_run(ct_node *node, ct_tensor *const *output_gradients, const bool *wanted, bool recording,
                      ct_tensor *const *accumulate, ct_tensor **gradients);

#endif
