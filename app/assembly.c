/* SPDX-License-Identifier: MIT */
/* app/assembly.c - the parts of the server, put together in order and taken apart in the reverse (see assembly.h). */
#include "app/assembly.h"
#include "app/allocate.h"
#include "app/inherited.h"
#include "app/log.h"
#include "app/module_loader.h"
#include "app/reload.h"
#include "app/signals.h"
#include "app/suggest.h"
#include "app/token.h"
#include "skink/detection.h"
#include "skink/error.h"
#include "skink/http_server.h"
#include "skink/recovery.h"
#include "skink/scheduler.h"
#include "skink/shutdown.h"
#include "skink/stats_server.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

struct assembly {
    const struct config *config;
    skink_recovery *recovery;
    skink_scheduler *scheduler;
    skink_http_server *http;
    skink_stats_server *stats;
    struct inherited inherited; /* while the sockets are opened */
    bool watched;
    bool wedged; /* the loop thread is stuck where nobody can take over: nothing may be freed */
};

static uint64_t number(const struct assembly *a, enum config_id id)
{
    return a->config->values[id].number;
}

/* The words are in the order of the enumerators, without the library's own default. */
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
    options.arg = a;
    options.blocking_grace_ns = number(a, CONFIG_RECOVERY_BLOCKING_GRACE);
    options.max_blocking = (uint32_t)number(a, CONFIG_RECOVERY_MAX_BLOCKING);
    options.extend_ceiling_ns = number(a, CONFIG_RECOVERY_EXTEND_CEILING);
    options.incident_dir = a->config->values[CONFIG_RECOVERY_INCIDENT_DIR].text;
    return skink_recovery_create(&options, &a->recovery);
}

static skink_detection detection_mode(const struct assembly *a)
{
    return SKINK_DETECTION_OFF + (skink_detection)number(a, CONFIG_DETECTION_MODE); /* the words are in its order */
}

static int create_scheduler(struct assembly *a)
{
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.stack_size_bytes = number(a, CONFIG_LOOP_STACK_SIZE);
    options.task_max = (uint32_t)number(a, CONFIG_LOOP_MAX_TASKS);
    options.detection = detection_mode(a);
    int error = skink_scheduler_create(&options, &a->scheduler);
    if (error) return error;
    error = skink_recovery_watch(a->recovery, a->scheduler);
    a->watched = error == 0;
    return error;
}

static int create_http(struct assembly *a)
{
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    if (number(a, CONFIG_HTTP_REUSE_PORT)) options.flags |= SKINK_HTTP_REUSE_PORT;
    options.max_connections = (uint32_t)number(a, CONFIG_HTTP_MAX_CONNECTIONS);
    options.max_header_bytes = number(a, CONFIG_HTTP_MAX_HEADER);
    options.max_body_bytes = number(a, CONFIG_HTTP_MAX_BODY);
    options.header_timeout_ns = number(a, CONFIG_HTTP_HEADER_TIMEOUT);
    options.idle_timeout_ns = number(a, CONFIG_HTTP_IDLE_TIMEOUT);
    options.request_timeout_ns = number(a, CONFIG_HTTP_REQUEST_TIMEOUT);
    options.late_window_ns = number(a, CONFIG_RECOVERY_LATE_WINDOW);
    options.quarantine_strikes = (uint32_t)number(a, CONFIG_QUARANTINE_STRIKES);
    options.quarantine_window_ns = number(a, CONFIG_QUARANTINE_WINDOW);
    options.quarantine_period_ns = number(a, CONFIG_QUARANTINE_PERIOD);
    options.max_requests = (uint32_t)number(a, CONFIG_CONCURRENCY_MAX_REQUESTS);
    options.max_queue = (uint32_t)number(a, CONFIG_CONCURRENCY_MAX_QUEUE);
    options.trusted_proxies = a->config->values[CONFIG_HTTP_TRUSTED_PROXIES].text;
    options.server_header = a->config->values[CONFIG_HTTP_SERVER_HEADER].text;
    return skink_http_server_create(a->scheduler, &options, &a->http);
}

static enum exit_status create_parts(struct assembly *a)
{
    int error = create_recovery(a);
    if (error) return cannot_start("cannot create the watchdog and its threads: %s", skink_strerror(error));
    error = create_scheduler(a);
    if (error) return cannot_start("cannot create the scheduler: %s", skink_strerror(error));
    error = create_http(a);
    if (error) return cannot_start("cannot create the HTTP server: %s", skink_strerror(error));
    return EXIT_STATUS_OK;
}

static enum exit_status load_modules(struct assembly *a, const char *const *modules, size_t module_count)
{
    char complaint[MODULE_COMPLAINT_BYTES];
    for (size_t i = 0; i < module_count; i++) {
        if (!skink__module_load(modules[i], a->scheduler, a->http, complaint)) return cannot_start("%s", complaint);
        skink__log_line(SKINK_LOG_INFO, "event=module_loaded file=\"%s\"", modules[i]);
    }
    return EXIT_STATUS_OK;
}

/* A path of the configuration that no module added: say which there are, and which was probably meant. */
static void report_unknown_route(const struct assembly *a, const struct config_value *path, struct problems *problems)
{
    struct suggestion suggestion = SUGGEST_INIT;
    const char *method, *pattern, *last = "";
    char known[512] = "";
    size_t length = 0;
    for (size_t i = 0; skink_http_route_at(a->http, i, &method, &pattern); i++) {
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

/* The routes' settings, once the modules have said which routes there are. */
/* 0 in all of them: as the server has it. */
static int set_route(struct assembly *a, const char *pattern, const struct config_value *values)
{
    int error =
        skink_http_route_set_timeout(a->http, pattern, values ? values[CONFIG_ROUTE_DEADLOCK_TIMEOUT].number : 0);
    if (error) return error;
    error = skink_http_route_set_request_timeout(a->http, pattern,
                                                 values ? values[CONFIG_ROUTE_REQUEST_TIMEOUT].number : 0);
    if (error) return error;
    return skink_http_route_set_limits(a->http, pattern,
                                       values ? (uint32_t)values[CONFIG_ROUTE_MAX_REQUESTS].number : 0,
                                       values ? (uint32_t)values[CONFIG_ROUTE_MAX_QUEUE].number : 0);
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

/* The routes' settings, once the modules have said which routes there are. */
static enum exit_status configure_routes(struct assembly *a)
{
    struct problems problems = { 0 };
    set_routes(a, &problems);
    skink__problems_print(&problems, stderr);
    enum exit_status status = problems.errors ? EXIT_STATUS_CONFIGURATION : EXIT_STATUS_OK;
    skink__problems_fini(&problems);
    return status;
}

/* --- changes while it runs --- */

static bool has_route(const struct assembly *a, const char *path)
{
    const char *method, *pattern;
    for (size_t i = 0; skink_http_route_at(a->http, i, &method, &pattern); i++)
        if (strcmp(pattern, path) == 0) return true;
    return false;
}

void skink__assembly_check(const struct assembly *assembly, const struct config *next, struct problems *problems)
{
    for (size_t i = 0; i < next->route_count; i++) {
        const struct config_value *path = &next->routes[i].values[CONFIG_ROUTE_PATH];
        if (!has_route(assembly, path->text)) report_unknown_route(assembly, path, problems);
    }
}

void skink__assembly_forget_routes(struct assembly *assembly)
{
    for (size_t i = 0; i < assembly->config->route_count; i++)
        (void)!set_route(assembly, assembly->config->routes[i].values[CONFIG_ROUTE_PATH].text, NULL);
}

/* What was checked when it was read cannot be refused. */
void skink__assembly_apply(struct assembly *a)
{
    struct problems none = { 0 };
    (void)!skink_recovery_set_timeout(a->recovery, number(a, CONFIG_LOOP_DEADLOCK_TIMEOUT));
    (void)!skink_scheduler_set_detection(a->scheduler, detection_mode(a));
    (void)!skink_http_set_request_timeout(a->http, number(a, CONFIG_HTTP_REQUEST_TIMEOUT));
    skink_http_set_timeouts(a->http, number(a, CONFIG_HTTP_HEADER_TIMEOUT), number(a, CONFIG_HTTP_IDLE_TIMEOUT),
                            number(a, CONFIG_RECOVERY_LATE_WINDOW));
    skink_http_set_limits(a->http, (uint32_t)number(a, CONFIG_CONCURRENCY_MAX_REQUESTS),
                          (uint32_t)number(a, CONFIG_CONCURRENCY_MAX_QUEUE));
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
        skink__log_line(SKINK_LOG_INFO, "event=listening what=%s address=%s", what, address);
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

static enum exit_status open_inherited_http(struct assembly *a)
{
    for (size_t i = 0; i < a->inherited.count; i++) {
        const struct inherited_socket *socket = &a->inherited.sockets[i];
        if (socket->is_stats) continue;
        int port = 0, error = skink_http_listen(a->http, socket->address, &port);
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
    int error = skink_http_listen(a->http, address->text, &port);
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

static enum exit_status open_stats(struct assembly *a)
{
    const struct config_value *address = &a->config->values[CONFIG_STATS_LISTEN];
    const char *inherited = inherited_stats_address(a);
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    sources.scheduler = a->scheduler;
    sources.recovery = a->recovery;
    sources.http_server = a->http;
    sources.max_connections = (uint32_t)number(a, CONFIG_STATS_MAX_CONNECTIONS);
    sources.max_rss_bytes = number(a, CONFIG_HEALTH_MAX_RSS);
    sources.max_queue_ns = number(a, CONFIG_HEALTH_MAX_QUEUE_TIME);
    sources.host_metrics = skink__reload_metrics;
    sources.host_metric_count = SKINK__RELOAD_METRICS;
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

static enum exit_status start_loop(struct assembly *a)
{
    int error = skink_scheduler_start(a->scheduler);
    return error ? cannot_start("cannot start the loop thread: %s", skink_strerror(error)) : EXIT_STATUS_OK;
}

enum exit_status skink__assembly_start(const struct config *config, const char *const *modules, size_t module_count,
                                       struct assembly **ret_assembly)
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
    if (status == EXIT_STATUS_OK) status = start_loop(a);
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
    int error = skink_shutdown(&assembly->http, 1, &options);
    assembly->wedged = error == -ETIMEDOUT;
    if (error == 0) return true;
    skink__log_line(SKINK_LOG_WARNING, "event=stop_cut reason=\"%s\"", skink_strerror(error));
    return false;
}

void skink__assembly_resume(struct assembly *assembly)
{
    skink_recovery_resume(assembly->recovery);
    skink_http_quarantine_lift(assembly->http);
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

/* Recovery goes last: it is needed for as long as a task can get stuck, and the stop is such a time. */
bool skink__assembly_destroy(struct assembly *assembly)
{
    if (!assembly) return true;
    if (assembly->wedged) return false;
    skink_stats_server_destroy(assembly->stats);
    skink_http_server_destroy(assembly->http);
    bool strays = has_strays(assembly);
    if (assembly->watched) skink_recovery_unwatch(assembly->recovery, assembly->scheduler);
    skink_scheduler_destroy(assembly->scheduler);
    skink_recovery_destroy(assembly->recovery);
    free(assembly);
    return !strays;
}
