/* bert.h - inside the model room: what bert.c (the whole model) and bert_layer.c (its blocks) share. */
#ifndef CARAT_SRC_MODEL_BERT_H
#define CARAT_SRC_MODEL_BERT_H

#include "model/model.h"

typedef struct ct_bert_options {
    int64_t vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size;
    int64_t max_position_embeddings, type_vocab_size, num_labels, pad_token_id;
    int hidden_act, position_embedding_type;
    double hidden_dropout_prob, attention_probs_dropout_prob, classifier_dropout, layer_norm_eps,
        initializer_range;
    bool add_pooling_layer, tie_word_embeddings, is_decoder, add_cross_attention;
    const ct_value *id2label;
} ct_bert_options;

/* What config.json may call the function inside the perceptron. */
extern const char *const ct_bert_activation_names[];

/* {"in", "out", "init_scale"} of a linear child. */
ct_value *ct_bert_linear(ct_context *context, int64_t in, int64_t out, double scale);
ct_tensor *ct_bert_activate(ct_run *run, ct_module *linear, ct_tensor *x, int activation);
/* The list of blocks, "encoder.layer". */
ct_status ct_bert_add_layers(ct_module *root, const ct_bert_options *options);
ct_status ct_bert_layer_register(ct_context *context);

#endif
