/* SPDX-License-Identifier: MIT */
/*
 * recovery/strays.c - abandoned loop threads, from the declaration until they end by themselves.
 *
 * Nobody waits for a stray and nobody ends it: it may hold the host's locks. It is counted, and it tells us when it
 * has come back. Of counted ones at most max_strays live. The next slice that gets stuck is taken off the loop all the
 * same, so that its client is answered, but the fresh thread is held: it runs the event loop and no task. The thread
 * that is stuck then is "held" too, and becomes a counted stray only when the hold is over.
 */
#include "recovery/state.h"
#include <stdio.h>
#include <string.h>

/* ---- on the stray itself ---- */

static void unlink_from(struct skink__subject **list, uint32_t *count, struct skink__subject *subject) SKINK__WITH_MUTEX
{
    if (subject->previous)
        subject->previous->next = subject->next;
    else
        *list = subject->next;
    if (subject->next) subject->next->previous = subject->previous;
    --*count;
}

static void link_to(struct skink__subject **list, uint32_t *count, struct skink__subject *subject) SKINK__WITH_MUTEX
{
    subject->previous = NULL;
    subject->next = *list;
    if (subject->next) subject->next->previous = subject;
    *list = subject;
    ++*count;
}

static void report_return(skink_recovery *recovery, const struct skink__subject *subject) SKINK__WITH_MUTEX
{
    /* A slice's length, from its first sighting on. */
    skink__incidents_note_end(&recovery->incidents, subject->incident_number,
                              skink_now() - subject->clock.first_seen_ns);
    struct skink__report *report = skink__report_next(recovery, SKINK__REPORT_STRAY_RETURNED);
    if (!report) return;
    memcpy(report->incident_id, subject->incident_id, sizeof report->incident_id);
    report->time_ns = skink_now() - subject->abandoned_ns;
    skink__report_submit(recovery);
}

/* The last thing that a stray does as a loop thread: its task has migrated, its lease says ENDED. */
static void stray_ended(struct skink__thread *thread, void *arg)
{
    struct skink__subject *subject = arg;
    skink_recovery *recovery = subject->recovery;
    (void)thread;
    skink__recovery_lock(recovery);
    if (subject->role == SKINK__SUBJECT_HELD) {
        subject->watch->held = NULL; /* its scheduler goes on without counting a stray */
        recovery->stats.strays_total++;
    } else if (subject->role == SKINK__SUBJECT_STRAY) {
        unlink_from(&recovery->strays, &recovery->stray_count, subject);
    } else if (subject->role == SKINK__SUBJECT_BLOCKING) {
        unlink_from(&recovery->blocking, &recovery->blocking_count, subject);
    }
    if (subject->role == SKINK__SUBJECT_HELD || subject->role == SKINK__SUBJECT_STRAY) {
        recovery->stats.strays_returned++;
        report_return(recovery, subject);
    }
    skink__watchdog_kick(recovery); /* there may be room now for one that is held */
    bool last = skink__recovery_unref(recovery);
    skink__recovery_unlock(recovery);
    skink__subject_free(subject);
    if (last) skink__recovery_free(recovery);
}

/* ---- on the watchdog, or on who unwatches; under the mutex ---- */

void skink__stray_prepare(skink_recovery *recovery, struct skink__subject *subject)
{
    recovery->refs++;
    subject->recovery = recovery;
    subject->ended = (struct skink__ended){ .fn = stray_ended, .arg = subject };
    skink__thread_on_ended(subject->thread, &subject->ended);
}

bool skink__stray_undo(skink_recovery *recovery, struct skink__subject *subject)
{
    if (!skink__thread_on_ended(subject->thread, NULL)) {
        subject->role = SKINK__SUBJECT_ENDING; /* it waits for the mutex, in stray_ended() */
        return false;
    }
    subject->recovery = NULL;
    recovery->refs--;
    return true;
}

void skink__stray_add(skink_recovery *recovery, struct skink__subject *subject)
{
    subject->role = SKINK__SUBJECT_STRAY;
    subject->watch = NULL;
    link_to(&recovery->strays, &recovery->stray_count, subject);
    recovery->stats.strays_total++;
}

void skink__blocking_add(skink_recovery *recovery, struct skink__subject *subject)
{
    subject->role = SKINK__SUBJECT_BLOCKING;
    link_to(&recovery->blocking, &recovery->blocking_count, subject);
}

void skink__stray_hold(struct skink__watch *watch, struct skink__subject *subject)
{
    subject->role = SKINK__SUBJECT_HELD;
    subject->watch = watch;
    watch->held = subject;
    watch->holding = true;
}

void skink__hold_end(skink_recovery *recovery, struct skink__watch *watch)
{
    if (watch->held) skink__stray_add(recovery, watch->held); /* still stuck */
    watch->held = NULL;
    watch->holding = false;
    recovery->stats.takeovers++;
    skink__scheduler_release_hold(watch->scheduler);
    struct skink__report *report = skink__report_next(recovery, SKINK__REPORT_HOLD_ENDED);
    if (!report) return;
    snprintf(report->scheduler, sizeof report->scheduler, "%s", skink__scheduler_name(watch->scheduler));
    skink__report_submit(recovery);
}

void skink__holds_settle(skink_recovery *recovery)
{
    for (struct skink__watch *watch = recovery->watches; watch; watch = watch->next)
        if (watch->holding && (!watch->held || recovery->stray_count < recovery->max_strays))
            skink__hold_end(recovery, watch);
}
