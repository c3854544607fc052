/* SPDX-License-Identifier: MIT */
/* test_expiry.c - requests that take longer than they may: one answer, 504, whatever the handler does. */
#include "fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

struct expiry {
    struct fixture fixture;
    _Atomic int waited, responded, token, ended;
    _Atomic bool go;
};

#define UNSET 1

static struct expiry *create(uint64_t request_timeout_ns, uint32_t max_requests)
{
    static struct expiry e;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.request_timeout_ns = request_timeout_ns;
    options.max_requests = max_requests;
    options.max_queue = 10;
    fixture_create(&e.fixture, NULL, &options);
    fixture_add_common_routes(&e.fixture);
    atomic_store(&e.waited, UNSET);
    atomic_store(&e.responded, UNSET);
    return &e;
}

/* Waits for ever, and answers all the same. */
static void wait_long(skink_request *request, void *arg)
{
    struct expiry *e = arg;
    atomic_store(&e->waited, skink_sleep(3600 * SKINK_S));
    atomic_store(&e->token, skink_token_status(skink_request_token(request)));
    atomic_store(&e->responded, skink_respond_text(request, 200, "late"));
    atomic_fetch_add(&e->ended, 1);
}

static void a_request_past_its_time_gets_one_answer_and_its_waits_end(void **state)
{
    (void)state;
    struct expiry *e = create(50 * SKINK_MS, 0);
    fixture_route(&e->fixture, "GET", "/long", wait_long, e);
    fixture_start(&e->fixture);
    int fd = client_connect(e->fixture.port);
    uint64_t begun = test_now_ns();
    client_send_text(fd, "GET /long HTTP/1.1\r\nHost: x\r\n\r\n");
    struct reply reply;
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, 504);
    assert_non_null(strstr(reply.body, "\"number\":1010"));
    assert_true(test_now_ns() - begun >= test_ms(50));
    reply_free(&reply);
    test_wait_until(atomic_load(&e->responded) != UNSET, 5000);
    assert_int_equal(atomic_load(&e->waited), -ETIMEDOUT);
    assert_int_equal(atomic_load(&e->token), -ETIMEDOUT);
    assert_int_equal(atomic_load(&e->responded), -ECANCELED);
    client_expect(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 200, "hello\n"); /* nothing came in between */
    close(fd);
    test_wait_until(fixture_stats(&e->fixture).in_flight == 0, 5000);
    struct skink__http_stats stats = fixture_stats(&e->fixture);
    assert_int_equal(stats.requests_expired, 1);
    assert_int_equal(stats.late_answers_dropped, 1);
    fixture_destroy(&e->fixture);
}

static void *poll_until_told(void *arg)
{
    skink_token *token = arg;
    int status;
    while ((status = skink_token_status(token)) == 0)
        usleep(1000);
    return NULL;
}

/* The loop thread itself is busy, so that no timer can run: the pool sees the deadline all the same. */
static void pool_polls(skink_request *request, void *arg)
{
    struct expiry *e = arg;
    skink_token *token = skink_token_ref(skink_request_token(request));
    int err = skink_offload_block(poll_until_told, token, NULL);
    atomic_store(&e->token, skink_token_status(token));
    skink_token_unref(token);
    atomic_store(&e->waited, err);
    skink_respond_text(request, 200, "mine"); /* the timer has not run yet, so this is the one answer */
    atomic_fetch_add(&e->ended, 1);
}

static void work_on_the_pool_sees_the_deadline_while_the_loop_is_blocked(void **state)
{
    (void)state;
    struct expiry *e = create(50 * SKINK_MS, 0);
    fixture_route(&e->fixture, "GET", "/pool", pool_polls, e);
    fixture_start(&e->fixture);
    int fd = client_connect(e->fixture.port);
    client_expect(fd, "GET /pool HTTP/1.1\r\nHost: x\r\n\r\n", 200, "mine");
    assert_int_equal(atomic_load(&e->waited), 0);
    assert_int_equal(atomic_load(&e->token), -ETIMEDOUT);
    close(fd);
    fixture_destroy(&e->fixture);
}

/* A route has its own time, longer or shorter than the server's, and both can be changed while it runs. */
static void routes_have_their_own_time(void **state)
{
    (void)state;
    struct expiry *e = create(20 * SKINK_MS, 0);
    fixture_start(&e->fixture);
    assert_int_equal(skink_http_route_set_request_timeout(e->fixture.server, "/nowhere", SKINK_S), -ENOENT);
    assert_int_equal(skink_http_route_set_request_timeout(e->fixture.server, "/sleep", 60 * SKINK_S), 0);
    int fd = client_connect(e->fixture.port);
    client_expect(fd, "GET /sleep?ms=100 HTTP/1.1\r\nHost: x\r\n\r\n", 200, "slept");
    assert_int_equal(skink_http_route_set_request_timeout(e->fixture.server, "/sleep", 0), 0);
    client_expect(fd, "GET /sleep?ms=3600000 HTTP/1.1\r\nHost: x\r\n\r\n", 504, NULL);
    assert_int_equal(skink_http_set_request_timeout(e->fixture.server, 0), 0);
    client_expect(fd, "GET /sleep?ms=100 HTTP/1.1\r\nHost: x\r\n\r\n", 200, "slept");
    /* Shorter again, while one with a longer time is under way. */
    int other = client_connect(e->fixture.port);
    assert_int_equal(skink_http_route_set_request_timeout(e->fixture.server, "/sleep", 60 * SKINK_S), 0);
    client_send_text(other, "GET /sleep?ms=500 HTTP/1.1\r\nHost: x\r\n\r\n");
    test_wait_until(fixture_stats(&e->fixture).in_flight == 1, 5000);
    assert_int_equal(skink_http_route_set_request_timeout(e->fixture.server, "/sleep", 20 * SKINK_MS), 0);
    client_expect(fd, "GET /sleep?ms=3600000 HTTP/1.1\r\nHost: x\r\n\r\n", 504, NULL);
    struct reply reply;
    client_read(other, &reply, false);
    assert_int_equal(reply.status, 200);
    reply_free(&reply);
    close(other);
    close(fd);
    fixture_destroy(&e->fixture);
}

/* It has no task yet, and never gets one. */
static void a_request_that_waits_for_its_turn_expires_there(void **state)
{
    (void)state;
    struct expiry *e = create(100 * SKINK_MS, 1);
    skink_route_options options = SKINK_ROUTE_OPTIONS_INIT;
    options.request_timeout_ns = 60 * SKINK_S;
    assert_int_equal(skink_http_route(e->fixture.server, "GET", "/long", &options, wait_long, e), 0);
    fixture_start(&e->fixture);
    int first = client_connect(e->fixture.port), second = client_connect(e->fixture.port);
    client_send_text(first, "GET /long HTTP/1.1\r\nHost: x\r\n\r\n");
    test_wait_until(fixture_stats(&e->fixture).in_flight == 1, 5000);
    client_expect(second, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 504, NULL);
    client_expect(second, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 504, NULL);
    close(first); /* its handler ends: its permit is back, and nobody else took it */
    test_wait_until(atomic_load(&e->ended) == 1, 5000);
    assert_int_equal(skink_http_set_request_timeout(e->fixture.server, 60 * SKINK_S), 0);
    client_expect(second, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 200, "hello\n");
    close(second);
    fixture_destroy(&e->fixture);
}

static const struct test_case cases[] = {
    CASE(a_request_past_its_time_gets_one_answer_and_its_waits_end),
    CASE(work_on_the_pool_sees_the_deadline_while_the_loop_is_blocked),
    CASE(routes_have_their_own_time),
    CASE(a_request_that_waits_for_its_turn_expires_there),
};
TEST_MAIN(cases, NULL, NULL)
