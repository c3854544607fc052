/* SPDX-License-Identifier: MIT */
/*
 * Who holds what a thread waits for: each kind of lock that has an owner, each that has none, chains and cycles.
 *
 * The pattern of most cases: the case's own thread (or a holder) has a lock, a waiter blocks on it, and the waiter is
 * looked at from outside until the kernel says that it sleeps.
 */
#include "recovery/lock_owner.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct skink__symbols *symbols;

static int setup(void **state)
{
    (void)state;
    return skink__symbols_create(&symbols);
}

static int teardown(void **state)
{
    (void)state;
    skink__symbols_destroy(symbols);
    return 0;
}

static pid_t own_tid(void)
{
    return (pid_t)syscall(SYS_gettid);
}

/* ---- threads that block ---- */

struct waiter {
    pthread_t thread;
    _Atomic pid_t tid;
    void (*block)(void *object);   /* returns with the lock, or after the wait */
    void (*unblock)(void *object); /* what the waiter does then; NULL: nothing */
    void *object;
};

static void *waiter_main(void *arg)
{
    struct waiter *w = arg;
    atomic_store(&w->tid, own_tid());
    w->block(w->object);
    if (w->unblock) w->unblock(w->object);
    return NULL;
}

static void waiter_start(struct waiter *w, void (*block)(void *object), void (*unblock)(void *object), void *object)
{
    *w = (struct waiter){ .block = block, .unblock = unblock, .object = object };
    assert_int_equal(pthread_create(&w->thread, NULL, waiter_main, w), 0);
    test_wait_until(atomic_load(&w->tid) != 0, 5000);
}

/* Look until it is seen waiting in this way; what is seen before must never name an owner that is not `owner`. */
static struct skink__thread_view see(pid_t tid, enum skink__wait_kind kind, pid_t owner)
{
    struct skink__thread_view view;
    uint64_t deadline = test_now_ns() + test_ms(5000);
    do {
        skink__thread_view_read(symbols, tid, &view);
        if (view.wait.owner && view.wait.owner != owner) fail_msg("owner %d, not %d", view.wait.owner, owner);
        if (view.wait.kind == kind && view.wait.owner == owner) return view;
        test_nap();
    } while (test_now_ns() < deadline);
    for (size_t i = 0; i < view.pc_count; i++) {
        struct skink__frame frames[8];
        size_t count = skink__symbols_find(symbols, view.pcs[i], frames, 8);
        for (size_t k = 0; k < count; k++)
            print_error("  %s %s\n", frames[k].function, skink__symbols_module(symbols, view.pcs[i]));
    }
    fail_msg("kind %s owner %d; expected %s and %d", skink__wait_kind_name(view.wait.kind), view.wait.owner,
             skink__wait_kind_name(kind), owner);
    return view;
}

static void mutex_block(void *object)
{
    assert_int_equal(pthread_mutex_lock(object), 0);
}

static void mutex_unblock(void *object)
{
    pthread_mutex_unlock(object);
}

/* ---- mutexes ---- */

static void a_mutex_of(int type, int protocol, int robust)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, type);
    pthread_mutexattr_setprotocol(&attributes, protocol);
    pthread_mutexattr_setrobust(&attributes, robust);
    pthread_mutex_t mutex;
    assert_int_equal(pthread_mutex_init(&mutex, &attributes), 0);
    pthread_mutexattr_destroy(&attributes);
    int err = pthread_mutex_lock(&mutex);
    if (err == ENOTSUP) test_skip("this kernel has no priority inheritance");
    assert_int_equal(err, 0);
    struct waiter w;
    waiter_start(&w, mutex_block, mutex_unblock, &mutex);
    struct skink__thread_view view = see(w.tid, SKINK__WAIT_MUTEX, own_tid());
    assert_int_equal(view.wait.address, (uintptr_t)&mutex);
    pthread_mutex_unlock(&mutex);
    pthread_join(w.thread, NULL);
    pthread_mutex_destroy(&mutex);
}

static void the_owner_of_a_default_mutex_is_found(void **state)
{
    (void)state;
    a_mutex_of(PTHREAD_MUTEX_DEFAULT, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED);
}

static void the_owner_of_a_recursive_mutex_is_found(void **state)
{
    (void)state;
    a_mutex_of(PTHREAD_MUTEX_RECURSIVE, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED);
}

static void the_owner_of_an_error_checking_mutex_is_found(void **state)
{
    (void)state;
    a_mutex_of(PTHREAD_MUTEX_ERRORCHECK, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED);
}

static void the_owner_of_an_adaptive_mutex_is_found(void **state)
{
    (void)state;
    a_mutex_of(PTHREAD_MUTEX_ADAPTIVE_NP, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED);
}

static void the_owner_of_a_priority_inheriting_mutex_is_found(void **state)
{
    (void)state;
    a_mutex_of(PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED);
}

static void the_owner_of_a_robust_mutex_is_found(void **state)
{
    (void)state;
    a_mutex_of(PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST);
}

static void mutex_block_for_a_while(void *object)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    assert_int_equal(pthread_mutex_timedlock(object, &until), 0);
}

static void the_owner_is_found_for_a_wait_with_a_time_limit(void **state)
{
    (void)state;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    struct waiter w;
    waiter_start(&w, mutex_block_for_a_while, mutex_unblock, &mutex);
    see(w.tid, SKINK__WAIT_MUTEX, own_tid());
    pthread_mutex_unlock(&mutex);
    pthread_join(w.thread, NULL);
}

static void *lock_and_end(void *arg)
{
    pthread_mutex_lock(arg);
    return NULL;
}

static void a_mutex_whose_owner_has_ended_has_no_owner(void **state)
{
    (void)state;
    if (TEST_TSAN) test_skip("ThreadSanitizer reports a mutex that its thread takes to the grave");
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_t dead;
    assert_int_equal(pthread_create(&dead, NULL, lock_and_end, &mutex), 0);
    pthread_join(dead, NULL);
    static struct waiter w; /* it stays blocked until the process ends */
    waiter_start(&w, mutex_block, NULL, &mutex);
    see(w.tid, SKINK__WAIT_MUTEX, 0);
    for (int i = 0; i < 50; i++)
        see(w.tid, SKINK__WAIT_MUTEX, 0);
    pthread_detach(w.thread);
}

/* ---- read-write locks ---- */

static void write_block(void *object)
{
    assert_int_equal(pthread_rwlock_wrlock(object), 0);
}

static void read_block(void *object)
{
    assert_int_equal(pthread_rwlock_rdlock(object), 0);
}

static void rwlock_unblock(void *object)
{
    pthread_rwlock_unlock(object);
}

static void the_writer_is_the_owner_of_a_read_write_lock(void **state)
{
    (void)state;
    pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
    assert_int_equal(pthread_rwlock_wrlock(&lock), 0);
    struct waiter writer, reader;
    waiter_start(&writer, write_block, rwlock_unblock, &lock);
    struct skink__thread_view view = see(writer.tid, SKINK__WAIT_RWLOCK, own_tid());
    assert_int_equal(view.wait.address, (uintptr_t)&lock);
    waiter_start(&reader, read_block, rwlock_unblock, &lock);
    view = see(reader.tid, SKINK__WAIT_RWLOCK, own_tid());
    assert_int_equal(view.wait.address, (uintptr_t)&lock);
    pthread_rwlock_unlock(&lock);
    pthread_join(writer.thread, NULL);
    pthread_join(reader.thread, NULL);
}

/* By the call and the stack of then, whatever has become of the thread and the object. */
static void what_a_thread_waited_for_is_known_afterwards(void **state)
{
    (void)state;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
    struct waiter locker, reader;
    pthread_mutex_lock(&mutex);
    pthread_rwlock_wrlock(&lock);
    waiter_start(&locker, mutex_block, mutex_unblock, &mutex);
    waiter_start(&reader, read_block, rwlock_unblock, &lock);
    struct skink__thread_view of_locker = see(locker.tid, SKINK__WAIT_MUTEX, own_tid());
    struct skink__thread_view of_reader = see(reader.tid, SKINK__WAIT_RWLOCK, own_tid());
    pthread_mutex_unlock(&mutex);
    pthread_rwlock_unlock(&lock);
    pthread_join(locker.thread, NULL);
    pthread_join(reader.thread, NULL);
    struct skink__lock_wait was = skink__lock_wait_was(symbols, &of_locker.blocked, of_locker.pcs, of_locker.pc_count);
    assert_int_equal(was.kind, SKINK__WAIT_MUTEX);
    assert_int_equal(was.address, (uintptr_t)&mutex);
    assert_int_equal(was.owner, 0);
    was = skink__lock_wait_was(symbols, &of_reader.blocked, of_reader.pcs, of_reader.pc_count);
    assert_int_equal(was.kind, SKINK__WAIT_RWLOCK);
    assert_int_equal(was.address, (uintptr_t)&lock);
    assert_int_equal(was.owner, 0);
    of_reader.blocked.number = SYS_read;
    was = skink__lock_wait_was(symbols, &of_reader.blocked, of_reader.pcs, of_reader.pc_count);
    assert_int_equal(was.kind, SKINK__WAIT_NONE);
}

static void a_lock_that_readers_hold_has_no_owner(void **state)
{
    (void)state;
    pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
    assert_int_equal(pthread_rwlock_rdlock(&lock), 0);
    struct waiter first, second;
    waiter_start(&first, write_block, rwlock_unblock, &lock);
    see(first.tid, SKINK__WAIT_RWLOCK, 0);
    waiter_start(&second, write_block, rwlock_unblock, &lock);
    see(second.tid, SKINK__WAIT_RWLOCK, 0);
    for (int i = 0; i < 50; i++) {
        see(first.tid, SKINK__WAIT_RWLOCK, 0);
        see(second.tid, SKINK__WAIT_RWLOCK, 0);
    }
    pthread_rwlock_unlock(&lock);
    pthread_join(first.thread, NULL);
    pthread_join(second.thread, NULL);
}

/* ---- waits without an owner ---- */

struct condition {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool done;
};

static void condition_block(void *object)
{
    struct condition *c = object;
    pthread_mutex_lock(&c->mutex);
    while (!c->done)
        pthread_cond_wait(&c->changed, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

static void a_condition_variable_has_no_owner(void **state)
{
    (void)state;
    struct condition c = { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    struct waiter w;
    waiter_start(&w, condition_block, NULL, &c);
    see(w.tid, SKINK__WAIT_CONDITION, 0);
    pthread_mutex_lock(&c.mutex); /* held, and yet not what it waits for */
    for (int i = 0; i < 50; i++)
        see(w.tid, SKINK__WAIT_CONDITION, 0);
    c.done = true;
    pthread_cond_signal(&c.changed);
    /* It wakes and waits for the mutex inside of pthread_cond_wait(): either is true of it, and no other owner. */
    uint64_t until = test_now_ns() + test_ms(50);
    while (test_now_ns() < until) {
        struct skink__thread_view view;
        skink__thread_view_read(symbols, w.tid, &view);
        assert_true(view.wait.owner == 0 || view.wait.owner == own_tid());
    }
    pthread_mutex_unlock(&c.mutex);
    pthread_join(w.thread, NULL);
}

static void semaphore_block(void *object)
{
    while (sem_wait(object) != 0) {
    }
}

static void a_semaphore_has_no_owner(void **state)
{
    (void)state;
    sem_t semaphore;
    sem_init(&semaphore, 0, 0);
    struct waiter w;
    waiter_start(&w, semaphore_block, NULL, &semaphore);
    for (int i = 0; i < 50; i++)
        see(w.tid, SKINK__WAIT_SEMAPHORE, 0);
    sem_post(&semaphore);
    pthread_join(w.thread, NULL);
}

static void barrier_block(void *object)
{
    pthread_barrier_wait(object);
}

static void a_barrier_has_no_owner(void **state)
{
    (void)state;
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    struct waiter w;
    waiter_start(&w, barrier_block, NULL, &barrier);
    see(w.tid, SKINK__WAIT_BARRIER, 0);
    pthread_barrier_wait(&barrier);
    pthread_join(w.thread, NULL);
    pthread_barrier_destroy(&barrier);
}

/* A lock of somebody's own making, which looks exactly like a locked mutex. */
static void futex_block(void *object)
{
    while (((_Atomic uint32_t *)object)[0] == 2)
        syscall(SYS_futex, object, 128, 2, NULL, NULL, 0); /* FUTEX_WAIT_PRIVATE */
}

static void a_foreign_futex_has_no_owner(void **state)
{
    (void)state;
    _Atomic uint32_t words[10] = { 2, 0, (uint32_t)own_tid(), 1 };
    struct waiter w;
    waiter_start(&w, futex_block, NULL, words);
    for (int i = 0; i < 50; i++)
        see(w.tid, SKINK__WAIT_FUTEX, 0);
    words[0] = 0;
    syscall(SYS_futex, words, 129, 1, NULL, NULL, 0); /* FUTEX_WAKE_PRIVATE */
    pthread_join(w.thread, NULL);
}

static void a_thread_in_another_call_waits_for_no_lock(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct skink__thread_view view;
    skink__thread_view_read(symbols, own_tid(), &view); /* itself: it runs */
    assert_int_equal(view.wait.kind, SKINK__WAIT_NONE);
    skink__thread_view_read(symbols, 0x3fffffff, &view); /* nobody */
    assert_int_equal(view.answer, SKINK__BLOCKED_UNKNOWN);
    assert_int_equal(view.wait.owner, 0);
    assert_string_equal(view.name, "");
    close(ends[0]);
    close(ends[1]);
}

/* ---- pthread_join ---- */

static void join_block(void *object)
{
    pthread_join(*(pthread_t *)object, NULL);
}

static void who_joins_a_thread_waits_for_that_thread(void **state)
{
    (void)state;
    if (TEST_TSAN) test_skip("ThreadSanitizer polls for the end of a thread that is joined");
    sem_t release;
    sem_init(&release, 0, 0);
    struct waiter target, joiner;
    waiter_start(&target, semaphore_block, NULL, &release);
    waiter_start(&joiner, join_block, NULL, &target.thread);
    see(joiner.tid, SKINK__WAIT_THREAD, target.tid);
    struct skink__lock_chain *chain = calloc(1, sizeof *chain);
    skink__lock_chain_read(symbols, joiner.tid, chain);
    assert_int_equal(chain->count, 2);
    assert_false(chain->cycle);
    assert_int_equal(chain->threads[1].tid, target.tid);
    assert_int_equal(chain->threads[1].wait.kind, SKINK__WAIT_SEMAPHORE);
    free(chain);
    sem_post(&release);
    pthread_join(joiner.thread, NULL);
}

/* ---- chains ---- */

struct two_locks {
    pthread_mutex_t *first, *second;
    sem_t *go;
    _Atomic bool has_first;
    _Atomic pid_t tid;
};

static void *take_two(void *arg)
{
    struct two_locks *locks = arg;
    atomic_store(&locks->tid, own_tid());
    pthread_mutex_lock(locks->first);
    atomic_store(&locks->has_first, true);
    while (sem_wait(locks->go) != 0) {
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    if (pthread_mutex_timedlock(locks->second, &until) == 0) pthread_mutex_unlock(locks->second);
    pthread_mutex_unlock(locks->first);
    return NULL;
}

static bool names(const struct skink__thread_view *view, const char *function)
{
    for (size_t i = 0; i < view->pc_count; i++) {
        struct skink__frame frames[8];
        size_t count = skink__symbols_find(symbols, view->pcs[i], frames, 8);
        for (size_t k = 0; k < count; k++)
            if (strcmp(frames[k].function, function) == 0) return true;
    }
    return false;
}

/* ring 3: A waits for B, B for C, C for A; asked from D, which waits for A. */
static void a_chain_that_closes_is_a_cycle(void **state)
{
    (void)state;
    if (TEST_TSAN) test_skip("ThreadSanitizer reports the inversion itself");
    enum { RING = 3 };
    static pthread_mutex_t mutexes[RING] = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                             PTHREAD_MUTEX_INITIALIZER };
    static struct two_locks ring[RING];
    static pthread_t threads[RING];
    static sem_t go;
    sem_init(&go, 0, 0);
    for (int i = 0; i < RING; i++) {
        ring[i] = (struct two_locks){ .first = &mutexes[i], .second = &mutexes[(i + 1) % RING], .go = &go };
        assert_int_equal(pthread_create(&threads[i], NULL, take_two, &ring[i]), 0);
    }
    for (int i = 0; i < RING; i++)
        test_wait_until(atomic_load(&ring[i].has_first), 5000);
    for (int i = 0; i < RING; i++)
        sem_post(&go);
    static struct waiter d;
    waiter_start(&d, mutex_block, mutex_unblock, &mutexes[0]);
    for (int i = 0; i < RING; i++)
        see(ring[i].tid, SKINK__WAIT_MUTEX, ring[(i + 1) % RING].tid);
    see(d.tid, SKINK__WAIT_MUTEX, ring[0].tid);

    struct skink__lock_chain *chain = calloc(1, sizeof *chain);
    skink__lock_chain_read(symbols, d.tid, chain);
    assert_int_equal(chain->count, 4);
    assert_true(chain->cycle);
    assert_int_equal(chain->cycle_begin, 1);
    for (size_t i = 0; i < RING; i++) {
        assert_int_equal(chain->threads[i + 1].tid, ring[i].tid);
        assert_int_equal(chain->threads[i + 1].wait.address, (uintptr_t)ring[i].second);
        assert_true(TEST_ASAN || names(&chain->threads[i + 1], "take_two"));
    }
    skink__lock_chain_read(symbols, ring[1].tid, chain);
    assert_int_equal(chain->count, 3);
    assert_true(chain->cycle);
    assert_int_equal(chain->cycle_begin, 0);
    free(chain);
    _exit(0); /* they would wait for half a minute */
}

static void a_thread_that_locks_twice_waits_for_itself(void **state)
{
    (void)state;
    if (TEST_TSAN) test_skip("ThreadSanitizer reports it itself");
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static struct two_locks locks = { .first = &mutex, .second = &mutex };
    static sem_t go;
    sem_init(&go, 0, 1);
    locks.go = &go;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, take_two, &locks), 0);
    test_wait_until(atomic_load(&locks.has_first), 5000);
    see(locks.tid, SKINK__WAIT_MUTEX, locks.tid);
    struct skink__lock_chain *chain = calloc(1, sizeof *chain);
    skink__lock_chain_read(symbols, locks.tid, chain);
    assert_int_equal(chain->count, 1);
    assert_true(chain->cycle);
    assert_int_equal(chain->cycle_begin, 0);
    free(chain);
    _exit(0);
}

/* ---- while all moves ---- */

enum { CONTENDERS = 3 };

struct traffic {
    pthread_mutex_t mutex;
    pthread_mutex_t decoy; /* held by the bystander all the time, and waited for by nobody */
    sem_t semaphore;
    pthread_cond_t condition;
    _Atomic bool quit;
    _Atomic pid_t tids[CONTENDERS];
    _Atomic int next;
};

static void *contend(void *arg)
{
    struct traffic *t = arg;
    int i = atomic_fetch_add(&t->next, 1);
    atomic_store(&t->tids[i], own_tid());
    for (unsigned round = 0; !atomic_load(&t->quit); round++) {
        pthread_mutex_lock(&t->mutex);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 50000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        if (round % 4 == 0) pthread_cond_timedwait(&t->condition, &t->mutex, &until);
        if (round % 4 == 1) sem_timedwait(&t->semaphore, &until);
        pthread_mutex_unlock(&t->mutex);
    }
    return NULL;
}

static void no_owner_is_wrong_while_locks_change_hands(void **state)
{
    (void)state;
    static struct traffic t = { .mutex = PTHREAD_MUTEX_INITIALIZER,
                                .decoy = PTHREAD_MUTEX_INITIALIZER,
                                .condition = PTHREAD_COND_INITIALIZER };
    sem_init(&t.semaphore, 0, 0);
    pthread_t threads[CONTENDERS];
    for (int i = 0; i < CONTENDERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, contend, &t), 0);
    for (int i = 0; i < CONTENDERS; i++)
        test_wait_until(atomic_load(&t.tids[i]) != 0, 5000);
    pthread_mutex_lock(&t.decoy);
    unsigned named = 0;
    for (unsigned look = 0; look < 3000; look++) {
        struct skink__thread_view view;
        pid_t tid = atomic_load(&t.tids[look % CONTENDERS]);
        skink__thread_view_read(symbols, tid, &view);
        if (!view.wait.owner) continue;
        named++;
        assert_int_equal(view.wait.kind, SKINK__WAIT_MUTEX);
        assert_int_equal(view.wait.address, (uintptr_t)&t.mutex);
        assert_int_not_equal(view.wait.owner, tid);
        assert_true(view.wait.owner == t.tids[0] || view.wait.owner == t.tids[1] || view.wait.owner == t.tids[2]);
    }
    print_message("%u of 3000 looks named an owner\n", named);
    pthread_mutex_unlock(&t.decoy);
    atomic_store(&t.quit, true);
    for (int i = 0; i < CONTENDERS; i++)
        pthread_join(threads[i], NULL);
}

static void what_the_kernel_writes_is_understood(void **state)
{
    (void)state;
    struct skink__blocked b;
    assert_int_equal(skink__parse_blocked("running\n", &b), SKINK__BLOCKED_NO);
    assert_int_equal(skink__parse_blocked("", &b), SKINK__BLOCKED_UNKNOWN);
    assert_int_equal(skink__parse_blocked("202 0x1 0x80\n", &b), SKINK__BLOCKED_UNKNOWN);
    assert_int_equal(skink__parse_blocked("202 0x10 0x80 0x2 0x0 0x0 0x7 0x7ffe 0x4001\n", &b), SKINK__BLOCKED_YES);
    assert_int_equal(b.number, 202);
    assert_int_equal(b.arguments[0], 0x10);
    assert_int_equal(b.arguments[5], 7);
    assert_int_equal(b.sp, 0x7ffe);
    assert_int_equal(b.pc, 0x4001);
    assert_int_equal(skink__parse_blocked("-1 0x7ffe 0x4001\n", &b), SKINK__BLOCKED_YES);
    assert_int_equal(b.number, -1);
    assert_int_equal(b.sp, 0x7ffe);
    assert_int_equal(b.pc, 0x4001);
}

static const struct test_case cases[] = {
    CASE(the_owner_of_a_default_mutex_is_found),
    CASE(the_owner_of_a_recursive_mutex_is_found),
    CASE(the_owner_of_an_error_checking_mutex_is_found),
    CASE(the_owner_of_an_adaptive_mutex_is_found),
    CASE(the_owner_of_a_priority_inheriting_mutex_is_found),
    CASE(the_owner_of_a_robust_mutex_is_found),
    CASE(the_owner_is_found_for_a_wait_with_a_time_limit),
    CASE(a_mutex_whose_owner_has_ended_has_no_owner),
    CASE(the_writer_is_the_owner_of_a_read_write_lock),
    CASE(what_a_thread_waited_for_is_known_afterwards),
    CASE(a_lock_that_readers_hold_has_no_owner),
    CASE(a_condition_variable_has_no_owner),
    CASE(a_semaphore_has_no_owner),
    CASE(a_barrier_has_no_owner),
    CASE(a_foreign_futex_has_no_owner),
    CASE(a_thread_in_another_call_waits_for_no_lock),
    CASE(who_joins_a_thread_waits_for_that_thread),
    CASE(a_chain_that_closes_is_a_cycle),
    CASE(a_thread_that_locks_twice_waits_for_itself),
    CASE(no_owner_is_wrong_while_locks_change_hands),
    CASE(what_the_kernel_writes_is_understood),
};
TEST_MAIN(cases, setup, teardown)
