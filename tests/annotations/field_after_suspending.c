/* SPDX-License-Identifier: MIT */
/* A wait ends outside of the section, maybe on another thread. */
/* expect: writing variable 'deadline_ns' requires holding capability 'skink__runtime_section' */
#include "loop/state.h"

int pause_until(skink_task *task, uint64_t deadline_ns) SKINK__LEAVES_RUNTIME;
int pause_until(skink_task *task, uint64_t deadline_ns)
{
    task->deadline_ns = deadline_ns;
    int err = skink__wait_suspend(task);
    task->deadline_ns = 0;
    return err;
}
