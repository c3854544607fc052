/* SPDX-License-Identifier: MIT */
/*
 * skink/io.h - waiting for file descriptors, and work on the thread pool.
 *
 * Threads  as each declaration says.
 * More     docs/embedding.md, "Waiting".
 */
#ifndef SKINK_IO_H
#define SKINK_IO_H
#include "skink/annot.h"
#include "skink/clock.h"
#include "skink/future.h"
#include "skink/scheduler.h"
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define SKINK_READABLE 1u /* bytes, a connection to accept, or the end of the stream */
#define SKINK_WRITABLE 2u
#define SKINK_HANGUP 4u /* the peer is gone; reported also when not asked for */

/*
 * Suspend this task until fd is ready for one of `events` (SKINK_READABLE | SKINK_WRITABLE) or deadline_ns passes;
 * outside a task, block the thread. Several tasks may wait for one descriptor. The descriptor must be non-blocking for
 * the read or write that follows, and must stay open during the call: libuv may end the process when a descriptor that
 * it is about to watch is closed. Whoever wants to close it cancels the tasks that wait, and waits for them.
 *   0           *ret_events (may be NULL) has what is ready
 *   -ETIMEDOUT, -ECANCELED   as skink_await()
 *   -EINVAL     no such event
 *   -EBADF      no open descriptor
 *   -EPERM      a regular file (in a task); or inside the runtime section
 *   -EEXIST     a libuv handle of the host's on this loop watches it
 *   -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_await_fd(int fd, uint32_t events, uint64_t deadline_ns,
                                             uint32_t *ret_events) SKINK_ANY_THREAD SKINK_SUSPENDS;

/*
 * Run fn(arg) on the thread pool of libuv (UV_THREADPOOL_SIZE threads, 4 by default) and wait for what it
 * returns; fn may block there. Suspends a task. Returns only when fn has returned or will never run, so arg
 * may be on the caller's stack. Outside a task: -EPERM; use skink_offload_start().
 *   0           *ret_value (may be NULL) is what fn returned
 *   -ECANCELED, -ETIMEDOUT  as skink_yield(), before fn had started; fn does not run
 *   -EAGAIN     the pool's threads were not needed before, and cannot be created now; fn does not run
 *   -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_offload(void *(*fn)(void *arg), void *arg,
                                            void **ret_value) SKINK_IN_TASK SKINK_SUSPENDS;

/*
 * Run fn(arg) on the thread pool and block this thread for it, although it is a loop thread: for code that cannot
 * suspend. It is never a deadlock as long as fn does not wait for a task of this loop, but everybody else of the loop
 * waits too, and after the timeout the thread is abandoned like any other. Returns when fn has returned or will never
 * run, so arg may be on the caller's stack. Cancellation does not end it. Outside a task: -EPERM.
 *   0           *ret_value (may be NULL) is what fn returned
 *   -EDEADLK    the detection mode is `potential` (skink/detection.h); fn does not run
 *   -ECANCELED  the scheduler is stopping; fn does not run
 *   -EAGAIN     as skink_offload()
 *   -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_offload_block(void *(*fn)(void *arg), void *arg,
                                                  void **ret_value) SKINK_IN_TASK SKINK_BLOCKS;

/*
 * Run fn(arg) on the thread pool without waiting for it. On 0 the caller owns one reference on *ret_future, which
 * completes with what fn returns; arg is fn's until then. If the scheduler is stopped or destroyed before it has handed
 * fn to the pool, the future fails with -ECANCELED, and fn never runs; what the pool has in its queue runs all the
 * same. Should somebody else complete the future first, what fn returns is lost.
 *   -ECANCELED  the scheduler is stopping
 *   -EAGAIN     as skink_offload(), in a task of this scheduler; on any other thread it is the future that fails so
 *   -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_offload_start(skink_scheduler *scheduler, void *(*fn)(void *arg), void *arg,
                                                  skink_future **ret_future) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
