/* SPDX-License-Identifier: MIT */
/*
 * middleware/pipeline.c - plain calls: each middleware calls the next, the last one the handler. The order of every
 * pipeline is set here, outermost first:
 *
 *     outer         built-ins that see all that the program's own middlewares do
 *     the program's own, in the order in which skink_http_use() and skink_http_use_on() added them
 *     inner         built-ins that stand right around the handler
 *     the route's handler, or skink__unmatched for a request that no route takes
 */
#include "middleware/pipeline.h"
#include "loop/hooks.h"
#include "loop/log_value.h"
#include "middleware/builtin/builtin.h"
#include <stdbool.h>
#include <string.h>

/* NULL ends each list. */
static const skink_middleware outer[] = { NULL };
static const skink_middleware inner[] = { skink__missing_answer, NULL };

static const unsigned outer_count = sizeof outer / sizeof *outer - 1, inner_count = sizeof inner / sizeof *inner - 1;

/* On the stack of the middleware's caller. */
struct skink_next {
    unsigned index; /* of the step to run: outer ones, the program's own, inner ones, the handler */
    bool run;
};

/* "/api" stands for "/api" and for all that begins with "/api/". */
static bool stands_on(const struct skink__middleware_entry *entry, const skink_request *request)
{
    if (!entry->prefix) return true;
    const char *path = skink_request_path(request);
    if (strncmp(path, entry->prefix, entry->prefix_length) != 0) return false;
    char next = path[entry->prefix_length];
    return next == '\0' || next == '/';
}

static void run_from(skink_request *request, unsigned index)
{
    const skink_http_server *server = request->server;
    struct skink_next next = { .index = index + 1 };
    if (index < outer_count) {
        outer[index](request, &next, NULL);
        return;
    }
    unsigned own = index - outer_count;
    while (own < server->middleware_count && !stands_on(&server->middlewares[own], request))
        own++;
    next.index = outer_count + own + 1;
    if (own < server->middleware_count) {
        server->middlewares[own].fn(request, &next, server->middlewares[own].arg);
    } else if (own - server->middleware_count < inner_count) {
        inner[own - server->middleware_count](request, &next, NULL);
    } else if (request->route) {
        request->route->handler(request, request->route->arg);
    } else {
        skink__unmatched(request, NULL);
    }
}

void skink_next_run(skink_next *next, skink_request *request)
{
    if (!next || !request) return;
    if (next->run) {
        skink__log(SKINK_LOG_WARNING, "event=next_run_twice route=%s request=%s",
                   SKINK__LOG_WORD(skink_request_route(request)), SKINK__LOG_WORD(skink_request_id(request)));
        return;
    }
    next->run = true;
    run_from(request, next->index);
}

void skink__pipeline_run(skink_request *request)
{
    run_from(request, 0);
}
