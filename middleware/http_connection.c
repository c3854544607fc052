/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_connection.c - one client's connection: opened, counted, closed.
 *
 * What is done in between stands in the files beside this one, by what it is about (http_connection_state.h).
 */
#include "loop/memory.h"
#include "loop/runtime.h"
#include "middleware/http_connection_state.h"
#include "middleware/response.h"
#include "skink/clock.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* --- what a drain counts --- */

bool skink__connection_reads_refused(const struct skink__connection *connection)
{
    uint64_t since_ns = connection->server->drain.refusing_since_ns;
    return since_ns && connection->reading && connection->reading->started_ns >= since_ns && !connection->fresh;
}

static enum skink__activity activity_of(const struct skink__connection *connection)
{
    if (connection->closing) return SKINK__ACTIVITY_IDLE;
    if (connection->current || connection->output) return SKINK__ACTIVITY_BUSY;
    /* An empty line, as some clients put behind a body, is not the beginning of a request. */
    bool reads = connection->reading && skink__http_parser_begun(&connection->parser);
    if (connection->lingering || connection->fresh || (reads && skink__connection_reads_refused(connection)))
        return SKINK__ACTIVITY_LOOSE;
    return reads ? SKINK__ACTIVITY_BUSY : SKINK__ACTIVITY_IDLE;
}

void skink__connection_count(struct skink__connection *connection)
{
    enum skink__activity activity = activity_of(connection);
    skink__drain_count(&connection->server->drain, connection->activity, activity);
    connection->activity = activity;
}

void skink__connection_note_activity(struct skink__connection *connection)
{
    if (connection->server->drain.counting) skink__connection_count(connection);
}

/* --- the pool and the list --- */

static struct skink__connection *acquire(skink_http_server *server)
{
    struct skink__connection *connection = server->free_connections;
    if (connection) {
        server->free_connections = connection->next;
        server->free_connection_count--;
    } else {
        connection = skink__alloc(sizeof *connection);
    }
    if (connection) memset(connection, 0, sizeof *connection);
    return connection;
}

static void release(skink_http_server *server, struct skink__connection *connection)
{
    if (server->free_connection_count < SKINK__POOL_MAX) {
        connection->next = server->free_connections;
        server->free_connections = connection;
        server->free_connection_count++;
    } else {
        skink__free(connection);
    }
}

void skink__connection_pool_free(skink_http_server *server)
{
    while (server->free_connections) {
        struct skink__connection *connection = server->free_connections;
        server->free_connections = connection->next;
        skink__free(connection);
    }
    server->free_connection_count = 0;
}

struct skink__connection *skink__connection_next(const struct skink__connection *connection)
{
    return connection->next;
}

static void link_in(struct skink__connection *connection)
{
    skink_http_server *server = connection->server;
    connection->next = server->connections;
    if (server->connections) server->connections->previous = connection;
    server->connections = connection;
    if (connection->refused) {
        server->refused_count++;
        return;
    }
    server->connection_count++;
    skink__counter_add(&server->counters.connections, 1);
}

static void unlink_from(struct skink__connection *connection)
{
    skink_http_server *server = connection->server;
    if (connection->previous) connection->previous->next = connection->next;
    if (connection->next) connection->next->previous = connection->previous;
    if (server->connections == connection) server->connections = connection->next;
    connection->previous = connection->next = NULL;
    if (connection->refused) {
        server->refused_count--;
        return;
    }
    server->connection_count--;
    skink__counter_add(&server->counters.connections, (uint64_t)-1);
}

/* --- the end --- */

static void on_closed(struct skink__transport *transport)
{
    struct skink__connection *connection = skink__connection_of_transport(transport);
    skink_http_server *server = connection->server;
    release(server, connection);
    skink__http_server_unref(server);
}

void skink__connection_close(struct skink__connection *connection)
{
    if (connection->closing) return;
    (void)skink__connection_write_held(connection); /* it is owed that, if it is there */
    connection->closing = true;
    skink__deadline_clear(&connection->deadline);
    skink__transport_close(&connection->transport);
    unlink_from(connection);
    skink__connection_drop_backlog(connection);
    skink__connection_drop_output(connection);
    if (connection->reading) skink__request_unref(connection->reading);
    connection->reading = NULL;
    skink_request *current = connection->current;
    connection->current = NULL;
    skink__connection_note_activity(connection);
    if (!current) return;
    skink__request_client_left(current, true);
    skink__request_unref(current);
}

void skink__connection_cut_short(struct skink__connection *connection)
{
    /* What ends with the connection must end with a reset; anything else lacks its last bytes. */
    (void)skink__connection_write_held(connection);
    skink__transport_spoil(&connection->transport);
    skink__connection_close(connection);
}

void skink__connection_close_idle(struct skink__connection *connection)
{
    if (!connection->current && !connection->output && !connection->backlog && !connection->lingering &&
        !connection->close_after && !skink__http_parser_begun(&connection->parser))
        skink__connection_close(connection);
}

void skink__connection_cut(struct skink__connection *connection)
{
    skink_request *current = connection->current;
    if (current) {
        skink__request_client_left(current, false); /* its task is to end */
        skink__answer_instead(current, SKINK__HTTP_STOPPING, true);
    }
    skink__connection_close(connection);
}

/* --- a new one --- */

/* One beyond the limit is told so, in one write that a fresh socket always takes. */
static void turn_away(struct skink__connection *connection) SKINK__IN_RUNTIME
{
    size_t length;
    const char *text = skink__answer_compose_refusal(connection->server, SKINK__HTTP_CONNECTION_LIMIT, &length);
    struct iovec part = { (void *)text, length };
    if (!text || skink__connection_send(connection, &part, 1) != 0) {
        skink__connection_close(connection);
        return;
    }
    connection->close_after = connection->linger_after = true;
}

static struct skink__connection *make(skink_http_server *server)
{
    struct skink__connection *connection = acquire(server);
    if (!connection) return NULL;
    connection->transport.on_ready = skink__connection_on_ready;
    connection->transport.on_closed = on_closed;
    return connection;
}

/* Its transport is open. */
static void begin(skink_http_server *server, struct skink__connection *connection,
                  const struct skink__ip *peer) SKINK__IN_RUNTIME
{
    connection->server = skink__http_server_ref(server);
    skink__peer_init(&connection->peer, peer, &server->trusted_proxies);
    connection->fresh = skink__drain_is_announced(server) && !connection->refused;
    skink__http_parser_init(&connection->parser, &server->limits);
    link_in(connection);
    server->now_ns = skink_now();
    if (connection->refused) turn_away(connection);
    skink__connection_settle(connection);
}

void skink__connection_open(skink_http_server *server, int fd, const struct skink__ip *peer, bool refused)
{
    struct skink__connection *connection = make(server);
    if (!connection ||
        skink__transport_open_socket(&connection->transport, skink__scheduler_loop(server->scheduler), fd)) {
        if (connection) release(server, connection); /* uv has not seen the handle */
        close(fd);
        return;
    }
    connection->refused = refused;
    begin(server, connection, peer);
}

void skink__connection_loopback_left(struct skink__transport *transport)
{
    struct skink__connection *connection = skink__connection_of_transport(transport);
    connection->server->now_ns = skink_now();
    skink__connection_close(connection);
}

int skink__connection_open_loopback(skink_http_server *server, skink_loopback *loopback, const struct skink__ip *peer)
{
    struct skink__connection *connection = make(server);
    if (!connection) return -ENOMEM;
    int err =
        skink__transport_open_loopback(&connection->transport, skink__scheduler_loop(server->scheduler), loopback);
    if (err) {
        release(server, connection);
        return err;
    }
    skink__counter_add(&server->counters.connections_total, 1);
    connection->refused = server->connection_count >= server->max_connections;
    if (connection->refused) skink__counter_add(&server->counters.connections_refused, 1);
    begin(server, connection, peer);
    return 0;
}
