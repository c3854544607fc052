/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_connection.h - one client: bytes in, requests out to tasks, answers back in order.
 *
 * One request of a connection is worked on at a time; what comes behind it waits in the backlog, which is bounded.
 * Reading goes on meanwhile, or the client's leaving would not be seen. Runtime section only.
 */
#ifndef SKINK_MIDDLEWARE_HTTP_CONNECTION_H
#define SKINK_MIDDLEWARE_HTTP_CONNECTION_H
#include "middleware/request.h"
#include "middleware/transport.h"
#include <sys/uio.h>

struct skink__connection;

/* Take over an accepted descriptor, closed on failure. refused: answer 503 and let go. */
void skink__connection_open(skink_http_server *server, int fd, const struct skink__ip *peer,
                            bool refused) SKINK__IN_RUNTIME;

/* The same for a client in this process, within max_connections. -ENOMEM, or a libuv error. */
int skink__connection_open_loopback(skink_http_server *server, skink_loopback *loopback,
                                    const struct skink__ip *peer) SKINK__IN_RUNTIME;

/* That client has left. Also while the scheduler does not run, and the caller is the only one there. */
void skink__connection_loopback_left(struct skink__transport *transport) SKINK__IN_RUNTIME;

/* Send bytes, at once as far as the kernel takes them, the rest when it can. -EPIPE: the client is gone, and the
 * connection is closed. */
int skink__connection_send(struct skink__connection *connection, struct iovec *parts, int count) SKINK__IN_RUNTIME;

/* The same for bytes behind which more is to be expected in this very turn of the loop: a few of them are held, and go
 * out together with what comes then, at the latest at the turn's end. */
int skink__connection_gather(struct skink__connection *connection, struct iovec *parts, int count) SKINK__IN_RUNTIME;

/* Is there more of what its client has sent, so that the next answer may follow at once? */
bool skink__connection_has_more(const struct skink__connection *connection);

/* Send what is held, of one or of all of a server. */
void skink__connection_flush(struct skink__connection *connection) SKINK__IN_RUNTIME;
void skink__connections_flush(skink_http_server *server) SKINK__IN_RUNTIME;

/* The answer of its current request has been sent: go on with the next, or close. */
void skink__connection_answered(struct skink__connection *connection, bool keep_alive) SKINK__IN_RUNTIME;

/* How much more of a streamed answer may be sent now. At 0 the writer waits in its request's slot, and is woken when
 * the client has taken half of what waits. */
size_t skink__connection_room(const struct skink__connection *connection);

/* Is the body of the request that is being answered read to its end? What has come of it already is thrown away for
 * that; if it is not, the connection cannot go on behind the answer. */
bool skink__connection_body_is_over(struct skink__connection *connection);

/* For a streamed body: its task has taken some of it, there is room for more; can anything still come; and it is about
 * to wait in its request's slot for more (false: look again first). */
void skink__connection_body_taken(struct skink__connection *connection) SKINK__IN_RUNTIME;
bool skink__connection_body_may_come(const struct skink__connection *connection);
bool skink__connection_body_wanted(struct skink__connection *connection) SKINK__IN_RUNTIME;

/* Its answer is not going to be complete: close it in a way that no client takes for the end of one. */
void skink__connection_cut_short(struct skink__connection *connection) SKINK__IN_RUNTIME;

/* Close it unless a request is being read, worked on or answered. */
void skink__connection_close_idle(struct skink__connection *connection) SKINK__IN_RUNTIME;

/* The server has begun to drain: count it for what it is doing, and from now on each change. */
void skink__connection_count(struct skink__connection *connection);

/* Cut it. */
void skink__connection_close(struct skink__connection *connection) SKINK__IN_RUNTIME;

/* The server goes: answer for the request that is being worked on,
 * as far as the kernel takes it at once, and cut it. */
void skink__connection_cut(struct skink__connection *connection) SKINK__IN_RUNTIME;

/* What the lists of the server call. */
void skink__connection_on_idle(struct skink__deadline *entry, void *server) SKINK__IN_RUNTIME;
void skink__connection_on_header_timeout(struct skink__deadline *entry, void *server) SKINK__IN_RUNTIME;
void skink__connection_on_stalled(struct skink__deadline *entry, void *server) SKINK__IN_RUNTIME;
void skink__connection_on_linger_end(struct skink__deadline *entry, void *server) SKINK__IN_RUNTIME;

struct skink__connection *skink__connection_next(const struct skink__connection *connection);

/* Free what the server's pool holds. */
void skink__connection_pool_free(skink_http_server *server);
#endif
