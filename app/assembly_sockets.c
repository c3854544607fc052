/* SPDX-License-Identifier: MIT */
/* app/assembly_sockets.c - where it listens: inherited sockets, else the configuration's (see assembly_parts.h). */
#include "app/assembly_parts.h"
#include "app/log.h"
#include "app/token.h"
#include "loop/log_value.h"
#include "skink/error.h"
#include <errno.h>
#include <string.h>

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
    return skink__cannot_start("cannot listen on %s: %s%s (%s, from %s)", address->text, skink_strerror(error),
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
    return skink__cannot_start("cannot listen on the inherited socket %s: %s; expected a stream socket that listens",
                               address, skink_strerror(error));
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
    sources.max_connections = (uint32_t)skink__setting(a, CONFIG_STATS_MAX_CONNECTIONS);
    sources.max_rss_bytes = skink__setting(a, CONFIG_HEALTH_MAX_RSS);
    sources.max_queue_ns = skink__setting(a, CONFIG_HEALTH_MAX_QUEUE_TIME);
    memcpy(a->metrics, skink__reload_metrics, sizeof skink__reload_metrics);
    a->metrics[SKINK__RELOAD_METRICS] = (skink_host_metric){ .name = "skinkd_log_lines_dropped_total",
                                                             .help = "Lines of the logs that were dropped.",
                                                             .is_counter = true,
                                                             .read = read_log_dropped };
    sources.host_metrics = a->metrics;
    sources.host_metric_count = sizeof a->metrics / sizeof *a->metrics;
    char token[TOKEN_BYTES], complaint[TOKEN_COMPLAINT_BYTES];
    const struct config_value *token_file = &a->config->values[CONFIG_STATS_TOKEN_FILE];
    if (!skink__token_read(token_file->text, token, complaint))
        return skink__cannot_start("stats.token_file: %s", complaint);
    sources.token = *token ? token : NULL;
    if (!inherited) warn_of_exposure(address->text, *token);
    int port = 0;
    int error = skink_stats_server_start(&sources, inherited ? inherited : address->text, &port, &a->stats);
    if (error && inherited) return cannot_inherit(inherited, error);
    if (error) return cannot_listen(address, &skink__config_keys[CONFIG_STATS_LISTEN], error);
    log_listening("stats", inherited ? inherited : address->text, port);
    return EXIT_STATUS_OK;
}

enum exit_status skink__assembly_open_sockets(struct assembly *a)
{
    enum exit_status status = open_http(a);
    if (status == EXIT_STATUS_OK) status = open_stats(a);
    skink__inherited_close(&a->inherited);
    return status;
}
