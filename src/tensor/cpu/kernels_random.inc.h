/* kernels_random.inc.h - random fills: Philox 4x32-10 (Salmon et al., SC 2011), 16 counter blocks at a time,
 * lane = block. The mapping from counters to elements is in kernels.h and agrees with that of
 * base/random_internal.h. Included by kernels_all.inc.h. */
#define GROUP_BLOCKS 16
#define GROUP 64 /* 32-bit words, f32 elements, of a group */
#define GROUP_F64 32

/* words[w], lane b: word w of block `space` + 16 group + b. */
static void philox_group(ct_random_range random, uint64_t space, uint64_t group, vi words[4]) {
    uint64_t block = space + group * GROUP_BLOCKS, seed = random.seed, stream = random.stream;
    vi c0 =
        vi_add(vi_set((int32_t)(uint32_t)block), vi_lanes()); /* the low 4 bits of block are 0: no carry */
    vi c1 = vi_set((int32_t)(uint32_t)(block >> 32));
    vi c2 = vi_set((int32_t)(uint32_t)stream), c3 = vi_set((int32_t)(uint32_t)(stream >> 32));
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        vi high0, low0, high1, low1;
        vi_multiply(c0, 0xD2511F53u, &high0, &low0);
        vi_multiply(c2, 0xCD9E8D57u, &high1, &low1);
        c0 = vi_xor(vi_xor(high1, c1), vi_set((int32_t)k0));
        c1 = low1;
        c2 = vi_xor(vi_xor(high0, c3), vi_set((int32_t)k1));
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

/* (word >> 8) 2^-24 */
SIMD vf words_to_uniform(vi words) {
    return vf_mul(vi_to_vf(vi_shr(words, 8)), vf_set(0x1p-24f));
}
/* (word + more) 2^-32, rounded once; more is 0 or 1. */
SIMD vf words_to_fraction(vi words, float more) {
    vf low = vf_add(vi_to_vf(vi_and(words, vi_set(0xffff))), vf_set(more));
    return vf_mul(vf_fma(vi_to_vf(vi_shr(words, 16)), vf_set(65536.0f), low), vf_set(0x1p-32f));
}

/* Box and Muller 1958, with the words of even and of odd number. */
SIMD void words_to_normals(vi even, vi odd, vf *first, vf *second) {
    vf radius = vf_sqrt(vf_mul(vf_set(-2.0f), vf_log(words_to_fraction(even, 1.0f))));
    vf sine, cosine;
    vf_sincos(vf_mul(vf_set(6.2831853071795864769f), words_to_fraction(odd, 0.0f)), &sine, &cosine);
    *first = vf_mul(radius, cosine);
    *second = vf_mul(radius, sine);
}

static void group_words_of(ct_random_range random, uint64_t space, uint64_t group, uint32_t *out) {
    vi words[4];
    philox_group(random, space, group, words);
    vi_interleave4(words);
    for (int i = 0; i < 4; ++i)
        vi_store(out + 16 * i, words[i]);
}
static void group_words(ct_random_range random, uint64_t group, uint32_t *out) {
    group_words_of(random, CT_RANDOM_WORDS, group, out);
}
static void group_uniforms(ct_random_range random, uint64_t group, float *out) {
    vi words[4];
    philox_group(random, CT_RANDOM_WORDS, group, words);
    vi_interleave4(words);
    for (int i = 0; i < 4; ++i)
        vf_store(out + 16 * i, words_to_uniform(words[i]));
}
static void group_normals(ct_random_range random, uint64_t group, float *out) {
    vi words[4];
    vf z[4];
    philox_group(random, CT_RANDOM_NORMAL, group, words);
    words_to_normals(words[0], words[1], &z[0], &z[1]);
    words_to_normals(words[2], words[3], &z[2], &z[3]);
    for (int i = 0; i < 4; ++i)
        words[i] = vf_vi(z[i]);
    vi_interleave4(words);
    for (int i = 0; i < 4; ++i)
        vi_store(out + 16 * i, words[i]);
}

/* 64-bit words in element order. */
static void group_words64(ct_random_range random, uint64_t space, uint64_t group, uint64_t *out) {
    uint32_t words[GROUP];
    group_words_of(random, space, group, words);
    for (int i = 0; i < GROUP_F64; ++i)
        out[i] = (uint64_t)words[2 * i] | (uint64_t)words[2 * i + 1] << 32;
}
static void group_uniforms_f64(ct_random_range random, uint64_t group, double *out) {
    uint64_t words[GROUP_F64];
    group_words64(random, CT_RANDOM_UNIFORM, group, words);
    for (int i = 0; i < GROUP_F64; ++i)
        out[i] = (double)(int64_t)(words[i] >> 11) * 0x1p-53;
}
static void group_normals_f64(ct_random_range random, uint64_t group, double *out) {
    uint64_t words[GROUP_F64];
    double even[GROUP_F64 / 2], odd[GROUP_F64 / 2];
    group_words64(random, CT_RANDOM_NORMAL, group, words);
    for (int i = 0; i < GROUP_F64 / 2; ++i) {
        even[i] = 1.0 - (double)(int64_t)(words[2 * i] >> 11) * 0x1p-53;
        odd[i] = (double)(int64_t)(words[2 * i + 1] >> 11) * 0x1p-53;
    }
    for (int i = 0; i < GROUP_F64 / 2; i += VD_LANES) {
        vd radius = vd_sqrt(vd_mul(vd_set(-2.0), vd_log(vd_load(even + i)))), sine, cosine;
        vd_sincos(vd_mul(vd_set(6.2831853071795864769), vd_load(odd + i)), &sine, &cosine);
        vd_store(even + i, vd_mul(radius, cosine));
        vd_store(odd + i, vd_mul(radius, sine));
    }
    for (int i = 0; i < GROUP_F64 / 2; ++i) {
        out[2 * i] = even[i];
        out[2 * i + 1] = odd[i];
    }
}

/* Walks over the groups of `size` elements that [offset, offset + n) meets: in the body, elements [skip, skip
 * + count) of group `group` are elements [i, i + count) of the range. */
#define EACH_GROUP(size, body)                                                                               \
    for (int64_t i = 0; i < n;) {                                                                            \
        uint64_t index = random.offset + (uint64_t)i, group = index / (size);                                \
        int64_t skip = (int64_t)(index % (size)), count = (size)-skip < n - i ? (size)-skip : n - i;         \
        body i += count;                                                                                     \
    }

static void random_words(int64_t n, uint32_t *y, ct_random_range random) {
    uint32_t words[GROUP];
    EACH_GROUP(GROUP, {
        group_words(random, group, words);
        memcpy(y + i, words + skip, (size_t)count * sizeof(uint32_t));
    })
}

static void random_bernoulli(int64_t n, uint8_t *y, double probability, ct_random_range random) {
    float u[GROUP];
    EACH_GROUP(GROUP, {
        group_uniforms(random, group, u);
        for (int64_t j = 0; j < count; ++j)
            y[i + j] = (double)u[skip + j] < probability;
    })
}

static void random_uniform_f32(int64_t n, float *y, double low, double high, ct_random_range random) {
    float u[GROUP];
    EACH_GROUP(GROUP, {
        group_uniforms(random, group, u);
        unary_f32(CT_UNARY_SCALE, count, u + skip, y + i, (float)(high - low), (float)low);
    })
}
static void random_uniform_f64(int64_t n, double *y, double low, double high, ct_random_range random) {
    double u[GROUP_F64];
    EACH_GROUP(GROUP_F64, {
        group_uniforms_f64(random, group, u);
        unary_f64(CT_UNARY_SCALE, count, u + skip, y + i, high - low, low);
    })
}
static void random_normal_f32(int64_t n, float *y, double mean, double deviation, ct_random_range random) {
    float z[GROUP];
    EACH_GROUP(GROUP, {
        group_normals(random, group, z);
        unary_f32(CT_UNARY_SCALE, count, z + skip, y + i, (float)deviation, (float)mean);
    })
}
static void random_normal_f64(int64_t n, double *y, double mean, double deviation, ct_random_range random) {
    double z[GROUP_F64];
    EACH_GROUP(GROUP_F64, {
        group_normals_f64(random, group, z);
        unary_f64(CT_UNARY_SCALE, count, z + skip, y + i, deviation, mean);
    })
}
static void random_perturb_f32(int64_t n, float *y, double alpha, ct_random_range random) {
    float z[GROUP];
    EACH_GROUP(GROUP, {
        group_normals(random, group, z);
        axpy_f32(count, (float)alpha, z + skip, y + i);
    })
}
static void random_perturb_f64(int64_t n, double *y, double alpha, ct_random_range random) {
    double z[GROUP_F64];
    EACH_GROUP(GROUP_F64, {
        group_normals_f64(random, group, z);
        axpy_f64(count, alpha, z + skip, y + i);
    })
}

/* A uniform is a multiple of 2^-24: u >= probability exactly if it is so for the f32 next above. */
static void dropout_f32(int64_t n, const float *x, float *y, double probability, ct_random_range random) {
    float u[GROUP];
    vf factor = vf_set((float)(1.0 / (1.0 - probability))),
       limit = vf_set((float)(ceil(probability * 0x1p24) * 0x1p-24));
    EACH_GROUP(GROUP, {
        group_uniforms(random, group, u);
        for (int64_t j = 0; j < count; j += VF_LANES) {
            vm kept = vf_ge(load_count_f32(u + skip + j, count - j), limit);
            vf value = vf_mul(load_count_f32(x + i + j, count - j), factor);
            store_count_f32(y + i + j, vf_keep(kept, value), count - j);
        }
    })
}
static void dropout_f64(int64_t n, const double *x, double *y, double probability, ct_random_range random) {
    float u[GROUP];
    double factor = 1.0 / (1.0 - probability);
    EACH_GROUP(GROUP, {
        group_uniforms(random, group, u);
        for (int64_t j = 0; j < count; ++j)
            y[i + j] = (double)u[skip + j] >= probability ? x[i + j] * factor : 0;
    })
}
#undef EACH_GROUP
#undef GROUP
#undef GROUP_F64
#undef GROUP_BLOCKS
