/* SPDX-License-Identifier: MIT */
/* test_future.c - completed once from anywhere; awaited by tasks, threads and continuations. */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct fixture {
    skink_scheduler *scheduler;
    skink_future *future;
    _Atomic int result;
    _Atomic(void *) value;
    _Atomic int finished;
    _Atomic(pthread_t) thread;
    uint64_t deadline_ns;
};

static int value_of_seven = 7;

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(skink_future_create(&f->future), 0);
    atomic_store(&f->result, 1);
    f->deadline_ns = SKINK_FOREVER;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    skink_scheduler_destroy(f->scheduler);
    skink_future_unref(f->future);
    free(f);
    return 0;
}

static void await_it(void *arg)
{
    struct fixture *f = arg;
    void *value = NULL;
    int err = skink_await(f->future, f->deadline_ns, &value);
    atomic_store(&f->value, value);
    atomic_store(&f->result, err);
    atomic_fetch_add(&f->finished, 1);
}

static void *await_on_thread(void *arg)
{
    await_it(arg);
    return NULL;
}

static void post(struct fixture *f, void (*fn)(void *arg))
{
    assert_int_equal(skink_post(f->scheduler, fn, f), 0);
}

static void wait_suspended(struct fixture *f, uint64_t count)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_suspended == count, 5000);
}

static void a_thread_completes_what_a_task_awaits(void **state)
{
    struct fixture *f = *state;
    post(f, await_it);
    wait_suspended(f, 1);
    assert_int_equal(skink_future_complete(f->future, &value_of_seven), 0);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    assert_int_equal(atomic_load(&f->result), 0);
    assert_ptr_equal(atomic_load(&f->value), &value_of_seven);
}

static void complete_it(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->result, skink_future_complete(f->future, &value_of_seven));
}

static void a_task_completes_what_a_thread_awaits(void **state)
{
    struct fixture *f = *state;
    post(f, complete_it);
    void *value = NULL;
    assert_int_equal(skink_await(f->future, test_deadline_ns(5000), &value), 0);
    assert_ptr_equal(value, &value_of_seven);
}

static void a_second_completion_is_refused_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    assert_false(skink_future_is_done(f->future));
    assert_int_equal(skink_future_fail(f->future, -EIO), 0);
    assert_true(skink_future_is_done(f->future));
    assert_int_equal(skink_future_complete(f->future, &value_of_seven), -EALREADY);
    assert_int_equal(skink_future_fail(f->future, -EBADF), -EALREADY);
    assert_int_equal(skink_await(f->future, 0, NULL), -EIO);
    assert_int_equal(skink_future_fail(f->future, 5), -EINVAL);
}

static void a_hundred_tasks_and_threads_get_the_same_value(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[4];
    for (int i = 0; i < 96; i++)
        post(f, await_it);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, await_on_thread, f), 0);
    wait_suspended(f, 96);
    assert_int_equal(skink_future_complete(f->future, &value_of_seven), 0);
    test_wait_until(atomic_load(&f->finished) == 100, 5000);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&f->result), 0);
}

static void await_ends_at_its_deadline_in_a_task_and_on_a_thread(void **state)
{
    struct fixture *f = *state;
    uint64_t begun = skink_now();
    f->deadline_ns = begun + 30 * SKINK_MS;
    post(f, await_it);
    assert_int_equal(skink_await(f->future, f->deadline_ns, NULL), -ETIMEDOUT);
    assert_true(skink_now() - begun >= 30 * SKINK_MS);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    assert_true(skink_now() - begun >= 30 * SKINK_MS);
    assert_int_equal(atomic_load(&f->result), -ETIMEDOUT);
    /* Nobody is linked any more: a completion finds nothing to wake. */
    assert_int_equal(skink_future_complete(f->future, NULL), 0);
}

/* Goal: deadline and completion of the same wait, at the same moment, end it exactly once.
 * | completer thread | loop thread               |
 * | complete         | deadline timer goes off   |
 * Many rounds, the completer aiming at the deadline. */
struct race {
    skink_scheduler *scheduler;
    skink_future *future;
    uint64_t deadline_ns;
    _Atomic int ended;
};

static void await_race(void *arg)
{
    struct race *race = arg;
    skink_future *future = race->future; /* the next round's, once `ended` has been counted up */
    int err = skink_await(future, race->deadline_ns, NULL);
    assert_true(err == 0 || err == -ETIMEDOUT);
    skink_future_unref(future);
    atomic_fetch_add(&race->ended, 1);
}

static void a_wait_ends_once_when_deadline_and_completion_meet(void **state)
{
    struct fixture *f = *state;
    struct race race = { .scheduler = f->scheduler };
    enum { ROUNDS = 300 };
    for (int round = 0; round < ROUNDS; round++) {
        assert_int_equal(skink_future_create(&race.future), 0);
        skink_future *mine = skink_future_ref(race.future);
        uint64_t now = skink_now();
        race.deadline_ns = (now / SKINK_MS + 2) * SKINK_MS; /* timers go off at whole milliseconds */
        assert_int_equal(skink_post(f->scheduler, await_race, &race), 0);
        while (skink_now() < race.deadline_ns + (uint64_t)round * 500) {
        }
        assert_int_equal(skink_future_complete(mine, NULL), 0);
        test_wait_until(atomic_load(&race.ended) == round + 1, 5000);
        skink_future_unref(mine);
    }
}

static void block_for_it(void *arg)
{
    struct fixture *f = arg;
    void *value = NULL;
    atomic_store(&f->result, skink_future_block(f->future, f->deadline_ns, &value));
    atomic_store(&f->value, value);
    atomic_fetch_add(&f->finished, 1);
}

static void block_really_blocks_the_loop(void **state)
{
    struct fixture *f = *state;
    struct fixture other = *f;
    post(f, block_for_it);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_started == 1, 5000);
    assert_int_equal(skink_post(f->scheduler, complete_it, &other), 0);
    uint64_t until = skink_now() + 50 * SKINK_MS;
    test_wait_until(skink_now() > until, 5000);
    assert_int_equal(atomic_load(&f->finished), 0); /* what would complete it stands behind it in the queue */
    assert_false(skink_future_is_done(f->future));
    assert_int_equal(skink_future_complete(f->future, &value_of_seven), 0);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    assert_ptr_equal(atomic_load(&f->value), &value_of_seven);
    test_wait_until(atomic_load(&other.result) == -EALREADY, 5000);
}

/* ---- continuations ---- */

static void continuation(void *arg, int error, void *value)
{
    struct fixture *f = arg;
    atomic_store(&f->result, error);
    atomic_store(&f->value, value);
    atomic_store(&f->thread, pthread_self());
    if (skink_scheduler_current() == f->scheduler && skink_task_current()) atomic_fetch_add(&f->finished, 100);
    atomic_fetch_add(&f->finished, 1);
}

static void a_continuation_runs_where_it_was_told_to(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_future_then(f->future, SKINK_IN_PLACE, NULL, continuation, f), 0);
    assert_int_equal(skink_future_complete(f->future, &value_of_seven), 0);
    assert_int_equal(atomic_load(&f->finished), 1); /* already, and on this thread */
    assert_true(pthread_equal(atomic_load(&f->thread), pthread_self()));

    /* The future is complete by now: these start at once. */
    assert_int_equal(skink_future_then(f->future, SKINK_ON_LOOP, f->scheduler, continuation, f), 0);
    test_wait_until(atomic_load(&f->finished) == 102, 5000); /* in a task */
    assert_int_equal(skink_future_then(f->future, SKINK_ON_POOL, f->scheduler, continuation, f), 0);
    test_wait_until(atomic_load(&f->finished) == 103, 5000); /* on no loop thread */
    assert_false(pthread_equal(atomic_load(&f->thread), pthread_self()));
    assert_ptr_equal(atomic_load(&f->value), &value_of_seven);
    assert_int_equal(skink_future_then(f->future, SKINK_ON_LOOP, NULL, continuation, f), -EINVAL);
}

static void continuations_of_a_stopped_scheduler_run_in_place_and_cancelled(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_future_then(f->future, SKINK_ON_LOOP, f->scheduler, continuation, f), 0);
    assert_int_equal(skink_future_then(f->future, SKINK_ON_POOL, f->scheduler, continuation, f), 0);
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(1000)), 0);
    assert_int_equal(skink_future_complete(f->future, &value_of_seven), 0);
    assert_int_equal(atomic_load(&f->finished), 2);
    assert_int_equal(atomic_load(&f->result), -ECANCELED);
    assert_null(atomic_load(&f->value));
}

static void continuation_without_end(void *arg, int error, void *value)
{
    continuation(arg, error, value);
    for (;;)
        (void)!skink_yield();
}

/* It has become a task, and that never begins; or it has begun, and is dropped: then it is not called again. */
static void a_continuation_is_called_once_if_its_task_is_dropped(void **state)
{
    struct fixture *f = *state;
    skink_scheduler *never_started;
    assert_int_equal(skink_scheduler_create(NULL, &never_started), 0);
    assert_int_equal(skink_future_then(f->future, SKINK_ON_LOOP, never_started, continuation, f), 0);
    assert_int_equal(skink_future_complete(f->future, &value_of_seven), 0);
    assert_int_equal(atomic_load(&f->finished), 0);
    skink_scheduler_destroy(never_started);
    assert_int_equal(atomic_load(&f->finished), 1);
    assert_int_equal(atomic_load(&f->result), -ECANCELED);
    assert_null(atomic_load(&f->value));

    assert_int_equal(skink_future_then(f->future, SKINK_ON_LOOP, f->scheduler, continuation_without_end, f), 0);
    test_wait_until(atomic_load(&f->finished) == 102, 5000);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_now()), -ECANCELED);
    assert_int_equal(atomic_load(&f->finished), 102);
    assert_int_equal(atomic_load(&f->result), 0);
}

static void continuations_of_a_future_that_never_completes_go_with_it(void **state)
{
    struct fixture *f = *state;
    skink_future *future;
    assert_int_equal(skink_future_create(&future), 0);
    assert_int_equal(skink_future_then(future, SKINK_ON_LOOP, f->scheduler, continuation, f), 0);
    assert_int_equal(skink_future_then(future, SKINK_IN_PLACE, NULL, continuation, f), 0);
    skink_future_unref(future);
    assert_int_equal(atomic_load(&f->finished), 0);
}

static void await_in_runtime(struct uv_loop_s *loop, void *arg)
{
    struct fixture *f = arg;
    (void)loop;
    atomic_store(&f->result, skink_await(f->future, SKINK_FOREVER, NULL));
    if (skink_future_block(f->future, SKINK_FOREVER, NULL) == -EPERM && skink_sleep(1) == -EPERM)
        atomic_store(&f->finished, 1);
}

static void nothing_may_wait_inside_the_runtime_section(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_scheduler_uv(f->scheduler, await_in_runtime, f), 0);
    assert_int_equal(atomic_load(&f->result), -EPERM);
    assert_int_equal(atomic_load(&f->finished), 1);
}

static void cancelled_before_it_starts(void **state)
{
    struct fixture *f = *state;
    skink_scheduler *idle;
    skink_task *task;
    assert_int_equal(skink_scheduler_create(NULL, &idle), 0);
    assert_int_equal(skink_spawn(idle, NULL, &task, await_it, f), 0);
    assert_int_equal(skink_task_cancel(task), 0);
    assert_int_equal(skink_scheduler_start(idle), 0);
    assert_int_equal(skink_task_await(task, test_deadline_ns(5000)), 0);
    assert_int_equal(atomic_load(&f->result), -ECANCELED);
    skink_task_unref(task);
    skink_scheduler_destroy(idle);
}

static const struct test_case cases[] = {
    CASE(a_thread_completes_what_a_task_awaits),
    CASE(a_task_completes_what_a_thread_awaits),
    CASE(a_second_completion_is_refused_and_changes_nothing),
    CASE(a_hundred_tasks_and_threads_get_the_same_value),
    CASE(await_ends_at_its_deadline_in_a_task_and_on_a_thread),
    CASE(a_wait_ends_once_when_deadline_and_completion_meet),
    CASE(block_really_blocks_the_loop),
    CASE(a_continuation_runs_where_it_was_told_to),
    CASE(continuations_of_a_stopped_scheduler_run_in_place_and_cancelled),
    CASE(a_continuation_is_called_once_if_its_task_is_dropped),
    CASE(continuations_of_a_future_that_never_completes_go_with_it),
    CASE(nothing_may_wait_inside_the_runtime_section),
    CASE(cancelled_before_it_starts),
};
TEST_MAIN(cases, setup, teardown)
