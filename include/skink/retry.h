/* SPDX-License-Identifier: MIT */
/*
 * skink/retry.h - try again, as a loop of awaits.
 *
 * A blocking wait with a time limit in a retry loop grows threads without end. Here each attempt is a plain call that
 * returns 0 or an error, and between two of them the task is suspended.
 *
 * Threads  inside a task.
 * More     docs/embedding.md, "Several at once, and again".
 */
#ifndef SKINK_RETRY_H
#define SKINK_RETRY_H
#include "skink/annot.h"
#include "skink/clock.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Zero in any field means its default; an unknown flag is -EINVAL. */
typedef struct skink_retry_options {
    size_t size;             /* set by SKINK_RETRY_OPTIONS_INIT                                                */
    uint32_t flags;          /* none yet                                                                       */
    uint32_t attempts_max;   /* default 3, the first one included                                              */
    uint64_t pause_ns;       /* default 100 ms; before the second attempt, and doubled before each later one   */
    uint64_t pause_max_ns;   /* default 10 s; no pause is longer                                               */
    uint32_t jitter_percent; /* default 50, at most 100: each pause is shorter by a random part of up to this, */
                             /* so that many who failed together do not come back together                     */
    bool no_jitter;          /* all pauses are whole, whatever jitter_percent says                             */
    uint64_t deadline_ns;    /* default SKINK_FOREVER; no attempt begins after it, and all waits in it end     */

    /* Is it worth another attempt, after this one (1, 2, ...) has failed with this error? Called in the task; may
     * suspend. Default: every error is, but -EINVAL, -EPERM and -ENOSYS, which will be the same again. */
    bool (*retryable)(int error, uint32_t attempt, void *arg);
} skink_retry_options;
#define SKINK_RETRY_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        .size = sizeof(skink_retry_options)                                                                            \
    }

/*
 * Call fn(attempt, arg), with attempt 1, 2, ..., until it returns 0, the attempts or the time are used up, or the error
 * is not worth another. fn returns 0 or a negative errno, and may suspend. NULL options: all defaults. It ends early
 * when the calling task is to end (it is cancelled, or the token of a scope has fired; skink/token.h): no attempt
 * begins then.
 *   0           an attempt has succeeded
 *   <0          the error of the last attempt, or
 *   -ETIMEDOUT  deadline_ns passed in an attempt or a pause
 *   -ECANCELED  the calling task was cancelled
 *   -EINVAL, -E2BIG, -EPERM (outside of a task), -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_retry(const skink_retry_options *options, int (*fn)(uint32_t attempt, void *arg),
                                          void *arg) SKINK_IN_TASK SKINK_SUSPENDS;

#ifdef __cplusplus
}
#endif
#endif
