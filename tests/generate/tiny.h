/* tiny.h - small models for the tests of generation and evaluation: a random GPT-2 over bytes, and one whose
 * next byte is a table of the present one. */
#ifndef CARAT_TESTS_GENERATE_TINY_H
#define CARAT_TESTS_GENERATE_TINY_H

#include "method/check.h"
#include <carat/generate.h>
#include <carat/model.h>
#include <math.h>

static inline ct_model *model_from(ct_context *context, const char *config) {
    ct_value *map = ct_json_parse(context, config, strlen(config), "config");
    ct_model *model = map ? ct_model_create(context, map) : NULL;
    ct_value_free(map);
    if (model) ct_model_initialize(model, 3);
    return model;
}

/* Weights wide enough that texts differ. 32 positions. */
static inline ct_model *random_model(ct_context *context) {
    return model_from(context,
                      "{\"model_type\": \"gpt2\", \"vocab_size\": 256, \"n_positions\": 32, \"n_embd\": 32, "
                      "\"n_layer\": 2, \"n_head\": 4, \"initializer_range\": 0.4}");
}

/* One-hot embeddings, blocks that add nothing, and a head that favours next[byte]: the logit of next[byte] is
 * about 16 * strength (the layer norm of a one-hot vector of 256 is about 16 at the one), that of the others
 * near 0. */
static inline ct_model *chain_model(ct_context *context, const unsigned char next[256], float strength,
                                    int64_t positions) {
    char config[256];
    snprintf(config, sizeof(config),
             "{\"model_type\": \"gpt2\", \"vocab_size\": 256, \"n_positions\": %d, \"n_embd\": 256, "
             "\"n_layer\": 1, "
             "\"n_head\": 2, \"n_inner\": 8, \"tie_word_embeddings\": false}",
             (int)positions);
    ct_model *model = model_from(context, config);
    if (!model) return NULL;
    static const char *const zero[] = {"wpe.weight",           "h.0.attn.c_proj.weight",
                                       "h.0.attn.c_proj.bias", "h.0.mlp.c_proj.weight",
                                       "h.0.mlp.c_proj.bias",  "wte.weight",
                                       "lm_head.weight"};
    for (int i = 0; i < 7; i++)
        ct_fill(ct_model_find(model, zero[i])->tensor, 0);
    float *embedding = ct_data_mutable(ct_model_find(model, "wte.weight")->tensor);
    float *head = ct_data_mutable(ct_model_find(model, "lm_head.weight")->tensor);
    for (int i = 0; i < 256; i++) {
        embedding[i * 256 + i] = 1;
        head[next[i] * 256 + i] = strength;
    }
    return model;
}

/* The chain of a text: each byte leads to the next one of it, the last to the first, all others to
 * themselves. */
static inline void chain_of(unsigned char next[256], const char *text) {
    size_t length = strlen(text);
    for (int i = 0; i < 256; i++)
        next[i] = (unsigned char)i;
    for (size_t i = 0; i < length; i++)
        next[(unsigned char)text[i]] = (unsigned char)text[(i + 1) % length];
}

/* Logits of the whole forward pass without a cache: [count][vocabulary], to be freed with free. */
static inline float *full_logits(ct_model *model, const int32_t *ids, int64_t count) {
    ct_context *context = ct_model_context(model);
    float *out = malloc((size_t)(count * ct_model_vocabulary(model)) * sizeof(float));
    assert_non_null(out);
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, false);
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *logits = ct_model_forward(model, run, ct_from_data(context, CT_I32, CT_DIMS(1, count), ids));
    assert_int_equal(ct_read(logits, CT_F32, out), CT_OK);
    ct_run_destroy(run);
    ct_grad_mode_set(context, before);
    ct_scope_close(context, scope);
    return out;
}

static inline double log_softmax(const float *logits, int64_t count, int64_t which) {
    double most = logits[0], sum = 0;
    for (int64_t i = 1; i < count; i++)
        most = fmax(most, logits[i]);
    for (int64_t i = 0; i < count; i++)
        sum += exp(logits[i] - most);
    return logits[which] - most - log(sum);
}

static inline int32_t likeliest(const float *logits, int64_t count) {
    int32_t best = 0;
    for (int32_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static inline ct_ids ids_of(ct_context *context, const char *bytes) {
    ct_ids ids = {0};
    for (size_t i = 0; i < strlen(bytes); i++)
        ct_ids_push(context, &ids, (unsigned char)bytes[i]);
    return ids;
}

static inline ct_generate_options default_options(int64_t tokens, bool sample) {
    ct_generate_options options;
    ct_options_default(ct_generate_table, &options);
    options.max_new_tokens = tokens;
    options.do_sample = sample;
    return options;
}

static inline ct_value *list_of(ct_context *context, const char *const *texts) {
    ct_value *list = ct_value_list(context);
    for (; *texts; texts++)
        ct_value_append(list, ct_value_string(context, *texts));
    return list;
}
#define LIST(context, ...) list_of(context, (const char *const[]){__VA_ARGS__, NULL})

#endif
