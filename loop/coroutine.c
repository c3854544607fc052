/* SPDX-License-Identifier: MIT */
/*
 * loop/coroutine.c - contexts, and the one function through which every switch of stacks goes.
 *
 * Sanitizers keep an account of the running stack. AddressSanitizer must be told its bounds before the switch, and on
 * arrival that the switch is over; the first arrival on a stack is in coroutine_main. ThreadSanitizer keeps a "fiber"
 * for each stack, with a call stack of its own in it, and takes a switch for an order of events between the two.
 * Valgrind is told once where each stack is, and sees switches by itself. A plain build has none of this: there
 * skink__switch is a jump into the backend.
 */
#include "loop/coroutine.h"
#include "loop/sanitizer.h"
#include "loop/switch.h"
#include <stdbool.h>
#include <stddef.h>
#if SKINK__ASAN
#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if SKINK__TSAN
#include <sanitizer/tsan_interface.h>
#include <setjmp.h>
#include <stdatomic.h>
#endif
#if SKINK__VALGRIND
#include <valgrind/valgrind.h>
#endif

/* All that a switch is, to the sanitizers and to the machine. Inlined, so that a plain build is a tail call. */
static inline __attribute__((always_inline)) void switch_context(struct skink__context *from, struct skink__context *to,
                                                                 bool for_good)
{
#if SKINK__ASAN
    /* NULL tells ASan that this stack's fake frames can be freed: nobody comes back to them. */
    __sanitizer_start_switch_fiber(for_good ? NULL : &from->asan_fake_stack, to->stack_bottom, to->stack_bytes);
#endif
#if SKINK__TSAN
    __tsan_switch_to_fiber(to->tsan_fiber, 0);
#endif
    skink__switch_stack(&from->sp, to->sp);
    SKINK__LAND_HERE();
#if SKINK__ASAN
    __sanitizer_finish_switch_fiber(from->asan_fake_stack, NULL, NULL);
#endif
    (void)for_good;
}

void skink__switch(struct skink__context *from, struct skink__context *to)
{
    switch_context(from, to, false);
}

#if SKINK__TSAN
/*
 * TSan pushes every function that is entered on the fiber's call stack, and pops it when the function returns. The
 * functions that end a coroutine never return. As the fiber is used again with the next entry, its call stack would
 * grow by a few frames a time, past its end after some ten thousand times. So here a coroutine ends by a jump
 * to its first frame, which TSan follows, and switches from there.
 */
struct way_out {
    jmp_buf first_frame;
    struct skink__context *to;
};

_Noreturn void skink__switch_for_good(struct skink__context *from, struct skink__context *to)
{
    struct skink__coroutine *co =
        (struct skink__coroutine *)((char *)from - offsetof(struct skink__coroutine, context));
    struct way_out *out = co->tsan_way_out;
    out->to = to;
    longjmp(out->first_frame, 1); /* TSan does not see _longjmp; as _setjmp saved no signal mask, they do the same */
}

__attribute__((noinline)) static void run_entry(struct skink__coroutine *co)
{
    co->entry(co->arg);
}

/* Itself unknown to TSan, so that what the jump goes back to is the empty call stack. */
SKINK__UNSEEN_BY_TSAN static void coroutine_main(void *arg)
{
    struct skink__coroutine *co = arg;
    struct way_out out;
    co->tsan_way_out = &out;
    if (_setjmp(out.first_frame) == 0)
        run_entry(co);
    else
        switch_context(&co->context, out.to, true);
    __builtin_trap(); /* entry has returned, or a finished coroutine was switched to */
}
#else
_Noreturn void skink__switch_for_good(struct skink__context *from, struct skink__context *to)
{
    switch_context(from, to, true);
    __builtin_trap(); /* a finished coroutine was switched to */
}

static void coroutine_main(void *arg)
{
    struct skink__coroutine *co = arg;
#if SKINK__ASAN
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
    co->entry(co->arg);
    __builtin_trap(); /* entry has returned */
}
#endif

#if SKINK__TSAN
/* TSan ends the process at 8,128 threads and fibers. Some are left to threads. */
enum { FIBERS_MAX = 7500 };
static _Atomic int fiber_count; /* any thread, relaxed: a limit, which orders nothing */

static void *fiber_create(void)
{
    if (atomic_fetch_add_explicit(&fiber_count, 1, memory_order_relaxed) < FIBERS_MAX) return __tsan_create_fiber(0);
    atomic_fetch_sub_explicit(&fiber_count, 1, memory_order_relaxed);
    return NULL;
}

static void fiber_destroy(void *fiber)
{
    __tsan_destroy_fiber(fiber);
    atomic_fetch_sub_explicit(&fiber_count, 1, memory_order_relaxed);
}
#endif

bool skink__coroutine_init(struct skink__coroutine *co, void *stack_bottom)
{
    void *fiber = NULL;
#if SKINK__TSAN
    fiber = fiber_create();
    if (!fiber) return false;
#endif
    *co = (struct skink__coroutine){
        .context = { .stack_bottom = stack_bottom,
                     .stack_bytes = (size_t)((char *)co - (char *)stack_bottom),
                     .tsan_fiber = fiber },
    };
#if SKINK__VALGRIND
    co->valgrind_stack = VALGRIND_STACK_REGISTER(stack_bottom, co);
#endif
    return true;
}

void skink__coroutine_fini(struct skink__coroutine *co)
{
#if SKINK__TSAN
    fiber_destroy(co->context.tsan_fiber);
#endif
#if SKINK__VALGRIND
    VALGRIND_STACK_DEREGISTER(co->valgrind_stack);
#endif
    (void)co;
}

void skink__coroutine_prepare(struct skink__coroutine *co, void (*entry)(void *arg), void *arg)
{
    co->entry = entry;
    co->arg = arg;
    co->context.asan_fake_stack = NULL;
    co->context.sp = skink__switch_prepare(co->context.stack_bottom, co, coroutine_main, co);
}

void skink__context_init_thread(struct skink__context *context)
{
    *context = (struct skink__context){ 0 };
#if SKINK__ASAN
    /* Only here: for the first thread of a process it reads /proc/self/maps, and it allocates. */
    pthread_attr_t attributes;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstack(&attributes, &context->stack_bottom, &context->stack_bytes);
        pthread_attr_destroy(&attributes);
    }
#endif
#if SKINK__TSAN
    context->tsan_fiber = __tsan_get_current_fiber();
#endif
}
