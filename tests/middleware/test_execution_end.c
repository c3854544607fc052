/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_execution_end.c - workers and their clients: who leaves, who stops;
 * and routes on several loops. */
#include "skink/blocking.h"
#include "skink/shutdown.h"
#include "tests/middleware/shop.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

/* ---- clients that leave ---- */

static void a_client_that_leaves_cancels_its_request(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS });
    shop_start(&shop);
    int runs = shop_ask(&shop, "/long", 0);
    test_wait_until(atomic_load(&shop.entered) == 1, WAIT_MS);
    int waits = shop_ask(&shop, "/long", 1), stays = shop_ask(&shop, "/step", 2);
    test_wait_until(shop_stats(&shop).queued == 2, WAIT_MS);
    close(waits); /* it is only waiting: it leaves the queue */
    test_wait_until(shop_stats(&shop).queued == 1, WAIT_MS);
    client_reset(runs);
    test_wait_until(atomic_load(&shop.left) >= 1, WAIT_MS);
    client_expect(stays, "", 200, "stepped");
    assert_int_equal(atomic_load(&shop.entered), 2);
    test_wait_until(fixture_code_count(&shop.fixture, 499) == 2, WAIT_MS);
    test_wait_until(shop_permits(&shop) == 0, WAIT_MS);
    close(stays);
    shop_destroy(&shop);
}

/* ---- the end ---- */

static void a_stop_lets_requests_finish(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 2, .execution = SKINK_EXECUTE_THREADS });
    shop_start(&shop);
    int fds[6];
    for (int i = 0; i < 6; i++)
        fds[i] = shop_ask(&shop, "/step", i);
    test_wait_until(shop_stats(&shop).started + shop_stats(&shop).queued == 6, WAIT_MS);
    assert_int_equal(skink_workers_stop(shop.workers, test_deadline_ns(5000)), 0);
    for (int i = 0; i < 6; i++)
        client_expect(fds[i], "", 200, "stepped");
    client_send_text(fds[0], "GET /step HTTP/1.1\r\n" H "\r\n");
    shop_expect_error(fds[0], 503, "\"number\":1006,", false);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    shop_destroy(&shop);
}

/* Nobody watches: the stop itself leaves them behind. Suspended ones are cancelled, waiting ones told. */
static void a_stop_with_stuck_workers_does_not_hang(void **state)
{
    (void)state;
    static struct shop shop; /* the strays', for longer than this function */
    shop_create(&shop, &(struct shop_setup){ .threads = 4, .execution = SKINK_EXECUTE_THREADS });
    shop_start(&shop);
    int stuck[3], suspended, waits;
    for (int i = 0; i < 3; i++)
        stuck[i] = shop_ask(&shop, "/block", i);
    suspended = shop_ask(&shop, "/long", 3);
    test_wait_until(shop_stats(&shop).busy == 4, WAIT_MS);
    waits = shop_ask(&shop, "/step", 4);
    test_wait_until(shop_stats(&shop).queued == 1, WAIT_MS);
    uint64_t begun = test_now_ns();
    assert_int_equal(skink_workers_stop(shop.workers, skink_after(100 * SKINK_MS)), -ECANCELED);
    assert_true(test_now_ns() - begun < test_ms(test_patience(4000)));
    shop_expect_error(waits, 503, "\"number\":1006,", false);
    client_expect(suspended, "", 200, "slept");
    begun = test_now_ns();
    skink_workers_destroy(shop.workers);
    fixture_destroy(&shop.fixture);
    assert_true(test_now_ns() - begun < test_ms(test_patience(4000)));
    atomic_store(&shop.release, -1); /* they come back to nothing, and free what they hold */
    test_wait_until(atomic_load(&shop.inside) == 0, WAIT_MS);
    for (int i = 0; i < 3; i++)
        close(stuck[i]);
    close(suspended), close(waits);
}

static void block_as_announced(skink_request *request, void *arg)
{
    struct shop *shop = arg;
    (void)!skink_blocking_begin();
    atomic_fetch_add(&shop->entered, 1);
    while (!atomic_load(&shop->release))
        usleep(1000);
    (void)!skink_blocking_end();
    atomic_store(&shop->result, skink_respond_text(request, 200, "blocked"));
    atomic_fetch_add(&shop->left, 1);
}

/* Its thread is off the loop of the only worker, and its client is told all the same. */
static void stop_beside_one_that_is_known_to_block(struct shop *shop)
{
    shop_create(shop,
                &(struct shop_setup){
                    .threads = 1, .execution = SKINK_EXECUTE_THREADS, .timeout_ns = 60 * SKINK_S, .max_requests = 1 });
    fixture_route(&shop->fixture, "GET", "/announced", block_as_announced, shop);
    shop_start(shop);
    int fd = shop_ask(shop, "/announced", 0);
    test_wait_until(atomic_load(&shop->entered) == 1 && shop_recovery_stats(shop).blocking_handed_on == 1, WAIT_MS);
    assert_int_equal(skink_workers_stop(shop->workers, skink_now()), -ECANCELED);
    shop_expect_error(fd, 503, "\"number\":1006,", false);
    assert_true(client_sees_end(fd, 4000));
    close(fd);
    test_wait_until(shop_permits(shop) == 0, WAIT_MS);
    assert_int_equal(fixture_stats(&shop->fixture).in_flight, 0);
    assert_int_equal(shop_stats(shop).busy, 0);
}

static void expect_step(const struct shop *shop)
{
    int fd = shop_ask(shop, "/step", 1);
    client_expect(fd, "", 200, "stepped");
    close(fd);
}

static void a_stop_answers_one_that_is_known_to_block(void **state)
{
    (void)state;
    struct shop shop;
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    stop_beside_one_that_is_known_to_block(&shop);
    atomic_store(&shop.release, -1);
    skink_scheduler *worker = skink_workers_scheduler_at(shop.workers, 0);
    test_wait_until(skink_scheduler_stats_read(worker, &stats) == 0 && stats.tasks_living == 0, WAIT_MS);
    assert_int_equal(atomic_load(&shop.left), 0);
    assert_int_equal(skink_workers_start(shop.workers), 0);
    expect_step(&shop);
    shop_destroy(&shop);
}

static void one_that_is_known_to_block_may_come_back_after_a_new_start(void **state)
{
    (void)state;
    struct shop shop;
    stop_beside_one_that_is_known_to_block(&shop);
    assert_int_equal(skink_workers_start(shop.workers), 0);
    expect_step(&shop);
    atomic_store(&shop.release, -1);
    test_wait_until(atomic_load(&shop.left) == 2, WAIT_MS);
    assert_int_equal(atomic_load(&shop.result), -ECANCELED);
    test_wait_until(fixture_stats(&shop.fixture).late_answers_dropped == 1, WAIT_MS);
    expect_step(&shop);
    shop_destroy(&shop);
}

/* Stopped in the wrong order: what a worker still says has nobody to say it to,
 * and it is told so. Returns the connection. */
static int stop_the_loop_of_a_worker(struct shop *shop)
{
    shop_create(shop, &(struct shop_setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS });
    shop_start(shop);
    int fd = shop_ask(shop, "/block", 0);
    test_wait_until(atomic_load(&shop->entered) == 1, WAIT_MS);
    assert_int_equal(skink_scheduler_stop(shop->fixture.scheduler, skink_now()), 0); /* no task of its own is cut */
    atomic_store(&shop->release, -1);
    test_wait_until(atomic_load(&shop->left) == 1, WAIT_MS);
    assert_int_equal(atomic_load(&shop->result), -ECANCELED);
    test_wait_until(shop_stats(shop).busy == 0, WAIT_MS);
    return fd;
}

static void a_worker_whose_loop_has_stopped_is_refused(void **state)
{
    (void)state;
    struct shop shop;
    int fd = stop_the_loop_of_a_worker(&shop);
    close(fd);
    shop_destroy(&shop);
}

/* Its connection is still there, and so is the request. */
static void a_loop_that_is_started_again_finds_what_its_worker_left(void **state)
{
    (void)state;
    struct shop shop;
    int fd = stop_the_loop_of_a_worker(&shop);
    assert_int_equal(skink_scheduler_start(shop.fixture.scheduler), 0);
    assert_int_equal(fixture_stats(&shop.fixture).connections, 1);
    close(fd);
    shop_hello(
        &shop); /* before that the loop sees that the other one is gone, and looks for the job, to take it back */
    shop_destroy(&shop);
}

/* Nobody else would answer it. */
static void one_whose_worker_ended_meanwhile_is_answered_at_the_next_start(void **state)
{
    (void)state;
    struct shop shop;
    int fd = stop_the_loop_of_a_worker(&shop);
    assert_int_equal(skink_scheduler_start(shop.fixture.scheduler), 0);
    shop_expect_error(fd, 503, "\"number\":1006,", false);
    assert_true(client_sees_end(fd, 4000));
    close(fd);
    shop_hello(&shop);
    test_wait_until(fixture_stats(&shop.fixture).in_flight == 0, WAIT_MS);
    assert_int_equal(fixture_stats(&shop.fixture).answers_missing, 0);
    shop_destroy(&shop);
}

/* The same with one whose thread was taken away; it comes back later. */
static void one_whose_worker_got_stuck_meanwhile_is_answered_at_the_next_start(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop,
                &(struct shop_setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS, .timeout_ns = 300 * SKINK_MS });
    shop_start(&shop);
    int fd = shop_ask(&shop, "/block", 0);
    test_wait_until(atomic_load(&shop.entered) == 1, WAIT_MS);
    assert_int_equal(skink_scheduler_stop(shop.fixture.scheduler, skink_now()), 0);
    test_wait_until(shop_stats(&shop).stuck == 1, WAIT_MS);
    assert_int_equal(skink_scheduler_start(shop.fixture.scheduler), 0);
    shop_expect_error(fd, 504, "\"number\":1012,", true);
    atomic_store(&shop.release, -1);
    test_wait_until(atomic_load(&shop.left) == 1, WAIT_MS);
    assert_int_equal(atomic_load(&shop.result), -ECANCELED);
    close(fd);
    shop_hello(&shop);
    shop_destroy(&shop);
}

/* Whatever the moment: an answer of the worker's, or one in its place. */
static void one_whose_worker_ends_during_a_start_is_answered(void **state)
{
    (void)state;
    enum { ROUNDS = 40 };
    struct shop shop;
    struct reply reply;
    shop_create(&shop, &(struct shop_setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS });
    shop_start(&shop);
    for (int i = 0; i < ROUNDS; i++) {
        int fd = shop_ask(&shop, "/step", i);
        test_wait_until(atomic_load(&shop.entered) == i + 1, WAIT_MS); /* it takes two milliseconds */
        (void)!skink_scheduler_stop(shop.fixture.scheduler, skink_now());
        for (uint64_t until = test_now_ns() + test_ms(1) * (uint64_t)(i % 5) / 2; test_now_ns() < until;) {
        }
        assert_int_equal(skink_scheduler_start(shop.fixture.scheduler), 0);
        client_read(fd, &reply, false);
        if (reply.status != 200 && reply.status != 503) print_error("%s%s\n", reply.head, reply.body);
        assert_true(reply.status == 200 || reply.status == 503);
        reply_free(&reply);
        close(fd);
        test_wait_until(shop_stats(&shop).busy == 0, WAIT_MS);
    }
    shop_destroy(&shop);
}

static void shut_down_from_here(skink_request *request, void *arg)
{
    struct shop *shop = arg;
    atomic_store(&shop->result, skink_shutdown(&shop->fixture.server, 1, NULL));
    skink_respond_text(request, 200, "asked");
}

static void a_shutdown_by_a_worker_is_refused(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS });
    fixture_route(&shop.fixture, "GET", "/shutdown", shut_down_from_here, &shop);
    shop_start(&shop);
    int fd = shop_ask(&shop, "/shutdown", 0);
    client_expect(fd, "", 200, "asked");
    assert_int_equal(atomic_load(&shop.result), -EDEADLK);
    client_expect(fd, "GET /step HTTP/1.1\r\n" H "\r\n", 200, "stepped"); /* the connection was not told to close */
    close(fd);
    shop_hello(&shop);
    shop_destroy(&shop);
}

struct stopping {
    struct shop *shop;
    int result;
};

static void *stop_patiently(void *arg)
{
    struct stopping *stopping = arg;
    stopping->result = skink_workers_stop(stopping->shop->workers, test_deadline_ns(5000));
    return NULL;
}

/* Suspends for long enough that a stop in a hurry would cut it. */
static void pause_a_while(skink_request *request, void *arg)
{
    struct shop *shop = arg;
    atomic_fetch_add(&shop->entered, 1);
    int err = skink_sleep(300 * SKINK_MS);
    (void)!skink_respond_text(request, err ? 500 : 200, "paused");
}

static bool takes_no_more(const struct shop *shop)
{
    struct reply reply;
    int fd = shop_ask(shop, "/step", 0);
    client_read(fd, &reply, false);
    int status = reply.status;
    reply_free(&reply);
    close(fd);
    return status == 503;
}

/* Goal: of two threads that stop the workers one does it, and the other waits for that, whatever its own deadline.
 * | first, patient          | second, in a hurry      |
 * | waits for the request   |                         |
 * |                         | waits for the first     |
 * | it has ended: 0         |                         |
 * |                         | -EALREADY               | */
static void a_second_stop_waits_for_the_first(void **state)
{
    (void)state;
    struct shop shop;
    pthread_t thread;
    shop_create(&shop, &(struct shop_setup){ .threads = 2, .execution = SKINK_EXECUTE_THREADS });
    fixture_route(&shop.fixture, "GET", "/pause", pause_a_while, &shop);
    shop_start(&shop);
    int fd = shop_ask(&shop, "/pause", 0);
    test_wait_until(atomic_load(&shop.entered) == 1, WAIT_MS);
    struct stopping first = { .shop = &shop, .result = 1 };
    assert_int_equal(pthread_create(&thread, NULL, stop_patiently, &first), 0);
    test_wait_until(takes_no_more(&shop), WAIT_MS);
    int second = skink_workers_stop(shop.workers, skink_now());
    pthread_join(thread, NULL);
    assert_int_equal(first.result, 0);
    assert_int_equal(second, -EALREADY);
    client_expect(fd, "", 200, "paused");
    close(fd);
    shop_destroy(&shop);
}

static void workers_that_were_stopped_can_be_started_again(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 2, .execution = SKINK_EXECUTE_THREADS, .timeout_ns = SKINK_S });
    shop_start(&shop);
    int fd = client_connect(shop.fixture.port);
    for (int i = 0; i < 3; i++) {
        client_expect(fd, "GET /step HTTP/1.1\r\n" H "\r\n", 200, "stepped");
        assert_int_equal(skink_workers_stop(shop.workers, test_deadline_ns(5000)), 0);
        client_send_text(fd, "GET /step HTTP/1.1\r\n" H "\r\n");
        shop_expect_error(fd, 503, "\"number\":1006,", false);
        close(fd);
        assert_int_equal(skink_workers_start(shop.workers), 0);
        fd = client_connect(shop.fixture.port);
    }
    client_expect(fd, "GET /step HTTP/1.1\r\n" H "\r\n", 200, "stepped");
    close(fd);
    shop_destroy(&shop);
}

/* Of the limit whose route is asked for. */
static void add_limit_of(const struct skink__http_limit_stats *limit, void *arg)
{
    struct skink__http_limit_stats *wanted = arg;
    if (strcmp(limit->route, wanted->route) == 0) *wanted = *limit;
}

/* ---- several loops ---- */

static void routes_are_copied_to_another_loop(void **state)
{
    (void)state;
    struct fixture first, second;
    fixture_create_two(&first, &second);
    static struct shop shop;
    assert_int_equal(skink_http_use_on(first.server, "/hello", shop_note_way_out, &shop), 0);
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
    test_wait_until(fixture_code_count(&first, 404) == 3, WAIT_MS);
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
        shop_create(&shop,
                    &(struct shop_setup){ .threads = 3, .execution = SKINK_EXECUTE_SERIAL, .timeout_ns = SKINK_S });
        if (i) shop_start(&shop);
        if (i == 2) assert_int_equal(skink_workers_start(shop.workers), -EALREADY);
        shop_destroy(&shop);
    }
}

static const struct test_case cases[] = {
    CASE(a_client_that_leaves_cancels_its_request),
    CASE(a_stop_lets_requests_finish),
    CASE(a_stop_with_stuck_workers_does_not_hang),
    CASE(a_stop_answers_one_that_is_known_to_block),
    CASE(one_that_is_known_to_block_may_come_back_after_a_new_start),
    CASE(a_worker_whose_loop_has_stopped_is_refused),
    CASE(a_loop_that_is_started_again_finds_what_its_worker_left),
    CASE(one_whose_worker_ended_meanwhile_is_answered_at_the_next_start),
    CASE(one_whose_worker_got_stuck_meanwhile_is_answered_at_the_next_start),
    CASE(one_whose_worker_ends_during_a_start_is_answered),
    CASE(a_second_stop_waits_for_the_first),
    CASE(workers_that_were_stopped_can_be_started_again),
    CASE(a_shutdown_by_a_worker_is_refused),
    CASE(workers_stop_and_are_destroyed_unused),
    CASE(routes_are_copied_to_another_loop),
    CASE(routes_are_not_copied_to_a_server_that_has_some),
};
TEST_MAIN(cases, NULL, NULL)
