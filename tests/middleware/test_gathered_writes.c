/* SPDX-License-Identifier: MIT */
/*
 * tests/middleware/test_gathered_writes.c - what goes out in one write, and that nothing waits for longer than that.
 *
 * send() and sendmsg() of the whole process are this file's, and counted but for the client's thread.
 */
#include "skink/recovery.h"
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define H "Host: a\r\n"

enum { HELD_BYTES_MAX = 16384, ANSWER_BYTES = 3000 };

static pthread_t client; /* before the server starts */
static _Atomic unsigned writes;
static _Atomic size_t most_bytes; /* of one write */
static _Atomic int released;      /* what a handler waits for without suspending */

/* Before it is one, so that who has the bytes finds it counted. */
static void note_write(size_t length)
{
    if (pthread_equal(pthread_self(), client)) return;
    atomic_fetch_add(&writes, 1);
    if (length > atomic_load(&most_bytes)) atomic_store(&most_bytes, length);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
    note_write(length);
    return syscall(SYS_sendto, fd, bytes, length, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    size_t length = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        length += message->msg_iov[i].iov_len;
    note_write(length);
    return syscall(SYS_sendmsg, fd, message, flags);
}

/* --- handlers --- */

static void number(skink_request *request, void *arg)
{
    (void)arg;
    skink_respond_text(request, 200, skink_request_param(request, "n"));
}

/* ANSWER_BYTES of the same letter. */
static void large(skink_request *request, void *arg)
{
    (void)arg;
    char body[ANSWER_BYTES];
    memset(body, *skink_request_param(request, "n"), sizeof body);
    skink_respond(request, 200, "text/plain", body, sizeof body);
}

/* Keeps the loop to itself until the client has what it waits for. */
static void wait_for_release(void *arg)
{
    (void)arg;
    while (!atomic_load(&released))
        usleep(500);
}

static void answer_and_stay(skink_request *request, void *arg)
{
    skink_respond_text(request, 200, "here");
    wait_for_release(arg);
}

static void stay(skink_request *request, void *arg)
{
    wait_for_release(arg);
    skink_respond_text(request, 200, "late");
}

/* Twenty pieces in one slice. */
static void pieces(skink_request *request, void *arg)
{
    (void)arg;
    int err = skink_response_begin(request, 200, "text/plain", SKINK_LENGTH_UNKNOWN);
    for (int i = 0; i < 20 && !err; i++)
        err = skink_response_write(request, "ab", 2);
    if (!err) (void)!skink_response_end(request);
}

/* A piece, and then a wait, behind which another task keeps the loop to itself. */
static void piece_and_wait(skink_request *request, void *arg)
{
    int err = skink_response_begin(request, 200, "text/plain", 6);
    if (!err) err = skink_response_write(request, "one", 3);
    if (!err) err = skink_spawn(skink_scheduler_current(), NULL, NULL, wait_for_release, arg);
    if (!err) err = skink_yield();
    if (!err) err = skink_response_write(request, "two", 3);
    if (!err) (void)!skink_response_end(request);
}

/* A helper writes instead of the request's own task. */
static void write_for(void *arg)
{
    skink_request *request = arg;
    (void)!skink_response_write(request, "by another", 10);
    wait_for_release(NULL);
}

static void piece_by_another(skink_request *request, void *arg)
{
    (void)arg;
    skink_task *helper;
    int err = skink_response_begin(request, 200, "text/plain", 10);
    if (!err) err = skink_spawn(skink_scheduler_current(), NULL, &helper, write_for, request);
    if (err) return;
    (void)!skink_task_await(helper, SKINK_FOREVER);
    skink_task_unref(helper);
    (void)!skink_response_end(request);
}

static void serve(struct fixture *fixture, const skink_http_options *options)
{
    client = pthread_self();
    fixture_create(fixture, NULL, options);
    fixture_add_common_routes(fixture);
    fixture_route(fixture, "GET", "/number/{n}", number, NULL);
    fixture_route(fixture, "GET", "/large/{n}", large, NULL);
    fixture_route(fixture, "GET", "/answer-and-stay", answer_and_stay, NULL);
    fixture_route(fixture, "GET", "/stay", stay, NULL);
    fixture_route(fixture, "GET", "/pieces", pieces, NULL);
    fixture_route(fixture, "GET", "/piece-and-wait", piece_and_wait, NULL);
    fixture_route(fixture, "GET", "/piece-by-another", piece_by_another, NULL);
    fixture_start(fixture);
}

static void expect_body(int fd, const char *body)
{
    struct reply reply;
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, body);
    reply_free(&reply);
}

/* --- cases --- */

static void sixteen_pipelined_answers_go_out_in_one_write(void **state)
{
    (void)state;
    struct fixture fixture;
    serve(&fixture, NULL);
    int fd = client_connect(fixture.port);
    char text[2048] = "", expected[16];
    for (int i = 0; i < 16; i++)
        sprintf(text + strlen(text), "GET /number/%d HTTP/1.1\r\n" H "\r\n", i);
    client_send_text(fd, text);
    for (int i = 0; i < 16; i++) {
        snprintf(expected, sizeof expected, "%d", i);
        expect_body(fd, expected);
    }
    assert_int_equal(atomic_load(&writes), 1);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    assert_int_equal(atomic_load(&writes), 2);
    close(fd);
    fixture_destroy(&fixture);
}

static void an_answer_with_nothing_behind_it_does_not_wait(void **state)
{
    (void)state;
    struct fixture fixture;
    serve(&fixture, NULL);
    int fd = client_connect(fixture.port);
    client_expect(fd, "GET /answer-and-stay HTTP/1.1\r\n" H "\r\n", 200, "here");
    atomic_store(&released, 1);
    /* The same in front of half a request, for which nobody waits. */
    client_expect(fd, "GET /number/1 HTTP/1.1\r\n" H "\r\nGET /number/2 HT", 200, "1");
    client_expect(fd, "TP/1.1\r\n" H "\r\n", 200, "2");
    close(fd);
    fixture_destroy(&fixture);
}

static void an_answer_does_not_wait_for_a_request_behind_it_that_suspends(void **state)
{
    (void)state;
    struct fixture fixture;
    serve(&fixture, NULL);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /number/1 HTTP/1.1\r\n" H "\r\nGET /sleep?ms=1000000 HTTP/1.1\r\n" H "\r\n");
    expect_body(fd, "1");
    client_reset(fd);
    test_wait_until(fixture_stats(&fixture).connections == 0, 4000);
    fixture_destroy(&fixture);
}

static void an_answer_does_not_wait_for_a_request_behind_it_that_is_stuck(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_recovery *recovery;
    skink_recovery_options recovery_options = SKINK_RECOVERY_OPTIONS_INIT;
    recovery_options.deadlock_timeout_ns = test_ms(100);
    serve(&fixture, NULL);
    recovery = fixture_watch(&fixture, &recovery_options);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /number/1 HTTP/1.1\r\n" H "\r\nGET /stay HTTP/1.1\r\n" H "\r\n");
    expect_body(fd, "1"); /* by the fresh thread */
    atomic_store(&released, 1);
    expect_body(fd, "late");
    close(fd);
    fixture_destroy(&fixture);
    skink_recovery_destroy(recovery);
}

static void large_answers_are_not_held_beyond_a_limit(void **state)
{
    (void)state;
    enum { REQUESTS = 26 };
    struct fixture fixture;
    serve(&fixture, NULL);
    int fd = client_connect(fixture.port);
    char text[2048] = "";
    for (int i = 0; i < REQUESTS; i++)
        sprintf(text + strlen(text), "GET /large/%c HTTP/1.1\r\n" H "\r\n", 'a' + i);
    client_send_text(fd, text);
    for (int i = 0; i < REQUESTS; i++) {
        struct reply reply;
        client_read(fd, &reply, false);
        assert_int_equal(reply.body_length, ANSWER_BYTES);
        assert_int_equal(reply.body[0], 'a' + i);
        assert_int_equal(reply.body[ANSWER_BYTES - 1], 'a' + i);
        reply_free(&reply);
    }
    unsigned count = atomic_load(&writes);
    assert_in_range(count, REQUESTS * ANSWER_BYTES / (HELD_BYTES_MAX + 2 * ANSWER_BYTES), REQUESTS / 3);
    assert_in_range(atomic_load(&most_bytes), ANSWER_BYTES, HELD_BYTES_MAX + 2 * ANSWER_BYTES);
    close(fd);
    fixture_destroy(&fixture);
}

static void all_kinds_of_answers_keep_their_order(void **state)
{
    (void)state;
    struct fixture fixture;
    serve(&fixture, NULL);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /number/1 HTTP/1.1\r\n" H "\r\n"
                         "HEAD /number/2 HTTP/1.1\r\n" H "\r\n"
                         "OPTIONS * HTTP/1.1\r\n" H "\r\n"
                         "GET /piece-and-wait HTTP/1.1\r\n" H "\r\n"
                         "GET /sleep?ms=1 HTTP/1.1\r\n" H "\r\n"
                         "GET /nothing HTTP/1.1\r\n" H "\r\n"
                         "GET /number/3 HTTP/1.1\r\n" H "\r\n"
                         "POST /echo HTTP/1.1\r\n" H "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    atomic_store(&released, 1);
    struct reply reply;
    expect_body(fd, "1");
    client_read(fd, &reply, true);
    assert_string_equal(reply_header(&reply, "Content-Length"), "1");
    reply_free(&reply);
    client_read(fd, &reply, true);
    assert_int_equal(reply.status, 204);
    reply_free(&reply);
    expect_body(fd, "onetwo");
    expect_body(fd, "slept");
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, 404);
    reply_free(&reply);
    expect_body(fd, "3");
    client_expect_bytes(fd, "HTTP/1.1 100 Continue\r\n\r\n");
    client_send_text(fd, "body"
                         "GET /number/4 HTTP/1.1\r\n" H "\r\n"
                         "GET /number/5 HTTP/1.1\r\n" H "Connection: close\r\n\r\n"
                         "GET /number/6 HTTP/1.1\r\n" H "\r\n");
    expect_body(fd, "body");
    expect_body(fd, "4");
    client_read(fd, &reply, false);
    assert_string_equal(reply.body, "5");
    assert_string_equal(reply_header(&reply, "Connection"), "close");
    reply_free(&reply);
    assert_true(client_sees_end(fd, 4000));
    close(fd);
    fixture_destroy(&fixture);
}

static void small_pieces_of_one_slice_go_out_in_one_write(void **state)
{
    (void)state;
    struct fixture fixture;
    serve(&fixture, NULL);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /pieces HTTP/1.1\r\n" H "\r\n");
    client_skip_head(fd);
    for (int i = 0; i < 20; i++)
        client_expect_bytes(fd, "2\r\nab\r\n");
    client_expect_bytes(fd, "0\r\n\r\n");
    assert_int_equal(atomic_load(&writes), 1);
    close(fd);
    fixture_destroy(&fixture);
}

static void a_piece_goes_out_when_its_task_suspends(void **state)
{
    (void)state;
    struct fixture fixture;
    serve(&fixture, NULL);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /piece-and-wait HTTP/1.1\r\n" H "\r\n");
    client_skip_head(fd);
    client_expect_bytes(fd, "one"); /* the next task of the same turn waits for it */
    assert_int_equal(atomic_load(&writes), 1);
    atomic_store(&released, 1);
    client_expect_bytes(fd, "two");
    close(fd);
    fixture_destroy(&fixture);
}

static void a_piece_that_another_task_writes_goes_out_at_once(void **state)
{
    (void)state;
    struct fixture fixture;
    serve(&fixture, NULL);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /piece-by-another HTTP/1.1\r\n" H "\r\n");
    client_skip_head(fd);
    client_expect_bytes(fd, "by another");
    atomic_store(&released, 1);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(fd);
    fixture_destroy(&fixture);
}

static void a_small_limit_of_unsent_bytes_holds(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_unsent_bytes = 64;
    serve(&fixture, &options);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /pieces HTTP/1.1\r\n" H "\r\nGET /number/1 HTTP/1.1\r\n" H "\r\n");
    client_skip_head(fd);
    for (int i = 0; i < 20; i++)
        client_expect_bytes(fd, "2\r\nab\r\n");
    client_expect_bytes(fd, "0\r\n\r\n");
    expect_body(fd, "1");
    close(fd);
    fixture_destroy(&fixture);
}

static void a_client_that_leaves_while_answers_are_held_harms_nobody(void **state)
{
    (void)state;
    struct fixture fixture;
    serve(&fixture, NULL);
    atomic_store(&released, 1);
    for (int i = 0; i < 20; i++) {
        int fd = client_connect(fixture.port);
        client_send_text(fd, "GET /number/1 HTTP/1.1\r\n" H "\r\nGET /piece-and-wait HTTP/1.1\r\n" H "\r\n"
                             "GET /number/1 HTTP/1.1\r\n" H "\r\nGET /sleep?ms=5 HTTP/1.1\r\n" H "\r\n");
        if (i % 2) test_nap();
        client_reset(fd);
    }
    test_wait_until(fixture_stats(&fixture).connections == 0 && fixture_stats(&fixture).in_flight == 0, 4000);
    int fd = client_connect(fixture.port);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(fd);
    fixture_destroy(&fixture);
}

static void what_is_held_when_the_server_goes_is_sent(void **state)
{
    (void)state;
    struct fixture fixture;
    serve(&fixture, NULL);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /number/1 HTTP/1.1\r\n" H "\r\nGET /sleep?ms=1000000 HTTP/1.1\r\n" H "\r\n");
    test_wait_until(fixture_stats(&fixture).in_flight == 1 && fixture_code_count(&fixture, 200) == 1, 4000);
    fixture_destroy(&fixture);
    expect_body(fd, "1");
    struct reply reply;
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, 503);
    reply_free(&reply);
    assert_true(client_sees_end(fd, 4000));
    close(fd);
}

static const struct test_case cases[] = {
    CASE(sixteen_pipelined_answers_go_out_in_one_write),
    CASE(an_answer_with_nothing_behind_it_does_not_wait),
    CASE(an_answer_does_not_wait_for_a_request_behind_it_that_suspends),
    CASE(an_answer_does_not_wait_for_a_request_behind_it_that_is_stuck),
    CASE(large_answers_are_not_held_beyond_a_limit),
    CASE(all_kinds_of_answers_keep_their_order),
    CASE(small_pieces_of_one_slice_go_out_in_one_write),
    CASE(a_piece_goes_out_when_its_task_suspends),
    CASE(a_piece_that_another_task_writes_goes_out_at_once),
    CASE(a_small_limit_of_unsent_bytes_holds),
    CASE(a_client_that_leaves_while_answers_are_held_harms_nobody),
    CASE(what_is_held_when_the_server_goes_is_sent),
};
TEST_MAIN(cases, NULL, NULL)
