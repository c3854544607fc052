/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_connection_output.c - what goes to a client: as far as the kernel takes it at once, the
 * rest when it can.
 *
 * What is followed by more in the same turn of the loop (an answer with further requests behind it, a small piece of an
 * answer that is being written) is held, so that it goes out in one write with that. Nothing is held for longer: where
 * nobody is about to say more, skink__connection_settle() writes it, and at the turn's end an idle handle does, which
 * libuv calls before it looks at the sockets.
 */
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/runtime.h"
#include "middleware/http_connection_state.h"
#include "skink/clock.h"
#include <errno.h>
#include <string.h>

enum {
    PARTS_MAX = 3,
    OUTPUT_BYTES_MIN = 2048,
    HELD_BYTES_MAX = 16384 /* more than that is not worth a copy */
};

/* --- what is held for the rest of the turn --- */

/* The server's idle handle, between a turn's tasks and the next look at the sockets. */
static void on_turn_end(uv_idle_t *idle)
{
    skink_http_server *server = idle->data;
    skink__assert_runtime(server->scheduler);
    uv_idle_stop(idle);
    skink__connections_flush(server);
}

static void hold(struct skink__connection *connection)
{
    skink_http_server *server = connection->server;
    connection->held = true;
    connection->next_held = server->held;
    if (server->held) server->held->previous_held = connection;
    server->held = connection;
    int err = uv_idle_start(&server->turn_end, on_turn_end);
    SKINK_ASSERT(err == 0); /* it fails on a closing handle only, and then there are no connections */
}

static void hold_no_longer(struct skink__connection *connection)
{
    skink_http_server *server = connection->server;
    if (!connection->held) return;
    if (connection->previous_held) connection->previous_held->next_held = connection->next_held;
    if (connection->next_held) connection->next_held->previous_held = connection->previous_held;
    if (server->held == connection) server->held = connection->next_held;
    connection->previous_held = connection->next_held = NULL;
    connection->held = false;
}

void skink__connection_flush(struct skink__connection *connection)
{
    if (!connection->held) return;
    if (skink__connection_write_held(connection))
        skink__connection_settle(connection);
    else
        skink__connection_close(connection);
}

void skink__connections_flush(skink_http_server *server)
{
    if (!server->held) return;
    server->now_ns = skink_now();
    while (server->held)
        skink__connection_flush(server->held);
}

/* --- output --- */

void skink__connection_drop_output(struct skink__connection *connection)
{
    hold_no_longer(connection);
    skink__free(connection->output);
    connection->output = NULL;
    connection->output_at = connection->output_length = connection->output_capacity = 0;
}

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
    if (capacity < OUTPUT_BYTES_MIN) capacity = OUTPUT_BYTES_MIN;
    char *larger = skink__realloc(connection->output, capacity);
    if (!larger) return false;
    connection->output = larger;
    connection->output_capacity = capacity;
    return true;
}

static size_t length_of(const struct iovec *parts, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += parts[i].iov_len;
    return total;
}

/* Keep what was not sent: everything behind the first `sent` bytes of the parts. False without memory. */
static bool keep_output(struct skink__connection *connection, const struct iovec *parts, int count, size_t sent)
{
    size_t total = length_of(parts, count);
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

/* So much of the output has been taken. */
static void take_off(struct skink__connection *connection, size_t sent)
{
    connection->output_at += sent;
    if (connection->output_at == connection->output_length) skink__connection_drop_output(connection);
}

/* Give the output to the kernel. False: the connection broke. */
static bool write_output(struct skink__connection *connection)
{
    struct iovec part = { connection->output + connection->output_at,
                          connection->output_length - connection->output_at };
    hold_no_longer(connection);
    ssize_t n = skink__transport_write(&connection->transport, &part, 1);
    if (n > 0) take_off(connection, (size_t)n);
    return n >= 0;
}

bool skink__connection_write_held(struct skink__connection *connection)
{
    return !connection->held || write_output(connection);
}

/* Give the kernel the parts, and in front of them what is held; what it does not take is kept. */
static bool write_or_keep(struct skink__connection *connection, const struct iovec *parts, int count)
{
    if (skink__connection_is_stalled(connection)) return keep_output(connection, parts, count, 0);
    struct iovec all[PARTS_MAX + 1];
    size_t held = connection->output_length - connection->output_at; /* or nothing at all */
    int used = 0;
    if (connection->held) all[used++] = (struct iovec){ connection->output + connection->output_at, held };
    SKINK_ASSERT(count <= PARTS_MAX);
    memcpy(all + used, parts, (size_t)count * sizeof *parts);
    hold_no_longer(connection);
    ssize_t n = skink__transport_write(&connection->transport, all, used + count);
    if (n < 0) return false;
    size_t sent = (size_t)n, sent_held = sent < held ? sent : held;
    if (held) take_off(connection, sent_held);
    return keep_output(connection, parts, count, sent - sent_held);
}

int skink__connection_send(struct skink__connection *connection, struct iovec *parts, int count)
{
    if (connection->closing) return -EPIPE;
    if (write_or_keep(connection, parts, count)) {
        /* A streamed answer has nobody else to do so. */
        if (connection->current && (connection->output || connection->current->stream_no_body))
            skink__connection_settle(connection);
        return 0;
    }
    skink__connection_close(connection);
    return -EPIPE;
}

/* Small enough that the client can be slow without a limit being passed by it. */
static size_t held_bytes_max(const struct skink__connection *connection)
{
    size_t max_unsent_bytes = connection->server->max_unsent_bytes;
    return max_unsent_bytes < HELD_BYTES_MAX ? max_unsent_bytes : HELD_BYTES_MAX;
}

int skink__connection_gather(struct skink__connection *connection, struct iovec *parts, int count)
{
    size_t total = connection->output_length - connection->output_at + length_of(parts, count);
    bool may_hold = !connection->closing && !skink__connection_is_stalled(connection);
    /* Without memory it goes out at once. */
    if (!may_hold || total >= held_bytes_max(connection) || !keep_output(connection, parts, count, 0))
        return skink__connection_send(connection, parts, count);
    if (!connection->held) hold(connection);
    return 0;
}

void skink__connection_write_some(struct skink__connection *connection)
{
    if (!write_output(connection)) {
        skink__connection_close(connection);
        return;
    }
    skink_request *current = connection->current;
    if (current && skink__connection_room(connection) >= connection->server->max_unsent_bytes / 2)
        skink__wait_end(&current->writer, 0);
    if (!connection->output) skink__connection_advance(connection);
}

size_t skink__connection_room(const struct skink__connection *connection)
{
    size_t waiting = connection->output_length - connection->output_at, most = connection->server->max_unsent_bytes;
    return waiting < most ? most - waiting : 0;
}
