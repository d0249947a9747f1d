/* entropy.c - matrix entropy: how many directions the rows of a matrix fill, and that of each layer of a
 * transformer.
 *
 * With the eigenvalues l_i of K = Z Z^T and p_i = l_i / trace K,
 *     S_a = log(sum p_i^a) / (1 - a),   S_1 = - sum p_i log p_i        (Giraldo et al., arXiv:1211.2459)
 * between 0 (one direction) and the logarithm of the rank. Z^T Z has the same eigenvalues but for zeros. */
#include "nn/block.h"
#include <carat/evaluate.h>
#include <math.h>

static double entropy_of(const double *eigenvalues, int64_t count, double alpha) {
    double trace = 0, sum = 0;
    for (int64_t i = 0; i < count; i++)
        trace += fmax(eigenvalues[i], 0); /* rounding may give tiny negative ones */
    if (!(trace > 0)) return isnan(trace) ? NAN : 0;
    for (int64_t i = 0; i < count; i++) {
        double p = fmax(eigenvalues[i], 0) / trace;
        if (p > 0) sum += alpha == 1 ? -p * log(p) : pow(p, alpha);
    }
    return alpha == 1 ? sum : log(sum) / (1 - alpha);
}

ct_status ct_matrix_entropy(ct_tensor *z, double alpha, double *entropy) {
    ct_context *context = ct_context_of(z);
    char text[160];
    *entropy = NAN;
    if (ct_failed(context)) return ct_context_status(context);
    if (!(alpha > 0) || !isfinite(alpha))
        return ct_fail(context, CT_ERROR_ARGUMENT, "matrix entropy: alpha %g, expected a number above 0",
                       alpha);
    if (ct_ndim(z) < 2 || ct_count(z) < 1)
        return ct_fail(context, CT_ERROR_SHAPE, "matrix entropy: %s, expected [..., rows, columns]",
                       ct_describe(z, text, sizeof(text)));
    ct_scope scope = ct_scope_open(context);
    bool mode = ct_grad_mode_set(context, false);
    ct_tensor *x = ct_cast(ct_detach(z), CT_F64), *turned = ct_transpose(x, -1, -2), *eigenvalues = NULL,
              *unused = NULL;
    int64_t side = ct_dim(x, -2) <= ct_dim(x, -1) ? ct_dim(x, -2) : ct_dim(x, -1);
    ct_tensor *k = side == ct_dim(x, -2) ? ct_matmul(x, turned) : ct_matmul(turned, x);
    ct_eigh(k, &eigenvalues, &unused);
    int64_t samples = ct_failed(context) ? 0 : ct_count(eigenvalues) / side;
    double *values = ct_alloc(context, (size_t)(samples * side) * sizeof(double), CT_MEMORY_WORKSPACE),
           sum = 0;
    if (samples && values && ct_read(eigenvalues, CT_F64, values) == CT_OK) {
        for (int64_t i = 0; i < samples; i++)
            sum += entropy_of(values + i * side, side, alpha);
        *entropy = sum / (double)samples;
    }
    ct_free(context, values);
    ct_grad_mode_set(context, mode);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

/* ----------------------------------------------------------------------------------------------- layers */

typedef struct entropy_study {
    double alpha;
    ct_entropy_report *next; /* of the point that comes next */
} entropy_study;

static ct_tensor *look(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run, (void)point;
    static const int rows = 0;
    entropy_study *s = user;
    ct_entropy_report *r = s->next++;
    ct_matrix_entropy(value, s->alpha, &r->sequence);
    r->batch = NAN;
    if (ct_dim(value, 0) < 2) return value; /* around its mean one row is nothing */
    ct_tensor *x = ct_cast(ct_detach(value), CT_F64);
    x = ct_transpose(ct_sub(x, ct_mean(x, 1, &rows, true)), 0, 1);
    ct_matrix_entropy(x, s->alpha, &r->batch);
    return value;
}

static ct_status find_list(void *user, ct_module *module) {
    ct_module **list = user;
    if (!*list && ct_module_kind_of(module)->forward == ct_block_list_forward) *list = module;
    return CT_OK;
}

static ct_status tap_layers(ct_run *run, ct_module *list, entropy_study *study) {
    char pattern[300];
    snprintf(pattern, sizeof(pattern), "%s.input", ct_module_path(list));
    ct_run_add_tap(run, pattern, look, study);
    for (int b = 0; b < ct_module_child_count(list); b++) {
        snprintf(pattern, sizeof(pattern), "%s.output", ct_module_path(ct_module_child(list, b)));
        if (ct_run_add_tap(run, pattern, look, study) != CT_OK) break;
    }
    return ct_context_status(ct_run_context(run));
}

ct_status ct_evaluate_entropy(ct_model *model, const int32_t *ids, int64_t rows, int64_t length, double alpha,
                              ct_entropy_report *reports) {
    ct_context *context = ct_model_context(model);
    ct_module *list = NULL;
    if (ct_failed(context)) return ct_context_status(context);
    ct_module_visit(ct_model_root(model), find_list, &list);
    if (!list || !ct_model_vocabulary(model))
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "evaluate entropy: a %s has no list of transformer blocks",
                       ct_model_architecture(model)->model_type);
    ct_scope scope = ct_scope_open(context);
    bool mode = ct_grad_mode_set(context, false);
    entropy_study study = {alpha, reports};
    ct_run *run = ct_run_create(context, NULL);
    if (run && tap_layers(run, list, &study) == CT_OK)
        ct_model_forward(model, run, ct_from_data(context, CT_I32, CT_DIMS(rows, length), ids));
    ct_run_destroy(run);
    ct_grad_mode_set(context, mode);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}
