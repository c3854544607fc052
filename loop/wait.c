/* SPDX-License-Identifier: MIT */
/*
 * wait.c - the one way in which a task waits for something.
 *
 * A wait may be ended by what it waits for (from any thread), by its deadline, by a cancellation or by the end of the
 * scheduler. `waiting` decides: who exchanges it to false has won, and only the winner touches the task further.
 *
 *   | task                        | who ends the wait           |
 *   | wait_begin: waiting = true  |                             |
 *   | link itself somewhere       |                             |
 *   | wait_suspend                | finds it there              |
 *   |                             | wait_claim: waiting = false |
 *   |                             | wait_wake                   |
 *   | goes on with wait_result    |                             |
 *
 * It may be claimed, and even posted to the inbox, before it has left its stack: the inbox is only looked at by the
 * thread that still runs on that stack.
 */
#include "loop/state.h"
#include <errno.h>

int skink__wait_begin(skink_task *task, uint64_t deadline_ns, int timeout_result, bool (*abort)(skink_task *task),
                      void *object)
{
    int reason = skink__task_status(task);
    if (reason) return reason;
    if (task->scopes && skink__scopes_limit(task, &deadline_ns)) timeout_result = -ETIMEDOUT;
    task->deadline_ns = deadline_ns;
    task->timeout_result = timeout_result;
    task->wait_abort = abort;
    task->wait_object = object;
    if (deadline_ns != SKINK_FOREVER) {
        int err = skink__deadline_add(&task->scheduler->deadlines, task);
        if (err) return err;
    }
    atomic_store_explicit(&task->waiting, true, memory_order_relaxed); /* published by linking, under a lock */
    return 0;
}

void skink__wait_begin_for_certain(skink_task *task, bool (*abort)(skink_task *task), void *object)
{
    task->deadline_ns = SKINK_FOREVER;
    task->wait_abort = abort;
    task->wait_object = object;
    atomic_store_explicit(&task->waiting, true, memory_order_relaxed); /* published by the inbox */
}

void skink__wait_undo(skink_task *task)
{
    atomic_store_explicit(&task->waiting, false, memory_order_relaxed);
    if (task->heap_index != SKINK__NOT_IN_HEAP) skink__deadline_remove(&task->scheduler->deadlines, task);
}

int skink__wait_suspend(skink_task *task)
{
    skink_scheduler *scheduler = task->scheduler;
    skink__task_set_state(task, SKINK__TASK_WAITING);
    skink__count(&scheduler->tasks_suspended, 1);
    skink__task_leave(skink__thread_self(), SKINK__LEAVE_SUSPEND);
    return task->wait_result;
}

bool skink__wait_claim(skink_task *task)
{
    return atomic_exchange_explicit(&task->waiting, false, memory_order_acq_rel);
}

static void make_ready(skink_scheduler *scheduler, skink_task *task) SKINK__IN_RUNTIME
{
    if (task->heap_index != SKINK__NOT_IN_HEAP) skink__deadline_remove(&scheduler->deadlines, task);
    skink__count(&scheduler->tasks_suspended, -1);
    skink__task_set_state(task, SKINK__TASK_READY);
    skink__ready_push(scheduler, task);
}

void skink__wait_wake(skink_task *task, int result, bool here)
{
    task->wait_result = result;
    if (here) {
        skink__assume_runtime();
        make_ready(task->scheduler, task);
        return;
    }
    task->message.deliver = skink__task_deliver_woken;
    /* Refused: the scheduler has stopped, and this task has been or is being dropped. */
    (void)skink__inbox_post(&task->scheduler->inbox, &task->message);
}

void skink__task_deliver_woken(skink_scheduler *scheduler, struct skink__message *message, bool closed)
{
    skink_task *task = (skink_task *)message;
    /* Woken between the last look at the inbox and its close. Dropped with all others that wait: so the wait is
     * aborted, and what it has on the heap goes, as nobody will go on behind it. */
    if (closed) return;
    make_ready(scheduler, task);
}

/* ---- sleeping: a wait that nothing but its deadline ends ---- */

static bool abort_sleep(skink_task *task) SKINK__IN_RUNTIME
{
    return skink__wait_claim(task);
}

/* ---- waiting in a slot: for something that only the runtime section brings about ---- */

static bool abort_slot(skink_task *task) SKINK__IN_RUNTIME
{
    struct skink__wait_slot *slot = task->wait_object;
    slot->task = NULL;
    return skink__wait_claim(task);
}

int skink__wait_in(struct skink__wait_slot *slot)
{
    struct skink__thread *thread = skink__thread_self();
    int err = !skink__in_task() ? -EPERM : slot->task || slot->elsewhere ? -EBUSY : 0;
    if (!err) err = skink__wait_begin(thread->current, SKINK_FOREVER, 0, abort_slot, slot);
    if (!err) {
        slot->task = thread->current;
        return skink__wait_suspend(thread->current);
    }
    skink__runtime_leave(thread->scheduler);
    return err;
}

void skink__wait_end(struct skink__wait_slot *slot, int result)
{
    skink_task *task = slot->task;
    skink_future *elsewhere = slot->elsewhere;
    slot->task = NULL;
    slot->elsewhere = NULL;
    if (elsewhere) {
        (void)!(result ? skink_future_fail(elsewhere, result) : skink_future_complete(elsewhere, NULL));
        skink_future_unref(elsewhere);
    }
    /* Deadlines, cancellations and drops happen in the runtime section as well,
     * and empty the slot: nobody was first. */
    if (task && skink__wait_claim(task)) skink__wait_wake(task, result, true);
}

void skink__wait_slot_fini(struct skink__wait_slot *slot)
{
    skink_future_unref(slot->elsewhere);
    slot->elsewhere = NULL;
}

/* The calling task, in the runtime section; NULL with the section left again when there is none. */
static skink_task *enter_task(void) SKINK__TRY_ACQUIRES(true, skink__entered, skink__runtime_section)
{
    skink_scheduler *here = skink__runtime_enter();
    if (here && skink__in_task()) return skink__thread_self()->current;
    skink__runtime_leave(here);
    return NULL;
}

int skink_sleep_until(uint64_t deadline_ns)
{
    skink_task *task = enter_task();
    if (!task) return -EPERM;
    int err = skink__wait_begin(task, deadline_ns, 0, abort_sleep, NULL);
    if (!err) return skink__wait_suspend(task);
    skink__runtime_leave(task->scheduler);
    return err;
}

int skink_sleep(uint64_t delay_ns)
{
    return skink_sleep_until(skink_after(delay_ns));
}

int skink_yield(void)
{
    skink_task *task = enter_task();
    if (!task) return -EPERM;
    skink__task_set_state(task, SKINK__TASK_READY);
    skink__ready_push(task->scheduler, task);
    skink__task_leave(skink__thread_self(), SKINK__LEAVE_SUSPEND);
    return skink__task_status(task);
}

int skink_checkpoint(void)
{
    skink_task *task = enter_task();
    if (!task) return -EPERM;
    skink__runtime_leave(task->scheduler);
    return skink__task_status(task);
}
