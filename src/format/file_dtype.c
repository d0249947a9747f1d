/* file_dtype.c - the element types of safetensors files and the sizes of tensors of them. */
#include "carat/format.h"
#include <string.h>

static const struct {
    const char *name;
    unsigned bits;
} types[CT_FILE_DTYPES] = {
    [CT_FILE_BOOL] = {"BOOL", 8},       [CT_FILE_F4] = {"F4", 4},
    [CT_FILE_F6_E2M3] = {"F6_E2M3", 6}, [CT_FILE_F6_E3M2] = {"F6_E3M2", 6},
    [CT_FILE_U8] = {"U8", 8},           [CT_FILE_I8] = {"I8", 8},
    [CT_FILE_F8_E5M2] = {"F8_E5M2", 8}, [CT_FILE_F8_E4M3] = {"F8_E4M3", 8},
    [CT_FILE_F8_E8M0] = {"F8_E8M0", 8}, [CT_FILE_I16] = {"I16", 16},
    [CT_FILE_U16] = {"U16", 16},        [CT_FILE_F16] = {"F16", 16},
    [CT_FILE_BF16] = {"BF16", 16},      [CT_FILE_I32] = {"I32", 32},
    [CT_FILE_U32] = {"U32", 32},        [CT_FILE_F32] = {"F32", 32},
    [CT_FILE_C64] = {"C64", 64},        [CT_FILE_F64] = {"F64", 64},
    [CT_FILE_I64] = {"I64", 64},        [CT_FILE_U64] = {"U64", 64},
};

const char *ct_file_dtype_name(ct_file_dtype dtype) {
    return types[dtype].name;
}
unsigned ct_file_dtype_bits(ct_file_dtype dtype) {
    return types[dtype].bits;
}

bool ct_file_dtype_parse(const char *name, ct_file_dtype *dtype) {
    for (int i = 0; i < CT_FILE_DTYPES; i++) {
        if (strcmp(types[i].name, name) != 0) continue;
        *dtype = (ct_file_dtype)i;
        return true;
    }
    return false;
}

bool ct_file_dtype_engine(ct_file_dtype dtype, ct_dtype *engine) {
    switch (dtype) {
    case CT_FILE_BOOL:
    case CT_FILE_U8:
        *engine = CT_U8;
        return true;
    case CT_FILE_I8:
        *engine = CT_I8;
        return true;
    case CT_FILE_F16:
        *engine = CT_F16;
        return true;
    case CT_FILE_BF16:
        *engine = CT_BF16;
        return true;
    case CT_FILE_I32:
        *engine = CT_I32;
        return true;
    case CT_FILE_F32:
        *engine = CT_F32;
        return true;
    case CT_FILE_F64:
        *engine = CT_F64;
        return true;
    case CT_FILE_I64:
        *engine = CT_I64;
        return true;
    default:
        return false;
    }
}

ct_file_dtype ct_file_dtype_of(ct_dtype engine) {
    switch (engine) {
    case CT_F64:
        return CT_FILE_F64;
    case CT_BF16:
        return CT_FILE_BF16;
    case CT_F16:
        return CT_FILE_F16;
    case CT_I8:
        return CT_FILE_I8;
    case CT_I32:
        return CT_FILE_I32;
    case CT_I64:
        return CT_FILE_I64;
    case CT_U8:
        return CT_FILE_U8;
    default:
        return CT_FILE_F32;
    }
}

bool ct_file_tensor_size(ct_file_dtype dtype, int rank, const int64_t *shape, uint64_t *size) {
    int64_t count = 1, total;
    bool empty = false;
    for (int i = 0; i < rank; i++) { /* the product without zeros: no order of multiplying may overflow */
        if (shape[i] < 0) return false;
        empty |= shape[i] == 0;
        if (shape[i] && __builtin_mul_overflow(count, shape[i], &count)) return false;
    }
    int64_t bits = types[dtype].bits;
    bool whole = bits % 8 == 0;
    if (__builtin_mul_overflow(count, whole ? bits / 8 : bits, &total)) return false;
    if (!whole && !empty && total % 8) return false;
    *size = empty ? 0 : (uint64_t)(whole ? total : total / 8);
    return true;
}
