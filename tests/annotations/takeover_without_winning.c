/* SPDX-License-Identifier: MIT */
/* Transition 3 was lost: the scheduler is its loop thread's, and not the watchdog's to give away. */
/* expect: calling function 'skink__takeover_begin' requires holding capability 'skink__runtime_section' */
#include "recovery/state.h"

bool take(skink_scheduler *scheduler, struct skink__thread *stuck, struct skink__thread *fresh, uint64_t slice);
bool take(skink_scheduler *scheduler, struct skink__thread *stuck, struct skink__thread *fresh, uint64_t slice)
{
    if (skink__lease_abandon(skink__thread_lease(stuck), slice)) {
        skink__takeover_begin(scheduler, fresh, NULL, false);
        skink__pass_on_runtime();
        return true;
    }
    skink__takeover_begin(scheduler, fresh, NULL, false);
    return false;
}
