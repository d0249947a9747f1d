/* raw_copy.h - checks and preparations that operations on strided tensors share. */
#ifndef CARAT_SRC_TENSOR_RAW_COPY_H
#define CARAT_SRC_TENSOR_RAW_COPY_H

#include "tensor/tensor.h"

/* False and an error if elements of the target lie on each other (a broadcast view). */
bool ct_target_ready(const char *operation, const ct_tensor *target);
/* False and an error if the source's shape does not broadcast to the target's. */
bool ct_broadcasts_to(const char *operation, const ct_tensor *source, const ct_tensor *target);
/* Whether writing the target could change elements of the source that are still to be read: they share
 * storage and their reach overlaps, and they are not the very same elements in the same order. */
bool ct_regions_clash(const ct_tensor *target, const ct_tensor *source);
/* Whether `t` is large and its innermost axis strides through memory while another axis lies along it: then a
 * contiguous copy (a transposition) first is much faster than gathering one element from each cache line. */
bool ct_strides_across(const ct_tensor *t);

#endif
