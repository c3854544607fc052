/* SPDX-License-Identifier: MIT */
/* middleware/expiry.c - the deadline of a whole request (expiry.h). */
#include "middleware/expiry.h"
#include "loop/runtime.h"
#include "middleware/response.h"
#include "middleware/worker_middleware.h"
#include <errno.h>
#include <stddef.h>

static uint64_t own_timeout(const skink_request *request)
{
    const struct skink__route *route = request->route;
    return route ? atomic_load_explicit((_Atomic uint64_t *)&route->request_timeout_ns, memory_order_relaxed) : 0;
}

uint64_t skink__expiry_timeout(const skink_request *request)
{
    uint64_t own_ns = own_timeout(request);
    return own_ns ? own_ns : atomic_load_explicit(&request->server->request_timeout_ns, memory_order_relaxed);
}

/* The list of those that take as long as this one: the route's, made at its first use, or the server's. */
static struct skink__deadline_list *list_of(const skink_request *request)
{
    skink_http_server *server = request->server;
    struct skink__route *route = request->route;
    uint64_t own_ns = own_timeout(request), timeout_ns = skink__expiry_timeout(request);
    if (!timeout_ns) return NULL;
    struct skink__deadline_list *list = own_ns ? &route->expiry : &server->expiry;
    if (!list->owner) skink__deadline_list_init(list, &server->deadlines, timeout_ns, skink__expiry_end);
    list->timeout_ns = timeout_ns; /* it may have been changed */
    return list;
}

void skink__expiry_begin(skink_request *request)
{
    struct skink__deadline_list *list = list_of(request);
    if (list) skink__deadline_set(list, &request->expiry, request->server->now_ns);
}

void skink__expiry_end(struct skink__deadline *entry, void *server)
{
    (void)server;
    skink_request *request = (skink_request *)((char *)entry - offsetof(struct skink_request, expiry));
    skink__request_ref(request);
    (void)skink__worker_middleware_withdraw(request); /* first, for the record of it says how long it waited */
    if (request->state == SKINK__REQUEST_OPEN || request->state == SKINK__REQUEST_STREAMED) {
        skink__counter_add(&request->server->counters.requests_expired, 1);
        skink__answer_instead(request, SKINK__HTTP_REQUEST_EXPIRED, false);
    }
    if (request->task) skink__runtime_cancel(request->task, -ETIMEDOUT);
    skink__worker_middleware_cancel(request, -ETIMEDOUT);
    skink__request_unref(request);
}

void skink__expiry_now(skink_request *request)
{
    skink__deadline_clear(&request->expiry);
    skink__expiry_end(&request->expiry, request->server);
}
