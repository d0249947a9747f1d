/* claims.c - carat claims: runs the claims, shows their verdicts, writes claims.json and claims.html. */
#include "cli/claims.h"
#include "cli/report.h"
#include <string.h>

typedef struct claims_flags {
    int64_t jobs;
    bool list, fast, resume, strict, in_process;
    const char *out;
} claims_flags;

static const ct_option flags_table[] = {
    CT_OPTION_INT("jobs", claims_flags, jobs, 1, 1, 64, "claims at once, each with its share of the threads"),
    CT_OPTION_BOOL("list", claims_flags, list, false, "list the claims instead of running them"),
    CT_OPTION_BOOL("fast", claims_flags, fast, false, "only those that take some seconds"),
    CT_OPTION_STRING("out", claims_flags, out, NULL,
                     "folder for claims.json and claims.html, written after every claim"),
    CT_OPTION_BOOL("resume", claims_flags, resume, false,
                   "keep the results in the folder of --out that this build reached with the same seeds"),
    CT_OPTION_BOOL("strict", claims_flags, strict, false, "exit code 1 also if a claim does not hold"),
    CT_OPTION_BOOL("in_process", claims_flags, in_process, false,
                   "run in this process and print one line of JSON a claim: what --jobs starts"),
    CT_OPTION_END};

/* A run of the verb: what is to be done, and the results there are, by the position of their claim in the
 * table. */
typedef struct session {
    ct_cli *cli;
    claims_flags flags;
    ct_claim_settings settings;
    const ct_claim **wanted;
    size_t wanted_count, table_count;
    ct_value **results; /* [table_count] */
} session;

/* ------------------------------------------------------------------------------------------- choosing */

static size_t position_of(const char *name) {
    size_t i = 0;
    while (ct_claims[i] && strcmp(ct_claims[i]->name, name) != 0)
        i++;
    return i;
}

static int unknown_claim(ct_cli *cli, const char *name) {
    const char *names[512], *near;
    size_t count = 0;
    for (; ct_claims[count] && count < 512; count++)
        names[count] = ct_claims[count]->name;
    near = ct_nearest_name(name, names, count);
    if (near) return ct_cli_usage(cli, "there is no claim \"%s\"; did you mean \"%s\"?", name, near);
    return ct_cli_usage(cli, "there is no claim \"%s\" (carat claims --list)", name);
}

static bool is_wanted(const session *s, size_t claim) {
    const ct_cli *cli = s->cli;
    if (s->flags.fast && !ct_claims[claim]->fast) return false;
    for (int i = 0; i < cli->positional_count; i++)
        if (position_of(cli->positional[i]) == claim) return true;
    return cli->positional_count == 0;
}

/* Fills what is wanted, in the order of the table. */
static int choose(session *s) {
    ct_context *context = s->cli->context;
    while (ct_claims[s->table_count])
        s->table_count++;
    for (int i = 0; i < s->cli->positional_count; i++)
        if (position_of(s->cli->positional[i]) == s->table_count)
            return unknown_claim(s->cli, s->cli->positional[i]);
    s->wanted = ct_alloc_zero(context, (s->table_count + 1) * sizeof(*s->wanted), CT_MEMORY_OTHER);
    s->results = ct_alloc_zero(context, (s->table_count + 1) * sizeof(*s->results), CT_MEMORY_OTHER);
    if (!s->wanted || !s->results) return ct_cli_finish(s->cli);
    for (size_t i = 0; i < s->table_count; i++)
        if (is_wanted(s, i)) s->wanted[s->wanted_count++] = ct_claims[i];
    return 0;
}

static int print_list(session *s) {
    ct_context *context = s->cli->context;
    ct_value *list = s->cli->json ? ct_value_list(context) : NULL;
    for (size_t i = 0; i < s->wanted_count; i++) {
        const ct_claim *claim = s->wanted[i];
        if (!s->cli->json) {
            printf("%-22s %5.1f min  %s%s\n", claim->name, claim->minutes, claim->sentence,
                   claim->fast ? " (fast)" : "");
            continue;
        }
        ct_value *map = ct_value_map(context);
        if (!map) break;
        ct_cli_put_text(map, "name", claim->name, context);
        ct_cli_put_text(map, "claim", claim->sentence, context);
        ct_cli_put_real(map, "minutes", claim->minutes, context);
        ct_value_set(map, "fast", ct_value_bool(context, claim->fast));
        ct_value_append(list, map);
    }
    if (s->cli->json) ct_cli_print_json(s->cli, list);
    return ct_cli_finish(s->cli);
}

/* ---------------------------------------------------------------------------------------------- files */

/* The results there are as a summary; a new value. */
static ct_value *summary_of(const session *s) {
    ct_value *list = ct_value_list(s->cli->context);
    for (size_t i = 0; list && i < s->table_count; i++)
        if (s->results[i]) ct_value_append(list, ct_value_copy(s->results[i]));
    return list ? ct_claim_summary(s->cli->context, list) : NULL;
}

static void write_files(const session *s) {
    ct_context *context = s->cli->context;
    if (!s->flags.out || ct_failed(context)) return;
    ct_value *summary = summary_of(s);
    char *json = ct_path_join(context, s->flags.out, "claims.json");
    char *page = ct_path_join(context, s->flags.out, "claims.html");
    if (summary && json && page &&
        ct_json_write(context, json, summary, CT_JSON_PRETTY | CT_JSON_STRICT) == CT_OK)
        ct_claim_write_page(context, summary, page);
    ct_free(context, json);
    ct_free(context, page);
    ct_value_free(summary);
}

/* Whether a result is what this program would reach again. */
static bool is_current(const session *s, const ct_claim *claim, const ct_value *result) {
    char build[17];
    ct_claim_verdict verdict = ct_claim_result_verdict(result);
    const ct_value *seeds = ct_value_get(result, "seeds");
    int64_t expected = s->settings.seeds > 0 ? s->settings.seeds : claim->seeds;
    const char *by = ct_value_as_string(ct_value_get_path(result, "run.build"), "");
    return (verdict == CT_CLAIM_HOLDS || verdict == CT_CLAIM_DOES_NOT_HOLD) && *ct_claim_build(build) &&
           strcmp(build, by) == 0 && (int64_t)ct_value_count(seeds) == expected &&
           ct_value_as_int(ct_value_at(seeds, 0), -1) == s->settings.first_seed;
}

/* Takes over what the folder has, and leaves only the others wanted. */
static void resume(session *s) {
    ct_context *context = s->cli->context;
    char *path = ct_path_join(context, s->flags.out, "claims.json");
    ct_value *before = path && ct_file_exists(path) ? ct_json_read(context, path) : NULL;
    for (size_t i = 0; before && i < s->table_count; i++) {
        const ct_value *result = ct_claim_result_named(before, ct_claims[i]->name);
        if (result && is_current(s, ct_claims[i], result)) s->results[i] = ct_value_copy(result);
    }
    size_t left = 0;
    for (size_t i = 0; i < s->wanted_count; i++)
        if (!s->results[position_of(s->wanted[i]->name)]) s->wanted[left++] = s->wanted[i];
    if (before)
        ct_cli_say(s->cli, "%zu of %zu claims are done already", s->wanted_count - left, s->wanted_count);
    s->wanted_count = left;
    ct_value_free(before);
    ct_free(context, path);
}

/* -------------------------------------------------------------------------------------------- running */

static void take_result(void *user, ct_value *result) {
    session *s = user;
    size_t at = position_of(ct_value_as_string(ct_value_get(result, "name"), ""));
    char *text = s->cli->quiet || s->cli->json ? NULL : ct_claim_result_text(s->cli->context, result);
    if (text) ct_cli_say(s->cli, "%s", text);
    ct_free(s->cli->context, text);
    if (at < s->table_count) {
        ct_value_free(s->results[at]);
        s->results[at] = result;
    } else {
        ct_value_free(result);
    }
    write_files(s);
}

static int run_here(session *s) {
    ct_claim_jobs_end_with_parent();
    for (size_t i = 0; i < s->wanted_count; i++) {
        ct_value *result = ct_claim_perform(s->cli->context, s->wanted[i], &s->settings);
        if (!result) return ct_failed(s->cli->context) ? ct_cli_finish(s->cli) : CT_EXIT_FAILED;
        ct_cli_print_json(s->cli, result);
    }
    return ct_cli_finish(s->cli);
}

static void say_counts(const session *s, const ct_value *summary) {
    const ct_value *counts = ct_value_get(summary, "counts");
    ct_cli_say(s->cli, "%lld hold, %lld do not hold, %lld skipped, %lld failed",
               (long long)ct_value_as_int(ct_value_get(counts, "holds"), 0),
               (long long)ct_value_as_int(ct_value_get(counts, "does_not_hold"), 0),
               (long long)ct_value_as_int(ct_value_get(counts, "skipped"), 0),
               (long long)ct_value_as_int(ct_value_get(counts, "failed"), 0));
    if (s->flags.out) ct_cli_say(s->cli, "%s/claims.html and claims.json have the whole of it", s->flags.out);
}

static int conclude(session *s, bool interrupted) {
    ct_value *summary = summary_of(s);
    if (!summary) return ct_cli_finish(s->cli);
    const ct_value *counts = ct_value_get(summary, "counts");
    bool failed = ct_value_as_int(ct_value_get(counts, "failed"), 0) > 0;
    bool refuted = ct_value_as_int(ct_value_get(counts, "does_not_hold"), 0) > 0;
    say_counts(s, summary);
    if (s->cli->json)
        ct_cli_print_json(s->cli, summary);
    else
        ct_value_free(summary);
    if (interrupted)
        fprintf(stderr, "carat claims: interrupted%s\n",
                s->flags.out ? "; what is done is kept, --resume goes on"
                             : "; with --out and --resume it could go on");
    int code = ct_cli_finish(s->cli);
    if (code != CT_EXIT_DONE) return code;
    return failed || interrupted || (refuted && s->flags.strict) ? CT_EXIT_FAILED : CT_EXIT_DONE;
}

static int run_all(session *s) {
    ct_context *context = s->cli->context;
    const ct_claim_jobs how = {s->cli, &s->settings, (int)s->flags.jobs, take_result, s};
    if (s->flags.out && ct_folder_make(context, s->flags.out) != CT_OK) return ct_cli_finish(s->cli);
    if (s->flags.resume) resume(s);
    if (ct_failed(context)) return ct_cli_finish(s->cli);
    ct_status status = ct_claim_jobs_run(&how, s->wanted, s->wanted_count);
    if (ct_failed(context)) return ct_cli_finish(s->cli);
    write_files(s);
    return conclude(s, status == CT_ERROR_INTERRUPTED);
}

static int run(ct_cli *cli) {
    session s = {.cli = cli};
    if (ct_cli_options(cli, flags_table, &s.flags) != CT_OK ||
        ct_cli_options(cli, ct_claim_settings_table, &s.settings) != CT_OK)
        return ct_cli_finish(cli);
    if (s.flags.resume && !s.flags.out)
        return ct_cli_usage(cli, "--resume needs the folder of the results, --out DIR");
    int code = choose(&s);
    if (code == 0) code = s.flags.list ? print_list(&s) : s.flags.in_process ? run_here(&s) : run_all(&s);
    for (size_t i = 0; s.results && i < s.table_count; i++)
        ct_value_free(s.results[i]);
    ct_free(cli->context, s.results);
    ct_free(cli->context, s.wanted);
    return code;
}

static const char *const examples[] = {"carat claims --list", "carat claims --list --json", NULL};

const ct_verb ct_verb_claims = {.name = "claims",
                                .arguments = "[NAME ...]",
                                .summary = "Show by experiment what methods do: run the claims",
                                .details = "A claim HOLDS, DOES NOT HOLD, is SKIPPED because its data is "
                                           "missing, or FAILED with an error. The exit code is 1\n"
                                           "if one failed or the run was interrupted; with --strict also if "
                                           "one does not hold. Ctrl-C keeps what is done.",
                                .tables = {flags_table, ct_claim_settings_table},
                                .least = 0,
                                .most = -1,
                                .examples = examples,
                                .run = run};
