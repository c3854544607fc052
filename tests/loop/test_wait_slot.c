/* SPDX-License-Identifier: MIT */
/* test_wait_slot.c - waiting in a slot, by a task of its own loop and of another, and calls from loop to loop. */
#include "loop/runtime.h"
#include "loop/state.h"
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { UNSET = 1 };

struct fixture {
    skink_scheduler *scheduler; /* the slot's */
    skink_scheduler *other;
    struct skink__wait_slot slot;
    bool ready; /* runtime of `scheduler`: what a step waits for */
    bool far_waits;
    int calls;
};

/* A task that waits in the slot, and then for its host. */
struct waiter {
    struct fixture *f;
    skink_task *task;
    _Atomic int result, after;
    skink_future *then; /* awaited afterwards; NULL: nothing */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    skink_scheduler **both[] = { &f->scheduler, &f->other };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(skink_scheduler_create(NULL, both[i]), 0);
        assert_int_equal(skink_scheduler_start(*both[i]), 0);
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    skink_scheduler_destroy(f->other);
    skink_scheduler_destroy(f->scheduler);
    skink__wait_slot_fini(&f->slot);
    free(f);
    return 0;
}

static void wait_until_suspended(skink_scheduler *scheduler, uint64_t tasks)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(scheduler, &stats) == 0 && stats.tasks_suspended == tasks, 5000);
}

struct end {
    struct fixture *f;
    int result;
};

static void end_wait(struct uv_loop_s *loop, void *arg)
{
    struct end *end = arg;
    (void)loop;
    skink__assume_runtime();
    skink__wait_end(&end->f->slot, end->result);
}

static void wake(struct fixture *f, int result)
{
    struct end end = { f, result };
    assert_int_equal(skink_scheduler_uv(f->scheduler, end_wait, &end), 0);
}

/* ---- a task of the slot's own loop ---- */

static int wait_in_slot(struct fixture *f)
{
    skink_scheduler *here = skink__runtime_enter();
    (void)here;
    skink__assume_runtime();
    return skink__wait_in(&f->slot);
}

static void wait_here(void *arg)
{
    struct waiter *w = arg;
    atomic_store(&w->result, wait_in_slot(w->f));
    if (w->then) atomic_store(&w->after, skink_await(w->then, SKINK_FOREVER, NULL));
}

static void begin(struct waiter *w, skink_scheduler *scheduler, void (*fn)(void *arg))
{
    atomic_store(&w->result, UNSET);
    atomic_store(&w->after, UNSET);
    assert_int_equal(skink_spawn(scheduler, NULL, &w->task, fn, w), 0);
}

static void end(struct waiter *w)
{
    assert_int_equal(skink_task_await(w->task, test_deadline_ns(5000)), 0);
    skink_task_unref(w->task);
}

static void who_waits_is_woken_with_the_result(void **state)
{
    struct fixture *f = *state;
    const int results[] = { 0, -EIO };
    for (int i = 0; i < 2; i++) {
        struct waiter w = { .f = f };
        begin(&w, f->scheduler, wait_here);
        wait_until_suspended(f->scheduler, 1);
        wake(f, results[i]);
        end(&w);
        assert_int_equal(atomic_load(&w.result), results[i]);
    }
    wake(f, 0); /* nobody waits */
}

static void only_one_waits_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct waiter first = { .f = f }, second = { .f = f };
    begin(&first, f->scheduler, wait_here);
    wait_until_suspended(f->scheduler, 1);
    begin(&second, f->scheduler, wait_here);
    end(&second);
    assert_int_equal(atomic_load(&second.result), -EBUSY);
    wake(f, 0);
    end(&first);
    assert_int_equal(atomic_load(&first.result), 0);
}

/* Goal: a wait that is cancelled leaves its slot: what ends there later wakes nobody out of another wait, and somebody
 * else may wait. (A task whose deadline passed is cancelled for good; here the mark is taken off, as its host's next
 * task would be.)
 * | task                | host                        |
 * | waits in the slot   |                             |
 * | -ECANCELED          | cancels it                  |
 * | awaits a future     | takes the mark off          |
 * |                     | ends the slot: wakes nobody |
 * | 0                   | completes the future        | */
static void wait_here_and_take_the_mark_off(void *arg)
{
    struct waiter *w = arg;
    int err = wait_in_slot(w->f);
    atomic_store(&skink_task_current()->cancel_reason, 0);
    atomic_store(&w->result, err);
    atomic_store(&w->after, skink_await(w->then, SKINK_FOREVER, NULL));
}

static void a_wait_that_is_cancelled_leaves_its_slot(void **state)
{
    struct fixture *f = *state;
    struct waiter first = { .f = f }, second = { .f = f };
    assert_int_equal(skink_future_create(&first.then), 0);
    begin(&first, f->scheduler, wait_here_and_take_the_mark_off);
    wait_until_suspended(f->scheduler, 1);
    assert_int_equal(skink_task_cancel(first.task), 0);
    test_wait_until(atomic_load(&first.result) != UNSET, 5000);
    assert_int_equal(atomic_load(&first.result), -ECANCELED);
    wait_until_suspended(f->scheduler, 1);
    wake(f, 0);
    begin(&second, f->scheduler, wait_here);
    wait_until_suspended(f->scheduler, 2);
    assert_int_equal(atomic_load(&first.after), UNSET);
    wake(f, 0);
    end(&second);
    assert_int_equal(atomic_load(&second.result), 0);
    assert_int_equal(skink_future_complete(first.then, NULL), 0);
    end(&first);
    assert_int_equal(atomic_load(&first.after), 0);
    skink_future_unref(first.then);
}

/* ---- a task of another loop ---- */

static int take_or_wait(void *arg)
{
    struct fixture *f = arg;
    skink__assert_runtime(f->scheduler);
    f->calls++;
    return f->ready ? 0 : SKINK__MUST_WAIT;
}

static void step_to(void *arg)
{
    struct waiter *w = arg;
    atomic_store(&w->result, skink__runtime_step(w->f->scheduler, &w->f->slot, take_or_wait, w->f));
}

static void read_slot(struct uv_loop_s *loop, void *arg)
{
    struct fixture *f = arg;
    (void)loop;
    f->far_waits = f->slot.elsewhere != NULL;
}

static bool somebody_of_another_loop_waits(struct fixture *f)
{
    assert_int_equal(skink_scheduler_uv(f->scheduler, read_slot, f), 0);
    return f->far_waits;
}

static void a_step_from_another_loop_waits_in_the_slot(void **state)
{
    struct fixture *f = *state;
    const int results[] = { 0, -EIO };
    for (int i = 0; i < 2; i++) {
        struct waiter w = { .f = f };
        begin(&w, f->other, step_to);
        test_wait_until(somebody_of_another_loop_waits(f), 5000);
        wake(f, results[i]);
        end(&w);
        assert_int_equal(atomic_load(&w.result), results[i]);
    }
    f->ready = true; /* nobody of this loop looks at the moment */
    struct waiter w = { .f = f };
    begin(&w, f->other, step_to);
    end(&w);
    assert_int_equal(atomic_load(&w.result), 0);
    assert_int_equal(f->calls, 2 * 2 + 1);
}

static void a_slot_is_one_for_all_loops(void **state)
{
    struct fixture *f = *state;
    struct waiter far = { .f = f }, near = { .f = f }, farther = { .f = f };
    begin(&far, f->other, step_to);
    test_wait_until(somebody_of_another_loop_waits(f), 5000);
    begin(&near, f->scheduler, wait_here);
    end(&near);
    assert_int_equal(atomic_load(&near.result), -EBUSY);
    begin(&farther, f->other, step_to);
    end(&farther);
    assert_int_equal(atomic_load(&farther.result), -EBUSY);
    wake(f, 0);
    end(&far);
    assert_int_equal(atomic_load(&far.result), 0);
    begin(&near, f->scheduler, wait_here);
    wait_until_suspended(f->scheduler, 1);
    begin(&far, f->other, step_to);
    end(&far);
    assert_int_equal(atomic_load(&far.result), -EBUSY);
    wake(f, 0);
    end(&near);
}

static void a_step_that_is_cancelled_leaves_its_slot(void **state)
{
    struct fixture *f = *state;
    struct waiter far = { .f = f }, near = { .f = f };
    begin(&far, f->other, step_to);
    test_wait_until(somebody_of_another_loop_waits(f), 5000);
    assert_int_equal(skink_task_cancel(far.task), 0);
    end(&far);
    assert_int_equal(atomic_load(&far.result), -ECANCELED);
    assert_false(somebody_of_another_loop_waits(f));
    begin(&near, f->scheduler, wait_here);
    wait_until_suspended(f->scheduler, 1);
    wake(f, 0);
    end(&near);
    assert_int_equal(atomic_load(&near.result), 0);
}

/* ---- calls ---- */

static int count_call(void *arg)
{
    struct fixture *f = arg;
    skink__assert_runtime(f->scheduler);
    return ++f->calls;
}

static void call_it(void *arg)
{
    struct waiter *w = arg;
    atomic_store(&w->result, skink__runtime_call(w->f->scheduler, count_call, w->f));
}

static void a_call_is_made_on_the_loop_that_it_is_for(void **state)
{
    struct fixture *f = *state;
    skink_scheduler *const from[] = { f->scheduler, f->other };
    for (int i = 0; i < 2; i++) {
        struct waiter w = { .f = f };
        begin(&w, from[i], call_it);
        end(&w);
        assert_int_equal(atomic_load(&w.result), i + 1);
    }
    assert_int_equal(skink__runtime_call(f->scheduler, count_call, f), -EPERM); /* no task */
    assert_int_equal(skink__runtime_step(f->scheduler, &f->slot, count_call, f), -EPERM);
    assert_int_equal(f->calls, 2);
}

static void a_call_to_a_loop_that_has_stopped_is_not_made(void **state)
{
    struct fixture *f = *state;
    struct waiter w = { .f = f };
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(5000)), 0);
    begin(&w, f->other, call_it);
    end(&w);
    assert_int_equal(atomic_load(&w.result), -ECANCELED);
    assert_int_equal(f->calls, 0);
    assert_int_equal(skink_scheduler_stop(f->other, test_deadline_ns(5000)), 0);
}

/* Goal: nothing ends a call early but the end of its caller's loop; then fn is not called, since its arg may be gone.
 * | called loop     | caller              | host                          |
 * | busy            | calls, is suspended |                               |
 * |                 |                     | cancels it: it waits on       |
 * |                 | dropped             | stops the caller's loop       |
 * | does not call   |                     |                               | */
struct busy {
    _Atomic bool begun, free;
};

static void be_busy(void *arg)
{
    struct busy *busy = arg;
    atomic_store(&busy->begun, true);
    while (!atomic_load(&busy->free))
        test_nap();
}

static void nothing_in_runtime(struct uv_loop_s *loop, void *arg)
{
    (void)loop;
    (void)arg;
}

static void who_is_dropped_in_a_call_is_not_called_for(void **state)
{
    struct fixture *f = *state;
    struct busy busy = { 0 };
    struct waiter w = { .f = f };
    assert_int_equal(skink_post(f->scheduler, be_busy, &busy), 0);
    test_wait_until(atomic_load(&busy.begun), 5000);
    begin(&w, f->other, call_it);
    wait_until_suspended(f->other, 1);
    assert_int_equal(skink_task_cancel(w.task), 0);
    assert_int_equal(skink_scheduler_uv(f->other, nothing_in_runtime, NULL), 0); /* the cancellation has been seen */
    assert_int_equal(atomic_load(&w.result), UNSET);
    assert_int_equal(skink_scheduler_stop(f->other, skink_now()), -ECANCELED);
    atomic_store(&busy.free, true);
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(5000)), 0);
    assert_int_equal(f->calls, 0);
    assert_int_equal(atomic_load(&w.result), UNSET);
    assert_int_equal(skink_task_await(w.task, skink_now()), -ECANCELED);
    skink_task_unref(w.task);
}

static const struct test_case cases[] = {
    CASE(who_waits_is_woken_with_the_result),
    CASE(only_one_waits_at_a_time),
    CASE(a_wait_that_is_cancelled_leaves_its_slot),
    CASE(a_step_from_another_loop_waits_in_the_slot),
    CASE(a_slot_is_one_for_all_loops),
    CASE(a_step_that_is_cancelled_leaves_its_slot),
    CASE(a_call_is_made_on_the_loop_that_it_is_for),
    CASE(a_call_to_a_loop_that_has_stopped_is_not_made),
    CASE(who_is_dropped_in_a_call_is_not_called_for),
};
TEST_MAIN(cases, setup, teardown)
