/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_connection_events.c - what a connection waits for: its socket and its deadlines.
 *
 * Every callback does what its event asks for and ends in skink__connection_settle(), the one place that decides what
 * the connection waits for next.
 */
#include "loop/runtime.h"
#include "middleware/http_connection_state.h"
#include "skink/clock.h"
#include <stddef.h>

void skink__connection_wait_for(struct skink__connection *connection, enum skink__waiting_for waiting)
{
    if (connection->waiting == waiting) return;
    skink_http_server *server = connection->server;
    struct skink__deadline_list *list = waiting == WAITING_IDLE      ? &server->idle
                                        : waiting == WAITING_HEADER  ? &server->header
                                        : waiting == WAITING_BODY    ? &server->header
                                        : waiting == WAITING_STALLED ? &server->stalled
                                        : waiting == WAITING_LINGER  ? &server->linger
                                                                     : NULL;
    connection->waiting = waiting;
    if (list)
        skink__deadline_set(list, &connection->deadline, server->now_ns);
    else
        skink__deadline_clear(&connection->deadline);
}

/* Ask poll for what is wanted now. Reading stops at the backlog's limit;
 * then the client's leaving is asked for alone. */
static void watch(struct skink__connection *connection)
{
    int events = 0;
    if (!connection->eof) {
        size_t waiting_bytes = connection->backlog_length - connection->backlog_at;
        if (connection->lingering || waiting_bytes < connection->server->max_backlog_bytes)
            events |= UV_READABLE;
        else if (!connection->left)
            events |= UV_DISCONNECT;
    }
    if (skink__connection_is_stalled(connection)) events |= UV_WRITABLE;
    skink__transport_watch(&connection->transport, events);
}

/* The answer that ends this connection is out. */
static void end(struct skink__connection *connection) SKINK__IN_RUNTIME
{
    bool linger = connection->linger_after && !connection->eof;
    if (!linger || !skink__transport_shut_down(&connection->transport)) {
        skink__connection_close(connection);
        return;
    }
    /* Closing with unread bytes would reset the connection and could destroy the answer on its way. */
    connection->lingering = true;
    skink__connection_note_activity(connection);
    skink__connection_drop_backlog(connection);
    skink__connection_wait_for(connection, WAITING_LINGER);
    watch(connection);
}

/* A task of its own is about to say more. */
static bool expects_output(const struct skink__connection *connection)
{
    return connection->current && connection->current->task && !connection->close_after;
}

/* The rest of the body will never come, so there is no request to answer, as with one whose body is read whole. An
 * answer that has begun is its task's to end. */
static bool lacks_its_body(const struct skink__connection *connection)
{
    return connection->body_coming && connection->eof && !connection->backlog &&
           connection->current->state == SKINK__REQUEST_OPEN;
}

static void note_stalled(struct skink__connection *connection)
{
    connection->stalled_at = connection->output_at;
    connection->stalled_unread = skink__transport_unread(&connection->transport);
}

/* Since then. The kernel takes more only when a good part of what it has is gone, which is megabytes and takes a slow
 * client its time: so what it has is asked for, too. */
static bool has_taken_some(const struct skink__connection *connection)
{
    return connection->output_at != connection->stalled_at ||
           skink__transport_unread(&connection->transport) < connection->stalled_unread;
}

/* Its client has the whole answer, and yet its task writes on: for as long as a client may take nothing of one. */
static bool has_its_answer(const struct skink__connection *connection)
{
    const skink_request *current = connection->current;
    return current->state == SKINK__REQUEST_STREAMED && current->stream_no_body;
}

static enum skink__waiting_for waits_for(const struct skink__connection *connection)
{
    if (connection->body_coming && connection->current->reader.task) return WAITING_BODY;
    return has_its_answer(connection) ? WAITING_STALLED : WAITING_FOR_NOTHING;
}

void skink__connection_settle(struct skink__connection *connection)
{
    if (connection->closing || connection->advancing) return;
    if (connection->held && !expects_output(connection) && !skink__connection_write_held(connection)) {
        skink__connection_close(connection);
        return;
    }
    skink__connection_note_activity(connection);
    if (skink__connection_is_stalled(connection)) {
        if (connection->waiting != WAITING_STALLED) note_stalled(connection);
        skink__connection_wait_for(connection, WAITING_STALLED);
    } else if (connection->lingering) {
        if (connection->eof) {
            skink__connection_close(connection);
            return;
        }
    } else if (connection->close_after) {
        end(connection);
        return;
    } else if (connection->current) {
        if (lacks_its_body(connection)) {
            skink__connection_close(connection);
            return;
        }
        skink__connection_wait_for(connection, waits_for(connection));
    } else if (connection->eof || (connection->server->stopping && !skink__http_parser_begun(&connection->parser))) {
        skink__connection_close(connection); /* nobody is owed an answer */
        return;
    } else {
        skink__connection_wait_for(connection,
                                   skink__http_parser_begun(&connection->parser) ? WAITING_HEADER : WAITING_IDLE);
    }
    watch(connection);
}

/* --- events --- */

void skink__connection_on_ready(struct skink__transport *transport, int status, int events)
{
    struct skink__connection *connection = skink__connection_of_transport(transport);
    skink__assert_runtime(connection->server->scheduler);
    connection->server->now_ns = skink_now();
    if (status < 0) { /* the socket is in error: a reset */
        skink__connection_close(connection);
        return;
    }
    if (events & UV_WRITABLE && connection->output) skink__connection_write_some(connection);
    if (events & UV_READABLE && !connection->closing) {
        skink__connection_read_some(connection);
    } else if (events & UV_DISCONNECT && !connection->closing && !connection->left) {
        connection->left = true;
        skink__connection_client_left(connection);
    }
    skink__connection_settle(connection);
}

/* --- deadlines --- */

static struct skink__connection *of_deadline(struct skink__deadline *entry)
{
    struct skink__connection *connection =
        (struct skink__connection *)((char *)entry - offsetof(struct skink__connection, deadline));
    connection->waiting = WAITING_FOR_NOTHING; /* the entry is off its list */
    connection->server->now_ns = skink_now();
    return connection;
}

/*
 * A client is not late by what has only not been looked at: while a task held the loop, its bytes may have come in time
 * and wait in the socket. So that is read first, and its time begins anew. False: nothing has come.
 */
static bool catch_up(struct skink__connection *connection) SKINK__IN_RUNTIME
{
    if (connection->eof || !skink__transport_has_input(&connection->transport)) return false;
    skink__connection_read_some(connection);
    skink__connection_settle(connection);
    return true;
}

void skink__connection_on_idle(struct skink__deadline *entry, void *server)
{
    (void)server;
    struct skink__connection *connection = of_deadline(entry);
    if (!catch_up(connection)) skink__connection_close(connection);
}

void skink__connection_on_header_timeout(struct skink__deadline *entry, void *server)
{
    (void)server;
    struct skink__connection *connection = of_deadline(entry);
    bool again = connection->extended; /* once: who sends without end is late in the end */
    if (!connection->body_coming) connection->extended = true;
    if (!again && catch_up(connection)) return;
    if (connection->body_coming)
        skink__connection_end_body_badly(connection, SKINK__HTTP_REQUEST_TIMEOUT);
    else
        skink__connection_refuse_reading(connection, SKINK__HTTP_REQUEST_TIMEOUT);
    if (!connection->closing) skink__connection_settle(connection);
}

void skink__connection_on_stalled(struct skink__deadline *entry, void *server)
{
    (void)server;
    struct skink__connection *connection = of_deadline(entry);
    if (!skink__connection_is_stalled(connection)) {
        if (connection->current) skink__request_client_left(connection->current, false); /* nobody waits for it */
    } else if (!has_taken_some(connection)) {
        skink__connection_close(connection); /* not one byte in all that time */
        return;
    }
    skink__connection_settle(connection);
}

void skink__connection_on_linger_end(struct skink__deadline *entry, void *server)
{
    (void)server;
    skink__connection_close(of_deadline(entry));
}
