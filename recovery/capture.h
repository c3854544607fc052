/* SPDX-License-Identifier: MIT */
/*
 * recovery/capture.h - where is that thread? Asked by a signal, answered with program counters.
 *
 * For threads that were declared stuck, and no others: a signal ends some system calls early (docs/recovery.md,
 * "Asking by a signal"). The handler unwinds the stack that it interrupted into memory that was there before; it takes
 * no lock and allocates nothing, so it does not matter where the thread stands. Names are found elsewhere (symbols.h).
 *
 * One signal for the process, reserved at the first use and never given back, since one may still be under way.
 */
#ifndef SKINK_RECOVERY_CAPTURE_H
#define SKINK_RECOVERY_CAPTURE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { SKINK__CAPTURE_DEPTH = 128 };

/* What the handler saw. */
struct skink__captured {
    uintptr_t pc; /* where the signal came */
    uintptr_t sp;
    size_t count;
    uintptr_t pcs[SKINK__CAPTURE_DEPTH]; /* innermost first; each an address within the instruction in question: of a
                                          * caller, within its call */
    bool cut;                            /* there were more */
    /* The registers that hold a system call's number and arguments. They mean something with in_call only. */
    bool in_call; /* the call was interrupted, and begins again when the handler has returned */
    uint64_t call_number;
    uint64_t call_arguments[6];
};

/* Reserve `wanted` (0: the highest real-time signal that nobody handles) and install the handler; later calls change
 * nothing. The signal's number, or -EBUSY: somebody handles it. */
int skink__capture_reserve(int wanted);

/* The reserved signal; 0 before. */
int skink__capture_signal(void);

struct skink__capture_ticket {
    struct skink__capture_slot *slot;
    uint32_t number;
};

/* Send it. The thread must be alive for sure, or the kernel may have given its id to another one. Does not wait.
 *   -EPERM  somebody else handles the signal now
 *   -EBUSY  too many threads have begun to answer and not ended
 *   and what the kernel says: -EAGAIN, too many signals are pending for this user; -ESRCH */
int skink__capture_ask(pid_t tid, struct skink__capture_ticket *ret_ticket);

/* Wait for the answer until deadline_ns, but for a handler that has begun a little longer. False: none came; what comes
 * later is dropped. The ticket is used up. */
bool skink__capture_wait(struct skink__capture_ticket *ticket, uint64_t deadline_ns,
                         struct skink__captured *ret_captured);
#endif
