/* SPDX-License-Identifier: MIT */
/* middleware/http_connection_output.c - what goes to a client: as far as the kernel takes it at once, the rest when it can. */
#include "loop/memory.h"
#include "loop/runtime.h"
#include "middleware/http_connection_state.h"
#include <errno.h>
#include <string.h>

void skink__connection_drop_output(struct skink__connection *connection)
{
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
            skink__connection_settle(connection); /* a streamed answer has nobody else to do so */
        return 0;
    }
    skink__connection_close(connection);
    return -EPIPE;
}

void skink__connection_write_some(struct skink__connection *connection)
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
    if (all) skink__connection_drop_output(connection);
    skink_request *current = connection->current;
    if (current && skink__connection_room(connection) >= connection->server->max_unsent_bytes / 2)
        skink__wait_end(&current->writer, 0);
    if (all) skink__connection_advance(connection);
}

size_t skink__connection_room(const struct skink__connection *connection)
{
    size_t waiting = connection->output_length - connection->output_at, most = connection->server->max_unsent_bytes;
    return waiting < most ? most - waiting : 0;
}
