/* SPDX-License-Identifier: MIT */
/*
 * skink/recovery.h - the watchdog: declares deadlocks and hands the scheduler to a fresh thread.
 *
 * Owns     one watchdog thread and the standby threads; one recovery serves any number of schedulers.
 * Threads  any.
 * More     docs/recovery.md tells it function by function, with its known weaknesses.
 */
#ifndef SKINK_RECOVERY_H
#define SKINK_RECOVERY_H
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

/* Never send the signal: the stack of a thread that sleeps is read from outside, and one that computes has none. */
#define SKINK_RECOVERY_NO_SIGNAL (1u << 0)

/* What is done at a limit: max_strays living strays, or more than `burst` slices declared stuck in burst_window_ns. */
typedef enum skink_on_limit {
    SKINK_ON_LIMIT_HOLD = 0,      /* nothing more than is always done at max_strays: the next deadlock holds its loop */
    SKINK_ON_LIMIT_UNHEALTHY = 1, /* no new requests are admitted until strays have returned, or the window of the burst
                                     has passed, or skink_recovery_resume() is called                                 */
    SKINK_ON_LIMIT_DRAIN = 2,     /* the same, and the host is to stop: it hears so by limit_reached()                */
    SKINK_ON_LIMIT_ABORT = 3      /* the process ends with SIGABRT on the stuck thread, for its core                  */
} skink_on_limit;

typedef enum skink_limit { SKINK_LIMIT_STRAYS = 0, SKINK_LIMIT_BURST = 1 } skink_limit;
#define SKINK_LIMITS 2 /* how many there are */

/* "strays", "burst". Static text. */
SKINK_API const char *skink_limit_name(skink_limit limit) SKINK_ANY_THREAD;

/* Zero in any field means its default; an unknown flag is -EINVAL. */
typedef struct skink_recovery_options {
    size_t size;                  /* set by SKINK_RECOVERY_OPTIONS_INIT                                     */
    uint32_t flags;               /* SKINK_RECOVERY_* bits                                                  */
    uint64_t deadlock_timeout_ns; /* default 30 s, at least 10 ms; of a slice whose task sets none          */
    uint32_t standby_threads;     /* default 1, at most 64; threads parked for takeovers                    */
    uint32_t max_strays;          /* default 8, at most 4096; living strays at which takeovers stop         */
    uint32_t ceiling_factor;      /* default 4, at most 1000; times the timeout, at which starvation defers
                                     no longer                                                              */

    /* Each incident, on a helper thread, in order; it may block, and then it delays only later reports. The
     * pointer and the strings are valid during the call. NULL: nobody is told (the log hook still is). */
    void (*incident)(const skink_incident *incident, void *arg);
    void *arg; /* handed to both callbacks */

    /* A folder for one JSON file per incident, "incident-ID.json", of mode 0600; the newest 1,000 stay. It must exist;
     * that a file cannot be written is logged once, and counted. Copied. NULL: no files. */
    const char *incident_dir;

    /* The signal by which a thread that was declared stuck is asked for its stack; no other thread ever gets it. One
     * for the whole process, reserved at the first skink_recovery_create() and never given back. Default: the highest
     * real-time signal that has no handler then. The host must leave it alone from then on. */
    int capture_signal;

    skink_on_limit on_limit;
    uint32_t burst;           /* default 0, no such limit; at most 1000 */
    uint64_t burst_window_ns; /* default 60 s                           */
    /* A limit was reached, or is over (in_force: false); on the same thread as incident, after the incident that it was
     * reached with. With SKINK_ON_LIMIT_DRAIN this is where a host begins its stop; recovery never ends a process
     * by itself, but for SKINK_ON_LIMIT_ABORT. NULL: nobody is told (the log hook still is). */
    void (*limit_reached)(skink_limit limit, bool in_force, void *arg);
    /* A stretch of skink_blocking_begin() that lasts longer than this hands the loop on; default 1 ms. At most
     * max_blocking (default 64, at most 4096) threads block like that; a stretch past it is a slice like any other. */
    uint64_t blocking_grace_ns;
    uint32_t max_blocking;
    uint64_t extend_ceiling_ns; /* default 5 min; by how much skink_slice_extend() may extend one slice   */

    skink_action action;         /* of slices whose task says none */
    uint32_t reports_per_minute; /* default 0: no limit; incidents logged and written to files, a quarter of them of the
                                    same stack. The callback is told of all, and all are counted */
    bool log_notes;              /* a line for each slice that has used half of its time */
} skink_recovery_options;
#define SKINK_RECOVERY_OPTIONS_INIT                                                                                    \
    {                                                                                                                  \
        .size = sizeof(skink_recovery_options)                                                                         \
    }

/*
 * Create a recovery: its watchdog and its standby threads are started here, so that a takeover needs no new
 * thread. NULL options means all defaults. On 0 the caller owns it.
 *   -EINVAL  an unknown flag or a value out of range
 *   -EBUSY   capture_signal has a handler, or every real-time signal has
 *   -EAGAIN  the threads cannot be created
 *   -E2BIG, -ENOMEM, -EMFILE
 */
SKINK_NODISCARD SKINK_API int skink_recovery_create(const skink_recovery_options *options,
                                                    skink_recovery **ret_recovery) SKINK_ANY_THREAD;

/* Stop watching everything and end the watchdog and the standby threads. Strays live on by themselves. Waits for the
 * incident callback, if it is running or has not been told yet. NULL is fine. Never from a task of a watched
 * scheduler or from that callback. */
SKINK_API void skink_recovery_destroy(skink_recovery *recovery) SKINK_ANY_THREAD SKINK_BLOCKS;

/*
 * Watch a scheduler, from now until it is destroyed or unwatched; it may be started before or after.
 *   -EALREADY  it is watched, by this recovery or another
 *   -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_recovery_watch(skink_recovery *recovery,
                                                   skink_scheduler *scheduler) SKINK_ANY_THREAD;

/* Watch it no longer. When this returns the watchdog has let go of it. -ESRCH: it was not watched. */
SKINK_API int skink_recovery_unwatch(skink_recovery *recovery, skink_scheduler *scheduler) SKINK_ANY_THREAD;

/* Change the timeout of slices whose task sets none; it holds from the next tick on, for the slice that runs
 * as well. -EINVAL below 10 ms. */
SKINK_NODISCARD SKINK_API int skink_recovery_set_timeout(skink_recovery *recovery,
                                                         uint64_t deadlock_timeout_ns) SKINK_ANY_THREAD;

#define SKINK_RECOVERY_BUCKETS 12

/* Upper bounds of the histogram of skink_recovery_stats, in nanoseconds; the last bucket is what is above. */
SKINK_API extern const uint64_t skink_recovery_bucket_bounds_ns[SKINK_RECOVERY_BUCKETS - 1];

/* What recovery counts, over all schedulers it watches. */
typedef struct skink_recovery_stats {
    size_t size;                /* set by SKINK_RECOVERY_STATS_INIT; fields past it are not written     */
    uint64_t deadlocks;         /* slices declared stuck                                                */
    uint64_t deadlocks_starved; /* of these, at the ceiling                                             */
    uint64_t takeovers;         /* schedulers handed to a fresh thread                                  */
    uint64_t strays;            /* threads abandoned and not ended                                      */
    uint64_t strays_total;      /* threads ever abandoned                                               */
    uint64_t strays_returned;   /* strays that came free and ended                                      */
    uint64_t oldest_stray_ns;   /* age of the oldest living stray; 0 without one                        */
    uint64_t current_slice_ns;  /* longest slice running at this moment; next to 0 while the loops move */
    uint64_t starved_ns;        /* time that did not count because a thread was not given the processor */
    uint64_t suspended_ns;      /* time that did not count because the process or thread was stopped    */
    uint64_t runtime_stalls;    /* runtime sections that took longer than the timeout; not recoverable  */
    uint64_t standby_threads;   /* parked and ready                                                     */
    uint64_t standby_failures;  /* attempts to create a standby that failed                             */
    uint64_t recovery_count[SKINK_RECOVERY_BUCKETS]; /* declaration to the fresh thread's first act           */
    uint64_t recovery_sum_ns;
    uint64_t ticks;                 /* samples the watchdog has taken                                       */
    uint64_t captures[16];          /* stacks of stuck threads asked for, by skink_capture, with room for more */
    uint64_t incident_files;        /* written, for an incident's end once more                           */
    uint64_t incident_files_failed; /* that could not be written                                          */

    uint64_t poisoned;           /* slices declared at once, since they waited for a lock that a stray holds */
    uint64_t notes;              /* slices that used half of their timeout; some of them were declared stuck later */
    uint64_t reported;           /* slices declared stuck and only reported; not among deadlocks         */
    uint64_t reports_suppressed; /* incidents not logged, because of reports_per_minute                  */
    uint64_t reports_lost;       /* incidents not reported at all: more came than could be looked at     */
    uint64_t limit_reached[SKINK_LIMITS];  /* times that this skink_limit was reached */
    uint64_t limit_in_force[SKINK_LIMITS]; /* 1 while it is                           */
    uint64_t blocking_threads;   /* block off the loop, as was announced (skink/blocking.h)                  */
    uint64_t blocking_handed_on; /* loops handed on since a stretch that is known to block took longer       */
} skink_recovery_stats;
#define SKINK_RECOVERY_STATS_INIT                                                                                      \
    {                                                                                                                  \
        .size = sizeof(skink_recovery_stats)                                                                           \
    }

/* Read the counters. stats->size must be set; -EINVAL if it is zero. */
SKINK_NODISCARD SKINK_API int skink_recovery_stats_read(skink_recovery *recovery,
                                                        skink_recovery_stats *stats) SKINK_ANY_THREAD;

/*
 * A human has looked at it, and wants to go on: new requests are admitted again, loops that are held run their tasks
 * again, and the limits are not in force before another slice is declared stuck. Held threads count as strays then,
 * beyond the limit if need be. Always 0, but -EINVAL for NULL.
 */
SKINK_API int skink_recovery_resume(skink_recovery *recovery) SKINK_ANY_THREAD;

/* What happened to the requests of one route, or to the tasks of one name. */
typedef struct skink_recovery_count {
    const char *method; /* "": tasks that work on no request      */
    const char *route;  /* of those, their name                   */
    uint64_t incidents[SKINK_CAUSES]
                      [SKINK_ACTIONS]; /* counted once their cause is known, a moment after the declaration */
    uint64_t notes;                    /* slices that used half of their timeout */
} skink_recovery_count;

/* Call each(count, arg) for everything that has an incident or a note, on the calling thread, without any lock. There
 * is room for 255 of them; the first that is told, always, is one of route "(other)" for those beyond. */
SKINK_API int skink_recovery_counts(skink_recovery *recovery,
                                    void (*each)(const skink_recovery_count *count, void *arg),
                                    void *arg) SKINK_ANY_THREAD;

/* May the next deadlock be recovered? */
typedef enum skink_health {
    SKINK_HEALTH_OK = 0,
    SKINK_HEALTH_STRAY_LIMIT = 1, /* max_strays living strays                                        */
    SKINK_HEALTH_NO_STANDBY = 2,  /* no thread is parked and none can be created                     */
    SKINK_HEALTH_STALLED = 3,     /* a runtime section is stuck: recovery cannot help                */
    SKINK_HEALTH_BURST = 4        /* too many slices were declared stuck in a short time             */
} skink_health;

/* The worst that holds now. Of NULL: SKINK_HEALTH_NO_STANDBY, for nobody would take over. */
SKINK_API skink_health skink_recovery_health(skink_recovery *recovery) SKINK_ANY_THREAD;

/* A sentence for it, such as "the next deadlock can be recovered". Static text. */
SKINK_API const char *skink_health_text(skink_health health) SKINK_ANY_THREAD;

/*
 * Is the watchdog alive? Wakes it, if it sleeps, and waits until it has looked at every scheduler once.
 *   -ETIMEDOUT  it has not by deadline_ns: it is stopped, stuck, or gets no processor
 */
SKINK_NODISCARD SKINK_API int skink_recovery_ping(skink_recovery *recovery,
                                                  uint64_t deadline_ns) SKINK_ANY_THREAD SKINK_BLOCKS;

#ifdef __cplusplus
}
#endif
#endif
