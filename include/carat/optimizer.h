/* optimizer.h - optimizers: how gradients change parameters.
 *
 * What is applied to a gradient is a chain:
 *     gradient as it came -> scaling (clipping, loss normalisation) -> gradient links -> the optimizer's direction
 *     -> update links and masks -> decay and apply;  and after all parameters: links that put weights back (link.h).
 * An optimizer is the middle of the chain. It is given ranges of elements of one parameter and writes a direction. It
 * declares its state, so that one piece of code checkpoints, resumes, masks, plans and compresses the state of every
 * method. Work is done in tiles that stay in the first-level cache: each element of weight, gradient and state is read
 * and written once.
 *
 * Ranges depend on shapes alone and every sum over them has one order, so results are the same bits for any number of
 * threads. Functions of a method are called on worker threads, several at once for different ranges; unless they are
 * of scope CT_WHOLE_TENSOR they do not call into the context. */
#ifndef CARAT_OPTIMIZER_H
#define CARAT_OPTIMIZER_H

#include <carat/method.h>
#include <carat/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Before a function with plain loops over elements: compiled for several instruction sets, the best is picked when the
 * program starts. The bits are the same in all, as neither sums are reordered nor multiply-adds fused. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__) &&                     \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CT_ELEMENT_LOOPS __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define CT_ELEMENT_LOOPS
#endif

/* ------------------------------------------------------------------------------------------- state ----- */

#define CT_MAX_STATES 4
typedef enum ct_state_shape {
    CT_LIKE_PARAMETER,
    CT_ONE_PER_PARAMETER, /* [] */
    CT_ROWS,              /* the parameter's shape without its last axis; of a vector [] */
    CT_COLUMNS            /* the parameter's shape without its last but one axis; of a vector its own */
} ct_state_shape;

/* What values a state has: how it may be stored in less than 32 bits. */
typedef enum ct_state_values {
    CT_STATE_SIGNED,
    CT_STATE_NONNEGATIVE, /* second moments: a positive value stays positive when it is rounded */
    CT_STATE_EXACT        /* never rounded: asking for narrow states is an error */
} ct_state_values;

/* States begin as zero. Methods see them as f32 whatever they are stored as. */
typedef struct ct_state_decl {
    const char *name; /* torch's name where it has one: "exp_avg" */
    ct_state_shape shape;
    ct_dtype dtype; /* CT_F32; with shape CT_LIKE_PARAMETER also CT_BF16 or CT_F16: stored so, converted by tiles */
    ct_state_values values;
} ct_state_decl;

/* -------------------------------------------------------------------------------------- parameters ----- */

/* What a parameter is in its model. */
typedef enum ct_role {
    CT_ROLE_AUTO,      /* for ct_optimizer_add_as: as its slot says */
    CT_ROLE_MATRIX,    /* weight of a hidden linear or convolution layer */
    CT_ROLE_OUTPUT,    /* weight of the last linear layer: logits */
    CT_ROLE_EMBEDDING,
    CT_ROLE_GAIN,      /* of a norm */
    CT_ROLE_OFFSET,    /* bias of a norm */
    CT_ROLE_BIAS,
    CT_ROLE_ADAPTER,   /* low-rank or quantized: stands for a weight that is not there as such */
    CT_ROLE_OTHER      /* a scalar or vector in no known layer */
} ct_role;
const char *ct_role_name(ct_role role); /* "matrix" */

typedef struct ct_optimizer_tensor {
    const char *name;
    ct_role role;
    const ct_module *module; /* where its first slot is; NULL: in none */
    int ndim;
    const int64_t *shape;
    int64_t count;
    /* As a matrix with a row for each output channel: [out, in], [out, in * height * width]. The first axis is out, but
     * `transposed` weights [in, out] (GPT-2's Conv1D) have out last. A vector has rows of one element. */
    int64_t rows, columns;
    bool transposed;
    bool meta; /* there is no data: pointers are NULL */
} ct_optimizer_tensor;

/* Parameters that share settings. */
typedef struct ct_parameter_group {
    double learning_rate_scale; /* times the schedule's rate */
    double weight_decay;
} ct_parameter_group;

/* ---------------------------------------------------------------------------------------- a method ----- */

/* What a method measures over a whole parameter before it can make a direction: a range adds to `sum` and raises
 * `greatest`; ranges are combined in their order. `value` is the method's own, for later passes, for the direction and
 * for its statistics. */
typedef struct ct_measures {
    double sum[4], greatest[2], value[4];
    double decay_scale; /* times the weight decay of this step; 1 at the start */
    bool fused;         /* `fused` may be used in this step; true at the start */
} ct_measures;

/* A range of elements of one parameter, f32, contiguous. */
typedef struct ct_optimizer_range {
    const void *options;
    const ct_optimizer_tensor *tensor;
    int64_t step; /* of this parameter, from 1 */
    double learning_rate, weight_decay;
    int64_t count, offset; /* elements here; first element within the parameter */
    int64_t row, rows;     /* scope CT_ROW_RANGES: first row and how many, of tensor->columns elements */
    const float *weight;       /* before this step's decay */
    const float *raw_gradient; /* as it came */
    const float *gradient;     /* scaled, clipped and after gradient links, with coupled decay; for fused: as it came */
    float gradient_scale;      /* for fused */
    float *weight_out;         /* for fused: the same memory as weight */
    float *state[CT_MAX_STATES]; /* this range of states like the parameter, others whole; NULL: not kept */
    float *update;               /* uninitialised; to hold the direction. Update links: to be changed */
    int pass;                    /* of measure, from 0 */
    const ct_measures *measured; /* what was measured of the whole parameter */
    ct_measures *measure;        /* where this range adds its part; in a direction NULL unless statistics are recorded */
    ct_context *context;         /* scope CT_WHOLE_TENSOR: for ct_parallel_for, memory and tensors; else NULL */
} ct_optimizer_range;

/* CT_ROW_RANGES: whole rows of the matrix [rows, columns]; transposed weights come with their rows put together. A
 * chain whose links differ in scope takes the widest. */
typedef enum ct_optimizer_scope { CT_ELEMENTWISE, CT_ROW_RANGES, CT_WHOLE_TENSOR } ct_optimizer_scope;

typedef enum ct_decay {
    CT_DECAY_DECOUPLED, /* weight = weight (1 - learning_rate decay_scale decay), before the update is applied */
    CT_DECAY_COUPLED,   /* L2: decay * weight is added to the gradient */
    CT_DECAY_BY_METHOD  /* part of the direction */
} ct_decay;

/* What applies: weight = weight (1 - decay) - learning_rate * update. Fields that are not given are NULL or 0. */
typedef struct ct_optimizer_method {
    ct_method method;
    const ct_state_decl *state; /* ends with {NULL} */
    ct_optimizer_scope scope;
    ct_decay decay;
    int state_bits; /* default of the shared option; 0: 32 */
    bool on_meta;   /* the direction is also run on the meta device, without data, to count its memory and flops */
    /* Options that contradict each other: an error that says so. */
    ct_status (*check)(ct_context *context, const void *options);
    /* Whether state `index` of the list is kept for this parameter (NULL: all are). */
    bool (*keeps)(const void *options, const ct_optimizer_tensor *tensor, int index);
    /* For methods that must know something of the whole parameter first: `decide` is asked before each pass; while it
     * returns true `measure` runs over all ranges and decide is asked again with the sums. May update states. */
    bool (*decide)(const ct_optimizer_range *whole, int pass, ct_measures *measured);
    void (*measure)(const ct_optimizer_range *range);
    void (*direction)(const ct_optimizer_range *range);
    /* Optional: scaling, direction, decay and apply in one pass over the range, used when nothing else stands in the
     * chain. Equal to the separate links to rounding. */
    void (*fused)(const ct_optimizer_range *range);
    /* What it tells of a parameter in each step, for logs: names (ends with NULL) and their values. */
    const char *const *statistics;
    /* Of each statistic that numbers its values 0, 1, ...: what these are called in logs (ends with NULL); NULL for one
     * that is a quantity. NULL: all are. */
    const char *const *const *statistic_words;
    void (*report)(const ct_optimizer_range *whole, double *values);
} ct_optimizer_method;

extern const ct_optimizer_method *const ct_optimizer_methods[]; /* NULL-terminated, by name */

/* ------------------------------------------------------------------------------------ an optimizer ----- */

/* Options that every optimizer has beside its own:
 *   state_bits     32, 16 (bf16) or 8: how states like the parameter are stored. 8 bits: blocks of 256 elements, each
 *                  scaled by its greatest, in a dynamic map (Dettmers et al., arXiv:2110.02861)
 *   state_min_size parameters with fewer elements keep 32 bits */
extern const ct_option ct_optimizer_shared_options[];

typedef struct ct_optimizer ct_optimizer;
/* `options` is the method's map (with shared options) or NULL. */
ct_optimizer *ct_optimizer_create(ct_context *context, const char *method, const ct_value *options);
void ct_optimizer_destroy(ct_optimizer *optimizer);
const ct_optimizer_method *ct_optimizer_method_of(const ct_optimizer *optimizer);
/* Whether such an optimizer could be made; `path` is what messages call the map ("optimizer"). */
ct_status ct_optimizer_check(ct_context *context, const char *method, const ct_value *options, const char *path);

/* Puts a link (link.h) at the end of its part of the chain; before parameters are added. `options` may be NULL. */
ct_status ct_optimizer_add_link(ct_optimizer *optimizer, const char *link, const ct_value *options);
/* Links as a recipe lists them: names, or maps {name: nap, every: 2}. With `optimizer` NULL they are only checked. */
ct_status ct_optimizer_add_links(ct_context *context, ct_optimizer *optimizer, const ct_value *list, const char *path);

/* Adds a parameter (a leaf; borrowed) to be stepped; its state is made, zero, class CT_MEMORY_STATES. */
ct_status ct_optimizer_add(ct_optimizer *optimizer, ct_parameter *parameter, const ct_parameter_group *group);
/* The same for a parameter whose role its slot does not say. */
ct_status ct_optimizer_add_as(ct_optimizer *optimizer, ct_parameter *parameter, const ct_parameter_group *group,
                              ct_role role);
/* Further factors of a parameter's rate and decay (parametrizations, layer-wise rates); 1 and 1 at the start. */
ct_status ct_optimizer_scale(ct_optimizer *optimizer, const ct_parameter *parameter, double learning_rate,
                             double weight_decay);
/* Where the u8 mask (shape of the parameter; held; NULL: none) is 0, elements are frozen: their gradient counts as 0,
 * they get neither update nor decay nor projection. */
ct_status ct_optimizer_set_mask(ct_optimizer *optimizer, const ct_parameter *parameter, ct_tensor *mask);

/* Square root of the sum of squares of all gradients of trainable parameters (f64 partial sums in a fixed order). */
ct_status ct_optimizer_gradient_norm(ct_optimizer *optimizer, double *norm);
/* One step: every gradient times gradient_scale, direction, decay, apply. Gradients that are absent count as none:
 * the parameter is left alone, and its own count of steps stays. Raises the versions of weights. */
ct_status ct_optimizer_step(ct_optimizer *optimizer, double learning_rate, double gradient_scale);
ct_status ct_optimizer_clear_gradients(ct_optimizer *optimizer); /* drops them */
/* Forgets what the method has gathered: its states and the parameters' counts of steps are 0 again. What links keep (norms
 * of the initial weights) and the steps of the whole stay. */
ct_status ct_optimizer_reset(ct_optimizer *optimizer);

/* Steps of the whole; those of each parameter are among the states. */
int64_t ct_optimizer_steps(const ct_optimizer *optimizer);
void ct_optimizer_set_steps(ct_optimizer *optimizer, int64_t steps);
/* For checkpoints: every state as a named tensor, borrowed: "exp_avg.transformer.wte.weight"; "step.NAME", i64; the
 * greatest of each block of 8-bit states "exp_avg_absmax.NAME"; those of links "nap.rho.NAME". */
int64_t ct_optimizer_state_count(const ct_optimizer *optimizer);
ct_tensor *ct_optimizer_state_at(const ct_optimizer *optimizer, int64_t index, char *name, size_t name_size);

/* Statistics of the last step, if recorded: a value for each parameter and name. "norm" (of the weight after the step)
 * and "relative_update" (norm of the change over the norm before) are those of every optimizer; then the method's, then
 * the links'. NAN: nothing to tell. Recording does not change results. */
ct_status ct_optimizer_record(ct_optimizer *optimizer, bool on);
int ct_optimizer_statistic_count(const ct_optimizer *optimizer);
const char *ct_optimizer_statistic_name(const ct_optimizer *optimizer, int index);
int64_t ct_optimizer_parameter_count(const ct_optimizer *optimizer);
const ct_parameter *ct_optimizer_parameter(const ct_optimizer *optimizer, int64_t index);
double ct_optimizer_statistic(const ct_optimizer *optimizer, int64_t parameter, int index);
/* Whether statistic `index` is one of named values, and the name of one of them (NULL: it has none). */
bool ct_optimizer_statistic_is_word(const ct_optimizer *optimizer, int index);
const char *ct_optimizer_statistic_word(const ct_optimizer *optimizer, int index, double value);

#ifdef __cplusplus
}
#endif
#endif
