/* test_memory.c - size classes, accounts, cache, budget, injected failures. */
#include "check.h"
#include <math.h>

static void size_classes(void **state) {
    (void)state;
    assert_int_equal(ct_memory_rounded(0), 64);
    assert_int_equal(ct_memory_rounded(1), 64);
    assert_int_equal(ct_memory_rounded(64), 64);
    assert_int_equal(ct_memory_rounded(65), 128);
    assert_int_equal(ct_memory_rounded(512), 512);
    assert_int_equal(ct_memory_rounded(513), 576);   /* 512 + 512/8 */
    assert_int_equal(ct_memory_rounded(1025), 1152); /* 1024 + 1024/8 */
    assert_int_equal(ct_memory_rounded(1 << 20), 1 << 20);
    assert_int_equal(ct_memory_rounded((1 << 20) + 1), (1 << 20) + (1 << 16)); /* 1/16 steps above 1 MiB */
    assert_int_equal(ct_memory_rounded((size_t)3 << 30), (size_t)3 << 30);
    size_t previous = 0;
    for (size_t size = 1; size < (size_t)1 << 40; size += size / 37 + 1) {
        size_t rounded = ct_memory_rounded(size);
        assert_true(rounded >= size && rounded >= previous && rounded % 64 == 0);
        assert_int_equal(ct_memory_rounded(rounded), rounded);
        if (size >= 512) assert_true((rounded - size) * 8 <= rounded); /* at most an eighth is lost */
        previous = rounded;
    }
}

static void accounts(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_memory_counts counts;
    void *weights = ct_alloc(context, 1000, CT_MEMORY_WEIGHTS);       /* 1024 */
    void *activation = ct_alloc(context, 100, CT_MEMORY_ACTIVATIONS); /* 128 */
    ct_memory_read(context, &counts);
    assert_int_equal(counts.current[CT_MEMORY_WEIGHTS], 1024);
    assert_int_equal(counts.current[CT_MEMORY_ACTIVATIONS], 128);
    assert_int_equal(counts.current_total, 1152);
    assert_int_equal(counts.peak_total, 1152);
    ct_free(context, weights);
    void *gradient = ct_alloc(context, 300, CT_MEMORY_GRADIENTS); /* 320 */
    ct_memory_read(context, &counts);
    assert_int_equal(counts.current[CT_MEMORY_WEIGHTS], 0);
    assert_int_equal(counts.peak[CT_MEMORY_WEIGHTS], 1024);
    assert_int_equal(counts.current_total, 448);
    assert_int_equal(counts.peak_total, 1152);
    assert_int_equal(counts.at_peak[CT_MEMORY_WEIGHTS], 1024);
    assert_int_equal(counts.at_peak[CT_MEMORY_GRADIENTS], 0);
    if (!UNDER_ASAN) assert_int_equal(counts.cached, 1024);
    ct_memory_reclass(context, gradient, CT_MEMORY_STATES);
    ct_memory_reset_peak(context);
    ct_memory_read(context, &counts);
    assert_int_equal(counts.current[CT_MEMORY_STATES], 320);
    assert_int_equal(counts.current[CT_MEMORY_GRADIENTS], 0);
    assert_int_equal(counts.peak_total, 448);
    assert_int_equal(counts.peak[CT_MEMORY_WEIGHTS], 0);
    ct_memory_count(context, 1 << 20, CT_MEMORY_WEIGHTS); /* as the meta device does */
    ct_memory_uncount(context, 1 << 20, CT_MEMORY_WEIGHTS);
    ct_memory_read(context, &counts);
    assert_int_equal(counts.peak_total, 448 + (1 << 20));
    assert_int_equal(counts.at_peak[CT_MEMORY_WEIGHTS], 1 << 20);
    assert_int_equal(counts.current_total, 448);
    ct_free(context, activation);
    ct_free(context, gradient);
    ct_free(context, NULL);
    end_context(context);
}

static void blocks_are_aligned_and_distinct(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    enum { COUNT = 60 };
    unsigned char *blocks[COUNT];
    size_t sizes[COUNT];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            sizes[i] = i == 0 ? 0 : (size_t)1 << (i % 24);
            sizes[i] += (size_t)i;
            blocks[i] = ct_alloc(context, sizes[i], CT_MEMORY_OTHER);
            assert_non_null(blocks[i]);
            assert_int_equal((uintptr_t)blocks[i] % 64, 0);
            memset(blocks[i], i + 1, sizes[i]);
        }
        for (int i = 0; i < COUNT; i++) {
            for (size_t k = 0; k < sizes[i]; k += 97)
                assert_int_equal(blocks[i][k], i + 1);
            ct_free(context, blocks[i]);
        }
    }
    unsigned char *zeros =
        ct_alloc_zero(context, (1 << 20) + 5, CT_MEMORY_OTHER); /* from the cache: was written */
    for (size_t k = 0; k < (1 << 20) + 5; k++)
        assert_int_equal(zeros[k], 0);
    ct_free(context, zeros);
    end_context(context);
}

static void hot_loop_stays_off_the_system(void **state) {
    (void)state;
    if (UNDER_ASAN) skip();
    ct_context *context = start_context(1);
    const size_t sizes[] = {48, 768 * 4, 64 * 768 * 4, 5 << 20, 17 << 20};
    ct_memory_counts first, last;
    for (int step = 0; step < 50; step++) {
        void *blocks[5];
        for (int i = 0; i < 5; i++)
            blocks[i] = ct_alloc(context, sizes[i], CT_MEMORY_ACTIVATIONS);
        for (int i = 0; i < 5; i++)
            ct_free(context, blocks[i]);
        if (step == 0) ct_memory_read(context, &first);
    }
    ct_memory_read(context, &last);
    assert_true(first.system_allocations >= 1 && first.system_allocations <= 5);
    assert_int_equal(last.system_allocations, first.system_allocations);
    assert_true(last.cached >= last.peak_total && last.cached <= last.peak_total + 4 * 704); /* headers and gaps */
    ct_memory_trim(context);
    ct_memory_read(context, &last);
    assert_int_equal(last.cached, 0);
    end_context(context);
}

static void freed_large_blocks_go_back(void **state) {
    (void)state;
    if (UNDER_ASAN) skip();
    ct_context *context = start_context(1);
    size_t size = 64 << 20, before = ct_anonymous_resident();
    char *block = ct_alloc(context, size, CT_MEMORY_WEIGHTS);
    memset(block, 1, size);
    assert_true(ct_anonymous_resident() >= before + size - (1 << 20));
    ct_free(context, block);
    ct_memory_trim(context);
    assert_true(ct_anonymous_resident() <= before + (8 << 20));
    end_context(context);
}

/* Sizes that change all the time must not pile up in the cache: at most 1.25 times the peak use plus 64 MiB.
 */
static void cache_is_bounded(void **state) {
    (void)state;
    if (UNDER_ASAN) skip();
    ct_context *context = start_context(1);
    ct_memory_counts counts;
    for (int i = 0; i < 400; i++) {
        ct_free(context, ct_alloc(context, (size_t)(20 << 20) + (size_t)i * (2 << 20), CT_MEMORY_OTHER));
        ct_memory_read(context, &counts);
        assert_true(counts.cached <= counts.peak_total + counts.peak_total / 4 + (64 << 20));
    }
    end_context(context);
}

/* Large blocks of changing sizes share segments: none overlaps another, whatever was split, joined and trimmed. */
static void large_blocks_never_overlap(void **state) {
    (void)state;
    enum { BLOCKS = 60 };
    ct_context *context = start_context(1);
    ct_random random = ct_random_make(7, 1);
    uint32_t *blocks[BLOCKS] = {NULL};
    size_t words[BLOCKS] = {0}, in_use = 0, most = 0;
    ct_memory_counts counts;
    for (uint32_t turn = 1; turn <= 3000; turn++) {
        int i = (int)(ct_random_uniform(&random) * BLOCKS);
        if (blocks[i]) {
            for (size_t at = 0; at < words[i]; at += at + 257 < words[i] ? 257 : words[i] - at)
                assert_int_equal(blocks[i][at], words[i]);
            assert_int_equal(blocks[i][words[i] - 1], words[i]);
            ct_free(context, blocks[i]);
            blocks[i] = NULL;
            in_use -= words[i] * 4;
        } else {
            words[i] = 1 + (size_t)(exp(8 + 9 * ct_random_uniform(&random)) / 4);
            bool zero = turn % 3 == 0;
            blocks[i] = (zero ? ct_alloc_zero : ct_alloc)(context, words[i] * 4, CT_MEMORY_OTHER);
            assert_non_null(blocks[i]);
            for (size_t at = 0; at < words[i]; at++) {
                if (zero) assert_int_equal(blocks[i][at], 0);
                blocks[i][at] = (uint32_t)words[i];
            }
            in_use += words[i] * 4;
            if (in_use > most) most = in_use;
        }
        if (turn % 500 == 0) ct_memory_trim(context);
    }
    ct_memory_read(context, &counts);
    if (!UNDER_ASAN) assert_true(counts.current_total + counts.cached <= most + most / 2);
    for (int i = 0; i < BLOCKS; i++)
        ct_free(context, blocks[i]);
    ct_memory_trim(context);
    ct_memory_read(context, &counts);
    assert_int_equal(counts.current_total, 0);
    assert_int_equal(counts.cached, 0);
    end_context(context);
}

/* Freed large blocks stay in the cache only up to the limit; allocations above it still work. */
static void cache_limit_is_kept(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_memory_counts counts;
    ct_memory_set_cache_limit(context, 8 << 20);
    void *blocks[6];
    for (int i = 0; i < 6; i++) {
        blocks[i] = ct_alloc(context, (size_t)(3 + i) << 20, CT_MEMORY_OTHER);
        assert_non_null(blocks[i]);
    }
    for (int i = 0; i < 6; i++)
        ct_free(context, blocks[i]);
    ct_memory_read(context, &counts);
    assert_true(counts.current_total + counts.cached <= (size_t)8 << 20);
    void *other = ct_alloc(context, (size_t)2500 << 10, CT_MEMORY_OTHER); /* another size class */
    ct_memory_read(context, &counts);
    assert_true(counts.current_total + counts.cached <= (size_t)8 << 20);
    ct_free(context, other);
    ct_context_destroy(context);
}

static void budget_is_kept(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_memory_counts counts;
    ct_memory_set_budget(context, 10 << 20);
    assert_int_equal(ct_memory_budget(context), 10 << 20);
    void *a = ct_alloc(context, 4 << 20, CT_MEMORY_WEIGHTS);
    ct_free(context, ct_alloc(context, 5 << 20, CT_MEMORY_WORKSPACE));
    void *b = ct_alloc(context, 3 << 20, CT_MEMORY_WEIGHTS); /* the 5 MiB in the cache have to go */
    assert_non_null(b);
    ct_memory_read(context, &counts);
    assert_true(counts.current_total + counts.cached <= 10 << 20);
    assert_int_equal(counts.current_total, 7 << 20);
    assert_null(ct_alloc(context, 4 << 20, CT_MEMORY_WEIGHTS));
    assert_fails(
        context, CT_ERROR_MEMORY,
        "out of memory (the budget is used up): 4.00 MiB asked for, 7.00 MiB in use, budget 10.00 MiB");
    assert_null(ct_realloc(context, a, 8 << 20, CT_MEMORY_WEIGHTS)); /* and `a` is still there */
    ct_context_clear(context);
    memset(a, 1, 4 << 20);
    ct_memory_count(context, 1 << 30, CT_MEMORY_WEIGHTS); /* not real bytes: the budget does not mind */
    void *c = ct_alloc(context, 1 << 20, CT_MEMORY_OTHER);
    assert_non_null(c);
    ct_memory_uncount(context, 1 << 30, CT_MEMORY_WEIGHTS);
    ct_free(context, a);
    ct_free(context, b);
    ct_free(context, c);
    ct_memory_set_budget(context, 1 << 20);
    ct_memory_read(context, &counts);
    assert_true(counts.cached <= 1 << 20);
    ct_memory_set_budget(context, 0);
    end_context(context);
}

static void impossible_sizes(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    assert_null(ct_alloc(context, SIZE_MAX, CT_MEMORY_OTHER));
    assert_fails_with(context, CT_ERROR_MEMORY, "larger than any block");
    assert_null(ct_alloc_zero(context, SIZE_MAX / 2, CT_MEMORY_OTHER));
    assert_fails_with(context, CT_ERROR_MEMORY, "out of memory");
    if (!UNDER_ASAN) { /* within the classes, but not within the machine's address space */
        void *blocks[16];
        int got = 0;
        while (got < 16 && (blocks[got] = ct_alloc(context, (size_t)60 << 40, CT_MEMORY_OTHER)))
            got++;
        assert_true(got < 16);
        assert_fails_with(context, CT_ERROR_MEMORY, "the system refused");
        while (got)
            ct_free(context, blocks[--got]);
    }
    end_context(context);
}

static void realloc_keeps_contents(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    unsigned char *bytes = ct_realloc(context, NULL, 10, CT_MEMORY_OTHER);
    for (int i = 0; i < 10; i++)
        bytes[i] = (unsigned char)i;
    for (size_t size = 11; size < 3 << 20; size = size * 3 / 2) {
        bytes = ct_realloc(context, bytes, size, CT_MEMORY_OTHER);
        for (int i = 0; i < 10; i++)
            assert_int_equal(bytes[i], i);
    }
    bytes = ct_realloc(context, bytes, 5, CT_MEMORY_STATES);
    for (int i = 0; i < 5; i++)
        assert_int_equal(bytes[i], i);
    ct_memory_counts counts;
    ct_memory_read(context, &counts);
    assert_int_equal(counts.current[CT_MEMORY_STATES], 64);
    assert_int_equal(counts.current_total, 64);
    ct_free(context, bytes);
    end_context(context);
}

static void failure_at_the_nth(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_memory_fail_at(context, 3);
    void *a = ct_alloc(context, 1, CT_MEMORY_OTHER);
    void *b = ct_realloc(context, a, 2000, CT_MEMORY_OTHER);
    assert_non_null(b);
    assert_null(ct_alloc_zero(context, 1, CT_MEMORY_OTHER));
    assert_fails_with(context, CT_ERROR_MEMORY, "out of memory");
    void *c = ct_alloc(context, 1, CT_MEMORY_OTHER); /* only the one */
    assert_non_null(c);
    ct_memory_fail_at(context, 1);
    ct_memory_fail_at(context, 0);
    void *d = ct_alloc(context, 1, CT_MEMORY_OTHER);
    assert_non_null(d);
    ct_free(context, b);
    ct_free(context, c);
    ct_free(context, d);
    end_context(context);
}

static void freeing_twice_is_noticed(void **state) {
    (void)state;
    if (UNDER_ASAN) skip(); /* which would report it first */
    ct_context *context = start_context(1);
    void *block = ct_alloc(context, 100, CT_MEMORY_OTHER);
    ct_free(context, block);
    ct_free(context, block);
    assert_fails_with(context, CT_ERROR_STATE, "already free");
    _Alignas(64) char other[128] = {0};
    ct_free(context, other + 64);
    assert_fails_with(context, CT_ERROR_STATE, "not a block of ct_alloc");
    end_context(context);
}

static void text_blocks(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char *copy = ct_strdup(context, "carat"), *text = ct_format(context, "%s-%05d%200s", copy, 42, "x");
    assert_string_equal(copy, "carat");
    assert_int_equal(strlen(text), 211);
    assert_memory_equal(text, "carat-00042  ", 13);
    ct_free(context, copy);
    ct_free(context, text);
    ct_memory_fail_at(context, 1);
    assert_null(ct_format(context, "x"));
    ct_context_clear(context);
    ct_memory_fail_at(context, 1);
    assert_null(ct_strdup(context, "x"));
    ct_context_clear(context);
    end_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_classes),
        cmocka_unit_test(accounts),
        cmocka_unit_test(blocks_are_aligned_and_distinct),
        cmocka_unit_test(hot_loop_stays_off_the_system),
        cmocka_unit_test(freed_large_blocks_go_back),
        cmocka_unit_test(cache_is_bounded),
        cmocka_unit_test(large_blocks_never_overlap),
        cmocka_unit_test(cache_limit_is_kept),
        cmocka_unit_test(budget_is_kept),
        cmocka_unit_test(impossible_sizes),
        cmocka_unit_test(realloc_keeps_contents),
        cmocka_unit_test(failure_at_the_nth),
        cmocka_unit_test(freeing_twice_is_noticed),
        cmocka_unit_test(text_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
