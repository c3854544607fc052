/* SPDX-License-Identifier: MIT */
/* middleware/http_stats.c - reading what a server has counted, from any thread. */
#include "middleware/http_stats.h"
#include "middleware/http_server.h"

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit((_Atomic uint64_t *)counter, memory_order_relaxed);
}

static void read_route(const struct skink__route *route, struct skink__http_route_stats *ret_stats)
{
    *ret_stats = (struct skink__http_route_stats){ .method = "", .route = route->pattern };
    if (route->handler) ret_stats->method = llhttp_method_name(route->method);
    for (unsigned i = 0; i < SKINK__HTTP_BUCKETS; i++) {
        ret_stats->durations.buckets[i] = get(&route->buckets[i]);
        ret_stats->requests += ret_stats->durations.buckets[i];
    }
    ret_stats->durations.sum_ns = get(&route->sum_ns);
    ret_stats->quarantined = skink__quarantine_is_on(&route->quarantine);
    ret_stats->quarantines = get(&route->quarantine.begun);
    ret_stats->quarantine_refused = get(&route->quarantine.refused);
    ret_stats->quarantine_trials = get(&route->quarantine.trials);
}

/* Call each(route, arg) for the added ones and for the one that stands for none. */
static void for_each(const skink_http_server *server, void (*each)(const struct skink__route *route, void *arg),
                     void *arg)
{
    const struct skink__route *route =
        atomic_load_explicit((_Atomic(struct skink__route *) *)&server->routes.first, memory_order_acquire);
    while (route) {
        each(route, arg);
        route = atomic_load_explicit((_Atomic(struct skink__route *) *)&route->next, memory_order_acquire);
    }
    each(&server->routes.none, arg);
}

static void add_up(const struct skink__route *route, void *arg)
{
    struct skink__http_stats *stats = arg;
    struct skink__http_route_stats one;
    read_route(route, &one);
    stats->requests += one.requests;
    stats->routes_quarantined += one.quarantined;
    stats->durations.sum_ns += one.durations.sum_ns;
    for (unsigned i = 0; i < SKINK__HTTP_BUCKETS; i++)
        stats->durations.buckets[i] += one.durations.buckets[i];
}

void skink__http_stats_read(const skink_http_server *server, struct skink__http_stats *ret_stats)
{
    const struct skink__http_counters *counters = &server->counters;
    *ret_stats = (struct skink__http_stats){
        .connections = get(&counters->connections),
        .connections_total = get(&counters->connections_total),
        .connections_refused = get(&counters->connections_refused),
        .in_flight = get(&counters->in_flight),
        .response_bytes = get(&counters->response_bytes),
        .late_answers_dropped = get(&counters->late_answers_dropped),
        .requests_expired = get(&counters->requests_expired),
        .answers_client_gone = get(&counters->answers_client_gone),
        .answers_missing = get(&counters->answers_missing),
        .answers_cut = get(&counters->answers_cut),
        .requests_refused = get(&counters->requests_refused),
        .requests_malformed = get(&counters->requests_malformed),
        .has_quarantine = server->quarantine.strikes > 0,
        .queue_full_since_ns = get(&server->limit.full_since_ns),
    };
    for_each(server, add_up, ret_stats);
}

struct each_route {
    void (*each)(const struct skink__http_route_stats *route, void *arg);
    void *arg;
};

static void hand_route(const struct skink__route *route, void *arg)
{
    const struct each_route *to = arg;
    struct skink__http_route_stats stats;
    read_route(route, &stats);
    to->each(&stats, to->arg);
}

void skink__http_stats_routes(const skink_http_server *server,
                              void (*each)(const struct skink__http_route_stats *route, void *arg), void *arg)
{
    struct each_route to = { each, arg };
    for_each(server, hand_route, &to);
}

struct each_code {
    void (*each)(const char *method, const char *route, int code, uint64_t count, void *arg);
    void *arg;
};

static void hand_codes(const struct skink__route *route, void *arg)
{
    const struct each_code *to = arg;
    const char *method = route->handler ? llhttp_method_name(route->method) : "";
    for (int i = 0; i < SKINK__CODES; i++) {
        uint64_t count = get(&route->codes[i]);
        if (count) to->each(method, route->pattern, i + SKINK__CODE_FIRST, count, to->arg);
    }
}

void skink__http_stats_codes(const skink_http_server *server,
                             void (*each)(const char *method, const char *route, int code, uint64_t count, void *arg),
                             void *arg)
{
    struct each_code to = { each, arg };
    for_each(server, hand_codes, &to);
}

static void read_limit(const struct skink__limit *limit, const char *route, struct skink__http_limit_stats *ret_stats)
{
    *ret_stats = (struct skink__http_limit_stats){
        .route = route,
        .max_requests = atomic_load_explicit((_Atomic uint32_t *)&limit->max_requests, memory_order_relaxed),
        .max_queue = atomic_load_explicit((_Atomic uint32_t *)&limit->max_queue, memory_order_relaxed),
        .in_use = get(&limit->in_use),
        .queued = get(&limit->queued),
        .turned_away = get(&limit->turned_away),
        .left = get(&limit->left),
        .waits.sum_ns = get(&limit->sum_ns),
    };
    for (unsigned i = 0; i < SKINK__HTTP_BUCKETS; i++)
        ret_stats->waits.buckets[i] = get(&limit->buckets[i]);
}

static bool was_used(const struct skink__http_limit_stats *stats)
{
    uint64_t waited = 0;
    for (unsigned i = 0; i < SKINK__HTTP_BUCKETS; i++)
        waited += stats->waits.buckets[i];
    return stats->max_requests || stats->turned_away || stats->left || waited;
}

void skink__http_stats_limits(const skink_http_server *server,
                              void (*each)(const struct skink__http_limit_stats *limit, void *arg), void *arg)
{
    struct skink__http_limit_stats stats;
    read_limit(&server->limit, "(all)", &stats);
    each(&stats, arg);
    const struct skink__route *route =
        atomic_load_explicit((_Atomic(struct skink__route *) *)&server->routes.first, memory_order_acquire);
    for (; route; route = atomic_load_explicit((_Atomic(struct skink__route *) *)&route->next, memory_order_acquire)) {
        if (!route->owns_limit) continue;
        read_limit(route->limit, route->pattern, &stats);
        if (was_used(&stats)) each(&stats, arg);
    }
}
