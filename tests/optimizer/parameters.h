/* parameters.h - parameters outside a model, for the tests of optimizers. */
#ifndef CARAT_TESTS_OPTIMIZER_PARAMETERS_H
#define CARAT_TESTS_OPTIMIZER_PARAMETERS_H

#include "method/check.h"
#include <carat/optimizer.h>
#include <math.h>

/* A leaf of f32 values; it belongs to the open scope. */
static inline ct_parameter make_parameter(ct_context *context, const char *name, const float *values,
                                          int64_t count) {
    ct_tensor *tensor = ct_from_data(context, CT_F32, CT_DIMS(count), values);
    ct_require_grad(tensor, true);
    return (ct_parameter){.name = (char *)(uintptr_t)name, .tensor = tensor, .trainable = true};
}

static inline void set_gradient(ct_parameter *p, const float *values) {
    ct_context *context = ct_context_of(p->tensor);
    ct_gradient_set(p->tensor,
                    ct_from_data(context, CT_F32, ct_ndim(p->tensor), ct_shape(p->tensor), values));
}

static inline const float *values_of(const ct_parameter *p) {
    return ct_data(p->tensor);
}

static inline ct_optimizer *make_optimizer(ct_context *context, const char *method, const char *options) {
    ct_value *map = options ? ct_json_parse(context, options, strlen(options), "options") : NULL;
    ct_optimizer *optimizer = ct_optimizer_create(context, method, map);
    ct_value_free(map);
    return optimizer;
}

/* Relative to the larger, or absolute where both are small. */
static inline void assert_near(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance * fmax(1e-3, fabs(expected))))
        fail_msg("%.9g, expected %.9g", value, expected);
}

/* Numbers that look like gradients, the same in every run. */
static inline double noise(int64_t index, int64_t step) {
    ct_random random = ct_random_make(11, ct_random_stream("test noise") + (uint64_t)step);
    random.offset = (uint64_t)index;
    return ct_random_normal(&random);
}

#endif
