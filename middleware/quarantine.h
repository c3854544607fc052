/* SPDX-License-Identifier: MIT */
/*
 * middleware/quarantine.h - a route whose requests keep getting stuck is not tried for a while.
 *
 *              `strikes` in `window`                   the period is over
 *     FREE ---------------------------> QUARANTINED ----------------------> ON_TRIAL: one request is let through
 *      ^                                      ^                                |  |
 *      |                                      +----- it got stuck as well -----+  |
 *      +---------------------------------------------------- it ended ------------+
 *
 * A request on trial that neither ends nor gets stuck within another period no longer stands in the way: the next one
 * is tried.
 *
 * Each stuck request that has not come back holds a thread, and those that never do would reach the limit of strays. So
 * while there are more of them than `strikes`, of all routes and of all servers with the same routes together, one
 * strike is enough for a route, and a route is not tried while it has one of them itself. Requests that never come back
 * then cost `strikes` threads and one for each route.
 *
 * Pure functions over one route's record; who calls them has the time. The runtime section's, but for what is _Atomic.
 */
#ifndef SKINK_MIDDLEWARE_QUARANTINE_H
#define SKINK_MIDDLEWARE_QUARANTINE_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { SKINK__STRIKES_MAX = 32 };

struct skink__quarantine_rules {
    uint32_t strikes; /* at most SKINK__STRIKES_MAX; 0: no quarantine */
    uint64_t window_ns;
    uint64_t period_ns;
};

enum skink__quarantine_state { SKINK__FREE, SKINK__QUARANTINED, SKINK__ON_TRIAL };

struct skink__quarantine {
    _Atomic uint32_t stuck; /* its requests that were declared stuck and have not come back; any thread */
    _Atomic uint32_t state; /* loop thread writes in the runtime section, others only FREE; any thread reads; relaxed */
    uint32_t strike_count;  /* of the list below; 0 whenever it becomes free */
    uint32_t strike_next;
    uint64_t strike_ns[SKINK__STRIKES_MAX]; /* a ring of the newest */
    uint64_t until_ns;                      /* not free: nobody is let through before */
    /* Loop thread writes, any thread reads, relaxed. */
    _Atomic uint64_t begun;
    _Atomic uint64_t refused;
    _Atomic uint64_t trials;
};

enum skink__admission { SKINK__ADMITTED, SKINK__ADMITTED_ON_TRIAL, SKINK__REFUSED };

/* Not free: ask skink__quarantine_admit(). Any thread. */
static inline bool skink__quarantine_is_on(const struct skink__quarantine *quarantine)
{
    return atomic_load_explicit((_Atomic uint32_t *)&quarantine->state, memory_order_relaxed) != SKINK__FREE;
}

/* For a request that is about to start, if the route is not free. stuck: requests of all routes that were declared
 * stuck and have not come back. */
enum skink__admission skink__quarantine_admit(struct skink__quarantine *quarantine,
                                              const struct skink__quarantine_rules *rules, uint32_t stuck,
                                              uint64_t now_ns);

/* The same without consequences: would it be refused? Such a one is counted. */
bool skink__quarantine_refuses(struct skink__quarantine *quarantine, const struct skink__quarantine_rules *rules,
                               uint32_t stuck, uint64_t now_ns);

/* One of its requests was declared stuck; stuck: as above, with that one. enough: and that is enough, as the others
 * would wait for the same lock. True: and therefore it is in quarantine from now on, and was free before. */
bool skink__quarantine_strike(struct skink__quarantine *quarantine, const struct skink__quarantine_rules *rules,
                              uint32_t stuck, uint64_t now_ns, bool enough);

/* The request on trial has ended, and had never been stuck. True: so the route is free again. */
bool skink__quarantine_passed(struct skink__quarantine *quarantine);

/* The request that was admitted on trial has not been started after all: the next one may be. */
void skink__quarantine_untried(struct skink__quarantine *quarantine);

/* Let it out of quarantine, whatever the time. What was before is not forgotten: another strike may put it back. Any
 * thread. */
static inline void skink__quarantine_lift(struct skink__quarantine *quarantine)
{
    atomic_store_explicit(&quarantine->state, SKINK__FREE, memory_order_relaxed);
}

/* Whole seconds after which a client that was refused may try again, at least 1. */
uint32_t skink__quarantine_retry_after(const struct skink__quarantine *quarantine,
                                       const struct skink__quarantine_rules *rules, uint64_t now_ns);
#endif
