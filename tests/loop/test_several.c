/* SPDX-License-Identifier: MIT */
/* test_several.c - waiting for the first of several futures, for all of them, and trying again. */
#include "loop/state.h"
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#define UNSET 1
enum { MANY = 8 };

struct fixture {
    skink_scheduler *scheduler;
    skink_future *futures[MANY];
    uint64_t deadline_ns;
    _Atomic int result;
    _Atomic size_t index;
    _Atomic bool waiting;
    _Atomic int attempts;
    uint64_t begun_ns[16];
    skink_retry_options retry;
    uint64_t retry_for_ns; /* from the moment at which the task runs; 0: as the options say */
    int succeed_at;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(skink_future_create(&f->futures[i]), 0);
    f->deadline_ns = SKINK_FOREVER;
    f->retry = (skink_retry_options)SKINK_RETRY_OPTIONS_INIT;
    atomic_store(&f->result, UNSET);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    skink_scheduler_destroy(f->scheduler);
    for (int i = 0; i < MANY; i++)
        skink_future_unref(f->futures[i]);
    free(f);
    return 0;
}

static void wait_any(void *arg)
{
    struct fixture *f = arg;
    size_t index = 99;
    atomic_store(&f->waiting, true);
    int err = skink_await_any(f->futures, MANY, f->deadline_ns, &index);
    atomic_store(&f->index, index);
    atomic_store(&f->result, err);
}

static void wait_all(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->waiting, true);
    atomic_store(&f->result, skink_await_all(f->futures, MANY, f->deadline_ns));
}

static void *any_on_thread(void *arg)
{
    wait_any(arg);
    return NULL;
}

static void start(struct fixture *f, void (*fn)(void *arg))
{
    atomic_store(&f->waiting, false);
    atomic_store(&f->result, UNSET);
    assert_int_equal(skink_post(f->scheduler, fn, f), 0);
    test_wait_until(atomic_load(&f->waiting), 5000);
}

static int result_of(struct fixture *f)
{
    test_wait_until(atomic_load(&f->result) != UNSET, 5000);
    return atomic_load(&f->result);
}

static void any_ends_with_the_first_in_a_task_and_on_a_thread(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, any_on_thread, f), 0);
    test_wait_until(atomic_load(&f->waiting), 5000);
    assert_int_equal(skink_future_fail(f->futures[5], -EIO), 0);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&f->result), 0);
    assert_int_equal(atomic_load(&f->index), 5);
    skink_future_unref(f->futures[5]);
    assert_int_equal(skink_future_create(&f->futures[5]), 0);

    start(f, wait_any);
    assert_int_equal(skink_future_complete(f->futures[3], f), 0);
    assert_int_equal(result_of(f), 0);
    assert_int_equal(atomic_load(&f->index), 3);
    assert_int_equal(skink_future_complete(f->futures[1], f), 0); /* nobody waits for it any more */
    start(f, wait_any);
    assert_int_equal(result_of(f), 0);
    assert_int_equal(atomic_load(&f->index), 1); /* the first of those that are complete */
}

static void any_ends_at_its_deadline_and_when_cancelled(void **state)
{
    struct fixture *f = *state;
    f->deadline_ns = skink_after(10 * SKINK_MS);
    start(f, wait_any);
    assert_int_equal(result_of(f), -ETIMEDOUT);
    f->deadline_ns = skink_after(10 * SKINK_MS);
    wait_any(f); /* a thread */
    assert_int_equal(atomic_load(&f->result), -ETIMEDOUT);
    f->deadline_ns = SKINK_FOREVER;
    skink_task *task;
    atomic_store(&f->waiting, false);
    atomic_store(&f->result, UNSET);
    assert_int_equal(skink_spawn(f->scheduler, NULL, &task, wait_any, f), 0);
    test_wait_until(atomic_load(&f->waiting), 5000);
    assert_int_equal(skink_task_cancel(task), 0);
    assert_int_equal(result_of(f), -ECANCELED);
    skink_task_unref(task);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(skink_future_complete(f->futures[i], NULL), 0); /* finds nobody */
}

static void any_of_nothing_is_refused(void **state)
{
    struct fixture *f = *state;
    size_t index;
    skink_future *with_null[] = { f->futures[0], NULL };
    assert_int_equal(skink_await_any(NULL, 1, 0, &index), -EINVAL);
    assert_int_equal(skink_await_any(f->futures, 0, 0, &index), -EINVAL);
    assert_int_equal(skink_await_any(with_null, 2, 0, &index), -EINVAL);
    assert_int_equal(skink_await_all(NULL, 0, 0), 0);
    assert_int_equal(skink_await_all(NULL, 1, 0), -EINVAL);
}

static void *complete_even(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < MANY; i += 2)
        (void)!skink_future_complete(f->futures[i], NULL);
    return NULL;
}

static void *complete_odd(void *arg)
{
    struct fixture *f = arg;
    for (int i = 1; i < MANY; i += 2)
        (void)!skink_future_complete(f->futures[i], NULL);
    return NULL;
}

/* Several complete at once, and the deadline passes at that moment: it ends once, and nothing is touched afterwards. */
static void any_ends_once_whoever_is_first(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 100; round++) {
        f->deadline_ns = skink_after(SKINK_MS);
        start(f, wait_any);
        pthread_t even, odd;
        assert_int_equal(pthread_create(&even, NULL, complete_even, f), 0);
        assert_int_equal(pthread_create(&odd, NULL, complete_odd, f), 0);
        int err = result_of(f);
        assert_true(err == 0 || err == -ETIMEDOUT);
        pthread_join(even, NULL);
        pthread_join(odd, NULL);
        for (int i = 0; i < MANY; i++) {
            skink_future_unref(f->futures[i]);
            assert_int_equal(skink_future_create(&f->futures[i]), 0);
        }
    }
}

enum { RACES = TEST_TSAN ? 1000 : 8000, LEAD_MAX = 300 };

/* A completion by another thread and a cancellation by the loop. Who has won starts a little later the next time, so
 * that both come to the point at about the same moment. */
struct race {
    struct fixture *f;
    skink_task *task;
    int lead;            /* of the completion, in turns of a loop; negative: of the cancellation */
    _Atomic int arrived; /* four times in each round */
    _Atomic int completed, cancelled;
};

/* Wait for the other one, and once more, when both are on a processor; and then a little longer. */
static void meet(struct race *race, int round, int sign)
{
    for (int again = 0; again < 2; again++) {
        atomic_fetch_add(&race->arrived, 1);
        for (int i = 1; atomic_load(&race->arrived) < 4 * round - 2 + 2 * again; i++)
            if (i % (again ? 100000 : 100) == 0) sched_yield();
    }
    for (volatile int i = 0; i < sign * race->lead; i++)
        continue;
}

static void cancel_in_race(void *arg)
{
    struct race *race = arg;
    int round = atomic_load(&race->cancelled) + 1;
    meet(race, round, 1);
    (void)!skink_task_cancel(race->task);
    atomic_store(&race->cancelled, round);
}

static void *complete_in_race(void *arg)
{
    struct race *race = arg;
    for (int round = 1; round <= RACES; round++) {
        meet(race, round, -1);
        (void)!skink_future_complete(race->f->futures[0], NULL);
        atomic_store(&race->completed, round);
    }
    return NULL;
}

/* Goal: of a completion and a cancellation at the same moment one ends the wait, and the other one touches nothing. */
static void any_ends_once_when_completed_and_cancelled(void **state)
{
    struct fixture *f = *state;
    struct race race = { .f = f };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, complete_in_race, &race), 0);
    for (int round = 1; round <= RACES; round++) {
        assert_int_equal(skink_spawn(f->scheduler, NULL, &race.task, wait_any, f), 0);
        assert_int_equal(skink_post(f->scheduler, cancel_in_race, &race), 0);
        assert_int_equal(skink_task_await(race.task, test_deadline_ns(5000)), 0);
        int err = atomic_load(&f->result);
        assert_true(err == 0 || err == -ECANCELED);
        while (atomic_load(&race.completed) < round || atomic_load(&race.cancelled) < round)
            sched_yield();
        if (err ? race.lead < LEAD_MAX : race.lead > -LEAD_MAX) race.lead += err ? 1 : -1;
        skink_task_unref(race.task);
        skink_future_unref(f->futures[0]);
        assert_int_equal(skink_future_create(&f->futures[0]), 0);
    }
    pthread_join(thread, NULL);
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(5000)), 0);
}

struct meeting {
    struct fixture *f;
    skink_task *task;
    bool linked, claimed, woken, aborted; /* what came of it */
};

/* The steps of skink_future_complete() and of skink__task_cancel_here(), as they meet. */
static void complete_amid_a_cancellation(struct uv_loop_s *loop, void *arg)
{
    struct meeting *meeting = arg;
    skink_future *future = meeting->f->futures[0];
    skink_scheduler *scheduler = meeting->f->scheduler;
    (void)loop;
    skink__assume_runtime(); /* as skink_scheduler_uv() says */
    skink__future_lock(future);
    struct skink__any_waiter *waiter = (struct skink__any_waiter *)future->waiters;
    skink__future_unlock(future);
    meeting->linked = skink__future_unlink(future, &waiter->base);
    meeting->claimed = skink__wait_claim(meeting->task);
    SKINK__ASSUME(skink__future_mutex); /* nobody else has to do with it */
    skink__any_wake(waiter, scheduler);
    meeting->woken = skink__task_state(meeting->task) != SKINK__TASK_WAITING;
    meeting->aborted = meeting->task->wait_abort(meeting->task);
    if (!meeting->woken) skink__wait_wake(meeting->task, -ECANCELED, true);
}

/* Goal: who comes second touches nothing, also when it comes between the first steps of the first.
 * | cancellation       | completion                       |
 * | claims the wait    |                                  |
 * |                    | claims the wait for several      |
 * |                    | finds the task's claimed: leaves |
 * | unlinks the others |                                  |
 * | wakes the task     |                                  | */
static void any_that_is_being_cancelled_is_not_woken_by_a_completion(void **state)
{
    struct fixture *f = *state;
    struct meeting meeting = { .f = f };
    assert_int_equal(skink_spawn(f->scheduler, NULL, &meeting.task, wait_any, f), 0);
    test_wait_until(skink__task_state(meeting.task) == SKINK__TASK_WAITING, 5000);
    assert_int_equal(skink_scheduler_uv(f->scheduler, complete_amid_a_cancellation, &meeting), 0);
    assert_true(meeting.linked);
    assert_true(meeting.claimed);
    assert_false(meeting.woken);
    assert_false(meeting.aborted); /* that is who had claimed it before */
    assert_int_equal(skink_task_await(meeting.task, test_deadline_ns(5000)), 0);
    assert_int_equal(atomic_load(&f->result), -ECANCELED);
    for (int i = 1; i < MANY; i++) {
        skink__future_lock(f->futures[i]);
        bool alone = f->futures[i]->waiters == NULL;
        skink__future_unlock(f->futures[i]);
        assert_true(alone);
    }
    skink_task_unref(meeting.task);
}

/* A task that waits when its scheduler is destroyed leaves nothing behind. */
static void a_dropped_wait_is_not_found_any_more(void **state)
{
    struct fixture *f = *state;
    skink_scheduler *idle;
    assert_int_equal(skink_scheduler_create(NULL, &idle), 0);
    assert_int_equal(skink_scheduler_start(idle), 0);
    assert_int_equal(skink_post(idle, wait_any, f), 0);
    test_wait_until(atomic_load(&f->waiting), 5000);
    skink_scheduler_destroy(idle);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(skink_future_complete(f->futures[i], NULL), 0);
}

static void all_waits_for_the_last_and_tells_the_first_error(void **state)
{
    struct fixture *f = *state;
    start(f, wait_all);
    assert_int_equal(skink_future_fail(f->futures[6], -EPIPE), 0);
    for (int i = 0; i < MANY - 1; i++)
        if (i != 6 && i != 2) assert_int_equal(skink_future_complete(f->futures[i], NULL), 0);
    assert_int_equal(skink_future_fail(f->futures[2], -EIO), 0);
    assert_int_equal(atomic_load(&f->result), UNSET);
    assert_int_equal(skink_future_complete(f->futures[MANY - 1], NULL), 0);
    assert_int_equal(result_of(f), -EIO);
}

static void all_ends_at_its_deadline(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < MANY - 1; i++)
        assert_int_equal(skink_future_complete(f->futures[i], NULL), 0);
    f->deadline_ns = skink_after(10 * SKINK_MS);
    start(f, wait_all);
    assert_int_equal(result_of(f), -ETIMEDOUT);
}

/* --- again --- */

static int attempt(uint32_t number, void *arg)
{
    struct fixture *f = arg;
    f->begun_ns[number] = skink_now();
    if ((int)number != atomic_fetch_add(&f->attempts, 1) + 1) return -EINVAL;
    return (int)number == f->succeed_at ? 0 : -EIO;
}

static void retry(void *arg)
{
    struct fixture *f = arg;
    if (f->retry_for_ns) f->retry.deadline_ns = skink_after(f->retry_for_ns);
    atomic_store(&f->result, skink_retry(&f->retry, attempt, f));
}

static int run_retry(struct fixture *f)
{
    atomic_store(&f->attempts, 0);
    atomic_store(&f->result, UNSET);
    assert_int_equal(skink_post(f->scheduler, retry, f), 0);
    return result_of(f);
}

static void it_is_tried_until_it_succeeds_with_growing_pauses(void **state)
{
    struct fixture *f = *state;
    f->retry.attempts_max = 10;
    f->retry.pause_ns = 4 * SKINK_MS;
    f->retry.pause_max_ns = 10 * SKINK_MS;
    f->retry.no_jitter = true;
    f->succeed_at = 5;
    assert_int_equal(run_retry(f), 0);
    assert_int_equal(atomic_load(&f->attempts), 5);
    static const uint64_t pauses_ms[] = { 4, 8, 10, 10 };
    for (int i = 0; i < 4; i++)
        assert_true(f->begun_ns[i + 2] - f->begun_ns[i + 1] >= pauses_ms[i] * SKINK_MS);
}

static void attempts_are_counted_and_the_last_error_told(void **state)
{
    struct fixture *f = *state;
    f->retry.pause_ns = SKINK_MS;
    assert_int_equal(run_retry(f), -EIO);
    assert_int_equal(atomic_load(&f->attempts), 3);
}

static bool only_the_first(int error, uint32_t number, void *arg)
{
    (void)arg;
    return error == -EIO && number < 2;
}

static void the_predicate_decides(void **state)
{
    struct fixture *f = *state;
    f->retry.pause_ns = SKINK_MS;
    f->retry.attempts_max = 100;
    f->retry.retryable = only_the_first;
    assert_int_equal(run_retry(f), -EIO);
    assert_int_equal(atomic_load(&f->attempts), 2);
}

static void the_deadline_ends_a_pause(void **state)
{
    struct fixture *f = *state;
    f->retry.pause_ns = 3600 * SKINK_S;
    f->retry.pause_max_ns = 3600 * SKINK_S;
    f->retry_for_ns = 100 * SKINK_MS;
    assert_int_equal(run_retry(f), -ETIMEDOUT);
    assert_int_equal(atomic_load(&f->attempts), 1);
}

static void a_cancelled_task_does_not_try_again(void **state)
{
    struct fixture *f = *state;
    skink_task *task;
    f->retry.pause_ns = 3600 * SKINK_S;
    f->retry.pause_max_ns = 3600 * SKINK_S;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &task, retry, f), 0);
    test_wait_until(atomic_load(&f->attempts) == 1, 5000);
    assert_int_equal(skink_task_cancel(task), 0);
    assert_int_equal(result_of(f), -ECANCELED);
    assert_int_equal(atomic_load(&f->attempts), 1);
    skink_task_unref(task);
}

/* Of pauses of 40 ms with half of it up to chance, some are clearly shorter, and none is shorter than half. */
static void jitter_spreads_the_pauses(void **state)
{
    struct fixture *f = *state;
    f->retry.attempts_max = 12;
    f->retry.pause_ns = 20 * SKINK_MS;
    f->retry.pause_max_ns = 20 * SKINK_MS;
    uint64_t shortest = UINT64_MAX, deadline_ns = test_deadline_ns(5000);
    do { /* on a busy machine all may take longer for once */
        assert_int_equal(run_retry(f), -EIO);
        for (int i = 1; i < 12; i++) {
            uint64_t pause = f->begun_ns[i + 1] - f->begun_ns[i];
            if (pause < shortest) shortest = pause;
        }
    } while (shortest >= 20 * SKINK_MS && test_now_ns() < deadline_ns);
    assert_true(shortest >= 10 * SKINK_MS);
    assert_true(shortest < 20 * SKINK_MS);
}

static void bad_retries_are_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_retry(NULL, NULL, f), -EINVAL);
    assert_int_equal(skink_retry(NULL, attempt, f), -EPERM);
    f->retry.jitter_percent = 101;
    assert_int_equal(skink_retry(&f->retry, attempt, f), -EINVAL);
    assert_int_equal(atomic_load(&f->attempts), 0);
}

static const struct test_case cases[] = {
    CASE(any_ends_with_the_first_in_a_task_and_on_a_thread),
    CASE(any_ends_at_its_deadline_and_when_cancelled),
    CASE(any_of_nothing_is_refused),
    CASE(any_ends_once_whoever_is_first),
    CASE(any_ends_once_when_completed_and_cancelled),
    CASE(any_that_is_being_cancelled_is_not_woken_by_a_completion),
    CASE(a_dropped_wait_is_not_found_any_more),
    CASE(all_waits_for_the_last_and_tells_the_first_error),
    CASE(all_ends_at_its_deadline),
    CASE(it_is_tried_until_it_succeeds_with_growing_pauses),
    CASE(attempts_are_counted_and_the_last_error_told),
    CASE(the_predicate_decides),
    CASE(the_deadline_ends_a_pause),
    CASE(a_cancelled_task_does_not_try_again),
    CASE(jitter_spreads_the_pauses),
    CASE(bad_retries_are_refused),
};
TEST_MAIN(cases, setup, teardown)
