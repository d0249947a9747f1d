/* options_internal.h - internal: what options.c and options_text.c share. */
#ifndef CARAT_BASE_OPTIONS_INTERNAL_H
#define CARAT_BASE_OPTIONS_INTERNAL_H

#include "carat/base.h"

/* The choice's index, or -1; `text` may be NULL. */
int ct_option_choice(const ct_option *option, const char *text);
/* Nearest int64, saturating. */
int64_t ct_real_to_int(double real);
/* "an integer from 1 to 8", for the end of a message. */
const char *ct_option_expected(const ct_option *option, bool with_range, char *buffer, size_t size);
/* For help and documents: "NUMBER" or "linear|cosine"; "0.9", "" if there is none; "0..1", "" if there is none. */
const char *ct_option_type_text(const ct_option *option, char *buffer, size_t size);
const char *ct_option_default_text(const ct_option *option, char *buffer, size_t size);
const char *ct_option_range_text(const ct_option *option, char *buffer, size_t size);
/* "the string \"ten\"", "a list". */
const char *ct_value_describe(const ct_value *value, char *buffer, size_t size);

#endif
