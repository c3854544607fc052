/* SPDX-License-Identifier: MIT */
/* loop/worker_pool_state.h - what a pool of workers is made of; for the files that are the pool. */
#ifndef SKINK_LOOP_WORKER_POOL_STATE_H
#define SKINK_LOOP_WORKER_POOL_STATE_H
#include "loop/state.h"
#include "loop/worker_pool.h"
#include "skink/clock.h"

#define SKINK__WORKERS_TIMEOUT_MIN_NS (10 * SKINK_MS) /* the shortest that a watchdog can tell */

/* The lock of a pool of workers. */
SKINK__CAPABILITY(pool_mutex);

struct skink__worker {
    skink_workers *pool;
    skink_scheduler *scheduler;
    struct skink__worker *next;                           /* skink_workers.idle or .held */
    struct skink__job *job SKINK__GUARDED_BY(pool_mutex); /* the one that it is on; NULL while it is idle, or held */
    uv_timer_t timer;                                     /* for the job's time; runtime section of the worker */
    pthread_t stopper;
    bool has_stopper;
    int stop_result;
};

struct skink__job_queue {
    struct skink__job *first, *last; /* linked by next and previous */
    uint64_t length;
};

struct skink_workers {
    _Atomic uint32_t refs; /* on the memory; any */
    skink__mutex control;  /* one start or stop at a time */
    pthread_mutex_t lock;
    pthread_cond_t settled; /* nothing is queued and nobody busy */
    uint32_t count;
    uint64_t deadlock_timeout_ns SKINK__GUARDED_BY(pool_mutex); /* 0: the watchdog's */
    uint64_t time_limit_ns SKINK__GUARDED_BY(pool_mutex);       /* 0: none */
    uint64_t stop_deadline_ns;                                  /* who stops them writes, before its threads read */
    bool running;                                               /* under control */
    bool stopping SKINK__GUARDED_BY(pool_mutex);
    struct skink__job_queue queues[SKINK__LANES] SKINK__GUARDED_BY(pool_mutex);
    bool serial_busy SKINK__GUARDED_BY(pool_mutex);
    /* The last one that ended a job is the first to get one: its memory is warm. */
    struct skink__worker *idle SKINK__GUARDED_BY(pool_mutex);
    struct skink__worker *held SKINK__GUARDED_BY(pool_mutex);
    uint32_t held_count SKINK__GUARDED_BY(pool_mutex);
    uint32_t busy_count SKINK__GUARDED_BY(pool_mutex);
    uint64_t jobs SKINK__GUARDED_BY(pool_mutex);
    uint64_t started SKINK__GUARDED_BY(pool_mutex);
    uint64_t stuck SKINK__GUARDED_BY(pool_mutex);
    uint64_t overdue SKINK__GUARDED_BY(pool_mutex);
    uint64_t waited_ns SKINK__GUARDED_BY(pool_mutex);
    struct skink__worker workers[];
};

static inline void skink__pool_lock(skink_workers *pool) SKINK__ACQUIRES(pool_mutex) SKINK__UNCHECKED
{
    pthread_mutex_lock(&pool->lock);
}

static inline void skink__pool_unlock(skink_workers *pool) SKINK__RELEASES(pool_mutex) SKINK__UNCHECKED
{
    pthread_mutex_unlock(&pool->lock);
}

/* All three under the lock. A worker without a job waits for the next one, or aside while its scheduler is held. */
void skink__worker_put_back(struct skink__worker *worker) SKINK__REQUIRES(pool_mutex);

/* Workers whose scheduler is held no longer can be had again; and as long as there is one, a job that waits gets it. */
void skink__workers_review(skink_workers *pool) SKINK__REQUIRES(pool_mutex);

/* Nobody is left, or will be, to run what waits: it ends so. */
void skink__workers_flush(skink_workers *pool, enum skink__job_end end) SKINK__REQUIRES(pool_mutex);
#endif
