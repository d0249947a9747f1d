/* gemm_bf16.inc.h - vectors of bf16 to float and back, and of bytes to float; float only. See gemm_vector.inc.h for the macros. */

typedef uint16_t CT_N(halves) __attribute__((vector_size(CT_VL * 2), may_alias, aligned(2)));

static inline __attribute__((always_inline)) CT_N(vec) CT_N(load_bf16)(const uint16_t *from) {
    return (CT_N(vec))((CT_N(bits))CT_WIDEN(from) << 16);
}

/* The signed byte `s` of each unit, times 2^24. */
static inline __attribute__((always_inline)) CT_N(vec) CT_N(byte)(CT_N(bits) units, const int s) {
    typedef int32_t wide __attribute__((vector_size(CT_VL * 4)));
#ifdef CT_BYTE
    wide raised = (wide)CT_BYTE(units, s);
#else
    wide raised = (wide)(units << (24 - 8 * s) & 0xff000000u);
#endif
    return __builtin_convertvector(raised, CT_N(vec));
}

/* The vector twin of ct_f32_to_bf16. */
static inline __attribute__((always_inline)) void CT_N(store_bf16)(uint16_t *to, CT_N(vec) value) {
    CT_N(bits) bits = (CT_N(bits))value;
    CT_N(bits) rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16, quiet = bits >> 16 | 0x40u;
    CT_N(bits) is_nan = (CT_N(bits))(value != value);
    *(CT_N(halves) *)to = __builtin_convertvector((is_nan & quiet) | (~is_nan & rounded), CT_N(halves));
}
