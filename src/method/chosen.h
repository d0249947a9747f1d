/* chosen.h - methods that a recipe lists, each with its options and a weight: [z_loss, {name: focal, gamma:
 * 2}]. */
#ifndef CARAT_SRC_METHOD_CHOSEN_H
#define CARAT_SRC_METHOD_CHOSEN_H

#include <carat/method.h>

typedef struct ct_chosen {
    const ct_method *method;
    ct_value *given; /* owned: the options as given, without the name; strings of `options` point into it */
    void *options;   /* owned */
    double weight;
    char where[96]; /* "regularizers.0 (seq_vcr)", for messages */
} ct_chosen;

typedef struct ct_chosen_list {
    ct_chosen *items;
    size_t count;
} ct_chosen_list;

/* The table {weight} that such kinds share. */
extern const ct_option ct_chosen_options[];

/* From a name, a map {name: ..., weight: ..., options of the method} or a list of these; NULL or null: an
 * empty list. `path` is the key, for messages. To be freed also after a failure. */
ct_status ct_chosen_read(ct_context *context, ct_chosen_list *list, const char *kind, const ct_value *value,
                         const char *path);
void ct_chosen_free(ct_context *context, ct_chosen_list *list);

#endif
