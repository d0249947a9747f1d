/* pickle.c - a pickle is a program for a machine with a stack and a memory. This is that machine with the
 * instructions that data needs (protocols 2 to 5, Python's Lib/pickletools.py); pickle_call.c has the few
 * functions that may be called. Every count is bounded by the bytes that are there, and nothing is made
 * twice. */
#include "format/pickle.h"
#include "format/utf8.h"
#include "format/zip_parts.h"
#include <string.h>

typedef struct ct_pickle_block {
    struct ct_pickle_block *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
} ct_pickle_block;

enum { BLOCK = 65536 - sizeof(ct_pickle_block), STACK_LIMIT = CT_PICKLE_NODES };

typedef struct machine {
    ct_pickle *pickle;
    const unsigned char *bytes;
    size_t length, at, start; /* start: of the present instruction */
    ct_pickle_node **stack, **memory;
    size_t depth, stack_capacity, memory_size, memory_used;
    ct_pickle_node *result;
} machine;

/* ------------------------------------------------------------------------------------------- making */

bool ct_pickle_refuse(ct_pickle *pickle, const char *format, ...) {
    char message[340];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    ct_fail(pickle->context, CT_ERROR_FORMAT, "%s: %s", pickle->where, message);
    return false;
}

void *ct_pickle_bytes(ct_pickle *pickle, size_t size) {
    ct_pickle_block *block = pickle->blocks;
    size = (size + 15) / 16 * 16;
    if ((pickle->made += size) >
        pickle->most) { /* what is made once and used often may be made again by calls */
        ct_pickle_refuse(pickle, "makes more than %llu bytes of values", (unsigned long long)pickle->most);
        return NULL;
    }
    if (!block || block->size - block->used < size) {
        size_t room = size > BLOCK ? size : BLOCK;
        block = ct_alloc(pickle->context, sizeof *block + room, CT_MEMORY_OTHER);
        if (!block) return NULL;
        *block = (ct_pickle_block){.next = pickle->blocks, .size = room};
        pickle->blocks = block;
    }
    void *bytes = block->bytes + block->used;
    block->used += size;
    return bytes;
}

ct_pickle_node *ct_pickle_new(ct_pickle *pickle, ct_pickle_kind kind) {
    if (pickle->nodes++ >= CT_PICKLE_NODES) {
        ct_pickle_refuse(pickle, "makes more than %d values", CT_PICKLE_NODES);
        return NULL;
    }
    ct_pickle_node *node = ct_pickle_bytes(pickle, sizeof *node);
    if (!node) return NULL;
    memset(node, 0, sizeof *node);
    node->kind = kind;
    return node;
}

bool ct_pickle_push_item(ct_pickle *pickle, ct_pickle_node *list, ct_pickle_node *item) {
    if (!item) return false;
    if (list->as.list.count == list->as.list.capacity) {
        size_t capacity = list->as.list.capacity * 2 + 4;
        ct_pickle_node **items = ct_pickle_bytes(pickle, capacity * sizeof(ct_pickle_node *));
        if (!items) return false;
        if (list->as.list.count)
            memcpy(items, list->as.list.items, list->as.list.count * sizeof(ct_pickle_node *));
        list->as.list.items = items;
        list->as.list.capacity = capacity;
    }
    list->as.list.items[list->as.list.count++] = item;
    return true;
}

const char *ct_pickle_kind_name(const ct_pickle_node *node) {
    static const char *const names[] = {"None", "bool",     "int",     "long integer", "float",
                                        "str",  "bytes",    "list",    "tuple",        "dict",
                                        "type", "function", "storage", "tensor",       "mark"};
    return names[node->kind];
}

/* ------------------------------------------------------------------------------------------ the stack */

static bool refuse_here(machine *m, const char *what) {
    return ct_pickle_refuse(m->pickle, "%s at byte %zu", what, m->start);
}

static bool push(machine *m, ct_pickle_node *node) {
    if (!node) return false;
    if (m->depth == m->stack_capacity) {
        if (m->depth >= STACK_LIMIT) return refuse_here(m, "the stack has no end");
        size_t capacity = m->stack_capacity * 2 + 256;
        ct_pickle_node **larger =
            ct_realloc(m->pickle->context, m->stack, capacity * sizeof(ct_pickle_node *), CT_MEMORY_OTHER);
        if (!larger) return false;
        m->stack = larger;
        m->stack_capacity = capacity;
    }
    m->stack[m->depth++] = node;
    return true;
}

/* The value `below` the top, which must be a value. */
static ct_pickle_node *top(machine *m, size_t below) {
    if (m->depth > below && m->stack[m->depth - 1 - below]->kind != CT_PICKLE_MARK)
        return m->stack[m->depth - 1 - below];
    refuse_here(m, "the stack lacks a value");
    return NULL;
}

/* Where the topmost mark stands. */
static bool find_mark(machine *m, size_t *place) {
    for (size_t i = m->depth; i-- > 0;)
        if (m->stack[i]->kind == CT_PICKLE_MARK) {
            *place = i;
            return true;
        }
    return refuse_here(m, "the stack lacks a mark");
}

static bool push_tuple(machine *m, size_t from, size_t drop_from) {
    ct_pickle_node *tuple = ct_pickle_new(m->pickle, CT_PICKLE_TUPLE);
    for (size_t i = from; tuple && i < m->depth; i++)
        if (!ct_pickle_push_item(m->pickle, tuple, m->stack[i])) return false;
    m->depth = drop_from;
    return push(m, tuple);
}

static bool small_tuple(machine *m, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!top(m, i)) return false;
    return push_tuple(m, m->depth - count, m->depth - count);
}

/* The values from `from` on go into the list or dictionary before them. */
static bool extend(machine *m, size_t from, size_t drop_from, ct_pickle_kind kind) {
    ct_pickle_node *target = drop_from ? m->stack[drop_from - 1] : NULL;
    size_t count = m->depth - from;
    if (!target || target->kind != kind) return refuse_here(m, "there is no list or dictionary to add to");
    if (kind == CT_PICKLE_DICT && count % 2) return refuse_here(m, "a key lacks its value");
    for (size_t i = from; i < m->depth; i++) {
        if (m->stack[i]->kind == CT_PICKLE_MARK) return refuse_here(m, "a mark stands among values");
        if (!ct_pickle_push_item(m->pickle, target, m->stack[i])) return false;
    }
    m->depth = drop_from;
    return true;
}

static bool extend_marked(machine *m, ct_pickle_kind kind) {
    size_t mark = 0;
    return find_mark(m, &mark) && extend(m, mark + 1, mark, kind);
}

/* ----------------------------------------------------------------------------------------- the memory */

static bool remember(machine *m, uint64_t slot) {
    ct_pickle_node *node = top(m, 0);
    if (!node) return false;
    if (slot >= CT_PICKLE_NODES) return refuse_here(m, "a memory slot beyond the limit is used");
    if (slot >= m->memory_size) {
        size_t size = m->memory_size * 2 + 64;
        if (size <= slot) size = (size_t)slot + 1;
        ct_pickle_node **larger =
            ct_realloc(m->pickle->context, m->memory, size * sizeof(ct_pickle_node *), CT_MEMORY_OTHER);
        if (!larger) return false;
        for (size_t i = m->memory_size; i < size; i++)
            larger[i] = NULL;
        m->memory = larger;
        m->memory_size = size;
    }
    m->memory_used += m->memory[slot] == NULL;
    m->memory[slot] = node;
    return true;
}

static bool recall(machine *m, uint64_t slot) {
    if (slot < m->memory_size && m->memory[slot]) return push(m, m->memory[slot]);
    return refuse_here(m, "an empty memory slot is asked for");
}

/* ------------------------------------------------------------------------------------------ operands */

/* The next `size` bytes; NULL with an error if they are not there. */
static const unsigned char *take(machine *m, uint64_t size) {
    if (size > m->length - m->at) {
        refuse_here(m, "the pickle ends within an instruction");
        return NULL;
    }
    const unsigned char *bytes = m->bytes + m->at;
    m->at += (size_t)size;
    return bytes;
}

/* An unsigned number of 1, 2, 4 or 8 bytes, little endian. */
static bool number(machine *m, int size, uint64_t *value) {
    const unsigned char *bytes = take(m, (uint64_t)size);
    *value = 0;
    for (int i = 0; bytes && i < size; i++)
        *value |= (uint64_t)bytes[i] << (8 * i);
    return bytes != NULL;
}

static bool push_int(machine *m, int64_t value) {
    ct_pickle_node *node = ct_pickle_new(m->pickle, CT_PICKLE_INT);
    if (node) node->as.integer = value;
    return push(m, node);
}

static bool push_bool(machine *m, bool value) {
    ct_pickle_node *node = ct_pickle_new(m->pickle, CT_PICKLE_BOOL);
    if (node) node->as.truth = value;
    return push(m, node);
}

/* Two's complement of any length. */
static bool push_long(machine *m, int length_size) {
    uint64_t size = 0, value = 0;
    if (!number(m, length_size, &size)) return false;
    const unsigned char *bytes = take(m, size);
    if (!bytes) return false;
    if (size > 8) return push(m, ct_pickle_new(m->pickle, CT_PICKLE_LONG));
    for (uint64_t i = 0; i < 8; i++)
        value |= (uint64_t)(i < size ? bytes[i] : size && bytes[size - 1] & 128 ? 255 : 0) << (8 * i);
    return push_int(m, (int64_t)value);
}

/* 8 bytes, big endian. */
static bool push_real(machine *m) {
    const unsigned char *bytes = take(m, 8);
    uint64_t bits = 0;
    for (int i = 0; bytes && i < 8; i++)
        bits = bits << 8 | bytes[i];
    ct_pickle_node *node = bytes ? ct_pickle_new(m->pickle, CT_PICKLE_REAL) : NULL;
    if (node) memcpy(&node->as.real, &bits, 8);
    return push(m, node);
}

static bool push_text(machine *m, int length_size, ct_pickle_kind kind) {
    uint64_t size = 0;
    const unsigned char *bytes = number(m, length_size, &size) ? take(m, size) : NULL;
    if (!bytes) return false;
    if (kind == CT_PICKLE_TEXT && ct_utf8_check((const char *)bytes, (size_t)size) != size)
        return refuse_here(m, "a text is no UTF-8");
    ct_pickle_node *node = ct_pickle_new(m->pickle, kind);
    if (!node) return false;
    node->as.text.data =
        ct_arena_copy(m->pickle->context, &m->pickle->texts, (const char *)bytes, (size_t)size);
    node->as.text.length = (size_t)size;
    return node->as.text.data && push(m, node);
}

/* A line without its newline, as a text of its own. */
static const char *take_line(machine *m) {
    const unsigned char *start = m->bytes + m->at, *end = memchr(start, '\n', m->length - m->at);
    if (!end || end - start > 1000 || memchr(start, 0, (size_t)(end - start)) ||
        ct_utf8_check((const char *)start, (size_t)(end - start)) != (size_t)(end - start)) {
        refuse_here(m, "a name does not end, is too long or no UTF-8");
        return NULL;
    }
    m->at += (size_t)(end - start) + 1;
    return ct_arena_copy(m->pickle->context, &m->pickle->texts, (const char *)start, (size_t)(end - start));
}

/* -------------------------------------------------------------------------------------- instructions */

static bool import_lines(machine *m) {
    const char *module = take_line(m), *name = module ? take_line(m) : NULL;
    return name && push(m, ct_pickle_import(m->pickle, module, name));
}

static bool import_stack(machine *m) {
    const ct_pickle_node *name = top(m, 0), *module = name ? top(m, 1) : NULL;
    if (!module) return false;
    if (name->kind != CT_PICKLE_TEXT || module->kind != CT_PICKLE_TEXT ||
        strlen(name->as.text.data) != name->as.text.length ||
        strlen(module->as.text.data) != module->as.text.length)
        return refuse_here(m, "a function's name is no text");
    m->depth -= 2;
    return push(m, ct_pickle_import(m->pickle, module->as.text.data, name->as.text.data));
}

static bool call(machine *m) {
    const ct_pickle_node *arguments = top(m, 0), *function = arguments ? top(m, 1) : NULL;
    if (!function) return false;
    if (arguments->kind != CT_PICKLE_TUPLE) return refuse_here(m, "a function is called without a tuple");
    if (function->kind != CT_PICKLE_FUNCTION)
        return refuse_here(m, "something that is no function is called");
    m->depth -= 2;
    return push(m, ct_pickle_call(m->pickle, function, arguments));
}

/* The state of a dictionary holds attributes (PyTorch's _metadata: versions of modules), which no tensor
 * needs. */
static bool build(machine *m) {
    const ct_pickle_node *state = top(m, 0), *object = state ? top(m, 1) : NULL;
    if (!object) return false;
    if (object->kind != CT_PICKLE_DICT && object->kind != CT_PICKLE_TENSOR)
        return refuse_here(m, "attributes are set on something that is no dictionary");
    m->depth--;
    return true;
}

static bool persistent(machine *m) {
    const ct_pickle_node *id = top(m, 0);
    if (!id) return false;
    m->depth--;
    return push(m, ct_pickle_storage(m->pickle, id));
}

static bool push_marked_tuple(machine *m) {
    size_t mark = 0;
    return find_mark(m, &mark) && push_tuple(m, mark + 1, mark);
}

static bool finish(machine *m) {
    m->result = top(m, 0);
    if (!m->result) return false;
    return m->depth == 1 || refuse_here(m, "the pickle ends with more than one value");
}

static bool unknown(machine *m, int instruction) {
    char text[64];
    snprintf(text, sizeof text, "the instruction 0x%02x is not understood", instruction);
    return refuse_here(m, text);
}

static bool push_empty(machine *m, ct_pickle_kind kind) {
    return push(m, ct_pickle_new(m->pickle, kind));
}

/* Instructions that push a constant. */
static bool constant(machine *m, int instruction) {
    uint64_t value = 0;
    switch (instruction) {
    case 'N':
        return push_empty(m, CT_PICKLE_NONE);
    case '(':
        return push_empty(m, CT_PICKLE_MARK);
    case 0x88:
        return push_bool(m, true);
    case 0x89:
        return push_bool(m, false);
    case 'J':
        return number(m, 4, &value) && push_int(m, (int32_t)(uint32_t)value);
    case 'K':
        return number(m, 1, &value) && push_int(m, (int64_t)value);
    case 'M':
        return number(m, 2, &value) && push_int(m, (int64_t)value);
    case 0x8a:
        return push_long(m, 1);
    case 0x8b:
        return push_long(m, 4);
    case 'G':
        return push_real(m);
    case 'X':
        return push_text(m, 4, CT_PICKLE_TEXT);
    case 0x8c:
        return push_text(m, 1, CT_PICKLE_TEXT);
    case 0x8d:
        return push_text(m, 8, CT_PICKLE_TEXT);
    case 'C':
        return push_text(m, 1, CT_PICKLE_BYTES);
    case 'B':
        return push_text(m, 4, CT_PICKLE_BYTES);
    case 0x8e:
        return push_text(m, 8, CT_PICKLE_BYTES);
    case 'U':
        return push_text(m, 1, CT_PICKLE_TEXT);
    case 'T':
        return push_text(m, 4, CT_PICKLE_TEXT);
    case ']':
    case 0x8f:
        return push_empty(m, CT_PICKLE_LIST); /* a list, a set */
    case ')':
        return push_empty(m, CT_PICKLE_TUPLE);
    case '}':
        return push_empty(m, CT_PICKLE_DICT);
    default:
        return unknown(m, instruction);
    }
}

static bool step(machine *m, int instruction) {
    uint64_t value = 0;
    switch (instruction) {
    case 0x80: /* protocol */
        if (!number(m, 1, &value)) return false;
        return (value >= 2 && value <= 5) || refuse_here(m, "a protocol that is not 2 to 5");
    case 0x95:
        return number(m, 8, &value); /* the length of a frame, which only helps to buffer */
    case 't':
        return push_marked_tuple(m);
    case 0x85:
        return small_tuple(m, 1);
    case 0x86:
        return small_tuple(m, 2);
    case 0x87:
        return small_tuple(m, 3);
    case 'a':
        return top(m, 0) && top(m, 1) && extend(m, m->depth - 1, m->depth - 1, CT_PICKLE_LIST);
    case 'e':
    case 0x90:
        return extend_marked(m, CT_PICKLE_LIST);
    case 's':
        return top(m, 0) && top(m, 1) && top(m, 2) && extend(m, m->depth - 2, m->depth - 2, CT_PICKLE_DICT);
    case 'u':
        return extend_marked(m, CT_PICKLE_DICT);
    case 'q':
        return number(m, 1, &value) && remember(m, value);
    case 'r':
        return number(m, 4, &value) && remember(m, value);
    case 0x94:
        return remember(m, m->memory_used); /* numbers by itself */
    case 'h':
        return number(m, 1, &value) && recall(m, value);
    case 'j':
        return number(m, 4, &value) && recall(m, value);
    case 'c':
        return import_lines(m);
    case 0x93:
        return import_stack(m);
    case 'R':
        return call(m);
    case 'b':
        return build(m);
    case 'Q':
        return persistent(m);
    case '.':
        return finish(m);
    default:
        return constant(m, instruction);
    }
}

bool ct_pickle_parse(ct_context *context, const char *bytes, size_t length, const char *where,
                     ct_pickle *pickle) {
    *pickle = (ct_pickle){.context = context, .where = where, .most = (uint64_t)length * 128 + BLOCK};
    machine m = {.pickle = pickle, .bytes = (const unsigned char *)bytes, .length = length};
    bool good = !ct_failed(context);
    if (good && (length < 2 || m.bytes[0] != 0x80))
        good = ct_pickle_refuse(pickle, "is no pickle of protocol 2 to 5");
    while (good && !m.result) {
        m.start = m.at;
        const unsigned char *instruction = take(&m, 1);
        good = instruction && step(&m, *instruction);
    }
    ct_free(context, m.stack);
    ct_free(context, m.memory);
    pickle->root = good ? m.result : NULL;
    return good;
}

void ct_pickle_free(ct_pickle *pickle) {
    while (pickle->blocks) {
        ct_pickle_block *next = pickle->blocks->next;
        ct_free(pickle->context, pickle->blocks);
        pickle->blocks = next;
    }
    if (pickle->context) ct_arena_free(pickle->context, &pickle->texts);
}
