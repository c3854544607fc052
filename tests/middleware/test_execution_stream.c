/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_execution_stream.c - answers and bodies that go piece by piece,
 * with their handlers on workers. */
#include "tests/middleware/shop.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE_BYTES = 16384, BIG_BYTES = 24 * 1024 * 1024 };

/* Of the one request of a case. Tasks and the loop write, the test reads. */
static _Atomic size_t moved; /* bytes written, or read */
static atomic_int result, done;
static atomic_int told, outcome, status; /* of the access record */

static void note_access(const skink_access *access, void *shop)
{
    (void)shop;
    atomic_store(&outcome, (int)access->outcome);
    atomic_store(&status, access->status);
    atomic_fetch_add(&told, 1);
}

static void finish(int err)
{
    atomic_store(&result, err);
    atomic_fetch_add(&done, 1);
}

static void block_until_released(struct shop *shop)
{
    while (!atomic_load(&shop->release))
        usleep(1000);
}

/* "one", and "two" once it is let go; blocks its thread, or suspends (?suspend=1), in between. */
static void give_two(skink_request *request, void *arg)
{
    int err = skink_response_begin(request, 200, "text/plain", SKINK_LENGTH_UNKNOWN);
    if (!err) err = skink_response_write(request, "one", 3);
    if (skink_request_query(request, "suspend"))
        (void)!skink_sleep(100 * SKINK_S);
    else
        block_until_released(arg);
    if (!err) err = skink_response_write(request, "two", 3);
    if (!err) err = skink_response_end(request);
    finish(err);
}

/* As much as nobody reads at once. */
static void give_much(skink_request *request, void *arg)
{
    (void)arg;
    static const char piece[PIECE_BYTES];
    int err = skink_response_begin(request, 200, "text/plain", BIG_BYTES);
    for (size_t at = 0; at < BIG_BYTES && !err; at += PIECE_BYTES) {
        err = skink_response_write(request, piece, PIECE_BYTES);
        if (!err) atomic_fetch_add(&moved, PIECE_BYTES);
    }
    if (!err) err = skink_response_end(request);
    finish(err);
}

static void take(skink_request *request, void *arg)
{
    (void)arg;
    char bytes[PIECE_BYTES], text[32];
    size_t length = 1;
    int err = 0;
    while (!err && length > 0) {
        err = skink_request_read(request, bytes, sizeof bytes, &length);
        if (!err) atomic_fetch_add(&moved, length);
    }
    snprintf(text, sizeof text, "%zu", atomic_load(&moved));
    if (!err) err = skink_respond_text(request, 200, text);
    finish(err);
}

/* timeout_ns: see struct shop_setup. */
static void start(struct shop *shop, skink_execution execution, uint64_t timeout_ns, uint64_t request_timeout_ns)
{
    shop_create(
        shop,
        &(struct shop_setup){
            .threads = 2, .execution = execution, .timeout_ns = timeout_ns, .max_strays = 4, .access = note_access });
    skink_route_options options = SKINK_ROUTE_OPTIONS_INIT;
    options.stream_body = true;
    options.max_body_bytes = BIG_BYTES;
    assert_int_equal(skink_http_route(shop->fixture.server, "POST", "/take", &options, take, shop), 0);
    fixture_route(&shop->fixture, "GET", "/two", give_two, shop);
    fixture_route(&shop->fixture, "GET", "/much", give_much, shop);
    assert_int_equal(skink_http_set_request_timeout(shop->fixture.server, request_timeout_ns), 0);
    shop_start(shop);
}

/* Read and throw away; how much came until the end. */
static size_t drain(int fd)
{
    char bytes[PIECE_BYTES];
    size_t total = 0;
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        total += (size_t)n;
    return total;
}

/* --- pieces --- */

static void a_piece_goes_out_as_it_is_written(void **state, skink_execution execution)
{
    (void)state;
    struct shop shop;
    start(&shop, execution, 0, 0);
    int fd = shop_ask(&shop, "/two", 0);
    client_skip_head(fd);
    client_expect_bytes(fd, "3\r\none\r\n"); /* its thread is blocked */
    assert_int_equal(atomic_load(&done), 0);
    atomic_store(&shop.release, 1);
    client_expect_bytes(fd, "3\r\ntwo\r\n0\r\n\r\n");
    client_expect(fd, "GET /step HTTP/1.1\r\n" H "\r\n", 200, "stepped"); /* the connection goes on */
    test_wait_until(atomic_load(&done) == 1, WAIT_MS);
    assert_int_equal(atomic_load(&result), 0);
    assert_int_equal(atomic_load(&outcome), SKINK_OUTCOME_OK);
    close(fd);
    shop_destroy(&shop);
}

static void on_threads_a_piece_goes_out_as_it_is_written(void **state)
{
    a_piece_goes_out_as_it_is_written(state, SKINK_EXECUTE_THREADS);
}

static void in_serial_a_piece_goes_out_as_it_is_written(void **state)
{
    a_piece_goes_out_as_it_is_written(state, SKINK_EXECUTE_SERIAL);
}

static void a_body_is_taken_as_it_comes(void **state, skink_execution execution)
{
    (void)state;
    struct shop shop;
    start(&shop, execution, 0, 0);
    int fd = client_connect(shop.fixture.port);
    client_send_text(fd, "POST /take HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    test_wait_until(atomic_load(&moved) == 5, WAIT_MS);
    client_send_text(fd, "6\r\n world\r\n");
    test_wait_until(atomic_load(&moved) == 11, WAIT_MS);
    client_send_text(fd, "0\r\n\r\nGET /step HTTP/1.1\r\n" H "\r\n");
    client_expect(fd, "", 200, "11");
    client_expect(fd, "", 200, "stepped");
    test_wait_until(atomic_load(&done) == 1, WAIT_MS);
    assert_int_equal(atomic_load(&result), 0);
    close(fd);
    shop_destroy(&shop);
}

static void on_threads_a_body_is_taken_as_it_comes(void **state)
{
    a_body_is_taken_as_it_comes(state, SKINK_EXECUTE_THREADS);
}

static void in_serial_a_body_is_taken_as_it_comes(void **state)
{
    a_body_is_taken_as_it_comes(state, SKINK_EXECUTE_SERIAL);
}

/* --- the limits --- */

static void a_slow_reader_suspends_the_writer(void **state, skink_execution execution)
{
    (void)state;
    struct shop shop;
    start(&shop, execution, 0, 0);
    int fd = client_connect(shop.fixture.port);
    client_send_text(fd, "GET /much HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    /* What the kernel holds (a few megabytes at most) and the bound: then it stands still. */
    size_t before = 0, now = 0;
    for (int quiet = 0; now == 0 || quiet < 50; quiet++) {
        now = atomic_load(&moved);
        if (now != before) quiet = 0;
        before = now;
        test_nap();
    }
    assert_in_range(now, 1, BIG_BYTES / 2);
    assert_int_equal(atomic_load(&done), 0);
    shop_hello(&shop); /* the loop is not held by it */
    assert_in_range(drain(fd), BIG_BYTES, BIG_BYTES + 1024);
    test_wait_until(atomic_load(&done) == 1, WAIT_MS);
    assert_int_equal(atomic_load(&result), 0);
    close(fd);
    shop_destroy(&shop);
}

static void on_threads_a_slow_reader_suspends_the_writer(void **state)
{
    a_slow_reader_suspends_the_writer(state, SKINK_EXECUTE_THREADS);
}

static void in_serial_a_slow_reader_suspends_the_writer(void **state)
{
    a_slow_reader_suspends_the_writer(state, SKINK_EXECUTE_SERIAL);
}

/* --- its time passes in the middle --- */

/* A 504 cannot be sent any more: the connection is cut behind what was written, once, and counted and logged so. */
static void expect_cut(struct shop *shop, int fd, skink_outcome expected)
{
    char rest[64];
    client_skip_head(fd);
    client_expect_bytes(fd, "3\r\none\r\n");
    assert_true(recv(fd, rest, sizeof rest, 0) <= 0); /* no last chunk, and no second head */
    close(fd);
    test_wait_until(atomic_load(&told) == 1, WAIT_MS);
    assert_int_equal(atomic_load(&outcome), expected);
    assert_int_equal(atomic_load(&status), 200);
    assert_int_equal(fixture_stats(&shop->fixture).answers_cut, 1);
    assert_int_equal(fixture_stats(&shop->fixture).in_flight, 0);
    atomic_store(&shop->release, 1);
    test_wait_until(atomic_load(&done) == 1, WAIT_MS);
    assert_int_equal(atomic_load(&result), -ECANCELED); /* what it writes later goes nowhere */
    assert_int_equal(fixture_stats(&shop->fixture).late_answers_dropped, 1);
    shop_hello(shop);
    assert_int_equal(atomic_load(&told), 2);
}

static void past_the_requests_deadline_it_is_cut(void **state, skink_execution execution, const char *path)
{
    (void)state;
    struct shop shop;
    start(&shop, execution, 0, 150 * SKINK_MS);
    expect_cut(&shop, shop_ask(&shop, path, 0), SKINK_OUTCOME_EXPIRED);
    assert_int_equal(fixture_stats(&shop.fixture).requests_expired, 1);
    shop_destroy(&shop);
}

static void on_threads_past_the_requests_deadline_it_is_cut(void **state)
{
    past_the_requests_deadline_it_is_cut(state, SKINK_EXECUTE_THREADS, "/two");
}

static void in_serial_past_the_requests_deadline_it_is_cut(void **state)
{
    past_the_requests_deadline_it_is_cut(state, SKINK_EXECUTE_SERIAL, "/two");
}

static void suspended_past_the_requests_deadline_it_is_cut(void **state)
{
    (void)state;
    struct shop shop;
    start(&shop, SKINK_EXECUTE_THREADS, 0, 150 * SKINK_MS);
    int fd = client_connect(shop.fixture.port);
    client_send_text(fd, "GET /two?suspend=1 HTTP/1.1\r\n" H "\r\n");
    expect_cut(&shop, fd, SKINK_OUTCOME_EXPIRED);
    shop_destroy(&shop);
}

static void suspended_past_the_time_of_its_worker_it_is_cut(void **state)
{
    (void)state;
    struct shop shop;
    start(&shop, SKINK_EXECUTE_THREADS, 150 * SKINK_MS, 0);
    int fd = client_connect(shop.fixture.port);
    client_send_text(fd, "GET /two?suspend=1 HTTP/1.1\r\n" H "\r\n");
    expect_cut(&shop, fd, SKINK_OUTCOME_EXPIRED);
    assert_int_equal(shop_stats(&shop).overdue, 1);
    shop_destroy(&shop);
}

static void stuck_in_the_middle_it_is_cut(void **state, skink_execution execution)
{
    (void)state;
    struct shop shop;
    start(&shop, execution, 150 * SKINK_MS, 0);
    expect_cut(&shop, shop_ask(&shop, "/two", 0), SKINK_OUTCOME_DEADLOCK);
    assert_int_equal(shop_stats(&shop).stuck, 1);
    shop_destroy(&shop);
}

static void on_threads_stuck_in_the_middle_it_is_cut(void **state)
{
    stuck_in_the_middle_it_is_cut(state, SKINK_EXECUTE_THREADS);
}

static void in_serial_stuck_in_the_middle_it_is_cut(void **state)
{
    stuck_in_the_middle_it_is_cut(state, SKINK_EXECUTE_SERIAL);
}

static const struct test_case cases[] = {
    CASE(on_threads_a_piece_goes_out_as_it_is_written),    CASE(in_serial_a_piece_goes_out_as_it_is_written),
    CASE(on_threads_a_body_is_taken_as_it_comes),          CASE(in_serial_a_body_is_taken_as_it_comes),
    CASE(on_threads_a_slow_reader_suspends_the_writer),    CASE(in_serial_a_slow_reader_suspends_the_writer),
    CASE(on_threads_past_the_requests_deadline_it_is_cut), CASE(in_serial_past_the_requests_deadline_it_is_cut),
    CASE(suspended_past_the_requests_deadline_it_is_cut),  CASE(suspended_past_the_time_of_its_worker_it_is_cut),
    CASE(on_threads_stuck_in_the_middle_it_is_cut),        CASE(in_serial_stuck_in_the_middle_it_is_cut),
};
TEST_MAIN(cases, NULL, NULL)
