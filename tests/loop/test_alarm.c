/* SPDX-License-Identifier: MIT */
/* The watchdog's alarm (loop/alarm.h), as a loop puts it off; the test is the watchdog. */
#include "loop/takeover.h"
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/timerfd.h>

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

static const struct test_case cases[] = {
    CASE(loop_that_turns_puts_it_off_by_a_period_at_most),
    CASE(loop_that_is_stuck_does_not_put_it_off),
    CASE(shorter_timeout_than_it_is_for_is_not_put_off),
    CASE(nobody_who_wants_it_no_alarm),
};
TEST_MAIN(cases, setup, teardown)
