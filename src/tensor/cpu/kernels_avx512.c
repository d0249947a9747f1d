/* kernels_avx512.c - the kernels for AVX-512 F, BW, DQ and VL. Compiled with the flags of that set; a build
 * or a processor without it has no such table. */
#include "tensor/cpu/kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define CT_KERNELS_VARIANT kernels_avx512
#include "tensor/cpu/kernels_all.inc.h"

const ct_kernels *ct_cpu_kernels_avx512(void) {
    bool present = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return present ? &kernels_avx512 : NULL;
}
#else
const ct_kernels *ct_cpu_kernels_avx512(void) {
    return NULL;
}
#endif
