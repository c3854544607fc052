/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_connection_state.h - a connection as its own files see it. Runtime section only.
 *
 *   http_connection.c           opened, counted, closed
 *   http_connection_events.c    what it waits for, and what happens then
 *   http_connection_input.c     bytes: read, parsed, kept
 *   http_connection_requests.c  requests: refused, handed over, answered
 *   http_connection_body.c      a body that its task takes as it comes
 *   http_connection_output.c    bytes: written, kept
 */
#ifndef SKINK_MIDDLEWARE_HTTP_CONNECTION_STATE_H
#define SKINK_MIDDLEWARE_HTTP_CONNECTION_STATE_H
#include "middleware/http_connection.h"

enum skink__waiting_for {
    WAITING_FOR_NOTHING,
    WAITING_IDLE,
    WAITING_HEADER,
    WAITING_BODY,
    WAITING_STALLED,
    WAITING_LINGER
};

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
    struct skink__connection *previous_held; /* skink_http_server.held, while `held` */
    struct skink__connection *next_held;
    char *output; /* what the kernel has not taken yet, or has not been given; NULL while there is nothing */
    size_t output_at, output_length, output_capacity;
    size_t stalled_at;     /* output_at when the stalled deadline was set */
    size_t stalled_unread; /* and what the kernel had of it that the client had not taken */
    size_t discarded;      /* bytes thrown away while lingering */
    struct skink__peer peer;
    enum skink__waiting_for waiting : 8;
    bool refused : 1;       /* beyond max_connections */
    bool fresh : 1;         /* accepted while the server drains, and has had no request yet */
    bool eof : 1;           /* the client sends no more */
    bool left : 1;          /* its leaving was seen while nothing was read */
    bool advancing : 1;     /* advance() is on the stack */
    bool prepared : 1;      /* the target of the request being read has been understood */
    bool body_coming : 1;   /* of `current`, which takes it as it comes */
    bool extended : 1;      /* the request being read has had its time a second time */
    bool told_to_go_on : 1; /* 100 Continue has been sent for the request being read */
    bool held : 1;          /* the output has not been given to the kernel: there may be more in a moment */
    bool close_after : 1;   /* close when the output is out */
    bool linger_after : 1;  /* ... but not before the client has read it */
    bool lingering : 1;
    bool closing : 1; /* uv_close() was called */
};

static inline struct skink__connection *skink__connection_of_transport(struct skink__transport *transport)
{
    return (struct skink__connection *)transport;
}

/* Does it have output that the client is slow to take? */
static inline bool skink__connection_is_stalled(const struct skink__connection *connection)
{
    return connection->output && !connection->held;
}

/* --- http_connection.c --- */

/* Is a request being read that came after the server said that it takes no more? */
bool skink__connection_reads_refused(const struct skink__connection *connection);

/* What it does may have changed: count it anew, if the server drains. */
void skink__connection_note_activity(struct skink__connection *connection);

/* --- http_connection_events.c --- */

/* Whatever has happened is done with: what is it to wait for? May close it. */
void skink__connection_settle(struct skink__connection *connection) SKINK__IN_RUNTIME;

/* The deadline alone. */
void skink__connection_wait_for(struct skink__connection *connection, enum skink__waiting_for waiting);

/* Its transport's: something can be done, or it broke (status < 0). */
void skink__connection_on_ready(struct skink__transport *transport, int status, int events);

/* --- http_connection_input.c --- */

/* Take what there is, a few reads of it. */
void skink__connection_read_some(struct skink__connection *connection) SKINK__IN_RUNTIME;

/* Go on with what has waited in the backlog, as far as that may be read now. */
void skink__connection_advance(struct skink__connection *connection) SKINK__IN_RUNTIME;

void skink__connection_drop_backlog(struct skink__connection *connection);

/* --- http_connection_requests.c --- */

/* Of the request that is being read: its head is complete, and there is a body to come. */
void skink__connection_begin_body(struct skink__connection *connection) SKINK__IN_RUNTIME;

/* It is complete: to its task. */
void skink__connection_dispatch(struct skink__connection *connection) SKINK__IN_RUNTIME;

/* Answer it with the number of what is wrong with it, and let go of the client. */
void skink__connection_refuse_reading(struct skink__connection *connection, int error) SKINK__IN_RUNTIME;

/* Ready for the next request. */
void skink__connection_parse_anew(struct skink__connection *connection);

/* The client waits for leave to send its body. */
void skink__connection_send_continue(struct skink__connection *connection) SKINK__IN_RUNTIME;

/* The client sends no more. What is being worked on may still be wanted; what has only waited so far is not. */
void skink__connection_client_left(struct skink__connection *connection) SKINK__IN_RUNTIME;

/* --- http_connection_body.c --- */

/* May more of it be read now? */
bool skink__connection_takes_body(const struct skink__connection *connection);

/* To the task; returns how many bytes were used. */
size_t skink__connection_feed_body(struct skink__connection *connection, const char *bytes,
                                   size_t length) SKINK__IN_RUNTIME;

/* There is no more of it, for that is no body, too much of one, or too slow. Its task is told, and so is the client. */
void skink__connection_end_body_badly(struct skink__connection *connection, int number) SKINK__IN_RUNTIME;

/* --- http_connection_output.c --- */

/* The kernel takes bytes again. */
void skink__connection_write_some(struct skink__connection *connection) SKINK__IN_RUNTIME;

/* Give the kernel what is held. False: it broke; it is not closed for that. */
bool skink__connection_write_held(struct skink__connection *connection);

void skink__connection_drop_output(struct skink__connection *connection);
#endif
