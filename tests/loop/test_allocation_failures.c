/* SPDX-License-Identifier: MIT */
/*
 * test_allocation_failures.c - every allocation of every call of the loop fails in turn.
 *
 * Each call is made on a scheduler of its own, so that nothing it needs is there from the time before, and is made
 * again after its failure: then it succeeds, and when the scheduler is gone no block is left. What becomes of that for
 * which memory is missing only after the call is in test_memory_shortage.c.
 */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include "tests/support/scarce.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

struct attempt {
    skink_scheduler *scheduler;
    skink_future *future; /* is never completed by itself */
    int pipe[2];          /* has a byte to read */
    int (*call)(struct attempt *a);
    long n; /* which allocation fails */
    int err;
    long failures;
    int again;       /* result of the second call */
    _Atomic int ran; /* how often what was posted, spawned or offloaded has run */
    sem_t finished;
};

static void note_run(void *arg)
{
    atomic_fetch_add(&((struct attempt *)arg)->ran, 1);
}

static void *work(void *arg)
{
    note_run(arg);
    return arg;
}

static void note_result(void *arg, int error, void *value)
{
    (void)value;
    if (!error) note_run(arg);
}

/* What a call has said, or -EPROTO when its output does not go with it: nothing may be asserted on a task's stack. */
static int checked(int err, bool output_is_right)
{
    return output_is_right ? err : -EPROTO;
}

/* ---- the frame ---- */

static int setup(void **state)
{
    (void)state;
    scarce_install();
    return 0;
}

static void open_attempt(struct attempt *a, int (*call)(struct attempt *a), long n)
{
    *a = (struct attempt){ .call = call, .n = n };
    assert_int_equal(skink_scheduler_create(NULL, &a->scheduler), 0);
    assert_int_equal(skink_scheduler_start(a->scheduler), 0);
    assert_int_equal(skink_future_create(&a->future), 0);
    assert_int_equal(pipe(a->pipe), 0);
    assert_int_equal(write(a->pipe[1], "x", 1), 1);
    assert_int_equal(sem_init(&a->finished, 0, 0), 0);
}

static void close_attempt(struct attempt *a)
{
    skink_scheduler_destroy(a->scheduler);
    skink_future_unref(a->future);
    close(a->pipe[0]);
    close(a->pipe[1]);
    sem_destroy(&a->finished);
    scarce_assert_no_blocks();
}

/* The call with its n-th allocation failing, and once more with memory. */
static void make_calls(struct attempt *a)
{
    scarce_fail(a->n);
    a->err = a->call(a);
    a->failures = scarce_end();
    a->again = a->err ? a->call(a) : 0;
}

static void in_a_task(void *arg)
{
    struct attempt *a = arg;
    make_calls(a);
    sem_post(&a->finished);
}

static void make_calls_in_a_task(struct attempt *a)
{
    assert_int_equal(skink_post(a->scheduler, in_a_task, a), 0);
    while (sem_wait(&a->finished) != 0) {
    }
}

/*
 * Let each allocation of the call fail, until there are no more: it makes `own` of them, for which it returns -ENOMEM,
 * and 0 the second time. What the loop allocates for it afterwards (a stack) the loop tries again. Either way `runs` of
 * its functions are run.
 */
static void fail_each(int (*call)(struct attempt *a), void (*make)(struct attempt *a), long own, int runs)
{
    struct attempt a;
    long n = 0, errors = 0;
    do {
        open_attempt(&a, call, n++);
        make(&a);
        if (a.err || !a.failures) assert_int_equal(a.err, a.failures ? -ENOMEM : 0);
        assert_int_equal(a.again, 0);
        errors += a.err != 0;
        test_wait_until(atomic_load(&a.ran) == runs, 5000);
        close_attempt(&a);
    } while (a.failures);
    assert_int_equal(errors, own);
}

/* ---- a scheduler ---- */

static void create_without_memory_fails_and_leaves_nothing(void **state)
{
    (void)state;
    long n = 0, failures;
    do {
        skink_scheduler *scheduler = NULL;
        scarce_fail(n++);
        int err = skink_scheduler_create(NULL, &scheduler);
        failures = scarce_end();
        assert_int_equal(err, failures ? -ENOMEM : 0);
        assert_true(!err == !!scheduler);
        skink_scheduler_destroy(scheduler);
        scarce_assert_no_blocks();
    } while (failures);
    assert_true(n > 1);
}

static void start_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    long n = 0, failures;
    do {
        skink_scheduler *scheduler;
        assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
        scarce_fail(n++);
        int err = skink_scheduler_start(scheduler);
        failures = scarce_end();
        assert_int_equal(err, failures ? -ENOMEM : 0);
        if (err) assert_int_equal(skink_scheduler_start(scheduler), 0);
        assert_int_equal(skink_scheduler_stop(scheduler, test_deadline_ns(5000)), 0);
        skink_scheduler_destroy(scheduler);
        scarce_assert_no_blocks();
    } while (failures);
    assert_true(n > 1);
}

static void block(void *arg)
{
    struct attempt *a = arg;
    note_run(a);
    while (sem_wait(&a->finished) != 0) {
    }
}

/* A stop that finds the loop stuck needs a new loop thread; without memory for it, it tries again. */
static void stop_of_a_stuck_loop_goes_on_after_a_failure(void **state)
{
    (void)state;
    struct attempt a;
    long n = 0;
    int threads = TEST_TSAN ? 2 : 1; /* the sanitizer keeps one of its own */
    do {
        open_attempt(&a, NULL, n++);
        assert_int_equal(skink_post(a.scheduler, block, &a), 0);
        test_wait_until(atomic_load(&a.ran) == 1, 5000);
        scarce_fail(a.n);
        int err = skink_scheduler_stop(a.scheduler, skink_now());
        a.failures = scarce_end();
        assert_int_equal(err, -ECANCELED);
        sem_post(&a.finished);
        skink_scheduler_destroy(a.scheduler);
        a.scheduler = NULL;
        test_wait_until(test_thread_count(0) == threads, 5000); /* the stray has gone and needs the semaphore no more */
        close_attempt(&a);
    } while (a.failures);
    assert_true(n > 1);
}

/* ---- tasks ---- */

static int call_post(struct attempt *a)
{
    return skink_post(a->scheduler, note_run, a);
}

static int call_spawn(struct attempt *a)
{
    skink_task *task = NULL;
    int err = skink_spawn(a->scheduler, NULL, &task, note_run, a);
    skink_task_unref(task);
    return checked(err, !err == !!task);
}

static void post_from_a_thread_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_post, make_calls, 1, 1);
}

static void spawn_from_a_thread_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_spawn, make_calls, 1, 1);
}

/* The task that calls has an object of a thread's stock; the loop's own objects are still to be made. */
static void post_from_a_task_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_post, make_calls_in_a_task, 1, 1);
}

static void spawn_from_a_task_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_spawn, make_calls_in_a_task, 1, 1);
}

static int call_token(struct attempt *a)
{
    (void)a;
    skink_token *token = skink_task_token();
    return token ? skink_token_status(token) : -ENOMEM;
}

static void token_without_memory_is_null_and_can_be_had_later(void **state)
{
    (void)state;
    fail_each(call_token, make_calls_in_a_task, 1, 0);
}

static int call_scope(struct attempt *a)
{
    (void)a;
    skink_token *token;
    int err = skink_token_derive(NULL, SKINK_FOREVER, &token);
    if (err) return err;
    err = skink_scope_begin(token);
    skink_token_unref(token);
    return err ? err : skink_scope_end();
}

static void scopes_without_memory_can_be_had_later(void **state)
{
    (void)state;
    fail_each(call_scope, make_calls_in_a_task, 2, 0);
}

static int call_await_any(struct attempt *a)
{
    int err = skink_await_any(&a->future, 1, skink_now(), NULL);
    return err == -ETIMEDOUT ? 0 : err;
}

static void await_any_without_memory_waits_later(void **state)
{
    (void)state;
    fail_each(call_await_any, make_calls_in_a_task, 2, 0);
}

static int initialise(void *arg)
{
    note_run(arg);
    return 0;
}

static int call_once(struct attempt *a)
{
    static skink_once once = SKINK_ONCE_INIT;
    (void)skink_once_reset(&once);
    return skink_once_run(&once, initialise, a, SKINK_FOREVER);
}

static void once_without_memory_runs_later(void **state)
{
    (void)state;
    fail_each(call_once, make_calls_in_a_task, 3, 1);
}

static int call_offload_block(struct attempt *a)
{
    void *value = NULL;
    int err = skink_offload_block(work, a, &value);
    return checked(err, err || value == a);
}

static void offload_block_without_memory_runs_later(void **state)
{
    (void)state;
    fail_each(call_offload_block, make_calls_in_a_task, 2, 1);
}

/* ---- waiting ---- */

/* What has passed its deadline has waited well. */
static int waited(int err)
{
    return err == -ETIMEDOUT ? 0 : err;
}

static int call_sleep(struct attempt *a)
{
    (void)a;
    return skink_sleep(SKINK_MS);
}

static int call_await(struct attempt *a)
{
    return waited(skink_await(a->future, skink_after(SKINK_MS), NULL));
}

static int call_task_await(struct attempt *a)
{
    skink_task *task = NULL;
    int err = skink_spawn(a->scheduler, NULL, &task, note_run, a);
    if (err) return err;
    err = skink_task_await(task, test_deadline_ns(5000));
    if (err) note_run(a); /* counts for the second run, that of the call which is repeated */
    skink_task_unref(task);
    return err;
}

static int call_await_fd(struct attempt *a)
{
    uint32_t events = 0;
    int err = skink_await_fd(a->pipe[0], SKINK_READABLE, test_deadline_ns(5000), &events);
    return checked(err, events == (err ? 0 : SKINK_READABLE));
}

static void sleep_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_sleep, make_calls_in_a_task, 1, 0);
}

static void await_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_await, make_calls_in_a_task, 1, 0);
}

static void await_on_a_thread_needs_no_memory(void **state)
{
    (void)state;
    fail_each(call_await, make_calls, 0, 0);
}

static void await_fd_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_await_fd, make_calls_in_a_task, 4, 0);
}

/* The awaited task may have run before the deadline's timer was needed, or not: only the end is certain. */
static void task_await_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    long n = 0;
    struct attempt a;
    do {
        open_attempt(&a, call_task_await, n++);
        make_calls_in_a_task(&a);
        assert_true(a.err == 0 || a.err == -ENOMEM);
        assert_int_equal(a.again, 0);
        test_wait_until(atomic_load(&a.ran) >= 1, 5000);
        close_attempt(&a);
    } while (a.failures);
    assert_true(n > 2);
}

/* ---- futures ---- */

static int call_future_create(struct attempt *a)
{
    (void)a;
    skink_future *future = NULL;
    int err = skink_future_create(&future);
    skink_future_unref(future);
    return checked(err, !err == !!future);
}

/* One of its own each time, since what hangs on it is called only when it is completed. */
static int then_on(struct attempt *a, skink_where where)
{
    skink_future *future = a->future;
    int err = skink_future_then(future, where, a->scheduler, note_result, a);
    if (err) return err;
    scarce_end(); /* only the call itself is in question */
    return skink_future_complete(future, NULL);
}

static int call_then_on_loop(struct attempt *a)
{
    return then_on(a, SKINK_ON_LOOP);
}

static int call_then_on_pool(struct attempt *a)
{
    return then_on(a, SKINK_ON_POOL);
}

static int call_then_in_place(struct attempt *a)
{
    return then_on(a, SKINK_IN_PLACE);
}

static void future_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_future_create, make_calls, 1, 0);
}

static void then_on_the_loop_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_then_on_loop, make_calls, 2, 1);
}

static void then_on_the_loop_from_a_task_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_then_on_loop, make_calls_in_a_task, 2, 1);
}

static void then_on_the_pool_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_then_on_pool, make_calls, 1, 1);
}

static void then_in_place_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_then_in_place, make_calls, 1, 1);
}

/* ---- the thread pool ---- */

static int call_offload(struct attempt *a)
{
    void *value = NULL;
    int err = skink_offload(work, a, &value);
    return checked(err, value == (err ? NULL : a));
}

static int call_offload_start(struct attempt *a)
{
    skink_future *future = NULL;
    int err = skink_offload_start(a->scheduler, work, a, &future);
    if (err) return err;
    void *value = NULL;
    scarce_end(); /* waiting with a deadline is another call */
    err = skink_await(future, test_deadline_ns(5000), &value);
    skink_future_unref(future);
    return checked(err, value == (err ? NULL : a));
}

static void offload_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_offload, make_calls_in_a_task, 1, 1);
}

static void offload_start_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_offload_start, make_calls, 2, 1);
}

static void offload_start_from_a_task_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(call_offload_start, make_calls_in_a_task, 2, 1);
}

/* ---- the runtime section ---- */

static void in_the_runtime_section(struct uv_loop_s *loop, void *arg)
{
    (void)loop;
    note_run(arg);
}

static int call_uv(struct attempt *a)
{
    return skink_scheduler_uv(a->scheduler, in_the_runtime_section, a);
}

static void uv_call_needs_no_memory(void **state)
{
    (void)state;
    fail_each(call_uv, make_calls, 0, 1);
    fail_each(call_uv, make_calls_in_a_task, 0, 1);
}

static const struct test_case cases[] = {
    CASE(create_without_memory_fails_and_leaves_nothing),
    CASE(start_without_memory_fails_and_can_be_repeated),
    CASE_TIMEOUT(stop_of_a_stuck_loop_goes_on_after_a_failure, 40),
    CASE(post_from_a_thread_without_memory_fails_and_can_be_repeated),
    CASE(spawn_from_a_thread_without_memory_fails_and_can_be_repeated),
    CASE(post_from_a_task_without_memory_fails_and_can_be_repeated),
    CASE(spawn_from_a_task_without_memory_fails_and_can_be_repeated),
    CASE(token_without_memory_is_null_and_can_be_had_later),
    CASE(scopes_without_memory_can_be_had_later),
    CASE(await_any_without_memory_waits_later),
    CASE(once_without_memory_runs_later),
    CASE(offload_block_without_memory_runs_later),
    CASE(sleep_without_memory_fails_and_can_be_repeated),
    CASE(await_without_memory_fails_and_can_be_repeated),
    CASE(await_on_a_thread_needs_no_memory),
    CASE(await_fd_without_memory_fails_and_can_be_repeated),
    CASE(task_await_without_memory_fails_and_can_be_repeated),
    CASE(future_without_memory_fails_and_can_be_repeated),
    CASE(then_on_the_loop_without_memory_fails_and_can_be_repeated),
    CASE(then_on_the_loop_from_a_task_without_memory_fails_and_can_be_repeated),
    CASE(then_on_the_pool_without_memory_fails_and_can_be_repeated),
    CASE(then_in_place_without_memory_fails_and_can_be_repeated),
    CASE(offload_without_memory_fails_and_can_be_repeated),
    CASE(offload_start_without_memory_fails_and_can_be_repeated),
    CASE(offload_start_from_a_task_without_memory_fails_and_can_be_repeated),
    CASE(uv_call_needs_no_memory),
};
TEST_MAIN(cases, setup, NULL)
