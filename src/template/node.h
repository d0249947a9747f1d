/* node.h - inside template: tokens, the tree of a parsed template, and who builds them. */
#ifndef CARAT_TEMPLATE_NODE_H
#define CARAT_TEMPLATE_NODE_H

#include "template/value.h"

enum { CT_TEMPLATE_BRACKETS = 200 };

/* ------------------------------------------------------------------------------------------ tokens ----- */

typedef enum jinja_token_kind {
    TOKEN_DATA,
    TOKEN_OUTPUT_BEGIN,
    TOKEN_OUTPUT_END,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_INTEGER,
    TOKEN_REAL,
    TOKEN_OPERATOR, /* text: "//" */
    TOKEN_END
} jinja_token_kind;
typedef struct jinja_token {
    uint8_t kind;
    uint32_t line, length;
    const char *text; /* of strings without quotes and escapes */
    int64_t integer;
    double real;
} jinja_token;
typedef struct jinja_tokens {
    jinja_token *items;
    size_t count, capacity;
} jinja_tokens;

/* ------------------------------------------------------------------------------------------- nodes ----- */

typedef struct jinja_name {
    const char *text;
    uint32_t length, number;
} jinja_name;

typedef enum jinja_node_kind {
    NODE_CONSTANT, /* value */
    NODE_NAME,     /* name, places */
    NODE_LIST,     /* a: items */
    NODE_TUPLE,    /* a: items */
    NODE_DICT,     /* a: NODE_PAIR */
    NODE_PAIR,     /* a: b */
    NODE_ATTRIBUTE,
    NODE_ITEM,    /* a[b] */
    NODE_SLICE,   /* a[b:c:d], each may be NULL */
    NODE_CALL,    /* a(b...), keywords are NODE_KEYWORD at the end; count, named */
    NODE_KEYWORD, /* name=a */
    NODE_FILTER,  /* a|filter(b...); a is NULL where what the block wrote is meant */
    NODE_TEST,    /* a is test(b...) */
    NODE_BINARY,
    NODE_UNARY,
    NODE_NOT,
    NODE_COMPARE, /* a, then b: NODE_OPERAND */
    NODE_OPERAND, /* op a */
    NODE_AND,
    NODE_OR,
    NODE_CONCAT,       /* a ~ next ~ ... */
    NODE_CONDITION,    /* a if b else c */
    NODE_TEXT,         /* value */
    NODE_OUTPUT,       /* a */
    NODE_IF,           /* a: b, else c */
    NODE_FOR,          /* a in b if d: c, else e */
    NODE_SET,          /* a = b */
    NODE_SET_BLOCK,    /* a = body b through filters c */
    NODE_MACRO,        /* function */
    NODE_CALL_BLOCK,   /* a: NODE_CALL, function: the caller */
    NODE_FILTER_BLOCK, /* filters a over body b */
    NODE_WITH,         /* a: NODE_SET..., b body */
    NODE_BREAK,
    NODE_CONTINUE,
    NODE_GENERATION, /* b */
    NODE_MEMBER      /* target NAMESPACE.name: a is the name of the namespace */
} jinja_node_kind;

typedef struct jinja_scope jinja_scope;
typedef struct jinja_node jinja_node;
typedef struct jinja_function jinja_function;

/* A variable may stand in several scopes; the first that has a value counts. */
typedef struct jinja_place {
    uint32_t up, slot; /* functions outwards, number within its frame */
} jinja_place;

struct jinja_node {
    uint8_t kind, op; /* jinja_operator */
    bool negated;     /* `is not` */
    uint32_t line, count, named;
    jinja_node *next; /* in a list: statements, items, arguments */
    jinja_node *a, *b, *c, *d, *e;
    const jinja_name *name;
    union {
        jinja_value value;
        struct {
            jinja_place *list;
            uint32_t count;
        } places;
        const jinja_filter *filter;
        const jinja_test *test;
        jinja_function *function;
        uint32_t loop_slot; /* NODE_FOR: of `loop` */
    };
    const jinja_value *keyword_names; /* NODE_CALL, NODE_FILTER, NODE_TEST */
    jinja_scope *scope;               /* NODE_NAME: where it stands; blocks: the one they open */
    jinja_node *link;                 /* names in the order of the text, for the second pass */
};

/* Slots of a scope lie side by side, [first, first + count). */
struct jinja_scope {
    jinja_scope *outer; /* NULL: none */
    jinja_function *function;
    uint32_t number, first, count;
    jinja_scope *next; /* all of a template, in order */
};

/* The template itself, a macro, or the body of a call block. */
struct jinja_function {
    const jinja_name *name;
    jinja_function *outer;
    jinja_scope *scope;
    jinja_node *parameters; /* NODE_NAME; a: its default or NULL */
    jinja_node *body;
    uint32_t slots, parameter_count, line;
    int32_t caller, varargs, kwargs; /* slots; -1: the body does not use them */
};

struct jinja_macro {
    const jinja_function *function;
    jinja_frame *frame; /* where it was defined */
};

struct ct_template {
    ct_context *context;
    jinja_arena arena;
    const char *label, *source;
    size_t source_length;
    const jinja_name **names;
    uint32_t name_count;
    uint32_t *name_table, name_buckets; /* number + 1 */
    int16_t *functions;                 /* by the number of the name: jinja_function_id or -1 */
    jinja_function *main;
    bool generation;
};

/* ------------------------------------------------------------------------------------------ parsing ----- */

typedef struct jinja_parser {
    ct_context *context;
    ct_template *parsed;
    jinja_tokens tokens;
    size_t at;
    int depth, loops; /* nesting; loops around, for break and continue */
    int branches;     /* conditions around: there unknown filters and tests fail when they are reached */
    jinja_scope *scope, *first_scope, *last_scope;
    uint32_t scopes;
    jinja_function *function;
    jinja_node *first_name, *last_name;
    /* declarations: (scope, name) to slot within the scope */
    uint64_t *keys;
    uint32_t *values, declared, buckets;
    bool failed;
} jinja_parser;

bool ct_jinja_tokenize(jinja_parser *p, const char *text, size_t length);
/* Records "NAME:LINE: ..." ; always NULL. */
void *ct_jinja_refuse(jinja_parser *p, uint32_t line, const char *format, ...) CT_PRINTF(3, 4);
const jinja_name *ct_jinja_intern(jinja_parser *p, const char *text, size_t length);
int64_t ct_jinja_name_number(const ct_template *parsed, const char *text, size_t length); /* -1 */

jinja_node *ct_jinja_node(jinja_parser *p, jinja_node_kind kind, uint32_t line);
jinja_node *ct_jinja_name_node(jinja_parser *p, const jinja_name *name, uint32_t line);
bool ct_jinja_parse_enter(jinja_parser *p); /* followed by p->depth-- when true */
jinja_token *ct_jinja_token(jinja_parser *p);
bool ct_jinja_is_operator(const jinja_parser *p, const char *text);
bool ct_jinja_is_name(const jinja_parser *p, const char *text);
bool ct_jinja_skip_operator(jinja_parser *p, const char *text);
bool ct_jinja_skip_name(jinja_parser *p, const char *text);
bool ct_jinja_expect_operator(jinja_parser *p, const char *text);
void *ct_jinja_unexpected(jinja_parser *p, const char *expected);

jinja_node *ct_jinja_expression(jinja_parser *p, bool conditions);
/* Without parentheses: `a, b` is a tuple. `in_ends`: the word `in` ends it (targets of for). */
jinja_node *ct_jinja_tuple(jinja_parser *p, bool conditions, bool parentheses);
jinja_node *ct_jinja_target(jinja_parser *p, bool members);
jinja_node *ct_jinja_filters(jinja_parser *p, jinja_node *input, bool begun);
bool ct_jinja_call_arguments(jinja_parser *p, jinja_node *call);
jinja_node *ct_jinja_statements(jinja_parser *p, const char *const *ends);

bool ct_jinja_declare(jinja_parser *p, jinja_scope *scope, const jinja_name *name);
int64_t ct_jinja_declared(const jinja_parser *p, const jinja_scope *scope, const jinja_name *name);
jinja_scope *ct_jinja_open_scope(jinja_parser *p);
jinja_function *ct_jinja_open_function(jinja_parser *p, const jinja_name *name, uint32_t line);
void ct_jinja_close_function(jinja_parser *p, jinja_scope *outer);
bool ct_jinja_resolve(jinja_parser *p);

/* --------------------------------------------------------------------------------------- evaluation ----- */

bool ct_jinja_evaluate(jinja_render *r, const jinja_node *node, jinja_value *out);
typedef enum jinja_flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE, FLOW_FAILED } jinja_flow;
jinja_flow ct_jinja_run(jinja_render *r, const jinja_node *statements);
bool ct_jinja_apply_filter(jinja_render *r, const jinja_node *filter, const jinja_value *input,
                           jinja_value *out);
bool ct_jinja_call_macro(jinja_render *r, const jinja_macro *macro, const jinja_arguments *arguments,
                         jinja_value *out);
/* Evaluates the arguments of a call, filter or test; `extra` values come first. */
bool ct_jinja_gather(jinja_render *r, const jinja_node *node, jinja_arguments *arguments);
bool ct_jinja_assign(jinja_render *r, const jinja_node *target, const jinja_value *value);

#endif
