/* SPDX-License-Identifier: MIT */
/* What is read of a thread from /proc, and that it is what the thread is doing. */
#include "recovery/thread_probe.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

static void state_stands_behind_the_last_bracket(void **state)
{
    (void)state;
    char found = 0;
    assert_true(skink__parse_stat("77 (a) R (b)) S 1 2 3", &found));
    assert_int_equal(found, 'S');
    assert_false(skink__parse_stat("77 (truncated", &found));
    assert_false(skink__parse_stat("77 (name)", &found));
    assert_false(skink__parse_stat("", &found));
}

static void run_delay_is_the_second_number(void **state)
{
    (void)state;
    uint64_t delay = 0;
    assert_true(skink__parse_schedstat("111 222 333\n", &delay));
    assert_int_equal(delay, 222);
    assert_false(skink__parse_schedstat("111\n", &delay));
    assert_false(skink__parse_schedstat("", &delay));
}

static void poll_is_epoll_on_that_very_descriptor(void **state)
{
    (void)state;
    char text[128];
    snprintf(text, sizeof text, "%d 0xb 0x7ffd 0x400 0xffffffff 0x0 0x8 0x7fff 0x7fee\n", SYS_epoll_pwait);
    assert_int_equal(skink__parse_syscall(text, 11), SKINK__POLL_YES);
    assert_int_equal(skink__parse_syscall(text, 12), SKINK__POLL_NO);
    snprintf(text, sizeof text, "%d 0xb 0x7ffd 0x1 0x0 0x0 0x8 0x7fff 0x7fee\n", SYS_read);
    assert_int_equal(skink__parse_syscall(text, 11), SKINK__POLL_NO);
    assert_int_equal(skink__parse_syscall("running\n", 11), SKINK__POLL_NO);
    assert_int_equal(skink__parse_syscall("-1 0x7ffd 0x7fee\n", 11), SKINK__POLL_NO);
    assert_int_equal(skink__parse_syscall("?", 11), SKINK__POLL_UNKNOWN);
}

/* ---- a thread that does as it is told ---- */

enum order { SPIN = 1, POLL, QUIT };

struct subject {
    pthread_t pthread;
    _Atomic int tid;
    _Atomic int order;
    int epoll_fd;
    int event_fd;
    struct skink__thread_probe probe;
};

static void *subject_main(void *arg)
{
    struct subject *s = arg;
    struct epoll_event event;
    atomic_store(&s->tid, (int)syscall(SYS_gettid));
    while (atomic_load(&s->order) != QUIT)
        if (atomic_load(&s->order) == POLL) epoll_wait(s->epoll_fd, &event, 1, -1);
    return NULL;
}

static int set_up(void **state)
{
    static struct subject s;
    s = (struct subject){ .order = SPIN, .epoll_fd = epoll_create1(0), .event_fd = eventfd(0, EFD_NONBLOCK) };
    struct epoll_event event = { .events = EPOLLIN };
    epoll_ctl(s.epoll_fd, EPOLL_CTL_ADD, s.event_fd, &event);
    pthread_create(&s.pthread, NULL, subject_main, &s);
    while (atomic_load(&s.tid) == 0)
        test_nap();
    skink__thread_probe_open(&s.probe, (pid_t)s.tid);
    *state = &s;
    return 0;
}

static int tear_down(void **state)
{
    struct subject *s = *state;
    uint64_t one = 1;
    atomic_store(&s->order, QUIT);
    ssize_t written = write(s->event_fd, &one, sizeof one);
    (void)written;
    pthread_join(s->pthread, NULL);
    skink__thread_probe_close(&s->probe);
    close(s->event_fd);
    close(s->epoll_fd);
    return 0;
}

static char state_of(struct subject *s)
{
    struct skink__reading reading;
    skink__thread_probe_read(&s->probe, &reading);
    return reading.state;
}

static void spinning_thread_is_runnable_and_uses_the_processor(void **state)
{
    struct subject *s = *state;
    struct skink__reading before, after;
    skink__thread_probe_read(&s->probe, &before);
    assert_int_equal(before.state, 'R');
    assert_true(before.has_cpu && before.has_run_delay);
    do {
        skink__thread_probe_clock(&s->probe, &after);
    } while (after.cpu_ns - before.cpu_ns < test_ms(2) && after.now_ns - before.now_ns < test_ms(5000));
    assert_true(after.cpu_ns - before.cpu_ns >= test_ms(2));
    assert_int_equal(skink__thread_probe_in_poll(&s->probe, s->epoll_fd), SKINK__POLL_NO);
}

static void thread_in_epoll_wait_is_in_poll(void **state)
{
    struct subject *s = *state;
    atomic_store(&s->order, POLL);
    test_wait_until(skink__thread_probe_in_poll(&s->probe, s->epoll_fd) == SKINK__POLL_YES, 5000);
    assert_int_equal(skink__thread_probe_in_poll(&s->probe, s->event_fd), SKINK__POLL_NO);
    assert_int_equal(state_of(s), 'S');
    struct skink__reading before, after;
    skink__thread_probe_clock(&s->probe, &before);
    test_nap();
    skink__thread_probe_clock(&s->probe, &after);
    assert_int_equal(after.cpu_ns, before.cpu_ns);
}

static void probe_that_is_not_open_knows_nothing(void **state)
{
    (void)state;
    struct skink__thread_probe probe = { 0 };
    struct skink__reading reading;
    skink__thread_probe_read(&probe, &reading);
    assert_int_equal(reading.state, SKINK__STATE_UNKNOWN);
    assert_false(reading.has_cpu || reading.has_run_delay);
    assert_true(reading.now_ns > 0);
    assert_int_equal(skink__thread_probe_in_poll(&probe, 3), SKINK__POLL_UNKNOWN);
    skink__thread_probe_close(&probe);
}

static void *nothing(void *arg)
{
    atomic_store((_Atomic int *)arg, (int)syscall(SYS_gettid));
    return NULL;
}

static void thread_that_has_gone_is_unknown(void **state)
{
    (void)state;
    _Atomic int tid = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, nothing, &tid);
    pthread_join(thread, NULL);
    struct skink__thread_probe probe = { 0 };
    struct skink__reading reading;
    skink__thread_probe_open(&probe, (pid_t)tid);
    /* The kernel may still be at it after the join. */
    do {
        skink__thread_probe_read(&probe, &reading);
    } while (reading.state != SKINK__STATE_UNKNOWN && reading.state != 'X' && reading.state != 'Z');
    skink__thread_probe_close(&probe);
}

static void closing_gives_every_descriptor_back(void **state)
{
    struct subject *s = *state;
    int before = test_fd_count(0);
    struct skink__thread_probe probe = { 0 };
    skink__thread_probe_open(&probe, (pid_t)s->tid);
    assert_int_equal(test_fd_count(0), before + 3);
    skink__thread_probe_close(&probe);
    assert_int_equal(test_fd_count(0), before);
}

static void file_that_could_not_be_opened_is_tried_again(void **state)
{
    struct subject *s = *state;
    struct skink__reading reading;
    close(s->probe.stat_fd);
    close(s->probe.schedstat_fd);
    s->probe.stat_fd = s->probe.schedstat_fd = -1;
    skink__thread_probe_read(&s->probe, &reading);
    assert_int_equal(reading.state, 'R');
    assert_true(reading.has_run_delay);
}

static const struct test_case cases[] = {
    CASE(state_stands_behind_the_last_bracket),  CASE(run_delay_is_the_second_number),
    CASE(poll_is_epoll_on_that_very_descriptor), CASE(spinning_thread_is_runnable_and_uses_the_processor),
    CASE(thread_in_epoll_wait_is_in_poll),       CASE(probe_that_is_not_open_knows_nothing),
    CASE(thread_that_has_gone_is_unknown),       CASE(file_that_could_not_be_opened_is_tried_again),
    CASE(closing_gives_every_descriptor_back),
};
TEST_MAIN(cases, set_up, tear_down)
