/* SPDX-License-Identifier: MIT */
/* What is right compiles: else the others would prove nothing. */
/* expect: nothing */
#include "loop/state.h"
#include "recovery/state.h"
#include <errno.h>

int touch_here(skink_scheduler *scheduler);
int touch_here(skink_scheduler *scheduler)
{
    skink_scheduler *here = skink__runtime_enter();
    int err = -EPERM;
    if (SKINK__IS_HERE(here, scheduler)) {
        scheduler->stop_cut = true;
        err = 0;
    }
    skink__runtime_leave(here);
    return err;
}

void count_here(void);
void count_here(void)
{
    struct skink__thread *thread = skink__thread_enter();
    if (!thread) return;
    skink__count(&thread->scheduler->migrations, 1);
    skink__thread_leave(thread);
}

bool is_pending(skink_future *future);
bool is_pending(skink_future *future)
{
    skink__future_lock(future);
    bool pending = future->waiters != NULL;
    skink__future_unlock(future);
    return pending;
}

uint32_t strays_of(skink_recovery *recovery);
uint32_t strays_of(skink_recovery *recovery)
{
    skink__recovery_lock(recovery);
    uint32_t strays = recovery->stray_count;
    skink__recovery_unlock(recovery);
    return strays;
}
