/* SPDX-License-Identifier: MIT */
/* loop/barrier.c - see barrier.h. */
#include "loop/barrier.h"
#include <linux/membarrier.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic int command; /* of membarrier(); 0: none that works is known */

/* Preferably the quick one, and not the one that waits for all processors. */
static int choose(void)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0)
        return MEMBARRIER_CMD_PRIVATE_EXPEDITED;
    long known = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    return known > 0 && (known & MEMBARRIER_CMD_GLOBAL) ? MEMBARRIER_CMD_GLOBAL : 0;
}

bool skink__barrier_prepare(void)
{
    if (!atomic_load(&command)) atomic_store(&command, choose());
    return atomic_load(&command) != 0;
}

void skink__barrier(void)
{
    int chosen = atomic_load(&command);
    if (chosen) syscall(SYS_membarrier, chosen, 0, 0);
}
