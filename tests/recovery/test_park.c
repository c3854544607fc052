/* SPDX-License-Identifier: MIT */
/* A watchdog that costs nothing while every loop sleeps, and misses nothing by it;
 * and stalls, which it can only name. */
#include "tests/recovery/fixture.h"
#include "tests/support/process.h"
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

/* Let time pass in which something must not happen. */
static void let_pass(unsigned ms)
{
    uint64_t until = test_now_ns() + test_ms(ms);
    while (test_now_ns() < until)
        test_nap();
}

static void let_it_park(struct fixture *f)
{
    uint64_t before, deadline = test_deadline_ns(10000);
    do {
        assert_true(test_now_ns() < deadline);
        before = fixture_stats(f).ticks;
        let_pass(50);
    } while (fixture_stats(f).ticks != before);
}

static void idle_watchdog_does_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    assert_true(loop_is_alive(&f, 5000));
    let_it_park(&f);
    int watchdog = thread_named("skink-watchdog");
    assert_true(watchdog > 0);
    uint64_t ticks = fixture_stats(&f).ticks;
    long switches = thread_voluntary_switches(watchdog);
    assert_true(switches > 0);
    let_pass(600); /* 12 timeouts */
    assert_int_equal(fixture_stats(&f).ticks, ticks);
    assert_int_equal(thread_voluntary_switches(watchdog), switches);
    assert_true(loop_is_alive(&f, 5000));
    test_wait_until(fixture_stats(&f).ticks > ticks, 5000);
    let_it_park(&f);
    assert_true(fixture_stats(&f).suspended_ns < SKINK_S); /* a rest is not a suspension */
    assert_int_equal(fixture_stop(&f), 0);
}

static void watchdog_that_watches_nothing_parks(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    assert_int_equal(skink_recovery_create(NULL, &f.recovery), 0);
    let_it_park(&f);
    skink_recovery_destroy(f.recovery);
}

/* Goal: descriptor 0, which is free where the host has closed its standard input, is a bell like any other; the first
 * one that a recovery opens is its bell's. */
static void host_without_standard_input_is_watched(void **state)
{
    (void)state;
    struct fixture f;
    int standard_input = dup(0);
    close(0);
    fixture_start(&f, NULL);
    for (int round = 0; round < 3; round++) {
        let_it_park(&f);
        assert_true(loop_is_alive(&f, 5000)); /* it rings */
    }
    assert_int_equal(fixture_stop(&f), 0); /* each ring is read before the end */
    if (standard_input < 0) return;
    dup2(standard_input, 0);
    close(standard_input);
}

/* Each round: parked, then a task comes in by a post (which rings the inbox), gets stuck, and must be declared. */
static void stuck_slice_after_a_rest_is_declared(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start_timeout(&f, 10 * SKINK_MS);
    for (int round = 0; round < 20; round++) {
        struct stuck s;
        let_it_park(&f);
        stuck_get_declared(&f, &s);
        stuck_end(&s);
    }
    assert_int_equal(fixture_stats(&f).deadlocks, 20);
    assert_int_equal(fixture_stop(&f), 0);
}

static void sleep_and_get_stuck(void *arg)
{
    int err = skink_sleep(200 * SKINK_MS);
    (void)err;
    stuck_task(arg);
}

/* What wakes the loop here is poll's own timeout: no event, no post. */
static void stuck_slice_after_a_timer_is_declared(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    fixture_start_timeout(&f, 10 * SKINK_MS);
    stuck_init(&s);
    assert_int_equal(skink_post(f.scheduler, sleep_and_get_stuck, &s), 0);
    test_wait_until(fixture_stats(&f).deadlocks == 1, 5000);
    stuck_end(&s);
    assert_int_equal(fixture_stop(&f), 0);
}

static void started_after_the_watchdog_parked_is_watched(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct stuck s;
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = 20 * SKINK_MS;
    assert_int_equal(skink_recovery_create(&options, &f.recovery), 0);
    assert_int_equal(skink_scheduler_create(NULL, &f.scheduler), 0);
    assert_int_equal(skink_recovery_watch(f.recovery, f.scheduler), 0);
    let_it_park(&f);
    stuck_init(&s);
    stuck_spawn(&f, &s);
    let_it_park(&f);
    assert_int_equal(skink_scheduler_start(f.scheduler), 0);
    test_wait_until(fixture_stats(&f).deadlocks == 1, 5000);
    stuck_end(&s);
    assert_int_equal(fixture_stop(&f), 0);
}

/* Destroying rings: else the parked watchdog would keep the scheduler's memory and its descriptor. */
static void destroyed_scheduler_is_let_go_of(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    warm_up();
    assert_int_equal(skink_recovery_create(NULL, &f.recovery), 0);
    int fds = test_fd_count(0);
    assert_int_equal(skink_scheduler_create(NULL, &f.scheduler), 0);
    assert_int_equal(skink_recovery_watch(f.recovery, f.scheduler), 0);
    assert_int_equal(skink_scheduler_start(f.scheduler), 0);
    let_it_park(&f);
    skink_scheduler_destroy(f.scheduler);
    test_wait_until(test_fd_count(0) == fds, 5000);
    skink_recovery_destroy(f.recovery);
}

/* ---- stalls ---- */

struct stall {
    sem_t release;
    _Atomic bool entered, over;
    uv_timer_t timer;
};

static void block_in_callback(uv_timer_t *timer)
{
    struct stall *s = timer->data;
    atomic_store(&s->entered, true);
    while (sem_wait(&s->release) != 0) {
    }
    uv_close((uv_handle_t *)timer, NULL);
    atomic_store(&s->over, true);
}

static void start_timer(uv_loop_t *loop, void *arg)
{
    struct stall *s = arg;
    uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    uv_timer_start(&s->timer, block_in_callback, 300, 0);
}

/* The loop sleeps, so the watchdog is parked; then a callback of the host's blocks before the loop can ring. */
static void stall_after_a_rest_is_seen_when_somebody_asks(void **state)
{
    (void)state;
    struct fixture f;
    static struct stall s;
    fixture_start(&f, NULL);
    sem_init(&s.release, 0, 0);
    assert_int_equal(skink_scheduler_uv(f.scheduler, start_timer, &s), 0);
    test_wait_until(atomic_load(&s.entered), 5000);
    test_wait_until(skink_recovery_health(f.recovery) == SKINK_HEALTH_STALLED, 5000);
    skink_recovery_stats stats = fixture_stats(&f);
    assert_int_equal(stats.runtime_stalls, 1);
    assert_int_equal(stats.deadlocks, 0);
    sem_post(&s.release);
    test_wait_until(atomic_load(&s.over), 5000);
    test_wait_until(skink_recovery_health(f.recovery) == SKINK_HEALTH_OK, 5000);
    assert_true(loop_is_alive(&f, 5000));
    assert_int_equal(fixture_stats(&f).runtime_stalls, 1);
    assert_int_equal(fixture_stop(&f), 0);
}

static void block_in_runtime_section(uv_loop_t *loop, void *arg)
{
    struct stall *s = arg;
    (void)loop;
    atomic_store(&s->entered, true);
    while (sem_wait(&s->release) != 0) {
    }
}

static void stall_from_a_task(void *arg)
{
    int err = skink_scheduler_uv(skink_scheduler_current(), block_in_runtime_section, arg);
    (void)err;
    atomic_store(&((struct stall *)arg)->over, true);
}

/* Here nobody has to ask: the watchdog is awake. */
static void stall_in_a_call_of_a_task_is_counted_and_not_recovered(void **state)
{
    (void)state;
    struct fixture f;
    struct stall s = { 0 };
    fixture_start(&f, NULL);
    sem_init(&s.release, 0, 0);
    assert_int_equal(skink_post(f.scheduler, stall_from_a_task, &s), 0);
    test_wait_until(fixture_stats(&f).runtime_stalls == 1, 5000);
    assert_int_equal(skink_recovery_health(f.recovery), SKINK_HEALTH_STALLED);
    let_pass(200);
    assert_int_equal(fixture_stats(&f).runtime_stalls, 1); /* once per stall */
    assert_int_equal(fixture_stats(&f).deadlocks, 0);
    sem_post(&s.release);
    test_wait_until(atomic_load(&s.over), 5000);
    test_wait_until(skink_recovery_health(f.recovery) == SKINK_HEALTH_OK, 5000);
    assert_int_equal(fixture_stop(&f), 0);
}

static void yield_until_told(void *arg)
{
    while (!atomic_load((_Atomic bool *)arg) && skink_yield() == 0) {
    }
    atomic_store((_Atomic bool *)arg, false);
}

/* A loop that never rests keeps the watchdog awake; the other one sleeps, and that is no stall. */
static void sleeping_loop_is_no_stall(void **state)
{
    (void)state;
    struct fixture f;
    skink_scheduler *busy;
    static _Atomic bool stop;
    fixture_start(&f, NULL);
    assert_int_equal(skink_scheduler_create(NULL, &busy), 0);
    assert_int_equal(skink_recovery_watch(f.recovery, busy), 0);
    assert_int_equal(skink_scheduler_start(busy), 0);
    assert_int_equal(skink_post(busy, yield_until_told, (void *)&stop), 0);
    uint64_t ticks = fixture_stats(&f).ticks;
    test_wait_until(fixture_stats(&f).ticks > ticks + 200, 20000); /* ten timeouts */
    assert_int_equal(fixture_stats(&f).runtime_stalls, 0);
    assert_int_equal(fixture_stats(&f).deadlocks, 0);
    atomic_store(&stop, true);
    test_wait_until(!atomic_load(&stop), 5000);
    assert_int_equal(skink_scheduler_stop(busy, test_deadline_ns(5000)), 0);
    skink_scheduler_destroy(busy);
    assert_int_equal(fixture_stop(&f), 0);
}

/* A loop that goes round and round without a task, for callbacks of the host's, works; it neither sleeps nor stalls. */
static void turn_round(uv_idle_t *idle)
{
    (void)idle;
}

static void open_idle(uv_loop_t *loop, void *arg)
{
    uv_idle_init(loop, arg);
    uv_idle_start(arg, turn_round);
}

static void close_idle(uv_loop_t *loop, void *arg)
{
    (void)loop;
    uv_close(arg, NULL);
}

static void a_busy_loop_without_tasks_is_no_stall(void **state)
{
    (void)state;
    struct fixture f;
    static uv_idle_t idle;
    fixture_start(&f, NULL);
    assert_int_equal(skink_scheduler_uv(f.scheduler, open_idle, &idle), 0);
    uint64_t ticks = fixture_stats(&f).ticks;
    test_wait_until(fixture_stats(&f).ticks > ticks + 100, 20000); /* some timeouts */
    assert_int_equal(fixture_stats(&f).runtime_stalls, 0);
    assert_int_equal(skink_scheduler_uv(f.scheduler, close_idle, &idle), 0);
    assert_int_equal(fixture_stop(&f), 0);
}

static void current_slice_is_told_while_it_runs(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    fixture_start_timeout(&f, 2 * SKINK_S);
    test_wait_until(fixture_stats(&f).current_slice_ns == 0, 5000);
    stuck_init(&s);
    stuck_spawn(&f, &s);
    test_wait_until(fixture_stats(&f).current_slice_ns > 100 * SKINK_MS, 5000);
    stuck_end(&s);
    test_wait_until(fixture_stats(&f).current_slice_ns == 0, 5000);
    assert_int_equal(fixture_stats(&f).deadlocks, 0);
    assert_int_equal(fixture_stop(&f), 0);
}

static const struct test_case cases[] = {
    CASE(idle_watchdog_does_nothing),
    CASE(watchdog_that_watches_nothing_parks),
    CASE(host_without_standard_input_is_watched),
    CASE_TIMEOUT(stuck_slice_after_a_rest_is_declared, 60),
    CASE(stuck_slice_after_a_timer_is_declared),
    CASE(started_after_the_watchdog_parked_is_watched),
    CASE(destroyed_scheduler_is_let_go_of),
    CASE(stall_after_a_rest_is_seen_when_somebody_asks),
    CASE(stall_in_a_call_of_a_task_is_counted_and_not_recovered),
    CASE_TIMEOUT(sleeping_loop_is_no_stall, 40),
    CASE_TIMEOUT(a_busy_loop_without_tasks_is_no_stall, 40),
    CASE(current_slice_is_told_while_it_runs),
};
TEST_MAIN(cases, NULL, NULL)
