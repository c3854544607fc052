/* SPDX-License-Identifier: MIT */
/*
 * metrics.c - which metric comes from where, mostly as tables: a name, a help text and the field it is read from.
 *
 * A gauge and a counter never share a name up to "_total": readers that cut the suffix would mix them up.
 */
#include "middleware/metrics.h"
#include "loop/takeover.h"
#include "middleware/health.h"
#include "middleware/http_stats.h"
#include "middleware/process_metrics.h"
#include "skink/clock.h"
#include "skink/version.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ---- tables of plain numbers ---- */

enum unit { COUNT, NANOSECONDS };

struct row {
    enum skink__metric_type type;
    enum unit unit;
    size_t offset; /* of a uint64_t in the struct that the table is about */
    const char *name;
    const char *help;
};

/* The _Generic refuses a field of another type. */
#define FIELD(of, field) (offsetof(of, field) + _Generic(((of *)0)->field, uint64_t : 0))

static void write_table(struct skink__prometheus *writer, const struct row *rows, size_t row_count, const void *values)
{
    for (const struct row *row = rows; row < rows + row_count; row++) {
        uint64_t value = *(const uint64_t *)((const char *)values + row->offset);
        skink__prometheus_family(writer, row->type, row->name, row->help);
        if (row->unit == NANOSECONDS)
            skink__prometheus_seconds(writer, NULL, value);
        else
            skink__prometheus_count(writer, NULL, value);
    }
}
#define WRITE_TABLE(writer, rows, values) write_table((writer), (rows), sizeof(rows) / sizeof *(rows), (values))

static void write_gauge(struct skink__prometheus *writer, const char *name, const char *help, uint64_t value)
{
    skink__prometheus_family(writer, SKINK__GAUGE, name, help);
    skink__prometheus_count(writer, NULL, value);
}

/* ---- the scheduler ---- */

#define ROW(type, unit, field, name, help)                                                                             \
    {                                                                                                                  \
        type, unit, FIELD(skink_scheduler_stats, field), name, help                                                    \
    }
static const struct row scheduler_rows[] = {
    ROW(SKINK__GAUGE, COUNT, generation, "skink_loop_generation",
        "Number of the loop thread: 1 at first, one more with each takeover."),
    ROW(SKINK__GAUGE, COUNT, tasks_living, "skink_tasks_living", "Tasks spawned and not ended."),
    ROW(SKINK__GAUGE, COUNT, tasks_ready, "skink_tasks_ready", "Tasks in the ready queue."),
    ROW(SKINK__GAUGE, COUNT, tasks_suspended, "skink_tasks_suspended", "Tasks started and waiting for something."),
    ROW(SKINK__COUNTER, COUNT, tasks_started, "skink_tasks_started_total", "Tasks that have had their first slice."),
    ROW(SKINK__COUNTER, COUNT, tasks_finished, "skink_tasks_finished_total",
        "Tasks that have ended, those dropped at a stop included."),
    ROW(SKINK__COUNTER, COUNT, slices, "skink_slices_total", "Slices started."),
    ROW(SKINK__COUNTER, COUNT, migrations, "skink_migrations_total", "Tasks that came back from a stray to the loop."),
    ROW(SKINK__GAUGE, COUNT, stacks_allocated, "skink_stacks", "Task stacks, in use and pooled."),
    ROW(SKINK__GAUGE, COUNT, tasks_blocking, "skink_tasks_blocking",
        "Tasks off the loop in a stretch that is known to block."),
    ROW(SKINK__COUNTER, COUNT, blocking_begun, "skink_blocking_stretches_total",
        "Stretches begun that are known to block."),
    ROW(SKINK__COUNTER, COUNT, waits_refused, "skink_waits_refused_total",
        "Blocking waits refused with EDEADLK since they could never have ended."),
    ROW(SKINK__COUNTER, COUNT, waits_potential, "skink_waits_refused_potential_total",
        "Blocking waits refused only because detection.mode is potential."),
};
#undef ROW

/* The i-th scheduler: that of the sources, or of the servers that have the same routes as theirs. */
static skink_scheduler *scheduler_at(const skink_stats_sources *sources, size_t i)
{
    return i == 0 ? sources->scheduler : skink__http_stats_scheduler_at(sources->http_server, i);
}

static bool read_scheduler(const skink_stats_sources *sources, size_t i, skink_scheduler_stats *stats)
{
    *stats = (skink_scheduler_stats)SKINK_SCHEDULER_STATS_INIT;
    skink_scheduler *scheduler = scheduler_at(sources, i);
    return scheduler && skink_scheduler_stats_read(scheduler, stats) == 0;
}

static void add_scheduler(skink_scheduler_stats *sum, const skink_scheduler_stats *one)
{
    for (const struct row *row = scheduler_rows; row < scheduler_rows + sizeof scheduler_rows / sizeof *row; row++)
        *(uint64_t *)((char *)sum + row->offset) += *(const uint64_t *)((const char *)one + row->offset);
    sum->generation--; /* each begins at 1, and so does the sum */
}

/* With several loops: what tells them apart. */
static void write_each_scheduler(struct skink__prometheus *writer, const skink_stats_sources *sources,
                                 const struct row *row, const char *name, const char *help)
{
    skink_scheduler_stats stats;
    skink__prometheus_family(writer, row->type, name, help);
    for (size_t i = 0; read_scheduler(sources, i, &stats); i++) {
        const struct skink__label labels[] = { { "scheduler", skink__scheduler_name(scheduler_at(sources, i)) },
                                               { 0 } };
        skink__prometheus_count(writer, labels, *(const uint64_t *)((const char *)&stats + row->offset));
    }
}

static void write_schedulers(struct skink__prometheus *writer, const skink_stats_sources *sources)
{
    skink_scheduler_stats sum, one;
    if (!read_scheduler(sources, 0, &sum)) return;
    uint64_t count = 1, running = sum.running, held = sum.held;
    for (; read_scheduler(sources, count, &one); count++) {
        add_scheduler(&sum, &one);
        running += one.running;
        held += one.held;
    }
    WRITE_TABLE(writer, scheduler_rows, &sum);
    write_gauge(writer, "skink_loop_running", "Loops between their start and their stop.", running);
    write_gauge(writer, "skink_loop_held", "Loops that run no task because the stray limit was passed.", held);
    if (count == 1) return;
#define OF_EACH(type, field) &(const struct row){ type, COUNT, FIELD(skink_scheduler_stats, field), NULL, NULL }
    write_each_scheduler(writer, sources, OF_EACH(SKINK__GAUGE, generation), "skink_scheduler_generation",
                         "Number of the loop thread, of each of several loops.");
    write_each_scheduler(writer, sources, OF_EACH(SKINK__GAUGE, tasks_living), "skink_scheduler_tasks_living",
                         "Tasks spawned and not ended, of each of several loops.");
    write_each_scheduler(writer, sources, OF_EACH(SKINK__COUNTER, slices), "skink_scheduler_slices_total",
                         "Slices started, of each of several loops.");
#undef OF_EACH
}

/* ---- workers ---- */

#define ROW(type, unit, field, name, help)                                                                             \
    {                                                                                                                  \
        type, unit, FIELD(skink_workers_stats, field), name, help                                                      \
    }
static const struct row worker_rows[] = {
    ROW(SKINK__GAUGE, COUNT, threads, "skink_workers", "Threads for requests that may block."),
    ROW(SKINK__GAUGE, COUNT, busy, "skink_workers_busy", "Of these, with a request."),
    ROW(SKINK__GAUGE, COUNT, held, "skink_workers_held", "Of these, lost until a stray returns."),
    ROW(SKINK__GAUGE, COUNT, queued, "skink_worker_queue_length",
        "Requests that wait for a worker, or for their turn in serial execution."),
    ROW(SKINK__COUNTER, COUNT, started, "skink_worker_requests_total", "Requests that ever got a worker."),
    ROW(SKINK__COUNTER, COUNT, stuck, "skink_worker_stuck_total", "Requests whose thread was taken from them."),
    ROW(SKINK__COUNTER, COUNT, overdue, "skink_worker_overdue_total",
        "Requests whose time passed while they were suspended, so that their worker went on without them."),
    ROW(SKINK__COUNTER, NANOSECONDS, waited_ns, "skink_worker_wait_seconds_total",
        "Time that requests have waited for a worker."),
};
#undef ROW

static void write_workers(struct skink__prometheus *writer, const skink_http_server *server)
{
    skink_workers_stats stats = SKINK_WORKERS_STATS_INIT;
    skink_workers *workers = server ? skink__http_stats_workers(server) : NULL;
    if (workers && skink_workers_stats_read(workers, &stats) == 0) WRITE_TABLE(writer, worker_rows, &stats);
}

/* ---- recovery ---- */

#define ROW(type, unit, field, name, help)                                                                             \
    {                                                                                                                  \
        type, unit, FIELD(skink_recovery_stats, field), name, help                                                     \
    }
static const struct row recovery_rows[] = {
    ROW(SKINK__COUNTER, COUNT, deadlocks, "skink_deadlocks_total", "Slices declared stuck."),
    ROW(SKINK__COUNTER, COUNT, deadlocks_starved, "skink_deadlocks_starved_total",
        "Slices declared stuck at the ceiling, because their thread was not given the processor."),
    ROW(SKINK__COUNTER, COUNT, takeovers, "skink_takeovers_total", "Times a fresh thread took the loop over."),
    ROW(SKINK__GAUGE, COUNT, strays, "skink_strays", "Loop threads abandoned that have not ended."),
    ROW(SKINK__COUNTER, COUNT, strays_total, "skink_strays_abandoned_total", "Loop threads ever abandoned."),
    ROW(SKINK__COUNTER, COUNT, strays_returned, "skink_strays_returned_total", "Strays that came free and ended."),
    ROW(SKINK__GAUGE, NANOSECONDS, oldest_stray_ns, "skink_oldest_stray_age_seconds",
        "For how long the oldest living stray has been one; 0 without one."),
    ROW(SKINK__GAUGE, NANOSECONDS, current_slice_ns, "skink_current_slice_seconds",
        "For how long the current slice has run, as the watchdog sees it; next to 0 while the loop moves."),
    ROW(SKINK__COUNTER, NANOSECONDS, starved_ns, "skink_starved_seconds_total",
        "Time of slices that did not count because the thread was not given the processor."),
    ROW(SKINK__COUNTER, NANOSECONDS, suspended_ns, "skink_suspended_seconds_total",
        "Time of slices that did not count because the process or the thread was stopped."),
    ROW(SKINK__COUNTER, COUNT, runtime_stalls, "skink_runtime_stalls_total",
        "Runtime sections that took longer than the timeout; these cannot be recovered."),
    ROW(SKINK__GAUGE, COUNT, standby_threads, "skink_standby_threads", "Threads parked, ready for a takeover."),
    ROW(SKINK__COUNTER, COUNT, standby_failures, "skink_standby_failures_total",
        "Attempts to create a standby thread that failed."),
    ROW(SKINK__GAUGE, COUNT, blocking_threads, "skink_blocking_threads",
        "Threads off the loop in a stretch that is known to block."),
    ROW(SKINK__COUNTER, COUNT, blocking_handed_on, "skink_blocking_handed_on_total",
        "Times the loop was handed on since a stretch that is known to block took longer than the grace."),
    ROW(SKINK__COUNTER, COUNT, poisoned, "skink_poisoned_total",
        "Slices declared stuck at once, since they waited for a lock that a stray holds."),
    ROW(SKINK__COUNTER, COUNT, reported, "skink_deadlocks_only_reported_total",
        "Slices declared stuck and left where they were; not among skink_deadlocks_total."),
    ROW(SKINK__COUNTER, COUNT, reports_suppressed, "skink_reports_suppressed_total",
        "Incidents not logged because of the limit of reports a minute."),
    ROW(SKINK__COUNTER, COUNT, reports_lost, "skink_reports_lost_total",
        "Incidents not reported at all, since more came than could be looked at."),
    ROW(SKINK__COUNTER, COUNT, ticks, "skink_watchdog_ticks_total", "Samples the watchdog has taken."),
    ROW(SKINK__COUNTER, COUNT, incident_files, "skink_incident_files_total",
        "Incident files written; one that ended later is written twice."),
    ROW(SKINK__COUNTER, COUNT, incident_files_failed, "skink_incident_files_failed_total",
        "Incident files that could not be written."),
};
#undef ROW

static void write_captures(struct skink__prometheus *writer, const skink_recovery_stats *stats)
{
    skink__prometheus_family(writer, SKINK__COUNTER, "skink_stack_captures_total",
                             "Stacks of stuck threads looked for, by how that went.");
    for (unsigned capture = SKINK_CAPTURE_OK; capture < SKINK_CAPTURES; capture++) {
        const struct skink__label labels[] = { { "result", skink_capture_name((skink_capture)capture) }, { 0 } };
        skink__prometheus_count(writer, labels, stats->captures[capture]);
    }
}

static void write_recovery_limits(struct skink__prometheus *writer, const skink_recovery_stats *stats)
{
    skink__prometheus_family(writer, SKINK__COUNTER, "skink_limits_reached_total",
                             "Times that a limit of recovery was reached.");
    for (skink_limit i = 0; i < SKINK_LIMITS; i++)
        skink__prometheus_count(writer, (const struct skink__label[]){ { "limit", skink_limit_name(i) }, { 0 } },
                                stats->limit_reached[i]);
    skink__prometheus_family(writer, SKINK__GAUGE, "skink_limit_in_force", "1 while a limit of recovery is in force.");
    for (skink_limit i = 0; i < SKINK_LIMITS; i++)
        skink__prometheus_count(writer, (const struct skink__label[]){ { "limit", skink_limit_name(i) }, { 0 } },
                                stats->limit_in_force[i]);
}

static void write_incidents(const skink_recovery_count *count, void *arg)
{
    for (unsigned cause = 0; cause < SKINK_CAUSES; cause++)
        for (unsigned action = 0; action < SKINK_ACTIONS; action++) {
            /* One that is always there, so that a rate can be asked for before the first incident. */
            bool first = *count->method == '\0' && strcmp(count->route, "(other)") == 0 &&
                         cause == SKINK_CAUSE_UNKNOWN && action == SKINK_ACTION_TAKEOVER;
            if (count->incidents[cause][action] == 0 && !first) continue;
            const struct skink__label labels[] = { { "action", skink_action_name((skink_action)action) },
                                                   { "cause", skink_cause_name((skink_cause)cause) },
                                                   { "method", count->method },
                                                   { "route", count->route },
                                                   { 0 } };
            skink__prometheus_count(arg, labels, count->incidents[cause][action]);
        }
}

static void write_notes(const skink_recovery_count *count, void *arg)
{
    if (count->notes == 0 && strcmp(count->route, "(other)") != 0) return;
    const struct skink__label labels[] = { { "method", count->method }, { "route", count->route }, { 0 } };
    skink__prometheus_count(arg, labels, count->notes);
}

static void write_recovery_counts(struct skink__prometheus *writer, skink_recovery *recovery)
{
    skink__prometheus_family(writer, SKINK__COUNTER, "skink_incidents_total",
                             "Slices declared stuck, counted when their cause is known.");
    skink_recovery_counts(recovery, write_incidents, writer);
    skink__prometheus_family(writer, SKINK__COUNTER, "skink_notes_total", "Slices that used half of their timeout.");
    skink_recovery_counts(recovery, write_notes, writer);
}

static void write_recovery(struct skink__prometheus *writer, skink_recovery *recovery)
{
    skink_recovery_stats stats = SKINK_RECOVERY_STATS_INIT;
    if (!recovery || skink_recovery_stats_read(recovery, &stats)) return;
    WRITE_TABLE(writer, recovery_rows, &stats);
    write_recovery_limits(writer, &stats);
    write_recovery_counts(writer, recovery);
    skink__prometheus_family(writer, SKINK__HISTOGRAM, "skink_recovery_seconds",
                             "From a declared deadlock to the fresh loop thread's first act.");
    skink__prometheus_histogram(writer, NULL,
                                &(struct skink__histogram){ .bounds_ns = skink_recovery_bucket_bounds_ns,
                                                            .counts = stats.recovery_count,
                                                            .bucket_count = SKINK_RECOVERY_BUCKETS,
                                                            .sum_ns = stats.recovery_sum_ns });
    write_captures(writer, &stats);
}

/* ---- the HTTP server ---- */

#define ROW(type, field, name, help)                                                                                   \
    {                                                                                                                  \
        type, COUNT, FIELD(struct skink__http_stats, field), name, help                                                \
    }
static const struct row http_rows[] = {
    ROW(SKINK__GAUGE, in_flight, "skink_requests_in_flight", "Requests handed to a task and not answered yet."),
    ROW(SKINK__COUNTER, requests_refused, "skink_requests_refused_total",
        "Requests answered 503 before their handler was called."),
    ROW(SKINK__COUNTER, requests_malformed, "skink_requests_malformed_total", "Requests refused by the parser."),
    ROW(SKINK__COUNTER, response_bytes, "skink_response_bytes_total", "Bytes of answers, headers and bodies."),
    ROW(SKINK__COUNTER, late_answers_dropped, "skink_late_answers_dropped_total",
        "Answers dropped since the client had been told that its request was stuck or had expired."),
    ROW(SKINK__COUNTER, requests_expired, "skink_requests_expired_total",
        "Requests not answered in the time that they had; their clients got 504."),
    ROW(SKINK__COUNTER, answers_client_gone, "skink_answers_client_gone_total",
        "Answers dropped since the client had gone."),
    ROW(SKINK__COUNTER, answers_missing, "skink_answers_missing_total", "Handlers that returned without an answer."),
    ROW(SKINK__COUNTER, answers_cut, "skink_answers_cut_total", "Streamed answers that were cut short."),
    ROW(SKINK__GAUGE, connections, "skink_connections", "Open connections."),
    ROW(SKINK__COUNTER, connections_total, "skink_connections_accepted_total",
        "Connections accepted, the refused included."),
    ROW(SKINK__COUNTER, connections_refused, "skink_connections_refused_total",
        "Connections answered 503 and closed because of http.max_connections."),
};
#undef ROW

static void write_code(const char *method, const char *route, int code, uint64_t count, void *arg)
{
    char code_text[16];
    snprintf(code_text, sizeof code_text, "%d", code);
    const struct skink__label labels[] = { { "code", code_text }, { "method", method }, { "route", route }, { 0 } };
    skink__prometheus_count(arg, labels, count);
}

static void write_durations(const struct skink__http_route_stats *route, void *arg)
{
    const struct skink__label labels[] = { { "method", route->method }, { "route", route->route }, { 0 } };
    skink__prometheus_histogram(arg, labels,
                                &(struct skink__histogram){ .bounds_ns = skink__http_bucket_bounds_ns,
                                                            .counts = route->durations.buckets,
                                                            .bucket_count = SKINK__HTTP_BUCKETS,
                                                            .sum_ns = route->durations.sum_ns });
}

/* One family at a time, so the routes are gone through for each. Those without a route cannot get stuck. */
struct quarantine_family {
    struct skink__prometheus *writer;
    enum { QUARANTINED, QUARANTINES, REFUSED, TRIALS } what;
};

static void write_quarantine(const struct skink__http_route_stats *route, void *arg)
{
    const struct quarantine_family *family = arg;
    if (!*route->method) return;
    const struct skink__label labels[] = { { "method", route->method }, { "route", route->route }, { 0 } };
    const uint64_t values[] = { [QUARANTINED] = route->quarantined,
                                [QUARANTINES] = route->quarantines,
                                [REFUSED] = route->quarantine_refused,
                                [TRIALS] = route->quarantine_trials };
    skink__prometheus_count(family->writer, labels, values[family->what]);
}

static void write_quarantines(struct skink__prometheus *writer, const skink_http_server *server)
{
    struct quarantine_family family = { .writer = writer, .what = QUARANTINED };
    skink__prometheus_family(writer, SKINK__GAUGE, "skink_route_quarantined",
                             "1 while the route is in quarantine or on trial.");
    skink__http_stats_routes(server, write_quarantine, &family);
    family.what = QUARANTINES;
    skink__prometheus_family(writer, SKINK__COUNTER, "skink_quarantines_total",
                             "Times that the route was put into quarantine.");
    skink__http_stats_routes(server, write_quarantine, &family);
    family.what = REFUSED;
    skink__prometheus_family(writer, SKINK__COUNTER, "skink_quarantine_refused_total",
                             "Requests answered 503 because their route was in quarantine.");
    skink__http_stats_routes(server, write_quarantine, &family);
    family.what = TRIALS;
    skink__prometheus_family(writer, SKINK__COUNTER, "skink_quarantine_trials_total",
                             "Requests let through to find out whether the route is well again.");
    skink__http_stats_routes(server, write_quarantine, &family);
}

/* ---- limits of concurrency: one table, a series for each limit ---- */

#define ROW(type, field, name, help)                                                                                   \
    {                                                                                                                  \
        type, COUNT, FIELD(struct skink__http_limit_stats, field), name, help                                          \
    }
static const struct row limit_rows[] = {
    ROW(SKINK__GAUGE, in_use, "skink_permits_in_use", "Requests that were let in and have not ended or got stuck."),
    ROW(SKINK__GAUGE, max_requests, "skink_permits_limit", "How many are let in at once; 0: as many as come."),
    ROW(SKINK__GAUGE, queued, "skink_queue_length", "Requests that wait to be let in."),
    ROW(SKINK__GAUGE, max_queue, "skink_queue_limit", "How many may wait."),
    ROW(SKINK__COUNTER, turned_away, "skink_requests_rejected_total", "Requests answered 429, the queue being full."),
    ROW(SKINK__COUNTER, left, "skink_queue_left_total", "Requests that left the queue without having been let in."),
};
#undef ROW

struct limit_writer {
    struct skink__prometheus *writer;
    const struct row *row;
};

static void write_limit(const struct skink__http_limit_stats *limit, void *arg)
{
    const struct limit_writer *to = arg;
    const struct skink__label labels[] = { { "route", limit->route }, { 0 } };
    skink__prometheus_count(to->writer, labels, *(const uint64_t *)((const char *)limit + to->row->offset));
}

static void write_waits(const struct skink__http_limit_stats *limit, void *arg)
{
    const struct skink__label labels[] = { { "route", limit->route }, { 0 } };
    skink__prometheus_histogram(arg, labels,
                                &(struct skink__histogram){ .bounds_ns = skink__http_bucket_bounds_ns,
                                                            .counts = limit->waits.buckets,
                                                            .bucket_count = SKINK__HTTP_BUCKETS,
                                                            .sum_ns = limit->waits.sum_ns });
}

static void write_limits(struct skink__prometheus *writer, const skink_http_server *server)
{
    for (size_t i = 0; i < sizeof limit_rows / sizeof *limit_rows; i++) {
        struct limit_writer to = { writer, &limit_rows[i] };
        skink__prometheus_family(writer, to.row->type, to.row->name, to.row->help);
        skink__http_stats_limits(server, write_limit, &to);
    }
    skink__prometheus_family(writer, SKINK__HISTOGRAM, "skink_queue_seconds",
                             "For how long requests that were let in out of the queue had waited.");
    skink__http_stats_limits(server, write_waits, writer);
}

static void write_http(struct skink__prometheus *writer, const skink_http_server *server)
{
    if (!server) return;
    struct skink__http_stats stats;
    skink__http_stats_read(server, &stats);
    WRITE_TABLE(writer, http_rows, &stats);
    skink__prometheus_family(writer, SKINK__COUNTER, "skink_requests_total",
                             "Requests answered; 499 when the client had gone before.");
    skink__http_stats_codes(server, write_code, writer);
    skink__prometheus_family(writer, SKINK__HISTOGRAM, "skink_request_seconds",
                             "From a request's first byte to its answer being handed to the kernel.");
    skink__http_stats_routes(server, write_durations, writer);
    if (stats.has_quarantine) write_quarantines(writer, server);
    write_limits(writer, server);
}

/* ---- the page ---- */

void skink__metrics_init(struct skink__metrics *metrics, const skink_stats_sources *sources)
{
    metrics->sources = *sources;
    atomic_init(&metrics->limits.max_rss_bytes, sources->max_rss_bytes);
    atomic_init(&metrics->limits.max_queue_ns, sources->max_queue_ns);
    metrics->created_ns = skink_now();
    metrics->start_unix_ns = skink__process_start_unix_ns();
}

void skink__metrics_write(const struct skink__metrics *metrics, struct skink__prometheus *writer)
{
    const skink_stats_sources *sources = &metrics->sources;
    skink__prometheus_family(writer, SKINK__GAUGE, "skink_build_info", "1; the label says which skink this is.");
    skink__prometheus_count(writer, (const struct skink__label[]){ { "version", skink_version() }, { 0 } }, 1);
    skink__prometheus_family(writer, SKINK__GAUGE, "skink_uptime_seconds", "Since the stats server was started.");
    skink__prometheus_seconds(writer, NULL, skink_now() - metrics->created_ns);
    struct skink__health_facts facts = skink__health_read(sources, &metrics->limits);
    write_gauge(writer, "skink_healthy", "1 while /health answers 200, and 0 while it answers 503.",
                skink__health_judge(&facts, SKINK__PROBE_READY).healthy);
    write_schedulers(writer, sources);
    write_workers(writer, sources->http_server);
    write_recovery(writer, sources->recovery);
    write_http(writer, sources->http_server);
    skink__process_metrics_write(writer, metrics->start_unix_ns);
    for (size_t i = 0; i < sources->host_metric_count; i++) {
        const skink_host_metric *host = &sources->host_metrics[i];
        skink__prometheus_family(writer, host->is_counter ? SKINK__COUNTER : SKINK__GAUGE, host->name, host->help);
        skink__prometheus_count(writer, NULL, host->read(host->arg));
    }
}
