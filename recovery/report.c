/* SPDX-License-Identifier: MIT */
/*
 * recovery/report.c - telling the host, on a thread of its own.
 *
 * The host's log and incident hooks may block, and the watchdog must not; so it only fills in a place of a ring that
 * was allocated at the start, and this helper thread does the telling, in order. A full ring loses reports, never
 * counters, and the number lost is told as well.
 */
#include "loop/hooks.h"
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

/* False: it could not be told. */
static bool deliver(skink_recovery *recovery, struct skink__report *report)
{
    switch (report->kind) {
    case SKINK__REPORT_DEADLOCK:
        return skink__incident_report(recovery, report->incident_number);
    case SKINK__REPORT_STRAY_RETURNED:
        skink__log(SKINK_LOG_INFO, "event=stray_returned id=%s after_ms=%llu", report->incident_id,
                   ms(report->time_ns));
        break;
    case SKINK__REPORT_HOLD_ENDED:
        skink__log(SKINK_LOG_WARNING, "event=hold_ended scheduler=%s", report->scheduler);
        break;
    case SKINK__REPORT_STALLED:
        skink__log(SKINK_LOG_ERROR, "event=runtime_stalled scheduler=%s for_ms=%llu action=none", report->scheduler,
                   ms(report->time_ns));
        break;
    case SKINK__REPORT_STALL_OVER:
        skink__log(SKINK_LOG_WARNING, "event=runtime_stall_over scheduler=%s", report->scheduler);
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

static void deliver_all(skink_recovery *recovery)
{
    struct skink__reports *reports = &recovery->reports;
    while (reports->count > 0) {
        struct skink__report report = reports->ring[reports->first];
        reports->first = (reports->first + 1) % SKINK__REPORTS_MAX;
        reports->count--;
        pthread_mutex_unlock(&recovery->mutex);
        bool told = deliver(recovery, &report);
        pthread_mutex_lock(&recovery->mutex);
        reports->lost += !told;
    }
    pthread_mutex_unlock(&recovery->mutex);
    skink__incident_report_ends(recovery);
    pthread_mutex_lock(&recovery->mutex);
    skink__limits_tell(recovery);
    if (reports->lost > 0) {
        uint64_t lost = reports->lost;
        reports->lost = 0;
        pthread_mutex_unlock(&recovery->mutex);
        skink__log(SKINK_LOG_WARNING, "event=reports_lost count=%llu", (unsigned long long)lost);
        pthread_mutex_lock(&recovery->mutex);
    }
}

static bool has_something_to_tell(const skink_recovery *recovery)
{
    return recovery->reports.count > 0 || recovery->reports.lost > 0 || skink__limits_have_news(recovery);
}

static void *reports_main(void *arg)
{
    skink_recovery *recovery = arg;
    struct skink__reports *reports = &recovery->reports;
    prctl(PR_SET_NAME, "skink-report", 0, 0, 0);
    skink__thread_started("report");
    pthread_mutex_lock(&recovery->mutex);
    while (!reports->quit || has_something_to_tell(recovery)) {
        if (!has_something_to_tell(recovery))
            pthread_cond_wait(&reports->changed, &recovery->mutex);
        else
            deliver_all(recovery);
    }
    pthread_mutex_unlock(&recovery->mutex);
    skink__investigation_destroy(reports->investigation);
    skink__thread_ending("report");
    return NULL;
}

/* ---- on other threads ---- */

int skink__reports_start(skink_recovery *recovery)
{
    int err = skink__start_thread(&recovery->reports.thread, reports_main, recovery);
    recovery->reports.running = err == 0;
    return err;
}

void skink__reports_stop(skink_recovery *recovery)
{
    if (!recovery->reports.running) return;
    pthread_mutex_lock(&recovery->mutex);
    recovery->reports.running = false; /* no more; what is in the ring is still delivered */
    recovery->reports.quit = true;
    pthread_cond_signal(&recovery->reports.changed);
    pthread_mutex_unlock(&recovery->mutex);
    pthread_join(recovery->reports.thread, NULL);
}
