/* checkasm.c - runs every kernel of every variant that this processor has against its plain C twin, on random
 * and special values and on lengths with tails, and compares what they write bit for bit (any NaN equals any
 * NaN). With --bench it times them. With --brief only the best variant is compared, on fewer lengths, and
 * every kernel is named when it is done: for emulators. The last line is "N passed, N failed"; the exit
 * status is 1 if a kernel differs. */
#include "checkasm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void record(recorder *out, char type, size_t size, const void *x, int64_t n) {
    if (!out || !out->data || n <= 0) return;
    size_t bytes = (size_t)n * size;
    if (out->used + bytes > out->capacity || out->count == 64) {
        fprintf(stderr, "checkasm: recorder full\n");
        exit(2);
    }
    memcpy(out->data + out->used, x, bytes);
    out->used += bytes;
    out->parts[out->count].type = type;
    out->parts[out->count++].count = (size_t)n;
}
void record_f32(recorder *out, const float *x, int64_t n) {
    record(out, 'f', sizeof(float), x, n);
}
void record_f64(recorder *out, const double *x, int64_t n) {
    record(out, 'd', sizeof(double), x, n);
}
void record_bytes(recorder *out, const void *x, int64_t n) {
    record(out, 'b', 1, x, n);
}

/* Where two records differ: part and element, false if nowhere. */
static bool differs(const recorder *a, const recorder *b, int *part, size_t *element) {
    *part = *element = 0;
    if (a->count != b->count || a->used != b->used) return true;
    const char *x = a->data, *y = b->data;
    for (int p = 0; p < a->count; ++p) {
        *part = p;
        size_t size = a->parts[p].type == 'f' ? 4 : a->parts[p].type == 'd' ? 8 : 1;
        for (size_t i = 0; i < a->parts[p].count; ++i, x += size, y += size) {
            if (memcmp(x, y, size) == 0) continue;
            float u, v;
            double s, t;
            memcpy(&u, x, 4);
            memcpy(&v, y, 4);
            if (size == 4 && isnan(u) && isnan(v)) continue;
            if (size == 8) {
                memcpy(&s, x, 8);
                memcpy(&t, y, 8);
                if (isnan(s) && isnan(t)) continue;
            }
            *element = i;
            return true;
        }
    }
    return false;
}

static uint64_t state = 88172645463325252u;
static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}
static double uniform(void) {
    return (double)(next() >> 11) * 0x1p-53;
}

static const double special_values[] = {
    0.0,   -0.0,   1,      -1,      INFINITY, -INFINITY, NAN,      1e-40,  -1e-40, 3e38,
    -3e38, 88.7,   -87.3,  709.7,   -708.4,   1e-310,    1e300,    -1e300, 0.5,    1.5,
    2.5,   -2.5,   1e5,    1e10,    -1e15,    1e22,      16777217, 127.5,  255.5,  -128.5,
    2.2e9, -2.2e9, 9.3e18, -9.3e18, 65504,    65520,     6e-8,     -745.1, 100.25, 0.9999999};

static void fill_inputs(inputs *in, bool special) {
    const int count = sizeof special_values / sizeof special_values[0];
    for (int64_t i = 0; i < in->capacity; ++i) {
        for (int a = 0; a < 4; ++a) {
            double x = (uniform() + uniform() + uniform() + uniform() - 2) * (a == 0 ? 10 : 3);
            if (a == 2) x = fabs(x) + 1e-6;
            if (a == 3) x = 2 * uniform() - 1;
            if (special && a < 2 && next() % 3 == 0) x = special_values[next() % (uint64_t)count];
            if (special && a == 2 && next() % 8 == 0) x = exp2(uniform() * 300 - 150);
            in->f64[a][i] = x;
            in->f32[a][i] = (float)x;
        }
        in->bytes[i] = special ? (uint8_t)next() : (uint8_t)(next() & 1);
        in->halves[i] = special ? (uint16_t)next() : (uint16_t)(0x3c00 + (next() & 0x83ff));
        in->indices[i] = (int64_t)(next() % 16);
    }
}

static void *allocate(size_t size) {
    void *p = aligned_alloc(64, (size + 127) / 64 * 64);
    if (!p) {
        fprintf(stderr, "checkasm: no memory\n");
        exit(2);
    }
    return p;
}

static inputs make_inputs(int64_t capacity, size_t scratch) {
    inputs in = {.capacity = capacity};
    for (int a = 0; a < 4; ++a) {
        in.f32[a] = allocate((size_t)capacity * 4);
        in.f64[a] = allocate((size_t)capacity * 8);
    }
    in.bytes = allocate((size_t)capacity);
    in.halves = allocate((size_t)capacity * 2);
    in.indices = allocate((size_t)capacity * 8);
    in.scratch = allocate(scratch);
    return in;
}
static void free_inputs(inputs *in) {
    for (int a = 0; a < 4; ++a) {
        free(in->f32[a]);
        free(in->f64[a]);
    }
    free(in->bytes);
    free(in->halves);
    free(in->indices);
    free(in->scratch);
}

static int passed, failed;
static bool brief;

/* One check, one way, all lengths: plain against `variant`. */
static void compare_one(const ct_kernels *plain, const ct_kernels *variant, const check *c, const char *type,
                        int way, inputs *in, recorder records[2]) {
    static const int64_t lengths[] = {0,  1,  3,  7,   8,   9,   15,  16,   17,   31,   33,   48,   63,
                                      64, 65, 81, 100, 255, 257, 777, 1023, 4095, 4097, 8200, 12345};
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; ++l) {
        if (brief && lengths[l] > 1023 && lengths[l] != 4097) continue;
        in->n = lengths[l];
        for (int side = 0; side < 2; ++side) {
            records[side].used = 0;
            records[side].count = 0;
            c->run(side ? variant : plain, in, way, &records[side]);
        }
        int part;
        size_t element;
        if (!differs(&records[0], &records[1], &part, &element)) continue;
        printf("FAIL %s %s%s way %d (%s), n = %lld: output %d differs at %zu\n", variant->name, c->name, type,
               way, c->way_names && c->way_names[way] ? c->way_names[way] : "", (long long)lengths[l], part,
               element);
        ++failed;
        return;
    }
    ++passed;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Nanoseconds an element, best of several, in the second cache and from memory. */
static double time_one(const ct_kernels *kernels, const check *c, int way, inputs *in, int64_t n) {
    recorder none = {0};
    in->n = n;
    double best = 1e30;
    c->run(kernels, in, way, &none);
    for (int attempt = 0; attempt < 5; ++attempt) {
        int repeats = 0;
        double start = seconds(), spent;
        do {
            c->run(kernels, in, way, &none);
            ++repeats;
            spent = seconds() - start;
        } while (spent < 0.002);
        if (spent / repeats < best) best = spent / repeats;
    }
    return best * 1e9 / (double)n;
}

static void bench(const ct_kernels *variants[], const check *checks, const char *type, const char *only,
                  size_t size) {
    inputs in = make_inputs(INT64_C(4) << 20, (size_t)256 << 20);
    fill_inputs(&in, false);
    for (const check *c = checks; c->name; ++c) {
        if (only && !strstr(c->name, only)) continue;
        for (int way = 0; way < c->ways; ++way)
            for (int v = 0; variants[v]; ++v) {
                double near = time_one(variants[v], c, way, &in, 16384),
                       far = time_one(variants[v], c, way, &in, in.capacity);
                printf("%-7s %-16s%s %-3d %-22s %8.3f ns/element in cache, %8.3f from memory (%.1f GB/s)\n",
                       variants[v]->name, c->name, type, way,
                       c->way_names && c->way_names[way] ? c->way_names[way] : "", near, far,
                       c->traffic * (double)size / far);
            }
    }
    free_inputs(&in);
}

int main(int argc, char **argv) {
    bool timing = false;
    const char *only = NULL;
    for (int i = 1; i < argc; ++i) {
        if (strcmp(argv[i], "--bench") == 0)
            timing = true;
        else if (strcmp(argv[i], "--brief") == 0)
            brief = true;
        else if (argv[i][0] != '-')
            only = argv[i];
        else {
            fprintf(stderr, "usage: checkasm [--bench] [--brief] [PART OF A KERNEL'S NAME]\n");
            return 2;
        }
    }
    const ct_kernels *plain = ct_cpu_kernels_plain(), *variants[3] = {0};
    int count = 0;
    if (ct_cpu_kernels_avx2()) variants[count++] = ct_cpu_kernels_avx2();
    if (ct_cpu_kernels_avx512()) variants[count++] = ct_cpu_kernels_avx512();
    if (brief && count > 1) variants[0] = variants[--count], variants[count] = NULL;
    const struct {
        const check *checks;
        const char *type;
        size_t size;
    } groups[] = {{checks_f32, " f32", 4}, {checks_f64, " f64", 8}, {checks_other, "", 4}};
    inputs in = make_inputs(65536, (size_t)8 << 20);
    recorder records[2] = {{.data = allocate((size_t)8 << 20), .capacity = (size_t)8 << 20},
                           {.data = allocate((size_t)8 << 20), .capacity = (size_t)8 << 20}};
    for (int special = 0; special < 2; ++special) {
        fill_inputs(&in, special);
        for (size_t g = 0; g < 3; ++g)
            for (const check *c = groups[g].checks; c->name; ++c) {
                if (only && !strstr(c->name, only)) continue;
                for (int way = 0; way < c->ways; ++way)
                    for (int v = 0; v < count; ++v)
                        compare_one(plain, variants[v], c, groups[g].type, way, &in, records);
                if (brief)
                    printf("%s %s%s%s: %d passed, %d failed\n", variants[0] ? variants[0]->name : "none",
                           c->name, groups[g].type, special ? " special" : "", passed, failed);
                fflush(stdout);
            }
    }
    free_inputs(&in);
    free(records[0].data);
    free(records[1].data);
    if (timing)
        for (size_t g = 0; g < 3; ++g)
            bench(variants, groups[g].checks, groups[g].type, only, groups[g].size);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
