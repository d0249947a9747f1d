/* checkpoint.c - hooks on saved values, and recomputation built from them (Chen et al., arXiv:1604.06174).
 *
 * A checkpointed segment runs as usual, but what its nodes save is let go of: only a number is kept for each value.
 * When the backward pass asks for the first of them, the segment runs again on its kept inputs, and the values that
 * it saves this time, in the same order, take the places of the missing ones. */
#include "autograd/graph.h"

void ct_saved_hooks_push(ct_context *context, const ct_saved_hooks *hooks) {
    ct_autograd *room = ct_autograd_of(context);
    if (!room) return;
    if (room->hook_count == CT_MAX_HOOKS) {
        ct_fail(context, CT_ERROR_UNSUPPORTED, "saved-value hooks are nested more than %d deep", CT_MAX_HOOKS);
        return;
    }
    room->hooks[room->hook_count++] = *hooks;
}

void ct_saved_hooks_pop(ct_context *context) {
    ct_autograd *room = ct_autograd_of(context);
    if (room && room->hook_count) room->hook_count--;
}

typedef struct segment {
    int64_t references; /* the call itself and every value token */
    ct_context *context;
    ct_segment function;
    void *user;
    void (*release)(void *user);
    ct_random random;
    int input_count;
    ct_tensor **inputs; /* held, without a graph */
    bool *required;     /* which of them had a graph */
    uint64_t *versions;
    int64_t saved_count, collected;
    ct_tensor **values; /* [saved_count] after recomputation, else NULL; held */
} segment;

typedef struct token {
    segment *of;
    int64_t index;
    ct_tensor *leaf; /* weights are kept as they are */
    uint64_t version;
} token;

static void segment_release(segment *s) {
    if (--s->references > 0) return;
    for (int i = 0; s->inputs && i < s->input_count; i++) ct_drop(s->inputs[i]);
    for (int64_t i = 0; s->values && i < s->saved_count; i++) ct_drop(s->values[i]);
    if (s->release) s->release(s->user);
    ct_free(s->context, s->inputs);
    ct_free(s->context, s->required);
    ct_free(s->context, s->versions);
    ct_free(s->context, s->values);
    ct_free(s->context, s);
}

static void *pack(void *user, ct_tensor *value, bool is_leaf) {
    segment *s = user;
    token *t = ct_alloc_zero(s->context, sizeof(*t), CT_MEMORY_OTHER);
    if (!t) return NULL;
    t->of = s;
    s->references++;
    t->index = s->saved_count++;
    if (is_leaf) {
        t->leaf = ct_hold(value);
        t->version = ct_version(value);
    }
    return t;
}

static void release_token(void *user, void *opaque) {
    (void)user;
    token *t = opaque;
    if (!t) return;
    segment *s = t->of;
    ct_drop(t->leaf);
    if (s->values) {
        ct_drop(s->values[t->index]);
        s->values[t->index] = NULL;
    }
    ct_free(s->context, t);
    segment_release(s);
}

/* The segment's inputs are leaves this time, so what was a leaf the first time cannot be told here. */
static void *collect(void *user, ct_tensor *value, bool is_leaf) {
    segment *s = user;
    (void)is_leaf;
    if (s->collected < s->saved_count) s->values[s->collected] = ct_hold(value);
    s->collected++;
    return s;
}

static ct_tensor *refuse(void *user, void *opaque) {
    segment *s = user;
    (void)opaque;
    ct_fail(s->context, CT_ERROR_STATE, "checkpoint: a recomputed graph was differentiated");
    return NULL;
}

static void recompute(segment *s) {
    ct_context *context = s->context;
    for (int i = 0; i < s->input_count; i++)
        if (ct_version(s->inputs[i]) != s->versions[i]) {
            ct_fail(context, CT_ERROR_STATE, "checkpoint: input %d was changed in place before the backward pass", i);
            return;
        }
    s->values = ct_alloc_zero(context, (size_t)s->saved_count * sizeof(*s->values), CT_MEMORY_OTHER);
    ct_tensor **inputs = ct_alloc(context, (size_t)s->input_count * sizeof(*inputs), CT_MEMORY_OTHER);
    if (!s->values || !inputs) {
        ct_free(context, inputs);
        return;
    }
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, true);
    ct_random *random = ct_default_random(context), present = *random;
    *random = s->random;
    for (int i = 0; i < s->input_count; i++) {
        inputs[i] = ct_alias(s->inputs[i]);
        if (s->required[i]) ct_require_grad(inputs[i], true);
    }
    s->collected = 0;
    ct_saved_hooks_push(context, &(ct_saved_hooks){collect, refuse, NULL, s});
    s->function(s->user, inputs, s->input_count);
    ct_saved_hooks_pop(context);
    *random = present;
    ct_grad_mode_set(context, before);
    ct_scope_close(context, scope);
    ct_free(context, inputs);
    if (s->collected != s->saved_count)
        ct_fail(context, CT_ERROR_STATE,
                "checkpoint: the segment saved %lld values, and %lld when it ran again; it must be repeatable",
                (long long)s->saved_count, (long long)s->collected);
}

static ct_tensor *unpack(void *user, void *opaque) {
    segment *s = user;
    token *t = opaque;
    if (!t || ct_failed(s->context)) return NULL;
    if (t->leaf) {
        if (ct_version(t->leaf) != t->version)
            ct_fail(s->context, CT_ERROR_STATE, "checkpoint: a weight was changed in place before the backward pass");
        return t->leaf;
    }
    if (!s->values) recompute(s);
    if (ct_failed(s->context)) return NULL;
    ct_tensor *value = s->values[t->index];
    if (!value) {
        ct_fail(s->context, CT_ERROR_STATE, "checkpoint: saved value %lld is gone", (long long)t->index);
        return NULL;
    }
    return ct_alias(value);
}

static segment *segment_create(ct_context *context, ct_tensor *const *inputs, int count) {
    segment *s = ct_alloc_zero(context, sizeof(*s), CT_MEMORY_OTHER);
    if (!s) return NULL;
    s->references = 1;
    s->context = context;
    s->random = *ct_default_random(context);
    s->inputs = ct_alloc_zero(context, (size_t)count * sizeof(*s->inputs), CT_MEMORY_OTHER);
    s->required = ct_alloc_zero(context, (size_t)count * sizeof(*s->required), CT_MEMORY_OTHER);
    s->versions = ct_alloc_zero(context, (size_t)count * sizeof(*s->versions), CT_MEMORY_OTHER);
    if (!s->inputs || !s->required || !s->versions) {
        segment_release(s);
        return NULL;
    }
    s->input_count = count;
    for (int i = 0; i < count; i++) {
        s->inputs[i] = ct_hold(ct_alias(inputs[i]));
        s->required[i] = ct_requires_grad(inputs[i]) && ct_dtype_is_float(ct_dtype_of(inputs[i]));
        s->versions[i] = ct_version(inputs[i]);
    }
    return s;
}

ct_tensor *ct_checkpoint(ct_context *context, ct_segment function, void *user, void (*release)(void *user),
                         ct_tensor *const *inputs, int input_count) {
    segment *s = ct_failed(context) ? NULL : segment_create(context, inputs, input_count);
    if (!s) {
        if (release) release(user);
        return ct_inert(context, CT_F32, 0, NULL);
    }
    s->function = function;
    s->user = user;
    s->release = release;
    ct_scope scope = ct_scope_open(context);
    ct_saved_hooks_push(context, &(ct_saved_hooks){pack, unpack, release_token, s});
    ct_tensor *result = function(user, inputs, input_count);
    ct_saved_hooks_pop(context);
    if (!result) {
        ct_fail(context, CT_ERROR_ARGUMENT, "checkpoint: the segment returned no tensor");
        result = ct_inert(context, CT_F32, 0, NULL);
    }
    ct_scope_return(context, scope, result);
    segment_release(s);
    return result;
}
