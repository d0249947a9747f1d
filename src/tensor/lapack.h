/* lapack.h - the LAPACK routines that raw_linalg.c uses, for f32 and f64 alike, on one thread, on
 * column-major arrays and with the caller's workspace (LAPACKE's own would be allocated and reported past the
 * context).
 *
 * `single` chooses f32. The result is LAPACK's info. A *_work function gives the elements of workspace
 * needed. */
#ifndef CARAT_SRC_TENSOR_LAPACK_H
#define CARAT_SRC_TENSOR_LAPACK_H

#include <stdbool.h>
#include <stddef.h>

/* Before the others: loads the library, once; OpenBLAS, if it is that, is told to use one thread. NULL, or
 * why it is not there. */
const char *ct_lapack_prepare(void);

int ct_lapack_potrf(bool single, char uplo, int n, void *a);
int ct_lapack_geqrf(bool single, int m, int n, void *a, void *tau, void *work, size_t elements);
int ct_lapack_orgqr(bool single, int m, int n, int k, void *a, const void *tau, void *work, size_t elements);
size_t ct_lapack_qr_work(bool single, int m, int n);
/* Thin: u [m, k], vt [k, n], k = min(m, n). integers [8 k]. */
int ct_lapack_gesdd(bool single, int m, int n, void *a, void *s, void *u, void *vt, void *work,
                    size_t elements, int *integers);
size_t ct_lapack_gesdd_work(bool single, int m, int n);
int ct_lapack_syevd(bool single, char uplo, int n, void *a, void *values, void *work, size_t elements,
                    int *integers, size_t integer_count);
size_t ct_lapack_syevd_work(bool single, int n, size_t *integer_count);
int ct_lapack_getrf(bool single, int n, void *a, int *pivots);
int ct_lapack_getrs(bool single, char trans, int n, int columns, const void *a, const int *pivots, void *b);
int ct_lapack_trtrs(bool single, char uplo, char trans, char diagonal, int n, int columns, const void *a,
                    void *b);

#endif
