/* SPDX-License-Identifier: MIT */
/* tests/recovery/test_ping.c - is the watchdog alive? */
#include "tests/recovery/fixture.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static _Atomic bool watchdog_late;

static void hold_watchdog(const char *role, void *arg)
{
    (void)arg;
    while (strcmp(role, "watchdog") == 0 && atomic_load(&watchdog_late))
        test_nap();
}

/* Hooks are one set per process, and fixed by the first scheduler. */
__attribute__((constructor)) static void install_hook(void)
{
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.thread_start = hold_watchdog;
    if (skink_hooks_set(&hooks) != 0) abort();
}

static void a_watchdog_answers_whether_it_sleeps_or_not(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    for (int i = 0; i < 20; i++)
        assert_int_equal(skink_recovery_ping(f.recovery, test_deadline_ns(5000)), 0);
    assert_int_equal(skink_recovery_ping(f.recovery, SKINK_FOREVER), 0);
    struct stuck s; /* a loop that is stuck keeps nobody from answering */
    stuck_get_declared(&f, &s);
    assert_int_equal(skink_recovery_ping(f.recovery, test_deadline_ns(5000)), 0);
    stuck_release(&s);
    test_wait_until(fixture_stats(&f).strays == 0, 4000);
    assert_int_equal(fixture_stop(&f), 0);
}

static void a_ping_waits_for_a_look_and_not_for_less(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    uint64_t before = fixture_stats(&f).ticks;
    assert_int_equal(skink_recovery_ping(f.recovery, test_deadline_ns(5000)), 0);
    assert_true(fixture_stats(&f).ticks > before);
    assert_int_equal(fixture_stop(&f), 0);
}

static void a_ping_whose_time_is_up_says_so(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    assert_int_equal(skink_recovery_ping(f.recovery, 1), -ETIMEDOUT);
    assert_int_equal(skink_recovery_ping(NULL, SKINK_FOREVER), -EINVAL);
    assert_int_equal(fixture_stop(&f), 0);
}

static void a_watchdog_that_does_not_look_does_not_answer(void **state)
{
    (void)state;
    struct fixture f;
    atomic_store(&watchdog_late, true);
    fixture_start(&f, NULL);
    assert_int_equal(skink_recovery_ping(f.recovery, skink_after(20 * SKINK_MS)), -ETIMEDOUT);
    assert_int_equal(fixture_stats(&f).ticks, 0);
    atomic_store(&watchdog_late, false);
    assert_int_equal(skink_recovery_ping(f.recovery, test_deadline_ns(5000)), 0);
    assert_int_equal(fixture_stop(&f), 0);
}

static void *ping_often(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 200; i++)
        if (skink_recovery_ping(f->recovery, test_deadline_ns(10000)) != 0) return f;
    return NULL;
}

static void many_may_ask_at_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ping_often, &f), 0);
    for (int i = 0; i < 8; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(fixture_stop(&f), 0);
}

static const struct test_case cases[] = {
    CASE(a_watchdog_answers_whether_it_sleeps_or_not),
    CASE(a_ping_waits_for_a_look_and_not_for_less),
    CASE(a_ping_whose_time_is_up_says_so),
    CASE(a_watchdog_that_does_not_look_does_not_answer),
    CASE(many_may_ask_at_once),
};

TEST_MAIN(cases, NULL, NULL)
