/* SPDX-License-Identifier: MIT */
/*
 * recovery/declare.c - a slice is declared stuck, and its scheduler goes to a standby thread.
 *
 * Nothing here allocates, waits, or takes a lock that a stuck task may hold: all that is needed was made before.
 */
#include "loop/barrier.h"
#include "loop/hooks.h"
#include "loop/runtime.h"
#include "recovery/state.h"
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static uint64_t wall_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * SKINK_S + (uint64_t)now.tv_nsec;
}

static void copy_text(char *ret_text, size_t text_bytes, const char *from)
{
    size_t length = strnlen(from, text_bytes - 1);
    memcpy(ret_text, from, length);
    ret_text[length] = '\0';
}
#define COPY_TEXT(to, from) copy_text((to), sizeof(to), (from))

/* What the stuck task works on, and what it waits for. When the scheduler is handed on all of it may change at once;
 * the texts are the task's own. */
struct work {
    char task[sizeof((struct skink__incident *)NULL)->task];
    char method[sizeof((struct skink__incident *)NULL)->method]; /* "" without a request */
    char route[sizeof((struct skink__incident *)NULL)->route];
    uint64_t request_id;
    bool is_request;
    uintptr_t blocks_on; /* as skink__thread_blocks_on() says */
    bool blocks_for_pool;
    skink_scheduler_stats tasks; /* in flight, of its scheduler */
};

/* The scheduler is ours meanwhile: transition 3 is won, or p. */
static void note_work(const struct skink__watch *watch, struct work *ret_work) SKINK__WITH_MUTEX
{
    skink_scheduler *scheduler = watch->scheduler;
    struct skink__task_label label;
    skink__takeover_task_label(scheduler, &label);
    COPY_TEXT(ret_work->task, skink__takeover_task_name(scheduler));
    COPY_TEXT(ret_work->method, label.method ? label.method : "");
    COPY_TEXT(ret_work->route, label.route ? label.route : "");
    ret_work->request_id = label.request_id;
    ret_work->is_request = label.method != NULL;
    ret_work->blocks_on = skink__thread_blocks_on(watch->subject->thread, &ret_work->blocks_for_pool);
    ret_work->tasks = (skink_scheduler_stats)SKINK_SCHEDULER_STATS_INIT;
    (void)!skink_scheduler_stats_read(scheduler, &ret_work->tasks);
}

/* Whose counters those are. What has no route has its name in the place of one. */
static uint32_t row_of(skink_recovery *recovery, const struct work *work) SKINK__WITH_MUTEX
{
    if (!work->is_request) return skink__tally_row_of(&recovery->tally, "", work->task);
    return skink__tally_row_of(&recovery->tally, work->method, *work->route ? work->route : "(none)");
}

/* The task is told it as soon as the scheduler is handed on. */
static void give_id(const skink_recovery *recovery, struct skink__subject *stuck) SKINK__WITH_MUTEX
{
    stuck->incident_number = skink__incident_next_number();
    skink__incident_id(recovery, stuck->incident_number, stuck->incident_id);
}

/* What need not be known before the scheduler is handed on. The subject is ours, as long as we have the mutex. */
static void identify(skink_recovery *recovery, const struct skink__subject *stuck,
                     const struct work *work) SKINK__WITH_MUTEX
{
    struct skink__incident *incident = &recovery->declared;
    *incident = (struct skink__incident){ .is_request = work->is_request,
                                          .blocks_on = work->blocks_on,
                                          .blocks_for_pool = work->blocks_for_pool };
    incident->facts.number = stuck->incident_number;
    incident->facts.request_id = work->request_id;
    incident->facts.tasks_living = work->tasks.tasks_living;
    incident->facts.tasks_ready = work->tasks.tasks_ready;
    incident->facts.tasks_suspended = work->tasks.tasks_suspended;
    memcpy(incident->task, work->task, sizeof incident->task);
    memcpy(incident->method, work->method, sizeof incident->method);
    memcpy(incident->route, work->route, sizeof incident->route);
    recovery->declared_row = row_of(recovery, work);
}

/* The rest; its strays are counted later. */
static void describe(const struct skink__watch *watch, struct skink__subject *stuck, skink_cause cause,
                     struct skink__incident *incident)
{
    skink_incident *facts = &incident->facts;
    memcpy(facts->id, stuck->incident_id, sizeof facts->id);
    facts->time_unix_ns = wall_clock_ns();
    facts->generation = skink__thread_generation(stuck->thread);
    facts->tid = stuck->probe.tid;
    facts->slice_ns = stuck->clock.last.now_ns - stuck->clock.first_seen_ns;
    facts->effective_ns = stuck->clock.effective_ns;
    facts->cpu_ns = skink__slice_clock_cpu(&stuck->clock);
    facts->run_delay_ns = skink__slice_clock_run_delay(&stuck->clock);
    facts->cause = cause;
    facts->state = incident->declared_state = stuck->clock.last.state;
    facts->waits_on.descriptor = -1;
    skink__thread_probe_call(&stuck->probe, incident->declared_call, sizeof incident->declared_call);
    COPY_TEXT(incident->scheduler, skink__scheduler_name(watch->scheduler));
}

void skink__hand_over(skink_recovery *recovery, struct skink__watch *watch, struct skink__standby *standby,
                      const struct skink__abandonment *why, uint64_t declared_ns, bool hold)
{
    skink__takeover_begin(watch->scheduler, standby->thread, why, hold);
    SKINK_ASSERT(standby->parked && standby->subject && !standby->scheduler);
    watch->subject = standby->subject;
    standby->subject = NULL;
    standby->scheduler = skink__scheduler_ref(watch->scheduler);
    standby->declared_ns = declared_ns;
    skink__standby_take(recovery, standby);
    skink__pass_on_runtime();
    skink__standby_give(standby, SKINK__STANDBY_GO);
    /* What the task wrote before it got stuck: nothing else publishes it. That is over before the kernel has woken the
     * thread, which else waits for it. */
    skink__barrier();
    skink__standby_let_run(standby); /* it is no longer ours */
    /* If the kernel has put it on our processor, it goes first:
     * what is left to do here takes longer than all before. */
    sched_yield();
}

/* It runs when nobody else wants to; where that class is not to be had, at the lowest priority. */
static void make_idle(pid_t tid)
{
    struct sched_param none = { 0 };
    if (sched_setscheduler(tid, SCHED_IDLE, &none) != 0) setpriority(PRIO_PROCESS, (id_t)tid, 19);
}

/* The thread that was abandoned is the recovery's to count now. */
static void account(skink_recovery *recovery, struct skink__watch *watch, struct skink__subject *stuck,
                    bool hold) SKINK__WITH_MUTEX
{
    /* A stray that spins must not take the processor from those who go on. It will not need its priority back: its task
     * goes on elsewhere, and the thread ends. One that blocks takes nothing, and is to come back quickly. */
    if (stuck->clock.last.state == 'R') make_idle(stuck->probe.tid);
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

/* Into the store, from where the helper thread takes it. */
static void tell(skink_recovery *recovery, skink_action action) SKINK__WITH_MUTEX
{
    struct skink__incident *incident = &recovery->declared;
    incident->facts.held = action == SKINK_ACTION_HOLD;
    incident->facts.action = action;
    incident->facts.strays = recovery->stray_count;
    skink__incidents_add(&recovery->incidents, incident);
    struct skink__report *report = skink__report_next(recovery, SKINK__REPORT_DEADLOCK);
    if (!report) { /* nobody will look for the cause */
        skink__tally_incident(&recovery->tally, recovery->declared_row, incident->facts.cause, action);
        return;
    }
    report->incident_number = incident->facts.number;
    report->tally_row = recovery->declared_row;
    report->action = action;
    skink__report_submit(recovery);
}

/* Nothing happens when the slice has moved on, or nobody is there to take over.
 * Allocates nothing, waits for nothing. */
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
    pid_t stuck_tid = stuck->probe.tid; /* it may be freed as soon as it is counted */
    bool hold = recovery->stray_count >= recovery->max_strays;
    struct work work;
    note_work(watch, &work); /* handed on, the task may end at any time */
    give_id(recovery, stuck);
    bool poisoned = cause == SKINK_CAUSE_LOCK; /* as yet nothing else is known to be a lock */
    struct skink__abandonment why = { .starved = cause == SKINK_CAUSE_STARVED, .poisoned = poisoned };
    memcpy(why.incident_id, stuck->incident_id, sizeof why.incident_id);
    skink__hand_over(recovery, watch, standby, &why, declared_ns, hold);
    /* The loop does not wait for the rest. */
    identify(recovery, stuck, &work);
    if (poisoned) recovery->declared.facts.poisoned_by = recovery->poison.owner_number;
    describe(watch, stuck, cause, &recovery->declared);
    account(recovery, watch, stuck, hold);

    skink__limits_note(recovery, declared_ns, stuck_tid);
    recovery->stats.deadlocks++;
    recovery->stats.poisoned += poisoned;
    recovery->stats.deadlocks_starved += cause == SKINK_CAUSE_STARVED;
    tell(recovery, hold ? SKINK_ACTION_HOLD : SKINK_ACTION_TAKEOVER);
}

/* ---- without a takeover ---- */

void skink__declare_only(skink_recovery *recovery, struct skink__watch *watch, skink_cause cause, skink_action action)
{
    struct skink__subject *stuck = watch->subject;
    struct skink__lease *lease = skink__thread_lease(stuck->thread);
    if (stuck->reported_slice == stuck->clock.slice || !skink__lease_peek(lease, stuck->clock.slice)) return;
    struct work work;
    note_work(watch, &work);
    skink__lease_unpeek(lease, stuck->clock.slice);
    give_id(recovery, stuck);
    identify(recovery, stuck, &work);
    stuck->reported_slice = stuck->clock.slice;
    describe(watch, stuck, cause, &recovery->declared);
    recovery->stats.reported++;
    tell(recovery, action);
    if (action == SKINK_ACTION_ABORT) skink__abort_soon(recovery, stuck->probe.tid);
}

void skink__declared_only_over(skink_recovery *recovery, struct skink__subject *subject)
{
    if (subject->reported_slice == 0) return;
    uint64_t took_ns = skink_now() - subject->clock.first_seen_ns;
    subject->reported_slice = 0;
    skink__incidents_note_end(&recovery->incidents, subject->incident_number, took_ns);
    struct skink__report *report = skink__report_next(recovery, SKINK__REPORT_STUCK_OVER);
    if (!report) return;
    memcpy(report->incident_id, subject->incident_id, sizeof report->incident_id);
    report->time_ns = took_ns;
    skink__report_submit(recovery);
}

void skink__note(skink_recovery *recovery, struct skink__watch *watch)
{
    struct skink__subject *late = watch->subject;
    struct skink__lease *lease = skink__thread_lease(late->thread);
    if (late->noted_slice == late->clock.slice || !skink__lease_peek(lease, late->clock.slice)) return;
    struct work work;
    note_work(watch, &work);
    skink__lease_unpeek(lease, late->clock.slice);
    late->noted_slice = late->clock.slice;
    recovery->stats.notes++;
    recovery->tally.rows[row_of(recovery, &work)].notes++;
    struct skink__report *report = recovery->log_notes ? skink__report_next(recovery, SKINK__REPORT_NOTE) : NULL;
    if (!report) return;
    COPY_TEXT(report->task, work.task);
    snprintf(report->scheduler, sizeof report->scheduler, "%s", skink__scheduler_name(watch->scheduler));
    report->time_ns = late->clock.effective_ns;
    skink__report_submit(recovery);
}
