/* SPDX-License-Identifier: MIT */
/* What is the runtime section's is touched by whoever comes along. */
/* expect: writing variable 'stop_cut' requires holding capability 'skink__runtime_section' */
#include "loop/state.h"

void touch(skink_scheduler *scheduler);
void touch(skink_scheduler *scheduler)
{
    scheduler->stop_cut = true;
}
