/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_http_leaving.c - clients that leave or do not read, over real sockets. */
#include "tests/middleware/fixture.h"
#include "tests/middleware/leaving.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define H "Host: a\r\n"

/* A client whose "GET /wait" has begun; its socket. */
static int client_that_waits(const struct fixture *fixture, struct leaving *leaving)
{
    int fd = client_connect(fixture->port);
    client_send_text(fd, "GET /wait HTTP/1.1\r\n" H "\r\n");
    test_wait_until(atomic_load(&leaving->started), 4000);
    return fd;
}

static void a_reset_cancels_the_request_and_drops_its_answer(void **state)
{
    (void)state;
    struct fixture fixture;
    struct leaving leaving;
    leaving_fixture(&fixture, &leaving);
    int fd = client_that_waits(&fixture, &leaving);
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
    int fd = client_that_waits(&fixture, &leaving);
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
    int fd = client_that_waits(&fixture, &leaving);
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
    fixture_serve(&fixture);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /hello HTTP/1.1\r\n" H "\r\nGET /hello HTTP/1.1\r\n" H "\r\nGET /hel");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    client_expect(fd, "", 200, "hello\n");
    client_expect(fd, "", 200, "hello\n");
    assert_true(client_sees_end(fd, 4000));
    close(fd);
    fixture_destroy(&fixture);
}

/* More than the buffers of a socket take. */
enum { LARGE = 12 << 20 };

/* Ask for a body of LARGE bytes back. */
static void send_large_echo(int fd, const char *body)
{
    char head[128];
    snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\n" H "Content-Length: %d\r\n\r\n", LARGE);
    client_send_text(fd, head);
    client_send(fd, body, LARGE);
}

static void a_slow_reader_gets_everything(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_body_bytes = LARGE;
    fixture_serve_with(&fixture, &options);
    char *body = malloc(LARGE);
    assert_non_null(body);
    for (int i = 0; i < LARGE; i++)
        body[i] = (char)(i * 31 % 253);
    int fd = client_connect(fixture.port);
    send_large_echo(fd, body);
    client_send_text(fd, "GET /hello HTTP/1.1\r\n" H "\r\n");
    /* The answer is larger than the socket's buffers: the next request waits for it. */
    test_wait_until(fixture_stats(&fixture).requests == 1, 4000);
    struct reply reply;
    client_read(fd, &reply, false);
    assert_int_equal(reply.body_length, LARGE);
    assert_memory_equal(reply.body, body, LARGE);
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
    options.max_body_bytes = LARGE;
    options.idle_timeout_ns = 300 * SKINK_MS;
    fixture_serve_with(&fixture, &options);
    char *body = calloc(1, LARGE);
    assert_non_null(body);
    int fd = client_connect(fixture.port);
    send_large_echo(fd, body);
    test_wait_until(fixture_stats(&fixture).requests == 1, 4000);
    test_wait_until(fixture_stats(&fixture).connections == 0, 6000);
    free(body);
    close(fd);
    fixture_destroy(&fixture);
}

static const struct test_case cases[] = {
    CASE(a_reset_cancels_the_request_and_drops_its_answer),
    CASE(a_half_close_cancels_the_request_but_its_answer_arrives),
    CASE(a_client_that_leaves_behind_a_full_backlog_is_seen),
    CASE(what_was_sent_before_a_half_close_is_answered),
    CASE(a_slow_reader_gets_everything),
    CASE(a_reader_that_takes_nothing_is_cut),
};
TEST_MAIN(cases, NULL, NULL)
