/* SPDX-License-Identifier: MIT */
/* loop/task_clock.h - where a task that is timed leaves its stack and comes back to it (the clock itself: loop/runtime.h). */
#ifndef SKINK_LOOP_TASK_CLOCK_H
#define SKINK_LOOP_TASK_CLOCK_H
#include "loop/runtime.h"

void skink__task_clock_pause(struct skink__task_clock *clock);
void skink__task_clock_resume(struct skink__task_clock *clock);
#endif
