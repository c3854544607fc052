/* SPDX-License-Identifier: MIT */
/*
 * skink/stats_server.h - /metrics, /health and /incidents on a thread of their own.
 *
 * Owns     a small scheduler and HTTP server of its own, so that it answers while the watched loop is stuck.
 * Threads  any.
 * More     docs/metrics.md.
 */
#ifndef SKINK_STATS_SERVER_H
#define SKINK_STATS_SERVER_H
#include "skink/annot.h"
#include "skink/http_server.h"
#include "skink/recovery.h"
#include "skink/scheduler.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct skink_stats_server skink_stats_server; /* opaque */

/* A number of the host's own on the page of metrics. All borrowed for as long as the stats server lives. */
typedef struct skink_host_metric {
    const char *name; /* by Prometheus' conventions: "shop_orders_total" */
    const char *help;
    bool is_counter;             /* it only grows; else it is a gauge */
    uint64_t (*read)(void *arg); /* called on the stats server's thread, which it must not block */
    void *arg;
} skink_host_metric;

/* What it reports on, and how. Borrowed: each must live for longer than the stats server. NULL where there is none. */
typedef struct skink_stats_sources {
    size_t size; /* set by SKINK_STATS_SOURCES_INIT */
    skink_scheduler *scheduler;
    skink_recovery *recovery;
    skink_http_server *http_server;

    /* How it is served. Zero means the default. */
    const char *token;        /* default none; else only those get in who send it as a bearer token, but to the pages
                               * below /health. Copied                                                            */
    uint32_t max_connections; /* default 64; one more is answered 503                                             */

    /* What makes readiness bad, see skink_stats_server_set_health(). */
    uint64_t max_rss_bytes;
    uint64_t max_queue_ns;

    const skink_host_metric *host_metrics; /* written behind skink's own */
    size_t host_metric_count;
} skink_stats_sources;
#define SKINK_STATS_SOURCES_INIT                                                                                       \
    {                                                                                                                  \
        .size = sizeof(skink_stats_sources)                                                                            \
    }

/*
 * Start it: GET /metrics (Prometheus text), GET /health/live (should the process go on?), GET /health/ready (may
 * requests be sent here?) and GET /health (the same), each 200 or 503 with a JSON reason, GET /incidents (a JSON list
 * of those in memory, newest first) and GET /incidents/ID (one of them), GET /tasks and GET /threads (skink/dump.h;
 * JSON with ?format=json), the tasks being those of `scheduler`, of the servers that have http_server's routes, of
 * their workers, and of what the recovery watches. `address` as for skink_http_listen(); *ret_port (may be NULL) says
 * which port. On 0 the caller owns it.
 *   -EINVAL  a NULL, or an empty token
 *   -E2BIG   sources newer than this library, with a new field in use
 *   else as skink_scheduler_create(), skink_scheduler_start() and skink_http_listen()
 */
SKINK_NODISCARD SKINK_API int skink_stats_server_start(const skink_stats_sources *sources, const char *address,
                                                       int *ret_port, skink_stats_server **ret_server) SKINK_ANY_THREAD;

/* Call the watched server unhealthy while the process has more than max_rss_bytes in memory, or its queue of requests
 * has been full for longer than max_queue_ns. 0 in either: never for that reason. At once. */
SKINK_API void skink_stats_server_set_health(skink_stats_server *server, uint64_t max_rss_bytes,
                                             uint64_t max_queue_ns) SKINK_ANY_THREAD;

/* Stop it and free it. NULL is fine. */
SKINK_API void skink_stats_server_destroy(skink_stats_server *server) SKINK_ANY_THREAD SKINK_BLOCKS;

#ifdef __cplusplus
}
#endif
#endif
