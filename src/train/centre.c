/* centre.c - the key `center`: an RMSNorm model is trained as the LayerNorm model that it was made from would
 * be, its stream being kept at mean 0 (Jiang et al., arXiv:2305.14858). */
#include "train/learner.h"

ct_status ct_learner_centre_run(ct_learner *learner, ct_run *run) {
    if (learner->options->center == CT_CENTER_NONE) return CT_OK;
    if (ct_regularizers_adds_parameters(learner->regularizers) || learner->parametrization)
        return ct_fail(
            learner->context, CT_ERROR_UNSUPPORTED,
            "center: it cannot be combined with weights made by regularizers (weight_norm) or with param");
    return learner->options->center == CT_CENTER_ACTIVATIONS ? ct_stream_centre(learner->model, run) : CT_OK;
}

ct_status ct_learner_centre_weights(ct_learner *learner) {
    return learner->options->center == CT_CENTER_WEIGHTS ? ct_stream_centre_weights(learner->model) : CT_OK;
}
