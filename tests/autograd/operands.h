/* operands.h - what the tests of single operations share: cmocka, a context, operands written down. */
#ifndef CARAT_TESTS_AUTOGRAD_OPERANDS_H
#define CARAT_TESTS_AUTOGRAD_OPERANDS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "autograd/rules.h"
#include <math.h>

static ct_context *context;

static int setup(void **state) {
    (void)state;
    context = ct_context_create(2);
    return context ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    ct_context_destroy(context);
    return 0;
}

#define F64(dims, ...) ct_from_data(context, CT_F64, dims, (const double[]){__VA_ARGS__})
#define I64(dims, ...) ct_from_data(context, CT_I64, dims, (const int64_t[]){__VA_ARGS__})
#define AXES(...)                                                                                            \
    (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), (const int[]) {                                       \
        __VA_ARGS__                                                                                          \
    }

#endif
