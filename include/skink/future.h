/* SPDX-License-Identifier: MIT */
/*
 * skink/future.h - a value, or an error, that is not there yet.
 *
 * Owns     nothing but itself: what the value points to is between completer and awaiters.
 *          Reference-counted; it belongs to no scheduler.
 * Threads  any. skink_await suspends a task and blocks any other thread.
 * More     docs/embedding.md, "Waiting".
 */
#ifndef SKINK_FUTURE_H
#define SKINK_FUTURE_H
#include "skink/annot.h"
#include "skink/clock.h"
#include "skink/scheduler.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct skink_future skink_future; /* opaque */

/* Create a future that is not complete. On 0 the caller owns one reference. -ENOMEM. */
SKINK_NODISCARD SKINK_API int skink_future_create(skink_future **ret_future) SKINK_ANY_THREAD;

/* One more reference; returns its argument. */
SKINK_API skink_future *skink_future_ref(skink_future *future) SKINK_ANY_THREAD;

/* One reference less. Who awaits it must hold a reference of its own (or know that another holds one).
 * NULL is fine. */
SKINK_API void skink_future_unref(skink_future *future) SKINK_ANY_THREAD;

/* Complete it with a value, once. Everybody who awaits it is woken. -EALREADY: it was complete before, and stays as it
 * was. */
SKINK_NODISCARD SKINK_API int skink_future_complete(skink_future *future, void *value) SKINK_ANY_THREAD;

/* Complete it with an error (a negative errno), once. -EALREADY as above; -EINVAL if error is not negative. */
SKINK_NODISCARD SKINK_API int skink_future_fail(skink_future *future, int error) SKINK_ANY_THREAD;

/* Is it complete? Never waits. */
SKINK_API bool skink_future_is_done(const skink_future *future) SKINK_ANY_THREAD;

/*
 * Wait for it. A task is suspended; any other thread blocks. ret_value may be NULL and is written on 0 only.
 *   0           *ret_value is what it was completed with
 *   <0          the error it was failed with, or
 *   -ETIMEDOUT  deadline_ns passed first
 *   -ECANCELED  the calling task was cancelled
 *   -EDEADLK    work on the thread pool would wait for itself (skink/detection.h)
 *   -EPERM      inside the runtime section, where nothing may wait
 *   -ENOMEM     no memory for the deadline's timer
 * In a scope (skink/token.h) also the reason of its token, when that fires first.
 */
SKINK_NODISCARD SKINK_API int skink_await(skink_future *future, uint64_t deadline_ns,
                                          void **ret_value) SKINK_ANY_THREAD SKINK_SUSPENDS;

/*
 * Wait for it by blocking this thread, also when that is a loop thread. From a task this is the classic deadlock: if
 * what completes the future is a task of the same loop, it cannot run while the thread blocks. Where that is certain
 * the call returns -EDEADLK at once, with a deadline as well (skink/detection.h: which futures, and how to choose).
 * Else the watchdog abandons the thread after the timeout, a fresh one runs the other task, and this call returns on
 * the fresh thread. Correct programs use skink_await(); this is for code that cannot be changed to that. Neither
 * cancellation nor the token of a scope ends it. Results otherwise as skink_await(), and
 *   -EDEADLK    it would wait for itself; or, in the mode `potential`, it would block a loop thread at all
 */
SKINK_NODISCARD SKINK_API int skink_future_block(skink_future *future, uint64_t deadline_ns,
                                                 void **ret_value) SKINK_ANY_THREAD SKINK_BLOCKS;

/*
 * Wait until one of the futures is complete, and say which: *ret_index (may be NULL) is the first of those that are.
 * Whether it has a value or an error, skink_await() of that one tells without waiting. The array must stay as it is
 * meanwhile, and the caller hold references. A task is suspended; any other thread blocks.
 *   0           one is complete
 *   -ETIMEDOUT, -ECANCELED, -EPERM, -ENOMEM   as skink_await()
 *   -EINVAL     no futures, or a NULL among them
 */
SKINK_NODISCARD SKINK_API int skink_await_any(skink_future *const *futures, size_t count, uint64_t deadline_ns,
                                              size_t *ret_index) SKINK_ANY_THREAD SKINK_SUSPENDS;

/*
 * Wait until all of them are complete. None is no wait. When the deadline passes or the task is cancelled, some may be.
 *   0           all have values
 *   <0          all are complete, and this is the error of the first in the array that has one; or
 *   -EINVAL     a NULL among them
 *   -ETIMEDOUT, -ECANCELED, -EDEADLK, -EPERM, -ENOMEM   as skink_await(); skink_future_is_done() says which are
 *               complete
 */
SKINK_NODISCARD SKINK_API int skink_await_all(skink_future *const *futures, size_t count,
                                              uint64_t deadline_ns) SKINK_ANY_THREAD SKINK_SUSPENDS;

/* Where a continuation runs. */
typedef enum skink_where {
    SKINK_ON_LOOP = 1, /* as a task of the given scheduler                                             */
    SKINK_ON_POOL = 2, /* on a thread of the pool that the given scheduler uses; it may block there    */
    SKINK_IN_PLACE = 3 /* on the thread that completes the future, inside its call: must be short      */
} skink_where;

/*
 * Call fn(arg, error, value) once when the future is complete (at once if it is): error is 0 or the negative
 * errno. scheduler is needed for SKINK_ON_LOOP and SKINK_ON_POOL, and ignored for SKINK_IN_PLACE. If that
 * scheduler is stopped by then, or stops before fn has begun, fn runs in place with -ECANCELED.
 *   -EAGAIN  SKINK_ON_LOOP: task_max tasks live already; one is set aside for fn from here on
 *   -EINVAL, -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_future_then(skink_future *future, skink_where where, skink_scheduler *scheduler,
                                                void (*fn)(void *arg, int error, void *value),
                                                void *arg) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
