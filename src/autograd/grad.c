/* grad.c - the backward pass.
 *
 * A pass first finds the nodes that the outputs depend on, and which of them lead to what is asked for. It then runs
 * their rules from the latest recorded to the earliest (every user of a value was recorded after it, so its gradient
 * is complete by then). A leaf is served the moment its last user has run. Sums of gradients are made in that order,
 * which depends on the program alone. */
#include "autograd/graph.h"
#include "autograd/rules.h"
#include "tensor/raw.h"
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    ct_node *node;
    bool needed;           /* leads to something asked for */
    int64_t pending;       /* edges from entries that have not run yet */
    int64_t first_edge;    /* into pass.edges: the entry of each operand's node, -1 for none */
    int64_t first_gradient; /* into pass.gradients: one an output */
} entry;

/* A result in the middle of the graph whose gradient is asked for. */
typedef struct capture {
    ct_node *node;
    int32_t output;
    ct_tensor **gradient;
} capture;

typedef struct pass {
    ct_context *context;
    uint64_t id;
    int flags;
    ct_deferred *deferred; /* NULL: leaves are served now */
    capture *captures;     /* NULL for ct_backward: all leaves are asked for */
    int capture_count;
    entry *entries; /* by falling sequence */
    int64_t count, capacity;
    int64_t *edges;
    ct_tensor **gradients;
    ct_tensor **rule_gradients; /* for one rule: as many as the most operands of a node */
    ct_tensor **accumulate;     /* likewise */
    bool *wanted;
    int64_t edge_count, gradient_count;
    int most_operands;
} pass;

struct deferred_item {
    ct_node *node; /* owned; NULL when it has run */
    ct_tensor **output_gradients;
    int *uses; /* one an operand: which of its leaf's uses in the pass this is, -1: no leaf that asked */
};
struct ct_deferred {
    ct_context *context;
    struct deferred_item *items;
    int64_t count, capacity;
};

/* ------------------------------------------------------------------------------------------ discovery */

static bool pass_add(pass *p, ct_node *node) {
    if (!node || node->mark == p->id) return true;
    if (p->count == p->capacity) {
        int64_t capacity = p->capacity ? 2 * p->capacity : 128;
        entry *entries = ct_realloc(p->context, p->entries, (size_t)capacity * sizeof(entry), CT_MEMORY_OTHER);
        if (!entries) return false;
        p->entries = entries;
        p->capacity = capacity;
    }
    node->mark = p->id;
    p->entries[p->count++] = (entry){.node = node};
    return true;
}

static int by_falling_sequence(const void *a, const void *b) {
    uint64_t x = ((const entry *)a)->node->sequence, y = ((const entry *)b)->node->sequence;
    return (x < y) - (x > y);
}

/* All nodes behind the outputs: the list itself is the queue. */
static bool pass_discover(pass *p, ct_tensor *const *outputs, int output_count) {
    for (int i = 0; i < output_count; i++)
        if (!pass_add(p, outputs[i]->node)) return false;
    for (int64_t at = 0; at < p->count; at++) {
        ct_node *node = p->entries[at].node;
        for (int i = 0; i < node->operand_count; i++)
            if (!pass_add(p, node->operands[i].node)) return false;
        p->edge_count += node->operand_count;
        p->gradient_count += node->output_count;
        if (node->operand_count > p->most_operands) p->most_operands = node->operand_count;
    }
    if (p->count) qsort(p->entries, (size_t)p->count, sizeof(entry), by_falling_sequence);
    for (int64_t i = 0; i < p->count; i++) p->entries[i].node->entry = i;
    return true;
}

static bool asked_for(const pass *p, const ct_node *node) {
    if (!p->captures) return node->leaf != NULL;
    for (int i = 0; i < p->capture_count; i++)
        if (p->captures[i].node == node) return true;
    return false;
}

static bool pass_connect(pass *p) {
    ct_context *context = p->context;
    p->edges = ct_alloc(context, (size_t)p->edge_count * sizeof(int64_t), CT_MEMORY_OTHER);
    p->gradients = ct_alloc_zero(context, (size_t)p->gradient_count * sizeof(ct_tensor *), CT_MEMORY_OTHER);
    p->rule_gradients = ct_alloc_zero(context, (size_t)p->most_operands * sizeof(ct_tensor *), CT_MEMORY_OTHER);
    p->accumulate = ct_alloc_zero(context, (size_t)p->most_operands * sizeof(ct_tensor *), CT_MEMORY_OTHER);
    p->wanted = ct_alloc(context, (size_t)p->most_operands * sizeof(bool), CT_MEMORY_OTHER);
    if (!p->edges || !p->gradients || !p->rule_gradients || !p->accumulate || !p->wanted) return false;
    int64_t edge = 0, gradient = 0;
    for (int64_t e = 0; e < p->count; e++) {
        entry *at = &p->entries[e];
        at->first_edge = edge;
        at->first_gradient = gradient;
        gradient += at->node->output_count;
        for (int i = 0; i < at->node->operand_count; i++) {
            ct_node *source = at->node->operands[i].node;
            p->edges[edge++] = source ? source->entry : -1;
        }
    }
    for (int64_t e = p->count - 1; e >= 0; e--) { /* earliest first: what an entry depends on is decided before it */
        entry *at = &p->entries[e];
        at->needed = asked_for(p, at->node);
        for (int i = 0; i < at->node->operand_count && !at->needed; i++) {
            int64_t source = p->edges[at->first_edge + i];
            at->needed = source >= 0 && p->entries[source].needed;
        }
    }
    for (int64_t e = 0; e < p->count; e++) {
        entry *at = &p->entries[e];
        if (!at->needed) continue;
        for (int i = 0; i < at->node->operand_count; i++) {
            int64_t source = p->edges[at->first_edge + i];
            if (source >= 0) p->entries[source].pending++;
        }
    }
    return true;
}

static void pass_free(pass *p) {
    for (int64_t i = 0; p->gradients && i < p->gradient_count; i++) ct_drop(p->gradients[i]);
    ct_free(p->context, p->entries);
    ct_free(p->context, p->edges);
    ct_free(p->context, p->gradients);
    ct_free(p->context, p->rule_gradients);
    ct_free(p->context, p->accumulate);
    ct_free(p->context, p->wanted);
}

/* ------------------------------------------------------------------------------------ running a rule */

static bool gradient_fits(const ct_operand *operand, const ct_tensor *gradient) {
    if (operand->ndim != gradient->ndim) return false;
    return memcmp(operand->shape, gradient->shape, (size_t)operand->ndim * sizeof(int64_t)) == 0;
}

static ct_tensor *checked_gradient(ct_node *node, int i, ct_tensor *gradient, bool recording) {
    const ct_operand *operand = &node->operands[i];
    if (ct_failed(node->context)) return NULL;
    if (!gradient_fits(operand, gradient)) {
        char text[160];
        ct_fail(node->context, CT_ERROR_SHAPE, "%s: its rule gave operand %d a gradient %s of another shape",
                node->rule->name, i, ct_describe(gradient, text, sizeof(text)));
        return NULL;
    }
    if (gradient->dtype == operand->dtype) return gradient;
    return recording ? ct_cast(gradient, (ct_dtype)operand->dtype)
                     : ct_raw_cast(gradient, (ct_dtype)operand->dtype);
}

ct_status ct_node_run(ct_node *node, ct_tensor *const *output_gradients, const bool *wanted, bool recording,
                      ct_tensor *const *accumulate, ct_tensor **gradients) {
    ct_context *context = node->context;
    for (int i = 0; i < node->operand_count; i++) gradients[i] = NULL;
    if (node->freed)
        return ct_fail(context, CT_ERROR_STATE,
                       "%s: the graph was freed by an earlier backward pass; ask for CT_GRAD_KEEP_GRAPH there",
                       node->rule->name);
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, recording);
    ct_vjp call = {context, node, node->attributes, output_gradients, wanted, recording, accumulate};
    node->rule->vjp(&call, gradients);
    for (int i = 0; i < node->operand_count; i++) {
        if (gradients[i] && wanted[i]) gradients[i] = checked_gradient(node, i, gradients[i], recording);
        else gradients[i] = NULL;
        ct_hold(gradients[i]);
    }
    if (ct_failed(context)) ct_parallel_finish(context); /* what it works on may go now */
    ct_grad_mode_set(context, before);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

/* ------------------------------------------------------------------------------------------- the pass */

/* sum += gradient; takes over the caller's hold of `gradient`. */
static void accumulate(pass *p, ct_tensor **sum, ct_tensor *gradient) {
    if (!*sum) {
        *sum = gradient;
        return;
    }
    ct_context *context = p->context;
    ct_scope scope = ct_scope_open(context);
    ct_tensor *total = *sum;
    if (p->flags & CT_GRAD_RECORD) {
        total = ct_hold(ct_add(*sum, gradient));
        ct_drop(*sum);
    } else if (total->references == 1 && total->storage && total->storage->references == 1 &&
               !total->storage->release && ct_is_contiguous(total)) {
        ct_raw_axpy(total, gradient, 1.0);
    } else {
        total = ct_hold(ct_raw_binary(CT_ADD, *sum, gradient));
        ct_drop(*sum);
    }
    ct_drop(gradient);
    ct_scope_close(context, scope);
    *sum = total;
}

static int next_use(const pass *p, ct_leaf *leaf) {
    if (leaf->pass != p->id) {
        leaf->pass = p->id;
        leaf->uses = 0;
    }
    int use = leaf->uses++;
    return use < CT_LEAF_USES ? use : CT_LEAF_USES - 1;
}

/* Uses of leaves are numbered in the order of the pass, whenever the item is run, so that the sums are those
 * of ct_backward. */
static void defer(pass *p, entry *at) {
    ct_deferred *d = p->deferred;
    ct_node *node = at->node;
    if (d->count == d->capacity) {
        int64_t capacity = d->capacity ? 2 * d->capacity : 64;
        void *items = ct_realloc(p->context, d->items, (size_t)capacity * sizeof(*d->items), CT_MEMORY_OTHER);
        if (!items) return;
        d->items = items;
        d->capacity = capacity;
    }
    ct_tensor **held = ct_alloc(p->context, (size_t)node->output_count * sizeof(*held), CT_MEMORY_OTHER);
    int *uses =
        held ? ct_alloc(p->context, (size_t)node->operand_count * sizeof(*uses), CT_MEMORY_OTHER) : NULL;
    if (!uses) {
        ct_free(p->context, held);
        return;
    }
    for (int j = 0; j < node->output_count; j++) held[j] = ct_hold(p->gradients[at->first_gradient + j]);
    for (int i = 0; i < node->operand_count; i++) {
        ct_node *source = node->operands[i].node;
        uses[i] = source && source->leaf ? next_use(p, source->leaf) : -1;
    }
    node->references++;
    d->items[d->count++] = (struct deferred_item){node, held, uses};
}

static void deliver_leaf(pass *p, entry *at) {
    ct_tensor *gradient = p->gradients[at->first_gradient];
    if (!gradient || p->captures) return;
    p->gradients[at->first_gradient] = NULL;
    if (!ct_failed(p->context)) ct_leaf_deliver(at->node, gradient);
    ct_drop(gradient);
}

/* Captured gradients are complete when their entry's turn comes. */
static void serve_captures(pass *p, entry *at) {
    for (int i = 0; i < p->capture_count; i++) {
        capture *c = &p->captures[i];
        if (c->node != at->node) continue;
        *c->gradient = ct_hold(p->gradients[at->first_gradient + c->output]);
    }
}

/* Which operands the rule is to give now; true in *later if leaves are left to a deferred run. */
static bool choose_wanted(pass *p, entry *at, bool *later) {
    bool any = false;
    *later = false;
    for (int i = 0; i < at->node->operand_count; i++) {
        int64_t source = p->edges[at->first_edge + i];
        p->wanted[i] = source >= 0 && p->entries[source].needed;
        if (p->wanted[i] && p->deferred && p->entries[source].node->leaf) {
            p->wanted[i] = false;
            *later = true;
        }
        any |= p->wanted[i];
    }
    return any;
}

/* A leaf that keeps its own sum takes each contribution when it is made; the number of the use is where it goes. */
static bool accumulates(const pass *p, const ct_node *source) {
    bool plain = !p->captures && !p->deferred && !(p->flags & CT_GRAD_RECORD);
    return plain && source && source->leaf && !source->leaf->sink;
}

bool ct_may_wait(const ct_vjp *call, int operand) {
    return ct_autograd_of(call->context)->running.may_wait >> operand & 1;
}
ct_tensor *ct_pending_gradient(const ct_vjp *call) {
    return ct_autograd_of(call->context)->running.pending;
}
ct_tensor *ct_take_pending(const ct_vjp *call) {
    struct ct_running_rule *running = &ct_autograd_of(call->context)->running;
    running->taken = true;
    return running->pending;
}

/* Where the sum for an operand is kept that is not added to a leaf at once. */
static ct_tensor **sum_for(const pass *p, const entry *at, int operand) {
    int64_t source = p->edges[at->first_edge + operand];
    return source < 0 ? NULL : &p->gradients[p->entries[source].first_gradient + at->node->operands[operand].output];
}

static void run_rule(pass *p, entry *at, ct_tensor **given) {
    ct_node *node = at->node;
    ct_autograd *room = ct_autograd_of(p->context);
    struct ct_running_rule outer = room->running, running = {0};
    int uses[64];
    for (int i = 0; i < node->operand_count; i++) {
        ct_node *source = node->operands[i].node;
        bool keeps = i < 64 && p->wanted[i] && accumulates(p, source);
        if (i < 64) uses[i] = keeps ? next_use(p, source->leaf) : -1;
        p->accumulate[i] = keeps ? source->leaf->gradient[uses[i]] : NULL;
        /* the last sum may belong to several uses */
        if (keeps && uses[i] < CT_LEAF_USES - 1) running.may_wait |= UINT64_C(1) << i;
    }
    bool plain = p->wanted[0] && uses[0] < 0 && !(p->flags & CT_GRAD_RECORD);
    if (plain) running.pending = *sum_for(p, at, 0);
    room->running = running;
    ct_node_run(node, given, p->wanted, (p->flags & CT_GRAD_RECORD) != 0, p->accumulate, p->rule_gradients);
    bool taken = room->running.taken;
    room->running = outer;
    for (int i = 0; i < node->operand_count; i++) {
        if (!p->rule_gradients[i]) continue;
        ct_tensor **sum = sum_for(p, at, i);
        if (i < 64 && uses[i] >= 0) {
            ct_leaf_accumulate(node->operands[i].node, uses[i], p->rule_gradients[i]);
            ct_drop(p->rule_gradients[i]);
        } else if (i == 0 && taken) {
            ct_drop(*sum);
            *sum = p->rule_gradients[i];
        } else {
            accumulate(p, sum, p->rule_gradients[i]);
        }
        p->rule_gradients[i] = NULL;
    }
}

static void run_entry(pass *p, entry *at) {
    ct_node *node = at->node;
    ct_tensor **given = &p->gradients[at->first_gradient];
    bool any = false, later = false;
    for (int j = 0; j < node->output_count; j++) any |= given[j] != NULL;
    if (any && choose_wanted(p, at, &later)) run_rule(p, at, given);
    if (later && any) defer(p, at);
    else if (!(p->flags & (CT_GRAD_KEEP_GRAPH | CT_GRAD_RECORD))) ct_node_free_saved(node);
    for (int j = 0; j < node->output_count; j++) {
        ct_drop(given[j]);
        given[j] = NULL;
    }
}

static void pass_run(pass *p) {
    for (int64_t e = 0; e < p->count && !ct_failed(p->context); e++) {
        entry *at = &p->entries[e];
        if (!at->needed) continue;
        if (p->captures) serve_captures(p, at);
        if (at->node->leaf) continue;
        run_entry(p, at);
        for (int i = 0; i < at->node->operand_count && !ct_failed(p->context); i++) {
            int64_t source = p->edges[at->first_edge + i];
            if (source >= 0 && --p->entries[source].pending == 0 && p->entries[source].node->leaf)
                deliver_leaf(p, &p->entries[source]);
        }
    }
}

/* Gradients of the outputs: given ones, or one for a scalar. */
static ct_status pass_seed(pass *p, ct_tensor *const *outputs, ct_tensor *const *gradients, int count) {
    for (int i = 0; i < count; i++) {
        ct_tensor *output = outputs[i], *gradient = gradients ? gradients[i] : NULL;
        char a[160], b[160];
        if (!gradient && output->count != 1)
            return ct_fail(p->context, CT_ERROR_SHAPE, "grad: output %d is %s; only a scalar needs no gradient", i,
                           ct_describe(output, a, sizeof(a)));
        if (gradient && !ct_same_shape(gradient, output))
            return ct_fail(p->context, CT_ERROR_SHAPE, "grad: output %d is %s but its gradient is %s", i,
                           ct_describe(output, a, sizeof(a)), ct_describe(gradient, b, sizeof(b)));
        if (!output->node) continue;
        if (!gradient) gradient = ct_ones_like(output);
        entry *at = &p->entries[output->node->entry];
        accumulate(p, &p->gradients[at->first_gradient + output->output], ct_hold(gradient));
    }
    return ct_context_status(p->context);
}

static ct_status pass_execute(pass *p, ct_tensor *const *outputs, int output_count,
                              ct_tensor *const *output_gradients) {
    ct_autograd *room = ct_autograd_of(p->context);
    if (!room) return CT_ERROR_MEMORY;
    p->id = ++room->pass;
    ct_scope scope = ct_scope_open(p->context);
    bool before = ct_grad_mode_set(p->context, (p->flags & CT_GRAD_RECORD) != 0);
    if (pass_discover(p, outputs, output_count) && pass_connect(p) &&
        pass_seed(p, outputs, output_gradients, output_count) == CT_OK)
        pass_run(p);
    ct_parallel_finish(p->context);
    ct_grad_mode_set(p->context, before);
    pass_free(p);
    ct_scope_close(p->context, scope);
    return ct_context_status(p->context);
}

/* -------------------------------------------------------------------------------------- public calls */

/* Hands a captured gradient to the caller's scope, or reports that there is none. */
static void finish_gradient(pass *p, ct_tensor *input, int i, ct_tensor **gradient) {
    ct_context *context = p->context;
    if (*gradient) {
        ct_scope scope = ct_scope_open(context);
        ct_scope_return(context, scope, *gradient);
        ct_drop(*gradient);
        return;
    }
    if (p->flags & CT_GRAD_ALLOW_UNUSED || ct_failed(context)) return;
    char text[160];
    ct_fail(context, CT_ERROR_ARGUMENT, "grad: the outputs do not depend on input %d (%s)", i,
            ct_describe(input, text, sizeof(text)));
}

ct_status ct_grad(ct_tensor *const *outputs, int output_count, ct_tensor *const *output_gradients,
                  ct_tensor *const *inputs, int input_count, ct_tensor **gradients, int flags) {
    if (output_count < 1) return CT_ERROR_ARGUMENT;
    ct_context *context = outputs[0]->context;
    for (int i = 0; i < input_count; i++) gradients[i] = NULL;
    if (ct_failed(context)) return ct_context_status(context);
    pass p = {.context = context, .flags = flags};
    p.captures = ct_alloc(context, ((size_t)input_count + 1) * sizeof(capture), CT_MEMORY_OTHER);
    if (!p.captures) return CT_ERROR_MEMORY;
    for (int i = 0; i < input_count; i++)
        if (inputs[i]->node)
            p.captures[p.capture_count++] = (capture){inputs[i]->node, inputs[i]->output, &gradients[i]};
    pass_execute(&p, outputs, output_count, output_gradients);
    for (int i = 0; i < input_count; i++) finish_gradient(&p, inputs[i], i, &gradients[i]);
    ct_free(context, p.captures);
    return ct_context_status(context);
}

static ct_status backward(ct_tensor *output, ct_tensor *output_gradient, ct_deferred *deferred, int flags) {
    ct_context *context = output->context;
    if (ct_failed(context)) return ct_context_status(context);
    if (!output->node)
        return ct_fail(context, CT_ERROR_STATE, "backward: the output does not depend on a leaf that requires one");
    pass p = {.context = context, .flags = flags, .deferred = deferred};
    return pass_execute(&p, &output, 1, &output_gradient);
}

ct_status ct_backward(ct_tensor *output, ct_tensor *output_gradient, int flags) {
    return backward(output, output_gradient, NULL, flags);
}

ct_status ct_backward_deferred(ct_tensor *output, ct_tensor *output_gradient, ct_deferred *deferred, int flags) {
    return backward(output, output_gradient, deferred, flags);
}

ct_deferred *ct_deferred_create(ct_context *context) {
    ct_deferred *deferred = ct_alloc_zero(context, sizeof(*deferred), CT_MEMORY_OTHER);
    if (deferred) deferred->context = context;
    return deferred;
}

static void item_free(ct_context *context, struct deferred_item *item) {
    if (!item->node) return;
    for (int j = 0; j < item->node->output_count; j++) ct_drop(item->output_gradients[j]);
    ct_free(context, item->output_gradients);
    ct_free(context, item->uses);
    ct_node_free_saved(item->node);
    ct_node_release(item->node);
    item->node = NULL;
}

void ct_deferred_destroy(ct_deferred *deferred) {
    if (!deferred) return;
    for (int64_t i = 0; i < deferred->count; i++) item_free(deferred->context, &deferred->items[i]);
    ct_free(deferred->context, deferred->items);
    ct_free(deferred->context, deferred);
}

int64_t ct_deferred_count(const ct_deferred *deferred) { return deferred->count; }

/* Gives the leaves of an item their contributions: to a sink as such, else into the sum of that use. */
static void run_item(struct deferred_item *item, ct_tensor **gradients, ct_tensor **sums, bool *wanted) {
    ct_node *node = item->node;
    ct_context *context = node->context;
    for (int i = 0; i < node->operand_count; i++) {
        ct_leaf *leaf = item->uses[i] >= 0 ? node->operands[i].node->leaf : NULL;
        wanted[i] = leaf != NULL;
        sums[i] = leaf && !leaf->sink ? leaf->gradient[item->uses[i]] : NULL;
    }
    ct_node_run(node, item->output_gradients, wanted, false, sums, gradients);
    for (int i = 0; i < node->operand_count; i++) {
        ct_node *source = node->operands[i].node;
        if (gradients[i] && !ct_failed(context)) {
            if (source->leaf->sink)
                ct_leaf_deliver(source, gradients[i]);
            else
                ct_leaf_accumulate(source, item->uses[i], gradients[i]);
        }
        ct_drop(gradients[i]);
    }
}

ct_status ct_deferred_run(ct_deferred *deferred, int64_t index) {
    ct_context *context = deferred->context;
    if (ct_failed(context)) return ct_context_status(context);
    if (index < 0 || index >= deferred->count || !deferred->items[index].node)
        return ct_fail(context, CT_ERROR_ARGUMENT, "deferred_run: item %lld of %lld does not exist or has run",
                       (long long)index, (long long)deferred->count);
    struct deferred_item *item = &deferred->items[index];
    size_t n = (size_t)item->node->operand_count;
    ct_tensor **gradients = ct_alloc_zero(context, 2 * n * sizeof(ct_tensor *), CT_MEMORY_OTHER);
    bool *wanted = ct_alloc(context, n * sizeof(*wanted), CT_MEMORY_OTHER);
    if (gradients && wanted) run_item(item, gradients, gradients + n, wanted);
    ct_free(context, gradients);
    ct_free(context, wanted);
    item_free(context, item);
    return ct_context_status(context);
}
