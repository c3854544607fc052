/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_server_settings.c - what the host sets for a server: routes, middlewares, limits and timeouts.
 *
 * Routes and middlewares are fixed by the first listen, which is why tasks can read them without a lock. The rest can
 * be changed while the server runs.
 */
#include "loop/memory.h"
#include "loop/options.h"
#include "loop/runtime.h"
#include "middleware/admission.h"
#include "middleware/http_server.h"
#include "skink/clock.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>

static const uint64_t slice_timeout_min_ns = 10 * SKINK_MS;

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
    if (!skink__can_execute(given.execution, server->workers)) return -EINVAL;
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
    skink__stuck_unref(to->stuck); /* neither has had a request */
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
    if (!server || !pattern || !skink__can_execute(execution, server->workers)) return -EINVAL;
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
    if (!server || !ret_method || !ret_pattern) return false;
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
    if (!server) return;
    set_timeout(&server->header, header_timeout_ns);
    set_timeout(&server->idle, idle_timeout_ns);
    set_timeout(&server->stalled, idle_timeout_ns);
    set_timeout(&server->late, late_window_ns);
}
