/* ghostbn.c - large batches lose accuracy, and a scaled learning rate, ghost batch norm and as many updates
 * as small batches get give it back; the distance from the initial weights grows with the logarithm of the
 * updates. */
#include <carat/claim.h>
#include <math.h>
#include <string.h>

enum {
    ROWS = 6000,
    TEST = 4000,
    SMALL = 64,
    LARGE = 2000,
    EPOCHS = 12,
    ADAPTED = 96,
    FIRST = 16,
    MOST = 2048
};

typedef struct images {
    ct_tensor *x, *y, *test_x, *test_y;
} images;

typedef struct arm {
    const char *name;
    int64_t batch, epochs;
    bool scaled, ghost;
} arm;

static const arm arms[] = {{"small batches", SMALL, EPOCHS, false, false},
                           {"large batches", LARGE, EPOCHS, false, false},
                           {"+ learning rate", LARGE, EPOCHS, true, false},
                           {"+ ghost batch norm", LARGE, EPOCHS, true, true},
                           {"+ regime adaptation", LARGE, ADAPTED, true, true}};

/* Distance of all weights from where they started, after every update. */
typedef struct path {
    ct_tensor *start[16]; /* held */
    double distance[MOST];
    int64_t steps;
} path;

static ct_status measure(void *user, const ct_claim_step *step) {
    path *p = user;
    double sum = 0;
    for (int64_t i = 0, n = 0; i < ct_model_parameter_count(step->model); i++) {
        const ct_parameter *parameter = ct_model_parameter(step->model, i);
        if (!parameter->trainable) continue;
        const float *a = ct_data(parameter->tensor), *b = ct_data(p->start[n++]);
        for (int64_t e = 0; e < ct_count(parameter->tensor); e++)
            sum += ((double)a[e] - b[e]) * ((double)a[e] - b[e]);
    }
    if (p->steps < MOST) p->distance[p->steps++] = sqrt(sum);
    return CT_OK;
}

static ct_status begin(path *p, ct_model *model) {
    ct_context *context = ct_model_context(model);
    ct_scope scope = ct_scope_open(context);
    for (int64_t i = 0, n = 0; i < ct_model_parameter_count(model) && n < 16; i++) {
        const ct_parameter *parameter = ct_model_parameter(model, i);
        if (!parameter->trainable) continue;
        p->start[n] = ct_hold(ct_empty_like(parameter->tensor));
        ct_copy_into(p->start[n++], parameter->tensor);
    }
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

typedef struct work {
    images data;
    double r2[64], slope[64]; /* small batches, each seed */
    double curve[MOST];       /* of the first seed */
    int64_t curve_steps;
} work;

/* a + b log t over updates FIRST ... last of the phase with the full rate. */
static void fit(const double *distance, int64_t last, double *slope, double *r2) {
    double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0, syy = 0;
    for (int64_t t = FIRST; t <= last; t++) {
        double x = log((double)t), y = distance[t - 1];
        n++;
        sx += x;
        sy += y;
        sxx += x * x;
        sxy += x * y;
        syy += y * y;
    }
    double vx = sxx - sx * sx / n, vy = syy - sy * sy / n, cov = sxy - sx * sy / n;
    *slope = cov / vx;
    *r2 = cov * cov / (vx * vy);
}

static ct_status trial(const ct_claim_trial *t, double *score, double *value) {
    work *w = t->user;
    const arm *a = &arms[t->arm];
    double rate = a->scaled ? 0.05 * sqrt((double)LARGE / SMALL) : 0.05; /* the rule sqrt */
    const char *norm = a->ghost ? "{name: ghostbn, size: 64}" : "batchnorm";
    ct_claim_network how = {
        .model = ct_claim_yaml(t->run, "{model_type: mlp, sizes: [784, 128, 128, 10], norm: %s}", norm),
        .optimizer = "sgd",
        .optimizer_options = ct_claim_yaml(t->run, "{momentum: 0.9}"),
        .learning_rate = rate,
        .schedule = "step",
        .max_grad_norm = a->scaled ? 2 : 0,
        .steps = a->epochs * (ROWS / a->batch),
        .batch = a->batch,
        .seed = t->seed,
        .after = t->arm == 0 ? measure : NULL};
    path *p = ct_claim_memory(t->run, sizeof(*p));
    how.user = p;
    ct_claim_learner *learner = p ? ct_claim_learner_create(t->run, &how) : NULL;
    if (!learner) return ct_context_status(ct_claim_context(t->run));
    ct_status status = t->arm == 0 ? begin(p, ct_claim_learner_model(learner)) : CT_OK;
    if (status == CT_OK) status = ct_claim_learn(learner, w->data.x, w->data.y, 0, NULL);
    if (status == CT_OK) status = ct_claim_evaluate(learner, w->data.test_x, w->data.test_y, 0, NULL, value);
    *value *= 100;
    *score = *value;
    if (t->arm == 0 && t->seed_index >= 0 && t->seed_index < 64) {
        fit(p->distance, p->steps * 6 / 10, &w->slope[t->seed_index], &w->r2[t->seed_index]);
        if (t->seed_index == 0) memcpy(w->curve, p->distance, sizeof(w->curve));
        if (t->seed_index == 0) w->curve_steps = p->steps;
    }
    for (int i = 0; i < 16; i++)
        ct_drop(p->start[i]);
    ct_claim_learner_free(learner);
    return status;
}

static ct_status judge(ct_claim_run *run, const work *w, const ct_claim_outcome *o) {
    int seeds = o->seeds < 64 ? o->seeds : 64;
    ct_claim_check_paired(run, "accuracy, large - small batches, points", o->value[1], o->value[0], o->seeds,
                          CT_BY_MEAN, CT_AT_MOST, -2);
    ct_claim_check_paired(run, "accuracy, + learning rate - large batches, points", o->value[2], o->value[1],
                          o->seeds, CT_BY_MEAN, CT_AT_LEAST, 1.5);
    ct_claim_check_paired(run, "accuracy, + ghost batch norm - learning rate alone, points", o->value[3],
                          o->value[2], o->seeds, CT_BY_MEAN, CT_AT_LEAST, -0.2);
    ct_claim_check_paired(run, "accuracy, + regime adaptation - small batches, points", o->value[4],
                          o->value[0], o->seeds, CT_BY_MEAN, CT_AT_LEAST, -0.7);
    return ct_claim_check_each(run,
                               "R^2 of distance = a + b log t, small batches, from update 16 to the drop",
                               w->r2, seeds, CT_GREATER, 0.9);
}

static ct_status run(ct_claim_run *run) {
    work *w = ct_claim_memory(run, sizeof(*w));
    if (!w || ct_claim_mnist(run, false, ROWS, 28, &w->data.x, &w->data.y) != CT_OK ||
        ct_claim_mnist(run, true, TEST, 28, &w->data.test_x, &w->data.test_y) != CT_OK)
        return ct_context_status(ct_claim_context(run));
    ct_claim_comparison how = {.measure = "test accuracy",
                               .unit = "%",
                               .digits = 2,
                               .paper = {94.1, 88.4, 91.3, 91.5, 94.0},
                               .trial = trial,
                               .user = w};
    ct_claim_outcome outcome;
    for (int i = 0; i < 5; i++)
        how.arms[i] = arms[i].name;
    ct_status status = ct_claim_compare(run, &how, &outcome);
    if (status != CT_OK) return status;
    double x[MOST];
    for (int64_t i = 0; i < w->curve_steps; i++)
        x[i] = (double)(i + 1);
    int number = ct_claim_plot(run, "Distance from the initial weights, small batches", "update", true,
                               "distance", false);
    ct_claim_series(run, number, "first seed", x, w->curve, w->curve_steps);
    ct_claim_note(run,
                  "The values beside ours are those of the card's prototype (two seeds), not the paper's.");
    ct_claim_note(
        run,
        "Small batches get %d updates, large ones %d, adapted ones %d (the card's 96 epochs; as many updates "
        "as "
        "small batches would be 375). The distance grows by %.3f for each factor e of updates (first seed).",
        EPOCHS * (ROWS / SMALL), EPOCHS * (ROWS / LARGE), ADAPTED * (ROWS / LARGE), w->slope[0]);
    return judge(run, w, &outcome);
}

static const char *const methods[] = {"norm/ghostbn", "norm/batchnorm", "schedule/step", NULL};
static const char *const files[] = {CT_CLAIM_MNIST, NULL};

const ct_claim ct_claim_ghostbn = {
    .abi = CT_CLAIM_ABI,
    .name = "ghostbn",
    .methods = methods,
    .card = "training/027-ghost-bn",
    .paper = "Hoffer, Hubara & Soudry, NeurIPS 2017, arXiv:1705.08741",
    .sentence = "The accuracy that large batches lose comes back with a learning rate scaled by the square "
                "root, ghost batch "
                "norm and as many updates; weights move from their start as the logarithm of the updates.",
    .reported = "CIFAR-10, ResNet-44: small 92.83 %, large 86.10, + learning rate 89.30, + ghost batch norm "
                "90.50, + regime "
                "adaptation 93.07 (recalled by the card, not checked)",
    .minutes = 3,
    .seeds = 3,
    .data = files,
    .run = run};
