/* SPDX-License-Identifier: MIT */
/*
 * recovery/roster.h - what each thread of the process is to skink.
 *
 * A roster is a copy of a moment: of what a recovery knows (loop threads, strays with their incidents, standbys) and of
 * what threads have said of themselves (loop/thread_roles.h). Helper threads.
 */
#ifndef SKINK_RECOVERY_ROSTER_H
#define SKINK_RECOVERY_ROSTER_H
#include "recovery/lock_owner.h"
#include "skink/recovery.h"
#include "skink/scheduler.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum skink__thread_role {
    SKINK__ROLE_OTHER = 0, /* the host's, or a library's                              */
    SKINK__ROLE_LOOP,      /* the loop thread of a scheduler at that moment           */
    SKINK__ROLE_STRAY,     /* abandoned: by the incident in `incident_id`             */
    SKINK__ROLE_STANDBY,   /* parked for a takeover                                   */
    SKINK__ROLE_WORKER,    /* of libuv's pool                                         */
    SKINK__ROLE_WATCHDOG,
    SKINK__ROLE_BLOCKING, /* a loop thread no more, in a stretch that is known to block */
    SKINK__ROLE_HELPER    /* another thread of skink's own: reports, statistics      */
};

/* "other", "loop", "stray", "standby", "pool", "watchdog", "blocking", "helper". Static text. */
const char *skink__thread_role_name(enum skink__thread_role role);

struct skink__roster_entry {
    pid_t tid; /* 0: of a thread that is not listed */
    enum skink__thread_role role;
    uint64_t generation;                       /* LOOP, STRAY, BLOCKING */
    const skink_scheduler *of;                 /* LOOP, STRAY: to be compared only */
    char scheduler[16];                        /* LOOP, and STRAY of a scheduler that is still watched */
    char incident_id[SKINK_INCIDENT_ID_BYTES]; /* STRAY */
};

struct skink__roster {
    struct skink__roster_entry *entries;
    size_t count;
};

/* Either may be NULL; the scheduler's loop thread is known without a recovery, too. -ENOMEM. To be ended by fini. */
int skink__roster_init(struct skink__roster *roster, skink_recovery *recovery, skink_scheduler *scheduler);
void skink__roster_fini(struct skink__roster *roster);

/* The entry of a thread; for one that is not listed, what its own word or its stack says (view:
 * NULL, or a look at it). */
struct skink__roster_entry skink__roster_find(const struct skink__roster *roster, struct skink__symbols *symbols,
                                              pid_t tid, const struct skink__thread_view *view);

/* "loop thread of loop, generation 3", "stray of incident 65f0-12", "pool worker", "standby
 * thread", ... Returns ret_text. */
const char *skink__roster_text(const struct skink__roster_entry *entry, char *ret_text, size_t text_bytes);
#endif
