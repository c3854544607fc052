/* SPDX-License-Identifier: MIT */
/*
 * middleware/response.c - answers: what a handler says, handed to the connection behind its head (response_head.c).
 *
 * Whether an answer may go out is decided in the runtime section, where skink__runtime_enter() brings even a task that
 * was declared stuck: so between its own answer, the one given for it and the client's leaving exactly one wins.
 */
#include "middleware/response.h"
#include "loop/hooks.h"
#include "loop/log_value.h"
#include "loop/memory.h"
#include "loop/runtime.h"
#include "middleware/access.h"
#include "middleware/admission.h"
#include "middleware/characters.h"
#include "middleware/error_body.h"
#include "middleware/http_connection.h"
#include "middleware/response_head.h"
#include "skink/clock.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

enum { SMALL_BODY_BYTES = 4096 };

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

const char *skink__answer_compose_refusal(skink_http_server *server, int number, size_t *ret_length)
{
    char body[SKINK__ERROR_BODY_BYTES];
    struct skink__answer answer = { .status = skink__http_error_status(number),
                                    .content_type = "application/json",
                                    .body = body,
                                    .lines = "Retry-After: 1\r\n" };
    answer.length = skink__error_body(body, answer.status, number, skink__http_error_message(number), "0", NULL);
    struct skink__response_head head = { .answer = &answer, .connection_line = "Connection: close\r\n" };
    char *start = skink__response_head_room(server, &head, answer.length);
    if (!start) return NULL;
    char *end = skink__response_head_put(server, start, &head);
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

static struct skink__response_head head_of(const skink_request *request, const struct skink__answer *answer,
                                           bool keep_alive)
{
    struct skink__response_head head = { .answer = answer,
                                         .id = request->id,
                                         .connection_line = !keep_alive ? "Connection: close\r\n"
                                                            : !request->message.version_1_1
                                                                ? "Connection: keep-alive\r\n"
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
    struct skink__response_head head = head_of(request, answer, keep_alive);
    bool no_body = request->message.method == HTTP_HEAD || !skink__status_has_body(answer->status);
    size_t body_length = no_body ? 0 : answer->length;
    bool together = body_length <= SMALL_BODY_BYTES;
    char *start = skink__response_head_room(server, &head, together ? body_length : 0);
    if (!start) return -ENOMEM;
    char *end = skink__response_head_put(server, start, &head);
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
    struct skink__response_head head = head_of(request, answer, keep_alive);
    char *start = skink__response_head_room(server, &head, 0);
    if (!start) return -ENOMEM;
    struct iovec part = { start, (size_t)(skink__response_head_put(server, start, &head) - start) };
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
    stpcpy(stpcpy(stpcpy(stpcpy(at, name), ": "), value), "\r\n");
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

/* What a handler hands over, on its way to the runtime section of its server. */
struct handing_over {
    int (*fn)(void *arg);
    void *arg;
    bool called;
};

static int hand_over_here(void *arg)
{
    struct handing_over *handing_over = arg;
    handing_over->called = true;
    return handing_over->fn(handing_over->arg);
}

int skink__answer_hand_over(skink_request *request, int (*fn)(void *arg), void *arg)
{
    struct handing_over handing_over = { .fn = fn, .arg = arg };
    int err = skink__runtime_call(request->server->scheduler, hand_over_here, &handing_over);
    if (err == -ECANCELED && !handing_over.called) request->answer_refused = true;
    return err;
}

/* A handler's answer. */
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
    return skink__answer_hand_over(request, respond_here, &response);
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
    /* It was not forgotten, and who tells the loop of its end knows what to say (worker_middleware.c). */
    if (number == SKINK__HTTP_NO_ANSWER && request->answer_refused) return -ECANCELED;
    if (number == SKINK__HTTP_NO_ANSWER) /* before the answer: a client that has it finds it in the metrics */
        (void)skink__runtime_call(request->server->scheduler, note_missing_here, request);
    return skink_respond_error(request, skink__http_error_status(number), number, skink__http_error_message(number));
}
