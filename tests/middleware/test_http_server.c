/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_http_server.c - a server as a whole: stopping, and what it costs, over real sockets. */
#include "tests/middleware/fixture.h"
#include "tests/middleware/leaving.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define H "Host: a\r\n"

/* --- stopping --- */

static void stop_closes_the_idle_and_answers_what_is_in_flight(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_serve(&fixture);
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
    fixture_serve_handler(&fixture, "/forever", sleep_on_regardless, &started);
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
    fixture_serve(&fixture);
    int idle = client_connect(fixture.port), half = client_connect(fixture.port);
    client_expect(idle, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    client_send_text(half, "GET /hel");
    assert_int_equal(skink_scheduler_stop(fixture.scheduler, test_deadline_ns(1000)), 0);
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
    fixture_serve(&fixture);
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
    fixture_serve(&fixture);
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

struct stall {
    skink_scheduler *scheduler;
    _Atomic bool begun, go_on;
};

static void stall(struct uv_loop_s *loop, void *arg)
{
    struct stall *s = arg;
    (void)loop;
    atomic_store(&s->begun, true);
    while (!atomic_load(&s->go_on))
        test_nap();
}

static void *stall_the_loop(void *arg)
{
    struct stall *s = arg;
    assert_int_equal(skink_scheduler_uv(s->scheduler, stall, s), 0);
    return NULL;
}

/* Goal: what cannot be stopped, and so not be cut, is left behind; nobody waits for it for ever.
 * | host              | loop thread                  |
 * |                   | in a runtime section, stuck  |
 * | stop: -ETIMEDOUT  |                              |
 * | destroy           |                              |
 * |                   | comes back after all, ends   | */
static void server_of_a_loop_that_cannot_be_stopped_is_left_behind(void **state)
{
    (void)state;
    struct fixture fixture;
    pthread_t thread;
    fixture_serve(&fixture);
    struct stall s = { .scheduler = fixture.scheduler };
    assert_int_equal(pthread_create(&thread, NULL, stall_the_loop, &s), 0);
    test_wait_until(atomic_load(&s.begun), 5000);
    assert_int_equal(skink_scheduler_stop(fixture.scheduler, 0), -ETIMEDOUT);
    skink_http_server_destroy(fixture.server);
    fixture.server = NULL;
    atomic_store(&s.go_on, true);
    pthread_join(thread, NULL);
    fixture_destroy(&fixture);
}

static const struct test_case cases[] = {
    CASE(stop_closes_the_idle_and_answers_what_is_in_flight),
    CASE(a_dropped_task_is_answered_for),
    CASE(destroying_a_running_server_cuts_everything),
    CASE(destroying_after_the_scheduler_has_stopped_works_too),
    CASE_PLAIN(server_of_a_loop_that_cannot_be_stopped_is_left_behind, 20), /* it leaks */
    CASE(at_the_task_limit_requests_are_refused_with_503),
    CASE_TIMEOUT(a_waiting_request_is_small, 30),
    CASE(many_clients_get_their_own_answers),
};
TEST_MAIN(cases, NULL, NULL)
