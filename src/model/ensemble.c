/* ensemble.c - models that predict together: manifests, and the average of what the members predict. */
#include <carat/ensemble.h>
#include <carat/format.h>
#include <carat/ops.h>
#include <float.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------- manifests */

static const char *const averages[] = {"logits", "probabilities"};

/* A folder as the manifest at `path` means it. A new string. */
static char *resolve(ct_context *context, const char *path, const char *folder) {
    const char *end = strrchr(path, '/');
    if (*folder == '/' || !end) return ct_strdup(context, folder);
    char *base = ct_strdup(context, path);
    if (!base) return NULL;
    base[end - path] = 0;
    char *whole = ct_path_join(context, *base ? base : "/", folder);
    ct_free(context, base);
    return whole;
}

/* Of the first member, that the others are compared with. */
typedef struct common {
    const char *folder;
    uint64_t fingerprint;
    int64_t vocabulary;
} common;

static ct_status compare(ct_context *context, common *first, const char *folder,
                         const ct_tokenizer *tokenizer, int64_t vocabulary) {
    uint64_t fingerprint = ct_tokenizer_fingerprint(tokenizer);
    if (!first->folder) {
        *first = (common){folder, fingerprint, vocabulary};
        return CT_OK;
    }
    if (first->fingerprint != fingerprint)
        return ct_fail(context, CT_ERROR_ARGUMENT, "ensemble: the tokenizers of %s and %s differ",
                       first->folder, folder);
    if (first->vocabulary != vocabulary)
        return ct_fail(context, CT_ERROR_ARGUMENT, "ensemble: %s has a vocabulary of %lld, %s of %lld",
                       first->folder, (long long)first->vocabulary, folder, (long long)vocabulary);
    return CT_OK;
}

static ct_status check_count(ct_context *context, const char *path, size_t count) {
    if (count >= 1 && count <= CT_ENSEMBLE_MOST) return CT_OK;
    return ct_fail(context, CT_ERROR_ARGUMENT, "%s: %zu members, expected 1 to %d", path, count,
                   CT_ENSEMBLE_MOST);
}

/* Loads member number ensemble->count, or only looks at it. */
static ct_status add_member(ct_context *context, const char *folder, ct_dtype dtype, common *first,
                            ct_ensemble *ensemble) {
    ct_model *model = ct_model_load(context, folder, dtype);
    char *path = model ? ct_model_resolve(context, folder) : NULL;
    ct_tokenizer *tokenizer = path ? ct_tokenizer_load(context, path) : NULL;
    ct_free(context, path);
    if (tokenizer && ct_model_need_causal(model, folder) == CT_OK)
        compare(context, first, folder, tokenizer, ct_model_vocabulary(model));
    if (ct_failed(context)) {
        ct_tokenizer_destroy(tokenizer);
        ct_model_destroy(model);
        return ct_context_status(context);
    }
    ensemble->members[ensemble->count++] = model;
    if (ensemble->tokenizer)
        ct_tokenizer_destroy(tokenizer);
    else
        ensemble->tokenizer = tokenizer;
    return CT_OK;
}

void ct_ensemble_free(ct_ensemble *ensemble) {
    for (int i = 0; i < ensemble->count; i++)
        ct_model_destroy(ensemble->members[i]);
    ct_tokenizer_destroy(ensemble->tokenizer);
    *ensemble = (ct_ensemble){{NULL}, 0, CT_AVERAGE_LOGITS, NULL};
}

ct_status ct_ensemble_write(ct_context *context, const char *path, const char *const *folders, int count,
                            ct_ensemble_average average) {
    ct_ensemble loaded = {{NULL}, 0, CT_AVERAGE_LOGITS, NULL};
    common first = {NULL, 0, 0};
    if (ct_failed(context) || check_count(context, path, (size_t)(count < 0 ? 0 : count)) != CT_OK)
        return ct_context_status(context);
    ct_value *map = ct_value_map(context), *list = ct_value_list(context);
    for (int i = 0; i < count && !ct_failed(context); i++) {
        char *folder = resolve(context, path, folders[i]);
        if (folder) add_member(context, folder, CT_DTYPES, &first, &loaded);
        first.folder = folders[0];
        ct_free(context, folder);
        for (; loaded.count > 0; loaded.count--) /* one at a time is enough */
            ct_model_destroy(loaded.members[loaded.count - 1]);
        if (!ct_failed(context)) ct_value_append(list, ct_value_string(context, folders[i]));
    }
    ct_ensemble_free(&loaded);
    if (map && list && !ct_failed(context)) {
        ct_value_set(map, "carat_ensemble", ct_value_int(context, 1));
        ct_value_set(map, "average", ct_value_string(context, averages[average]));
        ct_value_set(map, "members", list);
        ct_json_write(context, path, map, CT_JSON_PRETTY);
    } else {
        ct_value_free(list);
    }
    ct_value_free(map);
    return ct_context_status(context);
}

static ct_status read_average(ct_context *context, const char *path, const ct_value *manifest,
                              ct_ensemble_average *average) {
    const char *name = ct_value_as_string(ct_value_get(manifest, "average"), averages[0]);
    if (ct_value_as_int(ct_value_get(manifest, "carat_ensemble"), 0) != 1)
        return ct_fail(context, CT_ERROR_FORMAT,
                       "%s: expected \"carat_ensemble\": 1, the manifest of an ensemble", path);
    for (int i = 0; i < 2; i++)
        if (strcmp(name, averages[i]) == 0) {
            *average = (ct_ensemble_average)i;
            return CT_OK;
        }
    return ct_fail(context, CT_ERROR_FORMAT, "%s: average \"%.40s\", expected logits or probabilities", path,
                   name);
}

/* Appends the folders that a manifest names. */
static ct_status read_members(ct_context *context, const char *path, const ct_value *list,
                              ct_value *folders) {
    size_t count = ct_value_count(list);
    if (ct_value_kind_of(list) != CT_VALUE_LIST)
        return ct_fail(context, CT_ERROR_FORMAT, "%s: expected \"members\", a list of folders", path);
    if (check_count(context, path, count) != CT_OK) return ct_context_status(context);
    for (size_t i = 0; i < count && !ct_failed(context); i++) {
        const char *folder = ct_value_as_string(ct_value_at(list, i), NULL);
        if (!folder)
            return ct_fail(context, CT_ERROR_FORMAT, "%s: members.%zu: expected the folder of a model", path,
                           i);
        char *whole = resolve(context, path, folder);
        if (whole) ct_value_append(folders, ct_value_string(context, whole));
        ct_free(context, whole);
    }
    return ct_context_status(context);
}

static bool is_manifest(const char *path) {
    size_t length = strlen(path);
    return ct_file_exists(path) || (length > 5 && strcmp(path + length - 5, ".json") == 0);
}

ct_value *ct_ensemble_folders(ct_context *context, const char *path, ct_ensemble_average *average) {
    ct_ensemble_average found = CT_AVERAGE_LOGITS;
    ct_value *folders = ct_failed(context) ? NULL : ct_value_list(context), *manifest = NULL;
    if (folders && !is_manifest(path)) {
        ct_value_append(folders, ct_value_string(context, path));
    } else if (folders && (manifest = ct_json_read(context, path))) {
        if (read_average(context, path, manifest, &found) == CT_OK)
            read_members(context, path, ct_value_get(manifest, "members"), folders);
        ct_value_free(manifest);
    }
    if (average) *average = found;
    if (!ct_failed(context)) return folders;
    ct_value_free(folders);
    return NULL;
}

ct_status ct_ensemble_load(ct_context *context, const char *path, ct_dtype dtype, ct_ensemble *ensemble) {
    *ensemble = (ct_ensemble){{NULL}, 0, CT_AVERAGE_LOGITS, NULL};
    ct_value *folders = ct_ensemble_folders(context, path, &ensemble->average);
    common first = {NULL, 0, 0};
    for (size_t i = 0; i < ct_value_count(folders) && !ct_failed(context); i++)
        add_member(context, ct_value_as_string(ct_value_at(folders, i), ""), dtype, &first, ensemble);
    ct_value_free(folders);
    return ct_context_status(context);
}

/* --------------------------------------------------------------------------------------------- outputs */

/* What member i adds to the sum: its logits, or its probabilities. */
static ct_tensor *member_term(const ct_ensemble *ensemble, int i, ct_run *run, ct_tensor *ids) {
    ct_run_reset(run);
    ct_tensor *logits = ct_cast(ct_model_forward(ensemble->members[i], run, ids), CT_F32);
    return ensemble->average == CT_AVERAGE_LOGITS ? logits : ct_softmax(logits, -1);
}

ct_tensor *ct_ensemble_outputs(const ct_ensemble *ensemble, ct_run *const *runs, ct_tensor *ids) {
    ct_context *context = ct_context_of(ids);
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, false);
    ct_tensor *mean = NULL;
    for (int i = 0; i < ensemble->count && !ct_failed(context); i++) {
        ct_scope member = ct_scope_open(context);
        ct_tensor *term = member_term(ensemble, i, runs[i], ids);
        if (i == 0) {
            mean = ct_scope_return(context, member, term);
            continue;
        }
        ct_add_into(mean, term, 1); /* in place, so that one sum is in memory and not one for each member */
        ct_scope_close(context, member);
    }
    if (ensemble->count > 1 && !ct_failed(context)) ct_scale_into(mean, 1.0 / ensemble->count);
    /* A probability may be too small for f32; its logarithm must stay finite. */
    if (mean && ensemble->average == CT_AVERAGE_PROBABILITIES)
        mean = ct_log(ct_clamp(mean, (double)FLT_MIN, 2));
    ct_grad_mode_set(context, before);
    return ct_scope_return(context, scope, mean);
}
