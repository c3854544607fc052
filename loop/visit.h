/* SPDX-License-Identifier: MIT */
/*
 * loop/visit.h - a look at every task of a scheduler, a few at a time, for who lists them.
 *
 * The visitor is a thread of its own. Each step it hands the visit to the loop, which shows it tasks for a bounded time
 * in its runtime section, when all suspended tasks are at rest, and hands it back. In between the loop goes on with its
 * work: a visit is no moment, each task is seen at one of its own. Tasks made after it began may be missing.
 *
 * While the loop thread is stuck in host code nothing comes back. But then all other tasks are at rest as well, for as
 * long as that slice lasts: skink__visit_standing() looks at them from the visitor's thread, and says afterwards
 * whether it did.
 *
 *     visitor                          loop
 *     post a ticket                    takes it, if the visitor has not taken it back
 *     sleep                            show tasks; the ticket is done
 *     use what was seen
 */
#ifndef SKINK_LOOP_VISIT_H
#define SKINK_LOOP_VISIT_H
#include "skink/scheduler.h"
#include <stdbool.h>
#include <stdint.h>

enum skink__sight_state {
    SKINK__SIGHT_FRESH,     /* not started: queued, or kept for later */
    SKINK__SIGHT_READY,     /* its turn will come                     */
    SKINK__SIGHT_SUSPENDED, /* waits for something                    */
    SKINK__SIGHT_RUNNING,   /* in the current slice                   */
    SKINK__SIGHT_STRAY      /* on an abandoned thread, or one that blocks as was announced */
};

/* One task. Of one that is running, or with a stray, and of a fresh one, there is no stack to look at: pc is 0. */
struct skink__sight {
    enum skink__sight_state state;
    bool is_standing;      /* by skink__visit_standing() */
    void (*fn)(void *arg); /* what it was spawned with */
    const char *name;      /* NULL for FRESH and STRAY. Standing: an address, to be read with care */
    uintptr_t pc;          /* of the instruction after which its stack goes on, less one */
    uintptr_t sp, fp;      /* there */
    /* Words of its stack; false outside of it. */
    bool (*word)(void *word_arg, uintptr_t address, uintptr_t *ret_word);
    void *word_arg;
    uintptr_t low, high; /* the stack: from its sp up to its top; for `word` */
};

enum skink__see {
    SKINK__SEEN,
    SKINK__SEEN_LAST, /* seen, and that is enough for this step               */
    SKINK__NOT_SEEN   /* enough, and this task is to be shown again, as first */
};

enum skink__visit_result {
    SKINK__VISIT_MORE,   /* there are more                                                      */
    SKINK__VISIT_DONE,   /* all have been shown                                                 */
    SKINK__VISIT_BUSY,   /* the loop did not come to it in time; nothing was shown, or all that was shown is void */
    SKINK__VISIT_STOPPED /* the scheduler does not run                                         */
};

struct skink__visit;

/*
 * see(sight, arg) is called for each task, on the loop thread in the runtime section, or in skink__visit_standing(): it
 * must be quick, allocate nothing and wait for nothing. release(arg) is called once, when nobody uses arg any more:
 * by skink__visit_destroy(), or later by the loop. -ENOMEM.
 */
int skink__visit_create(skink_scheduler *scheduler, enum skink__see (*see)(const struct skink__sight *sight, void *arg),
                        void (*release)(void *arg), void *arg, struct skink__visit **ret_visit);

/* NULL is fine. */
void skink__visit_destroy(struct skink__visit *visit);

/* Have the loop show tasks, for at most budget_ns; blocks until it has, or the deadline passes. `arg` is the visitor's
 * again afterwards (but see skink__visit_is_lost()). Not on a loop thread of this scheduler. */
enum skink__visit_result skink__visit_step(struct skink__visit *visit, uint64_t budget_ns, uint64_t deadline_ns);

/* The loop has begun a step and not ended it by the deadline (its thread is stopped, or starved): nothing may be read
 * of `arg`, and the visit only be destroyed. */
bool skink__visit_is_lost(const struct skink__visit *visit);

/*
 * Show at most `max` tasks right here, if the loop thread is in host code, and stays in the same slice meanwhile; else
 * BUSY. word(arg, ...) reads memory that may be gone; it is given as the sights' `word`.
 */
enum skink__visit_result skink__visit_standing(struct skink__visit *visit, uint32_t max,
                                               bool (*word)(void *word_arg, uintptr_t address, uintptr_t *ret_word),
                                               void *word_arg);
#endif
