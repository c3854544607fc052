/* SPDX-License-Identifier: MIT */
/*
 * loop/switch.h - what a backend of the stack switch provides; coroutine.c is its only user.
 *
 * Exactly one backend is linked: switch_x86_64.S, switch_aarch64.S or switch_ucontext.c. A backend knows registers
 * and stacks, nothing of coroutines and sanitizers. What a suspended stack's `sp` points to is its own affair.
 */
#ifndef SKINK_LOOP_SWITCH_H
#define SKINK_LOOP_SWITCH_H
#include <stdbool.h>
#include <stdint.h>

#ifndef __has_attribute
#define __has_attribute(attribute) 0
#endif

/* With indirect branch tracking, the place behind a call that is returned to by a jump must be a landing pad. The
 * compiler makes it one when it knows of the jump, and when the call is not made a tail call, which would move the
 * place to a caller that knows nothing. */
#if defined(__CET__) && (__CET__ & 1) != 0
#if __has_attribute(indirect_return)
#define SKINK__RETURNS_BY_JUMP __attribute__((indirect_return))
#else
#define SKINK__RETURNS_BY_JUMP __attribute__((returns_twice))
#endif
#define SKINK__LAND_HERE() __asm__ volatile("")
#else
#define SKINK__RETURNS_BY_JUMP
#define SKINK__LAND_HERE() ((void)0)
#endif

/*
 * Build, right below stack_top, the state of a stack that has been suspended just before enter(arg), and return its sp.
 * Control words of the floating-point unit are the caller's of this moment. enter must not return.
 */
void *skink__switch_prepare(void *stack_bottom, void *stack_top, void (*enter)(void *arg), void *arg);

/* Suspend the running stack, leaving in *save_sp what brings it back, and go on where to_sp was suspended.
 * Kept across it: what the ABI says a call keeps, control words included; the signal mask stays the thread's. */
void skink__switch_stack(void **save_sp, void *to_sp) SKINK__RETURNS_BY_JUMP;

/* Where a suspended stack goes on, in the function that called skink__switch_stack(). */
struct skink__switch_place {
    uintptr_t pc; /* 0: it has not been entered yet */
    uintptr_t sp;
    uintptr_t fp; /* the frame pointer's register */
};

/* Read that from a suspended stack's sp, through `word`. False when it cannot be read,
 * or the stack has not been entered. */
bool skink__switch_where(uintptr_t sp, bool (*word)(void *arg, uintptr_t address, uintptr_t *ret_word), void *arg,
                         struct skink__switch_place *ret_place);
#endif
