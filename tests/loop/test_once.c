/* SPDX-License-Identifier: MIT */
/* test_once.c - initialised once: errors, cancelled callers, several loops, and an end that never comes. */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define UNSET 1

struct fixture {
    skink_scheduler *scheduler, *other;
    skink_once once;
    _Atomic int came; /* callers */
    _Atomic int runs, inner;
    _Atomic int result; /* of fn */
    _Atomic int answers, errors;
    _Atomic int last;
    _Atomic bool go;
    uint64_t deadline_ns;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(skink_scheduler_create(NULL, &f->other), 0);
    assert_int_equal(skink_scheduler_start(f->other), 0);
    f->deadline_ns = SKINK_FOREVER;
    atomic_store(&f->last, UNSET);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->go, true);
    skink_scheduler_destroy(f->scheduler);
    skink_scheduler_destroy(f->other);
    free(f);
    return 0;
}

/* Suspends until it is told to go on. */
static int initialise(void *arg)
{
    struct fixture *f = arg;
    atomic_fetch_add(&f->runs, 1);
    while (!atomic_load(&f->go)) {
        int err = skink_scheduler_current() ? skink_sleep(SKINK_MS) : 0;
        if (err) return err;
    }
    return atomic_load(&f->result);
}

static void need_it(void *arg)
{
    struct fixture *f = arg;
    atomic_fetch_add(&f->came, 1);
    int err = skink_once_run(&f->once, initialise, f, f->deadline_ns);
    atomic_store(&f->last, err);
    atomic_fetch_add(err ? &f->errors : &f->answers, 1);
}

static void *need_it_on_thread(void *arg)
{
    need_it(arg);
    return NULL;
}

static void everybody_waits_for_one_run(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    for (int i = 0; i < 100; i++)
        assert_int_equal(skink_post(i % 2 ? f->scheduler : f->other, need_it, f), 0);
    assert_int_equal(pthread_create(&thread, NULL, need_it_on_thread, f), 0);
    test_wait_until(atomic_load(&f->runs) == 1, 5000);
    assert_false(skink_once_is_done(&f->once));
    assert_int_equal(skink_once_reset(&f->once), -EBUSY);
    atomic_store(&f->go, true);
    test_wait_until(atomic_load(&f->answers) == 101, 5000);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&f->runs), 1);
    assert_true(skink_once_is_done(&f->once));
    assert_int_equal(skink_once_run(&f->once, initialise, f, 0), 0);
    assert_int_equal(skink_once_reset(&f->once), 0);
    assert_int_equal(skink_post(f->scheduler, need_it, f), 0);
    test_wait_until(atomic_load(&f->runs) == 2, 5000);
    test_wait_until(atomic_load(&f->answers) == 102, 5000);
}

static void an_error_is_everybodys_and_does_not_stick(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->result, -EIO);
    for (int i = 0; i < 10; i++)
        assert_int_equal(skink_post(f->scheduler, need_it, f), 0);
    /* All on one loop: when the last one has come, each of them waits before the one that runs has its turn again. */
    test_wait_until(atomic_load(&f->came) == 10 && atomic_load(&f->runs) == 1, 5000);
    assert_true(atomic_load(&f->errors) == 0);
    atomic_store(&f->go, true);
    test_wait_until(atomic_load(&f->errors) == 10, 5000);
    assert_int_equal(atomic_load(&f->last), -EIO);
    assert_int_equal(atomic_load(&f->runs), 1);
    atomic_store(&f->result, 0);
    need_it(f); /* this thread, which runs it itself */
    assert_int_equal(atomic_load(&f->answers), 1);
    assert_int_equal(atomic_load(&f->runs), 2);
}

static void who_came_first_may_be_cancelled_like_the_others(void **state)
{
    struct fixture *f = *state;
    skink_task *first;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &first, need_it, f), 0);
    test_wait_until(atomic_load(&f->runs) == 1, 5000);
    assert_int_equal(skink_post(f->scheduler, need_it, f), 0);
    assert_int_equal(skink_task_cancel(first), 0);
    test_wait_until(atomic_load(&f->errors) == 1, 5000);
    assert_int_equal(atomic_load(&f->last), -ECANCELED);
    atomic_store(&f->go, true);
    test_wait_until(atomic_load(&f->answers) == 1, 5000);
    assert_int_equal(atomic_load(&f->runs), 1);
    skink_task_unref(first);
}

static void each_caller_waits_until_its_own_deadline(void **state)
{
    struct fixture *f = *state;
    f->deadline_ns = skink_after(20 * SKINK_MS);
    assert_int_equal(skink_post(f->scheduler, need_it, f), 0);
    test_wait_until(atomic_load(&f->errors) == 1, 5000);
    assert_int_equal(atomic_load(&f->last), -ETIMEDOUT);
    assert_int_equal(atomic_load(&f->runs), 1);
}

static int recurse(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->inner, skink_once_run(&f->once, recurse, f, SKINK_FOREVER));
    return 0;
}

static void need_recursive(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->last, skink_once_run(&f->once, recurse, f, SKINK_FOREVER));
}

static void waiting_for_itself_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_post(f->scheduler, need_recursive, f), 0);
    test_wait_until(atomic_load(&f->last) == 0, 5000);
    assert_int_equal(atomic_load(&f->inner), -EDEADLK);
    assert_int_equal(skink_once_reset(&f->once), 0);
    atomic_store(&f->inner, 0);
    need_recursive(f);
    assert_int_equal(atomic_load(&f->inner), -EDEADLK);
}

/* Its scheduler stops while it runs: those who wait on another begin anew there. */
static int never_on_other(void *arg)
{
    struct fixture *f = arg;
    atomic_fetch_add(&f->runs, 1);
    if (skink_scheduler_current() != f->other) return 0;
    for (;;)
        (void)!skink_yield(); /* whatever it is told */
}

static void need_stubborn(void *arg)
{
    struct fixture *f = arg;
    int err = skink_once_run(&f->once, never_on_other, f, SKINK_FOREVER);
    atomic_fetch_add(err ? &f->errors : &f->answers, 1);
}

static void when_its_scheduler_stops_others_try_again(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_post(f->other, need_stubborn, f), 0);
    test_wait_until(atomic_load(&f->runs) == 1, 5000);
    assert_int_equal(skink_post(f->scheduler, need_stubborn, f), 0);
    assert_int_equal(skink_scheduler_stop(f->other, skink_now()), -ECANCELED);
    test_wait_until(atomic_load(&f->answers) == 1, 5000);
    assert_int_equal(atomic_load(&f->runs), 2);
    assert_true(skink_once_is_done(&f->once));
}

static void run_in_runtime(struct uv_loop_s *loop, void *arg)
{
    (void)loop;
    need_it(arg);
}

struct comeback {
    skink_once once;
    _Atomic bool begun, go, told, next_begun;
    _Atomic int ends; /* of the first run: how often those who wait were to be told */
};

static struct comeback *_Atomic comeback; /* whose first run is held where it ends */

static bool next_has_begun(void *arg)
{
    return atomic_load(&((struct comeback *)arg)->next_begun);
}

/* The once knows that the run has ended, and who waits for it does not yet: from here on another may begin. */
int __real_skink_future_fail(skink_future *future, int error);
int __wrap_skink_future_fail(skink_future *future, int error);
int __wrap_skink_future_fail(skink_future *future, int error)
{
    struct comeback *c = atomic_load(&comeback);
    if (c && atomic_fetch_add(&c->ends, 1) == 0) (void)!test_wait(next_has_begun, c, 5000);
    int err = __real_skink_future_fail(future, error);
    if (c) atomic_store(&c->told, true);
    return err;
}

static int fail_when_told(void *arg)
{
    struct comeback *c = arg;
    atomic_store(&c->begun, true);
    while (!atomic_load(&c->go)) {
    }
    return -EIO;
}

static void start_comeback(void *arg)
{
    struct comeback *c = arg;
    (void)!skink_once_run(&c->once, fail_when_told, c, SKINK_FOREVER);
}

/* As long as this runs the once must know of it. */
static int begin_next(void *arg)
{
    struct comeback *c = arg;
    atomic_store(&c->next_begun, true);
    test_wait_until(atomic_load(&c->told), 5000);
    assert_int_equal(skink_once_reset(&c->once), -EBUSY);
    return 0;
}

/* Goal: a run that comes back on a stray, after its scheduler has stopped, ends once, and no other one's run with it.
 * | stray                           | this thread             |
 * | gets stuck; the stop leaves it behind                     |
 * | comes back: the once is free    |                         |
 * |                                 | begins another run      |
 * | is lost: must not end that      |                         | */
static void a_run_that_is_lost_does_not_end_the_next_one(void **state)
{
    struct fixture *f = *state;
    static struct comeback c; /* outlives the case, as its stray may */
    assert_int_equal(skink_post(f->other, start_comeback, &c), 0);
    test_wait_until(atomic_load(&c.begun), 5000);
    assert_int_equal(skink_scheduler_stop(f->other, skink_now()), -ECANCELED);
    atomic_store(&comeback, &c);
    atomic_store(&c.go, true);
    test_wait_until(skink_once_run(&c.once, begin_next, &c, 0) == 0, 5000);
    atomic_store(&comeback, NULL);
    assert_int_equal(atomic_load(&c.ends), 1);
    assert_true(skink_once_is_done(&c.once));
}

static void enter_runtime_from_task(void *arg)
{
    struct fixture *f = arg;
    if (skink_scheduler_uv(f->scheduler, run_in_runtime, f) == 0) atomic_store(&f->go, true);
}

/* A function in the runtime section that a task has called is no part of the task:
 * it cannot wait, so nothing is begun. */
static void inside_the_runtime_section_of_a_task_nothing_is_begun(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_post(f->scheduler, enter_runtime_from_task, f), 0);
    test_wait_until(atomic_load(&f->go), 5000);
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(5000)), 0); /* what was begun would have run */
    assert_int_equal(atomic_load(&f->last), -EPERM);
    assert_int_equal(atomic_load(&f->runs), 0);
    assert_false(skink_once_is_done(&f->once));
}

static void bad_calls_are_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_once_run(NULL, initialise, f, 0), -EINVAL);
    assert_int_equal(skink_once_run(&f->once, NULL, f, 0), -EINVAL);
    assert_int_equal(skink_once_reset(NULL), -EINVAL);
    assert_int_equal(skink_scheduler_uv(f->scheduler, run_in_runtime, f), 0);
    assert_int_equal(atomic_load(&f->last), -EPERM);
    assert_int_equal(atomic_load(&f->runs), 0);
}

static const struct test_case cases[] = {
    CASE(everybody_waits_for_one_run),
    CASE(an_error_is_everybodys_and_does_not_stick),
    CASE(who_came_first_may_be_cancelled_like_the_others),
    CASE(each_caller_waits_until_its_own_deadline),
    CASE(waiting_for_itself_is_refused),
    CASE(when_its_scheduler_stops_others_try_again),
    CASE(a_run_that_is_lost_does_not_end_the_next_one),
    CASE(inside_the_runtime_section_of_a_task_nothing_is_begun),
    CASE(bad_calls_are_refused),
};
TEST_MAIN(cases, setup, teardown)
