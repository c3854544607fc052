/* SPDX-License-Identifier: MIT */
/* recovery/unwind.c - see unwind.h. */
#include "recovery/unwind.h"
#include "recovery/call_site.h"
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
    return_address = skink__unwind_plain(return_address);
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

/* ---- out of a function that keeps its return address in a register (aarch64) ----
 *
 * Nobody can read another thread's register. But such functions of the C library are called by others of its own, and
 * these keep frame pointers: a little above the stack pointer lie the caller's saved frame pointer and the address that
 * the caller returns to. The call before that address tells which function the caller is, and its unwind rules say
 * where those two must be.
 */

enum { RECORD_AT_MAX = 64, RECORD_ALIGNMENT = 16, PROLOGUE_BYTES = 128, INSTRUCTION_BYTES = 4 };

/* Once a function has made its frame: the distance from its stack pointer to the two words, and to the frame's end. */
static bool find_layout(struct skink__symbols *symbols, uintptr_t function, uintptr_t *ret_record_at,
                        uintptr_t *ret_bytes)
{
    bool has_jumped = false;
    for (uintptr_t pc = function; pc < function + PROLOGUE_BYTES; pc += INSTRUCTION_BYTES) {
        struct skink__unwind_rule rule = skink__symbols_unwind_rule(symbols, pc);
        if (rule.kind != SKINK__UNWIND_STEP || rule.cfa_from_fp) return false;
        if (rule.fp == SKINK__UNWIND_FP_SAVED && !rule.ra_in_register) {
            *ret_bytes = (uintptr_t)rule.cfa_offset;
            *ret_record_at = *ret_bytes + (uintptr_t)(intptr_t)rule.fp_offset;
            return rule.ra_offset == rule.fp_offset + (int32_t)sizeof(uintptr_t);
        }
        uintptr_t goes_on = skink__call_site_jump(symbols, pc); /* without a frame: that function is then the caller */
        if (!goes_on) continue;
        if (has_jumped) return false;
        has_jumped = true;
        function = goes_on;
        pc = goes_on - INSTRUCTION_BYTES;
    }
    return false;
}

/* From such a function's registers to those of its caller's caller. *ret_caller is the caller's first address: which of
 * its calls it was is not known. What an earlier call has left there may look the same; then there are two, and none is
 * believed. */
static bool step_over_caller(struct skink__symbols *symbols, const struct skink__unwind_rule *rule,
                             struct skink__stack_reader *reader, struct skink__registers *registers,
                             uintptr_t *ret_caller)
{
    if (rule->kind != SKINK__UNWIND_STEP || !rule->ra_in_register || rule->cfa_from_fp) return false;
    if (!skink__call_site_is_c_library(symbols, registers->pc)) return false;
    uintptr_t sp = registers->sp + (uintptr_t)(intptr_t)rule->cfa_offset;
    unsigned found = 0;
    for (uintptr_t at = 0; at <= RECORD_AT_MAX; at += RECORD_ALIGNMENT) {
        uintptr_t fp, return_address, record_at = 0, bytes = 0;
        if (!skink__stack_word(reader, sp + at, &fp) ||
            !skink__stack_word(reader, sp + at + sizeof fp, &return_address))
            break;
        return_address = skink__unwind_plain(return_address);
        uintptr_t caller = return_address ? skink__call_site_target(symbols, return_address) : 0;
        if (!caller || !find_layout(symbols, caller, &record_at, &bytes) || record_at != at) continue;
        *registers = (struct skink__registers){ .pc = return_address - 1, .sp = sp + bytes, .fp = fp, .has_fp = true };
        *ret_caller = caller;
        found++;
    }
    return found == 1;
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
        if (skink__unwind_step(&rule, &at, read_word, &reader, &end)) continue;
        uintptr_t caller;
        if (count > 1 || max < 2 || !step_over_caller(symbols, &rule, &reader, &at, &caller)) break;
        pcs[count++] = caller;
    }
    if (ret_whole) *ret_whole = end;
    return count;
}
