/* SPDX-License-Identifier: MIT */
/*
 * skink/detection.h - a task that blocks its loop for a result of that same loop is told so at once.
 *
 * Without detection such a wait ends only when the watchdog has abandoned the thread. With it the wait returns
 * -EDEADLK right away. It covers the blocking waits of skink (skink_future_block(), skink_offload_block()), not those
 * of the system: what blocks on a mutex or a socket is for recovery.
 *
 * What to do instead, from the best to the least good:
 *
 *     skink_await(future, ...)         suspend; everybody else goes on
 *     skink_offload(fn, arg, ...)      run what blocks on the thread pool, and await it
 *     skink_once_run(once, ...)        for what is initialised once: waiters are suspended, not blocked
 *     skink_blocking_begin(), _end()   block right here, with the loop handed to another thread meanwhile
 *     skink_offload_block(fn, ...)     run it on the pool and block for it: never a deadlock, but the loop waits
 *
 * Threads  as each declaration says.
 * More     docs/detection.md.
 */
#ifndef SKINK_DETECTION_H
#define SKINK_DETECTION_H
#include "skink/annot.h"
#include "skink/future.h"
#include "skink/scheduler.h"
#include "skink/task.h"
#ifdef __cplusplus
extern "C" {
#endif

/*
 * Declare that `task` alone will complete the future: then who blocks the loop of that task for it gets -EDEADLK at
 * once. Only the caller can know; a future that is completed by whoever comes first must not have a completer. The end
 * of a task (skink_task_await()) and work on the pool (skink_offload_start()) need no declaration. The future keeps a
 * reference on the task. NULL takes the declaration back.
 *   -EALREADY  it is complete
 *   -EINVAL    no future, or one of skink_offload_start(), whose completer is known
 */
SKINK_NODISCARD SKINK_API int skink_future_set_completer(skink_future *future, skink_task *task) SKINK_ANY_THREAD;

/*
 * From here on this mode holds for the calling task, until skink_detection_end(). Scopes nest, 32 deep. They belong to
 * the task: tasks that it spawns begin with the scheduler's mode.
 *   -EPERM   outside of a task
 *   -EINVAL  no such mode
 *   -EAGAIN  nested too deep
 */
SKINK_NODISCARD SKINK_API int skink_detection_begin(skink_detection mode) SKINK_IN_TASK;

/* End the innermost scope. -EINVAL: there is none; -EPERM: outside of a task. */
SKINK_API int skink_detection_end(void) SKINK_IN_TASK;

/* The mode that holds for the calling task; outside of one SKINK_DETECTION_OFF. Never SKINK_DETECTION_DEFAULT. */
SKINK_API skink_detection skink_detection_mode(void) SKINK_ANY_THREAD;

/* Change the scheduler's mode; it holds for the next wait of each task that is in no scope. -EINVAL: no such mode. */
SKINK_NODISCARD SKINK_API int skink_scheduler_set_detection(skink_scheduler *scheduler,
                                                            skink_detection mode) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
