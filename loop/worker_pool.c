/* SPDX-License-Identifier: MIT */
/*
 * worker_pool.c - which job runs on which worker (worker_pool.h).
 *
 * One lock guards it all. It is held for a few instructions, always inside a runtime section or on a thread that is
 * no loop thread: so nobody is ever abandoned with it. Host code never runs under it.
 */
#include "loop/worker_pool.h"
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/options.h"
#include "loop/state.h"
#include "skink/clock.h"
#include <errno.h>
#include <stdio.h>

enum { THREADS_DEFAULT = 64, THREADS_MAX = 1024, STACK_BYTES_DEFAULT = 1024 * 1024, RETRY_MS = 10 };

#define TIMEOUT_MIN_NS (10 * SKINK_MS) /* the shortest that a watchdog can tell */

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

struct queue {
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
    struct queue queues[SKINK__LANES] SKINK__GUARDED_BY(pool_mutex);
    bool serial_busy SKINK__GUARDED_BY(pool_mutex);
    struct skink__worker *idle
        SKINK__GUARDED_BY(pool_mutex); /* the last one that ended a job is the first to get one: its memory is warm */
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

static void pool_lock(skink_workers *pool) SKINK__ACQUIRES(pool_mutex) SKINK__UNCHECKED
{
    pthread_mutex_lock(&pool->lock);
}

static void pool_unlock(skink_workers *pool) SKINK__RELEASES(pool_mutex) SKINK__UNCHECKED
{
    pthread_mutex_unlock(&pool->lock);
}

/* ---- queues; all of this under the lock ---- */

static void queue_push(struct queue *queue, struct skink__job *job) SKINK__REQUIRES(pool_mutex)
{
    job->previous = queue->last;
    job->next = NULL;
    *(queue->last ? &queue->last->next : &queue->first) = job;
    queue->last = job;
    queue->length++;
    job->queued = true;
}

static void queue_remove(struct queue *queue, struct skink__job *job) SKINK__REQUIRES(pool_mutex)
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
static void put_back(struct skink__worker *worker) SKINK__REQUIRES(pool_mutex)
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
        put_back(worker);
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
    put_back(worker);
}

static void run_job(void *arg);
static void on_stuck(void *arg, const struct skink__abandonment *why) SKINK__IN_RUNTIME;
static void on_dropped(void *arg) SKINK__IN_RUNTIME;
static void on_lost(void *arg);

/* On the watchdog, which owns the scheduler: the type is constant while the job runs. */
static void label(const void *arg, struct skink__task_label *ret_label)
{
    const struct skink__job *job = arg;
    if (job->type->label) job->type->label(job, ret_label);
}

static const struct skink__task_kind kind = {
    .abandoned = on_stuck, .dropped = on_dropped, .lost = on_lost, .label = label
};

/* One that blocks for all the time that it has will not come to its end in time, so it loses its thread then. */
static void set_times(struct skink__job *job, const skink_workers *pool) SKINK__REQUIRES(pool_mutex)
{
    uint64_t timeout_ns = job->deadlock_timeout_ns ? job->deadlock_timeout_ns : pool->deadlock_timeout_ns;
    if (!job->time_limit_ns) job->time_limit_ns = pool->time_limit_ns;
    if (timeout_ns && job->time_limit_ns && job->time_limit_ns < timeout_ns) timeout_ns = job->time_limit_ns;
    job->deadlock_timeout_ns = timeout_ns && timeout_ns < TIMEOUT_MIN_NS ? TIMEOUT_MIN_NS : timeout_ns;
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
        put_back(worker);
        job->type->ended(job, err == -ECANCELED ? SKINK__JOB_STOPPED : SKINK__JOB_NO_MEMORY);
    }
    announce_settled(pool);
}

/* Nobody is left, or will be, to run what waits. */
static void flush(skink_workers *pool, enum skink__job_end end) SKINK__REQUIRES(pool_mutex)
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
    pool_lock(pool);
    struct skink__job *job = worker->job;
    /* In a call to another loop: that one is slow, not this job. */
    bool calling = job && skink__task_is_calling(job->task);
    if (job && !calling) {
        pool->overdue++;
        detach(job);
        start_jobs(pool);
    }
    pool_unlock(pool);
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
    pool_lock(pool);
    if (job->worker) {
        uv_timer_stop(&job->worker->timer);
        detach(job);
    }
    if (go_on) start_jobs(pool);
    pool_unlock(pool);
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
    pool_lock(pool);
    pool->stuck++;
    if (job->worker) {
        uv_timer_stop(&job->worker->timer);
        detach(job);
    }
    start_jobs(pool);
    if (pool->held_count == pool->count) flush(pool, SKINK__JOB_HELD);
    pool_unlock(pool);
    job->type->stuck(job, why);
}

static void on_dropped(void *arg)
{
    end_job(arg, SKINK__JOB_STOPPED);
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
    pool_lock(pool);
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
    pool_unlock(pool);
    return err;
}

bool skink__workers_withdraw(struct skink__job *job)
{
    skink_workers *pool = job->workers;
    pool_lock(pool);
    bool queued = job->queued;
    if (queued) queue_remove(&pool->queues[job->lane], job);
    announce_settled(pool);
    pool_unlock(pool);
    return queued;
}

bool skink__workers_is_current(const struct skink__job *job)
{
    const struct skink__thread *thread = skink__thread_self();
    return thread && thread->current && thread->current->arg == job;
}

void skink__workers_cancel(struct skink__job *job, int reason)
{
    skink_workers *pool = job->workers;
    pool_lock(pool);
    skink_task *task = job->worker ? skink_task_ref(job->task) : NULL;
    pool_unlock(pool);
    if (task) (void)skink__task_cancel_for(task, reason);
    skink_task_unref(task);
}

/* ---- life ---- */

skink_workers *skink__workers_ref(skink_workers *workers)
{
    atomic_fetch_add_explicit(&workers->refs, 1, memory_order_relaxed);
    return workers;
}

void skink__workers_unref(skink_workers *workers)
{
    if (!workers || atomic_fetch_sub_explicit(&workers->refs, 1, memory_order_acq_rel) != 1) return;
    pthread_cond_destroy(&workers->settled);
    pthread_mutex_destroy(&workers->lock);
    pthread_mutex_destroy(&workers->control);
    skink__free(workers);
}

static int options_read(skink_workers_options *given, const skink_workers_options *options)
{
    int err = SKINK__OPTIONS_READ(given, options);
    if (err) return err;
    if (!given->threads) given->threads = THREADS_DEFAULT;
    if (!given->stack_size_bytes) given->stack_size_bytes = STACK_BYTES_DEFAULT;
    bool short_timeout = given->deadlock_timeout_ns && given->deadlock_timeout_ns < TIMEOUT_MIN_NS;
    return given->flags || given->threads > THREADS_MAX || short_timeout ? -EINVAL : 0;
}

static void init_timer(uv_loop_t *loop, void *arg)
{
    struct skink__worker *worker = arg;
    uv_timer_init(loop, &worker->timer);
    worker->timer.data = worker;
}

static int create_worker(struct skink__worker *worker, unsigned number, const skink_workers_options *given)
{
    char name[24];
    snprintf(name, sizeof name, "worker-%u", number);
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.name = name;
    options.stack_size_bytes = given->stack_size_bytes;
    int err = skink_scheduler_create(&options, &worker->scheduler);
    if (err) return err;
    skink__scheduler_set_role(worker->scheduler, "worker");
    return skink_scheduler_uv(worker->scheduler, init_timer, worker);
}

int skink_workers_create(const skink_workers_options *options, skink_workers **ret_workers)
{
    skink_workers_options given;
    int err = options_read(&given, options);
    if (err) return err;
    if (!ret_workers) return -EINVAL;
    skink_workers *pool = skink__zalloc(sizeof *pool + given.threads * sizeof pool->workers[0]);
    if (!pool) return -ENOMEM;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->settled, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_mutex_init(&pool->control, NULL);
    atomic_init(&pool->refs, 1);
    SKINK__ASSUME(pool_mutex); /* nobody else knows it yet */
    pool->deadlock_timeout_ns = given.deadlock_timeout_ns;
    pool->time_limit_ns = given.time_limit_ns;
    pool->count = given.threads;
    for (unsigned i = given.threads; i-- > 0;) { /* so that the first is the first to be used */
        pool->workers[i].pool = pool;
        if (!err) err = create_worker(&pool->workers[i], i + 1, &given);
        if (!err) put_back(&pool->workers[i]);
    }
    if (err) {
        skink_workers_destroy(pool);
        return err;
    }
    *ret_workers = pool;
    return 0;
}

skink_scheduler *skink_workers_scheduler_at(skink_workers *workers, size_t i)
{
    return workers && i < workers->count ? workers->workers[i].scheduler : NULL;
}

void skink_workers_set_timeouts(skink_workers *workers, uint64_t deadlock_timeout_ns, uint64_t time_limit_ns)
{
    if (!workers) return;
    pool_lock(workers);
    workers->deadlock_timeout_ns = deadlock_timeout_ns;
    workers->time_limit_ns = time_limit_ns;
    pool_unlock(workers);
}

static int start_all(skink_workers *workers)
{
    int err = 0;
    uint32_t started = 0;
    while (!err && started < workers->count)
        err = skink_scheduler_start(workers->workers[started++].scheduler);
    if (err)
        while (started-- > 0)
            (void)!skink_scheduler_stop(workers->workers[started].scheduler, skink_now());
    return err;
}

/* They may have been stopped before. */
static void take_jobs(skink_workers *workers)
{
    pool_lock(workers);
    workers->stopping = false;
    pool_unlock(workers);
}

int skink_workers_start(skink_workers *workers)
{
    if (!workers) return -EINVAL;
    int err = -EALREADY;
    skink__mutex_lock(&workers->control);
    if (!workers->running) {
        err = start_all(workers);
        workers->running = !err;
    }
    if (!err) take_jobs(workers);
    skink__mutex_unlock(&workers->control);
    return err;
}

static void wait_until_settled(skink_workers *pool, uint64_t deadline_ns) SKINK__REQUIRES(pool_mutex)
{
    struct timespec until = { .tv_sec = (time_t)(deadline_ns / SKINK_S), .tv_nsec = (long)(deadline_ns % SKINK_S) };
    int err = 0;
    while (!err && (pool->busy_count || pool->queues[0].length || pool->queues[1].length))
        err = pthread_cond_timedwait(&pool->settled, &pool->lock, &until);
}

static void *stop_worker(void *arg)
{
    struct skink__worker *worker = arg;
    worker->stop_result = skink_scheduler_stop(worker->scheduler, worker->pool->stop_deadline_ns);
    return NULL;
}

/* Each on a thread of its own, for one that is stuck takes its time; without threads one after the other. */
static int stop_all(skink_workers *pool)
{
    int worst = 0;
    for (uint32_t i = 0; i < pool->count; i++) {
        struct skink__worker *worker = &pool->workers[i];
        worker->has_stopper = pthread_create(&worker->stopper, NULL, stop_worker, worker) == 0;
        if (!worker->has_stopper) stop_worker(worker);
    }
    for (uint32_t i = 0; i < pool->count; i++) {
        struct skink__worker *worker = &pool->workers[i];
        if (worker->has_stopper) pthread_join(worker->stopper, NULL);
        if (!worst || worker->stop_result == -ETIMEDOUT) worst = worker->stop_result;
    }
    return worst;
}

static int settle_and_stop(skink_workers *workers, uint64_t deadline_ns)
{
    pool_lock(workers);
    workers->stopping = true;
    workers->stop_deadline_ns = deadline_ns;
    wait_until_settled(workers, deadline_ns);
    bool cut = workers->queues[SKINK__LANE_PARALLEL].length || workers->queues[SKINK__LANE_SERIAL].length;
    flush(workers, SKINK__JOB_STOPPED);
    pool_unlock(workers);
    int err = stop_all(workers);
    return err ? err : cut ? -ECANCELED : 0;
}

int skink_workers_stop(skink_workers *workers, uint64_t deadline_ns)
{
    if (!workers) return -EINVAL;
    if (skink_scheduler_current()) return -EDEADLK; /* it may be what they wait for */
    int err = -EALREADY;
    skink__mutex_lock(&workers->control);
    if (workers->running) {
        err = settle_and_stop(workers, deadline_ns);
        workers->running = false;
    }
    skink__mutex_unlock(&workers->control);
    return err;
}

void skink_workers_destroy(skink_workers *workers)
{
    if (!workers) return;
    (void)!skink_workers_stop(workers, skink_now());
    pool_lock(workers);
    workers->stopping = true;
    flush(workers, SKINK__JOB_STOPPED); /* of those who never ran */
    pool_unlock(workers);
    for (uint32_t i = 0; i < workers->count; i++)
        skink_scheduler_destroy(workers->workers[i].scheduler);
    skink__workers_unref(workers);
}

int skink_workers_stats_read(skink_workers *workers, skink_workers_stats *stats)
{
    if (!workers || !stats) return -EINVAL;
    skink_scheduler *here = skink__runtime_enter(); /* where it may start jobs */
    pool_lock(workers);
    review_held(workers);
    start_jobs(workers);
    skink_workers_stats values = {
        .threads = workers->count,
        .busy = workers->busy_count,
        .held = workers->held_count,
        .queued = workers->queues[SKINK__LANE_PARALLEL].length + workers->queues[SKINK__LANE_SERIAL].length,
        .started = workers->started,
        .stuck = workers->stuck,
        .overdue = workers->overdue,
        .waited_ns = workers->waited_ns,
    };
    pool_unlock(workers);
    skink__runtime_leave(here);
    return skink__stats_write(stats, &values, sizeof values);
}
