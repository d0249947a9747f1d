/* checkpoint.c - writing: checkpoints, from which a run goes on to the same bits, and the finished model.
 *
 * checkpoint-N/ is a model folder (config.json, model.safetensors, the tokenizer's files) with
 * optimizer.safetensors, ema.safetensors where there is a moving average, trainer_state.json and recipe.yaml.
 * It is written under a temporary name and takes its own when every file in it is durable: a run that is
 * killed leaves the one before. */
#include "train/state.h"
#include <math.h>
#include <string.h>

enum { NAME_SIZE = 512 };

/* --------------------------------------------------------------------------------------------- tensors */

typedef struct tensor_list {
    int64_t count;
    ct_tensor *(*at)(const ct_learner *learner, int64_t index, char *name, size_t size);
} tensor_list;

static ct_tensor *state_at(const ct_learner *learner, int64_t index, char *name, size_t size) {
    return ct_optimizer_state_at(learner->optimizer, index, name, size);
}

static ct_tensor *average_at(const ct_learner *learner, int64_t index, char *name, size_t size) {
    snprintf(name, size, "%s", ct_model_parameter(learner->model, index)->name);
    return learner->average[index];
}

static ct_status write_tensors(const ct_learner *learner, const tensor_list *list, const char *folder,
                               const char *file_name) {
    ct_context *context = learner->context;
    char *path = ct_path_join(context, folder, file_name), name[NAME_SIZE];
    ct_safetensors_writer *writer = path ? ct_safetensors_create(context, path) : NULL;
    for (int64_t i = 0; writer && i < list->count && !ct_failed(context); i++) {
        ct_tensor *tensor = list->at(learner, i, name, sizeof(name));
        ct_safetensors_declare(writer, name, ct_file_dtype_of(ct_dtype_of(tensor)), ct_ndim(tensor),
                               ct_shape(tensor));
    }
    for (int64_t i = 0; writer && i < list->count && !ct_failed(context); i++) {
        ct_tensor *tensor = list->at(learner, i, name, sizeof(name));
        ct_safetensors_write(writer, ct_data(tensor),
                             (size_t)ct_count(tensor) * ct_dtype_size(ct_dtype_of(tensor)));
    }
    if (writer && !ct_failed(context))
        ct_safetensors_commit(writer);
    else
        ct_safetensors_abandon(writer);
    ct_free(context, path);
    return ct_context_status(context);
}

/* ----------------------------------------------------------------------------------------------- state */

static ct_value *state_value(const ct_trainer *trainer) {
    ct_context *context = trainer->context;
    const ct_train_state *s = &trainer->state;
    ct_value *map = ct_value_map(context);
    ct_put_int(context, map, "format", 1);
    ct_put_text(context, map, "carat_version", CT_VERSION);
    ct_put_int(context, map, "global_step", s->step);
    ct_put_int(context, map, "max_steps", s->total_steps);
    ct_put_int(context, map, "tokens", s->tokens);
    ct_put_int(context, map, "samples", s->samples);
    ct_put_real(context, map, "epoch",
                (double)s->step * (double)trainer->learner->rows /
                    (double)ct_dataset_rows(trainer->corpus.train, trainer->learner->row_length));
    ct_put_int(context, map, "next_row", s->step * trainer->learner->rows);
    ct_put_int(context, map, "seed", trainer->options.seed);
    ct_put_int(context, map, "optimizer_steps", ct_optimizer_steps(trainer->learner->optimizer));
    ct_put_int(context, map, "last_evaluation", s->last_evaluation);
    ct_put_int(context, map, "evaluations_without_improvement", s->evaluations_without_improvement);
    ct_put_real(context, map, "best_metric", s->best_loss);
    ct_put_int(context, map, "best_step", s->best_step);
    ct_put_real(context, map, "first_loss", s->first_loss);
    ct_put_real(context, map, "last_loss", s->last_loss);
    ct_put_real(context, map, "bits_per_byte_before", s->bits_before);
    ct_put_real(context, map, "perplexity_before", s->perplexity_before);
    ct_put_real(context, map, "bits_per_byte_after", s->bits_after);
    ct_put_real(context, map, "perplexity_after", s->perplexity_after);
    if (trainer->options.task == CT_TASK_IMAGES) {
        ct_put_real(context, map, "accuracy_before", s->accuracy_before);
        ct_put_real(context, map, "accuracy_after", s->accuracy_after);
    }
    ct_put_real(context, map, "seconds", s->seconds);
    ct_put_hash(context, map, "loss_hash", s->loss_hash);
    ct_put_hash(context, map, "weights_hash", ct_learner_weights_hash(trainer->learner));
    ct_put_hash(context, map, "text_hash", trainer->corpus.text_hash);
    if (trainer->corpus.tokenizer)
        ct_put_hash(context, map, "tokenizer_fingerprint", ct_tokenizer_fingerprint(trainer->corpus.tokenizer));
    if (trainer->learner->teacher)
        ct_put_hash(context, map, "teacher_hash", ct_teacher_hash(trainer->learner->teacher));
    ct_put_int(context, map, "log_bytes", s->log_bytes);
    if (map) ct_value_set(map, "recipe", ct_value_copy(trainer->resolved));
    if (!ct_failed(context)) return map;
    ct_value_free(map);
    return NULL;
}

static ct_status write_state(const ct_trainer *trainer, const char *folder) {
    ct_context *context = trainer->context;
    char *path = ct_path_join(context, folder, "trainer_state.json");
    char *recipe = ct_path_join(context, folder, "recipe.yaml");
    ct_value *state = path ? state_value(trainer) : NULL;
    if (state && recipe && ct_yaml_write(context, recipe, trainer->resolved) == CT_OK)
        ct_json_write(context, path, state, CT_JSON_PRETTY);
    ct_value_free(state);
    ct_free(context, recipe);
    ct_free(context, path);
    return ct_context_status(context);
}

/* ------------------------------------------------------------------------------------------ checkpoints */

/* How transformers makes what a vision transformer was trained on from an image: pixels / 255 and nothing else. */
static ct_status write_image_reader(ct_trainer *trainer, const char *folder) {
    static const char form[] =
        "{\"image_processor_type\": \"ViTImageProcessor\", \"do_resize\": false, \"do_normalize\": false, "
        "\"do_rescale\": true, \"rescale_factor\": 0.00392156862745098, \"size\": {\"height\": %lld, \"width\": %lld}}\n";
    ct_context *context = trainer->context;
    int64_t shape[3];
    if (!ct_model_image_shape(trainer->learner->model, shape)) return CT_OK;
    char *path = ct_path_join(context, folder, "preprocessor_config.json");
    char *text = path ? ct_format(context, form, (long long)shape[1], (long long)shape[2]) : NULL;
    if (text) ct_file_write(context, path, text, strlen(text));
    ct_free(context, text);
    ct_free(context, path);
    return ct_context_status(context);
}

/* What makes the model's input: the tokenizer, or how images are read. */
static ct_status write_reader(ct_trainer *trainer, const char *folder) {
    const ct_tokenizer *tokenizer = trainer->corpus.tokenizer;
    return tokenizer ? ct_tokenizer_save(tokenizer, folder) : write_image_reader(trainer, folder);
}

static ct_status write_checkpoint(ct_trainer *trainer, const char *folder) {
    const ct_learner *learner = trainer->learner;
    const tensor_list states = {ct_optimizer_state_count(learner->optimizer), state_at};
    const tensor_list averages = {ct_model_parameter_count(learner->model), average_at};
    if (ct_log_sync(&trainer->log, &trainer->state.log_bytes) != CT_OK ||
        ct_model_save(learner->model, folder, CT_F32) != CT_OK ||
        write_reader(trainer, folder) != CT_OK ||
        (states.count && write_tensors(learner, &states, folder, "optimizer.safetensors") != CT_OK) ||
        (learner->average && write_tensors(learner, &averages, folder, "ema.safetensors") != CT_OK))
        return ct_context_status(trainer->context);
    return write_state(trainer, folder);
}

/* What a failed attempt wrote goes, whatever the error was. */
static void discard(ct_context *context, const char *folder) {
    ct_try trial;
    ct_try_begin(context, &trial);
    ct_folder_remove(context, folder);
    ct_try_end(context, &trial, NULL, 0);
}

ct_status ct_checkpoint_save(ct_trainer *trainer) {
    ct_context *context = trainer->context;
    const char *output = trainer->options.output_dir;
    char name[64];
    snprintf(name, sizeof(name), ".checkpoint-%lld.partial", (long long)trainer->state.step);
    char *final = ct_checkpoint_path(context, output, trainer->state.step);
    char *partial = ct_path_join(context, output, name);
    if (final && partial && ct_folder_make(context, partial) == CT_OK) {
        if (write_checkpoint(trainer, partial) == CT_OK) ct_path_replace(context, partial, final);
        if (ct_failed(context)) discard(context, partial);
    }
    if (!ct_failed(context)) {
        trainer->state.last_save = trainer->state.step;
        int64_t limit = trainer->options.save_total_limit;
        if (limit > 0) ct_output_remove_checkpoints(context, output, limit);
    }
    ct_free(context, final);
    ct_free(context, partial);
    return ct_context_status(context);
}

/* -------------------------------------------------------------------------------------------- the model */

/* What `generate` of other programs starts from; a folder that the model came from brings its own. */
static ct_status write_generation_config(ct_trainer *trainer, const char *folder) {
    ct_context *context = trainer->context;
    char *path = ct_path_join(context, folder, "generation_config.json");
    if (!path || ct_value_get(trainer->options.model, "path")) {
        ct_free(context, path);
        return ct_context_status(context);
    }
    ct_value *map = ct_value_map(context);
    static const char *const keys[] = {"bos_token_id", "eos_token_id"};
    if (map) ct_value_set(map, "_from_model_config", ct_value_bool(context, true));
    for (int i = 0; map && i < 2; i++) {
        const ct_value *id = ct_value_get(trainer->config, keys[i]);
        if (ct_value_kind_of(id) == CT_VALUE_INT) ct_value_set(map, keys[i], ct_value_copy(id));
    }
    if (map) ct_json_write(context, path, map, CT_JSON_PRETTY);
    ct_value_free(map);
    ct_free(context, path);
    return ct_context_status(context);
}

ct_status ct_model_folder_write(ct_trainer *trainer, const char *folder) {
    ct_learner *learner = trainer->learner;
    ct_run_reset(learner->evaluation);
    bool overlaid = learner->average || learner->options->center == CT_CENTER_ACTIVATIONS || ct_regularizers_adds_parameters(learner->regularizers) ||
                    (learner->parametrization && ct_parametrization_multiplies(learner->parametrization));
    ct_status status = overlaid ? ct_model_save_resolved(learner->model, learner->evaluation, folder)
                                : ct_model_save(learner->model, folder, CT_F32);
    if (status != CT_OK || write_reader(trainer, folder) != CT_OK) return ct_context_status(trainer->context);
    return trainer->corpus.tokenizer ? write_generation_config(trainer, folder) : CT_OK;
}
