/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_http_connections.c - connections: requests in a row, pipelining, times and
 * limits, over real sockets. */
#include "tests/middleware/fixture.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define H "Host: a\r\n"
#define CHUNKED "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
#define LENGTH(value) "POST /echo HTTP/1.1\r\n" H "Content-Length: " value "\r\n\r\n"

static void requests_follow_each_other_on_one_connection(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_serve(&fixture);
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
    test_wait_until(fixture_stats(&fixture).in_flight == 0, 4000);
    close(fd);
    test_wait_until(fixture_stats(&fixture).connections == 0, 4000);
    fixture_destroy(&fixture);
}

static void pipelined_answers_come_in_order(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_serve(&fixture);
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

/* Suspends until it is let go. */
static void wait_until_told(skink_request *request, void *arg)
{
    const _Atomic int *told = arg;
    int err = 0;
    while (!atomic_load(told) && !err)
        err = skink_sleep(SKINK_MS);
    skink_respond_text(request, 200, "waited");
}

static void the_backlog_of_a_connection_is_bounded(void **state)
{
    (void)state;
    struct fixture fixture;
    _Atomic int told = 0;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_backlog_bytes = 8192;
    fixture_create(&fixture, NULL, &options);
    fixture_route(&fixture, "GET", "/wait", wait_until_told, &told);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    int small = 16384;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    client_send_text(fd, "GET /wait HTTP/1.1\r\n" H "\r\n");
    long before = test_resident_kb(0);
    const char *request = "GET /hello HTTP/1.1\r\n" H "\r\n";
    size_t sent = send_until_full(fd, request);
    /* The kernel's buffers take some megabytes; the server itself no more than its backlog. */
    assert_true(sent < 12u << 20);
    if (!TEST_ASAN && !TEST_TSAN) assert_true(test_resident_kb(0) - before < 1024);
    size_t whole = sent / strlen(request);
    struct reply reply;
    atomic_store(&told, 1);
    client_read(fd, &reply, false);
    assert_string_equal(reply.body, "waited");
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
    fixture_serve(&fixture);
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
    fixture_serve(&fixture);
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
    options.idle_timeout_ns = 600 * SKINK_MS;
    fixture_serve_with(&fixture, &options);
    uint64_t opened = test_now_ns();
    int idle = client_connect(fixture.port), used = client_connect(fixture.port);
    client_expect(used, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    int slow = client_connect(fixture.port), in_body = client_connect(fixture.port);
    uint64_t start = test_now_ns();
    client_send_text(in_body, LENGTH("3") "a");
    client_expect(slow, "GET /hello HTTP/1.1\r\nHo", 408, NULL);
    assert_true(test_now_ns() - start >= test_ms(199));
    client_expect(in_body, "", 408, NULL);
    assert_true(client_sees_end(slow, 4000));
    assert_true(client_sees_end(idle, 4000));
    assert_true(client_sees_end(used, 4000));
    assert_true(test_now_ns() - opened >= test_ms(590));
    /* A request that is worked on for longer than both is not touched. */
    int working = client_connect(fixture.port);
    client_expect(working, "GET /sleep?ms=750 HTTP/1.1\r\n" H "\r\n", 200, "slept");
    close(slow), close(idle), close(used), close(working), close(in_body);
    fixture_destroy(&fixture);
}

static void a_byte_now_and_then_does_not_prolong_the_header_time(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.header_timeout_ns = 300 * SKINK_MS;
    fixture_serve_with(&fixture, &options);
    int fd = client_connect(fixture.port);
    uint64_t start = test_now_ns();
    client_send_text(fd, "GET /hello HTTP/1.1\r\nX: ");
    while (fixture_code_count(&fixture, 408) == 0 && test_now_ns() - start < test_ms(test_patience(4000))) {
        client_send_text(fd, "x");
        test_nap();
    }
    assert_true(test_now_ns() - start < test_ms(test_patience(3000)));
    assert_int_equal(fixture_code_count(&fixture, 408), 1);
    close(fd);
    fixture_destroy(&fixture);
}

/* Goal: SKINK_FOREVER is as long as it takes, and not a moment in the past. */
static void timeouts_without_end_never_pass(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_workers *workers;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    assert_int_equal(skink_workers_create(NULL, &workers), 0);
    assert_int_equal(skink_workers_start(workers), 0);
    options.header_timeout_ns = options.idle_timeout_ns = options.late_window_ns = SKINK_FOREVER;
    options.request_timeout_ns = SKINK_FOREVER;
    options.workers = workers;
    fixture_create(&fixture, NULL, &options);
    fixture_add_common_routes(&fixture);
    assert_int_equal(skink_http_route_set_execution(fixture.server, "/echo", SKINK_EXECUTE_THREADS), 0);
    assert_int_equal(skink_http_route_set_execution(fixture.server, "/sleep", SKINK_EXECUTE_THREADS), 0);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port), other = client_connect(fixture.port);
    for (int i = 0; i < 3; i++) {
        client_send_text(fd, LENGTH("3") "a");
        client_expect(other, "GET /sleep?ms=20 HTTP/1.1\r\n" H "\r\n", 200, "slept");
        client_expect(fd, "bc", 200, "abc");
        client_expect(other, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    }
    close(fd), close(other);
    assert_int_equal(skink_workers_stop(workers, test_deadline_ns(5000)), 0);
    skink_workers_destroy(workers);
    fixture_destroy(&fixture);
}

struct hold {
    atomic_bool begun, release;
};

static void hold_the_loop(skink_request *request, void *arg)
{
    struct hold *hold = arg;
    atomic_store(&hold->begun, true);
    while (!atomic_load(&hold->release))
        usleep(1000);
    skink_respond_text(request, 200, "held");
}

static void take_as_it_comes(skink_request *request, void *arg)
{
    (void)arg;
    char bytes[64], text[64] = "";
    size_t n = 1, used = 0;
    int err = 0;
    while (!err && n > 0 && used + n < sizeof text) {
        err = skink_request_read(request, bytes, sizeof bytes, &n);
        if (!err) memcpy(text + used, bytes, n), used += n;
    }
    if (!err) skink_respond_text(request, 200, text);
}

/* Goal: a task that holds the loop for longer than clients may take costs none of them its connection.
 * | clients                                | loop                    |
 * | half of a body, twice; an idle one     | has read it             |
 * |                                        | is held                 |
 * | the rest; a request                    |                         |
 * |                                        | all deadlines pass      |
 * |                                        | goes on: reads first    | */
static void what_came_while_the_loop_was_held_came_in_time(void **state)
{
    (void)state;
    struct fixture fixture;
    struct hold hold = { false, false };
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    uint64_t timeout_ns = test_patience(800) * SKINK_MS;
    options.header_timeout_ns = options.idle_timeout_ns = timeout_ns;
    fixture_create(&fixture, NULL, &options);
    fixture_add_common_routes(&fixture);
    fixture_route(&fixture, "GET", "/hold", hold_the_loop, &hold);
    skink_route_options streamed = SKINK_ROUTE_OPTIONS_INIT;
    streamed.stream_body = true;
    assert_int_equal(skink_http_route(fixture.server, "PUT", "/take", &streamed, take_as_it_comes, NULL), 0);
    fixture_start(&fixture);
    int whole = client_connect(fixture.port), piecewise = client_connect(fixture.port),
        idle = client_connect(fixture.port);
    int holder = client_connect(fixture.port);
    static const char hello[] = "GET /hello HTTP/1.1\r\n" H "\r\n";
    client_expect(idle, hello, 200, "hello\n");
    client_expect(piecewise, hello, 200, "hello\n");
    client_send_text(piecewise, "PUT /take HTTP/1.1\r\n" H "Content-Length: 8\r\n\r\nhalf");
    test_wait_until(fixture_stats(&fixture).in_flight == 1, 4000); /* its handler waits for more */
    client_send_text(whole,
                     "GET /hello HTTP/1.1\r\n" H "\r\nPOST /echo HTTP/1.1\r\n" H "Content-Length: 8\r\n\r\nhalf");
    client_expect(whole, "", 200, "hello\n"); /* so what stands behind it has been read */
    client_send_text(holder, "GET /hold HTTP/1.1\r\n" H "\r\n");
    test_wait_until(atomic_load(&hold.begun), 4000);
    uint64_t held_ns = test_now_ns();
    client_send_text(whole, "rest");
    client_send_text(piecewise, "rest");
    client_send_text(idle, hello);
    test_wait_until(test_now_ns() - held_ns > timeout_ns + 10 * SKINK_MS, 10000);
    atomic_store(&hold.release, true);
    client_expect(whole, "", 200, "halfrest");
    client_expect(piecewise, "", 200, "halfrest");
    client_expect(idle, "", 200, "hello\n");
    client_expect(holder, "", 200, "held");
    assert_true(client_sees_end(idle, 8000)); /* and again nothing has come */
    close(whole), close(piecewise), close(idle), close(holder);
    fixture_destroy(&fixture);
}

static void connections_beyond_the_limit_are_turned_away(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_connections = 2;
    fixture_serve_with(&fixture, &options);
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

static const struct test_case cases[] = {
    CASE(requests_follow_each_other_on_one_connection),
    CASE(pipelined_answers_come_in_order),
    CASE(the_backlog_of_a_connection_is_bounded),
    CASE(version_1_0_closes_unless_asked_to_stay),
    CASE(continue_is_sent_when_it_is_waited_for),
    CASE(a_slow_request_gets_408_and_an_idle_connection_is_closed),
    CASE(a_byte_now_and_then_does_not_prolong_the_header_time),
    CASE(timeouts_without_end_never_pass),
    CASE(what_came_while_the_loop_was_held_came_in_time),
    CASE(connections_beyond_the_limit_are_turned_away),
};
TEST_MAIN(cases, NULL, NULL)
