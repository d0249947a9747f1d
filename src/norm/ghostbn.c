/* ghostbn.c - ghost batch normalisation (Hoffer, Hubara & Soudry, algorithm 1): a large batch is cut into
 * consecutive ghost batches of `size` rows, each normalised by its own statistics, as if it were trained
 * alone; gain and bias are shared. The running statistics take in one ghost batch after the other. */
#include "norm/batch.h"

typedef struct ghostbn_options {
    ct_norm_affine affine;
    int64_t size;
    double eta;
    int run;
} ghostbn_options;

static const char *const run_names[] = {"var", "biased_var", "std", NULL};
enum { RUN_VARIANCE, RUN_BIASED, RUN_DEVIATION };

static const ct_option options[] = {
    CT_NORM_EPS(1e-5),
    CT_NORM_AFFINE(true),
    CT_NORM_BIAS(true, "add a bias"),
    CT_OPTION_INT("size", ghostbn_options, size, 128, 2, 1e9, "rows of a ghost batch"),
    CT_OPTION_REAL("eta", ghostbn_options, eta, 0.1, 0, 1,
                   "share of a ghost batch in the running statistics"),
    CT_OPTION_CHOICE(
        "run", ghostbn_options, run, "var", run_names,
        "running variance (unbiased, as torch keeps it, or biased), or standard deviation (the paper)"),
    CT_OPTION_END};

enum { WEIGHT, BIAS, MEAN, VARIANCE, DEVIATION, BATCHES };

static const ct_norm_tensor tensors[] = {{"weight", CT_NORM_PER_CHANNEL, CT_FILL_ONES, false, CT_F32},
                                         {"bias", CT_NORM_PER_CHANNEL, CT_FILL_ZEROS, false, CT_F32},
                                         {"running_mean", CT_NORM_PER_CHANNEL, CT_FILL_ZEROS, true, CT_F32},
                                         {"running_var", CT_NORM_PER_CHANNEL, CT_FILL_ONES, true, CT_F32},
                                         {"running_std", CT_NORM_PER_CHANNEL, CT_FILL_ONES, true, CT_F32},
                                         {"num_batches_tracked", CT_NORM_ONE, CT_FILL_ZEROS, true, CT_I64},
                                         {NULL, CT_NORM_ONE, CT_FILL_ZEROS, false, CT_F32}};

static bool present(const void *given, int index) {
    const ghostbn_options *o = given;
    if (index == VARIANCE) return o->run != RUN_DEVIATION;
    if (index == DEVIATION) return o->run == RUN_DEVIATION;
    return ct_norm_affine_present(given, index);
}

static int64_t multiple(const void *given) {
    return ((const ghostbn_options *)given)->size;
}

static ct_status affine(const ct_norm_call *call, ct_tensor **scale, ct_tensor **shift) {
    const ghostbn_options *o = call->options;
    ct_tensor *variance =
        o->run == RUN_DEVIATION ? ct_square(call->tensors[DEVIATION]) : call->tensors[VARIANCE];
    return ct_norm_running_affine(call, call->tensors[MEAN], variance, o->affine.eps, call->tensors[WEIGHT],
                                  call->tensors[BIAS], scale, shift);
}

/* mu = (1 - eta) mu + eta mu_g, and so for the spread. */
static void update(const ct_norm_call *call, const ct_norm_tokens *ghost, ct_tensor *mean,
                   ct_tensor *variance) {
    const ghostbn_options *o = call->options;
    if (ghost->count < 1) return;
    double unbiased = ghost->count > 1 ? ghost->count / (ghost->count - 1) : 1;
    ct_norm_run_towards(call->tensors[MEAN], mean, o->eta);
    variance = ct_detach(variance);
    if (o->run == RUN_DEVIATION)
        ct_norm_run_towards(call->tensors[DEVIATION], ct_sqrt(variance), o->eta);
    else
        ct_norm_run_towards(call->tensors[VARIANCE],
                            o->run == RUN_BIASED ? variance : ct_mul_scalar(variance, unbiased), o->eta);
    ct_norm_advance(call->tensors[BATCHES]);
}

/* How many ghost batches; a last one of a single token, which has no variance, goes to the one before. */
static int64_t ghosts_of(const ct_norm_call *call, int64_t rows, int64_t positions) {
    int64_t size = ((const ghostbn_options *)call->options)->size, count = (rows + size - 1) / size;
    if (count < 2 || positions > 1 || rows % size != 1) return count;
    if (!*call->told)
        ct_log_message(
            call->context, CT_LOG_WARNING,
            "%s: ghostbn: the last of %lld rows is a ghost batch of one token and is taken into the one "
            "before it",
            call->where, (long long)rows);
    *call->told = true;
    return count - 1;
}

static ct_tensor *train(const ct_norm_call *call, ct_tensor *x) {
    const ghostbn_options *o = call->options;
    ct_context *context = call->context;
    ct_norm_tokens all = ct_norm_tokens_of(call, x);
    int64_t rows = ct_ndim(x) > 1 ? ct_dim(x, 0) : 1, positions = rows ? ct_dim(all.x, 0) / rows : 0;
    int64_t count = ghosts_of(call, rows, positions);
    ct_tensor **parts = ct_alloc(context, (size_t)(count + 1) * sizeof(*parts), CT_MEMORY_OTHER);
    if (!parts) return x;
    for (int64_t g = 0; g < count; g++) {
        int64_t first = g * o->size, last = g + 1 < count ? first + o->size : rows;
        ct_norm_tokens ghost =
            ct_norm_tokens_slice(call, &all, first * positions, (last - first) * positions);
        ct_tensor *mean, *variance;
        parts[g] = ct_norm_standardise(&ghost, o->affine.eps, &mean, &variance);
        if (call->update) update(call, &ghost, mean, variance);
    }
    ct_tensor *y = count == 1 ? parts[0] : ct_concat(parts, (int)count, 0);
    ct_free(context, parts);
    y = ct_reshape(y, ct_ndim(x),
                   ct_shape(x)); /* first: the gradients of gain and bias go sequence by sequence */
    return ct_norm_apply_affine(y, call->tensors[WEIGHT], call->tensors[BIAS], ct_dtype_of(x));
}

static ct_tensor *forward(const ct_norm_call *call, ct_tensor *x) {
    ct_tensor *scale, *shift;
    if (!call->training) {
        affine(call, &scale, &shift);
        return ct_norm_apply_affine(x, scale, shift, ct_dtype_of(x));
    }
    if (ct_count(x) >= 2 * call->width) return train(call, x);
    ct_fail(call->context, CT_ERROR_SHAPE,
            "%s: ghostbn in training sees %lld tokens, expected at least 2: one has no variance", call->where,
            (long long)(ct_count(x) / call->width));
    return x;
}

const ct_norm_method ct_norm_ghostbn = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_norm_method),
         .name = "ghostbn",
         .title = "Ghost batch normalisation",
         .paper = {"arXiv:1705.08741", "Hoffer, Hubara & Soudry, NeurIPS 2017"},
         .summary =
             "Batch normalisation whose statistics come from small parts of a large batch, so that training "
             "with large batches keeps the noise, and the accuracy, of small ones.",
         .options = options,
         .options_size = sizeof(ghostbn_options)},
    .tensors = tensors,
    .present = present,
    .centres = true,
    .rows_together = multiple,
    .forward = forward,
    .affine = affine};
