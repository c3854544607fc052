/* SPDX-License-Identifier: MIT */
/*
 * middleware/pipeline.c - plain calls: each middleware calls the next, the last one the handler.
 *
 * A request that matches no route goes the same way, so that middlewares see it; at the end of it stands 404 or 405.
 */
#include "middleware/pipeline.h"
#include "loop/hooks.h"
#include "middleware/error_numbers.h"
#include <stdbool.h>

/* On the stack of the middleware's caller. */
struct skink_next {
    unsigned index; /* of the middleware to call; middleware_count: the handler */
    bool run;
};

static void answer_unmatched(skink_request *request)
{
    int number = SKINK__HTTP_NOT_FOUND;
    if (request->allowed) {
        char allow[SKINK__ALLOW_BYTES];
        skink__allow_text(request->allowed, allow);
        number = SKINK__HTTP_METHOD_NOT_ALLOWED;
        if (skink_response_header(request, "Allow", allow) != 0) return; /* no memory: 500 it is */
    }
    skink_respond_error(request, skink__http_error_status(number), number, skink__http_error_message(number));
}

static void run_from(skink_request *request, unsigned index)
{
    const skink_http_server *server = request->server;
    if (index < server->middleware_count) {
        const struct skink__middleware_entry *entry = &server->middlewares[index];
        struct skink_next next = { .index = index + 1 };
        entry->fn(request, &next, entry->arg);
    } else if (request->route) {
        request->route->handler(request, request->route->arg);
    } else {
        answer_unmatched(request);
    }
}

void skink_next_run(skink_next *next, skink_request *request)
{
    if (next->run) {
        skink__log(SKINK_LOG_WARNING, "event=next_run_twice route=%s request=%llu", skink_request_route(request),
                   (unsigned long long)request->index);
        return;
    }
    next->run = true;
    run_from(request, next->index);
}

void skink__pipeline_run(skink_request *request)
{
    run_from(request, 0);
}
