/* SPDX-License-Identifier: MIT */
/* workers.c - the life of a pool of workers: created, started, stopped, destroyed. What it does is in worker_pool.c. */
#include "loop/memory.h"
#include "loop/options.h"
#include "loop/worker_pool_state.h"
#include "skink/clock.h"
#include <errno.h>
#include <stdio.h>

enum { THREADS_DEFAULT = 64, THREADS_MAX = 1024, STACK_BYTES_DEFAULT = 1024 * 1024 };

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
    bool short_timeout = given->deadlock_timeout_ns && given->deadlock_timeout_ns < SKINK__WORKERS_TIMEOUT_MIN_NS;
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
        if (!err) skink__worker_put_back(&pool->workers[i]);
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
    skink__pool_lock(workers);
    workers->deadlock_timeout_ns = deadlock_timeout_ns;
    workers->time_limit_ns = time_limit_ns;
    skink__pool_unlock(workers);
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
    skink__pool_lock(workers);
    workers->stopping = false;
    skink__pool_unlock(workers);
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
    skink__pool_lock(workers);
    workers->stopping = true;
    workers->stop_deadline_ns = deadline_ns;
    wait_until_settled(workers, deadline_ns);
    bool cut = workers->queues[SKINK__LANE_PARALLEL].length || workers->queues[SKINK__LANE_SERIAL].length;
    skink__workers_flush(workers, SKINK__JOB_STOPPED);
    skink__pool_unlock(workers);
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
    skink__pool_lock(workers);
    workers->stopping = true;
    skink__workers_flush(workers, SKINK__JOB_STOPPED); /* of those who never ran */
    skink__pool_unlock(workers);
    for (uint32_t i = 0; i < workers->count; i++)
        skink_scheduler_destroy(workers->workers[i].scheduler);
    skink__workers_unref(workers);
}

int skink_workers_stats_read(skink_workers *workers, skink_workers_stats *stats)
{
    if (!workers || !stats) return -EINVAL;
    skink_scheduler *here = skink__runtime_enter(); /* where it may start jobs */
    skink__pool_lock(workers);
    skink__workers_review(workers);
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
    skink__pool_unlock(workers);
    skink__runtime_leave(here);
    return skink__stats_write(stats, &values, sizeof values);
}
