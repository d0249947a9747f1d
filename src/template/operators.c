/* operators.c - arithmetic, comparison and containment with Python's rules. Integers have 64 bits; what goes
 * beyond is an error. */
#include "template/value.h"
#include <math.h>
#include <string.h>

static const char *const symbols[] = {"+", "-",  "*", "/",  "//", "%",      "** or pow()", "==",     "!=",
                                      "<", "<=", ">", ">=", "in", "not in", "unary -",     "unary +"};

static bool undefined_error(jinja_render *r, const jinja_value *v) {
    return ct_jinja_fail(r, "%s", v->text ? v->text : "a variable is undefined");
}

static bool operands_error(jinja_render *r, jinja_operator op, const jinja_value *a, const jinja_value *b) {
    if (a->kind == JINJA_UNDEFINED) return undefined_error(r, a);
    if (b->kind == JINJA_UNDEFINED) return undefined_error(r, b);
    return ct_jinja_fail(r, "unsupported operand type(s) for %s: '%s' and '%s'", symbols[op],
                         ct_jinja_type(a), ct_jinja_type(b));
}

static bool too_large(jinja_render *r) {
    return ct_jinja_fail(r, "an integer beyond 64 bits");
}

/* ---------------------------------------------------------------------------------------- numbers */

static bool integer_power(jinja_render *r, int64_t base, int64_t exponent, jinja_value *out) {
    int64_t result = 1;
    if (exponent < 0) {
        if (base == 0) return ct_jinja_fail(r, "0.0 cannot be raised to a negative power");
        *out = jinja_real(pow((double)base, (double)exponent));
        return true;
    }
    while (exponent > 0) {
        if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) return too_large(r);
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return too_large(r);
    }
    *out = jinja_int(result);
    return true;
}

static bool integers(jinja_render *r, jinja_operator op, int64_t a, int64_t b, jinja_value *out) {
    int64_t result = 0;
    bool over = false;
    switch (op) {
    case JINJA_ADD:
        over = __builtin_add_overflow(a, b, &result);
        break;
    case JINJA_SUBTRACT:
        over = __builtin_sub_overflow(a, b, &result);
        break;
    case JINJA_MULTIPLY:
        over = __builtin_mul_overflow(a, b, &result);
        break;
    case JINJA_POWER:
        return integer_power(r, a, b, out);
    case JINJA_DIVIDE:
        if (!b) return ct_jinja_fail(r, "division by zero");
        *out = jinja_real((double)a / (double)b);
        return true;
    default:
        if (!b) return ct_jinja_fail(r, "integer division or modulo by zero");
        if (b == -1) { /* INT64_MIN / -1 is not defined in C */
            if (op == JINJA_MODULO)
                result = 0;
            else
                over = __builtin_sub_overflow((int64_t)0, a, &result);
            break;
        }
        result = op == JINJA_MODULO ? a % b : a / b; /* rounds towards zero, Python down */
        if (a % b != 0 && (a < 0) != (b < 0)) result += op == JINJA_MODULO ? b : -1;
    }
    if (over) return too_large(r);
    *out = jinja_int(result);
    return true;
}

static bool reals(jinja_render *r, jinja_operator op, double a, double b, jinja_value *out) {
    double result = 0, rest;
    switch (op) {
    case JINJA_ADD:
        result = a + b;
        break;
    case JINJA_SUBTRACT:
        result = a - b;
        break;
    case JINJA_MULTIPLY:
        result = a * b;
        break;
    case JINJA_POWER:
        if (a == 0 && b < 0) return ct_jinja_fail(r, "0.0 cannot be raised to a negative power");
        if (a < 0 && floor(b) != b && isfinite(b))
            return ct_jinja_fail(r, "complex numbers are not supported");
        result = pow(a, b);
        break;
    case JINJA_DIVIDE:
        if (b == 0) return ct_jinja_fail(r, "float division by zero");
        result = a / b;
        break;
    default: /* as CPython's float_divmod */
        if (b == 0)
            return ct_jinja_fail(r, op == JINJA_MODULO ? "float modulo" : "float floor division by zero");
        rest = fmod(a, b);
        result = (a - rest) / b;
        if (rest != 0 && (b < 0) != (rest < 0)) {
            rest += b;
            result -= 1;
        } else if (rest == 0) {
            rest = copysign(0, b);
        }
        if (op == JINJA_MODULO) {
            result = rest;
        } else if (result != 0) {
            double down = floor(result);
            result = result - down > 0.5 ? down + 1 : down;
        } else {
            result = copysign(0, a / b);
        }
    }
    *out = jinja_real(result);
    return true;
}

/* --------------------------------------------------------------------------------------- sequences */

static bool join_lists(jinja_render *r, const jinja_value *a, const jinja_value *b, jinja_value *out) {
    jinja_list *list = ct_jinja_list(r, (size_t)a->list->count + b->list->count);
    if (!list) return false;
    if (a->list->count) memcpy(list->items, a->list->items, a->list->count * sizeof(*list->items));
    if (b->list->count)
        memcpy(list->items + a->list->count, b->list->items, b->list->count * sizeof(*list->items));
    *out = (jinja_value){.kind = a->kind, .list = list};
    return true;
}

static bool repeat(jinja_render *r, const jinja_value *v, int64_t times, jinja_value *out) {
    if (times < 0) times = 0;
    if (v->kind == JINJA_STRING) {
        const jinja_value text = *v;
        if (text.length == 0) times = 0;
        jinja_capture capture = ct_jinja_begin(r);
        for (int64_t i = 0; i < times; i++)
            if (!jinja_work(r, 1) || !jinja_put_text(r, &text)) return false;
        return ct_jinja_end(r, capture, out);
    }
    const jinja_list *from = v->list;
    size_t total = 0;
    if (__builtin_mul_overflow((size_t)times, (size_t)from->count, &total) || total > UINT32_MAX / 32)
        return ct_jinja_fail(r, "a list that is too long");
    jinja_list *list = ct_jinja_list(r, total);
    if (!list) return false;
    for (size_t at = 0; at < total; at += from->count)
        memcpy(list->items + at, from->items, from->count * sizeof(*list->items));
    *out = (jinja_value){.kind = v->kind, .list = list};
    return true;
}

static bool add_texts(jinja_render *r, const jinja_value *a, const jinja_value *b, jinja_value *out) {
    jinja_value left = *a, right = *b;
    bool safe = a->safe || b->safe; /* Markup escapes what is added to it */
    if (safe && (!ct_jinja_escape(r, &left, &left) || !ct_jinja_escape(r, &right, &right))) return false;
    if (!ct_jinja_concat(r, &left, &right, out)) return false;
    out->safe = safe;
    return true;
}

static bool is_integral(const jinja_value *v) {
    return v->kind == JINJA_INT || v->kind == JINJA_BOOL;
}

bool ct_jinja_binary(jinja_render *r, jinja_operator op, const jinja_value *a, const jinja_value *b,
                     jinja_value *out) {
    if (jinja_is_number(a) && jinja_is_number(b)) {
        if (is_integral(a) && is_integral(b)) return integers(r, op, jinja_integer(a), jinja_integer(b), out);
        return reals(r, op, jinja_number(a), jinja_number(b), out);
    }
    bool text = a->kind == JINJA_STRING;
    if (op == JINJA_ADD && text && b->kind == JINJA_STRING) return add_texts(r, a, b, out);
    if (op == JINJA_MODULO && text) return ct_jinja_format_percent(r, a, b, out);
    if (op == JINJA_ADD && a->kind == b->kind && jinja_is_sequence(a) && !a->list->type && !b->list->type)
        return join_lists(r, a, b, out);
    if (op == JINJA_MULTIPLY && is_integral(b) && (text || jinja_is_sequence(a)))
        return repeat(r, a, jinja_integer(b), out);
    if (op == JINJA_MULTIPLY && is_integral(a) && (b->kind == JINJA_STRING || jinja_is_sequence(b)))
        return repeat(r, b, jinja_integer(a), out);
    if (op == JINJA_ADD && text && b->kind != JINJA_UNDEFINED)
        return ct_jinja_fail(r, "can only concatenate str (not \"%s\") to str", ct_jinja_type(b));
    if (op == JINJA_ADD && jinja_is_sequence(a) && b->kind != JINJA_UNDEFINED)
        return ct_jinja_fail(r, "can only concatenate %s (not \"%s\") to %s", ct_jinja_type(a),
                             ct_jinja_type(b), ct_jinja_type(a));
    return operands_error(r, op, a, b);
}

bool ct_jinja_unary(jinja_render *r, jinja_operator op, const jinja_value *a, jinja_value *out) {
    int64_t negative;
    if (a->kind == JINJA_UNDEFINED) return undefined_error(r, a);
    if (!jinja_is_number(a))
        return ct_jinja_fail(r, "bad operand type for %s: '%s'", symbols[op], ct_jinja_type(a));
    if (a->kind == JINJA_REAL) {
        *out = jinja_real(op == JINJA_NEGATIVE ? -a->real : a->real);
        return true;
    }
    if (__builtin_sub_overflow((int64_t)0, jinja_integer(a), &negative)) return too_large(r);
    *out = jinja_int(op == JINJA_NEGATIVE ? negative : jinja_integer(a));
    return true;
}

/* -------------------------------------------------------------------------------------- comparison */

static bool equal_lists(jinja_render *r, const jinja_list *a, const jinja_list *b, bool *equal) {
    *equal = a->count == b->count;
    for (uint32_t i = 0; *equal && i < a->count; i++)
        if (!ct_jinja_equal(r, &a->items[i], &b->items[i], equal)) return false;
    return true;
}

static bool equal_dicts(jinja_render *r, const jinja_dict *a, const jinja_dict *b, bool *equal) {
    *equal = a->count == b->count;
    for (uint32_t i = 0; *equal && i < a->count; i++) {
        const jinja_value *other = ct_jinja_dict_get(r, b, &a->entries[i].key);
        if (r->failed) return false;
        *equal = other != NULL;
        if (other && !ct_jinja_equal(r, &a->entries[i].value, other, equal)) return false;
    }
    return true;
}

bool ct_jinja_equal(jinja_render *r, const jinja_value *a, const jinja_value *b, bool *equal) {
    bool fine = true;
    if (!jinja_work(r, 1)) return false;
    if (jinja_is_number(a) && jinja_is_number(b)) {
        bool integral = is_integral(a) && is_integral(b);
        *equal = integral ? jinja_integer(a) == jinja_integer(b) : jinja_number(a) == jinja_number(b);
        return true;
    }
    *equal = false;
    if (a->kind != b->kind) return true;
    switch (a->kind) {
    case JINJA_MISSING:
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        *equal = true;
        return true;
    case JINJA_STRING:
        *equal = ct_jinja_same(a, b);
        return jinja_work(r, a->length / 64);
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
        if (!jinja_enter(r)) return false;
        fine = a->kind == JINJA_DICT ? equal_dicts(r, a->dict, b->dict, equal)
                                     : equal_lists(r, a->list, b->list, equal);
        r->depth--;
        return fine;
    case JINJA_FUNCTION:
        *equal = a->function == b->function;
        return true;
    default:
        *equal = a->dict == b->dict;
        return true; /* the same object */
    }
}

static int sign(int64_t a, int64_t b) {
    return a < b ? -1 : a > b;
}

/* -2 as an order: neither is less (NaN). */
bool ct_jinja_order(jinja_render *r, const char *op, const jinja_value *a, const jinja_value *b, int *order) {
    if (!jinja_work(r, 1)) return false;
    if (is_integral(a) && is_integral(b)) {
        *order = sign(jinja_integer(a), jinja_integer(b));
        return true;
    }
    if (jinja_is_number(a) && jinja_is_number(b)) {
        double x = jinja_number(a), y = jinja_number(b);
        *order = x < y ? -1 : x > y ? 1 : x == y ? 0 : -2;
        return true;
    }
    if (a->kind == JINJA_STRING && b->kind == JINJA_STRING) { /* UTF-8 keeps the order of code points */
        size_t n = a->length < b->length ? a->length : b->length;
        int bytes = n ? memcmp(a->text, b->text, n) : 0;
        *order = bytes ? (bytes < 0 ? -1 : 1) : sign(a->length, b->length);
        return jinja_work(r, n / 64);
    }
    if (a->kind == b->kind && jinja_is_sequence(a)) {
        uint32_t n = a->list->count < b->list->count ? a->list->count : b->list->count;
        if (!jinja_enter(r)) return false;
        for (uint32_t i = 0; i < n; i++) {
            bool equal;
            if (!ct_jinja_equal(r, &a->list->items[i], &b->list->items[i], &equal)) return false;
            if (equal) continue;
            bool fine = ct_jinja_order(r, op, &a->list->items[i], &b->list->items[i], order);
            r->depth--;
            return fine;
        }
        r->depth--;
        *order = sign(a->list->count, b->list->count);
        return true;
    }
    if (a->kind == JINJA_UNDEFINED) return undefined_error(r, a);
    if (b->kind == JINJA_UNDEFINED) return undefined_error(r, b);
    return ct_jinja_fail(r, "'%s' not supported between instances of '%s' and '%s'", op, ct_jinja_type(a),
                         ct_jinja_type(b));
}

bool ct_jinja_contains(jinja_render *r, const jinja_value *container, const jinja_value *item,
                       bool *contains) {
    *contains = false;
    switch (container->kind) {
    case JINJA_STRING:
        if (item->kind == JINJA_UNDEFINED) return undefined_error(r, item);
        if (item->kind != JINJA_STRING)
            return ct_jinja_fail(r, "'in <string>' requires string as left operand, not %s",
                                 ct_jinja_type(item));
        *contains =
            ct_jinja_find(container->text, container->length, item->text, item->length, 0) != SIZE_MAX;
        return jinja_work(r, container->length / 16);
    case JINJA_LIST:
    case JINJA_TUPLE:
        for (uint32_t i = 0; i < container->list->count && !*contains; i++)
            if (!ct_jinja_equal(r, item, &container->list->items[i], contains)) return false;
        return true;
    case JINJA_DICT:
        *contains = ct_jinja_dict_get(r, container->dict, item) != NULL;
        return !r->failed;
    case JINJA_MISSING:
    case JINJA_UNDEFINED:
        return true;
    default:
        return ct_jinja_fail(r, "argument of type '%s' is not iterable", ct_jinja_type(container));
    }
}

bool ct_jinja_compare(jinja_render *r, jinja_operator op, const jinja_value *a, const jinja_value *b,
                      bool *holds) {
    bool fine;
    int order;
    if (op == JINJA_EQUAL || op == JINJA_NOT_EQUAL) {
        fine = ct_jinja_equal(r, a, b, holds);
        *holds ^= op == JINJA_NOT_EQUAL;
        return fine;
    }
    if (op == JINJA_IN || op == JINJA_NOT_IN) {
        fine = ct_jinja_contains(r, b, a, holds);
        *holds ^= op == JINJA_NOT_IN;
        return fine;
    }
    if (!ct_jinja_order(r, symbols[op], a, b, &order)) return false;
    *holds = order != -2 && (op == JINJA_LESS         ? order < 0
                             : op == JINJA_LESS_EQUAL ? order <= 0
                             : op == JINJA_GREATER    ? order > 0
                                                      : order >= 0);
    return true;
}
