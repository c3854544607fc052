/* SPDX-License-Identifier: MIT */
/*
 * token.c - a flag that says "stop", and why; shared by reference, polled by anybody, and handed down.
 *
 * Who wants to be told when a token fires is on its list of listeners: the tokens derived from it, and the scopes of
 * tasks (scope.c). They are told under the token's lock, so who takes itself off the list knows that it is not being
 * told any more. Locks are taken from a token to those derived from it, and never the other way.
 *
 * A deadline needs no timer: whoever asks reads the clock, and a wait in a scope ends by itself at the token's
 * deadline.
 */
#include "skink/token.h"
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/state.h"
#include <errno.h>

enum { DEPTH_MAX = 32 };

struct skink_token {
    _Atomic uint32_t refs;
    _Atomic int status;           /* 0 or the reason; written once */
    _Atomic uint64_t deadline_ns; /* only ever goes down */
    uint32_t depth;               /* constant: how many are above it */
    skink_token *parent;          /* constant; with a reference */
    struct skink__token_listener in_parent;
    pthread_mutex_t lock;
    struct skink__token_listener *listeners SKINK__GUARDED_BY(skink__token_mutex);
};

static void token_lock(skink_token *token) SKINK__ACQUIRES(skink__token_mutex) SKINK__UNCHECKED
{
    pthread_mutex_lock(&token->lock);
}

static void token_unlock(skink_token *token) SKINK__RELEASES(skink__token_mutex) SKINK__UNCHECKED
{
    pthread_mutex_unlock(&token->lock);
}

int skink__token_create(skink_token **ret_token)
{
    skink_token *token = skink__zalloc(sizeof *token);
    if (!token) return -ENOMEM;
    atomic_init(&token->refs, 1);
    atomic_init(&token->deadline_ns, SKINK_FOREVER);
    pthread_mutex_init(&token->lock, NULL);
    *ret_token = token;
    return 0;
}

/* False: it had fired. Release: who sees it fired sees what was done before. */
static bool set_status(const skink_token *token, int reason)
{
    int expected = 0;
    return atomic_compare_exchange_strong_explicit((_Atomic int *)&token->status, &expected, reason,
                                                   memory_order_release, memory_order_relaxed);
}

/* False: it had fired, or its deadline had passed and nobody had asked yet. */
static bool fire(skink_token *token, int reason, const skink_scheduler *here)
{
    SKINK_ASSERT(reason < 0);
    if (skink_token_status(token) || !set_status(token, reason)) return false;
    token_lock(token);
    for (struct skink__token_listener *listener = token->listeners; listener; listener = listener->next)
        listener->fired(listener, reason, here);
    token_unlock(token);
    return true;
}

void skink__token_fire(skink_token *token, int reason)
{
    skink_scheduler *here = skink__runtime_enter();
    (void)fire(token, reason, here);
    skink__runtime_leave(here);
}

int skink_token_fire(skink_token *token, int reason)
{
    if (!token || reason >= 0) return -EINVAL;
    skink_scheduler *here = skink__runtime_enter();
    bool first = fire(token, reason, here);
    skink__runtime_leave(here);
    return first ? 0 : -EALREADY;
}

/* A deadline that has passed is written down, so that the answer stays the same.
 * Those derived have none that is later. */
int skink_token_status(const skink_token *token)
{
    if (!token) return -EINVAL;
    int status = atomic_load_explicit(&token->status, memory_order_acquire);
    if (status) return status;
    uint64_t deadline_ns = skink_token_deadline(token);
    if (deadline_ns == SKINK_FOREVER || skink_now() < deadline_ns) return 0;
    (void)set_status(token, -ETIMEDOUT);
    return atomic_load_explicit(&token->status, memory_order_acquire);
}

uint64_t skink_token_deadline(const skink_token *token)
{
    return token ? atomic_load_explicit(&token->deadline_ns, memory_order_relaxed) : SKINK_FOREVER;
}

void skink__token_limit(skink_token *token, uint64_t deadline_ns)
{
    uint64_t before = skink_token_deadline(token);
    while (deadline_ns < before && !atomic_compare_exchange_weak(&token->deadline_ns, &before, deadline_ns)) {
    }
}

skink_token *skink_token_ref(skink_token *token)
{
    if (token) atomic_fetch_add_explicit(&token->refs, 1, memory_order_relaxed);
    return token;
}

void skink_token_unref(skink_token *token)
{
    while (token && atomic_fetch_sub_explicit(&token->refs, 1, memory_order_acq_rel) == 1) {
        skink_token *parent = token->parent;
        if (parent) skink__token_unlisten(parent, &token->in_parent);
        SKINK__ASSUME(skink__token_mutex); /* nobody else knows it any more */
        SKINK_ASSERT(!token->listeners);   /* each had a reference */
        pthread_mutex_destroy(&token->lock);
        skink__free(token);
        token = parent;
    }
}

/* ---- listeners ---- */

void skink__token_listen(skink_token *token, struct skink__token_listener *listener)
{
    listener->linked = true;
    token_lock(token);
    listener->previous = NULL;
    listener->next = token->listeners;
    if (listener->next) listener->next->previous = listener;
    token->listeners = listener;
    token_unlock(token);
}

void skink__token_unlisten(skink_token *token, struct skink__token_listener *listener)
{
    if (!listener->linked) return;
    token_lock(token);
    if (listener->previous)
        listener->previous->next = listener->next;
    else
        token->listeners = listener->next;
    if (listener->next) listener->next->previous = listener->previous;
    token_unlock(token);
    listener->linked = false;
}

static void parent_fired(struct skink__token_listener *listener, int reason, const skink_scheduler *here)
{
    skink_token *token = (skink_token *)((char *)listener - offsetof(skink_token, in_parent));
    (void)fire(token, reason, here);
}

int skink_token_derive(skink_token *parent, uint64_t deadline_ns, skink_token **ret_token)
{
    if (!ret_token) return -EINVAL;
    if (parent && parent->depth >= DEPTH_MAX) return -EAGAIN;
    skink_token *token;
    int err = skink__token_create(&token);
    if (err) return err;
    skink__token_limit(token, deadline_ns);
    if (parent) {
        skink__token_limit(token, skink_token_deadline(parent));
        token->depth = parent->depth + 1;
        token->parent = skink_token_ref(parent);
        token->in_parent.fired = parent_fired;
        skink__token_listen(parent, &token->in_parent);
        /* It may have fired before it knew of us. */
        int status = skink_token_status(parent);
        if (status) (void)set_status(token, status);
    }
    *ret_token = token;
    return 0;
}
