/* regularizer.h - inside regularizer: the members of a list and what of them belongs to a model. */
#ifndef CARAT_SRC_REGULARIZER_REGULARIZER_H
#define CARAT_SRC_REGULARIZER_REGULARIZER_H

#include "method/chosen.h"
#include <carat/regularizer.h>

typedef struct ct_watched {
    char *point;
    ct_tensor *value; /* held from begin to end */
    bool wanted;
} ct_watched;

typedef struct ct_own {
    ct_parameter *parameter; /* the model's */
    double deviation;
    bool loaded; /* it came with the model */
} ct_own;

/* A weight that is made of `parameter` and `gain`. */
typedef struct ct_gain {
    ct_parameter *parameter, *gain;
    bool loaded;
} ct_gain;

typedef struct ct_regularizer_member {
    const ct_chosen *item;
    const ct_regularizer_method *method;
    ct_watched *watched;
    int watched_count;
    ct_own *own;
    int own_count;
    ct_gain *gains;
    int64_t gain_count;
} ct_regularizer_member;

/* What the overlays of one run know. */
typedef struct ct_derived_run {
    struct ct_regularizers *all;
    ct_regularizer_gain gain_of;
    void *user;
} ct_derived_run;

struct ct_regularizers {
    ct_context *context;
    ct_chosen_list list;
    ct_regularizer_member *members;
    ct_model *model;
    ct_derived_run runs[2]; /* without and with another gain */
};

/* derived.c */
ct_status ct_derived_attach(ct_regularizers *all, ct_regularizer_member *member);
ct_status ct_derived_initialize(ct_regularizers *all, ct_regularizer_member *member);
ct_status ct_derived_install(ct_regularizers *all, ct_run *run, ct_regularizer_gain gain_of, void *user);

#endif
