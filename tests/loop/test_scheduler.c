/* SPDX-License-Identifier: MIT */
/*
 * test_scheduler.c - a scheduler's life, and its tasks on the one loop thread. No recovery: nothing is abandoned.
 *
 * Its turns are in test_turn.c, its limit of tasks in test_task_limit.c, its stop in test_scheduler_stop.c.
 */
#include "loop/state.h"
#include "skink/skink.h"
#include "tests/loop/fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static void posts_from_outside_all_run(void **state)
{
    struct fixture *f = *state;
    fixture_start(f);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(skink_post(f->scheduler, count_one, f), 0);
    test_wait_until(atomic_load(&f->finished) == 10000, 5000);
    fixture_stop_clean(f);
}

static void posts_before_the_start_run_after_it(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++)
        assert_int_equal(skink_post(f->scheduler, count_one, f), 0);
    assert_int_equal(atomic_load(&f->finished), 0);
    fixture_start(f);
    test_wait_until(atomic_load(&f->finished) == 10, 5000);
    fixture_stop_clean(f);
}

struct sequence {
    struct fixture *f;
    int next[4];
    _Atomic int bad, seen;
};

struct numbered {
    struct sequence *sequence;
    int poster, number;
};

static void check_order(void *arg)
{
    struct numbered *n = arg;
    if (n->sequence->next[n->poster]++ != n->number) atomic_fetch_add(&n->sequence->bad, 1);
    atomic_fetch_add(&n->sequence->seen, 1);
    free(n);
}

enum { ORDERED = 5000 };

static void *post_numbered(void *arg)
{
    struct numbered *first = arg;
    for (int i = 0; i < ORDERED; i++) {
        struct numbered *n = malloc(sizeof *n);
        *n = (struct numbered){ first->sequence, first->poster, i };
        assert_int_equal(skink_post(first->sequence->f->scheduler, check_order, n), 0);
    }
    return NULL;
}

static void posts_of_each_thread_run_in_order(void **state)
{
    struct fixture *f = *state;
    struct sequence sequence = { .f = f };
    struct numbered posters[4];
    pthread_t threads[4];
    fixture_start(f);
    for (int i = 0; i < 4; i++) {
        posters[i] = (struct numbered){ &sequence, i, 0 };
        assert_int_equal(pthread_create(&threads[i], NULL, post_numbered, &posters[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    test_wait_until(atomic_load(&sequence.seen) == 4 * ORDERED, 10000);
    assert_int_equal(atomic_load(&sequence.bad), 0);
    fixture_stop_clean(f);
}

/* Goal: while tasks sleep they are all in flight, and never two run at once. */
static void thirty_sleeping_tasks_are_all_in_flight_and_never_two_run(void **state)
{
    struct fixture *f = *state;
    fixture_start(f);
    uint64_t begun = skink_now();
    for (int i = 0; i < 30; i++)
        assert_int_equal(skink_post(f->scheduler, sleep_between, f), 0);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_suspended == 30, 5000);
    test_wait_until(atomic_load(&f->finished) == 30, 5000);
    assert_true(skink_now() - begun >= 60 * SKINK_MS); /* none woke early */
    assert_int_equal(atomic_load(&f->most_running), 1);
    fixture_stop_clean(f);
    assert_int_equal(skink_scheduler_stats_read(f->scheduler, &stats), 0);
    assert_int_equal(stats.tasks_living, 0);
    assert_int_equal(stats.tasks_suspended, 0);
    assert_int_equal(stats.tasks_started, 30);
}

/* A task's object has been another's before, which was cancelled, too. */
static void sleep_until_it_is_cancelled(void *arg)
{
    _Atomic int *result = arg;
    atomic_store(result, skink_sleep_until(SKINK_FOREVER));
}

static void every_task_can_be_cancelled_from_elsewhere(void **state)
{
    struct fixture *f = *state;
    fixture_start(f);
    for (int i = 0; i < 300; i++) {
        _Atomic int result = 1;
        skink_task *task;
        assert_int_equal(skink_spawn(f->scheduler, NULL, &task, sleep_until_it_is_cancelled, (void *)&result), 0);
        assert_int_equal(skink_task_cancel(task), 0);
        assert_int_equal(skink_task_await(task, test_deadline_ns(5000)), 0);
        assert_int_equal(atomic_load(&result), -ECANCELED);
        skink_task_unref(task);
    }
    fixture_stop_clean(f);
}

static void spawn_and_await_ten(void *arg)
{
    struct fixture *f = arg;
    skink_task *tasks[10];
    for (int i = 0; i < 10; i++)
        assert_int_equal(skink_spawn(f->scheduler, NULL, &tasks[i], sleep_between, f), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(skink_task_await(tasks[i], SKINK_FOREVER), 0);
        skink_task_unref(tasks[i]);
    }
    assert_int_equal(atomic_load(&f->finished), 10);
    atomic_fetch_add(&f->finished, 100);
}

static void a_task_awaits_tasks_it_spawned(void **state)
{
    struct fixture *f = *state;
    fixture_start(f);
    skink_task *task;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &task, spawn_and_await_ten, f), 0);
    assert_int_equal(skink_task_await(task, test_deadline_ns(5000)), 0); /* blocks this thread */
    skink_task_unref(task);
    assert_int_equal(atomic_load(&f->finished), 110);
    fixture_stop_clean(f);
}

static void cancel_ends_a_sleep_and_every_later_wait(void **state)
{
    struct fixture *f = *state;
    struct sleeper s = { .result = 1 };
    skink_task *task;
    fixture_start(f);
    assert_int_equal(skink_spawn(f->scheduler, NULL, &task, sleep_for_ever, &s), 0);
    test_wait_until(atomic_load(&s.asleep), 5000);
    assert_int_equal(skink_token_status(s.token), 0);
    assert_int_equal(skink_task_cancel(task), 0);
    assert_int_equal(skink_task_await(task, test_deadline_ns(5000)), 0);
    assert_int_equal(atomic_load(&s.result), -ECANCELED);
    assert_int_equal(skink_token_status(s.token), -ECANCELED);
    assert_int_equal(skink_task_cancel(task), -ESRCH);
    skink_token_unref(s.token);
    skink_task_unref(task);
    fixture_stop_clean(f);
}

static void a_stopped_scheduler_starts_again(void **state)
{
    struct fixture *f = *state;
    for (int round = 1; round <= 3; round++) {
        fixture_start(f);
        assert_int_equal(skink_scheduler_start(f->scheduler), -EALREADY);
        assert_int_equal(skink_post(f->scheduler, count_one, f), 0);
        test_wait_until(atomic_load(&f->finished) == round, 5000);
        fixture_stop_clean(f);
        assert_int_equal(skink_scheduler_stop(f->scheduler, 0), -EALREADY);
    }
}

enum { PEAK = 1000 };

struct peak {
    struct fixture *fixture;
    size_t stacks, cold; /* of the pool */
};

static void be_one_of_a_peak(void *arg)
{
    struct peak *peak = arg;
    atomic_fetch_add(&peak->fixture->running, 1);
    while (atomic_load(&peak->fixture->running) < PEAK)
        assert_int_equal(skink_sleep(SKINK_MS), 0);
    atomic_fetch_add(&peak->fixture->finished, 1);
}

static void look_at_stacks(struct uv_loop_s *loop, void *arg)
{
    struct peak *peak = arg;
    (void)loop;
    peak->stacks = peak->fixture->scheduler->stacks.free_count;
    peak->cold = peak->fixture->scheduler->stacks.cold_count;
}

static void stacks_of_a_peak_are_given_back_when_nobody_needs_them(void **state)
{
    struct fixture *f = *state;
    struct peak peak = { .fixture = f };
    fixture_start(f);
    for (int i = 0; i < PEAK; i++)
        assert_int_equal(skink_post(f->scheduler, be_one_of_a_peak, &peak), 0);
    test_wait_until(atomic_load(&f->finished) == PEAK, 5000);
    assert_int_equal(skink_scheduler_uv(f->scheduler, look_at_stacks, &peak), 0);
    assert_true(peak.stacks > PEAK / 2);
    assert_int_equal(peak.cold, 0); /* the next peak may come soon */
    /* Nothing else happens on the loop. */
    test_wait_until(skink_scheduler_uv(f->scheduler, look_at_stacks, &peak) == 0 && peak.stacks <= 64, 15000);
    fixture_stop_clean(f);
}

static void misuse_is_refused(void **state)
{
    struct fixture *f = *state;
    skink_scheduler *scheduler;
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.flags = 1;
    assert_int_equal(skink_scheduler_create(&options, &scheduler), -EINVAL);
    options.flags = 0;
    options.stack_size_bytes = 100;
    assert_int_equal(skink_scheduler_create(&options, &scheduler), -EINVAL);
    struct {
        skink_scheduler_options known;
        uint64_t future_field;
    } newer = { .known = { .size = sizeof newer }, .future_field = 1 };
    assert_int_equal(skink_scheduler_create(&newer.known, &scheduler), -E2BIG);
    assert_int_equal(skink_post(f->scheduler, NULL, NULL), -EINVAL);
    assert_int_equal(skink_post(NULL, count_one, NULL), -EINVAL);
    assert_int_equal(skink_yield(), -EPERM);
    assert_int_equal(skink_sleep(1), -EPERM);
    assert_int_equal(skink_checkpoint(), -EPERM);
    assert_null(skink_task_current());
    assert_null(skink_task_token());
    assert_null(skink_scheduler_current());
    assert_int_equal(skink_scheduler_stop(f->scheduler, 0), -EALREADY);
}

static void stop_here(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->running, skink_scheduler_stop(f->scheduler, 0) == -EDEADLK);
    atomic_store(&f->finished, skink_task_await(skink_task_current(), SKINK_FOREVER) == -EDEADLK);
}

static void a_task_cannot_wait_for_itself_or_stop_its_scheduler(void **state)
{
    struct fixture *f = *state;
    fixture_start(f);
    assert_int_equal(skink_post(f->scheduler, stop_here, f), 0);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    assert_int_equal(atomic_load(&f->running), 1);
    fixture_stop_clean(f);
}

static const struct test_case cases[] = {
    CASE(posts_from_outside_all_run),
    CASE(posts_before_the_start_run_after_it),
    CASE(posts_of_each_thread_run_in_order),
    CASE(thirty_sleeping_tasks_are_all_in_flight_and_never_two_run),
    CASE(a_task_awaits_tasks_it_spawned),
    CASE(cancel_ends_a_sleep_and_every_later_wait),
    CASE(a_stopped_scheduler_starts_again),
    CASE(stacks_of_a_peak_are_given_back_when_nobody_needs_them),
    CASE(every_task_can_be_cancelled_from_elsewhere),
    CASE(misuse_is_refused),
    CASE(a_task_cannot_wait_for_itself_or_stop_its_scheduler),
};
TEST_MAIN(cases, fixture_setup, fixture_teardown)
