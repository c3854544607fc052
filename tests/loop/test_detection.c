/* SPDX-License-Identifier: MIT */
/* test_detection.c - which blocking waits are refused at once, and which must never be. */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct fixture {
    skink_scheduler *scheduler, *other;
    skink_future *future;
    skink_task *task;       /* of `scheduler` */
    skink_task *other_task; /* of `other` */
    _Atomic int result, other_result;
    _Atomic bool go, blocking;
    _Atomic pid_t thread; /* of what blocks, or will at once */
    uint64_t took_ns;
    uint64_t deadline_ns;
};

#define UNSET 1

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(skink_scheduler_create(NULL, &f->other), 0);
    assert_int_equal(skink_scheduler_start(f->other), 0);
    assert_int_equal(skink_future_create(&f->future), 0);
    atomic_store(&f->result, UNSET);
    atomic_store(&f->other_result, UNSET);
    f->deadline_ns = SKINK_FOREVER;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    skink_task_unref(f->task);
    skink_task_unref(f->other_task);
    skink_scheduler_destroy(f->scheduler);
    skink_scheduler_destroy(f->other);
    skink_future_unref(f->future);
    free(f);
    return 0;
}

static skink_scheduler_stats stats_of(skink_scheduler *scheduler)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    assert_int_equal(skink_scheduler_stats_read(scheduler, &stats), 0);
    return stats;
}

static void run(struct fixture *f, void (*fn)(void *arg))
{
    assert_int_equal(skink_post(f->scheduler, fn, f), 0);
    test_wait_until(atomic_load(&f->result) != UNSET, 5000);
}

static void nothing(void *arg)
{
    (void)arg;
}

static void complete(void *arg)
{
    struct fixture *f = arg;
    assert_int_equal(skink_future_complete(f->future, NULL), 0);
}

/* --- one loop --- */

static void block_for_sibling(void *arg)
{
    struct fixture *f = arg;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &f->task, nothing, NULL), 0);
    uint64_t begun = skink_now();
    int err = skink_task_block(f->task, SKINK_FOREVER);
    f->took_ns = skink_now() - begun;
    if (skink_task_await(f->task, SKINK_FOREVER)) err = -EIO; /* the right way works all the same */
    atomic_store(&f->result, err);
}

static void blocking_for_a_task_of_the_same_loop_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    run(f, block_for_sibling);
    assert_int_equal(atomic_load(&f->result), -EDEADLK);
    assert_true(f->took_ns < test_ms(test_patience(1000)));
    assert_int_equal(stats_of(f->scheduler).waits_refused, 1);
    assert_int_equal(stats_of(f->scheduler).waits_potential, 0);
}

static void block_for_declared(void *arg)
{
    struct fixture *f = arg;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &f->task, complete, f), 0);
    assert_int_equal(skink_future_set_completer(f->future, f->task), 0);
    int err = skink_future_block(f->future, f->deadline_ns, NULL);
    if (skink_await(f->future, SKINK_FOREVER, NULL)) err = -EIO;
    /* It is complete: nothing to wait for. */
    if (skink_future_block(f->future, SKINK_FOREVER, NULL)) err = -EIO;
    if (skink_future_set_completer(f->future, f->task) != -EALREADY) err = -EIO;
    atomic_store(&f->result, err);
}

static void a_declared_completer_counts_with_and_without_a_deadline(void **state)
{
    struct fixture *f = *state;
    run(f, block_for_declared);
    assert_int_equal(atomic_load(&f->result), -EDEADLK);
    skink_task_unref(f->task);
    skink_future_unref(f->future);
    assert_int_equal(skink_future_create(&f->future), 0);
    atomic_store(&f->result, UNSET);
    f->deadline_ns = skink_after(3600 * SKINK_S);
    run(f, block_for_declared);
    assert_int_equal(atomic_load(&f->result), -EDEADLK);
}

static void block_for_anybody(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->blocking, true);
    atomic_store(&f->result, skink_future_block(f->future, SKINK_FOREVER, NULL));
}

static void what_anybody_may_complete_is_never_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &f->task, nothing, NULL), 0);
    /* Declared, and taken back. */
    assert_int_equal(skink_future_set_completer(f->future, f->task), 0);
    assert_int_equal(skink_future_set_completer(f->future, NULL), 0);
    assert_int_equal(skink_post(f->scheduler, block_for_anybody, f), 0);
    test_wait_until(atomic_load(&f->blocking), 5000);
    assert_int_equal(skink_future_complete(f->future, NULL), 0);
    test_wait_until(atomic_load(&f->result) == 0, 5000);
    assert_int_equal(stats_of(f->scheduler).waits_refused, 0);
}

static void a_completer_that_has_ended_is_not_certain(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &f->task, nothing, NULL), 0);
    assert_int_equal(skink_future_set_completer(f->future, f->task), 0);
    assert_int_equal(skink_task_await(f->task, test_deadline_ns(5000)), 0);
    assert_int_equal(skink_post(f->scheduler, block_for_anybody, f), 0);
    test_wait_until(atomic_load(&f->blocking), 5000);
    assert_int_equal(skink_future_complete(f->future, NULL), 0);
    test_wait_until(atomic_load(&f->result) == 0, 5000);
}

static void *give_back(void *arg)
{
    return arg;
}

static void block_for_pool(void *arg)
{
    struct fixture *f = arg;
    void *value = NULL;
    int err = skink_offload_block(give_back, f, &value);
    atomic_store(&f->result, err ? err : value != f);
}

static void blocking_for_the_pool_is_no_deadlock(void **state)
{
    struct fixture *f = *state;
    run(f, block_for_pool);
    assert_int_equal(atomic_load(&f->result), 0);
}

/* --- modes --- */

static void block_in_scopes(void *arg)
{
    struct fixture *f = arg;
    skink_future *done;
    int err = skink_future_create(&done);
    if (!err) err = skink_future_complete(done, NULL);
    assert_int_equal(skink_detection_mode(), SKINK_DETECTION_ACTUAL);
    assert_int_equal(skink_detection_begin(SKINK_DETECTION_POTENTIAL), 0);
    if (skink_future_block(done, SKINK_FOREVER, NULL) != -EDEADLK) err = -EIO; /* whether it is complete or not */
    if (skink_offload_block(give_back, f, NULL) != -EDEADLK) err = -EIO;
    if (skink_scheduler_stop(f->other, skink_now()) != -EDEADLK) err = -EIO;
    assert_int_equal(skink_detection_begin(SKINK_DETECTION_ACTUAL), 0);
    if (skink_future_block(done, SKINK_FOREVER, NULL)) err = -EIO;
    assert_int_equal(skink_yield(), 0); /* the scope is the task's, not the slice's */
    assert_int_equal(skink_detection_mode(), SKINK_DETECTION_ACTUAL);
    assert_int_equal(skink_detection_end(), 0);
    assert_int_equal(skink_detection_mode(), SKINK_DETECTION_POTENTIAL);
    assert_int_equal(skink_detection_end(), 0);
    assert_int_equal(skink_detection_end(), -EINVAL);
    if (skink_future_block(done, SKINK_FOREVER, NULL)) err = -EIO;
    skink_future_unref(done);
    atomic_store(&f->result, err);
}

static void scopes_nest_and_potential_refuses_every_wait(void **state)
{
    struct fixture *f = *state;
    run(f, block_in_scopes);
    assert_int_equal(atomic_load(&f->result), 0);
    assert_int_equal(stats_of(f->scheduler).waits_refused, 0);
    assert_int_equal(stats_of(f->scheduler).waits_potential, 3);
}

static void nest_deeply(void *arg)
{
    struct fixture *f = arg;
    int err = skink_detection_begin(SKINK_DETECTION_DEFAULT) == -EINVAL ? 0 : -EIO;
    for (int i = 0; i < 32; i++)
        if (skink_detection_begin(i ? SKINK_DETECTION_OFF : SKINK_DETECTION_POTENTIAL)) err = -EIO;
    if (skink_detection_begin(SKINK_DETECTION_OFF) != -EAGAIN) err = -EIO;
    for (int i = 0; i < 31; i++)
        if (skink_detection_end()) err = -EIO;
    if (skink_detection_mode() != SKINK_DETECTION_POTENTIAL || skink_detection_end()) err = -EIO;
    atomic_store(&f->result, err);
}

static void scopes_are_bounded_and_belong_to_tasks(void **state)
{
    struct fixture *f = *state;
    run(f, nest_deeply);
    assert_int_equal(atomic_load(&f->result), 0);
    assert_int_equal(skink_detection_begin(SKINK_DETECTION_OFF), -EPERM);
    assert_int_equal(skink_detection_end(), -EPERM);
    assert_int_equal(skink_detection_mode(), SKINK_DETECTION_OFF);
}

static void leave_scope_open(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->result, skink_detection_begin(SKINK_DETECTION_OFF));
}

static void note_mode(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->result, (int)skink_detection_mode());
}

/* A task's object is used again for the next. */
static void a_scope_left_open_ends_with_its_task(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++) {
        atomic_store(&f->result, UNSET);
        run(f, leave_scope_open);
        atomic_store(&f->result, UNSET);
        run(f, note_mode);
        assert_int_equal(atomic_load(&f->result), SKINK_DETECTION_ACTUAL);
    }
}

static void the_schedulers_mode_is_an_option_and_can_be_changed(void **state)
{
    struct fixture *f = *state;
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.detection = 4;
    skink_scheduler *scheduler;
    assert_int_equal(skink_scheduler_create(&options, &scheduler), -EINVAL);
    assert_int_equal(skink_scheduler_set_detection(f->scheduler, SKINK_DETECTION_DEFAULT), -EINVAL);
    assert_int_equal(skink_scheduler_set_detection(f->scheduler, SKINK_DETECTION_POTENTIAL), 0);
    run(f, block_for_pool);
    assert_int_equal(atomic_load(&f->result), -EDEADLK);
    assert_int_equal(skink_scheduler_set_detection(f->scheduler, SKINK_DETECTION_OFF), 0);
    atomic_store(&f->result, UNSET);
    run(f, block_for_pool);
    assert_int_equal(atomic_load(&f->result), 0);
}

static void off_waits_even_for_a_task_of_the_same_loop(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_scheduler_set_detection(f->scheduler, SKINK_DETECTION_OFF), 0);
    f->deadline_ns = skink_after(50 * SKINK_MS);
    run(f, block_for_declared);
    assert_int_equal(atomic_load(&f->result), -ETIMEDOUT);
}

/* --- several loops, and the pool --- */

static void hold_until_told(void *arg)
{
    struct fixture *f = arg;
    while (!atomic_load(&f->go))
        if (skink_sleep(SKINK_MS)) return;
}

static void block_for_other(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->thread, gettid());
    atomic_store(&f->blocking, true);
    atomic_store(&f->result, skink_task_block(f->other_task, f->deadline_ns));
}

static void blocking_for_a_task_of_another_loop_is_no_deadlock(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_spawn(f->other, NULL, &f->other_task, hold_until_told, f), 0);
    assert_int_equal(skink_post(f->scheduler, block_for_other, f), 0);
    test_wait_until(atomic_load(&f->blocking), 5000);
    atomic_store(&f->go, true);
    test_wait_until(atomic_load(&f->result) == 0, 5000);
}

static void block_back(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->other_result, skink_task_block(f->task, SKINK_FOREVER));
}

/* | loop A                    | loop B                               |
 * | blocks for a task of B    | blocks for a task of A: refused       |
 * | its wait ends             | goes on, and its other task ends      |
 * in whichever order: exactly one of them is refused. */
static void a_circle_of_two_loops_is_broken_at_the_last_link(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &f->task, hold_until_told, f), 0);
    assert_int_equal(skink_spawn(f->other, NULL, &f->other_task, hold_until_told, f), 0);
    assert_int_equal(skink_post(f->scheduler, block_for_other, f), 0);
    assert_int_equal(skink_post(f->other, block_back, f), 0);
    test_wait_until(atomic_load(&f->result) == -EDEADLK || atomic_load(&f->other_result) == -EDEADLK, 5000);
    atomic_store(&f->go, true);
    test_wait_until(atomic_load(&f->result) != UNSET && atomic_load(&f->other_result) != UNSET, 5000);
    assert_int_equal(atomic_load(&f->result) + atomic_load(&f->other_result), -EDEADLK);
    assert_int_equal(stats_of(f->scheduler).waits_refused + stats_of(f->other).waits_refused, 1);
}

static void a_link_that_ends_by_itself_closes_no_circle(void **state)
{
    struct fixture *f = *state;
    f->deadline_ns = skink_after(300 * SKINK_MS);
    assert_int_equal(skink_spawn(f->scheduler, NULL, &f->task, hold_until_told, f), 0);
    assert_int_equal(skink_spawn(f->other, NULL, &f->other_task, hold_until_told, f), 0);
    assert_int_equal(skink_post(f->scheduler, block_for_other, f), 0);
    /* Were the other link there first, and without an end, this one would be what closes the circle. */
    test_wait_until(atomic_load(&f->blocking) && test_thread_sleeps(atomic_load(&f->thread)), 5000);
    assert_int_equal(skink_post(f->other, block_back, f), 0);
    test_wait_until(atomic_load(&f->result) == -ETIMEDOUT, 5000);
    atomic_store(&f->go, true);
    test_wait_until(atomic_load(&f->other_result) == 0, 5000);
}

static void *wait_on_pool(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->other_result, skink_task_await(f->task, SKINK_FOREVER));
    return NULL;
}

static void block_for_waiting_work(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->result, skink_offload_block(wait_on_pool, f, NULL));
}

static void work_that_waits_for_the_loop_that_blocks_for_it_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &f->task, hold_until_told, f), 0);
    run(f, block_for_waiting_work);
    assert_int_equal(atomic_load(&f->other_result), -EDEADLK);
    assert_int_equal(atomic_load(&f->result), 0);
    atomic_store(&f->go, true);
}

/* The same from the other side: the work waits first. */
static void block_for_work_that_waits(void *arg)
{
    struct fixture *f = arg;
    skink_future *work;
    int err = skink_offload_start(f->scheduler, wait_on_pool, f, &work);
    if (!err) err = skink_sleep(50 * SKINK_MS); /* whichever of the two waits last is refused */
    if (!err) err = skink_future_block(work, SKINK_FOREVER, NULL);
    atomic_store(&f->go, true);
    if (err == -EDEADLK && skink_await(work, SKINK_FOREVER, NULL)) err = -EIO;
    skink_future_unref(work);
    atomic_store(&f->result, err);
}

static void blocking_for_work_that_waits_for_the_loop_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &f->task, hold_until_told, f), 0);
    run(f, block_for_work_that_waits);
    assert_int_equal(atomic_load(&f->result) + atomic_load(&f->other_result), -EDEADLK);
}

static void bad_arguments_are_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_future_set_completer(NULL, NULL), -EINVAL);
    assert_int_equal(skink_task_block(NULL, SKINK_FOREVER), -EINVAL);
    assert_int_equal(skink_scheduler_set_detection(NULL, SKINK_DETECTION_OFF), -EINVAL);
    assert_int_equal(skink_offload_block(NULL, NULL, NULL), -EINVAL);
    assert_int_equal(skink_offload_block(give_back, NULL, NULL), -EPERM);
    skink_future *work;
    assert_int_equal(skink_offload_start(f->scheduler, give_back, NULL, &work), 0);
    assert_int_equal(skink_future_set_completer(work, NULL), -EINVAL);
    assert_int_equal(skink_await(work, SKINK_FOREVER, NULL), 0);
    skink_future_unref(work);
}

struct ending {
    skink_scheduler *scheduler;
    _Atomic bool begun, destroyed;
    _Atomic int result;
};

static void sleep_until_cancelled(void *arg)
{
    struct ending *e = arg;
    atomic_store(&e->begun, true);
    atomic_store(&e->result, skink_sleep(3600 * SKINK_S));
}

static void destroy_in_a_scope(void *arg)
{
    struct ending *e = arg;
    (void)!skink_detection_begin(SKINK_DETECTION_POTENTIAL);
    skink_scheduler_destroy(e->scheduler);
    (void)skink_detection_end();
    atomic_store(&e->destroyed, true);
}

/* It cannot say so: what it does not stop would run on for ever. */
static void destroying_a_scheduler_is_not_refused(void **state)
{
    struct fixture *f = *state;
    struct ending e = { .result = UNSET };
    assert_int_equal(skink_scheduler_create(NULL, &e.scheduler), 0);
    assert_int_equal(skink_scheduler_start(e.scheduler), 0);
    assert_int_equal(skink_post(e.scheduler, sleep_until_cancelled, &e), 0);
    test_wait_until(atomic_load(&e.begun), 5000);
    assert_int_equal(skink_post(f->scheduler, destroy_in_a_scope, &e), 0);
    test_wait_until(atomic_load(&e.destroyed), 10000);
    assert_int_equal(atomic_load(&e.result), -ECANCELED);
}

static const struct test_case cases[] = {
    CASE(blocking_for_a_task_of_the_same_loop_is_refused_at_once),
    CASE(a_declared_completer_counts_with_and_without_a_deadline),
    CASE(what_anybody_may_complete_is_never_refused),
    CASE(a_completer_that_has_ended_is_not_certain),
    CASE(blocking_for_the_pool_is_no_deadlock),
    CASE(scopes_nest_and_potential_refuses_every_wait),
    CASE(scopes_are_bounded_and_belong_to_tasks),
    CASE(a_scope_left_open_ends_with_its_task),
    CASE(the_schedulers_mode_is_an_option_and_can_be_changed),
    CASE(off_waits_even_for_a_task_of_the_same_loop),
    CASE(blocking_for_a_task_of_another_loop_is_no_deadlock),
    CASE(a_circle_of_two_loops_is_broken_at_the_last_link),
    CASE(a_link_that_ends_by_itself_closes_no_circle),
    CASE(work_that_waits_for_the_loop_that_blocks_for_it_is_refused),
    CASE(blocking_for_work_that_waits_for_the_loop_is_refused),
    CASE(destroying_a_scheduler_is_not_refused),
    CASE(bad_arguments_are_refused),
};
TEST_MAIN(cases, setup, teardown)
