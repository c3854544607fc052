/* SPDX-License-Identifier: MIT */
/* app/assembly.c - the parts of the server, put together in order and taken apart in the reverse (see assembly.h). */
#include "app/assembly.h"
#include "app/allocate.h"
#include "app/config_check.h"
#include "app/inherited.h"
#include "app/log.h"
#include "app/module_loader.h"
#include "app/privileges.h"
#include "app/reload.h"
#include "app/signals.h"
#include "app/suggest.h"
#include "app/token.h"
#include "loop/log_value.h"
#include "skink/detection.h"
#include "skink/error.h"
#include "skink/http_server.h"
#include "skink/recovery.h"
#include "skink/scheduler.h"
#include "skink/shutdown.h"
#include "skink/stats_server.h"
#include "skink/workers.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LOOPS_MAX = 256 }; /* the schema says so, too */

struct assembly {
    const struct config *config;
    skink_recovery *recovery;
    struct loop {
        skink_scheduler *scheduler;
        bool watched;
    } loops[LOOPS_MAX];
    skink_http_server *http[LOOPS_MAX]; /* each on its own loop */
    size_t loop_count;
    skink_workers *workers; /* NULL: no request needs them */
    skink_stats_server *stats;
    skink_host_metric metrics[SKINK__RELOAD_METRICS + 1];
    struct inherited inherited; /* while the sockets are opened */
    bool wedged;                /* the loop thread is stuck where nobody can take over: nothing may be freed */
};

static uint64_t number(const struct assembly *a, enum config_id id)
{
    return a->config->values[id].number;
}

/* Words of the configuration are in the order of the library's enumerators, from the one that is named here on. */
static skink_on_limit on_limit(const struct assembly *a)
{
    return (skink_on_limit)(number(a, CONFIG_RECOVERY_ON_LIMIT) + SKINK_ON_LIMIT_UNHEALTHY);
}

__attribute__((format(printf, 1, 2))) static enum exit_status cannot_start(const char *format, ...)
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

/* As on_limit(); without a text the key is not set. */
static skink_action action_of(const struct config_value *value)
{
    return value->text ? (skink_action)(value->number + SKINK_ACTION_TAKEOVER) : SKINK_ACTION_DEFAULT;
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
    options.deadlock_timeout_ns = number(a, CONFIG_LOOP_DEADLOCK_TIMEOUT);
    options.standby_threads = (uint32_t)number(a, CONFIG_RECOVERY_STANDBY_THREADS);
    options.max_strays = (uint32_t)number(a, CONFIG_RECOVERY_MAX_STRAYS);
    options.burst = (uint32_t)number(a, CONFIG_RECOVERY_BURST);
    options.burst_window_ns = number(a, CONFIG_RECOVERY_BURST_WINDOW);
    options.on_limit = on_limit(a);
    options.limit_reached = limit_reached;
    options.action = action_of(&a->config->values[CONFIG_RECOVERY_ACTION]);
    options.reports_per_minute = (uint32_t)number(a, CONFIG_RECOVERY_REPORTS_PER_MINUTE);
    options.log_notes = number(a, CONFIG_RECOVERY_LOG_NOTES) != 0;
    options.arg = a;
    options.blocking_grace_ns = number(a, CONFIG_RECOVERY_BLOCKING_GRACE);
    options.max_blocking = (uint32_t)number(a, CONFIG_RECOVERY_MAX_BLOCKING);
    options.extend_ceiling_ns = number(a, CONFIG_RECOVERY_EXTEND_CEILING);
    options.incident_dir = a->config->values[CONFIG_RECOVERY_INCIDENT_DIR].text;
    return skink_recovery_create(&options, &a->recovery);
}

static skink_detection detection_mode(const struct assembly *a)
{
    return (skink_detection)(number(a, CONFIG_DETECTION_MODE) + SKINK_DETECTION_OFF); /* as on_limit() */
}

static int create_loop(struct assembly *a, size_t i)
{
    char name[16] = "loop";
    if (a->loop_count > 1) snprintf(name, sizeof name, "loop-%u", (unsigned)i + 1);
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.name = name;
    options.stack_size_bytes = number(a, CONFIG_LOOP_STACK_SIZE);
    options.task_max = (uint32_t)number(a, CONFIG_LOOP_MAX_TASKS);
    options.detection = detection_mode(a);
    options.no_detection_stacks = number(a, CONFIG_DETECTION_STACK_TRACES) == 0; /* off on */
    int error = skink_scheduler_create(&options, &a->loops[i].scheduler);
    if (error) return error;
    error = skink_recovery_watch(a->recovery, a->loops[i].scheduler);
    a->loops[i].watched = error == 0;
    return error;
}

static int create_loops(struct assembly *a)
{
    a->loop_count = (size_t)number(a, CONFIG_LOOP_COUNT);
    int error = 0;
    for (size_t i = 0; i < a->loop_count && !error; i++)
        error = create_loop(a, i);
    return error;
}

/* As on_limit(). */
static skink_execution execution(const struct config_value *value)
{
    return (skink_execution)(value->number + SKINK_EXECUTE_LOOP);
}

static bool sets_execution(const struct config_value *route_values)
{
    return route_values && route_values[CONFIG_ROUTE_EXECUTION].origin.kind != ORIGIN_DEFAULT;
}

static bool needs_workers(const struct config *config)
{
    if (execution(&config->values[CONFIG_CONCURRENCY_EXECUTION]) != SKINK_EXECUTE_LOOP) return true;
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_value *values = config->routes[i].values;
        if (sets_execution(values) && execution(&values[CONFIG_ROUTE_EXECUTION]) != SKINK_EXECUTE_LOOP) return true;
    }
    return false;
}

static int create_workers(struct assembly *a)
{
    if (!needs_workers(a->config)) return 0;
    skink_workers_options options = SKINK_WORKERS_OPTIONS_INIT;
    options.threads = (uint32_t)number(a, CONFIG_CONCURRENCY_THREADS);
    options.stack_size_bytes = number(a, CONFIG_CONCURRENCY_STACK_SIZE);
    options.deadlock_timeout_ns = number(a, CONFIG_LOOP_DEADLOCK_TIMEOUT);
    int error = skink_workers_create(&options, &a->workers);
    skink_scheduler *scheduler;
    for (size_t i = 0; !error && (scheduler = skink_workers_scheduler_at(a->workers, i)) != NULL; i++)
        error = skink_recovery_watch(a->recovery, scheduler);
    return error;
}

/* Limits of the process are shared out among its loops. */
static uint32_t share(const struct assembly *a, uint64_t whole, size_t i)
{
    return (uint32_t)(whole / a->loop_count + (i < whole % a->loop_count));
}

/* Where 0 is no limit. Less than one for each loop comes only from a reload that would change their number as well. */
static uint32_t share_of_limit(const struct assembly *a, uint64_t whole, size_t i)
{
    uint32_t part = share(a, whole, i);
    return whole && !part ? 1 : part;
}

static int create_http(struct assembly *a, size_t i)
{
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    if (number(a, CONFIG_LOG_ACCESS)) options.access = skink__log_access;
    if (number(a, CONFIG_HTTP_REUSE_PORT) || a->loop_count > 1) options.flags |= SKINK_HTTP_REUSE_PORT;
    options.max_connections = share(a, number(a, CONFIG_HTTP_MAX_CONNECTIONS), i);
    options.max_header_bytes = number(a, CONFIG_HTTP_MAX_HEADER);
    options.max_body_bytes = number(a, CONFIG_HTTP_MAX_BODY);
    options.header_timeout_ns = number(a, CONFIG_HTTP_HEADER_TIMEOUT);
    options.idle_timeout_ns = number(a, CONFIG_HTTP_IDLE_TIMEOUT);
    options.request_timeout_ns = number(a, CONFIG_HTTP_REQUEST_TIMEOUT);
    options.late_window_ns = number(a, CONFIG_RECOVERY_LATE_WINDOW);
    options.quarantine_strikes = (uint32_t)number(a, CONFIG_QUARANTINE_STRIKES);
    options.quarantine_window_ns = number(a, CONFIG_QUARANTINE_WINDOW);
    options.quarantine_period_ns = number(a, CONFIG_QUARANTINE_PERIOD);
    options.max_requests = share_of_limit(a, number(a, CONFIG_CONCURRENCY_MAX_REQUESTS), i);
    options.max_queue = share(a, number(a, CONFIG_CONCURRENCY_MAX_QUEUE), i);
    options.workers = a->workers;
    options.execution = execution(&a->config->values[CONFIG_CONCURRENCY_EXECUTION]);
    options.trusted_proxies = a->config->values[CONFIG_HTTP_TRUSTED_PROXIES].text;
    options.server_header = a->config->values[CONFIG_HTTP_SERVER_HEADER].text;
    return skink_http_server_create(a->loops[i].scheduler, &options, &a->http[i]);
}

static enum exit_status create_parts(struct assembly *a)
{
    int error = create_recovery(a);
    if (error) return cannot_start("cannot create the watchdog and its threads: %s", skink_strerror(error));
    error = create_loops(a);
    if (error) return cannot_start("cannot create the scheduler: %s", skink_strerror(error));
    error = create_workers(a);
    if (error) return cannot_start("cannot create the worker threads: %s", skink_strerror(error));
    for (size_t i = 0; i < a->loop_count && !error; i++)
        error = create_http(a, i);
    if (error) return cannot_start("cannot create the HTTP server: %s", skink_strerror(error));
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
        if (!loaded) return cannot_start("%s", complaint);
        skink__log_line(SKINK_LOG_INFO, "event=module_loaded file=%s", SKINK__QUOTED(modules[i]));
    }
    int error = 0;
    for (size_t i = 1; i < a->loop_count && !error; i++)
        error = skink_http_copy_routes(a->http[0], a->http[i]);
    return error ? cannot_start("cannot give each loop its routes: %s", skink_strerror(error)) : EXIT_STATUS_OK;
}

/* A path of the configuration that no module added: say which there are, and which was probably meant. */
static void report_unknown_route(const struct assembly *a, const struct config_value *path, struct problems *problems)
{
    struct suggestion suggestion = SUGGEST_INIT;
    const char *method, *pattern, *last = "";
    char known[512] = "";
    size_t length = 0;
    for (size_t i = 0; skink_http_route_at(a->http[0], i, &method, &pattern); i++) {
        skink__suggest_offer(&suggestion, path->text, pattern);
        if (strcmp(pattern, last) == 0) continue; /* one path with several methods, most often added in a row */
        last = pattern;
        if (length < sizeof known)
            length += (size_t)snprintf(known + length, sizeof known - length, "%s%s", length ? ", " : "", pattern);
    }
    if (suggestion.best)
        skink__problem_add(problems, &path->origin, CONFIG_LIST_NAME ": no module adds a route %s; did you mean %s?",
                           path->text, suggestion.best);
    else
        skink__problem_add(problems, &path->origin, CONFIG_LIST_NAME ": no module adds a route %s; expected one of: %s",
                           path->text, length ? known : "(there are none; is a --module missing?)");
}

/* On one loop; NULL: as the server has it. */
static int set_route_on(struct assembly *a, size_t i, const char *pattern, const struct config_value *values)
{
    skink_http_server *http = a->http[i];
    int error = skink_http_route_set_timeout(http, pattern, values ? values[CONFIG_ROUTE_DEADLOCK_TIMEOUT].number : 0);
    if (error) return error;
    error =
        skink_http_route_set_request_timeout(http, pattern, values ? values[CONFIG_ROUTE_REQUEST_TIMEOUT].number : 0);
    if (error) return error;
    error = skink_http_route_set_action(http, pattern,
                                        values ? action_of(&values[CONFIG_ROUTE_ACTION]) : SKINK_ACTION_DEFAULT);
    if (error) return error;
    return skink_http_route_set_limits(http, pattern,
                                       values ? share_of_limit(a, values[CONFIG_ROUTE_MAX_REQUESTS].number, i) : 0,
                                       values ? share(a, values[CONFIG_ROUTE_MAX_QUEUE].number, i) : 0);
}

static int set_route(struct assembly *a, const char *pattern, const struct config_value *values)
{
    int error = 0;
    for (size_t i = 0; i < a->loop_count && !error; i++)
        error = set_route_on(a, i, pattern, values);
    return error;
}

static void set_routes(struct assembly *a, struct problems *problems)
{
    for (size_t i = 0; i < a->config->route_count; i++) {
        const struct config_value *values = a->config->routes[i].values;
        const struct config_value *path = &values[CONFIG_ROUTE_PATH];
        int error = set_route(a, path->text, values);
        if (error == -ENOENT)
            report_unknown_route(a, path, problems);
        else if (error)
            skink__problem_add(problems, &path->origin, CONFIG_LIST_NAME ": %s: %s", path->text, skink_strerror(error));
    }
}

/* Where requests run is settled before the server listens. Paths without a route have been reported. */
static int set_executions(struct assembly *a)
{
    int error = 0;
    for (size_t i = 0; i < a->config->route_count; i++) {
        const struct config_value *values = a->config->routes[i].values;
        for (size_t j = 0; j < a->loop_count && sets_execution(values) && !error; j++)
            error = skink_http_route_set_execution(a->http[j], values[CONFIG_ROUTE_PATH].text,
                                                   execution(&values[CONFIG_ROUTE_EXECUTION]));
    }
    return error;
}

/* The routes' settings, once the modules have said which routes there are. */
static enum exit_status configure_routes(struct assembly *a)
{
    struct problems problems = { 0 };
    set_routes(a, &problems);
    int error = problems.errors ? 0 : set_executions(a);
    if (error) return cannot_start("cannot say where requests of a route run: %s", skink_strerror(error));
    skink__problems_print(&problems, stderr);
    enum exit_status status = problems.errors ? EXIT_STATUS_CONFIGURATION : EXIT_STATUS_OK;
    skink__problems_fini(&problems);
    return status;
}

/* --- changes while it runs --- */

static bool has_route(const struct assembly *a, const char *path)
{
    const char *method, *pattern;
    for (size_t i = 0; skink_http_route_at(a->http[0], i, &method, &pattern); i++)
        if (strcmp(pattern, path) == 0) return true;
    return false;
}

void skink__assembly_check(const struct assembly *assembly, const struct config *next, struct problems *problems)
{
    /* The file may have another loop.count, which would hold only after a restart. */
    if (next->values[CONFIG_LOOP_COUNT].number != assembly->loop_count)
        skink__config_check_limits(next, assembly->loop_count, problems);
    for (size_t i = 0; i < next->route_count; i++) {
        const struct config_value *path = &next->routes[i].values[CONFIG_ROUTE_PATH];
        if (!has_route(assembly, path->text)) report_unknown_route(assembly, path, problems);
    }
}

static bool names_route(const struct config *config, const char *path)
{
    for (size_t i = 0; i < config->route_count; i++)
        if (strcmp(config->routes[i].values[CONFIG_ROUTE_PATH].text, path) == 0) return true;
    return false;
}

/* What both name goes from its old values straight to the new ones: a moment without its limits would let in who waits. */
void skink__assembly_forget_routes(struct assembly *assembly, const struct config *next)
{
    for (size_t i = 0; i < assembly->config->route_count; i++) {
        const char *path = assembly->config->routes[i].values[CONFIG_ROUTE_PATH].text;
        if (!names_route(next, path)) (void)!set_route(assembly, path, NULL);
    }
}

/* What was checked when it was read cannot be refused. */
static void apply_to_loop(struct assembly *a, size_t i)
{
    skink_http_server *http = a->http[i];
    (void)!skink_scheduler_set_detection(a->loops[i].scheduler, detection_mode(a));
    skink_http_set_request_timeout(http, number(a, CONFIG_HTTP_REQUEST_TIMEOUT));
    skink_http_set_timeouts(http, number(a, CONFIG_HTTP_HEADER_TIMEOUT), number(a, CONFIG_HTTP_IDLE_TIMEOUT),
                            number(a, CONFIG_RECOVERY_LATE_WINDOW));
    skink_http_set_limits(http, share_of_limit(a, number(a, CONFIG_CONCURRENCY_MAX_REQUESTS), i),
                          share(a, number(a, CONFIG_CONCURRENCY_MAX_QUEUE), i));
}

void skink__assembly_apply(struct assembly *a)
{
    skink__log_set_level((skink_log_level)number(a, CONFIG_LOG_LEVEL));
    struct problems none = { 0 };
    (void)!skink_recovery_set_timeout(a->recovery, number(a, CONFIG_LOOP_DEADLOCK_TIMEOUT));
    skink_workers_set_timeouts(a->workers, number(a, CONFIG_LOOP_DEADLOCK_TIMEOUT), 0);
    for (size_t i = 0; i < a->loop_count; i++)
        apply_to_loop(a, i);
    skink_stats_server_set_health(a->stats, number(a, CONFIG_HEALTH_MAX_RSS), number(a, CONFIG_HEALTH_MAX_QUEUE_TIME));
    set_routes(a, &none);
    skink__problems_fini(&none);
}

/* What an operator can do about an address that cannot be had. */
static const char *listen_advice(int error)
{
    if (error == -EADDRINUSE) return "; another program has it: stop that one, or choose another address";
    if (error == -EACCES) return "; not allowed: ports below 1024 and some folders need a privilege";
    if (error == -EADDRNOTAVAIL) return "; this machine has no such address";
    return "";
}

static enum exit_status cannot_listen(const struct config_value *address, const struct config_key *key, int error)
{
    char origin[512];
    skink__origin_format(&address->origin, origin, sizeof origin);
    return cannot_start("cannot listen on %s: %s%s (%s, from %s)", address->text, skink_strerror(error),
                        listen_advice(error), key->name, origin);
}

/* Tell the address with the port that it really is, since port 0 takes any. */
static void log_listening(const char *what, const char *address, int port)
{
    const char *colon = strrchr(address, ':');
    if (strncmp(address, "unix:", 5) == 0)
        skink__log_line(SKINK_LOG_INFO, "event=listening what=%s address=%s", what, SKINK__LOG_WORD(address));
    else if (strncmp(address, "fd:", 3) == 0)
        skink__log_line(SKINK_LOG_INFO, "event=listening what=%s address=%s port=%d", what, address, port);
    else
        skink__log_line(SKINK_LOG_INFO, "event=listening what=%s address=%.*s:%d port=%d", what, (int)(colon - address),
                        address, port, port);
}

static enum exit_status cannot_inherit(const char *address, int error)
{
    return cannot_start("cannot listen on the inherited socket %s: %s; expected a stream socket that listens", address,
                        skink_strerror(error));
}

/* All loops on one address. The first takes whatever port 0 stands for, the others the one that it got. A unix socket
 * cannot be had twice: there the first loop listens for all. */
static int listen_on_all(struct assembly *a, const char *address, int *ret_port)
{
    int error = skink_http_listen(a->http[0], address, ret_port);
    if (strncmp(address, "unix:", 5) == 0) return error;
    char same[512];
    const char *colon = strrchr(address, ':');
    snprintf(same, sizeof same, "%.*s:%d", (int)(colon - address), address, *ret_port);
    bool is_descriptor = strncmp(address, "fd:", 3) == 0;
    for (size_t i = 1; i < a->loop_count && !error; i++)
        error = skink_http_listen(a->http[i], is_descriptor ? address : same, NULL);
    return error;
}

static enum exit_status open_inherited_http(struct assembly *a)
{
    for (size_t i = 0; i < a->inherited.count; i++) {
        const struct inherited_socket *socket = &a->inherited.sockets[i];
        if (socket->is_stats) continue;
        int port = 0, error = listen_on_all(a, socket->address, &port);
        if (error) return cannot_inherit(socket->address, error);
        log_listening("http", socket->address, port);
    }
    return EXIT_STATUS_OK;
}

static enum exit_status open_http(struct assembly *a)
{
    if (skink__inherited_has(&a->inherited, false)) return open_inherited_http(a);
    const struct config_value *address = &a->config->values[CONFIG_HTTP_LISTEN];
    int port = 0;
    int error = listen_on_all(a, address->text, &port);
    if (error) return cannot_listen(address, &skink__config_keys[CONFIG_HTTP_LISTEN], error);
    log_listening("http", address->text, port);
    return EXIT_STATUS_OK;
}

static const char *inherited_stats_address(const struct assembly *a)
{
    for (size_t i = 0; i < a->inherited.count; i++)
        if (a->inherited.sockets[i].is_stats) return a->inherited.sockets[i].address;
    return NULL;
}

/* Anybody who reaches it can read it: that is for the operator to want, and for the log to say. */
static void warn_of_exposure(const char *address, bool has_token)
{
    bool is_near =
        strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]:", 6) == 0 || strncmp(address, "unix:", 5) == 0;
    if (!is_near && !has_token)
        skink__log_line(SKINK_LOG_WARNING,
                        "event=stats_exposed address=%s advice=\"set stats.token_file, or listen on 127.0.0.1\"",
                        address);
}

static uint64_t read_log_dropped(void *arg)
{
    (void)arg;
    return skink__log_dropped();
}

static enum exit_status open_stats(struct assembly *a)
{
    const struct config_value *address = &a->config->values[CONFIG_STATS_LISTEN];
    const char *inherited = inherited_stats_address(a);
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    sources.scheduler = a->loops[0].scheduler;
    sources.recovery = a->recovery;
    sources.http_server = a->http[0]; /* and those that have its routes */
    sources.max_connections = (uint32_t)number(a, CONFIG_STATS_MAX_CONNECTIONS);
    sources.max_rss_bytes = number(a, CONFIG_HEALTH_MAX_RSS);
    sources.max_queue_ns = number(a, CONFIG_HEALTH_MAX_QUEUE_TIME);
    memcpy(a->metrics, skink__reload_metrics, sizeof skink__reload_metrics);
    a->metrics[SKINK__RELOAD_METRICS] = (skink_host_metric){ .name = "skinkd_log_lines_dropped_total",
                                                             .help = "Lines of the logs that were dropped.",
                                                             .is_counter = true,
                                                             .read = read_log_dropped };
    sources.host_metrics = a->metrics;
    sources.host_metric_count = sizeof a->metrics / sizeof *a->metrics;
    char token[TOKEN_BYTES], complaint[TOKEN_COMPLAINT_BYTES];
    const struct config_value *token_file = &a->config->values[CONFIG_STATS_TOKEN_FILE];
    if (!skink__token_read(token_file->text, token, complaint)) return cannot_start("stats.token_file: %s", complaint);
    sources.token = *token ? token : NULL;
    if (!inherited) warn_of_exposure(address->text, *token);
    int port = 0;
    int error = skink_stats_server_start(&sources, inherited ? inherited : address->text, &port, &a->stats);
    if (error && inherited) return cannot_inherit(inherited, error);
    if (error) return cannot_listen(address, &skink__config_keys[CONFIG_STATS_LISTEN], error);
    log_listening("stats", inherited ? inherited : address->text, port);
    return EXIT_STATUS_OK;
}

/* Sockets that we were started with go before those of the configuration. */
static enum exit_status open_sockets(struct assembly *a)
{
    enum exit_status status = open_http(a);
    if (status == EXIT_STATUS_OK) status = open_stats(a);
    skink__inherited_close(&a->inherited);
    return status;
}

/* Before the first request. */
static enum exit_status drop_privileges(const char *user)
{
    char complaint[PRIVILEGES_COMPLAINT_BYTES];
    if (!skink__privileges_drop(user, complaint)) return cannot_start("%s", complaint);
    if (user)
        skink__log_line(SKINK_LOG_INFO, "event=user_changed user=%s uid=%d gid=%d", SKINK__QUOTED(user), (int)geteuid(),
                        (int)getegid());
    return EXIT_STATUS_OK;
}

static enum exit_status start_loops(struct assembly *a)
{
    int error = a->workers ? skink_workers_start(a->workers) : 0;
    if (error) return cannot_start("cannot start the worker threads: %s", skink_strerror(error));
    for (size_t i = 0; i < a->loop_count && !error; i++)
        error = skink_scheduler_start(a->loops[i].scheduler);
    return error ? cannot_start("cannot start the loop thread: %s", skink_strerror(error)) : EXIT_STATUS_OK;
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
    if (!skink__inherited_take(&a->inherited, complaint)) status = cannot_start("%s", complaint);
    if (status == EXIT_STATUS_OK) status = create_parts(a);
    if (status == EXIT_STATUS_OK) status = load_modules(a, modules, module_count);
    if (status == EXIT_STATUS_OK) status = configure_routes(a);
    if (status == EXIT_STATUS_OK) status = open_sockets(a);
    if (status == EXIT_STATUS_OK) status = drop_privileges(user);
    if (status == EXIT_STATUS_OK) status = start_loops(a);
    if (status == EXIT_STATUS_OK)
        *ret_assembly = a;
    else
        skink__assembly_destroy(a);
    return status;
}

bool skink__assembly_stop(struct assembly *assembly, bool with_delay)
{
    skink_shutdown_options options = SKINK_SHUTDOWN_OPTIONS_INIT;
    if (with_delay) options.delay_ns = number(assembly, CONFIG_SHUTDOWN_DELAY);
    options.grace_ns = number(assembly, CONFIG_SHUTDOWN_GRACE);
    int error = skink_shutdown(assembly->http, assembly->loop_count, &options);
    assembly->wedged = error == -ETIMEDOUT;
    if (error == 0) return true;
    skink__log_line(SKINK_LOG_WARNING, "event=stop_cut reason=\"%s\"", skink_strerror(error));
    return false;
}

void skink__assembly_resume(struct assembly *assembly)
{
    skink_recovery_resume(assembly->recovery);
    for (size_t i = 0; i < assembly->loop_count; i++)
        skink_http_quarantine_lift(assembly->http[i]);
    skink__log_line(SKINK_LOG_WARNING, "event=resumed");
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
