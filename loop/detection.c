/* SPDX-License-Identifier: MIT */
/*
 * detection.c - a blocking wait that could never end is refused (skink/detection.h).
 *
 * What can be known for certain. A future may have one completer: the end of a task, a task that the host has declared,
 * or a thread of the pool. A task can neither end nor complete anything while its loop stands still: whatever it does,
 * even as a stray, goes through the loop. So a thread that blocks for a task waits for that task's loop, and a loop
 * stands still while its own thread blocks. Hence, at once and without looking further:
 *
 *     a loop thread blocks for a task of its own loop
 *
 * and, by following who blocks for whom, circles of several members:
 *
 *     loop thread A blocks for a task of B  ->  loop thread B blocks for a task of A
 *     a loop thread blocks for work on the pool  ->  that work blocks for a task of the loop
 *
 * Only waits without a deadline are links of such a chain, since others end by themselves; and tasks that are suspended
 * are not, since they can be cancelled. A thread that has been abandoned is none either: its loop goes on.
 *
 * The lock guards the links. It is taken for waits that block for a known completer somewhere else, and for no other.
 * Under it: a future's lock, or a scheduler's.
 */
#include "skink/detection.h"
#include "loop/hooks.h"
#include "loop/log_value.h"
#include "loop/state.h"
#include <errno.h>

enum {
    SCOPE_BITS = 2,
    SCOPE_MASK = (1 << SCOPE_BITS) - 1,
    CHAIN_MAX = 256 /* a longer chain is not followed to its end */
};

static pthread_mutex_t links = PTHREAD_MUTEX_INITIALIZER;

static void links_lock(void) SKINK__ACQUIRES(skink__detection_mutex) SKINK__UNCHECKED
{
    pthread_mutex_lock(&links);
}

static void links_unlock(void) SKINK__RELEASES(skink__detection_mutex) SKINK__UNCHECKED
{
    pthread_mutex_unlock(&links);
}

/* What the calling thread of the pool runs. */
static _Thread_local struct skink__blocker *current_work __attribute__((tls_model("initial-exec")));

void skink__detection_set_work(struct skink__blocker *work)
{
    current_work = work;
}

/* ---- modes ---- */

static skink_detection mode_of(const skink_task *task)
{
    if (task->blocking_depth) return SKINK_DETECTION_OFF; /* the loop goes on without this thread */
    uint64_t innermost = task->detection_scopes & SCOPE_MASK;
    if (innermost) return (skink_detection)innermost;
    return (skink_detection)atomic_load_explicit(&task->scheduler->detection, memory_order_relaxed);
}

static bool is_mode(skink_detection mode)
{
    return mode == SKINK_DETECTION_OFF || mode == SKINK_DETECTION_ACTUAL || mode == SKINK_DETECTION_POTENTIAL;
}

int skink_detection_begin(skink_detection mode)
{
    if (!is_mode(mode)) return -EINVAL;
    if (!skink__in_task()) return -EPERM;
    skink_task *task = skink__thread_self()->current;
    if (task->detection_scopes >> (64 - SCOPE_BITS)) return -EAGAIN;
    task->detection_scopes = task->detection_scopes << SCOPE_BITS | (uint64_t)mode;
    skink__task_keep(task);
    return 0;
}

int skink_detection_end(void)
{
    if (!skink__in_task()) return -EPERM;
    skink_task *task = skink__thread_self()->current;
    if (!task->detection_scopes) return -EINVAL;
    task->detection_scopes >>= SCOPE_BITS;
    return 0;
}

skink_detection skink_detection_mode(void)
{
    return skink__in_task() ? mode_of(skink__thread_self()->current) : SKINK_DETECTION_OFF;
}

int skink_scheduler_set_detection(skink_scheduler *scheduler, skink_detection mode)
{
    if (!scheduler || !is_mode(mode)) return -EINVAL;
    atomic_store_explicit(&scheduler->detection, (uint32_t)mode, memory_order_relaxed);
    return 0;
}

/* ---- completers ---- */

int skink_future_set_completer(skink_future *future, skink_task *task)
{
    if (!future || (task && !task->has_done)) return -EINVAL;
    skink_task *former = NULL;
    int err = 0;
    skink__future_lock(future);
    if (future->completer_kind == SKINK__COMPLETER_END || future->completer_kind == SKINK__COMPLETER_WORK) {
        err = -EINVAL;
    } else if (skink_future_is_done(future)) {
        err = -EALREADY;
    } else {
        if (future->completer_kind == SKINK__COMPLETER_TASK) former = future->completer;
        future->completer = task ? skink_task_ref(task) : NULL;
        future->completer_kind = task ? SKINK__COMPLETER_TASK : SKINK__COMPLETER_ANY;
    }
    skink__future_unlock(future);
    skink_task_unref(former);
    return err;
}

/* Under the future's lock: the task without whose loop it stays as it is; NULL when that is not certain. */
static skink_task *completing_task(skink_future *future) SKINK__REQUIRES(skink__future_mutex)
{
    skink_task *task = NULL;
    if (skink_future_is_done(future)) return NULL;
    if (future->completer_kind == SKINK__COMPLETER_END)
        task = (skink_task *)((char *)future - offsetof(skink_task, done));
    else if (future->completer_kind == SKINK__COMPLETER_TASK)
        task = future->completer;
    /* Ended without having completed it: it may have passed that on to somebody. */
    return task && skink__task_state(task) != SKINK__TASK_ENDED ? task : NULL;
}

/* ---- refusing; in the runtime section of a task, or on a thread of the pool ---- */

/* The task of this loop that alone could complete it. It does not end while we are in the runtime section. */
static const skink_task *awaited_here(skink_future *future, const skink_scheduler *scheduler)
{
    skink__future_lock(future);
    const skink_task *task = completing_task(future);
    skink__future_unlock(future);
    return task && task->scheduler == scheduler ? task : NULL;
}

static int refuse(const struct skink__thread *thread, skink_scheduler *scheduler, skink_future *future, bool potential)
{
    const skink_task *awaited = thread && future ? awaited_here(future, scheduler) : NULL;
    atomic_fetch_add_explicit(potential ? &scheduler->waits_refused_potential : &scheduler->waits_refused, 1,
                              memory_order_relaxed);
    skink__log(SKINK_LOG_WARNING, "event=wait_refused scheduler=%s mode=%s task=%s awaited=%s",
               SKINK__LOG_WORD(scheduler->name), potential ? "potential" : "actual",
               SKINK__QUOTED(thread ? thread->current->name : "(thread pool)"),
               SKINK__QUOTED(awaited ? awaited->name : ""));
    skink__refusal_tell(thread, scheduler, future, awaited, potential);
    return -EDEADLK;
}

int skink__detection_judge(struct skink__thread *thread)
{
    if (mode_of(thread->current) != SKINK_DETECTION_POTENTIAL) return 0;
    return refuse(thread, thread->scheduler, NULL, true);
}

/* ---- circles ---- */

/* The loop thread of this moment, if it blocks for something without a deadline: for what. Under `links`. */
static skink_future *blocked_loop(skink_scheduler *scheduler) SKINK__REQUIRES(skink__detection_mutex)
{
    struct skink__thread *thread = skink__scheduler_thread(scheduler);
    if (!thread) return NULL;
    enum skink__lease_state state = skink__lease_state(atomic_load_explicit(&thread->lease.word, memory_order_acquire));
    /* In its runtime section it is about to leave that for the wait. */
    bool on_loop = state == SKINK__RUNNING || state == SKINK__RUNTIME;
    skink_future *future = on_loop ? thread->blocker.future : NULL;
    skink__thread_unref(thread);
    return future;
}

/*
 * One step: who alone can complete the future? True: it is `self`. Else *ret_next is what that one blocks for; NULL
 * when it blocks for nothing, or it is not certain who it is. Under `links`: a future that a link names lives, since
 * its waiter needs the lock to take the link away.
 */
static bool follow(skink_future *future, const struct skink__blocker *self, bool self_is_loop, skink_future **ret_next)
    SKINK__REQUIRES(skink__detection_mutex)
{
    bool found = false;
    skink_scheduler *loop = NULL;
    *ret_next = NULL;
    skink__future_lock(future);
    if (future->completer_kind == SKINK__COMPLETER_WORK) {
        const struct skink__blocker *work = skink_future_is_done(future) ? NULL : future->completer;
        found = work && work == self;
        if (work && !found) *ret_next = work->future;
    } else {
        const skink_task *task = completing_task(future);
        if (task) loop = task->scheduler; /* with the task it lives at least as long as the future is not done */
        found = loop && self_is_loop && loop == self->scheduler;
        if (loop && !found) *ret_next = blocked_loop(loop);
    }
    skink__future_unlock(future);
    return found;
}

static bool closes_circle(skink_future *future, const struct skink__blocker *self, bool self_is_loop)
    SKINK__REQUIRES(skink__detection_mutex)
{
    for (int i = 0; future && i < CHAIN_MAX; i++)
        if (follow(future, self, self_is_loop, &future)) return true;
    return false;
}

/* Whether to follow it at all. It does not change once somebody waits, but by a host that contradicts itself. */
static bool has_completer(skink_future *future)
{
    skink__future_lock(future);
    bool known = future->completer_kind != SKINK__COMPLETER_ANY && !skink_future_is_done(future);
    skink__future_unlock(future);
    return known;
}

static skink_detection mode_of_blocker(const struct skink__thread *thread, const struct skink__blocker *self)
{
    if (thread) return mode_of(thread->current);
    return (skink_detection)atomic_load_explicit(&self->scheduler->detection, memory_order_relaxed);
}

int skink__detection_begin(struct skink__thread *thread, skink_future *future, uint64_t deadline_ns,
                           struct skink__blocker **ret_blocker)
{
    struct skink__blocker *self = thread ? &thread->blocker : current_work;
    *ret_blocker = NULL;
    if (!self) return 0;
    skink_detection mode = mode_of_blocker(thread, self);
    if (mode == SKINK_DETECTION_OFF) return 0;
    bool closed = false;
    if (has_completer(future)) {
        links_lock();
        closed = closes_circle(future, self, thread != NULL);
        if (!closed && deadline_ns == SKINK_FOREVER && !(thread && mode == SKINK_DETECTION_POTENTIAL)) {
            self->future = future;
            *ret_blocker = self;
        }
        links_unlock();
    }
    if (closed) return refuse(thread, self->scheduler, future, false);
    if (!thread) return 0;
    skink__assume_runtime();
    return skink__detection_judge(thread);
}

void skink__detection_end(struct skink__blocker *blocker)
{
    if (!blocker) return;
    links_lock();
    blocker->future = NULL;
    links_unlock();
}
