/* SPDX-License-Identifier: MIT */
/* test_refused.c - a refused wait as an incident: who would have waited, where, and for what. */
#include "fixture.h"
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

struct refused {
    struct fixture f;
    skink_task *slow;
    _Atomic int result;
};

#define UNSET 1

__attribute__((noinline)) static int deep_inside(void)
{
    int err = skink_sleep(3600 * SKINK_S);
    __asm__ volatile(""); /* no tail call */
    return err;
}

static void slow_task(void *arg)
{
    (void)arg;
    (void)deep_inside();
}

__attribute__((noinline)) static int wait_in_vain(struct refused *r)
{
    int err = skink_task_block(r->slow, SKINK_FOREVER);
    __asm__ volatile("");
    return err;
}

static void impatient_task(void *arg)
{
    struct refused *r = arg;
    (void)!skink_yield(); /* the slow one begins */
    int err = wait_in_vain(r);
    (void)skink_task_cancel(r->slow);
    atomic_store(&r->result, err);
}

static void refuse_one(struct refused *r)
{
    skink_task_options slow = SKINK_TASK_OPTIONS_INIT, impatient = SKINK_TASK_OPTIONS_INIT;
    slow.name = "slow";
    impatient.name = "impatient";
    atomic_store(&r->result, UNSET);
    assert_int_equal(skink_spawn(r->f.scheduler, &slow, &r->slow, slow_task, r), 0);
    assert_int_equal(skink_spawn(r->f.scheduler, &impatient, NULL, impatient_task, r), 0);
    test_wait_until(atomic_load(&r->result) != UNSET, 5000);
    assert_int_equal(atomic_load(&r->result), -EDEADLK);
    assert_int_equal(skink_task_await(r->slow, test_deadline_ns(5000)), 0);
    skink_task_unref(r->slow);
}

static bool has_function(const skink_frame *stack, size_t count, const char *function)
{
    for (size_t i = 0; i < count; i++)
        if (stack[i].function && strcmp(stack[i].function, function) == 0) return true;
    return false;
}

static void it_has_the_stacks_of_both_sides(void **state)
{
    (void)state;
    struct refused r = { 0 };
    fixture_start(&r.f, NULL);
    refuse_one(&r);
    test_wait_until(atomic_load(&r.f.incidents) == 1, 10000);
    skink_incident *incident;
    assert_int_equal(skink_incident_newest(r.f.recovery, 0, &incident), 0);
    assert_true(incident->refused);
    assert_string_equal(incident->task, "impatient");
    assert_int_equal(incident->cause, SKINK_CAUSE_SELF_WAIT);
    assert_string_equal(incident->waits_on.kind, "future");
    assert_true(incident->waits_on.cycle);
    assert_int_equal(incident->waits_on.chain_length, 1);
    const skink_incident_owner *awaited = &incident->waits_on.chain[0];
    assert_string_equal(awaited->what, "task slow");
    if (!TEST_TSAN) {
        assert_true(has_function(incident->stack, incident->frame_count, "wait_in_vain"));
        assert_true(has_function(awaited->stack, awaited->frame_count, "deep_inside"));
    }
    skink_incident_free(incident);
    skink_recovery_stats stats = fixture_stats(&r.f);
    assert_int_equal(stats.deadlocks, 0);
    assert_int_equal(stats.strays_total, 0);
    assert_int_equal(fixture_stop(&r.f), 0);
}

/* More than there is room for: the rest is counted as lost, and nothing leaks. */
static void many_at_once_are_bounded(void **state)
{
    (void)state;
    struct refused r = { 0 };
    fixture_start(&r.f, NULL);
    for (int i = 0; i < 300; i++)
        refuse_one(&r);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    assert_int_equal(skink_scheduler_stats_read(r.f.scheduler, &stats), 0);
    assert_int_equal(stats.waits_refused, 300);
    assert_int_equal(fixture_stop(&r.f), 0);
}

static void nobody_is_told_once_it_is_unwatched(void **state)
{
    (void)state;
    struct refused r = { 0 };
    fixture_start(&r.f, NULL);
    assert_int_equal(skink_recovery_unwatch(r.f.recovery, r.f.scheduler), 0);
    refuse_one(&r);
    skink_incident *incident;
    assert_int_equal(skink_incident_newest(r.f.recovery, 0, &incident), -ENOENT);
    assert_int_equal(skink_recovery_watch(r.f.recovery, r.f.scheduler), 0);
    refuse_one(&r);
    test_wait_until(atomic_load(&r.f.incidents) == 1, 10000);
    assert_int_equal(fixture_stop(&r.f), 0);
}

static const struct test_case cases[] = {
    CASE(it_has_the_stacks_of_both_sides),
    CASE(many_at_once_are_bounded),
    CASE(nobody_is_told_once_it_is_unwatched),
};
TEST_MAIN(cases, NULL, NULL)
