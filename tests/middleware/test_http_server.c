/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_http_server.c - the whole server, over real sockets. */
#include "middleware/error_numbers.h"
#include "tests/middleware/fixture.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define H "Host: a\r\n"

/* --- what is malformed --- */

struct bad {
    const char *bytes;
    int number;
    size_t length; /* 0: strlen */
};
#define BYTES(text) text, .length = sizeof text - 1
#define CHUNKED "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
#define LENGTH(value) "POST /echo HTTP/1.1\r\n" H "Content-Length: " value "\r\n\r\n"
#define CODING(value) "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: " value "\r\n\r\n"
#define HEADER(line) "GET /hello HTTP/1.1\r\n" H line "\r\n"

/* Each is refused with its number, in the JSON form, and the connection is closed. */
static void expect_refused(const struct fixture *fixture, const struct bad *bad, bool bytewise)
{
    size_t length = bad->length ? bad->length : strlen(bad->bytes);
    int fd = client_connect(fixture->port);
    if (bytewise)
        client_send_bytewise(fd, bad->bytes, length);
    else
        client_send(fd, bad->bytes, length);
    struct reply reply;
    client_read(fd, &reply, false);
    char number[32];
    snprintf(number, sizeof number, "\"number\":%d,", bad->number);
    bool as_wanted = reply.status == skink__http_error_status(bad->number) && strstr(reply.body, number) &&
                     strstr(reply.body, "\"error\":true") && reply_header(&reply, "Connection") &&
                     strcmp(reply_header(&reply, "Connection"), "close") == 0;
    if (!as_wanted) {
        print_error("%s: wanted number %d:\n%s\n%s%s\n", bytewise ? "bytewise" : "whole", bad->number, bad->bytes,
                    reply.head, reply.body);
        fail();
    }
    assert_true(client_sees_end(fd, 4000));
    reply_free(&reply);
    close(fd);
}

static void malformed_requests_are_refused_and_the_connection_closed(void **state)
{
    (void)state;
    static const struct bad bad[] = {
        { HEADER(" folded\r\n"), SKINK__HTTP_FOLDED_HEADER },
        { HEADER(": empty name\r\n"), SKINK__HTTP_BAD_HEADER },
        { HEADER("A : b\r\n"), SKINK__HTTP_BAD_HEADER },
        { HEADER("A: b\rC: d\r\n"), SKINK__HTTP_BAD_LINE_END },
        { HEADER("A: b\nC: d\r\n"), SKINK__HTTP_BAD_LINE_END },
        { BYTES("GET /hello HTTP/1.1\r\n" H "A: b\0c\r\n\r\n"), .number = SKINK__HTTP_BAD_HEADER },
        { "GET /hello HTTP/1.1\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { HEADER(H), SKINK__HTTP_BAD_HOST },
        { "GET /hello HTTP/1.1\r\nHost: a, b\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET /hello HTTP/1.2\r\n" H "\r\n", SKINK__HTTP_VERSION_NOT_SUPPORTED },
        { "GET /hello HTTP/2.0\r\n" H "\r\n", SKINK__HTTP_VERSION_NOT_SUPPORTED },
        { "GET /hello\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET  /hello HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "\x16\x03\x01\x02", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET hello HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_TARGET },
        { "GET * HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_TARGET },
        { "GET /a#b HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_TARGET },
        { "GET ftp://a/b HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_TARGET },
        { "GET /%zz HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_ENCODING },
        { "GET /%4 HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_ENCODING },
        { "GET /%00 HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_ENCODING },
        { "GET /hello?a=%00 HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_ENCODING },
        { "GET /hello?a=% HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_ENCODING },
        { "CONNECT a:80 HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
        { "TRACE /hello HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
        { "FROB /hello HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
        { LENGTH("1, 1"), SKINK__HTTP_BAD_CONTENT_LENGTH },
        { LENGTH("-1"), SKINK__HTTP_BAD_CONTENT_LENGTH },
        { LENGTH("1\r\nContent-Length: 1"), SKINK__HTTP_BAD_CONTENT_LENGTH },
        { LENGTH("1\r\nTransfer-Encoding: chunked"), SKINK__HTTP_LENGTH_CONFLICT },
        { LENGTH("99999999"), SKINK__HTTP_BODY_TOO_LARGE },
        { LENGTH("99999999999999999999999"), SKINK__HTTP_BODY_TOO_LARGE },
        { "POST /echo HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_LENGTH_REQUIRED },
        { CODING("chunked, chunked"), SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { CODING("chunked\r\nTransfer-Encoding: chunked"), SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { CODING("identity"), SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { CODING("xchunked"), SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { CODING("gzip, chunked"), SKINK__HTTP_CODING_NOT_IMPLEMENTED },
        { "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { CHUNKED "zz\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "3\r\nabcd\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "ffffffff\r\n", SKINK__HTTP_BODY_TOO_LARGE },
        { CHUNKED "ffffffffffffffff1\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "0\r\nContent-Length: 3\r\n\r\n", SKINK__HTTP_BAD_TRAILER },
        { CHUNKED "0\r\nTransfer-Encoding: chunked\r\n\r\n", SKINK__HTTP_BAD_TRAILER },
        { CHUNKED "0\r\nHost: b\r\n\r\n", SKINK__HTTP_BAD_TRAILER },
        { "POST /echo HTTP/1.1\r\n" H "Content-Length: 1\r\nExpect: magic\r\n\r\n", SKINK__HTTP_BAD_EXPECTATION },
    };
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        expect_refused(&fixture, &bad[i], false);
        expect_refused(&fixture, &bad[i], true);
    }
    assert_int_equal(fixture_stats(&fixture).requests_malformed, 2 * sizeof bad / sizeof *bad);
    fixture_destroy(&fixture);
}

/* "GET /aaa...": n bytes in the target, the header or the chunk extension. */
static void expect_refused_padded(const struct fixture *fixture, const char *start, size_t n, int number)
{
    char *text = malloc(strlen(start) + n + 1);
    assert_non_null(text);
    strcpy(text, start);
    memset(text + strlen(start), 'a', n);
    text[strlen(start) + n] = '\0';
    struct bad bad = { .bytes = text, .number = number };
    expect_refused(fixture, &bad, false);
    free(text);
}

static void oversized_requests_are_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    expect_refused_padded(&fixture, "GET /", 20000, SKINK__HTTP_TARGET_TOO_LONG);
    expect_refused_padded(&fixture, "GET / HTTP/1.1\r\n" H "A: ", 20000, SKINK__HTTP_HEADERS_TOO_LARGE);
    expect_refused_padded(&fixture, CHUNKED "1;", 2000, SKINK__HTTP_BAD_CHUNK);
    expect_refused_padded(&fixture, CHUNKED "0\r\nA: ", 20000, SKINK__HTTP_HEADERS_TOO_LARGE);
    char many[4096] = "GET / HTTP/1.1\r\n" H;
    for (int i = 0; i < 101; i++)
        strcat(many, "A: b\r\n");
    struct bad bad = { .bytes = many, .number = SKINK__HTTP_TOO_MANY_HEADERS };
    expect_refused(&fixture, &bad, false);
    fixture_destroy(&fixture);
}

static void nothing_behind_a_refused_request_is_answered(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    client_expect(fd, LENGTH("1, 1") "GET /hello HTTP/1.1\r\n" H "\r\n", 400, NULL);
    assert_true(client_sees_end(fd, 4000));
    close(fd);
    assert_int_equal(fixture_code_count(&fixture, 200), 0);
    fixture_destroy(&fixture);
}

static void the_refusal_arrives_although_the_client_goes_on_sending(void **state)
{
    (void)state;
    static const struct {
        const char *start;
        int status;
    } samples[] = { { LENGTH("7000000"), 413 }, { "GET /\n", 400 } };
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    size_t length = 700000;
    char *more = calloc(1, length), rest;
    assert_non_null(more);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        int fd = client_connect(fixture.port);
        client_send_text(fd, samples[i].start);
        assert_true(client_send(fd, more, length)); /* a reset could destroy the answer on its way */
        client_expect(fd, "", samples[i].status, NULL);
        assert_int_equal(recv(fd, &rest, 1, 0), 0);
        close(fd);
    }
    free(more);
    fixture_destroy(&fixture);
}

/* --- connections --- */

static void requests_follow_each_other_on_one_connection(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    for (int i = 0; i < 50; i++) {
        client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
        client_expect(fd, "POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", 200, "abc");
        client_expect(fd, CHUNKED "2;e=f\r\nab\r\n1\r\nc\r\n0\r\nT: u\r\n\r\n", 200, "abc");
        client_expect(fd, "GET /nowhere HTTP/1.1\r\n" H "\r\n", 404, NULL);
        client_expect(fd, "GET /echo HTTP/1.1\r\n" H "\r\n", 405, NULL);
        client_expect(fd, "HEAD /hello HTTP/1.1\r\n" H "\r\n", 200, "");
        client_expect(fd, "OPTIONS * HTTP/1.1\r\n" H "\r\n", 204, "");
        client_expect(fd, "GET http://a/hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
        client_expect(fd, "GET http://a?x HTTP/1.1\r\n" H "\r\n", 404, NULL);
    }
    assert_int_equal(fixture_stats(&fixture).connections_total, 1);
    assert_int_equal(fixture_stats(&fixture).requests, 50 * 9);
    assert_int_equal(fixture_stats(&fixture).in_flight, 0);
    close(fd);
    test_wait_until(fixture_stats(&fixture).connections == 0, 4000);
    fixture_destroy(&fixture);
}

static void pipelined_answers_come_in_order(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    char text[8192] = "GET /sleep?ms=60 HTTP/1.1\r\n" H "\r\n";
    for (int i = 0; i < 50; i++)
        sprintf(text + strlen(text), "POST /echo HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n%02d", i);
    client_send_text(fd, text);
    struct reply reply;
    client_read(fd, &reply, false);
    assert_string_equal(reply.body, "slept");
    reply_free(&reply);
    for (int i = 0; i < 50; i++) {
        char expected[16];
        snprintf(expected, sizeof expected, "%02d", i);
        client_read(fd, &reply, false);
        assert_int_equal(reply.status, 200);
        assert_string_equal(reply.body, expected);
        reply_free(&reply);
    }
    close(fd);
    fixture_destroy(&fixture);
}

/* How much a client can send without anybody reading it. */
static size_t send_until_full(int fd, const char *text)
{
    size_t total = 0, length = strlen(text);
    for (int quiet = 0; quiet < 20;) {
        ssize_t n = send(fd, text + total % length, length - total % length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            total += (size_t)n;
            quiet = 0;
        } else {
            test_nap();
            quiet++;
        }
    }
    return total;
}

static void the_backlog_of_a_connection_is_bounded(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_backlog_bytes = 8192;
    fixture_create(&fixture, NULL, &options);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    int small = 16384;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    client_send_text(fd, "GET /sleep?ms=1500 HTTP/1.1\r\n" H "\r\n");
    long before = test_resident_kb(0);
    const char *request = "GET /hello HTTP/1.1\r\n" H "\r\n";
    size_t sent = send_until_full(fd, request);
    /* The kernel's buffers take some megabytes; the server itself no more than its backlog. */
    assert_true(sent < 12u << 20);
    if (!TEST_ASAN && !TEST_TSAN) assert_true(test_resident_kb(0) - before < 1024);
    size_t whole = sent / strlen(request);
    struct reply reply;
    client_read(fd, &reply, false);
    assert_string_equal(reply.body, "slept");
    reply_free(&reply);
    for (size_t i = 0; i < whole && i < 2000; i++) {
        client_read(fd, &reply, false);
        assert_string_equal(reply.body, "hello\n");
        reply_free(&reply);
    }
    client_reset(fd);
    fixture_destroy(&fixture);
}

static void version_1_0_closes_unless_asked_to_stay(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    struct reply reply;
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    client_read(fd, &reply, false);
    assert_string_equal(reply_header(&reply, "Connection"), "keep-alive");
    reply_free(&reply);
    client_send_text(fd, "GET /hello HTTP/1.0\r\n\r\n");
    client_read(fd, &reply, false);
    assert_string_equal(reply_header(&reply, "Connection"), "close");
    assert_string_equal(reply.body, "hello\n");
    reply_free(&reply);
    assert_true(client_sees_end(fd, 4000));
    close(fd);
    fd = client_connect(fixture.port);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "Connection: close\r\n\r\n", 200, "hello\n");
    assert_true(client_sees_end(fd, 4000));
    close(fd);
    fixture_destroy(&fixture);
}

static void continue_is_sent_when_it_is_waited_for(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    struct reply reply;
    for (int i = 0; i < 2; i++) {
        client_send_text(fd, "POST /echo HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
        client_read(fd, &reply, false);
        assert_int_equal(reply.status, 100);
        reply_free(&reply);
        client_expect(fd, "abc", 200, "abc");
    }
    /* Not when the body is there already, and not when it is refused anyway. */
    client_expect(fd, "POST /echo HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", 200, "abc");
    client_expect(fd, "POST /echo HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n", 413,
                  NULL);
    close(fd);
    fixture_destroy(&fixture);
}

static void a_slow_request_gets_408_and_an_idle_connection_is_closed(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.header_timeout_ns = 200 * SKINK_MS;
    options.idle_timeout_ns = 300 * SKINK_MS;
    fixture_create(&fixture, NULL, &options);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int slow = client_connect(fixture.port), idle = client_connect(fixture.port), used = client_connect(fixture.port);
    int in_body = client_connect(fixture.port);
    client_expect(used, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    uint64_t start = test_now_ns();
    client_send_text(in_body, LENGTH("3") "a");
    client_expect(slow, "GET /hello HTTP/1.1\r\nHo", 408, NULL);
    assert_true(test_now_ns() - start >= test_ms(199));
    client_expect(in_body, "", 408, NULL);
    assert_true(client_sees_end(slow, 4000));
    assert_true(client_sees_end(idle, 4000));
    assert_true(client_sees_end(used, 4000));
    assert_true(test_now_ns() - start >= test_ms(290));
    /* A request that is worked on for longer than both is not touched. */
    int working = client_connect(fixture.port);
    client_expect(working, "GET /sleep?ms=700 HTTP/1.1\r\n" H "\r\n", 200, "slept");
    close(slow), close(idle), close(used), close(working), close(in_body);
    fixture_destroy(&fixture);
}

static void a_byte_now_and_then_does_not_prolong_the_header_time(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.header_timeout_ns = 300 * SKINK_MS;
    fixture_create(&fixture, NULL, &options);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    uint64_t start = test_now_ns();
    client_send_text(fd, "GET /hello HTTP/1.1\r\nX: ");
    while (fixture_code_count(&fixture, 408) == 0 && test_now_ns() - start < test_ms(4000)) {
        client_send_text(fd, "x");
        test_nap();
    }
    assert_true(test_now_ns() - start < test_ms(3000));
    assert_int_equal(fixture_code_count(&fixture, 408), 1);
    close(fd);
    fixture_destroy(&fixture);
}

static void connections_beyond_the_limit_are_turned_away(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_connections = 2;
    fixture_create(&fixture, NULL, &options);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int first = client_connect(fixture.port), second = client_connect(fixture.port);
    client_expect(first, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    client_expect(second, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    int third = client_connect(fixture.port);
    struct reply reply;
    client_read(third, &reply, false);
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.body, "\"number\":1007"));
    assert_non_null(reply_header(&reply, "Retry-After"));
    reply_free(&reply);
    assert_true(client_sees_end(third, 4000));
    close(third);
    close(first);
    test_wait_until(fixture_stats(&fixture).connections == 1, 4000);
    int fourth = client_connect(fixture.port);
    client_expect(fourth, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    assert_int_equal(fixture_stats(&fixture).connections_refused, 1);
    close(second), close(fourth);
    fixture_destroy(&fixture);
}

static void a_listener_without_descriptors_pauses_and_goes_on(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int warm = client_connect(fixture.port);
    client_expect(warm, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    /* Room for the client's descriptor, and none for the server's. */
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    int next = dup(warm);
    close(next);
    low = old;
    low.rlim_cur = (rlim_t)next + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /hello HTTP/1.1\r\n" H "\r\n");
    client_expect(warm, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n"); /* the others do not notice */
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    assert_false(client_sees_end(fd, 1000)); /* it waits in the kernel's queue */
    getrusage(RUSAGE_SELF, &after);
    long used_us =
        (after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000 +
        after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec;
    assert_true(used_us < 25000); /* and nobody spins */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    client_expect(fd, "", 200, "hello\n");
    close(fd), close(warm);
    fixture_destroy(&fixture);
}

static void bad_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "",         "8080",   "127.0.0.1",   "127.0.0.1:",  "127.0.0.1:65536",
                                       "1.2.3:80", "a.b:80", "[::1]",       "[::1]:",      "[::1",
                                       "[zz]:80",  "unix:",  "127.0.0.1:x", "127.0.0.1:1 " };
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(skink_http_listen(fixture.server, bad[i], NULL), -EINVAL);
    char path[300] = "unix:/tmp/";
    memset(path + strlen(path), 'a', 200);
    assert_int_equal(skink_http_listen(fixture.server, path, NULL), -ENAMETOOLONG);
    int port = 0;
    char address[64];
    assert_int_equal(skink_http_listen(fixture.server, "127.0.0.1:0", &port), 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    assert_int_equal(skink_http_listen(fixture.server, address, NULL), -EADDRINUSE);
    fixture_destroy(&fixture);
}

static void listens_on_v6_and_on_every_interface(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    int every, v6;
    assert_int_equal(skink_http_listen(fixture.server, ":0", &every), 0);
    int err = skink_http_listen(fixture.server, "[::1]:0", &v6);
    if (err != -EADDRNOTAVAIL && err != -EAFNOSUPPORT) {
        assert_int_equal(err, 0);
        assert_true(v6 > 0 && v6 != every);
    }
    assert_int_equal(skink_scheduler_start(fixture.scheduler), 0);
    int late; /* while it runs */
    assert_int_equal(skink_http_listen(fixture.server, "127.0.0.1:0", &late), 0);
    int fd = client_connect(every), other = client_connect(late);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    client_expect(other, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(fd), close(other);
    fixture_destroy(&fixture);
}

static void a_unix_socket_replaces_only_what_nobody_listens_on(void **state)
{
    (void)state;
    char directory[] = "/tmp/skink-test-XXXXXX", path[64], address[80];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/socket", directory);
    snprintf(address, sizeof address, "unix:%s", path);
    /* A file that is no socket stays. */
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    struct fixture fixture, second;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    assert_int_equal(skink_http_listen(fixture.server, address, NULL), -EADDRINUSE);
    assert_int_equal(unlink(path), 0);
    /* What a process that died left behind goes. */
    struct sockaddr_un left = { .sun_family = AF_UNIX };
    strcpy(left.sun_path, path);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&left, sizeof left), 0);
    assert_int_equal(listen(dead, 1), 0);
    close(dead);
    int port = -1;
    assert_int_equal(skink_http_listen(fixture.server, address, &port), 0);
    assert_int_equal(port, 0);
    assert_int_equal(skink_scheduler_start(fixture.scheduler), 0);
    /* One that is listened on stays. */
    fixture_create(&second, NULL, NULL);
    assert_int_equal(skink_http_listen(second.server, address, NULL), -EADDRINUSE);
    fixture_destroy(&second);
    int fd = client_connect_unix(path);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(fd);
    skink_http_server_stop(fixture.server);
    test_wait_until(access(path, F_OK) != 0, 4000);
    fixture_destroy(&fixture);
    assert_int_equal(rmdir(directory), 0);
}

/* --- clients that leave --- */

struct leaving {
    _Atomic int started;
    _Atomic int sleep_result; /* 1: not known yet */
    _Atomic int token_status;
    _Atomic int respond_result;
    skink_token *token; /* published by started; the test holds the reference */
};

static void wait_for_leaving(skink_request *request, void *arg)
{
    struct leaving *leaving = arg;
    skink_token *token = skink_request_token(request);
    assert_non_null(token);
    leaving->token = skink_token_ref(token);
    atomic_store(&leaving->started, 1);
    int err = skink_sleep(20 * SKINK_S);
    atomic_store(&leaving->token_status, skink_token_status(token));
    atomic_store(&leaving->respond_result, skink_respond_text(request, 200, "all the same"));
    atomic_store(&leaving->sleep_result, err);
}

static void leaving_fixture(struct fixture *fixture, struct leaving *leaving)
{
    *leaving = (struct leaving){ .sleep_result = 1 };
    fixture_create(fixture, NULL, NULL);
    fixture_add_common_routes(fixture);
    fixture_route(fixture, "GET", "/wait", wait_for_leaving, leaving);
    fixture_start(fixture);
}

static void a_reset_cancels_the_request_and_drops_its_answer(void **state)
{
    (void)state;
    struct fixture fixture;
    struct leaving leaving;
    leaving_fixture(&fixture, &leaving);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /wait HTTP/1.1\r\n" H "\r\n");
    test_wait_until(atomic_load(&leaving.started), 4000);
    assert_int_equal(skink_token_status(leaving.token), 0);
    client_reset(fd);
    test_wait_until(atomic_load(&leaving.sleep_result) != 1, 4000);
    assert_int_equal(atomic_load(&leaving.sleep_result), -ECANCELED);
    assert_int_equal(atomic_load(&leaving.token_status), -ECANCELED);
    assert_int_equal(atomic_load(&leaving.respond_result), -ECANCELED);
    assert_int_equal(fixture_stats(&fixture).answers_client_gone, 1);
    assert_int_equal(fixture_stats(&fixture).in_flight, 0);
    assert_int_equal(fixture_code_count(&fixture, 499), 1);
    skink_token_unref(leaving.token);
    fixture_destroy(&fixture);
}

static void a_half_close_cancels_the_request_but_its_answer_arrives(void **state)
{
    (void)state;
    struct fixture fixture;
    struct leaving leaving;
    leaving_fixture(&fixture, &leaving);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /wait HTTP/1.1\r\n" H "\r\n");
    test_wait_until(atomic_load(&leaving.started), 4000);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    client_expect(fd, "", 200, "all the same");
    assert_true(client_sees_end(fd, 4000));
    test_wait_until(atomic_load(&leaving.sleep_result) != 1, 4000);
    assert_int_equal(atomic_load(&leaving.sleep_result), -ECANCELED);
    assert_int_equal(atomic_load(&leaving.respond_result), 0);
    assert_int_equal(fixture_stats(&fixture).answers_client_gone, 0);
    skink_token_unref(leaving.token);
    close(fd);
    fixture_destroy(&fixture);
}

static void a_client_that_leaves_behind_a_full_backlog_is_seen(void **state)
{
    (void)state;
    struct fixture fixture;
    struct leaving leaving = { .sleep_result = 1 };
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_backlog_bytes = 4096;
    fixture_create(&fixture, NULL, &options);
    fixture_route(&fixture, "GET", "/wait", wait_for_leaving, &leaving);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /wait HTTP/1.1\r\n" H "\r\n");
    test_wait_until(atomic_load(&leaving.started), 4000);
    char *rubbish = calloc(1, 100000);
    assert_non_null(rubbish);
    client_send(fd, rubbish, 100000);
    free(rubbish);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    test_wait_until(atomic_load(&leaving.sleep_result) != 1, 4000);
    assert_int_equal(atomic_load(&leaving.sleep_result), -ECANCELED);
    skink_token_unref(leaving.token);
    close(fd);
    fixture_destroy(&fixture);
}

static void what_was_sent_before_a_half_close_is_answered(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /hello HTTP/1.1\r\n" H "\r\nGET /hello HTTP/1.1\r\n" H "\r\nGET /hel");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    client_expect(fd, "", 200, "hello\n");
    client_expect(fd, "", 200, "hello\n");
    assert_true(client_sees_end(fd, 4000));
    close(fd);
    fixture_destroy(&fixture);
}

static void a_slow_reader_gets_everything(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_body_bytes = 16 << 20;
    fixture_create(&fixture, NULL, &options);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    size_t length = 12 << 20;
    char *body = malloc(length), head[128];
    assert_non_null(body);
    for (size_t i = 0; i < length; i++)
        body[i] = (char)(i * 31 % 253);
    int fd = client_connect(fixture.port);
    snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\n" H "Content-Length: %zu\r\n\r\n", length);
    client_send_text(fd, head);
    client_send(fd, body, length);
    client_send_text(fd, "GET /hello HTTP/1.1\r\n" H "\r\n");
    /* The answer is larger than the socket's buffers: the next request waits for it. */
    test_wait_until(fixture_stats(&fixture).requests == 1, 4000);
    struct reply reply;
    client_read(fd, &reply, false);
    assert_int_equal(reply.body_length, length);
    assert_memory_equal(reply.body, body, length);
    reply_free(&reply);
    client_expect(fd, "", 200, "hello\n");
    free(body);
    close(fd);
    fixture_destroy(&fixture);
}

static void a_reader_that_takes_nothing_is_cut(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_body_bytes = 16 << 20;
    options.idle_timeout_ns = 300 * SKINK_MS;
    fixture_create(&fixture, NULL, &options);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    size_t length = 12 << 20;
    char *body = calloc(1, length), head[128];
    assert_non_null(body);
    int fd = client_connect(fixture.port);
    snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\n" H "Content-Length: %zu\r\n\r\n", length);
    client_send_text(fd, head);
    client_send(fd, body, length);
    test_wait_until(fixture_stats(&fixture).requests == 1, 4000);
    test_wait_until(fixture_stats(&fixture).connections == 0, 6000);
    free(body);
    close(fd);
    fixture_destroy(&fixture);
}

/* --- stopping --- */

static void stop_closes_the_idle_and_answers_what_is_in_flight(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int idle = client_connect(fixture.port), busy = client_connect(fixture.port);
    client_expect(idle, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    client_send_text(busy, "GET /sleep?ms=300 HTTP/1.1\r\n" H "\r\n");
    test_wait_until(fixture_stats(&fixture).in_flight == 1, 4000);
    skink_http_server_stop(fixture.server);
    skink_http_server_stop(fixture.server);
    assert_true(client_sees_end(idle, 4000));
    struct reply reply;
    client_read(busy, &reply, false);
    assert_string_equal(reply.body, "slept");
    assert_string_equal(reply_header(&reply, "Connection"), "close");
    reply_free(&reply);
    assert_true(client_sees_end(busy, 4000));
    assert_int_equal(skink_http_listen(fixture.server, "127.0.0.1:0", NULL), -ECANCELED);
    close(idle), close(busy);
    fixture_destroy(&fixture);
}

static void sleep_on_regardless(skink_request *request, void *arg)
{
    (void)request;
    _Atomic int *started = arg;
    atomic_store(started, 1);
    for (;;)
        if (skink_yield() == 1) break; /* whatever it says */
}

static void a_dropped_task_is_answered_for(void **state)
{
    (void)state;
    struct fixture fixture;
    _Atomic int started = 0;
    fixture_create(&fixture, NULL, NULL);
    fixture_route(&fixture, "GET", "/forever", sleep_on_regardless, &started);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /forever HTTP/1.1\r\n" H "\r\n");
    test_wait_until(atomic_load(&started), 4000);
    assert_int_equal(skink_scheduler_stop(fixture.scheduler, skink_now()), -ECANCELED);
    fixture_destroy(&fixture); /* if the stop found it with a stray, it is the server's end that answers */
    client_expect(fd, "", 503, NULL);
    close(fd);
}

static void destroying_a_running_server_cuts_everything(void **state)
{
    (void)state;
    struct fixture fixture;
    struct leaving leaving;
    leaving_fixture(&fixture, &leaving);
    int waiting = client_connect(fixture.port), idle = client_connect(fixture.port),
        half = client_connect(fixture.port);
    client_expect(idle, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    client_send_text(half, "GET /hel");
    client_send_text(waiting, "GET /wait HTTP/1.1\r\n" H "\r\n");
    test_wait_until(atomic_load(&leaving.started), 4000);
    skink_http_server_destroy(fixture.server);
    struct reply reply;
    client_read(waiting, &reply, false); /* the handler will not answer any more: somebody must */
    assert_int_equal(reply.status, 503);
    reply_free(&reply);
    assert_true(client_sees_end(waiting, 4000));
    assert_true(client_sees_end(idle, 4000));
    assert_true(client_sees_end(half, 4000));
    test_wait_until(atomic_load(&leaving.sleep_result) != 1, 4000);
    assert_int_equal(atomic_load(&leaving.respond_result), -ECANCELED);
    skink_token_unref(leaving.token);
    skink_scheduler_destroy(fixture.scheduler);
    close(waiting), close(idle), close(half);
}

static void destroying_after_the_scheduler_has_stopped_works_too(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int idle = client_connect(fixture.port), half = client_connect(fixture.port);
    client_expect(idle, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    client_send_text(half, "GET /hel");
    assert_int_equal(skink_scheduler_stop(fixture.scheduler, skink_after(SKINK_S)), 0);
    fixture_destroy(&fixture);
    assert_true(client_sees_end(idle, 4000));
    close(idle), close(half);
    /* And one that was never started. */
    fixture_create(&fixture, NULL, NULL);
    assert_int_equal(skink_http_listen(fixture.server, "127.0.0.1:0", NULL), 0);
    fixture_destroy(&fixture);
}

static void at_the_task_limit_requests_are_refused_with_503(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = 1;
    fixture_create(&fixture, &options, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int first = client_connect(fixture.port), second = client_connect(fixture.port);
    client_send_text(first, "GET /sleep?ms=500 HTTP/1.1\r\n" H "\r\n");
    test_wait_until(fixture_stats(&fixture).in_flight == 1, 4000);
    struct reply reply;
    /* Pipelined, so that refusals in a row are seen not to pile up on the stack. */
    enum { MANY = 2000 };
    for (int i = 0; i < MANY; i++)
        client_send_text(second, "GET /hello HTTP/1.1\r\n" H "\r\n");
    for (int i = 0; i < MANY; i++) {
        client_read(second, &reply, false);
        if (i == 0) {
            assert_int_equal(reply.status, 503);
            assert_non_null(strstr(reply.body, "\"number\":1004"));
            assert_string_equal(reply_header(&reply, "Retry-After"), "1");
        }
        reply_free(&reply);
    }
    client_expect(first, "", 200, "slept");
    client_expect(second, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    assert_true(fixture_stats(&fixture).requests_refused >= 1);
    close(first), close(second);
    fixture_destroy(&fixture);
}

/* --- what it costs --- */

static void a_waiting_request_is_small(void **state)
{
    (void)state;
    if (TEST_ASAN || TEST_TSAN) test_skip("sanitizers have their own memory");
    enum { COUNT = 2000, BAR_BYTES = 8192 };
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    struct rlimit files;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    if (files.rlim_max < 2 * COUNT + 64 || setrlimit(RLIMIT_NOFILE, &files) != 0) test_skip("too few descriptors");
    static int fds[COUNT];
    const char *request = "GET /sleep?ms=100000 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\n"
                          "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\n\r\n";
    int warm = client_connect(fixture.port);
    client_expect(warm, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    long before = test_resident_kb(0);
    for (int i = 0; i < COUNT; i++) {
        fds[i] = client_connect(fixture.port);
        client_send_text(fds[i], request);
    }
    test_wait_until(fixture_stats(&fixture).in_flight == COUNT, 8000);
    long each = (test_resident_kb(0) - before) * 1024 / COUNT;
    print_message("%ld bytes for each waiting request\n", each);
    assert_true(each <= BAR_BYTES);
    for (int i = 0; i < COUNT; i++)
        client_reset(fds[i]);
    close(warm);
    fixture_destroy(&fixture);
}

/* Many clients at once, each with its own answers. */
struct swarm {
    int port;
    int id;
    _Atomic int answered;
};

static void *swarm_run(void *arg)
{
    struct swarm *swarm = arg;
    int fd = client_connect(swarm->port);
    for (int i = 0; i < 200; i++) {
        char request[256], body[32];
        snprintf(body, sizeof body, "%d-%d", swarm->id, i);
        snprintf(request, sizeof request, "POST /echo HTTP/1.1\r\n" H "Content-Length: %zu\r\n\r\n%s", strlen(body),
                 body);
        client_send_text(fd, request);
        struct reply reply;
        client_read(fd, &reply, false);
        if (reply.status == 200 && strcmp(reply.body, body) == 0) atomic_fetch_add(&swarm->answered, 1);
        reply_free(&reply);
    }
    close(fd);
    return NULL;
}

static void many_clients_get_their_own_answers(void **state)
{
    (void)state;
    enum { CLIENTS = 16 };
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    pthread_t threads[CLIENTS];
    struct swarm swarms[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        swarms[i] = (struct swarm){ .port = fixture.port, .id = i };
        assert_int_equal(pthread_create(&threads[i], NULL, swarm_run, &swarms[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&swarms[i].answered), 200);
    }
    assert_int_equal(fixture_stats(&fixture).requests, CLIENTS * 200);
    fixture_destroy(&fixture);
}

static const struct test_case cases[] = {
    CASE_TIMEOUT(malformed_requests_are_refused_and_the_connection_closed, 60),
    CASE(oversized_requests_are_refused),
    CASE(nothing_behind_a_refused_request_is_answered),
    CASE(the_refusal_arrives_although_the_client_goes_on_sending),
    CASE(requests_follow_each_other_on_one_connection),
    CASE(pipelined_answers_come_in_order),
    CASE(the_backlog_of_a_connection_is_bounded),
    CASE(version_1_0_closes_unless_asked_to_stay),
    CASE(continue_is_sent_when_it_is_waited_for),
    CASE(a_slow_request_gets_408_and_an_idle_connection_is_closed),
    CASE(a_byte_now_and_then_does_not_prolong_the_header_time),
    CASE(connections_beyond_the_limit_are_turned_away),
    CASE_SERIAL(a_listener_without_descriptors_pauses_and_goes_on, 20),
    CASE(bad_addresses_are_refused),
    CASE(listens_on_v6_and_on_every_interface),
    CASE(a_unix_socket_replaces_only_what_nobody_listens_on),
    CASE(a_reset_cancels_the_request_and_drops_its_answer),
    CASE(a_half_close_cancels_the_request_but_its_answer_arrives),
    CASE(a_client_that_leaves_behind_a_full_backlog_is_seen),
    CASE(what_was_sent_before_a_half_close_is_answered),
    CASE(a_slow_reader_gets_everything),
    CASE(a_reader_that_takes_nothing_is_cut),
    CASE(stop_closes_the_idle_and_answers_what_is_in_flight),
    CASE(a_dropped_task_is_answered_for),
    CASE(destroying_a_running_server_cuts_everything),
    CASE(destroying_after_the_scheduler_has_stopped_works_too),
    CASE(at_the_task_limit_requests_are_refused_with_503),
    CASE_SERIAL(a_waiting_request_is_small, 30),
    CASE(many_clients_get_their_own_answers),
};
TEST_MAIN(cases, NULL, NULL)
