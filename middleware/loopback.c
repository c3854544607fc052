/* SPDX-License-Identifier: MIT */
/*
 * middleware/loopback.c - two byte queues between a client and a connection of the same process (skink/loopback.h).
 *
 * All of it is touched in the runtime section of the server's scheduler only: the client's calls go there through
 * skink_scheduler_uv(). A client that must wait leaves a future behind, which the next change on the server's side
 * completes.
 */
#include "loop/memory.h"
#include "loop/options.h"
#include "loop/runtime.h"
#include "middleware/http_connection.h"
#include "middleware/http_server.h"
#include "middleware/transport.h"
#include "skink/future.h"
#include <errno.h>
#include <string.h>

/* Bytes on their way, at most the window. */
struct queue {
    char *bytes;
    size_t at, length;
};

struct skink_loopback {
    _Atomic uint32_t refs;     /* the client's and the transport's */
    skink_http_server *server; /* a reference */
    size_t window;
    struct skink__transport *transport; /* NULL: closed by the server */
    struct queue to_server, to_client;
    bool finished;         /* the client sends no more */
    bool spoiled;          /* the server has cut it */
    skink_future *changed; /* a client waits for it; a reference */
};

static size_t waiting(const struct queue *queue)
{
    return queue->length - queue->at;
}

/* Append up to the window; how much that was. */
static size_t append(struct queue *queue, size_t window, const char *bytes, size_t length)
{
    size_t room = window - waiting(queue), n = length < room ? length : room;
    if (queue->at > 0 && queue->length + n > window) {
        memmove(queue->bytes, queue->bytes + queue->at, waiting(queue));
        queue->length -= queue->at;
        queue->at = 0;
    }
    memcpy(queue->bytes + queue->length, bytes, n);
    queue->length += n;
    return n;
}

static size_t take(struct queue *queue, char *bytes, size_t length)
{
    size_t n = length < waiting(queue) ? length : waiting(queue);
    memcpy(bytes, queue->bytes + queue->at, n);
    queue->at += n;
    if (queue->at == queue->length) queue->at = queue->length = 0;
    return n;
}

static void unref(skink_loopback *loopback)
{
    if (atomic_fetch_sub_explicit(&loopback->refs, 1, memory_order_acq_rel) > 1) return;
    skink__free(loopback->to_server.bytes);
    skink__free(loopback->to_client.bytes);
    skink__http_server_unref(loopback->server);
    skink__free(loopback);
}

/* Wake the client, if it waits. */
static void tell_client(skink_loopback *loopback)
{
    skink_future *changed = loopback->changed;
    loopback->changed = NULL;
    if (!changed) return;
    (void)!skink_future_complete(changed, NULL);
    skink_future_unref(changed);
}

/* --- the transport's side --- */

void skink__loopback_attach(skink_loopback *loopback, struct skink__transport *transport)
{
    atomic_fetch_add_explicit(&loopback->refs, 1, memory_order_relaxed);
    loopback->transport = transport;
}

int skink__loopback_ready(const skink_loopback *loopback)
{
    int events = 0;
    if (waiting(&loopback->to_server) > 0 || loopback->finished) events |= UV_READABLE;
    if (waiting(&loopback->to_client) < loopback->window) events |= UV_WRITABLE;
    if (loopback->finished) events |= UV_DISCONNECT;
    return events;
}

ssize_t skink__loopback_take(skink_loopback *loopback, char *bytes, size_t length)
{
    size_t n = take(&loopback->to_server, bytes, length);
    if (n > 0) tell_client(loopback);
    return n > 0 ? (ssize_t)n : loopback->finished ? 0 : -EAGAIN;
}

size_t skink__loopback_give(skink_loopback *loopback, const struct iovec *parts, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        size_t n = append(&loopback->to_client, loopback->window, parts[i].iov_base, parts[i].iov_len);
        total += n;
        if (n < parts[i].iov_len) break;
    }
    if (total > 0) tell_client(loopback);
    return total;
}

void skink__loopback_spoil(skink_loopback *loopback)
{
    loopback->spoiled = true;
}

void skink__loopback_end(skink_loopback *loopback)
{
    loopback->transport = NULL;
    tell_client(loopback);
    unref(loopback);
}

/* --- the client's side --- */

/* One call, carried out in the runtime section. */
struct call {
    skink_loopback *loopback;
    struct skink__ip ip;
    const char *bytes;
    char *buffer;
    size_t length;
    size_t done;
    skink_future *wait; /* handed over when there is nothing to be done now; a reference of the call's */
    int err;
};

/* Make the call there. Once the scheduler has stopped nobody else is there, and what was said can still be received. */
static int carry_out(skink_loopback *loopback, void (*fn)(uv_loop_t *loop, void *arg), struct call *call)
{
    int err = skink_scheduler_uv(loopback->server->scheduler, fn, call);
    return err ? err : call->err;
}

static void open_here(uv_loop_t *loop, void *arg) SKINK__IN_RUNTIME
{
    struct call *call = arg;
    skink_http_server *server = call->loopback->server;
    call->err = skink__http_server_attach(server, loop);
    if (!call->err) call->err = skink__connection_open_loopback(server, call->loopback, &call->ip);
}

static int options_to_call(const skink_loopback_options *options, struct call *call)
{
    const char *client = options->client ? options->client : "127.0.0.1";
    if (options->flags) return -EINVAL;
    if (strcmp(client, "unix") == 0)
        call->ip = (struct skink__ip){ .local = true };
    else if (!skink__ip_parse(&call->ip, client, strlen(client)))
        return -EINVAL;
    return 0;
}

int skink_loopback_open(skink_http_server *server, const skink_loopback_options *options, skink_loopback **ret_loopback)
{
    skink_loopback_options given;
    struct call call = { .err = 0 };
    int err = SKINK__OPTIONS_READ(&given, options);
    if (!err) err = !server || !ret_loopback ? -EINVAL : options_to_call(&given, &call);
    if (err) return err;
    skink_loopback *loopback = skink__zalloc(sizeof *loopback);
    if (!loopback) return -ENOMEM;
    atomic_init(&loopback->refs, 1);
    loopback->server = skink__http_server_ref(server);
    loopback->window = given.window_bytes ? given.window_bytes : 65536;
    loopback->to_server.bytes = skink__alloc(loopback->window);
    loopback->to_client.bytes = skink__alloc(loopback->window);
    call.loopback = loopback;
    skink__http_server_fix(server);
    err = loopback->to_server.bytes && loopback->to_client.bytes ? carry_out(loopback, open_here, &call) : -ENOMEM;
    if (err) {
        unref(loopback);
        return err;
    }
    *ret_loopback = loopback;
    return 0;
}

/* Leave a future behind, since there is nothing to be done now. */
static void wait_for_change(struct call *call)
{
    skink_loopback *loopback = call->loopback;
    if (loopback->changed) skink_future_unref(loopback->changed); /* of a call whose deadline passed */
    loopback->changed = call->wait ? skink_future_ref(call->wait) : NULL;
}

static void send_here(uv_loop_t *loop, void *arg)
{
    (void)loop;
    struct call *call = arg;
    skink_loopback *loopback = call->loopback;
    if (!loopback->transport || loopback->finished) {
        call->err = -EPIPE;
        return;
    }
    call->done = append(&loopback->to_server, loopback->window, call->bytes, call->length);
    if (call->done > 0)
        skink__transport_stir(loopback->transport);
    else
        wait_for_change(call);
}

static void receive_here(uv_loop_t *loop, void *arg)
{
    (void)loop;
    struct call *call = arg;
    skink_loopback *loopback = call->loopback;
    call->done = take(&loopback->to_client, call->buffer, call->length);
    if (call->done > 0) {
        if (loopback->transport) skink__transport_stir(loopback->transport);
    } else if (loopback->transport) {
        wait_for_change(call);
        call->err = -EAGAIN;
    } else if (loopback->spoiled) {
        call->err = -ECONNRESET;
    }
}

/* Once more after each change, until it is done or the deadline passes. */
static int carry_out_in_time(skink_loopback *loopback, void (*fn)(uv_loop_t *loop, void *arg), struct call *call,
                             uint64_t deadline_ns)
{
    for (;;) {
        int err = skink_future_create(&call->wait);
        if (err) return err;
        call->err = 0;
        err = carry_out(loopback, fn, call);
        bool again = err == -EAGAIN || (!err && call->bytes && call->done == 0);
        if (again) err = skink_await(call->wait, deadline_ns, NULL);
        skink_future_unref(call->wait);
        if (!again || err) return err;
    }
}

int skink_loopback_send(skink_loopback *loopback, const void *bytes, size_t length_bytes, uint64_t deadline_ns,
                        size_t *ret_sent)
{
    size_t sent = 0;
    int err = !loopback || (!bytes && length_bytes) ? -EINVAL : 0;
    while (!err && sent < length_bytes) {
        struct call call = { .loopback = loopback, .bytes = (const char *)bytes + sent, .length = length_bytes - sent };
        err = carry_out_in_time(loopback, send_here, &call, deadline_ns);
        if (!err) sent += call.done;
    }
    if (ret_sent) *ret_sent = sent;
    return err;
}

int skink_loopback_receive(skink_loopback *loopback, void *buffer, size_t size_bytes, uint64_t deadline_ns,
                           size_t *ret_length)
{
    if (!loopback || !buffer || !size_bytes || !ret_length) return -EINVAL;
    struct call call = { .loopback = loopback, .buffer = buffer, .length = size_bytes };
    int err = carry_out_in_time(loopback, receive_here, &call, deadline_ns);
    if (!err) *ret_length = call.done;
    return err;
}

static void finish_here(uv_loop_t *loop, void *arg)
{
    (void)loop;
    skink_loopback *loopback = ((struct call *)arg)->loopback;
    loopback->finished = true;
    if (loopback->transport) skink__transport_stir(loopback->transport);
}

void skink_loopback_finish(skink_loopback *loopback)
{
    struct call call = { .loopback = loopback };
    if (loopback) (void)carry_out(loopback, finish_here, &call);
}

static void close_here(uv_loop_t *loop, void *arg) SKINK__IN_RUNTIME
{
    (void)loop;
    struct skink_loopback *loopback = ((struct call *)arg)->loopback;
    if (loopback->changed) skink_future_unref(loopback->changed);
    loopback->changed = NULL;
    if (loopback->transport) skink__connection_loopback_left(loopback->transport);
}

void skink_loopback_close(skink_loopback *loopback)
{
    if (!loopback) return;
    struct call call = { .loopback = loopback };
    (void)carry_out(loopback, close_here, &call);
    unref(loopback);
}
