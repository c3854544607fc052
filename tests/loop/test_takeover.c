/* SPDX-License-Identifier: MIT */
/*
 * test_takeover.c - transition 3, takeover and migration, step by step, with the test in the watchdog's place.
 *
 * Nothing here waits for a timeout: the test decides when a thread is abandoned, so each interleaving is the one told.
 */
#include "loop/lease.h"
#include "loop/state.h"
#include "loop/takeover.h"
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    skink_scheduler *scheduler;
    int threads_before;
    _Atomic int ended;
    struct skink__ended when_ended;
};

/* A task that is stuck until told, then does one thing, then says where it is. */
struct stuck {
    struct fixture *f;
    void (*then)(struct stuck *s); /* its first API call after it is free again */
    _Atomic bool *ready;           /* NULL, or what a post behind it is to set */
    _Atomic bool stuck, freed, finished;
    _Atomic bool on_fresh_thread;
    _Atomic int abandoned; /* hook calls */
    char incident[32];
    pid_t thread; /* not pthread_self(), which compilers keep across a suspension */
};

static void *pool_work(void *arg)
{
    return arg;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    skink_future *future; /* the pool's threads are made once and stay */
    assert_int_equal(skink_offload_start(f->scheduler, pool_work, NULL, &future), 0);
    assert_int_equal(skink_await(future, SKINK_FOREVER, NULL), 0);
    skink_future_unref(future);
    f->threads_before = test_thread_count(0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    skink_scheduler_destroy(f->scheduler);
    free(f);
    return 0;
}

static void get_stuck(void *arg)
{
    struct stuck *s = arg;
    s->thread = gettid();
    atomic_store(&s->stuck, true);
    while (!atomic_load(&s->freed))
        test_nap();
    if (s->then) s->then(s);
    atomic_store(&s->on_fresh_thread, s->thread != gettid());
    atomic_store(&s->finished, true);
}

static void note_abandoned(void *arg, const struct skink__abandonment *why)
{
    struct stuck *s = arg;
    snprintf(s->incident, sizeof s->incident, "%s", why->incident_id);
    atomic_fetch_add(&s->abandoned, 1);
}

static void set_flag(void *arg)
{
    atomic_store((_Atomic bool *)arg, true);
}

static void spawn_in_runtime(struct uv_loop_s *loop, void *arg)
{
    struct stuck *s = arg;
    static const struct skink__task_kind kind = { .abandoned = note_abandoned };
    struct skink__task_spec spec = { .name = "stuck", .kind = &kind, .fn = get_stuck, .arg = s };
    (void)loop;
    assert_int_equal(skink__runtime_spawn(s->f->scheduler, &spec, NULL), 0);
    if (s->ready) assert_int_equal(skink_post(s->f->scheduler, set_flag, (void *)s->ready), 0);
}

static void spawn_stuck(struct stuck *s)
{
    assert_int_equal(skink_scheduler_uv(s->f->scheduler, spawn_in_runtime, s), 0);
    test_wait_until(atomic_load(&s->stuck), 5000);
}

static void count_ended(struct skink__thread *thread, void *arg)
{
    struct fixture *f = arg;
    assert_int_equal(skink__lease_state(atomic_load(&skink__thread_lease(thread)->word)), SKINK__ENDED);
    atomic_fetch_add(&f->ended, 1);
}

static void *run_fresh(void *arg)
{
    struct skink__thread *fresh = arg;
    skink__thread_run(fresh, fresh->scheduler);
    skink__thread_unref(fresh);
    return NULL;
}

/* What the watchdog does: abandon the thread and hand the scheduler to a fresh one. */
static void take_over_task(struct fixture *f, const char *name, bool hold)
{
    struct skink__thread *stray = skink__scheduler_thread(f->scheduler);
    struct skink__lease *lease = skink__thread_lease(stray);
    struct skink__thread *fresh;
    assert_int_equal(skink__thread_create(&fresh), 0);
    uint64_t word = atomic_load(&lease->word);
    assert_int_equal(skink__lease_state(word), SKINK__RUNNING);
    f->when_ended = (struct skink__ended){ .fn = count_ended, .arg = f };
    assert_null(skink__thread_on_ended(stray, &f->when_ended));
    assert_true(skink__lease_abandon(lease, skink__lease_slice(word)));
    assert_string_equal(skink__takeover_task_name(f->scheduler), name);
    skink__takeover_begin(f->scheduler, fresh, &(struct skink__abandonment){ .incident_id = "incident-7" }, hold);
    pthread_t id;
    assert_int_equal(pthread_create(&id, NULL, run_fresh, fresh), 0);
    pthread_detach(id);
    skink__thread_unref(stray);
}

static void take_over(struct fixture *f, bool hold)
{
    take_over_task(f, "stuck", hold);
}

static void wait_others_run(struct fixture *f)
{
    _Atomic bool ran = false;
    assert_int_equal(skink_post(f->scheduler, set_flag, &ran), 0);
    test_wait_until(atomic_load(&ran), 5000);
}

/* Goal: after the takeover everything goes on; the stuck task comes back to the loop at `then`, and finishes there. */
static void stuck_task_migrates_at(struct fixture *f, void (*then)(struct stuck *s))
{
    struct stuck s = { .f = f, .then = then };
    spawn_stuck(&s);
    take_over(f, false);
    wait_others_run(f);
    test_wait_until(atomic_load(&s.abandoned) == 1, 5000);
    assert_string_equal(s.incident, "incident-7");
    assert_false(atomic_load(&s.finished));
    atomic_store(&s.freed, true);
    test_wait_until(atomic_load(&s.finished), 5000);
    assert_int_equal(atomic_load(&s.on_fresh_thread), then != NULL);
    test_wait_until(atomic_load(&f->ended) == 1, 5000);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_living == 0, 5000);
    assert_int_equal(stats.generation, 2);
    assert_int_equal(stats.migrations, 1);
    test_wait_until(test_thread_count(0) == f->threads_before, 5000);
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(1000)), 0);
}

static void at_yield(struct stuck *s)
{
    (void)s;
    assert_int_equal(skink_yield(), 0);
}

static void at_sleep(struct stuck *s)
{
    (void)s;
    assert_int_equal(skink_sleep(SKINK_MS), 0);
}

static void at_checkpoint(struct stuck *s)
{
    (void)s;
    assert_int_equal(skink_checkpoint(), 0);
}

static void nothing(void *arg)
{
    (void)arg;
}

static void nothing_in_runtime(struct uv_loop_s *loop, void *arg)
{
    (void)loop;
    (void)arg;
}

static void at_post(struct stuck *s)
{
    assert_int_equal(skink_post(s->f->scheduler, nothing, NULL), 0);
}

static void at_offload(struct stuck *s)
{
    void *value = NULL;
    assert_int_equal(skink_offload(pool_work, s, &value), 0);
    assert_ptr_equal(value, s);
}

static void at_await(struct stuck *s)
{
    skink_task *task;
    assert_int_equal(skink_spawn(s->f->scheduler, NULL, &task, nothing, NULL), 0);
    assert_int_equal(skink_task_await(task, SKINK_FOREVER), 0);
    skink_task_unref(task);
}

static void at_completing_a_future(struct stuck *s)
{
    skink_future *future;
    (void)s;
    assert_int_equal(skink_future_create(&future), 0);
    assert_int_equal(skink_future_complete(future, NULL), 0);
    skink_future_unref(future);
}

static void at_token(struct stuck *s)
{
    (void)s;
    assert_int_equal(skink_token_status(skink_task_token()), 0);
}

#define MIGRATES(call)                                                                                                 \
    static void a_stuck_task_migrates_##call(void **state)                                                             \
    {                                                                                                                  \
        stuck_task_migrates_at(*state, call);                                                                          \
    }
MIGRATES(at_yield)
MIGRATES(at_sleep)
MIGRATES(at_checkpoint)
MIGRATES(at_post)
MIGRATES(at_offload)
MIGRATES(at_await)
MIGRATES(at_completing_a_future)
MIGRATES(at_token)

static void a_stuck_task_that_just_returns_ends_on_the_loop(void **state)
{
    stuck_task_migrates_at(*state, NULL);
}

/* Goal: posts follow one another on one stack without going back to the loop. One that got stuck and then just returns
 * may not go on with the next: that has been run by the fresh thread.
 * | stray               | fresh thread                 |
 * | runs the first post |                              |
 * |                     | runs the second, once        |
 * | the first returns   |                              |
 * | ends                | takes the task to its end    | */
struct posts {
    struct stuck *first;
    _Atomic int second;
};

static void count_second(void *arg)
{
    struct posts *p = arg;
    atomic_fetch_add(&p->second, 1);
}

static void post_two(struct uv_loop_s *loop, void *arg)
{
    struct posts *p = arg;
    (void)loop;
    assert_int_equal(skink_post(p->first->f->scheduler, get_stuck, p->first), 0);
    assert_int_equal(skink_post(p->first->f->scheduler, count_second, p), 0);
}

static void a_stuck_post_that_just_returns_leaves_the_next_alone(void **state)
{
    struct fixture *f = *state;
    struct stuck first = { .f = f }, holds = { .f = f };
    struct posts p = { .first = &first };
    assert_int_equal(skink_scheduler_uv(f->scheduler, post_two, &p), 0);
    test_wait_until(atomic_load(&first.stuck), 5000);
    take_over_task(f, "post", false);
    test_wait_until(atomic_load(&p.second) == 1, 5000);
    p.first = &holds; /* the fresh thread, so that the next one is in the queue when the stray is free */
    assert_int_equal(skink_scheduler_uv(f->scheduler, post_two, &p), 0);
    test_wait_until(atomic_load(&holds.stuck), 5000);
    atomic_store(&first.freed, true);
    test_wait_until(atomic_load(&f->ended) == 1, 5000);
    assert_int_equal(atomic_load(&p.second), 1);
    atomic_store(&holds.freed, true);
    test_wait_until(atomic_load(&p.second) == 2, 5000);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_living == 0, 5000);
    assert_int_equal(stats.migrations, 1);
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(1000)), 0);
}

/* A post that comes back to the loop is on another thread than the one that it began on, and so is what follows it. */
static void a_stuck_post_that_migrates_is_followed_on_the_fresh_thread(void **state)
{
    struct fixture *f = *state;
    struct stuck first = { .f = f, .then = at_yield };
    struct posts p = { .first = &first };
    assert_int_equal(skink_scheduler_uv(f->scheduler, post_two, &p), 0);
    test_wait_until(atomic_load(&first.stuck), 5000);
    take_over_task(f, "post", false);
    test_wait_until(atomic_load(&p.second) == 1, 5000);
    atomic_store(&first.freed, true);
    test_wait_until(atomic_load(&f->ended) == 1, 5000);
    test_wait_until(atomic_load(&first.finished), 5000);
    assert_true(atomic_load(&first.on_fresh_thread));
    assert_int_equal(skink_scheduler_uv(f->scheduler, post_two, &p), 0);
    test_wait_until(atomic_load(&p.second) == 2, 5000);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_living == 0, 5000);
    assert_int_equal(stats.migrations, 1);
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(1000)), 0);
}

/* Goal: the result of a self-wait. The task blocks on what only a task behind it can complete. */
struct self_wait {
    skink_scheduler *scheduler;
    skink_future *future;
    _Atomic bool blocking, finished;
    _Atomic pid_t thread;
    _Atomic int result;
};

static void complete_other(void *arg)
{
    struct self_wait *w = arg;
    assert_int_equal(skink_future_complete(w->future, w), 0);
}

static void wait_for_own_loop(void *arg)
{
    struct self_wait *w = arg;
    void *value = NULL;
    assert_int_equal(skink_post(w->scheduler, complete_other, w), 0);
    atomic_store(&w->thread, gettid());
    atomic_store(&w->blocking, true);
    int err = skink_future_block(w->future, SKINK_FOREVER, &value);
    atomic_store(&w->result, err ? err : value != w);
    atomic_store(&w->finished, true);
}

static void spawn_self_wait(struct uv_loop_s *loop, void *arg)
{
    struct self_wait *w = arg;
    struct skink__task_spec spec = { .name = "stuck", .fn = wait_for_own_loop, .arg = w };
    (void)loop;
    assert_int_equal(skink__runtime_spawn(w->scheduler, &spec, NULL), 0);
}

static bool runs_host_code(skink_scheduler *scheduler)
{
    struct skink__thread *thread = skink__scheduler_thread(scheduler);
    uint64_t word = atomic_load(&skink__thread_lease(thread)->word);
    skink__thread_unref(thread);
    return skink__lease_state(word) == SKINK__RUNNING;
}

static void a_task_that_waits_for_its_own_loop_gets_its_result_after_the_takeover(void **state)
{
    struct fixture *f = *state;
    struct self_wait w = { .scheduler = f->scheduler };
    atomic_store(&w.result, 1);
    assert_int_equal(skink_future_create(&w.future), 0);
    assert_int_equal(skink_scheduler_uv(f->scheduler, spawn_self_wait, &w), 0);
    test_wait_until(atomic_load(&w.blocking) && runs_host_code(f->scheduler), 5000);
    test_wait_until(test_thread_sleeps(atomic_load(&w.thread)), 5000); /* in the wait itself */
    assert_false(atomic_load(&w.finished));
    take_over(f, false);
    test_wait_until(atomic_load(&w.finished), 5000);
    assert_int_equal(atomic_load(&w.result), 0);
    skink_future_unref(w.future);
}

/* Goal: at the stray limit the fresh thread keeps the event loop alive but starts no task. */
static void a_held_scheduler_runs_no_task_until_it_is_released(void **state)
{
    struct fixture *f = *state;
    struct stuck s = { .f = f, .then = at_yield };
    _Atomic bool ran = false, was_ready_ran = false;
    s.ready = &was_ready_ran;
    spawn_stuck(&s);
    take_over(f, true);
    test_wait_until(atomic_load(&s.abandoned) == 1, 5000); /* the runtime section works */
    assert_int_equal(skink_post(f->scheduler, set_flag, &ran), 0);
    assert_int_equal(skink_scheduler_uv(f->scheduler, nothing_in_runtime, NULL), 0);
    assert_false(atomic_load(&ran));
    assert_false(atomic_load(&was_ready_ran));
    /* It sleeps meanwhile, whatever is ready. */
    struct skink__thread *thread = skink__scheduler_thread(f->scheduler);
    uint64_t turns = skink__lease_slice(atomic_load(&skink__thread_lease(thread)->word));
    for (int i = 0; i < 20; i++)
        test_nap();
    assert_in_range(skink__lease_slice(atomic_load(&skink__thread_lease(thread)->word)) - turns, 0, 5);
    skink__thread_unref(thread);
    assert_true(skink__scheduler_is_held(f->scheduler));
    skink__scheduler_release_hold(f->scheduler);
    test_wait_until(atomic_load(&ran) && atomic_load(&was_ready_ran), 5000);
    atomic_store(&s.freed, true);
    test_wait_until(atomic_load(&s.finished), 5000);
    assert_true(atomic_load(&s.on_fresh_thread));
}

static void a_stop_ends_a_hold(void **state)
{
    struct fixture *f = *state;
    struct stuck s = { .f = f };
    spawn_stuck(&s);
    take_over(f, true);
    test_wait_until(atomic_load(&s.abandoned) == 1, 5000);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_after(SKINK_S)), -ECANCELED);
    assert_false(skink__scheduler_is_held(f->scheduler));
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    wait_others_run(f);
    atomic_store(&s.freed, true);
    test_wait_until(atomic_load(&f->ended) == 1, 5000);
}

/* Goal: a slice marked late goes through the ready queue at its next call, as a new slice, behind the others. */
struct late {
    struct fixture *f;
    _Atomic bool started, marked, finished;
    bool other_ran_first;
    _Atomic bool other_ran;
};

static void run_late(void *arg)
{
    struct late *late = arg;
    assert_int_equal(skink_post(late->f->scheduler, set_flag, &late->other_ran), 0);
    atomic_store(&late->started, true);
    while (!atomic_load(&late->marked))
        test_nap();
    assert_int_equal(skink_checkpoint(), 0);
    late->other_ran_first = atomic_load(&late->other_ran);
    atomic_store(&late->finished, true);
}

static void a_late_slice_goes_through_the_ready_queue_at_its_next_call(void **state)
{
    struct fixture *f = *state;
    struct late late = { .f = f };
    assert_int_equal(skink_post(f->scheduler, run_late, &late), 0);
    test_wait_until(atomic_load(&late.started), 5000);
    struct skink__thread *thread = skink__scheduler_thread(f->scheduler);
    struct skink__lease *lease = skink__thread_lease(thread);
    test_wait_until(skink__lease_state(atomic_load(&lease->word)) == SKINK__RUNNING, 5000);
    uint64_t slice = skink__lease_slice(atomic_load(&lease->word));
    atomic_store(&lease->late_slice, slice);
    atomic_store(&late.marked, true);
    test_wait_until(atomic_load(&late.finished), 5000);
    assert_true(late.other_ran_first);
    assert_true(skink__lease_slice(atomic_load(&lease->word)) > slice);
    skink__thread_unref(thread);
}

static void a_stray_that_comes_back_after_the_stop_runs_no_further(void **state)
{
    struct fixture *f = *state;
    struct stuck s = { .f = f, .then = at_yield };
    spawn_stuck(&s);
    take_over(f, false);
    wait_others_run(f);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_after(100 * SKINK_MS)), -ECANCELED);
    atomic_store(&s.freed, true);
    test_wait_until(atomic_load(&f->ended) == 1, 5000);
    assert_false(atomic_load(&s.finished));
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    assert_int_equal(skink_scheduler_stats_read(f->scheduler, &stats), 0);
    assert_int_equal(stats.tasks_living, 0);
}

/* What two posters of messages leave behind: one that posts another as it is delivered,
 * as somebody does at that moment. */
struct relay {
    struct skink__message message;
    struct relay *next;
    _Atomic int delivered; /* 1; 2: to a closed inbox */
};

static void pass_on(skink_scheduler *scheduler, struct skink__message *message, bool closed)
{
    struct relay *relay = (struct relay *)message;
    if (relay->next) (void)skink__inbox_post(&scheduler->inbox, &relay->next->message);
    atomic_store(&relay->delivered, closed ? 2 : 1);
}

static void *stop_now(void *arg)
{
    struct fixture *f = arg;
    (void)!skink_scheduler_stop(f->scheduler, test_deadline_ns(10000));
    return NULL;
}

/* Goal: what was accepted as the loop took its last look at the inbox is delivered,
 * and not dropped, beside a stray too.
 * | the loop's task   | the test                       |
 * | holds it          | stops; posts the first message |
 * | ends              |                                |
 * | no task is left; the first message posts the second one    | */
static void a_stop_with_strays_takes_what_is_in_the_inbox(void **state)
{
    struct fixture *f = *state;
    struct stuck s = { .f = f, .then = at_yield }, holds = { .f = f };
    struct relay second = { .message.deliver = pass_on };
    struct relay first = { .message.deliver = pass_on, .next = &second };
    pthread_t stopper;
    spawn_stuck(&s);
    take_over(f, false);
    wait_others_run(f);
    spawn_stuck(&holds);
    assert_int_equal(pthread_create(&stopper, NULL, stop_now, f), 0);
    test_wait_until(skink__scheduler_is_stopping(f->scheduler), 5000);
    assert_true(skink__inbox_post(&f->scheduler->inbox, &first.message));
    atomic_store(&holds.freed, true);
    pthread_join(stopper, NULL);
    assert_int_equal(atomic_load(&first.delivered), 1);
    assert_int_equal(atomic_load(&second.delivered), 1);
    atomic_store(&s.freed, true);
    test_wait_until(atomic_load(&f->ended) == 1, 5000);
}

static void a_stop_is_clean_again_once_the_strays_of_a_run_before_have_gone(void **state)
{
    struct fixture *f = *state;
    struct stuck s = { .f = f, .then = at_yield };
    spawn_stuck(&s);
    take_over(f, false);
    wait_others_run(f);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_after(SKINK_S)), -ECANCELED);
    atomic_store(&s.freed, true);
    test_wait_until(atomic_load(&f->ended) == 1, 5000);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    wait_others_run(f);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_after(SKINK_S)), 0);
}

/* Goal: a stray that was refused frees its task, whatever runs meanwhile. The mark that the first stop left on the task
 * is taken off, to see whether the second one touches it. */
static void a_stop_leaves_alone_what_a_stop_before_gave_up(void **state)
{
    struct fixture *f = *state;
    struct stuck s = { .f = f, .then = at_yield };
    spawn_stuck(&s);
    struct skink__thread *stray = skink__scheduler_thread(f->scheduler);
    skink_task *task = stray->current;
    take_over(f, false);
    wait_others_run(f);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_after(SKINK_S)), -ECANCELED);
    assert_int_equal(atomic_exchange(&task->cancel_reason, 0), -ECANCELED);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    wait_others_run(f);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_after(SKINK_S)), -ECANCELED);
    assert_int_equal(atomic_load(&task->cancel_reason), 0);
    atomic_store(&s.freed, true);
    test_wait_until(atomic_load(&f->ended) == 1, 5000);
    assert_false(atomic_load(&s.finished));
    skink__thread_unref(stray);
}

static void run_until_told(void *arg)
{
    struct stuck *s = arg;
    get_stuck(s);
}

static void at_yield_cancelled(struct stuck *s)
{
    (void)s;
    assert_int_equal(skink_yield(), -ECANCELED);
}

static void who_awaits_a_task_with_a_stray_is_told_at_the_stop(void **state)
{
    struct fixture *f = *state;
    struct stuck s = { .f = f, .then = at_yield_cancelled };
    skink_task_options options = SKINK_TASK_OPTIONS_INIT;
    skink_task *task;
    options.name = "stuck";
    assert_int_equal(skink_spawn(f->scheduler, &options, &task, run_until_told, &s), 0);
    test_wait_until(atomic_load(&s.stuck), 5000);
    take_over(f, false);
    wait_others_run(f);
    assert_int_equal(skink_task_await(task, skink_after(SKINK_MS)), -ETIMEDOUT);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_after(100 * SKINK_MS)), -ECANCELED);
    assert_int_equal(skink_task_await(task, test_deadline_ns(1000)), -ECANCELED);
    /* And it may still come back after a new start, and end. */
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    atomic_store(&s.freed, true);
    test_wait_until(atomic_load(&s.finished), 5000);
    skink_task_unref(task);
}

/* Goal: the memory of a destroyed scheduler stays for as long as a stray stands on it (AddressSanitizer watches). */
static void a_stray_outlives_its_scheduler(void **state)
{
    struct fixture *f = *state;
    struct stuck *s = calloc(1, sizeof *s);
    *s = (struct stuck){ .f = f, .then = at_yield };
    spawn_stuck(s);
    take_over(f, false);
    wait_others_run(f);
    skink_scheduler_destroy(f->scheduler);
    atomic_store(&s->freed, true);
    test_wait_until(atomic_load(&f->ended) == 1, 5000);
    assert_false(atomic_load(&s->finished));
    free(s);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
}

static void read_environment(void *arg)
{
    struct skink__thread_environment *environment = arg;
    skink__environment_capture(environment);
}

struct environment_task {
    struct skink__thread_environment environment;
    _Atomic bool done;
};

static void report_environment(void *arg)
{
    struct environment_task *task = arg;
    read_environment(&task->environment);
    atomic_store(&task->done, true);
}

static void a_fresh_thread_has_the_first_ones_signal_mask_and_affinity(void **state)
{
    struct fixture *f = *state;
    skink_scheduler *scheduler;
    sigset_t usual, both;
    sigemptyset(&both);
    sigaddset(&both, SIGUSR1);
    sigaddset(&both, SIGUSR2);
    cpu_set_t all, first;
    CPU_ZERO(&first);
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&first); cpu++)
        if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &first);
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    pthread_sigmask(SIG_BLOCK, &both, &usual);
    skink__threads_keep_unblocked(SIGUSR1); /* as that by which threads are asked where they are */
    assert_int_equal(sched_setaffinity(0, sizeof first, &first), 0);
    assert_int_equal(skink_scheduler_start(scheduler), 0);
    struct fixture other = { .scheduler = scheduler };
    struct stuck s = { .f = &other };
    spawn_stuck(&s); /* the loop thread runs by now, with what it took from here */
    pthread_sigmask(SIG_SETMASK, &usual, NULL);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);

    take_over(&other, false); /* by a thread made here and now, with this thread's mask and affinity */
    struct environment_task report = { 0 };
    assert_int_equal(skink_post(scheduler, report_environment, &report), 0);
    test_wait_until(atomic_load(&report.done), 5000);
    assert_int_equal(sigismember(&report.environment.signals, SIGUSR2), 1);
    assert_int_equal(sigismember(&report.environment.signals, SIGUSR1), 0);
    skink__threads_keep_unblocked(0);
    assert_int_equal(CPU_COUNT(&report.environment.affinity), 1);
    atomic_store(&s.freed, true);
    test_wait_until(atomic_load(&s.finished), 5000);
    skink_scheduler_destroy(scheduler);
    (void)f;
}

static void many_takeovers_leave_no_thread_and_lose_no_task(void **state)
{
    struct fixture *f = *state;
    enum { ROUNDS = 200 };
    for (int round = 1; round <= ROUNDS; round++) {
        struct stuck s = { .f = f, .then = round % 2 ? at_yield : at_sleep };
        spawn_stuck(&s);
        take_over(f, false);
        wait_others_run(f);
        atomic_store(&s.freed, true);
        test_wait_until(atomic_load(&s.finished), 5000);
        test_wait_until(atomic_load(&f->ended) == round, 5000);
    }
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_living == 0, 5000);
    assert_int_equal(stats.migrations, ROUNDS);
    assert_true(stats.stacks_allocated < 10);
    test_wait_until(test_thread_count(0) == f->threads_before, 5000);
}

static const struct test_case cases[] = {
    CASE(a_stuck_task_migrates_at_yield),
    CASE(a_stuck_task_migrates_at_sleep),
    CASE(a_stuck_task_migrates_at_checkpoint),
    CASE(a_stuck_task_migrates_at_post),
    CASE(a_stuck_task_migrates_at_offload),
    CASE(a_stuck_task_migrates_at_await),
    CASE(a_stuck_task_migrates_at_completing_a_future),
    CASE(a_stuck_task_migrates_at_token),
    CASE(a_stuck_task_that_just_returns_ends_on_the_loop),
    CASE(a_task_that_waits_for_its_own_loop_gets_its_result_after_the_takeover),
    CASE(a_stuck_post_that_just_returns_leaves_the_next_alone),
    CASE(a_stuck_post_that_migrates_is_followed_on_the_fresh_thread),
    CASE(a_held_scheduler_runs_no_task_until_it_is_released),
    CASE(a_stop_ends_a_hold),
    CASE(a_late_slice_goes_through_the_ready_queue_at_its_next_call),
    CASE(a_stray_that_comes_back_after_the_stop_runs_no_further),
    CASE(a_stop_with_strays_takes_what_is_in_the_inbox),
    CASE(a_stop_is_clean_again_once_the_strays_of_a_run_before_have_gone),
    CASE(a_stop_leaves_alone_what_a_stop_before_gave_up),
    CASE(who_awaits_a_task_with_a_stray_is_told_at_the_stop),
    CASE(a_stray_outlives_its_scheduler),
    CASE(a_fresh_thread_has_the_first_ones_signal_mask_and_affinity),
    CASE(many_takeovers_leave_no_thread_and_lose_no_task),
};
TEST_MAIN(cases, setup, teardown)
