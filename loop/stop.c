/* SPDX-License-Identifier: MIT */
/*
 * stop.c - stopping: let tasks finish, then cancel, then drop; and never hang.
 *
 * The loop thread moves the stop forward once a turn (skink__stop_step). The thread that called skink_scheduler_stop()
 * waits for it, and watches the lease itself meanwhile: a loop that is stuck at this moment, or that nobody
 * watches, gets a fresh thread after half of the time there is, so that all others have the other half to finish. At
 * the very end the caller drops what is left with its own hands.
 */
#include "loop/barrier.h"
#include "loop/hooks.h"
#include "loop/log_value.h"
#include "loop/memory.h"
#include "loop/state.h"
#include <errno.h>
#include <unistd.h>

#define CANCEL_GRACE_NS (SKINK_S)     /* after the deadline, for cancelled tasks to end */
#define LAST_GRACE_NS (SKINK_S / 2)   /* after that, for the loop thread to drop the rest */
#define POLL_NS (10 * SKINK_MS)       /* how often the stopper looks at the lease */
#define STUCK_MIN_NS (100 * SKINK_MS) /* a slice shorter than this is never taken for stuck */

/* ---- on the loop thread ---- */

static void for_each_task(skink_scheduler *scheduler, void (*fn)(skink_task *task)) SKINK__IN_RUNTIME
{
    struct skink__task_chunk *chunk = atomic_load_explicit(&scheduler->tasks.chunks, memory_order_acquire);
    for (; chunk; chunk = chunk->next)
        for (uint32_t i = 0; i < chunk->count; i++)
            fn(&chunk->tasks[i]);
}

static void cancel_one(skink_task *task) SKINK__IN_RUNTIME
{
    switch (skink__task_state(task)) {
    case SKINK__TASK_READY:
    case SKINK__TASK_WAITING:
    case SKINK__TASK_BLOCKING:
        skink__task_cancel_here(task, -ECANCELED);
        break;
    default: /* not there, or still in the inbox or in a poster's hands, or not to move any more */
        break;
    }
}

static void drop_waiting(skink_task *task) SKINK__IN_RUNTIME
{
    if (skink__task_state(task) == SKINK__TASK_WAITING) skink__task_drop(task);
}

/* With a stray: who awaits its end must not wait for ever. While the inbox is open, for a stray that finds it closed
 * frees the task; and once, for one that found it closed before a new start may be doing so now. */
static void give_up_one(skink_task *task) SKINK__IN_RUNTIME
{
    if (skink__task_state(task) == SKINK__TASK_BLOCKING) { /* it was waited for; now it is as lost as a stray's */
        skink__count(&task->scheduler->tasks_blocking, -1);
        skink__count(&task->scheduler->tasks_abandoned, 1);
        skink__task_set_state(task, SKINK__TASK_ABANDONED);
    }
    if (skink__task_state(task) != SKINK__TASK_ABANDONED) return;
    skink__task_set_state(task, SKINK__TASK_GIVEN_UP);
    skink__task_cancel_here(task, -ECANCELED);
    if (task->arg && task->kind->given_up) task->kind->given_up(task->arg);
    if (task->has_done) (void)!skink_future_fail(&task->done, -ECANCELED);
}

static void drop_queue(skink_scheduler *scheduler, struct skink__ready_queue *queue) SKINK__IN_RUNTIME
{
    struct skink__message *message;
    while ((message = skink__queue_pop(queue))) {
        if (skink__is_post(message))
            skink__post_drop(scheduler, (struct skink__post *)message);
        else
            skink__task_drop((skink_task *)message);
    }
}

void skink__stop_drop_all(skink_scheduler *scheduler)
{
    scheduler->stop_phase = SKINK__STOP_DONE; /* first: what is delivered closed may look at it */
    struct skink__message *message = skink__inbox_close(&scheduler->inbox);
    while (message) {
        struct skink__message *next = message->next;
        message->deliver(scheduler, message, true);
        message = next;
    }
    skink__boxes_close(scheduler);
    drop_queue(scheduler, &scheduler->ready);
    drop_queue(scheduler, &scheduler->stackless);
    for_each_task(scheduler, drop_waiting);
    drop_queue(scheduler, &scheduler->ready); /* those that awaited the end of one that waited */
    skink__count(&scheduler->tasks_queued, (int64_t)(skink__slices(scheduler) - skink__tasks_queued(scheduler)));
}

/* Fresh tasks in the queues are cancelled as well: they start, and find themselves cancelled. */
static void cancel_queue(struct skink__ready_queue *queue) SKINK__IN_RUNTIME
{
    for (struct skink__message *message = queue->first; message; message = message->next) {
        if (skink__is_post(message))
            message->deliver = skink__post_mark_cancelled;
        else
            skink__task_cancel_here((skink_task *)message, -ECANCELED);
    }
}

static void cancel_all(skink_scheduler *scheduler) SKINK__IN_RUNTIME
{
    scheduler->stop_phase = SKINK__STOP_CANCELLING;
    scheduler->stop_cut = true;
    cancel_queue(&scheduler->ready);
    cancel_queue(&scheduler->stackless);
    for_each_task(scheduler, cancel_one);
}

/* Those that came back after a stop before this one are with nobody any more. */
static bool strays_have_tasks(const skink_scheduler *scheduler)
{
    return skink__counted(&scheduler->tasks_abandoned) > skink__counted(&scheduler->tasks_lost);
}

static bool has_tasks(const skink_scheduler *scheduler) SKINK__IN_RUNTIME
{
    uint64_t living = skink__tasks_spawned(scheduler) - skink__tasks_finished(scheduler);
    return living > skink__counted(&scheduler->tasks_abandoned) || scheduler->boxes ||
           !skink__inbox_is_empty(&scheduler->inbox);
}

bool skink__stop_is_due(const skink_scheduler *scheduler)
{
    return scheduler->stop_phase != SKINK__STOP_NONE && !has_tasks(scheduler);
}

static void finish(skink_scheduler *scheduler) SKINK__IN_RUNTIME
{
    if (has_tasks(scheduler) || strays_have_tasks(scheduler)) scheduler->stop_cut = true;
    skink__stop_wake_at(scheduler, SKINK_FOREVER);
    scheduler->stop_phase = SKINK__STOP_DONE; /* what is given up and dropped may look at it */
    for_each_task(scheduler, give_up_one);
    skink__stop_drop_all(scheduler);
}

/* A poster that did not see yet that the scheduler stops may have been accepted since the last look: that runs first.
 * With tasks at strays the inbox must stay open a little longer, and what comes in that moment is dropped. */
static bool nothing_comes(skink_scheduler *scheduler) SKINK__IN_RUNTIME
{
    return strays_have_tasks(scheduler) || skink__inbox_close_if_empty(&scheduler->inbox);
}

void skink__stop_step(skink_scheduler *scheduler)
{
    uint64_t now = skink_now();
    uint64_t deadline = atomic_load(&scheduler->stop_deadline_ns);
    if (scheduler->stop_phase == SKINK__STOP_NONE) {
        scheduler->stop_phase = SKINK__STOP_DRAINING;
        scheduler->stop_armed_ns = SKINK_FOREVER;
    }
    if (scheduler->stop_phase == SKINK__STOP_DRAINING && deadline < scheduler->stop_armed_ns) {
        scheduler->stop_armed_ns = deadline; /* and once more for each who brings it forward */
        skink__stop_wake_at(scheduler, deadline);
    }
    if (scheduler->stop_phase == SKINK__STOP_DRAINING && has_tasks(scheduler) && now >= deadline) {
        cancel_all(scheduler);
        scheduler->cancel_deadline_ns = now + CANCEL_GRACE_NS;
        skink__stop_wake_at(scheduler, scheduler->cancel_deadline_ns);
    }
    bool over = scheduler->stop_phase == SKINK__STOP_CANCELLING && now >= scheduler->cancel_deadline_ns;
    if (over || (!has_tasks(scheduler) && nothing_comes(scheduler))) finish(scheduler);
}

/* ---- on the thread that stops it ---- */

/* What the stopper has seen of the loop thread's lease. */
struct watch {
    struct skink__thread *thread; /* with a reference */
    uint64_t word;
    uint64_t since_ns;
};

static void watch_look(struct watch *watch, skink_scheduler *scheduler, uint64_t now)
{
    struct skink__thread *thread = skink__scheduler_thread(scheduler);
    uint64_t word = thread ? atomic_load_explicit(&thread->lease.word, memory_order_relaxed) : 0;
    if (thread != watch->thread || word != watch->word) watch->since_ns = now;
    skink__thread_unref(watch->thread);
    watch->thread = thread;
    watch->word = word;
}

/* Transition 3, by the stopper. True: the scheduler is ours. */
static bool watch_abandon(struct watch *watch) SKINK__TRY_ACQUIRES(true, skink__runtime_section)
{
    if (!watch->thread || skink__lease_state(watch->word) != SKINK__RUNNING) return false;
    return skink__lease_abandon(&watch->thread->lease, skink__lease_slice(watch->word));
}

static void *successor_thread(void *arg)
{
    struct skink__thread *thread = arg;
    const char *role = thread->scheduler->role; /* the scheduler may be gone at the end */
    skink__thread_started(role);
    skink__thread_run(thread, thread->scheduler);
    skink__thread_ending(role);
    skink__thread_unref(thread);
    return NULL;
}

/* The scheduler is ours, and nothing but its end is left: no host code but the hooks of what is dropped. */
static void finish_here(skink_scheduler *scheduler, struct skink__thread *fresh) SKINK__RELEASES(skink__runtime_section)
{
    struct skink__thread *outer = skink__thread_self();
    skink__thread_set_self(fresh);
    skink__loop_note_stuck(scheduler);
    finish(scheduler);
    skink__thread_set_self(outer);
    skink__loop_end(fresh, scheduler, false);
}

static void take_over(skink_scheduler *scheduler, struct watch *watch, struct skink__thread *fresh, bool last)
    SKINK__RELEASES(skink__runtime_section)
{
    skink__log(SKINK_LOG_WARNING, "event=stuck_at_stop scheduler=%s generation=%llu task=%s",
               SKINK__LOG_WORD(scheduler->name), (unsigned long long)watch->thread->generation,
               SKINK__QUOTED(skink__takeover_task_name(scheduler)));
    /* What the stuck task wrote before it got stuck: nothing else publishes it to those who run next. */
    skink__barrier();
    skink__takeover_begin(scheduler, fresh, &(struct skink__abandonment){ .incident_id = "stop" }, false);
    if (!last && skink__thread_start_detached(successor_thread, fresh) == 0) {
        skink__pass_on_runtime();
        return;
    }
    finish_here(scheduler, fresh);
    skink__thread_unref(fresh);
}

static bool wait_stopped(skink_scheduler *scheduler, uint64_t until_ns)
{
    struct timespec until = { .tv_sec = (time_t)(until_ns / SKINK_S), .tv_nsec = (long)(until_ns % SKINK_S) };
    skink__scheduler_lock(scheduler);
    int err = 0;
    while (!scheduler->stopped && err == 0)
        err = pthread_cond_timedwait(&scheduler->stopped_cond, &scheduler->lock, &until);
    bool stopped = scheduler->stopped;
    skink__scheduler_unlock(scheduler);
    return stopped;
}

static uint64_t saturating_add(uint64_t a, uint64_t b)
{
    return a < UINT64_MAX - b ? a + b : UINT64_MAX;
}

/* Of all who stop it now, the one with the earliest deadline decides; one that has passed is now. */
static void bring_forward(skink_scheduler *scheduler, uint64_t deadline_ns)
{
    uint64_t now = skink_now();
    if (deadline_ns < now) deadline_ns = now;
    uint64_t before = atomic_load(&scheduler->stop_deadline_ns);
    while (deadline_ns < before && !atomic_compare_exchange_weak(&scheduler->stop_deadline_ns, &before, deadline_ns)) {
    }
}

/* When a slice that stands still is taken for stuck, and when what is left is dropped. */
struct patience {
    uint64_t stuck_ns;
    uint64_t last_moment;
};

static struct patience patience_of(const skink_scheduler *scheduler, uint64_t begun)
{
    uint64_t deadline_ns = atomic_load(&scheduler->stop_deadline_ns);
    if (deadline_ns < begun) deadline_ns = begun;
    uint64_t half = (deadline_ns - begun) / 2;
    return (struct patience){ .stuck_ns = half > STUCK_MIN_NS ? half : STUCK_MIN_NS,
                              .last_moment = saturating_add(deadline_ns, CANCEL_GRACE_NS + LAST_GRACE_NS) };
}

/* Wait, and give a stuck loop a fresh thread: once early, so that the others can finish; and at the very end. */
static int stop_wait(skink_scheduler *scheduler) SKINK__REQUIRES(skink__control_mutex)
{
    uint64_t begun = skink_now();
    struct watch watch = { 0 };
    struct skink__thread *fresh = NULL;
    int err = 0;
    for (uint64_t now = begun; !wait_stopped(scheduler, now + POLL_NS); now = skink_now()) {
        struct patience patience = patience_of(scheduler, begun);
        bool last = now >= patience.last_moment;
        watch_look(&watch, scheduler, now);
        if (!fresh) (void)skink__thread_create(&fresh); /* without memory: again at the next look */
        bool stuck = last || now - watch.since_ns >= patience.stuck_ns;
        if (fresh && stuck && watch_abandon(&watch)) {
            take_over(scheduler, &watch, fresh, last);
            fresh = NULL;
        } else if (now >= saturating_add(patience.last_moment, LAST_GRACE_NS)) {
            err = -ETIMEDOUT;
            break;
        }
    }
    skink__thread_unref(watch.thread);
    skink__thread_unref(fresh);
    return err;
}

int skink__stop(skink_scheduler *scheduler, uint64_t deadline_ns)
{
    bring_forward(scheduler, deadline_ns); /* for who has the lock, and stops it already */
    if (skink__scheduler_is_stopping(scheduler)) skink__inbox_wake(&scheduler->inbox);
    skink__control_lock(scheduler);
    int err = -EALREADY;
    if (atomic_load(&scheduler->running)) {
        /* One that gave up is over, and its deadline with it. */
        if (skink__scheduler_is_stopping(scheduler)) atomic_store(&scheduler->stop_deadline_ns, SKINK_FOREVER);
        bring_forward(scheduler, deadline_ns); /* again: a start may have forgotten it */
        atomic_store(&scheduler->stopping, true);
        skink__inbox_wake(&scheduler->inbox);
        err = stop_wait(scheduler);
        skink__assume_runtime(); /* no loop thread is left */
        if (!err && scheduler->stop_cut) err = -ECANCELED;
        atomic_store(&scheduler->given_up, err == -ETIMEDOUT);
    }
    skink__control_unlock(scheduler);
    return err;
}

int skink_scheduler_stop(skink_scheduler *scheduler, uint64_t deadline_ns)
{
    if (!scheduler) return -EINVAL;
    if (skink_scheduler_current() == scheduler) return -EDEADLK;
    struct skink__thread *thread = skink__thread_enter();
    int refused = 0;
    if (thread) {
        if (skink__in_task()) refused = skink__detection_judge(thread);
        skink__thread_leave(thread);
    }
    return refused ? refused : skink__stop(scheduler, deadline_ns);
}
