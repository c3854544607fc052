/* SPDX-License-Identifier: MIT */
/*
 * recovery/investigate.c - what was that thread doing? On the helper thread, a moment after the declaration.
 *
 *     look      what the kernel and the thread's memory tell from outside: state, system call, lock, owners, and the
 *               stack of a thread that sleeps
 *     ask       if that was not all of the stack: the signal (capture.h), with a bounded wait
 *     conclude  the cause (cause.h), and what it waits for
 *     name      functions, files and lines
 *
 * The thread may come back at any moment, and then its id may be another's. So each of these begins or ends by asking,
 * under the recovery's mutex, whether it is still stuck: a stray takes that mutex on its way out. Without it, what the
 * watchdog saw right after the declaration has to do.
 */
#include "loop/memory.h"
#include "recovery/capture.h"
#include "recovery/cause.h"
#include "recovery/descriptor_target.h"
#include "recovery/lock_owner.h"
#include "recovery/own_memory.h"
#include "recovery/refused.h"
#include "recovery/roster.h"
#include "recovery/state.h"
#include "recovery/symbols.h"
#include "recovery/syscall_names.h"
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How long a thread gets to answer the signal. One that runs answers within a fraction of a millisecond; on a busy
 * machine it has to be given a processor first, and one that spins is in the idle class by now. */
#define ANSWER_NS (200 * SKINK_MS)
#define ANSWER_BUSY_NS SKINK_S

enum { INLINE_MAX = 16, FRAMES_MAX = 256, OWNER_FRAMES_MAX = 64, OWNERS_MAX = SKINK__LOCK_CHAIN_MAX - 1 };

struct skink__investigation {
    skink_recovery *recovery;
    struct skink__symbols *symbols;
    bool is_warm; /* symbols have been looked up before */

    /* Of the incident at hand. */
    struct skink__incident *incident;
    struct skink__lock_chain chain; /* empty: the thread came back meanwhile */
    struct skink__captured captured;
    bool is_called; /* it is, or was when it was declared, blocked in this call: */
    struct skink__blocked called;
    struct skink__lock_wait wait; /* for which it was blocked in it */

    skink_frame frames[FRAMES_MAX];
    skink_frame owner_frames[OWNERS_MAX][OWNER_FRAMES_MAX];
    skink_incident_owner owners[OWNERS_MAX];
    char owner_texts[OWNERS_MAX][96];
};

struct skink__investigation *skink__investigation_create(skink_recovery *recovery)
{
    struct skink__investigation *investigation = skink__alloc(sizeof *investigation);
    if (!investigation) return NULL;
    investigation->recovery = recovery;
    investigation->is_warm = false;
    if (skink__symbols_create(&investigation->symbols) == 0) return investigation;
    skink__free(investigation);
    return NULL;
}

void skink__investigation_destroy(struct skink__investigation *investigation)
{
    if (!investigation) return;
    skink__symbols_destroy(investigation->symbols);
    skink__free(investigation);
}

size_t skink__investigate_owners(skink_recovery *recovery, pid_t tid, pid_t *owners, size_t max)
{
    struct skink__reports *reports = &recovery->reports;
    if (!reports->investigation) reports->investigation = skink__investigation_create(recovery);
    if (!reports->investigation) return 0;
    struct skink__lock_chain *chain = &reports->investigation->chain;
    skink__lock_chain_read(reports->investigation->symbols, tid, chain);
    size_t count = 0;
    for (size_t i = 0; i < chain->count && count < max; i++)
        if (chain->threads[i].wait.owner) owners[count++] = chain->threads[i].wait.owner;
    return count;
}

/* ---- is it still there? ---- */

/* It was only reported, and the loop waits for it: is it still in the slice that was? */
static bool is_in_reported_slice(const struct skink__subject *subject, uint64_t number) SKINK__WITH_MUTEX
{
    if (!subject || subject->reported_slice == 0 || subject->incident_number != number) return false;
    uint64_t word = atomic_load_explicit(&skink__thread_lease(subject->thread)->word, memory_order_acquire);
    return word == skink__lease_word(SKINK__RUNNING, subject->reported_slice);
}

/* The thread, if it is still stuck. */
static const struct skink__subject *find_stuck(const skink_recovery *recovery, uint64_t number) SKINK__WITH_MUTEX
{
    for (const struct skink__subject *stray = recovery->strays; stray; stray = stray->next)
        if (stray->incident_number == number) return stray;
    for (const struct skink__watch *watch = recovery->watches; watch; watch = watch->next) {
        if (watch->held && watch->held->incident_number == number) return watch->held;
        if (is_in_reported_slice(watch->subject, number)) return watch->subject;
    }
    return NULL;
}

static bool is_stuck(const struct skink__investigation *investigation)
{
    skink__recovery_lock(investigation->recovery);
    bool there = find_stuck(investigation->recovery, investigation->incident->facts.number) != NULL;
    skink__recovery_unlock(investigation->recovery);
    return there;
}

/* ---- look ---- */

static void look(struct skink__investigation *investigation)
{
    struct skink__incident *incident = investigation->incident;
    struct skink__lock_chain *chain = &investigation->chain;
    if (is_stuck(investigation)) skink__lock_chain_read(investigation->symbols, incident->facts.tid, chain);
    if (!is_stuck(investigation)) chain->count = 0;
    if (chain->count == 0) return;
    const struct skink__thread_view *view = &chain->threads[0];
    incident->facts.state = view->state;
    memcpy(incident->wchan, view->wchan, sizeof view->wchan);
}

/* The stack of a thread that sleeps. False: it does not, or its stack cannot be followed to its end. */
static bool walk(struct skink__investigation *investigation)
{
    const struct skink__thread_view *view = &investigation->chain.threads[0];
    struct skink__captured *captured = &investigation->captured;
    bool whole = false;
    if (investigation->chain.count == 0 || view->answer != SKINK__BLOCKED_YES) return false;
    captured->count = skink__blocked_stack(investigation->symbols, view->tid, &view->blocked, captured->pcs,
                                           SKINK__CAPTURE_DEPTH, &whole);
    captured->cut = captured->count == SKINK__CAPTURE_DEPTH && !whole;
    return captured->count > 0 && (whole || captured->cut);
}

/* ---- ask ---- */

/* Does the thread block the signal? Then it would lie there until it does not, and end some later call. */
static bool blocks_signal(pid_t tid, int signal_number)
{
    char path[64], text[2048];
    snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0) close(fd);
    text[length > 0 ? length : 0] = '\0';
    const char *line = strstr(text, "\nSigBlk:");
    uint64_t blocked;
    return line && sscanf(line + strlen("\nSigBlk:"), " %" SCNx64, &blocked) == 1 &&
           (blocked >> (signal_number - 1) & 1);
}

static bool is_at_rest(char state)
{
    return state == 'T' || state == 't' || state == 'D';
}

/* Under the mutex the thread cannot have ended: a stray takes the mutex on its way out, and one that was only reported
 * is kept from leaving its slice for as long as it takes. 1: it is not stuck any more; else as skink__capture_ask(). */
static int send_signal(skink_recovery *recovery, uint64_t number, struct skink__capture_ticket *ret_ticket)
{
    int err = 1;
    skink__recovery_lock(recovery);
    const struct skink__subject *stuck = find_stuck(recovery, number);
    if (stuck && stuck->role == SKINK__SUBJECT_WATCHED) {
        struct skink__lease *lease = skink__thread_lease(stuck->thread);
        if (skink__lease_peek(lease, stuck->reported_slice)) {
            err = skink__capture_ask(skink__thread_tid(stuck->thread), ret_ticket);
            skink__lease_unpeek(lease, stuck->reported_slice);
        }
    } else if (stuck) {
        err = skink__capture_ask(skink__thread_tid(stuck->thread), ret_ticket);
    }
    skink__recovery_unlock(recovery);
    return err;
}

static skink_capture ask(struct skink__investigation *investigation)
{
    skink_recovery *recovery = investigation->recovery;
    const struct skink__incident *incident = investigation->incident;
    int signal_number = skink__capture_signal();
    if (!signal_number || !recovery->may_signal) return SKINK_CAPTURE_REFUSED;
    if (is_at_rest(incident->facts.state)) return SKINK_CAPTURE_STOPPED;
    if (blocks_signal(incident->facts.tid, signal_number)) return SKINK_CAPTURE_BLOCKED;
    struct skink__capture_ticket ticket;
    int err = send_signal(recovery, incident->facts.number, &ticket);
    if (err) return err > 0 ? SKINK_CAPTURE_RETURNED : SKINK_CAPTURE_REFUSED;
    struct skink__captured answer;
    uint64_t patience_ns = incident->declared_state == 'R' ? ANSWER_BUSY_NS : ANSWER_NS;
    if (!skink__capture_wait(&ticket, skink_after(patience_ns), &answer)) return SKINK_CAPTURE_TIMEOUT;
    investigation->captured = answer;
    return SKINK_CAPTURE_OK;
}

/* ---- conclude ---- */

/* The call that it is blocked in; else the one it was blocked in when it was declared; else what the handler saw.
 * False: none is known. */
static bool find_call(const struct skink__investigation *investigation, struct skink__blocked *ret_called)
{
    const struct skink__incident *incident = investigation->incident;
    const struct skink__thread_view *view = &investigation->chain.threads[0];
    const struct skink__captured *captured = &investigation->captured;
    if (investigation->chain.count > 0 && view->answer == SKINK__BLOCKED_YES) {
        *ret_called = view->blocked;
        return true;
    }
    if (skink__parse_blocked(incident->declared_call, ret_called) == SKINK__BLOCKED_YES) return true;
    if (incident->facts.capture != SKINK_CAPTURE_OK || !captured->in_call) return false;
    ret_called->number = (long)captured->call_number;
    memcpy(ret_called->arguments, captured->call_arguments, sizeof ret_called->arguments);
    return true;
}

/* What it waits for. A thread that came back before it could be looked at, but has answered the signal: its stack of
 * that moment tells what it waited for. */
static struct skink__lock_wait find_wait(const struct skink__investigation *investigation)
{
    const struct skink__captured *captured = &investigation->captured;
    const struct skink__blocked *called = &investigation->called;
    if (investigation->chain.count > 0) return investigation->chain.threads[0].wait;
    if (!investigation->is_called || !captured->in_call || captured->call_number != (uint64_t)called->number ||
        captured->call_arguments[0] != called->arguments[0])
        return (struct skink__lock_wait){ .kind = SKINK__WAIT_NONE };
    return skink__lock_wait_was(investigation->symbols, called, captured->pcs, captured->count);
}

static void set_descriptor(struct skink__incident *incident, int fd)
{
    snprintf(incident->kind, sizeof incident->kind, "descriptor");
    incident->facts.waits_on.descriptor = fd;
    skink__descriptor_target(fd, incident->target, sizeof incident->target);
}

static void describe_call(struct skink__incident *incident, const struct skink__blocked *called)
{
    const struct skink__call *call = skink__call_find(called->number);
    struct pollfd first;
    if (!call) {
        snprintf(incident->call, sizeof incident->call, "syscall %ld", called->number);
        return;
    }
    snprintf(incident->call, sizeof incident->call, "%s", call->name);
    if (call->kind == SKINK__CALL_DESCRIPTOR)
        set_descriptor(incident, (int)called->arguments[0]);
    else if (call->kind == SKINK__CALL_POLL && called->arguments[1] > 0 &&
             skink__own_memory_read((uintptr_t)called->arguments[0], &first, sizeof first))
        set_descriptor(incident, first.fd);
}

static void describe_wait(struct skink__investigation *investigation)
{
    struct skink__incident *incident = investigation->incident;
    const struct skink__lock_wait *wait = &investigation->wait;
    skink_waits_on *waits_on = &incident->facts.waits_on;
    if (investigation->is_called) describe_call(incident, &investigation->called);
    if (incident->blocks_on) {
        snprintf(incident->kind, sizeof incident->kind, "future");
        waits_on->address = incident->blocks_on;
    } else if (wait->kind != SKINK__WAIT_NONE) {
        snprintf(incident->kind, sizeof incident->kind, "%s", skink__wait_kind_name(wait->kind));
        waits_on->address = wait->address;
    } else if (incident->call[0] && strcmp(incident->call, "futex") == 0) {
        snprintf(incident->kind, sizeof incident->kind, "futex");
        waits_on->address = investigation->called.arguments[0];
    }
}

static void conclude(struct skink__investigation *investigation)
{
    struct skink__incident *incident = investigation->incident;
    const struct skink__lock_chain *chain = &investigation->chain;
    struct skink__blocked *called = &investigation->called;
    investigation->is_called = find_call(investigation, called) && called->number >= 0;
    investigation->wait = find_wait(investigation);
    enum skink__wait_kind wait = investigation->wait.kind;
    describe_wait(investigation);
    struct skink__symptoms symptoms = { .at_ceiling = incident->facts.cause == SKINK_CAUSE_STARVED,
                                        .declared_state = incident->declared_state,
                                        .state = chain->count > 0 ? incident->facts.state : SKINK__STATE_UNKNOWN,
                                        .blocks_loop = incident->blocks_on && !incident->blocks_for_pool,
                                        .in_call = investigation->is_called,
                                        .in_lock = wait == SKINK__WAIT_MUTEX || wait == SKINK__WAIT_RWLOCK,
                                        .cpu_ns = incident->facts.cpu_ns,
                                        .effective_ns = incident->facts.effective_ns };
    incident->facts.cause = skink__cause_of(&symptoms);
}

/* ---- name ---- */

static size_t name_frames(struct skink__symbols *symbols, const uintptr_t *pcs, size_t pc_count, skink_frame *frames,
                          size_t frames_max)
{
    size_t count = 0;
    for (size_t i = 0; i < pc_count && count < frames_max; i++) {
        struct skink__frame found[INLINE_MAX];
        const char *object = skink__symbols_module(symbols, pcs[i]);
        size_t found_count = skink__symbols_find(symbols, pcs[i], found, INLINE_MAX);
        for (size_t k = 0; k < found_count && count < frames_max; k++)
            frames[count++] = (skink_frame){ .function = found[k].function,
                                             .file = found[k].file,
                                             .line = found[k].line > 0 ? (unsigned)found[k].line : 0,
                                             .inlined = found[k].inlined,
                                             .address = pcs[i],
                                             .object = object };
    }
    return count;
}

static void name_owners(struct skink__investigation *investigation, skink_waits_on *waits_on)
{
    const struct skink__lock_chain *chain = &investigation->chain;
    struct skink__roster roster;
    waits_on->chain = investigation->owners;
    waits_on->chain_length = 0;
    waits_on->cycle = chain->count > 0 && chain->cycle;
    if (chain->count < 2) return;
    if (skink__roster_init(&roster, investigation->recovery, NULL)) roster = (struct skink__roster){ 0 };
    for (size_t i = 0; i + 1 < chain->count; i++) {
        const struct skink__thread_view *view = &chain->threads[i + 1];
        struct skink__roster_entry entry = skink__roster_find(&roster, investigation->symbols, view->tid, view);
        char *text = investigation->owner_texts[i];
        investigation->owners[i] =
            (skink_incident_owner){ .tid = view->tid,
                                    .thread = view->name,
                                    .what = skink__roster_text(&entry, text, sizeof investigation->owner_texts[i]),
                                    .kind = view->wait.kind != SKINK__WAIT_NONE ? skink__wait_kind_name(view->wait.kind)
                                                                                : NULL,
                                    .address = view->wait.address,
                                    .stack = investigation->owner_frames[i],
                                    .frame_count = name_frames(investigation->symbols, view->pcs, view->pc_count,
                                                               investigation->owner_frames[i], OWNER_FRAMES_MAX) };
        waits_on->chain_length++;
    }
    skink__roster_fini(&roster);
}

static void name_all(struct skink__investigation *investigation)
{
    struct skink__incident *incident = investigation->incident;
    const struct skink__captured *captured = &investigation->captured;
    skink_incident found = { .stack = investigation->frames };
    found.frame_count =
        name_frames(investigation->symbols, captured->pcs, captured->count, investigation->frames, FRAMES_MAX);
    name_owners(investigation, &found.waits_on);
    incident->facts.stack_cut = captured->cut || found.frame_count == FRAMES_MAX;
    incident->facts.waits_on.cycle = found.waits_on.cycle;
    const struct skink__lock_chain *chain = &investigation->chain;
    incident->facts.cycle_tid = found.waits_on.cycle ? chain->threads[chain->cycle_begin].tid : 0;
    found.scheduler = found.task = found.wchan = "";
    incident->findings = skink__incident_copy(&found);
}

/* It has answered, and is on its way back into the call that was interrupted. */
static void let_it_sleep_again(const struct skink__investigation *investigation)
{
    enum { LOOKS = 20 };
    const struct skink__incident *incident = investigation->incident;
    struct skink__blocked call;
    if (skink__parse_blocked(incident->declared_call, &call) != SKINK__BLOCKED_YES) return;
    for (int i = 0; i < LOOKS && !skink__blocked_still(incident->facts.tid, &call); i++)
        clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ .tv_nsec = 500000 }, NULL);
}

/* The first look of a process takes long, as debugging information is read (some 0.3 s): a thread that is stuck for a
 * short time would have come back by then, so it is asked before. */
static skink_capture find_stack(struct skink__investigation *investigation)
{
    skink_capture asked = investigation->is_warm ? SKINK_CAPTURE_NONE : ask(investigation);
    if (asked == SKINK_CAPTURE_OK) let_it_sleep_again(investigation);
    look(investigation);
    investigation->is_warm = true;
    if (asked == SKINK_CAPTURE_OK) return asked;
    if (walk(investigation)) return SKINK_CAPTURE_WALKED;
    return asked != SKINK_CAPTURE_NONE ? asked : ask(investigation);
}

void skink__investigate(struct skink__investigation *investigation, struct skink__incident *incident)
{
    investigation->incident = incident;
    investigation->chain.count = 0;
    investigation->captured.count = 0;
    investigation->captured.cut = false;
    investigation->captured.in_call = false;
    incident->facts.capture = find_stack(investigation);
    conclude(investigation);
    name_all(investigation);
}

void skink__investigate_refused(struct skink__investigation *investigation, struct skink__incident *incident,
                                const struct skink__refused_stacks *stacks)
{
    struct skink__symbols *symbols = investigation->symbols;
    uintptr_t pcs[OWNER_FRAMES_MAX];
    skink_incident found = { .stack = investigation->frames, .scheduler = "", .task = "", .wchan = "" };
    found.frame_count = name_frames(symbols, stacks->pcs, stacks->pc_count, investigation->frames, FRAMES_MAX);
    incident->facts.capture = stacks->pc_count ? SKINK_CAPTURE_OK : SKINK_CAPTURE_NONE;
    if (stacks->awaited[0]) {
        size_t count = skink__refused_unwind(symbols, stacks, pcs, OWNER_FRAMES_MAX);
        snprintf(investigation->owner_texts[0], sizeof investigation->owner_texts[0], "task %s", stacks->awaited);
        investigation->owners[0] = (skink_incident_owner){
            .thread = "",
            .what = investigation->owner_texts[0],
            .stack = investigation->owner_frames[0],
            .frame_count = name_frames(symbols, pcs, count, investigation->owner_frames[0], OWNER_FRAMES_MAX),
        };
        found.waits_on.chain = investigation->owners;
        found.waits_on.chain_length = 1;
        incident->facts.waits_on.cycle = true;
    }
    incident->findings = skink__incident_copy(&found);
}
