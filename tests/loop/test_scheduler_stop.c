/* SPDX-License-Identifier: MIT */
/* test_scheduler_stop.c - the stop of a scheduler: its deadline,
 * and what becomes of the tasks that do not end by it. */
#include "skink/skink.h"
#include "tests/loop/fixture.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static void stop_cancels_what_sleeps_past_the_deadline(void **state)
{
    struct fixture *f = *state;
    struct sleeper s = { .result = 1 };
    fixture_start(f);
    assert_int_equal(skink_post(f->scheduler, sleep_for_ever, &s), 0);
    test_wait_until(atomic_load(&s.asleep), 5000);
    uint64_t begun = skink_now();
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_after(100 * SKINK_MS)), -ECANCELED);
    assert_in_range(skink_now() - begun, 100 * SKINK_MS, test_ms(test_patience(2000)));
    assert_int_equal(atomic_load(&s.result), -ECANCELED);
    assert_int_equal(skink_post(f->scheduler, count_one, f), -ECANCELED);
    skink_token_unref(s.token);
}

static void nap(void *arg)
{
    (void)arg;
    assert_int_equal(skink_sleep(20 * SKINK_MS), 0);
}

struct stopping {
    struct fixture *f;
    uint64_t deadline_ns;
    _Atomic int tid;
    int result;
};

static void *stop_by_its_deadline(void *arg)
{
    struct stopping *s = arg;
    atomic_store(&s->tid, (int)gettid());
    s->result = skink_scheduler_stop(s->f->scheduler, s->deadline_ns);
    return NULL;
}

static void sleep_until_cancelled(void *arg)
{
    struct fixture *f = arg;
    while (skink_sleep(SKINK_S) == 0)
        atomic_store(&f->running, 1);
    atomic_fetch_add(&f->finished, 1);
}

/* Goal: who has asked for a stop without a deadline can still end it.
 * | one thread             | another      | task                  |
 * | stop, for ever         |              | sleeps                |
 * |                        | stop, now    | cancelled, ends       |
 * | -ECANCELED             | -EALREADY    |                       | */
static void of_two_stops_the_earlier_deadline_holds(void **state)
{
    struct fixture *f = *state;
    struct stopping patient = { .f = f, .deadline_ns = SKINK_FOREVER };
    pthread_t thread;
    for (int i = 1; i <= 3; i++) {
        fixture_start(f);
        assert_int_equal(skink_post(f->scheduler, sleep_until_cancelled, f), 0);
        atomic_store(&patient.tid, 0);
        assert_int_equal(pthread_create(&thread, NULL, stop_by_its_deadline, &patient), 0);
        test_wait_until(atomic_load(&patient.tid), 5000);
        test_wait_until(skink_post(f->scheduler, count_one, f) == -ECANCELED, 5000); /* it is under way */
        assert_int_equal(skink_scheduler_stop(f->scheduler, i == 1 ? 0 : skink_now() + test_ms(10)), -EALREADY);
        pthread_join(thread, NULL);
        assert_int_equal(patient.result, -ECANCELED);
    }
}

/* And a start forgets what the stop before it was about. */
static void a_stop_does_not_inherit_a_deadline(void **state)
{
    struct fixture *f = *state;
    fixture_start(f);
    assert_int_equal(skink_scheduler_stop(f->scheduler, 0), 0);
    assert_int_equal(skink_scheduler_stop(f->scheduler, 0), -EALREADY);
    fixture_start(f);
    skink_task *task;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &task, nap, f), 0);
    fixture_stop_clean(f);
    assert_int_equal(skink_task_await(task, 0), 0);
    skink_task_unref(task);
}

static void ignore_cancellation(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->finished, 1); /* well, begun */
    for (;;) {
        if (skink_yield() == -ECANCELED) atomic_store(&f->running, 1);
    }
}

static void a_task_that_ignores_its_cancellation_is_dropped(void **state)
{
    struct fixture *f = *state;
    fixture_start(f);
    assert_int_equal(skink_post(f->scheduler, ignore_cancellation, f), 0);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    uint64_t begun = skink_now();
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_after(50 * SKINK_MS)), -ECANCELED);
    assert_true(skink_now() - begun < test_ms(test_patience(3000)));
    assert_int_equal(atomic_load(&f->running), 1);
}

static void spin_until_told(void *arg)
{
    _Atomic int *told = arg;
    while (!atomic_load(told)) {
    }
}

/* Nobody watches this scheduler: the stop itself leaves the stuck thread behind, and the others still finish. */
static void stop_does_not_hang_on_a_stuck_loop_that_nobody_watches(void **state)
{
    struct fixture *f = *state;
    struct fixture other = { .scheduler = f->scheduler };
    static _Atomic int told;
    atomic_store(&told, 0);
    fixture_start(f); /* once for nothing: with the first thread, ThreadSanitizer makes one of its own */
    fixture_stop_clean(f);
    test_wait_until(test_thread_count(0) <= 1 + TEST_TSAN, 5000);
    int threads = test_thread_count(0);
    fixture_start(f);
    assert_int_equal(skink_post(f->scheduler, sleep_between, &other), 0);
    test_wait_until(atomic_load(&other.most_running) == 1, 5000); /* it has begun */
    assert_int_equal(skink_post(f->scheduler, spin_until_told, &told), 0);
    uint64_t begun = skink_now();
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(500)), -ECANCELED);
    assert_true(skink_now() - begun < test_ms(test_patience(3000)));
    assert_int_equal(atomic_load(&other.finished), 1);
    atomic_store(&told, 1);
    test_wait_until(test_thread_count(0) == threads, 5000); /* the stray finds the inbox closed, and ends */
}

struct honest {
    _Atomic bool begun, moved, ended;
};

/* Slices of a millisecond, one after the other, until it is cancelled. */
static void be_busy(void *arg)
{
    struct honest *honest = arg;
    int thread = (int)gettid();
    atomic_store(&honest->begun, true);
    for (int err = 0; !err; err = skink_yield()) {
        for (uint64_t end = skink_now() + SKINK_MS; skink_now() < end;)
            continue;
        if ((int)gettid() != thread) atomic_store(&honest->moved, true);
    }
    atomic_store(&honest->ended, true);
}

/* Its slices are as short as they may be; that there is always one is no reason to leave the thread behind. */
static void a_stop_does_not_take_a_busy_loop_for_stuck(void **state)
{
    struct fixture *f = *state;
    struct honest honest = { .begun = false };
    fixture_start(f);
    assert_int_equal(skink_post(f->scheduler, be_busy, &honest), 0);
    test_wait_until(atomic_load(&honest.begun), 5000);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_now() + test_ms(test_patience(1000))), -ECANCELED);
    assert_true(atomic_load(&honest.ended));
    assert_false(atomic_load(&honest.moved));
}

static void nap_until_told(void *arg)
{
    _Atomic int *told = arg;
    while (!atomic_load(told))
        test_nap();
}

static void sleep_long(void *arg)
{
    (void)arg;
    (void)!skink_sleep(3600 * SKINK_S);
}

static _Atomic int went_on;

static void await_the_end(void *arg)
{
    (void)!skink_task_await(arg, SKINK_FOREVER);
    atomic_fetch_add(&went_on, 1);
}

enum { STUCK = 60 }; /* more than there can be takeovers in a stop */
static skink_task *stuck[STUCK];

/* All of them are ready at once, so that no turn of the loop comes between. */
static void spawn_many_that_get_stuck(void *arg)
{
    for (int i = 0; i < STUCK; i++)
        (void)!skink_spawn(skink_scheduler_current(), NULL, &stuck[i], nap_until_told, arg);
}

/* Goal: what is dropped wakes who awaits its end, and that one is dropped as well, and is in no queue afterwards; and
 * whoever awaits one of those that got stuck is told, up to the last.
 * | task 1            | task 2     | many others                                 | the test                   |
 * | sleeps            | awaits 1   | get stuck, one by one, until the last       | stops the scheduler        |
 * |                   |            | moment: nobody comes to cancel 1 and 2      |                            |
 * | dropped, wakes 2  | dropped    |                                             | starts the scheduler again | */
static void what_a_dropped_task_wakes_is_dropped_as_well(void **state)
{
    struct fixture *f = *state;
    static _Atomic int told;
    atomic_store(&told, 0);
    skink_task *sleeper, *awaiter;
    fixture_start(f);
    assert_int_equal(skink_spawn(f->scheduler, NULL, &sleeper, sleep_long, NULL), 0);
    assert_int_equal(skink_spawn(f->scheduler, NULL, &awaiter, await_the_end, sleeper), 0);
    skink_task_unref(awaiter);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_suspended == 2, 5000);
    int threads = test_thread_count(0) - 1; /* without the loop thread */
    assert_int_equal(skink_post(f->scheduler, spawn_many_that_get_stuck, &told), 0);
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_ready == STUCK - 1, 5000);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_now()), -ECANCELED);
    assert_int_equal(skink_task_await(sleeper, 0), -ECANCELED);
    skink_task_unref(sleeper);
    for (int i = 0; i < STUCK; i++) {
        assert_int_equal(skink_task_await(stuck[i], 0), -ECANCELED);
        skink_task_unref(stuck[i]);
    }
    assert_int_equal(skink_scheduler_stats_read(f->scheduler, &stats), 0);
    assert_int_equal(stats.tasks_ready, 0);
    assert_int_equal(stats.tasks_suspended, 0);
    atomic_store(&told, 1);
    test_wait_until(test_thread_count(0) == threads, 10000);
    fixture_start(f);
    assert_int_equal(skink_post(f->scheduler, count_one, f), 0);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    assert_int_equal(atomic_load(&went_on), 0);
    fixture_stop_clean(f);
}

static const struct test_case cases[] = {
    CASE(stop_cancels_what_sleeps_past_the_deadline),
    CASE(of_two_stops_the_earlier_deadline_holds),
    CASE(a_stop_does_not_inherit_a_deadline),
    CASE(a_task_that_ignores_its_cancellation_is_dropped),
    CASE(stop_does_not_hang_on_a_stuck_loop_that_nobody_watches),
    CASE(a_stop_does_not_take_a_busy_loop_for_stuck),
    CASE(what_a_dropped_task_wakes_is_dropped_as_well),
};
TEST_MAIN(cases, fixture_setup, fixture_teardown)
