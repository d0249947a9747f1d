/* vmath_real.inc.h - the functions of vmath.h that are the same for f32 and f64. Included twice by it, with
 * VMATH_VECTOR, VMATH_INTEGER, VMATH_MASK, VMATH_REAL the types, VMATH_V, _I, _M, _K the prefixes of
 * operations. */

#define V VMATH_V
#define K VMATH_K
#define C(value) VMATH_V(set)((VMATH_REAL)(value))

/* e^x for x <= 0 (or NaN). */
SIMD VMATH_VECTOR V(exp_negative)(VMATH_VECTOR x) {
    VMATH_INTEGER bits;
    VMATH_VECTOR r = V(exp_split)(x, K(EXP_BIAS), &bits);
    VMATH_VECTOR power = V(exp_power)(bits);
    VMATH_VECTOR result = V(fma)(power, V(exp_small)(r), power);
    return V(keep)(V(not_lt)(x, C(K(EXP_LOWEST))), result);
}

/* 2^x for |x| <= 1/2, from the coefficients of EXP2_TABLE or multiples of them. */
enum { V(EXP_TERMS) = sizeof K(EXP2_TABLE) / sizeof K(EXP2_TABLE)[0] };
SIMD VMATH_VECTOR V(exp2_rest)(VMATH_VECTOR x, const VMATH_REAL *coefficients) {
    VMATH_VECTOR result = C(coefficients[V(EXP_TERMS) - 1]);
    _Pragma("GCC unroll 16") for (int i = V(EXP_TERMS) - 2; i >= 0; --i) result =
        V(fma)(result, x, C(coefficients[i]));
    return result;
}

/* factor 2^(x log2(e) - offset) for |offset| < 2^11: e^(x - m) in fewer steps than exp_negative has, with the
 * factor in the coefficients. The result is 2^n times a polynomial; sums take the product in their addition.
 */
typedef struct V(exp_scaled) {
    VMATH_REAL offset, coefficients[V(EXP_TERMS)];
} V(exp_scaled);

SIMD VMATH_REAL V(exp_offset)(VMATH_REAL m) {
    return m * K(LOG2_E);
}
SIMD V(exp_scaled) V(exp_scaled_by)(VMATH_REAL offset, double factor) {
    V(exp_scaled) f = {.offset = offset};
    for (int i = 0; i < V(EXP_TERMS); ++i)
        f.coefficients[i] = (VMATH_REAL)(factor * (double)K(EXP2_TABLE)[i]);
    return f;
}
SIMD VMATH_VECTOR V(exp_scaled_parts)(VMATH_VECTOR x, const V(exp_scaled) * f, VMATH_VECTOR *power) {
    VMATH_VECTOR rest = V(exp2_parts)(V(fma)(x, C(K(LOG2_E)), C(-f->offset)), power);
    return V(exp2_rest)(rest, f->coefficients);
}

/* Replaces a result outside of [lowest, highest]: 0 below, infinity above, NaN for NaN. */
SIMD VMATH_VECTOR V(exp_limits)(VMATH_VECTOR x, VMATH_REAL lowest, VMATH_REAL highest, VMATH_VECTOR result) {
    result = V(keep)(V(not_lt)(x, C(lowest)), result);
    return V(select)(V(le)(x, C(highest)), result, V(add)(x, C(INFINITY)));
}

SIMD VMATH_VECTOR V(exp)(VMATH_VECTOR x) {
    VMATH_INTEGER bits;
    VMATH_VECTOR r = V(exp_split)(x, 0, &bits);
    VMATH_VECTOR result = V(exp_scale)(V(add)(V(exp_small)(r), C(1)), bits);
    return V(exp_limits)(x, K(EXP_LOWEST), K(EXP_HIGHEST), result);
}

SIMD VMATH_VECTOR V(exp2)(VMATH_VECTOR x) {
    VMATH_INTEGER bits;
    VMATH_VECTOR r = V(exp2_split)(x, &bits);
    VMATH_VECTOR result = V(exp_scale)(V(add)(V(exp_small)(r), C(1)), bits);
    return V(exp_limits)(x, K(EXP2_LOWEST), K(EXP2_HIGHEST), result);
}

/* e^x - 1 for x in [floor, 2 TANH_CAP]. */
SIMD VMATH_VECTOR V(expm1_moderate)(VMATH_VECTOR x) {
    VMATH_INTEGER bits;
    VMATH_VECTOR r = V(exp_split)(x, K(EXP_BIAS), &bits);
    VMATH_VECTOR power = V(exp_power)(bits);
    return V(fma)(power, V(exp_small)(r), V(sub)(power, C(1)));
}

SIMD VMATH_VECTOR V(expm1)(VMATH_VECTOR x) {
    VMATH_VECTOR clamped = V(min)(C(2 * K(TANH_CAP)), V(max)(C(K(EXPM1_FLOOR)), x));
    VMATH_VECTOR result = V(expm1_moderate)(clamped);
    result = V(select)(V(gt)(x, clamped), V(exp)(x), result);
    return V(select)(V(eq)(x, V(zero)()), x, result);
}

/* The values of a logarithm outside the positive finite numbers. */
SIMD VMATH_VECTOR V(log_limits)(VMATH_VECTOR x, VMATH_VECTOR result) {
    VMATH_VECTOR bad = V(select)(V(lt)(x, V(zero)()), C(NAN), V(add)(x, x)); /* +inf, NaN */
    result = V(select)(V(lt)(x, C(INFINITY)), result, bad);
    result = V(select)(V(lt)(x, V(zero)()), bad, result);
    return V(select)(V(eq)(x, V(zero)()), C(-INFINITY), result);
}

SIMD VMATH_VECTOR V(log)(VMATH_VECTOR x) {
    VMATH_VECTOR k, f = V(log_split)(x, &k);
    return V(log_limits)(x, V(log_join)(f, k));
}

SIMD VMATH_VECTOR V(log2)(VMATH_VECTOR x) {
    VMATH_VECTOR k, f = V(log_split)(x, &k);
    return V(log_limits)(x, V(fma)(V(log_join)(f, V(zero)()), C(K(LOG2_E)), k));
}

/* log(1 + x) = log(u) + e/u, with u + e = 1 + x exactly. */
SIMD VMATH_VECTOR V(log1p)(VMATH_VECTOR x) {
    VMATH_VECTOR one = C(1), u = V(add)(x, one), back = V(sub)(u, one);
    VMATH_VECTOR lost = V(add)(V(sub)(one, V(sub)(u, back)), V(sub)(x, back));
    VMATH_VECTOR result = V(add)(V(log)(u), V(div)(lost, u));
    result = V(select)(V(lt)(x, C(INFINITY)), result, V(add)(x, x));
    result = V(select)(V(eq)(x, V(zero)()), x, result);
    return V(select)(V(eq)(u, V(zero)()), C(-INFINITY), result);
}

/* tanh|x| = y = t/d, t = e^2|x| - 1, d = t + 2. What the sum d lost is put right to first order (1/d = (1 -
 * y)/2). */
SIMD VMATH_VECTOR V(tanh)(VMATH_VECTOR x) {
    VMATH_VECTOR clamped = V(min)(C(K(TANH_CAP)), V(abs)(x));
    VMATH_VECTOR t = V(expm1_moderate)(V(add)(clamped, clamped)), d = V(add)(t, C(2));
    VMATH_VECTOR y = V(div)(t, d), lost = V(sub)(t, V(sub)(d, C(2)));
    lost = V(keep)(V(lt)(t, C(1)), lost);
    y = V(fnma)(V(mul)(y, V(mul)(lost, C(0.5))), V(sub)(C(1), y), y);
    return V(sign_of)(y, x);
}

/* e^-|x| or 1, over 1 + e^-|x|, and one step of refinement (the residual is exact but for one rounding). */
SIMD VMATH_VECTOR V(sigmoid)(VMATH_VECTOR x) {
    VMATH_VECTOR e = V(exp_negative)(V(neg)(V(abs)(x)));
    VMATH_MASK positive = V(ge)(x, V(zero)());
    VMATH_VECTOR numerator = V(select)(positive, C(1), e);
    VMATH_VECTOR y = V(div)(numerator, V(add)(e, C(1)));
    VMATH_VECTOR residual = V(fnma)(y, e, V(sub)(numerator, y));
    return V(fma)(residual, V(select)(positive, y, V(sub)(C(1), y)), y);
}

/* log(1 + e^x) = max(x, 0) + log(1 + e^-|x|) */
SIMD VMATH_VECTOR V(softplus)(VMATH_VECTOR x) {
    VMATH_VECTOR e = V(exp_negative)(V(neg)(V(abs)(x)));
    return V(add)(V(max)(x, V(zero)()), V(log1p)(e));
}

SIMD void V(sincos)(VMATH_VECTOR x, VMATH_VECTOR *sine, VMATH_VECTOR *cosine) {
    VMATH_VECTOR low;
    VMATH_INTEGER quadrant;
    VMATH_VECTOR r = V(turn_split)(x, &low, &quadrant);
    unsigned large = VMATH_M(bits)(VMATH_M(not )(V(le)(V(abs)(x), C(K(TURN_LIMIT)))));
    if (__builtin_expect(large != 0, 0)) V(turn_lanes)(x, large, &r, &low, &quadrant);
    VMATH_VECTOR s, c;
    V(sincos_small)(r, low, &s, &c);
    VMATH_MASK swap = VMATH_I(test)(quadrant, 1);
    VMATH_VECTOR sine_value = V(select)(swap, c, s), cosine_value = V(select)(swap, s, c);
    VMATH_MASK sine_flip = VMATH_I(test)(quadrant, 2);
    VMATH_MASK cosine_flip = VMATH_I(test)(VMATH_I(add)(quadrant, VMATH_I(set)(1)), 2);
    *sine = V(select)(sine_flip, V(neg)(sine_value), sine_value);
    *cosine = V(select)(cosine_flip, V(neg)(cosine_value), cosine_value);
}
SIMD VMATH_VECTOR V(sin)(VMATH_VECTOR x) {
    VMATH_VECTOR s, c;
    V(sincos)(x, &s, &c);
    return V(select)(V(eq)(x, V(zero)()), x, s);
}
SIMD VMATH_VECTOR V(cos)(VMATH_VECTOR x) {
    VMATH_VECTOR s, c;
    V(sincos)(x, &s, &c);
    return c;
}

SIMD VMATH_VECTOR V(erf)(VMATH_VECTOR x) {
    VMATH_VECTOR t = V(min)(C(30), V(abs)(x)); /* the second operand if NaN */
    VMATH_VECTOR complement = V(mul)(V(erfc_scaled)(t), V(exp_negative)(V(neg)(V(mul)(t, t))));
    VMATH_VECTOR large = V(sign_of)(V(sub)(C(1), complement), x);
    return V(select)(V(lt)(t, C(1)), V(erf_small)(x), large);
}

/* The normal distribution function Phi(x) and, times sqrt(2 pi), its density. */
SIMD VMATH_VECTOR V(normal_distribution)(VMATH_VECTOR x, VMATH_VECTOR *gauss) {
    VMATH_VECTOR size = V(min)(C(40), V(abs)(x)),
                 half_size = V(mul)(size, C(0.5)); /* second operand if NaN */
    VMATH_VECTOR z = V(mul)(half_size, size), lost = V(fma)(half_size, size, V(neg)(z));
    VMATH_VECTOR g = V(exp_negative)(V(neg)(z));
    *gauss = V(fnma)(g, lost, g);
    VMATH_VECTOR scaled = V(erfc_scaled)(V(mul)(size, C(0.70710678118654752440)));
    VMATH_VECTOR half = V(mul)(V(mul)(scaled, *gauss), C(0.5));
    return V(select)(V(gt)(x, V(zero)()), V(sub)(C(1), half), half);
}

/* --------------------------------------------------------------------------------- activations, gradients */

SIMD VMATH_VECTOR V(gelu_erf)(VMATH_VECTOR x) {
    VMATH_VECTOR gauss;
    return V(mul)(x, V(normal_distribution)(x, &gauss));
}
/* Phi(x) + x phi(x) */
SIMD VMATH_VECTOR V(gelu_erf_slope)(VMATH_VECTOR x) {
    VMATH_VECTOR gauss, distribution = V(normal_distribution)(x, &gauss);
    return V(fma)(V(mul)(x, C(0.39894228040143267794)), gauss, distribution);
}
/* (1 + tanh u)/2 = 1/(1 + 2^t), t = -2u log2(e), 2u = 2 sqrt(2/pi) (x + 0.044715 x^3) */
SIMD VMATH_VECTOR V(gelu_tanh_gate)(VMATH_VECTOR x, VMATH_VECTOR *slope, VMATH_VECTOR *rest_of_one) {
    VMATH_VECTOR z = V(mul)(x, x), power;
    VMATH_VECTOR t = V(mul)(x, V(fma)(z, C(-0.10294323958002348742), C(-2.3022081981443248891)));
    *slope = V(fma)(z, C(0.21406444881780074633), C(1.5957691216057307118));
    VMATH_VECTOR rest = V(exp2_parts)(V(min)(C(K(EXP2_INFINITE)), t), &power);
    VMATH_VECTOR e = V(mul)(V(exp2_rest)(rest, K(EXP2_TABLE)), power), g = V(div)(C(1), V(add)(e, C(1)));
    *rest_of_one = V(select)(V(lt)(g, C(0.5)), V(sub)(C(1), g), V(mul)(e, g));
    return g;
}
SIMD VMATH_VECTOR V(gelu_tanh)(VMATH_VECTOR x) {
    VMATH_VECTOR slope, rest;
    return V(mul)(x, V(gelu_tanh_gate)(x, &slope, &rest));
}
/* g + x g (1 - g) (2u)' */
SIMD VMATH_VECTOR V(gelu_tanh_slope)(VMATH_VECTOR x) {
    VMATH_VECTOR slope, rest, g = V(gelu_tanh_gate)(x, &slope, &rest);
    VMATH_VECTOR product = V(mul)(V(mul)(g, rest), V(mul)(x, slope));
    return V(select)(V(eq)(V(abs)(x), C(INFINITY)), g, V(add)(g, product));
}
SIMD VMATH_VECTOR V(silu)(VMATH_VECTOR x) {
    return V(mul)(x, V(sigmoid)(x));
}
/* g + x g (1 - g), g = sigmoid(x) */
SIMD VMATH_VECTOR V(silu_slope)(VMATH_VECTOR x) {
    VMATH_VECTOR g = V(sigmoid)(x);
    return V(fma)(x, V(fnma)(g, g, g), g);
}

#undef V
#undef K
#undef C
#undef VMATH_V
#undef VMATH_I
#undef VMATH_M
#undef VMATH_K
#undef VMATH_VECTOR
#undef VMATH_INTEGER
#undef VMATH_MASK
#undef VMATH_REAL
