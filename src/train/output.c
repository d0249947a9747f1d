/* output.c - the folder of a run: checkpoints by step, and what killed runs left in it. */
#include "train/state.h"
#include "base/file_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The step of "checkpoint-N"; -1 for other names. */
static int64_t step_of(const char *name) {
    static const char prefix[] = "checkpoint-";
    size_t length = sizeof(prefix) - 1;
    if (strncmp(name, prefix, length) != 0) return -1;
    const char *digits = name + length;
    size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > 15 || digits[count]) return -1;
    return strtoll(digits, NULL, 10);
}

char *ct_checkpoint_path(ct_context *context, const char *folder, int64_t step) {
    char name[64];
    snprintf(name, sizeof(name), "checkpoint-%lld", (long long)step);
    return ct_path_join(context, folder, name);
}

static bool starts_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

/* Files and folders under names that only unfinished writing has (base/writer.c, base/folder.c,
 * checkpoint.c). */
static bool is_left_over(const char *name) {
    if (starts_with(name, ".checkpoint-") && strstr(name, ".partial")) return true;
    if (starts_with(name, "checkpoint-") && strstr(name, ".old-")) return true;
    return name[0] == '.' && strstr(name, ".tmp-") != NULL;
}

ct_status ct_output_prepare(ct_context *context, const char *folder) {
    if (ct_folder_make(context, folder) != CT_OK) return ct_context_status(context);
    ct_value *names = ct_folder_list(context, folder);
    for (size_t i = 0; i < ct_value_count(names) && !ct_failed(context); i++) {
        const char *name = ct_value_as_string(ct_value_at(names, i), "");
        if (!is_left_over(name)) continue;
        char *path = ct_path_join(context, folder, name);
        if (path) ct_folder_remove(context, path);
        ct_free(context, path);
    }
    ct_value_free(names);
    return ct_context_status(context);
}

static int by_step(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

ct_value *ct_output_checkpoints(ct_context *context, const char *folder) {
    ct_value *names = ct_folder_list(context, folder), *list = ct_value_list(context);
    size_t count = ct_value_count(names), found = 0;
    int64_t *steps = ct_alloc(context, count * sizeof(*steps), CT_MEMORY_OTHER);
    for (size_t i = 0; steps && i < count; i++) {
        int64_t step = step_of(ct_value_as_string(ct_value_at(names, i), ""));
        if (step >= 0) steps[found++] = step;
    }
    if (found) qsort(steps, found, sizeof(*steps), by_step);
    for (size_t i = 0; list && i < found; i++)
        ct_value_append(list, ct_value_int(context, steps[i]));
    ct_free(context, steps);
    ct_value_free(names);
    return list;
}

bool ct_output_occupied(ct_context *context, const char *folder, char *what_is_there, size_t size) {
    static const char *const results[] = {"config.json", "model.safetensors", "report.json"};
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        char *path = ct_path_join(context, folder, results[i]);
        bool exists = path && ct_file_exists(path);
        ct_free(context, path);
        if (!exists) continue;
        snprintf(what_is_there, size, "%s", results[i]);
        return true;
    }
    ct_value *steps = ct_output_checkpoints(context, folder);
    size_t count = ct_value_count(steps);
    if (count)
        snprintf(what_is_there, size, "checkpoint-%lld",
                 (long long)ct_value_as_int(ct_value_at(steps, count - 1), 0));
    ct_value_free(steps);
    return count > 0;
}

/* First the name goes, so that a run killed meanwhile leaves no checkpoint that lacks files. */
static ct_status remove_checkpoint(ct_context *context, const char *folder, int64_t step) {
    char name[64];
    snprintf(name, sizeof(name), ".checkpoint-%lld.partial-removed", (long long)step);
    char *path = ct_checkpoint_path(context, folder, step), *aside = ct_path_join(context, folder, name);
    if (path && aside) {
        ct_folder_remove(context, aside);
        if (rename(path, aside) != 0)
            ct_fail_errno(context, path, "cannot remove", errno);
        else
            ct_folder_remove(context, aside);
    }
    ct_free(context, path);
    ct_free(context, aside);
    return ct_context_status(context);
}

ct_status ct_output_remove_checkpoints(ct_context *context, const char *folder, int64_t keep) {
    ct_value *steps = ct_output_checkpoints(context, folder);
    int64_t count = (int64_t)ct_value_count(steps);
    for (int64_t i = 0; i + keep < count && !ct_failed(context); i++)
        remove_checkpoint(context, folder, ct_value_as_int(ct_value_at(steps, (size_t)i), 0));
    ct_value_free(steps);
    return ct_context_status(context);
}
