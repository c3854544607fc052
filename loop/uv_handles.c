/* SPDX-License-Identifier: MIT */
/* uv_handles.c - the scheduler's own handles on its libuv loop, and the host's way to put some there. */
#include "loop/hooks.h"
#include "loop/state.h"
#include "loop/uv_means.h"
#include <errno.h>

/* ---- deadlines of suspended tasks ---- */

static void wake_due(uv_timer_t *timer) SKINK__IN_RUNTIME
{
    skink_scheduler *scheduler = timer->data;
    struct skink__deadline_heap *heap = &scheduler->deadlines;
    scheduler->deadline_armed_ns = SKINK_FOREVER;
    uint64_t now = skink_now();
    while (heap->count && heap->entries[0].deadline_ns <= now) {
        skink_task *task = heap->entries[0].task;
        skink__deadline_remove(heap, task);
        /* False: completed at this very moment, and its wake-up is in the inbox; or it cannot be ended early. */
        if (task->wait_abort(task)) skink__wait_wake(task, task->timeout_result, true);
    }
}

/* libuv's timers count whole milliseconds of its cached time, which is stale after a long slice. Armed for an absolute
 * millisecond, the timer is right all the same: it goes off when that millisecond has begun, so never early. */
static void timer_arm(uv_timer_t *timer, uv_timer_cb callback, uint64_t deadline_ns)
{
    uint64_t due_ms = deadline_ns / SKINK_MS + (deadline_ns % SKINK_MS != 0);
    uint64_t cached_ms = uv_now(timer->loop);
    int err = uv_timer_start(timer, callback, due_ms > cached_ms ? due_ms - cached_ms : 0, 0);
    SKINK_ASSERT(err == 0);
}

void skink__deadlines_arm(skink_scheduler *scheduler)
{
    const struct skink__deadline_heap *heap = &scheduler->deadlines;
    uint64_t first = heap->count ? heap->entries[0].deadline_ns : SKINK_FOREVER;
    /* A timer that is armed too early costs one empty turn; disarming it whenever a wait ends costs more. */
    if (first >= scheduler->deadline_armed_ns) return;
    scheduler->deadline_armed_ns = first;
    timer_arm(&scheduler->deadline_timer, wake_due, first);
}

/* libuv runs timers that are due before it polls, too, and without uv_stop() that poll would block. */
static void go_round(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

void skink__stop_wake_at(skink_scheduler *scheduler, uint64_t deadline_ns)
{
    if (deadline_ns == SKINK_FOREVER)
        uv_timer_stop(&scheduler->stop_timer);
    else
        timer_arm(&scheduler->stop_timer, go_round, deadline_ns);
}

void skink__stack_retry(skink_scheduler *scheduler)
{
    enum { RETRY_MS = 10 };
    if (!uv_is_active((uv_handle_t *)&scheduler->stack_timer))
        (void)uv_timer_start(&scheduler->stack_timer, go_round, RETRY_MS, 0);
}

/* ---- stacks of a peak ---- */

enum {
    STACKS_KEPT = 64,    /* free ones, for the next tasks */
    STACKS_AT_ONCE = 64, /* a tenth of a millisecond */
    STACK_AGE_MS = 2000,
    NEXT_MS = 1
};

static void give_stacks_back(uv_timer_t *timer) SKINK__IN_RUNTIME
{
    skink_scheduler *scheduler = timer->data;
    struct skink__stack_pool *stacks = &scheduler->stacks;
    bool more = skink__stack_pool_cool(stacks, STACKS_KEPT, STACKS_AT_ONCE);
    if (!more) skink__stack_pool_age(stacks);
    if (stacks->free_count > STACKS_KEPT)
        (void)uv_timer_start(timer, give_stacks_back, more ? NEXT_MS : STACK_AGE_MS, 0);
}

void skink__stack_surplus_watch(skink_scheduler *scheduler)
{
    if (scheduler->stacks.free_count > STACKS_KEPT && !uv_is_active((uv_handle_t *)&scheduler->surplus_timer))
        (void)uv_timer_start(&scheduler->surplus_timer, give_stacks_back, STACK_AGE_MS, 0);
}

/* ---- open and close ---- */

int skink__uv_open(skink_scheduler *scheduler)
{
    int err = skink__uv_has_descriptors();
    if (!err) err = uv_loop_init(&scheduler->loop);
    if (err) return err;
    scheduler->backend_fd = uv_backend_fd(&scheduler->loop);
    scheduler->loop.data = scheduler;
    scheduler->deadline_armed_ns = SKINK_FOREVER;
    uv_timer_init(&scheduler->loop, &scheduler->deadline_timer);
    uv_timer_init(&scheduler->loop, &scheduler->stop_timer);
    uv_timer_init(&scheduler->loop, &scheduler->stack_timer);
    uv_timer_init(&scheduler->loop, &scheduler->surplus_timer);
    uv_prepare_init(&scheduler->loop, &scheduler->before_poll);
    scheduler->deadline_timer.data = scheduler->stop_timer.data = scheduler->surplus_timer.data = scheduler;
    scheduler->before_poll.data = scheduler->wakeup.data = scheduler;
    err = uv_poll_init(&scheduler->loop, &scheduler->wakeup, scheduler->inbox.wakeup_fd);
    if (!err) err = skink__loop_callbacks_start(scheduler);
    if (err) {
        uv_run(&scheduler->loop, UV_RUN_NOWAIT);
        uv_loop_close(&scheduler->loop);
        return err;
    }
    scheduler->uv_open = true;
    return 0;
}

static void close_handle(uv_handle_t *handle, void *unused)
{
    (void)unused;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

bool skink__uv_close(skink_scheduler *scheduler, uint64_t deadline_ns)
{
    if (!scheduler->uv_open) return true;
    skink__fd_watches_fini(scheduler);
    uv_walk(&scheduler->loop, close_handle, NULL);
    scheduler->may_sleep = false;
    /* Close callbacks, and work on the pool that has to finish first: for that we wait, but not for ever. */
    while (uv_run(&scheduler->loop, UV_RUN_NOWAIT)) {
        if (skink_now() >= deadline_ns) return false;
        uv_sleep(1);
    }
    int err = uv_loop_close(&scheduler->loop);
    SKINK_ASSERT(err == 0);
    scheduler->uv_open = false;
    return true;
}

uv_loop_t *skink__scheduler_loop(skink_scheduler *scheduler)
{
    return &scheduler->loop;
}

/* ---- a function of the host's in the runtime section ---- */

struct uv_call {
    struct skink__message message;
    void (*fn)(uv_loop_t *loop, void *arg);
    void *arg;
    int result;
    _Atomic uint32_t finished;
};

static void deliver_uv_call(skink_scheduler *scheduler, struct skink__message *message, bool closed) SKINK__IN_RUNTIME
{
    struct uv_call *call = (struct uv_call *)message;
    call->result = closed ? -ECANCELED : 0;
    if (!closed) call->fn(&scheduler->loop, call->arg);
    skink__thread_notify(&call->finished); /* the caller's stack: not ours any more */
}

/* While it does not run nobody else is in the runtime section: the caller may be, as who destroys it is. */
static bool run_at_rest(skink_scheduler *scheduler, void (*fn)(uv_loop_t *loop, void *arg), void *arg)
{
    skink__control_lock(scheduler);
    bool at_rest = !atomic_load(&scheduler->running);
    if (at_rest) {
        struct skink__thread *outer = skink__scheduler_stand_in(scheduler);
        fn(&scheduler->loop, arg);
        skink__thread_set_self(outer);
    }
    skink__control_unlock(scheduler);
    return at_rest;
}

/* In the runtime section of a task it is as in a callback of libuv's: what fn calls is called by no task, and cannot
 * suspend one. */
static void run_nested(struct skink__thread *thread, void (*fn)(uv_loop_t *loop, void *arg),
                       void *arg) SKINK__IN_RUNTIME
{
    thread->nesting++;
    fn(&thread->scheduler->loop, arg);
    thread->nesting--;
}

/* Enter and leave, and in between: 0, it is done; -EPERM; or -EAGAIN, it is to be handed over. */
static int run_here(skink_scheduler *scheduler, void (*fn)(uv_loop_t *loop, void *arg), void *arg)
{
    struct skink__thread *thread = skink__thread_enter();
    if (!thread) return -EAGAIN;
    bool here = skink__thread_is_of(thread, scheduler);
    int err = here ? 0 : skink__in_task() ? -EAGAIN : -EPERM;
    if (here) run_nested(thread, fn, arg);
    skink__thread_leave(thread);
    return err;
}

int skink_scheduler_uv(skink_scheduler *scheduler, void (*fn)(uv_loop_t *loop, void *arg), void *arg)
{
    if (!scheduler || !fn) return -EINVAL;
    int err = run_here(scheduler, fn, arg);
    if (err != -EAGAIN) return err;
    if (!atomic_load(&scheduler->running) && run_at_rest(scheduler, fn, arg)) return 0;
    struct uv_call call = { .message.deliver = deliver_uv_call, .fn = fn, .arg = arg };
    if (skink__scheduler_is_stopping(scheduler) || !skink__inbox_post(&scheduler->inbox, &call.message))
        return -ECANCELED;
    (void)skink__thread_wait(&call.finished, SKINK_FOREVER);
    return call.result;
}
