/* SPDX-License-Identifier: MIT */
/* middleware/concurrency_limit.c - counting permits, and a ring of those who wait (concurrency_limit.h). */
#include "middleware/concurrency_limit.h"
#include "loop/hooks.h"
#include <stddef.h>

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit((_Atomic uint64_t *)counter, memory_order_relaxed);
}

static void set(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

static void add(_Atomic uint64_t *counter, uint64_t more)
{
    set(counter, get(counter) + more); /* one writer */
}

static uint32_t max_requests(const struct skink__limit *limit)
{
    return atomic_load_explicit((_Atomic uint32_t *)&limit->max_requests, memory_order_relaxed);
}

static uint32_t max_queue(const struct skink__limit *limit)
{
    return atomic_load_explicit((_Atomic uint32_t *)&limit->max_queue, memory_order_relaxed);
}

static bool has_permit(const struct skink__limit *limit)
{
    uint32_t most = max_requests(limit);
    return most == 0 || get(&limit->in_use) < most;
}

/* Full is when the next one is turned away. Under steady overload the queue is full, and one short of it after every
 * permit that comes back: so it counts as full until half of it is empty. */
static void note_fullness(struct skink__limit *limit, uint64_t now_ns)
{
    uint64_t since_ns = get(&limit->full_since_ns);
    uint32_t queue = max_queue(limit);
    if (!since_ns) {
        if (!has_permit(limit) && get(&limit->queued) >= queue) set(&limit->full_since_ns, now_ns);
        return;
    }
    bool eased = queue ? get(&limit->queued) <= queue / 2 : get(&limit->in_use) <= max_requests(limit) / 2;
    if (eased || max_requests(limit) == 0) set(&limit->full_since_ns, 0);
}

static void append(struct skink__limit *limit, struct skink__waiting *waiting, uint64_t now_ns)
{
    struct skink__waiting *head = &limit->queue;
    if (!head->next) head->next = head->previous = head;
    *waiting = (struct skink__waiting){ .previous = head->previous, .next = head, .limit = limit, .since_ns = now_ns };
    head->previous->next = waiting;
    head->previous = waiting;
    add(&limit->queued, 1);
}

static void take_off(struct skink__waiting *waiting)
{
    struct skink__limit *limit = waiting->limit;
    waiting->previous->next = waiting->next;
    waiting->next->previous = waiting->previous;
    *waiting = (struct skink__waiting){ .limit = NULL };
    SKINK_ASSERT(get(&limit->queued) > 0);
    add(&limit->queued, (uint64_t)-1);
}

enum skink__entry skink__limit_enter(struct skink__limit *limit, struct skink__waiting *waiting, uint64_t now_ns,
                                     bool may_exceed)
{
    SKINK_ASSERT(!skink__is_waiting(waiting));
    if (get(&limit->queued) == 0 && has_permit(limit)) {
        add(&limit->in_use, 1);
        return SKINK__ENTERED;
    }
    if (!may_exceed && get(&limit->queued) >= max_queue(limit)) {
        add(&limit->turned_away, 1);
        note_fullness(limit, now_ns); /* without a queue, this is the first to say so */
        return SKINK__TURNED_AWAY;
    }
    append(limit, waiting, now_ns);
    note_fullness(limit, now_ns);
    return SKINK__WAITS;
}

void skink__limit_leave(struct skink__limit *limit)
{
    SKINK_ASSERT(get(&limit->in_use) > 0);
    add(&limit->in_use, (uint64_t)-1);
    if (get(&limit->full_since_ns)) note_fullness(limit, 0);
}

struct skink__waiting *skink__limit_next(struct skink__limit *limit, uint64_t now_ns, uint64_t *ret_waited_ns)
{
    if (get(&limit->queued) == 0 || !has_permit(limit)) return NULL;
    struct skink__waiting *first = limit->queue.next;
    *ret_waited_ns = now_ns > first->since_ns ? now_ns - first->since_ns : 0;
    take_off(first);
    add(&limit->in_use, 1);
    add(&limit->buckets[skink__http_bucket_of(*ret_waited_ns)], 1);
    add(&limit->sum_ns, *ret_waited_ns);
    note_fullness(limit, now_ns);
    return first;
}

void skink__limit_forget(struct skink__waiting *waiting)
{
    struct skink__limit *limit = waiting->limit;
    if (!limit) return;
    take_off(waiting);
    add(&limit->left, 1);
    if (get(&limit->full_since_ns)) note_fullness(limit, 0);
}
