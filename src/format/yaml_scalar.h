/* yaml_scalar.h - what a plain scalar means in the YAML 1.2 core schema. */
#ifndef CARAT_FORMAT_YAML_SCALAR_H
#define CARAT_FORMAT_YAML_SCALAR_H

#include "carat/base.h"

typedef struct ct_yaml_scalar {
    ct_value_kind kind; /* NULL, BOOL, INT, REAL or STRING */
    bool boolean;
    int64_t integer;
    double real;
} ct_yaml_scalar;

/* `text` has `length` bytes and a NUL after them. */
ct_yaml_scalar ct_yaml_resolve(const char *text, size_t length);
#endif
