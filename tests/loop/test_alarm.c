/* SPDX-License-Identifier: MIT */
/* The watchdog's alarm (loop/alarm.h), as a loop puts it off; the test is the watchdog. */
#include "loop/takeover.h"
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PERIOD_NS (100 * SKINK_MS)
#define TIMEOUT_NS (24 * PERIOD_NS)

struct fixture {
    skink_scheduler *scheduler;
    struct skink__alarm *alarm;
    _Atomic bool stop, stopped;
    _Atomic bool hold, holding;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    f->alarm = skink__scheduler_alarm(f->scheduler);
    assert_int_equal(skink__alarm_open(f->alarm), 0);
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

/* Keeps the loop turning, but for a slice that lasts as long as it is held. */
static void tread(void *arg)
{
    struct fixture *f = arg;
    while (atomic_load(&f->hold) && !atomic_load(&f->stop))
        atomic_store(&f->holding, true);
    atomic_store(&f->holding, false);
    if (atomic_load(&f->stop) || skink_post(f->scheduler, tread, f)) atomic_store(&f->stopped, true);
}

static void start(struct fixture *f)
{
    skink__alarm_want(f->alarm, PERIOD_NS, TIMEOUT_NS);
    assert_int_equal(skink_post(f->scheduler, tread, f), 0);
}

static void stop(struct fixture *f)
{
    atomic_store(&f->stop, true);
    test_wait_until(atomic_load(&f->stopped), 10000);
}

/* 0: it has gone off, or was never set. */
static uint64_t rest_ns(struct fixture *f)
{
    struct itimerspec time;
    assert_int_equal(timerfd_gettime(atomic_load(&f->alarm->fd), &time), 0);
    return (uint64_t)time.it_value.tv_sec * SKINK_S + (uint64_t)time.it_value.tv_nsec;
}

/* For ms milliseconds, look at it. */
static void watch(struct fixture *f, unsigned ms, uint64_t *ret_least, uint64_t *ret_most)
{
    uint64_t until = test_now_ns() + test_ms(ms);
    *ret_least = UINT64_MAX, *ret_most = 0;
    while (test_now_ns() < until) {
        uint64_t rest = rest_ns(f);
        if (rest < *ret_least) *ret_least = rest;
        if (rest > *ret_most) *ret_most = rest;
        test_nap();
    }
}

static void loop_that_turns_puts_it_off_by_a_period_at_most(void **state)
{
    struct fixture *f = *state;
    uint64_t least, most;
    assert_int_equal(rest_ns(f), 0);
    start(f);
    test_wait_until(rest_ns(f) > 0, 5000);
    watch(f, 300, &least, &most);
    assert_in_range(most, 1, PERIOD_NS);
    stop(f);
}

/* Goal: nothing is put off by a slice that has begun, so the alarm goes off. */
static void loop_that_is_stuck_does_not_put_it_off(void **state)
{
    struct fixture *f = *state;
    start(f);
    test_wait_until(rest_ns(f) > 0, 5000);
    atomic_store(&f->hold, true);
    test_wait_until(atomic_load(&f->holding), 5000);
    uint64_t least, most;
    test_wait_until(rest_ns(f) == 0, 5000);
    watch(f, 150, &least, &most);
    assert_int_equal(most, 0);
    struct pollfd readable = { .fd = atomic_load(&f->alarm->fd), .events = POLLIN };
    assert_int_equal(poll(&readable, 1, 0), 1);
    atomic_store(&f->hold, false);
    test_wait_until(rest_ns(f) > 0, 5000); /* and again */
    stop(f);
}

static void nothing(void *arg)
{
    (void)arg;
}

static void shorter_timeout_than_it_is_for_is_not_put_off(void **state)
{
    struct fixture *f = *state;
    start(f);
    test_wait_until(rest_ns(f) > 0, 5000);
    skink_task_options options = { .size = sizeof options, .deadlock_timeout_ns = TIMEOUT_NS / 2 };
    assert_int_equal(skink_spawn(f->scheduler, &options, NULL, nothing, NULL), 0);
    test_wait_until(rest_ns(f) == 0, 5000);
    uint64_t least, most;
    watch(f, 150, &least, &most);
    assert_int_equal(most, 0);
    skink__alarm_want(f->alarm, PERIOD_NS / 2, TIMEOUT_NS / 2); /* the watchdog has taken notice */
    test_wait_until(rest_ns(f) > 0, 5000);
    stop(f);
}

static void shorter_timeout_than_any_before_makes_it_go_off(void **state)
{
    struct fixture *f = *state;
    skink__alarm_want(f->alarm, 3600 * SKINK_S, TIMEOUT_NS);
    skink__alarm_set(f->alarm, 3600 * SKINK_S);
    skink_task_options options = { .size = sizeof options, .deadlock_timeout_ns = TIMEOUT_NS / 2 };
    assert_int_equal(skink_spawn(f->scheduler, &options, NULL, nothing, NULL), 0);
    test_wait_until(rest_ns(f) == 0, 5000);
    skink__alarm_set(f->alarm, 3600 * SKINK_S);
    assert_int_equal(skink_spawn(f->scheduler, &options, NULL, nothing, NULL), 0); /* no shorter one */
    assert_true(rest_ns(f) > SKINK_S);
    options.deadlock_timeout_ns = TIMEOUT_NS / 4;
    assert_int_equal(skink_spawn(f->scheduler, &options, NULL, nothing, NULL), 0);
    test_wait_until(rest_ns(f) == 0, 5000);
}

/* ---- somebody who comes in between ---- */

static _Atomic(struct skink__alarm *) changed_alarm; /* its next setting comes too late */
static _Atomic(_Atomic uint64_t *) shortened;        /* the same: a task with a short timeout comes first */
static struct skink__alarm *its_alarm;

/* The library's calls come here as well. */
int timerfd_settime(int fd, int flags, const struct itimerspec *time, struct itimerspec *ret_before)
{
    struct skink__alarm *alarm = atomic_exchange(&changed_alarm, NULL);
    if (alarm) {
        skink__alarm_want(alarm, PERIOD_NS / 10, TIMEOUT_NS / 10);
        skink__alarm_set(alarm, PERIOD_NS / 10);
    }
    _Atomic uint64_t *shortest_ns = atomic_exchange(&shortened, NULL);
    if (shortest_ns) {
        atomic_store(shortest_ns, TIMEOUT_NS / 10);
        skink__alarm_go_off(its_alarm);
    }
    return (int)syscall(SYS_timerfd_settime, fd, flags, time, ret_before);
}

/* Goal: a loop thread that was kept from its processor while it put the alarm off does not set it
 * by a period that is over.
 * | loop                       | watchdog                             |
 * | reads the period: 100 ms   |                                      |
 * |                            | the period is 10 ms                  |
 * |                            | has looked, sets the alarm: 10 ms    |
 * | sets the alarm: 100 ms     |                                      |
 * | and sets it anew: 10 ms    |                                      | */
static void period_that_changes_meanwhile_is_the_one_that_counts(void **state)
{
    struct fixture *f = *state;
    struct skink__alarm alarm = { 0 };
    _Atomic uint64_t never = UINT64_MAX;
    (void)f; /* no loop: this is its thread */
    assert_int_equal(skink__alarm_open(&alarm), 0);
    skink__alarm_want(&alarm, PERIOD_NS, TIMEOUT_NS);
    atomic_store(&changed_alarm, &alarm);
    skink__alarm_put_off_now(&alarm, 0, &never);
    assert_null(atomic_load(&changed_alarm));
    struct itimerspec time;
    assert_int_equal(timerfd_gettime(atomic_load(&alarm.fd), &time), 0);
    assert_in_range((uint64_t)time.it_value.tv_nsec, 0, PERIOD_NS / 10); /* 0: gone off by now */
    skink__alarm_fini(&alarm);
}

/* Goal: what a loop thread does when it was kept from its processor does not keep a shorter timeout from the watchdog.
 * | loop                       | who spawns a task                    |
 * | sees no shorter timeout    |                                      |
 * |                            | notes it, lets the alarm go off      |
 * | sets the alarm: 100 ms     |                                      |
 * | and lets it go off         |                                      | */
static void timeout_that_comes_meanwhile_is_not_put_off(void **state)
{
    struct skink__alarm alarm = { 0 };
    _Atomic uint64_t shortest_ns = UINT64_MAX;
    (void)state; /* no loop: this is its thread */
    assert_int_equal(skink__alarm_open(&alarm), 0);
    skink__alarm_want(&alarm, 3600 * SKINK_S, TIMEOUT_NS);
    its_alarm = &alarm;
    atomic_store(&shortened, &shortest_ns);
    skink__alarm_put_off_now(&alarm, 0, &shortest_ns);
    assert_null(atomic_load(&shortened));
    struct pollfd readable = { .fd = atomic_load(&alarm.fd), .events = POLLIN };
    assert_int_equal(poll(&readable, 1, 5000), 1);
    skink__alarm_fini(&alarm);
}

static void nobody_who_wants_it_no_alarm(void **state)
{
    struct fixture *f = *state;
    start(f);
    test_wait_until(rest_ns(f) > 0, 5000);
    skink__alarm_want(f->alarm, 0, 0);
    test_wait_until(rest_ns(f) == 0, 5000);
    uint64_t least, most;
    watch(f, 150, &least, &most);
    assert_int_equal(most, 0);
    stop(f);
}

static void descriptor_0_is_none(void **state)
{
    (void)state;
    struct skink__alarm alarm = { 0 };
    int standard_input = dup(0);
    close(0);
    assert_int_equal(skink__alarm_open(&alarm), 0);
    assert_true(atomic_load(&alarm.fd) > 0);
    assert_int_equal(close(0), -1); /* it is free again */
    skink__alarm_fini(&alarm);
    if (standard_input < 0) return;
    dup2(standard_input, 0);
    close(standard_input);
}

static const struct test_case cases[] = {
    CASE(loop_that_turns_puts_it_off_by_a_period_at_most),
    CASE(loop_that_is_stuck_does_not_put_it_off),
    CASE(shorter_timeout_than_it_is_for_is_not_put_off),
    CASE(shorter_timeout_than_any_before_makes_it_go_off),
    CASE(period_that_changes_meanwhile_is_the_one_that_counts),
    CASE(timeout_that_comes_meanwhile_is_not_put_off),
    CASE(nobody_who_wants_it_no_alarm),
    CASE(descriptor_0_is_none),
};
TEST_MAIN(cases, setup, teardown)
