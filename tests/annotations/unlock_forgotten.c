/* SPDX-License-Identifier: MIT */
/* One way out keeps the mutex. */
/* expect: 'skink__recovery_mutex' is not held on every path through here */
#include "recovery/state.h"
#include <errno.h>

int accept_strays(skink_recovery *recovery);
int accept_strays(skink_recovery *recovery)
{
    skink__recovery_lock(recovery);
    if (!recovery->strays) return -ENOENT;
    recovery->limits.accepted_strays = recovery->stray_count;
    skink__recovery_unlock(recovery);
    return 0;
}
