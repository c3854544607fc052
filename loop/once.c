/* SPDX-License-Identifier: MIT */
/*
 * once.c - initialise once; see skink/once.h.
 *
 * An attempt is a future and the task that completes it. The lock is held for a few instructions, and never while the
 * host's function runs. It is one for all, as it is taken only while something is being initialised.
 */
#include "skink/once.h"
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/runtime.h"
#include "loop/state.h"
#include <errno.h>
#include <unistd.h>

struct attempt {
    _Atomic uint32_t refs; /* the once's, and each caller's */
    skink_once *once;
    skink_future *future;
    int (*fn)(void *arg);
    void *arg;
    _Atomic(skink_task *) task; /* reference; which runs it */
    _Atomic int tid;            /* or the thread, if it is no loop thread */
    _Atomic bool dropped;       /* it will never end; before the future is complete */
};

static skink__mutex lock = PTHREAD_MUTEX_INITIALIZER;

static void attempt_unref(struct attempt *attempt)
{
    if (atomic_fetch_sub_explicit(&attempt->refs, 1, memory_order_acq_rel) != 1) return;
    skink_task_unref(atomic_load(&attempt->task));
    skink_future_unref(attempt->future);
    skink__free(attempt);
}

static int attempt_create(skink_once *once, int (*fn)(void *arg), void *arg, struct attempt **ret_attempt)
{
    struct attempt *attempt = skink__zalloc(sizeof *attempt);
    if (!attempt) return -ENOMEM;
    atomic_init(&attempt->refs, 1);
    attempt->once = once;
    attempt->fn = fn;
    attempt->arg = arg;
    int err = skink_future_create(&attempt->future);
    if (err)
        skink__free(attempt);
    else
        *ret_attempt = attempt;
    return err;
}

/* It has ended: whoever comes from now on finds it done, or begins anew. */
static void finish(struct attempt *attempt, int error)
{
    skink_once *once = attempt->once;
    skink__mutex_lock(&lock);
    once->private_attempt = NULL;
    /* Release: who finds it done finds what fn has made. */
    if (!error) __atomic_store_n(&once->private_done, 1, __ATOMIC_RELEASE);
    skink__mutex_unlock(&lock);
    if (error)
        (void)!skink_future_fail(attempt->future, error < 0 ? error : -EIO);
    else
        (void)!skink_future_complete(attempt->future, NULL);
    attempt_unref(attempt); /* the once's */
}

static void run(void *arg)
{
    struct attempt *attempt = arg;
    finish(attempt, attempt->fn(attempt->arg));
}

/* As a task. What follows happens on the loop, and is not told again that it is dropped: a stray whose scheduler has
 * stopped ends where it enters, in drop(), and has not begun to finish. */
static void run_as_task(void *arg)
{
    struct attempt *attempt = arg;
    int error = attempt->fn(attempt->arg);
    skink_scheduler *here = skink__runtime_enter();
    skink__assume_runtime(); /* a task runs on a loop thread */
    skink__runtime_disown();
    finish(attempt, error);
    skink__runtime_leave(here);
}

/* Its scheduler stops, or has stopped, before it has come to its end. */
static void drop(void *arg)
{
    struct attempt *attempt = arg;
    atomic_store(&attempt->dropped, true);
    finish(attempt, -ECANCELED);
}

static const struct skink__task_kind kind = { .dropped = drop, .lost = drop };

/* Outside of the runtime section. */
static void start(struct attempt *attempt)
{
    skink_scheduler *here = skink__runtime_enter();
    if (!here) {
        skink__runtime_leave(here);
        atomic_store(&attempt->tid, (int)gettid());
        run(attempt);
        return;
    }
    skink__assume_runtime();
    struct skink__task_spec spec = { .name = "once", .kind = &kind, .fn = run_as_task, .arg = attempt };
    skink_task *task = NULL;
    int err = skink__runtime_spawn(here, &spec, &task);
    atomic_store(&attempt->task, task); /* before it can run: that is on this thread, later */
    skink__runtime_leave(here);
    if (err) finish(attempt, err);
}

/* The attempt that runs, or one that is to be started; with a reference. NULL: it is done, or without memory. */
static struct attempt *join(skink_once *once, int (*fn)(void *arg), void *arg, bool *ret_first, int *ret_err)
{
    *ret_first = false;
    *ret_err = 0;
    skink__mutex_lock(&lock);
    struct attempt *attempt = once->private_attempt;
    if (!attempt && !skink_once_is_done(once)) {
        *ret_err = attempt_create(once, fn, arg, &attempt);
        *ret_first = *ret_err == 0;
        once->private_attempt = attempt;
    }
    if (attempt) atomic_fetch_add_explicit(&attempt->refs, 1, memory_order_relaxed);
    skink__mutex_unlock(&lock);
    return attempt;
}

static bool runs_here(const struct attempt *attempt)
{
    const struct skink__thread *thread = skink__thread_self();
    if (thread) return thread->current && thread->current == atomic_load(&attempt->task);
    return atomic_load(&attempt->tid) == (int)gettid();
}

static bool in_runtime(void)
{
    return skink__thread_self() && !skink__in_task();
}

/* On the stack of a task that waits for it. */
struct attempt_hold {
    struct skink__holding base;
    struct attempt *attempt;
};

static void drop_attempt(struct skink__holding *hold)
{
    attempt_unref(((struct attempt_hold *)hold)->attempt);
}

static int await_end(struct attempt *attempt, uint64_t deadline_ns)
{
    struct attempt_hold hold = { .base.drop = drop_attempt, .attempt = attempt };
    struct skink__thread *thread = skink__thread_self();
    skink_task *task = thread ? thread->current : NULL;
    if (task) skink__holding_begin(task, &hold.base);
    int err = skink_await(attempt->future, deadline_ns, NULL);
    if (task) skink__holding_end(task, &hold.base);
    return err;
}

/* One attempt. True: it will never end, and the caller tries another. */
static bool try_once(skink_once *once, int (*fn)(void *arg), void *arg, uint64_t deadline_ns, int *ret_err)
{
    bool first;
    struct attempt *attempt = join(once, fn, arg, &first, ret_err);
    if (!attempt) return false;
    if (first) start(attempt);
    bool self = !first && runs_here(attempt);
    int err = self ? -EDEADLK : await_end(attempt, deadline_ns);
    bool again = err == -ECANCELED && skink_future_is_done(attempt->future) && atomic_load(&attempt->dropped);
    attempt_unref(attempt);
    *ret_err = err;
    return again;
}

int skink_once_run(skink_once *once, int (*fn)(void *arg), void *arg, uint64_t deadline_ns)
{
    if (!once || !fn) return -EINVAL;
    if (skink_once_is_done(once)) return 0;
    if (in_runtime()) return -EPERM;
    int err;
    while (try_once(once, fn, arg, deadline_ns, &err)) {
    }
    return err;
}

bool skink_once_is_done(const skink_once *once)
{
    return once && __atomic_load_n(&once->private_done, __ATOMIC_ACQUIRE) != 0;
}

int skink_once_reset(skink_once *once)
{
    if (!once) return -EINVAL;
    skink__mutex_lock(&lock);
    int err = once->private_attempt ? -EBUSY : 0;
    if (!err) __atomic_store_n(&once->private_done, 0, __ATOMIC_RELAXED);
    skink__mutex_unlock(&lock);
    return err;
}
