/* SPDX-License-Identifier: MIT */
/* middleware/transport.c - sockets, and loopbacks that behave like them (transport.h). */
#include "middleware/transport.h"
#include "loop/hooks.h"
#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int skink__transport_open_socket(struct skink__transport *transport, uv_loop_t *loop, int fd)
{
    int err = uv_poll_init(loop, &transport->handle.poll, fd);
    if (err) return err;
    transport->handle.any.data = transport;
    transport->fd = fd;
    return 0;
}

int skink__transport_open_loopback(struct skink__transport *transport, uv_loop_t *loop, skink_loopback *loopback)
{
    int err = uv_idle_init(loop, &transport->handle.idle);
    if (err) return err;
    transport->handle.any.data = transport;
    transport->fd = -1;
    transport->loopback = loopback;
    skink__loopback_attach(loopback, transport);
    return 0;
}

/* --- readiness --- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct skink__transport *transport = poll->data;
    transport->on_ready(transport, status, events);
}

/* A loopback is ready as long as it is: once a turn, as a level-triggered poll would say. */
static void on_idle(uv_idle_t *idle)
{
    struct skink__transport *transport = idle->data;
    int events = transport->events & skink__loopback_ready(transport->loopback);
    if (events)
        transport->on_ready(transport, 0, events);
    else
        uv_idle_stop(idle);
}

void skink__transport_stir(struct skink__transport *transport)
{
    int err = 0;
    if (transport->events & skink__loopback_ready(transport->loopback))
        err = uv_idle_start(&transport->handle.idle, on_idle);
    SKINK_ASSERT(err == 0); /* it fails on a closing handle only, and a closed one is no longer stirred */
}

void skink__transport_watch(struct skink__transport *transport, int events)
{
    if (events == transport->events) return;
    transport->events = events;
    if (transport->loopback) {
        skink__transport_stir(transport);
        return;
    }
    uv_poll_t *poll = &transport->handle.poll;
    int err = events ? uv_poll_start(poll, events, on_poll) : uv_poll_stop(poll);
    SKINK_ASSERT(err == 0); /* they fail on a closing handle only */
}

/* --- bytes --- */

ssize_t skink__transport_read(struct skink__transport *transport, char *bytes, size_t length)
{
    if (transport->loopback) return skink__loopback_take(transport->loopback, bytes, length);
    ssize_t n = recv(transport->fd, bytes, length, 0);
    if (n >= 0) return n;
    return errno == EINTR ? -EAGAIN : -errno;
}

ssize_t skink__transport_write(struct skink__transport *transport, struct iovec *parts, int count)
{
    if (transport->loopback) return (ssize_t)skink__loopback_give(transport->loopback, parts, count);
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = (size_t)count };
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    ssize_t n;
    do
        n = count == 1 ? send(transport->fd, parts->iov_base, parts->iov_len, flags)
                       : sendmsg(transport->fd, &message, flags);
    while (n < 0 && errno == EINTR);
    if (n >= 0) return n;
    return errno == EAGAIN || errno == ENOBUFS ? 0 : -EPIPE;
}

bool skink__transport_has_input(const struct skink__transport *transport)
{
    char byte;
    if (transport->loopback) return skink__loopback_ready(transport->loopback) & UV_READABLE;
    return recv(transport->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

size_t skink__transport_unread(const struct skink__transport *transport)
{
    int n = 0;
    if (transport->loopback) return 0; /* what it has is its client's at once */
    return ioctl(transport->fd, SIOCOUTQ, &n) == 0 && n > 0 ? (size_t)n : 0;
}

/* --- the end --- */

bool skink__transport_shut_down(struct skink__transport *transport)
{
    return !transport->loopback && shutdown(transport->fd, SHUT_WR) == 0;
}

void skink__transport_spoil(struct skink__transport *transport)
{
    if (transport->loopback) {
        skink__loopback_spoil(transport->loopback);
        return;
    }
    struct linger reset = { .l_onoff = 1 };
    (void)setsockopt(transport->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

static void on_closed(uv_handle_t *handle)
{
    struct skink__transport *transport = handle->data;
    transport->on_closed(transport);
}

void skink__transport_close(struct skink__transport *transport)
{
    uv_close(&transport->handle.any, on_closed);
    if (transport->loopback)
        skink__loopback_end(transport->loopback);
    else
        close(transport->fd); /* allowed right after uv_close() */
    transport->loopback = NULL;
}
