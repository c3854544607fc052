/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_body.c - bodies that are read as they arrive: back-pressure, limits, clients that misbehave. */
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define H "Host: a\r\n"
#define UPLOAD "POST /upload HTTP/1.1\r\n" H

enum { BIG_BYTES = 16 * 1024 * 1024, LIMIT_BYTES = 32 * 1024 * 1024 };

struct upload {
    struct fixture fixture;
    _Atomic int started;
    _Atomic int go_on;      /* the handler waits for it before it reads */
    _Atomic int last_error; /* what ended the reading */
    _Atomic int respond_result;
    _Atomic int done;
    _Atomic size_t read;
};

static char byte_at(size_t at)
{
    return (char)(at * 31 % 251);
}

/* Reads to the end, and says how much there was; 500 when a byte was wrong. */
static void upload(skink_request *request, void *arg)
{
    struct upload *upload = arg;
    char buffer[3000];
    size_t total = 0, n = 1;
    int err = 0, wrong = 0;
    atomic_fetch_add(&upload->started, 1);
    while (!atomic_load(&upload->go_on) && !err)
        err = skink_sleep(SKINK_MS);
    while (!err && n > 0) {
        err = skink_request_read(request, buffer, sizeof buffer, &n);
        for (size_t i = 0; !err && i < n; i++)
            wrong += buffer[i] != byte_at(total + i);
        if (!err) atomic_store(&upload->read, total += n);
    }
    char text[64];
    snprintf(text, sizeof text, "%zu bytes", total);
    atomic_store(&upload->last_error, err);
    atomic_store(&upload->respond_result, skink_respond_text(request, wrong ? 500 : 200, text));
    atomic_fetch_add(&upload->done, 1);
}

/* Answers before it has read anything. */
static void reject(skink_request *request, void *arg)
{
    struct upload *upload = arg;
    size_t n, whole = 1;
    char c;
    (void)skink_request_body(request, &whole);
    skink_respond_text(request, whole == 0 ? 403 : 500, "no");
    atomic_store(&upload->last_error, skink_request_read(request, &c, 1, &n));
    atomic_fetch_add(&upload->done, 1);
}

/* Sends back what comes, as it comes. */
static void mirror(skink_request *request, void *arg)
{
    struct upload *upload = arg;
    char buffer[5000];
    size_t n = 1;
    int err = skink_response_begin(request, 200, NULL, SKINK_LENGTH_UNKNOWN);
    while (!err && n > 0) {
        err = skink_request_read(request, buffer, sizeof buffer, &n);
        if (!err && n > 0) err = skink_response_write(request, buffer, n);
    }
    if (!err) err = skink_response_end(request);
    atomic_store(&upload->last_error, err);
    atomic_fetch_add(&upload->done, 1);
}

static void create(struct upload *all, const skink_http_options *options)
{
    memset(all, 0, sizeof *all);
    atomic_store(&all->go_on, 1);
    fixture_create(&all->fixture, NULL, options);
    skink_route_options route = SKINK_ROUTE_OPTIONS_INIT;
    route.stream_body = true;
    route.max_body_bytes = LIMIT_BYTES;
    skink_http_server *server = all->fixture.server;
    assert_int_equal(skink_http_route(server, "POST", "/upload", &route, upload, all), 0);
    assert_int_equal(skink_http_route(server, "POST", "/reject", &route, reject, all), 0);
    assert_int_equal(skink_http_route(server, "POST", "/mirror", &route, mirror, all), 0);
    assert_int_equal(skink_http_route(server, "POST", "/whole", NULL, upload, all), 0);
    fixture_add_common_routes(&all->fixture);
    fixture_start(&all->fixture);
}

static void destroy(struct upload *all)
{
    fixture_destroy(&all->fixture);
}

/* "5\r\n.....\r\n" of the pattern; the bytes are appended at *to. */
static void chunk(char **to, size_t at, size_t n)
{
    *to += sprintf(*to, "%zx\r\n", n);
    for (size_t i = 0; i < n; i++)
        *(*to)++ = byte_at(at + i);
    *to = stpcpy(*to, "\r\n");
}

static void both_forms_are_read_in_order_and_the_connection_goes_on(void **state)
{
    (void)state;
    struct upload all;
    create(&all, NULL);
    int fd = client_connect(all.fixture.port);
    char text[4096], *to = stpcpy(text, UPLOAD "Transfer-Encoding: chunked\r\n\r\n");
    chunk(&to, 0, 5);
    chunk(&to, 5, 1000);
    to = stpcpy(to, "0\r\nTrailer: x\r\n\r\nGET /hello HTTP/1.1\r\n" H "\r\n");
    for (int bytewise = 0; bytewise < 2; bytewise++) {
        if (bytewise)
            client_send_bytewise(fd, text, (size_t)(to - text));
        else
            client_send(fd, text, (size_t)(to - text));
        client_expect(fd, "", 200, "1005 bytes");
        client_expect(fd, "", 200, "hello\n");
    }
    to = stpcpy(text, UPLOAD "Content-Length: 500\r\n\r\n");
    for (size_t i = 0; i < 500; i++)
        *to++ = byte_at(i);
    client_send(fd, text, (size_t)(to - text));
    client_expect(fd, "", 200, "500 bytes");
    client_expect(fd, UPLOAD "Content-Length: 0\r\n\r\n", 200, "0 bytes");
    assert_int_equal(atomic_load(&all.last_error), 0);
    close(fd);
    destroy(&all);
}

static void a_whole_body_can_be_read_piece_by_piece_too(void **state)
{
    (void)state;
    struct upload all;
    create(&all, NULL);
    int fd = client_connect(all.fixture.port);
    char text[16384], *to = stpcpy(text, "POST /whole HTTP/1.1\r\n" H "Content-Length: 10000\r\n\r\n");
    for (size_t i = 0; i < 10000; i++)
        *to++ = byte_at(i);
    client_send(fd, text, (size_t)(to - text));
    client_expect(fd, "", 200, "10000 bytes");
    close(fd);
    destroy(&all);
}

static void the_handler_starts_before_the_body_is_there(void **state)
{
    (void)state;
    struct upload all;
    create(&all, NULL);
    int fd = client_connect(all.fixture.port);
    client_send_text(fd, UPLOAD "Content-Length: 2\r\n\r\n");
    test_wait_until(atomic_load(&all.started) == 1, 4000);
    char bytes[2] = { byte_at(0), byte_at(1) };
    client_send(fd, bytes, 1);
    test_wait_until(atomic_load(&all.read) == 1, 4000);
    client_send(fd, bytes + 1, 1);
    client_expect(fd, "", 200, "2 bytes");
    close(fd);
    destroy(&all);
}

/* As much as is taken, until it has not got on for 150 ms; how much that was. */
static size_t send_until_it_stands(int fd, const char *bytes, size_t length)
{
    size_t sent = 0;
    uint64_t since = test_now_ns();
    while (sent < length && test_now_ns() - since < test_ms(150)) {
        ssize_t n = send(fd, bytes + sent, length - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
            since = test_now_ns();
        } else {
            test_nap();
        }
    }
    return sent;
}

static void a_slow_handler_makes_the_client_wait(void **state)
{
    (void)state;
    struct upload all;
    create(&all, NULL);
    atomic_store(&all.go_on, 0);
    int fd = client_connect(all.fixture.port);
    char head[128];
    snprintf(head, sizeof head, UPLOAD "Content-Length: %d\r\n\r\n", BIG_BYTES);
    client_send_text(fd, head);
    char *bytes = malloc(BIG_BYTES);
    assert_non_null(bytes);
    for (size_t i = 0; i < BIG_BYTES; i++)
        bytes[i] = byte_at(i);
    /* What both kernels hold, and at most twice the backlog: then it stands still. */
    size_t sent = send_until_it_stands(fd, bytes, BIG_BYTES);
    assert_in_range(sent, 65536, BIG_BYTES * 3 / 4);
    assert_int_equal(atomic_load(&all.read), 0);
    int other = client_connect(all.fixture.port);
    client_expect(other, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(other);
    atomic_store(&all.go_on, 1);
    client_send(fd, bytes + sent, BIG_BYTES - sent);
    char expected[64];
    snprintf(expected, sizeof expected, "%d bytes", BIG_BYTES);
    client_expect(fd, "", 200, expected);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    free(bytes);
    close(fd);
    destroy(&all);
}

static void continue_is_sent_when_the_handler_asks_for_the_body(void **state)
{
    (void)state;
    struct upload all;
    create(&all, NULL);
    atomic_store(&all.go_on, 0);
    int fd = client_connect(all.fixture.port);
    client_send_text(fd, UPLOAD "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    test_wait_until(atomic_load(&all.started) == 1, 4000);
    char c;
    assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), -1); /* it has not asked yet */
    atomic_store(&all.go_on, 1);
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    char said[sizeof go_on] = "";
    assert_int_equal(recv(fd, said, sizeof go_on - 1, MSG_WAITALL), sizeof go_on - 1);
    assert_string_equal(said, go_on);
    c = byte_at(0);
    client_send(fd, &c, 1);
    client_expect(fd, "", 200, "1 bytes");
    /* One that answers without asking sends its answer alone; the body may or may not follow, so that is the end. */
    client_expect(fd, "POST /reject HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n", 403, "no");
    assert_true(client_sees_end(fd, 4000));
    close(fd);
    destroy(&all);
}

static void a_body_that_is_not_read_ends_the_connection_behind_the_answer(void **state)
{
    (void)state;
    struct upload all;
    create(&all, NULL);
    int fd = client_connect(all.fixture.port);
    struct reply reply;
    client_send_text(fd, "POST /reject HTTP/1.1\r\n" H "Content-Length: 100000\r\n\r\nbegin");
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, 403);
    assert_string_equal(reply_header(&reply, "Connection"), "close");
    reply_free(&reply);
    assert_true(client_sees_end(fd, 4000));
    test_wait_until(atomic_load(&all.done) == 1, 4000);
    assert_int_equal(atomic_load(&all.last_error), -EALREADY);
    close(fd);
    destroy(&all);
}

static void bad_bodies_are_answered_for_and_the_handler_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int status, error;
    } samples[] = {
        { UPLOAD "Transfer-Encoding: chunked\r\n\r\n3\r\n\001\002\003zz", 400, -EBADMSG },
        { UPLOAD "Transfer-Encoding: chunked\r\n\r\n2000001\r\n", 413, -EMSGSIZE },
        { UPLOAD "Transfer-Encoding: chunked\r\n\r\n", 408, -ETIMEDOUT },
    };
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.header_timeout_ns = 300 * SKINK_MS;
    struct upload all;
    create(&all, &options);
    for (int i = 0; i < 3; i++) {
        int fd = client_connect(all.fixture.port);
        struct reply reply;
        client_send_text(fd, samples[i].body);
        client_read(fd, &reply, false);
        if (reply.status != samples[i].status) print_error("%s\n%s\n", samples[i].body, reply.head);
        assert_int_equal(reply.status, samples[i].status);
        reply_free(&reply);
        assert_true(client_sees_end(fd, 4000));
        test_wait_until(atomic_load(&all.done) == i + 1, 4000);
        assert_int_equal(atomic_load(&all.last_error), samples[i].error);
        assert_int_equal(atomic_load(&all.respond_result), -EALREADY);
        close(fd);
    }
    assert_int_equal(fixture_stats(&all.fixture).requests_malformed, 3);
    /* Too long by its own word: refused before a handler starts. */
    int fd = client_connect(all.fixture.port);
    client_expect(fd, UPLOAD "Content-Length: 33554433\r\n\r\n", 413, NULL);
    assert_int_equal(atomic_load(&all.started), 3);
    close(fd);
    destroy(&all);
}

static void a_byte_now_and_then_keeps_a_streamed_body_alive(void **state)
{
    (void)state;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.header_timeout_ns = 1000 * SKINK_MS;
    struct upload all;
    create(&all, &options);
    int fd = client_connect(all.fixture.port);
    client_send_text(fd, UPLOAD "Content-Length: 11\r\n\r\n");
    for (size_t i = 0; i < 11; i++) { /* longer than the timeout, together */
        uint64_t until = test_now_ns() + test_ms(100);
        while (test_now_ns() < until)
            test_nap();
        char c = byte_at(i);
        client_send(fd, &c, 1);
    }
    client_expect(fd, "", 200, "11 bytes");
    close(fd);
    destroy(&all);
}

/* However it leaves: what has no end is no request, and no fault of the handler's. */
static void a_client_that_leaves_in_the_middle_ends_the_reading(void **state)
{
    (void)state;
    enum { CLOSES, RESETS, HALF_CLOSES, WAYS };
    for (int way = 0; way < WAYS; way++) {
        struct upload all;
        create(&all, NULL);
        int fd = client_connect(all.fixture.port);
        client_send_text(fd, UPLOAD "Content-Length: 100\r\n\r\n");
        test_wait_until(atomic_load(&all.started) == 1, 4000);
        if (way == HALF_CLOSES)
            assert_int_equal(shutdown(fd, SHUT_WR), 0);
        else if (way == RESETS)
            client_reset(fd);
        else
            close(fd);
        test_wait_until(atomic_load(&all.done) == 1, 4000);
        assert_int_equal(atomic_load(&all.last_error), -ECANCELED);
        assert_int_equal(atomic_load(&all.respond_result), -ECANCELED);
        assert_int_equal(fixture_code_count(&all.fixture, 499), 1);
        test_wait_until(fixture_stats(&all.fixture).connections == 0, 4000);
        if (way == HALF_CLOSES) {
            assert_true(client_sees_end(fd, 4000));
            close(fd);
        }
        destroy(&all);
    }
}

static void what_was_sent_before_a_half_close_is_read(void **state)
{
    (void)state;
    struct upload all;
    create(&all, NULL);
    int fd = client_connect(all.fixture.port);
    char text[128], *to = stpcpy(text, UPLOAD "Content-Length: 3\r\n\r\n");
    for (size_t i = 0; i < 3; i++)
        *to++ = byte_at(i);
    client_send(fd, text, (size_t)(to - text));
    shutdown(fd, SHUT_WR);
    client_expect(fd, "", 200, "3 bytes");
    close(fd);
    destroy(&all);
}

static void a_body_can_be_answered_while_it_comes(void **state)
{
    (void)state;
    struct upload all;
    create(&all, NULL);
    int fd = client_connect(all.fixture.port);
    client_send_text(fd, "POST /mirror HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\n01234");
    char text[4096] = "";
    size_t length = 0;
    while (!memmem(text, length, "\r\n5\r\n01234\r\n", 12)) {
        ssize_t n = recv(fd, text + length, sizeof text - length, 0);
        assert_true(n > 0);
        length += (size_t)n;
    }
    client_send_text(fd, "56789GET /hello HTTP/1.1\r\n" H "\r\n");
    length = 0;
    while (!memmem(text, length, "hello\n", 6)) {
        ssize_t n = recv(fd, text + length, sizeof text - length, 0);
        assert_true(n > 0);
        length += (size_t)n;
    }
    assert_non_null(memmem(text, length, "5\r\n56789\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n", 32));
    assert_int_equal(atomic_load(&all.last_error), 0);
    close(fd);
    destroy(&all);
}

static void a_bad_body_cuts_an_answer_that_has_begun(void **state)
{
    (void)state;
    struct upload all;
    create(&all, NULL);
    int fd = client_connect(all.fixture.port);
    client_send_text(fd, "POST /mirror HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n");
    char text[4096];
    size_t length = 0;
    ssize_t n;
    while (!memmem(text, length, "ab", 2)) {
        n = recv(fd, text + length, sizeof text - length, 0);
        assert_true(n > 0);
        length += (size_t)n;
    }
    client_send_text(fd, "nonsense\r\n");
    while ((n = recv(fd, text + length, sizeof text - length, 0)) > 0)
        length += (size_t)n;
    assert_null(memmem(text, length, "HTTP/1.1 400", 12));
    assert_null(memmem(text, length, "\r\n0\r\n\r\n", 7));
    test_wait_until(atomic_load(&all.done) == 1, 4000);
    assert_true(atomic_load(&all.last_error) < 0);
    test_wait_until(fixture_stats(&all.fixture).answers_cut == 1, 4000);
    close(fd);
    destroy(&all);
}

static const struct test_case cases[] = {
    CASE(both_forms_are_read_in_order_and_the_connection_goes_on),
    CASE(a_whole_body_can_be_read_piece_by_piece_too),
    CASE(the_handler_starts_before_the_body_is_there),
    CASE(a_slow_handler_makes_the_client_wait),
    CASE(continue_is_sent_when_the_handler_asks_for_the_body),
    CASE(a_body_that_is_not_read_ends_the_connection_behind_the_answer),
    CASE(bad_bodies_are_answered_for_and_the_handler_is_told),
    CASE(a_byte_now_and_then_keeps_a_streamed_body_alive),
    CASE(a_client_that_leaves_in_the_middle_ends_the_reading),
    CASE(what_was_sent_before_a_half_close_is_read),
    CASE(a_body_can_be_answered_while_it_comes),
    CASE(a_bad_body_cuts_an_answer_that_has_begun),
};
TEST_MAIN(cases, NULL, NULL)
