/* SPDX-License-Identifier: MIT */
/*
 * skink/task.h - one stackful coroutine: a request, or a function the host spawned.
 *
 * Owns     its stack while it lives. A handle (skink_task *) is reference-counted and outlives the task.
 * Threads  spawn, cancel, await: any. Sleep, yield, checkpoint: inside a task.
 * Errors   int functions return 0 or a negative errno.
 * More     docs/embedding.md.
 */
#ifndef SKINK_TASK_H
#define SKINK_TASK_H
#include "skink/annot.h"
#include "skink/clock.h"
#include "skink/incident.h"
#include "skink/scheduler.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct skink_task skink_task;   /* opaque */
typedef struct skink_token skink_token; /* opaque */

/* Zero in any field means its default; an unknown flag is -EINVAL. */
typedef struct skink_task_options {
    size_t size;                  /* set by SKINK_TASK_OPTIONS_INIT                                     */
    uint32_t flags;               /* none yet                                                           */
    const char *name;             /* for reports; must stay valid until the task has ended (a literal)  */
    uint64_t deadlock_timeout_ns; /* of each slice, at least 10 ms; default: the recovery's             */
    skink_action action;          /* when it has passed, not HOLD; default: the recovery's              */
} skink_task_options;
#define SKINK_TASK_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        .size = sizeof(skink_task_options)                                                                             \
    }

/*
 * Run fn(arg) as a task of its own. NULL options: all defaults. ret_task may be NULL; else, on 0, *ret_task
 * is a reference of the caller's, to be released with skink_task_unref().
 * arg is the caller's until fn starts; it never starts if it is dropped before, at a stop (skink_scheduler_stop()).
 *   -ECANCELED  the scheduler is stopping or stopped
 *   -EAGAIN     task_max tasks live already; or nearly so: each other thread that spawns or posts may keep a thousandth
 *               of task_max, and 64 at most, ready for itself, and the loop 31 for a moment
 *   -EINVAL, -E2BIG, -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_spawn(skink_scheduler *scheduler, const skink_task_options *options,
                                          skink_task **ret_task, void (*fn)(void *arg), void *arg) SKINK_ANY_THREAD;

/* One more reference; returns its argument. */
SKINK_API skink_task *skink_task_ref(skink_task *task) SKINK_ANY_THREAD;

/* One reference less. The task itself runs on. NULL is fine. */
SKINK_API void skink_task_unref(skink_task *task) SKINK_ANY_THREAD;

/*
 * Ask the task to end: its token fires, and from now on each of its awaits returns -ECANCELED at once. It is
 * for the task to return then. A task that has not started yet still starts, cancelled. Idempotent.
 *   -ESRCH  it has ended already
 */
SKINK_API int skink_task_cancel(skink_task *task) SKINK_ANY_THREAD;

/*
 * Wait until the task has ended or deadline_ns passes. Suspends a task, blocks any other thread.
 *   0           it has ended
 *   -ETIMEDOUT  deadline_ns passed first
 *   -ECANCELED  the caller was cancelled; or the task was dropped at a stop, or was with a stray then
 *   -EDEADLK    it is the calling task itself; or as skink_await()
 *   -EPERM, -ENOMEM   as skink_await()
 */
SKINK_NODISCARD SKINK_API int skink_task_await(skink_task *task, uint64_t deadline_ns) SKINK_ANY_THREAD SKINK_SUSPENDS;

/*
 * The same by blocking this thread, also when that is a loop thread. Cancellation does not end it. For a task of the
 * same loop that is the classic deadlock, and the call says -EDEADLK at once (skink/detection.h); results otherwise as
 * skink_future_block().
 */
SKINK_NODISCARD SKINK_API int skink_task_block(skink_task *task, uint64_t deadline_ns) SKINK_ANY_THREAD SKINK_BLOCKS;

/* The calling task; NULL outside of one. Borrowed: valid while the task runs, ref it to keep it. */
SKINK_API skink_task *skink_task_current(void) SKINK_ANY_THREAD;

/* The name it was spawned with, or "task". */
SKINK_API const char *skink_task_name(const skink_task *task) SKINK_ANY_THREAD;

/* Let the other ready tasks run first. Returns 0, -ECANCELED or -ETIMEDOUT when the task, or the token of a scope that
 * it is in (skink/token.h), says so, or -EPERM outside a task. */
SKINK_NODISCARD SKINK_API int skink_yield(void) SKINK_IN_TASK SKINK_SUSPENDS;

/* Suspend this task until deadline_ns. Returns 0, -ECANCELED or -ETIMEDOUT as skink_yield(), -EPERM outside a task, or
 * -ENOMEM without memory for the timer. Timers have a resolution of one millisecond and never fire early. */
SKINK_NODISCARD SKINK_API int skink_sleep_until(uint64_t deadline_ns) SKINK_IN_TASK SKINK_SUSPENDS;

/* The same, delay_ns from now. */
SKINK_NODISCARD SKINK_API int skink_sleep(uint64_t delay_ns) SKINK_IN_TASK SKINK_SUSPENDS;

/*
 * An API call that does nothing else: if this task's thread has been abandoned, the task migrates here; if
 * the slice is overdue, it goes back through the ready queue; else it goes on at once. Call it between the
 * steps of a long computation, before touching data that is shared with other tasks.
 * Returns 0, -ECANCELED or -ETIMEDOUT as skink_yield(), or -EPERM outside a task.
 */
SKINK_NODISCARD SKINK_API int skink_checkpoint(void) SKINK_IN_TASK SKINK_SUSPENDS;

/* The calling task's cancellation token; NULL outside a task or without memory. Borrowed: valid while the
 * task lives; take a reference to pass it on (to work on the thread pool, which polls it). */
SKINK_API skink_token *skink_task_token(void) SKINK_IN_TASK;

/* Has it fired? 0 while it has not, else a negative errno: -ECANCELED, or -ETIMEDOUT when its deadline has passed.
 * Costs one load, and a look at the clock if it has a deadline. -EINVAL for NULL. */
SKINK_API int skink_token_status(const skink_token *token) SKINK_ANY_THREAD;

/* One more reference; returns its argument. */
SKINK_API skink_token *skink_token_ref(skink_token *token) SKINK_ANY_THREAD;

/* One reference less. NULL is fine. */
SKINK_API void skink_token_unref(skink_token *token) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
