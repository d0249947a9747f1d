/* kernels_convert.inc.h - conversions between element types. Included by kernels_all.inc.h. The pairs that
 * training uses are vectors; the others go through f64 (reals) or i64 (integers) in pieces that stay in the
 * first cache. */

#define PIECE 512

/* To odd: an inexact result gets its last bit set, so that a second rounding to a narrower type is correct.
 */
static float f64_to_f32_odd(double x) {
    float y = (float)x;
    double back = (double)y;
    if (back == x || x != x || fabsf(y) == INFINITY) return y;
    uint32_t bits;
    memcpy(&bits, &y, 4);
    if (!(bits & 1u)) bits = fabs(back) > fabs(x) ? bits - 1u : bits + 1u;
    memcpy(&y, &bits, 4);
    return y;
}

static void f32_to_f16(int64_t n, const float *x, uint16_t *y) {
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        vf_store_f16(y + i, vf_load(x + i));
    if (i == n) return;
    uint16_t end[VF_LANES];
    vf_store_f16(end, vf_load_part(x + i, n - i));
    memcpy(y + i, end, (size_t)(n - i) * 2);
}
static void f32_to_bf16(int64_t n, const float *x, uint16_t *y) {
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        vf_store_bf16(y + i, vf_load(x + i));
    if (i == n) return;
    uint16_t end[VF_LANES];
    vf_store_bf16(end, vf_load_part(x + i, n - i));
    memcpy(y + i, end, (size_t)(n - i) * 2);
}
static void f16_to_f32(int64_t n, const uint16_t *x, float *y) {
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        vf_store(y + i, vf_load_f16(x + i));
    if (i == n) return;
    uint16_t end[VF_LANES] = {0};
    memcpy(end, x + i, (size_t)(n - i) * 2);
    vf_store_part(y + i, vf_load_f16(end), n - i);
}
static void bf16_to_f32(int64_t n, const uint16_t *x, float *y) {
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        vf_store(y + i, vf_load_bf16(x + i));
    if (i == n) return;
    uint16_t end[VF_LANES] = {0};
    memcpy(end, x + i, (size_t)(n - i) * 2);
    vf_store_part(y + i, vf_load_bf16(end), n - i);
}

/* Truncated and clamped to [low, high] (exact in f64, or 2^63 above); NaN is 0. */
static int64_t real_to_integer(double x, ct_dtype to) {
    if (x != x) return 0;
    switch (to) {
    case CT_I8:
        return x <= INT8_MIN ? INT8_MIN : x >= INT8_MAX ? INT8_MAX : (int64_t)x;
    case CT_U8:
        return x <= 0 ? 0 : x >= UINT8_MAX ? UINT8_MAX : (int64_t)x;
    case CT_I32:
        return x <= INT32_MIN ? INT32_MIN : x >= INT32_MAX ? INT32_MAX : (int64_t)x;
    default:
        return x <= -0x1p63 ? INT64_MIN : x >= 0x1p63 ? INT64_MAX : (int64_t)x;
    }
}

static void to_f64(int64_t n, ct_dtype from, const void *x, double *y) {
    float piece[PIECE];
    const float *values = piece;
    switch (from) {
    case CT_F32:
        values = x;
        break;
    case CT_BF16:
        bf16_to_f32(n, x, piece);
        break;
    case CT_F16:
        f16_to_f32(n, x, piece);
        break;
    default:
        memcpy(y, x, (size_t)n * sizeof(double));
        return;
    }
    for (int64_t i = 0; i < n; ++i)
        y[i] = (double)values[i];
}

static void from_f64(int64_t n, const double *x, ct_dtype to, void *y) {
    float piece[PIECE];
    switch (to) {
    case CT_F64:
        memcpy(y, x, (size_t)n * sizeof(double));
        break;
    case CT_F32:
        for (int64_t i = 0; i < n; ++i)
            ((float *)y)[i] = (float)x[i];
        break;
    case CT_BF16:
    case CT_F16:
        for (int64_t i = 0; i < n; ++i)
            piece[i] = f64_to_f32_odd(x[i]);
        if (to == CT_BF16)
            f32_to_bf16(n, piece, y);
        else
            f32_to_f16(n, piece, y);
        break;
    case CT_I8:
        for (int64_t i = 0; i < n; ++i)
            ((int8_t *)y)[i] = (int8_t)real_to_integer(x[i], to);
        break;
    case CT_U8:
        for (int64_t i = 0; i < n; ++i)
            ((uint8_t *)y)[i] = (uint8_t)real_to_integer(x[i], to);
        break;
    case CT_I32:
        for (int64_t i = 0; i < n; ++i)
            ((int32_t *)y)[i] = (int32_t)real_to_integer(x[i], to);
        break;
    default:
        for (int64_t i = 0; i < n; ++i)
            ((int64_t *)y)[i] = real_to_integer(x[i], to);
        break;
    }
}

static void to_i64(int64_t n, ct_dtype from, const void *x, int64_t *y) {
    switch (from) {
    case CT_I8:
        for (int64_t i = 0; i < n; ++i)
            y[i] = ((const int8_t *)x)[i];
        break;
    case CT_U8:
        for (int64_t i = 0; i < n; ++i)
            y[i] = ((const uint8_t *)x)[i];
        break;
    case CT_I32:
        for (int64_t i = 0; i < n; ++i)
            y[i] = ((const int32_t *)x)[i];
        break;
    default:
        memcpy(y, x, (size_t)n * sizeof(int64_t));
        break;
    }
}

static void from_i64(int64_t n, const int64_t *x, ct_dtype to, void *y) {
    double piece[PIECE];
    switch (to) {
    case CT_I8:
        for (int64_t i = 0; i < n; ++i)
            ((int8_t *)y)[i] = (int8_t)(uint8_t)x[i];
        break;
    case CT_U8:
        for (int64_t i = 0; i < n; ++i)
            ((uint8_t *)y)[i] = (uint8_t)x[i];
        break;
    case CT_I32:
        for (int64_t i = 0; i < n; ++i)
            ((int32_t *)y)[i] = (int32_t)(uint32_t)x[i];
        break;
    case CT_I64:
        memcpy(y, x, (size_t)n * sizeof(int64_t));
        break;
    case CT_F32:
        for (int64_t i = 0; i < n; ++i)
            ((float *)y)[i] = (float)x[i];
        break;
    case CT_F64:
        for (int64_t i = 0; i < n; ++i)
            ((double *)y)[i] = (double)x[i];
        break;
    default: /* bf16 and f16; beyond 2^53 the value is rounded to f64 first */
        for (int64_t i = 0; i < n; ++i)
            piece[i] = (double)x[i];
        from_f64(n, piece, to, y);
        break;
    }
}

/* Narrow integers to f32: pixels, masks, int8 weights. */
static bool integers_to_f32(int64_t n, ct_dtype from, const void *x, float *y) {
    switch (from) {
    case CT_U8:
        for (int64_t i = 0; i < n; ++i)
            y[i] = (float)((const uint8_t *)x)[i];
        return true;
    case CT_I8:
        for (int64_t i = 0; i < n; ++i)
            y[i] = (float)((const int8_t *)x)[i];
        return true;
    case CT_I32:
        for (int64_t i = 0; i < n; ++i)
            y[i] = (float)((const int32_t *)x)[i];
        return true;
    default:
        return false;
    }
}

static void convert(int64_t n, ct_dtype from, const void *x, ct_dtype to, void *y) {
    if (n <= 0) return;
    size_t from_size = ct_dtype_size(from), to_size = ct_dtype_size(to);
    if (from == to) {
        memmove(y, x, (size_t)n * from_size);
        return;
    }
    if (from == CT_F32 && to == CT_BF16) {
        f32_to_bf16(n, x, y);
    } else if (from == CT_F32 && to == CT_F16) {
        f32_to_f16(n, x, y);
    } else if (from == CT_BF16 && to == CT_F32) {
        bf16_to_f32(n, x, y);
    } else if (from == CT_F16 && to == CT_F32) {
        f16_to_f32(n, x, y);
    } else if (to == CT_F32 && integers_to_f32(n, from, x, y)) {
        return;
    } else {
        int64_t integers[PIECE];
        double reals[PIECE];
        for (int64_t i = 0; i < n; i += PIECE) {
            int64_t length = n - i < PIECE ? n - i : PIECE;
            const char *source = (const char *)x + (size_t)i * from_size;
            char *target = (char *)y + (size_t)i * to_size;
            if (ct_dtype_is_float(from)) {
                to_f64(length, from, source, reals);
                from_f64(length, reals, to, target);
            } else {
                to_i64(length, from, source, integers);
                from_i64(length, integers, to, target);
            }
        }
    }
}
#undef PIECE
