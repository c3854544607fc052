/* SPDX-License-Identifier: MIT */
/*
 * middleware/concurrency_limit.h - so many at once, then a bounded queue in order of arrival.
 *
 * It knows nothing of requests: what waits has a struct skink__waiting inside, and admission.c says what a permit is
 * for. Runtime section, but for the two limits, which any thread may set, and the counters, which any may read.
 */
#ifndef SKINK_MIDDLEWARE_CONCURRENCY_LIMIT_H
#define SKINK_MIDDLEWARE_CONCURRENCY_LIMIT_H
#include "middleware/http_stats.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct skink__limit;

/* Inside what waits; all NULL while it does not. */
struct skink__waiting {
    struct skink__waiting *previous; /* skink__limit.queue */
    struct skink__waiting *next;
    struct skink__limit *limit;
    uint64_t since_ns;
};

struct skink__limit {
    /* Any thread writes, relaxed: whoever changes one has the loop look at the queue afterwards. */
    _Atomic uint32_t max_requests; /* 0: as many as come */
    _Atomic uint32_t max_queue;
    struct skink__waiting queue; /* head of a ring, oldest first; its members are NULL before the first use */
    bool letting_in;             /* somebody on the stack takes from the queue already */
    /* Loop thread writes, any thread reads, relaxed. */
    _Atomic uint64_t in_use;
    _Atomic uint64_t queued;
    _Atomic uint64_t full_since_ns; /* 0: not full */
    _Atomic uint64_t turned_away;
    _Atomic uint64_t left; /* the queue, without a permit */
    _Atomic uint64_t buckets[SKINK__HTTP_BUCKETS];
    _Atomic uint64_t sum_ns; /* time in the queue of those who got a permit out of it */
};

enum skink__entry { SKINK__ENTERED, SKINK__WAITS, SKINK__TURNED_AWAY };

/* Take a permit, or the last place in the queue. may_exceed: the queue takes it whatever its length. */
enum skink__entry skink__limit_enter(struct skink__limit *limit, struct skink__waiting *waiting, uint64_t now_ns,
                                     bool may_exceed);

/* Give a permit back. Who waits gets it by skink__limit_next() only. */
void skink__limit_leave(struct skink__limit *limit);

/* The first one that waits, if there is a permit for it: it is off the queue and has the permit; *ret_waited_ns says
 * how long it waited. NULL else. */
struct skink__waiting *skink__limit_next(struct skink__limit *limit, uint64_t now_ns, uint64_t *ret_waited_ns);

/* Off the queue, without a permit; nothing happens to one that does not wait. */
void skink__limit_forget(struct skink__waiting *waiting);

static inline bool skink__is_waiting(const struct skink__waiting *waiting)
{
    return waiting->limit != NULL;
}
#endif
