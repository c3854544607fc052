/* SPDX-License-Identifier: MIT */
/*
 * recovery/ping.c - is the watchdog itself alive? Somebody has to watch it, too.
 *
 * It sleeps while every loop does, so that it has not moved for a while proves nothing. A ping wakes it and waits for a
 * whole look: at every lease, on the watchdog's own thread.
 */
#include "recovery/state.h"
#include <errno.h>
#include <time.h>

static struct timespec timespec_of(uint64_t time_ns)
{
    return (struct timespec){ .tv_sec = (time_t)(time_ns / SKINK_S), .tv_nsec = (long)(time_ns % SKINK_S) };
}

/* A watchdog that died with the mutex in its hand must not take us along. (pthread_mutex_clocklock() would do, but
 * ThreadSanitizer does not know it.) */
static bool lock_by(skink_recovery *recovery, uint64_t deadline_ns) SKINK__TRY_ACQUIRES(true, skink__recovery_mutex)
{
    while (pthread_mutex_trylock(&recovery->mutex) != 0) {
        if (skink_now() >= deadline_ns) return false;
        nanosleep(&(struct timespec){ .tv_nsec = SKINK_MS }, NULL);
    }
    return true;
}

int skink_recovery_ping(skink_recovery *recovery, uint64_t deadline_ns)
{
    if (!recovery) return -EINVAL;
    if (deadline_ns == SKINK_FOREVER) deadline_ns = skink_after(3600 * SKINK_S); /* what a timespec can hold */
    struct timespec deadline = timespec_of(deadline_ns);
    if (skink_now() >= deadline_ns || !lock_by(recovery, deadline_ns)) return -ETIMEDOUT;
    int err = 0;
    uint64_t before = recovery->stats.ticks;
    recovery->pings++;
    skink__watchdog_kick(recovery);
    while (err == 0 && recovery->stats.ticks == before)
        err = pthread_cond_clockwait(&recovery->ticked, &recovery->mutex, CLOCK_MONOTONIC, &deadline);
    recovery->pings--;
    skink__recovery_unlock(recovery);
    return -err;
}
