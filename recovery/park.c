/* SPDX-License-Identifier: MIT */
/*
 * recovery/park.c - the watchdog's sleep: until the next look, or, while every loop sleeps, until one of them rings.
 *
 * Invariant 8, a parked watchdog implies a loop that sleeps or a wake-up that is pending, is loop/doorbell.h's
 * protocol; the watchdog's half of it is skink__park().
 */
#include "loop/barrier.h"
#include "recovery/state.h"
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

/* A parked watchdog looks this often, or once per timeout, at the loops: one that stalls in a libuv callback as it
 * leaves poll does not ring. */
#define PARKED_LOOK_NS (10 * SKINK_S)

void skink__watchdog_kick(skink_recovery *recovery)
{
    if (recovery->wakeup_fd < 0) return;
    uint64_t one = 1;
    recovery->wakeups_due++;
    ssize_t written = write(recovery->wakeup_fd, &one, sizeof one);
    (void)written; /* it fails only at a count that nobody reaches */
}

static void read_wakeups(skink_recovery *recovery) SKINK__WITH_MUTEX
{
    uint64_t count;
    if (read(recovery->wakeup_fd, &count, sizeof count) == sizeof count) recovery->wakeups_read += count;
}

void skink__alarm_listen(skink_recovery *recovery, struct skink__watch *watch)
{
    struct skink__alarm *alarm = skink__scheduler_alarm(watch->scheduler);
    if (skink__alarm_open(alarm)) return; /* then it is looked at once per period */
    /* By edges: each time one goes off wakes us once, and none is ever read. */
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };
    watch->has_alarm = epoll_ctl(recovery->alarms_fd, EPOLL_CTL_ADD, atomic_load(&alarm->fd), &event) == 0;
}

void skink__alarm_leave(skink_recovery *recovery, struct skink__watch *watch)
{
    if (!watch->has_alarm) return;
    struct skink__alarm *alarm = skink__scheduler_alarm(watch->scheduler);
    skink__alarm_want(alarm, 0, 0);
    epoll_ctl(recovery->alarms_fd, EPOLL_CTL_DEL, atomic_load(&alarm->fd), NULL);
    watch->has_alarm = false;
}

/* Which one has gone off does not matter: everybody is looked at. */
static void forget_alarms(const skink_recovery *recovery) SKINK__WITH_MUTEX
{
    enum { AT_ONCE = 16 };
    struct epoll_event events[AT_ONCE];
    while (epoll_wait(recovery->alarms_fd, events, AT_ONCE, 0) == AT_ONCE) {
    }
}

/* Until a time, a wake-up, or an alarm. */
void skink__sleep_until(skink_recovery *recovery, uint64_t time_ns)
{
    struct pollfd sources[] = { { .fd = recovery->wakeup_fd, .events = POLLIN },
                                { .fd = recovery->alarms_fd, .events = POLLIN } };
    uint64_t now_ns = skink_now();
    uint64_t rest_ns = time_ns > now_ns ? time_ns - now_ns : 0;
    struct timespec rest = { .tv_sec = (time_t)(rest_ns / SKINK_S), .tv_nsec = (long)(rest_ns % SKINK_S) };
    skink__recovery_unlock(recovery);
    int woken = ppoll(sources, 2, time_ns == SKINK__NEVER ? NULL : &rest, NULL);
    skink__recovery_lock(recovery);
    if (woken > 0 && sources[0].revents) read_wakeups(recovery);
    if (woken > 0 && sources[1].revents) forget_alarms(recovery);
}

void skink__watchdog_drain(skink_recovery *recovery)
{
    while (recovery->wakeups_read < recovery->wakeups_due) {
        struct pollfd wakeup = { .fd = recovery->wakeup_fd, .events = POLLIN };
        poll(&wakeup, 1, -1); /* a loop thread has taken the bell, and is about to write */
        read_wakeups(recovery);
    }
}

/* ---- parking ---- */

bool skink__may_park(const skink_recovery *recovery)
{
    if (!recovery->has_barrier) return false;
    if (recovery->standby_count < recovery->threads_wanted) return false;
    for (const struct skink__watch *watch = recovery->watches; watch; watch = watch->next)
        if (!watch->asleep) return false;
    return true;
}

/* Asked after the barrier: from a no to a yes nothing is lost, since what happens now will ring. */
static bool is_still_asleep(const struct skink__watch *watch) SKINK__WITH_MUTEX
{
    if (skink__scheduler_is_destroyed(watch->scheduler)) return false;
    const struct skink__subject *subject = watch->subject;
    if (subject) {
        uint64_t word = atomic_load_explicit(&skink__thread_lease(subject->thread)->word, memory_order_acquire);
        return word == skink__lease_word(SKINK__RUNTIME, subject->clock.slice);
    }
    struct skink__thread *thread = skink__scheduler_thread(watch->scheduler);
    if (thread) skink__thread_unref(thread);
    return thread == NULL;
}

/* The next look at somebody who does not ring, or never when nobody could. */
static uint64_t parked_until(const skink_recovery *recovery) SKINK__WITH_MUTEX
{
    uint64_t look_ns = recovery->timeout_ns > PARKED_LOOK_NS ? recovery->timeout_ns : PARKED_LOOK_NS;
    uint64_t until_ns = skink__limits_next_look(recovery);
    for (const struct skink__watch *watch = recovery->watches; watch; watch = watch->next)
        if (watch->subject && skink_after(look_ns) < until_ns) until_ns = skink_after(look_ns);
    return until_ns;
}

void skink__take_down_bell(skink_recovery *recovery, struct skink__watch *watch)
{
    if (!watch->bell_hung) return;
    watch->bell_hung = false;
    if (!skink__doorbell_take_down(skink__scheduler_doorbell(watch->scheduler))) recovery->wakeups_due++;
}

/* False: somebody was awake, and time goes on. */
bool skink__park(skink_recovery *recovery)
{
    bool all_asleep = true;
    for (struct skink__watch *watch = recovery->watches; watch; watch = watch->next) {
        skink__doorbell_hang(skink__scheduler_doorbell(watch->scheduler), recovery->wakeup_fd);
        watch->bell_hung = true;
    }
    skink__barrier();
    for (const struct skink__watch *watch = recovery->watches; watch && all_asleep; watch = watch->next)
        all_asleep = is_still_asleep(watch);
    if (all_asleep) {
        recovery->parked = true;
        skink__sleep_until(recovery, parked_until(recovery));
        recovery->parked = false;
    }
    for (struct skink__watch *watch = recovery->watches; watch; watch = watch->next) {
        skink__take_down_bell(recovery, watch);
        /* Nobody looked meanwhile, so no time has passed for any slice. */
        if (all_asleep && watch->subject) skink__slice_clock_reset(&watch->subject->clock);
    }
    return all_asleep;
}
