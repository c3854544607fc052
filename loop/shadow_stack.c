/* SPDX-License-Identifier: MIT */
/*
 * loop/shadow_stack.c - see shadow_stack.h.
 *
 * With shadow stacks (Intel CET, AMD) the first switch of stacks would end the process with SIGSEGV, far from any hint
 * of why. Normally they are off, since our assembly does not claim to support them and the C library then leaves them off; but
 * a loader or a tunable may insist. makecontext() and swapcontext() switch the shadow stack, too.
 */
#include "loop/shadow_stack.h"
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) && !defined(SKINK__SWITCH_UCONTEXT)
/* asm/prctl.h of Linux 6.6 on; older kernels refuse, and have none. */
#define SHSTK_STATUS 0x5005
#define SHSTK_ON 1ul

static bool is_on(void)
{
    unsigned long features = 0;
    return syscall(SYS_arch_prctl, SHSTK_STATUS, &features) == 0 && (features & SHSTK_ON);
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
