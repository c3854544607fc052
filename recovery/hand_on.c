/* SPDX-License-Identifier: MIT */
/*
 * recovery/hand_on.c - stretches that are known to block: the loop goes to another thread, and nothing is declared.
 *
 * It is a takeover like any other (declare.c), but for what is made of it: the task is told nothing, no incident comes
 * of it, and its thread is no stray. Such threads are bounded by themselves. Past the bound, and without a standby, the
 * slice is left where it is, and timed like any other.
 *
 * A stretch that begins rings (loop/blocking.c), for the watchdog may be asleep for much longer than the grace; and so
 * does one that goes on in another slice. While stretches come and go it looks once per grace, and the bell stays down:
 * so most of them cost no wake-up. It does not sleep for longer before the bell is hung again.
 */
#include "recovery/state.h"

/* Looks without a stretch, before the bell is hung again and the looks become rare. */
#define CALM_LOOKS 2

/* ---- the bell ---- */

static void hang(skink_recovery *recovery, struct skink__watch *watch) SKINK__WITH_MUTEX
{
    /* Either the look that follows sees the stretch that begins now, or that sees the bell. */
    skink__doorbell_hang_by_exchange(skink__scheduler_blocking_bell(watch->scheduler), recovery->wakeup_fd);
    watch->blocking_bell_hung = true;
}

void skink__blocking_bell_take_down(skink_recovery *recovery, struct skink__watch *watch)
{
    if (!watch->blocking_bell_hung) return;
    watch->blocking_bell_hung = false;
    if (!skink__doorbell_take_down(skink__scheduler_blocking_bell(watch->scheduler))) recovery->wakeups_due++;
}

void skink__blocking_listen(skink_recovery *recovery, struct skink__watch *watch)
{
    if (watch->blocking_bell_hung) {
        if (!skink__doorbell_was_rung(skink__scheduler_blocking_bell(watch->scheduler))) return;
        watch->blocking_bell_hung = false;
        recovery->wakeups_due++; /* who took it writes, or has written */
        watch->blocking_looks = CALM_LOOKS;
    } else if (watch->blocking_looks == 0) {
        hang(recovery, watch);
    }
}

/* ---- the looks ---- */

/* Without an incident: the loop's next thread is told nothing of the task. */
static bool hand_on(skink_recovery *recovery, struct skink__watch *watch, uint64_t slice) SKINK__WITH_MUTEX
{
    struct skink__subject *blocking = watch->subject;
    struct skink__standby *standby = skink__standby_find(recovery);
    if (!standby) return false;
    skink__stray_prepare(recovery, blocking);
    if (!skink__lease_abandon(skink__thread_lease(blocking->thread), slice)) {
        if (!skink__stray_undo(recovery, blocking)) watch->subject = NULL;
        return true; /* it is over */
    }
    blocking->abandoned_ns = skink_now();
    skink__blocking_add(recovery, blocking);
    recovery->stats.blocking_handed_on++;
    skink__thread_probe_close(&blocking->probe);
    skink__hand_over(recovery, watch, standby, NULL, 0, false);
    return true;
}

bool skink__blocking_look(skink_recovery *recovery, struct skink__watch *watch, uint64_t slice, bool blocks,
                          uint64_t *ret_next_ns)
{
    struct skink__subject *subject = watch->subject;
    uint64_t now_ns = skink_now();
    if (!blocks) {
        subject->blocking_since_ns = 0;
        if (watch->blocking_looks > 0) watch->blocking_looks--;
        bool calm = watch->blocking_looks == 0 && watch->blocking_bell_hung;
        *ret_next_ns = calm ? SKINK__NEVER : skink__later(now_ns, recovery->blocking_grace_ns);
        return false;
    }
    watch->blocking_looks = CALM_LOOKS;
    if (subject->blocking_slice != slice || !subject->blocking_since_ns) {
        subject->blocking_slice = slice;
        subject->blocking_since_ns = now_ns;
    }
    *ret_next_ns = skink__later(subject->blocking_since_ns, recovery->blocking_grace_ns);
    if (now_ns < *ret_next_ns) return true;
    *ret_next_ns = skink__later(now_ns, recovery->blocking_grace_ns);
    if (recovery->blocking_count >= recovery->max_blocking) return false;
    return hand_on(recovery, watch, slice);
}
