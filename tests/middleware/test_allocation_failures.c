/* SPDX-License-Identifier: MIT */
/*
 * test_allocation_failures.c - every allocation of the HTTP server fails in turn: while it is set up, and during whole
 * requests over a socket.
 *
 * Each attempt is made with a server of its own, so that no pool has what it needs, and when that is gone no block is
 * left. The stats server has cases of its own (test_stats_server.c).
 */
#include "tests/middleware/fixture.h"
#include "tests/support/process.h"
#include "tests/support/scarce.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int setup(void **state)
{
    (void)state;
    scarce_install();
    return 0;
}

/* ---- setting up ---- */

static void handle(skink_request *request, void *arg)
{
    (void)arg;
    skink_respond_text(request, 200, "handled");
}

static void pass_on(skink_request *request, skink_next *next, void *arg)
{
    (void)arg;
    skink_next_run(next, request);
}

static int create_server(struct fixture *f)
{
    skink_http_server *server = NULL;
    int err = skink_http_server_create(f->scheduler, NULL, &server);
    assert_true(!err == !!server);
    skink_http_server_destroy(server);
    return err;
}

static int add_route(struct fixture *f)
{
    return skink_http_route(f->server, "GET", "/users/{id}/posts/{rest...}", NULL, handle, NULL);
}

static int add_middleware(struct fixture *f)
{
    return skink_http_use(f->server, pass_on, NULL);
}

static int listen_on_tcp(struct fixture *f)
{
    return skink_http_listen(f->server, "127.0.0.1:0", &f->port);
}

static int listen_on_a_file(struct fixture *f)
{
    char address[64];
    snprintf(address, sizeof address, "unix:/tmp/skink-allocation-%d", (int)getpid());
    int err = skink_http_listen(f->server, address, NULL);
    if (err) assert_int_equal(access(address + strlen("unix:"), F_OK), -1); /* no file is left behind either */
    return err;
}

/* Let each allocation of the call fail, until it needs no more; it makes at least `least` of them. */
static void fail_each(int (*call)(struct fixture *f), long least)
{
    long n = 0, failures;
    do {
        struct fixture f;
        fixture_create(&f, NULL, NULL);
        int fds = test_fd_count(0);
        scarce_fail(n++);
        int err = call(&f);
        failures = scarce_end();
        assert_int_equal(err, failures ? -ENOMEM : 0);
        if (err) {
            assert_int_equal(test_fd_count(0), fds);
            assert_int_equal(call(&f), 0);
        }
        fixture_destroy(&f);
        scarce_assert_no_blocks();
    } while (failures);
    assert_true(n > least);
}

static int create_workers(struct fixture *f)
{
    (void)f;
    skink_workers *workers = NULL;
    skink_workers_options options = SKINK_WORKERS_OPTIONS_INIT;
    options.threads = 3;
    int err = skink_workers_create(&options, &workers);
    assert_true(!err == !!workers);
    skink_workers_destroy(workers);
    return err;
}

static skink_workers *two_workers(void)
{
    skink_workers *workers;
    skink_workers_options options = SKINK_WORKERS_OPTIONS_INIT;
    options.threads = 2;
    assert_int_equal(skink_workers_create(&options, &workers), 0);
    return workers;
}

static void workers_without_memory_are_not_created_and_leave_nothing(void **state)
{
    (void)state;
    fail_each(create_workers, 6);
}

/* What has been started is stopped again, so the others go with it and can be destroyed. */
static void workers_without_memory_are_not_started_and_leave_nothing(void **state)
{
    (void)state;
    long n = 0, failures;
    do {
        skink_workers *workers = two_workers();
        scarce_fail(n++);
        int err = skink_workers_start(workers);
        failures = scarce_end();
        assert_int_equal(err, failures ? -ENOMEM : 0);
        skink_workers_destroy(workers);
        scarce_assert_no_blocks();
    } while (failures);
    assert_true(n > 2);
}

static void limits_and_numbers_of_workers_need_no_memory(void **state)
{
    (void)state;
    struct fixture f;
    skink_workers *workers = two_workers();
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.workers = workers;
    fixture_create(&f, NULL, &options);
    fixture_add_common_routes(&f);
    assert_int_equal(skink_workers_start(workers), 0);
    fixture_start(&f);
    int fd = client_connect(f.port);
    client_expect(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 200, "hello\n");
    skink_workers_stats stats = SKINK_WORKERS_STATS_INIT;
    scarce_fail_all();
    int set = skink_http_set_limits(f.server, 1, 1);
    int set_route = skink_http_route_set_limits(f.server, "/hello", 1, 1);
    skink_workers_set_timeouts(workers, SKINK_S, SKINK_S);
    int read = skink_workers_stats_read(workers, &stats);
    long failures = scarce_end();
    assert_int_equal(failures, 0);
    assert_int_equal(set, 0);
    assert_int_equal(set_route, 0);
    assert_int_equal(read, 0);
    assert_int_equal(stats.threads, 2);
    client_expect(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 200, "hello\n");
    close(fd);
    assert_int_equal(skink_workers_stop(workers, skink_after(5 * SKINK_S)), 0);
    skink_workers_destroy(workers);
    fixture_destroy(&f);
    scarce_assert_no_blocks();
}

static void create_without_memory_fails_and_leaves_nothing(void **state)
{
    (void)state;
    fail_each(create_server, 4);
}

static void route_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(add_route, 8);
}

static void use_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(add_middleware, 1);
}

static void listen_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each(listen_on_tcp, 1);
    fail_each(listen_on_a_file, 2);
}

static void destroy_needs_no_memory(void **state)
{
    (void)state;
    struct fixture f;
    fixture_serve(&f);
    int fd = client_connect(f.port);
    client_expect(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 200, "hello\n");
    scarce_fail_all();
    skink_http_server_destroy(f.server);
    bool ended = client_sees_end(fd, 5000);
    scarce_end();
    assert_true(ended);
    skink_scheduler_destroy(f.scheduler);
    close(fd);
    scarce_assert_no_blocks();
}

/* ---- calls of a handler ---- */

struct calls {
    _Atomic long n;
    _Atomic long failures;
    _Atomic int err;   /* of the call without memory */
    _Atomic int again; /* of the same one with memory */
};

static void handle_header(skink_request *request, void *arg)
{
    struct calls *calls = arg;
    scarce_fail(atomic_load(&calls->n));
    int err = skink_response_header(request, "X-Name", "value");
    atomic_store(&calls->failures, scarce_end());
    atomic_store(&calls->err, err);
    atomic_store(&calls->again, err ? skink_response_header(request, "X-Name", "value") : 0);
    skink_respond_text(request, 200, "header");
}

/* A header too long for the memory that a server keeps for heads. */
static void handle_respond(skink_request *request, void *arg)
{
    struct calls *calls = arg;
    static char value[20000];
    memset(value, 'v', sizeof value - 1);
    int err = skink_response_header(request, "X-Long", value);
    scarce_fail(atomic_load(&calls->n));
    if (!err) err = skink_respond_text(request, 200, "respond");
    atomic_store(&calls->failures, scarce_end());
    atomic_store(&calls->err, err);
    atomic_store(&calls->again, err ? skink_respond_text(request, 200, "respond") : 0);
}

/* Without memory the query cannot be taken apart: the parameter is as good as not there, until it can. */
static void handle_query(skink_request *request, void *arg)
{
    struct calls *calls = arg;
    scarce_fail(atomic_load(&calls->n));
    const char *value = skink_request_query(request, "a");
    atomic_store(&calls->failures, scarce_end());
    atomic_store(&calls->err, value ? 0 : -ENOMEM);
    value = skink_request_query(request, "a");
    atomic_store(&calls->again, value && strcmp(value, "1") == 0 ? 0 : -EPROTO);
    skink_respond_text(request, 200, "query");
}

/* What came to a client until the end of the stream: all of it, with a NUL. */
static char *read_all(int fd, size_t *ret_length)
{
    size_t length = 0, capacity = 65536;
    char *text = malloc(capacity);
    assert_non_null(text);
    for (;;) {
        struct pollfd ready = { .fd = fd, .events = POLLIN };
        assert_int_equal(poll(&ready, 1, (int)test_patience(8000)), 1);
        if (length + 1 == capacity) {
            char *larger = realloc(text, capacity *= 2);
            assert_non_null(larger);
            text = larger;
        }
        ssize_t n = recv(fd, text + length, capacity - length - 1, 0);
        if (n <= 0) break;
        length += (size_t)n;
    }
    text[length] = '\0';
    *ret_length = length;
    return text;
}

static void fail_each_call_of(skink_handler handler, const char *body)
{
    struct calls calls = { 0 };
    long n = 0;
    do {
        struct fixture f;
        atomic_store(&calls.n, n++);
        fixture_create(&f, NULL, NULL);
        fixture_route(&f, "GET", "/call", handler, &calls);
        fixture_start(&f);
        int fd = client_connect(f.port);
        client_send_text(fd, "GET /call?a=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        size_t length;
        char *answer = read_all(fd, &length);
        close(fd);
        assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
        assert_true(length > strlen(body));
        assert_string_equal(answer + length - strlen(body), body);
        free(answer);
        assert_int_equal(atomic_load(&calls.err), atomic_load(&calls.failures) ? -ENOMEM : 0);
        assert_int_equal(atomic_load(&calls.again), 0);
        fixture_destroy(&f);
        scarce_assert_no_blocks();
    } while (atomic_load(&calls.failures));
    assert_true(n > 1);
}

static void response_header_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each_call_of(handle_header, "header");
}

static void respond_without_memory_fails_and_can_be_repeated(void **state)
{
    (void)state;
    fail_each_call_of(handle_respond, "respond");
}

static void query_without_memory_is_null_and_can_be_had_later(void **state)
{
    (void)state;
    fail_each_call_of(handle_query, "query");
}

/* ---- whole requests ---- */

enum { LARGE_BYTES = 4 * 1024 * 1024 };

/* More than a socket's buffers hold: the rest waits in the server's memory. */
static void handle_large(skink_request *request, void *arg)
{
    (void)arg;
    char *body = malloc(LARGE_BYTES); /* the host's memory, not the library's */
    if (!body) return;
    memset(body, 'b', LARGE_BYTES);
    skink_respond(request, 200, NULL, body, LARGE_BYTES);
    free(body);
}

struct conversation {
    const char *request; /* its last one asks for the end of the connection */
    size_t length;
    unsigned answers;          /* that follow */
    long least;                /* allocations that it takes */
    skink_execution execution; /* 0: on the loop */
    bool limited;              /* one at a time on its route, one more waits */
};

/* How many whole answers are in this text, which statuses they have; and is there nothing but whole answers? */
static bool answers_are_whole(const char *at, size_t length, unsigned *ret_good, unsigned *ret_refused)
{
    const char *end = at + length;
    *ret_good = *ret_refused = 0;
    while (at < end) {
        int status;
        const char *head_end = strstr(at, "\r\n\r\n");
        const char *announced = strstr(at, "Content-Length: ");
        if (!head_end || !announced || announced > head_end || sscanf(at, "HTTP/1.1 %d ", &status) != 1) return false;
        if (status != 200 && status != 500 && status != 503) return false;
        if (status == 503 && !strstr(at, "\"number\":1005")) return false; /* out of memory, and says so */
        ++*(status == 200 ? ret_good : ret_refused);
        at = head_end + 4 + atol(announced + strlen("Content-Length: "));
    }
    return at == end;
}

/* One conversation with the n-th allocation failing. Returns how many failed. */
static long converse(const struct conversation *c, long n)
{
    struct fixture f;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.workers = c->execution ? two_workers() : NULL;
    options.execution = c->execution;
    fixture_create(&f, NULL, &options);
    fixture_add_common_routes(&f);
    fixture_route(&f, "GET", "/large", handle_large, NULL);
    if (c->limited) assert_int_equal(skink_http_route_set_limits(f.server, "/hello", 1, 1), 0);
    if (options.workers) assert_int_equal(skink_workers_start(options.workers), 0);
    fixture_start(&f);
    int fds = test_fd_count(0);
    scarce_fail(n);
    int fd = client_connect(f.port);
    client_send(fd, c->request, c->length);
    size_t length;
    char *text = read_all(fd, &length);
    close(fd);
    long failures = scarce_end();

    unsigned good, refused;
    bool whole = answers_are_whole(text, length, &good, &refused);
    if (!failures) {
        assert_true(whole);
        assert_int_equal(good, c->answers);
        assert_int_equal(refused, 0);
    } else if (whole) {
        assert_true(good + refused <= c->answers);
    } else {
        assert_non_null(strstr(c->request, "/large")); /* only what had begun to go out can be cut off */
    }
    free(text);

    fd = client_connect(f.port); /* the next client notices nothing */
    client_expect(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 200, "hello\n");
    close(fd);
    test_wait_until(fixture_stats(&f).connections == 0, 5000);
    test_wait_until(test_fd_count(0) == fds, 5000);
    assert_int_equal(fixture_stats(&f).in_flight, 0);
    if (options.workers) assert_int_equal(skink_workers_stop(options.workers, skink_after(5 * SKINK_S)), 0);
    skink_workers_destroy(options.workers);
    fixture_destroy(&f);
    scarce_assert_no_blocks();
    return failures;
}

static void fail_each_of(const struct conversation *c)
{
    long n = 0;
    while (converse(c, n))
        n++;
    assert_true(n >= c->least);
}

static void small_request_without_memory_is_refused_or_cut_alone(void **state)
{
    (void)state;
    static const char request[] = "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    fail_each_of(&(struct conversation){ request, sizeof request - 1, 1, 3 });
}

static void request_that_waits_without_memory_is_refused_or_cut_alone(void **state)
{
    (void)state;
    static const char request[] = "GET /sleep?ms=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    fail_each_of(&(struct conversation){ request, sizeof request - 1, 1, 4 });
}

/* Many headers, a long target, a body in two encodings: all that grows while a request is read. */
static void large_request_without_memory_is_refused_or_cut_alone(void **state)
{
    (void)state;
    enum { BODY = 100000 };
    static char request[BODY + 20000];
    char *at = request;
    at +=
        sprintf(at, "POST /echo?q=%0800d HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n", 7, BODY);
    for (int i = 0; i < 80; i++)
        at += sprintf(at, "X-Header-%d: %0100d\r\n", i, i);
    at += sprintf(at, "\r\n");
    memset(at, 'b', BODY);
    fail_each_of(&(struct conversation){ request, (size_t)(at - request) + BODY, 1, 6 });
}

static void chunked_request_without_memory_is_refused_or_cut_alone(void **state)
{
    (void)state;
    enum { CHUNKS = 40, CHUNK = 1000 };
    static char request[CHUNKS * (CHUNK + 16) + 1000];
    char *at = request;
    at += sprintf(at, "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < CHUNKS; i++) {
        at += sprintf(at, "%x\r\n", CHUNK);
        memset(at, 'c', CHUNK);
        at += CHUNK;
        at += sprintf(at, "\r\n");
    }
    at += sprintf(at, "0\r\n\r\n");
    fail_each_of(&(struct conversation){ request, (size_t)(at - request), 1, 4 });
}

/* Requests ahead of the answer are kept in a backlog. */
static void pipelined_requests_without_memory_are_refused_or_cut_alone(void **state)
{
    (void)state;
    enum { REQUESTS = 20 };
    static char request[REQUESTS * 100];
    char *at = request;
    for (int i = 1; i < REQUESTS; i++)
        at += sprintf(at, "GET /sleep?ms=0 HTTP/1.1\r\nHost: a\r\n\r\n");
    at += sprintf(at, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    fail_each_of(&(struct conversation){ request, (size_t)(at - request), REQUESTS, 4 });
}

static void large_answer_without_memory_is_refused_or_cut_alone(void **state)
{
    (void)state;
    static const char request[] = "GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    fail_each_of(&(struct conversation){ request, sizeof request - 1, 1, 4 });
}

static void request_on_a_worker_without_memory_is_refused_or_cut_alone(void **state)
{
    (void)state;
    static const char request[] = "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    fail_each_of(&(struct conversation){ request, sizeof request - 1, 1, 5, .execution = SKINK_EXECUTE_THREADS });
    fail_each_of(&(struct conversation){ request, sizeof request - 1, 1, 5, .execution = SKINK_EXECUTE_SERIAL });
}

static void request_with_a_limit_without_memory_is_refused_or_cut_alone(void **state)
{
    (void)state;
    static const char request[] = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
                                  "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    fail_each_of(&(struct conversation){ request, sizeof request - 1, 2, 3, .limited = true });
    fail_each_of(&(struct conversation){ request, sizeof request - 1, 2, 5, .execution = SKINK_EXECUTE_THREADS,
                                         .limited = true });
}

static const struct test_case cases[] = {
    CASE(workers_without_memory_are_not_created_and_leave_nothing),
    CASE(workers_without_memory_are_not_started_and_leave_nothing),
    CASE(limits_and_numbers_of_workers_need_no_memory),
    CASE(request_on_a_worker_without_memory_is_refused_or_cut_alone),
    CASE(request_with_a_limit_without_memory_is_refused_or_cut_alone),
    CASE(create_without_memory_fails_and_leaves_nothing),
    CASE(route_without_memory_fails_and_can_be_repeated),
    CASE(use_without_memory_fails_and_can_be_repeated),
    CASE(listen_without_memory_fails_and_can_be_repeated),
    CASE(destroy_needs_no_memory),
    CASE(response_header_without_memory_fails_and_can_be_repeated),
    CASE(respond_without_memory_fails_and_can_be_repeated),
    CASE(query_without_memory_is_null_and_can_be_had_later),
    CASE_TIMEOUT(small_request_without_memory_is_refused_or_cut_alone, 40),
    CASE_TIMEOUT(request_that_waits_without_memory_is_refused_or_cut_alone, 40),
    CASE_TIMEOUT(large_request_without_memory_is_refused_or_cut_alone, 40),
    CASE_TIMEOUT(chunked_request_without_memory_is_refused_or_cut_alone, 40),
    CASE_TIMEOUT(pipelined_requests_without_memory_are_refused_or_cut_alone, 40),
    CASE_TIMEOUT(large_answer_without_memory_is_refused_or_cut_alone, 40),
};
TEST_MAIN(cases, setup, NULL)
