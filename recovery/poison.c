/* SPDX-License-Identifier: MIT */
/*
 * recovery/poison.c - a slice that waits for a lock of a stray's is the same deadlock once more, and need not have its
 * whole timeout.
 *
 *     watchdog       finds a slice blocked while strays live, and asks, once for each slice
 *     helper thread  follows the chain of locks from that thread (lock_owner.h); does it end at a stray?
 *     watchdog       if so, declares the slice at its next look
 *
 * Nothing waits for the answer. If the helper thread is busy with the host, the slice is declared at its
 * timeout, as always.
 */
#include "recovery/state.h"

void skink__poison_ask(skink_recovery *recovery, struct skink__subject *subject)
{
    struct skink__poison *poison = &recovery->poison;
    if (recovery->stray_count == 0 || subject->clock.last.state != 'S') return;
    if (subject->asked_slice == subject->clock.slice || poison->asked) return;
    subject->asked_slice = subject->clock.slice;
    *poison = (struct skink__poison){ .asked = true, .tid = subject->probe.tid, .slice = subject->clock.slice };
    pthread_cond_signal(&recovery->reports.changed);
}

bool skink__poison_is_known(const skink_recovery *recovery, const struct skink__subject *subject)
{
    const struct skink__poison *poison = &recovery->poison;
    return poison->owner_number != 0 && poison->tid == subject->probe.tid && poison->slice == subject->clock.slice;
}

static uint64_t stray_with(const skink_recovery *recovery, pid_t tid) SKINK__WITH_MUTEX
{
    for (const struct skink__subject *stray = recovery->strays; stray; stray = stray->next)
        if (skink__thread_tid(stray->thread) == tid) return stray->incident_number;
    return 0;
}

void skink__poison_answer(skink_recovery *recovery)
{
    struct skink__poison *poison = &recovery->poison;
    if (!poison->asked) return;
    pid_t tid = poison->tid, owners[SKINK__POISON_OWNERS_MAX];
    skink__recovery_unlock(recovery);
    size_t count = skink__investigate_owners(recovery, tid, owners, SKINK__POISON_OWNERS_MAX);
    skink__recovery_lock(recovery);
    /* The watchdog asks nothing new before it is answered. */
    for (size_t i = 0; i < count && poison->owner_number == 0; i++)
        poison->owner_number = stray_with(recovery, owners[i]);
    poison->asked = false;
    if (poison->owner_number != 0) skink__watchdog_kick(recovery);
}
