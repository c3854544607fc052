/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_connection.c - one client: reading, pipelining, deadlines, writing, closing, over its transport.
 *
 * Every callback does what its event asks for and ends in settle(), the one place that decides what the connection
 * waits for next.
 */
#include "middleware/http_connection.h"
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/runtime.h"
#include "middleware/admission.h"
#include "middleware/loop_middleware.h"
#include "middleware/response.h"
#include "middleware/worker_middleware.h"
#include "skink/clock.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

enum {
    READ_ROUNDS = 4,                /* reads in a row on one connection, then the others have their turn */
    LINGER_STEP_BYTES = 16384,      /* of a body that nobody wants, parsed at a time */
    LINGER_BYTES_MAX = 1024 * 1024, /* thrown away of a client that goes on sending after it was refused */
    POLL_DISCONNECT = UV_DISCONNECT
};

enum waiting { WAITING_FOR_NOTHING, WAITING_IDLE, WAITING_HEADER, WAITING_BODY, WAITING_STALLED, WAITING_LINGER };

struct skink__connection {
    struct skink__transport transport; /* first: its callbacks know where the connection is */
    skink_http_server *server;
    struct skink__connection *previous; /* skink_http_server.connections */
    struct skink__connection *next;     /* or .free_connections */
    struct skink__deadline deadline;    /* on the list that `waiting` names */
    enum skink__activity activity;      /* as it is counted, once the server drains */
    struct skink__http_parser parser;
    skink_request *reading; /* a reference, until it is complete */
    skink_request *current; /* a reference, until it is answered; its connection is this */
    char *backlog;          /* bytes behind the current request; NULL while there are none */
    size_t backlog_at, backlog_length, backlog_capacity;
    char *output; /* what the kernel has not taken yet; NULL while there is nothing */
    size_t output_at, output_length, output_capacity;
    size_t stalled_at; /* output_at when the stalled deadline was set */
    size_t discarded;  /* bytes thrown away while lingering */
    struct skink__peer peer;
    enum waiting waiting : 8;
    bool refused : 1;       /* beyond max_connections */
    bool fresh : 1;         /* accepted while the server drains, and has had no request yet */
    bool eof : 1;           /* the client sends no more */
    bool left : 1;          /* its leaving was seen while nothing was read */
    bool advancing : 1;     /* advance() is on the stack */
    bool prepared : 1;      /* the target of the request being read has been understood */
    bool body_coming : 1;   /* of `current`, which takes it as it comes */
    bool told_to_go_on : 1; /* 100 Continue has been sent for the request being read */
    bool close_after : 1;   /* close when the output is out */
    bool linger_after : 1;  /* ... but not before the client has read it */
    bool lingering : 1;
    bool closing : 1; /* uv_close() was called */
};

static void settle(struct skink__connection *connection);
static void send_continue(struct skink__connection *connection);

/* --- what a drain counts --- */

/* Is a request being read that came after the server said that it takes no more? */
static bool reads_refused(const struct skink__connection *connection)
{
    uint64_t since_ns = connection->server->drain.refusing_since_ns;
    return since_ns && connection->reading && connection->reading->started_ns >= since_ns && !connection->fresh;
}

static enum skink__activity activity_of(const struct skink__connection *connection)
{
    if (connection->closing) return SKINK__ACTIVITY_IDLE;
    if (connection->current || connection->output) return SKINK__ACTIVITY_BUSY;
    if (connection->lingering || connection->fresh || reads_refused(connection)) return SKINK__ACTIVITY_LOOSE;
    return connection->reading ? SKINK__ACTIVITY_BUSY : SKINK__ACTIVITY_IDLE;
}

void skink__connection_count(struct skink__connection *connection)
{
    enum skink__activity activity = activity_of(connection);
    skink__drain_count(&connection->server->drain, connection->activity, activity);
    connection->activity = activity;
}

static void note_activity(struct skink__connection *connection)
{
    if (connection->server->drain.counting) skink__connection_count(connection);
}

/* --- open and close --- */

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

static void drop_backlog(struct skink__connection *connection)
{
    skink__free(connection->backlog);
    connection->backlog = NULL;
    connection->backlog_at = connection->backlog_length = connection->backlog_capacity = 0;
}

static void drop_output(struct skink__connection *connection)
{
    skink__free(connection->output);
    connection->output = NULL;
    connection->output_at = connection->output_length = connection->output_capacity = 0;
}

static struct skink__connection *of_transport(struct skink__transport *transport)
{
    return (struct skink__connection *)transport;
}

static void on_closed(struct skink__transport *transport)
{
    struct skink__connection *connection = of_transport(transport);
    skink_http_server *server = connection->server;
    release(server, connection);
    skink__http_server_unref(server);
}

void skink__connection_close(struct skink__connection *connection)
{
    if (connection->closing) return;
    connection->closing = true;
    skink__deadline_clear(&connection->deadline);
    skink__transport_close(&connection->transport);
    unlink_from(connection);
    drop_backlog(connection);
    drop_output(connection);
    if (connection->reading) skink__request_unref(connection->reading);
    connection->reading = NULL;
    skink_request *current = connection->current;
    connection->current = NULL;
    note_activity(connection);
    if (!current) return;
    skink__request_client_left(current, true);
    skink__request_unref(current);
}

/* --- what it waits for --- */

static void wait_for(struct skink__connection *connection, enum waiting waiting)
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

/* Ask poll for what is wanted now. Reading stops at the backlog's limit; then the client's leaving is asked for alone. */
static void watch(struct skink__connection *connection)
{
    int events = 0;
    if (!connection->eof) {
        size_t waiting_bytes = connection->backlog_length - connection->backlog_at;
        if (connection->lingering || waiting_bytes < connection->server->max_backlog_bytes)
            events |= UV_READABLE;
        else if (!connection->left)
            events |= POLL_DISCONNECT;
    }
    if (connection->output) events |= UV_WRITABLE;
    skink__transport_watch(&connection->transport, events);
}

/* The answer that ends this connection is out. */
static void end(struct skink__connection *connection)
{
    bool linger = connection->linger_after && !connection->eof;
    if (!linger || !skink__transport_shut_down(&connection->transport)) {
        skink__connection_close(connection);
        return;
    }
    /* Closing with unread bytes would reset the connection and could destroy the answer on its way. */
    connection->lingering = true;
    note_activity(connection);
    drop_backlog(connection);
    wait_for(connection, WAITING_LINGER);
    watch(connection);
}

static void settle(struct skink__connection *connection)
{
    if (connection->closing || connection->advancing) return;
    note_activity(connection);
    if (connection->output) {
        if (connection->waiting != WAITING_STALLED) connection->stalled_at = connection->output_at;
        wait_for(connection, WAITING_STALLED);
    } else if (connection->lingering) {
        if (connection->eof) {
            skink__connection_close(connection);
            return;
        }
    } else if (connection->close_after) {
        end(connection);
        return;
    } else if (connection->current) {
        bool wants_body = connection->body_coming && connection->current->reader.task;
        wait_for(connection, wants_body ? WAITING_BODY : WAITING_FOR_NOTHING);
    } else if (connection->eof || (connection->server->stopping && !skink__http_parser_begun(&connection->parser))) {
        skink__connection_close(connection); /* nobody is owed an answer */
        return;
    } else {
        wait_for(connection, skink__http_parser_begun(&connection->parser) ? WAITING_HEADER : WAITING_IDLE);
    }
    watch(connection);
}

/* --- requests --- */

/* Say what is wrong with what was sent, and let go of the client. The request need not be complete. */
static void refuse(struct skink__connection *connection, skink_request *request, int number)
{
    skink__counter_add(&connection->server->counters.requests_malformed, 1);
    connection->current = request;
    request->connection = connection;
    connection->linger_after = true;
    (void)skink__answer_error(request, number, NULL, true);
}

/* "OPTIONS *" asks about the server as a whole: no handler can know. */
static void answer_about_server(skink_request *request)
{
    struct skink__answer answer = { .status = 204, .lines = "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n" };
    (void)skink__answer(request, &answer);
}

/* The client sends no more. What is being worked on may still be wanted; what has only waited so far is not. */
static void client_left(struct skink__connection *connection)
{
    skink_request *current = connection->current;
    if (!current) return;
    if (skink__admission_waits(current) || skink__worker_middleware_withdraw(current))
        skink__connection_close(connection);
    else
        skink__request_client_left(current, false);
}

/* Ready for the next request. */
static void parse_anew(struct skink__connection *connection)
{
    connection->told_to_go_on = connection->prepared = false;
    skink__http_parser_init(&connection->parser, &connection->server->limits);
}

/* To its task with the request that is being read. */
static void hand_over(struct skink__connection *connection)
{
    skink_request *request = connection->reading;
    bool is_refused = reads_refused(connection);
    connection->reading = NULL;
    connection->fresh = false;
    connection->current = request;
    request->connection = connection;
    wait_for(connection, WAITING_FOR_NOTHING);
    if (is_refused)
        skink__loop_middleware_refuse(request, SKINK__HTTP_STOPPING);
    else
        skink__admission_enter(request);
    if (connection->eof || connection->left) client_left(connection);
}

/* Understand the target of the request that is being read, once. 0 or the number of what is wrong with it. */
static int prepare(struct skink__connection *connection)
{
    if (connection->prepared) return 0;
    connection->prepared = true;
    return skink__request_prepare(connection->reading, &connection->peer);
}

static void refuse_reading(struct skink__connection *connection, int error)
{
    skink_request *request = connection->reading;
    connection->reading = NULL;
    connection->fresh = false;
    refuse(connection, request, error);
}

/* The request is complete. */
static void dispatch(struct skink__connection *connection)
{
    skink_request *request = connection->reading;
    wait_for(connection, WAITING_FOR_NOTHING);
    if (skink__request_is_about_server(request)) {
        parse_anew(connection);
        connection->reading = NULL;
        connection->fresh = false;
        connection->current = request;
        request->connection = connection;
        answer_about_server(request);
        return;
    }
    int error = prepare(connection);
    parse_anew(connection);
    if (error)
        refuse_reading(connection, error);
    else
        hand_over(connection);
}

/* Its head is complete, and there is a body to come: by the limits of its route, and perhaps right to its task. */
static void begin_body(struct skink__connection *connection)
{
    skink_request *request = connection->reading;
    if (skink__request_is_about_server(request)) return;
    int error = prepare(connection);
    const struct skink__route *route = request->route;
    if (!error)
        error =
            skink__http_parser_admit_body(&connection->parser, route ? &route->limits : &connection->server->limits);
    if (error) {
        refuse_reading(connection, error);
    } else if (route && route->stream_body) {
        request->message.streamed = true;
        connection->body_coming = true;
        hand_over(connection);
    }
}

/* The client waits for leave to send its body. */
static void send_continue(struct skink__connection *connection)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    connection->told_to_go_on = true;
    struct iovec part = { (void *)text, sizeof text - 1 };
    (void)skink__connection_send(connection, &part, 1);
}

/* --- a body that its task takes as it comes --- */

/* Bytes of it that wait for the task. */
static size_t body_waiting(const struct skink__connection *connection)
{
    const struct skink__http_message *message = &connection->current->message;
    return message->body_length - message->body_at;
}

/* May more of it be read now? */
static bool takes_body(const struct skink__connection *connection)
{
    return connection->body_coming && connection->current && !connection->closing && !connection->close_after &&
           body_waiting(connection) < connection->server->max_backlog_bytes;
}

/* There is no more of it, for that is no body, too much of one, or too slow. Its task is told, and so is the client. */
static void end_body_badly(struct skink__connection *connection, int number)
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

/* Returns how many bytes were used. */
static size_t feed_body(struct skink__connection *connection, const char *bytes, size_t length)
{
    skink_request *request = connection->current;
    size_t room = connection->server->max_backlog_bytes - body_waiting(connection), used;
    int error;
    enum skink__http_verdict verdict = skink__http_parser_feed(&connection->parser, &request->message, bytes,
                                                               length < room ? length : room, &used, &error);
    if (verdict == SKINK__HTTP_REFUSED) {
        end_body_badly(connection, error);
        return used;
    }
    if (verdict == SKINK__HTTP_MESSAGE) {
        request->message.body_complete = true;
        connection->body_coming = false;
        parse_anew(connection);
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
        parse_anew(connection);
        break;
    }
    if (connection->backlog_at == connection->backlog_length) drop_backlog(connection);
    return !connection->body_coming;
}

/* May the next request be read now? */
static bool can_advance(const struct skink__connection *connection)
{
    return !connection->current && !connection->output && !connection->close_after && !connection->lingering &&
           !connection->closing;
}

/* Feed the request that is being read; returns how many bytes were used. */
static size_t feed_reading(struct skink__connection *connection, const char *bytes, size_t length)
{
    skink_request *request = connection->reading;
    size_t used;
    int error;
    enum skink__http_verdict verdict =
        skink__http_parser_feed(&connection->parser, &request->message, bytes, length, &used, &error);
    if (verdict == SKINK__HTTP_MESSAGE)
        dispatch(connection);
    else if (verdict == SKINK__HTTP_REFUSED)
        refuse_reading(connection, error);
    else if (verdict == SKINK__HTTP_HEAD)
        begin_body(connection);
    const struct skink__http_message *message = &request->message;
    bool waits = connection->reading && used == length && message->head_complete && message->body_length == 0;
    if (waits && message->expects_continue && !connection->told_to_go_on) send_continue(connection);
    return used;
}

/* Read requests out of these bytes until one is being worked on; returns how many bytes were used. */
static size_t advance(struct skink__connection *connection, const char *bytes, size_t length)
{
    size_t used = 0;
    connection->advancing = true;
    while (used < length) {
        if (takes_body(connection)) {
            used += feed_body(connection, bytes + used, length - used);
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

/* Keep bytes for later. */
static void keep(struct skink__connection *connection, const char *bytes, size_t length)
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

static void advance_backlog(struct skink__connection *connection)
{
    if (!connection->backlog || (!can_advance(connection) && !takes_body(connection))) return;
    connection->backlog_at += advance(connection, connection->backlog + connection->backlog_at,
                                      connection->backlog_length - connection->backlog_at);
    if (connection->closing || connection->backlog_at == connection->backlog_length) drop_backlog(connection);
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
    advance_backlog(connection);
    settle(connection);
}

void skink__connection_body_taken(struct skink__connection *connection)
{
    if (!connection->body_coming) return;
    advance_backlog(connection);
    settle(connection);
}

bool skink__connection_body_may_come(const struct skink__connection *connection)
{
    return connection->body_coming && !connection->closing && (!connection->eof || connection->backlog);
}

bool skink__connection_body_wanted(struct skink__connection *connection)
{
    bool expects = connection->current->message.expects_continue && !connection->told_to_go_on;
    if (expects && connection->current->state == SKINK__REQUEST_OPEN) send_continue(connection);
    if (connection->closing) return false;
    if (!connection->output) wait_for(connection, WAITING_BODY);
    return true;
}

void skink__connection_cut_short(struct skink__connection *connection)
{
    /* What ends with the connection must end with a reset; anything else lacks its last bytes. */
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

/* --- reading --- */

static void take(struct skink__connection *connection, const char *bytes, size_t length)
{
    size_t used = 0;
    if (!connection->backlog) used = advance(connection, bytes, length);
    keep(connection, bytes + used, length - used);
}

/* The end of what the client sends. It may still read: what is being worked on is answered, but told about it. */
static void on_end_of_input(struct skink__connection *connection)
{
    connection->eof = true;
    client_left(connection);
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

static void read_some(struct skink__connection *connection)
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

/* --- writing --- */

/* Room for so much more output; what has been sent of it makes room first. False without memory. */
static bool make_room(struct skink__connection *connection, size_t more)
{
    if (connection->output && connection->output_at > 0) {
        connection->output_length -= connection->output_at;
        memmove(connection->output, connection->output + connection->output_at, connection->output_length);
        if (connection->waiting == WAITING_STALLED) /* counts from output_at, and may go below 0 */
            connection->stalled_at -= connection->output_at;
        connection->output_at = 0;
    }
    size_t needed = connection->output_length + more;
    if (connection->output && needed <= connection->output_capacity) return true;
    size_t capacity = 2 * connection->output_capacity > needed ? 2 * connection->output_capacity : needed;
    char *larger = skink__realloc(connection->output, capacity);
    if (!larger) return false;
    connection->output = larger;
    connection->output_capacity = capacity;
    return true;
}

/* Keep what was not sent: everything behind the first `sent` bytes of the parts. False without memory. */
static bool keep_output(struct skink__connection *connection, const struct iovec *parts, int count, size_t sent)
{
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += parts[i].iov_len;
    if (sent == total) return true;
    if (!make_room(connection, total - sent)) return false;
    for (int i = 0; i < count; i++) {
        size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len;
        memcpy(connection->output + connection->output_length, (char *)parts[i].iov_base + skip,
               parts[i].iov_len - skip);
        connection->output_length += parts[i].iov_len - skip;
        sent -= skip;
    }
    return true;
}

int skink__connection_send(struct skink__connection *connection, struct iovec *parts, int count)
{
    if (connection->closing) return -EPIPE;
    ssize_t sent = connection->output ? 0 : skink__transport_write(&connection->transport, parts, count);
    if (sent >= 0 && keep_output(connection, parts, count, (size_t)sent)) {
        if (connection->output && connection->current)
            settle(connection); /* a streamed answer has nobody else to do so */
        return 0;
    }
    skink__connection_close(connection);
    return -EPIPE;
}

/* The kernel takes bytes again. */
static void write_some(struct skink__connection *connection)
{
    struct iovec part = { connection->output + connection->output_at,
                          connection->output_length - connection->output_at };
    ssize_t n = skink__transport_write(&connection->transport, &part, 1);
    if (n < 0) {
        skink__connection_close(connection);
        return;
    }
    connection->output_at += (size_t)n;
    bool all = connection->output_at == connection->output_length;
    if (all) drop_output(connection);
    skink_request *current = connection->current;
    if (current && skink__connection_room(connection) >= connection->server->max_unsent_bytes / 2)
        skink__wait_end(&current->writer, 0);
    if (all) advance_backlog(connection);
}

size_t skink__connection_room(const struct skink__connection *connection)
{
    size_t waiting = connection->output_length - connection->output_at, most = connection->server->max_unsent_bytes;
    return waiting < most ? most - waiting : 0;
}

static void on_ready(struct skink__transport *transport, int status, int events)
{
    struct skink__connection *connection = of_transport(transport);
    skink__assert_runtime(connection->server->scheduler);
    connection->server->now_ns = skink_now();
    if (status < 0) { /* the socket is in error: a reset */
        skink__connection_close(connection);
        return;
    }
    if (events & UV_WRITABLE && connection->output) write_some(connection);
    if (events & UV_READABLE && !connection->closing) {
        read_some(connection);
    } else if (events & POLL_DISCONNECT && !connection->closing && !connection->left) {
        connection->left = true;
        client_left(connection);
    }
    settle(connection);
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

void skink__connection_on_idle(struct skink__deadline *entry, void *server)
{
    (void)server;
    skink__connection_close(of_deadline(entry));
}

void skink__connection_on_header_timeout(struct skink__deadline *entry, void *server)
{
    (void)server;
    struct skink__connection *connection = of_deadline(entry);
    if (connection->body_coming)
        end_body_badly(connection, SKINK__HTTP_REQUEST_TIMEOUT);
    else
        refuse_reading(connection, SKINK__HTTP_REQUEST_TIMEOUT);
    if (!connection->closing) settle(connection);
}

void skink__connection_on_stalled(struct skink__deadline *entry, void *server)
{
    (void)server;
    struct skink__connection *connection = of_deadline(entry);
    if (connection->output_at == connection->stalled_at) {
        skink__connection_close(connection); /* not one byte in all that time */
        return;
    }
    settle(connection);
}

void skink__connection_on_linger_end(struct skink__deadline *entry, void *server)
{
    (void)server;
    skink__connection_close(of_deadline(entry));
}

/* --- a new one --- */

/* One beyond the limit is told so, in one write that a fresh socket always takes. */
static void turn_away(struct skink__connection *connection)
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
    connection->transport.on_ready = on_ready;
    connection->transport.on_closed = on_closed;
    return connection;
}

/* Its transport is open. */
static void begin(skink_http_server *server, struct skink__connection *connection, const struct skink__ip *peer)
{
    connection->server = skink__http_server_ref(server);
    skink__peer_init(&connection->peer, peer, &server->trusted_proxies);
    connection->fresh = skink__drain_is_announced(server) && !connection->refused;
    skink__http_parser_init(&connection->parser, &server->limits);
    link_in(connection);
    server->now_ns = skink_now();
    if (connection->refused) turn_away(connection);
    settle(connection);
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
