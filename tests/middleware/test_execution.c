/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_execution.c - handlers that block, on workers: side by side, one by one, piece by piece. */
#include "tests/middleware/shop.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void handlers_that_block_run_side_by_side(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 8, .execution = SKINK_EXECUTE_THREADS });
    shop_start(&shop);
    int fds[10];
    for (int i = 0; i < 10; i++)
        fds[i] = shop_ask(&shop, "/block", i);
    test_wait_until(atomic_load(&shop.entered) == 8 && shop_stats(&shop).queued == 2, WAIT_MS);
    assert_int_equal(shop_stats(&shop).busy, 8);
    shop_hello(&shop); /* on the loop, which nobody blocks */
    atomic_store(&shop.release, -1);
    for (int i = 0; i < 10; i++) {
        client_expect(fds[i], "", 200, "blocked");
        client_expect(fds[i], "GET /block HTTP/1.1\r\n" H "\r\n", 200, "blocked"); /* and again */
        close(fds[i]);
    }
    assert_int_equal(atomic_load(&shop.most), 8);
    test_wait_until(shop_stats(&shop).busy == 0 && shop_permits(&shop) == 0, WAIT_MS);
    assert_int_equal(shop_stats(&shop).started, 20);
    assert_true(shop_stats(&shop).waited_ns > 0);
    shop_destroy(&shop);
}

static void serial_requests_run_one_by_one_in_order(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 4, .execution = SKINK_EXECUTE_SERIAL });
    shop_start(&shop);
    int fds[20];
    fds[0] = shop_ask(&shop, "/block", 0);
    test_wait_until(atomic_load(&shop.entered) == 1, WAIT_MS);
    for (int i = 1; i < 20; i++) {
        fds[i] = shop_ask(&shop, "/step", i);
        test_wait_until(shop_stats(&shop).queued == (uint64_t)i, WAIT_MS);
    }
    assert_int_equal(shop_stats(&shop).busy, 1);
    shop_hello(&shop);
    atomic_store(&shop.release, -1);
    client_expect(fds[0], "", 200, "blocked");
    for (int i = 1; i < 20; i++)
        client_expect(fds[i], "", 200, "stepped");
    for (int i = 0; i < 20; i++) {
        assert_int_equal(atomic_load(&shop.order[i]), i);
        close(fds[i]);
    }
    assert_int_equal(atomic_load(&shop.most), 1);
    shop_destroy(&shop);
}

/* One server may have all three. */
static void each_route_has_its_own_way(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 4 });
    skink_http_server *server = shop.fixture.server;
    assert_int_equal(skink_http_route_set_execution(server, "/step", SKINK_EXECUTE_SERIAL), 0);
    assert_int_equal(skink_http_route_set_execution(server, "/block", SKINK_EXECUTE_THREADS), 0);
    assert_int_equal(skink_http_route_set_execution(server, "/no", SKINK_EXECUTE_THREADS), -ENOENT);
    assert_int_equal(skink_http_route_set_execution(server, "/step", (skink_execution)4), -EINVAL);
    shop_start(&shop);
    assert_int_equal(skink_http_route_set_execution(server, "/step", SKINK_EXECUTE_THREADS), -EBUSY);
    int blocks = shop_ask(&shop, "/block", 0), steps = shop_ask(&shop, "/step", 1),
        sleeps = shop_ask(&shop, "/sleep", 2);
    client_expect(steps, "", 200, "stepped");
    client_expect(sleeps, "", 200, "slept");
    test_wait_until(shop_stats(&shop).started == 2, WAIT_MS); /* the one that blocks may begin last */
    atomic_store(&shop.release, -1);
    client_expect(blocks, "", 200, "blocked");
    close(blocks), close(steps), close(sleeps);
    shop_destroy(&shop);
}

static void what_needs_workers_is_refused_without(void **state)
{
    (void)state;
    struct fixture fixture;
    skink_http_server *none;
    fixture_create(&fixture, NULL, NULL);
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.execution = SKINK_EXECUTE_SERIAL;
    assert_int_equal(skink_http_server_create(fixture.scheduler, &options, &none), -EINVAL);
    skink_route_options route = SKINK_ROUTE_OPTIONS_INIT;
    route.execution = SKINK_EXECUTE_THREADS;
    assert_int_equal(skink_http_route(fixture.server, "GET", "/x", &route, shop_step, NULL), -EINVAL);
    fixture_destroy(&fixture);
    skink_workers *workers;
    skink_workers_options too_many = SKINK_WORKERS_OPTIONS_INIT;
    too_many.threads = 1025;
    assert_int_equal(skink_workers_create(&too_many, &workers), -EINVAL);
    assert_int_equal(skink_workers_start(NULL), -EINVAL);
    assert_int_equal(skink_workers_create(NULL, &workers), 0);
    assert_non_null(skink_workers_scheduler_at(workers, 63));
    assert_null(skink_workers_scheduler_at(workers, 64));
    assert_int_equal(skink_workers_stop(workers, 0), -EALREADY);
    skink_workers_destroy(workers);
}

/* ---- everything that a task may call ---- */

static char done[] = "done";

static void complete(void *arg)
{
    (void)!skink_future_complete(arg, done);
}

static void *on_pool(void *arg)
{
    return arg;
}

static void call_everything(skink_request *request, void *arg)
{
    struct shop *shop = arg;
    SHOP_CHECK(skink_task_current() != NULL && skink_scheduler_current() != shop->fixture.scheduler);
    SHOP_CHECK(strcmp(skink_task_name(skink_task_current()), "POST /all/{id}") == 0);
    SHOP_CHECK(skink_sleep(2 * SKINK_MS) == 0);
    SHOP_CHECK(skink_yield() == 0);
    SHOP_CHECK(skink_checkpoint() == 0);
    SHOP_CHECK(skink_request_token(request) != NULL && skink_token_status(skink_request_token(request)) == 0);

    skink_future *future;
    void *value = NULL;
    SHOP_CHECK(skink_future_create(&future) == 0);
    SHOP_CHECK(skink_post(shop->fixture.scheduler, complete, future) == 0); /* a task of the loop completes it */
    SHOP_CHECK(skink_await(future, test_deadline_ns(1000), &value) == 0 && strcmp(value, "done") == 0);
    skink_future_unref(future);
    SHOP_CHECK(skink_future_create(&future) == 0);
    SHOP_CHECK(skink_post(shop->fixture.scheduler, complete, future) == 0);
    SHOP_CHECK(skink_future_block(future, test_deadline_ns(1000), NULL) == 0); /* blocking is fine here */
    skink_future_unref(future);
    SHOP_CHECK(skink_offload(on_pool, shop, &value) == 0 && value == shop);

    int ends[2];
    uint32_t events = 0;
    SHOP_CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0 && write(ends[1], "x", 1) == 1);
    SHOP_CHECK(skink_await_fd(ends[0], SKINK_READABLE, test_deadline_ns(1000), &events) == 0 &&
               events == SKINK_READABLE);
    close(ends[0]), close(ends[1]);

    size_t length;
    SHOP_CHECK(strcmp(skink_request_param(request, "id"), "7") == 0);
    SHOP_CHECK(strcmp(skink_request_header(request, "x-a"), "b") == 0);
    SHOP_CHECK(memcmp(skink_request_body(request, &length), "body", 4) == 0 && length == 4);
    SHOP_CHECK(skink_request_status(request) == 0);
    SHOP_CHECK(skink_response_header(request, "X-Mine", "yes") == 0);
    SHOP_CHECK(skink_response_header(request, "Server", "shop") == 0);
    SHOP_CHECK(skink_response_header(request, "Date", "now") == -EINVAL);
    SHOP_CHECK(skink_respond(request, 201, "text/plain", "all", 3) == 0);
    SHOP_CHECK(skink_request_status(request) == 201);
    SHOP_CHECK(skink_respond_text(request, 200, "twice") == -EALREADY);
    SHOP_CHECK(skink_response_header(request, "X-Mine", "late") == -EALREADY);
}

static void everything_a_task_may_call_works_on_a_worker(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 2, .execution = SKINK_EXECUTE_THREADS });
    fixture_route(&shop.fixture, "POST", "/all/{id}", call_everything, &shop);
    assert_int_equal(skink_http_use(shop.fixture.server, shop_note_way_out, &shop), 0);
    shop_start(&shop);
    int fd = client_connect(shop.fixture.port);
    for (int i = 0; i < 3; i++) {
        struct reply reply;
        client_send_text(fd, "POST /all/7 HTTP/1.1\r\n" H "X-A: b\r\nContent-Length: 4\r\n\r\nbody");
        client_read(fd, &reply, false);
        assert_int_equal(reply.status, 201);
        assert_string_equal(reply.body, "all");
        assert_string_equal(reply_header(&reply, "X-Mine"), "yes");
        assert_string_equal(reply_header(&reply, "Server"), "shop");
        reply_free(&reply);
    }
    client_expect(fd, "GET /nowhere HTTP/1.1\r\n" H "\r\n", 404, NULL); /* without a route, as the server says */
    test_wait_until(shop_stats(&shop).busy == 0 && atomic_load(&shop.result) == 404, WAIT_MS);
    assert_int_equal(shop_stats(&shop).started, 4);
    close(fd);
    shop_destroy(&shop);
}

static void say_nothing(skink_request *request, void *arg)
{
    (void)request, (void)arg;
}

static void a_handler_that_says_nothing_is_answered_for(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS });
    fixture_route(&shop.fixture, "GET", "/nothing", say_nothing, NULL);
    shop_start(&shop);
    int fd = shop_ask(&shop, "/nothing", 0);
    shop_expect_error(fd, 500, "\"number\":1001,", false);
    test_wait_until(fixture_stats(&shop.fixture).answers_missing == 1, WAIT_MS);
    close(fd);
    shop_destroy(&shop);
}

/* ---- piece by piece ---- */

enum { COPY_BYTES = 4 * 1024 * 1024 };

static void copy(skink_request *request, void *arg)
{
    struct shop *shop = arg;
    char buffer[20000];
    size_t length = 1;
    SHOP_CHECK(skink_response_begin(request, 200, "text/plain", COPY_BYTES) == 0);
    SHOP_CHECK(skink_response_begin(request, 200, "text/plain", COPY_BYTES) == -EALREADY);
    int err = 0;
    while (!err && length > 0) {
        err = skink_request_read(request, buffer, sizeof buffer, &length);
        if (!err && length) err = skink_response_write(request, buffer, length);
    }
    SHOP_CHECK(err == 0);
    SHOP_CHECK(skink_response_write(request, "more", 4) == -EMSGSIZE);
    SHOP_CHECK(skink_response_end(request) == 0);
    atomic_fetch_add(&shop->left, 1);
}

static char copied_byte(size_t i)
{
    return (char)('a' + i % 23);
}

static void *send_body(void *arg)
{
    char piece[4096];
    for (size_t at = 0; at < COPY_BYTES; at += sizeof piece) {
        for (size_t i = 0; i < sizeof piece; i++)
            piece[i] = copied_byte(at + i);
        client_send(*(int *)arg, piece, sizeof piece);
    }
    return NULL;
}

/* A slow reader and a slow writer: the handler on the worker waits for both. */
static void bodies_and_answers_go_piece_by_piece_on_a_worker_too(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS });
    skink_route_options options = SKINK_ROUTE_OPTIONS_INIT;
    options.stream_body = true;
    options.max_body_bytes = COPY_BYTES;
    assert_int_equal(skink_http_route(shop.fixture.server, "POST", "/copy", &options, copy, &shop), 0);
    shop_start(&shop);
    int fd = client_connect(shop.fixture.port);
    char head[128];
    snprintf(head, sizeof head, "POST /copy HTTP/1.1\r\n" H "Content-Length: %d\r\n\r\n", COPY_BYTES);
    client_send_text(fd, head);
    pthread_t sender;
    assert_int_equal(pthread_create(&sender, NULL, send_body, &fd), 0);
    struct reply reply;
    client_read(fd, &reply, false);
    pthread_join(sender, NULL);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.body_length, COPY_BYTES);
    for (size_t i = 0; i < COPY_BYTES; i++)
        if (reply.body[i] != copied_byte(i)) fail_msg("byte %zu", i);
    reply_free(&reply);
    test_wait_until(atomic_load(&shop.left) == 1, WAIT_MS);
    /* One that stops sending and leaves: the handler's wait for more ends. */
    client_send_text(fd, head);
    client_send_text(fd, "some");
    test_wait_until(shop_stats(&shop).busy == 1, WAIT_MS);
    atomic_store(&shop.failures, 0);
    client_reset(fd);
    test_wait_until(atomic_load(&shop.left) == 2, WAIT_MS);
    assert_true(atomic_load(&shop.failures) > 0); /* it was told */
    atomic_store(&shop.failures, 0);
    shop_destroy(&shop);
}

/* ---- a storm ---- */

static void many_requests_on_all_ways_are_each_answered_once(void **state)
{
    (void)state;
    enum { CLIENTS = 8, ROUNDS = 60 };
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 4,
                                             .execution = SKINK_EXECUTE_THREADS,
                                             .timeout_ns = 20 * SKINK_S,
                                             .max_requests = 6,
                                             .max_queue = CLIENTS });
    atomic_store(&shop.release, -1);
    fixture_route(&shop.fixture, "GET", "/one", shop_step, &shop);
    assert_int_equal(skink_http_route_set_execution(shop.fixture.server, "/one", SKINK_EXECUTE_SERIAL), 0);
    shop_start(&shop);
    int fds[CLIENTS];
    unsigned seed = 1;
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client_connect(shop.fixture.port);
    static const char *const paths[] = { "/block", "/one", "/hello", "/sleep?ms=1" };
    static const char *const bodies[] = { "blocked", "stepped", "hello\n", "slept" };
    for (int round = 0; round < ROUNDS; round++) {
        int asked[CLIENTS];
        for (int i = 0; i < CLIENTS; i++) {
            char text[64];
            asked[i] = rand_r(&seed) % 4;
            snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" H "\r\n", paths[asked[i]]);
            client_send_text(fds[i], text);
        }
        for (int i = 0; i < CLIENTS; i++)
            client_expect(fds[i], "", 200, bodies[asked[i]]);
    }
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    test_wait_until(shop_permits(&shop) == 0 && shop_stats(&shop).busy == 0, WAIT_MS);
    assert_int_equal(fixture_stats(&shop.fixture).in_flight, 0);
    shop_destroy(&shop);
}

static const struct test_case cases[] = {
    CASE(handlers_that_block_run_side_by_side),
    CASE(serial_requests_run_one_by_one_in_order),
    CASE(each_route_has_its_own_way),
    CASE(what_needs_workers_is_refused_without),
    CASE(everything_a_task_may_call_works_on_a_worker),
    CASE(a_handler_that_says_nothing_is_answered_for),
    CASE(bodies_and_answers_go_piece_by_piece_on_a_worker_too),
    CASE(many_requests_on_all_ways_are_each_answered_once),
};
TEST_MAIN(cases, NULL, NULL)
