/* module.h - inside nn and model: the layout of modules. */
#ifndef CARAT_SRC_NN_MODULE_H
#define CARAT_SRC_NN_MODULE_H

#include <carat/nn.h>

enum { CT_MAX_SLOTS = 8 };

struct ct_module {
    ct_context *context;
    const ct_module_kind *kind;
    char *name, *path; /* path is made when asked for, forgotten by surgery */
    ct_module *parent;
    void *options;
    ct_value *options_value;
    ct_module **children;
    int child_count, child_capacity;
    ct_slot slots[CT_MAX_SLOTS];
    int slot_count;
    void *state; /* of the kind's own; released with the module */
    void (*state_release)(ct_module *module);
};

/* The kinds that nn itself offers, NULL-terminated. */
extern const ct_module_kind *const ct_nn_kinds[];
/* False and an error if a module has fewer children than its code runs: trees from files and surgery may lack
 * some. */
bool ct_module_expect_children(const ct_module *module, int count);
/* Forgets the paths of a module and all below it. */
void ct_module_forget_paths(ct_module *module);

/* ct_module_kind_register for a list of kinds, ended by NULL. */
ct_status ct_module_kinds_register(ct_context *context, const ct_module_kind *const *kinds);

#endif
