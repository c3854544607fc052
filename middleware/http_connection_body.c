/* SPDX-License-Identifier: MIT */
/* middleware/http_connection_body.c - the body of a request whose task takes it as it comes
 * (body.c is the task's side). */
#include "loop/runtime.h"
#include "middleware/http_connection_state.h"
#include "middleware/response.h"
#include <errno.h>

enum { LINGER_STEP_BYTES = 16384 /* of a body that nobody wants, parsed at a time */ };

/* Bytes of it that wait for the task. */
static size_t body_waiting(const struct skink__connection *connection)
{
    const struct skink__http_message *message = &connection->current->message;
    return message->body_length - message->body_at;
}

bool skink__connection_takes_body(const struct skink__connection *connection)
{
    return connection->body_coming && connection->current && !connection->closing && !connection->close_after &&
           body_waiting(connection) < connection->server->max_backlog_bytes;
}

void skink__connection_end_body_badly(struct skink__connection *connection, int number)
{
    skink_request *request = connection->current;
    connection->body_coming = false;
    connection->linger_after = true;
    request->body_error = number == SKINK__HTTP_BODY_TOO_LARGE    ? -EMSGSIZE
                          : number == SKINK__HTTP_REQUEST_TIMEOUT ? -ETIMEDOUT
                                                                  : -EBADMSG;
    skink__counter_add(&connection->server->counters.requests_malformed, 1);
    skink__wait_end(&request->reader, 0);
    if (request->state == SKINK__REQUEST_STREAMED)
        skink__answer_cut(request, SKINK__REQUEST_ANSWERED, "bad_body");
    else
        (void)skink__answer_error(request, number, NULL, true);
}

size_t skink__connection_feed_body(struct skink__connection *connection, const char *bytes, size_t length)
{
    skink_request *request = connection->current;
    size_t room = connection->server->max_backlog_bytes - body_waiting(connection), used;
    int error;
    enum skink__http_verdict verdict = skink__http_parser_feed(&connection->parser, &request->message, bytes,
                                                               length < room ? length : room, &used, &error);
    if (verdict == SKINK__HTTP_REFUSED) {
        skink__connection_end_body_badly(connection, error);
        return used;
    }
    if (verdict == SKINK__HTTP_MESSAGE) {
        request->message.body_complete = true;
        connection->body_coming = false;
        skink__connection_parse_anew(connection);
    }
    if (body_waiting(connection) > 0 || request->message.body_complete) skink__wait_end(&request->reader, 0);
    return used;
}

bool skink__connection_body_is_over(struct skink__connection *connection)
{
    if (!connection->body_coming) return true;
    if (connection->advancing) return false; /* what stands behind the head has not been looked at */
    struct skink__http_message *message = &connection->current->message;
    while (connection->backlog_at < connection->backlog_length) {
        size_t used;
        int error;
        size_t rest = connection->backlog_length - connection->backlog_at;
        message->body_length = message->body_at = 0; /* nobody asks for it any more */
        enum skink__http_verdict verdict =
            skink__http_parser_feed(&connection->parser, message, connection->backlog + connection->backlog_at,
                                    rest < LINGER_STEP_BYTES ? rest : LINGER_STEP_BYTES, &used, &error);
        if (verdict == SKINK__HTTP_REFUSED) return false;
        connection->backlog_at += used;
        if (verdict != SKINK__HTTP_MESSAGE) continue;
        connection->body_coming = false;
        skink__connection_parse_anew(connection);
        break;
    }
    if (connection->backlog_at == connection->backlog_length) skink__connection_drop_backlog(connection);
    return !connection->body_coming;
}

void skink__connection_body_taken(struct skink__connection *connection)
{
    if (!connection->body_coming) return;
    skink__connection_advance(connection);
    skink__connection_settle(connection);
}

bool skink__connection_body_may_come(const struct skink__connection *connection)
{
    return connection->body_coming && !connection->closing && (!connection->eof || connection->backlog);
}

bool skink__connection_body_wanted(struct skink__connection *connection)
{
    bool expects = connection->current->message.expects_continue && !connection->told_to_go_on;
    if (expects && connection->current->state == SKINK__REQUEST_OPEN) skink__connection_send_continue(connection);
    if (connection->closing) return false;
    if (!skink__connection_is_stalled(connection)) skink__connection_wait_for(connection, WAITING_BODY);
    return true;
}
