/* SPDX-License-Identifier: MIT */
/* The section has been left, and the thread may have been abandoned since. */
/* expect: writing variable 'stop_cut' requires holding capability 'skink__runtime_section' */
#include "loop/state.h"

void touch(skink_scheduler *scheduler);
void touch(skink_scheduler *scheduler)
{
    skink_scheduler *here = skink__runtime_enter();
    if (!SKINK__IS_HERE(here, scheduler)) {
        skink__runtime_leave(here);
        return;
    }
    skink__runtime_leave(here);
    scheduler->stop_cut = true;
}
