/* orthogonal.c - pulls the matrices of linear layers towards orthogonal rows or columns: the sum over them of
 * ||W W^T - I||^2, or with fewer columns than rows ||W^T W - I||^2: only the smaller side can be orthonormal
 * (Brock et al., eq. 1; Bansal et al., section 3). */
#include <carat/regularizer.h>

typedef struct orthogonal_options {
    ct_regularizer_names names;
    int side;
} orthogonal_options;

enum { SMALLER, OUTPUTS, INPUTS };
static const char *const sides[] = {"smaller", "outputs", "inputs", NULL};
static const ct_option options[] = {
    CT_REGULARIZER_PATTERN,
    CT_OPTION_CHOICE(
        "side", orthogonal_options, side, "smaller", sides,
        "which vectors are to be orthonormal: one for each output, one for each input, or the fewer"),
    CT_OPTION_END};

static bool takes(const void *given, const ct_parameter *parameter) {
    (void)given;
    return ct_regularizer_is_matrix(parameter);
}

static ct_tensor *deviation(const void *given, const ct_parameter *parameter, ct_tensor *w) {
    int side = ((const orthogonal_options *)given)->side;
    if (ct_regularizer_is_transposed(parameter)) w = ct_transpose(w, 0, 1); /* [out, in] now */
    bool outputs = side == OUTPUTS || (side == SMALLER && ct_dim(w, 0) <= ct_dim(w, 1));
    ct_tensor *v = outputs ? w : ct_transpose(w, 0, 1);
    ct_tensor *product = ct_matmul(v, ct_transpose(v, 0, 1));
    return ct_sum_all(ct_square(ct_sub(product, ct_eye(ct_context_of(w), ct_dtype_of(w), ct_dim(v, 0)))));
}

static ct_tensor *orthogonal_term(const ct_regularizer_call *call) {
    return ct_regularizer_sum(call, takes, deviation, "matrix of a linear layer");
}

const ct_regularizer_method ct_regularizer_orthogonal = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_regularizer_method),
         .name = "orthogonal",
         .title = "Orthogonality penalty",
         .paper = {"arXiv:1810.09102", "Bansal, Chen & Wang, NeurIPS 2018"},
         .summary =
             "The squared distance of W W^T from the identity is added to the loss. It keeps the sizes of "
             "signals and gradients through deep networks.",
         .options = options,
         .options_size = sizeof(orthogonal_options),
         .task = "train, stabilise",
         .uses = CT_HOOK_LOSS_TERM},
    .term = orthogonal_term};
