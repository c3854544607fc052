/* SPDX-License-Identifier: MIT */
/*
 * recovery/refused.h - a blocking wait that was refused at once, as an incident: with both stacks, and nobody stuck.
 */
#ifndef SKINK_RECOVERY_REFUSED_H
#define SKINK_RECOVERY_REFUSED_H
#include "loop/refusal.h"
#include "recovery/unwind.h"

/* What the helper thread is to put names to; made where the wait was refused. */
struct skink__refused_stacks {
    char awaited[64];
    uintptr_t pcs[SKINK__REFUSAL_DEPTH]; /* as skink__symbols_find() takes them */
    size_t pc_count;
    struct skink__registers awaited_at; /* pc 0: not known, or there is none */
    uintptr_t awaited_fn;
    uintptr_t low; /* a copy of so much of the awaited task's stack */
    size_t word_count;
    uintptr_t words[];
};

/* The loop's hook; arg is the recovery. */
void skink__refused(const struct skink__refusal *refusal, void *arg);

/* The helper thread: the frames of the awaited task. Returns how many. */
size_t skink__refused_unwind(struct skink__symbols *symbols, const struct skink__refused_stacks *stacks, uintptr_t *pcs,
                             size_t max);
#endif
