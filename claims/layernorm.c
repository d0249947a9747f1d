/* layernorm.c - layer normalisation trains networks with batches too small for batch normalisation, as well
 * with larger ones, and recurrent networks. */
#include <carat/claim.h>

enum { ROWS = 10000, STEPS = 600, LSTM_STEPS = 400 };

typedef struct images {
    ct_tensor *x, *y, *test_x, *test_y;
    int64_t batch;
} images;

static const char *const arms[] = {"batchnorm", "layernorm", "none"};

static ct_status trial(const ct_claim_trial *t, double *score, double *value) {
    const images *data = t->user;
    ct_claim_network how = {
        .model =
            ct_claim_yaml(t->run, "{model_type: mlp, sizes: [784, 256, 256, 10], norm: %s}", arms[t->arm]),
        .optimizer = "adam",
        .learning_rate = 1e-3,
        .steps = STEPS,
        .batch = data->batch,
        .seed = t->seed};
    ct_claim_learner *learner = ct_claim_learner_create(t->run, &how);
    if (!learner) return ct_context_status(ct_claim_context(t->run));
    ct_status status = ct_claim_learn(learner, data->x, data->y, 0, NULL);
    if (status == CT_OK) status = ct_claim_evaluate(learner, data->test_x, data->test_y, 0, NULL, value);
    *value *= 100;
    *score = *value;
    ct_claim_learner_free(learner);
    return status;
}

/* Training loss of a recurrent character model, mean over the last tenth of its steps. */
static ct_status recurrent(const ct_claim_trial *t, double *score, double *value) {
    const ct_value *recipe = ct_claim_yaml(t->run,
                                           "{model: {model_type: rnn, n_embd: 128, cell: %s}, context: 64, "
                                           "per_device_train_batch_size: 32, optim: adam, "
                                           "learning_rate: 0.002, max_steps: %d, max_grad_norm: 1}",
                                           t->arm ? "lstm-ln" : "lstm", LSTM_STEPS);
    ct_claim_progress progress = {0};
    ct_claim_language *language = ct_claim_language_create(t->run, recipe, t->seed);
    if (!language) return ct_context_status(ct_claim_context(t->run));
    ct_status status = ct_claim_language_learn(language, 0, NULL, NULL, &progress);
    *score = *value = progress.mean_loss;
    ct_claim_language_free(language);
    return status;
}

static ct_status recurrent_part(ct_claim_run *run) {
    ct_claim_comparison how = {.measure = "training loss after 400 steps, 128 units",
                               .unit = "nats a character",
                               .digits = 3,
                               .lower_is_better = true,
                               .arms = {"LSTM", "LSTM with layer norm"},
                               .trial = recurrent};
    ct_claim_outcome o;
    ct_status status = ct_claim_compare(run, &how, &o);
    if (status != CT_OK) return status;
    return ct_claim_check_paired(run,
                                 "training loss of a recurrent network, LSTM - LSTM with layer norm, nats",
                                 o.value[0], o.value[1], o.seeds, CT_BY_MEAN, CT_AT_LEAST, 0);
}

static ct_status run(ct_claim_run *run) {
    images data = {.batch = 4};
    ct_claim_outcome small, large;
    if (ct_claim_mnist(run, false, ROWS, 28, &data.x, &data.y) != CT_OK ||
        ct_claim_mnist(run, true, ROWS, 28, &data.test_x, &data.test_y) != CT_OK)
        return ct_context_status(ct_claim_context(run));
    ct_claim_comparison how = {.measure = "test accuracy, batches of 4",
                               .unit = "%",
                               .digits = 2,
                               .arms = {"batch norm", "layer norm", "no norm"},
                               .paper = {84.05, 85.0, 84.8},
                               .trial = trial,
                               .user = &data};
    ct_status status = ct_claim_compare(run, &how, &small);
    ct_claim_comparison wide = how;
    data.batch = 128;
    wide.measure = "test accuracy, batches of 128";
    wide.paper[0] = 94.45;
    wide.paper[1] = 94.25;
    wide.paper[2] = 93.75;
    if (status == CT_OK) status = ct_claim_compare(run, &wide, &large);
    if (status != CT_OK) return status;
    ct_claim_note(run,
                  "The values beside ours are those of the card's prototype (two seeds), not the paper's.");
    ct_claim_note(
        run,
        "The recurrent networks have the card's rate, 0.002, for both, untuned; their loss is the mean over "
        "the last tenth of the steps. The card's third part, MiniLM's sentence vectors, is a test of BERT.");
    status = recurrent_part(run);
    if (status != CT_OK) return status;
    ct_claim_check_paired(run, "accuracy with batches of 4, LN - BN, points", small.value[1], small.value[0],
                          small.seeds, CT_BY_MEAN, CT_AT_LEAST, 0.3);
    return ct_claim_check_paired(run, "accuracy with batches of 128, |LN - BN|, points", large.value[1],
                                 large.value[0], large.seeds, CT_BY_MEAN, CT_WITHIN, 1);
}

static const char *const methods[] = {"norm/layernorm", "norm/batchnorm", NULL};
static const char *const files[] = {CT_CLAIM_MNIST, CT_CLAIM_SHAKESPEARE, NULL};

const ct_claim ct_claim_layernorm = {.abi = CT_CLAIM_ABI,
                                     .name = "layernorm",
                                     .methods = methods,
                                     .card = "training/157-layernorm",
                                     .paper = "Ba, Kiros & Hinton, 2016, arXiv:1607.06450",
                                     .sentence = "Layer normalisation is robust to batches so small that "
                                                 "batch normalisation loses accuracy, and with larger "
                                                 "ones it is as good. A recurrent network with it "
                                                 "learns at least as fast.",
                                     .reported = "faster convergence of recurrent networks; with batches of "
                                                 "4 a permutation-invariant MNIST network is better "
                                                 "than with batch norm (figure 6, no number)",
                                     .minutes = 5,
                                     .seeds = 4,
                                     .data = files,
                                     .run = run};
