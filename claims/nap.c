/* nap.c - Normalize-and-Project keeps a network able to learn over a sequence of tasks, and does no harm to a
 * GPT. */
#include <carat/claim.h>
#include <math.h>
#include <string.h>

enum {
    ROWS = 1000,
    TASKS = 25,
    BATCH = 50,
    EPOCHS = 12,
    SIDE = 14,
    ENDS = 3,
    SEEDS = 64,
    GPT_STEPS = 600,
    TEXT_ROWS = 200
};
enum { PLAIN, NORM, NAP };

typedef struct work {
    ct_tensor *x, *y;
    double first[3][SEEDS], curve[3][TASKS], drift[SEEDS];
} work;

/* Farthest that the norm of a weight was from its first, over all steps. */
typedef struct watch {
    double start[8], drift;
} watch;

static double length(const ct_tensor *w) {
    const float *values = ct_data(w);
    double sum = 0;
    for (int64_t i = 0; i < ct_count(w); i++)
        sum += (double)values[i] * (double)values[i];
    return sqrt(sum);
}

static void norms(ct_model *model, double *to) {
    for (int64_t i = 0, n = 0; i < ct_model_parameter_count(model) && n < 8; i++) {
        const ct_tensor *w = ct_model_parameter(model, i)->tensor;
        if (ct_ndim(w) == 2) to[n++] = length(w);
    }
}

static ct_status look(void *user, const ct_claim_step *step) {
    watch *w = user;
    double now[8] = {0};
    norms(step->model, now);
    for (int i = 0; i < 8; i++)
        if (w->start[i] > 0) w->drift = fmax(w->drift, fabs(now[i] / w->start[i] - 1));
    return CT_OK;
}

/* New random labels for each task; what is measured is the training accuracy at its end. */
static ct_status learn_tasks(const ct_claim_trial *t, ct_claim_learner *learner, double *accuracy) {
    work *w = t->user;
    ct_context *context = ct_claim_context(t->run);
    ct_status status = CT_OK;
    for (int task = 0; task < TASKS && status == CT_OK; task++) {
        ct_scope scope = ct_scope_open(context);
        ct_random random = ct_random_make(t->seed, ct_random_stream("nap labels") + (uint64_t)task);
        ct_tensor *labels = ct_random_integer_tensor(context, CT_I32, CT_DIMS(ROWS), 0, 10, &random);
        status = ct_claim_learn(learner, w->x, labels, EPOCHS * (ROWS / BATCH), NULL);
        if (status == CT_OK) status = ct_claim_evaluate(learner, w->x, labels, 0, NULL, &accuracy[task]);
        ct_scope_close(context, scope);
    }
    return status;
}

static double mean(const double *values, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += values[i];
    return sum / count;
}

static ct_status trial(const ct_claim_trial *t, double *score, double *value) {
    work *w = t->user;
    watch *seen = ct_claim_memory(t->run, sizeof(*seen));
    double accuracy[TASKS];
    ct_claim_network how = {.model =
                                ct_claim_yaml(t->run, "{model_type: mlp, sizes: [196, 128, 128, 128, 10]%s}",
                                              t->arm == PLAIN ? "" : ", insert_norm: ln"),
                            .optimizer = "adam",
                            .links = t->arm == NAP ? ct_claim_yaml(t->run, "[nap]") : NULL,
                            .learning_rate = 1e-3,
                            .steps = TASKS * EPOCHS * (ROWS / BATCH),
                            .batch = BATCH,
                            .seed = t->seed,
                            .after = t->arm == NAP ? look : NULL,
                            .user = seen};
    ct_claim_learner *learner = seen ? ct_claim_learner_create(t->run, &how) : NULL;
    if (!learner) return ct_context_status(ct_claim_context(t->run));
    norms(ct_claim_learner_model(learner), seen->start);
    ct_status status = learn_tasks(t, learner, accuracy);
    *score = *value = mean(accuracy + TASKS - ENDS, ENDS);
    if (status == CT_OK && t->seed_index >= 0 && t->seed_index < SEEDS) {
        w->first[t->arm][t->seed_index] = mean(accuracy, ENDS);
        if (t->arm == NAP) w->drift[t->seed_index] = seen->drift;
        if (t->seed_index == 0) memcpy(w->curve[t->arm], accuracy, sizeof(accuracy));
    }
    ct_claim_learner_free(learner);
    return status;
}

static const char *const names[] = {"plain", "layer norm", "NaP"};

static ct_status tasks(ct_claim_run *run) {
    work *w = ct_claim_memory(run, sizeof(*w));
    if (!w || ct_claim_mnist(run, false, ROWS, SIDE, &w->x, &w->y) != CT_OK)
        return ct_context_status(ct_claim_context(run));
    ct_claim_comparison how = {.measure = "training accuracy, mean of the last 3 of 25 tasks",
                               .digits = 3,
                               .arms = {names[0], names[1], names[2]},
                               .paper = {0.21, 0.57, 0.72},
                               .trial = trial,
                               .user = w};
    ct_claim_outcome o;
    ct_status status = ct_claim_compare(run, &how, &o);
    if (status != CT_OK) return status;
    static const ct_claim_column columns[] = {{"first 3 tasks", NULL, 3}, {"last 3 tasks", NULL, 3}};
    int seeds = o.seeds < SEEDS ? o.seeds : SEEDS,
        table = ct_claim_table(run, "Training accuracy", columns, 2);
    static const double card[3][2] = {{0.62, 0.21}, {0.78, 0.57}, {0.835, 0.72}};
    double x[TASKS];
    int plot =
        ct_claim_plot(run, "Accuracy at the end of each task, first seed", "task", false, "accuracy", false);
    for (int i = 0; i < TASKS; i++)
        x[i] = i + 1;
    for (int a = 0; a < 3; a++) {
        ct_claim_row(run, table, names[a], (const double[]){mean(w->first[a], seeds), o.mean[a]}, card[a]);
        ct_claim_series(run, plot, names[a], x, w->curve[a], TASKS);
    }
    ct_claim_check_paired(run, "accuracy in the last tasks, NaP - layer norm", o.value[NAP], o.value[NORM],
                          o.seeds, CT_BY_MEAN, CT_AT_LEAST, 0.08);
    ct_claim_check_paired(run, "accuracy in the last tasks, NaP - plain", o.value[NAP], o.value[PLAIN],
                          o.seeds, CT_BY_MEAN, CT_AT_LEAST, 0.2);
    return ct_claim_check_each(run, "farthest that a norm was from its first, relative", w->drift, seeds,
                               CT_AT_MOST, 1e-5);
}

/* Held-out loss of a GPT; arms 1 and 2 with NaP, 2 with a learnt scale of the logits. */
static ct_status gpt(const ct_claim_trial *t, double *score, double *value) {
    static const char *const more[] = {"", ", optimizer_links: [nap]",
                                       ", optimizer_links: [nap], regularizers: [logit_scale]"};
    const ct_value *recipe = ct_claim_yaml(
        t->run,
        "{model: {n_embd: 48, n_layer: 3, n_head: 4, n_positions: 48, tie_word_embeddings: false}, context: "
        "48, "
        "max_steps: %d, learning_rate: %g, per_device_train_batch_size: 12, lr_scheduler_type: cosine, "
        "warmup_steps: 30%s}",
        GPT_STEPS, t->setting, more[t->arm]);
    ct_claim_language *language = ct_claim_language_create(t->run, recipe, t->seed);
    if (!language) return ct_context_status(ct_claim_context(t->run));
    ct_status status = ct_claim_language_learn(language, 0, NULL, NULL, NULL);
    if (status == CT_OK) status = ct_claim_language_validate(language, TEXT_ROWS, value);
    *score = *value;
    ct_claim_language_free(language);
    return status;
}

static ct_status no_harm(ct_claim_run *run) {
    static const double rates[] = {5e-3, 1.25e-2, 3e-2};
    ct_claim_comparison how = {.measure = "held-out loss of a GPT, 600 steps",
                               .unit = "nats a character",
                               .digits = 3,
                               .lower_is_better = true,
                               .arms = {"AdamW", "AdamW + NaP", "AdamW + NaP + logit_scale"},
                               .setting = "learning_rate",
                               .grid = rates,
                               .grid_count = 3,
                               .tuning_table = true,
                               .trial = gpt};
    ct_claim_outcome o;
    ct_status status = ct_claim_compare(run, &how, &o);
    if (status != CT_OK) return status;
    ct_claim_note(
        run, "The output layer is not scale invariant: with the norm of GPT-2's initial weights (deviation "
             "0.02) logits "
             "stay within some 0.02 x 48, and no prediction can be sharp. NaP alone is shown for that; what "
             "is judged "
             "is NaP with the card's escape, a learnt scale of the logits. A first run without it, with tied "
             "embeddings, had 3.12 nats against 2.46.");
    return ct_claim_check_paired(run, "held-out loss of the GPT, with NaP and logit_scale - without, nats",
                                 o.value[2], o.value[0], o.seeds, CT_BY_MEAN, CT_AT_MOST, 0.05);
}

static ct_status run(ct_claim_run *run) {
    ct_status status = tasks(run);
    if (status == CT_OK) status = no_harm(run);
    ct_claim_note(
        run,
        "The sequence of tasks uses Adam at the card's rate, 0.001, for every arm, untuned; the GPT's arms "
        "are "
        "tuned on one grid. The values beside ours are means of the card's prototype (two seeds), not the "
        "paper's, whose Atari experiments are out of reach.");
    return status;
}

static const char *const methods[] = {"link/nap", "regularizer/logit_scale", NULL};
static const char *const files[] = {CT_CLAIM_MNIST, CT_CLAIM_SHAKESPEARE, NULL};

const ct_claim ct_claim_nap = {.abi = CT_CLAIM_ABI,
                               .name = "nap",
                               .methods = methods,
                               .card = "training/161-nap",
                               .paper = "Lyle et al., NeurIPS 2024, arXiv:2407.01800",
                               .sentence = "Layer norms and weights held at their initial norms keep a "
                                           "network able to learn over a sequence of tasks, "
                                           "and do not hurt a transformer on one.",
                               .reported = "constant effective rates prevent the loss of plasticity; no harm "
                                           "to ResNets and transformers (abstract)",
                               .minutes = 5,
                               .seeds = 2,
                               .data = files,
                               .run = run};
