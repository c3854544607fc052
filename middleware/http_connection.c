/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_connection.c - a client's socket: reading, pipelining, deadlines, writing, closing.
 *
 * The socket is watched with uv_poll and read and written here, not with a uv stream: so that a client's leaving is seen
 * while nothing is read, a write to one that has left raises no SIGPIPE, and what waits to be written is one buffer.
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
#include "skink/clock.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_ROUNDS = 4,                /* reads in a row on one connection, then the others have their turn */
    LINGER_BYTES_MAX = 1024 * 1024, /* thrown away of a client that goes on sending after it was refused */
    POLL_DISCONNECT = UV_DISCONNECT
};

enum waiting { WAITING_FOR_NOTHING, WAITING_IDLE, WAITING_HEADER, WAITING_STALLED, WAITING_LINGER };

struct skink__connection {
    uv_poll_t poll; /* its data is this connection */
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
    size_t output_at, output_length;
    size_t stalled_at; /* output_at when the stalled deadline was set */
    size_t discarded;  /* bytes thrown away while lingering */
    int fd;
    struct skink__peer peer;
    int events; /* that poll asks for */
    enum waiting waiting : 8;
    bool refused : 1;       /* beyond max_connections */
    bool fresh : 1;         /* accepted while the server drains, and has had no request yet */
    bool eof : 1;           /* the client sends no more */
    bool left : 1;          /* its leaving was seen while nothing was read */
    bool advancing : 1;     /* advance() is on the stack */
    bool told_to_go_on : 1; /* 100 Continue has been sent for the request being read */
    bool close_after : 1;   /* close when the output is out */
    bool linger_after : 1;  /* ... but not before the client has read it */
    bool lingering : 1;
    bool closing : 1; /* uv_close() was called */
};

static void settle(struct skink__connection *connection);

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
    connection->output_at = connection->output_length = 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct skink__connection *connection = handle->data;
    skink_http_server *server = connection->server;
    release(server, connection);
    skink__http_server_unref(server);
}

void skink__connection_close(struct skink__connection *connection)
{
    if (connection->closing) return;
    connection->closing = true;
    skink__deadline_clear(&connection->deadline);
    uv_close((uv_handle_t *)&connection->poll, on_closed);
    close(connection->fd); /* allowed right after uv_close() */
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
                                        : waiting == WAITING_STALLED ? &server->stalled
                                        : waiting == WAITING_LINGER  ? &server->linger
                                                                     : NULL;
    connection->waiting = waiting;
    if (list)
        skink__deadline_set(list, &connection->deadline, server->now_ns);
    else
        skink__deadline_clear(&connection->deadline);
}

static void on_poll(uv_poll_t *poll, int status, int events);

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
    if (events == connection->events) return;
    connection->events = events;
    int err = events ? uv_poll_start(&connection->poll, events, on_poll) : uv_poll_stop(&connection->poll);
    SKINK_ASSERT(err == 0); /* they fail on a closing handle only */
}

/* The answer that ends this connection is out. */
static void end(struct skink__connection *connection)
{
    bool linger = connection->linger_after && !connection->eof;
    if (!linger || shutdown(connection->fd, SHUT_WR) != 0) {
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
        wait_for(connection, WAITING_FOR_NOTHING);
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
    if (skink__admission_waits(current))
        skink__connection_close(connection);
    else
        skink__request_client_left(current, false);
}

/* The request is complete: to its task with it. */
static void dispatch(struct skink__connection *connection)
{
    skink_request *request = connection->reading;
    bool is_refused = reads_refused(connection);
    connection->reading = NULL;
    connection->fresh = false;
    connection->told_to_go_on = false;
    skink__http_parser_init(&connection->parser, &connection->server->limits);
    wait_for(connection, WAITING_FOR_NOTHING);
    bool about_server = skink__request_is_about_server(request);
    int error = about_server ? 0 : skink__request_prepare(request, &connection->peer);
    if (error) {
        refuse(connection, request, error);
        return;
    }
    connection->current = request;
    request->connection = connection;
    if (about_server) {
        answer_about_server(request);
        return;
    }
    if (is_refused)
        skink__loop_middleware_refuse(request, SKINK__HTTP_STOPPING);
    else
        skink__admission_enter(request);
    if (connection->eof || connection->left) client_left(connection);
}

/* The client waits for leave to send its body. */
static void send_continue(struct skink__connection *connection)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    connection->told_to_go_on = true;
    struct iovec part = { (void *)text, sizeof text - 1 };
    (void)skink__connection_send(connection, &part, 1);
}

/* May the next request be read now? */
static bool can_advance(const struct skink__connection *connection)
{
    return !connection->current && !connection->output && !connection->close_after && !connection->lingering &&
           !connection->closing;
}

/* Read requests out of these bytes until one is being worked on; returns how many bytes were used. */
static size_t advance(struct skink__connection *connection, const char *bytes, size_t length)
{
    size_t used = 0;
    connection->advancing = true;
    while (used < length && can_advance(connection)) {
        skink_http_server *server = connection->server;
        if (!connection->reading) connection->reading = skink__request_create(server);
        if (!connection->reading) {
            skink__connection_close(connection);
            break;
        }
        skink_request *request = connection->reading;
        size_t taken;
        int error;
        enum skink__http_verdict verdict = skink__http_parser_feed(&connection->parser, &request->message, bytes + used,
                                                                   length - used, &taken, &error);
        used += taken;
        if (verdict == SKINK__HTTP_MESSAGE) {
            dispatch(connection);
        } else if (verdict == SKINK__HTTP_REFUSED) {
            connection->reading = NULL;
            refuse(connection, request, error);
        } else if (request->message.head_complete && request->message.expects_continue && !connection->told_to_go_on &&
                   request->message.body_length == 0) {
            send_continue(connection);
        }
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
    if (!connection->backlog || !can_advance(connection)) return;
    connection->backlog_at += advance(connection, connection->backlog + connection->backlog_at,
                                      connection->backlog_length - connection->backlog_at);
    if (connection->closing || connection->backlog_at == connection->backlog_length) drop_backlog(connection);
}

void skink__connection_answered(struct skink__connection *connection, bool keep_alive)
{
    skink_request *request = connection->current;
    bool client_goes_on = request->message.keep_alive || connection->backlog;
    connection->current = NULL;
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
        ssize_t n = recv(connection->fd, server->read_buffer, room, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
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

/* As much as the kernel takes at once; -EPIPE when the client is gone. */
static ssize_t write_now(struct skink__connection *connection, struct iovec *parts, int count)
{
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = (size_t)count };
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    ssize_t n;
    do
        n = count == 1 ? send(connection->fd, parts->iov_base, parts->iov_len, flags)
                       : sendmsg(connection->fd, &message, flags);
    while (n < 0 && errno == EINTR);
    if (n >= 0) return n;
    return errno == EAGAIN || errno == ENOBUFS ? 0 : -EPIPE;
}

/* Keep what was not sent: everything behind the first `sent` bytes of the parts. False without memory. */
static bool keep_output(struct skink__connection *connection, const struct iovec *parts, int count, size_t sent)
{
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += parts[i].iov_len;
    if (sent == total) return true;
    char *larger = skink__realloc(connection->output, connection->output_length + total - sent);
    if (!larger) return false;
    connection->output = larger;
    for (int i = 0; i < count; i++) {
        size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len;
        memcpy(larger + connection->output_length, (char *)parts[i].iov_base + skip, parts[i].iov_len - skip);
        connection->output_length += parts[i].iov_len - skip;
        sent -= skip;
    }
    return true;
}

int skink__connection_send(struct skink__connection *connection, struct iovec *parts, int count)
{
    if (connection->closing) return -EPIPE;
    ssize_t sent = connection->output ? 0 : write_now(connection, parts, count);
    if (sent >= 0 && keep_output(connection, parts, count, (size_t)sent)) return 0;
    skink__connection_close(connection);
    return -EPIPE;
}

/* The kernel takes bytes again. */
static void write_some(struct skink__connection *connection)
{
    struct iovec part = { connection->output + connection->output_at,
                          connection->output_length - connection->output_at };
    ssize_t n = write_now(connection, &part, 1);
    if (n < 0) {
        skink__connection_close(connection);
        return;
    }
    connection->output_at += (size_t)n;
    if (connection->output_at < connection->output_length) return;
    drop_output(connection);
    advance_backlog(connection);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct skink__connection *connection = poll->data;
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
    skink_request *request = connection->reading;
    connection->reading = NULL;
    refuse(connection, request, SKINK__HTTP_REQUEST_TIMEOUT);
    settle(connection);
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

void skink__connection_open(skink_http_server *server, int fd, const struct skink__ip *peer, bool refused)
{
    struct skink__connection *connection = acquire(server);
    if (!connection || uv_poll_init(skink__scheduler_loop(server->scheduler), &connection->poll, fd) != 0) {
        if (connection) release(server, connection); /* uv has not seen the handle */
        close(fd);
        return;
    }
    connection->poll.data = connection;
    connection->server = skink__http_server_ref(server);
    connection->fd = fd;
    skink__peer_init(&connection->peer, peer, &server->trusted_proxies);
    connection->refused = refused;
    connection->fresh = skink__drain_is_announced(server) && !refused;
    skink__http_parser_init(&connection->parser, &server->limits);
    link_in(connection);
    server->now_ns = skink_now();
    if (refused) turn_away(connection);
    settle(connection);
}
