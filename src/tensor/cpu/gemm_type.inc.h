/* gemm_type.inc.h - all kernels of one compute type, and their table. Included by gemm_<isa>.c for each type,
 * after the macros that gemm_vector.inc.h lists. */
#include "tensor/cpu/gemm_micro.inc.h"
#include "tensor/cpu/gemm_pack.inc.h"
#include "tensor/cpu/gemm_finish.inc.h"
#include "tensor/cpu/gemm_matvec.inc.h"

const ct_gemm_kernels CT_TABLE = {
    .isa = CT_ISA,
    .dtype = CT_IS_F32 ? CT_F32 : CT_F64,
    .mr = CT_MR,
    .nr = CT_NR,
    .depth = CT_IS_F32 ? CT_GEMM_BLOCK_F32 : CT_GEMM_BLOCK_F64,
    .pack_a = CT_N(pack_a),
    .pack_b = CT_N(pack_b),
    .block = CT_N(block),
    .read = CT_N(read),
    .finish = CT_N(finish),
    .matvec_columns = CT_N(matvec_columns),
    .matvec_rows = CT_N(matvec_rows),
    .matvec_panels = CT_N(matvec_panels),
#if CT_IS_F32
    .pair = CT_N(pair),
    .unpack = CT_N(unpack),
#endif
};

#undef CT_NR
#undef CT_T
#undef CT_BITS
#undef CT_N
#undef CT_VL
#undef CT_MR
#undef CT_NV
#undef CT_IS_F32
#undef CT_TABLE
#undef CT_SCALAR_FMA
#undef CT_FMA
#undef CT_SET1
#undef CT_TRANSPOSE
#undef CT_EACH_ROWS
