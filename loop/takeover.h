/* SPDX-License-Identifier: MIT */
/*
 * loop/takeover.h - all that recovery sees of the loop, beside the lease.
 *
 * The order of a takeover, by the watchdog, with a thread object made long before:
 *
 *   skink__lease_abandon(...)               it won: the scheduler is the watchdog's
 *   skink__takeover_begin(s, fresh, ...)    still the watchdog's: notes who is next and what was stuck
 *   wake the standby thread, which calls    skink__thread_run(fresh, s)
 *
 * Nothing on this path allocates, locks anything that host code may hold, or depends on what is in flight.
 */
#ifndef SKINK_LOOP_TAKEOVER_H
#define SKINK_LOOP_TAKEOVER_H
#include "loop/alarm.h"
#include "loop/capability.h"
#include "loop/doorbell.h"
#include "loop/lease.h"
#include "skink/scheduler.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct skink__abandonment; /* loop/runtime.h */
struct skink__task_label;  /* loop/runtime.h */
struct skink__thread;      /* one OS thread that is, was, or may become a loop thread; reference-counted */

/* A thread object for a thread that is to stand by. All memory that it will ever need is allocated here.
 * -ENOMEM. The caller owns one reference. Any thread. */
int skink__thread_create(struct skink__thread **ret_thread);
struct skink__thread *skink__thread_ref(struct skink__thread *thread);
void skink__thread_unref(struct skink__thread *thread);

/* Its lease; valid as long as a reference is held. */
struct skink__lease *skink__thread_lease(struct skink__thread *thread);

/* On the OS thread that is going to be this one, in quiet times: asks the kernel what skink__thread_run() would ask
 * else, in the middle of a takeover. */
void skink__thread_prepare(struct skink__thread *thread);

/* A signal that loop threads do not block from now on, whatever the host's mask says; 0: none. Those that run already
 * keep their masks. Its handler gets a stack of its own on them (SA_ONSTACK), as a task's may be nearly used up. Any
 * thread. */
void skink__threads_keep_unblocked(int signal_number);

/* The kernel's id of the thread, 0 before it runs or is prepared; the generation it runs or ran as. */
pid_t skink__thread_tid(const struct skink__thread *thread);
uint64_t skink__thread_generation(const struct skink__thread *thread);

/* The future for which its task blocks it at this moment (skink_future_block()); 0: it does not. *ret_by_pool: work on
 * the pool is known to complete it; else its own loop may have to. Any thread. */
uintptr_t skink__thread_blocks_on(const struct skink__thread *thread, bool *ret_by_pool);

/* Whose loop thread it is or was; NULL if never. A pointer to compare with; only a thread that has not ended keeps it
 * alive. */
const skink_scheduler *skink__thread_scheduler(const struct skink__thread *thread);

/* Whom to tell that a stray has come back. */
struct skink__ended {
    void (*fn)(struct skink__thread *thread, void *arg);
    void *arg;
};

/*
 * fn is called once, on the stray itself, when it has come back, handed over its task and set its lease to ENDED. For
 * the watchdog, right before skink__lease_abandon(); NULL takes it back after losing. Returns what was there before:
 * taking back and getting NULL means that somebody else (who stops the scheduler) has abandoned the thread at the same
 * moment, and that it has ended and calls fn. A thread that was never abandoned calls nothing.
 */
struct skink__ended *skink__thread_on_ended(struct skink__thread *thread, struct skink__ended *ended);

/* The loop thread of this moment with a reference for the caller; NULL while the scheduler does not run.
 * Takes a lock that is held for a few instructions at start, takeover and stop only. Any thread. */
struct skink__thread *skink__scheduler_thread(skink_scheduler *scheduler);

/* References on the scheduler's memory (not on its running). Any thread. */
skink_scheduler *skink__scheduler_ref(skink_scheduler *scheduler);
void skink__scheduler_unref(skink_scheduler *scheduler);
const char *skink__scheduler_name(const skink_scheduler *scheduler);
const char *skink__scheduler_role(const skink_scheduler *scheduler); /* see skink__scheduler_set_role() */

/* skink_scheduler_destroy() has been called: who watches it should let go. It has rung the doorbell afterwards, with a
 * full fence between. Any thread. */
bool skink__scheduler_is_destroyed(const skink_scheduler *scheduler);

/* Its doorbell; valid as long as its memory. The loop thread rings it once per turn, between poll and the first task,
 * after the store of transition 4: a thread that has just started does so before its first task as well. */
struct skink__doorbell *skink__scheduler_doorbell(skink_scheduler *scheduler);

/* The watchdog's alarm, which its loop puts off as it turns; valid as long as its memory. */
struct skink__alarm *skink__scheduler_alarm(skink_scheduler *scheduler);

/* The bell that a stretch rings which is known to block (loop/blocking.c); valid as long as its memory. */
struct skink__doorbell *skink__scheduler_blocking_bell(skink_scheduler *scheduler);

/* By how much its tasks may extend a slice. Any thread. */
void skink__scheduler_set_extend_ceiling(skink_scheduler *scheduler, uint64_t extend_ceiling_ns);

/* The descriptor that its loop sleeps on in poll (uv_backend_fd(), as of its creation). By this the watchdog
 * tells a thread asleep in poll from one that is stuck in a runtime section. Any thread. */
int skink__scheduler_backend_fd(const skink_scheduler *scheduler);

/* The shortest slice timeout that any task of it was spawned with; UINT64_MAX without one. Any thread. */
uint64_t skink__scheduler_shortest_timeout(const skink_scheduler *scheduler);

/* For the winner of transition 3 only, until skink__takeover_begin(),
 * or between p and its end: name of the stuck task. */
const char *skink__takeover_task_name(skink_scheduler *scheduler);

/* The same for what that task works on; all zero if it is nothing in particular. */
void skink__takeover_task_label(skink_scheduler *scheduler, struct skink__task_label *ret_label);

/*
 * For the winner of transition 3 only: makes `fresh` the scheduler's thread, with the next generation, and hands
 * the stuck task `why` (copied), which its abandoned hook is told on the fresh thread. NULL: it is not stuck but in a
 * stretch that is known to block, and is told nothing.
 * hold: the fresh thread runs the event loop and the runtime section only, and starts or resumes no task,
 * until skink__scheduler_release_hold().
 */
void skink__takeover_begin(skink_scheduler *scheduler, struct skink__thread *fresh,
                           const struct skink__abandonment *why, bool hold) SKINK__IN_RUNTIME;

/* Let a held scheduler run tasks again. Any thread; nothing happens if it is not held. */
void skink__scheduler_release_hold(skink_scheduler *scheduler);

/* Say whether it may be brought new work (too many strays live, or too many slices got stuck in a short time); the loop
 * itself runs on, and so does what it has. An enum skink__admittance. Any thread. */
void skink__scheduler_set_admittance(skink_scheduler *scheduler, int admittance);

/*
 * Be the loop thread, on the calling OS thread, after skink__takeover_begin(scheduler, thread, ...). Returns when
 * the scheduler has stopped, or when this thread was abandoned, came back and handed its task over (and then the ended
 * callback has run); in both cases the lease is ENDED and nothing of the scheduler may be touched any more.
 */
void skink__thread_run(struct skink__thread *thread, skink_scheduler *scheduler);
#endif
