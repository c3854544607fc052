/* SPDX-License-Identifier: MIT */
/* tests/recovery/test_actions.c - what is done about a slice that is late:
 * noted, taken over, only reported, or nothing. */
#include "tests/recovery/fixture.h"
#include <errno.h>
#include <string.h>

struct counts {
    const char *route;
    uint64_t incidents[SKINK_ACTIONS]; /* of any cause */
    uint64_t notes;
};

static void add(const skink_recovery_count *count, void *arg)
{
    struct counts *counts = arg;
    if (strcmp(count->route, counts->route) != 0) return;
    counts->notes += count->notes;
    for (unsigned cause = 0; cause < SKINK_CAUSES; cause++)
        for (unsigned action = 0; action < SKINK_ACTIONS; action++)
            counts->incidents[action] += count->incidents[cause][action];
}

static struct counts counts_of(struct fixture *f, const char *name)
{
    struct counts counts = { .route = name };
    assert_int_equal(skink_recovery_counts(f->recovery, add, &counts), 0);
    return counts;
}

static void spawn(struct fixture *f, struct stuck *s, const char *name, skink_action action)
{
    skink_task_options options = SKINK_TASK_OPTIONS_INIT;
    options.name = name;
    options.action = action;
    stuck_init(s);
    assert_int_equal(skink_spawn(f->scheduler, &options, NULL, stuck_task, s), 0);
    test_wait_until(atomic_load(&s->started_ns) != 0, 4000);
}

static void a_slice_that_is_only_reported_stays_where_it_is(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    fixture_start(&f, NULL);
    spawn(&f, &s, "quiet", SKINK_ACTION_REPORT);
    test_wait_until(atomic_load(&f.incidents) == 1, 4000);
    assert_int_equal(f.last.action, SKINK_ACTION_REPORT);
    assert_false(f.last.held);
    assert_string_equal(f.last_task, "quiet");
    assert_true(loop_stands_still(&f, 200)); /* four timeouts */
    stuck_release(&s);
    assert_true(loop_is_alive(&f, 4000));
    test_wait_until(atomic_load(&s.ended), 4000);
    assert_int_equal(atomic_load(&s.ended_tid), atomic_load(&s.started_tid));
    assert_int_equal(atomic_load(&f.incidents), 1); /* once, however long it took */
    skink_recovery_stats stats = fixture_stats(&f);
    assert_int_equal(stats.reported, 1);
    assert_int_equal(stats.deadlocks, 0);
    assert_int_equal(stats.takeovers, 0);
    test_wait_until(counts_of(&f, "quiet").incidents[SKINK_ACTION_REPORT] == 1, 4000);
    /* How it ended is part of its record. */
    skink_incident *incident;
    uint64_t deadline_ns = test_deadline_ns(4000);
    for (bool ended = false; !ended;) {
        assert_true(test_now_ns() < deadline_ns);
        assert_int_equal(skink_incident_newest(f.recovery, 0, &incident), 0);
        ended = incident->finished_after_ns >= test_ms(200);
        skink_incident_free(incident);
        test_nap();
    }
    assert_int_equal(fixture_stop(&f), 0);
}

static void a_slice_that_is_not_watched_may_take_as_long_as_it_wants(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    fixture_start(&f, NULL);
    spawn(&f, &s, "unwatched", SKINK_ACTION_OFF);
    assert_true(loop_stands_still(&f, 300)); /* six timeouts */
    stuck_release(&s);
    assert_true(loop_is_alive(&f, 4000));
    assert_int_equal(atomic_load(&f.incidents), 0);
    assert_int_equal(fixture_stats(&f).notes, 0);
    spawn(&f, &s, "watched", SKINK_ACTION_DEFAULT);
    assert_true(loop_is_alive(&f, 4000));
    stuck_release(&s);
    test_wait_until(fixture_stats(&f).strays == 0, 4000);
    test_wait_until(counts_of(&f, "watched").incidents[SKINK_ACTION_TAKEOVER] == 1, 4000);
    assert_int_equal(fixture_stop(&f), 0);
}

static void a_task_may_want_more_than_its_recovery(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.action = SKINK_ACTION_REPORT;
    fixture_start(&f, &options);
    spawn(&f, &s, "plain", SKINK_ACTION_DEFAULT);
    test_wait_until(atomic_load(&f.incidents) == 1, 4000);
    assert_int_equal(f.last.action, SKINK_ACTION_REPORT);
    stuck_release(&s);
    assert_true(loop_is_alive(&f, 4000));
    spawn(&f, &s, "special", SKINK_ACTION_TAKEOVER);
    assert_true(loop_is_alive(&f, 4000));
    stuck_release(&s);
    test_wait_until(fixture_stats(&f).strays == 0, 4000);
    assert_int_equal(fixture_stats(&f).takeovers, 1);
    assert_int_equal(fixture_stop(&f), 0);
}

static void block_in_a_stretch(void *arg)
{
    (void)!skink_blocking_begin();
    stuck_task(arg);
    (void)skink_blocking_end();
}

/* A timeout and a grace that never pass: nothing is taken away, and the watchdog looks no more often than it does. */
static void what_has_no_end_never_comes(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = options.blocking_grace_ns = SKINK_FOREVER;
    fixture_start(&f, &options);
    spawn(&f, &s, "forever", SKINK_ACTION_DEFAULT);
    uint64_t ticks_before = fixture_stats(&f).ticks;
    assert_true(loop_stands_still(&f, 300)); /* three looks, and a few more around a change */
    assert_in_range(fixture_stats(&f).ticks - ticks_before, 0, 50);
    stuck_release(&s);
    assert_true(loop_is_alive(&f, 4000));

    stuck_init(&s);
    assert_int_equal(skink_post(f.scheduler, block_in_a_stretch, &s), 0);
    test_wait_until(atomic_load(&s.started_ns) != 0, 4000);
    assert_true(loop_stands_still(&f, 300));
    assert_int_equal(fixture_stats(&f).blocking_handed_on, 0);
    stuck_release(&s);
    assert_int_equal(fixture_stop(&f), 0);
}

/* Nor does a window that has no end: the limit stays in force. */
static void a_burst_in_a_window_without_end_is_one(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s[2];
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.burst = 1;
    options.burst_window_ns = SKINK_FOREVER;
    options.on_limit = SKINK_ON_LIMIT_UNHEALTHY;
    fixture_start(&f, &options);
    for (int i = 0; i < 2; i++) {
        spawn(&f, &s[i], "again", SKINK_ACTION_DEFAULT);
        assert_true(loop_is_alive(&f, 4000));
        stuck_end(&s[i]);
    }
    test_wait_until(fixture_stats(&f).deadlocks == 2, 4000);
    assert_int_equal(fixture_stats(&f).limit_in_force[SKINK_LIMIT_BURST], 1);
    assert_int_equal(skink_recovery_health(f.recovery), SKINK_HEALTH_BURST);
    assert_int_equal(fixture_stop(&f), 0);
}

static void compute(void *arg)
{
    uint64_t until_ns = test_now_ns() + *(uint64_t *)arg;
    while (test_now_ns() < until_ns) {
    }
}

static void half_of_the_time_is_noted_once(void **state)
{
    (void)state;
    struct fixture f;
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = 400 * SKINK_MS;
    fixture_start(&f, &options);
    skink_task_options named = SKINK_TASK_OPTIONS_INIT;
    uint64_t short_ns = test_ms(60), long_ns = test_ms(300);
    named.name = "short";
    assert_int_equal(skink_spawn(f.scheduler, &named, NULL, compute, &short_ns), 0);
    assert_true(loop_is_alive(&f, 4000));
    assert_int_equal(fixture_stats(&f).notes, 0);
    named.name = "long";
    assert_int_equal(skink_spawn(f.scheduler, &named, NULL, compute, &long_ns), 0);
    assert_true(loop_is_alive(&f, 8000));
    uint64_t noted = fixture_stats(&f).notes;
    assert_in_range(noted, 0, 1); /* beside busy processes less of the time counts */
    assert_int_equal(counts_of(&f, "long").notes, noted);
    /* One that is blocked is noted on its way to being declared stuck. */
    struct stuck s;
    spawn(&f, &s, "stuck", SKINK_ACTION_DEFAULT);
    test_wait_until(atomic_load(&f.incidents) == 1, 8000);
    assert_int_equal(counts_of(&f, "stuck").notes, 1);
    assert_int_equal(fixture_stats(&f).notes, noted + 1);
    stuck_release(&s);
    test_wait_until(fixture_stats(&f).strays == 0, 4000);
    assert_int_equal(fixture_stop(&f), 0);
}

/* Peeking at what a late slice works on stands in the way of its calls: none may get lost, or run on a wrong thread. */
static void call_often(void *arg)
{
    _Atomic int *calls = arg;
    for (int i = 0; i < 40; i++) {
        uint64_t until_ns = test_now_ns() + test_ms(8);
        while (test_now_ns() < until_ns) {
        }
        if (skink_checkpoint() == 0) atomic_fetch_add(calls, 1);
    }
}

static void a_late_slice_that_makes_calls_is_peeked_at_and_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = 10 * SKINK_MS; /* each stretch is noted, and some are declared */
    options.action = SKINK_ACTION_REPORT;
    fixture_start(&f, &options);
    _Atomic int calls = 0;
    for (int i = 0; i < 4; i++)
        assert_int_equal(skink_post(f.scheduler, call_often, &calls), 0);
    test_wait_until(atomic_load(&calls) == 160, 15000);
    assert_int_equal(fixture_stats(&f).takeovers, 0);
    assert_int_equal(fixture_stop(&f), 0);
}

static void actions_that_are_none_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    skink_task_options options = SKINK_TASK_OPTIONS_INIT;
    options.action = SKINK_ACTION_HOLD;
    assert_int_equal(skink_spawn(f.scheduler, &options, NULL, stuck_task, NULL), -EINVAL);
    skink_recovery_options recovery_options = SKINK_RECOVERY_OPTIONS_INIT;
    recovery_options.action = SKINK_ACTION_HOLD;
    skink_recovery *recovery;
    assert_int_equal(skink_recovery_create(&recovery_options, &recovery), -EINVAL);
    assert_int_equal(skink_recovery_counts(NULL, add, NULL), -EINVAL);
    assert_string_equal(skink_action_name(SKINK_ACTION_REPORT), "report");
    assert_string_equal(skink_action_name((skink_action)77), "unknown");
    assert_int_equal(fixture_stop(&f), 0);
}

static const struct test_case cases[] = {
    CASE(a_slice_that_is_only_reported_stays_where_it_is),
    CASE(a_slice_that_is_not_watched_may_take_as_long_as_it_wants),
    CASE(a_task_may_want_more_than_its_recovery),
    CASE(what_has_no_end_never_comes),
    CASE(a_burst_in_a_window_without_end_is_one),
    CASE(half_of_the_time_is_noted_once),
    CASE(a_late_slice_that_makes_calls_is_peeked_at_and_goes_on),
    CASE(actions_that_are_none_are_refused),
};

TEST_MAIN(cases, NULL, NULL)
