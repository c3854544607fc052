/* SPDX-License-Identifier: MIT */
/*
 * future.c - completed once, from anywhere; awaited by tasks, threads and continuations.
 *
 * The lock is held for a few instructions and never across host code. Who ends a wait early (deadline, cancellation)
 * takes the lock to unlink its waiter, and so knows that no completer still looks at it.
 */
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/state.h"
#include "loop/uv_means.h"
#include <errno.h>

struct task_waiter {
    struct skink__waiter base;
    skink_task *task;
    skink_future *future;
};

struct thread_waiter {
    struct skink__waiter base;
    _Atomic uint32_t woken;
};

struct continuation {
    struct skink__waiter base;
    enum skink_where where;
    skink_scheduler *scheduler; /* holds a reference on its memory; NULL for SKINK_IN_PLACE */
    skink_task *task;           /* SKINK_ON_LOOP: reserved beforehand, so that nothing can fail at completion */
    struct skink__message message;
    uv_work_t work; /* SKINK_ON_POOL */
    void (*fn)(void *arg, int error, void *value);
    void *arg;
    int error;
    void *value;
    bool begun; /* SKINK_ON_LOOP: fn has been called; the task's */
};

void skink__future_init(skink_future *future)
{
    SKINK__ASSUME(skink__future_mutex); /* nobody else knows it yet */
    atomic_init(&future->refs, 1);
    atomic_init(&future->done, false);
    pthread_mutex_init(&future->lock, NULL);
    future->completer_kind = SKINK__COMPLETER_ANY;
    future->waiters = NULL;
    future->error = 0;
    future->value = NULL;
    future->completer = NULL;
}

void skink__future_fini(skink_future *future)
{
    SKINK__ASSUME(skink__future_mutex); /* nobody else knows it any more, as below */
    SKINK_ASSERT(!future->waiters);
    pthread_mutex_destroy(&future->lock);
}

int skink_future_create(skink_future **ret_future)
{
    if (!ret_future) return -EINVAL;
    skink_future *future = skink__alloc(sizeof *future);
    if (!future) return -ENOMEM;
    skink__future_init(future);
    *ret_future = future;
    return 0;
}

skink_future *skink_future_ref(skink_future *future)
{
    if (future) atomic_fetch_add_explicit(&future->refs, 1, memory_order_relaxed);
    return future;
}

static void continuation_free(struct continuation *continuation);

void skink_future_unref(skink_future *future)
{
    if (!future || atomic_fetch_sub_explicit(&future->refs, 1, memory_order_acq_rel) != 1) return;
    SKINK__ASSUME(skink__future_mutex);
    /* Nobody can complete it any more: continuations never run, and go with it. */
    for (struct skink__waiter *waiter = future->waiters; waiter;) {
        struct skink__waiter *next = waiter->next;
        SKINK_ASSERT(waiter->kind == SKINK__WAITER_CONTINUATION || waiter->kind == SKINK__WAITER_ANY);
        if (waiter->kind == SKINK__WAITER_ANY)
            skink__any_forget((struct skink__any_waiter *)waiter); /* of a task that was dropped */
        else
            continuation_free((struct continuation *)waiter);
        waiter = next;
    }
    future->waiters = NULL;
    if (future->completer_kind == SKINK__COMPLETER_TASK) skink_task_unref(future->completer);
    skink__future_fini(future);
    skink__free(future);
}

bool skink_future_is_done(const skink_future *future)
{
    return future && atomic_load_explicit(&future->done, memory_order_acquire);
}

/* ---- the list of waiters; under the lock ---- */

static void waiter_link(skink_future *future, struct skink__waiter *waiter) SKINK__REQUIRES(skink__future_mutex)
{
    waiter->previous = NULL;
    waiter->next = future->waiters;
    if (waiter->next) waiter->next->previous = waiter;
    future->waiters = waiter;
    waiter->linked = true;
}

static void waiter_unlink(skink_future *future, struct skink__waiter *waiter) SKINK__REQUIRES(skink__future_mutex)
{
    if (!waiter->linked) return;
    if (waiter->previous)
        waiter->previous->next = waiter->next;
    else
        future->waiters = waiter->next;
    if (waiter->next) waiter->next->previous = waiter->previous;
    waiter->linked = false;
}

/* Link it, unless the future is complete already (false). */
static bool link_if_pending(skink_future *future, struct skink__waiter *waiter)
{
    skink__future_lock(future);
    bool pending = !atomic_load_explicit(&future->done, memory_order_relaxed);
    if (pending) waiter_link(future, waiter);
    skink__future_unlock(future);
    return pending;
}

bool skink__future_link(skink_future *future, struct skink__waiter *waiter)
{
    return link_if_pending(future, waiter);
}

bool skink__future_unlink(skink_future *future, struct skink__waiter *waiter)
{
    skink__future_lock(future);
    bool was_linked = waiter->linked;
    waiter_unlink(future, waiter);
    skink__future_unlock(future);
    return was_linked;
}

static int result_of(const skink_future *future, void **ret_value)
{
    if (future->error) return future->error;
    if (ret_value) *ret_value = future->value;
    return 0;
}

/* ---- continuations ---- */

static void continuation_free(struct continuation *continuation)
{
    if (continuation->task) skink__task_unreserve(continuation->task);
    if (continuation->scheduler) skink__scheduler_unref(continuation->scheduler);
    skink__free(continuation);
}

static void continuation_call(void *arg)
{
    struct continuation *continuation = arg;
    continuation->fn(continuation->arg, continuation->error, continuation->value);
    continuation_free(continuation);
}

static void continuation_cancel(struct continuation *continuation)
{
    continuation->error = -ECANCELED;
    continuation->value = NULL;
    continuation_call(continuation);
}

/* As a task. Should that still be abandoned or dropped on its last steps, there is nothing left to let go of. */
static void continuation_run(void *arg)
{
    struct continuation *continuation = arg;
    continuation->begun = true;
    continuation->fn(continuation->arg, continuation->error, continuation->value);
    skink_scheduler *here = skink__runtime_enter();
    skink__assume_runtime(); /* a task runs on a loop thread */
    skink__runtime_disown();
    skink__runtime_leave(here);
    continuation_free(continuation);
}

/* Its task will never run, or never again. */
static void continuation_drop(void *arg)
{
    struct continuation *continuation = arg;
    if (continuation->begun)
        continuation_free(continuation);
    else
        continuation_cancel(continuation);
}

static const struct skink__task_kind continuation_kind = { .dropped = continuation_drop, .lost = continuation_drop };

/* On the pool; what is left to do afterwards is in runtime. */
static void pool_call(uv_work_t *work)
{
    struct continuation *continuation = work->data;
    continuation->fn(continuation->arg, continuation->error, continuation->value);
}

static void pool_called(uv_work_t *work, int status)
{
    struct continuation *continuation = work->data;
    if (status == UV_ECANCELED)
        continuation_cancel(continuation);
    else
        continuation_free(continuation);
}

static void deliver_to_pool(skink_scheduler *scheduler, struct skink__message *message, bool closed) SKINK__IN_RUNTIME
{
    struct continuation *continuation =
        (struct continuation *)((char *)message - offsetof(struct continuation, message));
    continuation->work.data = continuation;
    if (closed || skink__uv_queue_work(&scheduler->loop, &continuation->work, pool_call, pool_called))
        continuation_cancel(continuation);
}

static void continuation_start(struct continuation *continuation)
{
    skink_scheduler *here = NULL;
    skink_task *task = continuation->task;
    switch (continuation->where) {
    case SKINK_ON_LOOP:
        here = skink__runtime_enter();
        continuation->task = NULL; /* the task's from here on */
        if (!skink__task_submit(task, here == continuation->scheduler)) {
            continuation->task = task;
            skink__runtime_leave(here);
            continuation_cancel(continuation);
            return;
        }
        skink__runtime_leave(here);
        return;
    case SKINK_ON_POOL:
        continuation->message.deliver = deliver_to_pool;
        if (!skink__inbox_post(&continuation->scheduler->inbox, &continuation->message))
            continuation_cancel(continuation);
        return;
    case SKINK_IN_PLACE:
        continuation_call(continuation);
        return;
    }
}

int skink_future_then(skink_future *future, enum skink_where where, skink_scheduler *scheduler,
                      void (*fn)(void *arg, int error, void *value), void *arg)
{
    if (!future || !fn || where < SKINK_ON_LOOP || where > SKINK_IN_PLACE) return -EINVAL;
    if (where != SKINK_IN_PLACE && !scheduler) return -EINVAL;
    struct continuation *continuation = skink__zalloc(sizeof *continuation);
    if (!continuation) return -ENOMEM;
    continuation->base.kind = SKINK__WAITER_CONTINUATION;
    continuation->where = where;
    continuation->fn = fn;
    continuation->arg = arg;
    if (where != SKINK_IN_PLACE) continuation->scheduler = skink__scheduler_ref(scheduler);
    if (where == SKINK_ON_LOOP) {
        struct skink__task_spec spec = {
            .name = "continuation", .kind = &continuation_kind, .fn = continuation_run, .arg = continuation
        };
        int err = 0;
        skink_scheduler *here = skink__runtime_enter();
        continuation->task = skink__task_reserve(scheduler, here == scheduler, &spec, &err);
        skink__runtime_leave(here);
        if (!continuation->task) {
            continuation_free(continuation);
            return err;
        }
    }
    if (link_if_pending(future, &continuation->base)) return 0;
    continuation->error = future->error;
    continuation->value = future->value;
    continuation_start(continuation);
    return 0;
}

/* ---- completing ---- */

/* Under the lock: wake who waits, and return the continuations, oldest first, for later. */
static struct skink__waiter *wake_waiters(skink_future *future, const skink_scheduler *here)
    SKINK__REQUIRES(skink__future_mutex)
{
    struct skink__waiter *continuations = NULL;
    for (struct skink__waiter *waiter = future->waiters; waiter;) {
        struct skink__waiter *next = waiter->next; /* a waiter is its owner's again once woken */
        waiter->linked = false;
        if (waiter->kind == SKINK__WAITER_TASK) {
            skink_task *task = ((struct task_waiter *)waiter)->task;
            if (skink__wait_claim(task)) skink__wait_wake(task, 0, here == task->scheduler);
        } else if (waiter->kind == SKINK__WAITER_THREAD) {
            skink__thread_notify(&((struct thread_waiter *)waiter)->woken);
        } else if (waiter->kind == SKINK__WAITER_ANY) {
            skink__any_wake((struct skink__any_waiter *)waiter, here);
        } else {
            waiter->next = continuations;
            continuations = waiter;
        }
        waiter = next;
    }
    future->waiters = NULL;
    return continuations;
}

static int complete(skink_future *future, int error, void *value)
{
    skink_future_ref(future); /* who is woken may let go of it while we still hold the lock */
    skink_scheduler *here = skink__runtime_enter();
    struct skink__waiter *continuations = NULL;
    int err = -EALREADY;
    skink__future_lock(future);
    if (!atomic_load_explicit(&future->done, memory_order_relaxed)) {
        err = 0;
        future->error = error;
        future->value = value;
        atomic_store_explicit(&future->done, true, memory_order_release);
        continuations = wake_waiters(future, here);
    }
    skink__future_unlock(future);
    skink__runtime_leave(here);
    while (continuations) { /* host code: outside of lock and runtime section */
        struct continuation *continuation = (struct continuation *)continuations;
        continuations = continuations->next;
        continuation->error = error;
        continuation->value = value;
        continuation_start(continuation);
    }
    skink_future_unref(future);
    return err;
}

int skink_future_complete(skink_future *future, void *value)
{
    return future ? complete(future, 0, value) : -EINVAL;
}

int skink_future_fail(skink_future *future, int error)
{
    return future && error < 0 ? complete(future, error, NULL) : -EINVAL;
}

/* ---- awaiting ---- */

/* End the wait early: claim it and unlink the waiter, or, when a completer was first, wait until it is done with it. */
static bool abort_await(skink_task *task) SKINK__IN_RUNTIME
{
    struct task_waiter *waiter = task->wait_object;
    skink__future_lock(waiter->future);
    bool won = skink__wait_claim(task);
    waiter_unlink(waiter->future, &waiter->base);
    skink__future_unlock(waiter->future);
    return won;
}

/* In the runtime section of the calling task; outside of it afterwards. */
static int task_await(skink_task *task, skink_future *future, uint64_t deadline_ns,
                      void **ret_value) SKINK__LEAVES_RUNTIME
{
    struct task_waiter waiter = { .base.kind = SKINK__WAITER_TASK, .task = task, .future = future };
    int err = 0;
    if (!skink_future_is_done(future)) {
        err = skink__wait_begin(task, deadline_ns, -ETIMEDOUT, abort_await, &waiter);
        if (!err && link_if_pending(future, &waiter.base)) {
            err = skink__wait_suspend(task);
            return err ? err : result_of(future, ret_value);
        }
        if (!err) skink__wait_undo(task); /* completed meanwhile */
    }
    skink__runtime_leave(task->scheduler);
    return err ? err : result_of(future, ret_value);
}

/* For who may find this thread stuck here: what it waits for, and that this is no wait for its own loop if a thread of
 * the pool is known to end it. */
static bool wait_in_sight(skink_future *future, struct thread_waiter *waiter, uint64_t deadline_ns)
{
    struct skink__thread *thread = skink__thread_self();
    if (!thread) return skink__thread_wait(&waiter->woken, deadline_ns);
    skink__future_lock(future);
    bool by_pool = future->completer_kind == SKINK__COMPLETER_WORK;
    skink__future_unlock(future);
    atomic_store_explicit(&thread->blocks_on, (uintptr_t)future | (uintptr_t)by_pool, memory_order_relaxed);
    bool woken = skink__thread_wait(&waiter->woken, deadline_ns);
    atomic_store_explicit(&thread->blocks_on, 0, memory_order_relaxed);
    return woken;
}

/* On a loop thread that is host code from the lease's view: the thread may be abandoned here, and then the call returns
 * on another. */
int skink__future_block(skink_future *future, uint64_t deadline_ns, struct skink__blocker *blocker, void **ret_value)
{
    struct thread_waiter waiter = { .base.kind = SKINK__WAITER_THREAD };
    bool woken = skink_future_is_done(future) || !link_if_pending(future, &waiter.base);
    if (!woken) {
        woken = wait_in_sight(future, &waiter, deadline_ns);
        /* Before the next call: a stray whose scheduler has stopped does not come back from it, and nothing may point
         * to its stack then. */
        skink__future_lock(future);
        woken = woken || !waiter.base.linked;
        waiter_unlink(future, &waiter.base);
        skink__future_unlock(future);
    }
    skink__detection_end(blocker);
    skink__runtime_leave(skink__runtime_enter()); /* a stray migrates here */
    return woken ? result_of(future, ret_value) : -ETIMEDOUT;
}

/* In the runtime section of the calling task; outside of it afterwards. */
static int loop_thread_await(struct skink__thread *thread, skink_future *future, uint64_t deadline_ns, void **ret_value)
    SKINK__RELEASES(skink__runtime_section)
{
    struct skink__blocker *blocker;
    int err = skink__detection_begin(thread, future, deadline_ns, &blocker);
    if (err) {
        skink__thread_leave(thread);
        return err;
    }
    skink__thread_leave_at_once(thread);
    return skink__future_block(future, deadline_ns, blocker, ret_value);
}

static int thread_await(skink_future *future, uint64_t deadline_ns, void **ret_value)
{
    struct skink__blocker *blocker;
    int err = skink__detection_begin(NULL, future, deadline_ns, &blocker);
    return err ? err : skink__future_block(future, deadline_ns, blocker, ret_value);
}

int skink_await(skink_future *future, uint64_t deadline_ns, void **ret_value)
{
    if (!future) return -EINVAL;
    skink_scheduler *here = skink__runtime_enter();
    if (here && skink__in_task()) {
        skink__assume_runtime();
        return task_await(skink__thread_self()->current, future, deadline_ns, ret_value);
    }
    skink__runtime_leave(here);
    return here ? -EPERM : thread_await(future, deadline_ns, ret_value);
}

int skink_future_block(skink_future *future, uint64_t deadline_ns, void **ret_value)
{
    if (!future) return -EINVAL;
    struct skink__thread *thread = skink__thread_enter();
    if (!thread) return thread_await(future, deadline_ns, ret_value);
    if (skink__in_task()) return loop_thread_await(thread, future, deadline_ns, ret_value);
    skink__thread_leave(thread);
    return -EPERM;
}
