/* SPDX-License-Identifier: MIT */
/*
 * recovery/standby_maker.c - the thread that makes standby threads in the place of those that were used.
 *
 * To create a thread may take long, or for ever: the dynamic loader's locks are wanted for its thread-locals, and a
 * task that is stuck inside dlopen() may hold them. So the watchdog, which must go on whatever happens,
 * only asks for one.
 */
#include "loop/hooks.h"
#include "recovery/state.h"
#include <errno.h>
#include <sys/prctl.h>
#include <time.h>

/* How often a standby thread that could not be created is tried again. */
#define STANDBY_RETRY_NS (100 * SKINK_MS)
/* How long making one may take before that counts as a failure. */
#define STANDBY_LATE_NS SKINK_S
/* How long the end of recovery waits for a maker that may be held up for ever. */
#define MAKER_PATIENCE_S 1

static bool is_wanted(const skink_recovery *recovery) SKINK__WITH_MUTEX
{
    return !recovery->quit && recovery->standby_count < recovery->threads_wanted &&
           skink_now() >= recovery->standby_retry_ns;
}

/* The first failure and the first success after it are told. */
static void tell(skink_recovery *recovery, int err) SKINK__WITH_MUTEX
{
    if ((err != 0) == recovery->standby_failing) return;
    recovery->standby_failing = err != 0;
    struct skink__report *report =
        skink__report_next(recovery, err ? SKINK__REPORT_NO_STANDBY : SKINK__REPORT_STANDBY_BACK);
    if (!report) return;
    report->error = err;
    skink__report_submit(recovery);
}

/* Leaves the mutex meanwhile. */
static void make_one(skink_recovery *recovery) SKINK__WITH_MUTEX
{
    recovery->standby_begun_ns = skink_now();
    skink__recovery_unlock(recovery);
    int err = skink__standby_start(recovery);
    skink__recovery_lock(recovery);
    recovery->standby_begun_ns = 0;
    if (err) {
        recovery->stats.standby_failures++;
        recovery->standby_retry_ns = skink_now() + STANDBY_RETRY_NS;
    }
    if (!recovery->quit) tell(recovery, err);
}

static void *maker_main(void *arg)
{
    skink_recovery *recovery = arg;
    prctl(PR_SET_NAME, "skink-maker", 0, 0, 0);
    skink__thread_started("maker");
    skink__recovery_lock(recovery);
    while (!recovery->quit) {
        if (is_wanted(recovery))
            make_one(recovery);
        else
            pthread_cond_wait(&recovery->standby_wanted, &recovery->mutex);
    }
    skink__recovery_unlock(recovery);
    skink__standby_quit_all(recovery); /* one that came too late, for a recovery that is gone but for this thread */
    skink__thread_ending("maker");
    skink__recovery_lock(recovery);
    recovery->maker_over = true;
    pthread_cond_broadcast(&recovery->maker_ended);
    bool last = skink__recovery_unref(recovery);
    skink__recovery_unlock(recovery);
    if (last) skink__recovery_free(recovery);
    return NULL;
}

void skink__standbys_ask(skink_recovery *recovery)
{
    uint64_t begun_ns = recovery->standby_begun_ns;
    if (begun_ns && skink_now() - begun_ns >= STANDBY_LATE_NS) tell(recovery, -ETIMEDOUT);
    if (is_wanted(recovery)) pthread_cond_signal(&recovery->standby_wanted);
}

int skink__standby_maker_start(skink_recovery *recovery)
{
    SKINK__ASSUME(skink__recovery_mutex); /* nobody else counts yet */
    recovery->refs++;
    int err = skink__start_thread(&recovery->maker, maker_main, recovery);
    recovery->maker_running = err == 0;
    if (err) recovery->refs--;
    return err;
}

void skink__standby_maker_stop(skink_recovery *recovery)
{
    if (!recovery->maker_running) return;
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += MAKER_PATIENCE_S;
    skink__recovery_lock(recovery);
    recovery->quit = true;
    pthread_cond_signal(&recovery->standby_wanted);
    while (!recovery->maker_over &&
           pthread_cond_timedwait(&recovery->maker_ended, &recovery->mutex, &deadline) != ETIMEDOUT) {
    }
    bool over = recovery->maker_over;
    skink__recovery_unlock(recovery);
    if (over)
        pthread_join(recovery->maker, NULL);
    else
        pthread_detach(recovery->maker); /* it has a reference, and lets go when it can */
}
