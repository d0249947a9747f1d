/* transfer.c - whether the best learning rate of a narrow model is that of a wide one: a recipe at several
 * widths and rates (plan.h). */
#include "plan/widths.h"
#include "train/recipe.h"
#include <carat/plot.h>
#include <math.h>

/* Mean loss of the last tenth of the steps; NAN if it diverged. */
static ct_status one(ct_width_study *study, int64_t width, int64_t seed, double rate, double *found) {
    ct_context *context = study->context;
    *found = NAN;
    if (ct_width_study_open(study, width, seed, rate) != CT_OK) return ct_context_status(context);
    const ct_train_options *o = &study->options;
    int64_t steps =
        ct_recipe_total_steps(o, ct_dataset_rows(study->corpus.train, study->learner->row_length));
    int64_t tail = steps - (steps + 9) / 10;
    ct_schedule *schedule = ct_schedule_create(context, ct_recipe_schedule(o), o->lr_scheduler_kwargs,
                                               ct_recipe_warmup_steps(o, steps), steps);
    ct_status status = schedule ? CT_OK : ct_context_status(context);
    double sum = 0, loss = NAN;
    for (int64_t i = 0; i < steps && status == CT_OK && !study->diverged; i++) {
        status = ct_width_study_step(study, i, o->learning_rate * ct_schedule_factor(schedule, i), &loss);
        if (i >= tail) sum += loss;
    }
    ct_schedule_destroy(schedule);
    if (status == CT_OK && !study->diverged) *found = sum / (double)(steps - tail);
    return status;
}

static void judge(ct_transfer *r) {
    int least = CT_PLAN_RATES, most = -1;
    for (int w = 0; w < r->width_count; w++) {
        r->best[w] = -1;
        for (int i = 0; i < r->rate_count; i++)
            if (isfinite(r->loss[w][i]) && (r->best[w] < 0 || r->loss[w][i] < r->loss[w][r->best[w]]))
                r->best[w] = i;
        if (r->best[w] < least) least = r->best[w];
        if (r->best[w] > most) most = r->best[w];
        r->at_end |= r->best[w] == 0 || r->best[w] == r->rate_count - 1;
    }
    r->shift = least >= 0 ? most - least : -1;
}

ct_status ct_plan_transfer(ct_context *context, const ct_value *recipe, const ct_width_options *o,
                           ct_transfer *r) {
    double widths[CT_PLAN_WIDTHS];
    ct_width_study study = {.context = context, .recipe = recipe};
    *r = (ct_transfer){.shift = -1};
    if (ct_failed(context) ||
        ct_plan_numbers(context, o->widths, "widths", true, CT_PLAN_WIDTHS, widths, &r->width_count) !=
            CT_OK ||
        ct_plan_numbers(context, o->rates, "rates", false, CT_PLAN_RATES, r->rates, &r->rate_count) != CT_OK)
        return ct_context_status(context);
    double runs = (double)r->width_count * (double)r->rate_count * (double)o->seeds, done = 0;
    ct_status status = CT_OK;
    for (int w = 0; w < r->width_count; w++) {
        r->widths[w] = (int64_t)widths[w];
        for (int i = 0; i < r->rate_count; i++)
            for (int64_t s = 0; s < o->seeds && status == CT_OK; s++) {
                double loss;
                status = one(&study, r->widths[w], s, r->rates[i], &loss);
                r->loss[w][i] += loss / (double)o->seeds;
                ct_progress(context, "transfer", ++done, runs, "runs", "");
            }
    }
    if (status == CT_OK) ct_progress_finish(context, "transfer", runs, "runs", "");
    ct_width_study_free(&study);
    if (status == CT_OK) judge(r);
    return status;
}

ct_status ct_transfer_plot(ct_context *context, const ct_transfer *r, const char *path) {
    ct_plot *plot = ct_plot_create(context);
    if (!plot) return ct_context_status(context);
    ct_plot_title(plot, "Loss against the learning rate");
    ct_plot_label(plot, CT_PLOT_X, "learning rate", true);
    ct_plot_label(plot, CT_PLOT_Y, "loss, mean of the last tenth of the steps", false);
    for (int w = 0; w < r->width_count; w++) {
        char name[32];
        snprintf(name, sizeof(name), "width %lld", (long long)r->widths[w]);
        ct_plot_series(plot, name, r->rates, r->loss[w], (size_t)r->rate_count);
    }
    ct_status status = ct_failed(context) ? ct_context_status(context) : ct_plot_write(plot, path);
    ct_plot_destroy(plot);
    return status;
}
