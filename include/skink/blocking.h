/* SPDX-License-Identifier: MIT */
/*
 * skink/blocking.h - stretches of a task that are known to block, and slices that are known to be long.
 *
 *     skink_blocking_begin();
 *     rows = legacy_query(...);      blocks this thread; after a millisecond another one goes on with the loop
 *     skink_blocking_end();          back on the loop
 *
 * It is no deadlock and no incident: nobody waits for the timeout, and nothing is reported. What must never be done in
 * such a stretch is what must not be done off the loop: touch data that is shared with other tasks.
 *
 * Threads  inside a task.
 * More     docs/detection.md, "Known blocking".
 */
#ifndef SKINK_BLOCKING_H
#define SKINK_BLOCKING_H
#include "skink/annot.h"
#include "skink/clock.h"
#include "skink/scheduler.h"
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/*
 * A stretch begins that is known to block. If it lasts longer than the recovery's grace (blocking_grace_ns, 1 ms by
 * default; it may be seen up to as long again later), the loop is handed to another thread, and this one blocks on
 * alone. Stretches nest; the outermost counts. Without a recovery that watches the scheduler, or past its max_blocking,
 * the loop is not handed on, and the stretch blocks it like any other slice, timeout included.
 *
 * A call of skink inside of it brings the task back onto the loop for that call, and the stretch goes on afterwards.
 * Blocking waits of skink's are not refused in it (skink/detection.h). A stop of the scheduler waits for its end until
 * the deadline.
 *   -EPERM   outside of a task
 *   -EAGAIN  nested 255 deep
 */
SKINK_NODISCARD SKINK_API int skink_blocking_begin(void) SKINK_IN_TASK SKINK_SUSPENDS;

/*
 * It is over: the task is on the loop again when this returns, behind those that were ready. Read errno and
 * thread-locals anew. A task that ends within a stretch ends it.
 *   0           on the loop; or the stretch around this one goes on
 *   -ECANCELED, -ETIMEDOUT  the same, but the task is to end (as skink_checkpoint())
 *   -EINVAL     no stretch has begun
 *   -EPERM      outside of a task
 */
SKINK_API int skink_blocking_end(void) SKINK_IN_TASK SKINK_SUSPENDS;

/*
 * Let the slice that runs now take duration_ns longer than its timeout before it is declared stuck. Several calls add
 * up, to the recovery's extend_ceiling_ns at most. The next slice has its usual time again: each call that suspends
 * ends a slice, and so may any other once half of the timeout has passed.
 *   -ERANGE  it would be more than the ceiling; nothing was changed
 *   -EPERM   outside of a task
 */
SKINK_NODISCARD SKINK_API int skink_slice_extend(uint64_t duration_ns) SKINK_IN_TASK SKINK_SUSPENDS;

#ifdef __cplusplus
}
#endif
#endif
