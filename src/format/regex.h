/* regex.h - the regular expressions of tokenizer files. Those of well-known tokenizers are run by the
 * scanners of pretokenize.h, all others by PCRE2 with bounds on its work. */
#ifndef CARAT_FORMAT_REGEX_H
#define CARAT_FORMAT_REGEX_H

#include "carat/base.h"
#include "format/pretokenize.h"

typedef struct ct_regex ct_regex;

/* Compiles a pattern as the files of Hugging Face tokenizers mean it (Oniguruma's Ruby syntax). `where` is
 * for messages. `scanners` false: PCRE2 also where a scanner is known. NULL on error. */
ct_regex *ct_regex_create(ct_context *context, const char *pattern, size_t length, const char *where,
                          bool scanners);
/* A pattern that matches exactly this text. */
ct_regex *ct_regex_literal(ct_context *context, const char *text, size_t length);
void ct_regex_destroy(ct_regex *regex); /* NULL is allowed */
/* The scanner that runs it, NULL if it is PCRE2. */
const ct_scanner *ct_regex_scanner(const ct_regex *regex);

/* One match after the other. Start with {0}. */
typedef struct ct_regex_scan {
    size_t at, last_end;
    bool any; /* there was a match: last_end is its end */
    size_t begin, end;
} ct_regex_scan;
/* The next match in the text. False at the end, or when PCRE2 gave up (an error is then in the context).
 * Bytes that are not UTF-8 match nothing. */
bool ct_regex_next(const ct_regex *regex, const char *text, size_t length, ct_regex_scan *scan);

/* The pattern in PCRE2's syntax; NULL on error. To be freed with ct_free. */
char *ct_regex_translate(ct_context *context, const char *pattern, size_t length, const char *where);
#endif
