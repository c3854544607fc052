/* SPDX-License-Identifier: MIT */
/* The edge of the public calls: what they refuse, and what is left after them. */
#include "tests/recovery/fixture.h"
#include "tests/support/process.h"
#include <errno.h>
#include <string.h>

static int create_with(skink_recovery_options options)
{
    skink_recovery *recovery = NULL;
    options.size = sizeof options;
    int err = skink_recovery_create(&options, &recovery);
    assert_true((err == 0) == (recovery != NULL));
    skink_recovery_destroy(recovery);
    return err;
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    assert_int_equal(create_with((skink_recovery_options){ 0 }), 0);
    assert_int_equal(create_with((skink_recovery_options){ .deadlock_timeout_ns = 10 * SKINK_MS }), 0);
    assert_int_equal(create_with((skink_recovery_options){ .deadlock_timeout_ns = 10 * SKINK_MS - 1 }), -EINVAL);
    assert_int_equal(create_with((skink_recovery_options){ .flags = SKINK_RECOVERY_NO_SIGNAL }), 0);
    assert_int_equal(create_with((skink_recovery_options){ .flags = 2 }), -EINVAL);
    assert_int_equal(create_with((skink_recovery_options){ .capture_signal = -1 }), -EINVAL);
    assert_int_equal(create_with((skink_recovery_options){ .capture_signal = 1000 }), -EINVAL);
    assert_int_equal(create_with((skink_recovery_options){ .standby_threads = 65 }), -EINVAL);
    assert_int_equal(create_with((skink_recovery_options){ .max_strays = 4097 }), -EINVAL);
    assert_int_equal(create_with((skink_recovery_options){ .ceiling_factor = 1001 }), -EINVAL);
    assert_int_equal(skink_recovery_create(NULL, NULL), -EINVAL);
}

static void options_of_a_newer_library_are_refused_when_used(void **state)
{
    (void)state;
    struct {
        skink_recovery_options known;
        uint64_t unknown;
    } newer = { 0 };
    skink_recovery *recovery = NULL;
    newer.known.size = sizeof newer;
    assert_int_equal(skink_recovery_create(&newer.known, &recovery), 0);
    skink_recovery_destroy(recovery);
    newer.unknown = 1;
    assert_int_equal(skink_recovery_create(&newer.known, &recovery), -E2BIG);
    newer.known.size = 0;
    assert_int_equal(skink_recovery_create(&newer.known, &recovery), -EINVAL);
}

static void scheduler_has_one_watcher(void **state)
{
    (void)state;
    struct fixture f;
    skink_recovery *other;
    fixture_start(&f, NULL);
    assert_int_equal(skink_recovery_create(NULL, &other), 0);
    assert_int_equal(skink_recovery_watch(f.recovery, f.scheduler), -EALREADY);
    assert_int_equal(skink_recovery_watch(other, f.scheduler), -EALREADY);
    assert_int_equal(skink_recovery_unwatch(other, f.scheduler), -ESRCH);
    assert_int_equal(skink_recovery_unwatch(f.recovery, f.scheduler), 0);
    assert_int_equal(skink_recovery_unwatch(f.recovery, f.scheduler), -ESRCH);
    assert_int_equal(skink_recovery_watch(other, f.scheduler), 0);
    skink_recovery_destroy(other); /* lets go of it */
    assert_int_equal(skink_recovery_watch(f.recovery, f.scheduler), 0);
    assert_int_equal(fixture_stop(&f), 0);
}

static void unwatched_scheduler_is_left_alone(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s, seen;
    skink_scheduler *second;
    fixture_start(&f, NULL);
    assert_int_equal(skink_scheduler_create(NULL, &second), 0);
    assert_int_equal(skink_scheduler_start(second), 0);
    assert_int_equal(skink_recovery_watch(f.recovery, second), 0);
    assert_int_equal(skink_recovery_unwatch(f.recovery, second), 0);
    stuck_init(&s);
    stuck_init(&seen);
    assert_int_equal(skink_post(second, stuck_task, &s), 0);
    test_wait_until(atomic_load(&s.started_ns) != 0, 5000);
    stuck_spawn(&f, &seen); /* another one begins later, and is declared: so the first would have been */
    test_wait_until(fixture_stats(&f).deadlocks == 1, 5000);
    stuck_release(&seen);
    stuck_release(&s);
    test_wait_until(atomic_load(&s.ended) && atomic_load(&seen.ended), 5000);
    assert_int_equal(atomic_load(&s.started_tid), atomic_load(&s.ended_tid));
    assert_int_equal(fixture_stats(&f).deadlocks, 1);
    assert_int_equal(skink_scheduler_stop(second, test_deadline_ns(5000)), 0);
    skink_scheduler_destroy(second);
    assert_int_equal(fixture_stop(&f), 0);
}

static void stats_fill_what_the_caller_knows(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    skink_recovery_stats stats;
    memset(&stats, 0xee, sizeof stats);
    stats.size = offsetof(skink_recovery_stats, takeovers);
    assert_int_equal(skink_recovery_stats_read(f.recovery, &stats), 0);
    assert_int_equal(stats.size, offsetof(skink_recovery_stats, takeovers));
    assert_int_equal(stats.deadlocks, 0);
    assert_int_equal(stats.takeovers, UINT64_C(0xeeeeeeeeeeeeeeee));
    stats.size = 0;
    assert_int_equal(skink_recovery_stats_read(f.recovery, &stats), -EINVAL);
    assert_int_equal(fixture_stop(&f), 0);
}

static void timeouts_too_short_to_change_to_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    assert_int_equal(skink_recovery_set_timeout(f.recovery, SKINK_MS), -EINVAL);
    assert_int_equal(skink_recovery_set_timeout(f.recovery, 10 * SKINK_MS), 0);
    assert_int_equal(fixture_stop(&f), 0);
}

static void every_health_has_a_sentence(void **state)
{
    (void)state;
    for (int health = SKINK_HEALTH_OK; health <= SKINK_HEALTH_STALLED; health++)
        assert_true(strlen(skink_health_text((skink_health)health)) > 20);
}

static void destroy_leaves_no_thread_and_no_descriptor(void **state)
{
    (void)state;
    warm_up();
    int threads = test_thread_count(0), fds = test_fd_count(0);
    for (int i = 0; i < 20; i++) {
        struct fixture f;
        skink_recovery_options options = { .standby_threads = 4 };
        fixture_start(&f, &options);
        assert_true(loop_is_alive(&f, 5000));
        assert_int_equal(fixture_stop(&f), 0);
    }
    test_wait_until(test_thread_count(0) == threads, 5000);
    assert_int_equal(test_fd_count(0), fds);
    skink_recovery_destroy(NULL);
}

/* Loops ring while the watchdog goes: no ring may be written to a descriptor that is closed, or somebody else's. */
static void watching_and_unwatching_a_loop_that_moves_loses_no_ring(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(skink_recovery_unwatch(f.recovery, f.scheduler), 0);
        skink_recovery *other;
        skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
        options.deadlock_timeout_ns = 10 * SKINK_S;
        assert_int_equal(skink_recovery_create(&options, &other), 0);
        assert_int_equal(skink_recovery_watch(other, f.scheduler), 0);
        assert_true(loop_is_alive(&f, 5000));
        skink_recovery_destroy(other);
        assert_int_equal(skink_recovery_watch(f.recovery, f.scheduler), 0);
    }
    assert_int_equal(fixture_stop(&f), 0);
}

static const struct test_case cases[] = {
    CASE(options_out_of_range_are_refused),
    CASE(options_of_a_newer_library_are_refused_when_used),
    CASE(scheduler_has_one_watcher),
    CASE(unwatched_scheduler_is_left_alone),
    CASE(stats_fill_what_the_caller_knows),
    CASE(timeouts_too_short_to_change_to_are_refused),
    CASE(every_health_has_a_sentence),
    CASE(destroy_leaves_no_thread_and_no_descriptor),
    CASE(watching_and_unwatching_a_loop_that_moves_loses_no_ring),
};
TEST_MAIN(cases, NULL, NULL)
