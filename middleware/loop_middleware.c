/* SPDX-License-Identifier: MIT */
/* middleware/loop_middleware.c - one task per request: started, ended, abandoned or dropped. */
#include "middleware/loop_middleware.h"
#include "loop/hooks.h"
#include "loop/runtime.h"
#include "middleware/late_window.h"
#include "middleware/pipeline.h"
#include "middleware/response.h"
#include <errno.h>

/* The task has come to its end, or never will: its reference goes. */
static void let_go(skink_request *request)
{
    request->task = NULL; /* it was only borrowed */
    skink__request_unref(request);
}

/* Runtime section, after the handler. */
static void finish(skink_request *request)
{
    if (request->state == SKINK__REQUEST_OPEN) {
        skink__counter_add(&request->server->counters.answers_missing, 1);
        skink__log(SKINK_LOG_WARNING, "event=no_answer route=%s request=%llu", skink_request_route(request),
                   (unsigned long long)request->index);
        (void)skink__answer_error(request, SKINK__HTTP_NO_ANSWER, NULL, false);
    }
    let_go(request);
}

/* The task. What it still says after finish() it says to nobody. */
static void run(void *arg)
{
    skink_request *request = arg;
    skink__pipeline_run(request);
    skink_scheduler *here = skink__runtime_enter();
    finish(request);
    skink__runtime_leave(here);
}

/* Runtime section of the fresh loop thread: this request's slice was declared stuck. */
static void abandoned(void *arg, const char *incident_id)
{
    skink__late_window_open(arg, incident_id);
}

/* Runtime section of a scheduler that stops: the task will never run (on). */
static void dropped(void *arg)
{
    skink_request *request = arg;
    if (request->state == SKINK__REQUEST_OPEN) (void)skink__answer_error(request, SKINK__HTTP_STOPPING, NULL, true);
    let_go(request);
}

/* On a stray that comes back after the scheduler has stopped. */
static void lost(void *arg)
{
    skink__request_unref_lost(arg);
}

int skink__loop_middleware_start(skink_request *request)
{
    skink_http_server *server = request->server;
    struct skink__route *route = request->route;
    if (skink__scheduler_is_held(server->scheduler)) return SKINK__HTTP_HELD;
    struct skink__task_spec spec = { .name = route ? route->name : "(no route)",
                                     .fn = run,
                                     .abandoned = abandoned,
                                     .dropped = dropped,
                                     .lost = lost,
                                     .arg = request,
                                     .borrow = true };
    if (route) spec.deadlock_timeout_ns = atomic_load_explicit(&route->deadlock_timeout_ns, memory_order_relaxed);
    int err = skink__runtime_spawn(server->scheduler, &spec, &request->task);
    switch (err) {
    case 0:
        skink__request_ref(request);
        request->in_flight = true;
        skink__counter_add(&server->counters.in_flight, 1);
        return 0;
    case -EAGAIN:
        return SKINK__HTTP_TASK_LIMIT;
    case -ECANCELED:
        return SKINK__HTTP_STOPPING;
    default:
        return SKINK__HTTP_NO_MEMORY;
    }
}
