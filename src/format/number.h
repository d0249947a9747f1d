/* number.h - reals as text and back, in every locale with a point and without loss. */
#ifndef CARAT_FORMAT_NUMBER_H
#define CARAT_FORMAT_NUMBER_H

#include <stddef.h>

#define CT_NUMBER_TEXT 40
/* The shortest of 15 to 17 digits that reads back to the same bits, with a point or an exponent so that it
 * stays a real; `value` must be finite. */
void ct_number_text(double value, char text[CT_NUMBER_TEXT]);
/* A NUL-terminated number as JSON and YAML write it. */
double ct_number_parse(const char *text);
#endif
