/* SPDX-License-Identifier: MIT */
/*
 * dispatch.c - the loop: libuv, inbox, ready queue, and round again.
 *
 * No state of the scheduler lives in these functions' frames: a thread that is abandoned in the middle of run_task()
 * leaves nothing behind that the next one would need.
 */
#include "loop/hooks.h"
#include "loop/log_value.h"
#include "loop/state.h"
#include <unistd.h>

static void deliver_all(skink_scheduler *scheduler) SKINK__IN_RUNTIME
{
    struct skink__message *message = skink__inbox_take(&scheduler->inbox);
    if (scheduler->boxes) skink__boxes_empty(scheduler);
    while (message) {
        struct skink__message *next = message->next; /* deliver may put the message into another list */
        message->deliver(scheduler, message, false);
        message = next;
    }
}

static bool give_stack(skink_scheduler *scheduler, skink_task *task) SKINK__IN_RUNTIME
{
    if (task->co) return true;
    task->co = skink__stack_acquire(&scheduler->stacks);
    if (!task->co) return false;
    atomic_store_explicit(&scheduler->stacks_allocated, scheduler->stacks.allocated, memory_order_relaxed);
    skink__coroutine_prepare(task->co, skink__task_main, task);
    return true;
}

/* Without memory for its stack (or for its object, if it is a post) a fresh task waits aside, so that those behind it,
 * which may give some back, can run. It is tried again before every batch, and after a while if
 * nothing else happens. */
static void set_aside(skink_scheduler *scheduler, struct skink__message *message) SKINK__IN_RUNTIME
{
    if (!scheduler->stackless.first)
        skink__log(SKINK_LOG_ERROR, "event=no_stack scheduler=%s stacks=%llu", SKINK__LOG_WORD(scheduler->name),
                   (unsigned long long)scheduler->stacks.allocated);
    skink__queue_push(&scheduler->stackless, message);
    skink__stack_retry(scheduler);
}

/* What is first in the queue, with all that it needs to run; or NULL, and then it is first still. */
static skink_task *pop_runnable(skink_scheduler *scheduler, struct skink__ready_queue *queue) SKINK__IN_RUNTIME
{
    struct skink__message *first = queue->first;
    if (skink__is_post(first)) {
        struct skink__message *next = first->next;
        skink_task *task = skink__post_to_task(scheduler, (struct skink__post *)first);
        if (!task) return NULL;
        /* In its place, for there may be no stack either. */
        task->message.next = next;
        queue->first = first = &task->message;
        if (!next) queue->last = first;
    }
    return give_stack(scheduler, (skink_task *)first) ? (skink_task *)skink__queue_pop(queue) : NULL;
}

static bool has_stack(const struct skink__message *message) SKINK__IN_RUNTIME
{
    return !skink__is_post(message) && ((const skink_task *)message)->co;
}

/* The next task that can run: first those set aside, for which there may be memory by now. */
static skink_task *next_runnable(skink_scheduler *scheduler) SKINK__IN_RUNTIME
{
    bool aside = scheduler->stackless.first;
    skink_task *task = aside ? pop_runnable(scheduler, &scheduler->stackless) : NULL;
    if (task) return task;
    if (aside) skink__stack_retry(scheduler); /* the timer has passed, and nothing else need happen any more */
    while (scheduler->ready.first) {
        if (!aside || has_stack(scheduler->ready.first)) {
            task = pop_runnable(scheduler, &scheduler->ready);
            if (task) return task;
        }
        set_aside(scheduler, skink__queue_pop(&scheduler->ready));
        aside = true;
    }
    return NULL;
}

/* One task, from here until its stack is left again. False: this thread was abandoned meanwhile. */
static bool run_task(struct skink__thread *thread, skink_scheduler *scheduler, skink_task *task) SKINK__IN_RUNTIME
{
    SKINK_ASSERT(skink__task_state(task) == SKINK__TASK_FRESH || skink__task_state(task) == SKINK__TASK_READY);
    if (skink__task_state(task) == SKINK__TASK_READY) skink__count(&scheduler->slices_resumed, 1);
    skink__count(&scheduler->slices_begun, 1);
    struct skink__coroutine *co = task->co;
    skink__slice_begin(thread, task);
    skink__switch(&thread->native, &co->context);
    /* Back on this thread's own stack, and so on the same thread, whatever became of its lease. */
    skink__assume_runtime(); /* unless it was abandoned, and then nothing is touched any more */
    if (thread->leave == SKINK__LEAVE_MIGRATE) return false;
    SKINK_ASSERT(skink__thread_in_runtime(thread) && thread->nesting == 0);
    thread->current = NULL;
    if (thread->leave == SKINK__LEAVE_FINISH) skink__stack_release(&scheduler->stacks, thread->finished);
    return true;
}

/* Bounded, so that a flood of ready tasks cannot starve I/O. False: this thread was abandoned. */
static bool run_batch(struct skink__thread *thread, skink_scheduler *scheduler) SKINK__IN_RUNTIME
{
    scheduler->batch_end = thread->slice + scheduler->batch_max;
    while (thread->slice < scheduler->batch_end) {
        skink_task *task = next_runnable(scheduler);
        scheduler->chain_end = scheduler->stackless.first ? 0 : scheduler->batch_end;
        if (!task && scheduler->boxes && skink__boxes_refill(scheduler)) continue;
        if (!task) break;
        if (!run_task(thread, scheduler, task)) return false;
    }
    return true;
}

/* What may run on a finished task's stack directly, without a switch ("chaining"):
 * it is first in the queue, and fresh. */
static struct skink__message *next_fresh(const struct skink__thread *thread,
                                         const skink_scheduler *scheduler) SKINK__IN_RUNTIME
{
    struct skink__message *next = scheduler->ready.first;
    if (!next || thread->slice >= scheduler->chain_end) return NULL;
    return skink__is_post(next) || skink__task_state((skink_task *)next) == SKINK__TASK_FRESH ? next : NULL;
}

/* As long as posts follow one another, each runs to its end, and nobody asks for its task, they have task, stack and
 * timeout in common, and all that is done between two is here. Returns when a function has returned and something else
 * is to be done; in the runtime section, on the thread that it returns. */
static struct skink__thread *run_posts(skink_scheduler *scheduler, skink_task *task)
    SKINK__ACQUIRES(skink__runtime_section)
{
    struct skink__thread *thread = skink__thread_self();
    for (uint64_t slice = thread->slice;;) {
        task->fn(task->arg);
        if (skink__task_ending(task) != SKINK__ENDING_POST) {
            thread = skink__thread_enter();
            break;
        }
        /* It has never left this stack, so this is still the same thread, and slice. */
        if (!skink__lease_take(&thread->lease, slice)) return skink__thread_enter_slowly(thread);
        struct skink__post *post = (struct skink__post *)scheduler->ready.first;
        if (!post || post->message.deliver != skink__post_mark || slice >= scheduler->chain_end) return thread;
        skink__queue_pop(&scheduler->ready);
        task->fn = post->fn;
        task->arg = post->arg;
        skink__post_release(&scheduler->posts, post);
        skink__count(&scheduler->posts_followed, 1);
        thread->slice = ++slice;
        skink__lease_run(&thread->lease, slice);
    }
    skink__assume_runtime(); /* a task runs on a loop thread, so it is in */
    return thread;
}

/* The running task has returned. Most tasks have never had a handle or a token, and their objects were made right here:
 * then this is all that skink__task_end() comes to. */
static void end_task(skink_scheduler *scheduler, skink_task *task) SKINK__IN_RUNTIME
{
    if (skink__task_ending(task) == SKINK__ENDING_KNOWN) {
        skink__task_end(task, false);
        return;
    }
    skink__count(&scheduler->tasks_finished, 1);
    skink__task_release_own(&scheduler->tasks, task);
}

/* Off the queue, with the stack of the one before. NULL: there is no task object for the post. */
static skink_task *chain(skink_scheduler *scheduler, struct skink__message *next,
                         struct skink__coroutine *co) SKINK__IN_RUNTIME
{
    skink_task *task = (skink_task *)next;
    skink__queue_pop(&scheduler->ready);
    if (skink__is_post(next)) {
        task = skink__post_to_task(scheduler, (struct skink__post *)next);
        if (!task) set_aside(scheduler, next);
    }
    if (task) task->co = co;
    return task;
}

void skink__task_main(void *arg)
{
    skink_task *task = arg;
    skink_scheduler *const scheduler = task->scheduler; /* of every task that ever runs on this stack */
    for (;;) {
        struct skink__thread *thread;
        if (skink__task_ending(task) == SKINK__ENDING_POST) {
            thread = run_posts(scheduler, task);
        } else {
            task->fn(task->arg);
            thread = skink__thread_enter(); /* a stray's task comes to its end on the loop, too */
            skink__assume_runtime();        /* and in either case on a loop thread */
        }
        SKINK_ASSERT(thread->current == task);
        struct skink__coroutine *co = task->co;
        end_task(scheduler, task);

        struct skink__message *next = next_fresh(thread, scheduler);
        task = next ? chain(scheduler, next, co) : NULL;
        if (!task) {
            thread->finished = co;
            thread->leave = SKINK__LEAVE_FINISH;
            skink__switch_for_good(&co->context, &thread->native);
        }
        skink__count(&scheduler->slices_begun, 1);
        skink__slice_begin(thread, task);
    }
}

/* Right before poll. libuv has run due timers by now, and one of them may have made a task ready: then poll must not
 * block, and uv_stop() makes its timeout zero. The same if somebody has posted since the inbox was taken. */
static void before_poll(uv_prepare_t *handle) SKINK__IN_RUNTIME
{
    skink_scheduler *scheduler = handle->data;
    if (!scheduler->may_sleep) return;
    bool idle = !scheduler->ready.first || atomic_load_explicit(&scheduler->held, memory_order_relaxed);
    if (!idle || !skink__inbox_sleep(&scheduler->inbox)) uv_stop(&scheduler->loop);
}

static void drain_wakeup(uv_poll_t *handle, int status, int events)
{
    skink_scheduler *scheduler = handle->data;
    (void)status;
    (void)events;
    uint64_t count;
    ssize_t got = read(scheduler->inbox.wakeup_fd, &count, sizeof count);
    (void)got; /* only that it was readable matters */
}

int skink__loop_callbacks_start(skink_scheduler *scheduler)
{
    int err = uv_prepare_start(&scheduler->before_poll, before_poll);
    return err ? err : uv_poll_start(&scheduler->wakeup, UV_READABLE, drain_wakeup);
}

/* The first thing a fresh thread does: tell whoever is concerned that the stuck task is with a stray now. */
void skink__loop_note_stuck(skink_scheduler *scheduler)
{
    skink_task *stuck = scheduler->stuck;
    scheduler->stuck = NULL;
    if (!stuck) return;
    if (scheduler->stuck_blocks) {
        skink__task_set_state(stuck, SKINK__TASK_BLOCKING);
        skink__count(&scheduler->tasks_blocking, 1);
        return;
    }
    skink__task_set_state(stuck, SKINK__TASK_ABANDONED);
    skink__count(&scheduler->tasks_abandoned, 1);
    if (stuck->arg && stuck->kind->abandoned) stuck->kind->abandoned(stuck->arg, &scheduler->abandonment);
}

/* A stray, on its own stack: nobody stands on the task's stack any more, so it may be handed over. From here on this
 * thread touches nothing of the scheduler but the inbox, and the reference count of its memory. */
static void end_as_stray(struct skink__thread *thread, skink_scheduler *scheduler)
{
    skink_task *task = thread->current;
    task->message.deliver = skink__task_deliver_migrated;
    atomic_store_explicit(&task->slice_owed, true, memory_order_relaxed);
    if (skink__inbox_post(&scheduler->inbox, &task->message)) return;
    skink__thread_set_self(NULL); /* what is told of the loss may call us, and is on no loop thread, and in no task */
    skink__task_lose(task);
    skink__log(SKINK_LOG_WARNING, "event=stray_too_late scheduler=%s generation=%llu", SKINK__LOG_WORD(scheduler->name),
               (unsigned long long)thread->generation);
}

static void end_as_stopped(struct skink__thread *thread, skink_scheduler *scheduler)
{
    skink__scheduler_lock(scheduler);
    SKINK_ASSERT(scheduler->thread == thread);
    scheduler->thread = NULL;
    scheduler->stopped = true;
    atomic_store(&scheduler->running, false);
    atomic_store(&scheduler->held, false);
    pthread_cond_broadcast(&scheduler->stopped_cond);
    skink__scheduler_unlock(scheduler);
    skink__thread_unref(thread); /* the scheduler's; the caller of skink__thread_run has its own */
}

void skink__loop_end(struct skink__thread *thread, skink_scheduler *scheduler, bool abandoned)
{
    if (abandoned) end_as_stray(thread, scheduler);
    /* Transition 5, before anybody is told, so that who is told finds it. */
    skink__lease_end(&thread->lease, thread->slice);
    struct skink__ended *ended = abandoned ? skink__thread_on_ended(thread, NULL) : NULL;
    if (ended) ended->fn(thread, ended->arg);
    if (!abandoned) end_as_stopped(thread, scheduler);
    skink__scheduler_unref(scheduler);
}

/* Transition 4: a word that stands still while the thread is not asleep is a stall in the runtime section. */
static void show_life(struct skink__thread *thread, skink_scheduler *scheduler)
{
    thread->slice++;
    atomic_store_explicit(&thread->lease.word, skink__lease_word(SKINK__RUNTIME, thread->slice), memory_order_release);
    skink__doorbell_ring(&scheduler->doorbell);
}

/* By the time that libuv has read as it left poll. */
static void put_alarm_off(skink_scheduler *scheduler)
{
    uint64_t now_ms = uv_now(&scheduler->loop);
    if (now_ms < scheduler->alarm.next_ms) return;
    skink__alarm_put_off_now(&scheduler->alarm, now_ms, &scheduler->shortest_timeout_ns);
}

/* libuv and the inbox: fills the ready queue. */
static void gather(struct skink__thread *thread, skink_scheduler *scheduler) SKINK__IN_RUNTIME
{
    skink__deadlines_arm(scheduler);
    skink__stack_surplus_watch(scheduler);
    bool settled = skink__task_pool_settle(&scheduler->tasks);
    scheduler->may_sleep = settled &&
                           (!scheduler->ready.first || atomic_load_explicit(&scheduler->held, memory_order_relaxed)) &&
                           !skink__boxes_want_a_turn(scheduler) && !skink__stop_is_due(scheduler);
    uv_run(&scheduler->loop, scheduler->may_sleep ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    show_life(thread, scheduler);
    put_alarm_off(scheduler);
    deliver_all(scheduler);
}

void skink__loop_run(struct skink__thread *thread, skink_scheduler *scheduler)
{
    skink__loop_note_stuck(scheduler);
    show_life(thread, scheduler);
    /* After a takeover tasks have been waiting, in the middle of a batch: they come first, before a look at libuv and
     * before the thread's name. */
    bool held = atomic_load_explicit(&scheduler->held, memory_order_acquire);
    bool abandoned = !held && !run_batch(thread, scheduler);
    if (!abandoned) pthread_setname_np(pthread_self(), scheduler->name);
    while (!abandoned) {
        gather(thread, scheduler);
        if (atomic_load_explicit(&scheduler->stopping, memory_order_acquire)) skink__stop_step(scheduler);
        if (scheduler->stop_phase == SKINK__STOP_DONE) break;
        if (atomic_load_explicit(&scheduler->held, memory_order_acquire)) continue;
        abandoned = !run_batch(thread, scheduler);
    }
    skink__loop_end(thread, scheduler, abandoned);
}
