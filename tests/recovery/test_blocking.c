/* SPDX-License-Identifier: MIT */
/* test_blocking.c - stretches that are known to block: the loop is handed on, and nothing is declared. */
#include "fixture.h"
#include "loop/takeover.h"
#include "recovery/state.h"
#include "skink/blocking.h"
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define UNSET 1

struct stretch {
    struct fixture f;
    sem_t release;
    skink_task *task;
    _Atomic int begun, ended; /* stretches */
    _Atomic int result;
    _Atomic int tid_before, tid_within, tid_after;
    _Atomic int others;
    _Atomic int stopped; /* what the stop has returned */
    _Atomic uint64_t begun_ns;
};

static struct stretch *start(uint64_t deadlock_timeout_ns, uint64_t grace_ns, uint32_t max_blocking)
{
    struct stretch *s = calloc(1, sizeof *s);
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = deadlock_timeout_ns;
    options.blocking_grace_ns = grace_ns;
    options.max_blocking = max_blocking;
    sem_init(&s->release, 0, 0);
    atomic_store(&s->result, UNSET);
    fixture_start(&s->f, &options);
    return s;
}

static void finish(struct stretch *s)
{
    skink_task_unref(s->task);
    sem_destroy(&s->release);
    free(s);
}

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0)
        continue;
}

static void block_once(void *arg)
{
    struct stretch *s = arg;
    atomic_store(&s->tid_before, (int)gettid());
    int err = skink_blocking_begin();
    atomic_fetch_add(&s->begun, 1);
    atomic_store(&s->tid_within, (int)gettid());
    wait_for(&s->release);
    if (skink_blocking_end()) err = -EIO;
    atomic_store(&s->tid_after, (int)gettid());
    atomic_fetch_add(&s->ended, 1);
    atomic_store(&s->result, err);
}

static void post(struct stretch *s, void (*fn)(void *arg))
{
    assert_int_equal(skink_post(s->f.scheduler, fn, s), 0);
}

static uint64_t stretches(struct stretch *s)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    assert_int_equal(skink_scheduler_stats_read(s->f.scheduler, &stats), 0);
    return stats.blocking_begun;
}

static uint64_t tasks_blocking(struct stretch *s)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    assert_int_equal(skink_scheduler_stats_read(s->f.scheduler, &stats), 0);
    return stats.tasks_blocking;
}

/* The timeout is far away: nothing but the grace can let the others run. */
static void the_loop_goes_on_after_the_grace_and_the_task_comes_back(void **state)
{
    (void)state;
    struct stretch *s = start(600 * SKINK_S, 0, 0);
    for (int i = 1; i <= 20; i++) {
        post(s, block_once);
        test_wait_until(atomic_load(&s->begun) == i, 5000);
        assert_true(loop_is_alive(&s->f, 5000));
        assert_int_equal(fixture_stats(&s->f).blocking_threads, 1);
        assert_int_equal(tasks_blocking(s), 1);
        sem_post(&s->release);
        test_wait_until(atomic_load(&s->ended) == i, 5000);
        assert_int_equal(atomic_load(&s->result), 0);
        assert_int_equal(tasks_blocking(s), 0);
        assert_int_equal(atomic_load(&s->tid_before), atomic_load(&s->tid_within));
        assert_int_not_equal(atomic_load(&s->tid_after), atomic_load(&s->tid_within));
        test_wait_until(fixture_stats(&s->f).blocking_threads == 0, 5000);
    }
    skink_recovery_stats stats = fixture_stats(&s->f);
    assert_int_equal(stats.blocking_handed_on, 20);
    assert_int_equal(stretches(s), 20);
    assert_int_equal(stats.deadlocks, 0);
    assert_int_equal(stats.takeovers, 0);
    assert_int_equal(stats.strays_total, 0);
    assert_int_equal(stats.strays_returned, 0);
    for (unsigned i = 0; i < SKINK_RECOVERY_BUCKETS; i++)
        assert_int_equal(stats.recovery_count[i], 0);
    assert_int_equal(fixture_stop(&s->f), 0);
    assert_int_equal(atomic_load(&s->f.incidents), 0);
    finish(s);
}

/* Looks at a stretch do not end it; only its grace does. */
static void within_the_grace_the_loop_is_not_handed_on(void **state)
{
    (void)state;
    struct stretch *s = start(600 * SKINK_S, 300 * SKINK_S, 0);
    post(s, block_once);
    test_wait_until(atomic_load(&s->begun) == 1, 5000);
    for (int i = 0; i < 5; i++)
        assert_int_equal(skink_recovery_ping(s->f.recovery, test_deadline_ns(5000)), 0);
    assert_int_equal(fixture_stats(&s->f).blocking_handed_on, 0);
    sem_post(&s->release);
    test_wait_until(atomic_load(&s->ended) == 1, 5000);
    assert_int_equal(atomic_load(&s->tid_after), atomic_load(&s->tid_within));
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

/* How long until the loop was handed on, from the stretch's beginning. */
static void it_takes_a_few_milliseconds(void **state)
{
    (void)state;
    struct stretch *s = start(600 * SKINK_S, 0, 0);
    uint64_t shortest_ns = UINT64_MAX;
    for (int i = 1; i <= 10; i++) {
        assert_true(loop_is_alive(&s->f, 5000));
        uint64_t begun = test_now_ns();
        post(s, block_once);
        test_wait_until(atomic_load(&s->begun) == i, 5000);
        assert_true(loop_is_alive(&s->f, 5000));
        uint64_t took_ns = test_now_ns() - begun;
        if (took_ns < shortest_ns) shortest_ns = took_ns;
        sem_post(&s->release);
        test_wait_until(atomic_load(&s->ended) == i, 5000);
    }
    print_message("at best %llu us\n", (unsigned long long)shortest_ns / 1000);
    if (TEST_TIMES) assert_true(shortest_ns < test_ms(20));
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

/* A timeout without end is no stretch: the loop is not handed on, and nobody runs beside the task. */
static void a_timeout_without_end_is_no_stretch(void **state)
{
    (void)state;
    struct stretch *s = start(600 * SKINK_S, 0, 0);
    struct stuck stuck;
    stuck_init(&stuck);
    skink_task_options options = SKINK_TASK_OPTIONS_INIT;
    options.deadlock_timeout_ns = SKINK_FOREVER;
    assert_int_equal(skink_spawn(s->f.scheduler, &options, NULL, stuck_task, &stuck), 0);
    test_wait_until(atomic_load(&stuck.started_tid) != 0, 5000);
    assert_true(loop_stands_still(&s->f, 100));
    assert_int_equal(fixture_stats(&s->f).blocking_handed_on, 0);
    stuck_end(&stuck);
    assert_int_equal(atomic_load(&stuck.started_tid), atomic_load(&stuck.ended_tid));
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

static void many_short_ones(void *arg)
{
    struct stretch *s = arg;
    int err = 0, tid = gettid();
    for (int i = 0; i < 1000 && !err; i++) {
        err = skink_blocking_begin();
        if (!err) err = skink_blocking_end();
        if (gettid() != tid) err = -EIO;
    }
    atomic_store(&s->result, err);
}

static void stretches_shorter_than_the_grace_stay_where_they_are(void **state)
{
    (void)state;
    struct stretch *s = start(600 * SKINK_S, 60 * SKINK_S, 0);
    post(s, many_short_ones);
    test_wait_until(atomic_load(&s->result) != UNSET, 5000);
    assert_int_equal(atomic_load(&s->result), 0);
    assert_int_equal(fixture_stats(&s->f).blocking_handed_on, 0);
    assert_int_equal(stretches(s), 1000);
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

/* Goal: between stretches the task is alone on the loop, whatever the watchdog saw a moment ago.
 * Each stretch lasts about as long as the grace, so that many end just when they would be taken off the loop. */
static _Atomic int inside;
static _Atomic int most_inside;

static void in_and_out(void *arg)
{
    struct stretch *s = arg;
    for (int i = 0; i < 60; i++) {
        int now = atomic_fetch_add(&inside, 1) + 1;
        if (now > atomic_load(&most_inside)) atomic_store(&most_inside, now);
        uint64_t until = skink_after(50 * SKINK_US);
        while (skink_now() < until) {
        }
        atomic_fetch_sub(&inside, 1);
        if (skink_blocking_begin()) break;
        usleep(900 + (unsigned)(i * 7 % 200));
        if (skink_blocking_end()) break;
    }
    atomic_fetch_add(&s->ended, 1);
}

static void outside_of_stretches_a_task_is_alone(void **state)
{
    (void)state;
    struct stretch *s = start(600 * SKINK_S, 0, 0);
    for (int i = 0; i < 6; i++)
        post(s, in_and_out);
    test_wait_until(atomic_load(&s->ended) == 6, 15000);
    assert_int_equal(atomic_load(&most_inside), 1);
    skink_recovery_stats stats = fixture_stats(&s->f);
    assert_int_equal(stats.deadlocks, 0);
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

static void nest(void *arg)
{
    struct stretch *s = arg;
    int err = skink_blocking_end() == -EINVAL ? 0 : -EIO;
    for (int i = 0; i < 255; i++)
        if (skink_blocking_begin()) err = -EIO;
    if (skink_blocking_begin() != -EAGAIN) err = -EIO;
    for (int i = 0; i < 254; i++)
        if (skink_blocking_end()) err = -EIO;
    atomic_fetch_add(&s->begun, 1);
    wait_for(&s->release); /* still in the outermost */
    if (skink_blocking_end()) err = -EIO;
    if (skink_blocking_end() != -EINVAL) err = -EIO;
    atomic_store(&s->result, err);
}

static void stretches_nest(void **state)
{
    (void)state;
    assert_int_equal(skink_blocking_begin(), -EPERM);
    assert_int_equal(skink_blocking_end(), -EPERM);
    assert_int_equal(skink_slice_extend(1), -EPERM);
    struct stretch *s = start(600 * SKINK_S, 0, 0);
    post(s, nest);
    test_wait_until(atomic_load(&s->begun) == 1, 5000);
    assert_true(loop_is_alive(&s->f, 5000));
    sem_post(&s->release);
    test_wait_until(atomic_load(&s->result) != UNSET, 5000);
    assert_int_equal(atomic_load(&s->result), 0);
    assert_int_equal(stretches(s), 1);
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

static void note_other(void *arg)
{
    atomic_fetch_add(&((struct stretch *)arg)->others, 1);
}

/* What would be a deadlock on the loop is none off it. */
static void wait_for_own_loop(void *arg)
{
    struct stretch *s = arg;
    int err = skink_spawn(s->f.scheduler, NULL, &s->task, note_other, s);
    if (!err) err = skink_blocking_begin();
    if (!err) err = skink_task_block(s->task, SKINK_FOREVER);
    if (!err) err = skink_checkpoint(); /* a call brings it back for a moment, and the stretch goes on */
    atomic_fetch_add(&s->begun, 1);
    if (!err) wait_for(&s->release);
    if (!err) err = skink_blocking_end();
    atomic_store(&s->result, err);
}

static void a_task_may_block_for_its_own_loop_in_a_stretch(void **state)
{
    (void)state;
    struct stretch *s = start(600 * SKINK_S, 0, 0);
    post(s, wait_for_own_loop);
    test_wait_until(atomic_load(&s->begun) == 1, 5000);
    assert_int_equal(atomic_load(&s->others), 1);
    assert_true(loop_is_alive(&s->f, 5000));
    sem_post(&s->release);
    test_wait_until(atomic_load(&s->result) != UNSET, 5000);
    assert_int_equal(atomic_load(&s->result), 0);
    assert_int_equal(fixture_stats(&s->f).blocking_handed_on, 2);
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

/* Past the bound a stretch is a slice like any other, timeout included. */
static void past_the_bound_the_timeout_holds(void **state)
{
    (void)state;
    struct stretch *s = start(100 * SKINK_MS, 0, 2);
    for (int i = 0; i < 3; i++)
        post(s, block_once);
    test_wait_until(atomic_load(&s->begun) == 3, 5000);
    test_wait_until(fixture_stats(&s->f).deadlocks == 1, 5000);
    assert_true(loop_is_alive(&s->f, 5000));
    assert_int_equal(fixture_stats(&s->f).blocking_threads, 2);
    assert_int_equal(fixture_stats(&s->f).strays, 1);
    for (int i = 0; i < 3; i++)
        sem_post(&s->release);
    test_wait_until(atomic_load(&s->ended) == 3, 5000);
    test_wait_until(fixture_stats(&s->f).blocking_threads == 0, 5000);
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

struct late_release {
    struct stretch *s;
    uint64_t at_ns;
};

static void *release_later(void *arg)
{
    struct late_release *late = arg;
    while (test_now_ns() < late->at_ns)
        usleep(1000);
    sem_post(&late->s->release);
    return NULL;
}

static void a_stop_waits_for_the_end_of_a_stretch(void **state)
{
    (void)state;
    struct stretch *s = start(600 * SKINK_S, 0, 0);
    post(s, block_once);
    test_wait_until(atomic_load(&s->begun) == 1, 5000);
    assert_true(loop_is_alive(&s->f, 5000));
    struct late_release late = { s, test_now_ns() + test_ms(100) };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, release_later, &late), 0);
    assert_int_equal(skink_scheduler_stop(s->f.scheduler, test_deadline_ns(10000)), 0);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&s->result), 0);
    assert_int_equal(skink_scheduler_start(s->f.scheduler), 0);
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

static void a_stretch_that_does_not_end_cannot_hold_up_a_stop(void **state)
{
    (void)state;
    struct stretch *s = start(600 * SKINK_S, 0, 0);
    post(s, block_once);
    test_wait_until(atomic_load(&s->begun) == 1, 5000);
    assert_true(loop_is_alive(&s->f, 5000));
    assert_int_equal(skink_scheduler_stop(s->f.scheduler, skink_after(50 * SKINK_MS)), -ECANCELED);
    assert_int_equal(tasks_blocking(s), 0);
    sem_post(&s->release); /* it comes back to a scheduler that has stopped, and runs no further */
    test_wait_until(fixture_stats(&s->f).blocking_threads == 0, 5000);
    assert_int_equal(atomic_load(&s->ended), 0);
    assert_int_equal(skink_scheduler_start(s->f.scheduler), 0);
    assert_true(loop_is_alive(&s->f, 5000));
    assert_int_equal(fixture_stop(&s->f), 0); /* the task was lost in the run before */
    finish(s);
}

/* Goal: past the deadline of a stop a stretch is told, too: its end says so.
 * | stop                  | sleeper       | stretch                   |
 * | its deadline passes   | -ECANCELED    |                           |
 * |                       |               | ends, and is cancelled    |
 * | -ECANCELED            |               |                           | */
static void sleep_until_cancelled(void *arg)
{
    struct stretch *s = arg;
    (void)!skink_sleep_until(SKINK_FOREVER);
    atomic_store(&s->others, 1);
}

static void *stop_at_once(void *arg)
{
    struct stretch *s = arg;
    atomic_store(&s->stopped, skink_scheduler_stop(s->f.scheduler, skink_now()));
    return NULL;
}

static void block_and_note_the_end(void *arg)
{
    struct stretch *s = arg;
    if (skink_blocking_begin()) return;
    atomic_fetch_add(&s->begun, 1);
    wait_for(&s->release);
    atomic_store(&s->result, skink_blocking_end());
}

static void a_stretch_that_ends_past_the_deadline_of_a_stop_is_cancelled(void **state)
{
    (void)state;
    struct stretch *s = start(600 * SKINK_S, 0, 0);
    post(s, block_and_note_the_end);
    test_wait_until(atomic_load(&s->begun) == 1, 5000);
    post(s, sleep_until_cancelled);
    assert_true(loop_is_alive(&s->f, 5000));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_at_once, s), 0);
    test_wait_until(atomic_load(&s->others) == 1, 5000);
    sem_post(&s->release);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&s->stopped), -ECANCELED);
    assert_int_equal(atomic_load(&s->result), -ECANCELED);
    assert_int_equal(tasks_blocking(s), 0);
    assert_int_equal(skink_scheduler_start(s->f.scheduler), 0);
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

static void end_within(void *arg)
{
    struct stretch *s = arg;
    atomic_store(&s->result, skink_blocking_begin());
    atomic_fetch_add(&s->begun, 1);
    wait_for(&s->release);
}

static void end_or_not(void *arg)
{
    struct stretch *s = arg;
    atomic_store(&s->result, skink_blocking_end());
}

static void a_task_that_ends_in_a_stretch_ends_it(void **state)
{
    (void)state;
    struct stretch *s = start(600 * SKINK_S, 0, 0);
    for (int i = 0; i < 3; i++) {
        post(s, end_within);
        test_wait_until(atomic_load(&s->begun) == i + 1, 5000);
        assert_true(loop_is_alive(&s->f, 5000));
        sem_post(&s->release);
        atomic_store(&s->result, UNSET);
        post(s, end_or_not); /* in an object that was used before */
        test_wait_until(atomic_load(&s->result) == -EINVAL, 5000);
    }
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

/* --- slices that may take longer --- */

static void spin_for(uint64_t duration_ns)
{
    uint64_t until = skink_after(duration_ns);
    while (skink_now() < until) {
    }
}

static void extend(void *arg)
{
    struct stretch *s = arg;
    int err = skink_slice_extend(600 * SKINK_S) == -ERANGE ? 0 : -EIO;
    if (!err) err = skink_slice_extend(2 * SKINK_S);
    if (!err) err = skink_slice_extend(3 * SKINK_S);
    if (!err) usleep(400000);
    atomic_store(&s->result, err);
}

static void an_extended_slice_may_take_longer(void **state)
{
    (void)state;
    struct stretch *s = start(100 * SKINK_MS, 0, 0);
    post(s, extend);
    test_wait_until(atomic_load(&s->result) != UNSET, 5000);
    assert_int_equal(atomic_load(&s->result), 0);
    assert_int_equal(fixture_stats(&s->f).deadlocks, 0);
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

/* It is late when it asks, and still gets the whole of it. */
static void extend_late(void *arg)
{
    struct stretch *s = arg;
    spin_for(150 * SKINK_MS);
    int err = skink_slice_extend(2 * SKINK_S);
    if (!err) usleep(400000);
    atomic_store(&s->result, err);
}

static void a_late_slice_can_be_extended(void **state)
{
    (void)state;
    struct stretch *s = start(200 * SKINK_MS, 0, 0);
    post(s, extend_late);
    test_wait_until(atomic_load(&s->result) != UNSET, 5000);
    assert_int_equal(atomic_load(&s->result), 0);
    assert_int_equal(fixture_stats(&s->f).deadlocks, 0);
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

static void extend_and_suspend(void *arg)
{
    struct stretch *s = arg;
    int err = skink_slice_extend(60 * SKINK_S);
    if (!err) err = skink_yield();
    atomic_fetch_add(&s->begun, 1);
    wait_for(&s->release);
    err = skink_checkpoint();
    atomic_store(&s->result, err);
}

static void the_next_slice_has_its_usual_time(void **state)
{
    (void)state;
    struct stretch *s = start(100 * SKINK_MS, 0, 0);
    post(s, extend_and_suspend);
    test_wait_until(atomic_load(&s->begun) == 1, 5000);
    test_wait_until(fixture_stats(&s->f).deadlocks == 1, 5000);
    sem_post(&s->release);
    test_wait_until(atomic_load(&s->result) == 0, 5000);
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

static void block_extended(void *arg)
{
    struct stretch *s = arg;
    atomic_store(&s->begun_ns, test_now_ns());
    int err = skink_slice_extend(100 * SKINK_MS);
    atomic_fetch_add(&s->begun, 1);
    wait_for(&s->release);
    if (skink_checkpoint()) err = -EIO;
    atomic_store(&s->result, err);
}

static void an_extended_slice_is_declared_in_the_end(void **state)
{
    (void)state;
    struct stretch *s = start(100 * SKINK_MS, 0, 0);
    post(s, block_extended);
    test_wait_until(atomic_load(&s->begun) == 1, 5000);
    test_wait_until(fixture_stats(&s->f).deadlocks == 1, 5000);
    assert_true(test_now_ns() - atomic_load(&s->begun_ns) >= test_ms(190));
    sem_post(&s->release);
    test_wait_until(atomic_load(&s->result) == 0, 5000);
    assert_int_equal(fixture_stop(&s->f), 0);
    finish(s);
}

/* ---- the bell; the test is the watchdog ---- */

static bool is_readable(int fd)
{
    struct pollfd entry = { .fd = fd, .events = POLLIN };
    return poll(&entry, 1, 0) == 1;
}

struct ringer {
    struct skink__doorbell *bell;
    int eventfd;
    _Atomic bool ended;
};

static void hang(struct ringer *r)
{
    uint64_t count;
    (void)!read(r->eventfd, &count, sizeof count);
    skink__doorbell_hang_by_exchange(r->bell, r->eventfd);
}

static void stretch_with_calls(void *arg)
{
    struct ringer *r = arg;
    hang(r);
    assert_int_equal(skink_blocking_begin(), 0);
    assert_true(is_readable(r->eventfd));
    hang(r);
    assert_int_equal(skink_checkpoint(), 0); /* the same slice */
    assert_false(is_readable(r->eventfd));
    assert_int_equal(skink_sleep(SKINK_MS), 0);
    assert_true(is_readable(r->eventfd));
    hang(r);
    assert_int_equal(skink_yield(), 0);
    assert_true(is_readable(r->eventfd));
    hang(r);
    assert_int_equal(skink_blocking_end(), 0);
    assert_false(is_readable(r->eventfd));
    atomic_store(&r->ended, true);
}

/* Goal: a stretch that goes on after a call is noticed as one that begins, though others have run in between. */
static void a_stretch_rings_for_each_of_its_slices(void **state)
{
    (void)state;
    skink_scheduler *scheduler;
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    assert_int_equal(skink_scheduler_start(scheduler), 0);
    struct ringer r = { .bell = skink__scheduler_blocking_bell(scheduler), .eventfd = eventfd(0, EFD_NONBLOCK) };
    assert_int_equal(skink_post(scheduler, stretch_with_calls, &r), 0);
    test_wait_until(atomic_load(&r.ended), 5000);
    skink_scheduler_destroy(scheduler);
    close(r.eventfd);
}

/* Goal: the watchdog does not go back to its long sleep before the next stretch can wake it.
 * | stretch   | watchdog                           |
 * | rings     |                                    |
 * | ends      | looks, a few times in a short time |
 * |           | hangs the bell, looks once more    |
 * |           | looks at long intervals            | */
static void who_looks_seldom_has_hung_the_bell(void **state)
{
    (void)state;
    skink_scheduler *scheduler;
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    skink_recovery *recovery = calloc(1, sizeof *recovery);
    SKINK__ASSUME(skink__recovery_mutex); /* nobody else knows it */
    recovery->wakeup_fd = eventfd(0, EFD_NONBLOCK);
    recovery->blocking_grace_ns = SKINK_MS;
    recovery->max_blocking = 1;
    struct skink__subject subject = { .role = SKINK__SUBJECT_WATCHED };
    struct skink__watch watch = { .scheduler = scheduler, .subject = &subject };
    uint64_t next_ns = 0;
    for (int round = 0; round < 3; round++) {
        for (int looks = 0; next_ns != SKINK__NEVER; looks++) {
            assert_true(looks < 10);
            skink__blocking_listen(recovery, &watch);
            assert_false(skink__blocking_look(recovery, &watch, 1, false, &next_ns));
        }
        assert_true(watch.blocking_bell_hung);
        skink__doorbell_ring_at_once(skink__scheduler_blocking_bell(scheduler));
        next_ns = 0;
    }
    skink_scheduler_destroy(scheduler);
    close(recovery->wakeup_fd);
    free(recovery);
}

/* Goal: each stretch has the whole grace, though a slice may have several. */
static void a_look_between_two_stretches_of_a_slice_parts_them(void **state)
{
    (void)state;
    skink_recovery recovery = { .blocking_grace_ns = 3600 * SKINK_S };
    struct skink__subject subject = { .blocking_slice = 0 };
    struct skink__watch watch = { .subject = &subject };
    uint64_t next_ns;
    skink__recovery_lock(&recovery);
    assert_true(skink__blocking_look(&recovery, &watch, 7, true, &next_ns));
    assert_int_equal(next_ns, subject.blocking_since_ns + recovery.blocking_grace_ns);
    subject.blocking_since_ns = 1; /* a while ago */
    assert_false(skink__blocking_look(&recovery, &watch, 7, false, &next_ns));
    assert_true(skink__blocking_look(&recovery, &watch, 7, true, &next_ns));
    assert_true(next_ns > recovery.blocking_grace_ns + 1);
    skink__recovery_unlock(&recovery);
}

static const struct test_case cases[] = {
    CASE(a_look_between_two_stretches_of_a_slice_parts_them),
    CASE(a_stretch_rings_for_each_of_its_slices),
    CASE(who_looks_seldom_has_hung_the_bell),
    CASE(the_loop_goes_on_after_the_grace_and_the_task_comes_back),
    CASE_TIMED(it_takes_a_few_milliseconds, 20),
    CASE(within_the_grace_the_loop_is_not_handed_on),
    CASE(a_timeout_without_end_is_no_stretch),
    CASE(stretches_shorter_than_the_grace_stay_where_they_are),
    CASE(outside_of_stretches_a_task_is_alone),
    CASE(stretches_nest),
    CASE(a_task_may_block_for_its_own_loop_in_a_stretch),
    CASE(past_the_bound_the_timeout_holds),
    CASE(a_stop_waits_for_the_end_of_a_stretch),
    CASE(a_stretch_that_does_not_end_cannot_hold_up_a_stop),
    CASE(a_stretch_that_ends_past_the_deadline_of_a_stop_is_cancelled),
    CASE(a_task_that_ends_in_a_stretch_ends_it),
    CASE(an_extended_slice_may_take_longer),
    CASE(a_late_slice_can_be_extended),
    CASE(the_next_slice_has_its_usual_time),
    CASE(an_extended_slice_is_declared_in_the_end),
};
TEST_MAIN(cases, NULL, NULL)
