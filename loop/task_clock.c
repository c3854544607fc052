/* SPDX-License-Identifier: MIT */
/*
 * loop/task_clock.c - how long a task runs, for those who ask (task_clock.h).
 *
 * The clock is read where a timed task leaves its stack and where it comes back, and nowhere for the others. A stray's time
 * counts: it is on its stack until it migrates.
 */
#include "loop/task_clock.h"
#include "loop/state.h"

static uint64_t get(const _Atomic uint64_t *value)
{
    return atomic_load_explicit((_Atomic uint64_t *)value, memory_order_relaxed);
}

static void set(_Atomic uint64_t *value, uint64_t to)
{
    atomic_store_explicit(value, to, memory_order_relaxed);
}

void skink__task_clock_pause(struct skink__task_clock *clock)
{
    uint64_t since_ns = get(&clock->since_ns);
    set(&clock->since_ns, 0); /* first: who reads in between misses the slice rather than counting it twice */
    set(&clock->ran_ns, get(&clock->ran_ns) + (skink_now() - since_ns));
}

void skink__task_clock_resume(struct skink__task_clock *clock)
{
    set(&clock->since_ns, skink_now());
}

void skink__task_clock_start(struct skink__task_clock *clock)
{
    skink_task *task = skink_task_current();
    if (!task) return;
    skink__task_keep(task);
    skink__task_clock_resume(clock);
    task->clock = clock;
}

void skink__task_clock_stop(void)
{
    skink_task *task = skink_task_current();
    if (!task || !task->clock) return;
    skink__task_clock_pause(task->clock);
    task->clock = NULL;
}

uint64_t skink__task_clock_read(const struct skink__task_clock *clock)
{
    uint64_t since_ns = get(&clock->since_ns), now_ns = since_ns ? skink_now() : 0;
    return get(&clock->ran_ns) + (now_ns > since_ns ? now_ns - since_ns : 0);
}
