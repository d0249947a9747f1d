/* vmath_constants.h - polynomials of vmath.h, lowest power first: interpolation at Chebyshev nodes, computed
 * with 60 digits. The errors given are relative, of the exact polynomial. */
#ifndef CARAT_TENSOR_CPU_VMATH_CONSTANTS_H
#define CARAT_TENSOR_CPU_VMATH_CONSTANTS_H

#include <stdint.h>

/* (e^r - 1 - r) / r^2 for |r| <= ln(2)/2; error of e^r 1.0e-8 */
static const float exp_f32[5] = {0x1.00000000p-1f, 0x1.5554dc00p-3f, 0x1.55551800p-5f, 0x1.120be200p-7f,
                                 0x1.6d117c00p-10f};
/* the same, error 2.3e-19 */
static const double exp_f64[11] = {0x1.0000000000000p-1,  0x1.5555555555557p-3,  0x1.5555555555556p-5,
                                   0x1.11111111100bep-7,  0x1.6c16c16c162c3p-10, 0x1.a01a01abf85abp-13,
                                   0x1.a01a01a6e1e2ap-16, 0x1.71de01fdbf9cap-19, 0x1.27e4db46cddd1p-22,
                                   0x1.af4e554377204p-26, 0x1.1f7340dbc337ep-29};
/* 2^f for |f| <= 1/2; error 1.9e-8 with these coefficients */
static const float exp2_f32[7] = {0x1.00000000p+0f, 0x1.62e43000p-1f,  0x1.ebfbe000p-3f, 0x1.c6aecc00p-5f,
                                  0x1.3b2a1c00p-7f, 0x1.5f48c000p-10f, 0x1.44400000p-13f};
/* the same, error 2.0e-17 */
static const double exp2_f64[12] = {0x1.0000000000000p+0,  0x1.62e42fefa39efp-1,  0x1.ebfbdff82c5aep-3,
                                    0x1.c6b08d704a0c6p-5,  0x1.3b2ab6fb9f1a5p-7,  0x1.5d87fe78a3f9cp-10,
                                    0x1.430913112c61bp-13, 0x1.ffcbfc6da6ed1p-17, 0x1.62bfc2c86d700p-20,
                                    0x1.b524ebd13a55fp-24, 0x1.e6228acd1c6e5p-28, 0x1.e9ec1fcb69a7fp-32};
/* (log(1 + f) - f + f^2/2) / f^3 for 1 + f in [sqrt(1/2), sqrt(2)]; error of the log 2.0e-8 */
static const float log_f32[8] = {0x1.55555400p-2f, -0x1.0000ce00p-2f, 0x1.999f1400p-3f, -0x1.54d03e00p-3f,
                                 0x1.231ce400p-3f, -0x1.0a33f000p-3f, 0x1.02816200p-3f, -0x1.43b25e00p-4f};
/* (log((1 + s)/(1 - s))/s - 2)/s^2 as a polynomial in s^2, |s| <= 0.1716; error of the log 4.6e-18 */
static const double log_f64[7] = {0x1.5555555555558p-1, 0x1.99999999952e1p-2, 0x1.2492492df1555p-2,
                                  0x1.c71c62e57015bp-3, 0x1.7462b4afb9627p-3, 0x1.39fe5fce5437bp-3,
                                  0x1.2b5851f80e6c9p-3};
/* ((log((1 + s)/(1 - s))/s - 2)/s^2 - 2/3)/s^2 in s^2; error of the log 8.1e-22 */
static const double log_tail_f64[8] = {0x1.999999999999ap-2, 0x1.2492492492521p-2, 0x1.c71c71c6eaa88p-3,
                                       0x1.745d177a8f669p-3, 0x1.3b1395d4dc6dcp-3, 0x1.1118c74e668cfp-3,
                                       0x1.df7ce8575d779p-4, 0x1.e02d272f4f268p-4};
/* (sin(x)/x - 1)/x^2 in x^2, |x| <= pi/4; error 1.8e-11 */
static const float sin_f32[4] = {-0x1.55555600p-3f, 0x1.11110e00p-7f, -0x1.a0139a00p-13f, 0x1.6db9d400p-19f};
/* (cos(x) - 1 + x^2/2)/x^4 in x^2; error 7.8e-10 */
static const float cos_f32[3] = {0x1.55555400p-5f, -0x1.6c12ca00p-10f, 0x1.9bd44400p-16f};
/* the same in f64; error 1.3e-17 */
static const double sin_f64[6] = {-0x1.5555555555555p-3, 0x1.1111111110b97p-7,   -0x1.a01a019e7d21ap-13,
                                  0x1.71de378e148cap-19, -0x1.ae60023696a43p-26, 0x1.5e07f04f301b6p-33};
/* error 5.0e-19 */
static const double cos_f64[6] = {0x1.5555555555555p-5,   -0x1.6c16c16c16959p-10, 0x1.a01a019f4b6aap-16,
                                  -0x1.27e4fa139e45dp-22, 0x1.1eeb64821c697p-29,  -0x1.907a78f9a8549p-37};
/* erf(x)/x - 1 in x^2, |x| <= 1; error 1.3e-9 */
static const float erf_f32[7] = {0x1.06eba800p-3f, -0x1.81273e00p-2f,  0x1.ce2d1000p-4f, -0x1.b7faba00p-6f,
                                 0x1.54127000p-8f, -0x1.a4508800p-11f, 0x1.4a569000p-14f};
/* error 8.1e-18 */
static const double erf_f64[12] = {0x1.06eba8214db68p-3,   -0x1.812746b0379c1p-2,  0x1.ce2f21a040f66p-4,
                                   -0x1.b82ce31203772p-6,  0x1.565bccfa44156p-8,   -0x1.c02db0665e53dp-11,
                                   0x1.f9a2be4f731a1p-14,  -0x1.f4ca838adb73bp-17, 0x1.b981d78881a5dp-20,
                                   -0x1.5c131500d3f88p-23, 0x1.d76af6ca49787p-27,  -0x1.ac9585a44fe29p-31};
/* (t + c) e^(t^2) erfc(t) in (t - c)/(t + c), c = 3, 0 <= t <= 10; error 5.0e-9 */
static const float erfc_f32[10] = {
    0x1.12f21e00p+0f,  -0x1.c44c4800p-1f,  0x1.2e326c00p-1f, -0x1.3deaf800p-2f,  0x1.e9957e00p-4f,
    -0x1.b7af4000p-6f, -0x1.3f000c00p-10f, 0x1.9350ee00p-9f, -0x1.06479800p-11f, -0x1.5e75ae00p-12f};
/* c = 3.75, t <= 28; error 5.8e-18 */
static const double erfc_f64[23] = {
    0x1.178842825349dp+0,  -0x1.eae02d0a1456bp-1,  0x1.78fecb4e81af9p-1,   -0x1.f63dd81196104p-2,
    0x1.1dc271189e980p-2,  -0x1.0e3ea224bf3b4p-3,  0x1.92618b78ac1adp-5,   -0x1.9ac69564b47d5p-7,
    0x1.0290074245891p-10, 0x1.a0b7589dd2ea5p-11,  -0x1.6d9530bf55c09p-12, 0x1.637b28bcccbcbp-17,
    0x1.3a568d2a3b40bp-15, -0x1.2ac9048f0c114p-17, -0x1.b9a97670fa4aap-19, 0x1.bcd2f078175d2p-20,
    0x1.2f7c317fe1d91p-22, -0x1.1c3d0af75364fp-22, -0x1.08a1cb62b6c2bp-25, 0x1.5a55fb5e68abcp-25,
    0x1.ab321e62af376p-28, -0x1.3c09a311c0d32p-28, -0x1.628f199d44abfp-30};
/* 2/pi: 128 zero bits, then the 1280 bits after the binary point. */
static const uint64_t two_over_pi[22] = {0,
                                         0,
                                         0xa2f9836e4e441529,
                                         0xfc2757d1f534ddc0,
                                         0xdb6295993c439041,
                                         0xfe5163abdebbc561,
                                         0xb7246e3a424dd2e0,
                                         0x06492eea09d1921c,
                                         0xfe1deb1cb129a73e,
                                         0xe88235f52ebb4484,
                                         0xe99c7026b45f7e41,
                                         0x3991d639835339f4,
                                         0x9c845f8bbdf9283b,
                                         0x1ff897ffde05980f,
                                         0xef2f118b5a0a6d1f,
                                         0x6d367ecf27cb09b7,
                                         0x4f463f669e5fea2d,
                                         0x7527bac7ebe5f17b,
                                         0x3d0739f78a5292ea,
                                         0x6bfb5fb11f8d5d08,
                                         0x56033046fc7b6bab,
                                         0xf0cfbc209af4361d};

#endif
