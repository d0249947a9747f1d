/* optimizer.c - what all optimizers share: state as the method declares it, the chain from gradient to weight in tiles
 * that stay in the first-level cache, the gradient norm, and names of states for checkpoints. */
#include <carat/optimizer.h>
#include "tensor/cpu/kernels.h"
#include <math.h>
#include <string.h>

enum { TILE = 2048, CHUNK = 1 << 16 }; /* elements a tile; elements a task */

typedef struct entry {
    ct_parameter *parameter;
    ct_parameter_group group;
    ct_tensor *state[CT_MAX_STATES]; /* held */
    int64_t steps; /* steps that this parameter took part in */
} entry;

struct ct_optimizer {
    ct_context *context;
    const ct_optimizer_method *method;
    ct_value *options_value;
    void *options;
    entry *entries;
    int64_t count, capacity, steps;
};

ct_optimizer *ct_optimizer_create(ct_context *context, const char *method, const ct_value *options) {
    const ct_method *found = ct_failed(context) ? NULL : ct_method_find(context, "optimizer", method);
    ct_optimizer *optimizer = found ? ct_alloc_zero(context, sizeof(*optimizer), CT_MEMORY_OTHER) : NULL;
    if (!optimizer) return NULL;
    optimizer->context = context;
    optimizer->method = (const ct_optimizer_method *)(const void *)found;
    optimizer->options = ct_alloc_zero(context, found->options_size + 1, CT_MEMORY_OTHER);
    optimizer->options_value = options ? ct_value_copy(options) : ct_value_map(context);
    if (optimizer->options && optimizer->options_value) {
        ct_options_default(found->options, optimizer->options);
        ct_options_apply(context, found->options, optimizer->options, optimizer->options_value, "optimizer", NULL);
    }
    if (!ct_failed(context)) return optimizer;
    ct_optimizer_destroy(optimizer);
    return NULL;
}

void ct_optimizer_destroy(ct_optimizer *optimizer) {
    if (!optimizer) return;
    ct_context *context = optimizer->context;
    for (int64_t i = 0; i < optimizer->count; i++)
        for (int s = 0; s < CT_MAX_STATES; s++) ct_drop(optimizer->entries[i].state[s]);
    ct_free(context, optimizer->entries);
    ct_free(context, optimizer->options);
    ct_value_free(optimizer->options_value);
    ct_free(context, optimizer);
}

const ct_optimizer_method *ct_optimizer_method_of(const ct_optimizer *optimizer) { return optimizer->method; }
int64_t ct_optimizer_steps(const ct_optimizer *optimizer) { return optimizer->steps; }

void ct_optimizer_set_steps(ct_optimizer *optimizer, int64_t steps) {
    optimizer->steps = steps;
    for (int64_t i = 0; i < optimizer->count; i++) optimizer->entries[i].steps = steps;
}

static ct_status make_states(ct_optimizer *optimizer, entry *e) {
    ct_context *context = optimizer->context;
    const ct_state_decl *decl = optimizer->method->state;
    ct_scope scope = ct_scope_open(context);
    ct_memory_class before = ct_context_set_memory_class(context, CT_MEMORY_STATES);
    ct_tensor *weight = e->parameter->tensor;
    for (int s = 0; s < CT_MAX_STATES && decl[s].name; s++) {
        bool like = decl[s].shape == CT_LIKE_PARAMETER;
        e->state[s] = ct_hold(ct_zeros(context, decl[s].dtype, like ? ct_ndim(weight) : 0, ct_shape(weight)));
    }
    ct_context_set_memory_class(context, before);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

ct_status ct_optimizer_add(ct_optimizer *optimizer, ct_parameter *parameter, const ct_parameter_group *group) {
    ct_context *context = optimizer->context;
    ct_tensor *weight = parameter->tensor;
    if (ct_failed(context)) return ct_context_status(context);
    if (ct_dtype_of(weight) != CT_F32 || !ct_is_contiguous(weight)) {
        char text[160];
        return ct_fail(context, CT_ERROR_TYPE, "optimizer: parameter \"%s\" is %s, expected contiguous f32",
                       parameter->name, ct_describe(weight, text, sizeof(text)));
    }
    if (optimizer->count == optimizer->capacity) {
        int64_t capacity = optimizer->capacity ? 2 * optimizer->capacity : 64;
        void *entries =
            ct_realloc(context, optimizer->entries, (size_t)capacity * sizeof(entry), CT_MEMORY_OTHER);
        if (!entries) return CT_ERROR_MEMORY;
        optimizer->entries = entries;
        optimizer->capacity = capacity;
    }
    entry *e = &optimizer->entries[optimizer->count++];
    *e = (entry){.parameter = parameter, .group = *group};
    return make_states(optimizer, e);
}

ct_status ct_optimizer_clear_gradients(ct_optimizer *optimizer) {
    for (int64_t i = 0; i < optimizer->count; i++) {
        ct_tensor *weight = optimizer->entries[i].parameter->tensor;
        if (ct_gradient(weight)) ct_gradient_set(weight, NULL);
    }
    return ct_context_status(optimizer->context);
}

/* ---------------------------------------------------------------------------------------------- norm */

typedef struct norm_work {
    const float *gradient;
    int64_t count;
    double *partial;
} norm_work;

static void norm_task(void *user, int64_t index, int worker) {
    (void)worker;
    norm_work *work = user;
    int64_t first = index * CHUNK, n = work->count - first < CHUNK ? work->count - first : CHUNK;
    work->partial[index] = ct_cpu_kernels()->f32.reduce(CT_REDUCE_SUM_SQUARES, n, work->gradient + first, 0);
}

ct_status ct_optimizer_gradient_norm(ct_optimizer *optimizer, double *norm) {
    ct_context *context = optimizer->context;
    double total = 0;
    for (int64_t i = 0; i < optimizer->count && !ct_failed(context); i++) {
        ct_tensor *gradient = ct_gradient(optimizer->entries[i].parameter->tensor);
        if (!gradient || ct_device_of(gradient) == CT_META) continue;
        int64_t count = ct_count(gradient), tasks = (count + CHUNK - 1) / CHUNK;
        double *partial = ct_alloc(context, (size_t)tasks * sizeof(double), CT_MEMORY_WORKSPACE);
        if (!partial) break;
        norm_work work = {ct_data(gradient), count, partial};
        ct_parallel_for(context, tasks, norm_task, &work);
        for (int64_t t = 0; t < tasks; t++) total += partial[t];
        ct_free(context, partial);
    }
    *norm = sqrt(total);
    return ct_context_status(context);
}

/* ---------------------------------------------------------------------------------------------- step */

typedef struct step_work {
    const ct_optimizer *optimizer;
    const entry *e;
    float *weight;
    const float *gradient;
    int64_t count, chunk;
    double learning_rate;
    float gradient_scale;
    float *whole; /* scaled gradient and update of a whole tensor; NULL when tiles are used */
} step_work;

static ct_optimizer_range range_at(const step_work *work, int64_t offset, int64_t count) {
    const ct_optimizer *o = work->optimizer;
    ct_optimizer_range range = {.options = o->options,
                                .step = work->e->steps,
                                .learning_rate = work->learning_rate,
                                .weight_decay = work->e->group.weight_decay,
                                .count = count,
                                .offset = offset,
                                .weight = work->weight + offset,
                                .weight_out = work->weight + offset,
                                .gradient = work->gradient + offset,
                                .gradient_scale = work->gradient_scale};
    for (int s = 0; s < CT_MAX_STATES && o->method->state[s].name; s++) {
        float *state = (float *)(void *)(uintptr_t)ct_data(work->e->state[s]);
        range.state[s] = o->method->state[s].shape == CT_LIKE_PARAMETER ? state + offset : state;
    }
    return range;
}

/* Gradient scaling, direction, decay, apply: the links of the chain over one range. */
static void run_chain(const step_work *work, int64_t offset, int64_t count, float *gradient, float *update) {
    const ct_optimizer_method *method = work->optimizer->method;
    ct_optimizer_range range = range_at(work, offset, count);
    float decay = (float)range.weight_decay, rate = (float)range.learning_rate;
    for (int64_t i = 0; i < count; i++) gradient[i] = range.gradient[i] * work->gradient_scale;
    if (method->coupled_decay && decay != 0)
        for (int64_t i = 0; i < count; i++) gradient[i] += decay * range.weight[i];
    range.gradient = gradient;
    range.update = update;
    method->direction(&range);
    float keep = method->coupled_decay ? 1.0f : (float)(1 - range.learning_rate * range.weight_decay);
    float *weight = work->weight + offset;
    for (int64_t i = 0; i < count; i++) weight[i] = weight[i] * keep - rate * update[i];
}

static void step_task(void *user, int64_t index, int worker) {
    (void)worker;
    const step_work *work = user;
    int64_t first = index * work->chunk;
    int64_t n = work->count - first < work->chunk ? work->count - first : work->chunk;
    if (work->whole) {
        run_chain(work, 0, work->count, work->whole, work->whole + work->count);
        return;
    }
    if (work->optimizer->method->fused) {
        ct_optimizer_range range = range_at(work, first, n);
        work->optimizer->method->fused(&range);
        return;
    }
    float gradient[TILE], update[TILE];
    for (int64_t at = 0; at < n; at += TILE)
        run_chain(work, first + at, n - at < TILE ? n - at : TILE, gradient, update);
}

static ct_status step_entry(ct_optimizer *optimizer, entry *e, double learning_rate, double gradient_scale) {
    ct_context *context = optimizer->context;
    ct_tensor *weight = e->parameter->tensor, *gradient = ct_gradient(weight);
    if (!gradient || !e->parameter->trainable) return CT_OK;
    e->steps++;
    if (ct_device_of(weight) == CT_META) return CT_OK;
    if (ct_dtype_of(gradient) != CT_F32 || !ct_is_contiguous(gradient))
        return ct_fail(context, CT_ERROR_TYPE, "optimizer: the gradient of \"%s\" is not contiguous f32",
                       e->parameter->name);
    step_work work = {.optimizer = optimizer, .e = e, .count = ct_count(weight), .chunk = CHUNK};
    work.gradient = ct_data(gradient);
    work.weight = ct_data_mutable(weight);
    work.learning_rate = learning_rate * e->group.learning_rate_scale;
    work.gradient_scale = (float)gradient_scale;
    if (optimizer->method->scope == CT_WHOLE_TENSOR) {
        work.chunk = work.count;
        work.whole = ct_alloc(context, 2 * (size_t)work.count * sizeof(float), CT_MEMORY_WORKSPACE);
        if (!work.whole) return CT_ERROR_MEMORY;
    }
    if (work.count) ct_parallel_for(context, (work.count + work.chunk - 1) / work.chunk, step_task, &work);
    ct_free(context, work.whole);
    return ct_context_status(context);
}

ct_status ct_optimizer_step(ct_optimizer *optimizer, double learning_rate, double gradient_scale) {
    if (ct_failed(optimizer->context)) return ct_context_status(optimizer->context);
    optimizer->steps++;
    ct_status status = CT_OK;
    for (int64_t i = 0; i < optimizer->count && status == CT_OK; i++)
        status = step_entry(optimizer, &optimizer->entries[i], learning_rate, gradient_scale);
    return status;
}

/* -------------------------------------------------------------------------------------------- states */

static int states_each(const ct_optimizer *optimizer) {
    int count = 0;
    while (count < CT_MAX_STATES && optimizer->method->state[count].name) count++;
    return count;
}

int64_t ct_optimizer_state_count(const ct_optimizer *optimizer) { return optimizer->count * states_each(optimizer); }

ct_tensor *ct_optimizer_state_at(const ct_optimizer *optimizer, int64_t index, char *name, size_t name_size) {
    int each = states_each(optimizer);
    if (index < 0 || index >= optimizer->count * each) return NULL;
    const entry *e = &optimizer->entries[index / each];
    snprintf(name, name_size, "%s.%s", optimizer->method->state[index % each].name, e->parameter->name);
    return e->state[index % each];
}
