/* SPDX-License-Identifier: MIT */
/* test_turn.c - a turn of the loop: what tasks and libuv get of it, and who is a task in it and who is not. */
#include "skink/skink.h"
#include "tests/loop/fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdatomic.h>
#include <uv.h>

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
    fixture_start(f);
    for (int i = 0; i < 300; i++)
        assert_int_equal(skink_post(f->scheduler, yield_forever, f), 0);
    test_wait_until(atomic_load(&f->running) > 1000, 5000);
    assert_int_equal(skink_post(f->scheduler, sleep_between, &other), 0);
    test_wait_until(atomic_load(&other.finished) == 1, 5000);
    assert_int_equal(skink_scheduler_stop(f->scheduler, skink_now()), -ECANCELED);
    assert_int_equal(atomic_load(&f->finished), 300);
}

/* Goal: between two looks at libuv exactly batch_max tasks run, whatever they are: posts that follow one another, fresh
 * tasks chained on one stack, and tasks that are resumed. */
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

/* Goal: libuv runs timers that are due before it polls. A task that one of them wakes is found,
 * though nothing else happens.
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
    fixture_start(f);
    assert_int_equal(skink_post(f->scheduler, sleep_once, f), 0);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    fixture_stop_clean(f);
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
    fixture_start(f);
    assert_int_equal(skink_post(f->scheduler, begin_timer_in_a_task, &c), 0);
    test_wait_until(atomic_load(&c.ran), 5000);
    fixture_stop_clean(f);
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
    fixture_start(f);
    assert_int_equal(skink_post(f->scheduler, call_section, &s), 0);
    test_wait_until(atomic_load(&s.done) != 0, 5000);
    fixture_stop_clean(f);
    assert_int_equal(atomic_load(&s.done), 1);
    const int results[] = { s.sleep, s.yield, s.await, s.block, s.offload };
    for (int i = 0; i < 5; i++)
        assert_int_equal(results[i], -EPERM);
    skink_future_unref(s.future);
}

static const struct test_case cases[] = {
    CASE(a_flood_of_ready_tasks_does_not_starve_timers_or_posts), CASE(a_batch_has_as_many_slices_as_was_asked_for),
    CASE(a_timer_that_is_due_before_the_poll_wakes_its_task),     CASE(a_callback_after_a_task_is_in_no_task),
    CASE(who_is_called_in_the_runtime_section_may_not_wait),
};
TEST_MAIN(cases, fixture_setup, fixture_teardown)
