/* SPDX-License-Identifier: MIT */
/*
 * skink/loopback.h - a client of a server in the same process, without a socket: for tests of handlers and middlewares.
 *
 * What it sends goes the whole way of a request: framing, parser, limits, pipeline, handler, answer, and the timeouts
 * and back-pressure of a connection. The server need not listen anywhere; its scheduler must run.
 *
 * Owns     its end of the connection; the server may be destroyed before it, the scheduler only after.
 * Threads  any, one at a time for each loopback. Waiting suspends a task and blocks any other thread.
 * Errors   int functions return 0 or a negative errno.
 * More     docs/http.md, "Testing without a socket"; examples/middleware.c.
 */
#ifndef SKINK_LOOPBACK_H
#define SKINK_LOOPBACK_H
#include "skink/annot.h"
#include "skink/clock.h"
#include "skink/http_server.h"
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* ---- one request, one answer ---- */

typedef struct skink_answer skink_answer; /* opaque: what came back, read as a client reads it */

/*
 * Send one request and wait for its answer. `request` is the whole of it: request line, headers, empty line, body. On
 * 0, *ret_answer is the caller's: free it with skink_answer_free().
 *   -ETIMEDOUT   deadline_ns passed first
 *   -ECONNRESET  the server cut the answer, or closed without one
 *   -EBADMSG     what came is no HTTP answer
 *   -ECANCELED   the scheduler is stopping, or the calling task was cancelled
 *   -EPERM       inside the runtime section, where nothing may wait
 *   -EINVAL, -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_loopback_request(skink_http_server *server, const char *request,
                                                     size_t length_bytes, uint64_t deadline_ns,
                                                     skink_answer **ret_answer) SKINK_ANY_THREAD SKINK_SUSPENDS;

/* Its status code. What the next two return lives as long as the answer does. */
SKINK_API int skink_answer_status(const skink_answer *answer);

/* The first header of that name, in any case; NULL without one. */
SKINK_API const char *skink_answer_header(const skink_answer *answer, const char *name);

/* The body, without chunks, followed by a NUL that is not counted; ret_length may be NULL. */
SKINK_API const char *skink_answer_body(const skink_answer *answer, size_t *ret_length);

/* Free it. NULL is fine. */
SKINK_API void skink_answer_free(skink_answer *answer);

/* ---- a connection, byte by byte ---- */

typedef struct skink_loopback skink_loopback; /* opaque: the client's end */

/* Zero in any field means its default; an unknown flag is -EINVAL. */
typedef struct skink_loopback_options {
    size_t size;         /* set by SKINK_LOOPBACK_OPTIONS_INIT                                           */
    uint32_t flags;      /* none yet                                                                     */
    const char *client;  /* the address the server sees, or "unix"; default "127.0.0.1"                  */
    size_t window_bytes; /* what either side has room for that the other has sent; default 64 KiB        */
} skink_loopback_options;
#define SKINK_LOOPBACK_OPTIONS_INIT                                                                                    \
    {                                                                                                                  \
        .size = sizeof(skink_loopback_options)                                                                         \
    }

/* Connect. NULL options: all defaults.
 *   -ECANCELED  server or scheduler is stopping
 *   -EPERM      inside the runtime section of another scheduler
 *   -EINVAL, -E2BIG, -ENOMEM */
SKINK_NODISCARD SKINK_API int skink_loopback_open(skink_http_server *server, const skink_loopback_options *options,
                                                  skink_loopback **ret_loopback) SKINK_ANY_THREAD;

/* Send all of it; waits while the server takes nothing. *ret_sent (may be NULL) is how much went out, whatever is
 * returned.
 *   -EPIPE  the server has closed
 *   -ETIMEDOUT, -ECANCELED, -EPERM, -EINVAL, -ENOMEM   as skink_loopback_request() */
SKINK_NODISCARD SKINK_API int skink_loopback_send(skink_loopback *loopback, const void *bytes, size_t length_bytes,
                                                  uint64_t deadline_ns,
                                                  size_t *ret_sent) SKINK_ANY_THREAD SKINK_SUSPENDS;

/* Receive at least one byte and at most size_bytes; *ret_length is 0 once the server has closed.
 *   -ECONNRESET  the server has cut the connection
 *   -ETIMEDOUT, -ECANCELED, -EPERM, -EINVAL, -ENOMEM   as skink_loopback_request() */
SKINK_NODISCARD SKINK_API int skink_loopback_receive(skink_loopback *loopback, void *buffer, size_t size_bytes,
                                                     uint64_t deadline_ns,
                                                     size_t *ret_length) SKINK_ANY_THREAD SKINK_SUSPENDS;

/* Send no more, but go on receiving: a half-close. NULL is fine. */
SKINK_API void skink_loopback_finish(skink_loopback *loopback) SKINK_ANY_THREAD;

/* Leave, as a client does whose connection is reset, and free it. NULL is fine. */
SKINK_API void skink_loopback_close(skink_loopback *loopback) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
