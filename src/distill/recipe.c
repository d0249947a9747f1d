/* recipe.c - the recipe of a student, from one that is given or from that of its teacher's first member. */
#include <carat/distill.h>
#include <carat/format.h>
#include <string.h>

static const char *const averages[] = {"as_is", "logits", "probabilities", NULL};

const ct_option ct_distill_table[] = {
    CT_OPTION_REAL(
        "alpha", ct_distill_options, alpha, 0, 0, 0.999,
        "share of the recipe's own objective in the loss; the rest is the divergence from the teacher"),
    CT_OPTION_REAL("temperature", ct_distill_options, temperature, 1, 1e-3, 1e4,
                   "by which the logits of teacher and student are divided"),
    CT_OPTION_CHOICE("average", ct_distill_options, average, "as_is", averages,
                     "what of the members is averaged; as_is: what the manifest says"),
    CT_OPTION_BOOL("self", ct_distill_options, self, false, "the teacher is one model and not an ensemble"),
    CT_OPTION_END};

static void overlay(ct_value *target, const ct_value *over) {
    for (size_t i = 0; i < ct_value_count(over); i++) {
        const char *key = ct_value_key(over, i);
        const ct_value *value = ct_value_at(over, i);
        ct_value *present = ct_value_get(target, key);
        if (ct_value_kind_of(value) == CT_VALUE_MAP && ct_value_kind_of(present) == CT_VALUE_MAP)
            overlay(present, value);
        else
            ct_value_set(target, key, ct_value_copy(value));
    }
}

static bool is_given(const ct_value *map, const char *path) {
    return ct_value_kind_of(ct_value_get_path(map, path)) != CT_VALUE_NULL;
}

/* -------------------------------------------------------------------------------------- from a member */

/* A document of member `index`; NULL without an error if it has none. */
static ct_value *member_document(ct_context *context, const ct_value *folders, size_t index,
                                 const char *name) {
    char *folder = ct_model_resolve(context, ct_value_as_string(ct_value_at(folders, index), ""));
    char *path = folder ? ct_path_join(context, folder, name) : NULL;
    ct_value *value = path && ct_file_exists(path) ? ct_document_read(context, path) : NULL;
    ct_free(context, path);
    ct_free(context, folder);
    return value;
}

/* One above the seeds that the members' recipes tell. */
static int64_t another_seed(ct_context *context, const ct_value *folders) {
    int64_t highest = -1;
    for (size_t i = 0; i < ct_value_count(folders) && !ct_failed(context); i++) {
        ct_value *recipe = member_document(context, folders, i, "recipe.yaml");
        int64_t seed = ct_value_as_int(ct_value_get(recipe, "seed"), -1);
        if (seed > highest) highest = seed;
        ct_value_free(recipe);
    }
    return highest + 1;
}

static bool listens(ct_context *context, const ct_value *value) {
    ct_objective *objective = ct_objective_create(context, value, 0, "objective");
    bool taught = objective && ct_objective_taught(objective);
    ct_objective_destroy(objective);
    return taught;
}

/* The recipe of the first member, without where and with what means it ran. */
static ct_value *derive(ct_context *context, const ct_value *folders) {
    static const char *const left_out[] = {
        "output_dir", "overwrite_output_dir", "memory", "threads", "tokenizer", "teacher"};
    const char *first = ct_value_as_string(ct_value_at(folders, 0), "");
    ct_value *recipe = member_document(context, folders, 0, "recipe.yaml");
    if (!recipe && !ct_failed(context))
        ct_fail(context, CT_ERROR_ARGUMENT,
                "%s: there is no recipe.yaml, which carat train writes; expected a recipe for the student "
                "(--recipe FILE)",
                first);
    if (recipe && ct_value_kind_of(recipe) != CT_VALUE_MAP)
        ct_fail(context, CT_ERROR_FORMAT, "%s/recipe.yaml: a recipe is a map of keys", first);
    for (size_t i = 0; recipe && i < sizeof(left_out) / sizeof(left_out[0]); i++)
        ct_value_remove(recipe, left_out[i]);
    if (recipe && !ct_failed(context)) {
        if (listens(context, ct_value_get(recipe, "objective"))) ct_value_remove(recipe, "objective");
        ct_value_set(recipe, "seed", ct_value_int(context, another_seed(context, folders)));
    }
    return recipe;
}

/* The first member's config.json as the keys of a new model. */
static ct_status take_model(ct_context *context, const ct_value *config, const char *folder,
                            ct_value *recipe) {
    const char *type = ct_value_as_string(ct_value_get(config, "model_type"), "");
    const ct_architecture *architecture = ct_architecture_find(context, type);
    if (!architecture) return ct_context_status(context);
    if (is_given(config, "carat"))
        return ct_fail(
            context, CT_ERROR_UNSUPPORTED,
            "%s: its layers were changed, which the keys of a new model cannot say; expected model in the "
            "student's recipe",
            folder);
    ct_value *model = ct_value_map(context);
    for (size_t i = 0; model && i < ct_value_count(config); i++) {
        const char *key = ct_value_key(config, i);
        if (strcmp(key, "model_type") == 0 || ct_options_find(architecture->options, key))
            ct_value_set(model, key, ct_value_copy(ct_value_at(config, i)));
    }
    return model ? ct_value_set(recipe, "model", model) : ct_context_status(context);
}

/* The student predicts the teacher's classes, of which there may be more than tokens. */
static ct_status settle_model(ct_context *context, const ct_value *folders, ct_value *recipe) {
    const char *folder = ct_value_as_string(ct_value_at(folders, 0), "");
    ct_value *config = member_document(context, folders, 0, "config.json");
    if (!config && !ct_failed(context))
        return ct_fail(context, CT_ERROR_NOT_FOUND, "%s: there is no config.json, so it is no model folder",
                       folder);
    if (config && !is_given(recipe, "model")) take_model(context, config, folder, recipe);
    ct_value *model = ct_value_get(recipe, "model");
    const char *type = ct_value_as_string(ct_value_get(model, "model_type"), NULL);
    const ct_architecture *architecture =
        type && !ct_failed(context) ? ct_architecture_find(context, type) : NULL;
    if (architecture && ct_options_find(architecture->options, "vocab_size") &&
        !is_given(model, "vocab_size") && is_given(config, "vocab_size"))
        ct_value_set(model, "vocab_size", ct_value_copy(ct_value_get(config, "vocab_size")));
    ct_value_free(config);
    return ct_context_status(context);
}

/* ------------------------------------------------------------------------------------------------ loss */

/* Appends an objective, a name or a map, with its weight times `factor`. */
static void add_term(ct_context *context, ct_value *list, const ct_value *term, double factor) {
    bool named = ct_value_kind_of(term) != CT_VALUE_MAP;
    ct_value *map = named ? ct_value_map(context) : ct_value_copy(term);
    if (!map) return;
    if (named) ct_value_set(map, "name", ct_value_copy(term));
    double weight = ct_value_as_real(ct_value_get(map, "weight"), 1);
    ct_value_set(map, "weight", ct_value_real(context, weight * factor));
    ct_value_append(list, map);
}

static ct_status mix_objective(ct_context *context, ct_value *recipe, const ct_distill_options *options) {
    const ct_value *own = ct_value_get(recipe, "objective");
    if (listens(context, own))
        return ct_fail(
            context, CT_ERROR_ARGUMENT,
            "objective: one of it learns from a teacher already, which carat distill adds; run it with carat "
            "train and teacher.path, or leave it out");
    ct_value *list = ct_failed(context) ? NULL : ct_value_list(context),
             *map = list ? ct_value_map(context) : NULL;
    if (!map) {
        ct_value_free(list);
        return ct_context_status(context);
    }
    ct_value *standard = ct_value_string(context, "cross_entropy");
    bool many = ct_value_kind_of(own) == CT_VALUE_LIST, none = ct_value_kind_of(own) == CT_VALUE_NULL;
    if (many && ct_value_count(own) == 0) many = false, none = true;
    for (size_t i = 0; options->alpha > 0 && i < (many ? ct_value_count(own) : 1); i++)
        add_term(context, list, none ? standard : many ? ct_value_at(own, i) : own, options->alpha);
    ct_value_free(standard);
    ct_value_set(map, "name", ct_value_string(context, "distill_kl"));
    ct_value_set(map, "weight", ct_value_real(context, 1 - options->alpha));
    ct_value_set(map, "temperature", ct_value_real(context, options->temperature));
    ct_value_append(list, map);
    return ct_value_set(recipe, "objective", list);
}

static ct_status name_teacher(ct_context *context, const char *path, const ct_distill_options *options,
                              ct_value *recipe) {
    if (is_given(recipe, "teacher.path") || is_given(recipe, "teacher.average"))
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "teacher: carat distill sets it, from its argument and --average");
    ct_value *teacher = ct_value_map(context);
    if (!teacher) return ct_context_status(context);
    ct_value_set(teacher, "path", ct_value_string(context, path));
    ct_value_set(teacher, "average", ct_value_string(context, averages[options->average]));
    return ct_value_set(recipe, "teacher", teacher);
}

static ct_status check_count(ct_context *context, const char *teacher, size_t count, bool self) {
    if (count == 1 && !self)
        return ct_fail(
            context, CT_ERROR_ARGUMENT,
            "%s: the teacher is one model and no ensemble; a student of it is self-distillation (--self)",
            teacher);
    if (count > 1 && self)
        return ct_fail(context, CT_ERROR_ARGUMENT, "self: %s is an ensemble of %zu, expected one model",
                       teacher, count);
    return CT_OK;
}

ct_value *ct_distill_recipe(ct_context *context, const char *teacher, const ct_value *given,
                            const ct_value *over, const ct_distill_options *options) {
    ct_value *folders = ct_ensemble_folders(context, teacher, NULL), *recipe = NULL;
    if (folders && check_count(context, teacher, ct_value_count(folders), options->self) == CT_OK)
        recipe = given ? ct_value_copy(given) : derive(context, folders);
    if (recipe && !ct_failed(context)) {
        if (ct_value_kind_of(recipe) != CT_VALUE_MAP)
            ct_fail(context, CT_ERROR_FORMAT, "recipe: a recipe is a map of keys");
    }
    if (recipe && !ct_failed(context)) {
        ct_value_remove(recipe, "tokenizer"); /* none but the teacher's would do, and it is the default */
        overlay(recipe, over);
    }
    if (recipe && !ct_failed(context) && settle_model(context, folders, recipe) == CT_OK &&
        name_teacher(context, teacher, options, recipe) == CT_OK)
        mix_objective(context, recipe, options);
    ct_value_free(folders);
    if (!ct_failed(context)) return recipe;
    ct_value_free(recipe);
    return NULL;
}
