/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_connection_input.c - what a client sends: read, fed to the parser, kept for later.
 *
 * Requests are read out of it until one is being worked on; what comes behind that one waits in the backlog.
 */
#include "loop/memory.h"
#include "middleware/http_connection_state.h"
#include <errno.h>
#include <string.h>

enum {
    READ_ROUNDS = 4,               /* reads in a row on one connection, then the others have their turn */
    LINGER_BYTES_MAX = 1024 * 1024 /* thrown away of a client that goes on sending after it was refused */
};

/* --- the parser --- */

/* May the next request be read now? */
static bool can_advance(const struct skink__connection *connection)
{
    return !connection->current && !skink__connection_is_stalled(connection) && !connection->close_after &&
           !connection->lingering && !connection->closing;
}

/* Feed the request that is being read; returns how many bytes were used. */
static size_t feed_reading(struct skink__connection *connection, const char *bytes, size_t length) SKINK__IN_RUNTIME
{
    skink_request *request = connection->reading;
    size_t used;
    int error;
    /* Empty lines may have come long before it. */
    if (!skink__http_parser_begun(&connection->parser)) request->started_ns = connection->server->now_ns;
    enum skink__http_verdict verdict =
        skink__http_parser_feed(&connection->parser, &request->message, bytes, length, &used, &error);
    if (verdict == SKINK__HTTP_MESSAGE)
        skink__connection_dispatch(connection);
    else if (verdict == SKINK__HTTP_REFUSED)
        skink__connection_refuse_reading(connection, error);
    else if (verdict == SKINK__HTTP_HEAD)
        skink__connection_begin_body(connection);
    const struct skink__http_message *message = &request->message;
    bool waits = connection->reading && used == length && message->head_complete && message->body_length == 0;
    if (waits && message->expects_continue && !connection->told_to_go_on) skink__connection_send_continue(connection);
    return used;
}

/* Read requests out of these bytes until one is being worked on; returns how many bytes were used. */
static size_t advance(struct skink__connection *connection, const char *bytes, size_t length) SKINK__IN_RUNTIME
{
    size_t used = 0;
    connection->advancing = true;
    while (used < length) {
        if (skink__connection_takes_body(connection)) {
            used += skink__connection_feed_body(connection, bytes + used, length - used);
            continue;
        }
        if (!can_advance(connection)) break;
        if (!connection->reading) connection->reading = skink__request_create(connection->server);
        if (!connection->reading) {
            skink__connection_close(connection);
            break;
        }
        used += feed_reading(connection, bytes + used, length - used);
    }
    connection->advancing = false;
    return used;
}

/* --- the backlog --- */

void skink__connection_drop_backlog(struct skink__connection *connection)
{
    skink__free(connection->backlog);
    connection->backlog = NULL;
    connection->backlog_at = connection->backlog_length = connection->backlog_capacity = 0;
}

/* Keep bytes for later. */
static void keep(struct skink__connection *connection, const char *bytes, size_t length) SKINK__IN_RUNTIME
{
    if (length == 0 || connection->closing || connection->close_after) return;
    if (connection->backlog && connection->backlog_at > 0) {
        connection->backlog_length -= connection->backlog_at;
        memmove(connection->backlog, connection->backlog + connection->backlog_at, connection->backlog_length);
        connection->backlog_at = 0;
    }
    size_t needed = connection->backlog_length + length;
    if (!connection->backlog || needed > connection->backlog_capacity) {
        size_t capacity = needed < 2 * connection->backlog_capacity ? 2 * connection->backlog_capacity : needed;
        char *larger = skink__realloc(connection->backlog, capacity);
        if (!larger) {
            skink__connection_close(connection);
            return;
        }
        connection->backlog = larger;
        connection->backlog_capacity = capacity;
    }
    memcpy(connection->backlog + connection->backlog_length, bytes, length);
    connection->backlog_length += length;
}

void skink__connection_advance(struct skink__connection *connection)
{
    if (!connection->backlog || (!can_advance(connection) && !skink__connection_takes_body(connection))) return;
    connection->backlog_at += advance(connection, connection->backlog + connection->backlog_at,
                                      connection->backlog_length - connection->backlog_at);
    if (connection->closing || connection->backlog_at == connection->backlog_length)
        skink__connection_drop_backlog(connection);
}

bool skink__connection_has_more(const struct skink__connection *connection)
{
    return connection->backlog || connection->advancing;
}

/* --- reading --- */

static void take(struct skink__connection *connection, const char *bytes, size_t length) SKINK__IN_RUNTIME
{
    size_t used = 0;
    if (!connection->backlog) used = advance(connection, bytes, length);
    keep(connection, bytes + used, length - used);
}

/* The end of what the client sends. It may still read: what is being worked on is answered, but told about it. */
static void on_end_of_input(struct skink__connection *connection) SKINK__IN_RUNTIME
{
    connection->eof = true;
    skink__connection_client_left(connection);
}

/* Take what came while lingering, and throw it away; false when it is too much. */
static bool discard(struct skink__connection *connection, size_t length)
{
    connection->discarded += length;
    return connection->discarded <= LINGER_BYTES_MAX;
}

/* How much may be read now. */
static size_t read_room(const struct skink__connection *connection)
{
    size_t room = connection->server->max_backlog_bytes;
    size_t used = connection->backlog_length - connection->backlog_at;
    if (connection->lingering) return SKINK__READ_BUFFER_BYTES;
    room = used < room ? room - used : 0;
    return room < SKINK__READ_BUFFER_BYTES ? room : SKINK__READ_BUFFER_BYTES;
}

void skink__connection_read_some(struct skink__connection *connection)
{
    skink_http_server *server = connection->server;
    for (int round = 0; round < READ_ROUNDS && !connection->closing && !connection->eof; round++) {
        size_t room = read_room(connection);
        if (room == 0) return;
        ssize_t n = skink__transport_read(&connection->transport, server->read_buffer, room);
        if (n == -EAGAIN) return;
        if (n < 0) {
            skink__connection_close(connection);
        } else if (n == 0) {
            on_end_of_input(connection);
        } else if (connection->lingering || connection->close_after) {
            if (!discard(connection, (size_t)n)) skink__connection_close(connection);
        } else {
            take(connection, server->read_buffer, (size_t)n);
        }
        if (n < (ssize_t)room) return;
    }
}
