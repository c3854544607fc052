/* SPDX-License-Identifier: MIT */
/*
 * skink/once.h - initialise something once, with everybody who needs it suspended and not blocked.
 *
 *     static skink_once settings_once = SKINK_ONCE_INIT;
 *
 *     int error = skink_once_run(&settings_once, load_settings, NULL, skink_after(5 * SKINK_S));
 *     if (error) ...
 *     ... the settings are there ...
 *
 * A lock around a lazy initialisation blocks the loop for all who come while it runs, and for ever if what it waits for
 * needs the loop. Here the first caller starts the function as a task of its own, and then all of them await its end.
 *
 * Threads  any: a task suspends, another thread blocks (and runs the function itself if it is the first).
 * More     docs/detection.md, "Initialised once".
 */
#ifndef SKINK_ONCE_H
#define SKINK_ONCE_H
#include "skink/annot.h"
#include "skink/clock.h"
#include <stdbool.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* All zero before its first use; no end is needed. The fields are skink's own. */
typedef struct skink_once {
    void *private_attempt;
    int private_done;
} skink_once;
#define SKINK_ONCE_INIT                                                                                                \
    {                                                                                                                  \
        0                                                                                                              \
    }

/*
 * Have fn(arg) run, once. It returns 0 or a negative errno, and may suspend. Once it has returned 0 every call returns
 * 0 at the cost of one load.
 *
 * An error does not stick: all who waited for that attempt get it, and the next call tries again. fn runs as a task of
 * its own on the first caller's scheduler, so that no caller's cancellation, deadline or client ends it; arg must stay
 * valid until it has returned, not only during this call. If it gets stuck it is an incident like any other, named
 * "once", and its callers wait on, each until its own deadline. If its scheduler stops before it has ended, those who
 * still wait elsewhere try again.
 *   0           fn has returned 0, now or before
 *   <0          fn's error (-EIO for a positive number), or
 *   -ETIMEDOUT  deadline_ns passed first; fn goes on
 *   -ECANCELED  the calling task was cancelled, fn goes on; or the scheduler is stopping
 *   -EDEADLK    called from fn itself
 *   -EPERM      inside the runtime section
 *   -EINVAL, -EAGAIN (too many tasks), -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_once_run(skink_once *once, int (*fn)(void *arg), void *arg,
                                             uint64_t deadline_ns) SKINK_ANY_THREAD SKINK_SUSPENDS;

/* Has fn returned 0? Never waits. */
SKINK_API bool skink_once_is_done(const skink_once *once) SKINK_ANY_THREAD;

/* Forget that it is done, so that the next call runs its fn again; for caches. What the former run made is the caller's
 * to undo, when nobody uses it any more. -EBUSY: fn runs now. */
SKINK_API int skink_once_reset(skink_once *once) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
