/* parameters.h - parameters outside a model, for the tests of optimizers and links. */
#ifndef CARAT_TESTS_OPTIMIZER_PARAMETERS_H
#define CARAT_TESTS_OPTIMIZER_PARAMETERS_H

#include "method/check.h"
#include <carat/link.h>
#include <math.h>

/* A leaf of f32 values; it belongs to the open scope. */
static inline ct_parameter make_shaped(ct_context *context, const char *name, int ndim, const int64_t *shape,
                                       const float *values) {
    ct_tensor *tensor = ct_from_data(context, CT_F32, ndim, shape, values);
    ct_require_grad(tensor, true);
    return (ct_parameter){.name = (char *)(uintptr_t)name, .tensor = tensor, .trainable = true};
}

static inline ct_parameter make_parameter(ct_context *context, const char *name, const float *values,
                                          int64_t count) {
    return make_shaped(context, name, 1, &count, values);
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

static inline ct_status add_link(ct_optimizer *optimizer, ct_context *context, const char *link,
                                 const char *options) {
    ct_value *map = options ? ct_json_parse(context, options, strlen(options), "options") : NULL;
    ct_status status = ct_optimizer_add_link(optimizer, link, map);
    ct_value_free(map);
    return status;
}

/* The state of that name; the test fails if there is none. */
static inline ct_tensor *state_named(const ct_optimizer *optimizer, const char *wanted) {
    char name[256];
    for (int64_t i = 0; i < ct_optimizer_state_count(optimizer); i++) {
        ct_tensor *tensor = ct_optimizer_state_at(optimizer, i, name, sizeof(name));
        if (strcmp(name, wanted) == 0) return tensor;
    }
    fail_msg("there is no state \"%s\"", wanted);
    return NULL;
}

static inline bool has_state(const ct_optimizer *optimizer, const char *wanted) {
    char name[256];
    for (int64_t i = 0; i < ct_optimizer_state_count(optimizer); i++)
        if (ct_optimizer_state_at(optimizer, i, name, sizeof(name)) && strcmp(name, wanted) == 0) return true;
    return false;
}

static inline double statistic_named(const ct_optimizer *optimizer, int64_t parameter, const char *wanted) {
    for (int i = 0; i < ct_optimizer_statistic_count(optimizer); i++)
        if (strcmp(ct_optimizer_statistic_name(optimizer, i), wanted) == 0)
            return ct_optimizer_statistic(optimizer, parameter, i);
    fail_msg("there is no statistic \"%s\"", wanted);
    return 0;
}

/* Relative to the larger, or absolute where both are small. */
static inline void assert_near(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance * fmax(1e-3, fabs(expected))))
        fail_msg("%.9g, expected %.9g", value, expected);
}

static inline void assert_all_near(const ct_parameter *p, const double *expected, double tolerance) {
    for (int64_t i = 0; i < ct_count(p->tensor); i++)
        if (!(fabs(values_of(p)[i] - expected[i]) <= tolerance))
            fail_msg("element %d: %.9g, expected %.9g", (int)i, values_of(p)[i], expected[i]);
}

/* Numbers that look like gradients, the same in every run. */
static inline double noise(int64_t index, int64_t step) {
    ct_random random = ct_random_make(11, ct_random_stream("test noise") + (uint64_t)step);
    random.offset = (uint64_t)index;
    return ct_random_normal(&random);
}

static inline void set_noise(ct_parameter *p, int64_t step) {
    int64_t count = ct_count(p->tensor);
    float *gradient = malloc((size_t)count * sizeof(float));
    assert_non_null(gradient);
    for (int64_t i = 0; i < count; i++)
        gradient[i] = (float)noise(i, step);
    set_gradient(p, gradient);
    free(gradient);
}

#endif
