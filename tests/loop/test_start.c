/* SPDX-License-Identifier: MIT */
/* test_start.c - a start for which no thread can be created:
 * it has never happened, for those who call meanwhile, too. */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* The linker sends every call of pthread_create() here (cmake/SkinkTest.cmake). */
static _Atomic bool threads_fail;
static _Atomic bool threads_hang; /* first */
static _Atomic int hanging;
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *), void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *), void *arg)
{
    atomic_fetch_add(&hanging, 1);
    while (atomic_load(&threads_hang))
        test_nap();
    atomic_fetch_sub(&hanging, 1);
    if (atomic_load(&threads_fail)) return EAGAIN;
    return __real_pthread_create(thread, attributes, main, arg);
}

struct fixture {
    skink_scheduler *scheduler;
    _Atomic int ran;
    int started; /* what the start has returned */
    int called;  /* what skink_scheduler_uv() has returned */
    _Atomic int caller_tid;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    atomic_store(&threads_hang, false);
    atomic_store(&threads_fail, false);
    skink_scheduler_destroy(f->scheduler);
    free(f);
    return 0;
}

static void count_one(void *arg)
{
    struct fixture *f = arg;
    atomic_fetch_add(&f->ran, 1);
}

static void count_one_in_runtime(struct uv_loop_s *loop, void *arg)
{
    (void)loop;
    count_one(arg);
}

static skink_scheduler_stats stats_of(const struct fixture *f)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    assert_int_equal(skink_scheduler_stats_read(f->scheduler, &stats), 0);
    return stats;
}

static void what_was_posted_before_waits_for_the_next_start(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_post(f->scheduler, count_one, f), 0);
    atomic_store(&threads_fail, true);
    assert_int_equal(skink_scheduler_start(f->scheduler), -EAGAIN);
    assert_int_equal(skink_scheduler_stop(f->scheduler, 0), -EALREADY);
    assert_int_equal(skink_post(f->scheduler, count_one, f), 0);
    assert_int_equal(stats_of(f).generation, 0);
    atomic_store(&threads_fail, false);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    test_wait_until(atomic_load(&f->ran) == 2, 5000);
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(5000)), 0);
}

static void after_a_stop_it_stays_closed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(5000)), 0);
    atomic_store(&threads_fail, true);
    assert_int_equal(skink_scheduler_start(f->scheduler), -EAGAIN);
    assert_int_equal(skink_post(f->scheduler, count_one, f), -ECANCELED);
    assert_int_equal(stats_of(f).generation, 1);
    atomic_store(&threads_fail, false);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(skink_post(f->scheduler, count_one, f), 0);
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(5000)), 0);
    assert_int_equal(atomic_load(&f->ran), 1);
}

static void *start(void *arg)
{
    struct fixture *f = arg;
    f->started = skink_scheduler_start(f->scheduler);
    return NULL;
}

static void *call_in_runtime(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->caller_tid, (int)gettid());
    f->called = skink_scheduler_uv(f->scheduler, count_one_in_runtime, f);
    return NULL;
}

/* Goal: a function for the runtime section that comes in the middle of a start runs, whatever becomes of that.
 * | starter                        | caller                               |
 * | creates a thread               |                                      |
 * |                                | waits for the end of the start       |
 * | fails; or has created it       |                                      |
 * |                                | runs it itself; or hands it over     | */
static void call_during_a_start(struct fixture *f, bool fails, int result)
{
    pthread_t starter, caller;
    atomic_store(&threads_fail, fails);
    atomic_store(&threads_hang, true);
    assert_int_equal(__real_pthread_create(&starter, NULL, start, f), 0);
    test_wait_until(atomic_load(&hanging) == 1, 5000);
    assert_false(stats_of(f).running);
    assert_int_equal(__real_pthread_create(&caller, NULL, call_in_runtime, f), 0);
    test_wait_until(atomic_load(&f->caller_tid) && test_thread_sleeps(atomic_load(&f->caller_tid)), 5000);
    atomic_store(&threads_hang, false);
    pthread_join(starter, NULL);
    pthread_join(caller, NULL);
    assert_int_equal(f->started, result);
    assert_int_equal(f->called, 0);
    assert_int_equal(atomic_load(&f->ran), 1);
}

static void who_calls_during_one_that_fails_does_not_wait_for_ever(void **state)
{
    call_during_a_start(*state, true, -EAGAIN);
}

static void who_calls_during_one_is_served_by_the_loop(void **state)
{
    struct fixture *f = *state;
    call_during_a_start(f, false, 0);
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(5000)), 0);
}

static const struct test_case cases[] = {
    CASE(what_was_posted_before_waits_for_the_next_start),
    CASE(after_a_stop_it_stays_closed),
    CASE(who_calls_during_one_that_fails_does_not_wait_for_ever),
    CASE(who_calls_during_one_is_served_by_the_loop),
};
TEST_MAIN(cases, setup, teardown)
