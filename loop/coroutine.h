/* SPDX-License-Identifier: MIT */
/*
 * loop/coroutine.h - a stack of one's own, and the switch between stacks.
 *
 * The switch is one file per backend (switch_x86_64.S, switch_aarch64.S, switch_ucontext.c); everything that
 * sanitizers must be told about a switch is in coroutine.c, in one function.
 */
#ifndef SKINK_LOOP_COROUTINE_H
#define SKINK_LOOP_COROUTINE_H
#include "loop/sanitizer.h"
#include <stdbool.h>
#include <stddef.h>

/* A place that can be switched to: an OS thread's own stack, or a coroutine's. */
struct skink__context {
    void *sp;           /* where it stopped; written by the switch away from it */
    void *stack_bottom; /* lowest usable address; for AddressSanitizer */
    size_t stack_bytes;
    void *asan_fake_stack;
    void *tsan_fiber;
};

/* Lives at the top of its own stack, so that a suspended coroutine touches one page. */
struct skink__coroutine {
    struct skink__context context;
    void (*entry)(void *arg); /* never returns: it switches away for good */
    void *arg;
    struct skink__coroutine *next; /* skink__stack_pool.free */
#if SKINK__TSAN
    void *tsan_way_out; /* coroutine.c */
#endif
#if SKINK__VALGRIND
    unsigned valgrind_stack; /* Valgrind's name for it */
#endif
};

/* Fill in the context of the calling OS thread. */
void skink__context_init_thread(struct skink__context *context);

/* Make a coroutine of the stack that reaches from stack_bottom up to co, which is a multiple of 16. False, with nothing
 * done, when ThreadSanitizer cannot take any more of them. */
bool skink__coroutine_init(struct skink__coroutine *co, void *stack_bottom);

/* Forget it; the memory is the caller's. Nobody stands on its stack. */
void skink__coroutine_fini(struct skink__coroutine *co);

/* Let co start entry(arg) at the next switch to it. Its stack must not be in use. */
void skink__coroutine_prepare(struct skink__coroutine *co, void (*entry)(void *arg), void *arg);

/* Save this place into `from` and go on at `to`; returns when somebody switches back, maybe on another thread. */
void skink__switch(struct skink__context *from, struct skink__context *to);

/* The same for a coroutine whose stack will not be returned to as it is now. */
_Noreturn void skink__switch_for_good(struct skink__context *from, struct skink__context *to);
#endif
