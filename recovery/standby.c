/* SPDX-License-Identifier: MIT */
/*
 * recovery/standby.c - threads that are there before they are needed.
 *
 * When a slice is declared stuck, the process may be unable to create a thread or to map memory. So all that a
 * takeover needs is made here, in quiet times: the OS thread, its thread object, its record, its open files in /proc.
 */
#include "loop/hooks.h"
#include "loop/memory.h"
#include "recovery/state.h"
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct skink__subject *skink__subject_create(struct skink__thread *thread)
{
    struct skink__subject *subject = skink__zalloc(sizeof *subject);
    if (!subject) {
        skink__thread_unref(thread);
        return NULL;
    }
    subject->thread = thread;
    return subject;
}

void skink__subject_free(struct skink__subject *subject)
{
    if (!subject) return;
    skink__thread_probe_close(&subject->probe);
    skink__thread_unref(subject->thread);
    skink__free(subject);
}

int skink__start_thread(pthread_t *ret_thread, void *(*main)(void *arg), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(ret_thread, NULL, main, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

static void standby_free(struct skink__standby *standby)
{
    skink__subject_free(standby->subject);
    if (standby->thread) skink__thread_unref(standby->thread);
    skink__free(standby);
}

/* ---- on the standby thread ---- */

static void announce(struct skink__standby *standby)
{
    skink_recovery *recovery = standby->recovery;
    skink__thread_prepare(standby->thread);
    skink__thread_probe_open(&standby->subject->probe, skink__thread_tid(standby->thread));
    skink__recovery_lock(recovery);
    standby->parked = true;
    pthread_cond_broadcast(&recovery->standby_changed);
    skink__watchdog_kick(recovery); /* a slice may be waiting for us */
    skink__recovery_unlock(recovery);
}

static enum skink__standby_order wait_for_order(struct skink__standby *standby)
{
    for (;;) {
        /* Acquire: what was written before the order was given is there. */
        uint32_t order = atomic_load_explicit(&standby->order, memory_order_acquire);
        if (order != SKINK__STANDBY_WAIT) return (enum skink__standby_order)order;
        syscall(SYS_futex, &standby->order, FUTEX_WAIT_PRIVATE, SKINK__STANDBY_WAIT, NULL, NULL, 0);
    }
}

/* The watchdog, awake already, makes a barrier while the kernel wakes us. Only where it is kept from its processor are
 * we here first. */
static void wait_to_run(struct skink__standby *standby)
{
    /* Acquire: what the barrier publishes is there. */
    while (!atomic_load_explicit(&standby->may_run, memory_order_acquire))
        sched_yield();
}

static void note_recovery_time(struct skink__standby *standby)
{
    skink_recovery *recovery = standby->recovery;
    uint64_t took_ns = skink_now() - standby->declared_ns;
    unsigned bucket = 0;
    while (bucket < SKINK_RECOVERY_BUCKETS - 1 && took_ns > skink_recovery_bucket_bounds_ns[bucket])
        bucket++;
    atomic_fetch_add_explicit(&recovery->recovery_count[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&recovery->recovery_sum_ns, took_ns, memory_order_relaxed);
}

/* It was a loop thread, which has ended: stopped, or a stray that came back. */
static void leave(struct skink__standby *standby)
{
    skink_recovery *recovery = standby->recovery;
    skink__scheduler_unref(standby->scheduler);
    standby_free(standby);
    skink__recovery_lock(recovery);
    bool last = skink__recovery_unref(recovery);
    skink__recovery_unlock(recovery);
    if (last) skink__recovery_free(recovery);
}

static void *standby_main(void *arg)
{
    struct skink__standby *standby = arg;
    prctl(PR_SET_NAME, "skink-standby", 0, 0, 0);
    skink__thread_started("standby");
    announce(standby);
    enum skink__standby_order order = wait_for_order(standby);
    if (order == SKINK__STANDBY_GO) {
        wait_to_run(standby);
        SKINK_ASSERT(standby->scheduler && !standby->subject); /* handed over whole */
        if (standby->declared_ns) note_recovery_time(standby);
        skink__thread_run(standby->thread, standby->scheduler);
    }
    skink__thread_ending("standby");
    if (order == SKINK__STANDBY_GO) leave(standby); /* else whoever joins us frees it */
    return NULL;
}

/* ---- on other threads ---- */

int skink__standby_start(skink_recovery *recovery)
{
    struct skink__standby *standby = skink__zalloc(sizeof *standby);
    if (!standby) return -ENOMEM;
    standby->recovery = recovery;
    int err = skink__thread_create(&standby->thread);
    if (err) goto fail;
    standby->subject = skink__subject_create(skink__thread_ref(standby->thread));
    err = -ENOMEM;
    if (!standby->subject) goto fail;
    err = skink__start_thread(&standby->pthread, standby_main, standby);
    if (err) goto fail;

    skink__recovery_lock(recovery);
    standby->next = recovery->standbys;
    recovery->standbys = standby;
    recovery->standby_count++;
    skink__recovery_unlock(recovery);
    return 0;
fail:
    standby_free(standby);
    return err;
}

struct skink__standby *skink__standby_find(const skink_recovery *recovery)
{
    struct skink__standby *standby = recovery->standbys;
    while (standby && !standby->parked)
        standby = standby->next;
    return standby;
}

void skink__standby_take(skink_recovery *recovery, struct skink__standby *standby)
{
    struct skink__standby **link = &recovery->standbys;
    while (*link != standby)
        link = &(*link)->next;
    *link = standby->next;
    recovery->standby_count--;
    recovery->refs++;
    pthread_detach(standby->pthread); /* nobody will join it now */
}

uint32_t skink__standby_parked(const skink_recovery *recovery)
{
    uint32_t parked = 0;
    for (const struct skink__standby *standby = recovery->standbys; standby; standby = standby->next)
        parked += standby->parked;
    return parked;
}

void skink__standby_give(struct skink__standby *standby, enum skink__standby_order order)
{
    atomic_store_explicit(&standby->order, (uint32_t)order, memory_order_release);
    syscall(SYS_futex, &standby->order, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void skink__standby_let_run(struct skink__standby *standby)
{
    atomic_store_explicit(&standby->may_run, true, memory_order_release);
}

void skink__standby_quit_all(skink_recovery *recovery)
{
    skink__recovery_lock(recovery);
    struct skink__standby *standby = recovery->standbys;
    recovery->standbys = NULL;
    recovery->standby_count = 0;
    skink__recovery_unlock(recovery);
    SKINK__ASSUME(skink__recovery_mutex); /* they are on no list any more */
    while (standby) {
        struct skink__standby *next = standby->next;
        skink__standby_give(standby, SKINK__STANDBY_QUIT);
        pthread_join(standby->pthread, NULL);
        standby_free(standby);
        standby = next;
    }
}
