/* resume.c - going on from a checkpoint. */
#include "train/recipe.h"
#include "train/state.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static ct_status damaged(ct_trainer *trainer, const char *path, const char *what) {
    return ct_fail(trainer->context, CT_ERROR_FORMAT, "%s/trainer_state.json: %s", path, what);
}

static double real_at(const ct_value *state, const char *key) {
    return ct_value_as_real(ct_value_get(state, key), NAN);
}

static int64_t int_at(const ct_value *state, const char *key, int64_t otherwise) {
    return ct_value_as_int(ct_value_get(state, key), otherwise);
}

static bool hash_at(const ct_value *state, const char *key, uint64_t *hash) {
    const char *text = ct_value_as_string(ct_value_get(state, key), "");
    char *end = NULL;
    *hash = strtoull(text, &end, 16);
    return strlen(text) == 16 && end == text + 16;
}

ct_status ct_checkpoint_open(ct_trainer *trainer, const char *path, ct_value **state) {
    ct_context *context = trainer->context;
    char *file = ct_path_join(context, path, "trainer_state.json");
    *state = file ? ct_json_read(context, file) : NULL;
    ct_free(context, file);
    if (!*state) return ct_context_status(context);
    const ct_value *recipe = ct_value_get(*state, "recipe");
    if (int_at(*state, "format", 0) != 1 || ct_value_kind_of(recipe) != CT_VALUE_MAP)
        return damaged(trainer, path, "it is not the state of a run of this program");
    return ct_recipe_compare(context, recipe, trainer->resolved, path);
}

/* ---------------------------------------------------------------------------------------------- tensors */

static ct_status read_tensor(ct_context *context, ct_safetensors *file, const char *name, ct_tensor *tensor) {
    const ct_safetensors_tensor *entry = ct_safetensors_need(file, name);
    if (!entry) return ct_context_status(context);
    size_t size = (size_t)ct_count(tensor) * ct_dtype_size(ct_dtype_of(tensor));
    bool fits = entry->dtype == ct_file_dtype_of(ct_dtype_of(tensor)) && entry->rank == ct_ndim(tensor);
    for (int i = 0; fits && i < entry->rank; i++)
        fits = entry->shape[i] == ct_dim(tensor, i);
    if (!fits || entry->size != size) {
        char text[160];
        return ct_fail(context, CT_ERROR_FORMAT, "%s: tensor \"%s\" is %s of %lld elements, expected %s",
                       ct_safetensors_file_path(file, (size_t)entry->shard), name,
                       ct_file_dtype_name(entry->dtype), (long long)entry->count,
                       ct_describe(tensor, text, sizeof(text)));
    }
    return ct_safetensors_read(file, entry, ct_data_mutable(tensor), 0, size);
}

static ct_safetensors *open_file(ct_context *context, const char *folder, const char *name) {
    char *path = ct_path_join(context, folder, name);
    ct_safetensors *file = path ? ct_safetensors_open(context, path) : NULL;
    ct_free(context, path);
    return file;
}

static ct_status read_parameters(ct_learner *learner, const char *folder, const char *name, bool average) {
    ct_context *context = learner->context;
    ct_safetensors *file = open_file(context, folder, name);
    for (int64_t i = 0; file && i < ct_model_parameter_count(learner->model) && !ct_failed(context); i++) {
        const ct_parameter *parameter = ct_model_parameter(learner->model, i);
        read_tensor(context, file, parameter->name, average ? learner->average[i] : parameter->tensor);
    }
    ct_safetensors_close(file);
    return ct_context_status(context);
}

static ct_status read_states(ct_learner *learner, const char *folder, int64_t steps) {
    ct_context *context = learner->context;
    int64_t count = ct_optimizer_state_count(learner->optimizer);
    char name[512];
    ct_safetensors *file = count ? open_file(context, folder, "optimizer.safetensors") : NULL;
    for (int64_t i = 0; file && i < count && !ct_failed(context); i++) {
        ct_tensor *tensor = ct_optimizer_state_at(learner->optimizer, i, name, sizeof(name));
        read_tensor(context, file, name, tensor);
    }
    ct_safetensors_close(file);
    ct_optimizer_set_steps(learner->optimizer, steps);
    return ct_context_status(context);
}

/* ----------------------------------------------------------------------------------------------- state */

static ct_status read_state(ct_trainer *trainer, const char *path, const ct_value *state) {
    ct_train_state *s = &trainer->state;
    uint64_t text_hash, weights_hash, fingerprint = 0, teacher;
    const ct_tokenizer *tokenizer = trainer->corpus.tokenizer;
    s->step = int_at(state, "global_step", -1);
    const ct_learner *learner = trainer->learner; /* states without the next two are of text, whose rows are whole */
    s->samples = int_at(state, "samples", s->step * learner->rows);
    s->tokens = int_at(state, "tokens", s->step * learner->rows * learner->row_length);
    s->last_evaluation = int_at(state, "last_evaluation", -1);
    s->last_save = s->step;
    s->evaluations_without_improvement = int_at(state, "evaluations_without_improvement", 0);
    s->best_loss = real_at(state, "best_metric");
    s->best_step = int_at(state, "best_step", -1);
    s->first_loss = real_at(state, "first_loss");
    s->last_loss = real_at(state, "last_loss");
    s->bits_before = real_at(state, "bits_per_byte_before");
    s->perplexity_before = real_at(state, "perplexity_before");
    s->bits_after = real_at(state, "bits_per_byte_after");
    s->perplexity_after = real_at(state, "perplexity_after");
    s->accuracy_before = real_at(state, "accuracy_before");
    s->accuracy_after = real_at(state, "accuracy_after");
    s->seconds = ct_value_as_real(ct_value_get(state, "seconds"), 0);
    s->log_bytes = int_at(state, "log_bytes", -1);
    if (s->step < 0 || s->log_bytes < 0 || !hash_at(state, "loss_hash", &s->loss_hash) ||
        !hash_at(state, "text_hash", &text_hash) || !hash_at(state, "weights_hash", &weights_hash) ||
        (tokenizer && !hash_at(state, "tokenizer_fingerprint", &fingerprint)))
        return damaged(trainer, path, "keys are missing or damaged");
    if (text_hash != trainer->corpus.text_hash)
        return ct_fail(
            trainer->context, CT_ERROR_ARGUMENT,
            "%s: it cannot be resumed with %s: data.train (%s) or data.validation has changed", path,
            tokenizer ? "another text" : "other images", trainer->options.data.train);
    if (learner->teacher && (!hash_at(state, "teacher_hash", &teacher) || teacher != ct_teacher_hash(learner->teacher)))
        return ct_fail(trainer->context, CT_ERROR_ARGUMENT,
                       "%s: it cannot be resumed with another teacher: what %s (teacher.path) holds has changed", path,
                       trainer->options.teacher.path);
    if (tokenizer && fingerprint != ct_tokenizer_fingerprint(tokenizer))
        return ct_fail(trainer->context, CT_ERROR_FORMAT,
                       "%s: the tokenizer there is not the one that was saved", path);
    if (weights_hash != ct_learner_weights_hash(trainer->learner))
        return ct_fail(trainer->context, CT_ERROR_FORMAT,
                       "%s/model.safetensors: the weights are not those that trainer_state.json speaks of",
                       path);
    return CT_OK;
}

ct_status ct_checkpoint_load(ct_trainer *trainer, const char *path, const ct_value *state) {
    ct_learner *learner = trainer->learner;
    if (read_parameters(learner, path, "model.safetensors", false) != CT_OK ||
        (learner->average && read_parameters(learner, path, "ema.safetensors", true) != CT_OK) ||
        read_states(learner, path, int_at(state, "optimizer_steps", 0)) != CT_OK)
        return ct_context_status(trainer->context);
    return read_state(trainer, path, state);
}
