/* SPDX-License-Identifier: MIT */
/*
 * test_allocation_failures.c - every allocation of every call of the loop fails in turn.
 *
 * Each call is made on a scheduler of its own, so that nothing it needs is there from the time before, and is made
 * again after its failure: then it succeeds, and when the scheduler is gone no block is left.
 */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include "tests/support/scarce.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
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
 * Let each allocation of the call fail, until there are no more: it makes `own` of them, for which it returns -ENOMEM, and 0
 * the second time. What the loop allocates for it afterwards (a stack) the loop tries again. Either way `runs` of its
 * functions are run.
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

/* Who has no memory left can still get rid of a scheduler. */
static void stop_and_destroy_work_without_memory(void **state)
{
    (void)state;
    struct attempt a;
    open_attempt(&a, NULL, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(skink_post(a.scheduler, note_run, &a), 0);
    test_wait_until(atomic_load(&a.ran) == 3, 5000);
    scarce_fail_all();
    int err = skink_scheduler_stop(a.scheduler, test_deadline_ns(5000));
    skink_scheduler_destroy(a.scheduler);
    a.scheduler = NULL;
    scarce_end();
    assert_int_equal(err, 0);
    close_attempt(&a);
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

static void hold_on(void *arg)
{
    struct attempt *a = arg;
    note_run(a);
    if (skink_await(a->future, SKINK_FOREVER, NULL) != 0) note_run(a);
}

/* Nobody is told that there is no stack: the task starts as soon as there is one. */
static void task_without_memory_for_its_stack_starts_when_there_is_some(void **state)
{
    (void)state;
    enum { TASKS = 40 }; /* more than the first slab of stacks has, and than are free */
    struct attempt a;
    open_attempt(&a, NULL, 0);
    assert_int_equal(skink_post(a.scheduler, hold_on, &a), 0); /* objects for more tasks are there afterwards */
    test_wait_until(atomic_load(&a.ran) == 1, 5000);
    scarce_fail_all();
    for (int i = 1; i < TASKS; i++)
        assert_int_equal(skink_post(a.scheduler, hold_on, &a), 0);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    uint64_t deadline = test_now_ns() + test_ms(10000);
    do {
        test_nap();
        assert_int_equal(skink_scheduler_stats_read(a.scheduler, &stats), 0);
    } while (stats.tasks_living < TASKS && test_now_ns() < deadline);
    long before = scarce_failures();
    /* It is tried again and again from now on, though nothing else happens. */
    while (scarce_failures() < before + 100 && test_now_ns() < deadline)
        test_nap();
    int ran = atomic_load(&a.ran);
    assert_true(scarce_end() >= before + 100);
    assert_true(ran < TASKS);
    test_wait_until(atomic_load(&a.ran) == TASKS, 5000);
    assert_int_equal(skink_future_complete(a.future, NULL), 0);
    assert_int_equal(skink_scheduler_stop(a.scheduler, test_deadline_ns(5000)), 0);
    assert_int_equal(atomic_load(&a.ran), TASKS);
    close_attempt(&a);
}

/* Goal: without memory a task that has a stack goes on past those that wait for one; and the stack that it gives back goes to the
 * first of those, not to what it has posted meanwhile.
 * | the first               | the others                    | the last          |
 * | waits, with a stack     | are set aside without one     |                   |
 * | goes on, posts, ends    |                               | is posted         |
 * |                         | one of them begins            |                   |
 * |                         | the rest, when there is memory |                  |
 * |                         |                               | runs              | */
struct queue_jump {
    struct attempt a;
    skink_future *go;
    _Atomic int ran_before_last;
};

static void run_last(void *arg)
{
    struct queue_jump *q = arg;
    atomic_store(&q->ran_before_last, atomic_load(&q->a.ran));
}

static void nothing(void *arg)
{
    (void)arg;
}

static void hold_on_and_post(void *arg)
{
    struct queue_jump *q = arg;
    q->a.err = skink_post(q->a.scheduler, nothing, NULL); /* so that the next needs no memory */
    note_run(&q->a);
    q->a.err |= skink_await(q->go, SKINK_FOREVER, NULL);
    q->a.again = skink_post(q->a.scheduler, run_last, q);
}

static void tasks_without_memory_for_their_stacks_keep_their_place(void **state)
{
    (void)state;
    enum { TASKS = 100 };
    struct queue_jump q = { 0 };
    struct attempt *a = &q.a;
    open_attempt(a, NULL, 0);
    assert_int_equal(skink_future_create(&q.go), 0);
    assert_int_equal(skink_post(a->scheduler, hold_on_and_post, &q), 0);
    test_wait_until(atomic_load(&a->ran) == 1, 5000);
    int tasks = 1;
    scarce_fail_all();
    while (tasks < TASKS && skink_post(a->scheduler, hold_on, a) == 0)
        tasks++;
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    long before = scarce_failures();
    test_wait_until(scarce_failures() > before + 3 && skink_scheduler_stats_read(a->scheduler, &stats) == 0 &&
                        stats.tasks_living == (uint64_t)tasks,
                    5000);
    int ran = atomic_load(&a->ran);
    assert_true(ran < tasks - 1);
    assert_int_equal(skink_future_complete(q.go, NULL), 0);
    test_wait_until(atomic_load(&a->ran) == ran + 1, 5000);
    scarce_end();
    test_wait_until(atomic_load(&q.ran_before_last) != 0, 5000);
    assert_int_equal(skink_future_complete(a->future, NULL), 0);
    assert_int_equal(a->err, 0);
    assert_int_equal(a->again, 0);
    assert_int_equal(atomic_load(&q.ran_before_last), tasks);
    assert_int_equal(skink_scheduler_stop(a->scheduler, test_deadline_ns(5000)), 0);
    skink_future_unref(q.go);
    close_attempt(a);
}

/* Goal: a stop does not wait for memory: who never gets a stack is dropped with the others, and its end is told. Who gets one
 * past the deadline of the stop starts cancelled. */
struct last_stop {
    struct attempt a;
    skink_task *last;       /* lacks a stack */
    _Atomic bool cancelled; /* somebody who sleeps was */
    _Atomic int result, last_result;
};

/* Keeps its stack until it is dropped. */
static void stay(void *arg)
{
    note_run(arg);
    for (;;)
        (void)!skink_yield();
}

static void sleep_until_the_stop(void *arg)
{
    struct last_stop *s = arg;
    note_run(&s->a);
    (void)!skink_sleep_until(SKINK_FOREVER);
    atomic_store(&s->cancelled, true);
    stay(&s->a);
}

static void note_cancellation(void *arg)
{
    struct last_stop *s = arg;
    atomic_store(&s->last_result, skink_checkpoint());
}

static void *stop_now(void *arg)
{
    struct last_stop *s = arg;
    atomic_store(&s->result, skink_scheduler_stop(s->a.scheduler, skink_now()));
    return NULL;
}

static void stop_while_stacks_are_scarce(struct last_stop *s, bool memory_comes_back)
{
    enum { TASKS = 100 };
    pthread_t thread;
    open_attempt(&s->a, NULL, 0);
    assert_int_equal(skink_post(s->a.scheduler, sleep_until_the_stop, s), 0);
    test_wait_until(atomic_load(&s->a.ran) == 1, 5000);
    scarce_fail_all();
    for (int i = 0; i < TASKS / 2; i++)
        assert_int_equal(skink_post(s->a.scheduler, stay, &s->a), 0);
    assert_int_equal(skink_spawn(s->a.scheduler, NULL, &s->last, note_cancellation, s), 0);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    long before = scarce_failures();
    test_wait_until(scarce_failures() > before + 3 && skink_scheduler_stats_read(s->a.scheduler, &stats) == 0 &&
                        stats.tasks_living == TASKS / 2 + 2,
                    5000);
    assert_int_equal(pthread_create(&thread, NULL, stop_now, s), 0);
    if (memory_comes_back) {
        test_wait_until(atomic_load(&s->cancelled), 5000);
        scarce_end();
    }
    pthread_join(thread, NULL);
    scarce_end();
    assert_int_equal(atomic_load(&s->result), -ECANCELED);
    assert_int_equal(skink_scheduler_stats_read(s->a.scheduler, &stats), 0);
    assert_int_equal(stats.tasks_living, 0);
}

static void tasks_without_memory_for_their_stacks_cannot_hold_up_a_stop(void **state)
{
    (void)state;
    struct last_stop s = { .last_result = 1 };
    stop_while_stacks_are_scarce(&s, false);
    assert_int_equal(skink_task_await(s.last, skink_now()), -ECANCELED);
    assert_int_equal(atomic_load(&s.last_result), 1); /* it has never begun */
    skink_task_unref(s.last);
    close_attempt(&s.a);
}

static void tasks_that_get_their_stacks_past_the_deadline_of_a_stop_start_cancelled(void **state)
{
    (void)state;
    struct last_stop s = { .last_result = 1 };
    stop_while_stacks_are_scarce(&s, true);
    assert_int_equal(skink_task_await(s.last, skink_now()), 0);
    assert_int_equal(atomic_load(&s.last_result), -ECANCELED);
    skink_task_unref(s.last);
    close_attempt(&s.a);
}

/* Goal: a post whose turn comes while there is no object for its task is not lost: it waits aside. Its turn comes on the stack of
 * the task before it, of which the host keeps the object. */
static void fill_queue(void *arg)
{
    struct attempt *a = arg;
    enum { POSTS = 3 };
    for (int i = 0; i < POSTS; i++)
        a->err |= skink_post(a->scheduler, note_run, a);
    scarce_fail_all();
    for (a->n = POSTS; skink_spawn(a->scheduler, NULL, NULL, note_run, a) == 0; a->n++) {
    }
}

static void post_without_memory_for_its_task_runs_when_there_is_some(void **state)
{
    (void)state;
    struct attempt a;
    skink_task *task;
    open_attempt(&a, NULL, 0);
    assert_int_equal(skink_spawn(a.scheduler, NULL, &task, fill_queue, &a), 0);
    assert_int_equal(skink_task_await(task, test_deadline_ns(5000)), 0);
    test_wait_until(scarce_failures() >= 2, 5000);
    scarce_end();
    assert_int_equal(a.err, 0);
    test_wait_until(atomic_load(&a.ran) == (int)a.n, 5000);
    skink_task_unref(task);
    assert_int_equal(skink_scheduler_stop(a.scheduler, test_deadline_ns(5000)), 0);
    assert_int_equal(atomic_load(&a.ran), (int)a.n);
    close_attempt(&a);
}

/* Goal: what posts and tasks have used once serves the next ones: the hundred-thousandth needs no memory. */
static void post_again_and_again(void *arg)
{
    struct attempt *a = arg;
    enum { ROUNDS = 2000, AT_ONCE = 50 };
    for (int round = 0; round < ROUNDS && !a->err; round++) {
        if (round == 2) scarce_fail_all();
        for (int i = 0; i < AT_ONCE && !a->err; i++)
            a->err = skink_post(a->scheduler, note_run, a);
        for (int i = 0; i < 4 && !a->err; i++)
            a->err = skink_spawn(a->scheduler, NULL, NULL, note_run, a);
        if (!a->err) a->err = skink_yield();
    }
    a->failures = scarce_end();
    sem_post(&a->finished);
}

static void posts_and_tasks_in_a_steady_state_need_no_memory(void **state)
{
    (void)state;
    struct attempt a;
    open_attempt(&a, NULL, 0);
    assert_int_equal(skink_post(a.scheduler, post_again_and_again, &a), 0);
    while (sem_wait(&a.finished) != 0) {
    }
    assert_int_equal(a.err, 0);
    assert_int_equal(a.failures, 0);
    test_wait_until(atomic_load(&a.ran) == 2000 * 54, 5000);
    close_attempt(&a);
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

static void cancel_the_sleeper(void *arg)
{
    int err = skink_sleep(SKINK_FOREVER);
    if (err == -ECANCELED) note_run(arg);
}

/* Neither does asking a task to end, and being woken by that. */
static void cancel_needs_no_memory(void **state)
{
    (void)state;
    struct attempt a;
    open_attempt(&a, NULL, 0);
    skink_task *task;
    assert_int_equal(skink_spawn(a.scheduler, NULL, &task, cancel_the_sleeper, &a), 0);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(a.scheduler, &stats) == 0 && stats.tasks_suspended == 1, 5000);
    scarce_fail_all();
    int err = skink_task_cancel(task);
    test_wait_until(atomic_load(&a.ran) == 1, 5000);
    assert_int_equal(scarce_end(), 0);
    assert_int_equal(err, 0);
    skink_task_unref(task);
    close_attempt(&a);
}

static void add_one(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
}

/* Those for which there was no memory do not count towards the limit afterwards. */
static void spawns_without_memory_use_nothing_up(void **state)
{
    (void)state;
    enum { LIMIT = 4 };
    static _Atomic int ran;
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = LIMIT;
    skink_scheduler *scheduler;
    scarce_install();
    assert_int_equal(skink_scheduler_create(&options, &scheduler), 0);
    scarce_fail_all();
    for (int i = 0; i < 2 * LIMIT; i++)
        assert_int_equal(skink_spawn(scheduler, NULL, NULL, add_one, (void *)&ran), -ENOMEM);
    scarce_end();
    for (int i = 0; i < LIMIT; i++)
        assert_int_equal(skink_spawn(scheduler, NULL, NULL, add_one, (void *)&ran), 0);
    assert_int_equal(skink_scheduler_start(scheduler), 0);
    test_wait_until(atomic_load(&ran) == LIMIT, 5000);
    skink_scheduler_destroy(scheduler);
    scarce_assert_no_blocks();
}

static void a_future_lets_go_of_its_completer(void **state)
{
    (void)state;
    static _Atomic int ran;
    skink_scheduler *scheduler;
    skink_future *future;
    skink_task *task;
    scarce_install();
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    assert_int_equal(skink_future_create(&future), 0);
    assert_int_equal(skink_spawn(scheduler, NULL, &task, add_one, (void *)&ran), 0);
    assert_int_equal(skink_future_set_completer(future, task), 0);
    skink_task_unref(task);
    skink_future_unref(future);
    skink_scheduler_destroy(scheduler);
    scarce_assert_no_blocks();
}

static const struct test_case cases[] = {
    CASE(spawns_without_memory_use_nothing_up),
    CASE(a_future_lets_go_of_its_completer),
    CASE(create_without_memory_fails_and_leaves_nothing),
    CASE(start_without_memory_fails_and_can_be_repeated),
    CASE(stop_and_destroy_work_without_memory),
    CASE_TIMEOUT(stop_of_a_stuck_loop_goes_on_after_a_failure, 40),
    CASE(post_from_a_thread_without_memory_fails_and_can_be_repeated),
    CASE(spawn_from_a_thread_without_memory_fails_and_can_be_repeated),
    CASE(post_from_a_task_without_memory_fails_and_can_be_repeated),
    CASE(spawn_from_a_task_without_memory_fails_and_can_be_repeated),
    CASE(task_without_memory_for_its_stack_starts_when_there_is_some),
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
    CASE(tasks_without_memory_for_their_stacks_keep_their_place),
    CASE(tasks_without_memory_for_their_stacks_cannot_hold_up_a_stop),
    CASE(tasks_that_get_their_stacks_past_the_deadline_of_a_stop_start_cancelled),
    CASE(post_without_memory_for_its_task_runs_when_there_is_some),
    CASE(posts_and_tasks_in_a_steady_state_need_no_memory),
    CASE(uv_call_needs_no_memory),
    CASE(cancel_needs_no_memory),
};
TEST_MAIN(cases, setup, NULL)
