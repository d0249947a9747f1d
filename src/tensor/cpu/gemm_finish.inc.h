/* gemm_finish.inc.h - reading elements of any type into the compute type, writing results, and the epilogue.
 * See gemm_vector.inc.h for the macros. */

static void CT_N(read)(ct_dtype dtype, const void *from, int64_t stride, int64_t count, void *to) {
    CT_T *out = to;
    int64_t i = 0;
    switch (dtype) {
    case CT_F32: {
        const float *x = from;
        if (stride == 1 && CT_IS_F32) memcpy(out, x, (size_t)count * sizeof *x), i = count;
        for (; i < count; i++)
            out[i] = (CT_T)x[i * stride];
        return;
    }
    case CT_F64: {
        const double *x = from;
        for (; i < count; i++)
            out[i] = (CT_T)x[i * stride];
        return;
    }
    case CT_BF16: {
        const uint16_t *x = from;
#if CT_IS_F32
        if (stride == 1)
            for (; i + CT_VL <= count; i += CT_VL)
                CT_N(store)(out + i, CT_N(load_bf16)(x + i));
#endif
        for (; i < count; i++)
            out[i] = (CT_T)ct_bf16_to_f32(x[i * stride]);
        return;
    }
    case CT_F16: {
        const uint16_t *x = from;
#if CT_IS_F32
        if (stride == 1)
            for (; i + CT_VL <= count; i += CT_VL)
                CT_N(store)(out + i, CT_HALF_LOAD(x + i));
#endif
        for (; i < count; i++)
            out[i] = (CT_T)ct_gemm_f16_to_f32(x[i * stride]);
        return;
    }
    case CT_I8: {
        const int8_t *x = from;
        for (; i < count; i++)
            out[i] = (CT_T)x[i * stride];
        return;
    }
    default: { /* CT_U8: ct_gemm checks */
        const uint8_t *x = from;
        for (; i < count; i++)
            out[i] = (CT_T)x[i * stride];
        return;
    }
    }
}

#if CT_IS_F32
#define CT_NARROW(x) (x)
#else
#define CT_NARROW(x) ct_gemm_f64_to_odd(x)
#endif

static void CT_N(write)(ct_dtype dtype, const CT_T *from, int64_t count, void *to, int64_t stride) {
    int64_t i = 0;
    switch (dtype) {
    case CT_F32: {
        float *out = to;
        if (stride == 1 && CT_IS_F32) memcpy(out, from, (size_t)count * sizeof *out), i = count;
        for (; i < count; i++)
            out[i * stride] = (float)from[i];
        return;
    }
    case CT_F64: {
        double *out = to;
        for (; i < count; i++)
            out[i * stride] = (double)from[i];
        return;
    }
    case CT_BF16: {
        uint16_t *out = to;
#if CT_IS_F32
        if (stride == 1)
            for (; i + CT_VL <= count; i += CT_VL)
                CT_N(store_bf16)(out + i, CT_N(load)(from + i));
#endif
        for (; i < count; i++)
            out[i * stride] = ct_f32_to_bf16(CT_NARROW(from[i]));
        return;
    }
    default: { /* CT_F16 */
        uint16_t *out = to;
#if CT_IS_F32
        if (stride == 1)
            for (; i + CT_VL <= count; i += CT_VL)
                CT_HALF_STORE(out + i, CT_N(load)(from + i));
#endif
        for (; i < count; i++)
            out[i * stride] = ct_gemm_f32_to_f16(CT_NARROW(from[i]));
        return;
    }
    }
}

static void CT_N(add)(CT_T *to, const CT_T *from, int64_t count) {
    int64_t i = 0;
    for (; i + CT_VL <= count; i += CT_VL)
        CT_N(store)(to + i, CT_N(load)(to + i) + CT_N(load)(from + i));
    for (; i < count; i++)
        to[i] += from[i];
}

static void CT_N(add_value)(CT_T *to, CT_T value, int64_t count) {
    int64_t i = 0;
    for (; i + CT_VL <= count; i += CT_VL)
        CT_N(store)(to + i, CT_N(load)(to + i) + CT_SET1(value));
    for (; i < count; i++)
        to[i] += value;
}

static void CT_N(add_residual)(const ct_gemm_operand *residual, int64_t row, int64_t col, CT_T *to,
                               int64_t count) {
    enum { PIECE = 256 };
    CT_T buffer[PIECE];
    int64_t size = (int64_t)ct_dtype_size(residual->dtype), stride = residual->col_stride;
    const char *from = (const char *)residual->data + (row * residual->row_stride + col * stride) * size;
    if (stride == 1 && residual->dtype == (CT_IS_F32 ? CT_F32 : CT_F64)) {
        CT_N(add)(to, (const CT_T *)(const void *)from, count);
        return;
    }
    for (int64_t i = 0; i < count; i += PIECE) {
        int64_t part = count - i < PIECE ? count - i : PIECE;
        CT_N(read)(residual->dtype, from + i * stride * size, stride, part, buffer);
        CT_N(add)(to + i, buffer, part);
    }
}

static void CT_N(write_output)(const ct_gemm_output *output, int64_t row, int64_t col, const CT_T *from,
                               int64_t count) {
    int64_t size = (int64_t)ct_dtype_size(output->dtype);
    char *to = (char *)output->data + (row * output->row_stride + col * output->col_stride) * size;
    CT_N(write)(output->dtype, from, count, to, output->col_stride);
}

static void CT_N(finish)(const ct_gemm_finish *finish, void *sums, int64_t sums_row, int64_t row, int64_t col,
                         int64_t rows, int64_t cols) {
    const ct_gemm_epilogue *epilogue = &finish->epilogue;
    const CT_T *bias_n = epilogue->bias_n, *bias_m = epilogue->bias_m;
    for (int64_t i = 0; i < rows; i++) {
        CT_T *values = (CT_T *)sums + i * sums_row;
        if (bias_m && finish->exchanged) CT_N(add_value)(values, bias_m[row + i], cols);
        if (bias_n) CT_N(add)(values, bias_n + col, cols);
        if (bias_m && !finish->exchanged) CT_N(add_value)(values, bias_m[row + i], cols);
        if (epilogue->preactivation.data)
            CT_N(write_output)(&epilogue->preactivation, row + i, col, values, cols);
        if (epilogue->activation) epilogue->activation(epilogue->activation_user, values, cols);
        if (epilogue->residual.data) CT_N(add_residual)(&epilogue->residual, row + i, col, values, cols);
        if (!finish->in_place) CT_N(write_output)(&finish->c, row + i, col, values, cols);
    }
}

#undef CT_NARROW
