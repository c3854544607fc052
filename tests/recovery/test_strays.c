/* SPDX-License-Identifier: MIT */
/* Abandoned threads: counted, limited, let go; and what is left after many of them: nothing. */
#include "recovery/state.h"
#include "tests/recovery/fixture.h"
#include "tests/support/diagnosis.h"
#include "tests/support/process.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIMIT = 2 };

static void start_with_limit(struct fixture *f)
{
    skink_recovery_options options = { .deadlock_timeout_ns = 20 * SKINK_MS, .max_strays = LIMIT };
    fixture_start(f, &options);
}

static bool is_held(struct fixture *f)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    assert_int_equal(skink_scheduler_stats_read(f->scheduler, &stats), 0);
    return stats.held;
}

/* As many strays as there may be, and one more slice that is stuck: the last of s, which keeps the loop held. */
static void start_and_get_held(struct fixture *f, struct stuck s[static LIMIT + 1])
{
    start_with_limit(f);
    for (int i = 0; i <= LIMIT; i++)
        stuck_get_declared(f, &s[i]);
    assert_true(is_held(f));
}

/* Goal: a slice that moves on just before it would have been declared leaves nothing behind: the recovery is freed. */
static void a_declaration_that_came_too_late_is_undone(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    bool seen = false, undone = false;
    while (!seen) {
        skink__recovery_lock(f.recovery);
        struct skink__subject *subject = f.recovery->watches->subject;
        seen = subject != NULL;
        if (seen) {
            uint32_t refs = f.recovery->refs;
            skink__stray_prepare(f.recovery, subject);
            undone = skink__stray_undo(f.recovery, subject) && f.recovery->refs == refs && !subject->recovery;
        }
        skink__recovery_unlock(f.recovery);
        if (!seen) test_nap();
    }
    assert_true(undone);
    assert_int_equal(fixture_stop(&f), 0);
}

static void at_the_limit_the_fresh_thread_runs_no_task(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s[LIMIT + 1];
    start_with_limit(&f);
    for (int i = 0; i < LIMIT; i++)
        stuck_get_declared(&f, &s[i]);
    assert_true(loop_is_alive(&f, 10000));
    assert_false(is_held(&f));
    assert_int_equal(skink_recovery_health(f.recovery), SKINK_HEALTH_STRAY_LIMIT);
    stuck_get_declared(&f, &s[LIMIT]);
    assert_true(is_held(&f));
    assert_true(loop_stands_still(&f, 200));
    skink_recovery_stats stats = fixture_stats(&f);
    assert_int_equal(stats.strays, LIMIT);
    assert_int_equal(stats.takeovers, LIMIT);
    assert_int_equal(stats.deadlocks, LIMIT + 1);
    assert_int_equal(skink_recovery_health(f.recovery), SKINK_HEALTH_STRAY_LIMIT);
    test_wait_until(atomic_load(&f.incidents) == LIMIT + 1, 5000);
    assert_true(f.last.held);
    stuck_end_all(&f, s, LIMIT + 1);
    assert_int_equal(fixture_stop(&f), 0);
}

static void hold_ends_when_a_stray_returns(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s[LIMIT + 1];
    start_and_get_held(&f, s);
    stuck_release(&s[0]);
    test_wait_until(!is_held(&f), 5000);
    assert_true(loop_is_alive(&f, 10000));
    test_wait_until(atomic_load(&s[0].ended), 5000);
    skink_recovery_stats stats = fixture_stats(&f);
    assert_int_equal(stats.strays, LIMIT); /* the one that was held counts now */
    assert_int_equal(stats.takeovers, LIMIT + 1);
    assert_int_equal(stats.strays_total, LIMIT + 1);
    assert_int_equal(stats.strays_returned, 1);
    stuck_end_all(&f, s, LIMIT + 1);
    assert_int_equal(skink_recovery_health(f.recovery), SKINK_HEALTH_OK);
    assert_int_equal(fixture_stop(&f), 0);
}

static void hold_ends_when_the_held_thread_itself_returns(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s[LIMIT + 1];
    start_and_get_held(&f, s);
    stuck_end(&s[LIMIT]); /* it runs on the loop, so that is not held */
    assert_false(is_held(&f));
    skink_recovery_stats stats = fixture_stats(&f);
    assert_int_equal(stats.strays, LIMIT);
    assert_int_equal(stats.strays_total - stats.strays_returned, stats.strays);
    stuck_end_all(&f, s, LIMIT + 1);
    assert_int_equal(fixture_stop(&f), 0);
}

/* Nobody looks at it any more, and there may be many. */
static void a_stray_keeps_no_descriptor(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    char part[32];
    start_with_limit(&f);
    stuck_get_declared(&f, &s);
    snprintf(part, sizeof part, "/task/%d/", atomic_load(&s.started_tid));
    test_wait_until(test_fd_count_to(part) == 0, 5000);
    stuck_end_all(&f, &s, 1);
    assert_int_equal(fixture_stop(&f), 0);
}

/* Nobody would be there to end it. */
static void unwatching_ends_a_hold(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s[LIMIT + 1];
    start_and_get_held(&f, s);
    assert_int_equal(skink_recovery_unwatch(f.recovery, f.scheduler), 0);
    assert_false(is_held(&f));
    assert_true(loop_is_alive(&f, 10000));
    assert_int_equal(fixture_stats(&f).strays, LIMIT + 1);
    stuck_end_all(&f, s, LIMIT + 1);
    assert_int_equal(fixture_stop(&f), 0);
}

static void stray_that_spins_steps_back_behind_the_others(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    start_with_limit(&f);
    stuck_init(&s);
    s.spin = true;
    stuck_spawn(&f, &s);
    test_wait_until(fixture_stats(&f).deadlocks == 1, 10000);
    test_wait_until(sched_getscheduler(atomic_load(&s.started_tid)) == SCHED_IDLE, 5000);
    stuck_end(&s);
    assert_int_equal(sched_getscheduler(atomic_load(&s.ended_tid)), SCHED_OTHER);
    test_wait_until(fixture_stats(&f).strays == 0, 10000);
    stuck_get_declared(&f, &s); /* one that blocks */
    assert_int_equal(sched_getscheduler(atomic_load(&s.started_tid)), SCHED_OTHER);
    stuck_end_all(&f, &s, 1);
    assert_int_equal(fixture_stop(&f), 0);
}

static void oldest_stray_s_age_is_known(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s[2];
    start_with_limit(&f);
    assert_int_equal(fixture_stats(&f).oldest_stray_ns, 0);
    uint64_t before = skink_now();
    stuck_get_declared(&f, &s[0]);
    stuck_get_declared(&f, &s[1]);
    uint64_t age = fixture_stats(&f).oldest_stray_ns;
    assert_true(age >= 20 * SKINK_MS); /* that is how long the second one took */
    assert_true(age <= skink_now() - before);
    stuck_end_all(&f, s, 2);
    assert_int_equal(fixture_stats(&f).oldest_stray_ns, 0);
    assert_int_equal(fixture_stop(&f), 0);
}

static void stop_does_not_wait_for_a_stray(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    start_with_limit(&f);
    stuck_get_declared(&f, &s);
    uint64_t before = skink_now();
    assert_int_equal(skink_scheduler_stop(f.scheduler, skink_after(100 * SKINK_MS)), -ECANCELED);
    assert_true(skink_now() - before < test_ms(test_patience(4000)));
    assert_int_equal(fixture_stats(&f).strays, 1);
    stuck_release(&s); /* it comes too late, and ends without its task */
    test_wait_until(fixture_stats(&f).strays == 0, 5000);
    assert_false(atomic_load(&s.ended));
    skink_scheduler_destroy(f.scheduler);
    skink_recovery_destroy(f.recovery);
}

/* The very last holder of the recovery is then the stray. */
static void stray_may_outlive_recovery_and_scheduler(void **state)
{
    (void)state;
    struct fixture f;
    static struct stuck s[2]; /* nothing tells us when the strays have looked at it for the last time */
    warm_up();
    int threads = test_thread_count(0);
    start_with_limit(&f);
    stuck_get_declared(&f, &s[0]); /* the scheduler's own thread */
    stuck_get_declared(&f, &s[1]); /* one of ours */
    assert_int_equal(skink_scheduler_stop(f.scheduler, skink_now()), -ECANCELED);
    skink_scheduler_destroy(f.scheduler);
    skink_recovery_destroy(f.recovery);
    test_wait_until(test_thread_count(0) == threads + 2, 5000);
    stuck_release(&s[0]);
    stuck_release(&s[1]);
    test_wait_until(test_thread_count(0) == threads, 5000);
}

static int cycles_wanted(void)
{
    const char *text = getenv("SKINK_TEST_CYCLES");
    return text ? atoi(text) : TEST_TIMES ? 300 : 100;
}

/* SKINK_TEST_CYCLES=10000 for the long form (about two minutes). */
static void declare_and_return_cycles_leave_nothing_behind(void **state)
{
    (void)state;
    enum { WARM_UP = 30 };
    struct fixture f;
    fixture_start_timeout(&f, 10 * SKINK_MS);
    test_warm_diagnosis();
    int threads = 0, fds = 0, cycles = cycles_wanted();
    long resident_kb = 0;
    for (int i = 0; i < WARM_UP + cycles; i++) {
        struct stuck s;
        stuck_get_declared(&f, &s);
        stuck_end_all(&f, &s, 1);
        if (i != WARM_UP) continue;
        test_wait_until(fixture_stats(&f).standby_threads == 1, 5000);
        threads = test_thread_count(0);
        fds = test_fd_count_but_code(0);
        resident_kb = test_resident_kb(0);
    }
    test_wait_until(fixture_stats(&f).standby_threads == 1, 5000);
    test_wait_until(test_thread_count(0) <= threads, 5000);
    test_wait_until(test_fd_count_but_code(0) <= fds, 5000);
    long grown_kb = test_resident_kb(0) - resident_kb;
    print_message("%d cycles: %d threads, %d descriptors, %ld KB more\n", cycles, threads, fds, grown_kb);
    if (!TEST_ASAN && !TEST_TSAN) assert_true(grown_kb < 1024); /* theirs keep memory on purpose */
    skink_recovery_stats stats = fixture_stats(&f);
    assert_int_equal(stats.strays_returned, WARM_UP + cycles);
    assert_int_equal(stats.strays, 0);
    assert_int_equal(fixture_stop(&f), 0);
}

static const struct test_case cases[] = {
    CASE(a_declaration_that_came_too_late_is_undone),
    CASE(at_the_limit_the_fresh_thread_runs_no_task),
    CASE(hold_ends_when_a_stray_returns),
    CASE(hold_ends_when_the_held_thread_itself_returns),
    CASE(a_stray_keeps_no_descriptor),
    CASE(unwatching_ends_a_hold),
    CASE(stray_that_spins_steps_back_behind_the_others),
    CASE(oldest_stray_s_age_is_known),
    CASE(stop_does_not_wait_for_a_stray),
    CASE(stray_may_outlive_recovery_and_scheduler),
    CASE_TIMEOUT(declare_and_return_cycles_leave_nothing_behind, 600),
};
TEST_MAIN(cases, NULL, NULL)
