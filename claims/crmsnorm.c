/* crmsnorm.c - a trained pre-norm GPT and a trained vision transformer, rewritten from LayerNorm to RMSNorm
 * and CRMSNorm, compute, continue texts, classify and go on learning as before, and are no slower. */
#include <carat/autograd.h>
#include <carat/claim.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 300, ROWS = 8, LENGTH = 48, CONTINUED = 200, MORE = 20, FORMS = 4 };
enum { IMAGES = 4000, TEST = 200, SIDE = 28, VIT_BATCH = 50 };

static const ct_rms_options forms[FORMS] = {{false, false, true, false},
                                            {false, true, true, false},
                                            {true, true, true, false},
                                            {true, true, true, true}};
static const char *const form_names[FORMS] = {"rmsnorm", "rmsnorm, folded", "crmsnorm, padded",
                                              "crmsnorm, d - 1 stored"};

/* What a model is asked, and the classes of its rows. */
typedef struct sample {
    ct_tensor *input, *targets;
} sample;

/* [ROWS, LENGTH] of the ids [ROWS, LENGTH + 1]. */
static ct_tensor *part(ct_context *context, const int32_t *text, int shift) {
    int32_t ids[ROWS * LENGTH];
    for (int r = 0; r < ROWS; r++)
        memcpy(ids + r * LENGTH, text + r * (LENGTH + 1) + shift, LENGTH * sizeof(int32_t));
    return ct_from_data(context, CT_I32, CT_DIMS(ROWS, LENGTH), ids);
}

/* Logits [rows, classes], and their mean loss. */
static ct_tensor *logits_of(ct_model *model, ct_run *run, const sample *s, ct_tensor **loss) {
    ct_tensor *logits = ct_model_forward(model, run, s->input);
    if (ct_failed(ct_model_context(model))) return logits;
    logits = ct_reshape(logits, CT_DIMS(-1, ct_dim(logits, -1)));
    *loss = ct_cross_entropy(logits, s->targets, NULL);
    return logits;
}

/* ------------------------------------------------------------------------------------ the same function */

/* [0] f32, [1] f64; the worst of all seeds and forms. */
typedef struct findings {
    double apart[2], perplexity, changed, reclassified, weights[2], activations[2], accuracy;
} findings;

static double worst(double a, double b) {
    return isnan(a) || isnan(b) ? NAN : fmax(a, b);
}

/* Largest difference of logits over the largest logit, the relative difference of perplexities, and how many
 * rows have another likeliest class. */
static ct_status compare(ct_model *a, ct_model *b, const sample *s, double found[3]) {
    ct_context *context = ct_model_context(a);
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, false);
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *loss_a = NULL, *loss_b = NULL, *x = logits_of(a, run, s, &loss_a),
              *y = logits_of(b, run, s, &loss_b);
    double difference = NAN, size = NAN, first = NAN, second = NAN;
    found[2] = NAN;
    if (!ct_failed(context)) {
        ct_item(ct_max(ct_abs(ct_sub(x, y)), 0, NULL, false), &difference);
        ct_item(ct_max(ct_abs(x), 0, NULL, false), &size);
        ct_item(loss_a, &first);
        ct_item(loss_b, &second);
        ct_item(ct_sum_all(ct_cast(ct_not_equal(ct_argmax(x, 1, false), ct_argmax(y, 1, false)), CT_F32)),
                &found[2]);
    }
    found[0] = difference / size;
    found[1] = fabs(exp(second - first) - 1);
    ct_run_destroy(run);
    ct_grad_mode_set(context, before);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

/* The most likely character again and again, from the first LENGTH of the text, in a window of LENGTH. */
static ct_status greedy(ct_model *model, const int32_t *text, int32_t *out) {
    ct_context *context = ct_model_context(model);
    int32_t window[LENGTH + CONTINUED];
    bool before = ct_grad_mode_set(context, false);
    ct_run *run = ct_run_create(context, NULL);
    memcpy(window, text, LENGTH * sizeof(int32_t));
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

/* ------------------------------------------------------------------------------------- the same training */

enum { NOT, WEIGHTS, ACTIVATIONS };

/* Losses of steps of SGD; `centre` says how the stream's mean is kept at 0. */
static ct_status go_on(ct_model *model, const sample *s, int centre, double *losses) {
    ct_context *context = ct_model_context(model);
    ct_run *run = ct_run_create(context, NULL);
    int64_t count = ct_model_parameter_count(model);
    for (int64_t i = 0; i < count; i++)
        ct_require_grad(ct_model_parameter(model, i)->tensor, true);
    if (centre == ACTIVATIONS) ct_stream_centre(model, run);
    for (int step = 0; step < MORE && !ct_failed(context); step++) {
        ct_scope scope = ct_scope_open(context);
        ct_tensor *loss = NULL;
        ct_run_reset(run);
        logits_of(model, run, s, &loss);
        if (!ct_failed(context)) {
            ct_item(loss, &losses[step]);
            ct_backward(loss, NULL, CT_GRAD_DEFAULT);
        }
        for (int64_t i = 0; i < count; i++) {
            ct_tensor *weight = ct_model_parameter(model, i)->tensor;
            if (!ct_gradient(weight)) continue;
            ct_add_into(weight, ct_gradient(weight), -0.05);
            ct_gradient_set(weight, NULL);
        }
        if (centre == WEIGHTS) ct_stream_centre_weights(model);
        ct_scope_close(context, scope);
    }
    ct_run_reset(run);
    ct_run_destroy(run);
    for (int64_t i = 0; i < count; i++)
        ct_require_grad(ct_model_parameter(model, i)->tensor, false);
    return ct_context_status(context);
}

/* The model itself goes on last: its weights change. Its head is not tied. */
static ct_status same_training(ct_model *model, const sample *s, bool wide, findings *f) {
    double expected[MORE], found[MORE], *apart[] = {NULL, &f->weights[wide], &f->activations[wide]};
    double losses[3][MORE];
    for (int centre = WEIGHTS; centre <= ACTIVATIONS; centre++) {
        ct_model *plain = ct_model_to_rms(model, &forms[0]);
        ct_status status = plain ? go_on(plain, s, centre, found) : CT_ERROR_STATE;
        memcpy(losses[centre], found, sizeof(found));
        ct_model_destroy(plain);
        if (status != CT_OK) return ct_context_status(ct_model_context(model));
    }
    if (go_on(model, s, NOT, expected) != CT_OK) return ct_context_status(ct_model_context(model));
    for (int centre = WEIGHTS; centre <= ACTIVATIONS; centre++)
        for (int step = 0; step < MORE; step++)
            *apart[centre] = worst(*apart[centre], fabs(losses[centre][step] - expected[step]));
    return CT_OK;
}

/* Every form of one trained model, in one type. `text` is NULL for images. */
static ct_status examine(ct_model *model, const sample *s, const int32_t *text, bool wide, findings *f) {
    ct_context *context = ct_model_context(model);
    int32_t expected[CONTINUED], found[CONTINUED];
    double difference[3];
    ct_status status = text && !wide ? greedy(model, text, expected) : CT_OK;
    for (int form = 0; form < FORMS && status == CT_OK; form++) {
        ct_model *rewritten = ct_model_to_rms(model, &forms[form]);
        status = rewritten ? compare(model, rewritten, s, difference) : ct_context_status(context);
        if (status == CT_OK) f->apart[wide] = worst(f->apart[wide], difference[0]);
        if (status == CT_OK && !wide) f->perplexity = worst(f->perplexity, difference[1]);
        if (status == CT_OK && !text) f->reclassified += difference[2];
        if (status == CT_OK && text && !wide) {
            status = greedy(rewritten, text, found);
            for (int i = 0; i < CONTINUED; i++)
                f->changed += found[i] != expected[i];
        }
        ct_model_destroy(rewritten);
    }
    return status == CT_OK ? same_training(model, s, wide, f) : status;
}

/* -------------------------------------------------------------------------------------------------- times */

enum { ROUNDS = 20, WIDTHS = 5, NORM_ROWS = 512 };
static const int64_t widths[WIDTHS] = {96, 192, 384, 768, 1024};

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof(*values), ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* Seconds of `repeats` calls. */
typedef double (*timed)(void *user, int which, int repeats);

/* Median over rounds, in which the two are called in turn, of time 1 over time 0; *first is the median of
 * time 0. */
static double ratio(timed call, void *user, int which, int repeats, double *first) {
    double ratios[ROUNDS], times[ROUNDS];
    call(user, 0, repeats); /* warm */
    call(user, which, repeats);
    for (int i = 0; i < ROUNDS; i++) {
        double one = 0, other = 0;
        for (int half = 0; half < 2; half++) /* each first in half of the rounds */
            if (half == i % 2)
                one = call(user, 0, repeats);
            else
                other = call(user, which, repeats);
        ratios[i] = other / one;
        times[i] = one / repeats;
    }
    *first = median(times, ROUNDS);
    return median(ratios, ROUNDS);
}

typedef struct norms {
    ct_tensor *x, *gain, *bias;
} norms;

static double time_norm(void *user, int which, int repeats) {
    const norms *n = user;
    ct_context *context = ct_context_of(n->x);
    double start = ct_seconds();
    for (int i = 0; i < repeats; i++) {
        ct_scope scope = ct_scope_open(context);
        if (which)
            ct_rms_norm(n->x, n->gain, 1e-5);
        else
            ct_layer_norm(n->x, n->gain, n->bias, 1e-5);
        ct_scope_close(context, scope);
    }
    return ct_seconds() - start;
}

/* LayerNorm with gain and bias against RMSNorm with a gain, [512, d]; the worst ratio of all widths. */
static double norm_times(ct_claim_run *run) {
    ct_context *context = ct_claim_context(run);
    const ct_claim_column columns[] = {{"layernorm, us", NULL, 1}, {"rmsnorm / layernorm", NULL, 3}};
    int table = ct_claim_table(run, "Kernels on 512 rows, medians of 20", columns, 2);
    double most = 0;
    for (int i = 0; i < WIDTHS && !ct_failed(context); i++) {
        ct_scope scope = ct_scope_open(context);
        ct_random random = ct_random_make(ct_claim_seed(run, 0), (uint64_t)i);
        norms n = {ct_random_normal_tensor(context, CT_F32, CT_DIMS(NORM_ROWS, widths[i]), 0, 1, &random),
                   ct_full(context, CT_F32, CT_DIMS(widths[i]), 1.5),
                   ct_full(context, CT_F32, CT_DIMS(widths[i]), 0.5)};
        double first = NAN, found = ct_failed(context) ? NAN : ratio(time_norm, &n, 1, 20, &first);
        char name[24];
        snprintf(name, sizeof(name), "d = %lld", (long long)widths[i]);
        ct_claim_row(run, table, name, (const double[]){first * 1e6, found}, NULL);
        most = worst(most, found);
        ct_scope_close(context, scope);
    }
    return most;
}

typedef struct passes {
    ct_model *models[1 + FORMS];
    ct_tensor *input;
    ct_run *run;
} passes;

static double time_pass(void *user, int which, int repeats) {
    const passes *p = user;
    ct_context *context = ct_model_context(p->models[0]);
    double start = ct_seconds();
    for (int i = 0; i < repeats; i++) {
        ct_scope scope = ct_scope_open(context);
        ct_run_reset(p->run);
        ct_model_forward(p->models[which], p->run, p->input);
        ct_scope_close(context, scope);
    }
    return ct_seconds() - start;
}

/* Forward passes of one trained model and of its forms, f32; the ratio of the folded rmsnorm. */
static double forward_times(ct_claim_run *run, ct_model *model, const sample *s, int table,
                            const char *name) {
    ct_context *context = ct_model_context(model);
    bool before = ct_grad_mode_set(context, false);
    passes p = {{model}, s->input, ct_run_create(context, NULL)};
    double cells[1 + FORMS] = {NAN, NAN, NAN, NAN, NAN};
    for (int form = 0; form < FORMS && !ct_failed(context); form++) {
        p.models[1 + form] = ct_model_to_rms(model, &forms[form]);
        if (p.models[1 + form]) cells[1 + form] = ratio(time_pass, &p, 1 + form, 4, &cells[0]);
        ct_model_destroy(p.models[1 + form]);
    }
    cells[0] *= 1e3;
    ct_run_destroy(p.run);
    ct_grad_mode_set(context, before);
    ct_claim_row(run, table, name, cells, NULL);
    return cells[2];
}

/* ------------------------------------------------------------------------------------------- the models */

static bool refuses(ct_claim_run *run, const char *yaml) {
    ct_context *context = ct_claim_context(run);
    ct_model *model = ct_model_create(context, ct_claim_yaml(run, "%s", yaml));
    ct_try attempt;
    ct_try_begin(context, &attempt);
    ct_model *rewritten = model ? ct_model_to_rms(model, &forms[0]) : NULL;
    bool refused = ct_try_end(context, &attempt, NULL, 0) == CT_ERROR_UNSUPPORTED && model && !rewritten;
    ct_model_destroy(rewritten);
    ct_model_destroy(model);
    return refused;
}

typedef struct work {
    findings gpt, vit;
    ct_tensor *x, *y, *test_x, *test_y;
    int table; /* of forward passes */
    double slower;
} work;

static ct_status one_model(ct_claim_run *run, ct_model *model, const sample *s, const int32_t *text,
                           bool time, work *w, findings *f) {
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++)
        ct_require_grad(ct_model_parameter(model, i)->tensor, false);
    if (time)
        w->slower = worst(w->slower,
                          forward_times(run, model, s, w->table, text ? "char GPT" : "vision transformer"));
    ct_status status = examine(model, s, text, false, f);
    if (status == CT_OK) status = ct_model_cast(model, CT_F64);
    return status == CT_OK ? examine(model, s, text, true, f) : status;
}

static ct_status gpt(ct_claim_run *run, int seed, work *w) {
    ct_context *context = ct_claim_context(run);
    const ct_value *recipe = ct_claim_yaml(run,
                                           "{model: {n_embd: 96, n_layer: 4, n_head: 4, n_positions: 48, "
                                           "resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0, "
                                           "tie_word_embeddings: false}, context: 48, max_steps: %d, "
                                           "per_device_train_batch_size: 12, optim: adam, "
                                           "learning_rate: 1e-3, weight_decay: 0, max_grad_norm: 1}",
                                           STEPS);
    ct_claim_language *language = ct_claim_language_create(run, recipe, ct_claim_seed(run, seed));
    if (!language) return ct_context_status(context);
    ct_status status = ct_claim_language_learn(language, 0, NULL, NULL, NULL);
    int32_t text[ROWS * (LENGTH + 1)];
    for (int i = 0; i < ROWS * (LENGTH + 1); i++)
        text[i] = ct_dataset_token(ct_claim_language_text(language, true), i);
    ct_scope scope = ct_scope_open(context);
    sample s = {part(context, text, 0), ct_reshape(part(context, text, 1), CT_DIMS(ROWS * LENGTH))};
    if (status == CT_OK)
        status = one_model(run, ct_claim_language_model(language), &s, text, seed == 0, w, &w->gpt);
    ct_scope_close(context, scope);
    ct_claim_language_free(language);
    return status;
}

static ct_tensor *images(ct_tensor *rows) {
    return ct_reshape(rows, CT_DIMS(ct_dim(rows, 0), 1, SIDE, SIDE));
}

static ct_status vit(ct_claim_run *run, int seed, work *w) {
    ct_context *context = ct_claim_context(run);
    ct_claim_network how = {
        .model = ct_claim_yaml(
            run,
            "{model_type: vit, image_size: %d, patch_size: 7, num_channels: 1, hidden_size: 64, "
            "num_hidden_layers: 3, num_attention_heads: 4, intermediate_size: 128, num_labels: 10}",
            SIDE),
        .optimizer = "adam",
        .learning_rate = 2e-3,
        .max_grad_norm = 1,
        .steps = STEPS,
        .batch = VIT_BATCH,
        .seed = ct_claim_seed(run, seed)};
    ct_claim_learner *learner = ct_claim_learner_create(run, &how);
    if (!learner) return ct_context_status(context);
    ct_scope scope = ct_scope_open(context);
    double accuracy = NAN;
    sample s = {images(w->test_x), w->test_y};
    ct_status status = ct_claim_learn(learner, images(w->x), w->y, 0, NULL);
    if (status == CT_OK) status = ct_claim_evaluate(learner, s.input, s.targets, 0, NULL, &accuracy);
    if (seed == 0) w->vit.accuracy = accuracy;
    if (status == CT_OK)
        status = one_model(run, ct_claim_learner_model(learner), &s, NULL, seed == 0, w, &w->vit);
    ct_scope_close(context, scope);
    ct_claim_learner_free(learner);
    return status;
}

/* ------------------------------------------------------------------------------------------------ verdict */

static void check(ct_claim_run *run, const char *name, const findings *f) {
    static const char *const types[] = {"f32", "f64"};
    static const double logits[] = {1e-4, 1e-10}, losses[] = {1e-4, 1e-9};
    char text[120];
    for (int wide = 0; wide < 2; wide++) {
        snprintf(text, sizeof(text), "%s: logits apart, %s, of the largest", name, types[wide]);
        ct_claim_check(run, text, f->apart[wide], CT_LESS, logits[wide]);
        snprintf(text, sizeof(text), "%s: losses of 20 more steps apart, center=activations, %s, nats", name,
                 types[wide]);
        ct_claim_check(run, text, f->activations[wide], CT_LESS, losses[wide]);
        snprintf(text, sizeof(text), "%s: losses of 20 more steps apart, center=weights, %s, nats", name,
                 types[wide]);
        ct_claim_check(run, text, f->weights[wide], CT_LESS, losses[wide]);
    }
    snprintf(text, sizeof(text), "%s: perplexity apart, relative", name);
    ct_claim_check(run, text, f->perplexity, CT_LESS, 5e-6);
}

static ct_status judge(ct_claim_run *run, const work *w, double kernels) {
    check(run, "char GPT", &w->gpt);
    check(run, "vision transformer", &w->vit);
    ct_claim_check(run, "characters of 200 that continue differently", w->gpt.changed, CT_AT_MOST, 0);
    ct_claim_check(run, "test images that are classified differently", w->vit.reclassified, CT_AT_MOST, 0);
    ct_claim_check(run, "kernel time, rmsnorm / layernorm, worst of d = 96 .. 1024", kernels, CT_AT_MOST, 1);
    ct_claim_check(run, "forward time, folded rmsnorm / layernorm, worse of the two models", w->slower,
                   CT_AT_MOST, 1.01);
    bool gpt2 =
        refuses(run, "{model_type: gpt2, vocab_size: 9, n_embd: 8, n_layer: 2, n_head: 2, norm: {place: "
                     "post}}");
    bool bert = refuses(run, "{model_type: bert, vocab_size: 64, hidden_size: 384, num_hidden_layers: 6, "
                             "num_attention_heads: 12, intermediate_size: 1536}");
    return ct_claim_check(run, "post-norm models refused, of 2 (one of them all-MiniLM's architecture)",
                          gpt2 + bert, CT_AT_LEAST, 2);
}

static ct_status run(ct_claim_run *run) {
    work *w = ct_claim_memory(run, sizeof(*w));
    if (!w || ct_claim_mnist(run, false, IMAGES, SIDE, &w->x, &w->y) != CT_OK ||
        ct_claim_mnist(run, true, TEST, SIDE, &w->test_x, &w->test_y) != CT_OK)
        return ct_context_status(ct_claim_context(run));
    const ct_claim_column times[] = {{"layernorm, ms", NULL, 2},
                                     {form_names[0], NULL, 3},
                                     {form_names[1], NULL, 3},
                                     {form_names[2], NULL, 3},
                                     {form_names[3], NULL, 3}};
    double kernels = norm_times(run);
    w->table =
        ct_claim_table(run, "Forward passes: LayerNorm's time, and that of each form over it", times, 5);
    ct_status status = CT_OK;
    for (int s = 0; s < ct_claim_seeds(run) && status == CT_OK; s++) {
        ct_claim_say(run, "seed %d", s + 1);
        status = gpt(run, s, w);
        if (status == CT_OK) status = vit(run, s, w);
    }
    if (status != CT_OK) return status;
    const ct_claim_column columns[] = {
        {"GPT, f32", NULL, 12}, {"GPT, f64", NULL, 18}, {"ViT, f32", NULL, 12}, {"ViT, f64", NULL, 18}};
    int table = ct_claim_table(run, "Worst of all seeds and forms", columns, 4);
    const findings *g = &w->gpt, *v = &w->vit;
    ct_claim_row(run, table, "logits, of the largest",
                 (const double[]){g->apart[0], g->apart[1], v->apart[0], v->apart[1]}, NULL);
    ct_claim_row(run, table, "20 steps of SGD, center=activations, nats",
                 (const double[]){g->activations[0], g->activations[1], v->activations[0], v->activations[1]},
                 NULL);
    ct_claim_row(run, table, "20 steps of SGD, center=weights, nats",
                 (const double[]){g->weights[0], g->weights[1], v->weights[0], v->weights[1]}, NULL);
    ct_claim_note(
        run,
        "Forms: %s; %s; %s; %s. The steps of SGD are those of rmsnorm. The vision transformer (3 layers, d "
        "64, patches of 7 x 7) classifies %.1f %% of %d test images of MNIST (first seed). CRMSNorm is made "
        "of "
        "single operations, not one kernel: its times are shown, and no claim.",
        form_names[0], form_names[1], form_names[2], form_names[3], 100 * v->accuracy, TEST);
    return judge(run, w, kernels);
}

static const char *const methods[] = {"norm/crmsnorm", "norm/rmsnorm", NULL};
static const char *const files[] = {CT_CLAIM_SHAKESPEARE, CT_CLAIM_MNIST, NULL};

const ct_claim ct_claim_crmsnorm = {
    .abi = CT_CLAIM_ABI,
    .name = "crmsnorm",
    .methods = methods,
    .card = "training/162-pre-crmsnorm",
    .paper = "Jiang, Gu, Zhu & Pan, NeurIPS 2023, arXiv:2305.14858",
    .sentence = "A pre-norm transformer with LayerNorm becomes one with RMSNorm or CRMSNorm that computes "
                "the same, without "
                "training, learns the same from there, and with RMSNorm is no slower.",
    .reported = "the same function; inference and training 1 to 10 % faster (abstract)",
    .minutes = 4,
    .seeds = 2,
    .data = files,
    .run = run};
