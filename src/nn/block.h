/* block.h - inside nn and model: the transformer block that every family shares: where its norms stand, and
 * the list of blocks with recomputation. A family brings its sublayers and its names. */
#ifndef CARAT_SRC_NN_BLOCK_H
#define CARAT_SRC_NN_BLOCK_H

#include "nn/module.h"

/* Where norms stand around a sublayer F:
 *     pre       x + F(N(x))
 *     post      N(x + F(x))
 *     peri      x + N_out(F(N_in(x)))                        (J. Kim et al., arXiv:2502.02732)
 *     deepnorm  N(a x + F(x)), a = (2 layers)^(1/4)          (Wang et al., arXiv:2203.00555)
 * and, of a model: mix, whose first floor(alpha layers) blocks are post and the others pre (P. Li et al.,
 * arXiv:2412.13795). */
typedef enum ct_norm_place {
    CT_PLACE_PRE,
    CT_PLACE_POST,
    CT_PLACE_MIX,
    CT_PLACE_PERI,
    CT_PLACE_DEEPNORM
} ct_norm_place;
extern const char *const ct_norm_place_names[]; /* in that order, NULL-terminated */

/* Of one block; no mix. Its children are sublayers with their norms: norm, sublayer, norm, sublayer, ... and
 * for peri norm, sublayer, norm, ... less the norms that are switched off. */
typedef struct ct_block_options {
    int place;
    bool in, out;          /* peri: which of the two norms there are */
    double residual_scale; /* a of deepnorm */
} ct_block_options;
extern const ct_option ct_block_table[];
/* The forward functions of a block's kind and of a list of blocks. */
ct_tensor *ct_block_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count);
ct_tensor *ct_block_list_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count);

/* -------------------------------------------------------------------------- what a configuration asks for */

/* The key "norm" of a configuration: a method's name, or a map {name, place, alpha, peri: {in, out, emb},
 * force} with the method's options beside these. */
typedef struct ct_norm_choice {
    const char *name;  /* of the method; in `given` or static */
    ct_value *given;   /* owned: a copy of the key's value, or NULL */
    ct_value *options; /* owned: the method's */
    int place;
    double alpha;
    bool in, out, emb; /* peri */
    bool force;        /* load weights although another place is recorded */
    bool asked;        /* there was such a key */
} ct_norm_choice;
/* `value` is NULL where the key is absent: LayerNorm, pre. `epsilon` is the family's, used unless the options
 * say. */
ct_status ct_norm_choice_read(ct_context *context, const ct_value *value, double epsilon,
                              ct_norm_choice *choice);
void ct_norm_choice_free(ct_norm_choice *choice);
/* "pre", "mix 0.25", ...: what is recorded beside weights. */
void ct_norm_choice_describe(const ct_norm_choice *choice, char *text, size_t size);
ct_norm_place ct_norm_choice_place(const ct_norm_choice *choice, int64_t layer, int64_t layers);
/* What initial weights of values, projections and perceptrons are multiplied by: (8 layers)^(-1/4) for
 * deepnorm. */
double ct_norm_choice_init(const ct_norm_choice *choice, int64_t layers);

/* From `build`: a norm by the choice's name; block number `layer` of a list; and in it a sublayer with its
 * norms: `norm` is the one before it (or the only one), `norm_out` the one behind it. `options` are taken
 * over. */
ct_module *ct_norm_choice_add(ct_module *parent, const char *name, int64_t width,
                              const ct_norm_choice *choice);
ct_module *ct_block_add(ct_module *list, const char *kind, int64_t layer, int64_t layers,
                        const ct_norm_choice *choice);
void ct_block_add_sublayer(ct_module *block, const ct_norm_choice *choice, int64_t width, const char *norm,
                           const char *norm_out, const char *name, const char *kind, ct_value *options);

#endif
