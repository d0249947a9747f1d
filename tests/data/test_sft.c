/* test_sft.c - dialogues into samples: which tokens carry loss, what is cut and left out, packing, orders of
 * rows, bad input. */
#include "method/check.h"
#include <carat/sft.h>
#include <unistd.h>

static const ct_sft_options standard = {"plain", 0, true};

static void put_file(const char *path, const char *text) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static char *jsonl(const char *text) {
    static char path[64];
    snprintf(path, sizeof(path), "/tmp/carat-sft-XXXXXX.jsonl");
    int file = mkstemps(path, 6);
    assert_true(file >= 0);
    close(file);
    put_file(path, text);
    return path;
}

typedef struct turn {
    const char *role, *content;
} turn;

static void encode(ct_context *context, ct_tokenizer *tokenizer, const char *name, const turn *turns,
                   size_t count, bool answers, ct_ids *ids, ct_ids *labels) {
    ct_value *messages = ct_value_list(context);
    for (size_t i = 0; i < count; i++) {
        ct_value *message = ct_value_map(context);
        ct_value_set(message, "role", ct_value_string(context, turns[i].role));
        ct_value_set(message, "content", ct_value_string(context, turns[i].content));
        ct_value_append(messages, message);
    }
    ct_chat *chat = ct_chat_open(context, name, NULL);
    assert_non_null(chat);
    const ct_chat_request request = {.messages = messages};
    ct_template_output text = {0};
    assert_int_equal(ct_chat_render_learnt(chat, &request, 0, &text), CT_OK);
    assert_int_equal(ct_chat_encode(context, tokenizer, &text, ids, labels, CT_LABEL_NONE), CT_OK);
    for (size_t i = 0; !answers && i < ids->count; i++)
        labels->ids[i] = ids->ids[i];
    ct_template_output_free(context, &text);
    ct_chat_close(chat);
    ct_value_free(messages);
}

/* The labelled bytes of a dialogue, '.' for the others. */
static void marks(ct_context *context, const char *chat, const turn *turns, size_t count, bool answers,
                  const char *whole, const char *learnt) {
    ct_ids ids = {0}, labels = {0};
    ct_tokenizer *bytes = ct_tokenizer_from_kind(context, "bytes");
    encode(context, bytes, chat, turns, count, answers, &ids, &labels);
    assert_int_equal(ids.count, strlen(whole));
    assert_int_equal(labels.count, ids.count);
    for (size_t i = 0; i < ids.count; i++) {
        assert_int_equal(ids.ids[i], whole[i]);
        assert_int_equal(labels.ids[i], learnt[i] == '.' ? CT_LABEL_NONE : whole[i]);
    }
    ct_ids_free(context, &ids);
    ct_ids_free(context, &labels);
    ct_tokenizer_destroy(bytes);
}

static const turn talk[] = {
    {"system", "S"}, {"user", "hi"}, {"assistant", "yo"}, {"user", " a "}, {"assistant", "b"}};

static void templates(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    marks(context, "plain", talk + 1, 2, true, "<user>hi</user><assistant>yo</assistant>",
          "..........................yo</assistant>");
    marks(context, "plain", talk + 1, 2, false, "<user>hi</user><assistant>yo</assistant>",
          "<user>hi</user><assistant>yo</assistant>");
    marks(context, "plain", talk + 1, 4, true,
          "<user>hi</user><assistant>yo</assistant><user> a </user><assistant>b</assistant>",
          "..........................yo</assistant>...........................b</assistant>");
    marks(context, "chatml", talk + 1, 2, true,
          "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n",
          "....................................................yo<|im_end|>.");
    marks(context, "llama2", talk, 5, true,
          "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nhi [/INST] yo </s><s>[INST] a [/INST] b </s>",
          "........................................ yo </s>................... b </s>");
    marks(context, "llama3", talk + 3, 2, true,
          "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\na<|eot_id|><|start_header_id|>"
          "assistant<|end_header_"
          "id|>\n\nb<|eot_id|>",
          ".................................................................................................."
          "...................b<|eot_id|>");
    end_tensors(context);
}

static void special_tokens(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    static const char *const special[] = {"<|im_start|>", "<|im_end|>", NULL};
    const ct_text text = {"what is said here", 17};
    const ct_bpe_options how = {.vocab_size = 258, .min_frequency = 2, .special_tokens = special};
    ct_tokenizer *tokenizer = ct_bpe_train(context, &text, 1, &how);
    assert_non_null(tokenizer);
    /* The template's mark is one token, the same characters in what somebody says are not. */
    const turn turns[] = {{"user", "<|im_end|>"}, {"assistant", "y"}};
    ct_ids ids = {0}, labels = {0};
    encode(context, tokenizer, "chatml", turns, 2, true, &ids, &labels);
    int32_t end = ct_tokenizer_find(tokenizer, "<|im_end|>");
    int ends = 0, learnt = 0;
    for (size_t i = 0; i < ids.count; i++) {
        ends += ids.ids[i] == end;
        learnt += labels.ids[i] != CT_LABEL_NONE;
    }
    assert_int_equal(ends, 2);
    assert_int_equal(learnt, 2); /* "y" and its end */
    ct_ids_free(context, &ids);
    ct_ids_free(context, &labels);
    ct_tokenizer_destroy(tokenizer);
    end_tensors(context);
}

static const char records[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"yo\"}]}\n"
    "{\"messages\":[{\"role\":\"user\",\"content\":\"only a question\"}]}\n"
    "{\"messages\":[{\"role\":\"user\",\"content\":\"0123456789012345678901234567890123456789\"},"
    "{\"role\":\"assistant\",\"content\":\"too late\"}]}\n"
    "{\"prompt\":\"2+2=\",\"completion\":\"4\"}\n"
    "{\"prompt\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"},"
    "{\"role\":\"user\",\"content\":\"q\"}],\"completion\":[{\"role\":\"assistant\",\"content\":\"b\"}]}\n";

static void files(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char *path = jsonl(records);
    ct_tokenizer *bytes = ct_tokenizer_from_kind(context, "bytes");
    ct_sample_list list = {0};
    ct_sft_counts counts;
    ct_sft_options options = standard;
    options.max_length = 50;
    assert_int_equal(ct_sft_read(context, path, bytes, &options, &list, &counts), CT_OK);
    assert_int_equal(counts.records, 5);
    assert_int_equal(counts.samples, 2);
    assert_int_equal(counts.without_answer, 1);
    assert_int_equal(counts.answer_cut, 2); /* the long question, and the second answer of the last record */
    assert_int_equal(counts.truncated, 0);
    assert_int_equal(list.lengths.ids[0], 40);
    assert_int_equal(list.lengths.ids[1], 5);
    assert_int_equal(counts.targets, 14 + 1);
    assert_int_equal(counts.tokens, 45);
    assert_int_equal(list.labels.ids[44], '4');
    ct_sample_list_free(context, &list);
    options.max_length = 0; /* prompt as a list: the answer within it is not learnt */
    assert_int_equal(ct_sft_read(context, path, bytes, &options, &list, &counts), CT_OK);
    assert_int_equal(counts.samples, 4);
    assert_int_equal(counts.targets, 14 + 20 + 1 + 13);
    ct_sample_list_free(context, &list);
    options.max_length = 30; /* the first answer loses its end */
    assert_int_equal(ct_sft_read(context, path, bytes, &options, &list, &counts), CT_OK);
    assert_int_equal(counts.truncated, 1);
    assert_int_equal(list.lengths.ids[0], 30);
    ct_sample_list_free(context, &list);
    unlink(path);
    ct_tokenizer_destroy(bytes);
    end_tensors(context);
}

static void refuse(const char *text, const char *chat, const char *part) {
    ct_context *context = start_context(1);
    char *path = jsonl(text);
    ct_tokenizer *bytes = ct_tokenizer_from_kind(context, "bytes");
    ct_sample_list list = {0};
    ct_sft_counts counts;
    ct_sft_options options = standard;
    options.chat_template = chat;
    assert_int_not_equal(ct_sft_read(context, path, bytes, &options, &list, &counts), CT_OK);
    if (!strstr(ct_context_message(context), part)) fail_msg("%s", ct_context_message(context));
    ct_context_clear(context);
    ct_sample_list_free(context, &list);
    ct_tokenizer_destroy(bytes);
    unlink(path);
    end_tensors(context);
}

static void bad_input(void **state) {
    (void)state;
    refuse("{\"messages\":[{\"role\":\"assistent\",\"content\":\"x\"}]}\n", "plain",
           "jsonl:1: turn 1: unknown role \"assistent\", expected system, user or assistant; did you mean "
           "\"assistant\"?");
    refuse("{\"messages\":[{\"role\":\"user\",\"content\":[1]}]}\n", "plain",
           "turn 1 has a list in \"content\"");
    refuse("{\"messages\":[{\"content\":\"x\"}]}\n", "plain", "turn 1 has no text in \"role\"");
    refuse("{\"text\":\"x\"}\n", "plain", "jsonl:1: expected {\"messages\"");
    refuse("{\"prompt\":\"x\",\"completion\":[]}\n", "plain", "both texts or both lists");
    refuse("{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\"}]}\n", "llama2",
           "jsonl:1: llama2:10: Conversation roles must alternate user/assistant");
    refuse("{\"messages\":[{\"role\":\"system\",\"content\":\"x\"}]}\n", "gemma",
           "System role not supported");
    refuse("{}\n", "chatm", "did you mean \"chatml\"?");
    refuse("{\"messages\":\n", "plain", "jsonl:1");
}

/* ------------------------------------------------------------------------------------------- rows */

/* Samples of the given lengths; all tokens of sample i are i + 1, only the last is learnt. */
static void make_list(ct_context *context, const int *lengths, int count, ct_sample_list *list) {
    for (int i = 0; i < count; i++) {
        for (int t = 0; t < lengths[i]; t++) {
            ct_ids_push(context, &list->ids, i + 1);
            ct_ids_push(context, &list->labels, t == lengths[i] - 1 ? i + 1 : CT_LABEL_NONE);
        }
        ct_ids_push(context, &list->lengths, lengths[i]);
    }
}

static void packing(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    static const int lengths[] = {4, 9, 6, 3, 11, 2, 5}; /* in rows of 10: 10 | 8 + 2 | 5 + 4 + 1 | 3 */
    const ct_row_options how = {10, true, false};
    ct_sample_list list = {0};
    make_list(context, lengths, 7, &list);
    ct_dataset *dataset = ct_dataset_from_samples(context, &list, 0, 7, &how);
    assert_non_null(dataset);
    assert_int_equal(ct_dataset_rows(dataset, 10), 4);
    bool seen[7] = {false};
    int64_t tokens = 0;
    for (int64_t row = 0; row < 4; row++) {
        int32_t ids[12], targets[12], segments[12];
        float shares[12];
        ct_row_counts counts = ct_dataset_row_counts(dataset, row);
        tokens += counts.tokens;
        assert_int_equal(counts.targets, counts.samples);
        assert_int_equal(ct_dataset_fill_row(context, dataset, row, 12, ids, targets, segments, shares),
                         CT_OK);
        for (int t = 0; t < 12; t++) {
            bool text = t < counts.tokens;
            assert_int_equal(segments[t] >= 0, text);
            if (!text) assert_int_equal(targets[t], CT_LABEL_NONE);
            bool ends = text && (t + 1 == counts.tokens || segments[t + 1] != segments[t]);
            assert_int_equal(targets[t] != CT_LABEL_NONE, ends);
            assert_true(shares[t] == (ends ? 1 : 0));
            if (!ends) continue;
            assert_int_equal(targets[t], ids[t]); /* never the next sample's first token */
            assert_false(seen[ids[t] - 1]);
            seen[ids[t] - 1] = true;
        }
    }
    assert_int_equal(tokens, 3 + 8 + 5 + 2 + 10 + 1 + 4);
    ct_dataset_destroy(dataset);
    ct_sample_list_free(context, &list);
    end_tensors(context);
}

static void orders(void **state) {
    (void)state;
    enum { COUNT = 700 };
    ct_context *context = start_context(1);
    static int lengths[COUNT];
    for (int i = 0; i < COUNT; i++)
        lengths[i] = 2 + i * 37 % 50;
    ct_sample_list list = {0};
    make_list(context, lengths, COUNT, &list);
    for (int grouped = 0; grouped < 2; grouped++) {
        const ct_row_options how = {60, false, grouped};
        ct_dataset *dataset = ct_dataset_from_samples(context, &list, 0, COUNT, &how);
        int changes[2] = {0, 0}, same = 0;
        for (int64_t epoch = 0; epoch < 2; epoch++) {
            bool seen[COUNT] = {false};
            int64_t before = 0;
            for (int64_t i = 0; i < COUNT; i++) {
                int64_t row = ct_dataset_drawn(context, dataset, 5, epoch * COUNT + i);
                assert_false(seen[row]);
                seen[row] = true;
                int64_t tokens = ct_dataset_row_counts(dataset, row).tokens;
                changes[epoch] += i > 0 && tokens < before;
                before = tokens;
            }
        }
        for (int64_t i = 0; i < COUNT; i++)
            same +=
                ct_dataset_drawn(context, dataset, 5, i) == ct_dataset_drawn(context, dataset, 5, COUNT + i);
        assert_true(same < 30);
        assert_true(grouped ? changes[0] <= 1
                            : changes[0] > 200); /* 512 and 188 samples in order of length */
        ct_dataset_destroy(dataset);
    }
    ct_sample_list_free(context, &list);
    end_tensors(context);
}

static void bad_rows(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    static const int lengths[] = {4, 12};
    const ct_row_options how = {10, true, false};
    ct_sample_list list = {0};
    make_list(context, lengths, 2, &list);
    assert_null(ct_dataset_from_samples(context, &list, 0, 2, &how));
    assert_non_null(strstr(ct_context_message(context), "sample 1 has 12 tokens, expected 2 to 11"));
    ct_context_clear(context);
    list.labels.ids[3] = CT_LABEL_NONE;
    assert_null(ct_dataset_from_samples(context, &list, 0, 1, &how));
    assert_non_null(strstr(ct_context_message(context), "no token that is to be learnt"));
    ct_context_clear(context);
    assert_null(ct_dataset_from_samples(context, &list, 1, 1, &how));
    ct_context_clear(context);
    ct_sample_list_free(context, &list);
    end_tensors(context);
}

static void read_all(ct_context *context, void *user) {
    ct_tokenizer *bytes = ct_tokenizer_from_kind(context, "bytes");
    ct_sample_list list = {0};
    ct_sft_counts counts;
    const ct_row_options how = {100, true, false};
    ct_sft_options options = standard;
    options.max_length = 100;
    ct_dataset *dataset = NULL;
    if (bytes && ct_sft_read(context, user, bytes, &options, &list, &counts) == CT_OK)
        dataset = ct_dataset_from_samples(context, &list, 0, (int64_t)list.lengths.count, &how);
    ct_dataset_destroy(dataset);
    ct_sample_list_free(context, &list);
    ct_tokenizer_destroy(bytes);
}

static void allocations(void **state) {
    (void)state;
    char *path = jsonl(records);
    sweep_tensors(read_all, path, 1, 4000);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(templates), cmocka_unit_test(special_tokens),
                                       cmocka_unit_test(files),     cmocka_unit_test(bad_input),
                                       cmocka_unit_test(packing),   cmocka_unit_test(orders),
                                       cmocka_unit_test(bad_rows),  cmocka_unit_test(allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
