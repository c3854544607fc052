/* SPDX-License-Identifier: MIT */
/*
 * tests/middleware/test_admission.c - limits of concurrency, and the queues behind them, over real sockets.
 *
 * The handler "/gate" is in it until the test lets it out, one ticket at a time, or blocks its thread ("/stick").
 */
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define H "Host: a\r\n"
#define GATE "GET /gate HTTP/1.1\r\n" H "\r\n"
#define WAIT_MS 6000

enum { MANY = 32 };

struct gate {
    struct fixture fixture;
    skink_recovery *recovery;
    atomic_int entered, running, most, left; /* of /gate */
    atomic_int tickets;                      /* how many may leave */
    atomic_int stuck, free_the_stuck;        /* of /stick */
    atomic_int order[MANY];                  /* "n" of the i-th request that was started */
    atomic_ullong queue_ns;                  /* of the last one */
};

static void gate(skink_request *request, void *arg)
{
    struct gate *g = arg;
    const char *n = skink_request_query(request, "n");
    int place = atomic_fetch_add(&g->entered, 1);
    if (place < MANY) atomic_store(&g->order[place], n ? atoi(n) : -1);
    atomic_store(&g->queue_ns, skink_request_queue_ns(request));
    int running = atomic_fetch_add(&g->running, 1) + 1;
    if (running > atomic_load(&g->most)) atomic_store(&g->most, running);
    int err = 0;
    while (!err && place >= atomic_load(&g->tickets))
        err = skink_sleep(SKINK_MS);
    atomic_fetch_sub(&g->running, 1);
    skink_respond_text(request, 200, err ? "cut" : "through");
    atomic_fetch_add(&g->left, 1);
}

static void stick(skink_request *request, void *arg)
{
    struct gate *g = arg;
    atomic_fetch_add(&g->stuck, 1);
    while (!atomic_load(&g->free_the_stuck))
        usleep(1000);
    skink_respond_text(request, 200, "late");
}

static void create(struct gate *g, uint32_t max_requests, uint32_t max_queue)
{
    memset(g, 0, sizeof *g);
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_requests = max_requests;
    options.max_queue = max_queue;
    options.late_window_ns = 10 * SKINK_MS;
    fixture_create(&g->fixture, NULL, &options);
    fixture_add_common_routes(&g->fixture);
    fixture_route(&g->fixture, "GET", "/gate", gate, g);
    fixture_route(&g->fixture, "POST", "/gate", gate, g);
    fixture_route(&g->fixture, "GET", "/stick", stick, g);
}

static void serve(struct gate *g, uint32_t max_requests, uint32_t max_queue)
{
    create(g, max_requests, max_queue);
    fixture_start(&g->fixture);
}

static void watch(struct gate *g, uint32_t max_strays, uint64_t timeout_ns)
{
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = timeout_ns;
    options.max_strays = max_strays;
    g->recovery = fixture_watch(&g->fixture, &options);
}

static void destroy(struct gate *g)
{
    atomic_store(&g->tickets, 1 << 30);
    atomic_store(&g->free_the_stuck, 1);
    if (g->recovery) {
        (void)!skink_scheduler_stop(g->fixture.scheduler, skink_after(5 * SKINK_S));
        skink_recovery_unwatch(g->recovery, g->fixture.scheduler);
    }
    fixture_destroy(&g->fixture);
    skink_recovery_destroy(g->recovery);
}

struct wanted_limit {
    const char *route;
    struct skink__http_limit_stats found;
};

static void find_limit(const struct skink__http_limit_stats *limit, void *arg)
{
    struct wanted_limit *wanted = arg;
    if (strcmp(limit->route, wanted->route) == 0) wanted->found = *limit;
}

static struct skink__http_limit_stats limit_of(const struct gate *g, const char *route)
{
    struct wanted_limit wanted = { .route = route };
    skink__http_stats_limits(g->fixture.server, find_limit, &wanted);
    return wanted.found;
}

static struct skink__http_limit_stats limit(const struct gate *g)
{
    return limit_of(g, "(all)");
}

static uint64_t waited(const struct skink__http_limit_stats *limit)
{
    uint64_t count = 0;
    for (int i = 0; i < SKINK__HTTP_BUCKETS; i++)
        count += limit->waits.buckets[i];
    return count;
}

static int ask(const struct gate *g, const char *path, int n)
{
    char text[128];
    int fd = client_connect(g->fixture.port);
    snprintf(text, sizeof text, "GET %s?n=%d HTTP/1.1\r\n" H "\r\n", path, n);
    client_send_text(fd, text);
    return fd;
}

/* The first request to "/gate": it has got in, and keeps its permit until there is a ticket. */
static int enter_gate(const struct gate *g)
{
    int fd = ask(g, "/gate", 0);
    test_wait_until(atomic_load(&g->entered) == 1, WAIT_MS);
    return fd;
}

static void expect_error(int fd, int status, const char *number)
{
    struct reply reply;
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, status);
    assert_non_null(strstr(reply.body, number));
    assert_string_equal(reply_header(&reply, "Content-Type"), "application/json");
    if (status == 429) assert_string_equal(reply_header(&reply, "Retry-After"), "1");
    reply_free(&reply);
}

static void so_many_at_once_then_the_queue_in_order_then_429(void **state)
{
    (void)state;
    struct gate g;
    serve(&g, 2, 3);
    int fds[5];
    for (int i = 0; i < 5; i++) {
        fds[i] = ask(&g, "/gate", i);
        test_wait_until(limit(&g).in_use + limit(&g).queued == (uint64_t)i + 1, WAIT_MS);
    }
    assert_int_equal(limit(&g).in_use, 2);
    assert_int_equal(limit(&g).queued, 3);
    assert_true(fixture_stats(&g.fixture).queue_full_since_ns != 0);
    int sixth = ask(&g, "/hello", 6); /* the limit is of all routes */
    expect_error(sixth, 429, "\"number\":1009,");
    assert_int_equal(limit(&g).turned_away, 1);
    assert_int_equal(fixture_stats(&g.fixture).requests_refused, 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(atomic_load(&g.entered), i + 2 < 5 ? i + 2 : 5);
        atomic_store(&g.tickets, i + 1);
        client_expect(fds[i], "", 200, "through");
        test_wait_until(atomic_load(&g.entered) == (i + 3 < 5 ? i + 3 : 5), WAIT_MS);
        close(fds[i]);
    }
    for (int i = 0; i < 5; i++)
        assert_int_equal(atomic_load(&g.order[i]), i);
    assert_int_equal(atomic_load(&g.most), 2);
    test_wait_until(limit(&g).in_use == 0, WAIT_MS);
    struct skink__http_limit_stats stats = limit(&g);
    assert_int_equal(waited(&stats), 3);
    assert_int_equal(fixture_stats(&g.fixture).queue_full_since_ns, 0);
    client_expect(sixth, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n"); /* it was left open */
    close(sixth);
    destroy(&g);
}

static void a_request_knows_how_long_it_has_waited(void **state)
{
    (void)state;
    struct gate g;
    serve(&g, 1, 1);
    int first = enter_gate(&g);
    assert_int_equal(atomic_load(&g.queue_ns), 0);
    int second = ask(&g, "/gate", 1);
    test_wait_until(limit(&g).queued == 1, WAIT_MS);
    uint64_t begun = test_now_ns();
    test_wait_until(test_now_ns() - begun >= test_ms(20), WAIT_MS);
    atomic_store(&g.tickets, 2);
    client_expect(first, "", 200, "through");
    client_expect(second, "", 200, "through");
    assert_true(atomic_load(&g.queue_ns) >= test_ms(20));
    struct skink__http_limit_stats stats = limit(&g);
    assert_true(stats.waits.sum_ns >= test_ms(20));
    assert_int_equal(waited(&stats), 1);
    close(first), close(second);
    destroy(&g);
}

/* One that closes, one that resets, one that will send no more: none is of use any more. */
static void a_client_that_leaves_leaves_the_queue(void **state)
{
    (void)state;
    struct gate g;
    serve(&g, 1, 3);
    int first = enter_gate(&g);
    int closes = ask(&g, "/gate", 1), resets = ask(&g, "/gate", 2), ends = ask(&g, "/gate", 3);
    test_wait_until(limit(&g).queued == 3, WAIT_MS);
    close(closes);
    test_wait_until(limit(&g).queued == 2, WAIT_MS);
    client_reset(resets);
    test_wait_until(limit(&g).queued == 1, WAIT_MS);
    assert_int_equal(shutdown(ends, SHUT_WR), 0);
    test_wait_until(limit(&g).queued == 0, WAIT_MS);
    assert_true(client_sees_end(ends, WAIT_MS));
    test_wait_until(limit(&g).left == 3, WAIT_MS);
    assert_int_equal(limit(&g).in_use, 1);
    test_wait_until(fixture_code_count(&g.fixture, 499) == 3, WAIT_MS);
    int last = ask(&g, "/gate", 4); /* there is room again */
    test_wait_until(limit(&g).queued == 1, WAIT_MS);
    atomic_store(&g.tickets, 2);
    client_expect(first, "", 200, "through");
    client_expect(last, "", 200, "through");
    assert_int_equal(atomic_load(&g.entered), 2);
    assert_int_equal(atomic_load(&g.order[1]), 4);
    close(first), close(ends), close(last);
    destroy(&g);
}

/* What came on a connection before its end is a request that waits for a client that has left, too. */
static void a_request_of_a_client_that_had_left_does_not_queue(void **state)
{
    (void)state;
    struct gate g;
    serve(&g, 1, 3);
    int first = enter_gate(&g), second = client_connect(g.fixture.port);
    client_send_text(second, "OPTIONS * HTTP/1.1\r\n" H "\r\n" GATE GATE);
    assert_int_equal(shutdown(second, SHUT_WR), 0);
    client_expect(second, "", 204, NULL);
    assert_true(client_sees_end(second, WAIT_MS));
    test_wait_until(fixture_stats(&g.fixture).connections == 1, WAIT_MS);
    assert_int_equal(limit(&g).queued, 0);
    close(first), close(second);
    destroy(&g);
}

/* Goal: a permit comes back when its request is declared stuck, and once. The strays come back at the end: were a
 * permit returned a second time then, the assertion in concurrency_limit.c would end this process. */
static void after_ten_times_as_many_deadlocks_as_permits_all_are_there(void **state)
{
    (void)state;
    enum { PERMITS = 2, DEADLOCKS = 10 * PERMITS };
    struct gate g;
    create(&g, PERMITS, DEADLOCKS);
    watch(&g, DEADLOCKS + 1, 50 * SKINK_MS);
    fixture_start(&g.fixture);
    int fds[DEADLOCKS];
    for (int i = 0; i < DEADLOCKS; i++)
        fds[i] = ask(&g, "/stick", i);
    for (int i = 0; i < DEADLOCKS; i++)
        expect_error(fds[i], 503, "\"number\":1002,");
    test_wait_until(limit(&g).in_use == 0, WAIT_MS);
    assert_int_equal(limit(&g).queued, 0);
    assert_int_equal(atomic_load(&g.stuck), DEADLOCKS);
    /* All of them can be had, at once. */
    int gates[PERMITS];
    for (int i = 0; i < PERMITS; i++)
        gates[i] = ask(&g, "/gate", i);
    test_wait_until(atomic_load(&g.running) == PERMITS, WAIT_MS);
    atomic_store(&g.free_the_stuck, 1);
    test_wait_until(fixture_stats(&g.fixture).late_answers_dropped == DEADLOCKS, WAIT_MS);
    assert_int_equal(limit(&g).in_use, PERMITS);
    atomic_store(&g.tickets, PERMITS);
    for (int i = 0; i < PERMITS; i++)
        client_expect(gates[i], "", 200, "through");
    test_wait_until(limit(&g).in_use == 0, WAIT_MS);
    for (int i = 0; i < PERMITS; i++)
        close(gates[i]);
    for (int i = 0; i < DEADLOCKS; i++)
        close(fds[i]);
    destroy(&g);
}

/* At the limit of strays nothing is started: who waits is told so, as who comes then is. */
static void who_waits_when_the_loop_is_held_is_refused(void **state)
{
    (void)state;
    struct gate g;
    create(&g, 1, 4);
    watch(&g, 1, 400 * SKINK_MS); /* while the first one blocks, all the others are sent */
    fixture_start(&g.fixture);
    int fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = ask(&g, "/stick", i);
        test_wait_until(atomic_load(&g.stuck) >= 1, WAIT_MS);
    }
    expect_error(fds[0], 503, "\"number\":1002,");
    expect_error(fds[1], 503, "\"number\":1002,");
    expect_error(fds[2], 503, "\"number\":1003,");
    expect_error(fds[3], 503, "\"number\":1003,");
    test_wait_until(limit(&g).in_use == 0, WAIT_MS);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    destroy(&g);
}

static void limits_change_while_the_server_runs(void **state)
{
    (void)state;
    struct gate g;
    serve(&g, 1, 10);
    int fds[8];
    for (int i = 0; i < 6; i++)
        fds[i] = ask(&g, "/gate", i);
    test_wait_until(limit(&g).queued == 5, WAIT_MS);
    assert_int_equal(skink_http_set_limits(g.fixture.server, 3, 10), 0);
    test_wait_until(atomic_load(&g.running) == 3, WAIT_MS);
    /* Less than are there: nothing is ended, and nothing is let in until they have gone. */
    assert_int_equal(skink_http_set_limits(g.fixture.server, 1, 1), 0);
    assert_int_equal(limit(&g).queued, 3);
    fds[6] = ask(&g, "/gate", 6);
    expect_error(fds[6], 429, "\"number\":1009,");
    atomic_store(&g.tickets, 2);
    test_wait_until(atomic_load(&g.left) == 2, WAIT_MS);
    test_wait_until(limit(&g).in_use == 1, WAIT_MS);
    assert_int_equal(atomic_load(&g.entered), 3);
    /* No limit at all. */
    assert_int_equal(skink_http_set_limits(g.fixture.server, 0, 0), 0);
    test_wait_until(atomic_load(&g.running) == 4, WAIT_MS);
    fds[7] = ask(&g, "/gate", 7);
    test_wait_until(atomic_load(&g.running) == 5, WAIT_MS);
    assert_int_equal(limit(&g).in_use, 5); /* counted all the same: a limit may come back */
    atomic_store(&g.tickets, 100);
    test_wait_until(limit(&g).in_use == 0, WAIT_MS);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    assert_int_equal(skink_http_set_limits(NULL, 1, 1), -EINVAL);
    assert_int_equal(skink_http_route_set_limits(g.fixture.server, "/no", 1, 1), -ENOENT);
    assert_int_equal(skink_http_route_set_limits(g.fixture.server, NULL, 1, 1), -EINVAL);
    destroy(&g);
}

static void a_route_has_a_limit_of_its_own(void **state)
{
    (void)state;
    struct gate g;
    serve(&g, 2, 1);
    assert_int_equal(skink_http_route_set_limits(g.fixture.server, "/gate", 1, 2), 0);
    int first = enter_gate(&g);
    int second = ask(&g, "/gate", 1);
    test_wait_until(limit_of(&g, "/gate").queued == 1, WAIT_MS);
    int third = client_connect(g.fixture.port);
    client_send_text(third, "POST /gate?n=2 HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n"); /* all methods together */
    test_wait_until(limit_of(&g, "/gate").queued == 2, WAIT_MS);
    int fourth = ask(&g, "/gate", 3);
    expect_error(fourth, 429, "\"number\":1009,");
    assert_int_equal(limit_of(&g, "/gate").turned_away, 1);
    /* Who waits for the route keeps nobody else out. */
    assert_int_equal(limit(&g).in_use, 1);
    assert_int_equal(limit(&g).queued, 0);
    client_expect(fourth, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    atomic_store(&g.tickets, 3);
    client_expect(first, "", 200, "through");
    client_expect(second, "", 200, "through");
    client_expect(third, "", 200, "through");
    assert_int_equal(atomic_load(&g.most), 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(atomic_load(&g.order[i]), i);
    test_wait_until(limit_of(&g, "/gate").in_use == 0 && limit(&g).in_use == 0, WAIT_MS);
    close(first), close(second), close(third), close(fourth);
    destroy(&g);
}

struct row {
    int busy, leaves, stays;
};

/* Limits of one for the server and for "/hello": one is inside, the next has its route's permit and waits for the
 * server's, and the last waits for its route's. */
static struct row queue_at_two_limits(const struct gate *g)
{
    assert_int_equal(skink_http_route_set_limits(g->fixture.server, "/hello", 1, 5), 0);
    struct row row = { .busy = enter_gate(g) };
    row.leaves = ask(g, "/hello", 1);
    test_wait_until(limit(g).queued == 1 && limit_of(g, "/hello").in_use == 1, WAIT_MS);
    row.stays = ask(g, "/hello", 2);
    test_wait_until(limit_of(g, "/hello").queued == 1, WAIT_MS);
    return row;
}

/* It waits for the server with the permit of its route; when its client leaves, that permit goes to the next. */
static void one_that_leaves_between_two_limits_gives_the_first_permit_back(void **state)
{
    (void)state;
    struct gate g;
    serve(&g, 1, 5);
    struct row row = queue_at_two_limits(&g);
    close(row.leaves);
    test_wait_until(limit(&g).left == 1, WAIT_MS);
    test_wait_until(limit_of(&g, "/hello").queued == 0, WAIT_MS);
    assert_int_equal(limit_of(&g, "/hello").in_use, 1);
    assert_int_equal(limit(&g).queued, 1);
    atomic_store(&g.tickets, 1);
    client_expect(row.busy, "", 200, "through");
    client_expect(row.stays, "", 200, "hello\n");
    close(row.busy), close(row.stays);
    destroy(&g);
}

/* A permit of the route is no use to who is turned away by the server. */
static void one_that_the_second_limit_turns_away_gives_the_first_permit_back(void **state)
{
    (void)state;
    struct gate g;
    serve(&g, 1, 0);
    assert_int_equal(skink_http_route_set_limits(g.fixture.server, "/hello", 1, 5), 0);
    int busy = enter_gate(&g);
    int other = ask(&g, "/hello", 1);
    expect_error(other, 429, "\"number\":1009,");
    assert_int_equal(limit_of(&g, "/hello").in_use, 0);
    atomic_store(&g.tickets, 1);
    client_expect(busy, "", 200, "through");
    test_wait_until(limit(&g).in_use == 0, WAIT_MS);
    client_expect(other, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(busy), close(other);
    destroy(&g);
}

/* Who has waited for one limit is not turned away by the next, however short that queue has become. */
static void one_that_has_waited_is_not_turned_away(void **state)
{
    (void)state;
    struct gate g;
    serve(&g, 1, 5);
    struct row row = queue_at_two_limits(&g);
    assert_int_equal(skink_http_set_limits(g.fixture.server, 1, 0), 0);
    close(row.leaves);
    test_wait_until(limit(&g).left == 1 && limit_of(&g, "/hello").queued == 0, WAIT_MS);
    assert_int_equal(limit(&g).queued, 1);
    assert_int_equal(limit(&g).turned_away, 0);
    atomic_store(&g.tickets, 1);
    client_expect(row.busy, "", 200, "through");
    client_expect(row.stays, "", 200, "hello\n");
    close(row.busy), close(row.stays);
    destroy(&g);
}

static void a_route_s_limit_that_is_raised_lets_in_who_waits(void **state)
{
    (void)state;
    struct gate g;
    int fds[3];
    serve(&g, 0, 0);
    assert_int_equal(skink_http_route_set_limits(g.fixture.server, "/gate", 1, 2), 0);
    for (int i = 0; i < 3; i++)
        fds[i] = ask(&g, "/gate", i);
    test_wait_until(limit_of(&g, "/gate").queued == 2, WAIT_MS);
    assert_int_equal(skink_http_route_set_limits(g.fixture.server, "/gate", 3, 0), 0);
    test_wait_until(atomic_load(&g.running) == 3, WAIT_MS); /* though nobody has left */
    atomic_store(&g.tickets, 3);
    for (int i = 0; i < 3; i++)
        client_expect(fds[i], "", 200, "through"), close(fds[i]);
    destroy(&g);
}

/* So many wait that they are let in, or refused, in more than one go. */
enum { CROWD = 300 };

static void ask_many(struct gate *g, int fds[CROWD])
{
    for (int i = 0; i < CROWD; i++)
        fds[i] = ask(g, "/gate", i);
    test_wait_until(limit(g).queued == CROWD - 1, WAIT_MS);
}

static void a_limit_that_is_lifted_lets_in_a_long_queue(void **state)
{
    (void)state;
    struct gate g;
    int fds[CROWD];
    serve(&g, 1, CROWD);
    ask_many(&g, fds);
    assert_int_equal(skink_http_set_limits(g.fixture.server, 0, 0), 0);
    test_wait_until(atomic_load(&g.running) == CROWD, WAIT_MS); /* though nobody has left */
    assert_int_equal(limit(&g).queued, 0);
    atomic_store(&g.tickets, CROWD);
    for (int i = 0; i < CROWD; i++)
        client_expect(fds[i], "", 200, "through"), close(fds[i]);
    destroy(&g);
}

static void a_long_queue_is_answered_for_at_the_end(void **state)
{
    (void)state;
    struct gate g;
    int fds[CROWD];
    serve(&g, 1, CROWD);
    ask_many(&g, fds);
    assert_int_equal(skink_scheduler_stop(g.fixture.scheduler, skink_now()), -ECANCELED);
    client_expect(fds[0], "", 200, "cut");
    for (int i = 1; i < CROWD; i++)
        expect_error(fds[i], 503, "\"number\":1006,"), close(fds[i]);
    close(fds[0]);
    fixture_destroy(&g.fixture);
}

/* ---- nothing runs in place ---- */

struct tasks {
    skink_task *first; /* with a reference, so that its object cannot be the second's */
    atomic_int different;
};

static void note_task(skink_request *request, void *arg)
{
    struct tasks *tasks = arg;
    if (!tasks->first) {
        tasks->first = skink_task_ref(skink_task_current());
        assert_int_equal(skink_sleep(30 * SKINK_MS), 0);
    } else {
        atomic_store(&tasks->different, skink_task_current() != tasks->first ? 1 : -1);
    }
    skink_respond_text(request, 200, "ok");
}

static void a_permit_given_back_runs_nobody_in_place(void **state)
{
    (void)state;
    struct gate g;
    struct tasks tasks = { 0 };
    create(&g, 1, 1);
    fixture_route(&g.fixture, "GET", "/task", note_task, &tasks);
    fixture_start(&g.fixture);
    int first = ask(&g, "/task", 0);
    test_wait_until(limit(&g).in_use == 1, WAIT_MS);
    int second = ask(&g, "/task", 1);
    client_expect(first, "", 200, "ok");
    client_expect(second, "", 200, "ok");
    assert_int_equal(atomic_load(&tasks.different), 1);
    skink_task_unref(tasks.first);
    close(first), close(second);
    destroy(&g);
}

/* ---- the end ---- */

static void who_waits_at_the_end_is_answered_for(void **state)
{
    (void)state;
    struct gate g;
    serve(&g, 1, 5);
    int busy = ask(&g, "/gate", 0), waits = ask(&g, "/gate", 1);
    test_wait_until(limit(&g).queued == 1, WAIT_MS);
    assert_int_equal(skink_scheduler_stop(g.fixture.scheduler, skink_now()), -ECANCELED);
    client_expect(busy, "", 200, "cut");
    expect_error(waits, 503, "\"number\":1006,");
    close(busy), close(waits);
    fixture_destroy(&g.fixture);
}

static void a_server_is_destroyed_with_a_queue(void **state)
{
    (void)state;
    struct gate g;
    serve(&g, 1, 5);
    int busy = ask(&g, "/gate", 0), first = ask(&g, "/gate", 1), second = ask(&g, "/gate", 2);
    test_wait_until(limit(&g).queued == 2, WAIT_MS);
    skink_http_server_destroy(g.fixture.server);
    expect_error(first, 503, "\"number\":1006,");
    expect_error(second, 503, "\"number\":1006,");
    close(busy), close(first), close(second);
    skink_scheduler_destroy(g.fixture.scheduler);
    assert_int_equal(atomic_load(&g.entered), 1);
}

/* ---- all of it at once ---- */

static void a_storm_of_clients_that_leave_leaves_no_permit_behind(void **state)
{
    (void)state;
    enum { ROUNDS = 1500, OPEN = 40 };
    struct gate g;
    create(&g, 4, 12);
    atomic_store(&g.tickets, 1 << 30);
    fixture_start(&g.fixture);
    assert_int_equal(skink_http_route_set_limits(g.fixture.server, "/sleep", 2, 5), 0);
    int fds[OPEN];
    unsigned seed = 1;
    for (int i = 0; i < OPEN; i++)
        fds[i] = -1;
    /* However fast the server and however slow this thread is, some must have been turned away, and some have left. */
    uint64_t deadline_ns = test_deadline_ns(10000);
    for (int i = 0; i < ROUNDS || !(limit(&g).turned_away > 0 && limit(&g).left > 0); i++) {
        assert_true(test_now_ns() < deadline_ns);
        int at = rand_r(&seed) % OPEN;
        if (fds[at] >= 0 && rand_r(&seed) % 2)
            client_reset(fds[at]);
        else if (fds[at] >= 0)
            close(fds[at]);
        fds[at] = client_connect(g.fixture.port);
        client_send_text(fds[at], rand_r(&seed) % 2 ? "GET /sleep?ms=2 HTTP/1.1\r\n" H "\r\n" : GATE);
        if (i % 100 == 0) (void)skink_http_set_limits(g.fixture.server, 1 + rand_r(&seed) % 6, rand_r(&seed) % 20);
    }
    for (int i = 0; i < OPEN; i++)
        if (fds[i] >= 0) close(fds[i]);
    test_wait_until(fixture_stats(&g.fixture).connections == 0 && limit(&g).in_use == 0, WAIT_MS);
    assert_int_equal(limit(&g).queued, 0);
    assert_int_equal(limit_of(&g, "/sleep").in_use, 0);
    assert_int_equal(limit_of(&g, "/sleep").queued, 0);
    assert_int_equal(fixture_stats(&g.fixture).in_flight, 0);
    assert_true(atomic_load(&g.most) <= 6);
    int fd = client_connect(g.fixture.port);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(fd);
    destroy(&g);
}

static const struct test_case cases[] = {
    CASE(so_many_at_once_then_the_queue_in_order_then_429),
    CASE(a_request_knows_how_long_it_has_waited),
    CASE(a_client_that_leaves_leaves_the_queue),
    CASE(a_request_of_a_client_that_had_left_does_not_queue),
    CASE(after_ten_times_as_many_deadlocks_as_permits_all_are_there),
    CASE(who_waits_when_the_loop_is_held_is_refused),
    CASE(limits_change_while_the_server_runs),
    CASE(a_route_has_a_limit_of_its_own),
    CASE(one_that_leaves_between_two_limits_gives_the_first_permit_back),
    CASE(one_that_the_second_limit_turns_away_gives_the_first_permit_back),
    CASE(one_that_has_waited_is_not_turned_away),
    CASE(a_route_s_limit_that_is_raised_lets_in_who_waits),
    CASE(a_limit_that_is_lifted_lets_in_a_long_queue),
    CASE(a_long_queue_is_answered_for_at_the_end),
    CASE(a_permit_given_back_runs_nobody_in_place),
    CASE(who_waits_at_the_end_is_answered_for),
    CASE(a_server_is_destroyed_with_a_queue),
    CASE(a_storm_of_clients_that_leave_leaves_no_permit_behind),
};
TEST_MAIN(cases, NULL, NULL)
