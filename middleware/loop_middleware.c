/* SPDX-License-Identifier: MIT */
/* middleware/loop_middleware.c - one task per request: started, ended, abandoned or dropped. */
#include "middleware/loop_middleware.h"
#include "loop/hooks.h"
#include "loop/log_value.h"
#include "loop/runtime.h"
#include "middleware/admission.h"
#include "middleware/http_connection.h"
#include "middleware/late_window.h"
#include "middleware/pipeline.h"
#include "middleware/response.h"
#include "middleware/worker_middleware.h"
#include "skink/clock.h"
#include <errno.h>
#include <stdio.h>

/* ---- quarantine ---- */

/* Those that were declared stuck and have not come back, on all loops.
 * Relaxed, all of it: one more or less does no harm. */
static uint32_t stuck_requests(const skink_http_server *server)
{
    return atomic_load_explicit(&server->stuck->requests, memory_order_relaxed);
}

/* One more, or one less. */
static void count_stuck(const skink_request *request, uint32_t difference)
{
    atomic_fetch_add_explicit(&request->server->stuck->requests, difference, memory_order_relaxed);
    if (request->route) atomic_fetch_add_explicit(&request->route->quarantine.stuck, difference, memory_order_relaxed);
}

static void note_strike(skink_request *request, const struct skink__abandonment *why)
{
    struct skink__route *route = request->route;
    const struct skink__quarantine_rules *rules = &request->server->quarantine;
    if (!request->stuck) count_stuck(request, 1);
    request->stuck = true;
    if (why->starved) return; /* no fault of the route's */
    uint32_t stuck = stuck_requests(request->server);
    if (route && skink__quarantine_strike(&route->quarantine, rules, stuck, skink_now(), why->poisoned))
        skink__log(SKINK_LOG_WARNING, "event=quarantine route=%s strikes=%u period_ms=%llu stuck_requests=%u",
                   SKINK__QUOTED(route->name), (unsigned)rules->strikes,
                   (unsigned long long)(rules->period_ns / SKINK_MS), (unsigned)stuck);
}

/* Its task has ended: it is stuck no longer, and if it was on trial, its route has passed or not been tried. */
static void note_end(skink_request *request, bool ran)
{
    struct skink__route *route = request->route;
    if (request->stuck) {
        count_stuck(request, (uint32_t)-1);
    } else if (request->on_trial && !ran) {
        skink__quarantine_untried(&route->quarantine);
    } else if (request->on_trial && skink__quarantine_passed(&route->quarantine)) {
        skink__log(SKINK_LOG_INFO, "event=quarantine_over route=%s", SKINK__QUOTED(route->name));
    }
    request->stuck = request->on_trial = false;
}

/* May a request on this route start? The clock is read only when there is something the matter with it. */
static bool is_admitted(skink_request *request)
{
    struct skink__route *route = request->route;
    skink_http_server *server = request->server;
    if (!route || !skink__quarantine_is_on(&route->quarantine)) return true;
    enum skink__admission admission =
        skink__quarantine_admit(&route->quarantine, &server->quarantine, stuck_requests(server), skink_now());
    request->on_trial = admission == SKINK__ADMITTED_ON_TRIAL;
    return admission != SKINK__REFUSED;
}

void skink__loop_middleware_refuse(skink_request *request, int number)
{
    skink_http_server *server = request->server;
    uint32_t seconds = 1;
    if (number == SKINK__HTTP_QUARANTINED)
        seconds = skink__quarantine_retry_after(&request->route->quarantine, &server->quarantine, skink_now());
    char line[sizeof "Retry-After: 4294967295\r\n"];
    snprintf(line, sizeof line, "Retry-After: %u\r\n", (unsigned)seconds);
    /* Who is turned away is counted by its limit. */
    if (number != SKINK__HTTP_QUEUE_FULL) skink__counter_add(&server->counters.requests_refused, 1);
    (void)skink__answer_error(request, number, line, number == SKINK__HTTP_STOPPING);
}

/* ---- the task ---- */

void skink__request_let_go(skink_request *request, bool ran)
{
    note_end(request, ran);
    request->task = NULL; /* it was only borrowed */
    skink__admission_leave(request);
    skink__request_unref(request);
}

void skink__request_note_stuck(skink_request *request, const struct skink__abandonment *why)
{
    note_strike(request, why);
    skink__admission_leave(request); /* a thread is lost, not a permit */
}

void skink__request_give_up(skink_request *request)
{
    request->task = NULL; /* it may be lost at any time, on another thread */
    if (request->on_trial && !request->stuck) {
        skink__quarantine_untried(&request->route->quarantine);
        request->on_trial = false;
    }
    skink__admission_leave(request);
    bool late = skink__deadline_is_set(&request->late); /* nothing that it says can come within that time */
    if (request->state == SKINK__REQUEST_OPEN || request->state == SKINK__REQUEST_STREAMED)
        skink__answer_instead(request, late ? SKINK__HTTP_DEADLOCK : SKINK__HTTP_STOPPING, true);
}

void skink__request_finish(skink_request *request)
{
    if (request->state == SKINK__REQUEST_OPEN) {
        skink__request_note_missing(request);
        (void)skink__answer_error(request, SKINK__HTTP_NO_ANSWER, NULL, false);
    } else if (request->state == SKINK__REQUEST_STREAMED && request->stream_no_body) {
        skink__answer_end(request); /* its client lacks nothing */
    } else if (request->state == SKINK__REQUEST_STREAMED) {
        skink__answer_cut(request, SKINK__REQUEST_ANSWERED, "returned");
    }
    skink__request_let_go(request, true);
}

/* So many may wait that each would cost a thread. */
bool skink__request_came_too_late(const skink_request *request)
{
    return request->route && skink__quarantine_is_on(&request->route->quarantine) && !request->on_trial;
}

void skink__request_refuse_late(skink_request *request)
{
    skink__counter_add(&request->route->quarantine.refused, 1);
    if (request->state == SKINK__REQUEST_OPEN) skink__loop_middleware_refuse(request, SKINK__HTTP_QUARANTINED);
}

/* The task. What it still says at its end it says to nobody. */
static void run(void *arg)
{
    skink_request *request = arg;
    bool refused = skink__request_came_too_late(request);
    if (request->server->access) skink__task_watch_time(&request->watch);
    if (!refused) skink__pipeline_run(request);
    skink_scheduler *here = skink__runtime_enter();
    skink__assume_runtime(); /* a task runs on a loop thread */
    skink__task_watch_end(); /* the request's memory may go in a moment */
    if (refused) skink__request_refuse_late(request);
    skink__request_finish(request);
    skink__runtime_disown();
    skink__runtime_leave(here);
}

/* Runtime section of the fresh loop thread: this request's slice was declared stuck. */
static void abandoned(void *arg, const struct skink__abandonment *why) SKINK__IN_RUNTIME
{
    skink_request *request = arg;
    skink__connections_flush(request->server); /* what others have said need not wait for longer */
    skink__request_note_stuck(request, why);
    skink__late_window_open(arg, why->incident_id);
}

/* Runtime section of a scheduler that stops: the task will never run (on). */
static void dropped(void *arg) SKINK__IN_RUNTIME
{
    skink_request *request = arg;
    if (request->state == SKINK__REQUEST_OPEN)
        (void)skink__answer_error(request, SKINK__HTTP_STOPPING, NULL, true);
    else if (request->state == SKINK__REQUEST_STREAMED)
        skink__answer_cut(request, SKINK__REQUEST_ANSWERED, "stopping");
    skink__request_let_go(request, false);
}

static void given_up(void *arg) SKINK__IN_RUNTIME
{
    skink__request_give_up(arg);
}

void skink__request_lose(skink_request *request)
{
    if (request->stuck) { /* else it is not written: the loop may look at it, to give up one that was on a worker */
        count_stuck(request, (uint32_t)-1);
        request->stuck = false;
    }
    skink__request_unref_lost(request);
}

static void lost(void *arg)
{
    skink__request_lose(arg);
}

void skink__request_label(const skink_request *request, struct skink__task_label *ret_label)
{
    ret_label->method = skink_request_method(request);
    ret_label->route = request->route ? request->route->pattern : "";
    ret_label->request_id = request->index;
}

static void label(const void *arg, struct skink__task_label *ret_label)
{
    skink__request_label(arg, ret_label);
}

static const struct skink__task_kind kind = {
    .abandoned = abandoned, .dropped = dropped, .given_up = given_up, .lost = lost, .label = label
};

/* A loop that is held runs no task; workers are no part of it. */
static int refused_by_recovery(const skink_http_server *server, bool on_loop)
{
    if (on_loop && skink__scheduler_is_held(server->scheduler)) return SKINK__HTTP_HELD;
    switch (skink__scheduler_admittance(server->scheduler)) {
    case SKINK__ADMITS:
        return 0;
    case SKINK__REFUSES_BURST:
        return SKINK__HTTP_BURST;
    case SKINK__REFUSES_STRAYS:
        break;
    }
    return SKINK__HTTP_HELD;
}

int skink__loop_middleware_refusal(skink_request *request)
{
    skink_http_server *server = request->server;
    struct skink__route *route = request->route;
    int refusal = refused_by_recovery(server, skink__execution_of(request) == SKINK_EXECUTE_LOOP);
    if (refusal || !route || !skink__quarantine_is_on(&route->quarantine)) return refusal;
    bool refuses =
        skink__quarantine_refuses(&route->quarantine, &server->quarantine, stuck_requests(server), skink_now());
    return refuses ? SKINK__HTTP_QUARANTINED : 0;
}

static int start_task(skink_request *request) SKINK__IN_RUNTIME
{
    skink_http_server *server = request->server;
    struct skink__route *route = request->route;
    struct skink__task_spec spec = {
        .name = route ? route->name : "(no route)", .kind = &kind, .fn = run, .arg = request, .borrow = true
    };
    if (route) spec.deadlock_timeout_ns = atomic_load_explicit(&route->deadlock_timeout_ns, memory_order_relaxed);
    if (route) spec.action = atomic_load_explicit(&route->action, memory_order_relaxed);
    int err = skink__runtime_spawn(server->scheduler, &spec, &request->task);
    if (!err) skink__request_ref(request);
    return err == 0            ? 0
           : err == -EAGAIN    ? SKINK__HTTP_TASK_LIMIT
           : err == -ECANCELED ? SKINK__HTTP_STOPPING
                               : SKINK__HTTP_NO_MEMORY;
}

int skink__loop_middleware_start(skink_request *request)
{
    skink_http_server *server = request->server;
    bool on_loop = skink__execution_of(request) == SKINK_EXECUTE_LOOP;
    int refusal = refused_by_recovery(server, on_loop);
    if (refusal) return refusal;
    if (!is_admitted(request)) return SKINK__HTTP_QUARANTINED;
    int error = on_loop ? start_task(request) : skink__worker_middleware_start(request);
    if (error) {
        note_end(request, false); /* if it was on trial, somebody else may be */
        return error;
    }
    request->in_flight = true;
    skink__counter_add(&server->counters.in_flight, 1);
    return 0;
}
