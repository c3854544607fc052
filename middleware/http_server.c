/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_server.c - a server's life: created, given routes, listening, stopped, destroyed.
 *
 * What touches uv handles goes through skink_scheduler_uv() into the runtime section, or is posted there. Routes and
 * middlewares are fixed by the first listen, which is why tasks can read them without a lock.
 */
#include "middleware/http_server.h"
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/options.h"
#include "loop/runtime.h"
#include "loop/worker_pool.h"
#include "middleware/admission.h"
#include "middleware/http_connection.h"
#include "middleware/late_window.h"
#include "middleware/listener.h"
#include "middleware/request.h"
#include "skink/clock.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>

enum { SERVER_HEADER_MAX = 128, SCRATCH_BYTES = 8192 };
static const uint64_t linger_timeout_ns = 2 * SKINK_S, accept_pause_ns = 100 * SKINK_MS,
                      slice_timeout_min_ns = 10 * SKINK_MS;

/* --- references --- */

skink_http_server *skink__http_server_ref(skink_http_server *server)
{
    atomic_fetch_add_explicit(&server->refs, 1, memory_order_relaxed);
    return server;
}

static void stuck_unref(struct skink__stuck *stuck)
{
    if (stuck && atomic_fetch_sub_explicit(&stuck->refs, 1, memory_order_acq_rel) == 1) skink__free(stuck);
}

static void free_requests(skink_http_server *server)
{
    while (server->free_requests) {
        skink_request *request = server->free_requests;
        server->free_requests = request->next_free;
        skink__free(request);
    }
}

void skink__http_server_unref(skink_http_server *server)
{
    /* Release: what this holder did to it; acquire: the last one sees what all did. */
    if (atomic_fetch_sub_explicit(&server->refs, 1, memory_order_acq_rel) > 1) return;
    free_requests(server);
    skink__connection_pool_free(server);
    skink__routes_fini(&server->routes);
    for (unsigned i = 0; i < server->middleware_count; i++)
        skink__free(server->middlewares[i].prefix);
    skink__free(server->middlewares);
    skink__free(server->server_line);
    skink__proxies_fini(&server->trusted_proxies);
    skink__workers_unref(server->workers);
    stuck_unref(server->stuck);
    /* A twin's own list is the rest of ours. */
    skink_http_server *twin = server->is_twin ? NULL : atomic_load(&server->next_twin);
    while (twin) {
        skink_http_server *next = atomic_load(&twin->next_twin);
        skink__http_server_unref(twin);
        twin = next;
    }
    skink__free(server->read_buffer);
    skink__free(server->scratch);
    pthread_mutex_destroy(&server->admin);
    skink__free(server);
}

/* --- create --- */

static bool server_header_is_valid(const char *text)
{
    if (strlen(text) > SERVER_HEADER_MAX) return false;
    for (; *text; text++)
        if (*text < ' ' || *text > '~') return false;
    return true;
}

static char *make_server_line(const char *text)
{
    if (!*text) return skink__strdup("");
    char *line = skink__alloc(strlen(text) + sizeof "Server: \r\n");
    if (line) stpcpy(stpcpy(stpcpy(line, "Server: "), text), "\r\n");
    return line;
}

/* What does not run on the loop needs workers. */
static bool can_execute(skink_execution execution, const skink_workers *workers)
{
    return execution <= SKINK_EXECUTE_LOOP || (execution <= SKINK_EXECUTE_SERIAL && workers);
}

static uint64_t or_default(uint64_t value, uint64_t fallback)
{
    return value ? value : fallback;
}

static void init_deadlines(skink_http_server *server, const skink_http_options *options)
{
    struct skink__deadlines *all = &server->deadlines;
    skink__deadline_list_init(&server->idle, all, or_default(options->idle_timeout_ns, 75 * SKINK_S),
                              skink__connection_on_idle);
    skink__deadline_list_init(&server->header, all, or_default(options->header_timeout_ns, 10 * SKINK_S),
                              skink__connection_on_header_timeout);
    skink__deadline_list_init(&server->stalled, all, server->idle.timeout_ns, skink__connection_on_stalled);
    skink__deadline_list_init(&server->linger, all, linger_timeout_ns, skink__connection_on_linger_end);
    skink__deadline_list_init(&server->late, all, or_default(options->late_window_ns, SKINK_S), skink__late_window_end);
    skink__deadline_list_init(&server->accept, all, accept_pause_ns, skink__listener_on_retry);
}

static void take_options(skink_http_server *server, const skink_http_options *options)
{
    enum { KIB = 1024 };
    server->limits.max_header_bytes = or_default(options->max_header_bytes, 16 * KIB);
    server->limits.max_body_bytes = or_default(options->max_body_bytes, 1024 * KIB);
    server->max_connections = (uint32_t)or_default(options->max_connections, 10000);
    server->max_backlog_bytes = or_default(options->max_backlog_bytes, 64 * KIB);
    server->max_unsent_bytes = or_default(options->max_unsent_bytes, 64 * KIB);
    server->quarantine = (struct skink__quarantine_rules){
        .strikes = options->quarantine_strikes,
        .window_ns = or_default(options->quarantine_window_ns, 120 * SKINK_S),
        .period_ns = or_default(options->quarantine_period_ns, 30 * SKINK_S),
    };
    atomic_init(&server->request_timeout_ns, options->request_timeout_ns);
    server->execution = options->execution ? options->execution : SKINK_EXECUTE_LOOP;
    server->workers = options->workers ? skink__workers_ref(options->workers) : NULL;
    atomic_init(&server->limit.max_requests, options->max_requests);
    atomic_init(&server->limit.max_queue, options->max_queue);
    server->access = options->access;
    server->access_arg = options->access_arg;
    server->reuse_port = options->flags & SKINK_HTTP_REUSE_PORT;
    init_deadlines(server, options);
}

int skink_http_check_proxies(const char *text, size_t *ret_at)
{
    struct skink__proxies proxies;
    int err = skink__proxies_parse(&proxies, text, ret_at);
    skink__proxies_fini(&proxies);
    return err;
}

int skink_http_server_create(skink_scheduler *scheduler, const skink_http_options *options,
                             skink_http_server **ret_server)
{
    skink_http_options given;
    int err = SKINK__OPTIONS_READ(&given, options);
    if (err) return err;
    if (given.flags & ~SKINK_HTTP_REUSE_PORT || given.quarantine_strikes > SKINK__STRIKES_MAX) return -EINVAL;
    const char *server_header = given.server_header ? given.server_header : "skink";
    if (!scheduler || !ret_server || !server_header_is_valid(server_header)) return -EINVAL;
    if (!can_execute(given.execution, given.workers)) return -EINVAL;
    skink_http_server *server = skink__zalloc(sizeof *server);
    if (!server) return -ENOMEM;
    server->scheduler = scheduler;
    atomic_init(&server->refs, 1);
    take_options(server, &given);
    pthread_mutex_init(&server->admin, NULL);
    skink__routes_init(&server->routes);
    skink__request_id_prefix(server->id_prefix);
    server->server_line = make_server_line(server_header);
    server->read_buffer = skink__alloc(SKINK__READ_BUFFER_BYTES);
    server->scratch = skink__alloc(SCRATCH_BYTES);
    server->scratch_bytes = SCRATCH_BYTES;
    err = skink__proxies_parse(&server->trusted_proxies, given.trusted_proxies, NULL);
    server->stuck = skink__zalloc(sizeof *server->stuck);
    if (server->stuck) atomic_init(&server->stuck->refs, 1);
    if (!err && (!server->server_line || !server->read_buffer || !server->scratch || !server->stuck)) err = -ENOMEM;
    if (err) {
        skink__http_server_unref(server);
        return err;
    }
    server->server_line_length = strlen(server->server_line);
    *ret_server = server;
    return 0;
}

/* --- limits of concurrency --- */

static void set_limits(struct skink__limit *limit, uint32_t max_requests, uint32_t max_queue)
{
    atomic_store_explicit(&limit->max_requests, max_requests, memory_order_relaxed);
    atomic_store_explicit(&limit->max_queue, max_queue, memory_order_relaxed);
}

static void deliver_review(skink_scheduler *scheduler, struct skink__message *message, bool closed) SKINK__IN_RUNTIME
{
    (void)scheduler;
    skink_http_server *server =
        (skink_http_server *)((char *)message - offsetof(struct skink_http_server, review_message));
    /* Before the look, so that who changes something after it posts again. */
    atomic_store(&server->review_posted, false);
    if (!closed) skink__admission_review(server);
    skink__http_server_unref(server);
}

void skink__http_server_review_limits(skink_http_server *server)
{
    if (atomic_exchange(&server->review_posted, true)) return;
    server->review_message.deliver = deliver_review;
    skink__http_server_ref(server);
    if (skink__scheduler_post(server->scheduler, &server->review_message)) return;
    atomic_store(&server->review_posted, false);
    skink__http_server_unref(server);
}

int skink_http_set_limits(skink_http_server *server, uint32_t max_requests, uint32_t max_queue)
{
    if (!server) return -EINVAL;
    set_limits(&server->limit, max_requests, max_queue);
    skink__http_server_review_limits(server);
    return 0;
}

int skink_http_route_set_limits(skink_http_server *server, const char *pattern, uint32_t max_requests,
                                uint32_t max_queue)
{
    if (!server || !pattern) return -EINVAL;
    const struct skink__route *route = skink__routes_next(&server->routes, NULL, pattern);
    if (!route) return -ENOENT;
    set_limits(route->limit, max_requests, max_queue); /* which all methods of a pattern share */
    skink__http_server_review_limits(server);
    return 0;
}

/* --- routes and middlewares --- */

int skink_http_route(skink_http_server *server, const char *method, const char *pattern,
                     const skink_route_options *options, skink_handler handler, void *arg)
{
    if (!server) return -EINVAL;
    skink_route_options given;
    int err = SKINK__OPTIONS_READ(&given, options);
    if (err) return err;
    if (given.deadlock_timeout_ns && given.deadlock_timeout_ns < slice_timeout_min_ns) return -EINVAL;
    if (!can_execute(given.execution, server->workers)) return -EINVAL;
    skink__mutex_lock(&server->admin);
    struct skink__route *route;
    err = atomic_load(&server->listened) ? -EBUSY
                                         : skink__routes_add(&server->routes, method, pattern, handler, arg, &route);
    if (!err) atomic_store_explicit(&route->deadlock_timeout_ns, given.deadlock_timeout_ns, memory_order_relaxed);
    if (!err) atomic_store_explicit(&route->request_timeout_ns, given.request_timeout_ns, memory_order_relaxed);
    if (!err) {
        route->stream_body = given.stream_body;
        route->limits = server->limits;
        if (given.max_body_bytes) route->limits.max_body_bytes = given.max_body_bytes;
    }
    if (!err) route->execution = given.execution;
    if (!err && given.max_requests) set_limits(route->limit, given.max_requests, given.max_queue);
    skink__mutex_unlock(&server->admin);
    return err;
}

/* Takes the entry over on success. */
static int add_middleware(skink_http_server *server, const struct skink__middleware_entry *entry)
    SKINK__REQUIRES(server->admin)
{
    if (atomic_load(&server->listened)) return -EBUSY;
    struct skink__middleware_entry *more =
        skink__realloc(server->middlewares, (server->middleware_count + 1) * sizeof *more);
    if (!more) return -ENOMEM;
    more[server->middleware_count++] = *entry;
    server->middlewares = more;
    return 0;
}

/* --- the same routes on another loop --- */

static int copy_route(skink_http_server *to, struct skink__route *route)
{
    struct skink__route *copy;
    int err = skink__routes_add(&to->routes, llhttp_method_name(route->method), route->pattern, route->handler,
                                route->arg, &copy);
    if (err) return err;
    atomic_store(&copy->deadlock_timeout_ns, atomic_load(&route->deadlock_timeout_ns));
    atomic_store(&copy->request_timeout_ns, atomic_load(&route->request_timeout_ns));
    atomic_store(&copy->action, atomic_load(&route->action));
    copy->execution = route->execution;
    copy->stream_body = route->stream_body;
    copy->limits = route->limits;
    set_limits(copy->limit, atomic_load(&route->limit->max_requests), atomic_load(&route->limit->max_queue));
    atomic_store(&copy->next_twin, atomic_load(&route->next_twin));
    atomic_store_explicit(&route->next_twin, copy, memory_order_release);
    return 0;
}

static int copy_routes(skink_http_server *from, skink_http_server *to) SKINK__REQUIRES(from->admin, to->admin)
{
    if (atomic_load(&from->listened) || atomic_load(&to->listened)) return -EBUSY;
    struct skink__route *route = atomic_load(&from->routes.first);
    /* First: what routes point to has to stay, also after a failure. */
    atomic_store(&to->next_twin, atomic_load(&from->next_twin));
    atomic_store_explicit(&from->next_twin, skink__http_server_ref(to), memory_order_release);
    atomic_store(&to->routes.none.next_twin, atomic_load(&from->routes.none.next_twin));
    atomic_store_explicit(&from->routes.none.next_twin, &to->routes.none, memory_order_release);
    to->is_twin = true;
    stuck_unref(to->stuck); /* neither has had a request */
    atomic_fetch_add_explicit(&from->stuck->refs, 1, memory_order_relaxed);
    to->stuck = from->stuck;
    int err = 0;
    for (; route && !err; route = atomic_load(&route->next))
        err = copy_route(to, route);
    for (unsigned i = 0; i < from->middleware_count && !err; i++) {
        struct skink__middleware_entry entry = from->middlewares[i];
        if (entry.prefix && !(entry.prefix = skink__strdup(entry.prefix))) return -ENOMEM;
        err = add_middleware(to, &entry);
        if (err) skink__free(entry.prefix);
    }
    return err;
}

int skink_http_copy_routes(skink_http_server *from, skink_http_server *to)
{
    if (!from || !to || from == to) return -EINVAL;
    skink__mutex_lock(&from->admin);
    skink__mutex_lock(&to->admin); /* always in this order: `to` is nobody's `from` */
    bool fit = !to->is_twin && !from->is_twin && !atomic_load(&to->next_twin) && !atomic_load(&to->routes.first);
    int err = fit ? copy_routes(from, to) : -EINVAL;
    skink__mutex_unlock(&to->admin);
    skink__mutex_unlock(&from->admin);
    return err;
}

static int use(skink_http_server *server, struct skink__middleware_entry *entry)
{
    skink__mutex_lock(&server->admin);
    int err = add_middleware(server, entry);
    skink__mutex_unlock(&server->admin);
    if (err) skink__free(entry->prefix);
    return err;
}

int skink_http_use(skink_http_server *server, skink_middleware middleware, void *arg)
{
    if (!server || !middleware) return -EINVAL;
    struct skink__middleware_entry entry = { .fn = middleware, .arg = arg };
    return use(server, &entry);
}

int skink_http_use_on(skink_http_server *server, const char *prefix, skink_middleware middleware, void *arg)
{
    if (!server || !middleware || !prefix || prefix[0] != '/') return -EINVAL;
    size_t length = strlen(prefix);
    if (prefix[length - 1] == '/') length--; /* "/api/" is "/api", and "/" stands for all */
    struct skink__middleware_entry entry = {
        .fn = middleware, .arg = arg, .prefix = skink__strndup(prefix, length), .prefix_length = length
    };
    return entry.prefix ? use(server, &entry) : -ENOMEM;
}

int skink_http_route_set_timeout(skink_http_server *server, const char *pattern, uint64_t deadlock_timeout_ns)
{
    if (!server || !pattern) return -EINVAL;
    if (deadlock_timeout_ns && deadlock_timeout_ns < slice_timeout_min_ns) return -EINVAL;
    struct skink__route *route = skink__routes_next(&server->routes, NULL, pattern);
    if (!route) return -ENOENT;
    for (; route; route = skink__routes_next(&server->routes, route, pattern))
        atomic_store_explicit(&route->deadlock_timeout_ns, deadlock_timeout_ns, memory_order_relaxed);
    return 0;
}

int skink_http_set_request_timeout(skink_http_server *server, uint64_t request_timeout_ns)
{
    if (!server) return -EINVAL;
    atomic_store_explicit(&server->request_timeout_ns, request_timeout_ns, memory_order_relaxed);
    return 0;
}

int skink_http_route_set_request_timeout(skink_http_server *server, const char *pattern, uint64_t request_timeout_ns)
{
    if (!server || !pattern) return -EINVAL;
    struct skink__route *route = skink__routes_next(&server->routes, NULL, pattern);
    if (!route) return -ENOENT;
    for (; route; route = skink__routes_next(&server->routes, route, pattern))
        atomic_store_explicit(&route->request_timeout_ns, request_timeout_ns, memory_order_relaxed);
    return 0;
}

int skink_http_route_set_action(skink_http_server *server, const char *pattern, skink_action action)
{
    if (!server || !pattern || (unsigned)action > SKINK_ACTION_OFF) return -EINVAL;
    struct skink__route *route = skink__routes_next(&server->routes, NULL, pattern);
    if (!route) return -ENOENT;
    for (; route; route = skink__routes_next(&server->routes, route, pattern))
        atomic_store_explicit(&route->action, (unsigned)action, memory_order_relaxed);
    return 0;
}

void skink_http_quarantine_lift(skink_http_server *server)
{
    if (!server) return;
    struct skink__route *route = NULL;
    while ((route = skink__routes_next(&server->routes, route, NULL)) != NULL)
        skink__quarantine_lift(&route->quarantine);
}

int skink_http_route_set_execution(skink_http_server *server, const char *pattern, skink_execution execution)
{
    if (!server || !pattern || !can_execute(execution, server->workers)) return -EINVAL;
    skink__mutex_lock(&server->admin);
    struct skink__route *route = skink__routes_next(&server->routes, NULL, pattern);
    int err = atomic_load(&server->listened) ? -EBUSY : route ? 0 : -ENOENT;
    for (; route && !err; route = skink__routes_next(&server->routes, route, pattern))
        route->execution = execution;
    skink__mutex_unlock(&server->admin);
    return err;
}

bool skink_http_route_at(const skink_http_server *server, size_t i, const char **ret_method, const char **ret_pattern)
{
    const struct skink__route *route = skink__routes_next(&server->routes, NULL, NULL);
    while (route && i-- > 0)
        route = skink__routes_next(&server->routes, route, NULL);
    if (!route) return false;
    *ret_method = llhttp_method_name(route->method);
    *ret_pattern = route->pattern;
    return true;
}

static void set_timeout(struct skink__deadline_list *list, uint64_t timeout_ns)
{
    if (timeout_ns) atomic_store_explicit(&list->timeout_ns, timeout_ns, memory_order_relaxed);
}

void skink_http_set_timeouts(skink_http_server *server, uint64_t header_timeout_ns, uint64_t idle_timeout_ns,
                             uint64_t late_window_ns)
{
    set_timeout(&server->header, header_timeout_ns);
    set_timeout(&server->idle, idle_timeout_ns);
    set_timeout(&server->stalled, idle_timeout_ns);
    set_timeout(&server->late, late_window_ns);
}

/* --- listen --- */

struct attach {
    struct skink__listener *listener;
    int err;
};

void skink__http_server_fix(skink_http_server *server)
{
    skink__mutex_lock(&server->admin);
    atomic_store(&server->listened, true);
    skink__mutex_unlock(&server->admin);
}

int skink__http_server_attach(skink_http_server *server, uv_loop_t *loop)
{
    if (!server->ready) {
        int err = skink__deadlines_init(&server->deadlines, loop, server);
        if (err) return err;
        skink__http_server_ref(server); /* the timer's */
        err = uv_idle_init(loop, &server->turn_end);
        SKINK_ASSERT(err == 0); /* it cannot fail */
        server->turn_end.data = server;
        skink__http_server_ref(server); /* its */
        server->ready = true;
    }
    return server->stopping || server->drain.refusing_since_ns ? -ECANCELED : 0;
}

static void attach(uv_loop_t *loop, void *arg)
{
    struct attach *call = arg;
    call->err = skink__http_server_attach(call->listener->server, loop);
    if (!call->err) call->err = skink__listener_start(call->listener);
}

int skink_http_listen(skink_http_server *server, const char *address, int *ret_port)
{
    if (!server || !address) return -EINVAL;
    struct attach call = { 0 };
    int port = 0;
    skink__mutex_lock(&server->admin);
    int err = skink__listener_create(server, address, &port, &call.listener);
    if (!err) {
        atomic_store(&server->listened, true);
        err = skink_scheduler_uv(server->scheduler, attach, &call);
        if (!err) err = call.err;
        if (err) skink__listener_free(call.listener);
    }
    skink__mutex_unlock(&server->admin);
    if (!err && ret_port) *ret_port = port;
    return err;
}

/* --- stop --- */

bool skink__http_server_is_running(const skink_http_server *server)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    return skink_scheduler_stats_read(server->scheduler, &stats) == 0 && stats.running;
}

void skink__http_server_close_listeners(skink_http_server *server)
{
    struct skink__listener *listener = server->listeners;
    server->listeners = NULL;
    while (listener) {
        struct skink__listener *next = listener->next;
        skink__listener_remove_file(listener); /* one unlink() on a local file system */
        skink__listener_close(listener);
        listener = next;
    }
}

/* Runtime section. */
static void stop(skink_http_server *server) SKINK__IN_RUNTIME
{
    server->stopping = true;
    skink__http_server_close_listeners(server);
    struct skink__connection *connection = server->connections;
    while (connection) {
        struct skink__connection *next = skink__connection_next(connection);
        skink__connection_close_idle(connection);
        connection = next;
    }
}

static void deliver_stop(skink_scheduler *scheduler, struct skink__message *message, bool closed) SKINK__IN_RUNTIME
{
    (void)scheduler;
    skink_http_server *server =
        (skink_http_server *)((char *)message - offsetof(struct skink_http_server, stop_message));
    if (!closed) stop(server);
    skink__http_server_unref(server);
}

void skink_http_server_stop(skink_http_server *server)
{
    if (!server || atomic_exchange(&server->stop_posted, true)) return;
    server->stop_message.deliver = deliver_stop;
    skink__http_server_ref(server);
    if (!skink__scheduler_post(server->scheduler, &server->stop_message)) skink__http_server_unref(server);
}

/* --- destroy --- */

static void on_timer_closed(uv_handle_t *handle)
{
    skink_http_server *server =
        (skink_http_server *)((char *)handle - offsetof(struct skink_http_server, deadlines.timer));
    skink__http_server_unref(server);
}

static void on_turn_end_closed(uv_handle_t *handle)
{
    skink__http_server_unref(handle->data);
}

/* Runtime section, or any thread while the scheduler does not run. */
static void cut(uv_loop_t *loop, void *arg) SKINK__IN_RUNTIME
{
    (void)loop;
    skink_http_server *server = arg;
    server->stopping = server->cut = true;
    skink__http_server_close_listeners(server);
    while (server->connections)
        skink__connection_cut(server->connections);
    if (server->ready) {
        uv_close((uv_handle_t *)&server->deadlines.timer, on_timer_closed);
        uv_close((uv_handle_t *)&server->turn_end, on_turn_end_closed);
    }
    server->ready = false;
}

void skink_http_server_destroy(skink_http_server *server)
{
    if (!server) return;
    int err;
    /* While the scheduler is on its way down, nothing can be run there: then it has stopped soon, or was given up, and its
     * server is leaked with it. */
    while ((err = skink_scheduler_uv(server->scheduler, cut, server)) == -ECANCELED) {
        if (skink__scheduler_is_given_up(server->scheduler)) break;
        uv_sleep(1);
    }
    if (!err) skink__http_server_unref(server);
}
