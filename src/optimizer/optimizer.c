/* optimizer.c - what all optimizers share: making one, its parameters and their states, the gradient norm,
 * and names of states for checkpoints. A step is in step.c. */
#include "optimizer/internal.h"
#include "tensor/cpu/kernels.h"
#include <math.h>
#include <string.h>

typedef struct shared_options {
    int64_t state_bits, state_min_size;
} shared_options;

const ct_option ct_optimizer_shared_options[] = {
    CT_OPTION_INT(
        "state_bits", shared_options, state_bits, 0, 0, 32,
        "bits of stored states: 32, 16 (bf16) or 8 (blocks of 256 with a scale); 0: the method's default"),
    CT_OPTION_INT("state_min_size", shared_options, state_min_size, 4096, 0, 1e15,
                  "states of parameters with fewer elements keep 32 bits"),
    CT_OPTION_END};

/* ------------------------------------------------------------------------------------- making one */

/* Narrow states of a state that must be exact is an impossible combination. */
static ct_status check_bits(ct_context *context, const ct_member *member, int64_t bits, const char *path) {
    if (bits != 32 && bits != 16 && bits != 8)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s.state_bits: %lld is not 32, 16 or 8", path,
                       (long long)bits);
    for (int s = 0; s < member->states && bits < 32; s++)
        if (member->state[s].shape == CT_LIKE_PARAMETER && member->state[s].values == CT_STATE_EXACT)
            return ct_fail(
                context, CT_ERROR_UNSUPPORTED,
                "%s.state_bits: the state \"%s\" of \"%s\" must be exact, it cannot be stored in %lld bits",
                path, member->state[s].name, member->method->name, (long long)bits);
    return CT_OK;
}

static ct_status read_shared(ct_context *context, ct_optimizer *optimizer, const char *path) {
    const ct_member *member = &optimizer->members[0];
    shared_options given;
    const char *skip[65];
    size_t count = 0;
    const ct_option *own = member->method->options;
    for (; own && own[count].type != CT_TYPE_END && count < 64; count++)
        skip[count] = own[count].name;
    skip[count] = NULL;
    ct_options_default(ct_optimizer_shared_options, &given);
    if (ct_options_apply(context, ct_optimizer_shared_options, &given, member->value, path, skip) != CT_OK)
        return ct_context_status(context);
    int64_t usual = member->optimizer->state_bits ? member->optimizer->state_bits : 32;
    optimizer->state_bits = given.state_bits ? given.state_bits : usual;
    optimizer->state_min_size = given.state_min_size;
    return check_bits(context, member, optimizer->state_bits, path);
}

static ct_optimizer *create(ct_context *context, const char *method, const ct_value *options,
                            const char *path) {
    ct_optimizer *optimizer =
        ct_failed(context) ? NULL : ct_alloc_zero(context, sizeof(*optimizer), CT_MEMORY_OTHER);
    if (!optimizer) return NULL;
    optimizer->context = context;
    optimizer->member_count = 1;
    if (ct_member_make(context, &optimizer->members[0], "optimizer", method, options,
                       ct_optimizer_shared_options, path) == CT_OK &&
        read_shared(context, optimizer, path) == CT_OK) {
        optimizer->members[0].first_statistic = 2;
        optimizer->statistic_count = 2 + optimizer->members[0].statistic_count;
        return optimizer;
    }
    ct_optimizer_destroy(optimizer);
    return NULL;
}

ct_optimizer *ct_optimizer_create(ct_context *context, const char *method, const ct_value *options) {
    return create(context, method, options, "optimizer");
}

ct_status ct_optimizer_check(ct_context *context, const char *method, const ct_value *options,
                             const char *path) {
    ct_optimizer_destroy(create(context, method, options, path));
    return ct_context_status(context);
}

static void entry_free(ct_optimizer *optimizer, ct_entry *e) {
    for (int m = 0; e->state && m < optimizer->member_count; m++)
        for (int s = 0; s < CT_MAX_STATES; s++)
            ct_stored_drop(&e->state[m][s]);
    ct_free(optimizer->context, e->state);
    ct_free(optimizer->context, e->statistics);
    ct_drop(e->steps);
    ct_drop(e->mask);
}

void ct_optimizer_destroy(ct_optimizer *optimizer) {
    if (!optimizer) return;
    ct_context *context = optimizer->context;
    for (int64_t i = 0; i < optimizer->count; i++)
        entry_free(optimizer, &optimizer->entries[i]);
    for (int m = 0; m < optimizer->member_count; m++)
        ct_member_free(context, &optimizer->members[m]);
    ct_free(context, optimizer->entries);
    ct_free(context, optimizer);
}

const ct_optimizer_method *ct_optimizer_method_of(const ct_optimizer *optimizer) {
    return optimizer->members[0].optimizer;
}
int64_t ct_optimizer_steps(const ct_optimizer *optimizer) {
    return optimizer->steps;
}
void ct_optimizer_set_steps(ct_optimizer *optimizer, int64_t steps) {
    optimizer->steps = steps;
}

/* -------------------------------------------------------------------------------------- parameters */

static ct_status make_states(ct_optimizer *optimizer, ct_entry *e) {
    ct_context *context = optimizer->context;
    ct_scope scope = ct_scope_open(context);
    ct_memory_class before = ct_context_set_memory_class(context, CT_MEMORY_STATES);
    e->steps = ct_hold(ct_zeros(context, CT_I64, 0, NULL));
    for (int m = 0; m < optimizer->member_count; m++) {
        const ct_member *member = &optimizer->members[m];
        bool whole = member->link && (member->link->begin || member->link->after); /* these see f32 */
        for (int s = 0; s < member->states && !ct_failed(context); s++) {
            const ct_state_decl *decl = &member->state[s];
            bool narrow =
                !whole && decl->values != CT_STATE_EXACT && e->tensor.count >= optimizer->state_min_size;
            if (!member->keeps || member->keeps(member->options, &e->tensor, s))
                ct_stored_make(context, &e->state[m][s], decl, e->parameter->tensor,
                               narrow ? optimizer->state_bits : 32);
        }
    }
    ct_context_set_memory_class(context, before);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static ct_status accept(ct_optimizer *optimizer, const ct_entry *e) {
    for (int m = 1; m < optimizer->member_count; m++) {
        const ct_member *link = &optimizer->members[m];
        if (link->link->accept) link->link->accept(optimizer->context, link->options, &e->tensor);
        if (link->link->update && link->link->scope == CT_WHOLE_TENSOR && e->tensor.transposed &&
            optimizer->members[0].optimizer->scope == CT_ROW_RANGES)
            return ct_fail(
                optimizer->context, CT_ERROR_UNSUPPORTED,
                "optimizer: \"%s\" is stored [in, out]: \"%s\" needs its rows put together and \"%s\" the "
                "whole as it is stored, so they cannot be used together on it",
                e->tensor.name, optimizer->members[0].method->name, link->method->name);
    }
    return ct_context_status(optimizer->context);
}

static ct_entry *new_entry(ct_optimizer *optimizer) {
    ct_context *context = optimizer->context;
    if (optimizer->count == optimizer->capacity) {
        int64_t capacity = optimizer->capacity ? 2 * optimizer->capacity : 64;
        void *entries =
            ct_realloc(context, optimizer->entries, (size_t)capacity * sizeof(ct_entry), CT_MEMORY_OTHER);
        if (!entries) return NULL;
        optimizer->entries = entries;
        optimizer->capacity = capacity;
    }
    ct_entry *e = &optimizer->entries[optimizer->count];
    *e = (ct_entry){.rate_scale = 1, .decay_scale = 1};
    e->state = ct_alloc_zero(context, (size_t)optimizer->member_count * sizeof(*e->state), CT_MEMORY_OTHER);
    if (!e->state) return NULL;
    optimizer->count++;
    return e;
}

ct_status ct_optimizer_add(ct_optimizer *optimizer, ct_parameter *parameter,
                           const ct_parameter_group *group) {
    return ct_optimizer_add_as(optimizer, parameter, group, CT_ROLE_AUTO);
}

ct_status ct_optimizer_add_as(ct_optimizer *optimizer, ct_parameter *parameter,
                              const ct_parameter_group *group, ct_role role) {
    ct_context *context = optimizer->context;
    ct_tensor *weight = parameter->tensor;
    if (ct_failed(context)) return ct_context_status(context);
    if (ct_dtype_of(weight) != CT_F32 || !ct_is_contiguous(weight)) {
        char text[160];
        return ct_fail(context, CT_ERROR_TYPE, "optimizer: parameter \"%s\" is %s, expected contiguous f32",
                       parameter->name, ct_describe(weight, text, sizeof(text)));
    }
    ct_entry *e = new_entry(optimizer);
    if (!e) return CT_ERROR_MEMORY;
    e->parameter = parameter;
    e->group = *group;
    ct_optimizer_describe(parameter, role, &e->tensor);
    if (accept(optimizer, e) == CT_OK) make_states(optimizer, e);
    if (optimizer->record && !ct_failed(context)) ct_optimizer_record(optimizer, true);
    return ct_context_status(context);
}

static ct_entry *find(ct_optimizer *optimizer, const ct_parameter *parameter) {
    for (int64_t i = 0; i < optimizer->count; i++)
        if (optimizer->entries[i].parameter == parameter) return &optimizer->entries[i];
    ct_fail(optimizer->context, CT_ERROR_NOT_FOUND, "optimizer: it does not have the parameter \"%s\"",
            parameter->name);
    return NULL;
}

ct_status ct_optimizer_scale(ct_optimizer *optimizer, const ct_parameter *parameter, double learning_rate,
                             double weight_decay) {
    ct_entry *e = find(optimizer, parameter);
    if (!e) return CT_ERROR_NOT_FOUND;
    if (!(learning_rate >= 0 && weight_decay >= 0 && isfinite(learning_rate) && isfinite(weight_decay)))
        return ct_fail(optimizer->context, CT_ERROR_ARGUMENT,
                       "optimizer: factors %g (rate) and %g (decay) of \"%s\": expected finite, not negative",
                       learning_rate, weight_decay, parameter->name);
    e->rate_scale = learning_rate;
    e->decay_scale = weight_decay;
    return CT_OK;
}

ct_status ct_optimizer_set_mask(ct_optimizer *optimizer, const ct_parameter *parameter, ct_tensor *mask) {
    ct_entry *e = find(optimizer, parameter);
    char text[160];
    if (!e) return CT_ERROR_NOT_FOUND;
    if (mask &&
        (ct_dtype_of(mask) != CT_U8 || !ct_same_shape(mask, parameter->tensor) || !ct_is_contiguous(mask)))
        return ct_fail(optimizer->context, CT_ERROR_SHAPE,
                       "optimizer: the mask of \"%s\" is %s, expected contiguous u8 of the parameter's shape",
                       parameter->name, ct_describe(mask, text, sizeof(text)));
    ct_drop(e->mask);
    e->mask = mask ? ct_hold(mask) : NULL;
    return ct_context_status(optimizer->context);
}

int64_t ct_optimizer_parameter_count(const ct_optimizer *optimizer) {
    return optimizer->count;
}

const ct_parameter *ct_optimizer_parameter(const ct_optimizer *optimizer, int64_t index) {
    return index >= 0 && index < optimizer->count ? optimizer->entries[index].parameter : NULL;
}

int64_t ct_entry_steps(const ct_entry *e) {
    const int64_t *steps = ct_data(e->steps);
    return steps ? *steps : 0;
}
double ct_entry_rate(const ct_entry *e, double learning_rate) {
    return learning_rate * e->group.learning_rate_scale * e->rate_scale;
}
double ct_entry_decay(const ct_entry *e) {
    return e->group.weight_decay * e->decay_scale;
}

/* --------------------------------------------------------------------------------------- gradients */

ct_status ct_optimizer_clear_gradients(ct_optimizer *optimizer) {
    for (int64_t i = 0; i < optimizer->count; i++) {
        ct_tensor *weight = optimizer->entries[i].parameter->tensor;
        if (ct_gradient(weight)) ct_gradient_set(weight, NULL);
    }
    return ct_context_status(optimizer->context);
}

bool ct_entry_takes_part(const ct_entry *e) {
    return e->parameter->trainable && ct_gradient(e->parameter->tensor);
}

/* A part of a gradient and the sum of its squares. */
typedef struct norm_part {
    const float *values;
    int64_t count;
    double sum;
} norm_part;

static void norm_task(void *user, int64_t index, int worker) {
    (void)worker;
    norm_part *part = (norm_part *)user + index;
    part->sum = ct_cpu_kernels()->f32.reduce(CT_REDUCE_SUM_SQUARES, part->count, part->values, 0);
}

/* The parts of all gradients, in order, into `parts` unless it is NULL; returns how many. */
static int64_t norm_parts(const ct_optimizer *optimizer, norm_part *parts) {
    int64_t total = 0;
    for (int64_t i = 0; i < optimizer->count; i++) {
        if (!ct_entry_takes_part(&optimizer->entries[i])) continue;
        const ct_tensor *gradient = ct_gradient(optimizer->entries[i].parameter->tensor);
        if (ct_device_of(gradient) == CT_META) continue;
        int64_t count = ct_count(gradient);
        const float *values = ct_data(gradient);
        for (int64_t at = 0; at < count; at += CT_OPTIMIZER_CHUNK, total++)
            if (parts)
                parts[total] = (norm_part){
                    values + at, count - at < CT_OPTIMIZER_CHUNK ? count - at : CT_OPTIMIZER_CHUNK, 0};
    }
    return total;
}

ct_status ct_optimizer_gradient_norm(ct_optimizer *optimizer, double *norm) {
    ct_context *context = optimizer->context;
    double total = 0;
    int64_t count = norm_parts(optimizer, NULL);
    norm_part *parts = count ? ct_alloc(context, (size_t)count * sizeof(*parts), CT_MEMORY_WORKSPACE) : NULL;
    if (parts) {
        norm_parts(optimizer, parts);
        ct_parallel_for(context, count, norm_task, parts);
        for (int64_t i = 0; i < count; i++)
            total += parts[i].sum;
        ct_free(context, parts);
    }
    *norm = sqrt(total);
    return ct_context_status(context);
}

/* -------------------------------------------------------------------------------------------- step */

ct_status ct_optimizer_step(ct_optimizer *optimizer, double learning_rate, double gradient_scale) {
    ct_context *context = optimizer->context;
    if (ct_failed(context)) return ct_context_status(context);
    bool recorded = ct_grad_mode_set(context, false);
    ct_status status = ct_links_begin(optimizer);
    optimizer->steps++;
    ct_waiting_steps *waiting = NULL;
    if (ct_context_threads(context) > 1 && status == CT_OK) {
        waiting = ct_alloc_zero(context, ct_waiting_steps_bytes(), CT_MEMORY_WORKSPACE);
        status = ct_context_status(context);
    }
    for (int64_t i = 0; i < optimizer->count && status == CT_OK; i++)
        if (ct_entry_takes_part(&optimizer->entries[i]))
            status = ct_entry_step(optimizer, &optimizer->entries[i], learning_rate, gradient_scale, waiting);
    if (status == CT_OK && waiting) status = ct_run_waiting_steps(context, waiting);
    ct_free(context, waiting);
    if (status == CT_OK) status = ct_links_after(optimizer, learning_rate);
    ct_grad_mode_set(context, recorded);
    return status;
}

/* -------------------------------------------------------------------------------------------- states */

ct_status ct_optimizer_reset(ct_optimizer *optimizer) {
    for (int64_t i = 0; i < optimizer->count && !ct_failed(optimizer->context); i++) {
        const ct_entry *e = &optimizer->entries[i];
        ct_fill(e->steps, 0);
        for (int s = 0; s < optimizer->members[0].states; s++)
            ct_stored_clear(&e->state[0][s], &optimizer->members[0].state[s]);
    }
    return ct_context_status(optimizer->context);
}

/* Every state of an entry in order: its count of steps, then values and scales of each member's states. With
 * `index` negative counts them (returned); else finds number `index` of them. */
static int64_t walk(const ct_optimizer *optimizer, const ct_entry *e, int64_t index, ct_tensor **found,
                    char *name, size_t name_size) {
    int64_t at = 0;
    if (at++ == index) {
        *found = e->steps;
        snprintf(name, name_size, "step.%s", e->parameter->name);
    }
    for (int m = 0; m < optimizer->member_count; m++) {
        const ct_member *member = &optimizer->members[m];
        const char *owner = member->link ? member->method->name : "", *dot = member->link ? "." : "";
        for (int s = 0; s < 2 * member->states; s++) {
            const ct_stored *stored = &e->state[m][s / 2];
            ct_tensor *tensor = s % 2 ? stored->absmax : stored->values;
            if (!tensor || at++ != index) continue;
            *found = tensor;
            snprintf(name, name_size, "%s%s%s%s.%s", owner, dot, member->state[s / 2].name,
                     s % 2 ? "_absmax" : "", e->parameter->name);
        }
    }
    return at;
}

int64_t ct_optimizer_state_count(const ct_optimizer *optimizer) {
    int64_t count = 0;
    for (int64_t i = 0; i < optimizer->count; i++)
        count += walk(optimizer, &optimizer->entries[i], -1, NULL, NULL, 0);
    return count;
}

ct_tensor *ct_optimizer_state_at(const ct_optimizer *optimizer, int64_t index, char *name, size_t name_size) {
    ct_tensor *found = NULL;
    for (int64_t i = 0; i < optimizer->count && index >= 0 && !found; i++)
        index -= walk(optimizer, &optimizer->entries[i], index, &found, name, name_size);
    return found;
}
