/* SPDX-License-Identifier: MIT */
/* app/assembly.c - the parts of the server, put together in order and taken apart in the reverse (see assembly.h). */
#include "app/assembly.h"
#include "app/allocate.h"
#include "app/assembly_parts.h"
#include "app/config_check.h"
#include "app/log.h"
#include "app/module_loader.h"
#include "app/privileges.h"
#include "app/signals.h"
#include "loop/log_value.h"
#include "skink/detection.h"
#include "skink/error.h"
#include "skink/shutdown.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum exit_status skink__cannot_start(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("skinkd: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return EXIT_STATUS_CANNOT_START;
}

/* Each connection takes a descriptor, and the usual soft limit of 1024 is meant for programs that use select(). */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) return;
    limit.rlim_cur = limit.rlim_max;
    (void)!setrlimit(RLIMIT_NOFILE, &limit); /* if it cannot be raised, accepting says so later */
}

/* As skink__action_of(). */
static skink_on_limit on_limit(const struct assembly *a)
{
    return (skink_on_limit)(skink__setting(a, CONFIG_RECOVERY_ON_LIMIT) + SKINK_ON_LIMIT_UNHEALTHY);
}

/* On a helper thread. */
static void limit_reached(skink_limit limit, bool in_force, void *arg)
{
    const struct assembly *a = arg;
    (void)limit;
    if (in_force && on_limit(a) == SKINK_ON_LIMIT_DRAIN) skink__signals_ask_to_stop(EXIT_STATUS_LIMIT);
}

static int create_recovery(struct assembly *a)
{
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = skink__setting(a, CONFIG_LOOP_DEADLOCK_TIMEOUT);
    options.standby_threads = (uint32_t)skink__setting(a, CONFIG_RECOVERY_STANDBY_THREADS);
    options.max_strays = (uint32_t)skink__setting(a, CONFIG_RECOVERY_MAX_STRAYS);
    options.burst = (uint32_t)skink__setting(a, CONFIG_RECOVERY_BURST);
    options.burst_window_ns = skink__setting(a, CONFIG_RECOVERY_BURST_WINDOW);
    options.on_limit = on_limit(a);
    options.limit_reached = limit_reached;
    options.action = skink__action_of(&a->config->values[CONFIG_RECOVERY_ACTION]);
    options.reports_per_minute = (uint32_t)skink__setting(a, CONFIG_RECOVERY_REPORTS_PER_MINUTE);
    options.log_notes = skink__setting(a, CONFIG_RECOVERY_LOG_NOTES) != 0;
    options.arg = a;
    options.blocking_grace_ns = skink__setting(a, CONFIG_RECOVERY_BLOCKING_GRACE);
    options.max_blocking = (uint32_t)skink__setting(a, CONFIG_RECOVERY_MAX_BLOCKING);
    options.extend_ceiling_ns = skink__setting(a, CONFIG_RECOVERY_EXTEND_CEILING);
    options.incident_dir = a->config->values[CONFIG_RECOVERY_INCIDENT_DIR].text;
    return skink_recovery_create(&options, &a->recovery);
}

static skink_detection detection_mode(const struct assembly *a)
{
    return (skink_detection)(skink__setting(a, CONFIG_DETECTION_MODE) + SKINK_DETECTION_OFF); /* as on_limit() */
}

static int create_loop(struct assembly *a, size_t i)
{
    char name[16] = "loop";
    if (a->loop_count > 1) snprintf(name, sizeof name, "loop-%u", (unsigned)i + 1);
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.name = name;
    options.stack_size_bytes = skink__setting(a, CONFIG_LOOP_STACK_SIZE);
    options.task_max = (uint32_t)skink__setting(a, CONFIG_LOOP_MAX_TASKS);
    options.detection = detection_mode(a);
    options.no_detection_stacks = skink__setting(a, CONFIG_DETECTION_STACK_TRACES) == 0; /* off on */
    int error = skink_scheduler_create(&options, &a->loops[i].scheduler);
    if (error) return error;
    error = skink_recovery_watch(a->recovery, a->loops[i].scheduler);
    a->loops[i].watched = error == 0;
    return error;
}

static int create_loops(struct assembly *a)
{
    a->loop_count = (size_t)skink__setting(a, CONFIG_LOOP_COUNT);
    int error = 0;
    for (size_t i = 0; i < a->loop_count && !error; i++)
        error = create_loop(a, i);
    return error;
}

static bool needs_workers(const struct config *config)
{
    if (skink__execution_of(&config->values[CONFIG_CONCURRENCY_EXECUTION]) != SKINK_EXECUTE_LOOP) return true;
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_value *values = config->routes[i].values;
        if (skink__route_sets_execution(values) &&
            skink__execution_of(&values[CONFIG_ROUTE_EXECUTION]) != SKINK_EXECUTE_LOOP)
            return true;
    }
    return false;
}

static int create_workers(struct assembly *a)
{
    if (!needs_workers(a->config)) return 0;
    skink_workers_options options = SKINK_WORKERS_OPTIONS_INIT;
    options.threads = (uint32_t)skink__setting(a, CONFIG_CONCURRENCY_THREADS);
    options.stack_size_bytes = skink__setting(a, CONFIG_CONCURRENCY_STACK_SIZE);
    options.deadlock_timeout_ns = skink__setting(a, CONFIG_LOOP_DEADLOCK_TIMEOUT);
    int error = skink_workers_create(&options, &a->workers);
    skink_scheduler *scheduler;
    for (size_t i = 0; !error && (scheduler = skink_workers_scheduler_at(a->workers, i)) != NULL; i++)
        error = skink_recovery_watch(a->recovery, scheduler);
    return error;
}

static int create_http(struct assembly *a, size_t i)
{
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    if (skink__setting(a, CONFIG_LOG_ACCESS)) options.access = skink__log_access;
    if (skink__setting(a, CONFIG_HTTP_REUSE_PORT) || a->loop_count > 1) options.flags |= SKINK_HTTP_REUSE_PORT;
    options.max_connections = skink__share(a, skink__setting(a, CONFIG_HTTP_MAX_CONNECTIONS), i);
    options.max_header_bytes = skink__setting(a, CONFIG_HTTP_MAX_HEADER);
    options.max_body_bytes = skink__setting(a, CONFIG_HTTP_MAX_BODY);
    options.header_timeout_ns = skink__setting(a, CONFIG_HTTP_HEADER_TIMEOUT);
    options.idle_timeout_ns = skink__setting(a, CONFIG_HTTP_IDLE_TIMEOUT);
    options.request_timeout_ns = skink__setting(a, CONFIG_HTTP_REQUEST_TIMEOUT);
    options.late_window_ns = skink__setting(a, CONFIG_RECOVERY_LATE_WINDOW);
    options.quarantine_strikes = (uint32_t)skink__setting(a, CONFIG_QUARANTINE_STRIKES);
    options.quarantine_window_ns = skink__setting(a, CONFIG_QUARANTINE_WINDOW);
    options.quarantine_period_ns = skink__setting(a, CONFIG_QUARANTINE_PERIOD);
    options.max_requests = skink__share_of_limit(a, skink__setting(a, CONFIG_CONCURRENCY_MAX_REQUESTS), i);
    options.max_queue = skink__share(a, skink__setting(a, CONFIG_CONCURRENCY_MAX_QUEUE), i);
    options.workers = a->workers;
    options.execution = skink__execution_of(&a->config->values[CONFIG_CONCURRENCY_EXECUTION]);
    options.trusted_proxies = a->config->values[CONFIG_HTTP_TRUSTED_PROXIES].text;
    options.server_header = a->config->values[CONFIG_HTTP_SERVER_HEADER].text;
    return skink_http_server_create(a->loops[i].scheduler, &options, &a->http[i]);
}

static enum exit_status create_parts(struct assembly *a)
{
    int error = create_recovery(a);
    if (error) return skink__cannot_start("cannot create the watchdog and its threads: %s", skink_strerror(error));
    error = create_loops(a);
    if (error) return skink__cannot_start("cannot create the scheduler: %s", skink_strerror(error));
    error = create_workers(a);
    if (error) return skink__cannot_start("cannot create the worker threads: %s", skink_strerror(error));
    for (size_t i = 0; i < a->loop_count && !error; i++)
        error = create_http(a, i);
    if (error) return skink__cannot_start("cannot create the HTTP server: %s", skink_strerror(error));
    return EXIT_STATUS_OK;
}

static enum exit_status load_modules(struct assembly *a, const char *const *modules, size_t module_count)
{
    char complaint[MODULE_COMPLAINT_BYTES];
    for (size_t i = 0; i < module_count; i++) {
        skink__signals_heed(); /* a module may take its time, or hang */
        bool loaded =
            skink__module_load(modules[i], a->loops[0].scheduler, a->http[0], (uint32_t)a->loop_count, complaint);
        skink__signals_heed_no_more();
        if (!loaded) return skink__cannot_start("%s", complaint);
        skink__log_line(SKINK_LOG_INFO, "event=module_loaded file=%s", SKINK__QUOTED(modules[i]));
    }
    int error = 0;
    for (size_t i = 1; i < a->loop_count && !error; i++)
        error = skink_http_copy_routes(a->http[0], a->http[i]);
    return error ? skink__cannot_start("cannot give each loop its routes: %s", skink_strerror(error)) : EXIT_STATUS_OK;
}

/* Before the first request. */
static enum exit_status drop_privileges(const char *user)
{
    char complaint[PRIVILEGES_COMPLAINT_BYTES];
    if (!skink__privileges_drop(user, complaint)) return skink__cannot_start("%s", complaint);
    if (user)
        skink__log_line(SKINK_LOG_INFO, "event=user_changed user=%s uid=%d gid=%d", SKINK__QUOTED(user), (int)geteuid(),
                        (int)getegid());
    return EXIT_STATUS_OK;
}

static enum exit_status start_loops(struct assembly *a)
{
    int error = a->workers ? skink_workers_start(a->workers) : 0;
    if (error) return skink__cannot_start("cannot start the worker threads: %s", skink_strerror(error));
    for (size_t i = 0; i < a->loop_count && !error; i++)
        error = skink_scheduler_start(a->loops[i].scheduler);
    return error ? skink__cannot_start("cannot start the loop thread: %s", skink_strerror(error)) : EXIT_STATUS_OK;
}

enum exit_status skink__assembly_start(const struct config *config, const char *const *modules, size_t module_count,
                                       const char *user, struct assembly **ret_assembly)
{
    struct assembly *a = skink__app_alloc(sizeof *a);
    a->config = config;
    char complaint[INHERITED_COMPLAINT_BYTES];
    raise_descriptor_limit();
    enum exit_status status = EXIT_STATUS_OK;
    /* Before modules are loaded: they might start programs, which are not to have these sockets. */
    if (!skink__inherited_take(&a->inherited, complaint)) status = skink__cannot_start("%s", complaint);
    if (status == EXIT_STATUS_OK) status = create_parts(a);
    if (status == EXIT_STATUS_OK) status = load_modules(a, modules, module_count);
    if (status == EXIT_STATUS_OK) status = skink__assembly_configure_routes(a);
    if (status == EXIT_STATUS_OK) status = skink__assembly_open_sockets(a);
    if (status == EXIT_STATUS_OK) status = drop_privileges(user);
    if (status == EXIT_STATUS_OK) status = start_loops(a);
    if (status == EXIT_STATUS_OK)
        *ret_assembly = a;
    else
        skink__assembly_destroy(a);
    return status;
}

/* --- changes while it runs --- */

/* What was checked when it was read cannot be refused. */
static void apply_to_loop(struct assembly *a, size_t i)
{
    skink_http_server *http = a->http[i];
    (void)!skink_scheduler_set_detection(a->loops[i].scheduler, detection_mode(a));
    skink_http_set_request_timeout(http, skink__setting(a, CONFIG_HTTP_REQUEST_TIMEOUT));
    skink_http_set_timeouts(http, skink__setting(a, CONFIG_HTTP_HEADER_TIMEOUT),
                            skink__setting(a, CONFIG_HTTP_IDLE_TIMEOUT),
                            skink__setting(a, CONFIG_RECOVERY_LATE_WINDOW));
    skink_http_set_limits(http, skink__share_of_limit(a, skink__setting(a, CONFIG_CONCURRENCY_MAX_REQUESTS), i),
                          skink__share(a, skink__setting(a, CONFIG_CONCURRENCY_MAX_QUEUE), i));
}

void skink__assembly_apply(struct assembly *a)
{
    skink__log_set_level((skink_log_level)skink__setting(a, CONFIG_LOG_LEVEL));
    struct problems none = { 0 };
    (void)!skink_recovery_set_timeout(a->recovery, skink__setting(a, CONFIG_LOOP_DEADLOCK_TIMEOUT));
    skink_workers_set_timeouts(a->workers, skink__setting(a, CONFIG_LOOP_DEADLOCK_TIMEOUT), 0);
    for (size_t i = 0; i < a->loop_count; i++)
        apply_to_loop(a, i);
    skink_stats_server_set_health(a->stats, skink__setting(a, CONFIG_HEALTH_MAX_RSS),
                                  skink__setting(a, CONFIG_HEALTH_MAX_QUEUE_TIME));
    skink__assembly_set_routes(a, &none);
    skink__problems_fini(&none);
}

void skink__assembly_resume(struct assembly *assembly)
{
    skink_recovery_resume(assembly->recovery);
    for (size_t i = 0; i < assembly->loop_count; i++)
        skink_http_quarantine_lift(assembly->http[i]);
    skink__log_line(SKINK_LOG_WARNING, "event=resumed");
}

/* --- the end --- */

bool skink__assembly_stop(struct assembly *assembly, bool with_delay)
{
    skink_shutdown_options options = SKINK_SHUTDOWN_OPTIONS_INIT;
    if (with_delay) options.delay_ns = skink__setting(assembly, CONFIG_SHUTDOWN_DELAY);
    options.grace_ns = skink__setting(assembly, CONFIG_SHUTDOWN_GRACE);
    int error = skink_shutdown(assembly->http, assembly->loop_count, &options);
    assembly->wedged = error == -ETIMEDOUT;
    if (error == 0) return true;
    skink__log_line(SKINK_LOG_WARNING, "event=stop_cut reason=\"%s\"", skink_strerror(error));
    return false;
}

skink_recovery *skink__assembly_recovery(const struct assembly *assembly)
{
    return assembly->recovery;
}

static bool has_strays(const struct assembly *assembly)
{
    skink_recovery_stats stats = SKINK_RECOVERY_STATS_INIT;
    return assembly->recovery && skink_recovery_stats_read(assembly->recovery, &stats) == 0 && stats.strays > 0;
}

static void destroy_workers(struct assembly *assembly)
{
    skink_scheduler *scheduler;
    for (size_t i = 0; (scheduler = skink_workers_scheduler_at(assembly->workers, i)) != NULL; i++)
        (void)skink_recovery_unwatch(assembly->recovery, scheduler);
    skink_workers_destroy(assembly->workers);
}

/* Recovery goes last: it is needed for as long as a task can get stuck, and the stop is such a time. */
bool skink__assembly_destroy(struct assembly *assembly)
{
    if (!assembly) return true;
    if (assembly->wedged) return false;
    skink_stats_server_destroy(assembly->stats);
    destroy_workers(assembly);
    for (size_t i = 0; i < assembly->loop_count; i++)
        skink_http_server_destroy(assembly->http[i]);
    bool strays = has_strays(assembly);
    for (size_t i = 0; i < assembly->loop_count; i++) {
        struct loop *loop = &assembly->loops[i];
        if (loop->watched) skink_recovery_unwatch(assembly->recovery, loop->scheduler);
        skink_scheduler_destroy(loop->scheduler);
    }
    skink_recovery_destroy(assembly->recovery);
    free(assembly);
    return !strays;
}
