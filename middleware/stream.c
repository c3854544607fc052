/* SPDX-License-Identifier: MIT */
/*
 * middleware/stream.c - an answer that is written piece by piece, by a task that waits for a slow reader.
 *
 * What the kernel does not take at once waits in the connection's output, at most max_unsent_bytes of it; at that limit
 * the writer is suspended until the client has taken half. So memory is bounded whatever the length of the answer.
 */
#include "loop/runtime.h"
#include "middleware/http_connection.h"
#include "middleware/response.h"
#include "skink/clock.h"
#include "skink/task.h"
#include <errno.h>
#include <stdio.h>

/* A client that takes everything at once must not keep the others waiting: so much, and they have their turn. */
enum { TURN_BYTES = 1024 * 1024, CHUNK_LINE_BYTES = 24 };

struct beginning {
    skink_request *request;
    const struct skink__answer *answer;
};

static int begin(void *arg) SKINK__IN_RUNTIME
{
    const struct beginning *beginning = arg;
    skink_request *request = beginning->request;
    if (request->state == SKINK__REQUEST_STREAMED) return -EALREADY;
    int err = skink__request_refusal(request);
    if (!err) err = skink__answer_begin(request, beginning->answer);
    /* The connection broke under it: that is a client that had gone. */
    if (err == -ECANCELED && request->state == SKINK__REQUEST_GONE) (void)skink__request_refusal(request);
    return err;
}

int skink_response_begin(skink_request *request, int status, const char *content_type, uint64_t length_bytes)
{
    if (!request || status < 200 || status > 599 || !skink__status_may_have_body(status)) return -EINVAL;
    if (content_type && !skink__header_value_is_valid(content_type)) return -EINVAL;
    struct skink__answer answer = { .status = status, .content_type = content_type, .handlers_lines = true };
    if (length_bytes != SKINK_LENGTH_UNKNOWN) {
        answer.form = SKINK__BODY_ANNOUNCED;
        answer.length = length_bytes;
    } else {
        answer.form = request->message.version_1_1 ? SKINK__BODY_CHUNKED : SKINK__BODY_TO_THE_END;
    }
    struct beginning beginning = { request, &answer };
    return skink__answer_hand_over(request, begin, &beginning);
}

/* Why nothing can be written now. */
static int write_refusal(skink_request *request)
{
    return request->state == SKINK__REQUEST_OPEN ? -ENOTCONN : skink__request_refusal(request);
}

/* Hand bytes to the connection, in a chunk of their own if that is the form. -ECANCELED: it broke. */
static int send_piece(skink_request *request, const char *bytes, size_t length) SKINK__IN_RUNTIME
{
    char line[CHUNK_LINE_BYTES];
    struct iovec parts[3];
    int count = 0;
    size_t total = length;
    if (request->stream_chunked) {
        parts[count++] = (struct iovec){ line, (size_t)snprintf(line, sizeof line, "%zx\r\n", length) };
        total += parts[0].iov_len + 2;
    }
    parts[count++] = (struct iovec){ (void *)bytes, length };
    if (request->stream_chunked) parts[count++] = (struct iovec){ (void *)"\r\n", 2 };
    skink__counter_add(&request->server->counters.response_bytes, total);
    request->sent_bytes += total;
    if (skink__answer_send(request, parts, count)) {
        (void)skink__request_refusal(request); /* a client that had gone */
        return -ECANCELED;
    }
    if (request->stream_left != UINT64_MAX) request->stream_left -= length;
    request->stream_turn += length;
    return 0;
}

struct writing {
    skink_request *request;
    const char *bytes;
    size_t length;
    size_t taken;
};

/* One step: send what there is room for. */
static int write_some(void *arg) SKINK__IN_RUNTIME
{
    struct writing *writing = arg;
    skink_request *request = writing->request;
    int err = write_refusal(request);
    /* An empty piece would be the end of a chunked body; it only asks whether the client is still there. */
    if (err || writing->length == 0) return err;
    const char *bytes = writing->bytes + writing->taken;
    size_t length = writing->length - writing->taken;
    skink__deadline_clear(&request->late); /* it was stuck, and goes on writing in time */
    if (length > request->stream_left) return -EMSGSIZE;
    if (request->stream_no_body) {
        writing->taken += length;
        request->stream_turn += length;
        return 0;
    }
    if (length > skink__connection_room(request->connection)) {
        skink__connection_flush(request->connection); /* a piece is not to be cut for what is only held */
        err = write_refusal(request);
        if (err) return err;
    }
    size_t room = skink__connection_room(request->connection);
    if (room == 0) {
        request->stream_turn = 0;
        return SKINK__MUST_WAIT;
    }
    size_t n = length < room ? length : room;
    err = send_piece(request, bytes, n);
    if (!err) writing->taken += n;
    return err;
}

/* What is not sent never waits for its client. So now and then it waits all the same: the loop looks at its sockets
 * meanwhile, and a task that is not wanted any more learns so. */
static int wait_instead_of_client(void)
{
    int err = skink_sleep(SKINK_MS);
    return err == -ENOMEM ? 0 : err ? -ECANCELED : 0;
}

int skink_response_write(skink_request *request, const void *bytes, size_t length_bytes)
{
    if (!request || (!bytes && length_bytes)) return -EINVAL;
    struct writing writing = { .request = request, .bytes = bytes, .length = length_bytes };
    int err;
    do
        err = skink__runtime_step(request->server->scheduler, &request->writer, write_some, &writing);
    while (!err && writing.taken < length_bytes);
    /* On a worker it is nobody's turn but its own. */
    if (!err && request->stream_turn >= TURN_BYTES && (!request->on_worker || request->stream_no_body)) {
        request->stream_turn = 0;
        if (!request->stream_no_body)
            (void)!skink_yield();
        else
            err = wait_instead_of_client();
    }
    return err;
}

static int end(void *arg) SKINK__IN_RUNTIME
{
    skink_request *request = arg;
    int err = write_refusal(request);
    if (err) return err;
    if (request->stream_left != 0 && request->stream_left != UINT64_MAX && !request->stream_no_body) return -EMSGSIZE;
    if (request->stream_chunked && !request->stream_no_body) {
        struct iovec last = { (void *)"0\r\n\r\n", 5 };
        skink__counter_add(&request->server->counters.response_bytes, last.iov_len);
        request->sent_bytes += last.iov_len;
        if (skink__answer_send(request, &last, 1)) {
            (void)skink__request_refusal(request);
            return -ECANCELED;
        }
    }
    skink__answer_end(request);
    return 0;
}

int skink_response_end(skink_request *request)
{
    return request ? skink__runtime_call(request->server->scheduler, end, request) : -EINVAL;
}
