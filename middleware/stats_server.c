/* SPDX-License-Identifier: MIT */
/*
 * stats_server.c - /metrics, /health and /incidents, on a scheduler and an HTTP server of their own.
 *
 * Its loop thread is neither the watched one nor the watchdog, and no recovery watches it: its handlers read counters
 * and write text, so there is nothing in them to get stuck in; dumps are made on a thread of their own. What it shares
 * with the watched loop is atomic words, and the lock of the library's allocator, which nobody holds for longer than a
 * few instructions.
 *
 * It is kept small, since it is there in every process and idle nearly always: short stacks, few connections, and a
 * page whose memory is let go when it was large.
 */
#include "skink/stats_server.h"
#include "loop/memory.h"
#include "loop/options.h"
#include "loop/runtime.h"
#include "middleware/builtin/builtin.h"
#include "middleware/dump_endpoint.h"
#include "middleware/health.h"
#include "middleware/incidents_endpoint.h"
#include "middleware/metrics.h"
#include "skink/clock.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    CONNECTIONS_MAX = 64, /* unless the host says another number */
    STACK_BYTES = 32 * 1024,
    HEADER_BYTES_MAX = 8 * 1024,
    BODY_BYTES_MAX = 1024,
    PAGE_KEEP_BYTES = 64 * 1024
};
#define HEADER_TIMEOUT_NS (5 * SKINK_S)
#define IDLE_TIMEOUT_NS (150 * SKINK_S) /* longer than a scrape interval, so that a scraper's connection stays */
#define STOP_PATIENCE_NS SKINK_S

struct skink_stats_server {
    skink_scheduler *scheduler;
    skink_http_server *http_server;
    struct skink__metrics metrics; /* constant, but for the limits of health */
    char *token;                   /* NULL: everybody may ask */
    uint32_t max_connections;
    /* The page, while a handler writes it and hands it on. Between these two nothing suspends, for the loop thread
     * of this scheduler is never abandoned: so one is enough for all requests. */
    struct skink__prometheus page;
    struct skink__dump_endpoint *dumps;
};

/* What cannot be sent is the client's loss alone: it has gone, or there is no memory and it gets a 500. */
static void answer(skink_request *request, int status, const char *type, const char *body, size_t length)
{
    if (skink_response_header(request, "Cache-Control", "no-store") == 0)
        (void)!skink_respond(request, status, type, body, length);
}

static void handle_metrics(skink_request *request, void *arg)
{
    skink_stats_server *server = arg;
    skink__prometheus_clear(&server->page, PAGE_KEEP_BYTES);
    skink__metrics_write(&server->metrics, &server->page);
    if (!server->page.failed)
        answer(request, 200, SKINK__PROMETHEUS_CONTENT_TYPE, server->page.text, server->page.length);
    skink__prometheus_clear(&server->page, PAGE_KEEP_BYTES);
}

static void answer_probe(skink_request *request, const skink_stats_server *server, enum skink__probe probe)
{
    struct skink__health_facts facts = skink__health_read(&server->metrics.sources, &server->metrics.limits);
    struct skink__health_verdict verdict = skink__health_judge(&facts, probe);
    char body[512];
    int length = snprintf(body, sizeof body,
                          "{\"status\":\"%s\",\"reason\":\"%s\",\"message\":\"%s\",\"routes_quarantined\":%llu}\n",
                          verdict.healthy ? "ok" : "unhealthy", verdict.reason, verdict.message,
                          (unsigned long long)facts.routes_quarantined);
    answer(request, verdict.healthy ? 200 : 503, "application/json", body, (size_t)length);
}

static void handle_ready(skink_request *request, void *arg)
{
    answer_probe(request, arg, SKINK__PROBE_READY);
}

static void handle_live(skink_request *request, void *arg)
{
    answer_probe(request, arg, SKINK__PROBE_LIVE);
}

/* Balancers and orchestrators cannot send a token, as a rule, and health tells nothing that is worth one. */
static void ask_for_token(skink_request *request, skink_next *next, void *arg)
{
    const char *path = skink_request_path(request);
    if (strcmp(path, "/health") == 0 || strncmp(path, "/health/", 8) == 0)
        skink_next_run(next, request);
    else
        skink__bearer(request, next, arg);
}

static int create_scheduler(skink_stats_server *server)
{
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.name = "stats";
    /* One request a connection is worked on at a time; the rest is slack. */
    options.task_max = 2 * server->max_connections;
    options.stack_size_bytes = STACK_BYTES;
    int err = skink_scheduler_create(&options, &server->scheduler);
    if (!err) skink__scheduler_set_role(server->scheduler, "stats");
    return err;
}

static int create_http_server(skink_stats_server *server)
{
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_connections = server->max_connections;
    options.max_header_bytes = HEADER_BYTES_MAX;
    options.max_body_bytes = BODY_BYTES_MAX;
    options.header_timeout_ns = HEADER_TIMEOUT_NS;
    options.idle_timeout_ns = IDLE_TIMEOUT_NS;
    int err = skink_http_server_create(server->scheduler, &options, &server->http_server);
    if (!err) err = skink_http_route(server->http_server, "GET", "/metrics", NULL, handle_metrics, server);
    if (!err) err = skink_http_route(server->http_server, "GET", "/health", NULL, handle_ready, server);
    if (!err) err = skink_http_route(server->http_server, "GET", "/health/ready", NULL, handle_ready, server);
    if (!err) err = skink_http_route(server->http_server, "GET", "/health/live", NULL, handle_live, server);
    if (!err && server->token) err = skink_http_use(server->http_server, ask_for_token, server->token);
    if (!err) err = skink__incidents_endpoint_add(server->http_server, server->metrics.sources.recovery);
    if (!err) err = skink__dump_endpoint_add(server->http_server, &server->metrics.sources, &server->dumps);
    return err;
}

int skink_stats_server_start(const skink_stats_sources *sources, const char *address, int *ret_port,
                             skink_stats_server **ret_server)
{
    if (!sources || !address || !ret_server) return -EINVAL;
    skink_stats_sources known;
    int err = SKINK__OPTIONS_READ(&known, sources);
    if (err) return err;
    if (known.token && !*known.token) return -EINVAL; /* a token that everybody has */
    skink_stats_server *server = skink__zalloc(sizeof *server);
    if (!server) return -ENOMEM;
    skink__metrics_init(&server->metrics, &known);
    skink__prometheus_init(&server->page);
    server->max_connections = known.max_connections ? known.max_connections : CONNECTIONS_MAX;
    int port = 0;
    if (known.token && !(server->token = skink__strdup(known.token))) err = -ENOMEM;
    server->metrics.sources.token = NULL; /* it was only borrowed */
    if (!err) err = create_scheduler(server);
    if (!err) err = create_http_server(server);
    if (!err) err = skink_http_listen(server->http_server, address, &port);
    if (!err) err = skink_scheduler_start(server->scheduler);
    if (err) {
        skink_stats_server_destroy(server);
        return err;
    }
    if (ret_port) *ret_port = port;
    *ret_server = server;
    return 0;
}

void skink_stats_server_set_health(skink_stats_server *server, uint64_t max_rss_bytes, uint64_t max_queue_ns)
{
    if (!server) return;
    atomic_store_explicit(&server->metrics.limits.max_rss_bytes, max_rss_bytes, memory_order_relaxed);
    atomic_store_explicit(&server->metrics.limits.max_queue_ns, max_queue_ns, memory_order_relaxed);
}

void skink_stats_server_destroy(skink_stats_server *server)
{
    if (!server) return;
    if (server->http_server) skink_http_server_stop(server->http_server);
    if (server->scheduler) (void)!skink_scheduler_stop(server->scheduler, skink_after(STOP_PATIENCE_NS));
    skink__dump_endpoint_destroy(server->dumps);
    skink_http_server_destroy(server->http_server);
    skink_scheduler_destroy(server->scheduler);
    skink__prometheus_fini(&server->page);
    skink__free(server->token);
    skink__free(server);
}
