/* tied.c - the multiplier of a last layer that shares the embedding's weight. A file has one tensor for both,
 * so the factor cannot be in it; but logits = W (g xhat + b) f are those of the norm before that layer with
 * gain g f and bias b f. So the norm is multiplied, and what is saved is a plain model. */
#include "parametrization/parametrization.h"
#include <carat/norm.h>
#include <math.h>
#include <string.h>

double ct_parametrization_tied_factor(const ct_parametrization *p, int64_t index) {
    const ct_parametrization_scale *s = &p->scales[index];
    return pow(s->m, -p->method->multiplier[CT_WIDTH_OUTPUT]) / s->multiplier;
}

/* The module that stands right before `module`; NULL: none. */
static ct_module *before(const ct_module *module) {
    ct_module *parent = ct_module_parent(module), *last = NULL;
    for (int i = 0; parent && i < ct_module_child_count(parent); i++) {
        if (ct_module_child(parent, i) == module) return last;
        last = ct_module_child(parent, i);
    }
    return NULL;
}

/* The slot of `name` if it is the norm's own and trained. */
static const ct_slot *own_slot(ct_module *norm, const char *name) {
    const ct_slot *slot = ct_module_slot_named(norm, name);
    return slot && slot->parameter && slot->parameter->slot == slot && !slot->options.buffer ? slot : NULL;
}

static bool stored_less_one(const ct_module *norm) {
    const ct_value *options = ct_value_get(ct_module_options_value(norm), "options");
    return ct_value_as_bool(ct_value_get(options, "unit_offset"), false);
}

static void multiply(ct_parametrization *p, const ct_slot *slot, double factor, bool less_one) {
    int64_t index = slot ? ct_parametrization_index(p, slot->parameter) : -1;
    if (index < 0) return;
    p->scales[index].multiplier *= factor;
    if (less_one) p->scales[index].offset = factor - 1; /* f (1 + w) = 1 + (f w + f - 1) */
}

typedef struct search {
    ct_parametrization *p;
    bool apply;
} search;

static ct_status visit(void *user, ct_module *module) {
    const search *s = user;
    ct_parametrization *p = s->p;
    for (int i = 0; i < ct_module_slot_count(module); i++) {
        const ct_slot *slot = ct_module_slot_at(module, i);
        if (!slot->parameter || slot->parameter->slot == slot || slot->ndim < 2) continue;
        int64_t index = ct_parametrization_index(p, slot->parameter);
        double factor = index < 0 ? 1 : ct_parametrization_tied_factor(p, index);
        if (factor == 1) continue;
        ct_module *norm = before(module);
        const ct_slot *gain = norm && ct_is_norm(norm) ? own_slot(norm, "weight") : NULL;
        if (!gain)
            p->untied = true;
        else if (s->apply) {
            multiply(p, gain, factor, stored_less_one(norm));
            multiply(p, own_slot(norm, "bias"), factor, false);
        }
    }
    return CT_OK;
}

void ct_parametrization_fold_tied(ct_parametrization *p) {
    ct_module_visit(ct_model_root(p->model), visit, &(search){p, false});
    if (!p->untied) ct_module_visit(ct_model_root(p->model), visit, &(search){p, true});
}
