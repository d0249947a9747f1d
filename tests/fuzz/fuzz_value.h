/* fuzz_value.h - trees that are written and read again. */
#ifndef CARAT_TESTS_FUZZ_VALUE_H
#define CARAT_TESTS_FUZZ_VALUE_H

#include "fuzz.h"
#include "carat/format.h"
#include <math.h>

/* NaN is not equal to itself: such a tree cannot be compared. */
static inline bool has_nan(const ct_value *value) {
    if (ct_value_kind_of(value) == CT_VALUE_REAL) return isnan(ct_value_as_real(value, 0));
    for (size_t i = 0; i < ct_value_count(value); i++)
        if (has_nan(ct_value_at(value, i))) return true;
    return false;
}

#endif
