/* isa.c - the processor's instruction sets, asked once, and the cap of the environment. */
#include "tensor/cpu/isa.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const char *const isa_names[CT_ISAS] = {"plain", "avx2", "avx512"};

/* The chosen set plus one; 0 while it has not been asked for. */
static atomic_int chosen;

static ct_isa supported(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c"))
        return CT_ISA_PLAIN;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return CT_ISA_AVX512;
    return CT_ISA_AVX2;
#else
    return CT_ISA_PLAIN;
#endif
}

static ct_isa environment_cap(void) {
    const char *text = getenv("CARAT_ISA");
    if (text)
        for (int isa = 0; isa < CT_ISAS; isa++)
            if (strcmp(text, isa_names[isa]) == 0) return (ct_isa)isa;
    return CT_ISA_AVX512;
}

void ct_cpu_set_isa_cap(ct_isa isa) {
    ct_isa best = supported();
    atomic_store_explicit(&chosen, (int)(isa < best ? isa : best) + 1, memory_order_relaxed);
}

ct_isa ct_cpu_isa(void) {
    int known = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (known == 0) {
        ct_cpu_set_isa_cap(environment_cap());
        known = atomic_load_explicit(&chosen, memory_order_relaxed);
    }
    return (ct_isa)(known - 1);
}

const char *ct_isa_name(ct_isa isa) {
    return isa_names[isa];
}
