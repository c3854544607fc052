/* SPDX-License-Identifier: MIT */
/*
 * middleware/transport.h - what carries a connection's bytes: a socket, or a loopback to a client in the same process.
 *
 * A socket is watched with uv_poll and read and written here, not with a uv stream (docs/adr/0010): so that a client's
 * leaving is seen while nothing is read, and a write to one that has left raises no SIGPIPE. A loopback
 * (skink/loopback.h) behaves as a socket does: it takes a bounded number of bytes, may be readable or writable, and
 * ends; so everything above is the same code. Runtime section only.
 */
#ifndef SKINK_MIDDLEWARE_TRANSPORT_H
#define SKINK_MIDDLEWARE_TRANSPORT_H
#include "skink/loopback.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <uv.h>

struct skink__transport {
    union {
        uv_handle_t any;
        uv_poll_t poll;
        uv_idle_t idle;
    } handle;                                                                     /* its data is this transport */
    int fd;                                                                       /* -1: a loopback */
    int events;                                                                   /* that are wanted now */
    skink_loopback *loopback;                                                     /* a reference; NULL: a socket */
    void (*on_ready)(struct skink__transport *transport, int status, int events); /* status < 0: it broke */
    void (*on_closed)(struct skink__transport *transport);
};

/* The callbacks are set by the caller. A libuv error: nothing is to be closed, and the descriptor is the caller's. */
int skink__transport_open_socket(struct skink__transport *transport, uv_loop_t *loop, int fd);
int skink__transport_open_loopback(struct skink__transport *transport, uv_loop_t *loop, skink_loopback *loopback);

/* Ask for UV_READABLE, UV_WRITABLE and UV_DISCONNECT; 0: nothing. */
void skink__transport_watch(struct skink__transport *transport, int events);

/* As recv() and send() of a socket that does not block: a count, 0 at the end of what the client sends, or -EAGAIN or
 * another negative errno. Writing gives 0 when nothing is taken. */
ssize_t skink__transport_read(struct skink__transport *transport, char *bytes, size_t length);
ssize_t skink__transport_write(struct skink__transport *transport, struct iovec *parts, int count);

/* Is there something to be read: bytes, the end, or what went wrong? */
bool skink__transport_has_input(const struct skink__transport *transport);

/* Bytes that were written, and that the client's side is not known to have. */
size_t skink__transport_unread(const struct skink__transport *transport);

/* Nothing more will be written, but read it is still. False: it cannot do so. */
bool skink__transport_shut_down(struct skink__transport *transport);

/* Its end is to look like a failure to the client. Before skink__transport_close(). */
void skink__transport_spoil(struct skink__transport *transport);

/* on_closed follows in a later turn of the loop. */
void skink__transport_close(struct skink__transport *transport);

/* ---- for loopback.c ---- */

/* Something has changed on the client's side of it. */
void skink__transport_stir(struct skink__transport *transport);

/* What the transport needs of a loopback. */
void skink__loopback_attach(skink_loopback *loopback, struct skink__transport *transport);
int skink__loopback_ready(const skink_loopback *loopback); /* UV_READABLE and UV_WRITABLE */
ssize_t skink__loopback_take(skink_loopback *loopback, char *bytes, size_t length);
size_t skink__loopback_give(skink_loopback *loopback, const struct iovec *parts, int count);
void skink__loopback_end(skink_loopback *loopback); /* and the transport's reference goes */
void skink__loopback_spoil(skink_loopback *loopback);
#endif
