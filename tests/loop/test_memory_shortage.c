/* SPDX-License-Identifier: MIT */
/*
 * test_memory_shortage.c - a loop that gets no memory for a while: what it has accepted waits for it, and what has to
 * work then needs none. What is over lets go of its memory.
 *
 * That each call says -ENOMEM and can be made again is in test_allocation_failures.c.
 */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/scarce.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct shortage {
    skink_scheduler *scheduler;
    skink_future *future; /* is never completed by itself */
    _Atomic int ran;      /* how often what was posted or spawned has run */
};

static int setup(void **state)
{
    (void)state;
    scarce_install();
    return 0;
}

/* A running scheduler; the shortage itself begins with scarce_fail_all(). */
static void open_shortage(struct shortage *s)
{
    *s = (struct shortage){ .ran = 0 };
    assert_int_equal(skink_scheduler_create(NULL, &s->scheduler), 0);
    assert_int_equal(skink_scheduler_start(s->scheduler), 0);
    assert_int_equal(skink_future_create(&s->future), 0);
}

static void close_shortage(struct shortage *s)
{
    skink_scheduler_destroy(s->scheduler);
    skink_future_unref(s->future);
    scarce_assert_no_blocks();
}

static void note_run(void *arg)
{
    atomic_fetch_add(&((struct shortage *)arg)->ran, 1);
}

/* ---- tasks without a stack, posts without a task ---- */

static void hold_on(void *arg)
{
    struct shortage *s = arg;
    note_run(s);
    if (skink_await(s->future, SKINK_FOREVER, NULL) != 0) note_run(s);
}

/* Nobody is told that there is no stack: the task starts as soon as there is one. */
static void task_without_memory_for_its_stack_starts_when_there_is_some(void **state)
{
    (void)state;
    enum { TASKS = 40 }; /* more than the first slab of stacks has, and than are free */
    struct shortage s;
    open_shortage(&s);
    assert_int_equal(skink_post(s.scheduler, hold_on, &s), 0); /* objects for more tasks are there afterwards */
    test_wait_until(atomic_load(&s.ran) == 1, 5000);
    scarce_fail_all();
    for (int i = 1; i < TASKS; i++)
        assert_int_equal(skink_post(s.scheduler, hold_on, &s), 0);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    uint64_t deadline = test_now_ns() + test_ms(10000);
    do {
        test_nap();
        assert_int_equal(skink_scheduler_stats_read(s.scheduler, &stats), 0);
    } while (stats.tasks_living < TASKS && test_now_ns() < deadline);
    long before = scarce_failures();
    /* It is tried again and again from now on, though nothing else happens. */
    while (scarce_failures() < before + 100 && test_now_ns() < deadline)
        test_nap();
    int ran = atomic_load(&s.ran);
    assert_true(scarce_end() >= before + 100);
    assert_true(ran < TASKS);
    test_wait_until(atomic_load(&s.ran) == TASKS, 5000);
    assert_int_equal(skink_future_complete(s.future, NULL), 0);
    assert_int_equal(skink_scheduler_stop(s.scheduler, test_deadline_ns(5000)), 0);
    assert_int_equal(atomic_load(&s.ran), TASKS);
    close_shortage(&s);
}

/* Goal: without memory a task that has a stack goes on past those that wait for one; and the stack that it gives back
 * goes to the first of those, not to what it has posted meanwhile.
 * | the first               | the others                    | the last          |
 * | waits, with a stack     | are set aside without one     |                   |
 * | goes on, posts, ends    |                               | is posted         |
 * |                         | one of them begins            |                   |
 * |                         | the rest, when there is memory |                  |
 * |                         |                               | runs              | */
struct queue_jump {
    struct shortage shortage;
    skink_future *go;
    int err; /* of what the first has called */
    _Atomic int ran_before_last;
};

static void run_last(void *arg)
{
    struct queue_jump *q = arg;
    atomic_store(&q->ran_before_last, atomic_load(&q->shortage.ran));
}

static void nothing(void *arg)
{
    (void)arg;
}

static void hold_on_and_post(void *arg)
{
    struct queue_jump *q = arg;
    q->err = skink_post(q->shortage.scheduler, nothing, NULL); /* so that the next needs no memory */
    note_run(&q->shortage);
    q->err |= skink_await(q->go, SKINK_FOREVER, NULL);
    q->err |= skink_post(q->shortage.scheduler, run_last, q);
}

static void tasks_without_memory_for_their_stacks_keep_their_place(void **state)
{
    (void)state;
    enum { TASKS = 100 };
    struct queue_jump q = { 0 };
    struct shortage *s = &q.shortage;
    open_shortage(s);
    assert_int_equal(skink_future_create(&q.go), 0);
    assert_int_equal(skink_post(s->scheduler, hold_on_and_post, &q), 0);
    test_wait_until(atomic_load(&s->ran) == 1, 5000);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT; /* it waits, and nothing() has ended and needs no more */
    test_wait_until(skink_scheduler_stats_read(s->scheduler, &stats) == 0 && stats.tasks_suspended == 1 &&
                        stats.tasks_living == 1,
                    5000);
    int tasks = 1;
    scarce_fail_all();
    while (tasks < TASKS && skink_post(s->scheduler, hold_on, s) == 0)
        tasks++;
    long before = scarce_failures();
    test_wait_until(scarce_failures() > before + 3 && skink_scheduler_stats_read(s->scheduler, &stats) == 0 &&
                        stats.tasks_living == (uint64_t)tasks,
                    5000);
    int ran = atomic_load(&s->ran);
    assert_true(ran < tasks - 1);
    assert_int_equal(skink_future_complete(q.go, NULL), 0);
    test_wait_until(atomic_load(&s->ran) == ran + 1, 5000);
    scarce_end();
    test_wait_until(atomic_load(&q.ran_before_last) != 0, 5000);
    assert_int_equal(skink_future_complete(s->future, NULL), 0);
    assert_int_equal(q.err, 0);
    assert_int_equal(atomic_load(&q.ran_before_last), tasks);
    assert_int_equal(skink_scheduler_stop(s->scheduler, test_deadline_ns(5000)), 0);
    skink_future_unref(q.go);
    close_shortage(s);
}

/* Goal: a stop does not wait for memory: who never gets a stack is dropped with the others, and its end is told. Who
 * gets one past the deadline of the stop starts cancelled. */
struct last_stop {
    struct shortage shortage;
    skink_task *task;       /* the last one: lacks a stack */
    _Atomic bool cancelled; /* somebody who sleeps was */
    _Atomic int result;     /* of the stop */
    _Atomic int seen;       /* by the task, when it starts */
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
    struct last_stop *last = arg;
    note_run(&last->shortage);
    (void)!skink_sleep_until(SKINK_FOREVER);
    atomic_store(&last->cancelled, true);
    stay(&last->shortage);
}

static void note_cancellation(void *arg)
{
    struct last_stop *last = arg;
    atomic_store(&last->seen, skink_checkpoint());
}

static void *stop_now(void *arg)
{
    struct last_stop *last = arg;
    atomic_store(&last->result, skink_scheduler_stop(last->shortage.scheduler, skink_now()));
    return NULL;
}

static void stop_while_stacks_are_scarce(struct last_stop *last, bool memory_comes_back)
{
    enum { TASKS = 100 };
    struct shortage *s = &last->shortage;
    pthread_t thread;
    open_shortage(s);
    assert_int_equal(skink_post(s->scheduler, sleep_until_the_stop, last), 0);
    test_wait_until(atomic_load(&s->ran) == 1, 5000);
    scarce_fail_all();
    for (int i = 0; i < TASKS / 2; i++)
        assert_int_equal(skink_post(s->scheduler, stay, s), 0);
    assert_int_equal(skink_spawn(s->scheduler, NULL, &last->task, note_cancellation, last), 0);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    long before = scarce_failures();
    test_wait_until(scarce_failures() > before + 3 && skink_scheduler_stats_read(s->scheduler, &stats) == 0 &&
                        stats.tasks_living == TASKS / 2 + 2,
                    5000);
    assert_int_equal(pthread_create(&thread, NULL, stop_now, last), 0);
    if (memory_comes_back) {
        test_wait_until(atomic_load(&last->cancelled), 5000);
        scarce_end();
    }
    pthread_join(thread, NULL);
    scarce_end();
    assert_int_equal(atomic_load(&last->result), -ECANCELED);
    assert_int_equal(skink_scheduler_stats_read(s->scheduler, &stats), 0);
    assert_int_equal(stats.tasks_living, 0);
}

static void tasks_without_memory_for_their_stacks_cannot_hold_up_a_stop(void **state)
{
    (void)state;
    struct last_stop last = { .seen = 1 };
    stop_while_stacks_are_scarce(&last, false);
    assert_int_equal(skink_task_await(last.task, skink_now()), -ECANCELED);
    assert_int_equal(atomic_load(&last.seen), 1); /* it has never begun */
    skink_task_unref(last.task);
    close_shortage(&last.shortage);
}

static void tasks_that_get_their_stacks_past_the_deadline_of_a_stop_start_cancelled(void **state)
{
    (void)state;
    struct last_stop last = { .seen = 1 };
    stop_while_stacks_are_scarce(&last, true);
    assert_int_equal(skink_task_await(last.task, skink_now()), 0);
    assert_int_equal(atomic_load(&last.seen), -ECANCELED);
    skink_task_unref(last.task);
    close_shortage(&last.shortage);
}

/* Goal: a post whose turn comes while there is no object for its task is not lost: it waits aside. Its turn comes on
 * the stack of the task before it, of which the host keeps the object. */
struct late_post {
    struct shortage shortage;
    int err, accepted;
};

static void fill_queue(void *arg)
{
    struct late_post *late = arg;
    struct shortage *s = &late->shortage;
    enum { POSTS = 3 };
    for (int i = 0; i < POSTS; i++)
        late->err |= skink_post(s->scheduler, note_run, s);
    scarce_fail_all();
    for (late->accepted = POSTS; skink_spawn(s->scheduler, NULL, NULL, note_run, s) == 0; late->accepted++) {
    }
}

static void post_without_memory_for_its_task_runs_when_there_is_some(void **state)
{
    (void)state;
    struct late_post late = { .err = 0 };
    struct shortage *s = &late.shortage;
    skink_task *task;
    open_shortage(s);
    assert_int_equal(skink_spawn(s->scheduler, NULL, &task, fill_queue, &late), 0);
    assert_int_equal(skink_task_await(task, test_deadline_ns(5000)), 0);
    test_wait_until(scarce_failures() >= 2, 5000);
    scarce_end();
    assert_int_equal(late.err, 0);
    test_wait_until(atomic_load(&s->ran) == late.accepted, 5000);
    skink_task_unref(task);
    assert_int_equal(skink_scheduler_stop(s->scheduler, test_deadline_ns(5000)), 0);
    assert_int_equal(atomic_load(&s->ran), late.accepted);
    close_shortage(s);
}

/* Goal: what posts and tasks have used once serves the next ones: the hundred-thousandth needs no memory. */
struct steady {
    struct shortage shortage;
    int err;
    long failures; /* of allocations */
    _Atomic bool ended;
};

static void post_again_and_again(void *arg)
{
    struct steady *steady = arg;
    struct shortage *s = &steady->shortage;
    enum { ROUNDS = 2000, AT_ONCE = 50 };
    for (int round = 0; round < ROUNDS && !steady->err; round++) {
        if (round == 2) scarce_fail_all();
        for (int i = 0; i < AT_ONCE && !steady->err; i++)
            steady->err = skink_post(s->scheduler, note_run, s);
        for (int i = 0; i < 4 && !steady->err; i++)
            steady->err = skink_spawn(s->scheduler, NULL, NULL, note_run, s);
        if (!steady->err) steady->err = skink_yield();
    }
    steady->failures = scarce_end();
    atomic_store(&steady->ended, true);
}

static void posts_and_tasks_in_a_steady_state_need_no_memory(void **state)
{
    (void)state;
    struct steady steady = { .err = 0 };
    struct shortage *s = &steady.shortage;
    open_shortage(s);
    assert_int_equal(skink_post(s->scheduler, post_again_and_again, &steady), 0);
    test_wait_until(atomic_load(&steady.ended), 15000);
    assert_int_equal(steady.err, 0);
    assert_int_equal(steady.failures, 0);
    test_wait_until(atomic_load(&s->ran) == 2000 * 54, 5000);
    close_shortage(s);
}

/* ---- what needs none, and what lets go of it ---- */

/* Who has no memory left can still get rid of a scheduler. */
static void stop_and_destroy_work_without_memory(void **state)
{
    (void)state;
    struct shortage s;
    open_shortage(&s);
    for (int i = 0; i < 3; i++)
        assert_int_equal(skink_post(s.scheduler, note_run, &s), 0);
    test_wait_until(atomic_load(&s.ran) == 3, 5000);
    scarce_fail_all();
    int err = skink_scheduler_stop(s.scheduler, test_deadline_ns(5000));
    skink_scheduler_destroy(s.scheduler);
    s.scheduler = NULL;
    scarce_end();
    assert_int_equal(err, 0);
    close_shortage(&s);
}

static void cancel_the_sleeper(void *arg)
{
    int err = skink_sleep(SKINK_FOREVER);
    if (err == -ECANCELED) note_run(arg);
}

/* Nor does asking a task to end, and being woken by that, need any. */
static void cancel_needs_no_memory(void **state)
{
    (void)state;
    struct shortage s;
    open_shortage(&s);
    skink_task *task;
    assert_int_equal(skink_spawn(s.scheduler, NULL, &task, cancel_the_sleeper, &s), 0);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(s.scheduler, &stats) == 0 && stats.tasks_suspended == 1, 5000);
    scarce_fail_all();
    int err = skink_task_cancel(task);
    test_wait_until(atomic_load(&s.ran) == 1, 5000);
    assert_int_equal(scarce_end(), 0);
    assert_int_equal(err, 0);
    skink_task_unref(task);
    close_shortage(&s);
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
    CASE(stop_and_destroy_work_without_memory),
    CASE(task_without_memory_for_its_stack_starts_when_there_is_some),
    CASE(tasks_without_memory_for_their_stacks_keep_their_place),
    CASE(tasks_without_memory_for_their_stacks_cannot_hold_up_a_stop),
    CASE(tasks_that_get_their_stacks_past_the_deadline_of_a_stop_start_cancelled),
    CASE(post_without_memory_for_its_task_runs_when_there_is_some),
    CASE(posts_and_tasks_in_a_steady_state_need_no_memory),
    CASE(cancel_needs_no_memory),
};
TEST_MAIN(cases, setup, NULL)
