/* SPDX-License-Identifier: MIT */
/*
 * test_closing.c - what comes into the inbox between a stopping loop's last look at it and its close; and what is ready
 * then, and is dropped.
 *
 * That moment is short. Here a continuation lasts for as long as is needed: a stop gives up what is with a stray right
 * before it closes the inbox, and who waits for the end of that is called in place. A loop that is held runs no task:
 * what is woken stays ready.
 */
#include "loop/lease.h"
#include "loop/runtime.h"
#include "loop/state.h"
#include "loop/takeover.h"
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/scarce.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct fixture {
    skink_scheduler *scheduler, *other;
    skink_task *stuck;  /* with a stray, from the setup on */
    skink_task *caller; /* waits for `other`, and no cancellation ends that */
    skink_future *futures[2];
    skink_task *chooser; /* waits for the first of them, once it is spawned */
    void (*at_close)(struct fixture *f);
    _Atomic bool is_stuck, free, came_back;
    _Atomic bool is_held, answer;
    _Atomic bool called_back, chose;
    _Atomic int closed; /* calls of at_close */
};

static void get_stuck(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->is_stuck, true);
    while (!atomic_load(&f->free))
        test_nap();
    (void)!skink_checkpoint();
    atomic_store(&f->came_back, true);
}

/* Until then nobody on `other` answers a call. */
static void hold_other(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->is_held, true);
    while (!atomic_load(&f->answer))
        test_nap();
}

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

static void call_other(void *arg)
{
    struct fixture *f = arg;
    (void)!skink__runtime_call(f->other, nothing, NULL);
    atomic_store(&f->called_back, true);
}

static void choose(void *arg)
{
    struct fixture *f = arg;
    size_t index;
    (void)!skink_await_any(f->futures, 2, SKINK_FOREVER, &index);
    atomic_store(&f->chose, true);
}

static void *run_fresh(void *arg)
{
    struct skink__thread *fresh = arg;
    skink__thread_run(fresh, fresh->scheduler);
    skink__thread_unref(fresh);
    return NULL;
}

static void take_over(skink_scheduler *scheduler, bool hold)
{
    struct skink__thread *stray = skink__scheduler_thread(scheduler), *fresh;
    struct skink__lease *lease = skink__thread_lease(stray);
    assert_int_equal(skink__thread_create(&fresh), 0);
    assert_true(skink__lease_abandon(lease, skink__lease_slice(atomic_load(&lease->word))));
    skink__takeover_begin(scheduler, fresh, &(struct skink__abandonment){ .incident_id = "incident-7" }, hold);
    pthread_t id;
    assert_int_equal(pthread_create(&id, NULL, run_fresh, fresh), 0);
    pthread_detach(id);
    skink__thread_unref(stray);
}

/* In the runtime section of the loop, which has taken its last look and has not closed its inbox. */
static void on_given_up(void *arg, int error, void *value)
{
    struct fixture *f = arg;
    (void)error, (void)value;
    f->at_close(f);
    atomic_fetch_add(&f->closed, 1);
}

static int setup(void **state)
{
    scarce_install();
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    assert_int_equal(skink_scheduler_create(NULL, &f->other), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(skink_future_create(&f->futures[i]), 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(skink_scheduler_start(f->other), 0);
    assert_int_equal(skink_spawn(f->scheduler, NULL, &f->stuck, get_stuck, f), 0);
    test_wait_until(atomic_load(&f->is_stuck), 5000);
    take_over(f->scheduler, false);
    assert_int_equal(skink_post(f->other, hold_other, f), 0);
    test_wait_until(atomic_load(&f->is_held), 5000);
    assert_int_equal(skink_spawn(f->scheduler, NULL, &f->caller, call_other, f), 0);
    test_wait_until(skink__task_state(f->caller) == SKINK__TASK_WAITING, 5000);
    assert_int_equal(skink_future_then(&f->stuck->done, SKINK_IN_PLACE, NULL, on_given_up, f), 0);
    *state = f;
    return 0;
}

/* Whatever came, nothing of it is acted on, and nothing is left behind. */
static void stop_and_look(struct fixture *f, void (*at_close)(struct fixture *f))
{
    f->at_close = at_close;
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_now()), -ECANCELED);
    assert_int_equal(atomic_load(&f->closed), 1);
    assert_false(atomic_load(&f->called_back));
    assert_false(atomic_load(&f->chose));
    atomic_store(&f->answer, true);
    atomic_store(&f->free, true);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_living == 0, 5000);
    assert_int_equal(stats.tasks_ready, 0);
    assert_int_equal(stats.tasks_suspended, 0);
    assert_false(atomic_load(&f->came_back));
    assert_int_equal(skink_task_await(f->stuck, test_deadline_ns(5000)), -ECANCELED);
    assert_int_equal(skink_task_await(f->caller, test_deadline_ns(5000)), -ECANCELED);
    if (f->chooser) assert_int_equal(skink_task_await(f->chooser, test_deadline_ns(5000)), -ECANCELED);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    skink_task_unref(f->stuck);
    skink_task_unref(f->caller);
    skink_task_unref(f->chooser);
    skink_scheduler_destroy(f->other);
    skink_scheduler_destroy(f->scheduler);
    for (int i = 0; i < 2; i++)
        skink_future_unref(f->futures[i]);
    scarce_assert_no_blocks();
    free(f);
    return 0;
}

static void wait_for_a_message(struct fixture *f)
{
    skink__assume_runtime(); /* on_given_up() says why */
    uint64_t deadline_ns = test_deadline_ns(5000);
    while (skink__inbox_is_empty(&f->scheduler->inbox) && test_now_ns() < deadline_ns)
        test_nap();
}

static void wake_the_caller(struct fixture *f)
{
    atomic_store(&f->answer, true);
    wait_for_a_message(f);
}

/* It is dropped as one that waits: what its wait holds is let go of, though it has been woken. */
static void a_task_that_is_woken_is_dropped_with_its_wait(void **state)
{
    stop_and_look(*state, wake_the_caller);
}

static void let_the_stray_go(struct fixture *f)
{
    atomic_store(&f->free, true);
    wait_for_a_message(f);
}

static void a_task_that_comes_free_is_dropped(void **state)
{
    struct fixture *f = *state;
    stop_and_look(f, let_the_stray_go);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    assert_int_equal(skink_scheduler_stats_read(f->scheduler, &stats), 0);
    assert_int_equal(stats.migrations, 1);
}

static void *cancel(void *arg)
{
    struct fixture *f = arg;
    (void)!skink_task_cancel(f->caller);
    return NULL;
}

static void cancel_the_caller(struct fixture *f)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, cancel, f) == 0) pthread_join(thread, NULL);
    wait_for_a_message(f);
}

static void a_task_that_is_cancelled_is_dropped(void **state)
{
    stop_and_look(*state, cancel_the_caller);
}

/* The inbox is open from the beginning, and a scheduler that never ran is closed, too. */
static void a_task_that_never_began_is_dropped(void **state)
{
    struct fixture *f = *state;
    skink_scheduler *idle;
    skink_task *task;
    assert_int_equal(skink_scheduler_create(NULL, &idle), 0);
    assert_int_equal(skink_spawn(idle, NULL, &task, call_other, f), 0);
    skink_scheduler_destroy(idle);
    assert_int_equal(skink_task_await(task, test_deadline_ns(5000)), -ECANCELED);
    skink_task_unref(task);
    stop_and_look(f, wake_the_caller);
}

/* Right before it is dropped: what it holds for its wait must not be let go of twice. */
static void cancel_in_place(struct fixture *f)
{
    (void)!skink_task_cancel(f->caller);
}

static void a_task_that_is_cancelled_in_place_is_dropped_once(void **state)
{
    stop_and_look(*state, cancel_in_place);
}

/* One more is stuck, and at the limit of strays no task runs: who is woken stays ready. */
static void hold_the_loop(struct fixture *f)
{
    atomic_store(&f->is_stuck, false);
    assert_int_equal(skink_post(f->scheduler, get_stuck, f), 0);
    test_wait_until(atomic_load(&f->is_stuck), 5000);
    take_over(f->scheduler, true);
}

/* One of its tasks waits for other futures. */
static void hold_with_a_chooser(struct fixture *f)
{
    assert_int_equal(skink_spawn(f->scheduler, NULL, &f->chooser, choose, f), 0);
    test_wait_until(skink__task_state(f->chooser) == SKINK__TASK_WAITING, 5000);
    hold_the_loop(f);
}

static void do_nothing(struct fixture *f)
{
    (void)f;
}

static void tasks_that_are_ready_are_dropped_with_their_waits(void **state)
{
    struct fixture *f = *state;
    hold_with_a_chooser(f);
    assert_int_equal(skink_future_complete(f->futures[0], NULL), 0);
    atomic_store(&f->answer, true);
    test_wait_until(skink__task_state(f->chooser) == SKINK__TASK_READY, 5000);
    test_wait_until(skink__task_state(f->caller) == SKINK__TASK_READY, 5000);
    stop_and_look(f, do_nothing);
}

static void complete_one(struct fixture *f)
{
    (void)!skink_future_complete(f->futures[1], NULL);
}

/* The stop cancels the one, which makes it ready, and not the other. */
static void tasks_that_wait_are_dropped_with_their_waits(void **state)
{
    struct fixture *f = *state;
    hold_with_a_chooser(f);
    stop_and_look(f, complete_one);
}

static struct skink__wait_slot slot; /* of a third scheduler's */
static _Atomic int steps;

static int must_wait(void *arg)
{
    (void)arg;
    atomic_fetch_add(&steps, 1);
    return SKINK__MUST_WAIT;
}

static void step_on_third(void *arg)
{
    (void)!skink__runtime_step(arg, &slot, must_wait, NULL);
}

/* The second time it has something to wait for. */
static void a_task_that_waits_elsewhere_is_dropped_with_its_wait(void **state)
{
    struct fixture *f = *state;
    skink_scheduler *third;
    assert_int_equal(skink_scheduler_create(NULL, &third), 0);
    assert_int_equal(skink_scheduler_start(third), 0);
    assert_int_equal(skink_post(f->scheduler, step_on_third, third), 0);
    test_wait_until(atomic_load(&steps) == 2, 5000);
    hold_the_loop(f);
    stop_and_look(f, do_nothing);
    skink_scheduler_destroy(third);
    skink__wait_slot_fini(&slot);
}

static skink_once once = SKINK_ONCE_INIT;
static _Atomic bool once_begun;

static int wait_within(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&once_begun, true);
    return skink_await(f->futures[0], SKINK_FOREVER, NULL);
}

static void run_once(void *arg)
{
    (void)!skink_once_run(&once, wait_within, arg, SKINK_FOREVER);
}

static void a_task_that_waits_for_an_initialisation_is_dropped_with_its_wait(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_post(f->scheduler, run_once, f), 0);
    test_wait_until(atomic_load(&once_begun), 5000);
    hold_the_loop(f);
    stop_and_look(f, do_nothing);
    assert_false(skink_once_is_done(&once));
}

static const struct test_case cases[] = {
    CASE(a_task_that_is_woken_is_dropped_with_its_wait),
    CASE(a_task_that_comes_free_is_dropped),
    CASE(a_task_that_is_cancelled_is_dropped),
    CASE(a_task_that_never_began_is_dropped),
    CASE(a_task_that_is_cancelled_in_place_is_dropped_once),
    CASE(tasks_that_are_ready_are_dropped_with_their_waits),
    CASE(tasks_that_wait_are_dropped_with_their_waits),
    CASE(a_task_that_waits_elsewhere_is_dropped_with_its_wait),
    CASE(a_task_that_waits_for_an_initialisation_is_dropped_with_its_wait),
};
TEST_MAIN(cases, setup, teardown)
