/* SPDX-License-Identifier: MIT */
/*
 * test_post.c - posts: nodes in the ready queue that become tasks when they run, and boxes for threads that post often.
 *
 * What all posts have in common with tasks is in test_scheduler.c. Here is what is their own: a task object and a stack
 * that pass from post to post, the limit, memory that is missing, boxes that run full, go idle, are closed
 * and left behind.
 */
#include "loop/state.h"
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include "tests/support/scarce.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* Deadlines differ by what a sanitizer costs; a failure takes as long as this, a success does not. */
enum { PATIENCE_MS = 15000 };

struct fixture {
    skink_scheduler *scheduler;
    _Atomic int finished, bad;
    _Atomic int next;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    return f ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    skink_scheduler_destroy(f->scheduler);
    free(f);
    return 0;
}

static void start(struct fixture *f)
{
    if (!f->scheduler) assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
}

static void stop_clean(struct fixture *f)
{
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(10000)), 0);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    assert_int_equal(skink_scheduler_stats_read(f->scheduler, &stats), 0);
    assert_int_equal(stats.tasks_living, 0);
    assert_int_equal(stats.tasks_ready, 0);
    assert_int_equal(stats.tasks_started, stats.tasks_finished);
}

static void wait_finished(struct fixture *f, int count)
{
    test_wait_until(atomic_load(&f->finished) >= count, PATIENCE_MS);
    assert_int_equal(atomic_load(&f->finished), count);
    assert_int_equal(atomic_load(&f->bad), 0);
}

static void finish(void *arg)
{
    atomic_fetch_add(&((struct fixture *)arg)->finished, 1);
}

/* ---- one after the other on one stack ---- */

struct numbered {
    struct fixture *f;
    int number;
};

/* What a post does in the middle of others: nothing, suspend, or get itself known. All begin in order. */
static void numbered_post(void *arg)
{
    struct numbered *post = arg;
    struct fixture *f = post->f;
    if (atomic_fetch_add(&f->next, 1) != post->number) atomic_fetch_add(&f->bad, 1);
    if (skink_checkpoint()) atomic_fetch_add(&f->bad, 1);               /* nobody has cancelled it */
    if (skink_detection_end() != -EINVAL) atomic_fetch_add(&f->bad, 1); /* nor begun anything */
    if (skink_blocking_end() != -EINVAL) atomic_fetch_add(&f->bad, 1);
    switch (post->number % 7) {
    case 0:
        if (skink_detection_begin(SKINK_DETECTION_OFF)) atomic_fetch_add(&f->bad, 1);
        break;
    case 1:
        if (skink_yield()) atomic_fetch_add(&f->bad, 1);
        break;
    case 2:
        if (skink_blocking_begin()) atomic_fetch_add(&f->bad, 1);
        break;
    case 3:
        if (skink_sleep(SKINK_MS)) atomic_fetch_add(&f->bad, 1);
        break;
    case 5:
        if (skink_token_status(skink_task_token())) atomic_fetch_add(&f->bad, 1);
        break;
    case 6:
        skink_task_cancel(skink_task_current()); /* which is nothing to the next one */
        if (skink_checkpoint() != -ECANCELED) atomic_fetch_add(&f->bad, 1);
        break;
    default:
        break;
    }
    finish(f);
}

enum { NUMBERED = TEST_TSAN ? 1500 : 5000 };

static void post_numbered(void *arg)
{
    struct fixture *f = arg;
    static struct numbered posts[NUMBERED];
    for (int i = 0; i < NUMBERED; i++) {
        posts[i] = (struct numbered){ .f = f, .number = i };
        if (skink_post(f->scheduler, numbered_post, &posts[i])) atomic_fetch_add(&f->bad, 1);
    }
}

static void posts_of_a_task_run_in_order_and_inherit_nothing(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_int_equal(skink_post(f->scheduler, post_numbered, f), 0);
    wait_finished(f, NUMBERED);
    stop_clean(f);
}

static void posts_of_another_thread_run_in_order_and_inherit_nothing(void **state)
{
    struct fixture *f = *state;
    start(f);
    post_numbered(f);
    wait_finished(f, NUMBERED);
    stop_clean(f);
}

/* ---- the limit, and memory ---- */

enum { MANY = 65536 };

static void post_up_to_the_limit(void *arg)
{
    struct fixture *f = arg;
    for (int i = 1; i < MANY; i++) /* this one lives, too */
        if (skink_post(f->scheduler, finish, f)) atomic_fetch_add(&f->bad, 1);
    if (skink_post(f->scheduler, finish, f) != -EAGAIN) atomic_fetch_add(&f->bad, 1);
}

static void posts_waiting_count_towards_the_limit(void **state)
{
    struct fixture *f = *state;
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = MANY;
    assert_int_equal(skink_scheduler_create(&options, &f->scheduler), 0);
    start(f);
    assert_int_equal(skink_post(f->scheduler, post_up_to_the_limit, f), 0);
    wait_finished(f, MANY - 1);
    stop_clean(f);
}

struct few {
    struct fixture f;
    skink_future *gate;
};

/* They all wait at once, so that each needs a task object of its own: and of those no more can be made. */
static void wait_then_finish(void *arg)
{
    struct few *few = arg;
    if (skink_await(few->gate, SKINK_FOREVER, NULL)) atomic_fetch_add(&few->f.bad, 1);
    finish(&few->f);
}

enum { FEW = 100 };

static void post_without_memory_for_tasks(void *arg)
{
    struct few *few = arg;
    for (int i = 0; i < FEW; i++)
        if (skink_post(few->f.scheduler, wait_then_finish, few)) atomic_fetch_add(&few->f.bad, 1);
    scarce_fail_all();
}

static void posts_without_a_task_object_wait_for_one(void **state)
{
    (void)state;
    struct few few = { 0 };
    scarce_install();
    assert_int_equal(skink_future_create(&few.gate), 0);
    start(&few.f);
    assert_int_equal(skink_post(few.f.scheduler, post_without_memory_for_tasks, &few), 0);
    test_wait_until(scarce_failures() > 0, PATIENCE_MS);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    assert_int_equal(skink_scheduler_stats_read(few.f.scheduler, &stats), 0);
    assert_int_equal(stats.tasks_living, FEW);
    assert_true(stats.tasks_started < FEW);
    scarce_end();
    assert_int_equal(skink_future_complete(few.gate, NULL), 0);
    wait_finished(&few.f, FEW);
    stop_clean(&few.f);
    skink_scheduler_destroy(few.f.scheduler);
    skink_future_unref(few.gate);
    scarce_assert_no_blocks();
}

/* ---- boxes ---- */

enum { POSTERS = 4, POSTS_EACH = 30000 };

struct poster {
    struct fixture *f;
    pthread_t thread;
    _Atomic int ran; /* loop writes: how many of this poster's */
    bool out_of_order;
    bool also_spawns;
};

struct ticket {
    struct poster *poster;
    int number;
};

static void run_ticket(void *arg)
{
    struct ticket *ticket = arg;
    if (atomic_fetch_add(&ticket->poster->ran, 1) != ticket->number) ticket->poster->out_of_order = true;
    finish(ticket->poster->f);
}

/* In bursts with pauses of all lengths between them: the box is full now and then, active, idle. */
static void *post_tickets(void *arg)
{
    struct poster *poster = arg;
    struct ticket *tickets = calloc(POSTS_EACH, sizeof *tickets);
    unsigned seed = (unsigned)(uintptr_t)poster;
    for (int i = 0; i < POSTS_EACH; i++) {
        tickets[i] = (struct ticket){ .poster = poster, .number = i };
        int err;
        do {
            err = poster->also_spawns && i % 61 == 0
                      ? skink_spawn(poster->f->scheduler, NULL, NULL, run_ticket, &tickets[i])
                      : skink_post(poster->f->scheduler, run_ticket, &tickets[i]);
        } while (err == -EAGAIN);
        if (err) atomic_fetch_add(&poster->f->bad, 1);
        while (i % 4096 > 3000 && rand_r(&seed) % 200 == 0 && atomic_load(&poster->ran) <= i)
            sched_yield();
    }
    return tickets;
}

static void run_posters(struct fixture *f, int count, bool also_spawn)
{
    struct poster posters[POSTERS] = { 0 };
    void *tickets[POSTERS];
    for (int i = 0; i < count; i++) {
        posters[i].f = f;
        posters[i].also_spawns = also_spawn;
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_tickets, &posters[i]), 0);
    }
    for (int i = 0; i < count; i++)
        assert_int_equal(pthread_join(posters[i].thread, &tickets[i]), 0);
    wait_finished(f, count * POSTS_EACH);
    for (int i = 0; i < count; i++) {
        assert_false(posters[i].out_of_order);
        free(tickets[i]);
    }
}

static void posts_of_one_thread_run_in_order(void **state)
{
    struct fixture *f = *state;
    start(f);
    run_posters(f, 1, false);
    stop_clean(f);
}

static void posts_of_many_threads_all_run_each_in_order(void **state)
{
    struct fixture *f = *state;
    start(f);
    run_posters(f, POSTERS, false); /* whose threads have ended now: boxes left behind are freed by the loop */
    stop_clean(f);
}

static void posts_and_spawns_do_not_overtake_each_other(void **state)
{
    struct fixture *f = *state;
    start(f);
    run_posters(f, 2, true);
    stop_clean(f);
}

static void hold_the_loop(void *arg)
{
    struct fixture *f = arg;
    while (atomic_load(&f->finished) == 0)
        sched_yield();
}

/* Goal: more posts than a box holds, while the loop takes none. */
static void a_full_box_goes_on_through_the_inbox(void **state)
{
    struct fixture *f = *state;
    enum { POSTS = 10000 };
    static struct poster poster;
    static struct ticket tickets[POSTS];
    poster = (struct poster){ .f = f };
    start(f);
    for (int i = 0; i < 100; i++)
        assert_int_equal(skink_post(f->scheduler, hold_the_loop, f), 0);
    for (int i = 0; i < POSTS; i++) {
        tickets[i] = (struct ticket){ .poster = &poster, .number = i };
        assert_int_equal(skink_post(f->scheduler, run_ticket, &tickets[i]), 0);
    }
    atomic_store(&f->finished, 1);
    wait_finished(f, 1 + POSTS);
    assert_false(poster.out_of_order);
    stop_clean(f);
}

static void a_box_goes_idle_and_the_next_post_wakes_the_loop(void **state)
{
    struct fixture *f = *state;
    start(f);
    for (int round = 1; round <= 300; round++) {
        for (int i = 0; i < 10; i++)
            assert_int_equal(skink_post(f->scheduler, finish, f), 0);
        wait_finished(f, 10 * round);
        if (round % 100 == 0) { /* it sleeps */
            skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
            test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_living == 0,
                            PATIENCE_MS);
        }
    }
    stop_clean(f);
}

static void *post_until_refused(void *arg)
{
    struct fixture *f = arg;
    long accepted = 0;
    int err;
    while ((err = skink_post(f->scheduler, finish, f)) == 0 || err == -EAGAIN)
        accepted += err == 0;
    if (err != -ECANCELED) atomic_fetch_add(&f->bad, 1);
    return (void *)accepted;
}

/* Goal: beside posters that do not stop by themselves, a stop loses nothing of what it has accepted, and refuses the
 * rest; and the same boxes serve again after a new start. */
static void a_stop_runs_what_was_accepted(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 10; round++) {
        pthread_t threads[2];
        long accepted[2];
        atomic_store(&f->finished, 0);
        start(f);
        for (int i = 0; i < 40; i++) /* so that this thread has a box, too, which is idle at the stop */
            assert_int_equal(skink_post(f->scheduler, finish, f), 0);
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, post_until_refused, f), 0);
        test_wait_until(atomic_load(&f->finished) > 1000 * round, PATIENCE_MS);
        int err = skink_scheduler_stop(f->scheduler, test_deadline_ns(10000));
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_join(threads[i], (void **)&accepted[i]), 0);
        assert_int_equal(skink_post(f->scheduler, finish, f), -ECANCELED);
        assert_int_equal(err, 0);
        assert_int_equal(atomic_load(&f->bad), 0);
        assert_int_equal(atomic_load(&f->finished), 40 + accepted[0] + accepted[1]);
    }
}

enum { STUCK = 60 }; /* more than there can be takeovers in a stop */

static void nap_until_next(void *arg)
{
    struct fixture *f = arg;
    while (!atomic_load(&f->next))
        test_nap();
}

/* All of them are ready at once, so that no turn of the loop comes between. */
static void post_many_that_get_stuck(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < STUCK; i++)
        (void)!skink_post(f->scheduler, nap_until_next, f);
}

/* Goal: what is in a box that no turn of the loop empties any more is dropped;
 * the box takes nothing until the next start.
 * | the loop                                             | the test                            |
 * | its tasks get stuck, one by one, until the last moment of the stop | posts to its idle box |
 * | drops all that is left                               | is refused, more than once          |
 * | starts again                                         | posts, and that runs                | */
static void a_box_that_a_stop_drops_refuses_until_the_next_start(void **state)
{
    enum { IN_BOX = 10 };
    struct fixture *f = *state;
    start(f);
    for (int i = 0; i < 40; i++)
        assert_int_equal(skink_post(f->scheduler, finish, f), 0);
    wait_finished(f, 40);
    int threads = test_thread_count(0) - 1; /* without the loop thread */
    assert_int_equal(skink_post(f->scheduler, post_many_that_get_stuck, f), 0);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_ready == STUCK - 1,
                    PATIENCE_MS);
    for (int i = 0; i < IN_BOX; i++)
        assert_int_equal(skink_post(f->scheduler, finish, f), 0);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_now()), -ECANCELED);
    for (int i = 0; i < 3; i++) /* as somebody who did not see that it stops */
        assert_int_equal(skink__post_from_elsewhere(f->scheduler, finish, f), -ECANCELED);
    atomic_store(&f->next, 1);
    test_wait_until(test_thread_count(0) == threads, PATIENCE_MS);
    assert_int_equal(skink_scheduler_stats_read(f->scheduler, &stats), 0);
    assert_int_equal(stats.tasks_ready, 0);
    start(f);
    assert_int_equal(skink_post(f->scheduler, finish, f), 0);
    wait_finished(f, 41);
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(10000)), 0);
    assert_int_equal(skink_scheduler_stats_read(f->scheduler, &stats), 0);
    assert_int_equal(stats.tasks_living, 0);
}

static void posts_before_a_start_that_never_comes_are_dropped(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    for (int i = 0; i < 500; i++)
        assert_int_equal(skink_post(f->scheduler, finish, f), 0);
    skink_scheduler_destroy(f->scheduler);
    f->scheduler = NULL;
    assert_int_equal(atomic_load(&f->finished), 0);
}

static void count_if_cancelled(void *arg)
{
    struct fixture *f = arg;
    if (skink_checkpoint() != -ECANCELED) atomic_fetch_add(&f->bad, 1);
    finish(f);
}

/* Holds the loop until the stop's deadline has passed, while others wait in the queue. */
static void keep_posting_until_the_cancellation(void *arg)
{
    struct fixture *f = arg;
    static const int waiting = 600;
    for (int i = 0; i < waiting; i++)
        if (skink_post(f->scheduler, count_if_cancelled, f)) atomic_fetch_add(&f->bad, 1);
    atomic_store(&f->next, 1);
    while (!skink__scheduler_is_stopping(f->scheduler))
        sched_yield();
    uint64_t until = skink_after(30 * SKINK_MS); /* longer than the stop's 20 */
    while (skink_now() < until)
        sched_yield();
}

static void posts_that_wait_at_the_deadline_of_a_stop_start_cancelled(void **state)
{
    struct fixture *f = *state;
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.batch_max = 1; /* so that the stop has its turn between any two */
    assert_int_equal(skink_scheduler_create(&options, &f->scheduler), 0);
    start(f);
    assert_int_equal(skink_post(f->scheduler, keep_posting_until_the_cancellation, f), 0);
    test_wait_until(atomic_load(&f->next) == 1, PATIENCE_MS);
    /* The deadline passes while that one holds the loop. */
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_after(20 * SKINK_MS)), -ECANCELED);
    assert_int_equal(atomic_load(&f->finished), 600);
    /* On a slow machine that one is taken for stuck, and a fresh thread begins with a batch, which is one. */
    assert_true(atomic_load(&f->bad) <= 1);
}

static void boxes_without_memory_are_done_without(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    scarce_install();
    start(&f);
    for (int i = 0; i < 31; i++)
        assert_int_equal(skink_post(f.scheduler, finish, &f), 0);
    wait_finished(&f, 31);
    scarce_fail_all();
    int accepted = 31;
    for (int i = 0; i < 200; i++) {
        int err = skink_post(f.scheduler, finish, &f);
        if (err != 0) assert_int_equal(err, -ENOMEM);
        accepted += err == 0;
    }
    assert_true(scarce_end() > 0);
    wait_finished(&f, accepted);
    for (int i = 0; i < 200; i++)
        assert_int_equal(skink_post(f.scheduler, finish, &f), 0);
    wait_finished(&f, accepted + 200);
    stop_clean(&f);
    skink_scheduler_destroy(f.scheduler);
    scarce_assert_no_blocks();
}

/* ---- below the limit ---- */

struct posters {
    struct fixture f;
    long at_once; /* so many live, and one more of each poster */
    int each;     /* so many are posted by each */
    _Atomic long accepted, ran;
    _Atomic int refused;
};

static void run_one(void *arg)
{
    struct posters *p = arg;
    atomic_fetch_add(&p->ran, 1);
}

static void *post_below_the_limit(void *arg)
{
    struct posters *p = arg;
    for (int i = 0; i < p->each; i++) {
        while (atomic_load(&p->accepted) - atomic_load(&p->ran) > p->at_once)
            sched_yield();
        int err = skink_post(p->f.scheduler, run_one, p);
        atomic_fetch_add(&p->accepted, err == 0);
        atomic_fetch_add(&p->refused, err != 0);
    }
    return NULL;
}

static void never_run(void *arg, int error, void *value)
{
    (void)arg;
    (void)error;
    (void)value;
}

/* As many task objects as there may be have been made, and are free again. */
static void make_all_objects(skink_scheduler *scheduler, int task_max)
{
    skink_future **futures = calloc((size_t)task_max, sizeof(skink_future *));
    for (int i = 0; i < task_max; i++) {
        assert_int_equal(skink_future_create(&futures[i]), 0);
        assert_int_equal(skink_future_then(futures[i], SKINK_ON_LOOP, scheduler, never_run, NULL), 0);
    }
    for (int i = 0; i < task_max; i++)
        skink_future_unref(futures[i]);
    free(futures);
}

static void post_many(struct posters *p, int task_max, int posters)
{
    pthread_t threads[4];
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = (uint32_t)task_max;
    assert_int_equal(skink_scheduler_create(&options, &p->f.scheduler), 0);
    make_all_objects(p->f.scheduler, task_max);
    start(&p->f);
    for (int i = 0; i < posters; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_below_the_limit, p), 0);
    for (int i = 0; i < posters; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&p->refused), 0);
    test_wait_until(atomic_load(&p->ran) == (long)posters * p->each, PATIENCE_MS);
    stop_clean(&p->f);
    skink_scheduler_destroy(p->f.scheduler);
}

/* Who looks for a free object may find the list of them in another one's hands. */
static void half_of_a_small_limit_is_never_refused(void **state)
{
    (void)state;
    struct posters p = { .at_once = 50, .each = 20000 };
    post_many(&p, 100, 3);
}

/* Goal: who counts those that live while the loop counts as well takes nothing for a limit that is none.
 * | loop                          | poster                                      |
 * |                               | reads how many have come: none              |
 * | one comes, runs and ends      |                                             |
 * |                               | reads how many have gone: one               | */
static void who_counts_while_the_loop_does_is_not_refused(void **state)
{
    struct fixture *f = *state;
    enum { TASK_MAX = 65536, POSTS = 100 /* the last ones by a box */ };
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = TASK_MAX;
    assert_int_equal(skink_scheduler_create(&options, &f->scheduler), 0);
    make_all_objects(f->scheduler, TASK_MAX);
    atomic_store(&f->scheduler->tasks_finished, 1);
    for (int i = 0; i < POSTS; i++)
        assert_int_equal(skink_post(f->scheduler, finish, f), 0);
    atomic_store(&f->scheduler->tasks_finished, 0);
    start(f);
    wait_finished(f, POSTS);
    stop_clean(f);
}

static const struct test_case cases[] = {
    CASE(posts_of_a_task_run_in_order_and_inherit_nothing),
    CASE(posts_of_another_thread_run_in_order_and_inherit_nothing),
    CASE(posts_waiting_count_towards_the_limit),
    CASE(posts_without_a_task_object_wait_for_one),
    CASE(posts_of_one_thread_run_in_order),
    CASE(posts_of_many_threads_all_run_each_in_order),
    CASE(posts_and_spawns_do_not_overtake_each_other),
    CASE(a_full_box_goes_on_through_the_inbox),
    CASE(a_box_goes_idle_and_the_next_post_wakes_the_loop),
    CASE(a_stop_runs_what_was_accepted),
    CASE(a_box_that_a_stop_drops_refuses_until_the_next_start),
    CASE(posts_before_a_start_that_never_comes_are_dropped),
    CASE(posts_that_wait_at_the_deadline_of_a_stop_start_cancelled),
    CASE(boxes_without_memory_are_done_without),
    CASE(half_of_a_small_limit_is_never_refused),
    CASE(who_counts_while_the_loop_does_is_not_refused),
};

TEST_MAIN(cases, setup, teardown)
