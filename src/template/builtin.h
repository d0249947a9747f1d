/* builtin.h - inside template: the chat templates that need no file. */
#ifndef CARAT_TEMPLATE_BUILTIN_H
#define CARAT_TEMPLATE_BUILTIN_H

#include <stddef.h>

typedef struct jinja_builtin {
    const char *name, *text;
} jinja_builtin;
extern const jinja_builtin ct_jinja_builtins[];
extern const size_t ct_jinja_builtin_count;

#endif
