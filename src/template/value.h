/* value.h - inside template: the values that templates compute with, as Python has them. */
#ifndef CARAT_TEMPLATE_VALUE_H
#define CARAT_TEMPLATE_VALUE_H

#include <carat/template.h>
#include "format/utf8.h"
#include "template/memory.h"

typedef enum jinja_kind {
    JINJA_MISSING, /* a variable that nothing was assigned to */
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_REAL,
    JINJA_STRING,
    JINJA_LIST,
    JINJA_TUPLE,
    JINJA_DICT,
    JINJA_NAMESPACE,
    JINJA_FUNCTION,
    JINJA_METHOD,
    JINJA_MACRO,
    JINJA_LOOP,
    JINJA_CYCLER,
    JINJA_JOINER
} jinja_kind;

/* Marks of strings beside those of ct_template_mark: spans stand in front of the bytes, because not all bytes
 * are of one kind. */
enum { JINJA_MIXED = 128 };

typedef struct jinja_span {
    uint32_t start, end, marks;
} jinja_span;
typedef struct jinja_spans {
    uint32_t count;
    jinja_span items[];
} jinja_spans;

typedef struct jinja_list jinja_list;
typedef struct jinja_dict jinja_dict;
typedef struct jinja_loop jinja_loop;
typedef struct jinja_macro jinja_macro;
typedef struct jinja_method jinja_method;
typedef struct jinja_cycler jinja_cycler;
typedef struct jinja_render jinja_render;

typedef struct jinja_value {
    uint8_t kind;
    uint8_t marks;   /* strings: ct_template_mark of all bytes, or JINJA_MIXED */
    bool safe;       /* strings: Markup, which `+` does not escape */
    uint32_t length; /* strings: bytes */
    union {
        bool truth;
        int64_t integer;
        double real;
        const char *text; /* STRING: not always NUL-terminated; UNDEFINED: why, as Jinja's message has it */
        jinja_list *list; /* LIST, TUPLE */
        jinja_dict *dict; /* DICT, NAMESPACE */
        int function;     /* FUNCTION: jinja_function_id */
        jinja_method *method;
        jinja_macro *macro;
        jinja_loop *loop;
        jinja_cycler *cycler; /* CYCLER, JOINER */
    };
} jinja_value;

struct jinja_list {
    uint32_t count;
    const char *shown; /* what str() gives if that is no list: "range(0, 3)" */
    const char *type;  /* the Python type's name if it is not list or tuple */
    jinja_value *items;
};

typedef struct jinja_entry {
    jinja_value key, value;
    uint64_t hash;
} jinja_entry;
struct jinja_dict {
    uint32_t count, capacity, buckets; /* buckets: 0 as long as it is small */
    jinja_entry *entries;              /* in the order of insertion */
    uint32_t *table;                   /* index + 1 of entries; 0: free */
};

struct jinja_cycler {
    jinja_list *items; /* of a joiner its separator */
    uint32_t at;
};
struct jinja_method {
    jinja_value self;
    int id;
};
struct jinja_loop {
    jinja_list *items;
    uint32_t index;      /* from 0 */
    jinja_value changed; /* what loop.changed saw last; MISSING at first */
};

#define JINJA_NOTHING ((jinja_value){.kind = JINJA_NONE})
static inline jinja_value jinja_bool(bool truth) {
    return (jinja_value){.kind = JINJA_BOOL, .truth = truth};
}
static inline jinja_value jinja_int(int64_t integer) {
    return (jinja_value){.kind = JINJA_INT, .integer = integer};
}
static inline jinja_value jinja_real(double real) {
    return (jinja_value){.kind = JINJA_REAL, .real = real};
}
static inline jinja_value jinja_text(const char *text, size_t length) {
    return (jinja_value){.kind = JINJA_STRING, .length = (uint32_t)length, .text = text};
}
static inline bool jinja_is_number(const jinja_value *v) {
    return v->kind == JINJA_INT || v->kind == JINJA_REAL || v->kind == JINJA_BOOL;
}
static inline bool jinja_is_sequence(const jinja_value *v) {
    return v->kind == JINJA_LIST || v->kind == JINJA_TUPLE;
}
/* The integer of an int or a bool. */
static inline int64_t jinja_integer(const jinja_value *v) {
    return v->kind == JINJA_BOOL ? v->truth : v->integer;
}
static inline double jinja_number(const jinja_value *v) {
    return v->kind == JINJA_REAL ? v->real : (double)jinja_integer(v);
}

/* ---------------------------------------------------------------------------------------- rendering ----- */

typedef struct jinja_frame {
    struct jinja_frame *outer;
    jinja_value *slots;
} jinja_frame;

struct jinja_render {
    ct_context *context;
    const ct_template *parsed;
    const ct_template_options *options;
    jinja_arena arena;
    ct_template_output *out; /* written at its end; captures take the end away again */
    size_t span_floor;       /* spans before it belong to an outer capture and do not grow */
    jinja_value *globals;    /* by the number of the name */
    jinja_frame *frame;
    uint32_t line;
    int depth;
    uint64_t steps;
    size_t most_output;
    bool failed;
};

/* Records "NAME:LINE: ..." ; always false. */
bool ct_jinja_fail(jinja_render *r, const char *format, ...) CT_PRINTF(2, 3);
/* Counts work; false when there was too much. */
bool ct_jinja_out_of_steps(jinja_render *r);
static inline bool jinja_work(jinja_render *r, uint64_t amount) {
    if (r->steps < amount) return ct_jinja_out_of_steps(r);
    r->steps -= amount;
    return true;
}
/* Nesting of evaluations and values; each jinja_enter that gave true is followed by r->depth--. */
bool ct_jinja_too_deep(jinja_render *r);
enum { JINJA_DEPTH = 1200 };
static inline bool jinja_enter(jinja_render *r) {
    return ++r->depth <= JINJA_DEPTH || ct_jinja_too_deep(r);
}

/* Bytes of the character at `text`; a byte that belongs to none counts as one of its own. */
static inline size_t jinja_decode(const char *text, size_t left, uint32_t *code) {
    size_t n = ct_utf8_decode(text, left, code);
    if (n) return n;
    *code = 0xfffd;
    return 1;
}

/* ---------------------------------------------------------------------------------- containers (values.c) */

jinja_list *ct_jinja_list(jinja_render *r, size_t count); /* uninitialised items */
/* For lists whose length is not known: doubles. */
bool ct_jinja_list_push(jinja_render *r, jinja_list *list, uint32_t *capacity, const jinja_value *item);
jinja_dict *ct_jinja_dict(jinja_render *r, size_t capacity);
/* Replaces the value of an equal key. False for keys that have no hash, which is an error. */
bool ct_jinja_dict_set(jinja_render *r, jinja_dict *dict, const jinja_value *key, const jinja_value *value);
/* NULL if it is not there; keys without a hash are an error (r->failed). */
const jinja_value *ct_jinja_dict_get(jinja_render *r, const jinja_dict *dict, const jinja_value *key);
const jinja_value *ct_jinja_dict_find(jinja_render *r, const jinja_dict *dict, const char *text,
                                      size_t length);
bool ct_jinja_convert(jinja_render *r, const ct_value *value, unsigned marks, int depth, jinja_value *out);
/* Of a list only the first `limit` items, if that is not 0. */
bool ct_jinja_convert_some(jinja_render *r, const ct_value *value, size_t limit, unsigned marks,
                           jinja_value *out);
const char *ct_jinja_type(const jinja_value *v); /* "str" */
bool ct_jinja_truth(const jinja_value *v);
/* The items that iteration gives. False with "'int' object is not iterable". */
bool ct_jinja_items(jinja_render *r, const jinja_value *v, jinja_list **items);
jinja_value ct_jinja_undefined(jinja_render *r, const char *format, ...) CT_PRINTF(2, 3);

/* ----------------------------------------------------------------------------------------- texts (text.c) */

typedef struct jinja_capture {
    size_t start, spans, floor;
} jinja_capture;
/* Between begin and end everything put is gathered instead of output. */
jinja_capture ct_jinja_begin(jinja_render *r);
bool ct_jinja_end(jinja_render *r, jinja_capture capture, jinja_value *text);
/* Gives all bytes put since `from` these marks too. */
bool ct_jinja_mark(jinja_render *r, jinja_capture from, unsigned marks);
bool ct_jinja_put(jinja_render *r, const char *text, size_t length, unsigned marks);
bool ct_jinja_put_mixed(jinja_render *r, const jinja_value *text, size_t start, size_t end);
static inline bool jinja_put_text(jinja_render *r, const jinja_value *text) {
    return text->marks & JINJA_MIXED ? ct_jinja_put_mixed(r, text, 0, text->length)
                                     : ct_jinja_put(r, text->text, text->length, text->marks);
}
/* Bytes [start, end) of a string. */
bool ct_jinja_part(jinja_render *r, const jinja_value *text, size_t start, size_t end, jinja_value *out);
static inline bool jinja_put_part(jinja_render *r, const jinja_value *text, size_t start, size_t end) {
    return text->marks & JINJA_MIXED ? ct_jinja_put_mixed(r, text, start, end)
                                     : ct_jinja_put(r, text->text + start, end - start, text->marks);
}
/* The marks of a string as a whole: those that any byte has. */
unsigned ct_jinja_marks(const jinja_value *text);
size_t ct_jinja_characters(const char *text, size_t length);
/* The byte at which character `index` begins; `length` beyond the last. */
size_t ct_jinja_offset(const char *text, size_t length, size_t index);
bool ct_jinja_same(const jinja_value *a, const jinja_value *b); /* bytes of two strings */
bool ct_jinja_is(const jinja_value *text, const char *literal);
/* The first place at or behind `from`, SIZE_MAX if there is none. */
size_t ct_jinja_find(const char *text, size_t length, const char *part, size_t part_length, size_t from);
bool ct_jinja_replace(jinja_render *r, const jinja_value *text, const jinja_value *from,
                      const jinja_value *to, int64_t most, jinja_value *out);
bool ct_jinja_escape(jinja_render *r, const jinja_value *text, jinja_value *out);
bool ct_jinja_concat(jinja_render *r, const jinja_value *a, const jinja_value *b, jinja_value *out);

/* ------------------------------------------------------------------------------ characters (characters.c) */

bool ct_jinja_space(uint32_t code); /* str.isspace */
typedef enum jinja_case {
    JINJA_UPPER,
    JINJA_LOWER,
    JINJA_TITLE,
    JINJA_CAPITAL,
    JINJA_SWAP,
    JINJA_WORDS
} jinja_case;
bool ct_jinja_case(jinja_render *r, const jinja_value *text, jinja_case how, jinja_value *out);
typedef enum jinja_class {
    JINJA_ALPHA,
    JINJA_DIGIT,
    JINJA_ALNUM,
    JINJA_SPACES,
    JINJA_IS_UPPER,
    JINJA_IS_LOWER
} jinja_class;
bool ct_jinja_class_of(const jinja_value *text, jinja_class which);

/* ------------------------------------------------------------------------------------ str and json ----- */

bool ct_jinja_put_string(jinja_render *r, const jinja_value *v); /* str(v), output */
bool ct_jinja_put_repr(jinja_render *r, const jinja_value *v);
bool ct_jinja_string(jinja_render *r, const jinja_value *v, jinja_value *out);
/* Python's repr of a float; the length. */
enum { JINJA_NUMBER = 48 };
size_t ct_jinja_real_text(double real, char text[JINJA_NUMBER]);
typedef struct jinja_json {
    bool ascii, sort, lines;
    const char *indent; /* of one level, with `lines` */
    size_t indent_length;
    const char *comma, *colon;
    size_t comma_length, colon_length;
} jinja_json;
bool ct_jinja_json(jinja_render *r, const jinja_value *v, const jinja_json *style, jinja_value *out);
bool ct_jinja_format_percent(jinja_render *r, const jinja_value *text, const jinja_value *with,
                             jinja_value *out);
bool ct_jinja_format_braces(jinja_render *r, const jinja_value *text, const jinja_list *positional,
                            const jinja_dict *named, jinja_value *out);

/* -------------------------------------------------------------------------------- operators (operators.c) */

typedef enum jinja_operator {
    JINJA_ADD,
    JINJA_SUBTRACT,
    JINJA_MULTIPLY,
    JINJA_DIVIDE,
    JINJA_FLOOR,
    JINJA_MODULO,
    JINJA_POWER,
    JINJA_EQUAL,
    JINJA_NOT_EQUAL,
    JINJA_LESS,
    JINJA_LESS_EQUAL,
    JINJA_GREATER,
    JINJA_GREATER_EQUAL,
    JINJA_IN,
    JINJA_NOT_IN,
    JINJA_NEGATIVE,
    JINJA_POSITIVE
} jinja_operator;
bool ct_jinja_binary(jinja_render *r, jinja_operator op, const jinja_value *a, const jinja_value *b,
                     jinja_value *out);
bool ct_jinja_unary(jinja_render *r, jinja_operator op, const jinja_value *a, jinja_value *out);
bool ct_jinja_equal(jinja_render *r, const jinja_value *a, const jinja_value *b, bool *equal);
bool ct_jinja_order(jinja_render *r, const char *op, const jinja_value *a, const jinja_value *b, int *order);
bool ct_jinja_compare(jinja_render *r, jinja_operator op, const jinja_value *a, const jinja_value *b,
                      bool *holds);
bool ct_jinja_contains(jinja_render *r, const jinja_value *container, const jinja_value *item,
                       bool *contains);

/* ----------------------------------------------------------------------------- lookups (lookup.c) ----- */

bool ct_jinja_attribute(jinja_render *r, const jinja_value *v, const char *name, size_t length,
                        jinja_value *out);
bool ct_jinja_subscript(jinja_render *r, const jinja_value *v, const jinja_value *key, jinja_value *out);
bool ct_jinja_slice(jinja_render *r, const jinja_value *v, const jinja_value *start, const jinja_value *stop,
                    const jinja_value *step, jinja_value *out);

/* ----------------------------------------------------------------------------------------- calls ----- */

/* values[0, count) are positional; values[count + k] belongs to names[k]. */
typedef struct jinja_arguments {
    const jinja_value *values;
    uint32_t count, named;
    const jinja_value *names; /* strings */
} jinja_arguments;

/* Puts arguments into out[] by the names in `signature` ("old new count"); what is not given is MISSING. The
 * first `required` must be. `what` is for messages. */
bool ct_jinja_bind(jinja_render *r, const char *what, const char *signature, int required,
                   const jinja_arguments *arguments, jinja_value *out);
/* An integer argument that is not given: `otherwise`. */
bool ct_jinja_integer_of(jinja_render *r, const char *what, const jinja_value *v, int64_t otherwise,
                         int64_t *out);
bool ct_jinja_call(jinja_render *r, const jinja_value *callee, const jinja_arguments *arguments,
                   jinja_value *out);
bool ct_jinja_call_method(jinja_render *r, const jinja_method *method, const jinja_arguments *arguments,
                          jinja_value *out);

typedef struct jinja_filter {
    const char *name;
    bool (*run)(jinja_render *r, const jinja_value *v, const jinja_arguments *arguments, jinja_value *out);
} jinja_filter;
const jinja_filter *ct_jinja_filter_find(const char *name, size_t length);
const char *ct_jinja_filter_nearest(const char *name);
typedef struct jinja_test {
    const char *name;
    bool (*run)(jinja_render *r, const jinja_value *v, const jinja_arguments *arguments, bool *holds);
} jinja_test;
const jinja_test *ct_jinja_test_find(const char *name, size_t length);
const char *ct_jinja_test_nearest(const char *name);

/* Methods of str and of containers: a number of a method's name, -1 if there is none; *refused if Python has
 * it and templates do not. */
int ct_jinja_text_method(const char *name, size_t length, bool *refused);
int ct_jinja_list_method(const char *name, size_t length, bool *refused);
int ct_jinja_dict_method(const char *name, size_t length, bool *refused);
bool ct_jinja_call_text(jinja_render *r, const jinja_value *self, int id, const jinja_arguments *arguments,
                        jinja_value *out);
bool ct_jinja_call_list(jinja_render *r, const jinja_value *self, int id, const jinja_arguments *arguments,
                        jinja_value *out);
bool ct_jinja_call_dict(jinja_render *r, const jinja_value *self, int id, const jinja_arguments *arguments,
                        jinja_value *out);
/* Sorted in place, stable; keys[i] belongs to items[i]. */
bool ct_jinja_sort(jinja_render *r, jinja_value *items, jinja_value *keys, size_t count, bool reverse);

/* Names that templates find without being given them. */
int ct_jinja_function_find(const char *name, size_t length); /* -1 */
bool ct_jinja_call_function(jinja_render *r, int function, const jinja_arguments *arguments,
                            jinja_value *out);

#endif
