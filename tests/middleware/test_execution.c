/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_execution.c - handlers that block, on workers: side by side, one by one, stuck, late, stopped. */
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define H "Host: a\r\n"
#define WAIT_MS 6000

enum { MANY = 32 };

struct shop {
    struct fixture fixture;
    skink_workers *workers;
    skink_recovery *recovery;
    atomic_int entered, inside, most, left; /* of /block and /step */
    atomic_int release;                     /* how many may leave /block; -1: all of them */
    atomic_int order[MANY];                 /* "n" of the i-th one that was started */
    atomic_int result;                      /* of the last await, or the last answer */
    atomic_int failures;                    /* of checks inside handlers */
};

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            print_error("%s:%d: %s\n", __FILE__, __LINE__, #condition);                                                \
            atomic_fetch_add(&shop->failures, 1);                                                                      \
        }                                                                                                              \
    } while (0)

static int enter(struct shop *shop, skink_request *request)
{
    const char *n = skink_request_query(request, "n");
    int place = atomic_fetch_add(&shop->entered, 1);
    if (place < MANY) atomic_store(&shop->order[place], n ? atoi(n) : -1);
    int inside = atomic_fetch_add(&shop->inside, 1) + 1, most = atomic_load(&shop->most);
    while (inside > most && !atomic_compare_exchange_weak(&shop->most, &most, inside)) {
    }
    return place;
}

static void leave(struct shop *shop, skink_request *request, const char *text)
{
    atomic_fetch_sub(&shop->inside, 1);
    atomic_store(&shop->result, skink_respond_text(request, 200, text));
    atomic_fetch_add(&shop->left, 1);
}

/* Blocks its thread until it is let go. */
static void block(skink_request *request, void *arg)
{
    struct shop *shop = arg;
    int place = enter(shop, request);
    for (int release; (release = atomic_load(&shop->release)) >= 0 && release <= place;)
        usleep(1000);
    leave(shop, request, "blocked");
}

/* Blocks its thread for two milliseconds. */
static void step(skink_request *request, void *arg)
{
    enter(arg, request);
    usleep(2000);
    leave(arg, request, "stepped");
}

/* Suspends, for as long as it may. */
static void sleep_on(skink_request *request, void *arg)
{
    struct shop *shop = arg;
    enter(shop, request);
    int err = skink_sleep(100 * SKINK_S);
    leave(shop, request, "slept");
    atomic_store(&shop->result, err);
}

struct setup {
    uint32_t threads;
    skink_execution execution;
    uint64_t timeout_ns; /* of the recovery and of the workers; 0: not watched */
    uint32_t max_strays;
    uint32_t max_requests, max_queue;
};

static void create(struct shop *shop, const struct setup *setup)
{
    memset(shop, 0, sizeof *shop);
    skink_workers_options workers = SKINK_WORKERS_OPTIONS_INIT;
    workers.threads = setup->threads;
    workers.deadlock_timeout_ns = setup->timeout_ns;
    workers.time_limit_ns = setup->timeout_ns;
    assert_int_equal(skink_workers_create(&workers, &shop->workers), 0);
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.workers = shop->workers;
    options.execution = setup->execution;
    options.max_requests = setup->max_requests;
    options.max_queue = setup->max_queue;
    fixture_create(&shop->fixture, NULL, &options);
    fixture_add_common_routes(&shop->fixture);
    assert_int_equal(skink_http_route_set_execution(shop->fixture.server, "/hello", SKINK_EXECUTE_LOOP), 0);
    fixture_route(&shop->fixture, "GET", "/block", block, shop);
    fixture_route(&shop->fixture, "GET", "/step", step, shop);
    fixture_route(&shop->fixture, "GET", "/long", sleep_on, shop);
    if (!setup->timeout_ns) return;
    skink_recovery_options recovery = SKINK_RECOVERY_OPTIONS_INIT;
    recovery.deadlock_timeout_ns = setup->timeout_ns;
    recovery.max_strays = setup->max_strays;
    assert_int_equal(skink_recovery_create(&recovery, &shop->recovery), 0);
    assert_int_equal(skink_recovery_watch(shop->recovery, shop->fixture.scheduler), 0);
    skink_scheduler *scheduler;
    for (size_t i = 0; (scheduler = skink_workers_scheduler_at(shop->workers, i)) != NULL; i++)
        assert_int_equal(skink_recovery_watch(shop->recovery, scheduler), 0);
}

static void start(struct shop *shop)
{
    assert_int_equal(skink_workers_start(shop->workers), 0);
    fixture_start(&shop->fixture);
}

static void destroy(struct shop *shop)
{
    atomic_store(&shop->release, -1);
    (void)!skink_workers_stop(shop->workers, skink_after(5 * SKINK_S));
    (void)!skink_scheduler_stop(shop->fixture.scheduler, skink_after(5 * SKINK_S));
    if (shop->recovery) {
        skink_scheduler *scheduler;
        skink_recovery_unwatch(shop->recovery, shop->fixture.scheduler);
        for (size_t i = 0; (scheduler = skink_workers_scheduler_at(shop->workers, i)) != NULL; i++)
            skink_recovery_unwatch(shop->recovery, scheduler);
    }
    skink_workers_destroy(shop->workers);
    fixture_destroy(&shop->fixture);
    skink_recovery_destroy(shop->recovery);
    assert_int_equal(atomic_load(&shop->failures), 0);
}

static skink_workers_stats stats(const struct shop *shop)
{
    skink_workers_stats values = SKINK_WORKERS_STATS_INIT;
    assert_int_equal(skink_workers_stats_read(shop->workers, &values), 0);
    return values;
}

static skink_recovery_stats recovery_stats(const struct shop *shop)
{
    skink_recovery_stats values = SKINK_RECOVERY_STATS_INIT;
    assert_int_equal(skink_recovery_stats_read(shop->recovery, &values), 0);
    return values;
}

static int ask(const struct shop *shop, const char *path, int n)
{
    char text[128];
    int fd = client_connect(shop->fixture.port);
    snprintf(text, sizeof text, "GET %s?n=%d HTTP/1.1\r\n" H "\r\n", path, n);
    client_send_text(fd, text);
    return fd;
}

static void expect_error(int fd, int status, const char *number, bool has_incident)
{
    struct reply reply;
    client_read(fd, &reply, false);
    if (reply.status != status) print_error("%s%s\n", reply.head, reply.body);
    assert_int_equal(reply.status, status);
    assert_non_null(strstr(reply.body, number));
    assert_int_equal(strstr(reply.body, "\"incident\":") != NULL, has_incident);
    reply_free(&reply);
}

static void hello(const struct shop *shop)
{
    int fd = client_connect(shop->fixture.port);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(fd);
}

static uint64_t permits(const struct shop *shop);

/* Of the limit whose route is asked for. */
static void add_limit_of(const struct skink__http_limit_stats *limit, void *arg)
{
    struct skink__http_limit_stats *wanted = arg;
    if (strcmp(limit->route, wanted->route) == 0) *wanted = *limit;
}

static void handlers_that_block_run_side_by_side(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 8, .execution = SKINK_EXECUTE_THREADS });
    start(&shop);
    int fds[10];
    for (int i = 0; i < 10; i++)
        fds[i] = ask(&shop, "/block", i);
    test_wait_until(atomic_load(&shop.entered) == 8 && stats(&shop).queued == 2, WAIT_MS);
    assert_int_equal(stats(&shop).busy, 8);
    hello(&shop); /* on the loop, which nobody blocks */
    atomic_store(&shop.release, -1);
    for (int i = 0; i < 10; i++) {
        client_expect(fds[i], "", 200, "blocked");
        client_expect(fds[i], "GET /block HTTP/1.1\r\n" H "\r\n", 200, "blocked"); /* and again */
        close(fds[i]);
    }
    assert_int_equal(atomic_load(&shop.most), 8);
    test_wait_until(stats(&shop).busy == 0 && permits(&shop) == 0, WAIT_MS);
    assert_int_equal(stats(&shop).started, 20);
    assert_true(stats(&shop).waited_ns > 0);
    destroy(&shop);
}

static void serial_requests_run_one_by_one_in_order(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 4, .execution = SKINK_EXECUTE_SERIAL });
    start(&shop);
    int fds[20];
    fds[0] = ask(&shop, "/block", 0);
    test_wait_until(atomic_load(&shop.entered) == 1, WAIT_MS);
    for (int i = 1; i < 20; i++) {
        fds[i] = ask(&shop, "/step", i);
        test_wait_until(stats(&shop).queued == (uint64_t)i, WAIT_MS);
    }
    assert_int_equal(stats(&shop).busy, 1);
    hello(&shop);
    atomic_store(&shop.release, -1);
    client_expect(fds[0], "", 200, "blocked");
    for (int i = 1; i < 20; i++)
        client_expect(fds[i], "", 200, "stepped");
    for (int i = 0; i < 20; i++) {
        assert_int_equal(atomic_load(&shop.order[i]), i);
        close(fds[i]);
    }
    assert_int_equal(atomic_load(&shop.most), 1);
    destroy(&shop);
}

/* One server may have all three. */
static void each_route_has_its_own_way(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 4 });
    skink_http_server *server = shop.fixture.server;
    assert_int_equal(skink_http_route_set_execution(server, "/step", SKINK_EXECUTE_SERIAL), 0);
    assert_int_equal(skink_http_route_set_execution(server, "/block", SKINK_EXECUTE_THREADS), 0);
    assert_int_equal(skink_http_route_set_execution(server, "/no", SKINK_EXECUTE_THREADS), -ENOENT);
    assert_int_equal(skink_http_route_set_execution(server, "/step", (skink_execution)4), -EINVAL);
    start(&shop);
    assert_int_equal(skink_http_route_set_execution(server, "/step", SKINK_EXECUTE_THREADS), -EBUSY);
    int blocks = ask(&shop, "/block", 0), steps = ask(&shop, "/step", 1), sleeps = ask(&shop, "/sleep", 2);
    client_expect(steps, "", 200, "stepped");
    client_expect(sleeps, "", 200, "slept");
    assert_int_equal(stats(&shop).started, 2);
    atomic_store(&shop.release, -1);
    client_expect(blocks, "", 200, "blocked");
    close(blocks), close(steps), close(sleeps);
    destroy(&shop);
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
    assert_int_equal(skink_http_route(fixture.server, "GET", "/x", &route, step, NULL), -EINVAL);
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
    CHECK(skink_task_current() != NULL && skink_scheduler_current() != shop->fixture.scheduler);
    CHECK(strcmp(skink_task_name(skink_task_current()), "POST /all/{id}") == 0);
    CHECK(skink_sleep(2 * SKINK_MS) == 0);
    CHECK(skink_yield() == 0);
    CHECK(skink_checkpoint() == 0);
    CHECK(skink_request_token(request) != NULL && skink_token_status(skink_request_token(request)) == 0);

    skink_future *future;
    void *value = NULL;
    CHECK(skink_future_create(&future) == 0);
    CHECK(skink_post(shop->fixture.scheduler, complete, future) == 0); /* a task of the loop completes it */
    CHECK(skink_await(future, skink_after(SKINK_S), &value) == 0 && strcmp(value, "done") == 0);
    skink_future_unref(future);
    CHECK(skink_future_create(&future) == 0);
    CHECK(skink_post(shop->fixture.scheduler, complete, future) == 0);
    CHECK(skink_future_block(future, skink_after(SKINK_S), NULL) == 0); /* blocking is fine here */
    skink_future_unref(future);
    CHECK(skink_offload(on_pool, shop, &value) == 0 && value == shop);

    int ends[2];
    uint32_t events = 0;
    CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0 && write(ends[1], "x", 1) == 1);
    CHECK(skink_await_fd(ends[0], SKINK_READABLE, skink_after(SKINK_S), &events) == 0 && events == SKINK_READABLE);
    close(ends[0]), close(ends[1]);

    size_t length;
    CHECK(strcmp(skink_request_param(request, "id"), "7") == 0);
    CHECK(strcmp(skink_request_header(request, "x-a"), "b") == 0);
    CHECK(memcmp(skink_request_body(request, &length), "body", 4) == 0 && length == 4);
    CHECK(skink_request_status(request) == 0);
    CHECK(skink_response_header(request, "X-Mine", "yes") == 0);
    CHECK(skink_response_header(request, "Server", "shop") == 0);
    CHECK(skink_response_header(request, "Date", "now") == -EINVAL);
    CHECK(skink_respond(request, 201, "text/plain", "all", 3) == 0);
    CHECK(skink_request_status(request) == 201);
    CHECK(skink_respond_text(request, 200, "twice") == -EALREADY);
    CHECK(skink_response_header(request, "X-Mine", "late") == -EALREADY);
}

static void note_way_out(skink_request *request, skink_next *next, void *arg)
{
    struct shop *shop = arg;
    skink_next_run(next, request);
    /* Those before may still be on their way out, on the other worker. */
    if (skink_request_status(request) == 404) atomic_store(&shop->result, 404);
}

static void everything_a_task_may_call_works_on_a_worker(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 2, .execution = SKINK_EXECUTE_THREADS });
    fixture_route(&shop.fixture, "POST", "/all/{id}", call_everything, &shop);
    assert_int_equal(skink_http_use(shop.fixture.server, note_way_out, &shop), 0);
    start(&shop);
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
    test_wait_until(stats(&shop).busy == 0 && atomic_load(&shop.result) == 404, WAIT_MS);
    assert_int_equal(stats(&shop).started, 4);
    close(fd);
    destroy(&shop);
}

static void say_nothing(skink_request *request, void *arg)
{
    (void)request, (void)arg;
}

static void a_handler_that_says_nothing_is_answered_for(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS });
    fixture_route(&shop.fixture, "GET", "/nothing", say_nothing, NULL);
    start(&shop);
    int fd = ask(&shop, "/nothing", 0);
    expect_error(fd, 500, "\"number\":1001,", false);
    assert_int_equal(fixture_stats(&shop.fixture).answers_missing, 1);
    close(fd);
    destroy(&shop);
}

/* ---- piece by piece ---- */

enum { COPY_BYTES = 4 * 1024 * 1024 };

static void copy(skink_request *request, void *arg)
{
    struct shop *shop = arg;
    char buffer[20000];
    size_t length = 1;
    CHECK(skink_response_begin(request, 200, "text/plain", COPY_BYTES) == 0);
    CHECK(skink_response_begin(request, 200, "text/plain", COPY_BYTES) == -EALREADY);
    int err = 0;
    while (!err && length > 0) {
        err = skink_request_read(request, buffer, sizeof buffer, &length);
        if (!err && length) err = skink_response_write(request, buffer, length);
    }
    CHECK(err == 0);
    CHECK(skink_response_write(request, "more", 4) == -EMSGSIZE);
    CHECK(skink_response_end(request) == 0);
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
    create(&shop, &(struct setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS });
    skink_route_options options = SKINK_ROUTE_OPTIONS_INIT;
    options.stream_body = true;
    options.max_body_bytes = COPY_BYTES;
    assert_int_equal(skink_http_route(shop.fixture.server, "POST", "/copy", &options, copy, &shop), 0);
    start(&shop);
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
    test_wait_until(stats(&shop).busy == 1, WAIT_MS);
    atomic_store(&shop.failures, 0);
    client_reset(fd);
    test_wait_until(atomic_load(&shop.left) == 2, WAIT_MS);
    assert_true(atomic_load(&shop.failures) > 0); /* it was told */
    atomic_store(&shop.failures, 0);
    destroy(&shop);
}

/* ---- stuck and late ---- */

/* Goal: with one worker, a request that blocks for ever costs its own client an answer and nobody else more than the
 * timeout.
 * | client 1         | client 2 (behind it) | worker            |
 * | /block           | /step                | thread 1 blocks   |
 * | 504 and incident |                      | taken over        |
 * |                  | 200                  | thread 2          |
 * |                  |                      | thread 1 returns: its answer is dropped, and counted  | */
static void past_its_deadline_a_request_gets_504(void **state, skink_execution execution)
{
    (void)state;
    struct shop shop;
    create(
        &shop,
        &(struct setup){
            .threads = 1, .execution = execution, .timeout_ns = 150 * SKINK_MS, .max_requests = 2, .max_queue = 10 });
    start(&shop);
    int stuck = ask(&shop, "/block", 0);
    test_wait_until(atomic_load(&shop.entered) == 1, WAIT_MS);
    int next = ask(&shop, "/step", 1);
    hello(&shop); /* waits for a permit, of which there are two */
    expect_error(stuck, 504, "\"number\":1012,", true);
    client_expect(next, "", 200, "stepped");
    client_expect(stuck, "GET /step HTTP/1.1\r\n" H "\r\n", 200, "stepped"); /* the connection lives on */
    assert_int_equal(stats(&shop).stuck, 1);
    assert_int_equal(recovery_stats(&shop).strays, 1);
    assert_int_equal(recovery_stats(&shop).deadlocks, 1);
    test_wait_until(permits(&shop) == 0, WAIT_MS);
    assert_int_equal(fixture_stats(&shop.fixture).in_flight, 0);
    atomic_store(&shop.release, -1);
    test_wait_until(fixture_stats(&shop.fixture).late_answers_dropped == 1, WAIT_MS);
    test_wait_until(recovery_stats(&shop).strays == 0 && recovery_stats(&shop).strays_returned == 1, WAIT_MS);
    test_wait_until(atomic_load(&shop.left) == 3, WAIT_MS);
    assert_int_equal(atomic_load(&shop.result), -ECANCELED);
    client_expect(next, "GET /step HTTP/1.1\r\n" H "\r\n", 200, "stepped");
    close(stuck), close(next);
    destroy(&shop);
}

static void on_threads_a_request_past_its_deadline_gets_504(void **state)
{
    past_its_deadline_a_request_gets_504(state, SKINK_EXECUTE_THREADS);
}

static void in_serial_the_next_one_goes_on(void **state)
{
    past_its_deadline_a_request_gets_504(state, SKINK_EXECUTE_SERIAL);
}

/* One that suspends blocks nobody, but its time is its time. */
static void a_request_that_is_suspended_past_its_time_gets_504(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 1, .execution = SKINK_EXECUTE_SERIAL, .timeout_ns = 150 * SKINK_MS });
    start(&shop);
    int fd = ask(&shop, "/long", 0), next = ask(&shop, "/step", 1);
    expect_error(fd, 504, "\"number\":1012,", false);
    client_expect(next, "", 200, "stepped");
    test_wait_until(stats(&shop).overdue == 1 && atomic_load(&shop.left) == 2, WAIT_MS);
    test_wait_until(fixture_stats(&shop.fixture).late_answers_dropped == 1, WAIT_MS);
    assert_int_equal(recovery_stats(&shop).deadlocks, 0);
    close(fd), close(next);
    destroy(&shop);
}

static void its_waits_end_when_its_time_is_up(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS, .timeout_ns = 50 * SKINK_MS });
    start(&shop);
    int fd = ask(&shop, "/long", 0);
    expect_error(fd, 504, "\"number\":1012,", false);
    test_wait_until(atomic_load(&shop.result) == -ETIMEDOUT, WAIT_MS);
    close(fd);
    destroy(&shop);
}

static void a_route_has_its_own_deadline(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 2, .execution = SKINK_EXECUTE_THREADS, .timeout_ns = 60 * SKINK_S });
    assert_int_equal(skink_http_route_set_timeout(shop.fixture.server, "/block", 50 * SKINK_MS), 0);
    assert_int_equal(skink_http_route_set_request_timeout(shop.fixture.server, "/long", 50 * SKINK_MS), 0);
    start(&shop);
    int blocks = ask(&shop, "/block", 0), sleeps = ask(&shop, "/long", 1);
    expect_error(blocks, 504, "\"number\":1012,", true);
    expect_error(sleeps, 504, "\"number\":1010,", false);
    close(blocks), close(sleeps);
    destroy(&shop);
}

/* One that blocks until its request's time is over loses its thread then, however long the loop's own timeout is. */
static void past_its_request_timeout_a_worker_is_replaced(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS, .timeout_ns = 60 * SKINK_S });
    skink_workers_set_timeouts(shop.workers, 60 * SKINK_S, 0);
    assert_int_equal(skink_http_set_request_timeout(shop.fixture.server, 80 * SKINK_MS), 0);
    start(&shop);
    int fd = ask(&shop, "/block", 0);
    struct reply reply;
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, 504);
    reply_free(&reply);
    test_wait_until(recovery_stats(&shop).strays == 1, WAIT_MS);
    client_expect(fd, "GET /step HTTP/1.1\r\n" H "\r\n", 200, "stepped");
    assert_int_equal(stats(&shop).stuck, 1);
    close(fd);
    destroy(&shop);
}

/* The time of the whole request runs from its arrival on, also while it waits for a worker. */
static void a_request_timeout_holds_on_workers_too(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS });
    assert_int_equal(skink_http_set_request_timeout(shop.fixture.server, 80 * SKINK_MS), 0);
    start(&shop);
    int runs = ask(&shop, "/block", 0);
    test_wait_until(atomic_load(&shop.entered) == 1, WAIT_MS);
    int waits = ask(&shop, "/step", 1);
    expect_error(runs, 504, "\"number\":1010,", false);
    expect_error(waits, 504, "\"number\":1010,", false);
    assert_int_equal(stats(&shop).queued, 0);
    atomic_store(&shop.release, -1);
    test_wait_until(permits(&shop) == 0, WAIT_MS);
    assert_int_equal(atomic_load(&shop.entered), 1);
    assert_int_equal(atomic_load(&shop.result), -ECANCELED); /* too late an answer */
    int suspended = ask(&shop, "/long", 2);
    expect_error(suspended, 504, "\"number\":1010,", false);
    test_wait_until(atomic_load(&shop.result) == -ETIMEDOUT, WAIT_MS);
    close(runs), close(waits), close(suspended);
    destroy(&shop);
}

/* Strays of workers are strays: past the limit a worker is lost until one returns; the last one takes the route along. */
static void the_limit_of_strays_holds_for_workers(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop,
           &(struct setup){
               .threads = 2, .execution = SKINK_EXECUTE_THREADS, .timeout_ns = 100 * SKINK_MS, .max_strays = 1 });
    start(&shop);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = ask(&shop, "/block", i);
        expect_error(fds[i], 504, "\"number\":1012,", true);
    }
    test_wait_until(stats(&shop).held == 2, WAIT_MS);
    assert_int_equal(skink_recovery_health(shop.recovery), SKINK_HEALTH_STRAY_LIMIT);
    int refused = ask(&shop, "/step", 3);
    expect_error(refused, 503, "\"number\":1003,", false);
    hello(&shop);
    atomic_store(&shop.release, -1);
    test_wait_until(recovery_stats(&shop).strays == 0 && stats(&shop).held == 0, WAIT_MS);
    client_expect(refused, "GET /step HTTP/1.1\r\n" H "\r\n", 200, "stepped");
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    close(refused);
    destroy(&shop);
}

static void after_many_stuck_ones_all_permits_and_workers_are_there(void **state)
{
    (void)state;
    enum { PERMITS = 2, STUCK = 10 * PERMITS };
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 3,
                                   .execution = SKINK_EXECUTE_THREADS,
                                   .timeout_ns = 50 * SKINK_MS,
                                   .max_strays = STUCK + 1,
                                   .max_requests = PERMITS,
                                   .max_queue = STUCK });
    start(&shop);
    int fds[STUCK];
    for (int i = 0; i < STUCK; i++)
        fds[i] = ask(&shop, "/block", i);
    for (int i = 0; i < STUCK; i++) {
        expect_error(fds[i], 504, "\"number\":1012,", true);
        close(fds[i]);
    }
    test_wait_until(permits(&shop) == 0 && stats(&shop).busy == 0, WAIT_MS);
    atomic_store(&shop.release, -1);
    test_wait_until(recovery_stats(&shop).strays == 0 && atomic_load(&shop.left) == STUCK, WAIT_MS);
    assert_int_equal(permits(&shop), 0);
    int fd = ask(&shop, "/step", 0);
    client_expect(fd, "", 200, "stepped");
    close(fd);
    destroy(&shop);
}

/* Goal: a worker that waits for the loop to take its answer is not stuck, however long the loop is.
 * | loop                  | worker                       |
 * | /stick blocks it      | works for nearly the timeout |
 * |                       | answers: waits for the loop  |
 * | taken over            |                              |
 * | sends the answer      |                              | */
static void stick(skink_request *request, void *arg)
{
    struct shop *shop = arg;
    atomic_fetch_add(&shop->inside, 1);
    for (uint64_t end = skink_after(SKINK_S); skink_now() < end;)
        usleep(1000);
    skink_respond_text(request, 200, "free");
}

static void work(skink_request *request, void *arg)
{
    struct shop *shop = arg;
    for (uint64_t end = skink_after(150 * SKINK_MS); skink_now() < end;)
        usleep(1000);
    atomic_store(&shop->result, skink_respond_text(request, 200, "worked"));
}

static void a_loop_that_is_stuck_costs_no_worker(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 1, .timeout_ns = 250 * SKINK_MS });
    skink_route_options on_threads = SKINK_ROUTE_OPTIONS_INIT;
    on_threads.execution = SKINK_EXECUTE_THREADS;
    assert_int_equal(skink_http_route(shop.fixture.server, "GET", "/work", &on_threads, work, &shop), 0);
    fixture_route(&shop.fixture, "GET", "/stick", stick, &shop);
    start(&shop);
    int works = ask(&shop, "/work", 0);
    test_wait_until(stats(&shop).busy == 1, WAIT_MS);
    int sticks = ask(&shop, "/stick", 1);
    client_expect(works, "", 200, "worked");
    assert_int_equal(stats(&shop).stuck + stats(&shop).overdue, 0);
    assert_int_equal(recovery_stats(&shop).deadlocks, 1);
    assert_int_equal(atomic_load(&shop.result), 0);
    close(works), close(sticks);
    destroy(&shop);
}

/* ---- clients that leave ---- */

static void a_client_that_leaves_cancels_its_request(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS });
    start(&shop);
    int runs = ask(&shop, "/long", 0);
    test_wait_until(atomic_load(&shop.entered) == 1, WAIT_MS);
    int waits = ask(&shop, "/long", 1), stays = ask(&shop, "/step", 2);
    test_wait_until(stats(&shop).queued == 2, WAIT_MS);
    close(waits); /* it is only waiting: it leaves the queue */
    test_wait_until(stats(&shop).queued == 1, WAIT_MS);
    client_reset(runs);
    test_wait_until(atomic_load(&shop.left) >= 1, WAIT_MS);
    client_expect(stays, "", 200, "stepped");
    assert_int_equal(atomic_load(&shop.entered), 2);
    assert_int_equal(fixture_code_count(&shop.fixture, 499), 2);
    test_wait_until(permits(&shop) == 0, WAIT_MS);
    close(stays);
    destroy(&shop);
}

/* ---- the end ---- */

static void a_stop_lets_requests_finish(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 2, .execution = SKINK_EXECUTE_THREADS });
    start(&shop);
    int fds[6];
    for (int i = 0; i < 6; i++)
        fds[i] = ask(&shop, "/step", i);
    test_wait_until(stats(&shop).started + stats(&shop).queued == 6, WAIT_MS);
    assert_int_equal(skink_workers_stop(shop.workers, skink_after(5 * SKINK_S)), 0);
    for (int i = 0; i < 6; i++)
        client_expect(fds[i], "", 200, "stepped");
    client_send_text(fds[0], "GET /step HTTP/1.1\r\n" H "\r\n");
    expect_error(fds[0], 503, "\"number\":1006,", false);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    destroy(&shop);
}

/* Nobody watches: the stop itself leaves them behind. Suspended ones are cancelled, waiting ones told. */
static void a_stop_with_stuck_workers_does_not_hang(void **state)
{
    (void)state;
    static struct shop shop; /* the strays', for longer than this function */
    create(&shop, &(struct setup){ .threads = 4, .execution = SKINK_EXECUTE_THREADS });
    start(&shop);
    int stuck[3], suspended, waits;
    for (int i = 0; i < 3; i++)
        stuck[i] = ask(&shop, "/block", i);
    suspended = ask(&shop, "/long", 3);
    test_wait_until(stats(&shop).busy == 4, WAIT_MS);
    waits = ask(&shop, "/step", 4);
    test_wait_until(stats(&shop).queued == 1, WAIT_MS);
    uint64_t begun = test_now_ns();
    assert_int_equal(skink_workers_stop(shop.workers, skink_after(100 * SKINK_MS)), -ECANCELED);
    assert_true(test_now_ns() - begun < test_ms(4000));
    expect_error(waits, 503, "\"number\":1006,", false);
    client_expect(suspended, "", 200, "slept");
    begun = test_now_ns();
    skink_workers_destroy(shop.workers);
    fixture_destroy(&shop.fixture);
    assert_true(test_now_ns() - begun < test_ms(4000));
    atomic_store(&shop.release, -1); /* they come back to nothing, and free what they hold */
    test_wait_until(atomic_load(&shop.inside) == 0, WAIT_MS);
    for (int i = 0; i < 3; i++)
        close(stuck[i]);
    close(suspended), close(waits);
}

/* Stopped in the wrong order: what a worker still says has nobody to say it to, and it is told so. */
static void a_worker_whose_loop_has_stopped_is_refused(void **state)
{
    (void)state;
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS });
    start(&shop);
    int fd = ask(&shop, "/block", 0);
    test_wait_until(atomic_load(&shop.entered) == 1, WAIT_MS);
    assert_int_equal(skink_scheduler_stop(shop.fixture.scheduler, skink_now()), 0); /* no task of its own is cut */
    atomic_store(&shop.release, -1);
    test_wait_until(atomic_load(&shop.left) == 1, WAIT_MS);
    assert_int_equal(atomic_load(&shop.result), -ECANCELED);
    test_wait_until(stats(&shop).busy == 0, WAIT_MS);
    close(fd);
    destroy(&shop);
}

/* ---- several loops ---- */

static void routes_are_copied_to_another_loop(void **state)
{
    (void)state;
    struct fixture first, second;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.flags = SKINK_HTTP_REUSE_PORT;
    fixture_create(&first, NULL, &options);
    fixture_create(&second, NULL, &options);
    fixture_add_common_routes(&first);
    static struct shop shop;
    assert_int_equal(skink_http_use_on(first.server, "/hello", note_way_out, &shop), 0);
    assert_int_equal(skink_http_route_set_limits(first.server, "/sleep", 3, 4), 0);
    assert_int_equal(skink_http_copy_routes(NULL, second.server), -EINVAL);
    assert_int_equal(skink_http_copy_routes(first.server, first.server), -EINVAL);
    assert_int_equal(skink_http_copy_routes(first.server, second.server), 0);
    assert_int_equal(skink_http_copy_routes(first.server, second.server), -EINVAL);
    const char *method, *pattern;
    assert_true(skink_http_route_at(second.server, 2, &method, &pattern));
    assert_string_equal(pattern, "/sleep");
    fixture_start(&first);
    fixture_start(&second);
    for (int i = 0; i < 3; i++) {
        int fd = client_connect(i ? second.port : first.port);
        client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
        client_expect(fd, "GET /nowhere HTTP/1.1\r\n" H "\r\n", 404, NULL);
        close(fd);
    }
    /* What the first counts is what all count; the second counts for itself as well. */
    assert_int_equal(fixture_stats(&first).requests, 6);
    assert_int_equal(fixture_code_count(&first, 404), 3);
    assert_int_equal(fixture_stats(&second).requests, 4);
    struct skink__http_limit_stats limit = { .route = "/sleep" };
    skink__http_stats_limits(first.server, add_limit_of, &limit);
    assert_int_equal(limit.max_requests, 6);
    fixture_destroy(&second); /* its memory stays for as long as the first counts it */
    assert_int_equal(fixture_stats(&first).requests, 6);
    fixture_destroy(&first);
}

static void routes_are_not_copied_to_a_server_that_has_some(void **state)
{
    (void)state;
    struct fixture first, second;
    fixture_create(&first, NULL, NULL);
    fixture_create(&second, NULL, NULL);
    fixture_add_common_routes(&second);
    assert_int_equal(skink_http_copy_routes(first.server, second.server), -EINVAL);
    fixture_start(&first);
    fixture_destroy(&second);
    fixture_create(&second, NULL, NULL);
    assert_int_equal(skink_http_copy_routes(first.server, second.server), -EBUSY);
    fixture_destroy(&second);
    fixture_destroy(&first);
}

static void workers_stop_and_are_destroyed_unused(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct shop shop;
        create(&shop, &(struct setup){ .threads = 3, .execution = SKINK_EXECUTE_SERIAL, .timeout_ns = SKINK_S });
        if (i) start(&shop);
        if (i == 2) assert_int_equal(skink_workers_start(shop.workers), -EALREADY);
        destroy(&shop);
    }
}

/* ---- a storm ---- */

static void many_requests_on_all_ways_are_each_answered_once(void **state)
{
    (void)state;
    enum { CLIENTS = 8, ROUNDS = 60 };
    struct shop shop;
    create(&shop, &(struct setup){ .threads = 4,
                                   .execution = SKINK_EXECUTE_THREADS,
                                   .timeout_ns = 20 * SKINK_S,
                                   .max_requests = 6,
                                   .max_queue = CLIENTS });
    atomic_store(&shop.release, -1);
    fixture_route(&shop.fixture, "GET", "/one", step, &shop);
    assert_int_equal(skink_http_route_set_execution(shop.fixture.server, "/one", SKINK_EXECUTE_SERIAL), 0);
    start(&shop);
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
    test_wait_until(permits(&shop) == 0 && stats(&shop).busy == 0, WAIT_MS);
    assert_int_equal(fixture_stats(&shop.fixture).in_flight, 0);
    destroy(&shop);
}

static void read_permits(const struct skink__http_limit_stats *limit, void *arg)
{
    if (strcmp(limit->route, "(all)") == 0) *(uint64_t *)arg = limit->in_use;
}

static uint64_t permits(const struct shop *shop)
{
    uint64_t in_use = 0;
    skink__http_stats_limits(shop->fixture.server, read_permits, &in_use);
    return in_use;
}

static const struct test_case cases[] = {
    CASE(handlers_that_block_run_side_by_side),
    CASE(serial_requests_run_one_by_one_in_order),
    CASE(each_route_has_its_own_way),
    CASE(what_needs_workers_is_refused_without),
    CASE(everything_a_task_may_call_works_on_a_worker),
    CASE(a_handler_that_says_nothing_is_answered_for),
    CASE(bodies_and_answers_go_piece_by_piece_on_a_worker_too),
    CASE(on_threads_a_request_past_its_deadline_gets_504),
    CASE(in_serial_the_next_one_goes_on),
    CASE(a_request_that_is_suspended_past_its_time_gets_504),
    CASE(its_waits_end_when_its_time_is_up),
    CASE(a_route_has_its_own_deadline),
    CASE(past_its_request_timeout_a_worker_is_replaced),
    CASE(a_request_timeout_holds_on_workers_too),
    CASE(the_limit_of_strays_holds_for_workers),
    CASE(after_many_stuck_ones_all_permits_and_workers_are_there),
    CASE(a_loop_that_is_stuck_costs_no_worker),
    CASE(a_client_that_leaves_cancels_its_request),
    CASE(a_stop_lets_requests_finish),
    CASE(a_stop_with_stuck_workers_does_not_hang),
    CASE(a_worker_whose_loop_has_stopped_is_refused),
    CASE(workers_stop_and_are_destroyed_unused),
    CASE(routes_are_copied_to_another_loop),
    CASE(routes_are_not_copied_to_a_server_that_has_some),
    CASE(many_requests_on_all_ways_are_each_answered_once),
};
TEST_MAIN(cases, NULL, NULL)
