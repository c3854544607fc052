/* SPDX-License-Identifier: MIT */
/* test_io.c - tasks that wait for descriptors and for the thread pool; the host's own uv handles. */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

struct fixture {
    skink_scheduler *scheduler;
    int pair[2];
    uint64_t deadline_ns;
    _Atomic int result, finished;
    _Atomic uint32_t events;
    _Atomic bool gate;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, f->pair), 0);
    f->deadline_ns = SKINK_FOREVER;
    atomic_store(&f->result, 1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    skink_scheduler_destroy(f->scheduler);
    close(f->pair[0]);
    close(f->pair[1]);
    free(f);
    return 0;
}

static void wait_suspended(struct fixture *f, uint64_t count)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(f->scheduler, &stats) == 0 && stats.tasks_suspended == count, 5000);
}

static void await_readable(void *arg)
{
    struct fixture *f = arg;
    uint32_t events = 0;
    int err = skink_await_fd(f->pair[0], SKINK_READABLE, f->deadline_ns, &events);
    atomic_store(&f->events, events);
    atomic_store(&f->result, err);
    atomic_fetch_add(&f->finished, 1);
}

static void await_writable(void *arg)
{
    struct fixture *f = arg;
    uint32_t events = 0;
    assert_int_equal(skink_await_fd(f->pair[0], SKINK_WRITABLE, f->deadline_ns, &events), 0);
    assert_int_equal(events & SKINK_WRITABLE, SKINK_WRITABLE);
    atomic_fetch_add(&f->finished, 100);
}

static void a_task_wakes_when_its_descriptor_is_readable(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_post(f->scheduler, await_readable, f), 0);
    wait_suspended(f, 1);
    assert_int_equal(write(f->pair[1], "x", 1), 1);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    assert_int_equal(atomic_load(&f->result), 0);
    assert_int_equal(atomic_load(&f->events), SKINK_READABLE);
}

static void readers_and_a_writer_share_a_descriptor(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(skink_post(f->scheduler, await_readable, f), 0);
    wait_suspended(f, 3);
    assert_int_equal(skink_post(f->scheduler, await_writable, f), 0);
    test_wait_until(atomic_load(&f->finished) == 100, 5000); /* the writer alone */
    wait_suspended(f, 3);
    assert_int_equal(write(f->pair[1], "x", 1), 1);
    test_wait_until(atomic_load(&f->finished) == 103, 5000);
}

static void the_end_of_the_peer_is_readable_and_a_hangup(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_post(f->scheduler, await_readable, f), 0);
    wait_suspended(f, 1);
    close(f->pair[1]);
    f->pair[1] = dup(f->pair[0]);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    assert_int_equal(atomic_load(&f->events) & SKINK_HANGUP, SKINK_HANGUP);
}

static void a_descriptor_wait_ends_at_its_deadline(void **state)
{
    struct fixture *f = *state;
    f->deadline_ns = skink_after(30 * SKINK_MS);
    assert_int_equal(skink_post(f->scheduler, await_readable, f), 0);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    assert_int_equal(atomic_load(&f->result), -ETIMEDOUT);
    assert_true(skink_now() >= f->deadline_ns);
    /* And off a loop thread alike. */
    assert_int_equal(skink_await_fd(f->pair[0], SKINK_READABLE, skink_after(5 * SKINK_MS), NULL), -ETIMEDOUT);
    assert_int_equal(skink_await_fd(f->pair[0], SKINK_WRITABLE, SKINK_FOREVER, NULL), 0);
}

static void a_cancelled_task_leaves_its_descriptor(void **state)
{
    struct fixture *f = *state;
    skink_task *task;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &task, await_readable, f), 0);
    wait_suspended(f, 1);
    assert_int_equal(skink_task_cancel(task), 0);
    assert_int_equal(skink_task_await(task, test_deadline_ns(5000)), 0);
    assert_int_equal(atomic_load(&f->result), -ECANCELED);
    skink_task_unref(task);
    assert_int_equal(write(f->pair[1], "x", 1), 1); /* wakes nobody */
    assert_int_equal(skink_post(f->scheduler, await_readable, f), 0);
    test_wait_until(atomic_load(&f->finished) == 2, 5000);
}

struct refusal {
    int fd;
    uint32_t events;
    int expected;
};

static void check_refusals(void *arg)
{
    struct fixture *f = arg;
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    const struct refusal refusals[] = { { file, SKINK_READABLE, -EPERM },    { 987654, SKINK_READABLE, -EBADF },
                                        { INT_MAX, SKINK_READABLE, -EBADF }, { -1, SKINK_READABLE, -EBADF },
                                        { f->pair[0], 0, -EINVAL },          { f->pair[0], 64, -EINVAL } };
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        int err = skink_await_fd(refusals[i].fd, refusals[i].events, SKINK_FOREVER, NULL);
        if (err != refusals[i].expected) atomic_store(&f->result, (int)i + 100);
    }
    close(file);
    atomic_fetch_add(&f->finished, 1);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    (void)handle;
    (void)status;
    (void)events;
}

static void poll_other_end(struct uv_loop_s *loop, void *arg)
{
    static uv_poll_t handle; /* closed with the scheduler */
    struct fixture *f = arg;
    assert_int_equal(uv_poll_init(loop, &handle, f->pair[1]), 0);
    assert_int_equal(uv_poll_start(&handle, UV_READABLE, on_poll), 0);
}

static void what_cannot_be_polled_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_scheduler_uv(f->scheduler, poll_other_end, f), 0);
    assert_int_equal(skink_post(f->scheduler, check_refusals, f), 0);
    test_wait_until(atomic_load(&f->finished) == 1, 5000);
    assert_int_equal(atomic_load(&f->result), 1);
}

/* Goal: a number that is used again for another file is looked at anew. */
static void reuse_descriptor(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 50; i++) {
        int fds[2];
        assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
        assert_int_equal(skink_await_fd(fds[0], SKINK_READABLE, skink_after(SKINK_MS), NULL), -ETIMEDOUT);
        assert_int_equal(write(fds[1], "x", 1), 1);
        assert_int_equal(skink_await_fd(fds[0], SKINK_READABLE, test_deadline_ns(5000), NULL), 0);
        close(fds[0]);
        close(fds[1]);
    }
    atomic_fetch_add(&f->finished, 1);
}

static void a_descriptor_number_can_be_used_again(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_post(f->scheduler, reuse_descriptor, f), 0);
    test_wait_until(atomic_load(&f->finished) == 1, 10000);
}

/* ---- the thread pool ---- */

static void *work(void *arg)
{
    struct fixture *f = arg;
    atomic_fetch_add(&f->events, 1);
    while (!atomic_load(&f->gate))
        test_nap();
    return skink_scheduler_current() ? NULL : f;
}

static void offload_it(void *arg)
{
    struct fixture *f = arg;
    void *value = NULL;
    int err = skink_offload(work, f, &value);
    atomic_store(&f->result, err ? err : value != f);
    atomic_fetch_add(&f->finished, 1);
}

static void add_one(void *arg)
{
    struct fixture *f = arg;
    atomic_fetch_add(&f->finished, 1000);
}

static void offloaded_work_suspends_its_task_alone(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_post(f->scheduler, offload_it, f), 0);
    wait_suspended(f, 1);
    assert_int_equal(skink_post(f->scheduler, add_one, f), 0);
    test_wait_until(atomic_load(&f->finished) == 1000, 5000);
    atomic_store(&f->gate, true);
    test_wait_until(atomic_load(&f->finished) == 1001, 5000);
    assert_int_equal(atomic_load(&f->result), 0);
}

static void cancellation_ends_work_that_has_not_started_only(void **state)
{
    struct fixture *f = *state;
    skink_task *tasks[6]; /* the pool has four threads: the last two wait for one */
    struct fixture each[6];
    for (int i = 0; i < 6; i++) {
        each[i] = (struct fixture){ .scheduler = f->scheduler };
        atomic_store(&each[i].result, 1);
        assert_int_equal(skink_spawn(f->scheduler, NULL, &tasks[i], offload_it, &each[i]), 0);
    }
    wait_suspended(f, 6);
    for (int i = 0; i < 4; i++)
        test_wait_until(atomic_load(&each[i].events) == 1, 5000);
    for (int i = 0; i < 6; i++)
        assert_int_equal(skink_task_cancel(tasks[i]), 0);
    for (int i = 4; i < 6; i++) {
        assert_int_equal(skink_task_await(tasks[i], test_deadline_ns(5000)), 0);
        assert_int_equal(atomic_load(&each[i].result), -ECANCELED);
        assert_int_equal(atomic_load(&each[i].events), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(atomic_load(&each[i].finished), 0); /* it may still use its task's stack */
        atomic_store(&each[i].gate, true);
        assert_int_equal(skink_task_await(tasks[i], test_deadline_ns(5000)), 0);
        assert_int_equal(atomic_load(&each[i].result), 0);
    }
    for (int i = 0; i < 6; i++)
        skink_task_unref(tasks[i]);
}

static void offload_start_completes_a_future_for_any_thread(void **state)
{
    struct fixture *f = *state;
    skink_future *future;
    void *value = NULL;
    assert_int_equal(skink_offload(work, f, NULL), -EPERM);
    assert_int_equal(skink_offload_start(f->scheduler, work, f, &future), 0);
    assert_int_equal(skink_await(future, skink_after(20 * SKINK_MS), NULL), -ETIMEDOUT);
    atomic_store(&f->gate, true);
    assert_int_equal(skink_await(future, test_deadline_ns(5000), &value), 0);
    assert_ptr_equal(value, f);
    skink_future_unref(future);
}

/* A host that cannot wait any longer may complete the future itself. */
static void the_host_may_be_ahead_of_offloaded_work(void **state)
{
    struct fixture *f = *state;
    skink_future *futures[5]; /* one more than the pool has threads: it has not begun */
    for (int i = 0; i < 5; i++)
        assert_int_equal(skink_offload_start(f->scheduler, work, f, &futures[i]), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(skink_future_fail(futures[i], -EIO), 0);
    atomic_store(&f->gate, true);
    skink_future *last;
    assert_int_equal(skink_offload_start(f->scheduler, work, f, &last), 0);
    assert_int_equal(skink_await(last, test_deadline_ns(5000), NULL), 0); /* all before it have been run, or are */
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(5000)), 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(skink_await(futures[i], 0, NULL), -EIO);
        skink_future_unref(futures[i]);
    }
    skink_future_unref(last);
}

/* Goal: work still on the pool when its task is dropped neither holds up the stop nor touches freed memory. */
static void *count_run(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
    return NULL;
}

static void work_for_a_scheduler_that_never_runs_is_cancelled(void **state)
{
    (void)state;
    _Atomic int runs = 0;
    skink_scheduler *scheduler;
    skink_future *future;
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    assert_int_equal(skink_offload_start(scheduler, count_run, (void *)&runs, &future), 0);
    assert_false(skink_future_is_done(future));
    skink_scheduler_destroy(scheduler);
    assert_int_equal(skink_await(future, skink_now(), NULL), -ECANCELED);
    assert_int_equal(atomic_load(&runs), 0);
    skink_future_unref(future);
}

static void stop_does_not_wait_for_work_on_the_pool(void **state)
{
    struct fixture *f = *state;
    skink_scheduler *scheduler;
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    assert_int_equal(skink_scheduler_start(scheduler), 0);
    struct fixture *other = calloc(1, sizeof *other);
    other->scheduler = scheduler;
    assert_int_equal(skink_post(scheduler, offload_it, other), 0);
    test_wait_until(atomic_load(&other->events) == 1, 5000);
    uint64_t begun = skink_now();
    assert_int_equal(skink_scheduler_stop(scheduler, begun), -ECANCELED);
    assert_true(skink_now() - begun < test_ms(test_patience(3000)));
    assert_int_equal(atomic_load(&other->finished), 0);
    atomic_store(&other->gate, true);
    skink_scheduler_destroy(scheduler); /* waits for the work, for a while */
    free(other);
    (void)f;
}

/* ---- the host's own uv handles ---- */

struct host_timer {
    uv_timer_t timer;
    struct fixture *f;
    _Atomic bool closed;
};

static void host_timer_closed(uv_handle_t *timer)
{
    struct host_timer *host = timer->data;
    atomic_store(&host->closed, true);
}

static void host_timer_fired(uv_timer_t *timer)
{
    struct host_timer *host = timer->data;
    /* A uv callback of the host's may hand over: here, to a task. */
    assert_int_equal(skink_post(host->f->scheduler, add_one, host->f), 0);
    uv_close((uv_handle_t *)timer, host_timer_closed);
}

static void start_host_timer(struct uv_loop_s *loop, void *arg)
{
    struct host_timer *host = arg;
    uv_timer_init(loop, &host->timer);
    host->timer.data = host;
    uv_timer_start(&host->timer, host_timer_fired, 5, 0);
}

/* libuv 1.44 runs due timers before it polls: what such a timer makes ready must not wait for the next event. */
static void a_task_made_ready_by_a_uv_timer_runs_at_once(void **state)
{
    struct fixture *f = *state;
    for (int i = 1; i <= 20; i++) {
        struct host_timer host = { .f = f };
        assert_int_equal(skink_scheduler_uv(f->scheduler, start_host_timer, &host), 0);
        test_wait_until(atomic_load(&f->finished) == 1000 * i, 5000);
        test_wait_until(atomic_load(&host.closed), 5000); /* its memory is libuv's until then */
    }
}

static void uv_before_start_runs_on_the_caller(void **state)
{
    struct fixture *f = *state;
    skink_scheduler *scheduler;
    struct host_timer host = { .f = f };
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    struct fixture other = { .scheduler = scheduler };
    host.f = &other;
    assert_int_equal(skink_scheduler_uv(scheduler, start_host_timer, &host), 0);
    assert_int_equal(skink_scheduler_start(scheduler), 0);
    test_wait_until(atomic_load(&other.finished) == 1000, 5000);
    test_wait_until(atomic_load(&host.closed), 5000);
    skink_scheduler_destroy(scheduler);
}

static void creating_and_destroying_leaves_no_descriptor(void **state)
{
    (void)state;
    int before = test_fd_count(0);
    for (int i = 0; i < 20; i++) {
        skink_scheduler *scheduler;
        assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
        if (i % 2) assert_int_equal(skink_scheduler_start(scheduler), 0);
        skink_scheduler_destroy(scheduler);
    }
    /* The last loop thread may be the one that lets go of the eventfd, a moment after the destroy. */
    test_wait_until(test_fd_count(0) == before, 5000);
}

static const struct test_case cases[] = {
    CASE(a_task_wakes_when_its_descriptor_is_readable),
    CASE(readers_and_a_writer_share_a_descriptor),
    CASE(the_end_of_the_peer_is_readable_and_a_hangup),
    CASE(a_descriptor_wait_ends_at_its_deadline),
    CASE(a_cancelled_task_leaves_its_descriptor),
    CASE(what_cannot_be_polled_is_refused),
    CASE(a_descriptor_number_can_be_used_again),
    CASE(offloaded_work_suspends_its_task_alone),
    CASE(cancellation_ends_work_that_has_not_started_only),
    CASE(offload_start_completes_a_future_for_any_thread),
    CASE(the_host_may_be_ahead_of_offloaded_work),
    CASE(work_for_a_scheduler_that_never_runs_is_cancelled),
    CASE(stop_does_not_wait_for_work_on_the_pool),
    CASE(a_task_made_ready_by_a_uv_timer_runs_at_once),
    CASE(uv_before_start_runs_on_the_caller),
    CASE(creating_and_destroying_leaves_no_descriptor),
};
TEST_MAIN(cases, setup, teardown)
