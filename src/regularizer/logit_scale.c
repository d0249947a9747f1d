/* logit_scale.c - a learnt temperature: the weight of the output layer is multiplied by one number, which
 * begins as 1 and is trained with the model. Where the norm of that weight is held (NaP, Lyle et al., section
 * 4: the output layer is not scale invariant), it is what can still make logits larger or smaller. In the
 * finished model it is part of the weight. */
#include <carat/regularizer.h>
#include <string.h>

static bool is_linear(const ct_module *module) {
    const char *kind = ct_module_kind_of(module)->name;
    return strcmp(kind, "linear") == 0 || strcmp(kind, "conv1d") == 0;
}

/* The last linear layer that stands directly in the model. */
static const ct_module *output_of(const ct_module *root) {
    const ct_module *last = NULL;
    for (int i = 0; i < ct_module_child_count(root); i++)
        if (is_linear(ct_module_child(root, i))) last = ct_module_child(root, i);
    return last;
}

static bool derives(const void *given, const ct_parameter *parameter) {
    (void)given;
    if (!parameter->trainable || !ct_regularizer_is_matrix(parameter)) return false;
    const ct_module *module = parameter->slot->module, *root = module;
    while (ct_module_parent(root))
        root = ct_module_parent(root);
    return module == output_of(root);
}

static ct_status setup(ct_regularizer_setup *s) {
    ct_module *root = ct_model_root(s->model), *last = (ct_module *)(uintptr_t)output_of(root);
    ct_slot *slot = last ? ct_module_slot_named(last, "weight") : NULL;
    if (!slot)
        return ct_fail(s->context, CT_ERROR_UNSUPPORTED, "%s: the model has no linear layer at its end",
                       s->where);
    if (slot->parameter && slot->parameter->slot != slot)
        return ct_fail(s->context, CT_ERROR_UNSUPPORTED,
                       "%s: the weight of \"%s\" is also that of \"%s\", which would be scaled with it; set "
                       "tie_word_embeddings: false",
                       s->where, ct_module_path(last), ct_module_path(slot->parameter->slot->module));
    return CT_OK;
}

static int gain_shape(const void *given, const ct_parameter *parameter, int64_t shape[CT_MAX_DIMS]) {
    (void)given, (void)parameter, (void)shape;
    return 0;
}

static ct_tensor *first_gain(const void *given, const ct_parameter *parameter, ct_tensor *weight) {
    (void)given, (void)parameter;
    return ct_full(ct_context_of(weight), ct_dtype_of(weight), 0, NULL, 1);
}

static ct_tensor *derive(const void *given, const ct_parameter *parameter, ct_tensor *present,
                         ct_tensor *gain) {
    (void)given, (void)parameter;
    return ct_mul(present, gain);
}

const ct_regularizer_method ct_regularizer_logit_scale = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_regularizer_method),
         .name = "logit_scale",
         .title = "Learnt scale of the logits",
         .paper = {"arXiv:2407.01800", "Lyle et al., NeurIPS 2024, the output layer under NaP"},
         .summary =
             "The output layer's weight times one learnt number. With NaP, which holds that weight's norm, "
             "it is what can still sharpen the predictions.",
         .task = "train, continual"},
    /* No CT_HOOK_DERIVED_WEIGHT, which projections exclude: under NaP the parameter itself is what is to be projected,
     * and the factor beside it is the point of the method. */
    .setup = setup,
    .derives = derives,
    .gain_shape = gain_shape,
    .first_gain = first_gain,
    .derive = derive};
