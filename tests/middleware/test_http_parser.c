/* SPDX-License-Identifier: MIT */
/*
 * tests/middleware/test_http_parser.c - the parser alone: every verdict whole, byte by byte, and cut in two anywhere.
 */
#include "middleware/http_parser.h"
#include "tests/support/case.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INCOMPLETE = -1, COMPLETE = 0 }; /* beside the numbers of errors */

static const struct skink__http_limits limits = { .max_header_bytes = 512, .max_body_bytes = 64 };

struct outcome {
    int verdict;
    size_t used;
    struct skink__http_message message;
};

/* Feed the bytes in slices that end at the given cuts; `cut` 0 means byte by byte. */
static void feed(struct outcome *outcome, const char *bytes, size_t length, size_t cut)
{
    struct skink__http_parser parser;
    skink__http_parser_init(&parser, &limits);
    skink__http_message_init(&outcome->message);
    outcome->verdict = INCOMPLETE;
    outcome->used = 0;
    while (outcome->used < length && outcome->verdict == INCOMPLETE) {
        size_t end = cut == 0 ? outcome->used + 1 : outcome->used < cut ? cut : length;
        /* A copy of its own, so that AddressSanitizer sees a read beyond the slice. */
        size_t slice_length = end - outcome->used;
        char *slice = malloc(slice_length);
        assert_non_null(slice);
        memcpy(slice, bytes + outcome->used, slice_length);
        size_t used = 0;
        int error = 0;
        switch (skink__http_parser_feed(&parser, &outcome->message, slice, slice_length, &used, &error)) {
        case SKINK__HTTP_MORE:
            assert_int_equal(used, slice_length);
            break;
        case SKINK__HTTP_HEAD:
            error = skink__http_parser_admit_body(&parser, &limits);
            if (error) outcome->verdict = error;
            break;
        case SKINK__HTTP_MESSAGE:
            outcome->verdict = COMPLETE;
            break;
        case SKINK__HTTP_REFUSED:
            assert_true(error > 0);
            outcome->verdict = error;
            break;
        }
        free(slice);
        outcome->used += used;
    }
}

static void done(struct outcome *outcome)
{
    skink__http_message_fini(&outcome->message);
}

static bool same_message(const struct skink__http_message *a, const struct skink__http_message *b)
{
    if (a->header_count != b->header_count || a->body_length != b->body_length) return false;
    if (a->length != b->length || memcmp(a->bytes, b->bytes, a->length) != 0) return false;
    if (memcmp(a->headers, b->headers, a->header_count * sizeof *a->headers) != 0) return false;
    if (a->body_length && memcmp(a->body, b->body, a->body_length) != 0) return false;
    return a->target == b->target && a->target_length == b->target_length && a->method == b->method &&
           a->version_1_1 == b->version_1_1 && a->keep_alive == b->keep_alive &&
           a->expects_continue == b->expects_continue;
}

/* The verdict on these bytes, which must be the same for every way of cutting them that is tried. */
static int verdict_on(const char *bytes, size_t length)
{
    struct outcome whole;
    feed(&whole, bytes, length, length);
    for (size_t cut = 0; cut < length; cut++) {
        struct outcome other;
        feed(&other, bytes, length, cut);
        bool same =
            other.verdict == whole.verdict &&
            (whole.verdict != COMPLETE || (other.used == whole.used && same_message(&other.message, &whole.message)));
        if (!same) {
            print_error("cut at %zu: %d after %zu bytes, whole: %d after %zu\n%.*s\n", cut, other.verdict, other.used,
                        whole.verdict, whole.used, (int)length, bytes);
            fail();
        }
        done(&other);
    }
    int verdict = whole.verdict;
    done(&whole);
    return verdict;
}

struct sample {
    const char *bytes;
    int expected;
    size_t length; /* 0: strlen */
};

static void judge(const struct sample *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = samples[i].length ? samples[i].length : strlen(samples[i].bytes);
        int verdict = verdict_on(samples[i].bytes, length);
        if (verdict == samples[i].expected) continue;
        print_error("%d instead of %d for:\n%s\n", verdict, samples[i].expected, samples[i].bytes);
        fail();
    }
}
#define JUDGE(samples) judge(samples, sizeof samples / sizeof *samples)
#define BYTES(text) text, .length = sizeof text - 1
#define H "Host: a\r\n"

static void plain_requests_are_complete(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        { "GET / HTTP/1.1\r\n" H "\r\n", COMPLETE },
        { "\r\nGET / HTTP/1.1\r\n" H "\r\n", COMPLETE },
        { "GET / HTTP/1.0\r\n\r\n", COMPLETE },
        { "GET /a/b?c=d&e HTTP/1.1\r\n" H "A:\r\nB: \t \r\nC:c\r\n\r\n", COMPLETE },
        { "HEAD / HTTP/1.1\r\n" H "\r\n", COMPLETE },
        { "DELETE / HTTP/1.1\r\n" H "\r\n", COMPLETE },
        { "OPTIONS * HTTP/1.1\r\n" H "\r\n", COMPLETE },
        { "PATCH / HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\nx", COMPLETE },
        { "PUT / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", COMPLETE },
        { "GET http://a/b HTTP/1.1\r\n" H "\r\n", COMPLETE },
        { "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", COMPLETE },
        { "GET / HTTP/1.1\r\nHost:\r\n\r\n", COMPLETE },
        { "GET / HTTP/1.1\r\n" H "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", COMPLETE },
        { "POST / HTTP/1.1\r\n" H "Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nab", COMPLETE },
        { "GET / HTTP/1.1\r\n" H, INCOMPLETE },
        { "GET / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nab", INCOMPLETE },
        { "\r\n", INCOMPLETE },
    };
    JUDGE(samples);
}

static void request_lines_of_other_shapes_are_refused(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        { "GET /\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET  / HTTP/1.1\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET /  HTTP/1.1\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET / HTTP/1.1 \r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET\t/\tHTTP/1.1\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { " GET / HTTP/1.1\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET / HTTP/1.1\n", SKINK__HTTP_BAD_LINE_END },
        { "GET / HTTP/1.1\rX", SKINK__HTTP_BAD_LINE_END },
        { "GET / RTSP/1.1\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET / http/1.1\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET / HTTP/11.1\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET / HTTP/1.10\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET / HTTP/1,1\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "\n", SKINK__HTTP_BAD_LINE_END },
        { "\r\n\r\n\r\n\r\n\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
        { "\x16\x03\x01\x02", SKINK__HTTP_BAD_REQUEST_LINE }, /* somebody speaks TLS */
        { BYTES("GET /\0 HTTP/1.1\r\n"), .expected = SKINK__HTTP_BAD_REQUEST_LINE },
        { BYTES("G\0T / HTTP/1.1\r\n"), .expected = SKINK__HTTP_BAD_REQUEST_LINE },
        { "GET /\xff HTTP/1.1\r\n", SKINK__HTTP_BAD_TARGET },
        { "GET x HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_BAD_TARGET },
    };
    JUDGE(samples);
}

static void versions_other_than_1_0_and_1_1_are_refused(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        { "GET / HTTP/0.9\r\n\r\n", SKINK__HTTP_VERSION_NOT_SUPPORTED },
        { "GET / HTTP/1.2\r\n" H "\r\n", SKINK__HTTP_VERSION_NOT_SUPPORTED },
        { "GET / HTTP/2.0\r\n" H "\r\n", SKINK__HTTP_VERSION_NOT_SUPPORTED },
        { "GET / HTTP/3.1\r\n" H "\r\n", SKINK__HTTP_VERSION_NOT_SUPPORTED },
        { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
    };
    JUDGE(samples);
}

static void methods_outside_the_list_are_refused(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        { "CONNECT a:80 HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
        { "TRACE / HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
        { "PURGE / HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
        { "SOURCE / ICE/1.0\r\n\r\n", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
        { "get / HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
        { "GETT / HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
        { "ABCDEFGHIJKLMNOPQRSTUVWXYZ", SKINK__HTTP_METHOD_NOT_IMPLEMENTED },
        { "G(T / HTTP/1.1\r\n", SKINK__HTTP_BAD_REQUEST_LINE },
    };
    JUDGE(samples);
}

static void malformed_header_lines_are_refused(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        { "GET / HTTP/1.1\r\n" H " folded\r\n\r\n", SKINK__HTTP_FOLDED_HEADER },
        { "GET / HTTP/1.1\r\n" H "\tfolded\r\n\r\n", SKINK__HTTP_FOLDED_HEADER },
        { "GET / HTTP/1.1\r\n X: first line\r\n\r\n", SKINK__HTTP_FOLDED_HEADER },
        { "GET / HTTP/1.1\r\n" H ": empty name\r\n\r\n", SKINK__HTTP_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "A : blank before colon\r\n\r\n", SKINK__HTTP_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "A\t: tab before colon\r\n\r\n", SKINK__HTTP_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "no colon\r\n\r\n", SKINK__HTTP_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "nocolon\r\n\r\n", SKINK__HTTP_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "A(b: c\r\n\r\n", SKINK__HTTP_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "A: b\rC: d\r\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { "GET / HTTP/1.1\r\n" H "A: b\r\rC: d\r\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { "GET / HTTP/1.1\r\n" H "A: b\nC: d\r\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { "GET / HTTP/1.1\r\n" H "A\rb: c\r\n\r\n", SKINK__HTTP_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "\n", SKINK__HTTP_BAD_LINE_END },
        { "GET / HTTP/1.1\r\n" H "\rX", SKINK__HTTP_BAD_LINE_END },
        { BYTES("GET / HTTP/1.1\r\n" H "A: b\0c\r\n\r\n"), .expected = SKINK__HTTP_BAD_HEADER },
        { BYTES("GET / HTTP/1.1\r\n" H "A\0: b\r\n\r\n"), .expected = SKINK__HTTP_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "A: b\x01\r\n\r\n", SKINK__HTTP_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "A: b\x7f\r\n\r\n", SKINK__HTTP_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "A: \xc3\xa4\r\n\r\n", COMPLETE }, /* obs-text is allowed in a value */
        { "GET / HTTP/1.1\r\n" H "\xc3\xa4: b\r\n\r\n", SKINK__HTTP_BAD_HEADER },
    };
    JUDGE(samples);
}

static void exactly_one_valid_host_is_needed(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        { "GET / HTTP/1.1\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: x@a\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a]\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: %zz\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a%4\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: [\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: []\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: [::1]80\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: [[::1]]:80\r\n\r\n", SKINK__HTTP_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: [::1]:\r\n\r\n", COMPLETE },
        { "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]:80\r\n\r\n", COMPLETE },
        { "GET / HTTP/1.1\r\nHost: a%2Db:8080\r\n\r\n", COMPLETE },
        { "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", COMPLETE },
        { "GET / HTTP/1.1\r\nHost:\r\n\r\n", COMPLETE },
    };
    JUDGE(samples);
}

static void ambiguous_lengths_are_refused(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        { "POST / HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_LENGTH_REQUIRED },
        { "PUT / HTTP/1.1\r\n" H "\r\n", SKINK__HTTP_LENGTH_REQUIRED },
        { "PATCH / HTTP/1.0\r\n\r\n", SKINK__HTTP_LENGTH_REQUIRED },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", SKINK__HTTP_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\ncontent-length: 2\r\n\r\n", SKINK__HTTP_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1, 1\r\n\r\n", SKINK__HTTP_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1 1\r\n\r\n", SKINK__HTTP_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\n", SKINK__HTTP_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n", SKINK__HTTP_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 0x1\r\n\r\n", SKINK__HTTP_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1.0\r\n\r\n", SKINK__HTTP_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", SKINK__HTTP_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999\r\n\r\n", SKINK__HTTP_BODY_TOO_LARGE },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
          SKINK__HTTP_LENGTH_CONFLICT },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
          SKINK__HTTP_LENGTH_CONFLICT },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1 \r\n\r\nx", COMPLETE },
        { "GET / HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\nx", COMPLETE },
    };
    JUDGE(samples);
}

static void transfer_codings_but_one_chunked_are_refused(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n", SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
          SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
          SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, gzip\r\n\r\n", SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunkedx\r\n\r\n", SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n\r\n", SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked;q=1\r\n\r\n", SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n", SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", SKINK__HTTP_CODING_NOT_IMPLEMENTED },
        { "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", SKINK__HTTP_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", COMPLETE },
    };
    JUDGE(samples);
}

#define CHUNKED "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"

static void chunks_are_read_strictly(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        { CHUNKED "3\r\nabc\r\n0\r\n\r\n", COMPLETE },
        { CHUNKED "3;a=b\r\nabc\r\n00\r\nX: y\r\n\r\n", COMPLETE },
        { CHUNKED "A\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", COMPLETE },
        { CHUNKED "3\r\nabc", INCOMPLETE },
        { CHUNKED "\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "g\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "-1\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "0x3\r\nabc\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED " 3\r\nabc\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "3 \r\nabc\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "3\nabc\r\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "3\r\nabcd\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "3\r\nabc\n0\r\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "3\r\nabc\rx", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "3\rx", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "3;a\nb\r\nabc\r\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "3;a\rb\r\nabc\r\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "00000000000000003\r\n", SKINK__HTTP_BAD_CHUNK },
        { CHUNKED "ffffffffffffffff\r\n", SKINK__HTTP_BODY_TOO_LARGE },
    };
    JUDGE(samples);
}

static void trailers_may_not_frame_or_route(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        { CHUNKED "0\r\nContent-Length: 3\r\n\r\n", SKINK__HTTP_BAD_TRAILER },
        { CHUNKED "0\r\ntransfer-encoding: chunked\r\n\r\n", SKINK__HTTP_BAD_TRAILER },
        { CHUNKED "0\r\nHOST: b\r\n\r\n", SKINK__HTTP_BAD_TRAILER },
        { CHUNKED "0\r\n folded\r\n\r\n", SKINK__HTTP_FOLDED_HEADER },
        { CHUNKED "0\r\nA: b\r\n\tfolded\r\n\r\n", SKINK__HTTP_FOLDED_HEADER },
        { CHUNKED "0\r\n: x\r\n\r\n", SKINK__HTTP_BAD_HEADER },
        { CHUNKED "0\r\nA: b\rc\r\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "0\r\nA: b\n\r\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "0\r\n\n", SKINK__HTTP_BAD_LINE_END },
        { CHUNKED "0\r\nContent-Length-Not: 3\r\nTransfer-Encoding2: x\r\nHos: t\r\n\r\n", COMPLETE },
    };
    JUDGE(samples);
}

static void trailers_are_forgotten(void **state)
{
    (void)state;
    struct outcome outcome;
    const char *bytes = CHUNKED "1\r\nx\r\n0\r\nAuthorization: b\r\n\r\n";
    feed(&outcome, bytes, strlen(bytes), strlen(bytes));
    assert_int_equal(outcome.verdict, COMPLETE);
    assert_null(skink__http_message_header(&outcome.message, "Authorization"));
    assert_string_equal(outcome.message.body, "x");
    done(&outcome);
}

static void expectations_but_continue_are_refused(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nExpect: 100-continue\r\n\r\nx", COMPLETE },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nExpect: 200-ok\r\n\r\nx", SKINK__HTTP_BAD_EXPECTATION },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nExpect: 100-continue\r\nExpect: 200-ok\r\n\r\nx",
          SKINK__HTTP_BAD_EXPECTATION },
        { "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 200-ok\r\n\r\nx", COMPLETE },
    };
    JUDGE(samples);
}

/* `n` times the same byte, between a start and an end. */
static char *padded(const char *start, char byte, size_t n, const char *end)
{
    char *text = malloc(strlen(start) + n + strlen(end) + 1);
    assert_non_null(text);
    strcpy(text, start);
    memset(text + strlen(start), byte, n);
    strcpy(text + strlen(start) + n, end);
    return text;
}

static int verdict_on_padded(const char *start, char byte, size_t n, const char *end)
{
    char *text = padded(start, byte, n, end);
    int verdict = verdict_on(text, strlen(text));
    free(text);
    return verdict;
}

static void the_header_limit_is_exact(void **state)
{
    (void)state;
    const char *start = "GET / HTTP/1.1\r\n" H "A: ";
    /* The first byte of a request is not counted, so the limit is one more. */
    size_t fits = limits.max_header_bytes + 1 - strlen(start) - 4;
    assert_int_equal(verdict_on_padded(start, 'a', fits, "\r\n\r\n"), COMPLETE);
    assert_int_equal(verdict_on_padded(start, 'a', fits + 1, "\r\n\r\n"), SKINK__HTTP_HEADERS_TOO_LARGE);
    assert_int_equal(verdict_on_padded("GET /", 'a', 600, " HTTP/1.1\r\n"), SKINK__HTTP_TARGET_TOO_LONG);
    assert_int_equal(verdict_on_padded("GET / HTTP/1.1\r\n" H, 'a', 600, ": b\r\n"), SKINK__HTTP_HEADERS_TOO_LARGE);
}

static void headers_and_trailers_share_one_limit(void **state)
{
    (void)state;
    assert_int_equal(verdict_on_padded(CHUNKED "0\r\nA: ", 'a', 400, "\r\n\r\n"), COMPLETE);
    assert_int_equal(verdict_on_padded(CHUNKED "0\r\nA: ", 'a', 500, "\r\n\r\n"), SKINK__HTTP_HEADERS_TOO_LARGE);
}

static void long_chunk_extensions_are_refused(void **state)
{
    (void)state;
    assert_int_equal(verdict_on_padded(CHUNKED "1;", 'a', 256, "\r\nx\r\n0\r\n\r\n"), COMPLETE);
    assert_int_equal(verdict_on_padded(CHUNKED "1;", 'a', 257, "\r\nx\r\n0\r\n\r\n"), SKINK__HTTP_BAD_CHUNK);
    /* Several short ones add up as header bytes. */
    char *two = padded(CHUNKED "1;", 'a', 250, "\r\nx\r\n1;");
    assert_int_equal(verdict_on_padded(two, 'a', 250, "\r\nx\r\n0\r\n\r\n"), SKINK__HTTP_HEADERS_TOO_LARGE);
    free(two);
}

static void body_limits_are_judged_when_the_size_is_known(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        { "POST / HTTP/1.1\r\n" H "Content-Length: 65\r\n\r\n", SKINK__HTTP_BODY_TOO_LARGE },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 64\r\n\r\n", INCOMPLETE },
        { CHUNKED "41\r\n", SKINK__HTTP_BODY_TOO_LARGE },
        { CHUNKED "40\r\n", INCOMPLETE },
        { CHUNKED "1\r\nx\r\n40\r\n", SKINK__HTTP_BODY_TOO_LARGE },
        { CHUNKED "1\r\nx\r\n3f\r\n", INCOMPLETE },
    };
    JUDGE(samples);
}

static void too_many_headers_are_refused(void **state)
{
    (void)state;
    static const struct skink__http_limits wide = { .max_header_bytes = 4096, .max_body_bytes = 64 };
    for (int extra = 0; extra < 2; extra++) {
        char text[2048] = "GET / HTTP/1.1\r\n" H;
        for (int i = 1; i < SKINK__HTTP_MAX_HEADERS + extra; i++)
            strcat(text, "A: b\r\n");
        strcat(text, "\r\n");
        struct skink__http_parser parser;
        struct skink__http_message message;
        skink__http_parser_init(&parser, &wide);
        skink__http_message_init(&message);
        size_t used;
        int error = 0;
        enum skink__http_verdict verdict =
            skink__http_parser_feed(&parser, &message, text, strlen(text), &used, &error);
        assert_int_equal(verdict, extra ? SKINK__HTTP_REFUSED : SKINK__HTTP_MESSAGE);
        assert_int_equal(error, extra ? SKINK__HTTP_TOO_MANY_HEADERS : 0);
        skink__http_message_fini(&message);
    }
}

static void bytes_behind_the_message_are_left_alone(void **state)
{
    (void)state;
    const char *first = "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc";
    char both[256];
    snprintf(both, sizeof both, "%sGET /second HTTP/1.1\r\n" H "\r\n", first);
    struct outcome outcome;
    feed(&outcome, both, strlen(both), strlen(both));
    assert_int_equal(outcome.verdict, COMPLETE);
    assert_int_equal(outcome.used, strlen(first));
    assert_string_equal(outcome.message.body, "abc");
    done(&outcome);
    /* And after Connection: close, where llhttp itself would complain about what follows. */
    snprintf(both, sizeof both, "GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\nrubbish");
    feed(&outcome, both, strlen(both), strlen(both));
    assert_int_equal(outcome.verdict, COMPLETE);
    assert_int_equal(outcome.used, strlen(both) - strlen("rubbish"));
    done(&outcome);
}

static void the_message_has_what_was_sent(void **state)
{
    (void)state;
    const char *bytes = "POST /a%20b?c=d HTTP/1.1\r\nhost: h\r\nX-Long:   a b \t\r\nEmpty:\r\nx-long: two\r\n"
                        "Content-Length: 5\r\n\r\nhello";
    for (size_t cut = 0; cut <= strlen(bytes); cut += strlen(bytes)) {
        struct outcome outcome;
        feed(&outcome, bytes, strlen(bytes), cut);
        const struct skink__http_message *message = &outcome.message;
        assert_int_equal(outcome.verdict, COMPLETE);
        assert_int_equal(message->method, HTTP_POST);
        assert_string_equal(message->bytes + message->target, "/a%20b?c=d");
        assert_int_equal(message->header_count, 5);
        assert_string_equal(skink__http_message_header(message, "Host"), "h");
        assert_string_equal(skink__http_message_header(message, "x-LONG"), "a b");
        assert_string_equal(skink__http_message_header(message, "empty"), "");
        assert_null(skink__http_message_header(message, "x-lon"));
        assert_string_equal(message->bytes + message->headers[3].name, "x-long");
        assert_string_equal(message->bytes + message->headers[3].value, "two");
        assert_int_equal(message->body_length, 5);
        assert_string_equal(message->body, "hello");
        done(&outcome);
    }
}

static void keep_alive_follows_version_and_connection(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        bool keep_alive;
    } samples[] = {
        { "GET / HTTP/1.1\r\n" H "\r\n", true },
        { "GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n", false },
        { "GET / HTTP/1.1\r\n" H "Connection: x, Close\r\n\r\n", false },
        { "GET / HTTP/1.1\r\n" H "Connection: keep-alive\r\nConnection: close\r\n\r\n", false },
        { "GET / HTTP/1.1\r\n" H "Connection:\tclose\t\r\n\r\n", false },
        { "GET / HTTP/1.1\r\n" H "Connection: close\t, x\r\n\r\n", false },
        { "GET / HTTP/1.1\r\n" H "Connection: ,, close ,\r\n\r\n", false },
        { "GET / HTTP/1.1\r\n" H "Connection: closed, x close, close x, \"close\", clos\r\n\r\n", true },
        { "GET / HTTP/1.1\r\n" H "Connection:\r\n\r\n", true },
        { "GET / HTTP/1.1\r\n" H "Proxy-Connection: close\r\n\r\n", true },
        { "GET / HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n", false },
        { "GET / HTTP/1.0\r\nConnection: keep-alive\t\r\n\r\n", true },
        { "GET / HTTP/1.0\r\n\r\n", false },
        { "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true },
        { "GET / HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n", false },
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct outcome outcome;
        feed(&outcome, samples[i].bytes, strlen(samples[i].bytes), 0);
        assert_int_equal(outcome.verdict, COMPLETE);
        assert_int_equal(outcome.message.keep_alive, samples[i].keep_alive);
        done(&outcome);
    }
}

static void large_heads_and_bodies_outgrow_the_inline_memory(void **state)
{
    (void)state;
    static const struct skink__http_limits wide = { .max_header_bytes = 65536, .max_body_bytes = 1 << 20 };
    char head[8192] = "POST / HTTP/1.1\r\n" H "Content-Length: 300000\r\n";
    for (int i = 0; i < 60; i++) {
        char line[128];
        snprintf(line, sizeof line, "Header-%d: value-%d-%060d\r\n", i, i, i);
        strcat(head, line);
    }
    strcat(head, "\r\n");
    char *body = malloc(300000);
    assert_non_null(body);
    for (size_t i = 0; i < 300000; i++)
        body[i] = (char)(i * 7 % 251);
    struct skink__http_parser parser;
    struct skink__http_message message;
    skink__http_parser_init(&parser, &wide);
    skink__http_message_init(&message);
    size_t used;
    int error = 0;
    assert_int_equal(skink__http_parser_feed(&parser, &message, head, strlen(head), &used, &error), SKINK__HTTP_HEAD);
    size_t at = 0;
    enum skink__http_verdict verdict = SKINK__HTTP_MORE;
    while (verdict == SKINK__HTTP_MORE) {
        size_t n = 300000 - at < 7001 ? 300000 - at : 7001;
        verdict = skink__http_parser_feed(&parser, &message, body + at, n, &used, &error);
        at += used;
    }
    assert_int_equal(verdict, SKINK__HTTP_MESSAGE);
    assert_int_equal(message.body_length, 300000);
    assert_memory_equal(message.body, body, 300000);
    assert_string_equal(skink__http_message_header(&message, "header-59") + strlen("value-59-"),
                        "000000000000000000000000000000000000000000000000000000000059");
    skink__http_message_fini(&message);
    free(body);
}

/* Requests with random damage: no crash, and one verdict for all ways of cutting. */
static void damaged_requests_have_one_verdict(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "GET /a/b?c=d HTTP/1.1\r\n" H "A: b\r\nConnection: close\r\n\r\n",
        CHUNKED "3;e=f\r\nabc\r\n0\r\nT: u\r\n\r\n",
        "POST / HTTP/1.1\r\n" H "Content-Length: 4\r\nExpect: 100-continue\r\n\r\nabcd",
        "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    };
    static const char pool[] = "\r\n\t :;,/\0%09azAZ\x7f\x80?*chunked";
    uint64_t random = 88172645463325252u;
    for (int round = 0; round < (TEST_ASAN || TEST_TSAN ? 1500 : 6000); round++) {
        char bytes[256];
        const char *seed = seeds[round % 4];
        size_t length = strlen(seed);
        memcpy(bytes, seed, length);
        for (int hit = 0; hit <= round % 3; hit++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            size_t at = random % length;
            char c = pool[(random >> 20) % (sizeof pool - 1)];
            switch ((random >> 40) % 3) {
            case 0:
                bytes[at] = c;
                break;
            case 1:
                memmove(bytes + at, bytes + at + 1, length - at - 1);
                length--;
                break;
            default:
                memmove(bytes + at + 1, bytes + at, length - at);
                bytes[at] = c;
                length++;
            }
        }
        verdict_on(bytes, length);
    }
}

static const struct test_case cases[] = {
    CASE(plain_requests_are_complete),
    CASE(request_lines_of_other_shapes_are_refused),
    CASE(versions_other_than_1_0_and_1_1_are_refused),
    CASE(methods_outside_the_list_are_refused),
    CASE(malformed_header_lines_are_refused),
    CASE(exactly_one_valid_host_is_needed),
    CASE(ambiguous_lengths_are_refused),
    CASE(transfer_codings_but_one_chunked_are_refused),
    CASE(chunks_are_read_strictly),
    CASE(trailers_may_not_frame_or_route),
    CASE(trailers_are_forgotten),
    CASE(expectations_but_continue_are_refused),
    CASE(the_header_limit_is_exact),
    CASE(headers_and_trailers_share_one_limit),
    CASE(long_chunk_extensions_are_refused),
    CASE(body_limits_are_judged_when_the_size_is_known),
    CASE(too_many_headers_are_refused),
    CASE(bytes_behind_the_message_are_left_alone),
    CASE(the_message_has_what_was_sent),
    CASE(keep_alive_follows_version_and_connection),
    CASE(large_heads_and_bodies_outgrow_the_inline_memory),
    CASE_TIMEOUT(damaged_requests_have_one_verdict, 60),
};
TEST_MAIN(cases, NULL, NULL)
