/* initializer.h - inside initializer: a method with its options, and the pass over a batch of data. */
#ifndef CARAT_SRC_INITIALIZER_INITIALIZER_H
#define CARAT_SRC_INITIALIZER_INITIALIZER_H

#include <carat/initializer.h>

typedef struct ct_initializer_choice {
    const ct_initializer_method *method;
    ct_value *value; /* options borrow from it */
    void *options;
} ct_initializer_choice;
/* The method and options that a recipe's value names; freed by ct_initializer_choice_free, also on failure.
 */
ct_status ct_initializer_choose(ct_context *context, const ct_value *value, const char *path,
                                ct_initializer_choice *choice);
void ct_initializer_choice_free(ct_context *context, ct_initializer_choice *choice);

/* False if the module is no linear layer with a weight of its own. */
bool ct_initializer_describe(ct_module *module, ct_initializer_layer *layer);
/* One pass that lists the layers in their order, one that visits them, and one that measures the end. */
ct_status ct_initializer_pass(ct_model *model, const ct_initializer_choice *choice, ct_tensor *inputs,
                              ct_initializer_report *report);

#endif
