/* SPDX-License-Identifier: MIT */
/* middleware/admission.c - permits of requests: taken on the way in, given back once (admission.h). */
#include "middleware/admission.h"
#include "loop/runtime.h"
#include "middleware/error_numbers.h"
#include "middleware/expiry.h"
#include "middleware/loop_middleware.h"
#include "skink/clock.h"
#include <stddef.h>

/* So many are let in at a time, then the loop has its turn: a limit that is lifted may have a long queue behind it. */
enum { LET_IN_MAX = 256 };

/* The limits in the order in which they are passed. NULL: this one does not concern it. */
static struct skink__limit *limit_at(const skink_request *request, unsigned stage)
{
    if (stage == SKINK__STAGE_ROUTE) return request->route ? request->route->limit : NULL;
    return &request->server->limit;
}

static void let_in(skink_http_server *server, struct skink__limit *limit) SKINK__IN_RUNTIME;

static void give_back(skink_request *request) SKINK__IN_RUNTIME
{
    while (request->stages_passed > 0) {
        struct skink__limit *limit = limit_at(request, --request->stages_passed);
        if (!limit) continue;
        skink__limit_leave(limit);
        let_in(request->server, limit);
    }
}

/* Pass what is left of the limits and start. 0: started, or it waits. */
static int go_on(skink_request *request, bool has_waited) SKINK__IN_RUNTIME
{
    for (; request->stages_passed < SKINK__STAGES; request->stages_passed++) {
        struct skink__limit *limit = limit_at(request, request->stages_passed);
        if (!limit) continue;
        uint64_t now_ns = request->server->now_ns;
        switch (skink__limit_enter(limit, &request->waiting, now_ns, has_waited)) {
        case SKINK__ENTERED:
            break;
        case SKINK__WAITS:
            return 0;
        case SKINK__TURNED_AWAY:
            give_back(request);
            return SKINK__HTTP_QUEUE_FULL;
        }
    }
    int error = skink__loop_middleware_start(request);
    if (error) give_back(request);
    return error;
}

void skink__admission_enter(skink_request *request)
{
    int error = skink__loop_middleware_refusal(request); /* there would be nothing to wait for */
    if (!error) {
        skink__expiry_begin(request);
        error = go_on(request, false);
    }
    if (error) skink__loop_middleware_refuse(request, error);
}

/* To those who wait goes what permits there are. */
static void let_in(skink_http_server *server, struct skink__limit *limit)
{
    if (limit->letting_in || server->cut) return; /* who does so already finds this permit too */
    limit->letting_in = true;
    struct skink__waiting *waiting;
    uint64_t waited_ns;
    unsigned count = 0;
    while (count < LET_IN_MAX && (waiting = skink__limit_next(limit, skink_now(), &waited_ns)) != NULL) {
        skink_request *request = (skink_request *)((char *)waiting - offsetof(struct skink_request, waiting));
        atomic_fetch_add_explicit(&request->queue_ns, waited_ns, memory_order_relaxed);
        request->stages_passed++;
        int error = go_on(request, true);
        if (error) skink__loop_middleware_refuse(request, error);
        if (error != SKINK__HTTP_STOPPING) count++; /* at a stop there may be no later */
    }
    limit->letting_in = false;
    if (count == LET_IN_MAX) skink__http_server_review_limits(server);
}

void skink__admission_leave(skink_request *request)
{
    give_back(request);
}

void skink__admission_forget(skink_request *request)
{
    if (!skink__admission_waits(request)) return;
    uint64_t since_ns = request->waiting.since_ns, now_ns = request->server->now_ns;
    if (now_ns > since_ns) /* in vain */
        atomic_fetch_add_explicit(&request->queue_ns, now_ns - since_ns, memory_order_relaxed);
    skink__limit_forget(&request->waiting);
    give_back(request); /* it may have passed the first limit */
}

void skink__admission_review(skink_http_server *server)
{
    server->now_ns = skink_now();
    let_in(server, &server->limit);
    struct skink__route *route = NULL;
    while ((route = skink__routes_next(&server->routes, route, NULL)) != NULL)
        if (route->owns_limit) let_in(server, route->limit);
}
