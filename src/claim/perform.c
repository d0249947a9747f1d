/* perform.c - running one claim: its data, its time, its verdict; and what identifies program and machine. */
#define _GNU_SOURCE
#include "claim/parts.h"
#include "carat_paths.h"
#include "tensor/cpu/isa.h"
#include "train/hash.h"
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

const ct_option ct_claim_settings_table[] = {
    CT_OPTION_STRING(
        "data", ct_claim_settings, data, NULL,
        "folder of the claims' data; without it that of CARAT_DATA, else ../shared/data beside the sources"),
    CT_OPTION_INT("seeds", ct_claim_settings, seeds, 0, 0, 1000, "runs of each arm; 0: as each claim says"),
    CT_OPTION_INT(
        "first_seed", ct_claim_settings, first_seed, 1, 0, 1e9,
        "the seeds are this one and those after it; another one shows whether a result hangs on its seeds"),
    CT_OPTION_REAL("limit", ct_claim_settings, limit, 0, 0, 1e6,
                   "minutes until a claim is stopped and counts as failed; 0: none"),
    CT_OPTION_END};

/* ---------------------------------------------------------------------------------------------- data */

char *ct_claim_data_folder(ct_context *context, const ct_claim_settings *settings) {
    const char *given = settings->data ? settings->data : getenv("CARAT_DATA");
    return ct_strdup(context, given && *given ? given : CARAT_SOURCE_ROOT "/../shared/data");
}

/* The first file that is not there, NULL if all are; *folder is a new string. */
static const char *missing_file(ct_context *context, const ct_claim *claim, const ct_claim_settings *settings,
                                char **folder) {
    *folder = ct_claim_data_folder(context, settings);
    for (int i = 0; *folder && claim->data && claim->data[i]; i++) {
        char *path = ct_path_join(context, *folder, claim->data[i]);
        bool there = path && ct_file_exists(path);
        ct_free(context, path);
        if (!there) return claim->data[i];
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------ program, machine */

/* Goes on with `hash` over a file's bytes; false if they cannot be read. */
static bool hash_file(const char *path, uint64_t *hash) {
    static const size_t piece = 1 << 16;
    FILE *file = fopen(path, "rb");
    char *bytes = file ? malloc(piece) : NULL;
    size_t got = 0;
    while (bytes && (got = fread(bytes, 1, piece, file)) > 0)
        *hash = ct_hash_bytes(*hash, bytes, got);
    bool whole = bytes && !ferror(file);
    free(bytes);
    if (file) fclose(file);
    return whole;
}

static bool is_same_file(const char *a, const char *b) {
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

/* The program, and the library that this code is in where that is a file of its own. */
const char *ct_claim_build(char buffer[17]) {
    static const char program[] = "/proc/self/exe", here = 0;
    uint64_t hash = CT_HASH_START;
    Dl_info library;
    buffer[0] = 0;
    if (!hash_file(program, &hash)) return buffer;
    if (dladdr(&here, &library) && library.dli_fname && strchr(library.dli_fname, '/') &&
        !is_same_file(library.dli_fname, program) && !hash_file(library.dli_fname, &hash))
        return buffer;
    snprintf(buffer, 17, "%016llx", (unsigned long long)ct_hash_finish(hash));
    return buffer;
}

static void machine_name(char *name, size_t size) {
    char line[512];
    snprintf(name, size, "unknown");
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof(line), file)) {
        char *colon = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (!colon) continue;
        colon[strcspn(colon, "\n")] = 0;
        snprintf(name, size, "%s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    if (file) fclose(file);
}

/* What differs from run to run of the same program. */
static ct_value *circumstances(ct_context *context, const char *build, double seconds) {
    char machine[256], date[32] = "";
    ct_value *map = ct_value_map(context);
    if (!map) return NULL;
    time_t now = time(NULL);
    struct tm parts;
    if (gmtime_r(&now, &parts)) strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &parts);
    machine_name(machine, sizeof(machine));
    ct_claim_put_text(map, "build", build, context);
    ct_claim_put_text(map, "date", date, context);
    ct_claim_put_real(map, "seconds", seconds, context);
    ct_claim_put_text(map, "machine", machine, context);
    ct_claim_put_text(map, "isa", ct_isa_name(ct_cpu_isa()), context);
    ct_claim_put_int(map, "threads", ct_context_threads(context), context);
    return map;
}

/* --------------------------------------------------------------------------------------------- result */

const char *ct_claim_verdict_name(ct_claim_verdict verdict) {
    static const char *const names[] = {"HOLDS", "DOES NOT HOLD", "SKIPPED", "FAILED"};
    return names[verdict];
}

static ct_value *texts(ct_context *context, const char *const *list) {
    ct_value *value = ct_value_list(context);
    for (int i = 0; value && list && list[i]; i++)
        ct_value_append(value, ct_value_string(context, list[i]));
    return value;
}

static ct_value *result_start(ct_context *context, const ct_claim *claim) {
    ct_value *map = ct_value_map(context);
    if (!map) return NULL;
    ct_claim_put_text(map, "name", claim->name, context);
    ct_claim_put_text(map, "verdict", "", context); /* its place; set at the end */
    ct_claim_put_text(map, "claim", claim->sentence, context);
    ct_claim_put_text(map, "reported", claim->reported, context);
    ct_claim_put_text(map, "paper", claim->paper, context);
    ct_claim_put_text(map, "card", claim->card, context);
    ct_value_set(map, "methods", texts(context, claim->methods));
    ct_value_set(map, "fast", ct_value_bool(context, claim->fast));
    return map;
}

static void set_verdict(ct_value *result, ct_claim_verdict verdict, const char *reason, ct_context *context) {
    ct_claim_put_text(result, "verdict", ct_claim_verdict_name(verdict), context);
    if (reason) ct_claim_put_text(result, "reason", reason, context);
}

ct_value *ct_claim_failure(ct_context *context, const ct_claim *claim, const char *message) {
    char build[17];
    ct_value *result = result_start(context, claim);
    if (!result) return NULL;
    set_verdict(result, CT_CLAIM_FAILED, message, context);
    ct_value_set(result, "run", circumstances(context, ct_claim_build(build), NAN));
    if (!ct_failed(context)) return result;
    ct_value_free(result);
    return NULL;
}

static ct_value *skipped(ct_context *context, const ct_claim *claim, const char *file, const char *folder) {
    char reason[512], build[17];
    ct_value *result = result_start(context, claim);
    if (!result) return NULL;
    snprintf(reason, sizeof(reason), "there is no %s in %s (--data FOLDER, or CARAT_DATA)", file, folder);
    set_verdict(result, CT_CLAIM_SKIPPED, reason, context);
    ct_value_set(result, "run", circumstances(context, ct_claim_build(build), 0));
    return result;
}

/* -------------------------------------------------------------------------------------------- running */

static void run_start(ct_claim_run *run, ct_context *context, const ct_claim *claim,
                      const ct_claim_settings *settings) {
    *run = (ct_claim_run){.context = context, .claim = claim, .settings = *settings};
    run->seeds = settings->seeds > 0 ? (int)settings->seeds : claim->seeds > 0 ? claim->seeds : 1;
    run->started = ct_seconds();
    ct_claim_build(run->build);
    run->deadline = settings->limit > 0 ? run->started + 60 * settings->limit : INFINITY;
    run->checks = ct_value_list(context);
    run->tables = ct_value_list(context);
    run->plots = ct_value_list(context);
    run->notes = ct_value_list(context);
}

static void run_end(ct_claim_run *run) {
    while (run->resource_count > 0) {
        ct_claim_resource last = run->resources[--run->resource_count];
        last.release(run->context, last.object);
    }
    ct_free(run->context, run->resources);
    ct_value_free(run->checks);
    ct_value_free(run->tables);
    ct_value_free(run->plots);
    ct_value_free(run->notes);
}

static ct_value *seeds_of(const ct_claim_run *run) {
    ct_value *list = ct_value_list(run->context);
    for (int i = 0; list && i < run->seeds; i++)
        ct_value_append(list, ct_value_int(run->context, (int64_t)ct_claim_seed(run, i)));
    return list;
}

/* Moves a list of the run into the result. */
static void hand_over(ct_value *result, const char *key, ct_value **list) {
    ct_value_set(result, key, *list);
    *list = NULL;
}

static ct_value *finish(ct_claim_run *run, ct_status status, const char *message) {
    ct_context *context = run->context;
    ct_value *result = result_start(context, run->claim);
    if (!result) return NULL;
    if (status != CT_OK)
        set_verdict(result, CT_CLAIM_FAILED, message, context);
    else if (ct_value_count(run->checks) == 0)
        set_verdict(result, CT_CLAIM_FAILED, "it checks nothing", context);
    else
        set_verdict(result, run->failed_checks ? CT_CLAIM_DOES_NOT_HOLD : CT_CLAIM_HOLDS, NULL, context);
    ct_value_set(result, "seeds", seeds_of(run));
    hand_over(result, "checks", &run->checks);
    hand_over(result, "tables", &run->tables);
    hand_over(result, "notes", &run->notes);
    hand_over(result, "plots", &run->plots);
    ct_value_set(result, "run", circumstances(context, run->build, ct_seconds() - run->started));
    return result;
}

static ct_value *run_claim(ct_context *context, const ct_claim *claim, const ct_claim_settings *settings) {
    ct_claim_run run;
    ct_try trial;
    char message[512] = "";
    ct_value *result = NULL;
    run_start(&run, context, claim, settings);
    ct_try_begin(context, &trial);
    ct_status returned = claim->run(&run), status = ct_try_end(context, &trial, message, sizeof(message));
    if (status == CT_OK && returned != CT_OK && returned != CT_ERROR_INTERRUPTED) {
        status = returned;
        snprintf(message, sizeof(message), "it ended with the status %s", ct_status_name(returned));
    }
    bool interrupted =
        status == CT_ERROR_INTERRUPTED || (status == CT_OK && returned == CT_ERROR_INTERRUPTED);
    if (!interrupted && !ct_failed(context)) result = finish(&run, status, message);
    run_end(&run);
    if (result && ct_failed(context)) {
        ct_value_free(result);
        result = NULL;
    }
    return result;
}

ct_value *ct_claim_perform(ct_context *context, const ct_claim *claim, const ct_claim_settings *settings) {
    if (ct_failed(context)) return NULL;
    if (claim->abi != CT_CLAIM_ABI)
        return ct_claim_failure(context, claim, "it was built for another version of claim.h");
    char *folder = NULL;
    const char *missing = missing_file(context, claim, settings, &folder);
    ct_value *result = NULL;
    if (missing)
        result = skipped(context, claim, missing, folder);
    else if (folder)
        result = run_claim(context, claim, settings);
    ct_free(context, folder);
    return result;
}
