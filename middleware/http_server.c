/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_server.c - a server's life: created, listening, stopped, destroyed.
 *
 * What touches uv handles goes through skink_scheduler_uv() into the runtime section, or is posted there.
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
static const uint64_t linger_timeout_ns = 2 * SKINK_S, accept_pause_ns = 100 * SKINK_MS, late_look_ns = 1 * SKINK_MS;

/* --- references --- */

skink_http_server *skink__http_server_ref(skink_http_server *server)
{
    atomic_fetch_add_explicit(&server->refs, 1, memory_order_relaxed);
    return server;
}

void skink__stuck_unref(struct skink__stuck *stuck)
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
    skink__stuck_unref(server->stuck);
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
    skink__deadline_list_init(&server->late_turn, all, late_look_ns, skink__late_window_end);
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
    if (!skink__can_execute(given.execution, given.workers)) return -EINVAL;
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
    /* While the scheduler is on its way down, nothing can be run there: then it has stopped soon, or was given up, and
     * its server is leaked with it. */
    while ((err = skink_scheduler_uv(server->scheduler, cut, server)) == -ECANCELED) {
        if (skink__scheduler_is_given_up(server->scheduler)) break;
        uv_sleep(1);
    }
    if (!err) skink__http_server_unref(server);
}
