/* claim.h - claims: small experiments that show whether a method does what its paper says.
 *
 * A claim is one `const` value in a file of its own, claims/NAME.c (docs/claims.md has an example). The build
 * collects them in a table of the command `carat claims`; the library holds what they share: seeds, paired
 * runs with the same tuning for every arm, tables, plots, checks with a stated margin and a confidence
 * interval, verdicts, JSON and a page, and two training drivers. A claim is a function of its seeds: two runs
 * give the same result, whatever the machine, the number of threads or the order of claims (only times and
 * the name of the machine differ).
 *
 * Whatever a claim is given by its run (strings, values, arrays) lives as long as the run. Texts are UTF-8.
 */
#ifndef CARAT_CLAIM_H
#define CARAT_CLAIM_H

#include <carat/data.h>
#include <carat/model.h>
#include <carat/optimizer.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CT_CLAIM_ABI 1

typedef struct ct_claim_run ct_claim_run;

typedef struct ct_claim {
    int abi;                    /* CT_CLAIM_ABI */
    const char *name;           /* the file's name without .c */
    const char *const *methods; /* what it is about: "optimizer/adamp", ..., NULL. NULL: no single method */
    const char *card;           /* "training/109-adamp"; NULL: an everyday fact that no card asks for */
    const char *paper;          /* "Heo et al., 2021, arXiv:2006.08217" */
    const char *sentence;       /* the claim in one sentence */
    const char *reported;       /* what the paper reports, with its numbers where they are certain */
    double minutes;             /* expected, on two cores */
    bool fast;                  /* within some 20 seconds: also run by continuous integration */
    int seeds;                  /* how many runs of each arm, at least 1; a user may ask for others */
    const char *const
        *data; /* files it needs below the data folder, "mnist/train-images-idx3-ubyte.gz", ..., NULL.
                  NULL: none. Without one of them the claim is skipped, which is not holding */
    /* The experiment. CT_OK whether the claim holds or not; anything else is FAILED with the context's
     * message. */
    ct_status (*run)(ct_claim_run *run);
} ct_claim;

/* Every `const ct_claim ct_claim_NAME = {` of claims/, NULL-terminated, by name. Made by the build for the
 * command; not in the library. */
extern const ct_claim *const ct_claims[];

/* -------------------------------------------------------------------------------- what a run gives ----- */

ct_context *ct_claim_context(const ct_claim_run *run);
const ct_claim *ct_claim_of(const ct_claim_run *run);
/* How many runs of each arm, and the seed of run `index` from 0. Take all randomness from these. */
int ct_claim_seeds(const ct_claim_run *run);
uint64_t ct_claim_seed(const ct_claim_run *run, int index);
/* The whole path of a file of the data folder. NULL on error. */
const char *ct_claim_data(ct_claim_run *run, const char *name);
/* A value from YAML text made like printf: ct_claim_yaml(run, "{model_type: mlp, sizes: [784, %d, 10]}",
 * width). */
const ct_value *ct_claim_yaml(ct_claim_run *run, const char *format, ...) CT_PRINTF(2, 3);
/* Zeroed memory of the run. NULL on error. */
void *ct_claim_memory(ct_claim_run *run, size_t size);
/* CT_OK unless the context failed, a stop was requested (CT_ERROR_INTERRUPTED) or the run is over its time
 * (CT_ERROR_STATE); to be asked now and then in loops of a claim's own. The drivers ask at every step. */
ct_status ct_claim_continue(ct_claim_run *run);
/* A folder for files of the run, which goes when the run ends; the same at every call. NULL on error. */
const char *ct_claim_folder(ct_claim_run *run);
/* Short words on what is done at the moment, for the progress line: "batch norm, seed 2". */
void ct_claim_say(ct_claim_run *run, const char *format, ...) CT_PRINTF(2, 3);

/* ------------------------------------------------------------------------------- what a run reports ----- */

/* A remark below the tables: what differs from the paper's experiment, what else was seen. */
void ct_claim_note(ct_claim_run *run, const char *format, ...) CT_PRINTF(2, 3);

/* A table. Columns are named with their unit ("accuracy", "%"; NULL: none) and rounded to `digits` decimals
 * where they are shown (JSON has all digits). Returns the table's number, -1 on error. */
typedef struct ct_claim_column {
    const char *name, *unit;
    int digits;
} ct_claim_column;
int ct_claim_table(ct_claim_run *run, const char *title, const ct_claim_column *columns, int count);
/* A row: a value for each column; NAN is an empty cell, or what a diverged run gave. `paper` (NULL: nothing)
 * are the paper's or card's values for the same columns, NAN where there is none; they are shown beside ours.
 */
ct_status ct_claim_row(ct_claim_run *run, int table, const char *label, const double *values,
                       const double *paper);

/* A plot for the page, as in plot.h. Returns its number, -1 on error. Series are thinned evenly to 200
 * points. */
int ct_claim_plot(ct_claim_run *run, const char *title, const char *x_label, bool x_logarithmic,
                  const char *y_label, bool y_logarithmic);
ct_status ct_claim_series(ct_claim_run *run, int plot, const char *name, const double *x, const double *y,
                          int64_t count);

/* ------------------------------------------------------------------------------------- statistics ----- */

/* The value that Student's t with `degrees` > 0 of freedom stays below with `probability` in (0, 1); NAN
 * else. */
double ct_student_quantile(double probability, double degrees);

/* Mean, standard deviation (divisor count - 1) and the two-sided Student t interval of the mean. One value
 * has no interval (deviation, low and high are NAN); with a value that is not finite all are NAN. */
typedef struct ct_claim_interval {
    int count;
    double mean, deviation, low, high, confidence;
} ct_claim_interval;
ct_claim_interval ct_claim_interval_of(const double *values, int count, double confidence);

/* --------------------------------------------------------------------------------------- checks ----- */

/* How a measured value must stand to its bound. The margin of a check is how far it is from failing, in the
 * unit of the measure: bound - measured for LESS and AT_MOST, measured - bound for GREATER and AT_LEAST,
 * bound - |measured| for WITHIN; negative where it does not hold, NAN (which never holds) if a number is NAN.
 */
typedef enum ct_relation { CT_LESS, CT_AT_MOST, CT_AT_LEAST, CT_GREATER, CT_WITHIN } ct_relation;

/* Each check is one line of the verdict; a claim HOLDS if it has checks and all of them hold. `what` says
 * what was measured, with its unit: "test accuracy, LN - BN, points". All return CT_OK also where the check
 * does not hold. */
ct_status ct_claim_check(ct_claim_run *run, const char *what, double measured, ct_relation relation,
                         double bound);
/* Every one of `values` (each seed's): the worst of them is shown. */
ct_status ct_claim_check_each(ct_claim_run *run, const char *what, const double *values, int count,
                              ct_relation relation, double bound);

/* Over seeds. CT_BY_MEAN: the mean must satisfy the relation (cards state most thresholds so); the interval
 * is shown beside it, and the line says if the bound lies inside the interval: then the seeds do not settle
 * the matter. CT_BY_INTERVAL: the whole 95 % interval must. */
typedef enum ct_claim_rule { CT_BY_MEAN, CT_BY_INTERVAL } ct_claim_rule;
ct_status ct_claim_check_mean(ct_claim_run *run, const char *what, const double *values, int count,
                              ct_claim_rule rule, ct_relation relation, double bound);
/* The same for the paired differences method[i] - baseline[i], i being the seed. */
ct_status ct_claim_check_paired(ct_claim_run *run, const char *what, const double *method,
                                const double *baseline, int count, ct_claim_rule rule, ct_relation relation,
                                double bound);

/* ------------------------------------------------------------------------------------ paired runs ----- */

#define CT_CLAIM_ARMS 12

/* One training run. `setting` is grid[point] (NAN without a grid). */
typedef struct ct_claim_trial {
    ct_claim_run *run;
    void *user;
    int arm, point;
    double setting;
    uint64_t seed;
    int seed_index; /* of the measured runs, from 0; -1 in a tuning run */
} ct_claim_trial;
/* Trains arm `trial->arm` and gives `score` (by which the grid point is chosen: of validation data) and
 * `value` (what is measured: of test data, or the same). A diverged run gives NAN: as a score it is the
 * worst, and as a value no check on it holds; where a paper's claim is about divergence, give the value that
 * chance would (log of the classes). */
typedef ct_status (*ct_claim_trial_function)(const ct_claim_trial *trial, double *score, double *value);

/* Baseline and methods get the same: data, steps, seeds, and as many tuning runs on the same grid. Each arm
 * is tuned by the mean score over `tuning_seeds` seeds of its own (never those that are measured), then
 * measured with the run's seeds at the point it chose. A note is made where the best point is an end of the
 * grid. Adds a table with a row for each arm: mean, deviation, interval, chosen setting; with `tuning_table`
 * also one of the scores of the grid. */
typedef struct ct_claim_comparison {
    const char *measure, *unit; /* "test accuracy", "%"; unit may be NULL */
    int digits;
    bool lower_is_better;
    const char *arms[CT_CLAIM_ARMS]; /* names; arm 0 is the baseline; NULL-terminated */
    double paper[CT_CLAIM_ARMS];     /* the paper's or card's value for each arm; NAN or 0: none */
    const char *setting;             /* what the grid is of, "learning_rate"; NULL: no tuning */
    const double *grid;
    int grid_count;
    int tuning_seeds; /* 0: 1 */
    bool tuning_table;
    ct_claim_trial_function trial;
    void *user;
} ct_claim_comparison;

typedef struct ct_claim_outcome {
    int arms, seeds;
    double *value[CT_CLAIM_ARMS]; /* [seeds] of each arm, of the run's memory */
    double mean[CT_CLAIM_ARMS];
    int point[CT_CLAIM_ARMS]; /* chosen; 0 without a grid */
    double setting[CT_CLAIM_ARMS];
    double *score[CT_CLAIM_ARMS];  /* [grid_count] mean tuning score of each point; NULL without a grid */
    int64_t trials[CT_CLAIM_ARMS]; /* runs that each arm got: all equal */
} ct_claim_outcome;
ct_status ct_claim_compare(ct_claim_run *run, const ct_claim_comparison *how, ct_claim_outcome *outcome);

/* ------------------------------------------------------------------------ drivers: what they share ----- */

/* After every step; the weights have just changed. */
typedef struct ct_claim_step {
    int64_t step; /* from 1, over all calls that trained this learner */
    double loss, learning_rate;
    double gradient_norm; /* before clipping */
    ct_model *model;
    ct_optimizer *optimizer;
} ct_claim_step;
/* Anything but CT_OK ends training with that error; CT_ERROR_INTERRUPTED without a recorded error ends it
 * early as if it were the last step. */
typedef ct_status (*ct_claim_observer)(void *user, const ct_claim_step *step);

/* What a training call gives back. A loss or gradient that is not finite ends it: then `diverged` is set, the
 * losses are NAN and the status is CT_OK; further training of the learner does nothing and evaluation gives
 * NAN. */
typedef struct ct_claim_progress {
    int64_t steps;                /* done in this call */
    double first_loss, last_loss; /* of this call's steps */
    double mean_loss;             /* over the last tenth of its steps (at least one) */
    bool diverged;
} ct_claim_progress;

/* --------------------------------------------------------------- driver: networks on rows of arrays ----- */

/* A network on rows of arrays: any architecture with one input tensor, by its config.json map, an optimizer
 * and a schedule by name, as `carat train` takes them. What is 0 or NULL is: adamw without options, constant
 * schedule, no warmup, no decay, no clipping. Biases and gains of norms have no weight decay. */
typedef struct ct_claim_network {
    const ct_value *model; /* {model_type: mlp, sizes: [...]}: ct_claim_yaml */
    const char *optimizer;
    const ct_value *optimizer_options;
    const ct_value *links; /* around the optimizer, as optimizer_links of a recipe: [nap] */
    double learning_rate, weight_decay, max_grad_norm;
    const char *schedule;
    const ct_value *schedule_options;
    int64_t warmup_steps;
    int64_t steps; /* that the schedule spans */
    int64_t batch; /* rows of a step */
    uint64_t seed; /* of initial weights, order of rows and dropout */
    /* The loss of a batch, a scalar; NULL: cross-entropy for integer targets, mean squared error for others.
     */
    ct_tensor *(*loss)(void *user, ct_run *run, ct_tensor *outputs, ct_tensor *targets);
    /* Before the update: gradients are complete (ct_gradient of each parameter's tensor), not yet clipped.
     * May be NULL; `step` as for the observer. */
    ct_claim_observer gradients;
    ct_claim_observer after; /* after every step; may be NULL */
    void *user;              /* of the three */
} ct_claim_network;

typedef struct ct_claim_learner ct_claim_learner;
/* Builds and fills the network. Until the first ct_claim_learn (or ct_claim_learner_optimizer), which makes
 * the optimizer, its weights, parameters and overlays may be changed: another initialisation, weights derived
 * from others. NULL on error. Belongs to the run; ct_claim_learner_free frees it earlier. */
ct_claim_learner *ct_claim_learner_create(ct_claim_run *run, const ct_claim_network *how);
void ct_claim_learner_free(ct_claim_learner *learner);
ct_model *ct_claim_learner_model(const ct_claim_learner *learner);
ct_optimizer *ct_claim_learner_optimizer(ct_claim_learner *learner); /* NULL on error */
/* The run of training or of evaluation, for taps and overlays. */
ct_run *ct_claim_learner_run(const ct_claim_learner *learner, bool training);
/* `steps` more steps (0: what is left of how->steps) on batches of the rows of `inputs` [rows, ...] and
 * `targets` [rows] (i32 or i64) or [rows, ...] (float). Each epoch takes the rows in an order of its own, a
 * function of seed and epoch; what is left of an epoch below a batch is passed over. Rows may change from
 * call to call (a sequence of tasks); the order then starts anew. */
ct_status ct_claim_learn(ct_claim_learner *learner, ct_tensor *inputs, ct_tensor *targets, int64_t steps,
                         ct_claim_progress *progress);
/* Without training mode: outputs in batches of `batch` rows (0: 1000). Either result may be NULL. Accuracy is
 * the share of rows whose largest output is the target's. */
ct_status ct_claim_evaluate(ct_claim_learner *learner, ct_tensor *inputs, ct_tensor *targets, int64_t batch,
                            double *loss, double *accuracy);

/* MNIST: the first `rows` images of the training or test files, in the file's order, f32 [rows, side * side]
 * in [0, 1] (side 28, or 14: means of 2 x 2), and labels i32 [rows]. Files are of claim->data. They belong to
 * the run. */
ct_status ct_claim_mnist(ct_claim_run *run, bool test, int64_t rows, int side, ct_tensor **images,
                         ct_tensor **labels);
#define CT_CLAIM_MNIST                                                                                       \
    "mnist/train-images-idx3-ubyte.gz", "mnist/train-labels-idx1-ubyte.gz",                                  \
        "mnist/t10k-images-idx3-ubyte.gz", "mnist/t10k-labels-idx1-ubyte.gz"
#define CT_CLAIM_SHAKESPEARE "text/tiny-shakespeare.txt"

/* ---------------------------------------------------------------------- driver: language models by recipe */

/* A language model trained by a recipe, with the very steps of `carat train`: every key of a recipe works but
 * those on output, saving, logging and resuming, which have no effect. Unless the recipe says otherwise, it
 * is a GPT on the characters of tiny-shakespeare (65 tokens), the last tenth held out, with a constant
 * schedule. NULL on error. */
typedef struct ct_claim_language ct_claim_language;
ct_claim_language *ct_claim_language_create(ct_claim_run *run, const ct_value *recipe, uint64_t seed);
void ct_claim_language_free(ct_claim_language *language);
ct_model *ct_claim_language_model(const ct_claim_language *language);
ct_optimizer *ct_claim_language_optimizer(const ct_claim_language *language);
/* `steps` more steps (0: what is left of max_steps). `after` and `user` as above; `after` may be NULL. */
ct_status ct_claim_language_learn(ct_claim_language *language, int64_t steps, ct_claim_observer after,
                                  void *user, ct_claim_progress *progress);
/* Mean loss, nats a token, over at most `rows` rows of the held-out text spread over it (0: all of it). */
ct_status ct_claim_language_validate(ct_claim_language *language, int64_t rows, double *loss);
/* The model as it is now and its tokenizer as a model folder: what another one's teacher.path can name. */
ct_status ct_claim_language_save(const ct_claim_language *language, const char *folder);
/* The texts as tokens: training and held-out part. */
const ct_dataset *ct_claim_language_text(const ct_claim_language *language, bool held_out);

/* ------------------------------------------------------------------------------ running and results ----- */

typedef enum ct_claim_verdict {
    CT_CLAIM_HOLDS,
    CT_CLAIM_DOES_NOT_HOLD,
    CT_CLAIM_SKIPPED,
    CT_CLAIM_FAILED
} ct_claim_verdict;
const char *
ct_claim_verdict_name(ct_claim_verdict verdict); /* "HOLDS", "DOES NOT HOLD", "SKIPPED", "FAILED" */

typedef struct ct_claim_settings {
    const char
        *data;     /* folder of the claims' data; NULL: CARAT_DATA, else ../shared/data of the source tree */
    int64_t seeds; /* of each arm; 0: as the claim says */
    int64_t first_seed; /* the seeds are first_seed, first_seed + 1, ... */
    double limit;       /* minutes until a claim is stopped and FAILED; 0: none */
} ct_claim_settings;
extern const ct_option ct_claim_settings_table[];

/* Runs one claim and gives its result, a map (docs/claims.md describes it). Errors of the claim are in the
 * result, and the context has none afterwards. NULL if a stop was requested (without an error) or memory is
 * exhausted. */
ct_value *ct_claim_perform(ct_context *context, const ct_claim *claim, const ct_claim_settings *settings);
/* A result for a claim that could not be run to its end in another way (its process died). */
ct_value *ct_claim_failure(ct_context *context, const ct_claim *claim, const char *message);
ct_claim_verdict ct_claim_result_verdict(const ct_value *result); /* FAILED if it is not a result */
/* The result as text for a terminal: sentence, tables, checks, notes, verdict. A new string. */
char *ct_claim_result_text(ct_context *context, const ct_value *result);
/* What identifies the program that runs: 16 hexadecimal digits, a hash of its files. "" if that cannot be
 * read. */
const char *ct_claim_build(char buffer[17]);
/* claims.json: {"carat", "counts": {...}, "claims": [...]}; takes `list` (of results) over. */
ct_value *ct_claim_summary(ct_context *context, ct_value *list);
/* claims.html: one page that needs no other file. Replaced atomically. */
ct_status ct_claim_write_page(ct_context *context, const ct_value *summary, const char *path);

/* The last recorded results: those of the file that the environment variable CARAT_CLAIMS names, else of
 * claims/results.json in the source tree that the library was built from, else of DATADIR/carat/claims.json.
 * The first that exists is read; NULL without an error if there is none. A new value to be freed. */
ct_value *ct_claim_last_results(ct_context *context);
/* Of these (or any summary): the result of a claim by name, NULL if there is none; borrowed from `summary`.
 */
const ct_value *ct_claim_result_named(const ct_value *summary, const char *name);
/* Of these: the results of claims about a method, from position *at on (0 first), which is moved behind it;
 * NULL at the end. ct_claim_result_for(summary, "optimizer", "adamp", &at). */
const ct_value *ct_claim_result_for(const ct_value *summary, const char *kind, const char *method,
                                    size_t *at);

#ifdef __cplusplus
}
#endif
#endif
