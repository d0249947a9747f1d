/* kernels_avx2.c - the kernels for AVX2, FMA and F16C. Compiled with the flags of that set; a build or a
 * processor without it has no such table. */
#include "tensor/cpu/kernels.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define CT_KERNELS_VARIANT kernels_avx2
#include "tensor/cpu/kernels_all.inc.h"

const ct_kernels *ct_cpu_kernels_avx2(void) {
    bool present =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    return present ? &kernels_avx2 : NULL;
}
#else
const ct_kernels *ct_cpu_kernels_avx2(void) {
    return NULL;
}
#endif
