/* pickle.h - the part of Python's pickle that PyTorch's files need: containers, numbers, texts, tensors and
 * the storages behind them. Nothing is run: a pickle that names any other function or class is refused by
 * that name. */
#ifndef CARAT_FORMAT_PICKLE_H
#define CARAT_FORMAT_PICKLE_H

#include "carat/format.h"
#include "format/arena.h"

enum {
    CT_PICKLE_LIMIT = 64 << 20, /* bytes of a pickle */
    CT_PICKLE_NODES = 1 << 22,  /* values it makes, slots of its memory */
    CT_PICKLE_RANK = 64
};

typedef enum ct_pickle_kind {
    CT_PICKLE_NONE,
    CT_PICKLE_BOOL,
    CT_PICKLE_INT,
    CT_PICKLE_LONG, /* an integer beyond 64 bits; its value is not kept */
    CT_PICKLE_REAL,
    CT_PICKLE_TEXT, /* UTF-8 */
    CT_PICKLE_BYTES,
    CT_PICKLE_LIST, /* also sets */
    CT_PICKLE_TUPLE,
    CT_PICKLE_DICT, /* items: key, value, key, value, ... */
    CT_PICKLE_DTYPE,
    CT_PICKLE_FUNCTION, /* a name that was imported */
    CT_PICKLE_STORAGE,
    CT_PICKLE_TENSOR,
    CT_PICKLE_MARK
} ct_pickle_kind;

/* Functions and classes that a pickle may name; all are acted out here. */
typedef enum ct_pickle_function {
    CT_CALL_ORDERED_DICT,
    CT_CALL_SET,
    CT_CALL_ENCODE, /* _codecs.encode(text, "latin1"): how protocol 2 writes bytes */
    CT_CALL_SIZE,
    CT_CALL_DEVICE,
    CT_CALL_TENSOR,    /* torch._utils._rebuild_tensor, _v2 */
    CT_CALL_TENSOR_V3, /* the same with a type beside an untyped storage */
    CT_CALL_PARAMETER, /* torch._utils._rebuild_parameter, _with_state */
    CT_CALL_STORAGE    /* a storage class: a type, never called */
} ct_pickle_function;

typedef struct ct_pickle_node ct_pickle_node;

typedef struct ct_pickle_tensor {
    const ct_pickle_node *storage;
    ct_file_dtype dtype;
    int rank;
    uint64_t first; /* element of the storage */
    int64_t *shape, *stride;
} ct_pickle_tensor;

struct ct_pickle_node {
    ct_pickle_kind kind;
    union {
        bool truth;
        int64_t integer;
        double real;
        struct {
            const char *data; /* with a NUL behind it */
            size_t length;
        } text;
        struct {
            ct_pickle_node **items;
            size_t count, capacity;
        } list;
        struct {
            ct_pickle_function call;
            ct_file_dtype dtype;
            bool untyped, known; /* of storages: no type; a type that files of tensors can have */
            const char *name;
        } function; /* also of DTYPE */
        struct {
            const char *key;
            ct_file_dtype dtype;
            bool untyped;
            int64_t count; /* elements, of an untyped one bytes */
        } storage;
        ct_pickle_tensor *tensor;
    } as;
};

typedef struct ct_pickle {
    ct_context *context;
    const char *where; /* for messages: "model.pt: archive/data.pkl" */
    const ct_pickle_node *root;
    struct ct_pickle_block *blocks; /* all nodes and lists */
    size_t nodes;
    uint64_t made, most; /* bytes of all blocks, and how many there may be */
    ct_arena texts;
} ct_pickle;

/* Runs the pickle of `length` bytes, in memory of at most 128 times that. `where` must live as long. False
 * with an error; ct_pickle_free in any case. */
bool ct_pickle_parse(ct_context *context, const char *bytes, size_t length, const char *where,
                     ct_pickle *pickle);
void ct_pickle_free(ct_pickle *pickle);

/* ---------------------------------------------------------------------------------- between its two files */

bool ct_pickle_refuse(ct_pickle *pickle, const char *format, ...) CT_PRINTF(2, 3);
ct_pickle_node *ct_pickle_new(ct_pickle *pickle,
                              ct_pickle_kind kind);    /* NULL without memory or over the limit */
void *ct_pickle_bytes(ct_pickle *pickle, size_t size); /* freed with the pickle */
bool ct_pickle_push_item(ct_pickle *pickle, ct_pickle_node *list, ct_pickle_node *item);
const char *ct_pickle_kind_name(const ct_pickle_node *node);
/* The node that an imported name stands for; NULL with an error that names it if it is not known. */
ct_pickle_node *ct_pickle_import(ct_pickle *pickle, const char *module, const char *name);
/* function(arguments...) */
ct_pickle_node *ct_pickle_call(ct_pickle *pickle, const ct_pickle_node *function,
                               const ct_pickle_node *arguments);
/* ("storage", class, key, place, count) */
ct_pickle_node *ct_pickle_storage(ct_pickle *pickle, const ct_pickle_node *id);
#endif
