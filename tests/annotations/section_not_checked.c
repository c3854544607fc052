/* SPDX-License-Identifier: MIT */
/* To have entered some section, or none, is not to be in this one. */
/* expect: reading variable 'fd_watches' requires holding capability 'skink__runtime_section' */
#include "loop/state.h"

bool watches(const skink_scheduler *scheduler);
bool watches(const skink_scheduler *scheduler)
{
    skink_scheduler *here = skink__runtime_enter();
    bool any = scheduler->fd_watches;
    skink__runtime_leave(here);
    return any;
}
