/* ops_linalg.c - factorisations and solutions of linear systems, with gradients.
 *
 * Bars are gradients, Phi(X) is the lower triangle with half of the diagonal, copyltu(X) the symmetric matrix
 * with X's lower triangle. Seeger et al., arXiv:1710.08717 (QR, Cholesky, eigenvalues, SVD); Walter &
 * Lehmann, arXiv:1009.6112 (the same and solving); Roberts & Roberts, arXiv:2009.10071 (QR of wide matrices).
 */
#include "autograd/rules.h"

static bool is_matrix(const ct_tensor *x, bool square, const char *operation) {
    char text[160];
    ct_dtype dtype = ct_dtype_of(x);
    if (dtype != CT_F32 && dtype != CT_F64) {
        ct_fail(x->context, CT_ERROR_TYPE, "%s: %s, expected f32 or f64", operation,
                ct_describe(x, text, sizeof(text)));
        return false;
    }
    bool good = x->ndim >= 2 && (!square || x->shape[x->ndim - 1] == x->shape[x->ndim - 2]);
    if (good) return true;
    ct_fail(x->context, CT_ERROR_SHAPE, "%s: %s, expected %s", operation, ct_describe(x, text, sizeof(text)),
            square ? "square matrices [..., n, n]" : "matrices [..., m, n]");
    return false;
}

static ct_tensor *inert_matrix(const ct_tensor *x, int64_t rows, int64_t columns) {
    int64_t shape[CT_MAX_DIMS];
    if (x->ndim < 2) return ct_inert_like(x);
    memcpy(shape, x->shape, sizeof(shape));
    shape[x->ndim - 2] = rows;
    shape[x->ndim - 1] = columns;
    return ct_inert(x->context, ct_dtype_of(x), x->ndim, shape);
}

static int64_t rows_of(const ct_tensor *x) {
    return x->ndim < 2 ? 0 : x->shape[x->ndim - 2];
}
static int64_t columns_of(const ct_tensor *x) {
    return x->ndim < 2 ? 0 : x->shape[x->ndim - 1];
}
static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static ct_tensor *plus(ct_tensor *a, ct_tensor *b) {
    return a && b ? ct_add(a, b) : a ? a : b;
}

/* The identity on x's device. */
static ct_tensor *identity(const ct_tensor *x, int64_t n) {
    const int64_t shape[2] = {n, n}, stride = n + 1;
    ct_tensor *eye = ct_full_on(x->context, ct_device_of(x), ct_dtype_of(x), 2, shape, 0.0);
    if (!ct_failed(x->context)) ct_fill(ct_view_strided(eye, 1, &n, &stride, 0), 1.0);
    return eye;
}

/* X with the diagonal multiplied by `factor`. */
static ct_tensor *diagonal_scaled(ct_tensor *x, double factor) {
    ct_tensor *eye = identity(x, columns_of(x));
    return ct_add(x, ct_mul(x, ct_mul_scalar(eye, factor - 1.0)));
}

static ct_tensor *symmetric(ct_tensor *x) {
    return ct_mul_scalar(ct_add(x, ct_transposed(x)), 0.5);
}

/* B R^-T for an upper triangular R: the transpose of R^-1 B^T. */
static ct_tensor *over_transposed(ct_tensor *b, ct_tensor *r) {
    return ct_transposed(ct_solve_triangular(r, ct_transposed(b), true, false));
}

/* --------------------------------------------------------------------------------------------------- QR */

/* Tall or square X = Q R: M = R Rbar^T - Qbar^T Q, Xbar = (Qbar + Q copyltu(M)) R^-T. */
static ct_tensor *qr_tall(ct_tensor *q, ct_tensor *r, ct_tensor *dq, ct_tensor *dr) {
    ct_tensor *m = NULL;
    if (dr) m = ct_matmul(r, ct_transposed(dr));
    if (dq) {
        ct_tensor *other = ct_matmul(ct_transposed(dq), q);
        m = m ? ct_sub(m, other) : ct_neg(other);
    }
    ct_tensor *copyltu = ct_add(ct_tril(m, 0), ct_transposed(ct_tril(m, -1)));
    return over_transposed(plus(ct_matmul(q, copyltu), dq), r);
}

/* Wide [X | Y] = Q [U | V]: Ybar = Q Vbar; X = Q U gets Qbar + Y Vbar^T and Ubar. */
static ct_tensor *qr_wide(ct_tensor *x, ct_tensor *q, ct_tensor *r, ct_tensor *dq, ct_tensor *dr) {
    int64_t m = rows_of(x), n = columns_of(x);
    ct_tensor *u = ct_slice(r, -1, 0, m, 1), *du = NULL, *dv = NULL;
    if (dr) {
        du = ct_slice(dr, -1, 0, m, 1);
        dv = ct_slice(dr, -1, m, n, 1);
        dq = plus(dq, ct_matmul(ct_slice(x, -1, m, n, 1), ct_transposed(dv)));
    }
    ct_tensor *left = qr_tall(q, u, dq, du);
    ct_tensor *right = dv ? ct_matmul(q, dv)
                          : ct_full_on(x->context, ct_device_of(x), ct_dtype_of(x), x->ndim,
                                       ct_slice(x, -1, m, n, 1)->shape, 0.0);
    ct_tensor *const parts[2] = {left, right};
    return ct_concat(parts, 2, -1);
}

static void qr_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *q = ct_saved(call, 0), *r = ct_saved(call, 1);
    ct_tensor *dq = call->output_gradients[0], *dr = call->output_gradients[1];
    if (ct_failed(call->context)) return;
    if (columns_of(r) > rows_of(r))
        dx[0] = qr_wide(ct_saved(call, 2), q, r, dq, dr);
    else
        dx[0] = qr_tall(q, r, dq, dr);
}
static const ct_rule qr_rule = {"qr", qr_vjp, 0, NULL};

ct_status ct_qr(ct_tensor *x, ct_tensor **q, ct_tensor **r) {
    ct_context *context = x->context;
    int64_t m = rows_of(x), n = columns_of(x), k = least(m, n);
    if (!is_matrix(x, false, "qr") || ct_stop_op(context) || ct_raw_qr(x, q, r) != CT_OK) {
        *q = inert_matrix(x, m, k);
        *r = inert_matrix(x, k, n);
        return ct_context_status(context);
    }
    ct_tensor *const outputs[2] = {*q, *r};
    ct_node *node = ct_record(context, &qr_rule, &x, 1, outputs, 2, NULL);
    if (!node) return ct_context_status(context);
    ct_save_output(node, 0, *q);
    ct_save_output(node, 1, *r);
    if (n > m) ct_save_operand(node, 0, x);
    return ct_context_status(context);
}

/* --------------------------------------------------------------------------------------------- Cholesky */

/* Xbar = sym(L^-T Phi(L^T Lbar) L^-1), as a gradient with respect to a symmetric matrix. */
static void cholesky_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *l = ct_saved(call, 0), *lt = ct_transposed(l);
    ct_tensor *phi = diagonal_scaled(ct_tril(ct_matmul(lt, ct_tril(call->output_gradients[0], 0)), 0), 0.5);
    ct_tensor *left = ct_solve_triangular(lt, phi, true, false); /* L^-T Phi */
    ct_tensor *both = ct_transposed(ct_solve_triangular(lt, ct_transposed(left), true, false));
    dx[0] = symmetric(both);
}
static const ct_rule cholesky_rule = {"cholesky", cholesky_vjp, 0, NULL};

ct_tensor *ct_cholesky(ct_tensor *x) {
    ct_context *context = x->context;
    if (!is_matrix(x, true, "cholesky") || ct_stop_op(context)) return ct_inert_like(x);
    ct_tensor *l = ct_raw_cholesky(x);
    ct_node *node = ct_record(context, &cholesky_rule, &x, 1, &l, 1, NULL);
    if (node) ct_save_output(node, 0, l);
    return l;
}

/* -------------------------------------------------------------------------------------- SVD, eigenvalues */

/* 1 / (b_j - a_i), and 0 on the diagonal. values [..., n]. */
static ct_tensor *inverse_gaps(ct_tensor *values) {
    int64_t n = values->shape[values->ndim - 1];
    ct_tensor *eye = identity(values, n);
    ct_tensor *gaps = ct_sub(ct_unsqueeze(values, -2), ct_unsqueeze(values, -1));
    return ct_mul(ct_reciprocal(ct_add(gaps, eye)), ct_add_scalar(ct_neg(eye), 1.0));
}

static ct_tensor *skew(ct_tensor *x) {
    return ct_sub(x, ct_transposed(x));
}

/* M - A (A^T M): what of M's columns lies outside the span of A's. */
static ct_tensor *outside(ct_tensor *a, ct_tensor *m) {
    return ct_sub(m, ct_matmul(a, ct_matmul(ct_transposed(a), m)));
}

/* With F_ij = 1 / (s_j^2 - s_i^2): Xbar = U (F o skew(U^T Ubar) S + S F o skew(V^T Vbar) + diag(Sbar)) V^T
 * + (I - U U^T) Ubar S^-1 V^T + U S^-1 Vbar^T (I - V V^T). */
static void svd_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *u = ct_saved(call, 0), *s = ct_saved(call, 1), *vh = ct_saved(call, 2), *v = ct_transposed(vh);
    ct_tensor *du = call->output_gradients[0], *ds = call->output_gradients[1];
    ct_tensor *dv = call->output_gradients[2] ? ct_transposed(call->output_gradients[2]) : NULL;
    ct_tensor *gaps = du || dv ? inverse_gaps(ct_square(s)) : NULL, *middle = NULL, *rest = NULL;
    ct_tensor *s_row = ct_unsqueeze(s, -2), *s_column = ct_unsqueeze(s, -1);
    if (du) {
        middle = ct_mul(ct_mul(gaps, skew(ct_matmul(ct_transposed(u), du))), s_row);
        if (rows_of(u) > columns_of(u)) rest = ct_matmul(ct_div(outside(u, du), s_row), vh);
    }
    if (dv) {
        middle = plus(middle, ct_mul(s_column, ct_mul(gaps, skew(ct_matmul(vh, dv)))));
        if (rows_of(v) > columns_of(v))
            rest = plus(rest, ct_matmul(u, ct_transposed(ct_div(outside(v, dv), s_row))));
    }
    if (ds) middle = plus(middle, ct_mul(ct_unsqueeze(ds, -1), identity(s, s->shape[s->ndim - 1])));
    if (middle) dx[0] = plus(ct_matmul(u, ct_matmul(middle, vh)), rest);
}
static const ct_rule svd_rule = {"svd", svd_vjp, 0, NULL};

ct_status ct_svd(ct_tensor *x, ct_tensor **u, ct_tensor **s, ct_tensor **vh) {
    ct_context *context = x->context;
    int64_t m = rows_of(x), n = columns_of(x), k = least(m, n);
    if (!is_matrix(x, false, "svd") || ct_stop_op(context) || ct_raw_svd(x, u, s, vh) != CT_OK) {
        *u = inert_matrix(x, m, k);
        *vh = inert_matrix(x, k, n);
        *s = ct_inert(context, ct_dtype_of(x), x->ndim < 2 ? 0 : x->ndim - 1, inert_matrix(x, k, 1)->shape);
        return ct_context_status(context);
    }
    ct_tensor *const outputs[3] = {*u, *s, *vh};
    ct_node *node = ct_record(context, &svd_rule, &x, 1, outputs, 3, NULL);
    for (int i = 0; node && i < 3; i++)
        ct_save_output(node, i, outputs[i]);
    return ct_context_status(context);
}

/* X = V diag(w) V^T: Xbar = V (diag(wbar) + F o V^T Vbar) V^T, F_ij = 1 / (w_j - w_i), made symmetric. */
static void eigh_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *w = ct_saved(call, 0), *v = ct_saved(call, 1), *vt = ct_transposed(v), *middle = NULL;
    ct_tensor *dw = call->output_gradients[0], *dv = call->output_gradients[1];
    if (dv) middle = ct_mul(inverse_gaps(w), ct_matmul(vt, dv));
    if (dw) middle = plus(middle, ct_mul(ct_unsqueeze(dw, -1), identity(w, w->shape[w->ndim - 1])));
    if (middle) dx[0] = symmetric(ct_matmul(v, ct_matmul(middle, vt)));
}
static const ct_rule eigh_rule = {"eigh", eigh_vjp, 0, NULL};

ct_status ct_eigh(ct_tensor *x, ct_tensor **values, ct_tensor **vectors) {
    ct_context *context = x->context;
    if (!is_matrix(x, true, "eigh") || ct_stop_op(context) || ct_raw_eigh(x, values, vectors) != CT_OK) {
        *values = ct_inert(context, ct_dtype_of(x), x->ndim < 2 ? 0 : x->ndim - 1, x->shape);
        *vectors = ct_inert_like(x);
        return ct_context_status(context);
    }
    ct_tensor *const outputs[2] = {*values, *vectors};
    ct_node *node = ct_record(context, &eigh_rule, &x, 1, outputs, 2, NULL);
    for (int i = 0; node && i < 2; i++)
        ct_save_output(node, i, outputs[i]);
    return ct_context_status(context);
}

/* ---------------------------------------------------------------------------------------------- solving */

typedef struct solving {
    bool triangular, upper, unit;
    int8_t a, x; /* where A and the solution were saved */
} solving;

static ct_tensor *solved_transposed(const solving *s, ct_tensor *a, ct_tensor *b) {
    ct_tensor *at = ct_transposed(a);
    return s->triangular ? ct_solve_triangular(at, b, !s->upper, s->unit) : ct_solve(at, b);
}

/* X = A^-1 B: Bbar = A^-T Xbar, Abar = -Bbar X^T (of a triangular A only the triangle that was read). */
static void solve_vjp(const ct_vjp *call, ct_tensor **dx) {
    const solving *s = call->attributes;
    ct_tensor *db = solved_transposed(s, ct_saved(call, s->a), call->output_gradients[0]);
    if (call->wanted[1]) dx[1] = ct_sum_to_operand(call, 1, db);
    if (!call->wanted[0]) return;
    ct_tensor *da = ct_neg(ct_matmul(db, ct_transposed(ct_saved(call, s->x))));
    if (s->triangular) da = s->upper ? ct_triu(da, s->unit ? 1 : 0) : ct_tril(da, s->unit ? -1 : 0);
    dx[0] = ct_sum_to_operand(call, 0, da);
}
static const ct_rule solve_rule = {"solve", solve_vjp, sizeof(solving), NULL};
static const ct_rule triangular_rule = {"solve_triangular", solve_vjp, sizeof(solving), NULL};

/* A [..., n, n] and B [..., n, k] with leading axes that are equal after broadcasting; B may be [n]. */
static bool system_fits(const ct_tensor *a, const ct_tensor *b, bool square, const char *operation) {
    if (!is_matrix(a, square, operation)) return false;
    char ta[160], tb[160];
    if (ct_dtype_of(a) != ct_dtype_of(b)) {
        ct_fail(a->context, CT_ERROR_TYPE, "%s: A is %s and B is %s, expected one type", operation,
                ct_describe(a, ta, sizeof(ta)), ct_describe(b, tb, sizeof(tb)));
        return false;
    }
    int64_t rows = b->ndim == 1 ? b->shape[0] : rows_of(b);
    if (b->ndim >= 1 && rows == rows_of(a)) return true;
    ct_fail(a->context, CT_ERROR_SHAPE, "%s: A %s and B %s do not fit (%lld against %lld)", operation,
            ct_describe(a, ta, sizeof(ta)), ct_describe(b, tb, sizeof(tb)), (long long)rows_of(a),
            (long long)rows);
    return false;
}

/* Both with the leading axes of their broadcast. */
static bool broadcast_leading(ct_tensor **a, ct_tensor **b) {
    ct_tensor *ends[2] = {*a, *b};
    int most = ends[0]->ndim > ends[1]->ndim ? ends[0]->ndim : ends[1]->ndim;
    int64_t lead[CT_MAX_DIMS];
    for (int i = 0; i < most - 2; i++) {
        lead[i] = 1;
        for (int e = 0; e < 2; e++) {
            int at = ends[e]->ndim - most + i;
            int64_t size = at >= 0 ? ends[e]->shape[at] : 1;
            if (lead[i] != 1 && size != 1 && size != lead[i]) {
                char ta[160], tb[160];
                ct_fail((*a)->context, CT_ERROR_SHAPE, "solve: the leading axes of A %s and B %s do not fit",
                        ct_describe(*a, ta, sizeof(ta)), ct_describe(*b, tb, sizeof(tb)));
                return false;
            }
            if (size != 1) lead[i] = size;
        }
    }
    for (int e = 0; e < 2; e++) {
        int64_t shape[CT_MAX_DIMS];
        for (int i = 0; i < most; i++)
            shape[i] = i < most - 2 ? lead[i] : ends[e]->shape[ends[e]->ndim - most + i];
        ends[e] = ct_expand(ends[e], most, shape);
    }
    *a = ends[0], *b = ends[1];
    return true;
}

static ct_tensor *solve(ct_tensor *a, ct_tensor *b, const ct_rule *rule, solving s) {
    ct_context *context = a->context;
    if (!system_fits(a, b, true, rule->name) || ct_stop_op(context)) return ct_inert_like(b);
    if (b->ndim == 1) return ct_squeeze(solve(a, ct_unsqueeze(b, 1), rule, s), -1);
    bool same = a->ndim == b->ndim;
    for (int i = 0; i < a->ndim - 2 && same; i++)
        same = a->shape[i] == b->shape[i];
    if (!same && !broadcast_leading(&a, &b)) return ct_inert_like(b);
    ct_tensor *x = s.triangular ? ct_raw_solve_triangular(a, b, s.upper, false, s.unit) : ct_raw_solve(a, b);
    ct_tensor *const operands[2] = {a, b};
    s.a = 0;
    s.x = ct_requires_grad(a) ? 1 : -1;
    ct_node *node = ct_record(context, rule, operands, 2, &x, 1, &s);
    if (!node) return x;
    ct_save_operand(node, 0, a);
    if (s.x > 0) ct_save_output(node, 0, x);
    return x;
}

ct_tensor *ct_solve(ct_tensor *a, ct_tensor *b) {
    return solve(a, b, &solve_rule, (solving){.triangular = false});
}

ct_tensor *ct_solve_triangular(ct_tensor *a, ct_tensor *b, bool upper, bool unit_diagonal) {
    return solve(a, b, &triangular_rule,
                 (solving){.triangular = true, .upper = upper, .unit = unit_diagonal});
}

/* ---------------------------------------------------------------------------------------- least squares */

/* Full column rank: no diagonal element of R is negligible beside the largest. */
static bool full_rank(const ct_tensor *r) {
    double largest = 0, smallest = 0, epsilon = ct_dtype_of(r) == CT_F64 ? 0x1p-52 : 0x1p-23;
    int64_t n = columns_of(r), matrices = n ? r->count / (n * n) : 0;
    for (int64_t i = 0; ct_pointer(r) && i < matrices; i++) {
        for (int64_t j = 0; j < n; j++) {
            int64_t at = i * n * n + j * (n + 1);
            double d =
                ct_dtype_of(r) == CT_F64 ? ((double *)ct_pointer(r))[at] : ((float *)ct_pointer(r))[at];
            if (d < 0) d = -d;
            if (j == 0 || d > largest) largest = d;
            if (j == 0 || d < smallest) smallest = d;
        }
        if (smallest > largest * epsilon * (double)n) continue;
        ct_fail(r->context, CT_ERROR_NUMERIC,
                "least_squares: matrix %lld of A does not have full column rank", (long long)i);
        return false;
    }
    return true;
}

/* A = Q R: X = R^-1 Q^T B, differentiated through its parts. */
ct_tensor *ct_least_squares(ct_tensor *a, ct_tensor *b) {
    ct_context *context = a->context;
    if (!system_fits(a, b, false, "least_squares")) return ct_inert_like(b);
    if (rows_of(a) < columns_of(a)) {
        char text[160];
        ct_fail(context, CT_ERROR_SHAPE,
                "least_squares: A %s has more columns than rows, its rank is not full",
                ct_describe(a, text, sizeof(text)));
    }
    if (ct_stop_op(context))
        return b->ndim == 1 ? ct_inert_like(b) : inert_matrix(b, columns_of(a), columns_of(b));
    if (b->ndim == 1) return ct_squeeze(ct_least_squares(a, ct_unsqueeze(b, 1)), -1);
    ct_tensor *q, *r;
    if (ct_qr(a, &q, &r) != CT_OK || !full_rank(r)) return inert_matrix(b, columns_of(a), columns_of(b));
    return ct_solve_triangular(r, ct_matmul(ct_transposed(q), b), true, false);
}
