/* kernels_typed.inc.h - the kernel bodies that exist for both element types, in order of their use of one
 * another. Included twice by kernels_all.inc.h, which defines the macros. */
#include "tensor/cpu/kernels_elementwise.inc.h"
#include "tensor/cpu/kernels_reduce.inc.h"
#include "tensor/cpu/kernels_softmax.inc.h"
#include "tensor/cpu/kernels_cross_entropy.inc.h"
#include "tensor/cpu/kernels_norm.inc.h"
#include "tensor/cpu/kernels_optimizer.inc.h"
#include "tensor/cpu/kernels_rotary.inc.h"
#undef ZERO
#undef ONE
#undef STREAM_BYTES
