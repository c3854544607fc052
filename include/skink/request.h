/* SPDX-License-Identifier: MIT */
/*
 * skink/request.h - what a handler sees of one HTTP request, and how it answers.
 *
 * Owns     every string a getter returns belongs to the request and lives as long as the handler runs.
 * Threads  the request's own task, unless a declaration says otherwise.
 * More     docs/http.md.
 */
#ifndef SKINK_REQUEST_H
#define SKINK_REQUEST_H
#include "skink/annot.h"
#include "skink/task.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct skink_request skink_request; /* opaque */

/* "GET", "POST", ... as it came. */
SKINK_API const char *skink_request_method(const skink_request *request);

/* The path, percent-decoded, without the query; always starts with '/'. */
SKINK_API const char *skink_request_path(const skink_request *request);

/* What stands behind the '?', as it came; "" without one. */
SKINK_API const char *skink_request_query_string(const skink_request *request);

/* The route's pattern that matched, such as "/users/{id}"; "" before routing or without a match. */
SKINK_API const char *skink_request_route(const skink_request *request);

/* 1, 2, 3, ... in order of arrival at this server. */
SKINK_API uint64_t skink_request_index(const skink_request *request);

/* For how long it waited for its turn before it was started, in nanoseconds; 0 when there was no queue. */
SKINK_API uint64_t skink_request_queue_ns(const skink_request *request);

/* What names it in the answer's X-Request-Id, in error bodies and in logs: the client's own X-Request-Id, if that is
 * letters, digits and -_.:+/=@ and no longer than 128 bytes, else one that the server made. */
SKINK_API const char *skink_request_id(const skink_request *request);

/* The address of the client, without a port: "192.0.2.7", "2001:db8::1", "unix". Behind proxies that the server's
 * trusted_proxies names it is what they say in X-Forwarded-For: the first from the right that is no such proxy. */
SKINK_API const char *skink_request_client(const skink_request *request);

/* When no route has this method but the path has others: "GET, HEAD", as Allow says it; else NULL. */
SKINK_API const char *skink_request_allowed(skink_request *request);

/* First header of that name, in any case; NULL without one. The value has no blanks around it. Host is the one of the
 * request's target, if that is a whole URL. */
SKINK_API const char *skink_request_header(const skink_request *request, const char *name);

/* The i-th header, from 0, names as they came; false past the last. */
SKINK_API bool skink_request_header_at(const skink_request *request, size_t i, const char **ret_name,
                                       const char **ret_value);

/* The part of the path that `{name}` of the route matched, percent-decoded; NULL without such a name. */
SKINK_API const char *skink_request_param(const skink_request *request, const char *name);

/* First value of that name in the query string, decoded ('+' is a blank); NULL without one, or without the
 * memory to decode the string into. Bad encoding was refused with 400 before the handler ran. */
SKINK_API const char *skink_request_query(skink_request *request, const char *name);

/* First value of that name in a body of type application/x-www-form-urlencoded, decoded; *ret_value is NULL without
 * one.
 *   -EMEDIUMTYPE  the body is of another type
 *   -EBADMSG      bad percent-encoding, or a NUL: to be answered with skink_respond_number(request, 1123)
 *   -EINVAL       a route with stream_body
 *   -ENOMEM */
SKINK_NODISCARD SKINK_API int skink_request_form(skink_request *request, const char *name, const char **ret_value);

/* First cookie of that name, as it came but for quotes around it; NULL without one, or without memory. */
SKINK_API const char *skink_request_cookie(skink_request *request, const char *name);

/* The body, whole. ret_length may be NULL; the bytes are followed by a NUL that is not counted. On a route with
 * stream_body it is empty: use skink_request_read(). */
SKINK_API const void *skink_request_body(const skink_request *request, size_t *ret_length);

/*
 * Read the next bytes of the body, at least one and at most size_bytes; *ret_length is 0 at its end. On a route with
 * stream_body the task is suspended until something has arrived; on others all of it is there. A body that is not read
 * to its end before the answer makes the connection close behind the answer.
 *   -EBADMSG    the client sent what is no body (a malformed chunk); it was answered 400
 *   -EMSGSIZE   it is larger than the route allows; the client was answered 413
 *   -ETIMEDOUT  nothing came for header_timeout_ns; the client was answered 408
 *   -ECANCELED  the client is gone or was answered in the handler's place
 *   -EALREADY   the answer is out, and the body with it
 *   -EBUSY      another task waits in this call
 *   -ECANCELED, -ETIMEDOUT, -ENOMEM   while it had to wait, as skink_await()
 *   -EINVAL     size_bytes is 0
 */
SKINK_NODISCARD SKINK_API int skink_request_read(skink_request *request, void *buffer, size_t size_bytes,
                                                 size_t *ret_length) SKINK_IN_TASK SKINK_SUSPENDS;

/* The request's cancellation token: fires when its client goes away, or has had its whole answer to a HEAD for
 * idle_timeout_ns (-ECANCELED), when its time is over (-ETIMEDOUT; skink_http_options.request_timeout_ns), and when the
 * server stops and it has not ended by itself (-ECANCELED). Every wait of its task ends then. NULL outside of that
 * task, or without memory. Borrowed: ref it to keep it, or to hand it to work on the thread pool. */
SKINK_API skink_token *skink_request_token(const skink_request *request);

/*
 * Add a header to the answer, before skink_respond(). Both strings are copied.
 *   -EINVAL    not a header name or value, or one that the server writes itself (Content-Length,
 *              Transfer-Encoding, Connection, Date, X-Request-Id)
 *   -EALREADY  the answer is out
 *   -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_response_header(skink_request *request, const char *name, const char *value);

/*
 * Answer. body may be NULL when length_bytes is 0; it is written or copied before the call returns.
 * content_type may be NULL for none. A HEAD request gets the headers alone. Exactly one answer goes out: a
 * second is refused here, and a handler that returns without one is answered for with 500. The result may be
 * ignored: what is dropped is counted.
 *   -EALREADY   answered before
 *   -ECANCELED  the client is gone, or was already told that this request was stuck or late: dropped, and counted
 *   -EINVAL     status outside of 200..599, a body with 204, 205 or 304, or a content_type that is no header value
 *   -ENOMEM
 */
SKINK_API int skink_respond(skink_request *request, int status, const char *content_type, const void *body,
                            size_t length_bytes) SKINK_IN_TASK SKINK_SUSPENDS;

/* The same with a text body of type text/plain; charset=utf-8. */
SKINK_API int skink_respond_text(skink_request *request, int status, const char *text) SKINK_IN_TASK SKINK_SUSPENDS;

/* Answer with the one JSON form of errors (docs/errors.md): {"status":…,"error":true,"number":…,
 * "message":…,"request":…}. Results as skink_respond(). */
SKINK_API int skink_respond_error(skink_request *request, int status, int number,
                                  const char *message) SKINK_IN_TASK SKINK_SUSPENDS;

/* The same with one of skink's own numbers (docs/errors.md), which says status and message. -ENOENT: there is no such
 * number; else results as skink_respond(). */
SKINK_API int skink_respond_number(skink_request *request, int number) SKINK_IN_TASK SKINK_SUSPENDS;

#define SKINK_LENGTH_UNKNOWN UINT64_MAX

/*
 * Begin an answer whose body is written piece by piece. length_bytes is announced as Content-Length; with
 * SKINK_LENGTH_UNKNOWN the body is sent in chunks, to a client of HTTP/1.0 up to the end of the connection. Then
 * skink_response_write() as often as there is something, and skink_response_end() once. A handler that returns without
 * it, and one that is declared stuck and does not go on within the late window, has the connection cut: a client never
 * takes half an answer for a whole one.
 *   -EALREADY   answered or begun before
 *   -ECANCELED  the client is gone, or was already told that this request was stuck or late: dropped, and counted
 *   -EINVAL     status outside of 200..599, or 204, 205 or 304, which have no body; or a content_type that is no header
 *               value
 *   -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_response_begin(skink_request *request, int status, const char *content_type,
                                                   uint64_t length_bytes) SKINK_IN_TASK SKINK_SUSPENDS;

/*
 * Write the next bytes of the body; they are sent or copied before the call returns. Small pieces that the request's
 * own task writes in one slice on the loop are sent together, at the latest when it suspends, as skink_yield() does.
 * While the server's max_unsent_bytes of this answer wait for the client to take them, the task is suspended; a client
 * that takes nothing at all for idle_timeout_ns is gone. In answer to a HEAD nothing is sent: the task is suspended now
 * and then all the same, a missing skink_response_end() does no harm, and after idle_timeout_ns the request's token
 * fires. Without bytes it only tells whether the client is there.
 *   -ECANCELED  the client is gone, or the answer was cut
 *   -EMSGSIZE   more than was announced: nothing was written
 *   -ENOTCONN   no answer has been begun
 *   -EALREADY   it has ended
 *   -EBUSY      another task waits in this call
 *   -ECANCELED, -ETIMEDOUT, -ENOMEM   while it had to wait, as skink_await()
 */
SKINK_NODISCARD SKINK_API int skink_response_write(skink_request *request, const void *bytes,
                                                   size_t length_bytes) SKINK_IN_TASK SKINK_SUSPENDS;

/* The body is complete.
 *   -EMSGSIZE  less was written than announced; write the rest, or return
 *   -ECANCELED, -ENOTCONN, -EALREADY, -ENOMEM   as skink_response_write() */
SKINK_API int skink_response_end(skink_request *request) SKINK_IN_TASK SKINK_SUSPENDS;

/* The status that was answered, 0 before that. For middlewares, on the way out. */
SKINK_API int skink_request_status(const skink_request *request);

#ifdef __cplusplus
}
#endif
#endif
