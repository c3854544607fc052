/* SPDX-License-Identifier: MIT */
/* recovery/unwind.c - see unwind.h. */
#include "recovery/unwind.h"
#include "recovery/own_memory.h"

bool skink__unwind_step(const struct skink__unwind_rule *rule, struct skink__registers *registers,
                        bool (*word)(void *arg, uintptr_t address, uintptr_t *ret_word), void *arg, bool *ret_end)
{
    *ret_end = rule->kind == SKINK__UNWIND_LAST;
    if (rule->kind != SKINK__UNWIND_STEP || rule->ra_in_register) return false;
    if (rule->cfa_from_fp && !registers->has_fp) return false;
    uintptr_t cfa = (rule->cfa_from_fp ? registers->fp : registers->sp) + (uintptr_t)(intptr_t)rule->cfa_offset;
    if (cfa <= registers->sp) return false; /* stacks grow downwards: whatever this is, it is no caller's frame */
    uintptr_t return_address;
    if (!word(arg, cfa + (uintptr_t)(intptr_t)rule->ra_offset, &return_address)) return false;
    if (rule->fp == SKINK__UNWIND_FP_SAVED)
        registers->has_fp = word(arg, cfa + (uintptr_t)(intptr_t)rule->fp_offset, &registers->fp);
    else if (rule->fp == SKINK__UNWIND_FP_LOST)
        registers->has_fp = false;
    *ret_end = return_address == 0;
    if (*ret_end) return false;
    registers->sp = cfa;
    registers->pc = return_address - 1;
    return true;
}

static bool read_word(void *arg, uintptr_t address, uintptr_t *ret_word)
{
    return skink__stack_word(arg, address, ret_word);
}

size_t skink__unwind(struct skink__symbols *symbols, const struct skink__registers *registers, uintptr_t *pcs,
                     size_t max, bool *ret_whole)
{
    struct skink__stack_reader reader = { 0 };
    struct skink__registers at = *registers;
    size_t count = 0;
    bool end = false;
    while (count < max) {
        pcs[count++] = at.pc;
        struct skink__unwind_rule rule = skink__symbols_unwind_rule(symbols, at.pc);
        if (!skink__unwind_step(&rule, &at, read_word, &reader, &end)) break;
    }
    if (ret_whole) *ret_whole = end;
    return count;
}
