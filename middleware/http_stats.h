/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_stats.h - what an HTTP server counts, and how others read it.
 *
 * Every counter has one writer, the loop thread in the runtime section, and is written with relaxed stores. A
 * reader on any thread sees each counter as of some moment, not all of them as of one moment. Nothing here waits
 * for the loop, so it can be read while the loop is stuck.
 */
#ifndef SKINK_MIDDLEWARE_HTTP_STATS_H
#define SKINK_MIDDLEWARE_HTTP_STATS_H
#include "skink/http_server.h"
#include <stdbool.h>
#include <stdint.h>

/* Durations are counted from a request's first byte being read to its answer being handed to the kernel. */
#define SKINK__HTTP_BUCKETS 17

/* Upper bounds in nanoseconds, ascending; the last bucket is what is above the last bound. */
extern const uint64_t skink__http_bucket_bounds_ns[SKINK__HTTP_BUCKETS - 1];
unsigned skink__http_bucket_of(uint64_t duration_ns);

/* Counts per bucket (not cumulative), and the sum. */
struct skink__http_durations {
    uint64_t buckets[SKINK__HTTP_BUCKETS];
    uint64_t sum_ns;
};

/* One server, all routes together. */
struct skink__http_stats {
    uint64_t connections;          /* open now                                                             */
    uint64_t connections_total;    /* accepted, the refused included                                       */
    uint64_t connections_refused;  /* answered 503 because of max_connections                              */
    uint64_t requests;             /* answered, or ended without an answer since the client had gone (499) */
    uint64_t in_flight;            /* handed to a task and not answered yet                                */
    uint64_t response_bytes;       /* headers and bodies, handed to the kernel or queued for it            */
    uint64_t late_answers_dropped; /* given after the client was told that its request was stuck or expired */
    uint64_t requests_expired;     /* not answered in the time that they had: 504                          */
    uint64_t answers_client_gone;  /* given after the client had gone                                      */
    uint64_t answers_missing;      /* handlers that returned without an answer                             */
    uint64_t answers_cut;          /* begun, and cut short: the handler returned, got stuck, or the stop came    */
    uint64_t requests_refused;     /* 503 before the handler was called: held, stopping, quarantine, ... */
    uint64_t requests_malformed;   /* refused by the parser                                                */
    uint64_t routes_quarantined;   /* routes in quarantine or on trial now                                 */
    bool has_quarantine;           /* there may be some */
    uint64_t queue_full_since_ns;  /* of the server's own limit; 0: it is not full                         */
    struct skink__http_durations durations;
};

/* Any thread. Together with the servers that have the same routes (skink_http_copy_routes()), as everything below. The
 * server must not be destroyed during the call. */
void skink__http_stats_read(const skink_http_server *server, struct skink__http_stats *ret_stats);

/*
 * One route. What matched no route, and what the parser refused, is in a last one with method "" and route
 * "(none)". Strings live as long as the server.
 */
struct skink__http_route_stats {
    const char *method; /* "GET"; HEAD requests that a GET route served are counted there */
    const char *route;  /* the pattern, "/users/{id}" */
    uint64_t requests;
    struct skink__http_durations durations;
    bool quarantined; /* in quarantine, or on trial */
    uint64_t quarantines;
    uint64_t quarantine_refused;
    uint64_t quarantine_trials;
};

/* Call each(route, arg) for every route, those without requests included, in the order they were added. */
void skink__http_stats_routes(const skink_http_server *server,
                              void (*each)(const struct skink__http_route_stats *route, void *arg), void *arg);

/* One limit of concurrency. */
struct skink__http_limit_stats {
    const char *route;     /* the pattern; "(all)" for the server's own */
    uint64_t max_requests; /* 0: unlimited */
    uint64_t max_queue;
    uint64_t in_use; /* permits */
    uint64_t queued;
    uint64_t turned_away; /* 429 */
    uint64_t left;        /* clients that left the queue, and others that got no permit out of it */
    struct skink__http_durations waits;
};

/* Call each(limit, arg) for the server's own limit, and for each route's that was ever used to limit something. */
void skink__http_stats_limits(const skink_http_server *server,
                              void (*each)(const struct skink__http_limit_stats *limit, void *arg), void *arg);

/* Call each(method, route, code, count, arg) for every route and status code counted at least once. */
void skink__http_stats_codes(const skink_http_server *server,
                             void (*each)(const char *method, const char *route, int code, uint64_t count, void *arg),
                             void *arg);

/* The scheduler of the server, and of those that have the same routes, from 0; NULL past the last. */
skink_scheduler *skink__http_stats_scheduler_at(const skink_http_server *server, size_t i);

/* The workers that it uses; NULL: none. */
skink_workers *skink__http_stats_workers(const skink_http_server *server);
#endif
