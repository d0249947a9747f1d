/* parametrization.h - inside parametrization: a parametrization of one model. */
#ifndef CARAT_SRC_PARAMETRIZATION_PARAMETRIZATION_H
#define CARAT_SRC_PARAMETRIZATION_PARAMETRIZATION_H

#include <carat/parametrization.h>

typedef struct ct_param_options {
    int64_t base_width;
    const ct_value *base;
    int optimizer, decay, attention;
    bool zero_out, zero_query;
    double rate_exponent;
    const ct_value *a, *b;
    double c;
} ct_param_options;

struct ct_parametrization {
    ct_context *context;
    ct_model *model; /* borrowed */
    const ct_parametrization_method *method;
    ct_parametrization_method own; /* the method with the exponents that options gave it */
    ct_value *choice;              /* options borrow from it */
    ct_param_options options;
    bool adam;                        /* the rules for rates */
    double width;                     /* ratio of the first tensor that changes */
    double query;                     /* queries are multiplied by this */
    bool untied;                      /* a tied weight is multiplied by two different factors */
    ct_parametrization_scale *scales; /* one a parameter */
};

/* -1: the parameter is none of the model's. */
int64_t ct_parametrization_index(const ct_parametrization *p, const ct_parameter *parameter);
/* tied.c: by what the last layer's multiplier differs from that of the embedding whose weight (parameter
 * `index`) it shares. */
double ct_parametrization_tied_factor(const ct_parametrization *p, int64_t index);
/* Multiplies, in place of the last layer, the norm before it. Sets `untied` where there is none. */
void ct_parametrization_fold_tied(ct_parametrization *p);

#endif
