/* norm_place.c - where a model's norms stand, recorded beside its weights: the same tensors with their norms
 * elsewhere are another network, and a wrong one without any error. */
#include "model/llama.h"
#include "nn/block.h"
#include <string.h>

const char *ct_model_own_place(const ct_model *model) {
    const ct_decoder_family *family = ct_decoder_family_of(model->config);
    return family && family->peri ? "peri" : "pre";
}

/* What the configuration asks for; without the key "norm" what the family does. */
static ct_status asked_place(const ct_model *model, const ct_value *norm, char *place, size_t size,
                             bool *force) {
    ct_norm_choice choice;
    if (!norm) {
        snprintf(place, size, "%s", ct_model_own_place(model));
        return CT_OK;
    }
    if (ct_norm_choice_read(model->context, norm, 1e-5, &choice) == CT_OK) {
        ct_norm_choice_describe(&choice, place, size);
        *force = choice.force;
    }
    ct_norm_choice_free(&choice);
    return ct_context_status(model->context);
}

ct_status ct_model_check_place(ct_model *model, const char *recorded, const char *where) {
    ct_context *context = model->context;
    const ct_value *norm = ct_value_get(model->known, "norm");
    bool knows = model->architecture->layers && ct_options_find(model->architecture->options, "norm");
    if (!recorded) recorded = ct_value_as_string(ct_value_get(model->config, CT_NORM_PLACE_KEY), NULL);
    if (!knows || (!norm && !recorded)) return CT_OK;
    char place[48];
    bool force = false;
    if (asked_place(model, norm, place, sizeof(place), &force) != CT_OK) return ct_context_status(context);
    if (recorded && strcmp(recorded, place) != 0 && !force)
        return ct_fail(
            context, CT_ERROR_FORMAT,
            "%s: its norms stand at \"%s\", the configuration asks for \"%s\": these weights would "
            "compute something else (norm.force: true loads them all the same)",
            where, recorded, place);
    if (norm) ct_value_set(model->config, CT_NORM_PLACE_KEY, ct_value_string(context, place));
    return ct_context_status(context);
}
