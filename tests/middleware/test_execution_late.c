/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_execution_late.c - handlers on workers that get stuck, or take longer than they may. */
#include "tests/middleware/shop.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

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
    shop_create(
        &shop,
        &(struct shop_setup){
            .threads = 1, .execution = execution, .timeout_ns = 150 * SKINK_MS, .max_requests = 2, .max_queue = 10 });
    shop_start(&shop);
    int stuck = shop_ask(&shop, "/block", 0);
    test_wait_until(atomic_load(&shop.entered) == 1, WAIT_MS);
    int next = shop_ask(&shop, "/step", 1);
    shop_hello(&shop); /* waits for a permit, of which there are two */
    shop_expect_error(stuck, 504, "\"number\":1012,", true);
    client_expect(next, "", 200, "stepped");
    client_expect(stuck, "GET /step HTTP/1.1\r\n" H "\r\n", 200, "stepped"); /* the connection lives on */
    assert_int_equal(shop_stats(&shop).stuck, 1);
    assert_int_equal(shop_recovery_stats(&shop).strays, 1);
    assert_int_equal(shop_recovery_stats(&shop).deadlocks, 1);
    test_wait_until(shop_permits(&shop) == 0, WAIT_MS);
    test_wait_until(fixture_stats(&shop.fixture).in_flight == 0, WAIT_MS);
    atomic_store(&shop.release, -1);
    test_wait_until(fixture_stats(&shop.fixture).late_answers_dropped == 1, WAIT_MS);
    test_wait_until(shop_recovery_stats(&shop).strays == 0 && shop_recovery_stats(&shop).strays_returned == 1, WAIT_MS);
    test_wait_until(atomic_load(&shop.left) == 3, WAIT_MS);
    assert_int_equal(atomic_load(&shop.result), -ECANCELED);
    client_expect(next, "GET /step HTTP/1.1\r\n" H "\r\n", 200, "stepped");
    close(stuck), close(next);
    shop_destroy(&shop);
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
    shop_create(&shop,
                &(struct shop_setup){ .threads = 1, .execution = SKINK_EXECUTE_SERIAL, .timeout_ns = 150 * SKINK_MS });
    shop_start(&shop);
    int fd = shop_ask(&shop, "/long", 0), next = shop_ask(&shop, "/step", 1);
    shop_expect_error(fd, 504, "\"number\":1012,", false);
    client_expect(next, "", 200, "stepped");
    test_wait_until(shop_stats(&shop).overdue == 1 && atomic_load(&shop.left) == 2, WAIT_MS);
    test_wait_until(fixture_stats(&shop.fixture).late_answers_dropped == 1, WAIT_MS);
    assert_int_equal(shop_recovery_stats(&shop).deadlocks, 0);
    close(fd), close(next);
    shop_destroy(&shop);
}

static void its_waits_end_when_its_time_is_up(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop,
                &(struct shop_setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS, .timeout_ns = 50 * SKINK_MS });
    shop_start(&shop);
    int fd = shop_ask(&shop, "/long", 0);
    shop_expect_error(fd, 504, "\"number\":1012,", false);
    test_wait_until(atomic_load(&shop.result) == -ETIMEDOUT, WAIT_MS);
    close(fd);
    shop_destroy(&shop);
}

static void a_route_has_its_own_deadline(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop,
                &(struct shop_setup){ .threads = 2, .execution = SKINK_EXECUTE_THREADS, .timeout_ns = 60 * SKINK_S });
    assert_int_equal(skink_http_route_set_timeout(shop.fixture.server, "/block", 50 * SKINK_MS), 0);
    assert_int_equal(skink_http_route_set_request_timeout(shop.fixture.server, "/long", 50 * SKINK_MS), 0);
    shop_start(&shop);
    int blocks = shop_ask(&shop, "/block", 0), sleeps = shop_ask(&shop, "/long", 1);
    shop_expect_error(blocks, 504, "\"number\":1012,", true);
    shop_expect_error(sleeps, 504, "\"number\":1010,", false);
    close(blocks), close(sleeps);
    shop_destroy(&shop);
}

/* One that blocks until its request's time is over loses its thread then, however long the loop's own timeout is. */
static void past_its_request_timeout_a_worker_is_replaced(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop,
                &(struct shop_setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS, .timeout_ns = 60 * SKINK_S });
    skink_workers_set_timeouts(shop.workers, 60 * SKINK_S, 0);
    assert_int_equal(skink_http_set_request_timeout(shop.fixture.server, 80 * SKINK_MS), 0);
    shop_start(&shop);
    int fd = shop_ask(&shop, "/block", 0);
    struct reply reply;
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, 504);
    reply_free(&reply);
    test_wait_until(shop_recovery_stats(&shop).strays == 1, WAIT_MS);
    client_expect(fd, "GET /step HTTP/1.1\r\n" H "\r\n", 200, "stepped");
    assert_int_equal(shop_stats(&shop).stuck, 1);
    close(fd);
    shop_destroy(&shop);
}

/* The time of the whole request runs from its arrival on, also while it waits for a worker. */
static void a_request_timeout_holds_on_workers_too(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS });
    assert_int_equal(skink_http_set_request_timeout(shop.fixture.server, 80 * SKINK_MS), 0);
    shop_start(&shop);
    int runs = shop_ask(&shop, "/block", 0);
    test_wait_until(atomic_load(&shop.entered) == 1, WAIT_MS);
    int waits = shop_ask(&shop, "/step", 1);
    shop_expect_error(runs, 504, "\"number\":1010,", false);
    shop_expect_error(waits, 504, "\"number\":1010,", false);
    test_wait_until(shop_stats(&shop).queued == 0, WAIT_MS); /* the answer goes out before its job is withdrawn */
    atomic_store(&shop.release, -1);
    test_wait_until(shop_permits(&shop) == 0, WAIT_MS);
    assert_int_equal(atomic_load(&shop.entered), 1);
    assert_int_equal(atomic_load(&shop.result), -ECANCELED); /* too late an answer */
    int suspended = shop_ask(&shop, "/long", 2);
    shop_expect_error(suspended, 504, "\"number\":1010,", false);
    test_wait_until(atomic_load(&shop.result) == -ETIMEDOUT, WAIT_MS);
    close(runs), close(waits), close(suspended);
    shop_destroy(&shop);
}

/* Strays of workers are strays: past the limit a worker is lost until one returns;
 * the last one takes the route along. */
static void the_limit_of_strays_holds_for_workers(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop,
                &(struct shop_setup){
                    .threads = 2, .execution = SKINK_EXECUTE_THREADS, .timeout_ns = 100 * SKINK_MS, .max_strays = 1 });
    shop_start(&shop);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = shop_ask(&shop, "/block", i);
        shop_expect_error(fds[i], 504, "\"number\":1012,", true);
    }
    test_wait_until(shop_stats(&shop).held == 2, WAIT_MS);
    assert_int_equal(skink_recovery_health(shop.recovery), SKINK_HEALTH_STRAY_LIMIT);
    int refused = shop_ask(&shop, "/step", 3);
    shop_expect_error(refused, 503, "\"number\":1003,", false);
    shop_hello(&shop);
    atomic_store(&shop.release, -1);
    test_wait_until(shop_recovery_stats(&shop).strays == 0 && shop_stats(&shop).held == 0, WAIT_MS);
    client_expect(refused, "GET /step HTTP/1.1\r\n" H "\r\n", 200, "stepped");
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    close(refused);
    shop_destroy(&shop);
}

static void after_many_stuck_ones_all_permits_and_workers_are_there(void **state)
{
    (void)state;
    enum { PERMITS = 2, STUCK = 10 * PERMITS };
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 3,
                                             .execution = SKINK_EXECUTE_THREADS,
                                             .timeout_ns = 50 * SKINK_MS,
                                             .max_strays = STUCK + 1,
                                             .max_requests = PERMITS,
                                             .max_queue = STUCK });
    shop_start(&shop);
    int fds[STUCK];
    for (int i = 0; i < STUCK; i++)
        fds[i] = shop_ask(&shop, "/block", i);
    for (int i = 0; i < STUCK; i++) {
        shop_expect_error(fds[i], 504, "\"number\":1012,", true);
        close(fds[i]);
    }
    test_wait_until(shop_permits(&shop) == 0 && shop_stats(&shop).busy == 0, WAIT_MS);
    atomic_store(&shop.release, -1);
    test_wait_until(shop_recovery_stats(&shop).strays == 0 && atomic_load(&shop.left) == STUCK, WAIT_MS);
    assert_int_equal(shop_permits(&shop), 0);
    int fd = shop_ask(&shop, "/step", 0);
    client_expect(fd, "", 200, "stepped");
    close(fd);
    shop_destroy(&shop);
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
    while (!atomic_load(&shop->release))
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
    shop_create(&shop, &(struct shop_setup){ .threads = 1, .timeout_ns = 500 * SKINK_MS });
    skink_route_options on_threads = SKINK_ROUTE_OPTIONS_INIT;
    on_threads.execution = SKINK_EXECUTE_THREADS;
    assert_int_equal(skink_http_route(shop.fixture.server, "GET", "/work", &on_threads, work, &shop), 0);
    fixture_route(&shop.fixture, "GET", "/stick", stick, &shop);
    shop_start(&shop);
    int works = shop_ask(&shop, "/work", 0);
    test_wait_until(shop_stats(&shop).busy == 1, WAIT_MS);
    int sticks = shop_ask(&shop, "/stick", 1);
    client_expect(works, "", 200, "worked");
    assert_int_equal(shop_stats(&shop).stuck + shop_stats(&shop).overdue, 0);
    test_wait_until(shop_recovery_stats(&shop).deadlocks == 1, WAIT_MS);
    atomic_store(&shop.release, -1);
    assert_int_equal(atomic_load(&shop.result), 0);
    close(works), close(sticks);
    shop_destroy(&shop);
}

static const struct test_case cases[] = {
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
};
TEST_MAIN(cases, NULL, NULL)
