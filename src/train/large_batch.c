/* large_batch.c - a recipe for small steps carried over to large ones (Hoffer, Hubara & Soudry,
 * arXiv:1705.08741): the learning rate by a rule, and as many updates (regime adaptation) or as many samples.
 * Norms that read the batch see per_device_train_batch_size rows as before: ghost batches. And noise on the
 * gradient of each row (section 4.1). */
#include "train/recipe.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BY_ROOT, LINEAR, NO_RULE };
const char *const ct_lr_rules[] = {"sqrt", "linear", "none", NULL};

/* "64:1024". */
static bool read_sizes(const char *text, int64_t *small, int64_t *large) {
    char *end;
    *small = strtoll(text, &end, 10);
    if (end == text || *end != ':') return false;
    text = end + 1;
    *large = strtoll(text, &end, 10);
    return end != text && !*end && *small > 0 && *large >= *small && *large <= 10000000;
}

static ct_status check_alone(ct_context *context, const ct_train_options *o) {
    if (o->regime_adaptation)
        return ct_fail(context, CT_ERROR_ARGUMENT, "regime_adaptation: it needs large_batch: SMALL:LARGE");
    if (o->lr_rule != BY_ROOT)
        return ct_fail(context, CT_ERROR_ARGUMENT, "lr_rule: it needs large_batch: SMALL:LARGE");
    return CT_OK;
}

static ct_status check(ct_context *context, const ct_value *recipe, const ct_train_options *o, int64_t small,
                       int64_t large) {
    int64_t rows = ct_recipe_rows(o);
    if (rows != small)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "large_batch: it carries a recipe of %lld rows a step over, this one has %lld "
                       "(per_device_train_batch_size x gradient_accumulation_steps)",
                       (long long)small, (long long)rows);
    if (large % o->per_device_train_batch_size)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "large_batch: %lld rows are no multiple of per_device_train_batch_size %lld",
                       (long long)large, (long long)o->per_device_train_batch_size);
    if (o->max_batch_share > 0)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "large_batch: max_batch_share limits the rows of a step too; choose one of them");
    if (o->regime_adaptation && o->max_steps > 0 && ct_value_get(recipe, "num_train_epochs"))
        return ct_fail(
            context, CT_ERROR_ARGUMENT,
            "regime_adaptation: both max_steps and num_train_epochs are given; it rewrites the length of the "
            "run, so give one of them");
    return CT_OK;
}

static void adapt(ct_train_options *o, double ratio) {
    if (o->regime_adaptation) { /* as many updates */
        o->num_train_epochs *= ratio;
        return;
    }
    if (o->max_steps > 0) o->max_steps = (int64_t)ceil((double)o->max_steps / ratio);
    o->warmup_steps = (int64_t)ceil((double)o->warmup_steps / ratio);
}

ct_status ct_recipe_large_batch(ct_context *context, const ct_value *recipe, ct_train_options *o) {
    int64_t small, large;
    if (!o->large_batch) return check_alone(context, o);
    if (!read_sizes(o->large_batch, &small, &large))
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "large_batch: \"%s\", expected rows a step now and then, the second not less: 64:1024",
                       o->large_batch);
    if (check(context, recipe, o, small, large) != CT_OK) return ct_context_status(context);
    double ratio = (double)large / (double)small, before = o->learning_rate;
    o->gradient_accumulation_steps = large / o->per_device_train_batch_size;
    o->learning_rate *= o->lr_rule == BY_ROOT ? sqrt(ratio) : o->lr_rule == LINEAR ? ratio : 1;
    adapt(o, ratio);
    ct_log_message(
        context, CT_LOG_INFO,
        "large batch: %lld -> %lld rows a step, learning rate %g -> %g (%s), %s %g, warmup %lld steps, "
        "gradients cut to norm %g",
        (long long)small, (long long)large, before, o->learning_rate, ct_lr_rules[o->lr_rule],
        o->max_steps > 0 ? "steps" : "epochs", o->max_steps > 0 ? (double)o->max_steps : o->num_train_epochs,
        (long long)o->warmup_steps, o->max_grad_norm);
    o->large_batch = NULL; /* done: what is resolved says it all */
    o->regime_adaptation = false;
    o->lr_rule = BY_ROOT;
    return CT_OK;
}

double ct_gradient_noise(const ct_train_options *o, int64_t row) {
    ct_random random = ct_random_make((uint64_t)o->seed, ct_random_stream("gradient noise") + (uint64_t)row);
    return 1 + o->gradient_noise * ct_random_normal(&random);
}
