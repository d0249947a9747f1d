/* test_generate.c - the loop of generation: what a sequence becomes depends on its prompt, the options and
 * its number alone; stops, streaming, ends, log-probabilities. */
#include "generate/tiny.h"

typedef struct setting {
    ct_context *context;
    ct_model *model;
    ct_tokenizer *tokenizer;
} setting;

static setting begin(int threads) {
    setting s = {.context = start_context(threads)};
    s.model = random_model(s.context);
    s.tokenizer = ct_tokenizer_from_kind(s.context, "bytes");
    if (ct_failed(s.context)) fail_msg("%s", ct_context_message(s.context));
    return s;
}

/* One whose texts are the cycle of `text`. */
static setting begin_chain(const char *text, int64_t positions) {
    setting s = {.context = start_context(1)};
    unsigned char next[256];
    chain_of(next, text);
    s.model = chain_model(s.context, next, 1, positions);
    s.tokenizer = ct_tokenizer_from_kind(s.context, "bytes");
    if (ct_failed(s.context)) fail_msg("%s", ct_context_message(s.context));
    return s;
}

static void end(setting s) {
    ct_tokenizer_destroy(s.tokenizer);
    ct_model_destroy(s.model);
    end_tensors(s.context);
}

static ct_generation generate(setting s, const char *prompt, const ct_generate_options *options) {
    ct_generation result = {0};
    ct_ids ids = ids_of(s.context, prompt);
    if (ct_generate(s.model, s.tokenizer, &ids, 1, options, NULL, NULL, &result, NULL) != CT_OK)
        fail_msg("%s", ct_context_message(s.context));
    ct_ids_free(s.context, &ids);
    return result;
}

static void assert_same_ids(const ct_ids *a, const ct_ids *b) {
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->ids, b->ids, a->count * sizeof(int32_t));
}

/* Decoding with the cache equals running the whole sequence again for every token. */
static void cache_equals_recomputing(void **state) {
    setting s = begin(2);
    ct_generate_options o = default_options(24, false);
    o.logprobs = 3;
    if (*state) ct_model_cast(s.model, CT_BF16);
    ct_generation g = generate(s, "Hello", &o);
    assert_int_equal(g.ids.count, 24);
    assert_int_equal(g.prompt_tokens, 5);
    assert_int_equal(g.finish, CT_FINISH_LENGTH);
    int32_t ids[32] = {'H', 'e', 'l', 'l', 'o'};
    for (int t = 0; t < 24; t++) {
        float *logits = full_logits(s.model, ids, 5 + t), *row = logits + (4 + t) * 256;
        assert_int_equal(g.ids.ids[t], likeliest(row, 256));
        /* Log-probabilities are the log-softmax of the unfiltered logits, alternatives from the likeliest
         * down. */
        assert_true(fabs(g.logprobs[t] - log_softmax(row, 256, g.ids.ids[t])) < 1e-3);
        assert_int_equal(g.top_ids[t * 3], g.ids.ids[t]);
        float left[256];
        memcpy(left, row, sizeof(left));
        for (int k = 0; k < 3; k++) {
            int32_t id = g.top_ids[t * 3 + k];
            assert_true(fabs(g.top_logprobs[t * 3 + k] - log_softmax(row, 256, id)) < 1e-3);
            assert_true(left[likeliest(left, 256)] - left[id] < 1e-3f);
            left[id] = -INFINITY;
        }
        ids[5 + t] = g.ids.ids[t];
        free(logits);
    }
    ct_generation_free(s.context, &g);
    end(s);
}

/* The logits of the unfiltered distribution count, whatever the filters are; more alternatives than tokens
 * are none. */
static void logprobs_are_unfiltered(void **state) {
    (void)state;
    setting s = begin(1);
    ct_generate_options o = default_options(4, true);
    o.temperature = 0.3;
    o.top_k = 5;
    o.repetition_penalty = 1.5;
    o.logprobs = 300;
    ct_generation g = generate(s, "ab", &o);
    int32_t ids[8] = {'a', 'b'};
    for (int t = 0; t < 4; t++) {
        float *logits = full_logits(s.model, ids, 2 + t), *row = logits + (1 + t) * 256;
        assert_true(fabs(g.logprobs[t] - log_softmax(row, 256, g.ids.ids[t])) < 1e-3);
        for (int k = 0; k < 300; k++) {
            if (k > 0) assert_true(g.top_logprobs[t * 300 + k] <= g.top_logprobs[t * 300 + k - 1]);
            assert_true(k < 256 ? g.top_ids[t * 300 + k] >= 0 : g.top_ids[t * 300 + k] == -1);
            if (k >= 256) assert_true(g.top_logprobs[t * 300 + k] == -INFINITY);
        }
        ids[2 + t] = g.ids.ids[t];
        free(logits);
    }
    ct_generation_free(s.context, &g);
    end(s);
}

static void seeds(void **state) {
    (void)state;
    setting s = begin(1);
    ct_generate_options o = default_options(20, true);
    o.seed = 5;
    ct_generation a = generate(s, "Hello", &o), b = generate(s, "Hello", &o);
    o.seed = 6;
    ct_generation c = generate(s, "Hello", &o);
    o.max_new_tokens = 8;
    o.seed = 5;
    ct_generation shorter = generate(s, "Hello", &o);
    assert_same_ids(&a.ids, &b.ids);
    assert_true(memcmp(a.ids.ids, c.ids.ids, 20 * sizeof(int32_t)) != 0);
    assert_memory_equal(a.ids.ids, shorter.ids.ids, 8 * sizeof(int32_t));
    ct_generation_free(s.context, &a);
    ct_generation_free(s.context, &b);
    ct_generation_free(s.context, &c);
    ct_generation_free(s.context, &shorter);
    end(s);
}

/* Where all tokens are as likely, each step has a draw of its own: 60 draws of 256 give about 54 different
 * ones. */
static void draws_differ(void **state) {
    (void)state;
    setting s = {.context = start_context(1)};
    unsigned char next[256] = {0};
    s.model = chain_model(s.context, next, 0, 64);
    s.tokenizer = ct_tokenizer_from_kind(s.context, "bytes");
    ct_generate_options o = default_options(60, true);
    ct_generation g = generate(s, "a", &o);
    bool seen[256] = {false};
    int different = 0;
    for (int t = 0; t < 60; t++) {
        different += !seen[g.ids.ids[t]];
        seen[g.ids.ids[t]] = true;
    }
    assert_true(different > 40);
    ct_generation_free(s.context, &g);
    end(s);
}

/* ------------------------------------------------------------------------------------------------ batches */

enum { BATCH = 64 };

static void make_prompts(ct_context *context, ct_ids *prompts) {
    for (int i = 0; i < BATCH; i++)
        for (int t = 0; t <= i % 13; t++)
            ct_ids_push(context, &prompts[i], (i * 31 + t * 7) % 256);
}

/* Prompt 40 with any neighbours: the same ids, log-probabilities to the bit. */
static void run_batch(int threads, bool others, ct_ids *ids, float logprobs[16]) {
    setting s = begin(threads);
    ct_ids prompts[BATCH] = {0};
    ct_generation *results = calloc(BATCH, sizeof(*results));
    assert_non_null(results);
    ct_generate_options o = default_options(16, true);
    o.seed = 9;
    o.logprobs = 1;
    o.repetition_penalty = 1.1;
    make_prompts(s.context, prompts);
    if (!others)
        for (int i = 0; i < BATCH; i++)
            if (i != 40) { /* other neighbours */
                ct_ids_free(s.context, &prompts[i]);
                ct_ids_push(s.context, &prompts[i], i);
            }
    ct_generate_report report;
    int64_t count = others ? BATCH : 41, prompt_tokens = 0;
    if (ct_generate(s.model, s.tokenizer, prompts, count, &o, NULL, NULL, results, &report) != CT_OK)
        fail_msg("%s", ct_context_message(s.context));
    for (int i = 0; i < count; i++)
        prompt_tokens += (int64_t)prompts[i].count;
    assert_int_equal(report.prompt_tokens, prompt_tokens);
    assert_int_equal(report.new_tokens, 16 * count);
    assert_int_equal(results[40].ids.count, 16);
    ids->count = 0;
    for (int t = 0; t < 16; t++)
        ct_ids_push(s.context, ids, results[40].ids.ids[t]);
    memcpy(logprobs, results[40].logprobs, 16 * sizeof(float));
    int32_t copy[16];
    memcpy(copy, ids->ids, sizeof(copy));
    ct_ids_free(s.context, ids);
    ids->ids = malloc(sizeof(copy));
    assert_non_null(ids->ids);
    memcpy(ids->ids, copy, sizeof(copy));
    ids->count = 16;
    for (int i = 0; i < BATCH; i++) {
        ct_ids_free(s.context, &prompts[i]);
        ct_generation_free(s.context, &results[i]);
    }
    free(results);
    end(s);
}

static void independent_of_neighbours_and_threads(void **state) {
    (void)state;
    ct_ids first = {0}, other = {0};
    float expected[16], found[16];
    run_batch(1, true, &first, expected);
    for (int k = 0; k < 5; k++) {
        run_batch(k < 3 ? 1 << k : 1 << (k - 3), k < 3, &other, found);
        assert_same_ids(&first, &other);
        assert_memory_equal(expected, found, sizeof(found));
        free(other.ids);
        other = (ct_ids){0};
    }
    free(first.ids);
}

/* Prompt 0 alone is prompt 0 in a batch of 64, which ends at different lengths; the same prompt at another
 * place of the batch draws another text. */
static void alone_or_in_a_batch(void **state) {
    (void)state;
    setting s = begin(1);
    ct_ids prompts[BATCH] = {0};
    ct_generation *results = calloc(BATCH, sizeof(*results));
    assert_non_null(results);
    for (int i = 0; i < BATCH; i++) {
        ct_ids_push(s.context, &prompts[i], 'A');
        for (int t = 0; i > 1 && t < i % 30; t++)
            ct_ids_push(s.context, &prompts[i], 'b');
    }
    ct_generate_options o = default_options(20, true);
    ct_generation alone = generate(s, "A", &o);
    if (ct_generate(s.model, s.tokenizer, prompts, BATCH, &o, NULL, NULL, results, NULL) != CT_OK)
        fail_msg("%s", ct_context_message(s.context));
    assert_same_ids(&alone.ids, &results[0].ids);
    assert_true(memcmp(results[0].ids.ids, results[1].ids.ids, 20 * sizeof(int32_t)) != 0);
    for (int i = 0; i < BATCH; i++) {
        int64_t room = 32 - (int64_t)prompts[i].count;
        assert_int_equal(results[i].ids.count, room < 20 ? room : 20);
        assert_int_equal(results[i].finish, room < 20 ? CT_FINISH_CONTEXT : CT_FINISH_LENGTH);
    }
    for (int i = 0; i < BATCH; i++) {
        ct_ids_free(s.context, &prompts[i]);
        ct_generation_free(s.context, &results[i]);
    }
    ct_generation_free(s.context, &alone);
    free(results);
    end(s);
}

/* -------------------------------------------------------------------------------------- stops and streams */

typedef struct heard {
    char text[512];
    size_t length;
    int calls, most; /* calls until it says stop; 0: never */
    int64_t index;
} heard;

static bool whole_characters(const char *text, size_t length) {
    for (size_t i = 0; i < length;) {
        unsigned char c = (unsigned char)text[i];
        size_t size = c < 0x80 ? 1 : c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 0;
        if (!size || i + size > length) return false;
        i += size;
    }
    return true;
}

static bool hear(void *user, int64_t index, const char *text, size_t length) {
    heard *h = user;
    if (!whole_characters(text, length)) fail_msg("not whole characters: \"%.*s\"", (int)length, text);
    assert_true(length > 0 && h->length + length < sizeof(h->text));
    memcpy(h->text + h->length, text, length);
    h->length += length;
    h->index = index;
    return ++h->calls != h->most;
}

static ct_generation listen(setting s, const char *prompt, const ct_generate_options *options, heard *h) {
    ct_generation result = {0};
    ct_ids ids = ids_of(s.context, prompt);
    if (ct_generate(s.model, s.tokenizer, &ids, 1, options, hear, h, &result, NULL) != CT_OK)
        fail_msg("%s", ct_context_message(s.context));
    ct_ids_free(s.context, &ids);
    return result;
}

typedef struct stop_case {
    const char *stops[3];
    int64_t tokens;
    const char *text;
    size_t ids;
    ct_finish finish;
} stop_case;

/* The model goes on "a\xc3\xa9" "b\xe2\x82\xac" "cd" in a circle: a, e acute, b, euro, c, d. */
static const stop_case stop_cases[] = {
    {{NULL},
     18,
     "a\xc3\xa9"
     "b\xe2\x82\xac"
     "cda\xc3\xa9"
     "b\xe2\x82\xac"
     "cd",
     18,
     CT_FINISH_LENGTH},
    {{"c"},
     30,
     "a\xc3\xa9"
     "b\xe2\x82\xac",
     7,
     CT_FINISH_STOP},
    {{"cda"},
     30,
     "a\xc3\xa9"
     "b\xe2\x82\xac",
     7,
     CT_FINISH_STOP}, /* over several tokens */
    {{"\xe2\x82\xac"},
     30,
     "a\xc3\xa9"
     "b",
     4,
     CT_FINISH_STOP}, /* a character over several tokens: none of it stays */
    {{"b\xe2\x82\xac"}, 30, "a\xc3\xa9", 3, CT_FINISH_STOP},
    {{"d", "b"}, 30, "a\xc3\xa9", 3, CT_FINISH_STOP}, /* the first to come */
    {{"xyz", "cdx"},
     9,
     "a\xc3\xa9"
     "b\xe2\x82\xac"
     "cd",
     9,
     CT_FINISH_LENGTH}, /* what was held back comes at the end */
    {{"a"}, 30, "", 0, CT_FINISH_STOP},
    {{"d"},
     9,
     "a\xc3\xa9"
     "b\xe2\x82\xac"
     "c",
     8,
     CT_FINISH_STOP},                          /* stop and length at once */
    {{NULL}, 2, "a\xc3", 2, CT_FINISH_LENGTH}, /* a character is cut short: its bytes as they are */
};

static void stops_and_streams(void **state) {
    (void)state;
    setting s = begin_chain("a\xc3\xa9"
                            "b\xe2\x82\xac"
                            "cd",
                            64);
    for (size_t i = 0; i < sizeof(stop_cases) / sizeof(stop_cases[0]); i++) {
        const stop_case *c = &stop_cases[i];
        ct_generate_options o = default_options(c->tokens, false);
        ct_value *stops = list_of(s.context, c->stops);
        o.stop_strings = stops;
        heard h = {0};
        ct_generation quiet = generate(s, "d", &o);
        if (quiet.text.length != strlen(c->text) || quiet.ids.count != c->ids || quiet.finish != c->finish)
            fail_msg("case %d: \"%s\", %d ids, %s", (int)i, quiet.text.data, (int)quiet.ids.count,
                     ct_finish_name(quiet.finish));
        assert_memory_equal(quiet.text.data, c->text, strlen(c->text));
        for (size_t t = 0; t < quiet.ids.count; t++)
            assert_int_equal(quiet.ids.ids[t], (unsigned char)c->text[t]);
        if (whole_characters(c->text, strlen(c->text))) { /* what is streamed is exactly the text */
            ct_generation g = listen(s, "d", &o, &h);
            assert_int_equal(h.length, strlen(c->text));
            assert_memory_equal(h.text, c->text, h.length);
            ct_generation_free(s.context, &g);
        }
        ct_generation_free(s.context, &quiet);
        ct_value_free(stops);
    }
    end(s);
}

/* Text is given as it comes, not at the end. */
static void streams_as_it_comes(void **state) {
    (void)state;
    setting s = begin_chain("a\xc3\xa9"
                            "b\xe2\x82\xac"
                            "cd",
                            64);
    ct_generate_options o = default_options(18, false);
    heard h = {0};
    ct_generation g = listen(s, "d", &o, &h);
    assert_int_equal(h.calls, 12); /* characters */
    ct_generation_free(s.context, &g);
    h = (heard){.most = 3};
    g = listen(s, "d", &o, &h);
    assert_int_equal(g.finish, CT_FINISH_INTERRUPTED);
    assert_int_equal(h.calls, 3);
    assert_string_equal(g.text.data, "a\xc3\xa9"
                                     "b");
    assert_int_equal(g.ids.count, 4);
    ct_generation_free(s.context, &g);
    end(s);
}

static void refuses_stops(void **state) {
    (void)state;
    setting s = begin(1);
    static const char *const bad[] = {"[1]", "[\"\"]", "\"text\"", "[[\"a\"]]"};
    for (int i = 0; i < 4; i++) {
        ct_value *stops = ct_json_parse(s.context, bad[i], strlen(bad[i]), "stops");
        ct_generate_options o = default_options(2, false);
        ct_generation g = {0};
        ct_ids ids = ids_of(s.context, "a");
        o.stop_strings = stops;
        assert_int_equal(ct_generate(s.model, s.tokenizer, &ids, 1, &o, NULL, NULL, &g, NULL),
                         CT_ERROR_ARGUMENT);
        ASSERT_ERROR(s.context, CT_ERROR_ARGUMENT, "stop_strings", "expected a list of texts");
        ct_generation_free(s.context, &g);
        ct_ids_free(s.context, &ids);
        ct_value_free(stops);
    }
    end(s);
}

/* --------------------------------------------------------------------------------------------------- ends */

/* config.json may name several tokens that end a text, beside the tokenizer's; ids it does not have are passed over. */
static void ends_of_the_configuration(void **state) {
    (void)state;
    setting s = begin_chain("abcd", 64);
    ct_value *list = ct_value_list(s.context);
    ct_value_append(list, ct_value_int(s.context, 99999));
    ct_value_append(list, ct_value_int(s.context, 'z'));
    ct_value_append(list, ct_value_int(s.context, 'c'));
    ct_value_set(ct_model_config_edit(s.model), "eos_token_id", list);
    ct_generate_options o = default_options(10, false);
    ct_generation g = generate(s, "d", &o);
    assert_int_equal(g.finish, CT_FINISH_EOS);
    assert_string_equal(g.text.data, "ab");
    ct_generation_free(s.context, &g);
    ct_value_set(ct_model_config_edit(s.model), "eos_token_id", ct_value_int(s.context, 'b'));
    g = generate(s, "d", &o);
    assert_string_equal(g.text.data, "a");
    ct_generation_free(s.context, &g);
    o.ignore_eos = true;
    g = generate(s, "d", &o);
    assert_int_equal(g.finish, CT_FINISH_LENGTH);
    ct_generation_free(s.context, &g);
    end(s);
}

static void end_of_text(void **state) {
    (void)state;
    setting s = begin_chain("abcd", 64);
    assert_int_equal(ct_tokenizer_set_role(s.tokenizer, "eos", ct_tokenizer_symbol(s.tokenizer, 'c')), CT_OK);
    ct_generate_options o = default_options(10, false);
    ct_generation g = generate(s, "d", &o);
    assert_int_equal(g.finish, CT_FINISH_EOS);
    assert_string_equal(g.text.data, "ab");
    assert_int_equal(g.ids.count, 2);
    ct_generation_free(s.context, &g);
    o.ignore_eos = true; /* goes on; special tokens have no text */
    g = generate(s, "d", &o);
    assert_int_equal(g.finish, CT_FINISH_LENGTH);
    assert_int_equal(g.ids.count, 10);
    assert_int_equal(g.ids.ids[2], 'c');
    assert_string_equal(g.text.data, "abdabdab");
    ct_generation_free(s.context, &g);
    /* An empty prompt begins with eos where no bos is named, else with bos. */
    o.max_new_tokens = 2;
    g = generate(s, "", &o);
    assert_string_equal(g.text.data, "da");
    assert_int_equal(g.prompt_tokens, 1);
    ct_generation_free(s.context, &g);
    assert_int_equal(ct_tokenizer_set_role(s.tokenizer, "bos", ct_tokenizer_symbol(s.tokenizer, 'a')), CT_OK);
    g = generate(s, "", &o);
    assert_string_equal(g.text.data, "b");
    ct_generation_free(s.context, &g);
    end(s);
}

static void context_limit(void **state) {
    (void)state;
    setting s = begin_chain("abcd", 8);
    ct_generate_options o = default_options(1000000000, false); /* more than memory could hold */
    o.logprobs = 1000;
    ct_generation g = generate(s, "abc", &o);
    assert_int_equal(g.finish, CT_FINISH_CONTEXT);
    assert_string_equal(g.text.data, "dabcd");
    ct_generation_free(s.context, &g);
    o = default_options(5, false);
    g = generate(s, "abc", &o);
    assert_int_equal(g.finish, CT_FINISH_LENGTH);
    ct_generation_free(s.context, &g);
    o.max_new_tokens = 0;
    g = generate(s, "abc", &o);
    assert_int_equal(g.finish, CT_FINISH_LENGTH);
    assert_int_equal(g.ids.count, 0);
    assert_int_equal(g.text.length, 0);
    ct_generation_free(s.context, &g);
    o.max_new_tokens = 5;
    g = generate(s, "abcdabc", &o); /* the last place */
    assert_string_equal(g.text.data, "d");
    ct_generation_free(s.context, &g);
    end(s);
}

static void assert_refused(setting s, const ct_ids *prompts, int64_t count, const char *part) {
    ct_generate_options o = default_options(4, false);
    ct_generation g[2] = {{.ids = {0}}};
    assert_int_equal(ct_generate(s.model, s.tokenizer, prompts, count, &o, NULL, NULL, g, NULL),
                     CT_ERROR_ARGUMENT);
    ASSERT_ERROR(s.context, CT_ERROR_ARGUMENT, part);
    ct_generation_free(s.context, &g[0]);
    ct_generation_free(s.context, &g[1]);
}

static void refuses_prompts(void **state) {
    (void)state;
    setting s = begin_chain("abcd", 8);
    ct_ids good = ids_of(s.context, "ab"), longer = ids_of(s.context, "abcdabcd"), empty = {0}, wrong = {0};
    ct_ids_push(s.context, &wrong, 256);
    assert_refused(s, &longer, 1, "prompt 0 has 8 tokens, the model's context holds 8");
    assert_refused(s, (const ct_ids[]){good, longer}, 2, "prompt 1 has 8 tokens");
    assert_refused(s, &empty, 1, "prompt 0 is empty and the tokenizer names no token to begin with");
    assert_refused(s, (const ct_ids[]){good, wrong}, 2,
                   "prompt 1: id 256 is outside the model's vocabulary of 256");
    wrong.ids[0] = -1;
    assert_refused(s, &wrong, 1, "id -1");
    ct_ids_free(s.context, &good);
    ct_ids_free(s.context, &longer);
    ct_ids_free(s.context, &wrong);
    end(s);
}

static void refuses_models(void **state) {
    (void)state;
    setting s = begin(1);
    ct_generate_options o = default_options(4, false);
    ct_generation g = {0};
    ct_ids ids = ids_of(s.context, "a");
    ct_model *small =
        model_from(s.context, "{\"model_type\": \"gpt2\", \"vocab_size\": 100, \"n_positions\": 8, "
                              "\"n_embd\": 8, \"n_layer\": 1, \"n_head\": 1}");
    ct_generate(small, s.tokenizer, &ids, 1, &o, NULL, NULL, &g, NULL);
    ASSERT_ERROR(s.context, CT_ERROR_ARGUMENT, "the tokenizer has 256 tokens, the model's vocabulary 100");
    ct_model *other = model_from(s.context, "{\"model_type\": \"mlp\", \"sizes\": [4, 4]}");
    ct_generate(other, s.tokenizer, &ids, 1, &o, NULL, NULL, &g, NULL);
    ASSERT_ERROR(s.context, CT_ERROR_UNSUPPORTED, "not a language model");
    /* Weights that have become NaN give no text. */
    ct_fill(ct_model_find(s.model, "ln_f.weight")->tensor, NAN);
    ct_generate(s.model, s.tokenizer, &ids, 1, &o, NULL, NULL, &g, NULL);
    ASSERT_ERROR(s.context, CT_ERROR_NUMERIC, "NaN");
    ct_generation_free(s.context, &g);
    ct_ids_free(s.context, &ids);
    ct_model_destroy(small);
    ct_model_destroy(other);
    end(s);
}

/* A vocabulary padded beyond the tokenizer's: its ids have no text and are never drawn. */
static void padded_vocabulary(void **state) {
    (void)state;
    setting s = begin(1);
    ct_model *padded =
        model_from(s.context, "{\"model_type\": \"gpt2\", \"vocab_size\": 1024, \"n_positions\": 32, "
                              "\"n_embd\": 16, \"n_layer\": 1, \"n_head\": 1}");
    for (int sample = 0; sample < 2; sample++) {
        ct_generate_options o = default_options(31, sample);
        ct_ids ids = ids_of(s.context, "a");
        ct_generation g = {0};
        ct_generate(padded, s.tokenizer, &ids, 1, &o, NULL, NULL, &g, NULL);
        if (ct_failed(s.context)) fail_msg("%s", ct_context_message(s.context));
        assert_int_equal(g.ids.count, 31);
        ct_generation_free(s.context, &g);
        ct_ids_free(s.context, &ids);
    }
    ct_model_destroy(padded);
    end(s);
}

static void stop_request(void **state) {
    (void)state;
    setting s = begin_chain("abcd", 64);
    ct_generate_options o = default_options(50, false);
    ct_request_stop(s.context);
    ct_generation g = generate(s, "d", &o);
    assert_int_equal(g.finish, CT_FINISH_INTERRUPTED);
    assert_int_equal(g.ids.count, 0); /* not even the prompt was run */
    ct_clear_stop(s.context);
    ct_generation_free(s.context, &g);
    g = generate(s, "d", &o);
    assert_int_equal(g.finish, CT_FINISH_LENGTH);
    ct_generation_free(s.context, &g);
    end(s);
}

static void bf16_weights(void **state) {
    (void)state;
    setting s = begin(1);
    ct_generate_options o = default_options(16, true);
    ct_model_cast(s.model, CT_BF16);
    ct_generation a = generate(s, "Hello", &o), b = generate(s, "Hello", &o);
    assert_int_equal(a.ids.count, 16);
    assert_same_ids(&a.ids, &b.ids);
    ct_generation_free(s.context, &a);
    ct_generation_free(s.context, &b);
    end(s);
}

static void generate_some(ct_context *context, void *user) {
    (void)user;
    ct_model *model =
        model_from(context, "{\"model_type\": \"gpt2\", \"vocab_size\": 256, \"n_positions\": 8, "
                            "\"n_embd\": 8, \"n_layer\": 1, \"n_head\": 1}");
    ct_tokenizer *tokenizer = ct_tokenizer_from_kind(context, "bytes");
    ct_generate_options o = default_options(3, true);
    ct_value *stops = LIST(context, "\x01\x02\x03");
    o.top_p = 0.9;
    o.logprobs = 2;
    o.repetition_penalty = 1.2;
    o.stop_strings = stops;
    ct_ids ids[2] = {ids_of(context, "ab"), ids_of(context, "c")};
    ct_generation g[2] = {{.ids = {0}}};
    if (model && tokenizer) ct_generate(model, tokenizer, ids, 2, &o, NULL, NULL, g, NULL);
    for (int i = 0; i < 2; i++) {
        ct_generation_free(context, &g[i]);
        ct_ids_free(context, &ids[i]);
    }
    ct_value_free(stops);
    ct_tokenizer_destroy(tokenizer);
    ct_model_destroy(model);
}

static void survives_failures(void **state) {
    (void)state;
    sweep_tensors(generate_some, NULL, 1, 20000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cache_equals_recomputing),
        {"cache_equals_recomputing in bf16", cache_equals_recomputing, NULL, NULL, (void *)1},
        cmocka_unit_test(logprobs_are_unfiltered),
        cmocka_unit_test(seeds),
        cmocka_unit_test(draws_differ),
        cmocka_unit_test(independent_of_neighbours_and_threads),
        cmocka_unit_test(alone_or_in_a_batch),
        cmocka_unit_test(stops_and_streams),
        cmocka_unit_test(streams_as_it_comes),
        cmocka_unit_test(refuses_stops),
        cmocka_unit_test(end_of_text),
        cmocka_unit_test(ends_of_the_configuration),
        cmocka_unit_test(context_limit),
        cmocka_unit_test(refuses_prompts),
        cmocka_unit_test(refuses_models),
        cmocka_unit_test(padded_vocabulary),
        cmocka_unit_test(stop_request),
        cmocka_unit_test(bf16_weights),
        cmocka_unit_test(survives_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
