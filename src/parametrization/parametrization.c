/* parametrization.c - what all parametrizations share: the base model, which dimensions of a tensor grow, and
 * the factors of initial weights, rates and forward multipliers that follow. */
#include "parametrization/parametrization.h"
#include <carat/ops.h>
#include <math.h>
#include <string.h>

static const char *const class_names[] = {"input", "hidden", "output", "fixed"};
const char *ct_width_class_name(ct_width_class class) {
    return class_names[class];
}

enum { BY_NAME, AS_SGD, AS_ADAM };
static const char *const optimizers[] = {"auto", "sgd", "adam", NULL};
static const char *const decays[] = {"independent", "scaled", NULL};
static const char *const attentions[] = {"auto", "1/d", "1/sqrt(d)", NULL};

const ct_option ct_parametrization_options[] = {
    CT_OPTION_INT("base_width", ct_param_options, base_width, 0, 0, 1e9,
                  "width at which every factor is 1: n_embd, hidden_size, or the first hidden size of an "
                  "mlp, all others "
                  "in proportion"),
    CT_OPTION_VALUE("base", ct_param_options, base,
                    "keys of the base model's configuration: {n_embd: 64, n_head: 2}"),
    CT_OPTION_CHOICE("optimizer", ct_param_options, optimizer, "auto", optimizers,
                     "which rules for rates hold; auto: as the optimizer's name says"),
    CT_OPTION_CHOICE(
        "decay", ct_param_options, decay, "independent", decays,
        "of weights whose rate is scaled: independent: rate times decay stays; scaled: the decay stays"),
    CT_OPTION_CHOICE("attention", ct_param_options, attention, "auto", attentions,
                     "scale of attention logits in the channels d of a head; auto: as the method says"),
    CT_OPTION_BOOL("zero_out", ct_param_options, zero_out, false, "output weights begin as 0"),
    CT_OPTION_BOOL("zero_query", ct_param_options, zero_query, false,
                   "weights of queries begin as 0, so that attention begins as a mean"),
    CT_OPTION_VALUE(
        "a", ct_param_options, a,
        "custom: exponents of the forward multipliers of the first, hidden and last matrices: [0, 0.5, 0.5]"),
    CT_OPTION_VALUE("b", ct_param_options, b, "custom: exponents of their initial deviations, the same"),
    CT_OPTION_REAL("c", ct_param_options, c, 0, -100, 100, "custom: exponent of SGD's rate"),
    CT_OPTION_REAL("rate_exponent", ct_param_options, rate_exponent, 0, -10, 10,
                   "all rates are also divided by this power of the width's ratio"),
    CT_OPTION_END};

/* ------------------------------------------------------------------------------------------- choosing */

static ct_status read_exponents(ct_context *context, const char *path, const char *key, const ct_value *list,
                                double *to) {
    bool good = ct_value_kind_of(list) == CT_VALUE_LIST && ct_value_count(list) == 3;
    for (size_t i = 0; good && i < 3; i++) {
        to[i] = ct_value_as_real(ct_value_at(list, i), NAN);
        good = fabs(to[i]) <= 100; /* false for what is no number */
    }
    if (good) return CT_OK;
    return ct_fail(
        context, CT_ERROR_ARGUMENT,
        "%s.%s: expected three exponents, of the first, the hidden and the last matrices: [0, 0.5, 0.5]",
        path, key);
}

/* The method as the options' exponents make it. */
static ct_status take_exponents(ct_context *context, const char *path, ct_parametrization *p) {
    if (!p->method->by_exponents) {
        static const char *const keys[] = {"a", "b", "c"};
        for (int i = 0; i < 3; i++)
            if (ct_value_get(p->choice, keys[i]))
                return ct_fail(context, CT_ERROR_ARGUMENT,
                               "%s.%s: %s has exponents of its own; those of custom can be given", path,
                               keys[i], p->method->method.name);
        return CT_OK;
    }
    p->own = *p->method;
    ct_abc *e = &p->own.exponents;
    if (read_exponents(context, path, "a", p->options.a, e->a) != CT_OK ||
        read_exponents(context, path, "b", p->options.b, e->b) != CT_OK)
        return ct_context_status(context);
    e->c = p->options.c;
    for (int i = 0; i < 3; i++) {
        p->own.multiplier[i] = e->a[i];
        p->own.deviation[i] = e->b[i];
        p->own.sgd[i] = e->c;
    }
    p->method = &p->own;
    return CT_OK;
}

static ct_status choose(ct_context *context, const ct_value *choice, const char *path,
                        ct_parametrization *p) {
    const char *name = ct_value_as_string(ct_value_get(choice, "name"), NULL);
    if (!name) return ct_fail(context, CT_ERROR_ARGUMENT, "%s: expected {name: mup, base_width: 64}", path);
    const ct_method *method = ct_method_find(context, "parametrization", name);
    if (!method) return ct_context_status(context);
    static const char *const skip[] = {"name", NULL};
    p->method = (const ct_parametrization_method *)(const void *)method;
    p->choice = ct_value_copy(choice);
    ct_options_default(ct_parametrization_options, &p->options);
    if (!p->choice ||
        ct_options_apply(context, ct_parametrization_options, &p->options, p->choice, path, skip) != CT_OK)
        return ct_context_status(context);
    if (p->options.base && ct_value_kind_of(p->options.base) != CT_VALUE_MAP)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s.base: expected keys of a configuration: {n_embd: 64}",
                       path);
    if (!p->options.base && p->options.base_width == 0)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "%s: expected base_width, the width at which all factors are 1", path);
    return take_exponents(context, path, p);
}

ct_status ct_parametrization_check(ct_context *context, const ct_value *choice, const char *path) {
    ct_parametrization p = {.context = context};
    choose(context, choice, path, &p);
    ct_value_free(p.choice);
    return ct_context_status(context);
}

/* Adam's updates do not grow with the gradient; that is what its rules rest on. */
static ct_status find_rules(ct_parametrization *p, const char *optimizer) {
    static const char *const plain[] = {"sgd", "sgdp"};
    static const char *const adaptive[] = {"adam",     "adamw", "adamw8bit", "adamp",
                                           "diffgrad", "lion",  "rmsprop",   "adagrad"};
    const char *name = p->method->method.name;
    int rules = p->options.optimizer;
    for (size_t i = 0; rules == BY_NAME && i < sizeof(plain) / sizeof(plain[0]); i++)
        if (strcmp(plain[i], optimizer) == 0) rules = AS_SGD;
    for (size_t i = 0; rules == BY_NAME && i < sizeof(adaptive) / sizeof(adaptive[0]); i++)
        if (strcmp(adaptive[i], optimizer) == 0) rules = AS_ADAM;
    if (rules == BY_NAME)
        return ct_fail(p->context, CT_ERROR_UNSUPPORTED,
                       "%s: how the rates of \"%s\" should depend on the width is not known; "
                       "param.optimizer: adam or sgd "
                       "says whose rules to take",
                       name, optimizer);
    if (rules == AS_ADAM && !p->method->knows_adam)
        return ct_fail(p->context, CT_ERROR_UNSUPPORTED,
                       "%s: it is defined for SGD, not for adaptive steps as \"%s\" has", name, optimizer);
    p->adam = rules == AS_ADAM;
    return CT_OK;
}

/* -------------------------------------------------------------------------------------- the base model */

/* Every option of the model's architecture, those that the configuration leaves out too. */
static ct_value *all_options(const ct_model *model) {
    return ct_options_to_value(ct_model_context(model), ct_model_architecture(model)->options,
                               ct_model_options(model));
}

static ct_value *base_config(ct_parametrization *p) {
    ct_context *context = p->context;
    ct_value *config = ct_value_copy(ct_model_config(p->model));
    if (config && p->options.base_width > 0) ct_width_set(context, config, p->options.base_width);
    for (size_t i = 0; config && i < ct_value_count(p->options.base); i++)
        ct_value_set(config, ct_value_key(p->options.base, i),
                     ct_value_copy(ct_value_at(p->options.base, i)));
    return config;
}

/* Channels of a head; 0 for a model without attention. */
static double head_channels(const ct_model *model) {
    ct_value *options = all_options(model);
    double heads = (double)ct_value_as_int(ct_value_get(options, "n_head"), 0), channels;
    double width = (double)ct_value_as_int(ct_value_get(options, heads > 0 ? "n_embd" : "hidden_size"), 0);
    if (heads <= 0) heads = (double)ct_value_as_int(ct_value_get(options, "num_attention_heads"), 0);
    channels = (double)ct_value_as_int(ct_value_get(options, "head_dim"), 0);
    ct_value_free(options);
    return channels > 0 ? channels : heads > 0 ? width / heads : 0;
}

/* -------------------------------------------------------------------------------------------- factors */

/* Slots say where the inputs of a matrix are: the last axis, of conv1d and embeddings the first. */
static void classify(const ct_parameter *own, const ct_parameter *base, ct_parametrization_scale *s) {
    const int64_t *a = ct_shape(own->tensor), *b = ct_shape(base->tensor);
    int ndim = ct_ndim(own->tensor);
    const char *kind = own->slot && own->slot->module ? ct_module_kind_of(own->slot->module)->name : "";
    bool turned = strcmp(kind, "conv1d") == 0 || strcmp(kind, "embedding") == 0;
    double out = 1, in = 1;
    if (ndim >= 1) out = (double)a[turned ? ndim - 1 : 0] / (double)b[turned ? ndim - 1 : 0];
    if (ndim >= 2) in = (double)a[turned ? 0 : ndim - 1] / (double)b[turned ? 0 : ndim - 1];
    s->class = in != 1    ? out != 1 ? CT_WIDTH_HIDDEN : CT_WIDTH_OUTPUT
               : out != 1 ? CT_WIDTH_INPUT
                          : CT_WIDTH_FIXED;
    s->m = in != 1 ? in : out;
}

static bool is_random(const ct_slot *slot) {
    return slot && (slot->options.fill == CT_FILL_NORMAL || slot->options.fill == CT_FILL_UNIFORM) &&
           slot->options.scale > 0;
}

static void set_factors(ct_parametrization *p, const ct_parameter *own, const ct_parameter *base,
                        ct_parametrization_scale *s) {
    const ct_parametrization_method *method = p->method;
    *s = (ct_parametrization_scale){CT_WIDTH_FIXED, 1, 1, 1, 1, 1, 1, 0};
    classify(own, base, s);
    double power = p->options.rate_exponent;
    if (s->class != CT_WIDTH_FIXED) {
        bool matrix = ct_ndim(own->tensor) >= 2;
        /* Vectors are not multiplied: their size and rate are what they would become. */
        double multiplier = method->multiplier[s->class], moved = matrix ? 0 : multiplier;
        power += p->adam ? method->adam[s->class] : method->sgd[s->class] + 2 * moved;
        s->deviation = pow(s->m, -method->deviation[s->class] - moved);
        if (matrix) s->multiplier = pow(s->m, -multiplier);
    }
    s->learning_rate = pow(s->class == CT_WIDTH_FIXED ? p->width : s->m, -power);
    if (p->options.decay == 0) s->weight_decay = 1 / s->learning_rate;
    if (is_random(own->slot) && is_random(base->slot))
        s->initial = s->deviation * base->slot->options.scale / own->slot->options.scale;
    if (s->class == CT_WIDTH_OUTPUT && p->options.zero_out) s->initial = 0;
}

static ct_status compare(ct_parametrization *p, ct_model *base) {
    int64_t count = ct_model_parameter_count(p->model), others = ct_model_parameter_count(base);
    if (count != others)
        return ct_fail(
            p->context, CT_ERROR_ARGUMENT,
            "param: the base model has %lld tensors, the model %lld: they may differ in width, not in depth",
            (long long)others, (long long)count);
    p->scales = ct_alloc_zero(p->context, (size_t)(count + 1) * sizeof(*p->scales), CT_MEMORY_OTHER);
    if (!p->scales) return CT_ERROR_MEMORY;
    for (int pass = 0; pass < 2;
         pass++) /* the first finds the width's ratio, for tensors that do not change */
        for (int64_t i = 0; i < count; i++) {
            const ct_parameter *own = ct_model_parameter(p->model, i), *other = ct_model_parameter(base, i);
            if (strcmp(own->name, other->name) || ct_ndim(own->tensor) != ct_ndim(other->tensor))
                return ct_fail(p->context, CT_ERROR_ARGUMENT,
                               "param: the model has \"%s\" where its base has \"%s\"", own->name,
                               other->name);
            set_factors(p, own, other, &p->scales[i]);
            if (p->scales[i].class != CT_WIDTH_FIXED && p->width == 1) p->width = p->scales[i].m;
            if (p->method->shallow && p->scales[i].class == CT_WIDTH_HIDDEN)
                return ct_fail(p->context, CT_ERROR_UNSUPPORTED,
                               "%s: it is defined for one hidden layer, \"%s\" stands between two",
                               p->method->method.name, own->name);
        }
    return CT_OK;
}

/* --------------------------------------------------------------------------------------------- life */

/* Scores are divided by sqrt(channels), in families with query_pre_attn_scalar by a number that does not
 * grow. */
static void find_attention(ct_parametrization *p, const ct_model *base) {
    bool inverse = p->options.attention == 0 ? p->method->attention : p->options.attention == 1;
    double own = head_channels(p->model), other = head_channels(base);
    const ct_option *table = ct_model_architecture(p->model)->options;
    p->query = 1;
    if (inverse && own > 0 && other > 0)
        p->query = ct_options_find(table, "query_pre_attn_scalar") ? other / own : sqrt(other / own);
}

static void warn(ct_parametrization *p) {
    ct_abc exponents = p->method->exponents;
    if (strcmp(p->method->method.name, "standard") == 0)
        exponents.c = p->options.rate_exponent;
    else
        exponents.c += p->options.rate_exponent;
    ct_abc_verdict verdict = ct_abc_judge(&exponents, !p->method->shallow);
    if (!p->adam && !verdict.stable)
        ct_log_message(p->context, CT_LOG_WARNING, "%s: unstable as models become wider: %s",
                       p->method->method.name, verdict.violated);
}

ct_parametrization *ct_parametrization_create(ct_model *model, const ct_value *choice,
                                              const char *optimizer) {
    ct_context *context = ct_model_context(model);
    ct_parametrization *p = ct_failed(context) ? NULL : ct_alloc_zero(context, sizeof(*p), CT_MEMORY_OTHER);
    if (!p) return NULL;
    p->context = context;
    p->model = model;
    p->width = 1;
    ct_value *config = NULL;
    ct_model *base = NULL;
    if (choose(context, choice, "param", p) == CT_OK && find_rules(p, optimizer) == CT_OK)
        config = base_config(p);
    if (config && !ct_failed(context)) base = ct_model_create(context, config);
    if (base && compare(p, base) == CT_OK) {
        find_attention(p, base);
        ct_parametrization_fold_tied(p);
        warn(p);
    }
    ct_model_destroy(base);
    ct_value_free(config);
    if (!ct_failed(context)) return p;
    ct_parametrization_destroy(p);
    return NULL;
}

void ct_parametrization_destroy(ct_parametrization *p) {
    if (!p) return;
    ct_value_free(p->choice);
    ct_free(p->context, p->scales);
    ct_free(p->context, p);
}

/* ------------------------------------------------------------------------------------------- applying */

const ct_parametrization_scale *ct_parametrization_scale_of(const ct_parametrization *p, int64_t index) {
    return index >= 0 && index < ct_model_parameter_count(p->model) ? &p->scales[index] : NULL;
}

/* The weight of a layer that makes queries, or the part of it that does; the queries begin as 0. */
static void zero_queries(const ct_parameter *parameter) {
    const ct_slot *slot = parameter->slot;
    const char *name = slot && slot->module && slot->ndim == 2 ? ct_module_name(slot->module) : "";
    if (strcmp(name, "q_proj") == 0 || strcmp(name, "query") == 0) ct_fill(parameter->tensor, 0);
    if (strcmp(name, "c_attn") != 0) return;
    int axis = strcmp(ct_module_kind_of(slot->module)->name, "conv1d") == 0; /* where the outputs are */
    ct_fill(ct_slice(parameter->tensor, axis, 0, ct_dim(parameter->tensor, axis) / 3, 1), 0);
}

ct_status ct_parametrization_fill(ct_parametrization *p) {
    ct_scope scope = ct_scope_open(p->context);
    for (int64_t i = 0; i < ct_model_parameter_count(p->model); i++) {
        const ct_parameter *parameter = ct_model_parameter(p->model, i);
        if (p->scales[i].initial != 1) ct_scale_into(parameter->tensor, p->scales[i].initial);
        if (p->options.zero_query) zero_queries(parameter);
    }
    ct_scope_close(p->context, scope);
    return ct_context_status(p->context);
}

ct_status ct_parametrization_rates(ct_parametrization *p, ct_optimizer *optimizer) {
    for (int64_t i = 0; i < ct_model_parameter_count(p->model); i++) {
        const ct_parameter *parameter = ct_model_parameter(p->model, i);
        if (!parameter->trainable || parameter->buffer) continue;
        ct_status status =
            ct_optimizer_scale(optimizer, parameter, p->scales[i].learning_rate, p->scales[i].weight_decay);
        if (status != CT_OK) return status;
    }
    return CT_OK;
}

int64_t ct_parametrization_index(const ct_parametrization *p, const ct_parameter *parameter) {
    int64_t count = parameter ? ct_model_parameter_count(p->model) : 0;
    for (int64_t i = 0; i < count; i++)
        if (ct_model_parameter(p->model, i) == parameter) return i;
    return -1;
}

static double multiplier_at(const ct_parametrization *p, const ct_slot *slot) {
    int64_t index = ct_parametrization_index(p, slot->parameter);
    if (index < 0) return 1;
    double multiplier = p->scales[index].multiplier;
    return p->untied && slot->parameter->slot != slot ? multiplier * ct_parametrization_tied_factor(p, index)
                                                      : multiplier;
}

typedef enum queries { NO_QUERIES, ALL_QUERIES, FIRST_THIRD } queries;

/* Which outputs of a layer are queries. Where they are normalised, it is the norm's gain that decides their
 * size. */
static queries queries_of(const ct_slot *slot) {
    const char *name = ct_module_name(slot->module);
    ct_module *parent = ct_module_parent(slot->module);
    bool normalised = parent && ct_module_find(parent, "q_norm");
    if (strcmp(name, "c_attn") == 0) return FIRST_THIRD;
    if (strcmp(name, "q_norm") == 0) return ALL_QUERIES;
    return !normalised && (strcmp(name, "q_proj") == 0 || strcmp(name, "query") == 0) ? ALL_QUERIES
                                                                                      : NO_QUERIES;
}

static ct_tensor *resolve(void *user, ct_run *run, const ct_slot *slot, ct_tensor *present) {
    (void)run;
    const ct_parametrization *p = user;
    double multiplier = multiplier_at(p, slot);
    int64_t index = ct_parametrization_index(p, slot->parameter);
    if (present && multiplier != 1) present = ct_mul_scalar(present, multiplier);
    if (present && index >= 0 && p->scales[index].offset != 0)
        present = ct_add_scalar(present, p->scales[index].offset);
    queries which = queries_of(slot);
    if (!present || p->query == 1 || which == NO_QUERIES) return present;
    if (which == ALL_QUERIES) return ct_mul_scalar(present, p->query);
    int axis = ct_ndim(present) - 1; /* the first third of the outputs are queries */
    int64_t width = ct_dim(present, axis), third = width / 3;
    ct_tensor *parts[2] = {ct_mul_scalar(ct_slice(present, axis, 0, third, 1), p->query),
                           ct_slice(present, axis, third, width, 1)};
    return ct_concat(parts, 2, axis);
}

typedef struct search {
    const ct_parametrization *p;
    bool found;
} search;

static ct_status look(void *user, ct_module *module) {
    search *s = user;
    for (int i = 0; i < ct_module_slot_count(module); i++) {
        const ct_slot *slot = ct_module_slot_at(module, i);
        s->found |= multiplier_at(s->p, slot) != 1 || (s->p->query != 1 && queries_of(slot) != NO_QUERIES);
    }
    return CT_OK;
}

bool ct_parametrization_multiplies(const ct_parametrization *p) {
    search s = {.p = p};
    ct_module_visit(ct_model_root(p->model), look, &s);
    return s.found;
}

bool ct_parametrization_unties(const ct_parametrization *p) {
    return p->untied;
}

ct_status ct_parametrization_attach(ct_parametrization *p, ct_run *run) {
    if (!ct_parametrization_multiplies(p)) return CT_OK;
    return ct_run_push_overlay(run, &(ct_overlay){resolve, p});
}

char *ct_parametrization_text(const ct_parametrization *p) {
    char *text = ct_format(p->context, "%-40s %-7s %8s %10s %10s %10s\n", "tensor", "class", "m", "initial",
                           "rate", "multiplier");
    for (int64_t i = 0; text && i < ct_model_parameter_count(p->model); i++) {
        const ct_parametrization_scale *s = &p->scales[i];
        char *longer = ct_format(p->context, "%s%-40s %-7s %8.4g %10.4g %10.4g %10.4g\n", text,
                                 ct_model_parameter(p->model, i)->name, class_names[s->class], s->m,
                                 s->initial, s->learning_rate, s->multiplier);
        ct_free(p->context, text);
        text = longer;
    }
    return text;
}
