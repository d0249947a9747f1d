/* bigram.c - a language model that looks at one token: embedding, hidden layer, logits (in the spirit of
 * Bengio et al., "A neural probabilistic language model", JMLR 2003). ids [batch, time] -> logits [batch,
 * time, vocab_size]. */
#include "model/model.h"
#include "nn/layers.h"

typedef struct bigram_options {
    int64_t vocab_size, n_embd, n_inner, bos_token_id, eos_token_id;
} bigram_options;

static const ct_option bigram_table[] = {
    CT_OPTION_INT("vocab_size", bigram_options, vocab_size, 256, 1, 1e8, "tokens"),
    CT_OPTION_INT("n_embd", bigram_options, n_embd, 32, 1, 1e6, "width of the embedding"),
    CT_OPTION_INT("n_inner", bigram_options, n_inner, 64, 1, 1e7, "width of the hidden layer"),
    CT_OPTION_INT("bos_token_id", bigram_options, bos_token_id, -1, -1, 1e8, "begins a text; -1: none"),
    CT_OPTION_INT("eos_token_id", bigram_options, eos_token_id, -1, -1, 1e8, "ends a text; -1: none"),
    CT_OPTION_END};

/* Children of a sequential root; their names become those of the tensors in files ("wte.weight"). */
static ct_module *bigram_build(ct_context *context, const void *options, const ct_value *config) {
    (void)config;
    const bigram_options *o = options;
    ct_module *root = ct_module_create(context, ct_module_kind_find(context, "sequential"), "", NULL);
    if (!root) return NULL;
    ct_module_child_of_kind(root, "wte", "embedding",
                            ct_option_ints(context, "rows", o->vocab_size, "width", o->n_embd, NULL));
    ct_module_child_of_kind(root, "hidden", "linear",
                            ct_option_ints(context, "in", o->n_embd, "out", o->n_inner, NULL));
    ct_module_child_of_kind(root, "act", "activation", NULL); /* relu by default */
    ct_module_child_of_kind(root, "lm_head", "linear",
                            ct_option_ints(context, "in", o->n_inner, "out", o->vocab_size, NULL));
    if (!ct_failed(context)) return root;
    ct_module_destroy(root);
    return NULL;
}

static int64_t vocabulary(const void *options) {
    return ((const bigram_options *)options)->vocab_size;
}

const ct_architecture ct_architecture_bigram = {.model_type = "bigram",
                                                .class_name = "CaratBigram",
                                                .summary = "a language model that looks at one token",
                                                .options = bigram_table,
                                                .options_size = sizeof(bigram_options),
                                                .build = bigram_build,
                                                .vocabulary = vocabulary};
