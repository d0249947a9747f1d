/* gemm_transpose.h - transposes a square of vectors in registers: 2, 4, 8 or 16 vectors of as many elements.
 * Written with the compilers' generic vectors: unpacks inside 128-bit lanes, then a transpose of the lanes.
 */
#ifndef CARAT_TENSOR_CPU_GEMM_TRANSPOSE_H
#define CARAT_TENSOR_CPU_GEMM_TRANSPOSE_H

#define CT_TRANSPOSE_UNROLL _Pragma("GCC unroll 16")

/* f64, 128 bits. */
#define CT_TRANSPOSE_D2(r, vec)                                                                              \
    do {                                                                                                     \
        vec t0_ = __builtin_shufflevector(r[0], r[1], 0, 2);                                                 \
        r[1] = __builtin_shufflevector(r[0], r[1], 1, 3);                                                    \
        r[0] = t0_;                                                                                          \
    } while (0)

/* f64, 256 bits. */
#define CT_TRANSPOSE_D4(r, vec)                                                                              \
    do {                                                                                                     \
        vec t_[4];                                                                                           \
        CT_TRANSPOSE_UNROLL for (int i_ = 0; i_ < 4; i_ += 2) {                                              \
            t_[i_] = __builtin_shufflevector(r[i_], r[i_ + 1], 0, 4, 2, 6);                                  \
            t_[i_ + 1] = __builtin_shufflevector(r[i_], r[i_ + 1], 1, 5, 3, 7);                              \
        }                                                                                                    \
        CT_TRANSPOSE_UNROLL for (int i_ = 0; i_ < 2; i_++) {                                                 \
            r[i_] = __builtin_shufflevector(t_[i_], t_[i_ + 2], 0, 1, 4, 5);                                 \
            r[i_ + 2] = __builtin_shufflevector(t_[i_], t_[i_ + 2], 2, 3, 6, 7);                             \
        }                                                                                                    \
    } while (0)

/* f64, 512 bits. */
#define CT_TRANSPOSE_D8(r, vec)                                                                              \
    do {                                                                                                     \
        vec t_[8];                                                                                           \
        CT_TRANSPOSE_UNROLL for (int i_ = 0; i_ < 8; i_ += 2) {                                              \
            t_[i_] = __builtin_shufflevector(r[i_], r[i_ + 1], 0, 8, 2, 10, 4, 12, 6, 14);                   \
            t_[i_ + 1] = __builtin_shufflevector(r[i_], r[i_ + 1], 1, 9, 3, 11, 5, 13, 7, 15);               \
        }                                                                                                    \
        CT_TRANSPOSE_UNROLL for (int i_ = 0; i_ < 2; i_++) {                                                 \
            vec a_ = __builtin_shufflevector(t_[i_], t_[i_ + 2], 0, 1, 2, 3, 8, 9, 10, 11);                  \
            vec b_ = __builtin_shufflevector(t_[i_], t_[i_ + 2], 4, 5, 6, 7, 12, 13, 14, 15);                \
            vec c_ = __builtin_shufflevector(t_[i_ + 4], t_[i_ + 6], 0, 1, 2, 3, 8, 9, 10, 11);              \
            vec d_ = __builtin_shufflevector(t_[i_ + 4], t_[i_ + 6], 4, 5, 6, 7, 12, 13, 14, 15);            \
            r[i_] = __builtin_shufflevector(a_, c_, 0, 1, 4, 5, 8, 9, 12, 13);                               \
            r[i_ + 2] = __builtin_shufflevector(a_, c_, 2, 3, 6, 7, 10, 11, 14, 15);                         \
            r[i_ + 4] = __builtin_shufflevector(b_, d_, 0, 1, 4, 5, 8, 9, 12, 13);                           \
            r[i_ + 6] = __builtin_shufflevector(b_, d_, 2, 3, 6, 7, 10, 11, 14, 15);                         \
        }                                                                                                    \
    } while (0)

/* f32, 128 bits. */
#define CT_TRANSPOSE_F4(r, vec)                                                                              \
    do {                                                                                                     \
        vec a_ = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);                                            \
        vec b_ = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);                                            \
        vec c_ = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);                                            \
        vec d_ = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);                                            \
        r[0] = __builtin_shufflevector(a_, c_, 0, 1, 4, 5);                                                  \
        r[1] = __builtin_shufflevector(a_, c_, 2, 3, 6, 7);                                                  \
        r[2] = __builtin_shufflevector(b_, d_, 0, 1, 4, 5);                                                  \
        r[3] = __builtin_shufflevector(b_, d_, 2, 3, 6, 7);                                                  \
    } while (0)

/* f32, 256 bits. */
#define CT_TRANSPOSE_F8(r, vec)                                                                              \
    do {                                                                                                     \
        vec t_[8];                                                                                           \
        CT_TRANSPOSE_UNROLL for (int i_ = 0; i_ < 8; i_ += 4) {                                              \
            vec a_ = __builtin_shufflevector(r[i_], r[i_ + 1], 0, 8, 1, 9, 4, 12, 5, 13);                    \
            vec b_ = __builtin_shufflevector(r[i_], r[i_ + 1], 2, 10, 3, 11, 6, 14, 7, 15);                  \
            vec c_ = __builtin_shufflevector(r[i_ + 2], r[i_ + 3], 0, 8, 1, 9, 4, 12, 5, 13);                \
            vec d_ = __builtin_shufflevector(r[i_ + 2], r[i_ + 3], 2, 10, 3, 11, 6, 14, 7, 15);              \
            t_[i_] = __builtin_shufflevector(a_, c_, 0, 1, 8, 9, 4, 5, 12, 13);                              \
            t_[i_ + 1] = __builtin_shufflevector(a_, c_, 2, 3, 10, 11, 6, 7, 14, 15);                        \
            t_[i_ + 2] = __builtin_shufflevector(b_, d_, 0, 1, 8, 9, 4, 5, 12, 13);                          \
            t_[i_ + 3] = __builtin_shufflevector(b_, d_, 2, 3, 10, 11, 6, 7, 14, 15);                        \
        }                                                                                                    \
        CT_TRANSPOSE_UNROLL for (int i_ = 0; i_ < 4; i_++) {                                                 \
            r[i_] = __builtin_shufflevector(t_[i_], t_[i_ + 4], 0, 1, 2, 3, 8, 9, 10, 11);                   \
            r[i_ + 4] = __builtin_shufflevector(t_[i_], t_[i_ + 4], 4, 5, 6, 7, 12, 13, 14, 15);             \
        }                                                                                                    \
    } while (0)

/* f32, 512 bits. */
#define CT_SHUFFLE_F16(x, y, a, b, c, d, e, f, g, h)                                                         \
    __builtin_shufflevector(x, y, a, b, c, d, e, f, g, h, (a) + 8, (b) + 8, (c) + 8, (d) + 8, (e) + 8,       \
                            (f) + 8, (g) + 8, (h) + 8)
#define CT_TRANSPOSE_F16(r, vec)                                                                             \
    do {                                                                                                     \
        vec t_[16];                                                                                          \
        CT_TRANSPOSE_UNROLL for (int i_ = 0; i_ < 16; i_ += 4) {                                             \
            vec a_ = CT_SHUFFLE_F16(r[i_], r[i_ + 1], 0, 16, 1, 17, 4, 20, 5, 21);                           \
            vec b_ = CT_SHUFFLE_F16(r[i_], r[i_ + 1], 2, 18, 3, 19, 6, 22, 7, 23);                           \
            vec c_ = CT_SHUFFLE_F16(r[i_ + 2], r[i_ + 3], 0, 16, 1, 17, 4, 20, 5, 21);                       \
            vec d_ = CT_SHUFFLE_F16(r[i_ + 2], r[i_ + 3], 2, 18, 3, 19, 6, 22, 7, 23);                       \
            t_[i_] = CT_SHUFFLE_F16(a_, c_, 0, 1, 16, 17, 4, 5, 20, 21);                                     \
            t_[i_ + 1] = CT_SHUFFLE_F16(a_, c_, 2, 3, 18, 19, 6, 7, 22, 23);                                 \
            t_[i_ + 2] = CT_SHUFFLE_F16(b_, d_, 0, 1, 16, 17, 4, 5, 20, 21);                                 \
            t_[i_ + 3] = CT_SHUFFLE_F16(b_, d_, 2, 3, 18, 19, 6, 7, 22, 23);                                 \
        }                                                                                                    \
        CT_TRANSPOSE_UNROLL for (int i_ = 0; i_ < 4; i_++) {                                                 \
            vec a_ = __builtin_shufflevector(t_[i_], t_[i_ + 4], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, \
                                             21, 22, 23);                                                    \
            vec b_ = __builtin_shufflevector(t_[i_], t_[i_ + 4], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26,   \
                                             27, 28, 29, 30, 31);                                            \
            vec c_ = __builtin_shufflevector(t_[i_ + 8], t_[i_ + 12], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18,    \
                                             19, 20, 21, 22, 23);                                            \
            vec d_ = __builtin_shufflevector(t_[i_ + 8], t_[i_ + 12], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25,  \
                                             26, 27, 28, 29, 30, 31);                                        \
            r[i_] =                                                                                          \
                __builtin_shufflevector(a_, c_, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);   \
            r[i_ + 4] =                                                                                      \
                __builtin_shufflevector(a_, c_, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31); \
            r[i_ + 8] =                                                                                      \
                __builtin_shufflevector(b_, d_, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);   \
            r[i_ + 12] =                                                                                     \
                __builtin_shufflevector(b_, d_, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31); \
        }                                                                                                    \
    } while (0)

#endif
