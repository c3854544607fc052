/* SPDX-License-Identifier: MIT */
/*
 * recovery/dump_threads.c - every thread of the process, merged by equal stack, and the locks that they wait for.
 *
 * No thread is signalled: a healthy one could see EINTR. The kernel tells where a blocked thread is, and its stack can
 * be walked from there (blocked.h). Of a thread that runs nothing is told but that it runs; a stray was asked when it
 * was declared stuck, and its incident knows.
 */
#include "loop/memory.h"
#include "recovery/dump.h"
#include "recovery/lock_owner.h"
#include "recovery/roster.h"
#include "recovery/stacks.h"
#include "recovery/syscall_names.h"
#include "skink/incident.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ANSWERS = 3, ROLES = SKINK__ROLE_HELPER + 1, THREADS_MAX = 8192 };

struct thread {
    struct skink__thread_view view;
    struct skink__roster_entry entry;
    struct skink__group *group; /* NULL without memory */
    bool by_incident;           /* its stack is from its incident's report */
};

struct dump {
    skink_dump_options options;
    struct skink__symbols *symbols;
    struct thread *threads;
    size_t count;
    size_t room;
    struct skink__stacks stacks;
    struct skink__lock_chain chain;
};

/* ---- looking ---- */

/* A key for each role and answer: by its address only (stacks.h). */
static const char *group_state(const struct thread *thread)
{
    static const char keys[ROLES][ANSWERS];
    return &keys[thread->entry.role][thread->view.answer];
}

static const char *answer_name(const struct thread *thread)
{
    static const char *const names[ANSWERS] = {
        [SKINK__BLOCKED_NO] = "running", [SKINK__BLOCKED_YES] = "blocked", [SKINK__BLOCKED_UNKNOWN] = "unknown"
    };
    return names[thread->view.answer];
}

/* "futex", or a number where the name is not known; NULL when it is in none. */
static const char *call_name(const struct skink__thread_view *view, char *ret_text, size_t text_bytes)
{
    if (view->answer != SKINK__BLOCKED_YES || view->blocked.number < 0) return NULL;
    const struct skink__call *call = skink__call_find(view->blocked.number);
    if (call) return call->name;
    snprintf(ret_text, text_bytes, "%ld", view->blocked.number);
    return ret_text;
}

/* Where the incident's report found it. */
static void use_incident(struct dump *dump, struct thread *thread)
{
    skink_incident *incident;
    if (skink_incident_find(dump->options.recovery, thread->entry.incident_id, &incident)) return;
    struct skink__thread_view *view = &thread->view;
    for (size_t i = 0; i < incident->frame_count && view->pc_count < SKINK__STACK_MAX; i++)
        if (!incident->stack[i].inlined) view->pcs[view->pc_count++] = (uintptr_t)incident->stack[i].address;
    thread->by_incident = view->pc_count > 0;
    view->whole = !incident->stack_cut;
    skink_incident_free(incident);
}

static void add_thread(struct dump *dump, const struct skink__roster *roster, pid_t tid)
{
    struct thread *thread = &dump->threads[dump->count];
    thread->by_incident = false;
    skink__thread_view_read(dump->symbols, tid, &thread->view);
    if (!thread->view.name[0]) return; /* it has ended meanwhile */
    thread->entry = skink__roster_find(roster, dump->symbols, tid, &thread->view);
    if (thread->entry.role == SKINK__ROLE_STRAY && thread->view.pc_count == 0 && dump->options.recovery)
        use_incident(dump, thread);
    thread->group = skink__stacks_add(&dump->stacks, group_state(thread), thread->view.pcs, thread->view.pc_count,
                                      !thread->view.whole, NULL, 1);
    dump->count++;
}

static int make_room(struct dump *dump)
{
    if (dump->count < dump->room) return 0;
    size_t room = dump->room ? 2 * dump->room : 32;
    struct thread *threads = skink__realloc(dump->threads, room * sizeof *threads);
    if (!threads) return -ENOMEM;
    dump->threads = threads;
    dump->room = room;
    return 0;
}

static int look_at_all(struct dump *dump)
{
    struct skink__roster roster;
    int err = skink__roster_init(&roster, dump->options.recovery, dump->options.scheduler);
    if (err) return err;
    DIR *directory = opendir("/proc/self/task");
    if (!directory) {
        err = -errno;
        skink__roster_fini(&roster);
        return err;
    }
    for (struct dirent *entry; !err && dump->count < THREADS_MAX && (entry = readdir(directory));) {
        pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (tid <= 0 || tid == gettid()) continue; /* who makes the dump is nobody's concern */
        err = make_room(dump);
        if (!err) add_thread(dump, &roster, tid);
    }
    closedir(directory);
    skink__roster_fini(&roster);
    return err;
}

static const struct thread *find_thread(const struct dump *dump, pid_t tid)
{
    for (size_t i = 0; i < dump->count; i++)
        if (dump->threads[i].view.tid == tid) return &dump->threads[i];
    return NULL;
}

/* ---- locks ---- */

static bool waits_for_lock(const struct thread *thread)
{
    switch (thread->view.wait.kind) {
    case SKINK__WAIT_MUTEX:
    case SKINK__WAIT_RWLOCK:
    case SKINK__WAIT_THREAD:
        return true;
    default:
        return false;
    }
}

static bool same_lock(const struct thread *a, const struct thread *b)
{
    return waits_for_lock(b) && a->view.wait.kind == b->view.wait.kind && a->view.wait.address == b->view.wait.address;
}

/* Is it the first of those who wait for this lock? */
static bool is_first_waiter(const struct dump *dump, size_t i)
{
    if (!waits_for_lock(&dump->threads[i])) return false;
    for (size_t k = 0; k < i; k++)
        if (same_lock(&dump->threads[i], &dump->threads[k])) return false;
    return true;
}

/* Of those who wait for one lock some may have been looked at when its owner was not to be read. */
static pid_t owner_of(const struct dump *dump, size_t first)
{
    for (size_t k = first; k < dump->count; k++)
        if (same_lock(&dump->threads[first], &dump->threads[k]) && dump->threads[k].view.wait.owner)
            return dump->threads[k].view.wait.owner;
    return 0;
}

/* Is the thread in a circle, as it was seen, and the one with the lowest id in it? So each is found once. Then it is
 * read again, with all the care that lock_owner.h takes, into dump->chain. */
static bool read_deadlock(struct dump *dump, const struct thread *thread)
{
    const struct thread *at = thread;
    for (size_t steps = 0; steps <= SKINK__LOCK_CHAIN_MAX; steps++) {
        at = at->view.wait.owner ? find_thread(dump, at->view.wait.owner) : NULL;
        if (!at || at->view.tid < thread->view.tid) return false;
        if (at != thread) continue;
        skink__lock_chain_read(dump->symbols, thread->view.tid, &dump->chain);
        return dump->chain.cycle && dump->chain.cycle_begin == 0;
    }
    return false;
}

/* ---- text ---- */

static void add_who(struct skink__text *text, const struct dump *dump, pid_t tid)
{
    const struct thread *thread = find_thread(dump, tid);
    char what[96];
    skink__text_add(text, "%d", (int)tid);
    if (!thread) return;
    skink__text_add(text, " \"");
    skink__text_add_line(text, thread->view.name);
    skink__text_add(text, "\" (%s)", skink__roster_text(&thread->entry, what, sizeof what));
}

static void write_thread_text(struct skink__text *text, const struct dump *dump, const struct thread *thread)
{
    const struct skink__thread_view *view = &thread->view;
    skink__text_add(text, "  ");
    add_who(text, dump, view->tid);
    skink__text_add(text, ", state %c", view->state);
    char number[24];
    const char *call = call_name(view, number, sizeof number);
    if (call) skink__text_add(text, ", in system call %s", call);
    if (view->wchan[0]) skink__text_add(text, " (%s)", view->wchan);
    if (view->wait.kind != SKINK__WAIT_NONE)
        skink__text_add(text, ", waits for %s 0x%" PRIxPTR, skink__wait_kind_name(view->wait.kind), view->wait.address);
    if (view->wait.owner) {
        skink__text_add(text, " of ");
        add_who(text, dump, view->wait.owner);
    }
    skink__text_add(text, "%s\n", thread->by_incident ? "; stack as of its incident" : "");
}

static void write_group_text(struct skink__text *text, const struct dump *dump, const struct skink__group *group)
{
    bool first = true;
    for (size_t i = 0; i < dump->count; i++) {
        const struct thread *thread = &dump->threads[i];
        if (thread->group != group) continue;
        if (first)
            skink__text_add(text, "\n%" PRIu64 " %s, %s\n", group->count, skink__thread_role_name(thread->entry.role),
                            answer_name(thread));
        first = false;
        write_thread_text(text, dump, thread);
    }
    skink__stack_write_text(text, dump->symbols, group->pcs, group->pc_count, group->cut);
}

static void write_locks_text(struct skink__text *text, const struct dump *dump)
{
    skink__text_add(text, "\nlocks that are waited for:\n");
    size_t locks = 0;
    for (size_t i = 0; i < dump->count; i++) {
        if (!is_first_waiter(dump, i)) continue;
        const struct skink__lock_wait *wait = &dump->threads[i].view.wait;
        pid_t owner = owner_of(dump, i);
        locks++;
        skink__text_add(text, "  %s 0x%" PRIxPTR ", owner ", skink__wait_kind_name(wait->kind), wait->address);
        if (owner)
            add_who(text, dump, owner);
        else
            skink__text_add(text, "not known");
        skink__text_add(text, ", waiting:");
        for (size_t k = i; k < dump->count; k++)
            if (same_lock(&dump->threads[i], &dump->threads[k]))
                skink__text_add(text, " %d", (int)dump->threads[k].view.tid);
        skink__text_add(text, "\n");
    }
    if (!locks) skink__text_add(text, "  none\n");
}

static void write_deadlock_text(struct skink__text *text, const struct dump *dump)
{
    const struct skink__lock_chain *chain = &dump->chain;
    skink__text_add(text, "\nDEADLOCK: ");
    for (size_t i = 0; i < chain->count; i++) {
        const struct skink__lock_wait *wait = &chain->threads[i].wait;
        add_who(text, dump, chain->threads[i].tid);
        skink__text_add(text, " waits for %s 0x%" PRIxPTR " of ", skink__wait_kind_name(wait->kind), wait->address);
    }
    add_who(text, dump, chain->threads[0].tid);
    skink__text_add(text, "\n");
}

static void write_text(struct dump *dump, struct skink__group **groups, struct skink__text *text)
{
    skink__text_add(text,
                    "%zu threads, %zu different stacks\n"
                    "note: no thread is interrupted for this; of one that runs the stack is not known\n",
                    dump->count, dump->stacks.group_count);
    for (size_t i = 0; i < dump->count; i++)
        if (read_deadlock(dump, &dump->threads[i])) write_deadlock_text(text, dump);
    for (size_t i = 0; i < dump->stacks.group_count; i++)
        write_group_text(text, dump, groups[i]);
    write_locks_text(text, dump);
}

/* ---- JSON ---- */

static void write_thread_json(struct skink__text *text, const struct thread *thread)
{
    const struct skink__thread_view *view = &thread->view;
    char what[96];
    skink__text_add(text, "{\"tid\":%d,\"name\":", (int)view->tid);
    skink__text_add_json(text, view->name);
    skink__text_add(text, ",\"what\":");
    skink__text_add_json(text, skink__roster_text(&thread->entry, what, sizeof what));
    skink__text_add(text, ",\"incident\":");
    skink__text_add_json(text, thread->entry.role == SKINK__ROLE_STRAY ? thread->entry.incident_id : NULL);
    skink__text_add(text, ",\"state\":\"%c\",\"syscall\":", view->state);
    char call[24];
    skink__text_add_json(text, call_name(view, call, sizeof call));
    skink__text_add(text, ",\"wchan\":");
    skink__text_add_json(text, view->wchan[0] ? view->wchan : NULL);
    skink__text_add(text, ",\"waits_on\":");
    if (view->wait.kind == SKINK__WAIT_NONE) {
        skink__text_add(text, "null");
    } else {
        skink__text_add(text, "{\"kind\":\"%s\",\"address\":\"0x%" PRIxPTR "\",\"owner\":",
                        skink__wait_kind_name(view->wait.kind), view->wait.address);
        skink__text_add(text, view->wait.owner ? "%d}" : "null}", (int)view->wait.owner);
    }
    skink__text_add(text, ",\"stack_of_incident\":%s}", thread->by_incident ? "true" : "false");
}

static void write_group_json(struct skink__text *text, const struct dump *dump, const struct skink__group *group)
{
    const struct thread *first = NULL;
    for (size_t i = 0; i < dump->count && !first; i++)
        if (dump->threads[i].group == group) first = &dump->threads[i];
    if (!first) return;
    skink__text_add(text, "{\"count\":%" PRIu64 ",\"role\":\"%s\",\"state\":\"%s\",\"cut\":%s,\"threads\":[",
                    group->count, skink__thread_role_name(first->entry.role), answer_name(first),
                    group->cut ? "true" : "false");
    for (const struct thread *thread = first; thread < dump->threads + dump->count; thread++) {
        if (thread->group != group) continue;
        if (thread != first) skink__text_add(text, ",");
        write_thread_json(text, thread);
    }
    skink__text_add(text, "],\"frames\":");
    skink__stack_write_json(text, dump->symbols, group->pcs, group->pc_count);
    skink__text_add(text, "}");
}

static void write_locks_json(struct skink__text *text, const struct dump *dump)
{
    const char *comma = "";
    for (size_t i = 0; i < dump->count; i++) {
        if (!is_first_waiter(dump, i)) continue;
        const struct skink__lock_wait *wait = &dump->threads[i].view.wait;
        pid_t owner = owner_of(dump, i);
        skink__text_add(text, "%s{\"kind\":\"%s\",\"address\":\"0x%" PRIxPTR "\",\"owner\":", comma,
                        skink__wait_kind_name(wait->kind), wait->address);
        skink__text_add(text, owner ? "%d" : "null", (int)owner);
        skink__text_add(text, ",\"waiting\":[");
        for (size_t k = i; k < dump->count; k++)
            if (same_lock(&dump->threads[i], &dump->threads[k]))
                skink__text_add(text, "%s%d", k > i ? "," : "", (int)dump->threads[k].view.tid);
        skink__text_add(text, "]}");
        comma = ",";
    }
}

static void write_deadlocks_json(struct skink__text *text, struct dump *dump)
{
    const char *comma = "";
    for (size_t i = 0; i < dump->count; i++) {
        if (!read_deadlock(dump, &dump->threads[i])) continue;
        skink__text_add(text, "%s[", comma);
        for (size_t k = 0; k < dump->chain.count; k++) {
            const struct skink__thread_view *view = &dump->chain.threads[k];
            skink__text_add(text, "%s{\"tid\":%d,\"kind\":\"%s\",\"address\":\"0x%" PRIxPTR "\",\"owner\":%d}",
                            k ? "," : "", (int)view->tid, skink__wait_kind_name(view->wait.kind), view->wait.address,
                            (int)view->wait.owner);
        }
        skink__text_add(text, "]");
        comma = ",";
    }
}

static void write_json(struct dump *dump, struct skink__group **groups, struct skink__text *text)
{
    skink__text_add(text, "{\"threads\":%zu,\"stacks\":[", dump->count);
    for (size_t i = 0; i < dump->stacks.group_count; i++) {
        if (i) skink__text_add(text, ",");
        write_group_json(text, dump, groups[i]);
    }
    skink__text_add(text, "],\"locks\":[");
    write_locks_json(text, dump);
    skink__text_add(text, "],\"deadlocks\":[");
    write_deadlocks_json(text, dump);
    skink__text_add(text, "]}\n");
}

/* ---- the whole ---- */

static int write_all(struct dump *dump, struct skink__text *text)
{
    if (dump->stacks.lost) return -ENOMEM;
    struct skink__group **groups = skink__stacks_sorted(&dump->stacks);
    if (!groups) return -ENOMEM;
    if (dump->options.format == SKINK_DUMP_JSON)
        write_json(dump, groups, text);
    else
        write_text(dump, groups, text);
    skink__free(groups);
    return 0;
}

int skink_dump_threads(const skink_dump_options *options, char **ret_text, size_t *ret_length)
{
    if (!options || !ret_text) return -EINVAL;
    struct dump *dump = skink__zalloc(sizeof *dump);
    if (!dump) return -ENOMEM;
    struct skink__text text = { 0 };
    int err = skink__dump_options_read(options, &dump->options);
    if (err) goto free;
    err = skink__dump_begin(&dump->symbols);
    if (err) goto free;
    err = look_at_all(dump);
    if (!err) err = write_all(dump, &text);
    skink__stacks_fini(&dump->stacks);
    skink__free(dump->threads);
    err = skink__dump_end(dump->symbols, &text, err, ret_text, ret_length);
free:
    skink__free(dump);
    return err;
}
