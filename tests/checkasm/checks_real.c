/* checks_real.c - the checks of the kernels for f32 and for f64. */
#include "checkasm.h"

#include <string.h>

static const char *const unary_names[CT_UNARY_COUNT] = {
    "copy", "neg",     "abs",   "exp",        "exp2",  "expm1",      "log",       "log2", "log1p",
    "tanh", "sigmoid", "relu",  "leaky_relu", "elu",   "gelu_erf",   "gelu_tanh", "silu", "softplus",
    "sin",  "cos",     "erf",   "sqrt",       "rsqrt", "reciprocal", "square",    "sign", "floor",
    "ceil", "round",   "trunc", "scale",      "pow",   "clamp"};
static const char *const gradient_names[CT_GRADIENT_COUNT] = {
    "relu", "leaky_relu", "elu", "gelu_erf", "gelu_tanh", "silu", "softplus", "tanh", "sigmoid", "clamp"};
static const char *const binary_names[CT_BINARY_COUNT] = {"add", "sub", "mul", "div", "pow", "min", "max"};
static const char *const update_names[] = {"fill", "axpy", "axpby", "addcmul", "lerp"};
static const char *const gate_names[CT_GATE_COUNT] = {"silu", "gelu_erf", "gelu_tanh", "sigmoid", "relu"};
static const char *const reduce_names[CT_REDUCE_COUNT] = {"sum", "sum_abs", "sum_squares", "max", "min"};
static const char *const softmax_names[] = {"softmax",          "log_softmax",
                                            "softmax_backward", "log_softmax_backward",
                                            "logsumexp",        "softmax, small values"};
static const char *const norm_names[] = {"layer", "layer, residual", "rms", "rms, residual"};
static const char *const optimizer_names[] = {"adamw",     "adam",         "sgd",
                                              "sgd first", "sgd nesterov", "sgd maximize"};
static const char *const random_names[] = {"uniform", "normal", "perturb", "dropout"};

#define REAL float
#define NAME(name) name##_f32
#define K(kernels) kernels->f32
#define X(in, i) (in)->f32[i]
#define RECORD record_f32
#include "checks_real.inc.h"
#undef REAL
#undef NAME
#undef K
#undef X
#undef RECORD

#define REAL double
#define NAME(name) name##_f64
#define K(kernels) kernels->f64
#define X(in, i) (in)->f64[i]
#define RECORD record_f64
#include "checks_real.inc.h"
