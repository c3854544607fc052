/* SPDX-License-Identifier: MIT */
/* Won, and nobody goes on with the loop. */
/* expect: 'skink__runtime_section' is not held on every path through here */
#include "recovery/state.h"

bool take(skink_scheduler *scheduler, struct skink__thread *stuck, struct skink__thread *fresh, uint64_t slice);
bool take(skink_scheduler *scheduler, struct skink__thread *stuck, struct skink__thread *fresh, uint64_t slice)
{
    if (!skink__lease_abandon(skink__thread_lease(stuck), slice)) return false;
    skink__takeover_begin(scheduler, fresh, NULL, false);
    return true;
}
