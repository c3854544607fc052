/* SPDX-License-Identifier: MIT */
/* task.c - a task's life around its slices: spawned, cancelled, awaited, ended or dropped. */
#include "loop/hooks.h"
#include "loop/options.h"
#include "loop/state.h"
#include <errno.h>

enum { TIMEOUT_MIN_MS = 10 };

/* The second cache line of a task: written only where it differs from what the task before has left. So the line of one
 * that is posted from another thread again and again can stay in both processors' caches. */
static void init_what_differs(skink_task *task, const struct skink__task_spec *spec) SKINK__IN_RUNTIME
{
    static const struct skink__task_kind plain = { 0 };
    const char *name = spec->name ? spec->name : "task";
    const struct skink__task_kind *kind = spec->kind ? spec->kind : &plain;
    if (task->name != name) task->name = name;
    if (task->kind != kind) task->kind = kind;
    if (task->pins_scheduler) task->pins_scheduler = false;
    if (task->detection_scopes) task->detection_scopes = 0;
    if (task->blocking_depth) task->blocking_depth = 0;
    if (task->watch) task->watch = NULL;
    if (atomic_load_explicit(&task->waiting, memory_order_relaxed))
        atomic_store_explicit(&task->waiting, false, memory_order_relaxed);
    if (atomic_load_explicit(&task->cancel_reason, memory_order_relaxed))
        atomic_store_explicit(&task->cancel_reason, 0, memory_order_relaxed);
    if (atomic_load_explicit(&task->cancel_asked, memory_order_relaxed))
        atomic_store_explicit(&task->cancel_asked, 0, memory_order_relaxed);
    SKINK_ASSERT(task->heap_index == SKINK__NOT_IN_HEAP); /* since it was made */
    SKINK_ASSERT(!task->scopes);
}

/* A host that wants no timeout at all may ask for SKINK_FOREVER: that must not be read as what the upper bits say. */
static uint64_t slice_timeout(const struct skink__task_spec *spec)
{
    uint64_t timeout_ns = spec->deadlock_timeout_ns;
    if (timeout_ns > SKINK__SLICE_TIMEOUT_MAX) timeout_ns = SKINK__SLICE_TIMEOUT_MAX;
    return timeout_ns | (uint64_t)spec->action << SKINK__SLICE_ACTION_SHIFT;
}

static void task_init(skink_task *task, const struct skink__task_spec *spec)
{
    skink__assume_runtime(); /* the task is its spawner's alone, wherever that is */
    task->co = NULL;
    task->fn = spec->fn;
    task->arg = spec->arg;
    task->timeout_ns = slice_timeout(spec);
    task->token = NULL;
    skink__task_set_ending(task, task->foreign ? SKINK__ENDING_KNOWN : SKINK__ENDING_PLAIN);
    task->has_done = false;
    atomic_store_explicit(&task->refs, 1, memory_order_relaxed);
    skink__task_set_state(task, SKINK__TASK_FRESH);
    init_what_differs(task, spec);
}

/* It may be handed to others from here on. */
static void init_done(skink_task *task)
{
    skink__future_init(&task->done);
    SKINK__ASSUME(skink__future_mutex); /* nobody else knows it yet */
    task->done.completer_kind = SKINK__COMPLETER_END;
    skink__task_set_ending(task, SKINK__ENDING_KNOWN);
    task->has_done = true;
    task->pins_scheduler = true;
    skink__scheduler_ref(task->scheduler);
}

static void give_handle(skink_task *task)
{
    init_done(task);
    atomic_store_explicit(&task->refs, 2, memory_order_relaxed);
}

/* The watchdog samples by the shortest timeout there is, and is told before the task can run. Only ever goes down. */
static void note_timeout(skink_scheduler *scheduler, uint64_t timeout_ns)
{
    if (!timeout_ns) return;
    uint64_t shortest = atomic_load_explicit(&scheduler->shortest_timeout_ns, memory_order_relaxed);
    while (timeout_ns < shortest) {
        if (!atomic_compare_exchange_weak(&scheduler->shortest_timeout_ns, &shortest, timeout_ns)) continue;
        skink__alarm_go_off(&scheduler->alarm);
        return;
    }
}

/* Last reference: back to the pool. */
static void task_free(skink_task *task, bool here)
{
    skink_scheduler *scheduler = task->scheduler;
    bool pinned = task->pins_scheduler;
    skink__assume_runtime(); /* the task is ours alone, wherever we are */
    if (task->token) skink_token_unref(task->token);
    task->token = NULL;
    if (task->has_done) skink__future_fini(&task->done);
    skink__task_release(task, here);
    if (pinned) skink__scheduler_unref(scheduler);
}

bool skink__task_submit(skink_task *task, bool here)
{
    skink_scheduler *scheduler = task->scheduler;
    if (atomic_load_explicit(&scheduler->stopping, memory_order_relaxed)) return false;
    note_timeout(scheduler, task->timeout_ns & ~SKINK__SLICE_ACTION_MASK);
    if (here) {
        skink__assume_runtime();
        skink__count(&scheduler->tasks_spawned, 1);
        skink__ready_push(scheduler, task);
        return true;
    }
    task->message.deliver = skink__task_deliver_fresh;
    if (!skink__inbox_post(&scheduler->inbox, &task->message)) return false;
    skink__post_box_detour(scheduler);
    return true;
}

/* At a close, too: what is ready is dropped right behind what is in the inbox (skink__stop_drop_all()). */
void skink__task_deliver_fresh(skink_scheduler *scheduler, struct skink__message *message, bool closed)
{
    (void)closed;
    skink__count(&scheduler->tasks_spawned, 1);
    skink__ready_push(scheduler, (skink_task *)message);
}

/* As above: a stray may come back between the last look at the inbox and its close. */
void skink__task_deliver_migrated(skink_scheduler *scheduler, struct skink__message *message, bool closed)
{
    (void)closed;
    skink_task *task = (skink_task *)message;
    enum skink__task_state state = skink__task_state(task);
    if (state == SKINK__TASK_BLOCKING) {
        skink__count(&scheduler->tasks_blocking, -1);
    } else {
        SKINK_ASSERT(state == SKINK__TASK_ABANDONED || state == SKINK__TASK_GIVEN_UP);
        skink__count(&scheduler->tasks_abandoned, -1);
        skink__count(&scheduler->migrations, 1);
    }
    skink__task_set_state(task, SKINK__TASK_READY);
    skink__ready_push(scheduler, task);
}

bool skink__task_is_owed_slice(const skink_task *task)
{
    return atomic_load_explicit(&task->slice_owed, memory_order_relaxed);
}

bool skink__task_owe_slice(skink_task *task)
{
    enum skink__task_state state = skink__task_state(task);
    /* Who has claimed its wait has woken it, or is about to. */
    bool woken = state == SKINK__TASK_READY ||
                 (state == SKINK__TASK_WAITING && !atomic_load_explicit(&task->waiting, memory_order_relaxed));
    if (woken) atomic_store_explicit(&task->slice_owed, true, memory_order_relaxed);
    return skink__task_is_owed_slice(task);
}

static skink_task *acquire(skink_scheduler *scheduler, bool here, int *ret_err)
{
    if (!here) return skink__task_acquire_foreign(scheduler, ret_err);
    skink__assume_runtime();
    return skink__task_acquire_here(scheduler, ret_err);
}

static int spawn(skink_scheduler *scheduler, bool here, const struct skink__task_spec *spec, skink_task **ret_task)
{
    int err = 0;
    skink_task *task = acquire(scheduler, here, &err);
    if (!task) return err;
    task_init(task, spec);
    if (ret_task && !spec->borrow) give_handle(task);
    if (!skink__task_submit(task, here)) {
        task_free(task, here);
        return -ECANCELED;
    }
    if (ret_task) *ret_task = task;
    return 0;
}

int skink__runtime_spawn(skink_scheduler *scheduler, const struct skink__task_spec *spec, skink_task **ret_task)
{
    skink__assert_runtime(scheduler);
    return spawn(scheduler, true, spec, ret_task);
}

static int spawn_from_anywhere(skink_scheduler *scheduler, const struct skink__task_spec *spec, skink_task **ret_task)
{
    struct skink__thread *thread = skink__thread_enter();
    int err = spawn(scheduler, skink__thread_is_of(thread, scheduler), spec, ret_task);
    if (thread) skink__thread_leave(thread);
    return err;
}

int skink__scheduler_spawn(skink_scheduler *scheduler, const struct skink__task_spec *spec, skink_task **ret_task)
{
    return spawn_from_anywhere(scheduler, spec, ret_task);
}

bool skink__runtime_is_current(const void *arg)
{
    const struct skink__thread *thread = skink__thread_self();
    return thread && thread->current && thread->current->arg == arg;
}

void skink__runtime_disown(void)
{
    struct skink__thread *thread = skink__thread_self();
    SKINK_ASSERT(thread && skink__thread_in_runtime(thread) && thread->current);
    thread->current->arg = NULL;
}

int skink_spawn(skink_scheduler *scheduler, const skink_task_options *options, skink_task **ret_task,
                void (*fn)(void *arg), void *arg)
{
    skink_task_options given;
    int err = SKINK__OPTIONS_READ(&given, options);
    if (err) return err;
    if (!scheduler || !fn || given.flags) return -EINVAL;
    if (given.action > SKINK_ACTION_OFF) return -EINVAL;
    if (given.deadlock_timeout_ns && given.deadlock_timeout_ns < TIMEOUT_MIN_MS * SKINK_MS) return -EINVAL;
    struct skink__task_spec spec = { .name = given.name,
                                     .deadlock_timeout_ns = given.deadlock_timeout_ns,
                                     .action = given.action,
                                     .fn = fn,
                                     .arg = arg };
    return spawn_from_anywhere(scheduler, &spec, ret_task);
}

int skink__post_as_task(skink_scheduler *scheduler, bool here, void (*fn)(void *arg), void *arg)
{
    struct skink__task_spec spec = { .name = "post", .fn = fn, .arg = arg };
    return spawn(scheduler, here, &spec, NULL);
}

skink_task *skink__task_reserve(skink_scheduler *scheduler, bool here, const struct skink__task_spec *spec,
                                int *ret_err)
{
    skink_task *task = acquire(scheduler, here, ret_err);
    if (task) task_init(task, spec);
    return task;
}

void skink__task_unreserve(skink_task *task)
{
    task_free(task, false);
}

/* ---- handles ---- */

skink_task *skink_task_ref(skink_task *task)
{
    if (task) atomic_fetch_add_explicit(&task->refs, 1, memory_order_relaxed);
    return task;
}

static void task_unref(skink_task *task, bool here)
{
    /* Nobody else has it: nobody else can get it, so no exchange is needed (most tasks have no handle). */
    if (atomic_load_explicit(&task->refs, memory_order_acquire) == 1 ||
        atomic_fetch_sub_explicit(&task->refs, 1, memory_order_acq_rel) == 1)
        task_free(task, here);
}

void skink_task_unref(skink_task *task)
{
    if (task) task_unref(task, false);
}

skink_task *skink_task_current(void)
{
    if (!skink__in_task()) return NULL;
    skink_task *task = skink__thread_self()->current;
    if (task->has_done) return task;
    skink_scheduler *here = skink__runtime_enter();
    init_done(task);
    skink__runtime_leave(here);
    return task;
}

const char *skink_task_name(const skink_task *task)
{
    return task ? task->name : NULL;
}

int skink_task_await(skink_task *task, uint64_t deadline_ns)
{
    if (!task || !task->has_done) return -EINVAL;
    struct skink__thread *thread = skink__thread_self();
    if (thread && thread->current == task) return -EDEADLK;
    return skink_await(&task->done, deadline_ns, NULL);
}

int skink_task_block(skink_task *task, uint64_t deadline_ns)
{
    if (!task || !task->has_done) return -EINVAL;
    struct skink__thread *thread = skink__thread_self();
    if (thread && thread->current == task) return -EDEADLK;
    return skink_future_block(&task->done, deadline_ns, NULL);
}

/* ---- cancellation ---- */

void skink__task_cancel_here(skink_task *task, int reason)
{
    if (skink__task_state(task) == SKINK__TASK_ENDED) return;
    if (!atomic_load_explicit(&task->cancel_reason, memory_order_relaxed))
        atomic_store_explicit(&task->cancel_reason, reason, memory_order_relaxed);
    skink__task_set_ending(task, SKINK__ENDING_KNOWN); /* the next task must not inherit that */
    if (task->token) skink__token_fire(task->token, reason);
    if (skink__task_state(task) == SKINK__TASK_WAITING && task->wait_abort(task)) skink__wait_wake(task, reason, true);
}

void skink__runtime_cancel(skink_task *task, int reason)
{
    skink__assert_runtime(task->scheduler);
    skink__task_cancel_here(task, reason);
}

static void deliver_cancel(skink_scheduler *scheduler, struct skink__message *message, bool closed) SKINK__IN_RUNTIME
{
    (void)scheduler;
    skink_task *task = (skink_task *)((char *)message - offsetof(skink_task, cancel_message));
    if (!closed) skink__task_cancel_here(task, atomic_load(&task->cancel_asked));
    task_unref(task, true);
}

static int cancel_from_elsewhere(skink_task *task, int reason)
{
    int none = 0;
    if (!atomic_compare_exchange_strong(&task->cancel_asked, &none, reason)) return 0; /* asked for already */
    skink_task_ref(task);
    task->cancel_message.deliver = deliver_cancel;
    if (skink__inbox_post(&task->scheduler->inbox, &task->cancel_message)) return 0;
    task_unref(task, false);
    return -ESRCH;
}

int skink_task_cancel(skink_task *task)
{
    return task ? skink__task_cancel_for(task, -ECANCELED) : -EINVAL;
}

int skink__task_cancel_for(skink_task *task, int reason)
{
    if (skink__task_state(task) == SKINK__TASK_ENDED) return -ESRCH;
    skink_scheduler *here = skink__runtime_enter();
    int err = 0;
    if (SKINK__IS_HERE(here, task->scheduler))
        skink__task_cancel_here(task, reason);
    else
        err = cancel_from_elsewhere(task, reason);
    skink__runtime_leave(here);
    return err;
}

skink_token *skink_task_token(void)
{
    skink_scheduler *here = skink__runtime_enter();
    if (!here || !skink__in_task()) {
        skink__runtime_leave(here);
        return NULL;
    }
    skink__assume_runtime();
    skink_task *task = skink__thread_self()->current;
    if (!task->token && skink__token_create(&task->token) == 0) {
        skink__task_set_ending(task, SKINK__ENDING_KNOWN);
        int reason = atomic_load_explicit(&task->cancel_reason, memory_order_relaxed);
        if (reason) skink__token_fire(task->token, reason);
    }
    skink_token *token = task->token;
    skink__runtime_leave(here);
    return token;
}

/* ---- the end ---- */

void skink__task_end(skink_task *task, bool dropped)
{
    skink__count(&task->scheduler->tasks_finished, 1);
    skink__task_set_state(task, SKINK__TASK_ENDED);
    atomic_store_explicit(&task->slice_owed, false, memory_order_relaxed);
    task->co = NULL;
    if (task->scopes) skink__scopes_end_all(task);
    if (task->has_done) {
        /* -EALREADY: a stop gave it up while it was with a stray, and it came back after a new start. */
        if (dropped)
            (void)!skink_future_fail(&task->done, -ECANCELED);
        else
            (void)!skink_future_complete(&task->done, NULL);
    }
    task_unref(task, true);
}

static void drop_holdings(skink_task *task)
{
    while (task->holdings) {
        struct skink__holding *hold = task->holdings;
        task->holdings = hold->outer;
        hold->drop(hold);
    }
}

void skink__task_drop(skink_task *task)
{
    skink_scheduler *scheduler = task->scheduler;
    if (skink__task_state(task) == SKINK__TASK_WAITING) {
        (void)task->wait_abort(task); /* unlinks it; if somebody else has claimed the wait, their wake-up is ignored */
        skink__count(&scheduler->tasks_suspended, -1);
    }
    if (task->heap_index != SKINK__NOT_IN_HEAP) skink__deadline_remove(&scheduler->deadlines, task);
    drop_holdings(task);
    if (task->arg && task->kind->dropped) task->kind->dropped(task->arg);
    /* Its stack is not unwound and not used again: work on the thread pool may still write to it. It goes with the
     * scheduler's memory. */
    skink__task_end(task, true);
}

void skink__task_lose(skink_task *task)
{
    /* Several strays may do so at once, beside a loop thread of a new start. */
    atomic_fetch_add_explicit(&task->scheduler->tasks_lost, 1, memory_order_relaxed);
    skink__task_set_state(task, SKINK__TASK_ENDED);
    atomic_store_explicit(&task->slice_owed, false, memory_order_relaxed);
    drop_holdings(task);
    if (task->scopes) skink__scopes_end_all(task);
    if (task->arg && task->kind->lost) task->kind->lost(task->arg);
    task_unref(task, false);
}
