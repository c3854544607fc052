/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_left_behind.c - requests whose thread a stop leaves behind: stuck, or known to block. */
#include "skink/blocking.h"
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define H "Host: a\r\n"
#define WAIT_MS 6000

struct left {
    struct fixture fixture;
    skink_recovery *recovery;
    _Atomic int entered, release, back;
    _Atomic bool has_token; /* as it came back */
    _Atomic int result;     /* of its answer; 1 until then */
};

static void block_until_released(struct left *left)
{
    atomic_fetch_add(&left->entered, 1);
    while (!atomic_load(&left->release))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static void answer(skink_request *request, struct left *left)
{
    (void)!skink_checkpoint();
    atomic_store(&left->has_token, skink_request_token(request) != NULL);
    atomic_store(&left->result, skink_respond_text(request, 200, "my own"));
    atomic_fetch_add(&left->back, 1);
}

/* What the watchdog is there for. */
static void get_stuck(skink_request *request, void *arg)
{
    block_until_released(arg);
    answer(request, arg);
}

static void block_as_announced(skink_request *request, void *arg)
{
    struct left *left = arg;
    (void)!skink_blocking_begin();
    block_until_released(left);
    (void)!skink_blocking_end();
    answer(request, left);
}

static void write_and_block(skink_request *request, void *arg)
{
    struct left *left = arg;
    (void)!skink_response_begin(request, 200, "text/plain", SKINK_LENGTH_UNKNOWN);
    (void)!skink_response_write(request, "half", 4);
    (void)!skink_blocking_begin();
    block_until_released(left);
    (void)!skink_blocking_end();
    atomic_store(&left->result, skink_response_write(request, "rest", 4));
    atomic_fetch_add(&left->back, 1);
}

/* With room for one task: the next one has the same object. */
static void create(struct left *left, uint64_t timeout_ns)
{
    memset(left, 0, sizeof *left);
    atomic_store(&left->result, 1);
    skink_scheduler_options scheduler = SKINK_SCHEDULER_OPTIONS_INIT;
    scheduler.task_max = 1;
    skink_http_options http = SKINK_HTTP_OPTIONS_INIT;
    http.late_window_ns = 600 * SKINK_S;
    http.max_requests = 1;
    http.max_queue = 1;
    fixture_create(&left->fixture, &scheduler, &http);
    fixture_add_common_routes(&left->fixture);
    fixture_route(&left->fixture, "GET", "/stuck", get_stuck, left);
    fixture_route(&left->fixture, "GET", "/blocking", block_as_announced, left);
    fixture_route(&left->fixture, "GET", "/write", write_and_block, left);
    skink_recovery_options recovery = SKINK_RECOVERY_OPTIONS_INIT;
    recovery.deadlock_timeout_ns = timeout_ns;
    left->recovery = fixture_watch(&left->fixture, &recovery);
}

static bool is_handed_on(const struct left *left)
{
    skink_recovery_stats stats = fixture_recovery_stats(left->recovery);
    return stats.takeovers + stats.blocking_handed_on == 1;
}

static int ask(const struct left *left, const char *path)
{
    char text[64];
    int fd = client_connect(left->fixture.port);
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" H "\r\n", path);
    client_send_text(fd, text);
    return fd;
}

/* Ask for it, and stop the loop while it blocks off it. Returns the connection. */
static int stop_beside(struct left *left, const char *path)
{
    fixture_start(&left->fixture);
    int fd = ask(left, path);
    test_wait_until(atomic_load(&left->entered) == 1 && is_handed_on(left), WAIT_MS);
    assert_int_equal(skink_scheduler_stop(left->fixture.scheduler, skink_now()), -ECANCELED);
    return fd;
}

/* Its thread comes back to a loop that has stopped, and the task is lost. */
static void release(struct left *left)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    atomic_store(&left->release, 1);
    test_wait_until(skink_scheduler_stats_read(left->fixture.scheduler, &stats) == 0 && stats.tasks_living == 0,
                    WAIT_MS);
    skink_recovery_stats recovery = { 0 };
    test_wait_until((recovery = fixture_recovery_stats(left->recovery), !recovery.strays && !recovery.blocking_threads),
                    WAIT_MS);
    assert_int_equal(atomic_load(&left->back), 0);
}

static void start_again(const struct left *left)
{
    assert_int_equal(skink_scheduler_start(left->fixture.scheduler), 0);
}

static void destroy(struct left *left)
{
    fixture_destroy(&left->fixture);
    skink_recovery_destroy(left->recovery);
}

static void expect_error(int fd, const char *number)
{
    struct reply reply;
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.body, number));
    reply_free(&reply);
    assert_true(client_sees_end(fd, 4000));
}

/* Goal: what became of a request's task is not mistaken for that of the request which has its object now.
 * | first client  | first task  | loop          | second request     |
 * | asks          | gets stuck  | stops         |                    |
 * |               | is lost     | starts again  | sleeps             |
 * | leaves        |             |               | sleeps on, answers | */
static void one_that_leaves_after_a_new_start_cancels_nobody_else(void **state)
{
    (void)state;
    struct left left;
    create(&left, 100 * SKINK_MS);
    int fd = stop_beside(&left, "/stuck");
    release(&left);
    start_again(&left);
    int other = ask(&left, "/sleep?ms=700");
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(left.fixture.scheduler, &stats) == 0 && stats.tasks_suspended == 1,
                    WAIT_MS);
    client_reset(fd);
    client_expect(other, "", 200, "slept");
    close(other);
    destroy(&left);
}

static void one_whose_time_is_over_after_a_new_start_cancels_nobody_else(void **state)
{
    (void)state;
    struct left left;
    create(&left, 100 * SKINK_MS);
    assert_int_equal(skink_http_route_set_request_timeout(left.fixture.server, "/stuck", SKINK_S), 0);
    int fd = stop_beside(&left, "/stuck");
    release(&left);
    start_again(&left);
    int other = ask(&left, "/sleep?ms=1500");
    client_expect(other, "", 200, "slept");
    close(other), close(fd);
    destroy(&left);
}

/* Its late window can bring it nothing any more. */
static void a_stop_answers_one_that_is_stuck(void **state)
{
    (void)state;
    struct left left;
    create(&left, 100 * SKINK_MS);
    int fd = stop_beside(&left, "/stuck");
    expect_error(fd, "\"number\":1002,");
    assert_int_equal(fixture_stats(&left.fixture).in_flight, 0);
    release(&left);
    close(fd);
    destroy(&left);
}

static void a_stop_answers_one_that_is_known_to_block(void **state)
{
    (void)state;
    struct left left;
    create(&left, 600 * SKINK_S);
    int fd = stop_beside(&left, "/blocking");
    expect_error(fd, "\"number\":1006,");
    assert_int_equal(fixture_stats(&left.fixture).in_flight, 0);
    release(&left);
    start_again(&left);
    int other = client_connect(left.fixture.port); /* the permit is there again */
    client_expect(other, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(fd), close(other);
    destroy(&left);
}

static void a_stop_cuts_one_that_blocks_within_its_answer(void **state)
{
    (void)state;
    struct left left;
    create(&left, 600 * SKINK_S);
    int fd = stop_beside(&left, "/write");
    client_skip_head(fd);
    client_expect_bytes(fd, "4\r\nhalf\r\n");
    assert_true(client_sees_end(fd, 4000));
    assert_int_equal(fixture_stats(&left.fixture).answers_cut, 1);
    release(&left);
    close(fd);
    destroy(&left);
}

/* It goes on where it was; only its client is not there any more. */
static void one_that_comes_back_after_a_new_start_has_its_answer_dropped(void **state)
{
    (void)state;
    static const char *const paths[] = { "/stuck", "/blocking" };
    for (int i = 0; i < 2; i++) {
        struct left left;
        create(&left, i ? 600 * SKINK_S : 100 * SKINK_MS);
        int fd = stop_beside(&left, paths[i]);
        expect_error(fd, i ? "\"number\":1006," : "\"number\":1002,");
        start_again(&left);
        atomic_store(&left.release, 1);
        test_wait_until(atomic_load(&left.back) == 1, WAIT_MS);
        assert_int_equal(atomic_load(&left.result), -ECANCELED);
        assert_true(atomic_load(&left.has_token));
        test_wait_until(fixture_stats(&left.fixture).late_answers_dropped == 1, WAIT_MS);
        int other = client_connect(left.fixture.port);
        client_expect(other, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
        close(fd), close(other);
        destroy(&left);
    }
}

static const struct test_case cases[] = {
    CASE(one_that_leaves_after_a_new_start_cancels_nobody_else),
    CASE(one_whose_time_is_over_after_a_new_start_cancels_nobody_else),
    CASE(a_stop_answers_one_that_is_stuck),
    CASE(a_stop_answers_one_that_is_known_to_block),
    CASE(a_stop_cuts_one_that_blocks_within_its_answer),
    CASE(one_that_comes_back_after_a_new_start_has_its_answer_dropped),
};
TEST_MAIN(cases, NULL, NULL)
