/* SPDX-License-Identifier: MIT */
/*
 * recovery/recovery.c - the public calls: making and ending a recovery, choosing what it watches, reading its counters.
 */
#include "loop/barrier.h"
#include "loop/descriptor.h"
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/options.h"
#include "recovery/capture.h"
#include "recovery/refused.h"
#include "recovery/state.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_NS (30 * SKINK_S)
#define SHORTEST_TIMEOUT_NS (10 * SKINK_MS)
#define STANDBY_THREADS_MAX 64
#define MAX_STRAYS_MAX 4096
#define CEILING_FACTOR_MAX 1000

const uint64_t skink_recovery_bucket_bounds_ns[SKINK_RECOVERY_BUCKETS - 1] = {
    10 * SKINK_US, 25 * SKINK_US,   50 * SKINK_US, 100 * SKINK_US, 250 * SKINK_US, 500 * SKINK_US,
    1 * SKINK_MS,  2500 * SKINK_US, 5 * SKINK_MS,  25 * SKINK_MS,  100 * SKINK_MS
};

/* ---- identity of incidents: of the process, for there may be many recoveries in it ---- */

static _Atomic uint64_t incident_count;
static _Atomic uint64_t the_process_mark;

uint64_t skink__incident_next_number(void)
{
    return atomic_fetch_add_explicit(&incident_count, 1, memory_order_relaxed) + 1;
}

void skink__incident_id(const skink_recovery *recovery, uint64_t number, char ret_id[SKINK_INCIDENT_ID_BYTES])
{
    char digits[11]; /* of a number that has more, the last */
    _Static_assert(sizeof recovery->id_prefix + sizeof digits + 1 <= SKINK_INCIDENT_ID_BYTES, "an id has room");
    size_t first = sizeof digits, length = strlen(recovery->id_prefix);
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number && first);
    memcpy(ret_id, recovery->id_prefix, length);
    ret_id[length++] = '-';
    memcpy(ret_id + length, digits + first, sizeof digits - first);
    ret_id[length + sizeof digits - first] = '\0';
}

/* The second in which the process made its first recovery, and 16 random bits, since a service manager starts several
 * in one second. */
static uint64_t process_mark(void)
{
    uint64_t none = 0;
    uint16_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0) random = (uint16_t)getpid();
    atomic_compare_exchange_strong(&the_process_mark, &none, (uint64_t)time(NULL) << 16 | random);
    return atomic_load(&the_process_mark);
}

/* ---- create and destroy ---- */

static int read_options(skink_recovery *recovery, const skink_recovery_options *given)
{
    skink_recovery_options options;
    int err = SKINK__OPTIONS_READ(&options, given);
    if (err) return err;
    SKINK__ASSUME(skink__recovery_mutex); /* nobody else knows it yet */
    recovery->timeout_ns = skink__timeout_or(options.deadlock_timeout_ns, DEFAULT_TIMEOUT_NS);
    recovery->threads_wanted = options.standby_threads ? options.standby_threads : 1;
    recovery->max_strays = options.max_strays ? options.max_strays : 8;
    recovery->blocking_grace_ns = skink__timeout_or(options.blocking_grace_ns, SKINK_MS);
    recovery->max_blocking = options.max_blocking ? options.max_blocking : 64;
    recovery->extend_ceiling_ns = skink__timeout_or(options.extend_ceiling_ns, 300 * SKINK_S);
    recovery->ceiling_factor = options.ceiling_factor ? options.ceiling_factor : 4;
    recovery->incident = options.incident;
    recovery->arg = options.arg;
    if (options.capture_signal < 0 || options.capture_signal > SIGRTMAX) return -EINVAL;
    if ((options.flags & ~SKINK_RECOVERY_NO_SIGNAL) != 0 || recovery->timeout_ns < SHORTEST_TIMEOUT_NS ||
        recovery->threads_wanted > STANDBY_THREADS_MAX || recovery->max_strays > MAX_STRAYS_MAX ||
        recovery->max_blocking > MAX_STRAYS_MAX || recovery->ceiling_factor > CEILING_FACTOR_MAX)
        return -EINVAL;
    if (!(options.flags & SKINK_RECOVERY_NO_SIGNAL)) {
        int reserved = skink__capture_reserve(options.capture_signal);
        if (reserved < 0) return reserved;
        recovery->may_signal = true;
    }
    if ((unsigned)options.action > SKINK_ACTION_OFF) return -EINVAL;
    recovery->action = options.action ? options.action : SKINK_ACTION_TAKEOVER;
    recovery->log_notes = options.log_notes;
    recovery->reports.limit.per_minute = options.reports_per_minute;
    err = skink__limits_init(&recovery->limits, &options);
    if (!err) err = skink__tally_init(&recovery->tally);
    if (err) return err;
    return skink__incident_files_init(&recovery->files, options.incident_dir);
}

static void wait_for_standbys(skink_recovery *recovery)
{
    skink__recovery_lock(recovery);
    while (skink__standby_parked(recovery) < recovery->threads_wanted)
        pthread_cond_wait(&recovery->standby_changed, &recovery->mutex);
    skink__recovery_unlock(recovery);
}

static int start_threads(skink_recovery *recovery)
{
    int err = skink__reports_start(recovery);
    for (uint32_t i = 0; err == 0 && i < recovery->threads_wanted; i++)
        err = skink__standby_start(recovery);
    if (err) return err;
    wait_for_standbys(recovery);
    err = skink__standby_maker_start(recovery);
    return err ? err : skink__watchdog_start(recovery);
}

/* What destroying it counts on. */
static void init_inert(skink_recovery *recovery)
{
    SKINK__ASSUME(skink__recovery_mutex); /* nobody else knows it yet */
    recovery->refs = 1;
    recovery->wakeup_fd = recovery->alarms_fd = -1;
    pthread_mutex_init(&recovery->mutex, NULL);
    pthread_cond_init(&recovery->standby_changed, NULL);
    pthread_cond_init(&recovery->standby_wanted, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&recovery->maker_ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&recovery->ticked, NULL);
    pthread_cond_init(&recovery->reports.changed, NULL);
}

static int open_wakeups(skink_recovery *recovery)
{
    SKINK__ASSUME(skink__recovery_mutex);                                          /* nor now */
    int bell = skink__descriptor_not_zero(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); /* loop/doorbell.h: 0 is none */
    if (bell < 0) return bell;
    recovery->wakeup_fd = bell;
    recovery->alarms_fd = epoll_create1(EPOLL_CLOEXEC);
    return recovery->alarms_fd < 0 ? -errno : 0;
}

int skink_recovery_create(const skink_recovery_options *options, skink_recovery **ret_recovery)
{
    if (!ret_recovery) return -EINVAL;
    skink__hooks_freeze();
    skink_recovery *recovery = skink__zalloc(sizeof *recovery);
    if (!recovery) return -ENOMEM;
    init_inert(recovery);
    snprintf(recovery->id_prefix, sizeof recovery->id_prefix, "%llx", (unsigned long long)process_mark());
    recovery->has_barrier = skink__barrier_prepare();

    int err = skink__incidents_init(&recovery->incidents);
    if (err) goto fail;
    err = read_options(recovery, options);
    if (err) goto fail;
    err = open_wakeups(recovery);
    if (err) goto fail;
    err = start_threads(recovery);
    if (err) goto fail;
    *ret_recovery = recovery;
    return 0;
fail:
    skink_recovery_destroy(recovery); /* copes with half-built ones */
    return err;
}

bool skink__recovery_unref(skink_recovery *recovery)
{
    return --recovery->refs == 0;
}

void skink__recovery_free(skink_recovery *recovery)
{
    skink__incident_files_fini(&recovery->files);
    skink__incidents_fini(&recovery->incidents);
    pthread_cond_destroy(&recovery->reports.changed);
    pthread_cond_destroy(&recovery->standby_changed);
    pthread_cond_destroy(&recovery->standby_wanted);
    pthread_cond_destroy(&recovery->maker_ended);
    pthread_cond_destroy(&recovery->ticked);
    pthread_mutex_destroy(&recovery->mutex);
    skink__limits_fini(&recovery->limits);
    skink__tally_fini(&recovery->tally);
    skink__free(recovery);
}

static void stop_watchdog(skink_recovery *recovery)
{
    if (!recovery->watchdog_running) return;
    skink__recovery_lock(recovery);
    recovery->quit = true;
    skink__watchdog_kick(recovery);
    skink__recovery_unlock(recovery);
    pthread_join(recovery->watchdog, NULL);
}

static void drop_all(skink_recovery *recovery) SKINK__WITH_MUTEX
{
    while (recovery->watches) {
        struct skink__watch *watch = recovery->watches;
        recovery->watches = watch->next;
        skink__watch_drop(recovery, watch);
    }
}

/* Without the mutex, which the hook takes. */
static void stop_listening(skink_recovery *recovery)
{
    SKINK__ASSUME(skink__recovery_mutex); /* who might change the list, the watchdog, has ended */
    for (struct skink__watch *watch = recovery->watches; watch; watch = watch->next)
        skink__scheduler_off_refused(watch->scheduler, recovery);
}

void skink_recovery_destroy(skink_recovery *recovery)
{
    if (!recovery) return;
    stop_watchdog(recovery);
    skink__standby_maker_stop(recovery);
    skink__standby_quit_all(recovery);
    stop_listening(recovery);
    skink__recovery_lock(recovery);
    drop_all(recovery);
    if (recovery->wakeup_fd >= 0) {
        skink__watchdog_drain(recovery);
        close(recovery->wakeup_fd);
        if (recovery->alarms_fd >= 0) close(recovery->alarms_fd);
        recovery->wakeup_fd = recovery->alarms_fd = -1; /* strays that come back find nobody to wake */
    }
    skink__recovery_unlock(recovery);
    skink__reports_stop(recovery);

    skink__recovery_lock(recovery);
    bool last = skink__recovery_unref(recovery);
    skink__recovery_unlock(recovery);
    if (last) skink__recovery_free(recovery);
}

/* ---- what it watches ---- */

int skink_recovery_watch(skink_recovery *recovery, skink_scheduler *scheduler)
{
    if (!recovery || !scheduler) return -EINVAL;
    struct skink__watch *watch = skink__zalloc(sizeof *watch);
    if (!watch) return -ENOMEM;
    if (!skink__doorbell_claim(skink__scheduler_doorbell(scheduler), recovery)) {
        skink__free(watch);
        return -EALREADY;
    }
    watch->scheduler = skink__scheduler_ref(scheduler);
    skink__scheduler_set_extend_ceiling(scheduler, recovery->extend_ceiling_ns);
    skink__scheduler_on_refused(scheduler, skink__refused, recovery);
    skink__recovery_lock(recovery);
    watch->next = recovery->watches;
    recovery->watches = watch;
    skink__scheduler_set_admittance(scheduler, skink__limits_admittance(recovery));
    skink__alarm_listen(recovery, watch);
    skink__watchdog_kick(recovery);
    skink__recovery_unlock(recovery);
    return 0;
}

int skink_recovery_unwatch(skink_recovery *recovery, skink_scheduler *scheduler)
{
    if (!recovery || !scheduler) return -EINVAL;
    skink__scheduler_off_refused(scheduler, recovery); /* without the mutex, which its hook takes */
    skink__recovery_lock(recovery);
    struct skink__watch **link = &recovery->watches;
    while (*link && (*link)->scheduler != scheduler)
        link = &(*link)->next;
    struct skink__watch *watch = *link;
    if (watch) {
        *link = watch->next;
        skink__watch_drop(recovery, watch);
    }
    skink__recovery_unlock(recovery);
    return watch ? 0 : -ESRCH;
}

int skink_recovery_set_timeout(skink_recovery *recovery, uint64_t deadlock_timeout_ns)
{
    if (!recovery || deadlock_timeout_ns < SHORTEST_TIMEOUT_NS) return -EINVAL;
    skink__recovery_lock(recovery);
    recovery->timeout_ns = deadlock_timeout_ns;
    skink__watchdog_kick(recovery);
    skink__recovery_unlock(recovery);
    return 0;
}

/* ---- counters and health ---- */

/* For how long the scheduler's slice of this moment has been running; 0 when there is none, or it is a young one. */
static uint64_t current_slice_ns(const struct skink__watch *watch, uint64_t now_ns) SKINK__WITH_MUTEX
{
    const struct skink__subject *subject = watch->subject;
    if (!subject || watch->asleep || !subject->clock.running) return 0;
    uint64_t word = atomic_load_explicit(&skink__thread_lease(subject->thread)->word, memory_order_relaxed);
    if (skink__lease_slice(word) != subject->clock.slice || now_ns < subject->clock.first_seen_ns) return 0;
    return now_ns - subject->clock.first_seen_ns;
}

static void read_counters(skink_recovery *recovery, skink_recovery_stats *stats) SKINK__WITH_MUTEX
{
    uint64_t now_ns = skink_now();
    *stats = recovery->stats;
    stats->strays = recovery->stray_count;
    for (unsigned i = 0; i < SKINK_LIMITS; i++) {
        stats->limit_reached[i] = recovery->limits.reached_count[i];
        stats->limit_in_force[i] = recovery->limits.in_force[i];
    }
    stats->blocking_threads = recovery->blocking_count;
    stats->standby_threads = skink__standby_parked(recovery);
    for (const struct skink__subject *stray = recovery->strays; stray; stray = stray->next) {
        uint64_t age_ns = now_ns - stray->abandoned_ns;
        if (age_ns > stats->oldest_stray_ns) stats->oldest_stray_ns = age_ns;
    }
    for (const struct skink__watch *watch = recovery->watches; watch; watch = watch->next) {
        uint64_t slice_ns = current_slice_ns(watch, now_ns);
        if (slice_ns > stats->current_slice_ns) stats->current_slice_ns = slice_ns;
    }
    for (unsigned i = 0; i < SKINK_RECOVERY_BUCKETS; i++)
        stats->recovery_count[i] = atomic_load_explicit(&recovery->recovery_count[i], memory_order_relaxed);
    stats->recovery_sum_ns = atomic_load_explicit(&recovery->recovery_sum_ns, memory_order_relaxed);
}

int skink_recovery_stats_read(skink_recovery *recovery, skink_recovery_stats *stats)
{
    if (!recovery || !stats || stats->size < sizeof stats->size) return -EINVAL;
    skink_recovery_stats now;
    skink__recovery_lock(recovery);
    read_counters(recovery, &now);
    skink__recovery_unlock(recovery);
    return skink__stats_write(stats, &now, sizeof now);
}

static skink_health health_of(const skink_recovery *recovery) SKINK__WITH_MUTEX
{
    bool stalled = false, overdue = false, holding = false;
    for (const struct skink__watch *watch = recovery->watches; watch; watch = watch->next) {
        stalled |= watch->stalled;
        overdue |= watch->overdue;
        holding |= watch->holding;
    }
    if (stalled) return SKINK_HEALTH_STALLED;
    /* Right after a takeover none is parked for a moment, and that is well. */
    if (skink__standby_parked(recovery) == 0 && (recovery->standby_failing || overdue)) return SKINK_HEALTH_NO_STANDBY;
    return holding ? SKINK_HEALTH_STRAY_LIMIT : skink__limits_health(recovery);
}

skink_health skink_recovery_health(skink_recovery *recovery)
{
    if (!recovery) return SKINK_HEALTH_NO_STANDBY;
    skink__recovery_lock(recovery);
    skink_health health = health_of(recovery);
    /* A parked watchdog would not see a loop that stalls as it leaves poll; somebody asks, so it looks. */
    if (recovery->parked) skink__watchdog_kick(recovery);
    skink__recovery_unlock(recovery);
    return health;
}

const char *skink_health_text(skink_health health)
{
    switch (health) {
    case SKINK_HEALTH_OK:
        return "the next deadlock can be recovered";
    case SKINK_HEALTH_STRAY_LIMIT:
        return "the limit of stray threads is reached: after the next deadlock no task runs until a stray returns";
    case SKINK_HEALTH_BURST:
        return "too many slices got stuck in a short time: new requests are refused until the window has passed";
    case SKINK_HEALTH_NO_STANDBY:
        return "no standby thread is there and none can be created: no deadlock can be recovered until one can";
    case SKINK_HEALTH_STALLED:
        return "a runtime section is stuck: a libuv callback or a hook does not return, and recovery cannot help";
    }
    return "unknown";
}
