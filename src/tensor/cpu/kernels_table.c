/* kernels_table.c - choice of the kernel variant, and the parts of the kernels that are plain arithmetic on a
 * few numbers and therefore have no variants. */
#include "tensor/cpu/kernels_internal.h"

#include "tensor/cpu/isa.h"

#include <math.h>

const ct_kernels *ct_cpu_kernels(void) {
    const ct_kernels *kernels = NULL;
    ct_isa isa = ct_cpu_isa();
    if (isa >= CT_ISA_AVX512) kernels = ct_cpu_kernels_avx512();
    if (!kernels && isa >= CT_ISA_AVX2) kernels = ct_cpu_kernels_avx2();
    return kernels ? kernels : ct_cpu_kernels_plain();
}

static double combine(ct_reduce op, double a, double b) {
    switch (op) {
    case CT_REDUCE_MAX:
        return a != a || a > b ? a : b;
    case CT_REDUCE_MIN:
        return a != a || a < b ? a : b;
    default:
        return a + b;
    }
}

void ct_reduce_counter_add(ct_reduce_counter *counter, ct_reduce op, double value) {
    int level = 0;
    for (int64_t bits = counter->count; bits & 1; bits >>= 1, ++level)
        value = combine(op, counter->level[level], value);
    counter->level[level] = value;
    counter->count += 1;
}

double ct_reduce_counter_total(const ct_reduce_counter *counter, ct_reduce op) {
    bool some = false;
    double total = op == CT_REDUCE_MAX ? -INFINITY : op == CT_REDUCE_MIN ? INFINITY : 0;
    for (int level = 0; counter->count >> level; ++level) {
        if (!(counter->count >> level & 1)) continue;
        total = some ? combine(op, counter->level[level], total) : counter->level[level];
        some = true;
    }
    return total;
}

double ct_reduce_combine(ct_reduce op, int64_t count, const double *partials) {
    ct_reduce_counter counter;
    counter.count = 0;
    for (int64_t i = 0; i < count; ++i)
        ct_reduce_counter_add(&counter, op, partials[i]);
    return ct_reduce_counter_total(&counter, op);
}

static size_t padded(int64_t n) {
    return (size_t)((n + 15) / 16 * 16);
}

size_t ct_attention_scratch(int64_t head_dim, int64_t value_dim) {
    size_t rows = CT_ATTENTION_KEYS + CT_ATTENTION_GROUP;
    return sizeof(float) *
           ((padded(head_dim) + padded(value_dim)) * rows + CT_ATTENTION_KEYS * CT_ATTENTION_ROWS);
}

size_t ct_attention_backward_scratch(int64_t queries, int64_t head_dim, int64_t value_dim) {
    size_t head = padded(head_dim), value = padded(value_dim);
    size_t keys_part = (3 * head + 2 * value) * CT_ATTENTION_KEYS;
    size_t queries_part = (2 * head + value) * CT_ATTENTION_ROWS;
    size_t scores = 2 * (size_t)CT_ATTENTION_KEYS * CT_ATTENTION_ROWS;
    return sizeof(float) * (keys_part + queries_part + scores + padded(queries));
}
