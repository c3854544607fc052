/* SPDX-License-Identifier: MIT */
/* What each thread is; and with that, a deadlock between a loop thread and a worker of the pool, told
 * as an operator reads it. */
#include "loop/takeover.h"
#include "loop/thread_roles.h"
#include "recovery/roster.h"
#include "tests/recovery/fixture.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct skink__symbols *symbols;

static pid_t own_tid(void)
{
    return (pid_t)syscall(SYS_gettid);
}

static struct skink__roster_entry find(struct fixture *f, pid_t tid)
{
    struct skink__roster roster;
    struct skink__thread_view view;
    assert_int_equal(skink__roster_init(&roster, f->recovery, f->scheduler), 0);
    skink__thread_view_read(symbols, tid, &view);
    struct skink__roster_entry entry = skink__roster_find(&roster, symbols, tid, &view);
    skink__roster_fini(&roster);
    return entry;
}

static void assert_role(struct fixture *f, pid_t tid, enum skink__thread_role role, const char *text)
{
    struct skink__roster_entry entry = find(f, tid);
    char told[96];
    assert_string_equal(skink__thread_role_name(entry.role), skink__thread_role_name(role));
    assert_string_equal(skink__roster_text(&entry, told, sizeof told), text);
}

static pid_t loop_tid(struct fixture *f)
{
    struct skink__thread *thread = skink__scheduler_thread(f->scheduler);
    pid_t tid = skink__thread_tid(thread);
    skink__thread_unref(thread);
    return tid;
}

static void each_thread_of_skink_is_known(void **state)
{
    (void)state;
    struct fixture f;
    assert_int_equal(skink__symbols_create(&symbols), 0);
    fixture_start(&f, NULL);
    assert_true(loop_is_alive(&f, 5000));
    assert_role(&f, loop_tid(&f), SKINK__ROLE_LOOP, "loop thread of loop, generation 1");
    /* Each has its name a moment before it says what it is. */
    const char *const names[] = { "skink-watchdog", "skink-standby", "skink-report" };
    for (size_t i = 0; i < 3; i++)
        test_wait_until(thread_named(names[i]) && skink__thread_role(thread_named(names[i])), 5000);
    assert_role(&f, thread_named("skink-watchdog"), SKINK__ROLE_WATCHDOG, "watchdog");
    assert_role(&f, thread_named("skink-standby"), SKINK__ROLE_STANDBY, "standby thread");
    assert_role(&f, thread_named("skink-report"), SKINK__ROLE_HELPER, "helper thread of skink");
    assert_role(&f, own_tid(), SKINK__ROLE_OTHER, "other thread");
    fixture_stop(&f);
    skink__symbols_destroy(symbols);
}

static void a_stray_is_known_by_its_incident(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    assert_int_equal(skink__symbols_create(&symbols), 0);
    fixture_start(&f, NULL);
    stuck_get_told(&f, &s);
    char expected[96];
    snprintf(expected, sizeof expected, "stray of incident %s", f.last.id);
    assert_role(&f, atomic_load(&s.started_tid), SKINK__ROLE_STRAY, expected);
    assert_role(&f, loop_tid(&f), SKINK__ROLE_LOOP, "loop thread of loop, generation 2");
    stuck_end(&s);
    fixture_stop(&f);
    skink__symbols_destroy(symbols);
}

/* In whatever order they return: those that have not are on the list still. */
static void strays_that_return_leave_the_others_known(void **state)
{
    (void)state;
    enum { STRAYS = 4 };
    static const int order[STRAYS] = { 1, 3, 0, 2 };
    struct fixture f;
    struct stuck s[STRAYS];
    bool gone[STRAYS] = { false };
    assert_int_equal(skink__symbols_create(&symbols), 0);
    fixture_start(&f, NULL);
    for (int i = 0; i < STRAYS; i++)
        stuck_get_declared(&f, &s[i]);
    for (int i = 0; i < STRAYS; i++) {
        gone[order[i]] = true;
        stuck_release(&s[order[i]]);
        test_wait_until(fixture_stats(&f).strays == STRAYS - 1 - (uint64_t)i, 10000);
        for (int j = 0; j < STRAYS; j++)
            if (!gone[j]) assert_int_equal(find(&f, atomic_load(&s[j].started_tid)).role, SKINK__ROLE_STRAY);
    }
    assert_int_equal(fixture_stats(&f).oldest_stray_ns, 0);
    fixture_stop(&f);
    skink__symbols_destroy(symbols);
}

static void *know_oneself(void *arg)
{
    skink__thread_role_set("watchdog");
    atomic_store((_Atomic pid_t *)arg, own_tid());
    return NULL;
}

static void a_thread_that_has_ended_is_forgotten(void **state)
{
    (void)state;
    for (int i = 0; i < 3000; i++) { /* more than there are places */
        pthread_t thread;
        _Atomic pid_t tid = 0;
        assert_int_equal(pthread_create(&thread, NULL, know_oneself, &tid), 0);
        pthread_join(thread, NULL);
        if (i % 500 == 0) assert_null(skink__thread_role(tid));
    }
    skink__thread_role_set("standby");
    assert_string_equal(skink__thread_role(own_tid()), "standby");
}

/* | task on the loop thread  | work on the pool |
 * | locks A                  | locks B          |
 * | locks B: blocked         | locks A: blocked | */
struct deadlock {
    pthread_mutex_t a, b;
    _Atomic pid_t task_tid, worker_tid;
    _Atomic bool worker_has_b, go;
};

static void *lock_b_then_a(void *arg)
{
    struct deadlock *d = arg;
    atomic_store(&d->worker_tid, own_tid());
    pthread_mutex_lock(&d->b);
    atomic_store(&d->worker_has_b, true);
    while (!atomic_load(&d->go))
        usleep(100);
    pthread_mutex_lock(&d->a);
    pthread_mutex_unlock(&d->a);
    pthread_mutex_unlock(&d->b);
    return NULL;
}

static void lock_a_then_b(void *arg)
{
    struct deadlock *d = arg;
    pthread_mutex_lock(&d->a);
    while (!atomic_load(&d->worker_has_b))
        usleep(100);
    atomic_store(&d->go, true);
    atomic_store(&d->task_tid, own_tid());
    pthread_mutex_lock(&d->b);
    pthread_mutex_unlock(&d->b);
    pthread_mutex_unlock(&d->a);
}

static void a_deadlock_of_loop_and_pool_is_told_as_a_cycle(void **state)
{
    (void)state;
    if (TEST_TSAN) test_skip("ThreadSanitizer reports the inversion itself");
    static struct fixture f;
    static struct deadlock d = { .a = PTHREAD_MUTEX_INITIALIZER, .b = PTHREAD_MUTEX_INITIALIZER };
    assert_int_equal(skink__symbols_create(&symbols), 0);
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = 500 * SKINK_MS;
    fixture_start(&f, &options);
    skink_future *work;
    assert_int_equal(skink_offload_start(f.scheduler, lock_b_then_a, &d, &work), 0);
    assert_int_equal(skink_spawn(f.scheduler, NULL, NULL, lock_a_then_b, &d), 0);
    test_wait_until(atomic_load(&d.task_tid) != 0, 5000);

    static struct skink__lock_chain chain;
    test_wait_until((skink__lock_chain_read(symbols, d.task_tid, &chain), chain.cycle), 5000);
    assert_int_equal(chain.count, 2);
    assert_int_equal(chain.cycle_begin, 0);
    assert_int_equal(chain.threads[0].wait.address, (uintptr_t)&d.b);
    assert_int_equal(chain.threads[1].wait.address, (uintptr_t)&d.a);
    assert_int_equal(chain.threads[1].tid, d.worker_tid);
    assert_role(&f, d.worker_tid, SKINK__ROLE_WORKER, "pool worker");

    test_wait_until(atomic_load(&f.incidents) == 1, 5000);
    assert_int_equal(find(&f, d.task_tid).role, SKINK__ROLE_STRAY);
    skink__lock_chain_read(symbols, d.worker_tid, &chain); /* from the other side */
    assert_int_equal(chain.count, 2);
    assert_true(chain.cycle);
    assert_int_equal(chain.threads[1].tid, d.task_tid);
    _exit(0); /* nobody can end it */
}

static const struct test_case cases[] = {
    CASE(each_thread_of_skink_is_known),
    CASE(a_stray_is_known_by_its_incident),
    CASE(strays_that_return_leave_the_others_known),
    CASE(a_thread_that_has_ended_is_forgotten),
    CASE(a_deadlock_of_loop_and_pool_is_told_as_a_cycle),
};
TEST_MAIN(cases, NULL, NULL)
