/* SPDX-License-Identifier: MIT */
/*
 * offload.c - work on libuv's thread pool.
 *
 * The work's memory is on the heap: a task that is dropped at a stop leaves work behind that still runs.
 */
#include "loop/memory.h"
#include "loop/state.h"
#include "loop/thread_roles.h"
#include "loop/uv_means.h"
#include "skink/io.h"
#include <errno.h>

struct work {
    uv_work_t request;
    skink_scheduler *scheduler; /* with a reference on its memory */
    void *(*fn)(void *arg);
    void *arg;
    void *value;
    skink_task *task;              /* skink_offload: who waits; NULL once it was dropped */
    void **ret_value;              /* on that task's stack */
    skink_future *future;          /* skink_offload_start: what completes; with a reference */
    struct skink__blocker blocker; /* the pool's thread, while it runs this */
    struct skink__message message; /* skink_offload_start from another thread */
};

static struct work *work_create(skink_scheduler *scheduler, void *(*fn)(void *arg), void *arg)
{
    struct work *work = skink__zalloc(sizeof *work);
    if (!work) return NULL;
    work->request.data = work;
    work->scheduler = skink__scheduler_ref(scheduler);
    work->blocker.scheduler = scheduler;
    work->fn = fn;
    work->arg = arg;
    return work;
}

/* The work of a future that nobody else knows yet. */
static struct work *work_create_promised(skink_scheduler *scheduler, void *(*fn)(void *arg), void *arg,
                                         skink_future *future)
{
    struct work *work = work_create(scheduler, fn, arg);
    if (!work) return NULL;
    work->future = skink_future_ref(future);
    SKINK__ASSUME(skink__future_mutex); /* nobody else knows it yet */
    future->completer_kind = SKINK__COMPLETER_WORK;
    future->completer = &work->blocker;
    return work;
}

static void work_free(struct work *work)
{
    skink_future_unref(work->future);
    skink__scheduler_unref(work->scheduler);
    skink__free(work);
}

static void work_fail(struct work *work, int error)
{
    (void)!skink_future_fail(work->future, error); /* -EALREADY: the host was first */
    work_free(work);
}

/* On a thread of the pool. */
static void work_run(uv_work_t *request)
{
    struct work *work = request->data;
    skink__thread_role_set_pool();
    skink__detection_set_work(&work->blocker);
    work->value = work->fn(work->arg);
    skink__detection_set_work(NULL);
    if (!work->future) return;
    /* Completed right here, not through the loop: who blocks for it gets it even while the loop is stuck. */
    (void)!skink_future_complete(work->future, work->value); /* -EALREADY: the host was first */
}

static void work_done(uv_work_t *request, int status) SKINK__IN_RUNTIME
{
    struct work *work = request->data;
    if (work->future && status == UV_ECANCELED) {
        work_fail(work, -ECANCELED);
        return;
    }
    skink_task *task = work->task;
    if (task && skink__wait_claim(task)) {
        *work->ret_value = work->value;
        skink__wait_wake(task, status, true);
    }
    work_free(work); /* not by the task, which may be dropped before it runs again */
}

/* Work that runs cannot be stopped, and what it works on may be on the task's stack: only work still queued ends the
 * wait early, and then work_done() does that. */
static bool abort_offload(skink_task *task) SKINK__IN_RUNTIME
{
    struct work *work = task->wait_object;
    (void)uv_cancel((uv_req_t *)&work->request);
    if (task->scheduler->stop_phase == SKINK__STOP_DONE) work->task = NULL; /* it is being dropped */
    return false;
}

int skink_offload(void *(*fn)(void *arg), void *arg, void **ret_value)
{
    if (!fn) return -EINVAL;
    skink_scheduler *here = skink__runtime_enter();
    if (!here || !skink__in_task()) {
        skink__runtime_leave(here);
        return -EPERM;
    }
    skink__assume_runtime();
    skink_task *task = skink__thread_self()->current;
    struct work *work = work_create(here, fn, arg);
    int err = work ? skink__wait_begin(task, SKINK_FOREVER, 0, abort_offload, work) : -ENOMEM;
    if (err) goto leave;
    void *value = NULL;
    work->task = task;
    work->ret_value = &value;
    err = skink__uv_queue_work(&here->loop, &work->request, work_run, work_done);
    if (err) {
        skink__wait_undo(task);
        goto leave;
    }
    err = skink__wait_suspend(task);
    if (!err && ret_value) *ret_value = value;
    if (err != UV_ECANCELED) return err;
    int reason = skink__task_status(task); /* libuv knows only that it was cancelled, not why */
    return reason ? reason : err;
leave:
    if (work) work_free(work);
    skink__runtime_leave(here);
    return err;
}

static int queue_work(skink_scheduler *scheduler, struct work *work) SKINK__IN_RUNTIME
{
    int err = skink__uv_queue_work(&scheduler->loop, &work->request, work_run, work_done);
    if (err) work_fail(work, err);
    return err;
}

static void deliver_work(skink_scheduler *scheduler, struct skink__message *message, bool closed) SKINK__IN_RUNTIME
{
    struct work *work = (struct work *)((char *)message - offsetof(struct work, message));
    if (closed)
        work_fail(work, -ECANCELED);
    else
        (void)queue_work(scheduler, work);
}

int skink_offload_start(skink_scheduler *scheduler, void *(*fn)(void *arg), void *arg, skink_future **ret_future)
{
    if (!scheduler || !fn || !ret_future) return -EINVAL;
    if (skink__scheduler_is_stopping(scheduler)) return -ECANCELED;
    skink_future *future;
    int err = skink_future_create(&future);
    if (err) return err;
    struct work *work = work_create_promised(scheduler, fn, arg, future);
    if (!work) {
        skink_future_unref(future);
        return -ENOMEM;
    }
    skink_scheduler *here = skink__runtime_enter();
    if (SKINK__IS_HERE(here, scheduler)) {
        err = queue_work(scheduler, work);
    } else {
        work->message.deliver = deliver_work;
        if (!skink__inbox_post(&scheduler->inbox, &work->message)) work_fail(work, -ECANCELED);
    }
    skink__runtime_leave(here);
    if (err)
        skink_future_unref(future);
    else
        *ret_future = future;
    return err;
}

/* In the runtime section; on success outside of it, with the work on its way. Detection knows that we wait before the
 * work can: should it wait for our loop, it is the one that is refused, and we never return before it has. */
static int start_and_block(struct skink__thread *thread, struct work *work, void **ret_value)
    SKINK__RELEASES(skink__runtime_section)
{
    skink_future *future = work->future; /* the caller has a reference */
    struct skink__blocker *blocker;
    int err = skink__detection_begin(thread, future, SKINK_FOREVER, &blocker);
    if (!err && skink__scheduler_is_stopping(thread->scheduler)) {
        skink__detection_end(blocker);
        err = -ECANCELED;
    }
    if (err) {
        work_free(work);
        skink__thread_leave(thread);
        return err;
    }
    deliver_work(thread->scheduler, &work->message, false);
    skink__thread_leave_at_once(thread);
    return skink__future_block(future, SKINK_FOREVER, blocker, ret_value);
}

int skink_offload_block(void *(*fn)(void *arg), void *arg, void **ret_value)
{
    if (!fn) return -EINVAL;
    struct skink__thread *thread = skink__thread_enter();
    if (!thread) return -EPERM;
    if (!skink__in_task()) {
        skink__thread_leave(thread);
        return -EPERM;
    }
    skink_future *future = NULL;
    int err = skink_future_create(&future);
    struct work *work = err ? NULL : work_create_promised(thread->scheduler, fn, arg, future);
    if (work) {
        err = start_and_block(thread, work, ret_value);
    } else {
        err = -ENOMEM;
        skink__thread_leave(thread);
    }
    skink_future_unref(future);
    return err;
}
