/* SPDX-License-Identifier: MIT */
/*
 * await_any.c - wait for the first of several futures, or for all of them.
 *
 * The waiters of one wait are on the heap, with a reference for each that is linked: a future may go with one of them
 * in its list. Who wakes claims the whole first; then, under the lock of its future, the task. So none of the later
 * ones touches the task. One that is dropped at a stop, woken or not, lets go of them as if it had come back.
 */
#include "loop/memory.h"
#include "loop/state.h"
#include <errno.h>

struct skink__any {
    _Atomic uint32_t refs; /* the waiting call's, and one for each linked waiter */
    _Atomic bool claimed;  /* somebody wakes, or the wait has ended */
    skink_task *task;      /* NULL: a thread */
    _Atomic uint32_t woken;
    size_t count;
    struct skink__any_waiter waiters[];
};

static void any_unref(struct skink__any *any)
{
    if (atomic_fetch_sub_explicit(&any->refs, 1, memory_order_acq_rel) == 1) skink__free(any);
}

void skink__any_wake(struct skink__any_waiter *waiter, const skink_scheduler *here)
{
    struct skink__any *any = waiter->any;
    if (!atomic_exchange(&any->claimed, true)) {
        if (!any->task)
            skink__thread_notify(&any->woken);
        else if (skink__wait_claim(any->task))
            skink__wait_wake(any->task, 0, here == any->task->scheduler);
    }
    any_unref(any);
}

void skink__any_forget(struct skink__any_waiter *waiter)
{
    any_unref(waiter->any);
}

static void unlink_all(struct skink__any *any, skink_future *const *futures)
{
    for (size_t i = 0; i < any->count; i++)
        if (skink__future_unlink(futures[i], &any->waiters[i].base)) any_unref(any);
}

struct any_wait {
    struct skink__holding hold;
    struct skink__any *any;
    skink_future *const *futures;
};

static bool abort_any(skink_task *task) SKINK__IN_RUNTIME
{
    struct any_wait *wait = task->wait_object;
    bool won = skink__wait_claim(task);
    atomic_store(&wait->any->claimed, true);
    unlink_all(wait->any, wait->futures); /* and so nobody is about to wake it any more */
    return won;
}

/* The end of a wait: of the call, or of the task in it. */
static void let_go(const struct any_wait *wait)
{
    unlink_all(wait->any, wait->futures);
    any_unref(wait->any);
}

static void drop_any(struct skink__holding *hold)
{
    let_go((const struct any_wait *)((char *)hold - offsetof(struct any_wait, hold)));
}

/* The first that is complete; count without one. */
static size_t first_done(skink_future *const *futures, size_t count)
{
    size_t i = 0;
    while (i < count && !skink_future_is_done(futures[i]))
        i++;
    return i;
}

static int any_create(size_t count, skink_task *task, struct skink__any **ret_any)
{
    if (count > SIZE_MAX / 2 / sizeof(struct skink__any_waiter)) return -EINVAL;
    struct skink__any *any = skink__zalloc(sizeof *any + count * sizeof *any->waiters);
    if (!any) return -ENOMEM;
    atomic_init(&any->refs, 1);
    any->task = task;
    any->count = count;
    for (size_t i = 0; i < count; i++) {
        any->waiters[i].base.kind = SKINK__WAITER_ANY;
        any->waiters[i].any = any;
    }
    *ret_any = any;
    return 0;
}

/* False: one was complete already; those before it are linked. */
static bool link_all(struct skink__any *any, skink_future *const *futures)
{
    for (size_t i = 0; i < any->count; i++) {
        atomic_fetch_add_explicit(&any->refs, 1, memory_order_relaxed);
        if (skink__future_link(futures[i], &any->waiters[i].base)) continue;
        any_unref(any);
        return false;
    }
    return true;
}

/* In the runtime section of the calling task; outside of it afterwards. */
static int task_await_any(skink_task *task, skink_future *const *futures, size_t count,
                          uint64_t deadline_ns) SKINK__LEAVES_RUNTIME
{
    struct any_wait wait = { .hold.drop = drop_any, .futures = futures };
    int err = any_create(count, task, &wait.any);
    if (!err) err = skink__wait_begin(task, deadline_ns, -ETIMEDOUT, abort_any, &wait);
    if (err) {
        if (wait.any) any_unref(wait.any);
        skink__runtime_leave(task->scheduler);
        return err;
    }
    /* One that is complete already ends the wait, unless another has just done so and its wake-up is on the way. */
    if (!link_all(wait.any, futures) && !atomic_exchange(&wait.any->claimed, true)) {
        skink__wait_undo(task);
        skink__runtime_leave(task->scheduler);
    } else {
        skink__holding_begin(task, &wait.hold);
        err = skink__wait_suspend(task);
        skink__holding_end(task, &wait.hold);
    }
    let_go(&wait);
    return err;
}

static int thread_await_any(skink_future *const *futures, size_t count, uint64_t deadline_ns)
{
    struct skink__any *any;
    int err = any_create(count, NULL, &any);
    if (err) return err;
    if (link_all(any, futures) && !skink__thread_wait(&any->woken, deadline_ns)) err = -ETIMEDOUT;
    atomic_store(&any->claimed, true);
    unlink_all(any, futures);
    any_unref(any);
    return err;
}

int skink_await_any(skink_future *const *futures, size_t count, uint64_t deadline_ns, size_t *ret_index)
{
    if (!futures || !count) return -EINVAL;
    for (size_t i = 0; i < count; i++)
        if (!futures[i]) return -EINVAL;
    skink_scheduler *here = skink__runtime_enter();
    if (here && !skink__in_task()) {
        skink__runtime_leave(here);
        return -EPERM;
    }
    int err = 0;
    bool done = first_done(futures, count) < count;
    if (here && !done) {
        skink__assume_runtime();
        err = task_await_any(skink__thread_self()->current, futures, count, deadline_ns);
    } else {
        skink__runtime_leave(here);
        if (!done) err = thread_await_any(futures, count, deadline_ns);
    }
    size_t first = first_done(futures, count);
    if (first == count) return err;
    if (err && err != -ETIMEDOUT) return err; /* it is to end; the deadline and a completion may meet */
    if (ret_index) *ret_index = first;
    return 0;
}

int skink_await_all(skink_future *const *futures, size_t count, uint64_t deadline_ns)
{
    if (!futures && count) return -EINVAL;
    int first = 0;
    for (size_t i = 0; i < count; i++) {
        int err = skink_await(futures[i], deadline_ns, NULL);
        if (err && (!futures[i] || !skink_future_is_done(futures[i]))) return err; /* of the wait, not of the future */
        if (err && !first) first = err;
    }
    return first;
}
