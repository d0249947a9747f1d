/* recipe.c - a recipe: its keys into options, what they must fulfil together, and what may differ on
 * resuming. */
#include "train/recipe.h"
#include "train/state.h"
#include <carat/initializer.h>
#include <carat/method.h>
#include <carat/parametrization.h>
#include <math.h>
#include <string.h>

static ct_status fail_at(ct_context *context, const ct_value *recipe, const char *key, const char *message) {
    char origin[256];
    const ct_value *value = ct_value_get_path(recipe, key);
    bool known = value && *ct_value_origin(value, origin, sizeof(origin));
    return ct_fail(context, CT_ERROR_ARGUMENT, "%s%s%s: %s", known ? origin : "", known ? ": " : "", key,
                   message);
}

/* ------------------------------------------------------------------------------------- names and steps */

/* Names that Hugging Face gives to what is one method here. */
static const char *const optimizer_aliases[][2] = {{"adamw_torch", "adamw"},
                                                   {"adamw_torch_fused", "adamw"},
                                                   {"adamw_hf", "adamw"},
                                                   {"adamw_8bit", "adamw8bit"},
                                                   {"adamw_bnb_8bit", "adamw8bit"}};
static const char *const schedule_aliases[][2] = {{"constant_with_warmup", "constant"}};

static const char *alias_of(const char *name, const char *const (*aliases)[2], size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(aliases[i][0], name) == 0) return aliases[i][1];
    return name;
}

const char *ct_recipe_optimizer(const ct_train_options *options) {
    return alias_of(options->optim, optimizer_aliases,
                    sizeof(optimizer_aliases) / sizeof(optimizer_aliases[0]));
}

const char *ct_recipe_schedule(const ct_train_options *options) {
    return alias_of(options->lr_scheduler_type, schedule_aliases,
                    sizeof(schedule_aliases) / sizeof(schedule_aliases[0]));
}

int64_t ct_recipe_rows(const ct_train_options *options) {
    return options->per_device_train_batch_size * options->gradient_accumulation_steps;
}

int64_t ct_recipe_total_steps(const ct_train_options *options, int64_t rows_an_epoch) {
    if (options->max_steps > 0) return options->max_steps;
    double steps = ceil(options->num_train_epochs * (double)rows_an_epoch / (double)ct_recipe_rows(options));
    return steps < 1 ? 1 : steps < 1e15 ? (int64_t)steps : (int64_t)1e15;
}

int64_t ct_recipe_warmup_steps(const ct_train_options *options, int64_t total_steps) {
    if (options->warmup_steps > 0) return options->warmup_steps;
    return (int64_t)ceil(options->warmup_ratio * (double)total_steps);
}

/* ------------------------------------------------------------------------------------------- checking */

/* The model's own keys are checked against its architecture's table, so that a misspelt one is not lost. */
static ct_status check_model(ct_context *context, const ct_train_options *options) {
    const ct_value *model = options->model;
    if (!model || ct_value_kind_of(model) != CT_VALUE_MAP)
        return ct_fail(
            context, CT_ERROR_ARGUMENT,
            "model: expected {path: FOLDER} or the keys of a config.json (model_type: gpt2, n_layer: ...)");
    const ct_value *path = ct_value_get(model, "path");
    if (path) {
        if (ct_value_kind_of(path) != CT_VALUE_STRING)
            return fail_at(context, model, "path", "expected the folder of a model");
        if (ct_value_count(model) > 1)
            return ct_fail(context, CT_ERROR_ARGUMENT,
                           "model: with a path there can be no other keys, they come from its config.json");
        return CT_OK;
    }
    const char *type = ct_value_as_string(ct_value_get(model, "model_type"), NULL);
    if (!type)
        return ct_fail(context, CT_ERROR_ARGUMENT, "model.model_type: expected an architecture such as gpt2");
    const ct_architecture *architecture = ct_architecture_find(context, type);
    if (!architecture) return ct_context_status(context);
    void *scratch = ct_alloc_zero(context, architecture->options_size, CT_MEMORY_OTHER);
    if (!scratch) return CT_ERROR_MEMORY;
    static const char *const skip[] = {"model_type", "architectures", "torch_dtype", "dtype", NULL};
    ct_options_default(architecture->options, scratch);
    ct_value *whole = ct_architecture_spell_out(context, architecture, model);
    ct_status status = whole ? ct_options_apply(context, architecture->options, scratch, whole, "model", skip)
                             : ct_context_status(context);
    ct_value_free(whole);
    ct_free(context, scratch);
    return status;
}

typedef struct group_options {
    const char *pattern;
    double learning_rate_scale, weight_decay;
} group_options;

/* -1 stands for "not given". */
static const ct_option group_table[] = {
    CT_OPTION_STRING("pattern", group_options, pattern, NULL,
                     "of parameter names; * is any run of characters"),
    CT_OPTION_REAL("learning_rate_scale", group_options, learning_rate_scale, 1, 0, 1e6,
                   "times learning_rate"),
    CT_OPTION_REAL("weight_decay", group_options, weight_decay, -1, 0, 1e3, "for all of them"),
    CT_OPTION_END};

ct_status ct_recipe_group_at(ct_context *context, const ct_train_options *options, size_t index,
                             ct_recipe_group *group) {
    const ct_value *entry = ct_value_at(options->parameter_groups, index);
    group_options given;
    char path[64];
    snprintf(path, sizeof(path), "parameter_groups.%zu", index);
    ct_options_default(group_table, &given);
    if (ct_value_kind_of(entry) != CT_VALUE_MAP)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "%s: expected {pattern: ..., learning_rate_scale: ..., weight_decay: ...}", path);
    ct_status status = ct_options_apply(context, group_table, &given, entry, path, NULL);
    if (status != CT_OK) return status;
    if (!given.pattern)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s.pattern: expected a pattern such as \"*.bias\"", path);
    *group = (ct_recipe_group){given.pattern, given.learning_rate_scale,
                               given.weight_decay < 0 ? NAN : given.weight_decay};
    return CT_OK;
}

static ct_status check_groups(ct_context *context, const ct_train_options *options) {
    const ct_value *groups = options->parameter_groups;
    if (groups && ct_value_kind_of(groups) != CT_VALUE_LIST)
        return ct_fail(
            context, CT_ERROR_ARGUMENT,
            "parameter_groups: expected a list of {pattern: ..., learning_rate_scale: ..., weight_decay: "
            "...}");
    ct_recipe_group group;
    for (size_t i = 0; i < ct_value_count(groups); i++)
        if (ct_recipe_group_at(context, options, i, &group) != CT_OK) return ct_context_status(context);
    return CT_OK;
}

/* A method exists and takes its options: seen now and not after the text was read. */
static ct_status check_method(ct_context *context, const char *kind, const char *name,
                              const ct_value *options, const char *path) {
    const ct_method *method = ct_method_find(context, kind, name);
    if (!method) return ct_context_status(context);
    if (options && ct_value_kind_of(options) != CT_VALUE_MAP)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s: expected a map of the options of %s \"%s\"", path,
                       kind, name);
    if (!options || !method->options) {
        if (ct_value_count(options))
            return ct_fail(context, CT_ERROR_ARGUMENT, "%s: %s \"%s\" has no options", path, kind, name);
        return CT_OK;
    }
    void *scratch = ct_alloc_zero(context, method->options_size + 1, CT_MEMORY_OTHER);
    if (!scratch) return CT_ERROR_MEMORY;
    ct_options_default(method->options, scratch);
    ct_status status = ct_options_apply(context, method->options, scratch, options, path, NULL);
    ct_free(context, scratch);
    return status;
}

static ct_status check_together(ct_context *context, const ct_value *recipe, const ct_train_options *o) {
    if (!o->data.train && !o->phases)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "data.train: expected a text file, a .jsonl file or a folder");
    if (!o->optim || !o->lr_scheduler_type)
        return fail_at(context, recipe, o->optim ? "lr_scheduler_type" : "optim",
                       "expected the name of a method");
    if (o->max_steps < 1 && !(o->num_train_epochs > 0))
        return fail_at(context, recipe, "num_train_epochs",
                       "it is 0 and max_steps is too, so there is nothing to do");
    if (ct_recipe_rows(o) > 10000000)
        return fail_at(context, recipe, "gradient_accumulation_steps",
                       "a step of more than ten million rows");
    if (o->watch && ct_watch_every(o->watch) < 1)
        return fail_at(context, recipe, "watch", "expected growth:50, or another number of steps");
    if (o->growth.limit > 0 && !o->watch) return fail_at(context, recipe, "growth.limit", "it needs watch: growth:50");
    bool evaluates = o->data.validation || o->data.validation_fraction > 0;
    if (!evaluates && o->eval_steps > 0)
        return fail_at(
            context, recipe, "eval_steps",
            "there is no validation text (data.validation is absent, data.validation_fraction is 0)");
    if (o->early_stopping_patience > 0 && !(evaluates && o->eval_steps > 0))
        return fail_at(context, recipe, "early_stopping_patience",
                       "it counts evaluations, so eval_steps must be set");
    return CT_OK;
}

/* "nap", or the name in {name: nap, every: 2}. */
static const char *name_of(const ct_value *value) {
    return ct_value_as_string(ct_value_kind_of(value) == CT_VALUE_MAP ? ct_value_get(value, "name") : value,
                              NULL);
}

/* A teacher that nobody listens to would be a mistake, as one that is missing is. */
static void check_teacher(ct_context *context, const ct_train_options *o, const ct_objective *objective) {
    const ct_method *taught = ct_objective_taught(objective);
    if (taught && !o->teacher.path)
        ct_fail(context, CT_ERROR_ARGUMENT,
                "teacher.path: expected a model's folder or the manifest of an ensemble, for objective \"%s\"",
                taught->name);
    if (!taught && o->teacher.path)
        ct_fail(context, CT_ERROR_ARGUMENT,
                "teacher.path: no objective of the recipe learns from a teacher; one that does is distill_kl");
    if (!o->teacher.path && o->teacher.average != CT_TEACHER_AS_IS)
        ct_fail(context, CT_ERROR_ARGUMENT, "teacher.average: there is no teacher.path");
}

/* Objectives and regularizers by themselves, and the rows that they need. */
static ct_status check_loss(ct_context *context, const ct_train_options *o) {
    ct_objective *objective =
        ct_objective_create(context, o->objective, o->label_smoothing_factor, "objective");
    ct_regularizers *regularizers = ct_regularizers_create(context, o->regularizers, "regularizers");
    if (regularizers) ct_regularizers_check_rows(regularizers, o->per_device_train_batch_size);
    if (objective) check_teacher(context, o, objective);
    ct_regularizers_destroy(regularizers);
    ct_objective_destroy(objective);
    return ct_context_status(context);
}

static size_t add_listed(ct_context *context, const char *kind, const ct_value *value,
                         const ct_method **methods, size_t count, size_t most) {
    bool many = ct_value_kind_of(value) == CT_VALUE_LIST;
    size_t items = many ? ct_value_count(value) : ct_value_kind_of(value) != CT_VALUE_NULL;
    for (size_t i = 0; i < items && count < most; i++)
        methods[count++] = ct_method_find(context, kind, name_of(many ? ct_value_at(value, i) : value));
    return count;
}

/* Methods that are there, each by itself, may still exclude each other. */
static ct_status check_composition(ct_context *context, const ct_train_options *options) {
    enum { MOST = 64 };
    const ct_method *methods[MOST];
    size_t count = 0;
    methods[count++] = ct_method_find(context, "optimizer", ct_recipe_optimizer(options));
    methods[count++] = ct_method_find(context, "schedule", ct_recipe_schedule(options));
    const char *norm = name_of(ct_value_get(options->model, "norm"));
    if (norm) methods[count++] = ct_method_find(context, "norm", norm);
    const char *init = name_of(options->init);
    if (init) methods[count++] = ct_method_find(context, "initializer", init);
    for (size_t i = 0; i < ct_value_count(options->optimizer_links) && count < MOST; i++)
        methods[count++] = ct_method_find(context, "link", name_of(ct_value_at(options->optimizer_links, i)));
    count = add_listed(context, "objective", options->objective, methods, count, MOST);
    count = add_listed(context, "regularizer", options->regularizers, methods, count, MOST);
    return ct_methods_compose(context, methods, count);
}

enum { ROW_LENGTH = 1024 }; /* TRL's default */

static ct_status check_phases(ct_context *context, const ct_value *recipe, const ct_train_options *o) {
    if (!o->phases && o->phase_replay > 0)
        return fail_at(context, recipe, "phase_replay", "there are no phases to repeat rows of");
    if (!o->phases && o->phase_optimizer != CT_PHASE_KEEP)
        return fail_at(context, recipe, "phase_optimizer", "there are no phases");
    if (!o->phases) return CT_OK;
    size_t count = ct_value_count(o->phases);
    bool good = ct_value_kind_of(o->phases) == CT_VALUE_LIST && count > 1 && count <= CT_PHASES_MOST;
    for (size_t i = 0; good && i < count; i++)
        good = ct_value_kind_of(ct_value_at(o->phases, i)) == CT_VALUE_STRING;
    if (!good)
        return fail_at(context, recipe, "phases", "expected a list of 2 to 64 .jsonl files: [first.jsonl, second.jsonl]");
    if (o->data.train)
        return fail_at(context, recipe, "phases", "data.train is given too; expected one of them");
    return CT_OK;
}

/* Samples as long as a row, rows as long as samples may be. */
static ct_status settle_sft(ct_context *context, const ct_value *recipe, ct_train_options *o) {
    static const char *const keys[] = {"chat_template", "max_length", "assistant_only_loss", "packing",
                                       "group_by_length", "loss_normalization", "max_batch_share", "phases",
                                       "phase_replay", "phase_optimizer"};
    ct_train_options plain;
    if (o->task == CT_TASK_SFT) {
        if (check_phases(context, recipe, o) != CT_OK) return ct_context_status(context);
        if (o->context == 0) o->context = o->sft.max_length > 0 ? o->sft.max_length : ROW_LENGTH;
        if (o->sft.max_length == 0) o->sft.max_length = o->context;
        if (o->sft.max_length > o->context)
            return fail_at(context, recipe, "max_length", "samples may be longer than a row (context)");
        if (o->sft.chat_template && strcmp(o->sft.chat_template, "model") == 0) return CT_OK; /* seen with the tokenizer */
        ct_chat_close(ct_chat_open(context, o->sft.chat_template ? o->sft.chat_template : "", NULL));
        return ct_context_status(context);
    }
    ct_options_default(ct_train_table, &plain);
    bool changed[] = {!o->sft.chat_template || strcmp(o->sft.chat_template, plain.sft.chat_template) != 0,
                      o->sft.max_length != plain.sft.max_length,
                      o->sft.assistant_only_loss != plain.sft.assistant_only_loss,
                      o->packing != plain.packing,
                      o->group_by_length != plain.group_by_length,
                      o->loss_normalization != plain.loss_normalization,
                      o->max_batch_share > 0,
                      o->phases != NULL,
                      o->phase_replay > 0,
                      o->phase_optimizer != CT_PHASE_KEEP};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (changed[i]) return fail_at(context, recipe, keys[i], "it is an option of task: sft, which this recipe is not");
    return CT_OK;
}

static ct_status check_param(ct_context *context, const ct_train_options *options) {
    if (!options->param) return CT_OK;
    if (options->init)
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "param: it sets the deviations of initial weights, which init would replace; choose one of them");
    if (ct_value_get(options->model, "path"))
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "param: the weights of a model from a path are there already, with its multipliers in them");
    return ct_parametrization_check(context, options->param, "param");
}

ct_status ct_recipe_read(ct_context *context, const ct_value *recipe, ct_train_options *options) {
    if (ct_failed(context)) return ct_context_status(context);
    if (ct_value_kind_of(recipe) != CT_VALUE_MAP)
        return ct_fail(context, CT_ERROR_ARGUMENT, "a recipe is a map of keys, found %s",
                       ct_value_kind_name(ct_value_kind_of(recipe)));
    ct_options_default(ct_train_table, options);
    if (ct_options_apply(context, ct_train_table, options, recipe, "", NULL) != CT_OK ||
        ct_recipe_check_images(context, options) != CT_OK || settle_sft(context, recipe, options) != CT_OK ||
        ct_recipe_large_batch(context, recipe, options) != CT_OK ||
        check_together(context, recipe, options) != CT_OK || check_model(context, options) != CT_OK ||
        check_groups(context, options) != CT_OK ||
        check_param(context, options) != CT_OK ||
        (options->init && ct_initializer_check(context, options->init, "init", NULL) != CT_OK) ||
        ct_optimizer_check(context, ct_recipe_optimizer(options), options->optimizer, "optimizer") != CT_OK ||
        ct_optimizer_add_links(context, NULL, options->optimizer_links, "optimizer_links") != CT_OK)
        return ct_context_status(context);
    if (check_method(context, "schedule", ct_recipe_schedule(options), options->lr_scheduler_kwargs,
                     "lr_scheduler_kwargs") != CT_OK ||
        check_loss(context, options) != CT_OK)
        return ct_context_status(context);
    return check_composition(context, options);
}

/* ------------------------------------------------------------------------------------------ comparing */

ct_value *ct_recipe_resolved(ct_context *context, const ct_train_options *options) {
    return ct_options_to_value(context, ct_train_table, options);
}

/* Keys that say how long, how often, where and with what means, and nothing about the numbers. The text
 * itself and the teacher are compared by their hashes, the rows of a step by their number. */
static const char *const free_keys[] = {"output_dir",
                                        "overwrite_output_dir",
                                        "max_steps",
                                        "num_train_epochs",
                                        "per_device_train_batch_size",
                                        "gradient_accumulation_steps",
                                        "gradient_checkpointing",
                                        "logging_steps",
                                        "log_optimizer",
                                        "watch",
                                        "growth.limit",
                                        "eval_steps",
                                        "save_steps",
                                        "save_total_limit",
                                        "eval_batches",
                                        "early_stopping_patience",
                                        "early_stopping_threshold",
                                        "memory",
                                        "threads",
                                        "data.train",
                                        "data.validation",
                                        "data.field",
                                        "teacher.path"};

static bool is_free(const char *path) {
    for (size_t i = 0; i < sizeof(free_keys) / sizeof(free_keys[0]); i++)
        if (strcmp(free_keys[i], path) == 0) return true;
    return false;
}

static ct_status differs(ct_context *context, const char *where, const char *path, const ct_value *before,
                         const ct_value *now) {
    char *old =
        before ? ct_json_text(context, before, CT_JSON_COMPACT, NULL) : ct_strdup(context, "not given");
    char *new = now ? ct_json_text(context, now, CT_JSON_COMPACT, NULL) : ct_strdup(context, "not given");
    if (old && new)
        ct_fail(context, CT_ERROR_ARGUMENT,
                "%s: it cannot be resumed with another %s: it was %s, the recipe now says %s", where, path,
                old, new);
    ct_free(context, old);
    ct_free(context, new);
    return ct_context_status(context);
}

static ct_status compare_maps(ct_context *context, const ct_value *before, const ct_value *now,
                              const char *prefix, const char *where) {
    for (int side = 0; side < 2; side++) {
        const ct_value *keys = side ? before : now;
        for (size_t i = 0; i < ct_value_count(keys); i++) {
            char path[256];
            const char *key = ct_value_key(keys, i);
            snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", key);
            if (is_free(path)) continue;
            const ct_value *a = ct_value_get(before, key), *b = ct_value_get(now, key);
            if (ct_value_equal(a, b) ||
                (ct_value_kind_of(a) == CT_VALUE_NULL && ct_value_kind_of(b) == CT_VALUE_NULL))
                continue;
            bool maps = ct_value_kind_of(a) == CT_VALUE_MAP && ct_value_kind_of(b) == CT_VALUE_MAP;
            ct_status status =
                maps ? compare_maps(context, a, b, path, where) : differs(context, where, path, a, b);
            if (status != CT_OK) return status;
        }
    }
    return CT_OK;
}

static int64_t rows_of(const ct_value *resolved) {
    return ct_value_as_int(ct_value_get(resolved, "per_device_train_batch_size"), 0) *
           ct_value_as_int(ct_value_get(resolved, "gradient_accumulation_steps"), 0);
}

ct_status ct_recipe_compare(ct_context *context, const ct_value *before, const ct_value *now,
                            const char *where) {
    int64_t old = rows_of(before), new = rows_of(now);
    if (old != new)
        return ct_fail(
            context, CT_ERROR_ARGUMENT,
            "%s: it cannot be resumed with another number of rows a step (per_device_train_batch_size x "
            "gradient_accumulation_steps): it was %lld, the recipe now says %lld",
            where, (long long)old, (long long)new);
    return compare_maps(context, before, now, "", where);
}

ct_value *ct_value_move_to(ct_context *context, const ct_value *value) {
    if (!value) return NULL;
    size_t length = 0;
    char *text = ct_json_text(context, value, CT_JSON_COMPACT, &length);
    ct_value *moved = text ? ct_json_parse(context, text, length, NULL) : NULL;
    ct_free(context, text);
    return moved;
}
