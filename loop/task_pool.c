/* SPDX-License-Identifier: MIT */
/*
 * task_pool.c - where task objects come from, without an allocation or a lock per task.
 *
 * On the loop they come from a plain list. A thread that posts from outside keeps a small stock of its own and refills
 * it from a list that the loop returns objects to, a batch at a time; that list is taken whole, by exchange, so
 * there is no ABA problem, and all but a few of it are put back.
 *
 * The limit on living tasks is a limit on objects made; a stock holds a few of them back. Once all of them have been
 * made, what one has free is what another lacks. Then the loop's own list, too, goes to the shared one every turn.
 */
#include "loop/memory.h"
#include "loop/state.h"
#include <errno.h>

enum { RETURN_BATCH = 32, SETTLE_BATCH = 1024 };

static skink_task *next_of(skink_task *task)
{
    return (skink_task *)task->message.next;
}

static void set_next(skink_task *task, skink_task *next)
{
    task->message.next = (struct skink__message *)next;
}

void skink__task_pool_init(struct skink__task_pool *pool, uint32_t task_max)
{
    *pool = (struct skink__task_pool){ .task_max = task_max };
    pthread_mutex_init(&pool->taking, NULL);
    pool->chunk_tasks = task_max / 1024;
    if (pool->chunk_tasks < 1) pool->chunk_tasks = 1;
    if (pool->chunk_tasks > SKINK__CHUNK_TASKS_MAX) pool->chunk_tasks = SKINK__CHUNK_TASKS_MAX;
}

void skink__task_pool_fini(struct skink__task_pool *pool)
{
    struct skink__task_chunk *chunk = atomic_load_explicit(&pool->chunks, memory_order_acquire);
    while (chunk) {
        struct skink__task_chunk *next = chunk->next;
        skink__free_aligned(chunk);
        chunk = next;
    }
    pthread_mutex_destroy(&pool->taking);
}

static bool all_are_made(const struct skink__task_pool *pool)
{
    return atomic_load_explicit(&pool->task_count, memory_order_relaxed) >= pool->task_max;
}

/* How many objects may be made now, and no more than a chunk; they count from here on. */
static uint32_t reserve(struct skink__task_pool *pool)
{
    uint32_t made = atomic_load_explicit(&pool->task_count, memory_order_relaxed);
    uint32_t count;
    do {
        if (made >= pool->task_max) return 0;
        count = pool->task_max - made < pool->chunk_tasks ? pool->task_max - made : pool->chunk_tasks;
    } while (!atomic_compare_exchange_weak_explicit(&pool->task_count, &made, made + count, memory_order_relaxed,
                                                    memory_order_relaxed));
    return count;
}

/* New objects, linked; any thread. */
static skink_task *make_chunk(skink_scheduler *scheduler, int *ret_err)
{
    struct skink__task_pool *pool = &scheduler->tasks;
    uint32_t count = reserve(pool);
    if (!count) {
        *ret_err = -EAGAIN;
        return NULL;
    }
    struct skink__task_chunk *chunk =
        skink__zalloc_aligned(sizeof *chunk + count * sizeof(skink_task), _Alignof(struct skink__task_chunk));
    if (!chunk) {
        atomic_fetch_sub_explicit(&pool->task_count, count, memory_order_relaxed);
        *ret_err = -ENOMEM;
        return NULL;
    }
    chunk->count = count;
    skink__assume_runtime(); /* nobody else knows them yet */
    for (uint32_t i = 0; i < count; i++) {
        chunk->tasks[i].scheduler = scheduler;
        chunk->tasks[i].heap_index = SKINK__NOT_IN_HEAP;
        set_next(&chunk->tasks[i], i + 1 < count ? &chunk->tasks[i + 1] : NULL);
    }
    chunk->next = atomic_load_explicit(&pool->chunks, memory_order_relaxed);
    /* Release: who walks the chunks finds them filled in. */
    while (!atomic_compare_exchange_weak_explicit(&pool->chunks, &chunk->next, chunk, memory_order_release,
                                                  memory_order_relaxed)) {
    }
    if (all_are_made(pool)) skink__inbox_wake(&scheduler->inbox); /* it has a turn, and so shares what it has */
    return &chunk->tasks[0];
}

static void share(struct skink__task_pool *pool, skink_task *first, skink_task *last)
{
    skink_task *head = atomic_load_explicit(&pool->shared, memory_order_relaxed);
    do {
        set_next(last, head);
        /* Release: pairs with the acquire of whoever takes the list. */
    } while (!atomic_compare_exchange_weak_explicit(&pool->shared, &head, first, memory_order_release,
                                                    memory_order_relaxed));
}

/* What was taken too much, to a list that is empty unless somebody has shared something at this moment. */
static void put_back(struct skink__task_pool *pool, skink_task *rest)
{
    for (skink_task *none = NULL; rest; none = NULL) {
        if (atomic_compare_exchange_strong_explicit(&pool->shared, &none, rest, memory_order_release,
                                                    memory_order_relaxed))
            return;
        skink_task *first = atomic_exchange_explicit(&pool->shared, NULL, memory_order_acquire), *last = first;
        if (!first) continue;
        while (next_of(last))
            last = next_of(last);
        set_next(last, rest);
        rest = first;
    }
}

/* As many as a stock may have; who has the lock. */
static skink_task *take_some(struct skink__task_pool *pool)
{
    if (!atomic_load_explicit(&pool->shared, memory_order_relaxed)) return NULL;
    skink_task *first = atomic_exchange_explicit(&pool->shared, NULL, memory_order_acquire), *last = first;
    if (!first) return NULL;
    for (uint32_t count = 1; count < pool->chunk_tasks && next_of(last); count++) {
        last = next_of(last);
        if (last->arg) __builtin_prefetch(last->arg, 1); /* see skink__task_release() */
    }
    skink_task *rest = next_of(last);
    set_next(last, NULL);
    put_back(pool, rest);
    return first;
}

/* Nobody waits for one who has all of the list in hand at this moment: rather make new ones. */
static skink_task *take_shared(struct skink__task_pool *pool)
{
    if (!atomic_load_explicit(&pool->shared, memory_order_relaxed)) return NULL;
    if (pthread_mutex_trylock(&pool->taking)) return NULL;
    skink_task *first = take_some(pool);
    pthread_mutex_unlock(&pool->taking);
    return first;
}

/* There are no more to be made: only if the list is empty indeed there is none. */
static skink_task *take_last(struct skink__task_pool *pool)
{
    pthread_mutex_lock(&pool->taking);
    skink_task *first = take_some(pool);
    pthread_mutex_unlock(&pool->taking);
    return first;
}

bool skink__task_pool_settle(struct skink__task_pool *pool)
{
    if (!all_are_made(pool)) return true;
    if (pool->returning) share(pool, pool->returning, pool->returning_last);
    pool->returning = pool->returning_last = NULL;
    pool->returning_count = 0;
    skink_task *first = pool->free, *last = first;
    if (!first) return true;
    for (int count = 1; count < SETTLE_BATCH && next_of(last); count++)
        last = next_of(last);
    pool->free = next_of(last);
    share(pool, first, last);
    return !pool->free;
}

skink_task *skink__task_acquire_here(skink_scheduler *scheduler, int *ret_err)
{
    struct skink__task_pool *pool = &scheduler->tasks;
    skink_task *task = pool->free;
    if (!task) {
        task = take_shared(pool);
        if (!task && pool->returning) { /* a batch that is not full yet */
            task = pool->returning;
            pool->returning = pool->returning_last = NULL;
            pool->returning_count = 0;
        }
        if (!task) task = make_chunk(scheduler, ret_err);
        if (!task) task = take_last(pool);
        if (!task) return NULL;
    }
    pool->free = next_of(task);
    task->foreign = false;
    return task;
}

/* ---- the stock of a thread that posts from outside ----
 *
 * The functions that touch it are never inlined: callers may have changed threads a moment before, and a compiler may
 * keep a thread-local's address. */

static _Thread_local struct {
    skink_scheduler *scheduler; /* whose tasks they are; with a reference on its memory */
    skink_task *tasks;
} stock __attribute__((tls_model("initial-exec")));

static pthread_key_t stock_key; /* its destructor returns a thread's stock when the thread ends */
static pthread_once_t stock_once = PTHREAD_ONCE_INIT;

static void stock_return(void *unused)
{
    (void)unused;
    skink_scheduler *scheduler = stock.scheduler;
    skink_task *first = stock.tasks;
    stock.scheduler = NULL;
    stock.tasks = NULL;
    if (!scheduler) return;
    if (first) {
        skink_task *last = first;
        while (next_of(last))
            last = next_of(last);
        share(&scheduler->tasks, first, last);
    }
    skink__scheduler_unref(scheduler);
}

static void stock_key_create(void)
{
    /* Without a key a thread's stock stays with the scheduler's memory until that goes: a loss, not a leak. */
    if (pthread_key_create(&stock_key, stock_return)) stock_key = (pthread_key_t)-1;
}

static void stock_open(skink_scheduler *scheduler)
{
    pthread_once(&stock_once, stock_key_create);
    stock_return(NULL);
    stock.scheduler = skink__scheduler_ref(scheduler);
    pthread_setspecific(stock_key, &stock);
}

__attribute__((noinline)) void skink__task_stock_drop(const skink_scheduler *scheduler)
{
    if (stock.scheduler == scheduler) stock_return(NULL);
}

__attribute__((noinline)) skink_task *skink__task_acquire_foreign(skink_scheduler *scheduler, int *ret_err)
{
    if (stock.scheduler != scheduler) stock_open(scheduler);
    if (!stock.tasks) stock.tasks = take_shared(&scheduler->tasks);
    if (!stock.tasks) stock.tasks = make_chunk(scheduler, ret_err);
    if (!stock.tasks) stock.tasks = take_last(&scheduler->tasks);
    skink_task *task = stock.tasks;
    if (!task) return NULL;
    stock.tasks = next_of(task);
    if (task->arg) __builtin_prefetch(task->arg, 1);
    task->foreign = true;
    return task;
}

void skink__task_release(skink_task *task, bool here)
{
    struct skink__task_pool *pool = &task->scheduler->tasks;
    if (here && !task->foreign) {
        skink__assume_runtime();
        skink__task_release_own(pool, task);
        return;
    }
    skink__task_set_state(task, SKINK__TASK_FREE);
    if (!here) {
        share(pool, task, task);
    } else {
        skink__assume_runtime();
        /* The cache line is ours now, and fetching it takes a poster longer than posting. So each object of the list
         * says which one is due a few posts later; `arg` is free for that. */
        skink_task **ahead = &pool->returned[pool->returning_count % SKINK__FETCH_AHEAD];
        task->arg = pool->returning_count < SKINK__FETCH_AHEAD ? NULL : *ahead;
        *ahead = task;
        set_next(task, pool->returning);
        if (!pool->returning) pool->returning_last = task;
        pool->returning = task;
        if (++pool->returning_count < RETURN_BATCH && pool->chunk_tasks > 1) return;
        share(pool, pool->returning, pool->returning_last);
        pool->returning = pool->returning_last = NULL;
        pool->returning_count = 0;
    }
}
