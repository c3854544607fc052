/* SPDX-License-Identifier: MIT */
/*
 * loop/refusal.h - who is told that a blocking wait was refused (loop/detection.c), and what.
 *
 * The loop knows nothing of incidents: it calls a hook, in the runtime section of the loop that would have been
 * blocked, or on the thread of the pool whose wait was refused.
 */
#ifndef SKINK_LOOP_REFUSAL_H
#define SKINK_LOOP_REFUSAL_H
#include "loop/runtime.h"
#include <stdbool.h>
#include <stdint.h>

enum { SKINK__REFUSAL_DEPTH = 64 };

/* All of it is valid during the call. */
struct skink__refusal {
    const char *task; /* whose wait it was */
    struct skink__task_label label;
    const char *awaited; /* the task that alone could have ended it; "" if that is not one task of the same loop */
    bool potential;      /* only because of the mode */
    uintptr_t future;    /* 0: none */
    uint64_t generation; /* of the loop thread; 0: a thread of the pool */

    /* Without stack traces both are empty. */
    void *pcs[SKINK__REFUSAL_DEPTH]; /* return addresses of the wait, innermost first */
    int pc_count;
    uintptr_t pc, sp, fp; /* where the awaited task stands; pc 0: nowhere, or it cannot be told */
    uintptr_t low, high;  /* its stack, which is at rest; to be read by skink__refusal_word() */
    uintptr_t fn;         /* the function of an awaited task that has not begun; 0: it has */
};

/* A word of that stack; false outside of it. `arg`: the refusal. */
bool skink__refusal_word(void *arg, uintptr_t address, uintptr_t *ret_word);

/* Have fn told, which may take locks that no host code holds. Any thread. */
void skink__scheduler_on_refused(skink_scheduler *scheduler,
                                 void (*fn)(const struct skink__refusal *refusal, void *arg), void *arg);

/* Have this one told no longer: when it returns, no call is under way.
 * Not with a lock that the hook takes. Any thread. */
void skink__scheduler_off_refused(skink_scheduler *scheduler, const void *arg);
#endif
