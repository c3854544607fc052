/* SPDX-License-Identifier: MIT */
/* tests/chaos/jobs.h - tasks of every kind, each with exactly one outcome. */
#ifndef SKINK_TESTS_CHAOS_JOBS_H
#define SKINK_TESTS_CHAOS_JOBS_H
#include "skink/skink.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct era; /* one life of a scheduler and all around it */

struct job {
    struct era *era;
    struct job *next; /* of its poster, for the reckoning */
    skink_task *task; /* a handle; NULL: the spawn was refused */
    skink_future *future;
    skink_task *child;  /* kept here, since a task that is dropped lets go of nothing */
    skink_token *token; /* the same */
    int kind;
    int pipe[2];
    _Atomic int started, ended;
    bool cancelled; /* its poster asked for that */
};

/* What a poster thread made in an era. */
struct poster {
    struct era *era;
    struct job *jobs;
    uint64_t refused;
};

/* Make jobs until the era is over. A thread's main. */
void *poster_main(void *poster);

/*
 * After the stop: every job must have exactly one outcome. Counts them, frees them; returns the number of faults.
 *
 * A slice that is declared stuck between the last line of its function and the scheduler's next look at it belongs to a
 * stray that has nothing left to run. When the scheduler stops before that stray is back, the task is given up although
 * its function has returned. Each deadlock of the era may do that once: *strays_left says how many are left.
 */
int poster_reckon(struct poster *poster, uint64_t *strays_left, uint64_t *finished, uint64_t *given_up);

/* Only one task's code at a time may be between these, but for code of a thread that was declared stuck. */
void section_enter(struct era *era);
void section_leave(struct era *era);
#endif
