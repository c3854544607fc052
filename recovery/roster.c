/* SPDX-License-Identifier: MIT */
/* recovery/roster.c - see roster.h. */
#include "recovery/roster.h"
#include "loop/memory.h"
#include "loop/thread_roles.h"
#include "recovery/state.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *skink__thread_role_name(enum skink__thread_role role)
{
    static const char *const names[] = {
        [SKINK__ROLE_OTHER] = "other",       [SKINK__ROLE_LOOP] = "loop",     [SKINK__ROLE_STRAY] = "stray",
        [SKINK__ROLE_STANDBY] = "standby",   [SKINK__ROLE_WORKER] = "pool",   [SKINK__ROLE_WATCHDOG] = "watchdog",
        [SKINK__ROLE_BLOCKING] = "blocking", [SKINK__ROLE_HELPER] = "helper",
    };
    return names[role];
}

/* Nothing is written past the room there is; the count goes on. */
struct filler {
    struct skink__roster_entry *entries;
    size_t room;
    size_t count;
};

static void add(struct filler *filler, struct skink__roster_entry entry)
{
    if (entry.tid == 0) return; /* it does not run yet */
    if (filler->count < filler->room) filler->entries[filler->count] = entry;
    filler->count++;
}

static void set_name(struct skink__roster_entry *entry, skink_scheduler *scheduler)
{
    snprintf(entry->scheduler, sizeof entry->scheduler, "%s", skink__scheduler_name(scheduler));
}

static void add_loop_thread(struct filler *filler, skink_scheduler *scheduler)
{
    struct skink__thread *thread = skink__scheduler_thread(scheduler);
    if (!thread) return;
    struct skink__roster_entry entry = { .tid = skink__thread_tid(thread),
                                         .role = SKINK__ROLE_LOOP,
                                         .generation = skink__thread_generation(thread),
                                         .of = scheduler };
    set_name(&entry, scheduler);
    add(filler, entry);
    skink__thread_unref(thread);
}

static void add_stray(struct filler *filler, const struct skink__subject *subject, skink_scheduler *scheduler)
{
    struct skink__roster_entry entry = { .tid = skink__thread_tid(subject->thread),
                                         .role = SKINK__ROLE_STRAY,
                                         .generation = skink__thread_generation(subject->thread),
                                         .of = skink__thread_scheduler(subject->thread) };
    memcpy(entry.incident_id, subject->incident_id, sizeof entry.incident_id);
    if (scheduler) set_name(&entry, scheduler);
    add(filler, entry);
}

static void add_all(struct filler *filler, const skink_recovery *recovery) SKINK__WITH_MUTEX
{
    for (const struct skink__watch *watch = recovery->watches; watch; watch = watch->next) {
        add_loop_thread(filler, watch->scheduler);
        if (watch->held) add_stray(filler, watch->held, watch->scheduler);
    }
    for (const struct skink__subject *stray = recovery->strays; stray; stray = stray->next)
        add_stray(filler, stray, NULL);
    for (const struct skink__subject *blocking = recovery->blocking; blocking; blocking = blocking->next)
        add(filler, (struct skink__roster_entry){ .tid = skink__thread_tid(blocking->thread),
                                                  .role = SKINK__ROLE_BLOCKING,
                                                  .of = skink__thread_scheduler(blocking->thread),
                                                  .generation = skink__thread_generation(blocking->thread) });
    for (const struct skink__standby *standby = recovery->standbys; standby; standby = standby->next)
        add(filler,
            (struct skink__roster_entry){ .tid = skink__thread_tid(standby->thread), .role = SKINK__ROLE_STANDBY });
}

static size_t fill(struct filler *filler, skink_recovery *recovery, skink_scheduler *scheduler)
{
    filler->count = 0;
    if (recovery) {
        skink__recovery_lock(recovery);
        add_all(filler, recovery);
        skink__recovery_unlock(recovery);
    }
    if (scheduler) add_loop_thread(filler, scheduler); /* listed twice does no harm */
    return filler->count;
}

int skink__roster_init(struct skink__roster *roster, skink_recovery *recovery, skink_scheduler *scheduler)
{
    enum { SPARE = 8 }; /* for those that begin between counting and copying */
    struct filler filler = { 0 };
    *roster = (struct skink__roster){ 0 };
    filler.room = fill(&filler, recovery, scheduler) + SPARE;
    filler.entries = skink__alloc(filler.room * sizeof *filler.entries);
    if (!filler.entries) return -ENOMEM;
    size_t count = fill(&filler, recovery, scheduler);
    roster->entries = filler.entries;
    roster->count = count < filler.room ? count : filler.room;
    return 0;
}

void skink__roster_fini(struct skink__roster *roster)
{
    skink__free(roster->entries);
    *roster = (struct skink__roster){ 0 };
}

static enum skink__thread_role role_of_word(const char *word)
{
    if (strcmp(word, SKINK__ROLE_POOL) == 0) return SKINK__ROLE_WORKER;
    if (strcmp(word, "watchdog") == 0) return SKINK__ROLE_WATCHDOG;
    if (strcmp(word, "standby") == 0) return SKINK__ROLE_STANDBY;
    if (strcmp(word, "loop") == 0) return SKINK__ROLE_LOOP;
    return SKINK__ROLE_HELPER;
}

/* The first function of a thread of libuv's pool is one of libuv's own, called by the C library; other threads begin in
 * a function of who made them. So a worker is known that has not done any work of ours. */
static bool begins_in_libuv(struct skink__symbols *symbols, const struct skink__thread_view *view)
{
    if (!view || !view->whole || view->pc_count < 3) return false;
    size_t i = view->pc_count;
    const char *module = NULL;
    while (i > 0 && (module = skink__symbols_module(symbols, view->pcs[i - 1])) && strncmp(module, "libc.so", 7) == 0)
        i--;
    return i > 0 && module && strncmp(module, "libuv.so", 8) == 0;
}

struct skink__roster_entry skink__roster_find(const struct skink__roster *roster, struct skink__symbols *symbols,
                                              pid_t tid, const struct skink__thread_view *view)
{
    for (size_t i = 0; i < roster->count; i++)
        if (roster->entries[i].tid == tid) return roster->entries[i];
    struct skink__roster_entry entry = { .tid = tid };
    const char *word = skink__thread_role(tid);
    if (word)
        entry.role = role_of_word(word);
    else if (begins_in_libuv(symbols, view))
        entry.role = SKINK__ROLE_WORKER;
    return entry;
}

const char *skink__roster_text(const struct skink__roster_entry *entry, char *ret_text, size_t text_bytes)
{
    switch (entry->role) {
    case SKINK__ROLE_LOOP:
        if (entry->generation)
            snprintf(ret_text, text_bytes, "loop thread of %s, generation %llu", entry->scheduler,
                     (unsigned long long)entry->generation);
        else
            snprintf(ret_text, text_bytes, "loop thread of another scheduler");
        break;
    case SKINK__ROLE_STRAY:
        snprintf(ret_text, text_bytes, "stray of incident %s", entry->incident_id);
        break;
    case SKINK__ROLE_BLOCKING:
        snprintf(ret_text, text_bytes, "known to block");
        break;
    case SKINK__ROLE_STANDBY:
        snprintf(ret_text, text_bytes, "standby thread");
        break;
    case SKINK__ROLE_WORKER:
        snprintf(ret_text, text_bytes, "pool worker");
        break;
    case SKINK__ROLE_WATCHDOG:
        snprintf(ret_text, text_bytes, "watchdog");
        break;
    case SKINK__ROLE_HELPER:
        snprintf(ret_text, text_bytes, "helper thread of skink");
        break;
    case SKINK__ROLE_OTHER:
        snprintf(ret_text, text_bytes, "other thread");
        break;
    }
    return ret_text;
}
