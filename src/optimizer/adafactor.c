/* adafactor.c - Adafactor (Shazeer & Stern, algorithms 4 and 5, without momentum): the second moment of a
 * matrix is kept as its row and column means. Defaults and form as in torch.optim.Adafactor.
 *
 * A parameter with more than two axes is a batch of matrices over its last two. */
#include "tensor/cpu/kernels.h"
#include <carat/optimizer.h>
#include <float.h>
#include <math.h>
#include <string.h>

typedef struct adafactor_options {
    double beta2_decay, epsilon1, epsilon2, clipping;
    bool relative_step, scale_parameter;
} adafactor_options;

static const ct_option options[] = {
    CT_OPTION_REAL("beta2_decay", adafactor_options, beta2_decay, -0.8, -10, 0,
                   "1 - beta2 is step to this power"),
    CT_OPTION_REAL("epsilon1", adafactor_options, epsilon1, FLT_EPSILON, 0, 1,
                   "least root mean of the second moment"),
    CT_OPTION_REAL("epsilon2", adafactor_options, epsilon2, 1e-3, 0, 1, "least scale of a parameter"),
    CT_OPTION_REAL("clipping", adafactor_options, clipping, 1, 1e-6, 1e6,
                   "root mean square an update is clipped to"),
    CT_OPTION_BOOL("relative_step", adafactor_options, relative_step, true,
                   "the rate is at most 1 / sqrt(step)"),
    CT_OPTION_BOOL("scale_parameter", adafactor_options, scale_parameter, true,
                   "steps are relative to the root mean square of the weight"),
    CT_OPTION_END};

enum { ROWS, COLUMNS, WHOLE };
static const ct_state_decl state[] = {{"row_var", CT_ROWS, CT_F32, CT_STATE_NONNEGATIVE},
                                      {"col_var", CT_COLUMNS, CT_F32, CT_STATE_NONNEGATIVE},
                                      {"variance", CT_LIKE_PARAMETER, CT_F32, CT_STATE_NONNEGATIVE},
                                      {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

static bool adafactor_keeps(const void *given, const ct_optimizer_tensor *tensor, int index) {
    (void)given;
    return (index == WHOLE) == (tensor->ndim < 2);
}

/* ------------------------------------------------------------------------------- sums by fixed pieces */

enum { PIECE = 1 << 16 };
typedef struct sums {
    const float *values;
    int64_t count;
    double *partial;
} sums;

static void sum_piece(void *user, int64_t index, int worker) {
    (void)worker;
    const sums *s = user;
    int64_t at = index * PIECE, n = s->count - at < PIECE ? s->count - at : PIECE;
    s->partial[index] = ct_cpu_kernels()->f32.reduce(CT_REDUCE_SUM_SQUARES, n, s->values + at, 0);
}

/* The root of the mean of squares; NAN if memory is out, which the context then says. */
static double root_mean_square(ct_context *context, const float *values, int64_t count) {
    int64_t pieces = (count + PIECE - 1) / PIECE;
    double total = 0, *partial = ct_alloc(context, (size_t)pieces * sizeof(double), CT_MEMORY_WORKSPACE);
    if (!partial) return NAN;
    ct_parallel_for(context, pieces, sum_piece, &(sums){values, count, partial});
    for (int64_t p = 0; p < pieces; p++)
        total += partial[p];
    ct_free(context, partial);
    return sqrt(total / (double)count);
}

/* ----------------------------------------------------------------------------------------- one matrix */

typedef struct matrix {
    const float *g;
    float *update, *row, *column;
    int64_t rows, columns;
    float rest;  /* 1 - beta2 */
    double mean; /* of the row means, at least epsilon1 */
    float least; /* of the second moment: epsilon1^2 */
} matrix;

/* row = row + rest (mean over columns of g^2 - row). */
static void row_task(void *user, int64_t r, int worker) {
    (void)worker;
    const matrix *m = user;
    double squares =
        ct_cpu_kernels()->f32.reduce(CT_REDUCE_SUM_SQUARES, m->columns, m->g + r * m->columns, 0);
    m->row[r] += m->rest * ((float)(squares / (double)m->columns) - m->row[r]);
}

/* The same for columns, a strip of them at a time. */
enum { STRIP = 256 };
static void column_task(void *user, int64_t index, int worker) {
    (void)worker;
    const matrix *m = user;
    double squares[STRIP] = {0};
    int64_t first = index * STRIP, n = m->columns - first < STRIP ? m->columns - first : STRIP;
    for (int64_t r = 0; r < m->rows; r++)
        for (int64_t c = 0; c < n; c++) {
            double g = (double)m->g[r * m->columns + first + c];
            squares[c] += g * g;
        }
    for (int64_t c = 0; c < n; c++)
        m->column[first + c] += m->rest * ((float)(squares[c] / (double)m->rows) - m->column[first + c]);
}

/* update = g / sqrt(row column / mean(row)). */
CT_ELEMENT_LOOPS static void update_row(const matrix *m, int64_t r) {
    float factor = (float)((double)m->row[r] / m->mean), least = m->least;
    const float *restrict column = m->column, *restrict g = m->g + r * m->columns;
    float *restrict update = m->update + r * m->columns;
    for (int64_t c = 0; c < m->columns; c++) {
        float variance = factor * column[c];
        update[c] = g[c] / sqrtf(variance > least ? variance : least);
    }
}

static void update_task(void *user, int64_t r, int worker) {
    (void)worker;
    update_row(user, r);
}

static void factored(const ct_optimizer_range *r, float rest, double epsilon1) {
    const ct_optimizer_tensor *t = r->tensor;
    matrix m = {.rows = t->shape[t->ndim - 2], .columns = t->shape[t->ndim - 1], .rest = rest};
    int64_t each = m.rows * m.columns;
    m.least = (float)(epsilon1 * epsilon1);
    for (int64_t b = 0; b < r->count / each; b++) {
        m.g = r->gradient + b * each;
        m.update = r->update + b * each;
        m.row = r->state[ROWS] + b * m.rows;
        m.column = r->state[COLUMNS] + b * m.columns;
        ct_parallel_for(r->context, m.rows, row_task, &m);
        ct_parallel_for(r->context, (m.columns + STRIP - 1) / STRIP, column_task, &m);
        double sum = ct_cpu_kernels()->f32.reduce(CT_REDUCE_SUM, m.rows, m.row, 0);
        m.mean = fmax(sum / (double)m.rows, epsilon1);
        ct_parallel_for(r->context, m.rows, update_task, &m);
    }
}

/* Vectors: v = v + rest (g^2 - v);  update = g / sqrt(v). */
CT_ELEMENT_LOOPS static void plain(const ct_optimizer_range *r, float rest, double epsilon1) {
    float *restrict v = r->state[WHOLE], *restrict update = r->update, least = (float)(epsilon1 * epsilon1);
    const float *restrict g = r->gradient;
    for (int64_t i = 0; i < r->count; i++) {
        v[i] = v[i] + rest * (g[i] * g[i] - v[i]);
        update[i] = g[i] / sqrtf(v[i] > least ? v[i] : least);
    }
}

/* ------------------------------------------------------------------------------------------- the step */

/* The rate of a step is alpha = max(epsilon2, RMS(w)) min(rate, 1 / sqrt(t)), the update is divided by
 * max(1, RMS(update) / clipping). */
static void adafactor_direction(const ct_optimizer_range *r) {
    const adafactor_options *o = r->options;
    double step = (double)r->step, rate = r->learning_rate, least = 1 / sqrt(step);
    float rest = (float)pow(step, o->beta2_decay);
    if (r->tensor->ndim < 2)
        plain(r, rest, o->epsilon1);
    else if (r->count > 0)
        factored(r, rest, o->epsilon1);
    double scale = o->relative_step && rate > least ? least / rate : 1;
    if (o->scale_parameter) scale *= fmax(o->epsilon2, root_mean_square(r->context, r->weight, r->count));
    scale /= fmax(1, root_mean_square(r->context, r->update, r->count) / o->clipping);
    ct_cpu_kernels()->f32.unary(CT_UNARY_SCALE, r->count, r->update, r->update, (float)scale, 0);
}

const ct_optimizer_method ct_optimizer_adafactor = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_optimizer_method),
               .name = "adafactor",
               .title = "Adafactor",
               .paper = {"arXiv:1804.04235", "Shazeer & Stern, ICML 2018"},
               .summary = "The second moment of a matrix kept as row and column means, and no first moment. "
                          "For models whose "
                          "optimizer state would not fit.",
               .options = options,
               .options_size = sizeof(adafactor_options),
               .uses = CT_HOOK_WHOLE_TENSOR},
    .state = state,
    .scope = CT_WHOLE_TENSOR,
    .keeps = adafactor_keeps,
    .direction = adafactor_direction};
