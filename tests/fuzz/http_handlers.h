/* SPDX-License-Identifier: MIT */
/*
 * tests/fuzz/http_handlers.h - handlers that do what the request's path says, letter by letter.
 *
 *   /p/{program}   GET, POST, DELETE: the body is there when the handler starts
 *   /s/{program}   PUT, POST (at most 300 bytes): the handler takes the body as it comes
 *   /q/{program}   GET: one at once, and two that wait
 *   /m/{program}   GET: below a middleware that answers itself if there is an X-Deny
 *   /              GET: "ok"
 *
 *   r R m 0   answer with 3 bytes, 100,000, 5,000, or with a 204     h H v   a header, a long one, the Server line
 *   e n       an error, one of skink's numbers (query "n")           i       a header whose value is the query's "v"
 *   b B C     begin to stream: of unknown length, 1,000 bytes, none  w W z   write 10 bytes, 70,000, nothing
 *   E         end of the stream                                      g G     read 16 bytes of the body, or all of it
 *   y s S     yield, sleep for 10 ms, for 5 s                        d       sleep for 5 s in a scope that has 20 ms
 *   k p j K   get stuck; poisoned; starved; with the loop held        f q c   look for "a" in form, query, cookies
 *   x o t     go through the headers, the body; ask the token
 */
#ifndef SKINK_TESTS_FUZZ_HTTP_HANDLERS_H
#define SKINK_TESTS_FUZZ_HTTP_HANDLERS_H
#include "skink/http_server.h"

/* Add all of them. Fails when that fails. */
void handlers_add(skink_http_server *server);

/* How many handlers run or wait at this moment. */
unsigned handlers_running(void);

/* Before the first one starts. */
void handlers_reset(void);
#endif
