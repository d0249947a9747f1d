/* isa.h - which instruction set the kernels of the CPU device use, chosen at run time.
 *
 * Results in f32 and f64 do not depend on the choice: every variant performs the same FMAs in the same order.
 * The environment variable CARAT_ISA (plain, avx2, avx512) caps the choice. */
#ifndef CARAT_TENSOR_CPU_ISA_H
#define CARAT_TENSOR_CPU_ISA_H

typedef enum ct_isa {
    CT_ISA_PLAIN,  /* portable C, fma() of the C library */
    CT_ISA_AVX2,   /* AVX2, FMA and F16C */
    CT_ISA_AVX512, /* AVX-512 F, BW, VL and DQ */
    CT_ISAS
} ct_isa;

/* The best set that this processor has and the caps allow. Safe from any thread. */
ct_isa ct_cpu_isa(void);
/* "plain", "avx2", "avx512". */
const char *ct_isa_name(ct_isa isa);
/* Tests: sets the cap from now on, in place of that of the environment. Not while kernels run. */
void ct_cpu_set_isa_cap(ct_isa isa);

#endif
