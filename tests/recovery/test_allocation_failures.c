/* SPDX-License-Identifier: MIT */
/*
 * test_allocation_failures.c - every allocation of recovery fails in turn, and a takeover needs none.
 */
#include "tests/recovery/fixture.h"
#include "tests/support/process.h"
#include "tests/support/scarce.h"
#include <errno.h>

enum { STANDBYS = 2 };

static int setup(void **state)
{
    (void)state;
    scarce_install();
    warm_up();
    return 0;
}

static int threads_at_rest(void)
{
    return TEST_TSAN ? 2 : 1; /* the sanitizer keeps one of its own */
}

static int create(skink_recovery **ret_recovery)
{
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.standby_threads = STANDBYS;
    return skink_recovery_create(&options, ret_recovery);
}

static void create_without_memory_fails_and_leaves_nothing(void **state)
{
    (void)state;
    int fds = test_fd_count(0);
    long n = 0, failures;
    do {
        skink_recovery *recovery = NULL;
        scarce_fail(n++);
        int err = create(&recovery);
        failures = scarce_end();
        assert_int_equal(err, failures ? -ENOMEM : 0);
        assert_true(!err == !!recovery);
        if (err) assert_int_equal(create(&recovery), 0);
        skink_recovery_destroy(recovery);
        scarce_assert_no_blocks();
        test_wait_until(test_thread_count(0) == threads_at_rest(), 5000);
        assert_int_equal(test_fd_count(0), fds);
    } while (failures);
    assert_true(n > 1 + 3 * STANDBYS); /* itself; and of each standby the record, the thread object, the subject */
}

static void watch_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    long n = 0, failures;
    do {
        skink_recovery *recovery;
        skink_scheduler *scheduler;
        assert_int_equal(create(&recovery), 0);
        assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
        scarce_fail(n++);
        int err = skink_recovery_watch(recovery, scheduler);
        failures = scarce_end();
        assert_int_equal(err, failures ? -ENOMEM : 0);
        if (err) assert_int_equal(skink_recovery_watch(recovery, scheduler), 0);
        assert_int_equal(skink_recovery_watch(recovery, scheduler), -EALREADY);
        skink_recovery_destroy(recovery);
        skink_scheduler_destroy(scheduler);
        scarce_assert_no_blocks();
    } while (failures);
    assert_true(n > 1);
}

/* The watchdog allocates when it first sees a loop thread: until it gets that, it tries again at each look. */
static void loop_is_recovered_although_the_watchdog_had_no_memory_at_first(void **state)
{
    (void)state;
    for (long n = 0; n < 4; n++) {
        struct fixture f;
        struct stuck stuck;
        stuck_init(&stuck);
        fixture_start(&f, NULL);
        scarce_fail(n);
        while (skink_recovery_health(f.recovery) != SKINK_HEALTH_OK)
            test_nap();
        scarce_end();
        stuck_spawn(&f, &stuck);
        test_wait_until(atomic_load(&f.incidents) == 1, 5000);
        assert_true(loop_is_alive(&f, 5000));
        stuck_end(&stuck);
        assert_int_equal(fixture_stop(&f), 0);
        scarce_assert_no_blocks();
    }
}

static void count_up(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
}

/* No memory at all: the stuck loop is taken over, what was posted runs, the stray comes back and its task finishes.
 * Only new standbys cannot be had, and as soon as there is memory they are. */
static void takeover_needs_no_memory(void **state)
{
    (void)state;
    static _Atomic int ran; /* not on this stack: the tasks may run after the case has failed */
    struct fixture f;
    struct stuck stuck;
    stuck_init(&stuck);
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = 500 * SKINK_MS;
    fixture_start(&f, &options);
    assert_true(loop_is_alive(&f, 5000)); /* task objects and stacks are there afterwards, as in any running program */
    stuck_spawn(&f, &stuck);
    test_wait_until(fixture_stats(&f).current_slice_ns > 0, 5000); /* the watchdog follows it */
    scarce_fail_all();
    int err = skink_post(f.scheduler, count_up, (void *)&ran);
    uint64_t deadline = test_deadline_ns(10000);
    bool failing = false;
    while (test_now_ns() < deadline && !(atomic_load(&ran) && atomic_load(&f.incidents) == 1 && failing)) {
        failing = skink_recovery_health(f.recovery) == SKINK_HEALTH_NO_STANDBY;
        test_nap();
    }
    stuck_release(&stuck);
    while (test_now_ns() < deadline && !atomic_load(&stuck.ended))
        test_nap();
    assert_true(scarce_end() > 0);
    assert_int_equal(err, 0);
    assert_int_equal(atomic_load(&ran), 1);
    assert_int_equal(atomic_load(&f.incidents), 1);
    assert_true(failing);
    assert_true(atomic_load(&stuck.ended));
    assert_true(fixture_stats(&f).standby_failures > 0);
    test_wait_until(skink_recovery_health(f.recovery) == SKINK_HEALTH_OK, 5000);
    assert_int_equal(fixture_stop(&f), 0);
    scarce_assert_no_blocks();
}

static const struct test_case cases[] = {
    CASE_TIMEOUT(create_without_memory_fails_and_leaves_nothing, 40),
    CASE(watch_without_memory_fails_and_can_be_repeated),
    CASE_TIMEOUT(loop_is_recovered_although_the_watchdog_had_no_memory_at_first, 40),
    CASE_TIMEOUT(takeover_needs_no_memory, 40),
};
TEST_MAIN(cases, setup, NULL)
