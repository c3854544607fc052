/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_http_refusals.c - requests that are refused: malformed, too large,
 * and what follows them, over real sockets. */
#include "middleware/error_numbers.h"
#include "tests/middleware/fixture.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define H "Host: a\r\n"

struct bad {
    const char *bytes;
    int number;
    size_t length; /* 0: strlen */
};
#define BYTES(text) text, .length = sizeof text - 1
#define CHUNKED "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
#define LENGTH(value) "POST /echo HTTP/1.1\r\n" H "Content-Length: " value "\r\n\r\n"
#define CODING(value) "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: " value "\r\n\r\n"
#define HEADER(line) "GET /hello HTTP/1.1\r\n" H line "\r\n"

/* Each is refused with its number, in the JSON form, and the connection is closed. */
static void expect_refused(const struct fixture *fixture, const struct bad *bad, bool bytewise)
{
    size_t length = bad->length ? bad->length : strlen(bad->bytes);
    int fd = client_connect(fixture->port);
    if (bytewise)
        client_send_bytewise(fd, bad->bytes, length);
    else
        client_send(fd, bad->bytes, length);
    struct reply reply;
    client_read(fd, &reply, false);
    char number[32];
    snprintf(number, sizeof number, "\"number\":%d,", bad->number);
    bool as_wanted = reply.status == skink__http_error_status(bad->number) && strstr(reply.body, number) &&
                     strstr(reply.body, "\"error\":true") && reply_header(&reply, "Connection") &&
                     strcmp(reply_header(&reply, "Connection"), "close") == 0;
    if (!as_wanted) {
        print_error("%s: wanted number %d:\n%s\n%s%s\n", bytewise ? "bytewise" : "whole", bad->number, bad->bytes,
                    reply.head, reply.body);
        fail();
    }
    assert_true(client_sees_end(fd, 4000));
    reply_free(&reply);
    close(fd);
}

static void malformed_requests_are_refused_and_the_connection_closed(void **state)
{
    (void)state;
    static const struct bad bad[] = {
        { HEADER(" folded\r\n"), SKINK__HTTP_FOLDED_HEADER },
        { HEADER(": empty name\r\n"), SKINK__HTTP_BAD_HEADER },
        { HEADER("A : b\r\n"), SKINK__HTTP_BAD_HEADER },
        { HEADER("A: b\rC: d\r\n"), SKINK__HTTP_BAD_LINE_END },
        { HEADER("A: b\nC: d\r\n"), SKINK__HTTP_BAD_LINE_END },
        { BYTES("GET /hello HTTP/1.1\r\n" H "A: b\0c\r\n\r\n"), .number = SKINK__HTTP_BAD_HEADER },
        { "GET /hello HTTP/1.1\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { HEADER(H), SKINK__HTTP_BAD_HOST },
        { "GET /hello HTTP/1.1\r\nHost: a, b\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET /hello HTTP/1.2\r\n" H "\r\n", SKINK__HTTP_VERSION_NOT_SUPPORTED },
        { "GET /hello HTTP/2.0\r\n" H "\r\n", SKINK__HTTP_VERSION_NOT_SUPPORTED },
        { "GET /hello\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET  /hello HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "\x16\x03\x01\x02", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET hello HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_TARGET },
        { "GET * HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_TARGET },
        { "GET /a#b HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_TARGET },
        { "GET ftp://a/b HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_TARGET },
        { "GET /%zz HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_ENCODING },
        { "GET /%4 HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_ENCODING },
        { "GET /%00 HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_ENCODING },
        { "GET /hello?a=%00 HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_ENCODING },
        { "GET /hello?a=% HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_ENCODING },
        { "CONNECT a:80 HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
        { "TRACE /hello HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
        { "FROB /hello HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
        { LENGTH("1, 1"), SKINK__HTTP_BAD_CONTENT_LENGTH },
        { LENGTH("-1"), SKINK__HTTP_BAD_CONTENT_LENGTH },
        { LENGTH("1\r\nContent-Length: 1"), SKINK__HTTP_BAD_CONTENT_LENGTH },
        { LENGTH("1\r\nTransfer-Encoding: chunked"), SKINK__HTTP_LENGTH_CONFLICT },
        { LENGTH("99999999"), SKINK__HTTP_BODY_TOO_LARGE },
        { LENGTH("99999999999999999999999"), SKINK__HTTP_BODY_TOO_LARGE },
        { "POST /echo HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_LENGTH_REQUIRED },
        { CODING("chunked, chunked"), SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { CODING("chunked\r\nTransfer-Encoding: chunked"), SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { CODING("identity"), SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { CODING("xchunked"), SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { CODING("gzip, chunked"), SKINK__HTTP_CODING_NOT_IMPLEMENTED },
        { "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { CHUNKED "zz\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "3\r\nabcd\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "ffffffff\r\n", SKINK__HTTP_BODY_TOO_LARGE },
        { CHUNKED "ffffffffffffffff1\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "0\r\nContent-Length: 3\r\n\r\n", SKINK__HTTP_BAD_TRAILER },
        { CHUNKED "0\r\nTransfer-Encoding: chunked\r\n\r\n", SKINK__HTTP_BAD_TRAILER },
        { CHUNKED "0\r\nHost: b\r\n\r\n", SKINK__HTTP_BAD_TRAILER },
        { "POST /echo HTTP/1.1\r\n" H "Content-Length: 1\r\nExpect: magic\r\n\r\n", SKINK__HTTP_BAD_EXPECTATION },
    };
    struct fixture fixture;
    fixture_serve(&fixture);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        expect_refused(&fixture, &bad[i], false);
        expect_refused(&fixture, &bad[i], true);
    }
    assert_int_equal(fixture_stats(&fixture).requests_malformed, 2 * sizeof bad / sizeof *bad);
    fixture_destroy(&fixture);
}

/* One number for a bare LF or a bare CR, whatever line it ends; and none of it for an LF where no line could end. */
static void what_ends_no_line_has_one_number(void **state)
{
    (void)state;
    static const struct bad bad[] = {
        { "\n", SKINK__HTTP_BAD_LINE_END },
        { "\r\n\nGET /hello HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_LINE_END },
        { "\rGET /hello HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_LINE_END },
        { "GET /hello HTTP/1.1\n" H "\r\n", SKINK__HTTP_BAD_LINE_END },
        { "GET /hello HTTP/1.1\nHost: a\n\n", SKINK__HTTP_BAD_LINE_END },
        { "GET /hello HTTP/1.1\rHost: a\r\r", SKINK__HTTP_BAD_LINE_END },
        { "GET /hello HTTP/1.1\r\nHost: a\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { "GET /hello HTTP/1.1\r\n" H "\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "3\nabc\r\n0\r\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "3\rabc\r\n0\r\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "3;a=b\nabc\r\n0\r\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "3;a=b\rabc\r\n0\r\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "3\r\nabc\n0\r\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "3\r\nabc\r0\r\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "3\r\nabc\r\n0\n\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "0\r\nA: b\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "0\r\n\n", SKINK__HTTP_BAD_LINE_END },
        { "GET\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET /hello\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET /hello HTTP/1.\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { CHUNKED "\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "3\r\nabcd\n", SKINK__HTTP_BAD_CHUNK },
    };
    struct fixture fixture;
    fixture_serve(&fixture);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        expect_refused(&fixture, &bad[i], false);
        expect_refused(&fixture, &bad[i], true);
    }
    fixture_destroy(&fixture);
}

/* "GET /aaa...": n bytes in the target, the header or the chunk extension. */
static void expect_refused_padded(const struct fixture *fixture, const char *start, size_t n, int number)
{
    char *text = malloc(strlen(start) + n + 1);
    assert_non_null(text);
    strcpy(text, start);
    memset(text + strlen(start), 'a', n);
    text[strlen(start) + n] = '\0';
    struct bad bad = { .bytes = text, .number = number };
    expect_refused(fixture, &bad, false);
    free(text);
}

static void oversized_requests_are_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_serve(&fixture);
    expect_refused_padded(&fixture, "GET /", 20000, SKINK__HTTP_TARGET_TOO_LONG);
    expect_refused_padded(&fixture, "GET / HTTP/1.1\r\n" H "A: ", 20000, SKINK__HTTP_HEADERS_TOO_LARGE);
    expect_refused_padded(&fixture, CHUNKED "1;", 2000, SKINK__HTTP_BAD_CHUNK);
    expect_refused_padded(&fixture, CHUNKED "0\r\nA: ", 20000, SKINK__HTTP_HEADERS_TOO_LARGE);
    char many[4096] = "GET / HTTP/1.1\r\n" H;
    for (int i = 0; i < 101; i++)
        strcat(many, "A: b\r\n");
    struct bad bad = { .bytes = many, .number = SKINK__HTTP_TOO_MANY_HEADERS };
    expect_refused(&fixture, &bad, false);
    fixture_destroy(&fixture);
}

static void nothing_behind_a_refused_request_is_answered(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_serve(&fixture);
    int fd = client_connect(fixture.port);
    client_expect(fd, LENGTH("1, 1") "GET /hello HTTP/1.1\r\n" H "\r\n", 400, NULL);
    assert_true(client_sees_end(fd, 4000));
    close(fd);
    assert_int_equal(fixture_code_count(&fixture, 200), 0);
    fixture_destroy(&fixture);
}

static void the_refusal_arrives_although_the_client_goes_on_sending(void **state)
{
    (void)state;
    static const struct {
        const char *start;
        int status;
    } samples[] = { { LENGTH("7000000"), 413 }, { "GET /\n", 400 } };
    struct fixture fixture;
    fixture_serve(&fixture);
    size_t length = 700000;
    char *more = calloc(1, length), rest;
    assert_non_null(more);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        int fd = client_connect(fixture.port);
        client_send_text(fd, samples[i].start);
        assert_true(client_send(fd, more, length)); /* a reset could destroy the answer on its way */
        client_expect(fd, "", samples[i].status, NULL);
        assert_int_equal(recv(fd, &rest, 1, 0), 0);
        close(fd);
    }
    free(more);
    fixture_destroy(&fixture);
}

static const struct test_case cases[] = {
    CASE_TIMEOUT(malformed_requests_are_refused_and_the_connection_closed, 60),
    CASE_TIMEOUT(what_ends_no_line_has_one_number, 60),
    CASE(oversized_requests_are_refused),
    CASE(nothing_behind_a_refused_request_is_answered),
    CASE(the_refusal_arrives_although_the_client_goes_on_sending),
};
TEST_MAIN(cases, NULL, NULL)
