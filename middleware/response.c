/* SPDX-License-Identifier: MIT */
/*
 * middleware/response.c - answers: what a handler says, put into bytes and handed to the connection.
 *
 * Whether an answer may go out is decided in the runtime section, where skink__runtime_enter() brings even a task that
 * was declared stuck: so between its own answer, the one given for it and the client's leaving exactly one wins.
 */
#include "middleware/response.h"
#include "loop/civil_date.h"
#include "loop/hooks.h"
#include "loop/log_value.h"
#include "loop/memory.h"
#include "loop/runtime.h"
#include "middleware/access.h"
#include "middleware/admission.h"
#include "middleware/characters.h"
#include "middleware/error_body.h"
#include "middleware/http_connection.h"
#include "skink/clock.h"
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
    SMALL_BODY_BYTES = 4096,
    HEAD_BYTES = 512,
    DATE_LINE_BYTES = sizeof "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" - 1
};

/* --- counting --- */

const uint64_t skink__http_bucket_bounds_ns[SKINK__HTTP_BUCKETS - 1] = {
    100 * SKINK_US, 250 * SKINK_US,  500 * SKINK_US, 1 * SKINK_MS,   2500 * SKINK_US, 5 * SKINK_MS,
    10 * SKINK_MS,  25 * SKINK_MS,   50 * SKINK_MS,  100 * SKINK_MS, 250 * SKINK_MS,  500 * SKINK_MS,
    1 * SKINK_S,    2500 * SKINK_MS, 10 * SKINK_S,   30 * SKINK_S,
};

unsigned skink__http_bucket_of(uint64_t duration_ns)
{
    unsigned i = 0;
    while (i < SKINK__HTTP_BUCKETS - 1 && duration_ns > skink__http_bucket_bounds_ns[i])
        i++;
    return i;
}

void skink__request_answered(skink_request *request, enum skink__request_state state, int status)
{
    SKINK_ASSERT(request->state == SKINK__REQUEST_OPEN || request->state == SKINK__REQUEST_STREAMED);
    skink__admission_forget(request); /* it may have waited until now */
    struct skink__route *route = request->route ? request->route : &request->server->routes.none;
    uint64_t now_ns = request->server->now_ns;
    uint64_t duration_ns = now_ns > request->started_ns ? now_ns - request->started_ns : 0;
    request->state = state;
    atomic_store_explicit(&request->status, status, memory_order_relaxed);
    skink__counter_add(&route->codes[status - SKINK__CODE_FIRST], 1);
    skink__counter_add(&route->buckets[skink__http_bucket_of(duration_ns)], 1);
    skink__counter_add(&route->sum_ns, duration_ns);
    if (request->in_flight) skink__counter_add(&request->server->counters.in_flight, (uint64_t)-1);
    request->in_flight = false;
    skink__wait_end(&request->reader, 0); /* no more of the body comes: it looks again, and learns why */
    if (request->server->access) skink__access_tell(request, duration_ns);
}

void skink__request_note_missing(skink_request *request)
{
    if (request->missing_counted) return;
    request->missing_counted = true;
    skink__counter_add(&request->server->counters.answers_missing, 1);
    skink__log(SKINK_LOG_WARNING, "event=no_answer route=%s request=%s", SKINK__LOG_WORD(skink_request_route(request)),
               SKINK__LOG_WORD(request->id));
}

/* --- the head --- */

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

/* If only an empty one. */
static bool has_body(int status)
{
    return status != 204 && status != 304;
}

/* RFC 9110, 15.3.6: 205 has none either, but its length, 0, is told. */
bool skink__status_may_have_body(int status)
{
    return has_body(status) && status != 205;
}

/* Everything that an answer's head is made of. */
struct head {
    const struct skink__answer *answer;
    const char *id;            /* of the request; NULL without one */
    const char *reply_headers; /* of the handler; not NUL-terminated */
    size_t reply_headers_length;
    bool own_server_header;
    const char *connection_line;
    size_t content_type_length; /* filled in by scratch() */
};

/* Room for the head and `more` bytes in the server's scratch memory; NULL without. */
static char *scratch(skink_http_server *server, struct head *head, size_t more)
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

static char *put_head(skink_http_server *server, char *at, const struct head *head)
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
    } else if (answer->form != SKINK__BODY_TO_THE_END && has_body(answer->status)) {
        at = PUT(at, "Content-Length: ");
        at = put_number(at, answer->length);
        at = PUT(at, "\r\n");
    }
    if (*head->connection_line) at = put(at, head->connection_line);
    if (answer->lines) at = put(at, answer->lines);
    if (head->reply_headers_length) at = mempcpy(at, head->reply_headers, head->reply_headers_length);
    return PUT(at, "\r\n");
}

const char *skink__answer_compose_refusal(skink_http_server *server, int number, size_t *ret_length)
{
    char body[SKINK__ERROR_BODY_BYTES];
    struct skink__answer answer = { .status = skink__http_error_status(number),
                                    .content_type = "application/json",
                                    .body = body,
                                    .lines = "Retry-After: 1\r\n" };
    answer.length = skink__error_body(body, answer.status, number, skink__http_error_message(number), "0", NULL);
    struct head head = { .answer = &answer, .connection_line = "Connection: close\r\n" };
    char *start = scratch(server, &head, answer.length);
    if (!start) return NULL;
    char *end = put_head(server, start, &head);
    memcpy(end, body, answer.length);
    *ret_length = (size_t)(end - start) + answer.length;
    return start;
}

/* --- sending --- */

/* Does the connection go on behind this answer? */
static bool keeps_alive(const skink_request *request, const struct skink__answer *answer)
{
    const skink_http_server *server = request->server;
    return request->message.keep_alive && !answer->close && answer->form != SKINK__BODY_TO_THE_END &&
           !server->stopping && !skink__drain_is_announced(server) && !skink__scheduler_is_stopping(server->scheduler);
}

static struct head head_of(const skink_request *request, const struct skink__answer *answer, bool keep_alive)
{
    struct head head = { .answer = answer,
                         .id = request->id,
                         .connection_line = !keep_alive                     ? "Connection: close\r\n"
                                            : !request->message.version_1_1 ? "Connection: keep-alive\r\n"
                                                                            : "" };
    if (answer->handlers_lines) {
        head.reply_headers = request->reply_headers;
        head.reply_headers_length = request->reply_headers_length;
        head.own_server_header = request->has_server_header;
    }
    return head;
}

int skink__answer(skink_request *request, const struct skink__answer *answer)
{
    skink_http_server *server = request->server;
    struct skink__connection *connection = request->connection;
    SKINK_ASSERT(request->state == SKINK__REQUEST_OPEN && connection);
    server->now_ns = skink_now(); /* a task may have run for long since the loop was last asked */
    bool keep_alive = keeps_alive(request, answer) && skink__connection_body_is_over(connection);
    struct head head = head_of(request, answer, keep_alive);
    bool no_body = request->message.method == HTTP_HEAD || !has_body(answer->status);
    size_t body_length = no_body ? 0 : answer->length;
    bool together = body_length <= SMALL_BODY_BYTES;
    char *start = scratch(server, &head, together ? body_length : 0);
    if (!start) return -ENOMEM;
    char *end = put_head(server, start, &head);
    if (together && body_length) end = mempcpy(end, answer->body, body_length);
    struct iovec parts[2] = { { start, (size_t)(end - start) }, { (void *)answer->body, body_length } };
    size_t sent_bytes = (size_t)(end - start) + (together ? 0 : body_length);

    /* Counted first: a client that has its answer finds it in the metrics. */
    skink__counter_add(&server->counters.response_bytes, sent_bytes);
    request->sent_bytes += sent_bytes;
    skink__request_answered(request, SKINK__REQUEST_ANSWERED, answer->status);
    skink__deadline_clear(&request->late);
    skink__deadline_clear(&request->expiry);
    request->connection = NULL;
    int count = together || !body_length ? 1 : 2;
    int err = keep_alive && skink__connection_has_more(connection) ? skink__connection_gather(connection, parts, count)
                                                                   : skink__connection_send(connection, parts, count);
    if (!err) skink__connection_answered(connection, keep_alive);
    return err ? -ECANCELED : 0; /* the connection has let go of the request: it may be gone */
}

/* The task of a streamed answer suspends: its client need not wait for the others' turn. */
static void on_suspension(struct skink__task_watch *watch) SKINK__IN_RUNTIME
{
    skink_request *request = (skink_request *)((char *)watch - offsetof(struct skink_request, watch));
    if (request->connection) skink__connection_flush(request->connection);
}

int skink__answer_send(skink_request *request, struct iovec *parts, int count)
{
    /* Of others nobody knows when they are done. */
    bool own = skink__task_watch_suspension(&request->watch, request->task, on_suspension);
    return own ? skink__connection_gather(request->connection, parts, count)
               : skink__connection_send(request->connection, parts, count);
}

int skink__answer_begin(skink_request *request, const struct skink__answer *answer)
{
    skink_http_server *server = request->server;
    SKINK_ASSERT(request->state == SKINK__REQUEST_OPEN && request->connection);
    server->now_ns = skink_now();
    bool keep_alive = keeps_alive(request, answer);
    struct head head = head_of(request, answer, keep_alive);
    char *start = scratch(server, &head, 0);
    if (!start) return -ENOMEM;
    struct iovec part = { start, (size_t)(put_head(server, start, &head) - start) };
    skink__counter_add(&server->counters.response_bytes, part.iov_len);
    request->sent_bytes += part.iov_len;
    request->state = SKINK__REQUEST_STREAMED;
    request->stream_chunked = answer->form == SKINK__BODY_CHUNKED;
    request->stream_no_body = request->message.method == HTTP_HEAD;
    request->stream_left = answer->form == SKINK__BODY_ANNOUNCED ? answer->length : UINT64_MAX;
    request->stream_close = !keep_alive;
    atomic_store_explicit(&request->status, answer->status, memory_order_relaxed);
    skink__deadline_clear(&request->late);
    return skink__answer_send(request, &part, 1) ? -ECANCELED : 0;
}

void skink__answer_end(skink_request *request)
{
    skink_http_server *server = request->server;
    struct skink__connection *connection = request->connection;
    SKINK_ASSERT(request->state == SKINK__REQUEST_STREAMED && connection);
    server->now_ns = skink_now();
    bool keep_alive = !request->stream_close && !server->stopping && !skink__drain_is_announced(server) &&
                      skink__connection_body_is_over(connection);
    skink__request_answered(request, SKINK__REQUEST_ANSWERED, skink_request_status(request));
    skink__deadline_clear(&request->late);
    skink__deadline_clear(&request->expiry);
    request->connection = NULL;
    skink__connection_answered(connection, keep_alive);
}

void skink__answer_cut(skink_request *request, enum skink__request_state state, const char *reason)
{
    struct skink__connection *connection = request->connection;
    SKINK_ASSERT(request->state == SKINK__REQUEST_STREAMED && connection);
    skink__counter_add(&request->server->counters.answers_cut, 1);
    skink__log(SKINK_LOG_WARNING, "event=answer_cut route=%s request=%s reason=%s",
               SKINK__LOG_WORD(skink_request_route(request)), SKINK__LOG_WORD(request->id), reason);
    skink__wait_end(&request->writer, -ECANCELED);
    skink__wait_end(&request->reader, -ECANCELED);
    skink__request_answered(request, state, skink_request_status(request));
    skink__deadline_clear(&request->late);
    skink__deadline_clear(&request->expiry);
    request->connection = NULL;
    skink__connection_cut_short(connection);
}

int skink__answer_error(skink_request *request, int number, const char *lines, bool close)
{
    request->error_number = number;
    char body[SKINK__ERROR_BODY_BYTES];
    struct skink__answer answer = { .status = skink__http_error_status(number),
                                    .content_type = "application/json",
                                    .body = body,
                                    .lines = lines,
                                    .close = close };
    const char *incident = request->incident[0] ? request->incident : NULL;
    answer.length =
        skink__error_body(body, answer.status, number, skink__http_error_message(number), request->id,
                          number == SKINK__HTTP_DEADLOCK || number == SKINK__HTTP_WORKER_TIMEOUT ? incident : NULL);
    int err = skink__answer(request, &answer);
    if (err == -ENOMEM) skink__connection_close(request->connection); /* the next best way to say it */
    return err;
}

void skink__answer_instead(skink_request *request, int number, bool close)
{
    skink__request_ref(request); /* it may stand on its last one: the connection's */
    if (request->state == SKINK__REQUEST_STREAMED) {
        request->error_number = number; /* which would be the answer, if one could be sent still */
        skink__answer_cut(request, SKINK__REQUEST_TOLD,
                          number == SKINK__HTTP_DEADLOCK          ? "deadlock"
                          : number == SKINK__HTTP_REQUEST_EXPIRED ? "timeout"
                          : number == SKINK__HTTP_WORKER_TIMEOUT  ? "timeout"
                                                                  : "stopping");
        skink__request_unref(request);
        return;
    }
    int err = skink__answer_error(request, number, NULL, close);
    if (!err && request->state == SKINK__REQUEST_ANSWERED) request->state = SKINK__REQUEST_TOLD;
    skink__request_unref(request);
}

/* --- what handlers call --- */

/* RFC 9110, 5.5: visible characters, blanks and tabs, and bytes beyond ASCII. */
bool skink__header_value_is_valid(const char *value)
{
    for (const unsigned char *c = (const unsigned char *)value; *c; c++)
        if ((*c < ' ' && *c != '\t') || *c == 0x7f) return false;
    return true;
}

static bool name_is_valid(const char *name)
{
    if (!*name) return false;
    while (skink__is_token_char(*name))
        name++;
    return *name == '\0';
}

static bool is_the_servers(const char *name)
{
    static const char *const names[] = { "content-length", "transfer-encoding", "connection", "date", "x-request-id" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(name, names[i]) == 0) return true;
    return false;
}

/* Why this request can have no answer of its handler's any more; 0 if it can. Each dropped answer is counted once. */
int skink__request_refusal(skink_request *request)
{
    struct skink__http_counters *counters = &request->server->counters;
    if (request->state == SKINK__REQUEST_OPEN || request->state == SKINK__REQUEST_STREAMED) return 0;
    if (request->state == SKINK__REQUEST_ANSWERED || request->drop_counted) return -EALREADY;
    request->drop_counted = true;
    skink__counter_add(
        request->state == SKINK__REQUEST_TOLD ? &counters->late_answers_dropped : &counters->answers_client_gone, 1);
    return -ECANCELED;
}

static int append_line(skink_request *request, const char *name, const char *value)
{
    size_t more = strlen(name) + strlen(value) + 4;
    size_t needed = request->reply_headers_length + more + 1;
    if (needed > request->reply_headers_capacity) {
        char *larger = skink__realloc(request->reply_headers, needed + 128);
        if (!larger) return -ENOMEM;
        request->reply_headers = larger;
        request->reply_headers_capacity = needed + 128;
    }
    char *at = request->reply_headers + request->reply_headers_length;
    put(put(put(put(at, name), ": "), value), "\r\n");
    request->reply_headers_length += more;
    return 0;
}

static int add_line(skink_request *request, const char *name, const char *value)
{
    int err = append_line(request, name, value);
    if (!err && strcasecmp(name, "server") == 0) request->has_server_header = true;
    return err;
}

int skink_response_header(skink_request *request, const char *name, const char *value)
{
    if (!request || !name || !value || !name_is_valid(name) || !skink__header_value_is_valid(value) ||
        is_the_servers(name))
        return -EINVAL;
    if (request->on_worker) {
        /* Its lines are the task's alone until it answers, so there is no need to ask the loop. */
        int status = skink_request_status(request);
        return status == 0 || status == SKINK__CLIENT_CLOSED_REQUEST ? add_line(request, name, value) : -EALREADY;
    }
    skink_scheduler *here = skink__runtime_enter();
    bool open = request->state == SKINK__REQUEST_OPEN || request->state == SKINK__REQUEST_GONE;
    int err = open ? add_line(request, name, value) : -EALREADY;
    skink__runtime_leave(here);
    return err;
}

/* A handler's answer, on its way to the runtime section of its server. */
struct response {
    skink_request *request;
    const struct skink__answer *answer;
};

static int respond_here(void *arg) SKINK__IN_RUNTIME
{
    const struct response *response = arg;
    skink_request *request = response->request;
    int err = request->state == SKINK__REQUEST_STREAMED ? -EALREADY : skink__request_refusal(request);
    if (!err) err = skink__answer(request, response->answer);
    /* The connection broke under this very answer: that is a client that had gone. */
    if (err == -ECANCELED && request->state == SKINK__REQUEST_GONE && !request->drop_counted)
        (void)skink__request_refusal(request);
    return err;
}

static int respond(skink_request *request, const struct skink__answer *answer)
{
    struct response response = { request, answer };
    return skink__runtime_call(request->server->scheduler, respond_here, &response);
}

int skink_respond(skink_request *request, int status, const char *content_type, const void *body, size_t length_bytes)
{
    if (!request || status < 200 || status > 599 || (!body && length_bytes)) return -EINVAL;
    if (length_bytes && !skink__status_may_have_body(status)) return -EINVAL;
    if (content_type && !skink__header_value_is_valid(content_type)) return -EINVAL;
    struct skink__answer answer = {
        .status = status, .content_type = content_type, .body = body, .length = length_bytes, .handlers_lines = true
    };
    return respond(request, &answer);
}

int skink_respond_text(skink_request *request, int status, const char *text)
{
    if (!request || !text || status < 200 || status > 599 || (*text && !skink__status_may_have_body(status)))
        return -EINVAL;
    struct skink__answer answer = { .status = status,
                                    .content_type = "text/plain; charset=utf-8",
                                    .body = text,
                                    .length = strlen(text),
                                    .handlers_lines = true };
    return respond(request, &answer);
}

int skink_respond_error(skink_request *request, int status, int number, const char *message)
{
    if (!request || !message || status < 200 || status > 599 || !skink__status_may_have_body(status)) return -EINVAL;
    char body[SKINK__ERROR_BODY_BYTES];
    struct skink__answer answer = {
        .status = status, .content_type = "application/json", .body = body, .handlers_lines = true
    };
    answer.length = skink__error_body(body, status, number, message, request->id, NULL);
    return respond(request, &answer);
}

static int note_missing_here(void *arg)
{
    skink_request *request = arg;
    if (request->state == SKINK__REQUEST_OPEN) skink__request_note_missing(request);
    return 0;
}

int skink_respond_number(skink_request *request, int number)
{
    if (!request) return -EINVAL;
    if (!skink__http_error_exists(number)) return -ENOENT;
    if (number == SKINK__HTTP_NO_ANSWER) /* before the answer: a client that has it finds it in the metrics */
        (void)skink__runtime_call(request->server->scheduler, note_missing_here, request);
    return skink_respond_error(request, skink__http_error_status(number), number, skink__http_error_message(number));
}
