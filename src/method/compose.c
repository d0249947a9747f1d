/* compose.c - the hooks of a training step, and whether methods that use them can be used together. */
#include <carat/method.h>
#include <string.h>

static const ct_hook_description hooks[] = {
    {CT_HOOK_ACTIVATIONS, "activations", "reads what layers compute", NULL},
    {CT_HOOK_TARGETS, "targets", "makes the targets with the model itself or a teacher", "a batch has one set of targets"},
    {CT_HOOK_LOSS_TERM, "loss term", "adds a term to the loss", NULL},
    {CT_HOOK_DERIVED_WEIGHT, "derived weight", "makes weights from other parameters", NULL},
    {CT_HOOK_BEFORE_BACKWARD, "before backward", "acts when the loss is known", NULL},
    {CT_HOOK_AFTER_BACKWARD, "after backward", "acts when all gradients are complete", NULL},
    {CT_HOOK_GRADIENT, "gradient", "changes gradients before the direction is made", NULL},
    {CT_HOOK_DIRECTION, "direction", "makes the direction of the step", "a step has one direction"},
    {CT_HOOK_WHOLE_TENSOR, "whole tensor", "needs each parameter whole", NULL},
    {CT_HOOK_UPDATE, "update", "changes the direction before it is applied", NULL},
    {CT_HOOK_RATE, "rate", "sets the factor of the learning rate", "a step has one learning rate"},
    {CT_HOOK_PROJECTION, "projection", "puts weights back into a set after the step",
     "the second projection would undo the first"},
};

const ct_hook_description *ct_hook_at(size_t index) {
    return index < sizeof(hooks) / sizeof(hooks[0]) ? &hooks[index] : NULL;
}

/* Different hooks that exclude each other when two methods use them. */
static const struct {
    ct_hook first, second;
    const char *why;
} exclusions[] = {
    {CT_HOOK_PROJECTION, CT_HOOK_DERIVED_WEIGHT,
     "what is projected after the step are the parameters, not the weights that are made from them"},
};

/* A method with what is asked of it often. */
typedef struct member {
    const ct_method *method;
    const ct_kind *kind; /* NULL for one that the context does not know */
    unsigned uses;
    const char *kind_name;
} member;

static member member_of(ct_context *context, const ct_method *method) {
    const ct_kind *kind = ct_method_kind(context, method);
    return (member){method, kind, method->uses | (kind ? kind->uses : 0), kind ? kind->name : "method"};
}

static ct_status refuse(ct_context *context, const member *a, const member *b, const char *why) {
    return ct_fail(context, CT_ERROR_UNSUPPORTED, "%s \"%s\" and %s \"%s\" cannot be used together: %s",
                   a->kind_name, a->method->name, b->kind_name, b->method->name, why);
}

/* "norm/batch" or "norm". */
static bool names(const char *with, const member *other) {
    const char *slash = strchr(with, '/');
    size_t length = slash ? (size_t)(slash - with) : strlen(with);
    if (strlen(other->kind_name) != length || strncmp(with, other->kind_name, length) != 0) return false;
    return !slash || strcmp(slash + 1, other->method->name) == 0;
}

static const char *declared_conflict(const member *a, const member *b) {
    for (const ct_method_conflict *c = a->method->conflicts; c && c->with; c++)
        if (names(c->with, b)) return c->why;
    return NULL;
}

static ct_status check_pair(ct_context *context, const member *a, const member *b) {
    const char *why = declared_conflict(a, b);
    if (!why) why = declared_conflict(b, a);
    if (why) return refuse(context, a, b, why);
    for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++)
        if (hooks[i].alone && (a->uses & b->uses & (unsigned)hooks[i].hook))
            return refuse(context, a, b, hooks[i].alone);
    for (size_t i = 0; i < sizeof(exclusions) / sizeof(exclusions[0]); i++) {
        unsigned first = (unsigned)exclusions[i].first, second = (unsigned)exclusions[i].second;
        if (((a->uses & first) && (b->uses & second)) || ((b->uses & first) && (a->uses & second)))
            return refuse(context, a, b, exclusions[i].why);
    }
    if (a->kind && a->kind == b->kind && !a->kind->many) {
        char reason[128];
        snprintf(reason, sizeof(reason), "a run has one %s", a->kind->name);
        return refuse(context, a, b, reason);
    }
    return CT_OK;
}

ct_status ct_methods_compose(ct_context *context, const ct_method *const *methods, size_t count) {
    if (ct_failed(context)) return ct_context_status(context);
    for (size_t i = 0; i < count; i++) {
        member a = member_of(context, methods[i]);
        for (size_t j = i + 1; j < count; j++) {
            member b = member_of(context, methods[j]);
            ct_status status = check_pair(context, &a, &b);
            if (status != CT_OK) return status;
        }
    }
    return CT_OK;
}
