/* SPDX-License-Identifier: MIT */
/* test_scheduler.c - a scheduler's life, and its tasks on the one loop thread. No recovery: nothing is abandoned. */
#include "loop/state.h"
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

enum { PEAK = 1000 };

struct fixture {
    skink_scheduler *scheduler;
    _Atomic int running, most_running, finished;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
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

static void start(struct fixture *f)
{
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
}

static void stop_clean(struct fixture *f)
{
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(5000)), 0);
}

static void count_one(void *arg)
{
    struct fixture *f = arg;
    int now = atomic_fetch_add(&f->running, 1) + 1;
    if (now > atomic_load(&f->most_running)) atomic_store(&f->most_running, now);
    atomic_fetch_sub(&f->running, 1);
    atomic_fetch_add(&f->finished, 1);
}

static void posts_from_outside_all_run(void **state)
{
    struct fixture *f = *state;
    start(f);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(skink_post(f->scheduler, count_one, f), 0);
    test_wait_until(atomic_load(&f->finished) == 10000, 5000);
    stop_clean(f);
}

static void posts_before_the_start_run_after_it(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++)
        assert_int_equal(skink_post(f->scheduler, count_one, f), 0);
    assert_int_equal(atomic_load(&f->finished), 0);
    start(f);
    test_wait_until(atomic_load(&f->finished) == 10, 5000);
    stop_clean(f);
}

struct sequence {
    struct fixture *f;
    int next[4];
    _Atomic int bad, seen;
};

struct numbered {
    struct sequence *sequence;
    int poster, number;
};

static void check_order(void *arg)
{
    struct numbered *n = arg;
    if (n->sequence->next[n->poster]++ != n->number) atomic_fetch_add(&n->sequence->bad, 1);
    atomic_fetch_add(&n->sequence->seen, 1);
    free(n);
}

enum { ORDERED = 5000 };

static void *post_numbered(void *arg)
{
    struct numbered *first = arg;
    for (int i = 0; i < ORDERED; i++) {
        struct numbered *n = malloc(sizeof *n);
        *n = (struct numbered){ first->sequence, first->poster, i };
        assert_int_equal(skink_post(first->sequence->f->scheduler, check_order, n), 0);
    }
    return NULL;
}

static void posts_of_each_thread_run_in_order(void **state)
{
    struct fixture *f = *state;
    struct sequence sequence = { .f = f };
    struct numbered posters[4];
    pthread_t threads[4];
    start(f);
    for (int i = 0; i < 4; i++) {
        posters[i] = (struct numbered){ &sequence, i, 0 };
        assert_int_equal(pthread_create(&threads[i], NULL, post_numbered, &posters[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    test_wait_until(atomic_load(&sequence.seen) == 4 * ORDERED, 10000);
    assert_int_equal(atomic_load(&sequence.bad), 0);
    stop_clean(f);
}

/* Goal: while tasks sleep they are all in flight, and never two run at once. */
static void sleep_between(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 3; i++) {
        int now = atomic_fetch_add(&f->running, 1) + 1;
        if (now > atomic_load(&f->most_running)) atomic_store(&f->most_running, now);
        atomic_fetch_sub(&f->running, 1);
        assert_int_equal(skink_sleep(20 * SKINK_MS), 0);
    }
    atomic_fetch_add(&f->finished, 1);
}

static void thirty_sleeping_tasks_are_all_in_flight_and_never_two_run(void **state)
{
    struct fixture *f = *state;
    start(f);
    uint64_t begun = skink_now();
    for (int i = 0; i < 30; i++)
        assert_int_equal(skink_post(f->scheduler, sleep_between, f), 0);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_suspended == 30, 5000);
    test_wait_until(atomic_load(&f->finished) == 30, 5000);
    assert_true(skink_now() - begun >= 60 * SKINK_MS); /* none woke early */
    assert_int_equal(atomic_load(&f->most_running), 1);
    stop_clean(f);
    assert_int_equal(skink_scheduler_stats_read(f->scheduler, &stats), 0);
    assert_int_equal(stats.tasks_living, 0);
    assert_int_equal(stats.tasks_suspended, 0);
    assert_int_equal(stats.tasks_started, 30);
}

static void yield_forever(void *arg)
{
    struct fixture *f = arg;
    while (skink_yield() == 0)
        atomic_fetch_add(&f->running, 1);
    atomic_fetch_add(&f->finished, 1);
}

static void a_flood_of_ready_tasks_does_not_starve_timers_or_posts(void **state)
{
    struct fixture *f = *state;
    struct fixture other = { .scheduler = f->scheduler };
    start(f);
    for (int i = 0; i < 300; i++)
        assert_int_equal(skink_post(f->scheduler, yield_forever, f), 0);
    test_wait_until(atomic_load(&f->running) > 1000, 5000);
    assert_int_equal(skink_post(f->scheduler, sleep_between, &other), 0);
    test_wait_until(atomic_load(&other.finished) == 1, 5000);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_now()), -ECANCELED);
    assert_int_equal(atomic_load(&f->finished), 300);
}

/* Goal: between two looks at libuv exactly batch_max tasks run, whatever they are: posts that follow one another, fresh tasks
 * chained on one stack, and tasks that are resumed. */
enum { BATCH = 4, BATCHED = 5 * BATCH };

struct batches {
    skink_scheduler *scheduler;
    uv_check_t turn_end;
    unsigned turn;          /* runtime */
    unsigned runs[BATCHED]; /* by turn, counted from the first */
    unsigned first, rounds; /* a task's slices */
    bool spawn;
    _Atomic int finished;
};

static void count_turn(uv_check_t *handle)
{
    struct batches *b = handle->data;
    b->turn++;
}

static void run_in_batch(void *arg)
{
    struct batches *b = arg;
    for (unsigned round = 0; round < b->rounds; round++) {
        if (!b->first) b->first = b->turn;
        if (b->turn - b->first < BATCHED) b->runs[b->turn - b->first]++;
        if (round + 1 < b->rounds) assert_int_equal(skink_yield(), 0);
    }
    atomic_fetch_add(&b->finished, 1);
}

static void open_batches(struct uv_loop_s *loop, void *arg)
{
    struct batches *b = arg;
    uv_check_init(loop, &b->turn_end);
    b->turn_end.data = b;
    uv_check_start(&b->turn_end, count_turn);
}

/* From a task, which is the last of its batch then: so they are all there when the first begins. */
static void fill_batches(void *arg)
{
    struct batches *b = arg;
    for (unsigned i = 0; i < BATCHED / b->rounds; i++) {
        if (b->spawn)
            assert_int_equal(skink_spawn(b->scheduler, NULL, NULL, run_in_batch, b), 0);
        else
            assert_int_equal(skink_post(b->scheduler, run_in_batch, b), 0);
    }
}

static void run_batches(unsigned rounds, bool spawn)
{
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.batch_max = BATCH;
    struct batches b = { .rounds = rounds, .spawn = spawn };
    assert_int_equal(skink_scheduler_create(&options, &b.scheduler), 0);
    assert_int_equal(skink_scheduler_uv(b.scheduler, open_batches, &b), 0);
    assert_int_equal(skink_post(b.scheduler, fill_batches, &b), 0);
    assert_int_equal(skink_scheduler_start(b.scheduler), 0);
    test_wait_until(atomic_load(&b.finished) == BATCHED / (int)rounds, 5000);
    assert_int_equal(skink_scheduler_stop(b.scheduler, test_deadline_ns(5000)), 0);
    assert_int_equal(b.runs[0], BATCH - 1); /* and the one that filled them */
    for (unsigned i = 1; i < BATCHED / BATCH; i++)
        assert_int_equal(b.runs[i], BATCH);
    assert_int_equal(b.runs[BATCHED / BATCH], 1);
    skink_scheduler_destroy(b.scheduler);
}

static void a_batch_has_as_many_slices_as_was_asked_for(void **state)
{
    (void)state;
    run_batches(1, false);
    run_batches(1, true);
    run_batches(2, false);
    run_batches(5, true);
}

/* Goal: libuv runs timers that are due before it polls. A task that one of them wakes is found, though nothing else happens.
 * | sleeper       | spinner                    | loop                            |
 * | sleeps 10 ms  |                            |                                 |
 * |               | takes longer than that     |                                 |
 * |               | ends                       | arms the timer, already due;    |
 * |               |                            | wakes the sleeper, does not poll | */
static void spin_past_the_other(void *arg)
{
    struct fixture *f = arg;
    uint64_t until = skink_after(30 * SKINK_MS);
    while (skink_now() < until) {
    }
    atomic_store(&f->running, 1);
}

static void sleep_once(void *arg)
{
    struct fixture *f = arg;
    assert_int_equal(skink_post(f->scheduler, spin_past_the_other, f), 0);
    assert_int_equal(skink_sleep(10 * SKINK_MS), 0);
    assert_int_equal(atomic_load(&f->running), 1);
    atomic_store(&f->finished, 1);
}

static void a_timer_that_is_due_before_the_poll_wakes_its_task(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_int_equal(skink_post(f->scheduler, sleep_once, f), 0);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    stop_clean(f);
}

/* Goal: a callback of libuv's is no task, though one has run on this thread before. */
struct in_callback {
    uv_timer_t timer;
    skink_scheduler *scheduler;
    _Atomic bool ran;
    skink_task *current;
    skink_token *token;
    int detection;
};

static void ask_in_callback(uv_timer_t *timer)
{
    struct in_callback *c = timer->data;
    c->current = skink_task_current();
    c->token = skink_token_current();
    c->detection = skink_detection_begin(SKINK_DETECTION_OFF);
    uv_close((uv_handle_t *)timer, NULL);
    atomic_store(&c->ran, true);
}

static void begin_timer(struct uv_loop_s *loop, void *arg)
{
    struct in_callback *c = arg;
    uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    uv_timer_start(&c->timer, ask_in_callback, 1, 0);
}

static void begin_timer_in_a_task(void *arg)
{
    struct in_callback *c = arg;
    assert_int_equal(skink_scheduler_uv(c->scheduler, begin_timer, c), 0);
    assert_int_equal(skink_yield(), 0);
}

static void a_callback_after_a_task_is_in_no_task(void **state)
{
    struct fixture *f = *state;
    struct in_callback c = { .scheduler = f->scheduler };
    start(f);
    assert_int_equal(skink_post(f->scheduler, begin_timer_in_a_task, &c), 0);
    test_wait_until(atomic_load(&c.ran), 5000);
    stop_clean(f);
    assert_null(c.current);
    assert_null(c.token);
    assert_int_equal(c.detection, -EPERM);
}

/* Goal: what a task has called in the runtime section is not the task: it may not wait there. */
struct in_section {
    skink_scheduler *scheduler;
    skink_future *future;
    int sleep, yield, await, block, offload;
    _Atomic int done;
};

static void *never_called(void *arg)
{
    return arg;
}

static void wait_in_section(struct uv_loop_s *loop, void *arg)
{
    struct in_section *s = arg;
    (void)loop;
    s->sleep = skink_sleep(SKINK_MS);
    s->yield = skink_yield();
    s->await = skink_await(s->future, SKINK_FOREVER, NULL);
    s->block = skink_future_block(s->future, SKINK_FOREVER, NULL);
    s->offload = skink_offload(never_called, NULL, NULL);
}

static void call_section(void *arg)
{
    struct in_section *s = arg;
    int err = skink_scheduler_uv(s->scheduler, wait_in_section, s);
    atomic_store(&s->done, err ? err : 1);
}

static void who_is_called_in_the_runtime_section_may_not_wait(void **state)
{
    struct fixture *f = *state;
    struct in_section s = { .scheduler = f->scheduler };
    assert_int_equal(skink_future_create(&s.future), 0);
    start(f);
    assert_int_equal(skink_post(f->scheduler, call_section, &s), 0);
    test_wait_until(atomic_load(&s.done) != 0, 5000);
    stop_clean(f);
    assert_int_equal(atomic_load(&s.done), 1);
    const int results[] = { s.sleep, s.yield, s.await, s.block, s.offload };
    for (int i = 0; i < 5; i++)
        assert_int_equal(results[i], -EPERM);
    skink_future_unref(s.future);
}

/* A task's object has been another's before, which was cancelled, too. */
static void sleep_until_it_is_cancelled(void *arg)
{
    _Atomic int *result = arg;
    atomic_store(result, skink_sleep_until(SKINK_FOREVER));
}

static void every_task_can_be_cancelled_from_elsewhere(void **state)
{
    struct fixture *f = *state;
    start(f);
    for (int i = 0; i < 300; i++) {
        _Atomic int result = 1;
        skink_task *task;
        assert_int_equal(skink_spawn(f->scheduler, NULL, &task, sleep_until_it_is_cancelled, (void *)&result), 0);
        assert_int_equal(skink_task_cancel(task), 0);
        assert_int_equal(skink_task_await(task, test_deadline_ns(5000)), 0);
        assert_int_equal(atomic_load(&result), -ECANCELED);
        skink_task_unref(task);
    }
    stop_clean(f);
}

static void spawn_and_await_ten(void *arg)
{
    struct fixture *f = arg;
    skink_task *tasks[10];
    for (int i = 0; i < 10; i++)
        assert_int_equal(skink_spawn(f->scheduler, NULL, &tasks[i], sleep_between, f), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(skink_task_await(tasks[i], SKINK_FOREVER), 0);
        skink_task_unref(tasks[i]);
    }
    assert_int_equal(atomic_load(&f->finished), 10);
    atomic_fetch_add(&f->finished, 100);
}

static void a_task_awaits_tasks_it_spawned(void **state)
{
    struct fixture *f = *state;
    start(f);
    skink_task *task;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &task, spawn_and_await_ten, f), 0);
    assert_int_equal(skink_task_await(task, test_deadline_ns(5000)), 0); /* blocks this thread */
    skink_task_unref(task);
    assert_int_equal(atomic_load(&f->finished), 110);
    stop_clean(f);
}

struct sleeper {
    _Atomic int result;
    _Atomic bool asleep;
    skink_token *token;
};

static void sleep_for_ever(void *arg)
{
    struct sleeper *s = arg;
    s->token = skink_token_ref(skink_task_token());
    atomic_store(&s->asleep, true);
    int err = skink_sleep_until(SKINK_FOREVER);
    assert_int_equal(skink_sleep(SKINK_S), -ECANCELED); /* and so is every wait after it */
    assert_int_equal(skink_yield(), -ECANCELED);
    assert_int_equal(skink_checkpoint(), -ECANCELED);
    atomic_store(&s->result, err);
}

static void cancel_ends_a_sleep_and_every_later_wait(void **state)
{
    struct fixture *f = *state;
    struct sleeper s = { .result = 1 };
    skink_task *task;
    start(f);
    assert_int_equal(skink_spawn(f->scheduler, NULL, &task, sleep_for_ever, &s), 0);
    test_wait_until(atomic_load(&s.asleep), 5000);
    assert_int_equal(skink_token_status(s.token), 0);
    assert_int_equal(skink_task_cancel(task), 0);
    assert_int_equal(skink_task_await(task, test_deadline_ns(5000)), 0);
    assert_int_equal(atomic_load(&s.result), -ECANCELED);
    assert_int_equal(skink_token_status(s.token), -ECANCELED);
    assert_int_equal(skink_task_cancel(task), -ESRCH);
    skink_token_unref(s.token);
    skink_task_unref(task);
    stop_clean(f);
}

static void stop_cancels_what_sleeps_past_the_deadline(void **state)
{
    struct fixture *f = *state;
    struct sleeper s = { .result = 1 };
    start(f);
    assert_int_equal(skink_post(f->scheduler, sleep_for_ever, &s), 0);
    test_wait_until(atomic_load(&s.asleep), 5000);
    uint64_t begun = skink_now();
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_after(100 * SKINK_MS)), -ECANCELED);
    assert_in_range(skink_now() - begun, 100 * SKINK_MS, test_ms(test_patience(2000)));
    assert_int_equal(atomic_load(&s.result), -ECANCELED);
    assert_int_equal(skink_post(f->scheduler, count_one, f), -ECANCELED);
    skink_token_unref(s.token);
}

static void nap(void *arg)
{
    (void)arg;
    assert_int_equal(skink_sleep(20 * SKINK_MS), 0);
}

struct stopping {
    struct fixture *f;
    uint64_t deadline_ns;
    _Atomic int tid;
    int result;
};

static void *stop_by_its_deadline(void *arg)
{
    struct stopping *s = arg;
    atomic_store(&s->tid, (int)gettid());
    s->result = skink_scheduler_stop(s->f->scheduler, s->deadline_ns);
    return NULL;
}

static void sleep_until_cancelled(void *arg)
{
    struct fixture *f = arg;
    while (skink_sleep(SKINK_S) == 0)
        atomic_store(&f->running, 1);
    atomic_fetch_add(&f->finished, 1);
}

/* Goal: who has asked for a stop without a deadline can still end it.
 * | one thread             | another      | task                  |
 * | stop, for ever         |              | sleeps                |
 * |                        | stop, now    | cancelled, ends       |
 * | -ECANCELED             | -EALREADY    |                       | */
static void of_two_stops_the_earlier_deadline_holds(void **state)
{
    struct fixture *f = *state;
    struct stopping patient = { .f = f, .deadline_ns = SKINK_FOREVER };
    pthread_t thread;
    for (int i = 1; i <= 3; i++) {
        start(f);
        assert_int_equal(skink_post(f->scheduler, sleep_until_cancelled, f), 0);
        atomic_store(&patient.tid, 0);
        assert_int_equal(pthread_create(&thread, NULL, stop_by_its_deadline, &patient), 0);
        test_wait_until(atomic_load(&patient.tid), 5000);
        test_wait_until(skink_post(f->scheduler, count_one, f) == -ECANCELED, 5000); /* it is under way */
        assert_int_equal(skink_scheduler_stop(f->scheduler, i == 1 ? 0 : skink_now() + test_ms(10)), -EALREADY);
        pthread_join(thread, NULL);
        assert_int_equal(patient.result, -ECANCELED);
    }
}

/* And a start forgets what the stop before it was about. */
static void a_stop_does_not_inherit_a_deadline(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_int_equal(skink_scheduler_stop(f->scheduler, 0), 0);
    assert_int_equal(skink_scheduler_stop(f->scheduler, 0), -EALREADY);
    start(f);
    skink_task *task;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &task, nap, f), 0);
    stop_clean(f);
    assert_int_equal(skink_task_await(task, 0), 0);
    skink_task_unref(task);
}

static void a_stopped_scheduler_starts_again(void **state)
{
    struct fixture *f = *state;
    for (int round = 1; round <= 3; round++) {
        start(f);
        assert_int_equal(skink_scheduler_start(f->scheduler), -EALREADY);
        assert_int_equal(skink_post(f->scheduler, count_one, f), 0);
        test_wait_until(atomic_load(&f->finished) == round, 5000);
        stop_clean(f);
        assert_int_equal(skink_scheduler_stop(f->scheduler, 0), -EALREADY);
    }
}

struct peak {
    struct fixture *fixture;
    size_t stacks, cold; /* of the pool */
};

static void be_one_of_a_peak(void *arg)
{
    struct peak *peak = arg;
    atomic_fetch_add(&peak->fixture->running, 1);
    while (atomic_load(&peak->fixture->running) < PEAK)
        assert_int_equal(skink_sleep(SKINK_MS), 0);
    atomic_fetch_add(&peak->fixture->finished, 1);
}

static void look_at_stacks(struct uv_loop_s *loop, void *arg)
{
    struct peak *peak = arg;
    (void)loop;
    peak->stacks = peak->fixture->scheduler->stacks.free_count;
    peak->cold = peak->fixture->scheduler->stacks.cold_count;
}

static void stacks_of_a_peak_are_given_back_when_nobody_needs_them(void **state)
{
    struct fixture *f = *state;
    struct peak peak = { .fixture = f };
    start(f);
    for (int i = 0; i < PEAK; i++)
        assert_int_equal(skink_post(f->scheduler, be_one_of_a_peak, &peak), 0);
    test_wait_until(atomic_load(&f->finished) == PEAK, 5000);
    assert_int_equal(skink_scheduler_uv(f->scheduler, look_at_stacks, &peak), 0);
    assert_true(peak.stacks > PEAK / 2);
    assert_int_equal(peak.cold, 0); /* the next peak may come soon */
    /* Nothing else happens on the loop. */
    test_wait_until(skink_scheduler_uv(f->scheduler, look_at_stacks, &peak) == 0 && peak.stacks <= 64, 15000);
    stop_clean(f);
}

static void ignore_cancellation(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->finished, 1); /* well, begun */
    for (;;) {
        if (skink_yield() == -ECANCELED) atomic_store(&f->running, 1);
    }
}

static void a_task_that_ignores_its_cancellation_is_dropped(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_int_equal(skink_post(f->scheduler, ignore_cancellation, f), 0);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    uint64_t begun = skink_now();
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_after(50 * SKINK_MS)), -ECANCELED);
    assert_true(skink_now() - begun < test_ms(test_patience(3000)));
    assert_int_equal(atomic_load(&f->running), 1);
}

static void spin_until_told(void *arg)
{
    _Atomic int *told = arg;
    while (!atomic_load(told)) {
    }
}

/* Nobody watches this scheduler: the stop itself leaves the stuck thread behind, and the others still finish. */
static void stop_does_not_hang_on_a_stuck_loop_that_nobody_watches(void **state)
{
    struct fixture *f = *state;
    struct fixture other = { .scheduler = f->scheduler };
    static _Atomic int told;
    atomic_store(&told, 0);
    start(f); /* once for nothing: with the first thread, ThreadSanitizer makes one of its own */
    stop_clean(f);
    test_wait_until(test_thread_count(0) <= 1 + TEST_TSAN, 5000);
    int threads = test_thread_count(0);
    start(f);
    assert_int_equal(skink_post(f->scheduler, sleep_between, &other), 0);
    test_wait_until(atomic_load(&other.most_running) == 1, 5000); /* it has begun */
    assert_int_equal(skink_post(f->scheduler, spin_until_told, &told), 0);
    uint64_t begun = skink_now();
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(500)), -ECANCELED);
    assert_true(skink_now() - begun < test_ms(test_patience(3000)));
    assert_int_equal(atomic_load(&other.finished), 1);
    atomic_store(&told, 1);
    test_wait_until(test_thread_count(0) == threads, 5000); /* the stray finds the inbox closed, and ends */
}

struct honest {
    _Atomic bool begun, moved, ended;
};

/* Slices of a millisecond, one after the other, until it is cancelled. */
static void be_busy(void *arg)
{
    struct honest *honest = arg;
    int thread = (int)gettid();
    atomic_store(&honest->begun, true);
    for (int err = 0; !err; err = skink_yield()) {
        for (uint64_t end = skink_now() + SKINK_MS; skink_now() < end;)
            continue;
        if ((int)gettid() != thread) atomic_store(&honest->moved, true);
    }
    atomic_store(&honest->ended, true);
}

/* Its slices are as short as they may be; that there is always one is no reason to leave the thread behind. */
static void a_stop_does_not_take_a_busy_loop_for_stuck(void **state)
{
    struct fixture *f = *state;
    struct honest honest = { .begun = false };
    start(f);
    assert_int_equal(skink_post(f->scheduler, be_busy, &honest), 0);
    test_wait_until(atomic_load(&honest.begun), 5000);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_now() + test_ms(test_patience(1000))), -ECANCELED);
    assert_true(atomic_load(&honest.ended));
    assert_false(atomic_load(&honest.moved));
}

static void nap_until_told(void *arg)
{
    _Atomic int *told = arg;
    while (!atomic_load(told))
        test_nap();
}

static void sleep_long(void *arg)
{
    (void)arg;
    (void)!skink_sleep(3600 * SKINK_S);
}

static _Atomic int went_on;

static void await_the_end(void *arg)
{
    (void)!skink_task_await(arg, SKINK_FOREVER);
    atomic_fetch_add(&went_on, 1);
}

enum { STUCK = 60 }; /* more than there can be takeovers in a stop */
static skink_task *stuck[STUCK];

/* All of them are ready at once, so that no turn of the loop comes between. */
static void spawn_many_that_get_stuck(void *arg)
{
    for (int i = 0; i < STUCK; i++)
        (void)!skink_spawn(skink_scheduler_current(), NULL, &stuck[i], nap_until_told, arg);
}

/* Goal: what is dropped wakes who awaits its end, and that one is dropped as well, and is in no queue afterwards; and whoever
 * awaits one of those that got stuck is told, up to the last.
 * | task 1            | task 2     | many others        | the test                             |
 * | sleeps            | awaits 1   | get stuck, one by one, until the stop's last moment: nobody comes to cancel 1 and 2 |
 * | dropped, wakes 2  | dropped    |                    | starts the scheduler again           | */
static void what_a_dropped_task_wakes_is_dropped_as_well(void **state)
{
    struct fixture *f = *state;
    static _Atomic int told;
    atomic_store(&told, 0);
    skink_task *sleeper, *awaiter;
    start(f);
    assert_int_equal(skink_spawn(f->scheduler, NULL, &sleeper, sleep_long, NULL), 0);
    assert_int_equal(skink_spawn(f->scheduler, NULL, &awaiter, await_the_end, sleeper), 0);
    skink_task_unref(awaiter);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_suspended == 2, 5000);
    int threads = test_thread_count(0) - 1; /* without the loop thread */
    assert_int_equal(skink_post(f->scheduler, spawn_many_that_get_stuck, &told), 0);
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_ready == STUCK - 1, 5000);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_now()), -ECANCELED);
    assert_int_equal(skink_task_await(sleeper, 0), -ECANCELED);
    skink_task_unref(sleeper);
    for (int i = 0; i < STUCK; i++) {
        assert_int_equal(skink_task_await(stuck[i], 0), -ECANCELED);
        skink_task_unref(stuck[i]);
    }
    assert_int_equal(skink_scheduler_stats_read(f->scheduler, &stats), 0);
    assert_int_equal(stats.tasks_ready, 0);
    assert_int_equal(stats.tasks_suspended, 0);
    atomic_store(&told, 1);
    test_wait_until(test_thread_count(0) == threads, 10000);
    start(f);
    assert_int_equal(skink_post(f->scheduler, count_one, f), 0);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    assert_int_equal(atomic_load(&went_on), 0);
    stop_clean(f);
}

static void spawn_past_the_limit_is_refused(void **state)
{
    (void)state;
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = 100;
    skink_scheduler *scheduler;
    struct sleeper s = { .result = 1 };
    (void)s;
    assert_int_equal(skink_scheduler_create(&options, &scheduler), 0);
    struct fixture other = { .scheduler = scheduler };
    for (int i = 0; i < 100; i++)
        assert_int_equal(skink_post(scheduler, count_one, &other), 0);
    assert_int_equal(skink_post(scheduler, count_one, &other), -EAGAIN);
    assert_int_equal(skink_scheduler_start(scheduler), 0);
    test_wait_until(atomic_load(&other.finished) == 100, 5000);
    test_wait_until(skink_post(scheduler, count_one, &other) == 0, 5000);
    skink_scheduler_destroy(scheduler);
}

static void spawns_that_a_stop_refuses_use_nothing_up(void **state)
{
    (void)state;
    enum { LIMIT = 16 };
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = LIMIT;
    struct fixture other = { 0 };
    assert_int_equal(skink_scheduler_create(&options, &other.scheduler), 0);
    start(&other);
    stop_clean(&other);
    for (int i = 0; i < 3 * LIMIT; i++)
        assert_int_equal(skink_spawn(other.scheduler, NULL, NULL, count_one, &other), -ECANCELED);
    start(&other);
    assert_int_equal(skink_spawn(other.scheduler, NULL, NULL, count_one, &other), 0);
    test_wait_until(atomic_load(&other.finished) == 1, 5000);
    skink_scheduler_destroy(other.scheduler);
}

enum { SOME = 64 };

struct crowd {
    skink_scheduler *scheduler;
    _Atomic bool go;
    _Atomic int made, ended; /* tasks */
};

static void wait_for_the_others(void *arg)
{
    struct crowd *c = arg;
    while (!atomic_load(&c->go))
        if (skink_sleep(SKINK_MS)) return;
    atomic_fetch_add(&c->ended, 1);
}

/* As many as may live, at once; then they end. */
static void fill_up(void *arg)
{
    struct crowd *c = arg;
    int room = SOME - (skink_task_current() != NULL), made = 0;
    uint64_t deadline_ns = test_deadline_ns(5000);
    while (made < room && skink_now() < deadline_ns) /* the loop gives back what it has at its next turn */
        if (skink_spawn(c->scheduler, NULL, NULL, wait_for_the_others, c) == 0) made++;
    atomic_store(&c->made, made);
}

static void *fill_up_on_thread(void *arg)
{
    fill_up(arg);
    return NULL;
}

static void wait_until_empty(struct crowd *c, int made)
{
    test_wait_until(atomic_load(&c->made) == made, 10000);
    atomic_store(&c->go, true);
    test_wait_until(atomic_load(&c->ended) == made, 5000);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(c->scheduler, &stats) == 0 && stats.tasks_living == 0, 5000);
    atomic_store(&c->go, false);
    atomic_store(&c->ended, 0);
    atomic_store(&c->made, 0);
}

/* Goal: whoever has made the objects of all the tasks that may live, and whoever has used them last, others get them. */
static void the_limit_is_on_living_tasks_whoever_spawned_them(void **state)
{
    (void)state;
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = SOME;
    struct crowd c = { .go = false };
    pthread_t thread;
    for (int first = 0; first < 2; first++) {
        assert_int_equal(skink_scheduler_create(&options, &c.scheduler), 0);
        assert_int_equal(skink_scheduler_start(c.scheduler), 0);
        for (int round = first; round < first + 4; round++) {
            if (round % 2) {
                assert_int_equal(skink_spawn(c.scheduler, NULL, NULL, fill_up, &c), 0);
                wait_until_empty(&c, SOME - 1);
            } else {
                fill_up(&c);
                wait_until_empty(&c, SOME);
            }
            assert_int_equal(pthread_create(&thread, NULL, fill_up_on_thread, &c), 0);
            wait_until_empty(&c, SOME);
            pthread_join(thread, NULL);
        }
        skink_scheduler_destroy(c.scheduler);
    }
}

static void misuse_is_refused(void **state)
{
    struct fixture *f = *state;
    skink_scheduler *scheduler;
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.flags = 1;
    assert_int_equal(skink_scheduler_create(&options, &scheduler), -EINVAL);
    options.flags = 0;
    options.stack_size_bytes = 100;
    assert_int_equal(skink_scheduler_create(&options, &scheduler), -EINVAL);
    struct {
        skink_scheduler_options known;
        uint64_t future_field;
    } newer = { .known = { .size = sizeof newer }, .future_field = 1 };
    assert_int_equal(skink_scheduler_create(&newer.known, &scheduler), -E2BIG);
    assert_int_equal(skink_post(f->scheduler, NULL, NULL), -EINVAL);
    assert_int_equal(skink_post(NULL, count_one, NULL), -EINVAL);
    assert_int_equal(skink_yield(), -EPERM);
    assert_int_equal(skink_sleep(1), -EPERM);
    assert_int_equal(skink_checkpoint(), -EPERM);
    assert_null(skink_task_current());
    assert_null(skink_task_token());
    assert_null(skink_scheduler_current());
    assert_int_equal(skink_scheduler_stop(f->scheduler, 0), -EALREADY);
}

static void stop_here(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->running, skink_scheduler_stop(f->scheduler, 0) == -EDEADLK);
    atomic_store(&f->finished, skink_task_await(skink_task_current(), SKINK_FOREVER) == -EDEADLK);
}

static void a_task_cannot_wait_for_itself_or_stop_its_scheduler(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_int_equal(skink_post(f->scheduler, stop_here, f), 0);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    assert_int_equal(atomic_load(&f->running), 1);
    stop_clean(f);
}

static const struct test_case cases[] = {
    CASE(posts_from_outside_all_run),
    CASE(posts_before_the_start_run_after_it),
    CASE(posts_of_each_thread_run_in_order),
    CASE(thirty_sleeping_tasks_are_all_in_flight_and_never_two_run),
    CASE(a_flood_of_ready_tasks_does_not_starve_timers_or_posts),
    CASE(a_task_awaits_tasks_it_spawned),
    CASE(cancel_ends_a_sleep_and_every_later_wait),
    CASE(stop_cancels_what_sleeps_past_the_deadline),
    CASE(of_two_stops_the_earlier_deadline_holds),
    CASE(a_stop_does_not_inherit_a_deadline),
    CASE(a_stopped_scheduler_starts_again),
    CASE(stacks_of_a_peak_are_given_back_when_nobody_needs_them),
    CASE(a_task_that_ignores_its_cancellation_is_dropped),
    CASE(stop_does_not_hang_on_a_stuck_loop_that_nobody_watches),
    CASE(a_stop_does_not_take_a_busy_loop_for_stuck),
    CASE(what_a_dropped_task_wakes_is_dropped_as_well),
    CASE(a_batch_has_as_many_slices_as_was_asked_for),
    CASE(a_timer_that_is_due_before_the_poll_wakes_its_task),
    CASE(a_callback_after_a_task_is_in_no_task),
    CASE(who_is_called_in_the_runtime_section_may_not_wait),
    CASE(every_task_can_be_cancelled_from_elsewhere),
    CASE(spawn_past_the_limit_is_refused),
    CASE(spawns_that_a_stop_refuses_use_nothing_up),
    CASE(the_limit_is_on_living_tasks_whoever_spawned_them),
    CASE(misuse_is_refused),
    CASE(a_task_cannot_wait_for_itself_or_stop_its_scheduler),
};
TEST_MAIN(cases, setup, teardown)
