/* fuzz_sentencepiece.c - any bytes as tokenizer.model; with what is accepted, text is encoded and decoded. */
#include "fuzz.h"
#include "format/sentencepiece.h"
#include <string.h>

/* Small models of BPE and of Unigram with byte fallback, as sentencepiece writes them. */
const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED(
        "\012\016\012\005\074\165\156\153\076\025\000\000\000\000\030\002\012\014\012\003\074\163\076\025"
        "\000\000\000\000\030\003\012\015\012\004\074\057\163\076\025\000\000\000\000\030\003\012\014\012"
        "\003\342\226\201\025\000\000\200\277\030\001\012\012\012\001\141\025\000\000\000\300\030\001\012"
        "\015\012\004\342\226\201\141\025\000\000\000\277\030\001\012\013\012\002\141\142\025\000\000\300"
        "\277\030\001\012\012\012\001\142\025\000\000\100\300\030\001\012\017\012\006\074\060\170\064\061"
        "\076\025\000\000\000\000\030\006\012\013\012\002\155\155\025\000\000\000\000\030\004\022\016\030"
        "\002\230\002\001\300\002\000\310\002\001\320\002\002\032\022\012\010\151\144\145\156\164\151\164"
        "\171\022\000\030\001\040\001\050\001"),
    FUZZ_SEED(
        "\012\016\012\005\074\165\156\153\076\025\000\000\000\000\030\002\012\014\012\003\074\163\076\025"
        "\000\000\000\000\030\003\012\015\012\004\074\057\163\076\025\000\000\000\000\030\003\012\014\012"
        "\003\342\226\201\025\000\000\200\277\030\001\012\012\012\001\141\025\000\000\000\300\030\001\012"
        "\015\012\004\342\226\201\141\025\000\000\000\277\030\001\012\013\012\002\141\142\025\000\000\300"
        "\277\030\001\012\012\012\001\142\025\000\000\100\300\030\001\012\017\012\006\074\060\170\064\061"
        "\076\025\000\000\000\000\030\006\012\013\012\002\155\155\025\000\000\000\000\030\004\022\016\030"
        "\001\230\002\001\300\002\000\310\002\001\320\002\002\032\022\012\010\151\144\145\156\164\151\164"
        "\171\022\000\030\001\040\001\050\001"),
    {NULL, 0}};
const char *const fuzz_words[] = {
    "\x0a", "\x0a\x0a\x0a", "\x12",   "\x15",     "\x18\x06", "\x18\x04", "\xff\xff\xff\xff\x0f",
    "\x1a", "\xe2\x96\x81", "<0x42>", "\xc0\x02", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    static const char text[] = "  ab aab A\xff\xc3\xa9 mm<s>  ";
    if (!context) context = ct_context_create(1);
    ct_tokenizer_file file = {
        .context = context, .path = "fuzz", .parts = ct_value_map(context), .model = ct_value_map(context)};
    ct_sentencepiece model = {0};
    ct_tokenizer *tokenizer = NULL;
    if (ct_sentencepiece_read(&file, &model, (const char *)data, size) == CT_OK &&
        ct_sentencepiece_set_parts(&file, &model, NULL) == CT_OK)
        tokenizer = ct_tokenizer_build(&file);
    FUZZ_CHECK(!tokenizer == ct_failed(context));
    for (unsigned flags = 0; tokenizer && flags < 4; flags++) {
        ct_ids ids = {0};
        ct_bytes back = {0};
        if (ct_tokenizer_encode(tokenizer, text, sizeof text - 1, flags, &ids) == CT_OK)
            FUZZ_CHECK(ct_tokenizer_decode(tokenizer, ids.ids, ids.count, 0, &back) == CT_OK);
        ct_context_clear(context);
        ct_ids_free(context, &ids);
        ct_bytes_free(context, &back);
    }
    ct_tokenizer_destroy(tokenizer);
    ct_tokenizer_file_free(&file);
    ct_free(context, model.types);
    ct_context_clear(context);
    return 0;
}
