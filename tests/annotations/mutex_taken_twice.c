/* SPDX-License-Identifier: MIT */
/* What takes the mutex itself is called with it in hand. */
/* expect: cannot call function 'skink__standby_start' while capability 'skink__recovery_mutex' is held */
#include "recovery/state.h"

int make_one(skink_recovery *recovery);
int make_one(skink_recovery *recovery)
{
    skink__recovery_lock(recovery);
    int err = skink__standby_start(recovery);
    skink__recovery_unlock(recovery);
    return err;
}
