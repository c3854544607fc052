/* SPDX-License-Identifier: MIT */
/*
 * worker_pool.c - which job runs on which worker (worker_pool.h). The pool's life is in workers.c.
 *
 * One lock guards it all. It is held for a few instructions, always inside a runtime section or on a thread that is
 * no loop thread: so nobody is ever abandoned with it. Host code never runs under it.
 */
#include "loop/worker_pool_state.h"
#include "skink/clock.h"
#include <errno.h>

enum { RETRY_MS = 10 };

/* ---- queues; all of this under the lock ---- */

static void queue_push(struct skink__job_queue *queue, struct skink__job *job) SKINK__REQUIRES(pool_mutex)
{
    job->previous = queue->last;
    job->next = NULL;
    *(queue->last ? &queue->last->next : &queue->first) = job;
    queue->last = job;
    queue->length++;
    job->queued = true;
}

static void queue_remove(struct skink__job_queue *queue, struct skink__job *job) SKINK__REQUIRES(pool_mutex)
{
    job->waited_ns = skink_now() - job->submitted_ns;
    *(job->previous ? &job->previous->next : &queue->first) = job->next;
    *(job->next ? &job->next->previous : &queue->last) = job->previous;
    job->previous = job->next = NULL;
    queue->length--;
    job->queued = false;
}

/* The oldest job that may run now. */
static struct skink__job *next_job(const skink_workers *pool) SKINK__REQUIRES(pool_mutex)
{
    struct skink__job *parallel = pool->queues[SKINK__LANE_PARALLEL].first;
    struct skink__job *serial = pool->serial_busy ? NULL : pool->queues[SKINK__LANE_SERIAL].first;
    if (!parallel || !serial) return parallel ? parallel : serial;
    return parallel->number < serial->number ? parallel : serial;
}

/* ---- workers, under the lock as well ---- */

static void announce_settled(skink_workers *pool) SKINK__REQUIRES(pool_mutex)
{
    if (!pool->busy_count && !pool->queues[SKINK__LANE_PARALLEL].length && !pool->queues[SKINK__LANE_SERIAL].length)
        pthread_cond_broadcast(&pool->settled);
}

/* A worker whose scheduler is held runs no task until a stray has returned. */
void skink__worker_put_back(struct skink__worker *worker)
{
    skink_workers *pool = worker->pool;
    bool held = skink__scheduler_is_held(worker->scheduler);
    struct skink__worker **list = held ? &pool->held : &pool->idle;
    worker->next = *list;
    *list = worker;
    pool->held_count += held;
}

/* Nobody tells when a hold is over, so it is asked for whenever somebody looks for a worker. */
static void review_held(skink_workers *pool) SKINK__REQUIRES(pool_mutex)
{
    struct skink__worker *worker = pool->held;
    pool->held = NULL;
    pool->held_count = 0;
    while (worker) {
        struct skink__worker *next = worker->next;
        skink__worker_put_back(worker);
        worker = next;
    }
}

/* The job no longer has its worker, which is free for the next. */
static void detach(struct skink__job *job) SKINK__REQUIRES(pool_mutex)
{
    struct skink__worker *worker = job->worker;
    if (!worker) return;
    skink_workers *pool = job->workers;
    SKINK_ASSERT(worker->job == job && pool->busy_count > 0);
    worker->job = NULL;
    job->worker = NULL;
    pool->busy_count--;
    if (job->lane == SKINK__LANE_SERIAL) pool->serial_busy = false;
    skink__worker_put_back(worker);
}

static void run_job(void *arg);
static void on_stuck(void *arg, const struct skink__abandonment *why) SKINK__IN_RUNTIME;
static void on_dropped(void *arg) SKINK__IN_RUNTIME;
static void on_given_up(void *arg) SKINK__IN_RUNTIME;
static void on_lost(void *arg);

/* On the watchdog, which owns the scheduler: the type is constant while the job runs. */
static void label(const void *arg, struct skink__task_label *ret_label)
{
    const struct skink__job *job = arg;
    if (job->type->label) job->type->label(job, ret_label);
}

static const struct skink__task_kind kind = {
    .abandoned = on_stuck, .dropped = on_dropped, .given_up = on_given_up, .lost = on_lost, .label = label
};

/* One that blocks for all the time that it has will not come to its end in time, so it loses its thread then. */
static void set_times(struct skink__job *job, const skink_workers *pool) SKINK__REQUIRES(pool_mutex)
{
    uint64_t timeout_ns = job->deadlock_timeout_ns ? job->deadlock_timeout_ns : pool->deadlock_timeout_ns;
    if (!job->time_limit_ns) job->time_limit_ns = pool->time_limit_ns;
    if (timeout_ns && job->time_limit_ns && job->time_limit_ns < timeout_ns) timeout_ns = job->time_limit_ns;
    job->deadlock_timeout_ns =
        timeout_ns && timeout_ns < SKINK__WORKERS_TIMEOUT_MIN_NS ? SKINK__WORKERS_TIMEOUT_MIN_NS : timeout_ns;
}

static int start_job(struct skink__job *job, struct skink__worker *worker) SKINK__REQUIRES(pool_mutex)
{
    skink_workers *pool = job->workers;
    set_times(job, pool);
    struct skink__task_spec spec = { .name = job->name,
                                     .deadlock_timeout_ns = job->deadlock_timeout_ns,
                                     .action = job->action,
                                     .kind = &kind,
                                     .fn = run_job,
                                     .arg = job };
    job->worker = worker; /* it may run before this function goes on */
    int err = skink__scheduler_spawn(worker->scheduler, &spec, &job->task);
    if (err) {
        job->worker = NULL;
        return err;
    }
    worker->job = job;
    pool->busy_count++;
    pool->started++;
    pool->waited_ns += job->waited_ns;
    if (job->lane == SKINK__LANE_SERIAL) pool->serial_busy = true;
    return 0;
}

/* As long as there is a worker for a job. */
static void start_jobs(skink_workers *pool) SKINK__REQUIRES(pool_mutex)
{
    struct skink__job *job;
    while ((job = next_job(pool)) != NULL) {
        if (!pool->idle && pool->held) review_held(pool);
        struct skink__worker *worker = pool->idle;
        if (!worker) break;
        queue_remove(&pool->queues[job->lane], job);
        pool->idle = worker->next;
        int err = start_job(job, worker);
        if (!err) continue;
        skink__worker_put_back(worker);
        job->type->ended(job, err == -ECANCELED ? SKINK__JOB_STOPPED : SKINK__JOB_NO_MEMORY);
    }
    announce_settled(pool);
}

void skink__workers_review(skink_workers *pool)
{
    review_held(pool);
    start_jobs(pool);
}

void skink__workers_flush(skink_workers *pool, enum skink__job_end end)
{
    for (int lane = 0; lane < SKINK__LANES; lane++) {
        struct skink__job *job;
        while ((job = pool->queues[lane].first) != NULL) {
            queue_remove(&pool->queues[lane], job);
            job->type->ended(job, end);
        }
    }
    announce_settled(pool);
}

/* ---- a job's way, on the worker's thread ---- */

/* Runtime section of the worker: the time of its job is up, and it is suspended, or this would not run. */
static void on_time_up(uv_timer_t *timer) SKINK__IN_RUNTIME
{
    struct skink__worker *worker = timer->data;
    skink_workers *pool = worker->pool;
    skink__pool_lock(pool);
    struct skink__job *job = worker->job;
    /* In a call to another loop: that one is slow, not this job. */
    bool calling = job && skink__task_is_calling(job->task);
    if (job && !calling) {
        pool->overdue++;
        detach(job);
        start_jobs(pool);
    }
    skink__pool_unlock(pool);
    if (!job) return;
    if (calling) {
        (void)uv_timer_start(timer, on_time_up, RETRY_MS, 0);
        return;
    }
    skink__task_cancel_here(job->task, -ETIMEDOUT);
    job->type->overdue(job);
}

/* Runtime section of the worker. */
static void start_clock(struct skink__job *job) SKINK__IN_RUNTIME
{
    uint64_t limit_ns = job->time_limit_ns;
    if (!job->worker || !limit_ns) return; /* no worker: it was taken for stuck on its first step */
    uv_update_time(&job->worker->scheduler->loop);
    /* Rounded up, and SKINK_FOREVER must not come out as 0. */
    uint64_t limit_ms = limit_ns / SKINK_MS + (limit_ns % SKINK_MS != 0);
    (void)uv_timer_start(&job->worker->timer, on_time_up, limit_ms, 0);
}

/* Runtime section of the worker, or of whoever stops it. `go_on`: there may be other jobs for it. */
static void let_go(struct skink__job *job, bool go_on) SKINK__IN_RUNTIME
{
    skink_workers *pool = job->workers;
    skink__pool_lock(pool);
    if (job->worker) {
        uv_timer_stop(&job->worker->timer);
        detach(job);
    }
    if (go_on) start_jobs(pool);
    skink__pool_unlock(pool);
}

static void end_job(struct skink__job *job, enum skink__job_end end) SKINK__IN_RUNTIME
{
    let_go(job, end == SKINK__JOB_DONE);
    skink_task *task = job->task;
    job->task = NULL;
    job->type->ended(job, end);
    skink_task_unref(task);
}

static void run_job(void *arg)
{
    struct skink__job *job = arg;
    skink_scheduler *here = skink__runtime_enter();
    skink__assume_runtime(); /* a job runs on its worker's loop thread */
    start_clock(job);
    skink__runtime_leave(here);
    job->type->run(job);
    here = skink__runtime_enter();
    skink__assume_runtime();
    skink__runtime_disown();
    end_job(job, SKINK__JOB_DONE);
    skink__runtime_leave(here);
}

/* Runtime section of the fresh thread of the job's worker. */
static void on_stuck(void *arg, const struct skink__abandonment *why)
{
    struct skink__job *job = arg;
    skink_workers *pool = job->workers;
    skink__pool_lock(pool);
    pool->stuck++;
    if (job->worker) {
        uv_timer_stop(&job->worker->timer);
        detach(job);
    }
    start_jobs(pool);
    if (pool->held_count == pool->count) skink__workers_flush(pool, SKINK__JOB_HELD);
    skink__pool_unlock(pool);
    job->type->stuck(job, why);
}

static void on_dropped(void *arg)
{
    end_job(arg, SKINK__JOB_STOPPED);
}

/* One that is known to block has its worker still. */
static void on_given_up(void *arg)
{
    struct skink__job *job = arg;
    let_go(job, false);
    job->type->given_up(job);
}

static void on_lost(void *arg)
{
    struct skink__job *job = arg;
    skink_task *task = job->task;
    job->task = NULL;
    job->type->ended(job, SKINK__JOB_LOST); /* the workers may be gone: no word to them */
    skink_task_unref(task);
}

/* ---- what submitters call ---- */

int skink__workers_submit(skink_workers *pool, struct skink__job *job, enum skink__lane lane)
{
    int err = 0;
    skink__pool_lock(pool);
    if (pool->held_count == pool->count) review_held(pool);
    if (pool->stopping) {
        err = -ECANCELED;
    } else if (pool->held_count == pool->count) {
        err = -EBUSY;
    } else {
        job->workers = pool;
        job->lane = lane;
        job->number = ++pool->jobs;
        job->submitted_ns = skink_now();
        job->worker = NULL;
        job->task = NULL;
        queue_push(&pool->queues[lane], job);
        start_jobs(pool);
    }
    skink__pool_unlock(pool);
    return err;
}

bool skink__workers_withdraw(struct skink__job *job)
{
    skink_workers *pool = job->workers;
    skink__pool_lock(pool);
    bool queued = job->queued;
    if (queued) queue_remove(&pool->queues[job->lane], job);
    announce_settled(pool);
    skink__pool_unlock(pool);
    return queued;
}

bool skink__workers_is_current(const struct skink__job *job)
{
    return skink__runtime_is_current(job);
}

void skink__workers_cancel(struct skink__job *job, int reason)
{
    skink_workers *pool = job->workers;
    skink__pool_lock(pool);
    skink_task *task = job->worker ? skink_task_ref(job->task) : NULL;
    skink__pool_unlock(pool);
    if (task) (void)skink__task_cancel_for(task, reason);
    skink_task_unref(task);
}
