/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_stream.c - answers that are written piece by piece:
 * their forms, back-pressure, and cut ones. */
#include "skink/recovery.h"
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define H "Host: a\r\n"

enum { PIECE_BYTES = 10000, BIG_BYTES = 24 * 1024 * 1024, MAX_UNSENT = 65536 };

/* What handlers do, and what became of it. Tasks write, the test reads. */
struct stream {
    struct fixture fixture;
    skink_recovery *recovery;
    int results[16];
    _Atomic int begun;
    _Atomic int release;
    _Atomic size_t written;
    _Atomic int last_result;
    _Atomic int done;
};

/* Bytes that tell where they stand. */
static char byte_at(size_t at)
{
    return (char)(at * 31 % 251);
}

static int write_pattern(skink_request *request, struct stream *stream, size_t total)
{
    char piece[PIECE_BYTES];
    int err = 0;
    for (size_t at = 0; at < total && !err;) {
        size_t n = total - at < sizeof piece ? total - at : sizeof piece;
        for (size_t i = 0; i < n; i++)
            piece[i] = byte_at(at + i);
        err = skink_response_write(request, piece, n);
        at += n;
        if (!err) atomic_store(&stream->written, at);
    }
    return err;
}

static size_t asked_for(skink_request *request)
{
    const char *bytes = skink_request_query(request, "bytes");
    return bytes ? (size_t)atoll(bytes) : 0;
}

/* ?bytes=N&announce=1 */
static void give(skink_request *request, void *arg)
{
    struct stream *stream = arg;
    size_t total = asked_for(request);
    bool announce = skink_request_query(request, "announce") != NULL;
    int err = skink_response_header(request, "X-Own", "yes");
    if (!err)
        err = skink_response_begin(request, 200, "application/x-pattern", announce ? total : SKINK_LENGTH_UNKNOWN);
    atomic_store(&stream->begun, 1);
    if (!err) err = write_pattern(request, stream, total);
    if (!err) err = skink_response_end(request);
    atomic_store(&stream->last_result, err);
    atomic_fetch_add(&stream->done, 1);
}

static void misuse(skink_request *request, void *arg)
{
    struct stream *stream = arg;
    int *result = stream->results;
    *result++ = skink_response_write(request, "x", 1);
    *result++ = skink_response_end(request);
    *result++ = skink_response_begin(request, 204, NULL, 0);
    *result++ = skink_response_begin(request, 199, NULL, 0);
    *result++ = skink_response_begin(request, 200, "a\r\nb", 0);
    *result++ = skink_response_begin(request, 203, NULL, 5);
    *result++ = skink_response_begin(request, 200, NULL, 5);
    *result++ = skink_respond_text(request, 200, "whole");
    *result++ = skink_response_header(request, "X", "late");
    *result++ = skink_response_write(request, "123456", 6);
    *result++ = skink_response_write(request, "123", 3);
    *result++ = skink_response_end(request);
    *result++ = skink_response_write(request, "45", 2);
    *result++ = skink_request_status(request);
    *result++ = skink_response_end(request);
    *result++ = skink_response_write(request, "", 0);
    atomic_fetch_add(&stream->done, 1);
}

static void give_up(skink_request *request, void *arg)
{
    struct stream *stream = arg;
    bool announce = skink_request_query(request, "announce") != NULL;
    int err = skink_response_begin(request, 200, NULL, announce ? 1000 : SKINK_LENGTH_UNKNOWN);
    if (!err) err = skink_response_write(request, "half", 4);
    atomic_store(&stream->last_result, err);
    atomic_fetch_add(&stream->done, 1);
}

/* Blocks its thread in the middle of the answer. */
static void stick(skink_request *request, void *arg)
{
    struct stream *stream = arg;
    int err = skink_response_begin(request, 200, NULL, SKINK_LENGTH_UNKNOWN);
    if (!err) err = skink_response_write(request, "half", 4);
    atomic_store(&stream->begun, 1);
    while (!atomic_load(&stream->release))
        usleep(1000);
    if (!err) err = skink_response_write(request, "rest", 4);
    if (!err) err = skink_response_end(request);
    atomic_store(&stream->last_result, err);
    atomic_fetch_add(&stream->done, 1);
}

/* A little now and then, without end. */
static void trickle(skink_request *request, void *arg)
{
    struct stream *stream = arg;
    int err = skink_response_begin(request, 200, NULL, SKINK_LENGTH_UNKNOWN);
    while (!err) {
        err = skink_response_write(request, "tick", 4);
        if (!err) err = skink_sleep(SKINK_MS);
    }
    atomic_store(&stream->last_result, err);
    atomic_fetch_add(&stream->done, 1);
}

static void create(struct stream *stream, const skink_http_options *options)
{
    memset(stream, 0, sizeof *stream);
    fixture_create(&stream->fixture, NULL, options);
    fixture_route(&stream->fixture, "GET", "/give", give, stream);
    fixture_route(&stream->fixture, "GET", "/misuse", misuse, stream);
    fixture_route(&stream->fixture, "GET", "/give-up", give_up, stream);
    fixture_route(&stream->fixture, "GET", "/stick", stick, stream);
    fixture_route(&stream->fixture, "GET", "/trickle", trickle, stream);
    fixture_add_common_routes(&stream->fixture);
}

static void serve(struct stream *stream, const skink_http_options *options)
{
    create(stream, options);
    fixture_start(&stream->fixture);
}

/* All that comes until the end of the connection, at most `most` bytes; what recv() said in the end. */
static ssize_t read_all(int fd, char *bytes, size_t most, size_t *ret_length)
{
    ssize_t n = 1;
    *ret_length = 0;
    while (*ret_length < most && (n = recv(fd, bytes + *ret_length, most - *ret_length, 0)) > 0)
        *ret_length += (size_t)n;
    return n;
}

/* Take the chunks off in place; the length of the data. A body without its last chunk fails the case. */
static size_t dechunk(char *body, size_t length)
{
    char *to = body, *from = body, *end = body + length;
    for (;;) {
        char *line_end = memchr(from, '\n', (size_t)(end - from));
        assert_non_null(line_end);
        size_t n = strtoul(from, NULL, 16);
        from = line_end + 1;
        assert_true(from + n + 2 <= end);
        if (n == 0) break;
        memmove(to, from, n);
        to += n;
        from += n;
        assert_memory_equal(from, "\r\n", 2);
        from += 2;
    }
    assert_ptr_equal(from + 2, end);
    return (size_t)(to - body);
}

static void assert_pattern(const char *body, size_t length, size_t expected)
{
    assert_int_equal(length, expected);
    for (size_t i = 0; i < length; i++)
        if (body[i] != byte_at(i)) fail_msg("byte %zu is wrong", i);
}

/* A client that has asked for BIG_BYTES and has little room for them, so that the server soon has to wait. */
static int ask_for_too_much(const struct stream *stream)
{
    int fd = client_connect(stream->fixture.port), room_bytes = 4096;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room_bytes, sizeof room_bytes), 0);
    char request[128];
    snprintf(request, sizeof request, "GET /give?bytes=%d HTTP/1.1\r\n" H "\r\n", BIG_BYTES);
    client_send_text(fd, request);
    return fd;
}

static void the_form_follows_version_and_length(void **state)
{
    (void)state;
    enum { BYTES = 123456 };
    static const struct {
        const char *request, *has, *has_not;
        bool chunked;
    } samples[] = {
        { "GET /give?bytes=123456 HTTP/1.1\r\n" H "Connection: close\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n",
          "Content-Length", true },
        { "GET /give?bytes=123456&announce=1 HTTP/1.1\r\n" H "Connection: close\r\n\r\n",
          "\r\nContent-Length: 123456\r\n", "Transfer-Encoding", false },
        { "GET /give?bytes=123456 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "\r\nConnection: close\r\n",
          "Content-Length", false },
        { "GET /give?bytes=123456&announce=1 HTTP/1.0\r\n\r\n", "\r\nContent-Length: 123456\r\n", "Transfer-Encoding",
          false },
    };
    struct stream stream;
    serve(&stream, NULL);
    char *bytes = malloc(2 * BYTES);
    assert_non_null(bytes);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        int fd = client_connect(stream.fixture.port);
        client_send_text(fd, samples[i].request);
        size_t length;
        assert_int_equal(read_all(fd, bytes, 2 * BYTES, &length), 0);
        char *body = memmem(bytes, length, "\r\n\r\n", 4);
        assert_non_null(body);
        body[2] = '\0';
        body += 4;
        assert_non_null(strstr(bytes, samples[i].has));
        assert_null(strstr(bytes, samples[i].has_not));
        assert_non_null(strstr(bytes, "\r\nX-Own: yes\r\n"));
        assert_non_null(strstr(bytes, "\r\nContent-Type: application/x-pattern\r\n"));
        length -= (size_t)(body - bytes);
        if (samples[i].chunked) length = dechunk(body, length);
        assert_pattern(body, length, BYTES);
        close(fd);
    }
    test_wait_until(atomic_load(&stream.done) == 4, 4000);
    assert_int_equal(atomic_load(&stream.last_result), 0);
    assert_int_equal(fixture_code_count(&stream.fixture, 200), 4);
    free(bytes);
    fixture_destroy(&stream.fixture);
}

static void the_connection_goes_on_behind_a_streamed_answer(void **state)
{
    (void)state;
    struct stream stream;
    serve(&stream, NULL);
    int fd = client_connect(stream.fixture.port);
    client_send_text(fd, "GET /give?bytes=30000&announce=1 HTTP/1.1\r\n" H "\r\nGET /hello HTTP/1.1\r\n" H "\r\n");
    struct reply reply;
    client_read(fd, &reply, false);
    assert_pattern(reply.body, reply.body_length, 30000);
    reply_free(&reply);
    client_expect(fd, "", 200, "hello\n");
    client_expect(fd, "HEAD /give?bytes=30000&announce=1 HTTP/1.1\r\n" H "\r\n", 200, "");
    client_expect(fd, "HEAD /give?bytes=30000 HTTP/1.1\r\n" H "\r\n", 200, "");
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    assert_int_equal(atomic_load(&stream.last_result), 0);
    close(fd);
    fixture_destroy(&stream.fixture);
}

static void misuse_is_refused_and_harms_nothing(void **state)
{
    (void)state;
    static const int expected[] = { -ENOTCONN, -ENOTCONN, -EINVAL, -EINVAL,   -EINVAL, 0,   -EALREADY, -EALREADY,
                                    -EALREADY, -EMSGSIZE, 0,       -EMSGSIZE, 0,       203, 0,         -EALREADY };
    struct stream stream;
    serve(&stream, NULL);
    int fd = client_connect(stream.fixture.port);
    client_expect(fd, "GET /misuse HTTP/1.1\r\n" H "\r\n", 203, "12345");
    test_wait_until(atomic_load(&stream.done) == 1, 4000);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        if (stream.results[i] != expected[i]) print_error("result %zu\n", i);
        assert_int_equal(stream.results[i], expected[i]);
    }
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(fd);
    fixture_destroy(&stream.fixture);
}

/* Wait until the writer has not got on for 100 ms; how far it is. */
static size_t where_it_stands(struct stream *stream)
{
    size_t before = 0, now = 0;
    uint64_t deadline = test_now_ns() + test_ms(8000), since = test_now_ns();
    while (test_now_ns() < deadline && (now == 0 || test_now_ns() - since < test_ms(100))) {
        now = atomic_load(&stream->written);
        if (now != before) since = test_now_ns();
        before = now;
        test_nap();
    }
    return now;
}

static void a_slow_reader_suspends_the_writer(void **state)
{
    (void)state;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_unsent_bytes = MAX_UNSENT;
    struct stream stream;
    serve(&stream, &options);
    int fd = client_connect(stream.fixture.port);
    char request[128];
    snprintf(request, sizeof request, "GET /give?bytes=%d HTTP/1.1\r\n" H "Connection: close\r\n\r\n", BIG_BYTES);
    client_send_text(fd, request);
    /* What the kernel holds (a few megabytes at most) and the bound: then it stands still. */
    size_t stands = where_it_stands(&stream);
    assert_in_range(stands, 1, BIG_BYTES / 2);
    assert_int_equal(atomic_load(&stream.done), 0);
    /* The loop is not held meanwhile. */
    int other = client_connect(stream.fixture.port);
    client_expect(other, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    assert_in_range(atomic_load(&stream.written), stands, BIG_BYTES / 2);
    close(other);
    char *bytes = malloc(2 * (size_t)BIG_BYTES);
    assert_non_null(bytes);
    size_t length;
    assert_int_equal(read_all(fd, bytes, 2 * (size_t)BIG_BYTES, &length), 0);
    char *body = (char *)memmem(bytes, length, "\r\n\r\n", 4) + 4;
    length = dechunk(body, length - (size_t)(body - bytes));
    assert_pattern(body, length, BIG_BYTES);
    free(bytes);
    close(fd);
    fixture_destroy(&stream.fixture);
}

static void a_client_that_leaves_ends_the_writer(void **state)
{
    (void)state;
    struct stream stream;
    serve(&stream, NULL);
    int fd = ask_for_too_much(&stream);
    assert_true(where_it_stands(&stream) > 0);
    client_reset(fd);
    test_wait_until(atomic_load(&stream.done) == 1, 4000);
    assert_int_equal(atomic_load(&stream.last_result), -ECANCELED);
    assert_int_equal(fixture_code_count(&stream.fixture, 499), 1);
    assert_int_equal(fixture_code_count(&stream.fixture, 200), 0);
    assert_int_equal(fixture_stats(&stream.fixture).in_flight, 0);
    fixture_destroy(&stream.fixture);
}

/* Nothing of it is sent, so there is no reader to wait for, and none whose leaving breaks a write. */
static void a_head_has_its_answer_at_once_and_keeps_nobody_waiting(void **state)
{
    (void)state;
    struct stream stream;
    serve(&stream, NULL);
    int fd = client_connect(stream.fixture.port), other = client_connect(stream.fixture.port);
    struct reply reply;
    client_send_text(fd, "HEAD /give?bytes=1000000000000000&announce=1 HTTP/1.1\r\n" H "\r\n");
    client_read(fd, &reply, true);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply_header(&reply, "Content-Length"), "1000000000000000");
    reply_free(&reply);
    client_expect(other, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    assert_int_equal(atomic_load(&stream.done), 0);
    close(fd);
    test_wait_until(atomic_load(&stream.done) == 1, 4000);
    assert_int_equal(atomic_load(&stream.last_result), -ECANCELED);
    test_wait_until(fixture_stats(&stream.fixture).in_flight == 0, 4000);
    assert_int_equal(fixture_code_count(&stream.fixture, 200), 2);
    assert_int_equal(fixture_stats(&stream.fixture).answers_cut, 0);
    close(other);
    fixture_destroy(&stream.fixture);
}

/* Its client has the answer and waits for nothing more: it takes nothing for as long as a client may. */
static void a_head_without_end_is_ended_by_the_idle_timeout(void **state)
{
    (void)state;
    static const char *const requests[] = { "HEAD /trickle HTTP/1.1\r\n" H "\r\n",
                                            "HEAD /give?bytes=1000000000000000 HTTP/1.1\r\n" H "\r\n" };
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.idle_timeout_ns = 200 * SKINK_MS;
    struct stream stream;
    serve(&stream, &options);
    int fd = client_connect(stream.fixture.port);
    for (int i = 0; i < 2; i++) {
        client_send_text(fd, requests[i]);
        client_send_text(fd, "GET /hello HTTP/1.1\r\n" H "\r\n");
        struct reply reply;
        client_read(fd, &reply, true);
        assert_int_equal(reply.status, 200);
        reply_free(&reply);
        client_expect(fd, "", 200, "hello\n"); /* the connection stays */
        assert_int_equal(atomic_load(&stream.last_result), -ECANCELED);
    }
    assert_int_equal(atomic_load(&stream.done), 2);
    assert_int_equal(fixture_code_count(&stream.fixture, 200), 4);
    assert_int_equal(fixture_stats(&stream.fixture).answers_cut, 0);
    close(fd);
    fixture_destroy(&stream.fixture);
}

static void a_reader_that_takes_nothing_is_left(void **state)
{
    (void)state;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.idle_timeout_ns = 200 * SKINK_MS;
    struct stream stream;
    serve(&stream, &options);
    int fd = ask_for_too_much(&stream);
    test_wait_until(atomic_load(&stream.done) == 1, 8000);
    assert_int_equal(atomic_load(&stream.last_result), -ECANCELED);
    close(fd);
    fixture_destroy(&stream.fixture);
}

/* Take a little for so long, and say how long the longest pause between two bites was. */
static uint64_t nibble(int fd, uint64_t duration_ns)
{
    char bite[2048];
    uint64_t begun_ns = test_now_ns(), last_ns = begun_ns, longest_ns = 0;
    while (last_ns - begun_ns < duration_ns) {
        ssize_t n = recv(fd, bite, sizeof bite, MSG_DONTWAIT);
        test_nap();
        if (n == 0 || (n < 0 && errno != EAGAIN)) break; /* the connection has ended */
        if (n < 0) continue;
        uint64_t now_ns = test_now_ns();
        if (now_ns - last_ns > longest_ns) longest_ns = now_ns - last_ns;
        last_ns = now_ns;
    }
    return longest_ns;
}

/* Goal: who takes a few bytes all the time is not gone, although the kernel, which has megabytes for it, takes no more
 * from us meanwhile. Where the reader itself was held up for long there is nothing to be learned. */
static void a_reader_that_is_very_slow_is_not_left(void **state)
{
    (void)state;
    enum { IDLE_MS = 500 };
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.idle_timeout_ns = IDLE_MS * SKINK_MS;
    struct stream stream;
    serve(&stream, &options);
    int fd = ask_for_too_much(&stream);
    uint64_t pause_ns = nibble(fd, 3 * IDLE_MS * SKINK_MS);
    if (pause_ns < IDLE_MS / 2 * SKINK_MS) {
        assert_int_equal(atomic_load(&stream.done), 0);
        assert_int_equal(fixture_stats(&stream.fixture).in_flight, 1);
    }
    test_wait_until(atomic_load(&stream.done) == 1, 8000); /* and now it takes nothing any more */
    assert_int_equal(atomic_load(&stream.last_result), -ECANCELED);
    close(fd);
    fixture_destroy(&stream.fixture);
}

static void a_handler_that_returns_in_the_middle_has_its_connection_cut(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        ssize_t end; /* what the last recv() says: for the close-delimited form only a reset tells half from whole */
    } samples[] = {
        { "GET /give-up HTTP/1.1\r\n" H "\r\n", 2 },
        { "GET /give-up?announce=1 HTTP/1.1\r\n" H "\r\n", 2 },
        { "GET /give-up HTTP/1.0\r\n\r\n", -1 },
    };
    struct stream stream;
    serve(&stream, NULL);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        int fd = client_connect(stream.fixture.port);
        client_send_text(fd, samples[i].request);
        char bytes[4096];
        size_t length;
        ssize_t end = read_all(fd, bytes, sizeof bytes, &length);
        assert_true(end <= 0);
        if (samples[i].end < 0) assert_int_equal(end, -1);
        assert_null(memmem(bytes, length, "\r\n0\r\n", 5));
        close(fd);
    }
    test_wait_until(atomic_load(&stream.done) == 3, 4000);
    assert_int_equal(atomic_load(&stream.last_result), 0);
    test_wait_until(fixture_stats(&stream.fixture).answers_cut == 3, 4000);
    assert_int_equal(fixture_stats(&stream.fixture).answers_missing, 0);
    test_wait_until(fixture_stats(&stream.fixture).connections == 0, 4000);
    fixture_destroy(&stream.fixture);
}

static void create_stuck(struct stream *stream, uint64_t late_window_ns)
{
    skink_recovery_options recovery_options = SKINK_RECOVERY_OPTIONS_INIT;
    recovery_options.deadlock_timeout_ns = test_ms(100);
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.late_window_ns = late_window_ns;
    create(stream, &options);
    stream->recovery = fixture_watch(&stream->fixture, &recovery_options);
    fixture_start(&stream->fixture);
}

static uint64_t strays(const struct stream *stream)
{
    return fixture_recovery_stats(stream->recovery).strays;
}

static void destroy_stuck(struct stream *stream)
{
    test_wait_until(atomic_load(&stream->done) == 1 && strays(stream) == 0, 8000);
    fixture_destroy(&stream->fixture);
    skink_recovery_destroy(stream->recovery);
}

static void stuck_in_the_middle_and_not_free_in_time_is_cut_once(void **state)
{
    (void)state;
    struct stream stream;
    create_stuck(&stream, 50 * SKINK_MS);
    int fd = client_connect(stream.fixture.port);
    client_send_text(fd, "GET /stick HTTP/1.1\r\n" H "\r\n");
    char bytes[4096];
    size_t length;
    assert_true(read_all(fd, bytes, sizeof bytes, &length) <= 0);
    assert_non_null(memmem(bytes, length, "\r\n\r\n4\r\nhalf\r\n", 13));
    assert_null(memmem(bytes, length, "rest", 4));
    assert_null(memmem(bytes, length, "503", 3)); /* not a second answer inside the first */
    close(fd);
    assert_int_equal(fixture_stats(&stream.fixture).answers_cut, 1);
    atomic_store(&stream.release, 1);
    test_wait_until(atomic_load(&stream.done) == 1, 8000);
    assert_int_equal(atomic_load(&stream.last_result), -ECANCELED);
    assert_int_equal(fixture_stats(&stream.fixture).late_answers_dropped, 1);
    assert_int_equal(fixture_stats(&stream.fixture).answers_cut, 1);
    destroy_stuck(&stream);
}

static void stuck_in_the_middle_and_free_in_time_goes_on_writing(void **state)
{
    (void)state;
    struct stream stream;
    create_stuck(&stream, 5 * SKINK_S);
    int fd = client_connect(stream.fixture.port);
    client_send_text(fd, "GET /stick HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    test_wait_until(strays(&stream) == 1, 8000);
    atomic_store(&stream.release, 1);
    char bytes[4096];
    size_t length;
    assert_int_equal(read_all(fd, bytes, sizeof bytes, &length), 0);
    assert_non_null(memmem(bytes, length, "\r\n\r\n4\r\nhalf\r\n4\r\nrest\r\n0\r\n\r\n", 27));
    close(fd);
    test_wait_until(atomic_load(&stream.done) == 1, 8000);
    assert_int_equal(atomic_load(&stream.last_result), 0);
    assert_int_equal(fixture_stats(&stream.fixture).answers_cut, 0);
    destroy_stuck(&stream);
}

static void a_server_that_is_destroyed_cuts_what_is_being_written(void **state)
{
    (void)state;
    struct stream stream;
    serve(&stream, NULL);
    int fd = ask_for_too_much(&stream);
    assert_true(where_it_stands(&stream) > 0);
    skink_http_server_destroy(stream.fixture.server);
    test_wait_until(atomic_load(&stream.done) == 1, 4000);
    assert_int_equal(atomic_load(&stream.last_result), -ECANCELED);
    skink_scheduler_destroy(stream.fixture.scheduler);
    close(fd);
}

static void a_scheduler_that_stops_first_cuts_it_too(void **state)
{
    (void)state;
    struct stream stream;
    serve(&stream, NULL);
    int fd = ask_for_too_much(&stream);
    assert_true(where_it_stands(&stream) > 0);
    assert_int_equal(skink_scheduler_stop(stream.fixture.scheduler, skink_after(50 * SKINK_MS)), -ECANCELED);
    assert_int_equal(atomic_load(&stream.done), 1); /* its wait was cancelled */
    assert_int_equal(atomic_load(&stream.last_result), -ECANCELED);
    fixture_destroy(&stream.fixture);
    close(fd);
}

static const struct test_case cases[] = {
    CASE(the_form_follows_version_and_length),
    CASE(the_connection_goes_on_behind_a_streamed_answer),
    CASE(misuse_is_refused_and_harms_nothing),
    CASE(a_slow_reader_suspends_the_writer),
    CASE(a_client_that_leaves_ends_the_writer),
    CASE(a_head_has_its_answer_at_once_and_keeps_nobody_waiting),
    CASE(a_head_without_end_is_ended_by_the_idle_timeout),
    CASE(a_reader_that_takes_nothing_is_left),
    CASE(a_reader_that_is_very_slow_is_not_left),
    CASE(a_handler_that_returns_in_the_middle_has_its_connection_cut),
    CASE(stuck_in_the_middle_and_not_free_in_time_is_cut_once),
    CASE(stuck_in_the_middle_and_free_in_time_goes_on_writing),
    CASE(a_server_that_is_destroyed_cuts_what_is_being_written),
    CASE(a_scheduler_that_stops_first_cuts_it_too),
};
TEST_MAIN(cases, NULL, NULL)
