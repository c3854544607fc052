/* SPDX-License-Identifier: MIT */
/* tests/loop/test_hot_path.c - what slices do without: clock readings, locks, allocations;
 * while a recovery watches, too. */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { TASKS = 64, ROUNDS = 2000, WARM_UP = 100, POSTS = TASKS * ROUNDS };

/* Of the loop thread alone, and of our own code: libuv reads its clock once a turn. */
static _Thread_local bool on_loop;
static long clock_readings, locks, allocations;

int __real_clock_gettime(clockid_t clock, struct timespec *ret_now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    if (on_loop) clock_readings++;
    return __real_clock_gettime(clock, ret_now);
}

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (on_loop) locks++;
    return __real_pthread_mutex_lock(mutex);
}

static void *allocate(size_t size_bytes, void *arg)
{
    (void)arg;
    if (on_loop) allocations++;
    return malloc(size_bytes);
}

static void *reallocate(void *memory, size_t size_bytes, void *arg)
{
    (void)arg;
    if (on_loop) allocations++;
    return realloc(memory, size_bytes);
}

static void release(void *memory, void *arg)
{
    (void)arg;
    free(memory);
}

struct fixture {
    skink_scheduler *scheduler;
    skink_recovery *recovery;
    int living;
    long left;
    uint64_t slices;
    _Atomic bool ended;
};

static uint64_t slices_of(skink_scheduler *scheduler)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    if (skink_scheduler_stats_read(scheduler, &stats)) abort();
    return stats.slices;
}

static void begin_counting(struct fixture *f)
{
    f->slices = slices_of(f->scheduler);
    clock_readings = locks = allocations = 0;
    on_loop = true;
}

static void end_counting(struct fixture *f)
{
    long before = clock_readings;
    (void)skink_now();
    if (clock_readings != before + 1) abort(); /* nothing would have been counted */
    on_loop = false;
    f->slices = slices_of(f->scheduler) - f->slices;
    atomic_store(&f->ended, true);
}

/* Once for the process. */
static void set_hooks(void)
{
    static bool set;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.allocate = allocate;
    hooks.reallocate = reallocate;
    hooks.release = release;
    if (!set) assert_int_equal(skink_hooks_set(&hooks), 0);
    set = true;
}

static void start(struct fixture *f, bool watched)
{
    *f = (struct fixture){ 0 };
    set_hooks();
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    if (watched) {
        assert_int_equal(skink_recovery_create(NULL, &f->recovery), 0);
        assert_int_equal(skink_recovery_watch(f->recovery, f->scheduler), 0);
    }
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
}

/* A turn of the loop is 256 slices at most; what is counted once a turn is no cost of a slice. */
static void check(struct fixture *f, uint64_t slices_least)
{
    test_wait_until(atomic_load(&f->ended), 20000);
    print_message("%llu slices: %ld readings of the clock, %ld locks, %ld allocations\n", (unsigned long long)f->slices,
                  clock_readings, locks, allocations);
    assert_true(f->slices >= slices_least);
    assert_in_range(clock_readings, 0, f->slices / 50);
    assert_in_range(locks, 0, f->slices / 50);
    assert_int_equal(allocations, 0);
    skink_scheduler_destroy(f->scheduler);
    skink_recovery_destroy(f->recovery);
}

static void yield_often(void *arg)
{
    struct fixture *f = arg;
    bool first = f->living++ == 0;
    for (int i = 0; i < ROUNDS; i++) {
        if (first && i == WARM_UP) begin_counting(f);
        if (skink_yield()) abort();
    }
    if (first) end_counting(f);
}

/* On the loop, so that all of them are there before the first one runs. */
static void post_all(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < TASKS; i++)
        if (skink_post(f->scheduler, yield_often, f)) abort();
}

static void resumed(void **state, bool watched)
{
    struct fixture f;
    (void)state;
    start(&f, watched);
    assert_int_equal(skink_post(f.scheduler, post_all, &f), 0);
    check(&f, (uint64_t)TASKS * (ROUNDS - WARM_UP - 1));
}

static void a_task_that_is_resumed(void **state)
{
    resumed(state, false);
}

static void a_task_that_is_resumed_under_watch(void **state)
{
    resumed(state, true);
}

static void post_again(void *arg)
{
    struct fixture *f = arg;
    if (f->left == POSTS - POSTS / 10) begin_counting(f);
    if (--f->left == 0)
        end_counting(f);
    else if (f->left > 0 && skink_post(f->scheduler, post_again, f))
        abort();
}

static void a_task_that_is_posted_and_ends_under_watch(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, true);
    f.left = POSTS;
    for (int i = 0; i < TASKS; i++)
        assert_int_equal(skink_post(f.scheduler, post_again, &f), 0);
    check(&f, POSTS / 10 * 8);
}

static const struct test_case cases[] = {
    CASE_PLAIN(a_task_that_is_resumed, 40),
    CASE_PLAIN(a_task_that_is_resumed_under_watch, 40),
    CASE_PLAIN(a_task_that_is_posted_and_ends_under_watch, 40),
};
TEST_MAIN(cases, NULL, NULL)
