/* SPDX-License-Identifier: MIT */
/*
 * tests/fuzz/http_loop.h - a scheduler under a fuzzer's thumb: its clock stands still until it is moved, its tasks are
 * declared stuck when they ask for it, its memory fails when told to, and it can be waited for until it is idle.
 *
 * So an input leads to the same steps in the same order each time. The calling thread is "the driver"; but for
 * loop_stick(), which is a task's, all calls are its own. There is one such loop in the process at a time.
 */
#ifndef SKINK_TESTS_FUZZ_HTTP_LOOP_H
#define SKINK_TESTS_FUZZ_HTTP_LOOP_H
#include "skink/scheduler.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                             \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Create and start it. */
skink_scheduler *loop_open(void);

/* Let it run until it has nothing more to do at this moment; `busy` says in its runtime section whether there is more
 * than it knows of itself. Fails when there is no end to it. */
void loop_settle(bool (*busy)(void *arg), void *arg);

/* Move the clock by so much, and let every timer look at it. */
void loop_pass(uint64_t duration_ns);

/* The moment at which the first sleeping task is due; UINT64_MAX without one. */
uint64_t loop_next_wake(void);

/* By a task on the loop: it is declared stuck at this very moment, a fresh thread goes on with the loop, and the task
 * is not heard of until it is let go. Does nothing for a task that is with a stray already. */
struct loop_stick {
    bool poisoned, starved;
    bool hold; /* the fresh thread starts and resumes no task until loop_release() */
};
void loop_stick(struct loop_stick how);

void loop_release(void);

/* Let go the one that has been stuck for longest, and wait until it has come back to the loop. False: there is none. */
bool loop_let_go(void);

/* The n-th allocation from now on fails; 0: none. */
void loop_fail(unsigned n);

/* How many have failed since loop_open()? */
unsigned loop_failures(void);

/* Stop it, with what it has, and not held. Strays may be left. */
void loop_stop(void);

/* Destroy it. Nothing may be stuck any more; fails when anything of skink's memory is left. */
void loop_close(void);
#endif
