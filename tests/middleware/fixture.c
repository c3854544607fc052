/* SPDX-License-Identifier: MIT */
/* tests/middleware/fixture.c - a server on a scheduler of its own, and a plain blocking client. */
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CLIENT_TIMEOUT_MS = 8000 };

/* --- server --- */

void fixture_create(struct fixture *fixture, const skink_scheduler_options *scheduler_options,
                    const skink_http_options *http_options)
{
    *fixture = (struct fixture){ .port = 0 };
    assert_int_equal(skink_scheduler_create(scheduler_options, &fixture->scheduler), 0);
    assert_int_equal(skink_http_server_create(fixture->scheduler, http_options, &fixture->server), 0);
}

void fixture_create_two(struct fixture *first, struct fixture *second)
{
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.flags = SKINK_HTTP_REUSE_PORT;
    fixture_create(first, NULL, &options);
    fixture_create(second, NULL, &options);
    fixture_add_common_routes(first);
}

void fixture_route(struct fixture *fixture, const char *method, const char *pattern, skink_handler handler, void *arg)
{
    assert_int_equal(skink_http_route(fixture->server, method, pattern, NULL, handler, arg), 0);
}

void fixture_start(struct fixture *fixture)
{
    assert_int_equal(skink_http_listen(fixture->server, "127.0.0.1:0", &fixture->port), 0);
    assert_true(fixture->port > 0);
    assert_int_equal(skink_scheduler_start(fixture->scheduler), 0);
}

void fixture_destroy(struct fixture *fixture)
{
    skink_http_server_destroy(fixture->server);
    skink_scheduler_destroy(fixture->scheduler);
}

static void hello(skink_request *request, void *arg)
{
    (void)arg;
    skink_respond_text(request, 200, "hello\n");
}

static void echo(skink_request *request, void *arg)
{
    (void)arg;
    size_t length;
    const void *body = skink_request_body(request, &length);
    skink_respond(request, 200, "application/octet-stream", body, length);
}

static void nap(skink_request *request, void *arg)
{
    (void)arg;
    const char *ms = skink_request_query(request, "ms");
    int err = skink_sleep((uint64_t)atoi(ms ? ms : "0") * SKINK_MS);
    skink_respond_text(request, err ? 500 : 200, err ? "cancelled" : "slept");
}

void fixture_add_common_routes(struct fixture *fixture)
{
    fixture_route(fixture, "GET", "/hello", hello, NULL);
    fixture_route(fixture, "POST", "/echo", echo, NULL);
    fixture_route(fixture, "GET", "/sleep", nap, NULL);
}

void fixture_serve(struct fixture *fixture)
{
    fixture_serve_with(fixture, NULL);
}

void fixture_serve_with(struct fixture *fixture, const skink_http_options *options)
{
    fixture_create(fixture, NULL, options);
    fixture_add_common_routes(fixture);
    fixture_start(fixture);
}

void fixture_serve_handler(struct fixture *fixture, const char *path, skink_handler handler, void *arg)
{
    fixture_create(fixture, NULL, NULL);
    fixture_add_common_routes(fixture);
    fixture_route(fixture, "GET", path, handler, arg);
    fixture_start(fixture);
}

skink_recovery *fixture_watch(const struct fixture *fixture, const skink_recovery_options *options)
{
    skink_recovery *recovery;
    assert_int_equal(skink_recovery_create(options, &recovery), 0);
    assert_int_equal(skink_recovery_watch(recovery, fixture->scheduler), 0);
    return recovery;
}

skink_recovery_stats fixture_recovery_stats(skink_recovery *recovery)
{
    skink_recovery_stats stats = SKINK_RECOVERY_STATS_INIT;
    assert_int_equal(skink_recovery_stats_read(recovery, &stats), 0);
    return stats;
}

struct skink__http_stats fixture_stats(const struct fixture *fixture)
{
    struct skink__http_stats stats;
    skink__http_stats_read(fixture->server, &stats);
    return stats;
}

struct code_count {
    int code;
    uint64_t count;
};

static void count_code(const char *method, const char *route, int code, uint64_t count, void *arg)
{
    (void)method, (void)route;
    struct code_count *wanted = arg;
    if (code == wanted->code) wanted->count += count;
}

uint64_t fixture_code_count(const struct fixture *fixture, int code)
{
    struct code_count wanted = { .code = code };
    skink__http_stats_codes(fixture->server, count_code, &wanted);
    return wanted.count;
}

/* --- client --- */

static int connected(int fd, const void *address, socklen_t length)
{
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, address, length), 0);
    return fd;
}

int client_connect(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((in_port_t)port),
                                   .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = connected(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), &address, sizeof address);
    int on = 1;
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    return fd;
}

int client_connect_unix(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return connected(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), &address, sizeof address);
}

/* Wait until fd is ready; false when the time is up. */
static bool ready(int fd, short events, unsigned timeout_ms)
{
    struct pollfd poll_fd = { .fd = fd, .events = events };
    int n;
    do
        n = poll(&poll_fd, 1, (int)timeout_ms);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

bool client_send(int fd, const void *bytes, size_t length)
{
    const char *at = bytes;
    while (length > 0) {
        assert_true(ready(fd, POLLOUT, test_patience(CLIENT_TIMEOUT_MS)));
        ssize_t n = send(fd, at, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) continue;
        if (n < 0) return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

void client_send_text(int fd, const char *text)
{
    client_send(fd, text, strlen(text));
}

void client_send_bytewise(int fd, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        client_send(fd, bytes + i, 1);
}

/* Wait for something to read, or the end. */
static void await_bytes(int fd)
{
    if (ready(fd, POLLIN, test_patience(CLIENT_TIMEOUT_MS))) return;
    print_error("nothing to read within %u ms\n", test_patience(CLIENT_TIMEOUT_MS));
    fail();
}

/* Read up to the end of the head and not beyond it. */
static void read_head(int fd, struct reply *reply)
{
    size_t n = 0;
    for (const char *end = NULL; !end;) {
        await_bytes(fd);
        ssize_t got = recv(fd, reply->head + n, sizeof reply->head - 1 - n, MSG_PEEK);
        if (got <= 0) {
            reply->head[n] = '\0';
            print_error("the connection ended after '%s'\n", reply->head);
            fail();
        }
        end = memmem(reply->head, n + (size_t)got, "\r\n\r\n", 4);
        size_t take = end ? (size_t)(end + 4 - reply->head) - n : (size_t)got;
        assert_int_equal(recv(fd, reply->head + n, take, 0), take);
        n += take;
        assert_true(end || n < sizeof reply->head - 1);
    }
    reply->head[n] = '\0';
}

const char *reply_header(const struct reply *reply, const char *name)
{
    static _Thread_local char value[1024];
    size_t length = strlen(name);
    for (const char *line = strstr(reply->head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n")) {
        const char *text = line + 2;
        if (strncasecmp(text, name, length) != 0 || text[length] != ':') continue;
        text += length + 1;
        text += strspn(text, " ");
        snprintf(value, sizeof value, "%.*s", (int)strcspn(text, "\r"), text);
        return value;
    }
    return NULL;
}

void client_read(int fd, struct reply *reply, bool no_body)
{
    *reply = (struct reply){ .status = 0 };
    read_head(fd, reply);
    assert_int_equal(sscanf(reply->head, "HTTP/1.1 %d ", &reply->status), 1);
    const char *length = reply_header(reply, "Content-Length");
    reply->body_length = length && !no_body ? (size_t)atol(length) : 0;
    reply->body = calloc(1, reply->body_length + 1);
    assert_non_null(reply->body);
    for (size_t at = 0; at < reply->body_length;) {
        await_bytes(fd);
        ssize_t got = recv(fd, reply->body + at, reply->body_length - at, 0);
        assert_true(got > 0);
        at += (size_t)got;
    }
}

void reply_free(struct reply *reply)
{
    free(reply->body);
    reply->body = NULL;
}

bool client_sees_end(int fd, unsigned timeout_ms)
{
    char c;
    return ready(fd, POLLIN, test_patience(timeout_ms)) && recv(fd, &c, 1, 0) <= 0;
}

void client_expect(int fd, const char *request, int status, const char *body)
{
    struct reply reply;
    client_send_text(fd, request);
    client_read(fd, &reply, strncmp(request, "HEAD ", 5) == 0);
    if (reply.status != status) print_error("%s\n%s\n%s\n", request, reply.head, reply.body);
    assert_int_equal(reply.status, status);
    if (body) assert_string_equal(reply.body, body);
    reply_free(&reply);
}

void client_reset(int fd)
{
    struct linger linger = { .l_onoff = 1 };
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close(fd);
}

void client_expect_bytes(int fd, const char *bytes)
{
    char got[64];
    size_t length = strlen(bytes);
    assert_true(length <= sizeof got);
    assert_int_equal(recv(fd, got, length, MSG_WAITALL), length);
    assert_memory_equal(got, bytes, length);
}

void client_skip_head(int fd)
{
    char last[4] = { 0 };
    while (memcmp(last, "\r\n\r\n", 4) != 0) {
        memmove(last, last + 1, 3);
        assert_int_equal(recv(fd, last + 3, 1, MSG_WAITALL), 1);
    }
}
