/* SPDX-License-Identifier: MIT */
/* No thread can be created, or creating one takes for ever: nothing is lost, health says so, and recovery goes on as
 * soon as there is one. */
#include "tests/recovery/fixture.h"
#include "tests/support/process.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The linker sends every call of pthread_create() here (cmake/SkinkTest.cmake). */
static _Atomic bool threads_fail;
static _Atomic bool threads_hang; /* as when somebody holds the loader's locks */
static _Atomic int hanging;
static _Atomic bool threads_late; /* as when the kernel lets others go first */
static _Atomic int late;
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *), void *arg);

struct late_thread {
    void *(*main)(void *arg);
    void *arg;
};

static void *late_main(void *arg)
{
    struct late_thread thread = *(struct late_thread *)arg;
    free(arg);
    atomic_fetch_add(&late, 1);
    while (atomic_load(&threads_late))
        test_nap();
    return thread.main(thread.arg);
}

static int create_late(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *), void *arg)
{
    struct late_thread *given = malloc(sizeof *given);
    if (!given) return EAGAIN;
    *given = (struct late_thread){ .main = main, .arg = arg };
    return __real_pthread_create(thread, attributes, late_main, given);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *), void *arg)
{
    if (atomic_load(&threads_late)) return create_late(thread, attributes, main, arg);
    if (atomic_load(&threads_fail)) return EAGAIN;
    if (atomic_load(&threads_hang)) {
        atomic_fetch_add(&hanging, 1);
        while (atomic_load(&threads_hang))
            test_nap();
        atomic_fetch_sub(&hanging, 1);
    }
    return __real_pthread_create(thread, attributes, main, arg);
}

static int setup(void **state)
{
    (void)state;
    atomic_store(&threads_fail, false);
    atomic_store(&threads_hang, false);
    atomic_store(&threads_late, false);
    atomic_store(&late, 0);
    return 0;
}

static void start(struct fixture *f)
{
    fixture_start_timeout(f, 20 * SKINK_MS);
}

/* Get one more slice stuck, and wait until a standby has taken the loop over. */
static void get_taken_over(struct fixture *f, struct stuck *s)
{
    uint64_t before = fixture_stats(f).takeovers;
    stuck_init(s);
    stuck_spawn(f, s);
    test_wait_until(fixture_stats(f).takeovers == before + 1, 5000);
}

static void create_says_that_it_has_no_threads(void **state)
{
    (void)state;
    skink_recovery *recovery = NULL;
    int fds = test_fd_count(0);
    atomic_store(&threads_fail, true);
    assert_int_equal(skink_recovery_create(NULL, &recovery), -EAGAIN);
    assert_null(recovery);
    assert_int_equal(test_fd_count(0), fds);
}

/*
 * | slice | standby | what happens                                  |
 * | first | 1       | taken over; none can be created for the next  |
 * | second| 0       | stays on the loop; what is queued waits       |
 * |       | 1 again | taken over; what was queued runs              |
 */
static void without_a_standby_nothing_is_done_until_there_is_one(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s[2];
    start(&f);
    atomic_store(&threads_fail, true);
    get_taken_over(&f, &s[0]);
    uint64_t begun_ns = skink_now() - SKINK_S; /* it has tried since, and before it is seen here */
    test_wait_until(skink_recovery_health(f.recovery) == SKINK_HEALTH_NO_STANDBY, 5000);
    stuck_init(&s[1]);
    stuck_spawn(&f, &s[1]);
    test_wait_until(atomic_load(&s[1].started_ns) != 0, 5000);
    assert_true(loop_stands_still(&f, 300));
    skink_recovery_stats stats = fixture_stats(&f);
    assert_int_equal(stats.deadlocks, 1);
    assert_int_equal(stats.strays, 1);
    assert_int_equal(stats.standby_threads, 0);
    assert_true(stats.standby_failures >= 2);                                         /* it keeps trying, */
    assert_true(stats.standby_failures < (skink_now() - begun_ns) / (50 * SKINK_MS)); /* but not all the time */

    atomic_store(&threads_fail, false);
    test_wait_until(fixture_stats(&f).takeovers == 2, 5000);
    assert_true(loop_is_alive(&f, 5000));
    test_wait_until(skink_recovery_health(f.recovery) == SKINK_HEALTH_OK, 5000);
    for (int i = 0; i < 2; i++)
        stuck_end(&s[i]);
    assert_int_equal(fixture_stop(&f), 0);
}

/* Nobody wakes the watchdog then, so it may not rest before. */
static void a_standby_is_made_while_all_loops_sleep(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    start(&f);
    atomic_store(&threads_fail, true);
    get_taken_over(&f, &s);
    stuck_end_all(&f, &s, 1);
    uint64_t failures = fixture_stats(&f).standby_failures;
    test_wait_until(fixture_stats(&f).standby_failures > failures + 2, 5000);
    atomic_store(&threads_fail, false);
    test_wait_until(fixture_stats(&f).standby_threads == 1, 5000);
    assert_int_equal(fixture_stop(&f), 0);
}

static void slice_that_comes_free_before_a_standby_is_there_just_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s[2];
    start(&f);
    atomic_store(&threads_fail, true);
    get_taken_over(&f, &s[0]);
    stuck_init(&s[1]);
    stuck_spawn(&f, &s[1]);
    test_wait_until(fixture_stats(&f).current_slice_ns > 100 * SKINK_MS, 5000);
    stuck_end(&s[1]);
    assert_int_equal(atomic_load(&s[1].started_tid), atomic_load(&s[1].ended_tid));
    atomic_store(&threads_fail, false);
    stuck_end(&s[0]);
    assert_int_equal(fixture_stats(&f).deadlocks, 1);
    assert_int_equal(fixture_stop(&f), 0);
}

static void several_standbys_serve_several_takeovers_without_new_threads(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s[3];
    skink_recovery_options options = { .deadlock_timeout_ns = 20 * SKINK_MS, .standby_threads = 3 };
    fixture_start(&f, &options);
    assert_int_equal(fixture_stats(&f).standby_threads, 3);
    atomic_store(&threads_fail, true);
    for (int i = 0; i < 3; i++) {
        stuck_init(&s[i]);
        stuck_spawn(&f, &s[i]);
    }
    test_wait_until(fixture_stats(&f).takeovers == 3, 5000);
    assert_true(loop_is_alive(&f, 5000));
    atomic_store(&threads_fail, false);
    for (int i = 0; i < 3; i++)
        stuck_end(&s[i]);
    assert_int_equal(fixture_stop(&f), 0);
}

/*
 * | slice | standby                    | what happens                     |
 * | first | 1                          | taken over                       |
 * | second| 1, which has not run yet   | stays on the loop                |
 * |       | 1, ready                   | taken over                       |
 */
static void a_standby_that_is_not_ready_is_none(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s[2];
    start(&f);
    atomic_store(&threads_late, true);
    for (int i = 0; i < 2; i++) {
        stuck_init(&s[i]);
        stuck_spawn(&f, &s[i]);
        test_wait_until(atomic_load(&s[i].started_ns) != 0 && atomic_load(&late) == 1, 5000);
    }
    assert_true(loop_stands_still(&f, 200));
    assert_int_equal(fixture_stats(&f).deadlocks, 1);
    assert_int_equal(fixture_stats(&f).standby_threads, 0);
    assert_int_equal(skink_recovery_health(f.recovery), SKINK_HEALTH_NO_STANDBY);
    atomic_store(&threads_late, false);
    test_wait_until(fixture_stats(&f).takeovers == 2, 5000);
    assert_true(loop_is_alive(&f, 5000));
    for (int i = 0; i < 2; i++)
        stuck_end(&s[i]);
    assert_int_equal(fixture_stop(&f), 0);
}

/*
 * | slice | standbys      | what happens                                                       |
 * | first | 2             | taken over; the thread in its place is never done being created    |
 * | second| 1             | the watchdog is there: taken over                                  |
 * |       | creating ends | there are two again                                                |
 */
static void a_thread_that_is_created_for_ever_holds_up_no_watchdog(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s[2];
    skink_recovery_options options = { .deadlock_timeout_ns = 20 * SKINK_MS, .standby_threads = 2 };
    fixture_start(&f, &options);
    atomic_store(&threads_hang, true);
    for (int i = 0; i < 2; i++) {
        get_taken_over(&f, &s[i]);
        test_wait_until(atomic_load(&hanging) == 1, 5000);
        assert_int_equal(skink_recovery_ping(f.recovery, test_deadline_ns(5000)), 0);
        assert_true(loop_is_alive(&f, 5000));
    }
    test_wait_until(skink_recovery_health(f.recovery) == SKINK_HEALTH_NO_STANDBY, 5000);
    atomic_store(&threads_hang, false);
    test_wait_until(fixture_stats(&f).standby_threads == 2, 5000);
    assert_int_equal(skink_recovery_health(f.recovery), SKINK_HEALTH_OK);
    for (int i = 0; i < 2; i++)
        stuck_end(&s[i]);
    assert_int_equal(fixture_stop(&f), 0);
}

/* And the end does not wait for it: the maker keeps what it needs, and lets go of it when it can. */
static void a_thread_that_is_created_for_ever_holds_up_no_end(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    warm_up();
    int threads = test_thread_count(0);
    start(&f);
    atomic_store(&threads_hang, true);
    stuck_init(&s);
    stuck_spawn(&f, &s);
    test_wait_until(atomic_load(&hanging) == 1, 5000);
    stuck_end(&s);
    assert_int_equal(fixture_stop(&f), 0);
    test_wait_until(test_thread_count(0) == threads + 1, 5000);
    atomic_store(&threads_hang, false);
    test_wait_until(test_thread_count(0) == threads, 5000);
}

/* ---- the real limit, as a user whom it binds; in a process of its own, since there is no way back ---- */

enum { NOBODY = 65534 };

static void limit_threads(bool on)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NPROC, &limit) != 0) _exit(90);
    limit.rlim_cur = on ? 1 : limit.rlim_max;
    if (setrlimit(RLIMIT_NPROC, &limit) != 0) _exit(91);
}

static bool wait_for(bool (*condition)(struct fixture *f), struct fixture *f)
{
    uint64_t deadline = test_deadline_ns(10000);
    while (!condition(f) && test_now_ns() < deadline)
        test_nap();
    return condition(f);
}

static bool has_no_standby(struct fixture *f)
{
    return skink_recovery_health(f->recovery) == SKINK_HEALTH_NO_STANDBY;
}

static bool is_well(struct fixture *f)
{
    return skink_recovery_health(f->recovery) == SKINK_HEALTH_OK;
}

static bool has_recovered_twice(struct fixture *f)
{
    return fixture_stats(f).takeovers == 2;
}

static bool has_no_stray(struct fixture *f)
{
    return fixture_stats(f).strays == 0;
}

static int live_under_the_limit(void)
{
    struct fixture f;
    struct stuck s[2];
    if (getuid() == 0 && (setresgid(NOBODY, NOBODY, NOBODY) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0)) return 10;
    start(&f);
    limit_threads(true);
    stuck_init(&s[0]);
    stuck_init(&s[1]);
    stuck_spawn(&f, &s[0]);
    if (!wait_for(has_no_standby, &f)) return 11;
    stuck_spawn(&f, &s[1]);
    if (!loop_stands_still(&f, 200)) return 12;
    limit_threads(false);
    if (!wait_for(has_recovered_twice, &f)) return 13;
    if (!loop_is_alive(&f, 5000)) return 14;
    if (!wait_for(is_well, &f)) return 15;
    stuck_release(&s[0]);
    stuck_release(&s[1]);
    if (!wait_for(has_no_stray, &f)) return 17;
    return fixture_stop(&f) == 0 ? 0 : 16;
}

static void process_at_its_thread_limit_recovers_when_that_is_lifted(void **state)
{
    (void)state;
    if (TEST_TSAN) test_skip("ThreadSanitizer's own threads are caught by the limit");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(live_under_the_limit());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static const struct test_case cases[] = {
    CASE(create_says_that_it_has_no_threads),
    CASE(without_a_standby_nothing_is_done_until_there_is_one),
    CASE(a_standby_is_made_while_all_loops_sleep),
    CASE(slice_that_comes_free_before_a_standby_is_there_just_goes_on),
    CASE(a_standby_that_is_not_ready_is_none),
    CASE(a_thread_that_is_created_for_ever_holds_up_no_watchdog),
    CASE(a_thread_that_is_created_for_ever_holds_up_no_end),
    CASE(several_standbys_serve_several_takeovers_without_new_threads),
    CASE_TIMEOUT(process_at_its_thread_limit_recovers_when_that_is_lifted, 40),
};
TEST_MAIN(cases, setup, NULL)
