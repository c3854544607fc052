/* SPDX-License-Identifier: MIT */
/*
 * recovery/blocked.h - where a thread of this process is blocked, from the outside: no signal, nothing that
 * it could notice.
 *
 * The kernel tells the system call, its arguments, and the stack pointer and program counter that the thread went in
 * with (/proc/self/task/TID/syscall). As long as it stays there its stack is at rest and can be walked.
 */
#ifndef SKINK_RECOVERY_BLOCKED_H
#define SKINK_RECOVERY_BLOCKED_H
#include "recovery/symbols.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct skink__blocked {
    long number; /* of the system call; -1: blocked without one (a page fault) */
    uint64_t arguments[6];
    uintptr_t sp;
    uintptr_t pc;
};

enum skink__blocked_answer {
    SKINK__BLOCKED_NO,     /* it runs, or waits for a processor            */
    SKINK__BLOCKED_YES,    /* *ret_blocked is filled in                    */
    SKINK__BLOCKED_UNKNOWN /* the thread is gone, or the file is forbidden */
};

enum skink__blocked_answer skink__blocked_read(pid_t tid, struct skink__blocked *ret_blocked);

/* Is it (still, or again) blocked in the very same call, from the very same place? */
bool skink__blocked_still(pid_t tid, const struct skink__blocked *blocked);

/* Its stack, innermost first (unwind.h), as far as it can be walked. 0: it has moved on meanwhile. */
size_t skink__blocked_stack(struct skink__symbols *symbols, pid_t tid, const struct skink__blocked *blocked,
                            uintptr_t *pcs, size_t max, bool *ret_whole);

/* The parser, for tests. */
enum skink__blocked_answer skink__parse_blocked(const char *text, struct skink__blocked *ret_blocked);
#endif
