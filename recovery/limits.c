/* SPDX-License-Identifier: MIT */
/*
 * recovery/limits.c - when taking over is no longer the answer: too many strays, or too many slices stuck
 * in a short time.
 *
 *     below the limits   declare and take over, as always
 *     a limit reached    what recovery.on_limit says: no new work is admitted until it is over (unhealthy); the host is
 *                        asked to stop (drain); or the process ends with a core of the stuck thread (abort)
 *
 * A limit is over when strays have returned, or when the window of the burst has passed, or when a human says so
 * (skink_recovery_resume()). The hold at max_strays (strays.c) stands by itself: it is there for what was
 * admitted before.
 */
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/runtime.h"
#include "recovery/state.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BURST_WINDOW_DEFAULT_NS (60 * SKINK_S)
#define BURST_MAX 1000
/* What the helper thread gets to tell the incident before the watchdog ends the process without it. */
#define ABORT_PATIENCE_NS (3 * SKINK_S)

int skink__limits_init(struct skink__limits *limits, const skink_recovery_options *options)
{
    if ((unsigned)options->on_limit > SKINK_ON_LIMIT_ABORT || options->burst > BURST_MAX) return -EINVAL;
    limits->on_limit = options->on_limit;
    limits->burst = options->burst;
    limits->burst_window_ns = options->burst_window_ns ? options->burst_window_ns : BURST_WINDOW_DEFAULT_NS;
    limits->reached = options->limit_reached;
    limits->arg = options->arg;
    if (limits->burst == 0) return 0;
    SKINK__ASSUME(skink__recovery_mutex); /* nobody else knows it yet */
    limits->declared_ns = skink__alloc((limits->burst + 1) * sizeof *limits->declared_ns);
    return limits->declared_ns ? 0 : -ENOMEM;
}

void skink__limits_fini(struct skink__limits *limits)
{
    SKINK__ASSUME(skink__recovery_mutex); /* nobody else knows it any more */
    skink__free(limits->declared_ns);
}

/* ---- what holds now ---- */

static bool strays_are_over(const skink_recovery *recovery) SKINK__WITH_MUTEX
{
    const struct skink__limits *limits = &recovery->limits;
    return recovery->stray_count >= recovery->max_strays && recovery->stray_count > limits->accepted_strays;
}

/* When the burst is over, if it is one: as soon as the oldest of one too many falls out of the window. */
static uint64_t burst_ends_ns(const struct skink__limits *limits) SKINK__WITH_MUTEX
{
    if (limits->burst == 0 || limits->declared < limits->burst + 1) return 0;
    return skink__later(limits->declared_ns[limits->next],
                        limits->burst_window_ns); /* of a full ring the next is the oldest */
}

static bool burst_is_on(const struct skink__limits *limits, uint64_t now_ns) SKINK__WITH_MUTEX
{
    return now_ns < burst_ends_ns(limits);
}

uint64_t skink__limits_next_look(const skink_recovery *recovery)
{
    const struct skink__limits *limits = &recovery->limits;
    uint64_t next_ns = SKINK__NEVER;
    if (limits->in_force[SKINK_LIMIT_BURST]) next_ns = burst_ends_ns(limits);
    if (limits->abort_tid && limits->abort_due_ns < next_ns) next_ns = limits->abort_due_ns;
    return next_ns;
}

skink_health skink__limits_health(const skink_recovery *recovery)
{
    if (strays_are_over(recovery)) return SKINK_HEALTH_STRAY_LIMIT;
    if (burst_is_on(&recovery->limits, skink_now()) && recovery->limits.on_limit != SKINK_ON_LIMIT_HOLD)
        return SKINK_HEALTH_BURST;
    return SKINK_HEALTH_OK;
}

int skink__limits_admittance(const skink_recovery *recovery)
{
    const struct skink__limits *limits = &recovery->limits;
    if (limits->on_limit == SKINK_ON_LIMIT_HOLD) return SKINK__ADMITS;
    if (limits->in_force[SKINK_LIMIT_STRAYS]) return SKINK__REFUSES_STRAYS;
    return limits->in_force[SKINK_LIMIT_BURST] ? SKINK__REFUSES_BURST : SKINK__ADMITS;
}

/* ---- the end ---- */

/* The stuck thread is the one that a core file opens with. It may block the signal, or the host may take it and go on:
 * then it is our turn. */
_Noreturn static void abort_now(pid_t tid)
{
    enum { WAITS = 100, WAIT_MS = 10 };
    skink__log(SKINK_LOG_ERROR, "event=abort tid=%d", (int)tid);
    syscall(SYS_tgkill, getpid(), tid, SIGABRT);
    for (int i = 0; i < WAITS; i++)
        nanosleep(&(struct timespec){ .tv_nsec = WAIT_MS * 1000000L }, NULL);
    abort();
}

void skink__abort_soon(skink_recovery *recovery, pid_t tid)
{
    struct skink__limits *limits = &recovery->limits;
    if (limits->abort_tid) return;
    limits->abort_tid = tid;
    limits->abort_due_ns = skink_after(ABORT_PATIENCE_NS);
    pthread_cond_signal(&recovery->reports.changed);
}

/* ---- when something has changed ---- */

static void set(skink_recovery *recovery, skink_limit limit, bool in_force) SKINK__WITH_MUTEX
{
    struct skink__limits *limits = &recovery->limits;
    if (limits->in_force[limit] == in_force) return;
    limits->in_force[limit] = in_force;
    limits->news[limit] = true;
    if (in_force) {
        limits->reached_count[limit]++;
        if (limits->on_limit == SKINK_ON_LIMIT_ABORT) skink__abort_soon(recovery, limits->newest_tid);
    }
    pthread_cond_signal(&recovery->reports.changed);
}

void skink__limits_settle(skink_recovery *recovery)
{
    struct skink__limits *limits = &recovery->limits;
    if (recovery->stray_count < recovery->max_strays) limits->accepted_strays = 0;
    int before = skink__limits_admittance(recovery);
    set(recovery, SKINK_LIMIT_STRAYS, strays_are_over(recovery));
    set(recovery, SKINK_LIMIT_BURST, limits->burst > 0 && burst_is_on(limits, skink_now()));
    int admittance = skink__limits_admittance(recovery);
    for (struct skink__watch *watch = recovery->watches; watch && admittance != before; watch = watch->next)
        skink__scheduler_set_admittance(watch->scheduler, admittance);
    /* The helper thread is with the host, or dead, and cannot do it. */
    if (limits->abort_tid && skink_now() >= limits->abort_due_ns) abort_now(limits->abort_tid);
}

void skink__limits_note(skink_recovery *recovery, uint64_t now_ns, pid_t tid)
{
    struct skink__limits *limits = &recovery->limits;
    limits->newest_tid = tid;
    if (limits->burst > 0) {
        limits->declared_ns[limits->next] = now_ns;
        limits->next = (limits->next + 1) % (limits->burst + 1);
        if (limits->declared <= limits->burst) limits->declared++;
    }
    skink__limits_settle(recovery);
}

int skink_recovery_resume(skink_recovery *recovery)
{
    if (!recovery) return -EINVAL;
    skink__recovery_lock(recovery);
    for (struct skink__watch *watch = recovery->watches; watch; watch = watch->next)
        if (watch->holding) skink__hold_end(recovery, watch);
    recovery->limits.accepted_strays = recovery->stray_count;
    recovery->limits.declared = 0;
    skink__limits_settle(recovery);
    skink__watchdog_kick(recovery);
    skink__recovery_unlock(recovery);
    return 0;
}

/* ---- telling, on the helper thread ---- */

const char *skink_limit_name(skink_limit limit)
{
    return limit == SKINK_LIMIT_STRAYS ? "strays" : limit == SKINK_LIMIT_BURST ? "burst" : "unknown";
}

static const char *action_name(skink_on_limit action)
{
    static const char *const names[] = { "hold", "unhealthy", "drain", "abort" };
    return names[action];
}

bool skink__limits_have_news(const skink_recovery *recovery)
{
    const struct skink__limits *limits = &recovery->limits;
    return limits->news[SKINK_LIMIT_STRAYS] || limits->news[SKINK_LIMIT_BURST] || limits->abort_tid;
}

void skink__limits_tell(skink_recovery *recovery)
{
    struct skink__limits *limits = &recovery->limits;
    for (skink_limit limit = 0; limit < SKINK_LIMITS; limit++) {
        if (!limits->news[limit]) continue;
        limits->news[limit] = false;
        bool in_force = limits->in_force[limit];
        uint32_t strays = recovery->stray_count;
        skink__recovery_unlock(recovery);
        if (in_force)
            skink__log(SKINK_LOG_ERROR, "event=limit_reached limit=%s action=%s strays=%u", skink_limit_name(limit),
                       action_name(limits->on_limit), (unsigned)strays);
        else
            skink__log(SKINK_LOG_WARNING, "event=limit_over limit=%s strays=%u", skink_limit_name(limit),
                       (unsigned)strays);
        if (limits->reached) limits->reached(limit, in_force, limits->arg);
        skink__recovery_lock(recovery);
    }
    if (limits->abort_tid) abort_now(limits->abort_tid);
}
