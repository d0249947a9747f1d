/* kernels_plain.c - the kernels in plain C: the reference for the others, and for processors without them. */
#define CT_KERNELS_VARIANT kernels_plain
#include "tensor/cpu/kernels_all.inc.h"

const ct_kernels *ct_cpu_kernels_plain(void) {
    return &kernels_plain;
}
