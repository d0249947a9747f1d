/* byte_level.c - GPT-2's alphabet of bytes (Radford et al., 2019, encoder.py: bytes_to_unicode). Printable
 * are 33 to 126, 161 to 172 and 174 to 255; the other 68 bytes become 256, 257, ... in their order. */
#include "format/byte_level.h"
#include "format/utf8.h"

static bool is_printable(uint32_t code) {
    return (code >= 33 && code <= 126) || (code >= 161 && code <= 172) || (code >= 174 && code <= 255);
}

uint32_t ct_byte_symbol(unsigned char byte) {
    if (is_printable(byte)) return byte;
    if (byte <= 32) return 256u + byte;       /* 0 to 32: 33 of them */
    if (byte <= 160) return 256u + byte - 94; /* 127 to 160 follow: 34 of them */
    return 256u + 67;                         /* 173 */
}

int ct_symbol_byte(uint32_t code) {
    if (code < 256) return is_printable(code) ? (int)code : -1;
    if (code <= 288) return (int)code - 256;
    if (code <= 322) return (int)code - 256 + 94;
    return code == 323 ? 173 : -1;
}

size_t ct_bytes_spell(const char *bytes, size_t length, char *out) {
    size_t written = 0;
    for (size_t i = 0; i < length; i++)
        written += ct_utf8_encode(ct_byte_symbol((unsigned char)bytes[i]), out + written);
    return written;
}

bool ct_bytes_unspell(const char *symbol, size_t length, char *out, size_t *out_length) {
    uint32_t code = 0;
    *out_length = 0;
    for (size_t i = 0; i < length;) {
        size_t size = ct_utf8_decode(symbol + i, length - i, &code);
        int byte = size ? ct_symbol_byte(code) : -1;
        if (byte < 0) return false;
        out[(*out_length)++] = (char)byte;
        i += size;
    }
    return true;
}
