/* SPDX-License-Identifier: MIT */
/*
 * call.c - a short function in the runtime section of a scheduler, called by a task of that one or of another.
 *
 * The task of another scheduler is suspended meanwhile: so its thread is not taken for stuck when the other loop is.
 * Nothing ends that wait early but the end of the caller's own scheduler. The call's memory is on the heap, and its
 * lock says whether there is still somebody to call for:
 *
 *   | caller's scheduler      | the other scheduler            |
 *   | post, suspend           |                                |
 *   |                         | lock; fn; wake; unlock         |
 *   | goes on with the result |                                |
 *   | or: dropped at a stop:  |                                |
 *   | lock; task = NULL       | lock; nobody: fn is not called |
 */
#include "loop/memory.h"
#include "loop/state.h"
#include <errno.h>

/* The lock of a call. */
SKINK__CAPABILITY(call_mutex);

struct call {
    struct skink__message message;
    pthread_mutex_t lock; /* held while fn runs; otherwise for a few instructions */
    _Atomic uint32_t refs;
    skink_task *task SKINK__GUARDED_BY(call_mutex); /* NULL once it was dropped: then arg is not to be touched */
    int (*fn)(void *arg);
    void *arg;
};

static void call_lock(struct call *call) SKINK__ACQUIRES(call_mutex) SKINK__UNCHECKED
{
    pthread_mutex_lock(&call->lock);
}

static void call_unlock(struct call *call) SKINK__RELEASES(call_mutex) SKINK__UNCHECKED
{
    pthread_mutex_unlock(&call->lock);
}

static void call_unref(struct call *call)
{
    if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) != 1) return;
    pthread_mutex_destroy(&call->lock);
    skink__free(call);
}

/* Runtime of the scheduler that is called. */
static void deliver_call(skink_scheduler *scheduler, struct skink__message *message, bool closed) SKINK__IN_RUNTIME
{
    (void)scheduler;
    struct call *call = (struct call *)((char *)message - offsetof(struct call, message));
    call_lock(call);
    skink_task *task = call->task;
    if (task) {
        int result = closed ? -ECANCELED : call->fn(call->arg);
        if (skink__wait_claim(task)) skink__wait_wake(task, result, false);
    }
    call_unlock(call);
    call_unref(call);
}

static bool abort_call(skink_task *task)
{
    (void)task;
    return false;
}

/* On the stack of the calling task. */
struct call_hold {
    struct skink__holding base;
    struct call *call;
};

static void drop_call(struct skink__holding *hold)
{
    struct call *call = ((struct call_hold *)hold)->call;
    call_lock(call);
    call->task = NULL;
    call_unlock(call);
    call_unref(call);
}

bool skink__task_is_calling(const skink_task *task)
{
    return skink__task_state(task) == SKINK__TASK_WAITING && task->wait_abort == abort_call;
}

/* In the runtime section of the calling task's scheduler; outside of it afterwards. */
static int call_elsewhere(skink_task *task, skink_scheduler *scheduler, int (*fn)(void *arg),
                          void *arg) SKINK__LEAVES_RUNTIME
{
    struct call *call = skink__alloc(sizeof *call);
    struct call_hold hold = { .base.drop = drop_call, .call = call };
    int err = -ENOMEM;
    if (!call) goto leave;
    *call = (struct call){ .message.deliver = deliver_call, .task = task, .fn = fn, .arg = arg };
    pthread_mutex_init(&call->lock, NULL);
    atomic_init(&call->refs, 2);
    skink__wait_begin_for_certain(task, abort_call, call);
    if (!skink__inbox_post(&scheduler->inbox, &call->message)) {
        skink__wait_undo(task);
        call_unref(call);
        call_unref(call);
        err = -ECANCELED;
        goto leave;
    }
    skink__holding_begin(task, &hold.base);
    err = skink__wait_suspend(task);
    skink__holding_end(task, &hold.base);
    call_unref(call);
    return err;
leave:
    skink__runtime_leave(task->scheduler);
    return err;
}

int skink__runtime_call(skink_scheduler *scheduler, int (*fn)(void *arg), void *arg)
{
    skink_scheduler *here = skink__runtime_enter();
    if (here && here != scheduler && skink__in_task()) {
        skink__assume_runtime();
        return call_elsewhere(skink__thread_self()->current, scheduler, fn, arg);
    }
    int err = here == scheduler ? fn(arg) : -EPERM;
    skink__runtime_leave(here);
    return err;
}

/* ---- calls that may have to wait ---- */

struct step {
    struct skink__holding hold;
    struct skink__wait_slot *slot;
    skink_future *future; /* NULL: it is not known yet whether there is something to wait for */
    int (*fn)(void *arg);
    void *arg;
};

/* Runtime section of the slot's scheduler, as the next one. */
static int step_here(void *arg)
{
    const struct step *step = arg;
    int err = step->fn(step->arg);
    if (err != SKINK__MUST_WAIT || !step->future) return err;
    if (step->slot->task || step->slot->elsewhere) return -EBUSY;
    step->slot->elsewhere = skink_future_ref(step->future);
    return SKINK__MUST_WAIT;
}

static int leave_slot(void *arg)
{
    const struct step *step = arg;
    if (step->slot->elsewhere == step->future) skink__wait_slot_fini(step->slot);
    return 0;
}

/* What is in the slot stays there, with a reference of its own. */
static void drop_step(struct skink__holding *hold)
{
    skink_future_unref(((struct step *)((char *)hold - offsetof(struct step, hold)))->future);
}

static int step_elsewhere(skink_scheduler *scheduler, struct step *step)
{
    skink_task *task = skink__thread_self()->current; /* it may go to another thread meanwhile */
    int err = skink__runtime_call(scheduler, step_here, step);
    if (err != SKINK__MUST_WAIT) return err;
    err = skink_future_create(&step->future);
    if (err) return err;
    skink__holding_begin(task, &step->hold);
    err = skink__runtime_call(scheduler, step_here, step);
    if (err == SKINK__MUST_WAIT) {
        err = skink_await(step->future, SKINK_FOREVER, NULL);
        if (err) (void)!skink__runtime_call(scheduler, leave_slot, step);
    }
    skink__holding_end(task, &step->hold);
    skink_future_unref(step->future);
    return err;
}

int skink__runtime_step(skink_scheduler *scheduler, struct skink__wait_slot *slot, int (*fn)(void *arg), void *arg)
{
    skink_scheduler *here = skink__runtime_enter();
    if (here && here != scheduler && skink__in_task()) {
        skink__runtime_leave(here);
        struct step step = { .hold.drop = drop_step, .slot = slot, .fn = fn, .arg = arg };
        return step_elsewhere(scheduler, &step);
    }
    int err = here == scheduler ? fn(arg) : -EPERM;
    if (err == SKINK__MUST_WAIT) {
        skink__assume_runtime(); /* as fn() was, which says so */
        return skink__wait_in(slot);
    }
    skink__runtime_leave(here);
    return err;
}
