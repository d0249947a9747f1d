/* norm_place.c - where a model's norms stand, recorded beside its weights: the same tensors with their norms
 * elsewhere are another network, and a wrong one without any error. */
#include "model/model.h"
#include "nn/block.h"
#include <string.h>

ct_status ct_model_check_place(ct_model *model, const char *recorded, const char *where) {
    ct_context *context = model->context;
    const ct_value *norm = ct_value_get(model->known, "norm");
    bool knows = model->architecture->layers && ct_options_find(model->architecture->options, "norm");
    if (!recorded) recorded = ct_value_as_string(ct_value_get(model->config, CT_NORM_PLACE_KEY), NULL);
    if (!knows || (!norm && !recorded)) return CT_OK;
    ct_norm_choice choice;
    char place[48];
    if (ct_norm_choice_read(context, norm, 1e-5, &choice) == CT_OK) {
        ct_norm_choice_describe(&choice, place, sizeof(place));
        if (recorded && strcmp(recorded, place) != 0 && !choice.force)
            ct_fail(context, CT_ERROR_FORMAT,
                    "%s: its norms stand at \"%s\", the configuration asks for \"%s\": these weights would "
                    "compute "
                    "something else (norm.force: true loads them all the same)",
                    where, recorded, place);
        else if (norm)
            ct_value_set(model->config, CT_NORM_PLACE_KEY, ct_value_string(context, place));
    }
    ct_norm_choice_free(&choice);
    return ct_context_status(context);
}
