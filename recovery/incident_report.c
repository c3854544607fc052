/* SPDX-License-Identifier: MIT */
/* recovery/incident_report.c - an incident is found out about and told of, on the helper thread. */
#include "loop/hooks.h"
#include "loop/log_value.h"
#include "loop/memory.h"
#include "recovery/incident_text.h"
#include "recovery/state.h"
#include "skink/error.h"
#include <string.h>

static void log_block(const skink_incident *incident)
{
    char block[SKINK__INCIDENT_BLOCK_BYTES];
    skink__incident_block(incident, block);
    for (char *line = block, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        skink__log(SKINK_LOG_WARNING, "%s", line);
    }
}

static void log_incident(const skink_incident *incident)
{
    char line[SKINK__INCIDENT_LINE_BYTES];
    if (!skink__hooks()->log || incident->refused) return; /* event=wait_refused has told it */
    skink__incident_line(incident, line);
    skink__log(SKINK_LOG_WARNING, "%s", line);
    log_block(incident);
}

/* A full disk is said once, and not for each file. */
static void write_file(skink_recovery *recovery, const skink_incident *incident)
{
    struct skink__incident_files *files = &recovery->files;
    if (!files->folder) return;
    int err = skink__incident_files_write(files, incident);
    if (err && !files->has_failed)
        skink__log(SKINK_LOG_ERROR, "event=incident_file_failed id=%s folder=%s error=\"%s\"", incident->id,
                   SKINK__QUOTED(files->folder), skink_strerror(err));
    if (!err && files->has_failed)
        skink__log(SKINK_LOG_INFO, "event=incident_file_works_again id=%s folder=%s", incident->id,
                   SKINK__QUOTED(files->folder));
    files->has_failed = err != 0;
    skink__recovery_lock(recovery);
    recovery->stats.incident_files += !err;
    recovery->stats.incident_files_failed += err != 0;
    skink__recovery_unlock(recovery);
}

/* Without memory for it, what the watchdog knew has to do. */
static void investigate(skink_recovery *recovery, struct skink__incident *incident)
{
    struct skink__reports *reports = &recovery->reports;
    if (!reports->investigation) reports->investigation = skink__investigation_create(recovery);
    if (reports->investigation) skink__investigate(reports->investigation, incident);
    skink__recovery_lock(recovery);
    recovery->stats.captures[incident->facts.capture]++;
    skink__recovery_unlock(recovery);
}

static void tell(skink_recovery *recovery, const skink_incident *incident, bool quiet)
{
    if (!quiet) {
        log_incident(incident);
        write_file(recovery, incident);
    }
    if (recovery->incident) recovery->incident(incident, recovery->arg);
}

/* The wait itself is in the log already. */
static void name_stacks(skink_recovery *recovery, struct skink__incident *incident,
                        const struct skink__refused_stacks *stacks)
{
    struct skink__reports *reports = &recovery->reports;
    if (!reports->investigation) reports->investigation = skink__investigation_create(recovery);
    if (reports->investigation) skink__investigate_refused(reports->investigation, incident, stacks);
}

bool skink__incident_report(skink_recovery *recovery, uint64_t number, struct skink__refused_stacks *stacks,
                            skink_cause *ret_cause)
{
    struct skink__incident incident;
    skink_incident view;
    bool there = skink__incidents_read(&recovery->incidents, number, &incident);
    if (there && stacks)
        name_stacks(recovery, &incident, stacks);
    else if (there)
        investigate(recovery, &incident);
    skink__free(stacks);
    if (!there) return false;
    skink__incident_view(&incident, &view);
    incident.is_quiet = !skink__report_limit_admits(&recovery->reports.limit, &view, skink_now());
    *ret_cause = view.cause;
    bool quiet = incident.is_quiet;
    skink_incident *told = skink__incident_copy(&view); /* the store may let go of its own at any time */
    skink__incidents_complete(&recovery->incidents, &incident);
    if (!told) {
        incident.findings = NULL;
        skink__incident_view(&incident, &view);
    }
    tell(recovery, told ? told : &view, quiet);
    skink_incident_free(told);
    return true;
}

void skink__incident_report_ends(skink_recovery *recovery)
{
    skink_incident *ended;
    while ((ended = skink__incidents_next_news(&recovery->incidents))) {
        write_file(recovery, ended);
        skink_incident_free(ended);
    }
}
