/* crmsnorm.c - a trained pre-norm GPT rewritten from LayerNorm to RMSNorm and CRMSNorm computes, continues
 * texts and goes on learning as before. */
#include <carat/autograd.h>
#include <carat/claim.h>
#include <math.h>
#include <string.h>

enum { STEPS = 300, ROWS = 8, LENGTH = 48, CONTINUED = 200, MORE = 20, FORMS = 2 };

static const ct_rms_options forms[FORMS] = {{false, true, true}, {true, true, true}};
static const char *const form_names[FORMS] = {"rmsnorm", "crmsnorm"};

typedef struct text {
    int32_t ids[ROWS * (LENGTH + 1)];
} text;

static ct_tensor *part(ct_context *context, const text *t, int shift) {
    int32_t ids[ROWS * LENGTH];
    for (int r = 0; r < ROWS; r++)
        memcpy(ids + r * LENGTH, t->ids + r * (LENGTH + 1) + shift, LENGTH * sizeof(int32_t));
    return ct_from_data(context, CT_I32, CT_DIMS(ROWS, LENGTH), ids);
}

/* Logits of the text, and its mean loss. */
static ct_tensor *logits_of(ct_model *model, ct_run *run, const text *t, ct_tensor **loss) {
    ct_context *context = ct_model_context(model);
    ct_tensor *logits = ct_model_forward(model, run, part(context, t, 0));
    int64_t count = ROWS * LENGTH;
    if (!ct_failed(context))
        *loss = ct_cross_entropy(ct_reshape(logits, CT_DIMS(count, ct_dim(logits, -1))),
                                 ct_reshape(part(context, t, 1), 1, &count), NULL);
    return logits;
}

/* Largest difference of logits over the largest logit, and the relative difference of perplexities. */
static ct_status compare(ct_model *a, ct_model *b, const text *t, double *apart, double *perplexity) {
    ct_context *context = ct_model_context(a);
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, false);
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *loss_a = NULL, *loss_b = NULL, *x = logits_of(a, run, t, &loss_a),
              *y = logits_of(b, run, t, &loss_b);
    double difference = NAN, size = NAN, first = NAN, second = NAN;
    if (!ct_failed(context)) {
        ct_item(ct_max(ct_abs(ct_sub(x, y)), 0, NULL, false), &difference);
        ct_item(ct_max(ct_abs(x), 0, NULL, false), &size);
        ct_item(loss_a, &first);
        ct_item(loss_b, &second);
    }
    *apart = difference / size;
    *perplexity = fabs(exp(second - first) - 1);
    ct_run_destroy(run);
    ct_grad_mode_set(context, before);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

/* The most likely character again and again, from the first LENGTH of the text, in a window of LENGTH. */
static ct_status greedy(ct_model *model, const text *t, int32_t *out) {
    ct_context *context = ct_model_context(model);
    int32_t window[LENGTH + CONTINUED];
    bool before = ct_grad_mode_set(context, false);
    ct_run *run = ct_run_create(context, NULL);
    memcpy(window, t->ids, LENGTH * sizeof(int32_t));
    for (int i = 0; i < CONTINUED && !ct_failed(context); i++) {
        ct_scope scope = ct_scope_open(context);
        double best = 0;
        ct_tensor *input = ct_from_data(context, CT_I32, CT_DIMS(1, LENGTH), window + i);
        ct_item(ct_argmax(ct_reshape(ct_model_forward_last(model, run, input), CT_DIMS(-1)), 0, false),
                &best);
        out[i] = window[LENGTH + i] = (int32_t)best;
        ct_scope_close(context, scope);
    }
    ct_run_destroy(run);
    ct_grad_mode_set(context, before);
    return ct_context_status(context);
}

/* Losses of steps of SGD; `centre` keeps the stream's mean at 0. */
static ct_status go_on(ct_model *model, const text *t, bool centre, double *losses) {
    ct_context *context = ct_model_context(model);
    ct_run *run = ct_run_create(context, NULL);
    int64_t count = ct_model_parameter_count(model);
    for (int64_t i = 0; i < count; i++)
        ct_require_grad(ct_model_parameter(model, i)->tensor, true);
    if (centre) ct_stream_centre(model, run);
    for (int s = 0; s < MORE && !ct_failed(context); s++) {
        ct_scope scope = ct_scope_open(context);
        ct_tensor *loss = NULL;
        ct_run_reset(run);
        logits_of(model, run, t, &loss);
        if (!ct_failed(context)) {
            ct_item(loss, &losses[s]);
            ct_backward(loss, NULL, CT_GRAD_DEFAULT);
        }
        for (int64_t i = 0; i < count; i++) {
            ct_tensor *weight = ct_model_parameter(model, i)->tensor;
            if (!ct_gradient(weight)) continue;
            ct_add_into(weight, ct_gradient(weight), -0.05);
            ct_gradient_set(weight, NULL);
        }
        ct_scope_close(context, scope);
    }
    ct_run_reset(run);
    ct_run_destroy(run);
    for (int64_t i = 0; i < count; i++)
        ct_require_grad(ct_model_parameter(model, i)->tensor, false);
    return ct_context_status(context);
}

typedef struct findings {
    double apart[2], perplexity, changed, training[2]; /* [0] f32, [1] f64 */
} findings;

static double worst(double a, double b) {
    return isnan(a) || isnan(b) ? NAN : fmax(a, b);
}

/* Every form of one trained model, in one type. The head was not tied, so that training can be compared. */
static ct_status examine(ct_model *model, const text *t, bool wide, findings *f) {
    ct_context *context = ct_model_context(model);
    int32_t expected[CONTINUED], found[CONTINUED];
    double apart = 0, perplexity = 0, losses[2][MORE];
    ct_status status = wide ? CT_OK : greedy(model, t, expected);
    for (int form = 0; form < FORMS && status == CT_OK; form++) {
        ct_model *rewritten = ct_model_to_rms(model, &forms[form]);
        status = rewritten ? compare(model, rewritten, t, &apart, &perplexity) : ct_context_status(context);
        f->apart[wide] = worst(f->apart[wide], apart);
        if (!wide) f->perplexity = worst(f->perplexity, perplexity);
        if (!wide && status == CT_OK) status = greedy(rewritten, t, found);
        for (int i = 0; !wide && i < CONTINUED; i++)
            f->changed += found[i] != expected[i];
        ct_model_destroy(rewritten);
    }
    ct_model *plain = status == CT_OK ? ct_model_to_rms(model, &(ct_rms_options){false, false, true}) : NULL;
    if (plain && go_on(plain, t, true, losses[0]) == CT_OK && go_on(model, t, false, losses[1]) == CT_OK)
        for (int s = 0; s < MORE; s++)
            f->training[wide] = worst(f->training[wide], fabs(losses[0][s] - losses[1][s]));
    ct_model_destroy(plain);
    return ct_context_status(context);
}

static bool refuses_post_norm(ct_claim_run *run) {
    ct_context *context = ct_claim_context(run);
    const ct_value *config = ct_claim_yaml(
        run, "{model_type: gpt2, vocab_size: 9, n_embd: 8, n_layer: 2, n_head: 2, norm: {place: post}}");
    ct_model *model = ct_model_create(context, config);
    ct_try attempt;
    ct_try_begin(context, &attempt);
    ct_model *rewritten = model ? ct_model_to_rms(model, &forms[0]) : NULL;
    bool refused = ct_try_end(context, &attempt, NULL, 0) == CT_ERROR_UNSUPPORTED && !rewritten;
    ct_model_destroy(rewritten);
    ct_model_destroy(model);
    return refused;
}

static ct_status one_seed(ct_claim_run *run, int seed, findings *f) {
    const ct_value *recipe = ct_claim_yaml(run,
                                           "{model: {n_embd: 96, n_layer: 4, n_head: 4, n_positions: 48, "
                                           "resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0, "
                                           "tie_word_embeddings: false}, context: 48, max_steps: %d, "
                                           "per_device_train_batch_size: 12, optim: adam, "
                                           "learning_rate: 1e-3, weight_decay: 0, max_grad_norm: 1}",
                                           STEPS);
    ct_claim_language *language = ct_claim_language_create(run, recipe, ct_claim_seed(run, seed));
    ct_status status = language ? ct_claim_language_learn(language, 0, NULL, NULL, NULL) : CT_ERROR_STATE;
    if (!language) return ct_context_status(ct_claim_context(run));
    text t;
    for (int i = 0; i < ROWS * (LENGTH + 1); i++)
        t.ids[i] = ct_dataset_token(ct_claim_language_text(language, true), i);
    ct_model *model = ct_claim_language_model(language);
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++)
        ct_require_grad(ct_model_parameter(model, i)->tensor, false);
    if (status == CT_OK) status = examine(model, &t, false, f);
    if (status == CT_OK) status = ct_model_cast(model, CT_F64);
    if (status == CT_OK) status = examine(model, &t, true, f);
    ct_claim_language_free(language);
    return status;
}

static ct_status run(ct_claim_run *run) {
    findings f = {{0, 0}, 0, 0, {0, 0}};
    ct_status status = CT_OK;
    for (int s = 0; s < ct_claim_seeds(run) && status == CT_OK; s++) {
        ct_claim_say(run, "seed %d", s + 1);
        status = one_seed(run, s, &f);
    }
    if (status != CT_OK) return status;
    const ct_claim_column columns[] = {{"f32", NULL, 12}, {"f64", NULL, 18}};
    int table = ct_claim_table(run, "Worst of all seeds and of both forms", columns, 2);
    ct_claim_row(run, table, "logits, of the largest", f.apart, NULL);
    ct_claim_row(run, table, "losses of 20 more steps of SGD, nats", f.training, NULL);
    ct_claim_note(
        run,
        "Forms: %s and %s, with folded norms; the steps of SGD are those of rmsnorm with its stream kept at "
        "mean "
        "0. The card's ViT waits for that family; kernel times are a figure of the benchmarks and no claim.",
        form_names[0], form_names[1]);
    ct_claim_check(run, "logits apart, f32, of the largest", f.apart[0], CT_LESS, 1e-4);
    ct_claim_check(run, "logits apart, f64, of the largest", f.apart[1], CT_LESS, 1e-10);
    ct_claim_check(run, "perplexity apart, relative", f.perplexity, CT_LESS, 5e-6);
    ct_claim_check(run, "characters of 200 that continue differently", f.changed, CT_AT_MOST, 0);
    ct_claim_check(run, "losses of 20 more steps apart, f32, nats", f.training[0], CT_LESS, 1e-4);
    ct_claim_check(run, "losses of 20 more steps apart, f64, nats", f.training[1], CT_LESS, 1e-9);
    return ct_claim_check(run, "a post-norm model is refused (1: yes)", refuses_post_norm(run), CT_AT_LEAST,
                          1);
}

static const char *const methods[] = {"norm/crmsnorm", "norm/rmsnorm", NULL};
static const char *const files[] = {CT_CLAIM_SHAKESPEARE, NULL};

const ct_claim ct_claim_crmsnorm = {
    .abi = CT_CLAIM_ABI,
    .name = "crmsnorm",
    .methods = methods,
    .card = "training/162-pre-crmsnorm",
    .paper = "Jiang, Gu, Zhu & Pan, NeurIPS 2023, arXiv:2305.14858",
    .sentence = "A pre-norm transformer with LayerNorm becomes one with RMSNorm or CRMSNorm that computes "
                "the same, without "
                "training, and learns the same from there.",
    .reported = "the same function; inference and training 1 to 10 % faster (abstract)",
    .minutes = 2,
    .seeds = 2,
    .data = files,
    .run = run};
