/* learner.c - model, optimizer, moving average and runs of a recipe, on either device. */
#include "train/learner.h"
#include "nn/run.h"
#include "train/hash.h"
#include "train/recipe.h"
#include <carat/initializer.h>
#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------- configuration */

static bool knows(const ct_architecture *architecture, const ct_value *config, const char *key) {
    return ct_options_find(architecture->options, key) && !ct_value_get(config, key);
}

static void fill_token(ct_context *context, ct_value *config, const char *key, int32_t id) {
    ct_value_set(config, key, id >= 0 ? ct_value_int(context, id) : ct_value_null(context));
}

ct_value *ct_learner_config(ct_context *context, const ct_train_options *options,
                            const ct_tokenizer *tokenizer) {
    const char *path = ct_value_as_string(ct_value_get(options->model, "path"), NULL);
    if (path) {
        ct_model_folder *folder = ct_model_folder_open(context, path);
        ct_value *config = folder && folder->config ? ct_value_copy(folder->config) : NULL;
        if (folder && !folder->config)
            ct_fail(context, CT_ERROR_NOT_FOUND, "%s: there is no config.json, so it is not a model folder",
                    path);
        ct_model_folder_close(context, folder);
        return config;
    }
    ct_value *config = ct_value_copy(options->model);
    const char *type = ct_value_as_string(ct_value_get(config, "model_type"), "");
    const ct_architecture *architecture = config ? ct_architecture_find(context, type) : NULL;
    if (!architecture) {
        ct_value_free(config);
        return NULL;
    }
    if (!tokenizer) return config;
    if (knows(architecture, config, "vocab_size"))
        ct_value_set(config, "vocab_size", ct_value_int(context, ct_tokenizer_size(tokenizer)));
    static const char *const lengths[] = {"n_positions", "max_position_embeddings"};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        if (options->context > 0 && knows(architecture, config, lengths[i]))
            ct_value_set(config, lengths[i], ct_value_int(context, options->context));
    if (knows(architecture, config, "bos_token_id"))
        fill_token(context, config, "bos_token_id", ct_tokenizer_role(tokenizer, "bos"));
    if (knows(architecture, config, "eos_token_id"))
        fill_token(context, config, "eos_token_id", ct_tokenizer_role(tokenizer, "eos"));
    return config;
}

/* ---------------------------------------------------------------------------------- optimizer, groups */

/* The first group whose pattern matches the name; without one of its own, biases and norms have no weight
 * decay. */
static ct_status group_of(ct_learner *learner, const ct_parameter *parameter, ct_parameter_group *group) {
    const ct_train_options *o = learner->options;
    *group = (ct_parameter_group){1, parameter->no_decay ? 0 : o->weight_decay};
    for (size_t i = 0; i < ct_value_count(o->parameter_groups); i++) {
        ct_recipe_group given;
        if (ct_recipe_group_at(learner->context, o, i, &given) != CT_OK) break;
        if (!ct_pattern_matches(given.pattern, parameter->name)) continue;
        group->learning_rate_scale = given.learning_rate_scale;
        if (!isnan(given.weight_decay)) group->weight_decay = given.weight_decay;
        break;
    }
    return ct_context_status(learner->context);
}

static ct_status add_parameters(ct_learner *learner) {
    int64_t count = ct_model_parameter_count(learner->model);
    for (int64_t i = 0; i < count; i++) {
        ct_parameter *parameter = ct_model_parameter(learner->model, i);
        ct_parameter_group group;
        if (!parameter->trainable) continue;
        if (group_of(learner, parameter, &group) != CT_OK ||
            ct_require_grad(parameter->tensor, true) != CT_OK ||
            ct_optimizer_add(learner->optimizer, parameter, &group) != CT_OK)
            break;
    }
    return ct_context_status(learner->context);
}

/* A pattern that matches nothing is a mistake: the group would silently do nothing. */
static ct_status check_patterns(ct_learner *learner) {
    const ct_train_options *o = learner->options;
    for (size_t i = 0; i < ct_value_count(o->parameter_groups); i++) {
        ct_recipe_group group;
        if (ct_recipe_group_at(learner->context, o, i, &group) != CT_OK) break;
        bool found = false;
        for (int64_t p = 0; p < ct_model_parameter_count(learner->model) && !found; p++)
            found = ct_pattern_matches(group.pattern, ct_model_parameter(learner->model, p)->name);
        if (!found)
            return ct_fail(learner->context, CT_ERROR_ARGUMENT,
                           "parameter_groups.%zu.pattern: \"%s\" matches no parameter (the first is \"%s\")",
                           i, group.pattern, ct_model_parameter(learner->model, 0)->name);
    }
    return ct_context_status(learner->context);
}

/* --------------------------------------------------------------------------------- moving average, runs */

/* parameter->user is the parameter's entry in learner->average. */
static ct_tensor *resolve_average(void *user, ct_run *run, const ct_slot *slot, ct_tensor *present) {
    (void)user, (void)run;
    return slot->parameter && slot->parameter->user ? *(ct_tensor **)slot->parameter->user : present;
}

static ct_status make_average(ct_learner *learner) {
    ct_context *context = learner->context;
    int64_t count = ct_model_parameter_count(learner->model);
    learner->average = ct_alloc_zero(context, (size_t)count * sizeof(ct_tensor *), CT_MEMORY_OTHER);
    if (!learner->average) return CT_ERROR_MEMORY;
    ct_scope scope = ct_scope_open(context);
    ct_memory_class before = ct_context_set_memory_class(context, CT_MEMORY_STATES);
    for (int64_t i = 0; i < count; i++) {
        ct_parameter *parameter = ct_model_parameter(learner->model, i);
        learner->average[i] = ct_hold(ct_empty_like(parameter->tensor));
        parameter->user = &learner->average[i];
    }
    ct_context_set_memory_class(context, before);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static ct_tensor *average_of(void *user, const ct_parameter *parameter) {
    (void)user;
    return parameter->user ? *(ct_tensor **)parameter->user : parameter->tensor;
}

static ct_status make_runs(ct_learner *learner) {
    ct_run_options how = {.compute = learner->options->bf16 ? CT_BF16 : CT_F32};
    learner->evaluation = ct_run_create(learner->context, &how);
    if (!learner->evaluation) return CT_ERROR_MEMORY;
    if (learner->average) ct_run_push_overlay(learner->evaluation, &(ct_overlay){resolve_average, learner});
    if (learner->parametrization && ct_regularizers_adds_parameters(learner->regularizers))
        return ct_fail(
            learner->context, CT_ERROR_UNSUPPORTED,
            "param: its multipliers and weights made by regularizers (weight_norm) cannot be combined");
    if (ct_regularizers_install(learner->regularizers, learner->evaluation, false,
                                learner->average ? average_of : NULL, learner) != CT_OK)
        return ct_context_status(learner->context);
    if (learner->parametrization &&
        ct_parametrization_attach(learner->parametrization, learner->evaluation) != CT_OK)
        return ct_context_status(learner->context);
    if (ct_learner_centre_run(learner, learner->evaluation) != CT_OK) return ct_context_status(learner->context);
    return ct_learner_arrange(learner, learner->rows, 0);
}

ct_status ct_learner_arrange(ct_learner *learner, int64_t micro_batch, int64_t checkpoint_every) {
    ct_run_destroy(learner->run);
    ct_run_options how = {.training = true,
                          .compute = learner->options->bf16 ? CT_BF16 : CT_F32,
                          .checkpoint_every = checkpoint_every};
    learner->run = ct_run_create(learner->context, &how);
    if (!learner->run) return CT_ERROR_MEMORY;
    learner->micro_batch = micro_batch < learner->rows ? micro_batch : learner->rows;
    learner->checkpoint_every = checkpoint_every;
    if (ct_regularizers_install(learner->regularizers, learner->run, true, NULL, NULL) != CT_OK)
        return ct_context_status(learner->context);
    if (learner->parametrization) return ct_parametrization_attach(learner->parametrization, learner->run);
    return ct_learner_centre_run(learner, learner->run);
}

/* -------------------------------------------------------------------------------------- life of a learner */

static ct_status check_context(ct_learner *learner) {
    ct_context *context = learner->context;
    int64_t positions = ct_model_context_length(learner->model), wanted = learner->options->context;
    if (learner->options->task == CT_TASK_IMAGES) {
        learner->row_length = 1; /* a target an image */
        return ct_images_take(learner->model, "task: images");
    }
    if (ct_model_need_causal(learner->model, "model") != CT_OK) return ct_context_status(context);
    if (wanted == 0 && positions == 0)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "context: expected the tokens of a row, the model sets no limit");
    if (positions > 0 && wanted > positions)
        return ct_fail(context, CT_ERROR_ARGUMENT, "context: %lld is more than the model's %lld positions",
                       (long long)wanted, (long long)positions);
    learner->row_length = wanted ? wanted : positions;
    return CT_OK;
}

static ct_status parametrize(ct_learner *learner) {
    const ct_train_options *o = learner->options;
    if (!o->param) return CT_OK;
    learner->parametrization = ct_parametrization_create(learner->model, o->param, ct_recipe_optimizer(o));
    if (!learner->parametrization) return ct_context_status(learner->context);
    if (ct_parametrization_unties(learner->parametrization))
        return ct_fail(learner->context, CT_ERROR_UNSUPPORTED,
                       "param: the last layer shares the embedding's weight but is multiplied by another factor, and no "
                       "norm with a gain stands before it that could be multiplied in its place; set "
                       "model.tie_word_embeddings: false");
    char *text = ct_parametrization_text(learner->parametrization);
    if (text) ct_log_message(learner->context, CT_LOG_DEBUG, "%s", text);
    ct_free(learner->context, text);
    return ct_parametrization_rates(learner->parametrization, learner->optimizer);
}

static ct_status find_teacher(ct_learner *learner) {
    const ct_train_options *o = learner->options;
    if (!o->teacher.path) return CT_OK;
    learner->teacher = ct_teacher_create(learner->context, &o->teacher, o->bf16);
    if (!learner->teacher) return ct_context_status(learner->context);
    return ct_teacher_check(learner->teacher, ct_model_vocabulary(learner->model), learner->row_length);
}

static ct_status build(ct_learner *learner, const ct_value *config) {
    ct_context *context = learner->context;
    const ct_train_options *o = learner->options;
    const char *path = ct_value_as_string(ct_value_get(o->model, "path"), NULL);
    learner->model = path ? ct_model_load(context, path, CT_F32) : ct_model_create(context, config);
    learner->objective = ct_objective_create(context, o->objective, o->label_smoothing_factor, "objective");
    learner->regularizers = ct_regularizers_create(context, o->regularizers, "regularizers");
    if (!learner->model || check_context(learner) != CT_OK || find_teacher(learner) != CT_OK ||
        ct_regularizers_attach(learner->regularizers, learner->model) != CT_OK ||
        check_patterns(learner) != CT_OK)
        return ct_context_status(context);
    learner->rows = ct_recipe_rows(o);
    learner->row_losses = ct_alloc(context, (size_t)learner->rows * sizeof(double), CT_MEMORY_OTHER);
    learner->optimizer = ct_optimizer_create(context, ct_recipe_optimizer(o), o->optimizer);
    if (!learner->optimizer || !learner->row_losses ||
        ct_optimizer_add_links(context, learner->optimizer, o->optimizer_links, "optimizer_links") != CT_OK ||
        add_parameters(learner) != CT_OK || parametrize(learner) != CT_OK)
        return ct_context_status(context);
    if (o->ema_decay > 0 && make_average(learner) != CT_OK) return ct_context_status(context);
    return make_runs(learner);
}

ct_learner *ct_learner_create(ct_context *context, const ct_train_options *options, const ct_value *config) {
    ct_learner *learner =
        ct_failed(context) ? NULL : ct_alloc_zero(context, sizeof(*learner), CT_MEMORY_OTHER);
    if (!learner) return NULL;
    learner->context = context;
    learner->options = options;
    learner->accuracy = NAN;
    if (build(learner, config) == CT_OK && !ct_failed(context)) return learner;
    ct_learner_destroy(learner);
    return NULL;
}

void ct_learner_destroy(ct_learner *learner) {
    if (!learner) return;
    ct_context *context = learner->context;
    ct_value_free(learner->initialized);
    ct_run_destroy(learner->run);
    ct_run_destroy(learner->evaluation);
    ct_regularizers_destroy(learner->regularizers);
    ct_objective_destroy(learner->objective);
    ct_optimizer_destroy(learner->optimizer);
    ct_parametrization_destroy(learner->parametrization);
    ct_teacher_destroy(learner->teacher);
    for (int64_t i = 0; learner->average && i < ct_model_parameter_count(learner->model); i++)
        ct_drop(learner->average[i]);
    ct_free(context, learner->average);
    ct_free(context, learner->row_losses);
    ct_model_destroy(learner->model);
    ct_free(context, learner);
}

ct_tensor *ct_learner_first_rows(ct_learner *learner, const ct_dataset *data, int64_t rows) {
    ct_context *context = learner->context;
    if (ct_dataset_has_images(data)) {
        ct_tensor *classes;
        return ct_learner_draw_images(learner, data, 0, rows, &classes);
    }
    int64_t length = learner->row_length;
    ct_tensor *ids = ct_empty(context, CT_I32, CT_DIMS(rows, length));
    ct_tensor *targets = ct_empty(context, CT_I32, CT_DIMS(1, length));
    int32_t *in = ct_failed(context) ? NULL : ct_data_mutable(ids),
            *out = in ? ct_data_mutable(targets) : NULL;
    for (int64_t i = 0; out && i < rows; i++)
        if (ct_dataset_row(context, data, length, (uint64_t)learner->options->seed, i, in + i * length,
                           out) != CT_OK)
            break;
    return ids;
}

/* The recipe's initializer, with the table of what it did as log lines. */
static ct_status run_initializer(ct_learner *learner, const ct_dataset *data) {
    ct_context *context = learner->context;
    const ct_train_options *o = learner->options;
    ct_initializer_report report = {0};
    int64_t rows = -1;
    if (ct_initializer_check(context, o->init, "init", &rows) != CT_OK) return ct_context_status(context);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *ids = rows >= 0 ? ct_learner_first_rows(learner, data, rows ? rows : learner->rows) : NULL;
    if (!ct_failed(context)) ct_initialize(learner->model, o->init, ids, (uint64_t)o->seed, &report);
    ct_scope_close(context, scope);
    char *text = report.count ? ct_initializer_report_text(context, &report) : NULL;
    for (char *line = text, *end; line && (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        ct_log_message(context, CT_LOG_INFO, "%s", line);
    }
    ct_free(context, text);
    if (report.count && !ct_failed(context)) {
        ct_value_free(learner->initialized);
        learner->initialized = ct_initializer_report_to_value(context, &report);
    }
    ct_initializer_report_free(context, &report);
    return ct_context_status(context);
}

ct_status ct_learner_initialize(ct_learner *learner, const ct_dataset *data) {
    ct_context *context = learner->context;
    uint64_t seed = (uint64_t)learner->options->seed;
    ct_seed(context, seed);
    if (!ct_value_get(learner->options->model, "path")) ct_model_initialize(learner->model, seed);
    if (learner->parametrization) ct_parametrization_fill(learner->parametrization);
    if (learner->options->init && data && run_initializer(learner, data) != CT_OK)
        return ct_context_status(context);
    ct_regularizers_initialize(learner->regularizers, seed);
    if (ct_learner_centre_weights(learner) != CT_OK) return ct_context_status(context);
    for (int64_t i = 0; learner->average && i < ct_model_parameter_count(learner->model); i++)
        ct_copy_into(learner->average[i], ct_model_parameter(learner->model, i)->tensor);
    return ct_context_status(context);
}

uint64_t ct_learner_weights_hash(const ct_learner *learner) {
    uint64_t hash = CT_HASH_START;
    for (int64_t i = 0; i < ct_model_parameter_count(learner->model); i++) {
        const ct_tensor *tensor = ct_model_parameter(learner->model, i)->tensor;
        hash = ct_hash_bytes(hash, ct_data(tensor),
                             (size_t)ct_count(tensor) * ct_dtype_size(ct_dtype_of(tensor)));
    }
    return ct_hash_finish(hash);
}
