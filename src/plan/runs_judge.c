/* runs_judge.c - which of several fine-tuning runs look worst early on, by gradient norm and loss (plan.h).
 */
#include <carat/format.h>
#include <carat/plan.h>
#include <math.h>
#include <string.h>

enum { LINE_LIMIT = 1 << 20, MOST_RUNS = 4096 };

const ct_option ct_judge_table[] = {
    CT_OPTION_REAL("fraction", ct_judge_options, fraction, 0.15, 0.001, 1,
                   "of all samples, at which runs are judged"),
    CT_OPTION_INT("at", ct_judge_options, at, 0, 0, 1e15,
                  "samples at which runs are judged; 0: as fraction says"),
    CT_OPTION_REAL("smoothing", ct_judge_options, smoothing, 0.9, 0, 0.9999,
                   "how much of the average over earlier steps each logged step keeps"),
    CT_OPTION_END};

/* One run: its folder, recipe, and how many samples all its steps have (NAN: not known). */
typedef struct run {
    char *path, *name;
    ct_value *recipe;
    double rows, total;
} run;

typedef struct judge {
    ct_context *context;
    const ct_judge_options *options;
    run *runs;
    int opened; /* also the one whose opening failed */
    ct_judgement *result;
} judge;

static double number(const ct_value *map, const char *key) {
    return ct_value_as_real(ct_value_get(map, key), NAN);
}

static bool holds(ct_context *context, const char *folder, const char *name) {
    char *path = ct_path_join(context, folder, name);
    bool there = path && ct_file_exists(path);
    ct_free(context, path);
    return there;
}

static ct_value *document_in(ct_context *context, const char *folder, const char *name) {
    char *path = ct_path_join(context, folder, name);
    ct_value *value = path ? ct_document_read(context, path) : NULL;
    ct_free(context, path);
    return value;
}

/* ------------------------------------------------------------------------------------------- reading */

static ct_status open_run(judge *j, const char *path, const char *name) {
    ct_context *context = j->context;
    run *r = &j->runs[j->opened++];
    r->recipe = document_in(context, path, "recipe.yaml");
    r->path = ct_strdup(context, path);
    r->name = ct_strdup(context, name);
    if (!r->recipe || !r->path || !r->name) return ct_context_status(context);
    r->rows =
        number(r->recipe, "per_device_train_batch_size") * number(r->recipe, "gradient_accumulation_steps");
    double steps = number(r->recipe, "max_steps");
    if (!(steps > 0) && holds(context, path, "report.json")) {
        ct_value *report = document_in(context, path, "report.json");
        steps = number(report, "steps");
        ct_value_free(report);
    }
    r->total = steps > 0 ? steps * r->rows : NAN;
    return ct_context_status(context);
}

static ct_status find_runs(judge *j, const char *folder) {
    ct_context *context = j->context;
    ct_value *names = ct_folder_list(context, folder);
    size_t count = ct_value_count(names);
    if (count > MOST_RUNS) count = MOST_RUNS;
    j->runs = names ? ct_alloc_zero(context, (count + 1) * sizeof(run), CT_MEMORY_OTHER) : NULL;
    for (size_t i = 0; j->runs && i < count && !ct_failed(context); i++) {
        const char *name = ct_value_as_string(ct_value_at(names, i), "");
        char *path = ct_path_join(context, folder, name);
        if (path && holds(context, path, "train.jsonl")) open_run(j, path, name);
        ct_free(context, path);
    }
    ct_value_free(names);
    if (!ct_failed(context) && j->opened < 2)
        ct_fail(context, CT_ERROR_ARGUMENT,
                "%s: %d of its folders hold a train.jsonl, expected two runs at least to compare", folder,
                j->opened);
    return ct_context_status(context);
}

static ct_status check_same(const judge *j) {
    static const char *const keys[] = {"data.train", "phases", "phase_replay", "task",          "loss_normalization",
                                       "assistant_only_loss", "chat_template", "packing"};
    for (int i = 1; i < j->opened; i++)
        for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
            if (!ct_value_equal(ct_value_get_path(j->runs[0].recipe, keys[k]),
                                ct_value_get_path(j->runs[i].recipe, keys[k])))
                return ct_fail(j->context, CT_ERROR_ARGUMENT,
                               "runs %s and %s differ in %s: only runs on the same data with the same loss "
                               "can be judged "
                               "against each other",
                               j->runs[0].name, j->runs[i].name, keys[k]);
    return CT_OK;
}

/* The least of what the runs will have seen decides, so that all are judged after as many samples. */
static ct_status settle_place(const judge *j) {
    double total = INFINITY;
    j->result->at = (double)j->options->at;
    if (j->options->at > 0) return CT_OK;
    for (int i = 0; i < j->opened; i++) {
        if (isnan(j->runs[i].total))
            return ct_fail(
                j->context, CT_ERROR_ARGUMENT,
                "run %s: how many samples it will see is not known before it ends (no max_steps); say --at "
                "SAMPLES",
                j->runs[i].name);
        if (j->runs[i].total < total) total = j->runs[i].total;
    }
    j->result->at = j->options->fraction * total;
    return CT_OK;
}

/* ------------------------------------------------------------------------------------------- judging */

static void smooth(double *average, double value, double keep) {
    *average = isnan(*average) ? value : keep * *average + (1 - keep) * value;
}

/* The first line counts in any case, so that sparse logs can be judged. */
static ct_status follow(const judge *j, int index) {
    ct_context *context = j->context;
    ct_judged_run *out = &j->result->runs[index];
    char *path = ct_path_join(context, j->runs[index].path, "train.jsonl");
    ct_jsonl *reader = path ? ct_jsonl_open(context, path, LINE_LIMIT) : NULL;
    out->gradient_norm = out->loss = NAN;
    for (ct_value *line; reader && !ct_failed(context) && (line = ct_jsonl_next(reader));) {
        double norm = number(line, "grad_norm"), loss = number(line, "loss"),
               samples = number(line, "samples");
        if (isnan(samples)) samples = number(line, "step") * j->runs[index].rows;
        bool counts = isfinite(norm) && isfinite(loss) && isfinite(samples);
        if (counts && (samples <= j->result->at || isnan(out->loss))) {
            smooth(&out->gradient_norm, norm, j->options->smoothing);
            smooth(&out->loss, loss, j->options->smoothing);
            out->samples = samples;
        }
        ct_value_free(line);
    }
    ct_jsonl_close(reader);
    if (!ct_failed(context) && isnan(out->loss))
        ct_fail(context, CT_ERROR_FORMAT, "%s: no line has loss and grad_norm", path);
    ct_free(context, path);
    return ct_context_status(context);
}

/* Ranks are 1 + the runs that are better; equal runs share one. */
static void rank(ct_judgement *result) {
    int worst_norm = 1, worst_loss = 1;
    for (int i = 0; i < result->count; i++) {
        ct_judged_run *r = &result->runs[i];
        r->norm_rank = r->loss_rank = 1;
        for (int k = 0; k < result->count; k++) {
            r->norm_rank += result->runs[k].gradient_norm < r->gradient_norm;
            r->loss_rank += result->runs[k].loss > r->loss;
        }
        if (r->norm_rank > worst_norm) worst_norm = r->norm_rank;
        if (r->loss_rank > worst_loss) worst_loss = r->loss_rank;
    }
    for (int i = 0; i < result->count; i++) {
        ct_judged_run *r = &result->runs[i];
        r->stop =
            worst_norm > 1 && worst_loss > 1 && r->norm_rank == worst_norm && r->loss_rank == worst_loss;
    }
}

static ct_status judge_all(judge *j) {
    j->result->runs = ct_alloc_zero(j->context, (size_t)j->opened * sizeof(ct_judged_run), CT_MEMORY_OTHER);
    if (!j->result->runs) return CT_ERROR_MEMORY;
    j->result->count = j->opened;
    for (int i = 0; i < j->opened; i++) {
        if (follow(j, i) != CT_OK) return ct_context_status(j->context);
        j->result->runs[i].name = j->runs[i].name; /* taken over */
        j->runs[i].name = NULL;
    }
    rank(j->result);
    return CT_OK;
}

ct_status ct_plan_judge_runs(ct_context *context, const char *folder, const ct_judge_options *options,
                             ct_judgement *judgement) {
    judge j = {context, options, NULL, 0, judgement};
    *judgement = (ct_judgement){0};
    if (ct_failed(context)) return ct_context_status(context);
    ct_status status = find_runs(&j, folder);
    if (status == CT_OK) status = check_same(&j);
    if (status == CT_OK) status = settle_place(&j);
    if (status == CT_OK) status = judge_all(&j);
    for (int i = 0; i < j.opened; i++) {
        ct_value_free(j.runs[i].recipe);
        ct_free(context, j.runs[i].path);
        ct_free(context, j.runs[i].name);
    }
    ct_free(context, j.runs);
    if (status != CT_OK) ct_judgement_free(context, judgement);
    return status;
}

void ct_judgement_free(ct_context *context, ct_judgement *judgement) {
    for (int i = 0; i < judgement->count; i++)
        ct_free(context, judgement->runs[i].name);
    ct_free(context, judgement->runs);
    *judgement = (ct_judgement){0};
}
