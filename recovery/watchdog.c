/* SPDX-License-Identifier: MIT */
/*
 * recovery/watchdog.c - the thread that looks at the leases.
 *
 *     look      read the lease; a slice that was not there the last time starts its clock
 *     judge     late at half of its timeout: it is marked, and the loop sends it through the ready queue at its next call
 *               due: it is declared stuck, if a standby thread is there to go on
 *     declare   take the lease away from it; who loses that race has moved on, and nothing has happened
 *     hand over the standby becomes the scheduler's thread
 *     park      when all loops sleep, so does the watchdog, until one of them rings
 *
 * docs/recovery.md goes through it function by function.
 */
#include "loop/hooks.h"
#include "loop/memory.h"
#include "recovery/state.h"
#include <errno.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Two looks are at least this far apart: what a slice lacks when it was not quite due can be a few nanoseconds. */
#define SHORTEST_SLEEP_NS (50 * SKINK_US)
/* How often a standby thread that could not be created is tried again. */
#define STANDBY_RETRY_NS (100 * SKINK_MS)
/* A parked watchdog looks this often, or once per timeout, at the loops: one that stalls in a libuv callback as it
 * leaves poll does not ring. */
#define PARKED_LOOK_NS (10 * SKINK_S)
/* A loop rings before it runs the task that woke it: a second look this much later sees that slice begin. */
#define SECOND_LOOK_NS SKINK_MS

/* ---- look ---- */

/* The record of the scheduler's loop thread of this moment, or NULL. */
static struct skink__subject *follow(struct skink__watch *watch)
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

/* Host code runs under *ret_word, and the timeout read is that slice's; false: in the runtime section, or on the move. */
static bool read_lease(struct skink__subject *subject, uint64_t *ret_word)
{
    struct skink__lease *lease = skink__thread_lease(subject->thread);
    /* Acquire, both: the timeout is not read before the first look at the word, nor after the second. */
    uint64_t word = atomic_load_explicit(&lease->word, memory_order_acquire);
    uint64_t timeout_ns = atomic_load_explicit(&lease->timeout_ns, memory_order_acquire);
    *ret_word = word;
    if (skink__lease_state(word) != SKINK__RUNNING) return false;
    if (atomic_load_explicit(&lease->word, memory_order_relaxed) != word) return false;
    subject->slice_timeout_ns = timeout_ns;
    return true;
}

static void end_stall(skink_recovery *recovery, struct skink__watch *watch)
{
    if (!watch->stalled) return;
    watch->stalled = false;
    struct skink__report *report = skink__report_next(recovery, SKINK__REPORT_STALL_OVER);
    if (!report) return;
    snprintf(report->scheduler, sizeof report->scheduler, "%s", skink__scheduler_name(watch->scheduler));
    skink__report_submit(recovery);
}

/* For a thread in the runtime section since the last look: is that because nothing is to be done? */
static bool sleeps_in_poll(const struct skink__watch *watch)
{
    const struct skink__thread_probe *probe = &watch->subject->probe;
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
}

static uint64_t judge(skink_recovery *recovery, struct skink__watch *watch, const struct skink__interval *interval,
                      bool in_host_code);

/* Returns when it wants to be looked at again, if that is before the period is over. */
static uint64_t look(skink_recovery *recovery, struct skink__watch *watch)
{
    struct skink__subject *subject = follow(watch);
    watch->overdue = false;
    if (!subject) return SKINK__NEVER;
    watch->asleep = false;

    uint64_t word;
    bool in_host_code = read_lease(subject, &word);
    uint64_t slice = skink__lease_slice(word);
    if (!subject->clock.running || subject->clock.slice != slice) {
        if (!in_host_code) subject->slice_timeout_ns = 0;
        start_clock(subject, slice);
        end_stall(recovery, watch);
        return SKINK__NEVER;
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
        skink__slice_clock_advance(&subject->clock, recovery->period_ns, &reading, !in_host_code);
    recovery->stats.starved_ns += interval.starved_ns;
    recovery->stats.suspended_ns += interval.suspended_ns;
    return judge(recovery, watch, &interval, in_host_code);
}

/* ---- judge ---- */

static void declare(skink_recovery *recovery, struct skink__watch *watch, skink_cause cause);

static void note_stall(skink_recovery *recovery, struct skink__watch *watch)
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

    /* Relaxed: see the field. */
    if (skink__slice_clock_is_due(clock, timeout_ns / 2))
        atomic_store_explicit(&skink__thread_lease(subject->thread)->late_slice, clock->slice, memory_order_relaxed);
    if (!in_host_code) {
        if (clock->runtime_ns >= timeout_ns) note_stall(recovery, watch);
        return SKINK__NEVER;
    }
    end_stall(recovery, watch);
    if (skink__slice_clock_is_due(clock, timeout_ns)) {
        declare(recovery, watch, SKINK_CAUSE_UNKNOWN);
        return SKINK__NEVER;
    }
    if (skink__slice_clock_is_at_ceiling(clock, timeout_ns, recovery->ceiling_factor)) {
        declare(recovery, watch, SKINK_CAUSE_STARVED);
        return SKINK__NEVER;
    }
    /* Be there when it falls due, unless so little counts that it will not. */
    if (interval->counted_ns < interval->starved_ns + interval->suspended_ns) return SKINK__NEVER;
    uint64_t remaining_ns = skink__slice_clock_remaining(clock, timeout_ns);
    return clock->last.now_ns + (remaining_ns > SHORTEST_SLEEP_NS ? remaining_ns : SHORTEST_SLEEP_NS);
}

/* ---- declare, and hand over ---- */

static void barrier(const skink_recovery *recovery)
{
    if (recovery->barrier_command != 0) syscall(SYS_membarrier, recovery->barrier_command, 0, 0);
}

static uint64_t wall_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * SKINK_S + (uint64_t)now.tv_nsec;
}

/* What is known of the incident; its strays are counted later. Ours is the scheduler: transition 3 is won. */
static void describe(skink_recovery *recovery, struct skink__watch *watch, skink_cause cause,
                     struct skink__report *report)
{
    struct skink__subject *stuck = watch->subject;
    skink_incident *incident = &report->incident;
    incident->number = skink__incident_next_number();
    snprintf(stuck->incident_id, sizeof stuck->incident_id, "%s-%llu", recovery->id_prefix,
             (unsigned long long)incident->number);
    memcpy(incident->id, stuck->incident_id, sizeof incident->id);
    incident->time_unix_ns = wall_clock_ns();
    incident->generation = skink__thread_generation(stuck->thread);
    incident->slice_ns = stuck->clock.last.now_ns - stuck->clock.first_seen_ns;
    incident->effective_ns = stuck->clock.effective_ns;
    incident->cause = cause;
    snprintf(report->task, sizeof report->task, "%s", skink__takeover_task_name(watch->scheduler));
    snprintf(report->scheduler, sizeof report->scheduler, "%s", skink__scheduler_name(watch->scheduler));
}

/* Wake the standby as the scheduler's next loop thread. Its record goes to the watch. */
static void hand_over(skink_recovery *recovery, struct skink__watch *watch, struct skink__standby *standby,
                      uint64_t declared_ns, bool hold)
{
    skink__takeover_begin(watch->scheduler, standby->thread, watch->subject->incident_id, hold);
    watch->subject = standby->subject;
    standby->subject = NULL;
    standby->scheduler = skink__scheduler_ref(watch->scheduler);
    standby->declared_ns = declared_ns;
    skink__standby_take(recovery, standby);
    skink__standby_give(standby, SKINK__STANDBY_GO); /* it is no longer ours */
}

/* The thread that was abandoned is the recovery's to count now. */
static void account(skink_recovery *recovery, struct skink__watch *watch, struct skink__subject *stuck, bool hold)
{
    skink__thread_probe_close(&stuck->probe);
    /* Held already: while it was stopping, a task ran all the same. Only one thread per scheduler is held. */
    if (watch->held) skink__stray_add(recovery, watch->held);
    watch->held = NULL;
    if (hold) {
        skink__stray_hold(watch, stuck);
    } else {
        skink__stray_add(recovery, stuck);
        recovery->stats.takeovers++;
    }
}

/* Nothing happens when the slice has moved on, or nobody is there to take over. Allocates nothing, waits for nothing. */
static void declare(skink_recovery *recovery, struct skink__watch *watch, skink_cause cause)
{
    struct skink__subject *stuck = watch->subject;
    struct skink__standby *standby = skink__standby_find(recovery);
    watch->overdue = standby == NULL;
    if (!standby) return; /* the next one to park kicks us */

    skink__stray_prepare(recovery, stuck);
    if (!skink__lease_abandon(skink__thread_lease(stuck->thread), stuck->clock.slice)) {
        if (!skink__stray_undo(recovery, stuck)) watch->subject = NULL;
        return;
    }
    uint64_t declared_ns = stuck->abandoned_ns = skink_now();
    barrier(recovery); /* what the task wrote before it got stuck: nothing else publishes it */
    bool hold = recovery->stray_count >= recovery->max_strays;
    struct skink__report unheard; /* when the ring is full */
    struct skink__report *report = skink__report_next(recovery, SKINK__REPORT_DEADLOCK);
    bool heard = report != NULL;
    if (!heard) report = &unheard;
    describe(recovery, watch, cause, report);
    hand_over(recovery, watch, standby, declared_ns, hold);
    account(recovery, watch, stuck, hold);

    recovery->stats.deadlocks++;
    recovery->stats.deadlocks_starved += cause == SKINK_CAUSE_STARVED;
    report->incident.held = hold;
    report->incident.strays = recovery->stray_count;
    if (heard) skink__report_submit(recovery);
}

/* ---- standby threads ---- */

static void replenish(skink_recovery *recovery)
{
    while (!recovery->quit && recovery->standby_count < recovery->threads_wanted &&
           skink_now() >= recovery->standby_retry_ns) {
        pthread_mutex_unlock(&recovery->mutex);
        int err = skink__standby_start(recovery);
        pthread_mutex_lock(&recovery->mutex);
        if (err) {
            recovery->stats.standby_failures++;
            recovery->standby_retry_ns = skink_now() + STANDBY_RETRY_NS;
        }
        if ((err != 0) == recovery->standby_failing) continue;
        recovery->standby_failing = err != 0;
        struct skink__report *report =
            skink__report_next(recovery, err ? SKINK__REPORT_NO_STANDBY : SKINK__REPORT_STANDBY_BACK);
        if (!report) continue;
        report->error = err;
        skink__report_submit(recovery);
    }
}

/* ---- sleeping and waking ---- */

void skink__watchdog_kick(skink_recovery *recovery)
{
    if (recovery->wakeup_fd < 0) return;
    uint64_t one = 1;
    recovery->wakeups_due++;
    ssize_t written = write(recovery->wakeup_fd, &one, sizeof one);
    (void)written; /* it fails only at a count that nobody reaches */
}

static void read_wakeups(skink_recovery *recovery)
{
    uint64_t count;
    if (read(recovery->wakeup_fd, &count, sizeof count) == sizeof count) recovery->wakeups_read += count;
}

/* Until a time, or a wake-up. */
static void sleep_until(skink_recovery *recovery, uint64_t time_ns)
{
    struct pollfd wakeup = { .fd = recovery->wakeup_fd, .events = POLLIN };
    uint64_t now_ns = skink_now();
    uint64_t rest_ns = time_ns > now_ns ? time_ns - now_ns : 0;
    struct timespec rest = { .tv_sec = (time_t)(rest_ns / SKINK_S), .tv_nsec = (long)(rest_ns % SKINK_S) };
    pthread_mutex_unlock(&recovery->mutex);
    ppoll(&wakeup, 1, time_ns == SKINK__NEVER ? NULL : &rest, NULL);
    pthread_mutex_lock(&recovery->mutex);
    read_wakeups(recovery);
}

void skink__watchdog_drain(skink_recovery *recovery)
{
    while (recovery->wakeups_read < recovery->wakeups_due) {
        struct pollfd wakeup = { .fd = recovery->wakeup_fd, .events = POLLIN };
        poll(&wakeup, 1, -1); /* a loop thread has taken the bell, and is about to write */
        read_wakeups(recovery);
    }
}

/* ---- park (invariant 8; loop/doorbell.h has the proof) ---- */

static bool may_park(const skink_recovery *recovery)
{
    if (recovery->barrier_command == 0) return false;
    if (recovery->standby_count < recovery->threads_wanted) return false;
    for (const struct skink__watch *watch = recovery->watches; watch; watch = watch->next)
        if (!watch->asleep) return false;
    return true;
}

/* Asked after the barrier: from a no to a yes nothing is lost, since what happens now will ring. */
static bool is_still_asleep(const struct skink__watch *watch)
{
    if (skink__scheduler_is_destroyed(watch->scheduler)) return false;
    const struct skink__subject *subject = watch->subject;
    if (subject) {
        uint64_t word = atomic_load_explicit(&skink__thread_lease(subject->thread)->word, memory_order_acquire);
        return word == skink__lease_word(SKINK__RUNTIME, subject->clock.slice);
    }
    struct skink__thread *thread = skink__scheduler_thread(watch->scheduler);
    if (thread) skink__thread_unref(thread);
    return thread == NULL;
}

/* The next look at somebody who does not ring, or never when nobody could. */
static uint64_t parked_until(const skink_recovery *recovery)
{
    uint64_t look_ns = recovery->timeout_ns > PARKED_LOOK_NS ? recovery->timeout_ns : PARKED_LOOK_NS;
    for (const struct skink__watch *watch = recovery->watches; watch; watch = watch->next)
        if (watch->subject) return skink_after(look_ns);
    return SKINK__NEVER;
}

static void take_down_bell(skink_recovery *recovery, struct skink__watch *watch)
{
    if (!watch->bell_hung) return;
    watch->bell_hung = false;
    if (!skink__doorbell_take_down(skink__scheduler_doorbell(watch->scheduler))) recovery->wakeups_due++;
}

/* False: somebody was awake, and time goes on. */
static bool park(skink_recovery *recovery)
{
    bool all_asleep = true;
    for (struct skink__watch *watch = recovery->watches; watch; watch = watch->next) {
        skink__doorbell_hang(skink__scheduler_doorbell(watch->scheduler), recovery->wakeup_fd);
        watch->bell_hung = true;
    }
    barrier(recovery);
    for (const struct skink__watch *watch = recovery->watches; watch && all_asleep; watch = watch->next)
        all_asleep = is_still_asleep(watch);
    if (all_asleep) {
        recovery->parked = true;
        sleep_until(recovery, parked_until(recovery));
        recovery->parked = false;
    }
    for (struct skink__watch *watch = recovery->watches; watch; watch = watch->next) {
        take_down_bell(recovery, watch);
        /* Nobody looked meanwhile, so no time has passed for any slice. */
        if (all_asleep && watch->subject) skink__slice_clock_reset(&watch->subject->clock);
    }
    return all_asleep;
}

/* ---- the thread ---- */

void skink__watch_drop(skink_recovery *recovery, struct skink__watch *watch)
{
    struct skink__doorbell *bell = skink__scheduler_doorbell(watch->scheduler);
    take_down_bell(recovery, watch);
    if (watch->holding) skink__hold_end(recovery, watch);
    skink__subject_free(watch->subject);
    skink__doorbell_release(bell);
    skink__scheduler_unref(watch->scheduler);
    skink__free(watch);
}

static void drop_destroyed(skink_recovery *recovery)
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

static void choose_period(skink_recovery *recovery)
{
    uint64_t shortest_ns = recovery->timeout_ns;
    for (const struct skink__watch *watch = recovery->watches; watch; watch = watch->next) {
        uint64_t timeout_ns = skink__scheduler_shortest_timeout(watch->scheduler);
        if (timeout_ns < shortest_ns) shortest_ns = timeout_ns;
    }
    recovery->period_ns = skink__slice_clock_period(shortest_ns);
}

/* One look at everybody; returns when the next is wanted. */
static uint64_t tick(skink_recovery *recovery)
{
    recovery->stats.ticks++;
    drop_destroyed(recovery);
    choose_period(recovery);
    uint64_t next_ns = skink_after(recovery->period_ns);
    for (struct skink__watch *watch = recovery->watches; watch; watch = watch->next) {
        uint64_t wanted_ns = look(recovery, watch);
        if (wanted_ns < next_ns) next_ns = wanted_ns;
    }
    skink__holds_settle(recovery);
    return next_ns;
}

static void *watchdog_main(void *arg)
{
    skink_recovery *recovery = arg;
    prctl(PR_SET_NAME, "skink-watchdog", 0, 0, 0);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); /* the default, 50 us, is late for no gain here */
    skink__thread_started("watchdog");
    pthread_mutex_lock(&recovery->mutex);
    for (bool woken = false; !recovery->quit;) {
        uint64_t next_ns = tick(recovery);
        replenish(recovery);
        uint64_t second_look_ns = skink_after(SECOND_LOOK_NS);
        if (woken && second_look_ns < next_ns) next_ns = second_look_ns;
        woken = may_park(recovery) && park(recovery);
        if (!woken) sleep_until(recovery, next_ns);
    }
    pthread_mutex_unlock(&recovery->mutex);
    skink__thread_ending("watchdog");
    return NULL;
}

int skink__watchdog_start(skink_recovery *recovery)
{
    int err = skink__start_thread(&recovery->watchdog, watchdog_main, recovery);
    recovery->watchdog_running = err == 0;
    return err;
}
