/* test_tokenizer.c - bytes, characters, byte-level BPE by hand, added tokens, streaming, folders. */
#include "check.h"
#include "format/byte_level.h"
#include "format/pretokenize.h"

static void assert_ids(ct_tokenizer *tokenizer, ct_context *context, const char *text, size_t length,
                       unsigned flags, const int32_t *expected, size_t count) {
    ct_ids ids = {0};
    if (ct_tokenizer_encode(tokenizer, text, length, flags, &ids) != CT_OK)
        fail_msg("%s", ct_context_message(context));
    assert_int_equal(ids.count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ids.ids[i], expected[i]);
    ct_ids_free(context, &ids);
}
#define ASSERT_IDS(tokenizer, text, flags, ...)                                                              \
    assert_ids(tokenizer, context, text, sizeof(text) - 1, flags, (const int32_t[]){__VA_ARGS__},            \
               sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void assert_round_trip(ct_tokenizer *tokenizer, ct_context *context, const char *text, size_t length) {
    ct_ids ids = {0};
    ct_bytes back = {0};
    assert_int_equal(ct_tokenizer_encode(tokenizer, text, length, 0, &ids), CT_OK);
    assert_int_equal(ct_tokenizer_decode(tokenizer, ids.ids, ids.count, 0, &back), CT_OK);
    assert_int_equal(back.length, length);
    assert_memory_equal(back.data, text, length);
    ct_ids_free(context, &ids);
    ct_bytes_free(context, &back);
}

/* GPT-2's alphabet: '!' stands for itself, blank is U+0120, newline U+010A, 0xAD U+0143; it is one to one. */
static void alphabet(void **state) {
    (void)state;
    assert_int_equal(ct_byte_symbol('!'), '!');
    assert_int_equal(ct_byte_symbol(' '), 0x120);
    assert_int_equal(ct_byte_symbol('\n'), 0x10a);
    assert_int_equal(ct_byte_symbol(0xad), 0x143);
    assert_int_equal(ct_byte_symbol(0x7f), 0x121);
    assert_int_equal(ct_byte_symbol(0xa0), 0x142);
    for (int i = 0; i < 256; i++)
        assert_int_equal(ct_symbol_byte(ct_byte_symbol((unsigned char)i)), i);
    int symbols = 0;
    for (uint32_t code = 0; code < 0x400; code++)
        symbols += ct_symbol_byte(code) >= 0;
    assert_int_equal(symbols, 256);
}

static void assert_words(const char *text, const char *const *words) {
    size_t start = 0, length = strlen(text);
    for (; *words; words++) {
        size_t end = ct_gpt2_word(text, length, start);
        if (end - start != strlen(*words) || memcmp(text + start, *words, end - start) != 0)
            fail_msg("\"%s\" has the word \"%.*s\", expected \"%s\"", text, (int)(end - start), text + start,
                     *words);
        start = end;
    }
    assert_int_equal(start, length);
}
#define ASSERT_WORDS(text, ...) assert_words(text, (const char *const[]){__VA_ARGS__, NULL})

/* What Python's regex module makes of GPT-2's pattern. */
static void pattern(void **state) {
    (void)state;
    ASSERT_WORDS("Hello world", "Hello", " world");
    ASSERT_WORDS("don't we'll they've I'd 'tis ''s", "don", "'t", " we", "'ll", " they", "'ve", " I", "'d",
                 " '", "tis", " ''", "s");
    ASSERT_WORDS("DON'T 're", "DON", "'", "T", " '", "re");
    ASSERT_WORDS("a  b   c\n\nd \n e  ", "a", " ", " b", "  ", " c", "\n", "\n", "d", " \n", " e", "  ");
    ASSERT_WORDS("x1y22 3.14!?", "x", "1", "y", "22", " 3", ".", "14", "!?");
    ASSERT_WORDS("na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac\xe3\x80\x80\xc2\xbd", "na\xc3\xafve",
                 " \xe6\x97\xa5\xe6\x9c\xac", "\xe3\x80\x80", "\xc2\xbd");
    ASSERT_WORDS("a\xff\xc3 \x80", "a", "\xff\xc3", " \x80");
    ASSERT_WORDS("'", "'");
    ASSERT_WORDS("'l", "'", "l");
}

static void bytes(void **state) {
    (void)state;
    ct_context *context = start_context(2);
    ct_tokenizer *tokenizer = ct_tokenizer_from_kind(context, "bytes");
    assert_string_equal(ct_tokenizer_kind(tokenizer), "bytes");
    assert_int_equal(ct_tokenizer_size(tokenizer), 256);
    ASSERT_IDS(tokenizer, "A\0\xff\xc3", 0, 65, 0, 255, 195);
    assert_null(ct_tokenizer_from_kind(context, "sentencepiece"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "sentencepiece", "expected \"bytes\"");
    ct_bytes text = {0};
    assert_int_equal(ct_tokenizer_decode(tokenizer, (const int32_t[]){65, 256}, 2, 0, &text),
                     CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "id 256 is no token of the tokenizer's vocabulary of 256");
    assert_int_equal(text.length, 0);
    ct_bytes_free(context, &text);
    char folder[64];
    make_folder(folder);
    assert_int_equal(ct_tokenizer_save(tokenizer, folder), CT_OK);
    ct_tokenizer *loaded = ct_tokenizer_load(context, folder);
    assert_string_equal(ct_tokenizer_kind(loaded), "bytes");
    assert_true(ct_tokenizer_fingerprint(loaded) == ct_tokenizer_fingerprint(tokenizer));
    ASSERT_IDS(loaded, "A\0\xff\xc3", 0, 65, 0, 255, 195);
    ct_tokenizer_destroy(loaded);
    ct_tokenizer_destroy(tokenizer);
    ct_folder_remove(context, folder);
    end_context(context);
}

static void characters(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    static const char text[] = "hello, w\xc3\xb6rld\n\xe6\x97\xa5";
    ct_tokenizer *tokenizer = ct_tokenizer_train_characters(context, text, sizeof text - 1);
    /* in order: \n blank , d e h l o r w o-umlaut day */
    assert_int_equal(ct_tokenizer_size(tokenizer), 12);
    ASSERT_IDS(tokenizer, "w\xc3\xb6\xe6\x97\xa5\n", 0, 9, 10, 11, 0);
    char folder[64];
    make_folder(folder);
    assert_int_equal(ct_tokenizer_save(tokenizer, folder), CT_OK);
    ct_tokenizer *loaded = ct_tokenizer_load(context, folder);
    assert_string_equal(ct_tokenizer_kind(loaded), "characters");
    assert_true(ct_tokenizer_fingerprint(loaded) == ct_tokenizer_fingerprint(tokenizer));
    assert_round_trip(loaded, context, text, sizeof text - 1);
    ct_ids ids = {0};
    assert_int_equal(ct_tokenizer_encode(loaded, "hex", 3, 0, &ids), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "character 'x' at byte 2", "vocabulary of 12");
    assert_int_equal(ct_tokenizer_encode(loaded, "h\xc3\xa9", 3, 0, &ids), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "character U+00E9 at byte 1");
    assert_int_equal(ct_tokenizer_encode(loaded, "h\xff", 2, 0, &ids), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "byte 0xff at byte 1");
    assert_int_equal(ids.count, 0);
    ct_ids_free(context, &ids);
    assert_null(ct_tokenizer_train_characters(context, "a\xff", 2));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "not UTF-8 (byte 0xff at 1)");
    assert_null(ct_tokenizer_train_characters(context, "", 0));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "is empty");
    ct_tokenizer_destroy(loaded);
    ct_tokenizer_destroy(tokenizer);
    ct_folder_remove(context, folder);
    end_context(context);
}

/* "low low low lower newest newest widest": pairs by count are es (3: newest x2, widest), st (3), and so on;
 * of equal counts the lowest ids win. Worked by hand with the alphabet's order: e < l < o < s < t < w. */
static void trains_bpe(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    static const char text[] = "low low low lower newest newest widest";
    const char *special[] = {"<|endoftext|>", NULL};
    ct_bpe_options options = {.vocab_size = 262, .min_frequency = 2, .special_tokens = special};
    ct_tokenizer *tokenizer = ct_bpe_train(context, &(ct_text){text, sizeof text - 1}, 1, &options);
    assert_non_null(tokenizer);
    assert_int_equal(ct_tokenizer_size(tokenizer), 262);
    assert_string_equal(ct_tokenizer_symbol(tokenizer, 0), "<|endoftext|>");
    assert_string_equal(ct_tokenizer_symbol(tokenizer, 1), "!");
    /* counts: l-o 4, o-w 4, blank-l 3, e-s 3, s-t 3, w-e 1+2, blank-n 2, n-e 2, e-w 2, ...: l-o comes first
     */
    assert_string_equal(ct_tokenizer_symbol(tokenizer, 257), "lo");
    assert_string_equal(ct_tokenizer_symbol(tokenizer, 258), "low");
    assert_string_equal(ct_tokenizer_symbol(tokenizer, 259), "es"); /* 3, ids of e and s */
    assert_string_equal(ct_tokenizer_symbol(tokenizer, 260),
                        "\xc4\xa0low"); /* 3, blank has the id after all of ASCII... */
    assert_string_equal(ct_tokenizer_symbol(tokenizer, 261), "est"); /* ... and es a higher one */
    assert_true(ct_tokenizer_is_special(tokenizer, 0));
    int32_t l = ct_tokenizer_find(tokenizer, "l"), n = ct_tokenizer_find(tokenizer, "n"),
            e = ct_tokenizer_find(tokenizer, "e"), w = ct_tokenizer_find(tokenizer, "w");
    ASSERT_IDS(tokenizer, "low lowest", 0, 258, 260, 261);
    ASSERT_IDS(tokenizer, "newlnest", 0, n, e, w, l, n, 261);
    ASSERT_IDS(tokenizer, "low<|endoftext|>", CT_ENCODE_SPECIAL, 258, 0);
    options.vocab_size = 256;
    assert_null(ct_bpe_train(context, &(ct_text){text, 3}, 1, &options));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "vocab_size 256", "expected 257");
    options.vocab_size = 400;
    options.min_frequency = 0;
    assert_null(ct_bpe_train(context, &(ct_text){text, 3}, 1, &options));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "min_frequency 0");
    ct_tokenizer_destroy(tokenizer);
    end_context(context);
}

/* Any bytes come back from BPE, and long texts give the same ids in one piece and in many, on one worker and
 * on three. */
static void round_trips_and_threads(void **state) {
    (void)state;
    enum { SIZE = 300000 };
    ct_context *context = start_context(1);
    char *text = malloc(SIZE);
    ct_random random = ct_random_make(3, 1);
    static const char *const words[] = {" the", " of", "\n",  "  ", "it's",         "\xc3\xa9",
                                        "\xff", "12",  "...", "a",  "\xe3\x80\x80", "\0"};
    size_t length = 0;
    while (length + 8 < SIZE) {
        const char *word = words[ct_random_integer(&random, 0, 12)];
        size_t size = *word ? strlen(word) : 1;
        memcpy(text + length, word, size);
        length += size;
    }
    ct_bpe_options options = {.vocab_size = 600, .min_frequency = 2};
    ct_tokenizer *tokenizer = ct_bpe_train(context, &(ct_text){text, length}, 1, &options);
    assert_round_trip(tokenizer, context, text, length);
    ct_ids one = {0}, three = {0}, pieces = {0};
    assert_int_equal(ct_tokenizer_encode(tokenizer, text, length, 0, &one), CT_OK);
    ct_context_set_threads(context, 3);
    assert_int_equal(ct_tokenizer_encode(tokenizer, text, length, 0, &three), CT_OK);
    assert_int_equal(one.count, three.count);
    assert_memory_equal(one.ids, three.ids, one.count * 4);
    for (size_t start = 0, end; start < length; start = end) { /* cut at every tenth safe place */
        end = start;
        for (int i = 0; i < 10; i++)
            end = ct_gpt2_cut(text, length, end + 1);
        assert_int_equal(ct_tokenizer_encode(tokenizer, text + start, end - start, 0, &pieces), CT_OK);
    }
    assert_int_equal(one.count, pieces.count);
    assert_memory_equal(one.ids, pieces.ids, one.count * 4);
    ct_ids_free(context, &one);
    ct_ids_free(context, &three);
    ct_ids_free(context, &pieces);
    memset(text, 'x', SIZE); /* one word far longer than a chunk */
    assert_round_trip(tokenizer, context, text, SIZE);
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (char)ct_random_u32(&random);
    assert_round_trip(tokenizer, context, text, SIZE);
    ct_tokenizer_destroy(tokenizer);
    free(text);
    end_context(context);
}

/* Long words go through the heap, short ones through the scan: the same merges either way. */
static void long_words_merge_alike(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    static const char text[] = "abababab abab aab abb aabb abababab aabb";
    ct_bpe_options options = {.vocab_size = 270, .min_frequency = 1};
    ct_tokenizer *tokenizer = ct_bpe_train(context, &(ct_text){text, sizeof text - 1}, 1, &options);
    ct_random random = ct_random_make(11, 1);
    for (int trial = 0; trial < 200; trial++) {
        char word[96], separated[2];
        ct_ids whole = {0}, expected = {0};
        /* a word of 90 letters whose middle "c" (never merged) parts it into two short ones */
        for (int i = 0; i < 91; i++)
            word[i] = "ab"[ct_random_u32(&random) & 1];
        word[45] = 'c';
        separated[0] = 'c';
        ct_tokenizer_encode(tokenizer, word, 91, 0, &whole);
        ct_tokenizer_encode(tokenizer, word, 45, 0, &expected);
        ct_tokenizer_encode(tokenizer, separated, 1, 0, &expected);
        ct_tokenizer_encode(tokenizer, word + 46, 45, 0, &expected);
        assert_int_equal(whole.count, expected.count);
        assert_memory_equal(whole.ids, expected.ids, whole.count * 4);
        ct_ids_free(context, &whole);
        ct_ids_free(context, &expected);
    }
    ct_tokenizer_destroy(tokenizer);
    end_context(context);
}

static void streams_whole_characters(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_tokenizer *tokenizer = ct_tokenizer_from_kind(context, "bytes");
    ct_text_stream *stream = ct_text_stream_create(tokenizer, 0);
    static const struct {
        unsigned char byte;
        const char *given;
    } steps[] = {{'a', "a"},
                 {0xc3, ""},
                 {0xa9, "\xc3\xa9"},
                 {0xf0, ""},
                 {0x9f, ""},
                 {0x98, ""},
                 {0x80, "\xf0\x9f\x98\x80"},
                 {0xff, "\xff"},
                 {0xe2, ""},
                 {0x82, ""},
                 {'b', "\xe2\x82"
                       "b"},
                 {0x80, "\x80"},
                 {0xe0, ""},
                 {0x80, "\xe0\x80"},
                 {0xe2, ""}};
    const char *text;
    size_t length;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        assert_int_equal(ct_text_stream_push(stream, steps[i].byte, &text, &length), CT_OK);
        assert_int_equal(length, strlen(steps[i].given));
        assert_memory_equal(text, steps[i].given, length);
    }
    assert_int_equal(ct_text_stream_finish(stream, &text, &length), CT_OK);
    assert_int_equal(length, 1);
    assert_memory_equal(text, "\xe2", 1);
    assert_int_equal(ct_text_stream_push(stream, 900, &text, &length), CT_ERROR_ARGUMENT);
    ct_context_clear(context);
    ct_text_stream_destroy(stream);
    ct_tokenizer_destroy(tokenizer);
    end_context(context);
}

/* A tokenizer.json by hand: a, b, c and a few merges, as strings and as pairs. */
static const char json_format[] = "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_"
                                  "tokens\":[%s],\"normalizer\":%s,\"pre_tokenizer\":%s,"
                                  "\"post_processor\":%s,\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{%"
                                  "s\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4,"
                                  "\"<s>\":5,\"\\u0120\":6},\"merges\":[%s]}}";
#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define SPECIAL "{\"id\":5,\"content\":\"<s>\",\"special\":true,\"normalized\":false}"

static ct_tokenizer *load_json(ct_context *context, const char *folder, const char *added,
                               const char *normalizer, const char *splitter, const char *post,
                               const char *model, const char *merges) {
    char text[2000];
    int length = snprintf(text, sizeof text, json_format, added, normalizer, splitter, post, model, merges);
    write_text(context, folder, "tokenizer.json", text, (size_t)length);
    return ct_tokenizer_load(context, folder);
}

static void loads_json(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    static const char *const merges[] = {"\"a b\",\"ab c\"", "[\"a\",\"b\"],[\"ab\",\"c\"]"};
    static const char post[] = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>"
                               "\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\","
                               "\"type_id\":0}}],\"pair\":[],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\","
                               "\"ids\":[5],\"tokens\":[\"<s>\"]}}}";
    static const char config[] =
        "{\"bos_token\":{\"content\":\"<s>\"},\"model_max_length\":1000000000000000019884624838656}";
    static const char generation[] = "{\"eos_token_id\":[2,1]}";
    write_text(context, folder, "tokenizer_config.json", config, sizeof config - 1);
    write_text(context, folder, "generation_config.json", generation, sizeof generation - 1);
    for (int i = 0; i < 2; i++) {
        ct_tokenizer *tokenizer =
            load_json(context, folder, SPECIAL, "null", BYTE_LEVEL, post, "\"type\":\"BPE\",", merges[i]);
        if (!tokenizer) fail_msg("%s", ct_context_message(context));
        assert_int_equal(ct_tokenizer_size(tokenizer), 7);
        assert_int_equal(ct_tokenizer_role(tokenizer, "bos"), 5);
        assert_int_equal(ct_tokenizer_role(tokenizer, "eos"), 2);
        assert_int_equal(ct_tokenizer_role(tokenizer, "pad"), -1);
        ASSERT_IDS(tokenizer, "abcab ab", 0, 4, 3, 6, 3);
        ASSERT_IDS(tokenizer, "ab", CT_ENCODE_TEMPLATE, 5, 3);
        ASSERT_IDS(tokenizer, "a<s>bc<s>", CT_ENCODE_SPECIAL, 0, 5, 1, 2, 5);
        ct_ids ids = {0};
        assert_int_equal(ct_tokenizer_encode(tokenizer, "ab ax", 5, 0, &ids), CT_ERROR_ARGUMENT);
        ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "byte 0x78 at byte 4");
        ct_ids_free(context, &ids);
        ct_bytes text = {0};
        ct_tokenizer_decode(tokenizer, (const int32_t[]){5, 6, 3}, 3, 0, &text);
        assert_string_equal(text.data, "<s> ab");
        text.length = 0;
        ct_tokenizer_decode(tokenizer, (const int32_t[]){5, 6, 3}, 3, CT_DECODE_SKIP_SPECIAL, &text);
        assert_string_equal(text.data, " ab");
        ct_bytes_free(context, &text);
        /* saved and loaded again: the same */
        assert_int_equal(ct_tokenizer_set_role(tokenizer, "pad", "c"), CT_OK);
        assert_int_equal(ct_tokenizer_save(tokenizer, folder), CT_OK);
        ct_tokenizer *again = ct_tokenizer_load(context, folder);
        assert_true(ct_tokenizer_fingerprint(tokenizer) == ct_tokenizer_fingerprint(again));
        assert_int_equal(ct_tokenizer_role(again, "pad"), 2);
        assert_true(ct_tokenizer_is_special(again, 2));
        ASSERT_IDS(again, "ab", CT_ENCODE_TEMPLATE, 5, 3);
        ct_tokenizer_destroy(again);
        ct_tokenizer_destroy(tokenizer);
        write_text(context, folder, "tokenizer_config.json", config, sizeof config - 1);
        char *path = ct_path_join(context, folder, "special_tokens_map.json");
        ct_file_remove(context, path);
        ct_free(context, path);
    }
    ct_folder_remove(context, folder);
    end_context(context);
}

static void refuses_json(void **state) {
    (void)state;
    static const char bpe[] = "\"type\":\"BPE\",";
    static const struct {
        const char *added, *normalizer, *splitter, *post, *model, *merges;
        ct_status status;
        const char *part;
    } cases[] = {
        {"", "{\"type\":\"NFX\"}", BYTE_LEVEL, "null", bpe, "", CT_ERROR_UNSUPPORTED,
         "the normalizer \"NFX\" is not supported"},
        {"", "null", "{\"type\":\"Whitespaces\"}", "null", bpe, "", CT_ERROR_UNSUPPORTED,
         "the pre-tokenizer \"Whitespaces\""},
        {"", "null",
         "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\\\\d\"},"
         "\"behavior\":\"Isolated\"}," BYTE_LEVEL "]}",
         "null", bpe, "", CT_ERROR_FORMAT, "pre-tokenizer Split: the regular expression"},
        {"", "null", BYTE_LEVEL, "{\"type\":\"Odd\"}", bpe, "", CT_ERROR_UNSUPPORTED,
         "the post-processor \"Odd\""},
        {"", "null", BYTE_LEVEL, "null", "\"type\":\"Unigram\",", "", CT_ERROR_FORMAT,
         "the vocabulary of a Unigram model is a list"},
        {"", "null", BYTE_LEVEL, "null", "\"type\":\"Trigram\",", "", CT_ERROR_UNSUPPORTED,
         "the model \"Trigram\""},
        {"", "null", BYTE_LEVEL, "null", "\"type\":\"BPE\",\"dropout\":0.1,", "", CT_ERROR_UNSUPPORTED,
         "the model's key \"dropout\""},
        {"", "null", BYTE_LEVEL, "null", "\"type\":\"BPE\",\"byte_fallback\":true,", "", CT_ERROR_UNSUPPORTED,
         "byte_fallback"},
        {"", "null", BYTE_LEVEL, "null", bpe, "\"a x\"", CT_ERROR_FORMAT,
         "merge 0 (\"a\" and \"x\"): the vocabulary lacks the second"},
        {"", "null", BYTE_LEVEL, "null", bpe, "\"b c\"", CT_ERROR_FORMAT,
         "the vocabulary lacks what they make"},
        {"", "null", BYTE_LEVEL, "null", bpe, "\"abc\"", CT_ERROR_FORMAT,
         "is not two symbols with a blank between them"},
        {"", "null", BYTE_LEVEL, "null", bpe, "[\"a\"]", CT_ERROR_FORMAT, "a merge is neither"},
        {"", "null", BYTE_LEVEL, "null", "\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},", "", CT_ERROR_FORMAT,
         "the key \"vocab\" stands twice"},
        {"{\"id\":99999999,\"content\":\"x\"}", "null", BYTE_LEVEL, "null", bpe, "", CT_ERROR_FORMAT,
         "added token 0 needs a content and an id near"},
        {"{\"id\":3,\"content\":\"x\"}", "null", BYTE_LEVEL, "null", bpe, "", CT_ERROR_FORMAT,
         "id 3 belongs to two tokens, \"ab\" and \"x\""},
        {"{\"id\":4,\"content\":\"ab\"}", "null", BYTE_LEVEL, "null", bpe, "", CT_ERROR_FORMAT,
         "added token \"ab\" has the id 4, but 3 in the vocabulary"},
        {SPECIAL "," SPECIAL, "null", BYTE_LEVEL, "null", bpe, "", CT_ERROR_FORMAT,
         "added token \"<s>\" stands twice"},
        {"{\"id\":7,\"content\":\"\"}", "null", BYTE_LEVEL, "null", bpe, "", CT_ERROR_FORMAT, "is empty"}};
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_null(load_json(context, folder, cases[i].added, cases[i].normalizer, cases[i].splitter,
                              cases[i].post, cases[i].model, cases[i].merges));
        ASSERT_ERROR(context, cases[i].status, cases[i].part);
    }
    static const struct {
        const char *text, *part;
    } whole[] = {
        {"{}", "there is no \"model\""},
        {"{\"model\":[]}", "\"model\" is no map"},
        {"{\"surprise\":1,\"model\":{}}", "the key \"surprise\" is not known"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1}},\"pre_tokenizer\":" BYTE_LEVEL
         ",\"decoder\":{\"type\":\"ByteLevel\"}}",
         "has the id -1"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":9223372036854775807}},\"pre_tokenizer\":" BYTE_LEVEL
         ",\"decoder\":{\"type\":\"ByteLevel\"}}",
         "has the id 9223372036854775807"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1,\"b\":1}},\"pre_tokenizer\":" BYTE_LEVEL
         ",\"decoder\":{\"type\":\"ByteLevel\"}}",
         "id 1 belongs to two tokens"},
        {"{\"model\":{\"vocab\":{\"a\":1.5}}}", "an id that is no integer"},
        {"{\"model\":{\"vocab\":{\"\xff\":1}}}", "not UTF-8"}};
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        write_text(context, folder, "tokenizer.json", whole[i].text, strlen(whole[i].text));
        assert_null(ct_tokenizer_load(context, folder));
        ASSERT_ERROR(context, CT_ERROR_FORMAT, whole[i].part);
    }
    char *path = ct_path_join(context, folder, "tokenizer.json");
    ct_file_remove(context, path);
    ct_free(context, path);
    assert_null(ct_tokenizer_load(context, folder));
    ASSERT_ERROR(context, CT_ERROR_NOT_FOUND, folder, "has neither tokenizer.json nor");
    static const char vocabulary[] = "{\"a\":0,\"b\":1,\"ab\":2}", merges[] = "#version: 0.2\na b\nab\n";
    write_text(context, folder, "vocab.json", vocabulary, sizeof vocabulary - 1);
    write_text(context, folder, "merges.txt", merges, sizeof merges - 1);
    assert_null(ct_tokenizer_load(context, folder));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "merges.txt:3: expected two symbols");
    ct_folder_remove(context, folder);
    end_context(context);
}

static void train_save_load(ct_context *context, void *user) {
    static const char text[] = "low low low lower newest newest widest <s>";
    const char *special[] = {"<s>", NULL};
    ct_bpe_options options = {.vocab_size = 262, .min_frequency = 2, .special_tokens = special};
    ct_tokenizer *tokenizer = ct_bpe_train(context, &(ct_text){text, sizeof text - 1}, 1, &options),
                 *loaded = NULL;
    ct_ids ids = {0};
    ct_bytes back = {0};
    if (tokenizer && ct_tokenizer_set_role(tokenizer, "eos", "<s>") == CT_OK &&
        ct_tokenizer_save(tokenizer, user) == CT_OK)
        loaded = ct_tokenizer_load(context, user);
    if (loaded && ct_tokenizer_encode(loaded, text, sizeof text - 1, CT_ENCODE_SPECIAL, &ids) == CT_OK)
        ct_tokenizer_decode(loaded, ids.ids, ids.count, 0, &back);
    if (back.length && !ct_failed(context)) assert_string_equal(back.data, text);
    ct_ids_free(context, &ids);
    ct_bytes_free(context, &back);
    ct_tokenizer_destroy(tokenizer);
    ct_tokenizer_destroy(loaded);
}

static void load_pair(ct_context *context, void *user) {
    ct_tokenizer_destroy(ct_tokenizer_load(context, user));
}

static void survives_failures(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    sweep_memory(train_save_load, folder, 20000);
    sweep_files(train_save_load, folder, 'e', 500);
    sweep_files(train_save_load, folder, 'f', 500);
    sweep_files(train_save_load, folder, 's', 30);
    char *path = ct_path_join(context, folder, "tokenizer.json");
    ct_file_remove(context, path);
    ct_free(context, path);
    sweep_memory(load_pair, folder, 20000); /* vocab.json and merges.txt are left */
    ct_folder_remove(context, folder);
    end_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(alphabet),
                                       cmocka_unit_test(pattern),
                                       cmocka_unit_test(bytes),
                                       cmocka_unit_test(characters),
                                       cmocka_unit_test(trains_bpe),
                                       cmocka_unit_test(round_trips_and_threads),
                                       cmocka_unit_test(long_words_merge_alike),
                                       cmocka_unit_test(streams_whole_characters),
                                       cmocka_unit_test(loads_json),
                                       cmocka_unit_test(refuses_json),
                                       cmocka_unit_test(survives_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
