/* gemm_vector.inc.h - the vector type of one compute type; included by gemm_<isa>.c before the kernels, which
 * define CT_T          float or double CT_BITS       unsigned integer of the same size CT_N(name)    the name
 * with the type's ending CT_VL         elements in a vector CT_MR, CT_NV  the register tile: rows, and
 * vectors across CT_DEPTH      steps of k in a block CT_SCALAR_FMA, CT_FMA, CT_SET1, CT_TRANSPOSE(rows, type)
 * and for float only
 *   CT_WIDEN      as many unsigned 16-bit integers as a vector has elements, widened to 32 bits
 *   CT_BYTE       byte s of each 32-bit unit moved to its top, zeros below (generic code where it is not defined)
 *   CT_HALF_LOAD, CT_HALF_STORE   f16 to a vector and back. */

typedef CT_T CT_N(vec) __attribute__((vector_size(CT_VL * sizeof(CT_T)), may_alias));
typedef CT_T CT_N(vec_unaligned)
    __attribute__((vector_size(CT_VL * sizeof(CT_T)), may_alias, aligned(sizeof(CT_T))));
typedef CT_BITS CT_N(bits) __attribute__((vector_size(CT_VL * sizeof(CT_T)), may_alias));

static inline __attribute__((always_inline)) CT_N(vec) CT_N(load)(const CT_T *from) {
    return *(const CT_N(vec_unaligned) *)from;
}

static inline __attribute__((always_inline)) void CT_N(store)(CT_T *to, CT_N(vec) value) {
    *(CT_N(vec_unaligned) *)to = value;
}

/* From any address. */
static inline __attribute__((always_inline)) CT_N(vec) CT_N(load_bytes)(const void *from) {
    typedef CT_T bytes __attribute__((vector_size(CT_VL * sizeof(CT_T)), may_alias, aligned(1)));
    return *(const bytes *)from;
}
