/* fuzz_tokenizer_text.c - any bytes as text for tokenizers of several pipelines: they are encoded or refused,
 * ids are of the vocabulary, streaming gives what decoding gives, and byte-level ones give the text back. */
#include "fuzz_stream.h"
#include "carat/tokenizer.h"
#include <string.h>

const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("It's a text,\r\n\r\n  with 12345 things! \xc3\xa9\xcc\x81 \xe2\x96\x81x"),
    FUZZ_SEED("abab <s> ab</s> \xe4\xb8\x96\xf0\x9f\x91\x8d\xe2\x80\x8d\xef\xbf\xbd"),
    FUZZ_SEED("\xff\xfe<0x41>\x01\x02   \xe3\x80\x80"),
    {NULL, 0}};
const char *const fuzz_words[] = {
    " ",    "  ",           "\n",  "'LL",  "\xcc\x81", "<s>", "\xe2\x96\x81", "\xff",
    "\xe2", "\xf0\x9f\x91", "123", "abab", "\xc4\xb0", "##",  "<0xC3>",       NULL};

#define SPECIAL "\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true,\"lstrip\":true}],"
#define BYTE_FALLBACK_DECODER                                                                                \
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"        \
    "\"\xe2\x96\x81\"},"                                                                                     \
    "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" " \
    "\","                                                                                                    \
    "\"start\":1,\"stop\":0}]},"

static const char *const jsons[] = {
    "{" SPECIAL "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
                "\"\xe2\x96\x81\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" "
    "\"},\"content\":\"\xe2\x96\x81\"}]}," BYTE_FALLBACK_DECODER
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<s>\",\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{"
    "\"<s>\":0,"
    "\"\xe2\x96\x81\":1,\"a\":2,\"b\":3,\"ab\":4,\"\xe2\x96\x81"
    "ab\":5,\"\xe2\x96\x81\xe2\x96\x81\":6,\"<0x41>\":7},"
    "\"merges\":[\"a b\",\"\xe2\x96\x81 ab\",\"\xe2\x96\x81 \xe2\x96\x81\"]}}",
    "{" SPECIAL "\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":true},\"pre_tokenizer\":{\"type\":"
    "\"BertPreTokenizer\"},\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true},\"model\":"
    "{\"type\":"
    "\"WordPiece\",\"unk_token\":\"<s>\",\"vocab\":{\"<s>\":0,\"a\":1,\"##b\":2,\"ab\":3,\"i\":4,\"'\":5,"
    "\"s\":6}}}",
    "{" SPECIAL
    "\"normalizer\":{\"type\":\"NFKC\"},\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":"
    "\"\xe2\x96\x81\",\"prepend_scheme\":\"first\"},\"decoder\":{\"type\":\"Metaspace\",\"replacement\":"
    "\"\xe2\x96\x81\"},"
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":true,\"vocab\":[[\"<s>\",0],[\"a\",-1],["
    "\"b\",-2],"
    "[\"\xe2\x96\x81\",-1.5],[\"\xe2\x96\x81"
    "ab\",-2.25],[\"<0xC3>\",-9]]}}",
    "{" SPECIAL
    "\"normalizer\":{\"type\":\"NFD\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
    "\"Digits\",\"individual_digits\":true},{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{L}+|\\\\s(?="
    "\\\\S)\"},"
    "\"behavior\":\"MergedWithNext\"},{\"type\":\"Punctuation\"},{\"type\":\"ByteLevel\",\"add_prefix_"
    "space\":true,"
    "\"use_regex\":true}]},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"unk_token\":\"<"
    "s>\",\"vocab\":"
    "{\"<s>\":0,\"a\":1,\"b\":2,\"\xc4\xa0\":3,\"ab\":4},\"merges\":[\"a b\"]}}",
    NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    static ct_tokenizer *tokenizers[8];
    if (!context) context = ct_context_create(1);
    for (int i = 0; jsons[i]; i++) {
        if (!tokenizers[i]) tokenizers[i] = ct_tokenizer_parse(context, jsons[i], strlen(jsons[i]), "fuzz");
        FUZZ_CHECK(tokenizers[i]);
        ct_ids ids = {0};
        ct_bytes back = {0};
        FUZZ_CHECK(ct_tokenizer_encode(tokenizers[i], (const char *)data, size, size % 4, &ids) == CT_OK);
        for (size_t j = 0; j < ids.count; j++)
            FUZZ_CHECK(ids.ids[j] >= 0 && ids.ids[j] < ct_tokenizer_size(tokenizers[i]));
        FUZZ_CHECK(ct_tokenizer_decode(tokenizers[i], ids.ids, ids.count, 0, &back) == CT_OK);
        check_stream(context, tokenizers[i], &ids, &back);
        ct_ids_free(context, &ids);
        ct_bytes_free(context, &back);
    }
    return 0;
}
