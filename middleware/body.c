/* SPDX-License-Identifier: MIT */
/*
 * middleware/body.c - a request's body, taken by its task piece by piece.
 *
 * On a route with stream_body the task starts when the head is complete. What arrives before it is asked for waits, at
 * most max_backlog_bytes of it; beyond that nothing is read, and the client's own kernel makes it wait.
 */
#include "loop/runtime.h"
#include "middleware/http_connection.h"
#include "middleware/request.h"
#include "skink/request.h"
#include <errno.h>
#include <string.h>

/* Runtime section. Bytes that are there, 0 with *ret_end set at the end of the body, or what keeps it from going on;
 * -EAGAIN: nothing yet. */
static int take(skink_request *request, void *buffer, size_t size, size_t *ret_length, bool *ret_end) SKINK__IN_RUNTIME
{
    struct skink__http_message *message = &request->message;
    size_t there = message->body_length - message->body_at;
    *ret_end = false;
    if (message->streamed && request->state == SKINK__REQUEST_ANSWERED)
        return request->body_error ? request->body_error : -EALREADY;
    if (message->streamed && request->state == SKINK__REQUEST_TOLD) return -ECANCELED;
    if (there > 0) {
        size_t n = there < size ? there : size;
        memcpy(buffer, message->body + message->body_at, n);
        message->body_at += n;
        *ret_length = n;
        if (request->connection) skink__connection_body_taken(request->connection);
        return 0;
    }
    if (!message->streamed || message->body_complete) {
        *ret_end = true;
        return 0;
    }
    if (request->body_error) return request->body_error;
    return request->connection && skink__connection_body_may_come(request->connection) ? -EAGAIN : -ECANCELED;
}

struct reading {
    skink_request *request;
    void *buffer;
    size_t size;
    size_t length;
    bool has_read, at_end;
};

static int read_here(void *arg) SKINK__IN_RUNTIME
{
    struct reading *reading = arg;
    skink_request *request = reading->request;
    int err;
    /* It may turn out to be there, or never to come, while the connection is asked for it. */
    do
        err = take(request, reading->buffer, reading->size, &reading->length, &reading->at_end);
    while (err == -EAGAIN && !skink__connection_body_wanted(request->connection));
    reading->has_read = err == 0;
    return err == -EAGAIN ? SKINK__MUST_WAIT : err;
}

int skink_request_read(skink_request *request, void *buffer, size_t size_bytes, size_t *ret_length)
{
    if (!request || !buffer || !size_bytes || !ret_length) return -EINVAL;
    struct reading reading = { .request = request, .buffer = buffer, .size = size_bytes };
    int err = 0;
    while (!err && !reading.has_read)
        err = skink__runtime_step(request->server->scheduler, &request->reader, read_here, &reading);
    if (!err) *ret_length = reading.at_end ? 0 : reading.length;
    return err;
}
