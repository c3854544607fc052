/* SPDX-License-Identifier: MIT */
/*
 * recovery/watchdog.c - the thread that looks at the leases.
 *
 *     look       read the lease; a slice that was not there the last time starts its clock
 *     judge      late at half of its timeout: it is marked, and the loop sends it through the ready queue at its next
 *                call; due: it is declared stuck, if a standby thread is there to go on
 *     declare    (declare.c) take the lease away from it; who loses that race has moved on, and nothing has happened
 *     hand over  (declare.c) the standby becomes the scheduler's thread
 *     park       (park.c) when all loops sleep, so does the watchdog, until one of them rings
 *
 * docs/recovery.md goes through it function by function.
 */
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/relax.h"
#include "loop/runtime.h"
#include "recovery/state.h"
#include <stdio.h>
#include <sys/prctl.h>

/* Two looks are at least this far apart: what a slice lacks when it was not quite due can be a few nanoseconds. */
#define SHORTEST_SLEEP_NS (50 * SKINK_US)
/* A loop rings before it runs the task that woke it: a second look this much later sees that slice begin. Only the look
 * after that, a period later, may find that the loop sleeps again: parking and waking cost more than a look. */
#define SECOND_LOOK_NS SKINK_MS
#define LOOKS_AFTER_REST 2
/* How often a look asks whether the word moves on: in all a microsecond or two. */
#define GLANCES 48
/* The kernel may serve the watchdog's timer together with others that go off at about that time: a wake-up costs a
 * third less then. It is late by a part of the period at most. */
#define SLACK_OF_PERIOD 32

/* With a shorter period the loop, whose time is in milliseconds, could not put an alarm off in time. */
#define SHORTEST_ALARM_NS (4 * SKINK_MS)

/* ---- look ---- */

/* The record of the scheduler's loop thread of this moment, or NULL. */
static struct skink__subject *follow(struct skink__watch *watch) SKINK__WITH_MUTEX
{
    struct skink__subject *subject = watch->subject;
    if (subject) {
        uint64_t word = atomic_load_explicit(&skink__thread_lease(subject->thread)->word, memory_order_acquire);
        enum skink__lease_state state = skink__lease_state(word);
        if (state == SKINK__ENDED || state == SKINK__ABANDONED) { /* by somebody else: we have another one then */
            skink__subject_free(subject);
            subject = NULL;
        }
    }
    if (!subject) {
        struct skink__thread *thread = skink__scheduler_thread(watch->scheduler);
        watch->asleep = thread == NULL;
        subject = thread ? skink__subject_create(thread) : NULL;
    }
    watch->subject = subject;
    if (subject && subject->probe.tid == 0) {
        pid_t tid = skink__thread_tid(subject->thread);
        if (tid != 0) skink__thread_probe_open(&subject->probe, tid);
    }
    return subject;
}

/* Host code runs under *ret_word, and the timeout read is that slice's;
 * false: in the runtime section, or on the move. */
static bool read_lease(struct skink__subject *subject, uint64_t *ret_word)
{
    struct skink__lease *lease = skink__thread_lease(subject->thread);
    /* Acquire, both: the timeout is not read before the first look at the word, nor after the second. */
    uint64_t word = atomic_load_explicit(&lease->word, memory_order_acquire);
    uint64_t timeout_ns = atomic_load_explicit(&lease->timeout_ns, memory_order_acquire);
    uint64_t extended_slice = atomic_load_explicit(&lease->extended_slice, memory_order_acquire);
    uint64_t extension_ns = atomic_load_explicit(&lease->extension_ns, memory_order_acquire);
    *ret_word = word;
    if (skink__lease_state(word) != SKINK__RUNNING) return false;
    if (atomic_load_explicit(&lease->word, memory_order_relaxed) != word) return false;
    subject->slice_timeout_ns = timeout_ns & ~SKINK__SLICE_ACTION_MASK;
    subject->slice_action = (skink_action)((timeout_ns & SKINK__SLICE_ACTION_MASK) >> SKINK__SLICE_ACTION_SHIFT);
    subject->slice_extension_ns = extended_slice == skink__lease_slice(word) ? extension_ns : 0;
    return true;
}

static void end_stall(skink_recovery *recovery, struct skink__watch *watch) SKINK__WITH_MUTEX
{
    if (!watch->stalled) return;
    watch->stalled = false;
    struct skink__report *report = skink__report_next(recovery, SKINK__REPORT_STALL_OVER);
    if (!report) return;
    snprintf(report->scheduler, sizeof report->scheduler, "%s", skink__scheduler_name(watch->scheduler));
    skink__report_submit(recovery);
}

/* For a thread in the runtime section since the last look: is that because nothing is to be done? */
static bool sleeps_in_poll(struct skink__watch *watch) SKINK__WITH_MUTEX
{
    struct skink__thread_probe *probe = &watch->subject->probe;
    switch (skink__thread_probe_in_poll(probe, skink__scheduler_backend_fd(watch->scheduler))) {
    case SKINK__POLL_YES:
        return true;
    case SKINK__POLL_NO:
        return false;
    case SKINK__POLL_UNKNOWN:
        break;
    }
    struct skink__reading reading; /* the best guess without the file; then stalls go unseen */
    skink__thread_probe_read(probe, &reading);
    return reading.state == 'S' || reading.state == SKINK__STATE_UNKNOWN;
}

static void start_clock(struct skink__subject *subject, uint64_t slice)
{
    struct skink__reading reading;
    skink__thread_probe_clock(&subject->probe, &reading);
    skink__slice_clock_start(&subject->clock, slice, &reading);
    subject->glimpsed_ns = 0;
}

/* A busy loop's word changes while one looks at it. Then nothing is stuck, and the thread's processor clock, which
 * costs as much as all the rest of a look, need not be read. What is remembered of the newest slice is
 * when it was there. */
static bool moves_on(struct skink__subject *subject, uint64_t word)
{
    const struct skink__lease *lease = skink__thread_lease(subject->thread);
    for (int i = 0; i < GLANCES; i++) {
        uint64_t now_word = atomic_load_explicit(&lease->word, memory_order_acquire);
        if (skink__lease_slice(now_word) != skink__lease_slice(word)) {
            skink__slice_clock_reset(&subject->clock);
            subject->glimpsed_slice = skink__lease_slice(now_word);
            subject->glimpsed_ns = skink_now();
            return true;
        }
        skink__relax();
    }
    return false;
}

/* The slice that had just begun when the last look turned away is still there. It is timed from that moment; as no
 * processor time was read then, that one period counts by the wall. */
static bool was_glimpsed(struct skink__subject *subject, uint64_t slice)
{
    if (!subject->glimpsed_ns || subject->glimpsed_slice != slice) return false;
    struct skink__reading reading = { .now_ns = subject->glimpsed_ns, .state = SKINK__STATE_UNKNOWN };
    skink__slice_clock_start(&subject->clock, slice, &reading);
    subject->glimpsed_ns = 0;
    return true;
}

static uint64_t judge(skink_recovery *recovery, struct skink__watch *watch, const struct skink__interval *interval,
                      bool in_host_code) SKINK__WITH_MUTEX;

/* For how long has this slice been there? */
static uint64_t look_at_slice(skink_recovery *recovery, struct skink__watch *watch, uint64_t word,
                              bool in_host_code) SKINK__WITH_MUTEX
{
    struct skink__subject *subject = watch->subject;
    uint64_t slice = skink__lease_slice(word);
    if (!subject->clock.running || subject->clock.slice != slice) {
        skink__declared_only_over(recovery, subject);
        if (!in_host_code) subject->slice_timeout_ns = 0;
        if (!in_host_code) subject->slice_action = SKINK_ACTION_DEFAULT;
        end_stall(recovery, watch);
        if (!was_glimpsed(subject, slice)) {
            if (!moves_on(subject, word)) start_clock(subject, slice);
            watch->moving = true;
            return SKINK__NEVER;
        }
    }
    if (skink__lease_state(word) == SKINK__RUNTIME && sleeps_in_poll(watch)) {
        watch->asleep = true;
        start_clock(subject, slice);
        end_stall(recovery, watch);
        return SKINK__NEVER;
    }
    struct skink__reading reading;
    skink__thread_probe_read(&subject->probe, &reading);
    struct skink__interval interval =
        skink__slice_clock_advance(&subject->clock, recovery->past_period_ns, &reading, !in_host_code);
    recovery->stats.starved_ns += interval.starved_ns;
    recovery->stats.suspended_ns += interval.suspended_ns;
    return judge(recovery, watch, &interval, in_host_code);
}

/* Returns when it wants to be looked at again, if that is before the period is over. */
static uint64_t look(skink_recovery *recovery, struct skink__watch *watch) SKINK__WITH_MUTEX
{
    struct skink__subject *subject = follow(watch);
    watch->overdue = watch->moving = false;
    if (!subject) return SKINK__NEVER;
    watch->asleep = false;
    skink__blocking_listen(recovery, watch);

    uint64_t word;
    bool in_host_code = read_lease(subject, &word);
    uint64_t slice = skink__lease_slice(word);
    bool blocks = in_host_code && (subject->slice_timeout_ns & SKINK__SLICE_BLOCKS);
    subject->slice_timeout_ns &= ~SKINK__SLICE_BLOCKS;
    if (blocks) end_stall(recovery, watch);
    uint64_t blocking_next_ns;
    if (skink__blocking_look(recovery, watch, slice, blocks, &blocking_next_ns)) return blocking_next_ns;
    uint64_t next_ns = look_at_slice(recovery, watch, word, in_host_code);
    return next_ns < blocking_next_ns ? next_ns : blocking_next_ns;
}

/* ---- judge ---- */

static void note_stall(skink_recovery *recovery, struct skink__watch *watch) SKINK__WITH_MUTEX
{
    if (watch->stalled) return;
    watch->stalled = true;
    recovery->stats.runtime_stalls++;
    struct skink__report *report = skink__report_next(recovery, SKINK__REPORT_STALLED);
    if (!report) return;
    snprintf(report->scheduler, sizeof report->scheduler, "%s", skink__scheduler_name(watch->scheduler));
    report->time_ns = watch->subject->clock.runtime_ns;
    skink__report_submit(recovery);
}

static uint64_t judge(skink_recovery *recovery, struct skink__watch *watch, const struct skink__interval *interval,
                      bool in_host_code)
{
    struct skink__subject *subject = watch->subject;
    const struct skink__slice_clock *clock = &subject->clock;
    uint64_t timeout_ns = skink__timeout_or(subject->slice_timeout_ns, recovery->timeout_ns);
    timeout_ns = skink__later(timeout_ns, subject->slice_extension_ns);

    /* Relaxed: see the field. */
    if (skink__slice_clock_is_due(clock, timeout_ns / 2))
        atomic_store_explicit(&skink__thread_lease(subject->thread)->late_slice, clock->slice, memory_order_relaxed);
    if (!in_host_code) {
        if (clock->runtime_ns >= timeout_ns) note_stall(recovery, watch);
        return SKINK__NEVER;
    }
    end_stall(recovery, watch);
    skink_action action = subject->slice_action ? subject->slice_action : recovery->action;
    if (action == SKINK_ACTION_OFF || subject->reported_slice == clock->slice) return SKINK__NEVER;
    if (skink__slice_clock_is_due(clock, timeout_ns / 2)) skink__note(recovery, watch);
    bool due = skink__slice_clock_is_due(clock, timeout_ns);
    if (action == SKINK_ACTION_TAKEOVER && !due) {
        skink__poison_ask(recovery, subject);
        if (skink__poison_is_known(recovery, subject)) {
            skink__declare(recovery, watch, SKINK_CAUSE_LOCK);
            return SKINK__NEVER;
        }
    }
    if (due || skink__slice_clock_is_at_ceiling(clock, timeout_ns, recovery->ceiling_factor)) {
        skink_cause cause = due ? SKINK_CAUSE_UNKNOWN : SKINK_CAUSE_STARVED;
        if (action == SKINK_ACTION_TAKEOVER)
            skink__declare(recovery, watch, cause);
        else
            skink__declare_only(recovery, watch, cause, action);
        return SKINK__NEVER;
    }
    /* Be there when it falls due, unless so little counts that it will not. */
    if (interval->counted_ns < interval->starved_ns + interval->suspended_ns) return SKINK__NEVER;
    uint64_t remaining_ns = skink__slice_clock_remaining(clock, timeout_ns);
    return skink__later(clock->last.now_ns, remaining_ns > SHORTEST_SLEEP_NS ? remaining_ns : SHORTEST_SLEEP_NS);
}

/* ---- the thread ---- */

void skink__watch_drop(skink_recovery *recovery, struct skink__watch *watch)
{
    struct skink__doorbell *bell = skink__scheduler_doorbell(watch->scheduler);
    skink__take_down_bell(recovery, watch);
    skink__alarm_leave(recovery, watch);
    skink__blocking_bell_take_down(recovery, watch);
    if (watch->holding) skink__hold_end(recovery, watch);
    skink__scheduler_set_admittance(watch->scheduler, SKINK__ADMITS);
    skink__subject_free(watch->subject);
    skink__doorbell_release(bell);
    skink__scheduler_unref(watch->scheduler);
    skink__free(watch);
}

static void drop_destroyed(skink_recovery *recovery) SKINK__WITH_MUTEX
{
    struct skink__watch **link = &recovery->watches;
    while (*link) {
        struct skink__watch *watch = *link;
        if (skink__scheduler_is_destroyed(watch->scheduler)) {
            *link = watch->next;
            skink__watch_drop(recovery, watch);
        } else {
            link = &watch->next;
        }
    }
}

static void choose_period(skink_recovery *recovery) SKINK__WITH_MUTEX
{
    uint64_t shortest_ns = recovery->timeout_ns;
    for (const struct skink__watch *watch = recovery->watches; watch; watch = watch->next) {
        uint64_t timeout_ns = skink__scheduler_shortest_timeout(watch->scheduler);
        if (timeout_ns < shortest_ns) shortest_ns = timeout_ns;
    }
    recovery->shortest_timeout_ns = shortest_ns;
    uint64_t period_ns = skink__slice_clock_period(shortest_ns);
    if (period_ns == recovery->period_ns) return;
    recovery->period_ns = period_ns;
    prctl(PR_SET_TIMERSLACK, (unsigned long)(period_ns / SLACK_OF_PERIOD), 0, 0, 0);
}

/* Has it moved on, so that it is enough to look when its alarm goes off? One that sleeps is looked at until we park. */
static bool is_under_alarm(const skink_recovery *recovery, struct skink__watch *watch) SKINK__WITH_MUTEX
{
    if (!watch->has_alarm || recovery->period_ns < SHORTEST_ALARM_NS) return false;
    struct skink__alarm *alarm = skink__scheduler_alarm(watch->scheduler);
    bool known = atomic_load_explicit(&alarm->period_ns, memory_order_relaxed) == recovery->period_ns &&
                 atomic_load_explicit(&alarm->timeout_ns, memory_order_relaxed) == recovery->shortest_timeout_ns;
    if (!known) { /* from the next look on */
        skink__alarm_want(alarm, recovery->period_ns, recovery->shortest_timeout_ns);
        return false;
    }
    if (watch->moving) skink__alarm_set(alarm, recovery->period_ns);
    return watch->moving;
}

/* One look at everybody; returns when the next is wanted. */
static uint64_t tick(skink_recovery *recovery) SKINK__WITH_MUTEX
{
    recovery->stats.ticks++;
    drop_destroyed(recovery);
    uint64_t past_ns = recovery->period_ns;
    choose_period(recovery);
    recovery->past_period_ns = past_ns > recovery->period_ns ? past_ns : recovery->period_ns;
    uint64_t next_ns = SKINK__NEVER, period_end_ns = skink_after(recovery->period_ns);
    bool all_under_alarm = recovery->watches && recovery->standby_count >= recovery->threads_wanted;
    for (struct skink__watch *watch = recovery->watches; watch; watch = watch->next) {
        uint64_t wanted_ns = look(recovery, watch);
        if (wanted_ns < next_ns) next_ns = wanted_ns;
        all_under_alarm &= is_under_alarm(recovery, watch);
        /* A timeout that has come into use since the period was chosen:
         * we may have undone the alarm that it has made go off. */
        if (skink__scheduler_shortest_timeout(watch->scheduler) < recovery->shortest_timeout_ns) next_ns = 0;
    }
    skink__holds_settle(recovery);
    skink__limits_settle(recovery);
    uint64_t settle_ns = skink__limits_next_look(recovery);
    if (settle_ns < next_ns) next_ns = settle_ns;
    if (!all_under_alarm && period_end_ns < next_ns) next_ns = period_end_ns;
    if (recovery->pings > 0) pthread_cond_broadcast(&recovery->ticked);
    return next_ns;
}

static void *watchdog_main(void *arg)
{
    skink_recovery *recovery = arg;
    prctl(PR_SET_NAME, "skink-watchdog", 0, 0, 0);
    skink__thread_started("watchdog");
    skink__recovery_lock(recovery);
    unsigned restless = 0; /* looks before the next rest */
    while (!recovery->quit) {
        uint64_t next_ns = tick(recovery);
        skink__standbys_ask(recovery);
        uint64_t second_look_ns = skink_after(SECOND_LOOK_NS);
        if (restless == LOOKS_AFTER_REST && second_look_ns < next_ns) next_ns = second_look_ns;
        bool rested = restless == 0 && skink__may_park(recovery) && skink__park(recovery);
        if (!rested) skink__sleep_until(recovery, next_ns);
        if (rested)
            restless = LOOKS_AFTER_REST;
        else if (restless > 0)
            restless--;
    }
    skink__recovery_unlock(recovery);
    skink__thread_ending("watchdog");
    return NULL;
}

int skink__watchdog_start(skink_recovery *recovery)
{
    int err = skink__start_thread(&recovery->watchdog, watchdog_main, recovery);
    recovery->watchdog_running = err == 0;
    return err;
}
