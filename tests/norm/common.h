/* common.h - what the tests of norms share: a norm as a model of one module, and a method called by itself.
 */
#ifndef CARAT_TESTS_NORM_COMMON_H
#define CARAT_TESTS_NORM_COMMON_H

#include "reach/reach.h"
#include <carat/norm.h>

#define F32(dims, ...) ct_cast(ct_from_data(context, CT_F64, dims, (const double[]){__VA_ARGS__}), CT_F32)
#define F64(dims, ...) ct_from_data(context, CT_F64, dims, (const double[]){__VA_ARGS__})
#define NUMBERS(...) ((const double[]){__VA_ARGS__})

/* A model that is a norm over `width` channels. `options` is JSON. */
static inline ct_model *norm_model(const char *name, int width, const char *options) {
    char text[600];
    snprintf(text, sizeof(text),
             "{\"model_type\":\"mlp\",\"sizes\":[1,1],\"carat\":{\"tree\":{\"kind\":\"sequential\","
             "\"name\":\"\",\"children\":[{\"kind\":\"norm\",\"name\":\"0\",\"options\":{\"norm\":\"%s\","
             "\"width\":%d,\"options\":%s}}]}}}",
             name, width, options);
    return model_from(text, 77);
}

static inline ct_tensor *tensor_of(ct_model *model, const char *name) {
    char path[64];
    snprintf(path, sizeof(path), "0.%s", name);
    ct_parameter *parameter = ct_model_find(model, path);
    if (!parameter) fail_msg("there is no %s", path);
    return parameter->tensor;
}

static inline void set(ct_model *model, const char *name, const double *numbers) {
    assert_int_equal(ct_write(tensor_of(model, name), CT_F64, numbers), CT_OK);
}

static inline ct_run *run_of(bool training) {
    return ct_run_create(context, &(ct_run_options){.training = training});
}

/* One forward pass, in training or not. */
static inline ct_tensor *pass(ct_model *model, bool training, ct_tensor *x) {
    ct_run *run = run_of(training);
    ct_tensor *y = ct_model_forward(model, run, x);
    ct_run_destroy(run);
    return y;
}

static inline void assert_values(ct_tensor *found, int count, const double *expected, double tolerance) {
    assert_ok();
    assert_int_equal(ct_count(found), count);
    double *x = values(found);
    for (int i = 0; i < count; i++)
        if (!(fabs(x[i] - expected[i]) <= tolerance))
            fail_msg("[%d]: %.9g, expected %.9g", i, x[i], expected[i]);
    free(x);
}

static inline void assert_failed_with(const char *words) {
    assert_true(ct_failed(context));
    if (!strstr(ct_context_message(context), words))
        fail_msg("\"%s\" not in \"%s\"", words, ct_context_message(context));
    ct_context_clear(context);
}

/* A method called by itself, for gradient checks in f64: inputs[0] is x, inputs[1] ... are tensors[0] .... */
typedef struct direct {
    const ct_norm_method *method;
    void *options;
    ct_value *given;
    ct_tensor *tensors[CT_NORM_TENSORS]; /* those that are no inputs */
    int inputs;                          /* of the tensors */
    bool training, told;
} direct;

static inline direct direct_of(const char *name, const char *options) {
    direct d = {0};
    d.method = (const ct_norm_method *)(const void *)ct_method_find(context, "norm", name);
    assert_ok();
    d.options = calloc(1, d.method->method.options_size + 1);
    ct_options_default(d.method->method.options, d.options);
    d.given = ct_json_parse(context, options, strlen(options), "options");
    ct_options_apply(context, d.method->method.options, d.options, d.given, "", NULL);
    assert_ok();
    return d;
}

static inline void direct_free(direct *d) {
    free(d->options);
    ct_value_free(d->given);
}

static inline ct_tensor *direct_forward(void *user, ct_tensor *const *inputs) {
    direct *d = user;
    ct_tensor *tensors[CT_NORM_TENSORS];
    for (int i = 0; i < CT_NORM_TENSORS; i++)
        tensors[i] = i < d->inputs ? inputs[i + 1] : d->tensors[i];
    ct_norm_call call = {.context = context,
                         .options = d->options,
                         .where = "test",
                         .width = ct_dim(inputs[0], -1),
                         .tensors = tensors,
                         .training = d->training,
                         .told = &d->told};
    return d->method->forward(&call, inputs[0]);
}

/* Worst relative error of the gradients of x [tokens, width] and of the first tensors. */
static inline double gradient_error(direct *d, int64_t tokens, int64_t width, bool second) {
    ct_random random = ct_random_make(5, 3);
    ct_tensor *inputs[3];
    inputs[0] = ct_random_normal_tensor(context, CT_F64, CT_DIMS(tokens, width), 0.3, 1, &random);
    for (int i = 1; i <= d->inputs; i++)
        inputs[i] = ct_random_normal_tensor(context, CT_F64, CT_DIMS(width), 1, 0.5, &random);
    double worst = NAN;
    ct_gradient_check(context, direct_forward, d, inputs, 1 + d->inputs, 1e-6, second, &worst);
    assert_ok();
    return worst;
}

#endif
