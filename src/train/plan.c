/* plan.c - how much memory a recipe needs, and how to cut its steps to stay within a budget.
 *
 * A learner is built on the meta device and runs one step, an evaluation and a checkpoint: the same code that
 * trains counts the bytes. Candidates are tried from the fastest on: every row at a time with all activations
 * kept; fewer rows; then with activations computed again in segments of layers, which costs a third more
 * work. */
#include "train/plan.h"
#include "train/learner.h"
#include "train/recipe.h"
#include <carat/norm.h>
#include <string.h>

enum {
    PAGES = 1 << 20,
    WRITING = (2 << 20) + (1 << 17) /* buffers of a model that is being written */
};

typedef struct planner {
    ct_context *context; /* of its own, on meta */
    ct_value *recipe, *config;
    ct_train_options options;
    ct_learner *learner;
    size_t base;
    int64_t layers;
    ct_norm_needs norms; /* and what regularizers ask for */
} planner;

/* Predicted peak of one candidate. */
typedef struct candidate {
    int64_t micro_batch, checkpoint_every;
    ct_memory_counts counts;
    uint64_t flops;
} candidate;

/* Two micro-batches show what the second adds to the gradients of the first, and the last may be smaller. */
static ct_status measure(planner *p, candidate *c) {
    ct_context *context = p->context;
    ct_learner *learner = p->learner;
    ct_step_result result;
    double loss = 0;
    int64_t rows = learner->rows, last = rows % c->micro_batch, few = 2 * c->micro_batch + last;
    if (ct_learner_arrange(learner, c->micro_batch, c->checkpoint_every) != CT_OK)
        return ct_context_status(context);
    learner->rows = few < rows ? few : rows;
    ct_memory_trim(context);
    ct_memory_reset_peak(context);
    ct_context_reset_flops(context);
    ct_status status = ct_learner_step(learner, NULL, 0, 0, &result);
    c->flops = (uint64_t)((double)ct_context_flops(context) / (double)learner->rows * (double)rows);
    learner->rows = rows;
    if (status == CT_OK) status = ct_learner_evaluate(learner, NULL, 0, &loss);
    ct_memory_count(context, WRITING,
                    CT_MEMORY_WORKSPACE); /* a checkpoint, when gradients and activations are gone */
    ct_memory_uncount(context, WRITING, CT_MEMORY_WORKSPACE);
    ct_memory_read(context, &c->counts);
    return status;
}

/* A plan keeps two percent and a mebibyte free for what a prediction cannot know: page ends, the heap's
 * holes. */
static size_t needed(const planner *p, const candidate *c) {
    return p->base + c->counts.peak_total + c->counts.peak_total / 50 + PAGES;
}

static bool fits(planner *p, candidate *c) {
    if (measure(p, c) != CT_OK) return false;
    return p->options.memory == 0 || needed(p, c) <= (size_t)p->options.memory;
}

/* The most rows that a micro-batch may have: those of a batch, or of the whole step where a norm asks for
 * them. */
static int64_t rows_at_most(const planner *p) {
    return p->norms.rows == CT_ROWS_STEP ? p->learner->rows : p->options.per_device_train_batch_size;
}

/* Norms and regularizers that use the statistics of a batch keep so many rows in one micro-batch. */
static int64_t rows_together(const planner *p) {
    int64_t batch = rows_at_most(p), rows = p->norms.rows;
    if (rows == CT_ROWS_ANY) return 1;
    return rows < 0 || rows > batch ? batch : rows;
}

/* Regularizers may ask for more rows than the norms; two different numbers are both suited by whole batches.
 */
static void add_regularizers(planner *p) {
    const char *who = NULL;
    int64_t rows = ct_regularizers_rows(p->learner->regularizers, &who);
    if (rows == CT_ROWS_ANY || p->norms.rows < 0) return;
    bool suited = p->norms.rows != CT_ROWS_ANY && rows != CT_ROWS_WHOLE && p->norms.rows % rows == 0;
    if (suited) return;
    p->norms.rows = p->norms.rows == CT_ROWS_ANY ? rows : CT_ROWS_WHOLE;
    p->norms.who = who;
}

/* The most rows at a time that fit; the need grows with the rows. */
static bool most_rows(planner *p, int64_t checkpoint_every, candidate *best) {
    int64_t batch = rows_at_most(p), step = rows_together(p);
    int64_t low = 0, high = (batch + step - 1) / step; /* in steps */
    *best = (candidate){batch, checkpoint_every, {{0}, {0}, 0, 0, {0}, 0, 0}, 0};
    if (fits(p, best)) return true;
    while (low + 1 < high && !ct_failed(p->context)) {
        candidate middle = {
            (low + (high - low) / 2) * step, checkpoint_every, {{0}, {0}, 0, 0, {0}, 0, 0}, 0};
        if (fits(p, &middle)) {
            low = middle.micro_batch / step;
            *best = middle;
        } else {
            high = middle.micro_batch / step;
        }
    }
    if (low > 0 || ct_failed(p->context)) return low > 0;
    best->micro_batch = step; /* `high` is 1 now */
    return fits(p, best);
}

/* Segment lengths cost the same work, so the one that allows most rows is taken. */
static bool with_recomputation(planner *p, candidate *best) {
    bool found = false;
    for (int64_t every = 1; every <= p->layers && !ct_failed(p->context); every++) {
        candidate here;
        if (most_rows(p, every, &here) && (!found || here.micro_batch > best->micro_batch)) {
            *best = here;
            found = true;
        }
        if (found && best->micro_batch == rows_at_most(p)) break;
    }
    return found;
}

static ct_status refuse(planner *p, ct_context *context) {
    candidate smallest = {0};
    int64_t step = rows_together(p);
    bool fixed = p->options.gradient_checkpointing > 0, known = false;
    int64_t first = fixed ? p->options.gradient_checkpointing : 0, last = fixed ? first : p->layers;
    if (!p->norms.recompute) last = 0;
    for (int64_t every = first; every <= last; every++) {
        candidate here = {step, every, {{0}, {0}, 0, 0, {0}, 0, 0}, 0};
        if (measure(p, &here) != CT_OK) return CT_ERROR_MEMORY;
        if (!known || needed(p, &here) < needed(p, &smallest)) smallest = here;
        known = true;
    }
    char budget[32], together[320] = "", how[64] = "every activation kept";
    int64_t mebibytes = (int64_t)((needed(p, &smallest) + PAGES - 1) / PAGES);
    if (smallest.checkpoint_every == 1)
        snprintf(how, sizeof(how), "every layer recomputed");
    else if (smallest.checkpoint_every > 1)
        snprintf(how, sizeof(how), "layers recomputed %lld at a time", (long long)smallest.checkpoint_every);
    if (step > 1) snprintf(together, sizeof(together), ", which %s keeps together", p->norms.who);
    return ct_fail(
        context, CT_ERROR_MEMORY,
        "memory: a budget of %s is too small: this recipe needs at least %lldM (micro-batch %lld%s, %s)",
        ct_format_bytes((uint64_t)p->options.memory, budget, sizeof(budget)), (long long)mebibytes,
        (long long)step, together, how);
}

static void choose(planner *p, ct_context *context, ct_memory_plan *plan) {
    candidate best;
    int64_t fixed = p->options.gradient_checkpointing;
    if (fixed && !p->norms.recompute) {
        ct_fail(context, CT_ERROR_UNSUPPORTED,
                "gradient_checkpointing: %s changes running statistics that its forward pass reads, so that "
                "layers with it "
                "cannot be computed a second time",
                p->norms.who);
        return;
    }
    bool found = most_rows(p, fixed < p->layers ? fixed : p->layers, &best);
    if (!found && !fixed && p->norms.recompute) found = with_recomputation(p, &best);
    if (ct_failed(p->context)) return;
    if (!found) {
        refuse(p, context);
        return;
    }
    plan->micro_batch = best.micro_batch;
    plan->checkpoint_every = best.checkpoint_every;
    memcpy(plan->at_peak, best.counts.at_peak, sizeof(plan->at_peak));
    plan->base = p->base;
    plan->peak = p->base + best.counts.peak_total;
    plan->flops_per_step = best.flops;
    plan->parameters = ct_model_elements(p->learner->model, false);
}

/* What the process holds now, text and tokenizer included. Under AddressSanitizer, which keeps freed memory
 * aside, resident memory says nothing. */
static size_t present_base(ct_context *context) {
    ct_memory_trim(context);
    ct_memory_counts counts;
    ct_memory_read(context, &counts);
#if defined(__SANITIZE_ADDRESS__)
    size_t resident = 0;
#else
    size_t resident = ct_anonymous_resident();
#endif
    return resident > counts.current_total ? resident : counts.current_total;
}

ct_status ct_plan_make(ct_context *context, const ct_value *recipe, const ct_value *config,
                       ct_memory_plan *plan) {
    if (ct_failed(context)) return ct_context_status(context);
    planner p = {.base = present_base(context)};
    *plan = (ct_memory_plan){0};
    p.context = ct_context_create(ct_context_threads(context));
    if (!p.context) return ct_fail(context, CT_ERROR_MEMORY, "out of memory for the memory plan");
    p.recipe = ct_value_move_to(p.context, recipe);
    p.config = ct_value_move_to(p.context, config);
    if (ct_methods_adopt(p.context, context) == CT_OK && ct_context_set_device(p.context, CT_META) == CT_OK &&
        ct_recipe_read(p.context, p.recipe, &p.options) == CT_OK)
        p.learner = ct_learner_create(p.context, &p.options, p.config);
    if (p.learner) {
        int64_t layers = ct_model_layers(p.learner->model);
        p.layers = layers > 0 ? layers : 1;
        p.norms = ct_norm_needs_of(ct_model_root(p.learner->model));
        add_regularizers(&p);
        if (p.options.task == CT_TASK_IMAGES && p.norms.rows != CT_ROWS_STEP)
            p.norms = (ct_norm_needs){CT_ROWS_WHOLE, p.norms.recompute, "task: images"};
        choose(&p, context, plan);
    }
    if (ct_failed(p.context))
        ct_fail(context, ct_context_status(p.context), "%s", ct_context_message(p.context));
    ct_learner_destroy(p.learner);
    ct_value_free(p.recipe);
    ct_value_free(p.config);
    ct_context_destroy(p.context);
    return ct_context_status(context);
}
