/* SPDX-License-Identifier: MIT */
/*
 * middleware/error_numbers.h - every error that the server itself answers with.
 *
 * A number, once given, keeps its meaning for ever; docs/errors.md lists them for users, and a test compares the two.
 * 1000 to 1099 is the server's state, 1100 to 1199 what the client sent, 1200 to 1299 routing.
 */
#ifndef SKINK_MIDDLEWARE_ERROR_NUMBERS_H
#define SKINK_MIDDLEWARE_ERROR_NUMBERS_H

#include <stdbool.h>

/* number, name, status, message */
#define SKINK__HTTP_ERRORS(X)                                                                                          \
    X(1001, NO_ANSWER, 500, "the handler returned without an answer")                                                  \
    X(1002, DEADLOCK, 503, "the request blocked the loop and was abandoned")                                           \
    X(1003, HELD, 503, "too many abandoned requests have not ended; nothing new is started")                           \
    X(1004, TASK_LIMIT, 503, "too many requests are being worked on")                                                  \
    X(1005, NO_MEMORY, 503, "out of memory")                                                                           \
    X(1006, STOPPING, 503, "the server is stopping")                                                                   \
    X(1007, CONNECTION_LIMIT, 503, "too many connections")                                                             \
    X(1008, QUARANTINED, 503, "requests on this route keep getting stuck; it is not tried for a while")                \
    X(1009, QUEUE_FULL, 429, "too many requests are being worked on, and too many wait")                               \
    X(1010, REQUEST_EXPIRED, 504, "the request was not answered in the time that it had")                              \
    X(1011, BURST, 503, "too many requests got stuck in a short time; nothing new is started for a while")             \
    X(1012, WORKER_TIMEOUT, 504, "the request took too long, and its worker went on without it")                       \
    X(1101, BAD_REQUEST_LINE, 400, "malformed request line")                                                           \
    X(1102, BAD_TARGET, 400, "malformed request target")                                                               \
    X(1103, BAD_ENCODING, 400, "bad percent-encoding in the request target")                                           \
    X(1104, BAD_HEADER, 400, "malformed header line")                                                                  \
    X(1105, BAD_LINE_END, 400, "a line does not end with CR LF")                                                       \
    X(1106, FOLDED_HEADER, 400, "a header line is folded")                                                             \
    X(1107, BAD_HOST, 400, "the Host header is missing, doubled or malformed")                                         \
    X(1108, BAD_CONTENT_LENGTH, 400, "the Content-Length header is malformed or doubled")                              \
    X(1109, BAD_TRANSFER_ENCODING, 400, "the Transfer-Encoding header is malformed, doubled or not allowed here")      \
    X(1110, LENGTH_CONFLICT, 400, "both Content-Length and Transfer-Encoding")                                         \
    X(1111, BAD_CHUNK, 400, "malformed chunk")                                                                         \
    X(1112, BAD_TRAILER, 400, "a trailer that may not stand there")                                                    \
    X(1113, BAD_EXPECTATION, 417, "the only expectation that can be met is 100-continue")                              \
    X(1114, REQUEST_TIMEOUT, 408, "the request did not arrive in time")                                                \
    X(1115, LENGTH_REQUIRED, 411, "this method needs Content-Length or Transfer-Encoding")                             \
    X(1116, BODY_TOO_LARGE, 413, "the body is too large")                                                              \
    X(1117, TARGET_TOO_LONG, 414, "the request target is too long")                                                    \
    X(1118, HEADERS_TOO_LARGE, 431, "the headers are too large")                                                       \
    X(1119, TOO_MANY_HEADERS, 431, "too many headers")                                                                 \
    X(1120, METHOD_NOT_IMPLEMENTED, 501, "this method is not implemented")                                             \
    X(1121, CODING_NOT_IMPLEMENTED, 501, "this transfer coding is not implemented")                                    \
    X(1122, VERSION_NOT_SUPPORTED, 505, "only HTTP/1.0 and HTTP/1.1 are supported")                                    \
    X(1123, BAD_FORM, 400, "malformed form")                                                                           \
    X(1201, NOT_FOUND, 404, "no such path")                                                                            \
    X(1202, METHOD_NOT_ALLOWED, 405, "this path does not have this method")                                            \
    X(1203, UNAUTHORIZED, 401, "the bearer token is missing or wrong")

enum skink__http_error {
#define X(number, name, status, message) SKINK__HTTP_##name = number,
    SKINK__HTTP_ERRORS(X)
#undef X
};

/* Both are total: an unknown number is a 500 with a message that says no more than that. */
int skink__http_error_status(int number);
const char *skink__http_error_message(int number);

bool skink__http_error_exists(int number);
#endif
