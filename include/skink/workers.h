/* SPDX-License-Identifier: MIT */
/*
 * skink/workers.h - threads for handlers that block.
 *
 * A worker is a small scheduler with one request at a time: so its thread may block, and everything that a task may
 * call works there too. A worker whose thread is stuck is taken over as any loop is, if a recovery watches it.
 *
 * Owns     its schedulers.
 * Threads  any.
 * More     docs/concurrency.md.
 */
#ifndef SKINK_WORKERS_H
#define SKINK_WORKERS_H
#include "skink/annot.h"
#include "skink/clock.h"
#include "skink/scheduler.h"
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct skink_workers skink_workers; /* opaque */

/* Zero in any field means its default; an unknown flag is -EINVAL. */
typedef struct skink_workers_options {
    size_t size;                  /* set by SKINK_WORKERS_OPTIONS_INIT                                              */
    uint32_t flags;               /* none yet                                                                       */
    uint32_t threads;             /* default 64, at most 1024                                                       */
    size_t stack_size_bytes;      /* of each request; default 1 MiB: what blocks is often deep; used pages count    */
    uint64_t deadlock_timeout_ns; /* of a request whose route has none: for how long it may block its thread until
                                     that is taken from it; at least 10 ms; default: the recovery's              */
    uint64_t time_limit_ns;       /* how long a request may take there, waits included; default: as long as it wants.
                                     For one with a request timeout it is that one                               */
} skink_workers_options;
#define SKINK_WORKERS_OPTIONS_INIT                                                                                     \
    {                                                                                                                  \
        .size = sizeof(skink_workers_options)                                                                          \
    }

/*
 * Create workers that do not run yet; NULL options means all defaults. On 0 the caller owns them. What is handed to
 * them waits for the start.
 *   -EINVAL  unknown flag or a value out of range
 *   -E2BIG, -ENOTSUP, -ENOMEM, -EMFILE, -ENFILE   as skink_scheduler_create()
 */
SKINK_NODISCARD SKINK_API int skink_workers_create(const skink_workers_options *options,
                                                   skink_workers **ret_workers) SKINK_ANY_THREAD;

/* The i-th worker's scheduler, from 0, for skink_recovery_watch(); NULL past the last. It is the workers': to be
 * watched, and for nothing else. */
SKINK_API skink_scheduler *skink_workers_scheduler_at(skink_workers *workers, size_t i) SKINK_ANY_THREAD;

/* Change how long requests may block their threads, and how long they may take, for those that start from now on; 0 as
 * in the options. */
SKINK_API void skink_workers_set_timeouts(skink_workers *workers, uint64_t deadlock_timeout_ns,
                                          uint64_t time_limit_ns) SKINK_ANY_THREAD;

/* Start their threads; stopped ones can be started again. Errors as skink_scheduler_start(); then none runs. */
SKINK_NODISCARD SKINK_API int skink_workers_start(skink_workers *workers) SKINK_ANY_THREAD;

/*
 * Stop them: nothing new is taken, what was handed to them may finish until deadline_ns, then it is cancelled, and what
 * has not ended a second after that is dropped. Never blocks for longer than the deadline and some two seconds, however
 * many of them are stuck. To be called while the loops of the servers still run, or their requests cannot be answered:
 * not before such a loop is started again, and then with 503. While another thread stops or starts them the call waits
 * for that first: a second stop does not bring the deadline of the first forward.
 *   0           everything had ended by itself
 *   -ECANCELED  something was cut
 *   -EALREADY   they do not run
 *   -EDEADLK    called from a task or a runtime section
 *   -ETIMEDOUT  see skink_scheduler_stop()
 */
SKINK_NODISCARD SKINK_API int skink_workers_stop(skink_workers *workers,
                                                 uint64_t deadline_ns) SKINK_ANY_THREAD SKINK_BLOCKS;

/* Destroy them, stopping them first if they run; unwatch them before. Before the servers that use them. NULL is
 * fine. */
SKINK_API void skink_workers_destroy(skink_workers *workers) SKINK_ANY_THREAD SKINK_BLOCKS;

/* What they count. Gauges are as of one moment each. */
typedef struct skink_workers_stats {
    size_t size;        /* set by SKINK_WORKERS_STATS_INIT; fields past it are not written              */
    uint64_t threads;   /* as created                                                                   */
    uint64_t busy;      /* of these, with a request                                                     */
    uint64_t held;      /* of these, lost until a stray returns (the limit of strays was passed)        */
    uint64_t queued;    /* requests that wait for a worker, or for their turn in serial execution       */
    uint64_t started;   /* requests that ever got a worker                                              */
    uint64_t stuck;     /* requests whose thread was taken away from them                               */
    uint64_t overdue;   /* requests whose worker went on with others while they were suspended          */
    uint64_t waited_ns; /* time that all of them have waited for a worker                               */
} skink_workers_stats;
#define SKINK_WORKERS_STATS_INIT                                                                                       \
    {                                                                                                                  \
        .size = sizeof(skink_workers_stats)                                                                            \
    }

/* Read the counters. stats->size must be set; -EINVAL if it is zero. */
SKINK_NODISCARD SKINK_API int skink_workers_stats_read(skink_workers *workers,
                                                       skink_workers_stats *stats) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
