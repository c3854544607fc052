/* SPDX-License-Identifier: MIT */
/* recovery/incident_report.c - what is told of an incident, on the helper thread. */
#include "loop/hooks.h"
#include "recovery/state.h"

/* A task's name is the host's: keep one line one line. */
static void quote(const char *text, char *ret_quoted, size_t quoted_bytes)
{
    size_t used = 0;
    for (; *text && used + 3 < quoted_bytes; text++) {
        if (*text == '"' || *text == '\\') ret_quoted[used++] = '\\';
        ret_quoted[used++] = (unsigned char)*text < ' ' ? '?' : *text;
    }
    ret_quoted[used] = '\0';
}

static unsigned long long ms(uint64_t ns)
{
    return (unsigned long long)(ns / SKINK_MS);
}

static void log_line(const skink_incident *incident)
{
    char task[2 * sizeof((struct skink__incident *)0)->task];
    quote(incident->task, task, sizeof task);
    skink__log(SKINK_LOG_WARNING,
               "event=deadlock id=%s scheduler=%s generation=%llu task=\"%s\" slice_ms=%llu effective_ms=%llu cause=%s "
               "action=%s strays=%u",
               incident->id, incident->scheduler, (unsigned long long)incident->generation, task,
               ms(incident->slice_ns), ms(incident->effective_ns), skink_cause_name(incident->cause),
               incident->held ? "hold" : "takeover", (unsigned)incident->strays);
}

bool skink__incident_report(skink_recovery *recovery, uint64_t number)
{
    struct skink__incident incident;
    skink_incident view;
    if (!skink__incidents_read(&recovery->incidents, number, &incident)) return false;
    skink__incidents_complete(&recovery->incidents, &incident);
    skink__incident_view(&incident, &view);
    log_line(&view);
    if (recovery->incident) recovery->incident(&view, recovery->arg);
    return true;
}
