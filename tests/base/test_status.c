/* test_status.c - errors, trials, the stop request, log. */
#include "base/context.h"
#include "check.h"
#include <signal.h>

static void first_error_is_kept(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    assert_false(ct_failed(context));
    assert_string_equal(ct_context_message(context), "");
    assert_int_equal(ct_fail(context, CT_ERROR_SHAPE, "[%d,%d] expected [%d]", 2, 3, 6), CT_ERROR_SHAPE);
    assert_int_equal(ct_fail(context, CT_ERROR_IO, "later"), CT_ERROR_IO);
    assert_true(ct_failed(context));
    assert_fails(context, CT_ERROR_SHAPE, "[2,3] expected [6]");
    assert_string_equal(ct_context_message(context), "");
    assert_int_equal(ct_fail(context, CT_OK, "nothing"), CT_OK);
    assert_false(ct_failed(context));
    assert_int_equal(ct_fail(NULL, CT_ERROR_TYPE, "x"), CT_ERROR_TYPE);
    end_context(context);
}

static void long_messages_are_cut(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char text[3000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    ct_fail(context, CT_ERROR_FORMAT, "%s", text);
    assert_int_equal(strlen(ct_context_message(context)), 1023);
    ct_try trial;
    ct_try_begin(context, &trial);
    assert_int_equal(ct_try_end(context, &trial, NULL, 0), CT_OK);
    assert_int_equal(strlen(ct_context_message(context)), 511); /* the room that a trial has */
    end_context(context);
}

static int marks, unwound[8], unwinds;
static void *mark(ct_context *context) {
    return (char *)context + ++marks;
}
static void unwind(ct_context *context, void *to) {
    unwound[unwinds++] = (int)((char *)to - (char *)context);
}

static void trials_nest(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    context->scope_mark = mark;
    context->scope_unwind = unwind;
    context->flags = 5;
    ct_fail(context, CT_ERROR_STATE, "before");
    ct_try outer, inner;
    char message[8];
    ct_try_begin(context, &outer);
    assert_false(ct_failed(context));
    context->flags = 6;
    ct_try_begin(context, &inner);
    context->flags = 7;
    ct_fail(context, CT_ERROR_NUMERIC, "inner failure");
    assert_int_equal(ct_try_end(context, &inner, message, sizeof message), CT_ERROR_NUMERIC);
    assert_string_equal(message, "inner f");
    assert_int_equal(context->flags, 6);
    assert_false(ct_failed(context));
    assert_int_equal(ct_try_end(context, &outer, message, sizeof message), CT_OK);
    assert_string_equal(message, "");
    assert_int_equal(context->flags, 5);
    assert_int_equal(unwinds, 2);
    assert_int_equal(unwound[0], 2); /* the inner trial's mark first */
    assert_int_equal(unwound[1], 1);
    assert_fails(context, CT_ERROR_STATE, "before");
    end_context(context);
}

static char order[CT_ROOMS + 1];
static void room_gone(ct_context *context, void *state) {
    ct_free(context, ct_alloc(context, 10, CT_MEMORY_OTHER)); /* base still works */
    strcat(order, state);
}

static void rooms_go_in_reverse(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    context->room[CT_ROOM_TENSOR] = (void *)(uintptr_t)"t";
    context->room_destroy[CT_ROOM_TENSOR] = room_gone;
    context->room[CT_ROOM_AUTOGRAD] = (void *)(uintptr_t)"a";
    context->room_destroy[CT_ROOM_AUTOGRAD] = room_gone;
    context->room[CT_ROOM_TRAIN] = (void *)(uintptr_t)"r";
    context->room_destroy[CT_ROOM_TRAIN] = room_gone;
    ct_alloc(context, 1 << 21, CT_MEMORY_WEIGHTS); /* left to the context */
    ct_value_list(context);
    ct_context_destroy(context);
    assert_string_equal(order, "rat");
    ct_context_destroy(NULL);
}

static ct_context *to_stop;
static void on_signal(int number) {
    (void)number;
    ct_request_stop(to_stop);
}

static void stop_from_a_signal(void **state) {
    (void)state;
    to_stop = start_context(1);
    assert_false(ct_stop_requested(to_stop));
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_DFL);
    assert_true(ct_stop_requested(to_stop));
    ct_clear_stop(to_stop);
    assert_false(ct_stop_requested(to_stop));
    end_context(to_stop);
}

static char logged[4096];
static int log_calls;
static void keep_log(void *user, ct_log_level level, const char *message) {
    assert_int_equal(*(int *)user, 42);
    log_calls++;
    snprintf(logged, sizeof logged, "%d:%s", (int)level, message);
}

static void log_levels(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    int user = 42;
    ct_log_message(context, CT_LOG_ERROR, "nobody listens");
    ct_context_set_log(context, keep_log, &user, CT_LOG_INFO);
    ct_log_message(context, CT_LOG_DEBUG, "too fine");
    assert_int_equal(log_calls, 0);
    ct_log_message(context, CT_LOG_INFO, "%s %d", "step", 3);
    assert_string_equal(logged, "2:step 3");
    ct_log_message(context, CT_LOG_WARNING, "%2000d", 1); /* longer than the buffer on the stack */
    assert_int_equal(strlen(logged), 2002);
    assert_int_equal(log_calls, 2);
    end_context(context);
}

static void names(void **state) {
    (void)state;
    for (int i = CT_OK; i <= CT_ERROR_INTERRUPTED; i++)
        assert_string_not_equal(ct_status_name((ct_status)i), "unknown");
    assert_string_equal(ct_status_name((ct_status)99), "unknown");
    assert_string_equal(ct_memory_class_name(CT_MEMORY_STATES), "states");
}

static void process_memory_is_known(void **state) {
    (void)state;
    size_t before = ct_anonymous_resident();
    assert_true(before > 0);
    char *bytes = malloc(16 << 20);
    for (size_t i = 0; i < 16 << 20; i += 4096)
        ((volatile char *)bytes)[i] = 1;
    assert_true(ct_anonymous_resident() >= before + (15 << 20));
    assert_true(ct_peak_resident() >= 16 << 20);
    free(bytes);
    double start = ct_seconds();
    usleep(2000);
    assert_true(ct_seconds() - start >= 0.002);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_is_kept),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(trials_nest),
        cmocka_unit_test(rooms_go_in_reverse),
        cmocka_unit_test(stop_from_a_signal),
        cmocka_unit_test(log_levels),
        cmocka_unit_test(names),
        cmocka_unit_test(process_memory_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
