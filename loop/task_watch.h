/* SPDX-License-Identifier: MIT */
/* loop/task_watch.h - where a task that is watched leaves its stack and comes back to it (the watch itself:
 * loop/runtime.h). */
#ifndef SKINK_LOOP_TASK_WATCH_H
#define SKINK_LOOP_TASK_WATCH_H
#include "loop/runtime.h"

/* suspends: it is the loop thread that leaves the stack, in its runtime section; else a stray. */
void skink__task_watch_leave(struct skink__task_watch *watch, bool suspends);
void skink__task_watch_return(struct skink__task_watch *watch);
#endif
