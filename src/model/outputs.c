/* outputs.c - several outputs of one pass, by the names of their points. */
#include "model/model.h"
#include "nn/run.h"

/* Where a tap puts what it sees. A segment that is computed again passes its points twice: the first counts.
 */
typedef struct caught {
    ct_tensor *value; /* held */
} caught;

static ct_tensor *take(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run, (void)point;
    caught *place = user;
    if (!place->value) place->value = ct_hold(value);
    return value;
}

ct_status ct_model_outputs(ct_model *model, ct_run *run, ct_tensor *const *inputs, int count,
                           const char *const *points, int wanted, ct_tensor **outputs) {
    ct_context *context = model->context;
    for (int i = 0; i < wanted; i++)
        outputs[i] = NULL;
    if (ct_failed(context)) return ct_context_status(context);
    caught *places = ct_alloc_zero(context, (size_t)(wanted + 1) * sizeof(*places), CT_MEMORY_OTHER);
    int added = 0;
    while (places && added < wanted && ct_run_add_tap(run, points[added], take, &places[added]) == CT_OK)
        added++;
    if (places && !ct_failed(context)) {
        ct_scope scope = ct_scope_open(context);
        ct_run_position_of(run)->points_only = true;
        ct_forward(run, model->root, inputs, count);
        ct_run_position_of(run)->points_only = false;
        ct_scope_close(context, scope);
    }
    ct_run_drop_taps(run, added);
    for (int i = 0; i < added && !ct_failed(context); i++)
        if (!places[i].value)
            ct_fail(context, CT_ERROR_NOT_FOUND, "the pass of this %s has no point \"%s\"",
                    model->architecture->model_type, points[i]);
    for (int i = 0; i < added; i++) {
        if (!places[i].value) continue;
        ct_scope scope = ct_scope_open(context);
        outputs[i] = ct_scope_return(context, scope, places[i].value);
        ct_drop(places[i].value);
    }
    ct_free(context, places);
    return ct_context_status(context);
}
