/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_loopback.c - whole pipelines without a socket: the same verdicts, answers and back-pressure. */
#include "skink/loopback.h"
#include "tests/middleware/fixture.h"
#include "tests/support/scarce.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define H "Host: a\r\n"

enum { BIG_BYTES = 1000000 };

static uint64_t soon(void)
{
    return test_deadline_ns(8000);
}

/* What happened in the pipeline, in order. */
struct trace {
    struct fixture fixture;
    pthread_mutex_t lock; /* for text: a request whose client gave up may still be noting */
    char text[256];
    _Atomic size_t written;
    _Atomic int result;
    _Atomic int done;
};

static void note(struct trace *trace, const char *what)
{
    pthread_mutex_lock(&trace->lock);
    strncat(trace->text, what, sizeof trace->text - strlen(trace->text) - 1);
    pthread_mutex_unlock(&trace->lock);
}

static void forget(struct trace *trace)
{
    pthread_mutex_lock(&trace->lock);
    trace->text[0] = '\0';
    pthread_mutex_unlock(&trace->lock);
}

static void outer(skink_request *request, skink_next *next, void *arg)
{
    note(arg, "outer ");
    skink_next_run(next, request);
    char out[32];
    snprintf(out, sizeof out, "out=%d", skink_request_status(request));
    note(arg, out);
    atomic_fetch_add(&((struct trace *)arg)->done, 1);
}

static void inner(skink_request *request, skink_next *next, void *arg)
{
    note(arg, "inner ");
    if (skink_request_query(request, "stop"))
        skink_respond_error(request, 403, 10002, "stopped here");
    else
        skink_next_run(next, request);
}

static void who(skink_request *request, void *arg)
{
    note(arg, "handler ");
    skink_respond_text(request, 200, skink_request_client(request));
}

static void silent(skink_request *request, void *arg)
{
    (void)request, (void)arg;
}

static void pour(skink_request *request, void *arg)
{
    struct trace *trace = arg;
    char piece[1000];
    memset(piece, 'x', sizeof piece);
    int err = skink_response_begin(request, 200, "text/plain", SKINK_LENGTH_UNKNOWN);
    for (size_t at = 0; at < BIG_BYTES && !err; at += sizeof piece) {
        err = skink_response_write(request, piece, sizeof piece);
        if (!err) atomic_store(&trace->written, at + sizeof piece);
    }
    if (!err && !skink_request_query(request, "cut")) err = skink_response_end(request);
    atomic_store(&trace->result, err);
}

/* A request to a neighbour from inside a task: waits there suspend that task only. */
static void relay(skink_request *request, void *arg)
{
    struct trace *trace = arg;
    static const char text[] = "GET /who HTTP/1.1\r\n" H "\r\n";
    skink_answer *answer;
    int err = skink_loopback_request(trace->fixture.server, text, sizeof text - 1, soon(), &answer);
    skink_respond_text(request, err ? 502 : 200, err ? skink_strerror(err) : skink_answer_body(answer, NULL));
    if (!err) skink_answer_free(answer);
}

static void create(struct trace *trace)
{
    memset(trace, 0, sizeof *trace);
    pthread_mutex_init(&trace->lock, NULL);
    fixture_create(&trace->fixture, NULL, NULL);
    assert_int_equal(skink_http_use(trace->fixture.server, outer, trace), 0);
    assert_int_equal(skink_http_use(trace->fixture.server, inner, trace), 0);
    fixture_route(&trace->fixture, "GET", "/who", who, trace);
    fixture_route(&trace->fixture, "GET", "/silent", silent, trace);
    fixture_route(&trace->fixture, "GET", "/pour", pour, trace);
    fixture_route(&trace->fixture, "GET", "/relay", relay, trace);
    fixture_add_common_routes(&trace->fixture);
    assert_int_equal(skink_scheduler_start(trace->fixture.scheduler), 0);
}

/* One request; what happened goes to trace->text. */
static skink_answer *ask(struct trace *trace, const char *text)
{
    skink_answer *answer;
    int done = atomic_load(&trace->done);
    forget(trace);
    int err = skink_loopback_request(trace->fixture.server, text, strlen(text), soon(), &answer);
    if (err) fail_msg("%s: %s", text, skink_strerror(err));
    /* The last middleware comes back after the answer is out. */
    if (skink_answer_status(answer) != 400) test_wait_until(atomic_load(&trace->done) > done, 4000);
    return answer;
}

static void a_request_goes_the_whole_way(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        int status;
        const char *body, *trace; /* NULL: whatever it is */
    } samples[] = {
        { "GET /who HTTP/1.1\r\n" H "\r\n", 200, "127.0.0.1", "outer inner handler out=200" },
        { "HEAD /who HTTP/1.1\r\n" H "\r\n", 200, "", "outer inner handler out=200" },
        { "GET /who?stop HTTP/1.1\r\n" H "\r\n", 403, NULL, "outer inner out=403" },
        { "GET /nowhere HTTP/1.1\r\n" H "\r\n", 404, NULL, "outer inner out=404" },
        { "DELETE /who HTTP/1.1\r\n" H "\r\n", 405, NULL, "outer inner out=405" },
        { "GET /silent HTTP/1.1\r\n" H "\r\n", 500, NULL, "outer inner out=500" },
        { "POST /echo HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", 200, "abc", "outer inner out=200" },
        { "GET /who HTTP/1.1\r\n\r\n", 400, NULL, "" }, /* no Host: never gets to a task */
        { "GET /relay HTTP/1.1\r\n" H "\r\n", 200, "127.0.0.1", NULL },
    };
    struct trace trace;
    create(&trace);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        skink_answer *answer = ask(&trace, samples[i].request);
        if (skink_answer_status(answer) != samples[i].status) print_error("%s\n", samples[i].request);
        assert_int_equal(skink_answer_status(answer), samples[i].status);
        if (samples[i].body) assert_string_equal(skink_answer_body(answer, NULL), samples[i].body);
        if (samples[i].trace) assert_string_equal(trace.text, samples[i].trace);
        assert_non_null(skink_answer_header(answer, "x-request-id"));
        assert_null(skink_answer_header(answer, "nothing"));
        skink_answer_free(answer);
    }
    assert_int_equal(skink_http_use(trace.fixture.server, outer, NULL), -EBUSY); /* fixed, as by a listen */
    test_wait_until(fixture_stats(&trace.fixture).connections == 0, 4000);
    fixture_destroy(&trace.fixture);
}

static void a_405_says_what_is_allowed(void **state)
{
    (void)state;
    struct trace trace;
    create(&trace);
    skink_answer *answer = ask(&trace, "DELETE /who HTTP/1.1\r\n" H "\r\n");
    assert_string_equal(skink_answer_header(answer, "Allow"), "GET, HEAD");
    skink_answer_free(answer);
    fixture_destroy(&trace.fixture);
}

static void a_streamed_answer_waits_for_its_client_here_too(void **state)
{
    (void)state;
    struct trace trace;
    create(&trace);
    skink_loopback_options options = SKINK_LOOPBACK_OPTIONS_INIT;
    options.window_bytes = 1000;
    options.client = "192.0.2.9";
    skink_loopback *client;
    assert_int_equal(skink_loopback_open(trace.fixture.server, &options, &client), 0);
    static const char text[] = "GET /pour HTTP/1.1\r\n" H "\r\n";
    size_t sent;
    assert_int_equal(skink_loopback_send(client, text, sizeof text - 1, soon(), &sent), 0);
    assert_int_equal(sent, sizeof text - 1);
    /* Nothing is taken: it writes until the window and max_unsent_bytes are full, and then no more. */
    test_wait_until(atomic_load(&trace.written) >= 60000, 4000);
    skink_answer *answer = ask(&trace, "GET /who HTTP/1.1\r\n" H "\r\n");
    skink_answer_free(answer);
    assert_in_range(atomic_load(&trace.written), 60000, 67000);
    char buffer[777];
    size_t total = 0, n = 1;
    while (n > 0 && total < BIG_BYTES + 8000) {
        assert_int_equal(skink_loopback_receive(client, buffer, sizeof buffer, soon(), &n), 0);
        total += n;
        if (n >= 5 && memcmp(buffer + n - 5, "0\r\n\r\n", 5) == 0) break;
    }
    assert_true(total > BIG_BYTES);
    assert_int_equal(atomic_load(&trace.result), 0);
    skink_loopback_close(client);
    answer = ask(&trace, "GET /pour HTTP/1.1\r\n" H "\r\n");
    size_t length;
    skink_answer_body(answer, &length);
    assert_int_equal(length, BIG_BYTES);
    skink_answer_free(answer);
    fixture_destroy(&trace.fixture);
}

static void a_cut_answer_is_no_answer(void **state)
{
    (void)state;
    struct trace trace;
    create(&trace);
    static const char *const requests[] = { "GET /pour?cut HTTP/1.1\r\n" H "\r\n", "GET /pour?cut HTTP/1.0\r\n\r\n" };
    for (int i = 0; i < 2; i++) {
        skink_answer *answer = NULL;
        assert_int_equal(
            skink_loopback_request(trace.fixture.server, requests[i], strlen(requests[i]), soon(), &answer),
            -ECONNRESET);
        assert_null(answer);
    }
    fixture_destroy(&trace.fixture);
}

static void a_connection_byte_by_byte(void **state)
{
    (void)state;
    struct trace trace;
    create(&trace);
    skink_loopback_options options = SKINK_LOOPBACK_OPTIONS_INIT;
    skink_loopback *client;
    options.client = "nobody";
    assert_int_equal(skink_loopback_open(trace.fixture.server, &options, &client), -EINVAL);
    options.client = "unix";
    assert_int_equal(skink_loopback_open(trace.fixture.server, &options, &client), 0);
    static const char text[] = "GET /who HTTP/1.1\r\n" H "\r\nGET /who HTTP/1.1\r\n" H "Connection: close\r\n\r\n";
    for (size_t i = 0; i < sizeof text - 1; i++)
        assert_int_equal(skink_loopback_send(client, text + i, 1, soon(), NULL), 0);
    char all[4096] = "";
    size_t length = 0, n = 1;
    while (n > 0) {
        assert_int_equal(skink_loopback_receive(client, all + length, sizeof all - length - 1, soon(), &n), 0);
        length += n;
    }
    char *first = strstr(all, "unix"), *second = first ? strstr(first + 1, "unix") : NULL;
    assert_true(first && second);
    assert_int_equal(skink_loopback_send(client, "x", 1, soon(), NULL), -EPIPE);
    skink_loopback_close(client);
    fixture_destroy(&trace.fixture);
}

static void waits_have_deadlines_and_leaving_is_seen(void **state)
{
    (void)state;
    struct trace trace;
    create(&trace);
    skink_loopback *client;
    char c;
    size_t n;
    assert_int_equal(skink_loopback_open(trace.fixture.server, NULL, &client), 0);
    assert_int_equal(skink_loopback_receive(client, &c, 1, skink_after(20 * SKINK_MS), &n), -ETIMEDOUT);
    static const char text[] = "GET /sleep?ms=60000 HTTP/1.1\r\n" H "\r\n";
    assert_int_equal(skink_loopback_send(client, text, sizeof text - 1, soon(), NULL), 0);
    test_wait_until(fixture_stats(&trace.fixture).in_flight == 1, 4000);
    skink_loopback_close(client);
    test_wait_until(fixture_code_count(&trace.fixture, 499) == 1, 4000);
    /* A half-close ends the waiting, and the answer still arrives. */
    assert_int_equal(skink_loopback_open(trace.fixture.server, NULL, &client), 0);
    assert_int_equal(skink_loopback_send(client, text, sizeof text - 1, soon(), NULL), 0);
    skink_loopback_finish(client);
    char answer[13] = "";
    for (size_t at = 0; at < 12; at += n)
        assert_int_equal(skink_loopback_receive(client, answer + at, 12 - at, soon(), &n), 0);
    assert_string_equal(answer, "HTTP/1.1 500");
    /* It may outlive the server. */
    skink_http_server_destroy(trace.fixture.server);
    skink_loopback_close(client);
    skink_scheduler_destroy(trace.fixture.scheduler);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    scarce_install();
    static const char text[] = "GET /who HTTP/1.1\r\n" H "\r\n";
    for (long n = 0, failed = 1; failed; n++) {
        struct trace trace;
        create(&trace);
        skink_answer *answer = NULL;
        scarce_fail(n);
        int err = skink_loopback_request(trace.fixture.server, text, sizeof text - 1, soon(), &answer);
        failed = scarce_end();
        /* What fails on the server's side is a 503, or the end of the connection. */
        assert_true(!err || (failed && (err == -ENOMEM || err == -ECONNRESET)));
        if (!failed) assert_int_equal(skink_answer_status(answer), 200);
        skink_answer_free(answer);
        skink_answer_free(ask(&trace, text));
        fixture_destroy(&trace.fixture);
        scarce_assert_no_blocks();
        assert_true(n < 200);
    }
}

/* Goal: a client may leave whenever it likes, also when nobody runs that would notice. */
static void a_client_may_leave_before_the_start_and_after_the_stop(void **state)
{
    (void)state;
    struct fixture f;
    skink_loopback *early, *half, *idle, *late;
    static const char request[] = "GET /hello HTTP/1.1\r\n" H "\r\n";
    fixture_create(&f, NULL, NULL);
    fixture_add_common_routes(&f);
    assert_int_equal(skink_loopback_open(f.server, NULL, &early), 0);
    assert_int_equal(skink_loopback_send(early, request, 10, soon(), NULL), 0);
    skink_loopback_close(early);
    fixture_start(&f);
    assert_int_equal(skink_loopback_open(f.server, NULL, &half), 0);
    assert_int_equal(skink_loopback_send(half, request, 10, soon(), NULL), 0);
    assert_int_equal(skink_loopback_open(f.server, NULL, &idle), 0);
    assert_int_equal(skink_scheduler_stop(f.scheduler, soon()), 0);
    skink_loopback_close(half);
    skink_loopback_close(idle);
    assert_int_equal(skink_loopback_open(f.server, NULL, &late), 0);
    skink_loopback_close(late);
    assert_int_equal(fixture_stats(&f).connections, 0);
    fixture_destroy(&f);
}

static const struct test_case cases[] = {
    CASE(a_request_goes_the_whole_way),
    CASE(a_405_says_what_is_allowed),
    CASE(a_streamed_answer_waits_for_its_client_here_too),
    CASE(a_cut_answer_is_no_answer),
    CASE(a_connection_byte_by_byte),
    CASE(waits_have_deadlines_and_leaving_is_seen),
    CASE(a_client_may_leave_before_the_start_and_after_the_stop),
    CASE(every_allocation_may_fail),
};
TEST_MAIN(cases, NULL, NULL)
