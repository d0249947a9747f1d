/* test_example.c - the worked example of docs/adding-a-method.md: its three files as they would stand in the tree, but that
 * the method is registered in the context instead of found by the build. */
#include "../../docs/examples/method_adamax.c"
#define run claim_run
#include "../../docs/examples/method_claim.c"
#undef run
#define main example_main
#define start_context start_context_with_adamax
#include "format/check.h"
#undef start_context
static ct_context *start_context(int threads) {
    ct_context *context = start_context_with_adamax(threads);
    assert_int_equal(ct_method_register(context, "optimizer", &ct_optimizer_adamax.method), CT_OK);
    return context;
}
#include "../../docs/examples/method_test.c"
#undef main

/* The claim holds, in its own context where the method is known. */
static void claim_holds(void **state) {
    (void)state;
    ct_context *context = start_context(2);
    ct_value *result = ct_claim_perform(context, &ct_claim_adamax, &(ct_claim_settings){0});
    assert_non_null(result);
    char *text = ct_claim_result_text(context, result);
    if (ct_claim_result_verdict(result) != CT_CLAIM_HOLDS) fail_msg("%s", text);
    ct_free(context, text);
    ct_value_free(result);
    ct_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(claim_holds)};
    int failed = example_main();
    return cmocka_run_group_tests(tests, NULL, NULL) || failed;
}
