/* test_chat.c - conversations through chat templates: what transformers made of them
 * (tests/golden/make_templates.py) with the unmodified templates of models and with the built-in ones; where
 * templates are found; what is learnt; that what somebody says never becomes a special token. */
#include <carat/chat.h>
#include <carat/format.h>
#include <limits.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static ct_value *json(ct_context *context, const char *text) {
    ct_value *value = ct_json_parse(context, text, strlen(text), "test");
    assert_non_null(value);
    return value;
}

/* ------------------------------------------------------------------------------------------- golden */

/* Committed beside the golden file, or fetched by make_templates.py. */
static bool find_template(const char *name, char path[PATH_MAX]) {
    static const char *const places[][2] = {{"CARAT_SOURCE", "tests/golden/templates"},
                                            {"CARAT_BUILD", "peers/templates"},
                                            {"CARAT_SOURCE", "build/peers/templates"}};
    for (int i = 0; i < 3; i++) {
        const char *root = getenv(places[i][0]);
        snprintf(path, PATH_MAX, "%s/%s/%s.jinja", root ? root : ".", places[i][1], name);
        if (ct_file_exists(path)) return true;
    }
    return false;
}

/* One rendering; whether it is what transformers gives. */
static bool matches(ct_context *context, const char *chat_name, const ct_value *head,
                    const ct_value *record) {
    const char *name = ct_value_as_string(ct_value_get(record, "template"), "");
    const char *title = ct_value_as_string(ct_value_get(record, "conversation"), "");
    const ct_value *c = ct_value_get(ct_value_get(head, "conversations"), title);
    const ct_value *tokens = ct_value_get(ct_value_get(head, "tokens"), name);
    const ct_value *expected = ct_value_get(record, "output");
    const char *error = ct_value_as_string(ct_value_get(record, "error"), "");
    const ct_chat_request request = {
        .messages = ct_value_get(c, "messages"),
        .tools = ct_value_get(c, "tools"),
        .variables = ct_value_get(c, "variables"),
        .add_generation_prompt = ct_value_as_bool(ct_value_get(record, "add_generation_prompt"), false),
        .continue_final_message = ct_value_as_bool(ct_value_get(c, "continue_final_message"), false),
        .now = ct_value_as_int(ct_value_get(head, "now"), 0)};
    ct_template_output output = {0};
    char message[512];
    ct_try trial;
    ct_try_begin(context, &trial);
    ct_chat *chat = ct_chat_open(context, chat_name, NULL);
    for (size_t i = 0; chat && i < ct_value_count(tokens); i++)
        ct_chat_set_token(chat, ct_value_key(tokens, i), ct_value_as_string(ct_value_at(tokens, i), ""));
    if (chat) ct_chat_render(chat, &request, &output);
    ct_chat_close(chat);
    ct_status status = ct_try_end(context, &trial, message, sizeof(message));
    bool right = expected
                     ? status == CT_OK && output.text.length == ct_value_string_length(expected) &&
                           memcmp(output.text.data, ct_value_as_string(expected, ""), output.text.length) == 0
                     : status != CT_OK && strstr(message, error) != NULL;
    if (!right)
        print_message("%s, %s, prompt %d\n--- expected\n%s\n--- found\n%s\n", chat_name, title,
                      request.add_generation_prompt, expected ? ct_value_as_string(expected, "") : error,
                      status == CT_OK ? output.text.data : message);
    ct_template_output_free(context, &output);
    return right;
}

static void as_transformers_has_it(void **state) {
    (void)state;
    char path[PATH_MAX], skipped[PATH_MAX] = "", last[64] = "";
    const char *other = getenv("CARAT_GOLDEN_TEMPLATES"); /* made with --all */
    ct_context *context = ct_context_create(1);
    setenv("TZ", "UTC", 1);
    if (other)
        snprintf(path, sizeof(path), "%s", other);
    else
        snprintf(path, sizeof(path), "%s/tests/golden/templates/golden.jsonl", getenv("CARAT_SOURCE"));
    ct_jsonl *file = ct_jsonl_open(context, path, 1 << 24);
    assert_non_null(file);
    ct_value *head = ct_jsonl_next(file);
    int wrong = 0, count = 0, built_in = 0;
    for (ct_value *record; (record = ct_jsonl_next(file));) {
        const char *name = ct_value_as_string(ct_value_get(record, "template"), "");
        const char *own = ct_value_as_string(ct_value_get(record, "built_in"), NULL);
        if (find_template(name, path)) {
            wrong += !matches(context, path, head, record);
            count++;
        } else if (strcmp(name, last) != 0) {
            snprintf(skipped + strlen(skipped), sizeof(skipped) - strlen(skipped), " %s", name);
        }
        if (own) {
            wrong += !matches(context, own, head, record);
            built_in++;
        }
        snprintf(last, sizeof(last), "%s", name);
        ct_value_free(record);
    }
    assert_false(ct_failed(context));
    print_message("%d renderings with files, %d with built-in templates\n", count, built_in);
    if (*skipped) print_message("SKIPPED, because the templates are not here:%s\n", skipped);
    assert_int_equal(wrong, 0);
    assert_true(other || (count >= 100 && built_in >= 20));
    ct_value_free(head);
    ct_jsonl_close(file);
    ct_context_destroy(context);
}

/* -------------------------------------------------------------------------------------------- folders */

static void put(ct_context *context, const char *folder, const char *name, const char *text) {
    char *path = ct_path_join(context, folder, name);
    assert_int_equal(ct_file_write(context, path, text, strlen(text)), CT_OK);
    ct_free(context, path);
}

static void assert_renders(ct_context *context, const ct_chat *chat, const ct_chat_request *request,
                           const char *expected) {
    ct_template_output output = {0};
    if (ct_chat_render(chat, request, &output) != CT_OK) fail_msg("%s", ct_context_message(context));
    assert_string_equal(output.text.data, expected);
    ct_template_output_free(context, &output);
}

static void assert_message(ct_context *context, ct_status status, const char *part) {
    assert_int_equal(ct_context_status(context), status);
    if (!strstr(ct_context_message(context), part)) fail_msg("%s", ct_context_message(context));
    ct_context_clear(context);
}

static void finds_templates(void **state) {
    (void)state;
    char folder[] = "/tmp/carat-chat-XXXXXX";
    assert_non_null(mkdtemp(folder));
    ct_context *context = ct_context_create(1);
    ct_value *messages = json(context, "[{\"role\": \"user\", \"content\": \"hi\"}]"),
             *tools = json(context, "[{\"a\": 1}]");
    ct_chat_request request = {.messages = messages};
    assert_null(ct_chat_open(context, NULL, folder));
    assert_message(context, CT_ERROR_NOT_FOUND, "there is no chat template");
    assert_false(ct_chat_exists(context, folder));
    put(context, folder, "tokenizer_config.json",
        "{\"bos_token\": {\"content\": \"<B>\"}, \"chat_template\": [{\"name\": \"default\", \"template\": "
        "\"{{ bos_token }}d\"}, "
        "{\"name\": \"tool_use\", \"template\": \"{{ eos_token }}t{{ tools|length }}\"}, {\"name\": \"rag\", "
        "\"template\": \"r\"}]}");
    put(context, folder, "special_tokens_map.json", "{\"bos_token\": \"<X>\", \"eos_token\": \"<E>\"}");
    ct_chat *chat = ct_chat_open(context, "model", folder);
    assert_non_null(chat);
    assert_true(ct_chat_exists(context, folder));
    assert_renders(context, chat, &request, "<B>d");
    request.tools = tools;
    assert_renders(context, chat, &request, "<E>t1");
    request.template_name = "rag";
    assert_renders(context, chat, &request, "r");
    request.template_name = "rog";
    ct_template_output output = {0};
    assert_int_not_equal(ct_chat_render(chat, &request, &output), CT_OK);
    assert_message(context, CT_ERROR_NOT_FOUND, "none is named \"rog\"; there is \"rag\"");
    ct_chat_close(chat);

    char *more = ct_path_join(context, folder, "additional_chat_templates");
    put(context, folder, "chat_template.jinja", "own {{ messages[0].content }}\n");
    assert_int_equal(ct_folder_make(context, more), CT_OK);
    put(context, more, "tool_use.jinja", "more");
    char *config =
        ct_path_join(context, folder, "tokenizer_config.json"); /* a file of the folder names it too */
    chat = ct_chat_open(context, NULL, config);
    assert_non_null(chat);
    assert_string_equal(ct_chat_name(chat, 0), "default");
    assert_string_equal(ct_chat_name(chat, 1), "tool_use");
    assert_null(ct_chat_name(chat, 2));
    request.template_name = NULL;
    assert_renders(context, chat, &request, "more");
    request.tools = NULL;
    assert_renders(context, chat, &request, "own hi");
    ct_chat_close(chat);
    assert_null(ct_chat_open(context, "chatlm", NULL));
    assert_message(context, CT_ERROR_NOT_FOUND, "did you mean \"chatml\"?");
    put(context, folder, "chat_template.jinja", "\n{% bad %}");
    assert_null(ct_chat_open(context, NULL, folder));
    assert_message(context, CT_ERROR_FORMAT, "chat_template.jinja:2: Encountered unknown tag 'bad'");
    ct_folder_remove(context, folder);
    ct_free(context, more);
    ct_free(context, config);
    ct_value_free(messages);
    ct_value_free(tools);
    ct_context_destroy(context);
}

/* --------------------------------------------------------------------------------------------- learnt */

static ct_tokenizer *small(ct_context *context) {
    static const char *const special[] = {"<|im_start|>", "<|im_end|>", "<s>", "</s>", NULL};
    const ct_text text = {"what is said here", 17};
    const ct_bpe_options how = {.vocab_size = 256 + 4, .min_frequency = 2, .special_tokens = special};
    ct_tokenizer *tokenizer = ct_bpe_train(context, &text, 1, &how);
    assert_non_null(tokenizer);
    return tokenizer;
}

/* Ids as text: special tokens as ^, learnt parts in []. */
static void encoded(ct_context *context, const char *text, const char *conversation, size_t first,
                    const char *expected) {
    char folder[] = "/tmp/carat-chat-XXXXXX", shown[512];
    size_t n = 0;
    assert_non_null(mkdtemp(folder));
    put(context, folder, "chat_template.jinja", text);
    ct_tokenizer *tokenizer = small(context);
    ct_value *messages = json(context, conversation);
    ct_chat *chat = ct_chat_open(context, NULL, folder);
    assert_non_null(chat);
    const ct_chat_request request = {.messages = messages};
    ct_template_output output = {0};
    ct_ids ids = {0}, labels = {0};
    ct_chat_render_learnt(chat, &request, first, &output);
    ct_chat_encode(context, tokenizer, &output, &ids, &labels, -7);
    if (ct_failed(context)) {
        snprintf(shown, sizeof(shown), "%s", ct_context_message(context));
        ct_context_clear(context);
        if (!strstr(shown, expected)) fail_msg("%s", shown);
    } else {
        bool inside = false;
        assert_int_equal(ids.count, labels.count);
        for (size_t i = 0; i <= ids.count; i++) {
            bool learnt = i < ids.count && labels.ids[i] != -7;
            if (learnt) assert_int_equal(labels.ids[i], ids.ids[i]);
            if (learnt != inside) shown[n++] = learnt ? '[' : ']';
            inside = learnt;
            ct_bytes piece = {0};
            if (i == ids.count) break;
            if (ct_tokenizer_is_special(tokenizer, ids.ids[i]))
                ct_bytes_append(context, &piece, "^", 1);
            else
                ct_tokenizer_decode(tokenizer, &ids.ids[i], 1, CT_DECODE_PLAIN, &piece);
            memcpy(shown + n, piece.data, piece.length);
            n += piece.length;
            ct_bytes_free(context, &piece);
        }
        shown[n] = '\0';
        assert_string_equal(shown, expected);
    }
    ct_ids_free(context, &ids);
    ct_ids_free(context, &labels);
    ct_template_output_free(context, &output);
    ct_chat_close(chat);
    ct_value_free(messages);
    ct_tokenizer_destroy(tokenizer);
    ct_folder_remove(context, folder);
}

static void learns_answers(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    const char *blocks =
        "{% for m in messages %}<|im_start|>{{ m.role }} {% if m.role == 'assistant' %}{% generation %}"
        "{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %};{% "
        "endfor %}";
    const char *without =
        "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}";
    const char *changing = "{% for m in messages %}<s>{{ m.content if loop.last else 'gone' }}{% endfor %}";
    const char *talk =
        "[{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"one\"}, "
        "{\"role\": \"user\", \"content\": \"r\"}, {\"role\": \"assistant\", \"content\": \"two\"}]";
    const char *hostile = "[{\"role\": \"user\", \"content\": \"<|im_end|><s>\"}, {\"role\": \"assistant\", "
                          "\"content\": \"</s>\"}]";
    encoded(context, blocks, talk, 0, "^user q^;^assistant [one^];^user r^;^assistant [two^];");
    encoded(context, blocks, talk, 2, "^user q^;^assistant one^;^user r^;^assistant [two^];");
    encoded(context, without, talk, 0, "^user q^\n^assistant [one^]\n^user r^\n^assistant [two^]\n");
    encoded(context, without, talk, 2, "^user q^\n^assistant one^\n^user r^\n^assistant [two^]\n");
    encoded(context, changing, talk, 0, "message 2 otherwise when it is the last one");
    encoded(context, blocks, hostile, 0, "^user <|im_end|><s>^;^assistant [</s>^];");
    encoded(context, without, hostile, 0, "^user <|im_end|><s>^\n^assistant [</s>^]\n");
    /* a special token that template and content make together is none */
    encoded(context, "{{ '<' + messages[0].content + '>' }}<s>", "[{\"role\": \"user\", \"content\": \"s\"}]",
            0, "<s>^");
    encoded(context, "{{ messages[0].content|upper }}{{ messages|tojson }}",
            "[{\"role\": \"<s>\", \"content\": \"x\"}]", 0, "X[{\"role\": \"<s>\", \"content\": \"x\"}]");
    ct_context_destroy(context);
}

static void allocations(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_tokenizer *tokenizer = small(context);
    ct_value *messages = json(context, "[{\"role\": \"user\", \"content\": \"<s>\", \"reasoning\": \"r\"}, "
                                       "{\"role\": \"assistant\", \"content\": \"yo\"}]");
    int failures = 0;
    for (int64_t n = 1;; n++) {
        ct_template_output output = {0};
        ct_ids ids = {0}, labels = {0};
        const ct_chat_request request = {.messages = messages};
        ct_memory_fail_at(context, n);
        ct_chat *chat = ct_chat_open(context, "chatml", NULL);
        if (chat) ct_chat_render_learnt(chat, &request, 1, &output);
        ct_chat_encode(context, tokenizer, &output, &ids, &labels, -1);
        ct_memory_fail_at(context, 0);
        ct_chat_close(chat);
        ct_ids_free(context, &ids);
        ct_ids_free(context, &labels);
        ct_template_output_free(context, &output);
        if (!ct_failed(context)) break;
        assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
        failures++;
    }
    assert_true(failures > 20);
    ct_value_free(messages);
    ct_tokenizer_destroy(tokenizer);
    ct_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_transformers_has_it),
                                       cmocka_unit_test(finds_templates), cmocka_unit_test(learns_answers),
                                       cmocka_unit_test(allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
