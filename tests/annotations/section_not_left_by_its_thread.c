/* SPDX-License-Identifier: MIT */
/* The same inside loop/, where the thread is known. */
/* expect: 'skink__runtime_section' is not held on every path through here */
#include "loop/state.h"
#include <errno.h>

int count_one(void);
int count_one(void)
{
    struct skink__thread *thread = skink__thread_enter();
    if (!thread) return -EPERM;
    if (!thread->current) return -EPERM;
    skink__count(&thread->scheduler->migrations, 1);
    skink__thread_leave(thread);
    return 0;
}
