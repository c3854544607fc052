/* SPDX-License-Identifier: MIT */
/* middleware/response_head.c - see response_head.h. */
#include "middleware/response_head.h"
#include "loop/civil_date.h"
#include "loop/memory.h"
#include "skink/clock.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { HEAD_BYTES = 512, DATE_LINE_BYTES = sizeof "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" - 1 };

/* RFC 9110, 15; an empty reason is as good for a code that is not there. */
static const char *reason_of(int status)
{
    static const char *const reasons[] = {
        [200 - 200] = "OK",
        [201 - 200] = "Created",
        [202 - 200] = "Accepted",
        [203 - 200] = "Non-Authoritative Information",
        [204 - 200] = "No Content",
        [205 - 200] = "Reset Content",
        [206 - 200] = "Partial Content",
        [300 - 200] = "Multiple Choices",
        [301 - 200] = "Moved Permanently",
        [302 - 200] = "Found",
        [303 - 200] = "See Other",
        [304 - 200] = "Not Modified",
        [307 - 200] = "Temporary Redirect",
        [308 - 200] = "Permanent Redirect",
        [400 - 200] = "Bad Request",
        [401 - 200] = "Unauthorized",
        [402 - 200] = "Payment Required",
        [403 - 200] = "Forbidden",
        [404 - 200] = "Not Found",
        [405 - 200] = "Method Not Allowed",
        [406 - 200] = "Not Acceptable",
        [408 - 200] = "Request Timeout",
        [409 - 200] = "Conflict",
        [410 - 200] = "Gone",
        [411 - 200] = "Length Required",
        [412 - 200] = "Precondition Failed",
        [413 - 200] = "Content Too Large",
        [414 - 200] = "URI Too Long",
        [415 - 200] = "Unsupported Media Type",
        [416 - 200] = "Range Not Satisfiable",
        [417 - 200] = "Expectation Failed",
        [418 - 200] = "I'm a Teapot",
        [421 - 200] = "Misdirected Request",
        [422 - 200] = "Unprocessable Content",
        [423 - 200] = "Locked",
        [425 - 200] = "Too Early",
        [426 - 200] = "Upgrade Required",
        [428 - 200] = "Precondition Required",
        [429 - 200] = "Too Many Requests",
        [431 - 200] = "Request Header Fields Too Large",
        [451 - 200] = "Unavailable For Legal Reasons",
        [500 - 200] = "Internal Server Error",
        [501 - 200] = "Not Implemented",
        [502 - 200] = "Bad Gateway",
        [503 - 200] = "Service Unavailable",
        [504 - 200] = "Gateway Timeout",
        [505 - 200] = "HTTP Version Not Supported",
        [507 - 200] = "Insufficient Storage",
    };
    unsigned i = (unsigned)(status - 200);
    return i < sizeof reasons / sizeof *reasons && reasons[i] ? reasons[i] : "";
}

/* "Date: ...", made anew once a second of the monotonic clock; DATE_LINE_BYTES of it. */
static const char *date_line(skink_http_server *server, uint64_t now_ns)
{
    static const char weekdays[] = "ThuFriSatSunMonTueWed", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    uint64_t second = now_ns / SKINK_S + 1; /* never 0, which is what a new server has */
    if (second == server->date_second) return server->date_line;
    server->date_second = second;
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    uint64_t days = (uint64_t)wall.tv_sec / SKINK__SECONDS_A_DAY;
    unsigned rest = (unsigned)((uint64_t)wall.tv_sec % SKINK__SECONDS_A_DAY);
    struct skink__civil_date date = skink__civil_date_of(days);
    snprintf(server->date_line, sizeof server->date_line, "Date: %.3s, %02u %.3s %04u %02u:%02u:%02u GMT\r\n",
             weekdays + days % 7 * 3, date.day % 100, months + (date.month - 1) * 3, date.year % 10000,
             rest / 3600 % 24, rest / 60 % 60, rest % 60);
    return server->date_line;
}

#define PUT(at, literal) ((char *)mempcpy((at), (literal), sizeof(literal) - 1)) /* its length is known here */

static char *put(char *at, const char *text)
{
    return stpcpy(at, text);
}

static char *put_number(char *at, uint64_t number)
{
    char digits[20];
    unsigned n = 0;
    do {
        digits[n++] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    while (n)
        *at++ = digits[--n];
    return at;
}

bool skink__status_has_body(int status)
{
    return status != 204 && status != 304;
}

/* RFC 9110, 15.3.6: 205 has none either, but its length, 0, is told. */
bool skink__status_may_have_body(int status)
{
    return skink__status_has_body(status) && status != 205;
}

char *skink__response_head_room(skink_http_server *server, struct skink__response_head *head, size_t more)
{
    const struct skink__answer *answer = head->answer;
    head->content_type_length = answer->content_type ? strlen(answer->content_type) : 0;
    size_t needed = HEAD_BYTES + server->server_line_length + head->reply_headers_length + head->content_type_length +
                    (answer->lines ? strlen(answer->lines) : 0) + more;
    if (needed <= server->scratch_bytes) return server->scratch;
    char *larger = skink__realloc(server->scratch, needed);
    if (!larger) return NULL;
    server->scratch = larger;
    server->scratch_bytes = needed;
    return larger;
}

static char *put_status_line(char *at, int status)
{
    if (status == 200) return PUT(at, "HTTP/1.1 200 OK\r\n");
    at = PUT(at, "HTTP/1.1 ");
    at = put_number(at, (uint64_t)status);
    *at++ = ' ';
    return put(put(at, reason_of(status)), "\r\n");
}

char *skink__response_head_put(skink_http_server *server, char *at, const struct skink__response_head *head)
{
    const struct skink__answer *answer = head->answer;
    at = put_status_line(at, answer->status);
    at = mempcpy(at, date_line(server, server->now_ns), DATE_LINE_BYTES);
    if (!head->own_server_header) at = mempcpy(at, server->server_line, server->server_line_length);
    if (answer->content_type) {
        at = PUT(at, "Content-Type: ");
        at = mempcpy(at, answer->content_type, head->content_type_length);
        at = PUT(at, "\r\n");
    }
    if (head->id) {
        at = PUT(at, "X-Request-Id: ");
        at = put(at, head->id);
        at = PUT(at, "\r\n");
    }
    if (answer->form == SKINK__BODY_CHUNKED) {
        at = PUT(at, "Transfer-Encoding: chunked\r\n");
    } else if (answer->form != SKINK__BODY_TO_THE_END && skink__status_has_body(answer->status)) {
        at = PUT(at, "Content-Length: ");
        at = put_number(at, answer->length);
        at = PUT(at, "\r\n");
    }
    if (*head->connection_line) at = put(at, head->connection_line);
    if (answer->lines) at = put(at, answer->lines);
    if (head->reply_headers_length) at = mempcpy(at, head->reply_headers, head->reply_headers_length);
    return PUT(at, "\r\n");
}
