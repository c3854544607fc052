/* SPDX-License-Identifier: MIT */
/* tests/recovery/fixture.h - a running scheduler under watch, and tasks that get stuck in various ways. */
#ifndef SKINK_TESTS_RECOVERY_FIXTURE_H
#define SKINK_TESTS_RECOVERY_FIXTURE_H
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

struct fixture {
    skink_scheduler *scheduler;
    skink_recovery *recovery;
    /* Filled in by the incident callback, on the helper thread. */
    _Atomic uint64_t incidents;
    skink_incident last; /* stable while `incidents` does not move */
    char last_task[64];
};

/* Start both; fields of options that are zero mean the fixture's own defaults (T = 50 ms). */
void fixture_start(struct fixture *f, const skink_recovery_options *options);
/* The same with this T. */
void fixture_start_timeout(struct fixture *f, uint64_t deadlock_timeout_ns);
/* Stop and destroy both; the scheduler first. The stop must end within its limit; its result is returned. */
int fixture_stop(struct fixture *f);

skink_recovery_stats fixture_stats(struct fixture *f);

/* A task that blocks its thread until it is released, or spins, and says what it saw. */
struct stuck {
    sem_t release;         /* blocked on, when not spinning */
    _Atomic bool spinning; /* in: spin until it becomes false */
    bool spin;
    bool naps; /* in: loop of short sleeps instead of one long one, until spinning becomes false */
    _Atomic uint64_t started_ns;
    _Atomic int started_tid;
    _Atomic int ended_tid; /* after its next API call */
    _Atomic bool ended;
};

void stuck_init(struct stuck *s);
void stuck_spawn(struct fixture *f, struct stuck *s);
void stuck_task(void *arg);
void stuck_release(struct stuck *s);

/* Initialise one that blocks, spawn it, and wait until its slice has been declared, which must be the only one that
 * is meanwhile. */
void stuck_get_declared(struct fixture *f, struct stuck *s);
/* The same until its incident has been told as well: f->last is of it. */
void stuck_get_told(struct fixture *f, struct stuck *s);
/* Release it, and wait until its task has ended; its thread may be a stray for a moment longer. */
void stuck_end(struct stuck *s);
/* Release all of them, and wait until their tasks have ended and no stray is left. */
void stuck_end_all(struct fixture *f, struct stuck *s, int count);

/* Before counting: libuv keeps a few descriptors from the first loop on,
 * and a sanitizer a thread from the first one. */
void warm_up(void);

/* Does the loop still run tasks? A task that is posted now has run within timeout_ms. */
bool loop_is_alive(struct fixture *f, unsigned timeout_ms);

/* Does nothing that is posted to it run for so long? That time is not stretched. */
bool loop_stands_still(struct fixture *f, unsigned ms);

/* The thread of this process with that name; 0 without one. */
int thread_named(const char *name);
/* From /proc/self/task/TID/status; -1 if it cannot be read. */
long thread_voluntary_switches(int tid);
#endif
