/* fuzz_tokenizer.c - any bytes as tokenizer.json; with what is accepted, text is encoded and decoded. */
#include "fuzz_file.h"
#include "carat/tokenizer.h"
#include <string.h>

const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{\"id\":5,"
              "\"content\":\"<s>\",\"single_word\":false,\"lstrip\":true,\"rstrip\":true,"
              "\"normalized\":false,\"special\":true}],\"normalizer\":null,\"pre_tokenizer\":{\"type\":"
              "\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
              "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<"
              "s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],"
              "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[5],\"tokens\":[\"<s>\"]}}},\"decoder\":{"
              "\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"unk_token\":\"c\","
              "\"fuse_unk\":true,\"ignore_merges\":false,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":"
              "4,\"\\u0120\":6},\"merges\":[\"a b\",[\"ab\",\"c\"]]}}"),
    FUZZ_SEED("{\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{"
              "\"Regex\":\"[\\\\s\\\\S]\"},\"behavior\":\"Isolated\",\"invert\":false},"
              "\"post_processor\":null,\"decoder\":{\"type\":\"Fuse\"},\"model\":{\"type\":\"WordLevel\","
              "\"unk_token\":\"a\",\"vocab\":{\"a\":0,\"b\":1,\" \":2}}}"),
    FUZZ_SEED(
        "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"BertNormalizer\",\"lowercase\":"
        "true},"
        "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x+|\\\\s\"},\"content\":\" "
        "\"},{\"type\":\"Precompiled\","
        "\"precompiled_charsmap\":\"BAAAAAAAAABh\"},{\"type\":\"Strip\"},{\"type\":\"NFKD\"}]},\"pre_"
        "tokenizer\":"
        "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Whitespace\"},{\"type\":\"Split\",\"pattern\":"
        "{\"Regex\":\"[^b]+?(?=b)\"},\"behavior\":\"MergedWithNext\",\"invert\":true}]},\"decoder\":{"
        "\"type\":"
        "\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true},\"model\":{\"type\":\"WordPiece\",\"unk_token\":"
        "\"c\","
        "\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":20,\"vocab\":{\"a\":0,\"##b\":1,"
        "\"c\":2}}}"),
    FUZZ_SEED(
        "{\"added_tokens\":[{\"id\":3,\"content\":\"</"
        "s>\",\"special\":true}],\"normalizer\":{\"type\":\"Prepend\","
        "\"prepend\":\"_\"},\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_"
        "scheme\":"
        "\"first\",\"split\":true},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":"
        "\"ByteFallback\"},"
        "{\"type\":\"Metaspace\",\"replacement\":\"_\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":"
        "\" \","
        "\"start\":1,\"stop\":1},{\"type\":\"CTC\",\"pad_token\":\"a\",\"word_delimiter_token\":\"|\"}]},"
        "\"model\":"
        "{\"type\":\"Unigram\",\"unk_id\":2,\"byte_fallback\":true,\"vocab\":[[\"a\",-1.5],[\"_ab\",-2],"
        "[\"<unk>\",0],[\"</s>\",0],[\"<0x62>\",-5]]}}"),
    FUZZ_SEED(
        "{\"pre_tokenizer\":null,\"decoder\":{\"type\":\"BPEDecoder\",\"suffix\":\"</"
        "w>\"},\"model\":{\"type\":"
        "\"BPE\",\"unk_token\":\"c\",\"continuing_subword_prefix\":\"#\",\"end_of_word_suffix\":\"</w>\","
        "\"byte_fallback\":false,\"vocab\":{\"a\":0,\"#b\":1,\"c\":2,\"ab\":3,\"#b</w>\":4},\"merges\":[\"a "
        "#b\"]}}"),
    {NULL, 0}};
const char *const fuzz_words[] = {"\"NFC\"",
                                  "\"Lowercase\"",
                                  "\"StripAccents\"",
                                  "\"BertPreTokenizer\"",
                                  "\"Digits\"",
                                  "\"Punctuation\"",
                                  "\"Contiguous\"",
                                  "\"MergedWithPrevious\"",
                                  "\"Removed\"",
                                  "\"Regex\"",
                                  "\"String\"",
                                  "(a+)+$",
                                  "\\\\p{L}",
                                  "[^",
                                  "(?i:",
                                  "{1,3}",
                                  "\"ByteFallback\"",
                                  "\"Fuse\"",
                                  "\"byte_fallback\":true",
                                  "\"vocab\":",
                                  "\"merges\":",
                                  "\"id\":",
                                  "\"content\":",
                                  "\"type\":",
                                  "\"ByteLevel\"",
                                  "\"Sequence\"",
                                  "\"pretokenizers\":[",
                                  "\"processors\":[",
                                  "\"a b\",",
                                  "[\"a\",\"b\"],",
                                  "true",
                                  "false",
                                  "null",
                                  "{",
                                  "}",
                                  "[",
                                  "]",
                                  ",",
                                  "\"ab\":",
                                  "\"add_prefix_space\":true",
                                  "\"ignore_merges\":true",
                                  "\"single_word\":true",
                                  "\"normalized\":true",
                                  NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    static const char text[] =
        "abcab ab<s> x abc\n\xff\xc3\xa9 <s>  "
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabababababababababababababababababababab abcabc";
    if (!context) context = ct_context_create(1);
    ct_tokenizer *tokenizer = ct_tokenizer_load(context, fuzz_file(data, size));
    FUZZ_CHECK(!tokenizer == ct_failed(context));
    for (unsigned flags = 0; tokenizer && flags < 4; flags++) {
        ct_ids ids = {0};
        ct_bytes back = {0};
        if (ct_tokenizer_encode(tokenizer, text, sizeof text - 1, flags, &ids) == CT_OK)
            FUZZ_CHECK(ct_tokenizer_decode(tokenizer, ids.ids, ids.count, 0, &back) == CT_OK ||
                       ct_context_status(context) == CT_ERROR_UNSUPPORTED); /* a decoder's pattern gave up */
        ct_context_clear(context);
        ct_ids_free(context, &ids);
        ct_bytes_free(context, &back);
    }
    ct_tokenizer_destroy(tokenizer);
    ct_context_clear(context);
    return 0;
}
