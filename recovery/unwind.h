/* SPDX-License-Identifier: MIT */
/*
 * recovery/unwind.h - from the registers of a thread at rest to the addresses of its callers, by the rules of
 * symbols.h.
 *
 * Helper threads only. It asks the thread nothing: memory is read as in own_memory.h.
 */
#ifndef SKINK_RECOVERY_UNWIND_H
#define SKINK_RECOVERY_UNWIND_H
#include "recovery/symbols.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct skink__registers {
    uintptr_t pc; /* of an instruction; where a call is returned to, less one */
    uintptr_t sp;
    uintptr_t fp;
    bool has_fp;
};

/* A return address without the signature that code with pointer authentication puts on it before it goes to the stack
 * (aarch64, -mbranch-protection=pac-ret). The instruction is xpaclri, which older processors take for a nop. */
static inline uintptr_t skink__unwind_plain(uintptr_t return_address)
{
#if defined(__aarch64__)
    register uintptr_t address __asm__("x30") = return_address;
    __asm__("hint 7" : "+r"(address));
    return address;
#else
    return return_address;
#endif
}

/*
 * One step to the caller; false at the first frame, or where it cannot be known. *ret_end says which: true at the
 * first. What the step needs is read through `word`.
 */
bool skink__unwind_step(const struct skink__unwind_rule *rule, struct skink__registers *registers,
                        bool (*word)(void *arg, uintptr_t address, uintptr_t *ret_word), void *arg, bool *ret_end);

/* pcs[0] is registers->pc; each is an address that skink__symbols_find() takes. Returns how many. *ret_whole (may be
 * NULL): it came to the first frame. */
size_t skink__unwind(struct skink__symbols *symbols, const struct skink__registers *registers, uintptr_t *pcs,
                     size_t max, bool *ret_whole);
#endif
