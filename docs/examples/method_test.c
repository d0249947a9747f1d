/* test_adamax.c - Adamax against numbers that PyTorch gave for the same three steps. That states are saved
 * and resumed, masked, stored in 8 bits, and that threads do not change bits is tested for all optimizers in
 * test_all.c. */
#include "optimizer/parameters.h"

static void three_steps(void **state) {
    (void)state;
    static const float start[] = {0.5f, -1.0f, 0.25f, 2.0f, 0.125f, -0.75f};
    static const float slope[] = {1.0f, -0.5f, 0.25f, -2.0f, 0.75f, 3.0f};
    static const double expected[] = {0.301678926, -0.847128391,  0.0334167965,
                                      2.18285441,  -0.0752671883, -0.944543898};
    ct_context *context = start_context(2);
    ct_scope scope = ct_scope_open(context);
    ct_parameter p = make_shaped(context, "w", CT_DIMS(2, 3), start);
    ct_optimizer *optimizer = make_optimizer(context, "adamax", NULL);
    ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1, 0});
    for (int step = 0; step < 3; step++) {
        float g[6];
        for (int i = 0; i < 6; i++)
            g[i] = slope[i] * (step % 2 == 0 ? 1.0f : -0.25f) + 0.125f * (float)step;
        set_gradient(&p, g);
        assert_int_equal(ct_optimizer_step(optimizer, 0.1, 1), CT_OK);
    }
    assert_all_near(&p, expected, 1e-6);
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(three_steps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
