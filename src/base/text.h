/* text.h - internal: numbers as text whatever the locale, and strings that grow. */
#ifndef CARAT_BASE_TEXT_H
#define CARAT_BASE_TEXT_H

#include "carat/base.h"

/* The whole of `text` as a decimal real: "1", "-.5", "1e-4", ".inf", "-.inf", ".nan" (the forms of YAML). Not
 * "inf" or "nan", which are words, and no hexadecimal. */
bool ct_text_to_real(const char *text, double *value);
/* The shortest decimal that reads back as the same double; "inf", "-inf" and "nan" for those. */
enum { CT_TEXT_REAL_SIZE = 32 };
const char *ct_text_from_real(double value, char buffer[CT_TEXT_REAL_SIZE]);

/* A string that grows. After a failure it stays as it was and ct_text_take gives NULL. */
typedef struct ct_text {
    ct_context *context;
    char *data;
    size_t length, capacity;
    bool failed;
} ct_text;
static inline ct_text ct_text_start(ct_context *context) {
    return (ct_text){context, NULL, 0, 0, false};
}
void ct_text_append(ct_text *text, const char *bytes, size_t length);
void ct_text_printf(ct_text *text, const char *format, ...) CT_PRINTF(2, 3);
void ct_text_printf_v(ct_text *text, const char *format, va_list arguments);
/* The string (free with ct_free), or NULL after a failure. `text` is empty afterwards. */
char *ct_text_take(ct_text *text);
void ct_text_drop(ct_text *text);

#endif
