/* SPDX-License-Identifier: MIT */
/*
 * recovery/declare.c - a slice is declared stuck, and its scheduler goes to a standby thread.
 *
 * Nothing here allocates, waits, or takes a lock that a stuck task may hold: all that is needed was made before.
 */
#include "loop/hooks.h"
#include "recovery/state.h"
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define LOWEST_PRIORITY 19 /* nice */

static uint64_t wall_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * SKINK_S + (uint64_t)now.tv_nsec;
}

/* What must be known before the scheduler is handed on: while it is ours, since transition 3 is won, the task cannot end,
 * and its name with it. */
static void identify(skink_recovery *recovery, struct skink__watch *watch, struct skink__report *report)
{
    struct skink__subject *stuck = watch->subject;
    const char *task = skink__takeover_task_name(watch->scheduler);
    size_t length = strnlen(task, sizeof report->task - 1);
    memcpy(report->task, task, length);
    report->task[length] = '\0';
    report->incident.number = skink__incident_next_number();
    snprintf(stuck->incident_id, sizeof stuck->incident_id, "%s-%llu", recovery->id_prefix,
             (unsigned long long)report->incident.number);
}

/* The rest; its strays are counted later. */
static void describe(const struct skink__watch *watch, const struct skink__subject *stuck, skink_cause cause,
                     struct skink__report *report)
{
    skink_incident *incident = &report->incident;
    memcpy(incident->id, stuck->incident_id, sizeof incident->id);
    incident->time_unix_ns = wall_clock_ns();
    incident->generation = skink__thread_generation(stuck->thread);
    incident->slice_ns = stuck->clock.last.now_ns - stuck->clock.first_seen_ns;
    incident->effective_ns = stuck->clock.effective_ns;
    incident->cause = cause;
    snprintf(report->scheduler, sizeof report->scheduler, "%s", skink__scheduler_name(watch->scheduler));
}

/* Wake the standby as the scheduler's next loop thread. Its record goes to the watch. */
static void hand_over(skink_recovery *recovery, struct skink__watch *watch, struct skink__standby *standby,
                      uint64_t declared_ns, bool hold)
{
    skink__takeover_begin(watch->scheduler, standby->thread, watch->subject->incident_id, hold);
    SKINK_ASSERT(standby->parked && standby->subject && !standby->scheduler);
    watch->subject = standby->subject;
    standby->subject = NULL;
    standby->scheduler = skink__scheduler_ref(watch->scheduler);
    standby->declared_ns = declared_ns;
    skink__standby_take(recovery, standby);
    skink__standby_give(standby, SKINK__STANDBY_GO); /* it is no longer ours */
    /* If the kernel has put it on our processor, it goes first: what is left to do here takes longer than all before. */
    sched_yield();
}

/* The thread that was abandoned is the recovery's to count now. */
static void account(skink_recovery *recovery, struct skink__watch *watch, struct skink__subject *stuck, bool hold)
{
    /* A stray that spins must not take the processor from those who go on. It will not need its priority back: its task
     * goes on elsewhere, and the thread ends. One that blocks takes nothing, and is to come back quickly. */
    if (stuck->clock.last.state == 'R') setpriority(PRIO_PROCESS, (id_t)stuck->probe.tid, LOWEST_PRIORITY);
    skink__thread_probe_close(&stuck->probe);
    /* Held already: while it was stopping, a task ran all the same. Only one thread per scheduler is held. */
    if (watch->held) skink__stray_add(recovery, watch->held);
    watch->held = NULL;
    if (hold) {
        skink__stray_hold(watch, stuck);
    } else {
        skink__stray_add(recovery, stuck);
        recovery->stats.takeovers++;
    }
}

/* Nothing happens when the slice has moved on, or nobody is there to take over. Allocates nothing, waits for nothing. */
void skink__declare(skink_recovery *recovery, struct skink__watch *watch, skink_cause cause)
{
    struct skink__subject *stuck = watch->subject;
    struct skink__standby *standby = skink__standby_find(recovery);
    watch->overdue = standby == NULL;
    if (!standby) return; /* the next one to park kicks us */

    skink__stray_prepare(recovery, stuck);
    if (!skink__lease_abandon(skink__thread_lease(stuck->thread), stuck->clock.slice)) {
        if (!skink__stray_undo(recovery, stuck)) watch->subject = NULL;
        return;
    }
    uint64_t declared_ns = stuck->abandoned_ns = skink_now();
    skink__barrier(recovery); /* what the task wrote before it got stuck: nothing else publishes it */
    bool hold = recovery->stray_count >= recovery->max_strays;
    struct skink__report unheard; /* when the ring is full */
    struct skink__report *report = skink__report_next(recovery, SKINK__REPORT_DEADLOCK);
    bool heard = report != NULL;
    if (!heard) report = &unheard;
    identify(recovery, watch, report);
    hand_over(recovery, watch, standby, declared_ns, hold);
    describe(watch, stuck, cause, report); /* the loop does not wait for this */
    account(recovery, watch, stuck, hold);

    recovery->stats.deadlocks++;
    recovery->stats.deadlocks_starved += cause == SKINK_CAUSE_STARVED;
    report->incident.held = hold;
    report->incident.strays = recovery->stray_count;
    if (heard) skink__report_submit(recovery);
}
