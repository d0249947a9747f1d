/* fuzz_bpe_encode.c - any bytes through a byte-level BPE: they come back, cutting at a safe place changes
 * nothing, and streaming gives the same text. */
#include "fuzz_stream.h"
#include "carat/tokenizer.h"
#include "format/pretokenize.h"
#include <string.h>

const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("It's the first  of \n\n many lines, isn't it? 123"),
    FUZZ_SEED("na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x91\x8b\xe3\x80\x80\xc2\xa0x"),
    FUZZ_SEED("<|end|><|end|> abab"),
    FUZZ_SEED("thethethethethethethethethethethethethethethethethethethethethethethethethethe"),
    {NULL, 0}};
const char *const fuzz_words[] = {" ",       "  ",           "\n",       "'s",   "'ll",
                                  "<|end|>", "\xe3\x80\x80", "\xc2\xa0", "\xff", "\xe6\x97",
                                  "the",     " of",          "12",       "...",  NULL};

static ct_tokenizer *make_tokenizer(ct_context *context) {
    static const char text[] =
        "It's the first of the many lines of the text; the others are like it: they're of the same words, "
        "123 and 456 of them, "
        "and the end of the line is the end of the text. na\xc3\xafve na\xc3\xafve caf\xc3\xa9 caf\xc3\xa9 "
        "\xe6\x97\xa5\xe6\x9c\xac \xe6\x97\xa5\xe6\x9c\xac thethethe thethe ababab abab";
    static const char *const special[] = {"<|end|>", NULL};
    ct_bpe_options options = {.vocab_size = 340, .min_frequency = 2, .special_tokens = special};
    return ct_bpe_train(context, &(ct_text){text, sizeof text - 1}, 1, &options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    static ct_tokenizer *tokenizer;
    const char *text = (const char *)data;
    if (!context) context = ct_context_create(1);
    if (!tokenizer) tokenizer = make_tokenizer(context);
    FUZZ_CHECK(tokenizer);
    for (unsigned flags = 0; flags < 2; flags++) {
        ct_ids ids = {0}, parts = {0};
        ct_bytes back = {0};
        FUZZ_CHECK(ct_tokenizer_encode(tokenizer, text, size, flags, &ids) == CT_OK);
        FUZZ_CHECK(ct_tokenizer_decode(tokenizer, ids.ids, ids.count, 0, &back) == CT_OK);
        FUZZ_CHECK(back.length == size && (size == 0 || memcmp(back.data, text, size) == 0));
        check_stream(context, tokenizer, &ids, &back);
        size_t cut = size ? ct_gpt2_cut(text, size, size / 2) : 0;
        FUZZ_CHECK(ct_tokenizer_encode(tokenizer, text, cut, flags, &parts) == CT_OK &&
                   ct_tokenizer_encode(tokenizer, text + cut, size - cut, flags, &parts) == CT_OK);
        FUZZ_CHECK(parts.count == ids.count &&
                   (ids.count == 0 || memcmp(parts.ids, ids.ids, ids.count * sizeof *ids.ids) == 0));
        ct_ids_free(context, &ids);
        ct_ids_free(context, &parts);
        ct_bytes_free(context, &back);
    }
    return 0;
}
