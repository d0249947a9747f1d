/* test_invariance.c - the same bits however a run is carried out: micro-batches, recomputation, memory
 * budgets, threads, instruction sets. */
#include "runs.h"
#include "tensor/cpu/isa.h"

static void micro_batches(void **state) {
    const place *p = *state;
    /* One step has 7 rows; ties, an untied head, dropout and label smoothing all take part. */
    static const char *const kinds[] = {
        "{max_steps: 5, per_device_train_batch_size: %d, gradient_accumulation_steps: 7%s}",
        "{max_steps: 5, per_device_train_batch_size: %d, gradient_accumulation_steps: 1, "
        "label_smoothing_factor: 0.1, "
        "model.resid_pdrop: 0.1, model.attn_pdrop: 0.1, model.embd_pdrop: 0.1, model.tie_word_embeddings: "
        "false%s}"};
    char more[512];
    snprintf(more, sizeof(more), kinds[0], 1, "");
    outcome one = run_recipe(p, "m1", more, false, 2);
    snprintf(more, sizeof(more),
             "{max_steps: 5, per_device_train_batch_size: 7, gradient_accumulation_steps: 1}");
    outcome all = run_recipe(p, "m7", more, false, 2);
    assert_same_run(&one, &all);
    assert_int_equal(one.report.plan.micro_batch, 1);
    assert_int_equal(all.report.plan.micro_batch, 7);
    snprintf(more, sizeof(more), kinds[1], 6, "");
    all = run_recipe(p, "d6", more, false, 2);
    assert_done(&all);
    static const int sizes[] = {1, 2, 3};
    for (size_t i = 0; i < 3; i++) {
        char output[16];
        snprintf(output, sizeof(output), "d%d", sizes[i]);
        snprintf(more, sizeof(more),
                 "{max_steps: 5, per_device_train_batch_size: %d, gradient_accumulation_steps: %d, "
                 "label_smoothing_factor: 0.1, model.resid_pdrop: 0.1, model.attn_pdrop: 0.1, "
                 "model.embd_pdrop: 0.1, "
                 "model.tie_word_embeddings: false}",
                 sizes[i], 6 / sizes[i]);
        one = run_recipe(p, output, more, false, 2);
        assert_same_run(&one, &all);
        assert_int_equal(one.report.plan.micro_batch, sizes[i]);
    }
}

/* 5 rows in micro-batches that do not divide them, which only a budget brings about. */
static void uneven_micro_batches(void **state) {
    const place *p = *state;
    static const char recipe[] =
        "{max_steps: 3, per_device_train_batch_size: 5, context: 128, model.n_embd: 64, "
        "model.n_layer: 8, save_steps: -1";
    char more[512];
    snprintf(more, sizeof(more), "%s}", recipe);
    outcome whole = run_recipe(p, "u5", more, false, 2);
    assert_done(&whole);
    assert_int_equal(whole.report.plan.micro_batch, 5);
    snprintf(more, sizeof(more), "%s, memory: 1M}", recipe);
    outcome refused = run_recipe(p, "u0", more, false, 2);
    assert_refused(&refused, CT_ERROR_MEMORY, "needs at least ");
    long long least = atoll(strstr(refused.message, "needs at least ") + strlen("needs at least "));
    bool seen[6] = {false}, recomputed = false;
    for (long long budget = least + 1; budget < least + 14;
         budget++) { /* the heap may differ by a few pages */
        char output[32];
        snprintf(output, sizeof(output), "u-%lld", budget);
        snprintf(more, sizeof(more), "%s, memory: %lldM}", recipe, budget);
        outcome o = run_recipe(p, output, more, false, 2);
        assert_same_run(&o, &whole);
        assert_true(o.report.plan.peak <= (size_t)budget << 20);
        assert_true(o.report.measured_peak <= (size_t)budget << 20);
        seen[o.report.plan.micro_batch] = true;
        recomputed |= o.report.plan.checkpoint_every > 0;
    }
    assert_true(seen[1] && (seen[2] || seen[3] || seen[4]));
    assert_true(recomputed);
}

static void recomputation(void **state) {
    const place *p = *state;
    static const char base[] =
        "{max_steps: 4, model.n_layer: 3, model.resid_pdrop: 0.2, model.attn_pdrop: 0.1";
    char more[256];
    snprintf(more, sizeof(more), "%s}", base);
    outcome plain = run_recipe(p, "r0", more, false, 2);
    for (int every = 1; every <= 3; every++) {
        char output[16];
        snprintf(output, sizeof(output), "r%d", every);
        snprintf(more, sizeof(more), "%s, gradient_checkpointing: %d}", base, every);
        outcome o = run_recipe(p, output, more, false, 2);
        assert_same_run(&o, &plain);
        assert_int_equal(o.report.plan.checkpoint_every, every);
    }
}

static void threads(void **state) {
    const place *p = *state;
    outcome one = run_recipe(p, "t1", NULL, false, 1), two = run_recipe(p, "t2", NULL, false, 2);
    outcome four = run_recipe(p, "t4", "threads: 4", false, 1);
    assert_same_run(&one, &two);
    assert_same_run(&one, &four);
    assert_true(one.report.bits_per_byte_after == four.report.bits_per_byte_after);
}

static void instruction_sets(void **state) {
    const place *p = *state;
    static const char more[] = "{max_steps: 3, max_grad_norm: 0.5, ema_decay: 0.9}";
    ct_isa best = ct_cpu_isa();
    outcome fast = run_recipe(p, "i-best", more, false, 2);
    ct_cpu_set_isa_cap(CT_ISA_AVX2);
    outcome avx2 = run_recipe(p, "i-avx2", more, false, 2);
    ct_cpu_set_isa_cap(CT_ISA_PLAIN);
    outcome plain = run_recipe(p, "i-plain", more, false, 2);
    ct_cpu_set_isa_cap(best);
    assert_same_run(&fast, &avx2);
    assert_same_run(&fast, &plain);
}

/* bf16 promises the same bits for one build on one class of CPU. */
static void bf16(void **state) {
    const place *p = *state;
    outcome one = run_recipe(p, "b1", "{bf16: true, max_steps: 4}", false, 1);
    outcome two = run_recipe(p, "b2", "{bf16: true, max_steps: 4}", false, 2);
    outcome micro = run_recipe(
        p, "b3", "{bf16: true, max_steps: 4, per_device_train_batch_size: 1, gradient_accumulation_steps: 4}",
        false, 2);
    assert_same_run(&one, &two);
    assert_same_run(&one, &micro);
}

/* The pass counter of the first norm in a run's weights. */
static int64_t passes(const place *p, const char *output) {
    ct_context *context = ct_context_create(1);
    ct_model *model = ct_model_load(context, at(p, output), CT_F32);
    ct_parameter *counter = model ? ct_model_find(model, "transformer.h.0.ln_1.iters") : NULL;
    if (!counter) fail_msg("%s", ct_context_message(context));
    double count = -1;
    ct_item(counter->tensor, &count);
    ct_model_destroy(model);
    ct_context_destroy(context);
    return (int64_t)count;
}

/* Norms over the batch: each per_device_train_batch_size rows by themselves and a pass each; with sync the
 * rows of the whole step, whatever it is cut into, and one pass. */
static void synchronised(void **state) {
    const place *p = *state;
    static const char *const norms[] = {"powernorm", "batchnorm"};
    static const char cut[] =
        "{max_steps: 3, per_device_train_batch_size: %d, gradient_accumulation_steps: %d, "
        "model.norm: {name: %s, sync: %s}}";
    for (int n = 0; n < 2; n++) {
        char more[300];
        outcome o[4];
        const struct {
            int rows, times;
            const char *sync;
        } arms[] = {{4, 1, "false"}, {2, 2, "true"}, {1, 4, "true"}, {2, 2, "false"}};
        for (int i = 0; i < 4; i++) {
            char output[16];
            snprintf(output, sizeof(output), "sync%d%d", n, i);
            snprintf(more, sizeof(more), cut, arms[i].rows, arms[i].times, norms[n], arms[i].sync);
            o[i] = run_recipe(p, output, more, false, 2);
            assert_done(&o[i]);
        }
        assert_same_run(&o[0], &o[1]);
        assert_same_run(&o[0], &o[2]);
        assert_true(o[0].report.weights_hash != o[3].report.weights_hash);
        assert_int_equal(o[2].report.plan.micro_batch, 4);
        assert_int_equal(o[3].report.plan.micro_batch, 2);
    }
    assert_int_equal(passes(p, "sync01"), 3);
    assert_int_equal(passes(p, "sync03"), 6);
    /* Ghosts of two rows are the same in micro-batches of two and four. */
    static const char ghosts[] =
        "{max_steps: 3, per_device_train_batch_size: %d, gradient_accumulation_steps: %d, "
        "model.norm: {name: ghostbn, size: 2}}";
    char whole[300], halves[300];
    snprintf(whole, sizeof(whole), ghosts, 4, 1);
    snprintf(halves, sizeof(halves), ghosts, 2, 2);
    outcome first = run_recipe(p, "ghosts4", whole, false, 2),
            second = run_recipe(p, "ghosts2", halves, false, 2);
    assert_done(&first);
    assert_done(&second);
    assert_same_run(&first, &second);
    assert_int_equal(second.report.plan.micro_batch, 2);
    /* Where the step does not fit, the refusal says who keeps it together. */
    outcome o =
        run_recipe(p, "sync-small",
                   "{memory: 12M, gradient_accumulation_steps: 32, model.n_embd: 128, model.norm: {name: "
                   "powernorm, sync: true}}",
                   false, 2);
    assert_refused(&o, CT_ERROR_MEMORY, "micro-batch 128, which h.0.ln_1 keeps together");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(micro_batches),    cmocka_unit_test(uneven_micro_batches),
        cmocka_unit_test(recomputation),    cmocka_unit_test(threads),
        cmocka_unit_test(instruction_sets), cmocka_unit_test(bf16),
        cmocka_unit_test(synchronised),
    };
    return cmocka_run_group_tests(tests, start_runs, end_runs);
}
