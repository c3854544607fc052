/* SPDX-License-Identifier: MIT */
/* One way out forgets to leave: the slice would be timed as the runtime's own. */
/* expect: 'skink__entered' is not held on every path through here */
#include "loop/state.h"
#include <errno.h>

int name_it(skink_scheduler *scheduler, const char *name);
int name_it(skink_scheduler *scheduler, const char *name)
{
    skink_scheduler *here = skink__runtime_enter();
    if (!name) return -EINVAL;
    if (SKINK__IS_HERE(here, scheduler)) scheduler->role = name;
    skink__runtime_leave(here);
    return 0;
}
