/* SPDX-License-Identifier: MIT */
/*
 * recovery/incidents.h - the newest incidents of a recovery, kept in memory.
 *
 *     watchdog       fills in what is known at the declaration, and adds it
 *     helper thread  finds out the rest (stack, cause, what it waits for), and completes it
 *     stray          notes how it ended, when it comes back
 *     any thread     copies one out
 *
 * The places are allocated at the start, since the watchdog must not allocate. A mutex of its own guards them: it is
 * the last to be locked, and held for no longer than it takes to copy one incident.
 */
#ifndef SKINK_RECOVERY_INCIDENTS_H
#define SKINK_RECOVERY_INCIDENTS_H
#include "loop/capability.h"
#include "skink/incident.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* One incident as it is kept. Texts are copies, as what they name may be gone by the time somebody reads them. */
struct skink__incident {
    skink_incident facts; /* its pointers are not set: skink__incident_view() does that */
    char scheduler[16];
    char task[128];
    char method[16];
    char route[128];
    bool is_request;
    bool is_complete; /* the report is done with it                                                              */
    bool is_quiet;    /* not to be filed                                                                         */
    bool has_news;    /* it was told and filed, and has ended since                                              */
    char wchan[64];
    char call[24];    /* facts.syscall; "": none                                                                 */
    char kind[16];    /* facts.waits_on.kind; "": none                                                           */
    char target[192]; /* facts.waits_on.target; "": none                                                         */
    skink_incident *findings; /* NULL, or a copy whose stack and chain are the helper thread's finding */

    /* What the watchdog saw right after the declaration, for who is to find the cause. */
    char declared_state;     /* as skink__reading.state                                 */
    char declared_call[256]; /* /proc/self/task/TID/syscall, or ""                      */
    uintptr_t blocks_on;     /* as skink__thread_blocks_on() says                       */
    bool blocks_for_pool;
};

/* The mutex of such a store. */
SKINK__CAPABILITY(skink__incidents_mutex);

struct skink__incidents {
    pthread_mutex_t mutex;
    struct skink__incident *
        places SKINK__GUARDED_BY(skink__incidents_mutex); /* SKINK_INCIDENTS_KEPT of them, used in turn */
    uint64_t added SKINK__GUARDED_BY(skink__incidents_mutex);
};

int skink__incidents_init(struct skink__incidents *incidents); /* -ENOMEM */
void skink__incidents_fini(struct skink__incidents *incidents);

/* The watchdog: a new one, which takes the place of the oldest. Copied. */
void skink__incidents_add(struct skink__incidents *incidents, const struct skink__incident *incident);

/* The helper thread: the one with that number as it is now, without findings; false when it is there no longer. */
bool skink__incidents_read(struct skink__incidents *incidents, uint64_t number, struct skink__incident *ret_incident);

/* The helper thread: it knows the rest now. Takes over the findings. How it ended is not taken from `complete`. */
void skink__incidents_complete(struct skink__incidents *incidents, const struct skink__incident *complete);

/* A stray: that one has come back. */
void skink__incidents_note_end(struct skink__incidents *incidents, uint64_t number, uint64_t finished_after_ns);

/* The helper thread: copy out one that has ended since it was told, and never again; NULL without one. */
skink_incident *skink__incidents_next_news(struct skink__incidents *incidents);

/* What it is to others: a struct whose pointers point into it. */
void skink__incident_view(const struct skink__incident *incident, skink_incident *ret_view);

/* A copy in one block, to be freed with skink_incident_free(). NULL without memory. */
skink_incident *skink__incident_copy(const skink_incident *incident);
#endif
