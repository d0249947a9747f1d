/* test_tokenizer_parts.c - the steps of tokenizers beyond the golden files: scanners against PCRE2, refusals
 * by name, regular expressions that explode, vocab.txt, accessors, failures of memory. */
#include "check.h"
#include "format/pretokenize.h"
#include "format/regex.h"

static const char llama3_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char qwen2_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* Texts put together from what the patterns care about. */
static size_t random_text(uint64_t number, char *text) {
    static const char *const parts[] = {" ",
                                        "  ",
                                        "\n",
                                        "\r",
                                        "\t",
                                        "\xc2\xa0",
                                        "\xe3\x80\x80",
                                        "\xc2\x85",
                                        "a",
                                        "Z",
                                        "it",
                                        "\xc3\xa9",
                                        "\xe6\x97\xa5",
                                        "1",
                                        "23",
                                        "\xd9\xa3",
                                        "\xe2\x85\xab",
                                        ".",
                                        "!?",
                                        "'",
                                        "'s",
                                        "'LL",
                                        "'\xc5\xbf",
                                        "'re",
                                        "_",
                                        "\xcc\x81",
                                        "\xf0\x9f\x98\x80",
                                        "\xe2\x80\x8b",
                                        "\x01",
                                        "'d"};
    size_t length = 0;
    for (int i = 0; i < 14; i++) {
        number = number * 6364136223846793005u + 1442695040888963407u;
        const char *part = parts[(number >> 33) % (sizeof parts / sizeof parts[0])];
        memcpy(text + length, part, strlen(part));
        length += strlen(part);
    }
    return length;
}

/* Each word of a scanner is what PCRE2 finds, and cutting changes no word. */
static void scanners_equal_pcre2(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    const char *const patterns[] = {CT_GPT2_PATTERN, llama3_pattern, qwen2_pattern};
    for (int p = 0; p < 3; p++) {
        const ct_scanner *scanner = ct_scanner_of(patterns[p], strlen(patterns[p]));
        ct_regex *regex = ct_regex_create(context, patterns[p], strlen(patterns[p]), "test", false);
        assert_non_null(scanner);
        if (!regex) fail_msg("%s", ct_context_message(context));
        assert_null(ct_regex_scanner(regex));
        for (uint64_t number = 0; number < 20000; number++) {
            char text[128];
            size_t length = random_text(number, text), cut = scanner->cut(text, length, length / 2), at = 0;
            bool cut_seen = cut == length;
            ct_regex_scan scan = {0};
            while (at < length && ct_regex_next(regex, text, length, &scan)) {
                size_t end = scanner->word(text, length, at);
                if (scan.begin != at || scan.end != end)
                    fail_msg("pattern %d, text %d at %zu: scanner to %zu, PCRE2 %zu to %zu", p, (int)number,
                             at, end, scan.begin, scan.end);
                cut_seen |= end == cut;
                at = end;
            }
            assert_int_equal(at, length);
            assert_true(cut_seen);
            for (at = cut; at < length;) { /* the rest by itself has the same words */
                size_t end = scanner->word(text, length, at);
                assert_int_equal(scanner->word(text + cut, length - cut, at - cut) + cut, end);
                at = end;
            }
        }
        ct_regex_destroy(regex);
    }
    end_context(context);
}

static void assert_matches(ct_context *context, const char *pattern, const char *text,
                           const char *const *matches) {
    ct_regex *regex = ct_regex_create(context, pattern, strlen(pattern), "test", true);
    ct_regex_scan scan = {0};
    if (!regex) fail_msg("%s", ct_context_message(context));
    while (ct_regex_next(regex, text, strlen(text), &scan)) {
        if (!*matches) fail_msg("%s in \"%s\": one match too many", pattern, text);
        assert_int_equal(scan.end - scan.begin, strlen(*matches));
        assert_memory_equal(text + scan.begin, *matches, strlen(*matches));
        matches++;
    }
    assert_null(*matches);
    ct_regex_destroy(regex);
}
#define ASSERT_MATCHES(pattern, text, ...)                                                                   \
    assert_matches(context, pattern, text, (const char *const[]){__VA_ARGS__, NULL})

/* What Ruby's syntax reads otherwise than PCRE2. */
static void translates_patterns(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ASSERT_MATCHES("^a", "a\na", "a", "a");
    ASSERT_MATCHES("a$", "a\na", "a", "a");
    ASSERT_MATCHES("(?m:a.b)", "a\nb", "a\nb");
    ASSERT_MATCHES("a.b", "a\nb axb", "axb");
    ASSERT_MATCHES("\\h+", "12fG", "12f");
    ASSERT_MATCHES("\\w+", "a\xcc\x81_\xe2\x92\xb6 \xe2\x91\xa0", "a\xcc\x81_\xe2\x92\xb6");
    ASSERT_MATCHES("[\\w-]+", "a-b c", "a-b", "c");
    ASSERT_MATCHES("[^\\S\\n]+", " \n\xe2\x80\x83\xe1\xa0\x8ex", " ", "\xe2\x80\x83");
    ASSERT_MATCHES("\\bb",
                   "ab b \xcc\x81"
                   "b",
                   "b");
    ASSERT_MATCHES("\\u0041", "A", "A");
    ASSERT_MATCHES("[[:alpha:]]+", "ab1\xc3\xa9", "ab", "\xc3\xa9");
    ASSERT_MATCHES("\\v", "\n\x0b", "\x0b");
    ASSERT_MATCHES("[a\\]]+", "a]b", "a]");
    ASSERT_MATCHES("[]a]+", "a]b", "a]");
    ASSERT_MATCHES("(?<=x)(?=y)|x*", "xyx", "x", "x");
    static const struct {
        const char *pattern, *part;
        ct_status status;
    } refused[] = {{"[a[bc]]", "a set within a set", CT_ERROR_UNSUPPORTED},
                   {"[a&&b]", "&& in a set", CT_ERROR_UNSUPPORTED},
                   {"a{1,2}+", "{}+", CT_ERROR_UNSUPPORTED},
                   {"\\k<a>", "\\k", CT_ERROR_UNSUPPORTED},
                   {"(*COMMIT)a", "a verb", CT_ERROR_UNSUPPORTED},
                   {"(?C1)a", "a group of this kind", CT_ERROR_UNSUPPORTED},
                   {"(?R)", "a group of this kind", CT_ERROR_UNSUPPORTED},
                   {"[a", "a set without an end", CT_ERROR_UNSUPPORTED},
                   {"a\\", "a backslash at its end", CT_ERROR_UNSUPPORTED},
                   {"(a", "is refused: missing closing parenthesis", CT_ERROR_FORMAT},
                   {"\\p{Nonsense}", "is refused", CT_ERROR_FORMAT},
                   {"a**", "is refused", CT_ERROR_FORMAT}};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0] - 1; i++) {
        assert_null(ct_regex_create(context, refused[i].pattern, strlen(refused[i].pattern), "file", true));
        ASSERT_ERROR(context, refused[i].status, "file: the regular expression", refused[i].part);
    }
    end_context(context);
}

#define VOCABULARY "\"vocab\":{\"a\":0,\"b\":1,\"<unk>\":2}"
#define WORDS(extra) "{" extra ",\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"<unk>\"," VOCABULARY "}}"

static void bounds_explosions(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    static const char json[] =
        WORDS("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a+a+)+b|(a|aa)+$\"},"
              "\"behavior\":\"Isolated\",\"invert\":false}");
    char text[4000];
    ct_ids ids = {0};
    ct_tokenizer *tokenizer = ct_tokenizer_parse(context, json, sizeof json - 1, "bomb");
    if (!tokenizer) fail_msg("%s", ct_context_message(context));
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 'c';
    double begin = ct_seconds();
    assert_int_not_equal(ct_tokenizer_encode(tokenizer, text, sizeof text, 0, &ids), CT_OK);
    ASSERT_ERROR(context, CT_ERROR_UNSUPPORTED,
                 "the tokenizer's regular expression gave up on this text at byte 0");
    assert_true(ct_seconds() - begin < 20);
    assert_int_equal(ids.count, 0);
    ct_ids_free(context, &ids);
    ct_tokenizer_destroy(tokenizer);
    end_context(context);
}

static void refuses_parts(void **state) {
    (void)state;
    static const struct {
        const char *json, *part;
        ct_status status;
    } cases[] = {
        {WORDS("\"normalizer\":{\"type\":\"Replace\",\"pattern\":\"a\",\"content\":\"\"}"),
         "normalizer Replace: \"pattern\" is a string", CT_ERROR_FORMAT},
        {WORDS("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}"),
         "normalizer Replace: \"content\" is null", CT_ERROR_FORMAT},
        {WORDS("\"normalizer\":{\"type\":\"Strip\",\"strip_left\":1}"), "\"strip_left\" is a",
         CT_ERROR_FORMAT},
        {WORDS("\"normalizer\":{\"type\":\"NFC\",\"speed\":1}"),
         "normalizer NFC: the key \"speed\" is not known", CT_ERROR_UNSUPPORTED},
        {WORDS("\"normalizer\":[]"), "a normalizer is a map with a \"type\", found a list", CT_ERROR_FORMAT},
        {WORDS("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":3}"), "has no list \"normalizers\"",
         CT_ERROR_FORMAT},
        {WORDS("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"abc\"}"), "is not base64",
         CT_ERROR_FORMAT},
        {WORDS("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA/w==\"}"),
         "a trie of 4278190080 bytes in a character map of 4", CT_ERROR_FORMAT},
        {WORDS("\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}"),
         "the pre-tokenizer \"UnicodeScripts\" is not supported", CT_ERROR_UNSUPPORTED},
        {WORDS("\"pre_tokenizer\":{\"type\":\"Punctuation\",\"behavior\":\"Lost\"}"),
         "the behavior \"Lost\" is not known", CT_ERROR_UNSUPPORTED},
        {WORDS("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"}}"),
         "\"behavior\" is null", CT_ERROR_FORMAT},
        {WORDS("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}"), "expected one character",
         CT_ERROR_FORMAT},
        {WORDS(
             "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}"),
         "the prepend_scheme \"last\" is not known", CT_ERROR_UNSUPPORTED},
        {WORDS("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\","
               "\"add_prefix_space\":false}"),
         "add_prefix_space is false, but prepend_scheme is \"first\"", CT_ERROR_FORMAT},
        {WORDS("\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}"),
         "are counts of characters", CT_ERROR_FORMAT},
        {WORDS("\"decoder\":{\"type\":\"Odd\"}"), "the decoder \"Odd\" is not supported",
         CT_ERROR_UNSUPPORTED},
        {WORDS("\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"b\",1],\"cls\":[\"a\",7]}"),
         "the post-processor has the id 7", CT_ERROR_FORMAT},
        {"{\"model\":{\"type\":\"Unigram\",\"unk_id\":3,\"vocab\":[[\"a\",0.0]]}}", "unk_id is 3",
         CT_ERROR_FORMAT},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",NaN]]}}", "a score that is not finite",
         CT_ERROR_FORMAT},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", "a piece of the vocabulary is not",
         CT_ERROR_FORMAT},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0],[\"a\",1]]}}", "\"a\" stands twice",
         CT_ERROR_FORMAT},
        {"{\"model\":{\"type\":\"WordPiece\",\"max_input_chars_per_word\":-1," VOCABULARY "}}",
         "max_input_chars_per_word", CT_ERROR_FORMAT},
        {"{\"model\":{\"type\":\"WordPiece\",\"surprise\":1," VOCABULARY "}}", "the model's key \"surprise\"",
         CT_ERROR_UNSUPPORTED},
        {"{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"end_of_word_suffix\":\"</w>\"," VOCABULARY
         "}}",
         "byte_fallback with a prefix or suffix", CT_ERROR_UNSUPPORTED},
        {"{\"model\":{\"type\":\"BPE\",\"fuse_unk\":\"yes\"," VOCABULARY "}}", "\"fuse_unk\" is a string",
         CT_ERROR_FORMAT}};
    ct_context *context = start_context(1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (ct_tokenizer_parse(context, cases[i].json, strlen(cases[i].json), "file"))
            fail_msg("taken, but should not: %s", cases[i].json);
        ASSERT_ERROR(context, cases[i].status, cases[i].part);
    }
    end_context(context);
}

/* Sequences within sequences, deep and many. */
static void bounds_sequences(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_bytes json = {0};
    const char *open = "{\"type\":\"Sequence\",\"normalizers\":[",
               *end = ",\"model\":{\"type\":\"WordLevel\"," VOCABULARY "}}";
    for (int many = 0; many < 2; many++) {
        json.length = 0;
        ct_bytes_append(context, &json, "{\"normalizer\":", 14);
        for (int i = 0; i < (many ? 1 : 300); i++)
            ct_bytes_append(context, &json, open, strlen(open));
        for (int i = 0; many && i < 100; i++)
            ct_bytes_append(context, &json, i ? ",{\"type\":\"NFC\"}" : "{\"type\":\"NFC\"}", i ? 15 : 14);
        for (int i = 0; i < (many ? 1 : 300); i++)
            ct_bytes_append(context, &json, "]}", 2);
        ct_bytes_append(context, &json, end, strlen(end));
        assert_null(ct_tokenizer_parse(context, json.data, json.length, "bomb"));
        if (many)
            ASSERT_ERROR(context, CT_ERROR_UNSUPPORTED, "more than 64 normalizers are not supported");
        else
            ASSERT_ERROR(context, CT_ERROR_FORMAT, "bomb");
    }
    ct_bytes_free(context, &json);
    end_context(context);
}

static void assert_ids(ct_context *context, ct_tokenizer *tokenizer, const char *text, unsigned flags,
                       const int32_t *expected, size_t count) {
    ct_ids ids = {0};
    if (ct_tokenizer_encode(tokenizer, text, strlen(text), flags, &ids) != CT_OK)
        fail_msg("%s", ct_context_message(context));
    assert_int_equal(ids.count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ids.ids[i], expected[i]);
    ct_ids_free(context, &ids);
}
#define ASSERT_IDS(text, flags, ...)                                                                         \
    assert_ids(context, tokenizer, text, flags, (const int32_t[]){__VA_ARGS__},                              \
               sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static const char vocabulary_text[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##aff\n##able\nHello\nhello\n,\n";

static void loads_vocab_txt(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    write_text(context, folder, "vocab.txt", vocabulary_text, sizeof vocabulary_text - 1);
    ct_tokenizer *tokenizer = ct_tokenizer_load(context, folder);
    if (!tokenizer) fail_msg("%s", ct_context_message(context));
    assert_string_equal(ct_tokenizer_kind(tokenizer), "wordpiece");
    assert_int_equal(ct_tokenizer_size(tokenizer), 11);
    ASSERT_IDS("Hello, UNAFFABLE zz", 0, 9, 10, 5, 6, 7, 1);
    ASSERT_IDS("hello [MASK]", CT_ENCODE_SPECIAL | CT_ENCODE_TEMPLATE, 2, 9, 4, 3);
    assert_int_equal(ct_tokenizer_token_type(tokenizer, 2), CT_TOKEN_IS_CONTROL);
    assert_int_equal(ct_tokenizer_token_type(tokenizer, 1), CT_TOKEN_IS_UNKNOWN);
    assert_int_equal(ct_tokenizer_token_type(tokenizer, 6), CT_TOKEN_IS_NORMAL);
    assert_int_equal(ct_tokenizer_token_type(tokenizer, 11), CT_TOKEN_IS_NONE);
    size_t length;
    assert_memory_equal(ct_tokenizer_token(tokenizer, 6, &length), "aff", 3);
    assert_int_equal(length, 3);
    assert_memory_equal(ct_tokenizer_token(tokenizer, 5, &length), " un", 3);
    ct_tokenizer_destroy(tokenizer);
    static const char config[] = "{\"do_lower_case\":false,\"cls_token\":\"un\"}";
    write_text(context, folder, "tokenizer_config.json", config, sizeof config - 1);
    tokenizer = ct_tokenizer_load(context, folder);
    ASSERT_IDS("Hello", CT_ENCODE_TEMPLATE, 5, 8, 3);
    assert_int_equal(ct_tokenizer_save(tokenizer, folder), CT_OK);
    ct_tokenizer_destroy(tokenizer);
    tokenizer = ct_tokenizer_load(context, folder); /* from tokenizer.json now */
    ASSERT_IDS("Hello", CT_ENCODE_TEMPLATE, 5, 8, 3);
    ct_tokenizer_destroy(tokenizer);
    ct_folder_remove(context, folder);
    make_folder(folder);
    write_text(context, folder, "vocab.txt", "a\nb\na\n", 6);
    assert_null(ct_tokenizer_load(context, folder));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "token \"a\" stands twice");
    write_text(context, folder, "vocab.txt", "a\n\xff\n", 4);
    assert_null(ct_tokenizer_load(context, folder));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "vocab.txt:2: the token is not UTF-8");
    ct_folder_remove(context, folder);
    end_context(context);
}

/* ------------------------------------------------------------------------------- tokenizer.model ----- */

/* A message of Protocol Buffers, put together. */
typedef struct message {
    unsigned char bytes[512];
    size_t size;
} message;

static void put_field(message *m, unsigned field, unsigned wire, const void *data, size_t size) {
    m->bytes[m->size++] = (unsigned char)(field << 3 | wire);
    if (wire == 2) m->bytes[m->size++] = (unsigned char)size;
    memcpy(m->bytes + m->size, data, size);
    m->size += size;
}

static void put_piece(message *m, const char *text, float score, char type) {
    message piece = {.size = 0};
    put_field(&piece, 1, 2, text, strlen(text));
    put_field(&piece, 2, 5, &score, 4);
    put_field(&piece, 3, 0, &type, 1);
    put_field(m, 1, 2, piece.bytes, piece.size);
}

/* BPE over <unk>, <s>, </s>, the mark, a, b, ab and "<0x41>"; `last` is one more piece, the unknown one is
 * `unk`. */
static message make_model(const char *last, float score, char type, char unk) {
    message m = {.size = 0}, trainer = {.size = 0}, normalizer = {.size = 0};
    put_piece(&m, "<unk>", 0, 2);
    put_piece(&m, "<s>", 0, 3);
    put_piece(&m, "</s>", 0, 3);
    put_piece(&m, "\xe2\x96\x81", -2, 1);
    put_piece(&m, "a", -3, 1);
    put_piece(&m, "b", -4, 1);
    put_piece(&m, "ab", -1, 1);
    put_piece(&m, "<0x41>", 0, 6);
    put_piece(&m, last, score, type);
    put_field(&trainer, 3, 0, "\x02", 1);
    memcpy(trainer.bytes + trainer.size, "\x98\x02\x01\xc0\x02", 5); /* byte_fallback, unk_id */
    trainer.bytes[trainer.size + 5] = (unsigned char)unk;
    trainer.size += 6;
    put_field(&normalizer, 3, 0, "\x01", 1);
    put_field(&normalizer, 4, 0, "\x00", 1);
    put_field(&m, 2, 2, trainer.bytes, trainer.size);
    put_field(&m, 3, 2, normalizer.bytes, normalizer.size);
    return m;
}

static ct_tokenizer *load_model(ct_context *context, const char *folder, const message *m, size_t size) {
    write_text(context, folder, "tokenizer.model", (const char *)m->bytes, size);
    return ct_tokenizer_load(context, folder);
}

static void reads_sentencepiece(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    message m = make_model("c", -5, 1, 0);
    ct_tokenizer *tokenizer = load_model(context, folder, &m, m.size);
    if (!tokenizer) fail_msg("%s", ct_context_message(context));
    ASSERT_IDS("ab A", CT_ENCODE_TEMPLATE, 1, 3, 6, 3, 7);
    ASSERT_IDS("<s>", CT_ENCODE_PLAIN, 3, 0);
    assert_int_equal(ct_tokenizer_role(tokenizer, "bos"), 1);
    assert_int_equal(ct_tokenizer_role(tokenizer, "eos"), 2);
    assert_int_equal(ct_tokenizer_token_type(tokenizer, 1), CT_TOKEN_IS_CONTROL);
    assert_int_equal(ct_tokenizer_token_type(tokenizer, 7), CT_TOKEN_IS_BYTE);
    size_t length;
    assert_memory_equal(ct_tokenizer_token(tokenizer, 7, &length), "A", 1);
    assert_int_equal(length, 1);
    ct_tokenizer_destroy(tokenizer);
    for (size_t size = 0; size < m.size; size++) { /* cut between two messages it may still be a model */
        tokenizer = load_model(context, folder, &m, size);
        if (!tokenizer && ct_context_status(context) != CT_ERROR_FORMAT)
            fail_msg("%zu bytes: %s", size, ct_context_message(context));
        ct_context_clear(context);
        ct_tokenizer_destroy(tokenizer);
    }
    static const struct {
        const char *last, *part;
        float score;
        char type, unk;
        ct_status status;
    } lies[] = {{"\xff", "piece 8 is empty, not UTF-8", -5, 1, 0, CT_ERROR_FORMAT},
                {"", "piece 8 is empty", -5, 1, 0, CT_ERROR_FORMAT},
                {"ab", "\"ab\" stands twice", -5, 1, 0, CT_ERROR_FORMAT},
                {"c", "the score of piece 8 is not finite", 1.0f / 0.0f, 1, 0, CT_ERROR_FORMAT},
                {"c", "pieces of type 5 (8) are not supported", -5, 5, 0, CT_ERROR_UNSUPPORTED},
                {"c", "pieces of type 9 (8) are not supported", -5, 9, 0, CT_ERROR_UNSUPPORTED},
                {"c", "unk_id 4 is no piece of type UNKNOWN", -5, 1, 4, CT_ERROR_FORMAT},
                {"c", "unk_id 99 is no piece", -5, 1, 99, CT_ERROR_FORMAT}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        m = make_model(lies[i].last, lies[i].score, lies[i].type, lies[i].unk);
        assert_null(load_model(context, folder, &m, m.size));
        ASSERT_ERROR(context, lies[i].status, lies[i].part);
    }
    m = make_model("c", -5, 1, 0);
    m.bytes[1] = 127; /* the first piece is longer than it says, and its text is, too */
    assert_null(load_model(context, folder, &m, m.size));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "tokenizer.model");
    memset(m.bytes, 0xff, sizeof m.bytes); /* a number without an end */
    assert_null(load_model(context, folder, &m, 40));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "not a SentencePiece model: it is cut short");
    ct_folder_remove(context, folder);
    end_context(context);
}

static void load_folder(ct_context *context, void *folder) {
    ct_tokenizer_destroy(ct_tokenizer_load(context, folder));
}

static void sentencepiece_survives_failures(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    message m = make_model("c", -5, 1, 0);
    write_text(context, folder, "tokenizer.model", (const char *)m.bytes, m.size);
    sweep_memory(load_folder, folder, 3000);
    sweep_files(load_folder, folder, 'e', 50);
    ct_folder_remove(context, folder);
    make_folder(folder);
    write_text(context, folder, "vocab.txt", vocabulary_text, sizeof vocabulary_text - 1);
    sweep_memory(load_folder, folder, 3000);
    ct_folder_remove(context, folder);
    end_context(context);
}

static const char everything[] =
    "{\"added_tokens\":[{\"id\":2,\"content\":\"<unk>\",\"special\":true},{\"id\":6,\"content\":\"Q\\u0301\","
    "\"special\":false,\"normalized\":true}],\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{"
    "\"type\":\"NFC\"},"
    "{\"type\":\"Lowercase\"},{\"type\":\"BertNormalizer\",\"lowercase\":true},{\"type\":\"Precompiled\","
    "\"precompiled_charsmap\":\"BAAAAAAAAABh\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x+\"},"
    "\"content\":\"b\"}]},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Whitespace\"},{\"type\":"
    "\"Metaspace\","
    "\"replacement\":\"\\u2581\"}]},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":"
    "\"ByteFallback\"},"
    "{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\"}]},\"model\":{\"type\":\"Unigram\",\"unk_id\":2,"
    "\"byte_fallback\":true,\"vocab\":[[\"a\",-1.0],[\"b\",-2.0],[\"<unk>\",0.0],[\"\\u2581\",-3.5],["
    "\"\\u2581ab\",-1],"
    "[\"<0xC3>\",-9]]}}";

static void use_everything(ct_context *context, void *user) {
    static const char text[] = "ab  xxab Q\xcc\x81 c\xc3\xa9";
    ct_tokenizer *tokenizer = ct_tokenizer_parse(context, everything, sizeof everything - 1, "everything");
    ct_ids ids = {0};
    ct_bytes back = {0};
    (void)user;
    if (tokenizer &&
        ct_tokenizer_encode(tokenizer, text, sizeof text - 1, CT_ENCODE_SPECIAL, &ids) == CT_OK &&
        ct_tokenizer_decode(tokenizer, ids.ids, ids.count, 0, &back) == CT_OK) {
        static const int32_t expected[] = {4, 3, 1, 0, 1, 6, 3, 2};
        assert_int_equal(ids.count, 8);
        assert_memory_equal(ids.ids, expected, sizeof expected);
    }
    ct_ids_free(context, &ids);
    ct_bytes_free(context, &back);
    ct_tokenizer_destroy(tokenizer);
}

static void survives_failures(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    use_everything(context, NULL);
    end_context(context);
    sweep_memory(use_everything, NULL, 2000);
}

static void describes(void **state) {
    (void)state;
    static const char json[] =
        "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[ab]+\"},\"behavior\":"
        "\"Isolated\"},\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"unk_token\":\"?\","
        "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"abb\":3,\"?\":4,\"<0x41>\":5},"
        "\"merges\":[\"a b\",[\"ab\",\"b\"]]}}";
    ct_context *context = start_context(1);
    ct_tokenizer *tokenizer = ct_tokenizer_parse(context, json, sizeof json - 1, "test");
    int32_t left, right, result;
    float scores[6];
    if (!tokenizer) fail_msg("%s", ct_context_message(context));
    assert_string_equal(ct_tokenizer_pattern(tokenizer), "[ab]+");
    assert_int_equal(ct_tokenizer_merges(tokenizer), 2);
    assert_true(ct_tokenizer_merge(tokenizer, 1, &left, &right, &result) && left == 2 && right == 1 &&
                result == 3);
    assert_false(ct_tokenizer_merge(tokenizer, 2, &left, &right, &result));
    ct_tokenizer_scores(tokenizer, scores);
    assert_true(scores[0] == 0 && scores[2] == -1 && scores[3] == -2 && scores[5] == 0);
    assert_int_equal(ct_tokenizer_token_type(tokenizer, 5), CT_TOKEN_IS_BYTE);
    assert_int_equal(ct_tokenizer_token_type(tokenizer, 4), CT_TOKEN_IS_UNKNOWN);
    assert_true(ct_tokenizer_has_byte_fallback(tokenizer) && !ct_tokenizer_is_byte_spelled(tokenizer));
    assert_string_equal(ct_value_as_string(ct_value_get(ct_tokenizer_part(tokenizer, "model"), "type"), ""),
                        "BPE");
    ASSERT_IDS("abbaAc", 0, 3, 0, 5, 4);
    ct_tokenizer_destroy(tokenizer);
    end_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(scanners_equal_pcre2),
                                       cmocka_unit_test(translates_patterns),
                                       cmocka_unit_test(bounds_explosions),
                                       cmocka_unit_test(refuses_parts),
                                       cmocka_unit_test(bounds_sequences),
                                       cmocka_unit_test(loads_vocab_txt),
                                       cmocka_unit_test(survives_failures),
                                       cmocka_unit_test(reads_sentencepiece),
                                       cmocka_unit_test(sentencepiece_survives_failures),
                                       cmocka_unit_test(describes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
