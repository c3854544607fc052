/* SPDX-License-Identifier: MIT */
/* middleware/worker_middleware.c - one job per request: handed over, watched, ended (worker_middleware.h). */
#include "middleware/worker_middleware.h"
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/worker_pool.h"
#include "middleware/admission.h"
#include "middleware/expiry.h"
#include "middleware/loop_middleware.h"
#include "middleware/pipeline.h"
#include "middleware/response.h"
#include "skink/clock.h"
#include <errno.h>
#include <stddef.h>
#include <stdio.h>

struct skink__on_worker {
    struct skink__job job;
    skink_request *request; /* a reference, until the loop has been told of the end */

    /* To the loop: it is stuck, its time is up, or a stop has given it up. Once; with a reference on the request. */
    struct skink__message trouble;
    _Atomic bool trouble_posted;
    bool given_up;                 /* before the post */
    struct skink__abandonment why; /* the same; without an incident: not stuck */

    struct skink__message end;
    enum skink__job_end how;
    bool refused;    /* its route came into quarantine while it waited */
    bool wait_noted; /* by who took it out of the queue */
};

skink_execution skink__execution_of(const skink_request *request)
{
    const struct skink__route *route = request->route;
    return route && route->execution ? route->execution : request->server->execution;
}

static struct skink__on_worker *of_job(struct skink__job *job)
{
    return (struct skink__on_worker *)((char *)job - offsetof(struct skink__on_worker, job));
}

/* How long it has waited for a worker, in vain or not, is part of what the request has waited. */
static void note_wait(struct skink__on_worker *on)
{
    if (on->wait_noted) return;
    on->wait_noted = true;
    atomic_fetch_add_explicit(&on->request->queue_ns, on->job.waited_ns, memory_order_relaxed);
}

/* ---- on the worker ---- */

static void run(struct skink__job *job)
{
    struct skink__on_worker *on = of_job(job);
    skink_request *request = on->request;
    note_wait(on);
    on->refused = skink__request_came_too_late(request);
    if (on->refused) return;
    if (request->server->access) skink__task_watch_time(&request->watch);
    skink__pipeline_run(request);
    skink__task_watch_end(); /* the request's memory may go in a moment */
}

static void deliver_trouble(skink_scheduler *scheduler, struct skink__message *message, bool closed) SKINK__IN_RUNTIME;
static void deliver_end(skink_scheduler *scheduler, struct skink__message *message, bool closed) SKINK__IN_RUNTIME;

static void post_trouble(struct skink__on_worker *on, const struct skink__abandonment *why)
{
    skink_request *request = on->request;
    if (atomic_exchange(&on->trouble_posted, true)) return; /* its client knows, or is about to */
    if (why) on->why = *why;
    on->trouble.deliver = deliver_trouble;
    skink__request_ref(request);
    skink__scheduler_post_or_keep(request->server->scheduler, &on->trouble);
}

static void stuck(struct skink__job *job, const struct skink__abandonment *why)
{
    post_trouble(of_job(job), why);
}

static void overdue(struct skink__job *job)
{
    post_trouble(of_job(job), NULL);
}

static void given_up(struct skink__job *job)
{
    struct skink__on_worker *on = of_job(job);
    if (atomic_load(&on->trouble_posted)) return; /* on this worker's thread, as now, so nobody posts it meanwhile */
    on->given_up = true;
    post_trouble(on, NULL);
}

static void ended(struct skink__job *job, enum skink__job_end how)
{
    struct skink__on_worker *on = of_job(job);
    on->how = how;
    on->end.deliver = deliver_end;
    if (how == SKINK__JOB_LOST) /* perhaps the loop has gone as well; its request has the job until then */
        skink__request_lose(on->request);
    else
        skink__scheduler_post_or_keep(on->request->server->scheduler, &on->end);
}

static void label(const struct skink__job *job, struct skink__task_label *ret_label)
{
    skink__request_label(((const struct skink__on_worker *)job)->request, ret_label);
}
_Static_assert(offsetof(struct skink__on_worker, job) == 0, "label() casts");

static const struct skink__job_type type = {
    .run = run, .stuck = stuck, .overdue = overdue, .given_up = given_up, .ended = ended, .label = label
};

/* ---- back on the loop ---- */

/* There is no late window: a handler that may block had all the time that it gets. */
static void deliver_trouble(skink_scheduler *scheduler, struct skink__message *message, bool closed)
{
    (void)scheduler, (void)closed;
    struct skink__on_worker *on =
        (struct skink__on_worker *)((char *)message - offsetof(struct skink__on_worker, trouble));
    skink_request *request = on->request;
    if (on->given_up) {
        skink__request_give_up(request);
        skink__request_unref(request);
        return;
    }
    if (on->why.incident_id[0]) {
        skink__request_note_stuck(request, &on->why);
    } else {
        skink__admission_leave(request);
        if (skink__deadline_is_set(&request->expiry)) skink__expiry_now(request); /* whose clock is first is chance */
    }
    if (request->state == SKINK__REQUEST_OPEN || request->state == SKINK__REQUEST_STREAMED) {
        snprintf(request->incident, sizeof request->incident, "%s", on->why.incident_id);
        skink__answer_instead(request, SKINK__HTTP_WORKER_TIMEOUT, false);
    }
    skink__request_unref(request);
}

static void deliver_end(skink_scheduler *scheduler, struct skink__message *message, bool closed)
{
    (void)scheduler, (void)closed;
    struct skink__on_worker *on = (struct skink__on_worker *)((char *)message - offsetof(struct skink__on_worker, end));
    skink_request *request = on->request;
    enum skink__job_end how = on->how;
    bool refused = on->refused;
    note_wait(on);
    request->on_worker = NULL;
    skink__free(on);
    if (refused) skink__request_refuse_late(request);
    if (how == SKINK__JOB_DONE) {
        /* The loop did not run as it answered: nobody has forgotten the answer. */
        if (request->state == SKINK__REQUEST_OPEN && request->answer_refused)
            (void)skink__answer_error(request, SKINK__HTTP_STOPPING, NULL, true);
        skink__request_finish(request);
        return;
    }
    if (request->state == SKINK__REQUEST_OPEN)
        skink__loop_middleware_refuse(request, how == SKINK__JOB_HELD      ? SKINK__HTTP_HELD
                                               : how == SKINK__JOB_STOPPED ? SKINK__HTTP_STOPPING
                                                                           : SKINK__HTTP_NO_MEMORY);
    else if (request->state == SKINK__REQUEST_STREAMED)
        skink__answer_cut(request, SKINK__REQUEST_ANSWERED, "stopping");
    skink__request_let_go(request, false);
}

int skink__worker_middleware_start(skink_request *request)
{
    skink_http_server *server = request->server;
    const struct skink__route *route = request->route;
    struct skink__on_worker *on = skink__zalloc(sizeof *on);
    if (!on) return SKINK__HTTP_NO_MEMORY;
    on->job.type = &type;
    on->job.name = route ? route->name : "(no route)";
    if (route) on->job.deadlock_timeout_ns = atomic_load_explicit(&route->deadlock_timeout_ns, memory_order_relaxed);
    if (route) on->job.action = atomic_load_explicit(&route->action, memory_order_relaxed);
    on->job.time_limit_ns = skink__expiry_timeout(request);
    on->request = request;
    request->on_worker = on;
    skink__request_ref(request);
    bool serial = skink__execution_of(request) == SKINK_EXECUTE_SERIAL;
    int err = skink__workers_submit(server->workers, &on->job, serial ? SKINK__LANE_SERIAL : SKINK__LANE_PARALLEL);
    if (!err) return 0;
    request->on_worker = NULL;
    skink__request_unref(request);
    skink__free(on);
    return err == -EBUSY ? SKINK__HTTP_HELD : SKINK__HTTP_STOPPING;
}

bool skink__worker_middleware_withdraw(skink_request *request)
{
    struct skink__on_worker *on = request->on_worker;
    if (!on || !skink__workers_withdraw(&on->job)) return false;
    note_wait(on);
    request->server->now_ns = skink_now(); /* or it could have waited for longer than it was there */
    request->on_worker = NULL;
    skink__free(on);
    skink__request_let_go(request, false);
    return true;
}

void skink__worker_middleware_cancel(skink_request *request, int reason)
{
    struct skink__on_worker *on = request->on_worker;
    if (on && !skink__worker_middleware_withdraw(request)) skink__workers_cancel(&on->job, reason);
}

bool skink__worker_middleware_is_current(const skink_request *request)
{
    return request->on_worker && skink__workers_is_current(&request->on_worker->job);
}
