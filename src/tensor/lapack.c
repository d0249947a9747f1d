/* lapack.c - LAPACK for f32 and f64 alike. See lapack.h.
 *
 * The library is loaded when the first matrix is factored. Linked, it would be loaded with every program, and
 * OpenBLAS, which is what Debian has behind it, starts threads then that keep the other processors busy for a
 * tenth of a second. */
#define _GNU_SOURCE
#include "tensor/lapack.h"
#include <dlfcn.h>
#include <lapacke.h>
#include <pthread.h>
#include <stdio.h>

_Static_assert(sizeof(lapack_int) == sizeof(int), "LAPACK with 32-bit integers");

#define LIBRARY "liblapacke.so.3"

/* The routines in use, of type s and d. */
#define ROUTINES(USE) USE(potrf) USE(geqrf) USE(orgqr) USE(gesdd) USE(syevd) USE(getrf) USE(getrs) USE(trtrs)
#define POINTERS(name)                                                                                       \
    __typeof__(LAPACKE_s##name##_work) *s##name;                                                             \
    __typeof__(LAPACKE_d##name##_work) *d##name;
static struct {
    ROUTINES(POINTERS)
    char problem[256];
} lapack;

/* POSIX lets a pointer to a function be read from one to an object. */
static bool find(void *library, const char *name, void *pointer) {
    void *symbol = dlsym(library, name);
    if (symbol)
        *(void **)pointer = symbol;
    else
        snprintf(lapack.problem, sizeof lapack.problem, LIBRARY " has no %s", name);
    return symbol != NULL;
}

static void load(void) {
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *reason = dlerror();
        snprintf(lapack.problem, sizeof lapack.problem, "%s", reason ? reason : LIBRARY " cannot be loaded");
        return;
    }
#define FIND(name)                                                                                           \
    if (!find(library, "LAPACKE_s" #name "_work", &lapack.s##name) ||                                        \
        !find(library, "LAPACKE_d" #name "_work", &lapack.d##name))                                          \
        return;
    ROUTINES(FIND)
    void (*set_threads)(int) = NULL;
    *(void **)&set_threads = dlsym(library, "openblas_set_num_threads");
    if (set_threads) set_threads(1);
}
const char *ct_lapack_prepare(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return lapack.problem[0] ? lapack.problem : NULL;
}

/* The routine of one type or the other, on column-major arrays. */
#define CALL(name, ...)                                                                                      \
    (single ? lapack.s##name(LAPACK_COL_MAJOR, __VA_ARGS__) : lapack.d##name(LAPACK_COL_MAJOR, __VA_ARGS__))

static int at_least_one(int n) {
    return n > 1 ? n : 1;
}

/* The first element of a workspace after a query. */
static size_t queried(bool single, const double *answer) {
    double elements = single ? *(const float *)(const void *)answer : *answer;
    return elements < 1 ? 1 : (size_t)(elements * 1.0001) + 1; /* f32 may have rounded the count down */
}

int ct_lapack_potrf(bool single, char uplo, int n, void *a) {
    return CALL(potrf, uplo, n, a, at_least_one(n));
}

int ct_lapack_geqrf(bool single, int m, int n, void *a, void *tau, void *work, size_t elements) {
    return CALL(geqrf, m, n, a, at_least_one(m), tau, work, (int)elements);
}

int ct_lapack_orgqr(bool single, int m, int n, int k, void *a, const void *tau, void *work, size_t elements) {
    return CALL(orgqr, m, n, k, a, at_least_one(m), tau, work, (int)elements);
}

size_t ct_lapack_qr_work(bool single, int m, int n) {
    double answer = 0, unused = 0;
    int k = m < n ? m : n;
    CALL(geqrf, m, n, (void *)&unused, at_least_one(m), (void *)&unused, (void *)&answer, -1);
    size_t factor = queried(single, &answer);
    CALL(orgqr, m, k, k, (void *)&unused, at_least_one(m), (void *)&unused, (void *)&answer, -1);
    size_t form = queried(single, &answer);
    return factor > form ? factor : form;
}

int ct_lapack_gesdd(bool single, int m, int n, void *a, void *s, void *u, void *vt, void *work,
                    size_t elements, int *integers) {
    int k = at_least_one(m < n ? m : n);
    return CALL(gesdd, 'S', m, n, a, at_least_one(m), s, u, at_least_one(m), vt, k, work, (int)elements,
                integers);
}

size_t ct_lapack_gesdd_work(bool single, int m, int n) {
    double answer = 0, unused = 0;
    int k = at_least_one(m < n ? m : n), integer;
    void *none = &unused;
    CALL(gesdd, 'S', m, n, none, at_least_one(m), none, none, at_least_one(m), none, k, (void *)&answer, -1,
         &integer);
    return queried(single, &answer);
}

int ct_lapack_syevd(bool single, char uplo, int n, void *a, void *values, void *work, size_t elements,
                    int *integers, size_t integer_count) {
    return CALL(syevd, 'V', uplo, n, a, at_least_one(n), values, work, (int)elements, integers,
                (int)integer_count);
}

size_t ct_lapack_syevd_work(bool single, int n, size_t *integer_count) {
    double answer = 0, unused = 0;
    int integers = 1;
    void *none = &unused;
    CALL(syevd, 'V', 'U', n, none, at_least_one(n), none, (void *)&answer, -1, &integers, -1);
    *integer_count = (size_t)at_least_one(integers);
    return queried(single, &answer);
}

int ct_lapack_getrf(bool single, int n, void *a, int *pivots) {
    return CALL(getrf, n, n, a, at_least_one(n), pivots);
}

int ct_lapack_getrs(bool single, char trans, int n, int columns, const void *a, const int *pivots, void *b) {
    return CALL(getrs, trans, n, columns, a, at_least_one(n), pivots, b, at_least_one(n));
}

int ct_lapack_trtrs(bool single, char uplo, char trans, char diagonal, int n, int columns, const void *a,
                    void *b) {
    return CALL(trtrs, uplo, trans, diagonal, n, columns, a, at_least_one(n), b, at_least_one(n));
}
