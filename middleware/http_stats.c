/* SPDX-License-Identifier: MIT */
/* middleware/http_stats.c - reading what a server has counted, from any thread. */
#include "middleware/http_stats.h"
#include "middleware/http_server.h"

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit((_Atomic uint64_t *)counter, memory_order_relaxed);
}

static const struct skink__route *twin_of(const struct skink__route *route)
{
    return atomic_load_explicit((_Atomic(struct skink__route *) *)&route->next_twin, memory_order_acquire);
}

static const skink_http_server *twin_server(const skink_http_server *server)
{
    return atomic_load_explicit((_Atomic(skink_http_server *) *)&server->next_twin, memory_order_acquire);
}

static void add_route(const struct skink__route *route, struct skink__http_route_stats *stats)
{
    for (unsigned i = 0; i < SKINK__HTTP_BUCKETS; i++) {
        uint64_t count = get(&route->buckets[i]);
        stats->durations.buckets[i] += count;
        stats->requests += count;
    }
    stats->durations.sum_ns += get(&route->sum_ns);
    if (skink__quarantine_is_on(&route->quarantine)) stats->quarantined = 1;
    stats->quarantines += get(&route->quarantine.begun);
    stats->quarantine_refused += get(&route->quarantine.refused);
    stats->quarantine_trials += get(&route->quarantine.trials);
}

/* On all loops together. */
static void read_route(const struct skink__route *route, struct skink__http_route_stats *ret_stats)
{
    *ret_stats = (struct skink__http_route_stats){ .method = "", .route = route->pattern };
    if (route->handler) ret_stats->method = llhttp_method_name(route->method);
    for (; route; route = twin_of(route))
        add_route(route, ret_stats);
}

/* Call each(route, arg) for the added ones and for the one that stands for none. */
static void for_each(const skink_http_server *server, void (*each)(const struct skink__route *route, void *arg),
                     void *arg)
{
    const struct skink__route *route = NULL;
    while ((route = skink__routes_next(&server->routes, route, NULL)) != NULL)
        each(route, arg);
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

static void add_server(const skink_http_server *server, struct skink__http_stats *stats)
{
    const struct skink__http_counters *counters = &server->counters;
    stats->connections += get(&counters->connections);
    stats->connections_total += get(&counters->connections_total);
    stats->connections_refused += get(&counters->connections_refused);
    stats->in_flight += get(&counters->in_flight);
    stats->response_bytes += get(&counters->response_bytes);
    stats->late_answers_dropped += get(&counters->late_answers_dropped);
    stats->requests_expired += get(&counters->requests_expired);
    stats->answers_client_gone += get(&counters->answers_client_gone);
    stats->answers_missing += get(&counters->answers_missing);
    stats->answers_cut += get(&counters->answers_cut);
    stats->requests_refused += get(&counters->requests_refused);
    stats->requests_malformed += get(&counters->requests_malformed);
    if (server->quarantine.strikes) stats->has_quarantine = true;
    uint64_t full_since_ns = get(&server->limit.full_since_ns);
    if (full_since_ns && (!stats->queue_full_since_ns || full_since_ns < stats->queue_full_since_ns))
        stats->queue_full_since_ns = full_since_ns;
}

void skink__http_stats_read(const skink_http_server *server, struct skink__http_stats *ret_stats)
{
    *ret_stats = (struct skink__http_stats){ 0 };
    for_each(server, add_up, ret_stats);
    for (; server; server = twin_server(server))
        add_server(server, ret_stats);
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
        uint64_t count = 0;
        for (const struct skink__route *twin = route; twin; twin = twin_of(twin))
            count += get(&twin->codes[i]);
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

static void add_limit(const struct skink__limit *limit, struct skink__http_limit_stats *stats)
{
    stats->max_requests += atomic_load_explicit((_Atomic uint32_t *)&limit->max_requests, memory_order_relaxed);
    stats->max_queue += atomic_load_explicit((_Atomic uint32_t *)&limit->max_queue, memory_order_relaxed);
    stats->in_use += get(&limit->in_use);
    stats->queued += get(&limit->queued);
    stats->turned_away += get(&limit->turned_away);
    stats->left += get(&limit->left);
    stats->waits.sum_ns += get(&limit->sum_ns);
    for (unsigned i = 0; i < SKINK__HTTP_BUCKETS; i++)
        stats->waits.buckets[i] += get(&limit->buckets[i]);
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
    struct skink__http_limit_stats stats = { .route = "(all)" };
    for (const skink_http_server *twin = server; twin; twin = twin_server(twin))
        add_limit(&twin->limit, &stats);
    each(&stats, arg);
    const struct skink__route *route = NULL;
    while ((route = skink__routes_next(&server->routes, route, NULL)) != NULL) {
        if (!route->owns_limit) continue;
        stats = (struct skink__http_limit_stats){ .route = route->pattern };
        for (const struct skink__route *twin = route; twin; twin = twin_of(twin))
            add_limit(twin->limit, &stats);
        if (was_used(&stats)) each(&stats, arg);
    }
}

skink_scheduler *skink__http_stats_scheduler_at(const skink_http_server *server, size_t i)
{
    while (server && i-- > 0)
        server = twin_server(server);
    return server ? server->scheduler : NULL;
}

skink_workers *skink__http_stats_workers(const skink_http_server *server)
{
    return server->workers;
}
