/* SPDX-License-Identifier: MIT */
/* test_uv.c - skink_scheduler_uv(): where its function runs, and as whom. */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

struct fixture {
    skink_scheduler *scheduler;
    skink_scheduler *other;
    skink_future *future;
    uv_timer_t timer;
    _Atomic bool timer_closed;
    _Atomic int tid; /* where the function has run */
    _Atomic int ran;
    _Atomic int result;
    _Atomic bool finished;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    assert_int_equal(skink_scheduler_create(NULL, &f->other), 0);
    assert_int_equal(skink_future_create(&f->future), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    skink_scheduler_destroy(f->scheduler);
    skink_scheduler_destroy(f->other);
    skink_future_unref(f->future);
    free(f);
    return 0;
}

static void start(skink_scheduler *scheduler)
{
    assert_int_equal(skink_scheduler_start(scheduler), 0);
}

static void stop(skink_scheduler *scheduler)
{
    assert_int_equal(skink_scheduler_stop(scheduler, test_deadline_ns(5000)), 0);
}

static void count_one(void *arg)
{
    struct fixture *f = arg;
    atomic_fetch_add(&f->ran, 1);
}

static void count_one_here(uv_loop_t *loop, void *arg)
{
    struct fixture *f = arg;
    (void)loop;
    atomic_store(&f->tid, (int)gettid());
    count_one(f);
}

/* ---- while the scheduler does not run ---- */

static void on_timer_closed(uv_handle_t *timer)
{
    struct fixture *f = timer->data;
    atomic_store(&f->timer_closed, true);
}

static void on_timer(uv_timer_t *timer)
{
    (void)timer;
}

static void open_timer(uv_loop_t *loop, void *arg)
{
    struct fixture *f = arg;
    uv_timer_init(loop, &f->timer);
    f->timer.data = f;
    uv_timer_start(&f->timer, on_timer, 0, 1);
}

static void close_timer(uv_loop_t *loop, void *arg)
{
    struct fixture *f = arg;
    count_one_here(loop, f);
    uv_close((uv_handle_t *)&f->timer, on_timer_closed);
}

/* Goal: a host can close its handles when the tasks that use them have come to their end.
 * | host                   | loop thread    |
 * | stop                   | ends           |
 * | close, on its thread   |                |
 * | destroy: the callback  |                | */
static void after_a_stop_it_runs_on_the_caller(void **state)
{
    struct fixture *f = *state;
    start(f->scheduler);
    assert_int_equal(skink_scheduler_uv(f->scheduler, open_timer, f), 0);
    stop(f->scheduler);
    assert_int_equal(skink_scheduler_uv(f->scheduler, close_timer, f), 0);
    assert_int_equal(atomic_load(&f->tid), gettid());
    assert_false(atomic_load(&f->timer_closed));
    skink_scheduler_destroy(f->scheduler);
    f->scheduler = NULL;
    assert_true(atomic_load(&f->timer_closed));
}

static void what_is_closed_after_a_stop_calls_back_at_the_next_start(void **state)
{
    struct fixture *f = *state;
    start(f->scheduler);
    assert_int_equal(skink_scheduler_uv(f->scheduler, open_timer, f), 0);
    stop(f->scheduler);
    assert_int_equal(skink_scheduler_uv(f->scheduler, close_timer, f), 0);
    start(f->scheduler);
    test_wait_until(atomic_load(&f->timer_closed), 5000);
    stop(f->scheduler);
}

/* All of it would wait for the caller itself, or for a loop that nobody runs. */
static void call_what_waits(uv_loop_t *loop, void *arg)
{
    struct fixture *f = arg;
    (void)loop;
    assert_ptr_equal(skink_scheduler_current(), f->scheduler);
    assert_int_equal(skink_scheduler_uv(f->scheduler, count_one_here, f), 0);
    assert_int_equal(skink_await(f->future, SKINK_FOREVER, NULL), -EPERM);
    assert_int_equal(skink_future_block(f->future, SKINK_FOREVER, NULL), -EPERM);
    assert_int_equal(skink_scheduler_start(f->scheduler), -EPERM);
    assert_int_equal(skink_scheduler_stop(f->scheduler, SKINK_FOREVER), -EDEADLK);
}

static void without_a_loop_thread_the_caller_is_in_the_runtime_section(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_scheduler_uv(f->scheduler, call_what_waits, f), 0);
    assert_int_equal(atomic_load(&f->ran), 1);
    assert_null(skink_scheduler_current());
    start(f->scheduler);
    stop(f->scheduler);
    assert_int_equal(skink_scheduler_uv(f->scheduler, call_what_waits, f), 0);
    assert_int_equal(atomic_load(&f->ran), 2);
    assert_null(skink_scheduler_current());
}

static void post_one(uv_loop_t *loop, void *arg)
{
    struct fixture *f = arg;
    (void)loop;
    atomic_store(&f->result, skink_post(f->scheduler, count_one, f));
}

static void what_is_posted_there_before_the_start_runs_after_it(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_scheduler_uv(f->scheduler, post_one, f), 0);
    assert_int_equal(atomic_load(&f->result), 0);
    assert_int_equal(atomic_load(&f->ran), 0);
    start(f->scheduler);
    test_wait_until(atomic_load(&f->ran) == 1, 5000);
    stop(f->scheduler);
    assert_int_equal(skink_scheduler_uv(f->scheduler, post_one, f), 0);
    assert_int_equal(atomic_load(&f->result), -ECANCELED);
}

/* ---- called by a task ---- */

static void call_as_if_a_task(uv_loop_t *loop, void *arg)
{
    struct fixture *f = arg;
    (void)loop;
    assert_null(skink_task_current());
    assert_null(skink_task_token());
    assert_null(skink_token_current());
    assert_int_equal(skink_detection_begin(SKINK_DETECTION_OFF), -EPERM);
    assert_int_equal(skink_detection_end(), -EPERM);
    assert_int_equal(skink_detection_mode(), SKINK_DETECTION_OFF);
    assert_int_equal(skink_scope_end(), -EPERM);
    assert_int_equal(skink_sleep(1), -EPERM);
    assert_int_equal(skink_yield(), -EPERM);
    assert_int_equal(skink_checkpoint(), -EPERM);
    assert_int_equal(skink_blocking_begin(), -EPERM);
    assert_int_equal(skink_blocking_end(), -EPERM);
    assert_int_equal(skink_slice_extend(1), -EPERM);
    assert_int_equal(skink_await(f->future, SKINK_FOREVER, NULL), -EPERM);
    assert_int_equal(skink_scheduler_uv(f->scheduler, count_one_here, f), 0); /* nested, at once */
}

static void call_from_a_task(void *arg)
{
    struct fixture *f = arg;
    skink_token *token;
    assert_int_equal(skink_token_derive(skink_task_token(), SKINK_FOREVER, &token), 0);
    assert_int_equal(skink_scope_begin(token), 0);
    assert_int_equal(skink_detection_begin(SKINK_DETECTION_POTENTIAL), 0);
    assert_int_equal(skink_scheduler_uv(f->scheduler, call_as_if_a_task, f), 0);
    assert_int_equal(skink_detection_mode(), SKINK_DETECTION_POTENTIAL);
    assert_ptr_equal(skink_token_current(), token);
    assert_int_equal(skink_detection_end(), 0);
    assert_int_equal(skink_scope_end(), 0);
    skink_token_unref(token);
    assert_int_equal(skink_yield(), 0); /* and a task can suspend again */
    atomic_store(&f->finished, true);
}

static void in_the_runtime_section_of_a_task_nobody_is_a_task(void **state)
{
    struct fixture *f = *state;
    start(f->scheduler);
    assert_int_equal(skink_post(f->scheduler, call_from_a_task, f), 0);
    test_wait_until(atomic_load(&f->finished), 5000);
    assert_int_equal(atomic_load(&f->ran), 1);
    stop(f->scheduler);
}

/* ---- across schedulers ---- */

static void call_the_other(uv_loop_t *loop, void *arg)
{
    struct fixture *f = arg;
    (void)loop;
    atomic_store(&f->result, skink_scheduler_uv(f->other, count_one_here, f));
}

static void call_the_other_from_a_task(void *arg)
{
    struct fixture *f = arg;
    assert_int_equal(skink_scheduler_uv(f->other, count_one_here, f), 0);
    atomic_store(&f->finished, true);
}

/* Two that called each other would wait for ever, and nobody could take them over. */
static void in_the_runtime_section_another_loop_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    start(f->scheduler);
    start(f->other);
    assert_int_equal(skink_scheduler_uv(f->scheduler, call_the_other, f), 0);
    assert_int_equal(atomic_load(&f->result), -EPERM);
    assert_int_equal(atomic_load(&f->ran), 0);
    assert_int_equal(skink_post(f->scheduler, call_the_other_from_a_task, f), 0);
    test_wait_until(atomic_load(&f->finished), 5000);
    assert_int_equal(atomic_load(&f->ran), 1);
    stop(f->scheduler);
    stop(f->other);
}

static const struct test_case cases[] = {
    CASE(after_a_stop_it_runs_on_the_caller),
    CASE(what_is_closed_after_a_stop_calls_back_at_the_next_start),
    CASE(without_a_loop_thread_the_caller_is_in_the_runtime_section),
    CASE(what_is_posted_there_before_the_start_runs_after_it),
    CASE(in_the_runtime_section_of_a_task_nobody_is_a_task),
    CASE(in_the_runtime_section_another_loop_is_not_waited_for),
};
TEST_MAIN(cases, setup, teardown)
