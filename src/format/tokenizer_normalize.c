/* tokenizer_normalize.c - the normalizers: what is done to a text before it is cut into words. Bytes that are
 * not UTF-8 stay as they are. */
#include "format/byte_level.h"
#include "format/tokenizer_steps.h"
#include "format/utf8.h"
#include <string.h>
#include <utf8proc.h>

static ct_status put(ct_normal *text, const char *data, size_t length) {
    return ct_bytes_append(text->context, &text->out, data, length);
}

static ct_status put_code(ct_normal *text, uint32_t code) {
    char bytes[4];
    return put(text, bytes, ct_utf8_encode(code, bytes));
}

static bool is_ascii(ct_text text) {
    unsigned char all = 0;
    for (size_t i = 0; i < text.length; i++)
        all |= (unsigned char)text.data[i];
    return all < 128;
}

/* The character at `at`: its size, and its code point or 0xffffffff for a stray byte. */
static size_t next_code(ct_text text, size_t at, uint32_t *code) {
    size_t size = ct_utf8_decode(text.data + at, text.length - at, code);
    if (size) return size;
    *code = UINT32_MAX;
    return 1;
}

/* Calls `change` for each character; it puts what the character becomes and returns whether that is
 * something. */
typedef ct_status (*change_code)(const ct_step *step, ct_normal *text, uint32_t code);
static ct_status each_code(const ct_step *step, ct_normal *text, change_code change) {
    ct_status status = CT_OK;
    uint32_t code;
    for (size_t at = 0, size; at < text->in.length && status == CT_OK; at += size) {
        size = next_code(text->in, at, &code);
        status = code == UINT32_MAX ? put(text, text->in.data + at, 1) : change(step, text, code);
        if (at == 0) text->moved = text->out.length == 0;
    }
    return status;
}

/* --------------------------------------------------------------------------------- Unicode's normal forms */

/* One well-formed stretch. */
static ct_status put_normal(ct_normal *text, const char *data, size_t length, utf8proc_option_t form) {
    utf8proc_ssize_t count =
        utf8proc_decompose((const utf8proc_uint8_t *)data, (utf8proc_ssize_t)length, NULL, 0, form);
    if (count < 0)
        return ct_fail(text->context, CT_ERROR_FORMAT, "the text cannot be normalized: %s",
                       utf8proc_errmsg(count));
    if (*text->code_capacity < (size_t)count + 1) {
        size_t capacity = (size_t)count + (size_t)count / 2 + 64;
        int32_t *larger = ct_realloc(text->context, *text->codes, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return ct_context_status(text->context);
        *text->codes = larger;
        *text->code_capacity = capacity;
    }
    count = utf8proc_decompose((const utf8proc_uint8_t *)data, (utf8proc_ssize_t)length, *text->codes, count,
                               form);
    if (count >= 0) count = utf8proc_normalize_utf32(*text->codes, count, form);
    ct_status status = CT_OK;
    for (utf8proc_ssize_t i = 0; i < count && status == CT_OK; i++)
        status = put_code(text, (uint32_t)(*text->codes)[i]);
    return status;
}

/* Only stretches with characters beyond ASCII change; each is taken with the ASCII character before it, which
 * marks combine with. */
static ct_status normal_form(ct_normal *text, utf8proc_option_t form) {
    ct_text in = text->in;
    ct_status status = CT_OK;
    text->kept = is_ascii(in);
    for (size_t at = 0; !text->kept && at < in.length && status == CT_OK;) {
        size_t begin = at, size, end;
        uint32_t code;
        while (begin < in.length && (unsigned char)in.data[begin] < 128)
            begin++;
        if (begin > at && begin < in.length) begin--;
        for (end = begin < in.length && (unsigned char)in.data[begin] < 128 ? begin + 1 : begin;
             end < in.length && (unsigned char)in.data[end] >= 128; end += size) {
            size = next_code(in, end, &code);
            if (code == UINT32_MAX) break;
        }
        status = put(text, in.data + at, begin - at);
        if (status == CT_OK && end > begin) status = put_normal(text, in.data + begin, end - begin, form);
        for (at = end;
             status == CT_OK && at < in.length && next_code(in, at, &code) == 1 && code == UINT32_MAX; at++)
            status = put(text, in.data + at, 1);
    }
    return status;
}

static ct_status nfc(const ct_step *step, ct_normal *text) {
    (void)step;
    return normal_form(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
}
static ct_status nfd(const ct_step *step, ct_normal *text) {
    (void)step;
    return normal_form(text, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
}
static ct_status nfkc(const ct_step *step, ct_normal *text) {
    (void)step;
    return normal_form(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
}
static ct_status nfkd(const ct_step *step, ct_normal *text) {
    (void)step;
    return normal_form(text, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
}

/* -------------------------------------------------------------------------------------- single characters */

/* The whole mapping, of which only the dotted I is longer than one character. */
static ct_status lower(const ct_step *step, ct_normal *text, uint32_t code) {
    (void)step;
    if (code == 0x130) return put(text, "i\xcc\x87", 3);
    return put_code(text, (uint32_t)utf8proc_tolower((utf8proc_int32_t)code));
}

static ct_status lowercase(const ct_step *step, ct_normal *text) {
    return each_code(step, text, lower);
}

static ct_status without_mark(const ct_step *step, ct_normal *text, uint32_t code) {
    (void)step;
    return ct_is_mark(code) ? CT_OK : put_code(text, code);
}

static ct_status strip_accents(const ct_step *step, ct_normal *text) {
    return each_code(step, text, without_mark);
}

static bool is_nmt_removed(uint32_t code) {
    return (code >= 1 && code <= 8) || code == 0xb || (code >= 0xe && code <= 0x1f) || code == 0x7f ||
           code == 0x8f || code == 0x9f;
}

static bool is_nmt_space(uint32_t code) {
    static const uint32_t spaces[] = {9, 10, 12, 13, 0x1680, 0x2028, 0x2029, 0x2581, 0xfeff, 0xfffd};
    for (size_t i = 0; i < sizeof spaces / sizeof spaces[0]; i++)
        if (code == spaces[i]) return true;
    return code >= 0x200b && code <= 0x200f;
}

static ct_status nmt_code(const ct_step *step, ct_normal *text, uint32_t code) {
    (void)step;
    return is_nmt_removed(code) ? CT_OK : put_code(text, is_nmt_space(code) ? ' ' : code);
}

static ct_status nmt(const ct_step *step, ct_normal *text) {
    return each_code(step, text, nmt_code);
}

static ct_status spell_bytes(const ct_step *step, ct_normal *text) {
    char spelled[8];
    ct_status status = CT_OK;
    (void)step;
    for (size_t i = 0; i < text->in.length && status == CT_OK; i++)
        status = put(text, spelled, ct_bytes_spell(text->in.data + i, 1, spelled));
    return status;
}

/* --------------------------------------------------------------------------------------------------- BERT */

/* Control, format and private characters but for tab and line ends; unassigned ones stay. */
static bool is_bert_control(uint32_t code) {
    if (code == '\t' || code == '\n' || code == '\r') return false;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
           category == UTF8PROC_CATEGORY_CS || category == UTF8PROC_CATEGORY_CO;
}

static bool is_chinese(uint32_t code) {
    return (code >= 0x4e00 && code <= 0x9fff) || (code >= 0x3400 && code <= 0x4dbf) ||
           (code >= 0x20000 && code <= 0x2a6df) || (code >= 0x2a700 && code <= 0x2b73f) ||
           (code >= 0x2b740 && code <= 0x2b81f) || (code >= 0x2b920 && code <= 0x2ceaf) ||
           (code >= 0xf900 && code <= 0xfaff) || (code >= 0x2f800 && code <= 0x2fa1f);
}

static ct_status bert_code(const ct_step *step, ct_normal *text, uint32_t code) {
    if (step->clean) {
        if (code == 0 || code == 0xfffd || is_bert_control(code)) return CT_OK;
        if (ct_is_white_space(code)) code = ' ';
    }
    if (!step->chinese || !is_chinese(code)) return put_code(text, code);
    ct_status status = put(text, " ", 1);
    if (status == CT_OK) status = put_code(text, code);
    return status == CT_OK ? put(text, " ", 1) : status;
}

static ct_status without_nonspacing(const ct_step *step, ct_normal *text, uint32_t code) {
    (void)step;
    return utf8proc_category((utf8proc_int32_t)code) == UTF8PROC_CATEGORY_MN ? CT_OK : put_code(text, code);
}

/* What one pass wrote becomes what the next reads; *kept is freed by the caller at the end. */
static void next_pass(ct_normal *text, ct_bytes *kept) {
    ct_bytes written = text->out;
    text->out = *kept;
    text->out.length = 0;
    *kept = written;
    text->in = (ct_text){written.data ? written.data : "", written.length};
}

static ct_status bert(const ct_step *step, ct_normal *text) {
    ct_bytes kept = {0};
    bool moved;
    ct_status status = each_code(step, text, bert_code);
    moved = text->moved;
    if (status == CT_OK && step->accents) {
        next_pass(text, &kept);
        status = normal_form(text, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
        if (status == CT_OK && !text->kept) {
            next_pass(text, &kept);
            status = each_code(step, text, without_nonspacing);
            moved |= text->moved;
        } else if (status == CT_OK) { /* all ASCII: there is nothing to strip */
            status = put(text, text->in.data, text->in.length);
        }
        text->kept = false;
    }
    if (status == CT_OK && step->lowercase) {
        next_pass(text, &kept);
        status = each_code(step, text, lower);
    }
    text->moved = moved;
    ct_bytes_free(text->context, &kept);
    return status;
}

static ct_status read_bert(ct_context *context, const ct_value *part, const char *where, ct_step *step) {
    ct_status status = ct_step_bool(context, part, where, "clean_text", true, &step->clean);
    if (status == CT_OK)
        status = ct_step_bool(context, part, where, "handle_chinese_chars", true, &step->chinese);
    if (status == CT_OK) status = ct_step_bool(context, part, where, "lowercase", true, &step->lowercase);
    if (status == CT_OK)
        status = ct_step_bool(context, part, where, "strip_accents", step->lowercase, &step->accents);
    return status;
}

/* ------------------------------------------------------------------------------------- texts and the rest */

static ct_status strip(const ct_step *step, ct_normal *text) {
    size_t begin = 0, end = 0, at = 0;
    uint32_t code;
    bool inside = !step->left;
    for (size_t size; at < text->in.length; at += size) {
        size = next_code(text->in, at, &code);
        if (code != UINT32_MAX && ct_is_white_space(code)) continue;
        if (!inside) begin = at;
        inside = true;
        end = at + size;
    }
    if (!step->right) end = text->in.length;
    if (!inside) begin = end; /* nothing but white space */
    if (end < begin) end = begin;
    text->moved = begin > 0;
    text->kept = begin == 0 && end == text->in.length;
    return text->kept ? CT_OK : put(text, text->in.data + begin, end - begin);
}

static ct_status read_strip(ct_context *context, const ct_value *part, const char *where, ct_step *step) {
    ct_status status = ct_step_bool(context, part, where, "strip_left", true, &step->left);
    return status == CT_OK ? ct_step_bool(context, part, where, "strip_right", true, &step->right) : status;
}

static ct_status replace(const ct_step *step, ct_normal *text) {
    ct_regex_scan scan = {0};
    size_t last = 0;
    uint32_t code;
    ct_status status = CT_OK;
    while (status == CT_OK && ct_regex_next(step->regex, text->in.data, text->in.length, &scan)) {
        /* a replacement stands where the last replaced character stood */
        if (scan.begin == 0 && scan.end > 0 &&
            (step->content.length == 0 || next_code(text->in, 0, &code) < scan.end))
            text->moved = true;
        status = put(text, text->in.data + last, scan.begin - last);
        if (status == CT_OK) status = put(text, step->content.data, step->content.length);
        last = scan.end;
    }
    if (ct_failed(text->context)) return ct_context_status(text->context);
    text->kept = !scan.any;
    return scan.any ? put(text, text->in.data + last, text->in.length - last) : CT_OK;
}

static ct_status read_replace(ct_context *context, const ct_value *part, const char *where, ct_step *step) {
    ct_status status = ct_step_pattern(context, part, where, step);
    return status == CT_OK ? ct_step_text(context, part, where, "content", &step->content) : status;
}

static ct_status prepend(const ct_step *step, ct_normal *text) {
    text->kept = text->in.length == 0;
    if (text->kept) return CT_OK;
    ct_status status = put(text, step->content.data, step->content.length);
    return status == CT_OK ? put(text, text->in.data, text->in.length) : status;
}

static ct_status read_prepend(ct_context *context, const ct_value *part, const char *where, ct_step *step) {
    return ct_step_text(context, part, where, "prepend", &step->content);
}

static ct_status precompiled(const ct_step *step, ct_normal *text) {
    if (step->charsmap) return ct_charsmap_apply(step->charsmap, text);
    text->kept = true; /* an empty map changes nothing */
    return CT_OK;
}

static ct_status read_precompiled(ct_context *context, const ct_value *part, const char *where,
                                  ct_step *step) {
    ct_text base64;
    ct_status status = ct_step_text(context, part, where, "precompiled_charsmap", &base64);
    if (status != CT_OK || base64.length == 0) return status;
    step->charsmap = ct_charsmap_read(context, base64.data, base64.length, where);
    return step->charsmap ? CT_OK : ct_context_status(context);
}

/* ---------------------------------------------------------------------------------------------- the table */

#define KIND(name_, keys_, read_, function_)                                                                 \
    &(const ct_step_kind) {                                                                                  \
        .name = name_, .keys = keys_, .read = read_, .normalize = function_                                  \
    }
static const ct_step_kind *const kinds[] = {
    KIND("NFC", "", NULL, nfc),
    KIND("NFD", "", NULL, nfd),
    KIND("NFKC", "", NULL, nfkc),
    KIND("NFKD", "", NULL, nfkd),
    KIND("Lowercase", "", NULL, lowercase),
    KIND("StripAccents", "", NULL, strip_accents),
    KIND("Nmt", "", NULL, nmt),
    KIND("ByteLevel", "", NULL, spell_bytes),
    KIND("BertNormalizer", "clean_text handle_chinese_chars strip_accents lowercase", read_bert, bert),
    KIND("Strip", "strip_left strip_right", read_strip, strip),
    KIND("Replace", "pattern content", read_replace, replace),
    KIND("Prepend", "prepend", read_prepend, prepend),
    KIND("Precompiled", "precompiled_charsmap", read_precompiled, precompiled),
    NULL};
const ct_step_table ct_normalizers = {"normalizer", "normalizers", kinds};
