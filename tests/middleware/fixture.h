/* SPDX-License-Identifier: MIT */
/* tests/middleware/fixture.h - a server on a scheduler of its own, and a plain blocking client. */
#ifndef SKINK_TESTS_MIDDLEWARE_FIXTURE_H
#define SKINK_TESTS_MIDDLEWARE_FIXTURE_H
#include "middleware/http_stats.h"
#include "skink/skink.h"
#include "tests/support/case.h"
#include <stdbool.h>
#include <stddef.h>

struct fixture {
    skink_scheduler *scheduler;
    skink_http_server *server;
    int port;
};

/* A scheduler that does not run and a server without routes; NULL options: defaults. Fails the case. */
void fixture_create(struct fixture *fixture, const skink_scheduler_options *scheduler_options,
                    const skink_http_options *http_options);
/* Two servers on loops of their own, which may share an address. The first has the common routes; tests copy them. */
void fixture_create_two(struct fixture *first, struct fixture *second);
void fixture_route(struct fixture *fixture, const char *method, const char *pattern, skink_handler handler, void *arg);

/* Listen on a free port of 127.0.0.1, and start. */
void fixture_start(struct fixture *fixture);

/* Stop and destroy everything. */
void fixture_destroy(struct fixture *fixture);

/* "GET /hello": 200, "hello\n". "POST /echo": the body. "GET /sleep?ms=N": awaits N ms, 200 "slept", or 500 with
 * "cancelled". */
void fixture_add_common_routes(struct fixture *fixture);

/* All of that: create, the common routes, start. With defaults; with options; with defaults and a handler for
 * "GET path". */
void fixture_serve(struct fixture *fixture);
void fixture_serve_with(struct fixture *fixture, const skink_http_options *options);
void fixture_serve_handler(struct fixture *fixture, const char *path, skink_handler handler, void *arg);

/* A recovery that watches the scheduler, which need not run yet; NULL options: defaults. Destroy it after the
 * scheduler. */
skink_recovery *fixture_watch(const struct fixture *fixture, const skink_recovery_options *options);
skink_recovery_stats fixture_recovery_stats(skink_recovery *recovery);

/* What the server counts. */
struct skink__http_stats fixture_stats(const struct fixture *fixture);
uint64_t fixture_code_count(const struct fixture *fixture, int code);

/* --- the client; every call has a time limit of a few seconds, and fails the case when it passes --- */

int client_connect(int port);
int client_connect_unix(const char *path);
bool client_send(int fd, const void *bytes, size_t length); /* false: the server has closed; what it said can be read */
void client_send_text(int fd, const char *text);
void client_send_bytewise(int fd, const char *bytes, size_t length);

struct reply {
    int status;
    char head[4096]; /* status line and headers, NUL-terminated */
    char *body;      /* NUL-terminated */
    size_t body_length;
};

/* Read one answer with Content-Length, or without a body. no_body: it answers a HEAD. */
void client_read(int fd, struct reply *reply, bool no_body);
void reply_free(struct reply *reply);

/* The value of a header, in a buffer of the calling thread; NULL without it. */
const char *reply_header(const struct reply *reply, const char *name);

/* Is the end of the stream, or a reset, all that comes? Waits up to timeout_ms for it, stretched
 * (tests/support/wait.h). */
bool client_sees_end(int fd, unsigned timeout_ms);

/* Send, read one answer, compare its status; body may be NULL. The connection stays open. */
void client_expect(int fd, const char *request, int status, const char *body);

/* Exactly these bytes come next, at most 64; and go past the end of a head. */
void client_expect_bytes(int fd, const char *bytes);
void client_skip_head(int fd);

/* Close with a reset. */
void client_reset(int fd);
#endif
