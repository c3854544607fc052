/* SPDX-License-Identifier: MIT */
/*
 * blocking.c - the task's side of stretches that are known to block, and of slices that may take longer.
 *
 * A stretch is a flag in the task's timeout. Each slice's beginning publishes the timeout in the lease (state.h), so
 * the watchdog finds the flag there, and nothing is paid by those who do not use it. The end of a stretch ends the
 * slice: a watchdog that saw the flag a moment ago can take this slice away no more, since its number has passed.
 */
#include "skink/blocking.h"
#include "loop/state.h"
#include <errno.h>

enum { DEPTH_MAX = 255 };

/* The calling task's thread, in its runtime section; NULL outside of a task. */
static struct skink__thread *enter_task(void) SKINK__TRY_ACQUIRES(true, skink__runtime_section)
{
    struct skink__thread *thread = skink__thread_enter();
    if (!thread || skink__in_task()) return thread;
    skink__thread_leave(thread);
    return NULL;
}

static void publish_timeout(struct skink__thread *thread)
{
    atomic_store_explicit(&thread->lease.timeout_ns, thread->current->timeout_ns, memory_order_relaxed);
}

/* In host code, so that whoever looks now finds the stretch there. */
static void ring(skink_scheduler *scheduler)
{
    skink__doorbell_ring_at_once(&scheduler->blocking_bell);
}

void skink__blocking_goes_on(skink_task *task)
{
    ring(task->scheduler);
}

int skink_blocking_begin(void)
{
    struct skink__thread *thread = enter_task();
    if (!thread) return -EPERM;
    skink_task *task = thread->current;
    skink_scheduler *scheduler = thread->scheduler;
    int err = task->blocking_depth == DEPTH_MAX ? -EAGAIN : 0;
    if (!err && task->blocking_depth++ == 0) {
        task->timeout_ns |= SKINK__SLICE_BLOCKS;
        skink__task_keep(task);
        publish_timeout(thread);
        skink__count(&scheduler->blocking_stretches, 1);
    }
    skink__thread_leave(thread);
    if (!err && task->blocking_depth == 1) ring(scheduler);
    return err;
}

int skink_blocking_end(void)
{
    struct skink__thread *thread = enter_task(); /* if the loop has been handed on, the task migrates here */
    if (!thread) return -EPERM;
    skink_task *task = thread->current;
    int err = task->blocking_depth ? 0 : -EINVAL;
    if (!err && --task->blocking_depth == 0) {
        task->timeout_ns &= ~SKINK__SLICE_BLOCKS;
        skink__task_set_state(task, SKINK__TASK_READY);
        skink__ready_push(thread->scheduler, task);
        skink__task_leave(thread, SKINK__LEAVE_SUSPEND);
    } else {
        skink__thread_leave(thread);
    }
    return err ? err : skink__task_status(task);
}

/* A slice that is late ends at its next call, and the extension with it: so that call is made here. */
static struct skink__thread *enter_unless_late(void) SKINK__TRY_ACQUIRES(true, skink__runtime_section)
{
    struct skink__thread *thread;
    while ((thread = enter_task()) != NULL && skink__thread_is_late(thread))
        skink__thread_leave(thread);
    return thread;
}

int skink_slice_extend(uint64_t duration_ns)
{
    struct skink__thread *thread = enter_unless_late();
    if (!thread) return -EPERM;
    struct skink__lease *lease = &thread->lease;
    bool extended = atomic_load_explicit(&lease->extended_slice, memory_order_relaxed) == thread->slice;
    uint64_t so_far = extended ? atomic_load_explicit(&lease->extension_ns, memory_order_relaxed) : 0;
    uint64_t ceiling = atomic_load_explicit(&thread->scheduler->extend_ceiling_ns, memory_order_relaxed);
    int err = so_far > ceiling || duration_ns > ceiling - so_far ? -ERANGE : 0;
    if (!err) {
        atomic_store_explicit(&lease->extension_ns, so_far + duration_ns, memory_order_relaxed);
        /* Release: who reads the number finds the time. */
        atomic_store_explicit(&lease->extended_slice, thread->slice, memory_order_release);
    }
    skink__thread_leave_at_once(thread);
    return err;
}
