/* raw_check.h - what the tests of the raw operations share: contexts, element access as f64, views of odd
 * strides, and the runs that every operation has to pass (threads, failing allocations). */
#ifndef CARAT_TESTS_TENSOR_RAW_CHECK_H
#define CARAT_TESTS_TENSOR_RAW_CHECK_H

#include "tensor/iterate.h"
#include "tensor/raw.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* What is being checked, for messages of failures in loops over many cases. */
extern char checking[256];
#define CHECKING(...) snprintf(checking, sizeof checking, __VA_ARGS__)

/* Fails with the context's message if it holds an error. */
void expect_fine(ct_context *context);
/* Fails unless the context holds an error of that status whose message contains `text`; clears it. */
void expect_error(ct_context *context, ct_status status, const char *text);

/* All elements, row-major, as f64; free with free(). */
double *elements(const ct_tensor *t);
double element(const ct_tensor *t, int64_t position);
void expect_values(const ct_tensor *t, int ndim, const int64_t *shape, const double *expected,
                   double tolerance);
#define COMMA ,
#define EXPECT_VALUES(t, tolerance, shape, ...)                                                              \
    expect_values(t, COUNT(((const int64_t[])shape)), (const int64_t[])shape, (const double[])__VA_ARGS__,   \
                  tolerance)

/* A tensor of that type with small integers and fractions that every float type holds exactly (integers:
 * integers). */
ct_tensor *sample(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape, uint64_t seed);
/* The same values in memory of other strides: 0 as it is, 1 transposed memory, 2 every second element, 3
 * reversed. */
ct_tensor *restride(ct_tensor *t, int kind);
#define RESTRIDE_KINDS 4

/* Calls `make` on contexts of 1, 2 and 4 threads and compares the bytes of what it returns. */
typedef ct_tensor *(*make_function)(ct_context *context);
void expect_same_for_threads(make_function make);
/* Lets each allocation of `make` fail in turn until it succeeds; every failure must be CT_ERROR_MEMORY, and
 * after it the context must be usable. */
void expect_survives_exhaustion(make_function make);

#endif
