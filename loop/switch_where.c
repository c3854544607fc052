/* SPDX-License-Identifier: MIT */
/*
 * loop/switch_where.c - where a stack goes on that was suspended by the switch in assembly (loop/switch.h).
 *
 * The layouts are those in the heads of switch_x86_64.S and switch_aarch64.S. A stack that was prepared and not entered
 * has a frame pointer of 0 and goes on in a function that has no caller; it is told apart by that at the next step.
 */
#include "loop/switch.h"

#if defined(__x86_64__)
enum { FP_AT = 48, PC_AT = 56, FRAME = 64 };
#else
enum { FP_AT = 0, PC_AT = 8, FRAME = 176 };
#endif

bool skink__switch_where(uintptr_t sp, bool (*word)(void *arg, uintptr_t address, uintptr_t *ret_word), void *arg,
                         struct skink__switch_place *ret_place)
{
    struct skink__switch_place place = { .sp = sp + FRAME };
    if (!word(arg, sp + PC_AT, &place.pc) || !word(arg, sp + FP_AT, &place.fp)) return false;
    *ret_place = place;
    return true;
}
