/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_access.c - one record for each request, and the time that its task ran. */
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX = 16 };

static struct record {
    skink_access access;
    char path[64], client[64], id[64];
} records[MAX];
static _Atomic int record_count;

static void note(const skink_access *access, void *arg)
{
    int at = atomic_load(&record_count);
    assert_ptr_equal(arg, records);
    assert_true(at < MAX);
    records[at].access = *access;
    strncpy(records[at].path, access->path, sizeof records->path - 1);
    strncpy(records[at].client, access->client, sizeof records->client - 1);
    strncpy(records[at].id, access->id, sizeof records->id - 1);
    atomic_store(&record_count, at + 1);
}

static void spin_ms(unsigned ms)
{
    uint64_t until_ns = test_now_ns() + ms * UINT64_C(1000000);
    while (test_now_ns() < until_ns) {
    }
}

/* Runs for 60 ms in three slices, and waits for 200 ms between them. */
static void run_and_wait(skink_request *request, void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        spin_ms(20);
        if (i < 2 && skink_sleep(100 * SKINK_MS) != 0) return;
    }
    skink_respond_text(request, 200, "ran");
}

static void stream(skink_request *request, void *arg)
{
    (void)arg;
    if (skink_response_begin(request, 200, "text/plain", 6) != 0) return;
    (void)!skink_response_write(request, "abc", 3);
    (void)!skink_response_write(request, "def", 3);
    (void)!skink_response_end(request);
}

static void start(struct fixture *fixture, skink_http_options *options)
{
    options->access = note;
    options->access_arg = records;
    fixture_create(fixture, NULL, options);
    fixture_add_common_routes(fixture);
    fixture_route(fixture, "GET", "/run", run_and_wait, NULL);
    fixture_route(fixture, "GET", "/stream", stream, NULL);
    fixture_start(fixture);
}

static const struct record *wait_for(int number)
{
    test_wait_until(atomic_load(&record_count) >= number, 8000);
    assert_int_equal(atomic_load(&record_count), number);
    return &records[number - 1];
}

static void each_request_is_told_once_and_as_it_was(void **state)
{
    (void)state;
    struct fixture f;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    start(&f, &options);
    int fd = client_connect(f.port);
    client_expect(fd, "GET /hello?a=b HTTP/1.1\r\nHost: a\r\nX-Request-Id: me\r\n\r\n", 200, "hello\n");
    const struct record *record = wait_for(1);
    assert_int_equal(record->access.size, sizeof(skink_access));
    assert_int_equal(record->access.index, 1);
    assert_string_equal(record->path, "/hello");
    assert_string_equal(record->client, "127.0.0.1");
    assert_string_equal(record->id, "me");
    assert_int_equal(record->access.status, 200);
    assert_int_equal(record->access.outcome, SKINK_OUTCOME_OK);
    assert_true(record->access.bytes > 6);
    assert_true(record->access.wall_ns > 0 && record->access.wall_ns < 8 * SKINK_S);
    client_expect(fd, "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404, NULL);
    assert_int_equal(wait_for(2)->access.outcome, SKINK_OUTCOME_OK);
    client_expect(fd, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n", 200, "abcdef");
    assert_int_equal(wait_for(3)->access.status, 200);
    assert_true(records[2].access.bytes > 6 && records[2].access.bytes < 400);
    client_expect(fd, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, NULL);
    record = wait_for(4);
    assert_int_equal(record->access.outcome, SKINK_OUTCOME_REJECTED);
    assert_string_equal(record->path, "");
    close(fd);
    fixture_destroy(&f);
}

/* Who sent it is known all the same, and the id by which its answer can be found. */
static void what_cannot_be_read_is_told_with_its_client_and_its_id(void **state)
{
    (void)state;
    static const char *const requests[] = { "nonsense\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" };
    struct fixture f;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    start(&f, &options);
    for (int i = 0; i < 2; i++) {
        int fd = client_connect(f.port);
        struct reply reply;
        client_send_text(fd, requests[i]);
        client_read(fd, &reply, false);
        assert_int_equal(reply.status, 400);
        const struct record *record = wait_for(i + 1);
        assert_string_equal(record->client, "127.0.0.1");
        assert_string_equal(record->id, reply_header(&reply, "X-Request-Id"));
        assert_string_equal(record->path, "");
        reply_free(&reply);
        close(fd);
    }
    fixture_destroy(&f);
}

static void a_question_about_the_server_is_told_as_any_other(void **state)
{
    (void)state;
    struct fixture f;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    start(&f, &options);
    int fd = client_connect(f.port);
    struct reply reply;
    client_send_text(fd, "OPTIONS * HTTP/1.1\r\nHost: a\r\nX-Request-Id: me\r\n\r\n");
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, 204);
    assert_string_equal(reply_header(&reply, "X-Request-Id"), "me");
    const struct record *record = wait_for(1);
    assert_string_equal(record->client, "127.0.0.1");
    assert_string_equal(record->id, "me");
    assert_string_equal(record->path, "*");
    reply_free(&reply);
    close(fd);
    fixture_destroy(&f);
}

static void the_time_that_a_task_runs_is_that_of_its_slices_and_not_of_its_waits(void **state)
{
    (void)state;
    struct fixture f;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    start(&f, &options);
    int fd = client_connect(f.port);
    client_expect(fd, "GET /run HTTP/1.1\r\nHost: a\r\n\r\n", 200, "ran");
    const struct record *record = wait_for(1);
    assert_true(record->access.run_ns >= 60 * SKINK_MS);
    assert_true(record->access.wall_ns >= 260 * SKINK_MS);
    assert_true(record->access.wall_ns - record->access.run_ns >= 190 * SKINK_MS); /* it waited that long */
    close(fd);
    fixture_destroy(&f);
}

/* An empty line in front of a request may have come long before it. */
static void a_request_begins_with_its_first_byte(void **state)
{
    (void)state;
    struct fixture f;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    start(&f, &options);
    int fd = client_connect(f.port), other = client_connect(f.port);
    client_expect(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n", 200, "hi");
    client_expect(other, "GET /sleep?ms=200 HTTP/1.1\r\nHost: a\r\n\r\n", 200, "slept");
    uint64_t sent_ns = test_now_ns();
    client_expect(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 200, "hello\n");
    assert_true(wait_for(3)->access.wall_ns <= test_now_ns() - sent_ns);
    close(fd);
    close(other);
    fixture_destroy(&f);
}

/* The same on workers, where it also blocks its thread: that is running, as its own loop would see it. */
static void on_workers_it_is_the_same(void **state, skink_execution execution)
{
    (void)state;
    struct fixture f;
    skink_workers *workers;
    skink_workers_options workers_options = SKINK_WORKERS_OPTIONS_INIT;
    workers_options.threads = 2;
    assert_int_equal(skink_workers_create(&workers_options, &workers), 0);
    assert_int_equal(skink_workers_start(workers), 0);
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.workers = workers;
    options.execution = execution;
    start(&f, &options);
    int fd = client_connect(f.port);
    client_expect(fd, "GET /run HTTP/1.1\r\nHost: a\r\n\r\n", 200, "ran");
    const struct record *record = wait_for(1);
    assert_true(record->access.run_ns >= 60 * SKINK_MS);
    assert_true(record->access.wall_ns - record->access.run_ns >= 190 * SKINK_MS);
    client_expect(fd, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n", 200, "abcdef");
    record = wait_for(2);
    assert_true(record->access.run_ns > 0);
    assert_true(record->access.run_ns < record->access.wall_ns); /* it waits for the loop at each piece */
    close(fd);
    assert_int_equal(skink_workers_stop(workers, skink_after(5 * SKINK_S)), 0);
    skink_workers_destroy(workers);
    fixture_destroy(&f);
}

static void on_threads_the_time_that_a_task_runs_is_that_of_its_slices(void **state)
{
    on_workers_it_is_the_same(state, SKINK_EXECUTE_THREADS);
}

static void in_serial_the_time_that_a_task_runs_is_that_of_its_slices(void **state)
{
    on_workers_it_is_the_same(state, SKINK_EXECUTE_SERIAL);
}

static void who_left_and_who_was_turned_away_is_told(void **state)
{
    (void)state;
    struct fixture f;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_requests = 1;
    start(&f, &options);
    int working = client_connect(f.port), fd = client_connect(f.port);
    client_send_text(working, "GET /sleep?ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n");
    test_wait_until(fixture_stats(&f).in_flight == 1, 5000);
    client_expect(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 429, NULL);
    assert_int_equal(wait_for(1)->access.outcome, SKINK_OUTCOME_REJECTED);
    client_reset(working);
    const struct record *record = wait_for(2);
    assert_int_equal(record->access.outcome, SKINK_OUTCOME_CLIENT_GONE);
    assert_int_equal(record->access.status, 499);
    close(fd);
    fixture_destroy(&f);
}

static void take_queued(const struct skink__http_limit_stats *limit, void *arg)
{
    *(uint64_t *)arg += limit->queued;
}

static uint64_t queued(const struct fixture *fixture)
{
    uint64_t count = 0;
    skink__http_stats_limits(fixture->server, take_queued, &count);
    return count;
}

static void who_waited_in_vain_is_told_with_its_wait(void **state)
{
    (void)state;
    enum { WAIT_MS = 60 };
    struct fixture f;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_requests = options.max_queue = 1;
    start(&f, &options);
    int working = client_connect(f.port), waiting = client_connect(f.port);
    client_send_text(working, "GET /sleep?ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n");
    test_wait_until(fixture_stats(&f).in_flight == 1, 5000);
    client_send_text(waiting, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    test_wait_until(queued(&f) == 1, 5000);
    uint64_t queued_ns = test_now_ns();
    test_wait_until(test_now_ns() - queued_ns >= WAIT_MS * SKINK_MS, 5000);
    client_reset(waiting);
    const struct record *record = wait_for(1);
    assert_int_equal(record->access.outcome, SKINK_OUTCOME_CLIENT_GONE);
    assert_true(record->access.queue_ns >= WAIT_MS * SKINK_MS);
    assert_true(record->access.queue_ns <= record->access.wall_ns);
    client_reset(working);
    (void)wait_for(2);
    fixture_destroy(&f);
}

enum way_out { RESETS, SENDS_END_OF_FILE, EXPIRES, IS_STOPPED };

/* The one worker is busy, so the request waits, and in vain. */
static void wait_for_a_worker_in_vain(enum way_out way_out, skink_outcome outcome)
{
    enum { WAIT_MS = 60 };
    struct fixture f;
    skink_workers *workers;
    skink_workers_stats stats = SKINK_WORKERS_STATS_INIT;
    skink_workers_options workers_options = SKINK_WORKERS_OPTIONS_INIT;
    workers_options.threads = 1;
    assert_int_equal(skink_workers_create(&workers_options, &workers), 0);
    assert_int_equal(skink_workers_start(workers), 0);
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.workers = workers;
    options.execution = SKINK_EXECUTE_THREADS;
    atomic_store(&record_count, 0);
    start(&f, &options);
    int working = client_connect(f.port), waiting = client_connect(f.port);
    client_send_text(working, "GET /sleep?ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n");
    test_wait_until(skink_workers_stats_read(workers, &stats) == 0 && stats.busy == 1, 5000);
    if (way_out == EXPIRES) assert_int_equal(skink_http_set_request_timeout(f.server, WAIT_MS * SKINK_MS), 0);
    client_send_text(waiting, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    test_wait_until((skink_workers_stats_read(workers, &stats) == 0 && stats.queued == 1) || way_out == EXPIRES, 5000);
    uint64_t queued_ns = test_now_ns();
    test_wait_until(test_now_ns() - queued_ns >= WAIT_MS * SKINK_MS, 5000);
    if (way_out == RESETS) client_reset(waiting);
    if (way_out == SENDS_END_OF_FILE) close(waiting);
    if (way_out == IS_STOPPED) (void)!skink_workers_stop(workers, skink_now());
    int number = way_out == IS_STOPPED ? 2 : 1; /* the one that works is told then as well, in any order */
    const struct record *record = wait_for(number);
    if (record->path[1] != 'h') record = &records[0];
    assert_string_equal(record->path, "/hello");
    assert_int_equal(record->access.outcome, outcome);
    assert_true(record->access.queue_ns >= (WAIT_MS - 10) * SKINK_MS); /* a timeout may be told a tick early */
    assert_true(record->access.queue_ns <= record->access.wall_ns);
    if (way_out == EXPIRES || way_out == IS_STOPPED) close(waiting);
    client_reset(working);
    (void)wait_for(2);
    (void)!skink_workers_stop(workers, skink_after(5 * SKINK_S));
    skink_workers_destroy(workers);
    fixture_destroy(&f);
}

static void who_waited_for_a_worker_in_vain_is_told_with_its_wait(void **state)
{
    (void)state;
    wait_for_a_worker_in_vain(RESETS, SKINK_OUTCOME_CLIENT_GONE);
    wait_for_a_worker_in_vain(SENDS_END_OF_FILE, SKINK_OUTCOME_CLIENT_GONE);
    wait_for_a_worker_in_vain(EXPIRES, SKINK_OUTCOME_EXPIRED);
    wait_for_a_worker_in_vain(IS_STOPPED, SKINK_OUTCOME_REJECTED);
}

static void outcomes_have_names(void **state)
{
    (void)state;
    static const char *const names[] = { "ok", "client_gone", "deadlock", "late_answer", "rejected", "expired" };
    for (int i = 0; i < 6; i++)
        assert_string_equal(skink_outcome_text((skink_outcome)i), names[i]);
    assert_string_equal(skink_outcome_text((skink_outcome)99), "unknown");
}

static const struct test_case cases[] = {
    CASE(each_request_is_told_once_and_as_it_was),
    CASE(what_cannot_be_read_is_told_with_its_client_and_its_id),
    CASE(a_question_about_the_server_is_told_as_any_other),
    CASE(the_time_that_a_task_runs_is_that_of_its_slices_and_not_of_its_waits),
    CASE(a_request_begins_with_its_first_byte),
    CASE(on_threads_the_time_that_a_task_runs_is_that_of_its_slices),
    CASE(in_serial_the_time_that_a_task_runs_is_that_of_its_slices),
    CASE(who_left_and_who_was_turned_away_is_told),
    CASE(who_waited_in_vain_is_told_with_its_wait),
    CASE(who_waited_for_a_worker_in_vain_is_told_with_its_wait),
    CASE(outcomes_have_names),
};
TEST_MAIN(cases, NULL, NULL)
