/* SPDX-License-Identifier: MIT */
/*
 * middleware/drain.c - from serving to nothing in flight, stage by stage (drain.h, skink/shutdown.h).
 *
 * The calling thread only asks, waits and looks at counters, so a loop that is stuck cannot hold it. While it waits it
 * wants signs of life from each loop: where one does not come in half of the time that is left, it goes over to
 * stopping the scheduler at once, which gives a stuck loop a fresh thread; so the others still have time to finish.
 */
#include "middleware/drain.h"
#include "loop/options.h"
#include "loop/runtime.h"
#include "middleware/http_connection.h"
#include "middleware/http_server.h"
#include "middleware/listener.h"
#include "skink/clock.h"
#include "skink/shutdown.h"
#include <errno.h>
#include <stddef.h>

#define LOOK_MS 5                     /* between two looks at the counters */
#define SHUN_NS (200 * SKINK_MS)      /* for handshakes that were begun: a round trip */
#define LOOSE_PATIENCE_NS SKINK_S     /* for clients whose first request is on its way, or who still read */
#define STUCK_MIN_NS (100 * SKINK_MS) /* a loop that gives no sign for less is only busy */

/* --- in the runtime section --- */

static void count_all(skink_http_server *server)
{
    server->drain.counting = true;
    struct skink__connection *connection = server->connections;
    for (; connection; connection = skink__connection_next(connection))
        skink__connection_count(connection);
}

void skink__drain_count(struct skink__drain *drain, enum skink__activity before, enum skink__activity after)
{
    if (before == SKINK__ACTIVITY_BUSY) skink__counter_add(&drain->busy, (uint64_t)-1);
    if (before == SKINK__ACTIVITY_LOOSE) skink__counter_add(&drain->loose, (uint64_t)-1);
    if (after == SKINK__ACTIVITY_BUSY) skink__counter_add(&drain->busy, 1);
    if (after == SKINK__ACTIVITY_LOOSE) skink__counter_add(&drain->loose, 1);
}

static void shun(skink_http_server *server)
{
    server->drain.shunning = true;
    for (struct skink__listener *listener = server->listeners; listener; listener = listener->next)
        skink__listener_shun(listener);
}

/* What waits in the kernel's queue was accepted there already: to close on it would reset it. */
static void close_listeners(skink_http_server *server) SKINK__IN_RUNTIME
{
    struct skink__listener *listener = server->listeners;
    for (; listener; listener = listener->next)
        skink__listener_accept_rest(listener);
    skink__http_server_close_listeners(server);
}

static void take_stages(skink_http_server *server) SKINK__IN_RUNTIME
{
    struct skink__drain *drain = &server->drain;
    enum skink__drain_stage asked = atomic_load(&drain->asked);
    server->now_ns = skink_now();
    if (asked >= SKINK__DRAIN_ANNOUNCED && !drain->counting) count_all(server);
    if (asked >= SKINK__DRAIN_SHUNNING && !drain->shunning) shun(server);
    if (asked >= SKINK__DRAIN_REFUSING && !drain->refusing_since_ns) {
        close_listeners(server);
        drain->refusing_since_ns = server->now_ns;
    }
    atomic_store(&drain->reached, asked);
}

static void deliver(skink_scheduler *scheduler, struct skink__message *message, bool closed) SKINK__IN_RUNTIME
{
    (void)scheduler;
    skink_http_server *server =
        (skink_http_server *)((char *)message - offsetof(struct skink_http_server, drain.message));
    /* First: who asks from now on posts anew. */
    atomic_store(&server->drain.posted, false);
    if (!closed) take_stages(server);
    skink__http_server_unref(server);
}

/* --- on the thread that ends the server --- */

void skink__drain_ask(skink_http_server *server, enum skink__drain_stage stage)
{
    struct skink__drain *drain = &server->drain;
    enum skink__drain_stage before = atomic_load(&drain->asked);
    while (before < stage && !atomic_compare_exchange_weak(&drain->asked, &before, stage)) {
    }
    if (atomic_exchange(&drain->posted, true)) return; /* it will see the stage */
    drain->message.deliver = deliver;
    skink__http_server_ref(server);
    if (skink__scheduler_post(server->scheduler, &drain->message)) return;
    atomic_store(&drain->posted, false);
    skink__http_server_unref(server);
}

bool skink__drain_is_announced(const skink_http_server *server)
{
    return atomic_load_explicit(&server->drain.announced, memory_order_relaxed);
}

void skink_http_server_drain(skink_http_server *server)
{
    if (!server || atomic_exchange(&server->drain.announced, true)) return;
    skink__drain_ask(server, SKINK__DRAIN_ANNOUNCED);
}

/* One server while it is waited for. */
static bool is_quiet(const skink_http_server *server, bool patient)
{
    const struct skink__drain *drain = &server->drain;
    if (atomic_load(&drain->reached) < SKINK__DRAIN_REFUSING) return !skink__http_server_is_running(server);
    return atomic_load(&drain->busy) == 0 && (!patient || atomic_load(&drain->loose) == 0);
}

static void sleep_for(uint64_t duration_ns)
{
    uint64_t until_ns = skink_after(duration_ns);
    for (uint64_t now = skink_now(); now < until_ns; now = skink_now()) {
        uint64_t left_ms = (until_ns - now + SKINK_MS - 1) / SKINK_MS;
        uv_sleep(left_ms < 1000 ? (unsigned)left_ms : 1000);
    }
}

struct plan {
    skink_http_server *const *servers;
    size_t server_count;
    uint64_t delay_ns;
    uint64_t grace_ns;
};

static bool all_are_quiet(const struct plan *plan, bool patient)
{
    for (size_t i = 0; i < plan->server_count; i++)
        if (!is_quiet(plan->servers[i], patient)) return false;
    return true;
}

/* Has each loop shown a sign of life? Those that have are asked for the next. */
static bool all_are_alive(const struct plan *plan)
{
    for (size_t i = 0; i < plan->server_count; i++)
        if (atomic_load(&plan->servers[i]->drain.posted)) return false;
    for (size_t i = 0; i < plan->server_count; i++)
        skink__drain_ask(plan->servers[i], SKINK__DRAIN_REFUSING);
    return true;
}

/* Until nothing is in flight, the deadline passes, or a loop seems stuck. */
static void wait_quiet(const struct plan *plan, uint64_t begun_ns, uint64_t deadline_ns)
{
    uint64_t alive_ns = begun_ns;
    for (uint64_t now = begun_ns; now < deadline_ns; now = skink_now()) {
        if (all_are_quiet(plan, now < begun_ns + LOOSE_PATIENCE_NS)) return;
        uint64_t patience = (deadline_ns - now) / 2;
        if (patience < STUCK_MIN_NS) patience = STUCK_MIN_NS;
        if (all_are_alive(plan)) alive_ns = now;
        if (now - alive_ns > patience) return;
        uv_sleep(LOOK_MS);
    }
}

static bool is_of_several(const struct plan *plan, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (plan->servers[j]->scheduler == plan->servers[i]->scheduler) return true;
    return false;
}

static bool has_workers_of_another(const struct plan *plan, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (plan->servers[j]->workers == plan->servers[i]->workers) return true;
    return false;
}

/* Before the loops, which have to send what the workers still say. */
static int stop_workers(const struct plan *plan, uint64_t deadline_ns)
{
    int worst = 0;
    for (size_t i = 0; i < plan->server_count; i++) {
        skink_workers *workers = plan->servers[i]->workers;
        if (!workers || has_workers_of_another(plan, i)) continue;
        int err = skink_workers_stop(workers, deadline_ns);
        if (err == -EALREADY) err = 0;
        if (worst == 0 || err == -ETIMEDOUT) worst = err;
    }
    return worst;
}

/* The worst of all. */
static int stop_schedulers(const struct plan *plan, uint64_t deadline_ns)
{
    int worst = 0;
    for (size_t i = 0; i < plan->server_count; i++) {
        if (is_of_several(plan, i)) continue;
        int err = skink_scheduler_stop(plan->servers[i]->scheduler, deadline_ns);
        if (err == -EALREADY) err = 0; /* it did not run */
        if (worst == 0 || err == -ETIMEDOUT) worst = err;
    }
    return worst;
}

/* On one of these loops; or with workers on any, since skink_workers_stop() would refuse, with the drain begun. */
static bool would_wait_for_itself(const struct plan *plan)
{
    const skink_scheduler *here = skink_scheduler_current();
    for (size_t i = 0; here && i < plan->server_count; i++)
        if (plan->servers[i]->scheduler == here || plan->servers[i]->workers) return true;
    return false;
}

static void ask_all(const struct plan *plan, enum skink__drain_stage stage)
{
    for (size_t i = 0; i < plan->server_count; i++)
        skink__drain_ask(plan->servers[i], stage);
}

static bool shares_a_port(const struct plan *plan)
{
    for (size_t i = 0; i < plan->server_count; i++)
        if (plan->servers[i]->reuse_port) return true;
    return false;
}

static int run(const struct plan *plan)
{
    for (size_t i = 0; i < plan->server_count; i++)
        skink_http_server_drain(plan->servers[i]);
    sleep_for(plan->delay_ns);
    if (shares_a_port(plan)) {
        ask_all(plan, SKINK__DRAIN_SHUNNING);
        sleep_for(SHUN_NS);
    }
    uint64_t begun_ns = skink_now(), deadline_ns = skink_after(plan->grace_ns);
    ask_all(plan, SKINK__DRAIN_REFUSING);
    wait_quiet(plan, begun_ns, deadline_ns);
    int workers_err = stop_workers(plan, deadline_ns);
    int err = stop_schedulers(plan, deadline_ns);
    if (!err || workers_err == -ETIMEDOUT) err = workers_err;
    for (size_t i = 0; i < plan->server_count && !err; i++)
        if (atomic_load(&plan->servers[i]->drain.busy)) err = -ECANCELED;
    return err;
}

int skink_shutdown(skink_http_server *const *servers, size_t server_count, const skink_shutdown_options *options)
{
    skink_shutdown_options given;
    int err = SKINK__OPTIONS_READ(&given, options);
    if (err) return err;
    if (!servers || server_count == 0) return -EINVAL;
    for (size_t i = 0; i < server_count; i++)
        if (!servers[i]) return -EINVAL;
    struct plan plan = { servers, server_count, given.delay_ns, given.grace_ns };
    if (would_wait_for_itself(&plan)) return -EDEADLK;
    return run(&plan);
}
