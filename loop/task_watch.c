/* SPDX-License-Identifier: MIT */
/*
 * loop/task_watch.c - how long a task runs, and that it suspends, for those who ask (task_watch.h).
 *
 * The clock is read where a timed task leaves its stack and where it comes back, and nowhere for the others. A stray's
 * time counts: it is on its stack until it migrates.
 */
#include "loop/task_watch.h"
#include "loop/hooks.h"
#include "loop/state.h"

static uint64_t get(const _Atomic uint64_t *value)
{
    return atomic_load_explicit((_Atomic uint64_t *)value, memory_order_relaxed);
}

static void set(_Atomic uint64_t *value, uint64_t to)
{
    atomic_store_explicit(value, to, memory_order_relaxed);
}

static void pause_clock(struct skink__task_watch *watch)
{
    uint64_t since_ns = get(&watch->since_ns);
    set(&watch->since_ns, 0); /* first: who reads in between misses the slice rather than counting it twice */
    set(&watch->ran_ns, get(&watch->ran_ns) + (skink_now() - since_ns));
}

void skink__task_watch_leave(struct skink__task_watch *watch, bool suspends)
{
    void (*fn)(struct skink__task_watch * watch) = suspends ? watch->suspends : NULL;
    if (fn) {
        watch->suspends = NULL;
        fn(watch);
    }
    if (watch->timed) pause_clock(watch);
}

void skink__task_watch_return(struct skink__task_watch *watch)
{
    if (watch->timed) set(&watch->since_ns, skink_now());
}

void skink__task_watch_time(struct skink__task_watch *watch)
{
    skink_task *task = skink_task_current();
    if (!task) return;
    skink__task_keep(task);
    watch->timed = true;
    skink__task_watch_return(watch);
    task->watch = watch;
}

bool skink__task_watch_suspension(struct skink__task_watch *watch, const skink_task *task,
                                  void (*suspends)(struct skink__task_watch *watch))
{
    skink_task *current = skink__in_task() ? skink__thread_self()->current : NULL;
    if (!current || current != task) return false;
    SKINK_ASSERT(!current->watch || current->watch == watch);
    skink__task_keep(current);
    watch->suspends = suspends;
    current->watch = watch;
    return true;
}

void skink__task_watch_end(void)
{
    skink_task *task = skink_task_current();
    if (!task || !task->watch) return;
    struct skink__task_watch *watch = task->watch;
    if (watch->timed) pause_clock(watch);
    watch->timed = false;
    watch->suspends = NULL;
    task->watch = NULL;
}

uint64_t skink__task_watch_read(const struct skink__task_watch *watch)
{
    uint64_t since_ns = get(&watch->since_ns), now_ns = since_ns ? skink_now() : 0;
    return get(&watch->ran_ns) + (now_ns > since_ns ? now_ns - since_ns : 0);
}
