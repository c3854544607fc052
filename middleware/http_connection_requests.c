/* SPDX-License-Identifier: MIT */
/* middleware/http_connection_requests.c - requests of one connection: refused, handed over to their tasks, answered. */
#include "middleware/admission.h"
#include "middleware/http_connection_state.h"
#include "middleware/loop_middleware.h"
#include "middleware/response.h"
#include "middleware/worker_middleware.h"

/* Say what is wrong with what was sent, and let go of the client. The request need not be complete. */
static void refuse(struct skink__connection *connection, skink_request *request, int number) SKINK__IN_RUNTIME
{
    skink__counter_add(&connection->server->counters.requests_malformed, 1);
    if (!connection->prepared) skink__request_identify(request, &connection->peer);
    connection->current = request;
    request->connection = connection;
    connection->linger_after = true;
    (void)skink__answer_error(request, number, NULL, true);
}

/* "OPTIONS *" asks about the server as a whole: no handler can know. */
static void answer_about_server(skink_request *request) SKINK__IN_RUNTIME
{
    struct skink__answer answer = { .status = 204, .lines = "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n" };
    (void)skink__answer(request, &answer);
}

void skink__connection_client_left(struct skink__connection *connection)
{
    skink_request *current = connection->current;
    if (!current) return;
    if (skink__admission_waits(current) || skink__worker_middleware_withdraw(current))
        skink__connection_close(connection);
    else
        skink__request_client_left(current, false);
}

void skink__connection_parse_anew(struct skink__connection *connection)
{
    connection->told_to_go_on = connection->prepared = connection->extended = false;
    skink__http_parser_init(&connection->parser, &connection->server->limits);
}

/* To its task with the request that is being read. */
static void hand_over(struct skink__connection *connection) SKINK__IN_RUNTIME
{
    skink_request *request = connection->reading;
    bool is_refused = skink__connection_reads_refused(connection);
    connection->reading = NULL;
    connection->fresh = false;
    connection->current = request;
    request->connection = connection;
    skink__connection_wait_for(connection, WAITING_FOR_NOTHING);
    if (is_refused)
        skink__loop_middleware_refuse(request, SKINK__HTTP_STOPPING);
    else
        skink__admission_enter(request);
    if (connection->eof || connection->left) skink__connection_client_left(connection);
}

/* Understand the target of the request that is being read, once. 0 or the number of what is wrong with it. */
static int prepare(struct skink__connection *connection)
{
    if (connection->prepared) return 0;
    connection->prepared = true;
    return skink__request_prepare(connection->reading, &connection->peer);
}

void skink__connection_refuse_reading(struct skink__connection *connection, int error)
{
    skink_request *request = connection->reading;
    connection->reading = NULL;
    connection->fresh = false;
    refuse(connection, request, error);
}

void skink__connection_dispatch(struct skink__connection *connection)
{
    skink_request *request = connection->reading;
    skink__connection_wait_for(connection, WAITING_FOR_NOTHING);
    if (skink__request_is_about_server(request)) {
        skink__request_identify(request, &connection->peer);
        skink__connection_parse_anew(connection);
        connection->reading = NULL;
        connection->fresh = false;
        connection->current = request;
        request->connection = connection;
        answer_about_server(request);
        return;
    }
    int error = prepare(connection);
    skink__connection_parse_anew(connection);
    if (error)
        skink__connection_refuse_reading(connection, error);
    else
        hand_over(connection);
}

void skink__connection_begin_body(struct skink__connection *connection)
{
    skink_request *request = connection->reading;
    if (skink__request_is_about_server(request)) return;
    int error = prepare(connection);
    const struct skink__route *route = request->route;
    if (!error)
        error =
            skink__http_parser_admit_body(&connection->parser, route ? &route->limits : &connection->server->limits);
    if (error) {
        skink__connection_refuse_reading(connection, error);
    } else if (route && route->stream_body) {
        request->message.streamed = true;
        connection->body_coming = true;
        hand_over(connection);
    }
}

void skink__connection_send_continue(struct skink__connection *connection)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    connection->told_to_go_on = true;
    struct iovec part = { (void *)text, sizeof text - 1 };
    (void)skink__connection_send(connection, &part, 1);
}

void skink__connection_answered(struct skink__connection *connection, bool keep_alive)
{
    skink_request *request = connection->current;
    bool client_goes_on = request->message.keep_alive || connection->backlog || connection->body_coming;
    connection->current = NULL;
    connection->body_coming = false;
    skink__request_unref(request);
    if (connection->closing) return;
    if (!keep_alive) {
        connection->close_after = true;
        /* A client that asked for the end sends no more; another one may be sending its next request. */
        if (client_goes_on) connection->linger_after = true;
    }
    if (connection->advancing) return; /* advance() goes on by itself */
    skink__connection_advance(connection);
    skink__connection_settle(connection);
}
