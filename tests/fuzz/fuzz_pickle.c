/* fuzz_pickle.c - any bytes as the pickle of a PyTorch file whose storage "0" has 64 bytes. Whatever it says,
 * the tensors that come out lie within that storage and can be read. */
#include "fuzz_file.h"
#include "carat/archive.h"
#include <stdbool.h>
#include <string.h>

#define STORAGE(count)                                                                                       \
    "(X\7\0\0\0storageq\1ctorch\nFloatStorage\nX\1\0\0\0"                                                    \
    "0X\3\0\0\0cpuK" count "tQ"
#define TENSOR(offset, size, stride)                                                                         \
    "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("\20") offset size stride                                 \
        "\x89"                                                                                               \
        "ccollections\nOrderedDict\n)RtR"
const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("\x80\2}q\0X\1\0\0\0xq\5" TENSOR("K\0", "K\2K\3\x86", "K\3K\1\x86") "s."),
    FUZZ_SEED("\x80\2}q\0(X\1\0\0\0aq\5" TENSOR("K\1", "K\3\x85", "K\4\x85") "X\1\0\0\0bh\5u."),
    FUZZ_SEED("\x80\2ccollections\nOrderedDict\n)R(X\1\0\0\0w" TENSOR(
        "K\0", ")", ")") "X\1\0\0\0n](K\5G?\xf0\0\0\0\0\0\0N\x88"
                         "eu}b."),
    FUZZ_SEED("\x80\4\x95\x10\0\0\0\0\0\0\0}\x94(\x8c\1a\x94]\x94(K\1M\2\1J\3\0\0\0\x8a\1\4"
              "e\x8c\1t\x94K\1K\2K\3\x87\x94u."),
    FUZZ_SEED("\x80\2]q\0(h\0h\0"
              "eq\1h\1\x86."),
    {NULL, 0}};
const char *const fuzz_words[] = {"ctorch\nSize\n",
                                  "ctorch\nHalfStorage\n",
                                  "ctorch\nfloat16\n",
                                  "c_codecs\nencode\n",
                                  "cos\nsystem\n",
                                  "ctorch._utils\n_rebuild_parameter\n",
                                  "\x86",
                                  "\x87",
                                  "\x85",
                                  "R",
                                  "t",
                                  "(",
                                  "Q",
                                  "b",
                                  "s",
                                  "u",
                                  "e",
                                  "a",
                                  "h\1",
                                  "q\1",
                                  "\x94",
                                  "\x93",
                                  "}",
                                  "]",
                                  ")",
                                  "K\7",
                                  "N",
                                  "\x8a\10\377\377\377\377\377\377\377\177",
                                  NULL};

static size_t put(uint8_t *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
    return (size_t)bytes;
}

static size_t header(uint8_t *out, const char *name, uint64_t size, bool central, uint64_t place) {
    size_t at = put(out, central ? 0x02014b50 : 0x04034b50, 4);
    if (central) at += put(out + at, 20, 2);
    at += put(out + at, 20, 2);
    memset(out + at, 0, 12);
    at += 12; /* stored; no checksum, which is not looked at */
    at += put(out + at, size, 4);
    at += put(out + at, size, 4);
    at += put(out + at, strlen(name), 2);
    at += put(out + at, 0, 2);
    if (central) {
        memset(out + at, 0, 10);
        at += 10;
        at += put(out + at, place, 4);
    }
    memcpy(out + at, name, strlen(name));
    return at + strlen(name);
}

/* An archive of the pickle and the storage. */
static size_t wrap(uint8_t *out, const uint8_t *data, size_t size) {
    size_t at = header(out, "a/data.pkl", size, false, 0), second, start;
    memcpy(out + at, data, size);
    at = second = at + size;
    at += header(out + at, "a/data/0", 64, false, 0);
    for (int i = 0; i < 64; i++)
        out[at++] = (uint8_t)i;
    start = at;
    at += header(out + at, "a/data.pkl", size, true, 0);
    at += header(out + at, "a/data/0", 64, true, second);
    size_t length = at - start;
    at += put(out + at, 0x06054b50, 4);
    at += put(out + at, 0, 4);
    at += put(out + at, 2, 2);
    at += put(out + at, 2, 2);
    at += put(out + at, length, 4);
    at += put(out + at, start, 4);
    return at + put(out + at, 0, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    static uint8_t file[1 << 18], bytes[4096];
    if (!context) context = ct_context_create(1);
    if (size > 1 << 17) return 0;
    ct_archive *archive = ct_archive_open(context, fuzz_file(file, wrap(file, data, size)));
    FUZZ_CHECK(!archive == ct_failed(context));
    FUZZ_CHECK(archive || ct_context_status(context) == CT_ERROR_FORMAT ||
               ct_context_status(context) == CT_ERROR_UNSUPPORTED);
    for (size_t i = 0; archive && i < ct_archive_count(archive); i++) {
        const ct_archive_tensor *tensor = ct_archive_at(archive, i);
        for (int k = 0; k < 2;
             k++) { /* views may repeat what is there, up to any size: the first bytes and the last */
            size_t n = tensor->size < sizeof bytes ? (size_t)tensor->size : sizeof bytes;
            FUZZ_CHECK(ct_archive_read(archive, tensor, bytes, k ? tensor->size - n : 0, n) == CT_OK);
            for (size_t b = 0; b < n; b++)
                FUZZ_CHECK(bytes[b] < 64);
        }
    }
    ct_value *metadata = archive ? ct_archive_metadata(archive, 4) : NULL;
    FUZZ_CHECK(!archive == !metadata);
    ct_value_free(metadata);
    ct_archive_close(archive);
    ct_context_clear(context);
    return 0;
}
