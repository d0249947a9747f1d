/* plan.h - planning: what to run, and what to stop. */
#ifndef CARAT_PLAN_H
#define CARAT_PLAN_H

#include <carat/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* runs-judge: of fine-tuning runs that go on at the same time, which to stop early. From Pareja et al.,
 * arXiv:2412.13337: of runs on the same data, a lower gradient norm and a HIGHER loss early on (as large
 * batches and low rates give) went with the better model at the end. A heuristic, seen with models of 3 to 7
 * thousand million parameters. */
typedef struct ct_judged_run {
    char *name;               /* of the folder */
    double samples;           /* seen at the last line that counts */
    double gradient_norm;     /* smoothed */
    double loss;              /* smoothed */
    int norm_rank, loss_rank; /* from 1, the best: lowest norm, highest loss */
    bool stop;                /* the worst in both */
} ct_judged_run;
typedef struct ct_judgement {
    double at; /* samples up to which the logs count */
    int count;
    ct_judged_run *runs; /* by name */
} ct_judgement;

typedef struct ct_judge_options {
    double fraction; /* of all samples of a run, where their number is known (max_steps, or a finished run) */
    int64_t at;      /* the same as a number of samples; 0: by fraction */
    double smoothing; /* of the exponential average over logged steps: value = smoothing value + (1 -
                         smoothing) new */
} ct_judge_options;
extern const ct_option ct_judge_table[];

/* Judges the runs in the folders below `folder` that hold train.jsonl and recipe.yaml. At least two; of the
 * same data, task and loss_normalization, else CT_ERROR_ARGUMENT names the runs that differ. Free with
 * ct_judgement_free. */
ct_status ct_plan_judge_runs(ct_context *context, const char *folder, const ct_judge_options *options,
                             ct_judgement *judgement);
void ct_judgement_free(ct_context *context, ct_judgement *judgement);

#ifdef __cplusplus
}
#endif
#endif
