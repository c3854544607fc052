/* SPDX-License-Identifier: MIT */
/* loop/barrier.h - a memory barrier that all threads of the process pass, whatever they run: membarrier(2). */
#ifndef SKINK_LOOP_BARRIER_H
#define SKINK_LOOP_BARRIER_H
#include <stdbool.h>

/* Before the first one, in time: where the process has threads already, the kernel takes some milliseconds for it, and
 * on a busy machine half a second; from then on a barrier takes a microsecond. False: it does not work
 * here. Any thread. */
bool skink__barrier_prepare(void);

void skink__barrier(void);
#endif
