/* SPDX-License-Identifier: MIT */
/*
 * skink/scheduler.h - one libuv loop, one loop thread at a time, many tasks.
 *
 * Owns     the uv_loop_t, the ready queue, the inbox, and every task spawned on it.
 * Threads  any, for everything here; see each declaration for what it does on a loop thread.
 * Errors   int functions return 0 or a negative errno; `errno` is not used.
 * More     docs/architecture.md (the mechanism), docs/embedding.md (life cycle).
 */
#ifndef SKINK_SCHEDULER_H
#define SKINK_SCHEDULER_H
#include "skink/annot.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct skink_scheduler skink_scheduler; /* opaque */
struct uv_loop_s;                               /* uv_loop_t; include <uv.h> to use it */

/* What happens when a task blocks its loop thread in a wait of skink's (skink/detection.h). */
typedef enum skink_detection {
    SKINK_DETECTION_DEFAULT = 0,  /* in options: SKINK_DETECTION_ACTUAL                                        */
    SKINK_DETECTION_OFF = 1,      /* nothing: it waits, and recovery resolves what never ends                  */
    SKINK_DETECTION_ACTUAL = 2,   /* -EDEADLK at once where only a task of this loop could end the wait        */
    SKINK_DETECTION_POTENTIAL = 3 /* -EDEADLK for every blocking wait on a loop thread; for development        */
} skink_detection;

/* Zero in any field means its default; an unknown flag is -EINVAL. */
typedef struct skink_scheduler_options {
    size_t size;              /* set by SKINK_SCHEDULER_OPTIONS_INIT                                        */
    uint32_t flags;           /* none yet                                                                   */
    uint32_t task_max;        /* default 1048576; living tasks past which a spawn is -EAGAIN                */
    size_t stack_size_bytes;  /* default 64 KiB, at least 16 KiB; rounded up to a page, plus a guard page   */
    uint32_t batch_max;       /* default 256; tasks run between two looks at the event loop                 */
    const char *name;         /* default "loop"; for thread names and logs; copied, cut at 15 bytes         */
    uint32_t detection;       /* a skink_detection; default SKINK_DETECTION_ACTUAL                          */
    bool no_detection_stacks; /* leave the two stacks out of the incident of a refused wait                 */
    /* Append only, and let zero keep the behaviour from before the field. */
} skink_scheduler_options;
#define SKINK_SCHEDULER_OPTIONS_INIT                                                                                   \
    {                                                                                                                  \
        .size = sizeof(skink_scheduler_options)                                                                        \
    }

/*
 * Create a scheduler that does not run yet; NULL options means all defaults. Tasks can be spawned on it at
 * once and wait for the start.
 *
 * On 0, *ret_scheduler is owned by the caller: release it with skink_scheduler_destroy().
 *   -EINVAL   unknown flag or a value out of range
 *   -E2BIG    options newer than this library, with a new field in use
 *   -ENOTSUP  the process runs with shadow stacks (CET; GCS on aarch64), which this build cannot switch
 *   -ENOMEM, -EMFILE, -ENFILE
 */
SKINK_NODISCARD SKINK_API int skink_scheduler_create(const skink_scheduler_options *options,
                                                     skink_scheduler **ret_scheduler) SKINK_ANY_THREAD;

/*
 * Start the loop thread. It takes signal mask, affinity and nice value from the caller, and every thread that
 * takes over later takes them from it. A stopped scheduler can be started again.
 *   -EALREADY  it runs
 *   -EAGAIN    no thread can be created
 *   -EPERM     inside its runtime section
 *   -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_scheduler_start(skink_scheduler *scheduler) SKINK_ANY_THREAD;

/*
 * Stop: new spawns and posts get -ECANCELED, tasks may finish until deadline_ns, then every task left is
 * cancelled (each await of it returns -ECANCELED), and what has not ended one second after that is dropped
 * where it stands. Blocks the caller until the loop thread has ended; never longer than the deadline and
 * two seconds, also when the loop thread is stuck at that moment or strays live. A stray that comes back
 * later finds the scheduler closed and ends without running its task further; if the scheduler has been started
 * again by then, the task goes on there, cancelled. While another thread stops or starts it the call waits for that
 * first; of two that stop it the earlier deadline holds, whoever was first, and the second one returns -EALREADY.
 *
 *   0           stopped, every task had ended by itself
 *   -ECANCELED  stopped, some task was cancelled, dropped or is still with a stray
 *   -EDEADLK    called from a task or the runtime section of this scheduler; or from a task of another one whose
 *               detection mode is SKINK_DETECTION_POTENTIAL
 *   -EALREADY   it does not run
 *   -ETIMEDOUT  the loop thread is stuck inside a runtime section and cannot be left behind; the scheduler
 *               stays as it is, and destroying it leaks it
 */
SKINK_NODISCARD SKINK_API int skink_scheduler_stop(skink_scheduler *scheduler,
                                                   uint64_t deadline_ns) SKINK_ANY_THREAD SKINK_BLOCKS;

/* Destroy a scheduler that does not run; tasks never started are dropped, uv handles the host left open are closed.
 * Memory that a living stray still stands on goes when the stray ends. NULL is fine. A scheduler that runs is stopped
 * first, with a deadline of now. Never from one of its own tasks, and not while another thread is inside a call that is
 * given this scheduler. */
SKINK_API void skink_scheduler_destroy(skink_scheduler *scheduler) SKINK_ANY_THREAD SKINK_BLOCKS;

/* The scheduler whose task or runtime section the caller is in; NULL on any other thread. Borrowed. */
SKINK_API skink_scheduler *skink_scheduler_current(void) SKINK_ANY_THREAD;

/*
 * Run fn(arg) as a task of its own, without a handle. From one thread, posts run in the order they were made.
 * arg is the caller's until fn starts. What other threads have posted counts as living once the loop has taken it (with
 * a task_max below 65536, at once). A post for whose task there is no memory, or no object, waits until there is.
 *   -ECANCELED  the scheduler is stopping or stopped
 *   -EAGAIN     task_max tasks live already
 *   -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_post(skink_scheduler *scheduler, void (*fn)(void *arg), void *arg) SKINK_ANY_THREAD;

/*
 * Run fn(loop, arg) in the runtime section, where libuv handles of the host may be started or closed. On a task or a
 * runtime section of this scheduler it runs at once; from another thread it is handed over and the caller blocks until
 * it has run. fn must be short, must not block, and of skink may only hand over: spawn, post, complete a future,
 * cancel; it is called by no task, whoever calls this. The same holds for the uv callbacks of handles that it starts.
 * What stalls there cannot be recovered, only reported. While the scheduler does not run, before
 * skink_scheduler_start() and after skink_scheduler_stop(), fn runs on the caller's thread; callbacks of handles that
 * it closes then come with the next start, or with skink_scheduler_destroy().
 *   -ECANCELED  the scheduler is stopping, or a stop of it has given up (-ETIMEDOUT); fn was not run
 *   -EPERM      inside the runtime section of another scheduler
 */
SKINK_NODISCARD SKINK_API int skink_scheduler_uv(skink_scheduler *scheduler,
                                                 void (*fn)(struct uv_loop_s *loop, void *arg),
                                                 void *arg) SKINK_ANY_THREAD SKINK_BLOCKS;

/* What the scheduler counts. Gauges are as of one moment each, not of one moment together. */
typedef struct skink_scheduler_stats {
    size_t size;               /* set by SKINK_SCHEDULER_STATS_INIT; fields past it are not written      */
    uint64_t generation;       /* of the loop thread: 1 at first, one more with each takeover             */
    uint64_t tasks_started;    /* tasks that have had their first slice                                   */
    uint64_t tasks_finished;   /* tasks that have ended, those dropped at a stop included                 */
    uint64_t slices;           /* slices started                                                          */
    uint64_t tasks_living;     /* spawned and not ended                                                   */
    uint64_t tasks_ready;      /* in the ready queue                                                      */
    uint64_t tasks_suspended;  /* started, waiting for something                                          */
    uint64_t migrations;       /* tasks that came back from a stray                                       */
    uint64_t stacks_allocated; /* stacks in use and in the pool                                           */
    bool running;              /* between start and stop                                                  */
    bool held;                 /* the stray limit is reached: nothing but the event loop itself runs      */
    uint64_t waits_refused;    /* blocking waits that ended with -EDEADLK: certain deadlocks              */
    uint64_t tasks_blocking;   /* off the loop, in a stretch that is known to block (skink/blocking.h)    */
    uint64_t blocking_begun;   /* such stretches begun                                                    */
    uint64_t waits_potential;  /* waits refused only because the mode is `potential`                      */
} skink_scheduler_stats;
#define SKINK_SCHEDULER_STATS_INIT                                                                                     \
    {                                                                                                                  \
        .size = sizeof(skink_scheduler_stats)                                                                          \
    }

/* Read the counters. Never waits for the loop thread. stats->size must be set; -EINVAL if it is zero. */
SKINK_NODISCARD SKINK_API int skink_scheduler_stats_read(skink_scheduler *scheduler,
                                                         skink_scheduler_stats *stats) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
