/* element.c - the element types of all files of tensors: plain ones and GGML's blocks. */
#include "carat/archive.h"
#include <string.h>
#include <strings.h>

/* GGML's numbers and block sizes are the GGUF specification's (ggml-org/ggml, docs/gguf.md) and
 * ggml-common.h's. */
static const ct_element_info types[CT_ELEMENTS] = {
    [CT_FILE_BOOL] = {"BOOL", 1, 1, -1, true, false},
    [CT_FILE_F4] = {"F4", 2, 1, -1, false, false},
    [CT_FILE_F6_E2M3] = {"F6_E2M3", 4, 3, -1, false, false},
    [CT_FILE_F6_E3M2] = {"F6_E3M2", 4, 3, -1, false, false},
    [CT_FILE_U8] = {"U8", 1, 1, -1, true, false},
    [CT_FILE_I8] = {"I8", 1, 1, 24, true, false},
    [CT_FILE_F8_E5M2] = {"F8_E5M2", 1, 1, -1, true, false},
    [CT_FILE_F8_E4M3] = {"F8_E4M3", 1, 1, -1, true, false},
    [CT_FILE_F8_E8M0] = {"F8_E8M0", 1, 1, -1, true, false},
    [CT_FILE_I16] = {"I16", 1, 2, 25, true, false},
    [CT_FILE_U16] = {"U16", 1, 2, -1, true, false},
    [CT_FILE_F16] = {"F16", 1, 2, 1, true, true},
    [CT_FILE_BF16] = {"BF16", 1, 2, 30, true, true},
    [CT_FILE_I32] = {"I32", 1, 4, 26, true, false},
    [CT_FILE_U32] = {"U32", 1, 4, -1, true, false},
    [CT_FILE_F32] = {"F32", 1, 4, 0, true, true},
    [CT_FILE_C64] = {"C64", 1, 8, -1, false, false},
    [CT_FILE_F64] = {"F64", 1, 8, 28, true, true},
    [CT_FILE_I64] = {"I64", 1, 8, 27, true, false},
    [CT_FILE_U64] = {"U64", 1, 8, -1, true, false},
    [CT_ELEMENT_Q4_0] = {"Q4_0", 32, 18, 2, true, true},
    [CT_ELEMENT_Q4_1] = {"Q4_1", 32, 20, 3, false, false},
    [CT_ELEMENT_Q5_0] = {"Q5_0", 32, 22, 6, false, false},
    [CT_ELEMENT_Q5_1] = {"Q5_1", 32, 24, 7, false, false},
    [CT_ELEMENT_Q8_0] = {"Q8_0", 32, 34, 8, true, true},
    [CT_ELEMENT_Q8_1] = {"Q8_1", 32, 36, 9, false, false},
    [CT_ELEMENT_Q2_K] = {"Q2_K", 256, 84, 10, false, false},
    [CT_ELEMENT_Q3_K] = {"Q3_K", 256, 110, 11, false, false},
    [CT_ELEMENT_Q4_K] = {"Q4_K", 256, 144, 12, true, false},
    [CT_ELEMENT_Q5_K] = {"Q5_K", 256, 176, 13, false, false},
    [CT_ELEMENT_Q6_K] = {"Q6_K", 256, 210, 14, true, false},
    [CT_ELEMENT_Q8_K] = {"Q8_K", 256, 292, 15, false, false},
    [CT_ELEMENT_IQ2_XXS] = {"IQ2_XXS", 256, 66, 16, false, false},
    [CT_ELEMENT_IQ2_XS] = {"IQ2_XS", 256, 74, 17, false, false},
    [CT_ELEMENT_IQ3_XXS] = {"IQ3_XXS", 256, 98, 18, false, false},
    [CT_ELEMENT_IQ1_S] = {"IQ1_S", 256, 50, 19, false, false},
    [CT_ELEMENT_IQ4_NL] = {"IQ4_NL", 32, 18, 20, false, false},
    [CT_ELEMENT_IQ3_S] = {"IQ3_S", 256, 110, 21, false, false},
    [CT_ELEMENT_IQ2_S] = {"IQ2_S", 256, 82, 22, false, false},
    [CT_ELEMENT_IQ4_XS] = {"IQ4_XS", 256, 136, 23, false, false},
    [CT_ELEMENT_IQ1_M] = {"IQ1_M", 256, 56, 29, false, false},
    [CT_ELEMENT_TQ1_0] = {"TQ1_0", 256, 54, 34, false, false},
    [CT_ELEMENT_TQ2_0] = {"TQ2_0", 256, 66, 35, false, false},
    [CT_ELEMENT_MXFP4] = {"MXFP4", 32, 17, 39, false, false},
};

const ct_element_info *ct_element_describe(ct_element type) {
    return &types[type];
}
const char *ct_element_name(ct_element type) {
    return types[type].name;
}

bool ct_element_parse(const char *name, ct_element *type) {
    for (int i = 0; i < CT_ELEMENTS; i++) {
        if (strcasecmp(types[i].name, name) != 0) continue;
        *type = (ct_element)i;
        return true;
    }
    return false;
}

bool ct_element_of_ggml(int64_t number, ct_element *type) {
    for (int i = 0; i < CT_ELEMENTS; i++) {
        if (types[i].ggml < 0 || types[i].ggml != number) continue;
        *type = (ct_element)i;
        return true;
    }
    return false;
}

bool ct_element_tensor_size(ct_element type, int rank, const int64_t *shape, uint64_t *size) {
    if (ct_element_is_plain(type)) return ct_file_tensor_size((ct_file_dtype)type, rank, shape, size);
    int64_t blocks = 1, total;
    bool empty = false;
    if (rank < 1 || shape[rank - 1] % types[type].block) return false;
    for (int i = 0; i < rank; i++) { /* as in ct_file_tensor_size: the zeros are left out of the product */
        int64_t extent = i == rank - 1 ? shape[i] / types[type].block : shape[i];
        if (extent < 0) return false;
        empty |= extent == 0;
        if (extent && __builtin_mul_overflow(blocks, extent, &blocks)) return false;
    }
    if (__builtin_mul_overflow(blocks, (int64_t)types[type].bytes, &total)) return false;
    if (total > INT64_MAX / types[type].block) return false; /* so that the count of elements fits too */
    *size = empty ? 0 : (uint64_t)total;
    return true;
}
