/* SPDX-License-Identifier: MIT */
/*
 * loop/worker_pool.h - jobs on a fixed set of schedulers, one job at a time on each.
 *
 * Why schedulers and not bare threads: a stuck worker is then a stuck loop, with everything that is there for those
 * (takeover, strays and their limit, migration, incidents), and a task on a worker can wait for whatever a task can
 * wait for. The recovery needs to know nothing of workers (docs/adr).
 *
 * A job leaves its worker in one of these ways, and the worker goes on with the next:
 *
 *   its function returns                          ended(DONE)
 *   its thread is taken over, it being stuck      stuck(), and ended(DONE) when it comes back
 *   its time is up while it is suspended          overdue(), its awaits fail, and ended(DONE) when it returns
 *   the workers stop, and leave it with a stray   given_up(), and ended(LOST), or (DONE) after a new start, or neither
 */
#ifndef SKINK_LOOP_WORKER_POOL_H
#define SKINK_LOOP_WORKER_POOL_H
#include "loop/runtime.h"
#include "skink/task.h"
#include "skink/workers.h"
#include <stdbool.h>
#include <stdint.h>

struct skink__worker;

/* Jobs of the serial lane run one at a time, whatever worker they are on. */
enum skink__lane { SKINK__LANE_PARALLEL, SKINK__LANE_SERIAL, SKINK__LANES };

enum skink__job_end {
    SKINK__JOB_DONE,      /* run() has returned                                                        */
    SKINK__JOB_STOPPED,   /* the workers stop: it will never run (on)                                  */
    SKINK__JOB_HELD,      /* never started: every worker is held at the limit of strays                */
    SKINK__JOB_NO_MEMORY, /* never started                                                             */
    SKINK__JOB_LOST       /* on a stray that comes back after the stop: only memory may be freed       */
};

struct skink__job {
    /* The submitter's, before it submits. */
    const struct skink__job_type *type;
    const char *name;             /* for reports; valid until the end */
    uint64_t deadlock_timeout_ns; /* of each slice; 0: that of the workers */
    uint64_t time_limit_ns;       /* from its start on; 0: that of the workers */
    unsigned action;              /* a skink_action, when a slice has passed its timeout; 0: the watchdog's */

    /* The pool's, under its lock. */
    skink_workers *workers;
    struct skink__job *previous; /* skink_workers.queues */
    struct skink__job *next;
    uint64_t number; /* order of arrival, over all lanes */
    uint64_t submitted_ns;
    enum skink__lane lane;
    bool queued;
    struct skink__worker *worker; /* NULL while it has none, or none any more */
    skink_task *task;             /* a reference, from its start to its end */

    /* Written when it leaves the queue. */
    uint64_t waited_ns; /* for a worker, in vain or not */
};

struct skink__job_type {
    /* In a task of its own, on a worker; it may block. */
    void (*run)(struct skink__job *job);
    /* In the runtime section of its worker: its slice was declared stuck. It may still come back, and then goes on. */
    void (*stuck)(struct skink__job *job, const struct skink__abandonment *why);
    /* The same when its time is up while it is suspended. */
    void (*overdue)(struct skink__job *job);
    /* In the runtime section of its worker, or of whoever stops it: a stop leaves it with its stray, be it stuck or
     * known to block. */
    void (*given_up)(struct skink__job *job);
    /* Once, and the last: the pool does not touch it any more. In some runtime section, or on a thread that stops the
     * workers, perhaps under the pool's lock: it may not call the pool. */
    void (*ended)(struct skink__job *job, enum skink__job_end end);
    /* As that of a task's kind. NULL: nothing to say. */
    void (*label)(const struct skink__job *job, struct skink__task_label *ret_label);
};

/* References on the memory, which the jobs' submitters need for as long as they have some. */
skink_workers *skink__workers_ref(skink_workers *workers);
void skink__workers_unref(skink_workers *workers);

/* Hand a job over, in the runtime section of any scheduler. 0: it will end. Else nothing was done:
 *   -ECANCELED  the workers are stopping
 *   -EBUSY      every worker is held at the limit of strays */
int skink__workers_submit(skink_workers *pool, struct skink__job *job, enum skink__lane lane);

/* Take back a job that has no worker yet. True: it is the caller's again and will not end. Any thread. */
bool skink__workers_withdraw(struct skink__job *job);

/* Is the caller the task of this job? Any thread. */
bool skink__workers_is_current(const struct skink__job *job);

/* Cancel its task for this reason, should it run. Runtime section of any scheduler, before the submitter has been told
 * of the end. */
void skink__workers_cancel(struct skink__job *job, int reason);
#endif
