/* SPDX-License-Identifier: MIT */
/* tests/fuzz/http_handlers.c - see http_handlers.h. What calls return is theirs to know;
 * what they promise is checked. */
#include "tests/fuzz/http_handlers.h"
#include "skink/clock.h"
#include "skink/middleware.h"
#include "skink/token.h"
#include "tests/fuzz/http_loop.h"
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

enum { STEPS_MAX = 48, BIG_BYTES = 100000 };

static const char big[BIG_BYTES];
static _Atomic unsigned running;

static void answer(skink_request *request, char letter)
{
    int before = skink_request_status(request), err = 0;
    if (letter == 'r') err = skink_respond_text(request, 200, "ok\n");
    if (letter == 'R') err = skink_respond(request, 200, "application/octet-stream", big, BIG_BYTES);
    if (letter == 'm') err = skink_respond(request, 201, NULL, big, 5000);
    if (letter == '0') err = skink_respond(request, 204, NULL, NULL, 0);
    if (letter == 'e') err = skink_respond_error(request, 418, 9001, "\"teapot\"\n");
    CHECK(err == 0 || err == -EALREADY || err == -ECANCELED || err == -ENOMEM);
    CHECK(err != 0 || (before == 0 && skink_request_status(request) >= 200));
}

static void answer_number(skink_request *request)
{
    const char *text = skink_request_query(request, "n");
    int err = skink_respond_number(request, text ? atoi(text) : 1);
    CHECK(err == 0 || err == -EALREADY || err == -ECANCELED || err == -ENOMEM || err == -ENOENT);
}

static void add_header(skink_request *request, char letter)
{
    static char large[600];
    if (!large[0]) memset(large, 'x', sizeof large - 1);
    const char *given = letter == 'i' ? skink_request_query(request, "v") : NULL;
    const char *name = letter == 'v' ? "Server" : "X-Added";
    (void)!skink_response_header(request, name, letter == 'H' ? large : given ? given : "value");
}

static void stream(skink_request *request, char letter)
{
    int err = 0;
    if (letter == 'b') err = skink_response_begin(request, 200, "text/plain", SKINK_LENGTH_UNKNOWN);
    if (letter == 'B') err = skink_response_begin(request, 200, NULL, 1000);
    if (letter == 'C') err = skink_response_begin(request, 206, NULL, 0);
    if (letter == 'w') err = skink_response_write(request, big, 10);
    if (letter == 'W') err = skink_response_write(request, big, 70000);
    if (letter == 'z') err = skink_response_write(request, NULL, 0);
    if (letter == 'E') err = skink_response_end(request);
    CHECK(err == 0 || err == -EALREADY || err == -ECANCELED || err == -ENOMEM || err == -ENOTCONN || err == -EMSGSIZE ||
          err == -ETIMEDOUT);
}

static void read_body(skink_request *request, char letter)
{
    char piece[4096];
    size_t size = letter == 'g' ? 16 : sizeof piece, length;
    do {
        length = 0;
        int err = skink_request_read(request, piece, size, &length);
        CHECK(err <= 0 && length <= size);
        if (err) return;
    } while (letter == 'G' && length > 0);
}

static void pause_for(skink_request *request, char letter)
{
    (void)request;
    skink_token *token;
    if (letter == 'y') (void)!skink_yield();
    if (letter == 's') (void)!skink_sleep(10 * SKINK_MS);
    if (letter == 'S') (void)!skink_sleep(5 * SKINK_S);
    if (letter != 'd' || skink_token_derive(skink_token_current(), skink_after(20 * SKINK_MS), &token)) return;
    if (skink_scope_begin(token) == 0) {
        CHECK(skink_sleep(5 * SKINK_S) < 0);
        skink_scope_end();
    }
    skink_token_unref(token);
}

/* Every byte of what a request says is looked at. */
static void look(skink_request *request, char letter)
{
    const char *name, *value;
    size_t length = 0, sum = 0;
    if (letter == 'q') (void)skink_request_query(request, "a");
    if (letter == 'c') (void)skink_request_cookie(request, "a");
    if (letter == 't') (void)skink_token_status(skink_request_token(request));
    if (letter == 'f' && skink_request_form(request, "a", &value) == 0 && value) sum += strlen(value);
    for (size_t i = 0; letter == 'x' && skink_request_header_at(request, i, &name, &value); i++) {
        const char *found = skink_request_header(request, name);
        CHECK(found && strlen(value) + strlen(found) < 100000);
    }
    if (letter != 'o') return;
    const unsigned char *body = skink_request_body(request, &length);
    for (size_t i = 0; i < length; i++)
        sum += body[i];
    CHECK(!body || body[length] == 0);
    sum += strlen(skink_request_path(request)) + strlen(skink_request_query_string(request)) +
           strlen(skink_request_id(request)) + strlen(skink_request_client(request));
    CHECK(sum > 0 && skink_request_index(request) > 0);
}

static void step(skink_request *request, char letter)
{
    if (strchr("rRm0e", letter)) answer(request, letter);
    if (letter == 'n') answer_number(request);
    if (strchr("hHvi", letter)) add_header(request, letter);
    if (strchr("bBCwWzE", letter)) stream(request, letter);
    if (strchr("gG", letter)) read_body(request, letter);
    if (strchr("ysSd", letter)) pause_for(request, letter);
    if (strchr("fqcxot", letter)) look(request, letter);
    if (strchr("kpjK", letter))
        loop_stick((struct loop_stick){ .poisoned = letter == 'p', .starved = letter == 'j', .hold = letter == 'K' });
}

static void run_program(skink_request *request, void *arg)
{
    (void)arg;
    const char *program = skink_request_param(request, "program");
    CHECK(program && *skink_request_route(request));
    atomic_fetch_add(&running, 1);
    for (unsigned i = 0; i < STEPS_MAX && program[i]; i++)
        step(request, program[i]);
    atomic_fetch_sub(&running, 1);
}

static void say_ok(skink_request *request, void *arg)
{
    (void)arg;
    answer(request, 'r');
}

/* Says to the reader of answers that this one, to a HEAD, has no body. */
static void around_all(skink_request *request, skink_next *next, void *arg)
{
    (void)arg;
    if (strcmp(skink_request_method(request), "HEAD") == 0) (void)!skink_response_header(request, "X-Head", "1");
    skink_next_run(next, request);
    if (!skink_request_header(request, "X-Twice")) return;
    skink_next_run(next, request); /* does nothing */
    answer(request, 'r');
}

static void around_m(skink_request *request, skink_next *next, void *arg)
{
    (void)arg;
    if (skink_request_header(request, "X-Deny"))
        (void)!skink_respond_error(request, 403, 9002, "denied");
    else
        skink_next_run(next, request);
}

void handlers_add(skink_http_server *server)
{
    skink_route_options buffered = SKINK_ROUTE_OPTIONS_INIT, streamed = buffered, small = buffered, queued = buffered;
    streamed.stream_body = small.stream_body = true;
    small.max_body_bytes = 300;
    small.request_timeout_ns = 3 * SKINK_S;
    queued.max_requests = 1;
    queued.max_queue = 2;
    int err = skink_http_route(server, "GET", "/", NULL, say_ok, NULL);
    if (!err) err = skink_http_route(server, "GET", "/p/{program}", &buffered, run_program, NULL);
    if (!err) err = skink_http_route(server, "POST", "/p/{program}", &buffered, run_program, NULL);
    if (!err) err = skink_http_route(server, "DELETE", "/p/{program}", &buffered, run_program, NULL);
    if (!err) err = skink_http_route(server, "PUT", "/s/{program}", &streamed, run_program, NULL);
    if (!err) err = skink_http_route(server, "POST", "/s/{program}", &small, run_program, NULL);
    if (!err) err = skink_http_route(server, "GET", "/q/{program}", &queued, run_program, NULL);
    if (!err) err = skink_http_route(server, "GET", "/m/{program}", NULL, run_program, NULL);
    if (!err) err = skink_http_use(server, around_all, NULL);
    if (!err) err = skink_http_use_on(server, "/m", around_m, NULL);
    CHECK(err == 0);
}

unsigned handlers_running(void)
{
    return atomic_load(&running);
}

void handlers_reset(void)
{
    atomic_store(&running, 0);
}
