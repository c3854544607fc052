/* SPDX-License-Identifier: MIT */
/*
 * scope.c - stretches of a task in which a token ends its waits (skink/token.h).
 *
 * A wait that begins in a scope looks at the token first, and takes the token's deadline if that is earlier than its
 * own (skink__scopes_limit()). A token that fires from the task's own loop ends the wait there and then; from elsewhere
 * it posts the scope to the inbox, once, and the loop does it.
 */
#include "loop/memory.h"
#include "loop/state.h"
#include "skink/token.h"
#include <errno.h>

struct skink__scope {
    struct skink__token_listener listener;
    skink_token *token;         /* reference */
    skink_task *task;           /* valid until `ended` */
    skink_scheduler *scheduler; /* reference on its memory */
    struct skink__scope *outer; /* runtime: skink_task.scopes */
    _Atomic uint32_t refs;      /* the task's, and the inbox's while it is posted */
    _Atomic bool ended;         /* runtime, or the task's stray when the scheduler has stopped */
    _Atomic int reason;         /* what the token fired with; before it is posted */
    struct skink__message message;
};

static void scope_unref(struct skink__scope *scope)
{
    if (atomic_fetch_sub_explicit(&scope->refs, 1, memory_order_acq_rel) != 1) return;
    skink_token_unref(scope->token);
    skink__scheduler_unref(scope->scheduler);
    skink__free(scope);
}

/* Runtime section of its scheduler. */
static void end_wait(struct skink__scope *scope) SKINK__IN_RUNTIME
{
    if (atomic_load_explicit(&scope->ended, memory_order_relaxed)) return;
    skink_task *task = scope->task;
    if (skink__task_state(task) != SKINK__TASK_WAITING || !task->wait_abort(task)) return;
    skink__wait_wake(task, atomic_load_explicit(&scope->reason, memory_order_relaxed), true);
}

static void deliver(skink_scheduler *scheduler, struct skink__message *message, bool closed) SKINK__IN_RUNTIME
{
    (void)scheduler;
    struct skink__scope *scope = (struct skink__scope *)((char *)message - offsetof(struct skink__scope, message));
    if (!closed) end_wait(scope);
    scope_unref(scope);
}

/* Under the token's lock, once. */
static void fired(struct skink__token_listener *listener, int reason, const skink_scheduler *here)
{
    struct skink__scope *scope = (struct skink__scope *)((char *)listener - offsetof(struct skink__scope, listener));
    atomic_store_explicit(&scope->reason, reason, memory_order_relaxed);
    if (SKINK__IS_HERE(here, scope->scheduler)) {
        end_wait(scope);
        return;
    }
    atomic_fetch_add_explicit(&scope->refs, 1, memory_order_relaxed);
    scope->message.deliver = deliver;
    if (!skink__inbox_post(&scope->scheduler->inbox, &scope->message)) scope_unref(scope); /* it has stopped */
}

int skink_scope_begin(skink_token *token)
{
    if (!token) return -EINVAL;
    struct skink__thread *thread = skink__thread_enter();
    if (!thread) return -EPERM;
    struct skink__scope *scope = skink__in_task() ? skink__zalloc(sizeof *scope) : NULL;
    int err = scope ? 0 : skink__in_task() ? -ENOMEM : -EPERM;
    if (!err) {
        skink_task *task = thread->current;
        scope->token = skink_token_ref(token);
        scope->task = task;
        scope->scheduler = skink__scheduler_ref(task->scheduler);
        scope->outer = task->scopes;
        atomic_init(&scope->refs, 1);
        scope->listener.fired = fired;
        task->scopes = scope;
        skink__task_set_ending(task, SKINK__ENDING_KNOWN); /* there is something to do at its end */
        skink__token_listen(token, &scope->listener);
    }
    skink__thread_leave(thread);
    return err;
}

static void end_innermost(skink_task *task)
{
    struct skink__scope *scope = task->scopes;
    task->scopes = scope->outer;
    skink__token_unlisten(scope->token, &scope->listener);
    atomic_store_explicit(&scope->ended, true, memory_order_relaxed);
    scope_unref(scope);
}

int skink_scope_end(void)
{
    struct skink__thread *thread = skink__thread_enter();
    if (!thread) return -EPERM;
    int status = skink__in_task() ? -EINVAL : -EPERM;
    if (skink__in_task() && thread->current->scopes) {
        status = skink_token_status(thread->current->scopes->token);
        end_innermost(thread->current);
    }
    skink__thread_leave(thread);
    return status;
}

void skink__scopes_end_all(skink_task *task)
{
    while (task->scopes)
        end_innermost(task);
}

int skink__scopes_status(const skink_task *task)
{
    int status = 0;
    for (const struct skink__scope *scope = task->scopes; scope && !status; scope = scope->outer)
        status = skink_token_status(scope->token);
    return status;
}

bool skink__scopes_limit(const skink_task *task, uint64_t *deadline_ns)
{
    bool earlier = false;
    for (const struct skink__scope *scope = task->scopes; scope; scope = scope->outer) {
        uint64_t token_ns = skink_token_deadline(scope->token);
        if (token_ns >= *deadline_ns) continue;
        *deadline_ns = token_ns;
        earlier = true;
    }
    return earlier;
}

skink_token *skink_token_current(void)
{
    struct skink__scope *scope = skink__in_task() ? skink__thread_self()->current->scopes : NULL;
    return scope ? scope->token : skink_task_token();
}
