/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_request.c - what a handler can ask of a request, over real sockets. */
#include "tests/middleware/fixture.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define H "Host: a\r\n"

static void show_client(skink_request *request, void *arg)
{
    (void)arg;
    skink_respond_text(request, 200, skink_request_client(request));
}

static void show_id(skink_request *request, void *arg)
{
    (void)arg;
    skink_respond_text(request, 200, skink_request_id(request));
}

static void show_host(skink_request *request, void *arg)
{
    (void)arg;
    skink_respond_text(request, 200, skink_request_header(request, "host"));
}

static void show_cookie(skink_request *request, void *arg)
{
    (void)arg;
    const char *value = skink_request_cookie(request, "session");
    skink_respond_text(request, 200, value ? value : "(none)");
}

static void show_form(skink_request *request, void *arg)
{
    (void)arg;
    const char *value;
    int err = skink_request_form(request, "name", &value);
    if (err == -EBADMSG) {
        skink_respond_number(request, 1123);
        return;
    }
    skink_respond_text(request, err ? 415 : 200, err ? skink_strerror(err) : value ? value : "(none)");
}

static void fixture_with_getters(struct fixture *fixture, const skink_http_options *options)
{
    fixture_create(fixture, NULL, options);
    fixture_route(fixture, "GET", "/client", show_client, NULL);
    fixture_route(fixture, "GET", "/id", show_id, NULL);
    fixture_route(fixture, "GET", "/host", show_host, NULL);
    fixture_route(fixture, "GET", "/cookie", show_cookie, NULL);
    fixture_route(fixture, "POST", "/form", show_form, NULL);
    fixture_start(fixture);
}

static void forwarded_addresses_are_believed_from_trusted_proxies_only(void **state)
{
    (void)state;
    static const char *const requests[][2] = {
        { "GET /client HTTP/1.1\r\n" H "\r\n", "127.0.0.1" },
        { "GET /client HTTP/1.1\r\n" H "X-Forwarded-For: 203.0.113.9\r\n\r\n", "203.0.113.9" },
        { "GET /client HTTP/1.1\r\n" H "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.1.1.1\r\n\r\n",
          "203.0.113.9" },
        { "GET /client HTTP/1.1\r\n" H "X-Forwarded-For: 198.51.100.2, 203.0.113.9\r\n\r\n", "203.0.113.9" },
        { "GET /client HTTP/1.1\r\n" H "X-Forwarded-For: nobody\r\n\r\n", "127.0.0.1" },
    };
    for (int trusted = 0; trusted < 2; trusted++) {
        struct fixture fixture;
        skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
        options.trusted_proxies = trusted ? "127.0.0.0/8, 10.0.0.0/8" : NULL;
        fixture_with_getters(&fixture, &options);
        int fd = client_connect(fixture.port);
        for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
            client_expect(fd, requests[i][0], 200, trusted ? requests[i][1] : "127.0.0.1");
        close(fd);
        fixture_destroy(&fixture);
    }
}

/* Who routed the request here went by its target; two servers that see two hosts are what attacks are made of. */
static void the_host_of_the_target_counts(void **state)
{
    (void)state;
    static const char *const requests[][2] = {
        { "GET /host?http://b HTTP/1.1\r\nHost: a\r\n\r\n", "a" },
        { "GET http://b:80/host?q HTTP/1.1\r\nHost: a\r\n\r\n", "b:80" },
        { "GET HTTPS://[::1]/host HTTP/1.1\r\nX: y\r\nHost:\r\n\r\n", "[::1]" },
    };
    static const char *const bad[] = { "http://",         "http:///host",     "http://:80/host", "http://u:p@b/host",
                                       "http://b[/host?", "http://b\\c/host", "http://b:x/host", "http://[::1/host" };
    struct fixture fixture;
    fixture_with_getters(&fixture, NULL);
    int fd = client_connect(fixture.port);
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        client_expect(fd, requests[i][0], 200, requests[i][1]);
    close(fd);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char request[128];
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n" H "\r\n", bad[i]);
        fd = client_connect(fixture.port);
        client_expect(fd, request, 400, NULL);
        close(fd);
    }
    fixture_destroy(&fixture);
}

static void bad_trusted_proxies_are_refused(void **state)
{
    (void)state;
    skink_scheduler *scheduler;
    skink_http_server *server;
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.trusted_proxies = "10.0.0.0/40";
    assert_int_equal(skink_http_server_create(scheduler, &options, &server), -EINVAL);
    skink_scheduler_destroy(scheduler);
}

/* Send a request, and look at both places where its id is told. */
static void expect_id(int fd, const char *header, const char *expected, char *ret_id)
{
    char request[512];
    struct reply reply;
    snprintf(request, sizeof request, "GET /id HTTP/1.1\r\n" H "%s\r\n", header);
    client_send_text(fd, request);
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply_header(&reply, "X-Request-Id"), reply.body);
    if (expected) assert_string_equal(reply.body, expected);
    if (ret_id) snprintf(ret_id, 64, "%s", reply.body);
    reply_free(&reply);
}

static void a_request_id_is_taken_over_or_made(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_with_getters(&fixture, NULL);
    int fd = client_connect(fixture.port);
    char first[64], second[64];
    expect_id(fd, "", NULL, first);
    expect_id(fd, "", NULL, second);
    assert_string_not_equal(first, second);
    assert_int_equal(strncmp(first, second, 9), 0); /* the server's prefix */
    expect_id(fd, "x-request-id: from.the:client-1\r\n", "from.the:client-1", NULL);
    expect_id(fd, "X-Request-Id: not \"harmless\"\r\n", NULL, second);
    assert_int_equal(strncmp(first, second, 9), 0);
    /* Errors tell it too, those of the parser included. */
    struct reply reply;
    client_send_text(fd, "GET /nowhere HTTP/1.1\r\n" H "X-Request-Id: lost-1\r\n\r\n");
    client_read(fd, &reply, false);
    assert_string_equal(reply_header(&reply, "X-Request-Id"), "lost-1");
    assert_non_null(strstr(reply.body, "\"request\":\"lost-1\"}"));
    reply_free(&reply);
    client_send_text(fd, "GET /bad HTTP/1.1\r\nnonsense\r\n\r\n");
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, 400);
    char field[96];
    snprintf(field, sizeof field, "\"request\":\"%s\"", reply_header(&reply, "X-Request-Id"));
    assert_non_null(strstr(reply.body, field));
    reply_free(&reply);
    close(fd);
    fixture_destroy(&fixture);
}

static void cookies_are_found_by_name(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_with_getters(&fixture, NULL);
    int fd = client_connect(fixture.port);
    client_expect(fd, "GET /cookie HTTP/1.1\r\n" H "\r\n", 200, "(none)");
    client_expect(fd, "GET /cookie HTTP/1.1\r\n" H "Cookie: a=b; session=\"xyz\"\r\n\r\n", 200, "xyz");
    client_expect(fd, "GET /cookie HTTP/1.1\r\n" H "Cookie: a=b\r\ncookie: session=2\r\n\r\n", 200, "2");
    close(fd);
    fixture_destroy(&fixture);
}

static void expect_form(int fd, const char *type, const char *body, int status, const char *expected)
{
    char request[512];
    snprintf(request, sizeof request,
             "POST /form HTTP/1.1\r\n" H "Content-Type: %s\r\nX-Request-Id: f\r\nContent-Length: %zu\r\n\r\n%s", type,
             strlen(body), body);
    client_expect(fd, request, status, expected);
}

static void forms_are_read_and_bad_ones_refused(void **state)
{
    (void)state;
    static const char form[] = "application/x-www-form-urlencoded";
    static const char malformed[] =
        "{\"status\":400,\"error\":true,\"number\":1123,\"message\":\"malformed form\",\"request\":\"f\"}\n";
    struct fixture fixture;
    fixture_with_getters(&fixture, NULL);
    int fd = client_connect(fixture.port);
    expect_form(fd, form, "x=1&name=J%C3%B6rg+W", 200, "J\xc3\xb6rg W");
    expect_form(fd, "Application/X-WWW-form-urlencoded; charset=utf-8", "name=a", 200, "a");
    expect_form(fd, form, "", 200, "(none)");
    expect_form(fd, form, "name=%zz", 400, malformed);
    expect_form(fd, form, "name=a%00", 400, malformed);
    expect_form(fd, "text/plain", "name=a", 415, NULL);
    expect_form(fd, "application/x-www-form-urlencodedx", "name=a", 415, NULL);
    close(fd);
    fixture_destroy(&fixture);
}

static const struct test_case cases[] = {
    CASE(forwarded_addresses_are_believed_from_trusted_proxies_only),
    CASE(bad_trusted_proxies_are_refused),
    CASE(the_host_of_the_target_counts),
    CASE(a_request_id_is_taken_over_or_made),
    CASE(cookies_are_found_by_name),
    CASE(forms_are_read_and_bad_ones_refused),
};
TEST_MAIN(cases, NULL, NULL)
