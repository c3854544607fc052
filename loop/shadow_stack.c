/* SPDX-License-Identifier: MIT */
/*
 * loop/shadow_stack.c - see shadow_stack.h.
 *
 * With shadow stacks (Intel CET and AMD; the guarded control stacks of aarch64) the first switch of stacks would end
 * the process with SIGSEGV, far from any hint of why. Normally they are off, since our assembly does not claim to
 * support them and the C library then leaves them off; but a loader or a tunable may insist. makecontext() and
 * swapcontext() switch the shadow stack, too.
 */
#include "loop/shadow_stack.h"
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Kernels that do not know the question refuse it, and have none: before Linux 6.6 and 6.13. */
#if defined(SKINK__SWITCH_UCONTEXT)
static bool is_on(void)
{
    return false;
}
#elif defined(__x86_64__)
#define SHSTK_STATUS 0x5005 /* asm/prctl.h */
#define SHSTK_ON 1ul

static bool is_on(void)
{
    unsigned long features = 0;
    return syscall(SYS_arch_prctl, SHSTK_STATUS, &features) == 0 && (features & SHSTK_ON);
}
#elif defined(__aarch64__)
#define GET_SHADOW_STACK_STATUS 74 /* linux/prctl.h */
#define SHADOW_STACK_ENABLE 1ul

static bool is_on(void)
{
    unsigned long status = 0;
    return prctl(GET_SHADOW_STACK_STATUS, &status, 0, 0, 0) == 0 && (status & SHADOW_STACK_ENABLE);
}
#else
static bool is_on(void)
{
    return false;
}
#endif

bool skink__shadow_stack_forbids_switch(void)
{
    return is_on();
}
