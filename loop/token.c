/* SPDX-License-Identifier: MIT */
/* token.c - a flag that says "stop", and why; shared by reference, polled by anybody. */
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/runtime.h"
#include <errno.h>
#include <stdatomic.h>

struct skink_token {
    _Atomic uint32_t refs;
    _Atomic int status; /* 0 or the reason; written once */
};

int skink__token_create(skink_token **ret_token)
{
    skink_token *token = skink__alloc(sizeof *token);
    if (!token) return -ENOMEM;
    atomic_init(&token->refs, 1);
    atomic_init(&token->status, 0);
    *ret_token = token;
    return 0;
}

void skink__token_fire(skink_token *token, int reason)
{
    SKINK_ASSERT(reason < 0);
    int expected = 0;
    /* Release: who sees it fired sees what was done before. */
    atomic_compare_exchange_strong_explicit(&token->status, &expected, reason, memory_order_release,
                                            memory_order_relaxed);
}

int skink_token_status(const skink_token *token)
{
    return atomic_load_explicit(&token->status, memory_order_acquire);
}

skink_token *skink_token_ref(skink_token *token)
{
    atomic_fetch_add_explicit(&token->refs, 1, memory_order_relaxed);
    return token;
}

void skink_token_unref(skink_token *token)
{
    if (token && atomic_fetch_sub_explicit(&token->refs, 1, memory_order_acq_rel) == 1) skink__free(token);
}
