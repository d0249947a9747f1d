/* nap.c - NaP, Normalize-and-Project (Lyle et al.): after each step every weight matrix is put back to the
 * norm it had at the start. In layers that a norm follows the function stays the same and only the effective
 * learning rate is held; together with norms before the nonlinearities the rate that is set is the rate that
 * the network sees.
 *
 * Gains and offsets of norms are projected jointly, (g, b) to its initial norm, or pulled to their initial
 * values. The coefficient of the pull in the paper is not known here. */
#include "nn/run.h"
#include "tensor/cpu/kernels.h"
#include <carat/link.h>
#include <math.h>
#include <string.h>

typedef struct nap_options {
    const ct_value *exclude;
    int norm_params;
    double lambda;
    int64_t every;
} nap_options;

enum { PROJECT, DECAY, DROP };
static const char *const norm_modes[] = {"project", "decay", "drop", NULL};
static const ct_option options[] = {
    CT_OPTION_VALUE(
        "exclude", nap_options, exclude,
        "list of patterns of parameters that are left alone: [\"lm_head.*\"]; * is any run of characters"),
    CT_OPTION_CHOICE("norm_params", nap_options, norm_params, "project", norm_modes,
                     "gains and offsets of norms: project: (gain, offset) to its initial norm; decay: pulled "
                     "to 1 and 0 by "
                     "lambda; drop: the model must have none"),
    CT_OPTION_REAL("lambda", nap_options, lambda, 0.001, 0, 1e3, "strength of the pull, times the rate"),
    CT_OPTION_INT("every", nap_options, every, 1, 1, 1e12, "steps between projections"), CT_OPTION_END};

/* The initial norm; 0: not projected. */
static const ct_state_decl state[] = {{"rho", CT_ONE_PER_PARAMETER, CT_F32, CT_STATE_EXACT},
                                      {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

static bool is_excluded(const nap_options *o, const char *name) {
    for (size_t i = 0; i < ct_value_count(o->exclude); i++)
        if (ct_pattern_matches(ct_value_as_string(ct_value_at(o->exclude, i), ""), name)) return true;
    return false;
}

static bool is_of_norm(ct_role role) {
    return role == CT_ROLE_GAIN || role == CT_ROLE_OFFSET;
}

static bool is_weight(const ct_optimizer_tensor *t) {
    return t->ndim >= 2 &&
           (t->role == CT_ROLE_MATRIX || t->role == CT_ROLE_OUTPUT || t->role == CT_ROLE_EMBEDDING);
}

static ct_status nap_check(ct_context *context, const void *given) {
    const nap_options *o = given;
    if (o->exclude && ct_value_kind_of(o->exclude) != CT_VALUE_LIST)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "nap.exclude: expected a list of patterns such as [\"lm_head.*\"]");
    for (size_t i = 0; i < ct_value_count(o->exclude); i++)
        if (ct_value_kind_of(ct_value_at(o->exclude, i)) != CT_VALUE_STRING)
            return ct_fail(context, CT_ERROR_ARGUMENT,
                           "nap.exclude.%zu: expected a pattern such as \"lm_head.*\"", i);
    return CT_OK;
}

static ct_status nap_accept(ct_context *context, const void *given, const ct_optimizer_tensor *t) {
    const nap_options *o = given;
    if (is_excluded(o, t->name)) return CT_OK;
    if (t->role == CT_ROLE_ADAPTER)
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "nap: \"%s\" is a low-rank or quantized parameter, whose norm is not that of the "
                       "weight it makes; "
                       "exclude it or train the weight itself",
                       t->name);
    if (o->norm_params == DROP && is_of_norm(t->role))
        return ct_fail(
            context, CT_ERROR_UNSUPPORTED,
            "nap.norm_params: drop asks for norms without gain and offset, but the model has \"%s\": which "
            "parameters there are is decided when a model is built. Build it without them (model.norm: "
            "{affine: "
            "false}), or choose project or decay",
            t->name);
    return CT_OK;
}

/* ------------------------------------------------------------------------------------------- norms */

static double squares(const ct_link_parameter *p) {
    return ct_cpu_kernels()->f32.reduce(CT_REDUCE_SUM_SQUARES, p->tensor.count, p->weight, 0);
}

static double frozen_squares(const ct_link_parameter *p) {
    double sum = 0;
    for (int64_t i = 0; p->mask && i < p->tensor.count; i++)
        if (!p->mask[i]) sum += (double)p->weight[i] * (double)p->weight[i];
    return sum;
}

static void scale(const ct_link_parameter *p, float factor) {
    if (!p->mask)
        ct_cpu_kernels()->f32.unary(CT_UNARY_SCALE, p->tensor.count, p->weight, p->weight, factor, 0);
    for (int64_t i = 0; p->mask && i < p->tensor.count; i++)
        if (p->mask[i]) p->weight[i] *= factor;
}

/* The other vector of the same norm layer: its offset for a gain. */
static ct_link_parameter *offset_of(ct_link_parameter *all, int64_t count, const ct_link_parameter *gain) {
    for (int64_t i = 0; i < count && gain->tensor.module; i++)
        if (all[i].tensor.role == CT_ROLE_OFFSET && all[i].tensor.module == gain->tensor.module)
            return &all[i];
    return NULL;
}

/* ------------------------------------------------------------------------------------ before step one */

static ct_status nap_begin(ct_context *context, const void *given, ct_link_parameter *all, int64_t count) {
    const nap_options *o = given;
    bool decays = false;
    for (int64_t i = 0; i < count; i++) {
        ct_link_parameter *p = &all[i];
        bool gain = o->norm_params == PROJECT && p->tensor.role == CT_ROLE_GAIN;
        if (is_excluded(o, p->tensor.name) || !(is_weight(&p->tensor) || gain)) continue;
        const ct_link_parameter *offset = gain ? offset_of(all, count, p) : NULL;
        double norm = sqrt(squares(p) + (offset ? squares(offset) : 0));
        *p->state[0] = (float)norm;
        if (norm == 0)
            ct_log_message(
                context, CT_LOG_WARNING,
                "nap: \"%s\" is all zero at the start; it would stay so and is therefore not projected",
                p->tensor.name);
        decays |= norm > 0 && p->weight_decay > 0;
    }
    if (decays)
        ct_log_message(context, CT_LOG_WARNING,
                       "nap: weight decay has no effect on weights that are projected; their norms are held");
    return CT_OK;
}

/* -------------------------------------------------------------------------------------- after a step */

typedef struct work {
    const nap_options *options;
    ct_link_parameter *all;
    int64_t count;
    bool projects; /* this step is one of `every` */
} work;

/* Factor of the elements that may move, so that the norm of all is rho. */
static float factor_to(double rho, double total, double frozen) {
    double moving = total - frozen, wanted = rho * rho - frozen;
    return moving > 0 ? (float)sqrt(fmax(wanted, 0) / moving) : 1;
}

static void pull(const ct_link_parameter *p, double strength) {
    float target = p->tensor.role == CT_ROLE_GAIN ? 1 : 0, share = (float)(p->learning_rate * strength);
    for (int64_t i = 0; i < p->tensor.count; i++)
        if (!p->mask || p->mask[i]) p->weight[i] -= share * (p->weight[i] - target);
}

static void task(void *user, int64_t index, int worker) {
    (void)worker;
    const work *w = user;
    ct_link_parameter *p = &w->all[index];
    bool of_norm = is_of_norm(p->tensor.role) && !is_excluded(w->options, p->tensor.name);
    if (w->options->norm_params == DECAY && of_norm && p->stepped) pull(p, w->options->lambda);
    double rho = (double)*p->state[0];
    if (!(rho > 0)) return;
    ct_link_parameter *offset = p->tensor.role == CT_ROLE_GAIN ? offset_of(w->all, w->count, p) : NULL;
    double total = squares(p) + (offset ? squares(offset) : 0);
    if (p->statistics) p->statistics[0] = sqrt(total) / rho;
    if (!w->projects) return;
    float factor = factor_to(rho, total, frozen_squares(p) + (offset ? frozen_squares(offset) : 0));
    scale(p, factor);
    if (offset) scale(offset, factor);
}

static ct_status nap_after(ct_context *context, const void *given, int64_t step, ct_link_parameter *all,
                           int64_t count) {
    const nap_options *o = given;
    work w = {o, all, count, step % o->every == 0};
    ct_parallel_for(context, count, task, &w);
    return ct_context_status(context);
}

static const char *const statistics[] = {"norm_ratio", NULL};

const ct_link_method ct_link_nap = {.method = {.abi = CT_METHOD_ABI,
                                               .size = sizeof(ct_link_method),
                                               .name = "nap",
                                               .title = "Normalize-and-Project",
                                               .paper = {"arXiv:2407.01800", "Lyle et al., NeurIPS 2024"},
                                               .summary =
                                                   "After each step weights are put back to their initial "
                                                   "norms, so that the effective learning rate "
                                                   "does not decay as weights grow. For continual learning, "
                                                   "reinforcement learning, very long runs; with the "
                                                   "regularizer logit_scale where outputs must become sharp.",
                                               .options = options,
                                               .options_size = sizeof(nap_options),
                                               .task = "train, continual",
                                               .uses = CT_HOOK_PROJECTION},
                                    .state = state,
                                    .check = nap_check,
                                    .accept = nap_accept,
                                    .begin = nap_begin,
                                    .after = nap_after,
                                    .statistics = statistics};
