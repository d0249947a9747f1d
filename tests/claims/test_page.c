/* test_page.c - results as JSON, as text and as a page: everything is there, and well-formed whatever the
 * words are. */
#include "run.h"
#include <ctype.h>

static const char nasty[] = "a < b & \"c\" > </table> 'd' \xe2\x89\xa5";

static ct_status everything(ct_claim_run *run) {
    const ct_claim_column columns[] = {{"accuracy", "%", 1}, {nasty, NULL, -1}};
    const double first[] = {94.25, NAN}, paper[] = {95, NAN}, second[] = {INFINITY, 1e-5};
    double x[500], y[500];
    for (int i = 0; i < 500; i++) {
        x[i] = i + 1;
        y[i] = i % 7 == 3 ? NAN : sin(i);
    }
    int table = ct_claim_table(run, nasty, columns, 2);
    ct_claim_row(run, table, "ours", first, paper);
    ct_claim_row(run, table, nasty, second, NULL);
    int plot = ct_claim_plot(run, nasty, "step <s>", true, "loss & more", false);
    ct_claim_series(run, plot, nasty, x, y, 500);
    ct_claim_series(run, plot, "dot", x, y, 1);
    int empty = ct_claim_plot(run, "nothing finite", "x", false, "y", false);
    const double nan = NAN;
    ct_claim_series(run, empty, "hole", &nan, &nan, 1);
    ct_claim_note(run, "Note %s", nasty);
    ct_claim_check(run, nasty, NAN, CT_LESS, 3);
    return ct_claim_check_mean(run, "mean", first, 1, CT_BY_MEAN, CT_GREATER, 1);
}

static ct_value *summary_of(ct_context *context) {
    ct_value *list = ct_value_list(context);
    ct_value_append(list, perform(context, everything, 2));
    const ct_claim claim = {
        .abi = CT_CLAIM_ABI, .name = "broken", .sentence = nasty, .reported = nasty, .paper = nasty};
    ct_value_append(list, ct_claim_failure(context, &claim, nasty));
    return ct_claim_summary(context, list);
}

static void test_json(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_value *summary = summary_of(context);
    size_t length;
    char *text = ct_json_text(context, summary, CT_JSON_PRETTY | CT_JSON_STRICT, &length);
    ct_value *again = ct_json_parse(context, text, length, "summary");
    assert_non_null(again);
    assert_true(number(again, "counts.failed") == 1 && number(again, "counts.does_not_hold") == 1);
    const ct_value *result = ct_claim_result_named(again, "test");
    assert_non_null(result);
    assert_string_equal(verdict_of(result), "DOES NOT HOLD");
    assert_string_equal(ct_value_as_string(ct_value_get_path(result, "tables.0.title"), ""), nasty);
    assert_true(number(result, "tables.0.rows.0.values.0") == 94.25);
    assert_int_equal(ct_value_kind_of(ct_value_get_path(result, "tables.0.rows.1.values.0")), CT_VALUE_NULL);
    assert_int_equal(ct_value_count(ct_value_get_path(result, "plots.0.series.0.x")), 200);
    assert_true(number(result, "plots.0.series.0.x.0") == 1 &&
                number(result, "plots.0.series.0.x.199") == 500);
    assert_null(ct_claim_result_named(again, "tes"));
    ct_value_free(again);
    ct_value_free(summary);
    ct_free(context, text);
    end_claims(context);
}

/* A small checker of what an XML parser would check: tags nest, attributes are quoted, & begins an entity,
 * identifiers differ and references lead to one. `style` holds no tags. */
static void check_markup(const char *text) {
    char stack[64][32];
    int depth = 0;
    for (const char *at = strstr(text, "<html"); *at;) {
        if (*at == '&') {
            assert_true(!strncmp(at, "&amp;", 5) || !strncmp(at, "&lt;", 4) || !strncmp(at, "&gt;", 4) ||
                        !strncmp(at, "&quot;", 6));
            at++;
            continue;
        }
        if (*at != '<') {
            assert_true(*at != '>' || (depth && strcmp(stack[depth - 1], "style") == 0));
            at++;
            continue;
        }
        bool closing = at[1] == '/';
        char name[32] = "";
        at += closing ? 2 : 1;
        for (size_t n = 0; isalnum((unsigned char)*at) && n < 31; at++)
            name[n++] = *at;
        assert_true(*name != 0);
        bool quoted = false;
        for (; *at && (quoted || *at != '>'); at++) {
            if (*at == '"') quoted = !quoted;
            assert_true(*at != '<');
        }
        assert_true(*at == '>' && !quoted);
        if (closing) {
            assert_true(depth > 0);
            assert_string_equal(stack[--depth], name);
        } else if (at[-1] != '/') {
            assert_true(depth < 64);
            strcpy(stack[depth++], name);
        }
        at++;
    }
    assert_int_equal(depth, 0);
}

static int count_of(const char *text, const char *part) {
    int count = 0;
    for (const char *at = text; (at = strstr(at, part)); at++)
        count++;
    return count;
}

static void test_page(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    char folder[256];
    make_folder(folder, sizeof(folder));
    ct_value *summary = summary_of(context);
    char *path = ct_path_join(context, folder, "claims.html");
    assert_int_equal(ct_claim_write_page(context, summary, path), CT_OK);
    char *page = ct_file_read(context, path, 1 << 22, NULL);
    assert_non_null(page);
    check_markup(page);
    assert_int_equal(count_of(page, "</svg>"), 1); /* the plot without a finite point is left out */
    assert_non_null(strstr(page, "id=\"c0-0-clip1\""));
    assert_non_null(strstr(page, "url(#c0-0-clip1)"));
    assert_non_null(strstr(page, "DOES NOT HOLD"));
    assert_non_null(strstr(page, "94.2 <span class=\"paper\">(paper 95.0)</span>"));
    assert_non_null(strstr(page, "a &lt; b &amp; &quot;c&quot; &gt; &lt;/table&gt;"));
    assert_null(strstr(page, "http://www.w3.org/1999")); /* no other file, no script */
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "src="));
    ct_free(context, page);
    ct_free(context, path);
    ct_value_free(summary);
    ct_folder_remove(context, folder);
    end_claims(context);
}

static void test_page_failures(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_value *summary = summary_of(context);
    assert_int_equal(ct_claim_write_page(context, summary, "/nowhere/claims.html"), CT_ERROR_NOT_FOUND);
    ct_context_clear(context);
    for (int64_t n = 1; n < 300; n++) {
        ct_memory_fail_at(context, n);
        char *text = ct_claim_result_text(context, ct_value_get_path(summary, "claims.0"));
        ct_memory_fail_at(context, 0);
        assert_true((text == NULL) == ct_failed(context));
        ct_free(context, text);
        ct_context_clear(context);
    }
    ct_value_free(summary);
    end_claims(context);
}

static void test_text(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_value *summary = summary_of(context);
    char *text = ct_claim_result_text(context, ct_value_get_path(summary, "claims.0"));
    assert_non_null(strstr(text, "94.2 (95.0)"));
    assert_non_null(strstr(text, "[NO] a < b"));
    assert_non_null(strstr(text, "[ok] mean"));
    assert_non_null(strstr(text, "test DOES NOT HOLD"));
    ct_free(context, text);
    text = ct_claim_result_text(context, ct_value_get_path(summary, "claims.1"));
    assert_non_null(strstr(text, "broken FAILED: a < b"));
    ct_free(context, text);
    ct_value_free(summary);
    end_claims(context);
}

/* Where recorded results are searched, and results about a method. */
static void test_last_results(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    char folder[256];
    make_folder(folder, sizeof(folder));
    char *path = ct_path_join(context, folder, "claims.json");
    static const char text[] =
        "{\"claims\": [{\"name\": \"a\", \"methods\": [\"optimizer/adamp\", \"optimizer/sgdp\"]},"
        "{\"name\": \"b\", \"methods\": [\"norm/adamp\"]}, {\"name\": \"c\", \"methods\": "
        "[\"optimizer/adamp\"]}]}";
    ct_file_write(context, path, text, sizeof(text) - 1);
    setenv("CARAT_CLAIMS", path, 1);
    ct_value *results = ct_claim_last_results(context);
    size_t at = 0;
    assert_string_equal(
        ct_value_as_string(ct_value_get(ct_claim_result_for(results, "optimizer", "adamp", &at), "name"), ""),
        "a");
    assert_string_equal(
        ct_value_as_string(ct_value_get(ct_claim_result_for(results, "optimizer", "adamp", &at), "name"), ""),
        "c");
    assert_null(ct_claim_result_for(results, "optimizer", "adamp", &at));
    at = 0;
    assert_null(ct_claim_result_for(results, "optim", "izer/adamp", &at));
    ct_value_free(results);
    setenv("CARAT_CLAIMS", "/nowhere/claims.json", 1);
    assert_null(ct_claim_last_results(context));
    assert_fails_with(context, CT_ERROR_NOT_FOUND, "/nowhere/claims.json");
    unsetenv("CARAT_CLAIMS");
    ct_free(context, path);
    ct_folder_remove(context, folder);
    end_claims(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_json), cmocka_unit_test(test_page),
                                       cmocka_unit_test(test_page_failures), cmocka_unit_test(test_text),
                                       cmocka_unit_test(test_last_results)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
