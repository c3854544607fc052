/* SPDX-License-Identifier: MIT */
/*
 * middleware/deadline_list.h - many deadlines of a few fixed lengths, on one uv timer.
 *
 * All entries of a list wait equally long, so the oldest is always the first due: adding and removing are a few
 * pointer writes, and only the heads of the lists are ever compared. Runtime section only.
 */
#ifndef SKINK_MIDDLEWARE_DEADLINE_LIST_H
#define SKINK_MIDDLEWARE_DEADLINE_LIST_H
#include "skink/clock.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* So much later; SKINK_FOREVER when that is past the end of time, as it is when a host wants no timeout at all. */
static inline uint64_t skink__later(uint64_t now_ns, uint64_t duration_ns)
{
    return duration_ns < SKINK_FOREVER - now_ns ? now_ns + duration_ns : SKINK_FOREVER;
}

struct skink__deadlines;

struct skink__deadline {
    struct skink__deadline *previous; /* skink__deadline_list.head; both NULL while on no list */
    struct skink__deadline *next;
    uint64_t at_ns;
};

struct skink__deadline_list {
    struct skink__deadline head; /* of a ring, oldest first */
    _Atomic uint64_t timeout_ns; /* any thread may change it, relaxed: it holds for entries that are set from then on */
    struct skink__deadlines *owner;    /* NULL: not initialised yet */
    struct skink__deadline_list *next; /* skink__deadlines.lists */
    /* The entry is off the list already. */
    void (*expired)(struct skink__deadline *entry, void *arg);
};

struct skink__deadlines {
    uv_timer_t timer; /* its data belongs to the owner */
    struct skink__deadline_list *lists;
    uint64_t armed_ns; /* when the timer fires; UINT64_MAX while it is stopped */
    void *arg;         /* for the expired functions */
};

/* Of zeroed memory, before or after its lists are. The timer's memory must live until its close callback, which is the
 * owner's to give. */
int skink__deadlines_init(struct skink__deadlines *deadlines, uv_loop_t *loop, void *arg);

/* For as long as its owner. Each list costs a look whenever the timer fires. */
void skink__deadline_list_init(struct skink__deadline_list *list, struct skink__deadlines *owner, uint64_t timeout_ns,
                               void (*expired)(struct skink__deadline *entry, void *arg));

/* Put the entry at the end of the list, due its timeout from now_ns; it is taken off any list it is on. After the
 * list's timeout was made shorter, that may not be the end: then it takes a step for each entry that is due later. */
void skink__deadline_set(struct skink__deadline_list *list, struct skink__deadline *entry, uint64_t now_ns);

/* Off its list, if it is on one. */
void skink__deadline_clear(struct skink__deadline *entry);

static inline bool skink__deadline_is_set(const struct skink__deadline *entry)
{
    return entry->next != NULL;
}
#endif
