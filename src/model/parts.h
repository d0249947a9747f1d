/* parts.h - inside the model room: what transformer families share beside the blocks of nn/block.h: the
 * perceptron (gpt2.c, encoder.c), and layers, heads and names of encoders (bert.c, vit.c). */
#ifndef CARAT_SRC_MODEL_PARTS_H
#define CARAT_SRC_MODEL_PARTS_H

#include "model/model.h"
#include "nn/block.h"

/* ---------------------------------------------------------------------------------------- perceptron.c */

/* What config.json may call the function inside the perceptron. */
extern const char *const ct_perceptron_names[];
ct_tensor *ct_perceptron_activate(ct_run *run, ct_module *linear, ct_tensor *x, int activation);
/* {"in", "out", "init_scale"} of a linear child. */
ct_value *ct_linear_options(ct_context *context, int64_t in, int64_t out, double scale);
/* The kinds "gpt2.mlp" (children c_fc, c_proj, conv1d) and "bert.mlp" (intermediate, output, linear). */
ct_status ct_perceptron_register(ct_context *context);

/* ------------------------------------------------------------------------------------------- encoder.c */

/* Blocks of attention over the whole sequence and a perceptron: "encoder.layer". */
typedef struct ct_encoder_plan {
    int64_t width, layers, heads, inner;
    int64_t head_dim; /* channels of a head; 0: width / heads */
    int activation;   /* of ct_perceptron_names */
    double dropout, attention_dropout, init_scale;
    bool qkv_bias;
    const ct_norm_choice *norm;
    const char *attention_norm, *mlp_norm; /* names */
} ct_encoder_plan;
ct_status ct_encoder_add_layers(ct_module *root, const ct_encoder_plan *plan);
/* tanh of a linear map of the first token: "pooler" with its child "dense". */
void ct_encoder_add_pooler(ct_module *root, int64_t in, int64_t out, double init_scale);
/* How many classes a head has: `labels`, else as many as id2label names, else 2. Refuses what contradicts. */
ct_status ct_encoder_labels(ct_context *context, int64_t labels, const ct_value *id2label, int64_t *count);
/* architectures[0], or names[0] where the configuration has none: its place in `names`. Others are refused.
 */
ct_status ct_encoder_class(ct_context *context, const ct_value *config, const char *const *names, int *index);
/* prefix + path, with the first of `renames` {ours, the file's} that occurs in it replaced. */
char *ct_encoder_file_name(ct_context *context, const char *prefix, const char *path,
                           const char *const (*renames)[2], size_t count);
/* Only the file says whether an encoder without a head has a pooler: add_pooling_layer. */
ct_status ct_encoder_adapt(ct_context *context, ct_value *config, const ct_archive *file,
                           const char *class_name, const char *prefix);
ct_status ct_encoder_register(ct_context *context);

#endif
