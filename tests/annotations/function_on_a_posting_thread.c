/* SPDX-License-Identifier: MIT */
/* A thread of another scheduler, or of none, pushes into the ready queue instead of posting. */
/* expect: calling function 'skink__ready_push' requires holding capability 'skink__runtime_section' */
#include "loop/state.h"

void wake(skink_scheduler *scheduler, skink_task *task);
void wake(skink_scheduler *scheduler, skink_task *task)
{
    skink_scheduler *here = skink__runtime_enter();
    if (SKINK__IS_HERE(here, scheduler))
        skink__ready_push(scheduler, task);
    else
        skink__ready_push(scheduler, task); /* not from here */
    skink__runtime_leave(here);
}
