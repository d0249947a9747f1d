/* check.h - what the tests of models share: models from config.json's text with weights of a size that makes
 * all parts matter, one forward pass, what must be refused. */
#ifndef CARAT_TESTS_MODEL_CHECK_H
#define CARAT_TESTS_MODEL_CHECK_H

#include "reach/reach.h"

static inline void assert_failed_with(ct_status status, const char *words) {
    assert_int_equal(ct_context_status(context), status);
    if (!strstr(ct_context_message(context), words))
        fail_msg("\"%s\" not in \"%s\"", words, ct_context_message(context));
    ct_context_clear(context);
}

static inline void config_refused(const char *json, ct_status status, const char *words) {
    ct_value *config = ct_json_parse(context, json, strlen(json), "config.json");
    assert_ok();
    ct_model *model = ct_model_create(context, config);
    ct_value_free(config);
    assert_null(model);
    assert_failed_with(status, words);
}

/* Making a model: every allocation fails once. */
static inline void survives_building(const char *json) {
    for (int64_t n = 1;; n++) {
        ct_value *config = ct_json_parse(context, json, strlen(json), "config");
        ct_memory_fail_at(context, n);
        ct_model *model = ct_model_create(context, config);
        ct_memory_fail_at(context, 0);
        bool was = ct_failed(context);
        assert_true(was == !model);
        if (was) assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
        ct_model_destroy(model);
        ct_value_free(config);
        if (!was) break;
    }
}

static inline ct_tensor *random_ids(uint64_t seed, int64_t batch, int64_t time, int64_t vocabulary) {
    ct_random random = ct_random_make(seed, 3);
    return ct_random_integer_tensor(context, CT_I32, CT_DIMS(batch, time), 0, vocabulary, &random);
}

/* Every parameter gets draws of a size that makes all parts of the model matter, gains and biases too. */
static inline ct_model *stirred(const char *json) {
    ct_model *model = model_from(json, 1);
    ct_random random = ct_random_make(99, 1);
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_parameter *p = ct_model_parameter(model, i);
        ct_perturb(p->tensor, ct_ndim(p->tensor) == 1 ? 0.3 : 0.2, &random);
    }
    return model;
}

/* `options` NULL: as ct_run_create takes it. */
static inline ct_tensor *forward(ct_model *model, const ct_run_options *options, ct_tensor *ids) {
    ct_run *run = ct_run_create(context, options);
    ct_tensor *logits = ct_model_forward(model, run, ids);
    ct_run_destroy(run);
    return logits;
}

#endif
