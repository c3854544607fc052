/* SPDX-License-Identifier: MIT */
/*
 * recovery/report.c - telling the host, on a thread of its own.
 *
 * The host's log and incident hooks may block, and the watchdog must not; so it only fills in a place of a ring that
 * was allocated at the start, and this helper thread does the telling, in order. A full ring loses reports, never
 * counters, and the number lost is told as well.
 */
#include "loop/hooks.h"
#include "loop/log_value.h"
#include "recovery/state.h"
#include "skink/error.h"
#include <string.h>
#include <sys/prctl.h>

struct skink__report *skink__report_next(skink_recovery *recovery, enum skink__report_kind kind)
{
    struct skink__reports *reports = &recovery->reports;
    if (!reports->running) return NULL; /* a stray that outlived the recovery */
    if (reports->count == SKINK__REPORTS_MAX) {
        reports->lost++;
        if (kind == SKINK__REPORT_DEADLOCK) recovery->stats.reports_lost++;
        return NULL;
    }
    struct skink__report *report = &reports->ring[(reports->first + reports->count) % SKINK__REPORTS_MAX];
    memset(report, 0, sizeof *report);
    report->kind = kind;
    return report;
}

void skink__report_submit(skink_recovery *recovery)
{
    recovery->reports.count++;
    pthread_cond_signal(&recovery->reports.changed);
}

/* ---- on the helper thread ---- */

static unsigned long long ms(uint64_t ns)
{
    return (unsigned long long)(ns / SKINK_MS);
}

/* An incident that the store has let go of is counted by what was known at once. */
static bool deliver_incident(skink_recovery *recovery, const struct skink__report *report)
{
    skink_cause cause = SKINK_CAUSE_UNKNOWN;
    bool told = skink__incident_report(recovery, report->incident_number, NULL, &cause);
    skink__recovery_lock(recovery);
    skink__tally_incident(&recovery->tally, report->tally_row, cause, report->action);
    recovery->stats.reports_suppressed = recovery->reports.limit.suppressed_total;
    skink__recovery_unlock(recovery);
    return told;
}

/* No slice was declared: it is counted by the loop. */
static bool deliver_refused(skink_recovery *recovery, const struct skink__report *report)
{
    skink_cause cause;
    bool told = skink__incident_report(recovery, report->incident_number, report->stacks, &cause);
    skink__recovery_lock(recovery);
    recovery->stats.reports_suppressed = recovery->reports.limit.suppressed_total;
    skink__recovery_unlock(recovery);
    return told;
}

/* False: it could not be told. */
static bool deliver(skink_recovery *recovery, struct skink__report *report)
{
    bool of_one_slice = report->kind == SKINK__REPORT_NOTE || report->kind == SKINK__REPORT_STUCK_OVER ||
                        report->kind == SKINK__REPORT_STRAY_RETURNED;
    if (of_one_slice && !skink__report_limit_admits_line(&recovery->reports.limit, skink_now())) return true;
    switch (report->kind) {
    case SKINK__REPORT_DEADLOCK:
        return deliver_incident(recovery, report);
    case SKINK__REPORT_STUCK_OVER:
        skink__log(SKINK_LOG_INFO, "event=stuck_over id=%s slice_ms=%llu", report->incident_id, ms(report->time_ns));
        break;
    case SKINK__REPORT_NOTE:
        skink__log(SKINK_LOG_INFO, "event=note scheduler=%s task=%s effective_ms=%llu",
                   SKINK__LOG_WORD(report->scheduler), SKINK__QUOTED(report->task), ms(report->time_ns));
        break;
    case SKINK__REPORT_REFUSED:
        return deliver_refused(recovery, report);
    case SKINK__REPORT_STRAY_RETURNED:
        skink__log(SKINK_LOG_INFO, "event=stray_returned id=%s after_ms=%llu", report->incident_id,
                   ms(report->time_ns));
        break;
    case SKINK__REPORT_HOLD_ENDED:
        skink__log(SKINK_LOG_WARNING, "event=hold_ended scheduler=%s", SKINK__LOG_WORD(report->scheduler));
        break;
    case SKINK__REPORT_STALLED:
        skink__log(SKINK_LOG_ERROR, "event=runtime_stalled scheduler=%s for_ms=%llu action=none",
                   SKINK__LOG_WORD(report->scheduler), ms(report->time_ns));
        break;
    case SKINK__REPORT_STALL_OVER:
        skink__log(SKINK_LOG_WARNING, "event=runtime_stall_over scheduler=%s", SKINK__LOG_WORD(report->scheduler));
        break;
    case SKINK__REPORT_NO_STANDBY:
        skink__log(SKINK_LOG_ERROR, "event=no_standby error=\"%s\"", skink_strerror(report->error));
        break;
    case SKINK__REPORT_STANDBY_BACK:
        skink__log(SKINK_LOG_WARNING, "event=standby_back");
        break;
    }
    return true;
}

/* Once a minute, or at the end, or at once where there is no limit. */
static void tell_what_is_missing(struct skink__report_limit *limit, uint64_t lost, bool at_the_end)
{
    limit->lost += lost;
    if (!skink__report_limit_is_over(limit, skink_now()) && !at_the_end) return;
    if (limit->suppressed_reports + limit->suppressed_lines > 0)
        skink__log(SKINK_LOG_WARNING, "event=reports_suppressed reports=%llu lines=%llu",
                   (unsigned long long)limit->suppressed_reports, (unsigned long long)limit->suppressed_lines);
    if (limit->lost > 0)
        skink__log(SKINK_LOG_WARNING, "event=reports_lost count=%llu", (unsigned long long)limit->lost);
    limit->suppressed_reports = limit->suppressed_lines = limit->lost = 0;
}

static void deliver_all(skink_recovery *recovery) SKINK__WITH_MUTEX
{
    struct skink__reports *reports = &recovery->reports;
    skink__poison_answer(recovery);
    while (reports->count > 0) {
        struct skink__report report = reports->ring[reports->first];
        reports->first = (reports->first + 1) % SKINK__REPORTS_MAX;
        reports->count--;
        skink__recovery_unlock(recovery);
        bool told = deliver(recovery, &report);
        skink__recovery_lock(recovery);
        reports->lost += !told;
        skink__poison_answer(recovery);        /* others wait for that one */
        recovery->stats.reports_lost += !told; /* only incidents can fail to */
    }
    skink__recovery_unlock(recovery);
    skink__incident_report_ends(recovery);
    skink__recovery_lock(recovery);
    skink__limits_tell(recovery);
    uint64_t lost = reports->lost;
    bool at_the_end = reports->quit;
    reports->lost = 0;
    skink__recovery_unlock(recovery);
    tell_what_is_missing(&reports->limit, lost, at_the_end);
    skink__recovery_lock(recovery);
}

static bool has_something_to_tell(const skink_recovery *recovery) SKINK__WITH_MUTEX
{
    return recovery->poison.asked || recovery->reports.count > 0 || recovery->reports.lost > 0 ||
           skink__limits_have_news(recovery);
}

static void *reports_main(void *arg)
{
    skink_recovery *recovery = arg;
    struct skink__reports *reports = &recovery->reports;
    prctl(PR_SET_NAME, "skink-report", 0, 0, 0);
    skink__thread_started("report");
    skink__recovery_lock(recovery);
    while (!reports->quit || has_something_to_tell(recovery)) {
        if (!has_something_to_tell(recovery))
            pthread_cond_wait(&reports->changed, &recovery->mutex);
        else
            deliver_all(recovery);
    }
    skink__recovery_unlock(recovery);
    skink__investigation_destroy(reports->investigation);
    skink__thread_ending("report");
    return NULL;
}

/* ---- on other threads ---- */

int skink__reports_start(skink_recovery *recovery)
{
    int err = skink__start_thread(&recovery->reports.thread, reports_main, recovery);
    SKINK__ASSUME(skink__recovery_mutex); /* of those who know it yet nobody asks */
    recovery->reports.running = err == 0;
    return err;
}

void skink__reports_stop(skink_recovery *recovery)
{
    skink__recovery_lock(recovery);
    bool running = recovery->reports.running;
    recovery->reports.running = false; /* no more; what is in the ring is still delivered */
    recovery->reports.quit = true;
    pthread_cond_signal(&recovery->reports.changed);
    skink__recovery_unlock(recovery);
    if (running) pthread_join(recovery->reports.thread, NULL);
}
