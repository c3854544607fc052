/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_late_window.c - requests that get stuck: exactly one answer each, whoever gives it. */
#include "loop/runtime.h"
#include "middleware/error_numbers.h"
#include "middleware/http_server.h"
#include "middleware/routes.h"
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define H "Host: a\r\n"

enum { GATES = 4 };

/* A handler of its own: it may suspend, blocks, may suspend again, and answers. */
struct gate {
    skink_future *before, *after; /* NULL: it does not suspend there */
    _Atomic int entered;          /* it blocks */
    _Atomic int release;          /* it goes on */
    _Atomic int passed;           /* it has gone on, on the loop */
    _Atomic int yields;           /* it yields until this is 0, in place of `after` */
    _Atomic int result;           /* of its answer; 1 until then */
};

struct stuck {
    struct fixture fixture;
    struct gate gates[GATES];
    skink_recovery *recovery;
    _Atomic int release;        /* the stuck handlers end their blocking when it is set */
    _Atomic int entered;        /* handlers that have begun to block */
    _Atomic int blocks_again;   /* of /twice */
    _Atomic int answered;       /* handlers whose skink_respond() has returned */
    _Atomic int respond_result; /* of the last of them */
    char incident[SKINK_INCIDENT_ID_BYTES];
    _Atomic int incidents; /* publishes `incident` */
};

static void note_incident(const skink_incident *incident, void *arg)
{
    struct stuck *stuck = arg;
    if (atomic_load(&stuck->incidents) == 0) memcpy(stuck->incident, incident->id, sizeof stuck->incident);
    atomic_fetch_add(&stuck->incidents, 1);
}

/* Really blocks the loop thread until it is released: what the watchdog is there for. */
static void block(skink_request *request, void *arg)
{
    struct stuck *stuck = arg;
    atomic_fetch_add(&stuck->entered, 1);
    while (atomic_load(&stuck->release) % 2 == 0)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    atomic_store(&stuck->respond_result, skink_respond_text(request, 200, "my own"));
    atomic_fetch_add(&stuck->answered, 1);
}

/* Blocks the same way, and goes on with its body then. */
static void block_and_read(skink_request *request, void *arg)
{
    struct stuck *stuck = arg;
    char bytes[16];
    size_t n = 0;
    atomic_fetch_add(&stuck->entered, 1);
    while (!atomic_load(&stuck->release))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    int err = skink_request_read(request, bytes, sizeof bytes, &n);
    while (!err && n > 0)
        err = skink_request_read(request, bytes, sizeof bytes, &n);
    atomic_store(&stuck->respond_result, err);
    atomic_fetch_add(&stuck->answered, 1);
}

/* Answers, and blocks then. */
static void answer_and_block(skink_request *request, void *arg)
{
    struct stuck *stuck = arg;
    atomic_store(&stuck->respond_result, skink_respond_text(request, 200, "first"));
    atomic_fetch_add(&stuck->entered, 1);
    while (!atomic_load(&stuck->release))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    atomic_fetch_add(&stuck->answered, 1);
}

/* Blocks, comes back to the loop, and blocks again. */
static void block_twice(skink_request *request, void *arg)
{
    struct stuck *stuck = arg;
    while (atomic_load(&stuck->release) < 2)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    (void)!skink_checkpoint();
    atomic_store(&stuck->blocks_again, 1);
    block(request, arg);
}

static void complete(void *arg)
{
    assert_int_equal(skink_future_complete(arg, NULL), 0);
}

static void pass_gate(skink_request *request, void *arg)
{
    struct gate *gate = arg;
    if (gate->before) (void)!skink_await(gate->before, SKINK_FOREVER, NULL);
    atomic_store(&gate->entered, 1);
    while (!atomic_load(&gate->release))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    (void)!skink_checkpoint();
    atomic_store(&gate->passed, 1);
    if (gate->after) (void)!skink_await(gate->after, SKINK_FOREVER, NULL);
    while (atomic_load(&gate->yields))
        (void)!skink_yield();
    atomic_store(&gate->result, skink_respond_text(request, 200, "my own"));
}

static void create(struct stuck *stuck, uint64_t late_window_ns, uint32_t max_strays)
{
    memset(stuck, 0, sizeof *stuck);
    skink_http_options http = SKINK_HTTP_OPTIONS_INIT;
    http.late_window_ns = late_window_ns;
    fixture_create(&stuck->fixture, NULL, &http);
    fixture_add_common_routes(&stuck->fixture);
    fixture_route(&stuck->fixture, "GET", "/block", block, stuck);
    fixture_route(&stuck->fixture, "GET", "/after", answer_and_block, stuck);
    fixture_route(&stuck->fixture, "GET", "/twice", block_twice, stuck);
    static const char *const patterns[GATES] = { "/gate/0", "/gate/1", "/gate/2", "/gate/3" };
    for (int i = 0; i < GATES; i++) {
        fixture_route(&stuck->fixture, "GET", patterns[i], pass_gate, &stuck->gates[i]);
        atomic_store(&stuck->gates[i].result, 1);
    }
    skink_route_options streamed = SKINK_ROUTE_OPTIONS_INIT;
    streamed.stream_body = true;
    assert_int_equal(skink_http_route(stuck->fixture.server, "PUT", "/read", &streamed, block_and_read, stuck), 0);
    skink_recovery_options recovery = SKINK_RECOVERY_OPTIONS_INIT;
    recovery.deadlock_timeout_ns = 100 * SKINK_MS;
    recovery.max_strays = max_strays;
    recovery.incident = note_incident;
    recovery.arg = stuck;
    stuck->recovery = fixture_watch(&stuck->fixture, &recovery);
    fixture_start(&stuck->fixture);
}

static int ask_gate(const struct stuck *stuck, int i)
{
    char text[64];
    int fd = client_connect(stuck->fixture.port);
    snprintf(text, sizeof text, "GET /gate/%d HTTP/1.1\r\n" H "\r\n", i);
    client_send_text(fd, text);
    return fd;
}

/* Every stray is let go and has come back before anything is taken down. */
static void destroy(struct stuck *stuck)
{
    atomic_store(&stuck->release, 1);
    test_wait_until(fixture_recovery_stats(stuck->recovery).strays == 0, 8000);
    test_wait_until(atomic_load(&stuck->answered) == atomic_load(&stuck->entered), 8000);
    fixture_destroy(&stuck->fixture);
    skink_recovery_destroy(stuck->recovery);
}

static void a_request_that_comes_free_in_time_answers_itself(void **state)
{
    (void)state;
    struct stuck stuck;
    create(&stuck, 5 * SKINK_S, 0);
    int fd = client_connect(stuck.fixture.port), other = client_connect(stuck.fixture.port);
    client_send_text(fd, "GET /block HTTP/1.1\r\n" H "\r\n");
    test_wait_until(atomic_load(&stuck.entered) == 1, 4000);
    /* Everybody else goes on meanwhile. */
    client_expect(other, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    assert_int_equal(fixture_recovery_stats(stuck.recovery).deadlocks, 1);
    atomic_store(&stuck.release, 1);
    client_expect(fd, "", 200, "my own");
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    assert_int_equal(fixture_stats(&stuck.fixture).late_answers_dropped, 0);
    close(fd), close(other);
    destroy(&stuck);
    assert_int_equal(atomic_load(&stuck.respond_result), 0);
}

static void a_request_that_does_not_is_answered_for_and_its_own_answer_dropped(void **state)
{
    (void)state;
    struct stuck stuck;
    create(&stuck, 200 * SKINK_MS, 0);
    int fd = client_connect(stuck.fixture.port);
    uint64_t start = test_now_ns();
    client_send_text(fd, "GET /block HTTP/1.1\r\n" H "\r\nGET /hello HTTP/1.1\r\n" H "\r\n");
    struct reply reply;
    client_read(fd, &reply, false);
    assert_true(test_now_ns() - start >= test_ms(300)); /* the timeout and the window */
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.body, "\"number\":1002,"));
    test_wait_until(atomic_load(&stuck.incidents) == 1, 4000);
    char incident[64];
    snprintf(incident, sizeof incident, "\"incident\":\"%s\"", stuck.incident);
    assert_true(stuck.incident[0]);
    assert_non_null(strstr(reply.body, incident));
    reply_free(&reply);
    /* What was pipelined behind it is answered next, and the connection lives on. */
    client_expect(fd, "", 200, "hello\n");
    test_wait_until(fixture_stats(&stuck.fixture).in_flight == 0, 4000);
    assert_int_equal(fixture_stats(&stuck.fixture).late_answers_dropped, 0);
    atomic_store(&stuck.release, 1);
    test_wait_until(fixture_stats(&stuck.fixture).late_answers_dropped == 1, 4000);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(fd);
    destroy(&stuck);
    assert_int_equal(atomic_load(&stuck.respond_result), -ECANCELED);
}

/* It came free in time, and waits for its client when the window ends: nothing will come any more. */
static void one_that_waits_for_its_body_learns_that_it_was_answered_for(void **state)
{
    (void)state;
    struct stuck stuck;
    create(&stuck, 400 * SKINK_MS, 0);
    int fd = client_connect(stuck.fixture.port);
    client_send_text(fd, "PUT /read HTTP/1.1\r\n" H "Content-Length: 8\r\n\r\nfour");
    test_wait_until(atomic_load(&stuck.entered) == 1 && fixture_recovery_stats(stuck.recovery).deadlocks == 1, 4000);
    atomic_store(&stuck.release, 1);
    struct reply reply;
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, 503);
    reply_free(&reply);
    test_wait_until(atomic_load(&stuck.answered) == 1, 4000);
    assert_int_equal(atomic_load(&stuck.respond_result), -ECANCELED);
    close(fd);
    destroy(&stuck);
}

/* Nobody waits for it any more: there is no window, and no second answer. */
static void one_that_gets_stuck_after_its_answer_has_none(void **state)
{
    (void)state;
    struct stuck stuck;
    create(&stuck, 10 * SKINK_MS, 0);
    int fd = client_connect(stuck.fixture.port);
    client_expect(fd, "GET /after HTTP/1.1\r\n" H "\r\n", 200, "first");
    test_wait_until(fixture_recovery_stats(stuck.recovery).deadlocks == 1, 4000);
    /* As many windows pass as there are declarations. */
    for (int i = 0; i < 5; i++)
        client_expect(fd, "GET /sleep?ms=20 HTTP/1.1\r\n" H "\r\n", 200, NULL);
    assert_int_equal(fixture_code_count(&stuck.fixture, 503), 0);
    assert_int_equal(fixture_stats(&stuck.fixture).late_answers_dropped, 0);
    close(fd);
    destroy(&stuck);
    assert_int_equal(atomic_load(&stuck.respond_result), 0);
}

static const struct skink__route *route_of(const skink_http_server *server, const char *pattern)
{
    const struct skink__route *route = atomic_load(&server->routes.first);
    while (route && strcmp(route->pattern, pattern) != 0)
        route = atomic_load(&route->next);
    return route;
}

/* When the first window ends. */
struct window {
    const skink_http_server *server;
    uint64_t ends_ns;
};

static void read_window(struct uv_loop_s *loop, void *arg)
{
    struct window *window = arg;
    (void)loop;
    window->ends_ns = window->server->late.head.next->at_ns;
}

static uint64_t window_end(const skink_http_server *server)
{
    struct window window = { .server = server };
    assert_int_equal(skink_scheduler_uv(server->scheduler, read_window, &window), 0);
    return window.ends_ns;
}

/* Goal: a request that comes back and gets stuck again is stuck once, late by the first time.
 * | handler     | recovery | client  |
 * | blocks      | declares |         |
 * | comes back  |          |         |
 * | blocks      | declares |         |
 * | answers     |          | has it  | */
static void one_that_gets_stuck_twice_is_counted_once_and_late_by_the_first_time(void **state)
{
    (void)state;
    struct stuck stuck;
    create(&stuck, 600 * SKINK_S, 0); /* it does not end here */
    const skink_http_server *server = stuck.fixture.server;
    const struct skink__route *route = route_of(server, "/twice");
    int fd = client_connect(stuck.fixture.port);
    client_send_text(fd, "GET /twice HTTP/1.1\r\n" H "\r\n");
    test_wait_until(fixture_recovery_stats(stuck.recovery).deadlocks == 1, 4000);
    test_wait_until(atomic_load(&server->stuck->requests) == 1, 4000);
    uint64_t ends_ns = window_end(server);
    atomic_store(&stuck.release, 2);
    test_wait_until(atomic_load(&stuck.blocks_again) == 1, 4000);
    test_wait_until(fixture_recovery_stats(stuck.recovery).deadlocks == 2, 4000);
    assert_int_equal(window_end(server), ends_ns); /* on the fresh thread, which knows by now */
    assert_int_equal(atomic_load(&server->stuck->requests), 1);
    assert_int_equal(atomic_load(&route->quarantine.stuck), 1);
    atomic_store(&stuck.release, 3);
    client_expect(fd, "", 200, "my own");
    test_wait_until(atomic_load(&server->stuck->requests) == 0, 4000);
    assert_int_equal(atomic_load(&route->quarantine.stuck), 0);
    close(fd);
    destroy(&stuck);
}

static void a_client_that_left_a_stuck_request_gets_nothing(void **state)
{
    (void)state;
    struct stuck stuck;
    create(&stuck, 200 * SKINK_MS, 0);
    int fd = client_connect(stuck.fixture.port);
    client_send_text(fd, "GET /block HTTP/1.1\r\n" H "\r\n");
    test_wait_until(atomic_load(&stuck.entered) == 1, 4000);
    client_reset(fd);
    test_wait_until(fixture_code_count(&stuck.fixture, 499) == 1, 4000);
    atomic_store(&stuck.release, 1);
    test_wait_until(fixture_stats(&stuck.fixture).answers_client_gone == 1, 4000);
    assert_int_equal(fixture_code_count(&stuck.fixture, 503), 0);
    assert_int_equal(fixture_stats(&stuck.fixture).late_answers_dropped, 0);
    destroy(&stuck);
}

static void at_the_stray_limit_new_requests_are_refused_at_once(void **state)
{
    (void)state;
    struct stuck stuck;
    create(&stuck, 200 * SKINK_MS, 1);
    int first = client_connect(stuck.fixture.port), second = client_connect(stuck.fixture.port);
    int third = client_connect(stuck.fixture.port);
    client_send_text(first, "GET /block HTTP/1.1\r\n" H "\r\n");
    test_wait_until(atomic_load(&stuck.entered) == 1, 4000);
    client_send_text(second, "GET /block HTTP/1.1\r\n" H "\r\n");
    client_expect(first, "", 503, NULL);
    /* The second one is answered for as well, though nobody takes over the work any more. */
    client_expect(second, "", 503, NULL);
    assert_int_equal(skink_recovery_health(stuck.recovery), SKINK_HEALTH_STRAY_LIMIT);
    struct reply reply;
    client_send_text(third, "GET /hello HTTP/1.1\r\n" H "\r\n");
    client_read(third, &reply, false);
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.body, "\"number\":1003,"));
    assert_string_equal(reply_header(&reply, "Retry-After"), "1");
    reply_free(&reply);
    atomic_store(&stuck.release, 1);
    test_wait_until(fixture_stats(&stuck.fixture).late_answers_dropped == 2, 4000);
    client_expect(third, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(first), close(second), close(third);
    destroy(&stuck);
}

/* ---- what a request is owed at the end of its window ---- */

enum { WINDOW_MS = 1000 };

static void pass_until(uint64_t moment_ns)
{
    while (test_now_ns() < moment_ns)
        test_nap();
}

/* Gate 0 is declared stuck, and its window begins. */
static int begin_to_be_late(struct stuck *stuck, uint64_t *ret_over_ns)
{
    int fd = ask_gate(stuck, 0);
    test_wait_until(fixture_recovery_stats(stuck->recovery).deadlocks == 1, 4000);
    *ret_over_ns = test_now_ns() + test_ms(WINDOW_MS + 100);
    return fd;
}

static void hold_the_loop(struct stuck *stuck, int *ret_fd)
{
    *ret_fd = ask_gate(stuck, 1);
    test_wait_until(atomic_load(&stuck->gates[1].entered) == 1, 4000);
}

/* Goal: a request whose task came free in its window is answered by it, though the loop could only look after the
 * window.
 * | gate 0          | gate 1               | loop                             |
 * | declared stuck  |                      |                                  |
 * |                 | holds the loop       |                                  |
 * | comes free      |                      |                                  |
 * |                 |                      | the window of 0 is over          |
 * |                 | ends, or is declared | the window's timer; then inbox   |
 * | answers         |                      |                                  | */
static void check_free_beside_a_held_loop(bool declared)
{
    struct stuck stuck;
    uint64_t over_ns;
    int second;
    create(&stuck, WINDOW_MS * SKINK_MS, 0);
    uint64_t timeout_ns = (declared ? WINDOW_MS + 300 : 60000) * SKINK_MS;
    assert_int_equal(skink_http_route_set_timeout(stuck.fixture.server, "/gate/1", timeout_ns), 0);
    int first = begin_to_be_late(&stuck, &over_ns);
    hold_the_loop(&stuck, &second);
    atomic_store(&stuck.gates[0].release, 1);
    test_wait_until(fixture_recovery_stats(stuck.recovery).strays == 0, 4000);
    assert_int_equal(atomic_load(&stuck.gates[0].passed), 0);
    pass_until(over_ns);
    if (!declared) atomic_store(&stuck.gates[1].release, 1);
    client_expect(first, "", 200, "my own");
    assert_int_equal(fixture_recovery_stats(stuck.recovery).deadlocks, declared ? 2 : 1);
    atomic_store(&stuck.gates[1].release, 1);
    client_expect(second, "", 200, "my own"); /* in its own window */
    client_expect(first, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    assert_int_equal(fixture_stats(&stuck.fixture).late_answers_dropped, 0);
    assert_int_equal(fixture_code_count(&stuck.fixture, 503), 0);
    close(first), close(second);
    destroy(&stuck);
    assert_int_equal(atomic_load(&stuck.gates[0].result), 0);
}

static void one_that_came_free_while_another_was_stuck_answers_itself(void **state)
{
    (void)state;
    check_free_beside_a_held_loop(true);
}

static void one_that_came_free_while_another_took_long_answers_itself(void **state)
{
    (void)state;
    check_free_beside_a_held_loop(false);
}

/* The same with a task that came free before, and waits for what comes about while the loop is held. */
static void one_whose_wait_ended_while_another_took_long_answers_itself(void **state)
{
    (void)state;
    struct stuck stuck;
    uint64_t over_ns;
    int second;
    create(&stuck, WINDOW_MS * SKINK_MS, 0);
    assert_int_equal(skink_future_create(&stuck.gates[0].after), 0);
    assert_int_equal(skink_http_route_set_timeout(stuck.fixture.server, "/gate/1", 60 * SKINK_S), 0);
    int first = begin_to_be_late(&stuck, &over_ns);
    atomic_store(&stuck.gates[0].release, 1);
    test_wait_until(atomic_load(&stuck.gates[0].passed) == 1, 4000);
    hold_the_loop(&stuck, &second);
    assert_int_equal(skink_future_complete(stuck.gates[0].after, NULL), 0);
    pass_until(over_ns);
    atomic_store(&stuck.gates[1].release, 1);
    client_expect(first, "", 200, "my own");
    client_expect(second, "", 200, "my own");
    close(first), close(second);
    destroy(&stuck);
    skink_future_unref(stuck.gates[0].after);
    assert_int_equal(atomic_load(&stuck.gates[0].result), 0);
}

/* It is ready whenever the loop looks, and never says anything. */
static void one_that_only_yields_is_answered_for(void **state)
{
    (void)state;
    struct stuck stuck;
    create(&stuck, 200 * SKINK_MS, 0);
    atomic_store(&stuck.gates[0].yields, 1);
    int fd = ask_gate(&stuck, 0);
    test_wait_until(fixture_recovery_stats(stuck.recovery).deadlocks == 1, 4000);
    atomic_store(&stuck.gates[0].release, 1);
    struct reply reply;
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.body, "\"number\":1002,"));
    reply_free(&reply);
    assert_int_equal(atomic_load(&stuck.gates[0].result), 1);
    atomic_store(&stuck.gates[0].yields, 0);
    test_wait_until(fixture_stats(&stuck.fixture).late_answers_dropped == 1, 4000);
    close(fd);
    destroy(&stuck);
    assert_int_equal(atomic_load(&stuck.gates[0].result), -ECANCELED);
}

/* Goal: a loop that is held starts no task, so who came free is answered for.
 * | gate 0   | gate 1     | gates 2 and 3, one after the other  | strays of 2      |
 * | stuck    |            |                                     | 0                |
 * |          | stuck      |                                     | 0, 1             |
 * |          |            | ready; the first holds the loop     |                  |
 * |          | comes free |                                     | 0                |
 * |          |            | declared                            | 0, 2             |
 * |          |            | the next: declared, the loop held   |                  |
 * |          | 503        |                                     |                  | */
static void one_that_came_free_on_a_held_loop_is_answered_for(void **state)
{
    (void)state;
    struct stuck stuck;
    skink_future *start;
    int fds[GATES];
    struct reply reply;
    create(&stuck, WINDOW_MS * SKINK_MS, 2);
    assert_int_equal(skink_future_create(&start), 0);
    stuck.gates[2].before = stuck.gates[3].before = start;
    fds[2] = ask_gate(&stuck, 2);
    fds[3] = ask_gate(&stuck, 3);
    test_wait_until(fixture_stats(&stuck.fixture).in_flight == 2, 4000);
    for (int i = 0; i < 2; i++) {
        fds[i] = ask_gate(&stuck, i);
        test_wait_until(fixture_recovery_stats(stuck.recovery).deadlocks == (uint64_t)i + 1, 4000);
    }
    assert_int_equal(skink_post(stuck.fixture.scheduler, complete, start), 0);
    test_wait_until(atomic_load(&stuck.gates[2].entered) + atomic_load(&stuck.gates[3].entered) == 1, 4000);
    atomic_store(&stuck.gates[1].release, 1);
    test_wait_until(skink__scheduler_is_held(stuck.fixture.scheduler), 4000);
    client_read(fds[1], &reply, false);
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.body, "\"number\":1002,"));
    reply_free(&reply);
    assert_true(skink__scheduler_is_held(stuck.fixture.scheduler));
    assert_int_equal(atomic_load(&stuck.gates[1].passed), 0);
    for (int i = 0; i < GATES; i++)
        atomic_store(&stuck.gates[i].release, 1);
    test_wait_until(atomic_load(&stuck.gates[1].result) == -ECANCELED, 8000);
    test_wait_until(fixture_recovery_stats(stuck.recovery).strays == 0, 8000);
    for (int i = 0; i < GATES; i++)
        close(fds[i]);
    destroy(&stuck);
    skink_future_unref(start);
}

static void a_route_has_its_own_timeout(void **state)
{
    (void)state;
    struct stuck stuck;
    memset(&stuck, 0, sizeof stuck);
    fixture_create(&stuck.fixture, NULL, NULL);
    skink_route_options options = SKINK_ROUTE_OPTIONS_INIT;
    options.deadlock_timeout_ns = 50 * SKINK_MS;
    assert_int_equal(skink_http_route(stuck.fixture.server, "GET", "/block", &options, block, &stuck), 0);
    fixture_add_common_routes(&stuck.fixture);
    skink_recovery_options recovery = SKINK_RECOVERY_OPTIONS_INIT;
    recovery.deadlock_timeout_ns = 100 * SKINK_S;
    stuck.recovery = fixture_watch(&stuck.fixture, &recovery);
    fixture_start(&stuck.fixture);
    int fd = client_connect(stuck.fixture.port), other = client_connect(stuck.fixture.port);
    client_send_text(fd, "GET /block HTTP/1.1\r\n" H "\r\n");
    test_wait_until(atomic_load(&stuck.entered) == 1, 4000);
    client_expect(other, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    assert_int_equal(fixture_recovery_stats(stuck.recovery).deadlocks, 1);
    close(fd), close(other);
    destroy(&stuck);
}

/* A handler that blocks on a task of its own loop: after the takeover the task runs, and it answers itself. */
static void wait_for_itself(skink_request *request, void *arg)
{
    struct stuck *stuck = arg;
    skink_future *future;
    atomic_fetch_add(&stuck->entered, 1);
    assert_int_equal(skink_future_create(&future), 0);
    assert_int_equal(skink_post(stuck->fixture.scheduler, complete, future), 0);
    int err = skink_future_block(future, SKINK_FOREVER, NULL);
    skink_future_unref(future);
    skink_respond_text(request, err ? 500 : 200, "unstuck");
    atomic_fetch_add(&stuck->answered, 1);
}

static void a_request_that_waits_for_itself_answers_itself(void **state)
{
    (void)state;
    struct stuck stuck;
    memset(&stuck, 0, sizeof stuck);
    fixture_create(&stuck.fixture, NULL, NULL);
    fixture_add_common_routes(&stuck.fixture);
    fixture_route(&stuck.fixture, "GET", "/self", wait_for_itself, &stuck);
    skink_recovery_options recovery = SKINK_RECOVERY_OPTIONS_INIT;
    recovery.deadlock_timeout_ns = 50 * SKINK_MS;
    stuck.recovery = fixture_watch(&stuck.fixture, &recovery);
    fixture_start(&stuck.fixture);
    int fd = client_connect(stuck.fixture.port), behind = client_connect(stuck.fixture.port);
    for (int i = 0; i < 5; i++) {
        client_send_text(fd, "GET /self HTTP/1.1\r\n" H "\r\n");
        client_expect(behind, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
        client_expect(fd, "", 200, "unstuck");
    }
    assert_true(fixture_recovery_stats(stuck.recovery).deadlocks == 5);
    close(fd), close(behind);
    destroy(&stuck);
}

/* Goal: a stray that comes back after everything was taken down frees what its request held (LeakSanitizer looks).
 * | test                       | stray                      |
 * | stop, destroy              | blocks                     |
 * | lets it go                 | calls skink_respond(): ends |  */
static void a_stray_that_outlives_the_server_leaves_nothing_behind(void **state)
{
    (void)state;
    static struct stuck stuck; /* the stray's, for longer than this function */
    create(&stuck, 5 * SKINK_S, 0);
    int fd = client_connect(stuck.fixture.port);
    client_send_text(fd, "GET /block HTTP/1.1\r\n" H "\r\n");
    test_wait_until(fixture_recovery_stats(stuck.recovery).strays == 1, 4000);
    assert_int_equal(skink_scheduler_stop(stuck.fixture.scheduler, skink_now()), -ECANCELED);
    fixture_destroy(&stuck.fixture);
    struct reply reply;
    client_read(fd, &reply, false); /* nobody else will answer it */
    assert_int_equal(reply.status, 503);
    reply_free(&reply);
    assert_true(client_sees_end(fd, 4000));
    atomic_store(&stuck.release, 1);
    test_wait_until(fixture_recovery_stats(stuck.recovery).strays == 0, 8000);
    skink_recovery_destroy(stuck.recovery);
    assert_int_equal(atomic_load(&stuck.answered), 0);
    close(fd);
}

static const struct test_case cases[] = {
    CASE(a_request_that_comes_free_in_time_answers_itself),
    CASE(a_request_that_does_not_is_answered_for_and_its_own_answer_dropped),
    CASE(one_that_waits_for_its_body_learns_that_it_was_answered_for),
    CASE(one_that_gets_stuck_after_its_answer_has_none),
    CASE(one_that_gets_stuck_twice_is_counted_once_and_late_by_the_first_time),
    CASE(a_client_that_left_a_stuck_request_gets_nothing),
    CASE(at_the_stray_limit_new_requests_are_refused_at_once),
    CASE(one_that_came_free_while_another_was_stuck_answers_itself),
    CASE(one_that_came_free_while_another_took_long_answers_itself),
    CASE(one_whose_wait_ended_while_another_took_long_answers_itself),
    CASE(one_that_only_yields_is_answered_for),
    CASE(one_that_came_free_on_a_held_loop_is_answered_for),
    CASE(a_route_has_its_own_timeout),
    CASE(a_request_that_waits_for_itself_answers_itself),
    CASE(a_stray_that_outlives_the_server_leaves_nothing_behind),
};
TEST_MAIN(cases, NULL, NULL)
