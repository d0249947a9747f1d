/* adamax.c - the claim: no element of a weight moves by much more than the learning rate in a step of Adamax.
 */
#include <carat/claim.h>
#include <math.h>

enum { IN = 20, OUT = 4, ROWS = 256, STEPS = 60 };
static const double rate = 0.01;

typedef struct moves {
    float before[IN * OUT];
    double longest; /* of all steps, over the rate */
} moves;

static ct_status look(void *user, const ct_claim_step *step) {
    moves *m = user;
    const float *now = ct_data(ct_model_parameter(step->model, 0)->tensor);
    for (int i = 0; i < IN * OUT; i++) {
        double moved = fabs((double)now[i] - (double)m->before[i]) / step->learning_rate;
        if (step->step > 1 && moved > m->longest) m->longest = moved;
        m->before[i] = now[i];
    }
    return CT_OK;
}

static ct_status run(ct_claim_run *run) {
    ct_context *context = ct_claim_context(run);
    double *longest = ct_claim_memory(run, (size_t)ct_claim_seeds(run) * sizeof(double));
    for (int s = 0; longest && s < ct_claim_seeds(run); s++) {
        ct_random random = ct_random_make(ct_claim_seed(run, s), ct_random_stream("adamax claim"));
        ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(ROWS, IN), 0, 1, &random);
        ct_tensor *y = ct_random_normal_tensor(context, CT_F32, CT_DIMS(ROWS, OUT), 0, 1, &random);
        moves *m = ct_claim_memory(run, sizeof(*m));
        ct_claim_network how = {.model = ct_claim_yaml(run, "{model_type: mlp, sizes: [%d, %d]}", IN, OUT),
                                .optimizer = "adamax",
                                .learning_rate = rate,
                                .steps = STEPS,
                                .batch = 16,
                                .seed = ct_claim_seed(run, s),
                                .after = look,
                                .user = m};
        ct_claim_learner *learner = m ? ct_claim_learner_create(run, &how) : NULL;
        if (!learner || ct_claim_learn(learner, x, y, 0, NULL) != CT_OK) return ct_context_status(context);
        longest[s] = m->longest;
    }
    return longest ? ct_claim_check_each(run, "longest move of an element, learning rates", longest,
                                         ct_claim_seeds(run), CT_AT_MOST, 1.2)
                   : CT_ERROR_MEMORY;
}

static const char *const methods[] = {"optimizer/adamax", NULL};

const ct_claim ct_claim_adamax = {
    .abi = CT_CLAIM_ABI,
    .name = "adamax",
    .methods = methods,
    .paper = "Kingma & Ba, 2015, arXiv:1412.6980",
    .sentence = "No element of a weight moves by more than about the learning rate in a step.",
    .reported = "section 7.1: the magnitude of a step is at most the learning rate",
    .minutes = 0.1,
    .fast = true,
    .seeds = 3,
    .run = run};
