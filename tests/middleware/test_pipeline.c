/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_pipeline.c - middlewares around handlers, and what handlers may and may not answer. */
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define H "Host: a\r\n"

/* What happened, in order. The loop thread writes; the test reads after `done` was counted up. */
struct trace {
    char text[256];
    _Atomic int done;
};

static void note(struct trace *trace, const char *what)
{
    strncat(trace->text, what, sizeof trace->text - strlen(trace->text) - 1);
}

struct named {
    struct trace *trace;
    const char *in, *out;
};

static void around(skink_request *request, skink_next *next, void *arg)
{
    const struct named *named = arg;
    note(named->trace, named->in);
    skink_next_run(next, request);
    char out[64];
    snprintf(out, sizeof out, "%s%d ", named->out, skink_request_status(request));
    note(named->trace, out);
}

static void outermost(skink_request *request, skink_next *next, void *arg)
{
    around(request, next, arg);
    atomic_fetch_add(&((const struct named *)arg)->trace->done, 1);
}

static void handle(skink_request *request, void *arg)
{
    note(arg, "handler ");
    skink_respond_text(request, 201, "made");
}

static void middlewares_run_outermost_first_and_see_the_answer_on_the_way_out(void **state)
{
    (void)state;
    struct trace trace = { .done = 0 };
    struct named first = { &trace, "1in ", "1out=" }, second = { &trace, "2in ", "2out=" };
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    assert_int_equal(skink_http_use(fixture.server, outermost, &first), 0);
    assert_int_equal(skink_http_use(fixture.server, around, &second), 0);
    fixture_route(&fixture, "POST", "/", handle, &trace);
    fixture_start(&fixture);
    assert_int_equal(skink_http_use(fixture.server, around, &second), -EBUSY);
    int fd = client_connect(fixture.port);
    client_expect(fd, "POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 201, "made");
    test_wait_until(atomic_load(&trace.done) == 1, 4000);
    assert_string_equal(trace.text, "1in 2in handler 2out=201 1out=201 ");
    trace.text[0] = '\0';
    client_expect(fd, "GET /nowhere HTTP/1.1\r\n" H "\r\n", 404, NULL);
    test_wait_until(atomic_load(&trace.done) == 2, 4000);
    assert_string_equal(trace.text, "1in 2in 2out=404 1out=404 ");
    close(fd);
    fixture_destroy(&fixture);
}

/* What stands in middleware/builtin/ can be written by anybody: no header of the library's own. */
static void builtins_use_public_headers_only(void **state)
{
    (void)state;
    DIR *folder = opendir(TEST_SOURCE_DIR "/middleware/builtin");
    assert_non_null(folder);
    int files = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[512], line[512];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/middleware/builtin/%s", TEST_SOURCE_DIR, entry->d_name);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        while (fgets(line, sizeof line, file)) {
            if (strncmp(line, "#include \"", 10) != 0) continue;
            bool allowed = strncmp(line + 10, "skink/", 6) == 0 || strncmp(line + 10, "middleware/builtin/", 19) == 0;
            if (!allowed) print_error("%s: %s", path, line);
            assert_true(allowed);
        }
        fclose(file);
        files++;
    }
    closedir(folder);
    assert_true(files >= 3);
}

static void a_middleware_with_a_prefix_stands_on_its_paths_only(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        bool stands;
    } samples[] = {
        { "/api", true },     { "/api/", true },   { "/api/x", true },   { "/apix", false }, { "/ap", false },
        { "/%61pi/x", true }, { "/x/api", false }, { "/api%2Fx", true }, { "/api?a", true }, { "/", false },
    };
    struct trace trace = { .done = 0 };
    struct named on_api = { &trace, "api ", "" }, on_all = { &trace, "all ", "" };
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    assert_int_equal(skink_http_use_on(fixture.server, "api", around, &on_api), -EINVAL);
    assert_int_equal(skink_http_use_on(fixture.server, "/", outermost, &on_all), 0);
    assert_int_equal(skink_http_use_on(fixture.server, "/api/", around, &on_api), 0);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    for (int i = 0; i < (int)(sizeof samples / sizeof *samples); i++) {
        char request[128];
        trace.text[0] = '\0';
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n" H "\r\n", samples[i].path);
        client_expect(fd, request, 404, NULL);
        test_wait_until(atomic_load(&trace.done) == i + 1, 4000);
        if ((strstr(trace.text, "api ") != NULL) != samples[i].stands) print_error("%s\n", samples[i].path);
        assert_int_equal(strstr(trace.text, "api ") != NULL, samples[i].stands);
    }
    close(fd);
    fixture_destroy(&fixture);
}

static void gate(skink_request *request, skink_next *next, void *arg)
{
    (void)arg;
    if (skink_request_header(request, "Key"))
        skink_next_run(next, request);
    else
        skink_respond_error(request, 401, 5001, "a \"key\" is\tneeded \xff");
    skink_next_run(next, request); /* a second time: has no effect */
}

static void a_middleware_may_answer_itself(void **state)
{
    (void)state;
    struct trace trace = { .done = 0 };
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    assert_int_equal(skink_http_use(fixture.server, gate, NULL), 0);
    fixture_route(&fixture, "GET", "/", handle, &trace);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    client_expect(fd, "GET / HTTP/1.1\r\n" H "Key: x\r\n\r\n", 201, "made");
    assert_string_equal(trace.text, "handler ");
    client_expect(fd, "GET / HTTP/1.1\r\n" H "X-Request-Id: two\r\n\r\n", 401,
                  "{\"status\":401,\"error\":true,\"number\":5001,\"message\":\"a \\\"key\\\" is\\u0009needed "
                  "\\ufffd\",\"request\":\"two\"}\n");
    close(fd);
    fixture_destroy(&fixture);
}

/* --- answering --- */

struct results {
    int values[16];
    _Atomic int done;
};

static void answer_twice(skink_request *request, void *arg)
{
    struct results *results = arg;
    int n = 0;
    results->values[n++] = skink_request_status(request);
    results->values[n++] = skink_respond_text(request, 199, "x");
    results->values[n++] = skink_respond_text(request, 600, "x");
    results->values[n++] = skink_respond_text(request, 204, "a body");
    results->values[n++] = skink_respond_text(request, 205, "a body");
    results->values[n++] = skink_respond_error(request, 205, 1, "a body");
    results->values[n++] = skink_response_begin(request, 205, NULL, SKINK_LENGTH_UNKNOWN);
    results->values[n++] = skink_respond(request, 200, "bad\r\ntype", "", 0);
    results->values[n++] = skink_respond_text(request, 200, "first");
    results->values[n++] = skink_respond_text(request, 200, "second");
    results->values[n++] = skink_respond_error(request, 500, 1, "third");
    results->values[n++] = skink_response_header(request, "X", "late");
    results->values[n++] = skink_request_status(request);
    atomic_store(&results->done, 1);
}

static void the_second_answer_is_refused(void **state)
{
    (void)state;
    struct results results = { .done = 0 };
    struct fixture fixture;
    fixture_serve_handler(&fixture, "/twice", answer_twice, &results);
    int fd = client_connect(fixture.port);
    client_expect(fd, "GET /twice HTTP/1.1\r\n" H "\r\n", 200, "first");
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    test_wait_until(atomic_load(&results.done), 4000);
    static const int expected[] = { 0,       -EINVAL, -EINVAL,   -EINVAL,   -EINVAL,   -EINVAL, -EINVAL,
                                    -EINVAL, 0,       -EALREADY, -EALREADY, -EALREADY, 200 };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(results.values[i], expected[i]);
    close(fd);
    fixture_destroy(&fixture);
}

static void answer_wrongly(skink_request *request, void *arg)
{
    struct results *results = arg;
    int n = 0;
    results->values[n++] = skink_respond(request, 199, NULL, NULL, 0);
    results->values[n++] = skink_respond(request, 100, NULL, NULL, 0);
    results->values[n++] = skink_respond(request, 600, NULL, NULL, 0);
    results->values[n++] = skink_respond(request, 200, NULL, NULL, 1);
    results->values[n++] = skink_respond(request, 204, NULL, "a body", 6);
    results->values[n++] = skink_respond(request, 304, NULL, "a body", 6);
    results->values[n++] = skink_respond(request, 205, NULL, "a body", 6);
    results->values[n++] = skink_respond_error(request, 199, 1, "x");
    results->values[n++] = skink_respond_error(request, 204, 1, "x");
    results->values[n++] = skink_respond_error(request, 500, 1, NULL);
    results->values[n++] = skink_respond_number(request, 1);
    results->values[n++] = skink_request_status(request);
    results->values[n++] = skink_response_header(request, "Server", "mine");
    results->values[n++] = skink_respond(request, 599, NULL, NULL, 0);
    atomic_store(&results->done, 1);
}

static void answers_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct results results = { .done = 0 };
    struct fixture fixture;
    fixture_serve_handler(&fixture, "/", answer_wrongly, &results);
    int fd = client_connect(fixture.port);
    struct reply reply;
    client_send_text(fd, "GET / HTTP/1.1\r\n" H "\r\n");
    client_read(fd, &reply, false);
    test_wait_until(atomic_load(&results.done), 4000);
    for (int i = 0; i < 10; i++)
        assert_int_equal(results.values[i], -EINVAL);
    assert_int_equal(results.values[10], -ENOENT);
    for (int i = 11; i < 14; i++)
        assert_int_equal(results.values[i], 0);
    assert_int_equal(reply.status, 599);
    const char *server = strstr(reply.head, "\r\nServer: "); /* the handler's, and no other */
    assert_non_null(server);
    assert_memory_equal(server, "\r\nServer: mine\r\n", strlen("\r\nServer: mine\r\n"));
    assert_null(strstr(server + 1, "\r\nServer: "));
    reply_free(&reply);
    close(fd);
    fixture_destroy(&fixture);
}

static void say_nothing(skink_request *request, void *arg)
{
    (void)request, (void)arg;
}

static void a_handler_without_an_answer_is_answered_for(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_serve_handler(&fixture, "/silent", say_nothing, NULL);
    int fd = client_connect(fixture.port);
    client_expect(fd, "GET /silent HTTP/1.1\r\n" H "X-Request-Id: one\r\n\r\n", 500,
                  "{\"status\":500,\"error\":true,\"number\":1001,\"message\":\"the handler returned without an "
                  "answer\",\"request\":\"one\"}\n");
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    assert_int_equal(fixture_stats(&fixture).answers_missing, 1);
    close(fd);
    fixture_destroy(&fixture);
}

static void swallow(skink_request *request, skink_next *next, void *arg)
{
    (void)request, (void)next, (void)arg;
}

static void a_middleware_that_neither_answers_nor_goes_on_is_answered_for(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    assert_int_equal(skink_http_use_on(fixture.server, "/hello", swallow, NULL), 0);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 500, NULL);
    assert_int_equal(fixture_stats(&fixture).answers_missing, 1);
    close(fd);
    fixture_destroy(&fixture);
}

static void no_content(skink_request *request, void *arg)
{
    (void)arg;
    skink_respond(request, 204, NULL, NULL, 0);
}

static void not_modified(skink_request *request, void *arg)
{
    (void)arg;
    skink_respond(request, 304, NULL, NULL, 0);
}

static void answers_without_a_body_have_no_length(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_route(&fixture, "GET", "/204", no_content, NULL);
    fixture_route(&fixture, "GET", "/304", not_modified, NULL);
    fixture_add_common_routes(&fixture);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    static const char *const paths[] = { "/204", "/304" };
    for (int i = 0; i < 2; i++) {
        char request[64];
        struct reply reply;
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n" H "\r\n", paths[i]);
        client_send_text(fd, request);
        client_read(fd, &reply, false);
        assert_int_equal(reply.status, i == 0 ? 204 : 304);
        assert_null(reply_header(&reply, "Content-Length"));
        reply_free(&reply);
    }
    struct reply reply;
    client_send_text(fd, "HEAD /hello HTTP/1.1\r\n" H "\r\n");
    client_read(fd, &reply, true);
    assert_string_equal(reply_header(&reply, "Content-Length"), "6");
    reply_free(&reply);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(fd);
    fixture_destroy(&fixture);
}

static void set_headers(skink_request *request, void *arg)
{
    struct results *results = arg;
    int n = 0;
    results->values[n++] = skink_response_header(request, "X-One", "1");
    results->values[n++] = skink_response_header(request, "X-Two", "");
    results->values[n++] = skink_response_header(request, "Set-Cookie", "a=b; Path=/");
    results->values[n++] = skink_response_header(request, "Set-Cookie", "c=d");
    results->values[n++] = skink_response_header(request, "Content-Length", "5");
    results->values[n++] = skink_response_header(request, "transfer-encoding", "chunked");
    results->values[n++] = skink_response_header(request, "Connection", "close");
    results->values[n++] = skink_response_header(request, "Date", "now");
    results->values[n++] = skink_response_header(request, "X", "a\r\nSplit: b");
    results->values[n++] = skink_response_header(request, "X\r\nY", "a");
    results->values[n++] = skink_response_header(request, "", "a");
    results->values[n++] = skink_response_header(request, "a b", "a");
    char long_value[6000];
    memset(long_value, 'v', sizeof long_value - 1);
    long_value[sizeof long_value - 1] = '\0';
    for (int i = 0; i < 4; i++)
        results->values[n++] = skink_response_header(request, "X-Long", long_value + 5500);
    skink_respond(request, 200, "text/html", "<p>", 3);
    atomic_store(&results->done, 1);
}

static void headers_are_checked_and_sent(void **state)
{
    (void)state;
    struct results results = { .done = 0 };
    struct fixture fixture;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.server_header = "";
    fixture_create(&fixture, NULL, &options);
    fixture_route(&fixture, "GET", "/", set_headers, &results);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    struct reply reply;
    client_send_text(fd, "GET / HTTP/1.1\r\n" H "\r\n");
    client_read(fd, &reply, false);
    test_wait_until(atomic_load(&results.done), 4000);
    for (int i = 0; i < 16; i++)
        assert_int_equal(results.values[i], i >= 4 && i < 12 ? -EINVAL : 0);
    assert_string_equal(reply_header(&reply, "X-One"), "1");
    assert_string_equal(reply_header(&reply, "X-Two"), "");
    assert_string_equal(reply_header(&reply, "Content-Type"), "text/html");
    assert_string_equal(reply_header(&reply, "Content-Length"), "3");
    assert_non_null(strstr(reply.head, "\r\nSet-Cookie: a=b; Path=/\r\nSet-Cookie: c=d\r\n"));
    assert_null(reply_header(&reply, "Server"));
    assert_null(reply_header(&reply, "Split"));
    assert_non_null(reply_header(&reply, "Date"));
    assert_int_equal(strlen(reply_header(&reply, "Date")), strlen("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_string_equal(reply.body, "<p>");
    reply_free(&reply);
    close(fd);
    fixture_destroy(&fixture);
}

static void read_headers(skink_request *request, void *arg)
{
    (void)arg;
    char text[512] = "";
    const char *name, *value;
    for (size_t i = 0; skink_request_header_at(request, i, &name, &value); i++)
        sprintf(text + strlen(text), "%s=[%s] ", name, value);
    size_t length;
    const char *body = skink_request_body(request, &length);
    sprintf(text + strlen(text), "first=%s body=%s %zu", skink_request_header(request, "A"), body, length);
    skink_respond_text(request, 200, text);
}

static void handlers_see_headers_and_body(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_serve_handler(&fixture, "/", read_headers, NULL);
    int fd = client_connect(fixture.port);
    client_expect(fd, "GET / HTTP/1.1\r\nHost:a\r\na:  1 \t\r\nA: 2\r\nEmpty:\r\n\r\n", 200,
                  "Host=[a] a=[1] A=[2] Empty=[] first=1 body= 0");
    client_expect(fd, "GET / HTTP/1.1\r\nHost: a\r\nA: x\r\nContent-Length: 2\r\n\r\nhi", 200,
                  "Host=[a] A=[x] Content-Length=[2] first=x body=hi 2");
    close(fd);
    fixture_destroy(&fixture);
}

static void answering_from_outside_a_task_is_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    assert_int_equal(skink_respond_text(NULL, 200, "x"), -EINVAL);
    assert_int_equal(skink_respond_number(NULL, 1001), -EINVAL); /* of a missing answer, which is counted as well */
    skink_http_server *server;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.flags = 1u << 31;
    assert_int_equal(skink_http_server_create(fixture.scheduler, &options, &server), -EINVAL);
    options.flags = 0;
    options.server_header = "a\r\nb";
    assert_int_equal(skink_http_server_create(fixture.scheduler, &options, &server), -EINVAL);
    assert_int_equal(skink_http_server_create(NULL, NULL, &server), -EINVAL);
    struct {
        skink_http_options known;
        int newer;
    } longer = { .known = SKINK_HTTP_OPTIONS_INIT, .newer = 1 };
    longer.known.size = sizeof longer;
    assert_int_equal(skink_http_server_create(fixture.scheduler, &longer.known, &server), -E2BIG);
    fixture_destroy(&fixture);
}

static const struct test_case cases[] = {
    CASE(middlewares_run_outermost_first_and_see_the_answer_on_the_way_out),
    CASE(builtins_use_public_headers_only),
    CASE(a_middleware_with_a_prefix_stands_on_its_paths_only),
    CASE(a_middleware_may_answer_itself),
    CASE(the_second_answer_is_refused),
    CASE(answers_that_cannot_be_are_refused),
    CASE(a_handler_without_an_answer_is_answered_for),
    CASE(a_middleware_that_neither_answers_nor_goes_on_is_answered_for),
    CASE(answers_without_a_body_have_no_length),
    CASE(headers_are_checked_and_sent),
    CASE(handlers_see_headers_and_body),
    CASE(answering_from_outside_a_task_is_refused),
};
TEST_MAIN(cases, NULL, NULL)
